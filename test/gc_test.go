package test

import (
	"net/http"
	"strings"
	"testing"

	"ingot/internal/sim"
)

// TestGCLeaked finds what builds left in a subscription without any journal: by tags and age, on request by Packer's names; it looks
// first, respects locks and what is not expired, and purges key vaults.
func TestGCLeaked(t *testing.T) {
	t.Parallel()
	const old, young = `"ingot-run": "oldrun22", "ingot-expires": "2026-01-02T03:04:05Z"`, `"ingot-run": "newrun33", "ingot-expires": "2126-01-02T03:04:05Z"`
	group := func(name, tags string) string {
		return `{"id": "` + subscription + `/resourceGroups/` + name + `", "body": {"location": "westeurope", "tags": {` + tags + `}}}`
	}
	in := func(group, kind, name, tags, more string) string {
		return `{"id": "` + subscription + `/resourceGroups/` + group + `/providers/` + kind + `/` + name + `", "body": {"location": "westeurope", "tags": {` + tags + `}, ` + more + `}}`
	}
	vault := `"properties": {"tenantId": "` + sim.DefaultTenant + `", "sku": {"family": "A", "name": "standard"}, "accessPolicies": [], "enableSoftDelete": true}`
	ip := `"sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}`
	nsg := `"properties": {}`
	a := serveScenario(t, `{"resources": [`+strings.Join([]string{
		group("ingot-old", old), in("ingot-old", "Microsoft.KeyVault/vaults", "ingotoldvault", old, vault), in("ingot-old", "Microsoft.Network/publicIPAddresses", "ip", old, ip),
		group("ingot-young", young), group("ingot-locked", old), group("rg-prod", `"owner": "us"`),
		in("rg-prod", "Microsoft.Network/networkSecurityGroups", "ingot-nsg", old, nsg), in("rg-prod", "Microsoft.Network/networkSecurityGroups", "theirs", `"owner": "us"`, nsg),
		in("rg-prod", "Microsoft.KeyVault/vaults", "ingotleft", old, vault), in("rg-prod", "Microsoft.Network/publicIPAddresses", "product", `"ingot-run": "oldrun22"`, ip),
		group("pkr-Resource-Group-abcdefghij", ""), in("pkr-Resource-Group-abcdefghij", "Microsoft.Network/publicIPAddresses", "pkripabcdefghij", "", ip),
		group("pkr-Resource-Group-0123456789", ""), in("pkr-Resource-Group-0123456789", "Microsoft.Network/publicIPAddresses", "database", "", ip),
	}, ",")+`]}`)
	a.arm(t, http.MethodPut, subscription+"/resourceGroups/ingot-locked/providers/Microsoft.Authorization/locks/keep", map[string]any{"properties": map[string]any{"level": "CanNotDelete"}})
	state := t.TempDir()
	standing := func() string {
		var all []item
		a.call(t, http.MethodGet, "/sim/inventory", nil, &all)
		var out []string
		for _, i := range all {
			out = append(out, i.ID)
		}
		return strings.ToLower(strings.Join(out, "\n"))
	}
	before := standing()
	r := a.ingot(t, state, nil, "gc", "--leaked")
	for _, want := range []string{"ingot-old", "oldrun22", "2026-01-02 03:04", "not expired yet", "locked (CanNotDelete on ", "ingot-nsg", "nothing has been deleted; give --yes to delete the 3"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	for _, not := range []string{"pkr-", "theirs", "product"} {
		if strings.Contains(r.out, not) {
			t.Errorf("%q in\n%s", not, r.out)
		}
	}
	if r.code != 0 || standing() != before {
		t.Errorf("looking deleted something, or failed: %d", r.code)
	}
	if r = a.ingot(t, state, nil, "gc", "--leaked", "--yes", "--dry-run"); r.code != 0 || standing() != before {
		t.Errorf("--dry-run deleted something, or failed: %d\n%s", r.code, r.out)
	}
	if r = a.ingot(t, state, nil, "gc", "--leaked", "--yes"); r.code != 0 || strings.Count(r.out, "deleted: ") != 3 {
		t.Errorf("%d\n%s", r.code, r.out)
	}
	after := standing()
	for _, gone := range []string{"/resourcegroups/ingot-old", "/ingot-nsg", "/ingotleft"} {
		if strings.Contains(after, gone) {
			t.Errorf("%s is still there", gone)
		}
	}
	for _, stays := range []string{"/resourcegroups/ingot-young", "/resourcegroups/ingot-locked", "/theirs", "/product", "/pkr-resource-group-abcdefghij", "/pkr-resource-group-0123456789"} {
		if !strings.Contains(after, stays) {
			t.Errorf("%s is gone", stays)
		}
	}
	deleted := a.arm(t, http.MethodGet, subscription+"/providers/Microsoft.KeyVault/deletedVaults", nil)
	if list, _ := deleted["value"].([]any); len(list) != 0 {
		t.Errorf("not purged: %v", list)
	}
	// Packer's: too young at first; what holds something else never.
	if r = a.ingot(t, state, nil, "gc", "--packer", "--yes"); r.code != 0 || !strings.Contains(r.out, "younger than 24h00m") || !strings.Contains(r.out, "it holds database") {
		t.Errorf("%d\n%s", r.code, r.out)
	}
	if r = a.ingot(t, state, nil, "gc", "--packer", "--yes", "--older-than", "1ns"); r.code != 0 || !strings.Contains(r.out, "deleted: group pkr-Resource-Group-abcdefghij") {
		t.Errorf("%d\n%s", r.code, r.out)
	}
	if after = standing(); strings.Contains(after, "abcdefghij") || !strings.Contains(after, "/database") {
		t.Errorf("%s", after)
	}
}

// TestGCFindsDeletedVault: a build that was killed between deleting its vault and purging it leaves a name that nobody can use.
func TestGCFindsDeletedVault(t *testing.T) {
	t.Parallel()
	a := serveScenario(t, `{"resources": [{"id": "`+subscription+`/resourceGroups/rg", "body": {"location": "westeurope"}}]}`)
	const id = subscription + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/ingotleft"
	a.arm(t, http.MethodPut, id, map[string]any{"location": "westeurope", "tags": map[string]any{"ingot-run": "oldrun22", "ingot-expires": "2026-01-02T03:04:05Z"},
		"properties": map[string]any{"tenantId": sim.DefaultTenant, "sku": map[string]any{"family": "A", "name": "standard"}, "accessPolicies": []any{}}})
	req, err := http.NewRequest(http.MethodDelete, a.url+id+"?api-version=2023-07-01", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() //nolint:errcheck // a status
	r := a.ingot(t, t.TempDir(), nil, "gc", "--leaked", "--yes", "oldrun")
	if resp.StatusCode != 200 || r.code != 0 || !strings.Contains(r.out, "deleted: vault ingotleft") {
		t.Errorf("%s; %d\n%s", resp.Status, r.code, r.out)
	}
	if r = a.ingot(t, t.TempDir(), nil, "gc", "--leaked"); !strings.Contains(r.out, "nothing has leaked") {
		t.Errorf("%s", r.out)
	}
}
