package template

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"ingot/internal/image"
)

// writeImageBuilder makes one resource; with secrets in it, a deployment template around it whose parameters they are.
func writeImageBuilder(images []*image.Image) (Written, error) {
	if len(images) != 1 {
		return Written{}, fmt.Errorf("cannot write %d images as one Image Builder template: choose one with -only", len(images))
	}
	img := images[0]
	var out Written
	l := &aibLosses{&losses{image: img.Name}, map[image.Text]quotation{}, "PowerShell"}
	if img.OS == image.Linux {
		l.shell = "Shell"
	}
	t := toResource(img, l)
	s := newSecrets()
	wrapped := false
	texts := func(v any) string {
		if t, ok := v.(image.Text); ok {
			if t.Secret() != "" {
				return l.lines[t].expression("parameters('" + s.variable(t) + "')")
			}
			v = t.Reveal()
		}
		text := fmt.Sprint(v)
		// Only what ends in a bracket would be an expression: the escape would stay in "[Net.ServicePointManager]::x = y"
		// (https://learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions, escape characters).
		if wrapped && strings.HasPrefix(text, "[") && (strings.HasSuffix(text, "]") || strings.HasPrefix(text, "[[")) {
			return "[" + text
		}
		return text
	}
	list := func(name string) bool {
		return slices.Contains([]string{"customize", "distribute", "inVMValidations", "targetRegions", "additionalDataDisks"}, name)
	}
	render := func(depth int) []byte {
		var b bytes.Buffer
		jsonText{&b, texts, func(k string) string { return texts(k) }}.object(encode(t), depth, list)
		return b.Bytes()
	}
	body := render(0)
	if len(s.list) > 0 {
		wrapped = true
		var b bytes.Buffer
		b.WriteString("{\n  \"$schema\": \"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#\",\n  \"contentVersion\": \"1.0.0.0\",\n  \"parameters\": {")
		for i, v := range s.list {
			if i > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, "\n    %s: {\n      \"type\": \"securestring\"\n    }", quoted(v))
		}
		b.WriteString("\n  },\n  \"resources\": [\n    ")
		b.Write(render(2))
		b.WriteString("\n  ]\n}")
		body = b.Bytes()
		l.lossy(true, "secrets", "Image Builder has no hidden values: whoever may read the template resource sees them in its customizers")
	}
	out.Text, out.Losses, out.Needs, out.value = append(body, '\n'), l.list, s.list, s.value
	return out, nil
}

// aibLosses are the losses, and what stands around secrets in lines that are made here.
type aibLosses struct {
	*losses
	lines map[image.Text]quotation // by the secret itself, so that the parameter is the secret and not the line
	shell string                   // PowerShell or Shell, by the image's system
}

// version is the api-version that the template was written for, or the first that knows everything that is written.
func (l *aibLosses) version(t *aibTemplate, old string) string {
	newest := apiVersions()[len(apiVersions())-1]
	if !slices.Contains(apiVersions(), old) {
		return newest
	}
	need := old
	var look func(prefix string, list []written)
	look = func(prefix string, list []written) {
		for _, o := range list {
			need = max(need, since()[prefix+o.name])
			if block, ok := o.value.([]written); ok {
				look(prefix+o.name+".", block)
			}
		}
	}
	look("", encode(t))
	if strings.HasSuffix(t.Properties.Source.ImageVersionID, "/latest") || t.Properties.Validate != nil {
		need = max(need, "2022-07-01")
	}
	l.lossy(need != old, "apiVersion", need+" is written: "+old+" does not know everything that is written")
	return need
}

