package provisioner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// WindowsRestart restarts the guest and waits until it is back: until it says that it started later than before.
type WindowsRestart struct {
	// RestartCommand restarts the guest; `shutdown /r /f /t 0 /c "ingot restart"` if not set.
	RestartCommand string `hcl:"restart_command"`
	// RestartCheckCommand must exit with 0 before the guest counts as restarted.
	RestartCheckCommand string `hcl:"restart_check_command"`
	// RestartTimeout bounds the restart and the checks together; 5m if not set.
	RestartTimeout time.Duration `hcl:"restart_timeout"`
	// CheckRegistry waits until no registry key says that a restart is pending.
	CheckRegistry bool `hcl:"check_registry"`
	// RegistryKeys are those keys; servicing's RebootPending, PackagesPending and RebootInProgress if not set.
	RegistryKeys []string `hcl:"registry_keys"`
}

var (
	_ Settings = (*WindowsRestart)(nil)
	_ Runner   = (*WindowsRestart)(nil)
)

// Check reports what is wrong.
func (p *WindowsRestart) Check(c *Check) {
	if p.RestartTimeout < 0 {
		c.fail("restart_timeout", "use a time like 15m", "restart_timeout is negative")
	}
	if len(p.RegistryKeys) > 0 && !p.CheckRegistry {
		c.warn("registry_keys", "set check_registry = true", "registry_keys has no effect without check_registry")
	}
	for i, k := range p.RegistryKeys {
		if strings.ContainsAny(k, "\"%\r\n") {
			c.fail("registry_keys", `write HKLM:SOFTWARE\Name`, "registry_keys[%d] holds a character that no key has", i)
		}
	}
}

// restartState is kept before the command is sent, so that a second Run knows whether the restart has happened.
type restartState struct {
	Before time.Time `json:"before"`
}

const (
	restartTimeout = 5 * time.Minute
	// drift is how far a guest's own idea of its start may wander: Windows computes it from the clock, which time
	// synchronisation moves.
	drift = 2 * time.Second
	// patience is how long an old boot may go on answering before a command whose reply was lost is sent again.
	patience = 30 * time.Second
)

// Run restarts the guest once, however often it is called.
func (p *WindowsRestart) Run(ctx context.Context, e *Env) error {
	timeout := p.RestartTimeout
	if timeout == 0 {
		timeout = restartTimeout
	}
	ctx, cancel := within(ctx, e.Clock, timeout, fmt.Sprintf("the guest was not back after %s; raise restart_timeout if it installs updates", timeout))
	defer cancel()

	var st restartState
	known := false
	if e.Load != nil {
		var err error
		if known, err = e.Load(&st); err != nil {
			return fmt.Errorf("cannot restart the guest: %w", err)
		}
	}
	f, err := e.Comm.Ready(ctx)
	if err != nil {
		return fmt.Errorf("cannot restart the guest: %w", err)
	}
	if !known {
		st.Before = f.Boot
		if e.Save != nil {
			if err := e.Save(st); err != nil {
				return fmt.Errorf("cannot restart the guest: %w", err)
			}
		}
	}
	if !st.back(f.Boot) {
		if err := p.restart(ctx, e, st); err != nil {
			return err
		}
	}
	return p.settle(ctx, e)
}

func (st restartState) back(boot time.Time) bool { return boot.After(st.Before.Add(drift)) }

func (p *WindowsRestart) restart(ctx context.Context, e *Env, st restartState) error {
	replied, sent, err := false, time.Time{}, error(nil)
	for wait := 250 * time.Millisecond; ; wait = min(wait*2, 2*time.Second) {
		if !replied && (sent.IsZero() || e.Clock.Now().Sub(sent) >= patience) {
			sent = e.Clock.Now()
			if replied, err = p.send(ctx, e); err != nil {
				return err
			}
			e.progress("waiting for the guest to restart")
		}
		if err := e.Clock.Sleep(ctx, wait); err != nil {
			return fmt.Errorf("cannot restart the guest: %w", err)
		}
		f, err := e.Comm.Ready(ctx)
		if err != nil {
			return fmt.Errorf("cannot restart the guest: %w", err)
		}
		if st.back(f.Boot) {
			return nil
		}
	}
}

