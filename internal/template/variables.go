package template

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"

	"ingot/internal/diag"
)

// sensitive marks a value that must not be seen; cty carries the mark through every expression.
type sensitive struct{}

// variable is a declared input.
type variable struct {
	name        string
	typ         cty.Type // DynamicPseudoType when not declared
	defaults    *typeexpr.Defaults
	fallback    hcl.Expression
	sensitive   bool
	description string
	broken      bool // its type cannot be read: nothing more is said of it
	checks      []check
	pos         diag.Pos
}

// check is a validation block.
type check struct{ condition, message *hcl.Attribute }

// local is a named expression.
type local struct {
	name      string
	expr      hcl.Expression
	sensitive bool
	pos       diag.Pos
	value     cty.Value
	size      amount
	state     int // 0 fresh, 1 being evaluated, 2 known
}

func (l *loader) addVariable(v *variable) {
	if old := l.vars[v.name]; old != nil {
		l.problems.Errorf(v.pos, "remove one of them", "variable %q is declared twice; first at %s", v.name, old.pos)
		return
	}
	l.vars[v.name] = v
}

func (l *loader) declareVariable(b *hcl.Block) {
	v := &variable{name: b.Labels[0], typ: cty.DynamicPseudoType, pos: at(b.LabelRanges[0])}
	known := []string{"type", "default", "sensitive", "description", "validation"}
	c, problems := b.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "validation"}},
		Attributes: []hcl.AttributeSchema{{Name: "type"}, {Name: "default"}, {Name: "sensitive"}, {Name: "description"}}})
	l.noteNames(problems, known, nil, "", fmt.Sprintf("variable %q", v.name), false)
	if a := c.Attributes["type"]; a != nil {
		t, defaults, problems := typeexpr.TypeConstraintWithDefaults(a.Expr)
		l.note(problems)
		if !problems.HasErrors() {
			v.typ, v.defaults = t, defaults
		} else if c.Attributes["default"] == nil {
			v.broken = true
		}
	}
	if a := c.Attributes["default"]; a != nil {
		v.fallback = a.Expr
	}
	if a := c.Attributes["sensitive"]; a != nil {
		x, problems := a.Expr.Value(nil)
		if problems.HasErrors() || x.Type() != cty.Bool || x.IsNull() {
			l.problems.Errorf(at(a.Range), "write true or false", "sensitive of variable %q is not a truth value", v.name)
		} else {
			v.sensitive = x.True()
		}
	}
	if a := c.Attributes["description"]; a != nil {
		if x, problems := a.Expr.Value(nil); !problems.HasErrors() && x.Type() == cty.String && x.IsKnown() && !x.IsNull() {
			v.description = x.AsString()
		}
	}
	for _, c := range c.Blocks {
		l.addCheck(v, c)
	}
	if v.sensitive && v.fallback != nil {
		l.maskLiteral(v.fallback)
	}
	l.addVariable(v)
}

// addCheck reads a validation block.
func (l *loader) addCheck(v *variable, b *hcl.Block) {
	c, problems := b.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "condition"}, {Name: "error_message"}}})
	l.noteNames(problems, []string{"condition", "error_message"}, nil, "", fmt.Sprintf("the validation of variable %q", v.name), false)
	condition, message := c.Attributes["condition"], c.Attributes["error_message"]
	if condition == nil || message == nil {
		l.problems.Errorf(at(b.TypeRange), "", "validation of variable %q needs condition and error_message", v.name)
		return
	}
	for _, t := range condition.Expr.Variables() {
		step, ok := cty.Value{}, false
		if t.RootName() == "var" && len(t) > 1 {
			if attr, isAttr := t[1].(hcl.TraverseAttr); isAttr {
				step, ok = cty.StringVal(attr.Name), true
			}
		}
		if t.RootName() == "var" && ok && step.AsString() != v.name {
			l.problems.Errorf(at(t.SourceRange()), "use var."+v.name, "the condition of variable %q may look at that variable only", v.name)
			return
		}
	}
	// Packer demands it, so that the message reads well wherever it is shown.
	if m, problems := message.Expr.Value(nil); !problems.HasErrors() && m.Type() == cty.String && m.IsKnown() && !m.IsNull() {
		if text := []rune(m.AsString()); len(text) == 0 || !unicode.IsUpper(text[0]) && unicode.IsLetter(text[0]) || !strings.ContainsRune(".?!", text[len(text)-1]) {
			l.problems.Errorf(at(message.Range), "begin with a capital letter and end with a full stop", "the error_message of variable %q is no sentence", v.name)
			return
		}
	}
	v.checks = append(v.checks, check{condition, message})
}

