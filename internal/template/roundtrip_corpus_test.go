package template

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// armEnv is what templates of others read from the environment.
func armEnv() []string {
	return []string{"ARM_CLIENT_ID=client", "ARM_CLIENT_SECRET=test-secret-not-real", "ARM_SUBSCRIPTION_ID=subscription", "ARM_TENANT_ID=tenant"}
}

// whole is a template of somebody else's, and what its user gives it.
type whole struct {
	path string
	vars []string
}

// wholes are those that can be read: helloImageTemplateVHD.json, trigger.json and centos.json.pkr.hcl cannot, for good reasons.
func wholes() []whole {
	packer, aib := filepath.FromSlash("../../../shared/corpus/packer/"), filepath.FromSlash("../../../shared/corpus/image-builder/")
	id := "imgBuilderId=" + identity1
	out := []string{"runOutputName=out", "rgName=rg", "subscriptionID=s"}
	deploy := []string{"imageTemplateName=t1", "api-version=2020-02-14", "svclocation=westeurope"}
	sig := append([]string{id, deploy[0], deploy[1], deploy[2], "imageDefName=def", "sharedImageGalName=g", "region1=westeurope"}, out...)
	managed := append([]string{id, "imageName=i", "region=westeurope"}, out...)
	return []whole{
		{filepath.FromSlash("../../examples/windows-11-avd"), nil}, {packer + "windows.json", nil}, {packer + "windows_quickstart.json", nil}, {packer + "marketplace_plan_info.json", nil}, {packer + "ubuntu_managed_image_sig.json", nil},
		{packer + "windows_custom_image", []string{"rgName=rg", "image_name=i", "build_key_vault_name=kv", "build_revision=1", "disk_encryption_set_id=", "image_offer=WindowsServer", "image_publisher=MicrosoftWindowsServer",
			"image_sku=2022-datacenter-g2", "location=westeurope", "vmSize=Standard_DS3_V2", "subscription_id=s", "tenant_id=t", "client_id=c", "client_secret=test-secret-not-real"}},
		{aib + "armTemplateWVD.json", sig}, {aib + "armTemplateWinSIG.json", append([]string{"region2=uksouth"}, sig...)}, {aib + "helloImageTemplateWin.json", managed}, {aib + "helloImageTemplateLinux.json", managed},
		{aib + "existingVNETWindows.json", append([]string{deploy[0], deploy[1], deploy[2], "vnetName=v", "vnetRgName=rg", "subnetName=n"}, managed...)},
	}
}

// TestRoundTripCorpus: every template in every language, read again.
func TestRoundTripCorpus(t *testing.T) {
	for _, c := range wholes() {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			if _, err := os.Stat(c.path); err != nil {
				t.Skipf("%s is not there: it is kept beside the project, not in it", c.path)
			}
			for _, to := range []Language{PackerHCL, PackerJSON, ImageBuilder} {
				// What was converted stands beside the original, with the files that both name.
				dir, name := t.TempDir(), "."
				folder := c.path
				if strings.HasSuffix(c.path, ".json") {
					folder, name = filepath.Split(c.path)
				}
				if err := os.CopyFS(dir, os.DirFS(folder)); err != nil {
					t.Fatal(err)
				}
				o := Options{Vars: c.vars, Now: now, Env: armEnv(), Cwd: dir}
				r, problems := Load(name, o)
				if problems.HasErrors() {
					t.Fatal(problems)
				}
				w, err := Convert(r, to, o)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range r.Images[0].Provision {
					fetch(t, dir, p)
				}
				old, err := filepath.Glob(filepath.Join(dir, "*.pkr.hcl"))
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range old {
					if err := os.Remove(n); err != nil {
						t.Fatal(err)
					}
				}
				kept := r.Language != ImageBuilder && to == PackerHCL && r.Language == PackerJSON || r.Language == to && to != ImageBuilder
				var vars []string
				if kept {
					vars = c.vars // its variables are still there
				}
				back := again(t, dir, w, to, append(vars, placeholdersOf(string(w.Text), to)...)...)
				if len(back.Images) != len(r.Images) {
					t.Fatalf("%d images of %d", len(back.Images), len(r.Images))
				}
				for i, img := range r.Images {
					if (r.Language == ImageBuilder) != (to == ImageBuilder) {
						if common(img); img.Machine.Location == "" {
							back.Images[i].Machine.Location = "" // an existing group's
						}
						common(back.Images[i])
						back.Images[i].Provision = shared(img.Provision, back.Images[i].Provision)
					} else if to == PackerJSON {
						for j := range img.Provision {
							img.Provision[j].Name, img.Provision[j].GoOn = "", false
						}
					} else if to == ImageBuilder {
						img.Managed.APIVersion, back.Images[i].Managed.APIVersion = "", ""
					}
					if d := same(img, back.Images[i]); d != "" {
						t.Errorf("to %s: %s\nlosses: %v\n%s", to, d, w.Losses, w.Text)
					}
				}
			}
		})
	}
}

