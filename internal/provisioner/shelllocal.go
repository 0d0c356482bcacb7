package provisioner

import (
	"path/filepath"
	"strings"
	"time"

	"ingot/internal/image"
)

// ShellLocal runs commands on this machine, not in the guest.
type ShellLocal struct {
	// Command is one command; older name of inline with one line.
	Command image.Text `hcl:"command"`
	// Inline is lines, run as one script.
	Inline []image.Text `hcl:"inline"`
	// Script is a local script file.
	Script string `hcl:"script"`
	// Scripts are local script files, run in this order.
	Scripts []string `hcl:"scripts"`
	// EnvironmentVars are variables for the scripts, each "NAME=value".
	EnvironmentVars []image.Text `hcl:"environment_vars"`
	// Env is variables for the scripts, by name; it wins over environment_vars.
	Env map[string]image.Text `hcl:"env"`
	// EnvVarFormat is how a variable is written before the command.
	EnvVarFormat string `hcl:"env_var_format"`
	// ExecuteCommand is the program and its arguments that run the script; /bin/sh -c "{{.Vars}} {{.Script}}" if not set.
	ExecuteCommand []string `hcl:"execute_command"`
	// InlineShebang is the first line of an inline script; "/bin/sh -e" if not set.
	InlineShebang string `hcl:"inline_shebang"`
	// OnlyOn are the systems of this machine on which it runs: linux, windows, darwin, freebsd, openbsd.
	OnlyOn []string `hcl:"only_on"`
	// TempfileExtension is the extension of the inline script's file.
	TempfileExtension string `hcl:"tempfile_extension"`
	// UseLinuxPathing writes paths for the Linux subsystem when this machine runs Windows.
	UseLinuxPathing bool `hcl:"use_linux_pathing"`
	// ValidExitCodes are the codes that mean success; 0 if not set.
	ValidExitCodes []int `hcl:"valid_exit_codes"`
}

var _ Settings = (*ShellLocal)(nil)

// Check reports what is wrong.
func (p *ShellLocal) Check(c *Check) {
	inline := p.Inline
	if !p.Command.IsZero() {
		if len(inline) > 0 {
			c.fail("command", "keep inline", "command and inline exclude one another")
		}
		inline = []image.Text{p.Command}
	}
	checkScripts(c, inline, &p.Script, p.Scripts, image.Text{}, p.EnvironmentVars, false, "")
	if len(p.ExecuteCommand) > 0 && strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(p.ExecuteCommand[0], "{{.Vars}}", ""), "{{ .Vars }}", "")) == "" {
		c.fail("execute_command", `write the program first: ["/bin/sh", "-c", "{{.Vars}} {{.Script}}"]`, "execute_command names no program")
	}
	for _, o := range p.OnlyOn {
		switch o {
		case "linux", "windows", "darwin", "freebsd", "openbsd":
		default:
			c.fail("only_on", "use linux, windows, darwin, freebsd or openbsd", "only_on names %q", o)
		}
	}
}

// Limits lists the options that Run cannot honour.
func (p *ShellLocal) Limits() []Limit {
	return limitsOf(limit{"use_linux_pathing", p.UseLinuxPathing, "scripts are named by this machine's own paths"}, limit{"env_var_format", p.EnvVarFormat != "", "variables are put into the environment, not before the command"})
}

// Summary is a phrase for a step's title.
func (p *ShellLocal) Summary() string {
	switch {
	case p.Script != "":
		return "shell-local, " + filepath.Base(p.Script)
	case len(p.Scripts) > 0:
		return "shell-local, " + count(len(p.Scripts), "script")
	}
	return "shell-local, " + count(max(len(p.Inline), 1), "inline line")
}

// Estimate is a guess.
func (p *ShellLocal) Estimate() time.Duration { return 10 * time.Second }
