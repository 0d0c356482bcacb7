package provisioner

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/image"
	"ingot/internal/powershell"
)

// PowerShell runs PowerShell in the guest, detached from the connection: a dropped connection costs nothing.
type PowerShell struct {
	// Inline is lines of PowerShell, run as one script.
	Inline []image.Text `hcl:"inline"`
	// Script is a local script file.
	Script string `hcl:"script"`
	// Scripts are local script files, run in this order.
	Scripts []string `hcl:"scripts"`
	// URI is the https address of a script; SHA256 is its checksum in lower-case hexadecimal. Only Image Builder's language has them.
	URI    string `hcl:"-" json:",omitempty"`
	SHA256 string `hcl:"-" json:",omitempty"`
	// EnvironmentVars are variables for the scripts, each "NAME=value".
	EnvironmentVars []image.Text `hcl:"environment_vars"`
	// Env is variables for the scripts, by name; it wins over environment_vars.
	Env map[string]image.Text `hcl:"env"`
	// ElevatedUser runs the scripts as this user through a scheduled task; "SYSTEM" needs no password.
	ElevatedUser string `hcl:"elevated_user"`
	// ElevatedPassword is that user's password.
	ElevatedPassword image.Text `hcl:"elevated_password,secret"`
	// ExecutionPolicy is bypass (default), allsigned, default, remotesigned, restricted, undefined, unrestricted or none.
	ExecutionPolicy string `hcl:"execution_policy"`
	// ValidExitCodes are the codes that mean success; 0 if not set.
	ValidExitCodes []int `hcl:"valid_exit_codes"`
	// PauseAfter waits after the last script.
	PauseAfter time.Duration `hcl:"pause_after"`
	// DebugMode traces the script's lines with Set-PSDebug: 0, 1 or 2.
	DebugMode int `hcl:"debug_mode"`
	// SkipClean has no effect: the build's folder in the guest is removed as a whole.
	SkipClean bool `hcl:"skip_clean"`
	// StartRetryTimeout has no effect: starting is repeated until the step's time is up, and never starts a script twice.
	StartRetryTimeout time.Duration `hcl:"start_retry_timeout"`
	// UsePwsh runs scripts in PowerShell 7 instead of Windows PowerShell.
	UsePwsh bool `hcl:"use_pwsh"`
	// RemotePath has no effect: scripts live in the build's own folder.
	RemotePath string `hcl:"remote_path"`
	// RemoteEnvVarPath has no effect: variables are not kept in a file.
	RemoteEnvVarPath string `hcl:"remote_env_var_path"`
	// ExecuteCommand is the command that runs the script.
	ExecuteCommand string `hcl:"execute_command"`
	// ElevatedExecuteCommand is the command that runs it for elevated_user.
	ElevatedExecuteCommand string `hcl:"elevated_execute_command"`
	// EnvVarFormat has no effect: variables are set without a format.
	EnvVarFormat string `hcl:"env_var_format"`
	// ElevatedEnvVarFormat has no effect: variables are set without a format.
	ElevatedEnvVarFormat string `hcl:"elevated_env_var_format"`
	// Binary has no effect: scripts keep their line ends.
	Binary bool `hcl:"binary"`
}

var (
	_ Settings = (*PowerShell)(nil)
	_ Runner   = (*PowerShell)(nil)
)

// Check reports what is wrong.
func (p *PowerShell) Check(c *Check) {
	checkScripts(c, p.Inline, &p.Script, p.Scripts, p.URI, p.EnvironmentVars, true)
	checkURI(c, p.URI, p.SHA256)
	p.checkSyntax(c)
	switch strings.ToLower(p.ExecutionPolicy) {
	case "", "bypass", "allsigned", "default", "remotesigned", "restricted", "undefined", "unrestricted", "none":
	default:
		c.fail("execution_policy", "use bypass, remotesigned, allsigned, unrestricted, restricted, undefined, default or none",
			"unknown execution_policy %q", p.ExecutionPolicy)
	}
	if p.DebugMode < 0 || p.DebugMode > 2 {
		c.fail("debug_mode", "use 0, 1 or 2", "debug_mode is %d", p.DebugMode)
	}
	if !p.ElevatedPassword.IsZero() && p.ElevatedUser == "" {
		c.fail("elevated_password", "set elevated_user", "elevated_password is set without elevated_user")
	}
	if p.PauseAfter < 0 {
		c.fail("pause_after", "use a time like 30s", "pause_after is negative")
	}
	c.ignored("remote_path", p.RemotePath != "", "scripts live in the build's own folder in the guest")
	c.ignored("remote_env_var_path", p.RemoteEnvVarPath != "", "variables are not kept in a file")
	c.ignored("env_var_format", p.EnvVarFormat != "", "variables are set without a format")
	c.ignored("elevated_env_var_format", p.ElevatedEnvVarFormat != "", "variables are set without a format")
	c.ignored("skip_clean", p.SkipClean, "the build's folder in the guest is removed as a whole")
	c.ignored("start_retry_timeout", p.StartRetryTimeout != 0, "starting is repeated until the step's time is up")
	c.ignored("binary", p.Binary, "scripts keep their line ends")
}

