package template

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// buildHead are the attributes of a build block.
type buildHead struct {
	Name        string   `hcl:"name"`
	Description string   `hcl:"description"`
	Sources     []string `hcl:"sources"`
}

// built is one source of one build.
type built struct {
	typ, name string // "azure-arm", "win11" or what the overlay calls it
	bodies    []hcl.Body
	pos       diag.Pos
}

// inBuild are the blocks of a build.
func inBuild() []hcl.BlockHeaderSchema {
	typ := []string{"type"}
	return []hcl.BlockHeaderSchema{{Type: "source", LabelNames: []string{"source"}}, {Type: "provisioner", LabelNames: typ}, {Type: "error-cleanup-provisioner", LabelNames: typ},
		{Type: "post-processor", LabelNames: typ}, {Type: "post-processors"}, {Type: "hcp_packer_registry"}}
}

// build makes an image of every source that a build names.
func (l *loader) build(b *hcl.Block, n int) {
	var head buildHead
	ctx := l.context(nil)
	d := l.decoder(ctx, "the build block", fmt.Sprintf("build[%d]", n), at(b.TypeRange))
	fields := map[string]field{}
	collect(reflect.ValueOf(&head).Elem(), fields)
	c := d.content(l.open(b.Body, ctx), fields, "", nil, inBuild())
	for _, a := range sorted(c.Attributes) {
		d.pos[a.Name] = at(a.NameRange)
		d.attribute(fields[a.Name], a, "")
	}
	var list []built
	find := func(ref string, pos diag.Pos) (built, bool) {
		key := strings.TrimPrefix(ref, "source.")
		src := l.sources[key]
		if src == nil {
			l.problems.Errorf(pos, meant(key, keys(l.sources)), "the build names source %q, which is not declared", ref)
			return built{}, false
		}
		l.used[key] = true
		if src.Labels[0] != "azure-arm" {
			l.problems.Errorf(at(src.LabelRanges[0]), `use source "azure-arm"`, "source type %q is not for Azure images: Ingot builds azure-arm", src.Labels[0])
			return built{}, false
		}
		return built{typ: src.Labels[0], name: src.Labels[1], bodies: []hcl.Body{src.Body}, pos: at(src.TypeRange)}, true
	}
	if d.broken["sources"] {
		head.Sources = nil
	}
	for _, ref := range head.Sources {
		if s, ok := find(ref, d.place("sources")); ok {
			list = append(list, s)
		}
	}
	for _, in := range c.Blocks {
		switch in.Type {
		case "source":
			s, ok := find(in.Labels[0], at(in.LabelRanges[0]))
			if !ok {
				continue
			}
			if part, _, _ := in.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "name"}}}); part != nil && part.Attributes["name"] != nil {
				if v, problems := part.Attributes["name"].Expr.Value(ctx); !problems.HasErrors() && v.Type() == cty.String && !v.IsNull() && !v.IsMarked() && v.IsKnown() {
					s.name = v.AsString()
				}
			}
			s.bodies = append(s.bodies, in.Body)
			list = append(list, s)
		case "hcp_packer_registry":
			l.problems.Warnf(at(in.TypeRange), "Ingot keeps its own record of every run: ingot runs, ingot status RUN", "hcp_packer_registry has no effect: nothing is sent to HCP Packer")
		}
	}
	if len(list) == 0 && !l.problems.HasErrors() {
		l.problems.Errorf(at(b.TypeRange), `add sources = ["source.azure-arm.NAME"]`, "the build has no source")
	}
	if len(list) == 0 {
		l.checkSteps(c.Blocks)
	}
	var names []string
	for _, s := range list {
		names = append(names, s.typ+"."+s.name)
	}
	for _, s := range list {
		full := s.typ + "." + s.name
		if head.Name != "" {
			full = head.Name + "." + full
		}
		if !l.wanted(full) {
			continue
		}
		l.image(b, c.Blocks, s, full, names)
	}
}

// wanted applies -only and -except.
func (l *loader) wanted(name string) bool {
	hit := func(list []string) bool {
		return slices.ContainsFunc(list, func(g string) bool {
			ok, err := path.Match(g, name)
			return err == nil && ok || g == name || strings.HasSuffix(name, "."+g)
		})
	}
	if len(l.o.Only) > 0 && !hit(l.o.Only) {
		return false
	}
	return !hit(l.o.Except)
}

