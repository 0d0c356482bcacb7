package main

import (
	"encoding/json"
	"sort"
	"strings"
)

// shape is what a body consists of: its key paths ("properties.subnets[].name") and the texts found under each.
type shape struct {
	keys  map[string][]string
	whole bool // the body was all there, not cut off
	json  bool
}

// shapeOf reads a body token by token, because long recorded ones are cut off: what comes before the cut still counts.
// Maps whose keys a caller chooses are not looked into.
func shapeOf(body string) shape {
	s := shape{keys: map[string][]string{}}
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	err := s.value(d, "", true)
	s.whole = err == nil
	return s
}

func (s *shape) value(d *json.Decoder, path string, keep bool) error {
	tok, err := d.Token()
	if err != nil {
		return err
	}
	switch x := tok.(type) {
	case json.Delim:
		s.json = true
		if x == '[' {
			for d.More() {
				if err := s.value(d, path+"[]", keep); err != nil {
					return err
				}
			}
			_, err := d.Token()
			return err
		}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return err
			}
			name, _ := k.(string)
			below, into := join(path, name), keep
			if keep {
				s.keys[below] = append(s.keys[below], "")[:len(s.keys[below])]
			}
			if chosen(name) {
				into = false
			}
			if err := s.value(d, below, into); err != nil {
				return err
			}
		}
		_, err := d.Token()
		return err
	case string:
		if keep && !strings.HasSuffix(path, "[]") {
			s.keys[path] = append(s.keys[path], x)
		}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// chosen are maps whose keys are the caller's.
func chosen(name string) bool {
	switch strings.ToLower(name) {
	case "tags", "userassignedidentities", "parameters", "artifacttags", "template", "metadata", "policyrule":
		return true
	}
	return false
}

// differ lists the key paths that only one of the two has. Of a body that was cut off nothing can be said to be too much.
func differ(want, have shape) (missing, extra []string, both int) {
	for k := range want.keys {
		if _, ok := have.keys[k]; ok {
			both++
		} else {
			missing = append(missing, k)
		}
	}
	if want.whole {
		for k := range have.keys {
			if _, ok := want.keys[k]; !ok {
				extra = append(extra, k)
			}
		}
	}
	sort.Strings(missing)
	sort.Strings(extra)
	return missing, extra, both
}

// format is how a provider writes its JSON: "crlf" (two spaces, CR LF), "lf" and the indentation, "compact", or "none".
func format(body string) string {
	switch {
	case strings.TrimSpace(body) == "":
		return "none"
	case strings.HasPrefix(body, "{\r\n"), strings.HasPrefix(body, "[\r\n"):
		return "crlf"
	case strings.HasPrefix(body, "{\n  "), strings.HasPrefix(body, "[\n  "):
		return "lf two"
	case strings.HasPrefix(body, "{\n "), strings.HasPrefix(body, "[\n "):
		return "lf one"
	}
	return "compact"
}

// settled are the members whose values are a provider's own words: they must be the same, ids and times need not.
func settled(path string) bool {
	switch path[strings.LastIndex(path, ".")+1:] {
	case "provisioningState", "status", "osType", "osState", "createOption", "diskState", "hyperVGeneration", "powerState", "code", "level", "displayStatus",
		"publicIPAllocationMethod", "privateIPAllocationMethod", "privateIPAddressVersion", "publicIPAddressVersion", "tier", "runState", "runSubState", "registrationState", "type", "access", "direction", "protocol":
		return true
	}
	return false
}

// words compares the settled values under the paths that both have.
func words(want, have shape) (notes []string) {
	for path, v := range want.keys {
		h, ok := have.keys[path]
		if !ok || !settled(path) || len(v) == 0 || len(h) == 0 || strings.Contains(path, "[]") && !want.whole {
			continue
		}
		if a, b := set(v), set(h); !strings.EqualFold(a, b) || a != b && !strings.HasSuffix(path, "type") {
			notes = append(notes, path+": "+a+" is "+b+" here")
		}
	}
	sort.Strings(notes)
	return notes
}

func set(v []string) string {
	seen := map[string]bool{}
	var out []string
	for _, x := range v {
		if !seen[x] {
			seen[x] = true
			out = append(out, x)
		}
	}
	sort.Strings(out)
	return strings.Join(out, ",")
}
