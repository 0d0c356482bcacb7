package template

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// avdScope are the options that every avd_customizer has.
type avdScope struct {
	ingotScope
	// Position is first or last (default), before generalisation and before a sysprep of the template's own.
	Position string `hcl:"position"`
	// After is the name of the template's provisioner that it comes after.
	After string `hcl:"after"`
}

// avdOptions are those of one script.
type avdOptions interface {
	// call judges the options and says how the script is run with them.
	call(d *decoder, c *provisioner.AVDCall)
}

// avdKinds are the options of each avd_customizer.
func avdKinds() map[string]func() avdOptions {
	return map[string]func() avdOptions{
		"admin_sysprep":             func() avdOptions { return &avdSysprep{} },
		"configure_office_apps":     func() avdOptions { return &avdOffice{} },
		"disable_auto_updates":      func() avdOptions { return &avdAutoUpdates{} },
		"disable_storage_sense":     func() avdOptions { return &avdStorageSense{} },
		"fslogix":                   func() avdOptions { return &avdFSLogix{} },
		"fslogix_kerberos":          func() avdOptions { return &avdKerberos{} },
		"install_language_packs":    func() avdOptions { return &avdLanguagePacks{} },
		"multimedia_redirection":    func() avdOptions { return &avdMultimedia{} },
		"rdp_shortpath":             func() avdOptions { return &avdShortpath{} },
		"remove_appx_packages":      func() avdOptions { return &avdAppx{} },
		"screen_capture_protection": func() avdOptions { return &avdScreenCapture{} },
		"session_timeouts":          func() avdOptions { return &avdTimeouts{} },
		"set_default_language":      func() avdOptions { return &avdDefaultLanguage{} },
		"teams_optimization":        func() avdOptions { return &avdTeams{} },
		"timezone_redirection":      func() avdOptions { return &avdTimezone{} },
		"windows_optimization":      func() avdOptions { return &avdOptimization{} },
		"windows_update":            func() avdOptions { return &avdUpdate{} },
	}
}

type avdTimezone struct{}

const avdPolicies = `HKLM:\SOFTWARE\Policies\Microsoft\Windows NT\Terminal Services`

func (avdTimezone) call(_ *decoder, c *provisioner.AVDCall) {
	c.Expect = []provisioner.AVDValue{{Key: avdPolicies, Name: "fEnableTimeZoneRedirection", Value: "1"}}
}

type avdStorageSense struct{}

func (avdStorageSense) call(_ *decoder, c *provisioner.AVDCall) {
	for _, key := range []string{`HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\StorageSense`, `HKLM:\SOFTWARE\Policies\Microsoft\Windows\StorageSense`} {
		c.Expect = append(c.Expect, provisioner.AVDValue{Key: key, Name: "AllowStorageSenseGlobal", Value: "0"})
	}
}

type avdKerberos struct{}

func (avdKerberos) call(_ *decoder, c *provisioner.AVDCall) {
	c.Expect = []provisioner.AVDValue{{Key: `HKLM:\SYSTEM\CurrentControlSet\Control\Lsa\Kerberos\Parameters`, Name: "CloudKerberosTicketRetrievalEnabled", Value: "1"},
		{Key: `HKLM:\Software\Policies\Microsoft\AzureADAccount`, Name: "LoadCredKeyFromProfile", Value: "1"}}
}

type avdShortpath struct{}

func (avdShortpath) call(_ *decoder, c *provisioner.AVDCall) {
	const key = `HKLM:\SYSTEM\CurrentControlSet\Control\Terminal Server\WinStations`
	c.Expect = []provisioner.AVDValue{{Key: key, Name: "fUseUdpPortRedirector", Value: "1"}, {Key: key, Name: "UdpPortNumber", Value: "3390"}}
	c.After = []string{"if (-not (Get-NetFirewallRule -PolicyStore PersistentStore -Name 'RemoteDesktop-UserMode-In-Shortpath-UDP' -ErrorAction SilentlyContinue)) { $wrong.Add('the firewall rule is not there') }"}
}

