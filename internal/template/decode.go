package template

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// decoder fills settings structs from blocks. The structs are the schema: a field's `hcl:"name"` tag is the option,
// `hcl:"name,block"` a nested block, `hcl:"name,secret"` an option that is secret whatever it was made of.
type decoder struct {
	l    *loader
	ctx  *hcl.EvalContext
	what string // for messages: `source "azure-arm" "win11"`
	name string // for the names of secrets
	pos  map[string]diag.Pos
	elem map[string]diag.Pos // places of a list's elements: "inline[2]"
	at   diag.Pos            // of the whole block

	sourceName, sourceType string // for {{build_name}} and {{build_type}}

	running bool            // build.Host and the like are known when it is used
	typed   bool            // a number is a number and no text of one: the service does not convert
	loose   bool            // unknown options are a warning: the tool that the template is for ignores them
	used    map[string]bool // options with a value other than their type's zero
	broken  map[string]bool // options that were complained of already: no rule complains of them again
}

func (l *loader) decoder(ctx *hcl.EvalContext, what, name string, at diag.Pos) *decoder {
	return &decoder{l: l, ctx: ctx, what: what, name: name, pos: map[string]diag.Pos{}, elem: map[string]diag.Pos{}, at: at, used: map[string]bool{}, broken: map[string]bool{}}
}

// place is where an option stands, or the block when it is not set.
func (d *decoder) place(option string) diag.Pos {
	if p, ok := d.pos[option]; ok {
		return p
	}
	if p, ok := d.elem[option]; ok {
		return p
	}
	if list, _, ok := strings.Cut(option, "["); ok {
		return d.place(list)
	}
	return d.at
}

// has reports whether the option has a value in the template. "", false and 0 are as good as none, as in Packer.
func (d *decoder) has(option string) bool { return d.used[option] }

// fail complains of an option, unless that was done already.
func (d *decoder) fail(option, remedy, format string, args ...any) {
	if !d.broken[option] {
		d.l.problems.Errorf(d.place(option), remedy, format, args...)
	}
}

// spoil remembers that an option was complained of, and gives it a value so that no rule finds it missing.
func (d *decoder) spoil(f field, option string) {
	d.broken[option] = true
	switch to := f.v.Addr().Interface().(type) {
	case *string:
		*to = "unknown"
	case *image.Text:
		*to = image.Plain("unknown")
	case *[]string:
		*to = []string{"unknown"}
	case *[]image.Text:
		*to = []image.Text{image.Plain("unknown")}
	}
}

// into decodes attributes and blocks into the structs that to points to; bodies later in the list overlay earlier ones, with a
// warning, since Packer refuses a field that is set twice
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/blocks/build/source). skip are attributes that somebody
// else reads.
func (d *decoder) into(to any, prefix string, skip []string, bodies ...hcl.Body) {
	fields := map[string]field{}
	if list, ok := to.([]any); ok {
		for _, t := range list {
			collect(reflect.ValueOf(t).Elem(), fields)
		}
	} else {
		collect(reflect.ValueOf(to).Elem(), fields)
	}
	seen := map[string]diag.Pos{}
	for _, body := range bodies {
		c := d.content(body, fields, prefix, skip, nil)
		for _, a := range sorted(c.Attributes) {
			f, ok := fields[a.Name]
			if !ok {
				continue // somebody else's
			}
			if first, again := seen[a.Name]; again {
				d.l.problems.Warnf(at(a.NameRange), "set it in one of the two if Packer must read this template too",
					"%s in %s is set already, at %s: Packer refuses that; here the build's own value counts", prefix+a.Name, d.what, first)
			}
			seen[a.Name] = at(a.NameRange)
			d.pos[prefix+a.Name] = at(a.NameRange)
			if list, problems := hcl.ExprList(a.Expr); !problems.HasErrors() {
				for i, x := range list {
					d.elem[fmt.Sprintf("%s[%d]", prefix+a.Name, i)] = at(x.Range())
				}
			}
			d.attribute(f, a, prefix)
		}
		for _, b := range c.Blocks {
			f := fields[b.Type]
			if f.block {
				d.block(f, b, prefix)
				continue
			}
			// A map written as a block is common (azure_tags { … }) and means the same.
			d.pos[prefix+b.Type] = at(b.TypeRange)
			d.mapBlock(f, b, prefix)
		}
	}
}

