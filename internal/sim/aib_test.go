package sim

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

const contributorRole = "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"

// factory is a world with a gallery, a definition and an identity; template is the body of an image template that uses them.
func factory(t *testing.T, s *Scenario) (w *world, template string) {
	t.Helper()
	return factoryWith(t, Config{Scenario: s})
}

func factoryWith(t *testing.T, c Config) (w *world, template string) {
	t.Helper()
	if c.Clock == nil {
		c.Clock = NewVirtualClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	}
	w = newWorld(t, c)
	w.group()
	w.must("PUT", "Microsoft.Compute/galleries/g", `{"location":"westeurope"}`)
	w.pass(time.Minute)
	w.must("PUT", "Microsoft.Compute/galleries/g/images/d", `{"location":"westeurope","properties":{"osType":"Windows","osState":"Generalized","hyperVGeneration":"V2","features":[{"name":"SecurityType","value":"TrustedLaunchSupported"}],"identifier":{"publisher":"p","offer":"o","sku":"s"}}}`)
	w.pass(time.Minute)
	w.must("PUT", "Microsoft.ManagedIdentity/userAssignedIdentities/builder", `{"location":"westeurope"}`)
	return w, `{"location":"westeurope","identity":{"type":"UserAssigned","userAssignedIdentities":{"` + groupRG + `/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder":{}}},
		"properties":{"source":{"type":"PlatformImage","publisher":"MicrosoftWindowsDesktop","offer":"windows-11","sku":"win11-24h2-avd","version":"latest"},
		"customize":[{"type":"PowerShell","name":"one","inline":["Write-Host hello"]}],
		"distribute":[{"type":"SharedImage","runOutputName":"out","galleryImageId":"` + groupRG + `/providers/Microsoft.Compute/galleries/g/images/d","targetRegions":[{"name":"westeurope"},{"name":"northeurope"}],"artifactTags":{"by":"aib"}}]}}`
}

const aib = "Microsoft.VirtualMachineImages/imageTemplates/t"

// pass lets simulated time pass, with everything that happens in it.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	if err := w.Azure.clock.Sleep(context.Background(), d); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) allow() {
	w.t.Helper()
	g := w.must("GET", "Microsoft.ManagedIdentity/userAssignedIdentities/builder", "")
	w.must("PUT", groupRG+"/providers/Microsoft.Authorization/roleAssignments/11111111-1111-4111-8111-111111111111", `{"properties":{"roleDefinitionId":"`+contributorRole+`","principalId":"`+text(g.json, "properties", "principalId")+`"}}`)
}

func (w *world) runState() (state, sub, message string) {
	g := w.must("GET", aib, "")
	s := mapping(g.json, "properties", "lastRunStatus")
	return text(s, "runState"), text(s, "runSubState"), text(s, "message")
}

// TestImageTemplate lives through a template: submission, a run with its states, its output, a machine made of it, deletion with the staging
// group.
func TestImageTemplate(t *testing.T) {
	w, body := factory(t, nil)
	w.allow()
	g := w.arm("PUT", aib, body)
	if g.status != 201 || text(g.json, "properties", "provisioningState") != "Creating" || !strings.HasPrefix(g.text, "{\n \"") {
		t.Fatalf("PUT: %d %s", g.status, g.text)
	}
	if g := w.arm("POST", aib+"/run", ""); g.status != 409 || g.code() != "OperationNotAllowed" {
		t.Errorf("run while it is created: %d %s", g.status, g.text)
	}
	w.pass(5 * time.Minute)
	g = w.must("GET", aib, "")
	staging := text(g.json, "properties", "exactStagingResourceGroup")
	if text(g.json, "properties", "provisioningState") != "Succeeded" || !strings.Contains(staging, "/IT_rg_t_") || text(g.json, "properties", "source", "exactVersion") == "latest" || !w.Has(staging) {
		t.Fatalf("created: %s", g.text)
	}
	if g := w.arm("PUT", aib, body); g.status != 409 || g.code() != "Conflict" {
		t.Errorf("PUT again: %d %s", g.status, g.text)
	}
	if g := w.arm("POST", aib+"/run", ""); g.status != 202 || g.header.Get("Location") == "" {
		t.Fatalf("run: %d %s", g.status, g.text)
	}
	var seen []string
	for range 200 {
		state, sub, message := w.runState()
		if s := state + " " + sub; len(seen) == 0 || seen[len(seen)-1] != s {
			seen = append(seen, s)
		}
		if state != "Running" {
			if message != "" {
				t.Errorf("message %q", message)
			}
			break
		}
		if g := w.arm("DELETE", aib, ""); g.status != 409 || !strings.Contains(g.message(), "run state: running") {
			t.Fatalf("DELETE during a run: %d %s", g.status, g.text)
		}
		w.pass(30 * time.Second)
	}
	if got := strings.Join(seen, ", "); got != "Running Queued, Running Building, Running Customizing, Running Distributing, Succeeded " {
		t.Errorf("states: %s", got)
	}
	g = w.must("GET", aib+"/runOutputs/out", "")
	version := text(g.json, "properties", "artifactId")
	v := w.must("GET", version+"?$expand=ReplicationStatus", "")
	if !strings.HasSuffix(version, "/versions/1.0.0") || text(v.json, "properties", "provisioningState") != "Succeeded" || text(v.json, "tags", "by") != "aib" || text(v.json, "properties", "replicationStatus", "aggregatedState") != "Completed" {
		t.Errorf("output %s: %s", version, v.text)
	}
	if g := w.must("GET", aib+"/runOutputs", ""); len(items(g.json, "value")) != 1 {
		t.Errorf("outputs: %s", g.text)
	}
	if g := w.arm("DELETE", aib, ""); g.status != 202 {
		t.Errorf("DELETE: %d %s", g.status, g.text)
	}
	w.pass(time.Hour)
	if g := w.arm("GET", aib, ""); g.status != 404 || w.Has(staging) || !w.Has(version) {
		t.Errorf("after DELETE: %d, staging group %v, version %v", g.status, w.Has(staging), w.Has(version))
	}
}

