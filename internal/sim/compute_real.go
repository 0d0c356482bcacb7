package sim

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"ingot/internal/sim/qemu"
)

// realMachine is a VM that QEMU runs. Its fields belong to Azure's lock, but for what is said otherwise.
type realMachine struct {
	name    string
	disk    string // its own disk, a copy-on-write file; "" before the first boot
	size    int64  // that was asked for; 0: the image's
	first   *qemu.Provisioning
	vm      *qemu.Machine
	cancel  context.CancelFunc // of a boot under way
	off     chan struct{}      // closed when a shutdown under way is over
	forward *forward
	agent   string // seed of the key that run commands come in with, and the account
	user    string
}

// frozen is what a disk held when it was captured.
type frozen struct {
	disk qemu.Image
	err  error
}

const (
	// provisioningLimit is how long a guest may take until it answers; Azure gives up after 40 minutes (azure-protocol.md 2.5), which
	// no test wants to wait for.
	provisioningLimit = 5 * time.Minute
	shutdownGrace     = 30 * time.Second
	sshPort           = 22
)

func osType(windows bool) string {
	if windows {
		return "Windows"
	}
	return "Linux"
}

// sizeGB is a disk's size as documents give it. The scripted Windows has the usual one.
func (c content) sizeGB() int {
	switch {
	case c.bytes > 0:
		return gigabytes(c.bytes)
	case c.windows || c.disk == nil:
		return 127
	}
	return 30
}

// newReal prepares a machine of QEMU for a VM's document.
func (w *Azure) newReal(m *machine, p map[string]any, c content) *realMachine {
	x := &realMachine{name: "vm-" + w.uuid()[:8], size: int64(number(p, "storageProfile", "osDisk", "diskSizeGB")) << 30}
	if o := mapping(p, "osProfile"); o != nil {
		f := &qemu.Provisioning{Computer: text(o, "computerName"), User: text(o, "adminUsername"), Password: text(o, "adminPassword"), NoPasswords: truth(o, "linuxConfiguration", "disablePasswordAuthentication")}
		for _, k := range items(o, "linuxConfiguration", "ssh", "publicKeys") {
			f.Keys = append(f.Keys, qemu.SSHKey{Path: text(k, "path"), Value: text(k, "keyData")})
		}
		if raw, err := base64.StdEncoding.DecodeString(text(o, "customData")); err == nil {
			f.CustomData = raw
		}
		if !c.windows {
			agentFor(x, f)
		}
		x.first = f
	}
	return x
}

// bootReal starts the machine and waits, in real time and without the lock, until its guest answers.
func (w *Azure) bootReal(r *resource, m *machine) *refusal {
	x, host := m.real, w.cfg.Machines
	if x.vm != nil {
		m.power = "running"
		return nil
	}
	if host == nil {
		return refuse(500, "InternalExecutionError", "The simulated Azure was started without real machines; this one has a real disk.")
	}
	ctx, cancel := context.WithTimeout(context.Background(), provisioningLimit)
	x.cancel = cancel
	nicID, addrs := w.addresses(r)
	spec := qemu.Spec{Name: x.name, Generation: m.generation, Windows: m.content.windows, First: x.first, Cores: 2, MemoryMB: 1024, Ports: []int{sshPort, 5985, 5986}, Address: "10.0.0.4"}
	if s, ok := findSize(text(r.props, "hardwareProfile", "vmSize")); ok {
		spec.Cores = min(spec.Cores, s.cores)
	}
	if m.content.windows {
		spec.MemoryMB = 4096
	}
	if len(addrs) > 0 {
		spec.Address = addrs[0]
	}
	c, off := m.content, x.off
	disk, size := x.disk, x.size
	data := w.realDisks(r, x)
	var vm *qemu.Machine
	work := func() *refusal {
		if off != nil {
			<-off
		}
		var err error
		if c, disk, err = w.diskFor(ctx, x.name, c, disk, size); err == nil {
			spec.Disk = disk
			for _, d := range data {
				err = errors.Join(err, d.make(ctx))
				spec.DataDisks = append(spec.DataDisks, d.path)
			}
		}
		if err == nil {
			vm, err = host.Start(ctx, spec)
		}
		if err == nil && !spec.Windows {
			err = vm.Ready(ctx, sshPort)
		}
		if err != nil {
			if vm != nil {
				vm.Kill()
			}
			return bootFailure(r.name, err)
		}
		return nil
	}
	then := func() *refusal {
		cancel()
		x.cancel = nil
		if w.find(r.id) != r || m.power == "stopping" { // deleted or stopped meanwhile
			w.stopping.Go(vm.Kill)
			return nil
		}
		for _, f := range data {
			if disk := w.find(f.id); disk != nil {
				disk.aux = content{image: f.path, bytes: f.size}
			}
		}
		m.content.bytes, x.disk, x.vm, x.first = c.bytes, disk, vm, nil
		m.content.image, m.content.made = c.image, ""
		if d := mapping(r.props, "storageProfile", "osDisk"); d != nil && size == 0 {
			d["diskSizeGB"] = c.sizeGB()
		}
		m.power = "running"
		w.publish(r, m, nicID, addrs)
		w.watch(r, m, vm)
		return nil
	}
	m.power = "starting"
	return &refusal{later: &later{func() *refusal {
		bad := work()
		if bad != nil {
			cancel()
		}
		return bad
	}, then}}
}

