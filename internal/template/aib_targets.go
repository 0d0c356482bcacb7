package template

import (
	"cmp"
	"slices"
	"time"

	"ingot/internal/image"
	"ingot/internal/imagebuilder"
)

func (a *aib) distribute(at string, x *imagebuilder.Distribute, img *image.Image, outputs map[string]bool) {
	out := image.Output{Name: x.RunOutputName, Tags: x.Tags}
	switch {
	case x.RunOutputName == "":
		a.missing(at+".runOutputName", at, "runOutputName")
	case !aibName.MatchString(x.RunOutputName):
		a.bad(at+".runOutputName", "", "use at most 64 letters, digits, - _ .", "runOutputName is no name: %q", x.RunOutputName)
	case outputs[x.RunOutputName]:
		a.bad(at+".runOutputName", "", "give each target a name of its own", "runOutputName %q stands twice", x.RunOutputName)
	}
	outputs[x.RunOutputName] = true
	storage := func(option, v string) string {
		if v != "" && !slices.Contains([]string{"Standard_LRS", "Standard_ZRS", "Premium_LRS"}, v) {
			a.bad(option, "", "use Standard_LRS, Standard_ZRS or Premium_LRS", "storageAccountType is %q", v)
		}
		return v
	}
	pos := a.place(at)
	switch x.Type {
	case "ManagedImage":
		a.only(at, "a target of type ManagedImage", "ManagedImage")
		if x.Location == "" {
			a.missing(at+".location", at, "location")
		}
		m := managedImageID.FindStringSubmatch(x.ImageID)
		switch {
		case x.ImageID == "":
			a.missing(at+".imageId", at, "imageId")
			return
		case m == nil:
			a.bad(at+".imageId", "'ImageTemplate."+wire(at)+"': Field 'imageId' has a bad value: '"+x.ImageID+"'", "write /subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/images/NAME", "imageId is no id of a managed image")
			return
		}
		img.Targets = append(img.Targets, image.ToManagedImage{Subscription: m[1], ResourceGroup: m[2], Name: m[3], Location: image.NormalLocation(x.Location), StorageType: "Standard_LRS", Output: out, Pos: pos})
	case "VHD":
		a.only(at, "a target of type VHD", "VHD")
		img.Targets = append(img.Targets, image.ToVHD{URI: x.URI, Output: out, Pos: pos})
	case "SharedImage":
		a.only(at, "a target of type SharedImage", "SharedImage")
		a.gallery(at, x, img, out, storage)
	case "":
		a.missing(at+".type", at, "type")
	default:
		a.bad(at+".type", "BadDistributeType", meantOf(x.Type, "SharedImage", "ManagedImage", "VHD"), "target type %q is none that Image Builder has", x.Type)
	}
}

func (a *aib) gallery(at string, x *imagebuilder.Distribute, img *image.Image, out image.Output, storage func(option, v string) string) {
	m := galleryIDFor.FindStringSubmatch(x.GalleryImageID)
	switch {
	case x.GalleryImageID == "":
		a.missing(at+".galleryImageId", at, "galleryImageId")
		return
	case m == nil:
		a.bad(at+".galleryImageId", "'ImageTemplate."+wire(at)+"': Field 'galleryImageId' has a bad value: '"+x.GalleryImageID+"'", "write /subscriptions/…/galleries/NAME/images/NAME, with /versions/1.0.0 if you like", "galleryImageId is no id of an image definition")
		return
	}
	t := image.ToGallery{Subscription: m[1], ResourceGroup: m[2], Gallery: m[3], Image: m[4], Version: cmp.Or(m[5], "auto"), ExcludeFromLatest: x.ExcludeFromLatest, Replicas: 1, Timeout: time.Hour, Output: out,
		StorageType: cmp.Or(storage(at+".storageAccountType", x.StorageType), "Standard_LRS"), Pos: a.place(at)}
	if m[5] != "" && !versionForm.MatchString(m[5]) {
		a.bad(at+".galleryImageId", "", "write Major.Minor.Patch", "the version in galleryImageId is %q", m[5])
	}
	if len(x.OldRegions) > 0 && len(x.Regions) > 0 {
		a.bad(at+".replicationRegions", "", "keep targetRegions", "replicationRegions and targetRegions exclude one another")
	}
	if x.StorageType != "" && len(x.Regions) > 0 {
		a.bad(at+".storageAccountType", "", "set it in each of targetRegions", "storageAccountType and targetRegions exclude one another")
	}
	for _, r := range x.OldRegions {
		t.Regions = append(t.Regions, image.Region{Name: image.NormalLocation(r)})
	}
	for i, r := range x.Regions {
		option := nth(at+".targetRegions", i)
		if r.Name == "" {
			a.missing(option+".name", option, "name")
		}
		n := int32(0)
		if r.Replicas != nil {
			n = int32(min(*r.Replicas, 1<<30))
			if *r.Replicas < 1 {
				a.bad(option+".replicaCount", "", "write 1 or more", "replicaCount is %d", *r.Replicas)
			}
		}
		t.Regions = append(t.Regions, image.Region{Name: image.NormalLocation(r.Name), Replicas: n, StorageType: storage(option+".storageAccountType", r.StorageType)})
	}
	if len(t.Regions) == 0 {
		a.bad(at, "", `add "targetRegions": [{ "name": "westeurope" }]`, "%s names no region", wire(at))
	}
	twice := map[string]bool{}
	for _, r := range t.Regions {
		if twice[r.Name] {
			a.bad(at, "", "name it once", "region %q stands twice in %s", r.Name, wire(at))
		}
		twice[r.Name] = true
	}
	if v := x.Versioning; v != nil {
		if m[5] != "" {
			a.bad(at+".versioning", "", "leave the version out of galleryImageId", "versioning and a version in galleryImageId exclude one another")
		}
		switch v.Scheme {
		case "Latest":
			if v.Major != nil && *v.Major >= 0 {
				n := int32(min(*v.Major, 1<<31-1))
				t.Major = &n
			}
		case "Source":
			t.FromSource = true
			if v.Major != nil {
				a.only(at+".versioning", "the scheme Source", "")
			}
		case "":
			a.missing(at+".versioning.scheme", at+".versioning", "scheme")
		default:
			a.bad(at+".versioning.scheme", "", "use Latest or Source", "versioning.scheme is %q", v.Scheme)
		}
	}
	switch x.Mode {
	case "", "Full":
	case "Shallow":
		t.Shallow = true
		if len(t.Regions) > 1 {
			a.bad(at+".replicationMode", "", "keep one region", "shallow replication is for one region")
		}
	default:
		a.bad(at+".replicationMode", "", "use Full or Shallow", "replicationMode is %q", x.Mode)
	}
	img.Targets = append(img.Targets, t)
}
