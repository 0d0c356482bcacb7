package template

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// aibImage is an image that Image Builder's language can say.
func (m *making) aibImage() *image.Image {
	m.aib = true
	img := &image.Image{Name: "t", OS: image.Windows, Communicator: image.Communicator{Kind: "winrm", User: "packer", Port: 5986, Timeout: 30 * time.Minute, UseSSL: true, Insecure: true, NTLM: true}}
	linux := m.chance("linux", 30)
	switch m.of("source", "market", "gallery", "shared", "managed") {
	case "market":
		s := image.Marketplace{Publisher: "MicrosoftWindowsDesktop", Offer: m.label("offer"), SKU: m.label("sku"), Version: m.of("version", "latest", "1.2.3")}
		if linux {
			s.Publisher = "Canonical" + m.label("publisher")
		}
		if m.chance("plan", 30) {
			s.Plan = &image.PurchasePlan{Name: m.label("plan"), Product: m.label("product"), Publisher: m.label("publisher")}
		}
		img.Source = s
	case "gallery":
		img.Source = image.GalleryVersion{Subscription: "s", ResourceGroup: "rg", Gallery: "g {x}", Image: "i", Version: m.of("version", "latest", "1.2.3")}
	case "shared":
		img.Source = image.SharedGalleryImage{ID: "/sharedGalleries/g-1/images/i" + m.of("version", "", "/versions/1.0.0")}
	case "managed":
		img.Source = image.ManagedImage{Subscription: "s", ResourceGroup: "rg", Name: "i"}
	}
	if linux {
		img.OS, img.Communicator = image.Linux, image.Communicator{Kind: "ssh", User: "packer", Port: 22, Timeout: 20 * time.Minute}
	}
	// The language does not say the system: its customizers, or the source, do.
	img.Provision = m.customizers(linux, true, 1)
	if m.chance("validate", 50) {
		img.Validation = &image.Validation{ContinueDistribute: m.chance("continue", 50), SourceOnly: m.chance("source only", 50), Steps: m.customizers(linux, false, 0)}
	}
	x := &img.Machine
	*x = image.Machine{Location: m.of("location", "westeurope", "eastus2"), Size: m.maybe("size"), OSDiskGB: rapid.Int32Range(0, 4095).Draw(m.t, "gb"), OSDiskType: "Standard_LRS", DiskCaching: "ReadWrite", APITimeout: 15 * time.Minute}
	for range rapid.IntRange(0, 2).Draw(m.t, "disks") {
		x.DataDisks = append(x.DataDisks, image.DataDisk{GB: rapid.Int32Range(1, 32767).Draw(m.t, "disk"), LUN: -1})
	}
	if m.chance("identities", 30) {
		x.Identities = []string{identity1, identity1 + "-2"}
	}
	g := &img.Managed
	*g = image.Managed{Template: m.of("template", "", "t-1.x_y"), APIVersion: "2025-10-01", Identities: []string{identity1}, Tags: m.tags("tags"), ResourceTags: m.tags("resource tags"), Timeout: rapid.SampledFrom([]time.Duration{0, 6 * time.Minute, 16 * time.Hour}).Draw(m.t, "timeout"),
		VMBoot: m.of("boot", "", "Enabled", "Disabled"), AutoRun: m.of("run", "", "Enabled", "Disabled"), OnCustomizerError: m.of("on error", "", "cleanup", "abort"), OnValidationError: m.of("on validation", "", "cleanup", "abort")}
	if m.chance("staging", 30) {
		g.StagingGroup = "/subscriptions/s/resourceGroups/staging"
	}
	if m.chance("workload", 30) {
		g.Workload = &image.Workload{State: m.of("state", "", "Enabled"), ScriptURI: m.maybe("workload script"), SHA256: m.maybe("sum")}
	}
	if m.chance("network", 50) {
		x.Network = image.Network{Subscription: "s", ResourceGroup: "rg", VNet: "v", Subnet: "one"}
		if m.chance("container", 50) {
			g.ContainerSubnet = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/two"
		}
	}
	if g.ContainerSubnet == "" {
		g.ProxySize = m.maybe("proxy")
	}
	for i := range rapid.IntRange(1, 3).Draw(m.t, "targets") {
		img.Targets = append(img.Targets, m.distribute(i))
	}
	return img
}

