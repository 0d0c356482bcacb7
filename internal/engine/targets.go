package engine

import (
	"context"
	"fmt"
	"strings"

	"ingot/internal/image"
)

// Gallery tells where a gallery is.
func (c Catalog) Gallery(ctx context.Context, subscription, group, name string) (string, error) {
	g, err := c.Cloud.GetGallery(ctx, subscription, group, name)
	return g.Location, notFound(err)
}

// StorageAccount tells where a storage account is.
func (c Catalog) StorageAccount(ctx context.Context, group, name string) (string, error) {
	a, err := c.Cloud.Account(ctx, group, name)
	return a.Location, notFound(err)
}

// FindStorageAccount looks for a storage account by its name alone, which is one of a kind in all of Azure.
func (c Catalog) FindStorageAccount(ctx context.Context, name string) (string, error) {
	id, err := c.Cloud.FindAccount(ctx, name)
	if err == nil && id == "" {
		return "", fmt.Errorf("%w: storage account %s", image.ErrNotFound, name)
	}
	return id, err
}

// Snapshot looks for a snapshot.
func (c Catalog) Snapshot(ctx context.Context, group, name string) error {
	_, err := c.Cloud.GetSnapshot(ctx, group, name)
	return notFound(err)
}

// DataDisks lists the LUNs of an image's data disks.
func (c Catalog) DataDisks(ctx context.Context, id string) ([]int32, error) {
	p := strings.Split(strings.Trim(id, "/"), "/")
	switch {
	case len(p) == 12 && strings.EqualFold(p[10], "versions"):
		v, err := c.Cloud.GetGalleryVersion(ctx, p[1], p[3], p[7], p[9], p[11])
		return v.DataLUNs, notFound(err)
	case len(p) == 8 && strings.EqualFold(p[6], "images"):
		m, err := c.Cloud.ManagedImageIn(ctx, p[1], p[3], p[7])
		return m.DataLUNs, notFound(err)
	}
	return nil, fmt.Errorf("cannot tell which data disks %s has: it is neither a gallery version nor a managed image", id)
}
