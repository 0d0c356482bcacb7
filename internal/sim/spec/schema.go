// Package spec holds the answers of the simulated Azure against the schemas that Microsoft publishes (Azure/azure-rest-api-specs).
// The schemas are read from the folder that INGOT_SPECS names, a checkout that holds specification/; they are not part of Ingot.
package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// library is a checkout of the specifications, of which files are read when they are needed.
type library struct {
	root     string
	versions map[string]map[string][]string // lower-case provider -> folder of a service -> its versions, sorted
	files    map[string]map[string]any
}

func openLibrary(root string) (*library, error) {
	l := &library{root: root, versions: map[string]map[string][]string{}, files: map[string]map[string]any{}}
	found, err := filepath.Glob(filepath.Join(root, "specification", "*", "resource-manager", "*"))
	if err != nil {
		return nil, err
	}
	for _, provider := range found {
		name := strings.ToLower(filepath.Base(provider))
		for _, pattern := range []string{"stable/*", "*/stable/*"} {
			dirs, err := filepath.Glob(filepath.Join(provider, pattern))
			if err != nil {
				return nil, err
			}
			for _, d := range dirs {
				if l.versions[name] == nil {
					l.versions[name] = map[string][]string{}
				}
				service := filepath.Dir(d)
				l.versions[name][service] = append(l.versions[name][service], filepath.Base(d))
			}
		}
	}
	if len(l.versions) == 0 {
		return nil, fmt.Errorf("cannot find specification/*/resource-manager below %s", root)
	}
	for _, services := range l.versions {
		for _, v := range services {
			sort.Strings(v)
		}
	}
	return l, nil
}

