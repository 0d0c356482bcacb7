package options

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim"
)

// world is what a build finds: groups, a gallery that is shared with everybody, networks, an identity, a vault.
func world() *sim.Scenario {
	res := func(id string, body map[string]any) sim.Seeded {
		if !strings.HasPrefix(id, "/") {
			id = simulated + id
		}
		if body["location"] == nil {
			body["location"] = "westeurope"
		}
		return sim.Seeded{ID: id, Body: body}
	}
	props := func(p map[string]any) map[string]any { return map[string]any{"properties": p} }
	definition := func(name, os, state, generation, security string, more map[string]any) sim.Seeded {
		p := map[string]any{"osType": os, "osState": state, "hyperVGeneration": generation, "identifier": map[string]any{"publisher": "p", "offer": "o", "sku": name}}
		if security != "" {
			p["features"] = []any{map[string]any{"name": "SecurityType", "value": security}}
		}
		for k, v := range more {
			p[k] = v
		}
		return res("rg-images/providers/Microsoft.Compute/galleries/gal/images/"+name, props(p))
	}
	vnet := props(map[string]any{"addressSpace": map[string]any{"addressPrefixes": []any{"10.1.0.0/16"}}, "subnets": []any{map[string]any{"name": "hosts", "properties": map[string]any{"addressPrefix": "10.1.0.0/24"}},
		map[string]any{"name": "build", "properties": map[string]any{"addressPrefix": "10.1.1.0/24", "networkSecurityGroup": map[string]any{"id": simulated + "rg-net/providers/Microsoft.Network/networkSecurityGroups/open"}}}}})
	plan := map[string]any{"purchasePlan": map[string]any{"name": "avd-golden-base-win11", "product": "avd-golden-base", "publisher": "cloud-infrastructure-services"}}
	return &sim.Scenario{Resources: []sim.Seeded{
		res(simulated+"rg-images", map[string]any{}), res(simulated+"rg-build", map[string]any{}), res(simulated+"rg-net", map[string]any{}),
		res("rg-images/providers/Microsoft.Compute/galleries/gal", props(map[string]any{"sharingProfile": map[string]any{"permissions": "Community", "communityGalleryInfo": map[string]any{"publicNamePrefix": "contoso", "communityGalleryEnabled": true}}})),
		res("rg-images/providers/Microsoft.Compute/galleries/directgallery", props(map[string]any{"sharingProfile": map[string]any{"permissions": "Groups", "groups": []any{map[string]any{"type": "Subscriptions", "ids": []any{sim.DefaultSubscription}}}}})),
		res("rg-images/providers/Microsoft.Compute/galleries/directgallery/images/win", props(map[string]any{"osType": "Windows", "osState": "Generalized", "hyperVGeneration": "V2", "identifier": map[string]any{"publisher": "p", "offer": "o", "sku": "d"}})),
		definition("win", "Windows", "Generalized", "V2", "TrustedLaunchSupported", nil), definition("win1", "Windows", "Generalized", "V1", "", nil), definition("cvm", "Windows", "Generalized", "V2", "ConfidentialVM", nil),
		definition("bought", "Windows", "Generalized", "V2", "TrustedLaunchSupported", plan), definition("special", "Windows", "Specialized", "V2", "", nil),
		// A standard public address lets nobody in whom no rule names.
		res("rg-images/providers/Microsoft.Storage/storageAccounts/contosodisks", map[string]any{"kind": "StorageV2", "sku": map[string]any{"name": "Standard_LRS"}}),
		res("rg-net/providers/Microsoft.Network/networkSecurityGroups/open", props(map[string]any{"securityRules": []any{map[string]any{"name": "winrm", "properties": map[string]any{"priority": 100, "direction": "Inbound", "access": "Allow",
			"protocol": "Tcp", "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "5986"}}}})),
		res("rg-net/providers/Microsoft.Network/virtualNetworks/hub", vnet), res("rg-build/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder", map[string]any{}),
	}}
}

// windows is a template with everything that a build needs and no more.
func windows(more string) string { return windowsFrom(marketplace, more) }

const marketplace = `
  image_publisher = "MicrosoftWindowsDesktop"
  image_offer     = "windows-11"
  image_sku       = "win11-25h2-avd"`

func gallery(definition string) string {
	return `
  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "gal"
    image_name     = "` + definition + `"
    image_version  = "auto"
  }`
}

func windowsFrom(source, more string) string {
	if !strings.Contains(more, "shared_image_gallery_destination") && !strings.Contains(more, "managed_image_name") {
		more += gallery("win")
	}
	for _, x := range [][2]string{{"vm_size", `"Standard_D2s_v5"`}, {"location", `"westeurope"`}, {"communicator", `"winrm"`}} {
		if !strings.Contains(more, "  "+x[0]+" ") && !(x[0] == "location" && strings.Contains(more, "build_resource_group_name")) {
			more += "\n  " + x[0] + " = " + x[1]
		}
	}
	return `source "azure-arm" "x" {` + source + `
  os_type       = "Windows"
  winrm_use_ssl = true
` + more + `
}
build {
  sources = ["source.azure-arm.x"]
  provisioner "powershell" { inline = ["Write-Host hello"] }
}
`
}

// want is one option with where it must be found.
type want struct {
	option string // "spot.max_price"
	call   string // of the request, a regular expression
	path   string // in its body
	value  string // as Go prints it
}

// case is a build that uses several options at once.
type scene struct {
	name    string
	timed   bool // something in it takes long
	text    string
	files   map[string]string
	prepare func(r *rig)
	kept    string // part of the id of what stays besides images
	world   func(*sim.Scenario)
	want    []want
	also    func(t *testing.T, r *rig, o outcome)
	fails   string // the build must fail, and say this
	refused string // or be refused before anything is made
}

const (
	putVM      = "^PUT .*/virtualMachines/[^/]+$"
	putNIC     = "^PUT .*/networkInterfaces/"
	putNSG     = "^PUT .*/networkSecurityGroups/"
	putIP      = "^PUT .*/publicIPAddresses/"
	putGroup   = "^PUT /subscriptions/[^/]+/resourceGroups/[^/]+$"
	putVault   = "^PUT .*/vaults/[^/]+$"
	putExt     = "^PUT .*/extensions/"
	putVersion = "^PUT .*/galleries/gal/images/win/versions/2.3.4$"
	publishing = "properties.publishingProfile."
	putImage   = "^PUT .*/Microsoft.Compute/images/"
	disk       = "properties.storageProfile.osDisk."
	identity   = simulated + "rg-build/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder"
	des        = simulated + "rg-build/providers/Microsoft.Compute/diskEncryptionSets/des"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func scenes() []scene {
	return []scene{
		{name: "a machine with everything", timed: true, text: windows(`
  vm_size                          = "Standard_D4s_v5"
  temp_resource_group_name         = "rg-temporary"
  temp_compute_name                = "buildmachine"
  temp_os_disk_name                = "buildmachine-disk"
  temp_nic_name                    = "buildmachine-nic"
  os_disk_size_gb                  = 256
  disk_caching_type                = "ReadOnly"
  managed_image_storage_account_type = "Premium_LRS"
  disk_encryption_set_id           = "` + des + `"
  security_type                    = "TrustedLaunch"
  secure_boot_enabled              = true
  vtpm_enabled                     = true
  encryption_at_host               = true
  license_type                     = "Windows_Client"
  user_assigned_managed_identities = ["` + identity + `"]
  custom_data                      = "` + b64("custom") + `"
  user_data                        = "` + b64("user") + `"
  boot_diag_storage_account        = "contosodiag"
  accelerated_networking           = true
  allowed_inbound_ip_addresses     = ["127.0.0.0/8", "203.0.113.7"]
  public_ip_sku                    = "Standard"
  winrm_username                   = "builder"
  winrm_password                   = "Test-secret-not-real-1"
  winrm_expiration_time            = "2h"
  build_key_vault_sku              = "premium"
  pause_before_connecting          = "7m"
  disk_controller_type             = "SCSI"
  azure_tags                       = { owner = "avd" }
  azure_tag {
    name  = "cost"
    value = "42"
  }
  spot {
    eviction_policy = "Deallocate"
    max_price       = 0.5
  }`), want: []want{
			{"location", putVM, "location", "westeurope"},
			{"os_type", putVM, disk + "osType", "Windows"},
			{"image_publisher", putVM, "properties.storageProfile.imageReference.publisher", "MicrosoftWindowsDesktop"},
			{"image_offer", putVM, "properties.storageProfile.imageReference.offer", "windows-11"},
			{"image_sku", putVM, "properties.storageProfile.imageReference.sku", "win11-25h2-avd"},
			{"vm_size", putVM, "properties.hardwareProfile.vmSize", "Standard_D4s_v5"},
			{"temp_resource_group_name", "^PUT .*/resourceGroups/rg-temporary$", "location", "westeurope"},
			{"temp_compute_name", "^PUT .*/virtualMachines/buildmachine$", "properties.osProfile.computerName", "buildmachine"},
			{"temp_os_disk_name", putVM, disk + "name", "buildmachine-disk"},
			{"temp_nic_name", "^PUT .*/networkInterfaces/buildmachine-nic$", "location", "westeurope"},
			{"os_disk_size_gb", putVM, disk + "diskSizeGB", "256"},
			{"disk_caching_type", putVM, disk + "caching", "ReadOnly"},
			{"managed_image_storage_account_type", putVM, disk + "managedDisk.storageAccountType", "Premium_LRS"},
			{"disk_encryption_set_id", putVM, disk + "managedDisk.diskEncryptionSet.id", des},
			{"security_type", putVM, "properties.securityProfile.securityType", "TrustedLaunch"},
			{"secure_boot_enabled", putVM, "properties.securityProfile.uefiSettings.secureBootEnabled", "true"},
			{"vtpm_enabled", putVM, "properties.securityProfile.uefiSettings.vTpmEnabled", "true"},
			{"encryption_at_host", putVM, "properties.securityProfile.encryptionAtHost", "true"},
			{"license_type", putVM, "properties.licenseType", "Windows_Client"},
			{"user_assigned_managed_identities", putVM, "identity.type", "UserAssigned"},
			{"user_assigned_managed_identities", putVM, "identity.userAssignedIdentities." + strings.ReplaceAll(identity, ".", "~"), "map[]"},
			{"custom_data", putVM, "properties.osProfile.customData", b64("custom")},
			{"user_data", putVM, "properties.userData", b64("user")},
			{"boot_diag_storage_account", putVM, "properties.diagnosticsProfile.bootDiagnostics.storageUri", "https://contosodiag.blob.core.windows.net/"},
			{"accelerated_networking", putNIC, "properties.enableAcceleratedNetworking", "true"},
			{"allowed_inbound_ip_addresses", putNSG, "properties.securityRules.0.properties.sourceAddressPrefixes", "[127.0.0.0/8 203.0.113.7/32]"},
			{"public_ip_sku", putIP, "sku.name", "Standard"},
			{"winrm_username", putVM, "properties.osProfile.adminUsername", "builder"},
			{"winrm_password", putVM, "properties.osProfile.adminPassword", "Test-secret-not-real-1"},
			{"build_key_vault_sku", putVault, "properties.sku.name", "premium"},
			{"disk_controller_type", putVM, "properties.storageProfile.diskControllerType", "SCSI"},
			{"azure_tags", putVM, "tags.owner", "avd"},
			{"azure_tags", putGroup, "tags.owner", "avd"},
			{"azure_tag", putVM, "tags.cost", "42"},
			{"azure_tag.name", putVM, "tags.cost", "42"},
			{"azure_tag.value", putVM, "tags.cost", "42"},
			{"spot", putVM, "properties.priority", "Spot"},
			{"spot.eviction_policy", putVM, "properties.evictionPolicy", "Deallocate"},
			{"spot.max_price", putVM, "properties.billingProfile.maxPrice", "0.5"},
			{"communicator", putVM, "properties.osProfile.windowsConfiguration.winRM.listeners.0.protocol", "Https"},
			{"winrm_use_ssl", putVM, "properties.osProfile.windowsConfiguration.winRM.listeners.0.protocol", "Https"},
			{"pause_before_connecting", "^DIAL ", "", "<nil>"}, // and the time that it took, below
			{"winrm_expiration_time", "^PUT .*/secrets/[^/]*-winrm$", "attributes.exp", expiry(2 * time.Hour)},
		}, also: func(t *testing.T, _ *rig, o outcome) {
			if o.took < 7*time.Minute {
				t.Errorf("pause_before_connecting = 7m: the build took %s", o.took)
			}
		}},
		{name: "what is left open", text: windows(``), want: []want{
			{"spot", putVM, "properties.priority", "<nil>"},
			{"boot_diag_storage_account", putVM, "properties.diagnosticsProfile.bootDiagnostics.storageUri", "<nil>"},
			{"disk_controller_type", putVM, "properties.storageProfile.diskControllerType", "<nil>"},
			{"image_version", putVM, "properties.storageProfile.imageReference.version", "26200.7171.251112"},
		}},
		{name: "an older version, files, a prefix", text: windows(`
  image_version                = "26200.6584.250915"
  custom_data_file             = "@DIR@/custom.txt"
  user_data_file               = "@DIR@/user.txt"
  custom_resource_build_prefix = "avd"
  polling_duration_timeout     = "20m"
  async_resourcegroup_delete   = true`), files: map[string]string{"custom.txt": "from a file", "user.txt": "from another"}, want: []want{
			{"image_version", putVM, "properties.storageProfile.imageReference.version", "26200.6584.250915"},
			{"custom_data_file", putVM, "properties.osProfile.customData", b64("from a file")},
			{"user_data_file", putVM, "properties.userData", b64("from another")},
			{"custom_resource_build_prefix", "^PUT .*/virtualMachines/avd-run", "location", "westeurope"},
			{"async_resourcegroup_delete", "^DELETE .*/resourceGroups/avd-run", "", "<nil>"},
		}, also: func(t *testing.T, _ *rig, o outcome) {
			if strings.Contains(o.out, "cannot") {
				t.Error(o.out)
			}
		}},
		{name: "polling_duration_timeout bounds an operation", timed: true, text: windows(`  polling_duration_timeout = "3m"`), world: func(s *sim.Scenario) { s.Latency = map[string]sim.Duration{"vm": sim.Duration(time.Hour)} },
			fails: "time limit of 3m0s", want: []want{{"polling_duration_timeout", putVM, "location", "westeurope"}}},
		{name: "an existing network with a public address", text: windows(`
  virtual_network_name                   = "hub"
  virtual_network_subnet_name            = "build"
  virtual_network_resource_group_name    = "rg-net"
  private_virtual_network_with_public_ip = true`), want: []want{
			{"virtual_network_name", putNIC, "properties.ipConfigurations.0.properties.subnet.id", simulated + "rg-net/providers/Microsoft.Network/virtualNetworks/hub/subnets/build"},
			{"virtual_network_subnet_name", putNIC, "properties.ipConfigurations.0.properties.subnet.id", simulated + "rg-net/providers/Microsoft.Network/virtualNetworks/hub/subnets/build"},
			{"virtual_network_resource_group_name", putNIC, "properties.ipConfigurations.0.properties.subnet.id", simulated + "rg-net/providers/Microsoft.Network/virtualNetworks/hub/subnets/build"},
			{"private_virtual_network_with_public_ip", putIP, "location", "westeurope"},
		}},
		{name: "an existing group", text: windows(`
  build_resource_group_name = "rg-build"`), want: []want{{"build_resource_group_name", "^PUT .*/resourceGroups/rg-build/providers/Microsoft.Compute/virtualMachines/", "location", "westeurope"}}},
		{name: "a custom script", text: windows(`
  custom_script = "powershell -Command \"Write-Host 'set up with test-secret-not-real'\""`), want: []want{
			{"custom_script", putExt, "properties.protectedSettings.commandToExecute", `powershell -Command "Write-Host 'set up with test-secret-not-real'"`},
			{"custom_script", putExt, "properties.type", "CustomScriptExtension"},
			{"custom_script", putExt, "properties.settings", "<nil>"}},
			also: func(t *testing.T, _ *rig, o outcome) {
				if !strings.Contains(o.out, "set up with") {
					t.Errorf("the script's output is not shown:\n%s", o.out)
				}
			}},
		{name: "a custom script that fails", text: windows(`
  custom_script = "cmd /c exit 7"`), fails: "exit code of: '7'"},
		{name: "a confidential machine", text: windowsFrom(`
  image_publisher = "MicrosoftWindowsServer"
  image_offer     = "WindowsServer"
  image_sku       = "2022-datacenter-smalldisk-g2"`, strings.Replace(gallery("cvm"), "  }", "    confidential_vm_image_encryption_type = \"EncryptedWithPmk\"\n  }", 1)+`
  vm_size                  = "Standard_DC2as_v5"
  security_type            = "ConfidentialVM"
  security_encryption_type = "DiskWithVMGuestState"
  disk_encryption_set_id   = "`+des+`"
  secure_boot_enabled      = true
  vtpm_enabled             = true`), want: []want{
			{"security_type", putVM, "properties.securityProfile.securityType", "ConfidentialVM"},
			{"security_encryption_type", putVM, disk + "managedDisk.securityProfile.securityEncryptionType", "DiskWithVMGuestState"},
			{"disk_encryption_set_id", putVM, disk + "managedDisk.securityProfile.diskEncryptionSet.id", des},
			{"disk_encryption_set_id", putVM, disk + "managedDisk.diskEncryptionSet", "<nil>"},
			{"shared_image_gallery_destination.confidential_vm_image_encryption_type", "^PUT .*/images/cvm/versions/", publishing + "targetRegions.0.encryption.osDiskImage.securityProfile.confidentialVMEncryptionType", "EncryptedWithPmk"},
		}},
		{name: "confidential: a size that is not", refused: "cannot be a confidential VM", text: windowsFrom(marketplace, gallery("cvm")+`
  security_type       = "ConfidentialVM"
  secure_boot_enabled = true
  vtpm_enabled        = true`)},
		{name: "confidential: no virtual TPM", refused: "cannot do without its virtual TPM", text: windows(`
  vm_size       = "Standard_DC2as_v5"
  security_type = "ConfidentialVM"`)},
		{name: "NVMe", text: windows(`
  vm_size              = "Standard_E2bs_v5"
  disk_controller_type = "NVMe"`), want: []want{{"disk_controller_type", putVM, "properties.storageProfile.diskControllerType", "NVMe"}}},
		{name: "NVMe: a size without", text: windows(`
  disk_controller_type = "NVMe"`), refused: "has no NVMe disk controller"},
		{name: "spot: evicted", timed: true, text: windows(`
  spot { eviction_policy = "Deallocate" }`), world: func(s *sim.Scenario) {
			s.Spot = &sim.SpotMarket{EvictAfter: sim.Duration(5 * time.Minute)}
			s.Latency = map[string]sim.Duration{"guest-script": sim.Duration(time.Hour)}
		}, fails: "evicted"},
		{name: "spot: deleted", timed: true, text: windows(`
  spot { eviction_policy = "Delete" }`), world: func(s *sim.Scenario) {
			s.Spot = &sim.SpotMarket{EvictAfter: sim.Duration(5 * time.Minute)}
			s.Latency = map[string]sim.Duration{"guest-script": sim.Duration(time.Hour)}
		}, fails: "evicted"},
		{name: "spot: no capacity", text: windows(`
  spot { eviction_policy = "Delete" }`), world: func(s *sim.Scenario) { s.Spot = &sim.SpotMarket{NoCapacity: []string{"westeurope"}} }, fails: "SkuNotAvailable"},
		{name: "spot: too cheap", text: windows(`
  spot {
    eviction_policy = "Delete"
    max_price       = 0.001
  }`), fails: "SpotPriceGreaterThanProvidedMaxPrice"},
		{name: "spot: a size that cannot", refused: "cannot be a spot VM", text: windows(`
  vm_size = "Standard_B2ms"
  spot { eviction_policy = "Delete" }`)},
		{name: "a plan", text: windowsFrom(bought, planned), world: accepted, want: []want{
			{"plan_info", putVM, "plan.name", "avd-golden-base-win11"}, {"plan_info.plan_name", putVM, "plan.name", "avd-golden-base-win11"},
			{"plan_info.plan_product", putVM, "plan.product", "avd-golden-base"}, {"plan_info.plan_publisher", putVM, "plan.publisher", "cloud-infrastructure-services"},
			{"plan_info.plan_promotion_code", putVM, "plan.promotionCode", "WINTER"}}},
		{name: "a plan whose terms nobody has accepted", text: windowsFrom(bought, planned), refused: "are not accepted in subscription"},
		{name: "a plan that the template does not name", text: windowsFrom(bought, ""), refused: "sold with a plan"},
		{name: "a gallery image with a plan", text: windowsFrom(fromGallery("bought"), ""), world: accepted, prepare: func(r *rig) { r.must(windowsFrom(bought, planned+gallery("bought"))) },
			want: []want{{"plan_info", putVM, "plan.product", "avd-golden-base"}}},
		{name: "a gallery image, newest", text: windowsFrom(fromGallery("win"), ""), prepare: twoVersions, want: []want{
			{"shared_image_gallery", putVM, imageID, version("win", "1.0.1")}, {"shared_image_gallery.subscription", putVM, imageID, version("win", "1.0.1")}, {"shared_image_gallery.resource_group", putVM, imageID, version("win", "1.0.1")},
			{"shared_image_gallery.gallery_name", putVM, imageID, version("win", "1.0.1")}, {"shared_image_gallery.image_name", putVM, imageID, version("win", "1.0.1")}}},
		{name: "a gallery image, one version", text: windowsFrom(strings.Replace(fromGallery("win"), "\n  }", "\n    image_version = \"1.0.0\"\n  }", 1), ""), prepare: twoVersions,
			want: []want{{"shared_image_gallery.image_version", putVM, imageID, version("win", "1.0.0")}}},
		{name: "a gallery image by its id", text: windowsFrom("\n  shared_image_gallery { id = \""+version("win", "1.0.0")+"\" }", ""), prepare: twoVersions,
			want: []want{{"shared_image_gallery.id", putVM, imageID, version("win", "1.0.0")}}},
		{name: "a community gallery image", text: windowsFrom("\n  shared_image_gallery { community_gallery_image_id = \"/communityGalleries/PUBLIC/images/win\" }", ""), prepare: twoVersions,
			want: []want{{"shared_image_gallery.community_gallery_image_id", putVM, "properties.storageProfile.imageReference.communityGalleryImageId", "/CommunityGalleries/PUBLIC/Images/win/Versions/1.0.1"}}},
		{name: "a community gallery image that is not there", text: windowsFrom("\n  shared_image_gallery { community_gallery_image_id = \"/communityGalleries/nobody/images/win\" }", ""), refused: "is not shared with this subscription"},
		{name: "a directly shared image", text: windowsFrom("\n  shared_image_gallery { direct_shared_gallery_image_id = \"/sharedGalleries/"+sim.DefaultSubscription+"-DIRECTGALLERY/images/win/versions/1.0.0\" }", ""),
			prepare: func(r *rig) { r.must(strings.Replace(windows(gallery("win")), `"gal"`, `"directgallery"`, 1)) },
			want:    []want{{"shared_image_gallery.direct_shared_gallery_image_id", putVM, "properties.storageProfile.imageReference.sharedGalleryImageId", "/SharedGalleries/" + sim.DefaultSubscription + "-DIRECTGALLERY/Images/win/Versions/1.0.0"}}},
		{name: "no key vault: our own listener", text: windows(`
  skip_create_build_key_vault  = true
  allowed_inbound_ip_addresses = ["127.0.0.0/8"]
  winrm_use_ntlm               = false`), want: []want{{"skip_create_build_key_vault", putExt, "properties.type", "CustomScriptExtension"}, {"skip_create_build_key_vault", putVM, "properties.osProfile.secrets", "<nil>"},
			{"winrm_use_ntlm", putVM, "properties.osProfile.windowsConfiguration.winRM", "<nil>"}}, also: func(t *testing.T, _ *rig, o outcome) {
			if _, asked := o.asked(putVault, ""); asked {
				t.Error("a vault was made")
			}
		}},
		{name: "no key vault: custom_script opens WinRM", text: windows(`
  skip_create_build_key_vault  = true
  custom_script                = "powershell -Command \"winrm create winrm/config/Listener?Address=*+Transport=HTTPS @{CertificateThumbprint='x'}\""
  allowed_inbound_ip_addresses = ["127.0.0.0/8"]
  winrm_password               = "Test-secret-not-real-1"
  winrm_insecure               = true`), want: []want{{"winrm_insecure", putVM, "properties.osProfile.secrets", "<nil>"}}},
		{name: "no key vault: custom_script without winrm_insecure", refused: "is not known beforehand", text: windows(`
  skip_create_build_key_vault  = true
  custom_script                = "cmd /c setup.cmd"
  allowed_inbound_ip_addresses = ["127.0.0.0/8"]`)},
		{name: "no key vault: nobody to let in", refused: "nobody tells Ingot which address", text: windows(`
  skip_create_build_key_vault = true`)},
		{name: "a specialised image", text: strings.Replace(windowsFrom(fromGallery("special"), gallery("special")+account), "\"auto\"", "\"auto\"\n    specialized = true", 1), prepare: func(r *rig) {
			r.must(strings.Replace(windows(gallery("special")+account), "\"auto\"", "\"auto\"\n    specialized = true", 1))
		}, want: []want{{"shared_image_gallery", putVM, imageID, version("special", "1.0.0")}, {"shared_image_gallery", putVM, "properties.osProfile", "<nil>"}}},
		{name: "a specialised image without an account", text: windowsFrom(fromGallery("special"), ""), prepare: func(r *rig) {
			r.must(strings.Replace(windows(gallery("special")+account), "\"auto\"", "\"auto\"\n    specialized = true", 1))
		}, refused: "its machines keep its accounts"},
		{name: "Trusted Launch and a managed image", text: windowsFrom("\n  custom_managed_image_name = \"m\"\n  custom_managed_image_resource_group_name = \"rg-images\"", gallery("win")+"\n  security_type = \"TrustedLaunch\""), prepare: func(r *rig) {
			r.must(windows("  managed_image_name = \"m\"\n  managed_image_resource_group_name = \"rg-images\""))
		}, refused: "Trusted Launch cannot be had"},
		{name: "a gallery version with everything", text: windows(`
  shared_image_gallery_timeout                     = "90m"
  shared_gallery_image_version_end_of_life_date    = "2028-01-31T00:00:00Z"
  shared_gallery_image_version_exclude_from_latest = true
  shared_image_gallery_destination {
    subscription         = "` + sim.DefaultSubscription + `"
    resource_group       = "rg-images"
    gallery_name         = "gal"
    image_name           = "win"
    image_version        = "2.3.4"
    storage_account_type = "Standard_ZRS"
    target_region {
      name                   = "westeurope"
      replicas               = 2
      disk_encryption_set_id = "` + des + `"
    }
    target_region {
      name     = "northeurope"
      replicas = 3
    }
  }`), want: []want{
			{"shared_image_gallery_destination", putVersion, "location", "westeurope"}, {"shared_image_gallery_destination.subscription", putVersion, "location", "westeurope"}, {"shared_image_gallery_destination.resource_group", putVersion, "location", "westeurope"},
			{"shared_image_gallery_destination.gallery_name", putVersion, "location", "westeurope"}, {"shared_image_gallery_destination.image_name", putVersion, "location", "westeurope"}, {"shared_image_gallery_destination.image_version", putVersion, "location", "westeurope"},
			{"shared_image_gallery_destination.storage_account_type", putVersion, publishing + "storageAccountType", "Standard_ZRS"},
			{"shared_image_gallery_destination.target_region", putVersion, publishing + "targetRegions.1.name", "northeurope"}, {"shared_image_gallery_destination.target_region.name", putVersion, publishing + "targetRegions.1.name", "northeurope"},
			{"shared_image_gallery_destination.target_region.replicas", putVersion, publishing + "targetRegions.1.regionalReplicaCount", "3"},
			{"shared_image_gallery_destination.target_region.disk_encryption_set_id", putVersion, publishing + "targetRegions.0.encryption.osDiskImage.diskEncryptionSetId", des},
			{"shared_gallery_image_version_end_of_life_date", putVersion, publishing + "endOfLifeDate", "2028-01-31T00:00:00Z"},
			{"shared_gallery_image_version_exclude_from_latest", putVersion, publishing + "excludeFromLatest", "true"}}},
		{name: "shallow, in the older form", text: windows(`
  shared_image_gallery_replica_count = 1
  shared_image_gallery_destination {
    resource_group          = "rg-images"
    gallery_name            = "gal"
    image_name              = "win"
    image_version           = "2.3.4"
    replication_regions     = ["westeurope"]
    use_shallow_replication = true
  }`), want: []want{{"shared_image_gallery_destination.use_shallow_replication", putVersion, publishing + "replicationMode", "Shallow"},
			{"shared_image_gallery_destination.replication_regions", putVersion, publishing + "targetRegions.0.name", "westeurope"}}},
		{name: "replicas for all regions", text: windows("\n  shared_image_gallery_replica_count = 4"), want: []want{{"shared_image_gallery_replica_count", "^PUT .*/images/win/versions/", publishing + "targetRegions.0.regionalReplicaCount", "4"}}},
		{name: "a gallery that takes too long", timed: true, text: windows("\n  shared_image_gallery_timeout = \"20m\""), world: func(s *sim.Scenario) { s.StalledRegions = []string{"westeurope"} }, fails: "time limit of 20m0s",
			want: []want{{"shared_image_gallery_timeout", "^PUT .*/images/win/versions/", "location", "westeurope"}}},
		{name: "a managed image as the target", text: windows("\n  managed_image_name = \"m\"\n  managed_image_resource_group_name = \"rg-images\"\n  managed_image_zone_resilient = true"), want: []want{
			{"managed_image_name", "^PUT .*/resourceGroups/rg-images/providers/Microsoft.Compute/images/m$", "location", "westeurope"}, {"managed_image_resource_group_name", "^PUT .*/resourceGroups/rg-images/providers/Microsoft.Compute/images/m$", "location", "westeurope"},
			{"managed_image_zone_resilient", putImage, "properties.storageProfile.zoneResilient", "true"}}},
		{name: "the OS disk is kept", kept: "/disks/", text: windows("\n  build_resource_group_name = \"rg-build\"\n  keep_os_disk = true"), want: []want{{"keep_os_disk", putVM, disk + "deleteOption", "Detach"}}},
		{name: "an existing vault", text: windows("\n  build_resource_group_name = \"rg-build\"\n  build_key_vault_name = \"kvcontoso\"\n  build_key_vault_secret_name = \"listener\""), prepare: func(r *rig) {
			if err := r.sim.Seed(simulated+"rg-build/providers/Microsoft.KeyVault/vaults/kvcontoso", map[string]any{"location": "westeurope", "properties": map[string]any{"tenantId": sim.DefaultTenant, "enabledForDeployment": true,
				"enableSoftDelete": true, "sku": map[string]any{"family": "A", "name": "standard"}, "accessPolicies": r.sim.VaultPolicies()}}); err != nil {
				r.t.Fatal(err)
			}
		}, want: []want{{"build_key_vault_secret_name", "^PUT /secrets/listener$", "contentType", "application/x-pkcs12"},
			{"build_key_vault_name", putVM, "properties.osProfile.secrets.0.sourceVault.id", simulated + "rg-build/providers/Microsoft.KeyVault/vaults/kvcontoso"}}, also: func(t *testing.T, _ *rig, o outcome) {
			if _, asked := o.asked(putVault, ""); asked {
				t.Error("a vault was made")
			}
		}},
		{name: "another address of the guest", text: windows("\n  winrm_host = \"10.0.0.4\""), want: []want{{"winrm_host", "^DIAL 10.0.0.4:5986$", "", "<nil>"}}},
		{name: "another port, where nobody answers", timed: true, text: windows("\n  winrm_port = 5999\n  winrm_timeout = \"6m\""), fails: "time limit of 6m0s", want: []want{
			{"winrm_port", putNSG, "properties.securityRules.0.properties.destinationPortRange", "5999"}, {"winrm_port", "^DIAL .*:5999$", "", "<nil>"}, {"winrm_timeout", "^DIAL .*:5999$", "", "<nil>"}}},
		{name: "SSH, where nobody answers", timed: true, text: windows("\n  communicator = \"ssh\"\n  ssh_username = \"builder\"\n  ssh_password = \"Test-secret-not-real-1\"\n  ssh_host = \"10.0.0.250\"\n  ssh_timeout = \"7m\""), fails: "time limit of 7m0s", want: []want{
			{"ssh_timeout", "^DIAL 10.0.0.250:22$", "", "<nil>"}}},
		{name: "a VHD as the target", kept: "/contosodisks/", text: windows("\n  resource_group_name = \"rg-images\"\n  storage_account = \"contosodisks\"\n  capture_container_name = \"vhds\"\n  capture_name_prefix = \"w11-\"\n  sas_token_duration = \"90m\""), prepare: func(r *rig) {
			if err := r.sim.SeedVHD(vhd); err != nil { // makes the container
				r.t.Fatal(err)
			}
		}, want: []want{{"sas_token_duration", "^POST .*/snapshots/[^/]+/beginGetAccess$", "durationInSeconds", "5400"}}},
		{name: "a VHD", text: windowsFrom("\n  image_url = \""+vhd+"\"", gallery("win1")), prepare: func(r *rig) {
			if err := r.sim.SeedVHD(vhd); err != nil {
				r.t.Fatal(err)
			}
		}, want: []want{{"image_url", putImage, disk + "blobUri", vhd}, {"image_url", putImage, disk + "osState", "Generalized"}, {"image_url", putImage, "properties.hyperVGeneration", "V1"},
			{"image_url", putVM, imageID, "RUN-source"}}},
		{name: "a VHD that is not there", text: windowsFrom("\n  image_url = \""+vhd+"\"", gallery("win1")), fails: "BlobNotFound"},
		{name: "a managed image", text: windowsFrom("\n  custom_managed_image_name = \"m\"\n  custom_managed_image_resource_group_name = \"rg-images\"", gallery("win")), prepare: func(r *rig) {
			r.must(windows("  managed_image_name = \"m\"\n  managed_image_resource_group_name = \"rg-images\""))
		}, want: []want{{"custom_managed_image_name", putVM, imageID, simulated + "rg-images/providers/Microsoft.Compute/images/m"}, {"custom_managed_image_resource_group_name", putVM, imageID, simulated + "rg-images/providers/Microsoft.Compute/images/m"}}},
	}
}

const account = `
  winrm_username = "builder"
  winrm_password = "Test-secret-not-real-1"
  winrm_insecure = true`

const vhd = "https://contosodisks.blob.core.windows.net/vhds/base.vhd"

const imageID = "properties.storageProfile.imageReference.id"

func version(definition, v string) string {
	return simulated + "rg-images/providers/Microsoft.Compute/galleries/gal/images/" + definition + "/versions/" + v
}

const bought = `
  image_publisher = "cloud-infrastructure-services"
  image_offer     = "avd-golden-base"
  image_sku       = "avd-golden-base-win11"`

const planned = `
  plan_info {
    plan_name           = "avd-golden-base-win11"
    plan_product        = "avd-golden-base"
    plan_publisher      = "cloud-infrastructure-services"
    plan_promotion_code = "WINTER"
  }`

func accepted(s *sim.Scenario) {
	s.AcceptedTerms = []string{"cloud-infrastructure-services:avd-golden-base:avd-golden-base-win11"}
}

func fromGallery(definition string) string {
	return `
  shared_image_gallery {
    subscription   = "` + sim.DefaultSubscription + `"
    resource_group = "rg-images"
    gallery_name   = "gal"
    image_name     = "` + definition + `"
  }`
}

func twoVersions(r *rig) {
	r.must(windows(""))
	r.must(windows(""))
}

// must builds what a scene starts from.
func (r *rig) must(text string) {
	r.t.Helper()
	if o := r.build(text, nil); o.err != nil || o.problems.HasErrors() {
		r.t.Fatalf("cannot prepare: %v %v\n%s", o.err, o.problems, o.out)
	}
}

func expiry(d time.Duration) string {
	return fmt.Sprint(float64(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Add(d).Unix()))
}

// TestOptions builds every scene and looks for each option where it must have arrived.
func TestOptions(t *testing.T) {
	for _, s := range scenes() {
		t.Run(s.name, func(t *testing.T) {
			if !s.timed {
				t.Parallel()
			}
			w := world()
			if s.world != nil {
				s.world(w)
			}
			r := newRig(t, w, s.timed)
			if s.prepare != nil {
				s.prepare(r)
			}
			o := r.build(r.publicNames(s.text), s.files)
			switch {
			case s.refused != "":
				if !strings.Contains(fmt.Sprint(o.problems), s.refused) || len(o.sent) > 0 {
					t.Fatalf("want it refused with %q: %v %v", s.refused, o.problems, o.err)
				}
				return
			case s.fails != "":
				if o.err == nil || !strings.Contains(o.err.Error(), s.fails) {
					t.Fatalf("want it to fail with %q: %v %v\n%s", s.fails, o.err, o.problems, o.out)
				}
			case o.err != nil || o.problems.HasErrors():
				t.Fatalf("%v %v\n%s", o.err, o.problems, o.out)
			}
			for _, x := range s.want {
				v, found := o.asked(r.publicNames(x.call), x.path)
				want := strings.ReplaceAll(r.publicNames(x.value), "RUN", fmt.Sprintf("%singot-run%05d/providers/Microsoft.Compute/images/ingot-run%05d", simulated, r.runs, r.runs))
				if got := fmt.Sprint(v); !found || got != want {
					t.Errorf("%s: %s has %s = %s, want %s (asked: %v)", x.option, x.call, x.path, got, x.value, found)
				}
			}
			if s.also != nil {
				s.also(t, r, o)
			}
			left := slices.DeleteFunc(r.left(), func(id string) bool {
				return strings.Contains(s.text, "async_resourcegroup_delete") || s.kept != "" && strings.Contains(id, s.kept)
			})
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// publicNames puts the community gallery's public name, which the simulated Azure makes up, where a scene says PUBLIC.
func (r *rig) publicNames(s string) string {
	if !strings.Contains(s, "PUBLIC") {
		return s
	}
	name := r.public()
	return strings.ReplaceAll(s, "PUBLIC", name)
}
