package spec

import (
	"net/http"
	"strings"
	"testing"

	"ingot/internal/sim"
)

// being is a resource to be made, read and listed.
type being struct{ path, version, body string }

// beings are in the order in which they need each other; $rg is the group.
func beings() []being {
	const vm = `{"location":"westeurope","properties":{"hardwareProfile":{"vmSize":"Standard_D4s_v5"},
"storageProfile":{"imageReference":{"publisher":"MicrosoftWindowsDesktop","offer":"windows-11","sku":"win11-24h2-avd","version":"latest"}},
"osProfile":{"computerName":"vm","adminUsername":"packer","adminPassword":"Test-secret-not-real-1"},
"networkProfile":{"networkInterfaces":[{"id":"$rg/providers/Microsoft.Network/networkInterfaces/nic"}]}}}`
	return []being{
		{"Microsoft.Network/networkSecurityGroups/nsg", "2024-05-01", `{"location":"westeurope","properties":{"securityRules":[{"name":"in","properties":{"priority":100,"direction":"Inbound","access":"Allow","protocol":"Tcp","sourceAddressPrefix":"10.0.0.4","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"5986"}}]}}`},
		{"Microsoft.Network/publicIPAddresses/ip", "2024-05-01", `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`},
		{"Microsoft.Network/virtualNetworks/net", "2024-05-01", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`},
		{"Microsoft.Network/virtualNetworks/net/subnets/b", "2024-05-01", `{"properties":{"addressPrefix":"10.0.1.0/24"}}`},
		{"Microsoft.Network/networkInterfaces/nic", "2024-05-01", `{"location":"westeurope","properties":{"networkSecurityGroup":{"id":"$rg/providers/Microsoft.Network/networkSecurityGroups/nsg"},"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"$rg/providers/Microsoft.Network/virtualNetworks/net/subnets/s"},"publicIPAddress":{"id":"$rg/providers/Microsoft.Network/publicIPAddresses/ip"}}}]}}`},
		{"Microsoft.KeyVault/vaults/specvault1", "2023-07-01", `{"location":"westeurope","properties":{"tenantId":"` + sim.DefaultTenant + `","sku":{"family":"A","name":"standard"},"accessPolicies":[]}}`},
		{"Microsoft.Storage/storageAccounts/specaccount1", "2023-05-01", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"},"properties":{}}`},
		{"Microsoft.ManagedIdentity/userAssignedIdentities/id", "2023-01-31", `{"location":"westeurope"}`},
		{"Microsoft.Compute/disks/d", "2023-10-02", `{"location":"westeurope","sku":{"name":"Premium_LRS"},"properties":{"creationData":{"createOption":"Empty"},"diskSizeGB":8}}`},
		{"Microsoft.Compute/snapshots/sn", "2023-10-02", `{"location":"westeurope","properties":{"creationData":{"createOption":"Copy","sourceResourceId":"$rg/providers/Microsoft.Compute/disks/d"}}}`},
		{"Microsoft.Compute/virtualMachines/vm", "2024-07-01", vm},
		{"Microsoft.Compute/galleries/g", "2023-07-03", `{"location":"westeurope","properties":{}}`},
		{"Microsoft.Compute/galleries/g/images/i", "2023-07-03", `{"location":"westeurope","properties":{"osType":"Windows","osState":"Generalized","hyperVGeneration":"V2","identifier":{"publisher":"p","offer":"o","sku":"s"}}}`},
		{"Microsoft.DesktopVirtualization/hostPools/pool", "2024-04-03", `{"location":"westeurope","properties":{"hostPoolType":"Pooled","loadBalancerType":"BreadthFirst","preferredAppGroupType":"Desktop"}}`},
		{"Microsoft.DesktopVirtualization/applicationGroups/ag", "2024-04-03", `{"location":"westeurope","properties":{"applicationGroupType":"Desktop","hostPoolArmPath":"$rg/providers/Microsoft.DesktopVirtualization/hostPools/pool"}}`},
		{"Microsoft.Authorization/locks/l", "2020-05-01", `{"properties":{"level":"CanNotDelete"}}`},
		{"Microsoft.Authorization/roleAssignments/11111111-1111-4111-8111-111111111111", "2022-04-01", `{"properties":{"roleDefinitionId":"` + subscription + `/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7","principalId":"$principal","principalType":"ServicePrincipal"}}`},
	}
}

// live makes everything, reads it, lists it, asks a machine for what it knows, and removes it all again.
func live(t *testing.T, rt http.RoundTripper) {
	token := signIn(t, rt)
	do := func(method, path, version, body string) map[string]any {
		t.Helper()
		if !strings.HasPrefix(path, "/") {
			path = group + "/providers/" + path
		}
		return call(t, rt, token, method, path, version, body)
	}
	do("PUT", group, "2021-04-01", `{"location":"westeurope"}`)
	do("GET", group, "2021-04-01", "")
	do("GET", subscription+"/resourceGroups", "2021-04-01", "")
	do("GET", subscription, "2022-12-01", "")
	principal := ""
	all := beings()
	for _, b := range all {
		do("PUT", b.path, b.version, strings.NewReplacer("$rg", group, "$principal", principal).Replace(b.body))
		m := do("GET", b.path, b.version, "")
		if p, ok := m["properties"].(map[string]any)["principalId"].(string); ok && principal == "" {
			principal = p
		}
		do("GET", b.path[:strings.LastIndex(b.path, "/")], b.version, "")
	}
	do("GET", "Microsoft.Compute/virtualMachines/vm/instanceView", "2024-07-01", "")
	do("POST", "Microsoft.Compute/virtualMachines/vm/deallocate", "2024-07-01", "")
	do("GET", subscription+"/resources", "2021-04-01", "")
	do("DELETE", "Microsoft.Authorization/locks/l", "2020-05-01", "")
	do("DELETE", "Microsoft.Compute/virtualMachines/vm", "2024-07-01", "")
	do("DELETE", "Microsoft.Compute/snapshots/sn", "2023-10-02", "")
	do("DELETE", group, "2021-04-01", "")
}
