package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"
	"time"
)

const (
	roleType       = "Microsoft.Authorization/roleDefinitions"
	assignmentType = "Microsoft.Authorization/roleAssignments"
)

// authorization is what hangs off any scope under Microsoft.Authorization: roles, their assignments, locks and policies. Shapes, codes
// and status are the recorded ones. scope is "" for the tenant's root.
func (w *Azure) authorization(q *request, scope string, rest []string) *reply {
	name := ""
	if len(rest) > 1 {
		name = rest[1]
	}
	if len(rest) > 2 {
		return w.unknown(q)
	}
	if scope != "" && strings.Contains(strings.ToLower(scope), "/resourcegroups/") && w.find(scope) == nil {
		group := idPart(scope, "resourceGroups")
		if w.find("/subscriptions/"+w.cfg.Subscription+"/resourceGroups/"+group) == nil {
			return failed(refuse(404, "ResourceGroupNotFound", "Resource group '"+group+"' could not be found."))
		}
		return failed(refuse(404, "ResourceNotFound", "The Resource '"+scope[strings.LastIndex(strings.ToLower(scope), "/providers/")+len("/providers/"):]+"' under resource group '"+group+"' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"))
	}
	typ := map[string]string{"roledefinitions": roleType, "roleassignments": assignmentType, "locks": lockType, "denyassignments": denyType, "policyassignments": policyAssignmentType,
		"policydefinitions": policyType, "permissions": "Microsoft.Authorization/permissions"}[strings.ToLower(rest[0])]
	if typ == "" {
		return w.unknown(q)
	}
	id := scope + "/providers/" + typ
	if name != "" {
		id += "/" + name
	}
	right := methodRight(q.method)
	if right == "" {
		return w.unknown(q)
	}
	if bad := w.authorize(q.who, typ+"/"+right, or(scope, "/subscriptions/"+w.cfg.Subscription)); bad != nil {
		return failed(bad)
	}
	switch typ {
	case roleType:
		return w.roleDefinitions(q, scope, id, name)
	case assignmentType:
		return w.roleAssignments(q, scope, id, name)
	case lockType:
		return w.locks(q, scope, id, name)
	case denyType:
		return w.denyAssignments(q, scope, id, name)
	case policyType, policyAssignmentType:
		return w.policies(q, typ, scope, id, name)
	}
	return w.permissions(q, scope, name)
}

// permissions are what the caller may do at a scope.
func (w *Azure) permissions(q *request, scope, name string) *reply {
	if q.method != http.MethodGet || name != "" {
		return w.unknown(q)
	}
	out := []any{}
	for _, g := range w.grants(q.who) {
		if covers(g.scope, scope) {
			out = append(out, permissionsOf(g.role))
		}
	}
	return &reply{status: 200, body: map[string]any{"value": out}}
}

func permissionsOf(r Role) map[string]any {
	return map[string]any{"actions": anys(r.Actions), "notActions": anys(r.NotActions), "dataActions": anys(r.DataActions), "notDataActions": anys(r.NotDataActions)}
}

var nameFilter = regexp.MustCompile(`(?i)(roleName|type|principalId|assignedTo)(?:\s+eq\s+'([^']*)'|\('([^']*)'\))`)

// terms reads the filters that these lists take: NAME eq 'VALUE', assignedTo('ID'), atScope().
func terms(filter string) map[string]string {
	out := map[string]string{}
	for _, m := range nameFilter.FindAllStringSubmatch(filter, -1) {
		out[strings.ToLower(m[1])] = m[2] + m[3]
	}
	if strings.Contains(strings.ToLower(filter), "atscope()") {
		out["atscope"] = "true"
	}
	return out
}

