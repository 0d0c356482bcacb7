package sim

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// How a deployment's template becomes a list of resources.

// unquoted is az's own way of writing a deployment: the template's text stands under a key without quotes (azure-image-builder.md 8.2).
var unquoted = regexp.MustCompile(`([{,]\s*)template:`)

func lenient(raw []byte) []byte {
	return unquoted.ReplaceAll(withoutComments(raw), []byte(`$1"template":`))
}

// withoutComments blanks what JSON does not have and templates may: // to the line's end, and /* to */.
func withoutComments(raw []byte) []byte {
	out := bytes.Clone(raw)
	for i := 0; i < len(out); i++ {
		switch {
		case out[i] == '"':
			for i++; i < len(out) && out[i] != '"'; i++ {
				if out[i] == '\\' {
					i++
				}
			}
		case bytes.HasPrefix(out[i:], []byte("//")):
			for ; i < len(out) && out[i] != '\n'; i++ {
				out[i] = ' '
			}
		case bytes.HasPrefix(out[i:], []byte("/*")):
			end := bytes.Index(out[i:], []byte("*/"))
			if end < 0 {
				return out
			}
			for n := i + end + 2; i < n; i++ {
				out[i] = ' '
			}
			i--
		}
	}
	return out
}

// compileTemplate reads parameters, variables and resources. What only a resource that is already made can say is left for its turn.
func (w *Azure) compileTemplate(q *request, group *resource, id string) (*deploymentData, *refusal) {
	p := mapping(q.body, "properties")
	t := mapping(p, "template")
	invalid := func(format string, args ...any) *refusal {
		return refuse(400, "InvalidTemplate", "Deployment template validation failed: '"+fmt.Sprintf(format, args...)+"'.")
	}
	if t == nil {
		return nil, refuse(400, "InvalidRequestContent", "The request content was invalid: the deployment has no template (templates at an address cannot be fetched here).")
	}
	d := &deploymentData{Params: map[string]any{}, Vars: mapping(t, "variables"), Outputs: mapping(t, "outputs"), Caller: q.who.ObjectID, Began: w.clock.Now()}
	given := mapping(p, "parameters")
	for name, x := range mapping(t, "parameters") {
		v, ok := mapping(given, name)["value"]
		if !ok {
			if v, ok = mapping(x)["defaultValue"]; !ok {
				return nil, invalid("The value for the template parameter '%s' at line '1' and column '1' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage details.", name)
			}
		}
		d.Params[name] = v
	}
	for name := range given {
		if _, ok := mapping(t, "parameters")[name]; !ok {
			return nil, invalid("The template parameters '%s' in the parameters file are not valid; they are not present in the original template and can therefore not be provided at deployment time.", name)
		}
	}
	s := w.scopeOf(d, group, lastPart(id))
	s.reference = nil
	for _, x := range items(t, "resources") {
		if err := w.addResource(d, s, group, mapping(x), ""); err != nil {
			return nil, invalid("%s", err)
		}
	}
	byName := map[string]string{}
	for _, x := range d.Resources {
		byName[strings.ToLower(x.Name)] = strings.ToLower(x.ID)
		_, short, _ := strings.Cut(x.ID, "/providers/")
		byName[strings.ToLower(short)] = strings.ToLower(x.ID)
		byName[strings.ToLower(x.ID)] = strings.ToLower(x.ID)
		byName[strings.ToLower(x.Type+"/"+x.Name)] = strings.ToLower(x.ID)
	}
	for _, x := range d.Resources {
		for i, a := range x.After {
			to, ok := byName[strings.ToLower(a)]
			if !ok {
				if w.find(a) != nil { // it is there already
					to = ""
				} else {
					return nil, invalid("The resource '%s' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details.", a)
				}
			}
			x.After[i] = to
		}
	}
	return d, nil
}

// addResource takes one resource of a template, with its copies and those nested in it.
func (w *Azure) addResource(d *deploymentData, s *armScope, group *resource, x map[string]any, parent string) error {
	if c, err := s.value(x["condition"]); err != nil {
		return err
	} else if c == false {
		return nil
	}
	count, loop := 1, ""
	if c := mapping(x, "copy"); c != nil {
		n, err := s.value(c["count"])
		if err != nil {
			return err
		}
		f, _ := n.(float64)
		if count, loop = int(f), text(c, "name"); count < 0 || count > 800 {
			return fmt.Errorf("the copy count '%d' is not between 0 and 800", count)
		}
	}
	for i := range count {
		index := map[string]int{}
		for k, v := range s.index {
			index[k] = v
		}
		if loop != "" {
			index[""], index[strings.ToLower(loop)] = i, i
		}
		own := *s
		own.index = index
		get := func(key string) (string, error) {
			v, err := own.value(x[key])
			return textOf(v), err
		}
		typ, err := get("type")
		if err != nil {
			return err
		}
		name, err := get("name")
		if err != nil {
			return err
		}
		if parent != "" && !strings.Contains(typ, ".") {
			p := d.Resources[len(d.Resources)-1]
			for _, y := range d.Resources {
				if strings.EqualFold(y.ID, parent) {
					p = y
				}
			}
			typ, name = p.Type+"/"+typ, p.Name+"/"+name
		}
		names := []any{}
		for _, n := range strings.Split(name, "/") {
			names = append(names, n)
		}
		if len(names) != strings.Count(typ, "/") {
			return fmt.Errorf("the template resource '%s' for type '%s' has incorrect segment lengths", name, typ)
		}
		if k := w.kinds[strings.ToLower(typ)]; k != nil {
			typ = k.typ
		}
		r := &deployed{ID: group.id + "/providers/" + typeAndNames(typ, names), Type: typ, Name: name, Index: index, Body: map[string]any{}}
		for key, v := range x {
			switch strings.ToLower(key) {
			case "type", "name", "apiversion", "dependson", "condition", "copy", "resources", "comments", "scope":
			default:
				r.Body[key] = v
			}
		}
		after, err := own.value(x["dependsOn"])
		if err != nil {
			return err
		}
		r.After = texts(after)
		if parent != "" {
			r.After = append(r.After, parent)
		}
		d.Resources = append(d.Resources, r)
		if len(d.Resources) > 800 {
			return fmt.Errorf("the template has more than 800 resources")
		}
		for _, y := range items(x, "resources") {
			if err := w.addResource(d, &own, group, mapping(y), r.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
