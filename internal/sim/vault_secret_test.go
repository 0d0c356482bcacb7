package sim

import (
	"strings"
	"testing"
)

// TestSecretsThroughResourceManager: a deployment's way to set a secret. No answer has its value, the vault's own interface has it, and
// it goes with the vault, whichever way that goes.
func TestSecretsThroughResourceManager(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.group()
	const vault = "Microsoft.KeyVault/vaults/secretive"
	if g := w.arm("PUT", vault+"/secrets/one", `{"properties":{"value":"test-secret-not-real"}}`); g.status != 404 || g.code() != "ParentResourceNotFound" {
		t.Errorf("without a vault: %d %s", g.status, g.text)
	}
	w.must("PUT", vault, `{"location":"westeurope","properties":{"tenantId":"`+DefaultTenant+`","sku":{"family":"A","name":"standard"},"accessPolicies":[]}}`)
	if g := w.arm("PUT", vault+"/secrets/one", `{"properties":{}}`); g.status != 400 {
		t.Errorf("without a value: %d %s", g.status, g.text)
	}
	g := w.must("PUT", vault+"/secrets/one", `{"properties":{"value":"test-secret-not-real"}}`)
	if strings.Contains(g.text, "test-secret-not-real") || !strings.Contains(text(g.json, "properties", "secretUriWithVersion"), "/secrets/one/") {
		t.Errorf("the answer is %s", g.text)
	}
	if g := w.arm("DELETE", vault+"/secrets/one", ""); g.status != 405 {
		t.Errorf("DELETE: %d %s", g.status, g.text)
	}
	w.must("DELETE", groupRG, "")
	for _, i := range w.Inventory() {
		if strings.Contains(i.ID, "/secrets/") {
			t.Errorf("%s is still there", i.ID)
		}
	}
}
