// Package image is the model that every template language becomes and every engine starts from. It knows nothing of files,
// languages or clients; what it must ask the world is in Catalog.
package image

import (
	"net/netip"
	"strings"
	"time"

	"ingot/internal/diag"
)

// OS is the family of the guest.
type OS string

const (
	Windows OS = "windows"
	Linux   OS = "linux"
)

// Image is one image to build: what it starts from, the machine it is built on, what is done to it and where it goes.
type Image struct {
	Name         string            `json:"name"` // "azure-arm.win11", or the build's name before it: "avd.azure-arm.win11"
	OS           OS                `json:"os"`
	Identity     Identity          `json:"identity"`
	Source       Source            `json:"-"`
	Machine      Machine           `json:"machine"`
	Communicator Communicator      `json:"communicator"`
	Provision    []Provision       `json:"provision"`
	Cleanup      []Provision       `json:"cleanup,omitempty"` // run when a provisioner failed, before everything is removed
	Targets      []Target          `json:"-"`
	Snapshots    Snapshots         `json:"snapshots,omitzero"`
	SkipImage    bool              `json:"skipImage,omitempty"` // provision only: nothing is captured
	Validation   *Validation       `json:"validation,omitempty"`
	Managed      Managed           `json:"managed,omitzero"`
	Engine       Engine            `json:"engine,omitzero"`
	Definitions  []Definition      `json:"definitions,omitempty"`
	HostPools    []HostPool        `json:"hostPools,omitempty"`
	Manifests    []Manifest        `json:"manifests,omitempty"`
	After        []Command         `json:"after,omitempty"` // local commands after the build, in order
	Tags         map[string]string `json:"tags,omitempty"`
	Pos          diag.Pos          `json:"-"`
}

// Identity is who builds, as far as the template names it. Empty fields are found from the environment.
type Identity struct {
	SubscriptionID, TenantID, ClientID string
	ClientSecret                       Text
	ClientCertPath                     string
	ClientCertPassword                 Text
	ClientJWT                          Text
	OIDCRequestURL                     string
	OIDCRequestToken                   Text
	AzureCLI                           bool
	Cloud                              string // "", Public, China, USGovernment
	MetadataHost                       string
	Pos                                diag.Pos `json:"-"`
}

// Source is what the image starts from: Marketplace, GalleryVersion, SharedGalleryImage, ManagedImage or VHD. Sealed.
type Source interface{ source() }

// Marketplace is a published image. Version "latest" (or empty) is resolved once.
type Marketplace struct {
	Publisher, Offer, SKU, Version string
	Plan                           *PurchasePlan
	Pos                            diag.Pos `json:"-"`
}

// PurchasePlan is the marketplace plan some images ask for.
type PurchasePlan struct{ Name, Product, Publisher, PromotionCode string }

// GalleryVersion is an image version in an Azure Compute Gallery. An empty Version means the newest.
type GalleryVersion struct {
	Subscription, ResourceGroup, Gallery, Image, Version string
	Plan                                                 *PurchasePlan
	Pos                                                  diag.Pos `json:"-"`
}

// SharedGalleryImage is an image of somebody else's gallery: a community gallery's (/CommunityGalleries/…/Images/…) or one that
// is shared directly with the subscription or tenant (/sharedGalleries/…/images/…). Without a version in ID the newest is meant.
type SharedGalleryImage struct {
	ID        string
	Community bool
	Plan      *PurchasePlan
	Pos       diag.Pos `json:"-"`
}

// ManagedImage is a managed image by name. An empty Subscription is the identity's.
type ManagedImage struct {
	Subscription, ResourceGroup, Name string
	Plan                              *PurchasePlan
	Pos                               diag.Pos `json:"-"`
}

// VHD is a virtual hard disk in a page blob.
type VHD struct {
	URL  string
	Plan *PurchasePlan
	Pos  diag.Pos `json:"-"`
}

func (Marketplace) source()        {}
func (GalleryVersion) source()     {}
func (SharedGalleryImage) source() {}
func (ManagedImage) source()       {}
func (VHD) source()                {}

