package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// What a conversation takes for granted: another fixture made it, or a template deployment did, which the simulated Azure
// may not know. It is put in place from what the recording itself shows later, or from the deployment's template.

// prepare puts in place what a call needs; false when the recording shows that something was there and does not say what.
func (s *session) prepare(e Exchange, t target) bool {
	if e.Status == http.StatusNotFound && strings.Contains(e.Body, "ResourceNotFound") { // its group was there, or Azure would say so
		return s.ensure(groupOf(t.path))
	}
	if e.Status >= 400 || t.poll {
		return true
	}
	ok := true
	if g := groupOf(t.path); g != "" && !(e.Method == http.MethodPut || e.Method == http.MethodHead) || strings.Contains(strings.ToLower(t.path), "/providers/") {
		ok = s.ensure(g)
	}
	needsIt := e.Method == http.MethodGet || e.Method == http.MethodPatch || e.Method == http.MethodPost || e.Method == http.MethodDelete && e.Status != 204 || e.Method == http.MethodPut && e.Status == 200
	if t.id != "" && needsIt && !strings.Contains(strings.ToLower(t.id), "/locations/") && !s.ensure(t.id) && e.Method != http.MethodPut {
		ok = false
	}
	if parent := parentOf(t.id); parent != "" && !s.ensure(parent) {
		ok = false
	}
	var body any
	if json.Unmarshal([]byte(e.Request), &body) == nil {
		for _, id := range idsIn(body) {
			if !s.ensure(id) {
				ok = false
			}
		}
	}
	return ok
}

