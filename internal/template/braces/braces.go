// Package braces is the template engine of Packer's older language: texts with {{ actions }} on Go's text/template, with Packer's
// own functions (https://developer.hashicorp.com/packer/docs/templates/legacy_json_templates/engine). It knows nothing of JSON, of
// builders or of Azure. Whatever a text does, its work and its result are bounded.
package braces

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"ingot/internal/diag"
)

// Engine is what texts are expanded with. Its fields are what the functions say.
type Engine struct {
	User       map[string]string // values of the user variables
	Secret     map[string]bool   // user variables whose value may not be seen
	Env        func(key string) string
	EnvAllowed bool // env works only while variables get their values
	Now        time.Time
	BuildName  string
	BuildType  string

	TemplateDir, Cwd, Version string
	UUID                      func() string
}

// Result is a text that has been expanded.
type Result struct {
	Text    string
	Secret  bool // a user variable that may not be seen is part of it
	Runtime bool // it holds {{ build `X` }}, which only a running build knows
}

// Error is what is wrong with an action; Offset and Length are its place in the text, in bytes.
type Error struct {
	Offset, Length int
	Reason, Remedy string
}

func (e *Error) Error() string { return e.Reason }

// Limits of one text: what it may be long, and what it may make.
const (
	maxText   = 1 << 20
	maxOutput = 1 << 20
	maxNodes  = 10_000
)

// Has reports whether a text holds an action.
func Has(s string) bool { return strings.Contains(s, "{{") }

// names are Packer's functions; the value is why one is refused, or "".
func names() map[string]string {
	const store = "Ingot reads no secret store while it reads a template"
	return map[string]string{"user": "", "env": "", "isotime": "", "strftime": "", "timestamp": "", "uuid": "", "upper": "", "lower": "", "replace": "", "replace_all": "", "split": "", "template_dir": "", "pwd": "",
		"packer_version": "", "build_name": "", "build_type": "", "build": "", "clean_resource_name": "", "clean_image_name": "",
		"vault": store, "consul_key": store, "aws_secretsmanager": store, "aws_secretsmanager_raw": store, "sed": "Packer has removed it"}
}

// unclean is what Azure allows in no resource's name.
var unclean = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// CleanResourceName makes a text a name that Azure takes: every other character becomes a hyphen, and the end is trimmed of
// hyphens, underscores and dots (packer-plugin-azure's clean_resource_name).
func CleanResourceName(s string) string {
	return strings.TrimRight(unclean.ReplaceAllString(s, "-"), "-_.")
}

// tree parses s. Functions that nobody has are found by a person's name for them.
func tree(s string) (*parse.Tree, error) {
	if len(s) > maxText {
		return nil, &Error{Length: len(s), Reason: "the text is longer than 1 MiB"}
	}
	if err := shallow(s); err != nil {
		return nil, err
	}
	t := parse.New("text")
	t.Mode = parse.SkipFuncCheck
	sets := map[string]*parse.Tree{}
	// The delimiters are Go's own, as in Packer.
	if _, err := t.Parse(s, "{{", "}}", sets); err != nil {
		reason := err.Error()
		if m := position.FindStringSubmatch(reason); m != nil {
			reason = m[2]
		}
		at, end := faulty(s)
		return nil, &Error{Offset: at, Length: end - at, Reason: "the action cannot be read: " + reason}
	}
	at := defines.FindStringIndex(s)
	walk(t.Root, func(n parse.Node) {
		if n, ok := n.(*parse.TemplateNode); ok && at == nil {
			at = []int{max(strings.LastIndex(s[:min(int(n.Pos), len(s))], "{{"), 0), len(s)}
		}
	})
	if at != nil {
		end := len(s)
		if i := strings.Index(s[at[0]:], "}}"); i >= 0 {
			end = at[0] + i + 2
		}
		return nil, &Error{Offset: at[0], Length: end - at[0], Reason: "define, template and block are not part of Packer's language", Remedy: "write the text out"}
	}
	return t, nil
}

var position = regexp.MustCompile(`^template: text:(\d+)(?::\d+)?: (.*)$`)

// defines finds a definition, which leaves no node in the tree.
var defines = regexp.MustCompile(`\{\{(?:- )?\s*define\b`)

