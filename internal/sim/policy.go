package sim

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

const (
	policyType           = "Microsoft.Authorization/policyDefinitions"
	policyAssignmentType = "Microsoft.Authorization/policyAssignments"
)

// builtInPolicies are the two that stop most image builds, under the ids they have in every tenant
// (https://learn.microsoft.com/azure/governance/policy/samples/built-in-policies): "Allowed locations" and "Require a tag on
// resources".
func builtInPolicies() map[string]map[string]any {
	array := map[string]any{"type": "Array"}
	return map[string]map[string]any{
		"e56962a6-4747-49cd-b67b-bf8b01975c4c": {"displayName": "Allowed locations", "policyType": "BuiltIn", "mode": "Indexed", "parameters": map[string]any{"listOfAllowedLocations": array},
			"policyRule": map[string]any{"if": map[string]any{"allOf": []any{map[string]any{"field": "location", "notIn": "[parameters('listOfAllowedLocations')]"}, map[string]any{"field": "location", "notEquals": "global"}}}, "then": map[string]any{"effect": "deny"}}},
		"871b6d14-10aa-478d-b590-94f262ecfa99": {"displayName": "Require a tag on resources", "policyType": "BuiltIn", "mode": "Indexed", "parameters": map[string]any{"tagName": map[string]any{"type": "String"}},
			"policyRule": map[string]any{"if": map[string]any{"field": "[concat('tags[', parameters('tagName'), ']')]", "exists": "false"}, "then": map[string]any{"effect": "deny"}}},
		"06a78e20-9358-41c9-923c-fb736d382a4d": {"displayName": "Audit VMs that do not use managed disks", "policyType": "BuiltIn", "mode": "All",
			"policyRule": map[string]any{"if": map[string]any{"allOf": []any{map[string]any{"field": "type", "equals": "Microsoft.Compute/virtualMachines"}, map[string]any{"field": "Microsoft.Compute/virtualMachines/osDisk.uri", "exists": "True"}}}, "then": map[string]any{"effect": "audit"}}},
	}
}

