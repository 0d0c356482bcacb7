// Package test tells the stories that a user could have lived: whole runs of the program, some of them killed.
package test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ingot/internal/cli"
	"ingot/internal/sim"
)

// TestMain lets the test binary be the program itself when a test runs it as a process of its own, so that it can be killed
// for real.
func TestMain(m *testing.M) {
	if os.Getenv("INGOT_TEST_MAIN") == "1" {
		os.Exit(cli.Main(os.Args[1:], cli.OS()))
	}
	// Most of a story is waiting: more of them at once than there are processors, unless -parallel says otherwise.
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	testscript.Main(judged{m}, map[string]func(){"ingot": func() { os.Exit(cli.Main(os.Args[1:], cli.OS())) }})
}

// azure is a simulated Azure in a process of its own.
type azure struct {
	url, ca string
	client  *http.Client
	process *exec.Cmd
	token   string
	log     *watcher // what it prints
}

const seeds = `{"resources": [
  {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images", "body": {"location": "westeurope"}},
  {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/Microsoft.Compute/galleries/galAvd", "body": {"location": "westeurope", "properties": {}}},
  {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/Microsoft.Compute/galleries/galAvd/images/windows-11-avd",
   "body": {"location": "westeurope", "properties": {"osType": "Windows", "osState": "Generalized", "hyperVGeneration": "V2", "identifier": {"publisher": "test", "offer": "avd", "sku": "windows-11-avd"}, "features": [{"name": "SecurityType", "value": "TrustedLaunchSupported"}]}}}
]}`

// serve starts one; it ends with the test.
func serve(t *testing.T) *azure { return serveWith(t, "") }

// serveWith starts one whose scenario has more members.
func serveWith(t *testing.T, more string) *azure {
	t.Helper()
	return serveScenario(t, strings.TrimSuffix(seeds, "}")+more+"}")
}

// serveScenario starts one with a scenario and further flags.
func serveScenario(t *testing.T, text string, args ...string) *azure {
	t.Helper()
	if os.Getenv("INGOT_SPECS") != "" && len(args) == 0 {
		return serveJudged(t, text)
	}
	dir := t.TempDir()
	scenario, ready := filepath.Join(dir, "scenario.json"), filepath.Join(dir, "ready")
	log := watcher{found: make(chan struct{})}
	a := &azure{ca: filepath.Join(dir, "ca.pem"), log: &log}
	if err := os.WriteFile(scenario, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], append([]string{"sim", "serve", "--latency", "none", "--scenario", scenario, "--ca", a.ca, "--ready-file", ready}, args...)...)
	cmd.Env = append(os.Environ(), "INGOT_TEST_MAIN=1", "INGOT_STATE="+dir)
	cmd.Stdout, cmd.Stderr = &log, &log
	a.process = cmd
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // killed
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		if raw, err := os.ReadFile(ready); err == nil && strings.HasSuffix(string(raw), "\n") {
			a.url = strings.TrimSpace(string(raw))
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the simulated Azure did not start:\n%s", log.String())
		}
		time.Sleep(5 * time.Millisecond) // another process is being waited for; nothing else tells when it is ready
	}
	a.connect(t)
	return a
}

// connect makes the client that trusts its authority.
func (a *azure) connect(t *testing.T) {
	t.Helper()
	pem, err := os.ReadFile(a.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	a.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
}

func (a *azure) call(t *testing.T, method, path string, body any, into any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, a.url+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, answer, err)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			t.Fatal(err)
		}
	}
}

// arm calls Resource Manager as the default account.
func (a *azure) arm(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	resp, err := a.client.PostForm(a.url+"/"+sim.DefaultTenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {sim.DefaultClientID}, "client_secret": {sim.DefaultClientSecret}, "scope": {a.url + "/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil {
		t.Fatal(err)
	}
	a.token = token.AccessToken
	var out map[string]any
	if !strings.Contains(path, "api-version=") {
		path += "?api-version=2024-07-01"
	}
	a.call(t, method, path, body, &out)
	return out
}

// item is a line of the simulated Azure's own books.
type item struct {
	ID, Type, State string
	Seeded          bool
	Regions         []struct{ Region, State string }
}

// made lists the gallery versions that builds have made, and everything else that they have left.
func (a *azure) made(t *testing.T) (versions []item, left []string) {
	t.Helper()
	var all []item
	a.call(t, http.MethodGet, "/sim/inventory", nil, &all)
	for _, i := range all {
		switch {
		case i.Seeded:
		case strings.Contains(i.ID, "/storageAccounts/avdstate/"): // the runs' own books
		case i.Type == "Microsoft.Compute/galleries/images/versions":
			versions = append(versions, i)
		default:
			left = append(left, i.ID)
		}
	}
	return versions, left
}

// result is how a run of the program ended.
type result struct {
	code   int
	killed bool
	out    string // both streams
}

// ingot runs the program as a process, with a state folder and against a.
func (a *azure) ingot(t *testing.T, state string, env []string, args ...string) result {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append([]string{"INGOT_TEST_MAIN=1", "INGOT_STATE=" + state, "INGOT_SIM=" + a.url, "INGOT_SIM_CA=" + a.ca, "HOME=" + state, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	r := result{code: cmd.ProcessState.ExitCode(), killed: cmd.ProcessState.ExitCode() < 0, out: out.String()}
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatal(err)
	}
	return r
}

// journal finds the one run of a state folder.
func journal(t *testing.T, state string) (run string, lines int, raw []byte) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(state, "runs", "*", "journal.jsonl"))
	if err != nil || len(found) != 1 {
		t.Fatalf("journals in %s: %v %v", state, found, err)
	}
	raw, err = os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(filepath.Dir(found[0])), bytes.Count(raw, []byte("\n")), raw
}

// template writes the test's template: the example's steps, and secrets in every place that takes one.
func template(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"build.pkr.hcl": source, "script.ps1": "Write-Host 'from a file'\n", "payload.txt": "a file\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Markers of secrets; none of them may ever be seen.
const (
	markInline   = "MarkerInline-not-a-real-secret-1"
	markEnv      = "MarkerEnv-not-a-real-secret-2"
	markPassword = "MarkerPassword-Not-Real-3"
	markElevated = "MarkerElevated-not-a-real-secret-4"
)

var source = fmt.Sprintf(`
variable "token" {
  type      = string
  sensitive = true
}
variable "license" {
  type      = string
  sensitive = true
  default   = %q
}
source "azure-arm" "w11" {
  image_publisher = "MicrosoftWindowsDesktop"
  image_offer     = "windows-11"
  image_sku       = "win11-25h2-avd"
  os_type         = "Windows"
  location        = "westeurope"
  vm_size         = "Standard_D2s_v5"
  security_type   = "TrustedLaunch"
  communicator    = "winrm"
  winrm_use_ssl   = true
  winrm_password  = %q
  shared_image_gallery_destination {
    resource_group      = "rg-images"
    gallery_name        = "galAvd"
    image_name          = "windows-11-avd"
    image_version       = "auto"
    replication_regions = ["westeurope", "northeurope"]
  }
}
build {
  sources = ["source.azure-arm.w11"]
  provisioner "file" {
    source      = "payload.txt"
    destination = "C:/payload.txt"
  }
  provisioner "powershell" {
    environment_vars = ["LICENSE=${var.license}"]
    inline           = ["Write-Host \"token ${var.token} license $env:LICENSE\""]
  }
  provisioner "windows-restart" {}
  provisioner "powershell" {
    script            = "script.ps1"
    elevated_user     = "SYSTEM"
    elevated_password = %q
  }
}
`, markEnv, markPassword, markElevated)
