package provisioner

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"ingot/internal/communicator"
)

// ownCommand is a script in a Windows guest that a command of the template's runs. Both script and variables are then files of the guest,
// where the template says; the command itself runs detached as ever.
type ownCommand struct {
	id, what   string
	text       string // of the script
	path       string // where it goes
	vars       string // what the file of variables holds; there is none when varsPath is empty
	varsPath   string
	command    string // with .Path and .Vars
	inlineVars string // .Vars for a command without a file of variables
	script     communicator.Script
	keep       bool // skip_clean
	codes      []int
}

// run puts the files into the guest, runs the command and removes the files. What has begun before a crash is only followed: its files may
// be gone by now.
func (o ownCommand) run(ctx context.Context, e *Env) error {
	line, err := fillCommand("execute_command", o.command, map[string]string{"Path": o.path, "Vars": cmp.Or(o.varsPath, o.inlineVars)})
	if err != nil {
		return err
	}
	err = e.once(o.id, func() error {
		if err := e.Comm.Upload(ctx, o.path, strings.NewReader(o.text), int64(len(o.text))); err != nil {
			return fmt.Errorf("cannot run %s: %w", o.what, err)
		}
		if o.varsPath == "" {
			return nil
		}
		if err := e.Comm.Upload(ctx, o.varsPath, ownersOnly{strings.NewReader(o.vars)}, int64(len(o.vars))); err != nil {
			return fmt.Errorf("cannot run %s: %w", o.what, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s := o.script
	s.ID, s.Shell, s.Text, s.Env = o.id, "cmd", "@echo off\r\n"+batchLine(line)+"\r\n", nil
	err = runScript(ctx, e, s, o.what, o.codes)
	if o.keep {
		return err
	}
	clean := `del /f /q "` + windowsPath(o.path) + `"`
	if o.varsPath != "" {
		clean += ` "` + windowsPath(o.varsPath) + `"`
	}
	removeFromGuest(ctx, e, clean)
	return err
}

// removeFromGuest runs a command that tidies up. That it cannot, in a guest that is going down, is no failure.
func removeFromGuest(ctx context.Context, e *Env, line string) {
	short, stop := within(ctx, e.Clock, shellCleanPatience, "the guest does not answer any more")
	defer stop()
	e.Comm.Command(short, line, nil) //nolint:errcheck // see above
}

// once does what a step must do once before it starts the script id, however often the step begins again.
func (e *Env) once(id string, do func() error) error {
	var begun struct{ Begun []string }
	if e.Load != nil {
		if _, err := e.Load(&begun); err != nil {
			return err
		}
	}
	if slices.Contains(begun.Begun, id) {
		return nil
	}
	if err := do(); err != nil {
		return err
	}
	if e.Save == nil {
		return nil
	}
	begun.Begun = append(begun.Begun, id)
	return e.Save(begun)
}

// fillCommand fills in a command of the template's.
func fillCommand[V any](option, text string, data map[string]V) (string, error) {
	t, err := template.New(option).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", option, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		known := slices.Sorted(maps.Keys(data))
		for i := range known {
			known[i] = "." + known[i]
		}
		return "", fmt.Errorf("cannot fill in %s (it knows %s): %w", option, strings.Join(known, ", "), err)
	}
	return b.String(), nil
}

// checkCommand refuses a command that cannot be filled in.
func (c *Check) checkCommand(option, text string, names ...string) {
	data := map[string]string{}
	for _, n := range names {
		data[n] = "x"
	}
	if _, err := fillCommand(option, text, data); text != "" && err != nil {
		c.fail(option, "write it with {{.Path}} and the like", "%v", err)
	}
}

var percentName = regexp.MustCompile(`%[A-Za-z_][\w()]*%|%`)

// batchLine is a command line as a batch file must have it: there a percent sign that is no part of %NAME% is doubled.
func batchLine(line string) string {
	return percentName.ReplaceAllStringFunc(line, func(s string) string {
		if s == "%" {
			return "%%"
		}
		return s
	})
}

func windowsPath(p string) string { return strings.ReplaceAll(p, "/", `\`) }

// wait is start_retry_timeout: how long the guest may take until it answers.
func waitForGuest(ctx context.Context, e *Env, d time.Duration, what string) error {
	if d <= 0 {
		return nil
	}
	short, stop := within(ctx, e.Clock, d, fmt.Sprintf("the guest did not answer for %s; raise start_retry_timeout", d))
	defer stop()
	if _, err := e.Comm.Ready(short); err != nil {
		return fmt.Errorf("cannot start %s: %w", what, err)
	}
	return nil
}

// psValue is a value between PowerShell's double quotes, escaped as Packer does.
var psValue = strings.NewReplacer("$", "`$", "\"", "`\"", "`", "``", "'", "`'")

// formatted writes variables one after the other in a format with %s for name and value.
func formatted(vars map[string]string, format string, value func(string) string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		fmt.Fprintf(&b, format, name, value(vars[name]))
	}
	return b.String()
}
