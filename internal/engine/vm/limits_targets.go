package vm

import (
	"ingot/internal/diag"
	"ingot/internal/image"
)

// targetLimits says which targets cannot be had, and why.
func targetLimits(img *image.Image) diag.List {
	var l diag.List
	m := img.Machine
	if v := img.Validation; v != nil && !v.SourceOnly {
		if img.SkipImage {
			l.Errorf(img.Pos, "leave skip_create_image or the tests out", "there is no image to try: skip_create_image makes none")
		}
	}
	if img.SkipImage || img.Validation != nil && img.Validation.SourceOnly {
		return nil // nothing is captured
	}
	if img.Snapshots != (image.Snapshots{}) && img.SnapshotGroup() == "" {
		l.Errorf(img.Pos, "add managed_image_resource_group_name, or build in an existing group", "the snapshots have no resource group to be kept in")
	}
	if img.Snapshots.DataPrefix != "" && len(m.DataDisks) == 0 {
		l.Warnf(img.Pos, "add disk_additional_size, or leave it out", "managed_image_data_disk_snapshot_prefix has no effect: the machine has no data disks of its own")
	}
	for _, t := range img.Targets {
		switch t := t.(type) {
		case image.ToVHD:
			switch {
			case t.StorageAccount == "" && t.URI == "":
				l.Errorf(t.Pos, "give it a uri: https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME.vhd", "a VHD without an address goes to the managed service's own storage account, and a VM of your own has none")
			case t.URI == "" && t.Container == "":
				l.Errorf(t.Pos, "add capture_container_name", "a VHD needs a container in the storage account")
			case t.URI != "" && len(m.DataDisks) > 0:
				l.Errorf(t.Pos, "name a storage account and a container", "one address takes one disk, and the machine has %d", len(m.DataDisks)+1)
			}
			if m.SecurityType == "ConfidentialVM" {
				l.Errorf(t.Pos, "publish to a gallery", "a confidential VM cannot become a VHD")
			}
		case image.ToManagedImage:
			if t.Location != "" && m.Location != "" && t.Location != m.Location {
				l.Errorf(t.Pos, "build in "+t.Location+", or publish to a gallery, which copies to other regions", "a managed image is made where its machine is: Azure has none of a machine in %s in %s", m.Location, t.Location)
			}
			if t.Subscription != "" && img.Identity.SubscriptionID != "" && t.Subscription != img.Identity.SubscriptionID {
				l.Errorf(t.Pos, "build in that subscription, or publish to a gallery, which can be in another one", "a managed image is made in its machine's subscription: Azure has none of a machine in another one")
			}
			if m.SecurityType != "" || m.SecureBoot || m.VTPM {
				l.Errorf(t.Pos, "publish to a gallery", "a machine with Trusted Launch or of the confidential kind cannot become a managed image")
			}
		}
	}
	return l
}

// trials are the steps that try the finished image.
func trials(img *image.Image) []image.Provision {
	if img.Validation == nil {
		return nil
	}
	return img.Validation.Steps
}
