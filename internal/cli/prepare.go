package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ingot/internal/azure"
	"ingot/internal/diag"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/template"
)

// Keys of plan.Plan.Meta: what another process needs to carry a run on. Never a secret.
const (
	metaCloud    = "cloud"
	metaSim      = "sim"      // address of the served simulated Azure
	metaTemplate = "template" // absolute path
	metaCwd      = "cwd"
	metaFlags    = "flags" // keptFlags as JSON
	metaImage    = "image"
	metaVersion  = "ingot"
	metaEngine   = "engine" // which one carries the run: "" is vm
	metaSub      = "subscription"
	metaFacts    = "facts"  // what was asked of the world, as JSON
	metaGuests   = "guests" // how real machines of a rehearsal ran
	metaWork     = "work"   // the template, as seen from the working directory
)

// lifetime is how long what a build makes may stand before gc takes it for leaked.
const lifetime = 24 * time.Hour

// keptFlags are the template flags of a run, less the values of sensitive variables.
type keptFlags struct {
	Vars, VarFiles, Only, Except  []string
	Subscription, Group, Location string   `json:",omitempty"`
	Again                         []string // sensitive variables that were given with -var: a resume needs them again
}

// prepared is one image, ready to run.
type prepared struct {
	img     *image.Image
	plan    *plan.Plan
	secrets *engine.Secrets
	session *session
	moved   *moved // files of a run that another machine began; nil: they are where the plan says
	detach  bool   // let go once only what goes on alone is left
	blind   bool   // without its template, so without its secrets
	heard   *said  // the end of what its steps said; nil before it runs
}

