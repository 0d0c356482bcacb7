package template

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"ingot/internal/diag"
	"ingot/internal/template/braces"
)

// legacy is a template of Packer's older language while it is read
// (https://developer.hashicorp.com/packer/docs/templates/legacy_json_templates).
type legacy struct {
	*loader
	root      *jsonNode
	declared  map[string]*jsonNode // the variables' defaults
	values    map[string]string
	state     map[string]int // 1 being evaluated, 2 known
	given     map[string]string
	sensitive map[string]bool
	told      map[string]bool // variables that nobody gives: said once each
	broken    map[string]bool // variables without a value: complained of once
}

// legacyKeys are what stands at the top of such a template.
func legacyKeys() []string {
	return []string{"builders", "provisioners", "post-processors", "variables", "sensitive-variables", "error-cleanup-provisioner", "min_packer_version", "description", "push"}
}

// legacy reads a template of Packer's older language.
func (l *loader) legacy(root *jsonNode) {
	g := &legacy{loader: l, root: root, declared: map[string]*jsonNode{}, values: map[string]string{}, state: map[string]int{}, given: map[string]string{}, sensitive: map[string]bool{}, broken: map[string]bool{}, told: map[string]bool{}}
	seen := map[string]hcl.Range{}
	for _, f := range root.fields {
		if strings.HasPrefix(f.name, "_") {
			continue // a comment
		}
		if first, again := seen[f.name]; again {
			l.problems.Errorf(at(f.at), "put everything into one", "%s stands twice; first at %s", f.name, at(first))
		}
		seen[f.name] = f.at
		if !slices.Contains(legacyKeys(), f.name) {
			l.problems.Errorf(at(f.at), meant(f.name, legacyKeys()), "unknown option %q in a template", f.name)
		}
	}
	if v := root.get("min_packer_version"); v != nil && !isConstraint(cty.StringVal(v.text)) {
		l.problems.Errorf(at(v.at), `write "1.10.0"`, "min_packer_version is no version")
	} else if v != nil && !satisfies(packerVersion, ">= "+v.text) {
		l.problems.Warnf(at(v.at), "", "the template asks for Packer %s; its language is read as version %s has it", v.text, packerVersion)
	}
	if root.get("push") != nil {
		l.problems.Warnf(at(seen["push"]), "remove it", "push has no effect: the service it was for is gone")
	}
	g.variables()
	l.r.evaluate = g.console
	for name, v := range g.values {
		x := cty.StringVal(v)
		if g.sensitive[name] {
			x = x.Mark(sensitive{})
		}
		l.values[name] = x // for *.ingot.hcl
	}
	for _, name := range keys(g.declared) {
		x := Variable{Name: name, Required: g.declared[name].kind == 'n', Sensitive: g.sensitive[name]}
		if !x.Required && !x.Sensitive {
			x.Default, _ = scalar(g.declared[name])
		}
		l.r.Variables = append(l.r.Variables, x)
	}
	g.builders()
}

// list is a member that must be a list of objects.
func (g *legacy) list(name string) []*jsonNode {
	n := g.root.get(name)
	if n == nil || n.kind == 'n' {
		return nil
	}
	if n.kind != '[' {
		g.problems.Errorf(at(n.at), "write [ … ]", "%s is %s, not a list", name, n.kindName())
		return nil
	}
	return n.items
}

// variables are given a value in the order they need one another: default, -var-file in order, -var. Environment variables count
// only where a default asks for them.
func (g *legacy) variables() {
	n := g.root.get("variables")
	if n != nil && n.kind != '{' && n.kind != 'n' {
		g.problems.Errorf(at(n.at), `write { "name": "default" }`, "variables is %s, not an object", n.kindName())
	} else if n != nil {
		for _, f := range n.fields {
			g.declared[f.name] = f.value
		}
	}
	for _, s := range g.list("sensitive-variables") {
		if s.kind != '"' {
			g.problems.Errorf(at(s.at), "write a variable's name", "sensitive-variables holds %s", s.kindName())
			continue
		}
		g.sensitive[s.text] = true
	}
	for _, name := range g.o.VarFiles {
		g.varFileJSON(name)
	}
	var onLine []string
	for _, text := range g.o.Vars {
		name, value, ok := strings.Cut(text, "=")
		switch {
		case !ok:
			g.problems.Errorf(diag.Pos{}, "write -var name=value", "-var has no value")
		default:
			// One that is not declared can be set all the same, as in Packer: large projects keep their variables in files.
			g.given[name] = value
			onLine = append(onLine, name)
		}
	}
	for _, name := range keys(g.given) {
		g.resolve(name, nil)
	}
	for _, name := range keys(g.declared) {
		if g.sensitive[name] {
			g.masks = append(g.masks, g.declared[name].at)
			if slices.Contains(onLine, name) {
				g.r.NeedVars = append(g.r.NeedVars, name)
			}
		}
		g.resolve(name, nil)
	}
}

