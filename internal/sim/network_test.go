package sim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// desk speaks plain HTTP and JSON with a simulated Azure, as no client of ours does: what it sees is what is on the wire.
type desk struct {
	t     *testing.T
	w     *Azure
	http  *http.Client
	token string
	group string // id of a resource group in westeurope
}

func newDesk(t *testing.T, s *Scenario) *desk {
	t.Helper()
	return newDeskWith(t, Config{Latency: NoLatency, Scenario: s})
}

func newDeskWith(t *testing.T, c Config) *desk {
	t.Helper()
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	d := &desk{t: t, w: w, http: &http.Client{Transport: w.Transport()}}
	resp, err := d.http.PostForm(EmbeddedURL+"/"+DefaultTenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"},
		"client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret}, "scope": {EmbeddedURL + "/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || text(out, "access_token") == "" {
		t.Fatalf("no token: %v %v", out, err)
	}
	d.token = text(out, "access_token")
	d.group = "/subscriptions/" + DefaultSubscription + "/resourceGroups/rg"
	d.must(201, "PUT", d.group, map[string]any{"location": "westeurope"})
	return d
}

// call sends one request and gives back what came; a path may carry a query.
func (d *desk) call(method, path string, body any) (int, http.Header, any) {
	d.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		d.t.Fatal(err)
	}
	if body == nil {
		raw = nil
	}
	target := path
	if !strings.HasPrefix(path, "https://") {
		mark := "?"
		if strings.Contains(path, "?") {
			mark = "&"
		}
		target = EmbeddedURL + path + mark + "api-version=2024-07-01"
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, target, bytes.NewReader(raw))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	resp, err := d.http.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	var out any
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &out); err != nil {
			d.t.Fatalf("%s %s answers no JSON: %s", method, path, answer)
		}
	}
	return resp.StatusCode, resp.Header, out
}

func (d *desk) must(status int, method, path string, body any) any {
	d.t.Helper()
	got, _, out := d.call(method, path, body)
	if got != status {
		d.t.Fatalf("%s %s: %d, want %d: %v", method, path, got, status, out)
	}
	return out
}

// refused is a call that has to end in an error with this status and code; it gives back the message.
func (d *desk) refused(status int, code, method, path string, body any) string {
	d.t.Helper()
	got, _, out := d.call(method, path, body)
	if got != status || text(out, "error", "code") != code {
		d.t.Fatalf("%s %s: %d %v, want %d %s", method, path, got, out, status, code)
	}
	return text(out, "error", "message")
}

// finish sends a request, follows its operation to the end and gives back that end's status and error.
func (d *desk) finish(method, path string, body any) (status string, failure map[string]any) {
	d.t.Helper()
	code, h, out := d.call(method, path, body)
	if code >= 300 {
		d.t.Fatalf("%s %s: %d %v", method, path, code, out)
	}
	at := h.Get("Azure-AsyncOperation")
	if at == "" && method == "PUT" && text(out, "properties", "provisioningState") == "Succeeded" {
		return "Succeeded", nil // done when it answers, as network interfaces are (recorded)
	}
	if at == "" {
		d.t.Fatalf("%s %s: no Azure-AsyncOperation", method, path)
	}
	for range 100 {
		_, _, op := d.call("GET", at, nil)
		if s := text(op, "status"); s != "InProgress" {
			return s, mapping(op, "error")
		}
	}
	d.t.Fatalf("%s %s does not end", method, path)
	return "", nil
}

func (d *desk) done(method, path string, body any) {
	d.t.Helper()
	if s, e := d.finish(method, path, body); s != "Succeeded" {
		d.t.Fatalf("%s %s: %s %v", method, path, s, e)
	}
}

func (d *desk) net(kind string) string { return d.group + "/providers/Microsoft.Network/" + kind }

func vnetBody(prefix string, subnets ...any) map[string]any {
	return map[string]any{"location": "westeurope", "properties": map[string]any{"addressSpace": map[string]any{"addressPrefixes": []any{prefix}}, "subnets": subnets}}
}

func subnetBody(name, prefix string) map[string]any {
	return map[string]any{"name": name, "properties": map[string]any{"addressPrefix": prefix}}
}

func nicBody(subnet, ip string) map[string]any {
	p := map[string]any{"subnet": map[string]any{"id": subnet}}
	if ip != "" {
		p["publicIPAddress"] = map[string]any{"id": ip}
	}
	return map[string]any{"location": "westeurope", "properties": map[string]any{"ipConfigurations": []any{map[string]any{"name": "ipconfig1", "properties": p}}}}
}

