package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// OnError says what becomes of a run whose step failed.
type OnError string

const (
	OnErrorCleanup OnError = "cleanup" // judge the run failed and undo
	OnErrorAbort   OnError = "abort"   // leave everything and give no verdict: the run can be resumed
	OnErrorKeep    OnError = "keep"    // the same, for looking around; gc removes it
	OnErrorAsk     OnError = "ask"     // ask
)

// OnErrorAnswer is what a person decided about a failed step.
type OnErrorAnswer int

const (
	AnswerCleanup OnErrorAnswer = iota
	AnswerAbort
	AnswerRetry
)

// DefaultUndoTimeout bounds the undoing of one step.
const DefaultUndoTimeout = 15 * time.Minute

// Runner carries a plan out.
type Runner struct {
	Actions map[string]Action // by kind
	Journal Journal
	Clock   Clock
	Sink    Sink                // may be nil
	Redact  func(string) string // takes secrets out of everything that is shown or journalled as text; may be nil
	OnError OnError             // "" is OnErrorCleanup
	Ask     func(Step, error) OnErrorAnswer
	// Cancelled is asked a few times a second whether another process wants the run cancelled; may be nil.
	Cancelled   func() bool
	UndoTimeout time.Duration // per step; 0 is DefaultUndoTimeout
}

// RunError is how a run ended that did not end well.
type RunError struct {
	Outcome Outcome    // Succeeded when only the clean-up did not
	Err     error      // the first error, or the one of the verdict when the run was resumed after it
	Left    []LeftOver // what could not be undone
	Kept    bool       // nothing was undone on purpose (OnErrorAbort, OnErrorKeep): the run can be resumed
}

// LeftOver is a step that could not be undone.
type LeftOver struct {
	Step, Title string
	Err         error
}

// Error is the first error, and a line for each thing left.
func (e *RunError) Error() string {
	var text string
	switch {
	case e.Err != nil:
		text = e.Err.Error()
	case e.Outcome == Cancelled:
		text = "cancelled"
	default:
		text = "the image is ready, but not everything could be removed"
	}
	for _, l := range e.Left {
		text += fmt.Sprintf("\nleft behind: %s: %v", l.Title, l.Err)
	}
	return text
}

// Unwrap gives the first error.
func (e *RunError) Unwrap() error { return e.Err }

// ErrCancelled is the cause of a cancelled run.
var ErrCancelled = errors.New("cancelled")

// Run starts the plan, or goes on where the journal stops. It returns nil when everything is done and everything scratch
// is gone, and a *RunError otherwise. Cancelling ctx judges the run cancelled and undoes it; Run then still takes as long
// as undoing does.
func (r *Runner) Run(ctx context.Context, p *Plan) error {
	entries, err := r.Journal.Entries()
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return r.Resume(ctx)
	}
	if err := p.Check(); err != nil {
		return err
	}
	if err := r.Journal.Append(Entry{Time: r.Clock.Now(), Kind: EntryPlan, Plan: p}); err != nil {
		return err
	}
	return r.goOn(ctx, p, nil)
}

// Resume goes on with the plan that the journal holds.
func (r *Runner) Resume(ctx context.Context) error {
	p, entries, err := r.read()
	if err != nil {
		return err
	}
	return r.goOn(ctx, p, entries)
}

// CleanUp undoes whatever the journal says is still there. A run without a verdict is judged cancelled; nothing is done.
func (r *Runner) CleanUp(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(ErrCancelled)
	return r.Resume(ctx)
}

func (r *Runner) read() (*Plan, []Entry, error) {
	entries, err := r.Journal.Entries()
	if err != nil {
		return nil, nil, err
	}
	p, err := planOf(entries)
	return p, entries, err
}

func planOf(entries []Entry) (*Plan, error) {
	if len(entries) == 0 || entries[0].Kind != EntryPlan || entries[0].Plan == nil {
		return nil, errors.New("cannot resume: the journal holds no plan, so nothing had begun")
	}
	return entries[0].Plan, entries[0].Plan.Check()
}