// varFileJSON reads a -var-file: an object of texts.
func (g *legacy) varFileJSON(name string) {
	raw, ok := g.read(name)
	if !ok {
		return
	}
	n, err := readJSON(name, raw, false)
	if err != nil || n.kind != '{' {
		delete(g.r.Sources, name) // a value that may not be seen could stand in the line that is shown
		g.problems.Errorf(jsonPlace(name, err), `write { "name": "value" }`, "cannot read the variables: %v", errors.Join(err, errors.New("a JSON object of texts is needed")))
		return
	}
	for _, f := range n.fields {
		if g.sensitive[f.name] {
			g.masks = append(g.masks, f.value.at)
		}
		s, ok := scalar(f.value)
		switch {
		case f.value.kind == 'n' || strings.HasPrefix(f.name, "_"):
		case !ok:
			g.problems.Errorf(at(f.value.at), "write a text", "variable %q is given %s", f.name, f.value.kindName())
		default:
			g.given[f.name] = s
		}
	}
}

// scalar is a text, a number or a truth value as the text that Packer takes it for.
func scalar(n *jsonNode) (string, bool) {
	switch n.kind {
	case '"', '0':
		return n.text, true
	case 't':
		return "true", true
	case 'f':
		return "false", true
	}
	return "", false
}

// resolve gives one variable its value, after those its default needs.
func (g *legacy) resolve(name string, via []string) {
	n := g.declared[name]
	given, isGiven := g.given[name]
	if n == nil && isGiven {
		n = &jsonNode{kind: '"', text: given}
	}
	if n == nil || g.state[name] == 2 {
		return
	}
	defer func() {
		g.state[name] = 2
		if g.sensitive[name] {
			g.hide(cty.StringVal(g.values[name]))
		}
	}()
	if n.kind == 'n' && !isGiven {
		g.problems.Errorf(at(n.at), "set it with -var "+name+"=… or -var-file", "variable %q has no value", name)
		g.broken[name] = true
		return
	}
	s, ok := scalar(n)
	if isGiven {
		s, ok = given, true // it may name other variables, and the environment, as a default may
	}
	if !ok {
		g.problems.Errorf(at(n.at), "write a text", "the default of variable %q is %s", name, n.kindName())
		g.broken[name] = true
		return
	}
	if g.state[name] == 1 && isGiven {
		g.values[name] = s
		return
	}
	if g.state[name] == 1 {
		g.problems.Errorf(at(n.at), "break the circle", "variable %q depends on itself: %s", name, strings.Join(append(via[slices.Index(via, name):], name), " -> "))
		g.broken[name] = true
		return
	}
	g.state[name] = 1
	uses, _ := braces.Uses(s)
	for _, u := range uses {
		g.resolve(u, append(via, name))
		if g.sensitive[u] {
			g.sensitive[name] = true
		}
		if g.broken[u] {
			g.broken[name] = true
		}
	}
	if g.broken[name] || g.state[name] == 2 {
		return
	}
	e := g.engine("", "")
	e.EnvAllowed = true
	r, err := e.Expand(s)
	switch {
	case err != nil && isGiven:
		g.values[name] = s // somebody else's braces: what is given is taken as it is
		return
	case err != nil:
		g.brace(n, err)
		g.broken[name] = true
		return
	}
	g.values[name] = r.Text
}

// engine is what texts of one builder are expanded with.
func (g *legacy) engine(name, typ string) *braces.Engine {
	e := g.loader.engine(name, typ)
	e.User, e.Secret = g.values, g.sensitive
	return e
}

// brace reports what is wrong with an action, where it stands.
func (g *legacy) brace(n *jsonNode, err error) {
	g.note(g.braceProblem(n, err))
}

func (g *legacy) braceProblem(n *jsonNode, err error) hcl.Diagnostics {
	r := n.at
	p := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: err.Error()}
	var e *braces.Error
	if errors.As(err, &e) {
		raw := g.r.Sources[r.Filename]
		from := rawOffset(raw, n, e.Offset)
		to := rawOffset(raw, n, e.Offset+e.Length)
		r.Start = hcl.Pos{Line: r.Start.Line, Column: r.Start.Column + from - r.Start.Byte, Byte: from}
		r.End = hcl.Pos{Line: r.Start.Line, Column: r.Start.Column + to - from, Byte: to}
		p.Summary, p.Extra = e.Reason, remedy(e.Remedy)
	}
	p.Subject = &r
	return hcl.Diagnostics{p}
}

// remedy rides on a problem of hcl's form.
type remedy string

