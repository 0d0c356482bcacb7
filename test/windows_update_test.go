package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const updating = `
source "azure-arm" "w11" {
  image_publisher = "MicrosoftWindowsDesktop"
  image_offer     = "windows-11"
  image_sku       = "win11-25h2-avd"
  os_type         = "Windows"
  location        = "westeurope"
  vm_size         = "Standard_D2s_v5"
  communicator    = "winrm"
  winrm_use_ssl   = true
  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
    image_version  = "1.0.0"
  }
}
build {
  sources = ["source.azure-arm.w11"]
  provisioner "windows-update" {}
}
`

// TestKilledWhileUpdating kills the program (SIGKILL) while the guest downloads, installs and restarts. Another goes on: no update is
// installed twice, nothing is left behind.
func TestKilledWhileUpdating(t *testing.T) {
	for _, at := range []string{"downloading KB2267602", "installing KB5070311", "waiting for the guest to restart"} {
		t.Run(strings.Fields(at)[0], func(t *testing.T) {
			t.Parallel() // most of it is waiting
			a := serveWith(t, `, "latency": {"guest-update-download": "300ms", "guest-update-install": "300ms"}`)
			dir, state := t.TempDir(), t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "t.pkr.hcl"), []byte(updating), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd, first := a.start(t, state, at, "build", dir)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			cmd.Wait() //nolint:errcheck // it was killed
			run, _, _ := journal(t, state)
			r := a.ingot(t, state, nil, "resume", run)
			if r.code != 0 {
				t.Fatalf("resume ends with %d:\n%s\n%s", r.code, first, r.out)
			}
			versions, left := a.made(t)
			if len(versions) != 1 || len(left) != 0 {
				t.Errorf("%d versions, left behind: %v", len(versions), left)
			}
			// Each line of the guest's log is shown once by the process that follows it.
			for _, title := range []string{"2026-11 Cumulative Update", "Security Intelligence Update"} {
				if strings.Count(r.out, "installed "+title) > 1 {
					t.Errorf("%s is installed more than once:\n%s", title, r.out)
				}
			}
		})
	}
}
