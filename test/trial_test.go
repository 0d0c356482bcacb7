package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tried is a template with a test beside it, which runs on a machine made of the finished image.
func tried(t *testing.T, source, command string) string {
	t.Helper()
	dir := framed(t, source)
	text := "test \"windows-shell\" {\n  name = \"the smoke test\"\n  inline = [\"" + command + "\"]\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "w.ingot.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTheFinishedImageIsTried: on a second machine, made of the image, before anything is published. A test that fails keeps it from being
// published.
func TestTheFinishedImageIsTried(t *testing.T) {
	t.Parallel()
	gallery := func(more string) string {
		return w11 + `
  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
    image_version  = "1.0.0"
  }
  ` + more
	}
	const version = "Microsoft.Compute/galleries/galAvd/images/windows-11-avd/versions/1.0.0"
	for name, source := range map[string]string{
		"plain":                      gallery(`location = "westeurope"`),
		"Trusted Launch":             gallery("location = \"westeurope\"\nsecurity_type = \"TrustedLaunch\"\nsecure_boot_enabled = true\nvtpm_enabled = true"),
		"in a group that stays":      gallery(`build_resource_group_name = "rg-images"`),
		"with data disks":            gallery("build_resource_group_name = \"rg-images\"\ndisk_additional_size = [8, 9]"),
		"in a network that is there": gallery("location = \"westeurope\"\nvirtual_network_name = \"vnet1\"\nvirtual_network_subnet_name = \"hosts\"\nvirtual_network_resource_group_name = \"rg-images\""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serveScenario(t, strings.TrimSuffix(strings.TrimSpace(seeds), "]}")+`,
  {"id": "`+inImages+`Microsoft.Network/virtualNetworks/vnet1", "body": {"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [{"name": "hosts", "properties": {"addressPrefix": "10.0.0.0/24"}}]}}}
]}`)
			bad := a.ingot(t, t.TempDir(), nil, "build", tried(t, source, "exit /b 7"))
			if bad.code != 1 || !strings.Contains(bad.out, "[try-provision-1] FAILED") || strings.Contains(bad.out, "[gallery-1]") {
				t.Fatalf("a test that fails: exit code %d\n%s", bad.code, bad.out)
			}
			if got := a.kept(t); len(got) != 0 {
				t.Errorf("it leaves %v", got)
			}
			good := a.ingot(t, t.TempDir(), nil, "build", tried(t, source, "echo tried on %COMPUTERNAME%"))
			if good.code != 0 || !strings.Contains(good.out, "[try-provision-1] DONE") || !strings.Contains(good.out, "connected to try-") || strings.Index(good.out, "[try-provision-1] DONE") > strings.Index(good.out, "[gallery-1]") {
				t.Fatalf("a test that does not: exit code %d\n%s", good.code, good.out)
			}
			if got := a.kept(t); !slices.Equal(got, []string{version}) {
				t.Errorf("it keeps %v", got)
			}
		})
	}
}

// TestTheSourceAloneIsTried is Image Builder's sourceValidationOnly: nothing is built.
func TestTheSourceAloneIsTried(t *testing.T) {
	t.Parallel()
	a := serve(t)
	dir := t.TempDir()
	text := `{
  "type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "location": "westeurope", "name": "t",
  "identity": {"type": "UserAssigned", "userAssignedIdentities": {"` + inImages + `Microsoft.ManagedIdentity/userAssignedIdentities/aib": {}}},
  "properties": {
    "source": {"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-25h2-avd", "version": "latest"},
    "customize": [{"type": "PowerShell", "name": "not run", "inline": ["Write-Host never"]}],
    "validate": {"sourceValidationOnly": true, "inVMValidations": [{"type": "PowerShell", "name": "look", "inline": ["Write-Host looked"]}]},
    "distribute": [{"type": "SharedImage", "runOutputName": "o", "galleryImageId": "` + inImages + `Microsoft.Compute/galleries/galAvd/images/windows-11-avd", "targetRegions": [{"name": "westeurope"}]}]
  }
}`
	if err := os.WriteFile(filepath.Join(dir, "t.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := a.ingot(t, t.TempDir(), nil, "build", filepath.Join(dir, "t.json"))
	if r.code != 0 || !strings.Contains(r.out, "[provision-1] DONE") || strings.Contains(r.out, "provision-2") || strings.Contains(r.out, "sysprep") || strings.Contains(r.out, "not run") {
		t.Errorf("exit code %d\n%s", r.code, r.out)
	}
	if got := a.kept(t); len(got) != 0 {
		t.Errorf("it leaves %v", got)
	}
}
