package test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim/qemu"
)

// TestLinuxDiskOfOnesOwn builds from a disk of one's own in another format, logged in with a password: a snapshot of its disk, taken while it
// runs, holds what was there then and nothing of later, and the guest restarts itself in the middle.
func TestLinuxDiskOfOnesOwn(t *testing.T) {
	if os.Getenv("INGOT_SOAK") == "" {
		t.Skip("four boots of real machines: with INGOT_SOAK=1 only")
	}
	t.Parallel() // most of it is waiting
	realGuests(t)
	host, err := qemu.Open(qemu.Options{Dir: filepath.Join(t.TempDir(), "disks"), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	base, err := host.Debian(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	formats := []string{"vhdx", "qcow2"}
	dir := t.TempDir()
	args := []string{"--guests", "qemu"}
	for _, format := range formats {
		file := filepath.Join(dir, "own."+format)
		if out, err := exec.Command("qemu-img", "convert", "-f", "vpc", "-O", format, base.Path, file).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img: %v %s", err, out)
		}
		if d, err := qemu.Inspect(file); err != nil || d.Format != format {
			t.Fatalf("%s: %v %v", file, d, err)
		}
		args = append(args, "--image", "Contoso:own:"+format+"="+file)
	}
	a := serveScenario(t, linuxSeeds, args...)
	for i, format := range formats {
		ownDisk(t, a, format, "1.0."+string(rune('1'+i)))
	}
	if versions, left := a.made(t); len(versions) != len(formats) || len(left) > 0 {
		t.Errorf("the builds leave versions %v and %v", versions, left)
	}
}

const ownDiskSteps = `"echo was there''-before | sudo tee /root/before.txt >/dev/null", "sync", "cp /proc/sys/kernel/random/boot_id /var/tmp/first-boot", "echo take it", "for n in $(seq 600); do test -e /var/tmp/taken && break; sleep 0.2; done", "test -e /var/tmp/taken", "echo written''-later | sudo tee /root/later.txt >/dev/null", "sync"`

const restartSteps = `  provisioner "shell" {
    expect_disconnect = true
    inline            = ["sudo reboot"]
  }
  provisioner "shell" {
    inline = ["cmp -s /var/tmp/first-boot /proc/sys/kernel/random/boot_id || echo restarted indeed"]
  }
}
`

func ownDisk(t *testing.T, a *azure, format, version string) {
	t.Helper()
	dir := linux(t, "  image_publisher = \"Contoso\"\n  image_offer     = \"own\"\n  image_sku       = \""+format+"\"\n", "builder", version, ownDiskSteps)
	file := filepath.Join(dir, "linux.pkr.hcl")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), `ssh_username = "builder"`, "ssh_username = \"builder\"\n  ssh_password = \""+markPassword+"\"", 1)
	text = strings.TrimSuffix(strings.TrimRight(text, "\n"), "}") + restartSteps
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	cmd, out := a.start(t, state, "] take it", "build", dir)
	var vm, disk string
	for _, i := range a.inventory(t) {
		switch i.Type {
		case "Microsoft.Compute/virtualMachines":
			vm = i.ID
		case "Microsoft.Compute/disks":
			disk = i.ID
		}
	}
	snapshot := "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/Microsoft.Compute/snapshots/running"
	a.arm(t, http.MethodPut, snapshot, map[string]any{"location": "westeurope", "properties": map[string]any{"creationData": map[string]any{"createOption": "Copy", "sourceResourceId": disk}}})
	until(t, "the snapshot is taken", time.Minute, a.log, func() bool {
		s, _ := a.arm(t, http.MethodGet, snapshot, nil)["properties"].(map[string]any)
		return s["provisioningState"] == "Succeeded"
	})
	a.arm(t, http.MethodPut, vm+"/runCommands/go-on", map[string]any{"location": "westeurope", "properties": map[string]any{"source": map[string]any{"script": "touch /var/tmp/taken"}}})
	until(t, "the machine is told so", 2*time.Minute, a.log, func() bool { // a command begins when somebody asks for it
		c, _ := a.arm(t, http.MethodGet, vm+"/runCommands/go-on", nil)["properties"].(map[string]any)
		return c["provisioningState"] == "Succeeded"
	})
	if err := cmd.Wait(); err != nil || strings.Contains(out.String(), markPassword) {
		t.Fatalf("a build from a %s ends with %v:\n%s\n%s", format, err, out, a.log)
	}
	if !strings.Contains(out.String(), "] restarted indeed") {
		t.Errorf("the machine has not restarted:\n%s", out)
	}
	kept, err := filepath.Glob(filepath.Join(filepath.Dir(a.ca), "guests", "*", "image-*.vhd"))
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for _, path := range kept {
		before, later := holds(t, path, "was there-before"), holds(t, path, "written-later")
		if before && !later && qemu.CheckVHD(path) == nil {
			whole++
		}
	}
	if whole != 1 {
		t.Errorf("%d of %v hold what was there when the snapshot was taken, and nothing of later", whole, kept)
	}
	a.arm(t, http.MethodDelete, snapshot, nil)
}

// holds reports whether a file has a text in it, wherever that is.
func holds(t *testing.T, path, text string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf, kept := make([]byte, 1<<20), 0
	for {
		n, err := f.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], []byte(text)) {
			return true
		}
		if err == io.EOF {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		kept = copy(buf, buf[max(0, kept+n-len(text)):kept+n])
	}
}
