package vm

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// dataDisks are the machine's data disks: those that the source image brings along, which a request that lists any must list
// (checkImageLUNs of the simulated Azure has the error), and those that the template asks for.
func (c *compiler) dataDisks() []azure.VMDataDisk {
	m := c.img.Machine
	luns, err := image.DiskLUNs(m.DataDisks, c.f.Base.DataLUNs)
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("cannot plan the data disks: %w", err))
		return nil
	}
	var out []azure.VMDataDisk
	for _, n := range c.f.Base.DataLUNs {
		out = append(out, azure.VMDataDisk{Name: fmt.Sprintf("%s-lun%d", c.n.DataDisk, n), LUN: n, FromImage: true, Type: m.OSDiskType, DiskEncryptionSetID: m.DiskEncryptionSetID})
	}
	for i, d := range m.DataDisks {
		out = append(out, azure.VMDataDisk{Name: c.dataDisk(i), LUN: luns[i], GB: d.GB, Type: m.OSDiskType, Caching: m.DiskCaching, DiskEncryptionSetID: m.DiskEncryptionSetID})
	}
	return out
}

// dataDisk is the name of the template's data disk of that number; Packer counts from 1 here.
func (c *compiler) dataDisk(i int) string { return fmt.Sprintf("%s-%d", c.n.DataDisk, i+1) }

// beforehand plans what the targets need before the machine is made: what cannot be had is found out in the first minute.
func (c *compiler) beforehand() {
	if c.img.SkipImage {
		return
	}
	var first []string
	i := 0
	galleries := map[string]string{}
	for k, t := range c.img.Targets {
		switch t := t.(type) {
		case image.ToGallery:
			d := c.f.Galleries[i]
			i++
			if d.Make {
				steps, err := engine.DefinitionSteps(c.img, k, t, d, c.f.Subscription, c.productTags(image.Output{}), galleries)
				c.errs = append(c.errs, err)
				for _, s := range steps {
					c.take(s)
				}
				first = append(first, steps[len(steps)-1].ID)
			}
		case image.ToVHD:
			id := fmt.Sprintf("container-%d", k+1)
			args := containerArgs{Store: storeOf(t), Replace: c.o.Replace}
			for _, d := range c.vhds(t) {
				args.Names = append(args.Names, d.Name)
			}
			c.add(plan.Step{ID: id, Kind: "container", Title: "Find the container " + args.Store.title(), Scope: plan.Nothing, Estimate: time.Second}, args)
			first = append(first, id)
		}
	}
	for i := range c.steps {
		if c.steps[i].ID == "vm" {
			c.steps[i].After = append(c.steps[i].After, first...)
		}
	}
}

// publish plans what is kept. Snapshots are of the stopped machine's disks; VHDs are copied from snapshots of their own, so that they
// and the gallery versions do not wait for one another. Managed images go one after the other (two captures of one machine conflict),
// then all gallery versions side by side. What takes the place of something that is there comes last, when everything else has been
// made and a stand-in of it too (docs/decisions/0011-force.md).
func (c *compiler) publish(last string) {
	if c.img.SkipImage {
		c.afterwards(nil)
		return
	}
	var done []string
	done = append(done, c.snapshots()...)
	for k, t := range c.img.Targets {
		if t, ok := t.(image.ToVHD); ok {
			done = append(done, c.vhd(k, t)...)
		}
	}
	var standIns, later []func()
	var replaced []string
	i := 0
	var galleries []func()
	for k, t := range c.img.Targets {
		exists := c.o.Replace && slices.Contains(c.f.Exists, k)
		switch t := t.(type) {
		case image.ToManagedImage:
			step, args := c.managedImage(k, t)
			make := func(after ...string) {
				step.After = after
				c.add(step, args)
			}
			if !exists {
				make(last)
				done, last = append(done, step.ID), step.ID
				continue
			}
			stand := args
			stand.Image.Name = standInName(t.Name, c.o.Run)
			standIns = append(standIns, func() {
				id := fmt.Sprintf("stand-in-%d", k+1)
				c.add(plan.Step{ID: id, Kind: "stand-in-image", Title: fmt.Sprintf("Capture managed image %s, until it has taken the place of %s", stand.Image.Name, t.Name), After: []string{last}, Scope: plan.Scratch, Estimate: takesImage, UndoEstimate: takesImageDelete},
					imageStandIn{Image: stand.Image, For: t.Name})
				replaced, last = append(replaced, id), id
			})
			args.Replace = true
			later = append(later, func() { make(append(slices.Clone(done), replaced...)...); replaced = append(replaced, step.ID) })
		case image.ToGallery:
			d := c.f.Galleries[i]
			i++
			step, args := c.gallery(k, t, d)
			if !exists {
				galleries = append(galleries, func() {
					step.After = []string{last}
					c.add(step, args)
					done = append(done, step.ID)
				})
				continue
			}
			stand := args.Version
			stand.Version, stand.Shallow, stand.ExcludeFromLatest = standInVersion(c.o.Run, k), true, true
			stand.Regions = slices.DeleteFunc(slices.Clone(stand.Regions), func(r azure.TargetRegion) bool { return r.Name != stand.Location })
			for j := range stand.Regions {
				stand.Regions[j].Replicas = 1
			}
			standIns = append(standIns, func() {
				id := fmt.Sprintf("stand-in-%d", k+1)
				c.add(plan.Step{ID: id, Kind: "stand-in-version", Title: fmt.Sprintf("Publish %s/%s %s, until it has taken the place of %s", t.Gallery, t.Image, stand.Version, d.Version), After: []string{last}, Scope: plan.Scratch, Timeout: step.Timeout,
					Estimate: takesShallow, UndoEstimate: takesVersionDelete}, versionStandIn{Version: stand, For: d.Version})
				replaced = append(replaced, id)
			})
			args.Replace = true
			step.Estimate += takesVersionDelete
			later = append(later, func() {
				step.After = append(slices.Clone(done), replaced...)
				c.add(step, args)
				replaced = append(replaced, step.ID)
			})
		}
	}
	for _, list := range [][]func(){standIns, galleries, later} {
		for _, f := range list {
			f()
		}
	}
	for _, id := range replaced {
		if s, _ := c.step(id); s.Scope == plan.Product {
			done = append(done, id)
		}
	}
	c.afterwards(done)
}

func (c *compiler) step(id string) (plan.Step, bool) {
	for _, s := range c.steps {
		if s.ID == id {
			return s, true
		}
	}
	return plan.Step{}, false
}

// standInName is what a managed image is called until it has its own name; 80 characters are allowed.
func standInName(name, run string) string {
	end := "-ingot-" + run
	return name[:min(len(name), 80-len(end))] + end
}

// standInVersion is the number of a gallery version until it has its own: below all that people use, and another for each run.
func standInVersion(run string, target int) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%d", run, target)
	return fmt.Sprintf("0.0.%d", h.Sum32()&(1<<31-1))
}

func (c *compiler) managedImage(k int, t image.ToManagedImage) (plan.Step, imageArgs) {
	return plan.Step{ID: fmt.Sprintf("managed-image-%d", k+1), Kind: "managed-image", Title: "Capture managed image " + t.Name, Scope: plan.Product, Estimate: takesImage},
		imageArgs{Image: azure.ManagedImage{Group: t.ResourceGroup, Name: t.Name, Location: c.f.Location, Generation: c.f.Base.Generation,
			StorageType: t.StorageType, ZoneResilient: t.ZoneResilient, Tags: c.productTags(t.Output)}}
}

func (c *compiler) gallery(k int, g image.ToGallery, d image.GalleryFacts) (plan.Step, galleryArgs) {
	v := azure.GalleryVersion{Subscription: g.Subscription, Group: g.ResourceGroup, Gallery: g.Gallery, Image: g.Image, Version: d.Version, ConfidentialEncryption: g.ConfidentialEncryption,
		Location: image.NormalLocation(d.Location), StorageType: g.StorageType, Shallow: g.Shallow, ExcludeFromLatest: g.ExcludeFromLatest, EndOfLife: g.EndOfLife, Tags: c.productTags(g.Output)}
	if v.Subscription == "" {
		v.Subscription = c.f.Subscription
	}
	v.Regions = regions(g, v.Location)
	for i, r := range v.Regions {
		// The gallery's own region, which the template need not name, is encrypted as the others are.
		if encrypted := slices.ContainsFunc(v.Regions, func(x azure.TargetRegion) bool { return x.DiskEncryptionSetID != "" }); encrypted && r.DiskEncryptionSetID == "" && r.Name == c.f.Location {
			v.Regions[i].DiskEncryptionSetID = c.img.Machine.DiskEncryptionSetID
		}
	}
	takes := takesReplication
	if g.Shallow {
		takes = takesShallow
	}
	var names []string
	for _, r := range v.Regions {
		names = append(names, r.Name)
	}
	return plan.Step{ID: fmt.Sprintf("gallery-%d", k+1), Kind: "gallery", Title: fmt.Sprintf("Publish %s/%s %s to %s", g.Gallery, g.Image, v.Version, strings.Join(names, ", ")), Scope: plan.Product,
		Timeout: cmp.Or(g.Timeout, time.Hour), Estimate: takes, UndoEstimate: takesVersionDelete}, galleryArgs{Version: v}
}

// diskID is the id of one of the machine's disks.
func (c *compiler) diskID(name string) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/disks/%s", c.f.Subscription, c.n.Group, name)
}

// snapshots plans the snapshots that are kept.
func (c *compiler) snapshots() (done []string) {
	s := c.img.Snapshots
	keep := func(id, name, disk string) {
		c.add(plan.Step{ID: id, Kind: "snapshot", Title: "Keep a snapshot of disk " + disk + ": " + name, After: []string{"deallocate"}, Scope: plan.Product, Estimate: takesSnapshot, UndoEstimate: time.Second},
			snapshotArgs{Snapshot: azure.Snapshot{Group: c.img.SnapshotGroup(), Name: name, Location: c.f.Location, DiskID: c.diskID(disk), Tags: c.productTags(image.Output{})}, Replace: c.o.Replace})
		done = append(done, id)
	}
	if s.OSDisk != "" {
		keep("snapshot-os", s.OSDisk, c.n.OSDisk)
	}
	for i := range c.img.Machine.DataDisks {
		if s.DataPrefix != "" {
			keep(fmt.Sprintf("snapshot-data-%d", i+1), fmt.Sprintf("%s%d", s.DataPrefix, i), c.dataDisk(i))
		}
	}
	return done
}