func ipBody() map[string]any {
	return map[string]any{"location": "westeurope", "sku": map[string]any{"name": "Standard"}, "properties": map[string]any{"publicIPAllocationMethod": "Static"}}
}

func inbound(name string, priority int, source, port, access string) map[string]any {
	return map[string]any{"name": name, "properties": map[string]any{"priority": priority, "direction": "Inbound", "access": access, "protocol": "Tcp",
		"sourceAddressPrefix": source, "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": port}}
}

func nsgBody(rules ...any) map[string]any {
	return map[string]any{"location": "westeurope", "properties": map[string]any{"securityRules": rules}}
}

func TestNetworkLifeCycle(t *testing.T) {
	d := newDesk(t, nil)
	vnet, nsg, nic := d.net("virtualNetworks/vn"), d.net("networkSecurityGroups/sg"), d.net("networkInterfaces/ni")
	d.done("PUT", nsg, nsgBody(inbound("in", 100, "127.0.0.1", "5986", "Allow")))
	sub := subnetBody("default", "10.0.0.0/24")
	mapping(sub, "properties")["networkSecurityGroup"] = map[string]any{"id": nsg}
	d.done("PUT", vnet, vnetBody("10.0.0.0/16", sub))
	subnet := vnet + "/subnets/default"

	code, h, out := d.call("PUT", d.net("publicIPAddresses/ip1"), ipBody())
	if code != 201 || text(out, "properties", "provisioningState") != "Updating" || text(out, "properties", "ipAddress") != "" || h.Get("Azure-AsyncOperation") == "" || h.Get("Location") != "" {
		t.Fatalf("PUT of an address: %d %v %v", code, h, out)
	}
	d.done("PUT", d.net("publicIPAddresses/ip2"), ipBody())
	a1 := text(d.must(200, "GET", d.net("publicIPAddresses/ip1"), nil), "properties", "ipAddress")
	a2 := text(d.must(200, "GET", d.net("publicIPAddresses/ip2"), nil), "properties", "ipAddress")
	if !strings.HasPrefix(a1, "127.83.") || !strings.HasPrefix(a2, "127.83.") || a1 == a2 {
		t.Fatalf("addresses %q and %q", a1, a2)
	}

	d.done("PUT", nic, nicBody(subnet, d.net("publicIPAddresses/ip1")))
	d.done("PUT", d.net("networkInterfaces/ni2"), nicBody(subnet, ""))
	one, two := d.must(200, "GET", nic, nil), d.must(200, "GET", d.net("networkInterfaces/ni2"), nil)
	config := items(one, "properties", "ipConfigurations")[0]
	if got := text(config, "properties", "privateIPAddress"); got != "10.0.0.4" {
		t.Errorf("first private address %q: Azure keeps four for itself", got)
	}
	if got := text(items(two, "properties", "ipConfigurations")[0], "properties", "privateIPAddress"); got != "10.0.0.5" {
		t.Errorf("second private address %q", got)
	}
	if got := text(d.must(200, "GET", d.net("publicIPAddresses/ip1"), nil), "properties", "ipConfiguration", "id"); !sameID(got, text(config, "id")) {
		t.Errorf("the address's ipConfiguration is %q", got)
	}
	if got := items(d.must(200, "GET", vnet, nil), "properties", "subnets"); len(got) != 1 || len(items(got[0], "properties", "ipConfigurations")) != 2 {
		t.Errorf("the network does not show its subnet's users: %v", got)
	}
	shown := d.must(200, "GET", nsg, nil)
	if len(items(shown, "properties", "defaultSecurityRules")) != 6 || len(items(shown, "properties", "subnets")) != 1 {
		t.Errorf("security group: %v", shown)
	}
	if got := items(d.must(200, "GET", "/subscriptions/"+DefaultSubscription+"/providers/Microsoft.Network/networkInterfaces", nil), "value"); len(got) != 2 {
		t.Errorf("%d NICs in the subscription", len(got))
	}

	// In use: Azure refuses until the NICs have gone.
	msg := d.refused(400, "InUseSubnetCannotBeDeleted", "DELETE", vnet, nil)
	if !strings.HasPrefix(msg, "Subnet default is in use by /subscriptions/") || !strings.Contains(msg, "/networkInterfaces/ni") {
		t.Error(msg)
	}
	d.refused(400, "InUseSubnetCannotBeDeleted", "DELETE", subnet, nil)
	d.refused(400, "PublicIPAddressCannotBeDeleted", "DELETE", d.net("publicIPAddresses/ip1"), nil)
	d.refused(400, "InUseNetworkSecurityGroupCannotBeDeleted", "DELETE", nsg, nil)
	d.refused(400, "PublicIPAddressInUse", "PUT", d.net("networkInterfaces/ni3"), nicBody(subnet, d.net("publicIPAddresses/ip1")))
	for _, gone := range []string{nic, d.net("networkInterfaces/ni2"), vnet, nsg, d.net("publicIPAddresses/ip1"), d.net("publicIPAddresses/ip2")} {
		d.done("DELETE", gone, nil)
		d.refused(404, "ResourceNotFound", "GET", gone, nil)
		d.must(204, "DELETE", gone, nil)
	}
}

