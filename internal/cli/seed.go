package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"

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
		try(add("virtual network "+n.VNet, inGroup(sub, rg, "Microsoft.Network/virtualNetworks/"+n.VNet), map[string]any{"location": location,
			"properties": map[string]any{"addressSpace": map[string]any{"addressPrefixes": []any{"10.0.0.0/16"}},
				"subnets": []any{map[string]any{"name": subnet, "properties": map[string]any{"addressPrefix": "10.0.0.0/24"}}}}}))
	}
	for _, t := range img.Targets {
		switch t := t.(type) {
		case image.ToManagedImage:
			try(group(sub, t.ResourceGroup))
		case image.ToGallery:
			at := t.Subscription
			if at == "" {
				at = sub
			}
			try(group(at, t.ResourceGroup))
			gallery := inGroup(at, t.ResourceGroup, "Microsoft.Compute/galleries/"+t.Gallery)
			try(add("gallery "+t.Gallery, gallery, map[string]any{"location": location, "properties": map[string]any{}}))
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
	return made, nil
}
