package template

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// aibTemplateText is a small image template; parts replace or add members, "customize", "source" and "distribute" among them.
func aibTemplateText(top, properties string, parts map[string]string) string {
	part := func(name, usual string) string {
		if v, ok := parts[name]; ok {
			return v
		}
		return usual
	}
	return fmt.Sprintf(`{"type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2025-10-01", "location": "westeurope", %s "identity": {"type": "UserAssigned", "userAssignedIdentities": {"%s": {}}},
 "properties": {%s "source": %s, "customize": [%s], "distribute": [%s], "vmProfile": %s}}`, top, identity1, properties,
		part("source", `{"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-25h2-avd", "version": "latest"}`),
		part("customize", `{"type": "PowerShell", "inline": ["a"]}`), part("distribute", aibGallery("")), part("vm", `{"vmSize": "Standard_D4ds_v5"}`))
}

func aibGallery(more string) string {
	return `{"type": "SharedImage", "runOutputName": "out", "galleryImageId": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0", ` + more + `"targetRegions": [{"name": "westeurope"}]}`
}

// reported judges what a conversion says of one option: kind is lossy, impossible or "" for what is exact.
func reported(t *testing.T, what string, list []Loss, field, kind string) {
	t.Helper()
	found := slices.IndexFunc(list, func(l Loss) bool { return strings.Contains(l.Field, field) })
	switch {
	case kind == "" && found >= 0:
		t.Errorf("%s: %+v is reported, and it is exact", what, list[found])
	case kind != "" && found < 0:
		t.Errorf("%s: %q is not reported: %+v", what, field, list)
	case kind != "" && !slices.ContainsFunc(list, func(l Loss) bool { return strings.Contains(l.Field, field) && l.Kind == kind && l.Reason != "" }):
		t.Errorf("%s: %+v, want %s", what, list[found], kind)
	}
}

