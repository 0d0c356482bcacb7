package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/spf13/cobra"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/template"
)

func (a *app) validateCmd() *cobra.Command {
	var t templateFlags
	sev := diag.Warning
	var format string
	var syntaxOnly, quiet, evaluate, online, force bool
	var scenario string
	c := &cobra.Command{
		Use: "validate PATH…", Short: "Show everything that is wrong with templates, offline or, with --online, against Azure too",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			if err := t.engine.check(); err != nil {
				return err
			}
			if online && (format == "sarif" || syntaxOnly) {
				return usage("--online excludes --syntax-only and --format sarif")
			}
			if online {
				a.json = a.json || format == "json"
				return a.validateOnline(cmd.Context(), paths, &t, scenario, force)
			}
			for _, p := range paths {
				if p == "" {
					return usage("a path is empty")
				}
			}
			if a.json && format == "sarif" {
				return usage("--json and --format sarif exclude one another")
			}
			if t.engine.name != "" {
				sev = diag.Error
			}
			switch format {
			case "text", "json", "sarif":
			default:
				return usage("unknown --format %q: use text, json or sarif", format)
			}
			if a.json {
				format = "json"
			}
			type loaded struct {
				sources  diag.Sources
				images   int
				problems diag.List
				public   []string // images whose machine has a public address with an open port
			}
			t.warnUndeclared = !quiet // as in Packer: validate warns of them, build does not
			results := make([]loaded, len(paths))
			var wg sync.WaitGroup
			turns := make(chan struct{}, runtime.GOMAXPROCS(0))
			for i, p := range paths {
				turns <- struct{}{}
				wg.Go(func() {
					if syntaxOnly {
						r, problems := template.Parse(a.relative(p), t.options(a))
						results[i] = loaded{images: len(r.Files), problems: problems, sources: r.Sources}
						<-turns
						return
					}
					r, problems := a.load(p, &t, sev, evaluate)
					results[i] = loaded{images: len(r.Images), problems: problems, public: public(r)}
					if len(problems) > 0 {
						results[i].sources = r.Sources
					}
					<-turns
				})
			}
			wg.Wait()
			var all diag.List
			sources := diag.Sources{}
			images := 0
			var public []string
			for _, x := range results {
				public = append(public, x.public...)
				all = append(all, x.problems...)
				images += x.images
				maps.Copy(sources, x.sources)
			}
			var err error
			switch format {
			case "json":
				err = diag.RenderJSON(a.Out, all)
			case "sarif":
				err = diag.RenderSARIF(a.Out, all, Version)
			default:
				diag.Render(a.Err, all, sources, a.color(a.Err))
			}
			if err != nil {
				return err
			}
			if all.HasErrors() {
				return shown(exitTemplate)
			}
			what := "image"
			if syntaxOnly {
				what = "file"
			}
			if format == "text" {
				say(a.Out, "valid: %s", count(images, what))
				if len(public) > 0 {
					say(a.Out, "note: %s can be reached from outside while it is built; communicator = \"runcommand\" needs no open port, no public address and no key vault", join(public))
				}
			}
			return nil
		},
	}
	t.add(c)
	c.Flags().BoolVar(&a.json, "json", false, "print the problems as JSON")
	c.Flags().BoolVar(&syntaxOnly, "syntax-only", false, "only parse the files")
	c.Flags().BoolVar(&quiet, "no-warn-undeclared-var", false, "do not warn about values for variables that the template does not declare")
	c.Flags().BoolVar(&evaluate, "evaluate-datasources", false, "read what data sources name (needs a sign-in)")
	c.Flags().BoolVar(&online, "online", false, "ask Azure too, as the first step of a build does: sign-in, permissions, providers, quota, network, policies, locks, what the template names")
	c.Flags().BoolVar(&force, "force", false, "with --online: accept an image or version that exists, as ingot build -force does")
	c.Flags().StringVar(&scenario, "scenario", "", "with --online: file that says what the simulated Azure holds and what goes wrong in it")
	c.Flags().StringVar(&format, "format", "text", "how the problems are printed: text, json or sarif (for code hosts)")
	t.engine.add(c, "judge for one engine too, as ingot build does: what it cannot build becomes an error (vm, aib)")
	return c
}

