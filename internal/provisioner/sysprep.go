package provisioner

import (
	"regexp"
	"strings"
)

var (
	sysprepProgram    = regexp.MustCompile(`(?i)\bsysprep(\.exe)?\b`)
	sysprepGeneralize = regexp.MustCompile(`(?i)[/-]generalize\b`)
)

// RunsSysprep reports whether a provisioner generalises Windows itself, as Packer's documentation teaches for the last one. A script file
// that cannot be read runs nothing: Check has said so. A script that only writes or changes C:\DeprovisioningScript.ps1, which is Image
// Builder's way (AdminSysPrep.ps1 of RDS-Templates), is not meant: that one is run at the end of the build.
func RunsSysprep(s Settings) bool {
	texts := ""
	files := []string(nil)
	switch p := s.(type) {
	case *PowerShell:
		texts, files = joined(p.Inline, "\n"), p.files()
	case *WindowsShell:
		texts, files = joined(p.Inline, "\n"), p.files()
	default:
		return false
	}
	if generalises(texts) {
		return true
	}
	for _, f := range files {
		if text, err := readScript(f); err == nil && generalises(text) {
			return true
		}
	}
	return false
}

func generalises(text string) bool {
	if strings.Contains(strings.ToLower(text), "deprovisioningscript") {
		return false
	}
	text = regexp.MustCompile(`(?s)<#.*?#>`).ReplaceAllString(text, "")
	var code strings.Builder
	for line := range strings.Lines(text) {
		low := strings.ToLower(strings.TrimSpace(line))
		shown := strings.HasPrefix(low, "write-") || strings.HasPrefix(low, "echo ")
		if remark.MatchString(line) || shown && !strings.ContainsAny(low, ";&|") {
			continue
		}
		code.WriteString(line)
	}
	return sysprepProgram.MatchString(code.String()) && sysprepGeneralize.MatchString(code.String())
}
