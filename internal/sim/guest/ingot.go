package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// ingotMark begins the first line of Ingot's own guest programs; docs/guest-protocol.md describes them.
const ingotMark = "#ingot:"

// verbArgs are the arguments of all verbs.
type verbArgs struct {
	Path, SHA256, ID, Dir string
	Size, Offset          int64
	Stat, ModeVM          bool
	Slice                 float64 // seconds
}

// startInput is the one line that start reads from standard input.
type startInput struct {
	Text, Path, Shell    string
	Env                  map[string]string
	User, Secret, Policy string
}

// detached is a script that runs on its own until it ends or Windows goes down.
type detached struct{ changed chan struct{} }

// verb models one guest program from its first line.
func (p *process) verb(first string) int {
	if code, ok := p.ruled(first); ok {
		return code
	}
	head, rest, _ := strings.Cut(strings.TrimPrefix(first, ingotMark), " ")
	var a verbArgs
	if rest = strings.TrimSpace(rest); rest != "" {
		if err := json.Unmarshal([]byte(rest), &a); err != nil {
			p.complain("[simulated guest] cannot read the arguments of " + head + ": " + err.Error())
			return 1
		}
	}
	switch head {
	case "receive/1":
		return p.receiveFile(a)
	case "start/1":
		return p.startScript(a)
	case "follow/1":
		return p.follow(a, a.Offset)
	case "facts/1":
		return p.facts()
	case "sysprep/1":
		line := `C:\Windows\System32\Sysprep\sysprep.exe /generalize /oobe /quiet /quit`
		if a.ModeVM {
			line += " /mode:vm"
		}
		p.m.startSysprep(line)
		p.print("#ingot:ok")
		return 0
	case "panther/1":
		for _, f := range []string{pantherErrors, pantherActions} {
			p.print("== " + f)
			data, _ := p.m.disk.File(f)
			p.out(1, string(data[max(0, len(data)-8192):]))
		}
		return 0
	case "fetch/1":
		return p.fetch(a)
	case "winrm/1":
		sum, err := p.m.openWinRM(nil)
		if err != nil {
			p.complain(err.Error())
			return 1
		}
		p.print("#ingot:certificate " + sum)
		return 0
	case "discard/1":
		p.m.disk.remove(a.Dir)
		p.print("#ingot:ok")
		return 0
	}
	p.complain("[simulated guest] does not know the guest program " + head)
	return 1
}

func (p *process) receiveFile(a verbArgs) int {
	d, part := p.m.disk, a.Path+".part"
	if a.Stat {
		n, _ := d.size(part)
		p.print(fmt.Sprintf("#ingot:have %d", n))
		return 0
	}
	at := a.Offset
	d.writeAt(part, at, nil)
	for {
		l, ok := p.stdin.line(p.ctx)
		if !ok {
			break
		}
		data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(l))
		if err != nil {
			p.complain("cannot read a line of standard input: " + err.Error())
			return 1
		}
		d.appendTo(part, data)
		at += int64(len(data))
	}
	if p.ctx.Err() != nil {
		return 1
	}
	data, _ := d.File(part)
	sum := sha256.Sum256(data)
	if at >= a.Size {
		if !strings.EqualFold(hex.EncodeToString(sum[:]), a.SHA256) {
			d.remove(part)
			p.print("#ingot:mismatch")
			return 1
		}
		d.rename(part, a.Path)
	}
	p.print(fmt.Sprintf("#ingot:received %d %x", at, sum))
	return 0
}