// expander expands the texts of one builder.
func (g *legacy) expander(e *braces.Engine) expand {
	return func(n *jsonNode) (cty.Value, hcl.Diagnostics) {
		if uses, err := braces.Uses(n.text); err == nil {
			for _, u := range uses {
				if g.broken[u] {
					return cty.UnknownVal(cty.String), nil // complained of where the variable stands
				}
			}
		}
		if uses, err := braces.Uses(n.text); err == nil {
			for _, u := range uses {
				if _, ok := g.values[u]; !ok && !g.told[u] {
					g.told[u] = true
					g.values[u] = ""
					g.problems.Warnf(at(n.at), cmp.Or(meant(u, keys(g.declared)), "declare it in variables, or hand it over with -var or -var-file"), "variable %q is not declared, and nobody gives it: it is empty", u)
				}
			}
		}
		r, err := e.Expand(n.text)
		if err != nil {
			return cty.DynamicVal, g.braceProblem(n, err)
		}
		v := cty.StringVal(r.Text)
		if r.Secret {
			v = v.Mark(sensitive{})
		}
		return v, nil
	}
}

// builders makes an image of each.
func (g *legacy) builders() {
	list := g.list("builders")
	if len(list) == 0 {
		pos := diag.Pos{File: g.root.at.Filename, Line: 1, Column: 1}
		g.problems.Errorf(pos, `add "builders": [{ "type": "azure-arm", … }]`, "the template has no builder")
	}
	var names []string
	for _, b := range list {
		if b.kind != '{' {
			continue
		}
		for _, key := range []string{"name", "type"} {
			if n := b.get(key); n != nil && n.kind == '"' && n.text != "" {
				names = append(names, n.text)
				if r, err := g.engine("", "").Expand(n.text); err == nil {
					names[len(names)-1] = r.Text
				}
				break
			}
		}
	}
	for _, b := range list {
		typ, name, ok := g.head(b)
		if !ok || !g.wanted(name) {
			continue
		}
		if typ.text != "azure-arm" {
			g.problems.Errorf(at(typ.at), `use "type": "azure-arm"`, "builder type %q is not for Azure images: Ingot builds azure-arm", typ.text)
			continue
		}
		pos := at(b.at)
		pos.End = pos.Start + 1
		body := jsonBody{b, g.expander(g.engine(name, typ.text)), nil}
		d := g.decoder(nil, fmt.Sprintf("builder %q", name), name, pos)
		var o azureARM
		d.into(&o, "", []string{"type", "name"}, body)
		img := d.toImage(&o)
		g.addImage(img, pos)
		g.steps(inside{img: img, typ: typ.text, name: name, json: true, sources: names}, body.expand)
	}
}

// head is a builder's type and name.
func (g *legacy) head(b *jsonNode) (typ *jsonNode, name string, ok bool) {
	typ = g.typeOf(b, "builder", `"azure-arm"`)
	if typ == nil {
		return nil, "", false
	}
	name = typ.text
	if n := b.get("name"); n != nil && n.kind == '"' && n.text != "" {
		r, err := g.engine("", typ.text).Expand(n.text)
		if err != nil {
			g.brace(n, err)
			return nil, "", false
		}
		name = r.Text
	}
	return typ, name, true
}

// typeOf is the type in an object, or nil with a problem.
func (g *legacy) typeOf(n *jsonNode, what, example string) *jsonNode {
	if n.kind != '{' {
		g.problems.Errorf(at(n.at), `write { "type": `+example+`, … }`, "a %s is an object, not %s", what, n.kindName())
		return nil
	}
	t := n.get("type")
	if t == nil || t.kind != '"' {
		pos := at(n.at)
		g.problems.Errorf(pos, `add "type": `+example, "a %s has no type", what)
		return nil
	}
	return t
}

// steps reads provisioners and post-processors for one builder.
func (g *legacy) steps(in inside, x expand) {
	start := func(n *jsonNode) diag.Pos { p := at(n.at); p.End = p.Start + 1; return p }
	for _, n := range g.list("provisioners") {
		if t := g.typeOf(n, "provisioner", `"powershell"`); t != nil {
			if p, ok := g.provision(t.text, at(t.at), start(n), jsonBody{n, x, nil}, in, "provisioner"); ok {
				in.img.Provision = append(in.img.Provision, p)
			}
		}
		in.n++
	}
	if n := g.root.get("error-cleanup-provisioner"); n != nil {
		if t := g.typeOf(n, "provisioner", `"powershell"`); t != nil {
			if p, ok := g.provision(t.text, at(t.at), start(n), jsonBody{n, x, nil}, in, "error-cleanup-provisioner"); ok {
				in.img.Cleanup = append(in.img.Cleanup, p)
			}
		}
	}
	for _, n := range g.list("post-processors") {
		g.postProcessor(n, in, x, true)
	}
}

// postProcessor reads one of three forms: a name, an object, or a list of both.
func (g *legacy) postProcessor(n *jsonNode, in inside, x expand, nested bool) {
	switch {
	case n.kind == '"':
		g.postProcess(n.text, at(n.at), at(n.at), jsonBody{&jsonNode{kind: '{', at: n.at}, x, nil}, in)
	case n.kind == '[' && nested:
		for _, e := range n.items {
			g.postProcessor(e, in, x, false)
		}
	default:
		if t := g.typeOf(n, "post-processor", `"manifest"`); t != nil {
			g.postProcess(t.text, at(t.at), at(n.at), jsonBody{n, x, nil}, in)
		}
	}
}
