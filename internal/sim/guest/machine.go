package guest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"
)

// machine is one running Windows. Everything that a reboot ends hangs on bootCtx.
type machine struct {
	c     Config
	disk  *Disk
	rules []compiledRule
	addr  string // of the WinRM listener; "" without one
	print string // of its certificate: SHA-256

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	http   *http.Server
	ssh    net.Listener // nil: no sshd

	mu            sync.Mutex
	up, vanished  bool
	stopped       bool
	boot          time.Time
	boots         int // starts so far
	bootCtx       context.Context
	bootCancel    context.CancelFunc
	pendingReboot bool
	stuckReboot   bool // pendingReboot stays over restarts
	appx          []string
	bitlocker     []string
	sysprep       bool
	shutdownTimer context.CancelFunc // of a shutdown that is waiting for its time
	shells        map[string]*shell
	running       map[string]*detached
	conns         map[net.Conn]struct{}
}

type compiledRule struct {
	re   *regexp.Regexp
	rule Rule
	used int
}

// Start boots a Windows machine; it answers on its port once its boot time has passed. Its port is bound at once, and
// until then a connection is closed as soon as it is made. It fails when the port cannot be bound or a rule's expression
// is wrong.
func Start(ctx context.Context, c Config) (Machine, error) {
	m := &machine{c: c, disk: c.Disk, shells: map[string]*shell{}, running: map[string]*detached{}, conns: map[net.Conn]struct{}{}}
	if m.disk == nil {
		m.disk = NewDisk()
	}
	for _, r := range c.Rules {
		re, err := regexp.Compile(r.Match)
		if err != nil {
			return nil, fmt.Errorf("cannot start guest %s: rule: %w", c.Computer, err)
		}
		m.rules = append(m.rules, compiledRule{re: re, rule: r})
	}
	// The machine outlives the request that made it, but keeps that request's values.
	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	m.bootCtx, m.bootCancel = context.WithCancel(m.ctx)
	if c.Certificate != nil {
		if _, err := m.openWinRM(c.Certificate); err != nil {
			m.cancel()
			return nil, err
		}
	}
	if c.Certificate == nil && c.SelfSigned {
		cert, err := selfSigned(c.Computer, m.now())
		if err == nil {
			_, err = m.openWinRM(cert)
		}
		if err != nil {
			m.cancel()
			return nil, err
		}
	}
	if _, installed := m.disk.size(sshdConfig); installed {
		if err := m.openSSH(false); err != nil { // whoever starts us asks for the address
			m.cancel()
			return nil, err
		}
	}
	// The first start from a generalised disk; before anybody else can touch the disk.
	if m.disk.ImageState() == StateGeneralized {
		m.disk.Specialize()
	}
	m.work.Go(func() { m.bring("boot") })
	return m, nil
}

func (m *machine) Addr() string { m.mu.Lock(); defer m.mu.Unlock(); return m.addr }

// Stop powers the machine off and waits until nothing of it runs any more.
func (m *machine) Stop(ctx context.Context) error {
	m.powerOff()
	done := make(chan struct{})
	go func() { m.work.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot stop guest %s: %w", m.c.Computer, context.Cause(ctx))
	}
}

func (m *machine) powerOff() {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.cancel()
	m.down()
	m.mu.Lock()
	server, sshd := m.http, m.ssh
	m.mu.Unlock()
	if sshd != nil {
		_ = sshd.Close()
	}
	if server != nil {
		_ = server.Close()
	}
}

// spawn runs f as work of the machine unless that is stopped already.
func (m *machine) spawn(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.stopped {
		m.work.Go(f)
	}
}

func (m *machine) duration(kind string) time.Duration {
	if m.c.Duration == nil {
		return 0
	}
	return m.c.Duration(kind)
}

func (m *machine) now() time.Time {
	if m.c.Clock == nil {
		return time.Now()
	}
	return m.c.Clock.Now()
}