// TestConvertFromImageBuilder is reference azure-image-builder.md section 7.1: ~ is lossy, ✗ impossible, = not reported.
func TestConvertFromImageBuilder(t *testing.T) {
	const sub = "/subscriptions/other/resourceGroups/rg/providers/"
	managed := `{"type": "ManagedImage", "runOutputName": "m", "location": "uksouth", "imageId": "` + sub + `Microsoft.Compute/images/i"}`
	one := func(name, text string) map[string]string { return map[string]string{name: text} }
	net := func(more string) map[string]string {
		return one("vm", `{"vmSize": "x", "vnetConfig": {"subnetId": "`+sub+`Microsoft.Network/virtualNetworks/v/subnets/n"`+more+`}}`)
	}
	for _, c := range []struct {
		what, top, properties string
		parts                 map[string]string
		field, kind           string
	}{
		{"identity", "", "", nil, "identity", "lossy"},
		{"location", "", "", nil, "location", ""},
		{"tags", `"tags": {"a": "b"},`, "", nil, "tags", "impossible"},
		{"PlatformImage", "", "", nil, "source", ""},
		{"planInfo", "", "", one("source", `{"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s", "version": "1.0.0", "planInfo": {"planName": "a", "planProduct": "b", "planPublisher": "c"}}`), "plan", ""},
		{"ManagedImage", "", "", one("source", `{"type": "ManagedImage", "imageId": "`+sub+`Microsoft.Compute/images/i"}`), "source.imageId", "lossy"},
		{"SharedImageVersion", "", "", one("source", `{"type": "SharedImageVersion", "imageVersionId": "`+sub+`Microsoft.Compute/galleries/g/images/i/versions/latest"}`), "source", ""},
		{"inline", "", "", nil, "inline", ""},
		{"scriptUri", "", "", one("customize", `{"type": "PowerShell", "scriptUri": "https://example.com/a.ps1", "sha256Checksum": "`+strings.Repeat("a", 64)+`"}`), "scriptUri https://example.com/a.ps1", "lossy"},
		{"runElevated", "", "", one("customize", `{"type": "PowerShell", "inline": ["a"], "runElevated": true}`), "customize", ""},
		{"runAsSystem", "", "", one("customize", `{"type": "PowerShell", "inline": ["a"], "runElevated": true, "runAsSystem": true}`), "customize", ""},
		{"validExitCodes", "", "", one("customize", `{"type": "PowerShell", "inline": ["a"], "validExitCodes": [0, 3010]}`), "customize", ""},
		{"Shell", "", "", map[string]string{"customize": `{"type": "Shell", "inline": ["a"]}`, "source": `{"type": "PlatformImage", "publisher": "canonical", "offer": "o", "sku": "s", "version": "latest"}`}, "Shell", "lossy"},
		{"File", "", "", one("customize", `{"type": "File", "sourceUri": "https://example.com/a", "destination": "C:\\a"}`), "sourceUri https://example.com/a", "lossy"},
		{"WindowsRestart", "", "", one("customize", `{"type": "WindowsRestart", "restartCommand": "a", "restartCheckCommand": "b", "restartTimeout": "5m"}`), "estart", ""},
		{"WindowsUpdate", "", "", one("customize", `{"type": "WindowsUpdate", "searchCriteria": "a", "filters": ["include:$true"], "updateLimit": 5}`), "pdate", ""},
		{"deprovision step", "", "", nil, "deprovisioning", "lossy"},
		{"validate", "", `"validate": {"inVMValidations": [{"type": "PowerShell", "inline": ["a"]}]},`, nil, "validate", "impossible"},
		{"vmBoot", "", `"optimize": {"vmBoot": {"state": "Enabled"}},`, nil, "optimize.vmBoot", "impossible"},
		{"workload", "", `"optimize": {"workload": {"state": "Enabled"}},`, nil, "optimize.workload", "impossible"},
		{"errorHandling", "", `"errorHandling": {"onCustomizerError": "abort"},`, nil, "errorHandling", "lossy"},
		{"buildTimeoutInMinutes", "", `"buildTimeoutInMinutes": 100,`, nil, "buildTimeoutInMinutes", "lossy"},
		{"no vmSize", "", "", one("vm", "{}"), "vmSize", "lossy"},
		{"vmSize", "", "", nil, "vmSize", ""},
		{"osDiskSizeGB", "", "", one("vm", `{"osDiskSizeGB": 200}`), "osDisk", ""},
		{"additionalDataDisks", "", `"additionalDataDisks": [{"sizeGB": 10}],`, nil, "isk", ""},
		{"userAssignedIdentities", "", "", one("vm", `{"userAssignedIdentities": ["`+identity1+`"]}`), "vmProfile.userAssigned", ""},
		{"subnetId", "", "", net(""), "vnetConfig.subnetId", "lossy"},
		{"containerInstanceSubnetId", "", "", net(`, "containerInstanceSubnetId": "` + sub + `Microsoft.Network/virtualNetworks/v/subnets/m"`), "vnetConfig", "impossible"},
		{"proxyVmSize", "", "", net(`, "proxyVmSize": "x"`), "vnetConfig", "impossible"},
		{"stagingResourceGroup", "", `"stagingResourceGroup": "/subscriptions/s/resourceGroups/x",`, nil, "stagingResourceGroup", "lossy"},
		{"managedResourceTags", "", `"managedResourceTags": {"a": "b"},`, nil, "managedResourceTags", "lossy"},
		{"distribute ManagedImage location", "", "", one("distribute", managed), "distribute.location", "lossy"},
		{"distribute ManagedImage subscription", "", "", one("distribute", managed), "distribute.imageId", "lossy"},
		{"distribute SharedImage", "", "", nil, "galleryImageId", ""},
		{"replicationMode, excludeFromLatest", "", "", one("distribute", aibGallery(`"replicationMode": "Shallow", "excludeFromLatest": true, `)), "exclude", ""},
		{"storageAccountType", "", "", one("distribute", strings.Replace(aibGallery(""), `"westeurope"`, `"westeurope", "storageAccountType": "Premium_LRS"`, 1)), "storageAccountType", "lossy"},
		{"versioning Latest", "", "", one("distribute", strings.Replace(aibGallery(`"versioning": {"scheme": "Latest", "major": 1}, `), "/versions/1.0.0", "", 1)), "versioning.major", "lossy"},
		{"no version", "", "", one("distribute", strings.Replace(aibGallery(""), "/versions/1.0.0", "", 1)), "versioning", "lossy"},
		{"versioning Source", "", "", one("distribute", strings.Replace(aibGallery(`"versioning": {"scheme": "Source"}, `), "/versions/1.0.0", "", 1)), "versioning.scheme", "impossible"},
		// The table has ~ for a VHD, but a place in a storage account without its resource group is none for azure-arm.
		{"distribute VHD", "", "", one("distribute", `{"type": "VHD", "runOutputName": "v"}`), "distribute VHD", "impossible"},
		{"two managed images", "", "", one("distribute", managed+","+strings.Replace(managed, `"m"`, `"n"`, 1)), "distribute i", "impossible"},
		{"two galleries", "", "", one("distribute", aibGallery("")+","+strings.Replace(aibGallery(""), `"out"`, `"n"`, 1)), "distribute i", "lossy"},
		{"artifactTags", "", "", one("distribute", aibGallery(`"artifactTags": {"a": "b"}, `)), "artifactTags", "lossy"},
		{"runOutputs", "", "", nil, "runOutputName", "lossy"},
		{"autoRun", "", `"autoRun": {"state": "Enabled"},`, nil, "autoRun", "impossible"},
	} {
		dir := write(t, map[string]string{"t.json": aibTemplateText(c.top, c.properties, c.parts)})
		r, problems := Load("t.json", Options{Cwd: dir, Now: now})
		if problems.HasErrors() {
			t.Errorf("%s: %v", c.what, problems)
			continue
		}
		for _, to := range []Language{PackerHCL, PackerJSON} {
			w, err := Convert(r, to, Options{})
			if err != nil {
				t.Fatal(err)
			}
			reported(t, c.what, w.Losses, c.field, c.kind)
		}
	}
}