// listVariables tells what may be set.
func (l *loader) listVariables() {
	for _, name := range keys(l.vars) {
		v := l.vars[name]
		x := Variable{Name: name, Description: v.description, Required: v.fallback == nil, Sensitive: v.sensitive}
		if v.typ != cty.DynamicPseudoType {
			x.Type = v.typ.FriendlyNameForConstraint()
		}
		if v.fallback != nil && !v.sensitive {
			r := v.fallback.Range()
			if raw := l.r.Sources[r.Filename]; r.End.Byte <= len(raw) {
				x.Default = string(raw[r.Start.Byte:r.End.Byte])
			}
		}
		l.r.Variables = append(l.r.Variables, x)
	}
}

// given is a value from outside, the last of which counts.
type given struct {
	value  cty.Value
	from   string // for people
	pos    diag.Pos
	onLine bool // -var
}

// setVariables gives every variable its value, by Packer's precedence: default, environment, *.auto.pkrvars.hcl, the same in
// JSON, -var-file in order, -var (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/variables).
func (l *loader) setVariables() {
	set := map[string]given{}
	for _, e := range l.o.Env {
		key, text, _ := strings.Cut(e, "=")
		name, ok := strings.CutPrefix(key, "PKR_VAR_")
		if v := l.vars[name]; ok && v != nil {
			if x, ok := l.fromText(v, text, "environment variable "+key); ok {
				set[name] = given{value: x, from: "environment variable " + key}
			}
		}
	}
	var auto []string
	// Packer looks for them in a folder that was named, not beside a single file.
	if list, err := os.ReadDir(l.abs(l.dir)); err == nil && l.folder {
		for _, suffix := range []string{".auto.pkrvars.hcl", ".auto.pkrvars.json"} {
			for _, e := range list {
				if strings.HasSuffix(e.Name(), suffix) {
					auto = append(auto, filepath.Join(l.dir, e.Name()))
				}
			}
		}
	}
	for i, name := range append(auto, l.o.VarFiles...) {
		l.varFile(name, i >= len(auto), set)
	}
	for _, text := range l.o.Vars {
		name, value, ok := strings.Cut(text, "=")
		v := l.vars[name]
		switch {
		case !ok:
			l.problems.Errorf(diag.Pos{}, "write -var name=value", "-var has no value")
		case v == nil:
			l.problems.Errorf(diag.Pos{}, meant(name, keys(l.vars)), "-var sets %q, which the template does not declare", name)
		default:
			if x, ok := l.fromText(v, value, "-var"); ok {
				set[name] = given{value: x, from: "-var " + name, onLine: true}
			}
		}
	}
	for _, name := range keys(l.vars) {
		l.setVariable(l.vars[name], set)
	}
}

func (l *loader) setVariable(v *variable, set map[string]given) {
	g, ok := set[v.name]
	if !ok && v.fallback != nil {
		// A default may read the environment, and nothing else.
		if !l.affordable(v.fallback) {
			l.values[v.name] = cty.DynamicVal
			return
		}
		x, problems := v.fallback.Value(&hcl.EvalContext{Functions: map[string]function.Function{"env": l.funcs.env}})
		l.note(problems)
		if problems.HasErrors() {
			l.values[v.name] = cty.DynamicVal
			return
		}
		g, ok = given{value: x, from: "its default", pos: at(v.fallback.Range())}, true
	}
	if ok && v.sensitive {
		l.hide(g.value) // before anything can be said of it
	}
	if !ok && v.broken {
		l.values[v.name] = cty.DynamicVal
		return
	}
	if !ok {
		l.problems.Errorf(v.pos, "set it with -var "+v.name+"=…, in a *.auto.pkrvars.hcl file, or as PKR_VAR_"+v.name, "variable %q has no value", v.name)
		l.values[v.name] = cty.DynamicVal
		return
	}
	x := g.value
	if v.defaults != nil && !x.IsNull() {
		x = v.defaults.Apply(x)
	}
	x, err := convert.Convert(x, v.typ)
	if err != nil {
		pos := g.pos
		if pos == (diag.Pos{}) {
			pos = v.pos
		}
		l.problems.Errorf(pos, "give it "+article(v.typ.FriendlyName()), "variable %q: the value from %s is unsuitable: %v", v.name, g.from, err)
		l.values[v.name] = cty.DynamicVal
		return
	}
	if v.sensitive {
		if g.onLine {
			l.r.NeedVars = append(l.r.NeedVars, v.name)
		}
		x = x.Mark(sensitive{})
	}
	l.values[v.name] = x
	l.validate(v, x)
}