// send issues the command; it reports false when the connection went before the reply came, which a restart often causes.
// 1115 (a shutdown is in progress) and 1190 (one is scheduled) are as good as 0: winerror.h.
func (p *WindowsRestart) send(ctx context.Context, e *Env) (replied bool, err error) {
	line := p.RestartCommand
	if line == "" {
		line = `shutdown /r /f /t 0 /c "ingot restart"`
	}
	code, err := e.Comm.Command(ctx, line, e.Output)
	switch {
	case ctx.Err() != nil:
		return false, fmt.Errorf("cannot restart the guest: %w", context.Cause(ctx))
	case err != nil:
		return false, nil
	case !slices.Contains([]int{0, 1115, 1190}, code):
		return true, fmt.Errorf("cannot restart the guest: the restart command exited with code %d", code)
	}
	return true, nil
}

// settle waits until the check command and the registry agree that the guest is ready.
func (p *WindowsRestart) settle(ctx context.Context, e *Env) error {
	var checks []func() (bool, error)
	if p.RestartCheckCommand != "" {
		checks = append(checks, func() (bool, error) {
			code, err := e.Comm.Command(ctx, p.RestartCheckCommand, e.Output)
			return code == 0, err
		})
	}
	if p.CheckRegistry {
		for _, k := range p.keys() {
			checks = append(checks, func() (bool, error) {
				// reg query exits with 0 when the key is there.
				code, err := e.Comm.Command(ctx, `reg query "`+k+`" >nul 2>&1`, nil)
				return code != 0, err
			})
		}
	}
	for _, check := range checks {
		for {
			ok, err := check()
			if ctx.Err() != nil {
				return fmt.Errorf("cannot restart the guest: %w", context.Cause(ctx))
			}
			if err == nil && ok {
				break
			}
			e.progress("the guest is back but not ready yet")
			if err := e.Clock.Sleep(ctx, 5*time.Second); err != nil {
				return fmt.Errorf("cannot restart the guest: %w", err)
			}
		}
	}
	return nil
}

func (p *WindowsRestart) keys() []string {
	const servicing = `HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\`
	if len(p.RegistryKeys) == 0 {
		return []string{servicing + "RebootPending", servicing + "PackagesPending", servicing + "RebootInProgress"}
	}
	out := make([]string, 0, len(p.RegistryKeys))
	for _, k := range p.RegistryKeys {
		// PowerShell writes HKLM:SOFTWARE or HKLM:\SOFTWARE, reg.exe HKLM\SOFTWARE.
		if hive, rest, ok := strings.Cut(k, ":"); ok {
			k = hive + `\` + strings.TrimLeft(rest, `\`)
		}
		out = append(out, k)
	}
	return out
}

// Summary is a phrase for a step's title.
func (p *WindowsRestart) Summary() string { return "windows-restart" }

// Estimate is what a restart without updates takes.
func (p *WindowsRestart) Estimate() time.Duration { return 90 * time.Second }

// restartGuest restarts the guest once, however often it is called, and waits until it is back. before is when the guest had started; it is
// set and saved before the restart.
func restartGuest(ctx context.Context, e *Env, limit time.Duration, late string, before *time.Time, save func() error) error {
	short, stop := within(ctx, e.Clock, limit, late)
	defer stop()
	e.progress("restarting the guest")
	f, err := e.Comm.Ready(short)
	if err != nil {
		return fmt.Errorf("cannot restart the guest: %w", err)
	}
	if before.IsZero() {
		*before = f.Boot
		if err := save(); err != nil {
			return err
		}
	}
	st := restartState{*before}
	if st.back(f.Boot) {
		return nil
	}
	return (&WindowsRestart{}).restart(short, e, st)
}
