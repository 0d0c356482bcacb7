package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ingot/internal/azure"
	"ingot/internal/image"
)

// Catalog answers image.Resolve's questions from Azure.
type Catalog struct {
	Cloud *azure.Client
	Asked *Asked // what other images' questions have been answered with; nil: each asks for itself
}

var _ image.Catalog = Catalog{}

// notFound makes Azure's 404, and its word for an unknown region, the model's ErrNotFound and leaves every other error as it is.
func notFound(err error) error {
	if azure.IsNotFound(err) || azure.IsNoLocation(err) {
		return fmt.Errorf("%w: %w", image.ErrNotFound, err)
	}
	return err
}

func (c Catalog) Whoami(ctx context.Context) (subscription, tenant, objectID string, err error) {
	who, err := ask(c.Asked, func() (who [3]string, err error) {
		who[0], who[1], who[2], _, err = c.Cloud.Whoami(ctx)
		return who, err
	}, "whoami")
	return who[0], who[1], who[2], err
}

func (c Catalog) MarketplaceVersions(ctx context.Context, location, publisher, offer, sku string) ([]string, error) {
	v, err := ask(c.Asked, func() ([]string, error) {
		return c.Cloud.MarketplaceVersions(ctx, location, publisher, offer, sku)
	}, "versions", location, publisher, offer, sku)
	return slices.Clone(v), notFound(err)
}

func (c Catalog) MarketplaceImage(ctx context.Context, location, publisher, offer, sku, version string) (image.Base, error) {
	m, err := ask(c.Asked, func() (azure.MarketplaceImage, error) {
		return c.Cloud.MarketplaceImage(ctx, location, publisher, offer, sku, version)
	}, "image", location, publisher, offer, sku, version)
	if err != nil {
		return image.Base{}, notFound(err)
	}
	b := image.Base{OS: osOf(m.OS), Generation: m.Generation, SecurityType: m.SecurityType, DataLUNs: m.DataLUNs}
	b.Plan = planOf(m.Plan)
	return b, nil
}

func (c Catalog) Definition(ctx context.Context, subscription, group, gallery, name string) (image.GalleryFacts, error) {
	d, err := c.Cloud.GetDefinition(ctx, subscription, group, gallery, name)
	if err != nil {
		return image.GalleryFacts{}, notFound(err)
	}
	versions, err := c.Cloud.ListVersions(ctx, subscription, group, gallery, name)
	if err != nil {
		return image.GalleryFacts{}, notFound(err)
	}
	return image.GalleryFacts{DefinitionID: d.ID, Location: d.Location, OS: osOf(d.OS), Generation: d.Generation,
		OSState: d.OSState, SecurityType: d.SecurityType, Architecture: d.Architecture, Versions: versions, Plan: planOf(d.Plan)}, nil
}

func planOf(p *azure.PurchasePlan) *image.PurchasePlan {
	if p == nil {
		return nil
	}
	return &image.PurchasePlan{Name: p.Name, Product: p.Product, Publisher: p.Publisher, PromotionCode: p.PromotionCode}
}

func (c Catalog) SharedImage(ctx context.Context, location, gallery, name string, community bool) (image.GalleryFacts, error) {
	get := c.Cloud.DirectSharedImage
	if community {
		get = c.Cloud.CommunityImage
	}
	d, err := get(ctx, location, gallery, name)
	return image.GalleryFacts{OS: osOf(d.OS), Generation: d.Generation, OSState: d.OSState, SecurityType: d.SecurityType, Versions: d.Versions, Plan: planOf(d.Plan)}, notFound(err)
}

func (c Catalog) TermsAccepted(ctx context.Context, p image.PurchasePlan) (bool, error) {
	ok, err := c.Cloud.TermsAccepted(ctx, azure.PurchasePlan{Name: p.Name, Product: p.Product, Publisher: p.Publisher})
	return ok, notFound(err)
}

func (c Catalog) ManagedImageIn(ctx context.Context, subscription, group, name string) (image.Base, error) {
	m, err := c.Cloud.ManagedImageIn(ctx, subscription, group, name)
	if err != nil {
		return image.Base{}, notFound(err)
	}
	return image.Base{ManagedImageID: m.ID, OS: osOf(m.OS), Generation: m.Generation, Location: m.Location}, nil
}

func (c Catalog) ManagedImage(ctx context.Context, group, name string) (image.Base, error) {
	m, err := c.Cloud.GetManagedImage(ctx, group, name)
	if err != nil {
		return image.Base{}, notFound(err)
	}
	return image.Base{ManagedImageID: m.ID, OS: osOf(m.OS), Generation: m.Generation}, nil
}

func (c Catalog) GroupLocation(ctx context.Context, group string) (string, error) {
	g, err := ask(c.Asked, func() (azure.Group, error) { return c.Cloud.GetGroup(ctx, group) }, "group", group)
	return g.Location, notFound(err)
}

func (c Catalog) VMSize(ctx context.Context, location, size string) (image.Size, error) {
	s, err := ask(c.Asked, func() (azure.Size, error) { return c.Cloud.VMSize(ctx, location, size) }, "size", location, size)
	return image.Size{Name: s.Name, Family: s.Family, VCPUs: s.VCPUs, MemoryMB: s.MemoryMB, Generations: s.Generations, Restrictions: s.Restrictions, Confidential: s.Confidential,
		Controllers: s.Controllers, LowPriority: s.LowPriority, Premium: s.Premium, Accelerated: s.Accelerated, HostEncrypts: s.HostEncrypts}, notFound(err)
}

// osOf folds Azure's spelling (Windows, Linux) to the model's.
func osOf(s string) image.OS { return image.OS(strings.ToLower(s)) }
