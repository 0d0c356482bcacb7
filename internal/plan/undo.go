package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// startEarlyUndo begins the undoing of scratch steps that nothing needs any more. The lock is held.
func (x *execution) startEarlyUndo(parent context.Context, wg *sync.WaitGroup, running *int) {
	for _, s := range x.plan.Steps {
		rec := x.recs[s.ID]
		if len(s.Until) == 0 || !rec.done || rec.undone || rec.undoing || rec.err != nil || !x.past(s.Until) {
			continue
		}
		// Whoever else stands on this step must be gone first, or go with it.
		if x.stoodOn(rec) {
			continue
		}
		rec.undoing = true
		*running++
		wg.Go(func() {
			err := x.undo(parent, rec, "")
			x.mu.Lock()
			defer x.mu.Unlock()
			*running--
			rec.undoing = false
			rec.err = err // tried again at the end
			x.changed.Broadcast()
		})
	}
}

// past reports whether all of these steps are done. The lock is held.
func (x *execution) past(ids []string) bool {
	for _, id := range ids {
		if !x.recs[id].done {
			return false
		}
	}
	return true
}

// stoodOn reports whether a step that has an undo of its own, comes after rec and is undone early too, still stands. The
// lock is held.
func (x *execution) stoodOn(rec *record) bool {
	for _, s := range x.plan.Steps {
		if len(s.Until) == 0 || s.ID == rec.step.ID || x.recs[s.ID].undone || !x.recs[s.ID].started {
			continue
		}
		for _, id := range s.After {
			if id == rec.step.ID {
				return true
			}
		}
	}
	return false
}

// due reports whether rec is to be undone now that the run is judged.
func (x *execution) due(rec *record) bool {
	if !rec.started || rec.undone || rec.step.Scope == Nothing {
		return false
	}
	if !x.goes(rec.step.Scope) {
		return false
	}
	// A step within another goes with it, unless that one never began: then this step cannot have begun either, or the plan
	// did not make it wait, and it is undone by itself.
	if in := rec.step.Within; in != "" {
		if c := x.recs[in]; c.started && x.goes(c.step.Scope) {
			return false
		}
	}
	return true
}

// goes reports whether what has that scope is undone under the verdict. A product is only undone where the verdict is in the
// journal: a later process that found none would take the step for done, and call a run a success whose product is gone.
func (x *execution) goes(s Scope) bool {
	switch s {
	case Nothing:
		return false
	case Product:
		return !x.outcome.Keeps() && x.judged
	default:
		return true
	}
}

// keptUnjudged lists the products that a failed run keeps because its verdict could not be journalled.
func (x *execution) keptUnjudged() []LeftOver {
	var left []LeftOver
	if x.outcome.Keeps() || x.judged {
		return nil
	}
	for _, s := range x.plan.Steps {
		if rec := x.recs[s.ID]; s.Scope == Product && rec.started && !rec.undone {
			left = append(left, LeftOver{Step: s.ID, Title: s.Title, Err: errUnjudged})
		}
	}
	return left
}

var errUnjudged = errors.New("kept, because the verdict could not be written to the journal; make room on the disk, then clean up or resume the run")

// cleanUp undoes everything that is due, each step after those that stand on it, side by side where that allows it, and
// goes on past failures. It is not stopped by the run's context: that it was cancelled is the reason for being here.
func (x *execution) cleanUp(ctx context.Context) []LeftOver {
	x.mu.Lock()
	open := map[string]bool{}
	for _, s := range x.plan.Steps {
		if x.due(x.recs[s.ID]) {
			open[s.ID] = true
			x.recs[s.ID].err = nil
		}
	}
	blocked := x.blockers(open)
	running := 0
	var wg sync.WaitGroup
	var left []LeftOver
	for {
		for _, s := range x.plan.Steps {
			rec := x.recs[s.ID]
			if !open[s.ID] || rec.undoing || len(blocked[s.ID]) > 0 || x.lost() {
				continue
			}
			rec.undoing = true
			running++
			wg.Go(func() {
				err := x.undo(ctx, rec, x.outcome)
				x.mu.Lock()
				defer x.mu.Unlock()
				running--
				rec.undoing = false
				delete(open, s.ID)
				for _, b := range blocked {
					delete(b, s.ID)
				}
				if err != nil {
					left = append(left, LeftOver{Step: s.ID, Title: s.Title, Err: err})
				}
				x.changed.Broadcast()
			})
		}
		if running == 0 {
			break
		}
		x.changed.Wait()
	}
	x.mu.Unlock()
	wg.Wait()
	return left
}