// patterns reports globs that are none, and warns when -only leaves nothing.
func (l *loader) patterns() {
	for _, g := range append(slices.Clone(l.o.Only), l.o.Except...) {
		if _, err := path.Match(g, ""); err != nil {
			l.problems.Errorf(diag.Pos{}, "names look like azure-arm.win11, and * stands for anything", "-only or -except: %q is no pattern", g)
		}
	}
	if len(l.o.Only) > 0 && len(l.r.Images) == 0 && !l.problems.HasErrors() {
		l.problems.Warnf(diag.Pos{}, "names look like azure-arm.win11", "-only %s matches no build", strings.Join(l.o.Only, ","))
	}
}

func (l *loader) image(b *hcl.Block, blocks hcl.Blocks, s built, name string, sources []string) {
	source := cty.ObjectVal(map[string]cty.Value{"type": cty.StringVal(s.typ), "name": cty.StringVal(s.name)})
	ctx := l.context(map[string]cty.Value{"source": source, "build": cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal(s.name), "type": cty.StringVal(s.typ)})})
	d := l.decoder(ctx, fmt.Sprintf("source %q %q", s.typ, s.name), name, s.pos)
	d.sourceName, d.sourceType = s.name, s.typ
	var o azureARM
	bodies := make([]hcl.Body, len(s.bodies))
	for i, body := range s.bodies {
		bodies[i] = l.open(body, ctx)
	}
	d.into(&o, "", []string{"name"}, bodies...)
	img := d.toImage(&o)
	l.addImage(img, at(b.TypeRange))
	in := inside{img: img, typ: s.typ, name: s.name, sources: sources, ctx: l.context(map[string]cty.Value{"source": source, "build": running(s.name, s.typ)})}
	for _, b := range blocks {
		switch b.Type {
		case "provisioner":
			if p, ok := l.provision(b.Labels[0], at(b.LabelRanges[0]), at(b.TypeRange), b.Body, in, "provisioner"); ok {
				img.Provision = append(img.Provision, p)
			}
			in.n++
		case "error-cleanup-provisioner":
			if len(img.Cleanup) > 0 {
				l.problems.Errorf(at(b.TypeRange), "put everything into one", "error-cleanup-provisioner stands twice in the build")
			}
			if p, ok := l.provision(b.Labels[0], at(b.LabelRanges[0]), at(b.TypeRange), b.Body, in, "error-cleanup-provisioner"); ok {
				img.Cleanup = append(img.Cleanup, p)
			}
		case "post-processor":
			l.postProcess(b.Labels[0], at(b.LabelRanges[0]), at(b.TypeRange), b.Body, in)
		case "post-processors":
			l.chain(b, in)
		}
	}
}

// checkSteps judges the provisioners of a build without a source, so that their mistakes are told with the others.
func (l *loader) checkSteps(blocks hcl.Blocks) {
	source := cty.ObjectVal(map[string]cty.Value{"type": cty.StringVal("azure-arm"), "name": cty.StringVal("none")})
	in := inside{img: &image.Image{Name: "none"}, typ: "azure-arm", name: "none", ctx: l.context(map[string]cty.Value{"source": source, "build": running("none", "azure-arm")})}
	for _, b := range blocks {
		switch b.Type {
		case "provisioner", "error-cleanup-provisioner":
			l.provision(b.Labels[0], at(b.LabelRanges[0]), at(b.TypeRange), b.Body, in, b.Type)
			in.n++
		case "post-processor":
			l.postProcess(b.Labels[0], at(b.LabelRanges[0]), at(b.TypeRange), b.Body, in)
		}
	}
}

// addImage adds an image of which there must be no second.
func (l *loader) addImage(img *image.Image, pos diag.Pos) {
	if l.names[img.Name] {
		// Secrets, runs and -only go by the image's name.
		l.problems.Errorf(pos, "give each build a name of its own", "two builds make an image called %s", img.Name)
	}
	l.names[img.Name] = true
	l.advise(img)
	l.r.Images = append(l.r.Images, img)
}

// advise warns of what is legal and hurts, where somebody looks for such things.
func (l *loader) advise(img *image.Image) {
	if !l.o.Advise || l.problems.HasErrors() {
		return
	}
	unpinned := func(version string, pos diag.Pos, what string) {
		if version == "" || strings.EqualFold(version, "latest") {
			l.problems.Warnf(pos, "name a version, or keep the plan of each build: ingot plan shows which version it is", "%s is the newest version of the moment: two builds of this template may start from different images", what)
		}
	}
	trusted := img.Machine.SecurityType != "" || img.Machine.SecureBoot || img.Machine.VTPM
	switch s := img.Source.(type) {
	case image.Marketplace:
		unpinned(s.Version, s.Pos, fmt.Sprintf("the source %s:%s:%s", s.Publisher, s.Offer, s.SKU))
		if trusted && image.GuessGeneration(s) == "V1" {
			l.problems.Warnf(s.Pos, "use the SKU of generation 2", "Trusted Launch needs a generation 2 image, and the SKU %s looks like generation 1", s.SKU)
		}
	case image.GalleryVersion:
		unpinned(s.Version, s.Pos, fmt.Sprintf("the source %s/%s", s.Gallery, s.Image))
	}
}

