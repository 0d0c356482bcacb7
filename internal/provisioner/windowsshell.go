package provisioner

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/image"
)

// WindowsShell runs batch scripts (.bat) with cmd.exe in the guest.
type WindowsShell struct {
	// Inline is lines of batch, run as one script.
	Inline []image.Text `hcl:"inline"`
	// Script is a local script file.
	Script string `hcl:"script"`
	// Scripts are local script files, run in this order.
	Scripts []string `hcl:"scripts"`
	// EnvironmentVars are variables for the scripts, each "NAME=value".
	EnvironmentVars []image.Text `hcl:"environment_vars"`
	// Env is variables for the scripts, by name; it wins over environment_vars.
	Env map[string]image.Text `hcl:"env"`
	// ValidExitCodes are the codes that mean success; 0 if not set.
	ValidExitCodes []int `hcl:"valid_exit_codes"`
	// StartRetryTimeout has no effect: starting is repeated until the step's time is up, and never starts a script twice.
	StartRetryTimeout time.Duration `hcl:"start_retry_timeout"`
	// RemotePath has no effect: scripts live in the build's own folder.
	RemotePath string `hcl:"remote_path"`
	// ExecuteCommand is the command that runs the script.
	ExecuteCommand string `hcl:"execute_command"`
	// EnvVarFormat has no effect: variables are set without a format.
	EnvVarFormat string `hcl:"env_var_format"`
	// Binary has no effect: scripts keep their line ends.
	Binary bool `hcl:"binary"`
}

var (
	_ Settings = (*WindowsShell)(nil)
	_ Runner   = (*WindowsShell)(nil)
)

// Check reports what is wrong.
func (p *WindowsShell) Check(c *Check) {
	checkScripts(c, p.Inline, &p.Script, p.Scripts, image.Text{}, p.EnvironmentVars, true)
	c.ignored("remote_path", p.RemotePath != "", "scripts live in the build's own folder in the guest")
	c.ignored("env_var_format", p.EnvVarFormat != "", "variables are set without a format")
	c.ignored("start_retry_timeout", p.StartRetryTimeout != 0, "starting is repeated until the step's time is up")
	c.ignored("binary", p.Binary, "scripts keep their line ends")
}

// Limits lists the options that Run cannot honour.
func (p *WindowsShell) Limits() []Limit {
	return limitsOf(limit{"execute_command", p.ExecuteCommand != "", "Ingot starts scripts its own way, so that they survive a lost connection"})
}

// Run runs the scripts one after the other.
func (p *WindowsShell) Run(ctx context.Context, e *Env) error {
	s := communicator.Script{ID: e.StepID, Shell: "cmd", Env: environment(e, p.EnvironmentVars, p.Env)}
	if len(p.Inline) > 0 {
		s.Text = joined(p.Inline, "\r\n")
		if err := runScript(ctx, e, s, "windows-shell inline", p.ValidExitCodes); err != nil {
			return err
		}
	}
	files := p.files()
	for i, f := range files {
		text, err := readScript(f)
		if err != nil {
			return err
		}
		s.Text, s.ID = text, e.StepID
		if len(files) > 1 {
			s.ID = fmt.Sprintf("%s-%d", e.StepID, i+1)
		}
		e.progress("running %s", filepath.Base(f))
		if err := runScript(ctx, e, s, "windows-shell script "+filepath.Base(f), p.ValidExitCodes); err != nil {
			return err
		}
	}
	return nil
}

func (p *WindowsShell) files() []string {
	if p.Script == "" {
		return p.Scripts
	}
	return slices.Concat([]string{p.Script}, p.Scripts)
}

// Summary is a phrase for a step's title.
func (p *WindowsShell) Summary() string {
	if len(p.Inline) > 0 {
		return "windows-shell, " + count(len(p.Inline), "inline line")
	}
	if f := p.files(); len(f) == 1 {
		return "windows-shell, " + filepath.Base(f[0])
	}
	return "windows-shell, " + count(len(p.Scripts), "script")
}

// Estimate is a guess: nobody knows what a script does.
func (p *WindowsShell) Estimate() time.Duration {
	return time.Duration(max(1, len(p.files()))) * 20 * time.Second
}
