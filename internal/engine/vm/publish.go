package vm

import (
	"context"
	"fmt"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

type imageArgs struct {
	Image   azure.ManagedImage
	Replace bool // one of that name was there when the plan was made; a stand-in of the new one has been captured by now
}

// publishImage captures a managed image of the sealed machine.
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
	if err != nil && a.Replace {
		err = fmt.Errorf("%w; the older image is deleted, and the new one stands as %s", err, standInName(a.Image.Name, t.Run))
	}
	return productResult{ID: i.ID}, err
}

// withdrawImage deletes the image if this run made it. One that has taken an older one's place stays: nothing would be left.
func (b *build) withdrawImage(ctx context.Context, t *plan.Task, a imageArgs, _ *productResult) error {
	i, err := b.env.Cloud.GetManagedImage(ctx, a.Image.Group, a.Image.Name)
	if azure.IsNotFound(err) || err == nil && i.Tags[TagRun] != t.Run {
		return nil
	}
	if err != nil {
		return err
	}
	if a.Replace && i.State == "Succeeded" {
		t.Output("stdout", "kept: managed image "+a.Image.Name+" has taken the place of the older one")
		return nil
	}
	return b.env.Cloud.DeleteManagedImage(ctx, a.Image.Group, a.Image.Name, undoOp(t))
}

// imageStandIn is a managed image under a name of its own, until it has taken the place of the one called For: Azure cannot rename.
type imageStandIn struct {
	Image azure.ManagedImage
	For   string
}

func (b *build) makeImageStandIn(ctx context.Context, t *plan.Task, a imageStandIn) (productResult, error) {
	return b.publishImage(ctx, t, imageArgs{Image: a.Image})
}

// removeImageStandIn deletes the stand-in once the image that it stands in for is there, the older one or the new.
func (b *build) removeImageStandIn(ctx context.Context, t *plan.Task, a imageStandIn, _ *productResult) error {
	i, err := b.env.Cloud.GetManagedImage(ctx, a.Image.Group, a.For)
	if err != nil && !azure.IsNotFound(err) {
		return err
	}
	if stands := err == nil && i.State == "Succeeded"; !stands {
		if stand, err := b.env.Cloud.GetManagedImage(ctx, a.Image.Group, a.Image.Name); err == nil && stand.State == "Succeeded" {
			t.Output("stderr", "kept: "+a.For+" is gone or not whole, and the new image stands as "+a.Image.Name)
			return nil
		}
	}
	return b.withdrawImage(ctx, t, imageArgs{Image: a.Image}, nil)
}

type galleryArgs struct {
	Version azure.GalleryVersion
	Replace bool // one of that number was there when the plan was made; a stand-in of the new one has been published by now
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
		return productResult{ID: old.ID}, nil
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
	o, stood := op(t), ""
	show := o.Progress
	o.Progress = func(status string) { stood = status; show(status) }
	i, err := b.env.Cloud.PutGalleryVersion(ctx, v, o)
	if err != nil && stood != "" {
		err = fmt.Errorf("%w; the regions stood at: %s", err, stood)
	}
	if err != nil && a.Replace {
		err = fmt.Errorf("%w; the older version is deleted, and the new image stands as another version of %s, 0.0.N, in %s", err, v.Image, v.Location)
	}
	return productResult{ID: i.ID}, err
}

// withdrawVersion deletes the version if this run made it. One that has taken an older one's place stays: nothing would be left.
func (b *build) withdrawVersion(ctx context.Context, t *plan.Task, a galleryArgs, _ *productResult) error {
	v := a.Version
	i, err := b.env.Cloud.GetGalleryVersion(ctx, v.Subscription, v.Group, v.Gallery, v.Image, v.Version)
	if azure.IsNotFound(err) || err == nil && i.Tags[TagRun] != t.Run {
		return nil
	}
	if err != nil {
		return err
	}
	if a.Replace && i.State == "Succeeded" {
		t.Output("stdout", "kept: version "+v.Version+" has taken the place of the older one")
		return nil
	}
	return b.env.Cloud.DeleteGalleryVersion(ctx, v.Subscription, v.Group, v.Gallery, v.Image, v.Version, undoOp(t))
}

// versionStandIn is a gallery version under a number of its own, until it has taken the place of the one called For: two versions of one
// number cannot be, and Azure cannot renumber.
type versionStandIn struct {
	Version azure.GalleryVersion
	For     string
}

func (b *build) makeVersionStandIn(ctx context.Context, t *plan.Task, a versionStandIn) (productResult, error) {
	return b.publishVersion(ctx, t, galleryArgs{Version: a.Version})
}

// removeVersionStandIn deletes the stand-in once the version that it stands in for is there, the older one or the new.
func (b *build) removeVersionStandIn(ctx context.Context, t *plan.Task, a versionStandIn, _ *productResult) error {
	v := a.Version
	i, err := b.env.Cloud.GetGalleryVersion(ctx, v.Subscription, v.Group, v.Gallery, v.Image, a.For)
	if err != nil && !azure.IsNotFound(err) {
		return err
	}
	if stands := err == nil && i.State == "Succeeded"; !stands {
		if stand, err := b.env.Cloud.GetGalleryVersion(ctx, v.Subscription, v.Group, v.Gallery, v.Image, v.Version); err == nil && stand.State == "Succeeded" {
			t.Output("stderr", "kept: version "+a.For+" is gone or not whole, and the new image stands as version "+v.Version)
			return nil
		}
	}
	return b.withdrawVersion(ctx, t, galleryArgs{Version: v}, nil)
}
