package template

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// names are options that hold an id or the name of something in Azure.
var names = regexp.MustCompile(`^(subscription_id|tenant_id|client_id|object_id|location|vm_size|([a-z_.]+_)?(subscription|resource_group|resource_group_name|gallery_name|image_name|network_name|subnet_name)|[a-z_.]*\.(subscription|resource_group|gallery_name|image_name))$`)

// set puts a value into a field. Null and "" are as if the option were not there; an unknown value is one that was complained
// of where it should have come from.
func (d *decoder) set(f field, x cty.Value, option string, pos diag.Pos) {
	plain, marks := x.UnmarkDeep()
	if plain.IsNull() {
		return
	}
	if !plain.IsWhollyKnown() {
		d.spoil(f, option)
		return
	}
	f.v.SetZero()
	if plain.Type() == cty.String && plain.AsString() == "" {
		return
	}
	defer func() { d.used[option] = !f.v.IsZero() }()
	isSecret := len(marks) > 0
	bad := func(want string) {
		defer d.spoil(f, option)
		d.l.problems.Errorf(pos, "write "+want, "%s in %s is %s, not %s", option, d.what, article(plain.Type().FriendlyName()), want)
	}
	if d.typed && !sameType(f.v, plain.Type()) {
		bad(want(f.v))
		return
	}
	if d.typed && plain.Type().IsObjectType() && f.v.Type() == reflect.TypeFor[map[string]string]() {
		for it := plain.ElementIterator(); it.Next(); {
			if _, v := it.Element(); v.Type() != cty.String && !v.IsNull() {
				bad("a map of texts")
				return
			}
		}
	}
	visible := func() bool {
		if isSecret && names.MatchString(option) {
			// Whoever calls a subscription's id or a group's name sensitive must be able to build all the same.
			d.l.problems.Warnf(pos, "", "%s in %s is sensitive, and is seen all the same: it is part of plans and of Azure's addresses", option, d.what)
			if s, ok := asString(plain); ok {
				d.l.r.SensitiveValues = slices.DeleteFunc(d.l.r.SensitiveValues, func(v string) bool { return v == s })
				d.l.declassified[s] = true
			}
			return true
		}
		if isSecret {
			d.spoil(f, option)
			d.l.problems.Errorf(pos, "use a variable that is not sensitive", "%s in %s cannot hold a sensitive value: it would be seen in plans and in Azure", option, d.what)
		}
		return !isSecret
	}
	switch to := f.v.Addr().Interface().(type) {
	case *image.Text:
		s, ok := asString(plain)
		if !ok {
			bad("a text")
			return
		}
		*to = d.text(option, d.expand(option, s), isSecret || f.secret)
	case *[]image.Text:
		list, ok := elements(x)
		if !ok {
			bad("a list of texts")
			return
		}
		*to = nil // an overlay replaces
		for i, e := range list {
			s, ok := asString(e.plain)
			if !ok {
				bad("a list of texts")
				return
			}
			*to = append(*to, d.text(fmt.Sprintf("%s[%d]", option, i), d.expand(option, s), e.secret || f.secret))
		}
	case *map[string]image.Text:
		m, ok := members(x)
		if !ok {
			bad("a map of texts")
			return
		}
		*to = map[string]image.Text{}
		for k, e := range m {
			s, ok := asString(e.plain)
			if !ok {
				bad("a map of texts")
				return
			}
			(*to)[k] = d.text(option+"."+k, d.expand(option, s), e.secret || f.secret)
		}
	case *map[string]string:
		m, ok := members(x)
		if !ok {
			bad("a map of texts")
			return
		}
		if !visible() {
			return
		}
		*to = map[string]string{}
		for k, e := range m {
			if d.typed && e.plain.IsNull() {
				continue // as good as not there
			}
			s, ok := asString(e.plain)
			if !ok {
				bad("a map of texts")
				return
			}
			(*to)[k] = d.expand(option, s)
		}
	case *string:
		s, ok := asString(plain)
		if !ok {
			bad("a text")
			return
		}
		if visible() {
			*to = d.expand(option, s)
		}
	case *[]string:
		list, ok := elements(x)
		if !ok {
			bad("a list of texts")
			return
		}
		if !visible() {
			return
		}
		*to = []string{}
		for _, e := range list {
			s, ok := asString(e.plain)
			if !ok {
				bad("a list of texts")
				return
			}
			*to = append(*to, d.expand(option, s))
		}
	case *time.Duration:
		s, ok := asString(plain)
		v, err := time.ParseDuration(s)
		if !ok || err != nil || v < 0 {
			bad(`a duration such as "5m"`)
			return
		}
		*to = v
	case *bool:
		b, ok := asBool(plain)
		if !ok {
			bad("true or false")
			return
		}
		*to = b
	case **int:
		n, ok := asInt(plain)
		if !ok || reflect.ValueOf(0).OverflowInt(n) {
			bad("a whole number")
			return
		}
		v := int(n)
		*to = &v
	case **bool:
		v, ok := asBool(plain)
		if !ok {
			bad("true or false")
			return
		}
		*to = &v
	case *int, *int32, *int64:
		n, ok := asInt(plain)
		if !ok || reflect.ValueOf(to).Elem().OverflowInt(n) {
			bad("a whole number")
			return
		}
		f.v.SetInt(n)
	case *float64:
		n, err := convert.Convert(plain, cty.Number)
		if err != nil {
			bad("a number")
			return
		}
		*to, _ = n.AsBigFloat().Float64()
	case *[]int:
		list, ok := elements(x)
		if !ok {
			bad("a list of whole numbers")
			return
		}
		*to = nil
		for _, e := range list {
			n, ok := asInt(e.plain)
			if !ok {
				bad("a list of whole numbers")
				return
			}
			*to = append(*to, int(n))
		}
	case *any:
		if visible() {
			*to = plainJSON(plain)
		}
	default:
		panic(fmt.Sprintf("option %s has a field of type %s, which the decoder does not know", option, f.v.Type()))
	}
}