// bootFailure is Azure's word for a guest that never answered; a cancelled boot is an operation that a later one overtook.
func bootFailure(name string, err error) *refusal {
	if errors.Is(err, context.Canceled) {
		return refuse(409, "NotLatestOperation", "The operation has been preempted by another one.")
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, qemu.ErrExited) {
		return refuse(409, "OSProvisioningTimedOut", "OS Provisioning for VM '"+name+"' did not finish in the allotted time. The VM may still finish provisioning successfully. Please check provisioning state later. Also, make sure the image has been properly prepared (generalized).\r\n * Instructions for Windows: https://azure.microsoft.com/documentation/articles/virtual-machines-windows-upload-image/ \r\n * Instructions for Linux: https://azure.microsoft.com/documentation/articles/virtual-machines-linux-capture-image/ \r\nThe simulated Azure's host says: "+err.Error())
	}
	return refuse(500, "InternalExecutionError", "The simulated Azure's host cannot run VM '"+name+"': "+err.Error())
}

// diskFor gives a machine its own disk over the image's, if it has none yet.
func (w *Azure) diskFor(ctx context.Context, name string, c content, disk string, size int64) (content, string, error) {
	if disk != "" {
		return c, disk, nil
	}
	host := w.cfg.Machines
	var base qemu.Image
	var err error
	if c.made != "" {
		base, err = host.Debian(ctx)
	} else {
		base, err = qemu.Inspect(c.image)
	}
	if err != nil {
		return c, "", err
	}
	c.image, c.bytes = base.Path, max(base.Bytes, size)
	disk = host.Path(name + ".qcow2")
	return c, disk, qemu.Overlay(ctx, disk, base, size)
}

// publish lets clients find the machine by its addresses.
func (w *Azure) publish(r *resource, m *machine, nicID string, addrs []string) {
	target := m.real.vm.Port(sshPort)
	port := sshPort
	if m.content.windows {
		port = 5986
		target = m.real.vm.Port(port)
	}
	f, err := newForward(listenAt(addrs, itoa(port)), target, func(remote netip.Addr) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return reachable(w, nicID, remote, port)
	})
	if err != nil {
		return // nobody will find it; the boot log and the serial console are there
	}
	m.real.forward = f
	for _, a := range addrs {
		key := net.JoinHostPort(a, itoa(port))
		m.addrs = append(m.addrs, key)
		w.guests[key] = f.addr
	}
}

// watch notices that the guest has powered itself off.
func (w *Azure) watch(r *resource, m *machine, vm *qemu.Machine) {
	exited := vm.Exited()
	go func() {
		<-exited
		w.mu.Lock()
		defer w.mu.Unlock()
		if x := m.real; x != nil && x.vm == vm && x.off == nil {
			w.unpublish(m)
			x.vm = nil
			m.power = "stopped"
			w.settled = true
			w.touch("resource", r.low)
			w.stopping.Go(vm.Kill)
		}
	}()
}

