package template

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"ingot/internal/diag"
	"ingot/internal/template/armexpr"
)

// armValue is a parameter or a variable.
type armValue struct {
	node   *jsonNode
	value  any
	state  int // 1 being evaluated, 2 known, 3 broken
	secure bool
	set    bool
	taint  int  // of a variable: 1 it sees no secure parameter, 2 it does
	loop   bool // a variable that a copy loop makes
}

// variables are read when they are asked for. Those of a copy loop are lists.
func (d *deployment) variables() {
	n := d.root.get("variables")
	if n == nil {
		return
	}
	for _, f := range n.fields {
		if f.name == "copy" && f.value.kind == '[' {
			for _, item := range f.value.items {
				if name := item.get("name"); name != nil {
					d.vars[strings.ToLower(name.text)] = &armValue{node: item, loop: true}
				}
			}
			continue
		}
		d.vars[strings.ToLower(f.name)] = &armValue{node: f.value}
	}
}

// parameters get their values: default, -var-file in order, -var.
func (d *deployment) parameters() {
	n := d.root.get("parameters")
	if n != nil && n.kind == '{' {
		for _, f := range n.fields {
			typ := ""
			if t := f.value.get("type"); t != nil {
				typ = strings.ToLower(t.text)
			}
			if !slices.Contains([]string{"string", "securestring", "int", "bool", "object", "secureobject", "array"}, typ) && f.value.get("$ref") == nil {
				d.problems.Errorf(at(f.at), "use string, securestring, int, bool, object, secureObject or array", "parameter %q has no type that ARM knows: %q", f.name, typ)
			}
			v := &armValue{node: f.value, secure: strings.HasPrefix(typ, "secure")}
			d.params[strings.ToLower(f.name)] = v
			if def := f.value.get("defaultValue"); v.secure && def != nil {
				d.masks = append(d.masks, def.at)
			}
		}
	}
	for _, name := range d.o.VarFiles {
		d.parameterFile(name)
	}
	for name, text := range d.fills {
		p := d.params[strings.ToLower(name)]
		if p == nil {
			continue
		}
		d.filled[name] = true
		typ := ""
		if t := p.node.get("type"); t != nil {
			typ = strings.ToLower(t.text)
		}
		p.state, p.set, p.value = 2, true, text
		if typ != "string" && typ != "securestring" {
			n, err := readJSON("-var "+name, []byte(text), false)
			if err != nil {
				d.problems.Errorf(at(p.node.at), "write JSON", "parameter %q: -var is no %s: %v", name, typ, err)
				p.state = 3
				continue
			}
			p.value = n.plain()
		}
		if p.secure {
			d.hideValue(p.value)
			d.r.NeedVars = append(d.r.NeedVars, name)
		}
		d.checkParameter(name, p)
	}
	if n == nil {
		return
	}
	for _, f := range n.fields {
		p := d.params[strings.ToLower(f.name)]
		if !p.set && f.value.get("defaultValue") == nil && nullable(d.root, f.value) {
			p.state, p.set = 2, true // null
			continue
		}
		if !p.set && f.value.get("defaultValue") == nil {
			d.problems.Errorf(at(f.at), "set it with -var "+f.name+"=… or a parameters file (-var-file)", "parameter %q has no value", f.name)
			p.state = 3
		}
	}
}

// nullable reports whether a parameter may be left out: by itself, or by the type it refers to.
func nullable(root, p *jsonNode) bool {
	if x := p.get("nullable"); x != nil {
		return x.kind == 't'
	}
	ref := p.get("$ref")
	if ref == nil {
		return false
	}
	x := root.get("definitions").get(strings.TrimPrefix(ref.text, "#/definitions/")).get("nullable")
	return x != nil && x.kind == 't'
}

// checkParameter holds a value against the parameter's own limits.
func (d *deployment) checkParameter(name string, p *armValue) {
	if a := p.node.get("allowedValues"); a != nil && a.kind == '[' {
		var allowed []string
		for _, x := range a.items {
			if fmt.Sprint(x.plain()) == fmt.Sprint(p.value) {
				return
			}
			allowed = append(allowed, fmt.Sprint(x.plain()))
		}
		d.problems.Errorf(at(a.at), "use one of "+strings.Join(allowed, ", "), "the value of parameter %q is none of its allowedValues", name)
	}
	if t := p.node.get("type"); t != nil {
		_, text := p.value.(string)
		_, number := p.value.(float64)
		_, truth := p.value.(bool)
		_, list := p.value.([]any)
		_, object := p.value.(map[string]any)
		if ok, known := map[string]bool{"string": text, "securestring": text, "int": number, "bool": truth, "array": list, "object": object, "secureobject": object}[strings.ToLower(t.text)]; known && !ok && p.value != nil {
			d.problems.Errorf(at(p.node.at), "give it "+article(t.text), "the value of parameter %q is no %s", name, t.text)
			p.state = 3
			return
		}
	}
	n, isNumber := p.value.(float64)
	s, isText := p.value.(string)
	for key, wrong := range map[string]func(limit float64) bool{"minLength": func(n float64) bool { return isText && float64(len(s)) < n }, "maxLength": func(n float64) bool { return isText && float64(len(s)) > n },
		"minValue": func(limit float64) bool { return isNumber && n < limit }, "maxValue": func(limit float64) bool { return isNumber && n > limit }} {
		if x := p.node.get(key); x != nil && x.kind == '0' && wrong(jsonNumber(x.text)) {
			d.problems.Errorf(at(x.at), "", "the value of parameter %q does not keep to its %s of %s", name, key, x.text)
		}
	}
}

