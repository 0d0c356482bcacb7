package sim

import (
	"strings"
	"testing"
)

// TestRulesByTheirOwnIDs: a rule that is written by its own id is the group's, and one that is the group's is read by its own id.
func TestRulesByTheirOwnIDs(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.group()
	const nsg = "Microsoft.Network/networkSecurityGroups/g"
	rule := func(priority string) string {
		return `{"properties":{"access":"Allow","direction":"Inbound","protocol":"Tcp","priority":` + priority + `,"sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"22"}}`
	}
	if g := w.arm("PUT", nsg+"/securityRules/ssh", rule("100")); g.status != 404 {
		t.Errorf("a rule of no group: %d", g.status)
	}
	w.must("PUT", nsg, `{"location":"westeurope","properties":{"securityRules":[{"name":"first",`+strings.TrimPrefix(rule("100"), "{")+`]}}`)
	if g := w.must("GET", nsg+"/securityRules/first", ""); number(g.json, "properties", "priority") != 100 || text(g.json, "properties", "provisioningState") != "Succeeded" {
		t.Errorf("the first rule: %s", g.text)
	}
	if g := w.arm("PUT", nsg+"/securityRules/ssh", rule("100")); g.status != 400 || g.code() != "SecurityRuleConflict" {
		t.Errorf("two of one priority: %d %s", g.status, g.text)
	}
	if g := w.arm("PUT", nsg+"/securityRules/ssh", rule("101")); g.status != 201 || text(g.json, "name") != "ssh" {
		t.Errorf("a second rule: %d %s", g.status, g.text)
	}
	if g := w.must("GET", nsg, ""); len(items(g.json, "properties", "securityRules")) != 2 {
		t.Errorf("the group: %s", g.text)
	}
	if g := w.arm("DELETE", nsg+"/securityRules/first", ""); g.status != 202 {
		t.Errorf("a deletion: %d", g.status)
	}
	if g := w.must("GET", nsg+"/securityRules", ""); len(items(g.json, "value")) != 1 {
		t.Errorf("the rules: %s", g.text)
	}
	if g := w.must("GET", nsg+"/defaultSecurityRules", ""); len(items(g.json, "value")) != 6 {
		t.Errorf("the default rules: %s", g.text)
	}
}

// TestGalleryIsShared: with subscriptions and tenants, with the community, and with nobody again; and it holds applications.
func TestGalleryIsShared(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.group()
	const gallery = "Microsoft.Compute/galleries/g"
	const locations = "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.Compute/locations/westeurope/"
	w.must("PUT", gallery, `{"location":"westeurope","properties":{"sharingProfile":{"permissions":"Groups"}}}`)
	if g := w.arm("POST", gallery+"/share", `{"operationType":"EnableCommunity"}`); g.status != 400 {
		t.Errorf("with the community: %d", g.status)
	}
	listed := func() int { return len(items(w.must("GET", locations+"sharedGalleries", "").json, "value")) }
	w.must("POST", gallery+"/share", `{"operationType":"Add","groups":[{"type":"Subscriptions","ids":["x","`+DefaultSubscription+`"]},{"type":"AADTenants","ids":["y"]}]}`)
	if g := w.must("GET", gallery, ""); len(items(g.json, "properties", "sharingProfile", "groups")) != 2 || listed() != 1 {
		t.Errorf("shared: %s", g.text)
	}
	w.must("POST", gallery+"/share", `{"operationType":"Remove","groups":[{"type":"Subscriptions","ids":["`+DefaultSubscription+`"]}]}`)
	if g := w.must("GET", gallery, ""); strings.Contains(g.text, `"`+DefaultSubscription+`"`) || listed() != 0 {
		t.Errorf("taken back: %s", g.text)
	}
	w.must("POST", gallery+"/share", `{"operationType":"Reset"}`)
	if g := w.must("GET", gallery, ""); text(g.json, "properties", "sharingProfile", "permissions") != "Private" {
		t.Errorf("with nobody: %s", g.text)
	}

	w.must("PUT", "Microsoft.Compute/galleries/open", `{"location":"westeurope","properties":{"sharingProfile":{"permissions":"Community","communityGalleryInfo":{"publicNamePrefix":"contoso","publisherUri":"https://example.invalid","publisherContact":"a@example.invalid","eula":"e"}}}}`)
	public := texts(w.must("GET", "Microsoft.Compute/galleries/open", "").json, "properties", "sharingProfile", "communityGalleryInfo", "publicNames")[0]
	if g := w.arm("GET", locations+"communityGalleries/"+public, ""); g.status != 404 {
		t.Errorf("before it is opened: %d", g.status)
	}
	w.must("POST", "Microsoft.Compute/galleries/open/share", `{"operationType":"EnableCommunity"}`)
	if g := w.must("GET", locations+"communityGalleries/"+public, ""); text(g.json, "communityMetadata", "eula") != "e" {
		t.Errorf("opened: %s", g.text)
	}

	if g := w.arm("PUT", gallery+"/applications/a", `{"location":"westeurope","properties":{"supportedOSType":"Windows"}}`); g.status != 201 {
		t.Errorf("an application: %d %s", g.status, g.text)
	}
	if g := w.arm("PUT", gallery+"/applications/a/versions/1.0.0", `{"location":"westeurope","properties":{"publishingProfile":{}}}`); g.status != 400 {
		t.Errorf("a version of nothing: %d", g.status)
	}
	w.must("PUT", gallery+"/applications/a/versions/1.0.0", `{"location":"westeurope","properties":{"publishingProfile":{"source":{"mediaLink":"https://example.invalid/a"},"manageActions":{"install":"i","remove":"r"},"targetRegions":[{"name":"westeurope"}]}}}`)
	if g := w.must("GET", gallery+"/applications/a/versions/1.0.0", ""); text(items(g.json, "properties", "publishingProfile", "targetRegions")[0], "name") != "West Europe" {
		t.Errorf("the version: %s", g.text)
	}
	if g := w.arm("DELETE", gallery+"/applications/a", ""); g.status != 409 {
		t.Errorf("an application with versions is deleted: %d", g.status)
	}
	if g := w.arm("PUT", "Microsoft.Compute/sshPublicKeys/k", `{"location":"westeurope"}`); g.status != 201 {
		t.Fatal(g.text)
	}
	pair := w.must("POST", "Microsoft.Compute/sshPublicKeys/k/generateKeyPair", "")
	if key := text(w.must("GET", "Microsoft.Compute/sshPublicKeys/k", "").json, "properties", "publicKey"); key == "" || key != text(pair.json, "publicKey") || strings.Contains(key, "PRIVATE") {
		t.Errorf("the key that is kept: %q", key)
	}
}
