package plan

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Store keeps runs, each in a folder of its own under Dir that only its owner may enter. Dir may be on a share: beside the
// kernel's lock, which not every file system passes on to other machines, the holder gives signs of life in a file.
type Store struct {
	Dir   string
	Lease Lease
}

var (
	_ Runs  = Store{}
	_ Held  = (*RunFolder)(nil)
	_ Files = (*RunFolder)(nil)
)

// RunFolder is one run on disk, held by this process: nobody else can drive it meanwhile.
type RunFolder struct {
	*FileJournal
	dir  string
	lock *os.File
	sign Sign // of this process
	keep *Keeper
}

const (
	journalFile = "journal.jsonl"
	cancelFile  = "cancel"
	lockFile    = "lock"
	signFile    = "holder.json"
	filesFolder = "files"
)

// ErrLocked means that another process drives the run.
var ErrLocked = errors.New("another process is carrying it out")

// Create makes the folder of a new run.
func (s Store) Create(ctx context.Context, p *Plan) (Held, error) {
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
	return s.hold(ctx, dir, nil)
}

// Open takes hold of the run whose id is name or begins with it. A process of this machine that died has let go of it; one of
// another machine that shares the folder is waited for as Runs says.
func (s Store) Open(ctx context.Context, name string, notice func(string)) (Held, error) {
	dir, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return s.hold(ctx, dir, notice)
}

func (s Store) hold(ctx context.Context, dir string, notice func(string)) (_ *RunFolder, err error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot take hold of the run: %w", err)
	}
	if err := takeLockSoon(lock); err != nil {
		pid, _ := os.ReadFile(lock.Name()) //nolint:errcheck // only to say who it is
		lock.Close()                       //nolint:errcheck // not ours
		return nil, fmt.Errorf("cannot take hold of run %s: %w (process %s)", filepath.Base(dir), err, strings.TrimSpace(string(pid)))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	err = lock.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(lock, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot take hold of the run: %w", err)
	}
	// That the lock is free says that no process of this machine has it; what other machines do, it may not say.
	path := filepath.Join(dir, signFile)
	me := Me(rand.Text())
	before, err := readSign(path)
	if err != nil {
		return nil, err
	}
	if before.Beat != 0 && before.Host != me.Host {
		look := func(context.Context) (Sign, bool, error) { s, err := readSign(path); return s, false, err }
		if err := s.Lease.Outlast(ctx, filepath.Base(dir), before, notice, look); err != nil {
			return nil, err
		}
	}
	if err := writeSign(path, me); err != nil {
		return nil, fmt.Errorf("cannot take hold of the run: %w", err)
	}
	j, err := OpenFileJournal(filepath.Join(dir, journalFile))
	if err != nil {
		return nil, err
	}
	r := &RunFolder{FileJournal: j, dir: dir, lock: lock, sign: me}
	r.keep = s.Lease.Keep(func(context.Context) error {
		now, err := readSign(path)
		if err != nil {
			return err
		}
		if now.ID != r.sign.ID {
			return ErrLost
		}
		next := r.sign
		next.Beat++
		if err := writeSign(path, next); err != nil {
			return err
		}
		r.sign = next
		return nil
	})
	return r, nil
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

// Lost is closed when another process has the run, or the folder could not be reached for too long.
func (r *RunFolder) Lost() <-chan struct{} { return r.keep.Lost() }

// Close lets go of the run.
func (r *RunFolder) Close() error {
	r.keep.Close()
	var err error
	select {
	case <-r.keep.Lost(): // the sign is somebody else's
	default:
		last := r.sign
		last.Beat = 0
		err = writeSign(filepath.Join(r.dir, signFile), last)
	}
	return errors.Join(err, r.FileJournal.Close(), r.lock.Close())
}

// PutFile keeps a file beside the journal.
func (r *RunFolder) PutFile(_ context.Context, name string, in io.Reader, size int64) error {
	dir := filepath.Join(r.dir, filesFolder)
	path := filepath.Join(dir, filepath.Base(name))
	if info, err := os.Stat(path); err == nil && info.Size() == size {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot keep a file with the run: %w", err)
	}
	f, err := os.OpenFile(path+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot keep a file with the run: %w", err)
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+".part", path)
	}
	if err != nil {
		return fmt.Errorf("cannot keep a file with the run: %w", err)
	}
	return nil
}

// GetFile reads a file that PutFile kept.
func (r *RunFolder) GetFile(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(r.dir, filesFolder, filepath.Base(name)))
}

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
func Abandon(r Held, reason string) error {
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

// RequestCancel leaves the mark.
func (s Store) RequestCancel(_ context.Context, name string) (live bool, err error) {
	dir, err := s.find(name)
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(filepath.Join(dir, cancelFile), nil, 0o600); err != nil {
		return false, fmt.Errorf("cannot ask for the end of run %s: %w", name, err)
	}
	return isLive(dir, s.Lease), nil
}

// isLive reports whether a process holds the run: one of this machine, by its lock, or one of another, by its sign.
func isLive(dir string, l Lease) bool {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0o600)
	if err != nil {
		return false
	}
	err = lookAtLock(lock)
	lock.Close() //nolint:errcheck // closing gives the lock back
	if errors.Is(err, ErrLocked) {
		return true
	}
	path := filepath.Join(dir, signFile)
	sign, err := readSign(path)
	if err != nil || sign.Beat == 0 || sign.Host == Me("").Host {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && time.Since(info.ModTime()) < l.length() // for showing only: the share's clock is another
}

// List sums up all runs, the newest first. A run whose journal cannot be read is listed as damaged.
func (s Store) List(context.Context) ([]Summary, error) {
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
	SortSummaries(out)
	return out, nil
}

// Status reads how far a run is; another process may be carrying it on.
func (s Store) Status(_ context.Context, name string) (Status, error) {
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
	return StatusOf(filepath.Base(dir), entries, isLive(dir, s.Lease))
}
