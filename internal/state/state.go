// Package state keeps runs in a container of Azure blobs, so that a run can be resumed, watched and cancelled from any machine.
//
// A run is a folder of blobs: runs/RUN/journal.jsonl, an append blob under a lease of 60 seconds that its holder renews, so that
// two processes can never write one journal; runs/RUN/plan.json, the plan, for people; runs/RUN/cancel, the mark of ingot cancel;
// and runs/RUN/files/SHA256, the local files that the run needs. Nothing in it is secret. The room knows nothing of what a plan does.
package state

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

// Store keeps runs in a container.
type Store struct {
	C     *azure.Container
	Lease plan.Lease // of 15 to 60 seconds, as Azure allows
}

var (
	_ plan.Runs  = Store{}
	_ plan.Held  = (*Run)(nil)
	_ plan.Files = (*Run)(nil)
)

const (
	folder  = "runs/"
	journal = "journal.jsonl"
)

// Run is a run held by this process: its journal is written under a lease.
type Run struct {
	s       Store
	run     string
	lease   string
	keep    *plan.Keeper
	ctx     context.Context // ends when the run is lost or let go of
	stop    context.CancelFunc
	cancel  atomic.Bool
	asking  sync.WaitGroup
	mu      sync.Mutex
	entries []plan.Entry
	size    int64
}

func (s Store) length() time.Duration { return cmp.Or(s.Lease.Length, plan.LeaseLength) }

// Create makes a new run and takes hold of it.
func (s Store) Create(ctx context.Context, p *plan.Plan) (plan.Held, error) {
	name := folder + p.Run + "/" + journal
	if err := s.C.CreateAppend(ctx, name); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = s.C.Write(ctx, folder+p.Run+"/plan.json", bytes.NewReader(append(text, '\n')))
	}
	if err != nil {
		return nil, err
	}
	return s.hold(ctx, p.Run, nil)
}

// Open takes hold of a run, once the lease of a process that may be dead has run out.
func (s Store) Open(ctx context.Context, name string, notice func(string)) (plan.Held, error) {
	run, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.hold(ctx, run, notice)
}

func (s Store) hold(ctx context.Context, run string, notice func(string)) (_ plan.Held, err error) {
	name := folder + run + "/" + journal
	id := uuid.NewString()
	err = s.C.Acquire(ctx, name, id, s.length())
	if azure.IsLeaseHeld(err) {
		if err = s.outlast(ctx, run, id, notice); err == nil {
			err = s.C.Acquire(ctx, name, id, s.length())
		}
	}
	switch {
	case azure.IsLeaseHeld(err):
		return nil, fmt.Errorf("cannot take hold of run %s: %w", run, plan.ErrLocked)
	case err != nil:
		return nil, err
	}
	me := plan.Me(id)
	r := &Run{s: s, run: run, lease: id}
	r.ctx, r.stop = context.WithCancel(context.Background())
	// Before anything is read: from here on time counts.
	r.keep = s.Lease.Keep(func(ctx context.Context) error {
		err := s.C.Renew(ctx, name, id)
		if err == nil {
			me.Beat++
			err = s.C.SetMetadata(ctx, name, id, me.Values())
		}
		if azure.IsLeaseLost(err) {
			return fmt.Errorf("%w: %w", plan.ErrLost, err)
		}
		return err
	})
	defer func() {
		if err != nil {
			r.stop()
			r.keep.Close()
			err = errors.Join(err, s.C.Release(context.WithoutCancel(ctx), name, id))
		}
	}()
	if err = s.C.SetMetadata(ctx, name, id, me.Values()); err != nil {
		return nil, err
	}
	if r.entries, r.size, err = s.read(ctx, name); err != nil {
		return nil, err
	}
	if !r.cancelAsked(ctx) {
		r.asking.Go(r.askForCancel)
	}
	go func() {
		select {
		case <-r.keep.Lost():
			r.stop()
		case <-r.ctx.Done():
		}
	}()
	return r, nil
}

// outlast waits for a lease to run out. A blob's lease does not tell how long it has left; the holder's signs of life are in
// the blob's metadata.
func (s Store) outlast(ctx context.Context, run, id string, notice func(string)) error {
	name := folder + run + "/" + journal
	look := func(ctx context.Context) (plan.Sign, bool, error) {
		b, err := s.C.Look(ctx, name)
		return plan.SignOf(b.Metadata), err == nil && !b.Leased, err
	}
	first, free, err := look(ctx)
	if err != nil || free {
		return err
	}
	return s.Lease.Outlast(ctx, run, first, notice, look)
}

// read reads a journal. Append Block is all or nothing, so a torn line can only be damage.
func (s Store) read(ctx context.Context, name string) ([]plan.Entry, int64, error) {
	in, err := s.C.Read(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	defer in.Close() //nolint:errcheck // only read
	return plan.ReadJournal(in, s.C.String()+"/"+name)
}

// Append writes one entry as a block of its own, under the lease and at the place where the journal ended: a write that got
// through although its answer was lost is recognised and not made twice. It tries until the lease is lost.
func (r *Run) Append(e plan.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Seq = len(r.entries) + 1
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	line = append(line, '\n')
	name := folder + r.run + "/" + journal
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := r.s.C.Append(r.ctx, name, r.lease, r.size, line)
		if azure.IsAppendPosition(err) {
			if entries, size, readErr := r.s.read(r.ctx, name); readErr == nil && size == r.size+int64(len(line)) && len(entries) == e.Seq {
				err = nil // it was ours: nobody else can write under the lease
			}
		}
		switch {
		case err == nil:
			r.entries, r.size = append(r.entries, e), r.size+int64(len(line))
			return nil
		case azure.IsLeaseLost(err):
			r.keep.Lose()
			return fmt.Errorf("cannot write the journal: %w: %w", plan.ErrLost, err)
		case r.ctx.Err() != nil:
			return fmt.Errorf("cannot write the journal: %w: %s did not answer for %s", plan.ErrLost, r.s.C, r.s.Lease.GiveUp())
		case azure.Answered(err):
			return fmt.Errorf("cannot write the journal: %w", err)
		}
		// Real time: what is being waited for is outside any simulation.
		(plan.WallClock{}).Sleep(r.ctx, wait) //nolint:errcheck // the next write says why it ended
	}
}

