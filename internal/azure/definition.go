package azure

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// GalleryInfo is what is known of a gallery.
type GalleryInfo struct {
	ID, Location string
	Tags         map[string]string
}

// NewDefinition is an image definition to be made.
type NewDefinition struct {
	Subscription, Group, Gallery, Name, Location string
	Publisher, Offer, SKU, Description           string
	Windows                                      bool
	OSState, Generation, Architecture            string   // Generalized, Specialized; V1, V2; "", x64, Arm64
	SecurityType                                 string   // "", TrustedLaunch, TrustedLaunchSupported, ConfidentialVM, ...
	DiskControllers                              []string // SCSI, NVMe
	Tags                                         map[string]string
}

func (c *Client) galleriesIn(subscription string) (*armcompute.GalleriesClient, error) {
	return armcompute.NewGalleriesClient(subscription, c.o.Credential, c.arm)
}

// GetGallery looks a gallery up.
func (c *Client) GetGallery(ctx context.Context, subscription, group, name string) (GalleryInfo, error) {
	galleries, err := c.galleriesIn(subscription)
	if err != nil {
		return GalleryInfo{}, err
	}
	r, err := galleries.Get(ctx, group, name, nil)
	if err != nil {
		return GalleryInfo{}, wrap(err, "look up gallery %s", name)
	}
	return GalleryInfo{ID: val(r.ID), Location: val(r.Location), Tags: vals(r.Tags)}, nil
}

// PutGallery makes a gallery.
func (c *Client) PutGallery(ctx context.Context, subscription, group, name, location string, tags map[string]string, op Op) error {
	galleries, err := c.galleriesIn(subscription)
	if err != nil {
		return err
	}
	body := armcompute.Gallery{Location: &location, Tags: ptrs(tags), Properties: &armcompute.GalleryProperties{}}
	_, err = long[armcompute.GalleriesClientCreateOrUpdateResponse]{
		what: "create gallery " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.GalleriesClientCreateOrUpdateResponse], error) {
			return galleries.BeginCreateOrUpdate(ctx, group, name, body, &armcompute.GalleriesClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return err
}

// DeleteGallery deletes a gallery, which must be empty; one that is not there is deleted.
func (c *Client) DeleteGallery(ctx context.Context, subscription, group, name string, op Op) error {
	galleries, err := c.galleriesIn(subscription)
	if err != nil {
		return err
	}
	_, err = long[armcompute.GalleriesClientDeleteResponse]{
		what: "delete gallery " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.GalleriesClientDeleteResponse], error) {
			return galleries.BeginDelete(ctx, group, name, &armcompute.GalleriesClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// PutDefinition makes an image definition. Most of it cannot be changed afterwards
// (https://learn.microsoft.com/azure/virtual-machines/shared-image-galleries).
func (c *Client) PutDefinition(ctx context.Context, d NewDefinition, op Op) (string, error) {
	images, err := armcompute.NewGalleryImagesClient(d.Subscription, c.o.Credential, c.arm)
	if err != nil {
		return "", err
	}
	os, state, generation := armcompute.OperatingSystemTypesLinux, armcompute.OperatingSystemStateTypes(d.OSState), armcompute.HyperVGeneration(d.Generation)
	if d.Windows {
		os = armcompute.OperatingSystemTypesWindows
	}
	p := &armcompute.GalleryImageProperties{OSType: &os, OSState: &state, HyperVGeneration: opt(generation), Description: opt(d.Description),
		Identifier: &armcompute.GalleryImageIdentifier{Publisher: &d.Publisher, Offer: &d.Offer, SKU: &d.SKU}}
	if d.Architecture != "" {
		a := armcompute.Architecture(d.Architecture)
		p.Architecture = &a
	}
	feature := func(name, value string) {
		p.Features = append(p.Features, &armcompute.GalleryImageFeature{Name: &name, Value: &value})
	}
	if d.SecurityType != "" && d.SecurityType != "Standard" {
		feature("SecurityType", d.SecurityType)
	}
	if len(d.DiskControllers) > 0 {
		list := slices.Clone(d.DiskControllers)
		slices.Sort(list)
		slices.Reverse(list)
		feature("DiskControllerTypes", strings.Join(list, ", "))
	}
	body := armcompute.GalleryImage{Location: &d.Location, Tags: ptrs(d.Tags), Properties: p}
	r, err := long[armcompute.GalleryImagesClientCreateOrUpdateResponse]{
		what: fmt.Sprintf("create image definition %s/%s", d.Gallery, d.Name),
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.GalleryImagesClientCreateOrUpdateResponse], error) {
			return images.BeginCreateOrUpdate(ctx, d.Group, d.Gallery, d.Name, body, &armcompute.GalleryImagesClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return val(r.ID), err
}

// DeleteDefinition deletes an image definition, which must have no versions; one that is not there is deleted.
func (c *Client) DeleteDefinition(ctx context.Context, subscription, group, gallery, name string, op Op) error {
	images, err := armcompute.NewGalleryImagesClient(subscription, c.o.Credential, c.arm)
	if err != nil {
		return err
	}
	_, err = long[armcompute.GalleryImagesClientDeleteResponse]{
		what: fmt.Sprintf("delete image definition %s/%s", gallery, name),
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.GalleryImagesClientDeleteResponse], error) {
			return images.BeginDelete(ctx, group, gallery, name, &armcompute.GalleryImagesClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}
