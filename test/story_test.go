package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// embedded runs the program with the simulated Azure inside it.
func embedded(t *testing.T, state string, args ...string) result {
	t.Helper()
	return (&azure{}).ingot(t, state, []string{"INGOT_SIM=", "INGOT_SIM_LATENCY=none"}, args...)
}

const frame = `
source "azure-arm" "w" {
  image_publisher = "MicrosoftWindowsDesktop"
  os_type         = "Windows"
  vm_size         = "Standard_DS2_v2"
  communicator    = "winrm"
  winrm_use_ssl   = true
  winrm_use_ntlm  = false
%s
}
build {
  sources = ["source.azure-arm.w"]
  provisioner "windows-shell" {
    inline = ["echo hello"]
  }
}
`

// TestVariants builds what the example does not: each in the embedded Azure, which must hold what was asked for and
// nothing else.
func TestVariants(t *testing.T) {
	const gallery = `
  shared_image_gallery_destination {
    resource_group = "rg"
    gallery_name   = "g"
    image_name     = "i"
    image_version  = "auto"
  }`
	const w11 = "  image_offer = \"windows-11\"\n  image_sku = \"win11-25h2-avd\"\n"
	for name, c := range map[string]struct{ source, want string }{
		"an existing network, private address": {w11 + "location = \"westeurope\"\nvirtual_network_name = \"vnet1\"\nvirtual_network_subnet_name = \"hosts\"\nvirtual_network_resource_group_name = \"rg-net\"" + gallery, "/versions/1.0.0"},
		"a managed image of generation 1":      {"  image_offer = \"windows-10\"\n  image_sku = \"win10-22h2-avd\"\nlocation = \"westeurope\"\nmanaged_image_name = \"m\"\nmanaged_image_resource_group_name = \"rg\"", "/images/m"},
		"a managed image and a gallery":        {w11 + "location = \"westeurope\"\nmanaged_image_name = \"m\"\nmanaged_image_resource_group_name = \"rg\"" + gallery, "/versions/1.0.0"},
		"an office's address":                  {w11 + "location = \"westeurope\"\nallowed_inbound_ip_addresses = [\"203.0.113.0/24\"]" + gallery, "/versions/1.0.0"},
		"an existing group":                    {w11 + "build_resource_group_name = \"rg-build\"" + gallery, "/versions/1.0.0"},
		"specialized":                          {w11 + "location = \"westeurope\"\n" + strings.Replace(gallery, `"auto"`, "\"2.0.0\"\n specialized = true", 1), "/versions/2.0.0"},
		"deletion not waited for":              {w11 + "location = \"westeurope\"\nasync_resourcegroup_delete = true" + gallery, "/versions/1.0.0"},
		"shallow, end of life, not the latest": {w11 + "location = \"westeurope\"\nshared_gallery_image_version_end_of_life_date = \"2028-01-01T00:00:00Z\"\nshared_gallery_image_version_exclude_from_latest = true" + strings.Replace(gallery, `"auto"`, "\"1.0.0\"\n use_shallow_replication = true", 1), "/versions/1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "w.pkr.hcl"), []byte(fmt.Sprintf(frame, c.source)), 0o600); err != nil {
				t.Fatal(err)
			}
			r := embedded(t, t.TempDir(), "build", dir)
			if r.code != 0 || !strings.Contains(r.out, c.want) || !strings.Contains(r.out, "  0 other resources that were not there before the build") {
				t.Errorf("exit code %d\n%s", r.code, r.out)
			}
		})
	}
}

