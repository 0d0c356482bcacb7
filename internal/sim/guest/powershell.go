package guest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The lines of PowerShell the model knows. Everything else is counted and reported, never guessed at.
var (
	psPrint   = regexp.MustCompile(`(?i)^(?:write-(?:host|output|verbose|information)|echo)\s+(?:-\w+\s+)?("(?:[^"]|"")*"|'(?:[^']|'')*'|[\w$:.\-]+(?:\s+[\w$:.][\w$:.\-]*)*)(?:\s+-ForegroundColor\s+\w+)?\s*;?$`)
	psError   = regexp.MustCompile(`(?i)^write-error\s+(?:-\w+\s+)?("(?:[^"]|"")*"|'(?:[^']|'')*')`)
	psLiteral = regexp.MustCompile(`^("(?:[^"]|"")*"|'(?:[^']|'')*'|(?i:\$env:\w+))\s*;?$`)
	psExit    = regexp.MustCompile(`(?i)^exit(?:\s+(-?\d+|\$LASTEXITCODE))?\s*;?$`)
	psThrow   = regexp.MustCompile(`(?i)^throw\s+("(?:[^"]|"")*"|'(?:[^']|'')*')\s*;?$`)
	psSleep   = regexp.MustCompile(`(?i)^start-sleep\s+(?:-s(?:econds?|ec)?\s+)?(\d+)\s*;?$`)
	psSleepMs = regexp.MustCompile(`(?i)^start-sleep\s+-m\w*\s+(\d+)\s*;?$`)
	psEnvSet  = regexp.MustCompile(`(?i)^\$env:(\w+)\s*=\s*("(?:[^"]|"")*"|'(?:[^']|'')*')\s*;?$`)
	psReboot  = regexp.MustCompile(`(?i)^restart-computer\b`)
	psStop    = regexp.MustCompile(`(?i)^stop-computer\b`)
	psSysprep = regexp.MustCompile(`(?i)^(?:&\s*)?"?'?[^"'|;=]*sysprep\.exe"?'?\s+(.*)$`)
	psState   = regexp.MustCompile(`(?i)^\(?get-itemproperty.*\bimagestate\b`)
	psBoot    = regexp.MustCompile(`(?i)^(?:write-\w+\s+)?\(*get-(?:cim|wmi)(?:instance|object)\b.*lastbootuptime`)
	psWrite   = regexp.MustCompile(`(?i)^set-content\s+(?:-path\s+)?("[^"]+"|'[^']+'|[^\s-]\S*)\s+(?:-value\s+)?("(?:[^"]|"")*"|'(?:[^']|'')*')`)
	psOutFile = regexp.MustCompile(`(?i)^("(?:[^"]|"")*"|'(?:[^']|'')*')\s*\|\s*out-file\s+(?:-filepath\s+)?("[^"]+"|'[^']+'|[^\s;]+)`)
	psNewFile = regexp.MustCompile(`(?i)^new-item\b`)
	psNewPath = regexp.MustCompile(`(?i)(?:-path\s+|new-item\s+)("[^"]+"|'[^']+'|[^-\s]\S*)`)
	psValue   = regexp.MustCompile(`(?i)-value\s+("(?:[^"]|"")*"|'(?:[^']|'')*')`)
	psShut    = regexp.MustCompile(`(?i)^(?:&\s*)?['"]?(?:shutdown|[^\s"']*\\shutdown)(?:\.exe)?['"]?\s+[/-]`)
	psLoop    = regexp.MustCompile(`(?is)^while\s*\(\s*(?:\$true|1)\s*\)`)
	psTry     = regexp.MustCompile(`(?i)^(?:\}\s*)?(?:try|finally)\s*\{$`)
)

