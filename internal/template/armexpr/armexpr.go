// Package armexpr evaluates the expressions of ARM deployment templates: "[concat(parameters('name'), '-img')]". It knows the
// functions that need no deployed resource; the others are errors that say why
// (https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions). It knows nothing of files or images.
// Whatever an expression does, its work and its results are bounded.
package armexpr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scope is what an expression may look at. Values are Go's JSON values: nil, bool, float64, string, []any and map[string]any.
type Scope struct {
	Parameter, Variable func(name string) (any, error)
	// CopyIndex is where a copy loop is, from 0; of the innermost one for "". Nil: there is none.
	CopyIndex func(loop string) (int, error)
	// Function calls a function that the template defines itself, namespace.name. Nil: there is none.
	Function       func(name string, args []any) (any, error)
	SubscriptionID string
	TenantID       string
	ResourceGroup  string
	Location       string // of the resource group
	Deployment     string
	Now            time.Time
	// StandIn is told of a function whose value Azure alone knows; something of the same form stands for it. Nil: nobody is.
	StandIn func(function string)
	// Budget is what all expressions of one template may use together; NewBudget makes one.
	Budget *Budget
}

// Budget bounds the work and the text of a whole template: variables that expand variables grow without end otherwise.
type Budget struct{ steps, bytes int }

// NewBudget allows a million steps and 16 MiB of text.
func NewBudget() *Budget { return &Budget{1_000_000, 16 << 20} }

// Spend takes from the budget; the error says that it is used up.
func (b *Budget) Spend(steps, bytes int) error {
	if b == nil {
		return nil
	}
	b.steps -= steps
	b.bytes -= bytes
	if b.steps < 0 || b.bytes < 0 {
		return fmt.Errorf("the template's expressions grow beyond a million steps or 16 MiB")
	}
	return nil
}

// Error is what is wrong with an expression; Offset and Length are its place in the text, in bytes.
type Error struct {
	Offset, Length int
	Reason, Remedy string
	Deployed       bool // only a deployment knows the value: it asks a resource
}

func (e *Error) Error() string { return e.Reason }

// IsExpression reports whether a text is one: it stands in brackets, and "[[" escapes the bracket.
func IsExpression(s string) bool {
	return len(s) >= 2 && s[0] == '[' && s[len(s)-1] == ']' && !strings.HasPrefix(s, "[[")
}

// Literal is a text that is no expression, without its escape.
func Literal(s string) string {
	if strings.HasPrefix(s, "[[") {
		return s[1:]
	}
	return s
}

// Evaluate gives an expression its value.
func Evaluate(s string, scope *Scope) (any, error) {
	if !IsExpression(s) {
		return Literal(s), nil
	}
	if len(s) > 1<<17 {
		return nil, &Error{Length: 1, Reason: "the expression is longer than 128 KiB"}
	}
	p := &parser{s: s, at: 1, end: len(s) - 1}
	n, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < p.end {
		return nil, p.fail(p.at, 1, "", "%q is not expected here", p.s[p.at:p.at+1])
	}
	if scope.Budget == nil {
		c := *scope
		c.Budget = NewBudget()
		scope = &c
	}
	e := &evaluation{Scope: scope}
	return e.eval(n)
}

// node is a part of an expression.
type node struct {
	at, end int
	kind    byte // 's' text, 'n' number, 'f' call, '.' member, '[' index
	text    string
	num     float64
	args    []*node // of a call; the object, and for an index the index
	safe    bool    // .? and [?
}

type parser struct {
	s       string
	at, end int
}

func (p *parser) fail(at, length int, remedy, format string, args ...any) error {
	return &Error{Offset: at, Length: length, Reason: fmt.Sprintf(format, args...), Remedy: remedy}
}

func (p *parser) space() {
	for p.at < p.end && strings.IndexByte(" \t\r\n", p.s[p.at]) >= 0 {
		p.at++
	}
}

func (p *parser) peek() byte {
	p.space()
	if p.at >= p.end {
		return 0
	}
	return p.s[p.at]
}

const deepest = 100

func (p *parser) expression(depth int) (*node, error) {
	if depth > deepest {
		return nil, p.fail(p.at, 1, "use variables", "the expression nests more than %d deep", deepest)
	}
	n, err := p.primary(depth)
	if err != nil {
		return nil, err
	}
	for links := 0; ; links++ {
		if links > 1000 {
			return nil, p.fail(p.at, 1, "", "the expression has more than 1000 members in a row")
		}
		start := p.at
		switch p.peek() {
		case '.':
			p.at++
			safe := p.at < p.end && p.s[p.at] == '?'
			if safe {
				p.at++
			}
			p.space()
			from := p.at
			for p.at < p.end && letter(p.s[p.at]) {
				p.at++
			}
			if from == p.at {
				return nil, p.fail(start, 1, "", "a name must follow the dot")
			}
			n = &node{at: n.at, end: p.at, kind: '.', text: p.s[from:p.at], args: []*node{n}, safe: safe}
		case '[':
			p.at++
			safe := p.at < p.end && p.s[p.at] == '?'
			if safe {
				p.at++
			}
			i, err := p.expression(depth + 1)
			if err != nil {
				return nil, err
			}
			if p.peek() != ']' {
				return nil, p.fail(start, 1, "add ]", "the bracket is not closed")
			}
			p.at++
			n = &node{at: n.at, end: p.at, kind: '[', args: []*node{n, i}, safe: safe}
		default:
			return n, nil
		}
	}
}