// TestGalleryToGallery starts the second image from the first, twice: the newest version is found, the next one counted.
func TestGalleryToGallery(t *testing.T) {
	a := serve(t)
	first := t.TempDir()
	if r := a.ingot(t, first, []string{"PKR_VAR_token=x"}, "build", template(t)); r.code != 0 {
		t.Fatal(r.out)
	}
	dir := t.TempDir()
	text := strings.Replace(fmt.Sprintf(frame, `
  location      = "westeurope"
  security_type = "TrustedLaunch"
  shared_image_gallery {
    subscription   = "00000000-0000-4000-8000-00000000a001"
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
  }
  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
    image_version  = "auto"
  }`), `  image_publisher = "MicrosoftWindowsDesktop"`, "", 1)
	if err := os.WriteFile(filepath.Join(dir, "w.pkr.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"from gallery version 1.0.0", "from gallery version 1.0.1"} {
		r := a.ingot(t, t.TempDir(), nil, "build", dir)
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Fatalf("exit code %d, want %q\n%s", r.code, want, r.out)
		}
	}
	if versions, left := a.made(t); len(versions) != 3 || len(left) != 0 {
		t.Errorf("%v %v", versions, left)
	}
}

// watcher runs the program and tells when it has printed a text.
type watcher struct {
	mu    sync.Mutex
	all   bytes.Buffer
	text  string
	found chan struct{}
	once  sync.Once
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(p)
	if strings.Contains(w.all.String(), w.text) {
		w.once.Do(func() { close(w.found) })
	}
	return len(p), nil
}

func (w *watcher) String() string { w.mu.Lock(); defer w.mu.Unlock(); return w.all.String() }

func (a *azure) start(t *testing.T, state, until string, args ...string) (*exec.Cmd, *watcher) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = []string{"INGOT_TEST_MAIN=1", "INGOT_STATE=" + state, "INGOT_SIM=" + a.url, "INGOT_SIM_CA=" + a.ca, "HOME=" + state, "PKR_VAR_token=x", "INGOT_SIM_LATENCY=none"}
	w := &watcher{text: until, found: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) //nolint:errcheck // it has ended if all went well
	select {
	case <-w.found:
	case <-time.After(8 * time.Minute): // it has ended without a word of it, or hangs; a real machine under load takes minutes to boot
		t.Fatalf("the program never says %q:\n%s", until, w.String())
	}
	return cmd, w
}

func TestCancelFromElsewhereAndCtrlC(t *testing.T) {
	a := serve(t)
	dir := template(t)
	for _, how := range []string{"ctrl-c", "cancel", "terminate"} {
		state := t.TempDir()
		cmd, w := a.start(t, state, "waiting for the guest to restart", "build", dir)
		run, _, _ := journal(t, state)
		switch how {
		case "ctrl-c":
			cmd.Process.Signal(os.Interrupt) //nolint:errcheck // looked at below
		case "terminate":
			cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // looked at below
		case "cancel":
			if r := a.ingot(t, state, nil, "cancel", run); r.code != 0 || !strings.Contains(r.out, "told to stop") {
				t.Errorf("cancel: %d %s", r.code, r.out)
			}
		}
		cmd.Wait() //nolint:errcheck // the exit code is looked at
		if code := cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("%s: exit code %d\n%s", how, code, w)
		}
		if versions, left := a.made(t); len(versions)+len(left) != 0 {
			t.Errorf("%s leaves %v %v", how, versions, left)
		}
		if r := a.ingot(t, state, nil, "runs"); !strings.Contains(r.out, "cancelled") {
			t.Errorf("%s: %s", how, r.out)
		}
	}
	// A run whose process is dead is cancelled by whoever asks for it.
	state := t.TempDir()
	cmd, _ := a.start(t, state, "waiting for the guest to restart", "build", dir)
	cmd.Process.Kill() //nolint:errcheck // looked at below
	cmd.Wait()         //nolint:errcheck // killed
	run, _, _ := journal(t, state)
	if r := a.ingot(t, state, []string{"PKR_VAR_token=x"}, "cancel", run); r.code != 0 {
		t.Errorf("cancel of a dead run: %d %s", r.code, r.out)
	}
	if _, left := a.made(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestEmbeddedAzureDiesWithItsProcess: resume says so, ends the run, and gc has nothing to do.
func TestEmbeddedAzureDiesWithItsProcess(t *testing.T) {
	state := t.TempDir()
	r := (&azure{}).ingot(t, state, []string{"INGOT_SIM=", "INGOT_TEST_KILL_AFTER=20"}, "build", "../examples/windows-11-avd")
	if !r.killed {
		t.Fatalf("%d %s", r.code, r.out)
	}
	run, _, _ := journal(t, state)
	if r := embedded(t, state, "runs"); !strings.Contains(r.out, "interrupted") {
		t.Error(r.out)
	}
	if r := embedded(t, state, "resume", run); r.code != 1 || !strings.Contains(r.out, "Build again") {
		t.Errorf("%d %s", r.code, r.out)
	}
	if r := embedded(t, state, "gc"); r.code != 0 || !strings.Contains(r.out, "nothing to remove") {
		t.Errorf("%d %s", r.code, r.out)
	}
}

func TestJSONEventsAndPlan(t *testing.T) {
	r := embedded(t, t.TempDir(), "build", "-json", "../examples/windows-11-avd")
	if r.code != 0 {
		t.Fatal(r.out)
	}
	kinds := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(r.out), "\n") {
		var e struct{ Kind, Outcome string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("not JSON: %s", line)
		}
		kinds[e.Kind]++
	}
	if kinds["run-started"] != 1 || kinds["run-finished"] != 1 || kinds["step-done"] < 15 || kinds["step-output"] < 3 {
		t.Error(kinds)
	}
	r = embedded(t, t.TempDir(), "plan", "-json", "../examples/windows-11-avd")
	var plans []struct{ Steps []struct{ ID string } }
	if err := json.Unmarshal([]byte(r.out), &plans); err != nil || len(plans) != 1 || len(plans[0].Steps) < 15 {
		t.Errorf("%v %s", err, r.out)
	}
}

