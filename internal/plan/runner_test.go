package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a journal in memory; after die more entries it fails for good, as if the process had ended there.
type memory struct {
	mu      sync.Mutex
	entries []Entry
	die     int // 0: never
}

var errDied = errors.New("the process is dead")

func (m *memory) Append(e Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.die > 0 && len(m.entries) >= m.die {
		return errDied
	}
	e.Seq = len(m.entries) + 1
	m.entries = append(m.entries, e)
	return nil
}

func (m *memory) Entries() ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.entries), nil
}

// recorder is an action that writes down what was called, and fails where it is told to.
type recorder struct {
	mu    sync.Mutex
	calls []string
	fail  map[string]int // "vm:do" -> how many times
	hook  func(call string, t *Task)
}

func (r *recorder) note(call string, t *Task) error {
	r.mu.Lock()
	r.calls = append(r.calls, call)
	left := r.fail[call]
	if left > 0 {
		r.fail[call]--
	}
	r.mu.Unlock()
	if r.hook != nil {
		r.hook(call, t)
	}
	if left > 0 {
		return errors.New(call + " went wrong")
	}
	return nil
}

func (r *recorder) Do(_ context.Context, t *Task) error   { return r.note(t.Step.ID+":do", t) }
func (r *recorder) Undo(_ context.Context, t *Task) error { return r.note(t.Step.ID+":undo", t) }