func (d *decoder) text(option, s string, secret bool) image.Text {
	if !secret || s == "" {
		return image.Plain(s)
	}
	name := d.name + "." + option
	d.l.r.Secrets[name] = s
	return image.Hidden(name, s)
}

// element is one of a list, with whether it is secret by itself.
type element struct {
	plain  cty.Value
	secret bool
}

func unmark(v cty.Value) element {
	plain, marks := v.UnmarkDeep()
	return element{plain, len(marks) > 0}
}

// elements of a list, tuple or set. A single text counts as a list of one, as in Packer.
func elements(x cty.Value) ([]element, bool) {
	x, outer := x.Unmark()
	t := x.Type()
	if t == cty.String {
		e := unmark(x)
		e.secret = e.secret || len(outer) > 0
		return []element{e}, true
	}
	if !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		return nil, false
	}
	var out []element
	for it := x.ElementIterator(); it.Next(); {
		_, v := it.Element()
		e := unmark(v)
		e.secret = e.secret || len(outer) > 0
		out = append(out, e)
	}
	return out, true
}

func members(x cty.Value) (map[string]element, bool) {
	x, outer := x.Unmark()
	if t := x.Type(); !t.IsObjectType() && !t.IsMapType() {
		return nil, false
	}
	out := map[string]element{}
	for it := x.ElementIterator(); it.Next(); {
		k, v := it.Element()
		e := unmark(v)
		e.secret = e.secret || len(outer) > 0
		k, _ = k.Unmark()
		out[k.AsString()] = e
	}
	return out, true
}

// sameType reports whether a value of type t may stand in a field without being converted.
func sameType(f reflect.Value, t cty.Type) bool {
	switch f.Addr().Interface().(type) {
	case *string, *image.Text, *time.Duration:
		return t == cty.String
	case *bool, **bool:
		return t == cty.Bool
	case *int, *int32, *int64, **int, *float64:
		return t == cty.Number
	case *[]string, *[]image.Text, *[]int:
		return t.IsTupleType()
	case *map[string]string, *map[string]image.Text:
		return t.IsObjectType()
	}
	return true
}

// want is what a field takes, for people.
func want(f reflect.Value) string {
	switch f.Addr().Interface().(type) {
	case *string, *image.Text:
		return "a text"
	case *time.Duration:
		return `a duration such as "5m"`
	case *bool, **bool:
		return "true or false"
	case *int, *int32, *int64, **int, *float64:
		return "a number"
	case *[]string, *[]image.Text, *[]int:
		return "a list"
	}
	return "an object"
}

// reflectNames are the names of a struct's options and of those inside it, by their lower-case form.
func reflectNames(v any) map[string]string {
	out := map[string]string{}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || t == reflect.TypeFor[image.Text]() {
			return
		}
		for i := range t.NumField() {
			if name, _, _ := strings.Cut(t.Field(i).Tag.Get("hcl"), ","); name != "" && name != "-" {
				out[strings.ToLower(name)] = name
				walk(t.Field(i).Type)
			}
		}
	}
	walk(reflect.TypeOf(v))
	return out
}

// plainJSON is a value as encoding/json would read it.
func plainJSON(v cty.Value) any {
	t := v.Type()
	switch {
	case v.IsNull():
		return nil
	case t == cty.String:
		return v.AsString()
	case t == cty.Bool:
		return v.True()
	case t == cty.Number:
		n, _ := v.AsBigFloat().Float64()
		return n
	case t.IsObjectType() || t.IsMapType():
		m := map[string]any{}
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			m[k.AsString()] = plainJSON(e)
		}
		return m
	case t.IsTupleType() || t.IsListType() || t.IsSetType():
		list := []any{}
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			list = append(list, plainJSON(e))
		}
		return list
	}
	return nil
}

// asString converts as Packer does: numbers and truth values are texts too.
func asString(v cty.Value) (string, bool) {
	s, err := convert.Convert(v, cty.String)
	if err != nil || s.IsNull() {
		return "", false
	}
	return s.AsString(), true
}

// asBool takes the texts that Packer takes for truth values: true, True, TRUE, t, 1.
func asBool(v cty.Value) (bool, bool) {
	if v.Type() == cty.String {
		b, err := strconv.ParseBool(v.AsString())
		return b, err == nil
	}
	b, err := convert.Convert(v, cty.Bool)
	return err == nil && b.True(), err == nil
}

func asInt(v cty.Value) (int64, bool) {
	n, err := convert.Convert(v, cty.Number)
	if err != nil || n.IsNull() || !n.AsBigFloat().IsInt() {
		return 0, false
	}
	i, accuracy := n.AsBigFloat().Int64()
	return i, accuracy == 0
}

func article(s string) string {
	if strings.IndexByte("aeiou", s[0]) >= 0 {
		return "an " + s
	}
	return "a " + s
}