type avdAutoUpdates struct{}

func (avdAutoUpdates) call(_ *decoder, c *provisioner.AVDCall) {
	c.Expect = []provisioner.AVDValue{{Key: `HKLM:\Software\Policies\Microsoft\WindowsStore`, Name: "AutoDownload", Value: "2"},
		{Key: `HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\ContentDeliveryManager\Debug`, Name: "ContentDeliveryAllowedOverride", Value: "2"}}
	// The script sets HKCU of the account that it runs as. What is meant is the users': new ones start with this hive.
	c.After = []string{`& reg.exe load 'HKU\ingot-default' 'C:\Users\Default\NTUSER.DAT' | Out-Null`,
		`& reg.exe add 'HKU\ingot-default\Software\Microsoft\Windows\CurrentVersion\ContentDeliveryManager' /v PreInstalledAppsEnabled /t REG_DWORD /d 0 /f | Out-Null`,
		"if ($LASTEXITCODE -ne 0) { $wrong.Add('PreInstalledAppsEnabled cannot be set for new users') }", `& reg.exe unload 'HKU\ingot-default' | Out-Null`, "$global:LASTEXITCODE = 0"}
}

type avdSysprep struct{}

func (avdSysprep) call(_ *decoder, c *provisioner.AVDCall) {
	c.Before = []string{`if (-not (Test-Path -LiteralPath 'C:\DeprovisioningScript.ps1')) {`,
		`    'Only Image Builder has C:\DeprovisioningScript.ps1: nothing is changed here'`, `    Remove-Item -LiteralPath 'C:\AVDImage' -Recurse -Force -ErrorAction SilentlyContinue`, "    exit 0", "}"}
	c.After = []string{`if ((Get-Content -LiteralPath 'C:\DeprovisioningScript.ps1' -Raw) -notmatch '/mode:vm') { $wrong.Add('C:\DeprovisioningScript.ps1 does not have the line that is to be changed') }`}
}

type avdUpdate struct{}

func (avdUpdate) call(*decoder, *provisioner.AVDCall) {}

type avdFSLogix struct {
	// ProfilePath is the share for profile containers, \\server\share; set on the session hosts later if not set.
	ProfilePath string `hcl:"profile_path"`
	// VHDSizeMB is the largest size of a container in MB; 30000 if not set.
	VHDSizeMB int `hcl:"vhd_size_mb"`
	// InstallerURL is the address of FSLogix's ZIP file; https://aka.ms/fslogix_download if not set.
	InstallerURL string `hcl:"installer_url"`
}

var unc = regexp.MustCompile(`^\\\\[^\\/:*?"<>|]+(\\[^\\/:*?"<>|]+)+\\?$`)

func (o *avdFSLogix) call(d *decoder, c *provisioner.AVDCall) {
	const key = `HKLM:\SOFTWARE\FSLogix\Profiles`
	from := cmp.Or(o.InstallerURL, "https://aka.ms/fslogix_download")
	d.address("installer_url", from)
	c.Args = []provisioner.AVDArg{{Name: "FSLogixInstaller", Values: []string{from}}}
	c.Expect = []provisioner.AVDValue{{Key: key, Name: "Enabled", Value: "1"}}
	if o.ProfilePath != "" {
		if !unc.MatchString(o.ProfilePath) {
			d.fail("profile_path", `write "\\\\server\\share": a backslash is doubled in HCL`, "profile_path is no share: %q", o.ProfilePath)
		}
		c.Args = append(c.Args, provisioner.AVDArg{Name: "ProfilePath", Values: []string{o.ProfilePath}})
		c.Expect = append(c.Expect, provisioner.AVDValue{Key: key, Name: "CCDLocations", Value: "type=smb,connectionString=" + o.ProfilePath})
	}
	size := cmp.Or(o.VHDSizeMB, 30000)
	if size < 0 {
		d.fail("vhd_size_mb", "write a number of MB, such as 30000", "vhd_size_mb is negative")
	}
	c.Args = append(c.Args, provisioner.AVDArg{Name: "VHDSize", Values: []string{strconv.Itoa(size)}})
	c.Expect = append(c.Expect, provisioner.AVDValue{Key: key, Name: "SizeInMBs", Value: strconv.Itoa(size)})
	c.After = []string{`if (-not (Test-Path -LiteralPath "$env:ProgramFiles\FSLogix\Apps\frxsvc.exe")) { $wrong.Add('FSLogix is not installed') }`}
}