// Machine is the VM the image is built on and what stands around it.
type Machine struct {
	Location      string // empty with an existing resource group: the group's
	Size          string
	ResourceGroup string // existing group to build in; empty: a temporary one
	TempGroup     string // name for the temporary group; empty: chosen by the plan

	ComputeName, OSDiskName, NICName string // names to use; empty: chosen by the plan
	NamePrefix                       string // custom_resource_build_prefix

	OSDiskGB            int32  // 0: the source's
	OSDiskType          string // Standard_LRS, StandardSSD_LRS, Premium_LRS
	DataDisks           []DataDisk
	DiskCaching         string // None, ReadOnly, ReadWrite
	DiskController      string // "", SCSI, NVMe
	DiskEncryptionSetID string
	KeepOSDisk          bool

	SecurityType            string // "", TrustedLaunch, ConfidentialVM
	SecurityEncryption      string // of a confidential VM: VMGuestStateOnly, DiskWithVMGuestState
	SecureBoot, VTPM        bool
	Spot                    *Spot
	EncryptionAtHost        *bool
	LicenseType             string
	Identities              []string // resource ids of user-assigned identities
	CustomData, UserData    Text     // base64
	CustomScript            Text     // command line of a CustomScriptExtension; Windows only
	AcceleratedNetworking   *bool
	BootDiagnosticsEndpoint string // https://account.blob.core.windows.net/

	Network  Network
	KeyVault KeyVault

	AsyncDelete bool          // do not wait for the end of the group's deletion
	APITimeout  time.Duration // bound on every single Azure operation except publishing; default 15 m
}

// VMSize is Size, or what is taken where the template leaves it open: two processors and 8 GB, as Image Builder takes for generation 2.
func (m Machine) VMSize() string {
	if m.Size == "" {
		return "Standard_D2s_v5"
	}
	return m.Size
}

// DataDisk is one more disk of the machine, and of the image.
type DataDisk struct {
	GB  int32
	LUN int32 // -1: the next free one
}

// Spot makes the machine a spot VM: cheaper, and Azure may take it back.
type Spot struct {
	EvictionPolicy string  // Deallocate, Delete; empty: Azure's default
	MaxPrice       float64 // US dollars an hour; 0: up to the price of a normal VM
}

// Network is where the machine stands. With VNet empty a network is made for the build and removed with it.
type Network struct {
	VNet, Subnet, ResourceGroup string
	Subscription                string // of the network; empty: the identity's
	PublicIP                    bool   // with an existing VNet: give the machine a public address all the same
	PublicIPSKU                 string // Standard (default), Basic
	// AllowedInbound are the addresses that may reach the communicator's port in a network made for the build. Empty: only the
	// caller's own address.
	AllowedInbound []netip.Prefix
}

// KeyVault holds the WinRM certificate. With Name empty one is made for the build and purged with it.
type KeyVault struct {
	Name       string // existing, in the build's resource group
	SecretName string
	SKU        string        // standard, premium
	Skip       bool          // none at all: the template sets WinRM up itself
	Expires    time.Duration // of the secret that holds the certificate; 0: 24 h
}

// Communicator says how the guest is reached.
type Communicator struct {
	Kind     string // winrm, ssh, runcommand, none
	User     string // default "packer"
	Password Text   // empty: generated
	Host     string // overrides the machine's address
	Port     int
	Timeout  time.Duration // to the first connection
	UseSSL   bool
	Insecure bool // accept any certificate; ours is pinned all the same when we made it
	NTLM     bool
	NoProxy  bool          `json:",omitempty"`
	Pause    time.Duration `json:",omitempty"` // before the first connection
	SSH      SSH           `json:",omitzero"`
	Pos      diag.Pos      `json:"-"`
}

// SSH is what only concerns communicator ssh.
type SSH struct {
	PrivateKeyFile, CertificateFile, KeypairName string
	TemporaryKeyType                             string // rsa (default), ecdsa, ed25519, dsa
	TemporaryKeyName                             string
	TemporaryKeyBits                             int
	Ciphers, KeyExchange                         []string
	ClearAuthorizedKeys, PTY                     bool
	HandshakeAttempts                            int
	Agent, NoAgentForwarding                     bool
	Bastion                                      Bastion
	FileTransfer                                 string // sftp (default), scp
	Proxy                                        SOCKS
	KeepAlive, ReadWriteTimeout                  time.Duration
	RemoteTunnels, LocalTunnels                  []string
}

