package sim

import (
	"slices"
	"strings"
)

// What a template may say in which api-version (azure-image-builder.md 1.1, 1.2; the names of types are those of the service's own
// errors and of armvirtualmachineimagebuilder).

// shape is one object of a template: its members, each with the api-version that brought it.
type shape struct {
	name    string
	members map[string]fieldOf
	kinds   map[string]shape // by the member type, which selects one
}

type fieldOf struct {
	since string // api-version; "": all
	of    *shape // of an object, or of each element of a list
}

const (
	aib2021  = "2021-10-01"
	aib2022  = "2022-02-14"
	aib2022b = "2022-07-01"
	aib2023  = "2023-07-01"
	aib2024  = "2024-02-01"
	aib2025  = "2025-10-01"
)

// templateVersions are the service's api-versions (azure-image-builder.md 1.1), the newest first.
func templateVersions() []string {
	return []string{aib2025, aib2024, aib2023, aib2022b, aib2022, aib2021, "2020-02-14", "2019-05-01-preview", "2019-02-01-preview", "2018-02-01-preview"}
}

// templateRegions are those that a template may be in (azure-image-builder.md 2, Regions).
func templateRegions() []string {
	return strings.Fields("eastus eastus2 westcentralus westus westus2 westus3 southcentralus northeurope westeurope southeastasia australiasoutheast australiaeast uksouth ukwest brazilsouth canadacentral centralindia centralus " +
		"francecentral germanywestcentral japaneast northcentralus norwayeast switzerlandnorth jioindiawest uaenorth eastasia koreacentral southafricanorth qatarcentral usgovarizona usgovvirginia chinanorth3 swedencentral polandcentral " +
		"italynorth israelcentral newzealandnorth taiwannorthwest")
}

func plain(names string, more map[string]fieldOf) map[string]fieldOf {
	out := map[string]fieldOf{}
	for _, n := range strings.Fields(names) {
		out[n] = fieldOf{}
	}
	for n, m := range more {
		out[n] = m
	}
	return out
}

func templateShape() shape {
	script := plain("type name scriptUri inline sha256Checksum", nil)
	power := plain("type name scriptUri inline sha256Checksum runElevated validExitCodes", map[string]fieldOf{"runAsSystem": {since: "2020-02-14"}})
	file := plain("type name sourceUri destination sha256Checksum", nil)
	state := func(name string) *shape { return &shape{name: name, members: plain("state", nil)} }
	target := "type runOutputName artifactTags "
	source := shape{name: "ImageTemplateSource", kinds: map[string]shape{
		"PlatformImage":      {name: "ImageTemplatePlatformImageSource", members: plain("type publisher offer sku version exactVersion", map[string]fieldOf{"planInfo": {since: "2020-02-14", of: &shape{name: "PlatformImagePurchasePlan", members: plain("planName planProduct planPublisher", nil)}}})},
		"ManagedImage":       {name: "ImageTemplateManagedImageSource", members: plain("type imageId", nil)},
		"SharedImageVersion": {name: "ImageTemplateSharedImageVersionSource", members: plain("type imageVersionId", map[string]fieldOf{"exactVersion": {since: aib2022b}})},
	}}
	customize := shape{name: "ImageTemplateCustomizer", kinds: map[string]shape{
		"Shell":          {name: "ImageTemplateShellCustomizer", members: script},
		"PowerShell":     {name: "ImageTemplatePowerShellCustomizer", members: power},
		"File":           {name: "ImageTemplateFileCustomizer", members: file},
		"WindowsRestart": {name: "ImageTemplateRestartCustomizer", members: plain("type name restartCommand restartCheckCommand restartTimeout", nil)},
		"WindowsUpdate":  {name: "ImageTemplateWindowsUpdateCustomizer", members: plain("type name searchCriteria filters updateLimit", nil)},
	}}
	validate := shape{name: "ImageTemplateInVMValidator", kinds: map[string]shape{
		"Shell":      {name: "ImageTemplateShellValidator", members: script},
		"PowerShell": {name: "ImageTemplatePowerShellValidator", members: power},
		"File":       {name: "ImageTemplateFileValidator", members: file},
	}}
	distribute := shape{name: "ImageTemplateDistributor", kinds: map[string]shape{
		"ManagedImage": {name: "ImageTemplateManagedImageDistributor", members: plain(target+"imageId location", nil)},
		"VHD":          {name: "ImageTemplateVhdDistributor", members: plain(target, map[string]fieldOf{"uri": {since: aib2022b}})},
		"SharedImage": {name: "ImageTemplateSharedImageDistributor", members: plain(target+"galleryImageId replicationRegions excludeFromLatest storageAccountType", map[string]fieldOf{
			"targetRegions":   {since: aib2022b, of: &shape{name: "TargetRegion", members: plain("name replicaCount storageAccountType", nil)}},
			"versioning":      {since: aib2022b, of: &shape{name: "DistributeVersioner", members: plain("scheme major", nil)}},
			"replicationMode": {since: aib2025},
		})},
	}}
	vm := shape{name: "ImageTemplateVMProfile", members: plain("vmSize osDiskSizeGB", map[string]fieldOf{
		"userAssignedIdentities": {since: aib2021},
		"vnetConfig": {of: &shape{name: "VirtualNetworkConfig", members: plain("subnetId", map[string]fieldOf{
			"proxyVmSize": {since: aib2021}, "containerInstanceSubnetId": {since: aib2024}})}},
	})}
	properties := shape{name: "ImageTemplateProperties", members: plain("buildTimeoutInMinutes provisioningState provisioningError lastRunStatus", map[string]fieldOf{
		"source": {of: &source}, "customize": {of: &customize}, "distribute": {of: &distribute}, "vmProfile": {of: &vm},
		"optimize": {since: aib2022b, of: &shape{name: "ImageTemplatePropertiesOptimize", members: map[string]fieldOf{
			"vmBoot":   {of: state("ImageTemplatePropertiesOptimizeVMBoot")},
			"workload": {since: aib2025, of: &shape{name: "ImageTemplatePropertiesOptimizeWorkload", members: plain("state scriptUri sha256Checksum", nil)}}}}},
		"validate":             {since: aib2022, of: &shape{name: "ImageTemplatePropertiesValidate", members: plain("continueDistributeOnFailure sourceValidationOnly", map[string]fieldOf{"inVMValidations": {of: &validate}})}},
		"errorHandling":        {since: aib2023, of: &shape{name: "ImageTemplatePropertiesErrorHandling", members: plain("onCustomizerError onValidationError", nil)}},
		"additionalDataDisks":  {since: aib2025, of: &shape{name: "ImageTemplateDataDisk", members: plain("sizeGB", nil)}},
		"stagingResourceGroup": {since: aib2022}, "exactStagingResourceGroup": {since: aib2022},
		"autoRun": {since: aib2024, of: state("ImageTemplateAutoRun")}, "managedResourceTags": {since: aib2024},
	})}
	return shape{name: "ImageTemplate", members: plain("id name type location tags systemData", map[string]fieldOf{
		"identity": {of: &shape{name: "ImageTemplateIdentity", members: plain("type userAssignedIdentities principalId tenantId", nil)}}, "properties": {of: &properties}})}
}

