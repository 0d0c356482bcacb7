package template

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/diag"
)

// TestCorpus: every template that others wrote loads with the values it needs, or is refused for the reason given here.
func TestCorpus(t *testing.T) {
	root := filepath.Join("..", "..", "..", "shared", "corpus")
	if _, err := os.Stat(root); err != nil {
		t.Skipf("the corpus of other people's templates is not beside the project: %v", err)
	}
	const identity = "imgBuilderId=/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
	aib := []string{"subscriptionID=s", "rgName=rg", "region=westeurope", "runOutputName=out", identity}
	gallery := []string{"subscriptionID=s", "rgName=rg", "runOutputName=out", "sharedImageGalName=gal", "imageDefName=def", "region1=westeurope", "imageTemplateName=t", "api-version=2022-02-14", "svclocation=westeurope", identity}
	custom := []string{"rgName=rg", "image_name=im", "build_key_vault_name=kv-build", "build_revision=1", "disk_encryption_set_id=", "image_offer=WindowsServer", "image_publisher=MicrosoftWindowsServer", "image_sku=2022-datacenter-g2",
		"location=westeurope", "vmSize=Standard_D4ds_v5", "subscription_id=s", "tenant_id=t", "client_id=c", "client_secret=test-secret-not-real"}
	for name, c := range map[string]struct {
		vars   []string
		errors []string // what each of them says; none: sound
	}{
		"packer/marketplace_plan_info.json":    {nil, nil},
		"packer/ubuntu_managed_image_sig.json": {nil, nil},
		"packer/windows.json":                  {nil, nil},
		"packer/windows_quickstart.json":       {nil, nil},
		"packer/windows_custom_image":          {custom, nil},
		// Its variables are declared in another file of its home folder; Packer says so too.
		"packer/centos.json.pkr.hcl": {nil, []string{"client_id", "client_secret", "resource_group", "ssh_pass", "ssh_user", "subscription_id", "tenant_id"}},

		"image-builder/armTemplateWVD.json":          {gallery, nil},
		"image-builder/armTemplateWinSIG.json":       {append(gallery, "region2=northeurope"), nil},
		"image-builder/existingVNETWindows.json":     {append(gallery, "vnetRgName=v", "vnetName=v", "subnetName=s", "region=westeurope", "imageName=im"), nil},
		"image-builder/helloImageTemplateLinux.json": {append(aib, "imageName=im"), nil},
		"image-builder/helloImageTemplateWin.json":   {append(aib, "imageName=im"), nil},
		"image-builder/helloImageTemplateVHD.json":   {[]string{"region=westeurope", "runOutputName=out"}, []string{"has no identity"}}, // identity has been required since 2019-05-01-preview
		"image-builder/trigger.json":                 {nil, []string{"a trigger of an image template, not a template"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Cwd: root, Now: now}
			raw, _ := os.ReadFile(filepath.Join(root, name))
			for _, v := range c.vars {
				key, _, _ := strings.Cut(v, "=")
				// Templates want different ones of the placeholders.
				if len(raw) == 0 || strings.Contains(string(raw), key) {
					o.Vars = append(o.Vars, v)
				}
			}
			r, problems := Load(name, o)
			var said []string
			for _, p := range problems {
				if p.Severity == diag.Error {
					said = append(said, p.Summary)
				}
			}
			for _, w := range c.errors {
				if !strings.Contains(strings.Join(said, "\n"), w) {
					t.Errorf("not said: %s", w)
				}
			}
			if len(c.errors) == 0 && (len(said) > 0 || len(r.Images) != 1) {
				t.Errorf("%d images; %q", len(r.Images), said)
			}
			if len(c.errors) > 0 {
				for _, s := range said {
					if !strings.Contains(s, "is not declared") && !strings.Contains(s, c.errors[0]) {
						t.Errorf("said as well: %s", s)
					}
				}
			}
		})
	}
}