// Bastion is a host that SSH goes through.
type Bastion struct {
	Host                     string
	Port                     int
	User                     string
	Password                 Text
	Agent, Interactive       bool
	KeyFile, CertificateFile string
}

// SOCKS is a SOCKS5 proxy that SSH goes through.
type SOCKS struct {
	Host     string
	Port     int
	User     string
	Password Text
}

// Provision is one provisioner in order.
type Provision struct {
	Type        string // "powershell"
	Name        string // label or name, if given
	Settings    any    // pointer to that provisioner's settings struct (package provisioner), decoded and checked
	PauseBefore time.Duration
	Timeout     time.Duration
	MaxRetries  int
	GoOn        bool     // a failure does not fail the build
	Pos         diag.Pos `json:"-"`
}

// Target is where the image goes: ToGallery, ToManagedImage or ToVHD. Sealed.
type Target interface{ target() }

// ToGallery publishes a version of an image definition.
type ToGallery struct {
	Subscription, ResourceGroup, Gallery, Image string
	Version                                     string // Major.Minor.Patch, or "auto": the next patch after the highest of Major
	Major                                       *int32 // with "auto": only versions of this major number count
	FromSource                                  bool   // the version's number is made of the source's (Image Builder's scheme "Source")
	Regions                                     []Region
	StorageType                                 string // Standard_LRS, Standard_ZRS, Premium_LRS
	Shallow                                     bool
	ExcludeFromLatest                           bool
	EndOfLife                                   time.Time
	Replicas                                    int32 // per region, where the region names none
	Specialized                                 bool
	ConfidentialEncryption                      string // EncryptedVMGuestStateOnlyWithPmk, EncryptedWithPmk, EncryptedWithCmk
	Output                                      Output
	Timeout                                     time.Duration // default 60 m
	Pos                                         diag.Pos      `json:"-"`
}

// Region is one place a gallery version is replicated to.
type Region struct {
	Name                string
	Replicas            int32 // 0: the target's
	DiskEncryptionSetID string
	StorageType         string // empty: the target's
}

// Output is how Image Builder names what a target made, and what it writes on it.
type Output struct {
	Name string            // runOutputName
	Tags map[string]string // artifactTags; beside the image's own
}

// ToManagedImage captures a managed image. An empty Location is the machine's; an empty Subscription the identity's.
type ToManagedImage struct {
	Subscription, ResourceGroup, Name string
	Location                          string
	StorageType                       string
	ZoneResilient                     bool
	Output                            Output
	Pos                               diag.Pos `json:"-"`
}

// ToVHD writes the disks as page blobs: into a container of a storage account, or to URI (Image Builder; empty: the staging
// account's own container).
type ToVHD struct {
	ResourceGroup, StorageAccount string
	Container, Prefix             string
	URI                           string
	SASDuration                   time.Duration // life of the link the disk is read through; 0: 24 h
	Output                        Output
	Pos                           diag.Pos `json:"-"`
}

func (ToGallery) target()      {}
func (ToManagedImage) target() {}
func (ToVHD) target()          {}

// Snapshots are kept of the machine's disks beside the targets.
type Snapshots struct {
	OSDisk     string // name; empty: none
	DataPrefix string // names are this and the disk's number; empty: none
}

// Validation is what is tried on a machine made of the finished image.
type Validation struct {
	Steps              []Provision
	ContinueDistribute bool // distribute although a step failed
	SourceOnly         bool // no build: the steps run on the source
}

