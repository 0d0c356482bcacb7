package template

import (
	"time"

	"ingot/internal/image"
)

const imageTemplateType = "Microsoft.VirtualMachineImages/imageTemplates"

// apiVersions are those of imageTemplates, oldest first; from strictFrom on the service is strict about names and their case
// (reference azure-image-builder.md section 1.1).
func apiVersions() []string {
	return []string{"2018-02-01-preview", "2019-02-01-preview", "2019-05-01-preview", "2020-02-14", "2021-10-01", "2022-02-14", "2022-07-01", "2023-07-01", "2024-02-01", "2025-10-01"}
}

const strictFrom = "2024-02-01"

// since says which version brought a property.
func since() map[string]string {
	return map[string]string{"properties.optimize": "2022-07-01", "properties.optimize.workload": "2025-10-01", "properties.additionalDataDisks": "2025-10-01", "properties.validate": "2022-02-14",
		"properties.stagingResourceGroup": "2022-02-14", "properties.errorHandling": "2023-07-01", "properties.autoRun": "2024-02-01", "properties.managedResourceTags": "2024-02-01",
		"properties.vmProfile.userAssignedIdentities": "2021-10-01", "properties.vmProfile.vnetConfig.proxyVmSize": "2021-10-01", "properties.vmProfile.vnetConfig.containerInstanceSubnetId": "2024-02-01",
		"properties.distribute.targetRegions": "2022-07-01", "properties.distribute.versioning": "2022-07-01", "properties.distribute.uri": "2022-07-01", "properties.distribute.replicationMode": "2025-10-01"}
}

// aibTemplate is the imageTemplates resource of api-version 2025-10-01 (Azure/azure-rest-api-specs,
// specification/imagebuilder). The tags are the names on the wire.
type aibTemplate struct {
	Name       string            `hcl:"name"`
	Type       string            `hcl:"type"`
	APIVersion string            `hcl:"apiVersion"`
	Location   string            `hcl:"location"`
	Tags       map[string]string `hcl:"tags"`
	Identity   *aibIdentity      `hcl:"identity,block"`
	Properties *aibProperties    `hcl:"properties,block"`
}

type aibIdentity struct {
	Type         string `hcl:"type"`
	UserAssigned any    `hcl:"userAssignedIdentities"`
	PrincipalID  string `hcl:"principalId"`
	TenantID     string `hcl:"tenantId"`
}

type aibProperties struct {
	Source        *aibSource        `hcl:"source,block"`
	Customize     []aibStep         `hcl:"customize,block"`
	Optimize      *aibOptimize      `hcl:"optimize,block"`
	Validate      *aibValidate      `hcl:"validate,block"`
	Distribute    []aibDistribute   `hcl:"distribute,block"`
	ErrorHandling *aibErrors        `hcl:"errorHandling,block"`
	Timeout       int               `hcl:"buildTimeoutInMinutes"`
	VM            *aibVM            `hcl:"vmProfile,block"`
	DataDisks     []aibDisk         `hcl:"additionalDataDisks,block"`
	StagingGroup  string            `hcl:"stagingResourceGroup"`
	AutoRun       *aibState         `hcl:"autoRun,block"`
	ResourceTags  map[string]string `hcl:"managedResourceTags"`
}

type aibSource struct {
	Type           string   `hcl:"type"`
	Publisher      string   `hcl:"publisher"`
	Offer          string   `hcl:"offer"`
	SKU            string   `hcl:"sku"`
	Version        string   `hcl:"version"`
	Plan           *aibPlan `hcl:"planInfo,block"`
	ImageID        string   `hcl:"imageId"`
	ImageVersionID string   `hcl:"imageVersionId"`
	ExactVersion   string   `hcl:"exactVersion"`
}

type aibPlan struct {
	Name      string `hcl:"planName"`
	Product   string `hcl:"planProduct"`
	Publisher string `hcl:"planPublisher"`
}

