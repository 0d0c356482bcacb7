package vm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/plan"
	"ingot/internal/provisioner"
)

// Image states of Windows Setup, in HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State
// (https://learn.microsoft.com/windows-hardware/manufacture/desktop/windows-setup-states).
const (
	stateComplete     = "IMAGE_STATE_COMPLETE"
	stateUndeployable = "IMAGE_STATE_UNDEPLOYABLE"
	stateGeneralized  = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
)

const (
	// deprovisioningScript is Image Builder's way to have a sysprep of one's own; AVD's AdminSysPrep.ps1 changes it (reference: Generalize).
	deprovisioningScript = `C:\DeprovisioningScript.ps1`
	// untilBegun is how long sysprep may run without changing the image state. It marks the image undeployable once its checks are over,
	// within a minute or two; one that does not is waiting for something that never comes (packer#9818).
	untilBegun = 20 * time.Minute
	// ownPatience is how long the template's own sysprep may take to show: a script does not wait for a graphical program.
	ownPatience = time.Minute
	// silence of the guest after which Azure is asked whether the machine is turned off.
	silence = 3 * time.Minute
	// scriptPatience is how long a deprovisioning script may go on after the guest is generalised.
	scriptPatience = 3 * time.Minute
	// maxRestarts for a pending restart: updates may need a second one; what is pending after that is no update's.
	maxRestarts = 2
)

// turnedOff is said where the step goes on although the guest is gone.
const turnedOff = `sysprep has turned the machine off: that it is generalised cannot be read any more, and the build's folder in C:\Windows\Temp stays; write /quit in place of /shutdown`

// sysprepMemory is what the step saves.
type sysprepMemory struct {
	Began    bool            `json:",omitempty"` // sysprep, or the script that runs it, is about to be started
	Script   bool            `json:",omitempty"` // by C:\DeprovisioningScript.ps1
	Since    time.Time       `json:",omitzero"`
	Checks   int             `json:",omitempty"` // each question to the guest has a name of its own
	Restarts int             `json:",omitempty"`
	Restart  json.RawMessage `json:",omitempty"` // the restart that is under way
	Appx     []string        `json:",omitempty"` // for the error, should sysprep refuse
}

// errOff: the machine was turned off in the guest, which sysprep does with /shutdown.
var errOff = errors.New("the machine is turned off")

