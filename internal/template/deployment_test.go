package template

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/provisioner"
)

const identityOf = `"identity": {"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i": {}}}`

// aibText is an image template in which properties can be added or taken out.
func aibText(version, more string) string {
	return `{
  "type": "Microsoft.VirtualMachineImages/imageTemplates",
  "apiVersion": "` + version + `",
  "name": "t",
  "location": "westeurope",
  ` + identityOf + `,
  "properties": {
    "source": {"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-25h2-avd", "version": "latest"},
    "vmProfile": {"vmSize": "Standard_D4ds_v5"},
` + more + `
    "distribute": [{"type": "SharedImage", "runOutputName": "o", "galleryImageId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g/images/i", "targetRegions": [{"name": "westeurope"}]}]
  }
}`
}

func loadJSON(t *testing.T, text string, o Options) (*Result, diag.List) {
	t.Helper()
	o.Now = now
	o.Cwd = write(t, map[string]string{"t.json": text, "params.json": `{"parameters": {"location": {"value": "northeurope"}, "secret": {"value": "test-secret-not-real"}}}`})
	return Load("t.json", o)
}

// TestImageBuilderRules has one case for each rule of the service, with the line it points at (counted from the property's name).
func TestImageBuilderRules(t *testing.T) {
	const step = `"customize": [{"type": "PowerShell", "inline": ["a"]}],`
	for name, c := range map[string]struct{ version, more, want, at string }{
		"sound":             {"2024-02-01", step, "", ""},
		"unknown":           {"2024-02-01", `"optimise": {},`, `unknown option "properties.optimise"`, "optimise"},
		"case":              {"2024-02-01", `"customize": [{"Type": "PowerShell", "inline": ["a"]}],`, `unknown option "properties.customize.Type"`, "customize"},
		"text for a number": {"2024-02-01", `"buildTimeoutInMinutes": "100",`, "is a string, not a number", "buildTimeoutInMinutes"},
		"timeout":           {"2024-02-01", `"buildTimeoutInMinutes": 961,`, "buildTimeoutInMinutes is 961", "buildTimeoutInMinutes"},
		"timeout too short": {"2024-02-01", `"buildTimeoutInMinutes": 5,`, "cannot end within 5", "buildTimeoutInMinutes"},
		"no script":         {"2024-02-01", `"customize": [{"type": "PowerShell"}],`, "runs nothing", "customize"},
		"two scripts":       {"2024-02-01", `"customize": [{"type": "PowerShell", "inline": ["a"], "scriptUri": "https://x/y.ps1"}],`, "exclude one another", "customize"},
		"type":              {"2024-02-01", `"customize": [{"type": "Powershell", "inline": ["a"]}],`, "no type of customizer", "customize"},
		"no type":           {"2024-02-01", `"customize": [{"inline": ["a"]}],`, "needs type", "customize"},
		"system":            {"2024-02-01", `"customize": [{"type": "PowerShell", "inline": ["a"], "runAsSystem": true}],`, "works with runElevated only", "customize"},
		"foreign property":  {"2024-02-01", `"customize": [{"type": "WindowsRestart", "inline": ["a"]}],`, "has no property inline", "customize"},
		"checksum":          {"2024-02-01", `"customize": [{"type": "PowerShell", "scriptUri": "https://x/y.ps1", "sha256Checksum": "ABC"}],`, "no checksum", "customize"},
		"destination":       {"2024-02-01", `"customize": [{"type": "File", "sourceUri": "https://x/y", "destination": "y"}],`, "no absolute path", "customize"},
		"file":              {"2024-02-01", `"customize": [{"type": "File", "destination": "C:\\y"}],`, "needs sourceUri", "customize"},
		"two systems":       {"2024-02-01", `"customize": [{"type": "PowerShell", "inline": ["a"]}, {"type": "Shell", "inline": ["a"]}],`, "for Windows and for Linux", "customize"},
		"linux on windows":  {"2024-02-01", `"customize": [{"type": "Shell", "inline": ["a"]}],`, "the source is Windows", "customize"},
		"duration":          {"2024-02-01", `"customize": [{"type": "WindowsRestart", "restartTimeout": "soon"}],`, "duration", "customize"},
		"filters":           {"2024-02-01", `"customize": [{"type": "WindowsUpdate", "filters": ["only:x"]}],`, "neither include", "customize"},
		"validator":         {"2024-02-01", `"validate": {"inVMValidations": [{"type": "WindowsRestart"}]},`, "no type of validator", "validate"},
		"state":             {"2024-02-01", `"optimize": {"vmBoot": {"state": "On"}},`, "Enabled or Disabled", "optimize"},
		"errors":            {"2024-02-01", `"errorHandling": {"onCustomizerError": "ignore"},`, "onCustomizerError is", "errorHandling"},
		"staging":           {"2024-02-01", `"stagingResourceGroup": "rg",`, "no id of a resource group", "stagingResourceGroup"},
		"disk":              {"2025-10-01", `"additionalDataDisks": [{"sizeGB": 0}],`, "cannot have 0 GB", "additionalDataDisks"},
		"too new":           {"2024-02-01", `"additionalDataDisks": [{"sizeGB": 1}],`, "came with api-version 2025-10-01", "additionalDataDisks"},
		"version":           {"2024-02-30", step, "none that Image Builder has", "apiVersion"},
	} {
		t.Run(name, func(t *testing.T) {
			text := aibText(c.version, c.more)
			_, l := loadJSON(t, text, Options{})
			if c.want == "" {
				if len(l) != 0 {
					t.Errorf("%+v", l)
				}
				return
			}
			line := strings.Count(text[:strings.Index(text, `"`+c.at+`"`)], "\n") + 1
			for _, p := range l {
				if strings.Contains(p.Summary+p.Remedy, c.want) && p.Severity == diag.Error && p.Pos.Line == line {
					return
				}
			}
			t.Errorf("want %q on line %d, got %+v", c.want, line, l)
		})
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"no identity":      {identityOf + ",", "", "has no identity"},
		"two identities":   {`{"/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i": {}}`, `{"/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i": {}, "/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/j": {}}`, "takes exactly one"},
		"bad identity":     {`"/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"`, `"me"`, "no id of a user-assigned identity"},
		"no location":      {`"location": "westeurope",`, "", "needs location"},
		"name":             {`"name": "t"`, `"name": "a b"`, "no name of an image template"},
		"other type":       {`"Microsoft.VirtualMachineImages/imageTemplates"`, `"Microsoft.Compute/images"`, "not an image template's"},
		"source":           {`"PlatformImage"`, `"Marketplace"`, "none that Image Builder has"},
		"source half":      {`"sku": "win11-25h2-avd", `, "", "needs sku"},
		"managed id":       {`"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-25h2-avd", "version": "latest"`, `"type": "ManagedImage", "imageId": "/x"`, "no id of a managed image"},
		"version id":       {`"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-25h2-avd", "version": "latest"`, `"type": "SharedImageVersion", "imageVersionId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g/images/i"`, "no id of a gallery image version"},
		"no output name":   {`"runOutputName": "o", `, "", "needs runOutputName"},
		"gallery id":       {"/galleries/g/images/i", "/galleries/g", "no id of an image definition"},
		"gallery version":  {"/images/i\"", "/images/i/versions/1.0\"", "the version in galleryImageId"},
		"replicas":         {`{"name": "westeurope"}`, `{"name": "westeurope", "replicaCount": 0}`, "replicaCount is 0"},
		"storage":          {`{"name": "westeurope"}`, `{"name": "westeurope", "storageAccountType": "Gold"}`, "storageAccountType is"},
		"regions twice":    {`"targetRegions": [{"name": "westeurope"}]`, `"targetRegions": [{"name": "westeurope"}], "replicationRegions": ["x"]`, "exclude one another"},
		"region twice":     {`[{"name": "westeurope"}]`, `[{"name": "westeurope"}, {"name": "West Europe"}]`, "stands twice"},
		"no region":        {`, "targetRegions": [{"name": "westeurope"}]`, "", "names no region"},
		"scheme":           {`"targetRegions"`, `"versioning": {"scheme": "Newest"}, "targetRegions"`, "versioning.scheme is"},
		"target type":      {`"type": "SharedImage"`, `"type": "Gallery"`, "none that Image Builder has"},
		"proxy":            {`"vmSize": "Standard_D4ds_v5"`, `"vmSize": "Standard_D4ds_v5", "vnetConfig": {"subnetId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Network/virtualNetworks/v/subnets/a", "containerInstanceSubnetId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Network/virtualNetworks/v/subnets/b", "proxyVmSize": "x"}`, "exclude one another"},
		"one subnet":       {`"vmSize": "Standard_D4ds_v5"`, `"vmSize": "Standard_D4ds_v5", "vnetConfig": {"containerInstanceSubnetId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Network/virtualNetworks/v/subnets/b"}`, "works with subnetId only"},
		"two networks":     {`"vmSize": "Standard_D4ds_v5"`, `"vmSize": "Standard_D4ds_v5", "vnetConfig": {"subnetId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Network/virtualNetworks/v/subnets/a", "containerInstanceSubnetId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Network/virtualNetworks/w/subnets/b"}`, "in two networks"},
		"same output name": {`"distribute": [`, `"distribute": [{"type": "VHD", "runOutputName": "o"}, `, "stands twice"},
	} {
		text := strings.Replace(aibText("2024-02-01", ""), c.from, c.to, 1)
		_, l := loadJSON(t, text, Options{})
		if p, ok := of(l, c.want); !ok || p.Severity != diag.Error || p.Pos.Line == 0 {
			t.Errorf("%s: want %q, got %+v", name, c.want, l)
		}
	}
}