// blockers lists, for each step to undo, the other steps to undo that come after it, directly or not.
func (x *execution) blockers(open map[string]bool) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for id := range open {
		out[id] = map[string]bool{}
	}
	for id := range open {
		seen := map[string]bool{}
		var up func(string)
		up = func(at string) {
			for _, before := range x.recs[at].step.After {
				if seen[before] {
					continue
				}
				seen[before] = true
				if open[before] {
					out[before][id] = true
				}
				up(before)
			}
		}
		up(id)
	}
	return out
}

// undoGrace is how long an Undo may go on after its context has ended before it is left behind.
const undoGrace = 30 * time.Second

// bounded calls an Undo and does not wait for one that ignores the end of its context: the rest is removed all the same. What
// is left behind that way can neither say nor journal anything any more.
func (x *execution) bounded(ctx context.Context, t *Task, undo func(context.Context, *Task) error) error {
	var gone atomic.Bool
	say, save := t.say, t.save
	t.say = func(e Event) {
		if !gone.Load() {
			say(e)
		}
	}
	t.save = func(raw json.RawMessage) error {
		if gone.Load() {
			return errLeftBehind
		}
		return save(raw)
	}
	ended := make(chan error, 1)
	go func() { ended <- guard(func() error { return undo(ctx, t) }) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	late, stop := context.WithCancel(context.Background())
	defer stop()
	waited := make(chan struct{})
	go func() {
		x.Clock.Sleep(late, undoGrace) //nolint:errcheck // either way the wait is over
		close(waited)
	}()
	select {
	case err := <-ended:
		return err
	case <-waited:
		gone.Store(true)
		return errLeftBehind
	}
}

var errLeftBehind = errors.New("the removal does not end and is not waited for any longer")

// undo undoes one step under a time limit of its own.
func (x *execution) undo(ctx context.Context, rec *record, outcome Outcome) error {
	limit := x.UndoTimeout
	if limit == 0 {
		limit = DefaultUndoTimeout
	}
	over := fmt.Errorf("time limit of %s reached", limit)
	ctx, stop := Within(context.WithoutCancel(ctx), x.Clock, limit, over)
	defer stop()
	ctx, drop := context.WithCancelCause(ctx)
	defer drop(nil)
	defer context.AfterFunc(x.held, func() { drop(ErrLost) })()
	// A journal that cannot be written does not keep us from removing what we know of.
	x.log(Entry{Kind: EntryUndo, Step: rec.step.ID}) //nolint:errcheck // kept in x.broken
	begun := x.Clock.Now()
	x.say(Event{Kind: UndoStarted, Step: rec.step.ID, Title: rec.step.Title})
	err := x.bounded(ctx, x.task(rec, outcome), rec.action.Undo)
	if err != nil && ctx.Err() != nil {
		err = because(err, context.Cause(ctx))
	}
	took := x.Clock.Now().Sub(begun)
	if err != nil {
		err = x.redact(err)
		x.log(Entry{Kind: EntryUndoFailed, Step: rec.step.ID, Error: err.Error()}) //nolint:errcheck // kept in x.broken
		x.say(Event{Kind: UndoFailed, Step: rec.step.ID, Title: rec.step.Title, Err: err.Error(), Elapsed: took})
		return err
	}
	x.mu.Lock()
	rec.undone = true
	x.logLocked(Entry{Kind: EntryUndone, Step: rec.step.ID}) //nolint:errcheck // kept in x.broken
	x.mu.Unlock()
	x.say(Event{Kind: UndoDone, Step: rec.step.ID, Title: rec.step.Title, Elapsed: took})
	return nil
}
