package provisioner

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ingot/internal/diag"
	"ingot/internal/powershell"
)

// TestAVDScripts: there are the portal's sixteen and Windows Update, each with a checksum of its own and its facts.
func TestAVDScripts(t *testing.T) {
	seen := map[string]bool{}
	last := ""
	for _, s := range AVDScripts() {
		if s.Name <= last || seen[s.ID] || seen[s.SHA256] || s.Effect == "" {
			t.Errorf("%+v", s)
		}
		last, seen[s.ID], seen[s.SHA256] = s.Name, true, true
		if s.File == "" {
			continue
		}
		if !checksum.MatchString(s.SHA256) || s.Defect == "" || s.Done == "" {
			t.Errorf("%s: %+v", s.Name, s)
		}
		for _, e := range s.Earlier {
			if !checksum.MatchString(e) || seen[e] {
				t.Errorf("%s: %s", s.Name, e)
			}
			seen[e] = true
		}
		if got, ref := avdAt(s.URL()); got == nil || got.Name != s.Name || ref != AVDCommit {
			t.Errorf("%s is not found by its own address: %+v %s", s.Name, got, ref)
		}
	}
	if len(avdScripts) != 17 || len(AVDLanguages()) != 39 || AVDScriptNamed("mine") != nil {
		t.Errorf("%d scripts, %d languages", len(avdScripts), len(AVDLanguages()))
	}
}

// TestPSQuote: what PowerShell reads from a quoted text is the text, and the text is ASCII.
func TestPSQuote(t *testing.T) {
	for text, want := range map[string]string{
		"": "''", "a": "'a'", "it's": "'it''s'", "$x `n \"": "'$x `n \"'", "Bokmål (Norway)": "('Bokm' + [char]0xE5 + 'l (Norway)')", "é": "('' + [char]0xE9)", "a’b": "('a' + [char]0x2019 + 'b')",
		"😀": "('' + [char]0xD83D + [char]0xDE00)", "a\r\nb": "('a' + [char]0xD + [char]0xA + 'b')", "éa": "('' + [char]0xE9 + 'a')",
	} {
		if got := psQuote(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// TestAVDWrapper: the lines around each script can be read by PowerShell, hold nothing but ASCII, fail with what the script prints and end with
// an exit code.
func TestAVDWrapper(t *testing.T) {
	for _, s := range AVDScripts() {
		c := AVDCall{Script: &s, Args: []AVDArg{{Name: "LanguageList", Values: []string{"Norwegian, Bokmål (Norway)", "it's"}, List: true}, {Name: "N", Values: []string{"1"}}},
			Expect: []AVDValue{{`HKLM:\SOFTWARE\A b`, "v", "x'y"}}, Said: []string{"Installed language nb-NO"}, Before: []string{"'before'"}, After: []string{"'after'"}}
		steps := c.Steps(diag.Pos{})
		if s.File == "" {
			if len(steps) != 2 || steps[0].Type != "windows-update" {
				t.Errorf("%s: %+v", s.Name, steps)
			}
			continue
		}
		text := joined(steps[1].Settings.(*PowerShell).Inline, "\n")
		if found := powershell.Check(text, powershell.Options{}); len(found) > 0 {
			t.Errorf("%s: %+v\n%s", s.Name, found, text)
		}
		for i := range len(text) {
			if text[i] > 0x7e {
				t.Fatalf("%s holds a character that is none of ASCII:\n%s", s.Name, text)
			}
		}
		for _, want := range []string{`& $file -LanguageList @(('Norwegian, Bokm' + [char]0xE5 + 'l (Norway)'), 'it''s') -N '1' *>&1 | ForEach-Object {`, `$file = 'C:\AVDImage\` + s.ID + `.ps1'`, `if ("$is" -ne 'x''y')`, "Installed language nb-NO", avdFails, "exit 1"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %s:\n%s", s.Name, want, text)
			}
		}
		if !strings.HasPrefix(text, "'before'\n") || !strings.Contains(text, "'after'\nRemove-Item") || !strings.HasSuffix(text, "}\nexit 0\n") || s.failed != "" != strings.Contains(text, "-match") && s.fatal == "" {
			t.Errorf("%s:\n%s", s.Name, text)
		}
		for _, e := range s.edits {
			if !strings.Contains(text, ".Replace("+psQuote(e[0])+", "+psQuote(e[1])+")") {
				t.Errorf("%s does not replace %s", s.Name, e[0])
			}
		}
		// A converted template has these steps by themselves: they are known, and known to be sound.
		copied, ok := AVDStepOf(steps[0].Settings.(*File), nil)
		run, ran := AVDStepOf(steps[1].Settings.(*PowerShell), []AVDStep{copied})
		if !ok || !ran || !copied.Copies || run.Script.Name != s.Name || !run.Checked || len(Scan(text)) > 0 || RunsSysprep(steps[1].Settings.(*PowerShell)) {
			t.Errorf("%s: %+v %+v %v", s.Name, copied, run, Scan(text))
		}
	}
}

// TestAVDScriptsAsTheyAre holds what is said of the scripts against the scripts themselves: checksums, what they print when they fail, what is
// replaced in them, whether they delete C:\AVDImage.
func TestAVDScriptsAsTheyAre(t *testing.T) {
	dir := os.Getenv("INGOT_RDS_TEMPLATES")
	if dir == "" {
		t.Skip("INGOT_RDS_TEMPLATES names no checkout of Azure/RDS-Templates at " + AVDCommit)
	}
	removes := 0
	for _, s := range AVDScripts() {
		if s.File == "" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, avdFolder, s.File))
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		if sumOf(text) != s.SHA256 {
			t.Errorf("%s has the checksum %s", s.File, sumOf(text))
		}
		var printed strings.Builder
		prompts := false
		for line := range strings.Lines(text) {
			if strings.Contains(line, "Write-Host") {
				printed.WriteString(line)
			}
			prompts = prompts || strings.Contains(line, "Invoke-WebRequest") && !strings.Contains(line, "-UseBasicParsing")
		}
		for part := range strings.SplitSeq(s.failed, "|") {
			if !regexp.MustCompile("(?i)" + part).MatchString(printed.String()) {
				t.Errorf("%s never prints %s", s.File, part)
			}
		}
		for part := range strings.SplitSeq(s.fatal, "|") {
			if !strings.Contains(strings.ToLower(text), strings.ToLower(part)) {
				t.Errorf("%s never calls %s", s.File, part)
			}
		}
		if strings.Contains(text, "Remove-Item -Path $templateFilePathFolder") != s.Removes || prompts != s.web {
			t.Errorf("%s: removes %v, prompts %v", s.File, !s.Removes, prompts)
		}
		if s.Removes {
			removes++
		}
		for _, e := range s.edits {
			if !strings.Contains(text, e[0]) {
				t.Errorf("%s does not hold %s", s.File, e[0])
			}
			text = strings.ReplaceAll(text, e[0], e[1])
		}
		if found := powershell.Check(text, powershell.Options{}); len(found) > 0 {
			t.Errorf("%s, changed: %+v", s.File, found)
		}
	}
	if removes != 9 {
		t.Errorf("%d of them delete C:\\AVDImage", removes)
	}
}
