package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"ingot/internal/azure"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// tryPrefix begins the ids of the steps for the machine on which the finished image is tried.
const tryPrefix = "try-"

// onTry makes a step's function one for the machine on which the image is tried: it finds that machine's steps instead of the builder's.
func onTry[A, R any](f func(context.Context, *plan.Task, A) (R, error)) func(context.Context, *plan.Task, A) (R, error) {
	return func(ctx context.Context, t *plan.Task, a A) (R, error) { return f(ctx, t.Through(tryPrefix), a) }
}

// tryActions are the actions for that machine. It has a connection of its own.
func tryActions(b *build) map[string]plan.Action {
	return map[string]plan.Action{
		"try-ip":        plan.Typed[ipArgs, addressResult]{DoFunc: onTry(b.makeIP), UndoFunc: b.removeIP},
		"try-nic":       plan.Typed[nicArgs, addressResult]{DoFunc: onTry(b.makeNIC), UndoFunc: b.removeNIC},
		"try-vm":        plan.Typed[vmArgs, vmResult]{DoFunc: onTry(b.makeVM), UndoFunc: b.removeVM},
		"try-extension": plan.Typed[extensionArgs, extensionResult]{DoFunc: onTry(b.runExtension)},
		"try-connect":   plan.Typed[connectArgs, connectResult]{DoFunc: onTry(b.connect)},
		"try-provision": plan.Typed[provisionArgs, struct{}]{DoFunc: onTry(b.provision)},
	}
}

// sourceOnly is the image as it is built when only its source is to be tried: the steps run on a machine of the source, and nothing
// is captured (Image Builder's sourceValidationOnly).
func sourceOnly(img *image.Image) *image.Image {
	if v := img.Validation; v == nil || !v.SourceOnly {
		return img
	}
	bare := *img
	bare.Provision, bare.Cleanup, bare.SkipImage, bare.Validation = img.Validation.Steps, nil, true, nil
	return &bare
}