// stepsOf reads "group vm>group image>vm!": > names what a step waits for, ! marks a product, ? one that makes nothing,
// * one that may fail, @x one that goes with x, ~x one that is not needed after x.
func stepsOf(t *testing.T, text string) *Plan {
	t.Helper()
	p := &Plan{Run: "test", Title: "test"}
	for _, word := range strings.Fields(text) {
		s := Step{Kind: "any", Scope: Scratch}
		for word != strings.TrimRight(word, "!?*") {
			switch word[len(word)-1] {
			case '!':
				s.Scope = Product
			case '?':
				s.Scope = Nothing
			case '*':
				s.MayFail = true
			}
			word = word[:len(word)-1]
		}
		word, until, ok := strings.Cut(word, "~")
		if ok {
			s.Until = strings.Split(until, ",")
		}
		word, s.Within, _ = strings.Cut(word, "@")
		id, after, ok := strings.Cut(word, ">")
		if ok {
			s.After = strings.Split(after, ",")
		}
		s.ID, s.Title = id, id
		p.Steps = append(p.Steps, s)
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return p
}

// before makes the journal of an earlier process: "vm:was-done guest:was-doing verdict:failed vm:was-undone".
func before(p *Plan, text string) *memory {
	m := &memory{entries: []Entry{{Seq: 1, Kind: EntryPlan, Plan: p}}}
	add := func(k EntryKind, step string) {
		m.entries = append(m.entries, Entry{Seq: len(m.entries) + 1, Kind: k, Step: step})
	}
	for _, word := range strings.Fields(text) {
		id, what, _ := strings.Cut(word, ":")
		switch {
		case id == "verdict":
			e := Entry{Seq: len(m.entries) + 1, Kind: EntryVerdict, Outcome: Outcome(what)}
			if what != string(Succeeded) { // failed-kept has one, too
				e.Error = "the original error"
			}
			m.entries = append(m.entries, e)
		case what == "was-doing":
			add(EntryStart, id)
		case what == "was-done":
			add(EntryStart, id)
			add(EntryDone, id)
			m.entries[len(m.entries)-1].Data = json.RawMessage("{}")
		case what == "was-flawed":
			add(EntryStart, id)
			add(EntryFlaw, id)
			m.entries[len(m.entries)-1].Error = "the original error"
		case what == "was-undone":
			add(EntryUndo, id)
			add(EntryUndone, id)
		case what == "was-undoing":
			add(EntryUndo, id)
		}
	}
	return m
}

func TestRunnerInWords(t *testing.T) {
	const chain = "group vm>group@group guest>vm? image>guest!"
	for _, c := range []struct {
		name, plan, was, fails, want, outcome string
		left                                  string
	}{
		{"a build", chain, "", "", "group:do vm:do guest:do image:do group:undo", "", ""},
		{"a failed step undoes scratch and product", chain, "", "image:do", "group:do vm:do guest:do image:do image:undo group:undo", "failed", ""},
		{"a step that never began is not undone", "group vm>group", "", "group:do", "group:do group:undo", "failed", ""},
		{"undo goes on past failures and names what is left", "a b>a c>b", "", "b:undo", "a:do b:do c:do c:undo b:undo a:undo", "succeeded", "b"},
		{"what makes nothing is never undone", "a? b>a?", "", "b:do", "a:do b:do", "failed", ""},
		{"within a kept group each is undone by itself", "vm nic", "", "", "vm:do nic:do nic:undo vm:undo", "", ""},
		{"early undo", "vault vm>vault off>vm? image>off!", "", "", "vault:do vm:do off:do image:do vm:undo vault:undo", "", ""},
		{"resume does what was being done again", "vm guest>vm?", "vm:was-done guest:was-doing", "", "guest:do vm:undo", "", ""},
		{"resume after success only cleans up", chain, "group:was-done vm:was-done guest:was-done image:was-done verdict:succeeded", "", "group:undo", "", ""},
		{"resume after success goes on cleaning up", "a b>a", "a:was-done b:was-done verdict:succeeded b:was-undone a:was-undoing", "", "a:undo", "", ""},
		{"resume after failure never does", chain, "group:was-done vm:was-doing verdict:failed", "", "group:undo", "failed", ""},
		{"a cancelled run is only undone", "a b>a", "a:was-done b:was-doing verdict:cancelled", "", "b:undo a:undo", "cancelled", ""},
		{"what was undone early is not undone again", "vault off>vault? image>off!", "vault:was-done off:was-done vault:was-undone image:was-doing", "", "image:do", "", ""},
		{"a step that may fail and does not", "vm test>vm?* image>test!", "", "", "vm:do test:do image:do vm:undo", "", ""},
		{"a step that may fail is gone past: products are kept, scratch is not", "vm test>vm?* image>test!", "", "test:do", "vm:do test:do image:do vm:undo", "failed-kept", ""},
		{"a run that fails after that keeps nothing", "vm test>vm?* image>test! more>image!", "", "test:do more:do", "vm:do test:do image:do more:do more:undo image:undo vm:undo", "failed", ""},
		{"scratch of a step that failed and was gone past goes", "vm test>vm* image>test!", "", "test:do", "vm:do test:do image:do test:undo vm:undo", "failed-kept", ""},
		{"early undo after a step that failed and was gone past", "vm~test test>vm?* image>test!", "", "test:do", "vm:do test:do image:do vm:undo", "failed-kept", ""},
		{"a failure that was gone past is remembered, not tried again", "vm test>vm?* image>test!", "vm:was-done test:was-flawed image:was-doing", "", "image:do vm:undo", "failed-kept", ""},
		{"killed after the last step, before the verdict", "vm test>vm?* image>test!", "vm:was-done test:was-flawed image:was-done", "", "vm:undo", "failed-kept", ""},
		{"resume after failed-kept only cleans up", "vm test>vm?* image>test!", "vm:was-done test:was-flawed image:was-done verdict:failed-kept", "", "vm:undo", "failed-kept", ""},
		{"what a failed-kept run leaves is named", "vm test>vm?* image>test!", "", "test:do vm:undo", "vm:do test:do image:do vm:undo", "failed-kept", "vm"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := stepsOf(t, c.plan)
			m := &memory{}
			if c.was != "" {
				m = before(p, c.was)
			}
			rec := &recorder{fail: map[string]int{}}
			for _, f := range strings.Fields(c.fails) {
				rec.fail[f] = 1
			}
			r := &Runner{Actions: map[string]Action{"any": rec}, Journal: m, Clock: WallClock{}}
			err := r.Run(t.Context(), p)
			if got := strings.Join(sortedParallel(rec.calls), " "); got != strings.Join(sortedParallel(strings.Fields(c.want)), " ") {
				t.Errorf("calls\n got %s\nwant %s", strings.Join(rec.calls, " "), c.want)
			}
			var run *RunError
			errors.As(err, &run)
			switch {
			case c.outcome == "" && err != nil:
				t.Errorf("error %v", err)
			case c.outcome != "" && (run == nil || string(run.Outcome) != c.outcome):
				t.Errorf("error %v, want outcome %s", err, c.outcome)
			}
			if (strings.Contains(c.was, "verdict:failed") || strings.Contains(c.was, "was-flawed")) && !strings.Contains(fmt.Sprint(err), "the original error") {
				t.Errorf("the resumed clean-up ends with %v", err)
			}
			var left []string
			if run != nil {
				for _, l := range run.Left {
					left = append(left, l.Step)
				}
			}
			if strings.Join(left, " ") != c.left {
				t.Errorf("left %v, want %s", left, c.left)
			}
		})
	}
}

// sortedParallel keeps the order where it means something: dos before undos; within each the table's plans are chains except
// where two steps are independent.
func sortedParallel(calls []string) []string {
	var do, undo []string
	for _, c := range calls {
		if strings.HasSuffix(c, ":do") {
			do = append(do, c)
		} else {
			undo = append(undo, c)
		}
	}
	if slices.Contains(do, "nic:do") {
		slices.Sort(do)
		slices.Sort(undo)
	}
	return append(do, undo...)
}

