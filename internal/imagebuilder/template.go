package imagebuilder

import (
	"time"

	"ingot/internal/image"
)

const Type = "Microsoft.VirtualMachineImages/imageTemplates"

// APIVersions are those of imageTemplates, oldest first; from StrictFrom on the service is strict about names and their case
// (reference azure-image-builder.md section 1.1).
func APIVersions() []string {
	return []string{"2018-02-01-preview", "2019-02-01-preview", "2019-05-01-preview", "2020-02-14", "2021-10-01", "2022-02-14", "2022-07-01", "2023-07-01", "2024-02-01", "2025-10-01"}
}

const StrictFrom = "2024-02-01"

// since says which version brought a property.
func Since() map[string]string {
	return map[string]string{"properties.optimize": "2022-07-01", "properties.optimize.workload": "2025-10-01", "properties.additionalDataDisks": "2025-10-01", "properties.validate": "2022-02-14",
		"properties.stagingResourceGroup": "2022-02-14", "properties.errorHandling": "2023-07-01", "properties.autoRun": "2024-02-01", "properties.managedResourceTags": "2024-02-01",
		"properties.vmProfile.userAssignedIdentities": "2021-10-01", "properties.vmProfile.vnetConfig.proxyVmSize": "2021-10-01", "properties.vmProfile.vnetConfig.containerInstanceSubnetId": "2024-02-01",
		"properties.distribute.targetRegions": "2022-07-01", "properties.distribute.versioning": "2022-07-01", "properties.distribute.uri": "2022-07-01", "properties.distribute.replicationMode": "2025-10-01"}
}

// Template is the imageTemplates resource of api-version 2025-10-01 (Azure/azure-rest-api-specs,
// specification/imagebuilder). The tags are the names on the wire.
type Template struct {
	// Name: name of the template, at most 64 letters, digits, - _ ..
	Name string `hcl:"name"`
	// Type: Microsoft.VirtualMachineImages/imageTemplates.
	Type string `hcl:"type"`
	// APIVersion: version of the service's interface; from 2024-02-01 on names and their case count.
	APIVersion string `hcl:"apiVersion"`
	// Location: region of the template and its build.
	Location string `hcl:"location"`
	// Tags: tags of the template resource.
	Tags map[string]string `hcl:"tags"`
	// Identity: who builds.
	Identity *Identity `hcl:"identity,block"`
	// Properties: the template itself.
	Properties *Properties `hcl:"properties,block"`
}

type Identity struct {
	// Type: UserAssigned.
	Type string `hcl:"type"`
	// UserAssigned: the id of one user-assigned identity, as a name with an empty object.
	UserAssigned any `hcl:"userAssignedIdentities"`
	// PrincipalID: written by the service.
	PrincipalID string `hcl:"principalId"`
	// TenantID: written by the service.
	TenantID string `hcl:"tenantId"`
}

type Properties struct {
	// Source: what the image starts from.
	Source *Source `hcl:"source,block"`
	// Customize: customizers, run in order; the first that fails fails the build.
	Customize []Step `hcl:"customize,block"`
	// Optimize: what the service does to make machines of the image start faster.
	Optimize *Optimize `hcl:"optimize,block"`
	// Validate: what is tried on a machine made of the image.
	Validate *Validate `hcl:"validate,block"`
	// Distribute: where the image goes.
	Distribute []Distribute `hcl:"distribute,block"`
	// ErrorHandling: what becomes of the build machine when a step fails.
	ErrorHandling *ErrorHandling `hcl:"errorHandling,block"`
	// Timeout: bounds customizing, optimizing, validating and distributing together: 6 to 960; 0 means 240.
	Timeout int `hcl:"buildTimeoutInMinutes"`
	// VM: the build machine.
	VM *VMProfile `hcl:"vmProfile,block"`
	// DataDisks: more disks of the image (2025-10-01).
	DataDisks []Disk `hcl:"additionalDataDisks,block"`
	// StagingGroup: id of an empty resource group for what the service makes; one of its own if not set.
	StagingGroup string `hcl:"stagingResourceGroup"`
	// AutoRun: builds when the template is made.
	AutoRun *State `hcl:"autoRun,block"`
	// ResourceTags: tags of what the service makes for the build.
	ResourceTags map[string]string `hcl:"managedResourceTags"`
}

