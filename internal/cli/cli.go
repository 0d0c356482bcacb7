// Package cli is the command line: one file per command, flags, exit codes, and env.go, the only place that knows whether
// Azure is real or simulated. Everything else is done by the rooms it calls.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ingot/internal/azure"
	"ingot/internal/explain"
	"ingot/internal/plan"
)

// Exit codes; they are part of every --help.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitLeftOver    = 3
	exitPermission  = 4
	exitDetached    = 5
	exitTemplate    = 10
	exitInterrupted = 130
)

const exitCodes = `Exit codes: 0 done; 1 failed; 2 usage; 3 built but not everything was cleaned up;
4 sign-in or permission; 5 detached, still running; 10 template has problems; 130 interrupted.`

// Process is what the command line has of the world.
type Process struct {
	In     *os.File
	Out    *os.File
	Err    *os.File
	Env    []string
	Cwd    string
	Signal func(chan<- os.Signal) // nil: none
}

// OS is the real process.
func OS() Process {
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "."
	}
	return Process{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Environ(), Cwd: cwd,
		Signal: func(c chan<- os.Signal) { signal.Notify(c, os.Interrupt, syscall.SIGTERM) }}
}

// Getenv reads one variable.
func (p Process) Getenv(key string) string {
	for i := len(p.Env) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(p.Env[i], "="); ok && k == key {
			return v
		}
	}
	return ""
}

// app is one call of the program.
type app struct {
	Process
	state    string // --state
	cloud    string // --cloud
	json     bool   // --json
	progress string // --progress
	stamps   bool   // -timestamp-ui
	guests   string // --guests

	causes []explain.Finding // of a build that failed, shown under its error

	preflight bool // ask Azure before anything is made whether it would go through
}

// exitError carries an exit code; a nil err has been shown already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// shown is an exit whose reason is on the screen already.
func shown(code int) error { return &exitError{code: code} }

func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// Main runs the command line and returns the exit code.
func Main(args []string, p Process) int {
	a := &app{Process: p}
	root := a.root()
	root.SetArgs(foldDashes(root, args))
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	err := root.ExecuteContext(context.Background())
	return a.exit(err)
}

func (a *app) exit(err error) int {
	if err == nil {
		return exitDone
	}
	var ex *exitError
	if errors.As(err, &ex) {
		if ex.err != nil {
			fmt.Fprintf(a.Err, "ingot: %v\n", ex.err)
			a.showCauses(ex.Error())
		}
		return ex.code
	}
	code := exitFailed
	var run *plan.RunError
	switch {
	case errors.As(err, &run):
		code = codeOf(run)
	case azure.IsAuth(err) || azure.IsForbidden(err):
		code = exitPermission
	}
	fmt.Fprintf(a.Err, "ingot: %v\n", err)
	a.showCauses(err.Error())
	return code
}

// codeOf maps how a run ended to an exit code. What was left behind goes first: somebody has to do something about it.
func codeOf(e *plan.RunError) int {
	switch {
	case e.Detached():
		return exitDetached
	case len(e.Left) > 0:
		return exitLeftOver
	case e.Outcome == plan.Cancelled:
		return exitInterrupted
	case e.Outcome == plan.FailedKept: // whatever the test failed of: the build had its rights
		return exitFailed
	case azure.IsAuth(e.Err) || azure.IsForbidden(e.Err):
		return exitPermission
	default:
		return exitFailed
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ingot",
		Short: "Golden images for Azure Virtual Desktop, from template to session host",
		Long: "Ingot reads the templates you have, shows every mistake before anything is made, builds, publishes, and cleans up.\n" +
			"Without an Azure sign-in it rehearses everything in a simulated Azure that is part of the program.\n\n" + exitCodes,
		SilenceUsage: true, SilenceErrors: true, DisableAutoGenTag: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	f := root.PersistentFlags()
	f.StringVar(&a.state, "state", "", "where runs are kept: a folder, also on a share, or https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX] (default: INGOT_STATE, or the user's state folder)")
	f.StringVar(&a.cloud, "cloud", "", "sim (the simulated Azure) or azure; default: azure when a sign-in is configured, else sim")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	root.AddCommand(a.validateCmd(), a.inspectCmd(), a.convertCmd(), a.fmtCmd(), a.consoleCmd(), a.schemaCmd(), a.planCmd(), a.permissionsCmd(), a.buildCmd(), a.resumeCmd(), a.waitCmd(), a.runsCmd(), a.statusCmd(), a.explainCmd(), a.cancelCmd(), a.gcCmd(), a.exportCmd(), a.uploadCmd(), a.simCmd(), a.versionCmd())
	for _, c := range root.Commands() {
		c.Long = strings.TrimSpace(c.Long + "\n\n" + exitCodes)
		if args := c.Args; args != nil {
			c.Args = func(cmd *cobra.Command, list []string) error {
				if err := args(cmd, list); err != nil {
					return usage("%s: %v", cmd.CommandPath(), err)
				}
				return nil
			}
		}
	}
	return root
}

func say(w io.Writer, format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
