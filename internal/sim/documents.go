package sim

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What can be done with the documents that Resource Manager keeps: read, written, deleted, acted on, listed.

// resource handles everything below a resource group's providers: a resource, a list of them, or an action on one.
func (w *Azure) resource(q *request, sub string, parts []string) *reply {
	groupID := "/subscriptions/" + sub + "/resourceGroups/" + parts[1]
	namespace, segments := parts[3], parts[4:]
	types := []string{namespace}
	for i := 0; i < len(segments); i += 2 {
		types = append(types, segments[i])
	}
	typ := strings.Join(types, "/")
	var act string
	k := w.kinds[strings.ToLower(typ)]
	if k == nil && len(segments)%2 == 1 && len(segments) > 1 {
		act = segments[len(segments)-1]
		k = w.kinds[strings.ToLower(strings.Join(types[:len(types)-1], "/"))]
	}
	if g := w.find(groupID); g != nil && strings.EqualFold(namespace, "Microsoft.Network") {
		if out := w.securityRules(q, g, segments); out != nil {
			return out
		}
	}
	if k == nil {
		return w.unknown(q)
	}
	group := w.find(groupID)
	if group == nil {
		// Rights come first: who may not look is not told whether there is anything.
		right := k.typ + "/" + methodRight(q.method)
		if act != "" {
			right = k.typ + "/" + act + "/action"
		}
		if bad := w.authorize(q.who, right, groupID+"/providers/"+canonical(k.typ, segments)); bad != nil {
			return failed(bad)
		}
		return failed(refuse(404, "ResourceGroupNotFound", "Resource group '"+parts[1]+"' could not be found."))
	}
	id := group.id + "/providers/" + canonical(k.typ, segments)
	if act != "" {
		return w.post(q, k, strings.TrimSuffix(id, "/"+act), act)
	}
	if len(segments)%2 == 1 {
		if q.method != http.MethodGet {
			return w.unknown(q)
		}
		return w.list(q, k, group.id+"/providers/"+strings.TrimSuffix(canonical(k.typ, segments), "/"))
	}
	if bad := w.authorize(q.who, k.typ+"/"+methodRight(q.method), id); bad != nil {
		return failed(bad)
	}
	old := w.find(id)
	if bad := w.locked(q.method, id); bad != nil {
		return failed(bad)
	}
	if bad := w.unregistered(q.method, k.typ); bad != nil {
		return failed(bad)
	}
	if q.method == http.MethodPut {
		if bad := w.disallowed(id, k.typ, regionKey(text(q.body, "location")), q.body); bad != nil {
			return failed(bad)
		}
	}
	if q.method != http.MethodGet && q.method != http.MethodHead {
		w.hold(k, id, old)
	} else if body, behind := w.behind(id); behind {
		if body == nil {
			return failed(w.notFound(id, k))
		}
		return &reply{status: 200, body: body}
	}
	switch q.method {
	case http.MethodGet, http.MethodHead:
		if old == nil {
			return failed(w.notFound(id, k))
		}
		return &reply{status: 200, body: k.asOf(q, w.show(k, old, q.query.Get("$expand")))}
	case http.MethodPut:
		if group.deleting {
			return failed(refuse(409, "ResourceGroupBeingDeleted", "The resource group '"+group.name+"' is in deprovisioning state and cannot perform this operation."))
		}
		return w.put(q, k, id, old)
	case http.MethodPatch:
		return w.patchTags(q, k, old, id)
	case http.MethodDelete:
		return w.remove(q, k, old)
	}
	return w.unknown(q)
}

// methodRight is the last word of the permission that a method needs.
func methodRight(method string) string {
	return map[string]string{http.MethodGet: "read", http.MethodHead: "read", http.MethodPut: "write", http.MethodPatch: "write", http.MethodDelete: "delete"}[method]
}

// parentNames is how ParentResourceNotFound names a parent: the names alone, 'gallery/definition' (azure-protocol.md 2.5).
func parentNames(id string) string {
	_, after, _ := strings.Cut(parentID(id), "/providers/")
	var names []string
	for i, s := range strings.Split(after, "/") {
		if i > 0 && i%2 == 0 {
			names = append(names, s)
		}
	}
	return strings.Join(names, "/")
}

