package guest

import (
	"context"
	"time"
)

// What a builder does that is signed in to the machine by itself, as Image Builder's Packer is from inside its own network. It
// is what a client does through WinRM, with the same model behind it and the same marks left on the disk, less the transport.

// Work is a PowerShell script that a builder runs.
type Work struct {
	Text string
	// Elevated runs it in a scheduled task, where it may do what a remote session may not; System as that account.
	Elevated, System bool
	Out              func(stream int, text string)
}

// Builder is what a machine does for one.
type Builder interface {
	// Work runs a script to its end; ErrDown when it could not begin, ErrWentDown when it was cut off, or why ctx ended.
	Work(ctx context.Context, x Work) (code int, err error)
	// Put writes a file; ErrDown when Windows is not up.
	Put(path string, data []byte) error
	// Update is one round of the windows-update program (docs/guest-protocol.md): what it prints and its exit code are that program's.
	Update(ctx context.Context, criteria string, filters []string, limit int, out func(stream int, text string)) (code int, err error)
	// Line runs a command line of cmd.exe.
	Line(ctx context.Context, line string, out func(stream int, text string)) (code int, err error)
	// Boots counts the starts of Windows, and says whether it is up.
	Boots() (n int, up bool)
}

// Build returns what a builder needs of a machine; nil when it has none of it.
func Build(m Machine) Builder {
	b, ok := m.(Builder)
	if !ok {
		return nil
	}
	return b
}

// session runs f in Windows as it is now.
func (m *machine) session(ctx context.Context, elevated, system bool, out func(int, string), f func(p *process) int) (int, error) {
	m.mu.Lock()
	if !m.up || m.stopped || m.vanished {
		m.mu.Unlock()
		return 0, ErrDown
	}
	boot := m.bootCtx
	m.mu.Unlock()
	both, stop := context.WithCancel(boot)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	env := windowsEnv()
	env["COMPUTERNAME"], env["USERNAME"], env["USERPROFILE"] = m.c.Computer, m.c.User, `C:\Users\`+m.c.User
	if system {
		env["USERNAME"], env["USERPROFILE"] = "SYSTEM", `C:\Windows\System32\config\systemprofile`
	}
	p := &process{m: m, ctx: both, env: env, dir: `C:\Users\` + m.c.User, stdin: newInput(), elevated: elevated, out: func(stream int, text string) {
		if both.Err() == nil && out != nil {
			out(stream, text)
		}
	}}
	p.stdin.write(nil, true)
	code := f(p)
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case boot.Err() != nil:
		return 0, ErrWentDown
	}
	return code, nil
}

// Work runs a script. Two programs start, as with every provisioner: the one that the builder calls and the script's own
// interpreter.
func (m *machine) Work(ctx context.Context, x Work) (int, error) {
	return m.session(ctx, x.Elevated, x.System, x.Out, func(p *process) int {
		for range 2 {
			if !m.wait(p.ctx, m.duration("powershell-start")) {
				return 1
			}
		}
		return p.script(x.Text)
	})
}

// Put writes a file.
func (m *machine) Put(path string, data []byte) error {
	if !m.Up() {
		return ErrDown
	}
	m.disk.write(path, data)
	return nil
}

// Update searches, downloads and installs once, elevated: a remote session may search only.
func (m *machine) Update(ctx context.Context, criteria string, filters []string, limit int, out func(int, string)) (int, error) {
	return m.session(ctx, true, true, out, func(p *process) int {
		return p.windowsUpdate(verbArgs{Criteria: criteria, Filters: filters, Limit: limit})
	})
}

// Line runs a command line.
func (m *machine) Line(ctx context.Context, line string, out func(int, string)) (int, error) {
	return m.session(ctx, false, false, out, func(p *process) int { return p.line(line) })
}

// Boots counts starts.
func (m *machine) Boots() (int, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boots, m.up && !m.stopped && !m.vanished
}

// Patient waits until Windows is up and has been started more often than before, looking at ever longer intervals; false when limit
// passed or ctx ended.
func Patient(ctx context.Context, c Clock, b Builder, before int, limit time.Duration) bool {
	pause := 20 * time.Millisecond
	for end := c.Now().Add(limit); ; pause = min(pause*5/4, 2*time.Second) {
		if n, up := b.Boots(); up && n > before {
			return true
		}
		left := end.Sub(c.Now())
		if ctx.Err() != nil || left <= 0 || c.Sleep(ctx, min(pause, left)) != nil {
			return false
		}
	}
}
