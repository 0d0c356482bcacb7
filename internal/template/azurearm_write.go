package template

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"ingot/internal/image"
	"ingot/internal/imagebuilder"
)

// Loss is something of a model that another language cannot say, or not exactly.
type Loss = imagebuilder.Loss

// losses collects what is lost of one image.
type losses struct {
	image string
	list  []Loss
}

func (l *losses) lossy(set bool, field, reason string) {
	if set {
		l.list = append(l.list, Loss{Image: l.image, Field: field, Kind: "lossy", Reason: reason})
	}
}

func (l *losses) impossible(set bool, field, reason string) {
	if set {
		l.list = append(l.list, Loss{Image: l.image, Field: field, Kind: "impossible", Reason: reason})
	}
}

// fromImage is the inverse of toImage: the options of azure-arm that make this image.
func fromImage(img *image.Image, l *losses) *azureARM {
	o := &azureARM{}
	id := img.Identity
	o.armIdentity = armIdentity{ClientID: id.ClientID, ClientSecret: id.ClientSecret, ClientCertPath: id.ClientCertPath, ClientCertPassword: id.ClientCertPassword, ClientJWT: id.ClientJWT, OIDCRequestURL: id.OIDCRequestURL,
		OIDCRequestToken: id.OIDCRequestToken, TenantID: id.TenantID, SubscriptionID: id.SubscriptionID, UseAzureCLIAuth: id.AzureCLI, CloudEnvironmentName: id.Cloud, MetadataHost: id.MetadataHost}
	if img.OS == image.Linux {
		o.OSType = "Linux"
	} else {
		o.OSType = "Windows"
	}
	fromSource(img, o, l)
	m := img.Machine
	o.armMachine = armMachine{OSType: o.OSType, Location: m.Location, BuildResourceGroupName: m.ResourceGroup, TempResourceGroupName: m.TempGroup, VMSize: m.Size, TempOSDiskName: m.OSDiskName, TempComputeName: m.ComputeName,
		TempNICName: m.NICName, NamePrefix: m.NamePrefix, OSDiskSizeGB: m.OSDiskGB, DiskControllerType: m.DiskController, DiskEncryptionSetID: m.DiskEncryptionSetID, SecureBootEnabled: m.SecureBoot, VTPMEnabled: m.VTPM,
		SecurityType: m.SecurityType, SecurityEncryptionType: m.SecurityEncryption, EncryptionAtHost: m.EncryptionAtHost, LicenseType: m.LicenseType, Identities: m.Identities, CustomData: m.CustomData, UserData: m.UserData,
		CustomScript: m.CustomScript, AzureTags: img.Tags, AsyncResourceGroupDelete: m.AsyncDelete, BuildKeyVaultName: m.KeyVault.Name, BuildKeyVaultSecretName: m.KeyVault.SecretName, BuildKeyVaultSKU: m.KeyVault.SKU,
		SkipCreateBuildKeyVault: m.KeyVault.Skip}
	if m.ResourceGroup != "" {
		o.Location = ""
	}
	if m.DiskCaching != "ReadWrite" {
		o.DiskCachingType = m.DiskCaching
	}
	if m.APITimeout != 15*time.Minute {
		o.PollingDurationTimeout = m.APITimeout
	}
	if m.Spot != nil {
		o.Spot = &armSpot{EvictionPolicy: m.Spot.EvictionPolicy, MaxPrice: m.Spot.MaxPrice}
	}
	for _, d := range m.DataDisks {
		o.DiskAdditionalSize = append(o.DiskAdditionalSize, int(d.GB))
		if d.LUN >= 0 {
			o.DiskAdditionalLUNs = append(o.DiskAdditionalLUNs, int(d.LUN))
		}
	}
	if u, err := url.Parse(m.BootDiagnosticsEndpoint); err == nil && u.Host != "" {
		o.BootDiagStorageAccount, _, _ = strings.Cut(u.Host, ".")
	}
	l.lossy(m.Size == "", "vmProfile.vmSize", "it is not set: azure-arm would take Standard_A1, so Standard_D2ds_v4 is written, which Image Builder takes for generation 2")
	if m.Size == "" {
		o.VMSize = "Standard_D2ds_v4"
	}
	n := m.Network
	o.armNetwork = armNetwork{VNetName: n.VNet, SubnetName: n.Subnet, VNetGroup: n.ResourceGroup, PublicIPInVNet: n.PublicIP, PublicIPSKU: n.PublicIPSKU, AcceleratedNetworking: m.AcceleratedNetworking}
	for _, p := range n.AllowedInbound {
		o.AllowedInbound = append(o.AllowedInbound, p.String())
	}
	l.lossy(n.Subscription != "" && !strings.EqualFold(n.Subscription, id.SubscriptionID), "vnetConfig.subnetId", "azure-arm finds a network in the build's own subscription only")
	fromCommunicator(img, o)
	l.lossy(img.Communicator.Kind == "runcommand", "communicator", "Packer has no communicator runcommand: it refuses this template, Ingot builds it")
	o.SkipCreateImage, o.ManagedImageOSSnapshot, o.ManagedImageDataSnapshot, o.KeepOSDisk = img.SkipImage, img.Snapshots.OSDisk, img.Snapshots.DataPrefix, m.KeepOSDisk
	if m.OSDiskType != "Standard_LRS" {
		o.ManagedImageStorageType = m.OSDiskType
	}
	o.WinRMExpirationTime = m.KeyVault.Expires
	fromTargets(img, o, l)
	fromManaged(img, l)
	return o
}

