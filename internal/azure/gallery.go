package azure

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// versionsIn is the client of another subscription's image versions; galleries are often kept apart from builds.
func (c *Client) versionsIn(subscription string) (*armcompute.GalleryImageVersionsClient, error) {
	return armcompute.NewGalleryImageVersionsClient(subscription, c.o.Credential, c.arm)
}

// GetDefinition looks an image definition up.
func (c *Client) GetDefinition(ctx context.Context, subscription, group, gallery, image string) (Definition, error) {
	images, err := armcompute.NewGalleryImagesClient(subscription, c.o.Credential, c.arm)
	if err != nil {
		return Definition{}, err
	}
	r, err := images.Get(ctx, group, gallery, image, nil)
	if err != nil {
		return Definition{}, wrap(err, "look up image definition %s/%s", gallery, image)
	}
	d := Definition{ID: val(r.ID), Location: val(r.Location), Tags: vals(r.Tags), Features: map[string]string{}}
	if p := r.Properties; p != nil {
		d.OS, d.OSState, d.Generation = string(val(p.OSType)), string(val(p.OSState)), string(val(p.HyperVGeneration))
		d.Architecture = string(val(p.Architecture))
		d.Plan = purchasePlan(p.PurchasePlan)
		for _, f := range p.Features {
			d.Features[val(f.Name)] = val(f.Value)
		}
		d.SecurityType = d.Features["SecurityType"]
	}
	return d, nil
}

// ListVersions lists the names of a definition's versions.
func (c *Client) ListVersions(ctx context.Context, subscription, group, gallery, image string) ([]string, error) {
	versions, err := c.versionsIn(subscription)
	if err != nil {
		return nil, err
	}
	var out []string
	for p := versions.NewListByGalleryImagePager(group, gallery, image, nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, wrap(err, "list the versions of %s/%s", gallery, image)
		}
		for _, v := range page.Value {
			out = append(out, val(v.Name))
		}
	}
	return out, nil
}

