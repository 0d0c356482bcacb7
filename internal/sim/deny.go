package sim

import (
	"net/http"
	"strings"
)

const denyType = "Microsoft.Authorization/denyAssignments"

// everyone is the principal that stands for all (https://learn.microsoft.com/azure/role-based-access-control/deny-assignments).
const everyone = "00000000-0000-0000-0000-000000000000"

// denyAssignments keep identities from what their roles allow. Azure makes them for managed applications and deployment stacks; people
// can since version 2024-07-01-preview of the interface (Azure/azure-cli pull request 33109).
func (w *Azure) denyAssignments(q *request, scope, id, name string) *reply {
	show := func(r *resource) map[string]any {
		return map[string]any{"id": r.id, "type": denyType, "name": r.name, "properties": copyMap(r.props)}
	}
	if q.method == http.MethodGet && name == "" {
		t := terms(q.query.Get("$filter"))
		out := []any{}
		for _, r := range w.all(denyType) {
			at, who := text(r.props, "scope"), or(t["principalid"], t["assignedto"])
			if (covers(at, scope) || covers(scope, at) && t["atscope"] == "") && (who == "" || isNamed(items(r.props, "principals"), who)) {
				out = append(out, show(r))
			}
		}
		return w.page(q, out)
	}
	r := w.find(id)
	switch {
	case name == "":
	case q.method == http.MethodGet && r == nil:
		return failed(refuse(404, "DenyAssignmentNotFound", "The deny assignment '"+name+"' is not found."))
	case q.method == http.MethodGet:
		return &reply{status: 200, body: show(r)}
	case q.method == http.MethodDelete && r == nil:
		return &reply{status: 204}
	case q.method == http.MethodDelete:
		w.drop(r.id)
		return &reply{status: 200, body: show(r)}
	case q.method == http.MethodPut:
		status := 200
		if r == nil {
			status, r = 201, w.place(id, denyType, "")
		}
		p := mapping(q.body, "properties")
		now := stamp(w.clock.Now())
		r.props = map[string]any{"denyAssignmentName": or(text(p, "denyAssignmentName"), name), "description": text(p, "description"), "permissions": append([]any{}, items(p, "permissions")...), "scope": scope,
			"doNotApplyToChildScopes": truth(p, "doNotApplyToChildScopes"), "principals": append([]any{}, items(p, "principals")...), "excludePrincipals": append([]any{}, items(p, "excludePrincipals")...),
			"isSystemProtected": truth(p, "isSystemProtected"), "createdOn": now, "updatedOn": now, "createdBy": q.who.ObjectID, "updatedBy": q.who.ObjectID}
		return &reply{status: status, body: show(r)}
	}
	return w.unknown(q)
}

func isNamed(list []any, objectID string) bool {
	for _, p := range list {
		if id := text(p, "id"); id == everyone || strings.EqualFold(id, objectID) {
			return true
		}
	}
	return false
}

// denial is the deny assignment that keeps an identity from an action, or nil.
func (w *Azure) denial(p *principal, action, scope string, data bool) *resource {
	for _, r := range w.all(denyType) {
		at := text(r.props, "scope")
		if !covers(at, scope) || truth(r.props, "doNotApplyToChildScopes") && !sameID(at, scope) || !isNamed(items(r.props, "principals"), p.ObjectID) || isNamed(items(r.props, "excludePrincipals"), p.ObjectID) {
			continue
		}
		yes, no := "actions", "notActions"
		if data {
			yes, no = "dataActions", "notDataActions"
		}
		for _, x := range items(r.props, "permissions") {
			if matchAny(texts(x, yes), action) && !matchAny(texts(x, no), action) {
				return r
			}
		}
	}
	return nil
}
