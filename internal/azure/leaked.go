package azure

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
)

// AllGroups lists every resource group of the subscription.
func (c *Client) AllGroups(ctx context.Context) ([]Group, error) {
	var out []Group
	for p := c.groups.NewListPager(nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, wrap(err, "list resource groups")
		}
		for _, g := range page.Value {
			out = append(out, Group{Name: val(g.Name), Location: val(g.Location), Tags: vals(g.Tags)})
		}
	}
	return out, nil
}

// AllResources lists every resource of the subscription, with the time at which it was made. Resource Manager's list is its cache:
// what was made or deleted within the last minutes may be behind (rest/api/resources/resources/list).
func (c *Client) AllResources(ctx context.Context) ([]Listed, error) {
	expand := "createdTime"
	var out []Listed
	for p := c.res.NewListPager(&armresources.ClientListOptions{Expand: &expand}); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, wrap(err, "list resources")
		}
		for _, r := range page.Value {
			out = append(out, Listed{ID: val(r.ID), Type: val(r.Type), Name: val(r.Name), Location: val(r.Location), Tags: vals(r.Tags), Created: val(r.CreatedTime)})
		}
	}
	return out, nil
}

// DeletedVault is a key vault that is deleted and not purged: its name is taken, and its secrets are kept, for up to 90 days.
type DeletedVault struct {
	Name, Location, ID string // ID: of the vault that it was
	Tags               map[string]string
	PurgeProtected     bool // nobody can purge it before its time
}

// DeletedVaults lists those of the subscription.
func (c *Client) DeletedVaults(ctx context.Context) ([]DeletedVault, error) {
	var out []DeletedVault
	for p := c.vaults.NewListDeletedPager(nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, wrap(err, "list deleted key vaults")
		}
		for _, v := range page.Value {
			if p := v.Properties; p != nil {
				out = append(out, DeletedVault{Name: val(v.Name), Location: val(p.Location), ID: val(p.VaultID), Tags: vals(p.Tags), PurgeProtected: val(p.PurgeProtectionEnabled)})
			}
		}
	}
	return out, nil
}

// Lock is a management lock; Scope is the id of what it locks.
type Lock struct{ ID, Scope, Level string } // Level is CanNotDelete or ReadOnly

// Locks lists the locks of the subscription and of everything in it (rest/api/resources/management-locks/list-at-subscription-level).
func (c *Client) Locks(ctx context.Context) ([]Lock, error) {
	var list []struct {
		ID         string `json:"id"`
		Properties struct {
			Level string `json:"level"`
		} `json:"properties"`
	}
	if err := pages(ctx, c, "/subscriptions/"+c.o.Subscription+"/providers/Microsoft.Authorization/locks", "2020-05-01", "list locks", &list); err != nil {
		return nil, err
	}
	var out []Lock
	for _, l := range list {
		if i := strings.LastIndex(strings.ToLower(l.ID), "/providers/microsoft.authorization/locks/"); i >= 0 {
			out = append(out, Lock{ID: l.ID, Scope: l.ID[:i], Level: l.Properties.Level})
		}
	}
	return out, nil
}

// scratchTypes are what a build makes in an existing group, in the order in which they can be deleted, and the version of the
// interface that deletes each.
var scratchTypes = [...]struct{ kind, version string }{
	{"Microsoft.Compute/virtualMachines", "2024-07-01"},
	{"Microsoft.Network/networkInterfaces", "2024-05-01"},
	{"Microsoft.Network/publicIPAddresses", "2024-05-01"},
	{"Microsoft.Network/virtualNetworks", "2024-05-01"},
	{"Microsoft.Network/networkSecurityGroups", "2024-05-01"},
	{"Microsoft.Compute/disks", "2024-03-02"},
	{"Microsoft.Compute/snapshots", "2024-03-02"},
	{"Microsoft.KeyVault/vaults", "2023-07-01"},
}

// ScratchRank is the place of a type in the order in which what a build leaves is deleted; -1 for a type that no build leaves.
func ScratchRank(kind string) int {
	for i, t := range scratchTypes {
		if strings.EqualFold(t.kind, kind) {
			return i
		}
	}
	return -1
}

// DeleteScratch deletes one resource of such a type; one that is not there is deleted. A vault is not purged by it.
func (c *Client) DeleteScratch(ctx context.Context, r Listed, op Op) error {
	i := ScratchRank(r.Type)
	if i < 0 {
		return fmt.Errorf("cannot delete %s: no build makes a %s", r.ID, r.Type)
	}
	_, err := long[armresources.ClientDeleteByIDResponse]{
		what: "delete " + r.ID,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armresources.ClientDeleteByIDResponse], error) {
			return c.res.BeginDeleteByID(ctx, strings.TrimPrefix(r.ID, "/"), scratchTypes[i].version, &armresources.ClientBeginDeleteByIDOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}