// faulty is the place of the first action that cannot be read. The parser tells only lines, but a beginning of a text that ends
// behind a faulty action fails for another reason than its being cut, and so does every longer one: that can be searched.
func faulty(s string) (from, to int) {
	var ends []int
	for i := 0; ; {
		j := strings.Index(s[i:], "}}")
		if j < 0 {
			break
		}
		i += j + 2
		ends = append(ends, i)
	}
	k := sort.Search(len(ends), func(k int) bool {
		t := parse.New("text")
		t.Mode = parse.SkipFuncCheck
		_, err := t.Parse(s[:ends[k]], "{{", "}}", map[string]*parse.Tree{})
		return err != nil && !strings.Contains(err.Error(), "unexpected EOF")
	})
	if k == len(ends) {
		return max(strings.LastIndex(s, "{{"), 0), len(s)
	}
	return max(strings.LastIndex(s[:ends[k]], "{{"), 0), ends[k]
}

// shallow refuses what would exhaust the parser's stack.
func shallow(s string) error {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			if depth++; depth > 200 {
				return &Error{Offset: i, Length: 1, Reason: "parentheses nest more than 200 deep"}
			}
		case ')':
			depth--
		}
	}
	if strings.Count(s, "{{") > maxNodes {
		return &Error{Length: 2, Reason: fmt.Sprintf("the text has more than %d actions", maxNodes)}
	}
	opened := 0
	for rest := s; ; {
		i := strings.Index(rest, "{{")
		if i < 0 {
			return nil
		}
		rest = rest[i+2:]
		word := strings.TrimLeft(rest, "- \t\n")
		switch {
		case strings.HasPrefix(word, "if"), strings.HasPrefix(word, "range"), strings.HasPrefix(word, "with"):
			if opened++; opened > 200 {
				return &Error{Offset: len(s) - len(rest) - 2, Length: 2, Reason: "if, range and with nest more than 200 deep"}
			}
		case strings.HasPrefix(word, "end"):
			opened--
		}
	}
}

// Uses lists the user variables that a text names, in its order.
func Uses(s string) ([]string, error) {
	if !Has(s) {
		return nil, nil
	}
	t, err := tree(s)
	if err != nil {
		return nil, err
	}
	var out []string
	walk(t.Root, func(n parse.Node) {
		if name, arg, ok := call(n); ok && name == "user" && !slices.Contains(out, arg) {
			out = append(out, arg)
		}
	})
	return out, nil
}

// call is a command that calls a function with one literal text.
func call(n parse.Node) (name, arg string, ok bool) {
	c, isCommand := n.(*parse.CommandNode)
	if !isCommand || len(c.Args) != 2 {
		return "", "", false
	}
	f, isName := c.Args[0].(*parse.IdentifierNode)
	s, isText := c.Args[1].(*parse.StringNode)
	if !isName || !isText {
		return "", "", false
	}
	return f.Ident, s.Text, true
}

// walk calls f with every node under n.
func walk(n parse.Node, f func(parse.Node)) {
	if n == nil {
		return
	}
	list := func(l *parse.ListNode) {
		if l != nil {
			walk(l, f)
		}
	}
	branch := func(b *parse.BranchNode) {
		walk(b.Pipe, f)
		list(b.List)
		list(b.ElseList)
	}
	f(n)
	switch n := n.(type) {
	case *parse.ListNode:
		for _, e := range n.Nodes {
			walk(e, f)
		}
	case *parse.ActionNode:
		walk(n.Pipe, f)
	case *parse.PipeNode:
		if n == nil {
			return
		}
		for _, c := range n.Cmds {
			walk(c, f)
		}
	case *parse.CommandNode:
		for _, a := range n.Args {
			walk(a, f)
		}
	case *parse.ChainNode:
		walk(n.Node, f)
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	}
}

