package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBothEngines builds every template of others that is kept beside the project, and every example for Windows, on both engines in the
// simulated Azure: what the one image holds, the other one holds. What one engine cannot build it says so, with the reason. Linux images are
// only checked: nobody answers in a Linux guest of the scripted model (test/linux_test.go builds them on real machines).
func TestBothEngines(t *testing.T) {
	t.Parallel() // most of it is waiting
	const sub = "00000000-0000-4000-8000-00000000a001"
	builder := []string{"imgBuilderId=/subscriptions/" + sub + "/resourceGroups/identities/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder", "subscriptionID=" + sub, "rgName=rg-images", "runOutputName=out"}
	with := func(more ...string) []string { return append(more, builder...) }
	deployed := with("api-version=2022-02-14", "svclocation=westeurope", "imageTemplateName=t")
	custom := []string{"rgName=rg1", "image_name=WindowsImage", "build_key_vault_name=kvdemo1", "build_revision=1", "disk_encryption_set_id=", "image_offer=WindowsServer", "image_publisher=MicrosoftWindowsServer",
		"image_sku=2022-datacenter-g2", "location=westeurope", "vmSize=Standard_DS3_V2", "subscription_id=" + sub, "tenant_id=00000000-0000-4000-8000-00000000b001", "client_id=33333333-3333-4333-8333-333333333333", "client_secret=test-secret-not-real"}
	const gone = "does not exist in westeurope" // Azure has withdrawn that SKU
	corpus := filepath.Join("..", "..", "shared", "corpus")
	for name, c := range map[string]struct {
		path   string
		vars   []string
		vm     string // why it is not built, ...
		aib    string // ... on either engine
		linux  bool   // is checked, not built
		lossy  bool   // what is lost on Image Builder is nothing of the image
		number int    // of files that the image holds at least
	}{
		"example":                 {path: "../examples/windows-11-avd", number: 1},
		"example, Image Builder":  {path: "../examples/windows-11-image-builder/windows-11.json"},
		"example, AVD's scripts":  {path: "../examples/windows-11-avd-customizers"},
		"example, Debian":         {path: "../examples/debian-12", linux: true, aib: "execute_command would be lost"},
		"windows.json":            {path: corpus + "/packer/windows.json"},
		"windows_quickstart.json": {path: corpus + "/packer/windows_quickstart.json"},
		"windows_custom_image":    {path: corpus + "/packer/windows_custom_image", vars: custom, aib: "keep_os_disk: the service removes its disks"},
		"marketplace_plan_info":   {path: corpus + "/packer/marketplace_plan_info.json", linux: true, lossy: true},
		"ubuntu_managed_image":    {path: corpus + "/packer/ubuntu_managed_image_sig.json", linux: true, lossy: true},
		"armTemplateWVD":          {path: corpus + "/image-builder/armTemplateWVD.json", vars: append(with("sharedImageGalName=galAvd", "imageDefName=d", "region1=westeurope"), deployed[:3]...), vm: gone, aib: gone},
		"armTemplateWinSIG":       {path: corpus + "/image-builder/armTemplateWinSIG.json", vars: append(with("sharedImageGalName=galAvd", "imageDefName=d", "region1=westeurope", "region2=northeurope"), deployed[:3]...)},
		"existingVNETWindows":     {path: corpus + "/image-builder/existingVNETWindows.json", vars: append(with("vnetRgName=v", "vnetName=v", "subnetName=s", "imageName=im", "region=westeurope"), deployed[:3]...)},
		"helloImageTemplateWin":   {path: corpus + "/image-builder/helloImageTemplateWin.json", vars: with("region=westeurope", "imageName=im")},
		"helloImageTemplateLinux": {path: corpus + "/image-builder/helloImageTemplateLinux.json", vars: with("region=westeurope", "imageName=im"), linux: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(c.path); err != nil {
				t.Skipf("%s is not there: templates of others are kept beside the project, not in it", c.path)
			}
			text := read(t, c.path)
			held := map[string]string{}
			for _, engine := range []string{"vm", "aib"} {
				args := []string{"build", "--cloud", "sim", "--engine", engine}
				if c.linux {
					args = []string{"validate", "--engine", engine}
				}
				if c.lossy {
					args = append(args, "--allow-lossy")
				}
				for _, v := range c.vars {
					if key, _, _ := strings.Cut(v, "="); text == "" || strings.Contains(text, key) { // templates want different ones of the placeholders
						args = append(args, "-var", v)
					}
				}
				state := t.TempDir()
				cmd := exec.Command(os.Args[0], append(args, c.path)...)
				cmd.Env = []string{"INGOT_TEST_MAIN=1", "INGOT_STATE=" + state, "HOME=" + state}
				raw, err := cmd.CombinedOutput()
				out := string(raw)
				if why := map[string]string{"vm": c.vm, "aib": c.aib}[engine]; why != "" {
					if err == nil || !strings.Contains(out, why) {
						t.Errorf("%s: %v, without %q:\n%s", engine, err, why, out)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v\n%s", engine, err, out)
					continue
				}
				if c.linux {
					continue
				}
				m := regexp.MustCompile(`holds (\d+ files?, digest \S+)`).FindStringSubmatch(out)
				if m == nil || !strings.Contains(out, "  0 other resources") {
					t.Fatalf("%s: does not say what the image holds, or leaves something:\n%s", engine, out)
				}
				held[engine] = m[1]
				if c.number > 0 && strings.HasPrefix(m[1], "0 ") {
					t.Errorf("%s: the image holds nothing", engine)
				}
			}
			if c.vm == "" && c.aib == "" && held["vm"] != held["aib"] {
				t.Errorf("the images differ: %v", held)
			}
		})
	}
}

// read is a file's text, or "" of a folder.
func read(t *testing.T, path string) string {
	t.Helper()
	if i, err := os.Stat(path); err != nil || i.IsDir() {
		return ""
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
