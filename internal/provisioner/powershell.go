package provisioner

import (
	"cmp"
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
	URI    image.Text `hcl:"-" json:",omitzero"`
	SHA256 string     `hcl:"-" json:",omitempty"`
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
	// SkipClean leaves script and variables in the guest as files; otherwise nothing of them stays.
	SkipClean bool `hcl:"skip_clean"`
	// StartRetryTimeout is how long the guest may take until it answers; as long as the step may if not set. No script is started twice.
	StartRetryTimeout time.Duration `hcl:"start_retry_timeout"`
	// UsePwsh runs scripts in PowerShell 7 (pwsh.exe), which must be in the guest, instead of Windows PowerShell.
	UsePwsh bool `hcl:"use_pwsh"`
	// RemotePath puts the script there; otherwise it lives in the build's own folder.
	RemotePath string `hcl:"remote_path"`
	// RemoteEnvVarPath puts the variables there as a script; otherwise they are in no file.
	RemoteEnvVarPath string `hcl:"remote_env_var_path"`
	// ExecuteCommand is the command that runs the script, with {{.Path}} and with {{.Vars}}, the file of variables.
	ExecuteCommand string `hcl:"execute_command"`
	// ElevatedExecuteCommand is the command that runs it for elevated_user, with the same words.
	ElevatedExecuteCommand string `hcl:"elevated_execute_command"`
	// EnvVarFormat is how a variable is written into the file of variables; `$env:%s="%s"; ` if not set.
	EnvVarFormat string `hcl:"env_var_format"`
	// ElevatedEnvVarFormat is the same for elevated_user.
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
	checkScripts(c, p.Inline, &p.Script, p.Scripts, p.URI, p.EnvironmentVars, true, p.SHA256)
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
	c.checkCommand("execute_command", p.ExecuteCommand, "Path", "Vars")
	c.checkCommand("elevated_execute_command", p.ElevatedExecuteCommand, "Path", "Vars")
	elevated := p.ElevatedUser != ""
	c.ignored("elevated_execute_command", p.ElevatedExecuteCommand != "" && !elevated, "elevated_user is not set")
	c.ignored("elevated_env_var_format", p.ElevatedEnvVarFormat != "" && !elevated, "elevated_user is not set")
	c.ignored("execute_command", p.ExecuteCommand != "" && elevated, "elevated_execute_command counts with elevated_user")
	c.ignored("env_var_format", p.EnvVarFormat != "" && elevated, "elevated_env_var_format counts with elevated_user")
	if p.StartRetryTimeout < 0 {
		c.fail("start_retry_timeout", "use a time like 5m", "start_retry_timeout is negative")
	}
	c.ignored("binary", p.Binary, "scripts keep their line ends")
}

// Limits lists the options that Run cannot honour.
func (p *PowerShell) Limits() []Limit {
	return limitsOf(limit{"execution_policy", p.byCommand() && strings.EqualFold(p.ExecutionPolicy, "allsigned"), "with a command, path or format of your own the file of variables is a script that nobody signed"})
}

// byCommand reports whether a command runs the script as a file of the guest's: when the template says how, or where.
func (p *PowerShell) byCommand() bool {
	elevated := p.ElevatedUser != ""
	return p.RemotePath != "" || p.RemoteEnvVarPath != "" || p.SkipClean || p.DebugMode > 0 && len(p.Inline) == 0 ||
		!elevated && (p.ExecuteCommand != "" || p.EnvVarFormat != "") || elevated && (p.ElevatedExecuteCommand != "" || p.ElevatedEnvVarFormat != "")
}

