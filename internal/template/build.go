package template

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
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
	bodies    []*hclsyntax.Body
	pos       diag.Pos
}

// build makes an image of every source that a build names.
func (l *loader) build(b *hclsyntax.Block, n int) {
	var head buildHead
	d := l.decoder(l.context(nil), "the build block", fmt.Sprintf("build[%d]", n), at(b.TypeRange))
	rest := []string{"source", "provisioner", "post-processor", "post-processors", "error-cleanup-provisioner", "hcp_packer_registry", "dynamic"}
	d.into(&head, "", rest, b.Body)
	var list []built
	find := func(ref string, pos diag.Pos) (built, bool) {
		key := strings.TrimPrefix(ref, "source.")
		src := l.sources[key]
		if src == nil {
			l.problems.Errorf(pos, meant(key, keys(l.sources)), "the build names source %q, which is not declared", ref)
			return built{}, false
		}
		if src.Labels[0] != "azure-arm" {
			l.problems.Errorf(at(src.LabelRanges[0]), `use source "azure-arm"`, "source type %q is not for Azure images: Ingot builds azure-arm", src.Labels[0])
			return built{}, false
		}
		return built{typ: src.Labels[0], name: src.Labels[1], bodies: []*hclsyntax.Body{src.Body}, pos: at(src.TypeRange)}, true
	}
	if d.broken["sources"] {
		head.Sources = nil
	}
	for _, ref := range head.Sources {
		if s, ok := find(ref, d.place("sources")); ok {
			list = append(list, s)
		}
	}
	for _, in := range b.Body.Blocks {
		switch in.Type {
		case "source":
			if len(in.Labels) != 1 {
				l.problems.Errorf(at(in.TypeRange), `write source "azure-arm.NAME" { … }`, "a source block inside a build takes one label")
				continue
			}
			s, ok := find(in.Labels[0], at(in.LabelRanges[0]))
			if !ok {
				continue
			}
			if a := in.Body.Attributes["name"]; a != nil {
				if v, problems := a.Expr.Value(l.context(nil)); !problems.HasErrors() && v.Type() == cty.String && !v.IsNull() && !v.IsMarked() {
					s.name = v.AsString()
				}
			}
			s.bodies = append(s.bodies, in.Body)
			list = append(list, s)
		case "error-cleanup-provisioner", "hcp_packer_registry", "dynamic", "post-processors":
			l.problems.Errorf(at(in.TypeRange), "leave it out", "block %q is recognised but this version of Ingot cannot act on it yet", in.Type)
		}
	}
	if len(list) == 0 && !l.problems.HasErrors() {
		l.problems.Errorf(at(b.TypeRange), `add sources = ["source.azure-arm.NAME"]`, "the build has no source")
	}
	for _, s := range list {
		full := s.typ + "." + s.name
		if head.Name != "" {
			full = head.Name + "." + full
		}
		if !l.wanted(full) {
			continue
		}
		l.image(b, s, full)
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

func (l *loader) image(b *hclsyntax.Block, s built, name string) {
	ctx := l.context(map[string]cty.Value{
		"source": cty.ObjectVal(map[string]cty.Value{"type": cty.StringVal(s.typ), "name": cty.StringVal(s.name)}),
		"build":  cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal(s.name)}),
	})
	d := l.decoder(ctx, fmt.Sprintf("source %q %q", s.typ, s.name), name, s.pos)
	var o azureARM
	d.into(&o, "", []string{"name"}, s.bodies...)
	img := d.toImage(&o)
	if l.names[name] {
		// Secrets, runs and -only go by the image's name.
		l.problems.Errorf(at(b.TypeRange), "give each build a name of its own", "two builds make an image called %s", name)
	}
	l.names[name] = true
	n := 0
	for _, in := range b.Body.Blocks {
		switch in.Type {
		case "provisioner":
			if p, ok := l.provision(in, d, s, n); ok {
				img.Provision = append(img.Provision, p)
			}
			n++
		case "post-processor":
			l.postProcess(in, d, s, img)
		}
	}
	l.r.Images = append(l.r.Images, img)
}

// meta are the options that every provisioner has.
type meta struct {
	Name        string        `hcl:"name"`
	Only        []string      `hcl:"only"`
	Except      []string      `hcl:"except"`
	PauseBefore time.Duration `hcl:"pause_before"`
	MaxRetries  int           `hcl:"max_retries"`
	Timeout     time.Duration `hcl:"timeout"`
	GoOn        bool          `hcl:"continue_on_error"`
}

var metaNames = []string{"name", "only", "except", "pause_before", "max_retries", "timeout", "continue_on_error", "override"}