// PutGalleryVersion publishes a version and waits until every region has it. op.Progress is told how far each region is.
func (c *Client) PutGalleryVersion(ctx context.Context, v GalleryVersion, op Op) (VersionInfo, error) {
	versions, err := c.versionsIn(v.Subscription)
	if err != nil {
		return VersionInfo{}, err
	}
	full := armcompute.ReplicationModeFull
	if v.Shallow {
		full = armcompute.ReplicationModeShallow
	}
	publish := &armcompute.GalleryImageVersionPublishingProfile{ReplicationMode: &full, ExcludeFromLatest: &v.ExcludeFromLatest}
	if !v.EndOfLife.IsZero() {
		publish.EndOfLifeDate = &v.EndOfLife
	}
	if v.StorageType != "" {
		t := armcompute.StorageAccountType(v.StorageType)
		publish.StorageAccountType = &t
	}
	for _, r := range v.Regions {
		t := &armcompute.TargetRegion{Name: &r.Name, RegionalReplicaCount: opt(r.Replicas)}
		if r.StorageType != "" {
			kind := armcompute.StorageAccountType(r.StorageType)
			t.StorageAccountType = &kind
		}
		t.Encryption = encryptionOf(r, v.ConfidentialEncryption)
		publish.TargetRegions = append(publish.TargetRegions, t)
	}
	body := armcompute.GalleryImageVersion{Location: &v.Location, Tags: ptrs(v.Tags), Properties: &armcompute.GalleryImageVersionProperties{
		PublishingProfile: publish,
		StorageProfile:    &armcompute.GalleryImageVersionStorageProfile{Source: &armcompute.GalleryArtifactVersionFullSource{ID: opt(v.SourceImageID), VirtualMachineID: opt(v.SourceVMID)}}}}
	if say := op.Progress; say != nil {
		op.Progress = func(status string) {
			if i, err := c.GetGalleryVersion(ctx, v.Subscription, v.Group, v.Gallery, v.Image, v.Version); err == nil && len(i.Regions) > 0 {
				var parts []string
				for _, r := range i.Regions {
					parts = append(parts, fmt.Sprintf("%s %d %%", r.Region, r.Progress))
				}
				status = strings.Join(parts, ", ")
			}
			say(status)
		}
	}
	r, err := long[armcompute.GalleryImageVersionsClientCreateOrUpdateResponse]{
		what: fmt.Sprintf("publish %s/%s %s", v.Gallery, v.Image, v.Version),
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.GalleryImageVersionsClientCreateOrUpdateResponse], error) {
			return versions.BeginCreateOrUpdate(ctx, v.Group, v.Gallery, v.Image, v.Version, body, &armcompute.GalleryImageVersionsClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil {
		return VersionInfo{}, err
	}
	return versionInfo(r.GalleryImageVersion), nil
}

// encryptionOf: the image of a confidential VM names how it is encrypted and, with EncryptedWithCmk, by which set; any other is
// encrypted with the set itself (rest/api/compute/gallery-image-versions/create-or-update: OSDiskImageSecurityProfile).
func encryptionOf(r TargetRegion, confidential string) *armcompute.EncryptionImages {
	e := &armcompute.OSDiskImageEncryption{}
	switch {
	case confidential != "":
		kind := armcompute.ConfidentialVMEncryptionType(confidential)
		e.SecurityProfile = &armcompute.OSDiskImageSecurityProfile{ConfidentialVMEncryptionType: &kind, SecureVMDiskEncryptionSetID: opt(r.DiskEncryptionSetID)}
	case r.DiskEncryptionSetID != "":
		e.DiskEncryptionSetID = &r.DiskEncryptionSetID
	default:
		return nil
	}
	return &armcompute.EncryptionImages{OSDiskImage: e}
}

func versionInfo(v armcompute.GalleryImageVersion) VersionInfo {
	i := VersionInfo{ID: val(v.ID), Tags: vals(v.Tags)}
	if p := v.Properties; p != nil {
		i.State = string(val(p.ProvisioningState))
		if p.StorageProfile != nil {
			for _, d := range p.StorageProfile.DataDiskImages {
				i.DataLUNs = append(i.DataLUNs, val(d.Lun))
			}
		}
		if p.ReplicationStatus != nil {
			for _, s := range p.ReplicationStatus.Summary {
				i.Regions = append(i.Regions, RegionState{Region: val(s.Region), State: string(val(s.State)), Progress: int(val(s.Progress)), Details: val(s.Details)})
			}
		}
	}
	return i
}

// GetGalleryVersion looks a version up, with its replication.
func (c *Client) GetGalleryVersion(ctx context.Context, subscription, group, gallery, image, version string) (VersionInfo, error) {
	versions, err := c.versionsIn(subscription)
	if err != nil {
		return VersionInfo{}, err
	}
	status := armcompute.ReplicationStatusTypesReplicationStatus
	r, err := versions.Get(ctx, group, gallery, image, version, &armcompute.GalleryImageVersionsClientGetOptions{Expand: &status})
	if err != nil {
		return VersionInfo{}, wrap(err, "look up %s/%s %s", gallery, image, version)
	}
	return versionInfo(r.GalleryImageVersion), nil
}

// DeleteGalleryVersion deletes a version; one that is not there is deleted.
func (c *Client) DeleteGalleryVersion(ctx context.Context, subscription, group, gallery, image, version string, op Op) error {
	versions, err := c.versionsIn(subscription)
	if err != nil {
		return err
	}
	_, err = long[armcompute.GalleryImageVersionsClientDeleteResponse]{
		what: fmt.Sprintf("delete %s/%s %s", gallery, image, version),
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.GalleryImageVersionsClientDeleteResponse], error) {
			return versions.BeginDelete(ctx, group, gallery, image, version, &armcompute.GalleryImageVersionsClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}
