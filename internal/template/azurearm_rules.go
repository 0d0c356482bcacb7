package template

import (
	"cmp"
	"encoding/base64"
	"net/url"
	"regexp"
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
	if len(img.Tags) > 50 {
		fail(tags, "remove some", "%d tags: Azure allows 50 on a resource", len(img.Tags))
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
	// A block whose values are all "" is none, as in Packer: people switch it off so.
	gallery := o.Gallery != nil && *o.Gallery != (armGallery{})
	n := 0
	for _, set := range []bool{market, custom, gallery, o.ImageURL != ""} {
		if set {
			n++
		}
	}
	var plan *image.PurchasePlan
	if pl := o.Plan; pl != nil && *pl != (armPlan{}) {
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
	if o.DiskCachingType != "" && m.DiskCaching != o.DiskCachingType {
		fail("disk_caching_type", "write "+m.DiskCaching, "disk_caching_type is %q: capitals count", o.DiskCachingType)
	}
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
	if o.SkipCreateBuildKeyVault && o.Communicator != "winrm" && o.Communicator != "runcommand" {
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
