package test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/sim"
)

var update = flag.Bool("update", false, "rewrite docs/reference/az.md")

// azStep is a command of az, how it must end and what it must show. $RG is the id of the story's resource group, $SA the settings of its
// storage account, $DIR a folder; what a step prints is kept under its keep.
type azStep struct {
	command string
	code    int
	want    string
	keep    string
}

// azStories are what Debian's azure-cli 2.45 can do against the simulated Azure, by profile of the cloud: the modules for VMs, images and
// networks of the profile "latest" do not load in Debian's packaging, those of 2020-09-01-hybrid do. Ends other than 0
// are Azure's own refusals, word for word.
func azStories() map[string][]azStep {
	const avd = "$RG/providers/Microsoft.DesktopVirtualization/hostPools/pool"
	const auth = "$RG/providers/Microsoft.Authorization/roleAssignments/11111111-1111-4111-8111-111111111111?api-version=2022-04-01"
	return map[string][]azStep{
		"latest": {
			{command: "account show", want: "Simulated"},
			{command: "account list-locations", want: "West Europe"},
			{command: "group create -n $G -l westeurope --tags a=b", want: `"Succeeded"`},
			{command: "group show -n $G", want: `"a": "b"`},
			{command: "group exists -n $G", want: "true"},
			{command: "group exists -n none", want: "false"},
			{command: "group list", want: "$G"},
			{command: "group show -n none", code: 3, want: "ResourceGroupNotFound"},
			{command: "provider list --query [].namespace", want: "Microsoft.Compute"},
			{command: "provider show -n Microsoft.Compute --query registrationState", want: "Registered"},
			{command: "provider unregister -n Microsoft.DesktopVirtualization"},
			{command: "rest --method put --url " + avd + `?api-version=2024-04-03 --body {"location":"westeurope","properties":{"hostPoolType":"Pooled","loadBalancerType":"BreadthFirst"}}`, code: 1, want: "MissingSubscriptionRegistration"},
			{command: "provider register -n Microsoft.DesktopVirtualization"},
			{command: "identity create -g $G -n id1", want: "clientId"},
			{command: "identity list -g $G", want: "id1"},
			{command: "identity show -g $G -n id1 --query principalId -o tsv", keep: "$PRINCIPAL"},
			{command: "disk create -g $G -n d1 --size-gb 4 --hyper-v-generation V2 --os-type Linux", want: `"Succeeded"`},
			{command: "disk show -g $G -n d1 --query diskState", want: "Unattached"},
			{command: "disk update -g $G -n d1 --size-gb 8 --query diskSizeGb", want: "8"},
			{command: "disk grant-access -g $G -n d1 --duration-in-seconds 3600", want: "blob.storage.localhost"},
			{command: "disk delete -g $G -n d1 -y", code: 1, want: "active"},
			{command: "disk revoke-access -g $G -n d1"},
			{command: "snapshot create -g $G -n s1 --source d1 --hyper-v-generation V2", want: `"Succeeded"`},
			{command: "snapshot list -g $G", want: "s1"},
			{command: "sig create -g $G -r gal1", want: `"Succeeded"`},
			{command: "sig image-definition create -g $G -r gal1 -i def1 -p p -f o -s s --os-type Linux --hyper-v-generation V2", want: `"Succeeded"`},
			{command: "sig image-version create -g $G -r gal1 -i def1 -e 1.0.0 --os-snapshot s1", want: `"Succeeded"`},
			{command: "sig image-version show -g $G -r gal1 -i def1 -e 1.0.0 --query name", want: "1.0.0"},
			{command: "sig image-version list -g $G -r gal1 -i def1", want: "1.0.0"},
			{command: "sig image-version create -g $G -r gal1 -i def1 -e 1.x --os-snapshot s1", code: 1, want: "InvalidParameter"},
			{command: "sig delete -g $G -r gal1", code: 1, want: "CannotDeleteResource"},
			{command: "sig image-version delete -g $G -r gal1 -i def1 -e 1.0.0"},
			{command: "sig image-definition delete -g $G -r gal1 -i def1"},
			{command: "sig delete -g $G -r gal1"},
			{command: "sig list -g $G", want: "[]"},
			{command: "snapshot delete -g $G -n s1"},
			{command: "disk delete -g $G -n d1 -y"},
			{command: "resource create -g $G -n gal2 --resource-type Microsoft.Compute/galleries --properties {} -l westeurope", want: "gal2"},
			{command: "resource list -g $G --query [].name", want: "gal2"},
			{command: "resource show -g $G -n gal2 --resource-type Microsoft.Compute/galleries", want: `"Succeeded"`},
			{command: "resource tag -g $G -n gal2 --resource-type Microsoft.Compute/galleries --tags a=b", want: `"a": "b"`},
			{command: "resource delete -g $G -n gal2 --resource-type Microsoft.Compute/galleries"},
			{command: "lock create -n keep -g $G --lock-type CanNotDelete", want: "CanNotDelete"},
			{command: "lock list -g $G", want: "keep"},
			{command: "group delete -n $G -y", code: 1, want: "ScopeLocked"},
			{command: "lock delete -n keep -g $G"},
			{command: `policy assignment create -n where --policy e56962a6-4747-49cd-b67b-bf8b01975c4c --params {"listOfAllowedLocations":{"value":["westeurope"]}} -g $G`, want: "where"},
			{command: "policy assignment list -g $G", want: "where"},
			{command: "disk create -g $G -n d2 --size-gb 4 -l eastus", code: 1, want: "RequestDisallowedByPolicy"},
			{command: "policy assignment delete -n where -g $G"},
			{command: "policy definition show -n e56962a6-4747-49cd-b67b-bf8b01975c4c", want: "Allowed locations"},
			{command: "storage account create -g $G -n $ACCOUNT -l westeurope --sku Standard_LRS", want: `"Succeeded"`},
			{command: "storage account show -g $G -n $ACCOUNT --query primaryEndpoints.blob", want: "blob.storage.localhost"},
			{command: "storage account keys list -g $G -n $ACCOUNT --query [0].value -o tsv", keep: "$KEY"},
			{command: "storage container create -n c one $SA", code: 2, want: "unrecognized arguments"},
			{command: "storage container create -n images $SA", want: "true"},
			{command: "storage container list $SA", want: "images"},
			{command: "storage blob upload -c images -f $DIR/hello.txt -n hello.txt $SA", want: "etag"},
			{command: "storage blob upload -c images -f $DIR/page.vhd -n page.vhd --type page $SA", want: "etag"},
			{command: "storage blob list -c images $SA --query [].name", want: "page.vhd"},
			{command: "storage blob show -c images -n hello.txt $SA", want: "BlockBlob"},
			{command: "storage blob download -c images -n hello.txt -f $DIR/again.txt $SA"},
			{command: "storage blob download -c images -n none.txt -f $DIR/none.txt $SA", code: 3, want: "BlobNotFound"},
			{command: "storage blob delete -c images -n hello.txt $SA"},
			{command: "storage account delete -g $G -n $ACCOUNT -y"},
			{command: "rest --method put --url " + avd + `?api-version=2024-04-03 --body {"location":"westeurope","properties":{"hostPoolType":"Pooled","loadBalancerType":"BreadthFirst"}}`, want: "Pooled"},
			{command: "rest --method patch --url " + avd + `?api-version=2024-04-03 --body {"properties":{"maxSessionLimit":9}}`, want: "9"},
			{command: "rest --method delete --url " + avd + "?api-version=2024-04-03"},
			{command: `rest --method put --url $RG/providers/Microsoft.KeyVault/vaults/$VAULT?api-version=2023-07-01 --body {"location":"westeurope","properties":{"tenantId":"` + sim.DefaultTenant + `","sku":{"family":"A","name":"standard"},"accessPolicies":[]}}`, want: "vaultUri"},
			{command: "keyvault list -g $G", want: "$VAULT"},
			{command: "rest --method delete --url $RG/providers/Microsoft.KeyVault/vaults/$VAULT?api-version=2023-07-01"},
			{command: "rest --url /subscriptions/" + sim.DefaultSubscription + "/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/$VAULT?api-version=2023-07-01", want: "scheduledPurgeDate"},
			{command: "rest --method put --url " + auth + ` --body {"properties":{"roleDefinitionId":"/subscriptions/` + sim.DefaultSubscription + `/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7","principalId":"$PRINCIPAL"}}`, want: "ServicePrincipal"},
			{command: "rest --method delete --url " + auth},
			{command: "vm list-skus -l westeurope --query [].name", want: "Standard_D4s_v5"},
			{command: "deployment group validate -g $G -f $DIR/deploy.json", want: `"Succeeded"`},
			{command: "deployment group create -g $G -n dep1 -f $DIR/deploy.json --parameters name=galdep", want: "galdep"},
			{command: "deployment group show -g $G -n dep1 --query properties.provisioningState", want: "Succeeded"},
			{command: "deployment operation group list -g $G -n dep1", want: "Microsoft.Compute/galleries"},
			{command: "deployment group delete -g $G -n dep1"},
			{command: "sig create -g $G -r gal3", want: `"Succeeded"`},
			{command: "sig image-definition create -g $G -r gal3 -i win11 -p p -f o -s s --os-type Windows --hyper-v-generation V2 --features SecurityType=TrustedLaunchSupported", want: `"Succeeded"`},
			{command: "image builder create -g $G -n t0 --image-template $DIR/template.json", code: 1, want: "Not authorized to access the resource"},
			{command: "image builder delete -g $G -n t0"},
			{command: "rest --method put --url " + auth + ` --body {"properties":{"roleDefinitionId":"/subscriptions/` + sim.DefaultSubscription + `/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c","principalId":"$PRINCIPAL"}}`, want: "ServicePrincipal"},
			{command: "image builder create -g $G -n t1 --image-template $DIR/template.json", want: `"Succeeded"`},
			{command: "image builder list -g $G --query [].name", want: "t1"},
			{command: "image builder show -g $G -n t1 --query source.sku", want: "win11-24h2-avd"},
			{command: "image builder run -g $G -n t1"},
			{command: "image builder show -g $G -n t1 --query lastRunStatus.runState", want: "Succeeded"},
			{command: "image builder show-runs -g $G -n t1", want: "versions/1.0.0"},
			{command: "image builder wait -g $G -n t1 --created"},
			{command: "image builder cancel -g $G -n t1"},
			{command: "sig image-version list -g $G -r gal3 -i win11 --query [].name", want: "1.0.0"},
			{command: "image builder delete -g $G -n t1"},
			{command: "group delete -n $G -y"},
			{command: "group exists -n $G", want: "false"},
		},
		"2020-09-01-hybrid": {
			{command: "group create -n $G -l westeurope", want: `"Succeeded"`},
			{command: "network vnet create -g $G -n v1 --address-prefix 10.1.0.0/16 --subnet-name s1 --subnet-prefix 10.1.0.0/24", want: `"Succeeded"`},
			{command: "network nsg create -g $G -n nsg1", want: "defaultSecurityRules"},
			{command: "network public-ip create -g $G -n ip1", want: `"Succeeded"`},
			{command: "network nic create -g $G -n nic1 --vnet-name v1 --subnet s1", want: "NewNIC"},
			{command: "network vnet list -g $G", want: "v1"},
			{command: "network vnet subnet list -g $G --vnet-name v1", want: "s1"},
			{command: "vm image list-skus -l westeurope -p Debian -f debian-12", want: "12-gen2"},
			{command: `rest --method put --url $RG/providers/Microsoft.Compute/virtualMachines/vm1?api-version=2024-07-01 --body {"location":"westeurope","properties":{"hardwareProfile":{"vmSize":"Standard_B2s"},"storageProfile":{"imageReference":{"publisher":"Debian","offer":"debian-12","sku":"12","version":"latest"}},"osProfile":{"computerName":"vm1","adminUsername":"azureuser","linuxConfiguration":{"disablePasswordAuthentication":true,"ssh":{"publicKeys":[{"path":"/home/azureuser/.ssh/authorized_keys","keyData":"ssh-ed25519AAAA"}]}}},"networkProfile":{"networkInterfaces":[{"id":"$RG/providers/Microsoft.Network/networkInterfaces/nic1"}]}}}`, want: "Creating"},
			{command: "vm create -g $G -n vm2 --image Debian:debian-12:12:latest --admin-username azureuser --ssh-key-values $DIR/key.pub --size Standard_B2s", want: "VM running"},
			{command: "vm list -g $G", want: "vm1"},
			{command: "vm get-instance-view -g $G -n vm1 --query instanceView.statuses[].code", want: "PowerState/running"},
			{command: "vm generalize -g $G -n vm1", code: 1, want: "OperationNotAllowed"},
			{command: "vm stop -g $G -n vm1"},
			{command: "vm start -g $G -n vm1"},
			{command: "vm restart -g $G -n vm1"},
			{command: "vm deallocate -g $G -n vm1"},
			{command: "vm generalize -g $G -n vm1"},
			{command: "vm start -g $G -n vm1", code: 1, want: "generalized"},
			{command: "image create -g $G -n img1 --source vm1", want: `"Succeeded"`},
			{command: "image list -g $G", want: "img1"},
			{command: "image delete -g $G -n img1"},
			{command: "network vnet delete -g $G -n v1", code: 1, want: "InUseSubnetCannotBeDeleted"},
			{command: "vm delete -g $G -n vm1 -y"},
			{command: "group delete -n $G -y"},
		},
	}
}

