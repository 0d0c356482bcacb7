package template

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"ingot/internal/diag"
	"ingot/internal/imagebuilder"
	"ingot/internal/template/armexpr"
)

// What a deployment template is told of its surroundings when nobody has said where it will be deployed.
const (
	unknownSubscription = "subscription-not-known"
	unknownGroup        = "resource-group-not-known"
	unknownLocation     = "location-not-known"
)

// deployment is an ARM template while it is read.
type deployment struct {
	*loader
	root   *jsonNode
	scope  *armexpr.Scope
	params map[string]*armValue
	vars   map[string]*armValue
	bare   bool              // an image template by itself: no expressions, no parameters
	fills  map[string]string // -var values for <placeholders>
	filled map[string]bool
	loops  []armLoop
	depth  int             // of nested deployments and functions
	empty  map[string]bool // placeholders without a value, said once each
}

// deployed reads an ARM deployment template: every image template in it.
func (l *loader) deployment(root *jsonNode) {
	d := l.newDeployment(root)
	d.parameters()
	d.variables()
	if len(d.params)+len(d.vars) > 0 {
		l.r.evaluated = []string{"parameters"}
	}
	l.r.evaluate = d.console
	if n := root.get("parameters"); n != nil {
		for _, f := range n.fields {
			if v, err := d.parameter(f.name); err == nil {
				if x, problems := (jsonExpr{n: d.node(v, f.at)}).Value(nil); !problems.HasErrors() {
					l.values[f.name] = x // for *.ingot.hcl
				}
			}
			x := Variable{Name: f.name, Required: f.value.get("defaultValue") == nil}
			if t := f.value.get("type"); t != nil {
				x.Type, x.Sensitive = t.text, strings.HasPrefix(strings.ToLower(t.text), "secure")
			}
			if m := f.value.get("metadata").get("description"); m != nil {
				x.Description = m.text
			}
			if v := f.value.get("defaultValue"); v != nil && !x.Sensitive {
				x.Default = string(l.r.Sources[root.at.Filename][v.at.Start.Byte:v.at.End.Byte])
			}
			l.r.Variables = append(l.r.Variables, x)
		}
	}
	found := d.build(resources(root))
	if found == 0 && !l.problems.HasErrors() {
		l.problems.Errorf(diag.Pos{File: root.at.Filename, Line: 1, Column: 1}, "name a template that deploys one", "the deployment template has no resource of type %s", imagebuilder.Type)
	}
	d.leftOver()
}

// build reads the image templates among resources, those of nested deployments too, and counts them.
func (d *deployment) build(list []*jsonNode) (found int) {
	for _, r := range list {
		t := r.get("type")
		if t == nil || t.kind != '"' {
			d.problems.Errorf(at(r.at), `add "type"`, "a resource has no type")
			continue
		}
		typ := t.text
		if v, ok := d.text(t); ok {
			typ = v
		}
		nested := strings.EqualFold(typ, "Microsoft.Resources/deployments")
		if !strings.EqualFold(typ, imagebuilder.Type) && !nested {
			continue
		}
		if c := r.get("condition"); c != nil {
			if v, err := d.eval(c); err == nil && v.kind == 'f' {
				if !nested {
					d.problems.Warnf(at(c.at), "", "the condition of this image template is false: it is left out")
					found++
				}
				continue
			}
		}
		err := d.each(r.get("copy"), func() {
			if nested {
				found += d.nested(r)
				return
			}
			found++
			without := *r
			without.fields = slices.DeleteFunc(slices.Clone(r.fields), func(f jsonField) bool { return f.name == "copy" })
			if n, err := d.eval(&without); err == nil {
				d.imageTemplate(n, d)
			}
		})
		if err != nil {
			found++ // said already
		}
	}
	return found
}

// bareTemplate reads an image template that stands by itself.
func (l *loader) bareTemplate(root *jsonNode) {
	d := l.newDeployment(root)
	d.bare = true
	l.r.evaluate = d.console
	if n, err := d.eval(root); err == nil {
		l.imageTemplate(n, d)
	}
	d.leftOver()
}

// resources are a template's, written as a list or, with symbolic names, as an object.
func resources(root *jsonNode) []*jsonNode {
	n := root.get("resources")
	if n == nil {
		return nil
	}
	if n.kind == '[' {
		return n.items
	}
	var out []*jsonNode
	for _, f := range n.fields {
		out = append(out, f.value)
	}
	return out
}

func (l *loader) newDeployment(root *jsonNode) *deployment {
	d := &deployment{loader: l, root: root, params: map[string]*armValue{}, vars: map[string]*armValue{}, fills: map[string]string{}, filled: map[string]bool{}, empty: map[string]bool{}}
	or := func(v, fallback string) string {
		if v == "" {
			return fallback
		}
		return v
	}
	d.scope = &armexpr.Scope{SubscriptionID: or(l.o.Subscription, unknownSubscription), TenantID: or(l.o.Tenant, "tenant-not-known"), ResourceGroup: or(l.o.ResourceGroup, unknownGroup), Location: or(l.o.Location, unknownLocation),
		Deployment: "ingot", Now: l.o.Now, Budget: armexpr.NewBudget(), Parameter: d.parameter, Variable: d.variable,
		CopyIndex: d.copyIndex, Function: d.function, StandIn: d.standIn}
	for _, text := range l.o.Vars {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			l.problems.Errorf(diag.Pos{}, "write -var name=value", "-var has no value")
			continue
		}
		d.fills[name] = value
	}
	return d
}

