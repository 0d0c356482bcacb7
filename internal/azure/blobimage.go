package azure

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// BlobImage is a managed image to be made of a VHD in a page blob.
type BlobImage struct {
	Group, Name, Location string
	URL                   string // of the blob; its storage account is in Location
	Windows               bool
	Generation            string // V1 or V2
	Tags                  map[string]string
}

// PutBlobImage makes a managed image of a generalised VHD in a page blob
// (https://learn.microsoft.com/rest/api/compute/images/create-or-update, "Create a virtual machine image from a blob").
func (c *Client) PutBlobImage(ctx context.Context, m BlobImage, op Op) (ManagedImageInfo, error) {
	os, state, generation := armcompute.OperatingSystemTypesLinux, armcompute.OperatingSystemStateTypesGeneralized, armcompute.HyperVGenerationTypes(m.Generation)
	if m.Windows {
		os = armcompute.OperatingSystemTypesWindows
	}
	body := armcompute.Image{Location: &m.Location, Tags: ptrs(m.Tags), Properties: &armcompute.ImageProperties{HyperVGeneration: opt(generation),
		StorageProfile: &armcompute.ImageStorageProfile{OSDisk: &armcompute.ImageOSDisk{OSType: &os, OSState: &state, BlobURI: &m.URL}}}}
	r, err := long[armcompute.ImagesClientCreateOrUpdateResponse]{
		what: "make image " + m.Name + " of the VHD",
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.ImagesClientCreateOrUpdateResponse], error) {
			return c.images.BeginCreateOrUpdate(ctx, m.Group, m.Name, body, &armcompute.ImagesClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil {
		return ManagedImageInfo{}, err
	}
	return imageInfo(r.Image), nil
}
