package sim

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim/guest"
)

// TestImageBuilderDoor: what the service refuses at once, by api-version, and what it drops without a word.
func TestImageBuilderDoor(t *testing.T) {
	w, doc := foundry(t, nil)
	change := func(edit func(doc, p map[string]any)) string {
		d := deepCopy(doc).(map[string]any)
		edit(d, mapping(d, "properties"))
		return mustJSON(t, d)
	}
	vmboot := change(func(_, p map[string]any) {
		p["optimize"] = map[string]any{"vmboot": map[string]any{"state": "Enabled"}}
	})
	for name, c := range map[string]struct{ api, body, code, text string }{
		"another api-version": {"2024-05-01", change(func(_, _ map[string]any) {}), "NoRegisteredProviderFound", "API version '2024-05-01' for type 'imageTemplates'. The supported api-versions are '2025-10-01, 2024-02-01,"},
		"another case": {"2024-02-01", vmboot, "ValidationFailed", `Unmarshalling entity encountered error: unmarshalling type *v2024_02_01.ImageTemplate: struct field Properties: unmarshalling type *v2024_02_01.ImageTemplateProperties: struct field Optimize: ` +
			`unmarshalling type *v2024_02_01.ImageTemplatePropertiesOptimize: unmarshalling type *v2024_02_01.ImageTemplatePropertiesOptimize, unknown field "vmboot". There is an issue with the syntax with the JSON template you are submitting.`},
		"apiVersion in the body": {"2024-02-01", change(func(d, _ map[string]any) { d["apiVersion"] = "2024-02-01" }), "ValidationFailed", `unknown field "apiVersion"`},
		"a dead field": {"2024-02-01", change(func(_, p map[string]any) {
			p["vmProfile"] = map[string]any{"vnetConfig": map[string]any{"subnetName": "s"}}
		}), "ValidationFailed", `VirtualNetworkConfig, unknown field "subnetName"`},
		"a region without it":      {"2024-02-01", change(func(d, _ map[string]any) { d["location"] = "eastus2euap" }), "LocationNotAvailableForResourceType", "List of available regions for the resource type is 'eastus,"},
		"no identity":              {"2024-02-01", change(func(d, _ map[string]any) { delete(d, "identity") }), "InvalidParameter", "user assigned identity"},
		"a source of another kind": {"2024-02-01", change(func(_, p map[string]any) { p["source"] = map[string]any{"type": "ISO"} }), "ValidationFailed", "source type 'ISO'"},
		"a source without its id":  {"2024-02-01", change(func(_, p map[string]any) { p["source"] = map[string]any{"type": "ManagedImage"} }), "ValidationFailed", "'ImageTemplate.properties.source': Missing field 'imageId'"},
		"an id that is none":       {"2024-02-01", change(func(_, p map[string]any) { p["source"] = map[string]any{"type": "ManagedImage", "imageId": "/x"} }), "ValidationFailed", "'ImageTemplate.properties.source': Field 'imageId' has a bad value: '/x'"},
		"inline and an address":    {"2024-02-01", change(func(_, p map[string]any) { p["customize"] = steps(with(ps("x"), "scriptUri", "https://x")) }), "ValidationFailed", "exactly one of"},
		"SYSTEM, not elevated":     {"2024-02-01", change(func(_, p map[string]any) { p["customize"] = steps(with(ps("x"), "runAsSystem", true)) }), "ValidationFailed", "runAsSystem"},
		"a checksum in capitals": {"2024-02-01", change(func(_, p map[string]any) {
			p["customize"] = steps(map[string]any{"type": "PowerShell", "scriptUri": "https://x/y", "sha256Checksum": strings.Repeat("A", 64)})
		}), "ValidationFailed", "sha256Checksum"},
		"a target twice": {"2024-02-01", change(func(_, p map[string]any) { p["distribute"] = append(items(p, "distribute"), items(p, "distribute")...) }), "ValidationFailed", "unique"},
		"a target without a place": {"2024-02-01", change(func(_, p map[string]any) {
			p["distribute"] = steps(map[string]any{"type": "ManagedImage", "runOutputName": "o", "imageId": "/x/images/y"})
		}), "ValidationFailed", "'ImageTemplate.properties.distribute[0]': Missing field 'location'"},
		"too long": {"2024-02-01", change(func(_, p map[string]any) { p["buildTimeoutInMinutes"] = 961 }), "ValidationFailed", "960"},
		"a container's subnet alone": {"2024-02-01", change(func(_, p map[string]any) {
			p["vmProfile"] = map[string]any{"vnetConfig": map[string]any{"containerInstanceSubnetId": "/a/virtualNetworks/n/subnets/c"}}
		}), "ValidationFailed", "only with 'subnetId'"},
		"with a proxy's size": {"2024-02-01", change(func(_, p map[string]any) {
			p["vmProfile"] = map[string]any{"vnetConfig": map[string]any{"subnetId": "/a/n/subnets/b", "containerInstanceSubnetId": "/a/n/subnets/c", "proxyVmSize": "Standard_A1_v2"}}
		}), "ValidationFailed", "proxyVmSize"},
	} {
		g := w.arm("PUT", aib+"?api-version="+c.api, c.body)
		if g.status/100 != 4 || g.code() != c.code || !strings.Contains(g.message(), c.text) {
			t.Errorf("%s: %d %s", name, g.status, g.text)
		}
	}
	if g := w.arm("PUT", aib+"?api-version=2020-02-14", change(func(d, _ map[string]any) { delete(d, "identity") })); text(g.json, "code") != "InvalidParameter" || g.json["error"] != nil {
		t.Errorf("an old error: %s", g.text)
	}
	if g := w.arm("PUT", aib+"?api-version=2023-07-01", vmboot); g.status != 201 || len(mapping(g.json, "properties", "optimize")) != 0 {
		t.Errorf("an old version drops: %d %s", g.status, g.text)
	}
}

