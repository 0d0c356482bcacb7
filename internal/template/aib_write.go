package template

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// writeImageBuilder makes one resource; with secrets in it, a deployment template around it whose parameters they are.
func writeImageBuilder(images []*image.Image) (Written, error) {
	if len(images) != 1 {
		return Written{}, fmt.Errorf("cannot write %d images as one Image Builder template: choose one with -only", len(images))
	}
	img := images[0]
	var out Written
	l := &losses{image: img.Name}
	t := toResource(img, l)
	s := newSecrets()
	wrapped := false
	texts := func(v any) string {
		if t, ok := v.(image.Text); ok {
			if t.Secret() != "" {
				return "[parameters('" + s.variable(t) + "')]"
			}
			v = t.Reveal()
		}
		text := fmt.Sprint(v)
		if wrapped && strings.HasPrefix(text, "[") {
			return "[" + text
		}
		return text
	}
	list := func(name string) bool {
		return slices.Contains([]string{"customize", "distribute", "inVMValidations", "targetRegions", "additionalDataDisks"}, name)
	}
	render := func(depth int) []byte {
		var b bytes.Buffer
		jsonText{&b, texts}.object(encode(t), depth, list)
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
	out.Text, out.Losses, out.Needs = append(body, '\n'), l.list, s.list
	return out, nil
}

// toResource is the inverse of aib.toImage.
func toResource(img *image.Image, l *losses) *aibTemplate {
	g, m := img.Managed, img.Machine
	t := &aibTemplate{Type: imageTemplateType, APIVersion: apiVersions()[len(apiVersions())-1], Location: m.Location, Tags: g.Tags, Properties: &aibProperties{}}
	if t.Name = g.Template; t.Name == "" && !strings.HasPrefix(img.Name, "azure-arm") && aibName.MatchString(img.Name) {
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
	p.Source = toAIBSource(img, l)
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
	if n := m.Network; n.VNet != "" {
		sub := n.Subscription
		if sub == "" {
			sub = subscriptionOf(img)
		}
		p.VM.VNet = &aibVNet{Subnet: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Network/virtualNetworks/%s/subnets/%s", sub, or(n.ResourceGroup, "<vnetRgName>"), n.VNet, or(n.Subnet, "<subnetName>")),
			ContainerSubnet: g.ContainerSubnet, ProxySize: g.ProxySize}
	}
	if v := p.VM; v.Size == "" && v.DiskGB == 0 && len(v.Identities) == 0 && v.VNet == nil {
		p.VM = nil
	}
	for _, d := range m.DataDisks {
		p.DataDisks = append(p.DataDisks, aibDisk{d.GB})
		l.lossy(d.LUN >= 0, "disk_additional_luns", "the service numbers the disks itself")
	}
	toDistribute(img, p, l)
	onlyArm(img, l)
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
		return &aibSource{Type: "SharedImageVersion", ImageVersionID: s.ID}
	case image.ManagedImage:
		return &aibSource{Type: "ManagedImage", ImageID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/images/%s", or(s.Subscription, subscriptionOf(img)), s.ResourceGroup, s.Name)}
	case image.VHD:
		l.impossible(true, "image_url", "Image Builder takes no VHD: import it as a managed image first")
		return &aibSource{Type: "ManagedImage", ImageID: "<imageId>"}
	}
	return nil
}

// customizer is a provisioner as one or more customizers.
func customizer(p image.Provision, l *losses) []aibStep {
	what := strings.TrimSpace("provisioner " + p.Type + " " + p.Name)
	l.lossy(p.MaxRetries > 0, what+" max_retries", "a customizer is not tried again: repeat inside the script")
	l.lossy(p.Timeout > 0, what+" timeout", "a customizer has no limit of its own: buildTimeoutInMinutes bounds the build")
	l.lossy(p.GoOn, what+" continue_on_error", "a customizer that fails fails the build: catch the error inside the script")
	out := steplist(p, what, l)
	if p.PauseBefore > 0 && len(out) > 0 {
		l.lossy(true, what+" pause_before", "written as a customizer that sleeps")
		if out[0].Type == "Shell" {
			return append([]aibStep{{Type: "Shell", Inline: []image.Text{image.Plain(fmt.Sprintf("sleep %d", int(p.PauseBefore.Seconds())))}}}, out...)
		}
		return append([]aibStep{{Type: "PowerShell", Inline: []image.Text{image.Plain(fmt.Sprintf("Start-Sleep -Seconds %d", int(p.PauseBefore.Seconds())))}}}, out...)
	}
	return out
}

func steplist(p image.Provision, what string, l *losses) []aibStep {
	switch s := p.Settings.(type) {
	case *provisioner.PowerShell:
		return powershellStep(p, s, what, l)
	case *provisioner.Shell:
		l.lossy(s.ExecuteCommand != "", what+" execute_command", "fixed by the service: the script runs as a user who may use sudo")
		l.lossy(s.InlineShebang != "" || s.RemotePath != "" || s.RemoteFolder != "" || s.SkipClean || s.Binary || s.UseEnvVarFile, what+" options", "fixed by the service")
		l.lossy(s.ExpectDisconnect, what+" expect_disconnect", "there is no restart of Linux guests")
		var env []image.Text
		for _, v := range s.EnvironmentVars {
			env = append(env, prefixed("export ", v))
		}
		for _, k := range keys(s.Env) {
			env = append(env, prefixed("export "+k+"=", s.Env[k]))
		}
		l.lossy(len(env) > 0, what+" environment", "written as lines of the script")
		if s.URI != "" {
			return []aibStep{{Type: "Shell", Name: p.Name, ScriptURI: s.URI, SHA256: s.SHA256}}
		}
		return inlineSteps("Shell", p.Name, env, s.Inline, s.Script, s.Scripts, what, l, aibStep{})
	case *provisioner.File:
		switch {
		case s.SourceURI != "":
			return []aibStep{{Type: "File", Name: p.Name, SourceURI: s.SourceURI, Destination: s.Destination, SHA256: s.SHA256}}
		case s.Direction == "download":
			l.impossible(true, what, "nothing can be downloaded from the build's machine")
		default:
			l.impossible(true, what, "the service copies from an address only: upload the file to storage that the template's identity may read, and use a File customizer")
		}
		return nil
	case *provisioner.WindowsRestart:
		l.lossy(s.CheckRegistry || len(s.RegistryKeys) > 0, what+" check_registry", "the service does not look at the registry after a restart")
		return []aibStep{{Type: "WindowsRestart", Name: p.Name, RestartCommand: s.RestartCommand, RestartCheckCommand: s.RestartCheckCommand, RestartTimeout: s.RestartTimeout}}
	case *provisioner.WindowsUpdate:
		l.lossy(s.Username != "" || !s.Password.IsZero() || s.UpdateMaxRetries != 0 || s.RestartTimeout != 0, what+" options", "the service has search criteria, filters and a limit only")
		return []aibStep{{Type: "WindowsUpdate", Name: p.Name, SearchCriteria: s.SearchCriteria, Filters: s.Filters, UpdateLimit: s.UpdateLimit}}
	case *provisioner.Sleep:
		return []aibStep{{Type: "PowerShell", Name: p.Name, Inline: []image.Text{image.Plain(fmt.Sprintf("Start-Sleep -Seconds %d", int(s.Duration.Seconds())))}}}
	case *provisioner.WindowsShell:
		l.impossible(true, what, "there is no customizer for batch: write it in PowerShell")
	default:
		l.impossible(true, what, "Image Builder has Shell, PowerShell, File, WindowsRestart and WindowsUpdate only")
	}
	return nil
}

// prefixed is a text with something before it, as secret as it was.
func prefixed(before string, t image.Text) image.Text {
	if t.Secret() != "" {
		return image.Hidden(t.Secret(), before+t.Reveal())
	}
	return image.Plain(before + t.Reveal())
}

var powershellVariable = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)=(?s:(.*))$`)

func powershellStep(p image.Provision, s *provisioner.PowerShell, what string, l *losses) []aibStep {
	step := aibStep{Type: "PowerShell", Name: p.Name, ScriptURI: s.URI, SHA256: s.SHA256, ValidExitCodes: s.ValidExitCodes}
	switch {
	case strings.EqualFold(s.ElevatedUser, "SYSTEM"):
		step.RunElevated, step.RunAsSystem = true, true
	case s.ElevatedUser == image.Runtime("User"):
		step.RunElevated = true
	case s.ElevatedUser != "":
		step.RunElevated = true
		l.lossy(true, what+" elevated_user", "the service runs elevated scripts as its own user or as SYSTEM")
	}
	l.lossy(s.ExecutionPolicy != "" && !strings.EqualFold(s.ExecutionPolicy, "bypass"), what+" execution_policy", "fixed by the service: bypass")
	l.lossy(s.ExecuteCommand != "" || s.ElevatedExecuteCommand != "" || s.UsePwsh || s.RemotePath != "" || s.RemoteEnvVarPath != "" || s.DebugMode != 0 || s.StartRetryTimeout != 0 || s.SkipClean || s.Binary || s.EnvVarFormat != "" || s.ElevatedEnvVarFormat != "",
		what+" options", "how a script is started is fixed by the service")
	var text []string
	for _, x := range s.Inline {
		text = append(text, x.Reveal())
	}
	for _, f := range provisioner.Scan(strings.Join(text, "\n")) {
		if strings.Contains(f.Summary, "sysprep") {
			l.lossy(true, what, "it runs sysprep, which the service does itself at the end: left out")
			return nil
		}
	}
	if s.URI != "" {
		l.lossy(len(s.EnvironmentVars)+len(s.Env) > 0, what+" environment", "a script at an address gets no variables")
		return []aibStep{step}
	}
	var env []image.Text
	set := func(name string, value image.Text) {
		line := "$env:" + name + " = '" + strings.ReplaceAll(value.Reveal(), "'", "''") + "'"
		if value.Secret() != "" {
			env = append(env, image.Hidden(value.Secret(), line))
		} else {
			env = append(env, image.Plain(line))
		}
	}
	for _, v := range s.EnvironmentVars {
		if m := powershellVariable.FindStringSubmatch(v.Reveal()); m != nil {
			value := image.Plain(m[2])
			if v.Secret() != "" {
				value = image.Hidden(v.Secret(), m[2])
			}
			set(m[1], value)
		}
	}
	for _, k := range keys(s.Env) {
		set(k, s.Env[k])
	}
	l.lossy(len(env) > 0, what+" environment", "written as lines of the script")
	out := inlineSteps("PowerShell", p.Name, env, s.Inline, s.Script, s.Scripts, what, l, step)
	if s.PauseAfter > 0 {
		l.lossy(true, what+" pause_after", "written as a customizer that sleeps")
		out = append(out, aibStep{Type: "PowerShell", Inline: []image.Text{image.Plain(fmt.Sprintf("Start-Sleep -Seconds %d", int(s.PauseAfter.Seconds())))}})
	}
	return out
}

// inlineSteps are the lines as one customizer, or each script's lines as one.
func inlineSteps(kind, name string, env, inline []image.Text, script string, scripts []string, what string, l *losses, like aibStep) []aibStep {
	like.Type, like.Name = kind, name
	if len(inline) > 0 {
		like.Inline = append(slices.Clone(env), inline...)
		return []aibStep{like}
	}
	if script != "" {
		scripts = append([]string{script}, scripts...)
	}
	var out []aibStep
	for _, path := range scripts {
		raw, err := os.ReadFile(path)
		if err != nil || len(raw) > 64<<10 || !utf8.Valid(raw) {
			l.impossible(true, what+" "+base(path), "the script is not there, or too large or no UTF-8 to stand in the template: upload it to storage that the template's identity may read, and use scriptUri")
			continue
		}
		l.lossy(true, what+" "+base(path), "written as the customizer's lines")
		step := like
		step.Inline = slices.Clone(env)
		text := strings.TrimSuffix(strings.ReplaceAll(strings.TrimPrefix(string(raw), "\ufeff"), "\r\n", "\n"), "\n")
		for _, line := range strings.Split(text, "\n") {
			step.Inline = append(step.Inline, image.Plain(line))
		}
		out = append(out, step)
	}
	return out
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
			l.lossy(!t.EndOfLife.IsZero(), "shared_gallery_image_version_end_of_life_date", "set it on the version afterwards")
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
	l.impossible(m.DiskEncryptionSetID != "", "disk_encryption_set_id", "the service encrypts with the platform's keys")
	l.impossible(m.EncryptionAtHost != nil, "encryption_at_host", "the service chooses its machine")
	l.impossible(m.Spot != nil, "spot", "the service uses no spot machines")
	l.impossible(m.LicenseType != "", "license_type", "the service uses no hybrid benefit")
	l.impossible(!m.CustomData.IsZero() || !m.UserData.IsZero(), "custom_data", "the service hands no data to its machine: do it in a customizer")
	l.impossible(!m.CustomScript.IsZero(), "custom_script", "do it in a customizer")
	l.impossible(m.KeepOSDisk, "keep_os_disk", "the service removes its disks")
	l.impossible(img.Snapshots != image.Snapshots{}, "managed_image_os_disk_snapshot_name", "the service keeps no snapshots")
	l.impossible(img.SkipImage, "skip_create_image", "a template distributes something")
	service := []string{}
	for name, set := range map[string]bool{"disk_caching_type": m.DiskCaching != "" && m.DiskCaching != "ReadWrite", "disk_controller_type": m.DiskController != "", "accelerated_networking": m.AcceleratedNetworking != nil,
		"allowed_inbound_ip_addresses": len(m.Network.AllowedInbound) > 0, "public_ip_sku": m.Network.PublicIPSKU != "", "private_virtual_network_with_public_ip": m.Network.PublicIP, "boot_diag_storage_account": m.BootDiagnosticsEndpoint != "",
		"temp_compute_name": m.ComputeName+m.OSDiskName+m.NICName+m.NamePrefix != "", "build_key_vault_name": m.KeyVault != image.KeyVault{}, "managed_image_storage_account_type": m.OSDiskType != "" && m.OSDiskType != "Standard_LRS",
		"temp_resource_group_name": m.TempGroup != "", "async_resourcegroup_delete": m.AsyncDelete, "polling_duration_timeout": m.APITimeout != 0 && m.APITimeout != 15*time.Minute,
		"communicator": c.User != "packer" || !c.Password.IsZero() || c.Host != "" || c.Timeout != 30*time.Minute && c.Timeout != 20*time.Minute} {
		if set {
			service = append(service, name)
		}
	}
	slices.Sort(service)
	for _, name := range service {
		l.lossy(true, name, "fixed by the service; it has no effect on the image")
	}
	id := img.Identity
	l.lossy(id.ClientID != "" || !id.ClientSecret.IsZero() || id.AzureCLI, "client_id", "the template resource is made by whoever deploys it, and built as its user-assigned identity")
	l.impossible(len(img.Cleanup) > 0, "error-cleanup-provisioner", "the service has none")
	l.impossible(len(img.Manifests)+len(img.After) > 0, "post-processor", "the service has none: read the run outputs")
}
