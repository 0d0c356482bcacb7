package azure

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// SharedImage is an image definition of somebody else's gallery with the names of its versions in a region.
type SharedImage struct {
	OS, OSState, Generation, SecurityType string
	Plan                                  *PurchasePlan
	Versions                              []string
}

// CommunityImage looks up an image of a community gallery, by the gallery's public name
// (https://learn.microsoft.com/rest/api/compute/community-gallery-images/get).
func (c *Client) CommunityImage(ctx context.Context, location, gallery, image string) (SharedImage, error) {
	images, err := armcompute.NewCommunityGalleryImagesClient(c.o.Subscription, c.o.Credential, c.arm)
	if err != nil {
		return SharedImage{}, err
	}
	versions, err := armcompute.NewCommunityGalleryImageVersionsClient(c.o.Subscription, c.o.Credential, c.arm)
	if err != nil {
		return SharedImage{}, err
	}
	r, err := images.Get(ctx, location, gallery, image, nil)
	if err != nil {
		return SharedImage{}, wrap(err, "look up community gallery image %s/%s in %s", gallery, image, location)
	}
	var s SharedImage
	if p := r.Properties; p != nil {
		s = sharedImage(p.OSType, p.OSState, p.HyperVGeneration, p.Features, p.PurchasePlan)
	}
	for p := versions.NewListPager(location, gallery, image, nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return SharedImage{}, wrap(err, "list the versions of community gallery image %s/%s in %s", gallery, image, location)
		}
		for _, v := range page.Value {
			if v.Properties == nil || !val(v.Properties.ExcludeFromLatest) {
				s.Versions = append(s.Versions, val(v.Name))
			}
		}
	}
	return s, nil
}

// DirectSharedImage looks up an image that is shared with the subscription or its tenant, by the gallery's unique name
// (https://learn.microsoft.com/rest/api/compute/shared-gallery-images/get).
func (c *Client) DirectSharedImage(ctx context.Context, location, gallery, image string) (SharedImage, error) {
	images, err := armcompute.NewSharedGalleryImagesClient(c.o.Subscription, c.o.Credential, c.arm)
	if err != nil {
		return SharedImage{}, err
	}
	versions, err := armcompute.NewSharedGalleryImageVersionsClient(c.o.Subscription, c.o.Credential, c.arm)
	if err != nil {
		return SharedImage{}, err
	}
	r, err := images.Get(ctx, location, gallery, image, nil)
	if err != nil {
		return SharedImage{}, wrap(err, "look up shared gallery image %s/%s in %s", gallery, image, location)
	}
	var s SharedImage
	if p := r.Properties; p != nil {
		s = sharedImage(p.OSType, p.OSState, p.HyperVGeneration, p.Features, p.PurchasePlan)
	}
	for p := versions.NewListPager(location, gallery, image, nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return SharedImage{}, wrap(err, "list the versions of shared gallery image %s/%s in %s", gallery, image, location)
		}
		for _, v := range page.Value {
			if v.Properties == nil || !val(v.Properties.ExcludeFromLatest) {
				s.Versions = append(s.Versions, val(v.Name))
			}
		}
	}
	return s, nil
}

func sharedImage(os *armcompute.OperatingSystemTypes, state *armcompute.OperatingSystemStateTypes, generation *armcompute.HyperVGeneration, features []*armcompute.GalleryImageFeature, plan *armcompute.ImagePurchasePlan) SharedImage {
	s := SharedImage{OS: string(val(os)), OSState: string(val(state)), Generation: string(val(generation))}
	for _, f := range features {
		if strings.EqualFold(val(f.Name), "SecurityType") {
			s.SecurityType = val(f.Value)
		}
	}
	s.Plan = purchasePlan(plan)
	return s
}

// purchasePlan is nil where there is none; Azure also answers one whose members are all absent.
func purchasePlan(p *armcompute.ImagePurchasePlan) *PurchasePlan {
	if p == nil || val(p.Name) == "" {
		return nil
	}
	return &PurchasePlan{Name: val(p.Name), Product: val(p.Product), Publisher: val(p.Publisher)}
}

// TermsAccepted tells whether the terms of a marketplace plan have been accepted for the subscription
// (https://learn.microsoft.com/rest/api/marketplaceordering/agreements/marketplace-agreements/get).
func (c *Client) TermsAccepted(ctx context.Context, p PurchasePlan) (bool, error) {
	id := "/subscriptions/" + c.o.Subscription + "/providers/Microsoft.MarketplaceOrdering/offerTypes/virtualmachine/publishers/" + p.Publisher +
		"/offers/" + p.Product + "/plans/" + p.Name + "/agreements/current"
	r, err := c.res.GetByID(ctx, id, "2021-01-01", nil)
	if err != nil {
		return false, wrap(err, "look up the terms of marketplace plan %s of %s:%s", p.Name, p.Publisher, p.Product)
	}
	raw, err := json.Marshal(r.Properties)
	if err != nil {
		return false, err
	}
	var terms struct{ Accepted bool }
	return terms.Accepted, json.Unmarshal(raw, &terms)
}

// ManagedImageIn looks a managed image up in any subscription of the tenant.
func (c *Client) ManagedImageIn(ctx context.Context, subscription, group, name string) (ManagedImageInfo, error) {
	images, err := armcompute.NewImagesClient(subscription, c.o.Credential, c.arm)
	if err != nil {
		return ManagedImageInfo{}, err
	}
	r, err := images.Get(ctx, group, name, nil)
	if err != nil {
		return ManagedImageInfo{}, wrap(err, "look up managed image %s of subscription %s", name, subscription)
	}
	return imageInfo(r.Image), nil
}
