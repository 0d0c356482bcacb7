package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stateVersion is of the folder's form. A folder of a newer one is refused, never guessed at.
const stateVersion = 1

// store is a folder: "snapshot", whole and replaced by renaming, and "journal-N", what happened since snapshot N. Each line
// is a checksum and a record. A journal may end in the middle of a line, which was then never answered; damage anywhere else
// is an error.
type store struct {
	dir     string
	lock    *os.File
	ledgers []ledger
	byName  map[string]ledger
	sums    map[string][32]byte // of what was kept last; guarded by Azure.mu, as is until
	until   time.Time

	mu             sync.Mutex
	turn           *sync.Cond
	f              *os.File
	generation     int
	buf            []byte
	last, safe     uint64
	flushing       bool
	err            error
	journal, whole int64 // bytes
}

// record is what one call changed.
type record struct {
	Set  map[string]json.RawMessage `json:"set,omitempty"`
	Gone []string                   `json:"gone,omitempty"`
}

// header is the first line of a snapshot.
type header struct {
	State      int `json:"ingot-sim-state"`
	Generation int `json:"generation"`
	Documents  int `json:"documents"`
}

// openStore locks a folder and reads it. The folder is for this user alone: it holds the secrets of the simulation.
func openStore(dir string) (*store, map[string]json.RawMessage, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("cannot keep state: %w", err)
	}
	lock, err := lockState(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot keep state in %s: another process uses it: %w", dir, err)
	}
	s := &store{dir: dir, lock: lock, sums: map[string][32]byte{}}
	s.turn = sync.NewCond(&s.mu)
	docs, err := s.read()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot read the state in %s: %w", dir, err), lock.Close())
	}
	return s, docs, nil
}

func (s *store) read() (map[string]json.RawMessage, error) {
	docs := map[string]json.RawMessage{}
	raw, err := os.ReadFile(filepath.Join(s.dir, "snapshot"))
	if errors.Is(err, os.ErrNotExist) {
		return docs, nil
	}
	if err != nil {
		return nil, err
	}
	lines := bytes.SplitAfter(raw, []byte("\n"))
	var h header
	first, ok := unseal(lines[0])
	if !ok || json.Unmarshal(first, &h) != nil {
		return nil, errors.New("the snapshot is damaged")
	}
	if h.State > stateVersion {
		return nil, fmt.Errorf("it was written by a newer version (form %d, this one knows %d)", h.State, stateVersion)
	}
	s.generation = h.Generation
	for _, l := range lines[1:] {
		if len(l) == 0 {
			continue
		}
		if !merge(docs, l) {
			return nil, errors.New("the snapshot is damaged")
		}
	}
	if len(docs) != h.Documents {
		return nil, fmt.Errorf("the snapshot is damaged: %d documents of %d", len(docs), h.Documents)
	}
	raw, err = os.ReadFile(s.journalPath(s.generation))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	lines = bytes.SplitAfter(raw, []byte("\n"))
	for i, l := range lines {
		if len(l) == 0 || merge(docs, l) {
			continue
		}
		// The end of a write that the crash cut off. What follows it, if anything, is no record either: otherwise this is
		// damage in the middle, and going on would lose what was answered.
		for _, rest := range lines[i+1:] {
			if _, ok := unseal(rest); ok {
				return nil, fmt.Errorf("the journal is damaged at line %d", i+1)
			}
		}
		break
	}
	return docs, nil
}

// merge applies a line to the documents; false: it is not whole.
func merge(docs map[string]json.RawMessage, line []byte) bool {
	raw, ok := unseal(line)
	var r record
	if !ok || json.Unmarshal(raw, &r) != nil {
		return false
	}
	for key, v := range r.Set {
		docs[key] = v
	}
	for _, key := range r.Gone {
		delete(docs, key)
	}
	return true
}

// seal writes a line that shows whether it is whole.
func seal(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(raw), raw), nil
}

func unseal(line []byte) ([]byte, bool) {
	body, whole := bytes.CutSuffix(line, []byte("\n"))
	if !whole || len(body) < 10 || body[8] != ' ' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(body[:8]), 16, 32)
	return body[9:], err == nil && uint32(sum) == crc32.ChecksumIEEE(body[9:])
}

func (s *store) journalPath(generation int) string {
	return filepath.Join(s.dir, "journal-"+strconv.Itoa(generation))
}

// append takes a record on; wait says when it is safe.
func (s *store) append(r record) (uint64, error) {
	line, err := seal(r)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = append(s.buf, line...)
	s.journal += int64(len(line))
	s.last++
	return s.last, nil
}

// wait returns when a record is on the disk. Whoever comes first writes for all that wait meanwhile.
func (s *store) wait(n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.safe < n && s.err == nil {
		if s.flushing {
			s.turn.Wait()
			continue
		}
		s.flushing = true
		buf, upTo, f := s.buf, s.last, s.f
		s.buf = nil
		s.mu.Unlock()
		_, err := f.Write(buf)
		if err == nil {
			err = f.Sync()
		}
		s.mu.Lock()
		s.flushing = false
		if err != nil {
			s.err = err
		} else {
			s.safe = upTo
		}
		s.turn.Broadcast()
	}
	if s.err != nil {
		return fmt.Errorf("cannot keep state in %s: %w", s.dir, s.err)
	}
	return nil
}

// fail makes every later call that changes something an error: what cannot be kept must not be answered.
func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.turn.Broadcast()
}

func (s *store) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// overgrown says that a snapshot would be much smaller than the journal.
func (s *store) overgrown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil && s.journal > max(8<<20, 2*s.whole)
}

// replace writes a new snapshot and goes on with an empty journal. Until the snapshot has its name the old pair is valid.
func (s *store) replace(docs map[string]json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.flushing {
		s.turn.Wait()
	}
	next := s.generation + 1
	size, err := s.write(next, docs)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.journalPath(next), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.dir, "snapshot.new"), filepath.Join(s.dir, "snapshot")); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := syncFolder(s.dir); err != nil {
		return errors.Join(err, f.Close())
	}
	if s.f != nil {
		s.f.Close() //nolint:errcheck // superseded
	}
	old, _ := filepath.Glob(filepath.Join(s.dir, "journal-*"))
	for _, o := range old {
		if o != s.journalPath(next) {
			os.Remove(o) //nolint:errcheck // never read again
		}
	}
	s.f, s.generation, s.buf, s.safe, s.journal, s.whole = f, next, nil, s.last, 0, size
	s.turn.Broadcast()
	return nil
}

func (s *store) write(generation int, docs map[string]json.RawMessage) (int64, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "snapshot.new"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	line := func(v any) error {
		raw, err := seal(v)
		if err == nil {
			_, err = b.Write(raw)
		}
		return err
	}
	err = line(header{stateVersion, generation, len(docs)})
	keys := make([]string, 0, len(docs))
	for key := range docs {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		if err == nil {
			err = line(record{Set: map[string]json.RawMessage{key: docs[key]}})
		}
	}
	if err == nil {
		err = b.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	size, _ := f.Seek(0, io.SeekEnd)
	return size, errors.Join(err, f.Close())
}

// syncFolder makes a renaming last. Systems that cannot do that to a folder do not need it.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil && !strings.Contains(err.Error(), "invalid") && !errors.Is(err, os.ErrPermission) {
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.flushing {
		s.turn.Wait()
	}
	if s.f != nil {
		s.f.Close() //nolint:errcheck // all that was awaited is safe
	}
	if s.err == nil {
		s.err = errors.New("it is closed")
	}
	s.lock.Close() //nolint:errcheck // the process lets go either way
}
