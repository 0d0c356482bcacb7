package vm

import (
	"context"
	"fmt"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

// productResult is what a target leaves: the id is the artifact.
type productResult struct {
	ID string `json:"id"`
}

type imageArgs struct {
	Image   azure.ManagedImage
	Replace bool
}

// publishImage captures a managed image of the sealed machine. With -force the old one is deleted here, when the new one
// is ready to be made, and not before.
func (b *build) publishImage(ctx context.Context, t *plan.Task, a imageArgs) (productResult, error) {
	old, err := b.env.Cloud.GetManagedImage(ctx, a.Image.Group, a.Image.Name)
	switch {
	case azure.IsNotFound(err):
	case err != nil:
		return productResult{}, err
	case old.Tags[TagRun] == t.Run:
	case !a.Replace:
		return productResult{}, fmt.Errorf("cannot capture managed image %s: it exists already, made by somebody else since this build began", a.Image.Name)
	default:
		if err := b.env.Cloud.DeleteManagedImage(ctx, a.Image.Group, a.Image.Name, undoOp(t)); err != nil {
			return productResult{}, err
		}
	}
	var v vmResult
	if err := t.Result("vm", &v); err != nil {
		return productResult{}, err
	}
	a.Image.SourceVMID = v.ID
	i, err := b.env.Cloud.PutManagedImage(ctx, a.Image, op(t))
	return productResult{i.ID}, err
}

// withdrawImage deletes the image if this run made it.
func (b *build) withdrawImage(ctx context.Context, t *plan.Task, a imageArgs, _ *productResult) error {
	i, err := b.env.Cloud.GetManagedImage(ctx, a.Image.Group, a.Image.Name)
	if azure.IsNotFound(err) || err == nil && i.Tags[TagRun] != t.Run {
		return nil
	}
	if err != nil {
		return err
	}
	return b.env.Cloud.DeleteManagedImage(ctx, a.Image.Group, a.Image.Name, undoOp(t))
}

type galleryArgs struct {
	Version azure.GalleryVersion
	Replace bool
}

// publishVersion makes the gallery version and waits until every region has it. A version that this run made and that Azure
// has given up on is deleted and made again, since Azure refuses to mend it (packer-plugin-azure#183).
func (b *build) publishVersion(ctx context.Context, t *plan.Task, a galleryArgs) (productResult, error) {
	v := a.Version
	old, err := b.env.Cloud.GetGalleryVersion(ctx, v.Subscription, v.Group, v.Gallery, v.Image, v.Version)
	switch {
	case azure.IsNotFound(err):
	case err != nil:
		return productResult{}, err
	case old.Tags[TagRun] == t.Run && old.State == "Succeeded":
		return productResult{old.ID}, nil
	case old.Tags[TagRun] == t.Run && old.State != "Failed":
	case old.Tags[TagRun] != t.Run && !a.Replace:
		return productResult{}, fmt.Errorf("cannot publish %s/%s %s: that version exists already, made by somebody else since this build began", v.Gallery, v.Image, v.Version)
	default:
		if err := b.env.Cloud.DeleteGalleryVersion(ctx, v.Subscription, v.Group, v.Gallery, v.Image, v.Version, undoOp(t)); err != nil {
			return productResult{}, err
		}
	}
	var m vmResult
	if err := t.Result("vm", &m); err != nil {
		return productResult{}, err
	}
	v.SourceVMID = m.ID
	i, err := b.env.Cloud.PutGalleryVersion(ctx, v, op(t))
	return productResult{i.ID}, err
}

// withdrawVersion deletes the version if this run made it.
func (b *build) withdrawVersion(ctx context.Context, t *plan.Task, a galleryArgs, _ *productResult) error {
	v := a.Version
	i, err := b.env.Cloud.GetGalleryVersion(ctx, v.Subscription, v.Group, v.Gallery, v.Image, v.Version)
	if azure.IsNotFound(err) || err == nil && i.Tags[TagRun] != t.Run {
		return nil
	}
	if err != nil {
		return err
	}
	return b.env.Cloud.DeleteGalleryVersion(ctx, v.Subscription, v.Group, v.Gallery, v.Image, v.Version, undoOp(t))
}
