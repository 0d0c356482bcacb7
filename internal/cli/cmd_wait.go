package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/plan"
)

func (a *app) waitCmd() *cobra.Command {
	var t templateFlags
	c := &cobra.Command{
		Use: "wait RUN", Short: "See a run to its end, and end as it did",
		Long: "Wait goes on with a run that was detached (ingot build --detach) or whose process died; while another process carries the run\n" +
			"it only watches. Its exit code is the one that the build would have had.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			store, err := a.store()
			if err != nil {
				return err
			}
			told := false
			for {
				st, err := store.Status(ctx, args[0])
				if err != nil {
					return err
				}
				if st.Clean() && !st.Live {
					return a.endOf(st)
				}
				if !st.Live {
					err := a.goOn(ctx, in, st.Run, &t, false, func(ctx context.Context, r *plan.Runner) error { return r.Resume(ctx) })
					if !errors.Is(err, plan.ErrLocked) {
						return err
					}
				}
				if !told {
					told = true
					a.notice("another process carries run " + st.Run + ": watching")
				}
				if err := (plan.WallClock{}).Sleep(ctx, watchEvery); err != nil {
					return &exitError{exitInterrupted, fmt.Errorf("stopped watching run %s, which goes on", st.Run)}
				}
			}
		},
	}
	c.Flags().StringArrayVar(&t.vars, "var", nil, "set a variable again: name=value")
	c.Flags().StringArrayVar(&t.varFiles, "var-file", nil, "read variables from a file")
	c.Flags().StringVar(&t.path, "template", "", "the run's template, where this machine has it elsewhere")
	a.addProgressFlags(c)
	return c
}

// watchEvery is how often a run that another process carries is looked at.
const watchEvery = 3 * time.Second

// endOf ends as the run did.
func (a *app) endOf(st plan.Status) error {
	switch st.Outcome {
	case plan.Succeeded:
		say(a.Out, "run %s: %s", st.Run, st.Outcome)
		return nil
	case plan.Cancelled:
		return &exitError{exitInterrupted, fmt.Errorf("run %s was cancelled", st.Run)}
	case "":
		return fmt.Errorf("run %s ended before it began anything", st.Run)
	}
	return fmt.Errorf("run %s: %s", st.Run, st.Error)
}

// mayDetach looks whether the builds can be let go of, and notes which shall be: all, or those whose template says so.
func (a *app) mayDetach(ready []*prepared, all bool) error {
	for _, p := range ready {
		p.detach = all || p.img.Engine.Detach
		if !p.detach {
			continue
		}
		switch {
		case p.session.kind == cloudEmbedded && all:
			return usage("a rehearsal cannot be detached: the simulated Azure inside this process would end with it; use ingot sim serve")
		case p.session.kind == cloudEmbedded:
			p.detach = false // the template means the real build
			a.notice("The template says detach; this rehearsal is seen to its end, because its simulated Azure would end with it.")
		case len(p.plan.Alone()) == 0:
			return usage("%s cannot be detached: no step of its plan goes on without a runner", p.plan.Title)
		}
	}
	return nil
}
