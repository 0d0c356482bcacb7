package guest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"
)

// shell is one Windows Remote Shell with its commands.
type shell struct {
	m    *machine
	id   string
	dir  string
	env  map[string]string
	idle time.Duration
	ctx  context.Context
	end  context.CancelFunc

	mu       sync.Mutex
	commands map[string]*command
	inUse    int
	stopIdle context.CancelFunc
}

func (m *machine) createShell(e *envelope) (*shell, *fault) {
	s := &shell{m: m, id: newID(), dir: `C:\Users\` + m.c.User, env: windowsEnv(), commands: map[string]*command{},
		idle: xsDuration(e.Body.Shell.IdleTimeOut, idleTimeout)}
	s.env["COMPUTERNAME"], s.env["USERNAME"], s.env["USERPROFILE"] = m.c.Computer, m.c.User, s.dir
	for _, v := range e.Body.Shell.Variables {
		s.env[strings.ToUpper(v.Name)] = v.Value
	}
	if d := e.Body.Shell.WorkingDirectory; d != "" {
		s.dir = resolve(d)
	}
	m.mu.Lock()
	if len(m.shells) >= maxShells {
		m.mu.Unlock()
		return nil, faultQuota(maxShells)
	}
	s.ctx, s.end = context.WithCancel(m.bootCtx)
	m.shells[s.id] = s
	m.mu.Unlock()
	s.busy(0)
	return s, nil
}

func (m *machine) shell(id string) *shell {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.shells[id]; s != nil && s.ctx.Err() == nil {
		return s
	}
	return nil
}

func (m *machine) deleteShell(s *shell) {
	s.end()
	m.mu.Lock()
	delete(m.shells, s.id)
	m.mu.Unlock()
}

// busy counts the requests in the shell; when none is left its idle time begins.
func (s *shell) busy(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse += by
	if s.stopIdle != nil {
		s.stopIdle()
		s.stopIdle = nil
	}
	if s.inUse > 0 || s.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.stopIdle = cancel
	s.m.spawn(func() {
		if s.m.wait(ctx, s.idle) {
			s.m.deleteShell(s)
		}
		cancel()
	})
}

func (s *shell) command(id string) *command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commands[id]
}

// start runs a command line in the shell.
func (s *shell) start(line string) *command {
	c := &command{id: newID(), shell: s, stdin: newInput(), changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(s.ctx)
	c.kill = cancel
	s.mu.Lock()
	s.commands[c.id] = c
	s.mu.Unlock()
	p := &process{m: s.m, ctx: ctx, env: maps.Clone(s.env), dir: s.dir, stdin: c.stdin, out: c.output}
	s.m.spawn(func() {
		defer cancel()
		code := p.line(line)
		if ctx.Err() != nil {
			code = 0xC000013A - 1<<32 // STATUS_CONTROL_C_EXIT, as a signed number
		}
		c.finish(code)
	})
	return c
}

// command is one running command line: its output waits here until a Receive fetches it.
type command struct {
	id      string
	shell   *shell
	stdin   *input
	kill    context.CancelFunc
	changed chan struct{}

	mu     sync.Mutex
	queue  [2]bytes.Buffer // stdout, stderr
	done   bool
	exit   int
	closed [2]bool
}

func (c *command) poke() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *command) output(stream int, text string) {
	c.mu.Lock()
	c.queue[stream-1].WriteString(text)
	c.mu.Unlock()
	c.poke()
}

func (c *command) finish(code int) {
	c.mu.Lock()
	if !c.done {
		c.done, c.exit = true, code
	}
	c.mu.Unlock()
	c.poke()
}

func (c *command) signal(code string) {
	c.kill()
	if strings.HasSuffix(code, "/terminate") {
		c.shell.mu.Lock()
		delete(c.shell.commands, c.id)
		c.shell.mu.Unlock()
	}
}

// receive waits for output, the end, or the operation timeout, which is a fault clients answer by asking again
// (MS-WSMV 3.1.4.14). The answer keeps below the size the client can take.
func (c *command) receive(ctx context.Context, timeout time.Duration, most string) (string, *fault) {
	room := 153600
	if n, err := strconv.Atoi(strings.TrimSpace(most)); err == nil {
		room = min(max(n, 8192), maxEnvelope)
	}
	room = (room - 4096) / 4 * 3 // base64
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	expired := make(chan struct{})
	c.shell.m.spawn(func() {
		if c.shell.m.wait(ctx, timeout) {
			close(expired)
		}
	})
	for {
		if answer := c.take(room); answer != "" {
			return answer, nil
		}
		select {
		case <-c.changed:
		case <-expired:
			return "", faultTimedOut()
		case <-ctx.Done():
			return "", faultTimedOut()
		case <-c.shell.m.ctx.Done():
			return "", faultNoShell()
		}
	}
}

func (c *command) take(room int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for i, name := range []string{"stdout", "stderr"} {
		if n := min(c.queue[i].Len(), room); n > 0 {
			room -= n
			b.WriteString(streamXML(name, c.id, c.queue[i].Next(n), false))
		}
	}
	empty := c.queue[0].Len() == 0 && c.queue[1].Len() == 0
	if b.Len() == 0 && !(c.done && empty) {
		return ""
	}
	const state = nsShell + "/CommandState/"
	if c.done && empty {
		b.WriteString(streamXML("stdout", c.id, nil, true) + streamXML("stderr", c.id, nil, true))
		fmt.Fprintf(&b, `<rsp:CommandState CommandId="%s" State="%sDone"><rsp:ExitCode>%d</rsp:ExitCode></rsp:CommandState>`, c.id, state, c.exit)
	} else {
		fmt.Fprintf(&b, `<rsp:CommandState CommandId="%s" State="%sRunning"/>`, c.id, state)
	}
	return `<rsp:ReceiveResponse>` + b.String() + `</rsp:ReceiveResponse>`
}

// input is a program's standard input.
type input struct {
	mu      sync.Mutex
	data    []byte
	ended   bool
	changed chan struct{}
}

func newInput() *input { return &input{changed: make(chan struct{}, 1)} }

func (in *input) write(data []byte, end bool) {
	in.mu.Lock()
	if !in.ended {
		in.data = append(in.data, data...)
	}
	in.ended = in.ended || end
	in.mu.Unlock()
	select {
	case in.changed <- struct{}{}:
	default:
	}
}

// line returns the next line without its end; ok is false at the end of the input or of ctx.
func (in *input) line(ctx context.Context) (text string, ok bool) {
	for {
		in.mu.Lock()
		if i := bytes.IndexByte(in.data, '\n'); i >= 0 {
			text = string(bytes.TrimRight(in.data[:i], "\r"))
			in.data = in.data[i+1:]
			in.mu.Unlock()
			return text, true
		}
		if in.ended {
			text, in.data = string(in.data), nil
			in.mu.Unlock()
			return text, text != ""
		}
		in.mu.Unlock()
		select {
		case <-in.changed:
		case <-ctx.Done():
			return "", false
		}
	}
}