// toResource is the inverse of aib.toImage.
func toResource(img *image.Image, l *aibLosses) *aibTemplate {
	g, m := img.Managed, img.Machine
	t := &aibTemplate{Type: imageTemplateType, APIVersion: apiVersions()[0], Location: m.Location, Tags: g.Tags, Properties: &aibProperties{}}
	if t.Name = g.Template; t.Name == "" && g.APIVersion == "" && !strings.HasPrefix(img.Name, "azure-arm") && aibName.MatchString(img.Name) {
		t.Name = img.Name
	}
	t.Identity = &aibIdentity{Type: "UserAssigned", UserAssigned: map[string]any{}}
	for _, id := range g.Identities {
		t.Identity.UserAssigned.(map[string]any)[id] = map[string]any{}
	}
	if len(g.Identities) == 0 {
		t.Identity.UserAssigned.(map[string]any)["<imgBuilderId>"] = map[string]any{}
		l.lossy(true, "identity", "the service builds as a user-assigned identity: put its id in the place of <imgBuilderId>")
	}
	if m.Location == "" {
		t.Location = "<region>"
		l.lossy(true, "build_resource_group_name", "the template needs a region: put it in the place of <region>")
	}
	p := t.Properties
	p.Source = toAIBSource(img, l.losses)
	for _, x := range img.Provision {
		p.Customize = append(p.Customize, customizer(x, l)...)
	}
	if v := img.Validation; v != nil {
		p.Validate = &aibValidate{Continue: v.ContinueDistribute, SourceOnly: v.SourceOnly}
		for _, x := range v.Steps {
			p.Validate.Steps = append(p.Validate.Steps, customizer(x, l)...)
		}
	}
	if g.VMBoot != "" || g.Workload != nil {
		p.Optimize = &aibOptimize{}
		if g.VMBoot != "" {
			p.Optimize.VMBoot = &aibState{g.VMBoot}
		}
		if w := g.Workload; w != nil {
			p.Optimize.Workload = &aibWorkload{w.State, w.ScriptURI, w.SHA256}
		}
	}
	if g.OnCustomizerError != "" || g.OnValidationError != "" {
		p.ErrorHandling = &aibErrors{g.OnCustomizerError, g.OnValidationError}
	}
	if g.AutoRun != "" {
		p.AutoRun = &aibState{g.AutoRun}
	}
	p.Timeout, p.StagingGroup, p.ResourceTags = int(g.Timeout/time.Minute), g.StagingGroup, g.ResourceTags
	p.VM = &aibVM{Size: m.Size, DiskGB: m.OSDiskGB, Identities: m.Identities}
	if g.ContainerSubnet != "" || g.ProxySize != "" {
		p.VM.VNet = &aibVNet{ContainerSubnet: g.ContainerSubnet, ProxySize: g.ProxySize}
	}
	if n := m.Network; n.VNet != "" {
		if p.VM.VNet == nil {
			p.VM.VNet = &aibVNet{}
		}
		p.VM.VNet.Subnet = fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Network/virtualNetworks/%s/subnets/%s", or(n.Subscription, subscriptionOf(img)), or(n.ResourceGroup, "<vnetRgName>"), n.VNet, or(n.Subnet, "<subnetName>"))
		l.lossy(n.ResourceGroup == "" || n.Subnet == "", "virtual_network_name", "a subnet is named by its id: put its group and name in the place of <vnetRgName> and <subnetName>")
	}
	if v := p.VM; v.Size == "" && v.DiskGB == 0 && len(v.Identities) == 0 && v.VNet == nil {
		p.VM = nil
	}
	for _, d := range m.DataDisks {
		p.DataDisks = append(p.DataDisks, aibDisk{d.GB})
		l.lossy(d.LUN >= 0, "disk_additional_luns", "the service numbers the disks itself")
	}
	toDistribute(img, p, l.losses)
	onlyArm(img, l.losses)
	t.APIVersion = l.version(t, g.APIVersion)
	return t
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// subscriptionOf is the build's subscription, or a placeholder for it.
func subscriptionOf(img *image.Image) string {
	return or(img.Identity.SubscriptionID, "<subscriptionID>")
}

func toAIBSource(img *image.Image, l *losses) *aibSource {
	plan := func(p *image.PurchasePlan) *aibPlan {
		if p == nil {
			return nil
		}
		l.lossy(p.PromotionCode != "", "plan_info.plan_promotion_code", "planInfo has no promotion code")
		return &aibPlan{p.Name, p.Product, p.Publisher}
	}
	switch s := img.Source.(type) {
	case image.Marketplace:
		return &aibSource{Type: "PlatformImage", Publisher: s.Publisher, Offer: s.Offer, SKU: s.SKU, Version: or(s.Version, "latest"), Plan: plan(s.Plan)}
	case image.GalleryVersion:
		return &aibSource{Type: "SharedImageVersion", ImageVersionID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/galleries/%s/images/%s/versions/%s", or(s.Subscription, subscriptionOf(img)), s.ResourceGroup, s.Gallery, s.Image, or(s.Version, "latest"))}
	case image.SharedGalleryImage:
		l.impossible(s.Community, "shared_image_gallery.community_gallery_image_id", "Image Builder takes no community gallery: copy the image into a gallery of your own")
		if s.Community {
			return &aibSource{Type: "SharedImageVersion", ImageVersionID: "<imageVersionId>"}
		}
		return &aibSource{Type: "SharedImageVersion", ImageVersionID: s.ID}
	case image.ManagedImage:
		return &aibSource{Type: "ManagedImage", ImageID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/images/%s", or(s.Subscription, subscriptionOf(img)), s.ResourceGroup, s.Name)}
	case image.VHD:
		l.impossible(true, "image_url", "Image Builder takes no VHD: import it as a managed image first")
		return &aibSource{Type: "ManagedImage", ImageID: "<imageId>"}
	}
	return nil
}

func toDistribute(img *image.Image, p *aibProperties, l *losses) {
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
			p.Distribute = append(p.Distribute, aibDistribute{Type: "ManagedImage", RunOutputName: name(t.Output), Tags: tags(t.Output), Location: or(t.Location, or(img.Machine.Location, "<region>")),
				ImageID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/images/%s", or(t.Subscription, subscriptionOf(img)), t.ResourceGroup, t.Name)})
			l.impossible(t.ZoneResilient, "managed_image_zone_resilient", "the service makes no zone-resilient managed image")
		case image.ToVHD:
			p.Distribute = append(p.Distribute, aibDistribute{Type: "VHD", RunOutputName: name(t.Output), Tags: tags(t.Output), URI: t.URI})
			l.lossy(t.StorageAccount != "", "storage_account", "name the blob's address in uri")
			l.lossy(t.SASDuration != 0, "sas_token_duration", "fixed by the service; it has no effect on the image")
		case image.ToGallery:
			d := aibDistribute{Type: "SharedImage", RunOutputName: name(t.Output), Tags: tags(t.Output), ExcludeFromLatest: t.ExcludeFromLatest,
				GalleryImageID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/galleries/%s/images/%s", or(t.Subscription, subscriptionOf(img)), t.ResourceGroup, t.Gallery, t.Image)}
			switch {
			case t.FromSource:
				d.Versioning = &aibVersioning{Scheme: "Source"}
			case t.Version == "auto":
				d.Versioning = &aibVersioning{Scheme: "Latest"}
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
				regions = []image.Region{{Name: or(img.Machine.Location, "<region>")}}
			}
			for _, r := range regions {
				x := aibRegion{Name: r.Name, StorageType: r.StorageType}
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
			l.lossy(t.Timeout != 0 && t.Timeout != time.Hour, "shared_image_gallery_timeout", "buildTimeoutInMinutes bounds the whole build")
			p.Distribute = append(p.Distribute, d)
		}
	}
}

// onlyArm lists what only a VM of one's own has (reference azure-image-builder.md section 7.2).
func onlyArm(img *image.Image, l *losses) {
	m, c := img.Machine, img.Communicator
	const derived = "the service takes it from the source and the image definition"
	l.impossible(m.SecureBoot, "secure_boot_enabled", derived)
	l.impossible(m.VTPM, "vtpm_enabled", derived)
	l.impossible(m.SecurityType != "", "security_type", derived)
	l.impossible(m.SecurityEncryption != "", "security_encryption_type", derived)
	l.impossible(m.DiskEncryptionSetID != "", "disk_encryption_set_id", "the service encrypts with the platform's keys")
	l.impossible(m.EncryptionAtHost != nil, "encryption_at_host", "the service chooses its machine")
	l.impossible(m.Spot != nil, "spot", "the service uses no spot machines")
	l.impossible(m.LicenseType != "", "license_type", "the service uses no hybrid benefit")
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
		l.lossy(x.set, x.option, "fixed by the service; it has no effect on the image")
	}
	l.lossy(len(img.Tags) > 0, "azure_tags", "written as artifactTags of each target: what the service makes for the build goes without them")
	id := img.Identity
	l.lossy(id.ClientID != "" || id.AzureCLI || id.OIDCRequestURL != "", "client_id", "the template resource is made by whoever deploys it, and built as its user-assigned identity")
	l.impossible(len(img.Cleanup) > 0, "error-cleanup-provisioner", "the service has none")
	l.impossible(len(img.Manifests)+len(img.After) > 0, "post-processor", "the service has none: read the run outputs")
}