// script runs a PowerShell script as far as the model goes.
func (p *process) script(text string) int {
	text = strings.TrimPrefix(text, "\ufeff")
	if first, _, _ := strings.Cut(text, "\n"); strings.HasPrefix(first, ingotMark) {
		return p.verb(strings.TrimSpace(first))
	}
	if code, ok := p.ruled(text); ok {
		return code
	}
	if !p.m.wait(p.ctx, p.m.duration("script")) {
		return 1
	}
	if code, ok := p.foreign(text); ok {
		return code
	}
	p.all, p.skipped = 0, 0
	code, _ := p.body(text)
	if p.skipped > 0 {
		p.print(fmt.Sprintf("[simulated guest] %d of %d lines of PowerShell were not executed", p.skipped, p.all))
		p.skipped = 0
	}
	return code
}

// body runs a script's lines; ended says that one of them ended it.
func (p *process) body(text string) (code int, ended bool) {
	last, comment := 0, false
	for _, l := range statements(strings.TrimPrefix(text, "\ufeff")) {
		if comment || strings.HasPrefix(l, "<#") {
			comment = !strings.Contains(l, "#>")
			continue
		}
		if strings.HasPrefix(l, "#") || l == "}" || l == "{" || psTry.MatchString(l) {
			continue
		}
		parts := []string{l}
		if !strings.Contains(l, "\n") {
			parts = parted(l)
		}
		for _, one := range parts {
			p.all++
			known, end := p.statement(one, &last)
			if !known {
				p.skipped += strings.Count(one, "\n") + 1
				p.all += strings.Count(one, "\n")
			}
			if p.ctx.Err() != nil {
				return 1, true
			}
			if end {
				return last, true
			}
		}
	}
	return 0, false
}

// statements cuts a script into lines, keeping a block in braces together with the line that opens it: what an unknown
// condition guards must not run. try blocks are opened up, since without an error they run.
func statements(text string) []string {
	var out []string
	var block []string
	depth := 0
	for _, l := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		t := strings.TrimSpace(l)
		if t == "" {
			continue
		}
		if depth == 0 && (psTry.MatchString(t) || t == "}") {
			out = append(out, t)
			continue
		}
		open, shut := 0, 0
		if !strings.HasPrefix(t, "#") {
			bare := regexpStrings.ReplaceAllString(t, "")
			open, shut = strings.Count(bare, "{"), strings.Count(bare, "}")
			if depth == 0 && strings.HasPrefix(bare, "}") {
				shut-- // closes a try block that was opened up
			}
		}
		depth = max(0, depth+open-shut)
		block = append(block, t)
		if depth == 0 {
			out = append(out, strings.Join(block, "\n"))
			block = nil
		}
	}
	if block != nil {
		out = append(out, strings.Join(block, "\n"))
	}
	return out
}

var regexpStrings = regexp.MustCompile(`"(?:[^"]|"")*"|'(?:[^']|'')*'`)