// provision decodes one provisioner for one source; false when it is not for that source, or there is none of its kind.
func (l *loader) provision(b *hclsyntax.Block, src *decoder, s built, n int) (image.Provision, bool) {
	pos := at(b.TypeRange)
	if len(b.Labels) != 1 {
		l.problems.Errorf(pos, `write provisioner "powershell" { … }`, "a provisioner takes one label")
		return image.Provision{}, false
	}
	kind := b.Labels[0]
	settings, ok := provisioner.New(kind)
	if !ok {
		remedy := meant(kind, provisioner.Kinds())
		if remedy == "" {
			remedy = "this version has " + strings.Join(provisioner.Kinds(), ", ")
		}
		l.problems.Errorf(at(b.LabelRanges[0]), remedy, "provisioner %q is not one that this version of Ingot has", kind)
		return image.Provision{}, false
	}
	var m meta
	what := fmt.Sprintf("provisioner %q", kind)
	d := l.decoder(src.ctx, what, fmt.Sprintf("%s/provisioner[%d]", src.name, n), pos)
	own := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: b.Body.SrcRange}
	general := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: b.Body.SrcRange}
	for name, a := range b.Body.Attributes {
		if slices.Contains(metaNames, name) {
			general.Attributes[name] = a
		} else {
			own.Attributes[name] = a
		}
	}
	for _, in := range b.Body.Blocks {
		if in.Type == "override" {
			l.problems.Errorf(at(in.TypeRange), "write override = { … }", "override in %s is an attribute", what)
			continue
		}
		own.Blocks = append(own.Blocks, in)
	}
	d.into(&m, "", []string{"override"}, general)
	full := s.typ + "." + s.name
	named := func(list []string) bool {
		return slices.Contains(list, full) || slices.Contains(list, s.name) || slices.Contains(list, src.name)
	}
	if len(m.Only) > 0 && !named(m.Only) || named(m.Except) {
		return image.Provision{}, false
	}
	if m.MaxRetries < 0 {
		l.problems.Errorf(d.place("max_retries"), "", "max_retries is negative")
	}
	if m.GoOn {
		d.fail("continue_on_error", "let the script itself go on after its errors", "continue_on_error is recognised but this version of Ingot cannot act on it yet")
	}
	d.into(settings, "", metaNames, own)
	if a := general.Attributes["override"]; a != nil {
		l.override(d, settings, a, s)
	}
	c := &provisioner.Check{Pos: d.place, Dir: l.abs(l.dir), Cwd: l.o.Cwd, Find: func(p string) (string, bool) {
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
	return image.Provision{Type: kind, Name: m.Name, Settings: settings, PauseBefore: m.PauseBefore, Timeout: m.Timeout, MaxRetries: m.MaxRetries, Pos: pos}, true
}

// override changes options for one source: override = { "win11" = { inline = […] } }.
func (l *loader) override(d *decoder, settings provisioner.Settings, a *hclsyntax.Attribute, s built) {
	outer, ok := a.Expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		l.problems.Errorf(at(a.SrcRange), `write override = { "NAME" = { … } }`, "override in %s is not a map of maps", d.what)
		return
	}
	for _, item := range outer.Items {
		key, problems := item.KeyExpr.Value(d.ctx)
		l.note(problems)
		inner, ok := item.ValueExpr.(*hclsyntax.ObjectConsExpr)
		if problems.HasErrors() || !ok || key.Type() != cty.String {
			l.problems.Errorf(at(a.SrcRange), `write override = { "NAME" = { … } }`, "override in %s is not a map of maps", d.what)
			continue
		}
		if key, _ = key.Unmark(); key.IsNull() || !key.IsKnown() {
			continue
		}
		if name := key.AsString(); name != s.name && name != s.typ+"."+s.name {
			continue
		}
		body := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: a.SrcRange}
		for _, o := range inner.Items {
			k, problems := o.KeyExpr.Value(d.ctx)
			l.note(problems)
			k, _ = k.Unmark()
			if !problems.HasErrors() && k.Type() == cty.String && !k.IsNull() && k.IsKnown() {
				r := o.KeyExpr.Range()
				body.Attributes[k.AsString()] = &hclsyntax.Attribute{Name: k.AsString(), Expr: o.ValueExpr, SrcRange: r, NameRange: r}
			}
		}
		d.into(settings, "", nil, body)
	}
}

// manifestOptions are the manifest post-processor's.
type manifestOptions struct {
	Name       string            `hcl:"name"`
	Only       []string          `hcl:"only"`
	Except     []string          `hcl:"except"`
	Output     string            `hcl:"output"`
	StripPath  bool              `hcl:"strip_path"`
	StripTime  bool              `hcl:"strip_time"`
	CustomData map[string]string `hcl:"custom_data"`
	Keep       *bool             `hcl:"keep_input_artifact"`
}

func (l *loader) postProcess(b *hclsyntax.Block, src *decoder, s built, img *image.Image) {
	if len(b.Labels) != 1 {
		l.problems.Errorf(at(b.TypeRange), `write post-processor "manifest" { … }`, "a post-processor takes one label")
		return
	}
	if kind := b.Labels[0]; kind != "manifest" {
		l.problems.Errorf(at(b.LabelRanges[0]), "leave it out; this version has manifest", "post-processor %q is not one that this version of Ingot has", kind)
		return
	}
	o := manifestOptions{Output: "packer-manifest.json"}
	d := l.decoder(src.ctx, `post-processor "manifest"`, src.name+"/manifest", at(b.TypeRange))
	d.into(&o, "", nil, b.Body)
	full := s.typ + "." + s.name
	if len(o.Only) > 0 && !slices.Contains(o.Only, full) || slices.Contains(o.Except, full) {
		return
	}
	img.Manifests = append(img.Manifests, image.Manifest{Output: l.abs(o.Output), StripPath: o.StripPath, StripTime: o.StripTime, CustomData: o.CustomData})
}
