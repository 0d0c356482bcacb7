package template

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"time"

	"pgregory.net/rapid"

	"ingot/internal/image"
)

// arm is an image that azure-arm can say.
func (m *making) arm() *image.Image {
	img := &image.Image{Name: "azure-arm.x", OS: image.OS(m.of("os", "windows", "windows", "linux")), Tags: m.tags("tags")}
	m.identity(&img.Identity)
	m.machine(img)
	m.source(img)
	m.reach(img)
	m.targets(img)
	for range rapid.IntRange(0, 3).Draw(m.t, "steps") {
		img.Provision = append(img.Provision, m.step())
	}
	if m.chance("cleanup", 20) {
		img.Cleanup = []image.Provision{m.step()}
	}
	for range rapid.IntRange(0, 2).Draw(m.t, "manifests") {
		img.Manifests = append(img.Manifests, image.Manifest{Output: "/tmp/" + strings.ReplaceAll(m.text("output"), "/", ""), StripPath: m.chance("strip", 50), StripTime: m.chance("strip time", 50), CustomData: m.tags("custom data")})
	}
	for range rapid.IntRange(0, 2).Draw(m.t, "after") {
		img.After = append(img.After, image.Command{Settings: m.settings("shell-local")})
	}
	return img
}

func (m *making) identity(id *image.Identity) {
	*id = image.Identity{TenantID: m.maybe("tenant"), SubscriptionID: "sub" + m.maybe("subscription"), ClientID: m.maybe("client"), AzureCLI: m.chance("cli", 20), Cloud: m.of("cloud", "", "Public", "China", "USGovernment")}
	if m.chance("metadata", 20) {
		id.MetadataHost = "https://management.example.com/x"
	}
	way := m.of("sign in", "", "secret", "certificate", "jwt", "oidc")
	if way != "" {
		id.ClientID = m.label("client")
	}
	switch way {
	case "secret":
		id.ClientSecret = m.hidden("Secret-" + m.text("client secret"))
	case "certificate":
		id.ClientCertPath = m.path("certificate")
		if m.chance("protected", 50) {
			id.ClientCertPassword = m.hidden("Secret-" + m.text("password"))
		}
	case "jwt":
		id.ClientJWT = m.hidden(m.text("jwt"))
	case "oidc":
		id.OIDCRequestURL, id.OIDCRequestToken = m.label("url"), m.hidden(m.text("token"))
	}
}

func (m *making) machine(img *image.Image) {
	windows := img.OS == image.Windows
	x := &img.Machine
	*x = image.Machine{Size: m.label("size"), ComputeName: m.maybe("compute"), OSDiskName: m.maybe("disk"), NICName: m.maybe("nic"), OSDiskGB: rapid.Int32Range(0, 4095).Draw(m.t, "gb"), OSDiskType: m.of("disk type", "Standard_LRS", "StandardSSD_LRS", "Premium_LRS"),
		DiskCaching: m.of("caching", "None", "ReadOnly", "ReadWrite"), DiskController: m.of("controller", "", "SCSI", "NVMe"), DiskEncryptionSetID: m.maybe("des"), KeepOSDisk: m.chance("keep", 20), SecurityType: m.of("security", "", "TrustedLaunch", "ConfidentialVM"),
		SecureBoot: m.chance("secure boot", 30), VTPM: m.chance("vtpm", 30), EncryptionAtHost: m.truth("at host"), AcceleratedNetworking: m.truth("accelerated"), AsyncDelete: m.chance("async", 20), APITimeout: max(m.duration("api"), time.Nanosecond)}
	if m.chance("existing group", 40) {
		x.ResourceGroup = "rg-build.(x)_1"
	} else {
		x.Location, x.TempGroup = m.of("location", "westeurope", "eastus2"), m.of("temp", "", "pkr-Resource-Group-x")
	}
	x.NamePrefix = m.of("prefix", "", "0a-b")
	if x.SecurityType == "ConfidentialVM" {
		x.SecurityEncryption = m.of("security encryption", "VMGuestStateOnly", "DiskWithVMGuestState")
	}
	if x.LicenseType = m.of("license", "", "Windows_Client", "Windows_Server"); !windows {
		x.LicenseType = m.of("license", "", "RHEL_BYOS", "SLES_BYOS")
	}
	// disk_additional_luns is for all disks or for none.
	numbered := m.chance("luns", 50)
	for i := range rapid.IntRange(0, 3).Draw(m.t, "disks") {
		d := image.DataDisk{GB: rapid.Int32Range(1, 32767).Draw(m.t, "disk"), LUN: -1}
		if numbered {
			d.LUN = int32(2 - i)
		}
		x.DataDisks = append(x.DataDisks, d)
	}
	if m.chance("spot", 30) {
		x.Spot = &image.Spot{EvictionPolicy: m.of("eviction", "", "Deallocate", "Delete")}
		if x.Spot.EvictionPolicy != "" {
			x.Spot.MaxPrice = rapid.Float64Range(-1, 100).Draw(m.t, "price")
		}
	}
	if m.chance("identities", 30) {
		x.Identities = []string{identity1, identity1 + "-2"}
	}
	for _, to := range []*image.Text{&x.CustomData, &x.UserData} {
		if text := base64.StdEncoding.EncodeToString([]byte(m.text("data"))); m.chance("data?", 30) {
			if *to = image.Plain(text); m.chance("data hidden", 50) {
				*to = m.hidden(text)
			}
		}
	}
	if windows && m.chance("script?", 20) {
		x.CustomScript = m.secret("custom script")
	}
	if m.chance("boot diagnostics", 20) {
		x.BootDiagnosticsEndpoint = "https://account1.blob.core.windows.net/"
	}
	n := &x.Network
	if m.chance("network", 50) {
		n.VNet, n.Subnet, n.ResourceGroup, n.PublicIP = m.label("vnet"), m.maybe("subnet"), m.maybe("vnet group"), m.chance("public", 30)
	} else {
		n.PublicIPSKU = m.of("ip sku", "", "Standard")
		for range rapid.IntRange(0, 3).Draw(m.t, "inbound") {
			n.AllowedInbound = append(n.AllowedInbound, netip.MustParsePrefix(m.of("from", "203.0.113.7/32", "203.0.113.0/24", "2001:db8::/32", "203.0.113.9/24")))
		}
	}
	k := &x.KeyVault
	*k = image.KeyVault{SecretName: m.maybe("secret name"), SKU: m.of("vault sku", "", "standard", "premium"), Expires: m.duration("expires")}
	if x.ResourceGroup != "" && m.chance("vault", 30) {
		k.Name = "kv-x"
	}
	img.Snapshots = image.Snapshots{OSDisk: m.of("snapshot", "", "os_snap"), DataPrefix: m.of("snapshots", "", "data_snap")}
}