// TestConvertToImageBuilder is section 7.2. What the table marks ✗ and what has no effect on the image is lossy.
func TestConvertToImageBuilder(t *testing.T) {
	const des = `/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/diskEncryptionSets/d`
	gallery := func(more string) string {
		return "shared_image_gallery_destination {\nresource_group = \"rg\"\ngallery_name = \"g\"\nimage_name = \"i\"\nimage_version = \"1.2.3\"\n" + more + "\n}\n"
	}
	ps := func(more string) string { return "provisioner \"powershell\" {\ninline = [\"a\"]\n" + more + "\n}\n" }
	sh := func(more string) string { return "provisioner \"shell\" {\ninline = [\"a\"]\n" + more + "\n}\n" }
	market := "image_publisher = \"MicrosoftWindowsDesktop\"\nimage_offer = \"windows-11\"\nimage_sku = \"win11-25h2-avd\"\n"
	for _, c := range []struct{ option, source, build, field, kind string }{
		{"image_url", "image_url = \"https://a.blob.core.windows.net/c/d.vhd\"", "", "image_url", "impossible"},
		{"community_gallery_image_id", "shared_image_gallery {\ncommunity_gallery_image_id = \"/CommunityGalleries/a/Images/b\"\n}", "", "community_gallery_image_id", "impossible"},
		{"image_publisher", "", "", "image_", ""}, {"secure boot", `secure_boot_enabled = true`, "", "secure_boot_enabled", "impossible"}, {"vtpm", `vtpm_enabled = true`, "", "vtpm_enabled", "impossible"},
		{"security_type", `security_type = "TrustedLaunch"`, "", "security_type", "impossible"}, {"encryption type", "security_type = \"ConfidentialVM\"", "", "security_encryption_type", "impossible"},
		{"des", `disk_encryption_set_id = "` + des + `"`, "", "disk_encryption_set_id", "impossible"}, {"at host", `encryption_at_host = false`, "", "encryption_at_host", "impossible"},
		{"confidential", "security_type = \"ConfidentialVM\"\n" + gallery(`confidential_vm_image_encryption_type = "EncryptedWithPmk"`), "", "confidential_vm_image_encryption_type", "impossible"},
		{"specialized", gallery("specialized = true"), "", "specialized", "impossible"},
		{"spot", "spot {}", "", "spot", "impossible"}, {"license", `license_type = "Windows_Client"`, "", "license_type", "impossible"}, {"controller", `disk_controller_type = "NVMe"`, "", "disk_controller_type", "lossy"},
		{"accelerated", `accelerated_networking = true`, "", "accelerated_networking", "lossy"}, {"caching", `disk_caching_type = "None"`, "", "disk_caching_type", "lossy"},
		{"custom_data", `custom_data = "YQ=="`, "", "custom_data", "impossible"}, {"user_data", `user_data = "YQ=="`, "", "user_data", "impossible"}, {"custom_script", `custom_script = "x"`, "", "custom_script", "impossible"},
		{"custom_data_file", `custom_data_file = "script.ps1"`, "", "custom_data", "impossible"}, {"user_data_file", `user_data_file = "script.ps1"`, "", "user_data", "impossible"},
		{"boot", `boot_diag_storage_account = "a"`, "", "boot_diag_storage_account", "lossy"}, {"inbound", `allowed_inbound_ip_addresses = ["10.0.0.1"]`, "", "allowed_inbound_ip_addresses", "lossy"}, {"ip", `public_ip_sku = "Standard"`, "", "public_ip_sku", "lossy"},
		{"public", "virtual_network_name = \"v\"\nprivate_virtual_network_with_public_ip = true", "", "private_virtual_network_with_public_ip", "lossy"}, {"temp", `temp_compute_name = "x"`, "", "temp_compute_name", "lossy"}, {"nic", `temp_nic_name = "x"`, "", "temp_nic_name", "lossy"},
		{"disk name", `temp_os_disk_name = "x"`, "", "temp_os_disk_name", "lossy"}, {"group", `temp_resource_group_name = "x"`, "", "temp_resource_group_name", "lossy"}, {"prefix", `custom_resource_build_prefix = "x"`, "", "custom_resource_build_prefix", "lossy"},
		{"vault secret", `build_key_vault_secret_name = "x"`, "", "build_key_vault_secret_name", "lossy"}, {"vault sku", `build_key_vault_sku = "premium"`, "", "build_key_vault_sku", "lossy"}, {"no vault", `skip_create_build_key_vault = true`, "", "skip_create_build_key_vault", "lossy"},
		{"sas", "storage_account = \"a\"\nresource_group_name = \"r\"\nsas_token_duration = \"1h\"", "", "sas_token_duration", "lossy"}, {"keep", `keep_os_disk = true`, "", "keep_os_disk", "impossible"},
		{"snapshot", `managed_image_os_disk_snapshot_name = "x"`, "", "managed_image_os_disk_snapshot_name", "impossible"}, {"snapshots", `managed_image_data_disk_snapshot_prefix = "x"`, "", "managed_image_data_disk_snapshot_prefix", "impossible"},
		{"zone", "managed_image_name = \"m\"\nmanaged_image_resource_group_name = \"r\"\nmanaged_image_zone_resilient = true", "", "managed_image_zone_resilient", "impossible"},
		{"disk type", `managed_image_storage_account_type = "Premium_LRS"`, "", "managed_image_storage_account_type", "lossy"}, {"end of life", `shared_gallery_image_version_end_of_life_date = "2027-01-31T00:00:00Z"`, "", "shared_gallery_image_version_end_of_life_date", "impossible"},
		{"user", `winrm_username = "x"`, "", "communicator", "lossy"}, {"password", `winrm_password = "Aa1!-test-not-real"`, "", "communicator", "lossy"}, {"timeout", `winrm_timeout = "1h"`, "", "communicator", "lossy"}, {"pause", `pause_before_connecting = "1m"`, "", "communicator", "lossy"}, {"port", `winrm_port = 1234`, "", "communicator", "lossy"},
		{"inline", "", ps(""), "powershell", ""}, {"environment_vars", "", ps(`environment_vars = ["A=b"]`), "powershell environment", "lossy"}, {"env", "", ps(`env = { A = "b" }`), "powershell environment", "lossy"},
		{"execute_command", "", ps(`execute_command = "x"`), "powershell options", "lossy"}, {"execution_policy", "", ps(`execution_policy = "allsigned"`), "execution_policy", "lossy"}, {"use_pwsh", "", ps(`use_pwsh = true`), "powershell options", "lossy"},
		{"scripts", "", "provisioner \"powershell\" {\nscripts = [\"script.ps1\"]\n}\n", "script.ps1", "lossy"}, {"pause_before", "", ps(`pause_before = "1s"`), "pause_before", "lossy"}, {"max_retries", "", ps(`max_retries = 2`), "max_retries", "lossy"},
		{"timeout", "", ps(`timeout = "1m"`), "powershell timeout", "lossy"}, {"start_retry_timeout", "", ps(`start_retry_timeout = "1m"`), "powershell options", "lossy"}, {"remote_path", "", ps(`remote_path = "x"`), "powershell options", "lossy"},
		{"elevated_user", "", ps("elevated_user = \"me\"\nelevated_password = \"test-not-real\""), "elevated_user", "lossy"}, {"SYSTEM", "", ps(`elevated_user = "SYSTEM"`), "elevated", ""}, {"own user", "", ps("elevated_user = build.User\nelevated_password = build.Password"), "elevated", ""},
		{"continue_on_error", "", ps(`continue_on_error = true`), "continue_on_error", "lossy"}, {"pause_after", "", ps(`pause_after = "1s"`), "pause_after", "lossy"},
		{"shell environment", "", sh(`environment_vars = ["A=b"]`), "shell environment", "lossy"}, {"shell execute_command", "", sh(`execute_command = "x"`), "execute_command", "lossy"}, {"expect_disconnect", "", sh(`expect_disconnect = true`), "expect_disconnect", "lossy"},
		{"shell codes", "", sh(`valid_exit_codes = [1]`), "valid_exit_codes", "lossy"}, {"shell pause", "", sh(`pause_after = "1s"`), "pause_after", "lossy"},
		// The table has ~ for files: they can be uploaded, which a conversion does not.
		{"file", "", "provisioner \"file\" {\nsource = \"script.ps1\"\ndestination = \"C:/\"\n}\n", "provisioner file", "impossible"}, {"content", "", "provisioner \"file\" {\ncontent = \"x\"\ndestination = \"C:/a\"\n}\n", "provisioner file", "impossible"},
		{"download", "", "provisioner \"file\" {\nsource = \"C:/a\"\ndestination = \"a\"\ndirection = \"download\"\n}\n", "provisioner file", "impossible"},
		{"check_registry", "", "provisioner \"windows-restart\" {\ncheck_registry = true\n}\n", "check_registry", "lossy"}, {"windows-restart", "", "provisioner \"windows-restart\" {}\n", "windows-restart", ""},
		{"ansible", "", "provisioner \"ansible\" {\nplaybook_file = \"script.ps1\"\n}\n", "provisioner ansible", "impossible"}, {"chef-solo", "", "provisioner \"chef-solo\" {}\n", "provisioner chef-solo", "impossible"},
		{"puppet", "", "provisioner \"puppet-server\" {}\n", "provisioner puppet-server", "impossible"}, {"dsc", "", "provisioner \"dsc\" {\nmof_path = \"script.ps1\"\n}\n", "provisioner dsc", "impossible"},
		{"shell-local", "", "provisioner \"shell-local\" {\ncommand = \"x\"\n}\n", "provisioner shell-local", "impossible"}, {"breakpoint", "", "provisioner \"breakpoint\" {}\n", "provisioner breakpoint", "impossible"},
		{"hcp-sbom", "", "provisioner \"hcp-sbom\" {\nsource = \"a\"\n}\n", "provisioner hcp-sbom", "impossible"}, {"batch", "", "provisioner \"windows-shell\" {\ninline = [\"a\"]\n}\n", "provisioner windows-shell", "impossible"},
		{"manifest", "", "post-processor \"manifest\" {}\n", "post-processor", "impossible"}, {"shell-local after", "", "post-processor \"shell-local\" {\ncommand = \"x\"\n}\n", "post-processor", "impossible"},
		{"cleanup", "", "error-cleanup-provisioner \"powershell\" {\ninline = [\"a\"]\n}\n", "error-cleanup-provisioner", "impossible"},
		{"sysprep", "", "provisioner \"powershell\" {\ninline = [\"& $env:SystemRoot/System32/Sysprep/Sysprep.exe /oobe /generalize /quiet\"]\n}\n", "provisioner powershell", "lossy"},
		{"azure_tags", `azure_tags = { a = "b" }`, "", "azure_tags", "lossy"}, {"image_version", "", "", "version", ""}, {"regions", gallery(`replication_regions = ["uksouth"]`), "", "region", ""},
		{"replicas", gallery("target_region {\nname = \"uksouth\"\nreplicas = 2\n}"), "", "region", ""}, {"region des", gallery("target_region {\nname = \"uksouth\"\ndisk_encryption_set_id = \"" + des + "\"\n}"), "", "target_region.disk_encryption_set_id", "impossible"},
		{"sign in", "client_id = \"c\"\nclient_secret = \"test-not-real\"\nsubscription_id = \"s\"", "", "client_id", "lossy"}, {"identity", "", "", "identity", "lossy"},
		{"sensitive", "", ps(`environment_vars = ["A=${var.secret}"]`), "secrets", "lossy"}, {"variables", "", ps(""), "variables", "lossy"}, {"promotion", "plan_info {\nplan_name = \"a\"\nplan_product = \"b\"\nplan_publisher = \"c\"\nplan_promotion_code = \"d\"\n}", "", "plan_promotion_code", "lossy"},
		{"skip", "skip_create_image = true", "", "skip_create_image", "impossible"}, {"existing group", "build_resource_group_name = \"rg\"", "", "build_resource_group_name", "lossy"}, {"luns", "disk_additional_size = [1]\ndisk_additional_luns = [3]", "", "disk_additional_luns", "lossy"},
	} {
		text := "variable \"secret\" {\nsensitive = true\ndefault = \"test-secret-not-real\"\n}\nsource \"azure-arm\" \"w\" {\nos_type = \"Windows\"\nvm_size = \"Standard_D2s_v5\"\ncommunicator = \"winrm\"\n" + c.source + "\n"
		if !strings.Contains(c.source, "build_resource_group_name") {
			text += "location = \"westeurope\"\n"
		}
		if !strings.Contains(c.source, "image_url") && !strings.Contains(c.source, "shared_image_gallery {") {
			text += market
		}
		if !strings.Contains(c.source, "destination") && !strings.Contains(c.source, "managed_image_name") && !strings.Contains(c.source, "sas_") {
			text += gallery("")
		}
		r, problems := load(t, text+"}\nbuild {\nsources = [\"source.azure-arm.w\"]\n"+c.build+"}\n", Options{})
		if problems.HasErrors() {
			t.Errorf("%s: %v", c.option, problems)
			continue
		}
		w, err := Convert(r, ImageBuilder, Options{})
		if err != nil {
			t.Fatal(err)
		}
		reported(t, c.option, w.Losses, c.field, c.kind)
	}
}