// text evaluates a text and nothing else.
func (d *deployment) text(n *jsonNode) (string, bool) {
	v, err := d.eval(n)
	if err != nil || v.kind != '"' {
		return "", false
	}
	return v.text, true
}

// eval is n with every expression in it evaluated and every placeholder filled. What is wrong has been said when it returns an error.
func (d *deployment) eval(n *jsonNode) (*jsonNode, error) {
	var failed error
	out := *n
	switch n.kind {
	case '{':
		out.fields = make([]jsonField, 0, len(n.fields))
		for _, f := range n.fields {
			if f.name == "copy" && f.value.kind == '[' && !d.bare {
				for _, item := range f.value.items {
					name := item.get("name")
					if name == nil {
						d.problems.Errorf(at(item.at), "add name", "a copy loop has no name")
						failed = errSaid
						continue
					}
					v, err := d.copied(item)
					if err != nil {
						failed = err
						continue
					}
					out.fields = append(out.fields, jsonField{name.text, f.at, v})
				}
				continue
			}
			name := f.name
			if k, err := d.evalText(&jsonNode{kind: '"', text: name, at: f.at}); err == nil && k.kind == '"' {
				name = k.text
			} else if err == nil && k.kind == 'u' {
				return &jsonNode{kind: 'u', at: n.at}, nil
			} else if err != nil {
				failed = err
			}
			v, err := d.eval(f.value)
			if err != nil {
				failed = err
				continue
			}
			out.fields = append(out.fields, jsonField{name, f.at, v})
		}
	case '[':
		out.items = make([]*jsonNode, 0, len(n.items))
		for _, x := range n.items {
			v, err := d.eval(x)
			if err != nil {
				failed = err
				continue
			}
			out.items = append(out.items, v)
		}
	case '"':
		return d.evalText(n)
	}
	return &out, failed
}

func (d *deployment) evalText(n *jsonNode) (*jsonNode, error) {
	out := *n
	if !d.bare && armexpr.IsExpression(n.text) {
		v, err := armexpr.Evaluate(n.text, d.scope)
		if err != nil {
			var e *armexpr.Error
			if errors.As(err, &e) && e.Deployed || strings.Contains(err.Error(), errDeployed.Error()) {
				return d.deployed(n), nil
			}
			d.expression(n, err)
			return nil, errSaid
		}
		if d.tainted(n.text, 0) {
			d.hideValue(v)
			return secretNode(d.node(v, n.at)), nil
		}
		return d.node(v, n.at), nil
	}
	if !d.bare {
		out.text = armexpr.Literal(n.text)
	}
	if strings.Contains(out.text, "<") {
		out.text = hole.ReplaceAllStringFunc(out.text, func(h string) string {
			name := h[1 : len(h)-1]
			if v, ok := d.fills[name]; ok {
				d.filled[name] = true
				return v
			}
			return h
		})
	}
	return &out, nil
}

// errDeployed is what parameters('x') and variables('x') answer for a value that only a deployment knows.
var errDeployed = errors.New("only a deployment knows it")

// deployed stands for a value that asks a resource: it is said once, and nothing that depends on it is judged.
func (d *deployment) deployed(n *jsonNode) *jsonNode {
	const what = "deployed resources"
	if !slices.Contains(d.r.Unknown, what) {
		d.r.Unknown = append(d.r.Unknown, what)
		d.problems.Warnf(at(n.at), "hand the values over as parameters", "the template asks %s for values, which only its deployment knows: nothing made of them is judged", what)
	}
	return &jsonNode{kind: 'u', at: n.at}
}

// node is a value as a node that stands where its expression does. A text that holds a secret is one.
func (d *deployment) node(v any, r hcl.Range) *jsonNode {
	n := &jsonNode{at: r}
	switch v := v.(type) {
	case nil:
		n.kind = 'n'
	case bool:
		n.kind = 'f'
		if v {
			n.kind = 't'
		}
	case float64:
		n.kind, n.text = '0', strings.TrimSuffix(fmt.Sprintf("%f", v), ".000000")
	case string:
		n.kind, n.text = '"', v
		n.secret = slices.ContainsFunc(d.r.SensitiveValues, func(s string) bool { return strings.Contains(v, s) })
	case []any:
		n.kind = '['
		for _, x := range v {
			n.items = append(n.items, d.node(x, r))
		}
	case map[string]any:
		n.kind = '{'
		for _, k := range keys(v) {
			n.fields = append(n.fields, jsonField{k, r, d.node(v[k], r)})
		}
	}
	return n
}

// expression reports what is wrong with one, at its place.
func (d *deployment) expression(n *jsonNode, err error) {
	r := n.at
	p := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: err.Error(), Subject: &r}
	var e *armexpr.Error
	if errors.As(err, &e) {
		if strings.Contains(e.Reason, errSaid.Error()) {
			return
		}
		if raw := d.r.Sources[r.Filename]; n.at.End.Byte <= len(raw) && n.at.Start.Byte < len(raw) && raw[n.at.Start.Byte] == '"' {
			from, to := rawOffset(raw, n, e.Offset), rawOffset(raw, n, e.Offset+e.Length)
			r.Start = hcl.Pos{Line: r.Start.Line, Column: r.Start.Column + from - n.at.Start.Byte, Byte: from}
			r.End = hcl.Pos{Line: r.Start.Line, Column: r.Start.Column + to - from, Byte: to}
		}
		p.Summary, p.Extra = "the expression cannot be evaluated: "+e.Reason, remedy(e.Remedy)
	}
	d.note(hcl.Diagnostics{p})
}