// content reads a body by the names of fields, skip and more; what else stands in it is a problem.
func (d *decoder) content(body hcl.Body, fields map[string]field, prefix string, skip []string, more []hcl.BlockHeaderSchema) *hcl.BodyContent {
	s := &hcl.BodySchema{Blocks: more}
	for _, name := range keys(fields) {
		f := fields[name]
		if f.block || f.v.Kind() == reflect.Map && writtenAsBlock(body, name) {
			s.Blocks = append(s.Blocks, hcl.BlockHeaderSchema{Type: name})
		} else {
			s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: name})
		}
	}
	for _, name := range skip {
		if _, ok := fields[name]; !ok {
			s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: name})
		}
	}
	known := append(keys(fields), skip...)
	for _, b := range more {
		known = append(known, b.Type)
	}
	c, problems := body.Content(s)
	d.l.noteNames(problems, known, fields, prefix, d.what, d.loose)
	const most = 5000 // no person writes so many; a dynamic block can
	if len(c.Blocks) > most {
		d.l.problems.Errorf(at(c.Blocks[0].DefRange), "", "%s has more than %d blocks", d.what, most)
		c.Blocks = nil
	}
	return c
}

// opened is a body of HCL whose dynamic blocks are written out when it is read; so are those of all blocks inside it.
type opened struct {
	hcl.Body
	native *hclsyntax.Body // nil in HCL's JSON form
}

// open makes a body ready to be decoded in ctx.
func (l *loader) open(b hcl.Body, ctx *hcl.EvalContext) hcl.Body {
	native, _ := b.(*hclsyntax.Body)
	if native != nil && !l.affordableLoops(native) {
		return opened{hcl.EmptyBody(), nil}
	}
	return opened{dynblock.Expand(b, ctx), native}
}

// affordableLoops judges what dynamic blocks loop over, which is evaluated out of our sight.
func (l *loader) affordableLoops(b *hclsyntax.Body) bool {
	for _, in := range b.Blocks {
		if a := in.Body.Attributes["for_each"]; in.Type == "dynamic" && a != nil && !l.affordable(a.Expr) {
			return false
		}
		if !l.affordableLoops(in.Body) {
			return false
		}
	}
	return true
}

// writtenAsBlock reports whether HCL has name as a block and not as an attribute.
func writtenAsBlock(b hcl.Body, name string) bool {
	o, ok := b.(opened)
	if !ok || o.native == nil || o.native.Attributes[name] != nil {
		return false
	}
	native := o.native
	return slices.ContainsFunc(native.Blocks, func(b *hclsyntax.Block) bool { return b.Type == name && len(b.Labels) == 0 && len(b.Body.Blocks) == 0 })
}

// noteNames says of names that are not known what stands in their place in what; everything else in the list is noted as it is.
func (l *loader) noteNames(list hcl.Diagnostics, known []string, fields map[string]field, prefix, what string, loose bool) {
	for _, p := range list {
		if p.Subject == nil {
			l.note(hcl.Diagnostics{p})
			continue
		}
		name := l.textAt(*p.Subject)
		f, isField := fields[name]
		switch {
		case p.Summary == "Unsupported argument" && isField && f.block:
			l.problems.Errorf(at(*p.Subject), fmt.Sprintf("write %s { … } without =", name), "%s in %s is a block", prefix+name, what)
		case p.Summary == "Unsupported block type" && isField:
			l.problems.Errorf(at(*p.Subject), "write "+name+" = …", "%s in %s is no block", prefix+name, what)
		case p.Summary == "Unsupported block type":
			l.problems.Errorf(at(*p.Subject), cmp.Or(meant(name, known), "remove it, or correct its name"), "unknown block %q in %s", prefix+name, what)
		case (p.Summary == "Unsupported argument" || p.Summary == "Extraneous JSON object property") && loose:
			l.problems.Warnf(at(*p.Subject), meant(name, known), "unknown option %q in %s has no effect", prefix+name, what)
		case p.Summary == "Unsupported argument" || p.Summary == "Extraneous JSON object property":
			l.problems.Errorf(at(*p.Subject), cmp.Or(meant(name, known), "remove it, or correct its name"), "unknown option %q in %s", prefix+name, what)
			if l.r.Language == ImageBuilder && !strings.Contains(what, "Ingot") {
				l.problems[len(l.problems)-1].Detail = fmt.Sprintf("Image Builder says: Unmarshalling entity encountered error: … unknown field %q. There is an issue with the syntax with the JSON template you are submitting. Please check the JSON template for syntax and grammar.", name)
			}
		default:
			l.note(hcl.Diagnostics{p})
		}
	}
}

