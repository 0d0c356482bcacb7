package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"ingot/internal/diag"
)

// ErrNotFound is what a Catalog returns for a thing that does not exist; Resolve turns it into a Problem at the option that
// named the thing. Every other error ends Resolve: it means that the world could not be asked.
var ErrNotFound = errors.New("not found")

// Options change what Resolve accepts.
type ResolveOptions struct {
	// Replace accepts a gallery version or managed image that exists already: it is to be replaced (-force).
	Replace bool
}

// Resolve asks the world, once, for everything a plan needs to know: exact versions, what the source is, what the targets
// accept. "latest" becomes a version here and nowhere else. The questions are independent and asked side by side. All
// problems are returned together; the error is for a world that could not be asked at all.
func Resolve(ctx context.Context, img *Image, c Catalog, o ResolveOptions) (Facts, diag.List, error) {
	var f Facts
	var err error
	if f.Subscription, f.Tenant, f.ObjectID, err = c.Whoami(ctx); err != nil {
		return f, nil, err
	}
	if img.Identity.SubscriptionID != "" {
		f.Subscription = img.Identity.SubscriptionID
	}
	if img.SkipImage || img.Validation != nil && img.Validation.SourceOnly { // nothing is captured, so that the targets have no part in the build
		bare := *img
		bare.Targets, bare.Snapshots = nil, Snapshots{}
		img = &bare
	}
	r := &resolver{img: img, c: c, o: o, f: &f}
	f.Location = NormalLocation(img.Machine.Location)
	if img.Machine.ResourceGroup != "" {
		r.location(ctx)
	}
	if f.Location == "" {
		return f, r.problems, r.err
	}
	f.Galleries = make([]GalleryFacts, countGalleries(img))
	ask := []func(context.Context){r.source, r.size}
	n := 0
	ask = append(ask, r.snapshots)
	for k, t := range img.Targets {
		switch t := t.(type) {
		case ToVHD:
			ask = append(ask, func(ctx context.Context) { r.vhd(ctx, t) })
		case ToGallery:
			i := n
			n++
			ask = append(ask, func(ctx context.Context) { r.gallery(ctx, i, k, t) })
		case ToManagedImage:
			ask = append(ask, func(ctx context.Context) { r.managedImage(ctx, k, t) })
		}
	}
	var wg sync.WaitGroup
	for _, q := range ask {
		wg.Go(func() { q(ctx) })
	}
	wg.Wait()
	if r.err == nil && !r.problems.HasErrors() {
		r.fromSource()
		slices.Sort(f.Exists) // asked for side by side
		r.generation()
		r.compare()
		r.hardware()
	}
	slices.SortStableFunc(r.problems, func(a, b diag.Problem) int { return strings.Compare(a.Summary, b.Summary) })
	return f, r.problems, r.err
}