// TestImageBuilderSubmission: what the submission finds out with the identity's rights.
func TestImageBuilderSubmission(t *testing.T) {
	const net = groupRG + "/providers/Microsoft.Network/virtualNetworks/net"
	identity := groupRG + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
	reader := `{"properties":{"roleDefinitionId":"/subscriptions/` + DefaultSubscription + `/providers/Microsoft.Authorization/roleDefinitions/`
	for name, c := range map[string]struct {
		scenario   *Scenario
		edit       func(w *world, p map[string]any)
		code, text string
	}{
		"all is well": {edit: func(*world, map[string]any) {}},
		"another generation": {edit: func(w *world, p map[string]any) {
			mapping(p, "source")["offer"], mapping(p, "source")["publisher"], mapping(p, "source")["sku"] = "WindowsServer", "MicrosoftWindowsServer", "2019-Datacenter"
		}, code: "ValidationFailed", text: "Error with Hyper-V Version validation (cross-generation for multiple Hyper-V Versions is not supported). The provided SIG: " + groupRG + "/providers/Microsoft.Compute/galleries/g/images/d, has a different Hyper-V Generation: V2, than source image: V1."},
		"no such version": {edit: func(_ *world, p map[string]any) {
			p["source"] = map[string]any{"type": "SharedImageVersion", "imageVersionId": groupRG + "/providers/Microsoft.Compute/galleries/g/images/d/versions/9.9.9"}
		}, code: "BadSharedImageVersionSource", text: "Build (Shared Image Version) step failed for Image Version '"},
		"a provider is missing": {scenario: &Scenario{Unregistered: []string{"Microsoft.KeyVault"}}, edit: func(*world, map[string]any) {}, code: "MissingSubscriptionRegistration", text: "Microsoft.KeyVault"},
		"an identity for the machine": {edit: func(w *world, p map[string]any) {
			w.must("PUT", "Microsoft.ManagedIdentity/userAssignedIdentities/vm", `{"location":"westeurope"}`)
			p["vmProfile"] = map[string]any{"userAssignedIdentities": []any{identity + "vm"}}
		}},
		"one that it may not assign": {edit: func(w *world, p map[string]any) {
			w.must("PUT", "/subscriptions/"+DefaultSubscription+"/resourceGroups/other", `{"location":"westeurope"}`)
			at := "/subscriptions/" + DefaultSubscription + "/resourceGroups/other/providers/Microsoft.ManagedIdentity/userAssignedIdentities/vm"
			w.must("PUT", at, `{"location":"westeurope"}`)
			p["vmProfile"] = map[string]any{"userAssignedIdentities": []any{at}}
		}, code: "Unauthorized", text: "Not authorized to access the resource: /subscriptions/" + DefaultSubscription + "/resourceGroups/other/"},
		"a subnet for containers": {edit: func(w *world, p map[string]any) {
			w.must("PUT", net, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"b","properties":{"addressPrefix":"10.0.0.0/24"}},{"name":"c","properties":{"addressPrefix":"10.0.1.0/24"}}]}}`)
			w.pass(time.Minute)
			p["vmProfile"] = map[string]any{"vnetConfig": map[string]any{"subnetId": net + "/subnets/b", "containerInstanceSubnetId": net + "/subnets/c"}}
		}, code: "ValidationFailed", text: "must be delegated to 'Microsoft.ContainerInstance/containerGroups'"},
		"subnets of one's own": {edit: func(w *world, p map[string]any) {
			w.must("PUT", net, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"b","properties":{"addressPrefix":"10.0.0.0/24"}},{"name":"c","properties":{"addressPrefix":"10.0.1.0/24","delegations":[{"name":"aci","properties":{"serviceName":"Microsoft.ContainerInstance/containerGroups"}}]}}]}}`)
			w.pass(time.Minute)
			p["vmProfile"] = map[string]any{"vnetConfig": map[string]any{"subnetId": net + "/subnets/b", "containerInstanceSubnetId": net + "/subnets/c"}}
		}},
		"one subnet of one's own": {edit: func(w *world, p map[string]any) {
			w.must("PUT", net, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"b","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`)
			w.pass(time.Minute)
			p["vmProfile"] = map[string]any{"vnetConfig": map[string]any{"subnetId": net + "/subnets/b"}}
		}},
		"a staging group of one's own": {edit: func(w *world, p map[string]any) {
			at := "/subscriptions/" + DefaultSubscription + "/resourceGroups/stage"
			w.must("PUT", at, `{"location":"westeurope","tags":{"mine":"yes"}}`)
			g := w.must("GET", "Microsoft.ManagedIdentity/userAssignedIdentities/builder", "")
			w.must("PUT", at+"/providers/Microsoft.Authorization/roleAssignments/44444444-4444-4444-8444-444444444444", reader+`b24988ac-6180-42a0-ab88-20f7382dd24c","principalId":"`+text(g.json, "properties", "principalId")+`"}}`)
			p["stagingResourceGroup"] = at
		}},
		"one without the role": {edit: func(w *world, p map[string]any) {
			at := "/subscriptions/" + DefaultSubscription + "/resourceGroups/stage"
			w.must("PUT", at, `{"location":"westeurope"}`)
			p["stagingResourceGroup"] = at
		}, code: "Unauthorized", text: "resourceGroups/stage"},
		"one elsewhere": {edit: func(w *world, p map[string]any) {
			at := "/subscriptions/" + DefaultSubscription + "/resourceGroups/stage"
			w.must("PUT", at, `{"location":"northeurope"}`)
			p["stagingResourceGroup"] = at
		}, code: "BadStagingResourceGroup", text: "same region"},
		"one with something in it": {edit: func(_ *world, p map[string]any) { p["stagingResourceGroup"] = groupRG }, code: "BadStagingResourceGroup", text: "is not empty"},
		"one that is not there": {edit: func(_ *world, p map[string]any) {
			p["stagingResourceGroup"] = "/subscriptions/" + DefaultSubscription + "/resourceGroups/fresh"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, doc := foundry(t, c.scenario)
			c.edit(w, mapping(doc, "properties"))
			if g := w.submit(doc); g.status != 201 {
				t.Fatalf("PUT: %d %s", g.status, g.text)
			}
			g := w.must("GET", aib, "")
			p := mapping(g.json, "properties")
			if text(p, "provisioningError", "provisioningErrorCode") != c.code || !strings.Contains(text(p, "provisioningError", "message"), c.text) {
				t.Fatalf("%v", p["provisioningError"])
			}
			if c.code != "" {
				return
			}
			staging := text(p, "exactStagingResourceGroup")
			tags := mapping(w.must("GET", staging, "").json, "tags")
			own := strings.HasSuffix(staging, "/stage")
			if own != (text(tags, "usedBy") != "" && text(tags, "mine") == "yes") || text(tags, "imageTemplateName") != "t" {
				t.Errorf("tags of %s: %v", staging, tags)
			}
			if own { // it is taken now
				if g := w.arm("PUT", strings.Replace(aib, "/t", "/t2", 1), mustJSON(t, doc)); g.status != 201 {
					t.Fatal(g.text)
				}
				w.pass(time.Second)
				if g := w.must("GET", strings.Replace(aib, "/t", "/t2", 1), ""); !strings.Contains(text(g.json, "properties", "provisioningError", "message"), "associated with the image template 't'") {
					t.Errorf("%s", g.text)
				}
			}
			if state, message := w.result(); state != "Succeeded" {
				t.Fatal(message)
			}
			w.must("DELETE", aib, "")
			w.pass(time.Minute)
			if g := w.arm("GET", aib, ""); g.status != 404 || w.Has(staging) != own {
				t.Errorf("after the deletion: %v", w.Has(staging))
			}
			if own {
				if tags := mapping(w.must("GET", staging, "").json, "tags"); text(tags, "imageTemplateName") != "" || text(tags, "mine") != "yes" {
					t.Errorf("its tags: %v", tags)
				}
				if g := w.must("GET", staging+"/resources", ""); len(items(g.json, "value")) > 0 {
					t.Errorf("in it: %s", g.text)
				}
			}
		})
	}
}

