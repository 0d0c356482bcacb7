package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"
)

const deploymentType = "Microsoft.Resources/deployments"

// deploymentData is a template that is being carried out.
type deploymentData struct {
	Resources []*deployed
	Outputs   map[string]any // not yet evaluated
	Params    map[string]any // with defaults and secrets: never shown
	Vars      map[string]any
	Caller    string // object id
	Began     time.Time
	Operation string
	Error     map[string]any
}

// deployed is one of its resources.
type deployed struct {
	ID, Type, Name string
	Body           map[string]any // expressions in it are evaluated when its turn comes
	Index          map[string]int // of the copy loops it is in
	After          []string       // lower-case ids
	Operation      string         // that was begun for it
	State          string         // "", Running, Succeeded, Failed
	Code, Message  string
	Began, Ended   time.Time
}

// MarshalJSON writes it for the folder that keeps it.
func (d *deploymentData) MarshalJSON() ([]byte, error) {
	type plain deploymentData
	return json.Marshal((*plain)(d))
}

// deployments is Microsoft.Resources/deployments in a resource group (azure-protocol.md 2.1 and 4).
func (w *Azure) deployments(q *request, groupID string, rest []string) *reply {
	group := w.find(groupID)
	scope := groupID
	if group != nil {
		scope = group.id
	}
	right := map[string]string{http.MethodPost: "validate/action"}[q.method]
	if right == "" {
		right = methodRight(q.method)
	}
	if bad := w.authorize(q.who, deploymentType+"/"+right, scope); bad != nil {
		return failed(bad)
	}
	if group == nil {
		return failed(refuse(404, "ResourceGroupNotFound", "Resource group '"+lastPart(groupID)+"' could not be found."))
	}
	if len(rest) == 0 && q.method == http.MethodGet {
		out := []any{}
		for _, r := range children(w, group.id, deploymentType) {
			out = append(out, w.showDeployment(r))
		}
		return w.page(q, out)
	}
	if len(rest) == 0 {
		return w.unknown(q)
	}
	id := group.id + "/providers/" + deploymentType + "/" + rest[0]
	r := w.find(id)
	missing := failed(refuse(404, "DeploymentNotFound", "Deployment '"+rest[0]+"' could not be found."))
	act := ""
	if len(rest) > 1 {
		act = strings.ToLower(rest[1])
	}
	switch {
	case act == "" && q.method == http.MethodPut:
		return w.deploy(q, group, id, r)
	case act == "validate" && q.method == http.MethodPost:
		d, bad := w.compileTemplate(q, group, id)
		if bad != nil {
			return failed(bad)
		}
		v := &resource{id: id, name: rest[0], typ: deploymentType, aux: d, state: "Succeeded", props: map[string]any{"mode": "Incremental"}}
		return &reply{status: 200, body: w.showDeployment(v)}
	case r == nil && q.method == http.MethodHead:
		return &reply{status: 404}
	case r == nil && q.method == http.MethodDelete:
		return &reply{status: 204}
	case r == nil:
		return missing
	case act == "" && q.method == http.MethodHead:
		return &reply{status: 204}
	case act == "" && q.method == http.MethodGet:
		return &reply{status: 200, body: w.showDeployment(r)}
	case act == "" && q.method == http.MethodDelete:
		o := w.begin(r, "", w.duration("deployment-delete", r.id), func() *refusal { w.drop(id); return nil })
		o.deletion, o.group = true, true
		return w.groupAccepted(q, o)
	case act == "operationstatuses" && q.method == http.MethodGet:
		d := r.aux.(*deploymentData)
		body := map[string]any{"status": r.state}
		if r.state == "Running" && w.clock.Now().Before(d.Began.Add(time.Second)) {
			body["status"] = "Accepted" // recorded: mostly the first answer, then Running
		}
		if d.Error != nil {
			body["error"] = d.Error
		}
		return &reply{status: 200, body: body}
	case act == "operations" && q.method == http.MethodGet:
		return w.page(q, deploymentOperations(r))
	case act == "exporttemplate" && q.method == http.MethodPost:
		return &reply{status: 200, body: map[string]any{"template": r.extra["template"]}}
	}
	return w.unknown(q)
}

// deploy begins a deployment. Its operation ends when those of all its resources have.
func (w *Azure) deploy(q *request, group *resource, id string, r *resource) *reply {
	if group.deleting {
		return failed(refuse(409, "ResourceGroupBeingDeleted", "The resource group '"+group.name+"' is in deprovisioning state and cannot perform this operation."))
	}
	d, bad := w.compileTemplate(q, group, id)
	if bad != nil {
		return failed(bad)
	}
	status := 200
	if r == nil {
		status, r = 201, w.place(id, deploymentType, "")
	} else if r.state == "Running" || r.state == "Accepted" {
		return failed(refuse(409, "DeploymentActive", "Unable to edit or replace deployment '"+r.name+"': previous deployment from '"+stampZ(r.aux.(*deploymentData).Began)+"' is still active."))
	}
	r.aux, r.state = d, "Accepted"
	r.props = map[string]any{"mode": "Incremental", "correlationId": w.uuid()}
	r.extra = map[string]any{"template": field(q.body, "properties", "template")}
	if tags := mapping(q.body, "tags"); tags != nil {
		r.tags = copyMap(tags)
	}
	o := w.beginVerb(r, "", 0, "deploy")
	o.resource = ""
	d.Operation = o.id
	at := q.base + r.id + "/operationStatuses/" + o.id + "?api-version=" + q.query.Get("api-version")
	h := map[string]string{"Azure-AsyncOperation": at}
	w.retryAfter(h, 10)
	return &reply{status: status, header: h, body: w.showDeployment(r)}
}