// inside is what a provisioner or post-processor belongs to.
type inside struct {
	img       *image.Image
	typ, name string // of the source
	ctx       *hcl.EvalContext
	sources   []string // names of all sources of the build
	json      bool     // Packer's older language
	n         int      // provisioners before it
}

// named reports whether a list of only or except means this source.
func (in inside) named(list []string) bool {
	return slices.Contains(list, in.typ+"."+in.name) || slices.Contains(list, in.name) || slices.Contains(list, in.img.Name)
}

// body makes a body ready to be read: only HCL has dynamic blocks.
func (in inside) body(l *loader, b hcl.Body) hcl.Body {
	if _, plain := b.(jsonBody); plain {
		return b
	}
	return l.open(b, in.ctx)
}

// meta are the options that every provisioner has.
type meta struct {
	// Name is shown with the step.
	Name string `hcl:"name"`
	// Only names the sources that it runs for: azure-arm.win11, or win11.
	Only []string `hcl:"only"`
	// Except names sources that it does not run for.
	Except []string `hcl:"except"`
	// PauseBefore waits before it.
	PauseBefore time.Duration `hcl:"pause_before"`
	// MaxRetries is how often it is tried again.
	MaxRetries int `hcl:"max_retries"`
	// Timeout bounds one try.
	Timeout time.Duration `hcl:"timeout"`
	// GoOn is whether a failure does not fail the build.
	GoOn bool `hcl:"continue_on_error"`
	// Override changes options for single sources, by their name.
	Override hcl.Expression `hcl:"override"`
}

// provision decodes one provisioner for one source; false when it is not for that source, or there is none of its kind.
func (l *loader) provision(kind string, kindAt, pos diag.Pos, body hcl.Body, in inside, word string) (image.Provision, bool) {
	settings, ok := provisioner.New(kind)
	if !ok {
		remedy := meant(kind, provisioner.Kinds())
		if remedy == "" {
			remedy = "run the tool in a shell, powershell or shell-local provisioner; Ingot has " + strings.Join(provisioner.Kinds(), ", ")
		}
		l.problems.Errorf(kindAt, remedy, "provisioner %q is not one that this version of Ingot has, and it runs none of Packer's plugins, installed or not", kind)
		return image.Provision{}, false
	}
	var m meta
	what := fmt.Sprintf("provisioner %q", kind)
	name := fmt.Sprintf("%s/%s[%d]", in.img.Name, word, in.n)
	if word != "provisioner" {
		name = in.img.Name + "/" + word
	}
	d := l.decoder(in.ctx, what, name, pos)
	d.running, d.sourceName, d.sourceType = true, in.name, in.typ
	d.into([]any{&m, settings}, "", in.skip(), in.body(l, body))
	l.scopeOf(d, m.Only, m.Except, in)
	if len(m.Only) > 0 && !in.named(m.Only) || in.named(m.Except) {
		return image.Provision{}, false
	}
	if m.MaxRetries < 0 {
		l.problems.Errorf(d.place("max_retries"), "", "max_retries is negative")
	}
	if m.Override != nil {
		l.override(d, settings, m.Override, in)
	}
	l.check(d, settings)
	return image.Provision{Type: kind, Name: m.Name, Settings: settings, PauseBefore: m.PauseBefore, Timeout: m.Timeout, MaxRetries: m.MaxRetries, GoOn: m.GoOn, Pos: pos}, true
}

// scopeOf judges only and except: Packer takes one of them, and a name that means no source is a slip of the pen that leaves a
// step out in silence.
func (l *loader) scopeOf(d *decoder, only, except []string, in inside) {
	if len(only) > 0 && len(except) > 0 {
		d.fail("except", "keep one", "only and except exclude one another in %s", d.what)
	}
	for option, list := range map[string][]string{"only": only, "except": except} {
		if len(in.sources) == 0 {
			continue // none of them could be read
		}
		for _, name := range list {
			if name == "unknown" || slices.Contains(in.sources, name) || slices.ContainsFunc(in.sources, func(s string) bool { return strings.HasSuffix(s, "."+name) || strings.HasSuffix(name, "."+s) }) {
				continue
			}
			if in.json {
				d.fail(option, meant(name, in.sources), "%s in %s names %q, which is no builder of the template", option, d.what, name)
			} else {
				l.problems.Warnf(d.place(option), cmp.Or(meant(name, in.sources), "names look like "+strings.Join(in.sources, ", ")), "%s in %s names %q, which is no source of this build", option, d.what, name)
			}
		}
	}
}