// TestImageBuilderBuildFails: what a run meets before any customizer.
func TestImageBuilderBuildFails(t *testing.T) {
	for name, c := range map[string]struct {
		scenario *Scenario
		edit     func(p map[string]any)
		message  string
		log      string
	}{
		"containers are not registered": {scenario: &Scenario{Unregistered: []string{"Microsoft.ContainerInstance"}}, message: "Azure Container Instances provider not registered for your subscription."},
		"no room for a container":       {scenario: &Scenario{ContainerQuota: map[string]int{"westeurope": 3}}, message: "Azure Container Instances quota exceeded"},
		"a time that is too short":      {edit: func(p map[string]any) { p["buildTimeoutInMinutes"] = 5 }, message: "exit status 1", log: "* client_jwt will expire within 5 minutes, please use a JWT that is valid for at least 5 minutes"},
		"a size that is not there": {scenario: &Scenario{UnavailableSizes: map[string][]string{"westeurope": {"Standard_D2ds_v4"}}}, message: "exit status 1",
			log: "ERROR: -> SkuNotAvailable : "},
		"a disk that is too small": {edit: func(p map[string]any) { p["vmProfile"] = map[string]any{"osDiskSizeGB": 20} }, message: "exit status 1", log: "The specified disk size 20 GB is smaller"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, doc := foundry(t, c.scenario)
			if c.edit != nil {
				c.edit(mapping(doc, "properties"))
			}
			w.submit(doc)
			if state, message := w.result(); state != "Failed" || !strings.Contains(message, c.message) {
				t.Errorf("%s %s", state, message)
			}
			if log := w.logged("customization.log"); !strings.Contains(log, c.log) {
				t.Errorf("the log:\n%s", log)
			}
			if left := w.left(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestImageBuilderPatch: tags, identity, targets and the machine's profile may change, each since its api-version.
func TestImageBuilderPatch(t *testing.T) {
	w, doc := foundry(t, nil)
	w.submit(doc)
	target := mustJSON(t, items(doc, "properties", "distribute")[0])
	more := `{"type":"VHD","runOutputName":"more"}`
	for _, c := range []struct {
		api, body string
		status    int
		text      string
	}{
		{"2024-02-01", `{"properties":{"source":{"type":"ManagedImage"}}}`, 409, "Update/Upgrade of image templates is currently not supported"},
		{"2022-07-01", `{"properties":{"distribute":[` + target + `,` + more + `]}}`, 409, "not supported"},
		{"2023-07-01", `{"properties":{"distribute":[` + more + `]}}`, 400, "Validation failed: Distribute target with Runoutput name out not found in the update request. Deleting a distribution target is not allowed."},
		{"2023-07-01", `{"properties":{"distribute":[` + target + `,` + more + `]}}`, 202, ""},
		{"2023-07-01", `{"properties":{"vmProfile":{"vmSize":"Standard_D4s_v5"}}}`, 409, "not supported"},
		{"2024-02-01", `{"properties":{"vmProfile":{"vmSize":"Standard_D4s_v5"}},"tags":{"a":"b"}}`, 202, ""},
		{"2024-02-01", `{"properties":{"vmprofile":{}}}`, 400, "unknown field"},
		{"2024-02-01", `{"identity":{"userAssignedIdentities":{"` + groupRG + `/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder":null}}}`, 400, "identity"},
		{"2024-02-01", `{"identity":{"userAssignedIdentities":{"` + groupRG + `/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder":null,"` + groupRG + `/providers/Microsoft.ManagedIdentity/userAssignedIdentities/b2":{}}}}`, 202, ""},
	} {
		g := w.arm("PATCH", aib+"?api-version="+c.api, c.body)
		if g.status != c.status || !strings.Contains(g.message(), c.text) {
			t.Errorf("%s %s: %d %s", c.api, c.body, g.status, g.text)
		}
		w.pass(time.Second)
	}
	g := w.must("GET", aib, "")
	if len(items(g.json, "properties", "distribute")) != 2 || text(g.json, "properties", "vmProfile", "vmSize") != "Standard_D4s_v5" || text(g.json, "tags", "a") != "b" || !strings.Contains(g.text, "userAssignedIdentities/b2") {
		t.Errorf("afterwards: %s", g.text)
	}
	// The identity that it names now is not there.
	if state, message := w.result(); state != "Failed" || !strings.Contains(message, "The assigned managed identity cannot be used.") {
		t.Errorf("%s %s", state, message)
	}
}

// TestImageBuilderTriggers: a newer version of the source starts a run; several failures end that.
func TestImageBuilderTriggers(t *testing.T) {
	w, doc := foundry(t, &Scenario{Guest: []guest.Rule{{Match: "fail me", ExitCode: 1}}})
	w.must("PUT", "Microsoft.Compute/galleries/g/images/from", `{"location":"westeurope","properties":{"osType":"Windows","osState":"Generalized","hyperVGeneration":"V2","identifier":{"publisher":"p","offer":"o","sku":"s2"}}}`)
	p := mapping(doc, "properties")
	publish := func(version string) {
		t.Helper()
		w.mu.Lock()
		c := content{windows: true, generalized: true, disk: guest.NewDisk()}
		_, bad := w.publishVersion(w.find(groupRG), map[string]any{"galleryImageId": groupRG + "/providers/Microsoft.Compute/galleries/g/images/from/versions/" + version}, c)
		if bad != nil {
			t.Fatal(bad)
		}
		v := w.find(groupRG + "/providers/Microsoft.Compute/galleries/g/images/from/versions/" + version)
		w.beginVerb(v, "capsOperations", 0, "put")
		w.mu.Unlock()
		w.pass(time.Second)
		w.must("GET", v.id, "")
	}
	publish("1.0.0")
	trigger := aib + "/triggers/new"
	const body = `{"properties":{"kind":"SourceImage"}}`
	p["source"] = map[string]any{"type": "SharedImageVersion", "imageVersionId": groupRG + "/providers/Microsoft.Compute/galleries/g/images/from/versions/1.0.0"}
	w.submit(doc)
	if g := w.arm("PUT", trigger, body); g.status != 400 || !strings.Contains(g.message(), "'latest'") {
		t.Errorf("an exact source: %d %s", g.status, g.text)
	}
	w.must("DELETE", aib, "")
	w.pass(time.Minute)
	p["source"] = map[string]any{"type": "SharedImageVersion", "imageVersionId": groupRG + "/providers/Microsoft.Compute/galleries/g/images/from/versions/latest"}
	p["customize"] = steps(ps("fail me"))
	w.submit(doc)
	if g := w.arm("PUT", trigger, `{"properties":{"kind":"Daily"}}`); g.status != 400 {
		t.Errorf("another kind: %d %s", g.status, g.text)
	}
	if g := w.arm("PUT", trigger, body); g.status != 201 {
		t.Fatalf("PUT: %d %s", g.status, g.text)
	}
	w.pass(time.Second)
	if g := w.arm("PUT", aib+"/triggers/second", body); g.status != 400 {
		t.Errorf("a second one: %d %s", g.status, g.text)
	}
	for i, version := range []string{"1.0.1", "1.0.2", "1.0.3"} {
		publish(version)
		if state, message := w.ended(); state != "Failed" {
			t.Fatalf("run %d: %s %s", i, state, message)
		}
	}
	if g := w.must("GET", trigger, ""); text(g.json, "properties", "status", "code") != "Unhealthy" {
		t.Errorf("after three failures: %s", g.text)
	}
	before := text(w.must("GET", aib, "").json, "properties", "lastRunStatus", "startTime")
	publish("1.0.4")
	if g := w.must("GET", aib, ""); text(g.json, "properties", "lastRunStatus", "startTime") != before {
		t.Error("a deactivated trigger has begun a run")
	}
	w.mu.Lock()
	w.cfg.Scenario.Guest = nil
	w.mu.Unlock()
	if state, message := w.result(); state != "Succeeded" { // by hand, and with success: it is active again
		t.Fatal(message)
	}
	if g := w.must("GET", trigger, ""); text(g.json, "properties", "status", "code") != "Healthy" || text(g.json, "properties", "status", "message") != "Trigger is active" {
		t.Errorf("after a success: %s", g.text)
	}
	publish("1.0.5")
	if state, message := w.ended(); state != "Succeeded" {
		t.Errorf("%s %s", state, message)
	}
	if g := w.must("GET", "Microsoft.Compute/galleries/g/images/d/versions", ""); len(items(g.json, "value")) != 2 {
		t.Errorf("versions: %s", g.text)
	}
	w.must("DELETE", trigger, "")
}

// TestImageBuilderAutoRun runs a template once, when it is created.
func TestImageBuilderAutoRun(t *testing.T) {
	w, doc := foundry(t, nil)
	p := mapping(doc, "properties")
	p["autoRun"], p["optimize"] = map[string]any{"state": "Enabled"}, map[string]any{"vmBoot": map[string]any{"state": "Enabled"}}
	w.submit(doc)
	if state, message := w.ended(); state != "Succeeded" {
		t.Errorf("%s %s", state, message)
	}
	w.published()
}

// TestImageBuilderKept: a template, its staging group and its log are there again after a crash; a run in the midst of its work has failed.
func TestImageBuilderKept(t *testing.T) {
	dir := t.TempDir()
	clock := NewVirtualClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	scenario := &Scenario{Guest: []guest.Rule{{Match: "slowly", Duration: time.Hour}}}
	w, body := factoryWith(t, Config{Scenario: scenario, Latency: NoLatency, State: dir, Dir: dir + "/blobs"})
	w.allow()
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	w.submit(doc)
	if state, message := w.result(); state != "Succeeded" {
		t.Fatal(message)
	}
	log, before := w.logged("customization.log"), w.must("GET", aib, "").text
	again := func() {
		t.Helper()
		w.crash()
		a, err := New(Config{Clock: clock, Scenario: scenario, Latency: NoLatency, State: dir, Dir: dir + "/blobs"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		w.Azure = a
		w.pass(24 * time.Hour)
		w.mu.Lock()
		w.plane()
		w.mu.Unlock()
	}
	again()
	if after := w.must("GET", aib, "").text; after != before || w.logged("customization.log") != log || !strings.Contains(log, "Finalizing") {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	w.must("DELETE", aib, "")
	w.pass(time.Minute)
	w.must("DELETE", "Microsoft.Compute/galleries/g/images/d/versions/1.0.0", "")
	mapping(doc, "properties")["customize"] = steps(ps("slowly"))
	w.submit(doc)
	w.must("POST", aib+"/run", "")
	w.pass(5 * time.Minute)
	if _, sub, _ := w.runState(); sub != "Customizing" {
		t.Fatalf("in the midst: %s", sub)
	}
	w.must("GET", aib, "")
	again()
	state, sub, message := w.runState()
	if state != "Failed" || sub != "" || !strings.Contains(message, "was started again") {
		t.Errorf("%s %s %s", state, sub, message)
	}
	if left := w.left(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	w.mu.Lock()
	if kept := w.unkept(); slices.ContainsFunc(kept, func(k string) bool { return strings.HasPrefix(k, "resource/") }) {
		t.Errorf("not kept: %v", kept)
	}
	w.mu.Unlock()
	if state, message := w.result(); state != "Succeeded" {
		t.Errorf("again: %s %s", state, message)
	}
}
