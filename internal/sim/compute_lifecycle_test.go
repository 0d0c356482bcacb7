package sim

import (
	"fmt"
	"strings"
	"testing"

	"ingot/internal/sim/guest"
)

func (d *desk) compute(kind string) string { return d.group + "/providers/Microsoft.Compute/" + kind }

// nic makes a NIC in the desk's network.
func (d *desk) nic(name string) string {
	if d.w.find(d.net("virtualNetworks/vn")) == nil {
		d.done("PUT", d.net("virtualNetworks/vn"), vnetBody("10.0.0.0/16", subnetBody("s", "10.0.0.0/24")))
	}
	d.done("PUT", d.net("networkInterfaces/"+name), nicBody(d.net("virtualNetworks/vn/subnets/s"), ""))
	return d.net("networkInterfaces/" + name)
}

func avdImage() map[string]any {
	return map[string]any{"publisher": "microsoftwindowsdesktop", "offer": "windows-11", "sku": "win11-24h2-avd", "version": "latest"}
}

// vmBody is a Windows machine; change alters it.
func vmBody(nic string, image map[string]any, change func(props map[string]any)) map[string]any {
	p := map[string]any{
		"hardwareProfile": map[string]any{"vmSize": "standard_d2s_v5"},
		"storageProfile":  map[string]any{"imageReference": image, "osDisk": map[string]any{"name": lastPart(nic) + "-os", "createOption": "FromImage"}},
		"osProfile":       map[string]any{"computerName": "builder", "adminUsername": "packer", "adminPassword": "Test-secret-not-real-1"},
		"securityProfile": map[string]any{"securityType": "TrustedLaunch", "uefiSettings": map[string]any{"secureBootEnabled": true, "vTpmEnabled": true}},
		"networkProfile":  map[string]any{"networkInterfaces": []any{map[string]any{"id": nic}}},
	}
	if change != nil {
		change(p)
	}
	return map[string]any{"location": "westeurope", "properties": p}
}

func (d *desk) definition(name string, security bool) string {
	if d.w.find(d.compute("galleries/g")) == nil {
		d.done("PUT", d.compute("galleries/g"), map[string]any{"location": "westeurope", "properties": map[string]any{}})
	}
	p := map[string]any{"osType": "Windows", "osState": "Generalized", "hyperVGeneration": "V2", "identifier": map[string]any{"publisher": "p", "offer": "o", "sku": name}}
	if security {
		p["features"] = []any{map[string]any{"name": "SecurityType", "value": "TrustedLaunch"}}
	}
	d.done("PUT", d.compute("galleries/g/images/"+name), map[string]any{"location": "westeurope", "properties": p})
	return d.compute("galleries/g/images/" + name)
}

func versionBody(vm string, regions ...string) map[string]any {
	var targets []any
	for _, r := range regions {
		targets = append(targets, map[string]any{"name": r})
	}
	return map[string]any{"location": "westeurope", "properties": map[string]any{
		"publishingProfile": map[string]any{"targetRegions": targets}, "storageProfile": map[string]any{"source": map[string]any{"virtualMachineId": vm}}}}
}

// write puts content on a running machine's disk, as its guest would.
func (d *desk) write(vm, state, path string) {
	d.t.Helper()
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if err := machineOf(d.w.find(vm)).content.disk.Unmarshal([]byte(fmt.Sprintf(`{"imageState":%q,"files":{%q:"aGVsbG8="}}`, state, path))); err != nil {
		d.t.Fatal(err)
	}
}