// wait lets simulated time pass; it says false when ctx ended first.
func (m *machine) wait(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if d <= 0 {
		return true
	}
	if m.c.Clock != nil {
		return m.c.Clock.Sleep(ctx, d) == nil && ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// bring lets the boot time of that kind pass and opens the machine.
func (m *machine) bring(kind string) {
	if !m.wait(m.ctx, m.duration(kind)) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.vanished || m.stopped {
		return
	}
	// A generalized disk goes through specialize and OOBE on its first boot and comes out complete
	// (Microsoft Learn: "Windows Setup Configuration Passes").
	if kind == "reboot" && m.disk.ImageState() == StateGeneralized {
		m.disk.Specialize()
	}
	m.bootCancel()
	m.bootCtx, m.bootCancel = context.WithCancel(m.ctx)
	m.boots++
	m.boot, m.up, m.pendingReboot, m.sysprep = m.now(), true, m.bootUpdates() || m.stuckReboot, false
	m.shells, m.running = map[string]*shell{}, map[string]*detached{}
}

// down stops everything that runs in Windows and cuts its connections.
func (m *machine) down() {
	m.mu.Lock()
	m.up = false
	m.bootCancel()
	m.mu.Unlock()
	m.cut()
}

// cut closes all connections at once: who holds the lock after it sees a machine without any.
func (m *machine) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		if g, ok := c.(*guestConn); ok {
			_ = g.Conn.Close()
		}
	}
	clear(m.conns)
}

// shutdown plans what shutdown.exe plans; kind is "reboot" or "shutdown". It says false when one is planned already.
func (m *machine) shutdown(kind string, after time.Duration) bool {
	m.mu.Lock()
	if m.shutdownTimer != nil {
		m.mu.Unlock()
		return false
	}
	ctx, cancel := context.WithCancel(m.bootCtx)
	m.shutdownTimer = cancel
	m.mu.Unlock()
	m.spawn(func() {
		defer cancel()
		ok := m.wait(ctx, after)
		m.mu.Lock()
		m.shutdownTimer = nil
		m.mu.Unlock()
		if !ok {
			return
		}
		if kind == "reboot" {
			m.down()
			m.bring("reboot")
			return
		}
		m.wait(ctx, m.duration("shutdown"))
		m.powerOff()
		if m.c.PowerOff != nil {
			// Outside the machine's own work: PowerOff may well call Stop, which waits for that.
			go m.c.PowerOff()
		}
	})
	return true
}

func (m *machine) abortShutdown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shutdownTimer == nil {
		return false
	}
	m.shutdownTimer()
	return true
}

// rule finds the first rule for a text and counts its use. Rules for Ingot's own guest programs name them ("#ingot:");
// no other rule sees those, so that a scenario written about scripts does not catch the means they travel by.
func (m *machine) rule(text string) (Rule, bool) {
	own := strings.HasPrefix(text, ingotMark)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.rules {
		r := &m.rules[i]
		if own != strings.Contains(r.rule.Match, ingotMark) || r.rule.Times > 0 && r.used >= r.rule.Times || !r.re.MatchString(text) {
			continue
		}
		r.used++
		return r.rule, true
	}
	return Rule{}, false
}

func (m *machine) effect(e string) {
	state, isState := strings.CutPrefix(e, "image-state:")
	appx, isAppx := strings.CutPrefix(e, "appx:")
	volume, isVolume := strings.CutPrefix(e, "bitlocker:")
	switch {
	case e == "reboot":
		m.shutdown("reboot", 0)
	case e == "vanish":
		m.mu.Lock()
		m.vanished = true
		m.mu.Unlock()
		m.down()
	case e == "drop":
		m.cut()
	case e == "pending-reboot", e == "pending-reboot-for-good":
		m.mu.Lock()
		m.pendingReboot, m.stuckReboot = true, e != "pending-reboot"
		m.mu.Unlock()
	case isAppx:
		m.mu.Lock()
		m.appx = append(m.appx, appx)
		m.mu.Unlock()
	case isVolume:
		m.mu.Lock()
		m.bitlocker = append(m.bitlocker, volume)
		m.mu.Unlock()
	case isState:
		m.disk.setImageState(state)
	}
}

