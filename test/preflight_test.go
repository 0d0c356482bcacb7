package test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPreflight: each thing that would stop a build later stops it before anything is made, with what to do about it; all of them at once
// where there are several.
func TestPreflight(t *testing.T) {
	t.Parallel()
	const sub = "/subscriptions/" + tested
	const net = sub + "/resourceGroups/rg-net/providers/Microsoft.Network/"
	const gallery = sub + "/resourceGroups/rg-images/providers/Microsoft.Compute/galleries/galAvd"
	seed := func(subnet, more string) string {
		return `, {"id": "` + sub + `/resourceGroups/rg-net", "body": {"location": "westeurope"}}` + more + `,
  {"id": "` + net + `virtualNetworks/vnet1", "body": {"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}, "subnets": [
   {"name": "hosts", "properties": {` + subnet + `}}]}}}`
	}
	const inNet = `
  virtual_network_name                = "vnet1"
  virtual_network_subnet_name         = "hosts"
  virtual_network_resource_group_name = "rg-net"`
	rule := func(name, access, source string, priority int) string {
		return fmt.Sprintf(`{"name": %q, "properties": {"priority": %d, "direction": "Inbound", "access": %q, "protocol": "Tcp", "sourceAddressPrefix": %q, "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "5000-6000"}}`, name, priority, access, source)
	}
	nsg := func(rules ...string) string {
		return `, {"id": "` + net + `networkSecurityGroups/guard", "body": {"location": "westeurope", "properties": {"securityRules": [` + strings.Join(rules, ",") + `]}}}`
	}
	const guarded = `"addressPrefix": "10.1.0.0/24", "networkSecurityGroup": {"id": "` + net + `networkSecurityGroups/guard"}`
	vault := func(properties string) string {
		return `, {"id": "` + sub + `/resourceGroups/rg-build", "body": {"location": "westeurope"}},
  {"id": "` + sub + `/resourceGroups/rg-build/providers/Microsoft.KeyVault/vaults/kvbuild", "body": {"location": "westeurope", "properties": {"tenantId": "00000000-0000-4000-8000-00000000b001", "sku": {"family": "A", "name": "standard"}, ` + properties + `}}}`
	}
	const inVault = `
  build_resource_group_name = "rg-build"
  build_key_vault_name      = "kvbuild"`
	object := owner(t)
	put := func(id, body string) []string { return []string{id, body} }
	for name, c := range map[string]struct {
		template, seeds, scenario string
		put                       []string // id and body of what is made before
		want                      []string // "" for none: it must be valid
		code                      int      // 0: 10, a template problem
	}{
		"nothing is wrong": {},
		"a provider that is not registered": {scenario: `, "unregistered": ["Microsoft.Network"]`,
			want: []string{"not registered for Microsoft.Network", "az provider register --namespace Microsoft.Network --wait"}},
		"the region's quota": {scenario: `, "quota": {"westeurope": 1}`, want: []string{"needs 2 of Total Regional vCPUs in westeurope, and 0 of 1 are in use", "choose a smaller size"}},
		"the family's quota": {scenario: `, "familyQuota": {"westeurope": {"standardDSv5Family": 1}}`, want: []string{"and 0 of 1 are in use"}},
		"several at once":    {scenario: `, "unregistered": ["Microsoft.KeyVault"], "quota": {"westeurope": 1}`, want: []string{"not registered for Microsoft.KeyVault", "Total Regional vCPUs"}},
		"a policy on tags": {put: put(sub+"/providers/Microsoft.Authorization/policyAssignments/costs", `{"properties":{"policyDefinitionId":"/providers/Microsoft.Authorization/policyDefinitions/871b6d14-10aa-478d-b590-94f262ecfa99","parameters":{"tagName":{"value":"costCentre"}}}}`),
			want: []string{"policy assignment costs denies", "Microsoft.Compute/virtualMachines", "azure_tags"}},
		"a policy on regions": {put: put(sub+"/providers/Microsoft.Authorization/policyAssignments/where", `{"properties":{"policyDefinitionId":"/providers/Microsoft.Authorization/policyDefinitions/e56962a6-4747-49cd-b67b-bf8b01975c4c","parameters":{"listOfAllowedLocations":{"value":["northeurope"]}}}}`),
			want: []string{"policy assignment where denies", "in westeurope"}},
		"a deny assignment": {put: put(sub+"/providers/Microsoft.Authorization/denyAssignments/0d000000-0000-4000-8000-000000000001", `{"properties":{"denyAssignmentName":"no new machines","permissions":[{"actions":["Microsoft.Compute/virtualMachines/*"],"notActions":["*/read"]}],"principals":[{"id":"00000000-0000-0000-0000-000000000000","type":"SystemDefined"}]}}`),
			code: 4, want: []string{"deny assignment no new machines forbids this to the identity", "on " + sub + ": Microsoft.Compute/virtualMachines/", "az role deny-assignment delete --ids"}},
		"a deny assignment on the gallery, of a deployment stack": {put: put(gallery+"/providers/Microsoft.Authorization/denyAssignments/0d000000-0000-4000-8000-000000000002", `{"properties":{"denyAssignmentName":"stack","isSystemProtected":true,"permissions":[{"actions":["*/write"]}],"principals":[{"id":"00000000-0000-0000-0000-000000000000","type":"SystemDefined"}]}}`),
			code: 4, want: []string{"deny assignment stack forbids this", "Microsoft.Compute/galleries/images/versions/write", "belongs to a managed application or a deployment stack"}},
		"a deny assignment that leaves this identity out": {put: put(sub+"/providers/Microsoft.Authorization/denyAssignments/0d000000-0000-4000-8000-000000000003", `{"properties":{"denyAssignmentName":"others","permissions":[{"actions":["*"]}],"principals":[{"id":"00000000-0000-0000-0000-000000000000","type":"SystemDefined"}],"excludePrincipals":[{"id":"`+object+`","type":"ServicePrincipal"}]}}`)},
		"a lock on the subscription": {put: put(sub+"/providers/Microsoft.Authorization/locks/keep", `{"properties":{"level":"CanNotDelete"}}`),
			want: []string{"lock keep on " + sub + " forbids deleting", "az lock delete --ids"}},
		"a lock on the gallery": {put: put(sub+"/resourceGroups/rg-images/providers/Microsoft.Authorization/locks/still", `{"properties":{"level":"ReadOnly"}}`),
			want: []string{"the image cannot be published there"}},
		"a subnet with room":       {template: inNet, seeds: seed(`"addressPrefix": "10.1.0.0/24"`, "")},
		"a subnet that is missing": {template: strings.Replace(inNet, "hosts", "none", 1), seeds: seed(`"addressPrefix": "10.1.0.0/24"`, ""), want: []string{"subnet none of virtual network vnet1 does not exist"}},
		"a network that is missing": {template: strings.Replace(inNet, `"vnet1"`, `"vnet2"`, 1), seeds: seed(`"addressPrefix": "10.1.0.0/24"`, ""),
			want: []string{"subnet hosts of virtual network vnet2 does not exist in resource group rg-net"}},
		"a subnet that is delegated": {template: inNet, seeds: seed(`"addressPrefix": "10.1.0.0/24", "delegations": [{"name": "d", "properties": {"serviceName": "Microsoft.Web/serverFarms"}}]`, ""),
			want: []string{"delegated to Microsoft.Web/serverFarms"}},
		"a rule that denies": {template: inNet, seeds: seed(guarded, nsg(rule("no-one", "Deny", "*", 200))),
			want: []string{"rule no-one of security group guard denies TCP 5986", "lower priority number than 200"}},
		"a public address that nothing opens": {template: inNet + "\n  private_virtual_network_with_public_ip = true", seeds: seed(`"addressPrefix": "10.1.0.0/24"`, ""),
			want: []string{"subnet hosts of vnet1 has none", "network security group that allows TCP 5986"}},
		"a rule that allows first": {template: inNet, seeds: seed(guarded, nsg(rule("no-one", "Deny", "*", 200), rule("ops", "Allow", "*", 100)))},
		"a vault as it should be":  {template: inVault, seeds: vault(`"enabledForDeployment": true, "accessPolicies": [{"tenantId": "00000000-0000-4000-8000-00000000b001", "objectId": "OID", "permissions": {"secrets": ["Get", "Set", "Delete"]}}]`)},
		"a vault for a secret's name of one's own": {template: inVault + "\n  build_key_vault_secret_name = \"listener\"", seeds: vault(`"enabledForDeployment": true, "accessPolicies": [{"tenantId": "00000000-0000-4000-8000-00000000b001", "objectId": "OID", "permissions": {"secrets": ["Get", "Set", "Delete"]}}]`),
			want: []string{"has no access policy in key vault kvbuild to list, purge secrets", "--secret-permissions get set delete list purge"}},
		"a vault that machines may not use": {template: inVault, seeds: vault(`"accessPolicies": [{"tenantId": "00000000-0000-4000-8000-00000000b001", "objectId": "OID", "permissions": {"secrets": ["Get"]}}]`),
			want: []string{"does not let machines fetch certificates", "--enabled-for-deployment true", "has no access policy in key vault kvbuild to set, delete secrets", "az keyvault set-policy"}},
		"a vault that goes by roles": {template: inVault, seeds: vault(`"enabledForDeployment": true, "enableRbacAuthorization": true, "accessPolicies": []`),
			want: []string{"goes by roles: Microsoft.KeyVault/vaults/secrets/", "Key Vault Secrets Officer"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serveScenario(t, strings.TrimSuffix(strings.Replace(seeds, "\n]}", strings.ReplaceAll(c.seeds, "OID", object)+"\n]}", 1), "}")+c.scenario+"}")
			if c.put != nil {
				a.arm(t, http.MethodPut, c.put[0], json.RawMessage(c.put[1]))
			}
			dir := t.TempDir()
			text := strings.Replace(source, `os_type         = "Windows"`, `os_type         = "Windows"`+c.template, 1)
			if strings.Contains(c.template, "build_resource_group_name") {
				text = strings.Replace(text, `location`, `# location`, 1)
			}
			for file, body := range map[string]string{"build.pkr.hcl": text, "script.ps1": "exit 0", "payload.txt": "x"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(body), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := a.made(t)
			for _, command := range [][]string{{"validate", "--online"}, {"build"}} {
				r := a.ingot(t, t.TempDir(), []string{"PKR_VAR_token=x"}, append(command, dir)...)
				if c.want == nil {
					if r.code != 0 || strings.Contains(r.out, "could not be checked") {
						t.Errorf("%v: exit code %d\n%s", command, r.code, r.out)
					}
					continue
				}
				if r.code != cmp.Or(c.code, 10) {
					t.Errorf("%v: exit code %d\n%s", command, r.code, r.out)
				}
				for _, w := range c.want {
					if !strings.Contains(r.out, w) {
						t.Errorf("%v does not say %q:\n%s", command, w, r.out)
					}
				}
				if versions, _ := a.made(t); len(versions) != len(before) {
					t.Errorf("%v made something", command)
				}
			}
		})
	}
}

// owner is the object id of the simulated Azure's default account.
func owner(t *testing.T) string {
	t.Helper()
	r := (&azure{}).ingot(t, t.TempDir(), []string{"INGOT_SIM=", "INGOT_SIM_LATENCY=none", "PKR_VAR_token=x"}, "validate", "--online", template(t))
	_, after, _ := strings.Cut(r.out, "(object id ")
	id, _, ok := strings.Cut(after, ",")
	if r.code != 0 || !ok {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	return id
}
