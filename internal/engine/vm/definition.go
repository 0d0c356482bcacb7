package vm

import (
	"context"
	"fmt"
	"strings"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

type newGalleryArgs struct {
	Subscription, Group, Name, Location string
	Tags                                map[string]string
}

// makeGallery makes a gallery that was missing when the plan was made. One that somebody else has made since will do.
func (b *build) makeGallery(ctx context.Context, t *plan.Task, a newGalleryArgs) (idResult, error) {
	g, err := b.env.Cloud.GetGallery(ctx, a.Subscription, a.Group, a.Name)
	if err == nil || !azure.IsNotFound(err) {
		return idResult{g.ID}, err
	}
	if err := b.env.Cloud.PutGallery(ctx, a.Subscription, a.Group, a.Name, a.Location, a.Tags, op(t)); err != nil {
		return idResult{}, err
	}
	g, err = b.env.Cloud.GetGallery(ctx, a.Subscription, a.Group, a.Name)
	return idResult{g.ID}, err
}

// removeGallery deletes the gallery if this run made it and nobody has put anything else into it.
func (b *build) removeGallery(ctx context.Context, t *plan.Task, a newGalleryArgs, _ *idResult) error {
	g, err := b.env.Cloud.GetGallery(ctx, a.Subscription, a.Group, a.Name)
	if azure.IsNotFound(err) || err == nil && g.Tags[TagRun] != t.Run {
		return nil
	}
	if err == nil {
		err = b.env.Cloud.DeleteGallery(ctx, a.Subscription, a.Group, a.Name, undoOp(t))
	}
	if azure.IsConflict(err) {
		t.Output("stdout", "kept: gallery "+a.Name+" holds what another build has made")
		return nil
	}
	return err
}

type definitionArgs struct{ Definition azure.NewDefinition }

// makeDefinition makes an image definition that was missing when the plan was made. One that somebody else has made since is used if
// it takes this image.
func (b *build) makeDefinition(ctx context.Context, t *plan.Task, a definitionArgs) (idResult, error) {
	d := a.Definition
	old, err := b.env.Cloud.GetDefinition(ctx, d.Subscription, d.Group, d.Gallery, d.Name)
	switch {
	case azure.IsNotFound(err):
		id, err := b.env.Cloud.PutDefinition(ctx, d, op(t))
		return idResult{id}, err
	case err != nil:
		return idResult{}, err
	}
	os := "Linux"
	if d.Windows {
		os = "Windows"
	}
	if old.OS != os || old.OSState != d.OSState || d.Generation != "" && old.Generation != d.Generation {
		return idResult{}, fmt.Errorf("cannot use image definition %s/%s, which somebody has made since this build began: it is for %s %s images of generation %s", d.Gallery, d.Name, strings.ToLower(old.OSState), old.OS, old.Generation)
	}
	return idResult{old.ID}, nil
}

// removeDefinition deletes the definition if this run made it and no other build has published to it.
func (b *build) removeDefinition(ctx context.Context, t *plan.Task, a definitionArgs, _ *idResult) error {
	d := a.Definition
	old, err := b.env.Cloud.GetDefinition(ctx, d.Subscription, d.Group, d.Gallery, d.Name)
	if azure.IsNotFound(err) || err == nil && old.Tags[TagRun] != t.Run {
		return nil
	}
	if err == nil {
		err = b.env.Cloud.DeleteDefinition(ctx, d.Subscription, d.Group, d.Gallery, d.Name, undoOp(t))
	}
	if azure.IsConflict(err) {
		t.Output("stdout", "kept: image definition "+d.Gallery+"/"+d.Name+" holds versions that another build has made")
		return nil
	}
	return err
}
