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
	loops  []armLoop
	depth  int             // of nested deployments and functions
	empty  map[string]bool // placeholders without a value, said once each
}

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
		l.problems.Errorf(diag.Pos{File: root.at.Filename, Line: 1, Column: 1}, "name a template that deploys one", "the deployment template has no resource of type %s", imageTemplateType)
	}
	d.leftOver()
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
		if !strings.EqualFold(typ, imageTemplateType) && !nested {
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
		err := d.each(r.get("copy"), r.get("name"), func() {
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

// most is how often Azure runs a copy loop at most (https://learn.microsoft.com/azure/azure-resource-manager/templates/copy-resources).
const most = 800

// each calls f once, or as often as a copy loop says.
func (d *deployment) each(loop, _ *jsonNode, f func()) error {
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
	err := d.each(item, nil, func() {
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
			if v, err := d.eval(value); err == nil {
				to.value, to.state = v.plain(), 2
				if to.secure {
					d.hideValue(to.value)
				}
			}
		}
	}
	for name, p := range n.params {
		if !p.set && p.node.get("defaultValue") == nil && p.node.get("nullable") == nil {
			d.problems.Errorf(at(r.at), "add it to the nested deployment's parameters", "parameter %q of the nested deployment has no value", name)
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