// azCLI is az with a configuration of its own, so that several can run side by side.
type azCLI struct {
	t    *testing.T
	env  []string
	vars map[string]string
}

func newAz(t *testing.T, a *azure, profile string) *azCLI {
	t.Helper()
	c := &azCLI{t: t, env: append(os.Environ(), "AZURE_CONFIG_DIR="+t.TempDir(), "REQUESTS_CA_BUNDLE="+a.ca, "AZURE_CORE_COLLECT_TELEMETRY=no", "AZURE_CORE_ONLY_SHOW_ERRORS=true",
		"AZURE_EXTENSION_USE_DYNAMIC_INSTALL=no"), vars: map[string]string{}}
	port := a.url[strings.LastIndex(a.url, ":")+1:]
	for _, args := range [][]string{
		{"cloud", "register", "-n", "Sim", "--endpoint-resource-manager", a.url + "/", "--endpoint-active-directory", a.url + "/adfs", "--endpoint-active-directory-resource-id", a.url + "/",
			"--endpoint-active-directory-graph-resource-id", a.url + "/graph/", "--endpoint-management", a.url + "/", "--suffix-keyvault-dns", ".vault.localhost:" + port, "--suffix-storage-endpoint", "storage.localhost:" + port},
		{"cloud", "set", "-n", "Sim", "--profile", profile},
	} {
		if code, out := c.run(args...); code != 0 {
			t.Fatalf("az %s: %d\n%s", strings.Join(args, " "), code, out)
		}
	}
	return c
}

