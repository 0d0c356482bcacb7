// Package azure is the one way to Azure: the official SDK for Go behind small calls of our own, with identity, retry, long
// operations that survive the process, and errors that keep Azure's code, target and correlation id. It is the only importer
// of an Azure SDK and knows nothing of plans, images or guests.
package azure

import (
	"context"
	"net/netip"
	"time"
)

// Clock is time as the client sees it: every wait between polls goes through it.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

// Op makes a long operation survive the process that began it.
type Op struct {
	// Token is what Save was given in an earlier process, or "" to begin anew. A token that Azure no longer knows, or that
	// belongs to an operation that has ended, is not an error: the call then looks at the resource itself.
	Token string
	// Save is called once, as soon as Azure has accepted the operation, before the first poll. Tokens hold URLs, no secrets.
	Save func(token string) error
	// Progress is called with Azure's own word for the state after each poll; may be nil.
	Progress func(status string)
}

// Group is a resource group.
type Group struct {
	Name, Location string
	Tags           map[string]string
}

// Network is a virtual network with one subnet.
type Network struct {
	Group, Name, Location, Subnet string
	AddressSpace, SubnetSpace     string // "10.0.0.0/16", "10.0.0.0/24"
	SecurityGroupID               string // on the subnet
	Outbound                      bool   `json:",omitempty"` // machines without a public address reach the internet
	Tags                          map[string]string
}

// SecurityGroup is an NSG that lets Sources reach Port over TCP and nobody else in; with Port 0 nobody at all.
type SecurityGroup struct {
	Group, Name, Location string
	Port                  int
	Sources               []netip.Prefix // empty: any address
	Tags                  map[string]string
}

// PublicIP is a static public address.
type PublicIP struct {
	Group, Name, Location, SKU string
	Tags                       map[string]string
}

// NIC is a network interface; with PublicIPID empty it has a private address only.
type NIC struct {
	Group, Name, Location, SubnetID, PublicIPID string
	Accelerated                                 *bool
	Tags                                        map[string]string
}

// Vault is a key vault whose secrets the caller (ObjectID) may manage and VMs may be given.
type Vault struct {
	Group, Name, Location, SKU, TenantID, ObjectID string
	Tags                                           map[string]string
}

// VaultInfo is what a vault answers.
type VaultInfo struct{ ID, URI string }

// ImageRef is what a VM starts from: either Publisher to Version, or ID (gallery version or managed image), or the id of an
// image version that others share: Shared (/SharedGalleries/…, shared directly) or Community (/CommunityGalleries/…).
type ImageRef struct{ Publisher, Offer, SKU, Version, ID, Shared, Community string }

// Spot makes a VM a spot VM.
type Spot struct {
	Eviction string  // Deallocate or Delete; "": Azure's default, Deallocate
	MaxPrice float64 // US dollars an hour; 0: up to the price of a normal VM, which Azure writes as -1
}

// PurchasePlan is the marketplace plan some images ask for.
type PurchasePlan struct{ Name, Product, Publisher, PromotionCode string }

// VM is a virtual machine to create.
type VM struct {
	Group, Name, Location, Size string
	Computer                    string // at most 15 characters for Windows
	Image                       ImageRef
	Plan                        *PurchasePlan
	Windows                     bool
	User, Password              string
	SSHPublicKey                string // Linux: line of authorized_keys; with a Password as well, both let in
	WinRMCertificateURL         string // versioned secret URL of the listener's certificate; "" for no HTTPS listener
	VaultID                     string // of that secret
	NICID                       string
	OSDiskName                  string
	OSDiskGB                    int32  // 0: the image's
	OSDiskType, Caching         string // Standard_LRS, ...; None, ReadOnly, ReadWrite
	DataDisks                   []VMDataDisk
	DiskEncryptionSetID         string
	SecurityType                string // "", TrustedLaunch or ConfidentialVM
	SecurityEncryption          string // of a confidential VM: VMGuestStateOnly, DiskWithVMGuestState
	DiskController              string // "", SCSI, NVMe
	Spot                        *Spot
	SecureBoot, VTPM            bool
	EncryptionAtHost            *bool
	LicenseType                 string
	Identities                  []string
	CustomData, UserData        string // base64
	BootDiagnosticsURI          string // "" for the managed account
	Specialized                 bool   // the image brings its own accounts: no OS profile
	Tags                        map[string]string
}