// canonical writes a type and names with the provider's own spelling of the type.
func canonical(typ string, segments []string) string {
	types := strings.Split(typ, "/")
	out := types[0]
	for i := 0; i < len(segments); i += 2 {
		if n := 1 + i/2; n < len(types) {
			out += "/" + types[n]
		} else {
			out += "/" + segments[i]
		}
		if i+1 < len(segments) {
			out += "/" + segments[i+1]
		}
	}
	return out
}

func (w *Azure) notFound(id string, k *kind) *refusal {
	switch levels, parent := strings.Count(k.typ, "/"), w.find(parentID(id)); {
	case levels == 2 && parent == nil: // recorded: reading a subnet of no network tells that the network is not there
		id = parentID(id)
	case levels == 2 && strings.HasPrefix(k.typ, "Microsoft.Network/"):
		return refuse(404, "NotFound", "Resource "+id+" not found.")
	case levels > 2 && parent == nil:
		return refuse(404, "ParentResourceNotFound", "Can not perform requested operation on nested resource. Parent resource '"+parentNames(id)+"' not found.")
	}
	short := id[strings.Index(strings.ToLower(id), "/providers/")+len("/providers/"):]
	return refuse(404, "ResourceNotFound", "The Resource '"+short+"' under resource group '"+idPart(id, "resourceGroups")+"' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix")
}

// show is a resource as GET answers it.
func (w *Azure) show(k *kind, r *resource, expand string) map[string]any {
	b := map[string]any{"id": r.id, "name": r.name, "type": r.typ}
	if r.location != "" {
		b["location"] = r.location
	}
	if r.tags != nil {
		b["tags"] = r.tags
	}
	if len(r.sku) > 0 {
		b["sku"] = r.sku
	}
	if r.etag != "" {
		b["etag"] = r.etag
	}
	for key, v := range r.extra {
		b[key] = v
	}
	b["properties"] = copyMap(r.props)
	mapping(b, "properties")["provisioningState"] = r.state
	if k.show != nil {
		k.show(w, r, b)
	}
	if strings.EqualFold(r.typ, vmType) && strings.EqualFold(expand, "instanceView") {
		mapping(b, "properties")["instanceView"] = w.instanceView(r)
	}
	if r.typ == runCommandType && strings.EqualFold(expand, "instanceView") {
		mapping(b, "properties")["instanceView"] = commandView(r)
	}
	if r.typ == extensionType && strings.EqualFold(expand, "instanceView") {
		mapping(b, "properties")["instanceView"] = extensionView(r)
	}
	if strings.EqualFold(r.typ, versionType) && strings.EqualFold(expand, "ReplicationStatus") {
		mapping(b, "properties")["replicationStatus"] = w.replication(r)
	}
	return b
}

// asOf takes from a document what the api-version that was asked for does not know.
func (k *kind) asOf(q *request, b map[string]any) map[string]any {
	for name, first := range k.since {
		if q.query.Get("api-version") < first {
			delete(mapping(b, "properties"), name)
		}
	}
	return b
}

// tracked reports whether a type's resources have a region of their own: those below a provider, and the gallery's.
func tracked(typ string) bool {
	low := strings.ToLower(typ)
	if strings.HasPrefix(low, "microsoft.authorization/") || strings.HasPrefix(low, "microsoft.resources/") {
		return false
	}
	return strings.Count(low, "/") == 1 || strings.HasPrefix(low, "microsoft.compute/galleries/")
}