// unknownBuiltIn tells an id of Azure's own definitions and initiatives that is not among those above.
var unknownBuiltIn = regexp.MustCompile(`(?i)^/providers/Microsoft\.Authorization/policy(Set)?Definitions/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// policies are definitions and assignments of Azure Policy; each PUT answers 201, each deletion the document (recorded).
func (w *Azure) policies(q *request, typ, scope, id, name string) *reply {
	show := func(r *resource) map[string]any {
		b := map[string]any{"id": r.id, "type": typ, "name": r.name, "properties": copyMap(r.props)}
		for k, v := range r.extra {
			b[k] = v
		}
		showIdentityOf(w, r, b)
		return b
	}
	builtIn := func(id string) map[string]any {
		p := builtInPolicies()[strings.ToLower(id)]
		if p == nil || typ != policyType {
			return nil
		}
		return map[string]any{"id": "/providers/" + policyType + "/" + id, "type": policyType, "name": id,
			"properties": merged(map[string]any{"description": p["displayName"], "metadata": map[string]any{"version": "1.0.0", "category": "General"}, "parameters": map[string]any{}}, p)}
	}
	if q.method == http.MethodGet && name == "" {
		out := []any{}
		if typ == policyType {
			for id := range builtInPolicies() {
				out = append(out, builtIn(id))
			}
		}
		for _, r := range w.all(typ) {
			at := r.id[:strings.LastIndex(strings.ToLower(r.id), "/providers/microsoft.authorization/")]
			if covers(at, scope) || covers(scope, at) {
				out = append(out, show(r))
			}
		}
		return w.page(q, out)
	}
	r := w.find(id)
	switch {
	case name == "":
	case q.method == http.MethodGet && scope == "" && builtIn(name) != nil: // recorded: below a subscription they are not found
		return &reply{status: 200, body: builtIn(name)}
	case q.method == http.MethodGet && r == nil:
		what, code := "definition", "PolicyDefinitionNotFound"
		if typ == policyAssignmentType {
			what, code = "assignment", "PolicyAssignmentNotFound"
		}
		return failed(refuse(404, code, "The policy "+what+" '"+name+"' could not be found."))
	case q.method == http.MethodGet:
		return &reply{status: 200, body: show(r)}
	case q.method == http.MethodDelete && r == nil:
		return &reply{status: 204}
	case q.method == http.MethodDelete:
		body := show(r)
		w.drop(r.id)
		return &reply{status: 200, body: body}
	case q.method == http.MethodPut:
		p := copyMap(mapping(q.body, "properties"))
		if p == nil {
			p = map[string]any{}
		}
		now := stamp(w.clock.Now())
		p["metadata"] = map[string]any{"createdBy": q.who.ObjectID, "createdOn": now, "updatedBy": nil, "updatedOn": nil}
		if typ == policyType {
			if mapping(p, "policyRule") == nil {
				return failed(refuse(400, "InvalidPolicyRule", "The policy definition '"+name+"' rule is invalid: it has none."))
			}
			p["policyType"] = "Custom"
			if p["mode"] == nil {
				p["mode"] = "Indexed"
			}
		} else {
			switch of := text(p, "policyDefinitionId"); {
			case w.policyRule(of) != nil:
			case unknownBuiltIn.MatchString(of) && text(p, "enforcementMode") == "DoNotEnforce": // whatever it says, it denies nothing
			case unknownBuiltIn.MatchString(of):
				return failed(refuse(501, "SimulatorNotImplemented", "The simulated Azure does not know what the built-in policy "+lastPart(of)+" says."))
			default:
				return failed(refuse(404, "PolicyDefinitionNotFound", "The policy definition '"+lastPart(text(p, "policyDefinitionId"))+"' could not be found."))
			}
			p["scope"] = scope
			if p["enforcementMode"] == nil {
				p["enforcementMode"] = "Default"
			}
		}
		if r == nil {
			r = w.place(id, typ, "")
		}
		r.props = p
		r.extra = map[string]any{"systemData": systemDataOf(mapping(r.extra, "systemData"), q.who, w.clock.Now())}
		for _, k := range []string{"identity", "location"} {
			if v := q.body[k]; v != nil {
				r.extra[k] = v
			}
		}
		return &reply{status: 201, body: show(r)}
	}
	return w.unknown(q)
}

// policyRule is the definition behind an id.
func (w *Azure) policyRule(id string) map[string]any {
	if p := builtInPolicies()[strings.ToLower(lastPart(id))]; p != nil {
		return p
	}
	if r := w.find(id); r != nil && r.typ == policyType {
		return r.props
	}
	return nil
}

// denial is an assigned policy that refuses a document.
type denial struct {
	assignment *resource
	rule       map[string]any
}

// denials holds a new document against the policies that are assigned above it. Of Azure's language it knows what the two denials
// that hurt builds are written in: field (location, type, name, tags[x], tags.x), equals, notEquals, in, notIn, exists, not, allOf, anyOf; a
// rule with anything else denies nothing here.
func (w *Azure) denials(id, typ, location string, body map[string]any) (out []denial) {
	if strings.HasPrefix(typ, "Microsoft.Authorization/") {
		return nil
	}
	for _, a := range w.all(policyAssignmentType) {
		at := a.id[:strings.LastIndex(strings.ToLower(a.id), "/providers/microsoft.authorization/")]
		rule := w.policyRule(text(a.props, "policyDefinitionId"))
		if rule == nil || !covers(at, id) || text(a.props, "enforcementMode") == "DoNotEnforce" || excluded(a, id) {
			continue
		}
		params := map[string]any{}
		for name, p := range mapping(rule, "parameters") {
			params[name] = field(p, "defaultValue")
		}
		for name, p := range mapping(a.props, "parameters") {
			params[name] = field(p, "value")
		}
		e := policyEval{map[string]any{"location": location, "type": typ, "name": lastPart(id)}, mapping(body, "tags"), params}
		effect, _ := e.value(field(rule, "policyRule", "then", "effect")).(string)
		holds, known := e.condition(field(rule, "policyRule", "if"))
		if strings.EqualFold(effect, "deny") && holds && known {
			out = append(out, denial{a, rule})
		}
	}
	return out
}

// disallowed refuses what the first of them denies.
func (w *Azure) disallowed(id, typ, location string, body map[string]any) *refusal {
	for _, d := range w.denials(id, typ, location, body) {
		a, rule := d.assignment, d.rule
		ids, err := json.Marshal([]any{map[string]any{"policyAssignment": map[string]any{"name": or(text(a.props, "displayName"), a.name), "id": a.id},
			"policyDefinition": map[string]any{"name": or(text(rule, "displayName"), lastPart(text(a.props, "policyDefinitionId"))), "id": text(a.props, "policyDefinitionId")}}})
		if err != nil {
			return refuse(500, "InternalServerError", err.Error())
		}
		return refuse(403, "RequestDisallowedByPolicy", "Resource '"+lastPart(id)+"' was disallowed by policy. Policy identifiers: '"+string(ids)+"'.")
	}
	return nil
}

// restrictions answers checkPolicyRestrictions for a subscription or a group: which policies would deny a resource that is not there yet
// (https://learn.microsoft.com/rest/api/policyinsights/policy-restrictions/check-at-subscription-scope). Restrictions of single fields
// are not worked out: the list is empty.
func (w *Azure) restrictions(q *request, scope string) *reply {
	if bad := w.authorize(q.who, "Microsoft.PolicyInsights/checkPolicyRestrictions/read", scope); bad != nil {
		return failed(bad)
	}
	if strings.Contains(strings.ToLower(scope), "/resourcegroups/") && w.find(scope) == nil {
		return failed(refuse(404, "ResourceGroupNotFound", "Resource group '"+lastPart(scope)+"' could not be found."))
	}
	content := mapping(q.body, "resourceDetails", "resourceContent")
	if content == nil {
		return failed(refuse(400, "InvalidCheckRestrictionsRequest", "The request content is invalid: resourceDetails.resourceContent is required."))
	}
	typ, name := text(content, "type"), or(text(content, "name"), "resource")
	id := scope + "/providers/" + typ + "/" + name
	if strings.EqualFold(typ, groupType) {
		id = scope + "/resourceGroups/" + name
	}
	found := []any{}
	for _, d := range w.denials(id, typ, regionKey(text(content, "location")), content) {
		found = append(found, map[string]any{"policyInfo": map[string]any{"policyDefinitionId": text(d.assignment.props, "policyDefinitionId"), "policyAssignmentId": d.assignment.id},
			"evaluationResult": "NonCompliant", "effectDetails": map[string]any{"policyEffect": "Deny"}})
	}
	return &reply{status: 200, body: map[string]any{"fieldRestrictions": []any{}, "contentEvaluationResult": map[string]any{"policyEvaluations": found}}}
}

func excluded(a *resource, id string) bool {
	for _, s := range texts(a.props, "notScopes") {
		if covers(s, id) {
			return true
		}
	}
	return false
}

// policyEval evaluates a rule for one document.
type policyEval struct {
	fields map[string]any
	tags   map[string]any
	params map[string]any
}

// value fills a parameter in, and the one form in which rules name a tag by a parameter.
func (e policyEval) value(v any) any {
	s, ok := v.(string)
	if !ok || !strings.HasPrefix(s, "[") {
		return v
	}
	if name, ok := between(s, "[parameters('", "')]"); ok {
		return e.params[name]
	}
	if name, ok := between(s, "[concat('tags[', parameters('", "'), ']')]"); ok {
		value, _ := e.params[name].(string)
		return "tags[" + value + "]"
	}
	return nil
}

func between(s, before, after string) (string, bool) {
	s, ok := strings.CutPrefix(s, before)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(s, after)
}

func (e policyEval) condition(c any) (holds, known bool) {
	m, ok := c.(map[string]any)
	if !ok {
		return false, false
	}
	if all := items(m, "allOf"); all != nil {
		holds = true
		for _, x := range all {
			h, k := e.condition(x)
			if !k {
				return false, false
			}
			holds = holds && h
		}
		return holds, true
	}
	if some := items(m, "anyOf"); some != nil {
		for _, x := range some {
			h, k := e.condition(x)
			if !k {
				return false, false
			}
			holds = holds || h
		}
		return holds, true
	}
	if x := m["not"]; x != nil {
		h, k := e.condition(x)
		return !h, k
	}
	name, _ := e.value(m["field"]).(string)
	have, there := e.fields[strings.ToLower(name)]
	if tag, ok := between(name, "tags[", "]"); ok {
		have, there = e.tags[strings.Trim(tag, "'")], e.tags[strings.Trim(tag, "'")] != nil
	} else if tag, ok := strings.CutPrefix(name, "tags."); ok {
		have, there = e.tags[tag], e.tags[tag] != nil
	} else if !there {
		return false, false
	}
	text, _ := have.(string)
	same := func(v any) bool {
		s, _ := e.value(v).(string)
		return strings.EqualFold(s, text) || strings.EqualFold(name, "location") && regionKey(s) == regionKey(text)
	}
	among := func(v any) bool {
		list, _ := e.value(v).([]any)
		for _, x := range list {
			if same(x) {
				return true
			}
		}
		return false
	}
	for op, v := range m {
		switch strings.ToLower(op) {
		case "field":
		case "equals":
			return same(v), true
		case "notequals":
			return !same(v), true
		case "in":
			return among(v), true
		case "notin":
			return !among(v), true
		case "exists":
			want := v == true || strings.EqualFold(textOf(v), "true")
			return there == want, true
		default:
			return false, false
		}
	}
	return false, false
}

func textOf(v any) string { s, _ := v.(string); return s }