func (c *azCLI) run(args ...string) (int, string) {
	c.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, "az", args...)
	cmd.Env = c.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Run() //nolint:errcheck // the code says how it ended
	return cmd.ProcessState.ExitCode(), out.String()
}

// step runs one of a story.
func (c *azCLI) step(s azStep) {
	fill := func(text string) string {
		text = strings.ReplaceAll(text, "$SA", c.vars["$SA"])
		for name, value := range c.vars {
			text = strings.ReplaceAll(text, name, value)
		}
		return text
	}
	var args []string
	for _, word := range strings.Fields(fill(s.command)) {
		args = append(args, fill(word))
	}
	code, out := c.run(args...)
	if code != s.code || !strings.Contains(out, fill(s.want)) {
		c.t.Errorf("az %s\nends with %d instead of %d, or does not show %q:\n%s", s.command, code, s.code, fill(s.want), out)
	}
	if s.keep != "" {
		c.vars[s.keep] = strings.TrimSpace(out)
		c.vars["$SA"] = fill("--account-name $ACCOUNT --account-key $KEY --blob-endpoint $URL/$ACCOUNT")
	}
}

func needAz(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("az"); err != nil {
		t.Skip("az is not installed (apt-get install azure-cli): Microsoft's own client is not tried against the simulated Azure")
	}
}

