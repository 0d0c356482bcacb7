package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/diag"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/template"
)

func (a *app) resumeCmd() *cobra.Command {
	var onError string
	var t templateFlags
	c := &cobra.Command{
		Use: "resume RUN", Short: "Go on with a run whose process died",
		Long: "Resume reads the run's journal and goes on where it stops: steps that were done stay done, operations that Azure is\n" +
			"still carrying out are followed, a run that was judged already is only cleaned up (and keeps its verdict).\n" +
			"A rehearsal in the simulated Azure that was part of the dead process cannot be resumed: it died with everything in it.\n" +
			"Sensitive variables are in no journal: give them again with -var, -var-file or PKR_VAR_.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			how, err := onErrorOf(onError)
			if err != nil {
				return err
			}
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			return a.goOn(ctx, in, args[0], &t, func(ctx context.Context, r *plan.Runner) error {
				r.OnError = how
				return r.Resume(ctx)
			})
		},
	}
	c.Flags().StringArrayVar(&t.vars, "var", nil, "set a variable again: name=value")
	c.Flags().StringArrayVar(&t.varFiles, "var-file", nil, "read variables from a file")
	c.Flags().StringVar(&onError, "on-error", "cleanup", "when a step fails: cleanup, abort, keep, ask")
	a.addProgressFlags(c)
	return c
}

// goOn opens a run of an earlier process, signs in where that one did, and lets what carry it on.
func (a *app) goOn(ctx context.Context, in *interrupts, name string, more *templateFlags, what func(context.Context, *plan.Runner) error) error {
	a.sweepGuests() // a rehearsal that died leaves its machines' disks
	store := a.store()
	run, err := store.Open(name)
	if err != nil {
		return err
	}
	defer run.Close() //nolint:errcheck // every entry is on disk already
	p, err := run.Plan()
	if err != nil {
		return err
	}
	if p.Meta[metaCloud] == cloudEmbedded {
		if err := run.Abandon("the simulated Azure was part of the process that died, and everything in it died with it"); err != nil {
			return err
		}
		return fmt.Errorf("cannot go on with run %s: it was a rehearsal in the simulated Azure inside a process that is gone, and everything in it is gone too; nothing is left behind. Build again: ingot build %s", p.Run, p.Meta[metaTemplate])
	}
	if p.Meta[metaCloud] == cloudServed && a.Getenv("INGOT_SIM") == "" {
		a.Env = append(a.Env, "INGOT_SIM="+p.Meta[metaSim])
	}
	ready, err := a.reopen(ctx, p, more)
	if err != nil {
		return err
	}
	defer ready.session.close()
	show, err := a.display(1)
	if err != nil {
		return err
	}
	in.running(p.Run)
	in.through(show)
	err = what(ctx, a.runner(ready, run, plan.OnErrorCleanup, show))
	in.through(nil)
	show.Close() //nolint:errcheck // the display has nothing to lose
	a.report(ready, err)
	return err
}

// reopen loads the run's template again, for the secrets and the identity in it. A template that has changed or gone since
// does not change the plan, which is in the journal.
func (a *app) reopen(ctx context.Context, p *plan.Plan, more *templateFlags) (*prepared, error) {
	if p.Meta[metaTemplate] == "" { // an upload: it has no template, and signs in with the environment's account
		s, err := a.open(ctx, p.Meta[metaCloud], image.Identity{SubscriptionID: p.Meta[metaSub]}, "")
		if err != nil {
			return nil, err
		}
		return &prepared{img: &image.Image{}, plan: p, secrets: &engine.Secrets{}, session: s}, nil
	}
	var kept keptFlags
	if err := json.Unmarshal([]byte(p.Meta[metaFlags]), &kept); err != nil {
		return nil, fmt.Errorf("cannot read the flags of run %s: %w", p.Run, err)
	}
	var missing []string
	for _, name := range kept.Again {
		again := a.Getenv("PKR_VAR_"+name) != "" || len(more.varFiles) > 0
		for _, v := range more.vars {
			again = again || strings.HasPrefix(v, name+"=")
		}
		if !again {
			missing = append(missing, "-var "+name+"=…")
		}
	}
	if len(missing) > 0 {
		return nil, &exitError{exitUsage, fmt.Errorf("cannot go on with run %s without what was given on the command line and is in no journal: %s", p.Run, strings.Join(missing, " "))}
	}
	t := &templateFlags{vars: append(kept.Vars, more.vars...), varFiles: append(kept.VarFiles, more.varFiles...), only: kept.Only, except: kept.Except,
		subscription: kept.Subscription, group: kept.Group, location: kept.Location}
	o := t.options(a)
	o.Cwd = p.Meta[metaCwd]
	o.VaultSecret = a.vaultSecret(ctx)
	r, problems := template.Load(p.Meta[metaTemplate], o)
	if r == nil {
		r = &template.Result{}
	}
	var img *image.Image
	for _, i := range r.Images {
		if i.Name == p.Meta[metaImage] {
			img = i
		}
	}
	if img == nil {
		diag.Render(a.Err, problems, r.Sources, a.color(a.Err))
		return nil, &exitError{exitTemplate, fmt.Errorf("cannot go on with run %s: its template %s no longer yields %s", p.Run, p.Meta[metaTemplate], p.Meta[metaImage])}
	}
	if img.Identity.SubscriptionID == "" {
		img.Identity.SubscriptionID = p.Meta[metaSub]
	}
	s, err := a.open(ctx, p.Meta[metaCloud], img.Identity, "")
	if err != nil {
		return nil, err
	}
	if !a.json {
		say(a.Err, "Cloud: %s.", s.where)
	}
	return &prepared{img: img, plan: p, secrets: secretsOf(r), session: s}, nil
}

func (a *app) cancelCmd() *cobra.Command {
	var t templateFlags
	c := &cobra.Command{
		Use: "cancel RUN", Short: "Stop a run and remove what it made",
		Long: "Cancel tells the process that carries the run to stop and clean up; where that process is gone, it cleans up itself.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			live, err := a.store().RequestCancel(args[0])
			if err != nil {
				return err
			}
			if live {
				say(a.Out, "run %s has been told to stop; it removes what it made before it ends (ingot status %s)", args[0], args[0])
				return nil
			}
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			err = a.goOn(ctx, in, args[0], &t, func(ctx context.Context, r *plan.Runner) error { return r.CleanUp(ctx) })
			var run *plan.RunError
			if errors.As(err, &run) && run.Outcome == plan.Cancelled && len(run.Left) == 0 {
				say(a.Out, "run %s is cancelled; nothing is left of it", args[0])
				return nil
			}
			return err
		},
	}
	c.Flags().StringArrayVar(&t.vars, "var", nil, "set a variable again: name=value")
	c.Flags().StringArrayVar(&t.varFiles, "var-file", nil, "read variables from a file")
	a.addProgressFlags(c)
	return c
}

func (a *app) gcCmd() *cobra.Command {
	var t templateFlags
	var dry bool
	c := &cobra.Command{
		Use: "gc [RUN…]", Short: "Remove what dead or failed runs left behind",
		Long: "Gc goes through the journals of runs whose process is gone: those that were never judged are judged failed and undone, and\n" +
			"every removal that did not succeed is tried again. With RUN, only those.",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			list, err := a.store().List()
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
				err := a.goOn(ctx, in, s.Run, &t, func(ctx context.Context, r *plan.Runner) error { return r.CleanUp(ctx) })
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
