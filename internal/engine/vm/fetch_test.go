package vm

import (
	"slices"
	"strings"
	"testing"

	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/provisioner"
)

// TestPlanOfAddresses: what is fetched is fetched before anything runs in the guest, and a SAS is in no plan.
func TestPlanOfAddresses(t *testing.T) {
	sas := image.Hidden("img/sas", "https://a.blob.core.windows.net/c/x.ps1?sv=1&sig=test-secret-not-real")
	img := &image.Image{Name: "i", OS: image.Windows, Communicator: image.Communicator{Kind: "winrm", Port: 5986}, Provision: []image.Provision{
		{Type: "powershell", Settings: &provisioner.PowerShell{URI: sas}}, {Type: "breakpoint", Settings: &provisioner.Breakpoint{Note: "n"}}, {Type: "breakpoint", Settings: &provisioner.Breakpoint{Disable: true}}}}
	p, err := Engine{}.Plan(img, image.Facts{}, engine.Options{Run: "r"})
	if err != nil {
		t.Fatal(err)
	}
	steps := map[string]plan.Step{}
	for _, s := range p.Steps {
		steps[s.ID] = s
		if strings.Contains(string(s.Args)+s.Title, "test-secret-not-real") || strings.Contains(string(s.Args)+s.Title, "sig=") {
			t.Errorf("step %s holds the SAS: %s %s", s.ID, s.Title, s.Args)
		}
	}
	if s := steps["fetch"]; s.Kind != "fetch" || len(s.After) > 0 || !strings.Contains(string(s.Args), `"img/sas"`) || !slices.Contains(steps["provision-1"].After, "fetch") {
		t.Errorf("%+v, provision after %v", s, steps["provision-1"].After)
	}
	if steps["provision-2"].Kind != Breakpoint || steps["provision-3"].Kind != "provision" {
		t.Errorf("breakpoints are %s and %s", steps["provision-2"].Kind, steps["provision-3"].Kind)
	}
}

// TestRefusedForGuests: what cannot work with a guest or a communicator is refused by name.
func TestRefusedForGuests(t *testing.T) {
	for _, c := range []struct {
		os   image.OS
		kind string
		p    image.Provision
		want string
	}{
		{image.Windows, "winrm", image.Provision{Type: "ansible-local", Settings: &provisioner.AnsibleLocal{}}, "ansible-local is for Linux guests"},
		{image.Windows, "runcommand", image.Provision{Type: "ansible", Settings: &provisioner.Ansible{}}, "leaves no port open"},
		{image.Linux, "ssh", image.Provision{Type: "ansible", Settings: &provisioner.Ansible{}}, ""},
		{image.Windows, "winrm", image.Provision{Type: "puppet-masterless", Settings: &provisioner.PuppetMasterless{ManifestDir: "d"}}, "manifest_dir of provisioner puppet-masterless"},
		{image.Windows, "winrm", image.Provision{Type: "puppet-server", Settings: &provisioner.PuppetServer{}}, ""},
		{image.Windows, "winrm", image.Provision{Type: "hcp-sbom", Settings: &provisioner.SBOM{AutoGenerate: true, Destination: "x"}}, "auto_generate of provisioner hcp-sbom"},
	} {
		l := limits(&image.Image{OS: c.os, Communicator: image.Communicator{Kind: c.kind}, Source: image.Marketplace{}, Provision: []image.Provision{c.p}})
		if c.want == "" && len(l) > 0 || c.want != "" && (len(l) != 1 || !strings.Contains(l[0].Summary, c.want) || l[0].Remedy == "") {
			t.Errorf("%s with %s: %+v, want %q", c.p.Type, c.kind, l, c.want)
		}
	}
}
