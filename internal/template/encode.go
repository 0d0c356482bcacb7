package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"ingot/internal/image"
	"ingot/internal/template/braces"
)

// written is an option on its way out: the inverse of what the decoder reads. A value is nil, bool, int64, float64, string,
// image.Text, exact, []any, [][2]any in order for a map, or []written for a block.
type written struct {
	name  string
	value any
}

// exact is a text in a value of any form, such as Chef's json: the decoder does not look for actions in it.
type exact string

// encode lists the options of a settings struct that are set, in the order of its fields.
func encode(v any) []written { return encodeStruct(reflect.ValueOf(v).Elem()) }

func encodeStruct(v reflect.Value) (out []written) {
	for i := range v.NumField() {
		f, t := v.Field(i), v.Type().Field(i)
		if t.Anonymous {
			out = append(out, encodeStruct(f)...)
			continue
		}
		name, kind, _ := strings.Cut(t.Tag.Get("hcl"), ",")
		if name == "" || name == "-" || f.IsZero() {
			continue
		}
		if kind == "block" {
			switch f.Kind() {
			case reflect.Slice:
				for j := range f.Len() {
					out = append(out, written{name, encodeStruct(f.Index(j))})
				}
			case reflect.Pointer:
				out = append(out, written{name, encodeStruct(f.Elem())})
			default:
				out = append(out, written{name, encodeStruct(f)})
			}
			continue
		}
		if x, ok := plainValue(f); ok {
			out = append(out, written{name, x})
		}
	}
	return out
}

// plainValue is a field's value in the few kinds that written knows; false for a list or map with
// nothing in it, which is as good as none.
func plainValue(f reflect.Value) (any, bool) {
	if d, ok := f.Interface().(time.Duration); ok {
		return duration(d), true
	}
	switch f.Kind() {
	case reflect.Int, reflect.Int32, reflect.Int64:
		return f.Int(), true
	case reflect.Float64:
		return f.Float(), true
	case reflect.Pointer:
		return plainValue(f.Elem())
	case reflect.Slice:
		var list []any
		for i := range f.Len() {
			if e, ok := plainValue(f.Index(i)); ok {
				list = append(list, e)
			}
		}
		return list, len(list) > 0
	case reflect.Map:
		var pairs [][2]any
		for _, k := range keysOf(f) {
			if e, ok := plainValue(f.MapIndex(reflect.ValueOf(k))); ok {
				pairs = append(pairs, [2]any{k, e})
			}
		}
		return pairs, len(pairs) > 0
	case reflect.Interface:
		return exactly(f.Interface()), true
	}
	return f.Interface(), true
}

// exactly is a value of any form with everything in it, empty lists and null too.
func exactly(v any) any {
	switch v := v.(type) {
	case string:
		return exact(v)
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = exactly(e)
		}
		return list
	case map[string]any:
		pairs := [][2]any{}
		for _, k := range keys(v) {
			pairs = append(pairs, [2]any{k, exactly(v[k])})
		}
		return pairs
	}
	return v
}

func keysOf(m reflect.Value) []string {
	var out []string
	for _, k := range m.MapKeys() {
		out = append(out, k.String())
	}
	slices.Sort(out)
	return out
}

// duration is a time as templates write it: 5m, not 5m0s.
func duration(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	if s == "" || !strings.ContainsAny(s[len(s)-1:], "hms") {
		return d.String()
	}
	return s
}

// secrets are the variables that a written template gets for values that must not stand in it.
type secrets struct {
	names  map[[2]string]string // of the hidden text and its value -> of the variable: images may share a text's name
	values map[string]image.Text
	list   []string // the variables, in the order they were met
	taken  map[string]bool
}

func newSecrets() *secrets {
	return &secrets{names: map[[2]string]string{}, values: map[string]image.Text{}, taken: map[string]bool{}}
}

var notName = regexp.MustCompile(`[^A-Za-z0-9]+`)

