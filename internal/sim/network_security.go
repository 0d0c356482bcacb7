package sim

import (
	"net/netip"
	"strings"
)

const nsgType = "Microsoft.Network/networkSecurityGroups"

// checkNSG holds the rules of a security group against the network provider's.
func checkNSG(in ask) *refusal {
	type slot struct{ direction, priority any }
	taken := map[slot]string{}
	names := map[string]bool{}
	for _, r := range items(in.body, "properties", "securityRules") {
		name := text(r, "name")
		id := in.id + "/securityRules/" + name
		if name == "" {
			return refuse(400, "InvalidRequestFormat", "Cannot parse the request.")
		}
		if names[strings.ToLower(name)] {
			return refuse(400, "InvalidRequestFormat", "Security rule names must be unique: "+name+".")
		}
		names[strings.ToLower(name)] = true
		p := mapping(r, "properties")
		n := number(p, "priority")
		if n < 100 || n > 4096 {
			return refuse(400, "SecurityRuleInvalidPriority", "Security rule "+id+" has invalid Priority. Value provided: "+itoa(n)+" Allowed range 100-4096.")
		}
		at := slot{strings.ToLower(text(p, "direction")), n}
		if other, ok := taken[at]; ok {
			return refuse(400, "SecurityRuleConflict", "Security rule "+name+" conflicts with rule "+other+". Rules cannot have the same Priority and Direction. To learn more, see aka.ms/nsgrules.")
		}
		taken[at] = name
		for _, need := range []string{"access", "direction", "protocol"} {
			if text(p, need) == "" {
				return refuse(400, "SecurityRuleParameterMissing", "Security rule is missing parameter "+need+" for Security rule with Id "+id+".")
			}
		}
		for _, need := range []string{"sourceAddressPrefix", "destinationAddressPrefix", "destinationPortRange"} {
			if !anyOf(p, need, func(string) bool { return true }) {
				return refuse(400, "SecurityRuleParameterMissing", "Security rule is missing parameter "+need+" for Security rule with Id "+id+".")
			}
		}
	}
	return nil
}

func fillNSG(w *Azure, r *resource, in ask) {
	etag := newEtag(w)
	p := copyMap(mapping(in.body, "properties"))
	rules := []any{}
	for _, x := range items(p, "securityRules") {
		rule := copyMap(x.(map[string]any))
		rule["id"] = r.id + "/securityRules/" + text(rule, "name")
		rule["etag"], rule["type"] = etag, nsgType+"/securityRules"
		rp := copyMap(mapping(rule, "properties"))
		rp["provisioningState"] = "Updating"
		for _, list := range []string{"sourcePortRanges", "destinationPortRanges", "sourceAddressPrefixes", "destinationAddressPrefixes"} {
			if rp[list] == nil {
				rp[list] = []any{}
			}
		}
		rule["properties"] = rp
		rules = append(rules, rule)
	}
	p["securityRules"], p["defaultSecurityRules"] = rules, defaultRules(r.id, etag, "Updating")
	p["resourceGuid"] = keepOr(r.props, "resourceGuid", w.uuid)
	r.props, r.etag = p, etag
}

// CallerAt says which address this computer has as the simulated network sees it, instead of the loopback address that it really comes from:
// a rehearsal of a template that lets in an office's address takes place in that office.
func (w *Azure) CallerAt(a netip.Addr) {
	w.mu.Lock()
	w.caller = a
	w.mu.Unlock()
}

// reachable says whether the network rules let a remote address connect to a port of the machine behind a NIC: both the
// NIC's and its subnet's security group have to allow it. Without any group, a Standard public address is closed to
// inbound traffic, as in Azure (learn.microsoft.com/azure/virtual-network/ip-services/public-ip-addresses#sku).
func reachable(w *Azure, nicID string, remote netip.Addr, port int) bool {
	nic := w.find(nicID)
	if nic == nil {
		return false
	}
	if remote.IsLoopback() && w.caller.IsValid() {
		remote = w.caller
	}
	guarded := false
	f := flow{source: remote, port: port, protocol: "Tcp"}
	var groups []string
	standard := false
	if g := text(nic.props, "networkSecurityGroup", "id"); g != "" {
		groups = append(groups, g)
	}
	for _, c := range items(nic.props, "ipConfigurations") {
		subnetID := text(c, "properties", "subnet", "id")
		if a, err := netip.ParseAddr(text(c, "properties", "privateIPAddress")); err == nil {
			f.destination = a
		}
		if ip := w.find(text(c, "properties", "publicIPAddress", "id")); ip != nil && strings.EqualFold(text(ip.sku, "name"), "Standard") {
			standard = true
		}
		if s := w.find(subnetID); s != nil {
			if g := text(s.props, "networkSecurityGroup", "id"); g != "" {
				groups = append(groups, g)
			}
			if vnet := w.find(parentID(subnetID)); vnet != nil {
				for _, x := range items(vnet.props, "addressSpace", "addressPrefixes") {
					s, _ := x.(string)
					if prefix, err := netip.ParsePrefix(s); err == nil {
						f.vnet = append(f.vnet, prefix)
					}
				}
			}
		}
	}
	for _, id := range groups {
		guarded = true
		if g := w.find(id); g == nil || !admits(g.props, f) {
			return false
		}
	}
	return guarded || !standard
}

// nsgUsers are the NICs and subnets a security group is attached to.
func nsgUsers(w *Azure, id string) (nics, subnets []string) {
	if u := w.reading(); u != nil {
		return u.nics[strings.ToLower(id)], u.subnets[strings.ToLower(id)]
	}
	for _, n := range w.all(nicType) {
		if sameID(text(n.props, "networkSecurityGroup", "id"), id) {
			nics = append(nics, n.id)
		}
	}
	for _, s := range w.all(subnetType) {
		if sameID(text(s.props, "networkSecurityGroup", "id"), id) {
			subnets = append(subnets, s.id)
		}
	}
	return nics, subnets
}

func dropNSG(w *Azure, r *resource) *refusal {
	nics, subnets := nsgUsers(w, r.id)
	if users := append(nics, subnets...); len(users) > 0 {
		return refuse(400, "InUseNetworkSecurityGroupCannotBeDeleted", "Network security group "+r.id+" cannot be deleted because it is in use by the following resources: "+strings.Join(users, ", ")+
			". In order to delete the Network security group, remove the association with the resource(s). To learn how to do this, see aka.ms/deletensg.")
	}
	return nil
}

func showNSG(w *Azure, r *resource, body map[string]any) {
	p := mapping(body, "properties")
	state := text(p, "provisioningState")
	for _, list := range []string{"securityRules", "defaultSecurityRules"} {
		for _, x := range items(p, list) {
			if rp := mapping(x, "properties"); rp != nil {
				rp["provisioningState"] = state
			}
		}
	}
	nics, subnets := nsgUsers(w, r.id)
	if len(nics) > 0 {
		p["networkInterfaces"] = references(nics)
	}
	if len(subnets) > 0 {
		p["subnets"] = references(subnets)
	}
}
