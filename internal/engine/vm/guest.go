package vm

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"

	"ingot/internal/communicator"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/provisioner"
)

type connectArgs struct {
	Communicator image.Communicator
}

type connectResult struct {
	Facts   communicator.Facts
	HostKey string `json:",omitempty"` // the one that SSH showed first
	Bastion string `json:",omitempty"` // and its bastion
	// Certificate is the SHA-256 of the one that WinRM showed first, where it is not one that we made.
	Certificate string `json:",omitempty"`
}

// connect waits until the guest lets us in.
func (b *build) connect(ctx context.Context, t *plan.Task, _ connectArgs) (connectResult, error) {
	g, err := b.dial(ctx, t)
	if err != nil {
		return connectResult{}, err
	}
	facts, err := g.Ready(ctx)
	if err != nil {
		return connectResult{}, fmt.Errorf("cannot reach the guest: %w", err)
	}
	t.Progress(1, "connected to %s, %s", facts.Computer, facts.OS)
	var seen pinned
	if _, err := t.Saved(&seen); err != nil {
		return connectResult{}, err
	}
	return connectResult{facts, seen.HostKey, seen.Bastion, seen.Certificate}, nil
}

// dial returns the one connection of this process to the guest.
func (b *build) dial(ctx context.Context, t *plan.Task) (communicator.Communicator, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.guest != nil {
		return b.guest, nil
	}
	var a connectArgs
	if err := b.argsOf(t, "connect", &a); err != nil {
		return nil, err
	}
	var nic, ip addressResult
	if err := errors.Join(t.Result("nic", &nic), optional(t.Result("ip", &ip))); err != nil {
		return nil, err
	}
	if a.Communicator.Kind == kindRunCommand {
		g, err := b.dialRunCommand(ctx, t)
		if err == nil {
			b.guest = g
		}
		return g, err
	}
	address := net.JoinHostPort(cmp.Or(a.Communicator.Host, ip.Address, nic.Address), strconv.Itoa(a.Communicator.Port))
	g, err := b.dialWinRM, error(nil)
	if a.Communicator.Kind == "ssh" {
		g = b.dialSSH
	}
	b.guest, err = g(ctx, t, a.Communicator, address)
	return b.guest, err
}

func (b *build) dialWinRM(ctx context.Context, t *plan.Task, a image.Communicator, address string) (communicator.Communicator, error) {
	var cert certificateResult
	if _, own := t.Find("certificate"); !own {
		return b.dialForeign(ctx, t, a, address)
	}
	if err := t.Result("certificate", &cert); err != nil {
		return nil, err
	}
	password, err := b.password(ctx, t)
	if err != nil {
		return nil, err
	}
	c := communicator.WinRMConfig{
		Address: address, User: a.User, Password: password,
		NTLM: a.NTLM, Dial: b.env.Dial, Clock: b.env.Clock, Dir: `C:\Windows\Temp\ingot-` + t.Run,
	}
	sum, err := hex.DecodeString(cert.Fingerprint)
	if err != nil || len(sum) != len(c.Fingerprint) {
		return nil, fmt.Errorf("cannot pin the guest's certificate: its fingerprint in the journal is %q", cert.Fingerprint)
	}
	copy(c.Fingerprint[:], sum)
	return communicator.NewWinRM(c)
}

// hangUp ends the connection, if there is one.
func (b *build) hangUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.guest != nil {
		b.guest.Close() //nolint:errcheck // the guest is about to be stopped
		b.guest = nil
	}
}

// provisionMemory is what a provisioning step saves: the provisioner's own, and that the pause is over.
type provisionMemory struct {
	Try   int             `json:"try"`
	Begun bool            `json:"begun"`
	Own   json.RawMessage `json:"own,omitempty"`
}

// provision runs one provisioner, again as often as the template allows. Each try has an id of its own in the guest, so that
// a retry runs the script anew while a resumed step follows the one it began.
func (b *build) provision(ctx context.Context, t *plan.Task, a provisionArgs) (struct{}, error) {
	settings, err := provisioner.Decode(a.Type, a.Settings, b.env.Secrets.Lookup)
	if err != nil {
		return struct{}{}, err
	}
	var m provisionMemory
	if _, err := t.Saved(&m); err != nil {
		return struct{}{}, err
	}
	g, err := b.dial(ctx, t)
	if err != nil {
		return struct{}{}, err
	}
	on := ctx
	if provisioner.RunsSysprep(settings) {
		var stop func()
		on, stop = b.whileOn(ctx, t)
		defer stop()
	}
	for ; ; m = (provisionMemory{Try: m.Try + 1}) {
		err = b.try(on, t, a, settings, g, &m)
		if errors.Is(context.Cause(on), errOff) {
			t.Output("stderr", "sysprep has turned the machine off under the script that runs it")
			return struct{}{}, nil
		}
		if err == nil || ctx.Err() != nil {
			return struct{}{}, err
		}
		if m.Try >= a.MaxRetries {
			if a.GoOn {
				t.Output("stderr", fmt.Sprintf("this step failed, and the build goes on (continue_on_error): %v", err))
				return struct{}{}, nil
			}
			return struct{}{}, errors.Join(err, b.cleanUp(ctx, t, a.Cleanup, g))
		}
		t.Output("stderr", fmt.Sprintf("try %d of %d failed: %v", m.Try+1, a.MaxRetries+1, err))
	}
}

