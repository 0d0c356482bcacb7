package azure

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// Snapshot is a copy of a managed disk as it is when it is made, to be made.
type Snapshot struct {
	Group, Name, Location string
	DiskID                string // of the disk
	Tags                  map[string]string
}

// SnapshotInfo is what is known of a snapshot.
type SnapshotInfo struct {
	ID, State string // provisioning state: Succeeded, Failed, ...
	Tags      map[string]string
}

// PutSnapshot makes a full snapshot (https://learn.microsoft.com/rest/api/compute/snapshots/create-or-update, createOption Copy).
func (c *Client) PutSnapshot(ctx context.Context, s Snapshot, op Op) (SnapshotInfo, error) {
	from := armcompute.DiskCreateOptionCopy
	body := armcompute.Snapshot{Location: &s.Location, Tags: ptrs(s.Tags), Properties: &armcompute.SnapshotProperties{CreationData: &armcompute.CreationData{CreateOption: &from, SourceResourceID: &s.DiskID}}}
	r, err := long[armcompute.SnapshotsClientCreateOrUpdateResponse]{
		what: "create snapshot " + s.Name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.SnapshotsClientCreateOrUpdateResponse], error) {
			return c.snaps.BeginCreateOrUpdate(ctx, s.Group, s.Name, body, &armcompute.SnapshotsClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil {
		return SnapshotInfo{}, err
	}
	return snapshotInfo(r.Snapshot), nil
}

func snapshotInfo(s armcompute.Snapshot) SnapshotInfo {
	i := SnapshotInfo{ID: val(s.ID), Tags: vals(s.Tags)}
	if s.Properties != nil {
		i.State = val(s.Properties.ProvisioningState)
	}
	return i
}

// GetSnapshot looks a snapshot up.
func (c *Client) GetSnapshot(ctx context.Context, group, name string) (SnapshotInfo, error) {
	r, err := c.snaps.Get(ctx, group, name, nil)
	if err != nil {
		return SnapshotInfo{}, wrap(err, "look up snapshot %s", name)
	}
	return snapshotInfo(r.Snapshot), nil
}

// DeleteSnapshot deletes a snapshot; one that is not there is deleted. One whose address is still good must be closed first.
func (c *Client) DeleteSnapshot(ctx context.Context, group, name string, op Op) error {
	_, err := long[armcompute.SnapshotsClientDeleteResponse]{
		what: "delete snapshot " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.SnapshotsClientDeleteResponse], error) {
			return c.snaps.BeginDelete(ctx, group, name, &armcompute.SnapshotsClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// OpenSnapshot opens a snapshot for reading and answers the address of its bytes, a secret. CloseSnapshot ends that.
func (c *Client) OpenSnapshot(ctx context.Context, group, name string, d time.Duration) (string, error) {
	access, seconds := armcompute.AccessLevelRead, int32(d/time.Second)
	r, err := long[armcompute.SnapshotsClientGrantAccessResponse]{
		what: "open snapshot " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.SnapshotsClientGrantAccessResponse], error) {
			return c.snaps.BeginGrantAccess(ctx, group, name, armcompute.GrantAccessData{Access: &access, DurationInSeconds: &seconds}, &armcompute.SnapshotsClientBeginGrantAccessOptions{ResumeToken: token})
		},
	}.run(ctx, c, Op{})
	return val(r.AccessSAS), err
}

// CloseSnapshot ends what OpenSnapshot opened. A snapshot that is not there is closed.
func (c *Client) CloseSnapshot(ctx context.Context, group, name string) error {
	_, err := long[armcompute.SnapshotsClientRevokeAccessResponse]{
		what: "close snapshot " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.SnapshotsClientRevokeAccessResponse], error) {
			return c.snaps.BeginRevokeAccess(ctx, group, name, &armcompute.SnapshotsClientBeginRevokeAccessOptions{ResumeToken: token})
		},
	}.run(ctx, c, Op{})
	return gone(err)
}
