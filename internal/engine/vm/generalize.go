package vm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/plan"
)

// Image states of Windows Setup, in HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State
// (https://learn.microsoft.com/windows-hardware/manufacture/desktop/windows-setup-states).
const (
	stateComplete    = "IMAGE_STATE_COMPLETE"
	stateGeneralized = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
)

type generalizeArgs struct{}

type generalizeResult struct {
	ByTemplate bool // the template's own provisioner had run sysprep
}

// sysprep generalises Windows and waits until it is. A template that ran sysprep itself, as Packer's documentation teaches,
// has left the state we want, or is on its way to it: then nothing is started a second time.
func (b *build) sysprep(ctx context.Context, t *plan.Task, _ generalizeArgs) (generalizeResult, error) {
	dialled, err := b.dial(ctx, t)
	if err != nil {
		return generalizeResult{}, err
	}
	g, ok := dialled.(communicator.Windows)
	if !ok {
		return b.deprovision(ctx, t, dialled)
	}
	facts, err := g.Ready(ctx)
	if err != nil {
		return generalizeResult{}, fmt.Errorf("cannot ask the guest for its image state: %w", err)
	}
	var began struct{ Began bool }
	if _, err := t.Saved(&began); err != nil {
		return generalizeResult{}, err
	}
	byTemplate := !began.Began && (facts.ImageState == stateGeneralized || facts.Sysprep)
	switch {
	case byTemplate:
		t.Output("stdout", "the template has run sysprep itself ("+facts.ImageState+"): not run again")
		began.Began = true
	case facts.ImageState != stateGeneralized:
		// The folder that scripts were run from must not be in the image, and nothing uses it any more.
		if err := g.Discard(ctx); err != nil {
			return generalizeResult{}, fmt.Errorf("cannot remove what the build left in the guest: %w", err)
		}
		began.Began = true
		if err := t.Save(began); err != nil {
			return generalizeResult{}, err
		}
		if err := g.Sysprep(ctx, false); err != nil {
			return generalizeResult{}, fmt.Errorf("cannot start sysprep: %w", err)
		}
	}
	if err := b.untilGeneralized(ctx, t, g); err != nil {
		return generalizeResult{byTemplate}, err
	}
	if byTemplate {
		if err := g.Discard(ctx); err != nil {
			return generalizeResult{}, fmt.Errorf("cannot remove what the build left in the guest: %w", err)
		}
	}
	return generalizeResult{byTemplate}, nil
}

// untilGeneralized follows the image state. Sysprep that is gone without having reached its goal has failed, and its own log
// says why; the state in which it stopped may well look harmless (packer#9818, packer-plugin-azure#350).
func (b *build) untilGeneralized(ctx context.Context, t *plan.Task, g communicator.Windows) error {
	idle := 0
	last := ""
	for wait := time.Second; ; wait = min(wait*3/2, 10*time.Second) {
		facts, err := g.Ready(ctx)
		if err != nil {
			return b.sysprepError(ctx, g, fmt.Errorf("cannot follow sysprep: %w", err))
		}
		if facts.ImageState != last {
			last = facts.ImageState
			t.Progress(-1, "%s", last)
			t.Output("stdout", last)
		}
		if last == stateGeneralized && !facts.Sysprep {
			return nil
		}
		if facts.Sysprep {
			idle = 0
		} else if idle++; idle >= 3 { // it may take a moment to show, and the state may be written a moment after it ended
			return b.sysprepError(ctx, g, fmt.Errorf("cannot generalise: sysprep ended and left %s", last))
		}
		if err := t.Clock().Sleep(ctx, wait); err != nil {
			return b.sysprepError(ctx, g, fmt.Errorf("cannot generalise: still %s: %w", last, err))
		}
	}
}

// sysprepError adds what sysprep's own logs say, if they can still be read.
func (b *build) sysprepError(ctx context.Context, g communicator.Windows, cause error) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer stop()
	log, err := g.Panther(ctx)
	if err != nil || strings.TrimSpace(log) == "" {
		return cause
	}
	return fmt.Errorf("%w\nsysprep's own log ends:\n%s", cause, strings.TrimSpace(log))
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
