package imagebuilder

import "strings"

// Regions are where the service runs; it distributes anywhere (reference azure-image-builder.md section 2).
func Regions() []string {
	return strings.Fields("eastus eastus2 westcentralus westus westus2 westus3 southcentralus northeurope westeurope southeastasia australiasoutheast australiaeast uksouth ukwest brazilsouth canadacentral centralindia centralus " +
		"francecentral germanywestcentral japaneast northcentralus norwayeast switzerlandnorth jioindiawest uaenorth eastasia koreacentral southafricanorth qatarcentral usgovarizona usgovvirginia chinanorth3 swedencentral polandcentral " +
		"italynorth israelcentral newzealandnorth taiwannorthwest")
}
