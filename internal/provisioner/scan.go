package provisioner

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"ingot/internal/image"
)

// Finding is something in a script that is legal and hurts.
type Finding struct {
	Line            int // from 1
	Summary, Remedy string
}

// patterns are what Scan looks for in what a script does, its comments and quoted texts aside.
var patterns = []struct {
	form            *regexp.Regexp
	summary, remedy string
}{
	{regexp.MustCompile(`(?i)sysprep(\.exe)?\b.*/generalize`), "the script runs sysprep, which Ingot does itself at the end of the build: it is recognised there and not run twice",
		"leave it if Packer must build this template too; otherwise remove it"},
	{regexp.MustCompile(`(?i)sysprep(\.exe)?\b.*[/-]shutdown\b`), "the script has sysprep turn the machine off: the build then can neither read the image state nor remove its own files", "write /quit in place of /shutdown"},
	{regexp.MustCompile(`(?i)sysprep(\.exe)?\b.*[/-]reboot\b`), "the script has sysprep restart the machine, which undoes what it did: Windows sets itself up again", "write /quit in place of /reboot"},
	{regexp.MustCompile(`(?i)(^|[^\w-])Restart-Computer\b`), "the script restarts the machine, and the provisioner that runs it may lose the connection", "put the restart into a windows-restart provisioner after this one"},
	{regexp.MustCompile(`(?i)(^|[;&|({)]\s*|^\s*|\b(cmd(\.exe)?\s+/c|do|then|else)\s+)shutdown(\.exe)?\s+(.*\s)?[/-]r\b`), "the script restarts the machine, and the provisioner that runs it may lose the connection", "put the restart into a windows-restart provisioner after this one"},
	{regexp.MustCompile(`(?i)(^|[^\w-])Read-Host\b`), "the script waits for somebody to type, and nobody is there: the build hangs until its time is up", "take the value from a variable: environment_vars"},
	{regexp.MustCompile(`(?i)^\s*(cmd(\.exe)?\s+/c\s+)?pause\s*$`), "the script waits for a key, and nobody is there: the build hangs until its time is up", "remove it"},
	{regexp.MustCompile(`(?i)(^|[^\w-])Get-Credential\b`), "the script asks for credentials in a window, and nobody is there: the build hangs until its time is up", "take them from variables: environment_vars"},
}

// Scan reads a PowerShell or batch script.
func Scan(text string) []Finding {
	var out []Finding
	seen := map[string]bool{}
	comment := false
	for i, line := range strings.Split(text, "\n") {
		code := line
		if comment {
			end := strings.Index(code, "#>")
			if end < 0 {
				continue
			}
			code, comment = code[end+2:], false
		}
		for {
			start := strings.Index(code, "<#")
			if start < 0 {
				break
			}
			end := strings.Index(code[start:], "#>")
			if end < 0 {
				code, comment = code[:start], true
				break
			}
			code = code[:start] + code[start+end+2:]
		}
		code = spoken(code)
		for _, p := range patterns {
			if p.form.MatchString(code) && !seen[p.summary] {
				seen[p.summary] = true
				out = append(out, Finding{i + 1, p.summary, p.remedy})
			}
		}
	}
	return out
}

var remark = regexp.MustCompile(`(?i)^\s*(rem\s|::|@rem\s|#)`)

// spoken is a line without its comment and without texts that are only shown.
func spoken(line string) string {
	if remark.MatchString(line) {
		return ""
	}
	trimmed := strings.TrimSpace(strings.ToLower(line))
	for _, word := range []string{"write-", "echo ", "throw "} {
		if strings.HasPrefix(trimmed, word) && !strings.ContainsAny(trimmed, ";&|") {
			return ""
		}
	}
	out := []byte(line)
	quote, begun := byte(0), 0
	for i := range len(line) {
		switch c := line[i]; {
		case quote != 0:
			if c == quote {
				// A text is not run, unless it is the program's path: & "…\Sysprep.exe" /generalize.
				if !strings.HasSuffix(strings.ToLower(line[begun:i]), ".exe") {
					for j := begun + 1; j < i; j++ {
						out[j] = '_'
					}
				}
				quote = 0
			}
		case c == '\'' || c == '"':
			quote, begun = c, i
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return string(out[:i])
		}
	}
	return string(out)
}

// Encoding says what is wrong with a script file's bytes.
func Encoding(raw []byte) []Finding {
	utf16 := len(raw) >= 2 && (raw[0] == 0xff && raw[1] == 0xfe || raw[0] == 0xfe && raw[1] == 0xff)
	mark := bytes.HasPrefix(raw, []byte("\xef\xbb\xbf"))
	switch {
	case utf16:
		return []Finding{{1, "the script is UTF-16: Packer and Image Builder hand its bytes on as they are, Ingot turns it into UTF-8", "save it as UTF-8 with a byte order mark"}}
	case bytes.IndexByte(raw, 0) >= 0:
		return []Finding{{1, "the script holds a zero byte: it is no text, or UTF-16 without a byte order mark", "save it as UTF-8 with a byte order mark"}}
	case !utf8.Valid(raw):
		line := 1
		for len(raw) > 0 {
			r, n := utf8.DecodeRune(raw)
			if r == utf8.RuneError && n == 1 {
				break
			}
			if r == '\n' {
				line++
			}
			raw = raw[n:]
		}
		return []Finding{{line, "the script is not UTF-8: other machines read its special characters differently", "save it as UTF-8 with a byte order mark"}}
	case !mark:
		for i, c := range raw {
			if c >= 0x80 {
				return []Finding{{1 + bytes.Count(raw[:i], []byte("\n")), "the script has special characters and no byte order mark: Windows PowerShell 5.1 misreads them where it is run from a file (Packer, Image Builder)",
					"save it as UTF-8 with a byte order mark"}}
			}
		}
	}
	return nil
}

// scan warns of what the scripts do.
func (c *Check) scan(inline []image.Text, script string, scripts []string, windows bool) {
	var lines []string
	for _, l := range inline {
		lines = append(lines, l.Reveal())
	}
	for _, f := range Scan(strings.Join(lines, "\n")) {
		if !windows {
			break
		}
		c.warn("inline", f.Remedy, "%s", f.Summary)
	}
	read := func(option, path string) {
		info, err := os.Stat(path)
		if err != nil || info.IsDir() || info.Size() > 1<<20 {
			return
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return
		}
		findings := BuiltIn(path, "")
		if windows {
			findings = append(Encoding(raw), findings...)
		}
		if text, err := readScript(path); err == nil && windows {
			findings = append(findings, Scan(text)...)
		}
		for _, f := range findings {
			c.warn(option, f.Remedy, "%s line %d: %s", base(path), max(f.Line, 1), f.Summary)
		}
	}
	if script != "" {
		read("script", script)
	}
	for _, s := range scripts {
		read("scripts", s)
	}
}