// Entries is the journal.
func (r *Run) Entries() ([]plan.Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries[:len(r.entries):len(r.entries)], nil
}

// Plan is the run's plan.
func (r *Run) Plan() (*plan.Plan, error) { return plan.PlanOf(r.entries) }

// Lost is closed when the lease is.
func (r *Run) Lost() <-chan struct{} { return r.keep.Lost() }

// CancelRequested reports whether somebody has left the mark; it is looked for every few seconds.
func (r *Run) CancelRequested() bool { return r.cancel.Load() }

// poll is how often the mark of a cancellation is looked for.
const poll = 3 * time.Second

func (r *Run) askForCancel() {
	for (plan.WallClock{}).Sleep(r.ctx, poll) == nil {
		if r.cancelAsked(r.ctx) {
			return
		}
	}
}

func (r *Run) cancelAsked(ctx context.Context) bool {
	if _, err := r.s.C.Look(ctx, folder+r.run+"/cancel"); err != nil {
		return false // not there, or not to be known now
	}
	r.cancel.Store(true)
	return true
}

// Close lets go of the run.
func (r *Run) Close() error {
	r.stop()
	r.asking.Wait()
	r.keep.Close()
	select {
	case <-r.keep.Lost():
		return nil
	default:
	}
	ctx, free := context.WithTimeout(context.Background(), 20*time.Second)
	defer free()
	if err := r.s.C.Release(ctx, folder+r.run+"/"+journal, r.lease); err != nil && !azure.IsLeaseLost(err) {
		return err
	}
	return nil
}

// PutFile keeps a file with the run.
func (r *Run) PutFile(ctx context.Context, name string, in io.Reader, size int64) error {
	at := folder + r.run + "/files/" + path.Base(name)
	if b, err := r.s.C.Look(ctx, at); err == nil && b.Size == size {
		return nil
	}
	return r.s.C.Write(ctx, at, in)
}

// GetFile reads a file that PutFile kept.
func (r *Run) GetFile(ctx context.Context, name string) (io.ReadCloser, error) {
	return r.s.C.Read(ctx, folder+r.run+"/files/"+path.Base(name))
}

// RequestCancel leaves the mark.
func (s Store) RequestCancel(ctx context.Context, name string) (live bool, err error) {
	run, err := s.find(ctx, name)
	if err != nil {
		return false, err
	}
	if err := s.C.Write(ctx, folder+run+"/cancel", strings.NewReader("")); err != nil {
		return false, err
	}
	b, err := s.C.Look(ctx, folder+run+"/"+journal)
	return b.Leased, err
}

// journals lists the journals there are, by run.
func (s Store) journals(ctx context.Context, begins string) (map[string]azure.BlobItem, error) {
	list, err := s.C.List(ctx, folder+begins)
	if err != nil {
		return nil, err
	}
	out := map[string]azure.BlobItem{}
	for _, b := range list {
		if run, ok := strings.CutSuffix(strings.TrimPrefix(b.Name, folder), "/"+journal); ok {
			out[run] = b
		}
	}
	return out, nil
}

// find resolves a run's id or a beginning of it that only one run has.
func (s Store) find(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", errors.New("cannot find a run without a name")
	}
	runs, err := s.journals(ctx, name)
	if err != nil {
		return "", err
	}
	if _, ok := runs[name]; ok {
		return name, nil
	}
	var found []string
	for run := range runs {
		found = append(found, run)
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("cannot find run %q in %s; ingot runs lists them", name, s.C)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("cannot tell which run %q means: %s", name, strings.Join(found, ", "))
}

// readers is how many journals are read at once.
const readers = 8

// List sums up all runs, the newest first.
func (s Store) List(ctx context.Context) ([]plan.Summary, error) {
	runs, err := s.journals(ctx, "")
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	out := []plan.Summary{}
	var wg sync.WaitGroup
	slots := make(chan struct{}, readers)
	for run, b := range runs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			st, err := s.status(ctx, run, b.Leased)
			if err != nil {
				st.Summary = plan.Summary{Run: run, Damaged: err.Error()}
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, st.Summary)
		})
	}
	wg.Wait()
	plan.SortSummaries(out)
	return out, nil
}

// Status reads how far a run is.
func (s Store) Status(ctx context.Context, name string) (plan.Status, error) {
	run, err := s.find(ctx, name)
	if err != nil {
		return plan.Status{}, err
	}
	b, err := s.C.Look(ctx, folder+run+"/"+journal)
	if err != nil {
		return plan.Status{}, err
	}
	return s.status(ctx, run, b.Leased)
}

func (s Store) status(ctx context.Context, run string, live bool) (plan.Status, error) {
	entries, _, err := s.read(ctx, folder+run+"/"+journal)
	if err != nil {
		return plan.Status{}, err
	}
	return plan.StatusOf(run, entries, live)
}
