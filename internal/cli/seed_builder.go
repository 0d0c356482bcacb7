package cli

import (
	"context"
	"fmt"
	"strings"

	"ingot/internal/azure"
	"ingot/internal/engine/aib"
	"ingot/internal/image"
)

// rehearsalIdentity is who Image Builder builds as in a rehearsal whose template names nobody.
const rehearsalIdentity = "ingot-image-builder"

// seedBuilder puts into a fresh embedded Azure what a build with Image Builder takes for granted: the identity, with its roles on what the
// template names, the groups and the storage account of the engine block, and the registered providers' due. It runs after everything
// else is there.
func (s *session) seedBuilder(ctx context.Context, img *image.Image, sub, location string, add func(what, id string, body map[string]any) error, made *[]string) error {
	b := &img.Engine.Builder
	if g := b.ResourceGroup; g != "" {
		if err := add("resource group "+g, "/subscriptions/"+sub+"/resourceGroups/"+g, map[string]any{"location": location}); err != nil {
			return err
		}
	}
	for _, id := range append([]string{b.StorageAccount, img.Managed.StagingGroup}, img.Machine.Identities...) {
		if err := s.seedByID(id, location, add); err != nil {
			return err
		}
	}
	if b.CreateIdentity {
		return nil
	}
	id := b.Identity
	if id == "" && len(img.Managed.Identities) > 0 {
		id = img.Managed.Identities[0]
	}
	if id == "" {
		id = "/subscriptions/" + sub + "/resourceGroups/identities/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + rehearsalIdentity
		b.Identity = id
	}
	if err := s.seedByID(id, location, add); err != nil {
		return err
	}
	who, err := s.cloud.GetIdentity(ctx, id)
	if err != nil {
		return fmt.Errorf("cannot prepare the simulated Azure: %w", err)
	}
	roles := 0
	facts := image.Facts{Subscription: sub, Accounts: map[string]string{}}
	for _, t := range img.Targets {
		if v, ok := t.(image.ToVHD); ok && v.URI != "" {
			group, account, _ := vhdAddress(v.URI)
			facts.Accounts[account] = "/subscriptions/" + sub + "/resourceGroups/" + group + "/providers/Microsoft.Storage/storageAccounts/" + account
		}
	}
	for _, r := range aib.RolesFor(img, facts, who.PrincipalID, "rehearsal") {
		err := s.cloud.AssignRole(ctx, r)
		if azure.IsNotFound(err) { // a gallery that the build is to make: whoever builds for real gives the role on its group
			r.Scope = r.Scope[:strings.Index(r.Scope+"/providers/", "/providers/")]
			err = s.cloud.AssignRole(ctx, r)
		}
		if err != nil {
			return fmt.Errorf("cannot prepare the simulated Azure: %w", err)
		}
		roles++
	}
	if roles > 0 {
		*made = append(*made, fmt.Sprintf("its roles (%d)", roles))
	}
	return nil
}

// seedByID makes a resource or group that the template names by its id.
func (s *session) seedByID(id, location string, add func(what, id string, body map[string]any) error) error {
	p := strings.Split(id, "/")
	if len(p) < 5 {
		return nil
	}
	if err := add("resource group "+p[4], strings.Join(p[:5], "/"), map[string]any{"location": location}); err != nil || len(p) != 9 {
		return err
	}
	switch strings.ToLower(p[6] + "/" + p[7]) {
	case "microsoft.managedidentity/userassignedidentities":
		return add("identity "+p[8], id, map[string]any{"location": location})
	case "microsoft.storage/storageaccounts":
		return add("storage account "+p[8], id, map[string]any{"location": location, "kind": "StorageV2", "sku": map[string]any{"name": "Standard_LRS"}, "properties": map[string]any{}})
	}
	return nil
}
