package sim

import (
	"net/http"
	"strings"
)

const asgType = "Microsoft.Network/applicationSecurityGroups"

// dropASG refuses to delete a group that a NIC or a rule names.
func dropASG(w *Azure, r *resource) *refusal {
	for _, n := range w.all(nicType) {
		for _, c := range items(n.props, "ipConfigurations") {
			for _, g := range items(c, "properties", "applicationSecurityGroups") {
				if sameID(text(g, "id"), r.id) {
					return refuse(400, "ApplicationSecurityGroupInUse", "Application security group "+r.id+" cannot be deleted because it is in use by the following resources: "+text(c, "id")+".")
				}
			}
		}
	}
	return nil
}

// securityRules answers for …/networkSecurityGroups/G/securityRules[/R] and defaultSecurityRules: a group's rules by ids of their own
// (rest/api/virtualnetwork/security-rules). They are kept in the group's document and nowhere else. nil: it is about something else.
func (w *Azure) securityRules(q *request, group *resource, segments []string) *reply {
	if len(segments) < 3 || len(segments) > 4 || !strings.EqualFold(segments[0], "networkSecurityGroups") || !strings.EqualFold(segments[2], "securityRules") && !strings.EqualFold(segments[2], "defaultSecurityRules") {
		return nil
	}
	list := "securityRules"
	if strings.EqualFold(segments[2], "defaultSecurityRules") {
		list = "defaultSecurityRules"
	}
	id := group.id + "/providers/" + nsgType + "/" + segments[1]
	if bad := w.authorize(q.who, nsgType+"/"+list+"/"+methodRight(q.method), id); bad != nil {
		return failed(bad)
	}
	k := w.kinds[strings.ToLower(nsgType)]
	nsg := w.find(id)
	if nsg == nil {
		return failed(w.notFound(id, k))
	}
	rules := items(w.show(k, nsg, ""), "properties", list)
	if len(segments) == 3 {
		if q.method != http.MethodGet {
			return w.unknown(q)
		}
		return w.page(q, rules)
	}
	at := -1
	for i, x := range rules {
		if strings.EqualFold(text(x, "name"), segments[3]) {
			at = i
		}
	}
	rule := id + "/" + list + "/" + segments[3]
	switch {
	case q.method == http.MethodGet && at >= 0:
		return &reply{status: 200, body: rules[at]}
	case q.method == http.MethodGet:
		return failed(refuse(404, "NotFound", "Resource "+rule+" not found."))
	case list != "securityRules":
		return w.unknown(q)
	case q.method == http.MethodDelete && at < 0:
		return &reply{status: 204}
	case q.method != http.MethodPut && q.method != http.MethodDelete:
		return w.unknown(q)
	}
	if bad := w.locked(q.method, rule); bad != nil {
		return failed(bad)
	}
	var next []any
	for i, x := range items(nsg.props, list) {
		if i != at {
			next = append(next, x)
		}
	}
	status := 201
	if q.method == http.MethodPut {
		if at >= 0 {
			status = 200
		}
		next = append(next, map[string]any{"name": segments[3], "properties": mapping(q.body, "properties")})
	}
	body := merged(nsg.props, map[string]any{list: next})
	in := ask{id: nsg.id, name: nsg.name, location: nsg.location, old: nsg, who: q.who, body: map[string]any{"properties": body}}
	if bad := k.check(w, in); bad != nil {
		return failed(bad)
	}
	k.fill(w, nsg, in)
	nsg.state = "Updating"
	o := w.beginVerb(nsg, k.opPath, k.takes(w, nsg, false), "put")
	if q.method == http.MethodDelete {
		o.deletion = true // of the rule: its end is told as that of a deletion
		return &reply{status: http.StatusAccepted, header: w.async(q, o, true)}
	}
	made := items(w.show(k, nsg, ""), "properties", list)
	return &reply{status: status, header: w.async(q, o, false), body: made[len(made)-1]}
}
