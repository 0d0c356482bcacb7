package vm

import (
	"errors"
	"sync"

	"ingot/internal/azure"
	"ingot/internal/communicator"
	"ingot/internal/engine"
	"ingot/internal/plan"
)

// build carries out the steps of one run. What it keeps in memory (the connection, the password) can all be had again from
// the journal and the run's vault, so that another process can go on.
type build struct {
	env engine.Env

	mu    sync.Mutex
	guest communicator.Communicator
}

// waiting is what a step that waits for Azure saves: the token of the operation it began, so that a step done again after a
// crash polls that operation instead of starting another.
type waiting struct {
	Token string `json:"token"`
}

// op ties a long operation of Azure to the step's memory.
func op(t *plan.Task) azure.Op {
	var w waiting
	if ok, err := t.Saved(&w); !ok || err != nil {
		w.Token = "" // nothing usable saved: the call looks at the resource itself
	}
	return azure.Op{
		Token:    w.Token,
		Save:     func(token string) error { return t.Save(waiting{token}) },
		Progress: func(status string) { t.Progress(-1, "%s", status) },
	}
}

// undoOp is op for undoing: it begins anew, because the saved token is the one of the operation that is being undone, and
// remembers nothing, because deleting twice is harmless.
func undoOp(t *plan.Task) azure.Op {
	return azure.Op{
		Save:     func(string) error { return nil },
		Progress: func(status string) { t.Progress(-1, "%s", status) },
	}
}

// idResult is the result of a step that makes one resource.
type idResult struct {
	ID string `json:"id"`
}

// addressResult is that of one with an address.
type addressResult struct {
	ID      string `json:"id"`
	Address string `json:"address,omitempty"`
}

// optional makes the absence of a step's result no error, for steps that not every plan has.
func optional(err error) error {
	if errors.Is(err, plan.ErrNoResult) {
		return nil
	}
	return err
}
