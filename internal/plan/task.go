package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Task is one step while an Action works on it: its arguments, the results of the steps before it, and its memory.
// It is made by the Runner.
type Task struct {
	Run     string
	Step    Step
	Outcome Outcome // how the run was judged; empty during Do and while a step is undone early

	clock  Clock
	plan   *Plan
	prefix string // see Through
	saved  json.RawMessage
	result json.RawMessage
	find   func(step string) (json.RawMessage, bool)
	save   func(json.RawMessage) error
	say    func(Event)
}

// Clock is the runner's clock; every wait goes through it.
func (t *Task) Clock() Clock { return t.clock }

// Find returns another step of the plan.
func (t *Task) Find(step string) (Step, bool) {
	if t.prefix != "" {
		if s, ok := t.plan.Find(t.prefix + step); ok {
			return s, true
		}
	}
	return t.plan.Find(step)
}

// Through is the task as seen through a prefix: what it asks of step "x" it is told of step prefix+"x" where the plan has one. So the
// actions for one machine serve a second one, whose steps have the prefix.
func (t *Task) Through(prefix string) *Task {
	c := *t
	c.prefix = prefix
	return &c
}

// Args decodes the step's arguments into v.
func (t *Task) Args(v any) error {
	if err := json.Unmarshal(t.Step.Args, v); err != nil {
		return fmt.Errorf("cannot read the arguments of step %s: %w", t.Step.ID, err)
	}
	return nil
}

// ErrNoResult is returned by Result for a step that has none (not done, or kept none).
var ErrNoResult = errors.New("no result")

// Result decodes what the step with that id left with SetResult, in this process or an earlier one.
func (t *Task) Result(step string, v any) error {
	if t.prefix != "" {
		if _, ok := t.plan.Find(t.prefix + step); ok {
			step = t.prefix + step
		}
	}
	raw, ok := t.find(step)
	if !ok {
		return fmt.Errorf("cannot find the result of step %s: %w", step, ErrNoResult)
	}
	return json.Unmarshal(raw, v)
}

// SetResult leaves v for the steps after this one. It is journalled with the step's end, so it must hold no secret.
func (t *Task) SetResult(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	t.result = raw
	return nil
}

// Save journals v at once, so that a Do called again after a crash, or an Undo, can go on from here with Saved. This is
// where the token of a long operation belongs, right after the operation was accepted. Only the last saved value is kept.
func (t *Task) Save(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := t.save(raw); err != nil {
		return err
	}
	t.saved = raw
	return nil
}

// Saved decodes what was saved last, in this process or an earlier one; it reports whether anything was.
func (t *Task) Saved(v any) (bool, error) {
	if len(t.saved) == 0 {
		return false, nil
	}
	return true, json.Unmarshal(t.saved, v)
}

// Output shows one line of what the guest (or the step) says. stream is "stdout" or "stderr".
func (t *Task) Output(stream, line string) {
	t.say(Event{Kind: StepOutput, Stream: stream, Text: line})
}

// Progress shows where the step is; fraction is 0 to 1, or negative where unknown.
func (t *Task) Progress(fraction float64, format string, args ...any) {
	t.say(Event{Kind: StepProgress, Fraction: fraction, Text: fmt.Sprintf(format, args...)})
}

// Typed makes an Action of two functions over the step's own argument type A and result type R.
type Typed[A, R any] struct {
	// DoFunc does the step. It may be called again after a crash.
	DoFunc func(ctx context.Context, t *Task, a A) (R, error)
	// UndoFunc undoes it; r is nil when Do never finished. A nil UndoFunc means there is nothing to undo.
	UndoFunc func(ctx context.Context, t *Task, a A, r *R) error
}

// Do decodes the arguments, calls DoFunc and keeps its result.
func (x Typed[A, R]) Do(ctx context.Context, t *Task) error {
	var a A
	if err := t.Args(&a); err != nil {
		return err
	}
	r, err := x.DoFunc(ctx, t, a)
	if err != nil {
		return err
	}
	return t.SetResult(r)
}

// Undo decodes the arguments and, where there is one, the step's own result, and calls UndoFunc.
func (x Typed[A, R]) Undo(ctx context.Context, t *Task) error {
	if x.UndoFunc == nil {
		return nil
	}
	var a A
	if err := t.Args(&a); err != nil {
		return err
	}
	var r R
	err := t.Result(t.Step.ID, &r)
	if errors.Is(err, ErrNoResult) {
		return x.UndoFunc(ctx, t, a, nil)
	}
	if err != nil {
		return err
	}
	return x.UndoFunc(ctx, t, a, &r)
}
