package template

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"ingot/internal/image"
	"ingot/internal/provisioner"
	"ingot/internal/template/braces"
)

// Convert makes a template of one that was loaded without errors. Between Packer's own languages variables and comments stay; to
// Image Builder, and from it, everything is evaluated first.
func Convert(r *Result, to Language, o Options) (Written, error) {
	w, err := convertTo(r, to, o)
	if err == nil && r.avd {
		why := "they stay in their *.ingot.hcl file, which must stand beside the new template by its name"
		if r.Language != to && (r.Language == ImageBuilder || to == ImageBuilder) || slices.ContainsFunc(r.Files, func(name string) bool { return strings.HasSuffix(name, ".pkr.json") }) {
			why = "written as the steps that they are: take the blocks out of the *.ingot.hcl file beside the new template, or they run twice"
		}
		w.Losses = append(w.Losses, Loss{Field: "avd_customizer", Kind: "lossy", Reason: why})
	}
	return w, err
}

func convertTo(r *Result, to Language, o Options) (Written, error) {
	abs := func(name string) string { return (&loader{o: o}).abs(name) }
	switch {
	case r.Language == PackerHCL && to == PackerHCL:
		var out Written
		var text bytes.Buffer
		for _, name := range r.Files {
			if !strings.HasSuffix(name, ".pkr.hcl") {
				if strings.HasSuffix(name, ".pkr.json") {
					return fromModel(r, to)
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
		u := &upgrade{root: root, locals: map[string]bool{}, labels: map[string]string{}, names: map[string]string{}, s: newSecrets()}
		return u.write(), nil
	}
	return fromModel(r, to)
}

// fromModel is Write, with what evaluating the template has lost.
func fromModel(r *Result, to Language) (Written, error) {
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
	names  map[string]string // variable -> what HCL calls it
	s      *secrets          // variables made for secrets that stood in the template

	running bool // in the build, where build.User and the like may stand
	exact   bool // in a value of any form, over whose texts no engine runs in HCL
}

func (u *upgrade) write() Written {
	u.comments()
	u.packer()
	u.variables()
	taken := map[string]bool{}
	builders := u.items("builders")
	for _, b := range builders {
		name := nameOf(b)
		label := labelOf(name, taken)
		u.labels[name] = label
		if label != name {
			u.out.Losses = append(u.out.Losses, Loss{Field: "builders.name", Kind: "lossy", Reason: fmt.Sprintf("HCL cannot name a source %q: it is %s", name, label)})
		}
		fields := map[string]field{}
		collect(reflect.ValueOf(&azureARM{}).Elem(), fields)
		fmt.Fprintf(&u.b, "\nsource %q %q {\n", b.get("type").text, label)
		u.body(b, fields, 1, "type", "name")
		u.b.WriteString("}\n")
	}
	u.running = true
	u.b.WriteString("\nbuild {\n  sources = [\n")
	for _, b := range builders {
		fmt.Fprintf(&u.b, "    \"source.%s.%s\",\n", b.get("type").text, u.labels[nameOf(b)])
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
	for _, v := range u.s.list {
		fmt.Fprintf(&u.b, "\nvariable %q {\n  type      = string\n  sensitive = true\n}\n", v)
	}
	u.out.Needs, u.out.value = append(u.out.Needs, u.s.list...), u.s.value
	u.out.Text = hclwrite.Format(u.b.Bytes())
	return u.out
}

// nameOf is a builder's name: its type when it has none.
func nameOf(b *jsonNode) string {
	if n := b.get("name"); n != nil && n.text != "" {
		return n.text
	}
	return b.get("type").text
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
	var kinds []string
	for _, p := range append(slices.Clone(u.items("provisioners")), u.root.get("error-cleanup-provisioner")) {
		if t := p.get("type"); t != nil {
			kinds = append(kinds, t.text)
		}
	}
	u.b.WriteString(plugins(kinds) + "}\n")
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
		if hclsyntax.ValidIdentifier(f.name) {
			u.names[f.name], u.s.taken[f.name] = f.name, true
		}
	}
	for _, f := range n.fields {
		if u.names[f.name] == "" {
			u.names[f.name] = u.s.free(strings.Trim(notName.ReplaceAllString(f.name, "_"), "_"))
			u.out.Losses = append(u.out.Losses, Loss{Field: "variables." + f.name, Kind: "lossy", Reason: "HCL cannot name a variable so: it is " + u.names[f.name]})
		}
	}
	for _, f := range n.fields {
		text, given := scalar(f.value)
		name := u.names[f.name]
		sensitive := ""
		if secret[f.name] {
			sensitive = "  sensitive = true\n"
		}
		fmt.Fprintf(&u.b, "\nvariable %q {\n  type = string\n", name)
		switch {
		case u.locals[f.name]:
			// A default can compute nothing: the local does, unless somebody sets the variable.
			fmt.Fprintf(&u.b, "  default = null\n%s}\n\nlocal %q {\n  expression = var.%s != null ? var.%s : %s\n%s}\n", sensitive, name, name, name, u.text(text, "variables."+f.name), sensitive)
			continue
		case given && sensitive != "" && text != "" && !braces.Has(text):
			u.out.Needs = append(u.out.Needs, name)
			u.s.values[name] = image.Hidden(name, text)
			u.out.Losses = append(u.out.Losses, Loss{Field: "variables." + f.name, Kind: "lossy", Reason: "the default of a sensitive variable is a secret and is not written: give it from outside"})
		case given:
			fmt.Fprintf(&u.b, "  default = %s\n", u.text(text, "variables."+f.name))
		}
		u.b.WriteString(sensitive + "}\n")
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
	if uses, err := braces.Uses(s); !u.exact && err == nil && len(uses) == 0 && constant.MatchString(s) {
		// A text that makes braces is left to the engine, which runs over texts of HCL too: written out, they would be run.
		return quotedHCL(s)
	}
	expr, exact, why := braces.ToHCL(s, func(user string) string {
		if u.locals[user] {
			return "local." + u.names[user]
		}
		return "var." + u.names[user]
	})
	if !exact {
		u.out.Losses = append(u.out.Losses, Loss{Field: where, Kind: "lossy", Reason: why})
	}
	if !u.running {
		for range 2 { // of two side by side the first pass finds one
			expr = inSource.ReplaceAllString(expr, "$1{{ build `$2` }}")
		}
	}
	return unwrapped(expr)
}

// inSource is a value of a running build where HCL does not let it stand; the engine that runs over its texts leaves it as it is.
var inSource = regexp.MustCompile(`(^|[^$])\$\{build\.([A-Za-z]+)\}`)

// constant is an action that says a text, such as {{`{{`}}.
var constant = regexp.MustCompile("\\{\\{-?\\s*[`\"]")

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
			u.out.Losses = append(u.out.Losses, Loss{Field: f.name, Kind: "lossy", Reason: "the secret stood in the template: a variable takes its place"})
			fmt.Fprintf(&u.b, "%s%s = var.%s\n", indent, f.name, u.s.variable(image.Hidden(f.name, f.value.text)))
		case f.name == "only" || f.name == "except":
			fmt.Fprintf(&u.b, "%s%s = [", indent, f.name)
			for i, x := range f.value.items {
				if i > 0 {
					u.b.WriteString(", ")
				}
				name := x.text
				if l, ok := u.labels[strings.TrimPrefix(name, "azure-arm.")]; ok {
					name = "azure-arm." + l
				}
				u.b.WriteString(quotedHCL(name))
			}
			u.b.WriteString("]\n")
		case f.name == "override":
			fmt.Fprintf(&u.b, "%soverride = {\n", indent)
			for _, o := range f.value.fields {
				name := o.name
				if l, ok := u.labels[strings.TrimPrefix(name, "azure-arm.")]; ok {
					name = l
				}
				fmt.Fprintf(&u.b, "%s  %s = %s\n", indent, quotedHCL(name), u.value(o.value, "override", depth+1))
			}
			fmt.Fprintf(&u.b, "%s}\n", indent)
		default:
			u.exact = known && fd.v.Kind() == reflect.Interface
			fmt.Fprintf(&u.b, "%s%s = %s\n", indent, f.name, u.value(f.value, f.name, depth))
			u.exact = false
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
			fmt.Fprintf(&b, "%s%s = %s\n", indent, quotedHCL(f.name), u.value(f.value, where, depth+1))
		}
		return b.String() + strings.Repeat("  ", depth) + "}"
	}
	return "null"
}
