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
	letGo := context.AfterFunc(x.held, func() { stop(ErrLost) })
	defer letGo()
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
		if x.Detach && ctx.Err() == nil && x.aloneNow() {
			stop(ErrDetached)
		}
		x.changed.Wait()
	}
	x.mu.Unlock()
	wg.Wait()

	x.mu.Lock()
	defer x.mu.Unlock()
	if x.lost() {
		return &RunError{Outcome: Failed, Err: ErrLost, Kept: true}
	}
	// A person's interrupt in the same moment goes first; and what ended while it was being let go of has ended.
	if errors.Is(context.Cause(ctx), ErrDetached) && parent.Err() == nil && x.broken == nil && !x.allDone() && (first == nil || interrupted) {
		return &RunError{Err: ErrDetached, Kept: true}
	}
	switch {
	case x.broken != nil:
		x.outcome, x.verdict = Failed, x.broken
	case first == nil && (ctx.Err() == nil || x.allDone() && parent.Err() == nil && errors.Is(context.Cause(ctx), ErrDetached)):
		x.outcome = Succeeded
		if flaws := x.flaws(); flaws != nil {
			x.outcome, x.verdict = FailedKept, x.redact(fmt.Errorf("what the run made is kept, but it has failed: %w", flaws))
		}
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
		if err == nil || ctx.Err() != nil || rec.step.MayFail || x.OnError != OnErrorAsk || x.Ask == nil {
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
	begun, run := x.Clock.Now(), ctx
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
	if err != nil && errors.Is(context.Cause(ctx), ErrDetached) {
		return fmt.Errorf("%s: %w", rec.step.Title, err) // no failure: another process goes on with it
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", rec.step.Title, err)
		if rec.step.MayFail && run.Err() == nil { // a step that was stopped has not shown that it fails
			return x.goPast(rec, err, took)
		}
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

// goPast journals the failure of a step that may fail, which is then as good as done.
func (x *execution) goPast(rec *record, err error, took time.Duration) error {
	x.mu.Lock()
	if x.logLocked(Entry{Kind: EntryFlaw, Step: rec.step.ID, Error: err.Error()}) != nil {
		x.mu.Unlock()
		return errAborted
	}
	rec.done, rec.flaw = true, err
	x.mu.Unlock()
	x.say(Event{Kind: StepFailed, Step: rec.step.ID, Title: rec.step.Title, Err: err.Error(), Elapsed: took})
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
