package image

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// TargetCatalog is what Resolve asks about targets and disks. Not-found answers are ErrNotFound.
type TargetCatalog interface {
	// Gallery tells where a gallery is.
	Gallery(ctx context.Context, subscription, group, name string) (location string, err error)
	// StorageAccount tells where a storage account of the build's subscription is.
	StorageAccount(ctx context.Context, group, name string) (location string, err error)
	// FindStorageAccount is the id of a storage account of the build's subscription, by its name alone.
	FindStorageAccount(ctx context.Context, name string) (id string, err error)
	// Snapshot tells by a nil error that there is a snapshot of that name.
	Snapshot(ctx context.Context, group, name string) error
	// DataDisks lists the LUNs of the data disks that an image brings along, by the id of a gallery version or a managed image.
	DataDisks(ctx context.Context, id string) ([]int32, error)
}

// dataDisks asks for the data disks of the source: the machine gets them too, and its own must not have their LUNs.
func (r *resolver) dataDisks(ctx context.Context, base *Base) {
	id := base.GalleryVersionID + base.ManagedImageID
	if id == "" {
		return
	}
	luns, err := r.c.DataDisks(ctx, id)
	if r.failed(err, r.img.Pos, "check the source", "the source image cannot be read: %s", id) {
		return
	}
	base.DataLUNs = append(base.DataLUNs, luns...)
}

// DiskLUNs gives every data disk of the machine a LUN that the source image does not use: the one that it asks for, or the next
// free one. A LUN that cannot be had is an error.
func DiskLUNs(disks []DataDisk, used []int32) ([]int32, error) {
	taken := map[int32]bool{}
	for _, n := range used {
		taken[n] = true
	}
	out := make([]int32, len(disks))
	for i, d := range disks {
		if d.LUN < 0 {
			continue
		}
		if taken[d.LUN] {
			return nil, fmt.Errorf("the data disk of %d GB cannot have LUN %d: a disk of the source image or another one has it", d.GB, d.LUN)
		}
		taken[d.LUN], out[i] = true, d.LUN
	}
	next := int32(0)
	for i, d := range disks {
		if d.LUN >= 0 {
			continue
		}
		for taken[next] {
			next++
		}
		taken[next], out[i] = true, next
	}
	return out, nil
}

// definitionFor is the block that describes a target's image definition, if there is one.
func (r *resolver) definitionFor(t ToGallery) (Definition, bool) {
	for _, d := range r.img.Definitions {
		if strings.EqualFold(d.Gallery, t.Gallery) && strings.EqualFold(d.Name, t.Image) && strings.EqualFold(d.ResourceGroup, t.ResourceGroup) &&
			(d.Subscription == "" || t.Subscription == "" || strings.EqualFold(d.Subscription, t.Subscription)) {
			return d, true
		}
	}
	return Definition{}, false
}

// toMake is what is known of a definition that the plan is to make: what its block says.
func (r *resolver) toMake(ctx context.Context, subscription string, t ToGallery, d Definition) (GalleryFacts, bool) {
	f := GalleryFacts{DefinitionID: fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/galleries/%s/images/%s", subscription, t.ResourceGroup, t.Gallery, t.Image),
		Location: NormalLocation(d.Location), OS: r.img.OS, Generation: d.Generation, OSState: d.OSState, SecurityType: d.SecurityType, Make: true}
	location, err := r.c.Gallery(ctx, subscription, t.ResourceGroup, t.Gallery)
	switch {
	case err == nil && f.Location == "":
		f.Location = NormalLocation(location)
	case err == nil:
	case errors.Is(err, ErrNotFound) && d.CreateGallery:
		f.MakeGallery = true
		if f.Location == "" {
			f.Location = r.f.Location
		}
		if strings.EqualFold(subscription, r.f.Subscription) {
			_, err := r.c.GroupLocation(ctx, t.ResourceGroup)
			if r.failed(err, d.Pos, "create it first", "resource group %q, in which the gallery is to be made, does not exist", t.ResourceGroup) {
				return f, false
			}
		}
	default:
		return f, !r.failed(err, d.Pos, "set create_gallery = true, or create it first: az sig create", "gallery %s does not exist in resource group %s", t.Gallery, t.ResourceGroup)
	}
	return f, true
}

// same holds a definition that is there against the block that would have made it: what cannot be changed afterwards must agree.
func (r *resolver) same(d Definition, f GalleryFacts) {
	name := d.Gallery + "/" + d.Name
	for _, x := range []struct{ option, want, is string }{{"os_state", d.OSState, f.OSState}, {"hyper_v_generation", d.Generation, f.Generation}, {"architecture", orX64(d.Architecture), orX64(f.Architecture)},
		{"security_type", standard(d.SecurityType), standard(f.SecurityType)}} {
		if x.want != "" && x.is != "" && !strings.EqualFold(x.want, x.is) {
			r.problem(d.Pos, fmt.Sprintf("set %s = %q, or use another image_name: Azure cannot change it", x.option, x.is), "image definition %s is there with %s %s, and its block says %s", name, x.option, x.is, x.want)
		}
	}
}

func orX64(s string) string {
	if s == "" {
		return "x64"
	}
	return s
}

func standard(s string) string {
	if s == "" {
		return "Standard"
	}
	return s
}

