package vm

import (
	"context"
	"fmt"
	"net/netip"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

type nsgArgs struct{ azure.SecurityGroup }

// makeNSG opens the communicator's port to the addresses that were named, or to the caller's alone.
func (b *build) makeNSG(ctx context.Context, t *plan.Task, a nsgArgs) (idResult, error) {
	if a.Port != 0 && len(a.Sources) == 0 {
		var c callerResult
		if err := t.Result("caller", &c); err != nil {
			return idResult{}, err
		}
		addr, err := netip.ParseAddr(c.Address)
		if err != nil {
			return idResult{}, err
		}
		a.Sources = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}
	}
	id, err := b.env.Cloud.PutSecurityGroup(ctx, a.SecurityGroup, op(t))
	return idResult{ID: id}, err
}

func (b *build) removeNSG(ctx context.Context, t *plan.Task, a nsgArgs, _ *idResult) error {
	return b.env.Cloud.DeleteSecurityGroup(ctx, a.Group, a.Name, undoOp(t))
}

type networkArgs struct{ azure.Network }

// makeNetwork makes the network and returns its subnet's id.
func (b *build) makeNetwork(ctx context.Context, t *plan.Task, a networkArgs) (idResult, error) {
	var nsg idResult
	if err := t.Result("nsg", &nsg); err != nil {
		return idResult{}, err
	}
	a.SecurityGroupID = nsg.ID
	id, err := b.env.Cloud.PutNetwork(ctx, a.Network, op(t))
	return idResult{ID: id}, err
}

func (b *build) removeNetwork(ctx context.Context, t *plan.Task, a networkArgs, _ *idResult) error {
	return b.env.Cloud.DeleteNetwork(ctx, a.Group, a.Name, undoOp(t))
}

type subnetArgs struct {
	Group, VNet, Subnet string
	Subscription        string `json:",omitempty"` // when it is not the build's
}

// findSubnet looks an existing subnet up. Where the template names only the network, the network must have a single subnet.
func (b *build) findSubnet(ctx context.Context, t *plan.Task, a subnetArgs) (idResult, error) {
	if a.Subscription != "" {
		id, _, err := b.env.Cloud.GetSubnetIn(ctx, a.Subscription, a.Group, a.VNet, a.Subnet)
		return idResult{ID: id}, err
	}
	if a.Group == "" {
		group, err := b.env.Cloud.FindNetwork(ctx, a.VNet)
		if err != nil {
			return idResult{}, err
		}
		a.Group = group
	}
	if a.Subnet == "" {
		subnets, err := b.env.Cloud.ListSubnets(ctx, a.Group, a.VNet)
		if err != nil {
			return idResult{}, err
		}
		if len(subnets) != 1 {
			return idResult{}, fmt.Errorf("cannot choose a subnet of %s: it has %d; set virtual_network_subnet_name", a.VNet, len(subnets))
		}
		a.Subnet = subnets[0]
	}
	id, _, err := b.env.Cloud.GetSubnet(ctx, a.Group, a.VNet, a.Subnet)
	return idResult{ID: id}, err
}

type ipArgs struct{ azure.PublicIP }

func (b *build) makeIP(ctx context.Context, t *plan.Task, a ipArgs) (addressResult, error) {
	id, address, err := b.env.Cloud.PutPublicIP(ctx, a.PublicIP, op(t))
	return addressResult{id, address}, err
}

func (b *build) removeIP(ctx context.Context, t *plan.Task, a ipArgs, _ *addressResult) error {
	return b.env.Cloud.DeletePublicIP(ctx, a.Group, a.Name, undoOp(t))
}

type nicArgs struct{ azure.NIC }

func (b *build) makeNIC(ctx context.Context, t *plan.Task, a nicArgs) (addressResult, error) {
	var subnet idResult
	if err := t.Result("network", &subnet); err != nil {
		return addressResult{}, err
	}
	a.SubnetID = subnet.ID
	var ip addressResult
	if err := optional(t.Result("ip", &ip)); err != nil {
		return addressResult{}, err
	}
	a.PublicIPID = ip.ID
	id, address, err := b.env.Cloud.PutNIC(ctx, a.NIC, op(t))
	return addressResult{id, address}, err
}

func (b *build) removeNIC(ctx context.Context, t *plan.Task, a nicArgs, _ *addressResult) error {
	return b.env.Cloud.DeleteNIC(ctx, a.Group, a.Name, undoOp(t))
}
