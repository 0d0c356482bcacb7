package provisioner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/powershell"
)

// TestSyntax: where a script is wrong is said for inline lines, for files and for what is uploaded, and with the right weight.
func TestSyntax(t *testing.T) {
	dir := t.TempDir()
	lines := func(list ...string) (out []image.Text) {
		for _, l := range list {
			out = append(out, image.Plain(l))
		}
		return out
	}
	put := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	bad := put("bad.ps1", "Write-Host a\nif ($true) {\n")
	good := put("good.ps1", "param([int]$a = 1)\nWrite-Host $a\n")
	seven := put("seven.ps1", "a && b\n")
	put("wide.ps1", "\xff\xfei\x00f\x00 \x00(\x00")
	for _, c := range []struct {
		s        Settings
		skip     bool
		severity diag.Severity // "" for none
		want     string
		pos      string
	}{
		{&PowerShell{Inline: lines("Write-Host a", "if ($a) {", "Write-Host b")}, false, diag.Error, "inline[1], column 9: missing }", "inline[1]"},
		{&PowerShell{Inline: lines("Write-Host a\nWrite-Host b\n$x = ")}, false, diag.Error, "inline[0] line 3, column 4: missing value", "inline[0]"},
		{&PowerShell{Inline: lines("if ($a) {", "Write-Host b", "}")}, false, "", "", ""},
		{&PowerShell{Inline: lines("if ($a) {")}, true, "", "", ""},
		{&PowerShell{Inline: lines("using namespace System.IO", "a")}, false, diag.Error, "cannot begin with using", "inline"},
		{&PowerShell{Inline: lines("param($a)", "a")}, false, "", "", ""},
		{&PowerShell{Inline: lines("a && b")}, false, diag.Error, "no separator", "inline[0]"},
		{&PowerShell{Inline: lines("a && b"), UsePwsh: true}, false, "", "", ""},
		{&PowerShell{Inline: lines("if ("), ExecuteCommand: "python {{.Path}}"}, false, diag.Warning, "inline[0], column 4", "inline[0]"},
		{&PowerShell{Inline: lines("$x = "+image.Runtime("ID"), "Write-Host \""+image.Runtime("Host")+"\"")}, false, "", "", ""},
		{&PowerShell{Inline: []image.Text{image.Hidden("s", "$a test-secret-not-real")}}, false, diag.Error, "unexpected text", "inline[0]"},
		{&PowerShell{Script: bad}, false, diag.Error, "bad.ps1 line 2, column 12: missing }", "bad.ps1:2:12"},
		{&PowerShell{Scripts: []string{good, bad}, ElevatedUser: "SYSTEM"}, false, diag.Error, "bad.ps1 line 2", "bad.ps1:2:12"},
		{&PowerShell{Script: good}, false, "", "", ""},
		{&PowerShell{Script: filepath.Join(dir, "wide.ps1")}, false, diag.Error, "wide.ps1 line 1", "wide.ps1:1:4"},
		{&PowerShell{Script: seven}, false, diag.Error, "no separator", "seven.ps1:1:3"},
		{&File{Source: seven, Destination: "C:/x.ps1"}, false, "", "", ""},
		{&File{Source: bad, Destination: "C:/x.ps1"}, false, diag.Warning, "bad.ps1 line 2", "bad.ps1:2:12"},
		{&File{Source: dir, Destination: "C:/x"}, false, diag.Warning, "bad.ps1 line 2", "bad.ps1:2:12"},
		{&File{Content: image.Plain("if ("), Destination: "C:/x.ps1"}, false, diag.Warning, "x.ps1 line 1", "content"},
		{&File{Content: image.Plain("if ("), Destination: "C:/x.txt"}, false, "", "", ""},
	} {
		check := &Check{Cwd: dir, Dir: dir, Skip: c.skip, Pos: func(option string) diag.Pos { return diag.Pos{File: option} }}
		c.s.Check(check)
		var at *diag.Problem
		for _, p := range check.Problems {
			if strings.Contains(p.Summary+p.Remedy, "test-secret-not-real") {
				t.Errorf("%+v: the secret is in %+v", c.s, p)
			}
			if c.want != "" && strings.Contains(p.Summary, c.want) {
				at = &p
			}
		}
		switch {
		case c.want == "" && len(check.Problems) > 0 && strings.Contains(check.Problems[0].Summary, "column"):
			t.Errorf("%+v: %+v", c.s, check.Problems)
		case c.want != "" && (at == nil || at.Severity != c.severity || at.Pos.String() != c.pos || at.Remedy == ""):
			t.Errorf("%+v: %+v, want %s at %s", c.s, check.Problems, c.want, c.pos)
		}
	}
}

// TestWrapped: what Ingot adds to a script keeps it sound, whatever the script begins with.
func TestWrapped(t *testing.T) {
	for _, s := range []string{"Write-Host a", "param($a = 1)\n$a", "[CmdletBinding()]\nparam()\nbegin { 1 } process { 2 } end { 3 }", "process { 1 }", "# only a comment", "Write-Host a # with a comment", "$a = @'\nx\n'@"} {
		for _, text := range []string{exiting(s), wrapInline(s+"\r\n", 1)} {
			if found := powershell.Check(text, powershell.Options{}); found != nil {
				t.Errorf("%+v in\n%s", found, text)
			}
		}
	}
}