type avdLanguagePacks struct {
	// Languages are display names, such as "French (France)".
	Languages []string `hcl:"languages"`
}

func (o *avdLanguagePacks) call(d *decoder, c *provisioner.AVDCall) {
	d.needs("languages", len(o.Languages) > 0, `languages = ["French (France)"]`)
	tags := provisioner.AVDLanguages()
	for i, l := range o.Languages {
		d.oneOf(fmt.Sprintf("languages[%d]", i), l, keys(tags))
		c.Said = append(c.Said, "Installed language "+tags[l])
	}
	c.Args = []provisioner.AVDArg{{Name: "LanguageList", Values: o.Languages, List: true}}
}

type avdDefaultLanguage struct {
	// Language is a display name, such as "French (France)".
	Language string `hcl:"language"`
}

func (o *avdDefaultLanguage) call(d *decoder, c *provisioner.AVDCall) {
	d.needs("language", o.Language != "", `language = "French (France)"`)
	d.oneOf("language", o.Language, keys(provisioner.AVDLanguages()))
	if strings.HasPrefix(o.Language, "Serbian") {
		d.fail("language", `install it with avd_customizer "install_language_packs", and set it with a script of your own`, "the script fails with %q: it takes the Latn of sr-Latn-RS for a region", o.Language)
	}
	c.Args = []provisioner.AVDArg{{Name: "Language", Values: []string{o.Language}}}
	c.Said = []string{"Successfully copied settings to welcome screen and new user defaults"}
}

type avdScreenCapture struct {
	// BlockOption is BlockClient or BlockClientAndServer (default).
	BlockOption string `hcl:"block_option"`
}

func (o *avdScreenCapture) call(d *decoder, c *provisioner.AVDCall) {
	option, value := cmp.Or(o.BlockOption, "BlockClientAndServer"), "2"
	d.oneOf("block_option", option, []string{"BlockClient", "BlockClientAndServer"})
	if option == "BlockClient" {
		value = "1"
	}
	c.Args = []provisioner.AVDArg{{Name: "BlockOption", Values: []string{option}}}
	c.Expect = []provisioner.AVDValue{{Key: avdPolicies, Name: "fEnableScreenCaptureProtect", Value: value}}
}

type avdTimeouts struct {
	// MaxDisconnection is how many minutes a disconnected session stays; 0 is for ever.
	MaxDisconnection *int `hcl:"max_disconnection_minutes"`
	// MaxIdle is how many minutes a session may be idle; 0 is for ever.
	MaxIdle *int `hcl:"max_idle_minutes"`
	// MaxConnection is how many minutes a session may last; 0 is for ever.
	MaxConnection *int `hcl:"max_connection_minutes"`
	// RemoteAppLogoff is how many minutes after its last RemoteApp was closed a session ends; 0 is for ever.
	RemoteAppLogoff *int `hcl:"remoteapp_logoff_minutes"`
	// ResetBroken ends a session at its limit instead of disconnecting it.
	ResetBroken bool `hcl:"reset_broken"`
}

// longestTimeout is the longest time in minutes that is a DWORD of milliseconds to the script's arithmetic, which is signed.
const longestTimeout = (1<<31 - 1) / 60000