// Network, machine, sysprep, generalise, gallery version in two regions, and a machine from it with the same files.
func TestImageLifeCycle(t *testing.T) {
	d := newDesk(t, nil)
	vm := d.compute("virtualMachines/vm")
	code, h, out := d.call("PUT", vm, vmBody(d.nic("n1"), avdImage(), nil))
	if code != 201 || h.Get("Azure-AsyncOperation") == "" || h.Get("Location") != "" || text(out, "properties", "provisioningState") != "Creating" {
		t.Fatalf("PUT of a machine: %d %v %v", code, h, out)
	}
	if text(out, "properties", "osProfile", "adminPassword") != "" {
		t.Error("the password is shown")
	}
	shown := d.must(200, "GET", vm+"?$expand=instanceView", nil)
	if text(shown, "properties", "storageProfile", "imageReference", "exactVersion") != "26100.4349.250609" || text(shown, "properties", "vmId") == "" {
		t.Errorf("machine: %v", shown)
	}
	if s := powerOf(shown); s != "PowerState/running" {
		t.Errorf("after its creation the machine is %s", s)
	}
	if got := text(d.must(200, "GET", d.net("networkInterfaces/n1"), nil), "properties", "virtualMachine", "id"); !sameID(got, vm) {
		t.Errorf("the NIC's machine is %q", got)
	}
	d.refused(400, "NicInUse", "DELETE", d.net("networkInterfaces/n1"), nil)
	d.refused(409, "OperationNotAllowed", "POST", vm+"/generalize", nil)
	d.refused(409, "OperationNotAllowed", "DELETE", d.compute("disks/n1-os"), nil)

	d.write(vm, guest.StateGeneralized, `C:\golden.txt`)
	code, h, _ = d.call("POST", vm+"/deallocate", nil)
	if code != 202 || h.Get("Azure-AsyncOperation") == "" || h.Get("Location") == "" {
		t.Fatalf("deallocate: %d %v", code, h)
	}
	if s := powerOf(d.must(200, "GET", vm+"?$expand=instanceView", nil)); s != "PowerState/deallocated" {
		t.Errorf("after deallocate the machine is %s", s)
	}
	definition := d.definition("avd", true)
	version := definition + "/versions/1.0.0"
	d.refused(409, "OperationNotAllowed", "PUT", version, versionBody(vm, "westeurope"))
	if code, h, out := d.call("POST", vm+"/generalize", nil); code != 200 || out != nil || h.Get("Azure-AsyncOperation") != "" {
		t.Fatalf("generalize: %d %v", code, out)
	}
	d.refused(409, "OperationNotAllowed", "POST", vm+"/start", nil)

	d.done("PUT", version, versionBody(vm, "West Europe", "northeurope"))
	got := d.must(200, "GET", version+"?$expand=ReplicationStatus", nil)
	// Always there in recorded answers (azure-protocol.md 2.6).
	for _, path := range []string{"properties.provisioningState", "properties.safetyProfile.allowDeletionOfReplicatedLocations", "properties.safetyProfile.reportedForPolicyViolation",
		"properties.publishingProfile.targetRegions", "properties.publishingProfile.replicaCount", "properties.publishingProfile.excludeFromLatest", "properties.publishingProfile.publishedDate",
		"properties.publishingProfile.storageAccountType", "properties.storageProfile.osDiskImage.sizeInGB", "properties.storageProfile.osDiskImage.hostCaching", "properties.storageProfile.source.virtualMachineId"} {
		if field(got, strings.Split(path, ".")...) == nil {
			t.Errorf("no %s in %v", path, got)
		}
	}
	if text(got, "properties", "replicationStatus", "aggregatedState") != "Completed" || len(items(got, "properties", "replicationStatus", "summary")) != 2 {
		t.Errorf("replication: %v", field(got, "properties", "replicationStatus"))
	}
	d.refused(409, "CannotDeleteResource", "DELETE", definition, nil)

	d.done("DELETE", vm, nil) // the disk stays
	if s := text(d.must(200, "GET", d.compute("disks/n1-os"), nil), "properties", "diskState"); s != "Unattached" {
		t.Errorf("the disk is %s", s)
	}
	second := d.compute("virtualMachines/second")
	d.done("PUT", second, vmBody(d.nic("n2"), map[string]any{"id": version}, nil))
	d.w.mu.Lock()
	disk := machineOf(d.w.find(second)).content.disk
	d.w.mu.Unlock()
	if data, ok := disk.File(`C:\golden.txt`); !ok || string(data) != "hello" {
		t.Errorf("the file did not travel: %q %v", data, disk.Files())
	}
	d.done("DELETE", version, nil)
	d.refused(404, "NotFound", "PUT", d.compute("virtualMachines/third"), vmBody(d.nic("n3"), map[string]any{"id": version}, nil))
}

func powerOf(vm any) string {
	for _, s := range items(vm, "properties", "instanceView", "statuses") {
		if c := text(s, "code"); strings.HasPrefix(c, "PowerState/") {
			return c
		}
	}
	return ""
}

// Azure generalises what it is told to; the machine made of the image tells the truth.
func TestImageWithoutSysprep(t *testing.T) {
	d := newDesk(t, nil)
	vm := d.compute("virtualMachines/vm")
	d.done("PUT", vm, vmBody(d.nic("n1"), avdImage(), nil))
	d.done("POST", vm+"/deallocate", nil)
	d.must(200, "POST", vm+"/generalize", nil)
	version := d.definition("avd", true) + "/versions/1.0.0"
	d.done("PUT", version, versionBody(vm, "westeurope"))
	status, failure := d.finish("PUT", d.compute("virtualMachines/second"), vmBody(d.nic("n2"), map[string]any{"id": version}, nil))
	if status != "Failed" || text(failure, "code") != "OSProvisioningTimedOut" {
		t.Errorf("%s %v", status, failure)
	}
}

