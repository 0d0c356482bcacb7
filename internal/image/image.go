// Package image is the model that every template language becomes and every engine starts from. It knows nothing of files,
// languages or clients; what it must ask the world is in Catalog.
package image

import (
	"net/netip"
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
	Targets      []Target          `json:"-"`
	Manifests    []Manifest        `json:"manifests,omitempty"`
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

// Source is what the image starts from: Marketplace, GalleryVersion or ManagedImage. Sealed.
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
	Pos                                                  diag.Pos `json:"-"`
}

// ManagedImage is a managed image by name.
type ManagedImage struct {
	ResourceGroup, Name string
	Pos                 diag.Pos `json:"-"`
}

func (Marketplace) source()    {}
func (GalleryVersion) source() {}
func (ManagedImage) source()   {}

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
	DiskCaching         string // None, ReadOnly, ReadWrite
	DiskEncryptionSetID string
	KeepOSDisk          bool

	SecurityType            string // "", TrustedLaunch
	SecureBoot, VTPM        bool
	EncryptionAtHost        *bool
	LicenseType             string
	Identities              []string // resource ids of user-assigned identities
	CustomData, UserData    Text     // base64
	AcceleratedNetworking   *bool
	BootDiagnosticsEndpoint string // https://account.blob.core.windows.net/

	Network  Network
	KeyVault KeyVault

	AsyncDelete bool          // do not wait for the end of the group's deletion
	APITimeout  time.Duration // bound on every single Azure operation except publishing; default 15 m
}

// Network is where the machine stands. With VNet empty a network is made for the build and removed with it.
type Network struct {
	VNet, Subnet, ResourceGroup string
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
	SKU        string // standard, premium
}

// Communicator says how the guest is reached. Kind is "winrm".
type Communicator struct {
	Kind     string
	User     string // default "packer"
	Password Text   // empty: generated
	Host     string // overrides the machine's address
	Port     int
	Timeout  time.Duration // to the first connection
	UseSSL   bool
	Insecure bool // accept any certificate; ours is pinned all the same when we made it
	NTLM     bool
	Pos      diag.Pos `json:"-"`
}

// Provision is one provisioner in order.
type Provision struct {
	Type        string // "powershell"
	Name        string // label or name, if given
	Settings    any    // pointer to that provisioner's settings struct (package provisioner), decoded and checked
	PauseBefore time.Duration
	Timeout     time.Duration
	MaxRetries  int
	Pos         diag.Pos `json:"-"`
}

// Target is where the image goes: ToGallery or ToManagedImage. Sealed.
type Target interface{ target() }

// ToGallery publishes a version of an image definition.
type ToGallery struct {
	Subscription, ResourceGroup, Gallery, Image string
	Version                                     string // Major.Minor.Patch, or "auto": the next patch after the highest
	Regions                                     []Region
	StorageType                                 string // Standard_LRS, Standard_ZRS, Premium_LRS
	Shallow                                     bool
	ExcludeFromLatest                           bool
	EndOfLife                                   time.Time
	Replicas                                    int32 // per region, where the region names none
	Specialized                                 bool
	Timeout                                     time.Duration // default 60 m
	Pos                                         diag.Pos      `json:"-"`
}

// Region is one place a gallery version is replicated to.
type Region struct {
	Name                string
	Replicas            int32 // 0: the target's
	DiskEncryptionSetID string
}

// ToManagedImage captures a managed image.
type ToManagedImage struct {
	ResourceGroup, Name string
	StorageType         string
	ZoneResilient       bool
	Pos                 diag.Pos `json:"-"`
}

func (ToGallery) target()      {}
func (ToManagedImage) target() {}

// Manifest is a file written after the build that lists what was made (Packer's manifest post-processor).
type Manifest struct {
	Output     string
	StripPath  bool
	StripTime  bool
	CustomData map[string]string
}
