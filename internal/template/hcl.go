package template

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// packerHCL reads Packer's HCL2: files of *.pkr.hcl and of *.pkr.json, which is the same in HCL's JSON form.
func (l *loader) packerHCL(path string, names []string) {
	for _, n := range names {
		if raw, ok := l.read(n); ok {
			if body := l.parse(n, raw); body != nil {
				l.files = append(l.files, body)
			}
		}
	}
	l.declare()
	l.setVariables()
	l.resolveLocals()
	for i, b := range l.builds {
		l.build(b, i)
	}
	if len(l.builds) == 0 && !l.problems.HasErrors() {
		l.problems.Errorf(diag.Pos{File: path}, `add: build { sources = ["source.azure-arm.NAME"] }`, "the template has no build block")
	}
	l.checkUnused()
}

// parse reads one file of HCL in either form.
func (l *loader) parse(name string, raw []byte) hcl.Body {
	var f *hcl.File
	var problems hcl.Diagnostics
	if strings.HasSuffix(name, ".json") {
		f, problems = hcljson.Parse(raw, name)
	} else {
		f, problems = hclsyntax.ParseConfig(raw, name, hcl.InitialPos)
	}
	l.note(problems)
	if f == nil {
		return nil
	}
	return f.Body
}

// topLevel are the blocks of a template, with what their labels say.
func topLevel() []hcl.BlockHeaderSchema {
	return []hcl.BlockHeaderSchema{{Type: "packer"}, {Type: "variable", LabelNames: []string{"name"}}, {Type: "variables"}, {Type: "locals"}, {Type: "local", LabelNames: []string{"name"}},
		{Type: "data", LabelNames: []string{"type", "name"}}, {Type: "source", LabelNames: []string{"type", "name"}}, {Type: "build"}, {Type: "hcp_packer_registry"}, {Type: "communicator", LabelNames: []string{"type", "name"}}}
}

// declare sorts the top-level blocks.
func (l *loader) declare() {
	schema := &hcl.BodySchema{Blocks: topLevel()}
	var known []string
	for _, b := range schema.Blocks {
		known = append(known, b.Type)
	}
	for _, body := range l.files {
		c, problems := body.Content(schema)
		l.noteNames(problems, known, nil, "", "a template", false)
		for _, b := range c.Blocks {
			l.declareBlock(b)
		}
	}
}

func (l *loader) declareBlock(b *hcl.Block) {
	pos := at(b.TypeRange)
	switch b.Type {
	case "packer":
		l.packerBlock(b)
	case "variable":
		l.declareVariable(b)
	case "variables":
		attrs, problems := b.Body.JustAttributes()
		l.note(problems)
		for _, a := range sorted(attrs) {
			l.addVariable(&variable{name: a.Name, fallback: a.Expr, pos: at(a.NameRange), typ: cty.DynamicPseudoType})
		}
	case "locals":
		attrs, problems := b.Body.JustAttributes()
		l.note(problems)
		for _, a := range sorted(attrs) {
			l.addLocal(&local{name: a.Name, expr: a.Expr, pos: at(a.NameRange)})
		}
	case "local":
		l.declareLocal(b)
	case "data":
		l.declareData(b)
	case "source":
		name := b.Labels[0] + "." + b.Labels[1]
		if old := l.sources[name]; old != nil {
			l.problems.Errorf(pos, "rename one of them", "source %q %q is declared twice; first at %s", b.Labels[0], b.Labels[1], at(old.TypeRange))
			return
		}
		l.sources[name] = b
	case "build":
		l.builds = append(l.builds, b)
	case "hcp_packer_registry":
		l.problems.Warnf(pos, "Ingot keeps its own record of every run: ingot runs, ingot status RUN", "hcp_packer_registry has no effect: nothing is sent to HCP Packer")
	case "communicator":
		l.problems.Warnf(pos, "put the communicator's options into the source, which is the only place where Packer reads them", "a communicator block has no effect")
	}
}

