package azure

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
)

// PutNetwork creates a virtual network with one subnet and returns the subnet's id.
func (c *Client) PutNetwork(ctx context.Context, n Network, op Op) (string, error) {
	subnet := &armnetwork.Subnet{Name: &n.Subnet, Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: &n.SubnetSpace}}
	if n.SecurityGroupID != "" {
		subnet.Properties.NetworkSecurityGroup = &armnetwork.SecurityGroup{ID: &n.SecurityGroupID}
	}
	body := armnetwork.VirtualNetwork{Location: &n.Location, Tags: ptrs(n.Tags), Properties: &armnetwork.VirtualNetworkPropertiesFormat{
		AddressSpace: &armnetwork.AddressSpace{AddressPrefixes: []*string{&n.AddressSpace}}, Subnets: []*armnetwork.Subnet{subnet}}}
	r, err := long[armnetwork.VirtualNetworksClientCreateOrUpdateResponse]{
		what: "create virtual network " + n.Name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armnetwork.VirtualNetworksClientCreateOrUpdateResponse], error) {
			return c.vnets.BeginCreateOrUpdate(ctx, n.Group, n.Name, body, &armnetwork.VirtualNetworksClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil {
		return "", err
	}
	if r.Properties != nil {
		for _, s := range r.Properties.Subnets {
			if strings.EqualFold(val(s.Name), n.Subnet) {
				return val(s.ID), nil
			}
		}
	}
	return "", &Error{Op: "create virtual network " + n.Name, cause: fmt.Errorf("Azure's answer has no subnet %s", n.Subnet)}
}

// DeleteNetwork deletes a virtual network; one that is not there is deleted.
func (c *Client) DeleteNetwork(ctx context.Context, group, name string, op Op) error {
	_, err := long[armnetwork.VirtualNetworksClientDeleteResponse]{
		what: "delete virtual network " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armnetwork.VirtualNetworksClientDeleteResponse], error) {
			return c.vnets.BeginDelete(ctx, group, name, &armnetwork.VirtualNetworksClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// GetSubnet looks a subnet up; location is its network's.
func (c *Client) GetSubnet(ctx context.Context, group, vnet, subnet string) (id, location string, err error) {
	return c.GetSubnetIn(ctx, c.o.Subscription, group, vnet, subnet)
}

// GetSubnetIn looks a subnet up that may be in another subscription of the tenant.
func (c *Client) GetSubnetIn(ctx context.Context, subscription, group, vnet, subnet string) (id, location string, err error) {
	vnets, subnets := c.vnets, c.subnets
	if !strings.EqualFold(subscription, c.o.Subscription) {
		if vnets, err = armnetwork.NewVirtualNetworksClient(subscription, c.o.Credential, c.arm); err != nil {
			return "", "", err
		}
		if subnets, err = armnetwork.NewSubnetsClient(subscription, c.o.Credential, c.arm); err != nil {
			return "", "", err
		}
	}
	v, err := vnets.Get(ctx, group, vnet, nil)
	if err != nil {
		return "", "", wrap(err, "look up virtual network %s", vnet)
	}
	s, err := subnets.Get(ctx, group, vnet, subnet, nil)
	if err != nil {
		return "", "", wrap(err, "look up subnet %s of %s", subnet, vnet)
	}
	return val(s.ID), val(v.Location), nil
}

// ListSubnets lists the names of a network's subnets.
func (c *Client) ListSubnets(ctx context.Context, group, vnet string) ([]string, error) {
	var out []string
	for p := c.subnets.NewListPager(group, vnet, nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, wrap(err, "list the subnets of %s", vnet)
		}
		for _, s := range page.Value {
			out = append(out, val(s.Name))
		}
	}
	return out, nil
}

// FindNetwork returns the resource group of the one virtual network of that name in the subscription.
func (c *Client) FindNetwork(ctx context.Context, vnet string) (string, error) {
	var groups []string
	for p := c.vnets.NewListAllPager(nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return "", wrap(err, "list virtual networks")
		}
		for _, v := range page.Value {
			if strings.EqualFold(val(v.Name), vnet) {
				groups = append(groups, groupOf(val(v.ID)))
			}
		}
	}
	if len(groups) != 1 {
		return "", &Error{Op: "find virtual network " + vnet, cause: fmt.Errorf("the subscription has %d of that name; set virtual_network_resource_group_name", len(groups))}
	}
	return groups[0], nil
}

// groupOf is the resource group in an id.
func groupOf(id string) string {
	parts := strings.Split(id, "/")
	for i := range parts {
		if strings.EqualFold(parts[i], "resourceGroups") && i+1 < len(parts) {
			return parts[i+1]
		}
	}
	return ""
}

// PutSecurityGroup creates a network security group that lets its sources reach one port and returns its id. What no rule
// names is denied by Azure's own default rules.
func (c *Client) PutSecurityGroup(ctx context.Context, g SecurityGroup, op Op) (string, error) {
	port, any := fmt.Sprint(g.Port), "*"
	rule := &armnetwork.SecurityRulePropertiesFormat{
		Priority: new(int32), Direction: new(armnetwork.SecurityRuleDirection), Access: new(armnetwork.SecurityRuleAccess), Protocol: new(armnetwork.SecurityRuleProtocol),
		SourcePortRange: &any, DestinationPortRange: &port, DestinationAddressPrefix: &any,
	}
	*rule.Priority, *rule.Direction, *rule.Access, *rule.Protocol = 100, armnetwork.SecurityRuleDirectionInbound, armnetwork.SecurityRuleAccessAllow, armnetwork.SecurityRuleProtocolTCP
	switch len(g.Sources) {
	case 0:
		rule.SourceAddressPrefix = &any
	case 1:
		s := g.Sources[0].String()
		rule.SourceAddressPrefix = &s
	default:
		for _, p := range g.Sources {
			s := p.String()
			rule.SourceAddressPrefixes = append(rule.SourceAddressPrefixes, &s)
		}
	}
	name := "communicator"
	body := armnetwork.SecurityGroup{Location: &g.Location, Tags: ptrs(g.Tags), Properties: &armnetwork.SecurityGroupPropertiesFormat{
		SecurityRules: []*armnetwork.SecurityRule{{Name: &name, Properties: rule}}}}
	r, err := long[armnetwork.SecurityGroupsClientCreateOrUpdateResponse]{
		what: "create network security group " + g.Name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armnetwork.SecurityGroupsClientCreateOrUpdateResponse], error) {
			return c.nsgs.BeginCreateOrUpdate(ctx, g.Group, g.Name, body, &armnetwork.SecurityGroupsClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return val(r.ID), err
}

// DeleteSecurityGroup deletes a network security group; one that is not there is deleted.
func (c *Client) DeleteSecurityGroup(ctx context.Context, group, name string, op Op) error {
	_, err := long[armnetwork.SecurityGroupsClientDeleteResponse]{
		what: "delete network security group " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armnetwork.SecurityGroupsClientDeleteResponse], error) {
			return c.nsgs.BeginDelete(ctx, group, name, &armnetwork.SecurityGroupsClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// PutPublicIP creates a static public address and returns it.
func (c *Client) PutPublicIP(ctx context.Context, p PublicIP, op Op) (id, address string, err error) {
	sku := armnetwork.PublicIPAddressSKUNameStandard
	if strings.EqualFold(p.SKU, "Basic") {
		sku = armnetwork.PublicIPAddressSKUNameBasic
	}
	static := armnetwork.IPAllocationMethodStatic
	body := armnetwork.PublicIPAddress{Location: &p.Location, Tags: ptrs(p.Tags), SKU: &armnetwork.PublicIPAddressSKU{Name: &sku},
		Properties: &armnetwork.PublicIPAddressPropertiesFormat{PublicIPAllocationMethod: &static}}
	r, err := long[armnetwork.PublicIPAddressesClientCreateOrUpdateResponse]{
		what: "create public address " + p.Name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armnetwork.PublicIPAddressesClientCreateOrUpdateResponse], error) {
			return c.ips.BeginCreateOrUpdate(ctx, p.Group, p.Name, body, &armnetwork.PublicIPAddressesClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil || r.Properties == nil {
		return val(r.ID), "", err
	}
	return val(r.ID), val(r.Properties.IPAddress), nil
}

// DeletePublicIP deletes a public address; one that is not there is deleted.
func (c *Client) DeletePublicIP(ctx context.Context, group, name string, op Op) error {
	_, err := long[armnetwork.PublicIPAddressesClientDeleteResponse]{
		what: "delete public address " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armnetwork.PublicIPAddressesClientDeleteResponse], error) {
			return c.ips.BeginDelete(ctx, group, name, &armnetwork.PublicIPAddressesClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// PutNIC creates a network interface and returns its private address.
func (c *Client) PutNIC(ctx context.Context, n NIC, op Op) (id, address string, err error) {
	name, dynamic := "ipconfig", armnetwork.IPAllocationMethodDynamic
	ip := &armnetwork.InterfaceIPConfiguration{Name: &name, Properties: &armnetwork.InterfaceIPConfigurationPropertiesFormat{
		PrivateIPAllocationMethod: &dynamic, Subnet: &armnetwork.Subnet{ID: &n.SubnetID}}}
	if n.PublicIPID != "" {
		ip.Properties.PublicIPAddress = &armnetwork.PublicIPAddress{ID: &n.PublicIPID}
	}
	body := armnetwork.Interface{Location: &n.Location, Tags: ptrs(n.Tags), Properties: &armnetwork.InterfacePropertiesFormat{
		IPConfigurations: []*armnetwork.InterfaceIPConfiguration{ip}, EnableAcceleratedNetworking: n.Accelerated}}
	r, err := long[armnetwork.InterfacesClientCreateOrUpdateResponse]{
		what: "create network interface " + n.Name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armnetwork.InterfacesClientCreateOrUpdateResponse], error) {
			return c.nics.BeginCreateOrUpdate(ctx, n.Group, n.Name, body, &armnetwork.InterfacesClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil {
		return "", "", err
	}
	if p := r.Properties; p != nil && len(p.IPConfigurations) > 0 && p.IPConfigurations[0].Properties != nil {
		address = val(p.IPConfigurations[0].Properties.PrivateIPAddress)
	}
	return val(r.ID), address, nil
}

// DeleteNIC deletes a network interface; one that is not there is deleted.
func (c *Client) DeleteNIC(ctx context.Context, group, name string, op Op) error {
	_, err := long[armnetwork.InterfacesClientDeleteResponse]{
		what: "delete network interface " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armnetwork.InterfacesClientDeleteResponse], error) {
			return c.nics.BeginDelete(ctx, group, name, &armnetwork.InterfacesClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}
