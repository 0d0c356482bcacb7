package sim

import (
	"net/http"
	"regexp"
	"strings"
)

const groupType = "Microsoft.Resources/resourceGroups"

// group is PUT, GET, HEAD, PATCH and DELETE of a resource group (azure-protocol.md 2.1).
func (w *Azure) group(q *request, sub, name string) *reply {
	id := "/subscriptions/" + sub + "/resourceGroups/" + name
	right := map[string]string{http.MethodGet: "read", http.MethodHead: "read", http.MethodPut: "write", http.MethodPatch: "write", http.MethodDelete: "delete"}[q.method]
	if bad := w.authorize(q.who, "Microsoft.Resources/subscriptions/resourceGroups/"+right, id); bad != nil {
		return failed(bad)
	}
	if bad := w.locked(q.method, id); bad != nil {
		return failed(bad)
	}
	r := w.find(id)
	missing := refuse(404, "ResourceGroupNotFound", "Resource group '"+name+"' could not be found.")
	switch q.method {
	case http.MethodPut:
		if r != nil && r.deleting {
			return failed(refuse(409, "ResourceGroupBeingDeleted", "The resource group '"+name+"' is in deprovisioning state and cannot perform this operation."))
		}
		location := regionKey(text(q.body, "location"))
		if _, ok := findRegion(location); !ok {
			return failed(refuse(400, "LocationNotAvailableForResourceGroup", "The provided location '"+location+"' is not available for resource group."))
		}
		status := 200
		if r == nil {
			r, status = w.place(id, groupType, location), 201
		}
		if r.location != location {
			return failed(refuse(409, "InvalidResourceGroupLocation", "Invalid resource group location '"+location+"'. The Resource group already exists in location '"+r.location+"'."))
		}
		r.tags = nil
		if t := mapping(q.body, "tags"); t != nil {
			r.tags = copyMap(t)
		}
		if by := text(q.body, "managedBy"); by != "" {
			r.extra = map[string]any{"managedBy": by}
		}
		return &reply{status: status, body: showGroup(r)}
	case http.MethodHead:
		if r == nil {
			return &reply{status: 404}
		}
		return &reply{status: 204}
	case http.MethodGet:
		if r == nil {
			return failed(missing)
		}
		return &reply{status: 200, body: showGroup(r)}
	case http.MethodPatch:
		if r == nil {
			return failed(missing)
		}
		r.tags = copyMap(mapping(q.body, "tags"))
		return &reply{status: 200, body: showGroup(r)}
	case http.MethodDelete:
		if r == nil {
			return failed(missing)
		}
		if r.deleting {
			for _, o := range w.operations {
				if o.group && sameID(o.resource, r.id) && o.status == "InProgress" {
					return w.groupAccepted(q, o)
				}
			}
		}
		r.deleting, r.state = true, "Deleting"
		o := w.beginVerb(r, "", w.duration("group-delete", r.id), "delete")
		o.deletion, o.group = true, true
		return w.groupAccepted(q, o)
	}
	return w.unknown(q)
}

// groupAccepted points to the deletion's result; there is no Azure-AsyncOperation for groups.
func (w *Azure) groupAccepted(q *request, o *operation) *reply {
	h := map[string]string{"Location": q.base + "/subscriptions/" + w.cfg.Subscription + "/operationresults/" + o.id + "?api-version=" + q.query.Get("api-version")}
	w.retryAfter(h, 15)
	return &reply{status: 202, header: h}
}

func (w *Azure) groupDeletion(q *request, id string) *reply {
	o := w.operations[strings.ToLower(id)]
	if o == nil {
		return failed(refuse(404, "NotFound", "The operation was not found."))
	}
	if o.status == "InProgress" {
		h := map[string]string{"Location": q.base + q.path + "?api-version=" + q.query.Get("api-version")} // as recorded, each time
		w.retryAfter(h, 15)
		return &reply{status: 202, header: h}
	}
	if o.err != nil {
		return failed(o.err)
	}
	return &reply{status: 200}
}

func showGroup(r *resource) map[string]any {
	b := map[string]any{"id": r.id, "name": r.name, "type": groupType, "location": r.location, "properties": map[string]any{"provisioningState": r.state}}
	if r.tags != nil {
		b["tags"] = r.tags
	}
	if by := text(r.extra, "managedBy"); by != "" {
		b["managedBy"] = by
	}
	return b
}

func (w *Azure) listGroups(q *request) *reply {
	want, bad := filterOf(q.query.Get("$filter"))
	if bad != nil {
		return failed(bad)
	}
	if bad := w.authorize(q.who, "Microsoft.Resources/subscriptions/resourceGroups/read", "/subscriptions/"+w.cfg.Subscription); bad != nil {
		return failed(bad)
	}
	var out []any
	for _, r := range w.all(groupType) {
		if want(r) {
			out = append(out, showGroup(r))
		}
	}
	return w.page(q, out)
}

var filterTerm = regexp.MustCompile(`(?i)^\s*(tagName|tagValue|resourceType|resourceGroup|location|name)\s+eq\s+'([^']*)'\s*$`)

// filterOf understands the filters that lists of resources and groups take: terms with eq, joined by and.
func filterOf(text string) (func(*resource) bool, *refusal) {
	if strings.TrimSpace(text) == "" {
		return func(*resource) bool { return true }, nil
	}
	terms := map[string]string{}
	for _, t := range regexp.MustCompile(`(?i)\s+and\s+`).Split(text, -1) {
		m := filterTerm.FindStringSubmatch(t)
		if m == nil {
			return nil, refuse(400, "InvalidFilterInQueryString", "Invalid $filter '"+text+"' specified in the query string.")
		}
		terms[strings.ToLower(m[1])] = m[2]
	}
	return func(r *resource) bool {
		for k, v := range terms {
			switch k {
			case "tagname":
				value, ok := r.tags[v].(string)
				if want, both := terms["tagvalue"]; !ok || both && value != want {
					return false
				}
			case "resourcetype":
				if !strings.EqualFold(r.typ, v) {
					return false
				}
			case "resourcegroup":
				if !strings.EqualFold(idPart(r.id, "resourceGroups"), v) {
					return false
				}
			case "location":
				if !sameRegion(r.location, v) {
					return false
				}
			case "name":
				if !strings.EqualFold(r.name, v) {
					return false
				}
			}
		}
		return true
	}, nil
}

func (w *Azure) locations(sub string) *reply {
	var out []any
	for _, r := range regions() {
		out = append(out, r.body(sub))
	}
	return &reply{status: 200, body: map[string]any{"value": out}}
}