// variable is the name of the variable for a hidden text.
func (s *secrets) variable(t image.Text) string {
	id := [2]string{t.Secret(), t.Reveal()}
	if v, ok := s.names[id]; ok {
		return v
	}
	name := s.free(strings.Trim(notName.ReplaceAllString(t.Secret()[strings.LastIndexAny(t.Secret(), "./")+1:], "_"), "_"))
	s.names[id], s.values[name] = name, t
	s.list = append(s.list, name)
	return name
}

// value is what a variable stands for.
func (s *secrets) value(name string) (string, bool) {
	t, ok := s.values[name]
	return t.Reveal(), ok
}

// free is a name like base that no other variable has.
func (s *secrets) free(base string) string {
	if base == "" || base[0] >= '0' && base[0] <= '9' {
		base = strings.Trim("secret_"+base, "_")
	}
	name := base
	for i := 2; s.taken[name]; i++ {
		name = base + "_" + strconv.Itoa(i)
	}
	s.taken[name] = true
	return name
}

// literal is a text as Packer's template engine must find it so that it comes out as it is: what the engine would act on is
// quoted, what only a provisioner knows stays.
func literal(s string) string {
	if !braces.Has(s) {
		return s
	}
	e := &braces.Engine{UUID: func() string { return "" }, Env: func(string) string { return "" }}
	if r, err := e.Expand(s); err == nil && r.Text == s {
		return s
	}
	return strings.ReplaceAll(s, "{{", "{{`{{`}}")
}

// hclText writes HCL.
type hclText struct {
	b       *bytes.Buffer
	s       *secrets
	running bool // in a provisioner or post-processor, where build.User and the like may stand
}

func (w hclText) body(list []written, depth int) {
	indent := strings.Repeat("  ", depth)
	for _, o := range list {
		if block, ok := o.value.([]written); ok {
			fmt.Fprintf(w.b, "%s%s {\n", indent, o.name)
			w.body(block, depth+1)
			fmt.Fprintf(w.b, "%s}\n", indent)
			continue
		}
		fmt.Fprintf(w.b, "%s%s = %s\n", indent, o.name, w.value(o.value, depth))
	}
}

var runtimeText = regexp.MustCompile("\\{\\{ build `(" + strings.Join(image.RuntimeNames(), "|") + ")` \\}\\}")

