package sim

import (
	"fmt"
	"net/netip"
	"strings"
)

const (
	nicType = "Microsoft.Network/networkInterfaces"
	ipType  = "Microsoft.Network/publicIPAddresses"
)

// checkPublicIP: Basic addresses may be dynamic, Standard ones are static
// (learn.microsoft.com/azure/virtual-network/ip-services/public-ip-addresses).
func checkPublicIP(in ask) *refusal {
	sku, method := text(in.body, "sku", "name"), text(in.body, "properties", "publicIPAllocationMethod")
	if strings.EqualFold(sku, "Standard") && strings.EqualFold(method, "Dynamic") {
		return refuse(400, "PublicIPAddressStandardSkuRequiresStaticAllocation", "Standard sku publicIp "+in.id+" must have AllocationMethod set to Static.")
	}
	if in.old != nil && sku != "" && !strings.EqualFold(sku, text(in.old.sku, "name")) {
		return refuse(400, "PublicIPAddressSkuCannotBeChanged", "Sku property for PublicIPAddress "+in.id+" cannot be changed.")
	}
	return nil
}

func fillPublicIP(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	for k, v := range map[string]any{"publicIPAddressVersion": "IPv4", "publicIPAllocationMethod": "Dynamic", "idleTimeoutInMinutes": 4, "ipTags": []any{}} {
		if p[k] == nil {
			p[k] = v
		}
	}
	p["resourceGuid"] = keepOr(r.props, "resourceGuid", w.uuid)
	if a := text(r.props, "ipAddress"); a != "" {
		p["ipAddress"] = a
	}
	if label := text(p, "dnsSettings", "domainNameLabel"); label != "" {
		mapping(p, "dnsSettings")["fqdn"] = strings.ToLower(label + "." + r.location + ".cloudapp.azure.com")
	}
	r.sku = copyMap(mapping(in.body, "sku"))
	if text(r.sku, "name") == "" {
		r.sku["name"] = "Basic"
	}
	if text(r.sku, "tier") == "" {
		r.sku["tier"] = "Regional"
	}
	r.props, r.etag = p, newEtag(w)
}

// addressPublicIP gives the address once the operation is done: the recorded 201 has none. Addresses are loopback
// addresses (127.83.x.y), because guests listen on them for real.
func addressPublicIP(w *Azure, r *resource) {
	if text(r.props, "ipAddress") != "" || !strings.EqualFold(text(r.props, "publicIPAllocationMethod"), "Static") && publicIPUser(w, r.id) == "" {
		return
	}
	taken := map[string]bool{}
	for _, o := range w.all(ipType) {
		taken[text(o.props, "ipAddress")] = true
	}
	for n := 4; n < 1<<16; n++ {
		if a := fmt.Sprintf("127.83.%d.%d", n>>8, n&255); n&255 != 0 && n&255 != 255 && !taken[a] {
			r.props["ipAddress"] = a
			return
		}
	}
}

// publicIPUser is the ip configuration a public address is allocated to, or "".
func publicIPUser(w *Azure, id string) string {
	if u := w.reading(); u != nil {
		return u.address[strings.ToLower(id)]
	}
	for _, n := range w.all(nicType) {
		for _, c := range items(n.props, "ipConfigurations") {
			if sameID(text(c, "properties", "publicIPAddress", "id"), id) {
				return text(c, "id")
			}
		}
	}
	return ""
}

func dropPublicIP(w *Azure, r *resource) *refusal {
	if by := publicIPUser(w, r.id); by != "" {
		return refuse(400, "PublicIPAddressCannotBeDeleted", "Public IP address "+r.id+" can not be deleted since it is still allocated to resource "+by+
			". In order to delete the public IP, disassociate/detach the Public IP address from the resource.  To learn how to do this, see aka.ms/deletepublicip.")
	}
	return nil
}

func showPublicIP(w *Azure, r *resource, body map[string]any) {
	if by := publicIPUser(w, r.id); by != "" {
		mapping(body, "properties")["ipConfiguration"] = map[string]any{"id": by}
	}
}