func (w *Azure) scopeOf(d *deploymentData, group *resource, name string) *armScope {
	return &armScope{params: d.Params, vars: d.Vars, deployment: name, group: map[string]any{"id": group.id, "name": group.name, "location": group.location, "tags": group.tags},
		subscription: map[string]any{"id": "/subscriptions/" + w.cfg.Subscription, "subscriptionId": w.cfg.Subscription, "tenantId": w.cfg.Tenant},
		reference: func(id string, full bool) (any, error) {
			if !strings.HasPrefix(id, "/") {
				for _, x := range d.Resources {
					if strings.EqualFold(x.Name, id) {
						id = x.ID
					}
				}
			}
			r := w.find(id)
			if r == nil {
				return nil, fmt.Errorf("the resource '%s' is not there", id)
			}
			b := w.show(w.kinds[strings.ToLower(r.typ)], r, "")
			if full {
				return roundTrip(b), nil
			}
			return roundTrip(mapping(b, "properties")), nil
		}}
}

// roundTrip makes the plain JSON of a document, whose numbers are float64.
func roundTrip(v any) any {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out any
	if json.NewDecoder(bytes.NewReader(raw)).Decode(&out) != nil {
		return nil
	}
	return out
}

// wave is how long a deployment lets pass before it looks at its resources again.
func (w *Azure) wave() time.Duration {
	if w.cfg.Latency == NoLatency {
		return 20 * time.Millisecond
	}
	return 2 * time.Second
}

// stepDeployment begins what can begin, and looks what has ended. It comes again until all has.
func (w *Azure) stepDeployment(r *resource) *refusal {
	d, ok := r.aux.(*deploymentData)
	group := w.find(r.id[:strings.Index(strings.ToLower(r.id), "/providers/")])
	if !ok || group == nil {
		return refuse(404, "ResourceGroupNotFound", "The resource group is gone.")
	}
	r.state = "Running"
	caller := w.principals[0]
	for _, p := range w.principals {
		if p.ObjectID == d.Caller {
			caller = p
		}
	}
	s := w.scopeOf(d, group, r.name)
	state := map[string]string{}
	broken := false
	for _, x := range d.Resources {
		state[strings.ToLower(x.ID)] = x.State
		broken = broken || x.State == "Failed"
	}
	open := 0
	for _, x := range d.Resources {
		switch x.State {
		case "Running":
			o := w.operations[strings.ToLower(x.Operation)]
			if o != nil && o.status == "InProgress" {
				open++
				continue
			}
			x.State, x.Ended = "Succeeded", w.now()
			if o != nil && o.err != nil {
				x.State, x.Code, x.Message = "Failed", o.err.code, o.err.message
			}
		case "":
			wait := false
			for _, a := range x.After {
				wait = wait || a != "" && state[a] != "Succeeded"
			}
			if wait || broken {
				if !broken {
					open++
				}
				continue
			}
			w.startDeployed(x, s, caller)
			if x.State == "Running" {
				open++
			}
		}
		state[strings.ToLower(x.ID)] = x.State
		broken = broken || x.State == "Failed"
	}
	w.touch("resource", r.low)
	if open > 0 || !broken && unfinished(d) {
		return &refusal{again: w.wave()}
	}
	if broken {
		return w.brokenDeployment(r, d)
	}
	out := map[string]any{}
	for name, x := range d.Outputs {
		v, err := s.value(field(x, "value"))
		if err != nil {
			d.Error = map[string]any{"code": "DeploymentOutputEvaluationFailed", "message": "Unable to evaluate template outputs: '" + name + "'. " + err.Error()}
			r.state = "Failed"
			return refuse(400, "DeploymentOutputEvaluationFailed", err.Error())
		}
		out[name] = map[string]any{"type": armTypeOf(v), "value": v}
	}
	r.props["outputs"] = out
	r.state = "Succeeded"
	return nil
}

func armTypeOf(v any) string {
	switch v.(type) {
	case string:
		return "String"
	case float64:
		return "Int"
	case bool:
		return "Bool"
	case []any:
		return "Array"
	}
	return "Object"
}

func unfinished(d *deploymentData) bool {
	for _, x := range d.Resources {
		if x.State != "Succeeded" {
			return true
		}
	}
	return false
}

