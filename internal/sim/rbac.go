package sim

import (
	"path"
	"strings"
)

// Assignment gives a role at a scope and everything below it.
type Assignment struct {
	// Owner, Contributor, Reader, or one of the scenario's own.
	Role string `json:"role"`
	// id of a subscription, group or resource.
	Scope string `json:"scope"`
}

// Role is a set of rights, as Azure writes them: actions with stars, less notActions.
type Role struct {
	// what assignments call it.
	Name string `json:"name"`
	// what it allows, with stars.
	Actions []string `json:"actions"`
	// what it does not, of these.
	NotActions []string `json:"notActions"`
	// rights on what a resource holds: blobs, secrets.
	DataActions []string `json:"dataActions,omitempty"`
	// less these.
	NotDataActions []string `json:"notDataActions,omitempty"`
}

// role finds a built-in role or one of the scenario's. What Contributor may not do is in the list of built-in roles
// (learn.microsoft.com/azure/role-based-access-control/built-in-roles).
func (w *Azure) role(name string) (Role, bool) {
	if r, ok := wellKnown(name); ok {
		return r, true
	}
	for _, b := range builtInRoles() {
		if strings.EqualFold(b.Name, name) {
			return b.Role, true
		}
	}
	if w.cfg.Scenario != nil {
		for _, r := range w.cfg.Scenario.Roles {
			if strings.EqualFold(r.Name, name) {
				return r, true
			}
		}
	}
	return Role{}, false
}

// wellKnown are the three that hold for everything.
func wellKnown(name string) (Role, bool) {
	switch strings.ToLower(name) {
	case "owner":
		return Role{Name: "Owner", Actions: []string{"*"}}, true
	case "contributor":
		return Role{Name: "Contributor", Actions: []string{"*"}, NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action", "Microsoft.Compute/galleries/share/action"}}, true
	case "reader":
		return Role{Name: "Reader", Actions: []string{"*/read"}}, true
	}
	return Role{}, false
}

func (r Role) allows(action string) bool {
	return matchAny(r.Actions, action) && !matchAny(r.NotActions, action)
}

// matchAny compares as Azure does: without case, a star stands for anything, slashes included.
func matchAny(patterns []string, action string) bool {
	flat := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "/", "\x01") }
	for _, p := range patterns {
		if ok, err := path.Match(flat(p), flat(action)); err == nil && ok {
			return true
		}
	}
	return false
}

// may reports whether a role allows it and no deny assignment forbids it.
func (w *Azure) may(p *principal, action, scope string) bool {
	return w.granted(p, action, scope) && w.denial(p, action, scope, false) == nil
}

func (w *Azure) granted(p *principal, action, scope string) bool {
	for _, g := range w.grants(p) {
		if covers(g.scope, scope) && g.role.allows(action) {
			return true
		}
	}
	return false
}

// mayData is may for what a resource holds, which Owner and Contributor say nothing about.
func (w *Azure) mayData(p *principal, action, scope string) bool {
	for _, g := range w.grants(p) {
		if covers(g.scope, scope) && matchAny(g.role.DataActions, action) && !matchAny(g.role.NotDataActions, action) {
			return w.denial(p, action, scope, true) == nil
		}
	}
	return false
}

// authorize answers Azure's own refusal, word for word (azure-protocol.md 2.5).
func (w *Azure) authorize(p *principal, action, scope string) *refusal {
	if w.may(p, action, scope) {
		return nil
	}
	if w.granted(p, action, scope) {
		d := w.denial(p, action, scope, false) // the words are from memory: no recording has them
		return refuse(403, "DenyAssignmentAuthorizationFailed", "The client '"+p.ClientID+"' with object id '"+p.ObjectID+"' has permission to perform action '"+action+"' on scope '"+scope+
			"'; however, the access is denied because of the deny assignment with name '"+text(d.props, "denyAssignmentName")+"' and Id '"+strings.ReplaceAll(d.name, "-", "")+"' at scope '"+text(d.props, "scope")+"'.")
	}
	return refuse(403, "AuthorizationFailed", "The client '"+p.ClientID+"' with object id '"+p.ObjectID+"' does not have authorization to perform action '"+action+"' over scope '"+scope+
		"' or the scope is invalid. If access was recently granted, please refresh your credentials.")
}

// join checks the rights on what a resource is tied to: a NIC joins a subnet and an address, a VM joins its NIC.
func (w *Azure) join(p *principal, k *kind, in ask) *refusal {
	type link struct{ action, id string }
	var links []link
	add := func(action, id string) {
		if id != "" {
			links = append(links, link{action, id})
		}
	}
	switch k.typ {
	case nicType:
		for _, c := range items(in.body, "properties", "ipConfigurations") {
			add("Microsoft.Network/virtualNetworks/subnets/join/action", text(c, "properties", "subnet", "id"))
			add("Microsoft.Network/publicIPAddresses/join/action", text(c, "properties", "publicIPAddress", "id"))
		}
	case vnetType:
		for _, s := range items(in.body, "properties", "subnets") {
			add("Microsoft.Network/networkSecurityGroups/join/action", text(s, "properties", "networkSecurityGroup", "id"))
		}
	case vmType:
		for _, n := range items(in.body, "properties", "networkProfile", "networkInterfaces") {
			add("Microsoft.Network/networkInterfaces/join/action", text(n, "id"))
		}
		for _, s := range items(in.body, "properties", "osProfile", "secrets") {
			add("Microsoft.KeyVault/vaults/deploy/action", text(s, "sourceVault", "id"))
		}
	}
	for _, l := range links {
		if !w.may(p, l.action, l.id) {
			return refuse(403, "LinkedAuthorizationFailed", "The client '"+p.ClientID+"' with object id '"+p.ObjectID+"' has permission to perform action '"+k.typ+"/write' on scope '"+in.id+
				"'; however, it does not have permission to perform action(s) '"+l.action+"' on the linked scope(s) '"+l.id+"' (respectively) or the linked scope(s) are invalid.")
		}
	}
	return nil
}
