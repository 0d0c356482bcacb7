package template

import (
	"encoding/json"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// An expression of HCL can make its result far larger than its text: texts that name texts, loops in loops. Its library has no
// limit, so what an expression could grow to is estimated before it is evaluated. Sizes are bytes, with 16 for every element.
const (
	mostOfExpression = 32 << 20
	mostOfTemplate   = 256 << 20
	unknownRange     = 10_000 // elements of range() with arguments that are not known yet
)

// affordable reports whether an expression may be evaluated; if not, it has said why.
func (l *loader) affordable(e hcl.Expression) bool {
	g := &growth{l: l, scope: map[string]amount{}}
	n := g.of(e)
	if l.spent += int(min(n.work, mostOfTemplate)); n.work <= mostOfExpression && l.spent <= mostOfTemplate {
		return true
	}
	what := "this expression could grow to more than 32 MiB"
	if n.work <= mostOfExpression {
		what = "the expressions of the template could grow to more than 256 MiB together"
	}
	l.problems.Errorf(at(e.Range()), "make the lists shorter, or use fewer loops inside loops", "%s", what)
	return false
}

// amount is what a value takes, and what making it takes; elements is how often a loop over it runs.
type amount struct{ size, elements, work float64 }

type growth struct {
	l     *loader
	scope map[string]amount // loop variables
	depth int
}

// sizeOf is about what a value takes.
func sizeOf(v cty.Value) amount {
	v, _ = v.UnmarkDeep()
	total := 0.0
	cty.Walk(v, func(_ cty.Path, x cty.Value) (bool, error) { //nolint:errcheck // the function returns no error
		total += 16
		if x.Type() == cty.String && x.IsKnown() && !x.IsNull() {
			total += float64(len(x.AsString()))
		}
		return total < mostOfTemplate, nil
	})
	a := amount{size: total, work: 16}
	if v.IsKnown() && !v.IsNull() && v.CanIterateElements() {
		a.elements = float64(v.LengthInt())
	}
	return a
}

func (g *growth) sum(list ...hclsyntax.Expression) amount {
	var out amount
	for _, e := range list {
		if e == nil {
			continue
		}
		n := g.expression(e)
		out.size += 16 + n.size
		out.work += 16 + n.work
	}
	out.elements = float64(len(list))
	return out
}

// of estimates an expression of either form.
func (g *growth) of(e hcl.Expression) amount {
	if native, ok := e.(hclsyntax.Expression); ok {
		return g.expression(native)
	}
	// HCL's JSON form does not show its expressions: they are read again from the file.
	r := e.Range()
	raw := g.l.r.Sources[r.Filename]
	if r.End.Byte > len(raw) || !strings.HasSuffix(r.Filename, ".json") {
		total := amount{work: 16}
		for _, t := range e.Variables() {
			n := g.traversal(t)
			total.size, total.work = total.size+n.size, total.work+n.size
		}
		return total
	}
	var v any
	if json.Unmarshal(raw[r.Start.Byte:r.End.Byte], &v) != nil {
		return amount{work: 16}
	}
	return g.json(v)
}

func (g *growth) json(v any) amount {
	out := amount{size: 16, work: 16}
	add := func(n amount) {
		out.size, out.work, out.elements = out.size+n.size, out.work+n.work, out.elements+1
	}
	switch v := v.(type) {
	case string:
		e, problems := hclsyntax.ParseTemplate([]byte(v), "", hcl.InitialPos)
		if problems.HasErrors() {
			return amount{size: float64(len(v)), work: float64(len(v))}
		}
		return g.expression(e)
	case []any:
		for _, x := range v {
			add(g.json(x))
		}
	case map[string]any:
		for k, x := range v {
			out.size += float64(len(k))
			add(g.json(x))
		}
	}
	return out
}

// traversal is the value that a name stands for.
func (g *growth) traversal(t hcl.Traversal) amount {
	if n, ok := g.scope[t.RootName()]; ok {
		return n
	}
	if len(t) > 1 {
		name := ""
		switch s := t[1].(type) {
		case hcl.TraverseAttr:
			name = s.Name
		case hcl.TraverseIndex:
			if s.Key.Type() == cty.String && s.Key.IsKnown() && !s.Key.IsNull() {
				name = s.Key.AsString()
			}
		}
		switch t.RootName() {
		case "local":
			if x := g.l.locals[name]; x != nil && x.state == 2 {
				if x.size == (amount{}) {
					x.size = sizeOf(x.value)
				}
				return x.size
			}
		case "var":
			if v, ok := g.l.values[name]; ok {
				return sizeOf(v)
			}
		}
	}
	return amount{size: 256, elements: 16, work: 16}
}

func (g *growth) expression(e hclsyntax.Expression) amount {
	if g.depth++; g.depth > 4000 {
		return amount{work: mostOfTemplate}
	}
	defer func() { g.depth-- }()
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return sizeOf(e.Val)
	case *hclsyntax.TemplateExpr:
		n := g.sum(e.Parts...)
		n.work += n.size
		return n
	case *hclsyntax.TemplateWrapExpr:
		return g.expression(e.Wrapped)
	case *hclsyntax.TemplateJoinExpr:
		n := g.expression(e.Tuple)
		n.work += n.size
		return n
	case *hclsyntax.ParenthesesExpr:
		return g.expression(e.Expression)
	case *hclsyntax.ScopeTraversalExpr:
		return g.traversal(e.Traversal)
	case *hclsyntax.RelativeTraversalExpr:
		return g.expression(e.Source)
	case *hclsyntax.ObjectConsKeyExpr:
		return g.expression(e.Wrapped)
	case *hclsyntax.TupleConsExpr:
		return g.sum(e.Exprs...)
	case *hclsyntax.ObjectConsExpr:
		var list []hclsyntax.Expression
		for _, i := range e.Items {
			list = append(list, i.KeyExpr, i.ValueExpr)
		}
		n := g.sum(list...)
		n.elements /= 2
		return n
	case *hclsyntax.ConditionalExpr:
		c, a, b := g.expression(e.Condition), g.expression(e.TrueResult), g.expression(e.FalseResult)
		return amount{max(a.size, b.size), max(a.elements, b.elements), c.work + a.work + b.work}
	case *hclsyntax.BinaryOpExpr:
		n := g.sum(e.LHS, e.RHS)
		return amount{64, 0, n.work + n.size}
	case *hclsyntax.UnaryOpExpr:
		return amount{64, 0, g.expression(e.Val).work}
	case *hclsyntax.IndexExpr:
		n := g.sum(e.Collection, e.Key)
		c := g.expression(e.Collection)
		return amount{c.size, c.size / 16, n.work}
	case *hclsyntax.SplatExpr:
		n := g.expression(e.Source)
		if e.Item != nil {
			old, had := g.scope[""]
			g.scope[""] = amount{n.size, n.size / 16, 16}
			each := g.expression(e.Each)
			if delete(g.scope, ""); had {
				g.scope[""] = old
			}
			return amount{n.size, n.elements, n.work + max(n.elements, 1)*each.work}
		}
		return amount{n.size, n.elements, 2 * n.work}
	case *hclsyntax.AnonSymbolExpr:
		return g.scope[""]
	case *hclsyntax.ForExpr:
		return g.loop(e)
	case *hclsyntax.FunctionCallExpr:
		return g.call(e)
	}
	return amount{size: 256, elements: 16, work: 256}
}

