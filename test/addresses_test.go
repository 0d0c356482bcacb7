package test

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestImageBuilderAddresses builds an Image Builder template whose scripts and file lie at addresses, of which one carries a SAS: all
// are fetched, checked and used, and the SAS is seen nowhere. A checksum that does not fit ends the build before anything runs in the machine.
func TestImageBuilderAddresses(t *testing.T) {
	const script, sas = "Write-Host \"fetched and run\"\r\n", "sig=test-secret-not-real"
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/private/tool.bin" && r.URL.RawQuery != "sv=2024-11-04&"+sas {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprint(w, script)
	}))
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(sum, image string) string {
		dir := t.TempDir()
		text := fmt.Sprintf(`{
  "type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "location": "westeurope", "name": "avd",
  "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id": {}}},
  "properties": {
    "source": {"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-24h2-avd", "version": "latest"},
    "customize": [
      {"type": "PowerShell", "name": "script", "scriptUri": "%[1]s/public/setup.ps1", "sha256Checksum": "%[2]s", "runElevated": true, "runAsSystem": true},
      {"type": "File", "name": "file", "sourceUri": "%[1]s/private/tool.bin?sv=2024-11-04&%[3]s", "destination": "C:\\tools\\tool.ps1"},
      {"type": "PowerShell", "name": "use", "inline": ["& 'C:\\tools\\tool.ps1'"]}
    ],
    "distribute": [{"type": "ManagedImage", "runOutputName": "image", "location": "westeurope", "imageId": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/Microsoft.Compute/images/%[4]s"}]
  }
}`, s.URL, sum, sas, image)
		if err := os.WriteFile(filepath.Join(dir, "avd.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "avd.json")
	}
	a := serveScenario(t, `{"resources": [{"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images", "body": {"location": "westeurope"}}]}`)
	env := []string{"SSL_CERT_FILE=" + ca}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(script)))
	good := write(sum, "good")
	if r := a.ingot(t, t.TempDir(), env, "validate", good); r.code != 0 || !strings.Contains(r.out, "tool.bin has no checksum") || strings.Contains(r.out, "test-secret-not-real") {
		t.Errorf("validate ends with %d:\n%s", r.code, r.out)
	}
	if r := a.ingot(t, t.TempDir(), env, "plan", good); r.code != 0 || !strings.Contains(r.out, "Fetch 2 scripts and files") || strings.Contains(r.out, "test-secret-not-real") {
		t.Errorf("plan ends with %d:\n%s", r.code, r.out)
	}
	state := t.TempDir()
	r := a.ingot(t, state, env, "build", good)
	if r.code != 0 || strings.Count(r.out, "fetched and run") != 2 || !strings.Contains(r.out, "tool.bin: 30 bytes, SHA-256 ") {
		t.Errorf("build ends with %d:\n%s\n%s", r.code, r.out, a.log)
	}
	_, _, raw := journal(t, state)
	if strings.Contains(r.out, "test-secret-not-real") || strings.Contains(string(raw), "test-secret-not-real") {
		t.Error("the SAS is in the output or the journal")
	}
	const begun = `"step":"provision-1"`
	if !strings.Contains(string(raw), begun) {
		t.Errorf("the journal does not say %s", begun)
	}
	state = t.TempDir()
	r = a.ingot(t, state, env, "build", write(strings.Repeat("0", 64), "bad"))
	_, _, raw = journal(t, state)
	if r.code != 1 || !strings.Contains(r.out, "sha256Checksum says 0000") || strings.Contains(string(raw), begun) {
		t.Errorf("a checksum that does not fit ends with %d:\n%s", r.code, r.out)
	}
	// A server that nobody vouches for.
	if r := a.ingot(t, t.TempDir(), nil, "build", write(sum, "unknown")); r.code != 1 || !strings.Contains(r.out, "cannot fetch "+s.URL+"/p") || !strings.Contains(r.out, "certificate") || strings.Contains(r.out, "test-secret-not-real") {
		t.Errorf("a server without a known certificate ends with %d:\n%s", r.code, r.out)
	}
}

// TestAddressesOfARehearsal: of what is outside, a rehearsal knows what the scenario says, in a process of its own too; of the rest it uses
// a stand-in and says so. Nothing is sent out: neither name exists.
func TestAddressesOfARehearsal(t *testing.T) {
	const script = "Write-Host 'what the scenario says'\r\n"
	dir := t.TempDir()
	text := fmt.Sprintf(`{
  "type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "location": "westeurope", "name": "avd",
  "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id": {}}},
  "properties": {
    "source": {"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-24h2-avd", "version": "latest"},
    "customize": [
      {"type": "PowerShell", "name": "known", "scriptUri": "https://known.invalid/setup.ps1?sv=1&sig=test-secret-not-real", "sha256Checksum": "%x"},
      {"type": "File", "name": "unknown", "sourceUri": "https://unknown.invalid/tool.bin?sv=1&sig=test-secret-not-real", "destination": "C:\\tools\\tool.bin", "sha256Checksum": "%064d"}
    ],
    "distribute": [{"type": "ManagedImage", "runOutputName": "image", "location": "westeurope", "imageId": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/Microsoft.Compute/images/rehearsed"}]
  }
}`, sha256.Sum256([]byte(script)), 0)
	if err := os.WriteFile(filepath.Join(dir, "avd.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := serveScenario(t, fmt.Sprintf(`{"resources": [{"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images", "body": {"location": "westeurope"}}],
  "addresses": {"https://known.invalid/setup.ps1": {"content": %q}}}`, script))
	state := t.TempDir()
	r := a.ingot(t, state, nil, "build", filepath.Join(dir, "avd.json"))
	_, _, raw := journal(t, state)
	if r.code != 0 || !strings.Contains(r.out, "what the scenario says") || !strings.Contains(r.out, "https://unknown.invalid/tool.bin is not fetched and its SHA-256 not checked: a rehearsal") || strings.Contains(r.out, "setup.ps1 is not fetched") {
		t.Errorf("the build ends with %d:\n%s", r.code, r.out)
	}
	if strings.Contains(r.out, "test-secret-not-real") || strings.Contains(string(raw), "test-secret-not-real") {
		t.Error("the SAS is in the output or the journal")
	}
}
