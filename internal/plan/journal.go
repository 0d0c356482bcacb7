package plan

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// EntryKind names what a journal entry records.
type EntryKind string

const (
	EntryPlan       EntryKind = "plan"        // Plan: always the first
	EntryStart      EntryKind = "start"       // Step: Do is about to be called
	EntrySave       EntryKind = "save"        // Step, Data: what the step must know after a crash
	EntryDone       EntryKind = "done"        // Step, Data: its result
	EntryFailed     EntryKind = "failed"      // Step, Error
	EntryFlaw       EntryKind = "flaw"        // Step, Error: a step that may fail has failed, and the run goes on
	EntryVerdict    EntryKind = "verdict"     // Outcome, Error: Do is never called again
	EntryUndo       EntryKind = "undo"        // Step: Undo is about to be called
	EntryUndone     EntryKind = "undone"      // Step
	EntryUndoFailed EntryKind = "undo-failed" // Step, Error
	EntryFinished   EntryKind = "finished"    // nothing more will be done unless asked for
)

// Entry is one line of the journal.
type Entry struct {
	Seq     int             `json:"seq"`
	Time    time.Time       `json:"time"`
	Kind    EntryKind       `json:"kind"`
	Step    string          `json:"step,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
	Plan    *Plan           `json:"plan,omitempty"`
	Outcome Outcome         `json:"outcome,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// Journal is the memory of a run. Append returns once the entry is safe on disk; it sets Seq.
type Journal interface {
	Append(Entry) error
	Entries() ([]Entry, error)
}

// FileJournal keeps a journal as lines of JSON in a file that only its owner may read. A process that dies while it writes
// leaves a torn last line, which is as if it had never been written: what it announced had not begun.
type FileJournal struct {
	f    *os.File
	next int
	size int64 // of the whole lines
}

// OpenFileJournal opens or creates the journal at path and takes a torn last line off.
func OpenFileJournal(path string) (*FileJournal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the journal: %w", err)
	}
	j := &FileJournal{f: f}
	entries, size, err := readJournal(f, path)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	j.next, j.size = len(entries), size
	return j, nil
}

// Append writes the entry in one call and syncs it. After a failed write (a full disk) the file is cut back to its last
// whole line, so that later entries are readable.
func (j *FileJournal) Append(e Entry) error {
	e.Seq = j.next + 1
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	line = append(line, '\n')
	_, err = j.f.WriteAt(line, j.size)
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot write the journal: %w", err), j.f.Truncate(j.size))
	}
	j.next++
	j.size += int64(len(line))
	return nil
}

// Entries reads all of it.
func (j *FileJournal) Entries() ([]Entry, error) {
	entries, _, err := readJournal(io.NewSectionReader(j.f, 0, j.size), j.f.Name())
	return entries, err
}

// Close closes the file; every entry is on disk already.
func (j *FileJournal) Close() error { return j.f.Close() }

// ReadJournal reads a journal's text; name is for the error. It also answers where the whole lines end.
func ReadJournal(r io.Reader, name string) (entries []Entry, size int64, err error) {
	return readJournal(r, name)
}

// readJournal returns the whole entries and where they end. Damage anywhere but in the last line is an error.
func readJournal(r io.Reader, name string) ([]Entry, int64, error) {
	var out []Entry
	var size int64
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadBytes('\n')
		if err == io.EOF {
			return out, size, nil // a rest without line end is torn
		}
		if err != nil {
			return nil, 0, fmt.Errorf("cannot read the journal %s: %w", name, err)
		}
		var e Entry
		err = json.Unmarshal(line, &e)
		if err == nil && e.Seq != len(out)+1 {
			err = fmt.Errorf("it is entry %d", e.Seq)
		}
		if err != nil {
			if _, peek := b.Peek(1); peek == io.EOF {
				return out, size, nil
			}
			return nil, 0, fmt.Errorf("cannot read the journal %s: line %d is damaged: %w", name, len(out)+1, err)
		}
		out = append(out, e)
		size += int64(len(line))
	}
}

// ReadFileJournal reads a journal that another process may be writing.
func ReadFileJournal(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the journal: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	entries, _, err := readJournal(f, path)
	return entries, err
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || os.IsPermission(err) {
		err = nil // Windows cannot sync a folder, and need not
	}
	return errors.Join(err, d.Close())
}
