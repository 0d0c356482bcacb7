package sim

import (
	"encoding/json"
	"strings"
)

// Bodies are kept as the JSON they are: an answer shows what was sent plus what Azure fills in. These few functions look
// into them; property names compare without case, as Resource Manager's do.

// field is the value at a path, or nil.
func field(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		next, ok := m[p]
		if !ok {
			for k, x := range m {
				if strings.EqualFold(k, p) {
					next = x
					break
				}
			}
		}
		v = next
	}
	return v
}

// text is the string at a path, or "".
func text(v any, path ...string) string {
	s, _ := field(v, path...).(string)
	return s
}

// items is the list at a path, or nil.
func items(v any, path ...string) []any {
	l, _ := field(v, path...).([]any)
	return l
}

// mapping is the object at a path, or nil.
func mapping(v any, path ...string) map[string]any {
	m, _ := field(v, path...).(map[string]any)
	return m
}

// number is the number at a path, or 0. Strings of digits count: templates often quote them.
func number(v any, path ...string) int {
	switch n := field(v, path...).(type) {
	case float64:
		return int(n)
	case int:
		return n
	case int64:
		return int(n)
	case json.Number:
		i, _ := n.Int64()
		return int(i)
	}
	return 0
}

// truth is the boolean at a path, or false.
func truth(v any, path ...string) bool {
	b, _ := field(v, path...).(bool)
	return b
}

// deepCopy copies a JSON value; what one resource shows must not change with another.
func deepCopy(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = deepCopy(e)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = deepCopy(e)
		}
		return out
	}
	return v
}

// copyMap is deepCopy of an object; nil becomes an empty one.
func copyMap(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return deepCopy(m).(map[string]any)
}

// sameID compares resource ids as Azure does, without case.
func sameID(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

// idPart is the value after a key in a resource id: idPart(id, "virtualNetworks").
func idPart(id, key string) string {
	parts := strings.Split(id, "/")
	for i := 0; i+1 < len(parts); i++ {
		if strings.EqualFold(parts[i], key) {
			return parts[i+1]
		}
	}
	return ""
}

// lastPart is the name at the end of a resource id.
func lastPart(id string) string { return id[strings.LastIndex(id, "/")+1:] }
