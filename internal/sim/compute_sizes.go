package sim

import "strings"

// vmSize is a machine size: the facts Resource Manager's SKU list gives and the rules of VM creation use.
type vmSize struct {
	name     string
	family   string
	familyUI string // the family's name as quota texts and usages say it
	cores    int
	memoryMB int
	disks    int
	tempMB   int
	gens     string // HyperVGenerations: "V1", "V1,V2" or "V2"
	trusted  bool   // Trusted Launch is possible
}

// vmSizes are the sizes on offer in every region. Gen 1 only: the old A and v1 sizes
// (learn.microsoft.com/azure/virtual-machines/generation-2).
func vmSizes() []vmSize {
	return []vmSize{
		{"Standard_A1", "standardA0_A7Family", "Standard A0-A7 Family vCPUs", 1, 1792, 2, 71680, "V1", false},
		{"Standard_A2", "standardA0_A7Family", "Standard A0-A7 Family vCPUs", 2, 3584, 4, 138240, "V1", false},
		{"Standard_A2_v2", "standardAv2Family", "Standard Av2 Family vCPUs", 2, 4096, 4, 20480, "V1", false},
		{"Standard_D2_v2", "standardDv2Family", "Standard Dv2 Family vCPUs", 2, 7168, 8, 102400, "V1", false},
		{"Standard_D1_v2", "standardDv2Family", "Standard Dv2 Family vCPUs", 1, 3584, 4, 51200, "V1", false},
		{"Standard_DS1", "standardDSFamily", "Standard DS Family vCPUs", 1, 3584, 4, 7168, "V1", false},
		{"Standard_DS2", "standardDSFamily", "Standard DS Family vCPUs", 2, 7168, 8, 14336, "V1", false},
		{"Standard_DS3", "standardDSFamily", "Standard DS Family vCPUs", 4, 14336, 16, 28672, "V1", false},
		{"Standard_DS1_v2", "standardDSv2Family", "Standard DSv2 Family vCPUs", 1, 3584, 4, 7168, "V1,V2", true},
		{"Standard_DS2_v2", "standardDSv2Family", "Standard DSv2 Family vCPUs", 2, 7168, 8, 14336, "V1,V2", true},
		{"Standard_DS3_v2", "standardDSv2Family", "Standard DSv2 Family vCPUs", 4, 14336, 16, 28672, "V1,V2", true},
		{"Standard_DS4_v2", "standardDSv2Family", "Standard DSv2 Family vCPUs", 8, 28672, 32, 57344, "V1,V2", true},
		{"Standard_E8as_v4", "standardEASv4Family", "Standard EASv4 Family vCPUs", 8, 65536, 16, 131072, "V1,V2", true},
		{"Standard_B2s", "standardBSFamily", "Standard BS Family vCPUs", 2, 4096, 4, 8192, "V1,V2", true},
		{"Standard_B2ms", "standardBSFamily", "Standard BS Family vCPUs", 2, 8192, 4, 16384, "V1,V2", true},
		{"Standard_B4ms", "standardBSFamily", "Standard BS Family vCPUs", 4, 16384, 8, 32768, "V1,V2", true},
		{"Standard_D2s_v3", "standardDSv3Family", "Standard DSv3 Family vCPUs", 2, 8192, 4, 16384, "V1,V2", true},
		{"Standard_D4s_v3", "standardDSv3Family", "Standard DSv3 Family vCPUs", 4, 16384, 8, 32768, "V1,V2", true},
		{"Standard_D8s_v3", "standardDSv3Family", "Standard DSv3 Family vCPUs", 8, 32768, 16, 65536, "V1,V2", true},
		{"Standard_D2ds_v4", "standardDDSv4Family", "Standard DDSv4 Family vCPUs", 2, 8192, 4, 76800, "V1,V2", true},
		{"Standard_D4ds_v4", "standardDDSv4Family", "Standard DDSv4 Family vCPUs", 4, 16384, 8, 153600, "V1,V2", true},
		{"Standard_D2s_v5", "standardDSv5Family", "Standard DSv5 Family vCPUs", 2, 8192, 4, 0, "V1,V2", true},
		{"Standard_D4s_v5", "standardDSv5Family", "Standard DSv5 Family vCPUs", 4, 16384, 8, 0, "V1,V2", true},
		{"Standard_D8s_v5", "standardDSv5Family", "Standard DSv5 Family vCPUs", 8, 32768, 16, 0, "V1,V2", true},
		{"Standard_D16s_v5", "standardDSv5Family", "Standard DSv5 Family vCPUs", 16, 65536, 32, 0, "V1,V2", true},
		{"Standard_D2ds_v5", "standardDDSv5Family", "Standard DDSv5 Family vCPUs", 2, 8192, 4, 76800, "V1,V2", true},
		{"Standard_D4ds_v5", "standardDDSv5Family", "Standard DDSv5 Family vCPUs", 4, 16384, 8, 153600, "V1,V2", true},
		{"Standard_D2as_v5", "standardDASv5Family", "Standard DASv5 Family vCPUs", 2, 8192, 4, 0, "V1,V2", true},
		{"Standard_D4as_v5", "standardDASv5Family", "Standard DASv5 Family vCPUs", 4, 16384, 8, 0, "V1,V2", true},
		{"Standard_D8as_v5", "standardDASv5Family", "Standard DASv5 Family vCPUs", 8, 32768, 16, 0, "V1,V2", true},
		{"Standard_E2s_v5", "standardESv5Family", "Standard ESv5 Family vCPUs", 2, 16384, 4, 0, "V1,V2", true},
		{"Standard_E4s_v5", "standardESv5Family", "Standard ESv5 Family vCPUs", 4, 32768, 8, 0, "V1,V2", true},
		{"Standard_F2s_v2", "standardFSv2Family", "Standard FSv2 Family vCPUs", 2, 4096, 4, 16384, "V1,V2", true},
		{"Standard_F4s_v2", "standardFSv2Family", "Standard FSv2 Family vCPUs", 4, 8192, 8, 32768, "V1,V2", true},
		{"Standard_E2bs_v5", "standardEBSv5Family", "Standard EBSv5 Family vCPUs", 2, 16384, 4, 0, "V1,V2", true},
		{"Standard_D2s_v6", "StandardDsv6Family", "Standard Dsv6 Family vCPUs", 2, 8192, 8, 0, "V2", true},
		{"Standard_DC4as_v5", "standardDCASv5Family", "Standard DCASv5 Family vCPUs", 4, 16384, 8, 0, "V2", false},
		{"Standard_DC2as_v5", "standardDCASv5Family", "Standard DCASv5 Family vCPUs", 2, 8192, 4, 0, "V2", false},
	}
}