// hide remembers every text in a sensitive value, to be masked wherever it may show up.
func (l *loader) hide(v cty.Value) {
	cty.Walk(v, func(_ cty.Path, x cty.Value) (bool, error) { //nolint:errcheck // the function returns no error
		if x.IsKnown() && !x.IsNull() && (x.Type() == cty.String || x.Type() == cty.Number) {
			// Shorter ones would garble every line and protect nothing.
			if s, ok := asString(x); ok && len(s) >= 4 && !slices.Contains(l.r.SensitiveValues, s) {
				l.r.SensitiveValues = append(l.r.SensitiveValues, s)
			}
		}
		return true, nil
	})
}

// validate holds a variable against its own conditions.
func (l *loader) validate(v *variable, x cty.Value) {
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{v.name: x})}, Functions: l.funcs.all}
	for _, c := range v.checks {
		if !l.affordable(c.condition.Expr) || !l.affordable(c.message.Expr) {
			continue
		}
		ok, problems := c.condition.Expr.Value(ctx)
		l.note(problems)
		if problems.HasErrors() {
			continue
		}
		ok, _ = ok.Unmark()
		if ok.Type() != cty.Bool || ok.IsNull() || !ok.IsKnown() {
			l.problems.Errorf(at(c.condition.Range), "", "the condition of variable %q is neither true nor false", v.name)
			continue
		}
		if ok.True() {
			continue
		}
		text := "its value is not allowed"
		if m, problems := c.message.Expr.Value(ctx); !problems.HasErrors() && m.Type() == cty.String && !m.IsNull() {
			if m, marks := m.Unmark(); len(marks) == 0 {
				text = m.AsString()
			}
		}
		l.problems.Errorf(v.pos, "", "variable %q: %s", v.name, text)
	}
}

// fromText reads a value that was given as a text: as it is for a string, else as an expression.
func (l *loader) fromText(v *variable, text, from string) (cty.Value, bool) {
	typ := v.typ
	if typ == cty.DynamicPseudoType && v.fallback != nil {
		if d, problems := v.fallback.Value(&hcl.EvalContext{Functions: map[string]function.Function{"env": l.funcs.env}}); !problems.HasErrors() {
			typ = d.Type()
		}
	}
	if typ == cty.String || typ == cty.DynamicPseudoType || typ == cty.Number || typ == cty.Bool {
		return cty.StringVal(text), true
	}
	e, problems := hclsyntax.ParseExpression([]byte(text), from, hcl.InitialPos)
	if problems.HasErrors() {
		l.problems.Errorf(v.pos, "write it as in HCL: [\"a\", \"b\"] or { a = \"b\" }", "variable %q: %s is no %s", v.name, from, typ.FriendlyName())
		return cty.NilVal, false
	}
	if !l.affordable(e) {
		return cty.NilVal, false
	}
	x, problems := e.Value(nil)
	if problems.HasErrors() {
		l.problems.Errorf(v.pos, "write it as in HCL: [\"a\", \"b\"] or { a = \"b\" }", "variable %q: %s cannot be evaluated", v.name, from)
		return cty.NilVal, false
	}
	return x, true
}

// varFile reads a file of values. An undeclared one is an error on a file that was named, as it is in Packer, when asked for.
func (l *loader) varFile(name string, named bool, set map[string]given) {
	raw, ok := l.read(name)
	if !ok {
		return
	}
	before := len(l.problems)
	body := l.parse(name, raw)
	if l.problems[before:].HasErrors() {
		delete(l.r.Sources, name) // a value that may not be seen could stand in the line that is shown
	}
	if body == nil {
		return
	}
	attrs, problems := body.JustAttributes()
	l.note(problems)
	for _, key := range keys(attrs) {
		a := attrs[key]
		if l.vars[key] == nil {
			l.masks = append(l.masks, a.Expr.Range()) // a misspelt name may be that of a secret
			if named || l.o.WarnUndeclared {
				l.problems.Warnf(at(a.NameRange), meant(key, keys(l.vars)), "the template does not declare variable %q", key)
			}
			continue
		}
		if l.vars[key].sensitive {
			l.masks = append(l.masks, a.Expr.Range())
		}
		if !l.affordable(a.Expr) {
			continue
		}
		x, problems := a.Expr.Value(nil)
		l.note(problems)
		if !problems.HasErrors() {
			set[key] = given{value: x, from: name, pos: at(a.Range)}
		}
	}
}

func (l *loader) addLocal(x *local) {
	if old := l.locals[x.name]; old != nil {
		l.problems.Errorf(x.pos, "remove one of them", "local %q is declared twice; first at %s", x.name, old.pos)
		return
	}
	l.locals[x.name] = x
}