func (o *avdTimeouts) call(d *decoder, c *provisioner.AVDCall) {
	set := o.ResetBroken
	for _, x := range []struct {
		option, name string
		minutes      *int
	}{{"max_disconnection_minutes", "MaxDisconnectionTime", o.MaxDisconnection}, {"max_idle_minutes", "MaxIdleTime", o.MaxIdle}, {"max_connection_minutes", "MaxConnectionTime", o.MaxConnection}, {"remoteapp_logoff_minutes", "RemoteAppLogoffTimeLimit", o.RemoteAppLogoff}} {
		set = set || x.minutes != nil || d.broken[x.option]
		if x.minutes == nil {
			continue
		}
		if *x.minutes < 0 || *x.minutes > longestTimeout {
			d.fail(x.option, fmt.Sprintf("write 0 to %d minutes", longestTimeout), "%s is %d", x.option, *x.minutes)
			continue
		}
		c.Args = append(c.Args, provisioner.AVDArg{Name: x.name, Values: []string{strconv.Itoa(*x.minutes)}})
		c.Expect = append(c.Expect, provisioner.AVDValue{Key: avdPolicies, Name: x.name, Value: strconv.Itoa(*x.minutes * 60000)})
	}
	if o.ResetBroken { // the last one: the script leaves out what stands after it
		c.Args = append(c.Args, provisioner.AVDArg{Name: "fResetBroken", Values: []string{"1"}})
		c.Expect = append(c.Expect, provisioner.AVDValue{Key: avdPolicies, Name: "fResetBroken", Value: "1"})
	}
	if !set && !d.broken["reset_broken"] {
		d.l.problems.Errorf(d.at, "set max_idle_minutes, or another of its options", "%s sets nothing", d.what)
	}
}

type avdOffice struct {
	// Applications are Visio and Project with Add; with Remove, the ones that are not to be installed: Word, PowerPoint, Access, Excel, OneNote,
	// Outlook, Publisher.
	Applications []string `hcl:"applications"`
	// Type is Add or Remove. Remove installs Microsoft 365 apps, if they are not there, without the applications.
	Type string `hcl:"type"`
	// Version is 64 (default) or 32 bits.
	Version string `hcl:"version"`
}

func (o *avdOffice) call(d *decoder, c *provisioner.AVDCall) {
	add, remove := []string{"Visio", "Project"}, []string{"Word", "PowerPoint", "Access", "Excel", "OneNote", "Outlook", "Publisher"}
	version := cmp.Or(o.Version, "64")
	d.needs("applications", len(o.Applications) > 0, `applications = ["Visio"]`)
	d.needs("type", o.Type != "", `type = "Add"`)
	d.oneOf("type", o.Type, []string{"Add", "Remove"})
	d.oneOf("version", version, []string{"32", "64"})
	for i, a := range o.Applications {
		option := fmt.Sprintf("applications[%d]", i)
		allowed := map[string][]string{"Add": add, "Remove": remove}[o.Type]
		switch {
		case allowed == nil:
			d.oneOf(option, a, slices.Concat(remove, add))
		case !slices.Contains(allowed, a) && slices.Contains(slices.Concat(add, remove), a):
			d.fail(option, "use "+strings.Join(allowed, ", "), "type %s does not take %s", o.Type, a)
		default:
			d.oneOf(option, a, allowed)
		}
	}
	products := map[string]string{"Visio": "VisioProRetail", "Project": "ProjectProRetail"}
	var want []string
	for _, a := range o.Applications {
		want = append(want, products[a])
	}
	if o.Type == "Remove" {
		want = []string{"O365ProPlusRetail"}
	}
	for _, p := range want {
		c.After = append(c.After, `$is = (Get-ItemProperty -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Office\ClickToRun\Configuration' -ErrorAction SilentlyContinue).ProductReleaseIds`,
			`if ("$is" -notlike '*`+p+`*') { $wrong.Add("`+p+` is not installed; Office has: $is") }`)
	}
	c.Args = []provisioner.AVDArg{{Name: "Applications", Values: o.Applications, List: true}, {Name: "Version", Values: []string{version}}, {Name: "Type", Values: []string{o.Type}}}
}

type avdAppx struct {
	// Packages are names of packages, or parts of them, such as "Microsoft.BingNews".
	Packages []string `hcl:"packages"`
}

var packageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{2,}$`)

func (o *avdAppx) call(d *decoder, c *provisioner.AVDCall) {
	d.needs("packages", len(o.Packages) > 0, `packages = ["Microsoft.BingNews"]`)
	for i, p := range o.Packages {
		if !packageName.MatchString(p) {
			d.fail(fmt.Sprintf("packages[%d]", i), "write a name as Get-AppxPackage shows it, such as Microsoft.BingNews", "%q is no name of a package: what has it as a part of its name is removed", p)
			continue
		}
		c.After = append(c.After, `Get-AppxProvisionedPackage -Online | Where-Object { $_.PackageName -like '*`+p+`*' } | ForEach-Object { $wrong.Add("$($_.PackageName) is provisioned still") }`)
	}
	c.Args = []provisioner.AVDArg{{Name: "AppxPackages", Values: o.Packages, List: true}}
}

type avdOptimization struct {
	// Optimizations are All, or some of WindowsMediaPlayer, ScheduledTasks, DefaultUserSettings, Autologgers, Services, NetworkOptimizations,
	// LGPO, DiskCleanup, Edge, RemoveLegacyIE, RemoveOneDrive.
	Optimizations []string `hcl:"optimizations"`
}

func (o *avdOptimization) call(d *decoder, c *provisioner.AVDCall) {
	d.needs("optimizations", len(o.Optimizations) > 0, `optimizations = ["All"]`)
	for i, x := range o.Optimizations {
		d.oneOf(fmt.Sprintf("optimizations[%d]", i), x, []string{"All", "WindowsMediaPlayer", "ScheduledTasks", "DefaultUserSettings", "Autologgers", "Services", "NetworkOptimizations", "LGPO", "DiskCleanup", "Edge", "RemoveLegacyIE", "RemoveOneDrive"})
	}
	c.Args = []provisioner.AVDArg{{Name: "Optimizations", Values: o.Optimizations, List: true}}
}

type avdTeams struct {
	// BootstrapperURL is the address of the new Teams' teamsbootstrapper.exe.
	BootstrapperURL string `hcl:"bootstrapper_url"`
	// VCRedistributableURL is the address of Visual C++'s installer, vc_redist.x64.exe.
	VCRedistributableURL string `hcl:"vc_redistributable_url"`
	// WebRTCInstallerURL is the address of the WebRTC redirector's MSI.
	WebRTCInstallerURL string `hcl:"webrtc_installer_url"`
	// ClassicURL is the address of classic Teams' MSI, in place of bootstrapper_url.
	ClassicURL string `hcl:"classic_url"`
}

func (o *avdTeams) call(d *decoder, c *provisioner.AVDCall) {
	d.needs("vc_redistributable_url", o.VCRedistributableURL != "", `vc_redistributable_url = "https://aka.ms/vs/17/release/vc_redist.x64.exe"`)
	d.needs("webrtc_installer_url", o.WebRTCInstallerURL != "", `webrtc_installer_url = "https://aka.ms/msrdcwebrtcsvc/msi"`)
	d.needs("bootstrapper_url", o.BootstrapperURL != "" || o.ClassicURL != "", `bootstrapper_url: Microsoft's address of teamsbootstrapper.exe`)
	if o.BootstrapperURL != "" && o.ClassicURL != "" {
		d.fail("classic_url", "keep bootstrapper_url", "classic_url has no effect with bootstrapper_url")
	}
	for _, x := range [][3]string{{"classic_url", o.ClassicURL, "TeamsDownloadLink"}, {"vc_redistributable_url", o.VCRedistributableURL, "VCRedistributableLink"}, {"webrtc_installer_url", o.WebRTCInstallerURL, "WebRTCInstaller"}, {"bootstrapper_url", o.BootstrapperURL, "TeamsBootStrapperUrl"}} {
		if x[1] != "" {
			d.address(x[0], x[1])
			c.Args = append(c.Args, provisioner.AVDArg{Name: x[2], Values: []string{x[1]}})
		}
	}
	c.Expect = []provisioner.AVDValue{{Key: `HKLM:\SOFTWARE\Microsoft\Teams`, Name: "IsWVDEnvironment", Value: "1"}}
}