func TestExitCodes(t *testing.T) {
	for want, args := range map[int][]string{
		0:  {"validate", "../examples/windows-11-avd"},
		2:  {"build", "-on-error=sometimes", "../examples/windows-11-avd"},
		10: {"build", "-var", "location=nowhere", "../examples/windows-11-avd"},
		4:  {"build", "--cloud", "azure", "../examples/windows-11-avd"},
		1:  {"resume", "nosuchrun"},
	} {
		if r := embedded(t, t.TempDir(), args...); r.code != want {
			t.Errorf("%v: exit code %d, want %d\n%s", args, r.code, want, r.out)
		}
	}
}

// TestSecondInterruptLeavesAtOnce: the first Ctrl-C cleans up, the second one leaves, and says how to go on.
func TestSecondInterruptLeavesAtOnce(t *testing.T) {
	a := serveWith(t, `, "latency": {"group-delete": "1h"}`)
	state := t.TempDir()
	cmd, w := a.start(t, state, "waiting for the guest to restart", "build", template(t))
	run, _, _ := journal(t, state)
	cmd.Process.Signal(os.Interrupt) //nolint:errcheck // looked at below
	for !strings.Contains(w.String(), "removing: Create resource group") {
		if cmd.Process.Signal(syscall.Signal(0)) != nil {
			t.Fatal(w)
		}
	}
	cmd.Process.Signal(os.Interrupt) //nolint:errcheck // looked at below
	cmd.Wait()                       //nolint:errcheck // the exit code is looked at
	if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(w.String(), "ingot resume "+run) {
		t.Errorf("exit code %d\n%s", code, w)
	}
	if r := a.ingot(t, state, nil, "status", run); !strings.Contains(r.out, "undo interrupted") {
		t.Errorf("%s", r.out)
	}
}

