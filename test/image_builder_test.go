package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim"
)

const imageBuilder = "/providers/Microsoft.VirtualMachineImages/imageTemplates/avd"

// TestTheSameImageFromTheService builds one Image Builder template twice: with Ingot's own VM, and by the simulated service, which
// runs the same customizers. Both images hold the same.
func TestTheSameImageFromTheService(t *testing.T) {
	t.Parallel() // most of it is waiting
	const script = "Set-Content C:\\fetched.txt 'fetched'\r\n"
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, script) }))
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	const group = "/subscriptions/" + sim.DefaultSubscription + "/resourceGroups/rg-images"
	const identity = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id"
	addresses, err := json.Marshal(map[string]any{s.URL + "/setup.ps1": map[string]any{"content": script}, s.URL + "/tool.ps1": map[string]any{"content": script}})
	if err != nil {
		t.Fatal(err)
	}
	a := serveScenario(t, `{"resources": [{"id": "`+group+`", "body": {"location": "westeurope"}}, {"id": "`+identity+`", "body": {"location": "westeurope"}}], "addresses": `+string(addresses)+`}`)
	who := a.arm(t, "GET", identity, nil)["properties"].(map[string]any)["principalId"]
	a.arm(t, "PUT", group+"/providers/Microsoft.Authorization/roleAssignments/11111111-1111-4111-8111-111111111111?api-version=2022-04-01",
		map[string]any{"properties": map[string]any{"roleDefinitionId": "/subscriptions/" + sim.DefaultSubscription + "/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c", "principalId": who}})
	write := func(image string) map[string]any {
		return map[string]any{
			"type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "location": "westeurope", "name": "avd",
			"identity": map[string]any{"type": "UserAssigned", "userAssignedIdentities": map[string]any{identity: map[string]any{}}},
			"properties": map[string]any{
				"source": map[string]any{"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-24h2-avd", "version": "latest"},
				"customize": []any{
					map[string]any{"type": "PowerShell", "name": "inline", "inline": []string{"Set-Content C:\\inline.txt 'inline'", "New-Item -Path C:\\new.txt -ItemType File -Value 'new'"}},
					map[string]any{"type": "PowerShell", "name": "script", "scriptUri": s.URL + "/setup.ps1", "sha256Checksum": fmt.Sprintf("%x", sha256.Sum256([]byte(script))), "runElevated": true, "runAsSystem": true},
					map[string]any{"type": "File", "name": "file", "sourceUri": s.URL + "/tool.ps1", "destination": "C:\\tools\\tool.ps1"},
					map[string]any{"type": "WindowsUpdate", "name": "updates", "searchCriteria": "IsInstalled=0", "filters": []string{"exclude:$_.Title -like '*Preview*'", "include:$true"}},
					map[string]any{"type": "WindowsRestart", "name": "restart", "restartTimeout": "10m"},
					map[string]any{"type": "PowerShell", "name": "codes", "inline": []string{"'codes' | Out-File C:\\codes.txt", "exit 7"}, "validExitCodes": []int{0, 7}},
				},
				"distribute": []any{map[string]any{"type": "ManagedImage", "runOutputName": "image", "location": "westeurope", "imageId": group + "/providers/Microsoft.Compute/images/" + image}},
			},
		}
	}
	own := write("own")
	raw, err := json.Marshal(own)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "avd.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := a.ingot(t, t.TempDir(), []string{"SSL_CERT_FILE=" + ca}, "build", file); r.code != 0 {
		t.Fatalf("build ends with %d:\n%s", r.code, r.out)
	}
	service := write("service")
	delete(service, "type")
	delete(service, "apiVersion")
	delete(service, "name")
	a.arm(t, "PUT", group+imageBuilder+"?api-version=2024-02-01", service)
	waitUntil(t, func() bool {
		p := a.arm(t, "GET", group+imageBuilder+"?api-version=2024-02-01", nil)["properties"].(map[string]any)
		if p["provisioningState"] == "Failed" {
			t.Fatal(p["provisioningError"])
		}
		return p["provisioningState"] == "Succeeded"
	})
	a.post(t, group+imageBuilder+"/run?api-version=2024-02-01")
	waitUntil(t, func() bool {
		p := a.arm(t, "GET", group+imageBuilder+"?api-version=2024-02-01", nil)["properties"].(map[string]any)
		last := p["lastRunStatus"].(map[string]any)
		if last["runState"] == "Failed" {
			t.Fatal(last["message"])
		}
		return last["runState"] == "Succeeded"
	})
	ownState, ownFiles := a.holds(t, group, "own")
	state, files := a.holds(t, group, "service")
	// The service's own means to generalise stay behind; sysprep's logs tell when it ran.
	delete(files, `C:\DeprovisioningScript.ps1`)
	for _, m := range []map[string][]byte{ownFiles, files} {
		maps.DeleteFunc(m, func(name string, _ []byte) bool { return strings.Contains(name, `\Sysprep\Panther\`) })
	}
	if state != ownState || state != "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE" {
		t.Errorf("image states %s and %s", ownState, state)
	}
	if !maps.EqualFunc(ownFiles, files, bytes.Equal) || len(files) < 6 {
		t.Errorf("Ingot's image holds %v\nthe service's %v", slices.Sorted(maps.Keys(ownFiles)), slices.Sorted(maps.Keys(files)))
		for name := range files {
			if !bytes.Equal(files[name], ownFiles[name]) {
				t.Errorf("%s: %q and %q", name, ownFiles[name], files[name])
			}
		}
	}
}

// waitUntil waits for another process.
func waitUntil(t *testing.T, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); {
		if time.Now().After(deadline) {
			t.Fatal("not within a minute")
		}
		<-time.After(50 * time.Millisecond)
	}
}

// post is a call that answers without a body.
func (a *azure) post(t *testing.T, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, a.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	if raw, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode >= 300 {
		t.Fatalf("POST %s: %s %s", path, resp.Status, raw)
	}
	return resp
}

// holds is what is on the disk of a managed image: the model that stands at the beginning of the disk made of it.
func (a *azure) holds(t *testing.T, group, image string) (state string, files map[string][]byte) {
	t.Helper()
	disk := group + "/providers/Microsoft.Compute/disks/of-" + image
	a.arm(t, "PUT", disk, map[string]any{"location": "westeurope", "properties": map[string]any{"osType": "Windows", "creationData": map[string]any{"createOption": "FromImage", "imageReference": map[string]any{"id": group + "/providers/Microsoft.Compute/images/" + image}}}})
	waitUntil(t, func() bool {
		return a.arm(t, "GET", disk, nil)["properties"].(map[string]any)["provisioningState"] == "Succeeded"
	})
	req, err := http.NewRequest(http.MethodPost, a.url+disk+"/beginGetAccess?api-version=2024-03-02", strings.NewReader(`{"access":"Read","durationInSeconds":600}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	at := resp.Header.Get("Location")
	resp.Body.Close() //nolint:errcheck,gosec // its header is all we want
	var sas string
	waitUntil(t, func() bool {
		var out struct{ AccessSAS string }
		req, err := http.NewRequest(http.MethodGet, at, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+a.token)
		resp, err := a.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // read to its end
		if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&out) != nil {
			return false
		}
		sas = out.AccessSAS
		return sas != ""
	})
	req, err = http.NewRequest(http.MethodGet, sas, nil)
	if err != nil {
		t.Fatal(err)
	}
	host := req.URL.Host
	if i := strings.Index(a.url, "://"); i >= 0 { // the name need not be one that this computer knows
		req.URL.Host, req.Host = a.url[i+3:], host
	}
	req.Header.Set("Range", "bytes=0-1048575")
	resp, err = a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	raw, err := io.ReadAll(resp.Body)
	i := bytes.IndexByte(raw, '\n') + 1
	if err != nil || resp.StatusCode != http.StatusPartialContent || i == 0 {
		t.Fatalf("the disk of %s: %s %q", image, resp.Status, raw[:min(len(raw), 200)])
	}
	var model struct {
		Disk struct {
			ImageState string
			Files      map[string][]byte
		}
	}
	n := binary.BigEndian.Uint64(raw[i:])
	if err := json.Unmarshal(raw[i+8:i+8+int(n)], &model); err != nil { //nolint:gosec // a few kilobytes
		t.Fatal(err)
	}
	return model.Disk.ImageState, model.Disk.Files
}
