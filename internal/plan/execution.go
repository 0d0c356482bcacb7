package plan

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

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
	flaw    error // how a step that may fail has failed; done is set, too
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
	judged  bool            // the verdict is in the journal: a later process cannot think otherwise
	broken  error           // the journal cannot be written
	held    context.Context // ends when the run is lost; see Runner.Lost
	asking  sync.Mutex
	settled bool // somebody was asked and ended the run; guarded by asking
	sinking sync.Mutex
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
	case EntryFlaw:
		rec.done, rec.flaw = true, errors.New(e.Error)
	case EntryUndone:
		rec.undone = true
	}
}

// flaws are the failures that the run went on past, in the plan's order. The lock is held.
func (x *execution) flaws() error {
	var all []error
	for _, s := range x.plan.Steps {
		all = append(all, x.recs[s.ID].flaw)
	}
	return errors.Join(all...)
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
	if x.lost() {
		return ErrLost
	}
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

// watchLost makes a context of the channel.
func watchLost(lost <-chan struct{}) (held context.Context, unwatch func()) {
	held, drop := context.WithCancelCause(context.Background())
	select {
	case <-lost:
		drop(ErrLost)
	default:
	}
	done := make(chan struct{})
	go func() {
		defer drop(nil)
		select {
		case <-lost:
			drop(ErrLost)
		case <-done:
		}
	}()
	return held, sync.OnceFunc(func() { close(done) })
}

// lost reports that the run is not ours any more.
func (x *execution) lost() bool { return x.held.Err() != nil || errors.Is(x.broken, ErrLost) }

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
			x.changed.Broadcast() // a detached run waits for what is saved
			return x.logLocked(Entry{Kind: EntrySave, Step: rec.step.ID, Data: raw})
		},
		say: func(e Event) {
			e.Step, e.Title = rec.step.ID, rec.step.Title
			x.say(e)
		},
	}
}
