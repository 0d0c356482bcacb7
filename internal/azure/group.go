package azure

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
)

// PutGroup creates or updates a resource group; it is done when it returns.
func (c *Client) PutGroup(ctx context.Context, g Group) error {
	_, err := c.groups.CreateOrUpdate(ctx, g.Name, armresources.ResourceGroup{Location: &g.Location, Tags: ptrs(g.Tags)}, nil)
	return wrap(err, "create resource group %s", g.Name)
}

// GetGroup looks a group up.
func (c *Client) GetGroup(ctx context.Context, name string) (Group, error) {
	r, err := c.groups.Get(ctx, name, nil)
	if err != nil {
		return Group{}, wrap(err, "look up resource group %s", name)
	}
	return Group{Name: val(r.Name), Location: val(r.Location), Tags: vals(r.Tags)}, nil
}

// DeleteGroup deletes a group with everything in it, in one call; virtual machines are deleted without being shut down
// first, which takes minutes off. A group that is not there is deleted.
func (c *Client) DeleteGroup(ctx context.Context, name string, op Op) error {
	_, err := long[armresources.ResourceGroupsClientDeleteResponse]{
		what: "delete resource group " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armresources.ResourceGroupsClientDeleteResponse], error) {
			force := "Microsoft.Compute/virtualMachines"
			return c.groups.BeginDelete(ctx, name, &armresources.ResourceGroupsClientBeginDeleteOptions{ForceDeletionTypes: &force, ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// ListGroups lists the groups that carry a tag of that name.
func (c *Client) ListGroups(ctx context.Context, tagName string) ([]Group, error) {
	filter := "tagName eq '" + tagName + "'"
	var out []Group
	for p := c.groups.NewListPager(&armresources.ResourceGroupsClientListOptions{Filter: &filter}); p.More(); {
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

// ListResources lists what a group holds.
func (c *Client) ListResources(ctx context.Context, group string) ([]Listed, error) {
	var out []Listed
	for p := c.res.NewListByResourceGroupPager(group, nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, wrap(err, "list resource group %s", group)
		}
		for _, r := range page.Value {
			out = append(out, Listed{ID: val(r.ID), Type: val(r.Type), Name: val(r.Name), Location: val(r.Location), Tags: vals(r.Tags)})
		}
	}
	return out, nil
}
