package provisioner

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Azure Virtual Desktop's custom image templates offer sixteen scripts by name. They live in Azure/RDS-Templates, whose files are edited in
// place, so that they are pinned to a commit here. What is said of them was read at that commit (reference azure-image-builder.md,
// section 6.5, has the same facts of the portal).
const (
	// AVDCommit is the commit of Azure/RDS-Templates that the scripts are taken from: its master branch of 2026-04-02.
	AVDCommit = "eb425fd0ecff19e74e50644187a78a9c3f975a05"
	avdFolder = "CustomImageTemplateScripts/CustomImageTemplateScripts_2024-03-27/"
	avdHost   = "https://raw.githubusercontent.com/Azure/RDS-Templates/"
	// vdotCommit is the commit of The-Virtual-Desktop-Team/Virtual-Desktop-Optimization-Tool whose configuration WindowsOptimization.ps1 is made
	// to read in place of the main branch's: that branch of 2025-08-21.
	vdotCommit = "2e7fc851532acece8f70e1228e7720d6c19cb9e9"
)

// AVDScript is one of the scripts.
type AVDScript struct {
	// Name is that of its avd_customizer; ID is the portal's, in the names of the customizers that it writes.
	Name, ID string
	// File is its file name and SHA256 its checksum at AVDCommit; Earlier are those that the same file has had before.
	File, SHA256 string
	Earlier      []string
	// Removes says that it deletes C:\AVDImage when it ends, and all that waits there.
	Removes bool
	// Update runs Windows Update after it, Restart restarts Windows within that time, as the portal does; 0 does not.
	Update  bool
	Restart time.Duration
	// Effect is what it does, Defect what is wrong with it and Done what is done about that; Advice is a defect that stays.
	Effect, Defect, Done, Advice string

	failed string      // regular expression for lines that it prints when it has failed
	fatal  string      // regular expression for the commands whose errors it goes on after
	edits  [][2]string // what is replaced in its text before it runs
	web    bool        // it calls Invoke-WebRequest without -UseBasicParsing
}

// URL is its address at the commit.
func (s *AVDScript) URL() string { return avdHost + AVDCommit + "/" + avdFolder + s.File }

