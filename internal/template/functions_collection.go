package template

import (
	"fmt"

	"github.com/hashicorp/hcl/v2/ext/customdecode"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// indexOf finds a value in a list; cty's own index takes a key
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions/collection/index-fn).
func indexOf() function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}, {Name: "value", Type: cty.DynamicPseudoType}}, Type: function.StaticReturnType(cty.Number),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if t := a[0].Type(); !t.IsListType() && !t.IsTupleType() {
				return cty.NilVal, function.NewArgErrorf(0, "a list is needed")
			}
			i := 0
			for it := a[0].ElementIterator(); it.Next(); i++ {
				_, v := it.Element()
				eq, err := stdlib.Equal(v, a[1])
				if err != nil {
					continue
				}
				if !eq.IsKnown() {
					return cty.UnknownVal(cty.Number), nil
				}
				if eq.True() {
					return cty.NumberIntVal(int64(i)), nil
				}
			}
			return cty.NilVal, fmt.Errorf("the list does not hold the value")
		}})
}

func sum() function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "list", Type: cty.List(cty.Number)}}, Type: function.StaticReturnType(cty.Number),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if a[0].LengthInt() == 0 {
				return cty.NilVal, function.NewArgErrorf(0, "the list is empty")
			}
			total := cty.Zero
			for _, v := range a[0].AsValueSlice() {
				if v.IsNull() {
					return cty.NilVal, function.NewArgErrorf(0, "an element is null")
				}
				total = total.Add(v)
			}
			return total, nil
		}})
}

// truth is alltrue (of nothing: true) and anytrue (of nothing: false). Null is never true.
func truth(all bool) function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "list", Type: cty.List(cty.Bool)}}, Type: function.StaticReturnType(cty.Bool),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			result := cty.BoolVal(all)
			for _, v := range a[0].AsValueSlice() {
				switch {
				case !v.IsKnown():
					result = cty.UnknownVal(cty.Bool) // another member may still decide
				case (!v.IsNull() && v.True()) != all:
					return cty.BoolVal(!all), nil
				}
			}
			return result, nil
		}})
}

// length counts characters of a text as well as members of a collection or attributes of an object, as Packer's does; cty's own knows
// collections only (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions/collection/length).
func length() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true}}, Type: function.StaticReturnType(cty.Number),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			switch t := a[0].Type(); {
			case t == cty.String:
				return stdlib.Strlen(a[0])
			case t.IsObjectType():
				return cty.NumberIntVal(int64(len(t.AttributeTypes()))), nil
			}
			return stdlib.Length(a[0])
		},
	})
}

// lookup may be called without a default, which cty's own cannot: then the key must be there
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions/collection/lookup).
func lookup() function.Function {
	full := func(a []cty.Value) ([]cty.Value, error) {
		switch {
		case len(a) == 3:
			return a, nil
		case len(a) > 3:
			return nil, function.NewArgErrorf(3, "one default is enough")
		case !a[0].IsKnown() || !a[1].IsKnown():
			return append(a, cty.DynamicVal), nil
		}
		m, _ := a[0].Unmark()
		k, _ := a[1].Unmark()
		key := k.AsString()
		switch t := m.Type(); {
		case t.IsObjectType() && t.HasAttribute(key):
			return append(a, m.GetAttr(key)), nil
		case t.IsMapType():
			if has := m.HasIndex(k); has.IsKnown() && has.False() {
				return nil, function.NewArgErrorf(1, "the map has no key %q", key)
			}
			return append(a, cty.NullVal(t.ElementType())), nil
		}
		return append(a, cty.DynamicVal), nil // cty's own says that there is no such attribute, or that it is no map
	}
	any := function.Parameter{Type: cty.DynamicPseudoType, AllowMarked: true, AllowUnknown: true, AllowDynamicType: true}
	m, key, fallback := any, any, any
	m.Name, key.Name, key.Type, fallback.Name, fallback.AllowNull = "map", "key", cty.String, "default", true
	return function.New(&function.Spec{Params: []function.Parameter{m, key}, VarParam: &fallback,
		Type: func(a []cty.Value) (cty.Type, error) {
			if len(a) == 2 && a[0].IsKnown() && a[0].Type().IsObjectType() && a[1].IsKnown() {
				if k, _ := a[1].Unmark(); !a[0].Type().HasAttribute(k.AsString()) {
					return cty.NilType, function.NewArgErrorf(1, "the map has no key %q", k.AsString())
				}
			}
			b, err := full(a[:len(a):len(a)])
			if err != nil {
				return cty.NilType, err
			}
			return stdlib.LookupFunc.ReturnTypeForValues(b)
		},
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			b, err := full(a[:len(a):len(a)])
			if err != nil {
				return cty.NilVal, err
			}
			return stdlib.LookupFunc.Call(b)
		}})
}

// can is hcl's own, except that the answer about something sensitive is sensitive: whether regex(...) fits a password says something
// about the password.
func can() function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "expression", Type: customdecode.ExpressionClosureType}}, Type: function.StaticReturnType(cty.Bool),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			closure := customdecode.ExpressionClosureFromVal(a[0])
			v, problems := closure.Value()
			answer := cty.BoolVal(!problems.HasErrors())
			if answer.True() && !v.IsWhollyKnown() {
				answer = cty.UnknownVal(cty.Bool)
			}
			for _, t := range closure.Expression.Variables() {
				if x, problems := t.TraverseAbs(closure.EvalContext); !problems.HasErrors() {
					_, marks := x.UnmarkDeep()
					answer = answer.WithMarks(marks)
				}
			}
			return answer, nil
		}})
}
