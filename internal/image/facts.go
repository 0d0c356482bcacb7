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
	Exists       []int          `json:"exists,omitempty"`    // targets, by their place in the template, that are there already and are to be replaced
}

// Base is the resolved source: exactly one of the ids is set.
type Base struct {
	Publisher, Offer, SKU, Version string        `json:",omitempty"` // marketplace, Version is exact
	Plan                           *PurchasePlan `json:",omitempty"`
	GalleryVersionID               string        `json:",omitempty"`
	ManagedImageID                 string        `json:",omitempty"`
	DataLUNs                       []int32       `json:",omitempty"` // of the data disks that it brings along
	OS                             OS
	Generation                     string // V1 or V2
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
}

// GalleryFacts are about one image definition that is a target.
type GalleryFacts struct {
	DefinitionID string
	Location     string
	OS           OS
	Generation   string
	OSState      string // Generalized, Specialized
	SecurityType string // the definition's SecurityType feature
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
	GroupLocation(ctx context.Context, group string) (string, error)
	// VMSize looks a size up in a region.
	VMSize(ctx context.Context, location, size string) (Size, error)
}