func fromSource(img *image.Image, o *azureARM, l *losses) {
	var plan *image.PurchasePlan
	switch s := img.Source.(type) {
	case image.Marketplace:
		o.ImagePublisher, o.ImageOffer, o.ImageSKU, o.ImageVersion, plan = s.Publisher, s.Offer, s.SKU, s.Version, s.Plan
	case image.GalleryVersion:
		o.Gallery, plan = &armGallery{Subscription: s.Subscription, ResourceGroup: s.ResourceGroup, GalleryName: s.Gallery, ImageName: s.Image, ImageVersion: s.Version}, s.Plan
		if strings.EqualFold(s.Version, "latest") {
			o.Gallery.ImageVersion = s.Version
		}
	case image.SharedGalleryImage:
		o.Gallery, plan = &armGallery{DirectSharedID: s.ID}, s.Plan
		if s.Community {
			o.Gallery = &armGallery{CommunityGalleryID: s.ID}
		}
	case image.ManagedImage:
		o.CustomManagedImageName, o.CustomManagedImageGroup, plan = s.Name, s.ResourceGroup, s.Plan
		l.lossy(s.Subscription != "" && !strings.EqualFold(s.Subscription, img.Identity.SubscriptionID), "source.imageId", "azure-arm finds a managed image in the build's own subscription only")
		managed := slices.ContainsFunc(img.Targets, func(t image.Target) bool { _, ok := t.(image.ToManagedImage); return ok })
		l.lossy(!managed, "source", "Packer makes nothing but a managed image of a managed image: it refuses this template, Ingot builds it")
	case image.VHD:
		o.ImageURL, plan = s.URL, s.Plan
	}
	if plan != nil {
		o.Plan = &armPlan{Name: plan.Name, Product: plan.Product, Publisher: plan.Publisher, PromotionCode: plan.PromotionCode}
	}
}

