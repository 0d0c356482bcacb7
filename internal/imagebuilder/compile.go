package imagebuilder

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"ingot/internal/image"
)

// resource is the inverse of what the template room makes of such a resource.
func (l *compiler) resource() *Template {
	img := l.img
	g, m := img.Managed, img.Machine
	t := &Template{Type: Type, APIVersion: APIVersions()[0], Location: or(m.Location, l.o.Location), Tags: g.Tags, Properties: &Properties{}}
	if t.Name = g.Template; t.Name == "" && g.APIVersion == "" && !strings.HasPrefix(img.Name, "azure-arm") && ValidName(img.Name) {
		t.Name = img.Name
	}
	t.Identity = &Identity{Type: "UserAssigned", UserAssigned: map[string]any{}}
	for _, id := range g.Identities {
		t.Identity.UserAssigned.(map[string]any)[id] = map[string]any{}
	}
	if len(g.Identities) == 0 && !l.o.Hosted {
		t.Identity.UserAssigned.(map[string]any)["<imgBuilderId>"] = map[string]any{}
		l.lossy(true, "identity", "the service builds as a user-assigned identity: put its id in the place of <imgBuilderId>")
	}
	if t.Location == "" && !l.o.Hosted {
		t.Location = "<region>"
		l.lossy(true, "build_resource_group_name", "the template needs a region: put it in the place of <region>")
	}
	p := t.Properties
	p.Source = l.source()
	for i, x := range img.Provision {
		l.last = i == len(img.Provision)-1
		p.Customize = append(p.Customize, l.customizer(x, &l.out.Customizers)...)
	}
	l.last = false
	if v := img.Validation; v != nil {
		p.Validate = &Validate{Continue: v.ContinueDistribute, SourceOnly: v.SourceOnly}
		for _, x := range v.Steps {
			p.Validate.Steps = append(p.Validate.Steps, l.customizer(x, &l.out.Validators)...)
		}
	}
	if g.VMBoot != "" || g.Workload != nil {
		p.Optimize = &Optimize{}
		if g.VMBoot != "" {
			p.Optimize.VMBoot = &State{g.VMBoot}
		}
		if w := g.Workload; w != nil {
			p.Optimize.Workload = &Workload{w.State, w.ScriptURI, w.SHA256}
		}
	}
	if g.OnCustomizerError != "" || g.OnValidationError != "" {
		p.ErrorHandling = &ErrorHandling{g.OnCustomizerError, g.OnValidationError}
	}
	if g.AutoRun != "" {
		p.AutoRun = &State{g.AutoRun}
	}
	p.Timeout, p.StagingGroup, p.ResourceTags = int(g.Timeout/time.Minute), g.StagingGroup, g.ResourceTags
	p.VM = &VMProfile{Size: m.Size, DiskGB: m.OSDiskGB, Identities: m.Identities}
	if g.ContainerSubnet != "" || g.ProxySize != "" {
		p.VM.VNet = &VNetConfig{ContainerSubnet: g.ContainerSubnet, ProxySize: g.ProxySize}
	}
	if n := m.Network; n.VNet != "" {
		if p.VM.VNet == nil {
			p.VM.VNet = &VNetConfig{}
		}
		p.VM.VNet.Subnet = fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Network/virtualNetworks/%s/subnets/%s", or(n.Subscription, l.subscription()), or(n.ResourceGroup, "<vnetRgName>"), n.VNet, or(n.Subnet, "<subnetName>"))
		if open := n.ResourceGroup == "" || n.Subnet == ""; l.o.Hosted {
			l.impossible(open, "virtual_network_name", "the service is told a subnet by its id: set virtual_network_resource_group_name and virtual_network_subnet_name")
		} else {
			l.lossy(open, "virtual_network_name", "a subnet is named by its id: put its group and name in the place of <vnetRgName> and <subnetName>")
		}
	}
	if v := p.VM; v.Size == "" && v.DiskGB == 0 && len(v.Identities) == 0 && v.VNet == nil {
		p.VM = nil
	}
	for _, d := range m.DataDisks {
		p.DataDisks = append(p.DataDisks, Disk{d.GB})
		l.mild(d.LUN >= 0, "lossy", "disk_additional_luns", "the service numbers the disks itself")
	}
	l.distribute(p)
	l.onlyArm()
	if t.APIVersion = newest(); !l.o.Hosted {
		t.APIVersion = l.version(t, g.APIVersion)
	}
	return t
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func (l *compiler) region() string { return or(l.o.Location, or(l.img.Machine.Location, "<region>")) }

// subscription is the build's, or a placeholder for it.
func (l *compiler) subscription() string {
	return or(l.o.Subscription, or(l.img.Identity.SubscriptionID, "<subscriptionID>"))
}

func (l *compiler) source() *Source {
	img := l.img
	plan := func(p *image.PurchasePlan) *PurchasePlan {
		if p == nil {
			return nil
		}
		l.lossy(p.PromotionCode != "", "plan_info.plan_promotion_code", "planInfo has no promotion code")
		return &PurchasePlan{p.Name, p.Product, p.Publisher}
	}
	switch s := img.Source.(type) {
	case image.Marketplace:
		return &Source{Type: "PlatformImage", Publisher: s.Publisher, Offer: s.Offer, SKU: s.SKU, Version: or(s.Version, "latest"), Plan: plan(s.Plan)}
	case image.GalleryVersion:
		return &Source{Type: "SharedImageVersion", ImageVersionID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/galleries/%s/images/%s/versions/%s", or(s.Subscription, l.subscription()), s.ResourceGroup, s.Gallery, s.Image, or(s.Version, "latest"))}
	case image.SharedGalleryImage:
		l.impossible(s.Community, "shared_image_gallery.community_gallery_image_id", "Image Builder takes no community gallery: copy the image into a gallery of your own")
		if s.Community {
			return &Source{Type: "SharedImageVersion", ImageVersionID: "<imageVersionId>"}
		}
		return &Source{Type: "SharedImageVersion", ImageVersionID: s.ID}
	case image.ManagedImage:
		return &Source{Type: "ManagedImage", ImageID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/images/%s", or(s.Subscription, l.subscription()), s.ResourceGroup, s.Name)}
	case image.VHD:
		l.impossible(true, "image_url", "Image Builder takes no VHD: import it as a managed image first")
		return &Source{Type: "ManagedImage", ImageID: "<imageId>"}
	}
	return nil
}

func (l *compiler) distribute(p *Properties) {
	img := l.img
	for i, t := range img.Targets {
		name := func(o image.Output) string {
			if o.Name != "" {
				return o.Name
			}
			return fmt.Sprintf("output-%d", i+1)
		}
		tags := func(o image.Output) map[string]string {
			if len(o.Tags) > 0 {
				return o.Tags
			}
			if len(img.Tags) == 0 {
				return nil
			}
			return img.Tags
		}
		switch t := t.(type) {
		case image.ToManagedImage:
			p.Distribute = append(p.Distribute, Distribute{Type: "ManagedImage", RunOutputName: name(t.Output), Tags: tags(t.Output), Location: or(t.Location, l.region()),
				ImageID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/images/%s", or(t.Subscription, l.subscription()), t.ResourceGroup, t.Name)})
			l.impossible(t.ZoneResilient, "managed_image_zone_resilient", "the service makes no zone-resilient managed image")
		case image.ToVHD:
			p.Distribute = append(p.Distribute, Distribute{Type: "VHD", RunOutputName: name(t.Output), Tags: tags(t.Output), URI: t.URI})
			if l.o.Hosted {
				l.impossible(t.StorageAccount != "" && len(img.Machine.DataDisks) > 0, "capture_container_name", "the service writes one VHD, of the OS disk: leave the data disks out, or publish to a gallery")
			} else {
				l.lossy(t.StorageAccount != "", "storage_account", "name the blob's address in uri")
			}
			l.mild(t.SASDuration != 0, "lossy", "sas_token_duration", "fixed by the service; it has no effect on the image")
		case image.ToGallery:
			d := Distribute{Type: "SharedImage", RunOutputName: name(t.Output), Tags: tags(t.Output), ExcludeFromLatest: t.ExcludeFromLatest,
				GalleryImageID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/galleries/%s/images/%s", or(t.Subscription, l.subscription()), t.ResourceGroup, t.Gallery, t.Image)}
			switch {
			case t.FromSource:
				d.Versioning = &Versioning{Scheme: "Source"}
			case t.Version == "auto":
				d.Versioning = &Versioning{Scheme: "Latest"}
				if t.Major != nil {
					n := int(*t.Major)
					d.Versioning.Major = &n
				}
			default:
				d.GalleryImageID += "/versions/" + t.Version
			}
			if t.Shallow {
				d.Mode = "Shallow"
			}
			own := slices.ContainsFunc(t.Regions, func(r image.Region) bool {
				return r.Replicas != 0 || r.StorageType != "" || r.DiskEncryptionSetID != ""
			})
			if img.Managed.APIVersion != "" && t.StorageType != "Standard_LRS" && !own && t.Replicas == 1 && len(t.Regions) > 0 {
				// The older form is the one that has one storage type for all regions.
				d.StorageType = t.StorageType
				for _, r := range t.Regions {
					d.OldRegions = append(d.OldRegions, r.Name)
				}
				p.Distribute = append(p.Distribute, d)
				continue
			}
			regions := t.Regions
			if len(regions) == 0 {
				regions = []image.Region{{Name: l.region()}}
			}
			for _, r := range regions {
				x := TargetRegion{Name: r.Name, StorageType: r.StorageType}
				if x.StorageType == "" && t.StorageType != "Standard_LRS" {
					x.StorageType = t.StorageType
				}
				if n := int(max(r.Replicas, 0)); n > 0 {
					x.Replicas = &n
				} else if t.Replicas > 1 {
					n := int(t.Replicas)
					x.Replicas = &n
				}
				d.Regions = append(d.Regions, x)
				l.impossible(r.DiskEncryptionSetID != "", "target_region.disk_encryption_set_id", "the service encrypts with the platform's keys")
			}
			l.impossible(t.Specialized, "shared_image_gallery_destination.specialized", "the service always generalises")
			l.impossible(t.ConfidentialEncryption != "", "confidential_vm_image_encryption_type", "the service builds no confidential image")
			l.impossible(!t.EndOfLife.IsZero(), "shared_gallery_image_version_end_of_life_date", "set it on the version afterwards")
			l.mild(t.Timeout != 0 && t.Timeout != time.Hour, "lossy", "shared_image_gallery_timeout", "buildTimeoutInMinutes bounds the whole build")
			p.Distribute = append(p.Distribute, d)
		}
	}
}

// onlyArm lists what only a VM of one's own has (reference azure-image-builder.md section 7.2).
func (l *compiler) onlyArm() {
	img := l.img
	m, c := img.Machine, img.Communicator
	const derived = "the service takes it from the source and the image definition"
	l.mild(m.SecureBoot, "impossible", "secure_boot_enabled", derived)
	l.mild(m.VTPM, "impossible", "vtpm_enabled", derived)
	l.mild(m.SecurityType != "" && m.SecurityType != "ConfidentialVM", "impossible", "security_type", derived)
	l.impossible(m.SecurityType == "ConfidentialVM", "security_type", derived)
	l.impossible(m.SecurityEncryption != "", "security_encryption_type", derived)
	l.impossible(m.DiskEncryptionSetID != "", "disk_encryption_set_id", "the service encrypts with the platform's keys")
	l.mild(m.EncryptionAtHost != nil, "impossible", "encryption_at_host", "the service chooses its machine")
	l.mild(m.Spot != nil, "impossible", "spot", "the service uses no spot machines")
	l.mild(m.LicenseType != "", "impossible", "license_type", "the service uses no hybrid benefit")
	const noData = "the service hands no data to its machine: do it in a customizer"
	l.impossible(!m.CustomData.IsZero(), "custom_data", noData)
	l.impossible(!m.UserData.IsZero(), "user_data", noData)
	l.impossible(!m.CustomScript.IsZero(), "custom_script", "do it in a customizer")
	l.impossible(m.KeepOSDisk, "keep_os_disk", "the service removes its disks")
	l.impossible(img.Snapshots.OSDisk != "", "managed_image_os_disk_snapshot_name", "the service keeps no snapshots")
	l.impossible(img.Snapshots.DataPrefix != "", "managed_image_data_disk_snapshot_prefix", "the service keeps no snapshots")
	l.impossible(img.SkipImage, "skip_create_image", "a template distributes something")
	tuned := c.User != "packer" || !c.Password.IsZero() || c.Host != "" || c.Pause != 0 || c.NoProxy || !slices.Contains([]int{22, 5985, 5986}, c.Port) || c.Timeout != 30*time.Minute && c.Timeout != 20*time.Minute || !reflect.ValueOf(c.SSH).IsZero()
	k, n := m.KeyVault, m.Network
	for _, x := range []struct {
		option string
		set    bool
	}{
		{"accelerated_networking", m.AcceleratedNetworking != nil}, {"allowed_inbound_ip_addresses", len(n.AllowedInbound) > 0}, {"async_resourcegroup_delete", m.AsyncDelete}, {"boot_diag_storage_account", m.BootDiagnosticsEndpoint != ""},
		{"build_key_vault_name", k.Name != ""}, {"build_key_vault_secret_name", k.SecretName != ""}, {"build_key_vault_sku", k.SKU != ""}, {"communicator", tuned}, {"custom_resource_build_prefix", m.NamePrefix != ""},
		{"disk_caching_type", m.DiskCaching != "" && m.DiskCaching != "ReadWrite"}, {"disk_controller_type", m.DiskController != ""}, {"managed_image_storage_account_type", m.OSDiskType != "" && m.OSDiskType != "Standard_LRS"},
		{"polling_duration_timeout", m.APITimeout != 0 && m.APITimeout != 15*time.Minute}, {"private_virtual_network_with_public_ip", n.PublicIP}, {"public_ip_sku", n.PublicIPSKU != ""}, {"skip_create_build_key_vault", k.Skip},
		{"temp_compute_name", m.ComputeName != ""}, {"temp_nic_name", m.NICName != ""}, {"temp_os_disk_name", m.OSDiskName != ""}, {"temp_resource_group_name", m.TempGroup != ""}, {"winrm_expiration_time", k.Expires != 0},
	} {
		l.mild(x.set, "lossy", x.option, "fixed by the service; it has no effect on the image")
	}
	l.mild(len(img.Cleanup) > 0, "impossible", "error-cleanup-provisioner", "the service has none")
	if l.o.Hosted {
		return // tags are on what the service makes too, whoever signs in deploys the template, and what follows a build is done here
	}
	l.lossy(len(img.Tags) > 0, "azure_tags", "written as artifactTags of each target: what the service makes for the build goes without them")
	id := img.Identity
	l.lossy(id.ClientID != "" || id.AzureCLI || id.OIDCRequestURL != "", "client_id", "the template resource is made by whoever deploys it, and built as its user-assigned identity")
	l.impossible(len(img.Manifests)+len(img.After) > 0, "post-processor", "the service has none: read the run outputs")
}