// record is what is known of one step.
type record struct {
	step    Step
	action  Action
	started bool // Do was called in some process
	done    bool
	failed  bool
	undone  bool
	undoing bool // in this process, now
	err     error
	saved   json.RawMessage
	result  json.RawMessage
}

// execution is one call of Run: a Runner's state, guarded by mu.
type execution struct {
	*Runner
	plan  *Plan
	order []int
	begun time.Time

	mu      sync.Mutex
	changed *sync.Cond
	recs    map[string]*record
	outcome Outcome // the verdict
	verdict error
	judged  bool  // the verdict is in the journal: a later process cannot think otherwise
	broken  error // the journal cannot be written
	asking  sync.Mutex
	settled bool // somebody was asked and ended the run; guarded by asking
	sinking sync.Mutex
}

func (r *Runner) goOn(ctx context.Context, p *Plan, entries []Entry) error {
	order, err := p.order()
	if err != nil {
		return err
	}
	x := &execution{Runner: r, plan: p, order: order, recs: map[string]*record{}, begun: r.Clock.Now()}
	x.changed = sync.NewCond(&x.mu)
	var missing []error
	for _, s := range p.Steps {
		a, ok := r.Actions[s.Kind]
		if !ok {
			missing = append(missing, fmt.Errorf("cannot run step %s: nobody knows how to do %q", s.ID, s.Kind))
		}
		x.recs[s.ID] = &record{step: s, action: a}
	}
	if len(missing) > 0 {
		return errors.Join(missing...)
	}
	for _, e := range entries {
		x.replay(e)
	}
	x.say(Event{Kind: RunStarted, Plan: p, Title: p.Title})
	for _, s := range p.Steps {
		if rec := x.recs[s.ID]; rec.done {
			x.say(Event{Kind: StepSkipped, Step: s.ID, Title: s.Title})
		}
	}
	if x.outcome == "" {
		if kept := x.forward(ctx); kept != nil {
			x.say(Event{Kind: RunFinished, Outcome: Failed, Err: kept.Error(), Elapsed: r.Clock.Now().Sub(x.begun)})
			return kept
		}
	}
	x.say(Event{Kind: Verdict, Outcome: x.outcome, Err: text(x.verdict)})
	left := append(x.cleanUp(ctx), x.keptUnjudged()...)
	if x.broken == nil && len(left) == 0 {
		x.broken = x.write(Entry{Kind: EntryFinished, Outcome: x.outcome})
	}
	var end error
	if x.outcome != Succeeded || len(left) > 0 || x.broken != nil {
		why := x.verdict
		if !errors.Is(why, x.broken) {
			why = errors.Join(why, x.broken)
		}
		end = &RunError{Outcome: x.outcome, Err: why, Left: left}
	}
	x.say(Event{Kind: RunFinished, Outcome: x.outcome, Err: text(end), Elapsed: r.Clock.Now().Sub(x.begun)})
	return end
}