func (w *Azure) put(q *request, k *kind, id string, old *resource) *reply {
	in := ask{id: id, name: lastPart(id), location: regionKey(text(q.body, "location")), body: q.body, old: old, who: q.who, api: q.query.Get("api-version")}
	if q.body == nil {
		return failed(refuse(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized: 'empty'."))
	}
	if old != nil && old.deleting {
		return failed(refuse(409, "Conflict", "The request failed due to conflict with a concurrent request. To resolve it, please refer to https://aka.ms/activitylog to get more details on the conflicting requests."))
	}
	// Resource Manager's own check, before a provider is asked (Learn: "Common deployment errors", LocationRequired).
	if old == nil && in.location == "" && tracked(k.typ) {
		return failed(refuse(400, "LocationRequired", "The location property is required for this definition."))
	}
	if bad := w.join(q.who, k, in); bad != nil {
		return failed(bad)
	}
	if k.check != nil {
		if bad := k.check(w, in); bad != nil {
			return failed(bad)
		}
	}
	status := 200
	r := old
	if r == nil {
		status = 201
		r = w.place(id, k.typ, in.location)
	}
	if tags := mapping(q.body, "tags"); tags != nil {
		r.tags = copyMap(tags)
	}
	k.fill(w, r, in)
	written := func() map[string]any {
		b := k.asOf(q, w.show(k, r, ""))
		if k.told != nil {
			k.told(w, r, b)
		}
		return b
	}
	if k.sync {
		r.state = "Succeeded"
		if k.done != nil {
			if bad := k.done(w, r); bad != nil {
				return failed(bad)
			}
		}
		if k.fresh != 0 && old == nil {
			if k.quiet {
				return &reply{status: k.fresh, body: written()}
			}
			return &reply{status: k.fresh, header: map[string]string{"Location": r.id}, body: written()}
		}
		return &reply{status: 200, body: written()} // vaults answer 200 for a new one too (azure-protocol.md 2.1)
	}
	if k.locates && old != nil {
		r.state = "Succeeded"
		return &reply{status: 200, body: written()}
	}
	if k.atOnce {
		r.state = "Succeeded"
		return &reply{status: status, body: written()}
	}
	r.state = "Updating"
	if old == nil {
		r.state = "Creating"
		if k.creating != "" {
			r.state = k.creating
		}
	}
	var d time.Duration
	if k.takes != nil {
		d = k.takes(w, r, old == nil)
	}
	o := w.beginVerb(r, k.opPath, d, "put")
	out := &reply{status: status, header: w.async(q, o, k.put202), body: written()}
	if k.put202 {
		out.status = 202
	}
	if k.put202 && old == nil { // recorded: what is not done yet shows what was asked for and nothing that follows from it
		b := mapping(out.body)
		p := copyMap(mapping(q.body, "properties"))
		p["provisioningState"] = r.state
		b["properties"] = p
		if sku := mapping(q.body, "sku"); sku != nil {
			b["sku"] = deepCopy(sku)
		}
	}
	if k.bare202 {
		for _, key := range []string{"id", "name", "type"} {
			delete(mapping(out.body), key)
		}
	}
	if k.locates {
		h := w.async(q, o, true)
		delete(h, "Azure-AsyncOperation")
		return &reply{status: 202, header: h}
	}
	return out
}

func (w *Azure) patchTags(q *request, k *kind, r *resource, id string) *reply {
	if r == nil {
		return failed(w.notFound(id, k))
	}
	if k.update != nil {
		return k.update(w, q, k, r)
	}
	for key := range q.body {
		if key != "tags" && (key != "properties" || !k.patch) {
			return w.unknown(q)
		}
	}
	if q.body["tags"] != nil {
		r.tags = copyMap(mapping(q.body, "tags"))
	}
	if p := mapping(q.body, "properties"); p != nil {
		in := ask{id: id, name: r.name, location: r.location, old: r, who: q.who, body: map[string]any{"properties": merged(r.props, p), "kind": r.extra["kind"], "identity": r.extra["identity"]}}
		if k.check != nil {
			if bad := k.check(w, in); bad != nil {
				return failed(bad)
			}
		}
		k.fill(w, r, in)
	}
	return &reply{status: 200, body: w.show(k, r, "")}
}

// merged is a document with some of its members replaced.
func merged(old, change map[string]any) map[string]any {
	out := copyMap(old)
	for k, v := range change {
		out[k] = v
	}
	return out
}

func (w *Azure) remove(q *request, k *kind, r *resource) *reply {
	if r == nil {
		return &reply{status: 204}
	}
	force := k.typ == hostPoolType && q.query.Get("force") == "true" // rest/api/desktopvirtualization/host-pools/delete
	if k.drop != nil && !force {
		if bad := k.drop(w, r); bad != nil {
			return failed(bad)
		}
	}
	if k.sync || k.locates {
		var last any
		if k.parting {
			b := w.show(k, r, "")
			if k.told != nil {
				k.told(w, r, b)
			}
			last = b
		}
		w.drop(r.id)
		return &reply{status: 200, body: last}
	}
	r.deleting, r.state = true, "Deleting"
	o := w.beginVerb(r, k.opPath, w.duration(k.takesAway, r.id), "delete")
	o.deletion = true
	return &reply{status: 202, header: w.async(q, o, true)}
}

func (w *Azure) post(q *request, k *kind, id, name string) *reply {
	r := w.find(id)
	var a action
	var known bool
	for n, x := range k.actions {
		if strings.EqualFold(n, name) {
			a, known, name = x, true, n
		}
	}
	if q.method == http.MethodGet && strings.EqualFold(name, "instanceView") && r != nil && k.typ == vmType {
		return &reply{status: 200, body: w.instanceView(r)}
	}
	for n, f := range k.children {
		if strings.EqualFold(n, name) && q.method == http.MethodGet {
			if bad := w.authorize(q.who, k.typ+"/"+n+"/read", id); bad != nil {
				return failed(bad)
			}
			if r == nil {
				return failed(w.notFound(id, k))
			}
			return f(w, q, r)
		}
	}
	if !known || q.method != http.MethodPost {
		return w.unknown(q)
	}
	if bad := w.authorize(q.who, k.typ+"/"+name+"/action", id); bad != nil {
		return failed(bad)
	}
	if r == nil {
		return failed(w.notFound(id, k))
	}
	if bad := w.locked(q.method, id); bad != nil {
		return failed(bad)
	}
	if a.check != nil {
		if bad := a.check(w, r, q.body); bad != nil {
			return failed(bad)
		}
	}
	if a.now != nil {
		a.now(w, r)
	}
	if a.answer != nil {
		return a.answer(w, r)
	}
	if a.takes == "" {
		return &reply{status: 200}
	}
	o := w.beginVerb(r, k.opPath, w.duration(a.takes, r.id), "action/"+name)
	if a.output != nil { // what it yields depends on what was asked, which is not kept: after a restart it yields nothing
		o.apply = func() (bad *refusal) {
			o.output, bad = a.output(w, r, q.body)
			return bad
		}
	}
	o.resource = ""
	if r.typ == templateType && name == "run" {
		w.runBegins(r, o)
	}
	return &reply{status: 202, header: w.async(q, o, true)}
}

func (w *Azure) list(q *request, k *kind, prefix string) *reply {
	parent := parentOfList(prefix)
	if bad := w.authorize(q.who, k.typ+"/read", parent); bad != nil {
		return failed(bad)
	}
	if strings.Count(k.typ, "/") > 1 && w.find(parent) == nil {
		return failed(parentMissing(prefix + "/x"))
	}
	var out []any
	if x := w.byType[strings.ToLower(k.typ)]; x != nil {
		for _, r := range x.under(strings.ToLower(prefix)) {
			if body, behind := w.behind(r.id); !behind {
				out = append(out, w.show(k, r, ""))
			} else if body != nil {
				out = append(out, body)
			}
		}
	}
	all := w.page(q, append(out, w.lingering(prefix)...))
	if b := mapping(all.body); b != nil && b["nextLink"] == nil && strings.HasPrefix(k.typ, "Microsoft.DesktopVirtualization/") {
		b["nextLink"] = nil // recorded: the service says so when there is no further page
	}
	return all
}

func parentOfList(prefix string) string { return prefix[:strings.LastIndex(prefix, "/")] }

// page answers a list in pages of 100, as most providers do, with an absolute link to the next.
func (w *Azure) page(q *request, all []any) *reply {
	const size = 100
	from, err := strconv.Atoi(q.query.Get("$skiptoken"))
	if err != nil || from < 0 || from > len(all) {
		from = 0
	}
	to := min(from+size, len(all))
	body := map[string]any{"value": append([]any{}, all[from:to]...)}
	if to < len(all) {
		next := url.Values{}
		for key, v := range q.query {
			next[key] = v
		}
		next.Set("$skiptoken", strconv.Itoa(to))
		body["nextLink"] = q.base + q.path + "?" + next.Encode()
	}
	return &reply{status: 200, body: body}
}