// VMDataDisk is a data disk made with a VM.
type VMDataDisk struct {
	Name                string
	LUN, GB             int32 // GB 0: the image's
	Type, Caching       string
	FromImage           bool // the image has one with that LUN; else it is empty
	DiskEncryptionSetID string
}

// VMInfo is what a VM answers.
type VMInfo struct {
	ID, OSDiskID, OSDiskName string
	Power                    string // running, deallocated, ... without "PowerState/"
	Spot                     bool   // Azure may take it back
	Generalized              bool
	Tags                     map[string]string
}

// MarketplaceImage describes one version.
type MarketplaceImage struct {
	OS, Generation string // Windows or Linux; V1 or V2
	SecurityType   string // feature, "" where absent
	DataLUNs       []int32
	Plan           *PurchasePlan
}

// Size is a VM size in a region.
type Size struct {
	Name, Family    string // Family is what its quota is called: standardDSv5Family
	VCPUs, MemoryMB int
	Generations     []string // V1, V2
	Restrictions    []string
	Confidential    string   // SNP, TDX; "": none
	Controllers     []string // SCSI, NVMe
	// What the size is able to, as far as Azure says.
	LowPriority, Premium, Accelerated, HostEncrypts bool
}

// Definition is a gallery image definition.
type Definition struct {
	ID, Location, OS, OSState, Generation, SecurityType string
	Architecture                                        string        // x64, Arm64; "" where Azure did not say
	Plan                                                *PurchasePlan // that machines of the image must name; nil: none
	Features, Tags                                      map[string]string
}

// GalleryVersion is an image version to publish.
type GalleryVersion struct {
	Subscription, Group, Gallery, Image, Version string
	Location                                     string // the gallery's
	SourceVMID                                   string // the generalised VM, or
	SourceImageID                                string // a managed image
	Regions                                      []TargetRegion
	StorageType                                  string
	Shallow, ExcludeFromLatest                   bool
	EndOfLife                                    time.Time // zero: none
	ConfidentialEncryption                       string    // of a confidential VM's image, in every region; "": none
	Tags                                         map[string]string
}

// TargetRegion is one region of a gallery version.
type TargetRegion struct {
	Name                string
	Replicas            int32
	DiskEncryptionSetID string // with EncryptedWithCmk the one for the guest's own encryption
	StorageType         string // "": the version's
}

// VersionInfo is what an image version answers.
type VersionInfo struct {
	ID, State string // Creating, Succeeded, Failed, ...
	Tags      map[string]string
	DataLUNs  []int32 // of its data disks
	Regions   []RegionState
}

// RegionState is the replication of a version in one region.
type RegionState struct {
	Region, State string // Replicating, Completed, Failed, ...
	Progress      int    // 0 to 100
	Details       string
}

// ManagedImage is a managed image to capture from a generalised VM.
type ManagedImage struct {
	Group, Name, Location, SourceVMID, Generation, StorageType string
	ZoneResilient                                              bool
	Tags                                                       map[string]string
}

// ManagedImageInfo is what a managed image answers.
type ManagedImageInfo struct {
	ID, Location, OS, Generation, State string
	Tags                                map[string]string
	DataLUNs                            []int32 // of its data disks
}

// Listed is one resource as Resource Manager lists it.
type Listed struct {
	ID, Type, Name, Location string
	Tags                     map[string]string
	Created                  time.Time // only from AllResources
}