// packerBlock checks the form of what only concerns Packer itself.
func (l *loader) packerBlock(b *hcl.Block) {
	schema := &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "required_version"}}, Blocks: []hcl.BlockHeaderSchema{{Type: "required_plugins"}}}
	c, problems := b.Body.Content(schema)
	l.noteNames(problems, []string{"required_version", "required_plugins"}, nil, "", "the packer block", false)
	if a := c.Attributes["required_version"]; a != nil {
		if v, problems := a.Expr.Value(nil); problems.HasErrors() || !isConstraint(v) {
			l.problems.Errorf(at(a.Range), `write: required_version = ">= 1.10.0"`, "required_version is no version constraint")
		} else if !satisfies(packerVersion, v.AsString()) {
			l.problems.Warnf(at(a.Range), "", "the template asks for Packer %s; its language is read as version %s has it", v.AsString(), packerVersion)
		}
	}
	for _, in := range c.Blocks {
		attrs, problems := in.Body.JustAttributes()
		l.note(problems)
		for _, a := range sorted(attrs) {
			const remedy = `write: { version = ">= 2.0.0", source = "github.com/hashicorp/azure" }`
			v, problems := a.Expr.Value(nil)
			if problems.HasErrors() || !v.Type().IsObjectType() || v.IsNull() {
				l.problems.Errorf(at(a.Range), remedy, "required_plugins.%s is not an object of version and source", a.Name)
				continue
			}
			if !v.Type().HasAttribute("source") || v.GetAttr("source").Type() != cty.String {
				l.problems.Errorf(at(a.Range), remedy, "required_plugins.%s has no source", a.Name)
			}
			if v.Type().HasAttribute("version") && !isConstraint(v.GetAttr("version")) {
				l.problems.Errorf(at(a.Range), remedy, "the version of required_plugins.%s is no version constraint", a.Name)
			}
		}
	}
}

// constraint is one or more of ">= 1.2.3", "~> 1.0", separated by commas.
var constraint = regexp.MustCompile(`^\s*(=|!=|>=?|<=?|~>)?\s*v?\d+(\.\d+)*(-[\w.]+)?(\+[\w.]+)?\s*(,\s*(=|!=|>=?|<=?|~>)?\s*v?\d+(\.\d+)*(-[\w.]+)?(\+[\w.]+)?\s*)*$`)

func isConstraint(v cty.Value) bool {
	return v.Type() == cty.String && v.IsKnown() && !v.IsNull() && constraint.MatchString(v.AsString())
}

// satisfies holds a version against constraints as Packer does: all of them, separated by commas; ~> 1.2 means from 1.2 on and
// below 2, ~> 1.2.3 below 1.3.
func satisfies(version, constraints string) bool {
	for _, c := range strings.Split(constraints, ",") {
		want := strings.TrimLeft(strings.TrimSpace(c), "=!<>~ ")
		op := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(c), want))
		want, _, _ = strings.Cut(strings.TrimPrefix(want, "v"), "-")
		order := image.CompareVersions(version, want+strings.Repeat(".0", max(2-strings.Count(want, "."), 0)))
		ok := order == 0
		switch op {
		case "!=":
			ok = order != 0
		case ">":
			ok = order > 0
		case ">=":
			ok = order >= 0
		case "<":
			ok = order < 0
		case "<=":
			ok = order <= 0
		case "~>":
			parts := strings.Split(want, ".")
			prefix := strings.Join(parts[:max(len(parts)-1, 1)], ".") + "."
			ok = order >= 0 && strings.HasPrefix(version+".", prefix)
		}
		if !ok {
			return false
		}
	}
	return true
}

// checkUnused judges the sources that no build names, each by its own rules: Packer reads them too.
func (l *loader) checkUnused() {
	for _, name := range keys(l.sources) {
		b := l.sources[name]
		if l.used[name] || b.Labels[0] != "azure-arm" || len(l.builds) == 0 {
			continue
		}
		ctx := l.context(map[string]cty.Value{
			"source": cty.ObjectVal(map[string]cty.Value{"type": cty.StringVal(b.Labels[0]), "name": cty.StringVal(b.Labels[1])}),
			"build":  cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal(b.Labels[1])}),
		})
		d := l.decoder(ctx, "source \"azure-arm\" \""+b.Labels[1]+"\"", name, at(b.TypeRange))
		var o azureARM
		d.into(&o, "", []string{"name"}, l.open(b.Body, ctx))
		if l.problems.HasErrors() {
			continue
		}
		l.problems.Warnf(at(b.TypeRange), "name it in a build's sources, or remove it", "no build uses source %q", name)
	}
}

