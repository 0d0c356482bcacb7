package provisioner

import (
	"strings"
	"testing"
)

func TestScan(t *testing.T) {
	for _, c := range []struct {
		text, want string
		line       int
	}{
		{"& $env:SystemRoot\\System32\\Sysprep\\Sysprep.exe /oobe /generalize /quiet /quit", "sysprep", 1},
		{"Write-Output 1\nRestart-Computer -Force", "restarts the machine", 2},
		{"shutdown /r /t 0", "restarts the machine", 1},
		{"if ($x) { shutdown.exe -r -t 0 }", "restarts the machine", 1},
		{"$name = Read-Host 'Name'", "somebody to type", 1},
		{"$c = Get-Credential", "asks for credentials", 1},
		{"<# a\nb #> Restart-Computer", "restarts the machine", 2},
		{"cmd /c shutdown /r /t 0", "restarts the machine", 1}, {"pause", "waits for a key", 1}, {"& \"C:\\Windows\\System32\\Sysprep\\Sysprep.exe\" /generalize", "sysprep", 1},
		// near misses
		{`$x = "Restart-Computer"`, "", 0}, {"Write-Output 'pause'", "", 0}, {"$pause = 1", "", 0},
		{"# Restart-Computer", "", 0}, {"<#\nRead-Host\n#>", "", 0}, {"Write-Host 'call Restart-Computer yourself'", "", 0}, {"rem shutdown /r", "", 0}, {":: shutdown /r", "", 0},
		{"shutdown /a", "", 0}, {"Get-RestartComputerPolicy", "", 0}, {"Test-Path C:\\Windows\\System32\\Sysprep\\unattend.xml", "", 0}, {"Remove-Item 'x' # then Read-Host", "", 0}, {"Stop-Process shutdownr", "", 0},
		{"Sysprep.exe /audit", "", 0}, {"My-Read-HostTool", "", 0},
	} {
		got := Scan(c.text)
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%q: %+v", c.text, got)
		case c.want != "" && (len(got) != 1 || !strings.Contains(got[0].Summary, c.want) || got[0].Line != c.line || got[0].Remedy == ""):
			t.Errorf("%q: %+v, want %q on line %d", c.text, got, c.want, c.line)
		}
	}
	if got := Scan(strings.Repeat("Restart-Computer\n", 5)); len(got) != 1 {
		t.Errorf("the same finding is told %d times", len(got))
	}
}

func TestEncoding(t *testing.T) {
	for _, c := range []struct {
		raw, want string
		line      int
	}{
		{"Write-Output 1\r\n", "", 0}, {"\xef\xbb\xbfWrite-Output 'ä'", "", 0}, {"\xff\xfeW\x00", "UTF-16", 1}, {"\xfe\xff\x00W", "UTF-16", 1}, {"W\x00r\x00", "zero byte", 1},
		{"a\nWrite-Output 'ä'", "no byte order mark", 2}, {"a\nb\nWrite-Output '\xe4'", "not UTF-8", 3},
	} {
		got := Encoding([]byte(c.raw))
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0].Summary, c.want) || got[0].Line != c.line) {
			t.Errorf("%q: %+v, want %q", c.raw, got, c.want)
		}
	}
}

func TestBuiltIn(t *testing.T) {
	const at = "https://raw.githubusercontent.com/Azure/RDS-Templates/master/CustomImageTemplateScripts/CustomImageTemplateScripts_2024-03-27/"
	const pinned = "https://raw.githubusercontent.com/Azure/RDS-Templates/0123456789abcdef/CustomImageTemplateScripts/CustomImageTemplateScripts_2024-03-27/"
	for _, c := range []struct {
		uri, sum string
		want     []string
	}{
		{at + "DisableAutoUpdates.ps1", "", []string{"does nothing", "master branch"}}, {at + "TimezoneRedirection.ps1", "", []string{"catches every exception", "master branch"}}, {pinned + "TimezoneRedirection.ps1", "", []string{"catches every exception"}},
		{at + "ConfigureOfficeApps.ps1", "", []string{"download page", "master branch"}}, {at + "WindowsOptimization.ps1", "", []string{"newest state of another repository", "master branch"}}, {`scripts\DisableAutoUpdates.ps1`, "", []string{"does nothing"}},
		{"https://example.com/scripts/FSLogix.ps1", "", nil}, {"https://example.com/RDS-Templates/mine.ps1", "", nil}, {"", "", nil}, {"FSLogixSetup.ps1", "", nil},
		{at + "FSLogix.ps1", "", []string{"catches every exception", "CVE-2025-54100", "master branch"}}, {at + "AdminSysPrep.ps1", "", []string{"empty C:\\DeprovisioningScript.ps1", "master branch"}},
		{"https://raw.githubusercontent.com/Azure/RDS-Templates/refs/heads/main/x/TimezoneRedirection.ps1", "", []string{"catches every exception", "main branch"}},
		{"https://github.com/contoso/RDS-Templates/raw/master/x/timezoneredirection.ps1", "", []string{"catches every exception", "master branch"}},
		{at + "SetDefaultLang.ps1", "3eec0ffb74a9a343cf1b38dd73d266bfc8c82b23f0fd2c3f7e9d29c975eb6bab", []string{"catches every exception", "master branch", "that of an earlier SetDefaultLang.ps1"}},
		{AVDScriptNamed("set_default_language").URL(), "79420a7210d922aa61aa647696aeaa8a2c26239b83ec0a8ea23cc82ff6f5196c", []string{"catches every exception"}},
		{AVDScriptNamed("timezone_redirection").URL(), strings.Repeat("0", 64), []string{"catches every exception", "not that of TimezoneRedirection.ps1 at this commit"}},
	} {
		got := BuiltIn(c.uri, c.sum)
		if len(got) != len(c.want) {
			t.Errorf("%s: %+v, want %v", c.uri, got, c.want)
			continue
		}
		for i, w := range c.want {
			if !strings.Contains(got[i].Summary, w) || got[i].Remedy == "" {
				t.Errorf("%s: %+v, want %q", c.uri, got[i], w)
			}
		}
	}
}
