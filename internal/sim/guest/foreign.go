package guest

import (
	"encoding/base64"
	"encoding/xml"
	"regexp"
	"strings"
)

// What Packer's communicator and provisioners have a Windows guest run, so that Packer's own builds work in the model: files that
// arrive as lines of base64, scripts called through "& { ... }", and elevated ones through a scheduled task
// (packer-community/winrmcp, cp.go; packer-plugin-sdk v0.6.10, guestexec/elevated.go and its provisioners' execute_command).
var (
	psBlock    = regexp.MustCompile(`(?is)^&\s*\{(.*)\}\s*;?$`)
	psCall     = regexp.MustCompile(`(?i)^([&.])\s*("[^"]+"|'[^']+'|[a-z]:[^\s;|]+\.ps1|\$env:[^\s;|]+\.ps1)\s*;?$`)
	psQuiet    = regexp.MustCompile(`(?is)^if\s*\(\s*test-path\s+variable:(?:global:)?progresspreference\s*\)\s*\{[^{}]*\}\s*;?$|^\$progresspreference\s*=\s*['"]?silentlycontinue['"]?\s*;?$`)
	psHostName = regexp.MustCompile(`(?i)^(?:echo|write-output|write-host)\s+\("([^"]*)"\s+-f\s+\[System\.Net\.Dns\]::GetHostName\(\)\)\s*;?$`)
	// The frame that the powershell provisioner puts around a script: the last native program's code is the script's.
	psResult = regexp.MustCompile(`(?is)^\$exitCode\s*=\s*0\s*;?$|^\}\s*catch\s*\{\s*write-error "an error occurred: \$_"\s*\$exitcode\s*=\s*1\s*\}$|^if\s*\(\(test-path variable:global:lastexitcode\)[^{}]*\{\s*\$exitcode\s*=\s*\$lastexitcode\s*\}$`)
	// Ingot's own frame (internal/provisioner, wrapInline) says the same in other words.
	psFrame    = regexp.MustCompile(`(?is)^\}\s*catch\s*\{\s*write-error -errorrecord \$_ -erroraction continue\s*\$exitcode\s*=\s*1\s*\}$|^if\s*\(\(test-path variable:global:lastexitcode\) -and \$global:lastexitcode -ne 0\)\s*\{\s*\$exitcode\s*=\s*\$global:lastexitcode\s*\}$`)
	psExitVar  = regexp.MustCompile(`(?i)^exit\s+\$exitCode\s*;?$`)
	psRemove   = regexp.MustCompile(`(?i)^if\s*\(test-path\s+([^\s)]+)\)\s*\{\s*remove-item\s+([^\s}]+)\s*\}\s*;?$`)
	psFullPath = regexp.MustCompile(`(?i)\[System\.IO\.Path\]::GetFullPath\("([^"]*)"`)
	psDecodes  = regexp.MustCompile(`(?is)OpenText\(\$tmp_file_path\).*FromBase64String`)
	psDiscards = regexp.MustCompile(`(?is)^(?:\$ProgressPreference = 'SilentlyContinue';)?\s*\$tmp_file_path\s*=[^\n]*\n\s*if\s*\(Test-Path \$tmp_file_path\)\s*\{\s*Remove-Item \$tmp_file_path[^{}]*\}\s*$`)
	psTask     = regexp.MustCompile(`(?is)New-Object -ComObject "Schedule\.Service".*RegisterTaskDefinition`)
	psTaskXML  = regexp.MustCompile(`(?s)@'\s*\n(<\?xml.*?</Task>)\s*\n'@`)
	psTaskLog  = regexp.MustCompile(`(?m)^\$log = \[System\.Environment\]::ExpandEnvironmentVariables\("([^"]*)"\)`)
)

// foreign runs a whole script of those that are known as a whole; ok is false for any other.
func (p *process) foreign(text string) (code int, ok bool) {
	paths := psFullPath.FindAllStringSubmatch(text, -1)
	switch {
	case len(paths) == 2 && psDecodes.MatchString(text):
		return p.decodeFile(paths[0][1], strings.Trim(paths[1][1], "'")), true
	case len(paths) == 1 && psDiscards.MatchString(text):
		p.m.disk.remove(p.at(paths[0][1]))
		return 0, true
	case psTask.MatchString(text) && psTaskXML.MatchString(text):
		return p.task(text), true
	}
	return 0, false
}

// decodeFile makes a file of one that holds lines of base64; of none an empty one.
func (p *process) decodeFile(from, to string) int {
	data, ok := p.m.disk.File(p.at(from))
	var out []byte
	for l := range strings.Lines(string(data)) {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(l))
		if err != nil {
			p.complain(`Exception calling "FromBase64String" with "1" argument(s): "The input is not a valid Base-64 string as it contains a non-base 64 character, more than two padding characters, or an illegal character among the padding characters."`)
			return 1
		}
		out = append(out, b...)
	}
	if !ok {
		out = []byte("\xff\xfe\r\x00\n\x00") // echo $null > file, in UTF-16
	}
	p.m.disk.write(p.at(to), out)
	return 0
}

// task registers a scheduled task, runs it, prints its log and removes it; the script's own result is the task's.
func (p *process) task(text string) int {
	var task struct {
		Actions struct {
			Exec struct{ Command, Arguments string }
		}
	}
	raw := psTaskXML.FindStringSubmatch(text)[1]
	_, raw, _ = strings.Cut(raw, "?>") // it says UTF-16 of itself, and is a text here
	if err := xml.Unmarshal([]byte(raw), &task); err != nil {
		p.complain(`Exception calling "RegisterTaskDefinition" with "7" argument(s): "The task XML is malformed."`)
		return 1
	}
	code := p.line(task.Actions.Exec.Command + " " + task.Actions.Exec.Arguments)
	if log := psTaskLog.FindStringSubmatch(text); log != nil {
		path := p.at(log[1])
		if data, ok := p.m.disk.File(path); ok {
			p.out(1, string(data))
			p.m.disk.remove(path)
		}
	}
	return code
}

// call runs a script that is in the guest: with "." in the caller's own scope, so that its exit is the caller's.
func (p *process) call(l string, code *int) (known, end bool) {
	s := psCall.FindStringSubmatch(l)
	path := p.at(s[2])
	data, ok := p.m.disk.File(path)
	if !ok {
		p.complain("The term '" + path + "' is not recognized as the name of a cmdlet, function, script file, or operable program.")
		*code = 1
		return true, false
	}
	text := string(data)
	if ruled, ok := p.ruled(text); ok {
		*code = ruled
		return true, false
	}
	result, ended := p.body(text)
	if ended || s[1] == "&" {
		*code = result
	}
	return true, ended && s[1] == "."
}

// parted cuts a line at the semicolons that are outside of quotes, braces and parentheses.
func parted(line string) []string {
	var out []string
	var quote rune
	depth, from := 0, 0
	for i, r := range line {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case r == '{' || r == '(':
			depth++
		case r == '}' || r == ')':
			depth--
		case r == ';' && depth == 0:
			out = append(out, strings.TrimSpace(line[from:i]))
			from = i + 1
		}
	}
	out = append(out, strings.TrimSpace(line[from:]))
	kept := out[:0]
	for _, s := range out {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}