func (a verbArgs) file(ext string) string { return a.Dir + `\` + a.ID + ext }

func (p *process) startScript(a verbArgs) int {
	if _, ok := p.m.disk.size(a.file(".started")); ok {
		return p.follow(a, 0)
	}
	l, _ := p.stdin.line(p.ctx)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(l))
	var in startInput
	if err == nil {
		err = json.Unmarshal(raw, &in)
	}
	if err != nil {
		p.complain("cannot read the script from standard input") // the cause could quote a secret
		return 1
	}
	m := p.m
	run := &detached{make(chan struct{})}
	m.mu.Lock()
	if _, ok := m.disk.size(a.file(".started")); !ok {
		m.disk.write(a.file(".started"), []byte(m.now().UTC().Format(time.RFC3339)))
		m.disk.write(a.file(".log"), nil)
		m.running[key(a.file(""))] = run
		ctx := m.bootCtx
		env := windowsEnv()
		env["COMPUTERNAME"], env["USERNAME"] = m.c.Computer, m.c.User
		for k, v := range in.Env {
			env[strings.ToUpper(k)] = v
		}
		m.mu.Unlock()
		m.spawn(func() { m.runDetached(ctx, a, in, env, run) })
	} else {
		m.mu.Unlock()
	}
	return p.follow(a, 0)
}

func (m *machine) runDetached(ctx context.Context, a verbArgs, in startInput, env map[string]string, run *detached) {
	var pending [2][]byte
	q := &process{m: m, ctx: ctx, env: env, dir: `C:\Windows\System32`, stdin: newInput()}
	q.stdin.write(nil, true)
	q.out = func(stream int, text string) {
		if ctx.Err() != nil {
			return
		}
		b := append(pending[stream-1], text...)
		for {
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				break
			}
			m.disk.appendTo(a.file(".log"), []byte(fmt.Sprintf("%d %s\r\n", stream, bytes.TrimRight(b[:i], "\r"))))
			b = b[i+1:]
		}
		pending[stream-1] = b
		m.mu.Lock()
		close(run.changed)
		run.changed = make(chan struct{})
		m.mu.Unlock()
	}
	code := 1
	text := in.Text
	if in.Path != "" {
		data, ok := m.disk.File(in.Path)
		text = string(data)
		if !ok {
			q.complain("The script " + in.Path + " does not exist.")
		}
	}
	switch {
	case in.User != "" && strings.EqualFold(in.User, m.c.User) && in.Secret != m.c.Password:
		q.complain("The user name or password is incorrect.")
	case in.Path != "" && text == "":
	case in.Shell == "cmd":
		code = q.batch(text)
	default:
		code = q.script(text)
	}
	for i := range pending {
		if len(pending[i]) > 0 {
			q.out(i+1, "\n")
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() == nil {
		m.disk.write(a.file(".exit"), []byte(fmt.Sprint(code)))
		delete(m.running, key(a.file("")))
	}
	close(run.changed)
}

// batch runs the lines of a batch file.
func (p *process) batch(text string) int {
	if code, ok := p.ruled(text); ok {
		return code
	}
	code := 0
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "::") {
			code = p.line(l)
		}
		if p.exited || p.ctx.Err() != nil {
			break
		}
	}
	return code
}

func (p *process) follow(a verbArgs, offset int64) int {
	if a.Slice <= 0 {
		a.Slice = 20
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	over := make(chan struct{})
	p.m.spawn(func() {
		if p.m.wait(ctx, time.Duration(a.Slice*float64(time.Second))) {
			close(over)
		}
	})
	for {
		// What says "ended" is read before the log, so that no line written in between is missed.
		_, started := p.m.disk.size(a.file(".started"))
		p.m.mu.Lock()
		var changed chan struct{}
		if run := p.m.running[key(a.file(""))]; run != nil {
			changed = run.changed
		}
		p.m.mu.Unlock()
		exit, ended := p.m.disk.File(a.file(".exit"))
		if !started {
			p.print("#ingot:none")
			return 0
		}
		tail := p.m.disk.tail(a.file(".log"), offset)
		tail = tail[:bytes.LastIndexByte(tail, '\n')+1]
		if len(tail) > 0 {
			p.out(1, string(tail))
			offset += int64(len(tail))
		}
		switch {
		case ended:
			p.print(fmt.Sprintf("#ingot:exit %s %d", exit, offset))
			return 0
		case changed == nil:
			p.print(fmt.Sprintf("#ingot:lost %d", offset))
			return 0
		}
		select {
		case <-changed:
		case <-over:
			p.print(fmt.Sprintf("#ingot:more %d", offset))
			return 0
		case <-p.ctx.Done():
			return 1
		}
	}
}

func (p *process) facts() int {
	m := p.m
	m.mu.Lock()
	f := map[string]any{"computer": m.c.Computer, "os": "Windows 10.0.26100 (simulated: executes no PowerShell)", "boot": m.boot.UTC().Format(time.RFC3339Nano),
		"imageState": m.disk.ImageState(), "sysprep": m.sysprep, "pendingReboot": m.pendingReboot}
	m.mu.Unlock()
	b, err := json.Marshal(f)
	if err != nil {
		p.complain("cannot write facts: " + err.Error())
		return 1
	}
	p.print("#ingot:facts " + string(b))
	return 0
}

func (p *process) fetch(a verbArgs) int {
	data, ok := p.m.disk.File(a.Path)
	if !ok || a.Offset > int64(len(data)) {
		p.print("#ingot:missing")
		return 1
	}
	sum := sha256.Sum256(data)
	for rest := data[a.Offset:]; len(rest) > 0; {
		n := min(len(rest), 30000)
		p.print(base64.StdEncoding.EncodeToString(rest[:n]))
		rest = rest[n:]
	}
	p.print(fmt.Sprintf("#ingot:end %x", sum))
	return 0
}