func letter(c byte) bool {
	return c == '_' || c == '-' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *parser) primary(depth int) (*node, error) {
	c := p.peek()
	start := p.at
	switch {
	case c == 0:
		return nil, p.fail(p.end, 1, "", "the expression ends too early")
	case c == '\'':
		var b strings.Builder
		for p.at++; ; p.at++ {
			if p.at >= p.end {
				return nil, p.fail(start, p.end-start, "add '", "the text is not closed")
			}
			if p.s[p.at] != '\'' {
				b.WriteByte(p.s[p.at])
				continue
			}
			if p.at+1 < p.end && p.s[p.at+1] == '\'' {
				b.WriteByte('\'')
				p.at++
				continue
			}
			p.at++
			return &node{at: start, end: p.at, kind: 's', text: b.String()}, nil
		}
	case c == '-' || c >= '0' && c <= '9':
		for p.at++; p.at < p.end && (p.s[p.at] >= '0' && p.s[p.at] <= '9' || p.s[p.at] == '.'); p.at++ {
		}
		v, err := strconv.ParseFloat(p.s[start:p.at], 64)
		if err != nil {
			return nil, p.fail(start, p.at-start, "", "%q is no number", p.s[start:p.at])
		}
		return &node{at: start, end: p.at, kind: 'n', num: v}, nil
	case letter(c):
		for p.at < p.end && (letter(p.s[p.at]) || p.s[p.at] == '.') {
			p.at++
		}
		name := p.s[start:p.at]
		if p.peek() != '(' {
			return nil, p.fail(start, len(name), "write '"+name+"' for a text, "+name+"() for a function", "%s is neither a text nor a call", name)
		}
		open := p.at
		p.at++
		n := &node{at: start, kind: 'f', text: name}
		for p.peek() != ')' {
			if p.at >= p.end {
				return nil, p.fail(open, 1, "add )", "the parenthesis of %s is not closed", name)
			}
			if len(n.args) > 0 {
				if p.peek() != ',' {
					return nil, p.fail(p.at, 1, "add a comma or )", "%q is not expected here", p.s[p.at:p.at+1])
				}
				p.at++
			}
			a, err := p.expression(depth + 1)
			if err != nil {
				return nil, err
			}
			n.args = append(n.args, a)
		}
		p.at++
		n.end = p.at
		return n, nil
	}
	return nil, p.fail(start, 1, "", "%q is not expected here", string(c))
}

type evaluation struct {
	*Scope
	lambda map[string]any // names of the lambdas that are running
}

func (e *evaluation) fail(n *node, remedy, format string, args ...any) error {
	return &Error{Offset: n.at, Length: max(n.end-n.at, 1), Reason: fmt.Sprintf(format, args...), Remedy: remedy}
}

func (e *evaluation) eval(n *node) (any, error) {
	if err := e.Budget.Spend(1, 0); err != nil {
		return nil, e.fail(n, "", "%v", err)
	}
	switch n.kind {
	case 's':
		return n.text, nil
	case 'n':
		return n.num, nil
	case '.':
		v, err := e.eval(n.args[0])
		if err != nil {
			return nil, err
		}
		return e.member(n, v, n.text)
	case '[':
		v, err := e.eval(n.args[0])
		if err != nil {
			return nil, err
		}
		i, err := e.eval(n.args[1])
		if err != nil {
			return nil, err
		}
		if s, ok := i.(string); ok {
			return e.member(n, v, s)
		}
		list, ok := v.([]any)
		at, whole := integer(i)
		switch {
		case !ok && v == nil && n.safe:
			return nil, nil
		case !ok || !whole:
			return nil, e.fail(n, "", "%s cannot be asked for an element", kind(v))
		case at < 0 || at >= len(list):
			if n.safe {
				return nil, nil
			}
			return nil, e.fail(n, "", "the list has %d elements, and element %d is asked for", len(list), at)
		}
		return list[at], nil
	}
	return e.call(n)
}

// member finds a member as ARM does: case does not count.
func (e *evaluation) member(n *node, v any, name string) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		if n.safe && v == nil {
			return nil, nil
		}
		return nil, e.fail(n, "", "%s has no member %s", kind(v), name)
	}
	if x, ok := m[name]; ok {
		return x, nil
	}
	var known []string
	for k, x := range m {
		if strings.EqualFold(k, name) {
			return x, nil
		}
		known = append(known, k)
	}
	if n.safe {
		return nil, nil
	}
	slices.Sort(known)
	if len(known) > 10 {
		known = append(known[:10], "…")
	}
	return nil, e.fail(n, "it has "+strings.Join(known, ", "), "the object has no member %s", name)
}

// integer is a number without a fraction.
func integer(v any) (int, bool) {
	f, ok := v.(float64)
	if !ok || f != float64(int64(f)) || f > 1<<31 || f < -(1<<31) {
		return 0, false
	}
	return int(f), true
}

// kind is what a person calls a value.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a truth value"
	case float64:
		return "a number"
	case string:
		return "a text"
	case []any:
		return "a list"
	}
	return "an object"
}

// Refers lists the names that calls of a function in s are given as a literal text: Refers(s, "parameters").
func Refers(s, function string) (out []string) {
	if !IsExpression(s) || len(s) > 1<<17 {
		return nil
	}
	p := &parser{s: s, at: 1, end: len(s) - 1}
	n, err := p.expression(0)
	if err != nil {
		return nil
	}
	var walk func(*node)
	walk = func(n *node) {
		if n.kind == 'f' && strings.EqualFold(n.text, function) && len(n.args) == 1 && n.args[0].kind == 's' && !slices.Contains(out, n.args[0].text) {
			out = append(out, n.args[0].text)
		}
		for _, a := range n.args {
			walk(a)
		}
	}
	walk(n)
	return out
}