// TestEarlyUndo: scratch that is not needed any more is undone while a later step is still running.
func TestEarlyUndo(t *testing.T) {
	p := stepsOf(t, "vault vm>vault@vault off>vm? image>off!")
	p.Steps[0].Until = []string{"off"}
	gone := make(chan struct{})
	rec := &recorder{fail: map[string]int{}}
	rec.hook = func(call string, _ *Task) {
		switch call {
		case "vault:undo":
			close(gone)
		case "image:do":
			<-gone // a runner that waited for the end would hang here
		}
	}
	if err := (&Runner{Actions: map[string]Action{"any": rec}, Journal: &memory{}, Clock: WallClock{}}).Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if slices.Index(rec.calls, "vault:undo") < 0 || strings.Count(strings.Join(rec.calls, " "), "vault:undo") != 1 {
		t.Error(rec.calls)
	}
}

// TestFailedEarlyUndoIsTriedAgain at the end, and then is no failure.
func TestFailedEarlyUndoIsTriedAgain(t *testing.T) {
	p := stepsOf(t, "vault off>vault? image>off!")
	p.Steps[0].Until = []string{"off"}
	rec := &recorder{fail: map[string]int{"vault:undo": 1}}
	if err := (&Runner{Actions: map[string]Action{"any": rec}, Journal: &memory{}, Clock: WallClock{}}).Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(strings.Join(rec.calls, " "), "vault:undo"); n != 2 {
		t.Errorf("%d tries: %v", n, rec.calls)
	}
}

func TestCancelUndoes(t *testing.T) {
	p := stepsOf(t, "a b>a")
	ctx, cancel := context.WithCancelCause(t.Context())
	rec := &recorder{fail: map[string]int{}}
	rec.hook = func(call string, _ *Task) {
		if call == "b:do" {
			cancel(errors.New("interrupted"))
		}
	}
	rec.fail["b:do"] = 1
	err := (&Runner{Actions: map[string]Action{"any": rec}, Journal: &memory{}, Clock: WallClock{}}).Run(ctx, p)
	var run *RunError
	if !errors.As(err, &run) || run.Outcome != Cancelled || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%v", err)
	}
	if got := strings.Join(rec.calls, " "); got != "a:do b:do b:undo a:undo" {
		t.Error(got)
	}
}

func TestAbortKeepsAndCanBeResumed(t *testing.T) {
	p := stepsOf(t, "a b>a")
	m := &memory{}
	rec := &recorder{fail: map[string]int{"b:do": 1}}
	r := &Runner{Actions: map[string]Action{"any": rec}, Journal: m, Clock: WallClock{}, OnError: OnErrorAbort}
	err := r.Run(t.Context(), p)
	var run *RunError
	if !errors.As(err, &run) || !run.Kept {
		t.Fatalf("%v", err)
	}
	if err := r.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(rec.calls, " "); got != "a:do b:do b:do b:undo a:undo" {
		t.Error(got)
	}
}

// TestCancelledWhileItMayFail: a step that is stopped has not shown that it fails. The run is cancelled, and its products go.
func TestCancelledWhileItMayFail(t *testing.T) {
	p := stepsOf(t, "image! test>image?*")
	ctx, cancel := context.WithCancelCause(t.Context())
	rec := &recorder{fail: map[string]int{"test:do": 1}}
	rec.hook = func(call string, _ *Task) {
		if call == "test:do" {
			cancel(errors.New("interrupted"))
		}
	}
	m := &memory{}
	err := (&Runner{Actions: map[string]Action{"any": rec}, Journal: m, Clock: WallClock{}}).Run(ctx, p)
	var run *RunError
	if !errors.As(err, &run) || run.Outcome != Cancelled || rec.calls[len(rec.calls)-1] != "image:undo" {
		t.Errorf("%v %v", err, rec.calls)
	}
	for _, e := range m.entries {
		if e.Kind == EntryFlaw {
			t.Error("a step that was stopped counts as one that failed")
		}
	}
}

// TestTimeLimitOfAStepThatMayFail is a failure of the step's own, not of the run's.
func TestTimeLimitOfAStepThatMayFail(t *testing.T) {
	p := stepsOf(t, "a?*")
	p.Steps[0].Timeout, p.Steps[0].Args = time.Hour, json.RawMessage("{}")
	slow := Typed[struct{}, struct{}]{DoFunc: func(ctx context.Context, _ *Task, _ struct{}) (struct{}, error) {
		<-ctx.Done()
		return struct{}{}, ctx.Err()
	}}
	err := (&Runner{Actions: map[string]Action{"any": slow}, Journal: &memory{}, Clock: &still{}}).Run(t.Context(), p)
	var run *RunError
	if !errors.As(err, &run) || run.Outcome != FailedKept || !strings.Contains(err.Error(), "time limit of 1h0m0s") {
		t.Error(err)
	}
}

