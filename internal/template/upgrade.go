package template

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"

	"ingot/internal/provisioner"
	"ingot/internal/template/braces"
)

// Convert makes a template of one that was loaded without errors. Between Packer's own languages variables and comments stay; to
// Image Builder, and from it, everything is evaluated first.
func Convert(r *Result, to Language, o Options) (Written, error) {
	abs := func(name string) string { return (&loader{o: o}).abs(name) }
	switch {
	case r.Language == PackerHCL && to == PackerHCL:
		var out Written
		var text bytes.Buffer
		for _, name := range r.Files {
			if !strings.HasSuffix(name, ".pkr.hcl") {
				if strings.HasSuffix(name, ".pkr.json") {
					return Write(r.Images, to)
				}
				continue
			}
			raw, err := os.ReadFile(abs(name))
			if err != nil {
				return out, fmt.Errorf("cannot convert: %w", err)
			}
			if text.Len() > 0 {
				text.WriteString("\n")
			}
			text.Write(hclwrite.Format(raw))
		}
		out.Text = text.Bytes()
		return out, nil
	case r.Language == PackerJSON && to != ImageBuilder:
		raw, err := os.ReadFile(abs(r.Files[0]))
		if err != nil {
			return Written{}, fmt.Errorf("cannot convert: %w", err)
		}
		if to == PackerJSON {
			return Written{Text: raw}, nil
		}
		root, err := readJSON(r.Files[0], raw, true)
		if err != nil {
			return Written{}, fmt.Errorf("cannot convert: %w", err)
		}
		u := &upgrade{root: root, locals: map[string]bool{}, labels: map[string]string{}}
		return u.write(), nil
	}
	w, err := Write(r.Images, to)
	if err != nil {
		return w, err
	}
	if r.Language == PackerHCL && len(r.evaluated) > 0 {
		w.Losses = append(w.Losses, Loss{Field: "variables, locals and functions", Kind: "lossy", Reason: "they are evaluated: the values of this moment are written"})
	}
	if r.Language == ImageBuilder && slices.Contains(r.evaluated, "parameters") {
		w.Losses = append(w.Losses, Loss{Field: "parameters and variables", Kind: "lossy", Reason: "they are evaluated: the values of this moment are written"})
	}
	return w, nil
}

// upgrade turns Packer's older language into HCL, text by text, so that variables and comments stay.
type upgrade struct {
	root   *jsonNode
	b      bytes.Buffer
	out    Written
	locals map[string]bool   // variables whose default is computed: HCL has only locals for that
	labels map[string]string // builder's name -> its label
	extra  []string          // variables made for secrets that stood in the template
}

func (u *upgrade) write() Written {
	u.comments()
	u.packer()
	u.variables()
	taken := map[string]bool{}
	builders := u.items("builders")
	for _, b := range builders {
		name := b.get("type").text
		if n := b.get("name"); n != nil && n.text != "" {
			name = n.text
		}
		label := strings.Trim(notName.ReplaceAllString(name, "_"), "_")
		if label == "" || label[0] >= '0' && label[0] <= '9' {
			label = "image_" + label
		}
		for i := 2; taken[label]; i++ {
			label = fmt.Sprintf("%s_%d", strings.TrimRight(label, "_0123456789"), i)
		}
		taken[label] = true
		u.labels[name] = label
		fields := map[string]field{}
		collect(reflect.ValueOf(&azureARM{}).Elem(), fields)
		fmt.Fprintf(&u.b, "\nsource %q %q {\n", b.get("type").text, label)
		u.body(b, fields, 1, "type", "name")
		u.b.WriteString("}\n")
	}
	u.b.WriteString("\nbuild {\n  sources = [\n")
	for _, b := range builders {
		name := b.get("type").text
		if n := b.get("name"); n != nil && n.text != "" {
			name = n.text
		}
		fmt.Fprintf(&u.b, "    \"source.%s.%s\",\n", b.get("type").text, u.labels[name])
	}
	u.b.WriteString("  ]\n")
	for _, p := range u.items("provisioners") {
		u.step("provisioner", p, 1)
	}
	if p := u.root.get("error-cleanup-provisioner"); p != nil {
		u.step("error-cleanup-provisioner", p, 1)
	}
	for _, p := range u.items("post-processors") {
		if p.kind != '[' {
			u.step("post-processor", p, 1)
			continue
		}
		u.b.WriteString("\n  post-processors {\n")
		for _, x := range p.items {
			u.step("post-processor", x, 2)
		}
		u.b.WriteString("  }\n")
	}
	u.b.WriteString("}\n")
	text := u.b.Bytes()
	if len(u.extra) > 0 {
		var more bytes.Buffer
		for _, v := range u.extra {
			fmt.Fprintf(&more, "\nvariable %q {\n  type      = string\n  sensitive = true\n}\n", v)
		}
		text = append(text, more.Bytes()...)
		u.out.Needs = u.extra
	}
	u.out.Text = hclwrite.Format(text)
	return u.out
}