// TestConvertHidesSecrets: no language gets a secret's value, wherever it stood, and the parameter of an environment line is the
// secret itself.
func TestConvertHidesSecrets(t *testing.T) {
	const marker = "it's-a-Marker-not-real"
	text := "variable \"s\" {\nsensitive = true\n}\n" + fmt.Sprintf(sound, "client_id = \"c\"\nsubscription_id = \"s\"\nclient_secret = \"literal-"+marker+"\"\nwinrm_password = var.s\nuser_data = base64encode(var.s)", `
  provisioner "powershell" {
    environment_vars = ["PLAIN=it's", "ONE=${var.s}"]
    env              = { "T-W-O" = var.s }
    inline           = ["echo ${var.s}", "echo plain"]
  }
  provisioner "powershell" {
    environment_vars  = ["THREE=x${var.s}"]
    elevated_user     = "me"
    elevated_password = "literal-`+marker+`"
    script            = "script.ps1"
  }
  provisioner "shell-local" {
    command = "echo ${var.s}"
  }`)
	for _, to := range []Language{PackerHCL, PackerJSON, ImageBuilder} {
		r, problems := load(t, text, Options{NoScriptCheck: true, Vars: []string{"s=" + marker}})
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		w, err := Write(r.Images, to)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(w.Text), "Marker") || strings.Contains(fmt.Sprintf("%+v %#v", w, w), marker) || len(w.Needs) == 0 {
			t.Errorf("%s: %v\n%s", to, w.Needs, w.Text)
		}
		dir := write(t, map[string]string{"script.ps1": "exit 0"})
		back := again(t, dir, w, to, placeholdersOf(string(w.Text), to)...).Images[0]
		if to != ImageBuilder {
			if d := same(r.Images[0], back); d != "" && !strings.Contains(d, "Script") {
				t.Errorf("%s: %s", to, d)
			}
			continue
		}
		for _, exact := range []string{`"[concat('$env:ONE = ''', replace(parameters('environment_vars_1'), '''', ''''''), '''')]"`, "$env:PLAIN = 'it''s'", `${env:T-W-O} = `} {
			if !strings.Contains(string(w.Text), exact) {
				t.Errorf("%s is not in\n%s", exact, w.Text)
			}
		}
		if v, _ := w.value("environment_vars_1"); v != marker {
			t.Errorf("the parameter is %q", v)
		}
		var got []string
		for _, p := range back.Provision {
			for _, l := range provisioner.Texts(p.Settings.(provisioner.Settings)) {
				if got = append(got, l.Reveal()); strings.Contains(l.Reveal(), "Marker") && l.Secret() == "" {
					t.Errorf("%s is not hidden any more", l.Reveal())
				}
			}
		}
		quoted := strings.ReplaceAll(marker, "'", "''")
		for _, line := range []string{"$env:PLAIN = 'it''s'", "$env:ONE = '" + quoted + "'", "${env:T-W-O} = '" + quoted + "'", "echo " + marker, "echo plain", "$env:THREE = 'x" + quoted + "'", "exit 0"} {
			if !strings.Contains(strings.Join(got, "\n")+"\n", line+"\n") {
				t.Errorf("%q is not in %q", line, got)
			}
		}
	}
}