type Source struct {
	// Type: PlatformImage, ManagedImage or SharedImageVersion.
	Type string `hcl:"type"`
	// Publisher: of a platform image.
	Publisher string `hcl:"publisher"`
	// Offer: of a platform image.
	Offer string `hcl:"offer"`
	// SKU: of a platform image.
	SKU string `hcl:"sku"`
	// Version: of a platform image; latest is found when it is built.
	Version string `hcl:"version"`
	// Plan: purchase plan of a platform image.
	Plan *PurchasePlan `hcl:"planInfo,block"`
	// ImageID: id of a managed image, in the template's region and subscription.
	ImageID string `hcl:"imageId"`
	// ImageVersionID: id of a gallery image version, or …/versions/latest.
	ImageVersionID string `hcl:"imageVersionId"`
	// ExactVersion: written by the service: which version latest was.
	ExactVersion string `hcl:"exactVersion"`
}

type PurchasePlan struct {
	// Name: name of the plan.
	Name string `hcl:"planName"`
	// Product: product of the plan.
	Product string `hcl:"planProduct"`
	// Publisher: publisher of the plan.
	Publisher string `hcl:"planPublisher"`
}

// Step is a customizer or an in-VM validator.
type Step struct {
	// Type: Shell, PowerShell, File, WindowsRestart or WindowsUpdate; Shell, PowerShell or File to validate.
	Type string `hcl:"type"`
	// Name: shown in the log.
	Name string `hcl:"name"`
	// ScriptURI: address of a script; or inline.
	ScriptURI image.Text `hcl:"scriptUri"`
	// Inline: lines of a script.
	Inline []image.Text `hcl:"inline"`
	// SHA256: SHA-256 of the script or file, in lower-case hexadecimal.
	SHA256 string `hcl:"sha256Checksum"`
	// RunElevated: runs PowerShell elevated.
	RunElevated bool `hcl:"runElevated"`
	// RunAsSystem: runs it as SYSTEM; with runElevated only.
	RunAsSystem bool `hcl:"runAsSystem"`
	// ValidExitCodes: exit codes of PowerShell that mean success; 0.
	ValidExitCodes []int `hcl:"validExitCodes"`
	// SourceURI: address of a file of less than 20 MB.
	SourceURI image.Text `hcl:"sourceUri"`
	// Destination: its absolute path in the guest; the folder must exist.
	Destination string `hcl:"destination"`
	// RestartCommand: what restarts Windows.
	RestartCommand string `hcl:"restartCommand"`
	// RestartCheckCommand: what must succeed before Windows counts as restarted.
	RestartCheckCommand string `hcl:"restartCheckCommand"`
	// RestartTimeout: bounds the restart; 5m.
	RestartTimeout time.Duration `hcl:"restartTimeout"`
	// SearchCriteria: what Windows Update looks for; BrowseOnly=0 and IsInstalled=0.
	SearchCriteria string `hcl:"searchCriteria"`
	// Filters: include: or exclude: and a PowerShell expression over $_.
	Filters []string `hcl:"filters"`
	// UpdateLimit: how many updates at most; 1000.
	UpdateLimit int `hcl:"updateLimit"`
}

type Optimize struct {
	// VMBoot: faster start of machines made of the image.
	VMBoot *State `hcl:"vmBoot,block"`
	// Workload: optimisation by a script of yours (2025-10-01).
	Workload *Workload `hcl:"workload,block"`
}

type State struct {
	// State: Enabled or Disabled.
	State string `hcl:"state"`
}

type Workload struct {
	// State: Enabled or Disabled.
	State string `hcl:"state"`
	// ScriptURI: address of the script.
	ScriptURI string `hcl:"scriptUri"`
	// SHA256: its SHA-256.
	SHA256 string `hcl:"sha256Checksum"`
}

type Validate struct {
	// Continue: distributes although a validation failed; the run is reported as failed all the same.
	Continue bool `hcl:"continueDistributeOnFailure"`
	// SourceOnly: validates the source, and builds nothing.
	SourceOnly bool `hcl:"sourceValidationOnly"`
	// Steps: what is run on a machine made of the image.
	Steps []Step `hcl:"inVMValidations,block"`
}

type ErrorHandling struct {
	// Customizer: cleanup (default) or abort, which keeps the build machine.
	Customizer string `hcl:"onCustomizerError"`
	// Validation: cleanup (default) or abort.
	Validation string `hcl:"onValidationError"`
}