// path is where it lies in the guest while it runs.
func (s *AVDScript) path() string { return avdImage + `\` + s.ID + ".ps1" }

const avdImage = `C:\AVDImage`

const (
	avdException = `Exception occurr?ed`
	avdRegistry  = `Cannot add the registry key`
	avdHides     = "It prints what goes wrong and exits with 0."
	avdChecked   = "Ingot fails on what it prints, and reads the values back."
	// Windows PowerShell of December 2025 and later asks before it parses a page (CVE-2025-54100), and nobody is there to answer
	// (https://learn.microsoft.com/powershell/module/microsoft.powershell.utility/invoke-webrequest?view=powershell-5.1).
	avdPrompt     = "It calls Invoke-WebRequest without -UseBasicParsing, which Windows has asked about since December 2025: nobody answers."
	avdPrompted   = "Ingot sets that switch for it."
	avdEncoding   = "Windows PowerShell misreads its Bokmål: the file has no byte order mark."
	avdEncoded    = "Ingot gives it one."
	avdRecreated  = "Put it before what sets those."
	avdDownloaded = "A download that fails only prints an error."
)

// avdScripts are the sixteen, and Windows Update, which the portal lists with them.
var avdScripts = [...]AVDScript{
	{Name: "admin_sysprep", ID: "adminSysPrep", File: "AdminSysPrep.ps1", SHA256: "1dcaba4823f9963c9e51c5ce0adce5f546f65ef6034c364ef7325a0451bd9de9",
		Effect: `Has Image Builder's C:\DeprovisioningScript.ps1 run sysprep with /mode:vm.`,
		Defect: `Without that file (only Image Builder has it) it makes an empty one, which would be run in place of sysprep.`,
		Done:   `Ingot runs it only where the file is, and fails when it changed nothing. On a machine of one's own Ingot's sysprep runs as always.`},
	{Name: "configure_office_apps", ID: "configureOfficeApps", File: "ConfigureOfficeApps.ps1", SHA256: "4465c784183c5224f4e963affa6eae8c70d39ea63c8a3fc212e5e97442c21659",
		Earlier: []string{"5d80ed2122fcb163d7778735c2101b11fce0f960fd8dd25aec38479212214cf4"}, Removes: true,
		Effect: "Adds Visio and Project, or installs Microsoft 365 apps without the ones named, with the Office Deployment Tool.",
		Defect: "It does not look at the exit code of the installation.", Done: "Ingot looks whether the product is registered.",
		Advice: "finds the Office Deployment Tool by reading Microsoft's download page, and installs the newest Office: it breaks when the page changes, and two builds may differ"},
	{Name: "disable_auto_updates", ID: "disableAutoUpdates", File: "DisableAutoUpdates.ps1", SHA256: "eafd5e46c628b685f2061146550287255d75b7cea63f1e9dd29827c4ff7c3cb4",
		Effect: "Stops automatic updates of Store applications, for MSIX app attach.",
		Defect: `Its registry paths lack the colon (HKLM\…): it changes nothing, leaves files called HKLM\… and exits with 0. HKCU would be SYSTEM's.`,
		Done:   `Ingot puts the colon in, reads the values back, and sets the user's value for new users too.`, failed: avdRegistry,
		edits: [][2]string{{`"HKLM\`, `"HKLM:\`}, {`"HKCU\`, `"HKCU:\`}}},
	{Name: "disable_storage_sense", ID: "disableStorageSense", File: "DisableStorageSense.ps1", SHA256: "558180fc9d73ed3d7ccc922e38eff3f28e10eaeddca89e32b66e2ded7390ff5a",
		Earlier: []string{"f486df3c245f93bcf53b9c68b17741a732e6641703e2eea4234a27e30e39e983"},
		Effect:  "AllowStorageSenseGlobal = 0, as a policy too.", Defect: avdHides, Done: avdChecked, failed: avdRegistry},
	{Name: "fslogix", ID: "enableFsLogix", File: "FSLogix.ps1", SHA256: "027ecbc0bccd42c6e7f8fc35027c55691fba7645d141c9f89da760fea667ea51", Removes: true, web: true,
		Effect: "Installs FSLogix and sets profile containers up (Cloud Cache location, size, VHDX), with Defender's exclusions.",
		Defect: avdDownloaded + " " + avdPrompt + ` It makes HKLM:\SOFTWARE\FSLogix\Profiles anew.`, Done: avdPrompted + " It fails on errors of the download and the installation, looks for FSLogix and reads the values back. " + avdRecreated,
		failed: avdException, fatal: "Invoke-WebRequest|Expand-Archive|Start-Process"},
	{Name: "fslogix_kerberos", ID: "enableFsLogixKerberos", File: "FSLogixKerberos.ps1", SHA256: "ce83bbcbb2f64f8255bc9f678ab6dba92896b8b1861dd094368c483525541703",
		Effect: "Kerberos tickets of Microsoft Entra ID for Azure Files: CloudKerberosTicketRetrievalEnabled, LoadCredKeyFromProfile.", Defect: avdHides, Done: avdChecked, failed: avdRegistry},
	{Name: "install_language_packs", ID: "installLanguagePacks", File: "InstallLanguagePacks.ps1", SHA256: "519f1dcb41c15dc1726f28c51c11fb60876304ab9eb9535e70015cdb704a61b2", Removes: true, Update: true, Restart: 10 * time.Minute,
		Effect: "Installs languages, each in up to five tries; then Windows Update and a restart.", Defect: "After five tries it goes on without the language and exits with 0. " + avdEncoding,
		Done: "Ingot wants its line about each language that was installed; a try that failed before that is none. " + avdEncoded},
	{Name: "multimedia_redirection", ID: "multiMediaRedirection", File: "MultiMediaRedirection.ps1", SHA256: "f577c9079aaa7da399121879213825a3f263f7b067951a234509e72f8b59a7fd", Removes: true, web: true,
		Effect: "Installs the multimedia redirection host, and forces its extension on Edge, or Chrome, which it installs.",
		Defect: avdHides + " " + avdPrompt + ` It leaves C:\mmr with an installer, subscribes to the insider ring, and makes the browser's policy key anew.`,
		Done:   avdPrompted + ` It fails on what is printed, reads the policies back and removes C:\mmr. ` + avdRecreated, Advice: "downloads the newest host of the day and does not look at an installer's exit code", failed: avdException},
	{Name: "rdp_shortpath", ID: "configureRdpShortpath", File: "RDPShortpath.ps1", SHA256: "24e9821ddcc63aceba2682286d03cd7042bcadcf08a74fb0a30a1a1cd0cbf910",
		Effect: "RDP Shortpath for managed networks: UDP port 3390 and its firewall rule.", Defect: avdHides, Done: avdChecked + " It looks for the firewall rule, too.", failed: avdRegistry + `|Cannot create firewall rule`},
	{Name: "remove_appx_packages", ID: "removeAppxPackages", File: "RemoveAppxPackages.ps1", SHA256: "422b4c7b961f4d8b4216f126d8f38b00da583748b2d65b835504c1e9a07b0ece", Removes: true,
		Effect: "Removes applications, the provisioned ones and those of users.", Defect: "A package that cannot be removed is passed over.", Done: "Ingot looks whether it is provisioned still.", failed: `Failed to remove Appx Package`},
	{Name: "screen_capture_protection", ID: "screenCaptureProtection", File: "ScreenCaptureProtection.ps1", SHA256: "d8f55ce805123e3519ab373a5fc2c02bf85635717f320a4dfcabab46fb1ecb5e",
		Effect: "fEnableScreenCaptureProtect: the client (1), or client and server (2).", Defect: avdHides + " Any other word than BlockClient means both.", Done: avdChecked + " The word is checked.", failed: avdRegistry},
	{Name: "session_timeouts", ID: "configureSessionTimeouts", File: "ConfigureSessionTimeoutsV2.ps1", SHA256: "abb1d5ba922013864c94d7a92a5d0aae7ae50805563af2b3777ba9b74ca6ccc4", Removes: true,
		Effect: "Terminal Services' time limits.", Defect: avdHides + " What stands after fResetBroken is left out.", Done: avdChecked + " fResetBroken comes last.", failed: avdRegistry},
	{Name: "set_default_language", ID: "setDefaultLanguage", File: "SetDefaultLang.ps1", SHA256: "79420a7210d922aa61aa647696aeaa8a2c26239b83ec0a8ea23cc82ff6f5196c",
		Earlier: []string{"3eec0ffb74a9a343cf1b38dd73d266bfc8c82b23f0fd2c3f7e9d29c975eb6bab", "213eb3b3cf3f15668d9d74effdb5fe69e46e91109a9dfe1cc5ce8e7edbd3ba39"}, Removes: true, Update: true, Restart: 5 * time.Minute,
		Effect: "Language and region of system, welcome screen and new users; installs the language if need be; then Windows Update and a restart.",
		Defect: avdHides + ` It takes Latn of sr-Latn-RS for a region and fails with Serbian. Its path HKU\… is none, which SYSTEM's own setting makes good. ` + avdEncoding,
		Done:   "Ingot wants its last line of success, and fails on errors of the commands that set the language. Serbian is refused. " + avdEncoded, failed: `Set default Language - Exception occurred\*\*\*|Error occurred:`,
		fatal: "Set-SystemPreferredUILanguage|Set-WinSystemLocale|Set-Culture|Set-WinHomeLocation|Copy-UserInternationalSettingsToSystem"},
	{Name: "teams_optimization", ID: "teamsOptimization", File: "TeamsOptimization.ps1", SHA256: "b6e4b30185cb4eb556846ecf9951bacda29ef657230c6ad0924c7f49ab1f6975", Removes: true, web: true,
		Effect: "Installs Visual C++, the WebRTC redirector, WebView2 and Teams for all users; IsWVDEnvironment = 1.",
		Defect: avdHides + " That Teams is not there afterwards is a line like any other. " + avdPrompt, Done: avdPrompted + " It fails on that line, and reads the value back.",
		Advice: "downloads the newest installers of the day and does not look at their exit codes", failed: avdException + "|" + avdRegistry + `|did not return MSTeams`},
	{Name: "timezone_redirection", ID: "timeZoneRedirection", File: "TimezoneRedirection.ps1", SHA256: "b8dbc50b02f64cc7a99f6eeb7ada676673c9e431255e69f3e7a97a027becd8d5",
		Effect: "fEnableTimeZoneRedirection = 1: a session has the time zone of its user's device.", Defect: avdHides, Done: avdChecked, failed: avdRegistry},
	{Name: "windows_optimization", ID: "windowsOptimization", File: "WindowsOptimization.ps1", SHA256: "3a84266be0a3fcba89f2adf284f3cc6cc2ac41242921010139d6e9514ead126f", Removes: true, Update: true, Restart: 10 * time.Minute,
		Effect: "The Virtual Desktop Optimization Tool's settings; then Windows Update and a restart.",
		Defect: `It reads its settings from the newest state of another repository. ` + avdDownloaded + ` DiskCleanup deletes C:\Windows\Temp, the build's own folder with it.`,
		Done:   `Ingot has it read them at one commit (` + vdotCommit[:12] + `), fails on such errors and spares that folder.`,
		failed: `Optimizations - Scheduled tasks - |Disabling / Removing Windows Media Player - |Invalid Path|File not found`, fatal: "Invoke-WebRequest",
		edits: [][2]string{{"/Virtual-Desktop-Optimization-Tool/main/2009/", "/Virtual-Desktop-Optimization-Tool/" + vdotCommit + "/2009/"}, {"-Exclude packer*.ps1", "-Exclude packer*.ps1, ingot-*"}}},
	{Name: "windows_update", ID: "windowsUpdate", Update: true, Restart: 10 * time.Minute, Effect: "Windows Update and a restart. There is no script behind it."},
}

// AVDScripts lists what an avd_customizer can be, by name.
func AVDScripts() []AVDScript { return slices.Clone(avdScripts[:]) }

// AVDScriptNamed finds one; nil when there is none of that name.
func AVDScriptNamed(name string) *AVDScript {
	for i := range avdScripts {
		if avdScripts[i].Name == name {
			s := avdScripts[i]
			return &s
		}
	}
	return nil
}

// AVDLanguages are the languages that the scripts take, by the names they have there, each with its tag.
func AVDLanguages() map[string]string {
	return map[string]string{"Arabic (Saudi Arabia)": "ar-SA", "Bulgarian (Bulgaria)": "bg-BG", "Chinese (Simplified, China)": "zh-CN", "Chinese (Traditional, Taiwan)": "zh-TW", "Croatian (Croatia)": "hr-HR", "Czech (Czech Republic)": "cs-CZ",
		"Danish (Denmark)": "da-DK", "Dutch (Netherlands)": "nl-NL", "English (Australia)": "en-AU", "English (United Kingdom)": "en-GB", "English (United States)": "en-US", "Estonian (Estonia)": "et-EE", "Finnish (Finland)": "fi-FI",
		"French (Canada)": "fr-CA", "French (France)": "fr-FR", "German (Germany)": "de-DE", "Greek (Greece)": "el-GR", "Hebrew (Israel)": "he-IL", "Hungarian (Hungary)": "hu-HU", "Italian (Italy)": "it-IT", "Japanese (Japan)": "ja-JP",
		"Korean (Korea)": "ko-KR", "Latvian (Latvia)": "lv-LV", "Lithuanian (Lithuania)": "lt-LT", "Norwegian, Bokmål (Norway)": "nb-NO", "Polish (Poland)": "pl-PL", "Portuguese (Brazil)": "pt-BR", "Portuguese (Portugal)": "pt-PT",
		"Romanian (Romania)": "ro-RO", "Russian (Russia)": "ru-RU", "Serbian (Latin, Serbia)": "sr-Latn-RS", "Slovak (Slovakia)": "sk-SK", "Slovenian (Slovenia)": "sl-SI", "Spanish (Mexico)": "es-MX", "Spanish (Spain)": "es-ES",
		"Swedish (Sweden)": "sv-SE", "Thai (Thailand)": "th-TH", "Turkish (Turkey)": "tr-TR", "Ukrainian (Ukraine)": "uk-UA"}
}

var avdAddress = regexp.MustCompile(`(?i)^https?://(?:raw\.githubusercontent\.com/[^/]+/RDS-Templates|(?:www\.)?github\.com/[^/]+/RDS-Templates/(?:raw|blob))/(.+)/([^/]+\.ps1)$`)

// avdAt is the script at an address of Azure/RDS-Templates or a fork, or of a local copy, by its file name; ref is the branch or commit of an address.
func avdAt(uri string) (s *AVDScript, ref string) {
	uri, _, _ = strings.Cut(uri, "?")
	name := uri
	if m := avdAddress.FindStringSubmatch(uri); m != nil {
		name = m[2]
		ref, _, _ = strings.Cut(strings.TrimPrefix(m[1], "refs/heads/"), "/")
	} else if strings.Contains(uri, "://") {
		return nil, ""
	}
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	for i := range avdScripts {
		if strings.EqualFold(avdScripts[i].File, name) && name != "" {
			x := avdScripts[i]
			return &x, ref
		}
	}
	return nil, ""
}

var commitForm = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// BuiltIn tells what is wrong with one of Azure Virtual Desktop's own scripts, by its address or file name; sum is the checksum that the
// template has of it, or "".
func BuiltIn(uri, sum string) []Finding {
	s, _ := avdAt(uri)
	if s == nil {
		return nil
	}
	return append(s.Defects(), builtIn(uri, sum)...)
}

// builtIn judges the address alone.
func builtIn(uri, sum string) (out []Finding) {
	s, ref := avdAt(uri)
	if s == nil || ref == "" {
		return nil
	}
	right := "write " + s.URL() + " with sha256Checksum " + s.SHA256 + "; or " + s.Instead()
	branch := !commitForm.MatchString(ref)
	if branch {
		out = append(out, Finding{1, s.File + " is named on the " + ref + " branch, where files are changed in place: its checksum breaks, or the build changes", right})
	}
	switch ours := ref == AVDCommit; {
	case (branch || ours) && slices.Contains(s.Earlier, sum):
		out = append(out, Finding{1, "sha256Checksum is that of an earlier " + s.File + ": the build fails when it is fetched", right})
	case ours && sum != "" && sum != s.SHA256:
		out = append(out, Finding{1, "sha256Checksum is not that of " + s.File + " at this commit: the build fails when it is fetched", right})
	}
	return out
}

// Defects are what is wrong with the script where nothing around it makes up for it.
func (s *AVDScript) Defects() (out []Finding) {
	add := func(summary string) { out = append(out, Finding{1, s.File + summary, s.Instead()}) }
	switch s.Name {
	case "disable_auto_updates":
		add(` does nothing: its registry paths lack the colon (HKLM\…), and it reports success`)
	case "windows_optimization":
		add(" downloads its configuration from the newest state of another repository while it runs: two builds may differ")
	case "admin_sysprep":
		add(` makes an empty C:\DeprovisioningScript.ps1 where there is none, as on a machine of one's own, and that would be run in place of sysprep`)
	case "configure_office_apps": // it throws what it caught
	default:
		out = append(out, Finding{1, s.File + " catches every exception and prints it: a failed step looks green", s.Instead() + `; or look for "Exception occur" and "Cannot add the registry key" in the log`})
	}
	if s.Advice != "" {
		add(" " + s.Advice)
	}
	if s.web {
		add(" calls Invoke-WebRequest without -UseBasicParsing: Windows PowerShell with the updates of December 2025 asks whether to go on (CVE-2025-54100), and nobody answers")
	}
	return out
}

// Instead is the remedy that names the avd_customizer.
func (s *AVDScript) Instead() string {
	return `use avd_customizer "` + s.Name + `" in an .ingot.hcl file beside the template in its place`
}

// AVDStep is what a provisioner has to do with the scripts: it copies one (Copies), or it runs one, from its address or from where it was
// copied to.
type AVDStep struct {
	Script  *AVDScript
	Copies  bool
	Path    string // where it is copied to
	Checked bool   // it is run by Ingot's own lines, which make up for the script's defects
}

// AVDStepOf judges one provisioner; copies are the scripts copied before it. It reports false for one that has nothing to do with them.
func AVDStepOf(settings Settings, copies []AVDStep) (AVDStep, bool) {
	switch p := settings.(type) {
	case *File:
		if s, ref := avdAt(p.SourceURI.Reveal()); s != nil && ref != "" {
			return AVDStep{Script: s, Copies: true, Path: p.Destination}, true
		}
	case *PowerShell:
		if s, ref := avdAt(p.URI.Reveal()); s != nil && ref != "" {
			return AVDStep{Script: s}, true
		}
		text := strings.ToLower(strings.ReplaceAll(joined(p.Inline, "\n"), "/", `\`))
		for _, c := range slices.Backward(copies) {
			if strings.Contains(text, strings.ToLower(strings.ReplaceAll(c.Path, "/", `\`))) {
				return AVDStep{Script: c.Script, Path: c.Path, Checked: strings.Contains(joined(p.Inline, "\n"), avdFails)}, true
			}
		}
	}
	return AVDStep{}, false
}