// TestAz lets Microsoft's own command line use the simulated Azure, unmodified.
func TestAz(t *testing.T) {
	t.Parallel() // most of it is waiting
	needAz(t)
	a := serve(t)
	var wg sync.WaitGroup
	for profile, story := range azStories() {
		wg.Go(func() {
			c := newAz(t, a, profile)
			if code, out := c.run("login", "--service-principal", "-u", sim.DefaultClientID, "-p", sim.DefaultClientSecret, "--tenant", sim.DefaultTenant); code != 0 {
				t.Errorf("login: %d\n%s", code, out)
				return
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "hello.txt"), []byte("hello\n"), 0o600); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "page.vhd"), make([]byte, 1<<20+512), 0o600); err != nil {
				t.Error(err)
			}
			short := strings.ReplaceAll(profile, "-", "")[:6]
			c.vars["$G"], c.vars["$RG"] = "rg-"+short, "/subscriptions/"+sim.DefaultSubscription+"/resourceGroups/rg-"+short
			c.vars["$DIR"], c.vars["$URL"], c.vars["$ACCOUNT"], c.vars["$VAULT"] = dir, a.url, "sa"+short, "kv-"+short
			template := strings.ReplaceAll(`{"location":"westeurope","identity":{"type":"UserAssigned","userAssignedIdentities":{"$RG/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id1":{}}},
				"properties":{"source":{"type":"PlatformImage","publisher":"MicrosoftWindowsDesktop","offer":"windows-11","sku":"win11-24h2-avd","version":"latest"},
				"customize":[{"type":"PowerShell","name":"one","inline":["Write-Host hello"]}],
				"distribute":[{"type":"SharedImage","runOutputName":"out","galleryImageId":"$RG/providers/Microsoft.Compute/galleries/gal3/images/win11","replicationRegions":["westeurope"],"artifactTags":{}}]}}`, "$RG", c.vars["$RG"])
			if err := os.WriteFile(filepath.Join(dir, "template.json"), []byte(template), 0o600); err != nil {
				t.Error(err)
			}
			_, public, err := communicator.NewSSHKey("rsa", 0)
			if err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "key.pub"), []byte(public+"\n"), 0o600); err != nil {
				t.Error(err)
			}
			const deploy = `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",
 // a comment
 "parameters":{"name":{"type":"string","defaultValue":"gal"}},
 "resources":[{"type":"Microsoft.Compute/galleries","apiVersion":"2021-10-01","name":"[parameters('name')]","location":"[resourceGroup().location]","properties":{}}]}`
			if err := os.WriteFile(filepath.Join(dir, "deploy.json"), []byte(deploy), 0o600); err != nil {
				t.Error(err)
			}
			for _, s := range story {
				c.step(s)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "again.txt")); profile == "latest" && (err != nil || string(got) != "hello\n") {
				t.Errorf("the downloaded blob: %q %v", got, err)
			}
		})
	}
	wg.Wait()
	if _, left := a.made(t); len(left) > 1 { // the vault that was deleted can be recovered for a while
		t.Errorf("left over: %v", left)
	}
}