// TestPackersOwnExample builds a template of packer-plugin-azure as it stands.
func TestPackersOwnExample(t *testing.T) {
	const from = "../../shared/corpus/packer/windows_custom_image"
	if _, err := os.Stat(from); err != nil {
		t.Skipf("%s is not there: templates of others are kept beside the project, not in it", from)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	args := []string{"build", "--cloud", "sim"}
	for _, v := range []string{"rgName=rg1", "image_name=WindowsImage", "build_key_vault_name=kvdemo1", "build_revision=1", "disk_encryption_set_id=", "image_offer=WindowsServer", "image_publisher=MicrosoftWindowsServer",
		"image_sku=2022-datacenter-g2", "location=westeurope", "vmSize=Standard_DS3_V2", "subscription_id=11111111-1111-4111-8111-111111111111", "tenant_id=22222222-2222-4222-8222-222222222222",
		"client_id=33333333-3333-4333-8333-333333333333", "client_secret=" + markInline} {
		args = append(args, "-var", v)
	}
	state := t.TempDir()
	cmd := exec.Command(os.Args[0], append(args, ".")...)
	cmd.Dir = dir
	cmd.Env = []string{"INGOT_TEST_MAIN=1", "INGOT_STATE=" + state, "HOME=" + state}
	raw, err := cmd.CombinedOutput()
	out := string(raw)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"***** this is a demo message *****", "Release version is: AWESOME", "the template has run sysprep itself", "galleries/acgDemo/images/WindowsImage/versions/1.0.0", "kept (keep_os_disk)", "  0 other resources"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	var m struct {
		Builds []struct {
			Artifact string `json:"artifact_id"`
		}
	}
	raw, err = os.ReadFile(filepath.Join(dir, "packer-manifest.json"))
	if err != nil || json.Unmarshal(raw, &m) != nil || len(m.Builds) != 1 || !strings.HasSuffix(m.Builds[0].Artifact, "/versions/1.0.0") {
		t.Errorf("%v %s", err, raw)
	}
	noSecrets(t, "Packer's example", state, out)
}

// TestSysprepFails: the build fails within its bound, shows what sysprep's own log says, and leaves nothing.
func TestSysprepFails(t *testing.T) {
	a := serveWith(t, `, "guest": [{"match": "(?i)sysprep.exe /gen", "exitCode": 1, "stderr": ["SYSPRP Package Contoso.App was installed for a user"]}]`)
	r := a.ingot(t, t.TempDir(), []string{"PKR_VAR_token=x"}, "build", template(t))
	if r.code != 1 || !strings.Contains(r.out, "left IMAGE_STATE_COMPLETE") || !strings.Contains(r.out, "Package Contoso.App") {
		t.Errorf("exit code %d\n%s", r.code, r.out)
	}
	if versions, left := a.made(t); len(versions)+len(left) != 0 {
		t.Errorf("left %v %v", versions, left)
	}
}

// TestRoles: without the rights it needs the build ends with 4, shows Azure's words, and leaves nothing.
func TestRoles(t *testing.T) {
	a := serveWith(t, `, "principals": [{"name": "reader", "clientId": "44444444-4444-4444-8444-444444444444", "secret": "test-secret-not-real",
  "roles": [{"role": "Reader", "scope": "/subscriptions/00000000-0000-4000-8000-00000000a001"}]}]`)
	dir := t.TempDir()
	text := strings.Replace(source, `os_type         = "Windows"`, `os_type         = "Windows"
  client_id       = "44444444-4444-4444-8444-444444444444"
  client_secret   = "test-secret-not-real"
  tenant_id       = "00000000-0000-4000-8000-00000000b001"
  subscription_id = "00000000-0000-4000-8000-00000000a001"`, 1)
	for name, body := range map[string]string{"build.pkr.hcl": text, "script.ps1": "exit 0", "payload.txt": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := a.ingot(t, t.TempDir(), []string{"PKR_VAR_token=x"}, "build", dir)
	if r.code != 4 || !strings.Contains(r.out, "may not do this on") || !strings.Contains(r.out, "Microsoft.Resources/subscriptions/resourceGroups/write") || strings.Contains(r.out, "AuthorizationFailed") {
		t.Errorf("exit code %d\n%s", r.code, r.out)
	}
	r = a.ingot(t, t.TempDir(), []string{"PKR_VAR_token=x"}, "build", "--skip-preflight", dir)
	if r.code != 4 || !strings.Contains(r.out, "AuthorizationFailed") || !strings.Contains(r.out, "Microsoft.Resources/subscriptions/resourceGroups/write") {
		t.Errorf("exit code %d\n%s", r.code, r.out)
	}
	if versions, left := a.made(t); len(versions)+len(left) != 0 {
		t.Errorf("left %v %v", versions, left)
	}
}