// skip is what a block of the source's language holds beside the options: JSON names the kind inside.
func (in inside) skip() []string {
	if in.json {
		return []string{"type"}
	}
	return nil
}

// check lets settings judge themselves. What was complained of while decoding is not complained of again.
func (l *loader) check(d *decoder, settings provisioner.Settings) {
	c := &provisioner.Check{Pos: d.place, Skip: l.o.NoScriptCheck, Show: func(file string, text []byte) { l.r.Sources[file] = text }, Dir: l.abs(l.dir), Cwd: l.o.Cwd, Find: func(p string) (string, bool) {
		found := l.local(p)
		abs, err := filepath.Abs(found)
		return abs, err == nil && exists(found)
	}}
	settings.Check(c)
	spoilt := map[diag.Pos]bool{}
	for option := range d.broken {
		spoilt[d.place(option)] = true
	}
	for _, p := range c.Problems {
		if !spoilt[p.Pos] {
			l.problems = append(l.problems, p)
		}
	}
}

// overrideOf judges a name in override that is not this source's.
func (l *loader) overrideOf(d *decoder, name string, pos diag.Pos, in inside) {
	if len(in.sources) == 0 || slices.ContainsFunc(in.sources, func(s string) bool { return s == name || strings.HasSuffix(s, "."+name) }) {
		return
	}
	if in.json {
		l.problems.Errorf(pos, meant(name, in.sources), "override in %s names %q, which is no builder of the template", d.what, name)
		return
	}
	l.problems.Warnf(pos, cmp.Or(meant(name, in.sources), "names look like "+strings.Join(in.sources, ", ")), "override in %s names %q, which is no source of this build", d.what, name)
}

// override changes options for one source: override = { "win11" = { inline = […] } }.
func (l *loader) override(d *decoder, settings provisioner.Settings, e hcl.Expression, in inside) {
	wrong := func(r hcl.Range) {
		l.problems.Errorf(at(r), `write override = { "NAME" = { … } }`, "override in %s is not a map of maps", d.what)
	}
	outer, problems := hcl.ExprMap(e)
	if problems.HasErrors() {
		wrong(e.Range())
		return
	}
	for _, item := range outer {
		key, problems := item.Key.Value(d.ctx)
		l.note(problems)
		inner, wrongMap := hcl.ExprMap(item.Value)
		if problems.HasErrors() || wrongMap.HasErrors() || key.Type() != cty.String {
			wrong(item.Value.Range())
			continue
		}
		if key, _ = key.Unmark(); key.IsNull() || !key.IsKnown() {
			continue
		}
		if name := key.AsString(); name != in.name && name != in.typ+"."+in.name {
			l.overrideOf(d, name, at(item.Key.Range()), in)
			continue
		}
		attrs := hcl.Attributes{}
		for _, o := range inner {
			k, problems := o.Key.Value(d.ctx)
			l.note(problems)
			k, _ = k.Unmark()
			if !problems.HasErrors() && k.Type() == cty.String && !k.IsNull() && k.IsKnown() {
				r := o.Key.Range()
				attrs[k.AsString()] = &hcl.Attribute{Name: k.AsString(), Expr: o.Value, Range: hcl.RangeBetween(r, o.Value.Range()), NameRange: r}
			}
		}
		d.into(settings, "", nil, attrBody{attrs, item.Value.Range()})
	}
}

// attrBody is a body that only has attributes.
type attrBody struct {
	attrs hcl.Attributes
	at    hcl.Range
}

func (b attrBody) Content(s *hcl.BodySchema) (*hcl.BodyContent, hcl.Diagnostics) {
	c, rest, problems := b.PartialContent(s)
	for _, a := range sorted(rest.(attrBody).attrs) {
		problems = append(problems, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unsupported argument", Subject: a.NameRange.Ptr()})
	}
	return c, problems
}

func (b attrBody) PartialContent(s *hcl.BodySchema) (*hcl.BodyContent, hcl.Body, hcl.Diagnostics) {
	c, rest := &hcl.BodyContent{Attributes: hcl.Attributes{}, MissingItemRange: b.at}, maps.Clone(b.attrs)
	for _, a := range s.Attributes {
		if x := b.attrs[a.Name]; x != nil {
			c.Attributes[a.Name] = x
			delete(rest, a.Name)
		}
	}
	return c, attrBody{rest, b.at}, nil
}

func (b attrBody) JustAttributes() (hcl.Attributes, hcl.Diagnostics) { return b.attrs, nil }

func (b attrBody) MissingItemRange() hcl.Range { return b.at }