// TestOlderVersions: the service of older versions does not care for case, and passes over what it does not know.
func TestOlderVersions(t *testing.T) {
	r, l := loadJSON(t, aibText("2022-02-14", `"BuildTimeoutInMinutes": 100, "additionalDataDisks": [{"sizeGB": 1}], "nonsense": true,`), Options{})
	if l.HasErrors() || len(r.Images) != 1 || r.Images[0].Managed.Timeout.Minutes() != 100 {
		t.Fatalf("%+v", l)
	}
	for _, w := range []string{"no effect: it came with api-version 2025-10-01", `unknown option "properties.nonsense"`} {
		if p, ok := of(l, w); !ok || p.Severity != diag.Warning {
			t.Errorf("not warned of: %s: %+v", w, l)
		}
	}
}

// TestForms: what tools print of a template loads as the template does.
func TestForms(t *testing.T) {
	for name, text := range map[string]string{
		"as az shows it": `{
  "id": "/subscriptions/s/resourceGroups/r/providers/Microsoft.VirtualMachineImages/imageTemplates/t", "name": "t", "type": "Microsoft.VirtualMachineImages/imageTemplates", "location": "westeurope", "resourceGroup": "r", "tags": null, ` + identityOf + `,
  "buildTimeoutInMinutes": 100, "customize": [{"type": "PowerShell", "name": "a", "inline": ["x"], "runAsSystem": null, "runElevated": false, "scriptUri": null, "sha256Checksum": "", "validExitCodes": null}],
  "distribute": [{"type": "SharedImage", "runOutputName": "o", "artifactTags": null, "excludeFromLatest": false, "galleryImageId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g/images/i", "replicationRegions": ["westeurope"], "storageAccountType": null}],
  "exactStagingResourceGroup": null, "lastRunStatus": null, "provisioningError": null, "provisioningState": "Succeeded", "stagingResourceGroup": null, "validate": null,
  "source": {"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-25h2-avd", "version": "latest", "exactVersion": null, "planInfo": null},
  "vmProfile": {"osDiskSizeGb": 127, "userAssignedIdentities": null, "vmSize": "Standard_D4ds_v5", "vnetConfig": null}
}`,
		"as the portal exports it": `{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
  "parameters": {"imageTemplates_t_name": {"defaultValue": "t", "type": "String"}}, "variables": {},
  "resources": [{"type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "name": "[parameters('imageTemplates_t_name')]", "location": "westeurope", ` + identityOf + `,
    "properties": {"buildTimeoutInMinutes": 100, "customize": [{"type": "PowerShell", "name": "a", "inline": ["x"], "runElevated": false, "runAsSystem": false}], "provisioningState": "Succeeded", "lastRunStatus": {"runState": "Succeeded"},
      "source": {"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-25h2-avd", "version": "latest"}, "vmProfile": {"vmSize": "Standard_D4ds_v5", "osDiskSizeGB": 127},
      "distribute": [{"type": "SharedImage", "runOutputName": "o", "galleryImageId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g/images/i", "replicationRegions": ["westeurope"]}]}}]
}`,
	} {
		r, l := loadJSON(t, text, Options{})
		if len(l) != 0 || len(r.Images) != 1 {
			t.Errorf("%s: %+v", name, l)
			continue
		}
		i := r.Images[0]
		p, ok := i.Provision[0].Settings.(*provisioner.PowerShell)
		if i.Name != "t" || i.Machine.OSDiskGB != 127 || i.Managed.Timeout.Minutes() != 100 || !ok || p.Inline[0].Reveal() != "x" || i.Targets[0].(image.ToGallery).Regions[0].Name != "westeurope" {
			t.Errorf("%s: %+v", name, i)
		}
	}
}

const armText = `{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", // a comment
  "contentVersion": "1.0.0.0",
  "parameters": {
    "location": {"type": "string", "metadata": {"description": "where"}},
    "names": {"type": "array", "defaultValue": ["one", "two"]},
    "secret": {"type": "securestring"}
  },
  "functions": [{"namespace": "fx", "members": {"say": {"parameters": [{"name": "what", "type": "string"}], "output": {"type": "string", "value": "[concat('Write-Output ', parameters('what'))]"}}}}],
  "variables": {
    "group": "/subscriptions/s/resourceGroups/r/providers",
    "copy": [{"name": "lines", "count": 2, "input": "[concat('line ', copyIndex('lines', 1))]"}]
  },
  "resources": [
    {"type": "Microsoft.Storage/storageAccounts", "name": "x"},
    {
      "type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01",
      "copy": {"name": "each", "count": "[length(parameters('names'))]"},
      "name": "[parameters('names')[copyIndex()]]", "location": "[parameters('location')]",
      "identity": {"type": "UserAssigned", "userAssignedIdentities": {"[concat(variables('group'), '/Microsoft.ManagedIdentity/userAssignedIdentities/i')]": {}}},
      "properties": {
        "source": {"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-25h2-avd", "version": "latest"},
        "vmProfile": {"vmSize": "Standard_D4ds_v5"},
        "copy": [{"name": "customize", "count": 2, "input": {"type": "PowerShell", "name": "[concat('step', copyIndex('customize'))]", "inline": ["[fx.say(variables('lines')[copyIndex('customize')])]", "[concat('use ', parameters('secret'))]"]}}],
        "distribute": [{"type": "SharedImage", "runOutputName": "o", "galleryImageId": "[concat(variables('group'), '/Microsoft.Compute/galleries/g/images/', parameters('names')[copyIndex()])]", "targetRegions": [{"name": "westeurope"}]}]
      }
    }
  ]
}`