func (m *making) source(img *image.Image) {
	var plan *image.PurchasePlan
	if m.chance("plan", 30) {
		plan = &image.PurchasePlan{Name: m.label("plan"), Product: m.label("product"), Publisher: m.label("publisher"), PromotionCode: m.maybe("promotion")}
	}
	switch m.of("source", "market", "gallery", "community", "shared", "managed", "vhd") {
	case "market":
		img.Source = image.Marketplace{Publisher: m.label("publisher"), Offer: m.label("offer"), SKU: m.label("sku"), Version: m.of("version", "", "latest", "1.2.3"), Plan: plan}
	case "gallery":
		img.Source = image.GalleryVersion{Subscription: m.label("subscription"), ResourceGroup: m.label("group"), Gallery: m.label("gallery"), Image: m.label("image"), Version: m.of("version", "", "latest", "1.2.3"), Plan: plan}
	case "community":
		img.Source = image.SharedGalleryImage{ID: "/CommunityGalleries/g-1/Images/i" + m.of("version", "", "/Versions/1.0.0"), Community: true, Plan: plan}
	case "shared":
		img.Source = image.SharedGalleryImage{ID: "/sharedGalleries/g-1/images/i" + m.of("version", "", "/versions/1.0.0"), Plan: plan}
	case "managed":
		img.Source = image.ManagedImage{ResourceGroup: m.label("group"), Name: m.label("image"), Plan: plan}
	case "vhd":
		img.Source = image.VHD{URL: "https://a.blob.core.windows.net/c/d.vhd?sv=1&sig=" + m.of("sas", "a%2Fb", "{{ x }}"), Plan: plan}
	}
}