// checkNIC: what a NIC refers to must exist, in its region, and a public address serves one configuration.
func checkNIC(w *Azure, in ask) *refusal {
	configs := items(in.body, "properties", "ipConfigurations")
	if len(configs) == 0 {
		return refuse(400, "NetworkInterfaceMustHaveAtleastOneIpConfiguration", "Network interface "+in.id+" must have at least one IP configuration.")
	}
	if g := text(in.body, "properties", "networkSecurityGroup", "id"); g != "" {
		if n := w.find(g); n == nil || !sameRegion(n.location, in.location) {
			return missingReference(g, in.id)
		}
	}
	for _, c := range configs {
		cid := in.id + "/ipConfigurations/" + text(c, "name")
		subnet := text(c, "properties", "subnet", "id")
		if subnet == "" {
			return refuse(400, "SubnetIdRequired", "Subnet reference is required for ipconfiguration "+cid+".")
		}
		vnet := w.find(parentID(subnet))
		s := w.find(subnet)
		if s == nil || vnet == nil || !sameRegion(vnet.location, in.location) {
			return missingReference(subnet, in.id)
		}
		if ip := text(c, "properties", "publicIPAddress", "id"); ip != "" {
			a := w.find(ip)
			if a == nil || !sameRegion(a.location, in.location) {
				return missingReference(ip, in.id)
			}
			if by := publicIPUser(w, ip); by != "" && !sameID(by, cid) {
				return refuse(400, "PublicIPAddressInUse", "Resource "+cid+" is referencing public IP address "+ip+" that is already allocated to resource "+by+".")
			}
		}
		if a := text(c, "properties", "privateIPAddress"); a != "" && strings.EqualFold(text(c, "properties", "privateIPAllocationMethod"), "Static") {
			addr, err := netip.ParseAddr(a)
			p, _ := subnetPrefix(s.props)
			if err != nil || !p.Contains(addr) {
				return refuse(400, "PrivateIPAddressNotInSubnet", "Private static IP address "+a+" does not belong to the range of subnet prefix "+p.String()+".")
			}
			if privateTaken(w, subnet, cid)[addr] {
				return refuse(400, "PrivateIPAddressInUse", "IP configuration "+cid+" is using the private IP address "+a+" which is already allocated to another resource.")
			}
		}
	}
	return nil
}

// privateTaken are the private addresses in use in a subnet, except by one configuration.
func privateTaken(w *Azure, subnet, except string) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, n := range w.all(nicType) {
		for _, c := range items(n.props, "ipConfigurations") {
			if sameID(text(c, "properties", "subnet", "id"), subnet) && !sameID(text(c, "id"), except) {
				if a, err := netip.ParseAddr(text(c, "properties", "privateIPAddress")); err == nil {
					out[a] = true
				}
			}
		}
	}
	return out
}