// replay puts one entry of an earlier process back into memory.
func (x *execution) replay(e Entry) {
	rec := x.recs[e.Step]
	if rec == nil {
		if e.Kind == EntryVerdict {
			x.outcome, x.judged = e.Outcome, true
			if e.Error != "" {
				x.verdict = errors.New(e.Error)
			}
		}
		return
	}
	switch e.Kind {
	case EntryStart:
		rec.started, rec.failed = true, false
	case EntrySave:
		rec.saved = e.Data
	case EntryDone:
		rec.done, rec.result = true, e.Data
	case EntryFailed:
		rec.failed = true
	case EntryUndone:
		rec.undone = true
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// say sends an event, redacted.
func (x *execution) say(e Event) {
	if x.Sink == nil {
		return
	}
	e.Run = x.plan.Run
	e.Text, e.Err = x.clean(e.Text), x.clean(e.Err)
	x.sinking.Lock()
	defer x.sinking.Unlock()
	e.Time = x.Clock.Now() // under the lock: events reach the sink in the order of their times
	x.Sink.Event(e)
}

func (x *execution) clean(s string) string {
	if x.Redact == nil || s == "" {
		return s
	}
	return x.Redact(s)
}

// redacted is an error whose text has been cleaned while its chain is kept for those who act on it.
type redacted struct {
	text string
	err  error
}

func (e *redacted) Error() string { return e.text }
func (e *redacted) Unwrap() error { return e.err }

func (x *execution) redact(err error) error {
	if err == nil {
		return nil
	}
	if t := x.clean(err.Error()); t != err.Error() {
		return &redacted{t, err}
	}
	return err
}

// write journals e. The journal's own lock is the caller's: x.mu must be held or nobody else be running.
func (x *execution) write(e Entry) error {
	e.Time = x.Clock.Now()
	e.Error = x.clean(e.Error)
	return x.Journal.Append(e)
}

// log journals e under the lock and remembers when the journal is broken: nothing new is begun then.
func (x *execution) log(e Entry) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.logLocked(e)
}

func (x *execution) logLocked(e Entry) error {
	err := x.write(e)
	if err != nil && x.broken == nil {
		x.broken = err
	}
	return err
}

// task is what an Action sees of a step.
func (x *execution) task(rec *record, outcome Outcome) *Task {
	return &Task{
		Run: x.plan.Run, Step: rec.step, Outcome: outcome, clock: x.Clock, plan: x.plan, saved: rec.saved,
		find: func(step string) (json.RawMessage, bool) {
			x.mu.Lock()
			defer x.mu.Unlock()
			r := x.recs[step]
			if r == nil || r.result == nil {
				return nil, false
			}
			return r.result, true
		},
		save: func(raw json.RawMessage) error {
			x.mu.Lock()
			defer x.mu.Unlock()
			rec.saved = raw
			return x.logLocked(Entry{Kind: EntrySave, Step: rec.step.ID, Data: raw})
		},
		say: func(e Event) {
			e.Step, e.Title = rec.step.ID, rec.step.Title
			x.say(e)
		},
	}
}

// forward does the steps and judges the run. It returns an error only when no verdict was given on purpose.
func (x *execution) forward(parent context.Context) *RunError {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	if x.Cancelled != nil {
		if x.Cancelled() { // asked for while no process was there to hear it
			stop(ErrCancelled)
		}
		watch, unwatch := context.WithCancel(context.WithoutCancel(parent))
		defer unwatch()
		go x.watch(watch, stop)
	}
	wake := context.AfterFunc(ctx, func() { x.mu.Lock(); x.changed.Broadcast(); x.mu.Unlock() })
	defer wake()

	var wg sync.WaitGroup
	running := 0
	x.mu.Lock()
	var first error
	var interrupted, keep bool // interrupted: before anything failed
	for {
		if x.broken != nil { // what cannot be remembered is not worth an hour's wait
			stop(fmt.Errorf("stopped because of the journal: %w", x.broken))
		}
		if ctx.Err() == nil && x.broken == nil && first == nil {
			for _, s := range x.plan.Steps {
				rec := x.recs[s.ID]
				if rec.done || rec.started && rec.undoing || rec.err != nil || !x.ready(rec) || rec.undoing {
					continue
				}
				rec.undoing = true // taken; cleared when it ends
				running++
				wg.Go(func() {
					err := x.do(ctx, rec)
					x.mu.Lock()
					defer x.mu.Unlock()
					running--
					rec.undoing = false
					rec.err = err
					if err != nil && first == nil && !errors.Is(err, errAborted) {
						first, interrupted = err, ctx.Err() != nil
						stop(fmt.Errorf("stopped because step %s failed", rec.step.ID))
					}
					x.changed.Broadcast()
				})
			}
			x.startEarlyUndo(parent, &wg, &running)
		}
		if running == 0 {
			break
		}
		x.changed.Wait()
	}
	x.mu.Unlock()
	wg.Wait()

	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.broken != nil:
		x.outcome, x.verdict = Failed, x.broken
	case first == nil && ctx.Err() == nil:
		x.outcome = Succeeded
	case first == nil || interrupted:
		x.outcome, x.verdict = Cancelled, cancelCause(parent, ctx)
	default:
		x.outcome, x.verdict = Failed, x.redact(first)
		keep = x.OnError == OnErrorAbort || x.OnError == OnErrorKeep || errors.Is(first, errAbortAsked)
	}
	if keep {
		err := &RunError{Outcome: Failed, Err: x.verdict, Kept: true}
		x.outcome, x.verdict = "", nil
		return err
	}
	// Tried on a broken journal too: a disk that was full may have room for one line by now.
	x.judged = x.logLocked(Entry{Kind: EntryVerdict, Outcome: x.outcome, Error: text(x.verdict)}) == nil
	return nil
}

