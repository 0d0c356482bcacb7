package guest

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// process is a program at work in the guest.
type process struct {
	m      *machine
	ctx    context.Context
	env    map[string]string // upper case names
	dir    string
	stdin  *input
	out    func(stream int, text string) // 1 stdout, 2 stderr
	exited bool                          // exit ended the interpreter

	all, skipped int // lines of PowerShell, and those that the model does not know
}

func (p *process) print(lines ...string) {
	for _, l := range lines {
		p.out(1, l+"\r\n")
	}
}

func (p *process) complain(lines ...string) {
	for _, l := range lines {
		p.out(2, l+"\r\n")
	}
}

// ruled lets the scenario answer for a text; ok is false when it has nothing to say.
func (p *process) ruled(text string) (code int, ok bool) {
	r, ok := p.m.rule(text)
	if !ok {
		return 0, false
	}
	if !p.m.wait(p.ctx, r.Duration) {
		return 1, true
	}
	p.print(r.Stdout...)
	p.complain(r.Stderr...)
	p.m.effect(r.Effect)
	return r.ExitCode, true
}

// line runs one command line as cmd.exe /c does, and returns the exit code.
func (p *process) line(line string) int {
	if code, ok := p.ruled(line); ok {
		return code
	}
	code := 0
	for _, part := range chain(line) {
		if part.ifOK && code != 0 {
			continue
		}
		code = p.one(part.text)
		if p.exited || p.ctx.Err() != nil {
			break
		}
	}
	return code
}

type chained struct {
	text string
	ifOK bool // after &&
}

// chain splits a line at & and && outside quotes; ^ takes the meaning of the character that follows.
func chain(line string) []chained {
	var out []chained
	var b strings.Builder
	quoted, ifOK := false, false
	for i := 0; i < len(line); i++ {
		switch ch := line[i]; {
		case ch == '"':
			quoted = !quoted
			b.WriteByte(ch)
		case ch == '^' && !quoted && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case ch == '&' && !quoted && i > 0 && line[i-1] == '>': // 2>&1
			b.WriteByte(ch)
		case ch == '&' && !quoted:
			out = append(out, chained{strings.TrimSpace(b.String()), ifOK})
			b.Reset()
			if ifOK = i+1 < len(line) && line[i+1] == '&'; ifOK {
				i++
			}
		default:
			b.WriteByte(ch)
		}
	}
	return append(out, chained{strings.TrimSpace(b.String()), ifOK})
}

