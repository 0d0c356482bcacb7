package aib

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/diag"
	"ingot/internal/template"
)

// source is a template that Image Builder can build exactly; SOURCE and BUILD take more options and steps.
const source = `
source "azure-arm" "w" {
  image_publisher = "MicrosoftWindowsDesktop"
  image_offer     = "windows-11"
  image_sku       = "win11-25h2-avd"
  os_type         = "Windows"
  location        = "LOCATION"
  communicator    = "winrm"
  winrm_use_ssl   = true
  shared_image_gallery_destination {
    resource_group = "rg"
    gallery_name   = "g"
    image_name     = "i"
    image_version  = "1.0.0"
    DESTINATION
  }
  SOURCE
}
build {
  sources = ["source.azure-arm.w"]
  BUILD
}
`

// TestConversionTable holds Check against the table of what becomes of Packer's options on Image Builder (reference azure-image-builder.md,
// section 7.2), a row each: nothing (exact, or done in another way), a warning (no effect on the image), an error that --allow-lossy
// makes a warning (lossy), an error (impossible).
func TestConversionTable(t *testing.T) {
	const exact, warning, lossy, impossible = "exact", "warning", "lossy", "impossible"
	for _, c := range []struct{ name, location, source, destination, build, want, says string }{
		{"nothing more", "", "", "", "", exact, ""},
		{"secure boot, vTPM", "", "secure_boot_enabled = true\n vtpm_enabled = true", "", "", warning, "takes it from the source"},
		{"trusted launch", "", `security_type = "TrustedLaunch"`, "", "", warning, "security_type"},
		{"encryption at host", "", "encryption_at_host = true", "", "", warning, "encryption_at_host"},
		{"disk encryption set", "", `disk_encryption_set_id = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/diskEncryptionSets/d"`, "", "", impossible, "disk_encryption_set_id"},
		{"specialized", "", "", "specialized = true", "", impossible, "always generalises"},
		{"spot", "", "spot {\n eviction_policy = \"Deallocate\"\n }", "", "", warning, "spot"},
		{"license", "", `license_type = "Windows_Client"`, "", "", warning, "license_type"},
		{"caching, accelerated", "", "disk_caching_type = \"ReadOnly\"\n accelerated_networking = true", "", "", warning, "fixed by the service"},
		{"custom data", "", `custom_data = "aGk="`, "", "", impossible, "custom_data"},
		{"custom script", "", `custom_script = "echo"`, "", "", impossible, "custom_script"},
		{"end of life", "", `shared_gallery_image_version_end_of_life_date = "2030-01-01T00:00:00Z"`, "", "", impossible, "end_of_life"},
		{"names", "", "temp_compute_name = \"a\"\n temp_resource_group_name = \"b\"", "", "", warning, "temp_compute_name"},
		{"communicator", "", `winrm_timeout = "7m"`, "", "", warning, "communicator"},
		{"skip_create_image", "", "skip_create_image = true", "", "", impossible, "skip_create_image"},
		{"environment", "", "", "", "provisioner \"powershell\" {\n environment_vars = [\"A=b\"]\n inline = [\"x\"]\n }", exact, ""},
		{"pause before", "", "", "", "provisioner \"powershell\" {\n pause_before = \"10s\"\n inline = [\"x\"]\n }", exact, ""},
		{"retries", "", "", "", "provisioner \"powershell\" {\n max_retries = 2\n inline = [\"x\"]\n }", lossy, "max_retries"},
		{"timeout of a step", "", "", "", "provisioner \"powershell\" {\n timeout = \"10m\"\n inline = [\"x\"]\n }", lossy, "timeout"},
		{"execute_command", "", "", "", "provisioner \"powershell\" {\n execute_command = \"{{.Path}}\"\n inline = [\"x\"]\n }", lossy, "how a script is started"},
		{"execution_policy", "", "", "", "provisioner \"powershell\" {\n execution_policy = \"remotesigned\"\n inline = [\"x\"]\n }", lossy, "execution_policy"},
		{"elevated as somebody", "", "", "", "provisioner \"powershell\" {\n elevated_user = \"me\"\n elevated_password = \"p\"\n inline = [\"x\"]\n }", lossy, "elevated_user"},
		{"elevated as SYSTEM", "", "", "", "provisioner \"powershell\" {\n elevated_user = \"SYSTEM\"\n inline = [\"x\"]\n }", exact, ""},
		{"exit codes", "", "", "", "provisioner \"powershell\" {\n valid_exit_codes = [0, 3010]\n inline = [\"x\"]\n }", exact, ""},
		{"local script", "", "", "", "provisioner \"powershell\" {\n script = \"a.ps1\"\n }", exact, ""},
		{"local script with variables", "", "", "", "provisioner \"powershell\" {\n environment_vars = [\"A=b\"]\n script = \"a.ps1\"\n }", exact, ""},
		{"file", "", "", "", "provisioner \"file\" {\n source = \"a.ps1\"\n destination = \"C:/a.ps1\"\n }", exact, ""},
		{"folder", "", "", "", "provisioner \"file\" {\n source = \"folder\"\n destination = \"C:/a\"\n }", exact, ""},
		{"content", "", "", "", "provisioner \"file\" {\n content = \"a\"\n destination = \"C:/a.txt\"\n }", exact, ""},
		{"download", "", "", "", "provisioner \"file\" {\n direction = \"download\"\n source = \"C:/a\"\n destination = \"a\"\n }", impossible, "nothing can be downloaded"},
		{"restart", "", "", "", "provisioner \"windows-restart\" {\n restart_timeout = \"15m\"\n }", exact, ""},
		{"restart, registry", "", "", "", "provisioner \"windows-restart\" {\n check_registry = true\n }", lossy, "check_registry"},
		{"update", "", "", "", "provisioner \"windows-update\" {\n filters = [\"include:$true\"]\n }", exact, ""},
		{"shell-local", "", "", "", "provisioner \"shell-local\" {\n inline = [\"x\"]\n }", impossible, "PowerShell, File"},
		{"breakpoint", "", "", "", "provisioner \"breakpoint\" {}", impossible, "PowerShell, File"},
		{"batch", "", "", "", "provisioner \"windows-shell\" {\n inline = [\"x\"]\n }", impossible, "batch"},
		{"ansible", "", "", "", "provisioner \"ansible\" {\n playbook_file = \"a.ps1\"\n }", impossible, "PowerShell, File"},
		{"chef", "", "", "", "provisioner \"chef-solo\" {\n run_list = [\"recipe[a]\"]\n }", impossible, "PowerShell, File"},
		{"dsc", "", "", "", "provisioner \"dsc\" {\n manifest_file = \"a.ps1\"\n }", impossible, "PowerShell, File"},
		{"inspec", "", "", "", "provisioner \"inspec\" {\n profile = \"folder\"\n }", impossible, "PowerShell, File"},
		{"puppet", "", "", "", "provisioner \"puppet-masterless\" {\n manifest_file = \"a.ps1\"\n }", impossible, "PowerShell, File"},
		{"image_url", "", `image_url = "https://a.blob.core.windows.net/c/x.vhd"`, "", "", impossible, "takes no VHD"},
		{"community gallery", "", "shared_image_gallery {\n community_gallery_image_id = \"/CommunityGalleries/c/Images/i/Versions/1.0.0\"\n }", "", "", impossible, "community gallery"},
		{"directly shared gallery", "", "shared_image_gallery {\n direct_shared_gallery_image_id = \"/sharedGalleries/s/images/i/versions/1.0.0\"\n }", "", "", exact, ""},
		{"gallery version", "", "shared_image_gallery {\n subscription = \"s\"\n resource_group = \"r\"\n gallery_name = \"g2\"\n image_name = \"i\"\n image_version = \"1.0.0\"\n }", "", "", exact, ""},
		{"regions with replicas", "", "", "target_region {\n name = \"westeurope\"\n replicas = 2\n }", "", exact, ""},
		{"encryption set of a region", "", "", "target_region {\n name = \"westeurope\"\n disk_encryption_set_id = \"/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/diskEncryptionSets/d\"\n }", "", impossible, "disk_encryption_set_id"},
		{"shallow replication", "", "", "use_shallow_replication = true", "", exact, ""},
		{"post-processor", "", "", "", "post-processor \"manifest\" {}", exact, ""},
		{"sysprep at the end", "", "", "", "provisioner \"powershell\" {\n inline = [\"& $env:SystemRoot\\\\System32\\\\Sysprep\\\\Sysprep.exe /oobe /generalize /quiet /quit /mode:vm\"]\n }", exact, ""},
		{"sysprep in the middle", "", "", "", "provisioner \"powershell\" {\n inline = [\"& $env:SystemRoot\\\\System32\\\\Sysprep\\\\Sysprep.exe /oobe /generalize /quiet /quit\"]\n }\n provisioner \"powershell\" {\n inline = [\"x\"]\n }", lossy, "runs sysprep"},
		{"tags", "", "azure_tags = { a = \"b\" }", "", "", exact, ""},
		{"region", "antarctica", "", "", "", impossible, "does not run in antarctica"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			location := c.location
			if location == "" {
				location = "westeurope"
			}
			frame := source
			if strings.Contains(c.source, "shared_image_gallery {") || strings.Contains(c.source, "image_url") { // in the marketplace's place
				for _, option := range []string{"image_publisher = \"MicrosoftWindowsDesktop\"", "image_offer     = \"windows-11\"", "image_sku       = \"win11-25h2-avd\""} {
					frame = strings.Replace(frame, option, "", 1)
				}
			}
			text := strings.NewReplacer("LOCATION", location, "SOURCE", c.source, "DESTINATION", c.destination, "BUILD", c.build).Replace(frame)
			for name, body := range map[string]string{"t.pkr.hcl": text, "a.ps1": "Write-Host a\n", "folder/b.txt": "b\n"} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r, problems := template.Load(filepath.Join(dir, "t.pkr.hcl"), template.Options{Cwd: dir})
			if problems.HasErrors() {
				t.Fatal(problems)
			}
			img := r.Images[0]
			found := Engine{}.Check(img)
			got := exact
			if len(found) > 0 {
				got = warning
			}
			if found.HasErrors() {
				got = impossible
				img.Engine.AllowLossy = true
				if again := (Engine{}).Check(img); !again.HasErrors() {
					got = lossy
				}
			}
			if got != c.want {
				t.Errorf("%s, want %s: %v", got, c.want, found)
			}
			said := false
			for _, p := range found {
				said = said || strings.Contains(p.Summary, c.says)
				if p.Severity == diag.Error && p.Remedy == "" {
					t.Errorf("no remedy: %s", p.Summary)
				}
			}
			if c.says != "" && !said {
				t.Errorf("nothing says %q: %v", c.says, found)
			}
		})
	}
}