// NormalLocation is the form Azure uses in ids and lists: "West Europe" is "westeurope".
func NormalLocation(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

func countGalleries(img *Image) (n int) {
	for _, t := range img.Targets {
		if _, ok := t.(ToGallery); ok {
			n++
		}
	}
	return n
}

type resolver struct {
	img *Image
	c   Catalog
	o   ResolveOptions

	mu       sync.Mutex
	f        *Facts
	problems diag.List
	err      error
}

// failed sorts an answer: true when it was an error. A not-found becomes a problem, anything else ends the resolving.
func (r *resolver) failed(err error, pos diag.Pos, remedy, format string, args ...any) bool {
	if err == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(err, ErrNotFound) {
		r.problems.Errorf(pos, remedy, format, args...)
	} else {
		r.err = errors.Join(r.err, err)
	}
	return true
}

func (r *resolver) problem(pos diag.Pos, remedy, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems.Errorf(pos, remedy, format, args...)
}

func (r *resolver) warn(pos diag.Pos, remedy, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems.Warnf(pos, remedy, format, args...)
}

func (r *resolver) location(ctx context.Context) {
	loc, err := r.c.GroupLocation(ctx, r.img.Machine.ResourceGroup)
	if r.failed(err, r.img.Pos, "create it, or name another in build_resource_group_name", "resource group %q does not exist", r.img.Machine.ResourceGroup) {
		return
	}
	r.f.Location = NormalLocation(loc)
}

func (r *resolver) source(ctx context.Context) {
	var base Base
	switch s := r.img.Source.(type) {
	case Marketplace:
		version := s.Version
		if version == "" || version == "latest" {
			versions, err := r.c.MarketplaceVersions(ctx, r.f.Location, s.Publisher, s.Offer, s.SKU)
			what := fmt.Sprintf("marketplace image %s:%s:%s does not exist in %s", s.Publisher, s.Offer, s.SKU, r.f.Location)
			if err == nil && len(versions) == 0 {
				err = ErrNotFound
			}
			if r.failed(err, s.Pos, "check image_publisher, image_offer and image_sku: az vm image list --all -p "+s.Publisher, "%s", what) {
				return
			}
			version = Newest(versions)
		}
		b, err := r.c.MarketplaceImage(ctx, r.f.Location, s.Publisher, s.Offer, s.SKU, version)
		if r.failed(err, s.Pos, "name a version that exists, or leave image_version out for the newest",
			"marketplace image %s:%s:%s has no version %s in %s", s.Publisher, s.Offer, s.SKU, version, r.f.Location) {
			return
		}
		base = b
		base.Publisher, base.Offer, base.SKU, base.Version = s.Publisher, s.Offer, s.SKU, version
		base.Plan = r.plan(s.Plan, b.Plan, s.Pos, fmt.Sprintf("marketplace image %s:%s:%s", s.Publisher, s.Offer, s.SKU))
	case GalleryVersion:
		sub := s.Subscription
		if sub == "" {
			sub = r.f.Subscription
		}
		d, err := r.c.Definition(ctx, sub, s.ResourceGroup, s.Gallery, s.Image)
		if r.failed(err, s.Pos, "check shared_image_gallery", "gallery image %s/%s does not exist in resource group %s", s.Gallery, s.Image, s.ResourceGroup) {
			return
		}
		version := s.Version
		if version == "" || version == "latest" {
			version = Newest(d.Versions)
		}
		if !slices.Contains(d.Versions, version) {
			r.problem(s.Pos, "name a version that exists", "gallery image %s/%s has no version %q to start from", s.Gallery, s.Image, version)
			return
		}
		base = Base{GalleryVersionID: d.DefinitionID + "/versions/" + version, Version: version, OS: d.OS, Generation: d.Generation,
			Specialized: d.OSState == "Specialized", SecurityType: d.SecurityType, Plan: r.planOr(s.Plan, d.Plan)}
	case SharedGalleryImage:
		var ok bool
		if base, ok = r.shared(ctx, s); !ok {
			return
		}
	case VHD:
		base = Base{BlobURL: s.URL, OS: r.img.OS, Plan: s.Plan}
	case ManagedImage:
		sub := s.Subscription
		if sub == "" {
			sub = r.f.Subscription
		}
		b, err := r.c.ManagedImageIn(ctx, sub, s.ResourceGroup, s.Name)
		if r.failed(err, s.Pos, "check custom_managed_image_name", "managed image %q does not exist in resource group %q", s.Name, s.ResourceGroup) {
			return
		}
		if b.Location != "" && NormalLocation(b.Location) != r.f.Location {
			r.problem(s.Pos, fmt.Sprintf("build in %s, or copy the image to a gallery, which Azure replicates", NormalLocation(b.Location)),
				"managed image %q is in %s, and the image is built in %s: Azure makes machines of it in its own region only", s.Name, NormalLocation(b.Location), r.f.Location)
		}
		base = b
		base.Plan = s.Plan
	}
	if base.Plan != nil {
		r.terms(ctx, *base.Plan)
	}
	r.dataDisks(ctx, &base)
	r.mu.Lock()
	r.f.Base = base
	r.mu.Unlock()
}

func (r *resolver) size(ctx context.Context) {
	s, err := r.c.VMSize(ctx, r.f.Location, r.img.Machine.VMSize())
	if r.failed(err, r.img.Pos, "choose a size of: az vm list-skus -l "+r.f.Location, "VM size %q does not exist in %s", r.img.Machine.VMSize(), r.f.Location) {
		return
	}
	if len(s.Restrictions) > 0 {
		r.problem(r.img.Pos, "choose another size or region, or ask Microsoft to lift it for this subscription",
			"VM size %s cannot be used in %s: %s", s.Name, r.f.Location, strings.Join(s.Restrictions, ", "))
	}
	r.mu.Lock()
	r.f.Size = s
	r.mu.Unlock()
}

func (r *resolver) gallery(ctx context.Context, i, k int, t ToGallery) {
	sub := t.Subscription
	if sub == "" {
		sub = r.f.Subscription
	}
	d, err := r.c.Definition(ctx, sub, t.ResourceGroup, t.Gallery, t.Image)
	def, described := r.definitionFor(t)
	switch {
	case errors.Is(err, ErrNotFound) && described:
		ok := false
		if d, ok = r.toMake(ctx, sub, t, def); !ok {
			return
		}
	case r.failed(err, t.Pos, "create the gallery and the image definition first, correct the names, or describe it in an image_definition block of a *.ingot.hcl file",
		"image definition %s/%s does not exist in resource group %s", t.Gallery, t.Image, t.ResourceGroup):
		return
	case described:
		r.same(def, d)
	}
	d.Version = t.Version
	if t.FromSource { // compare: the source is being asked for at the same time
	} else if t.Version == "auto" {
		if d.Version, err = NextVersionOf(d.Versions, t.Major); err != nil {
			r.problem(t.Pos, "give image_version a number", "%v", err)
		}
	} else if slices.Contains(d.Versions, t.Version) && !r.o.Replace {
		r.problem(t.Pos, `use another image_version, image_version = "auto", or -force`, "version %s of %s/%s exists already", t.Version, t.Gallery, t.Image)
	}
	r.mu.Lock()
	if slices.Contains(d.Versions, d.Version) {
		r.f.Exists = append(r.f.Exists, k)
	}
	r.f.Galleries[i] = d
	r.mu.Unlock()
}

func (r *resolver) managedImage(ctx context.Context, k int, t ToManagedImage) {
	if _, err := r.c.GroupLocation(ctx, t.ResourceGroup); r.failed(err, t.Pos, "create it first", "resource group %q does not exist", t.ResourceGroup) {
		return
	}
	_, err := r.c.ManagedImage(ctx, t.ResourceGroup, t.Name)
	if err == nil && r.o.Replace {
		r.mu.Lock()
		r.f.Exists = append(r.f.Exists, k)
		r.mu.Unlock()
	}
	if err == nil && !r.o.Replace {
		r.problem(t.Pos, "use another managed_image_name, or -force", "managed image %q exists already in resource group %q", t.Name, t.ResourceGroup)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		r.failed(err, t.Pos, "", "")
	}
}

// compare holds the answers against each other: what one of them allows and another forbids is found here rather than by
// Azure after the machine has been built.
func (r *resolver) compare() {
	f, m := r.f, r.img.Machine
	if f.Base.OS != "" && f.Base.OS != r.img.OS {
		r.problem(r.img.Pos, fmt.Sprintf("set os_type = %q", f.Base.OS), "os_type is %s but the source image is %s", r.img.OS, f.Base.OS)
	}
	if gens := f.Size.Generations; f.Base.Generation != "" && len(gens) > 0 && !slices.Contains(gens, f.Base.Generation) {
		r.problem(r.img.Pos, "choose a size of that generation", "VM size %s runs generation %s only, but the source image is generation %s", f.Size.Name, strings.Join(gens, " and "), f.Base.Generation)
	}
	confidential := m.SecurityType == "ConfidentialVM"
	trusted := !confidential && (m.SecurityType == "TrustedLaunch" || m.SecureBoot || m.VTPM)
	if trusted && f.Base.Generation == "V1" {
		r.problem(r.img.Pos, "start from a generation 2 image", "Trusted Launch needs a generation 2 image, and the source is generation 1")
	}
	i := 0
	for _, t := range r.img.Targets {
		g, ok := t.(ToGallery)
		if !ok {
			continue
		}
		d := f.Galleries[i]
		i++
		name := g.Gallery + "/" + g.Image
		if d.OS != "" && d.OS != r.img.OS {
			r.problem(g.Pos, "publish to a definition for "+string(r.img.OS), "image definition %s is for %s", name, d.OS)
		}
		if f.Base.Generation != "" && d.Generation != "" && d.Generation != f.Base.Generation {
			r.problem(g.Pos, "publish to a definition of that generation, or start from another SKU", "image definition %s is generation %s, and the source image is %s", name, d.Generation, f.Base.Generation)
		}
		switch {
		case d.OSState == "Specialized" && !g.Specialized:
			r.problem(g.Pos, "publish to a Generalized definition", "image definition %s takes specialized images only", name)
		case d.OSState == "Generalized" && g.Specialized:
			r.problem(g.Pos, "publish to a Specialized definition", "image definition %s takes generalized images only", name)
		}
		if trusted && !strings.HasPrefix(d.SecurityType, "TrustedLaunch") {
			r.problem(g.Pos, "create the definition with --features SecurityType=TrustedLaunchSupported", "the machine is built with Trusted Launch, and image definition %s does not support it", name)
		}
		if confidential && !strings.Contains(strings.ToLower(d.SecurityType), "confidential") {
			r.problem(g.Pos, "create the definition with --features SecurityType=ConfidentialVM", "the machine is a confidential VM, and image definition %s does not take images of one", name)
		}
		if !trusted && d.SecurityType == "TrustedLaunch" {
			r.problem(g.Pos, `set security_type = "TrustedLaunch", secure_boot_enabled = true and vtpm_enabled = true`, "image definition %s takes Trusted Launch images only", name)
		}
		if d.Location != "" && NormalLocation(d.Location) != f.Location {
			r.warn(g.Pos, "build in the gallery's region", "gallery %s is in %s, and the image is built in %s: Azure copies between them first", g.Gallery, d.Location, f.Location)
		}
	}
}
