package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/engine/vm"
	"ingot/internal/plan"
)

func (a *app) gcCmd() *cobra.Command {
	var t templateFlags
	var dry bool
	var leaked leakFlags
	c := &cobra.Command{
		Use: "gc [RUN…]", Short: "Remove what dead or failed runs left behind",
		Long: "Gc goes through the journals of runs whose process is gone: those that were never judged are judged cancelled and undone, and\n" +
			"every removal that did not succeed is tried again. With RUN, only those.\n\n" +
			"With --leaked it goes through a whole subscription instead and needs no journal: resource groups, single resources and deleted\n" +
			"key vaults that carry the tags " + vm.TagRun + " and " + vm.TagExpires + " and have expired. It prints a table and asks; without a terminal it\n" +
			"deletes nothing unless --yes is given. What is locked stays. --packer also lists the groups that Packer's azure-arm leaves, which\n" +
			"bear its names but no tags: they are taken for leaked when everything in them is named pkr… and older than a day (--older-than).",
		Example: "  ingot gc --leaked                    # only looks\n  ingot gc --leaked --yes              # in a nightly job\n  ingot gc --leaked --packer --older-than 72h",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			if leaked.on || leaked.packer {
				leaked.dry = dry
				return a.gcLeaked(ctx, &leaked, args)
			}
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
	f := c.Flags()
	f.BoolVar(&dry, "dry-run", false, "only say what would be done")
	f.BoolVar(&leaked.on, "leaked", false, "look through a whole subscription for what builds left, by tags and age")
	f.BoolVar(&leaked.packer, "packer", false, "also what Packer left, by the names it gives; implies --leaked")
	f.BoolVar(&leaked.yes, "yes", false, "with --leaked: delete without asking")
	f.StringVar(&leaked.subscription, "subscription", "", "with --leaked: the subscription (default: AZURE_SUBSCRIPTION_ID or ARM_SUBSCRIPTION_ID)")
	f.DurationVar(&leaked.older, "older-than", 0, "with --leaked: only what was begun longer ago than that")
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