// textAt is what stands in a range of a file, without quotes.
func (l *loader) textAt(r hcl.Range) string {
	text := l.r.Sources[r.Filename]
	if r.Start.Byte < 0 || r.End.Byte > len(text) || r.Start.Byte > r.End.Byte {
		return ""
	}
	return strings.Trim(string(text[r.Start.Byte:r.End.Byte]), `"`)
}

type field struct {
	v      reflect.Value
	block  bool
	secret bool
}

func collect(v reflect.Value, out map[string]field) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			collect(v.Field(i), out)
			continue
		}
		name, rest, _ := strings.Cut(f.Tag.Get("hcl"), ",")
		if name != "" && name != "-" {
			out[name] = field{v: v.Field(i), block: rest == "block", secret: rest == "secret"}
		}
	}
}

// block decodes a nested block. The second of several that make a list is known as "name[1]", so that every one has places of
// its own.
func (d *decoder) block(f field, b *hcl.Block, prefix string) {
	target, name := f.v, prefix+b.Type
	if f.v.Kind() == reflect.Slice {
		name = nth(name, f.v.Len())
		f.v.Set(reflect.Append(f.v, reflect.New(f.v.Type().Elem()).Elem()))
		target = f.v.Index(f.v.Len() - 1)
	}
	if target.Kind() == reflect.Pointer {
		if !target.IsNil() {
			d.l.problems.Errorf(at(b.TypeRange), "put everything into one", "%s stands twice in %s", prefix+b.Type, d.what)
			return
		}
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	d.pos[name], d.used[name] = at(b.TypeRange), true
	d.into(target.Addr().Interface(), name+".", nil, b.Body)
}

// nth names the n-th block of a list.
func nth(name string, n int) string {
	if n == 0 {
		return name
	}
	return fmt.Sprintf("%s[%d]", name, n)
}

func (d *decoder) mapBlock(f field, b *hcl.Block, prefix string) {
	m := map[string]cty.Value{}
	attrs, problems := b.Body.JustAttributes()
	d.l.note(problems)
	for _, a := range sorted(attrs) {
		x, ok := d.value(a.Expr)
		if !ok {
			x = cty.DynamicVal
		}
		m[a.Name] = x
	}
	d.set(f, cty.ObjectVal(m), prefix+b.Type, at(b.TypeRange))
}

func (d *decoder) attribute(f field, a *hcl.Attribute, prefix string) {
	if to, ok := f.v.Addr().Interface().(*hcl.Expression); ok {
		*to = a.Expr
		return
	}
	if f.secret {
		d.l.maskLiteral(a.Expr)
	}
	x, ok := d.value(a.Expr)
	if !ok {
		d.spoil(f, prefix+a.Name)
		return
	}
	d.set(f, x, prefix+a.Name, at(a.Range))
}

// value evaluates an expression; it reports false when something was wrong with it.
func (d *decoder) value(e hcl.Expression) (cty.Value, bool) {
	if !d.l.runtime(e, d.what, d.running) || !d.l.affordable(e) {
		return cty.DynamicVal, false
	}
	x, problems := e.Value(d.ctx)
	d.l.noteValue(e, problems)
	return x, !problems.HasErrors()
}
