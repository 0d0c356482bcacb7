package armexpr

import (
	"cmp"
	"slices"
	"strings"
)

// withLambda are the functions that take an expression with names of its own
// (https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-lambda).
func (e *evaluation) withLambda(n *node, name string) (any, bool, error) {
	if name == "lambdavariables" {
		if len(n.args) == 1 && n.args[0].kind == 's' {
			if v, ok := e.lambda[strings.ToLower(n.args[0].text)]; ok {
				return v, true, nil
			}
		}
		return nil, true, e.fail(n, "", "%s names nothing that a lambda has", n.text)
	}
	least, ok := map[string]int{"map": 2, "filter": 2, "sort": 2, "reduce": 3, "toobject": 2, "groupby": 2, "mapvalues": 2}[name]
	if name == "lambda" {
		return nil, true, e.fail(n, "", "lambda is an argument of map, filter, reduce, sort and toObject")
	}
	if !ok {
		return nil, false, nil
	}
	if len(n.args) < least || len(n.args) > 3 {
		return nil, true, e.fail(n, "", "%s takes %d arguments, not %d", n.text, least, len(n.args))
	}
	over, err := e.eval(n.args[0])
	if err != nil {
		return nil, true, err
	}
	if m, isObject := over.(map[string]any); isObject && name == "mapvalues" {
		f, err := e.lambdaOf(n, n.args[1])
		if err != nil {
			return nil, true, err
		}
		out := map[string]any{}
		for k, v := range m {
			if out[k], err = f(v); err != nil {
				return nil, true, err
			}
		}
		return out, true, nil
	}
	list, isList := over.([]any)
	if !isList {
		return nil, true, e.fail(n.args[0], "", "%s goes over a list, and this is %s", n.text, kind(over))
	}
	if err := e.Budget.Spend(len(list), 0); err != nil {
		return nil, true, e.fail(n, "", "%v", err)
	}
	v, err := e.overList(n, name, list)
	if err == nil {
		if err := e.Budget.Spend(1, size(v)); err != nil {
			return nil, true, e.fail(n, "", "%v", err)
		}
	}
	return v, true, err
}

func (e *evaluation) overList(n *node, name string, list []any) (any, error) {
	at := 1
	if name == "reduce" {
		at = 2
	}
	f, err := e.lambdaOf(n, n.args[at])
	if err != nil {
		return nil, err
	}
	switch name {
	case "map", "filter":
		out := []any{}
		for i, x := range list {
			v, err := f(x, float64(i))
			if err != nil {
				return nil, err
			}
			if name == "map" {
				out = append(out, v)
			} else if keep, _ := v.(bool); keep {
				out = append(out, x)
			}
		}
		return out, nil
	case "reduce":
		sum, err := e.eval(n.args[1])
		for i, x := range list {
			if err != nil {
				return nil, err
			}
			sum, err = f(sum, x, float64(i))
		}
		return sum, err
	case "sort":
		out := slices.Clone(list)
		var wrong error
		slices.SortStableFunc(out, func(a, b any) int {
			less, err := f(a, b)
			wrong = cmp.Or(wrong, err)
			if before, _ := less.(bool); before {
				return -1
			}
			if more, _ := f(b, a); more == true {
				return 1
			}
			return 0
		})
		return out, wrong
	}
	value := func(x any) (any, error) { return x, nil }
	if len(n.args) == 3 {
		g, err := e.lambdaOf(n, n.args[2])
		if err != nil {
			return nil, err
		}
		value = func(x any) (any, error) { return g(x) }
	}
	out := map[string]any{}
	for _, x := range list {
		k, err := f(x)
		if err != nil {
			return nil, err
		}
		key, isText := k.(string)
		if !isText {
			return nil, e.fail(n, "", "the keys of %s are texts, and this is %s", n.text, kind(k))
		}
		v, err := value(x)
		if err != nil {
			return nil, err
		}
		if name == "groupby" {
			group, _ := out[key].([]any)
			v = append(group, v)
		}
		out[key] = v
	}
	return out, nil
}

// lambdaOf makes lambda('a', 'b', expression) a function of its names. More values than names are passed over.
func (e *evaluation) lambdaOf(n, l *node) (func(values ...any) (any, error), error) {
	if l.kind != 'f' || !strings.EqualFold(l.text, "lambda") || len(l.args) < 2 {
		return nil, e.fail(l, "write lambda('x', expression)", "%s takes a lambda here", n.text)
	}
	var names []string
	for _, a := range l.args[:len(l.args)-1] {
		if a.kind != 's' {
			return nil, e.fail(a, "", "the names of a lambda are texts")
		}
		names = append(names, strings.ToLower(a.text))
	}
	return func(values ...any) (any, error) {
		inner := &evaluation{e.Scope, map[string]any{}}
		for k, v := range e.lambda {
			inner.lambda[k] = v
		}
		for i, name := range names {
			if i < len(values) {
				inner.lambda[name] = values[i]
			}
		}
		return inner.eval(l.args[len(l.args)-1])
	}, nil
}
