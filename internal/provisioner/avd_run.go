package provisioner

import (
	"fmt"
	"strings"
	"unicode/utf16"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// AVDCall is a script with what it is called with and what must be so afterwards. Everything in it becomes lines of PowerShell.
type AVDCall struct {
	Script *AVDScript
	Args   []AVDArg
	Expect []AVDValue // in the registry
	Said   []string   // parts of lines that it must have printed
	Before []string   // lines that come before the script
	After  []string   // lines that come after it; they add to $wrong
}

// AVDArg is a parameter with its values; List says that it takes a list.
type AVDArg struct {
	Name   string
	Values []string
	List   bool
}

// AVDValue is a value that must be in the registry.
type AVDValue struct{ Key, Name, Value string }

// Steps are the provisioners that the script becomes: the file is fetched, checked and copied; it runs as SYSTEM; Windows Update and a restart
// follow where the portal has them. The first two stand side by side because nine of the scripts delete C:\AVDImage. They have the names
// that the portal gives its customizers.
func (c *AVDCall) Steps(at diag.Pos) (out []image.Provision) {
	s := c.Script
	name := "avdBuiltInScript_" + s.ID
	if s.File != "" {
		file := &File{SourceURI: image.Plain(s.URL()), SHA256: s.SHA256, Destination: s.path()}
		run := &PowerShell{ElevatedUser: "SYSTEM"}
		for _, line := range c.lines() {
			run.Inline = append(run.Inline, image.Plain(line))
		}
		out = append(out, image.Provision{Type: "file", Name: name, Settings: file, Pos: at}, image.Provision{Type: "powershell", Name: name + "-parameter", Settings: run, Pos: at})
	}
	if s.Update {
		out = append(out, image.Provision{Type: "windows-update", Name: name + "-windowsUpdate", Settings: &WindowsUpdate{}, Pos: at})
	}
	if s.Restart > 0 {
		out = append(out, image.Provision{Type: "windows-restart", Name: name + "-windowsRestart", Settings: &WindowsRestart{RestartTimeout: s.Restart}, Pos: at})
	}
	return out
}

// avdFails is in every wrapper that fails when its script does: a template that was converted is recognised by it.
const avdFails = "if ($wrong.Count -gt 0) {"

// lines are the wrapper. It is ASCII whatever the parameters are, since a file without a byte order mark is misread, and Image Builder writes
// such files.
func (c *AVDCall) lines() []string {
	s := c.Script
	out := append([]string{}, c.Before...)
	out = append(out, "$file = "+psQuote(s.path()), "$wrong = New-Object System.Collections.Generic.List[string]")
	if len(c.Said) > 0 {
		out = append(out, "$said = New-Object System.Collections.Generic.List[string]")
	}
	out = append(out, "$text = [IO.File]::ReadAllText($file)")
	for _, e := range s.edits {
		out = append(out, "if (-not $text.Contains("+psQuote(e[0])+")) { 'avd_customizer "+s.Name+": this is not the script that it was made for'; exit 1 }", "$text = $text.Replace("+psQuote(e[0])+", "+psQuote(e[1])+")")
	}
	// No line begins with a bracket: in a deployment template that would be an expression.
	out = append(out, "$null = [IO.File]::WriteAllText($file, $text, (New-Object System.Text.UTF8Encoding $true))")
	if s.web {
		out = append(out, "$global:PSDefaultParameterValues['Invoke-WebRequest:UseBasicParsing'] = $true")
	}
	call := "& $file"
	for _, a := range c.Args {
		var values []string
		for _, v := range a.Values {
			values = append(values, psQuote(v))
		}
		value := strings.Join(values, ", ")
		if a.List {
			value = "@(" + value + ")"
		}
		call += " -" + a.Name + " " + value
	}
	out = append(out, "$global:LASTEXITCODE = 0", "try {", "    "+call+" *>&1 | ForEach-Object {", `        $line = "$_"`, "        $line")
	if len(c.Said) > 0 {
		out = append(out, "        $said.Add($line)")
	}
	if s.failed != "" {
		out = append(out, "        if ($line -match "+psQuote(s.failed)+") { $wrong.Add($line) }")
	}
	if s.fatal != "" {
		out = append(out, "        if ($_ -is [System.Management.Automation.ErrorRecord] -and $_.InvocationInfo.MyCommand.Name -match "+psQuote("^("+s.fatal+")$")+") { $wrong.Add($line) }")
	}
	out = append(out, "    }", `} catch { $wrong.Add("$_") }`, `if ($global:LASTEXITCODE -ne 0) { $wrong.Add("it exited with $global:LASTEXITCODE") }`, "Set-Location "+psQuote(`C:\`))
	for _, text := range c.Said {
		out = append(out, "if (-not ($said -like "+psQuote("*"+text+"*")+")) { $wrong.Add("+psQuote("it did not say: "+text)+") }")
	}
	for _, v := range c.Expect {
		out = append(out, "$is = (Get-ItemProperty -LiteralPath "+psQuote(v.Key)+" -ErrorAction SilentlyContinue)."+v.Name,
			`if ("$is" -ne `+psQuote(v.Value)+") { $wrong.Add("+psQuote(v.Name+" in "+v.Key+" is not what was asked for: ")+" + $is) }")
	}
	out = append(out, c.After...)
	return append(out, "Remove-Item -LiteralPath "+psQuote(avdImage)+" -Recurse -Force -ErrorAction SilentlyContinue",
		avdFails, "    'avd_customizer "+s.Name+" failed:'", "    $wrong", "    exit 1", "}", "exit 0")
}

// psQuote is a text as an expression of PowerShell in ASCII.
func psQuote(s string) string {
	var b strings.Builder
	open, parts := false, 0
	plain := func(c rune) {
		if !open {
			if parts > 0 {
				b.WriteString(" + ")
			}
			b.WriteByte('\'')
			open, parts = true, parts+1
		}
		if c == '\'' {
			b.WriteByte('\'')
		}
		b.WriteRune(c)
	}
	for _, c := range s {
		if c >= ' ' && c < 0x7f {
			plain(c)
			continue
		}
		if parts == 0 {
			b.WriteString("''") // a text comes first, so that + joins
			parts++
		}
		if open {
			b.WriteByte('\'')
			open = false
		}
		for _, u := range utf16.Encode([]rune{c}) {
			fmt.Fprintf(&b, " + [char]0x%X", u)
		}
	}
	if open {
		b.WriteByte('\'')
	}
	switch {
	case parts == 0:
		return "''"
	case parts > 1 || strings.Contains(b.String(), "' + [char]"):
		return "(" + b.String() + ")"
	}
	return b.String()
}