func fillNIC(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	etag := newEtag(w)
	configs := []any{}
	for i, x := range items(p, "ipConfigurations") {
		c := copyMap(x.(map[string]any))
		cid := r.id + "/ipConfigurations/" + text(c, "name")
		c["id"], c["etag"], c["type"] = cid, etag, nicType+"/ipConfigurations"
		cp := copyMap(mapping(c, "properties"))
		cp["provisioningState"] = "Succeeded"
		for k, v := range map[string]any{"privateIPAllocationMethod": "Dynamic", "privateIPAddressVersion": "IPv4", "primary": i == 0} {
			if cp[k] == nil {
				cp[k] = v
			}
		}
		if text(cp, "privateIPAddress") == "" {
			for _, old := range items(r.props, "ipConfigurations") {
				if sameID(text(old, "id"), cid) && sameID(text(old, "properties", "subnet", "id"), text(cp, "subnet", "id")) {
					cp["privateIPAddress"] = text(old, "properties", "privateIPAddress")
				}
			}
		}
		if text(cp, "privateIPAddress") == "" {
			cp["privateIPAddress"] = freePrivate(w, text(cp, "subnet", "id"), configs)
		}
		c["properties"] = cp
		configs = append(configs, c)
	}
	p["ipConfigurations"] = configs
	for k, v := range map[string]any{
		"dnsSettings": map[string]any{"dnsServers": []any{}, "appliedDnsServers": []any{}}, "vnetEncryptionSupported": false, "enableIPForwarding": false,
		"disableTcpStateTracking": false, "hostedWorkloads": []any{}, "tapConfigurations": []any{}, "nicType": "Standard", "allowPort25Out": true,
		"auxiliaryMode": "None", "auxiliarySku": "None",
	} {
		if p[k] == nil {
			p[k] = v
		}
	}
	fill(mapping(p, "dnsSettings"), map[string]any{"dnsServers": []any{}, "appliedDnsServers": []any{}})
	mapping(p, "dnsSettings")["internalDomainNameSuffix"] = keepOr(mapping(r.props, "dnsSettings"), "internalDomainNameSuffix", func() string {
		return strings.ReplaceAll(w.uuid(), "-", "")[:26] + ".ax.internal.cloudapp.net"
	})
	p["resourceGuid"] = keepOr(r.props, "resourceGuid", w.uuid)
	r.props, r.etag = p, etag
	for _, c := range configs {
		if ip := w.find(text(c, "properties", "publicIPAddress", "id")); ip != nil && ip.props != nil {
			addressPublicIP(w, ip)
		}
	}
}

// freePrivate hands out the first free address; Azure keeps the first four and the last of every subnet
// (learn.microsoft.com/azure/virtual-network/virtual-networks-faq).
func freePrivate(w *Azure, subnetID string, siblings []any) string {
	s := w.find(subnetID)
	if s == nil {
		return ""
	}
	p, ok := subnetPrefix(s.props)
	if !ok {
		return ""
	}
	taken := privateTaken(w, subnetID, "")
	for _, c := range siblings {
		if a, err := netip.ParseAddr(text(c, "properties", "privateIPAddress")); err == nil {
			taken[a] = true
		}
	}
	a := p.Addr()
	for range 4 {
		a = a.Next()
	}
	for ; p.Contains(a) && p.Contains(a.Next()); a = a.Next() {
		if !taken[a] {
			return a.String()
		}
	}
	return ""
}

// nicUser is the VM a NIC belongs to, or nil.
func nicUser(w *Azure, id string) *resource {
	if u := w.reading(); u != nil {
		return u.machines[strings.ToLower(id)]
	}
	for _, v := range w.all(vmType) {
		for _, n := range items(v.props, "networkProfile", "networkInterfaces") {
			if sameID(text(n, "id"), id) {
				return v
			}
		}
	}
	return nil
}

func dropNIC(w *Azure, r *resource) *refusal {
	if v := nicUser(w, r.id); v != nil {
		return nicInUse(r.id, v.id)
	}
	return nil
}

func nicInUse(nic, vm string) *refusal {
	return refuse(400, "NicInUse", "Network Interface "+nic+" is used by existing resource "+vm+
		". In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.")
}

func showNIC(w *Azure, r *resource, body map[string]any) {
	body["kind"] = "Regular"
	if v := nicUser(w, r.id); v != nil {
		p := mapping(body, "properties")
		p["virtualMachine"] = map[string]any{"id": v.id}
		p["primary"] = primaryOf(v, r.id)
		// A NIC has a hardware address from its first machine on; the prefix is one of Azure's.
		n := w.random("mac", r.id).Uint32()
		p["macAddress"] = fmt.Sprintf("60-45-BD-%02X-%02X-%02X", n>>16&255, n>>8&255, n&255)
	}
}

// primaryOf: of several NICs the one marked so is the primary, of one it is that.
func primaryOf(vm *resource, nic string) bool {
	nics := items(vm.props, "networkProfile", "networkInterfaces")
	for _, n := range nics {
		if sameID(text(n, "id"), nic) {
			return len(nics) == 1 || truth(n, "properties", "primary")
		}
	}
	return false
}