// sysprep generalises Windows and waits until it is. A template that ran sysprep itself, as Packer's documentation teaches,
// has left the state we want, or is on its way to it: then nothing is started a second time.
func (b *build) sysprep(ctx context.Context, t *plan.Task, a generalizeArgs, g communicator.Windows) (generalizeResult, error) {
	var m sysprepMemory
	if _, err := t.Saved(&m); err != nil {
		return generalizeResult{}, err
	}
	facts, byTemplate, err := b.begunByTemplate(ctx, t, a, g, m.Began)
	switch {
	case errors.Is(err, errOff) && (m.Began || a.By != ""):
		t.Output("stderr", turnedOff)
		return generalizeResult{a.By != ""}, nil
	case err != nil:
		return generalizeResult{}, fmt.Errorf("cannot ask the guest for its image state: %w", err)
	case byTemplate:
		t.Output("stdout", "the template has run sysprep itself ("+facts.ImageState+"): not run again")
		m.Since = t.Clock().Now()
	case !m.Began && facts.ImageState == stateUndeployable:
		return generalizeResult{}, b.sysprepError(ctx, g, m, left(facts.ImageState))
	case !m.Began:
		if a.By != "" {
			t.Output("stdout", "the sysprep of step "+a.By+" has not run: Ingot runs it")
		}
		if err := b.ready(ctx, t, g, &m); err != nil {
			return generalizeResult{}, err
		}
		if !m.Script {
			// The folder that scripts were run from must not be in the image, and nothing uses it any more.
			if err := g.Discard(ctx); err != nil {
				return generalizeResult{}, fmt.Errorf("cannot remove what the build left in the guest: %w", err)
			}
		}
		m.Began, m.Since = true, t.Clock().Now()
		if err := t.Save(m); err != nil {
			return generalizeResult{}, err
		}
	}
	script, over := make(chan error, 1), make(chan struct{})
	scriptCtx, stop := context.WithCancel(ctx)
	defer stop()
	if m.Script {
		go func() { script <- b.deprovisionWindows(scriptCtx, t, g); close(over) }()
	} else {
		close(script)
		close(over)
		if !byTemplate && facts.ImageState != stateGeneralized {
			if err := g.Sysprep(ctx, false); err != nil {
				return generalizeResult{}, fmt.Errorf("cannot start sysprep: %w", err)
			}
		}
	}
	err = b.untilGeneralized(ctx, t, g, m, script)
	if errors.Is(err, errOff) {
		t.Output("stderr", turnedOff)
		return generalizeResult{byTemplate}, nil
	}
	if err == nil && (byTemplate || m.Script) {
		// A script ends when it has seen what we have; its files are removed when nobody reads them any more.
		enough, done := plan.Within(ctx, t.Clock(), scriptPatience, context.DeadlineExceeded)
		select {
		case <-over:
		case <-enough.Done():
			stop()
			<-over
		}
		done()
		on, end := b.whileOn(ctx, t)
		err = g.Discard(on)
		end()
		switch {
		case errors.Is(context.Cause(on), errOff):
			t.Output("stderr", turnedOff)
			err = nil
		case err != nil:
			err = fmt.Errorf("cannot remove what the build left in the guest: %w", err)
		}
	}
	return generalizeResult{byTemplate}, err
}

// begunByTemplate asks for the image state, and for a while again where the plan knows that the template runs sysprep.
func (b *build) begunByTemplate(ctx context.Context, t *plan.Task, a generalizeArgs, g communicator.Windows, began bool) (communicator.Facts, bool, error) {
	until := t.Clock().Now().Add(ownPatience)
	for {
		facts, err := b.answer(ctx, t, g)
		byTemplate := !began && (facts.ImageState == stateGeneralized || facts.Sysprep)
		if err != nil || byTemplate || began || a.By == "" || facts.ImageState != stateComplete || t.Clock().Now().After(until) {
			return facts, byTemplate, err
		}
		if err := t.Clock().Sleep(ctx, 5*time.Second); err != nil {
			return facts, false, err
		}
	}
}

// answer is what the guest says of itself. One that keeps silent may have been turned off, which Azure knows.
func (b *build) answer(ctx context.Context, t *plan.Task, g communicator.Windows) (communicator.Facts, error) {
	silent := errors.New("the guest keeps silent")
	for {
		within, stop := plan.Within(ctx, t.Clock(), silence, silent)
		facts, err := g.Ready(within)
		stop()
		if err == nil || ctx.Err() != nil {
			return facts, err
		}
		off, offErr := b.off(ctx, t)
		switch {
		case off:
			return facts, errOff
		case !errors.Is(err, silent):
			return facts, errors.Join(err, offErr)
		}
	}
}

// off reports whether the machine was turned off from inside: its power state is then stopped, without being deallocated
// (Microsoft Learn, "States and billing status of Azure Virtual Machines").
func (b *build) off(ctx context.Context, t *plan.Task) (bool, error) {
	var where machineArgs
	if err := b.argsOf(t, "deallocate", &where); err != nil {
		return false, err
	}
	v, err := b.env.Cloud.GetVM(ctx, where.Group, where.Name)
	return err == nil && v.Power == "stopped", err
}