// placeholdersOf are values for what a person must still put into a written template.
func placeholdersOf(text string, l Language) (out []string) {
	if l != ImageBuilder {
		return nil
	}
	for name, v := range map[string]string{"imgBuilderId": identity1, "region": "westeurope", "subscriptionID": "s", "vnetRgName": "rg", "subnetName": "n", "imageId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/images/i",
		"imageVersionId": "/sharedGalleries/g/images/i"} {
		if strings.Contains(text, "<"+name+">") {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// fetch puts a file where a person would after reading the report.
func fetch(t *testing.T, dir string, p image.Provision) {
	t.Helper()
	for _, x := range fetched([]image.Provision{p}) {
		var name string
		switch s := x.Settings.(type) {
		case *provisioner.PowerShell:
			name = s.Script
		case *provisioner.Shell:
			name = s.Script
		case *provisioner.File:
			name = s.Source
		}
		if name == "" || filepath.IsAbs(name) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// common leaves of a model what both Packer and Image Builder say exactly: what reference azure-image-builder.md section 7 marks
// with "=", and of the rest what the report names nowhere.
func common(img *image.Image) {
	m := img.Machine
	img.SkipImage = false
	img.Identity, img.Tags, img.Managed, img.Validation, img.Cleanup, img.Manifests, img.After, img.Snapshots, img.Communicator = image.Identity{}, nil, image.Managed{}, nil, nil, nil, nil, image.Snapshots{}, image.Communicator{Kind: img.Communicator.Kind}
	img.Machine = image.Machine{Location: m.Location, Size: m.Size, OSDiskGB: m.OSDiskGB, Identities: m.Identities, Network: image.Network{VNet: m.Network.VNet, Subnet: m.Network.Subnet, ResourceGroup: m.Network.ResourceGroup}}
	if m.Size == "Standard_D2ds_v4" {
		img.Machine.Size = "" // azure-arm needs one
	}
	for _, d := range m.DataDisks {
		img.Machine.DataDisks = append(img.Machine.DataDisks, image.DataDisk{GB: d.GB})
	}
	if s, ok := img.Source.(image.ManagedImage); ok {
		s.Subscription = ""
		img.Source = s
	}
	if s, ok := img.Source.(image.Marketplace); ok && s.Version == "" {
		s.Version = "latest"
		img.Source = s
	}
	var steps []image.Provision
	for _, p := range img.Provision {
		switch s := p.Settings.(type) {
		case *provisioner.PowerShell:
			// What runs sysprep is left out, and what a local script says stands as lines.
			if len(provisioner.Scan(lines(s.Inline))) > 0 || !s.URI.IsZero() || s.Script != "" || len(s.Scripts) > 0 || len(s.EnvironmentVars)+len(s.Env) > 0 {
				continue
			}
			p = image.Provision{Type: p.Type, Settings: &provisioner.PowerShell{Inline: s.Inline, ValidExitCodes: s.ValidExitCodes}}
		case *provisioner.Shell:
			if !s.URI.IsZero() || s.Script != "" || len(s.Scripts) > 0 || len(s.EnvironmentVars)+len(s.Env) > 0 {
				continue
			}
			p = image.Provision{Type: p.Type, Settings: &provisioner.Shell{Inline: s.Inline}}
		case *provisioner.WindowsRestart:
			p = image.Provision{Type: p.Type, Settings: &provisioner.WindowsRestart{RestartCommand: s.RestartCommand, RestartCheckCommand: s.RestartCheckCommand, RestartTimeout: s.RestartTimeout}}
		case *provisioner.WindowsUpdate:
			p = image.Provision{Type: p.Type, Settings: &provisioner.WindowsUpdate{SearchCriteria: s.SearchCriteria, Filters: s.Filters, UpdateLimit: s.UpdateLimit}}
		default:
			continue
		}
		steps = append(steps, p)
	}
	img.Provision = steps
	var targets []image.Target
	for _, t := range img.Targets {
		switch t := t.(type) {
		case image.ToGallery:
			g := image.ToGallery{Gallery: t.Gallery, Image: t.Image, ResourceGroup: t.ResourceGroup, Version: t.Version, Shallow: t.Shallow}
			for _, r := range t.Regions {
				g.Regions = append(g.Regions, image.Region{Name: r.Name, Replicas: max(r.Replicas, t.Replicas)})
			}
			if len(g.Regions) == 0 { // the build's own, which azure-arm need not say
				g.Regions = []image.Region{{Name: cmp.Or(m.Location, "westeurope"), Replicas: t.Replicas}}
			}
			targets = append(targets, g)
		case image.ToManagedImage:
			targets = append(targets, image.ToManagedImage{ResourceGroup: t.ResourceGroup, Name: t.Name})
		}
	}
	// azure-arm's targets of two kinds have no order.
	slices.SortStableFunc(targets, func(a, b image.Target) int { return -strings.Compare(fmt.Sprintf("%T", a), fmt.Sprintf("%T", b)) })
	img.Targets = targets
}

// shared are the steps of have that want has too, in its order: between them stand those that were made of a pause or a script.
func shared(want, have []image.Provision) (out []image.Provision) {
	for _, p := range have {
		if len(out) < len(want) && same(&image.Image{Provision: want[len(out) : len(out)+1]}, &image.Image{Provision: []image.Provision{p}}) == "" {
			out = append(out, p)
		}
	}
	return out
}

func lines(list []image.Text) string {
	var out []string
	for _, l := range list {
		out = append(out, l.Reveal())
	}
	return strings.Join(out, "\n")
}

// unplanned is a source without the plan, which Image Builder has for the marketplace only, and without a subscription.
func unplanned(s image.Source) image.Source {
	switch s := s.(type) {
	case image.GalleryVersion:
		s.Plan, s.Subscription = nil, ""
		return s
	case image.SharedGalleryImage:
		s.Plan = nil
		return s
	case image.ManagedImage:
		s.Plan, s.Subscription = nil, ""
		return s
	case image.VHD:
		return image.VHD{URL: s.URL}
	}
	return s
}

// unnamed takes from provisioners what Packer's older language does not have: name and continue_on_error.
func unnamed(img *image.Image) {
	for _, list := range [][]image.Provision{img.Provision, img.Cleanup} {
		for i := range list {
			list[i].Name, list[i].GoOn = "", false
		}
	}
}