func (l *library) load(file string) (map[string]any, error) {
	if doc, ok := l.files[file]; ok {
		return doc, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	l.files[file] = doc
	return doc, nil
}

// answer is the schema of an operation's answer and the file that it is relative to.
type answer struct {
	file, path, version string
	schema, fallback    map[string]any // of this status; of errors
	declared, accepted  bool           // the status is one of the operation's; it has begun a long operation, and a body is not needed
}

// find returns the operation that a call is, of the version that is asked for or the nearest: the newest before it, else the
// oldest after it. Versions that do not know the path are passed over.
func (l *library) find(method, path, version string, status int) (answer, bool, error) {
	provider := "microsoft.resources"
	if i := strings.LastIndex(strings.ToLower(path), "/providers/"); i >= 0 {
		provider, _, _ = strings.Cut(strings.ToLower(path)[i+len("/providers/"):], "/")
	}
	for _, service := range slices.Sorted(maps.Keys(l.versions[provider])) {
		for _, v := range nearest(l.versions[provider][service], version) {
			files, err := filepath.Glob(filepath.Join(service, v, "*.json"))
			if err != nil {
				return answer{}, false, err
			}
			for _, file := range files {
				doc, err := l.load(file)
				if err != nil {
					return answer{}, false, err
				}
				if a, ok := operation(doc, method, path, status); ok {
					a.file, a.version = file, v
					return a, true, nil
				}
			}
		}
	}
	return answer{}, false, nil
}

func nearest(all []string, version string) []string {
	i, _ := slices.BinarySearch(all, version+"~") // the ones up to it, the newest first
	out := slices.Clone(all[:i])
	slices.Reverse(out)
	out = append(out, all[i:]...)
	return out[:min(4, len(out))]
}

var parameter = regexp.MustCompile(`\\\{[^/]*?\\\}`)

// operation looks a path up in one file; of several templates that match, the one with the fewest parameters counts.
func operation(doc map[string]any, method, path string, status int) (answer, bool) {
	paths, _ := doc["paths"].(map[string]any)
	best, holes := "", 99
	for template := range paths {
		ops, _ := paths[template].(map[string]any)
		if _, ok := ops[strings.ToLower(method)]; !ok || strings.Count(template, "/") == 1 && strings.HasPrefix(template, "/{") {
			continue // "/{roleAssignmentId}" would be every path
		}
		pattern := parameter.ReplaceAllString(regexp.QuoteMeta(template), `[^/]+`)
		if strings.HasPrefix(template, "/{") { // a scope has slashes
			pattern = "/.+?" + strings.TrimPrefix(pattern, "/[^/]+")
		}
		if n := strings.Count(template, "{"); n < holes && regexp.MustCompile(`(?i)^`+pattern+`/?$`).MatchString(path) {
			best, holes = template, n
		}
	}
	if best == "" {
		return answer{}, false
	}
	op, _ := paths[best].(map[string]any)[strings.ToLower(method)].(map[string]any)
	responses, _ := op["responses"].(map[string]any)
	r, declared := responses[fmt.Sprint(status)].(map[string]any)
	schema, _ := r["schema"].(map[string]any)
	others, _ := responses["default"].(map[string]any)
	fallback, _ := others["schema"].(map[string]any)
	long, _ := op["x-ms-long-running-operation"].(bool)
	return answer{path: best, schema: schema, fallback: fallback, declared: declared, accepted: long && status == 202}, true
}

// resolve follows a reference from a file.
func (l *library) resolve(file, ref string) (map[string]any, string, error) {
	where, pointer, _ := strings.Cut(ref, "#")
	if where != "" {
		name, err := url.PathUnescape(where)
		if err != nil {
			return nil, "", err
		}
		file = filepath.Join(filepath.Dir(file), filepath.FromSlash(name))
	}
	doc, err := l.load(file)
	if err != nil {
		return nil, "", err
	}
	var at any = doc
	for _, part := range strings.Split(strings.Trim(pointer, "/"), "/") {
		m, _ := at.(map[string]any)
		at = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	m, ok := at.(map[string]any)
	if !ok {
		return nil, "", fmt.Errorf("cannot resolve %s from %s", ref, file)
	}
	return m, file, nil
}

// flat returns a schema without references, as deep as the body goes: the schemas of the network are circular. Enumerations that
// Azure may extend are open, members that are null are as if they were not there, and formats that are Azure's own are left out.
func (l *library) flat(file string, s map[string]any, body any) (map[string]any, error) {
	for s["$ref"] != nil {
		ref, _ := s["$ref"].(string)
		var err error
		if s, file, err = l.resolve(file, ref); err != nil {
			return nil, err
		}
	}
	out := map[string]any{}
	for _, k := range []string{"type", "required", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems"} {
		if v, ok := s[k]; ok {
			out[k] = v
		}
	}
	if f, _ := s["format"].(string); f == "date-time" || f == "int32" || f == "int64" {
		out["format"] = f
	}
	if e, ok := s["x-ms-enum"].(map[string]any); s["enum"] != nil && (!ok || e["modelAsString"] != true) {
		out["enum"] = s["enum"]
	}
	var parts []any
	all, _ := s["allOf"].([]any)
	for _, p := range all {
		m, _ := p.(map[string]any)
		f, err := l.flat(file, m, body)
		if err != nil {
			return nil, err
		}
		parts = append(parts, f)
	}
	if parts != nil {
		out["allOf"] = parts
	}
	switch b := body.(type) {
	case map[string]any:
		known, _ := s["properties"].(map[string]any)
		more, _ := s["additionalProperties"].(map[string]any)
		props := map[string]any{}
		for k, v := range b {
			m, ok := known[k].(map[string]any)
			if !ok {
				m = more
			}
			if m == nil {
				continue
			}
			f, err := l.flat(file, m, v)
			if err != nil {
				return nil, err
			}
			props[k] = f
		}
		out["properties"] = props
	case []any:
		item, _ := s["items"].(map[string]any)
		var each []any
		for _, v := range b {
			f, err := l.flat(file, item, v)
			if err != nil {
				return nil, err
			}
			each = append(each, f)
		}
		if each != nil {
			out["items"] = each
		}
	}
	return out, nil
}

// members lists what a body has and its schema does not declare, by its place in the body.
func (l *library) members(file string, s map[string]any, body any) ([]string, error) {
	var out []string
	declared := map[string]bool{}
	open := false
	var each func(file string, s map[string]any) error
	each = func(file string, s map[string]any) error {
		for s["$ref"] != nil {
			ref, _ := s["$ref"].(string)
			var err error
			if s, file, err = l.resolve(file, ref); err != nil {
				return err
			}
		}
		all, _ := s["allOf"].([]any)
		for _, p := range all {
			m, _ := p.(map[string]any)
			if err := each(file, m); err != nil {
				return err
			}
		}
		more, hasMore := s["additionalProperties"]
		props, _ := s["properties"].(map[string]any)
		// An object of which nothing is said may hold anything; a discriminated one has members of its own kind.
		open = open || hasMore && more != false || props == nil && all == nil && s["items"] == nil || s["discriminator"] != nil
		switch b := body.(type) {
		case map[string]any:
			for k, v := range b {
				m, ok := props[k].(map[string]any)
				if !ok {
					continue
				}
				declared[k] = true
				inner, err := l.members(file, m, v)
				if err != nil {
					return err
				}
				for _, i := range inner {
					out = append(out, k+"."+i)
				}
			}
		case []any:
			item, _ := s["items"].(map[string]any)
			for _, v := range b {
				inner, err := l.members(file, item, v)
				if err != nil {
					return err
				}
				out = append(out, inner...)
			}
		}
		return nil
	}
	if err := each(file, s); err != nil {
		return nil, err
	}
	if b, ok := body.(map[string]any); ok && !open {
		for k := range b {
			if !declared[k] {
				out = append(out, k)
			}
		}
	}
	return out, nil
}

// withoutNulls drops null members: Azure writes them for optional members, and a null that is required is then missing.
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, m := range v {
			if m != nil {
				out[k] = withoutNulls(m)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = withoutNulls(v[i])
		}
		return out
	}
	return v
}