// TestConvertUpgrade: Packer's older language in HCL keeps variables and comments, and means the same with the same -var.
func TestConvertUpgrade(t *testing.T) {
	const marker = "Marker-not-a-real-secret"
	text := `{
  "_comment": "the first line\nthe second ${x}",
  "description": "what it is for",
  "min_packer_version": "1.10.0",
  "variables": {"plain": "a {b} ${c}", "odd.name": "o", "1st": "f", "computed": "{{user ` + "`plain`" + `}}-{{isotime ` + "`2006`" + `}}", "env": "{{env ` + "`HERE`" + `}}", "needed": null, "pw": "default-` + marker + `", "number": 5, "empty": ""},
  "sensitive-variables": ["pw", "empty"],
  "builders": [
    {"type": "azure-arm", "name": "one two", "client_id": "c", "subscription_id": "s", "client_secret": "literal-` + marker + `", "os_type": "Windows", "image_publisher": "p", "image_offer": "o", "image_sku": "s", "location": "West Europe", "vm_size": "{{user ` + "`needed`" + `}}",
     "communicator": "winrm", "winrm_use_ssl": "true", "winrm_password": "{{user ` + "`pw`" + `}}", "os_disk_size_gb": "200", "disk_additional_size": [1, "2"],
     "azure_tags": {"a${b}": "{{user ` + "`computed`" + `}}", "c\"d": "{{user ` + "`odd.name`" + `}}{{user ` + "`1st`" + `}}{{user ` + "`env`" + `}}{{user ` + "`number`" + `}}", "e": "{{` + "`{{`" + `}}isotime}}"},
     "shared_image_gallery_destination": {"resource_group": "r", "gallery_name": "g", "image_name": "i", "image_version": "1.0.0", "target_region": [{"name": "westeurope", "replicas": 2}, {"name": "uksouth"}]}},
    {"type": "azure-arm", "client_id": "c", "subscription_id": "s", "client_secret": "literal-` + marker + `2", "os_type": "Windows", "image_publisher": "p", "image_offer": "o", "image_sku": "s", "location": "West Europe", "vm_size": "x",
     "communicator": "winrm", "winrm_use_ssl": true, "managed_image_name": "m", "managed_image_resource_group_name": "r", "azure_tag": [{"name": "n", "value": "v"}]}
  ],
  "provisioners": [
    {"type": "powershell", "only": ["one two"], "inline": ["a"], "pause_before": "10s"},
    {"type": "powershell", "except": ["one two"], "inline": ["b '{{build ` + "`User`" + `}}'"], "environment_vars": ["P={{user ` + "`pw`" + `}}"]},
    {"type": "powershell", "inline": ["c"], "elevated_user": "me", "elevated_password": "literal-` + marker + `", "override": {"one two": {"inline": ["d"]}}, "execute_command": "{{.Vars}} x {{.Path}}"},
    {"type": "windows-restart"}
  ],
  "post-processors": ["manifest", [{"type": "shell-local", "inline": ["x"], "only": ["azure-arm"]}]]
}`
	for _, given := range [][]string{{"needed=n"}, {"needed=n", "computed=given {{x", "plain=p", "pw=other-" + marker, "empty=e-" + marker}} {
		o := Options{Cwd: write(t, map[string]string{"t.json": text}), Now: now, Env: []string{"HERE=here"}, Vars: given}
		r, problems := Load("t.json", o)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		w, err := Convert(r, PackerHCL, o)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(w.Text), marker) {
			t.Errorf("a secret is in\n%s", w.Text)
		}
		for _, want := range []string{"# the first line\n# the second ${x}\n", "# what it is for\n", `required_version = ">= 1.10.0"`, `variable "plain"`, `default = env("HERE")`, `"azure-arm.one_two"`, `default   = ""`} {
			if !strings.Contains(string(w.Text), want) {
				t.Errorf("%q is not in\n%s", want, w.Text)
			}
		}
		if !slices.Equal(w.Needs, []string{"pw", "client_secret", "client_secret_2", "elevated_password"}) {
			t.Errorf("it needs %v", w.Needs)
		}
		reported(t, "odd.name", w.Losses, "variables.odd.name", "lossy")
		reported(t, "sensitive default", w.Losses, "variables.pw", "lossy")
		reported(t, "name", w.Losses, "builders.name", "lossy")
		dir := write(t, map[string]string{"u.pkr.hcl": string(w.Text)})
		vars := []string{}
		for _, n := range w.Needs {
			v, _ := w.value(n)
			vars = append(vars, n+"="+v)
		}
		for _, v := range given {
			name, value, _ := strings.Cut(v, "=")
			vars = append(vars, name+"="+literal(value))
		}
		back, problems := Load("u.pkr.hcl", Options{Cwd: dir, Now: now, Env: o.Env, Vars: vars})
		if problems.HasErrors() {
			t.Fatalf("%v\n%s", problems, w.Text)
		}
		for i, img := range r.Images {
			other := back.Images[i]
			img.Manifests[0].Output, other.Manifests[0].Output = "", "" // each in its own folder
			if d := same(img, other); d != "" {
				t.Errorf("%v: image %d: %s\n%s", given, i, d, w.Text)
			}
		}
	}
}

