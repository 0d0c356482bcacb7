package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Store keeps runs, each in a folder of its own under Dir that only its owner may enter.
type Store struct{ Dir string }

// RunFolder is one run on disk, held by this process: nobody else can drive it meanwhile.
type RunFolder struct {
	*FileJournal
	dir  string
	lock *os.File
}

const (
	journalFile = "journal.jsonl"
	cancelFile  = "cancel"
	lockFile    = "lock"
)

// ErrLocked means that another process drives the run.
var ErrLocked = errors.New("another process is carrying it out")

// Create makes the folder of a new run.
func (s Store) Create(p *Plan) (*RunFolder, error) {
	dir := filepath.Join(s.Dir, p.Run)
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the folder of runs: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the run's folder: %w", err)
	}
	if err := syncFolder(s.Dir); err != nil {
		return nil, fmt.Errorf("cannot create the run's folder: %w", err)
	}
	return s.hold(dir)
}

// Open takes hold of the run whose id is name or begins with it.
func (s Store) Open(name string) (*RunFolder, error) {
	dir, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return s.hold(dir)
}

func (s Store) hold(dir string) (*RunFolder, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot take hold of the run: %w", err)
	}
	if err := takeLockSoon(lock); err != nil {
		pid, _ := os.ReadFile(lock.Name()) //nolint:errcheck // only to say who it is
		lock.Close()                       //nolint:errcheck // not ours
		return nil, fmt.Errorf("cannot take hold of run %s: %w (process %s)", filepath.Base(dir), err, strings.TrimSpace(string(pid)))
	}
	err = lock.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(lock, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot take hold of the run: %w", err), lock.Close())
	}
	j, err := OpenFileJournal(filepath.Join(dir, journalFile))
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &RunFolder{FileJournal: j, dir: dir, lock: lock}, nil
}

// takeLockSoon takes the lock although somebody may be looking, this instant, whether it is taken.
func takeLockSoon(f *os.File) error {
	var err error
	for range looks {
		if err = takeLock(f); !errors.Is(err, ErrLocked) {
			return err
		}
		// Real time: the other side is another process, which knows nothing of the runner's clock.
		if err := (WallClock{}).Sleep(context.Background(), 5*time.Millisecond); err != nil {
			return err
		}
	}
	return err
}

// looks is how often a lock is tried; a look lasts some microseconds.
const looks = 20

// Close lets go of the run.
func (r *RunFolder) Close() error { return errors.Join(r.FileJournal.Close(), r.lock.Close()) }

// Plan is the run's plan, from its journal.
func (r *RunFolder) Plan() (*Plan, error) {
	entries, err := r.Entries()
	if err != nil {
		return nil, err
	}
	return planOf(entries)
}

// CancelRequested reports whether RequestCancel was called for the run.
func (r *RunFolder) CancelRequested() bool {
	_, err := os.Stat(filepath.Join(r.dir, cancelFile))
	return err == nil
}

// Abandon ends a run of which nothing can be left, without undoing anything.
func (r *RunFolder) Abandon(reason string) error {
	entries, err := r.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Kind == EntryFinished {
			return nil
		}
	}
	now := time.Now()
	if err := r.Append(Entry{Time: now, Kind: EntryVerdict, Outcome: Failed, Error: reason}); err != nil {
		return err
	}
	return r.Append(Entry{Time: now, Kind: EntryFinished, Outcome: Failed})
}