// TestImageTemplateRights: without the right on the gallery the submission fails in the service's own words.
func TestImageTemplateRights(t *testing.T) {
	w, body := factory(t, nil)
	w.must("PUT", aib, body)
	w.pass(5 * time.Minute)
	g := w.must("GET", aib, "")
	if text(g.json, "properties", "provisioningState") != "Failed" || text(g.json, "properties", "provisioningError", "provisioningErrorCode") != "Unauthorized" ||
		!strings.Contains(text(g.json, "properties", "provisioningError", "message"), "Not authorized to access the resource: "+groupRG+"/providers/Microsoft.Compute/galleries/g/images/d") {
		t.Errorf("%s", g.text)
	}
}

// TestImageTemplateCancel: 204 at once, Canceling, then Canceled, and nothing published.
func TestImageTemplateCancel(t *testing.T) {
	w, body := factory(t, nil)
	w.allow()
	w.must("PUT", aib, body)
	w.pass(5 * time.Minute)
	w.must("POST", aib+"/run", "")
	w.pass(time.Minute)
	if g := w.arm("POST", aib+"/cancel", ""); g.status != 204 {
		t.Fatalf("cancel: %d %s", g.status, g.text)
	}
	if s, _, _ := w.runState(); s != "Canceling" {
		t.Errorf("at once: %s", s)
	}
	if g := w.arm("POST", aib+"/cancel", ""); g.status != 409 || !strings.Contains(g.message(), "canceling") {
		t.Errorf("cancel again: %d %s", g.status, g.text)
	}
	w.pass(5 * time.Minute)
	if s, _, _ := w.runState(); s != "Canceled" {
		t.Errorf("later: %s", s)
	}
	if g := w.must("GET", "Microsoft.Compute/galleries/g/images/d/versions", ""); len(items(g.json, "value")) != 0 {
		t.Errorf("published: %s", g.text)
	}
	if g := w.arm("POST", aib+"/run", ""); g.status != 202 {
		t.Errorf("run again: %d %s", g.status, g.text)
	}
}

// TestImageTemplateTimeout: a run that is longer than its limit fails and says so.
func TestImageTemplateTimeout(t *testing.T) {
	w, body := factory(t, &Scenario{Latency: map[string]Duration{"aib-run": Duration(20 * time.Minute)}})
	w.allow()
	w.must("PUT", aib, strings.Replace(body, `"properties":{"source"`, `"properties":{"buildTimeoutInMinutes":10,"source"`, 1))
	w.pass(5 * time.Minute)
	w.must("POST", aib+"/run", "")
	w.pass(13 * time.Minute)
	if s, _, message := w.runState(); s != "Failed" || !strings.Contains(message, "Timeout waiting for microservice to complete: 'context deadline exceeded'") {
		t.Errorf("%s %s", s, message)
	}
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func hmacBase64(t *testing.T, key, text string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(sha256.New, raw)
	h.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
