package sim

import (
	"net/netip"
	"strings"
)

const (
	vnetType   = "Microsoft.Network/virtualNetworks"
	subnetType = "Microsoft.Network/virtualNetworks/subnets"
)

// subnetPrefix is a subnet's range, given singular or as a list.
func subnetPrefix(props map[string]any) (netip.Prefix, bool) {
	s := text(props, "addressPrefix")
	if l := items(props, "addressPrefixes"); s == "" && len(l) > 0 {
		s, _ = l[0].(string)
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil && p == p.Masked()
}

// checkVNet holds a virtual network with its inline subnets against the network provider's rules.
func checkVNet(w *Azure, in ask) *refusal {
	spaces, bad := addressSpaces(in.body)
	if bad != nil {
		return bad
	}
	seen := map[string]netip.Prefix{}
	for _, s := range items(in.body, "properties", "subnets") {
		name := text(s, "name")
		if name == "" {
			return refuse(400, "InvalidRequestFormat", "Cannot parse the request.")
		}
		if bad := checkSubnet(w, in.name, spaces, seen, name, mapping(s, "properties"), in.id+"/subnets/"+name); bad != nil {
			return bad
		}
	}
	// Leaving a subnet out of the list deletes it, unless something is in it.
	if in.old != nil {
		for _, s := range children(w, in.old.id, subnetType) {
			if _, kept := seen[strings.ToLower(s.name)]; !kept && field(in.body, "properties", "subnets") != nil {
				if bad := dropSubnet(w, s); bad != nil {
					return bad
				}
			}
		}
	}
	return nil
}

func addressSpaces(body map[string]any) ([]netip.Prefix, *refusal) {
	var out []netip.Prefix
	for _, x := range items(body, "properties", "addressSpace", "addressPrefixes") {
		s, _ := x.(string)
		p, err := netip.ParsePrefix(s)
		if err != nil || p != p.Masked() {
			return nil, refuse(400, "InvalidAddressPrefixFormat", "Address prefix "+s+" of resource is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24.")
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, refuse(400, "InvalidRequestFormat", "Cannot parse the request: addressSpace.addressPrefixes is required.")
	}
	return out, nil
}

// checkSubnet also notes the subnet's range in seen, keyed by its lower-case name.
func checkSubnet(w *Azure, vnet string, spaces []netip.Prefix, seen map[string]netip.Prefix, name string, props map[string]any, id string) *refusal {
	p, ok := subnetPrefix(props)
	if !ok {
		return refuse(400, "InvalidAddressPrefixFormat", "Address prefix "+text(props, "addressPrefix")+" of resource "+id+" is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24.")
	}
	inside := false
	for _, space := range spaces {
		inside = inside || space.Bits() <= p.Bits() && space.Contains(p.Addr())
	}
	if !inside || p.Bits() > 29 && p.Addr().Is4() {
		return refuse(400, "NetcfgInvalidSubnet", "Subnet '"+name+"' is not valid in virtual network '"+vnet+"'.")
	}
	for other, q := range seen {
		if other != strings.ToLower(name) && q.Overlaps(p) {
			return refuse(400, "NetcfgSubnetRangesOverlap", "Subnet '"+name+"' is not valid because its IP address range overlaps with that of an existing subnet in virtual network '"+vnet+"'.")
		}
	}
	seen[strings.ToLower(name)] = p
	if g := text(props, "networkSecurityGroup", "id"); g != "" && w.find(g) == nil {
		return missingReference(g, id)
	}
	return nil
}

func fillVNet(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	inline, given := p["subnets"].([]any)
	delete(p, "subnets")
	p["resourceGuid"] = keepOr(r.props, "resourceGuid", w.uuid)
	if p["virtualNetworkPeerings"] == nil {
		p["virtualNetworkPeerings"] = []any{}
	}
	if p["enableDdosProtection"] == nil {
		p["enableDdosProtection"] = false
	}
	if dns := mapping(p, "dhcpOptions"); dns != nil {
		fill(dns, map[string]any{"dnsServers": []any{}})
	}
	r.props, r.etag = p, newEtag(w)
	if !given {
		return
	}
	keep := map[string]bool{}
	for _, s := range inline {
		name := text(s, "name")
		keep[strings.ToLower(name)] = true
		child := w.find(r.id + "/subnets/" + name)
		if child == nil {
			child = w.place(r.id+"/subnets/"+name, subnetType, "")
		}
		child.props, child.etag = subnetProps(mapping(s, "properties")), r.etag
	}
	for _, s := range children(w, r.id, subnetType) {
		if !keep[strings.ToLower(s.name)] {
			w.drop(s.id)
		}
	}
}

// subnetProps are the properties as stored; a list of one prefix is answered as the single one, as recorded.
func subnetProps(in map[string]any) map[string]any {
	p := copyMap(in)
	if l := items(p, "addressPrefixes"); len(l) == 1 {
		p["addressPrefix"] = l[0]
		delete(p, "addressPrefixes")
	}
	for k, v := range map[string]any{"delegations": []any{}, "privateEndpointNetworkPolicies": "Disabled", "privateLinkServiceNetworkPolicies": "Enabled"} {
		if p[k] == nil {
			p[k] = v
		}
	}
	delete(p, "ipConfigurations")
	p["provisioningState"] = "Succeeded"
	return p
}

// showVNet puts the subnets into a network's answer; they carry its state while it is being updated.
func showVNet(w *Azure, r *resource, body map[string]any) {
	p := mapping(body, "properties")
	list := []any{}
	for _, s := range children(w, r.id, subnetType) {
		b := map[string]any{"name": s.name, "id": s.id, "etag": s.etag, "type": subnetType, "properties": copyMap(s.props)}
		mapping(b, "properties")["provisioningState"] = text(p, "provisioningState")
		showSubnet(w, s, b)
		delete(mapping(b, "properties"), "ipamPoolPrefixAllocations")
		list = append(list, b)
	}
	p["subnets"] = list
}

func showSubnet(w *Azure, r *resource, body map[string]any) {
	fill(mapping(body, "properties"), map[string]any{"ipamPoolPrefixAllocations": []any{}}) // by its own id, not within its network: recorded
	if used := subnetUsers(w, r.id); len(used) > 0 {
		mapping(body, "properties")["ipConfigurations"] = references(used)
	}
}

// subnetUsers are the ip configurations of NICs in a subnet.
func subnetUsers(w *Azure, id string) []string {
	if u := w.reading(); u != nil {
		return u.subnet[strings.ToLower(id)]
	}
	var out []string
	for _, n := range w.all(nicType) {
		for _, c := range items(n.props, "ipConfigurations") {
			if sameID(text(c, "properties", "subnet", "id"), id) {
				out = append(out, text(c, "id"))
			}
		}
	}
	return out
}

func dropSubnet(w *Azure, r *resource) *refusal {
	if used := subnetUsers(w, r.id); len(used) > 0 {
		return refuse(400, "InUseSubnetCannotBeDeleted", "Subnet "+r.name+" is in use by "+used[0]+" and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.")
	}
	return nil
}

func dropVNet(w *Azure, r *resource) *refusal {
	for _, s := range children(w, r.id, subnetType) {
		if bad := dropSubnet(w, s); bad != nil {
			return bad
		}
	}
	return nil
}

// checkSubnetPut is PUT of a subnet by its own id.
func checkSubnetPut(w *Azure, in ask) *refusal {
	vnet := w.find(parentID(in.id))
	if vnet == nil {
		return parentMissing(in.id)
	}
	spaces, bad := addressSpaces(map[string]any{"properties": vnet.props})
	if bad != nil {
		return bad
	}
	seen := map[string]netip.Prefix{}
	for _, s := range children(w, vnet.id, subnetType) {
		if p, ok := subnetPrefix(s.props); ok && !strings.EqualFold(s.name, in.name) {
			seen[strings.ToLower(s.name)] = p
		}
	}
	return checkSubnet(w, vnet.name, spaces, seen, in.name, mapping(in.body, "properties"), in.id)
}

func fillSubnet(w *Azure, r *resource, in ask) {
	r.props, r.etag = subnetProps(mapping(in.body, "properties")), newEtag(w)
}
