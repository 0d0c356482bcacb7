package template

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/powershell"
	"ingot/internal/provisioner"
)

// ownSteps is a build with two named provisioners, and what more is given.
func ownSteps(more string) string {
	return fmt.Sprintf(sound, "", "  provisioner \"powershell\" {\n    name   = \"first of ours\"\n    inline = [\"a\"]\n  }\n  provisioner \"powershell\" {\n    name   = \"second of ours\"\n    inline = [\"b\"]\n  }\n"+more)
}

func loadAVD(t testing.TB, template, ingot string, o Options) (*Result, diag.List) {
	t.Helper()
	o.Now, o.Cwd = now, write(t, map[string]string{"t.pkr.hcl": template, "t.ingot.hcl": ingot})
	return Load("t.pkr.hcl", o)
}

func onlyErrors(list diag.List) (out diag.List) {
	for _, p := range list {
		if p.Severity == diag.Error {
			out = append(out, p)
		}
	}
	return out
}

// stepNames are those of an image's provisioners.
func stepNames(img *image.Image) (out []string) {
	for _, p := range img.Provision {
		out = append(out, p.Name)
	}
	return out
}

// TestAVDCustomizers: each of them loads and becomes the provisioners that it should, called as the script wants it, and each of its rules is told
// with its line (counted from the block's).
func TestAVDCustomizers(t *testing.T) {
	type wrong struct {
		options string
		line    int
		want    string
	}
	for name, c := range map[string]struct {
		options string   // of a sound one
		call    string   // of the script
		lines   []string // parts of the wrapper
		wrong   []wrong
	}{
		"admin_sysprep":         {"", "& $file *>&1", []string{"Only Image Builder has", "-notmatch '/mode:vm'"}, []wrong{{"mode = 1", 2, `unknown option "mode"`}}},
		"disable_auto_updates":  {"", "& $file *>&1", []string{`$text.Replace('"HKLM\', '"HKLM:\')`, "AutoDownload", "HKU\\ingot-default"}, []wrong{{"mode = 1", 2, `unknown option "mode"`}}},
		"disable_storage_sense": {"", "& $file *>&1", []string{`'HKLM:\SOFTWARE\Policies\Microsoft\Windows\StorageSense'`, "AllowStorageSenseGlobal"}, []wrong{{"mode = 1", 2, `unknown option "mode"`}}},
		"fslogix_kerberos":      {"", "& $file *>&1", []string{"CloudKerberosTicketRetrievalEnabled", "LoadCredKeyFromProfile"}, []wrong{{"mode = 1", 2, `unknown option "mode"`}}},
		"rdp_shortpath":         {"", "& $file *>&1", []string{"UdpPortNumber", "-ne '3390'", "Get-NetFirewallRule"}, []wrong{{"mode = 1", 2, `unknown option "mode"`}}},
		"timezone_redirection":  {"", "& $file *>&1", []string{"fEnableTimeZoneRedirection", "-ne '1'"}, []wrong{{"mode = 1", 2, `unknown option "mode"`}}},
		"windows_update":        {"", "", nil, []wrong{{"mode = 1", 2, `unknown option "mode"`}}},
		"configure_office_apps": {"applications = [\"Visio\", \"Project\"]\ntype = \"Add\"", "& $file -Applications @('Visio', 'Project') -Version '64' -Type 'Add' *>&1", []string{"ProductReleaseIds", "VisioProRetail", "ProjectProRetail"}, []wrong{
			{"type = \"Add\"", 1, "needs applications"}, {"applications = [\"Visio\"]", 1, "needs type"}, {"applications = [\"Word\"]\ntype = \"Add\"", 2, "type Add does not take Word"}, {"type = \"Remove\"\napplications = [\"Word\",\n\"Visio\"]", 4, "type Remove does not take Visio"},
			{"applications = [\"Vision\"]\ntype = \"Add\"", 2, `did you mean "Visio"?`}, {"applications = [\"Visio\"]\ntype = \"Ad\"", 3, `did you mean "Add"?`}, {"applications = [\"Visio\"]\ntype = \"Add\"\nversion = 16", 4, "use one of 32; 64"}}},
		"fslogix": {"profile_path = \"\\\\\\\\server\\\\profiles\"\nvhd_size_mb = 40000", `& $file -FSLogixInstaller 'https://aka.ms/fslogix_download' -ProfilePath '\\server\profiles' -VHDSize '40000' *>&1`, []string{"'type=smb,connectionString=\\\\server\\profiles'", "SizeInMBs", "frxsvc.exe", "Invoke-WebRequest:UseBasicParsing"}, []wrong{
			{`profile_path = "\\\\server"`, 2, "is no share"}, {`profile_path = "\\server\\share"`, 2, "is no share"}, {"vhd_size_mb = -1", 2, "is negative"}, {`vhd_size_mb = "big"`, 2, "not a whole number"}, {"installer_url = \"fslogix.zip\"", 2, "is no address"}, {"vhd_size = 1", 2, "vhd_size_mb"}}},
		"install_language_packs": {"languages = [\"French (France)\", \"Norwegian, Bokmål (Norway)\"]", "& $file -LanguageList @('French (France)', ('Norwegian, Bokm' + [char]0xE5 + 'l (Norway)')) *>&1", []string{"Installed language fr-FR", "Installed language nb-NO", "UTF8Encoding $true"}, []wrong{
			{"", 1, "needs languages"}, {"languages = [\"French (France)\",\n\"Frensh (France)\"]", 3, `did you mean "French (France)"?`}, {"languages = [\"fr-FR\"]", 2, "does not know"}}},
		"multimedia_redirection": {"vc_redistributable_url = \"https://example.com/vc.exe\"\nedge = true", "& $file -VCRedistributableLink 'https://example.com/vc.exe' -EnableEdge 'true' -EnableChrome 'false' *>&1", []string{"ExtensionSettings", `C:\mmr`, "Invoke-WebRequest:UseBasicParsing"}, []wrong{
			{"edge = true", 1, "needs vc_redistributable_url"}, {`vc_redistributable_url = "https://example.com/vc.exe"`, 1, "neither edge nor chrome"}, {"vc_redistributable_url = \"https://example.com/vc.exe\"\nedge = \"maybe\"", 3, "edge"}}},
		"remove_appx_packages": {`packages = ["Microsoft.BingNews"]`, "& $file -AppxPackages @('Microsoft.BingNews') *>&1", []string{"-like '*Microsoft.BingNews*'", "is provisioned still"}, []wrong{
			{"", 1, "needs packages"}, {"packages = [\"Microsoft.BingNews\",\n\"*\"]", 3, "no name of a package"}}},
		"screen_capture_protection": {`block_option = "BlockClient"`, "& $file -BlockOption 'BlockClient' *>&1", []string{"fEnableScreenCaptureProtect", "-ne '1'"}, []wrong{{`block_option = "BlockClients"`, 2, `did you mean "BlockClient"?`}}},
		"session_timeouts": {"reset_broken = true\nmax_idle_minutes = 15\nmax_disconnection_minutes = 0", "& $file -MaxDisconnectionTime '0' -MaxIdleTime '15' -fResetBroken '1' *>&1", []string{"-ne '900000'", "fResetBroken"}, []wrong{
			{"", 1, "sets nothing"}, {"max_idle_minutes = -1", 2, "max_idle_minutes is -1"}, {"max_idle_minutes = 35792", 2, "write 0 to 35791 minutes"}, {`max_idle_minutes = "15m"`, 2, "not a whole number"}}},
		"set_default_language": {`language = "Turkish (Turkey)"`, "& $file -Language 'Turkish (Turkey)' *>&1", []string{"Successfully copied settings", "Set-Culture"}, []wrong{
			{"", 1, "needs language"}, {`language = "Turkisch (Turkey)"`, 2, `did you mean "Turkish (Turkey)"?`}, {`language = "Serbian (Latin, Serbia)"`, 2, "takes the Latn of sr-Latn-RS for a region"}}},
		"teams_optimization": {"bootstrapper_url = \"https://example.com/b.exe\"\nvc_redistributable_url = \"https://example.com/vc.exe\"\nwebrtc_installer_url = \"https://example.com/w.msi\"", "& $file -VCRedistributableLink 'https://example.com/vc.exe' -WebRTCInstaller 'https://example.com/w.msi' -TeamsBootStrapperUrl 'https://example.com/b.exe' *>&1", []string{"IsWVDEnvironment", "did not return MSTeams"}, []wrong{
			{"vc_redistributable_url = \"https://example.com/vc.exe\"\nwebrtc_installer_url = \"https://example.com/w.msi\"", 1, "needs bootstrapper_url"}, {"bootstrapper_url = \"https://example.com/b.exe\"\nwebrtc_installer_url = \"https://example.com/w.msi\"", 1, "needs vc_redistributable_url"},
			{"classic_url = \"https://example.com/t.msi\"\nbootstrapper_url = \"https://example.com/b.exe\"\nvc_redistributable_url = \"https://example.com/vc.exe\"\nwebrtc_installer_url = \"https://example.com/w.msi\"", 2, "classic_url has no effect"},
			{"bootstrapper_url = \"https://example.com/b.exe\"\nvc_redistributable_url = \"https://example.com/vc.exe\"\nwebrtc_installer_url = \"w.msi\"", 4, "is no address"}}},
		"windows_optimization": {`optimizations = ["All"]`, "& $file -Optimizations @('All') *>&1", []string{"2e7fc851532acece8f70e1228e7720d6c19cb9e9", "packer*.ps1, ingot-*", "^(Invoke-WebRequest)$"}, []wrong{
			{"", 1, "needs optimizations"}, {`optimizations = ["DiskCleanUp2"]`, 2, `did you mean "DiskCleanup"?`}}},
	} {
		t.Run(name, func(t *testing.T) {
			script := provisioner.AVDScriptNamed(name)
			r, problems := loadAVD(t, ownSteps(""), fmt.Sprintf("avd_customizer %q {\n%s\n}\n", name, c.options), Options{})
			if len(problems) > 0 || len(r.Images) != 1 || len(r.Images[0].Provision) < 4 {
				t.Fatalf("%+v", problems)
			}
			steps := r.Images[0].Provision[2:]
			var want []string
			if script.File != "" {
				file, run := steps[0].Settings.(*provisioner.File), steps[1].Settings.(*provisioner.PowerShell)
				if file.SourceURI.Reveal() != script.URL() || file.SHA256 != script.SHA256 || file.Destination != `C:\AVDImage\`+script.ID+".ps1" || run.ElevatedUser != "SYSTEM" {
					t.Errorf("%+v %+v", file, run)
				}
				var text strings.Builder
				for _, l := range run.Inline {
					text.WriteString(l.Reveal() + "\n")
				}
				for _, x := range append(c.lines, c.call) {
					if !strings.Contains(text.String(), x) {
						t.Errorf("the wrapper lacks %s:\n%s", x, text.String())
					}
				}
				if found := powershell.Check(text.String(), powershell.Options{}); len(found) > 0 {
					t.Errorf("%+v\n%s", found, text.String())
				}
				want = append(want, "avdBuiltInScript_"+script.ID, "avdBuiltInScript_"+script.ID+"-parameter")
			}
			if slices.Contains([]string{"install_language_packs", "set_default_language", "windows_optimization", "windows_update"}, name) {
				want = append(want, "avdBuiltInScript_"+script.ID+"-windowsUpdate", "avdBuiltInScript_"+script.ID+"-windowsRestart")
			}
			if got := stepNames(r.Images[0])[2:]; !slices.Equal(got, want) {
				t.Errorf("the steps are %q, want %q", got, want)
			}
			for _, w := range c.wrong {
				_, problems := loadAVD(t, ownSteps(""), fmt.Sprintf("\n\navd_customizer %q {\n%s\n}\n", name, w.options), Options{})
				if len(problems) != 1 || problems[0].Severity != diag.Error || !strings.Contains(problems[0].Summary+problems[0].Remedy, w.want) || problems[0].Pos.Line != w.line+2 || filepath.Base(problems[0].Pos.File) != "t.ingot.hcl" || problems[0].Remedy == "" {
					t.Errorf("%q: %+v, want line %d, %q", w.options, problems, w.line+2, w.want)
				}
			}
		})
	}
	if len(avdKinds()) != len(provisioner.AVDScripts()) {
		t.Error("an avd_customizer has no script, or a script none")
	}
}

// TestAVDPlaces: where they come among the template's own provisioners, and for which images.
func TestAVDPlaces(t *testing.T) {
	const tz, kerberos, sense = `avd_customizer "timezone_redirection" {`, `avd_customizer "fslogix_kerberos" {`, `avd_customizer "disable_storage_sense" {`
	short := func(img *image.Image) string {
		var out []string
		for _, n := range stepNames(img) {
			if n = strings.TrimPrefix(n, "avdBuiltInScript_"); !strings.HasSuffix(n, "-parameter") {
				out = append(out, n)
			}
		}
		return strings.Join(out, ", ")
	}
	const sysprep = "  provisioner \"powershell\" {\n    name = \"seal\"\n    inline = [\"& $env:SystemRoot\\\\System32\\\\Sysprep\\\\Sysprep.exe /generalize /oobe /quit\"]\n  }\n"
	for _, c := range []struct{ more, ingot, want string }{
		{"", tz + "}\n" + kerberos + "}", "first of ours, second of ours, timeZoneRedirection, enableFsLogixKerberos"},
		{sysprep, tz + "}\n" + kerberos + "}", "first of ours, second of ours, timeZoneRedirection, enableFsLogixKerberos, seal"},
		{"", tz + "\nposition = \"last\"\n}\n" + kerberos + "\nposition = \"first\"\n}\n" + sense + "\nposition = \"first\"\n}", "enableFsLogixKerberos, disableStorageSense, first of ours, second of ours, timeZoneRedirection"},
		{"", tz + "\nafter = \"first of ours\"\n}\n" + kerberos + "\nafter = \"first of ours\"\n}", "first of ours, timeZoneRedirection, enableFsLogixKerberos, second of ours"},
		{"", tz + "\nonly = [\"azure-arm.w\"]\n}\n" + kerberos + "\nexcept = [\"azure-arm.w\"]\n}", "first of ours, second of ours, timeZoneRedirection"},
	} {
		r, problems := loadAVD(t, ownSteps(c.more), c.ingot, Options{})
		if len(onlyErrors(problems)) > 0 {
			t.Errorf("%s: %+v", c.ingot, problems)
			continue
		}
		if got := short(r.Images[0]); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.ingot, got, c.want)
		}
	}
	linux := strings.NewReplacer(`"Windows"`, `"Linux"`, `communicator    = "winrm"`, `communicator = "ssh"`, "winrm_use_ssl   = true", "").Replace(fmt.Sprintf(sound, "", ""))
	for _, c := range []struct {
		template, ingot string
		line            int
		want            string
	}{
		{ownSteps(""), "avd_customizer \"timezone\" {}", 1, `did you mean "timezone_redirection"?`}, {ownSteps(""), "avd_customizer {}", 1, ""},
		{ownSteps(""), tz + "\nposition = \"middle\"\n}", 2, `position is "middle"`}, {ownSteps(""), tz + "\nposition = \"first\"\nafter = \"first of ours\"\n}", 3, "exclude one another"},
		{ownSteps(""), tz + "\nafter = \"first of our\"\n}", 2, `did you mean "first of ours"?`}, {fmt.Sprintf(sound, "", ""), tz + "\nafter = \"x\"\n}", 2, "no provisioner of azure-arm.w has a name"},
		{ownSteps(sysprep), tz + "\nafter = \"seal\"\n}", 2, "after the template's own sysprep"}, {ownSteps("  provisioner \"powershell\" {\n name = \"first of ours\"\n inline = [\"a\"]\n}\n"), tz + "\nafter = \"first of ours\"\n}", 2, "has 2 provisioners called"},
		{linux, tz + "}", 1, "is for Windows images"}, {"variable \"s\" {\n sensitive = true\n default = \"test-secret-not-real\"\n}\n" + ownSteps(""), "avd_customizer \"fslogix\" {\n profile_path = var.s\n}", 2, "cannot hold a sensitive value"},
	} {
		_, problems := loadAVD(t, c.template, c.ingot, Options{})
		errs := onlyErrors(problems)
		if len(errs) != 1 || !strings.Contains(errs[0].Summary+errs[0].Remedy, c.want) || errs[0].Pos.Line != c.line || filepath.Base(errs[0].Pos.File) != "t.ingot.hcl" {
			t.Errorf("%s: %+v, want line %d, %q", c.ingot, problems, c.line, c.want)
		}
	}
	// What stays a defect is said where somebody asks for advice.
	const office = "avd_customizer \"configure_office_apps\" {\n applications = [\"Visio\"]\n type = \"Add\"\n}"
	_, problems := loadAVD(t, ownSteps(""), office, Options{Advise: true})
	if !slices.ContainsFunc(problems, func(p diag.Problem) bool {
		return p.Severity == diag.Warning && strings.Contains(p.Summary, "Microsoft's download page")
	}) {
		t.Errorf("%+v", problems)
	}
}

// TestForeignBuiltIns: what the portal writes is known, and what is wrong with it is said at its line with the avd_customizer that does better.
func TestForeignBuiltIns(t *testing.T) {
	const branch = "https://raw.githubusercontent.com/Azure/RDS-Templates/master/CustomImageTemplateScripts/CustomImageTemplateScripts_2024-03-27/"
	file := func(uri, name, sum string) string {
		return fmt.Sprintf("{\"type\": \"File\", \"name\": \"avdBuiltInScript_%s\",\n\"sourceUri\": \"%s\", \"destination\": \"C:\\\\AVDImage\\\\%s.ps1\", \"sha256Checksum\": \"%s\"}", name, uri, name, sum)
	}
	run := func(name string) string {
		return fmt.Sprintf("{\"type\": \"PowerShell\", \"name\": \"avdBuiltInScript_%s-parameter\", \"inline\": [\"C:\\\\AVDImage\\\\%s.ps1 -Language 'French (France)'\"], \"runElevated\": true, \"runAsSystem\": true}", name, name)
	}
	lang, tz := provisioner.AVDScriptNamed("set_default_language"), provisioner.AVDScriptNamed("timezone_redirection")
	const between = `{"type": "WindowsRestart"}`
	pinned := file(lang.URL(), "setDefaultLanguage", lang.SHA256)
	for name, c := range map[string]struct {
		steps []string
		want  []string // "line: part", lines counted from customize
	}{
		"pinned pair":  {[]string{pinned, run("setDefaultLanguage")}, []string{"3: a failed step looks green"}},
		"branch":       {[]string{file(branch+"SetDefaultLang.ps1", "setDefaultLanguage", lang.SHA256), run("setDefaultLanguage")}, []string{"2: named on the master branch", "3: a failed step looks green"}},
		"old checksum": {[]string{file(branch+"SetDefaultLang.ps1", "setDefaultLanguage", lang.Earlier[0]), run("setDefaultLanguage")}, []string{"2: named on the master branch", "2: that of an earlier SetDefaultLang.ps1", "3: a failed step looks green"}},
		"not adjacent": {[]string{pinned, between, run("setDefaultLanguage")}, []string{"4: a failed step looks green", "4: with 1 customizers in between"}},
		"never run":    {[]string{pinned, between}, []string{"1: no customizer runs it"}},
		"by address":   {[]string{`{"type": "PowerShell", "name": "avdBuiltInScript_timeZoneRedirection", "scriptUri": "` + tz.URL() + `", "sha256Checksum": "` + tz.SHA256 + `", "runElevated": true, "runAsSystem": true}`}, []string{"1: a failed step looks green"}},
		"prompt":       {[]string{file(provisioner.AVDScriptNamed("fslogix").URL(), "enableFsLogix", provisioner.AVDScriptNamed("fslogix").SHA256), run("enableFsLogix")}, []string{"3: CVE-2025-54100", "3: a failed step looks green"}},
		"of somebody":  {[]string{file("https://example.com/SetDefaultLang.ps1", "mine", strings.Repeat("0", 64)), between, run("mine")}, nil},
	} {
		_, problems := loadJSON(t, aibText("2024-02-01", "\"customize\": ["+strings.Join(c.steps, ",\n")+"],"), Options{})
		if problems.HasErrors() {
			t.Fatalf("%s: %+v", name, problems)
		}
		const first = 10 // the line of customize
		var got []string
		for _, p := range problems {
			got = append(got, fmt.Sprintf("%d: %s", p.Pos.Line-first+1, p.Summary))
			if !strings.Contains(p.Remedy, "avd_customizer") {
				t.Errorf("%s: %+v names no avd_customizer", name, p)
			}
		}
		slices.Sort(got)
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
			continue
		}
		for i, w := range c.want {
			line, part, _ := strings.Cut(w, ": ")
			if !strings.HasPrefix(got[i], line+": ") || !strings.Contains(got[i], part) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
	}
}

// TestAVDConverted: a template with them is written in each language and read again as the same steps, without a warning about them.
func TestAVDConverted(t *testing.T) {
	r, problems := loadAVD(t, ownSteps(""), "avd_customizer \"fslogix\" {\n profile_path = \"\\\\\\\\s\\\\p\"\n}\navd_customizer \"set_default_language\" {\n language = \"French (France)\"\n}", Options{})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	w, err := Write(r.Images, ImageBuilder)
	if err != nil {
		t.Fatal(err)
	}
	text, lost := w.Text, w.Losses
	again, problems := loadJSON(t, string(text), Options{Vars: []string{"subscriptionID=s", "imgBuilderId=/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"}})
	for _, p := range problems {
		if strings.Contains(p.Remedy+p.Summary, "avd_customizer") {
			t.Errorf("%+v", p)
		}
	}
	if len(again.Images) != 1 || !slices.Equal(stepNames(again.Images[0]), stepNames(r.Images[0])) {
		t.Errorf("%v %v\n%s", problems, lost, text)
	}
}