// find resolves a run's id or a beginning of it that only one run has.
func (s Store) find(name string) (string, error) {
	names, err := s.names()
	if err != nil {
		return "", err
	}
	var found []string
	for _, n := range names {
		if n == name {
			return filepath.Join(s.Dir, n), nil
		}
		if name != "" && strings.HasPrefix(n, name) {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("cannot find run %q in %s; ingot runs lists them", name, s.Dir)
	case 1:
		return filepath.Join(s.Dir, found[0]), nil
	default:
		return "", fmt.Errorf("cannot tell which run %q means: %s", name, strings.Join(found, ", "))
	}
}

func (s Store) names() ([]string, error) {
	list, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list runs: %w", err)
	}
	var out []string
	for _, e := range list {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// RequestCancel asks the process that carries the run to stop and undo; live is false when there is no such process, and
// then nothing will happen unless the caller resumes the run itself.
func (s Store) RequestCancel(name string) (live bool, err error) {
	dir, err := s.find(name)
	if err != nil {
		return false, err
	}
	if !isLive(dir) {
		return false, nil
	}
	if err := os.WriteFile(filepath.Join(dir, cancelFile), nil, 0o600); err != nil {
		return false, fmt.Errorf("cannot ask for the end of run %s: %w", name, err)
	}
	return true, nil
}

// isLive reports whether a process holds the run.
func isLive(dir string) bool {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0o600)
	if err != nil {
		return false
	}
	defer lock.Close() //nolint:errcheck // closing gives the lock back
	return errors.Is(lookAtLock(lock), ErrLocked)
}

// Summary is a run in one line.
type Summary struct {
	Run      string            `json:"run"`
	Title    string            `json:"title"`
	Started  time.Time         `json:"started"`
	Last     time.Time         `json:"last"` // the last entry
	Live     bool              `json:"live"` // a process carries it
	Outcome  Outcome           `json:"outcome,omitempty"`
	Error    string            `json:"error,omitempty"`
	Finished bool              `json:"finished"` // everything that had to be undone is
	Damaged  string            `json:"damaged,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
}

// Clean reports whether nothing is left to do for the run.
func (s Summary) Clean() bool { return s.Finished }

// List sums up all runs, the newest first. A run whose journal cannot be read is listed as damaged.
func (s Store) List() ([]Summary, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	out := make([]Summary, 0, len(names))
	for _, n := range names {
		st, err := s.status(filepath.Join(s.Dir, n))
		if err != nil {
			st.Summary = Summary{Run: n, Damaged: err.Error()}
		}
		out = append(out, st.Summary)
	}
	slices.SortFunc(out, func(a, b Summary) int { return cmp.Or(b.Started.Compare(a.Started), strings.Compare(a.Run, b.Run)) })
	return out, nil
}

// Status is a run step by step.
type Status struct {
	Summary
	Steps []StepStatus `json:"steps"`
}

// StepStatus is how far one step is: waiting, running (or interrupted, when no process is at it), done, failed, undoing,
// undone, undo failed.
type StepStatus struct {
	Step  Step          `json:"step"`
	State string        `json:"state"`
	Took  time.Duration `json:"took"`
	Error string        `json:"error,omitempty"`
}

// Status reads how far a run is; another process may be carrying it on.
func (s Store) Status(name string) (Status, error) {
	dir, err := s.find(name)
	if err != nil {
		return Status{}, err
	}
	return s.status(dir)
}

func (s Store) status(dir string) (Status, error) {
	entries, err := ReadFileJournal(filepath.Join(dir, journalFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Status{}, err
	}
	if len(entries) == 0 { // its process died, or has yet to begin
		live := isLive(dir)
		return Status{Summary: Summary{Run: filepath.Base(dir), Live: live, Finished: !live}}, nil
	}
	p, err := planOf(entries)
	if err != nil {
		return Status{}, err
	}
	st := Status{Summary: Summary{Run: p.Run, Title: p.Title, Started: entries[0].Time, Last: entries[len(entries)-1].Time, Live: isLive(dir), Meta: p.Meta}}
	at := map[string]int{}
	for i, step := range p.Steps {
		at[step.ID] = i
		st.Steps = append(st.Steps, StepStatus{Step: step, State: "waiting"})
	}
	begun := map[string]time.Time{}
	for _, e := range entries {
		i, ok := at[e.Step]
		if !ok {
			switch e.Kind {
			case EntryVerdict:
				st.Outcome, st.Error = e.Outcome, e.Error
			case EntryFinished:
				st.Finished = true
			}
			continue
		}
		step := &st.Steps[i]
		switch e.Kind {
		case EntryStart:
			begun[e.Step] = e.Time
			step.State, step.Error = "running", ""
			if !st.Live {
				step.State = "interrupted"
			}
		case EntryDone:
			step.State, step.Took = "done", e.Time.Sub(begun[e.Step])
		case EntryFailed:
			step.State, step.Took, step.Error = "failed", e.Time.Sub(begun[e.Step]), e.Error
		case EntryUndo:
			step.State = "undoing"
			if !st.Live {
				step.State = "undo interrupted"
			}
		case EntryUndone:
			step.State = "undone"
		case EntryUndoFailed:
			step.State, step.Error = "undo failed", e.Error
		}
	}
	return st, nil
}
