package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const packerSeeds = `{"resources": [
  {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/images", "body": {"location": "westeurope"}},
  {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/images/providers/Microsoft.Compute/galleries/g", "body": {"location": "westeurope"}},
  {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/images/providers/Microsoft.Compute/galleries/g/images/linux",
   "body": {"location": "westeurope", "properties": {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "identifier": {"publisher": "p", "offer": "o", "sku": "linux"}}}},
  {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/images/providers/Microsoft.Compute/galleries/g/images/windows",
   "body": {"location": "westeurope", "properties": {"osType": "Windows", "osState": "Generalized", "hyperVGeneration": "V2", "identifier": {"publisher": "p", "offer": "o", "sku": "windows"}}}}
]}`

// packerTemplate is a template for Packer's azure-arm; NAME is the image's.
const packerTemplate = `source "azure-arm" "it" {
  subscription_id = "00000000-0000-4000-8000-00000000a001"
  tenant_id       = "00000000-0000-4000-8000-00000000b001"
  client_id       = "00000000-0000-4000-8000-00000000c001"
  client_secret   = "simulated-secret-not-real"
  location        = "westeurope"
  vm_size         = "Standard_D2s_v5"
  shared_image_gallery_destination {
    resource_group      = "images"
    gallery_name        = "g"
    image_name          = "NAME"
    image_version       = "1.0.0"
    replication_regions = ["westeurope"]
  }
`

const packerLinux = `  os_type         = "Linux"
  image_publisher = "Debian"
  image_offer     = "debian-12"
  image_sku       = "12-gen2"
  ssh_username    = "packer"
}
build {
  sources = ["source.azure-arm.it"]
  provisioner "shell" {
    inline = ["echo hello from $(uname -s)"]
  }
  provisioner "file" {
    content     = "carried"
    destination = "/tmp/carried"
  }
  provisioner "shell" {
    execute_command = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    inline          = ["cat /tmp/carried; echo", "/usr/sbin/waagent -force -deprovision+user && sync"]
  }
}
`

const packerWindows = `  os_type         = "Windows"
  image_publisher = "MicrosoftWindowsDesktop"
  image_offer     = "windows-11"
  image_sku       = "win11-25h2-avd"
  communicator    = "winrm"
  winrm_use_ssl   = true
  winrm_insecure  = true
  winrm_timeout   = "3m"
  winrm_username  = "packer"
}
build {
  sources = ["source.azure-arm.it"]
  provisioner "powershell" {
    environment_vars = ["COLOR=green"]
    inline           = ["Write-Host \"the colour is $env:COLOR\""]
  }
  provisioner "file" {
    content     = "carried"
    destination = "C:/carried.txt"
  }
  provisioner "windows-restart" {}
  provisioner "powershell" {
    elevated_user     = "SYSTEM"
    elevated_password = ""
    inline            = ["Write-Host elevated"]
  }
  provisioner "powershell" {
    inline = [
      "& $env:SystemRoot\\System32\\Sysprep\\Sysprep.exe /oobe /generalize /quiet /quit /mode:vm",
      "while($true) { $imageState = Get-ItemProperty HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Setup\\State | Select ImageState; if($imageState.ImageState -ne 'IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE') { Write-Output $imageState.ImageState; Start-Sleep -s 10  } else { break } }"
    ]
  }
}
`

// TestPacker has the installed Packer, unmodified, build on a real Linux and a modelled Windows of the simulated Azure.
func TestPacker(t *testing.T) {
	packer, err := exec.LookPath("packer")
	if err != nil {
		t.Skip("no packer on PATH")
	}
	if out, err := exec.Command(packer, "plugins", "installed").CombinedOutput(); err != nil || !strings.Contains(string(out), "packer-plugin-azure") {
		t.Skip("packer has no azure plugin: packer plugins install github.com/hashicorp/azure")
	}
	for name, x := range map[string]struct {
		text, guests string
		want         []string
	}{
		"linux":   {packerLinux, "qemu", []string{"hello from Linux", "carried"}},
		"windows": {packerWindows, "scripted", []string{"the colour is green", "Machine successfully restarted", "elevated"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if x.guests == "qemu" {
				realGuests(t)
			}
			a := serveScenario(t, packerSeeds, "--guests", x.guests, "--clock", "60x")
			file := filepath.Join(t.TempDir(), name+".pkr.hcl")
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(packerTemplate, "NAME", name)+x.text), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), 8*time.Minute)
			defer stop()
			cmd := exec.CommandContext(ctx, packer, "build", "-color=false", file)
			cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "SSL_CERT_FILE="+a.ca, "ARM_METADATA_URL="+a.url, "PACKER_CACHE_DIR="+t.TempDir())
			cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("packer: %v\n%s\n%s", err, out, a.log)
			}
			for _, want := range x.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("packer does not show %q:\n%s", want, out)
				}
			}
			versions, left := a.made(t)
			left = slices.DeleteFunc(left, func(id string) bool { return strings.Contains(id, "/deletedVaults/") }) // Packer never purges its vault
			if len(versions) != 1 || len(left) > 0 {
				t.Errorf("packer leaves versions %v and %v", versions, left)
			}
		})
	}
}