// Expand gives a text its value. Actions that use what only a provisioner knows ({{ .Vars }}) stay as they are.
func (e *Engine) Expand(s string) (Result, error) {
	if !Has(s) {
		return Result{Text: s}, nil
	}
	t, err := tree(s)
	if err != nil {
		return Result{}, err
	}
	var r Result
	var out strings.Builder
	for i, n := range t.Root.Nodes {
		from, to := span(s, t.Root.Nodes, i)
		if text, ok := n.(*parse.TextNode); ok {
			out.Write(text.Text)
			continue
		}
		later := false
		var wrong error
		walk(n, func(n parse.Node) {
			switch n := n.(type) {
			case *parse.FieldNode, *parse.DotNode, *parse.VariableNode:
				later = true
			case *parse.RangeNode:
				wrong = &Error{from, to - from, "range is not part of Packer's language", "write the text out"}
			case *parse.IdentifierNode:
				if err := e.known(n.Ident, from, to); err != nil && wrong == nil {
					wrong = err
				}
			}
		})
		if later {
			out.WriteString(s[from:to])
			continue
		}
		if wrong != nil {
			return Result{}, wrong
		}
		text, err := e.run(n, &r)
		if err != nil {
			var own *Error
			if !errors.As(err, &own) {
				own = &Error{Reason: strip(err)}
			}
			own.Offset, own.Length = from, to-from
			return Result{}, own
		}
		out.WriteString(text)
		if out.Len() > maxOutput {
			return Result{}, &Error{from, to - from, "the text becomes longer than 1 MiB", ""}
		}
	}
	r.Text = out.String()
	return r, nil
}

// known refuses functions that there are not, with the nearest that there is.
func (e *Engine) known(name string, from, to int) error {
	why, ours := names()[name]
	switch {
	case ours && why != "":
		return &Error{from, to - from, fmt.Sprintf("%s cannot be used: %s", name, why), "hand the value over as a sensitive variable"}
	case ours || slices.Contains(builtins(), name):
		return nil
	}
	best := diag.Nearest(name, sortedNames())
	err := &Error{from, to - from, fmt.Sprintf("there is no function %s", name), ""}
	if best != "" {
		err.Remedy = fmt.Sprintf("did you mean %q?", best)
	}
	return err
}

func sortedNames() []string {
	var out []string
	for n := range names() {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// builtins are text/template's own that do no harm.
func builtins() []string {
	return []string{"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "println", "printf", "html", "js", "urlquery"}
}

// span is where a top-level node stands in s: from its own delimiters to the next node's. Nodes know the place of their first
// word only.
func span(s string, nodes []parse.Node, i int) (from, to int) {
	place := func(n parse.Node) int {
		p := int(n.Position())
		if _, text := n.(*parse.TextNode); text {
			return min(p, len(s))
		}
		return max(strings.LastIndex(s[:min(p, len(s))], "{{"), 0)
	}
	from, to = place(nodes[i]), len(s)
	if i+1 < len(nodes) {
		to = place(nodes[i+1])
	}
	// White space that {{- and -}} trim belongs to no node.
	if end := strings.LastIndex(s[from:max(to, from)], "}}"); end >= 0 {
		to = from + end + 2
	}
	return from, max(to, from)
}

// run executes one action by itself.
func (e *Engine) run(n parse.Node, r *Result) (string, error) {
	t := template.New("text").Funcs(e.functions(r)).Option("missingkey=error")
	tree := &parse.Tree{Name: "text", Root: &parse.ListNode{NodeType: parse.NodeList, Nodes: []parse.Node{n}}}
	t, err := t.AddParseTree("text", tree)
	if err != nil {
		return "", err
	}
	out := &bounded{}
	if err := t.Execute(out, nil); err != nil {
		return "", err
	}
	return out.b.String(), nil
}

// bounded is a writer that stops at the limit.
type bounded struct{ b strings.Builder }

func (w *bounded) Write(p []byte) (int, error) {
	if w.b.Len()+len(p) > maxOutput {
		return 0, &Error{Reason: "the text becomes longer than 1 MiB"}
	}
	return w.b.Write(p)
}

var noise = regexp.MustCompile(`^template: text:(?:\d+:)*(?:\d+: )?executing "text" at <[^>]*>: (?:error calling \w+: )?|^template: text:?(?:\d+:)* ?`)

// strip takes the engine's own words from an error.
func strip(err error) string { return noise.ReplaceAllString(err.Error(), "") }