// validateOnline does all that a build does before it makes something, for each template.
func (a *app) validateOnline(ctx context.Context, paths []string, t *templateFlags, scenario string, force bool) error {
	a.preflight = true
	var errs []error
	images := 0
	for _, path := range paths {
		r, err := a.loadOrStop(path, t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ready, err := a.prepare(ctx, path, t, r, scenario, force)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		images += len(ready)
		if !a.json {
			errs = append(errs, a.signedIn(ctx, ready))
		}
		for _, p := range ready {
			p.session.close()
		}
	}
	var first error
	for _, err := range errs {
		switch {
		case err == nil:
		case first == nil:
			first = err
		default:
			var quiet *exitError
			if !errors.As(err, &quiet) || quiet.err != nil {
				say(a.Err, "%v", err)
			}
		}
	}
	if first != nil {
		return first
	}
	if a.json {
		return diag.RenderJSON(a.Out, nil)
	}
	say(a.Out, "valid: %s, and Azure would let %s be built", count(images, "image"), map[bool]string{true: "it", false: "them"}[images == 1])
	return nil
}

// load reads a template and asks the engine what it thinks of it; it never returns a nil result.
//
// What this version's engine cannot build is of severity sev: a template can be sound all the same. Only what is going to be built
// has its key vaults read.
func (a *app) load(path string, t *templateFlags, sev diag.Severity, build bool) (*template.Result, diag.List) {
	o := t.options(a)
	o.Advise = sev == diag.Warning
	if build {
		o.VaultSecret = a.vaultSecret(context.Background())
	}
	r, problems := template.Load(a.relative(path), o)
	if r == nil {
		r = &template.Result{}
	}
	if sev == diag.Error && len(r.Unknown) > 0 && !problems.HasErrors() {
		problems.Errorf(diag.Pos{}, "give --subscription, --resource-group and --location", "the template asks for %s, which only its deployment knows", join(r.Unknown))
	}
	if sev == diag.Warning && problems.HasErrors() {
		return r, problems // what could be built of a template that is not sound is not worth a word yet
	}
	for _, img := range r.Images {
		t.engine.apply(img)
		for _, p := range engineOf(img).Check(img) {
			if p.Severity == diag.Error {
				p.Severity = sev
			}
			problems = append(problems, p)
		}
	}
	return r, problems
}

// public lists the images that could be built without a way into their machine, and are not. A template of the managed service cannot
// say how its guest is reached.
func public(r *template.Result) (out []string) {
	for _, img := range r.Images {
		n := img.Machine.Network
		if r.Language != template.ImageBuilder && (img.Communicator.Kind == "winrm" || img.Communicator.Kind == "ssh" && img.OS == image.Linux) && img.Communicator.Host == "" && (n.VNet == "" || n.PublicIP) {
			out = append(out, img.Name)
		}
	}
	return out
}

// relative is a path as problems show it.
func (a *app) relative(path string) string {
	if !filepath.IsAbs(path) && a.Cwd != "" {
		if rel, err := filepath.Rel(a.Cwd, filepath.Join(a.Cwd, path)); err == nil {
			return rel
		}
	}
	return path
}

// loadOrStop is load for commands that go on only with a template that has no errors.
func (a *app) loadOrStop(path string, t *templateFlags) (*template.Result, error) {
	if err := t.engine.check(); err != nil {
		return nil, err
	}
	r, problems := a.load(path, t, diag.Error, true)
	if a.json && problems.HasErrors() {
		if err := diag.RenderJSON(a.Out, problems); err != nil {
			return nil, err
		}
	} else {
		diag.Render(a.Err, problems, r.Sources, a.color(a.Err))
	}
	if problems.HasErrors() {
		return nil, shown(exitTemplate)
	}
	if len(r.Images) == 0 {
		return nil, &exitError{exitTemplate, fmt.Errorf("cannot build %s: it has no build that -only and -except leave", path)}
	}
	return r, nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
