package vm

import (
	"cmp"
	"context"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

type blobImageArgs struct{ Image azure.BlobImage }

// sourceImage plans what a VHD (image_url) needs before a machine can be made of it: a managed image, which lives as long as the build. Packer
// starts such machines on unmanaged disks, which Azure has retired (docs/decisions/0020-vhd-sources.md).
func (c *compiler) sourceImage() {
	base, n := c.f.Base, c.n
	if base.BlobURL == "" {
		return
	}
	name := n.VM + "-source"
	c.add(plan.Step{ID: "source-image", Kind: "image-from-blob", Title: "Make image " + name + " of the VHD " + base.BlobURL, After: c.after("group"), Within: c.inGroup(), Estimate: takesImage, UndoEstimate: time.Second},
		blobImageArgs{azure.BlobImage{Group: n.Group, Name: name, Location: c.f.Location, URL: base.BlobURL, Windows: c.windows(), Generation: cmp.Or(base.Generation, "V1"), Tags: c.tags}})
}

func (b *build) makeBlobImage(ctx context.Context, t *plan.Task, a blobImageArgs) (idResult, error) {
	i, err := b.env.Cloud.PutBlobImage(ctx, a.Image, op(t))
	return idResult{ID: i.ID}, err
}

// removeBlobImage deletes the image, if this run made it; the VHD stays.
func (b *build) removeBlobImage(ctx context.Context, t *plan.Task, a blobImageArgs, _ *idResult) error {
	i, err := b.env.Cloud.GetManagedImage(ctx, a.Image.Group, a.Image.Name)
	if azure.IsNotFound(err) || err == nil && i.Tags[TagRun] != t.Run {
		return nil
	}
	if err != nil {
		return err
	}
	return b.env.Cloud.DeleteManagedImage(ctx, a.Image.Group, a.Image.Name, undoOp(t))
}

// elsewhere is a subscription, or "" when it is the build's own.
func (c *compiler) elsewhere(subscription string) string {
	if strings.EqualFold(subscription, c.f.Subscription) {
		return ""
	}
	return subscription
}