// findSize looks a size up without case.
func findSize(name string) (vmSize, bool) {
	for _, s := range vmSizes() {
		if strings.EqualFold(s.name, name) {
			return s, true
		}
	}
	return vmSize{}, false
}

// region is a place of the simulated Azure, with the name gallery answers show it by ("West Europe").
type region struct{ name, display string }

func regions() []region {
	return []region{
		{"westeurope", "West Europe"}, {"northeurope", "North Europe"}, {"germanywestcentral", "Germany West Central"},
		{"switzerlandnorth", "Switzerland North"}, {"francecentral", "France Central"}, {"uksouth", "UK South"}, {"ukwest", "UK West"},
		{"swedencentral", "Sweden Central"}, {"norwayeast", "Norway East"}, {"polandcentral", "Poland Central"}, {"italynorth", "Italy North"},
		{"eastus", "East US"}, {"eastus2", "East US 2"}, {"centralus", "Central US"}, {"southcentralus", "South Central US"},
		{"northcentralus", "North Central US"}, {"westus", "West US"}, {"westus2", "West US 2"}, {"westus3", "West US 3"},
		{"canadacentral", "Canada Central"}, {"brazilsouth", "Brazil South"}, {"southeastasia", "Southeast Asia"}, {"eastasia", "East Asia"},
		{"japaneast", "Japan East"}, {"australiaeast", "Australia East"}, {"centralindia", "Central India"}, {"southafricanorth", "South Africa North"},
		{"uaenorth", "UAE North"}, {"westcentralus", "West Central US"}, {"centraluseuap", "Central US EUAP"}, {"eastus2euap", "East US 2 EUAP"},
	}
}

// findRegion accepts a region's name or display name, in any case.
func findRegion(name string) (region, bool) {
	n := regionKey(name)
	for _, r := range regions() {
		if r.name == n {
			return r, true
		}
	}
	return region{}, false
}

// regionKey is a region's name as ids have it: "West Europe" is "westeurope".
func regionKey(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }
