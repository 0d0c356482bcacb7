package test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ingot/internal/sim/qemu"
)

// realGuests skips where this computer cannot run real machines.
func realGuests(t *testing.T) {
	t.Helper()
	if m := append(qemu.Missing(), qemu.MissingForDebian()...); m != nil {
		t.Skipf("real machines need packages that are not installed: %s", strings.Join(m, " "))
	}
	realSlots <- struct{}{}
	t.Cleanup(func() { <-realSlots })
}

// realSlots lets two tests at a time have real machines: each wants a processor, and one that gets none does not boot within its limit.
var realSlots = make(chan struct{}, 2)

const linuxSeeds = `{"resources": [
  {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images", "body": {"location": "westeurope"}},
  {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/Microsoft.Compute/galleries/galLinux", "body": {"location": "westeurope", "properties": {}}},
  {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/Microsoft.Compute/galleries/galLinux/images/debian-12",
   "body": {"location": "westeurope", "properties": {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2"}}}
]}`

// linux is a template that starts from source, logs in as user and runs script in the guest.
func linux(t *testing.T, source, user, version, script string) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(`
source "azure-arm" "linux" {
%s
  os_type      = "Linux"
  location     = "westeurope"
  vm_size      = "Standard_B2s"
  communicator = "ssh"
  ssh_username = %q
  shared_image_gallery_destination {
    resource_group      = "rg-images"
    gallery_name        = "galLinux"
    image_name          = "debian-12"
    image_version       = %q
    replication_regions = ["westeurope"]
  }
}
build {
  sources = ["source.azure-arm.linux"]
  provisioner "shell" {
    inline = [%s]
  }
}
`, source, user, version, script)
	if err := os.WriteFile(filepath.Join(dir, "linux.pkr.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

const fromMarketplace = `  image_publisher = "Debian"
  image_offer     = "debian-12"
  image_sku       = "12-gen2"
`

// TestLinuxGalleryToGallery builds the Debian example on a real machine, and then another image from the version that it made: the
// first one's file is there, its account, keys and host keys are not.
func TestLinuxGalleryToGallery(t *testing.T) {
	t.Parallel() // most of it is waiting
	realGuests(t)
	a := serveScenario(t, linuxSeeds, "--guests", "qemu")
	r := a.ingot(t, t.TempDir(), nil, "build", "../examples/debian-12")
	if r.code != 0 || !strings.Contains(r.out, "built for Contoso on Debian GNU/Linux 12") {
		t.Fatalf("the first build ends with %d:\n%s\n%s", r.code, r.out, a.log)
	}
	fromGallery := `  shared_image_gallery {
    subscription   = "00000000-0000-4000-8000-00000000a001"
    resource_group = "rg-images"
    gallery_name   = "galLinux"
    image_name     = "debian-12"
    image_version  = "1.0.0"
  }
`
	dir := linux(t, fromGallery, "second", "1.0.1", `"cat /etc/ingot-build /etc/motd", "ls /home", "ls -d /var/tmp/ingot-*", "ls /root/.bash_history /etc/ssh/ssh_host_rsa_key || true"`)
	state := t.TempDir()
	r = a.ingot(t, state, nil, "build", dir)
	for _, want := range []string{"built for Contoso on Debian GNU/Linux 12", "This machine was made from an image that Ingot built.", "] second"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("the second build does not show %q", want)
		}
	}
	if strings.Contains(r.out, "] builder") {
		t.Error("the first build's account is still in its image")
	}
	if r.code != 0 {
		t.Errorf("the second build ends with %d", r.code)
	}
	if t.Failed() {
		t.Fatalf("%s\n%s", r.out, a.log)
	}
	versions, left := a.made(t)
	if len(versions) != 2 || len(left) > 0 {
		t.Errorf("two builds leave versions %v and %v", versions, left)
	}

	// The second image as a file, and the file as a disk, an image of that disk, and a third build from that image.
	vhd := filepath.Join(t.TempDir(), "out.vhd")
	run, _, _ := journal(t, state)
	if r := a.ingot(t, state, nil, "export", run, "--vhd", vhd); r.code != 0 {
		t.Fatalf("export ends with %d:\n%s", r.code, r.out)
	}
	if disk, err := qemu.Inspect(vhd); err != nil || disk.Format != "vpc" || qemu.CheckVHD(vhd) != nil {
		t.Errorf("the exported file: %v, %v, %v", disk, err, qemu.CheckVHD(vhd))
	}
	if r := a.ingot(t, t.TempDir(), nil, "upload", vhd, "--resource-group", "rg-images", "--location", "westeurope", "--name", "uploaded"); r.code != 0 {
		t.Fatalf("upload ends with %d:\n%s", r.code, r.out)
	}
	group := "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/Microsoft.Compute/"
	a.arm(t, http.MethodPut, group+"images/from-disk", map[string]any{"location": "westeurope", "properties": map[string]any{"hyperVGeneration": "V2",
		"storageProfile": map[string]any{"osDisk": map[string]any{"osType": "Linux", "osState": "Generalized", "managedDisk": map[string]any{"id": group + "disks/uploaded"}}}}})
	third := linux(t, `  custom_managed_image_resource_group_name = "rg-images"
  custom_managed_image_name                = "from-disk"
`, "third", "1.0.2", `"cat /etc/ingot-build", "ls /home"`)
	if r := a.ingot(t, t.TempDir(), nil, "build", third); r.code != 0 || !strings.Contains(r.out, "built for Contoso on Debian GNU/Linux 12") || !strings.Contains(r.out, "] third") {
		t.Errorf("a build from the uploaded disk ends with %d:\n%s\n%s", r.code, r.out, a.log)
	}
}

// machines lists the QEMU processes whose files lie in a folder.
func machines(dir string) (pids []string) {
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	for _, name := range list {
		raw, err := os.ReadFile(name)
		if err == nil && bytes.HasPrefix(raw, []byte("/usr/bin/qemu-system")) && bytes.Contains(raw, []byte(dir)) {
			pids = append(pids, filepath.Base(filepath.Dir(name)))
		}
	}
	return pids
}

// until waits for something that another process does.
func until(t *testing.T, what string, limit time.Duration, log fmt.Stringer, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s\n%s", limit, what, log)
		}
		time.Sleep(20 * time.Millisecond) // another process is being waited for
	}
}

// TestLinuxRehearsalIsKilled kills a rehearsal whose machine is booting: the machine goes with it, and gc removes its disk.
func TestLinuxRehearsalIsKilled(t *testing.T) {
	realGuests(t)
	state := t.TempDir()
	cmd := exec.Command(os.Args[0], "build", "../examples/debian-12")
	cmd.Env = append(os.Environ(), "INGOT_TEST_MAIN=1", "INGOT_STATE="+state, "INGOT_SIM=")
	out := watcher{found: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() //nolint:errcheck // it has been
	until(t, "a machine runs", 4*time.Minute, &out, func() bool { return len(machines(state)) > 0 })
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // killed
	until(t, "the machine is gone", 5*time.Second, &out, func() bool { return len(machines(state)) == 0 })
	disks := func() []string {
		list, err := filepath.Glob(filepath.Join(state, "guests", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if len(disks()) == 0 {
		t.Error("the killed rehearsal has left no disk: this test shows nothing")
	}
	gc := exec.Command(os.Args[0], "gc")
	gc.Env = cmd.Env
	if raw, err := gc.CombinedOutput(); err != nil || !strings.Contains(string(raw), "removed the machines and disks of 1 simulated Azures") {
		t.Errorf("gc says %v:\n%s", err, raw)
	}
	if left := disks(); len(left) > 0 {
		t.Errorf("gc leaves %v", left)
	}
}

// TestLinuxBuildIsKilled kills a build while its script runs, against a simulated Azure in another process, and resumes it: the script
// has gone on meanwhile, and ran once. Then the simulated Azure is killed while a machine runs: the machine goes with it.
func TestLinuxBuildIsKilled(t *testing.T) {
	t.Parallel() // most of it is waiting
	realGuests(t)
	a := serveScenario(t, linuxSeeds, "--guests", "qemu")
	dir := linux(t, fromMarketplace, "builder", "1.0.0", `"echo begun", "echo once >>/var/tmp/count", "sleep 4", "echo ended after $(wc -l </var/tmp/count) time"`)
	state := t.TempDir()
	cmd, out := a.start(t, state, "] begun", "build", dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // killed
	run, _, _ := journal(t, state)
	r := a.ingot(t, state, nil, "resume", run)
	if r.code != 0 || !strings.Contains(r.out, "ended after 1 time") {
		t.Fatalf("the resumed build ends with %d:\n%s\n%s\n%s", r.code, out, r.out, a.log)
	}
	if versions, left := a.made(t); len(versions) != 1 || len(left) > 0 {
		t.Errorf("the build leaves versions %v and %v", versions, left)
	}

	guests := filepath.Dir(a.ca)
	again := t.TempDir()
	second, _ := a.start(t, again, "Wait for SSH", "build", linux(t, fromMarketplace, "builder", "1.0.1", `"true"`))
	if len(machines(guests)) != 1 {
		t.Errorf("machines of the second build: %v", machines(guests))
	}
	if err := a.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "the machine is gone", 5*time.Second, a.log, func() bool { return len(machines(guests)) == 0 })
	second.Process.Kill() //nolint:errcheck // nothing answers it any more
	second.Wait()         //nolint:errcheck // killed
}

// TestLinuxRunCommand builds on a real machine without a way into it, and is killed while its script runs: the script has gone on when the
// build is resumed, and ran once; a file goes in and comes back, as root.
func TestLinuxRunCommand(t *testing.T) {
	t.Parallel() // most of it is waiting
	realGuests(t)
	a := serveScenario(t, linuxSeeds, "--guests", "qemu")
	dir := linux(t, fromMarketplace, "builder", "1.0.0", `"echo begun", "echo once >>/var/tmp/count", "sleep 4", "echo ended after $(wc -l </var/tmp/count) time, as $(id -un), token $TOKEN", "cp /var/tmp/in.txt /var/tmp/out.txt"`)
	file := filepath.Join(dir, "linux.pkr.hcl")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), `communicator = "ssh"`, `communicator = "runcommand"`, 1)
	text = strings.Replace(text, "  provisioner \"shell\" {\n", "  provisioner \"file\" {\n    source      = \"in.txt\"\n    destination = \"/var/tmp/in.txt\"\n  }\n  provisioner \"shell\" {\n    environment_vars = [\"TOKEN="+markEnv+"\"]\n", 1)
	text = strings.TrimSuffix(strings.TrimSpace(text), "}") + "  provisioner \"file\" {\n    direction   = \"download\"\n    source      = \"/var/tmp/out.txt\"\n    destination = \"" + filepath.ToSlash(dir) + "/out.txt\"\n  }\n}\n"
	for name, text := range map[string]string{"linux.pkr.hcl": text, "in.txt": "there and back\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	state := t.TempDir()
	cmd, out := a.start(t, state, "] begun", "build", dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // killed
	vm := ""
	for _, i := range a.inventory(t) {
		switch i.Type {
		case "Microsoft.Network/publicIPAddresses", "Microsoft.KeyVault/vaults":
			t.Errorf("the build has made %s", i.ID)
		case "Microsoft.Compute/virtualMachines":
			vm = i.ID
		}
	}
	if shown := a.text(t, vm, "") + a.text(t, vm+"/runCommands", "&$expand=instanceView"); strings.Contains(shown, markEnv) || !strings.Contains(shown, "ingot-provision-2") {
		t.Errorf("what whoever may read the machine reads: %s", shown)
	}
	run, _, _ := journal(t, state)
	r := a.ingot(t, state, nil, "resume", run)
	if r.code != 0 || !strings.Contains(r.out, "ended after 1 time, as root, token ") {
		t.Fatalf("the resumed build ends with %d:\n%s\n%s\n%s", r.code, out, r.out, a.log)
	}
	if back, err := os.ReadFile(filepath.Join(dir, "out.txt")); err != nil || string(back) != "there and back\n" {
		t.Errorf("what came back: %q %v", back, err)
	}
	if versions, left := a.made(t); len(versions) != 1 || len(left) > 0 {
		t.Errorf("the build leaves versions %v and %v", versions, left)
	}
}