// try plans the trial of the finished image on a machine made of it, before anything is published: a gallery of the build's own takes the
// image, since only a gallery takes every kind of machine, with one shallow copy where the build is. It returns the last step's id.
func (c *compiler) try(last string) string {
	v := c.img.Validation
	if v == nil || len(v.Steps) == 0 || c.img.SkipImage {
		return last
	}
	n, m, in := c.n, c.img.Machine, c.inGroup()
	gallery, definition := "ingot_try_"+c.o.Run, "image"
	id := fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/galleries/%s/images/%s/versions/1.0.0", c.f.Subscription, n.Group, gallery, definition)
	add := func(s plan.Step, args any) {
		s.ID, s.Within = tryPrefix+s.ID, in
		if s.Scope == "" {
			s.Scope = plan.Scratch
		} else {
			s.Within = ""
		}
		c.add(s, args)
	}
	add(plan.Step{ID: "gallery", Kind: "gallery-new", Title: "Create gallery " + gallery + " to try the image from", After: c.after("group"), Estimate: time.Second, UndoEstimate: time.Second},
		newGalleryArgs{Subscription: c.f.Subscription, Group: n.Group, Name: gallery, Location: c.f.Location, Tags: c.tags})
	d := azure.NewDefinition{Subscription: c.f.Subscription, Group: n.Group, Gallery: gallery, Name: definition, Location: c.f.Location, Publisher: "ingot", Offer: c.o.Run, SKU: "try", Windows: c.windows(),
		OSState: "Generalized", Generation: c.f.Base.Generation, Tags: c.tags}
	if c.specialized() {
		d.OSState = "Specialized"
	}
	version := azure.GalleryVersion{Subscription: c.f.Subscription, Group: n.Group, Gallery: gallery, Image: definition, Version: "1.0.0", Location: c.f.Location, Shallow: true,
		Regions: []azure.TargetRegion{{Name: c.f.Location, Replicas: 1, DiskEncryptionSetID: m.DiskEncryptionSetID}}, Tags: c.tags}
	switch {
	case m.SecurityType == "ConfidentialVM":
		d.SecurityType, version.ConfidentialEncryption = "ConfidentialVM", "EncryptedVMGuestStateOnlyWithPmk"
		if m.SecurityEncryption == "DiskWithVMGuestState" {
			version.ConfidentialEncryption = "EncryptedWithPmk"
			if m.DiskEncryptionSetID != "" {
				version.ConfidentialEncryption = "EncryptedWithCmk"
			}
		}
	case m.SecurityType != "" || m.SecureBoot || m.VTPM:
		d.SecurityType = "TrustedLaunchSupported"
	}
	if m.DiskController != "" {
		d.DiskControllers = slices.Compact([]string{"SCSI", m.DiskController})
	}
	add(plan.Step{ID: "definition", Kind: "definition", Title: "Create its image definition", After: []string{tryPrefix + "gallery"}, Estimate: time.Second, UndoEstimate: time.Second}, definitionArgs{Definition: d})
	add(plan.Step{ID: "version", Kind: "gallery", Title: "Put the image into it, in " + c.f.Location + " only", After: []string{tryPrefix + "definition", last}, Estimate: takesShallow, UndoEstimate: takesVersionDelete, Timeout: time.Hour}, galleryArgs{Version: version})

	var builder vmArgs
	s, _ := c.step("vm")
	if err := json.Unmarshal(s.Args, &builder); err != nil {
		c.errs = append(c.errs, fmt.Errorf("cannot plan the machine to try the image on: %w", err))
		return last
	}
	x := builder.VM
	x.Name, x.OSDiskName, x.OSDiskGB, x.Image, x.Specialized = n.VM+"-try", n.VM+"-try-os", 0, azure.ImageRef{ID: id}, c.specialized()
	x.Spot = nil // a trial that is evicted says nothing of the image
	x.Computer = computer("try-" + c.o.Run)
	for i := range x.DataDisks {
		x.DataDisks[i].Name, x.DataDisks[i].FromImage, x.DataDisks[i].GB = fmt.Sprintf("%s-try-data-%d", n.VM, i+1), true, 0
	}
	if c.has("ip") {
		add(plan.Step{ID: "ip", Kind: "try-ip", Title: "Create a public address for it", After: c.after("group"), Estimate: takesIP, UndoEstimate: takesIP},
			ipArgs{azure.PublicIP{Group: n.Group, Name: n.IP + "-try", Location: c.f.Location, SKU: m.Network.PublicIPSKU, Tags: c.tags}})
	}
	add(plan.Step{ID: "nic", Kind: "try-nic", Title: "Create a network interface for it", After: c.after("group", "network", tryPrefix+"ip"), Estimate: takesNIC, UndoEstimate: takesNIC},
		nicArgs{azure.NIC{Group: n.Group, Name: n.NIC + "-try", Location: c.f.Location, Accelerated: m.AcceleratedNetworking, Tags: c.tags}})
	add(plan.Step{ID: "vm", Kind: "try-vm", Title: "Create VM " + x.Name + " from the image, to try it", After: c.after(tryPrefix+"version", tryPrefix+"nic", "certificate", "ssh-key"), Estimate: takesVM, UndoEstimate: takesVMDelete}, vmArgs{VM: x})
	// What lets people into the builder lets them in here.
	ready := []string{tryPrefix + "vm"}
	for _, s := range slices.Clone(c.steps) {
		if s.Kind != "extension" {
			continue
		}
		var a extensionArgs
		if err := json.Unmarshal(s.Args, &a); err != nil {
			c.errs = append(c.errs, fmt.Errorf("cannot plan the machine to try the image on: %w", err))
		}
		a.Script.VM = x.Name
		c.add(plan.Step{Scope: plan.Nothing, ID: tryPrefix + s.ID, Kind: "try-extension", Title: s.Title + ", on " + x.Name, After: []string{tryPrefix + "vm"}, Estimate: s.Estimate}, a)
		ready = append(ready, tryPrefix+s.ID)
	}
	connect, _ := c.step("connect")
	c.add(plan.Step{Scope: plan.Nothing, ID: tryPrefix + "connect", Kind: "try-connect", Title: connect.Title + " of " + x.Name, After: ready, Timeout: connect.Timeout, Estimate: takesConnect}, connect.Args)
	last = tryPrefix + "connect"
	for i, p := range v.Steps {
		args, settings, ok := c.provision(p)
		if !ok {
			continue
		}
		// Here GoOn is continue_on_failure, which says something else than continue_on_error of a provisioner: the failure counts
		// (docs/decisions/0026-failed-and-kept.md). The machine itself must come up: an image that nobody has seen start is not published.
		mayFail := p.GoOn || v.ContinueDistribute
		args.GoOn = false
		step := fmt.Sprintf("%sprovision-%d", tryPrefix, i+1)
		title := "Try: " + settings.Summary()
		if p.Name != "" {
			title = fmt.Sprintf("Try %s: %s", p.Name, settings.Summary())
		}
		c.add(plan.Step{Scope: plan.Nothing, ID: step, Kind: "try-provision", Title: title, After: []string{last}, Estimate: p.PauseBefore + settings.Estimate(), MayFail: mayFail}, args)
		last = step
	}
	// What the builder needed until it was stopped is needed until the image has been tried.
	for i := range c.steps {
		if until := c.steps[i].Until; slices.Equal(until, []string{"deallocate"}) {
			c.steps[i].Until = []string{last}
		}
	}
	return last
}
