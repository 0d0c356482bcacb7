package test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ingot/internal/plan"
)

// TestTwoBuildsWithOneSecretName: a build is stopped between its certificate and its machine; another one with the same vault and
// the same build_key_vault_secret_name runs from end to end meanwhile. The first still finds its certificate when it goes on, and
// after both of them the secret is gone.
func TestTwoBuildsWithOneSecretName(t *testing.T) {
	t.Parallel()
	const vault = "/subscriptions/" + tested + "/resourceGroups/rg-build/providers/Microsoft.KeyVault/vaults/kvbuild"
	object := owner(t)
	a := serveScenario(t, strings.Replace(seeds, "\n]}", `, {"id": "/subscriptions/`+tested+`/resourceGroups/rg-build", "body": {"location": "westeurope"}},
  {"id": "`+vault+`", "body": {"location": "westeurope", "properties": {"tenantId": "00000000-0000-4000-8000-00000000b001", "sku": {"family": "A", "name": "standard"},
   "enabledForDeployment": true, "accessPolicies": [{"tenantId": "00000000-0000-4000-8000-00000000b001", "objectId": "`+object+`", "permissions": {"secrets": ["Get", "Set", "Delete", "List", "Purge"]}}]}}}
]}`, 1))
	text := strings.Replace(source, `os_type         = "Windows"`, `os_type         = "Windows"
  build_resource_group_name   = "rg-build"
  build_key_vault_name        = "kvbuild"
  build_key_vault_secret_name = "listener"`, 1)
	text = strings.Replace(text, "location        =", "# location =", 1)
	text = "variable \"n\" { default = \"0\" }\n" + strings.Replace(text, `"auto"`, `"1.0.${var.n}"`, 1)
	dir := t.TempDir()
	for file, body := range map[string]string{"build.pkr.hcl": text, "script.ps1": "exit 0", "payload.txt": "x"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret := []string{"PKR_VAR_token=x"}
	// how far a run is: whether its certificate is made, and its machine begun.
	at := func(state string) (certificate, machine int) {
		_, _, raw := journal(t, state)
		for i, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
			var e plan.Entry
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			switch {
			case e.Step == "certificate" && e.Kind == plan.EntryDone:
				certificate = i + 1
			case e.Step == "vm" && e.Kind == plan.EntryStart:
				machine = i + 1
			}
		}
		return certificate, machine
	}
	whole := t.TempDir()
	if r := a.ingot(t, whole, secret, "build", dir); r.code != 0 {
		t.Fatalf("one build alone: exit code %d\n%s", r.code, r.out)
	}
	_, machine := at(whole)
	var first string
	for n, tries := machine-1, 0; ; tries++ { // steps run side by side: the moment is not always at the same entry
		first = t.TempDir()
		r := a.ingot(t, first, append(secret, "PKR_VAR_n=1", "INGOT_TEST_KILL_AFTER="+strconv.Itoa(n)), "build", dir)
		c, m := at(first)
		if r.killed && c != 0 && m == 0 {
			break
		}
		if tries == 8 {
			t.Fatalf("never stopped at the right moment: killed %v, certificate at %d, machine at %d", r.killed, c, m)
		}
		if n++; m != 0 {
			n -= 2
		}
		run, _, _ := journal(t, first)
		if r := a.ingot(t, first, append(secret, "PKR_VAR_n=1"), "cancel", run); r.code != 0 {
			t.Fatalf("cancel: exit code %d\n%s", r.code, r.out)
		}
	}
	if r := a.ingot(t, t.TempDir(), append(secret, "PKR_VAR_n=2"), "build", dir); r.code != 0 || !strings.Contains(r.out, "secret listener stays: another build uses it") {
		t.Fatalf("the second: exit code %d\n%s", r.code, r.out)
	}
	run, _, _ := journal(t, first)
	if r := a.ingot(t, first, append(secret, "PKR_VAR_n=1"), "resume", run); r.code != 0 || strings.Contains(r.out, "secret listener stays") {
		t.Fatalf("the first, resumed: exit code %d\n%s", r.code, r.out)
	}
	if versions, left := a.made(t); len(versions) != 3 || len(left) != 0 {
		t.Errorf("%d versions, left %v", len(versions), left)
	}
	if got := a.secrets(t, "kvbuild"); got != 404 {
		t.Errorf("the secret is still there: %d", got)
	}
}

// secrets is how the vault answers to who reads the shared secret.
func (a *azure) secrets(t *testing.T, vault string) int {
	t.Helper()
	a.arm(t, http.MethodGet, "/subscriptions/"+tested, nil) // for the token
	req, err := http.NewRequest(http.MethodGet, a.url+"/secrets/listener?api-version=7.4", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = vault + ".vault.localhost:" + req.URL.Port()
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // a status
	return resp.StatusCode
}
