package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// confidential is a machine that Azure takes; change spoils it.
func confidentialBody(nic string, change func(p map[string]any)) map[string]any {
	image := map[string]any{"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter-smalldisk-g2", "version": "latest"}
	return vmBody(nic, image, func(p map[string]any) {
		p["hardwareProfile"] = map[string]any{"vmSize": "Standard_DC2as_v5"}
		p["securityProfile"] = map[string]any{"securityType": "ConfidentialVM", "uefiSettings": map[string]any{"secureBootEnabled": true, "vTpmEnabled": true}}
		mapping(p, "storageProfile", "osDisk")["managedDisk"] = map[string]any{"securityProfile": map[string]any{"securityEncryptionType": "DiskWithVMGuestState"}}
		if change != nil {
			change(p)
		}
	})
}

// TestKindsOfMachines: what Azure refuses of confidential machines, spot machines and disk controllers, each in Azure's words.
func TestKindsOfMachines(t *testing.T) {
	d := newDesk(t, &Scenario{Spot: &SpotMarket{Price: 0.02, NoCapacity: []string{"northeurope"}}})
	nic := d.nic("n1")
	windows := func(change func(p map[string]any)) map[string]any { return vmBody(nic, avdImage(), change) }
	for _, c := range []struct {
		name string
		body map[string]any
		code string
		says string
	}{
		{"a size for confidential machines alone", windows(func(p map[string]any) { p["hardwareProfile"] = map[string]any{"vmSize": "Standard_DC2as_v5"} }), "BadRequest", "with 'TrustedLaunch' security type"},
		{"an ordinary size", confidentialBody(nic, func(p map[string]any) { p["hardwareProfile"] = map[string]any{"vmSize": "Standard_D2s_v5"} }), "BadRequest", "with 'ConfidentialVM' security type"},
		{"no virtual TPM", confidentialBody(nic, func(p map[string]any) { mapping(p, "securityProfile", "uefiSettings")["vTpmEnabled"] = false }), "BadRequest", "vTpmEnabled' must be true"},
		{"no secure boot", confidentialBody(nic, func(p map[string]any) { mapping(p, "securityProfile", "uefiSettings")["secureBootEnabled"] = false }), "BadRequest", "secureBootEnabled' must be true"},
		{"no encryption named", confidentialBody(nic, func(p map[string]any) { delete(mapping(p, "storageProfile", "osDisk"), "managedDisk") }), "BadRequest", "securityEncryptionType' is required"},
		{"encryption at host too", confidentialBody(nic, func(p map[string]any) { mapping(p, "securityProfile")["encryptionAtHost"] = true }), "BadRequest", "cannot be true"},
		{"an image that cannot", func() map[string]any {
			b := confidentialBody(nic, nil)
			mapping(b, "properties", "storageProfile")["imageReference"] = avdImage()
			return b
		}(), "BadRequest", "does not support security type 'ConfidentialVM'"},
		{"a disk profile on another machine", windows(func(p map[string]any) {
			mapping(p, "storageProfile", "osDisk")["managedDisk"] = map[string]any{"securityProfile": map[string]any{"securityEncryptionType": "VMGuestStateOnly"}}
		}), "BadRequest", "can only be set for Confidential VMs"},
		{"NVMe", windows(func(p map[string]any) { mapping(p, "storageProfile")["diskControllerType"] = "NVMe" }), "InvalidParameter", "disk controller type 'NVMe'"},
		{"an eviction policy without spot", windows(func(p map[string]any) { p["evictionPolicy"] = "Delete" }), "EvictionPolicyCanBeSetOnlyOnAzureSpotVirtualMachines", ""},
		{"a price that is none", windows(func(p map[string]any) {
			p["priority"], p["billingProfile"] = "Spot", map[string]any{"maxPrice": -2}
		}), "MaxPriceValueInvalid", ""},
		{"a price that is too low", windows(func(p map[string]any) {
			p["priority"], p["billingProfile"] = "Spot", map[string]any{"maxPrice": 0.01}
		}), "SpotPriceGreaterThanProvidedMaxPrice", "'0.02 USD'"},
		{"a spot size that is none", windows(func(p map[string]any) {
			p["priority"], p["hardwareProfile"] = "Spot", map[string]any{"vmSize": "Standard_B2ms"}
		}), "OperationNotAllowed", "does not support Azure Spot"},
		{"a plan that nobody asked for", func() map[string]any {
			b := windows(nil)
			b["plan"] = map[string]any{"name": "n", "product": "p", "publisher": "u"}
			return b
		}(), "VMMarketplaceInvalidInput", "does not need Plan information"},
	} {
		code, _, out := d.call("PUT", d.compute("virtualMachines/vm"), c.body)
		if code < 400 || text(out, "error", "code") != c.code || !strings.Contains(text(out, "error", "message"), c.says) {
			t.Errorf("%s: %d %v", c.name, code, out)
		}
	}
	d.done("PUT", d.compute("virtualMachines/vm"), confidentialBody(nic, nil))
}

