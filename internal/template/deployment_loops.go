package template

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ingot/internal/diag"
	"ingot/internal/imagebuilder"
	"ingot/internal/template/armexpr"
)

// most is how often Azure runs a copy loop at most (https://learn.microsoft.com/azure/azure-resource-manager/templates/copy-resources).
const most = 800

// each calls f once, or as often as a copy loop says.
func (d *deployment) each(loop *jsonNode, f func()) error {
	if loop == nil || loop.kind != '{' {
		f()
		return nil
	}
	n, err := d.loopCount(loop)
	if err != nil {
		return err
	}
	name := ""
	if x := loop.get("name"); x != nil {
		name = x.text
	}
	for i := range n {
		d.loops = append(d.loops, armLoop{name, i})
		f()
		d.loops = d.loops[:len(d.loops)-1]
	}
	return nil
}

func (d *deployment) loopCount(loop *jsonNode) (int, error) {
	c := loop.get("count")
	if c == nil {
		d.problems.Errorf(at(loop.at), "add count", "a copy loop has no count")
		return 0, errSaid
	}
	v, err := d.eval(c)
	if err != nil {
		return 0, err
	}
	if v.kind == 'u' {
		return 0, nil // it has been said that only a deployment knows
	}
	if n := jsonNumber(v.text); v.kind == '0' && n == float64(int(n)) && n >= 0 && n <= most {
		return int(n), nil
	}
	d.problems.Errorf(at(c.at), "", "the count of a copy loop must be a whole number of 0 to %d", most)
	return 0, errSaid
}

// armLoop is a copy loop that is running.
type armLoop struct {
	name  string
	index int
}

// copyIndex is copyIndex('name').
func (d *deployment) copyIndex(name string) (int, error) {
	for i := len(d.loops) - 1; i >= 0; i-- {
		if name == "" || strings.EqualFold(d.loops[i].name, name) {
			return d.loops[i].index, nil
		}
	}
	return 0, fmt.Errorf("there is no copy loop %q here", name)
}

// copied is the list that a copy loop over a property or variable makes.
func (d *deployment) copied(item *jsonNode) (*jsonNode, error) {
	input := item.get("input")
	if input == nil {
		d.problems.Errorf(at(item.at), "add input", "a copy loop has no input")
		return nil, errSaid
	}
	out := &jsonNode{kind: '[', at: input.at}
	var failed error
	err := d.each(item, func() {
		if err := d.scope.Budget.Spend(1, 64); err != nil && failed == nil {
			d.problems.Errorf(at(item.at), "", "%v", err)
			failed = errSaid
		}
		if failed != nil {
			return
		}
		v, err := d.eval(input)
		if err != nil {
			failed = err
			return
		}
		out.items = append(out.items, v)
	})
	return out, errors.Join(err, failed)
}

// nested reads the image templates of a deployment inside this one. Its expressions are its own where it says so, as in what Bicep
// makes of modules; otherwise they are this one's.
func (d *deployment) nested(r *jsonNode) int {
	props := r.get("properties")
	template := props.get("template")
	if template == nil || template.kind != '{' {
		return 0 // linked: it is somewhere else
	}
	if !holdsImageTemplate(template) {
		return 0 // modules for other things
	}
	if d.depth >= 5 {
		d.problems.Errorf(at(r.at), "", "deployments nest more than 5 deep")
		return 0
	}
	inner := false
	if s := props.get("expressionEvaluationOptions").get("scope"); s != nil {
		inner = strings.EqualFold(s.text, "inner")
	}
	if !inner {
		return d.build(resources(template))
	}
	n := d.newDeployment(template)
	n.depth, n.scope.Budget, n.fills = d.depth+1, d.scope.Budget, map[string]string{}
	if p := template.get("parameters"); p != nil {
		for _, f := range p.fields {
			v := &armValue{node: f.value}
			if t := f.value.get("type"); t != nil {
				v.secure = strings.HasPrefix(strings.ToLower(t.text), "secure")
			}
			n.params[strings.ToLower(f.name)] = v
		}
	}
	if p := props.get("parameters"); p != nil {
		for _, f := range p.fields {
			to := n.params[strings.ToLower(f.name)]
			value := f.value.get("value")
			if to == nil || value == nil {
				continue
			}
			to.set, to.state = true, 3
			if v, err := d.eval(value); err == nil && v.unknown() {
				to.state = 4
			} else if err == nil {
				to.value, to.state = v.plain(), 2
				if to.secure {
					d.hideValue(to.value)
				}
			}
		}
	}
	if ps := template.get("parameters"); ps != nil {
		for _, f := range ps.fields {
			p := n.params[strings.ToLower(f.name)]
			if p.set || f.value.get("defaultValue") != nil {
				continue
			}
			if nullable(template, f.value) {
				p.state, p.set = 2, true // null
				continue
			}
			d.problems.Errorf(at(r.at), "add it to the nested deployment's parameters", "parameter %q of the nested deployment has no value", f.name)
			p.state = 3
		}
	}
	n.variables()
	return n.build(resources(template))
}

