package sim

import "strings"

// geography is what the list of locations says of a region besides its names (rest/api/resources/subscriptions/list-locations; the facts are those
// of learn.microsoft.com/azure/reliability/regions-list). A region without a pair has none.
type geography struct {
	name, group, place, pair string
	zones                    bool
}

func geographies() map[string]geography {
	return map[string]geography{
		"westeurope": {"Europe", "Europe", "Netherlands", "northeurope", true}, "northeurope": {"Europe", "Europe", "Ireland", "westeurope", true},
		"germanywestcentral": {"Germany", "Europe", "Frankfurt", "germanynorth", true}, "switzerlandnorth": {"Switzerland", "Europe", "Zurich", "switzerlandwest", true},
		"francecentral": {"France", "Europe", "Paris", "francesouth", true}, "uksouth": {"United Kingdom", "Europe", "London", "ukwest", true},
		"ukwest": {"United Kingdom", "Europe", "Cardiff", "uksouth", false}, "swedencentral": {"Sweden", "Europe", "Gävle", "swedensouth", true},
		"norwayeast": {"Norway", "Europe", "Norway", "norwaywest", true}, "polandcentral": {"Poland", "Europe", "Warsaw", "", true}, "italynorth": {"Italy", "Europe", "Milan", "", true},
		"eastus": {"United States", "US", "Virginia", "westus", true}, "eastus2": {"United States", "US", "Virginia", "centralus", true}, "centralus": {"United States", "US", "Iowa", "eastus2", true},
		"southcentralus": {"United States", "US", "Texas", "northcentralus", true}, "northcentralus": {"United States", "US", "Illinois", "southcentralus", false},
		"westus": {"United States", "US", "California", "eastus", false}, "westus2": {"United States", "US", "Washington", "westcentralus", true}, "westus3": {"United States", "US", "Phoenix", "eastus", true},
		"westcentralus": {"United States", "US", "Wyoming", "westus2", false}, "centraluseuap": {"Canary (US)", "US", "", "eastus2euap", false}, "eastus2euap": {"Canary (US)", "US", "", "centraluseuap", true},
		"canadacentral": {"Canada", "Canada", "Toronto", "canadaeast", true}, "brazilsouth": {"Brazil", "South America", "Sao Paulo State", "southcentralus", true},
		"southeastasia": {"Asia Pacific", "Asia Pacific", "Singapore", "eastasia", true}, "eastasia": {"Asia Pacific", "Asia Pacific", "Hong Kong", "southeastasia", true},
		"japaneast": {"Japan", "Asia Pacific", "Tokyo, Saitama", "japanwest", true}, "australiaeast": {"Australia", "Asia Pacific", "New South Wales", "australiasoutheast", true},
		"centralindia": {"India", "Asia Pacific", "Pune", "southindia", true}, "southafricanorth": {"South Africa", "Africa", "Johannesburg", "southafricawest", true},
		"uaenorth": {"UAE", "Middle East", "Dubai", "uaecentral", true},
	}
}

// body is a region's entry in the list of locations. Its coordinates are left out: no two sources agree, and nobody builds by them.
func (r region) body(sub string) map[string]any {
	root := "/subscriptions/" + sub + "/locations/"
	g := geographies()[r.name]
	pairs := []any{}
	if g.pair != "" {
		pairs = append(pairs, map[string]any{"name": g.pair, "id": root + g.pair})
	}
	b := map[string]any{"id": root + r.name, "name": r.name, "type": "Region", "displayName": r.display, "regionalDisplayName": "(" + g.group + ") " + r.display,
		"metadata": map[string]any{"regionType": "Physical", "regionCategory": "Recommended", "geography": g.name, "geographyGroup": g.group, "physicalLocation": g.place, "pairedRegion": pairs}}
	if g.zones {
		var zones []any
		for _, n := range []string{"1", "2", "3"} {
			zones = append(zones, map[string]any{"logicalZone": n, "physicalZone": strings.ToLower(r.name) + "-az" + n})
		}
		b["availabilityZoneMappings"] = zones
	}
	return b
}