func TestDeployment(t *testing.T) {
	r, l := loadJSON(t, armText, Options{VarFiles: []string{"params.json"}})
	if len(l) != 0 || len(r.Images) != 2 {
		t.Fatalf("%d images: %+v", len(r.Images), l)
	}
	for n, name := range []string{"one", "two"} {
		i := r.Images[n]
		first, second := i.Provision[0].Settings.(*provisioner.PowerShell), i.Provision[1].Settings.(*provisioner.PowerShell)
		if i.Name != name || i.Machine.Location != "northeurope" || i.Targets[0].(image.ToGallery).Image != name || i.Provision[1].Name != "step1" || first.Inline[0].Reveal() != "Write-Output line 1" || second.Inline[0].Reveal() != "Write-Output line 2" {
			t.Errorf("%+v", i)
		}
		if first.Inline[1].Secret() == "" || first.Inline[1].Reveal() != "use test-secret-not-real" || first.Inline[0].Secret() != "" {
			t.Errorf("a secure parameter is not kept secret: %v", first.Inline)
		}
	}
	if !slices.Contains(r.SensitiveValues, "test-secret-not-real") || len(r.Variables) != 3 || !r.Variables[2].Sensitive || r.Variables[0].Description != "where" {
		t.Errorf("%v %+v", r.SensitiveValues, r.Variables)
	}
	if r, l = loadJSON(t, armText, Options{VarFiles: []string{"params.json"}, Vars: []string{"location=uksouth", `names=["only"]`}}); len(l) != 0 || len(r.Images) != 1 || r.Images[0].Machine.Location != "uksouth" {
		t.Errorf("-var does not win: %+v", l)
	}
	for _, c := range []struct{ from, to, want, at string }{
		{`"[parameters('location')]"`, `"[paramters('location')]"`, "no function paramters", "paramters"},
		{`"[parameters('location')]"`, `"[parameters('locations')]"`, "no parameter", "parameters('locations')"},
		{`"[parameters('location')]"`, `"[parameters('location']"`, "not closed", "('location']"},
		{`"count": 2, "input": {`, `"count": -1, "input": {`, "whole number of 0 to 800", "-1, "},
		{"fx.say", "fx.shout", "defines no function fx.shout", "fx.shout"},
		{`"type": "securestring"`, `"type": "secret"`, "no type that ARM knows", `"secret"`},
	} {
		text := strings.Replace(armText, c.from, c.to, 1)
		_, l := loadJSON(t, text, Options{VarFiles: []string{"params.json"}})
		line := strings.Count(text[:strings.Index(text, c.at)], "\n") + 1
		if p, ok := of(l, c.want); !ok || p.Pos.Line != line {
			t.Errorf("want %q on line %d, got %+v", c.want, line, l)
		}
	}
	_, l = loadJSON(t, armText, Options{})
	for _, w := range []string{`parameter "location" has no value`, `parameter "secret" has no value`} {
		if _, ok := of(l, w); !ok {
			t.Errorf("not said: %s: %+v", w, l)
		}
	}
}