type VMProfile struct {
	// Size: size of the build machine; Standard_D1_v2 or Standard_D2ds_v4 if not set.
	Size string `hcl:"vmSize"`
	// DiskGB: size of its disk; the source's if not set.
	DiskGB int32 `hcl:"osDiskSizeGB"`
	// Identities: ids of identities of the build machine.
	Identities []string `hcl:"userAssignedIdentities"`
	// VNet: existing network.
	VNet *VNetConfig `hcl:"vnetConfig,block"`
}

type VNetConfig struct {
	// Subnet: id of the build machine's subnet.
	Subnet string `hcl:"subnetId"`
	// ContainerSubnet: id of the container instance's subnet, in the same network.
	ContainerSubnet string `hcl:"containerInstanceSubnetId"`
	// ProxySize: size of the proxy machine; not with containerInstanceSubnetId.
	ProxySize string `hcl:"proxyVmSize"`
}

type Disk struct {
	// GB: size in GB.
	GB int32 `hcl:"sizeGB"`
}

type Distribute struct {
	// Type: SharedImage, ManagedImage or VHD.
	Type string `hcl:"type"`
	// RunOutputName: name of the result, unique in the template.
	RunOutputName string `hcl:"runOutputName"`
	// Tags: tags of the result.
	Tags map[string]string `hcl:"artifactTags"`
	// ImageID: id of the managed image to make.
	ImageID string `hcl:"imageId"`
	// Location: region of the managed image.
	Location string `hcl:"location"`
	// GalleryImageID: id of the image definition, with /versions/1.0.0 for a version of your own.
	GalleryImageID string `hcl:"galleryImageId"`
	// Regions: regions to replicate to.
	Regions []TargetRegion `hcl:"targetRegions,block"`
	// OldRegions: older form of targetRegions.
	OldRegions []string `hcl:"replicationRegions"`
	// StorageType: older form of targetRegions' own.
	StorageType string `hcl:"storageAccountType"`
	// ExcludeFromLatest: keeps the version from being taken as the newest.
	ExcludeFromLatest bool `hcl:"excludeFromLatest"`
	// Versioning: how a version is chosen.
	Versioning *Versioning `hcl:"versioning,block"`
	// Mode: Full (default) or Shallow (2025-10-01).
	Mode string `hcl:"replicationMode"`
	// URI: where the VHD goes; the staging account if not set.
	URI string `hcl:"uri"`
}

type TargetRegion struct {
	// Name: name of the region.
	Name string `hcl:"name"`
	// Replicas: replicas there; 1.
	Replicas *int `hcl:"replicaCount"`
	// StorageType: Standard_LRS (default), Standard_ZRS or Premium_LRS.
	StorageType string `hcl:"storageAccountType"`
}

type Versioning struct {
	// Scheme: Latest counts on from the highest version; Source takes the source's number.
	Scheme string `hcl:"scheme"`
	// Major: with Latest: of which major number.
	Major *int `hcl:"major"`
}

// OfType are the properties that each kind of step, source and target has, beside type and name.
func OfType() map[string][]string {
	script := []string{"type", "name", "scriptUri", "inline", "sha256Checksum"}
	return map[string][]string{
		"Shell": script, "PowerShell": append(script[:len(script):len(script)], "runElevated", "runAsSystem", "validExitCodes"), "File": {"type", "name", "sourceUri", "destination", "sha256Checksum"},
		"WindowsRestart": {"type", "name", "restartCommand", "restartCheckCommand", "restartTimeout"}, "WindowsUpdate": {"type", "name", "searchCriteria", "filters", "updateLimit"},
		"PlatformImage": {"type", "publisher", "offer", "sku", "version", "planInfo", "exactVersion"}, "ManagedImage source": {"type", "imageId"}, "SharedImageVersion": {"type", "imageVersionId", "exactVersion"},
		"ManagedImage": {"type", "runOutputName", "artifactTags", "imageId", "location"}, "VHD": {"type", "runOutputName", "artifactTags", "uri"},
		"SharedImage": {"type", "runOutputName", "artifactTags", "galleryImageId", "targetRegions", "replicationRegions", "storageAccountType", "excludeFromLatest", "versioning", "replicationMode"},
	}
}