// sourceVersion is the number that the scheme "Source" gives: that of the source image, which must be Major.Minor.Patch
// (https://learn.microsoft.com/rest/api/imagebuilder/virtual-machine-image-templates/create-or-update: DistributeVersionerSource,
// "Generates version number based on version number of source image").
func sourceVersion(version string) (string, error) {
	parts := strings.Split(version, ".")
	if version == "" || len(parts) < 3 {
		return "", fmt.Errorf("the source image has no version of the form Major.Minor.Patch that the image's could be made of (%q)", version)
	}
	for _, p := range parts[:3] {
		if _, err := strconv.ParseInt(p, 10, 32); err != nil {
			return "", fmt.Errorf("the source image's version %s has a part that is no 32-bit number, which is all that a gallery version may have", version)
		}
	}
	return strings.Join(parts[:3], "."), nil
}

// ofMajor keeps the versions of a major number.
func ofMajor(versions []string, major int32) []string {
	prefix := strconv.Itoa(int(major)) + "."
	return slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return !strings.HasPrefix(v, prefix) })
}

// NextVersionOf is NextVersion among the versions of one major number; the first one is Major.0.0 (Image Builder's scheme "Latest" with
// a major: https://learn.microsoft.com/azure/virtual-machines/linux/image-builder-json, "versioning").
func NextVersionOf(existing []string, major *int32) (string, error) {
	if major == nil {
		return NextVersion(existing)
	}
	list := ofMajor(existing, *major)
	if len(list) == 0 {
		return fmt.Sprintf("%d.0.0", *major), nil
	}
	return NextVersion(list)
}

// fromSource settles the targets whose version is the source's, now that it is known.
func (r *resolver) fromSource() {
	i := 0
	for k, t := range r.img.Targets {
		g, ok := t.(ToGallery)
		if !ok {
			continue
		}
		d := &r.f.Galleries[i]
		i++
		if !g.FromSource || d.DefinitionID == "" {
			continue
		}
		v, err := sourceVersion(r.f.Base.Version)
		switch {
		case err != nil:
			r.problem(g.Pos, `use the scheme "Latest", or a version of your own`, "%v", err)
		case slices.Contains(d.Versions, v) && !r.o.Replace:
			r.problem(g.Pos, `use the scheme "Latest", or -force`, "version %s of %s/%s, the source image's, exists already", v, g.Gallery, g.Image)
		case slices.Contains(d.Versions, v):
			r.f.Exists = append(r.f.Exists, k)
		}
		d.Version = v
	}
}

// vhd looks for the storage account of a VHD. Whether its container is there is found out when the build begins.
func (r *resolver) vhd(ctx context.Context, t ToVHD) {
	if t.StorageAccount == "" {
		// Image Builder's identity needs a role there. Where it cannot be found, nobody can say beforehand whether it has one.
		if u, err := url.Parse(t.URI); err == nil && t.URI != "" && r.img.Engine.Name == "aib" {
			name, _, _ := strings.Cut(u.Hostname(), ".")
			if id, err := r.c.FindStorageAccount(ctx, name); err == nil {
				if r.f.Accounts == nil {
					r.f.Accounts = map[string]string{}
				}
				r.f.Accounts[name] = id
			}
		}
		return
	}
	_, err := r.c.StorageAccount(ctx, t.ResourceGroup, t.StorageAccount)
	r.failed(err, t.Pos, "create it first, or correct the names", "storage account %q does not exist in resource group %q", t.StorageAccount, t.ResourceGroup)
}

// snapshots looks for the group that snapshots go to.
func (r *resolver) snapshots(ctx context.Context) {
	group := r.img.SnapshotGroup()
	if group == "" || r.img.Snapshots == (Snapshots{}) {
		return
	}
	_, err := r.c.GroupLocation(ctx, group)
	if r.failed(err, r.img.Pos, "create it first", "resource group %q, in which the snapshots are to be kept, does not exist", group) || r.o.Replace {
		return
	}
	for _, name := range r.img.SnapshotNames() {
		switch err := r.c.Snapshot(ctx, group, name); {
		case err == nil:
			r.problem(r.img.Pos, "use another name, or -force", "snapshot %q exists already in resource group %q", name, group)
		case !errors.Is(err, ErrNotFound):
			r.failed(err, r.img.Pos, "", "")
		}
	}
}

// SnapshotNames are the snapshots that are kept of the machine's own disks: of the OS disk, and of the data disks that the template
// asks for, which Packer numbers from 0.
func (i *Image) SnapshotNames() []string {
	var out []string
	if i.Snapshots.OSDisk != "" {
		out = append(out, i.Snapshots.OSDisk)
	}
	for n := range i.Machine.DataDisks {
		if i.Snapshots.DataPrefix != "" {
			out = append(out, fmt.Sprintf("%s%d", i.Snapshots.DataPrefix, n))
		}
	}
	return out
}

// SnapshotGroup is where the snapshots of the disks are kept: the managed image's group, as with Packer; without one the group that is
// built in, a gallery's of the build's subscription, or the storage account's. "" when there is none of them.
func (i *Image) SnapshotGroup() string {
	var gallery, account string
	for _, t := range i.Targets {
		switch t := t.(type) {
		case ToManagedImage:
			if t.Subscription == "" || strings.EqualFold(t.Subscription, i.Identity.SubscriptionID) {
				return t.ResourceGroup
			}
		case ToGallery:
			if gallery == "" && (t.Subscription == "" || strings.EqualFold(t.Subscription, i.Identity.SubscriptionID)) {
				gallery = t.ResourceGroup
			}
		case ToVHD:
			account = t.ResourceGroup
		}
	}
	for _, g := range []string{i.Machine.ResourceGroup, gallery, account} {
		if g != "" {
			return g
		}
	}
	return ""
}