// strictly takes out of a template what its api-version does not know. Since 2024-02-01 that is an error, in the words of the service
// (azure-image-builder.md 1.1, strictness); before, such members vanish without a word. Case counts in both.
func strictly(api string, body map[string]any) *refusal {
	if api == "" { // put in place by the simulation
		return nil
	}
	unknown := templateShape().sift(api, body, "")
	if unknown == "" || api < aib2024 {
		return nil
	}
	return refuse(400, "ValidationFailed", "Unmarshalling entity encountered error: "+unknown+" There is an issue with the syntax with the JSON template you are submitting. Please check the JSON template for syntax and grammar. "+
		"For more information on the syntax and grammar of the JSON template, visit http://aka.ms/azvmimagebuildertmplref.")
}

// sift removes unknown members and tells of the first one.
func (s shape) sift(api string, m map[string]any, above string) (unknown string) {
	if k, ok := s.kinds[text(m, "type")]; ok {
		s = k
	} else if s.kinds != nil {
		return "" // an unknown kind has an error of its own
	}
	typ := "*v" + strings.ReplaceAll(api, "-", "_") + "." + s.name
	here := above + "unmarshalling type " + typ + ": "
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		x, ok := s.members[n]
		if !ok || x.since > api {
			delete(m, n)
			if unknown == "" {
				unknown = here + "unmarshalling type " + typ + ", unknown field \"" + n + "\"."
			}
			continue
		}
		if x.of == nil {
			continue
		}
		next := here + "struct field " + strings.ToUpper(n[:1]) + n[1:] + ": "
		list, ok := m[n].([]any)
		if !ok {
			list = []any{m[n]}
		}
		for _, e := range list {
			if inner, ok := e.(map[string]any); ok {
				if deeper := x.of.sift(api, inner, next); unknown == "" {
					unknown = deeper
				}
			}
		}
	}
	return unknown
}

// templateAPI refuses api-versions that the service does not have, in Resource Manager's words (azure-protocol.md 2.5).
func templateAPI(typ, location, api string) *refusal {
	if api == "" || slices.Contains(templateVersions(), api) {
		return nil
	}
	short := typ[strings.Index(typ, "/")+1:]
	return refuse(400, "NoRegisteredProviderFound", "No registered resource provider found for location '"+location+"' and API version '"+api+"' for type '"+short+"'. The supported api-versions are '"+
		strings.Join(templateVersions(), ", ")+"'. The supported locations are '"+strings.Join(templateRegions(), ", ")+"'.")
}