func (u *upgrade) items(name string) []*jsonNode {
	if n := u.root.get(name); n != nil {
		return n.items
	}
	return nil
}

func (u *upgrade) comments() {
	for _, f := range u.root.fields {
		if !strings.HasPrefix(f.name, "_") && f.name != "description" {
			continue
		}
		lines := []string{f.value.text}
		if f.value.kind == '[' {
			lines = nil
			for _, x := range f.value.items {
				lines = append(lines, x.text)
			}
		}
		for _, l := range lines {
			for _, l := range strings.Split(l, "\n") {
				fmt.Fprintf(&u.b, "# %s\n", l)
			}
		}
	}
}

func (u *upgrade) packer() {
	u.b.WriteString("packer {\n")
	if v := u.root.get("min_packer_version"); v != nil {
		fmt.Fprintf(&u.b, "  required_version = \">= %s\"\n", strings.TrimLeft(v.text, ">=v "))
	}
	u.b.WriteString("  required_plugins {\n    azure = {\n      source  = \"github.com/hashicorp/azure\"\n      version = \">= 2.0.0\"\n    }\n  }\n}\n")
}

func (u *upgrade) variables() {
	n := u.root.get("variables")
	if n == nil {
		return
	}
	secret := map[string]bool{}
	for _, s := range u.items("sensitive-variables") {
		secret[s.text] = true
	}
	for _, f := range n.fields {
		text, _ := scalar(f.value)
		if braces.Has(text) && !onlyEnv(text) {
			u.locals[f.name] = true
		}
	}
	for _, f := range n.fields {
		text, given := scalar(f.value)
		name := f.name
		if u.locals[name] {
			fmt.Fprintf(&u.b, "\nlocal %q {\n  expression = %s\n", name, u.text(text, "variables."+name))
			if secret[name] {
				u.b.WriteString("  sensitive = true\n")
			}
			u.b.WriteString("}\n")
			continue
		}
		fmt.Fprintf(&u.b, "\nvariable %q {\n  type = string\n", name)
		if given {
			fmt.Fprintf(&u.b, "  default = %s\n", u.text(text, "variables."+name))
		}
		if secret[name] {
			u.b.WriteString("  sensitive = true\n")
		}
		u.b.WriteString("}\n")
	}
}

// onlyEnv reports whether a default reads the environment and nothing else, which HCL allows in a variable's default.
func onlyEnv(text string) bool {
	expr, _, _ := braces.ToHCL(text, func(string) string { return "var.x" })
	rest := unwrapped(expr)
	return strings.HasPrefix(rest, "env(") && strings.Count(rest, "(") == 1 && strings.HasSuffix(rest, ")")
}

// text is a text as an expression; what changes its meaning is noted.
func (u *upgrade) text(s, where string) string {
	expr, exact, why := braces.ToHCL(s, func(user string) string {
		if u.locals[user] {
			return "local." + user
		}
		return "var." + user
	})
	if !exact {
		u.out.Losses = append(u.out.Losses, Loss{Field: where, Kind: "lossy", Reason: why})
	}
	return unwrapped(expr)
}

var single = regexp.MustCompile(`^"\$\{([^{}]*)\}"$`)

// unwrapped is an expression that stands alone in a text without the text.
func unwrapped(expr string) string {
	if m := single.FindStringSubmatch(expr); m != nil {
		return m[1]
	}
	return expr
}