// TestProductMayNotFail: half of it would be kept.
func TestProductMayNotFail(t *testing.T) {
	p := &Plan{Run: "test", Steps: []Step{{ID: "a", Scope: Product, MayFail: true}}}
	if err := p.Check(); err == nil || !strings.Contains(err.Error(), "step a is kept, so it may not fail") {
		t.Error(err)
	}
}

func TestAskCanRetry(t *testing.T) {
	p := stepsOf(t, "a")
	rec := &recorder{fail: map[string]int{"a:do": 2}}
	asked := 0
	r := &Runner{Actions: map[string]Action{"any": rec}, Journal: &memory{}, Clock: WallClock{}, OnError: OnErrorAsk, Ask: func(Step, error) OnErrorAnswer { asked++; return AnswerRetry }}
	if err := r.Run(t.Context(), p); err != nil || asked != 2 {
		t.Error(err, asked)
	}
}

func TestPanicIsAFailureOfTheStep(t *testing.T) {
	p := stepsOf(t, "a b>a")
	rec := &recorder{fail: map[string]int{}}
	rec.hook = func(call string, _ *Task) {
		if call == "b:do" {
			panic("boom")
		}
	}
	err := (&Runner{Actions: map[string]Action{"any": rec}, Journal: &memory{}, Clock: WallClock{}}).Run(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "boom") || rec.calls[len(rec.calls)-1] != "a:undo" {
		t.Error(err, rec.calls)
	}
}

func TestSavedStateReachesTheNextProcess(t *testing.T) {
	p := stepsOf(t, "a?")
	m := &memory{die: 3} // plan, start, save; the end of the step cannot be written any more
	first := Typed[struct{}, struct{}]{DoFunc: func(_ context.Context, t *Task, _ struct{}) (struct{}, error) { return struct{}{}, t.Save("token-7") }}
	p.Steps[0].Args = json.RawMessage("{}")
	if err := (&Runner{Actions: map[string]Action{"any": first}, Journal: m, Clock: WallClock{}}).Run(t.Context(), p); err == nil {
		t.Fatal("a journal that cannot be written is no success")
	}
	m.die = 0
	got := ""
	second := Typed[struct{}, struct{}]{DoFunc: func(_ context.Context, t *Task, _ struct{}) (struct{}, error) {
		_, err := t.Saved(&got)
		return struct{}{}, err
	}}
	if err := (&Runner{Actions: map[string]Action{"any": second}, Journal: m, Clock: WallClock{}}).Resume(t.Context()); err != nil || got != "token-7" {
		t.Errorf("%v %q", err, got)
	}
}

// still is a clock that a test moves by hand.
type still struct {
	mu  sync.Mutex
	now time.Time
}

func (c *still) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *still) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
	return context.Cause(ctx)
}

func TestTimeLimitOfAStep(t *testing.T) {
	p := stepsOf(t, "a")
	p.Steps[0].Timeout = time.Hour
	slow := Typed[struct{}, struct{}]{DoFunc: func(ctx context.Context, _ *Task, _ struct{}) (struct{}, error) {
		<-ctx.Done()
		return struct{}{}, ctx.Err()
	}}
	p.Steps[0].Args = json.RawMessage("{}")
	err := (&Runner{Actions: map[string]Action{"any": slow}, Journal: &memory{}, Clock: &still{}}).Run(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "time limit of 1h0m0s") {
		t.Error(err)
	}
}

func TestSecretsAreTakenOut(t *testing.T) {
	p := stepsOf(t, "a")
	m := &memory{}
	rec := &recorder{fail: map[string]int{"a:do": 1}}
	rec.hook = func(_ string, t *Task) { t.Output("stdout", "the word is went") }
	var seen strings.Builder
	r := &Runner{Actions: map[string]Action{"any": rec}, Journal: m, Clock: WallClock{}, Redact: func(s string) string { return strings.ReplaceAll(s, "went", "(secret)") },
		Sink: SinkFunc(func(e Event) { fmt.Fprintln(&seen, e.Text, e.Err) })}
	err := r.Run(t.Context(), p)
	raw, _ := json.Marshal(m.entries)
	for where, text := range map[string]string{"journal": string(raw), "events": seen.String(), "error": fmt.Sprint(err)} {
		if strings.Contains(text, "went") || !strings.Contains(text, "(secret)") {
			t.Errorf("%s: %s", where, text)
		}
	}
}
