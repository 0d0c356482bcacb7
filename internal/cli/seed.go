package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"ingot/internal/image"
	"ingot/internal/sim"
)

// seedFor puts into a fresh embedded Azure what the template takes for granted: the groups, galleries, definitions, vaults
// and networks it names. A rehearsal has nobody else to have made them; it says which they are, so that nobody takes them
// for things that Ingot makes. With a scenario file nothing is added.
func (s *session) seedFor(ctx context.Context, img *image.Image) ([]string, error) {
	if s.sim == nil {
		return nil, nil
	}
	sub := img.Identity.SubscriptionID
	if sub == "" {
		sub = sim.DefaultSubscription
	}
	m := img.Machine
	location := image.NormalLocation(m.Location)
	if location == "" {
		location = "westeurope"
	}
	generation := "V2"
	if src, ok := img.Source.(image.Marketplace); ok {
		versions, err := s.cloud.MarketplaceVersions(ctx, location, src.Publisher, src.Offer, src.SKU)
		if v := image.Newest(versions); err == nil && v != "" {
			if i, err := s.cloud.MarketplaceImage(ctx, location, src.Publisher, src.Offer, src.SKU, v); err == nil {
				generation = i.Generation
			}
		}
	}
	var made []string
	add := func(what, id string, body map[string]any) error {
		if slices.Contains(made, what) || s.sim.Has(id) {
			return nil
		}
		if err := s.sim.Seed(id, body); err != nil {
			return fmt.Errorf("cannot prepare the simulated Azure: %w", err)
		}
		made = append(made, what)
		return nil
	}
	group := func(sub, name string) error {
		return add("resource group "+name, fmt.Sprintf("/subscriptions/%s/resourceGroups/%s", sub, name), map[string]any{"location": location})
	}
	inGroup := func(sub, rg, path string) string {
		return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s", sub, rg, path)
	}
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	if m.ResourceGroup != "" {
		try(group(sub, m.ResourceGroup))
	}
	if in := m.Network.AllowedInbound; len(in) > 0 && !slices.ContainsFunc(in, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr("127.0.0.1")) }) {
		s.sim.CallerAt(in[0].Addr())
	}
	if m.KeyVault.Name != "" {
		try(add("key vault "+m.KeyVault.Name, inGroup(sub, m.ResourceGroup, "Microsoft.KeyVault/vaults/"+m.KeyVault.Name), map[string]any{
			"location": location, "properties": map[string]any{"enabledForDeployment": true, "enabledForTemplateDeployment": true, "enableSoftDelete": true,
				"tenantId": cmp.Or(img.Identity.TenantID, sim.DefaultTenant), "sku": map[string]any{"family": "A", "name": "standard"}, "accessPolicies": s.sim.VaultPolicies()}}))
	}
	if n := m.Network; n.VNet != "" {
		rg, subnet := n.ResourceGroup, n.Subnet
		if rg == "" {
			rg = "network"
		}
		if subnet == "" {
			subnet = "default"
		}
		try(group(sub, rg))
		subnets := []any{map[string]any{"name": subnet, "properties": map[string]any{"addressPrefix": "10.0.0.0/24"}}}
		if id := img.Managed.ContainerSubnet; id != "" { // Image Builder's container, in a subnet that is given to it
			subnets = append(subnets, map[string]any{"name": id[strings.LastIndex(id, "/")+1:], "properties": map[string]any{"addressPrefix": "10.0.1.0/24",
				"delegations": []any{map[string]any{"name": "containers", "properties": map[string]any{"serviceName": "Microsoft.ContainerInstance/containerGroups"}}}}})
		}
		try(add("virtual network "+n.VNet, inGroup(sub, rg, "Microsoft.Network/virtualNetworks/"+n.VNet), map[string]any{"location": location,
			"properties": map[string]any{"addressSpace": map[string]any{"addressPrefixes": []any{"10.0.0.0/16"}}, "subnets": subnets}}))
	}
	if g := img.SnapshotGroup(); g != "" && img.Snapshots != (image.Snapshots{}) {
		try(group(sub, g))
	}
	targets := img.Targets
	if img.SkipImage {
		targets = nil
	}
	for _, t := range targets {
		switch t := t.(type) {
		case image.ToVHD:
			rg, account, box := t.ResourceGroup, t.StorageAccount, t.Container
			if t.URI != "" {
				rg, account, box = vhdAddress(t.URI)
			}
			if account == "" { // Image Builder's own, in its staging group
				continue
			}
			try(group(sub, rg))
			id := inGroup(sub, rg, "Microsoft.Storage/storageAccounts/"+account)
			try(add("storage account "+account, id, map[string]any{"location": location, "kind": "StorageV2", "sku": map[string]any{"name": "Standard_LRS"}, "properties": map[string]any{}}))
			try(add("container "+account+"/"+box, id+"/blobServices/default/containers/"+box, nil))
		case image.ToManagedImage:
			try(group(sub, t.ResourceGroup))
		case image.ToGallery:
			at := t.Subscription
			if at == "" {
				at = sub
			}
			try(group(at, t.ResourceGroup))
			gallery := inGroup(at, t.ResourceGroup, "Microsoft.Compute/galleries/"+t.Gallery)
			make, makeGallery := described(img, t)
			if makeGallery {
				continue
			}
			try(add("gallery "+t.Gallery, gallery, map[string]any{"location": location, "properties": map[string]any{}}))
			if make {
				continue
			}
			state := "Generalized"
			if t.Specialized {
				state = "Specialized"
			}
			props := map[string]any{"osType": map[image.OS]string{image.Windows: "Windows", image.Linux: "Linux"}[img.OS], "osState": state, "hyperVGeneration": generation,
				"identifier": map[string]any{"publisher": "simulated", "offer": t.Gallery, "sku": t.Image}}
			if generation == "V2" && img.OS == image.Windows {
				props["features"] = []any{map[string]any{"name": "SecurityType", "value": "TrustedLaunchSupported"}}
			}
			try(add("image definition "+t.Gallery+"/"+t.Image, gallery+"/images/"+t.Image, map[string]any{"location": location, "properties": props}))
		}
	}
	try(s.seedSource(img, func(what, id string, body map[string]any) error { return add(what, id, body) }, group, inGroup, sub, location, &made))
	for _, err := range errs {
		if err != nil {
			return made, err
		}
	}
	if img.Engine.Name == engineAIB {
		return made, s.seedBuilder(ctx, img, sub, location, add, &made)
	}
	return made, nil
}

// note remembers what is there before the build.
func (s *session) note() {
	if s.before == nil {
		s.before = map[string]bool{}
	}
	for _, i := range s.sim.Inventory() {
		s.before[strings.ToLower(i.ID)] = true
	}
}

// described tells whether the template has a block that makes a target's definition, and its gallery: then they are not there yet.
func described(img *image.Image, t image.ToGallery) (definition, gallery bool) {
	for _, d := range img.Definitions {
		if strings.EqualFold(d.Gallery, t.Gallery) && strings.EqualFold(d.Name, t.Image) && strings.EqualFold(d.ResourceGroup, t.ResourceGroup) {
			return true, d.CreateGallery
		}
	}
	return false, false
}

// vhdAddress takes the address of a blob apart; the account is put into a group called storage.
func vhdAddress(uri string) (group, account, container string) {
	u, err := url.Parse(uri)
	if err != nil {
		return "storage", "", ""
	}
	account, _, _ = strings.Cut(u.Host, ".")
	container, _, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return "storage", account, container
}