var (
	errAborted    = errors.New("aborted")
	errAbortAsked = errors.New("left as it is")
)

func cancelCause(parent, ctx context.Context) error {
	if c := context.Cause(parent); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	if c := context.Cause(ctx); errors.Is(c, ErrCancelled) {
		return c
	}
	return ErrCancelled
}

// watch asks a few times a second, in real time, whether another process wants the run cancelled.
func (x *execution) watch(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if x.Cancelled() {
				stop(ErrCancelled)
				return
			}
		}
	}
}

// ready reports whether all that rec waits for is done. The lock is held.
func (x *execution) ready(rec *record) bool {
	for _, id := range rec.step.After {
		if !x.recs[id].done {
			return false
		}
	}
	return true
}

// do does one step, again if a person says so.
func (x *execution) do(ctx context.Context, rec *record) error {
	for {
		err := x.doOnce(ctx, rec)
		if err == nil || ctx.Err() != nil || x.OnError != OnErrorAsk || x.Ask == nil {
			return err
		}
		answer, asked := x.ask(ctx, rec.step, err)
		if !asked {
			return err
		}
		switch answer {
		case AnswerRetry:
			continue
		case AnswerAbort:
			return fmt.Errorf("%w: %w", errAbortAsked, err)
		default:
			return err
		}
	}
}

// ask asks about one step at a time, and not once an answer about another has ended the run.
func (x *execution) ask(ctx context.Context, s Step, err error) (answer OnErrorAnswer, asked bool) {
	x.asking.Lock()
	defer x.asking.Unlock()
	if x.settled || ctx.Err() != nil {
		return AnswerCleanup, false
	}
	answer = x.Ask(s, x.redact(err))
	x.settled = x.settled || answer != AnswerRetry
	return answer, true
}

func (x *execution) doOnce(ctx context.Context, rec *record) error {
	if err := x.log(Entry{Kind: EntryStart, Step: rec.step.ID}); err != nil {
		return errAborted
	}
	x.mu.Lock()
	rec.started = true
	x.mu.Unlock()
	begun := x.Clock.Now()
	x.say(Event{Kind: StepStarted, Step: rec.step.ID, Title: rec.step.Title})
	if rec.step.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = Within(ctx, x.Clock, rec.step.Timeout, fmt.Errorf("time limit of %s reached", rec.step.Timeout))
		defer stop()
	}
	t := x.task(rec, "")
	err := guard(func() error { return rec.action.Do(ctx, t) })
	if err != nil && ctx.Err() != nil {
		err = because(err, context.Cause(ctx))
	}
	took := x.Clock.Now().Sub(begun)
	if err != nil {
		err = fmt.Errorf("%s: %w", rec.step.Title, err)
		x.log(Entry{Kind: EntryFailed, Step: rec.step.ID, Error: err.Error()}) //nolint:errcheck // kept in x.broken
		x.say(Event{Kind: StepFailed, Step: rec.step.ID, Title: rec.step.Title, Err: err.Error(), Elapsed: took})
		return err
	}
	result := t.result
	if result == nil {
		result = json.RawMessage("null")
	}
	x.mu.Lock()
	if err := x.logLocked(Entry{Kind: EntryDone, Step: rec.step.ID, Data: result}); err != nil {
		x.mu.Unlock()
		return errAborted
	}
	rec.done, rec.result = true, result
	x.mu.Unlock()
	x.say(Event{Kind: StepDone, Step: rec.step.ID, Title: rec.step.Title, Elapsed: took})
	return nil
}

// because makes sure that the error names the cause of the context's end, which libraries tend to swallow.
func because(err, cause error) error {
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// guard turns a panic into an error, so that one broken action does not cost the clean-up of all the others.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a defect in Ingot: panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
