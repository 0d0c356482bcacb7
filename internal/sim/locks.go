package sim

import (
	"net/http"
	"strings"
)

const lockType = "Microsoft.Authorization/locks"

// locks are management locks (https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources).
func (w *Azure) locks(q *request, scope, id, name string) *reply {
	show := func(r *resource) map[string]any {
		return map[string]any{"id": r.id, "type": lockType, "name": r.name, "properties": copyMap(r.props)}
	}
	if q.method == http.MethodGet && name == "" {
		out := []any{}
		for _, r := range w.all(lockType) {
			if at := lockedScope(r); covers(at, scope) || covers(scope, at) {
				out = append(out, show(r))
			}
		}
		return w.page(q, out)
	}
	r := w.find(id)
	switch {
	case name == "":
	case q.method == http.MethodGet && r == nil:
		return failed(refuse(404, "LockNotFound", "The lock '"+name+"' could not be found."))
	case q.method == http.MethodGet:
		return &reply{status: 200, body: show(r)}
	case q.method == http.MethodDelete && r == nil:
		return &reply{status: 204}
	case q.method == http.MethodDelete:
		w.drop(r.id)
		return &reply{status: 200}
	case q.method == http.MethodPut:
		p := mapping(q.body, "properties")
		if l := text(p, "level"); l != "CanNotDelete" && l != "ReadOnly" {
			return failed(refuse(400, "InvalidLockLevel", "The lock level '"+l+"' is not valid. Valid levels are CanNotDelete and ReadOnly."))
		}
		status := 200
		if r == nil {
			status, r = 201, w.place(id, lockType, "")
		}
		r.props = copyMap(p)
		return &reply{status: status, body: show(r)}
	}
	return w.unknown(q)
}

// lockedScope is what a lock locks: whatever its id hangs off.
func lockedScope(r *resource) string {
	return r.id[:strings.LastIndex(strings.ToLower(r.id), "/providers/microsoft.authorization/")]
}

// locked refuses a write or a deletion of what a lock protects. A deletion takes what is below along, so that a lock there counts
// too.
func (w *Azure) locked(method, id string) *refusal {
	var word string
	switch method {
	case http.MethodPut, http.MethodPatch, http.MethodPost:
		word = "write"
	case http.MethodDelete:
		word = "delete"
	default:
		return nil
	}
	var at []string
	for _, r := range w.all(lockType) {
		scope := lockedScope(r)
		level := text(r.props, "level")
		if (covers(scope, id) || word == "delete" && covers(id, scope)) && (word == "delete" || level == "ReadOnly") {
			at = append(at, scope)
		}
	}
	if at == nil {
		return nil
	}
	return refuse(409, "ScopeLocked", "The scope '"+id+"' cannot perform "+word+" operation because following scope(s) are locked: '"+strings.Join(at, ", ")+"'. Please remove the lock and try again.")
}