// TestAzLogins signs in in every way that needs no person.
func TestAzLogins(t *testing.T) {
	t.Parallel() // most of it is waiting
	needAz(t)
	pemFile := filepath.Join(t.TempDir(), "login.pem")
	both := selfSigned(t)
	if err := os.WriteFile(pemFile, both, 0o600); err != nil {
		t.Fatal(err)
	}
	_, certificate := pem.Decode(both)
	// A CI system with a key of its own, whose tokens the account trusts.
	const issuer, subject, me = "https://ci.example.test", "repo:contoso/images", "88888888-8888-4888-8888-888888888888"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scenario, err := json.Marshal(sim.Scenario{Issuers: []sim.Issuer{{URL: issuer, Keys: keySet(t, key)}},
		Principals: []sim.Account{{Name: "ci", ClientID: me, Secret: sim.DefaultClientSecret, Certificates: []string{string(certificate)}, Federated: []sim.Federation{{Issuer: issuer, Subject: subject}}}}})
	if err != nil {
		t.Fatal(err)
	}
	a := serveScenario(t, string(scenario))
	token := ciToken(t, key, issuer, subject, time.Now().Add(10*time.Minute))
	for name, how := range map[string][]string{"secret": {"-p", sim.DefaultClientSecret}, "certificate": {"-p", pemFile}, "federated token": {"--federated-token", token}} {
		t.Run(name, func(t *testing.T) {
			c := newAz(t, a, "latest")
			if code, out := c.run(append([]string{"login", "--service-principal", "-u", me, "--tenant", sim.DefaultTenant}, how...)...); code != 0 || !strings.Contains(out, "Simulated") {
				t.Fatalf("login: %d\n%s", code, out)
			}
			if code, out := c.run("group", "list"); code != 0 {
				t.Errorf("group list: %d\n%s", code, out)
			}
		})
	}
	c := newAz(t, a, "latest")
	if code, out := c.run("login", "--service-principal", "-u", me, "--tenant", sim.DefaultTenant, "-p", "wrong-test-secret"); code != 1 || !strings.Contains(out, "AADSTS7000215") {
		t.Errorf("a wrong secret: %d\n%s", code, out)
	}
}