// TestConvertKeepsTemplatesApart: image templates of one deployment have secrets of the same place.
func TestConvertKeepsTemplatesApart(t *testing.T) {
	one := aibTemplateText(`"name": "one",`, "", map[string]string{"customize": `{"type": "PowerShell", "inline": ["[parameters('a')]"]}`})
	two := aibTemplateText(`"name": "two",`, "", map[string]string{"customize": `{"type": "PowerShell", "inline": ["[parameters('b')]"]}`})
	text := `{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0", "parameters": {"a": {"type": "securestring"}, "b": {"type": "securestring"}}, "resources": [` + one + "," + two + "]}"
	r, problems := Load("t.json", Options{Cwd: write(t, map[string]string{"t.json": text}), Now: now, Vars: []string{"a=test-one-not-real", "b=test-two-not-real"}})
	if problems.HasErrors() || len(r.Images) != 2 {
		t.Fatal(problems)
	}
	w, err := Convert(r, PackerHCL, Options{})
	if err != nil || len(w.Needs) != 2 {
		t.Fatal(err, w.Needs)
	}
	if len(r.Secrets) != 2 {
		t.Errorf("two secrets have one name: %d", len(r.Secrets))
	}
	if _, err := Convert(r, ImageBuilder, Options{}); err == nil || !strings.Contains(err.Error(), "-only") {
		t.Error(err)
	}
}

