package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"ingot/internal/plan"
)

func (a *app) cancelCmd() *cobra.Command {
	var t templateFlags
	c := &cobra.Command{
		Use: "cancel RUN", Short: "Stop a run and remove what it made",
		Long: "Cancel leaves a mark in the state that the process which carries the run sees within seconds, on whichever machine it is: it\n" +
			"stops and cleans up. Where that process is gone, cancel itself cleans up; one that may be gone is given until its lease has\n" +
			"run out, which takes 60 seconds at most.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			store, err := a.store()
			if err != nil {
				return err
			}
			st, err := store.Status(ctx, args[0])
			if err != nil {
				return err
			}
			if st.Clean() && !st.Live {
				say(a.Out, "run %s is over (%s); nothing is left of it that could be cancelled", st.Run, st.Outcome)
				return nil
			}
			if _, err := store.RequestCancel(ctx, st.Run); err != nil {
				return err
			}
			err = a.goOn(ctx, in, st.Run, &t, true, func(ctx context.Context, r *plan.Runner) error { return r.CleanUp(ctx) })
			var run *plan.RunError
			switch {
			case errors.Is(err, plan.ErrLocked):
				say(a.Out, "run %s has been told to stop; it removes what it made before it ends (ingot status %s)", st.Run, st.Run)
				return nil
			case errors.As(err, &run) && run.Outcome == plan.Cancelled && len(run.Left) == 0 && !run.Kept:
				told := ""
				if st.Live { // it has stopped in the meantime
					told = "has been told to stop and "
				}
				say(a.Out, "run %s %sis cancelled; nothing is left of it", st.Run, told)
				return nil
			}
			return err
		},
	}
	c.Flags().StringArrayVar(&t.vars, "var", nil, "set a variable again: name=value")
	c.Flags().StringArrayVar(&t.varFiles, "var-file", nil, "read variables from a file")
	c.Flags().StringVar(&t.path, "template", "", "the run's template, where this machine has it elsewhere")
	a.addProgressFlags(c)
	return c
}
