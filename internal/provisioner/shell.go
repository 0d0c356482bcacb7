package provisioner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/image"
)

// Shell runs shell scripts in a Linux guest.
type Shell struct {
	// Inline is lines of shell, run as one script.
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
	// EnvVarFormat is how a variable is written before the command; `%s='%s' ` if not set.
	EnvVarFormat string `hcl:"env_var_format"`
	// UseEnvVarFile puts the variables into a file that the script reads, instead of before the command.
	UseEnvVarFile bool `hcl:"use_env_var_file"`
	// InlineShebang is the first line of an inline script; "/bin/sh -e" if not set.
	InlineShebang string `hcl:"inline_shebang"`
	// ExecuteCommand is the command that runs the script; "chmod +x {{.Path}}; {{.Vars}} {{.Path}}" if not set.
	ExecuteCommand string `hcl:"execute_command"`
	// RemoteFolder is the guest's folder for the script; /tmp if not set.
	RemoteFolder string `hcl:"remote_folder"`
	// RemoteFile is the script's name in it; "script_" with a number if not set.
	RemoteFile string `hcl:"remote_file"`
	// RemotePath is folder and name together.
	RemotePath string `hcl:"remote_path"`
	// ValidExitCodes are the codes that mean success; 0 if not set.
	ValidExitCodes []int `hcl:"valid_exit_codes"`
	// ExpectDisconnect says that the script may end the connection, as a restart does.
	ExpectDisconnect bool `hcl:"expect_disconnect"`
	// StartRetryTimeout is how long starting the script is tried; 5m if not set.
	StartRetryTimeout time.Duration `hcl:"start_retry_timeout"`
	// PauseAfter waits after the last script.
	PauseAfter time.Duration `hcl:"pause_after"`
	// SkipClean leaves the scripts in the guest.
	SkipClean bool `hcl:"skip_clean"`
	// Binary keeps the line ends of script files; otherwise CR LF becomes LF.
	Binary bool `hcl:"binary"`
}

var (
	_ Settings = (*Shell)(nil)
	_ Runner   = (*Shell)(nil)
)

// Check reports what is wrong.
func (p *Shell) Check(c *Check) {
	checkScripts(c, p.Inline, &p.Script, p.Scripts, p.URI, p.EnvironmentVars, false, p.SHA256)
	checkURI(c, p.URI, p.SHA256)
	if p.RemotePath != "" && (p.RemoteFolder != "" || p.RemoteFile != "") {
		c.fail("remote_path", "keep remote_path, or remote_folder with remote_file", "remote_path and remote_folder or remote_file exclude one another")
	}
}

// Addresses are what it fetches.
func (p *Shell) Addresses() []URI { return addressesOf(p.URI, p.SHA256) }

// The defaults of Packer's shell provisioner (https://developer.hashicorp.com/packer/docs/provisioners/shell).
const (
	shellCommand        = "chmod +x {{.Path}}; {{.Vars}} {{.Path}}"
	shellCommandVarFile = "chmod +x {{.Path}}; . {{.EnvVarFile}} && {{.Path}}"
	shellShebang        = "/bin/sh -e"
	shellVar            = "%s='%s' "
	shellVarInFile      = "export %s='%s'\n"
)

// shellCleanPatience bounds how long removing a script is tried: a guest that was deprovisioned lets nobody in any more.
const shellCleanPatience = 2 * time.Minute

// Run runs the scripts one after the other. Each is put into the guest and then run by its execute_command, apart from the
// connection: a script that ran to its end in an earlier call is followed, not started again.
func (p *Shell) Run(ctx context.Context, e *Env) error {
	type script struct{ name, text string }
	var list []script
	if len(p.Inline) > 0 {
		list = append(list, script{"shell inline", "#!" + cmp.Or(p.InlineShebang, shellShebang) + "\n" + joined(p.Inline, "\n")})
	}
	files := p.Scripts
	if p.Script != "" {
		files = slices.Concat([]string{p.Script}, files)
	}
	for _, f := range files {
		text, err := p.read(f)
		if err != nil {
			return err
		}
		list = append(list, script{"shell script " + filepath.Base(f), text})
	}
	if !p.URI.IsZero() {
		text, err := e.fetchScript(ctx, URI{p.URI, p.SHA256})
		if err != nil {
			return err
		}
		list = append(list, script{"shell script " + nameAt(p.URI), strings.ReplaceAll(text, "\r\n", "\n")})
	}
	for i, s := range list {
		id := e.StepID
		if len(list) > 1 {
			id = fmt.Sprintf("%s-%d", e.StepID, i+1)
			e.progress("running %s", strings.TrimPrefix(s.name, "shell script "))
		}
		if err := p.run(ctx, e, id, s.name, s.text); err != nil {
			return err
		}
	}
	if p.PauseAfter > 0 {
		e.progress("waiting %s", p.PauseAfter)
		return e.Clock.Sleep(ctx, p.PauseAfter)
	}
	return nil
}

// read reads a script: as a Windows editor may have saved it, or byte for byte.
func (p *Shell) read(name string) (string, error) {
	if p.Binary {
		b, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("cannot read script: %w", err)
		}
		return string(b), nil
	}
	text, err := readScript(name)
	return strings.ReplaceAll(text, "\r\n", "\n"), err
}