func TestNestedDeployments(t *testing.T) {
	inner := strings.Replace(strings.Replace(aibText("2024-02-01", ""), `"name": "t"`, `"name": "[parameters('n')]"`, 1), `"location": "westeurope"`, `"location": "[resourceGroup().location]"`, 1)
	text := fmt.Sprintf(`{"parameters": {"n": {"type": "string", "defaultValue": "outer"}}, "resources": [
{"type": "Microsoft.Resources/deployments", "name": "d", "properties": {"expressionEvaluationOptions": {"scope": "inner"}, "parameters": {"n": {"value": "[concat(parameters('n'), '-inner')]"}}, "template": {"parameters": {"n": {"type": "string"}}, "resources": [%s]}}},
{"type": "Microsoft.Resources/deployments", "name": "e", "properties": {"template": {"resources": {"symbolic": %s}}}},
{"type": "Microsoft.Resources/deployments", "name": "f", "condition": "[equals(1, 2)]", "properties": {"template": {"resources": [%s]}}}
]}`, inner, inner, inner)
	r, l := loadJSON(t, text, Options{Location: "swedencentral", ResourceGroup: "rg", Subscription: "s"})
	if len(l) != 0 || len(r.Images) != 2 || r.Images[0].Name != "outer-inner" || r.Images[1].Name != "outer" || r.Images[0].Machine.Location != "swedencentral" {
		t.Errorf("%d images: %+v", len(r.Images), l)
	}
	if _, l = loadJSON(t, text, Options{}); l.HasErrors() {
		t.Errorf("what only a deployment knows is an error: %+v", l)
	} else if _, ok := of(l, "asks for resourceGroup()"); !ok {
		t.Errorf("not said what only a deployment knows: %+v", l)
	}
}

func TestPlaceholders(t *testing.T) {
	text := strings.NewReplacer(`"westeurope",`, `"<region>",`, "/galleries/g/", "/galleries/<gallery>/").Replace(aibText("2024-02-01", `"customize": [{"type": "PowerShell", "inline": ["echo '<not one>'", "echo <xml>"]}],`))
	_, l := loadJSON(t, text, Options{})
	if len(l) != 2 || !strings.Contains(l[0].Summary, "<region>") || l[0].Pos.Line != 5 || !strings.Contains(l[1].Summary, "<gallery>") {
		t.Errorf("%+v", l)
	}
	r, l := loadJSON(t, text, Options{Vars: []string{"region=uksouth", "gallery=mine"}})
	if len(l) != 0 || r.Images[0].Machine.Location != "uksouth" || r.Images[0].Targets[0].(image.ToGallery).Gallery != "mine" {
		t.Errorf("%+v", l)
	}
	if _, l = loadJSON(t, text, Options{Vars: []string{"region=uksouth", "gallery=mine", "nope=1"}}); len(l) != 1 || !strings.Contains(l[0].Summary, "neither a parameter nor a <placeholder>") {
		t.Errorf("%+v", l)
	}
}

// TestWhatIsNoTemplate: files that stand beside templates are told from them.
func TestWhatIsNoTemplate(t *testing.T) {
	for text, want := range map[string]string{
		`{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#", "parameters": {}}`: "holds parameters of a deployment",
		`{"location": "x", "properties": {"kind": "SourceImage"}}`:                                                           "holds a trigger",
		`{"resources": []}`: "has no resource of type", `{"a": 1}`: "no template that Ingot knows", `[]`: "is a JSON object, not a list", `{"a": }`: "cannot read the JSON", ``: "cannot read the JSON", `{"a": 1} x`: "cannot read the JSON",
	} {
		_, l := loadJSON(t, text, Options{})
		if p, ok := of(l, want); !ok || len(l) != 1 || p.Pos.File != "t.json" || p.Pos.Line == 0 {
			t.Errorf("%s: want %q, got %+v", text, want, l)
		}
	}
	dir := write(t, map[string]string{"a.bicep": "x", "v.pkrvars.hcl": "a = 1"})
	for name, want := range map[string]string{"a.bicep": "az bicep build", "v.pkrvars.hcl": "-var-file", ".": "holds no"} {
		if _, l := Load(name, Options{Cwd: dir}); len(l) != 1 || !strings.Contains(l[0].Summary, want) {
			t.Errorf("%s: %+v", name, l)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bom.json"), []byte("\xef\xbb\xbf"+aibText("2024-02-01", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, l := Load("bom.json", Options{Cwd: dir}); len(l) != 0 || len(r.Images) != 1 {
		t.Errorf("a byte order mark: %+v", l)
	}
}
