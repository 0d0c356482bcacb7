package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// NewGalleryArgs are those of a step of kind "gallery-new".
type NewGalleryArgs struct {
	Subscription, Group, Name, Location string
	Tags                                map[string]string
}

// makeGallery makes a gallery that was missing when the plan was made. One that somebody else has made since will do.
func (e Env) makeGallery(ctx context.Context, t *plan.Task, a NewGalleryArgs) (IDResult, error) {
	g, err := e.Cloud.GetGallery(ctx, a.Subscription, a.Group, a.Name)
	if err == nil || !azure.IsNotFound(err) {
		return IDResult{g.ID}, err
	}
	if err := e.Cloud.PutGallery(ctx, a.Subscription, a.Group, a.Name, a.Location, a.Tags, Op(t)); err != nil {
		return IDResult{}, err
	}
	g, err = e.Cloud.GetGallery(ctx, a.Subscription, a.Group, a.Name)
	return IDResult{g.ID}, err
}

// removeGallery deletes the gallery if this run made it and nobody has put anything else into it.
func (e Env) removeGallery(ctx context.Context, t *plan.Task, a NewGalleryArgs, _ *IDResult) error {
	g, err := e.Cloud.GetGallery(ctx, a.Subscription, a.Group, a.Name)
	if azure.IsNotFound(err) || err == nil && g.Tags[TagRun] != t.Run {
		return nil
	}
	if err == nil {
		err = e.Cloud.DeleteGallery(ctx, a.Subscription, a.Group, a.Name, UndoOp(t))
	}
	if azure.IsConflict(err) {
		t.Output("stdout", "kept: gallery "+a.Name+" holds what another build has made")
		return nil
	}
	return err
}

// DefinitionArgs are those of a step of kind "definition".
type DefinitionArgs struct{ Definition azure.NewDefinition }

// makeDefinition makes an image definition that was missing when the plan was made. One that somebody else has made since is used if
// it takes this image.
func (e Env) makeDefinition(ctx context.Context, t *plan.Task, a DefinitionArgs) (IDResult, error) {
	d := a.Definition
	old, err := e.Cloud.GetDefinition(ctx, d.Subscription, d.Group, d.Gallery, d.Name)
	switch {
	case azure.IsNotFound(err):
		id, err := e.Cloud.PutDefinition(ctx, d, Op(t))
		return IDResult{id}, err
	case err != nil:
		return IDResult{}, err
	}
	os := "Linux"
	if d.Windows {
		os = "Windows"
	}
	if old.OS != os || old.OSState != d.OSState || d.Generation != "" && old.Generation != d.Generation {
		return IDResult{}, fmt.Errorf("cannot use image definition %s/%s, which somebody has made since this build began: it is for %s %s images of generation %s", d.Gallery, d.Name, strings.ToLower(old.OSState), old.OS, old.Generation)
	}
	return IDResult{old.ID}, nil
}

// removeDefinition deletes the definition if this run made it and no other build has published to it.
func (e Env) removeDefinition(ctx context.Context, t *plan.Task, a DefinitionArgs, _ *IDResult) error {
	d := a.Definition
	old, err := e.Cloud.GetDefinition(ctx, d.Subscription, d.Group, d.Gallery, d.Name)
	if azure.IsNotFound(err) || err == nil && old.Tags[TagRun] != t.Run {
		return nil
	}
	if err == nil {
		err = e.Cloud.DeleteDefinition(ctx, d.Subscription, d.Group, d.Gallery, d.Name, UndoOp(t))
	}
	if azure.IsConflict(err) {
		t.Output("stdout", "kept: image definition "+d.Gallery+"/"+d.Name+" holds versions that another build has made")
		return nil
	}
	return err
}

// DefinitionSteps plan an image definition that is missing, target k's, and its gallery, once: galleries remembers which are planned. The last
// step is the one to wait for.
func DefinitionSteps(img *image.Image, k int, t image.ToGallery, f image.GalleryFacts, subscription string, tags map[string]string, galleries map[string]string) ([]plan.Step, error) {
	var steps []plan.Step
	var errs []error
	add := func(s plan.Step, args any) {
		var err error
		s.Args, err = json.Marshal(args)
		steps, errs = append(steps, s), append(errs, err)
	}
	sub := cmp.Or(t.Subscription, subscription)
	var after []string
	key := strings.ToLower(sub + "/" + t.ResourceGroup + "/" + t.Gallery)
	if f.MakeGallery && galleries[key] == "" {
		id := fmt.Sprintf("gallery-new-%d", k+1)
		add(plan.Step{ID: id, Kind: "gallery-new", Title: "Create gallery " + t.Gallery, Scope: plan.Product, Estimate: time.Second, UndoEstimate: time.Second},
			NewGalleryArgs{Subscription: sub, Group: t.ResourceGroup, Name: t.Gallery, Location: f.Location, Tags: tags})
		galleries[key] = id
	}
	if id := galleries[key]; id != "" {
		after = []string{id}
	}
	d := azure.NewDefinition{Subscription: sub, Group: t.ResourceGroup, Gallery: t.Gallery, Name: t.Image, Location: f.Location, Windows: img.OS != image.Linux, Tags: tags}
	for _, x := range img.Definitions {
		if strings.EqualFold(x.Gallery, t.Gallery) && strings.EqualFold(x.Name, t.Image) && strings.EqualFold(x.ResourceGroup, t.ResourceGroup) {
			d.Publisher, d.Offer, d.SKU, d.Description = x.Publisher, x.Offer, x.SKU, x.Description
			d.OSState, d.Generation, d.Architecture, d.SecurityType, d.DiskControllers = x.OSState, x.Generation, x.Architecture, x.SecurityType, x.DiskControllers
		}
	}
	id := fmt.Sprintf("definition-%d", k+1)
	add(plan.Step{ID: id, Kind: "definition", Title: fmt.Sprintf("Create image definition %s/%s", t.Gallery, t.Image), After: after, Scope: plan.Product, Estimate: time.Second, UndoEstimate: time.Second}, DefinitionArgs{d})
	return steps, errors.Join(errs...)
}

// NewGallery makes a gallery that is missing; undone, it is deleted if nothing else is in it.
func NewGallery(e Env) plan.Action {
	return plan.Typed[NewGalleryArgs, IDResult]{DoFunc: e.makeGallery, UndoFunc: e.removeGallery}
}

// NewDefinition makes an image definition that is missing; undone, it is deleted if no other build has published to it.
func NewDefinition(e Env) plan.Action {
	return plan.Typed[DefinitionArgs, IDResult]{DoFunc: e.makeDefinition, UndoFunc: e.removeDefinition}
}
