package provisioner

import (
	"bufio"
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
	"sync"

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
	fill := strings.NewReplacer("{{.Vars}}", "", "{{ .Vars }}", "", "{{.Script}}", path, "{{ .Script }}", path, "{{.Command}}", path, "{{ .Command }}", path, "{{.Path}}", path, "{{ .Path }}", path)
	var words []string
	for _, a := range args {
		if w := strings.TrimSpace(fill.Replace(a)); w != "" {
			words = append(words, w)
		}
	}
	c := exec.CommandContext(ctx, words[0], words[1:]...)
	c.Env = os.Environ()
	for name, value := range environment(e, p.EnvironmentVars, p.Env) {
		c.Env = append(c.Env, name+"="+value)
	}
	var lines sync.WaitGroup
	for stream, pipe := range map[string]func() (io.ReadCloser, error){"stdout": c.StdoutPipe, "stderr": c.StderrPipe} {
		r, err := pipe()
		if err != nil {
			return fmt.Errorf("cannot run shell-local: %w", err)
		}
		lines.Go(func() {
			s := bufio.NewScanner(r)
			s.Buffer(nil, 1<<20)
			for s.Scan() {
				if e.Output != nil {
					e.Output(stream, s.Text())
				}
			}
			io.Copy(io.Discard, r) //nolint:errcheck // what is too long for a line is not shown, and must not block the script
		})
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("cannot run shell-local: %w", err)
	}
	lines.Wait()
	err = c.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("cannot run shell-local: %w", context.Cause(ctx))
	}
	codes := p.ValidExitCodes
	if len(codes) == 0 {
		codes = []int{0}
	}
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		return fmt.Errorf("cannot run shell-local: %w", err)
	case !slices.Contains(codes, c.ProcessState.ExitCode()):
		return fmt.Errorf("cannot run shell-local %s: it exited with code %d", filepath.Base(script), c.ProcessState.ExitCode())
	}
	return nil
}
