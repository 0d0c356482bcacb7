package sim

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"
)

// flow is one inbound connection as security rules see it.
type flow struct {
	source, destination netip.Addr
	port                int
	protocol            string         // "Tcp"
	vnet                []netip.Prefix // what the tag VirtualNetwork stands for at this machine
}

// admits evaluates one network security group for an inbound flow: rules in the order of their priority, the first that
// matches decides, the default rules come last (learn.microsoft.com/azure/virtual-network/network-security-groups-overview).
// props are the group's properties as Resource Manager shows them.
func admits(props map[string]any, f flow) bool {
	var rules []map[string]any
	for _, list := range []string{"securityRules", "defaultSecurityRules"} {
		for _, r := range items(props, list) {
			p, _ := field(r, "properties").(map[string]any)
			if p != nil && strings.EqualFold(text(p, "direction"), "Inbound") {
				rules = append(rules, p)
			}
		}
	}
	sort.SliceStable(rules, func(i, j int) bool { return number(rules[i], "priority") < number(rules[j], "priority") })
	for _, r := range rules {
		protocol := text(r, "protocol")
		if protocol != "*" && !strings.EqualFold(protocol, f.protocol) {
			continue
		}
		if !anyOf(r, "destinationPortRange", func(s string) bool { return portIn(s, f.port) }) ||
			!anyOf(r, "sourceAddressPrefix", func(s string) bool { return addressIn(s, f.source, f.vnet) }) ||
			!anyOf(r, "destinationAddressPrefix", func(s string) bool { return addressIn(s, f.destination, f.vnet) }) {
			continue
		}
		return strings.EqualFold(text(r, "access"), "Allow")
	}
	return false
}

// anyOf looks at a rule's singular value and at its plural list, of which one is filled.
func anyOf(rule map[string]any, name string, match func(string) bool) bool {
	if s := text(rule, name); s != "" && match(s) {
		return true
	}
	plural := name + "s"
	if strings.HasSuffix(name, "x") {
		plural = name + "es"
	}
	for _, v := range items(rule, plural) {
		if s, _ := v.(string); s != "" && match(s) {
			return true
		}
	}
	return false
}

func portIn(expr string, port int) bool {
	if expr == "*" {
		return true
	}
	from, to, isRange := strings.Cut(expr, "-")
	low, err := strconv.Atoi(strings.TrimSpace(from))
	if err != nil {
		return false
	}
	if !isRange {
		return port == low
	}
	high, err := strconv.Atoi(strings.TrimSpace(to))
	return err == nil && low <= port && port <= high
}

// addressIn knows addresses, prefixes and the service tags VirtualNetwork, Internet and AzureLoadBalancer. A guest's callers
// are loopback addresses, which count as Internet: in Azure they would come from outside.
func addressIn(expr string, a netip.Addr, vnet []netip.Prefix) bool {
	inVNet := func() bool {
		for _, p := range vnet {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	switch strings.ToLower(expr) {
	case "*", "any", "0.0.0.0/0":
		return true
	case "virtualnetwork":
		return inVNet()
	case "internet":
		return !inVNet()
	case "azureloadbalancer":
		return a == netip.AddrFrom4([4]byte{168, 63, 129, 16})
	}
	if p, err := netip.ParsePrefix(expr); err == nil {
		return p.Contains(a)
	}
	if b, err := netip.ParseAddr(expr); err == nil {
		return a == b
	}
	if from, to, ok := strings.Cut(expr, "-"); ok {
		low, errLow := netip.ParseAddr(from)
		high, errHigh := netip.ParseAddr(to)
		return errLow == nil && errHigh == nil && low.Compare(a) <= 0 && a.Compare(high) <= 0
	}
	return false
}

// defaultRules are the six rules every group carries; names, texts and priorities as recorded.
func defaultRules(nsgID, etag, state string) []any {
	rule := func(name, description, source, destination, access, direction string, priority int) any {
		return map[string]any{
			"name": name, "id": nsgID + "/defaultSecurityRules/" + name, "etag": etag,
			"type": "Microsoft.Network/networkSecurityGroups/defaultSecurityRules",
			"properties": map[string]any{
				"provisioningState": state, "description": description, "protocol": "*", "sourcePortRange": "*",
				"destinationPortRange": "*", "sourceAddressPrefix": source, "destinationAddressPrefix": destination,
				"access": access, "priority": priority, "direction": direction, "sourcePortRanges": []any{},
				"destinationPortRanges": []any{}, "sourceAddressPrefixes": []any{}, "destinationAddressPrefixes": []any{},
			},
		}
	}
	const vnet = "VirtualNetwork"
	return []any{
		rule("AllowVnetInBound", "Allow inbound traffic from all VMs in VNET", vnet, vnet, "Allow", "Inbound", 65000),
		rule("AllowAzureLoadBalancerInBound", "Allow inbound traffic from azure load balancer", "AzureLoadBalancer", "*", "Allow", "Inbound", 65001),
		rule("DenyAllInBound", "Deny all inbound traffic", "*", "*", "Deny", "Inbound", 65500),
		rule("AllowVnetOutBound", "Allow outbound traffic from all VMs to all VMs in VNET", vnet, vnet, "Allow", "Outbound", 65000),
		rule("AllowInternetOutBound", "Allow outbound traffic from all VMs to Internet", "*", "Internet", "Allow", "Outbound", 65001),
		rule("DenyAllOutBound", "Deny all outbound traffic", "*", "*", "Deny", "Outbound", 65500),
	}
}