// hideValue keeps every text of a value from being shown.
func (d *deployment) hideValue(v any) {
	switch v := v.(type) {
	case string:
		d.hide(cty.StringVal(v))
		// A script's line may hold it as PowerShell or a shell quotes it: the writer's own lines do.
		for _, quote := range []string{"''", `'\''`} {
			if strings.Contains(v, "'") {
				d.hide(cty.StringVal(strings.ReplaceAll(v, "'", quote)))
			}
		}
	case []any:
		for _, x := range v {
			d.hideValue(x)
		}
	case map[string]any:
		for _, x := range v {
			d.hideValue(x)
		}
	}
}

// parameterFile reads { "parameters": { "name": { "value": … } } }, or the members alone.
func (d *deployment) parameterFile(name string) {
	raw, ok := d.read(name)
	if !ok {
		return
	}
	n, err := readJSON(name, raw, true)
	if err != nil || n.kind != '{' {
		pos := diag.Pos{File: name}
		var syntax *jsonSyntax
		if errors.As(err, &syntax) {
			pos = at(syntax.at)
		}
		d.problems.Errorf(pos, `write { "parameters": { "name": { "value": … } } }`, "cannot read the parameters: %v", errors.Join(err))
		return
	}
	if inner := n.get("parameters"); inner != nil {
		n = inner
	}
	for _, f := range n.fields {
		p := d.params[strings.ToLower(f.name)]
		if p == nil {
			d.problems.Errorf(at(f.at), meant(f.name, keys(d.params)), "the template has no parameter %q", f.name)
			continue
		}
		v := f.value
		if inner := v.get("value"); inner != nil {
			v = inner
		} else if v.get("reference") != nil {
			d.problems.Errorf(at(v.at), "give the value with -var "+f.name+"=…", "parameter %q is a reference to a key vault, which is not read here", f.name)
			p.state, p.set = 3, true
			continue
		}
		if p.secure {
			d.masks = append(d.masks, v.at)
			d.hideValue(v.plain())
		}
		p.value, p.state, p.set = v.plain(), 2, true
		d.checkParameter(f.name, p)
	}
}

var errSaid = errors.New("said already")

// parameter is parameters('name').
func (d *deployment) parameter(name string) (any, error) {
	p := d.params[strings.ToLower(name)]
	if p == nil {
		return nil, fmt.Errorf("the template has no parameter %q; %s", name, strings.TrimSuffix(meant(name, keys(d.params)), "?"))
	}
	return d.resolveValue(p, "parameter", name, p.node.get("defaultValue"))
}

// variable is variables('name').
func (d *deployment) variable(name string) (any, error) {
	v := d.vars[strings.ToLower(name)]
	if v == nil {
		return nil, fmt.Errorf("the template has no variable %q; %s", name, strings.TrimSuffix(meant(name, keys(d.vars)), "?"))
	}
	return d.resolveValue(v, "variable", name, v.node)
}

func (d *deployment) resolveValue(v *armValue, what, name string, n *jsonNode) (any, error) {
	switch {
	case v.state == 2:
		return v.value, nil
	case v.state == 4:
		return nil, errDeployed
	case v.state == 3 || n == nil:
		return nil, errSaid
	case v.state == 1:
		return nil, fmt.Errorf("%s %q depends on itself", what, name)
	}
	v.state = 1
	read := d.eval
	if v.loop {
		read = d.copied
	}
	out, err := read(n)
	if err != nil {
		v.state = 3
		return nil, errSaid
	}
	if out.unknown() {
		v.state = 4
		return nil, errDeployed
	}
	v.value, v.state = out.plain(), 2
	if what == "parameter" {
		if d.checkParameter(name, v); v.state == 3 {
			return nil, errSaid
		}
	}
	if v.secure {
		d.hideValue(v.value)
	}
	return v.value, nil
}

// tainted reports whether an expression sees a secure parameter, by itself or through a variable: whatever is computed of one is
// as secret as it.
func (d *deployment) tainted(text string, depth int) bool {
	if depth > 50 {
		return true
	}
	for _, name := range armexpr.Refers(text, "parameters") {
		if p := d.params[strings.ToLower(name)]; p != nil && (p.secure || d.taintedIn(p.node.get("defaultValue"), depth+1)) {
			return true
		}
	}
	for _, name := range armexpr.Refers(text, "variables") {
		v := d.vars[strings.ToLower(name)]
		if v == nil {
			continue
		}
		if v.taint == 0 {
			v.taint = 1
			if d.taintedIn(v.node, depth+1) {
				v.taint = 2
			}
		}
		if v.taint == 2 {
			return true
		}
	}
	return false
}

func (d *deployment) taintedIn(n *jsonNode, depth int) bool {
	if n == nil {
		return false
	}
	for _, f := range n.fields {
		if d.taintedIn(f.value, depth) {
			return true
		}
	}
	for _, x := range n.items {
		if d.taintedIn(x, depth) {
			return true
		}
	}
	return n.kind == '"' && armexpr.IsExpression(n.text) && d.tainted(n.text, depth)
}

// secretNode marks every text in a value.
func secretNode(n *jsonNode) *jsonNode {
	n.secret = n.kind == '"'
	for _, f := range n.fields {
		secretNode(f.value)
	}
	for _, x := range n.items {
		secretNode(x)
	}
	return n
}