// aibStep is a customizer or an in-VM validator.
type aibStep struct {
	Type                string        `hcl:"type"`
	Name                string        `hcl:"name"`
	ScriptURI           string        `hcl:"scriptUri"`
	Inline              []image.Text  `hcl:"inline"`
	SHA256              string        `hcl:"sha256Checksum"`
	RunElevated         bool          `hcl:"runElevated"`
	RunAsSystem         bool          `hcl:"runAsSystem"`
	ValidExitCodes      []int         `hcl:"validExitCodes"`
	SourceURI           string        `hcl:"sourceUri"`
	Destination         string        `hcl:"destination"`
	RestartCommand      string        `hcl:"restartCommand"`
	RestartCheckCommand string        `hcl:"restartCheckCommand"`
	RestartTimeout      time.Duration `hcl:"restartTimeout"`
	SearchCriteria      string        `hcl:"searchCriteria"`
	Filters             []string      `hcl:"filters"`
	UpdateLimit         int           `hcl:"updateLimit"`
}

type aibOptimize struct {
	VMBoot   *aibState    `hcl:"vmBoot,block"`
	Workload *aibWorkload `hcl:"workload,block"`
}

type aibState struct {
	State string `hcl:"state"`
}

type aibWorkload struct {
	State     string `hcl:"state"`
	ScriptURI string `hcl:"scriptUri"`
	SHA256    string `hcl:"sha256Checksum"`
}

type aibValidate struct {
	Continue   bool      `hcl:"continueDistributeOnFailure"`
	SourceOnly bool      `hcl:"sourceValidationOnly"`
	Steps      []aibStep `hcl:"inVMValidations,block"`
}

type aibErrors struct {
	Customizer string `hcl:"onCustomizerError"`
	Validation string `hcl:"onValidationError"`
}

type aibVM struct {
	Size       string   `hcl:"vmSize"`
	DiskGB     int32    `hcl:"osDiskSizeGB"`
	Identities []string `hcl:"userAssignedIdentities"`
	VNet       *aibVNet `hcl:"vnetConfig,block"`
}

type aibVNet struct {
	Subnet          string `hcl:"subnetId"`
	ContainerSubnet string `hcl:"containerInstanceSubnetId"`
	ProxySize       string `hcl:"proxyVmSize"`
}

type aibDisk struct {
	GB int32 `hcl:"sizeGB"`
}

type aibDistribute struct {
	Type              string            `hcl:"type"`
	RunOutputName     string            `hcl:"runOutputName"`
	Tags              map[string]string `hcl:"artifactTags"`
	ImageID           string            `hcl:"imageId"`
	Location          string            `hcl:"location"`
	GalleryImageID    string            `hcl:"galleryImageId"`
	Regions           []aibRegion       `hcl:"targetRegions,block"`
	OldRegions        []string          `hcl:"replicationRegions"`
	StorageType       string            `hcl:"storageAccountType"`
	ExcludeFromLatest bool              `hcl:"excludeFromLatest"`
	Versioning        *aibVersioning    `hcl:"versioning,block"`
	Mode              string            `hcl:"replicationMode"`
	URI               string            `hcl:"uri"`
}

type aibRegion struct {
	Name        string `hcl:"name"`
	Replicas    *int   `hcl:"replicaCount"`
	StorageType string `hcl:"storageAccountType"`
}

type aibVersioning struct {
	Scheme string `hcl:"scheme"`
	Major  *int   `hcl:"major"`
}

// beside are what deployment templates have in a resource that is no property of it.
func beside() []string {
	return []string{"dependsOn", "condition", "comments", "metadata", "scale", "zones", "tier", "copy"}
}

// ofType are the properties that each kind of step, source and target has, beside type and name.
func ofType() map[string][]string {
	script := []string{"type", "name", "scriptUri", "inline", "sha256Checksum"}
	return map[string][]string{
		"Shell": script, "PowerShell": append(script[:len(script):len(script)], "runElevated", "runAsSystem", "validExitCodes"), "File": {"type", "name", "sourceUri", "destination", "sha256Checksum"},
		"WindowsRestart": {"type", "name", "restartCommand", "restartCheckCommand", "restartTimeout"}, "WindowsUpdate": {"type", "name", "searchCriteria", "filters", "updateLimit"},
		"PlatformImage": {"type", "publisher", "offer", "sku", "version", "planInfo", "exactVersion"}, "ManagedImage source": {"type", "imageId"}, "SharedImageVersion": {"type", "imageVersionId", "exactVersion"},
		"ManagedImage": {"type", "runOutputName", "artifactTags", "imageId", "location"}, "VHD": {"type", "runOutputName", "artifactTags", "uri"},
		"SharedImage": {"type", "runOutputName", "artifactTags", "galleryImageId", "targetRegions", "replicationRegions", "storageAccountType", "excludeFromLatest", "versioning", "replicationMode"},
	}
}
