package template

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"ingot/internal/diag"
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
	empty  map[string]bool // placeholders without a value, said once each
}

// armValue is a parameter or a variable.
type armValue struct {
	node   *jsonNode
	value  any
	state  int // 1 being evaluated, 2 known, 3 broken
	secure bool
	set    bool
}

// deployed reads an ARM deployment template: every image template in it.
func (l *loader) deployment(root *jsonNode) {
	d := l.newDeployment(root)
	d.parameters()
	if n := root.get("variables"); n != nil && n.kind == '{' {
		for _, f := range n.fields {
			d.vars[strings.ToLower(f.name)] = &armValue{node: f.value}
		}
	}
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
	found := 0
	for _, r := range resources(root) {
		t := r.get("type")
		if t == nil || t.kind != '"' {
			l.problems.Errorf(at(r.at), `add "type"`, "a resource has no type")
			continue
		}
		typ := t.text
		if v, ok := d.text(t); ok {
			typ = v
		}
		if !strings.EqualFold(typ, imageTemplateType) {
			continue
		}
		if c := r.get("condition"); c != nil {
			if v, err := d.eval(c); err == nil && v.kind == 'f' {
				continue
			}
		}
		if c := r.get("copy"); c != nil {
			l.problems.Errorf(at(c.at), "write the resources out", "a copy loop around an image template is not supported")
			continue
		}
		found++
		n, err := d.eval(r)
		if err != nil {
			continue // said already
		}
		l.imageTemplate(n, d)
	}
	if found == 0 && !l.problems.HasErrors() {
		l.problems.Errorf(diag.Pos{File: root.at.Filename, Line: 1, Column: 1}, "name a template that deploys one", "the deployment template has no resource of type %s", imageTemplateType)
	}
	d.leftOver()
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
		Deployment: "ingot", Now: l.o.Now, Budget: armexpr.NewBudget(), Parameter: d.parameter, Variable: d.variable}
	for _, text := range l.o.Vars {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			l.problems.Errorf(diag.Pos{}, "write -var name=value", "-var %s has no value", name)
			continue
		}
		d.fills[name] = value
	}
	return d
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
		if p := d.params[strings.ToLower(f.name)]; !p.set && f.value.get("defaultValue") == nil {
			d.problems.Errorf(at(f.at), "set it with -var "+f.name+"=… or a parameters file (-var-file)", "parameter %q has no value", f.name)
			p.state = 3
		}
	}
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
	s, isText := p.value.(string)
	for key, wrong := range map[string]func(limit float64) bool{"minLength": func(n float64) bool { return isText && float64(len(s)) < n }, "maxLength": func(n float64) bool { return isText && float64(len(s)) > n }} {
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
	case v.state == 3 || n == nil:
		return nil, errSaid
	case v.state == 1:
		return nil, fmt.Errorf("%s %q depends on itself", what, name)
	}
	v.state = 1
	out, err := d.eval(n)
	if err != nil {
		v.state = 3
		return nil, errSaid
	}
	v.value, v.state = out.plain(), 2
	if v.secure {
		d.hideValue(v.value)
	}
	return v.value, nil
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
			name := f.name
			if k, err := d.evalText(&jsonNode{kind: '"', text: name, at: f.at}); err == nil && k.kind == '"' {
				name = k.text
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

// hole is a placeholder as Microsoft's examples have them, to be replaced with a text substitution: <region>.
var hole = regexp.MustCompile(`<[A-Za-z][A-Za-z0-9_.-]*>`)

func (d *deployment) evalText(n *jsonNode) (*jsonNode, error) {
	out := *n
	if !d.bare && armexpr.IsExpression(n.text) {
		v, err := armexpr.Evaluate(n.text, d.scope)
		if err != nil {
			d.expression(n, err)
			return nil, errSaid
		}
		x := d.node(v, n.at)
		return x, nil
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

// leftOver names what was given and is asked for nowhere.
func (d *deployment) leftOver() {
	for _, name := range keys(d.fills) {
		if !d.filled[name] {
			d.problems.Errorf(diag.Pos{}, meant(name, keys(d.params)), "-var sets %q, which is neither a parameter nor a <placeholder> of the template", name)
		}
	}
}

// placeholders names each <placeholder> that is left in what is no script, once, and reports whether n may be read.
func (d *deployment) placeholders(n *jsonNode, script bool) {
	switch n.kind {
	case '{':
		for _, f := range n.fields {
			d.placeholderIn(f.name, f.at, false)
			d.placeholders(f.value, slices.Contains([]string{"inline", "restartCommand", "restartCheckCommand", "searchCriteria", "filters"}, f.name))
		}
	case '[':
		for _, x := range n.items {
			d.placeholders(x, script)
		}
	case '"':
		d.placeholderIn(n.text, n.at, script)
	}
}

func (d *deployment) placeholderIn(text string, r hcl.Range, script bool) {
	if script {
		return
	}
	for _, h := range hole.FindAllString(text, -1) {
		if name := h[1 : len(h)-1]; !d.empty[name] {
			d.empty[name] = true
			d.problems.Errorf(at(r), "set it with -var "+name+"=…, or write the value into the file", "the placeholder %s has no value", h)
		}
	}
}
