package provisioner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ingot/internal/image"
	"ingot/internal/sim/guest"
)

const dscScript = `configuration Desk {
    param([string]$Who)
    Import-DscResource -ModuleName PSDesiredStateConfiguration
    Node localhost {
        File Readme {
            DestinationPath = 'C:\readme.txt'
        }
        WindowsFeature 'Backup' {
            Name = 'Windows-Server-Backup'
        }
        Registry Last
        {
            Key = 'HKLM:\SOFTWARE\x'
        }
    }
}
`

const dscMOF = `instance of MSFT_FileDirectoryConfiguration as $MSFT_FileDirectoryConfiguration1ref
{
 ResourceID = "[File]Readme";
};
`

const dscDocument = `$schema: https://aka.ms/dsc/schemas/v3/bundled/config/document.json
resources:
- name: keys
  type: Microsoft.Windows/Registry
  properties:
    keyPath: HKLM\SOFTWARE\x
- name: os
  type: Microsoft/OSInfo
`

// TestDSC has every kind of configuration and each option acting.
func TestDSC(t *testing.T) {
	dir := t.TempDir()
	script := write(t, dir+"/Desk.ps1", dscScript, 0o600)
	document := write(t, dir+"/desk.dsc.yaml", dscDocument, 0o600)
	write(t, dir+"/mof/localhost.mof", dscMOF, 0o600)
	write(t, dir+"/beside/more.ps1", "#", 0o600)
	write(t, dir+"/modules/One/One.psd1", "@{}", 0o600)
	write(t, dir+"/cThing/cThing.psd1", "@{}", 0o600)
	data := write(t, dir+"/Data.psd1", "@{}", 0o600)
	own := write(t, dir+"/own.ps1", "Write-Output 'own {{.ConfigurationName}} {{.ManifestFile}} {{.ConfigurationParams}} {{.ModulePath}} {{.WorkingDir}}'\n", 0o600)
	for name, c := range map[string]struct {
		p         DSC
		resources []guest.Resource
		want      string // resources that are set, in order
		sent      string // in the last script
		files     string // in the guest
		restarts  int
		fail      string
	}{
		"script":          {DSC{ManifestFile: script}, nil, "[File]Readme [WindowsFeature]Backup [Registry]Last", `"mode":"configuration","staging":"C:/Windows/Temp/packer-dsc","working":"C:/Windows/Temp/packer-dsc","manifest":"C:/Windows/Temp/packer-dsc/manifest/Desk.ps1","name":"Desk"`, `C:\Windows\Temp\packer-dsc\manifest\Desk.ps1`, 0, ""},
		"mof":             {DSC{MOFPath: dir + "/mof"}, nil, "[File]Readme", `"mode":"mof"`, `C:\Windows\Temp\packer-dsc\mof\localhost.mof`, 0, ""},
		"dsc 3":           {DSC{ManifestFile: document, DSCCommand: `C:\dsc\dsc.exe`}, nil, "[Microsoft.Windows/Registry]keys [Microsoft/OSInfo]os", `"mode":"v3"`, "", 0, ""},
		"resource":        {DSC{ResourceName: "File", ResourceModule: "PSDesiredStateConfiguration", ResourceModuleVersion: "1.1", ResourceProperties: map[string]image.Text{"DestinationPath": image.Plain(`C:\x`)}}, nil, "[File]", `"name":"File","module":"PSDesiredStateConfiguration","version":"1.1"`, "", 0, ""},
		"another name":    {DSC{ManifestFile: script, ConfigurationName: "Other"}, nil, "", "", "", 0, "cannot compile the configuration: The term 'Other'"},
		"data":            {DSC{ManifestFile: script, ConfigurationFile: data}, nil, "[File]Readme [WindowsFeature]Backup [Registry]Last", `"data":"C:/Windows/Temp/packer-dsc/Data.psd1"`, `C:\Windows\Temp\packer-dsc\Data.psd1`, 0, ""},
		"folders":         {DSC{ManifestFile: script, ManifestDir: dir + "/beside", ModulePaths: []string{dir + "/modules"}, ResourcePaths: []string{dir + "/cThing"}, StagingDir: "D:/s", WorkingDir: "D:/w"}, nil, "[File]Readme [WindowsFeature]Backup [Registry]Last", `"staging":"D:/s","working":"D:/w"`, `D:\s\manifest\more.ps1 D:\s\module-0\One\One.psd1 C:\Program Files\WindowsPowerShell\Modules\cThing\cThing.psd1`, 0, ""},
		"modules":         {DSC{ManifestFile: script, InstallPackageManagement: true, InstallModules: map[string]string{"xB": "2.0", "A": ""}}, nil, "[File]Readme [WindowsFeature]Backup [Registry]Last", `"install":[{"name":"A"},{"name":"xB","version":"2.0"}],"packages":true`, "", 0, ""},
		"restarts":        {DSC{ManifestFile: script}, []guest.Resource{{ID: "[WindowsFeature]Backup", Restart: true}}, "[File]Readme [WindowsFeature]Backup [File]Readme [WindowsFeature]Backup [Registry]Last", `"again":true`, "", 1, ""},
		"dsc 3 restarts":  {DSC{ManifestFile: document}, []guest.Resource{{ID: "[Microsoft.Windows/Registry]keys", Restart: true}}, "[Microsoft.Windows/Registry]keys [Microsoft.Windows/Registry]keys [Microsoft/OSInfo]os", "", "", 1, ""},
		"fails":           {DSC{ManifestFile: script}, []guest.Resource{{ID: "[WindowsFeature]Backup", Error: "The feature is not there."}}, "[File]Readme", "", "", 0, "cannot set resource [WindowsFeature]Backup: The feature is not there."},
		"fails, ignored":  {DSC{ManifestFile: script, IgnoreExitCodes: true}, []guest.Resource{{ID: "[WindowsFeature]Backup", Error: "no"}}, "[File]Readme", "", "", 0, ""},
		"own command":     {DSC{ManifestFile: script, ExecuteCommandFile: own, ConfigurationParams: map[string]image.Text{"-Who": image.Plain("me"), "Switch": image.Plain("")}, ModulePaths: []string{dir + "/modules"}}, nil, "", `own Desk C:/Windows/Temp/packer-dsc/manifest/Desk.ps1 -Who "me" -Switch C:/Windows/Temp/packer-dsc/module-0 C:/Windows/Temp/packer-dsc`, "", 0, ""},
		"own command bad": {DSC{ManifestFile: script, ExecuteCommand: "{{.Nope}}"}, nil, "", "", "", 0, "it knows .ConfigurationFilePath"},
		"cleaned":         {DSC{ManifestFile: script, CleanStagingDir: true}, nil, "[File]Readme [WindowsFeature]Backup [Registry]Last", "", "", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newWindowsGuest(t, func(x *guest.Config) { x.Resources = c.resources })
			out, err := g.run("step-1", &c.p)
			if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Fatalf("%v\n%s", err, g)
			}
			var set []string
			for _, l := range strings.Split(out, "\n") {
				if id, _, ok := strings.Cut(strings.TrimPrefix(l, "stdout:"), " is set"); ok {
					set = append(set, id)
				}
			}
			if got := strings.Join(set, " "); got != c.want || g.count(restartCall) != c.restarts {
				t.Errorf("%s, %d restarts; want %s, %d\n%s", got, g.count(restartCall), c.want, c.restarts, g)
			}
			if n := len(g.scripts); c.sent != "" && (n == 0 || !strings.Contains(g.scripts[n-1].Text, c.sent)) {
				t.Errorf("no %s in %+v", c.sent, g.scripts)
			}
			files := strings.Join(g.disk.Files(), "\n")
			for _, f := range strings.Fields(strings.ReplaceAll(c.files, "Program Files", "Program_Files")) {
				if !strings.Contains(files, strings.ReplaceAll(f, "_", " ")) {
					t.Errorf("no %s in\n%s", f, files)
				}
			}
			if name == "cleaned" && strings.Contains(files, "packer-dsc") {
				t.Errorf("left: %s", files)
			}
		})
	}
}