func (m *making) reach(img *image.Image) {
	c := &img.Communicator
	*c = image.Communicator{Kind: m.of("communicator", "winrm", "winrm", "ssh", "none"), User: m.of("user", "packer", "admin", m.label("user")), Host: m.maybe("host"), Pause: m.duration("pause")}
	// Winrm is the only communicator that may go without a key vault.
	img.Machine.KeyVault.Skip = c.Kind == "winrm" && m.chance("skip vault", 30)
	if m.chance("password", 30) {
		c.Password = m.hidden("Aa1!-word" + m.of("password", pieces()...))
	}
	if c.Kind != "ssh" && m.chance("run commands", 20) {
		c.Kind, c.Host, c.Timeout = "runcommand", "", max(m.duration("timeout"), time.Nanosecond)
		return
	}
	if c.Kind != "ssh" {
		c.UseSSL, c.Insecure, c.NTLM, c.NoProxy = m.chance("ssl", 70), m.chance("insecure", 50), m.chance("ntlm", 50), m.chance("no proxy", 20)
		c.Port, c.Timeout = rapid.SampledFrom([]int{5985, 5986, 22, 443}).Draw(m.t, "port"), max(m.duration("winrm timeout"), time.Nanosecond)
		return
	}
	c.Port, c.Timeout = rapid.SampledFrom([]int{22, 2222, 5986}).Draw(m.t, "port"), max(m.duration("ssh timeout"), time.Nanosecond)
	file := func(name string) string {
		if m.chance(name+"?", 30) {
			return m.path(name)
		}
		return ""
	}
	s := &c.SSH
	*s = image.SSH{PrivateKeyFile: file("key"), CertificateFile: file("certificate"), KeypairName: m.maybe("pair"), TemporaryKeyType: m.of("key type", "", "rsa", "ecdsa", "ed25519", "dsa"), TemporaryKeyName: m.maybe("key name"), TemporaryKeyBits: rapid.IntRange(0, 4096).Draw(m.t, "bits"),
		Ciphers: m.strings("ciphers"), KeyExchange: m.strings("kex"), ClearAuthorizedKeys: m.chance("clear", 30), PTY: m.chance("pty", 30), HandshakeAttempts: rapid.IntRange(0, 9).Draw(m.t, "attempts"), Agent: m.chance("agent", 30), NoAgentForwarding: m.chance("forwarding", 30),
		FileTransfer: m.of("transfer", "", "scp", "sftp"), KeepAlive: m.duration("keep alive"), ReadWriteTimeout: m.duration("read"), RemoteTunnels: m.strings("tunnels"), LocalTunnels: m.strings("local tunnels")}
	s.Bastion = image.Bastion{Port: rapid.IntRange(0, 65535).Draw(m.t, "bastion port"), User: m.maybe("bastion user"), Agent: m.chance("bastion agent", 30), Interactive: m.chance("interactive", 30), KeyFile: file("bastion key"), CertificateFile: file("bastion certificate")}
	s.Proxy = image.SOCKS{Port: rapid.IntRange(0, 65535).Draw(m.t, "proxy port"), User: m.maybe("proxy user")}
	for _, to := range []*image.Text{&s.Bastion.Password, &s.Proxy.Password} {
		if m.chance("other password", 30) {
			*to = m.hidden(m.text("other password"))
		}
	}
	if to := m.of("through", "", "bastion", "proxy"); to == "bastion" {
		s.Bastion.Host = m.label("bastion")
	} else if to == "proxy" {
		s.Proxy.Host = m.label("proxy")
	}
}

func (m *making) targets(img *image.Image) {
	x := &img.Machine
	_, vhd := img.Source.(image.VHD)
	plain := x.SecurityType == "" && !x.SecureBoot && !x.VTPM && x.DiskEncryptionSetID == ""
	managed := false
	if plain && !vhd && m.chance("managed image", 50) {
		managed = true
		img.Targets = append(img.Targets, image.ToManagedImage{ResourceGroup: "rg-Images", Name: "image-1.x", StorageType: x.OSDiskType, ZoneResilient: m.chance("zone", 30)})
	}
	if x.SecurityType != "ConfidentialVM" && x.DiskEncryptionSetID == "" && m.chance("blob", 30) {
		img.Targets = append(img.Targets, image.ToVHD{ResourceGroup: m.label("group"), StorageAccount: m.label("account"), Container: m.of("container", "", "con-1"), Prefix: m.maybe("prefix"), SASDuration: m.duration("sas")})
	}
	// One timeout, one end of life, one number of replicas are for all galleries.
	all := image.ToGallery{Timeout: max(m.duration("gallery timeout"), time.Second), ExcludeFromLatest: m.chance("exclude", 30), Replicas: rapid.SampledFrom([]int32{1, 1, 2, 100}).Draw(m.t, "replicas")}
	if m.chance("end of life", 30) {
		all.EndOfLife = rapid.SampledFrom([]time.Time{time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 31, 1, 2, 3, 4000000, time.FixedZone("", 7200))}).Draw(m.t, "end")
	}
	n := rapid.IntRange(0, 2).Draw(m.t, "galleries")
	if n == 0 && len(img.Targets) == 0 {
		img.SkipImage = true
	}
	for range n {
		g := all
		g.Subscription, g.ResourceGroup, g.Gallery, g.Image, g.Version = m.maybe("subscription"), m.label("group"), m.label("gallery"), m.label("image"), m.of("version", "1.2.3", "auto", "2026.1123.930")
		g.StorageType, g.Specialized = m.of("storage", "Standard_LRS", "Standard_ZRS", "Premium_LRS"), !managed && m.chance("specialized", 30)
		if x.SecurityType == "ConfidentialVM" {
			g.ConfidentialEncryption = m.of("confidential", "", "EncryptedVMGuestStateOnlyWithPmk", "EncryptedWithPmk") // EncryptedWithCmk wants a set everywhere: TestCustomerKeys
		}
		for i := range rapid.IntRange(0, 3).Draw(m.t, "regions") {
			r := image.Region{Name: []string{"westeurope", "eastus2", "uksouth"}[i]}
			if all.Replicas == 1 { // more for all of them excludes target_region
				r.Replicas, r.DiskEncryptionSetID = rapid.Int32Range(0, 100).Draw(m.t, "copies"), m.maybe("region des")
			}
			g.Regions = append(g.Regions, r)
		}
		g.Shallow = len(g.Regions) < 2 && all.Replicas == 1 && m.chance("shallow", 50)
		img.Targets = append(img.Targets, g)
	}
	img.SkipImage = img.SkipImage || m.chance("skip", 10)
}