// fields splits arguments at blanks outside quotes and drops the quotes.
func fields(s string) []string {
	var out []string
	var b strings.Builder
	quoted, any := false, false
	for _, r := range s {
		switch {
		case r == '"':
			quoted, any = !quoted, true
		case (r == ' ' || r == '\t') && !quoted:
			if b.Len() > 0 || any {
				out = append(out, b.String())
			}
			b.Reset()
			any = false
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() > 0 || any {
		out = append(out, b.String())
	}
	return out
}

// redirection matches the last > or >> and the file behind it.
var redirection = regexp.MustCompile(`^(.*?)\s?(>>?)\s*("[^"]+"|[^\s">]+)\s*$`)

func (p *process) one(line string) int {
	if line == "" {
		return 0
	}
	line = expand(strings.TrimPrefix(line, "@"), p.env)
	line, merge := strings.CutSuffix(strings.TrimSpace(line), "2>&1")
	if r := redirection.FindStringSubmatch(line); r != nil && strings.EqualFold(strings.TrimSpace(r[3]), "nul") {
		line = r[1]
		out := p.out
		p.out = func(stream int, text string) {
			if stream == 2 {
				out(stream, text)
			}
		}
		defer func() { p.out = out }()
	} else if r != nil {
		line = r[1]
		path := p.at(r[3])
		if r[2] == ">" {
			p.m.disk.write(path, nil)
		}
		out := p.out
		p.out = func(stream int, text string) {
			if stream == 1 {
				p.m.disk.appendTo(path, []byte(text))
			} else {
				out(stream, text)
			}
		}
		defer func() { p.out = out }()
	}
	if merge { // what it complains of goes where its output goes
		out := p.out
		p.out = func(_ int, text string) { out(1, text) }
		defer func() { p.out = out }()
	}
	args := fields(line)
	if len(args) == 0 {
		return 0
	}
	name := strings.TrimSuffix(strings.ToLower(args[0][strings.LastIndexAny(args[0], `\/`)+1:]), ".exe")
	rest := strings.TrimSpace(line[min(len(line), len(strings.Fields(line)[0])):])
	args = args[1:]
	if name != "powershell" && name != "pwsh" && !p.m.wait(p.ctx, p.m.duration("command")) {
		return 1
	}
	switch name {
	case "echo", "echo.":
		if low := strings.ToLower(rest); low != "off" && low != "on" {
			p.print(rest)
		}
		return 0
	case "rem", "cd", "chcp", "setlocal", "endlocal", "title":
		return 0
	case "set":
		if k, v, ok := strings.Cut(strings.Trim(rest, `"`), "="); ok {
			p.env[strings.ToUpper(k)] = v
			return 0
		}
		for _, k := range slices.Sorted(maps.Keys(p.env)) {
			if strings.HasPrefix(k, strings.ToUpper(rest)) {
				p.print(k + "=" + p.env[k])
			}
		}
		return 0
	case "ver":
		p.print("", "Microsoft Windows [Version 10.0.26100.4349]")
		return 0
	case "whoami":
		p.print(strings.ToLower(p.m.c.Computer + `\` + p.m.c.User))
		return 0
	case "hostname":
		p.print(p.m.c.Computer)
		return 0
	case "type":
		data, ok := p.m.disk.File(p.at(rest))
		if !ok {
			p.complain("The system cannot find the file specified.")
			return 1
		}
		p.out(1, string(data))
		return 0
	case "dir":
		files := p.m.disk.below(p.at(rest))
		if len(files) == 0 {
			p.complain("File Not Found")
			return 1
		}
		p.print(files...)
		return 0
	case "mkdir", "md":
		return 0 // the disk knows folders only by their files
	case "del", "erase", "rmdir", "rd":
		for _, a := range args {
			if !strings.HasPrefix(a, "/") {
				p.m.disk.remove(p.at(a))
			}
		}
		return 0
	case "exit":
		p.exited = true
		for _, a := range args {
			if n, err := strconv.Atoi(a); err == nil {
				return n
			}
		}
		return 0
	case "cmd":
		if at := strings.Index(strings.ToLower(rest), "/c "); at >= 0 { // what follows is a line as it stands, quotes and all
			return p.line(strings.TrimSpace(rest[at+3:]))
		}
		return 0
	case "shutdown":
		return p.shutdown(args)
	case "sysprep":
		done := p.m.startSysprep(line)
		select {
		case code := <-done:
			return code
		case <-p.ctx.Done():
			return 1
		}
	case "powershell", "pwsh":
		return p.powershell(args)
	}
	// cmd.exe sets ERRORLEVEL to 9009 for an unknown program but ends "/c" with 1, which is what WinRM reports.
	p.complain("'"+strings.Trim(strings.Fields(line)[0], `"`)+"' is not recognized as an internal or external command,", "operable program or batch file.")
	return 1
}

func (p *process) at(path string) string {
	path = expand(strings.Trim(strings.TrimSpace(path), `"'`), p.env)
	if len(path) > 1 && path[1] == ':' || strings.HasPrefix(path, `\`) || strings.HasPrefix(path, "/") {
		return resolve(path)
	}
	return resolve(p.dir + `\` + path)
}

func (p *process) shutdown(args []string) int {
	kind, after := "", 30*time.Second // shutdown.exe's own default
	for i, a := range args {
		switch strings.ToLower(strings.Replace(a, "-", "/", 1)) {
		case "/r", "/g":
			kind = "reboot"
		case "/s", "/p":
			kind = "shutdown"
		case "/a":
			kind = "abort"
		case "/t":
			if i+1 < len(args) {
				n, err := strconv.Atoi(args[i+1])
				if err != nil {
					p.complain("Invalid Parameter/s specified.")
					return 87 // ERROR_INVALID_PARAMETER
				}
				after = time.Duration(n) * time.Second
			}
		}
	}
	switch kind {
	case "":
		p.print("Usage: shutdown [/i | /l | /s | /r | /a]")
		return 0
	case "abort":
		if !p.m.abortShutdown() {
			p.complain("Unable to abort the system shutdown because no shutdown was in progress.(1116)")
			return 1116 // ERROR_NO_SHUTDOWN_IN_PROGRESS
		}
		return 0
	}
	// shutdown.exe only asks for it: it has returned, and its caller has been told, before Windows stops its services.
	if !p.m.shutdown(kind, max(after, time.Second)) {
		p.complain("A system shutdown has already been scheduled.(1190)")
		return 1190 // ERROR_SHUTDOWN_IS_SCHEDULED
	}
	return 0
}

// powershell reads the switches of powershell.exe and runs the script they name.
func (p *process) powershell(args []string) int {
	if !p.m.wait(p.ctx, p.m.duration("powershell-start")) {
		return 1
	}
	for i := 0; i < len(args); i++ {
		low := strings.ToLower(strings.TrimLeft(args[i], "-/"))
		isSwitch := low != strings.ToLower(args[i])
		value := strings.Join(args[i+1:], " ")
		switch {
		case !isSwitch:
			return p.script(strings.Join(args[i:], " "))
		case strings.HasPrefix("encodedcommand", low) && low[0] == 'e' && !strings.HasPrefix(low, "ex") || low == "ec":
			b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
			if err != nil || len(b)%2 != 0 {
				p.complain("Cannot process the command because the value specified with -EncodedCommand is not properly encoded. The value must be Base64 encoded.")
				return 1
			}
			return p.script(fromUTF16le(b))
		case strings.HasPrefix("command", low):
			if value == "-" {
				return p.script(p.allInput())
			}
			return p.script(strings.TrimSpace(value))
		case strings.HasPrefix("file", low) && i+1 < len(args):
			data, ok := p.m.disk.File(p.at(args[i+1]))
			if !ok {
				p.complain(fmt.Sprintf("The argument '%s' to the -File parameter does not exist. Provide the path to an existing '.ps1' file as an argument to the -File parameter.", args[i+1]))
				return -196608 // 0xFFFD0000, as powershell.exe ends then
			}
			return p.script(string(data))
		case strings.HasPrefix(low, "ex") || low == "ep", strings.HasPrefix(low, "w"), strings.HasPrefix("outputformat", low), strings.HasPrefix("inputformat", low), strings.HasPrefix("version", low):
			i++ // these take a value
		}
	}
	return p.script(p.allInput())
}

func (p *process) allInput() string {
	var b strings.Builder
	for p.stdin != nil {
		l, ok := p.stdin.line(p.ctx)
		if !ok {
			break
		}
		b.WriteString(l + "\n")
	}
	return b.String()
}