func TestMachineRefusals(t *testing.T) {
	d := newDesk(t, &Scenario{Quota: map[string]int{"westeurope": 4}, UnavailableSizes: map[string][]string{"westeurope": {"Standard_E4s_v5"}}})
	nic := d.nic("n1")
	size := func(name string) func(map[string]any) {
		return func(p map[string]any) { p["hardwareProfile"] = map[string]any{"vmSize": name} }
	}
	profile := func(key string, value any) func(map[string]any) {
		return func(p map[string]any) { mapping(p, "osProfile")[key] = value }
	}
	image := func(sku string) map[string]any {
		m := avdImage()
		m["sku"] = sku
		return m
	}
	gen1 := map[string]any{"publisher": "MicrosoftWindowsDesktop", "offer": "windows-10", "sku": "win10-22h2-avd", "version": "latest"}
	planned := map[string]any{"publisher": "cloud-infrastructure-services", "offer": "avd-golden-base", "sku": "avd-golden-base-win11", "version": "latest"}
	for name, c := range map[string]struct {
		image  map[string]any
		change func(map[string]any)
		status int
		code   string
	}{
		"no such size":           {avdImage(), size("Standard_Z1"), 400, "InvalidParameter"},
		"size not on offer":      {avdImage(), size("Standard_E4s_v5"), 409, "SkuNotAvailable"},
		"more cores than quota":  {avdImage(), size("Standard_D8s_v5"), 409, "OperationNotAllowed"},
		"generation 1 size":      {avdImage(), size("Standard_A2"), 400, "BadRequest"},
		"no such image":          {image("win12"), nil, 404, "PlatformImageNotFound"},
		"Trusted Launch, gen 1":  {gen1, nil, 400, "BadRequest"},
		"plan missing":           {planned, nil, 400, "VMMarketplaceInvalidInput"},
		"no OS profile":          {avdImage(), func(p map[string]any) { delete(p, "osProfile") }, 400, "InvalidParameter"},
		"computer name too long": {avdImage(), profile("computerName", "sixteen-letters-"), 400, "InvalidParameter"},
		"password too short":     {avdImage(), profile("adminPassword", "Ab1-"), 400, "InvalidParameter"},
		"no NIC":                 {avdImage(), func(p map[string]any) { p["networkProfile"] = map[string]any{} }, 400, "InvalidParameter"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{t: t, w: d.w, http: d.http, token: d.token, group: d.group}
			d.refused(c.status, c.code, "PUT", d.compute("virtualMachines/x"), vmBody(nic, c.image, c.change))
			d.refused(404, "ResourceNotFound", "GET", d.compute("virtualMachines/x"), nil)
			d.refused(404, "ResourceNotFound", "GET", d.compute("disks/n1-os"), nil)
		})
	}
}

func TestVersionRefusals(t *testing.T) {
	d := newDesk(t, nil)
	vm := d.compute("virtualMachines/vm")
	d.done("PUT", vm, vmBody(d.nic("n1"), avdImage(), nil))
	d.done("POST", vm+"/deallocate", nil)
	d.must(200, "POST", vm+"/generalize", nil)
	good, plain := d.definition("avd", true), d.definition("plain", false)
	for name, c := range map[string]struct {
		path    string
		vm      string
		regions []string
		status  int
		code    string
	}{
		"version name":            {good + "/versions/1.0", vm, []string{"westeurope"}, 400, "InvalidParameter"},
		"version number too big":  {good + "/versions/1.0.2147483648", vm, []string{"westeurope"}, 400, "InvalidParameter"},
		"no definition":           {d.compute("galleries/g/images/none/versions/1.0.0"), vm, []string{"westeurope"}, 404, "ParentResourceNotFound"},
		"home region left out":    {good + "/versions/1.0.0", vm, []string{"northeurope"}, 400, "InvalidParameter"},
		"region twice":            {good + "/versions/1.0.0", vm, []string{"westeurope", "West Europe"}, 400, "InvalidParameter"},
		"no such region":          {good + "/versions/1.0.0", vm, []string{"westeurope", "atlantis"}, 400, "InvalidParameter"},
		"no such source":          {good + "/versions/1.0.0", d.compute("virtualMachines/none"), []string{"westeurope"}, 404, "NotFound"},
		"security does not match": {plain + "/versions/1.0.0", vm, []string{"westeurope"}, 409, "OperationNotAllowed"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{t: t, w: d.w, http: d.http, token: d.token, group: d.group}
			d.refused(c.status, c.code, "PUT", c.path, versionBody(c.vm, c.regions...))
		})
	}
	// A region whose copy never ends has no image to make machines of, while the home region has.
	d2 := newDesk(t, &Scenario{StalledRegions: []string{"northeurope"}})
	vm = d2.compute("virtualMachines/vm")
	d2.done("PUT", vm, vmBody(d2.nic("n1"), avdImage(), nil))
	d2.done("POST", vm+"/deallocate", nil)
	d2.must(200, "POST", vm+"/generalize", nil)
	version := d2.definition("avd", true) + "/versions/1.0.0"
	d2.must(201, "PUT", version, versionBody(vm, "westeurope", "northeurope"))
	status := field(d2.must(200, "GET", version+"?$expand=ReplicationStatus", nil), "properties", "replicationStatus")
	var states []string
	for _, s := range items(status, "summary") {
		states = append(states, text(s, "state"))
	}
	if text(status, "aggregatedState") != "InProgress" || strings.Join(states, " ") != "Completed Replicating" {
		t.Errorf("replication: %v", status)
	}
}