var armID = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+(/providers/[^/]+(/[^/]+/[^/]+)+)?$`)

// idsIn are the ids of resources that a body refers to.
func idsIn(v any) []string {
	var out []string
	switch x := v.(type) {
	case map[string]any:
		for _, e := range x {
			out = append(out, idsIn(e)...)
		}
	case []any:
		for _, e := range x {
			out = append(out, idsIn(e)...)
		}
	case string:
		if armID.MatchString(x) {
			out = append(out, x)
		}
	}
	return out
}

func groupOf(path string) string {
	p := strings.Split(path, "/")
	if len(p) >= 5 && strings.EqualFold(p[3], "resourceGroups") {
		return strings.Join(p[:5], "/")
	}
	return ""
}

// parentOf is the resource that a child is part of, or "".
func parentOf(id string) string {
	_, after, ok := strings.Cut(strings.ToLower(id), "/providers/")
	if n := strings.Count(after, "/"); !ok || n < 4 || n%2 != 0 || strings.Contains(after, "/providers/") {
		return ""
	}
	p := strings.Split(id, "/")
	return strings.Join(p[:len(p)-2], "/")
}

// ensure makes a resource be there, if the recording says what it is.
func (s *session) ensure(id string) bool {
	low := strings.ToLower(id)
	if id == "" || s.azure.Has(id) || s.gone[low] {
		return true
	}
	if s.tried[low] {
		return false
	}
	s.tried[low] = true
	body := s.later(id)
	if strings.Count(id, "/") == 4 { // a group
		if body == nil {
			body = map[string]any{"location": s.anyLocation()}
		}
		delete(s.tried, low)
		return s.azure.Seed(id, body) == nil
	}
	if body == nil || !s.ensure(groupOf(id)) {
		return false
	}
	if p := parentOf(id); p != "" && !s.ensure(p) {
		return false
	}
	body = writable(id, body)
	for _, ref := range idsIn(body) {
		s.ensure(ref)
	}
	if s.azure.Seed(id, body) != nil {
		return false
	}
	delete(s.tried, low)
	return true
}

// later is the first document of a resource that the conversation shows from here on.
func (s *session) later(id string) map[string]any {
	for _, e := range s.all[s.at:] {
		if e.Method != http.MethodGet && e.Method != http.MethodPut || e.Status != 200 {
			continue
		}
		if t, err := resolve(e.Method, e.URL); err != nil || !strings.EqualFold(t.path, id) {
			continue
		}
		var body map[string]any
		if json.Unmarshal([]byte(e.Body), &body) == nil {
			return body
		}
	}
	return nil
}

func (s *session) anyLocation() string {
	for _, e := range s.all[s.at:] {
		var body struct {
			Location string `json:"location"`
		}
		if json.Unmarshal([]byte(e.Request), &body) == nil && body.Location != "" {
			return body.Location
		}
		if json.Unmarshal([]byte(e.Body), &body) == nil && body.Location != "" {
			return body.Location
		}
	}
	return "westus"
}

// writable takes out of a document what only Azure writes, so that the simulated Azure has to fill it in itself.
func writable(id string, doc map[string]any) map[string]any {
	delete(doc, "id")
	delete(doc, "name")
	delete(doc, "type")
	strip(doc)
	p, _ := doc["properties"].(map[string]any)
	low := strings.ToLower(id)
	switch {
	case strings.Contains(low, "/virtualnetworks/"):
		if subnets, ok := p["subnets"].([]any); ok {
			for _, x := range subnets {
				if m, ok := x.(map[string]any); ok {
					if q, ok := m["properties"].(map[string]any); ok {
						delete(q, "ipConfigurations")
					}
				}
			}
		}
		delete(p, "ipConfigurations")
	case strings.Contains(low, "/networksecuritygroups/"):
		delete(p, "subnets")
		delete(p, "networkInterfaces")
	case strings.Contains(low, "/virtualmachines/"):
		if o, ok := p["osProfile"].(map[string]any); ok {
			o["adminPassword"] = "Test-secret-not-real-1"
		}
		if st, ok := p["storageProfile"].(map[string]any); ok {
			if d, ok := st["osDisk"].(map[string]any); ok {
				if m, ok := d["managedDisk"].(map[string]any); ok {
					delete(m, "id")
				}
			}
		}
	}
	return doc
}

func strip(v any) {
	switch x := v.(type) {
	case map[string]any:
		for _, k := range []string{"provisioningState", "etag", "resourceGuid", "vmId", "timeCreated", "uniqueId", "diskState", "ipConfiguration", "defaultSecurityRules", "macAddress",
			"virtualMachine", "exactVersion", "allowExtensionOperations", "requireGuestProvisionSignal", "publishedDate", "sizeInGB", "identifier", "diskSizeBytes", "instanceView", "managedBy", "sourceVirtualMachine"} {
			if k == "sourceVirtualMachine" {
				continue // an image's source may be written
			}
			delete(x, k)
		}
		for _, e := range x {
			strip(e)
		}
	case []any:
		for _, e := range x {
			strip(e)
		}
	}
}

func (s *session) isDeployment(e Exchange, t target) bool {
	return e.Method == http.MethodPut && e.Status < 300 && strings.HasSuffix(t.op, " microsoft.resources/deployments")
}

// deploy writes the resources of a deployment's template one by one, in as many rounds as their dependencies need. It
// reads parameters('x') and variables('x') as a whole value, and nothing else of the expression language.
func (s *session) deploy(e Exchange, t target) {
	var d struct {
		Properties struct {
			Template struct {
				Parameters map[string]struct {
					Default any `json:"defaultValue"`
				} `json:"parameters"`
				Variables map[string]any   `json:"variables"`
				Resources []map[string]any `json:"resources"`
			} `json:"template"`
			Parameters map[string]struct {
				Value any `json:"value"`
			} `json:"parameters"`
		} `json:"properties"`
	}
	if json.Unmarshal([]byte(e.Request), &d) != nil {
		return
	}
	known := map[string]any{}
	for k, v := range d.Properties.Template.Variables {
		known["[variables('"+k+"')]"] = v
	}
	for k, v := range d.Properties.Template.Parameters {
		known["[parameters('"+k+"')]"] = v.Default
	}
	for k, v := range d.Properties.Parameters {
		known["[parameters('"+k+"')]"] = v.Value
	}
	open := d.Properties.Template.Resources
	for range 6 {
		var left []map[string]any
		for _, r := range open {
			r, _ = fillIn(r, known).(map[string]any)
			typ, _ := r["type"].(string)
			name, _ := r["name"].(string)
			id := templateID(groupOf(t.path), typ, name)
			body := map[string]any{}
			for k, v := range r {
				if k != "type" && k != "name" && k != "apiVersion" && k != "dependsOn" {
					body[k] = v
				}
			}
			for _, ref := range idsIn(body) {
				s.ensure(ref)
			}
			raw, err := json.Marshal(body)
			if err != nil || id == "" {
				continue
			}
			s.clock.move(time.Hour)
			at := "https://management.azure.com" + id + "?api-version=2024-07-01"
			x := Exchange{Method: http.MethodPut, URL: at, Request: string(raw), Status: 201}
			here, _ := s.where(x, target{})
			if a, err := s.ask(x, here); err != nil || a.status >= 300 {
				left = append(left, r)
			}
		}
		if len(left) == 0 || len(left) == len(open) {
			break
		}
		open = left
	}
	s.clock.move(6 * time.Hour)
}

// templateID makes an id of a template's type and name: a/b/c and x/y are a/b/x/c/y.
func templateID(group, typ, name string) string {
	types, names := strings.Split(typ, "/"), strings.Split(name, "/")
	if len(types) != len(names)+1 {
		return ""
	}
	id := group + "/providers/" + types[0]
	for i, n := range names {
		id += "/" + types[i+1] + "/" + n
	}
	return id
}

func fillIn(v any, known map[string]any) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range x {
			out[k] = fillIn(e, known)
		}
		return out
	case []any:
		out := []any{}
		for _, e := range x {
			out = append(out, fillIn(e, known))
		}
		return out
	case string:
		if r, ok := known[x]; ok {
			return r
		}
	}
	return v
}
