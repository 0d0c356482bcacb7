package template

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// place finds what a function's path means: relative to the template's folder, as in Packer (its Functions take the folder of the
// template as their base), or to the working directory, where "${path.root}/x" starts.
func (l *loader) place(path string) string {
	if filepath.IsAbs(path) || strings.HasPrefix(path, "~") {
		return path
	}
	p := filepath.Join(l.abs(l.dir), path)
	if here := l.abs(path); !exists(p) && exists(here) {
		return here
	}
	return p
}

// onFile lets a function's first argument be a relative path, and refuses a file that is too large to be part of a template.
func (l *loader) onFile(f function.Function) function.Function {
	return function.New(&function.Spec{Params: f.Params(), Type: func(a []cty.Value) (cty.Type, error) { return f.ReturnTypeForValues(a) },
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			path := l.place(a[0].AsString())
			if err := smallFile(path); err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			if len(a) > 1 && strings.Contains(a[1].AsString(), "**") {
				if err := smallTree(path); err != nil {
					return cty.NilVal, err
				}
			}
			return f.Call(append([]cty.Value{cty.StringVal(path)}, a[1:]...))
		}})
}

// smallFile says nothing about what is not there: the function does.
func smallFile(path string) error {
	i, err := os.Stat(path)
	switch {
	case err != nil || i.IsDir():
		return nil
	case !i.Mode().IsRegular():
		return errors.New("not a regular file") // a device or a pipe may never end
	case i.Size() > maxText:
		return fmt.Errorf("the file is larger than %d bytes", maxText)
	}
	return nil
}

// smallTree keeps "**" from walking a whole disk.
func smallTree(root string) error {
	const most = 20_000
	n := 0
	err := filepath.WalkDir(root, func(string, fs.DirEntry, error) error {
		if n++; n > most {
			return fs.SkipAll
		}
		return nil
	})
	if n > most {
		return fmt.Errorf("there are more than %d files in the folder", most)
	}
	return err
}

var variableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// templateFile evaluates a file as an HCL template that sees only the variables given to it and every function but itself
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions/file/templatefile). all is read when it is called.
func (l *loader) templateFile(all map[string]function.Function) function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "vars", Type: cty.DynamicPseudoType}},
		Type: function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if t := a[1].Type(); !t.IsMapType() && !t.IsObjectType() {
				return cty.NilVal, function.NewArgErrorf(1, "a map is needed")
			}
			vars := a[1].AsValueMap()
			for name := range vars {
				if !variableName.MatchString(name) {
					return cty.NilVal, function.NewArgErrorf(1, "%q cannot be the name of a variable: letters, digits and underscores after a letter", name)
				}
			}
			path := l.place(a[0].AsString())
			if err := smallFile(path); err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "cannot read the file: %w", err)
			}
			if !utf8.Valid(raw) {
				return cty.NilVal, function.NewArgErrorf(0, "the file is not UTF-8")
			}
			expr, problems := hclsyntax.ParseTemplate(raw, a[0].AsString(), hcl.InitialPos)
			if problems.HasErrors() {
				return cty.NilVal, problems
			}
			for _, t := range expr.Variables() {
				if _, ok := vars[t.RootName()]; !ok {
					return cty.NilVal, function.NewArgErrorf(1, "the file uses %q, which is not given (%s)", t.RootName(), t.SourceRange())
				}
			}
			if d := loops(expr); d > 2 {
				return cty.NilVal, function.NewArgErrorf(0, "loops are nested deeper than 2")
			}
			inside := make(map[string]function.Function, len(all))
			for name, f := range all {
				inside[name] = f
			}
			inside["templatefile"] = refuse("templatefile", "a file that templatefile reads may not call it again")
			v, problems := expr.Value(&hcl.EvalContext{Variables: vars, Functions: inside})
			if problems.HasErrors() {
				return cty.NilVal, problems
			}
			return v, nil
		}})
}

// loops is the depth of nested for: with range(1024) each level multiplies the result.
func loops(expr hclsyntax.Expression) int {
	w := &loopDepth{}
	_ = hclsyntax.Walk(expr, w)
	return w.deepest
}

type loopDepth struct{ now, deepest int }

func (w *loopDepth) Enter(n hclsyntax.Node) hcl.Diagnostics {
	if _, ok := n.(*hclsyntax.ForExpr); ok {
		w.now++
		w.deepest = max(w.deepest, w.now)
	}
	return nil
}

func (w *loopDepth) Exit(n hclsyntax.Node) hcl.Diagnostics {
	if _, ok := n.(*hclsyntax.ForExpr); ok {
		w.now--
	}
	return nil
}
