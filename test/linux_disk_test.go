package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/sim/qemu"
)

// TestLinuxDiskOfOnesOwn: disks of other formats are entries of the marketplace that machines boot from; a restart in the middle of a build
// is a real one, and a machine that is restarted by Azure comes back.
func TestLinuxDiskOfOnesOwn(t *testing.T) {
	t.Parallel() // most of it is waiting
	realGuests(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(cache, "ingot", "debian-12.vhd")
	if _, err := os.Stat(base); err != nil {
		// The image is made on first use; this test does not go first.
		a := serveScenario(t, linuxSeeds, "--guests", "qemu")
		if r := a.ingot(t, t.TempDir(), nil, "build", "../examples/debian-12"); r.code != 0 {
			t.Fatalf("the image cannot be made: %d\n%s", r.code, r.out)
		}
	}
	dir := t.TempDir()
	entries := []string{"--guests", "qemu"}
	for format, name := range map[string]string{"vhdx": "own.vhdx", "qcow2": "own.qcow2"} {
		file := filepath.Join(dir, name)
		if out, err := exec.Command("qemu-img", "convert", "-f", "vpc", "-O", format, base, file).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img: %v %s", err, out)
		}
		if d, err := qemu.Inspect(file); err != nil || d.Format != format {
			t.Fatalf("%s: %v %v", file, d, err)
		}
		entries = append(entries, "--image", "Contoso:own:"+format+"="+file)
	}
	a := serveScenario(t, linuxSeeds, entries...)
	for version, format := range map[string]string{"1.0.1": "vhdx", "1.0.2": "qcow2"} {
		template := linux(t, "  image_publisher = \"Contoso\"\n  image_offer     = \"own\"\n  image_sku       = \""+format+"\"\n", "builder", version, `"cut -d' ' -f1 /proc/sys/kernel/random/boot_id | sudo tee /etc/first-boot"`)
		file := filepath.Join(template, "linux.pkr.hcl")
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// The second script restarts the machine, the third looks whether it is another boot.
		more := `  provisioner "shell" {
    expect_disconnect = true
    inline            = ["sudo reboot"]
  }
  provisioner "shell" {
    inline = ["cmp -s /etc/first-boot /proc/sys/kernel/random/boot_id || echo restarted indeed"]
  }
}
`
		if err := os.WriteFile(file, []byte(strings.TrimSuffix(strings.TrimRight(string(raw), "\n"), "}")+more), 0o600); err != nil {
			t.Fatal(err)
		}
		r := a.ingot(t, t.TempDir(), nil, "build", template)
		if r.code != 0 || !strings.Contains(r.out, "] restarted indeed") {
			t.Fatalf("a build from a %s ends with %d:\n%s\n%s", format, r.code, r.out, a.log)
		}
	}
	if versions, left := a.made(t); len(versions) != 2 || len(left) > 0 {
		t.Errorf("two builds leave versions %v and %v", versions, left)
	}
}
