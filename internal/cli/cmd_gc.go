package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/plan"
)

func (a *app) gcCmd() *cobra.Command {
	var t templateFlags
	var dry bool
	c := &cobra.Command{
		Use: "gc [RUN…]", Short: "Remove what dead or failed runs left behind",
		Long: "Gc goes through the journals of runs whose process is gone: those that were never judged are judged cancelled and undone, and\n" +
			"every removal that did not succeed is tried again. With RUN, only those.",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			store, err := a.store()
			if err != nil {
				return err
			}
			list, err := store.List(ctx)
			if err != nil {
				return err
			}
			if swept := a.sweepGuests(); len(swept) > 0 && !dry {
				say(a.Out, "removed the machines and disks of %d simulated Azures whose process is gone", len(swept))
			}
			var errs []error
			done := 0
			for _, s := range list {
				if len(args) > 0 && !matches(s.Run, args) || s.Live || s.Clean() && len(args) == 0 {
					continue
				}
				if s.Clean() {
					say(a.Out, "%s  %s: nothing left to remove", s.Run, s.Title)
					continue
				}
				if dry {
					say(a.Out, "%s  %s: would remove what it left", s.Run, s.Title)
					continue
				}
				done++
				err := a.goOn(ctx, in, s.Run, &t, true, func(ctx context.Context, r *plan.Runner) error { return r.CleanUp(ctx) })
				var run *plan.RunError
				switch {
				case s.Meta[metaCloud] == cloudEmbedded:
					say(a.Out, "%s  %s: its simulated Azure is gone; nothing to remove", s.Run, s.Title)
				case err == nil || errors.As(err, &run) && len(run.Left) == 0:
					say(a.Out, "%s  %s: removed what it left", s.Run, s.Title)
				default:
					errs = append(errs, err)
				}
			}
			if len(errs) > 0 {
				return errors.Join(errs...)
			}
			if done == 0 && !dry {
				say(a.Out, "nothing to remove")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	c.Flags().StringArrayVar(&t.vars, "var", nil, "set a variable again: name=value")
	c.Flags().StringArrayVar(&t.varFiles, "var-file", nil, "read variables from a file")
	a.addProgressFlags(c)
	return c
}

func matches(run string, names []string) bool {
	for _, n := range names {
		if strings.HasPrefix(run, n) {
			return true
		}
	}
	return false
}
