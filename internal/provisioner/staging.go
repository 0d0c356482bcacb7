package provisioner

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/template"

	"ingot/internal/communicator"
)

// staging is a folder in the guest that a configuration tool runs in: what it needs is put there, and one command is run, apart from the
// connection. A command that has begun is only followed after a crash: what it works on is not written again under it.
type staging struct {
	e       *Env
	what    string // the provisioner, for errors
	dir     string
	windows bool
	up      []upload
	shell   string // the whole script
	user    string // of Windows: who runs it
	secret  string
	clean   bool // removes the folder in the end
}

// upload is a file, or what is in a folder, of this machine that goes to a path of the guest; or a text.
type upload struct{ from, text, to string }

// inWindows says which system the guest runs: as the template says, or as the communicator knows.
func inWindows(e *Env, guestOS string) bool {
	if guestOS != "" {
		return strings.EqualFold(guestOS, "windows")
	}
	_, linux := e.Comm.(communicator.Linux)
	_, windows := e.Comm.(communicator.Windows)
	return windows && !linux
}

// run returns the command's exit code, and the last of what it complained of.
func (s *staging) run(ctx context.Context) (code int, complaint string, err error) {
	var begun struct{ Begun bool }
	if s.e.Load != nil {
		if _, err := s.e.Load(&begun); err != nil {
			return 0, "", err
		}
	}
	if !begun.Begun {
		for _, u := range s.up {
			if err := s.put(ctx, u); err != nil {
				return 0, "", fmt.Errorf("cannot run %s: %w", s.what, err)
			}
		}
		if s.e.Save != nil {
			begun.Begun = true
			if err := s.e.Save(begun); err != nil {
				return 0, "", err
			}
		}
	}
	s.e.progress("running %s", s.what)
	script := communicator.Script{ID: s.e.StepID, Shell: "sh", Text: s.shell, User: s.user, Secret: s.secret}
	if s.windows {
		script.Shell = "cmd"
	}
	said := &memo{keep: func(line string) bool {
		low := strings.ToLower(line)
		return strings.Contains(low, "error") || strings.Contains(low, "fatal") || strings.Contains(low, "failed") || strings.Contains(low, "not found")
	}}
	code, err = s.e.Comm.Run(ctx, script, func(stream, line string) {
		said.hear(stream, line)
		if s.e.Output != nil {
			s.e.Output(stream, line)
		}
	})
	if err != nil {
		return 0, "", fmt.Errorf("cannot run %s: %w", s.what, err)
	}
	if s.clean {
		line := "rm -rf -- " + shellQuote(s.dir) + " 2>/dev/null || sudo -n rm -rf -- " + shellQuote(s.dir)
		if s.windows {
			line = `rmdir /s /q "` + strings.ReplaceAll(s.dir, "/", `\`) + `"`
		}
		if c, err := s.e.Comm.Command(ctx, line, nil); err != nil || c != 0 {
			return code, strings.Join(said.lines, "\n"), fmt.Errorf("cannot remove the staging folder %s (exit code %d): %w", s.dir, c, err)
		}
	}
	return code, strings.Join(said.lines, "\n"), nil
}

func (s *staging) put(ctx context.Context, u upload) error {
	if u.from == "" {
		return s.e.Comm.Upload(ctx, u.to, strings.NewReader(u.text), int64(len(u.text)))
	}
	info, err := os.Stat(u.from)
	if err != nil {
		return err
	}
	from := strings.TrimRight(u.from, "/")
	if info.IsDir() {
		from += "/"
	}
	return (&File{Source: from, Destination: u.to}).Run(ctx, s.e)
}

// fillIn fills in a command's template.
func fillIn(option, text string, data map[string]any) (string, error) {
	t, err := template.New(option).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", option, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return "", fmt.Errorf("cannot fill in %s: %w", option, err)
	}
	return b.String(), nil
}

// inside is a name in a folder of the guest, whose slashes both systems take.
func inside(dir string, names ...string) string {
	return path.Join(append([]string{strings.ReplaceAll(dir, `\`, "/")}, names...)...)
}

// localBase is the last name of a local path, with or without a slash at its end.
func localBase(name string) string { return filepath.Base(strings.TrimRight(name, "/")) }