// loop is what a for expression takes: its collection, and its body as often as that has elements. An element is no larger than
// the collection, and all of them together are as large.
func (g *growth) loop(e *hclsyntax.ForExpr) amount {
	c := g.expression(e.CollExpr)
	count := max(c.elements, 1)
	inner := &growth{l: g.l, scope: map[string]amount{}, depth: g.depth}
	for k, v := range g.scope {
		inner.scope[k] = v
	}
	element := amount{size: c.size / count, elements: c.size / 16 / count, work: 16}
	if e.KeyVar != "" {
		inner.scope[e.KeyVar] = amount{size: 64, work: 16}
	}
	inner.scope[e.ValVar] = element
	body := inner.sum(e.KeyExpr, e.ValExpr, e.CondExpr)
	return amount{count * body.size, count, c.work + c.size + count*(body.work+body.size)}
}

// call is what a function takes. Every function has a limit of its own, 4 MiB of text or 100,000 elements; most make nothing
// larger than what they are given.
func (g *growth) call(e *hclsyntax.FunctionCallExpr) amount {
	const text, members = 4 << 20, 100_000
	n := g.sum(e.Args...)
	if len(e.Args) == 1 {
		n.elements = g.expression(e.Args[0]).elements
	}
	out := amount{size: n.size + 64, elements: max(n.elements, n.size/16), work: n.work + n.size + 64}
	switch e.Name {
	case "range":
		out.elements = unknownRange
		if v, problems := e.Value(nil); !problems.HasErrors() {
			out = sizeOf(v)
		} else if f, ok := g.l.funcs.all["range"]; ok && len(e.Variables()) == 0 {
			args := make([]cty.Value, 0, len(e.Args))
			for _, a := range e.Args {
				v, problems := a.Value(nil)
				if problems.HasErrors() {
					break
				}
				args = append(args, v)
			}
			if v, err := f.Call(args); err == nil && len(args) == len(e.Args) {
				out = sizeOf(v)
			}
		}
		out.size = out.elements * 16
		out.work = n.work + out.size
	case "setproduct", "replace", "regex_replace", "join", "formatlist", "format", "templatefile", "file", "filebase64", "yamldecode", "jsondecode", "jsonencode", "yamlencode", "csvdecode", "indent", "fileset", "cidrsubnets":
		grown := min(n.size*n.size/16+1024, text)
		out = amount{size: grown, elements: min(grown/16, members), work: n.work + n.size + min(grown, 1<<16)}
	}
	return out
}
