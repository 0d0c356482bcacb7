package azure

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// at reads a value of sent JSON by its path, "a.0.b".
func at(t *testing.T, body, path string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	for _, p := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[p]
		case []any:
			if int(p[0]-'0') >= len(x) {
				return nil
			}
			v = x[p[0]-'0']
		default:
			return nil
		}
	}
	return v
}

func wantSent(t *testing.T, body string, want map[string]any) {
	t.Helper()
	for path, w := range want {
		if got := at(t, body, path); !reflect.DeepEqual(got, w) {
			t.Errorf("sent %s = %v, want %v", path, got, w)
		}
	}
}

func TestDeleteGroupForcesItsMachines(t *testing.T) {
	w := newWire(t, map[string][]reply{"DELETE " + rg: {{status: 404, body: `{"error":{"code":"ResourceGroupNotFound","message":"No."}}`}}})
	if err := testClient(t, w, &stillClock{}).DeleteGroup(t.Context(), "rg", Op{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(w.urls[0], "forceDeletionTypes=Microsoft.Compute%2FvirtualMachines") {
		t.Errorf("asked %s", w.urls[0])
	}
}

func TestDeleteVMIsForced(t *testing.T) {
	w := newWire(t, map[string][]reply{"DELETE " + vmKey: {{status: 204}}})
	if err := testClient(t, w, &stillClock{}).DeleteVM(t.Context(), "rg", "m", Op{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(w.urls[0], "forceDeletion=true") {
		t.Errorf("asked %s", w.urls[0])
	}
}

func TestAbsentIsDeleted(t *testing.T) {
	net, compute := rg+"/providers/microsoft.network/", rg+"/providers/microsoft.compute/"
	for key, do := range map[string]func(*Client) error{
		net + "virtualnetworks/x":       func(c *Client) error { return c.DeleteNetwork(t.Context(), "rg", "x", Op{}) },
		net + "networksecuritygroups/x": func(c *Client) error { return c.DeleteSecurityGroup(t.Context(), "rg", "x", Op{}) },
		net + "publicipaddresses/x":     func(c *Client) error { return c.DeletePublicIP(t.Context(), "rg", "x", Op{}) },
		net + "networkinterfaces/x":     func(c *Client) error { return c.DeleteNIC(t.Context(), "rg", "x", Op{}) },
		compute + "virtualmachines/x":   func(c *Client) error { return c.DeleteVM(t.Context(), "rg", "x", Op{}) },
		compute + "disks/x":             func(c *Client) error { return c.DeleteDisk(t.Context(), "rg", "x", Op{}) },
		compute + "images/x":            func(c *Client) error { return c.DeleteManagedImage(t.Context(), "rg", "x", Op{}) },
		compute + "galleries/g/images/i/versions/1.0.0": func(c *Client) error {
			return c.DeleteGalleryVersion(t.Context(), testSub, "rg", "g", "i", "1.0.0", Op{})
		},
		rg + "/providers/microsoft.keyvault/vaults/x": func(c *Client) error { return c.DeleteVault(t.Context(), "rg", "x") },
	} {
		for status, fails := range map[int]bool{404: false, 403: true} {
			w := newWire(t, map[string][]reply{"DELETE " + key: {{status: status, body: `{"error":{"code":"X","message":"y"}}`}}})
			if err := do(testClient(t, w, &stillClock{})); (err != nil) != fails {
				t.Errorf("%s: %d gives %v", key, status, err)
			}
		}
	}
}

func TestListsFollowTheirPages(t *testing.T) {
	const key = "/subscriptions/" + testSub + "/resourcegroups"
	w := newWire(t, map[string][]reply{
		"GET " + key:               {{status: 200, body: `{"value":[{"name":"a","tags":{"ingot-run":"1"}}],"nextLink":"` + armHost + `/next?x=1"}`}},
		"GET /next":                {{status: 200, body: `{"value":[{"name":"b"}]}`}},
		"GET " + rg + "/resources": {{status: 200, body: `{"value":[{"id":"/m","type":"Microsoft.Compute/virtualMachines","name":"m"}]}`}},
	})
	c := testClient(t, w, &stillClock{})
	groups, err := c.ListGroups(t.Context(), "ingot-run")
	if err != nil || len(groups) != 2 || groups[0].Tags["ingot-run"] != "1" || groups[1].Name != "b" {
		t.Errorf("%+v, %v", groups, err)
	}
	if !strings.Contains(w.urls[0], "tagName") || !strings.Contains(w.urls[0], "ingot-run") {
		t.Errorf("asked %s", w.urls[0])
	}
	list, err := c.ListResources(t.Context(), "rg")
	if err != nil || len(list) != 1 || list[0].Type != "Microsoft.Compute/virtualMachines" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestSecurityGroupLetsItsSourcesIn(t *testing.T) {
	const key = "PUT " + rg + "/providers/microsoft.network/networksecuritygroups/n"
	one, two := netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("198.51.100.0/24")
	const rule = "properties.securityRules.0.properties."
	for _, tt := range []struct {
		from []netip.Prefix
		want map[string]any
	}{
		{nil, map[string]any{rule + "sourceAddressPrefix": "*"}},
		{[]netip.Prefix{one}, map[string]any{rule + "sourceAddressPrefix": "203.0.113.7/32"}},
		{[]netip.Prefix{one, two}, map[string]any{rule + "sourceAddressPrefix": nil, rule + "sourceAddressPrefixes": []any{"203.0.113.7/32", "198.51.100.0/24"}}},
	} {
		w := newWire(t, map[string][]reply{key: {{status: 200, body: `{"id":"/nsg","properties":{"provisioningState":"Succeeded"}}`}}})
		id, err := testClient(t, w, &stillClock{}).PutSecurityGroup(t.Context(), SecurityGroup{Group: "rg", Name: "n", Port: 5986, Sources: tt.from}, Op{})
		if err != nil || id != "/nsg" {
			t.Fatalf("%q, %v", id, err)
		}
		wantSent(t, w.bodies[key], tt.want)
		wantSent(t, w.bodies[key], map[string]any{rule + "destinationPortRange": "5986", rule + "access": "Allow", rule + "direction": "Inbound", rule + "protocol": "Tcp"})
	}
}

func TestAddressesAndInterfaces(t *testing.T) {
	ip, nic := "PUT "+rg+"/providers/microsoft.network/publicipaddresses/p", "PUT "+rg+"/providers/microsoft.network/networkinterfaces/n"
	w := newWire(t, map[string][]reply{
		ip:  {{status: 200, body: `{"id":"/ip","properties":{"provisioningState":"Succeeded","ipAddress":"203.0.113.9"}}`}},
		nic: {{status: 200, body: `{"id":"/nic","properties":{"provisioningState":"Succeeded","ipConfigurations":[{"properties":{"privateIPAddress":"10.0.0.4"}}]}}`}},
	})
	c := testClient(t, w, &stillClock{})
	if id, addr, err := c.PutPublicIP(t.Context(), PublicIP{Group: "rg", Name: "p"}, Op{}); err != nil || id != "/ip" || addr != "203.0.113.9" {
		t.Errorf("%s %s %v", id, addr, err)
	}
	wantSent(t, w.bodies[ip], map[string]any{"sku.name": "Standard", "properties.publicIPAllocationMethod": "Static"})
	if id, addr, err := c.PutNIC(t.Context(), NIC{Group: "rg", Name: "n", SubnetID: "/s"}, Op{}); err != nil || id != "/nic" || addr != "10.0.0.4" {
		t.Errorf("%s %s %v", id, addr, err)
	}
	wantSent(t, w.bodies[nic], map[string]any{"properties.ipConfigurations.0.properties.subnet.id": "/s", "properties.ipConfigurations.0.properties.publicIPAddress": nil})
}

func TestFindNetwork(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{`{"value":[{"name":"V","id":"/subscriptions/s/resourceGroups/Net/providers/Microsoft.Network/virtualNetworks/V"},{"name":"w","id":"/x"}]}`, "Net"},
		{`{"value":[]}`, ""},
		{`{"value":[{"name":"v","id":"/a"},{"name":"v","id":"/b"}]}`, ""},
	} {
		w := newWire(t, map[string][]reply{"GET /subscriptions/" + testSub + "/providers/microsoft.network/virtualnetworks": {{status: 200, body: tt.body}}})
		got, err := testClient(t, w, &stillClock{}).FindNetwork(t.Context(), "v")
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestVMBody(t *testing.T) {
	vm := VM{Group: "rg", Name: "m", Computer: "pc", Size: "Standard_D2s_v5", Windows: true, User: "packer", Password: "test-secret-not-real", NICID: "/nic", OSDiskName: "d",
		Image: ImageRef{Publisher: "MicrosoftWindowsDesktop", Offer: "o", SKU: "k", Version: "1.2.3"}, SecurityType: "TrustedLaunch", SecureBoot: true,
		WinRMCertificateURL: "https://kv.vault.example.test/secrets/s/v1", VaultID: "/kv", Identities: []string{"/id"}, Plan: &PurchasePlan{Name: "p"}}
	plain, special := vm, vm
	plain.Windows, plain.SecurityType, plain.Image, plain.Plan = false, "", ImageRef{ID: "/gallery/1.0.0"}, nil
	special.Specialized = true
	for _, tt := range []struct {
		name string
		vm   VM
		want map[string]any
	}{
		{"Windows", vm, map[string]any{
			"properties.hardwareProfile.vmSize":                                    "Standard_D2s_v5",
			"properties.storageProfile.imageReference.version":                     "1.2.3",
			"properties.storageProfile.imageReference.id":                          nil,
			"properties.storageProfile.osDisk.createOption":                        "FromImage",
			"properties.storageProfile.osDisk.diskSizeGB":                          nil,
			"properties.osProfile.computerName":                                    "pc",
			"properties.osProfile.windowsConfiguration.enableAutomaticUpdates":     false,
			"properties.osProfile.windowsConfiguration.winRM.listeners.0.protocol": "Https",
			"properties.osProfile.secrets.0.vaultCertificates.0.certificateStore":  "My",
			"properties.securityProfile.securityType":                              "TrustedLaunch",
			"properties.securityProfile.uefiSettings.secureBootEnabled":            true,
			"properties.securityProfile.uefiSettings.vTpmEnabled":                  false,
			"properties.networkProfile.networkInterfaces.0.id":                     "/nic",
			"properties.diagnosticsProfile.bootDiagnostics.storageUri":             nil,
			"identity.type": "UserAssigned",
			"plan.name":     "p",
		}},
		{"Linux from a gallery", plain, map[string]any{"properties.osProfile.windowsConfiguration": nil, "properties.securityProfile": nil, "plan": nil,
			"properties.storageProfile.imageReference.id": "/gallery/1.0.0", "properties.storageProfile.imageReference.publisher": nil}},
		{"specialised", special, map[string]any{"properties.osProfile": nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, map[string][]reply{"PUT " + vmKey: {{status: 200, body: `{"id":"/m","properties":{"provisioningState":"Succeeded","storageProfile":{"osDisk":{"name":"d","managedDisk":{"id":"/d"}}}}}`}}})
			i, err := testClient(t, w, &stillClock{}).PutVM(t.Context(), tt.vm, Op{})
			if err != nil || i.ID != "/m" || i.OSDiskID != "/d" || i.OSDiskName != "d" {
				t.Fatalf("%+v, %v", i, err)
			}
			wantSent(t, w.bodies["PUT "+vmKey], tt.want)
		})
	}
}

func TestGetVMReadsItsInstanceView(t *testing.T) {
	w := newWire(t, map[string][]reply{"GET " + vmKey: {{status: 200, body: `{"id":"/m","properties":{"instanceView":{"statuses":[{"code":"OSState/generalized"},{"code":"ProvisioningState/succeeded"},{"code":"PowerState/deallocated"}]}}}`}}})
	i, err := testClient(t, w, &stillClock{}).GetVM(t.Context(), "rg", "m")
	if err != nil || i.Power != "deallocated" || !i.Generalized || !strings.Contains(w.urls[0], "expand=instanceView") {
		t.Errorf("%+v, %v after %v", i, err, w.urls)
	}
}

func TestGalleryVersionTellsItsReplication(t *testing.T) {
	const key = rg + "/providers/microsoft.compute/galleries/g/images/i/versions/1.0.0"
	done := reply{status: 200, body: `{"id":"/v","properties":{"provisioningState":"Succeeded"}}`}
	w := newWire(t, map[string][]reply{
		"PUT " + key:     {accepted(201, "Retry-After", "30")},
		"GET " + asyncOp: {working(), ended},
		"GET " + key:     {{status: 200, body: `{"properties":{"replicationStatus":{"summary":[{"region":"West Europe","state":"Completed","progress":100},{"region":"North Europe","state":"Replicating","progress":40}]}}}`}, done},
	})
	var said []string
	end := time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	i, err := testClient(t, w, &stillClock{}).PutGalleryVersion(t.Context(), GalleryVersion{Subscription: testSub, Group: "rg", Gallery: "g", Image: "i", Version: "1.0.0", Location: "westeurope",
		SourceVMID: "/m", Regions: []TargetRegion{{Name: "westeurope", Replicas: 2}, {Name: "northeurope", DiskEncryptionSetID: "/des"}}, StorageType: "Standard_ZRS", Shallow: true, EndOfLife: end},
		Op{Progress: func(s string) { said = append(said, s) }})
	if err != nil || i.State != "Succeeded" || i.ID != "/v" {
		t.Fatalf("%+v, %v", i, err)
	}
	if len(said) != 1 || said[0] != "West Europe 100 %, North Europe 40 %" {
		t.Errorf("said %q", said)
	}
	const profile = "properties.publishingProfile."
	wantSent(t, w.bodies["PUT "+key], map[string]any{
		profile + "targetRegions.0.regionalReplicaCount": 2.0, profile + "targetRegions.1.regionalReplicaCount": nil,
		profile + "targetRegions.1.encryption.osDiskImage.diskEncryptionSetId": "/des",
		profile + "replicationMode": "Shallow", profile + "storageAccountType": "Standard_ZRS", profile + "endOfLifeDate": "2027-01-02T00:00:00Z",
		"properties.storageProfile.source.virtualMachineId": "/m", "properties.storageProfile.source.id": nil,
	})
}

func TestCatalog(t *testing.T) {
	const images = "/subscriptions/" + testSub + "/providers/microsoft.compute/locations/westeurope/publishers/p/artifacttypes/vmimage/offers/o/skus/k/versions"
	w := newWire(t, map[string][]reply{
		"GET " + images:            {{status: 200, body: `[{"name":"1.0.0"},{"name":"1.1.0"}]`}},
		"GET " + images + "/1.1.0": {{status: 200, body: `{"properties":{"hyperVGeneration":"V2","osDiskImage":{"operatingSystem":"Windows"},"features":[{"name":"SecurityType","value":"TrustedLaunchSupported"}],"plan":{"name":"n","product":"d","publisher":"p"}}}`}},
		"GET /subscriptions/" + testSub + "/providers/microsoft.compute/skus": {{status: 200, body: `{"value":[
			{"resourceType":"disks","name":"Standard_D2s_v5"},
			{"resourceType":"virtualMachines","name":"Standard_D2s_v5","capabilities":[{"name":"vCPUs","value":"2"},{"name":"MemoryGB","value":"0.75"},{"name":"HyperVGenerations","value":"V1,V2"}],
			 "restrictions":[{"type":"Location","values":["WestEurope"],"reasonCode":"NotAvailableForSubscription"},{"type":"Zone","values":["westeurope"],"reasonCode":"QuotaId"}]}]}`}},
	})
	c := testClient(t, w, &stillClock{})
	if v, err := c.MarketplaceVersions(t.Context(), "westeurope", "p", "o", "k"); err != nil || !reflect.DeepEqual(v, []string{"1.0.0", "1.1.0"}) {
		t.Errorf("%v, %v", v, err)
	}
	want := MarketplaceImage{OS: "Windows", Generation: "V2", SecurityType: "TrustedLaunchSupported", Plan: &PurchasePlan{Name: "n", Product: "d", Publisher: "p"}}
	if m, err := c.MarketplaceImage(t.Context(), "westeurope", "p", "o", "k", "1.1.0"); err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("%+v, %v", m, err)
	}
	size := Size{Name: "Standard_D2s_v5", VCPUs: 2, MemoryMB: 768, Generations: []string{"V1", "V2"}, Restrictions: []string{"NotAvailableForSubscription"}}
	if s, err := c.VMSize(t.Context(), "westeurope", "standard_d2s_v5"); err != nil || !reflect.DeepEqual(s, size) {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.VMSize(t.Context(), "westeurope", "Standard_Nothing"); !IsNotFound(err) {
		t.Errorf("got %v", err)
	}
}