type avdMultimedia struct {
	// VCRedistributableURL is the address of Visual C++'s installer, vc_redist.x64.exe.
	VCRedistributableURL string `hcl:"vc_redistributable_url"`
	// Edge forces the extension on Microsoft Edge.
	Edge bool `hcl:"edge"`
	// Chrome installs Google Chrome, if it is not there, and forces the extension on it.
	Chrome bool `hcl:"chrome"`
}

func (o *avdMultimedia) call(d *decoder, c *provisioner.AVDCall) {
	d.needs("vc_redistributable_url", o.VCRedistributableURL != "", `vc_redistributable_url = "https://aka.ms/vs/17/release/vc_redist.x64.exe"`)
	d.address("vc_redistributable_url", o.VCRedistributableURL)
	if !o.Edge && !o.Chrome && !d.broken["edge"] && !d.broken["chrome"] {
		d.fail("edge", "set edge = true, or chrome = true", "neither edge nor chrome is true: no browser would have the extension")
	}
	c.Args = []provisioner.AVDArg{{Name: "VCRedistributableLink", Values: []string{o.VCRedistributableURL}}, {Name: "EnableEdge", Values: []string{strconv.FormatBool(o.Edge)}}, {Name: "EnableChrome", Values: []string{strconv.FormatBool(o.Chrome)}}}
	c.Before = []string{`$mine = Test-Path -LiteralPath 'C:\mmr'`}
	for _, b := range []struct {
		on                  bool
		key, extension, who string
	}{{o.Edge, `HKLM:\SOFTWARE\Policies\Microsoft\Edge`, "joeclbldhdmoijbaagobkhlpfjglcihd", "Microsoft Edge"}, {o.Chrome, `HKLM:\SOFTWARE\Policies\Google\Chrome`, "lfmemoeeciijgkjkgbgikoonlkabmlno", "Google Chrome"}} {
		if b.on {
			c.After = append(c.After, "$is = (Get-ItemProperty -LiteralPath '"+b.key+"' -ErrorAction SilentlyContinue).ExtensionSettings", `if ("$is" -notlike '*`+b.extension+`*') { $wrong.Add('`+b.who+` does not have the extension') }`)
		}
	}
	c.After = append(c.After, `if (-not $mine) { Remove-Item -LiteralPath 'C:\mmr' -Recurse -Force -ErrorAction SilentlyContinue }`)
}

// needs refuses an option that must be set; d.set may have complained of it already.
func (d *decoder) needs(option string, set bool, remedy string) {
	if !set {
		d.fail(option, "add "+remedy, "%s needs %s", d.what, option)
	}
}

// oneOf refuses a value that is none of the known ones, and names the nearest.
func (d *decoder) oneOf(option, value string, known []string) {
	list, _, _ := strings.Cut(option, "[")
	if value == "" || d.broken[list] || slices.Contains(known, value) {
		return
	}
	remedy := meant(value, known)
	if remedy == "" {
		remedy = "use one of " + strings.Join(known, "; ")
	}
	d.fail(option, remedy, "%s is %q, which %s does not know", option, value, d.what)
}

// address refuses what is no address of a download.
func (d *decoder) address(option, value string) {
	u, err := url.Parse(value)
	switch {
	case value == "" || d.broken[option]:
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		d.fail(option, "write https://…", "%s is no address: %q", option, value)
	case u.Scheme == "http":
		d.l.problems.Warnf(d.place(option), "use https", "what is at %s is downloaded without encryption: whoever is in between can change it", option)
	}
}

// avdPlaced is an avd_customizer of one image, with where it is to be.
type avdPlaced struct {
	position, after string
	afterAt         diag.Pos
	steps           []image.Provision
}

