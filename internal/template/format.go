package template

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"ingot/internal/diag"
	"ingot/internal/template/armexpr"
)

// Formatted reports whether files of this name have a canonical form: HCL, not its JSON form.
func Formatted(name string) bool {
	return strings.HasSuffix(name, ".pkr.hcl") || strings.HasSuffix(name, ".pkrvars.hcl") || strings.HasSuffix(name, ".ingot.hcl")
}

// Format gives HCL its canonical form; comments and everything else stay. A file that cannot be read is not touched.
func Format(name string, raw []byte) ([]byte, diag.List) {
	l := &loader{r: &Result{Sources: diag.Sources{name: raw}}}
	if err := bounded(raw); err != nil {
		l.problems.Errorf(diag.Pos{File: name}, "", "cannot format the file: %v", err)
		return nil, l.problems
	}
	_, problems := hclsyntax.ParseConfig(raw, name, hcl.InitialPos)
	l.note(problems)
	if problems.HasErrors() {
		return nil, l.problems
	}
	return hclwrite.Format(raw), l.problems
}

// Evaluate gives an expression the value that it has in the template: HCL, a text with {{ }}, or an ARM expression in brackets, as
// the template's language is. A value that is sensitive is not shown.
func (r *Result) Evaluate(text string) (string, diag.List) {
	if r.evaluate == nil {
		return "", diag.List{{Severity: diag.Error, Summary: "there is nothing to evaluate in: the template could not be read"}}
	}
	return r.evaluate(text)
}

// console is Evaluate for HCL.
func (l *loader) console(text string) (string, diag.List) {
	c := &loader{r: &Result{Sources: diag.Sources{}}}
	if err := bounded([]byte(text)); err != nil {
		c.problems.Errorf(diag.Pos{}, "", "cannot evaluate: %v", err)
		return "", c.problems
	}
	e, problems := hclsyntax.ParseExpression([]byte(text), "console", hcl.InitialPos)
	if !problems.HasErrors() {
		var v cty.Value
		v, problems = e.Value(l.context(nil))
		if !problems.HasErrors() {
			return shownValue(v), nil
		}
	}
	c.note(problems)
	for i := range c.problems {
		p := &c.problems[i]
		p.Pos.File, p.Pos.Line = "", 0
		for _, s := range l.r.SensitiveValues {
			p.Summary, p.Detail = strings.ReplaceAll(p.Summary, s, hidden), strings.ReplaceAll(p.Detail, s, hidden)
		}
	}
	return "", c.problems
}

// shownValue is a value as HCL, its sensitive parts left out.
func shownValue(v cty.Value) string {
	v, err := cty.Transform(v, func(_ cty.Path, x cty.Value) (cty.Value, error) {
		if x.IsMarked() {
			return cty.StringVal(hidden), nil
		}
		return x, nil
	})
	if err != nil || !v.IsWhollyKnown() {
		return "(known only when the template is built)"
	}
	v, _ = v.UnmarkDeep()
	return string(hclwrite.Format(hclwrite.TokensForValue(v).Bytes()))
}

// console is Evaluate for Packer's older language.
func (g *legacy) console(text string) (string, diag.List) {
	var l diag.List
	e := g.engine("", "azure-arm")
	e.EnvAllowed = true
	r, err := e.Expand(text)
	if err != nil {
		l.Errorf(diag.Pos{}, "", "%v", err)
		return "", l
	}
	if r.Secret {
		return hidden, nil
	}
	return r.Text, nil
}

// console is Evaluate for a deployment template. The brackets may be left out.
func (d *deployment) console(text string) (string, diag.List) {
	var l diag.List
	if !armexpr.IsExpression(text) {
		text = "[" + text + "]"
	}
	v, err := armexpr.Evaluate(text, d.scope)
	if err != nil {
		if strings.Contains(err.Error(), errSaid.Error()) {
			err = fmt.Errorf("what it names has no value: see above")
		}
		l.Errorf(diag.Pos{}, "", "%v", err)
		return "", l
	}
	if d.tainted(text, 0) {
		return hidden, nil
	}
	n := d.node(v, hcl.Range{})
	x, problems := jsonExpr{n: n}.Value(nil)
	if problems.HasErrors() {
		l.Errorf(diag.Pos{}, "", "%v", problems)
		return "", l
	}
	if s, ok := v.(string); ok && !n.secret {
		return fmt.Sprintf("%q", s), nil
	}
	return shownValue(x), nil
}