// TestEviction: a spot machine is deallocated or deleted as its policy says, and its disk stays.
func TestEviction(t *testing.T) {
	d := newDesk(t, nil)
	for _, policy := range []string{"Deallocate", "Delete"} {
		vm := d.compute("virtualMachines/" + policy)
		d.done("PUT", vm, vmBody(d.nic("nic-"+policy), avdImage(), func(p map[string]any) { p["priority"], p["evictionPolicy"] = "Spot", policy }))
		if code, _, out := d.call("POST", vm+"/simulateEviction", nil); code != 204 {
			t.Fatalf("%d %v", code, out)
		}
		code, _, out := d.call("GET", vm+"?$expand=instanceView", nil)
		if policy == "Delete" && code != 404 || policy == "Deallocate" && powerOf(out) != "PowerState/deallocated" {
			t.Errorf("%s: %d %v", policy, code, powerOf(out))
		}
		d.must(200, "GET", d.compute("disks/nic-"+policy+"-os"), nil)
	}
}

// TestTerms: a machine of an image with a plan wants the plan, and its terms accepted; what is captured of it wants the plan, too.
func TestTerms(t *testing.T) {
	d := newDesk(t, nil)
	image := map[string]any{"publisher": "cloud-infrastructure-services", "offer": "avd-golden-base", "sku": "avd-golden-base-win11", "version": "latest"}
	plan := map[string]any{"publisher": "cloud-infrastructure-services", "product": "avd-golden-base", "name": "avd-golden-base-win11"}
	terms := "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.MarketplaceOrdering/offerTypes/virtualmachine/publishers/cloud-infrastructure-services/offers/avd-golden-base/plans/avd-golden-base-win11/agreements/current"
	refused := func(body map[string]any, want string) {
		t.Helper()
		if code, _, out := d.call("PUT", d.compute("virtualMachines/bought"), body); code != 400 || text(out, "error", "code") != want {
			t.Errorf("%d %v, want %s", code, out, want)
		}
	}
	body := vmBody(d.nic("n1"), image, nil)
	refused(body, "VMMarketplaceInvalidInput")
	body["plan"] = map[string]any{"publisher": "x", "product": "y", "name": "z"}
	refused(body, "VMMarketplaceInvalidInput")
	body["plan"] = plan
	refused(body, "ResourcePurchaseValidationFailed")
	if out := d.must(200, "GET", terms, nil); truth(out, "properties", "accepted") {
		t.Errorf("accepted by nobody: %v", out)
	}
	d.must(200, "PUT", terms, map[string]any{"properties": map[string]any{"accepted": true}})
	if out := d.must(200, "GET", terms, nil); !truth(out, "properties", "accepted") {
		t.Errorf("not accepted: %v", out)
	}
	d.done("PUT", d.compute("virtualMachines/bought"), body)
	if list := fmt.Sprint(d.must(200, "GET", "/subscriptions/"+DefaultSubscription+"/resources", nil)); strings.Contains(list, "MarketplaceOrdering") {
		t.Error("agreements are listed as resources")
	}
	// A version of that machine.
	d.done("POST", d.compute("virtualMachines/bought/deallocate"), nil)
	d.must(200, "POST", d.compute("virtualMachines/bought/generalize"), nil)
	version := d.definition("bought", true) + "/versions/1.0.0"
	d.done("PUT", version, versionBody(d.compute("virtualMachines/bought"), "westeurope"))
	if code, _, out := d.call("PUT", d.compute("virtualMachines/second"), vmBody(d.nic("n2"), map[string]any{"id": version}, nil)); code != 400 || text(out, "error", "code") != "VMMarketplaceInvalidInput" {
		t.Errorf("a machine of the captured image without a plan: %d %v", code, out)
	}
}