// cleanUp runs the template's error-cleanup-provisioner in a guest that a provisioner failed in. What fails here joins the error.
func (b *build) cleanUp(ctx context.Context, t *plan.Task, list []provisionArgs, g communicator.Communicator) error {
	for _, a := range list {
		settings, err := provisioner.Decode(a.Type, a.Settings, b.env.Secrets.Lookup)
		if err == nil {
			t.Progress(-1, "cleaning up in the guest: %s", settings.Summary())
			err = b.try(ctx, t, a, settings, g, &provisionMemory{Try: cleanUpTry})
		}
		if err != nil {
			return fmt.Errorf("the error-cleanup-provisioner failed too: %w", err)
		}
	}
	return nil
}

// cleanUpTry keeps the names of what the clean-up runs in the guest apart from every try of the step itself.
const cleanUpTry = 1000

// runtime is what build.NAME means in this build.
func (b *build) runtime(ctx context.Context, t *plan.Task) func(name string) (string, bool) {
	return func(name string) (string, bool) {
		var c connectArgs
		var v vmArgs
		var vault vaultArgs
		if err := errors.Join(b.argsOf(t, "connect", &c), b.argsOf(t, "vm", &v)); err != nil {
			return "", false
		}
		if c.Communicator.Kind == kindRunCommand {
			var s storageArgs
			if err := b.argsOf(t, "storage", &s); err != nil {
				return "", false
			}
			vault.Vault.TenantID = s.Tenant
		}
		if _, ok := t.Find("vault"); ok {
			if err := b.argsOf(t, "vault", &vault); err != nil {
				return "", false
			}
		}
		switch name {
		case "User":
			return c.Communicator.User, true
		case "Password", "WinRMPassword":
			get := func() (string, error) { return b.password(ctx, t) }
			if !v.VM.Windows && c.Communicator.Kind != kindRunCommand {
				get = func() (string, error) { return b.given(t) }
			}
			p, err := get()
			return p, err == nil
		case "Host":
			var nic, ip addressResult
			if err := errors.Join(t.Result("nic", &nic), optional(t.Result("ip", &ip))); err != nil {
				return "", false
			}
			return cmp.Or(c.Communicator.Host, ip.Address, nic.Address), true
		case "Port":
			return strconv.Itoa(c.Communicator.Port), true
		case "ConnType":
			return c.Communicator.Kind, true
		case "ID", "PackerRunUUID":
			return t.Run, true
		case "TenantID":
			return vault.Vault.TenantID, true
		case "TempComputeName":
			return v.VM.Name, true
		case "TempResourceGroupName":
			return v.VM.Group, true
		case "TempOSDiskName":
			return v.VM.OSDiskName, true
		case "TempKeyVaultName":
			return vault.Vault.Name, true
		}
		return "", false
	}
}

func (b *build) try(ctx context.Context, t *plan.Task, a provisionArgs, s provisioner.Settings, g communicator.Communicator, m *provisionMemory) error {
	if a.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = plan.Within(ctx, t.Clock(), a.Timeout, fmt.Errorf("time limit of %s reached (timeout)", a.Timeout))
		defer stop()
	}
	if a.PauseBefore > 0 && !m.Begun {
		t.Progress(-1, "pausing %s before", a.PauseBefore)
		if err := t.Clock().Sleep(ctx, a.PauseBefore); err != nil {
			return err
		}
	}
	m.Begun = true
	if err := t.Save(m); err != nil {
		return err
	}
	id := t.Step.ID
	if m.Try > 0 {
		id = fmt.Sprintf("%s-try%d", id, m.Try+1)
	}
	run, ok := s.(provisioner.Runner)
	if !ok {
		return fmt.Errorf("cannot run provisioner %s: this version of Ingot cannot run it yet", a.Type)
	}
	if err := provisioner.FillRuntime(s, b.runtime(ctx, t)); err != nil {
		return fmt.Errorf("cannot run provisioner %s: %w", a.Type, err)
	}
	return run.Run(ctx, &provisioner.Env{
		Comm: g, Output: t.Output, Clock: t.Clock(), StepID: id,
		Vars:     map[string]string{"PACKER_BUILD_NAME": engine.BuildName(a.Build), "PACKER_BUILDER_TYPE": "azure-arm"},
		Progress: func(s string) { t.Progress(-1, "%s", s) },
		Pinned:   pinnedSum(t), Connection: b.connection(t, g), Wait: b.env.Wait, HTTP: b.env.HTTP, StandIn: b.env.StandIn,
		Save: func(v any) error {
			raw, err := json.Marshal(v)
			if err != nil {
				return err
			}
			m.Own = raw
			return t.Save(m)
		},
		Load: func(v any) (bool, error) {
			if m.Own == nil {
				return false, nil
			}
			return true, json.Unmarshal(m.Own, v)
		},
	})
}
