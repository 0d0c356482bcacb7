package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestStaleReads(t *testing.T) {
	w := newWorld(t, Config{Scenario: &Scenario{StaleReads: &StaleReads{For: Duration(5 * time.Second)}}})
	w.group()
	const g, list = "Microsoft.Network/networkSecurityGroups/g", "Microsoft.Network/networkSecurityGroups"
	put := func(tag string) { w.must("PUT", g, `{"location":"westeurope","tags":{"t":"`+tag+`"},"properties":{}}`) }
	put("one")
	if a := w.arm("GET", g, ""); a.status != 404 {
		t.Errorf("right after its creation: %d", a.status)
	}
	if a := w.must("GET", list, ""); len(items(a.json, "value")) != 0 {
		t.Errorf("the list right after its creation: %s", a.text)
	}
	w.clock.move(time.Minute)
	put("two")
	if a := w.must("GET", g, ""); text(a.json, "tags", "t") != "one" {
		t.Errorf("right after an update: %s", a.text)
	}
	w.clock.move(time.Minute)
	if a := w.must("GET", g, ""); text(a.json, "tags", "t") != "two" {
		t.Errorf("later: %s", a.text)
	}
	w.must("DELETE", g, "")
	w.clock.move(4 * time.Second)
	if a := w.must("GET", list, ""); len(items(a.json, "value")) != 1 {
		t.Errorf("the list right after its deletion: %s", a.text)
	}
	w.clock.move(time.Minute)
	if a := w.arm("GET", g, ""); a.status != 404 {
		t.Errorf("long after its deletion: %d", a.status)
	}
}

func TestLimitsOfCallsAndTheirHeaders(t *testing.T) {
	w := newWorld(t, Config{Scenario: &Scenario{Throttle: true, Limits: map[string]Limit{"reads": {Size: 40, PerSecond: 1}}}})
	w.group()
	if a := w.must("GET", groupRG, ""); a.header.Get("x-ms-ratelimit-remaining-subscription-reads") != "39" {
		t.Errorf("headers %v", a.header)
	}
	w.machine()
	w.clock.move(time.Hour / 4)
	a := w.must("GET", "Microsoft.Compute/virtualMachines/vm", "")
	if a.header.Get("x-ms-ratelimit-remaining-resource") != "Microsoft.Compute/LowCostGetResource;35" {
		t.Errorf("headers %v", a.header)
	}
	for range 35 {
		a = w.must("GET", "Microsoft.Compute/virtualMachines/vm", "")
	}
	a = w.arm("GET", "Microsoft.Compute/virtualMachines/vm", "")
	if a.status != 429 || a.code() != "OperationNotAllowed" || a.header.Get("Retry-After") != "5" || !strings.Contains(a.text, `"TooManyRequests"`) {
		t.Errorf("%d %v %s", a.status, a.header, a.text)
	}
	for range 4 {
		a = w.arm("GET", groupRG, "")
	}
	if a.status != 429 || a.code() != "SubscriptionRequestsThrottled" || a.header.Get("Retry-After") != "1" {
		t.Errorf("%d %v %s", a.status, a.header, a.text)
	}
	w.clock.move(2 * time.Second)
	w.must("GET", groupRG, "")
}

func TestFamilyQuotaAndCapacity(t *testing.T) {
	body := func(family string, cores int) *Scenario {
		return &Scenario{FamilyQuota: map[string]map[string]int{"westeurope": {family: cores}}}
	}
	size, ok := findSize("Standard_D4s_v5")
	if !ok {
		t.Fatal("no such size")
	}
	for _, c := range []struct {
		name string
		s    *Scenario
		want string
	}{
		{"too few of the family", body(size.family, size.cores-1), size.family + " Cores quota"},
		{"enough", body(size.family, size.cores), ""},
		{"of another family", body("other", 0), ""},
	} {
		w := newWorld(t, Config{Scenario: c.s})
		w.group()
		func() {
			net := groupRG + "/providers/Microsoft.Network/"
			w.must("PUT", "Microsoft.Network/virtualNetworks/net", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`)
			w.clock.move(time.Hour / 4)
			w.must("PUT", "Microsoft.Network/networkInterfaces/nic", `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"`+net+`virtualNetworks/net/subnets/s"}}}]}}`)
		}()
		a := w.arm("PUT", "Microsoft.Compute/virtualMachines/vm", fmt.Sprintf(`{"location":"westeurope","properties":{"hardwareProfile":{"vmSize":"Standard_D4s_v5"},
			"storageProfile":{"imageReference":{"publisher":"MicrosoftWindowsDesktop","offer":"windows-11","sku":"win11-24h2-avd","version":"latest"}},
			"osProfile":{"computerName":"vm","adminUsername":"packer","adminPassword":"Test-secret-not-real-1"},
			"networkProfile":{"networkInterfaces":[{"id":%q}]}}}`, groupRG+"/providers/Microsoft.Network/networkInterfaces/nic"))
		if c.want == "" && a.status != 201 || c.want != "" && (a.code() != "OperationNotAllowed" || !strings.Contains(a.message(), c.want)) {
			t.Errorf("%s: %d %s", c.name, a.status, a.text)
		}
	}
	w := newWorld(t, Config{Scenario: &Scenario{Capacity: map[string]int{"westeurope": 2}}})
	w.group()
	w.machine()
	w.clock.move(time.Hour)
	if a := w.must("GET", "Microsoft.Compute/virtualMachines/vm", ""); text(a.json, "properties", "provisioningState") != "Failed" {
		t.Errorf("beyond the region's capacity: %s", a.text)
	}
}