// command is Packer's own for a script file or an inline script (https://developer.hashicorp.com/packer/docs/provisioners/powershell).
func (p *PowerShell) command() string {
	if own := p.ElevatedExecuteCommand; own != "" && p.ElevatedUser != "" {
		return own
	} else if p.ExecuteCommand != "" && p.ElevatedUser == "" {
		return p.ExecuteCommand
	}
	program := "powershell"
	if p.UsePwsh {
		program = "pwsh"
	}
	if policy := strings.ToLower(p.ExecutionPolicy); policy != "none" {
		program += " -executionpolicy " + cmp.Or(policy, "bypass")
	}
	debug := ""
	if p.DebugMode > 0 && len(p.Inline) == 0 {
		debug = fmt.Sprintf("Set-PsDebug -Trace %d;", p.DebugMode)
	}
	return program + ` -command "& { $ProgressPreference = 'SilentlyContinue';` + debug + `. '{{.Vars}}'; &'{{.Path}}'; exit $LastExitCode }"`
}

// script runs one script: handed over as it is, or by a command.
func (p *PowerShell) script(ctx context.Context, e *Env, s communicator.Script, text, what string) error {
	if !p.byCommand() {
		s.Text = text
		if len(p.Inline) == 0 {
			s.Text = p.fileText(text)
		}
		return runScript(ctx, e, s, what, p.ValidExitCodes)
	}
	format := cmp.Or(p.EnvVarFormat, psVariable)
	if p.ElevatedUser != "" {
		format = cmp.Or(p.ElevatedEnvVarFormat, psVariable)
	}
	// Windows PowerShell reads a file without a byte order mark in the machine's own code page.
	return ownCommand{id: s.ID, what: what, text: byteOrderMark + text, path: cmp.Or(p.RemotePath, "C:/Windows/Temp/script-"+s.ID+".ps1"),
		vars: byteOrderMark + formatted(s.Env, format, psValue.Replace), varsPath: cmp.Or(p.RemoteEnvVarPath, "C:/Windows/Temp/packer-ps-env-vars-"+s.ID+".ps1"),
		command: p.command(), script: s, keep: p.SkipClean, codes: p.ValidExitCodes}.run(ctx, e)
}

const (
	psVariable    = `$env:%s="%s"; `
	byteOrderMark = "\ufeff"
)

// Addresses are what it fetches.
func (p *PowerShell) Addresses() []URI { return addressesOf(p.URI, p.SHA256) }

// Run runs the scripts one after the other. A script that ran to its end in an earlier call is followed, not started again.
func (p *PowerShell) Run(ctx context.Context, e *Env) error {
	s := communicator.Script{ID: e.StepID, Shell: "powershell", Env: environment(e, p.EnvironmentVars, p.Env),
		User: p.ElevatedUser, Secret: p.ElevatedPassword.Reveal(), Policy: strings.ToLower(p.ExecutionPolicy)}
	if p.UsePwsh {
		s.Shell = "pwsh"
	}
	if err := waitForGuest(ctx, e, p.StartRetryTimeout, "powershell"); err != nil {
		return err
	}
	if len(p.Inline) > 0 {
		if err := p.script(ctx, e, s, wrapInline(joined(p.Inline, "\r\n"), p.DebugMode), "powershell inline"); err != nil {
			return err
		}
	}
	if !p.URI.IsZero() {
		text, err := e.fetchScript(ctx, URI{p.URI, p.SHA256})
		if err != nil {
			return err
		}
		name := nameAt(p.URI)
		e.progress("running %s", name)
		if err := p.script(ctx, e, s, text, "powershell script "+name); err != nil {
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
		if err := p.script(ctx, e, s, text, "powershell script "+filepath.Base(f)); err != nil {
			return err
		}
	}
	if p.PauseAfter > 0 {
		e.progress("waiting %s", p.PauseAfter)
		return e.Clock.Sleep(ctx, p.PauseAfter)
	}
	return nil
}

// fileText is a script file as it is run: a signed one must stay byte for byte; the others report the exit code of the last program
// they ran, as Packer's "& script; exit $LastExitCode" does.
func (p *PowerShell) fileText(text string) string {
	if strings.EqualFold(p.ExecutionPolicy, "allsigned") {
		return text
	}
	return exiting(text)
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
	if !p.URI.IsZero() {
		return "powershell, " + nameAt(p.URI)
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