func (w *Azure) roleDefinitions(q *request, scope, id, name string) *reply {
	show := func(id, name, kind, description string, r Role, scopes []any) map[string]any {
		return map[string]any{"id": id, "type": roleType, "name": name, "properties": map[string]any{"roleName": r.Name, "type": kind, "description": description, "assignableScopes": scopes,
			"permissions": []any{permissionsOf(r)}, "createdOn": "2015-02-02T21:55:09.8806423Z", "updatedOn": "2021-11-11T20:13:47.8628684Z", "createdBy": nil, "updatedBy": nil}}
	}
	custom := func(r *resource) map[string]any {
		return show(r.id, r.name, "CustomRole", text(r.props, "description"), roleOf(r), items(r.props, "assignableScopes"))
	}
	at := "/subscriptions/" + w.cfg.Subscription + "/providers/" + roleType + "/"
	find := func(name string) map[string]any {
		for _, b := range builtInRoles() {
			if strings.EqualFold(b.id, name) {
				return show(at+b.id, b.id, "BuiltInRole", b.description, b.Role, []any{"/"})
			}
		}
		for _, r := range w.all(roleType) {
			if strings.EqualFold(r.name, name) {
				return custom(r)
			}
		}
		return nil
	}
	missing := failed(refuse(404, "RoleDefinitionDoesNotExist", "The specified role definition with ID '"+strings.ReplaceAll(name, "-", "")+"' does not exist."))
	switch {
	case q.method == http.MethodGet && name == "":
		t := terms(q.query.Get("$filter"))
		var out []any
		add := func(m map[string]any) {
			p := mapping(m, "properties")
			if n, ok := t["rolename"]; ok && !strings.EqualFold(n, text(p, "roleName")) {
				return
			}
			if k, ok := t["type"]; ok && !strings.EqualFold(k, text(p, "type")) {
				return
			}
			out = append(out, m)
		}
		for _, b := range builtInRoles() {
			add(find(b.id))
		}
		for _, r := range w.all(roleType) {
			add(custom(r))
		}
		return &reply{status: 200, body: map[string]any{"value": append([]any{}, out...)}}
	case q.method == http.MethodGet:
		if m := find(name); m != nil {
			return &reply{status: 200, body: m}
		}
		return missing
	case q.method == http.MethodDelete && name != "":
		for _, r := range w.all(roleType) {
			if !strings.EqualFold(r.name, name) {
				continue
			}
			for _, a := range w.all(assignmentType) {
				if strings.EqualFold(lastPart(text(a.props, "roleDefinitionId")), name) {
					return failed(refuse(400, "RoleDefinitionHasAssignments", "There are existing role assignments referencing role (code: RoleDefinitionHasAssignments)"))
				}
			}
			body := custom(r)
			w.drop(r.id)
			return &reply{status: 200, body: body}
		}
		return &reply{status: 204}
	case q.method == http.MethodPut && name != "":
		p := mapping(q.body, "properties")
		if p == nil { // the older form has them at the top
			p = q.body
		}
		if text(p, "roleName") == "" || len(items(p, "assignableScopes")) == 0 {
			return failed(refuse(400, "InvalidRoleDefinition", "The role definition needs a roleName and at least one assignable scope."))
		}
		for _, r := range w.all(roleType) {
			if strings.EqualFold(text(r.props, "roleName"), text(p, "roleName")) && !strings.EqualFold(r.name, name) {
				return failed(refuse(409, "RoleDefinitionWithSameNameExists", "A custom role with the same name already exists in this directory. Use a different name"))
			}
		}
		for _, b := range builtInRoles() {
			if strings.EqualFold(b.id, name) {
				return failed(refuse(400, "RoleDefinitionIsBuiltIn", "A built-in role cannot be changed."))
			}
		}
		r := w.find(at + name)
		if r == nil {
			r = w.place(at+name, roleType, "")
		}
		r.props = copyMap(p)
		return &reply{status: 201, body: custom(r)}
	}
	return w.unknown(q)
}

