package template

import (
	"cmp"
	"encoding/base64"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"ingot/internal/image"
)

var (
	managedName    = regexp.MustCompile(`^[^_\W][\w-._)]{0,79}$`)
	groupName      = regexp.MustCompile(`^[^_\W][\w-._\(\)]{0,89}$`)
	snapshotName   = regexp.MustCompile(`^[A-Za-z0-9_]{1,79}$`)
	snapshotPrefix = regexp.MustCompile(`^[A-Za-z0-9_]{1,59}$`)
	containerName  = regexp.MustCompile(`^[a-z0-9][a-z0-9\-]{2,62}$`)
	communityID    = regexp.MustCompile(`(?i)^/communityGalleries/[^/]+/images/[^/]+(/versions/[^/]+)?$`)
	directSharedID = regexp.MustCompile(`(?i)^/sharedGalleries/[^/]+/images/[^/]+(/versions/[^/]+)?$`)
	vaultName      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]$`)
	prefixName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,9}$`)
	versionForm    = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)
	identityID     = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/]+$`)
	galleryIDFor   = regexp.MustCompile(`(?i)^/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Compute/galleries/([^/]+)/images/([^/]+)(?:/versions/([^/]+))?$`)
)

// toImage applies azure-arm's defaults and rules (reference: packer-azure-arm.md section 1) and makes the model.
func (d *decoder) toImage(o *azureARM) *image.Image {
	fail := d.fail
	oneOf := func(option, value string, allowed ...string) string {
		if value == "" {
			return ""
		}
		for _, a := range allowed {
			if strings.EqualFold(a, value) {
				return a
			}
		}
		fail(option, "use one of "+strings.Join(allowed, ", "), "%s is %q", option, value)
		return value
	}
	img := &image.Image{Pos: d.at, Name: d.name, Tags: map[string]string{}}
	img.Identity = d.toIdentity(&o.armIdentity)
	img.SkipImage = o.SkipCreateImage
	img.Snapshots = image.Snapshots{OSDisk: o.ManagedImageOSSnapshot, DataPrefix: o.ManagedImageDataSnapshot}
	for _, x := range []struct {
		option, value string
		form          *regexp.Regexp
	}{{"managed_image_os_disk_snapshot_name", o.ManagedImageOSSnapshot, snapshotName}, {"managed_image_data_disk_snapshot_prefix", o.ManagedImageDataSnapshot, snapshotPrefix}} {
		if x.value != "" && !x.form.MatchString(x.value) {
			fail(x.option, "use letters, digits and _ only, at most 79 (59 in a prefix)", "%s is %q", x.option, x.value)
		}
	}

	switch {
	case strings.EqualFold(o.OSType, "Windows"):
		img.OS = image.Windows
	case strings.EqualFold(o.OSType, "Linux"):
		img.OS = image.Linux
	case o.OSType == "":
		fail("os_type", `add os_type = "Windows"`, "os_type is missing")
		img.OS = image.Windows
	default:
		fail("os_type", `use "Windows" or "Linux"`, "os_type is %q", o.OSType)
		img.OS = image.Windows
	}
	img.Source = d.source(o, fail)
	d.machine(o, img, fail, oneOf)
	d.network(o, img, fail, oneOf)
	d.communicator(o, img, fail)
	d.targets(o, img, fail, oneOf)
	for k, v := range o.AzureTags {
		img.Tags[k] = v
	}
	for i, t := range o.AzureTag {
		if t.Name == "" {
			fail(nth("azure_tag", i), "add name", "azure_tag needs name")
			continue
		}
		img.Tags[t.Name] = t.Value
	}
	tags := "azure_tags"
	if !d.has(tags) {
		tags = "azure_tag"
	}
	if len(img.Tags) > 50-2 { // Ingot adds two
		fail(tags, "remove some", "%d tags: Azure allows 50 on a resource, and Ingot needs two of them", len(img.Tags))
	}
	for _, k := range keys(img.Tags) {
		if len(k) > 512 || len(img.Tags[k]) > 256 {
			fail(tags, "shorten it", "tag %q: a name has at most 512 characters and a value 256", k[:min(len(k), 40)])
		}
	}
	return img
}

// toIdentity judges how the template signs in (reference section 1.1).
func (d *decoder) toIdentity(o *armIdentity) image.Identity {
	id := image.Identity{SubscriptionID: o.SubscriptionID, TenantID: o.TenantID, ClientID: o.ClientID, ClientSecret: o.ClientSecret, ClientCertPath: o.ClientCertPath,
		ClientCertPassword: o.ClientCertPassword, ClientJWT: o.ClientJWT, OIDCRequestURL: o.OIDCRequestURL, OIDCRequestToken: o.OIDCRequestToken, AzureCLI: o.UseAzureCLIAuth,
		MetadataHost: o.MetadataHost, Pos: d.at}
	var ways []string
	for _, w := range []struct {
		option string
		set    bool
	}{{"client_secret", !o.ClientSecret.IsZero()}, {"client_cert_path", o.ClientCertPath != ""}, {"client_jwt", !o.ClientJWT.IsZero()},
		{"oidc_request_url", o.OIDCRequestURL != "" || !o.OIDCRequestToken.IsZero()}} {
		if w.set {
			ways = append(ways, w.option)
		}
	}
	if len(ways) > 1 {
		d.fail(ways[1], "keep one of "+strings.Join(ways, ", "), "the template names %d ways to sign in", len(ways))
	}
	if len(ways) > 0 {
		if o.ClientID == "" {
			d.fail(ways[0], "add client_id", "signing in as a service principal needs client_id")
		}
		if o.SubscriptionID == "" {
			d.fail(ways[0], "add subscription_id", "signing in as a service principal needs subscription_id")
		}
		if o.UseAzureCLIAuth {
			d.l.problems.Warnf(d.place("use_azure_cli_auth"), "keep one", "use_azure_cli_auth goes first: %s has no effect", ways[0])
		}
	}
	if (o.OIDCRequestURL == "") != o.OIDCRequestToken.IsZero() {
		d.fail("oidc_request_url", "set both", "oidc_request_url and oidc_request_token go together")
	}
	if o.ClientCertPath != "" && !exists(d.l.local(o.ClientCertPath)) {
		d.fail("client_cert_path", "a relative path starts at the working directory, or at the template's folder", "cannot find %s", o.ClientCertPath)
	}
	if d.has("object_id") {
		d.l.problems.Warnf(d.place("object_id"), "remove it", "object_id has no effect: it is read from the token")
	}
	if u, err := url.Parse(o.MetadataHost); o.MetadataHost != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		d.fail("metadata_host", "write it with its scheme: https://management.example.com", "metadata_host is no URL")
	}
	short := strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(o.CloudEnvironmentName), "azure"), "cloud")
	for _, known := range []string{"Public", "China", "USGovernment"} {
		if short == strings.ToLower(known) {
			id.Cloud = known
		}
	}
	if short != "" && id.Cloud == "" {
		d.fail("cloud_environment_name", "use one of Public, China, USGovernment", "cloud_environment_name is %q", o.CloudEnvironmentName)
	}
	return id
}

type failFunc = func(option, remedy, format string, args ...any)
type oneOfFunc = func(option, value string, allowed ...string) string

// source wants exactly one kind.
func (d *decoder) source(o *azureARM, fail failFunc) image.Source {
	market := o.ImagePublisher != "" || o.ImageOffer != "" || o.ImageSKU != ""
	custom := o.CustomManagedImageName != "" || o.CustomManagedImageGroup != ""
	gallery := o.Gallery != nil
	n := 0
	for _, set := range []bool{market, custom, gallery, o.ImageURL != ""} {
		if set {
			n++
		}
	}
	var plan *image.PurchasePlan
	if pl := o.Plan; pl != nil {
		if pl.Name == "" || pl.Product == "" || pl.Publisher == "" {
			fail("plan_info", "add them", "plan_info needs plan_name, plan_product and plan_publisher")
		}
		plan = &image.PurchasePlan{Name: pl.Name, Product: pl.Product, Publisher: pl.Publisher, PromotionCode: pl.PromotionCode}
	}
	switch {
	case n == 0:
		fail("image_publisher", "set image_publisher, image_offer and image_sku, or shared_image_gallery, or custom_managed_image_name", "the source names no image to start from")
		return image.Marketplace{Pos: d.at}
	case n > 1:
		fail("image_publisher", "keep one of the marketplace options, shared_image_gallery, custom_managed_image_name and image_url", "the source names %d images to start from", n)
	}
	switch {
	case market:
		for _, x := range [][2]string{{"image_publisher", o.ImagePublisher}, {"image_offer", o.ImageOffer}, {"image_sku", o.ImageSKU}} {
			if x[1] == "" {
				fail(x[0], "add "+x[0], "a marketplace image needs %s", x[0])
			}
		}
		return image.Marketplace{Publisher: o.ImagePublisher, Offer: o.ImageOffer, SKU: o.ImageSKU, Version: o.ImageVersion, Plan: plan, Pos: d.place("image_publisher")}
	case custom:
		if o.CustomManagedImageName == "" || o.CustomManagedImageGroup == "" {
			fail("custom_managed_image_name", "set both", "custom_managed_image_name and custom_managed_image_resource_group_name go together")
		}
		if o.ManagedImageName == "" || o.ManagedImageGroup == "" {
			d.l.problems.Warnf(d.place("custom_managed_image_name"), "add managed_image_name and managed_image_resource_group_name if Packer must read this template too", "Packer makes nothing but a managed image of a managed image; Ingot publishes it to a gallery all the same")
		}
		return image.ManagedImage{ResourceGroup: o.CustomManagedImageGroup, Name: o.CustomManagedImageName, Plan: plan, Pos: d.place("custom_managed_image_name")}
	case o.ImageURL != "":
		if u, err := url.Parse(o.ImageURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			fail("image_url", "write https://ACCOUNT.blob.core.windows.net/CONTAINER/DISK.vhd", "image_url is no address of a blob")
		}
		if o.ManagedImageName != "" {
			fail("managed_image_name", "import the VHD as a managed image first, or capture a VHD", "a build from image_url cannot make a managed image")
		}
		return image.VHD{URL: o.ImageURL, Plan: plan, Pos: d.place("image_url")}
	case gallery:
		g := o.Gallery
		out := image.GalleryVersion{Subscription: g.Subscription, ResourceGroup: g.ResourceGroup, Gallery: g.GalleryName, Image: g.ImageName, Version: g.ImageVersion, Plan: plan, Pos: d.place("shared_image_gallery")}
		for _, x := range []struct {
			option, id string
			form       *regexp.Regexp
			like       string
		}{{"community_gallery_image_id", g.CommunityGalleryID, communityID, "/CommunityGalleries/NAME/Images/NAME/Versions/1.0.0"}, {"direct_shared_gallery_image_id", g.DirectSharedID, directSharedID, "/sharedGalleries/NAME/images/NAME/versions/1.0.0"}} {
			if x.id == "" {
				continue
			}
			option := "shared_image_gallery." + x.option
			if !x.form.MatchString(x.id) {
				fail(option, "write "+x.like, "%s is no id of such an image", option)
			}
			for _, other := range []string{"id", "subscription", "resource_group", "gallery_name", "image_name", "image_version", "community_gallery_image_id", "direct_shared_gallery_image_id"} {
				if other != x.option && d.has("shared_image_gallery."+other) {
					fail("shared_image_gallery."+other, "keep one", "%s and %s exclude one another", option, other)
				}
			}
			return image.SharedGalleryImage{ID: x.id, Community: x.option == "community_gallery_image_id", Plan: plan, Pos: d.place(option)}
		}
		if g.ID != "" {
			m := galleryIDFor.FindStringSubmatch(g.ID)
			if m == nil {
				fail("shared_image_gallery.id", "write /subscriptions/…/galleries/NAME/images/NAME/versions/1.0.0", "shared_image_gallery.id is no id of a gallery image")
				return out
			}
			for _, x := range []string{"subscription", "resource_group", "gallery_name", "image_name", "image_version", "community_gallery_image_id", "direct_shared_gallery_image_id"} {
				if d.has("shared_image_gallery." + x) {
					fail("shared_image_gallery."+x, "keep one", "shared_image_gallery.id and %s exclude one another", x)
				}
			}
			out.Subscription, out.ResourceGroup, out.Gallery, out.Image, out.Version = m[1], m[2], m[3], m[4], m[5]
			return out
		}
		for _, x := range [][2]string{{"subscription", g.Subscription}, {"resource_group", g.ResourceGroup}, {"gallery_name", g.GalleryName}, {"image_name", g.ImageName}} {
			if x[1] == "" {
				fail("shared_image_gallery", "add "+x[0], "shared_image_gallery needs %s", x[0])
			}
		}
		return out
	}
	return image.Marketplace{Pos: d.at}
}

func (d *decoder) machine(o *azureARM, img *image.Image, fail failFunc, oneOf oneOfFunc) {
	m := &img.Machine
	*m = image.Machine{Location: image.NormalLocation(o.Location), Size: o.VMSize, ResourceGroup: o.BuildResourceGroupName, TempGroup: o.TempResourceGroupName, ComputeName: o.TempComputeName, OSDiskName: o.TempOSDiskName,
		NICName: o.TempNICName, NamePrefix: o.NamePrefix, OSDiskGB: max(o.OSDiskSizeGB, 0), DiskEncryptionSetID: o.DiskEncryptionSetID, KeepOSDisk: o.KeepOSDisk, SecureBoot: o.SecureBootEnabled,
		VTPM: o.VTPMEnabled, EncryptionAtHost: o.EncryptionAtHost, Identities: o.Identities, CustomData: o.CustomData, UserData: o.UserData, AcceleratedNetworking: o.AcceleratedNetworking,
		AsyncDelete: o.AsyncResourceGroupDelete, APITimeout: cmp.Or(o.PollingDurationTimeout, 15*time.Minute), CustomScript: o.CustomScript,
		DiskController: oneOf("disk_controller_type", o.DiskControllerType, "SCSI", "NVMe")}
	d.disks(o, m)
	if sp := o.Spot; sp != nil {
		m.Spot = &image.Spot{EvictionPolicy: oneOf("spot.eviction_policy", sp.EvictionPolicy, "Deallocate", "Delete"), MaxPrice: sp.MaxPrice}
		if sp.MaxPrice != 0 && sp.EvictionPolicy == "" {
			fail("spot.max_price", "add eviction_policy", "spot.max_price needs eviction_policy")
		}
	}
	if !o.CustomScript.IsZero() && img.OS != image.Windows {
		fail("custom_script", "use custom_data", "custom_script is for Windows only")
	}
	switch {
	case o.Location == "" && o.BuildResourceGroupName == "":
		fail("location", "set location, or build_resource_group_name to build in an existing group", "the source says nowhere where to build")
	case o.Location != "" && o.BuildResourceGroupName != "":
		fail("location", "keep one: an existing group has a location", "location and build_resource_group_name exclude one another")
	}
	for _, x := range [][2]string{{"build_resource_group_name", o.BuildResourceGroupName}, {"temp_resource_group_name", o.TempResourceGroupName}, {"managed_image_resource_group_name", o.ManagedImageGroup}} {
		if x[1] != "" && (!groupName.MatchString(x[1]) || strings.HasSuffix(x[1], ".")) {
			fail(x[0], "use letters, digits, - _ . ( )", "%s is no name of a resource group: %q", x[0], x[1])
		}
	}
	if o.BuildResourceGroupName != "" && o.TempResourceGroupName != "" {
		fail("temp_resource_group_name", "keep one", "temp_resource_group_name and build_resource_group_name exclude one another")
	}
	if o.NamePrefix != "" && !prefixName.MatchString(o.NamePrefix) {
		fail("custom_resource_build_prefix", "use at most ten letters, digits and hyphens", "custom_resource_build_prefix is %q", o.NamePrefix)
	}
	if m.Size == "" {
		m.Size = "Standard_D2s_v5"
		d.l.problems.Warnf(d.at, `set vm_size = "Standard_D2s_v5", or what you need`, "vm_size is not set: Standard_D2s_v5 is used (Packer's default, Standard_A1, is retired in most regions)")
	}
	m.OSDiskType = oneOf("managed_image_storage_account_type", o.ManagedImageStorageType, "Standard_LRS", "StandardSSD_LRS", "Premium_LRS")
	if m.OSDiskType == "" {
		m.OSDiskType = "Standard_LRS"
	}
	m.DiskCaching = oneOf("disk_caching_type", o.DiskCachingType, "None", "ReadOnly", "ReadWrite")
	if m.DiskCaching == "" {
		m.DiskCaching = "ReadWrite"
	}
	m.SecurityType = oneOf("security_type", o.SecurityType, "TrustedLaunch", "ConfidentialVM")
	m.SecurityEncryption = oneOf("security_encryption_type", o.SecurityEncryptionType, "VMGuestStateOnly", "DiskWithVMGuestState")
	switch {
	case m.SecurityType != "ConfidentialVM" && m.SecurityEncryption != "":
		fail("security_encryption_type", `set security_type = "ConfidentialVM"`, "security_encryption_type is for a confidential VM only")
	case m.SecurityType == "ConfidentialVM":
		m.SecurityEncryption = cmp.Or(m.SecurityEncryption, "VMGuestStateOnly")
		if o.ManagedImageName != "" || o.StorageAccount != "" {
			fail("security_type", "publish to a gallery", "a confidential VM cannot become a managed image or a VHD")
		}
	}
	licenses := []string{"Windows_Client", "Windows_Server"}
	if img.OS == image.Linux {
		licenses = []string{"RHEL_BYOS", "SLES_BYOS"}
	}
	m.LicenseType = oneOf("license_type", o.LicenseType, licenses...)
	for _, id := range o.Identities {
		if !identityID.MatchString(id) {
			fail("user_assigned_managed_identities", "write /subscriptions/…/resourceGroups/…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME", "%q is no id of a user-assigned identity", id)
		}
	}
	if (o.SecureBootEnabled || o.VTPMEnabled || m.SecurityType == "TrustedLaunch") && o.ManagedImageName != "" {
		fail("managed_image_name", "publish to a gallery", "a machine with Trusted Launch cannot become a managed image")
	}
	for _, x := range []struct {
		option, file string
		to           *image.Text
	}{{"custom_data", o.CustomDataFile, &m.CustomData}, {"user_data", o.UserDataFile, &m.UserData}} {
		if x.file == "" {
			if _, err := base64.StdEncoding.DecodeString(x.to.Reveal()); err != nil {
				fail(x.option, "use base64encode(…), or "+x.option+"_file", "%s is not base64, which is how Azure takes it", x.option)
			}
			continue
		}
		if !x.to.IsZero() {
			fail(x.option, "keep one", "%s and %s_file exclude one another", x.option, x.option)
		}
		text, err := d.l.readBase64(x.file)
		if err != nil {
			fail(x.option+"_file", "a relative path starts at the working directory, or at the template's folder", "cannot read %s_file: %v", x.option, err)
			continue
		}
		*x.to = d.text(x.option+"_file", text, true)
	}
	if o.BootDiagStorageAccount != "" {
		m.BootDiagnosticsEndpoint = "https://" + o.BootDiagStorageAccount + ".blob.core.windows.net/"
	}
	m.KeyVault = image.KeyVault{Name: o.BuildKeyVaultName, SecretName: o.BuildKeyVaultSecretName, SKU: oneOf("build_key_vault_sku", o.BuildKeyVaultSKU, "standard", "premium"),
		Skip: o.SkipCreateBuildKeyVault, Expires: o.WinRMExpirationTime}
	if o.SkipCreateBuildKeyVault && o.Communicator != "winrm" {
		fail("skip_create_build_key_vault", `set communicator = "winrm"`, "skip_create_build_key_vault is for communicator winrm")
	}
	if n := len(o.BuildKeyVaultName); n != 0 && !vaultName.MatchString(o.BuildKeyVaultName) {
		d.l.problems.Warnf(d.place("build_key_vault_name"), "use 3 to 24 letters, digits and hyphens, beginning with a letter", "build_key_vault_name is no name of a key vault: %q", o.BuildKeyVaultName)
	}
	if o.BuildKeyVaultName != "" && o.BuildResourceGroupName == "" {
		fail("build_key_vault_name", "add build_resource_group_name", "an existing key vault must be in the group that is built in")
	}
}

// disks are the data disks; their unit numbers are given for all of them or for none.
func (d *decoder) disks(o *azureARM, m *image.Machine) {
	if n := len(o.DiskAdditionalLUNs); n > 0 && n != len(o.DiskAdditionalSize) {
		d.fail("disk_additional_luns", "give one for each disk", "disk_additional_luns has %d entries and disk_additional_size %d", n, len(o.DiskAdditionalSize))
	}
	seen := map[int]bool{}
	for i, size := range o.DiskAdditionalSize {
		if size < 1 || size > 32767 {
			d.fail("disk_additional_size", "write GB, such as 128", "a data disk cannot have %d GB", size)
			continue
		}
		disk := image.DataDisk{GB: int32(size), LUN: -1}
		if i < len(o.DiskAdditionalLUNs) {
			n := o.DiskAdditionalLUNs[i]
			if n < 0 || n > 63 || seen[n] {
				d.fail("disk_additional_luns", "use each of 0 to 63 once", "disk_additional_luns has %d, which is no free unit number", n)
				n = -1
			}
			seen[n] = true
			disk.LUN = int32(n)
		}
		m.DataDisks = append(m.DataDisks, disk)
	}
}

func (d *decoder) network(o *azureARM, img *image.Image, fail failFunc, oneOf oneOfFunc) {
	n := &img.Machine.Network
	*n = image.Network{VNet: o.VNetName, Subnet: o.SubnetName, ResourceGroup: o.VNetGroup, PublicIP: o.PublicIPInVNet, PublicIPSKU: oneOf("public_ip_sku", o.PublicIPSKU, "Standard", "Basic")}
	if o.VNetName == "" && (o.SubnetName != "" || o.VNetGroup != "") {
		fail("virtual_network_subnet_name", "add virtual_network_name", "virtual_network_subnet_name and virtual_network_resource_group_name need virtual_network_name")
	}
	if o.VNetName != "" && len(o.AllowedInbound) > 0 {
		fail("allowed_inbound_ip_addresses", "set the rules in that network's own security group", "allowed_inbound_ip_addresses is for a network made for the build, not for %s", o.VNetName)
	}
	if o.VNetName != "" && d.has("public_ip_sku") {
		fail("public_ip_sku", "leave it out", "public_ip_sku and virtual_network_name exclude one another")
	}
	if o.VNetName == "" && o.PublicIPInVNet {
		d.l.problems.Warnf(d.place("private_virtual_network_with_public_ip"), "remove it", "private_virtual_network_with_public_ip has no effect without virtual_network_name")
	}
	if n.PublicIPSKU == "Basic" {
		fail("public_ip_sku", "leave it out", "Azure has retired Basic public addresses (30 September 2025)")
	}
	for _, s := range o.AllowedInbound {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil {
				p = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if err != nil {
			fail("allowed_inbound_ip_addresses", "write 203.0.113.7 or 203.0.113.0/24", "%q is no address and no range", s)
			continue
		}
		if p.Bits() == 0 {
			d.l.problems.Warnf(d.place("allowed_inbound_ip_addresses"), "leave it out: then only this machine's own address is let in", "allowed_inbound_ip_addresses lets everybody in")
		}
		n.AllowedInbound = append(n.AllowedInbound, p)
	}
}

func (d *decoder) communicator(o *azureARM, img *image.Image, fail failFunc) {
	c := &img.Communicator
	*c = image.Communicator{Kind: o.Communicator, User: o.WinRMUsername, Password: o.WinRMPassword, Host: o.WinRMHost, Port: o.WinRMPort, Timeout: o.WinRMTimeout, UseSSL: o.WinRMUseSSL,
		Insecure: o.WinRMInsecure, NTLM: o.WinRMUseNTLM == nil || *o.WinRMUseNTLM, NoProxy: o.WinRMNoProxy, Pause: o.PauseBeforeConnect, Pos: d.place("communicator")}
	if c.Kind == "" {
		c.Kind = "ssh" // Packer's default, also for Windows
		if img.OS == image.Windows {
			d.l.problems.Warnf(d.place("communicator"), `add communicator = "winrm", winrm_use_ssl = true and winrm_insecure = true`, "communicator is not set, and Packer's default is ssh, for Windows too: it waits 20 minutes for an SSH server that most Windows images do not have")
		}
	}
	if c.Kind != "winrm" && c.Kind != "ssh" && c.Kind != "none" {
		fail("communicator", `use "winrm" or "ssh"`, "communicator is %q", c.Kind)
	}
	if c.Kind == "ssh" {
		d.ssh(o, c)
		return
	}
	if c.Kind == "winrm" {
		for _, k := range keys(d.pos) {
			if strings.HasPrefix(k, "ssh_") || strings.HasPrefix(k, "temporary_key_pair") {
				d.l.problems.Warnf(d.place(k), "remove it", "%s has no effect with communicator winrm", k)
			}
		}
	}
	if c.User == "" {
		c.User = "packer"
	}
	if c.Port == 0 {
		c.Port = 5986
		if !c.UseSSL {
			c.Port = 5985
		}
	}
	if c.Port < 1 || c.Port > 65535 {
		fail("winrm_port", "", "winrm_port is %d", c.Port)
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Minute
	}
	if s := c.Password.Reveal(); s != "" && (len(s) < 8 || len(s) > 123 || classes(s) < 3) {
		fail("winrm_password", "leave it out: one is generated", "winrm_password is too weak for Azure: 8 to 123 characters of three of the classes lower case, upper case, digit, other")
	}
}

// ssh reads what concerns communicator ssh.
func (d *decoder) ssh(o *azureARM, c *image.Communicator) {
	c.User, c.Password, c.Host, c.Port, c.Timeout, c.UseSSL, c.Insecure, c.NTLM = cmp.Or(o.SSHUsername, "packer"), o.SSHPassword, o.SSHHost, cmp.Or(o.SSHPort, 22), cmp.Or(o.SSHTimeout, 20*time.Minute), false, false, false
	for _, x := range []struct {
		option string
		port   int
	}{{"ssh_port", o.SSHPort}, {"ssh_bastion_port", o.SSHBastionPort}, {"ssh_proxy_port", o.SSHProxyPort}} {
		if x.port < 0 || x.port > 65535 {
			d.fail(x.option, "", "%s is %d", x.option, x.port)
		}
	}
	one := func(option, value string, allowed ...string) string {
		if value == "" || slices.Contains(allowed, value) {
			return value
		}
		d.fail(option, "use one of "+strings.Join(allowed, ", "), "%s is %q", option, value)
		return value
	}
	c.SSH = image.SSH{PrivateKeyFile: o.SSHPrivateKeyFile, CertificateFile: o.SSHCertificateFile, KeypairName: o.SSHKeypairName,
		TemporaryKeyType: one("temporary_key_pair_type", o.TemporaryKeyPairType, "rsa", "ecdsa", "ed25519", "dsa"), TemporaryKeyName: o.TemporaryKeyPairName, TemporaryKeyBits: o.TemporaryKeyPairBits,
		Ciphers: o.SSHCiphers, KeyExchange: o.SSHKeyExchange, ClearAuthorizedKeys: o.SSHClearKeys, PTY: o.SSHPTY, HandshakeAttempts: o.SSHHandshakeAttempts, Agent: o.SSHAgentAuth,
		NoAgentForwarding: o.SSHDisableAgentForwarding, FileTransfer: one("ssh_file_transfer_method", o.SSHFileTransferMethod, "scp", "sftp"), KeepAlive: o.SSHKeepAlive, ReadWriteTimeout: o.SSHReadWriteTimeout,
		RemoteTunnels: o.SSHRemoteTunnels, LocalTunnels: o.SSHLocalTunnels,
		Bastion: image.Bastion{Host: o.SSHBastionHost, Port: o.SSHBastionPort, User: o.SSHBastionUsername, Password: o.SSHBastionPassword, Agent: o.SSHBastionAgentAuth, Interactive: o.SSHBastionInteractive,
			KeyFile: o.SSHBastionKeyFile, CertificateFile: o.SSHBastionCertFile},
		Proxy: image.SOCKS{Host: o.SSHProxyHost, Port: o.SSHProxyPort, User: o.SSHProxyUsername, Password: o.SSHProxyPassword}}
	if o.SSHBastionHost != "" && o.SSHProxyHost != "" {
		d.fail("ssh_proxy_host", "keep one", "ssh_proxy_host and ssh_bastion_host exclude one another")
	}
	for _, x := range [][2]string{{"ssh_private_key_file", o.SSHPrivateKeyFile}, {"ssh_certificate_file", o.SSHCertificateFile}, {"ssh_bastion_private_key_file", o.SSHBastionKeyFile}, {"ssh_bastion_certificate_file", o.SSHBastionCertFile}} {
		if x[1] != "" && !strings.HasPrefix(x[1], "~") && !exists(d.l.local(x[1])) {
			d.fail(x[0], "a relative path starts at the working directory, or at the template's folder", "cannot find %s", x[1])
		}
	}
	for _, k := range keys(d.pos) {
		if strings.HasPrefix(k, "winrm_") {
			d.l.problems.Warnf(d.place(k), "remove it", "%s has no effect with communicator ssh", k)
		}
	}
}

func classes(s string) (n int) {
	for _, set := range []string{"abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"} {
		if strings.ContainsAny(s, set) {
			n++
		}
	}
	return n
}

func (d *decoder) targets(o *azureARM, img *image.Image, fail failFunc, oneOf oneOfFunc) {
	if o.ManagedImageName != "" || o.ManagedImageGroup != "" {
		switch {
		case o.ManagedImageName == "" || o.ManagedImageGroup == "":
			fail("managed_image_name", "set both", "managed_image_name and managed_image_resource_group_name go together")
		case !managedName.MatchString(o.ManagedImageName) || strings.HasSuffix(o.ManagedImageName, "-") || strings.HasSuffix(o.ManagedImageName, "."):
			fail("managed_image_name", "use letters, digits, - _ .", "managed_image_name is no name of an image: %q", o.ManagedImageName)
		}
		img.Targets = append(img.Targets, image.ToManagedImage{ResourceGroup: o.ManagedImageGroup, Name: o.ManagedImageName, StorageType: img.Machine.OSDiskType, ZoneResilient: o.ManagedImageZone, Pos: d.place("managed_image_name")})
		if o.DiskEncryptionSetID != "" {
			fail("disk_encryption_set_id", "publish to a gallery", "disk_encryption_set_id cannot be used with a managed image")
		}
	}
	var endOfLife time.Time
	if o.EndOfLife != "" {
		t, err := time.Parse(time.RFC3339, o.EndOfLife)
		if err != nil {
			fail("shared_gallery_image_version_end_of_life_date", `write it as "2027-01-31T00:00:00Z"`, "shared_gallery_image_version_end_of_life_date is no date: %q", o.EndOfLife)
		}
		endOfLife = t
	}
	d.vhd(o, img)
	for i, g := range o.Destinations {
		at := nth("shared_image_gallery_destination", i)
		if g.ResourceGroup+g.GalleryName+g.ImageName+g.ImageVersion == "" && len(o.Destinations) == 1 && (len(img.Targets) > 0 || img.SkipImage) {
			continue // a block whose values are all "" is none: people switch the target off so
		}
		t := image.ToGallery{Subscription: g.Subscription, ResourceGroup: g.ResourceGroup, Gallery: g.GalleryName, Image: g.ImageName, Version: g.ImageVersion, Shallow: g.Shallow, Specialized: g.Specialized,
			ExcludeFromLatest: o.ExcludeFromLatest, EndOfLife: endOfLife, Timeout: cmp.Or(o.GalleryTimeout, time.Hour), Replicas: min(max(o.ReplicaCount, 1), 100), Pos: d.place(at),
			ConfidentialEncryption: oneOf(at+".confidential_vm_image_encryption_type", g.ConfidentialType, "EncryptedVMGuestStateOnlyWithPmk", "EncryptedWithPmk", "EncryptedWithCmk")}
		if g.ConfidentialType != "" && img.Machine.SecurityType != "ConfidentialVM" {
			fail(at+".confidential_vm_image_encryption_type", `set security_type = "ConfidentialVM"`, "confidential_vm_image_encryption_type is for a confidential VM only")
		}
		for _, x := range [][2]string{{"resource_group", g.ResourceGroup}, {"gallery_name", g.GalleryName}, {"image_name", g.ImageName}, {"image_version", g.ImageVersion}} {
			if x[1] == "" {
				fail(at, "add "+x[0], "%s needs %s", at, x[0])
			}
		}
		if v := g.ImageVersion; v != "" && v != "auto" {
			big := slices.ContainsFunc(strings.Split(v, "."), func(n string) bool { return len(n) > 10 || len(n) == 10 && n > "2147483647" })
			switch {
			case !versionForm.MatchString(v):
				fail(at+".image_version", `write Major.Minor.Patch, or "auto"`, "image_version is %q", v)
			case big:
				d.l.problems.Warnf(d.place(at+".image_version"), "use smaller numbers, such as year, month with day, and time: 2026.1123.930", "image_version is %q: Azure refuses a part above 2147483647", v)
			}
		}
		t.StorageType = oneOf(at+".storage_account_type", g.StorageAccountType, "Standard_LRS", "Standard_ZRS", "Premium_LRS")
		if t.StorageType == "" {
			t.StorageType = "Standard_LRS"
		}
		if len(g.ReplicationRegions) > 0 && len(g.TargetRegions) > 0 {
			fail(at+".replication_regions", "keep target_region", "replication_regions and target_region exclude one another")
		}
		if len(g.TargetRegions) > 0 && o.ReplicaCount != 0 {
			fail("shared_image_gallery_replica_count", "set replicas in each target_region", "shared_image_gallery_replica_count and target_region exclude one another")
		}
		for _, r := range g.ReplicationRegions {
			t.Regions = append(t.Regions, image.Region{Name: image.NormalLocation(r)})
		}
		for j, r := range g.TargetRegions {
			if r.Name == "" {
				fail(nth(at+".target_region", j), "add name", "target_region needs name")
			}
			t.Regions = append(t.Regions, image.Region{Name: image.NormalLocation(r.Name), Replicas: max(min(r.Replicas, 100), 0), DiskEncryptionSetID: r.DiskEncryptionSetID})
		}
		twice := map[string]bool{}
		for _, r := range t.Regions {
			if twice[r.Name] {
				fail(at, "name it once", "region %q stands twice in %s", r.Name, at)
			}
			twice[r.Name] = true
		}
		if g.Shallow && (len(t.Regions) > 1 || o.ReplicaCount > 1) {
			fail(at+".use_shallow_replication", "keep one region and one replica", "shallow replication is for one region with one replica")
		}
		if g.Specialized && o.ManagedImageName != "" {
			fail(at+".specialized", "remove one", "a specialized gallery image and a managed image cannot come of one machine")
		}
		img.Targets = append(img.Targets, t)
	}
}

// vhd is the target of a virtual hard disk in a storage account.
func (d *decoder) vhd(o *azureARM, img *image.Image) {
	if o.ResourceGroupName == "" && o.StorageAccount == "" {
		for _, x := range []string{"capture_container_name", "capture_name_prefix"} {
			if d.has(x) {
				d.fail(x, "set storage_account and resource_group_name", "%s is for a VHD, and no storage account is named", x)
			}
		}
		if !o.SkipCreateImage && len(o.Destinations) == 0 && o.ManagedImageName == "" && o.ManagedImageGroup == "" {
			d.fail("shared_image_gallery_destination", "add shared_image_gallery_destination, managed_image_name with its group, or a storage account", "the source has no target: nothing would be kept of the build")
		}
		return
	}
	if o.ResourceGroupName == "" || o.StorageAccount == "" {
		d.fail("storage_account", "set both", "storage_account and resource_group_name go together")
	}
	if c := o.CaptureContainerName; c != "" && (!containerName.MatchString(c) || strings.HasSuffix(c, "-") || strings.Contains(c, "--")) {
		d.fail("capture_container_name", "use 3 to 63 lower-case letters, digits and single hyphens", "capture_container_name is no name of a container: %q", c)
	}
	if o.DiskEncryptionSetID != "" {
		d.fail("disk_encryption_set_id", "publish to a gallery", "disk_encryption_set_id cannot be used with a VHD")
	}
	img.Targets = append(img.Targets, image.ToVHD{ResourceGroup: o.ResourceGroupName, StorageAccount: o.StorageAccount, Container: o.CaptureContainerName, Prefix: o.CaptureNamePrefix,
		SASDuration: o.SASTokenDuration, Pos: d.place("storage_account")})
}