// standIn says once that a value is not Azure's own.
func (d *deployment) standIn(function string) {
	if !slices.Contains(d.r.Unknown, function) {
		d.r.Unknown = append(d.r.Unknown, function)
		d.problems.Warnf(diag.Pos{File: d.root.at.Filename, Line: 1, Column: 1}, "hand the value over as a parameter if a name depends on it", "Azure does not publish how %s is computed: a stand-in takes its place here", function)
	}
}

// holdsImageTemplate reports whether a deployment deploys one, itself or through another.
func holdsImageTemplate(template *jsonNode) bool {
	return slices.ContainsFunc(resources(template), func(r *jsonNode) bool {
		t := r.get("type")
		if t == nil {
			return false
		}
		inner := r.get("properties").get("template")
		return strings.EqualFold(t.text, imagebuilder.Type) || armexpr.IsExpression(t.text) || inner != nil && holdsImageTemplate(inner)
	})
}

// function calls one that the template defines: { "functions": [{ "namespace": "x", "members": { "f": … } }] }.
func (d *deployment) function(name string, args []any) (any, error) {
	space, short, _ := strings.Cut(name, ".")
	list := d.root.get("functions")
	if list == nil {
		return nil, fmt.Errorf("the template defines no functions")
	}
	for _, ns := range list.items {
		if n := ns.get("namespace"); n == nil || !strings.EqualFold(n.text, space) {
			continue
		}
		members := ns.get("members")
		if members == nil {
			continue
		}
		for _, m := range members.fields {
			if !strings.EqualFold(m.name, short) {
				continue
			}
			return d.call(m.value, args)
		}
	}
	return nil, fmt.Errorf("the template defines no function %s", name)
}

// call evaluates a template's own function: it sees its parameters and nothing else.
func (d *deployment) call(f *jsonNode, args []any) (any, error) {
	if d.depth >= 20 {
		return nil, fmt.Errorf("functions nest more than 20 deep")
	}
	names := f.get("parameters")
	values := map[string]any{}
	if names != nil {
		if len(names.items) != len(args) {
			return nil, fmt.Errorf("it takes %d arguments, not %d", len(names.items), len(args))
		}
		for i, p := range names.items {
			if n := p.get("name"); n != nil {
				values[strings.ToLower(n.text)] = args[i]
			}
		}
	}
	value := f.get("output").get("value")
	if value == nil {
		return nil, fmt.Errorf("it has no output")
	}
	scope := *d.scope
	scope.Variable = nil
	scope.CopyIndex = nil
	scope.Parameter = func(name string) (any, error) {
		v, ok := values[strings.ToLower(name)]
		if !ok {
			return nil, fmt.Errorf("the function has no parameter %q", name)
		}
		return v, nil
	}
	inner := *d
	inner.scope, inner.depth = &scope, d.depth+1
	scope.Function = inner.function
	n, err := inner.eval(value)
	if err != nil {
		return nil, errSaid
	}
	return n.plain(), nil
}