// step is a provisioner or post-processor.
func (u *upgrade) step(word string, n *jsonNode, depth int) {
	indent := strings.Repeat("  ", depth)
	kind := n.text
	if n.kind == '{' {
		kind = n.get("type").text
	}
	fmt.Fprintf(&u.b, "\n%s%s %q {\n", indent, word, kind)
	if n.kind == '{' {
		fields := map[string]field{}
		if s, ok := provisioner.New(kind); ok {
			collect(reflect.ValueOf(s).Elem(), fields)
		}
		u.body(n, fields, depth+1, "type")
	}
	fmt.Fprintf(&u.b, "%s}\n", indent)
}

// body writes an object's members as options and blocks.
func (u *upgrade) body(n *jsonNode, fields map[string]field, depth int, skip ...string) {
	indent := strings.Repeat("  ", depth)
	for _, f := range n.fields {
		fd, known := fields[f.name]
		switch {
		case slices.Contains(skip, f.name) || f.value.kind == 'n':
		case strings.HasPrefix(f.name, "_"):
			fmt.Fprintf(&u.b, "%s# %s\n", indent, strings.ReplaceAll(f.value.text, "\n", " "))
		case known && fd.block:
			list := []*jsonNode{f.value}
			if f.value.kind == '[' {
				list = f.value.items
			}
			for _, x := range list {
				fmt.Fprintf(&u.b, "%s%s {\n", indent, f.name)
				u.body(x, blockFields(fd), depth+1)
				fmt.Fprintf(&u.b, "%s}\n", indent)
			}
		case known && fd.secret && f.value.kind == '"' && f.value.text != "" && !braces.Has(f.value.text):
			u.extra = append(u.extra, f.name)
			u.out.Losses = append(u.out.Losses, Loss{Field: f.name, Kind: "lossy", Reason: "the secret stood in the template: a variable takes its place"})
			fmt.Fprintf(&u.b, "%s%s = var.%s\n", indent, f.name, f.name)
		case f.name == "only" || f.name == "except":
			fmt.Fprintf(&u.b, "%s%s = [", indent, f.name)
			for i, x := range f.value.items {
				if i > 0 {
					u.b.WriteString(", ")
				}
				name := x.text
				if l, ok := u.labels[name]; ok {
					name = "azure-arm." + l
				}
				fmt.Fprintf(&u.b, "%q", name)
			}
			u.b.WriteString("]\n")
		case f.name == "override":
			fmt.Fprintf(&u.b, "%soverride = {\n", indent)
			for _, o := range f.value.fields {
				name := o.name
				if l, ok := u.labels[name]; ok {
					name = l
				}
				fmt.Fprintf(&u.b, "%s  %q = %s\n", indent, name, u.value(o.value, "override", depth+1))
			}
			fmt.Fprintf(&u.b, "%s}\n", indent)
		default:
			fmt.Fprintf(&u.b, "%s%s = %s\n", indent, f.name, u.value(f.value, f.name, depth))
		}
	}
}

// blockFields are the options inside a block.
func blockFields(f field) map[string]field {
	t := f.v.Type()
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	out := map[string]field{}
	collect(reflect.New(t).Elem(), out)
	return out
}

func (u *upgrade) value(n *jsonNode, where string, depth int) string {
	indent := strings.Repeat("  ", depth+1)
	switch n.kind {
	case '"':
		return u.text(n.text, where)
	case '0':
		return n.text
	case 't':
		return "true"
	case 'f':
		return "false"
	case '[':
		if len(n.items) == 0 {
			return "[]"
		}
		var b strings.Builder
		b.WriteString("[\n")
		for _, x := range n.items {
			fmt.Fprintf(&b, "%s%s,\n", indent, u.value(x, where, depth+1))
		}
		return b.String() + strings.Repeat("  ", depth) + "]"
	case '{':
		var b strings.Builder
		b.WriteString("{\n")
		for _, f := range n.fields {
			fmt.Fprintf(&b, "%s%q = %s\n", indent, f.name, u.value(f.value, where, depth+1))
		}
		return b.String() + strings.Repeat("  ", depth) + "}"
	}
	return "null"
}
