package braces

import (
	"fmt"
	"strconv"
	"strings"
	"text/template/parse"
)

// ToHCL gives the quoted HCL2 template that means what s means. v names the expression of a user variable (var.x). exact is false
// when the meaning differs or an action had to stay as it is (Packer runs the older engine inside HCL texts too); why says so. A
// text that cannot be read is quoted as it stands.
func ToHCL(s string, v func(user string) string) (expr string, exact bool, why string) {
	if !Has(s) {
		return `"` + quote(s, false) + `"`, true, ""
	}
	t, err := tree(s)
	if err != nil {
		return `"` + quote(s, false) + `"`, false, err.Error()
	}
	c := &converter{v: v}
	var parts []string
	var live []bool
	for i, n := range t.Root.Nodes {
		if text, ok := n.(*parse.TextNode); ok {
			parts, live = append(parts, string(text.Text)), append(live, false)
			continue
		}
		from, to := span(s, t.Root.Nodes, i)
		later := false
		walk(n, func(n parse.Node) {
			switch n.(type) {
			case *parse.FieldNode, *parse.DotNode, *parse.VariableNode:
				later = true
			}
		})
		action, plain := n.(*parse.ActionNode)
		got, ok := "", false
		if plain && !later {
			got, ok = c.pipe(action.Pipe)
		}
		if !ok {
			if !later {
				c.note(fmt.Sprintf("%s has no counterpart in HCL and stays as it is", s[from:to]))
			}
			parts, live = append(parts, s[from:to]), append(live, false)
			continue
		}
		parts, live = append(parts, "${"+got+"}"), append(live, true)
	}
	var b strings.Builder
	b.WriteByte('"')
	for i, p := range parts {
		if live[i] {
			b.WriteString(p)
			continue
		}
		b.WriteString(quote(p, i+1 < len(parts)))
	}
	b.WriteByte('"')
	return b.String(), c.why == "", c.why
}

// converter turns pipes into expressions and keeps the first reason why the result is not exact.
type converter struct {
	v   func(string) string
	why string
}

func (c *converter) note(why string) {
	if c.why == "" {
		c.why = why
	}
}

// pipe is the expression of a pipe, where every command's value is the last argument of the next.
func (c *converter) pipe(p *parse.PipeNode) (string, bool) {
	if p == nil || len(p.Decl) > 0 {
		return "", false
	}
	last := ""
	for i, cmd := range p.Cmds {
		var args []string
		name := ""
		for j, a := range cmd.Args {
			if f, ok := a.(*parse.IdentifierNode); ok && j == 0 {
				name = f.Ident
				continue
			}
			x, ok := c.value(a)
			if !ok {
				return "", false
			}
			args = append(args, x)
		}
		if i > 0 {
			args = append(args, last)
		}
		if name == "" {
			if len(args) != 1 {
				return "", false
			}
			last = args[0]
			continue
		}
		var ok bool
		if last, ok = c.function(name, args); !ok {
			return "", false
		}
	}
	return last, true
}

func (c *converter) value(n parse.Node) (string, bool) {
	switch n := n.(type) {
	case *parse.StringNode:
		return `"` + quote(n.Text, false) + `"`, true
	case *parse.NumberNode:
		return strconv.FormatInt(n.Int64, 10), n.IsInt
	case *parse.PipeNode:
		return c.pipe(n)
	case *parse.IdentifierNode:
		return c.function(n.Ident, nil)
	}
	return "", false
}

// function is Packer's function as HCL2 has it
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions).
func (c *converter) function(name string, args []string) (string, bool) {
	switch key := fmt.Sprintf("%s/%d", name, len(args)); key {
	case "user/1":
		u, ok := literal(args[0])
		if !ok || c.v == nil {
			return "", false
		}
		return c.v(u), true
	case "build/1":
		u, ok := literal(args[0])
		return "build." + u, ok && identifier(u)
	case "env/1":
		return "env(" + args[0] + ")", true
	case "isotime/0":
		return "legacy_isotime(\"2006-01-02T15:04:05Z07:00\")", true
	case "isotime/1", "strftime/1":
		return "legacy_" + name + "(" + args[0] + ")", true
	case "timestamp/0":
		c.note("timestamp is Unix seconds in JSON templates; HCL has digits of the date and time instead")
		return `regex_replace(timestamp(), "[- TZ:]", "")`, true
	case "build_name/0":
		return "source.name", true
	case "build_type/0":
		return "source.type", true
	case "template_dir/0":
		return "abspath(path.root)", true
	case "pwd/0":
		return "path.cwd", true
	case "packer_version/0":
		return "packer.version", true
	case "uuid/0":
		return "uuidv4()", true
	case "upper/1", "lower/1":
		return name + "(" + args[0] + ")", true
	case "replace_all/3":
		// HCL reads a pattern between slashes as a regular expression.
		if old, ok := literal(args[0]); !ok || old == "" || strings.HasPrefix(old, "/") {
			return "", false
		}
		return "replace(" + args[2] + ", " + args[0] + ", " + args[1] + ")", true
	case "replace/4":
		if args[2] != "-1" {
			return "", false
		}
		return c.function("replace_all", []string{args[0], args[1], args[3]})
	case "split/3":
		return "split(" + args[1] + ", " + args[0] + ")[" + args[2] + "]", true
	}
	return "", false
}

// literal undoes value for a text that needed no escapes.
func literal(x string) (string, bool) {
	if len(x) < 2 || x[0] != '"' || x[len(x)-1] != '"' || strings.ContainsAny(x[1:len(x)-1], "\"\\$%") {
		return "", false
	}
	return x[1 : len(x)-1], true
}

func identifier(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '_'
	})
}

// quote escapes a text for the inside of a quoted HCL template; joined says that another part follows, so that a last $ must
// not meet its brace (https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md, template literals).
func quote(s string, joined bool) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch ch := s[i]; ch {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(ch)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '$', '%':
			switch {
			case i+1 == len(s) && !joined:
				b.WriteByte(ch)
			case i+1 < len(s) && s[i+1] == '{':
				b.WriteByte(ch)
				b.WriteByte(ch)
			case i+1 == len(s) || s[i+1] == '$' || s[i+1] == '%':
				fmt.Fprintf(&b, `\u%04x`, ch)
			default:
				b.WriteByte(ch)
			}
		default:
			b.WriteByte(ch)
		}
	}
	return b.String()
}
