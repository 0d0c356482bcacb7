package cli

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/internal/diag"
	"ingot/internal/engine"
	"ingot/internal/engine/vm"
	"ingot/internal/template"
)

func (a *app) validateCmd() *cobra.Command {
	var t templateFlags
	sev := diag.Warning
	c := &cobra.Command{
		Use: "validate PATH…", Short: "Show everything that is wrong with templates, offline",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, paths []string) error {
			var all diag.List
			sources := diag.Sources{}
			images := 0
			for _, p := range paths {
				r, problems := a.load(p, &t, sev)
				all = append(all, problems...)
				images += len(r.Images)
				for name, text := range r.Sources {
					sources[name] = text
				}
			}
			if a.json {
				if err := diag.RenderJSON(a.Out, all); err != nil {
					return err
				}
			} else {
				diag.Render(a.Err, all, sources, a.color(a.Err))
			}
			if all.HasErrors() {
				return shown(exitTemplate)
			}
			if !a.json {
				say(a.Out, "valid: %s", count(images, "image"))
			}
			return nil
		},
	}
	t.add(c)
	c.Flags().BoolVar(&a.json, "json", false, "print the problems as JSON")
	return c
}

// load reads a template and asks the engine what it thinks of it; it never returns a nil result.
//
// What this version's engine cannot build is of severity sev: a template can be sound all the same.
func (a *app) load(path string, t *templateFlags, sev diag.Severity) (*template.Result, diag.List) {
	if !filepath.IsAbs(path) && a.Cwd != "" {
		if rel, err := filepath.Rel(a.Cwd, filepath.Join(a.Cwd, path)); err == nil {
			path = rel
		}
	}
	r, problems := template.Load(path, t.options(a))
	if r == nil {
		r = &template.Result{}
	}
	for _, img := range r.Images {
		for _, p := range a.engine().Check(img) {
			if p.Severity == diag.Error {
				p.Severity = sev
			}
			problems = append(problems, p)
		}
	}
	return r, problems
}

// loadOrStop is load for commands that go on only with a template that has no errors.
func (a *app) loadOrStop(path string, t *templateFlags) (*template.Result, error) {
	r, problems := a.load(path, t, diag.Error)
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

// engine is the engine in use; there is one so far.
func (a *app) engine() engine.Engine { return vm.Engine{} }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
