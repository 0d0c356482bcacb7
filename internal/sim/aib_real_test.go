package sim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim/qemu"
)

// TestImageBuilderOnLinux customizes a real Debian: its scripts really run, as an account that is not root, waagent generalises it, and
// what is published is a disk.
func TestImageBuilderOnLinux(t *testing.T) {
	if m := append(qemu.Missing(), qemu.MissingForDebian()...); m != nil {
		t.Skipf("real machines need packages that are not installed: %s", strings.Join(m, " "))
	}
	if os.Getenv("INGOT_SOAK") == "" {
		t.Skip("two machines boot, which takes four minutes of a processor: INGOT_SOAK=1 runs it")
	}
	host, err := qemu.Open(qemu.Options{Dir: filepath.Join(t.TempDir(), "disks"), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	w, body := factoryWith(t, Config{Latency: NoLatency, Machines: host, Clock: WallClock{}, Scenario: &Scenario{Addresses: map[string]Address{
		"https://example.com/a.sh": {Content: "#!/bin/bash\nset -e\necho \"by address as $(id -un)\"\nsudo sh -c 'cat /tmp/fetched >/etc/from-image-builder'\n"}, "https://example.com/f": {Content: "fetched\n"}}}})
	w.allow()
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	p := mapping(doc, "properties")
	p["source"] = map[string]any{"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest"}
	p["customize"] = steps(map[string]any{"type": "File", "name": "file", "sourceUri": "https://example.com/f", "destination": "/tmp/fetched"},
		map[string]any{"type": "Shell", "name": "inline", "inline": []any{"echo inline as $(id -un)", "echo oh >&2"}}, map[string]any{"type": "Shell", "name": "script", "scriptUri": "https://example.com/a.sh"})
	p["validate"] = map[string]any{"inVMValidations": steps(map[string]any{"type": "Shell", "name": "look", "inline": []any{"grep fetched /etc/from-image-builder", "test ! -d /home/packer/.cache"}})}
	p["distribute"] = steps(map[string]any{"type": "ManagedImage", "runOutputName": "image", "imageId": groupRG + "/providers/Microsoft.Compute/images/i", "location": "westeurope"})
	w.submit(doc)
	if g := w.arm("POST", aib+"/run", ""); g.status != 202 {
		t.Fatalf("run: %d %s", g.status, g.text)
	}
	state, message := "Running", ""
	waitFor(t, 12*time.Minute, func() bool { state, _, message = w.runState(); return state != "Running" })
	log := w.logged("customization.log")
	if state != "Succeeded" {
		t.Fatalf("%s %s\n%s\n%s", state, message, log, w.logged("validation.log"))
	}
	for _, want := range []string{"(telemetry) Starting provisioner file", "azure-arm: inline as packer", "ui error: ==> azure-arm: oh", "by address as packer", "waagent -force -deprovision+user", "(telemetry) Finalizing."} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
	}
	if test := w.logged("validation.log"); !strings.Contains(test, "azure-arm: fetched") {
		t.Errorf("validation.log:\n%s", test)
	}
	w.mu.Lock()
	c, _ := w.find(groupRG + "/providers/Microsoft.Compute/images/i").aux.(content)
	w.mu.Unlock()
	if info, err := os.Stat(c.image); err != nil || info.Size() < 1<<30 || !strings.HasSuffix(c.image, ".vhd") {
		t.Errorf("the image's disk %s: %v", c.image, err)
	}
	if left := w.left(); len(left) > 0 || len(host.Running()) > 0 {
		t.Errorf("left: %v, running: %v", left, host.Running())
	}
}
