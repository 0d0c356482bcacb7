package template

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// jsonNode is a value of a JSON file with its place. encoding/json has no places, and hcl's own JSON gives ${ } a meaning that
// neither Packer's older language nor Image Builder knows.
type jsonNode struct {
	kind   byte // '{', '[', '"', '0', 't', 'f', 'n' as in jsontext.Kind
	text   string
	fields []jsonField
	items  []*jsonNode
	at     hcl.Range
	secret bool // its text may not be seen
}

// jsonField is one member of an object, in the order of the file.
type jsonField struct {
	name  string
	at    hcl.Range
	value *jsonNode
}

// jsonSyntax is what is wrong with a JSON file, and where.
type jsonSyntax struct {
	at  hcl.Range
	err error
}

func (e *jsonSyntax) Error() string { return e.err.Error() }

// jsonReader turns a file into nodes.
type jsonReader struct {
	name  string
	raw   []byte
	lines []int // offset of each line's first byte
	d     *jsontext.Decoder
}

// readJSON parses a file. Comments are allowed where comments says so: ARM's tools take // and /* */.
func readJSON(name string, raw []byte, comments bool) (*jsonNode, error) {
	r := &jsonReader{name: name, raw: raw, lines: []int{0}}
	for i, c := range raw {
		if c == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	text := bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if len(text) != len(raw) {
		text = append([]byte("   "), text...)
	}
	if comments {
		text = blankComments(text)
	}
	r.d = jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	n, err := r.value()
	if err == nil {
		if _, more := r.d.ReadToken(); !errors.Is(more, io.EOF) {
			err = &jsonSyntax{r.rangeOf(int(r.d.InputOffset()), int(r.d.InputOffset())+1), errors.New("something stands after the end of the JSON value")}
		}
	}
	return n, err
}

// blankComments puts spaces in the place of comments, so that every other byte stays where it is.
func blankComments(text []byte) []byte {
	out := bytes.Clone(text)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			if out[i] != '\n' {
				out[i] = ' '
			}
		}
	}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case bytes.HasPrefix(text[i:], []byte("//")):
			end := bytes.IndexByte(text[i:], '\n')
			if end < 0 {
				end = len(text) - i
			}
			blank(i, i+end)
			i += end
		case bytes.HasPrefix(text[i:], []byte("/*")):
			end := bytes.Index(text[i+2:], []byte("*/"))
			if end < 0 {
				return out
			}
			blank(i, i+end+4)
			i += end + 3
		}
	}
	return out
}

// rangeOf is the place of some bytes.
func (r *jsonReader) rangeOf(from, to int) hcl.Range {
	return hcl.Range{Filename: r.name, Start: r.pos(from), End: r.pos(to)}
}

func (r *jsonReader) pos(offset int) hcl.Pos {
	offset = max(min(offset, len(r.raw)), 0)
	lo, hi := 0, len(r.lines)
	for hi-lo > 1 {
		if m := (lo + hi) / 2; r.lines[m] <= offset {
			lo = m
		} else {
			hi = m
		}
	}
	return hcl.Pos{Line: lo + 1, Column: offset - r.lines[lo] + 1, Byte: offset}
}

// token reads one and says where it stood.
func (r *jsonReader) token() (jsontext.Token, hcl.Range, error) {
	t, err := r.d.ReadToken()
	if err != nil {
		at := int(r.d.InputOffset())
		var syntax *jsontext.SyntacticError
		if errors.As(err, &syntax) {
			at = int(syntax.ByteOffset)
			err = syntax.Err
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("the file ends too early")
		}
		return t, hcl.Range{}, &jsonSyntax{r.rangeOf(at, at+1), err}
	}
	end := int(r.d.InputOffset())
	start := end - 1
	switch t.Kind() {
	case '{', '}', '[', ']':
	case '"':
		// The decoder says where a token ends: a string begins at the quote before which there is no backslash.
		for start--; start > 0 && !(r.raw[start] == '"' && even(r.raw[:start])); start-- {
		}
	default:
		for start > 0 && strings.IndexByte("+-.eE0123456789truefalsn", r.raw[start-1]) >= 0 {
			start--
		}
	}
	return t, r.rangeOf(start, end), nil
}

