package plan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// action is an Action of two functions.
type action struct {
	do, undo func(context.Context, *Task) error
}

func (a action) Do(ctx context.Context, t *Task) error { return a.do(ctx, t) }
func (a action) Undo(ctx context.Context, t *Task) error {
	if a.undo == nil {
		return nil
	}
	return a.undo(ctx, t)
}

// TestUndoThatIgnoresItsContext is left behind after its time, and the rest is removed.
func TestUndoThatIgnoresItsContext(t *testing.T) {
	p := stepsOf(t, "a b>a")
	for i := range p.Steps {
		p.Steps[i].Kind = p.Steps[i].ID
	}
	never := make(chan struct{})
	defer close(never)
	removed := false
	clock := &steppingClock{now: time.Now()}
	r := &Runner{Journal: &memory{}, Clock: clock, UndoTimeout: time.Minute, Actions: map[string]Action{
		"a": action{func(context.Context, *Task) error { return nil }, func(context.Context, *Task) error { removed = true; return nil }},
		"b": action{func(context.Context, *Task) error { return nil }, func(context.Context, *Task) error { <-never; return nil }},
	}}
	err := r.Run(t.Context(), p)
	var run *RunError
	if !errors.As(err, &run) || len(run.Left) != 1 || run.Left[0].Step != "b" || !removed || !strings.Contains(err.Error(), "not waited for any longer") {
		t.Errorf("%v, a removed: %v", err, removed)
	}
}

// steppingClock passes every sleep at once.
type steppingClock struct{ now time.Time }

func (c *steppingClock) Now() time.Time { return c.now }
func (c *steppingClock) Sleep(ctx context.Context, _ time.Duration) error {
	return context.Cause(ctx)
}

// TestLostRun stops in the middle of a step, undoes nothing and writes nothing any more; another process goes on.
func TestLostRun(t *testing.T) {
	p := stepsOf(t, "a b>a c>b!")
	lost := make(chan struct{})
	j := &memory{}
	undone := 0
	first := true
	act := action{func(ctx context.Context, t *Task) error {
		if t.Step.ID == "b" && first {
			first = false
			close(lost)
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return nil
	}, func(context.Context, *Task) error { undone++; return nil }}
	r := &Runner{Actions: map[string]Action{"any": act}, Journal: j, Clock: WallClock{}, Lost: lost}
	err := r.Run(t.Context(), p)
	var run *RunError
	if !errors.As(err, &run) || !run.Kept || !errors.Is(err, ErrLost) || undone != 0 {
		t.Fatalf("%v, undone %d", err, undone)
	}
	for _, e := range j.entries {
		if e.Kind == EntryFailed || e.Kind == EntryVerdict || e.Kind == EntryUndo {
			t.Errorf("wrote %s after the run was lost", e.Kind)
		}
	}
	if err := (&Runner{Actions: map[string]Action{"any": act}, Journal: j, Clock: WallClock{}}).Resume(t.Context()); err != nil || undone != 2 {
		t.Errorf("resume: %v, undone %d", err, undone)
	}
}

// TestLostWhileCleaningUp begins no removal any more.
func TestLostWhileCleaningUp(t *testing.T) {
	p := stepsOf(t, "a b>a")
	lost := make(chan struct{})
	var undone []string
	act := action{func(context.Context, *Task) error { return nil }, func(ctx context.Context, t *Task) error {
		undone = append(undone, t.Step.ID)
		close(lost)
		<-ctx.Done()
		return context.Cause(ctx)
	}}
	err := (&Runner{Actions: map[string]Action{"any": act}, Journal: &memory{}, Clock: WallClock{}, Lost: lost}).Run(t.Context(), p)
	if !errors.Is(err, ErrLost) || strings.Join(undone, " ") != "b" {
		t.Errorf("%v %v", err, undone)
	}
}

// TestDetach lets go once the copy has been accepted and everything else is done, without a verdict; the next process sees it end.
func TestDetach(t *testing.T) {
	p := stepsOf(t, "a b>a c>b! d>c?")
	p.Steps[2].Alone, p.Steps[2].Estimate = true, time.Hour
	j := &memory{}
	copies, ready := 0, false
	act := action{func(ctx context.Context, t *Task) error {
		if t.Step.ID != "c" {
			return nil
		}
		if ok, err := t.Saved(new(string)); err != nil {
			return err
		} else if !ok {
			copies++
			if err := t.Save("token"); err != nil {
				return err
			}
		}
		if ready {
			return nil
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}, func(context.Context, *Task) error { return nil }}
	run := func(detach bool) error {
		return (&Runner{Actions: map[string]Action{"any": act}, Journal: j, Clock: WallClock{}, Detach: detach}).Run(t.Context(), p)
	}
	var end *RunError
	for range 2 { // waiting for it detached, too
		if err := run(true); !errors.As(err, &end) || !end.Detached() || end.Outcome != "" {
			t.Fatalf("%v", err)
		}
	}
	for _, e := range j.entries {
		if e.Kind == EntryFailed || e.Kind == EntryVerdict {
			t.Errorf("a detached run wrote %s", e.Kind)
		}
	}
	ready = true
	if err := run(false); err != nil || copies != 1 {
		t.Errorf("%v, %d copies", err, copies)
	}
}

// TestSharedFolder: a holder on another machine, of which only the signs of life are seen.
func TestSharedFolder(t *testing.T) {
	s := Store{Dir: t.TempDir(), Lease: Lease{Length: 600 * time.Millisecond}}
	p := stepsOf(t, "a")
	held, err := s.Create(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Dir, p.Run, signFile)
	sign, err := readSign(path)
	if err != nil || sign.Beat == 0 {
		t.Fatal(sign, err)
	}
	// Somebody else writes his own sign, as a process that found ours stale would: we have lost the run.
	other := Sign{Holder: "process 1 on elsewhere", Host: "elsewhere", Beat: 7, ID: "OTHER"}
	if err := writeSign(path, other); err != nil {
		t.Fatal(err)
	}
	select {
	case <-held.Lost():
	case <-time.After(20 * time.Second):
		t.Fatal("the run is not lost although another process has it")
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if now, err := readSign(path); err != nil || now != other {
		t.Errorf("closing overwrote the other's sign: %v %v", now, err)
	}
	// He is alive: every sign differs.
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				other.Beat++
				if err := writeSign(path, other); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	said := ""
	if _, err := s.Open(t.Context(), p.Run, func(text string) { said = text }); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("opened a run that another machine carries: %v", err)
	}
	if !strings.Contains(said, "runs out within 600ms") {
		t.Errorf("said %q", said)
	}
	close(stop)
	<-done
	// He is dead: it is taken over once the lease has run out.
	begun := time.Now()
	held, err = s.Open(t.Context(), p.Run, nil)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 600*time.Millisecond {
		t.Errorf("taken over after %s, before the lease had run out", took)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	if now, err := readSign(path); err != nil || now.Beat != 0 {
		t.Errorf("%v %v", now, err)
	}
}

// TestFolderGoesAway: a share that cannot be written for too long costs the run.
func TestFolderGoesAway(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "runs"), Lease: Lease{Length: 600 * time.Millisecond}}
	held, err := s.Create(t.Context(), stepsOf(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close() //nolint:errcheck // its folder is gone
	if err := os.RemoveAll(s.Dir); err != nil {
		t.Fatal(err)
	}
	select {
	case <-held.Lost():
	case <-time.After(20 * time.Second):
		t.Error("the run is not lost although its folder is gone")
	}
}