// startDeployed puts one resource, as its caller would himself.
func (w *Azure) startDeployed(x *deployed, s *armScope, caller *principal) {
	x.Began, x.Ended = w.now(), w.now()
	fail := func(code, message string) { x.State, x.Code, x.Message = "Failed", code, message }
	own := *s
	own.index = x.Index
	v, err := own.value(x.Body)
	if err != nil {
		fail("InvalidTemplate", err.Error())
		return
	}
	body := withoutNulls(roundTrip(v).(map[string]any))
	if p := mapping(body, "properties"); p == nil {
		body["properties"] = map[string]any{}
	}
	q := &request{method: http.MethodPut, path: x.ID, query: map[string][]string{"api-version": {"2024-07-01"}}, base: EmbeddedURL, who: caller, body: body}
	out := w.route(q)
	if e := mapping(out.body, "error"); out.status >= 300 {
		fail(or(text(e, "code"), "InternalServerError"), text(e, "message"))
		return
	}
	x.State = "Succeeded"
	if at := out.header["Azure-AsyncOperation"]; at != "" {
		at, _, _ = strings.Cut(at, "?")
		x.State, x.Operation = "Running", lastPart(at)
	}
}

func (w *Azure) brokenDeployment(r *resource, d *deploymentData) *refusal {
	details := []any{}
	for _, x := range d.Resources {
		if x.State == "Failed" {
			details = append(details, map[string]any{"code": x.Code, "target": x.ID, "message": x.Message})
		}
	}
	d.Error = map[string]any{"code": "DeploymentFailed", "target": r.id, "details": details,
		"message": "At least one resource deployment operation failed. Please list deployment operations for details. Please see https://aka.ms/arm-deployment-operations for usage details."}
	r.state = "Failed"
	return refuse(400, "DeploymentFailed", text(d.Error, "message"))
}

func (w *Azure) showDeployment(r *resource) map[string]any {
	d := r.aux.(*deploymentData)
	p := copyMap(r.props)
	params := map[string]any{}
	for name, x := range mapping(mapping(r.extra, "template"), "parameters") {
		kind := text(x, "type")
		params[name] = map[string]any{"type": titled(kind)}
		if !strings.HasPrefix(strings.ToLower(kind), "secure") {
			mapping(params, name)["value"] = d.Params[name]
		}
	}
	end := w.clock.Now()
	var dependencies, made []any
	byNamespace := map[string]map[string]bool{}
	for _, x := range d.Resources {
		ns, typ, _ := strings.Cut(x.Type, "/")
		if byNamespace[ns] == nil {
			byNamespace[ns] = map[string]bool{}
		}
		byNamespace[ns][typ] = true
		var on []any
		for _, a := range x.After {
			for _, y := range d.Resources {
				if strings.ToLower(y.ID) == a {
					on = append(on, map[string]any{"id": y.ID, "resourceType": y.Type, "resourceName": y.Name})
				}
			}
		}
		if on != nil {
			dependencies = append(dependencies, map[string]any{"dependsOn": on, "id": x.ID, "resourceType": x.Type, "resourceName": x.Name})
		}
		made = append(made, map[string]any{"id": x.ID})
	}
	providers := []any{}
	for _, ns := range sortedKeys(byNamespace) {
		var types []any
		for _, typ := range sortedKeys(byNamespace[ns]) {
			types = append(types, map[string]any{"resourceType": typ, "locations": []any{nil}})
		}
		providers = append(providers, map[string]any{"namespace": ns, "resourceTypes": types})
	}
	p["templateHash"], p["parameters"], p["provisioningState"], p["timestamp"], p["providers"], p["dependencies"] = "0", params, r.state, stampZ(end), providers, append([]any{}, dependencies...)
	p["duration"] = fmt.Sprintf("PT%.7gS", end.Sub(d.Began).Seconds())
	if p["correlationId"] == nil {
		p["correlationId"] = d.Caller
	}
	if r.state == "Succeeded" {
		p["outputResources"] = append([]any{}, made...)
		p["validatedResources"] = nil
		delete(p, "validatedResources")
	}
	if d.Error != nil {
		p["error"] = d.Error
	}
	b := map[string]any{"id": r.id, "name": r.name, "type": deploymentType, "properties": p}
	if r.tags != nil {
		b["tags"] = r.tags
	}
	return b
}

func titled(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// deploymentOperations is what Packer walks backwards to delete what a deployment made.
func deploymentOperations(r *resource) []any {
	d := r.aux.(*deploymentData)
	out := []any{}
	for i, x := range d.Resources {
		if x.State == "" {
			continue
		}
		code := map[string]string{"Running": "Accepted", "Succeeded": "OK", "Failed": "Conflict"}[x.State]
		p := map[string]any{"provisioningOperation": "Create", "provisioningState": x.State, "timestamp": stampZ(x.Ended), "duration": fmt.Sprintf("PT%.7gS", x.Ended.Sub(x.Began).Seconds()),
			"trackingId": x.Operation, "statusCode": code, "targetResource": map[string]any{"id": x.ID, "resourceType": x.Type, "resourceName": x.Name}}
		if x.State == "Failed" {
			p["statusMessage"] = map[string]any{"error": map[string]any{"code": x.Code, "message": x.Message}}
		}
		id := fmt.Sprintf("%016X", i+1)
		out = append(out, map[string]any{"id": r.id + "/operations/" + id, "operationId": id, "properties": p})
	}
	return out
}
