// Package plan runs a graph of steps, remembers every one of them on disk, and undoes what must not stay.
//
// It knows nothing of Azure, images or guests: a step has a kind, and whoever starts the runner hands in an Action per
// kind. A plan is data: it can be printed, compared, and carried to another machine together with its journal.
package plan

import (
	"context"
	"encoding/json"
	"time"
)

// Scope says what becomes of what a step made.
type Scope string

const (
	// Scratch is always undone, whatever the verdict.
	Scratch Scope = "scratch"
	// Product is undone only if the run fails or is cancelled (Outcome.Keeps).
	Product Scope = "product"
	// Nothing makes nothing that stays, so there is nothing to undo.
	Nothing Scope = "nothing"
)

// Step is one node of the graph. Everything in it is data and free of secrets: it is printed and journalled.
type Step struct {
	ID    string `json:"id"`    // unique in the plan, stable between runs of the same template: "vm", "provision-3"
	Kind  string `json:"kind"`  // picks the Action
	Title string `json:"title"` // what a person reads: "Create VM ingot-vm-7f3a"

	// After names the steps that must be done before this one starts.
	After []string `json:"after,omitempty"`
	// Scope says whether the step's work is kept.
	Scope Scope `json:"scope"`
	// Within names a step whose Undo takes this step's work with it (a resource in a group that is deleted whole), so that
	// this step's own Undo is not called. Empty: undone by itself.
	Within string `json:"within,omitempty"`
	// Until names the steps after which a Scratch step's work is not needed any more: it is undone then, side by side with
	// the rest, and not again at the end unless that failed. Empty: undone after the verdict.
	Until []string `json:"until,omitempty"`
	// Estimate is how long Do takes as far as one can tell; it feeds the critical path, nothing else.
	Estimate time.Duration `json:"estimate,omitempty"`
	// UndoEstimate is the same for Undo.
	UndoEstimate time.Duration `json:"undoEstimate,omitempty"`
	// Alone says that once begun and accepted (its token saved) the step goes on without a runner, which only has to see how it
	// ends: a copy of hours in the cloud. Every other step needs a process beside it.
	Alone bool `json:"alone,omitempty"`
	// MayFail says that the run goes on when the step fails, as if it were done: what comes after it must not need its result. The
	// failure is remembered, and the run ends FailedKept. It is not asked about, and OnError does not speak of it. A step whose work
	// is kept cannot be one: half of a product would be kept.
	MayFail bool `json:"mayFail,omitempty"`
	// Timeout bounds Do; zero means no bound.
	Timeout time.Duration `json:"timeout,omitempty"`

	Args json.RawMessage `json:"args,omitempty"`
}

// Plan is a graph of steps and what is needed to carry it out again elsewhere.
type Plan struct {
	Run   string            `json:"run"`   // the run's id, part of every name the plan chose
	Title string            `json:"title"` // "azure-arm.windows-11"
	Made  time.Time         `json:"made"`
	Meta  map[string]string `json:"meta,omitempty"` // for whoever made the plan: template path, cloud, subscription; never secrets
	Steps []Step            `json:"steps"`
}

// Action does and undoes the steps of one kind. Do may be called again after a crash, and Undo after a Do that never
// finished or never began to act: both look before they act. Undo of nothing is success.
type Action interface {
	Do(ctx context.Context, t *Task) error
	Undo(ctx context.Context, t *Task) error
}

// Clock is time as the runner sees it; a rehearsal hands in one that runs faster.
type Clock interface {
	Now() time.Time
	// Sleep waits for d or until ctx is done, whose cause it then returns.
	Sleep(ctx context.Context, d time.Duration) error
}

// Find returns the step with that id.
func (p *Plan) Find(id string) (Step, bool) {
	for _, s := range p.Steps {
		if s.ID == id {
			return s, true
		}
	}
	return Step{}, false
}
