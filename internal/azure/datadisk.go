package azure

import "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

// dataDisks are the data disks of a VM's document. They outlive the VM, as its OS disk does, until somebody deletes them.
func dataDisks(list []VMDataDisk) []*armcompute.DataDisk {
	var out []*armcompute.DataDisk
	for _, d := range list {
		create, detach := armcompute.DiskCreateOptionTypesEmpty, armcompute.DiskDeleteOptionTypesDetach
		if d.FromImage {
			create = armcompute.DiskCreateOptionTypesFromImage
		}
		x := &armcompute.DataDisk{Lun: &d.LUN, Name: &d.Name, CreateOption: &create, DeleteOption: &detach, DiskSizeGB: opt(d.GB), ManagedDisk: &armcompute.ManagedDiskParameters{}}
		if d.Type != "" {
			t := armcompute.StorageAccountTypes(d.Type)
			x.ManagedDisk.StorageAccountType = &t
		}
		if d.DiskEncryptionSetID != "" {
			x.ManagedDisk.DiskEncryptionSet = &armcompute.DiskEncryptionSetParameters{ID: &d.DiskEncryptionSetID}
		}
		if d.Caching != "" {
			t := armcompute.CachingTypes(d.Caching)
			x.Caching = &t
		}
		out = append(out, x)
	}
	return out
}
