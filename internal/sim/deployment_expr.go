package sim

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"strings"
)

// The expressions of deployment templates, as far as the templates go that Packer, az and portal exports send
// (learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions; azure-protocol.md section 4). What is not known is an
// error that names it. The simulated Azure must not share this with the program's own reader of templates: a mistake in both would
// pass.

// armScope is what an expression can refer to.
type armScope struct {
	params, vars map[string]any
	group        map[string]any
	subscription map[string]any
	deployment   string
	index        map[string]int
	reference    func(id string, full bool) (any, error)
	call         int // how deep
}

var errExpression = errors.New("the expression is not valid")

// value evaluates whatever stands in a template: texts in brackets are expressions, everything else is what it is.
func (s *armScope) value(v any) (any, error) {
	switch x := v.(type) {
	case string:
		switch {
		case strings.HasPrefix(x, "[["):
			return x[1:], nil
		case strings.HasPrefix(x, "[") && strings.HasSuffix(x, "]"):
			e := &armParser{text: x[1 : len(x)-1], s: s}
			out, err := e.expression(0)
			if err == nil && e.skip() != 0 {
				err = errExpression
			}
			if err != nil {
				return nil, fmt.Errorf("unable to evaluate template expression '%s': %w", x, err)
			}
			return out, nil
		}
	case []any:
		out := make([]any, 0, len(x))
		for _, y := range x {
			z, err := s.value(y)
			if err != nil {
				return nil, err
			}
			out = append(out, z)
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, y := range x {
			key, err := s.value(k)
			if err != nil {
				return nil, err
			}
			name, ok := key.(string)
			if !ok {
				return nil, errExpression
			}
			if out[name], err = s.value(y); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

type armParser struct {
	text string
	at   int
	s    *armScope
}

// skip passes spaces and returns the next byte, 0 at the end.
func (p *armParser) skip() byte {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

const armDepth = 60

func (p *armParser) expression(depth int) (v any, err error) {
	if depth > armDepth {
		return nil, errors.New("it is nested too deeply")
	}
	switch c := p.skip(); {
	case c == '\'':
		v, err = p.quoted()
	case c == '-' || c >= '0' && c <= '9':
		from := p.at
		p.at++
		for p.at < len(p.text) && (p.text[p.at] >= '0' && p.text[p.at] <= '9' || p.text[p.at] == '.') {
			p.at++
		}
		v, err = strconv.ParseFloat(p.text[from:p.at], 64)
	default:
		v, err = p.function(depth)
	}
	for err == nil {
		switch p.skip() {
		case '.':
			p.at++
			p.skip()
			v, err = member(v, p.word())
		case '[':
			p.at++
			var i any
			if i, err = p.expression(depth + 1); err != nil {
				return nil, err
			}
			if p.skip() != ']' {
				return nil, errExpression
			}
			p.at++
			v, err = element(v, i)
		default:
			return v, nil
		}
	}
	return nil, err
}

func (p *armParser) quoted() (any, error) {
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		if c := p.text[p.at]; c != '\'' {
			b.WriteByte(c)
		} else if p.at+1 < len(p.text) && p.text[p.at+1] == '\'' {
			b.WriteByte('\'')
			p.at++
		} else {
			p.at++
			return b.String(), nil
		}
	}
	return nil, errExpression
}

func (p *armParser) word() string {
	from := p.at
	for p.at < len(p.text) && (p.text[p.at] == '_' || p.text[p.at] >= '0' && p.text[p.at] <= '9' || p.text[p.at]|32 >= 'a' && p.text[p.at]|32 <= 'z') {
		p.at++
	}
	return p.text[from:p.at]
}

func (p *armParser) function(depth int) (any, error) {
	name := strings.ToLower(p.word())
	if name == "" || p.skip() != '(' {
		return nil, errExpression
	}
	p.at++
	var args []any
	// Only the branch that holds is evaluated for its errors.
	for p.skip() != ')' {
		v, err := p.expression(depth + 1)
		if err != nil {
			return nil, err
		}
		args = append(args, v)
		if c := p.skip(); c == ',' {
			p.at++
		} else if c != ')' {
			return nil, errExpression
		}
	}
	p.at++
	return p.s.apply(name, args)
}

func member(v any, name string) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the property '%s' can't be selected", name)
	}
	for k, x := range m {
		if strings.EqualFold(k, name) {
			return x, nil
		}
	}
	return nil, fmt.Errorf("the language expression property '%s' doesn't exist", name)
}

func element(v, i any) (any, error) {
	if name, ok := i.(string); ok {
		return member(v, name)
	}
	list, ok := v.([]any)
	n, isNumber := i.(float64)
	if !ok || !isNumber || n < 0 || int(n) >= len(list) {
		return nil, fmt.Errorf("the array index '%v' is out of bounds", i)
	}
	return list[int(n)], nil
}

// apply calls a function. Numbers are float64 as in JSON.
func (s *armScope) apply(name string, a []any) (any, error) {
	str := func(i int) string {
		if i >= len(a) {
			return ""
		}
		switch x := a[i].(type) {
		case string:
			return x
		case float64:
			return strconv.FormatFloat(x, 'f', -1, 64)
		case bool:
			return map[bool]string{true: "True", false: "False"}[x]
		case nil:
			return ""
		}
		raw, err := json.Marshal(a[i])
		if err != nil {
			return ""
		}
		return string(raw)
	}
	num := func(i int) float64 {
		if i < len(a) {
			if f, ok := a[i].(float64); ok {
				return f
			}
		}
		return 0
	}
	at := func(i int) any {
		if i < len(a) {
			return a[i]
		}
		return nil
	}
	yes := func(i int) bool { b, _ := at(i).(bool); return b }
	switch name {
	case "parameters", "variables":
		from, kind := s.params, "parameter"
		if name == "variables" {
			from, kind = s.vars, "variable"
		}
		for k, v := range from {
			if strings.EqualFold(k, str(0)) {
				if s.call++; s.call > armDepth {
					return nil, errors.New("it refers to itself")
				}
				defer func() { s.call-- }()
				return s.value(v)
			}
		}
		return nil, fmt.Errorf("the template %s '%s' is not found", kind, str(0))
	case "resourcegroup":
		return s.group, nil
	case "subscription":
		return s.subscription, nil
	case "deployment":
		return map[string]any{"name": s.deployment}, nil
	case "copyindex":
		loop, offset := "", 0.0
		if x, ok := at(0).(string); ok {
			loop, offset = x, num(1)
		} else {
			offset = num(0)
		}
		i, ok := s.index[strings.ToLower(loop)]
		if !ok {
			return nil, errors.New("copyIndex is used outside of a copy loop")
		}
		return float64(i) + offset, nil
	case "resourceid":
		return s.resourceID(a)
	case "subscriptionresourceid":
		return "/subscriptions/" + text(s.subscription, "subscriptionId") + "/providers/" + typeAndNames(str(0), a[min(1, len(a)):]), nil
	case "reference":
		if s.reference == nil {
			return nil, errors.New("the template function 'reference' is not expected at this location")
		}
		return s.reference(str(0), strings.EqualFold(str(2), "Full"))
	case "concat":
		if list, ok := at(0).([]any); ok {
			out := append([]any{}, list...)
			for _, x := range a[1:] {
				more, _ := x.([]any)
				out = append(out, more...)
			}
			return out, nil
		}
		var b strings.Builder
		for i := range a {
			b.WriteString(str(i))
		}
		return b.String(), nil
	case "format":
		out := str(0)
		for i := range a[min(1, len(a)):] {
			out = strings.ReplaceAll(out, "{"+strconv.Itoa(i)+"}", str(i+1))
		}
		return out, nil
	case "string":
		return str(0), nil
	case "int":
		n, err := strconv.ParseFloat(str(0), 64)
		return n, err
	case "bool":
		return strings.EqualFold(str(0), "true") || num(0) == 1, nil
	case "tolower":
		return strings.ToLower(str(0)), nil
	case "toupper":
		return strings.ToUpper(str(0)), nil
	case "trim":
		return strings.TrimSpace(str(0)), nil
	case "replace":
		return strings.ReplaceAll(str(0), str(1), str(2)), nil
	case "split":
		return anys(strings.Split(str(0), str(1))), nil
	case "join":
		return strings.Join(texts(at(0)), str(1)), nil
	case "substring":
		from, n := int(num(1)), len(str(0))-int(num(1))
		if len(a) > 2 {
			n = int(num(2))
		}
		if from < 0 || n < 0 || from+n > len(str(0)) {
			return nil, errors.New("the index and length parameters must refer to a location within the string")
		}
		return str(0)[from : from+n], nil
	case "startswith":
		return strings.HasPrefix(strings.ToLower(str(0)), strings.ToLower(str(1))), nil
	case "endswith":
		return strings.HasSuffix(strings.ToLower(str(0)), strings.ToLower(str(1))), nil
	case "indexof":
		return float64(strings.Index(strings.ToLower(str(0)), strings.ToLower(str(1)))), nil
	case "padleft":
		fill := " "
		if len(a) > 2 {
			fill = str(2)
		}
		return strings.Repeat(fill, max(0, min(int(num(1)), 1000)-len(str(0)))) + str(0), nil
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(str(0))), nil
	case "base64tostring":
		raw, err := base64.StdEncoding.DecodeString(str(0))
		return string(raw), err
	case "json":
		var v any
		err := json.Unmarshal([]byte(str(0)), &v)
		return v, err
	case "uniquestring", "guid":
		h := fnv.New64a()
		for i := range a {
			h.Write([]byte(str(i) + "\x00")) //nolint:errcheck // a hash does not fail
		}
		if name == "guid" {
			return fmt.Sprintf("%08x-0000-5000-8000-%012x", h.Sum64()>>32, h.Sum64()&0xffffffffffff), nil
		}
		return strings.ToLower(strconv.FormatUint(h.Sum64(), 32) + "aaaaaaaaaaaaa")[:13], nil
	case "if":
		if yes(0) {
			return at(1), nil
		}
		return at(2), nil
	case "not":
		return !yes(0), nil
	case "and", "or":
		for i := range a {
			if yes(i) != (name == "and") {
				return name == "or", nil
			}
		}
		return name == "and", nil
	case "true", "false":
		return name == "true", nil
	case "null":
		return nil, nil
	case "equals":
		return fmt.Sprintf("%T%v", at(0), at(0)) == fmt.Sprintf("%T%v", at(1), at(1)), nil
	case "less", "lessorequals", "greater", "greaterorequals":
		c := math.Copysign(1, num(0)-num(1))
		if num(0) == num(1) {
			c = 0
		}
		return map[string]bool{"less": c < 0, "lessorequals": c <= 0, "greater": c > 0, "greaterorequals": c >= 0}[name], nil
	case "add":
		return num(0) + num(1), nil
	case "sub":
		return num(0) - num(1), nil
	case "mul":
		return num(0) * num(1), nil
	case "div", "mod":
		if num(1) == 0 {
			return nil, errors.New("division by zero")
		}
		if name == "mod" {
			return math.Mod(num(0), num(1)), nil
		}
		return math.Trunc(num(0) / num(1)), nil
	case "min", "max":
		list := a
		if l, ok := at(0).([]any); ok {
			list = l
		}
		var best float64
		for i, x := range list {
			if f, ok := x.(float64); ok && (i == 0 || name == "min" && f < best || name == "max" && f > best) {
				best = f
			}
		}
		return best, nil
	case "empty":
		switch x := at(0).(type) {
		case nil:
			return true, nil
		case string:
			return x == "", nil
		case []any:
			return len(x) == 0, nil
		case map[string]any:
			return len(x) == 0, nil
		}
		return false, nil
	case "length":
		switch x := at(0).(type) {
		case string:
			return float64(len(x)), nil
		case []any:
			return float64(len(x)), nil
		case map[string]any:
			return float64(len(x)), nil
		}
		return 0.0, nil
	case "contains":
		switch x := at(0).(type) {
		case string:
			return strings.Contains(x, str(1)), nil
		case map[string]any:
			_, err := member(x, str(1))
			return err == nil, nil
		case []any:
			for _, y := range x {
				if fmt.Sprint(y) == str(1) {
					return true, nil
				}
			}
		}
		return false, nil
	case "first", "last":
		list, ok := at(0).([]any)
		if x, isText := at(0).(string); isText && x != "" {
			list, ok = []any{x[:1], x[len(x)-1:]}, true
		}
		if !ok || len(list) == 0 {
			return nil, nil
		}
		if name == "first" {
			return list[0], nil
		}
		return list[len(list)-1], nil
	case "take", "skip":
		n := int(num(1))
		if x, ok := at(0).(string); ok {
			n = max(0, min(n, len(x)))
			return map[string]string{"take": x[:n], "skip": x[n:]}[name], nil
		}
		list, _ := at(0).([]any)
		n = max(0, min(n, len(list)))
		if name == "take" {
			return append([]any{}, list[:n]...), nil
		}
		return append([]any{}, list[n:]...), nil
	case "range":
		out := []any{}
		for i := 0; i < int(num(1)) && i < 10000; i++ {
			out = append(out, num(0)+float64(i))
		}
		return out, nil
	case "createarray":
		return append([]any{}, a...), nil
	case "array":
		if l, ok := at(0).([]any); ok {
			return l, nil
		}
		return []any{at(0)}, nil
	case "createobject":
		out := map[string]any{}
		for i := 0; i+1 < len(a); i += 2 {
			out[str(i)] = a[i+1]
		}
		return out, nil
	case "union":
		if _, ok := at(0).(map[string]any); ok {
			out := map[string]any{}
			for _, x := range a {
				m, _ := x.(map[string]any)
				out = merged(out, m)
			}
			return out, nil
		}
		out := []any{}
		for _, x := range a {
			l, _ := x.([]any)
			out = append(out, l...)
		}
		return out, nil
	case "coalesce":
		for _, x := range a {
			if x != nil {
				return x, nil
			}
		}
		return nil, nil
	}
	return nil, fmt.Errorf("the template function '%s' is not valid, or not known to the simulated Azure", name)
}

// resourceID is the function's id: optionally a subscription and a group, then a type and as many names as it has parts.
func (s *armScope) resourceID(a []any) (any, error) {
	var parts []string
	for _, x := range a {
		p, ok := x.(string)
		if !ok {
			return nil, errors.New("resourceId takes texts")
		}
		parts = append(parts, p)
	}
	sub, group := text(s.subscription, "subscriptionId"), text(s.group, "name")
	for i, p := range parts {
		if !strings.Contains(p, "/") {
			continue
		}
		// A slash at the end does no harm: packer-plugin-azure's key vault template has 'Microsoft.KeyVault/vaults/', and real
		// Resource Manager deploys it.
		p = strings.TrimRight(p, "/")
		if len(parts)-i-1 != strings.Count(p, "/") {
			return nil, errors.New("resourceId needs a name for each part of the type")
		}
		switch i {
		case 1:
			group = parts[0]
		case 2:
			sub, group = parts[0], parts[1]
		}
		return "/subscriptions/" + sub + "/resourceGroups/" + group + "/providers/" + typeAndNames(p, a[i+1:]), nil
	}
	return nil, errors.New("resourceId needs a type")
}

// typeAndNames interleaves Namespace/type/subtype with its names.
func typeAndNames(typ string, names []any) string {
	t := strings.Split(typ, "/")
	out := t[0]
	for i, part := range t[1:] {
		out += "/" + part
		if i < len(names) {
			out += "/" + textOf(names[i])
		}
	}
	return out
}
