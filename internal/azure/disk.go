package azure

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// Disk is a managed disk to be made.
type Disk struct {
	Group, Name, Location string
	Type                  string // Standard_LRS, Premium_LRS, …; "": StandardSSD_LRS
	Windows               bool
	Generation            string // V1 or V2; "": of the image
	SecurityType          string // TrustedLaunch and its kin; "": none
	Tags                  map[string]string
}

// DiskInfo is what is known of a managed disk.
type DiskInfo struct {
	ID, State string // Unattached, Attached, ReadyToUpload, ActiveUpload, ActiveSAS, …
	Bytes     int64
	Tags      map[string]string
}

func (d Disk) body(create *armcompute.CreationData) armcompute.Disk {
	os := armcompute.OperatingSystemTypesLinux
	if d.Windows {
		os = armcompute.OperatingSystemTypesWindows
	}
	name := armcompute.DiskStorageAccountTypesStandardSSDLRS
	if d.Type != "" {
		name = armcompute.DiskStorageAccountTypes(d.Type)
	}
	p := &armcompute.DiskProperties{CreationData: create, OSType: &os, HyperVGeneration: opt(armcompute.HyperVGeneration(d.Generation))}
	if d.SecurityType != "" {
		t := armcompute.DiskSecurityTypes(d.SecurityType)
		p.SecurityProfile = &armcompute.DiskSecurityProfile{SecurityType: &t}
	}
	return armcompute.Disk{Location: &d.Location, Tags: ptrs(d.Tags), SKU: &armcompute.DiskSKU{Name: &name}, Properties: p}
}

// PutUploadDisk makes a disk that waits for size bytes: those of a fixed VHD, footer included.
func (c *Client) PutUploadDisk(ctx context.Context, d Disk, size int64, op Op) (DiskInfo, error) {
	from := armcompute.DiskCreateOptionUpload
	return c.putDisk(ctx, d, &armcompute.CreationData{CreateOption: &from, UploadSizeBytes: &size}, op)
}

// PutDiskFromVersion makes a disk of a gallery image version, by its id.
func (c *Client) PutDiskFromVersion(ctx context.Context, d Disk, version string, op Op) (DiskInfo, error) {
	from := armcompute.DiskCreateOptionFromImage
	return c.putDisk(ctx, d, &armcompute.CreationData{CreateOption: &from, GalleryImageReference: &armcompute.ImageDiskReference{ID: &version}}, op)
}

func (c *Client) putDisk(ctx context.Context, d Disk, create *armcompute.CreationData, op Op) (DiskInfo, error) {
	body := d.body(create)
	r, err := long[armcompute.DisksClientCreateOrUpdateResponse]{
		what: "create disk " + d.Name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.DisksClientCreateOrUpdateResponse], error) {
			return c.disks.BeginCreateOrUpdate(ctx, d.Group, d.Name, body, &armcompute.DisksClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil {
		return DiskInfo{}, err
	}
	return diskInfo(r.Disk), nil
}

func diskInfo(d armcompute.Disk) DiskInfo {
	i := DiskInfo{ID: val(d.ID), Tags: vals(d.Tags)}
	if p := d.Properties; p != nil {
		i.State, i.Bytes = string(val(p.DiskState)), val(p.DiskSizeBytes)
	}
	return i
}

// GetDisk looks a managed disk up.
func (c *Client) GetDisk(ctx context.Context, group, name string) (DiskInfo, error) {
	r, err := c.disks.Get(ctx, group, name, nil)
	if err != nil {
		return DiskInfo{}, wrap(err, "look up disk %s", name)
	}
	return diskInfo(r.Disk), nil
}

// GrantAccess opens a disk for a time and answers the address of its bytes, a secret: for writing, one made by
// PutUploadDisk that waits for its bytes, or else for reading. RevokeAccess closes it; an upload ends with that.
func (c *Client) GrantAccess(ctx context.Context, group, name string, write bool, d time.Duration) (string, error) {
	access, seconds := armcompute.AccessLevelRead, int32(d/time.Second)
	if write {
		access = armcompute.AccessLevelWrite
	}
	r, err := long[armcompute.DisksClientGrantAccessResponse]{
		what: "open disk " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.DisksClientGrantAccessResponse], error) {
			return c.disks.BeginGrantAccess(ctx, group, name, armcompute.GrantAccessData{Access: &access, DurationInSeconds: &seconds}, &armcompute.DisksClientBeginGrantAccessOptions{ResumeToken: token})
		},
	}.run(ctx, c, Op{})
	return val(r.AccessSAS), err
}

// RevokeAccess closes what GrantAccess opened. A disk that is not there is closed.
func (c *Client) RevokeAccess(ctx context.Context, group, name string) error {
	_, err := long[armcompute.DisksClientRevokeAccessResponse]{
		what: "close disk " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.DisksClientRevokeAccessResponse], error) {
			return c.disks.BeginRevokeAccess(ctx, group, name, &armcompute.DisksClientBeginRevokeAccessOptions{ResumeToken: token})
		},
	}.run(ctx, c, Op{})
	return gone(err)
}