// runtime judges the values in e that only a running build knows (build.Host); they may stand where running says so, and then
// as they are: what is computed of them could not be known.
func (l *loader) runtime(e hcl.Expression, what string, running bool) bool {
	for _, t := range e.Variables() {
		name, ok := buildValue(t)
		if !ok {
			continue
		}
		if !running {
			l.problems.Errorf(at(t.SourceRange()), "use it in a provisioner or post-processor; build.name, source.name and source.type are known here",
				"build.%s is known only while the build runs, not in %s", name, what)
			return false
		}
		if !slices.Contains(image.RuntimeNames(), name) {
			l.problems.Errorf(at(t.SourceRange()), meant(name, image.RuntimeNames()), "build.%s is not something that a build knows", name)
			return false
		}
	}
	node, ok := e.(hclsyntax.Node)
	if !ok || !running {
		return true
	}
	found := true
	hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics { //nolint:errcheck // the function returns none
		call, ok := n.(*hclsyntax.FunctionCallExpr)
		if !ok || !found {
			return nil
		}
		for _, t := range call.Variables() {
			if name, ok := buildValue(t); ok {
				l.problems.Errorf(at(t.SourceRange()), "compute it in the script instead", "build.%s is known only while the build runs: %s cannot be applied to it", name, call.Name)
				found = false
				return nil
			}
		}
		return nil
	})
	return found
}

// noteValue reports why e has no value, a name that is not declared in our own words. try and can may name what there is not, so
// that only a failure is looked into.
func (l *loader) noteValue(e hcl.Expression, problems hcl.Diagnostics) {
	if problems.HasErrors() && !l.declared(e) {
		problems = slices.DeleteFunc(slices.Clone(problems), func(p *hcl.Diagnostic) bool { return p.Summary == "Unsupported attribute" })
	}
	l.note(problems)
}

// declared judges the variables and locals that e names: hcl would only say that an object has no such attribute.
func (l *loader) declared(e hcl.Expression) bool {
	ok := true
	for _, t := range e.Variables() {
		if len(t) < 2 {
			continue
		}
		step, isName := t[1].(hcl.TraverseAttr)
		if !isName {
			continue
		}
		pos := at(t.SourceRange())
		switch root := t.RootName(); {
		case root == "var" && l.vars[step.Name] == nil:
			if _, known := l.values[step.Name]; known {
				continue // a parameter of another language
			}
			how := meant(step.Name, keys(l.vars))
			if how == "" {
				how = fmt.Sprintf("add: variable %q {}", step.Name)
				if !l.folder {
					how += "; or name the whole folder, if another of its files declares it"
				}
			}
			l.problems.Errorf(pos, how, "variable %q is not declared", step.Name)
			ok = false
		case root == "local" && l.locals[step.Name] == nil:
			l.problems.Errorf(pos, cmp.Or(meant(step.Name, keys(l.locals)), "add it to locals"), "local %q is not declared", step.Name)
			ok = false
		}
	}
	return ok
}

// buildValue is the name in build.NAME, for those that are not known before.
func buildValue(t hcl.Traversal) (string, bool) {
	if t.RootName() != "build" || len(t) < 2 {
		return "", false
	}
	if step, ok := t[1].(hcl.TraverseAttr); ok && step.Name != "name" && step.Name != "type" {
		return step.Name, true
	}
	return "", false
}

// running are the values of build.*: placeholders in the form of Packer's older language, which the step replaces when it runs.
func running(name, typ string) cty.Value {
	m := map[string]cty.Value{"name": cty.StringVal(name), "type": cty.StringVal(typ)}
	for _, n := range image.RuntimeNames() {
		m[n] = cty.StringVal(image.Runtime(n))
	}
	return cty.ObjectVal(m)
}