func (w *Azure) roleAssignments(q *request, scope, id, name string) *reply {
	show := func(r *resource) map[string]any {
		return map[string]any{"id": r.id, "type": assignmentType, "name": r.name, "properties": copyMap(r.props)}
	}
	switch {
	case q.method == http.MethodGet && name == "":
		t := terms(q.query.Get("$filter"))
		out := []any{}
		add := func(m map[string]any) {
			p := mapping(m, "properties")
			at := text(p, "scope")
			inherited := covers(at, scope)
			below := covers(scope, at) && t["atscope"] == ""
			who := or(t["principalid"], t["assignedto"])
			if (inherited || below) && (who == "" || strings.EqualFold(who, text(p, "principalId"))) {
				out = append(out, m)
			}
		}
		for _, p := range w.principals {
			for _, a := range p.Roles {
				if m := w.standing(p, a); m != nil {
					add(m)
				}
			}
		}
		for _, r := range w.all(assignmentType) {
			add(show(r))
		}
		return w.page(q, out)
	case name == "":
		return w.unknown(q)
	}
	r := w.find(id)
	switch q.method {
	case http.MethodGet:
		if r == nil {
			return failed(refuse(404, "RoleAssignmentNotFound", "The role assignment '"+name+"' is not found."))
		}
		return &reply{status: 200, body: show(r)}
	case http.MethodDelete:
		if r == nil {
			return &reply{status: 204}
		}
		body := show(r)
		w.drop(r.id)
		return &reply{status: 200, body: body}
	case http.MethodPut:
		p := mapping(q.body, "properties")
		role, who := text(p, "roleDefinitionId"), text(p, "principalId")
		if _, ok := w.definition(role); !ok {
			return failed(refuse(400, "RoleDefinitionDoesNotExist", "The specified role definition with ID '"+strings.ReplaceAll(strings.ToLower(lastPart(role)), "-", "")+"' does not exist."))
		}
		kind := text(p, "principalType")
		if !w.knownPrincipal(who) && kind == "" {
			return failed(refuse(400, "PrincipalNotFound", "Principal "+strings.ReplaceAll(strings.ToLower(who), "-", "")+" does not exist in the directory "+w.cfg.Tenant+
				". Check that you have the correct principal ID. If you are creating this principal and then immediately assigning a role, this error might be related to a replication delay. In this case, set the role assignment principalType property to a value, such as ServicePrincipal, User, or Group.  See https://aka.ms/docs-principaltype"))
		}
		for _, a := range w.all(assignmentType) {
			if sameID(text(a.props, "scope"), scope) && strings.EqualFold(text(a.props, "principalId"), who) && strings.EqualFold(lastPart(text(a.props, "roleDefinitionId")), lastPart(role)) && a != r {
				return failed(refuse(409, "RoleAssignmentExists", "The role assignment already exists."))
			}
		}
		if r == nil {
			r = w.place(id, assignmentType, "")
		}
		now := stamp(w.clock.Now())
		r.props = map[string]any{"roleDefinitionId": role, "principalId": who, "principalType": or(kind, "ServicePrincipal"), "scope": scope, "condition": p["condition"], "conditionVersion": p["conditionVersion"],
			"createdOn": now, "updatedOn": now, "createdBy": nil, "updatedBy": q.who.ObjectID, "delegatedManagedIdentityResourceId": nil, "description": p["description"]}
		return &reply{status: 201, body: show(r)}
	}
	return w.unknown(q)
}

// standing is an assignment that an account has from the start, as a document.
func (w *Azure) standing(p *principal, a Assignment) map[string]any {
	role := ""
	for _, b := range builtInRoles() {
		if strings.EqualFold(b.Name, a.Role) {
			role = b.id
		}
	}
	if role == "" {
		return nil // a role of the scenario's own has no id
	}
	sum := sha256.Sum256([]byte(p.ObjectID + a.Role + a.Scope))
	h := hex.EncodeToString(sum[:])
	name := h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
	return map[string]any{"id": a.Scope + "/providers/" + assignmentType + "/" + name, "type": assignmentType, "name": name, "properties": map[string]any{
		"roleDefinitionId": "/subscriptions/" + w.cfg.Subscription + "/providers/" + roleType + "/" + role, "principalId": p.ObjectID, "principalType": "ServicePrincipal", "scope": a.Scope,
		"condition": nil, "conditionVersion": nil, "createdOn": "2015-02-02T21:55:09.8806423Z", "updatedOn": "2015-02-02T21:55:09.8806423Z", "createdBy": nil, "updatedBy": nil, "delegatedManagedIdentityResourceId": nil, "description": nil}}
}

func (w *Azure) knownPrincipal(objectID string) bool {
	for _, p := range w.principals {
		if strings.EqualFold(p.ObjectID, objectID) {
			return true
		}
	}
	return false
}

// covers reports whether a scope is another one or above it; "" and "/" are above everything.
func covers(above, scope string) bool {
	a, s := strings.ToLower(strings.TrimRight(above, "/")), strings.ToLower(strings.TrimRight(scope, "/"))
	return a == "" || a == s || strings.HasPrefix(s, a+"/")
}

// grant is a role that a principal has at a scope.
type grant struct {
	role  Role
	scope string
}

// grants are what a principal has from the start and what was assigned to it since.
func (w *Azure) grants(p *principal) []grant {
	var out []grant
	for _, a := range p.Roles {
		if r, ok := w.role(a.Role); ok {
			out = append(out, grant{r, a.Scope})
		}
	}
	now := w.clock.Now()
	for _, a := range w.all(assignmentType) {
		if !strings.EqualFold(text(a.props, "principalId"), p.ObjectID) {
			continue
		}
		if s := w.cfg.Scenario; s != nil && now.Before(a.created.Add(time.Duration(s.RoleDelay))) {
			continue // Azure needs a while until everybody has heard of it
		}
		if r, ok := w.definition(text(a.props, "roleDefinitionId")); ok {
			out = append(out, grant{r, text(a.props, "scope")})
		}
	}
	return out
}
