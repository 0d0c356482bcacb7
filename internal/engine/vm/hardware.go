package vm

import (
	"ingot/internal/azure"
	"ingot/internal/diag"
	"ingot/internal/image"
)

// imageOf is what the machine's disk is made of, as Azure wants it named.
func imageOf(b image.Base) azure.ImageRef {
	switch {
	case b.GalleryVersionID != "":
		return azure.ImageRef{ID: b.GalleryVersionID}
	case b.ManagedImageID != "":
		return azure.ImageRef{ID: b.ManagedImageID}
	case b.SharedImageID != "":
		return azure.ImageRef{Shared: b.SharedImageID}
	case b.CommunityImageID != "":
		return azure.ImageRef{Community: b.CommunityImageID}
	case b.BlobURL != "":
		return azure.ImageRef{} // step source-image makes it
	}
	return azure.ImageRef{Publisher: b.Publisher, Offer: b.Offer, SKU: b.SKU, Version: b.Version}
}

// hardware is what kind of machine Azure gives: spot, confidential, its disk controller.
func (c *compiler) hardware(v *azure.VM) {
	m := c.img.Machine
	v.SecurityEncryption, v.DiskController = m.SecurityEncryption, m.DiskController
	if m.Spot != nil {
		v.Spot = &azure.Spot{Eviction: m.Spot.EvictionPolicy, MaxPrice: m.Spot.MaxPrice}
	}
}

// checkHardware is what Azure would refuse of a machine whatever the region, found before anything is asked or made.
func checkHardware(img *image.Image) diag.List {
	var l diag.List
	m := img.Machine
	if m.SecurityType != "ConfidentialVM" {
		return l
	}
	// learn.microsoft.com/azure/confidential-computing/confidential-vm-overview; the same rules in azurerm's
	// azurerm_windows_virtual_machine (vtpm_enabled, secure_boot_enabled, encryption_at_host_enabled).
	if !m.VTPM {
		l.Errorf(img.Pos, "set vtpm_enabled = true", "a confidential VM cannot do without its virtual TPM, which holds the keys that it attests itself with")
	}
	if m.SecurityEncryption == "DiskWithVMGuestState" {
		if !m.SecureBoot {
			l.Errorf(img.Pos, "set secure_boot_enabled = true, or security_encryption_type = \"VMGuestStateOnly\"", "a confidential VM with an encrypted disk (DiskWithVMGuestState) needs secure boot")
		}
		if m.EncryptionAtHost != nil && *m.EncryptionAtHost {
			l.Errorf(img.Pos, "leave encryption_at_host out", "encryption at host and DiskWithVMGuestState exclude one another: the disk is encrypted already")
		}
	}
	return l
}
