package provisioner

import (
	"cmp"
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
	// StartRetryTimeout is how long the guest may take until it answers; as long as the step may if not set. No script is started twice.
	StartRetryTimeout time.Duration `hcl:"start_retry_timeout"`
	// RemotePath puts the script there; otherwise it lives in the build's own folder.
	RemotePath string `hcl:"remote_path"`
	// ExecuteCommand is the command that runs the script, with {{.Path}} and {{.Vars}}, the variables in env_var_format.
	ExecuteCommand string `hcl:"execute_command"`
	// EnvVarFormat is how a variable is written before the command; `set "%s=%s" && ` if not set.
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
	checkScripts(c, p.Inline, &p.Script, p.Scripts, image.Text{}, p.EnvironmentVars, true, "")
	c.checkCommand("execute_command", p.ExecuteCommand, "Path", "Vars")
	if p.StartRetryTimeout < 0 {
		c.fail("start_retry_timeout", "use a time like 5m", "start_retry_timeout is negative")
	}
	c.ignored("binary", p.Binary, "scripts keep their line ends")
}

// Run runs the scripts one after the other. A script that ran to its end in an earlier call is followed, not started again.
func (p *WindowsShell) Run(ctx context.Context, e *Env) error {
	s := communicator.Script{ID: e.StepID, Shell: "cmd", Env: environment(e, p.EnvironmentVars, p.Env)}
	if err := waitForGuest(ctx, e, p.StartRetryTimeout, "windows-shell"); err != nil {
		return err
	}
	if len(p.Inline) > 0 {
		if err := p.script(ctx, e, s, joined(p.Inline, "\r\n"), "windows-shell inline"); err != nil {
			return err
		}
	}
	files := p.files()
	for i, f := range files {
		text, err := readScript(f)
		if err != nil {
			return err
		}
		s.ID = e.StepID
		if len(files) > 1 {
			s.ID = fmt.Sprintf("%s-%d", e.StepID, i+1)
		}
		e.progress("running %s", filepath.Base(f))
		if err := p.script(ctx, e, s, text, "windows-shell script "+filepath.Base(f)); err != nil {
			return err
		}
	}
	return nil
}

// script runs one script: handed over as it is, or by the template's command.
func (p *WindowsShell) script(ctx context.Context, e *Env, s communicator.Script, text, what string) error {
	if p.ExecuteCommand == "" && p.RemotePath == "" && p.EnvVarFormat == "" {
		s.Text = text
		return runScript(ctx, e, s, what, p.ValidExitCodes)
	}
	vars := formatted(s.Env, cmp.Or(p.EnvVarFormat, `set "%s=%s" && `), func(v string) string { return v })
	return ownCommand{id: s.ID, what: what, text: text, path: cmp.Or(p.RemotePath, "C:/Windows/Temp/script-"+s.ID+".bat"), inlineVars: vars,
		command: cmp.Or(p.ExecuteCommand, `{{.Vars}}"{{.Path}}"`), script: s, codes: p.ValidExitCodes}.run(ctx, e)
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