// even reports whether text ends in an even number of backslashes.
func even(text []byte) bool {
	return (len(text)-len(bytes.TrimRight(text, `\`)))%2 == 0
}

func (r *jsonReader) value() (*jsonNode, error) {
	t, at, err := r.token()
	if err != nil {
		return nil, err
	}
	n := &jsonNode{kind: byte(t.Kind()), at: at}
	switch t.Kind() {
	case '"':
		n.text = t.String()
	case '0':
		n.text = t.String()
		if len(n.text) > 64 {
			return nil, &jsonSyntax{at, errors.New("the number has more than 64 digits")}
		}
	case '{':
		for r.d.PeekKind() != '}' {
			k, kat, err := r.token()
			if err != nil {
				return nil, err
			}
			name := k.String() // before the next token voids it
			v, err := r.value()
			if err != nil {
				return nil, err
			}
			n.fields = append(n.fields, jsonField{name, kat, v})
		}
		_, end, err := r.token()
		if err != nil {
			return nil, err
		}
		n.at.End = end.End
	case '[':
		for r.d.PeekKind() != ']' {
			v, err := r.value()
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, v)
		}
		_, end, err := r.token()
		if err != nil {
			return nil, err
		}
		n.at.End = end.End
	}
	return n, nil
}

// get is a member of an object by its exact name, or nil.
func (n *jsonNode) get(name string) *jsonNode {
	if n == nil {
		return nil
	}
	for i := range n.fields {
		if n.fields[i].name == name {
			return n.fields[i].value
		}
	}
	return nil
}

// unknown reports whether a value, or a part of it, is known only once it is deployed.
func (n *jsonNode) unknown() bool {
	for _, f := range n.fields {
		if f.value.unknown() {
			return true
		}
	}
	return n.kind == 'u' || slices.ContainsFunc(n.items, (*jsonNode).unknown)
}

// kindName is what a person calls the kind.
func (n *jsonNode) kindName() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case '0':
		return "a number"
	case 'n':
		return "null"
	}
	return "true or false"
}

// plain is the node as encoding/json would read it, with numbers as json.Number's text in float64 where exact enough.
func (n *jsonNode) plain() any {
	switch n.kind {
	case '{':
		m := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			m[f.name] = f.value.plain()
		}
		return m
	case '[':
		list := make([]any, len(n.items))
		for i, e := range n.items {
			list[i] = e.plain()
		}
		return list
	case '"':
		return n.text
	case '0':
		return jsonNumber(n.text)
	case 't', 'f':
		return n.kind == 't'
	}
	return nil
}

// expand gives a text its value; it is nil where texts are what they are.
type expand func(n *jsonNode) (cty.Value, hcl.Diagnostics)

// jsonBody is an object as a body, so that the one decoder reads it: objects are nested blocks, and so are the objects of a list,
// one after the other.
type jsonBody struct {
	n      *jsonNode
	expand expand
	ignore func(name string) bool // names that are comments
}

func (b jsonBody) Content(s *hcl.BodySchema) (*hcl.BodyContent, hcl.Diagnostics) {
	c, rest, problems := b.PartialContent(s)
	for _, f := range rest.(jsonBody).n.fields {
		problems = append(problems, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Extraneous JSON object property", Subject: f.at.Ptr()})
	}
	return c, problems
}

func (b jsonBody) PartialContent(s *hcl.BodySchema) (*hcl.BodyContent, hcl.Body, hcl.Diagnostics) {
	c := &hcl.BodyContent{Attributes: hcl.Attributes{}, MissingItemRange: b.MissingItemRange()}
	rest := &jsonNode{kind: '{', at: b.n.at}
	var problems hcl.Diagnostics
	if b.n.kind == 'u' {
		return c, jsonBody{rest, b.expand, b.ignore}, nil
	}
	if b.n.kind != '{' {
		return c, jsonBody{rest, b.expand, b.ignore}, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "an object is needed here, not " + b.n.kindName(), Subject: b.n.at.Ptr()}}
	}
	attrs, blocks := map[string]bool{}, map[string]bool{}
	for _, a := range s.Attributes {
		attrs[a.Name] = true
	}
	for _, x := range s.Blocks {
		blocks[x.Type] = true
	}
	for _, f := range b.n.fields {
		switch {
		case b.ignore != nil && b.ignore(f.name):
		case attrs[f.name] && c.Attributes[f.name] != nil:
			problems = append(problems, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf("%s stands twice in one object", f.name), Subject: f.at.Ptr()})
		case attrs[f.name]:
			c.Attributes[f.name] = &hcl.Attribute{Name: f.name, Expr: jsonExpr{f.value, b.expand}, Range: hcl.RangeBetween(f.at, f.value.at), NameRange: f.at}
		case blocks[f.name]:
			list := []*jsonNode{f.value}
			if f.value.kind == '[' {
				list = f.value.items
			}
			for _, e := range list {
				switch e.kind {
				case '{':
					c.Blocks = append(c.Blocks, &hcl.Block{Type: f.name, Body: jsonBody{e, b.expand, b.ignore}, DefRange: e.at, TypeRange: placeOf(f, e)})
				case 'n', 'u':
				default:
					problems = append(problems, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf("%s must be an object, or a list of objects, not %s", f.name, e.kindName()), Subject: e.at.Ptr()})
				}
			}
		default:
			rest.fields = append(rest.fields, f)
		}
	}
	return c, jsonBody{rest, b.expand, b.ignore}, problems
}

// placeOf is where an element of a list begins, or the name of the member that is the object itself.
func placeOf(f jsonField, e *jsonNode) hcl.Range {
	if e == f.value {
		return f.at
	}
	r := e.at
	r.End = r.Start
	r.End.Byte++
	r.End.Column++
	return r
}

func (b jsonBody) JustAttributes() (hcl.Attributes, hcl.Diagnostics) {
	s := &hcl.BodySchema{}
	for _, f := range b.n.fields {
		s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: f.name})
	}
	c, _, problems := b.PartialContent(s)
	return c.Attributes, problems
}

func (b jsonBody) MissingItemRange() hcl.Range { return b.n.at }

// jsonExpr is a node as an expression.
type jsonExpr struct {
	n      *jsonNode
	expand expand
}

func (e jsonExpr) Value(*hcl.EvalContext) (cty.Value, hcl.Diagnostics) { return e.value(e.n) }

func (e jsonExpr) value(n *jsonNode) (cty.Value, hcl.Diagnostics) {
	var problems hcl.Diagnostics
	switch n.kind {
	case '{':
		m := map[string]cty.Value{}
		for _, f := range n.fields {
			v, p := e.value(f.value)
			problems = append(problems, p...)
			m[f.name] = v
		}
		return cty.ObjectVal(m), problems
	case '[':
		list := make([]cty.Value, len(n.items))
		for i, x := range n.items {
			v, p := e.value(x)
			problems = append(problems, p...)
			list[i] = v
		}
		return cty.TupleVal(list), problems
	case '0':
		v, err := cty.ParseNumberVal(n.text)
		if err != nil {
			return cty.DynamicVal, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "not a number", Subject: n.at.Ptr()}}
		}
		return v, nil
	case 't', 'f':
		return cty.BoolVal(n.kind == 't'), nil
	case 'u':
		return cty.DynamicVal, nil // known only once it is deployed
	case '"':
		if e.expand != nil {
			return e.expand(n)
		}
		v := cty.StringVal(n.text)
		if n.secret {
			v = v.Mark(sensitive{})
		}
		return v, nil
	}
	return cty.NullVal(cty.DynamicPseudoType), nil
}

// ExprMap lets hcl.ExprMap look into an object without evaluating it.
func (e jsonExpr) ExprMap() []hcl.KeyValuePair {
	if e.n.kind != '{' {
		return nil
	}
	out := []hcl.KeyValuePair{}
	for _, f := range e.n.fields {
		out = append(out, hcl.KeyValuePair{Key: hcl.StaticExpr(cty.StringVal(f.name), f.at), Value: jsonExpr{f.value, e.expand}})
	}
	return out
}

// Variables tells a text that is computed from one that stands as it is.
func (e jsonExpr) Variables() []hcl.Traversal {
	if e.n.kind == '"' && strings.Contains(e.n.text, "{{") {
		return []hcl.Traversal{{hcl.TraverseRoot{Name: "user", SrcRange: e.n.at}}}
	}
	return nil
}

func (e jsonExpr) Range() hcl.Range      { return e.n.at }
func (e jsonExpr) StartRange() hcl.Range { return e.n.at }

// rawOffset is where the byte at offset of a string's value stands in the file: an escape is longer there.
func rawOffset(raw []byte, n *jsonNode, offset int) int {
	i, end := n.at.Start.Byte+1, min(n.at.End.Byte, len(raw))
	for done := 0; i < end && done < offset; {
		if raw[i] != '\\' || i+1 >= end {
			i++
			done++
			continue
		}
		if raw[i+1] != 'u' {
			i += 2
			done++
			continue
		}
		var r rune
		if _, err := fmt.Sscanf(string(raw[i+2:min(i+6, end)]), "%04x", &r); err != nil {
			return i
		}
		i += 6
		done += len(string(r))
	}
	return i
}

// jsonNumber is a number as encoding/json would read it.
func jsonNumber(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return v
}