// avdCustomizer reads an avd_customizer.
func (l *loader) avdCustomizer(b *hcl.Block) {
	name := b.Labels[0]
	kind := avdKinds()[name]
	script := provisioner.AVDScriptNamed(name)
	if kind == nil || script == nil {
		remedy := meant(name, keys(avdKinds()))
		for _, k := range keys(avdKinds()) { // timezone, office, teams
			if remedy == "" && len(name) > 3 && strings.Contains(k, strings.ToLower(name)) {
				remedy = fmt.Sprintf("did you mean %q?", k)
			}
		}
		l.problems.Errorf(at(b.LabelRanges[0]), cmp.Or(remedy, "use one of "+strings.Join(keys(avdKinds()), ", ")), "there is no avd_customizer %q", name)
		return
	}
	var scope avdScope
	o := kind()
	ctx := l.context(nil)
	d := l.decoder(ctx, "avd_customizer "+strconv.Quote(name), "ingot/avd_customizer", at(b.TypeRange))
	d.into([]any{&scope, o}, "", nil, l.open(b.Body, ctx))
	d.choice("position", scope.Position, "first", "last")
	if scope.Position != "" && scope.After != "" {
		d.fail("after", "keep one", "position and after exclude one another in %s", d.what)
	}
	c := &provisioner.AVDCall{Script: script}
	o.call(d, c)
	if l.o.Advise && script.Advice != "" {
		l.problems.Warnf(d.at, "know it, or install it from a copy of your own", "%s %s", script.File, script.Advice)
	}
	l.scoped(d, scope.ingotScope, func(img *image.Image) {
		if img.OS != image.Windows {
			l.problems.Errorf(d.at, "name the Windows images: only = [\"…\"]", "%s is for Windows images, and %s is not", d.what, img.Name)
			return
		}
		p := avdPlaced{position: scope.Position, after: scope.After, afterAt: d.place("after"), steps: c.Steps(d.at)}
		if l.avd == nil {
			l.avd = map[*image.Image][]avdPlaced{}
		}
		l.avd[img] = append(l.avd[img], p)
	})
}

// placeAVD puts the avd_customizers among the provisioners of their images, those of one place in the order in which they stand.
func (l *loader) placeAVD() {
	for _, img := range l.r.Images {
		if len(l.avd[img]) == 0 {
			continue
		}
		l.r.avd = true
		own := img.Provision
		before := make([][]image.Provision, len(own)+1) // what comes before each of the template's own
		last := len(own)
		for i, p := range own {
			if s, ok := p.Settings.(provisioner.Settings); ok && provisioner.RunsSysprep(s) {
				last = i
				break
			}
		}
		for _, p := range l.avd[img] {
			where := last
			switch {
			case p.after != "":
				where = l.afterStep(p, img, own)
			case p.position == "first":
				where = 0
			}
			if where > last {
				l.problems.Errorf(p.afterAt, "name one that comes before", "%s comes after the template's own sysprep, and nothing may change the machine then", p.after)
				where = last
			}
			before[where] = append(before[where], p.steps...)
		}
		img.Provision = nil
		for i := range before {
			img.Provision = append(img.Provision, before[i]...)
			if i < len(own) {
				img.Provision = append(img.Provision, own[i])
			}
		}
	}
}

// afterStep is the place after the provisioner that an avd_customizer names.
func (l *loader) afterStep(p avdPlaced, img *image.Image, own []image.Provision) int {
	found, n := 0, 0
	var names []string
	for i, x := range own {
		if x.Name == p.after {
			found, n = i+1, n+1
		}
		if x.Name != "" {
			names = append(names, x.Name)
		}
	}
	switch {
	case n == 0 && len(names) == 0:
		l.problems.Errorf(p.afterAt, `give the provisioner a name = "…"`, "no provisioner of %s has a name", img.Name)
	case n == 0:
		l.problems.Errorf(p.afterAt, cmp.Or(meant(p.after, names), "the names are "+strings.Join(names, ", ")), "%s has no provisioner called %q", img.Name, p.after)
	case n > 1:
		l.problems.Errorf(p.afterAt, "give them names of their own", "%s has %d provisioners called %q", img.Name, n, p.after)
	}
	return found
}