// whileOn ends a context with errOff when the machine is turned off: nothing in it goes on then, and nobody would say so.
func (b *build) whileOn(ctx context.Context, t *plan.Task) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for t.Clock().Sleep(ctx, silence) == nil {
			if off, err := b.off(ctx, t); err == nil && off {
				cancel(errOff)
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// ready asks what would keep sysprep from its work: it restarts the guest for a pending restart, refuses what sysprep is known to refuse,
// and names the rest.
func (b *build) ready(ctx context.Context, t *plan.Task, g communicator.Windows, m *sysprepMemory) error {
	for {
		if m.Restart != nil { // of a process before this one, or of the turn before
			if err := b.restart(ctx, t, g, m); err != nil {
				return err
			}
		}
		m.Checks++
		if err := t.Save(m); err != nil {
			return err
		}
		t.Progress(-1, "asking what would keep sysprep from its work")
		r, err := communicator.CheckReadiness(ctx, g, fmt.Sprintf("%s-check-%d", t.Step.ID, m.Checks))
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			// Sysprep itself has the last word.
			t.Output("stderr", fmt.Sprintf("what would keep sysprep from its work cannot be asked: %v", err))
			return nil
		}
		if len(r.Pending) > 0 && m.Restarts < maxRestarts {
			t.Output("stdout", fmt.Sprintf("finding pending-reboot: a restart is pending (%s): restarting first", strings.Join(r.Pending, ", ")))
			m.Restarts++
			m.Restart = json.RawMessage("null")
			continue
		}
		if len(r.Pending) > 0 {
			t.Output("stderr", fmt.Sprintf("finding pending-reboot: a restart is pending still, after %d (%s): sysprep may refuse", m.Restarts, strings.Join(r.Pending, ", ")))
		}
		for _, name := range r.Appx {
			t.Output("stderr", "finding appx-user-packages: "+appxFinding(name))
		}
		for _, name := range r.Agents {
			t.Output("stderr", "finding agent-not-running: Azure's service "+name+" does not run: machines made of this image may not be reached by Azure")
		}
		for _, what := range r.Unknown {
			t.Output("stderr", "not checked: "+what)
		}
		m.Appx, m.Script = r.Appx, r.Script
		if len(r.BitLocker) > 0 {
			return fmt.Errorf("cannot generalise: finding bitlocker: volume %s is encrypted, and sysprep refuses that (0x80310039); decrypt it in a powershell provisioner: "+
				"Disable-BitLocker -MountPoint C:; while ((Get-BitLockerVolume C:).VolumeStatus -ne 'FullyDecrypted') { Start-Sleep 5 }", strings.Join(r.BitLocker, ", "))
		}
		return nil
	}
}

func appxFinding(name string) string {
	short, _, _ := strings.Cut(name, "_")
	return fmt.Sprintf("package %s is installed for a user but not provisioned for all: sysprep refuses that; remove it in a powershell provisioner (Get-AppxPackage -AllUsers -Name %s | Remove-AppxPackage -AllUsers), or provision it (Add-AppxProvisionedPackage)", name, short)
}

// restart restarts the guest once, however often it is called.
func (b *build) restart(ctx context.Context, t *plan.Task, g communicator.Windows, m *sysprepMemory) error {
	err := (&provisioner.WindowsRestart{RestartTimeout: 30 * time.Minute}).Run(ctx, &provisioner.Env{
		Comm: g, Output: t.Output, Clock: t.Clock(), StepID: t.Step.ID,
		Progress: func(s string) { t.Progress(-1, "%s", s) },
		Save: func(v any) error {
			raw, err := json.Marshal(v)
			if err != nil {
				return err
			}
			m.Restart = raw
			return t.Save(m)
		},
		Load: func(v any) (bool, error) {
			if m.Restart == nil || string(m.Restart) == "null" {
				return false, nil
			}
			return true, json.Unmarshal(m.Restart, v)
		},
	})
	m.Restart = nil
	return err
}

// deprovisionWindows runs the template's own deprovisioning script.
func (b *build) deprovisionWindows(ctx context.Context, t *plan.Task, g communicator.Windows) error {
	t.Output("stdout", "running "+deprovisioningScript+", which the template brings, in place of sysprep")
	code, err := g.Run(ctx, communicator.Script{ID: t.Step.ID + "-script", Shell: "powershell", Path: deprovisioningScript}, t.Output)
	if err == nil && code != 0 {
		err = fmt.Errorf("it exited with code %d", code)
	}
	if err != nil {
		return fmt.Errorf("cannot generalise with %s: %w", deprovisioningScript, err)
	}
	return nil
}

// left says what a state means that sysprep ended in.
func left(state string) error {
	switch state {
	case stateUndeployable:
		return errors.New("cannot generalise: sysprep stopped half-way and left " + state + ": this machine cannot become an image any more; mend what its log names, and build again")
	case stateComplete:
		return errors.New("cannot generalise: sysprep ended without having begun its work and left " + state + "; its log names what it refuses")
	}
	return errors.New("cannot generalise: sysprep ended and left " + cmp.Or(state, "no image state"))
}

// untilGeneralized follows the image state. Sysprep that is gone without having reached its goal has failed, and its own log
// says why; the state in which it stopped may well look harmless (packer#9818, packer-plugin-azure#350). script ends when a script that
// runs sysprep has; one that goes on for good because it only ever looks for success is left alone.
func (b *build) untilGeneralized(ctx context.Context, t *plan.Task, g communicator.Windows, m sysprepMemory, script <-chan error) error {
	idle := 0
	last := ""
	seen := false
	for wait := time.Second; ; wait = min(wait*3/2, 10*time.Second) {
		facts, err := b.answer(ctx, t, g)
		if errors.Is(err, errOff) {
			return err
		}
		if ctx.Err() != nil {
			return b.sysprepError(ctx, g, m, fmt.Errorf("cannot generalise: still %s: %w", cmp.Or(last, "no answer of the guest"), context.Cause(ctx)))
		}
		if err != nil {
			return b.sysprepError(ctx, g, m, fmt.Errorf("cannot follow sysprep: %w", err))
		}
		if facts.ImageState != last {
			last = facts.ImageState
			t.Progress(-1, "%s", last)
			t.Output("stdout", last)
		}
		if last == stateGeneralized && !facts.Sysprep {
			return nil
		}
		ended := false
		select {
		case err, open := <-script:
			if err != nil {
				return b.sysprepError(ctx, g, m, err)
			}
			ended = true
			if open {
				script = closed()
			}
		default:
		}
		seen = seen || facts.Sysprep || last == stateUndeployable
		if facts.Sysprep || !seen && !ended {
			idle = 0
		} else if idle++; idle >= 3 { // it may take a moment to show, and the state may be written a moment after it ended
			return b.sysprepError(ctx, g, m, left(last))
		}
		if took := t.Clock().Now().Sub(m.Since); last == stateComplete && took > untilBegun {
			what := "sysprep has run for " + took.Round(time.Minute).String()
			if !facts.Sysprep {
				what = deprovisioningScript + " has run for " + took.Round(time.Minute).String() + ", sysprep does not run,"
			}
			return b.sysprepError(ctx, g, m, fmt.Errorf("cannot generalise: %s and the image state is %s still: it does not get to its work, and would not in hours", what, last))
		}
		if err := t.Clock().Sleep(ctx, wait); err != nil {
			return b.sysprepError(ctx, g, m, fmt.Errorf("cannot generalise: still %s: %w", last, err))
		}
	}
}

func closed() <-chan error {
	c := make(chan error)
	close(c)
	return c
}

// sysprepError adds what sysprep's own logs say, if they can still be read, and what was found before.
func (b *build) sysprepError(ctx context.Context, g communicator.Windows, m sysprepMemory, cause error) error {
	for _, name := range m.Appx {
		cause = fmt.Errorf("%w\nfound before: %s", cause, appxFinding(name))
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer stop()
	log, err := g.Panther(ctx)
	if err != nil || strings.TrimSpace(log) == "" {
		return cause
	}
	return fmt.Errorf("%w\nsysprep's own log ends:\n%s", cause, strings.TrimSpace(log))
}