// prepare signs in, asks the world what the plans must know and makes them. All problems are shown at once.
func (a *app) prepare(ctx context.Context, path string, t *templateFlags, r *template.Result, scenario string, force bool) (out []*prepared, err error) {
	sessions := map[string]*session{}
	defer func() {
		if err != nil {
			for _, s := range sessions {
				s.close()
			}
		}
	}()
	secrets := secretsOf(r)
	if err := a.chooseGuests(r.Images); err != nil {
		return nil, err
	}
	for _, img := range r.Images {
		kind, err := a.chooseCloud(img.Identity)
		if err != nil {
			return nil, err
		}
		key := kind + "\x00" + img.Identity.SubscriptionID + "\x00" + img.Identity.ClientID
		s := sessions[key]
		if s == nil {
			if s, err = a.open(ctx, kind, img.Identity, scenario); err != nil {
				return nil, err
			}
			sessions[key] = s
			if !a.json {
				say(a.Err, "Cloud: %s.", s.where)
			}
		}
		if err := s.makeImages(ctx, img); err != nil {
			return nil, err
		}
		if kind == cloudEmbedded && scenario == "" {
			made, err := s.seedFor(ctx, img)
			if err != nil {
				return nil, err
			}
			s.note()
			if len(made) > 0 && !a.json {
				say(a.Err, "The simulated Azure starts with what the template expects to find: %s.", join(made))
			}
		}
		out = append(out, &prepared{img: img, session: s, secrets: secrets})
	}
	if err := a.identified(r); err != nil {
		return nil, err
	}
	facts := make([]image.Facts, len(out))
	lists := make([]diag.List, len(out))
	errs := make([]error, len(out))
	asked := map[*session]*engine.Asked{}
	for _, p := range out {
		asked[p.session] = &engine.Asked{}
	}
	var wg sync.WaitGroup
	for i, p := range out {
		wg.Go(func() {
			facts[i], lists[i], errs[i] = image.Resolve(ctx, p.img, engine.Catalog{Cloud: p.session.cloud, Asked: asked[p.session]}, image.ResolveOptions{Replace: force})
		})
	}
	wg.Wait()
	var all diag.List
	for i := range out {
		if errs[i] != nil {
			if azure.IsForbidden(errs[i]) && a.preflight {
				all := engine.Preflight{Cloud: out[i].session.cloud, Img: out[i].img, Facts: facts[i]}.MissingLookups(ctx)
				diag.Render(a.Err, all, r.Sources, a.color(a.Err))
			}
			if azure.IsAuth(errs[i]) || azure.IsForbidden(errs[i]) {
				return nil, &exitError{exitPermission, errs[i]}
			}
			return nil, errs[i]
		}
		all = append(all, lists[i]...)
	}
	if len(all) > 0 && !a.json {
		diag.Render(a.Err, all, r.Sources, a.color(a.Err))
	}
	if all.HasErrors() {
		if a.json {
			if err := diag.RenderJSON(a.Out, all); err != nil {
				return nil, err
			}
		}
		return nil, shown(exitTemplate)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	for i, p := range out {
		run, err := newRun()
		if err != nil {
			return nil, err
		}
		p.plan, err = engineOf(p.img).Plan(p.img, facts[i], engine.Options{Run: run, Made: p.session.clock.Now().UTC().Truncate(time.Second), Replace: force, Expires: lifetime})
		if err != nil {
			return nil, err
		}
		flags, err := json.Marshal(keep(t, r, secrets))
		if err != nil {
			return nil, err
		}
		asked, err := json.Marshal(facts[i])
		if err != nil {
			return nil, err
		}
		p.plan.Meta = map[string]string{metaFacts: string(asked), metaCloud: p.session.kind, metaTemplate: abs, metaCwd: a.Cwd, metaFlags: string(flags), metaImage: p.img.Name,
			metaVersion: Version, metaSub: facts[i].Subscription}
		if p.img.Engine.Name == engineAIB {
			p.plan.Meta[metaEngine] = engineAIB
		}
		if rel, err := filepath.Rel(a.Cwd, abs); err == nil {
			p.plan.Meta[metaWork] = filepath.ToSlash(rel)
		}
		if a.stateAddress() != "" && p.session.kind != cloudEmbedded {
			b, err := makeBundle(p, r.Files, a.Cwd)
			if err != nil {
				return nil, err
			}
			text, err := json.Marshal(b)
			if err != nil {
				return nil, err
			}
			p.plan.Meta[metaBundle] = string(text)
		}
		if p.session.host != nil {
			p.plan.Meta[metaGuests] = "QEMU, " + acceleration(p.session.host)
		}
		if p.session.kind == cloudServed {
			p.plan.Meta[metaSim] = a.Getenv("INGOT_SIM")
		}
	}
	if a.preflight {
		if err := a.checkAhead(ctx, r, out, facts); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// identified refuses what Image Builder is to build as nobody. A rehearsal has made somebody by now.
func (a *app) identified(r *template.Result) error {
	var l diag.List
	for _, img := range r.Images {
		if b := img.Engine.Builder; img.Engine.Name == engineAIB && b.Identity == "" && !b.CreateIdentity && len(img.Managed.Identities) == 0 {
			l.Errorf(img.Pos, "name one: --identity ID, or identity in the engine block of a *.ingot.hcl file; --create-identity makes one for the build", "Image Builder builds as a user-assigned identity, and %s has none", img.Name)
		}
	}
	if !l.HasErrors() {
		return nil
	}
	if a.json {
		if err := diag.RenderJSON(a.Out, l); err != nil {
			return err
		}
	} else {
		diag.Render(a.Err, l, r.Sources, a.color(a.Err))
	}
	return shown(exitTemplate)
}

func secretsOf(r *template.Result) *engine.Secrets {
	s := &engine.Secrets{}
	for name, value := range r.Secrets {
		s.Put(name, value)
	}
	for _, v := range r.SensitiveValues {
		s.Hide(v)
	}
	return s
}

// keep leaves out the -var of every sensitive variable, and every -var whose value ended up in an option that is secret by
// nature although the template did not say that the variable is.
func keep(t *templateFlags, r *template.Result, secrets *engine.Secrets) keptFlags {
	k := keptFlags{VarFiles: t.varFiles, Only: t.only, Except: t.except, Subscription: t.subscription, Group: t.group, Location: t.location}
	for _, v := range t.vars {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains(r.NeedVars, name) || secrets.Redact(v) != v {
			k.Again = append(k.Again, name)
		} else {
			k.Vars = append(k.Vars, v)
		}
	}
	return k
}

// newRun makes a run's id: 8 lower-case letters and digits that begin with a letter, so that it may be part of every name.
func newRun() (string, error) {
	const letters, all = "abcdefghijkmnpqrstuvwxyz", "abcdefghijkmnpqrstuvwxyz23456789"
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("cannot make a run id: %w", err)
	}
	for i := range raw {
		from := all
		if i == 0 {
			from = letters
		}
		raw[i] = from[int(raw[i])%len(from)]
	}
	return string(raw[:]), nil
}

func join(list []string) string {
	out := ""
	for i, s := range list {
		switch {
		case i == 0:
		case i == len(list)-1:
			out += " and "
		default:
			out += ", "
		}
		out += s
	}
	return out
}
