package provisioner

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/powershell"
)

// largestParsed is what is parsed, in bytes; a script of an installer made by a machine can be of any size.
const largestParsed = 4 << 20

// checkSyntax parses what the provisioner will run.
func (p *PowerShell) checkSyntax(c *Check) {
	if c.Skip {
		return
	}
	o := powershell.Options{Seven: p.UsePwsh}
	severity := diag.Error
	for _, command := range []string{p.ExecuteCommand, p.ElevatedExecuteCommand} {
		if command != "" {
			// Nobody knows what such a command runs the script with.
			severity, o.Seven = diag.Warning, o.Seven || strings.Contains(strings.ToLower(command), "pwsh")
		}
	}
	c.inlineSyntax(p.Inline, o, severity)
	if p.Script != "" {
		c.scriptSyntax(p.Script, o, severity)
	}
	for _, s := range p.Scripts {
		c.scriptSyntax(s, o, severity)
	}
}

// checkSyntax parses PowerShell that is uploaded. It is a warning only: nobody knows whether it is run, and by which PowerShell.
func (p *File) checkSyntax(c *Check) {
	if c.Skip {
		return
	}
	o := powershell.Options{Seven: true}
	if isScript(p.Destination) && !p.Content.IsZero() {
		o.Hidden = p.Content.Secret() != ""
		for _, f := range powershell.Check(inert(p.Content.Reveal(), c.Holes), o) {
			c.warn("content", f.Remedy, "%s line %d, column %d: %s", base(p.Destination), f.Line, f.Column, f.Summary)
		}
	}
	sources := p.Sources
	if p.Source != "" {
		sources = append([]string{p.Source}, sources...)
	}
	for _, s := range sources {
		info, err := os.Stat(s)
		switch {
		case err != nil:
		case !info.IsDir():
			if isScript(s) {
				c.scriptSyntax(s, o, diag.Warning)
			}
		default:
			files := 0
			_ = filepath.WalkDir(s, func(name string, d fs.DirEntry, err error) error {
				if err != nil {
					return nil // Find has complained of what is not there; a folder that cannot be read stops the upload
				}
				if !d.IsDir() && isScript(name) {
					c.scriptSyntax(name, o, diag.Warning)
					files++
				}
				if files > 1000 {
					return fs.SkipAll
				}
				return nil
			})
		}
	}
}

func isScript(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, ".ps1") || strings.HasSuffix(name, ".psm1")
}

// inlineSyntax parses inline lines as the one script that they are.
func (c *Check) inlineSyntax(lines []image.Text, o powershell.Options, severity diag.Severity) {
	if len(lines) == 0 {
		return
	}
	for _, l := range lines {
		o.Hidden = o.Hidden || l.Secret() != ""
	}
	text := inert(joined(lines, "\n"), c.Holes)
	found := powershell.Check(text, o)
	if powershell.Head(text) == "using" {
		c.add(severity, c.at("inline"), "put the script into a file and name it with script", "inline lines cannot begin with using: they run inside try { … }")
	}
	for _, f := range found {
		// Which element the line belongs to: an element may hold several lines.
		at, element, within := 0, 0, f.Line
		for i, l := range lines {
			n := 1 + strings.Count(l.Reveal(), "\n")
			if f.Line <= at+n {
				element, within = i, f.Line-at
				break
			}
			at += n
		}
		where := fmt.Sprintf("inline[%d]", element)
		if within > 1 {
			where += fmt.Sprintf(" line %d", within)
		}
		c.add(worse(f, severity), c.at(fmt.Sprintf("inline[%d]", element)), f.Remedy, "%s, column %d: %s", where, f.Column, f.Summary)
	}
}

// scriptSyntax parses a script file; its problems stand at its own lines.
func (c *Check) scriptSyntax(path string, o powershell.Options, severity diag.Severity) {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() || info.Size() > largestParsed {
		return
	}
	text, err := readScript(path)
	if err != nil || strings.ContainsRune(text, 0) || strings.ContainsRune(text, '\uFFFD') {
		return // what it says is not known; Encoding warns of it
	}
	shown := path
	if rel, err := filepath.Rel(cmp.Or(c.Cwd, "."), path); err == nil && !strings.HasPrefix(rel, "..") {
		shown = filepath.ToSlash(rel)
	}
	found := powershell.Check(text, o)
	if len(found) > 0 && c.Show != nil {
		c.Show(shown, []byte(text))
	}
	for _, f := range found {
		c.add(worse(f, severity), diag.Pos{File: shown, Line: f.Line, Column: f.Column}, f.Remedy, "%s line %d, column %d: %s", base(path), f.Line, f.Column, f.Summary)
	}
}

// worse is the severity of a finding.
func worse(f powershell.Problem, s diag.Severity) diag.Severity {
	if f.Warning {
		return diag.Warning
	}
	return s
}

func (c *Check) add(s diag.Severity, pos diag.Pos, remedy, format string, args ...any) {
	if s == diag.Error {
		c.Problems.Errorf(pos, remedy, format, args...)
	} else {
		c.Problems.Warnf(pos, remedy, format, args...)
	}
}

var (
	runtimeValue = regexp.MustCompile("\\{\\{ build `[A-Za-z]+` \\}\\}")
	hole         = regexp.MustCompile(`<[A-Za-z][A-Za-z0-9_.-]*>`)
)

// inert puts digits in the place of what only a running build, or the template's user, fills in: a number may stand where any value may.
func inert(text string, holes bool) string {
	digits := func(s string) string { return strings.Repeat("1", len(s)) }
	text = runtimeValue.ReplaceAllStringFunc(text, digits)
	if holes {
		text = hole.ReplaceAllStringFunc(text, digits)
	}
	return text
}

// exiting is a script that reports the exit code of the last program it ran. What ends with begin, process or end blocks takes no
// statement after them, so it becomes a block itself.
func exiting(text string) string {
	const end = "\r\nexit $LASTEXITCODE\r\n"
	if powershell.Head(text) == "blocks" {
		return "& {\r\n" + text + "\r\n}" + end
	}
	return text + end
}
