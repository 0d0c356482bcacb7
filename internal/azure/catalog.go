package azure

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// MarketplaceVersions lists the versions of a SKU that a region has.
func (c *Client) MarketplaceVersions(ctx context.Context, location, publisher, offer, sku string) ([]string, error) {
	r, err := c.market.List(ctx, location, publisher, offer, sku, nil)
	if err != nil {
		return nil, wrap(err, "list the versions of %s:%s:%s", publisher, offer, sku)
	}
	var out []string
	for _, v := range r.VirtualMachineImageResourceArray {
		out = append(out, val(v.Name))
	}
	return out, nil
}

// MarketplaceImage describes one version.
func (c *Client) MarketplaceImage(ctx context.Context, location, publisher, offer, sku, version string) (MarketplaceImage, error) {
	r, err := c.market.Get(ctx, location, publisher, offer, sku, version, nil)
	if err != nil {
		return MarketplaceImage{}, wrap(err, "look up %s:%s:%s:%s", publisher, offer, sku, version)
	}
	var m MarketplaceImage
	p := r.Properties
	if p == nil {
		return m, nil
	}
	m.Generation = string(val(p.HyperVGeneration))
	if p.OSDiskImage != nil {
		m.OS = string(val(p.OSDiskImage.OperatingSystem))
	}
	for _, d := range p.DataDiskImages {
		m.DataLUNs = append(m.DataLUNs, val(d.Lun))
	}
	for _, f := range p.Features {
		if val(f.Name) == "SecurityType" {
			m.SecurityType = val(f.Value)
		}
	}
	if p.Plan != nil {
		m.Plan = &PurchasePlan{Name: val(p.Plan.Name), Product: val(p.Plan.Product), Publisher: val(p.Plan.Publisher)}
	}
	return m, nil
}

// VMSize looks a size up in a region; an unknown one is a not-found error. The list is Azure's own of sizes by region
// (https://learn.microsoft.com/rest/api/compute/resource-skus/list), which also tells what this subscription may not use.
func (c *Client) VMSize(ctx context.Context, location, name string) (Size, error) {
	filter := "location eq '" + location + "'"
	for p := c.skus.NewListPager(&armcompute.ResourceSKUsClientListOptions{Filter: &filter}); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return Size{}, wrap(err, "list the VM sizes of %s", location)
		}
		for _, s := range page.Value {
			if val(s.ResourceType) == "virtualMachines" && strings.EqualFold(val(s.Name), name) {
				return sizeOf(s, location), nil
			}
		}
	}
	return Size{}, &Error{Op: fmt.Sprintf("look up VM size %s in %s", name, location), Status: http.StatusNotFound, Code: "NotFound", Message: "Azure lists no such size there"}
}

func sizeOf(s *armcompute.ResourceSKU, location string) Size {
	out := Size{Name: val(s.Name), Family: val(s.Family)}
	for _, k := range s.Capabilities {
		switch val(k.Name) {
		case "vCPUs":
			out.VCPUs, _ = strconv.Atoi(val(k.Value)) //nolint:errcheck // a number by contract; 0 is "unknown"
		case "MemoryGB":
			gb, _ := strconv.ParseFloat(val(k.Value), 64) //nolint:errcheck // as above
			out.MemoryMB = int(gb * 1024)
		case "HyperVGenerations":
			out.Generations = strings.Split(val(k.Value), ",")
		case "ConfidentialComputingType":
			out.Confidential = val(k.Value)
		case "DiskControllerTypes":
			for _, t := range strings.Split(val(k.Value), ",") {
				out.Controllers = append(out.Controllers, strings.TrimSpace(t))
			}
		case "LowPriorityCapable":
			out.LowPriority = strings.EqualFold(val(k.Value), "True")
		case "PremiumIO":
			out.Premium = strings.EqualFold(val(k.Value), "True")
		case "AcceleratedNetworkingEnabled":
			out.Accelerated = strings.EqualFold(val(k.Value), "True")
		case "EncryptionAtHostSupported":
			out.HostEncrypts = strings.EqualFold(val(k.Value), "True")
		}
	}
	for _, r := range s.Restrictions {
		// A restriction of zones leaves the region usable.
		if val(r.Type) == armcompute.ResourceSKURestrictionsTypeLocation {
			for _, l := range r.Values {
				if strings.EqualFold(val(l), location) {
					out.Restrictions = append(out.Restrictions, string(val(r.ReasonCode)))
				}
			}
		}
	}
	return out
}
