package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLinuxImageBuilder builds a Debian with Image Builder, as an identity made for the build; the simulated service runs the customizer on a
// real machine.
func TestLinuxImageBuilder(t *testing.T) {
	t.Parallel() // most of it is waiting
	realGuests(t)
	file := filepath.Join(t.TempDir(), "linux.pkr.hcl")
	text := `source "azure-arm" "l" {
  image_publisher = "Debian"
  image_offer     = "debian-12"
  image_sku       = "12-gen2"
  os_type         = "Linux"
  location        = "westeurope"
  communicator    = "ssh"
  shared_image_gallery_destination {
    resource_group      = "rg-images"
    gallery_name        = "galAvd"
    image_name          = "debian"
    image_version       = "auto"
    replication_regions = ["westeurope"]
  }
}
build {
  sources = ["source.azure-arm.l"]
  provisioner "shell" {
    inline = ["echo hello from $(uname -s)"]
  }
}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := (&azure{}).ingot(t, t.TempDir(), []string{"INGOT_SIM=", "INGOT_SIM_LATENCY=none", "HOME=" + os.Getenv("HOME")}, "build", "--engine", "aib", "--create-identity", "--progress", "plain", file)
	for _, want := range []string{"Assign 1 role", "customizer 1 of 1: shell", "hello from Linux", "Succeeded  ", "  0 other resources"} {
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Fatalf("exit code %d, no %q:\n%s", r.code, want, r.out)
		}
	}
}
