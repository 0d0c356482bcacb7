package provisioner

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// program is a program of this machine that a provisioner runs.
type program struct {
	args []string
	env  []string // whole
	dir  string
	hear func(stream, line string) // besides the step's output; nil: nobody
}

// runProgram runs it to its end and returns its exit code. What it prints is the step's output. A context that ends takes it, and all
// that it has started, with it.
func runProgram(ctx context.Context, e *Env, p program) (int, error) {
	c := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
	ownGroup(c)
	c.Env, c.Dir = p.env, p.dir
	// With writers of ours, Wait stops reading a second after the program has ended, though something it started holds the pipe:
	// OpenSSH's ControlPersist does.
	c.WaitDelay = time.Second
	var one sync.Mutex // both streams are read at the same time
	hear := func(stream, line string) {
		one.Lock()
		defer one.Unlock()
		if p.hear != nil {
			p.hear(stream, line)
		}
		if e.Output != nil {
			e.Output(stream, line)
		}
	}
	out, bad := &lineWriter{stream: "stdout", to: hear}, &lineWriter{stream: "stderr", to: hear}
	c.Stdout, c.Stderr = out, bad
	err := c.Run()
	out.flush()
	bad.flush()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return 0, fmt.Errorf("there is no program %s on this machine: install it, or name it in full", p.args[0])
	case err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		return 0, err
	case c.ProcessState.ExitCode() < 0:
		return 0, fmt.Errorf("%s was ended by a signal", p.args[0])
	}
	return c.ProcessState.ExitCode(), nil
}

// memo keeps the last lines that somebody would want to read in an error.
type memo struct {
	keep  func(line string) bool
	lines []string
}

const memoLines = 8

func (m *memo) hear(_, line string) {
	if m.keep(line) {
		if m.lines = append(m.lines, strings.TrimSpace(line)); len(m.lines) > memoLines {
			m.lines = m.lines[1:]
		}
	}
}
