package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"

	"golang.org/x/term"

	"ingot/internal/engine/vm"
	"ingot/internal/plan"
)

// attended refuses a plan with a breakpoint where nobody is there to say when to go on: it would stop for ever, an hour into the build.
func (a *app) attended(p *plan.Plan) error {
	for _, s := range p.Steps {
		if s.Kind == vm.Breakpoint && !a.person() {
			return usage("%q waits for a person, and the standard input is no terminal: set disable = true in the breakpoint, or build from a terminal", s.Title)
		}
	}
	return nil
}

// person reports whether somebody can be asked.
func (a *app) person() bool {
	return a.In != nil && term.IsTerminal(int(a.In.Fd()))
}

// wait is what a breakpoint does: it asks, and returns when somebody answers, or when ctx ends.
func (a *app) wait(ctx context.Context, note string) error {
	if !a.person() {
		return fmt.Errorf("cannot stop at the breakpoint: the standard input is no terminal; set disable = true, or go on from a terminal (ingot resume)")
	}
	if note != "" {
		note = ": " + note
	}
	fmt.Fprintf(a.Err, "\nThe build stops at a breakpoint%s\nPress Enter to go on, Ctrl-C to cancel: ", note)
	answer := make(chan error, 1)
	go func(in *os.File) { // reading cannot be cancelled; what is typed later is nobody's
		_, err := bufio.NewReaderSize(in, 16).ReadString('\n')
		answer <- err
	}(a.In)
	select {
	case err := <-answer:
		if err != nil {
			return fmt.Errorf("cannot stop at the breakpoint: nothing can be read from the standard input: %w", err)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