func TestNetworkRefusals(t *testing.T) {
	d := newDesk(t, nil)
	d.done("PUT", d.net("virtualNetworks/vn"), vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24")))
	subnet := d.net("virtualNetworks/vn/subnets/a")
	static := nicBody(subnet, "")
	p := mapping(items(static, "properties", "ipConfigurations")[0], "properties")
	p["privateIPAllocationMethod"], p["privateIPAddress"] = "Static", "10.9.0.4"
	far := nicBody(subnet, "")
	far["location"] = "eastus"
	dynamic := ipBody()
	mapping(dynamic, "properties")["publicIPAllocationMethod"] = "Dynamic"
	for name, c := range map[string]struct {
		path string
		body map[string]any
		code string
	}{
		"subnet outside of its network":  {"virtualNetworks/x", vnetBody("10.0.0.0/16", subnetBody("a", "10.1.0.0/24")), "NetcfgInvalidSubnet"},
		"subnet larger than its network": {"virtualNetworks/x", vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/8")), "NetcfgInvalidSubnet"},
		"overlapping subnets":            {"virtualNetworks/x", vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/23"), subnetBody("b", "10.0.1.0/24")), "NetcfgSubnetRangesOverlap"},
		"subnet beside an existing one":  {"virtualNetworks/vn/subnets/b", subnetBody("b", "10.0.0.128/25"), "NetcfgSubnetRangesOverlap"},
		"malformed prefix":               {"virtualNetworks/x", vnetBody("10.0.0.1/16"), "InvalidAddressPrefixFormat"},
		"NIC without a configuration":    {"networkInterfaces/x", map[string]any{"location": "westeurope", "properties": map[string]any{}}, "NetworkInterfaceMustHaveAtleastOneIpConfiguration"},
		"NIC in no subnet that exists":   {"networkInterfaces/x", nicBody(d.net("virtualNetworks/vn/subnets/zzz"), ""), "InvalidResourceReference"},
		"NIC in another region":          {"networkInterfaces/x", far, "InvalidResourceReference"},
		"NIC with no address that is":    {"networkInterfaces/x", nicBody(subnet, d.net("publicIPAddresses/zzz")), "InvalidResourceReference"},
		"static address elsewhere":       {"networkInterfaces/x", static, "PrivateIPAddressNotInSubnet"},
		"dynamic Standard address":       {"publicIPAddresses/x", dynamic, "PublicIPAddressStandardSkuRequiresStaticAllocation"},
		"rule without a sane priority":   {"networkSecurityGroups/x", nsgBody(inbound("r", 99, "*", "22", "Allow")), "SecurityRuleInvalidPriority"},
		"two rules, one priority":        {"networkSecurityGroups/x", nsgBody(inbound("r", 100, "*", "22", "Allow"), inbound("s", 100, "*", "23", "Allow")), "SecurityRuleConflict"},
		"rule without a port":            {"networkSecurityGroups/x", nsgBody(inbound("r", 100, "*", "", "Allow")), "SecurityRuleParameterMissing"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{t: t, w: d.w, http: d.http, token: d.token, group: d.group}
			d.refused(400, c.code, "PUT", d.net(c.path), c.body)
			if strings.HasSuffix(c.path, "/x") {
				d.refused(404, "ResourceNotFound", "GET", d.net(c.path), nil)
			}
		})
	}
	d.refused(404, "ParentResourceNotFound", "PUT", d.net("virtualNetworks/none/subnets/a"), subnetBody("a", "10.0.0.0/24"))
}

func TestSecurityRules(t *testing.T) {
	group := func(rules ...any) map[string]any {
		return map[string]any{"securityRules": rules, "defaultSecurityRules": defaultRules("/nsg", "", "Succeeded")}
	}
	list := inbound("list", 100, "", "", "Allow")
	p := mapping(list, "properties")
	p["sourceAddressPrefixes"], p["destinationPortRanges"] = []any{"203.0.113.0/24", "127.0.0.1"}, []any{"22", "5985-5986"}
	outbound := inbound("out", 100, "*", "*", "Allow")
	mapping(outbound, "properties")["direction"] = "Outbound"
	udp := inbound("udp", 100, "*", "*", "Allow")
	mapping(udp, "properties")["protocol"] = "Udp"
	for name, c := range map[string]struct {
		group  map[string]any
		remote string
		port   int
		want   bool
	}{
		"no rule of one's own":                {group(), "127.0.0.1", 5986, false},
		"from inside the network":             {group(), "10.0.0.9", 5986, true},
		"the load balancer's probes":          {group(), "168.63.129.16", 5986, true},
		"allowed address":                     {group(inbound("r", 100, "127.0.0.1/32", "5986", "Allow")), "127.0.0.1", 5986, true},
		"another address":                     {group(inbound("r", 100, "127.0.0.1/32", "5986", "Allow")), "127.0.0.2", 5986, false},
		"another port":                        {group(inbound("r", 100, "*", "5986", "Allow")), "127.0.0.1", 22, false},
		"lists of addresses and ports":        {group(list), "203.0.113.7", 5985, true},
		"outside of the list":                 {group(list), "203.0.114.7", 5985, false},
		"tag Internet":                        {group(inbound("r", 100, "Internet", "*", "Allow")), "127.0.0.1", 5986, true},
		"tag Internet is not the network":     {group(inbound("r", 100, "Internet", "*", "Deny")), "10.0.0.9", 5986, true},
		"lower number first, whatever order":  {group(inbound("a", 200, "*", "*", "Allow"), inbound("d", 100, "*", "*", "Deny")), "127.0.0.1", 5986, false},
		"rule of the other direction":         {group(outbound), "127.0.0.1", 5986, false},
		"rule of another protocol":            {group(udp), "127.0.0.1", 5986, false},
		"deny for one, allow for the rest":    {group(inbound("d", 100, "127.0.0.1", "*", "Deny"), inbound("a", 200, "*", "*", "Allow")), "127.0.0.1", 5986, false},
		"deny for another, allow for oneself": {group(inbound("d", 100, "127.0.0.9", "*", "Deny"), inbound("a", 200, "*", "*", "Allow")), "127.0.0.1", 5986, true},
	} {
		f := flow{source: netip.MustParseAddr(c.remote), destination: netip.MustParseAddr("10.0.0.4"), port: c.port, protocol: "Tcp", vnet: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}
		if got := admits(c.group, f); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// Both the subnet's and the NIC's group have to let a caller in, and a Standard address without any group is closed.
func TestReachable(t *testing.T) {
	here := netip.MustParseAddr("127.0.0.1")
	for name, c := range map[string]struct {
		subnet, nic string // "", allow, deny
		want        bool
	}{
		"no group at all":       {"", "", false},
		"subnet allows":         {"allow", "", true},
		"NIC allows":            {"", "allow", true},
		"both allow":            {"allow", "allow", true},
		"subnet denies":         {"deny", "allow", false},
		"NIC denies":            {"allow", "deny", false},
		"NIC denies on its own": {"", "deny", false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, nil)
			group := func(which string) map[string]any {
				id := d.net("networkSecurityGroups/" + which)
				access := map[string]string{"allow": "Allow", "deny": "Deny"}[which]
				d.done("PUT", id, nsgBody(inbound("r", 100, "127.0.0.1", "5986", access)))
				return map[string]any{"id": id}
			}
			sub := subnetBody("s", "10.0.0.0/24")
			if c.subnet != "" {
				mapping(sub, "properties")["networkSecurityGroup"] = group(c.subnet)
			}
			d.done("PUT", d.net("virtualNetworks/vn"), vnetBody("10.0.0.0/16", sub))
			d.done("PUT", d.net("publicIPAddresses/ip"), ipBody())
			n := nicBody(d.net("virtualNetworks/vn/subnets/s"), d.net("publicIPAddresses/ip"))
			if c.nic != "" {
				mapping(n, "properties")["networkSecurityGroup"] = group(c.nic)
			}
			d.done("PUT", d.net("networkInterfaces/ni"), n)
			d.w.mu.Lock()
			defer d.w.mu.Unlock()
			if got := reachable(d.w, d.net("networkInterfaces/ni"), here, 5986); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
