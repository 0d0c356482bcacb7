package image

import "context"

// Facts are what was asked of the world before planning, once per run; they are journalled with the plan, so that a resumed
// run builds what was planned.
type Facts struct {
	Subscription string         `json:"subscription"`
	Tenant       string         `json:"tenant"`
	ObjectID     string         `json:"objectId"` // of the identity that builds
	Location     string         `json:"location"`
	Base         Base           `json:"base"`
	Size         Size           `json:"size"`
	Galleries    []GalleryFacts `json:"galleries,omitempty"` // one per ToGallery target, in order
	// Accounts are the storage accounts that a VHD's address names, by name; ids. One that was not found, or not looked for, is not there.
	Accounts map[string]string `json:"accounts,omitempty"`
	Exists   []int             `json:"exists,omitempty"` // targets, by their place in the template, that are there already and are to be replaced
}

// Base is the resolved source: exactly one of the ids is set.
type Base struct {
	Publisher, Offer, SKU, Version string        `json:",omitempty"` // marketplace, Version is exact
	Plan                           *PurchasePlan `json:",omitempty"`
	GalleryVersionID               string        `json:",omitempty"`
	ManagedImageID                 string        `json:",omitempty"`
	DataLUNs                       []int32       `json:",omitempty"` // of the data disks that it brings along
	SharedImageID                  string        `json:",omitempty"` // /SharedGalleries/…/Images/…/Versions/…: shared directly
	CommunityImageID               string        `json:",omitempty"` // /CommunityGalleries/…/Images/…/Versions/…
	BlobURL                        string        `json:",omitempty"` // a VHD, of which an image is made first
	OS                             OS
	Generation                     string // V1 or V2
	Location                       string `json:",omitempty"` // of a managed image: machines of it are there too
	Specialized                    bool
	SecurityType                   string // what the source demands or supports: "", TrustedLaunch, TrustedLaunchSupported
}

// Size is a VM size in the region.
type Size struct {
	Name         string
	Family       string `json:",omitempty"` // what its quota is called
	VCPUs        int
	MemoryMB     int
	Generations  []string // V1, V2; empty where Azure did not say
	Restrictions []string // reason codes, such as NotAvailableForSubscription
	// Confidential is how a size protects its machines from the host: SNP or TDX; empty: it does not.
	Confidential string   `json:",omitempty"`
	Controllers  []string `json:",omitempty"` // SCSI, NVMe; empty where Azure did not say: SCSI
	LowPriority  bool     // machines of this size may be spot VMs
	Premium      bool     // takes premium disks
	Accelerated  bool     // takes accelerated networking
	HostEncrypts bool     // takes encryption at host
}

// GalleryFacts are about one image definition that is a target.
type GalleryFacts struct {
	DefinitionID string
	Location     string
	OS           OS
	Generation   string
	OSState      string        // Generalized, Specialized
	SecurityType string        // the definition's SecurityType feature
	Plan         *PurchasePlan `json:",omitempty"` // that machines of the image must name
	Versions     []string
	Version      string // the one to make
	Architecture string `json:",omitempty"`
	Make         bool   `json:",omitempty"` // the definition is not there: the plan makes it
	MakeGallery  bool   `json:",omitempty"` // and the gallery before it
}

// Catalog is what Resolve asks the world for. Not-found answers are ErrNotFound.
type Catalog interface {
	TargetCatalog
	Whoami(ctx context.Context) (subscription, tenant, objectID string, err error)
	// MarketplaceVersions lists a SKU's versions in a region, unordered.
	MarketplaceVersions(ctx context.Context, location, publisher, offer, sku string) ([]string, error)
	// MarketplaceImage describes one exact version.
	MarketplaceImage(ctx context.Context, location, publisher, offer, sku, version string) (Base, error)
	// Definition describes an image definition and lists its versions.
	Definition(ctx context.Context, subscription, group, gallery, image string) (GalleryFacts, error)
	ManagedImage(ctx context.Context, group, name string) (Base, error)
	// ManagedImageIn looks an image up that is in another subscription.
	ManagedImageIn(ctx context.Context, subscription, group, name string) (Base, error)
	// SharedImage describes an image of a community gallery or of one that is shared directly, by the gallery's public or unique name.
	SharedImage(ctx context.Context, location, gallery, image string, community bool) (GalleryFacts, error)
	// TermsAccepted tells whether the subscription has accepted the terms of a marketplace plan.
	TermsAccepted(ctx context.Context, p PurchasePlan) (bool, error)
	GroupLocation(ctx context.Context, group string) (string, error)
	// VMSize looks a size up in a region.
	VMSize(ctx context.Context, location, size string) (Size, error)
}