// run puts one script into the guest and runs it. What has begun before a crash is only followed: its file may be gone by now.
func (p *Shell) run(ctx context.Context, e *Env, id, what, text string) error {
	remote := cmp.Or(p.RemotePath, path.Join(cmp.Or(p.RemoteFolder, "/tmp"), cmp.Or(p.RemoteFile, "script_"+id+".sh")))
	command, clean, err := p.command(e, remote)
	if err != nil {
		return err
	}
	var begun struct {
		Begun []string
		Boot  time.Time `json:",omitzero"` // of the guest, before a script that may restart it
	}
	if e.Load != nil {
		if _, err := e.Load(&begun); err != nil {
			return err
		}
	}
	if !slices.Contains(begun.Begun, id) {
		if err := e.Comm.Upload(ctx, remote, strings.NewReader(text), int64(len(text))); err != nil {
			return fmt.Errorf("cannot run %s: %w", what, err)
		}
		if p.UseEnvVarFile {
			vars := p.variables(e, cmp.Or(p.EnvVarFormat, shellVarInFile))
			if err := e.Comm.Upload(ctx, remote+".env", ownersOnly{strings.NewReader(vars)}, int64(len(vars))); err != nil {
				return fmt.Errorf("cannot run %s: %w", what, err)
			}
		}
		if p.ExpectDisconnect {
			f, err := e.Comm.Ready(ctx)
			if err != nil {
				return fmt.Errorf("cannot run %s: %w", what, err)
			}
			begun.Boot = f.Boot
		}
		begun.Begun = append(begun.Begun, id)
		if e.Save != nil {
			if err := e.Save(begun); err != nil {
				return err
			}
		}
	}
	// The command is a script of its own, so that its variables, which may be secret, are on no command line but the one the template
	// itself writes.
	err = runScript(ctx, e, communicator.Script{ID: id, Shell: "sh", Text: command + "\n"}, what, p.ValidExitCodes)
	if lost := errors.Is(err, communicator.ErrLost); p.ExpectDisconnect && (lost || err == nil) {
		if err := afterDisconnect(ctx, e, begun.Boot, lost); err != nil {
			return fmt.Errorf("cannot reach the guest after %s: %w", what, err)
		}
		err = nil
	}
	if p.SkipClean {
		return err
	}
	// After a failure or a restart as well; that it cannot be removed, as in a guest that was deprovisioned, is no failure.
	short, stop := within(ctx, e.Clock, shellCleanPatience, "the guest does not answer any more")
	defer stop()
	if _, cerr := e.Comm.Command(short, clean, nil); cerr != nil && ctx.Err() != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return err
}

// goingDown exits with 0 while systemd takes the guest down or has been told when to (systemctl(1), is-system-running; shutdown(8)).
const goingDown = `[ "$(systemctl is-system-running 2>/dev/null)" = stopping ] || [ -e /run/systemd/shutdown/scheduled ]`

const (
	// lostPatience is how long a guest in which a script was ended may go on answering before it counts as one that only ended the script.
	lostPatience = 2 * time.Minute
	// downPatience is that of a guest that says itself that it goes down: services may take a minute and a half each to stop.
	downPatience = 10 * time.Minute
)

// afterDisconnect waits until a guest that goes down has come back. A guest goes on answering for a while after it was told to restart, and
// what is begun in it then is ended with it; so an answer counts only when its boot is a later one, or when nothing says that it goes down.
func afterDisconnect(ctx context.Context, e *Env, before time.Time, lost bool) error {
	patience := lostPatience
	if !lost {
		code, err := e.Comm.Command(ctx, goingDown, nil)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && code != 0:
			return nil
		case err == nil:
			patience = downPatience
		}
	}
	e.progress("the guest restarts; waiting for it")
	for until := e.Clock.Now().Add(patience); ; {
		f, err := e.Comm.Ready(ctx)
		if err != nil {
			return err
		}
		if f.Boot.After(before.Add(drift)) || !e.Clock.Now().Before(until) {
			return nil
		}
		if err := e.Clock.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// variables writes the environment in a format with %s for name and value.
func (p *Shell) variables(e *Env, format string) string {
	vars := environment(e, p.EnvironmentVars, p.Env)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		fmt.Fprintf(&b, format, name, strings.ReplaceAll(vars[name], "'", `'"'"'`))
	}
	return b.String()
}

// command fills in execute_command, and says how to remove what was put into the guest.
func (p *Shell) command(e *Env, remote string) (command, clean string, err error) {
	// Commands begin in the home folder; a quoted ~ would be a folder of that name.
	text, clean := cmp.Or(p.ExecuteCommand, shellCommand), "rm -f -- "+shellQuote(strings.TrimPrefix(remote, "~/"))
	data := map[string]string{"Path": remote, "Vars": strings.TrimRight(p.variables(e, cmp.Or(p.EnvVarFormat, shellVar)), " "), "EnvVarFile": "", "ScriptName": path.Base(remote)}
	if p.UseEnvVarFile {
		text = cmp.Or(p.ExecuteCommand, shellCommandVarFile)
		data["Vars"], data["EnvVarFile"] = "", remote+".env"
		clean += " " + shellQuote(strings.TrimPrefix(remote, "~/")+".env")
	}
	t, err := template.New("execute_command").Option("missingkey=error").Parse(text)
	if err != nil {
		return "", "", fmt.Errorf("cannot read execute_command: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return "", "", fmt.Errorf("cannot fill in execute_command (it knows .Path, .Vars, .EnvVarFile and .ScriptName): %w", err)
	}
	return b.String(), clean, nil
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Summary is a phrase for a step's title.
func (p *Shell) Summary() string {
	switch {
	case len(p.Inline) > 0:
		return "shell, " + count(len(p.Inline), "inline line")
	case !p.URI.IsZero():
		return "shell, " + nameAt(p.URI)
	case p.Script != "":
		return "shell, " + filepath.Base(p.Script)
	}
	return "shell, " + count(len(p.Scripts), "script")
}

// Estimate is a guess: nobody knows what a script does.
func (p *Shell) Estimate() time.Duration { return 30*time.Second + p.PauseAfter }
