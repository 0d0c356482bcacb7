package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/template"
)

func (a *app) resumeCmd() *cobra.Command {
	var onError string
	var t templateFlags
	var detach bool
	c := &cobra.Command{
		Use: "resume RUN", Short: "Go on with a run whose process died",
		Long: "Resume reads the run's journal and goes on where it stops: steps that were done stay done, operations that Azure is\n" +
			"still carrying out are followed, a run that was judged already is only cleaned up (and keeps its verdict).\n" +
			"A rehearsal in the simulated Azure that was part of the dead process cannot be resumed: it died with everything in it.\n" +
			"Sensitive variables are in no journal: give them again with -var, -var-file or PKR_VAR_.\n" +
			"With --state (a folder on a share, or an Azure blob container) any machine can go on: the template and the files that the\n" +
			"provisioners read have travelled with the run, except those that hold a secret. A runner that was killed keeps its run locked\n" +
			"for 60 seconds at most (INGOT_STATE_LEASE, 15s to 60s); resume waits for that.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			how, err := onErrorOf(onError)
			if err != nil {
				return err
			}
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			return a.goOn(ctx, in, args[0], &t, false, func(ctx context.Context, r *plan.Runner) error {
				r.OnError, r.Detach = how, detach
				return r.Resume(ctx)
			})
		},
	}
	c.Flags().StringVar(&t.path, "template", "", "the run's template, where this machine has it elsewhere")
	c.Flags().BoolVar(&detach, "detach", false, "return with exit code 5 once only what Azure does by itself is left to wait for")
	c.Flags().StringArrayVar(&t.vars, "var", nil, "set a variable again: name=value")
	c.Flags().StringArrayVar(&t.varFiles, "var-file", nil, "read variables from a file")
	c.Flags().StringVar(&onError, "on-error", "cleanup", "when a step fails: cleanup, abort, keep, ask")
	a.addProgressFlags(c)
	return c
}

// goOn opens a run of an earlier process, signs in where that one did, and lets what carry it on. removing says that nothing
// will be done but removed: neither the template's secrets nor its files are needed then.
func (a *app) goOn(ctx context.Context, in *interrupts, name string, more *templateFlags, removing bool, what func(context.Context, *plan.Runner) error) error {
	store, err := a.store()
	if err != nil {
		return err
	}
	a.sweepGuests() // a rehearsal that died leaves its machines' disks
	run, err := store.Open(ctx, name, a.notice)
	if err != nil {
		return err
	}
	defer run.Close() //nolint:errcheck // every entry is safe already
	p, err := run.Plan()
	if err != nil {
		return err
	}
	if p.Meta[metaCloud] == cloudEmbedded {
		if err := plan.Abandon(run, "the simulated Azure was part of the process that died, and everything in it died with it"); err != nil {
			return err
		}
		return fmt.Errorf("cannot go on with run %s: it was a rehearsal in the simulated Azure inside a process that is gone, and everything in it is gone too; nothing is left behind. Build again: ingot build %s", p.Run, p.Meta[metaTemplate])
	}
	if p.Meta[metaCloud] == cloudServed && a.Getenv("INGOT_SIM") == "" {
		a.Env = append(a.Env, "INGOT_SIM="+p.Meta[metaSim])
	}
	entries, err := run.Entries()
	if err != nil {
		return err
	}
	removing = removing || judged(entries)
	var m *moved
	if !removing {
		if m, err = unpack(ctx, p, run); err != nil {
			return err
		}
		defer m.close()
	}
	ready, err := a.reopen(ctx, p, more, m, removing)
	if err != nil {
		return err
	}
	defer ready.session.close()
	if !removing && ready.blind {
		if names := secretsNeeded(entries, p); len(names) > 0 {
			return &exitError{exitTemplate, fmt.Errorf("cannot go on with run %s without its template, which holds %s: it did not travel because it holds a secret; say where it is: --template PATH", p.Run, strings.Join(names, ", "))}
		}
	}
	show, err := a.display(1)
	if err != nil {
		return err
	}
	in.running(p.Run)
	in.through(show)
	err = what(ctx, a.runner(ready, run, plan.OnErrorCleanup, show))
	in.through(nil)
	a.explainRun(ready, err, show)
	show.Close() //nolint:errcheck // the display has nothing to lose
	a.report(ready, err)
	return err
}

// judged reports whether only removing is left to do.
func judged(entries []plan.Entry) bool {
	return slices.ContainsFunc(entries, func(e plan.Entry) bool { return e.Kind == plan.EntryVerdict })
}