// TestConvertKeepsTheVersion: an image template stays with its api-version unless something newer is written.
func TestConvertKeepsTheVersion(t *testing.T) {
	managed := map[string]string{"distribute": `{"type": "ManagedImage", "runOutputName": "m", "location": "uksouth", "imageId": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/images/i"}`}
	for _, c := range []struct {
		parts                           map[string]string
		properties, before, after, loss string
	}{
		{managed, "", "2020-02-14", "2020-02-14", ""},
		{nil, "", "2020-02-14", "2022-07-01", "lossy"},
		{nil, `"autoRun": {"state": "Enabled"},`, "2022-07-01", "2024-02-01", "lossy"},
		{nil, "", "2025-10-01", "2025-10-01", ""},
	} {
		text := strings.Replace(aibTemplateText("", c.properties, c.parts), "2025-10-01", c.before, 1)
		r, problems := Load("t.json", Options{Cwd: write(t, map[string]string{"t.json": text}), Now: now})
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		w, err := Convert(r, ImageBuilder, Options{})
		if err != nil || !strings.Contains(string(w.Text), `"apiVersion": "`+c.after+`"`) {
			t.Errorf("%s: %v\n%s", c.before, err, w.Text)
		}
		reported(t, c.before, w.Losses, "apiVersion", c.loss)
	}
}