func (m *making) distribute(i int) image.Target {
	out := image.Output{Name: fmt.Sprintf("out-%d", i), Tags: m.tags("artifact tags")}
	switch m.of("target", "gallery", "gallery", "managed", "vhd") {
	case "managed":
		return image.ToManagedImage{Subscription: "s", ResourceGroup: "rg", Name: "i", Location: m.of("at", "westeurope", "uksouth"), StorageType: "Standard_LRS", Output: out}
	case "vhd":
		return image.ToVHD{URI: m.of("uri", "", "https://a.blob.core.windows.net/c/d.vhd"), Output: out}
	}
	t := image.ToGallery{Subscription: "s", ResourceGroup: "rg", Gallery: "g", Image: "i", Version: m.of("version", "1.2.3", "auto"), ExcludeFromLatest: m.chance("exclude", 30), Replicas: 1, Timeout: time.Hour, StorageType: "Standard_LRS", Output: out}
	if t.Version == "auto" {
		switch m.of("scheme", "", "major", "source") {
		case "major":
			n := rapid.Int32Range(0, 9).Draw(m.t, "major")
			t.Major = &n
		case "source":
			t.FromSource = true
		}
	}
	old := m.chance("old regions", 20) // one storage type for all goes with replicationRegions
	if old {
		t.StorageType = m.of("storage", "Standard_LRS", "Standard_ZRS", "Premium_LRS")
	}
	for i := range rapid.IntRange(1, 3).Draw(m.t, "regions") {
		r := image.Region{Name: []string{"westeurope", "eastus2", "uksouth"}[i]}
		if !old {
			r.Replicas, r.StorageType = rapid.Int32Range(0, 9).Draw(m.t, "copies"), m.of("region storage", "", "Standard_LRS", "Premium_LRS")
		}
		t.Regions = append(t.Regions, r)
	}
	t.Shallow = len(t.Regions) == 1 && m.chance("shallow", 50)
	return t
}

// customizers are for one system, since no template is for two.
func (m *making) customizers(linux, customize bool, least int) (out []image.Provision) {
	const sum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	kinds := []string{"powershell", "file"}
	if customize {
		kinds = append(kinds, "windows-restart", "windows-update")
	}
	if linux {
		kinds = []string{"shell", "file"}
	}
	lines := func() (list []image.Text) {
		for range rapid.IntRange(1, 3).Draw(m.t, "lines") {
			list = append(list, m.secret("line"))
		}
		return list
	}
	for range rapid.IntRange(least, 3).Draw(m.t, "customizers") {
		p := image.Provision{Type: m.of("customizer", kinds...), Name: m.maybe("name")}
		uri := image.Plain("https://example.com/" + m.of("file", "a.ps1", "b/c.sh?x=1&y=%20"))
		switch p.Type {
		case "powershell":
			s := &provisioner.PowerShell{ValidExitCodes: rapid.SliceOfN(rapid.IntRange(0, 3010), 0, 3).Draw(m.t, "codes")}
			if m.chance("fetched", 30) {
				s.URI, s.SHA256 = uri, m.of("sum", "", sum)
			} else {
				s.Inline = lines()
			}
			switch m.of("elevated", "", "user", "system") {
			case "user":
				s.ElevatedUser, s.ElevatedPassword = image.Runtime("User"), image.Plain(image.Runtime("Password"))
			case "system":
				s.ElevatedUser = "SYSTEM"
			}
			p.Settings = s
		case "shell":
			if s := (&provisioner.Shell{}); m.chance("fetched", 30) {
				s.URI, s.SHA256 = uri, m.of("sum", "", sum)
				p.Settings = s
			} else {
				s.Inline = lines()
				p.Settings = s
			}
		case "file":
			s := &provisioner.File{SourceURI: uri, SHA256: m.of("sum", "", sum), Destination: `C:\` + m.label("destination")}
			if linux {
				s.Destination = "/" + m.label("destination")
			}
			p.Settings = s
		case "windows-restart":
			p.Settings = &provisioner.WindowsRestart{RestartCommand: m.of("command", "", m.text("restart")), RestartCheckCommand: m.of("check", "", m.text("check")), RestartTimeout: m.duration("restart timeout")}
		case "windows-update":
			s := &provisioner.WindowsUpdate{SearchCriteria: m.of("criteria", "", m.text("criteria")), UpdateLimit: rapid.IntRange(0, 1000).Draw(m.t, "limit")}
			if m.chance("filters", 50) {
				s.Filters = []string{"include:$true" + m.text("filter"), "exclude:" + m.text("filter") + "x"}
			}
			p.Settings = s
		}
		out = append(out, p)
	}
	return out
}