// Managed is what only Azure Image Builder has. The VM engine says which of it has no meaning there.
type Managed struct {
	Template          string            `json:",omitempty"` // name of the imageTemplates resource
	Location          string            `json:",omitempty"` // of the template resource, when it is not the machine's
	APIVersion        string            `json:",omitempty"` // that the template was written for
	Identities        []string          `json:",omitempty"` // user-assigned identity of the template: at most one
	Tags              map[string]string `json:",omitempty"` // of the template resource
	ResourceTags      map[string]string `json:",omitempty"` // of what the service makes for the build
	StagingGroup      string            `json:",omitempty"` // id
	Timeout           time.Duration     `json:",omitempty"` // of customize, optimize, validate and distribute together; 0: 4 h
	ContainerSubnet   string            `json:",omitempty"` // id
	ProxySize         string            `json:",omitempty"`
	VMBoot            string            `json:",omitempty"` // "", Enabled, Disabled
	AutoRun           string            `json:",omitempty"` // "", Enabled, Disabled
	Workload          *Workload         `json:",omitempty"`
	OnCustomizerError string            `json:",omitempty"` // "", cleanup, abort
	OnValidationError string            `json:",omitempty"` // "", cleanup, abort
}

// Workload is optimize.workload of api-version 2025-10-01.
type Workload struct{ State, ScriptURI, SHA256 string }

// Command is a local command after the build (Packer's shell-local post-processor).
type Command struct {
	Settings any      // *provisioner.ShellLocal
	Pos      diag.Pos `json:"-"`
}

// Manifest is a file written after the build that lists what was made (Packer's manifest post-processor).
type Manifest struct {
	Output     string
	StripPath  bool
	StripTime  bool
	CustomData map[string]string
}

// Engine is how a template wants to be built; the command line wins.
type Engine struct {
	Name       string // "", vm, aib
	Detach     bool
	OnError    string // "", cleanup, abort, ask, keep
	Timeout    time.Duration
	AllowLossy bool
	Builder    Builder
}

// Builder is how a build is handed to Azure Image Builder, beside what its own language can say.
type Builder struct {
	Identity       string // id of the user-assigned identity that the service builds as; empty: the template's
	CreateIdentity bool   // make one for the build, with the roles it needs, and remove it afterwards
	KeepTemplate   bool   // keep the template resource, and use it again while it is the same
	ResourceGroup  string // of the template resource; empty: the group that is built in, or a temporary one
	StorageAccount string // id of the account that local scripts and files are uploaded to; empty: one made for the build
	ReadAsIdentity bool   // the service reads them as its identity, without a signature in their addresses
	Trigger        bool   // build again whenever the source image has a newer version
}

// Definition is an image definition to make, with its gallery, when they are missing.
type Definition struct {
	Subscription, ResourceGroup, Gallery, Name string
	Location                                   string
	CreateGallery                              bool
	Publisher, Offer, SKU                      string
	OSState                                    string // Generalized, Specialized
	Generation                                 string // V1, V2
	SecurityType                               string
	Architecture                               string // "", x64, Arm64
	DiskControllers                            []string
	Description                                string
	Pos                                        diag.Pos `json:"-"`
}

// HostPool is a host pool that the image is for.
type HostPool struct {
	Subscription, ResourceGroup, Name string
	AfterBuild                        bool // roll out when the build is done
	Batch, BatchPercent               int  // session hosts at once; both 0: one
	DrainTimeout, KeepOld             time.Duration
	Pos                               diag.Pos `json:"-"`
}

// GuessGeneration is the Hyper-V generation that a SKU's name tells: Microsoft writes g2 or gen2 into those of generation 2 where
// both exist, and Windows 11 exists as generation 2 only. "" where the name does not tell.
func GuessGeneration(m Marketplace) string {
	sku, offer := strings.ToLower(m.SKU), strings.ToLower(m.Offer)
	switch {
	case strings.HasSuffix(sku, "g2"), strings.Contains(sku, "gen2"), strings.Contains(sku, "-g2"), strings.HasPrefix(sku, "win11"), strings.Contains(offer, "windows-11"), strings.Contains(offer, "windows11"), strings.Contains(sku, "azure-edition"):
		return "V2"
	case strings.Contains(sku, "gen1"), strings.HasSuffix(sku, "-g1"):
		return "V1"
	case offer == "windowsserver" && !strings.Contains(sku, "g2"), strings.HasPrefix(offer, "windows-10") && !strings.Contains(sku, "g2"):
		return "V1"
	}
	return ""
}