// statement runs one line; end says that it ends the script, with *code.
func (p *process) statement(l string, code *int) (known, end bool) {
	num := func(s string) int { n, _ := strconv.Atoi(s); return n }
	switch {
	case psQuiet.MatchString(l), psResult.MatchString(l), psFrame.MatchString(l):
	case psExitVar.MatchString(l):
		return true, true
	case psRemove.MatchString(l):
		if s := psRemove.FindStringSubmatch(l); s[1] == s[2] {
			p.m.disk.remove(p.at(s[1]))
			return true, false
		}
		return false, false
	case psHostName.MatchString(l):
		p.print(strings.ReplaceAll(psHostName.FindStringSubmatch(l)[1], "{0}", p.m.c.Computer))
	case psBlock.MatchString(l):
		result, ended := p.body(psBlock.FindStringSubmatch(l)[1])
		if ended {
			*code = result
		}
		return true, ended
	case psCall.MatchString(l):
		return p.call(l, code)
	case psLoop.MatchString(l) && strings.Contains(strings.ToLower(l), "imagestate"):
		pause := 10
		if s := regexp.MustCompile(`(?i)start-sleep\s+(?:-\w+\s+)?(\d+)`).FindStringSubmatch(l); s != nil {
			pause = max(1, num(s[1]))
		}
		for p.m.disk.ImageState() != StateGeneralized {
			p.print(p.m.disk.ImageState())
			if !p.m.wait(p.ctx, time.Duration(pause)*time.Second) {
				return true, true
			}
		}
		// Some loops print the state first and look then (Image Builder's own does), most print it only while it is another one.
		if low := strings.ToLower(l); strings.Contains(low, "write-output") && strings.Index(low, "write-output") < strings.Index(low, "if (") {
			p.print(p.m.disk.ImageState())
		}
	case psExit.MatchString(l):
		if s := psExit.FindStringSubmatch(l)[1]; s == "" {
			*code = 0
		} else if s[0] != '$' {
			*code = num(s)
		}
		return true, true
	case psThrow.MatchString(l):
		p.complain(p.value(psThrow.FindStringSubmatch(l)[1]))
		*code = 1
		return true, true
	case psOutFile.MatchString(l):
		s := psOutFile.FindStringSubmatch(l)
		p.m.disk.write(p.at(s[2]), []byte(p.value(s[1])+"\r\n"))
	case psPrint.MatchString(l):
		p.print(p.value(psPrint.FindStringSubmatch(l)[1]))
	case psLiteral.MatchString(l):
		p.print(p.value(psLiteral.FindStringSubmatch(l)[1]))
	case psError.MatchString(l):
		p.complain(p.value(psError.FindStringSubmatch(l)[1]))
	case psSleepMs.MatchString(l):
		p.m.wait(p.ctx, time.Duration(num(psSleepMs.FindStringSubmatch(l)[1]))*time.Millisecond)
	case psSleep.MatchString(l):
		p.m.wait(p.ctx, time.Duration(num(psSleep.FindStringSubmatch(l)[1]))*time.Second)
	case psEnvSet.MatchString(l):
		s := psEnvSet.FindStringSubmatch(l)
		p.env[strings.ToUpper(s[1])] = p.value(s[2])
	case psReboot.MatchString(l):
		p.m.shutdown("reboot", 0)
	case psStop.MatchString(l):
		p.m.shutdown("shutdown", 0)
	case psShut.MatchString(l):
		*code = p.shutdown(fields(l)[1:])
	case psSysprep.MatchString(l):
		p.m.startSysprep(`C:\Windows\System32\Sysprep\sysprep.exe ` + psSysprep.FindStringSubmatch(l)[1])
		// sysprep.exe is a graphical program: PowerShell does not wait for it, which is why scripts poll ImageState. A
		// script that ends right away is outlived by it.
	case psState.MatchString(l):
		p.print(p.m.disk.ImageState())
	case psBoot.MatchString(l):
		p.m.mu.Lock()
		boot := p.m.boot
		p.m.mu.Unlock()
		p.print(boot.UTC().Format("Monday, January 2, 2006 3:04:05 PM"))
	case psWrite.MatchString(l):
		s := psWrite.FindStringSubmatch(l)
		p.m.disk.write(p.at(s[1]), []byte(p.value(s[2])+"\r\n"))
	case psNewFile.MatchString(l):
		path := psNewPath.FindStringSubmatch(l)
		if path == nil || !strings.Contains(strings.ToLower(l), "file") && !strings.Contains(strings.ToLower(l), "directory") {
			return false, false
		}
		if !strings.Contains(strings.ToLower(l), "directory") {
			content := ""
			if v := psValue.FindStringSubmatch(l); v != nil {
				content = p.value(v[1])
			}
			p.m.disk.write(p.at(path[1]), []byte(content))
		}
	default:
		return false, false
	}
	return true, false
}

// value is what a literal stands for: variables of the environment are replaced in double quotes and bare words.
func (p *process) value(lit string) string {
	switch {
	case strings.HasPrefix(lit, "'"):
		return strings.ReplaceAll(lit[1:len(lit)-1], "''", "'")
	case strings.HasPrefix(lit, `"`):
		lit = strings.ReplaceAll(lit[1:len(lit)-1], `""`, `"`)
	}
	return expand(strings.NewReplacer("`n", "\r\n", "`t", "\t", "`\"", `"`).Replace(lit), p.env)
}
