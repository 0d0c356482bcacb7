package provisioner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"ingot/internal/image"
)

var _ Runner = (*ShellLocal)(nil)

// Run runs the scripts on this machine, one after the other, with the variables in their environment. After a crash they run
// again: nothing on this machine could say how far they were.
func (p *ShellLocal) Run(ctx context.Context, e *Env) error {
	if len(p.OnlyOn) > 0 && !slices.Contains(p.OnlyOn, runtime.GOOS) {
		e.progress("skipped: this machine runs %s", runtime.GOOS)
		return nil
	}
	scripts := p.Scripts
	if p.Script != "" {
		scripts = append([]string{p.Script}, scripts...)
	}
	lines := p.Inline
	if !p.Command.IsZero() {
		lines = []image.Text{p.Command}
	}
	if len(lines) > 0 {
		path, err := p.write(lines)
		if err != nil {
			return fmt.Errorf("cannot run shell-local: %w", err)
		}
		defer os.Remove(path)
		scripts = append([]string{path}, scripts...)
	}
	for _, s := range scripts {
		if err := p.one(ctx, e, s); err != nil {
			return err
		}
	}
	return nil
}

// write makes a script of inline lines that only its owner can read: secrets may be in it.
func (p *ShellLocal) write(lines []image.Text) (path string, err error) {
	extension := p.TempfileExtension
	if extension == "" && runtime.GOOS == "windows" {
		extension = ".cmd"
	}
	if extension != "" && !strings.HasPrefix(extension, ".") {
		extension = "." + extension
	}
	f, err := os.CreateTemp("", "ingot-shell-local-*"+extension)
	if err != nil {
		return "", err
	}
	text := joined(lines, "\n")
	if runtime.GOOS != "windows" {
		shebang := p.InlineShebang
		if shebang == "" {
			shebang = "/bin/sh -e"
		}
		text = "#!" + shebang + "\n" + text
	}
	_, err = io.WriteString(f, text)
	err = errors.Join(err, f.Chmod(0o700), f.Close())
	if err != nil {
		os.Remove(f.Name()) //nolint:errcheck // it could not be written either
	}
	return f.Name(), err
}

// one runs one script.
func (p *ShellLocal) one(ctx context.Context, e *Env, script string) error {
	args := p.ExecuteCommand
	if len(args) == 0 {
		args = []string{"/bin/sh", "-c", "{{.Vars}} {{.Script}}"}
		if runtime.GOOS == "windows" {
			args = []string{"cmd", "/V", "/C", "{{.Vars}}", "call", "{{.Script}}"}
		}
	}
	path, err := filepath.Abs(script)
	if err != nil {
		return fmt.Errorf("cannot run shell-local: %w", err)
	}
	if runtime.GOOS != "windows" && strings.ContainsAny(path, " \t'\"$&;()<>|*?`\\") {
		path = "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" // it stands in a line of the shell's
	}
	fill := strings.NewReplacer("{{.Vars}}", "", "{{ .Vars }}", "", "{{.Script}}", path, "{{ .Script }}", path, "{{.Command}}", path, "{{ .Command }}", path, "{{.Path}}", path, "{{ .Path }}", path)
	var words []string
	for _, a := range args {
		if w := strings.TrimSpace(fill.Replace(a)); w != "" {
			words = append(words, w)
		}
	}
	if len(words) == 0 {
		return errors.New("cannot run shell-local: execute_command names no program")
	}
	c := exec.CommandContext(ctx, words[0], words[1:]...)
	ownGroup(c)
	c.Env = os.Environ()
	for name, value := range environment(e, p.EnvironmentVars, p.Env) {
		c.Env = append(c.Env, name+"="+value)
	}
	// With writers of ours, Wait stops reading a second after the program has ended, though something it started holds the pipe.
	c.WaitDelay = time.Second
	out, bad := &lineWriter{stream: "stdout", to: e.Output}, &lineWriter{stream: "stderr", to: e.Output}
	c.Stdout, c.Stderr = out, bad
	err = c.Run()
	out.flush()
	bad.flush()
	if ctx.Err() != nil {
		return fmt.Errorf("cannot run shell-local: %w", context.Cause(ctx))
	}
	if c.ProcessState == nil {
		return fmt.Errorf("cannot run shell-local: %w", err)
	}
	codes := p.ValidExitCodes
	if len(codes) == 0 {
		codes = []int{0}
	}
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		return fmt.Errorf("cannot run shell-local: %w", err)
	case !slices.Contains(codes, c.ProcessState.ExitCode()):
		return fmt.Errorf("cannot run shell-local %s: it exited with code %d", filepath.Base(script), c.ProcessState.ExitCode())
	}
	return nil
}

// lineWriter hands on whole lines; what is too long for one is cut.
type lineWriter struct {
	stream string
	to     func(stream, line string)
	rest   []byte
}

const longestLine = 1 << 20

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, more, found := bytes.Cut(p, []byte("\n"))
		if room := longestLine - len(w.rest); len(line) > room {
			line = line[:max(room, 0)]
		}
		w.rest = append(w.rest, line...)
		if !found {
			return n, nil
		}
		w.flush()
		p = more
	}
}

func (w *lineWriter) flush() {
	if len(w.rest) > 0 && w.to != nil {
		w.to(w.stream, strings.TrimSuffix(string(w.rest), "\r"))
	}
	w.rest = nil
}