// selfSigned is a key and a certificate in one PEM file, as az wants them.
func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
}

// TestAzReference keeps the page that lists what az can do.
func TestAzReference(t *testing.T) {
	var b strings.Builder
	b.WriteString("# az against the simulated Azure\n\n<!-- Made of test/az_test.go by `make docs`. -->\n\nWhat Debian's azure-cli (2.45) is let do in `go test ./test -run Az`, and the exit code that each command must end with. An exit\n" +
		"code other than 0 is a refusal that Azure itself would answer. Sign-in is tried with a secret, a certificate and a federated token.\n")
	for _, profile := range []string{"latest", "2020-09-01-hybrid"} {
		fmt.Fprintf(&b, "\n## Profile %s\n\n| exit code | az … |\n|---|---|\n", profile)
		for _, s := range azStories()[profile] {
			fmt.Fprintf(&b, "| %d | `%s` |\n", s.code, strings.ReplaceAll(s.command, "|", "\\|"))
		}
	}
	const page = "../docs/reference/az.md"
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the test says: make docs (%v)", page, err)
	}
}

// keySet is a JSON Web Key Set of one key.
func keySet(t *testing.T, key *ecdsa.PrivateKey) json.RawMessage {
	t.Helper()
	raw, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return json.RawMessage(`{"keys": [{"kty": "EC", "crv": "P-256", "kid": "ci", "x": "` + enc(raw[1:33]) + `", "y": "` + enc(raw[33:]) + `"}]}`)
}

// ciToken is what a CI system hands to its jobs (ES256).
func ciToken(t *testing.T, key *ecdsa.PrivateKey, issuer, subject string, until time.Time) string {
	t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"alg":"ES256","typ":"JWT","kid":"ci"}`)) + "." +
		enc(fmt.Appendf(nil, `{"iss":%q,"sub":%q,"aud":"api://AzureADTokenExchange","nbf":%d,"exp":%d}`, issuer, subject, until.Add(-time.Hour).Unix(), until.Unix()))
	sum := sha256.Sum256([]byte(text))
	a, b, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + enc(append(a.FillBytes(make([]byte, 32)), b.FillBytes(make([]byte, 32))...))
}
