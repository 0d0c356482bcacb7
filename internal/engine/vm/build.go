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

// What every engine's steps have in common is in package engine; these are its names here.
type (
	idResult       = engine.IDResult
	productResult  = engine.ProductResult
	provisionArgs  = engine.ProvisionArgs
	groupArgs      = engine.GroupArgs
	newGalleryArgs = engine.NewGalleryArgs
	definitionArgs = engine.DefinitionArgs
)

func op(t *plan.Task) azure.Op     { return engine.Op(t) }
func undoOp(t *plan.Task) azure.Op { return engine.UndoOp(t) }

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
