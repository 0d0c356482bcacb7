package plan

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFailureBeforeInterruptKeepsItsName: a person who presses Ctrl-C while the rest of a failed run winds down is still
// told what failed.
func TestFailureBeforeInterruptKeepsItsName(t *testing.T) {
	p := stepsOf(t, "bad slow")
	ctx, cancel := context.WithCancelCause(t.Context())
	began := make(chan struct{})
	act := Typed[struct{}, struct{}]{DoFunc: func(inner context.Context, task *Task, _ struct{}) (struct{}, error) {
		if task.Step.ID == "bad" {
			<-began
			return struct{}{}, errors.New("quota exceeded")
		}
		close(began)
		<-inner.Done() // bad has failed
		cancel(errors.New("interrupted"))
		return struct{}{}, inner.Err()
	}}
	for i := range p.Steps {
		p.Steps[i].Args = json.RawMessage("{}")
	}
	err := (&Runner{Actions: map[string]Action{"any": act}, Journal: &memory{}, Clock: WallClock{}}).Run(ctx, p)
	var run *RunError
	if !errors.As(err, &run) || run.Outcome != Failed || !strings.Contains(err.Error(), "quota exceeded") {
		t.Errorf("%v", err)
	}
}

// TestBrokenJournalStopsTheOthers: a step that would run for an hour does not keep a run alive that can remember nothing.
func TestBrokenJournalStopsTheOthers(t *testing.T) {
	p := stepsOf(t, "quick slow next>quick")
	m := &memory{die: 3} // plan and two starts: the end of quick cannot be written
	began := make(chan struct{})
	act := Typed[struct{}, struct{}]{DoFunc: func(ctx context.Context, task *Task, _ struct{}) (struct{}, error) {
		if task.Step.ID == "slow" {
			close(began)
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second): // only where the runner is wrong
				t.Error("the long step was not stopped")
			}
			return struct{}{}, ctx.Err()
		}
		<-began
		return struct{}{}, nil
	}}
	for i := range p.Steps {
		p.Steps[i].Args = json.RawMessage("{}")
	}
	err := (&Runner{Actions: map[string]Action{"any": act}, Journal: m, Clock: WallClock{}}).Run(t.Context(), p)
	if !errors.Is(err, errDied) || strings.Count(err.Error(), errDied.Error()) != 1 {
		t.Errorf("%v", err)
	}
}

// TestWithinWhatIsNeverUndone: a step that goes with one that has no undo would stay for ever.
func TestWithinWhatIsNeverUndone(t *testing.T) {
	p := &Plan{Run: "test", Title: "test", Steps: []Step{
		{ID: "group", Kind: "any", Title: "group", Scope: Nothing},
		{ID: "vm", Kind: "any", Title: "vm", Scope: Scratch, After: []string{"group"}, Within: "group"},
	}}
	rec := &recorder{fail: map[string]int{"vm:do": 1}}
	err := (&Runner{Actions: map[string]Action{"any": rec}, Journal: &memory{}, Clock: WallClock{}}).Run(t.Context(), p)
	if err == nil || strings.Join(rec.calls, " ") != "group:do vm:do vm:undo" {
		t.Error(err, rec.calls)
	}
}

// TestNobodyIsAskedAboutACancelledRun: two steps fail at once; the answer to the first settles the second.
func TestNobodyIsAskedAboutACancelledRun(t *testing.T) {
	p := stepsOf(t, "a b")
	var both sync.WaitGroup
	both.Add(2)
	rec := &recorder{fail: map[string]int{"a:do": 1, "b:do": 1}}
	rec.hook = func(call string, _ *Task) {
		if strings.HasSuffix(call, ":do") {
			both.Done()
			both.Wait()
		}
	}
	asked := 0
	r := &Runner{Actions: map[string]Action{"any": rec}, Journal: &memory{}, Clock: WallClock{}, OnError: OnErrorAsk, Ask: func(Step, error) OnErrorAnswer { asked++; return AnswerCleanup }}
	if err := r.Run(t.Context(), p); err == nil || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// TestEventsComeInOrder of their times, whichever step says them.
func TestEventsComeInOrder(t *testing.T) {
	p := stepsOf(t, "a b c d e f")
	rec := &recorder{}
	rec.hook = func(_ string, task *Task) {
		for range 300 {
			task.Output("stdout", "line")
		}
	}
	var last time.Time
	back := 0
	r := &Runner{Actions: map[string]Action{"any": rec}, Journal: &memory{}, Clock: WallClock{}, Sink: SinkFunc(func(e Event) {
		if e.Time.Before(last) {
			back++
		}
		last = e.Time
	})}
	if err := r.Run(t.Context(), p); err != nil || back > 0 {
		t.Errorf("%d events are older than the one before: %v", back, err)
	}
}

// TestRunThatNeverBegan: a process that dies before the first entry leaves nothing, so nothing is left to do.
func TestRunThatNeverBegan(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	for _, run := range []string{"nojournal", "emptyone"} {
		if err := os.Mkdir(filepath.Join(s.Dir, run), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "emptyone", journalFile), []byte(`{"seq":1,"ki`), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, sum := range list {
		if sum.Damaged != "" || !sum.Clean() {
			t.Errorf("%+v", sum)
		}
	}
}

// TestLookingIsNotHolding: listing runs must not keep a process from taking hold of one, nor look alive to another look.
func TestLookingIsNotHolding(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	p := stepsOf(t, "a")
	r, err := s.Create(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	r.Close() //nolint:errcheck // a test
	dir := filepath.Join(s.Dir, p.Run)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					isLive(dir, s.Lease)
				}
			}
		})
	}
	for range 300 {
		r, err := s.Open(t.Context(), p.Run, nil)
		if err != nil {
			t.Error(err)
			break
		}
		r.Close() //nolint:errcheck // a test
	}
	close(stop)
	wg.Wait()
}

func TestDamagedJournal(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a line is missing": {`{"seq":1,"kind":"plan"}` + "\n" + `{"seq":3,"kind":"start"}` + "\n" + `{"seq":4,"kind":"start"}` + "\n", "line 2"},
		"two lines in one":  {`{"seq":1,"kind":"plan"}{"seq":2,"kind":"verdict"}` + "\n" + `{"seq":3,"kind":"start"}` + "\n", "line 1"},
	} {
		path := filepath.Join(t.TempDir(), "journal.jsonl")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFileJournal(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCancelAskedBeforeTheResume is seen before any step is begun.
func TestCancelAskedBeforeTheResume(t *testing.T) {
	p := stepsOf(t, "a b>a")
	rec := &recorder{}
	r := &Runner{Actions: map[string]Action{"any": rec}, Journal: before(p, "a:was-done"), Clock: WallClock{}, Cancelled: func() bool { return true }}
	var run *RunError
	if err := r.Run(t.Context(), p); !errors.As(err, &run) || run.Outcome != Cancelled || strings.Join(rec.calls, " ") != "a:undo" {
		t.Error(err, rec.calls)
	}
}