// TestExtensions: one command of a type, on Windows that runs; its end and its output are told, the command itself is not.
func TestExtensions(t *testing.T) {
	clock := NewVirtualClock(time.Now())
	d := newDeskWith(t, Config{Latency: NoLatency, Clock: clock})
	// run waits for the command as a client does, in the simulation's time.
	run := func(path string, body map[string]any) (string, map[string]any) {
		code, h, out := d.call("PUT", path, body)
		for range 100 {
			if code >= 300 || h.Get("Azure-AsyncOperation") == "" {
				t.Fatalf("%d %v", code, out)
			}
			_, _, op := d.call("GET", h.Get("Azure-AsyncOperation"), nil)
			if s := text(op, "status"); s != "InProgress" {
				return s, mapping(op, "error")
			}
			if err := clock.Sleep(t.Context(), time.Second); err != nil {
				t.Fatal(err)
			}
		}
		t.Fatal("it does not end")
		return "", nil
	}
	vm := d.compute("virtualMachines/vm")
	script := func(command, typ string) map[string]any {
		return map[string]any{"location": "westeurope", "properties": map[string]any{"publisher": "Microsoft.Compute", "type": typ, "typeHandlerVersion": "1.10", "protectedSettings": map[string]any{"commandToExecute": command}}}
	}
	if code, _, _ := d.call("PUT", vm+"/extensions/x", script("cmd /c echo hello", "CustomScriptExtension")); code != 404 {
		t.Errorf("an extension of no machine: %d", code)
	}
	d.done("PUT", vm, vmBody(d.nic("n1"), avdImage(), nil))
	if s, e := run(vm+"/extensions/x", script("cmd /c echo test-secret-not-real", "CustomScriptExtension")); s != "Succeeded" {
		t.Fatalf("%s %v", s, e)
	}
	shown := d.must(200, "GET", vm+"/extensions/x?$expand=instanceView", nil)
	if !strings.Contains(text(items(shown, "properties", "instanceView", "substatuses")[0], "message"), "test-secret-not-real") || mapping(shown, "properties", "protectedSettings") != nil {
		t.Errorf("%v", shown)
	}
	if code, _, out := d.call("PUT", vm+"/extensions/y", script("cmd /c echo", "CustomScriptExtension")); code != 400 || !strings.Contains(fmt.Sprint(out), "Multiple VMExtensions") {
		t.Errorf("a second one: %d %v", code, out)
	}
	if code, _, _ := d.call("PUT", vm+"/extensions/z", script("cmd /c echo", "DSC")); code != 501 {
		t.Errorf("an unknown one: %d", code)
	}
	status, failure := run(vm+"/extensions/x", script("cmd /c exit 3", "CustomScriptExtension"))
	if status != "Failed" || text(failure, "code") != "VMExtensionProvisioningError" {
		t.Errorf("%s %v", status, failure)
	}
	d.done("POST", vm+"/deallocate", nil)
	if code, _, out := d.call("PUT", vm+"/extensions/x", script("cmd /c echo", "CustomScriptExtension")); code != 409 || text(out, "error", "code") != "OperationNotAllowed" {
		t.Errorf("on a machine that is off: %d %v", code, out)
	}
}