// value is an expression.
func (w hclText) value(v any, depth int) string {
	indent := strings.Repeat("  ", depth+1)
	switch v := v.(type) {
	case image.Text:
		if v.Secret() != "" {
			return "var." + w.s.variable(v)
		}
		return w.value(v.Reveal(), depth)
	case string:
		return w.text(literal(v))
	case exact:
		return quotedHCL(string(v))
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		var b strings.Builder
		b.WriteString("[\n")
		for _, e := range v {
			fmt.Fprintf(&b, "%s%s,\n", indent, w.value(e, depth+1))
		}
		return b.String() + strings.Repeat("  ", depth) + "]"
	case [][2]any:
		var b strings.Builder
		b.WriteString("{\n")
		for _, p := range v {
			// The decoder looks for actions in values only.
			fmt.Fprintf(&b, "%s%s = %s\n", indent, quotedHCL(fmt.Sprint(p[0])), w.value(p[1], depth+1))
		}
		return b.String() + strings.Repeat("  ", depth) + "}"
	case nil:
		return "null"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// text is a text whose placeholders of a running build are written in HCL's own way.
func (w hclText) text(s string) string {
	if !w.running {
		return quotedHCL(s)
	}
	var b strings.Builder
	end := 0
	for _, m := range runtimeText.FindAllStringSubmatchIndex(s, -1) {
		if m[0] == 0 && m[1] == len(s) {
			return "build." + s[m[2]:m[3]]
		}
		b.WriteString(escaped(s[end:m[0]], true) + "${build." + s[m[2]:m[3]] + "}")
		end = m[1]
	}
	return `"` + b.String() + escaped(s[end:], false) + `"`
}

// quotedHCL is a text as HCL writes it.
func quotedHCL(s string) string { return `"` + escaped(s, false) + `"` }

// escaped is a text for the inside of a quoted HCL template; joined says that an interpolation follows, so that a last $ must not
// meet it (https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md, template literals).
func escaped(s string, joined bool) string {
	var b strings.Builder
	list := []rune(strings.ToValidUTF8(s, "\ufffd"))
	for i, r := range list {
		next := rune(0)
		if i+1 < len(list) {
			next = list[i+1]
		} else if joined {
			next = '$'
		}
		switch {
		case r == '"' || r == '\\':
			b.WriteString("\\" + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case (r == '$' || r == '%') && next == '{':
			b.WriteString(string(r) + string(r))
		case (r == '$' || r == '%') && (next == '$' || next == '%'):
			fmt.Fprintf(&b, `\u%04x`, r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 1<<16:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// jsonText writes JSON in the order of the options. texts says how a text and a secret are written.
type jsonText struct {
	b     *bytes.Buffer
	texts func(v any) string    // v is a string, an exact or an image.Text
	keys  func(k string) string // a map's key; nil: as it is
}

// object writes options as members. Blocks of one name in a row become a list when lists says so, or when there are several.
func (w jsonText) object(list []written, depth int, lists func(name string) bool) {
	indent := strings.Repeat("  ", depth+1)
	w.b.WriteString("{")
	first := true
	for i := 0; i < len(list); i++ {
		o := list[i]
		if !first {
			w.b.WriteString(",")
		}
		first = false
		fmt.Fprintf(w.b, "\n%s%s: ", indent, quoted(o.name))
		block, ok := o.value.([]written)
		if !ok {
			w.value(o.value, depth+1)
			continue
		}
		blocks := [][]written{block}
		for i+1 < len(list) && list[i+1].name == o.name {
			if next, ok := list[i+1].value.([]written); ok {
				blocks = append(blocks, next)
				i++
				continue
			}
			break
		}
		if len(blocks) == 1 && !lists(o.name) {
			w.object(block, depth+1, lists)
			continue
		}
		w.b.WriteString("[")
		for j, x := range blocks {
			if j > 0 {
				w.b.WriteString(",")
			}
			fmt.Fprintf(w.b, "\n%s", strings.Repeat("  ", depth+2))
			w.object(x, depth+2, lists)
		}
		fmt.Fprintf(w.b, "\n%s]", indent)
	}
	if !first {
		fmt.Fprintf(w.b, "\n%s", strings.Repeat("  ", depth))
	}
	w.b.WriteString("}")
}

func (w jsonText) value(v any, depth int) {
	indent := strings.Repeat("  ", depth+1)
	switch v := v.(type) {
	case string, exact, image.Text:
		w.b.WriteString(quoted(w.texts(v)))
	case []any:
		if len(v) == 0 {
			w.b.WriteString("[]")
			return
		}
		w.b.WriteString("[")
		for i, e := range v {
			if i > 0 {
				w.b.WriteString(",")
			}
			fmt.Fprintf(w.b, "\n%s", indent)
			w.value(e, depth+1)
		}
		fmt.Fprintf(w.b, "\n%s]", strings.Repeat("  ", depth))
	case [][2]any:
		if len(v) == 0 {
			w.b.WriteString("{}")
			return
		}
		w.b.WriteString("{")
		for i, p := range v {
			if i > 0 {
				w.b.WriteString(",")
			}
			key := fmt.Sprint(p[0])
			if w.keys != nil {
				key = w.keys(key)
			}
			fmt.Fprintf(w.b, "\n%s%s: ", indent, quoted(key))
			w.value(p[1], depth+1)
		}
		fmt.Fprintf(w.b, "\n%s}", strings.Repeat("  ", depth))
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			raw = []byte("null")
		}
		w.b.Write(raw)
	}
}

// quoted is a JSON string without the escapes that only web pages need.
func quoted(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}
