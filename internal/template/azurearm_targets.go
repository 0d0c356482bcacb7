package template

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ingot/internal/image"
)

func (d *decoder) targets(o *azureARM, img *image.Image, fail failFunc, oneOf oneOfFunc) {
	if o.ManagedImageName != "" || o.ManagedImageGroup != "" {
		switch {
		case o.ManagedImageName == "" || o.ManagedImageGroup == "":
			fail("managed_image_name", "set both", "managed_image_name and managed_image_resource_group_name go together")
		case !managedName.MatchString(o.ManagedImageName) || strings.HasSuffix(o.ManagedImageName, "-") || strings.HasSuffix(o.ManagedImageName, "."):
			fail("managed_image_name", "use letters, digits, - _ .", "managed_image_name is no name of an image: %q", o.ManagedImageName)
		}
		img.Targets = append(img.Targets, image.ToManagedImage{ResourceGroup: o.ManagedImageGroup, Name: o.ManagedImageName, StorageType: img.Machine.OSDiskType, ZoneResilient: o.ManagedImageZone, Pos: d.place("managed_image_name")})
		if o.DiskEncryptionSetID != "" {
			fail("disk_encryption_set_id", "publish to a gallery", "disk_encryption_set_id cannot be used with a managed image")
		}
	}
	var endOfLife time.Time
	if o.EndOfLife != "" {
		t, err := time.Parse(time.RFC3339, o.EndOfLife)
		if err != nil {
			fail("shared_gallery_image_version_end_of_life_date", `write it as "2027-01-31T00:00:00Z"`, "shared_gallery_image_version_end_of_life_date is no date: %q", o.EndOfLife)
		}
		endOfLife = t
	}
	d.vhd(o, img)
	for i, g := range o.Destinations {
		at := nth("shared_image_gallery_destination", i)
		if g.ResourceGroup+g.GalleryName+g.ImageName+g.ImageVersion == "" && len(o.Destinations) == 1 && (len(img.Targets) > 0 || img.SkipImage) {
			continue // a block whose values are all "" is none: people switch the target off so
		}
		t := image.ToGallery{Subscription: g.Subscription, ResourceGroup: g.ResourceGroup, Gallery: g.GalleryName, Image: g.ImageName, Version: g.ImageVersion, Shallow: g.Shallow, Specialized: g.Specialized,
			ExcludeFromLatest: o.ExcludeFromLatest, EndOfLife: endOfLife, Timeout: cmp.Or(o.GalleryTimeout, time.Hour), Replicas: min(max(o.ReplicaCount, 1), 100), Pos: d.place(at),
			ConfidentialEncryption: oneOf(at+".confidential_vm_image_encryption_type", g.ConfidentialType, "EncryptedVMGuestStateOnlyWithPmk", "EncryptedWithPmk", "EncryptedWithCmk")}
		if g.ConfidentialType != "" && img.Machine.SecurityType != "ConfidentialVM" {
			fail(at+".confidential_vm_image_encryption_type", `set security_type = "ConfidentialVM"`, "confidential_vm_image_encryption_type is for a confidential VM only")
		}
		if t.ConfidentialEncryption == "EncryptedWithCmk" {
			everywhere := o.DiskEncryptionSetID != "" && len(g.TargetRegions) > 0
			for _, r := range g.TargetRegions {
				everywhere = everywhere && r.DiskEncryptionSetID != ""
			}
			if !everywhere {
				fail(at+".confidential_vm_image_encryption_type", "set disk_encryption_set_id in the source and in each target_region", "EncryptedWithCmk needs a disk encryption set for the machine and in every region")
			}
		}
		for _, x := range [][2]string{{"resource_group", g.ResourceGroup}, {"gallery_name", g.GalleryName}, {"image_name", g.ImageName}, {"image_version", g.ImageVersion}} {
			if x[1] == "" {
				fail(at, "add "+x[0], "%s needs %s", at, x[0])
			}
		}
		if v := g.ImageVersion; v != "" && v != "auto" {
			big := slices.ContainsFunc(strings.Split(v, "."), func(n string) bool { return len(n) > 10 || len(n) == 10 && n > "2147483647" })
			switch {
			case !versionForm.MatchString(v):
				fail(at+".image_version", `write Major.Minor.Patch, or "auto"`, "image_version is %q", v)
			case big:
				d.l.problems.Warnf(d.place(at+".image_version"), "use smaller numbers, such as year, month with day, and time: 2026.1123.930", "image_version is %q: Azure refuses a part above 2147483647", v)
			}
		}
		t.StorageType = oneOf(at+".storage_account_type", g.StorageAccountType, "Standard_LRS", "Standard_ZRS", "Premium_LRS")
		if t.StorageType == "" {
			t.StorageType = "Standard_LRS"
		}
		if len(g.ReplicationRegions) > 0 && len(g.TargetRegions) > 0 {
			fail(at+".replication_regions", "keep target_region", "replication_regions and target_region exclude one another")
		}
		if len(g.TargetRegions) > 0 && o.ReplicaCount != 0 {
			fail("shared_image_gallery_replica_count", "set replicas in each target_region", "shared_image_gallery_replica_count and target_region exclude one another")
		}
		for _, r := range g.ReplicationRegions {
			t.Regions = append(t.Regions, image.Region{Name: image.NormalLocation(r)})
		}
		for j, r := range g.TargetRegions {
			if r.Name == "" {
				fail(nth(at+".target_region", j), "add name", "target_region needs name")
			}
			t.Regions = append(t.Regions, image.Region{Name: image.NormalLocation(r.Name), Replicas: max(min(r.Replicas, 100), 0), DiskEncryptionSetID: r.DiskEncryptionSetID})
		}
		twice := map[string]bool{}
		for _, r := range t.Regions {
			if twice[r.Name] {
				fail(at, "name it once", "region %q stands twice in %s", r.Name, at)
			}
			twice[r.Name] = true
		}
		if g.Shallow && (len(t.Regions) > 1 || o.ReplicaCount > 1) {
			fail(at+".use_shallow_replication", "keep one region and one replica", "shallow replication is for one region with one replica")
		}
		if g.Specialized && o.ManagedImageName != "" {
			fail(at+".specialized", "remove one", "a specialized gallery image and a managed image cannot come of one machine")
		}
		img.Targets = append(img.Targets, t)
	}
}