func (l *loader) declareLocal(b *hcl.Block) {
	x := &local{name: b.Labels[0], pos: at(b.LabelRanges[0])}
	c, problems := b.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "expression"}, {Name: "sensitive"}}})
	l.noteNames(problems, []string{"expression", "sensitive"}, nil, "", fmt.Sprintf("local %q", x.name), false)
	if a := c.Attributes["expression"]; a != nil {
		x.expr = a.Expr
	}
	if a := c.Attributes["sensitive"]; a != nil {
		v, problems := a.Expr.Value(nil)
		x.sensitive = !problems.HasErrors() && v.Type() == cty.Bool && !v.IsNull() && v.True()
	}
	if x.expr == nil {
		l.problems.Errorf(x.pos, "", "local %q has no expression", x.name)
		return
	}
	if x.sensitive {
		l.maskLiteral(x.expr)
	}
	l.addLocal(x)
}

// resolveLocals evaluates them in any order they need.
func (l *loader) resolveLocals() {
	for _, name := range keys(l.locals) {
		l.resolveLocal(name, nil)
	}
	for _, name := range keys(l.data) {
		l.resolveData(name, nil)
	}
}

// dataOf is the key in l.data of what data.TYPE.NAME stands for.
func dataOf(t hcl.Traversal) string {
	if t.RootName() != "data" || len(t) < 3 {
		return ""
	}
	typ, ok := t[1].(hcl.TraverseAttr)
	name, ok2 := t[2].(hcl.TraverseAttr)
	if !ok || !ok2 {
		return ""
	}
	return typ.Name + "." + name.Name
}

func (l *loader) resolveLocal(name string, via []string) {
	x := l.locals[name]
	if x == nil || x.state == 2 {
		return
	}
	if x.state == 1 {
		l.problems.Errorf(x.pos, "break the circle", "local %q depends on itself: %s", name, strings.Join(append(via[slices.Index(via, name):], name), " -> "))
		for _, n := range via[slices.Index(via, name):] {
			if y := l.locals[n]; y != nil {
				y.value, y.state = cty.DynamicVal, 2
			}
		}
		return
	}
	x.state = 1
	used := map[string]cty.Value{}
	for _, t := range x.expr.Variables() {
		if key := dataOf(t); key != "" && l.data[key] != nil {
			l.resolveData(key, append(via, name))
		}
		if t.RootName() != "local" {
			continue
		}
		other := ""
		if len(t) > 1 {
			switch step := t[1].(type) {
			case hcl.TraverseAttr:
				other = step.Name
			case hcl.TraverseIndex:
				if step.Key.Type() == cty.String {
					other = step.Key.AsString()
				}
			}
		}
		l.resolveLocal(other, append(via, name))
		if y := l.locals[other]; y != nil && y.state == 2 {
			used[other] = y.value
		}
	}
	if x.state == 2 {
		return // found to be part of a circle
	}
	// Only what it names is put before it: with all locals each time, the cost would grow with their square.
	v := cty.DynamicVal
	if l.affordable(x.expr) {
		got, problems := x.expr.Value(l.contextWith(used, nil))
		l.noteValue(x.expr, problems)
		if !problems.HasErrors() {
			v = got
		}
	}
	if x.sensitive {
		plain, _ := v.UnmarkDeep()
		l.hide(plain)
		v = v.Mark(sensitive{})
	}
	x.value, x.state = v, 2
}

// context is what expressions may use.
func (l *loader) context(more map[string]cty.Value) *hcl.EvalContext {
	locals := map[string]cty.Value{}
	for name, x := range l.locals {
		if x.state == 2 {
			locals[name] = x.value
		}
	}
	return l.contextWith(locals, more)
}

func (l *loader) contextWith(locals, more map[string]cty.Value) *hcl.EvalContext {
	vars := map[string]cty.Value{
		"var": cty.ObjectVal(l.values), "local": cty.ObjectVal(locals),
		"path":   cty.ObjectVal(map[string]cty.Value{"root": cty.StringVal(filepath.ToSlash(l.dir)), "cwd": cty.StringVal(filepath.ToSlash(l.o.Cwd))}),
		"packer": cty.ObjectVal(map[string]cty.Value{"version": cty.StringVal(packerVersion), "versionFingerprint": cty.StringVal(""), "iterationID": cty.StringVal("")}),
		"data":   l.dataValues(),
	}
	maps.Copy(vars, more)
	return &hcl.EvalContext{Variables: vars, Functions: l.funcs.all}
}