// TestConvertBrackets: in a deployment template, what looks like an expression is escaped, and nothing else.
func TestConvertBrackets(t *testing.T) {
	text := "variable \"s\" {\nsensitive = true\ndefault = \"test-secret-not-real\"\n}\n" + fmt.Sprintf(sound, "azure_tags = { \"[a]\" = \"[b]\" }", "provisioner \"powershell\" {\ninline = [var.s, \"[Net.ServicePointManager]::x = 1\", \"[x]\", \"[[y\"]\n}")
	r, problems := load(t, text, Options{NoScriptCheck: true})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	w, err := Convert(r, ImageBuilder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"[Net.ServicePointManager]::x = 1"`, `"[[x]"`, `"[[[y"`, `"[[a]": "[[b]"`} {
		if !strings.Contains(string(w.Text), want) {
			t.Errorf("%s is not in\n%s", want, w.Text)
		}
	}
	back := again(t, t.TempDir(), w, ImageBuilder, placeholdersOf(string(w.Text), ImageBuilder)...).Images[0]
	if d := same(&image.Image{Provision: r.Images[0].Provision}, &image.Image{Provision: back.Provision}); d != "" {
		t.Error(d)
	}
}

// TestConvertNamesPlugins: packer init fetches what a written template needs.
func TestConvertNamesPlugins(t *testing.T) {
	w, err := Write([]*image.Image{{Name: "azure-arm.x", Provision: []image.Provision{{Type: "windows-update", Settings: &provisioner.WindowsUpdate{}}}}}, PackerHCL)
	if err != nil || !strings.Contains(string(w.Text), `"github.com/rgl/windows-update"`) || strings.Contains(string(w.Text), "ansible") {
		t.Errorf("%v\n%s", err, w.Text)
	}
}