// secretsNeeded lists the secrets of the template that steps name which are not done yet.
func secretsNeeded(entries []plan.Entry, p *plan.Plan) []string {
	done := map[string]bool{}
	for _, e := range entries {
		done[e.Step] = done[e.Step] || e.Kind == plan.EntryDone
	}
	var out []string
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			// The form in which image.Text writes a hidden text.
			if name, ok := v["secret"].(string); ok && len(v) == 1 && !slices.Contains(out, name) {
				out = append(out, name)
			}
			for _, x := range v {
				look(x)
			}
		case []any:
			for _, x := range v {
				look(x)
			}
		}
	}
	for _, s := range p.Steps {
		var args any
		if !done[s.ID] && json.Unmarshal(s.Args, &args) == nil {
			look(args)
		}
	}
	slices.Sort(out)
	return out
}

// reopen loads the run's template again, for the secrets and the identity in it. A template that has changed or gone since
// does not change the plan, which is in the journal.
func (a *app) reopen(ctx context.Context, p *plan.Plan, more *templateFlags, m *moved, removing bool) (*prepared, error) {
	r, img, err := a.reload(ctx, p, more, m)
	blind := false
	if err != nil {
		// Without its template a run can still be removed, and what needs none of its secrets be done, as whom the environment names.
		if !removing && !errors.Is(err, errNoTemplate) {
			return nil, err
		}
		a.notice("Going on without the template: " + err.Error())
		blind = true
		r, img = &template.Result{}, &image.Image{Name: p.Meta[metaImage]}
	}
	if img.Identity.SubscriptionID == "" {
		img.Identity.SubscriptionID = p.Meta[metaSub]
	}
	s, err := a.open(ctx, p.Meta[metaCloud], img.Identity, "")
	if err != nil {
		return nil, err
	}
	if !a.json && p.Meta[metaTemplate] != "" {
		say(a.Err, "Cloud: %s.", s.where)
	}
	return &prepared{img: img, plan: p, secrets: secretsOf(r), session: s, moved: m, blind: blind}, nil
}

var errNoTemplate = errors.New("its template is not on this machine")

// templatePath is where the run's template is now: where a person says, where it was, where it came along to, or where it is as
// seen from the working directory (a CI job's checkout of another path).
func (a *app) templatePath(p *plan.Plan, more *templateFlags, m *moved) (path, cwd string, err error) {
	if more.path != "" {
		path, err = filepath.Abs(more.path)
		return path, a.Cwd, err
	}
	if m != nil && m.template {
		return below(m.root, p.Meta[metaTemplate]), below(m.root, p.Meta[metaCwd]), nil
	}
	if _, err := os.Stat(p.Meta[metaTemplate]); err == nil {
		return p.Meta[metaTemplate], p.Meta[metaCwd], nil
	}
	if rel := p.Meta[metaWork]; rel != "" {
		if here := filepath.Join(a.Cwd, filepath.FromSlash(rel)); here != p.Meta[metaTemplate] {
			if _, err := os.Stat(here); err == nil {
				return here, a.Cwd, nil
			}
		}
	}
	return "", "", fmt.Errorf("%w: %s", errNoTemplate, p.Meta[metaTemplate])
}

// reload reads the template again, for the secrets and the identity in it.
func (a *app) reload(ctx context.Context, p *plan.Plan, more *templateFlags, m *moved) (*template.Result, *image.Image, error) {
	if p.Meta[metaTemplate] == "" { // an upload: it has no template, and signs in with the environment's account
		return &template.Result{}, &image.Image{}, nil
	}
	path, cwd, err := a.templatePath(p, more, m)
	if err != nil {
		return nil, nil, err
	}
	var kept keptFlags
	if err := json.Unmarshal([]byte(p.Meta[metaFlags]), &kept); err != nil {
		return nil, nil, fmt.Errorf("cannot read the flags of run %s: %w", p.Run, err)
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
		return nil, nil, &exitError{exitUsage, fmt.Errorf("cannot go on with run %s without what was given on the command line and is in no journal: %s", p.Run, strings.Join(missing, " "))}
	}
	t := &templateFlags{vars: append(kept.Vars, more.vars...), varFiles: append(kept.VarFiles, more.varFiles...), only: kept.Only, except: kept.Except,
		subscription: kept.Subscription, group: kept.Group, location: kept.Location}
	o := t.options(a)
	o.Cwd = cwd
	o.VaultSecret = a.vaultSecret(ctx)
	r, problems := template.Load(path, o)
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
		return nil, nil, &exitError{exitTemplate, fmt.Errorf("cannot go on with run %s: its template %s no longer yields %s", p.Run, path, p.Meta[metaImage])}
	}
	return r, img, nil
}