func fromCommunicator(img *image.Image, o *azureARM) {
	c := img.Communicator
	a := &o.armCommunicator
	a.Communicator, a.PauseBeforeConnect = c.Kind, c.Pause
	user := c.User
	if user == "packer" {
		user = ""
	}
	if c.Kind == "ssh" {
		s := c.SSH
		*a = armCommunicator{Communicator: c.Kind, PauseBeforeConnect: c.Pause, SSHHost: c.Host, SSHUsername: user, SSHPassword: c.Password, SSHPrivateKeyFile: s.PrivateKeyFile, SSHCertificateFile: s.CertificateFile, SSHKeypairName: s.KeypairName,
			TemporaryKeyPairName: s.TemporaryKeyName, TemporaryKeyPairType: s.TemporaryKeyType, TemporaryKeyPairBits: s.TemporaryKeyBits, SSHCiphers: s.Ciphers, SSHKeyExchange: s.KeyExchange, SSHClearKeys: s.ClearAuthorizedKeys, SSHPTY: s.PTY,
			SSHHandshakeAttempts: s.HandshakeAttempts, SSHAgentAuth: s.Agent, SSHDisableAgentForwarding: s.NoAgentForwarding, SSHBastionHost: s.Bastion.Host, SSHBastionPort: s.Bastion.Port, SSHBastionAgentAuth: s.Bastion.Agent,
			SSHBastionUsername: s.Bastion.User, SSHBastionPassword: s.Bastion.Password, SSHBastionInteractive: s.Bastion.Interactive, SSHBastionKeyFile: s.Bastion.KeyFile, SSHBastionCertFile: s.Bastion.CertificateFile,
			SSHFileTransferMethod: s.FileTransfer, SSHProxyHost: s.Proxy.Host, SSHProxyPort: s.Proxy.Port, SSHProxyUsername: s.Proxy.User, SSHProxyPassword: s.Proxy.Password, SSHKeepAlive: s.KeepAlive,
			SSHReadWriteTimeout: s.ReadWriteTimeout, SSHRemoteTunnels: s.RemoteTunnels, SSHLocalTunnels: s.LocalTunnels}
		if c.Port != 22 {
			a.SSHPort = c.Port
		}
		if c.Timeout != 20*time.Minute {
			a.SSHTimeout = c.Timeout
		}
		return
	}
	if c.Kind == "runcommand" {
		*a = armCommunicator{Communicator: c.Kind, PauseBeforeConnect: c.Pause}
		timeout := c.Timeout
		if timeout == 30*time.Minute {
			timeout = 0
		}
		if img.OS == image.Linux {
			a.SSHUsername, a.SSHPassword, a.SSHTimeout = user, c.Password, timeout
		} else {
			a.WinRMUsername, a.WinRMPassword, a.WinRMTimeout = user, c.Password, timeout
		}
		return
	}
	a.WinRMUsername, a.WinRMPassword, a.WinRMHost, a.WinRMNoProxy, a.WinRMUseSSL, a.WinRMInsecure = user, c.Password, c.Host, c.NoProxy, c.UseSSL, c.Insecure
	if !c.NTLM {
		a.WinRMUseNTLM = new(bool)
	}
	if usual := map[bool]int{true: 5986, false: 5985}[c.UseSSL]; c.Port != usual {
		a.WinRMPort = c.Port
	}
	if c.Timeout != 30*time.Minute {
		a.WinRMTimeout = c.Timeout
	}
}

func fromTargets(img *image.Image, o *azureARM, l *losses) {
	galleries, images := 0, 0
	for _, t := range img.Targets {
		switch t := t.(type) {
		case image.ToManagedImage:
			if images++; images > 1 {
				l.impossible(true, "distribute "+t.Name, "azure-arm makes one managed image in a build")
				continue
			}
			o.ManagedImageName, o.ManagedImageGroup, o.ManagedImageZone = t.Name, t.ResourceGroup, t.ZoneResilient
			l.lossy(t.Location != "" && t.Location != img.Machine.Location, "distribute.location", "azure-arm makes a managed image in the build's own region only")
			l.lossy(t.Subscription != "" && !strings.EqualFold(t.Subscription, img.Identity.SubscriptionID), "distribute.imageId", "azure-arm makes a managed image in the build's own subscription only")
			l.output(t.Output)
		case image.ToVHD:
			o.ResourceGroupName, o.StorageAccount, o.CaptureContainerName, o.CaptureNamePrefix, o.SASTokenDuration = t.ResourceGroup, t.StorageAccount, t.Container, t.Prefix, t.SASDuration
			l.impossible(t.StorageAccount == "", "distribute VHD", "azure-arm writes a VHD into a storage account that the template names (storage_account, resource_group_name)")
			l.output(t.Output)
		case image.ToGallery:
			galleries++
			o.Destinations = append(o.Destinations, toDestination(&t, o, l))
			if galleries > 1 {
				l.lossy(img.Managed.APIVersion != "", "distribute "+t.Image, "Packer publishes to one gallery in a build, Ingot to all")
				l.lossy(t.ExcludeFromLatest != o.ExcludeFromLatest, "distribute.excludeFromLatest", "azure-arm has one for all galleries: the first one's is written")
				continue
			}
			if t.Timeout != time.Hour {
				o.GalleryTimeout = t.Timeout
			}
			o.ExcludeFromLatest = t.ExcludeFromLatest
			if !t.EndOfLife.IsZero() {
				o.EndOfLife = t.EndOfLife.Format(time.RFC3339Nano)
			}
		}
	}
}

