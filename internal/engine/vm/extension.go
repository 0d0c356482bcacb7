package vm

import (
	"context"
	"errors"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/image"
	"ingot/internal/plan"
)

type extensionArgs struct {
	Script  azure.CustomScript // without the command, which may be secret
	Command image.Text
	// Listener: the command is the script of ours that opens WinRM, for NTLM alone or for Basic too.
	Listener, NTLM bool `json:",omitempty"`
}

type extensionResult struct {
	Certificate string `json:",omitempty"` // SHA-256 of the one that our script has given to WinRM
}

// extension plans custom_script: before anybody connects, since it may be what lets people in.
func (c *compiler) extension() {
	m, n := c.img.Machine, c.n
	c.listener()
	if m.CustomScript.IsZero() {
		return
	}
	// It is part of the machine: its undo is the machine's.
	c.add(plan.Step{Scope: plan.Nothing, ID: "custom-script", Kind: "extension", Title: "Run custom_script on " + n.VM + " through its agent", After: []string{"vm"}, Estimate: time.Minute},
		extensionArgs{Script: azure.CustomScript{Group: n.Group, VM: n.VM, Name: "custom-script", Location: c.f.Location, Tags: c.tags}, Command: m.CustomScript})
}

func (b *build) runExtension(ctx context.Context, t *plan.Task, a extensionArgs) (extensionResult, error) {
	if !a.Command.Fill(b.env.Secrets.Lookup) {
		return extensionResult{}, missingSecret(a.Command.Secret())
	}
	a.Script.Command = a.Command.Reveal()
	if a.Listener {
		a.Script.Command = listenerCommand(a.NTLM)
	}
	out, err := b.env.Cloud.RunCustomScript(ctx, a.Script, op(t))
	for _, s := range []struct{ stream, text string }{{"stdout", out.Stdout}, {"stderr", out.Stderr}} {
		for line := range strings.Lines(s.text) {
			t.Output(s.stream, strings.TrimRight(line, "\r\n"))
		}
	}
	r := extensionResult{}
	if a.Listener && err == nil {
		if r.Certificate = certificateIn(out.Stdout); r.Certificate == "" {
			err = errors.New("cannot tell which certificate WinRM has: the script that opens it has not said so")
		}
	}
	return r, err
}

type pauseArgs struct{ For time.Duration }

// pause plans pause_before_connecting.
func (c *compiler) pause() {
	if d := c.img.Communicator.Pause; d > 0 {
		c.add(plan.Step{Scope: plan.Nothing, ID: "pause", Kind: "pause", Title: "Pause " + d.String() + " before connecting (pause_before_connecting)", After: c.after("vm", "custom-script"), Estimate: d}, pauseArgs{d})
	}
}

// pause waits; a run that was killed meanwhile waits for what is left of it.
func (b *build) pause(ctx context.Context, t *plan.Task, a pauseArgs) (struct{}, error) {
	var until struct{ Until time.Time }
	if ok, err := t.Saved(&until); err != nil {
		return struct{}{}, err
	} else if !ok {
		until.Until = t.Clock().Now().Add(a.For)
		if err := t.Save(until); err != nil {
			return struct{}{}, err
		}
	}
	left := min(until.Until.Sub(t.Clock().Now()), a.For)
	return struct{}{}, t.Clock().Sleep(ctx, left)
}
