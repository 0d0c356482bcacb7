package imagebuilder

import (
	"reflect"
	"regexp"
	"strings"
	"time"

	"ingot/internal/image"
)

var name = regexp.MustCompile(`^[A-Za-z0-9-_.]{1,64}$`)

// ValidName reports whether the service takes s as the name of a template or of a run output.
func ValidName(s string) bool { return name.MatchString(s) }

// Document is a resource, or a part of one, as the service reads it: what is not set is left out. text gives what stands in the place of a text.
func Document(v any, text func(image.Text) any) map[string]any {
	out := map[string]any{}
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer {
		r = r.Elem()
	}
	for i := range r.NumField() {
		name, _, _ := strings.Cut(r.Type().Field(i).Tag.Get("hcl"), ",")
		if name == "" || name == "-" || r.Field(i).IsZero() {
			continue
		}
		if x := document(r.Field(i), text); x != nil {
			out[name] = x
		}
	}
	return out
}

func document(f reflect.Value, text func(image.Text) any) any {
	switch x := f.Interface().(type) {
	case image.Text:
		return text(x)
	case time.Duration:
		return span(x)
	}
	switch f.Kind() {
	case reflect.Pointer:
		return document(f.Elem(), text)
	case reflect.Struct:
		return Document(f.Interface(), text)
	case reflect.Slice:
		var list []any
		for i := range f.Len() {
			list = append(list, document(f.Index(i), text))
		}
		if list == nil {
			return nil
		}
		return list
	case reflect.Map:
		if f.Len() == 0 {
			return nil
		}
		out := map[string]any{}
		for _, k := range f.MapKeys() {
			out[k.String()] = document(f.MapIndex(k), text)
		}
		return out
	case reflect.Interface:
		return f.Interface()
	}
	return f.Interface()
}

// span is a time as the service writes it: 5m, not 5m0s.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