// output is what Image Builder writes about a target.
func (l *losses) output(o image.Output) {
	l.lossy(o.Name != "", "distribute.runOutputName", "Packer has no run outputs; the manifest post-processor lists what was made")
	l.lossy(len(o.Tags) > 0, "distribute.artifactTags", "azure-arm has one set of tags for everything it makes (azure_tags)")
}

func toDestination(t *image.ToGallery, o *azureARM, l *losses) armDestination {
	d := armDestination{Subscription: t.Subscription, ResourceGroup: t.ResourceGroup, GalleryName: t.Gallery, ImageName: t.Image, ImageVersion: t.Version, Specialized: t.Specialized, Shallow: t.Shallow, ConfidentialType: t.ConfidentialEncryption}
	if t.StorageType != "Standard_LRS" {
		d.StorageAccountType = t.StorageType
	}
	own := slices.ContainsFunc(t.Regions, func(r image.Region) bool { return r.Replicas != 0 || r.DiskEncryptionSetID != "" })
	for _, r := range t.Regions {
		l.lossy(r.StorageType != "" && r.StorageType != t.StorageType, "distribute.targetRegions.storageAccountType", "azure-arm has one storage type for all regions")
		if t.Replicas > 1 && !own {
			d.ReplicationRegions = append(d.ReplicationRegions, r.Name)
			continue
		}
		n := r.Replicas
		if n == 0 && t.Replicas > 1 {
			n = t.Replicas
		}
		d.TargetRegions = append(d.TargetRegions, armRegion{Name: r.Name, Replicas: n, DiskEncryptionSetID: r.DiskEncryptionSetID})
	}
	if t.Replicas > 1 && !own {
		o.ReplicaCount = t.Replicas
	}
	l.lossy(t.Version == "auto", "distribute.versioning", `Packer has no automatic versions: image_version = "auto" is Ingot's own word, Packer wants Major.Minor.Patch`)
	l.lossy(t.Major != nil, "distribute.versioning.major", "an automatic version of one major number cannot be said")
	l.impossible(t.FromSource, "distribute.versioning.scheme", "a version by the source's number cannot be said")
	l.output(t.Output)
	return d
}

// fromManaged lists what only Image Builder has.
func fromManaged(img *image.Image, l *losses) {
	g := img.Managed
	l.lossy(g.APIVersion != "", "deprovisioning", "Image Builder generalises the machine by itself, and so does Ingot: for Packer add a last provisioner that does (sysprep, or waagent -deprovision+user)")
	l.lossy(len(g.Identities) > 0, "identity", "the build signs in as whoever runs it, not as the template's identity")
	l.impossible(len(g.Tags) > 0, "tags", "azure-arm has no template resource that could carry tags")
	l.lossy(len(g.ResourceTags) > 0, "managedResourceTags", "azure_tags would be written on the image as well: they are left out")
	l.lossy(g.StagingGroup != "", "stagingResourceGroup", "name an existing group in build_resource_group_name, or a new one in temp_resource_group_name")
	l.lossy(g.Timeout != 0, "buildTimeoutInMinutes", "azure-arm has no limit for a whole build")
	l.impossible(g.ContainerSubnet != "" || g.ProxySize != "", "vnetConfig", "there is no container instance and no proxy VM: the build runs where you start it")
	l.impossible(g.VMBoot == "Enabled", "optimize.vmBoot", "only the managed service has it")
	l.impossible(g.Workload != nil, "optimize.workload", "only the managed service has it")
	l.impossible(g.AutoRun == "Enabled", "autoRun", "start the build from a schedule or a pipeline")
	l.lossy(g.OnCustomizerError != "" || g.OnValidationError != "", "errorHandling", "say it on the command line: -on-error=cleanup or -on-error=abort")
	l.impossible(img.Validation != nil, "validate", "azure-arm tries nothing on a machine made of the image")
}