// startSysprep runs sysprep.exe beside whatever called it, unless it runs already. A rule that matches its command
// line with an exit code makes it fail: its Stderr is then what setuperr.log says.
func (m *machine) startSysprep(line string) <-chan int {
	done := make(chan int, 1)
	m.mu.Lock()
	if m.sysprep {
		m.mu.Unlock()
		done <- 0
		return done
	}
	m.sysprep = true
	ctx := m.bootCtx
	m.mu.Unlock()
	r, ruled := m.rule(line)
	generalize := strings.Contains(strings.ToLower(line), "generalize")
	if complaints := m.validate(); !ruled && generalize && len(complaints) > 0 {
		r, ruled = Rule{ExitCode: 1, Stderr: complaints, Duration: min(m.duration("sysprep"), 5*time.Second)}, true
	}
	failed := ruled && r.ExitCode != 0
	if generalize && !failed {
		// Generalize marks the image undeployable first, so that one interrupted is not deployed.
		m.disk.setImageState(StateUndeployable)
	}
	d := m.duration("sysprep")
	if ruled && r.Duration > 0 {
		d = r.Duration
	}
	work := func() {
		code := 0
		defer func() { done <- code }()
		stamp := func() string { return m.now().UTC().Format("2006-01-02 15:04:05") }
		m.disk.appendTo(pantherActions, []byte(stamp()+", Info       SYSPRP ========================================================\r\n"+
			stamp()+", Info       SYSPRP ===          Beginning of a new sysprep run          ===\r\n"))
		if !m.wait(ctx, d) {
			code = 1
			return // the machine went down: the state stays where it was
		}
		m.mu.Lock()
		m.sysprep = false
		m.mu.Unlock()
		if failed {
			code = r.ExitCode
			for _, l := range append(r.Stdout, r.Stderr...) {
				m.disk.appendTo(pantherErrors, []byte(stamp()+", Error      SYSPRP "+l+"\r\n"))
				m.disk.appendTo(pantherActions, []byte(stamp()+", Error      SYSPRP "+l+"\r\n"))
			}
			m.effect(r.Effect)
			return
		}
		m.disk.write(pantherErrors, nil)
		m.disk.appendTo(pantherActions, []byte(stamp()+", Info       SYSPRP Sysprep completed successfully\r\n"))
		if generalize {
			m.disk.setImageState(StateGeneralized)
		}
		m.effect(r.Effect)
		switch low := strings.ToLower(line); {
		case strings.Contains(low, "/shutdown"):
			m.shutdown("shutdown", 0)
		case strings.Contains(low, "/reboot"):
			m.shutdown("reboot", 0)
		}
	}
	if d <= 0 { // over before anybody can look
		work()
	} else {
		m.spawn(work)
	}
	return done
}

// gate is the listener in front of TLS: it hangs up on whom the network rules refuse, and on everybody while Windows
// is not up.
type gate struct {
	net.Listener
	m     *machine
	allow func(remote netip.Addr) bool
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g.m.mu.Lock()
		ok := g.m.up
		g.m.mu.Unlock()
		if ok && g.allow != nil {
			a, err := netip.ParseAddrPort(c.RemoteAddr().String())
			ok = err == nil && g.allow(a.Addr().Unmap())
		}
		g.m.mu.Lock()
		// Asked again: Allow took time, and down must find every open connection.
		if ok = ok && g.m.up; ok {
			c = &guestConn{c, g.m}
			g.m.conns[c] = struct{}{}
		}
		g.m.mu.Unlock()
		if !ok {
			_ = c.Close()
			continue
		}
		return c, nil
	}
}

// guestConn takes itself off the machine's list when it closes.
type guestConn struct {
	net.Conn
	m *machine
}

func (c *guestConn) Close() error {
	c.m.mu.Lock()
	delete(c.m.conns, c)
	c.m.mu.Unlock()
	return c.Conn.Close()
}