// vhd is the target of a virtual hard disk in a storage account.
func (d *decoder) vhd(o *azureARM, img *image.Image) {
	if o.ResourceGroupName == "" && o.StorageAccount == "" {
		for _, x := range []string{"capture_container_name", "capture_name_prefix"} {
			if d.has(x) {
				d.fail(x, "set storage_account and resource_group_name", "%s is for a VHD, and no storage account is named", x)
			}
		}
		if !o.SkipCreateImage && len(o.Destinations) == 0 && o.ManagedImageName == "" && o.ManagedImageGroup == "" {
			d.fail("shared_image_gallery_destination", "add shared_image_gallery_destination, managed_image_name with its group, or a storage account", "the source has no target: nothing would be kept of the build")
		}
		return
	}
	if o.ResourceGroupName == "" || o.StorageAccount == "" {
		d.fail("storage_account", "set both", "storage_account and resource_group_name go together")
	}
	if c := o.CaptureContainerName; c != "" && (!containerName.MatchString(c) || strings.HasSuffix(c, "-") || strings.Contains(c, "--")) {
		d.fail("capture_container_name", "use 3 to 63 lower-case letters, digits and single hyphens", "capture_container_name is no name of a container: %q", c)
	}
	if o.DiskEncryptionSetID != "" {
		d.fail("disk_encryption_set_id", "publish to a gallery", "disk_encryption_set_id cannot be used with a VHD")
	}
	img.Targets = append(img.Targets, image.ToVHD{ResourceGroup: o.ResourceGroupName, StorageAccount: o.StorageAccount, Container: o.CaptureContainerName, Prefix: o.CaptureNamePrefix,
		SASDuration: o.SASTokenDuration, Pos: d.place("storage_account")})
}