// TestDSCSecrets: parameters are in the environment only.
func TestDSCSecrets(t *testing.T) {
	g := newWindowsGuest(t, nil)
	p := &DSC{ManifestFile: write(t, t.TempDir()+"/Desk.ps1", dscScript, 0o600), ConfigurationParams: map[string]image.Text{"-Who": image.Hidden("who", "test-secret-not-real")}}
	if out, err := g.run("step-1", p); err != nil || strings.Contains(out, "test-secret") {
		t.Errorf("%v\n%s", err, g)
	}
	s := g.scripts[0]
	if strings.Contains(s.Text, "test-secret") || s.Env["INGOT_DSC"] != `{"Who":"test-secret-not-real"}` {
		t.Errorf("%q %s", s.Env["INGOT_DSC"], s.Text[:200])
	}
}

// TestDSCResumed: a process that dies goes on where it was, with one restart.
func TestDSCResumed(t *testing.T) {
	script := write(t, t.TempDir()+"/Desk.ps1", dscScript, 0o600)
	for _, at := range []string{"applying", "[File]Readme is set", "a resource wants a restart", "waiting for the guest"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			g := newWindowsGuest(t, func(c *guest.Config) { c.Resources = []guest.Resource{{ID: "[File]Readme", Restart: true}} })
			ctx, die := context.WithCancelCause(t.Context())
			g.hear = func(line string) {
				if strings.HasPrefix(line, at) {
					die(errors.New("killed"))
				}
			}
			if _, err := g.runIn(ctx, "step-1", &DSC{ManifestFile: script}); err == nil {
				t.Fatal("it was not killed")
			}
			g.mu.Lock()
			g.hear = nil
			g.mu.Unlock()
			if out, err := g.run("step-1", &DSC{ManifestFile: script}); err != nil || !strings.Contains(out, "[Registry]Last is set") || g.count(restartCall) > 2 {
				t.Errorf("%v\n%s", err, g)
			}
			ids := map[string]bool{}
			for _, s := range g.scripts {
				ids[s.ID] = true
			}
			if len(ids) != 2 {
				t.Errorf("%d applications, want 2", len(ids))
			}
		})
	}
}

// TestDSCNeverDone: a resource that always wants a restart is an error.
func TestDSCNeverDone(t *testing.T) {
	var resources []guest.Resource
	var text strings.Builder
	text.WriteString("configuration Desk {\n  Node localhost {\n")
	for i := range dscRestarts + 1 {
		fmt.Fprintf(&text, "    File F%d {\n    }\n", i)
		resources = append(resources, guest.Resource{ID: fmt.Sprintf("[File]F%d", i), Restart: true})
	}
	g := newWindowsGuest(t, func(c *guest.Config) { c.Resources = resources; c.Clock = hasty{time.Now(), 2000} })
	_, err := g.run("step-1", &DSC{ManifestFile: write(t, t.TempDir()+"/Desk.ps1", text.String()+"  }\n}\n", 0o600)})
	if err == nil || !strings.Contains(err.Error(), "after 10 restarts a resource still wants one") {
		t.Errorf("%v\n%s", err, g)
	}
}
