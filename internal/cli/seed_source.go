package cli

import (
	"fmt"
	"net/url"
	"strings"

	"ingot/internal/image"
)

// seedSource puts into a fresh embedded Azure what the source takes for granted: that the terms of its plan are accepted, and a VHD in a storage
// account.
func (s *session) seedSource(img *image.Image, add func(what, id string, body map[string]any) error, group func(sub, name string) error, inGroup func(sub, rg, path string) string,
	sub, location string, made *[]string) error {
	if m, ok := img.Source.(image.Marketplace); ok && m.Plan != nil {
		if err := s.sim.AcceptTerms(m.Plan.Publisher, m.Plan.Product, m.Plan.Name); err != nil {
			return fmt.Errorf("cannot prepare the simulated Azure: %w", err)
		}
		*made = append(*made, "accepted terms of plan "+m.Plan.Name)
	}
	v, ok := img.Source.(image.VHD)
	if !ok {
		return nil
	}
	u, err := url.Parse(v.URL)
	if err != nil {
		return nil // the template's own problem
	}
	account, _, _ := strings.Cut(u.Hostname(), ".")
	if err := group(sub, "storage"); err != nil {
		return err
	}
	if err := add("storage account "+account, inGroup(sub, "storage", "Microsoft.Storage/storageAccounts/"+account), map[string]any{"location": location, "kind": "StorageV2", "sku": map[string]any{"name": "Standard_LRS"}}); err != nil {
		return err
	}
	if err := s.sim.SeedVHD(v.URL); err != nil {
		return fmt.Errorf("cannot prepare the simulated Azure: %w", err)
	}
	*made = append(*made, "the VHD "+v.URL)
	return nil
}
