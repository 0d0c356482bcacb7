package vm

import (
	"context"
	"errors"
	"fmt"

	"ingot/internal/communicator"
	"ingot/internal/plan"
)

type generalizeArgs struct {
	By string `json:",omitempty"` // the step in which the template runs sysprep itself
}

type generalizeResult struct {
	ByTemplate bool // the template's own provisioner had run sysprep
}

// generalise makes the machine an image's.
func (b *build) generalise(ctx context.Context, t *plan.Task, a generalizeArgs) (generalizeResult, error) {
	dialled, err := b.dial(ctx, t)
	if err != nil {
		return generalizeResult{}, err
	}
	if g, ok := dialled.(communicator.Windows); ok {
		return b.sysprep(ctx, t, a, g)
	}
	return b.deprovision(ctx, t, dialled)
}

// deprovision makes a Linux machine an image's with waagent. A template that has done so itself, as Packer's examples do in their last
// shell provisioner, is recognised by the host keys that are gone.
func (b *build) deprovision(ctx context.Context, t *plan.Task, dialled communicator.Communicator) (generalizeResult, error) {
	g, ok := dialled.(communicator.Linux)
	if !ok {
		return generalizeResult{}, errors.New("cannot generalise: the communicator knows neither Windows nor Linux")
	}
	var began struct{ Began bool }
	if _, err := t.Saved(&began); err != nil {
		return generalizeResult{}, err
	}
	facts, err := g.Ready(ctx)
	switch {
	case began.Began && errors.Is(err, communicator.ErrAuth):
		// Another process of this run had begun, and went on in the guest: the account is gone, as it should be.
		t.Output("stdout", "the account is gone: deprovisioning had begun before this process")
		return generalizeResult{}, nil
	case err != nil:
		return generalizeResult{}, fmt.Errorf("cannot ask the guest for its state: %w", err)
	case facts.Deprovisioned && !began.Began:
		t.Output("stdout", "the template has deprovisioned the guest itself: not run again")
		return generalizeResult{ByTemplate: true}, nil
	}
	began.Began = true
	if err := t.Save(began); err != nil {
		return generalizeResult{}, err
	}
	if err := g.Deprovision(ctx, t.Output); err != nil {
		return generalizeResult{}, fmt.Errorf("cannot generalise: %w", err)
	}
	return generalizeResult{}, nil
}