// Limits lists the options that Run cannot honour.
func (p *PowerShell) Limits() []Limit {
	const own = "Ingot starts scripts its own way, so that they survive a lost connection"
	return limitsOf(limit{"execute_command", p.ExecuteCommand != "", own}, limit{"elevated_execute_command", p.ElevatedExecuteCommand != "", own},
		limit{"use_pwsh", p.UsePwsh, "scripts run in Windows PowerShell 5.1, which every Windows image has"},
		limit{"debug_mode", p.DebugMode > 0 && len(p.Inline) == 0, "a script file is run as it is; put Set-PSDebug into it"},
		limit{"scriptUri", p.URI != "", "a script at an address is fetched by the managed service only; download it and name the file"})
}

// Run runs the scripts one after the other. A script that ran to its end in an earlier call is followed, not started again.
func (p *PowerShell) Run(ctx context.Context, e *Env) error {
	s := communicator.Script{ID: e.StepID, Shell: "powershell", Env: environment(e, p.EnvironmentVars, p.Env),
		User: p.ElevatedUser, Secret: p.ElevatedPassword.Reveal(), Policy: strings.ToLower(p.ExecutionPolicy)}
	if len(p.Inline) > 0 {
		s.Text = wrapInline(joined(p.Inline, "\r\n"), p.DebugMode)
		if err := runScript(ctx, e, s, "powershell inline", p.ValidExitCodes); err != nil {
			return err
		}
	}
	files := p.files()
	for i, f := range files {
		text, err := readScript(f)
		if err != nil {
			return err
		}
		// A signed script must stay byte for byte; the others report the exit code of the last program they ran, as
		// Packer's "& script; exit $LastExitCode" does.
		if s.Policy != "allsigned" {
			text = exiting(text)
		}
		s.Text, s.ID = text, e.StepID
		if len(files) > 1 {
			s.ID = fmt.Sprintf("%s-%d", e.StepID, i+1)
		}
		e.progress("running %s", filepath.Base(f))
		if err := runScript(ctx, e, s, "powershell script "+filepath.Base(f), p.ValidExitCodes); err != nil {
			return err
		}
	}
	if p.PauseAfter > 0 {
		e.progress("waiting %s", p.PauseAfter)
		return e.Clock.Sleep(ctx, p.PauseAfter)
	}
	return nil
}

func (p *PowerShell) files() []string {
	if p.Script == "" {
		return p.Scripts
	}
	return slices.Concat([]string{p.Script}, p.Scripts)
}

// wrapInline makes inline lines a script that fails on a terminating error and on the last program's exit code, as Packer's
// powershell provisioner does: no progress bars, an uncaught error is 1, a non-zero $LASTEXITCODE wins.
func wrapInline(lines string, debug int) string {
	var b strings.Builder
	b.WriteString("$ProgressPreference = 'SilentlyContinue'\r\n")
	if debug > 0 {
		fmt.Fprintf(&b, "Set-PSDebug -Trace %d\r\n", debug)
	}
	b.WriteString("$exitCode = 0\r\ntry {\r\n")
	if powershell.Head(lines) != "" {
		lines = "& {\r\n" + lines + "\r\n}\r\n" // param and begin, process, end belong at the beginning of a block
	}
	b.WriteString(lines)
	b.WriteString("$exitCode = 0\r\n} catch {\r\nWrite-Error -ErrorRecord $_ -ErrorAction Continue\r\n$exitCode = 1\r\n}\r\n")
	b.WriteString("if ((Test-Path variable:global:LASTEXITCODE) -and $global:LASTEXITCODE -ne 0) { $exitCode = $global:LASTEXITCODE }\r\n")
	b.WriteString("exit $exitCode\r\n")
	return b.String()
}

// Summary is a phrase for a step's title.
func (p *PowerShell) Summary() string {
	if len(p.Inline) > 0 {
		return "powershell, " + count(len(p.Inline), "inline line")
	}
	if p.URI != "" {
		return "powershell, " + base(p.URI)
	}
	if f := p.files(); len(f) == 1 {
		return "powershell, " + filepath.Base(f[0])
	}
	return "powershell, " + count(len(p.Scripts), "script")
}

// Estimate is a guess: nobody knows what a script does.
func (p *PowerShell) Estimate() time.Duration {
	if n := len(p.files()); n > 0 {
		return time.Duration(n)*time.Minute + p.PauseAfter
	}
	return 20*time.Second + p.PauseAfter
}