func (w *Azure) unpublish(m *machine) {
	for _, a := range m.addrs {
		delete(w.guests, a)
	}
	m.addrs = nil
	if f := m.real.forward; f != nil {
		m.real.forward = nil
		f.close()
	}
}

// stopReal begins to power the machine off.
func (w *Azure) stopReal(x *realMachine) {
	if x.cancel != nil {
		x.cancel()
	}
	if x.forward != nil {
		x.forward.close()
		x.forward = nil
	}
	vm := x.vm
	if vm == nil {
		return
	}
	x.vm = nil
	off := make(chan struct{})
	x.off = off
	w.stopping.Go(func() {
		defer close(off)
		vm.Shutdown(context.Background(), shutdownGrace)
	})
}

// untilOff goes on when a shutdown under way is over.
func (x *realMachine) untilOff(then func() *refusal) *refusal {
	off := x.off
	if off == nil {
		return then()
	}
	return &refusal{later: &later{func() *refusal { <-off; return nil }, func() *refusal {
		if x.off == off {
			x.off = nil
		}
		return then()
	}}}
}

// dropReal removes what a deleted machine leaves on the host.
func (w *Azure) dropReal(r *resource) {
	m := machineOf(r)
	x := m.real
	if x == nil || w.cfg.Machines == nil {
		return
	}
	off, host := x.off, w.cfg.Machines
	w.stopping.Go(func() {
		if off != nil {
			<-off
		}
		for _, suffix := range []string{".serial.log", ".iso", ".efivars"} {
			os.Remove(host.Path(x.name + suffix)) //nolint:errcheck // it may never have been
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reap()
	})
}

// capture copies what a machine's disk holds. A real machine goes on with a new disk over the one that is kept: a running one's
// capture is what a power cut would leave.
func (w *Azure) capture(m *machine) content {
	c := content{user: m.user, password: m.password, windows: m.content.windows, generalized: m.generalized, plan: m.content.plan, winrm: m.content.winrm && !m.generalized}
	if m.real == nil {
		c.disk = m.content.disk.Clone()
		return c
	}
	x, host := m.real, w.cfg.Machines
	c.bytes = m.content.bytes
	if x.disk == "" || host == nil {
		c.frozen = &frozen{err: errors.New("the machine has never been started")}
		return c
	}
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	next := host.Path(x.name + "-" + w.uuid()[:8] + ".qcow2")
	old := qemu.Image{Path: x.disk, Format: "qcow2", Bytes: c.bytes}
	var err error
	if x.vm != nil {
		err = x.vm.Freeze(ctx, next)
	} else {
		err = qemu.Overlay(ctx, next, old, 0)
	}
	if err == nil {
		x.disk = next
	}
	c.frozen = &frozen{disk: old, err: err}
	return c
}

// whole makes a fixed VHD of what was captured, and goes on.
func (w *Azure) whole(c *content, then func() *refusal) *refusal {
	parts := []*content{c}
	for i := range c.data {
		parts = append(parts, &c.data[i].Content)
	}
	var left []*content
	var paths []string
	fail := func(err error) *refusal {
		return refuse(500, "InternalExecutionError", "The simulated Azure's host cannot capture the disk: "+err.Error())
	}
	for _, p := range parts {
		switch {
		case p.frozen == nil:
		case p.frozen.err != nil:
			return fail(p.frozen.err)
		default:
			left, paths = append(left, p), append(paths, w.cfg.Machines.Path("image-"+w.uuid()[:8]+".vhd"))
		}
	}
	if len(left) == 0 {
		return then()
	}
	if w.storage.making == nil {
		w.storage.making = map[string]bool{}
	}
	disks := make([]qemu.Image, len(left))
	for i, p := range left {
		disks[i], w.storage.making[paths[i]] = p.frozen.disk, true
	}
	made := make([]qemu.Image, len(left))
	return &refusal{later: &later{func() *refusal {
		for i, from := range disks {
			var err error
			if made[i], err = qemu.Capture(context.Background(), from, paths[i]); err != nil {
				return fail(err)
			}
		}
		return nil
	}, func() *refusal {
		for i, p := range left {
			p.frozen, p.image, p.bytes = nil, made[i].Path, made[i].Bytes
		}
		bad := then()
		for _, p := range paths {
			delete(w.storage.making, p)
		}
		w.reap()
		return bad
	}}}
}

// reap removes the disks on the host that nothing refers to any more. A disk that another one is laid over stays, as
// does everything while an image is being made.
func (w *Azure) reap() {
	host := w.cfg.Machines
	if host == nil {
		return
	}
	used := map[string]bool{}
	var machines []string // their files may be there before they are known
	var keep func(c content)
	keep = func(c content) {
		used[c.image] = true
		if c.frozen != nil {
			used[c.frozen.disk.Path] = true
		}
		for _, d := range c.data {
			keep(d.Content)
		}
	}
	for _, f := range w.storage.files {
		used[f.opened] = true
	}
	maps.Copy(used, w.storage.making)
	for _, r := range w.resources {
		switch a := r.aux.(type) {
		case *machine:
			keep(a.content)
			if a.real != nil {
				machines = append(machines, a.real.name)
			}
		case *versionData:
			keep(a.content)
		case content:
			keep(a)
		}
	}
	host.Reap(used, machines)
}

// forward is a listener in front of a machine's port that asks the network rules about every caller.
type forward struct {
	addr  string
	l     net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newForward(listen, target string, allow func(netip.Addr) bool) (*forward, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil && listen != anyPort {
		l, err = net.Listen("tcp", anyPort) // a port below 1024 is not everybody's
	}
	if err != nil {
		return nil, err
	}
	f := &forward{addr: l.Addr().String(), l: l, conns: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.carry(c, target, allow)
		}
	}()
	return f, nil
}

func (f *forward) carry(c net.Conn, target string, allow func(netip.Addr) bool) {
	defer c.Close() //nolint:errcheck // one of the two is gone
	remote, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil || !allow(remote.Addr()) {
		return
	}
	t, err := net.DialTimeout("tcp", target, 10*time.Second)
	if err != nil {
		return
	}
	defer t.Close() //nolint:errcheck // one of the two is gone
	f.mu.Lock()
	closed := f.conns == nil
	if !closed {
		f.conns[c] = true
	}
	f.mu.Unlock()
	if closed {
		return
	}
	go func() {
		io.Copy(t, c)                 //nolint:errcheck // ends with either side
		t.(*net.TCPConn).CloseWrite() //nolint:errcheck // it may be gone
	}()
	io.Copy(c, t) //nolint:errcheck // ends with either side
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
}

func (f *forward) close() {
	f.l.Close() //nolint:errcheck // it only listened
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.Close() //nolint:errcheck // the machine is going
	}
	f.conns = nil
}

// bootDiagnostics are the addresses of what a machine shows at its boot
// (rest/api/compute/virtual-machines/retrieve-boot-diagnostics-data). They are the simulation's own pages: there is no screen.
func bootDiagnostics(w *Azure, r *resource) *reply {
	base := EmbeddedURL
	if w.servedPort != "" {
		base = "https://localhost:" + w.servedPort
	}
	at := base + "/sim/serial?vm=" + url.QueryEscape(r.id)
	return &reply{status: 200, body: map[string]any{"consoleScreenshotBlobUri": at, "serialConsoleLogBlobUri": at}}
}

// serialLog is what a machine wrote to its serial console.
func (w *Azure) serialLog(vm string) (string, bool) {
	r := w.find(vm)
	if r == nil || r.typ != vmType || machineOf(r).real == nil || w.cfg.Machines == nil {
		return "", false
	}
	raw, err := os.ReadFile(w.cfg.Machines.Path(machineOf(r).real.name + ".serial.log"))
	return strings.ToValidUTF8(string(raw), "?"), err == nil
}