// vhdDisk is a disk and the blob that it becomes.
type vhdDisk struct{ ID, Disk, Name string }

// vhds are the blobs of a target: the prefix, the disk's name and .vhd, as Packer names them; Image Builder names the one blob itself.
func (c *compiler) vhds(t image.ToVHD) []vhdDisk {
	if t.URI != "" {
		return []vhdDisk{{ID: "os", Disk: c.n.OSDisk}}
	}
	out := []vhdDisk{{"os", c.n.OSDisk, t.Prefix + c.n.OSDisk + ".vhd"}}
	for i := range c.img.Machine.DataDisks {
		out = append(out, vhdDisk{fmt.Sprintf("data-%d", i+1), c.dataDisk(i), t.Prefix + c.dataDisk(i) + ".vhd"})
	}
	return out
}

func storeOf(t image.ToVHD) store {
	return store{Group: t.ResourceGroup, Account: t.StorageAccount, Container: t.Container, URI: t.URI}
}

// vhd plans a target in a storage account.
func (c *compiler) vhd(k int, t image.ToVHD) (done []string) {
	for _, d := range c.vhds(t) {
		id := fmt.Sprintf("vhd-%d-%s", k+1, d.ID)
		of := azure.Snapshot{Group: c.n.Group, Name: fmt.Sprintf("%s-vhd%d", d.Disk, k+1), Location: c.f.Location, DiskID: c.diskID(d.Disk), Tags: c.tags}
		c.add(plan.Step{ID: id + "-snapshot", Kind: "snapshot", Title: "Make a snapshot of disk " + d.Disk + " to copy", After: []string{"deallocate"}, Within: c.inGroup(), Estimate: takesSnapshot, UndoEstimate: time.Second}, snapshotArgs{Snapshot: of})
		a := vhdArgs{Store: storeOf(t), Name: d.Name, Group: of.Group, Snapshot: of.Name, Access: cmp.Or(t.SASDuration, accessFor), Replace: c.o.Replace}
		for name, v := range t.Output.Tags {
			if a.Meta == nil {
				a.Meta = map[string]string{}
			}
			a.Meta[metaName(name)] = v
		}
		c.add(plan.Step{ID: id, Kind: "vhd", Title: "Copy disk " + d.Disk + " to " + a.Store.title() + strings.TrimSuffix("/"+d.Name, "/"), After: []string{id + "-snapshot"}, Scope: plan.Product, Estimate: takesCopy, UndoEstimate: time.Second}, a)
		done = append(done, id)
	}
	return done
}

// metaName makes a tag's name one of a blob's metadata, which must be C# identifiers
// (https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata).
func metaName(tag string) string {
	out := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, tag)
	if out == "" || out[0] >= '0' && out[0] <= '9' {
		out = "_" + out
	}
	return out
}

// afterwards plans what follows a build.
func (c *compiler) afterwards(done []string) {
	first := done
	if len(done) == 0 { // nothing is made: after the last thing that happens in the guest
		for _, s := range c.steps {
			if s.Kind == "connect" || s.Kind == "provision" {
				first = []string{s.ID}
			}
		}
	}
	steps, err := engine.Afterwards(c.img, first, done)
	c.errs = append(c.errs, err)
	for _, s := range steps {
		c.take(s)
	}
}

// settle takes out what a plan refers to and does not have: without a capture the vault is needed to the end.
func (c *compiler) settle() {
	for i := range c.steps {
		if until := c.steps[i].Until; len(until) > 0 {
			c.steps[i].Until = c.after(until...)
		}
	}
}

// productTags are the image's own tags, those of its target, and the run that made it; an expiry has no place on what is kept.
func (c *compiler) productTags(o image.Output) map[string]string {
	t := maps.Clone(c.tags)
	delete(t, TagExpires)
	for k, v := range o.Tags {
		if k != TagRun {
			t[k] = v
		}
	}
	return t
}

// regions lists where a version goes, in the template's order; the gallery's own region is always among them, since Azure demands it
// (reference: "home region must be in target regions").
func regions(g image.ToGallery, home string) []azure.TargetRegion {
	var out []azure.TargetRegion
	seen := map[string]bool{}
	for _, r := range append([]image.Region{}, g.Regions...) {
		name := image.NormalLocation(r.Name)
		if seen[name] {
			continue
		}
		seen[name] = true
		replicas := r.Replicas
		if replicas == 0 {
			replicas = max(g.Replicas, 1)
		}
		out = append(out, azure.TargetRegion{Name: name, Replicas: replicas, DiskEncryptionSetID: r.DiskEncryptionSetID, StorageType: r.StorageType})
	}
	if !seen[home] {
		out = append([]azure.TargetRegion{{Name: home, Replicas: max(g.Replicas, 1)}}, out...)
	}
	return out
}
