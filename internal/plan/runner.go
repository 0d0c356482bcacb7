package plan

import (
	"context"
	"errors"
	"fmt"
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
	// Lost is closed when the run is not this process's any more (Held.Lost); nil: it cannot be lost. Everything stops then, and
	// nothing is undone: another process may have the run by now.
	Lost <-chan struct{}
	// Detach ends Run with ErrDetached once only steps that go on alone are left to wait for (Plan.Alone).
	Detach bool
}

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

// PlanOf is the plan that a journal begins with.
func PlanOf(entries []Entry) (*Plan, error) { return planOf(entries) }

func planOf(entries []Entry) (*Plan, error) {
	if len(entries) == 0 || entries[0].Kind != EntryPlan || entries[0].Plan == nil {
		return nil, errors.New("cannot resume: the journal holds no plan, so nothing had begun")
	}
	return entries[0].Plan, entries[0].Plan.Check()
}

func (r *Runner) goOn(ctx context.Context, p *Plan, entries []Entry) error {
	order, err := p.order()
	if err != nil {
		return err
	}
	x := &execution{Runner: r, plan: p, order: order, recs: map[string]*record{}, begun: r.Clock.Now()}
	x.changed = sync.NewCond(&x.mu)
	var unwatch func()
	x.held, unwatch = watchLost(r.Lost)
	defer unwatch()
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
		switch rec := x.recs[s.ID]; {
		case rec.flaw != nil:
			x.say(Event{Kind: StepFailed, Step: s.ID, Title: s.Title, Err: rec.flaw.Error()})
		case rec.done:
			x.say(Event{Kind: StepSkipped, Step: s.ID, Title: s.Title})
		}
	}
	if x.outcome == "" {
		if kept := x.forward(ctx); kept != nil {
			if kept.Detached() {
				x.say(Event{Kind: Notice, Text: kept.Error()})
			}
			x.say(Event{Kind: RunFinished, Outcome: kept.Outcome, Err: kept.Error(), Elapsed: r.Clock.Now().Sub(x.begun)})
			return kept
		}
	}
	x.say(Event{Kind: Verdict, Outcome: x.outcome, Err: text(x.verdict)})
	left := append(x.cleanUp(ctx), x.keptUnjudged()...)
	if x.lost() {
		end := &RunError{Outcome: x.outcome, Err: ErrLost, Kept: true}
		x.say(Event{Kind: RunFinished, Outcome: x.outcome, Err: end.Error(), Elapsed: r.Clock.Now().Sub(x.begun)})
		return end
	}
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
