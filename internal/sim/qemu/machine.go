package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Spec is a machine to be started.
type Spec struct {
	Name       string // unique on the host; names its files
	Generation string // V1: BIOS, V2: UEFI
	Windows    bool   // devices that Windows has drivers for from the start
	Disk       string // an overlay in the host's folder
	DataDisks  []string
	First      *Provisioning // what Azure tells it at its first boot; nil: nothing
	Address    string        // its private IPv4 address
	Cores      int           // at most the host's
	MemoryMB   int
	Ports      []int // TCP ports of the guest that a port of this host's loopback leads to
}

// Machine is a running machine.
type Machine struct {
	host  *Host
	spec  Spec
	accel string

	mu      sync.Mutex
	process *exec.Cmd
	exited  chan struct{}
	qmp     *qmp
	ports   map[int]string
}

// ErrExited says that the machine powered itself off.
var ErrExited = errors.New("the machine has powered off")

// Start starts a machine. It answers once QEMU runs; Ready waits for the guest.
func (h *Host) Start(ctx context.Context, s Spec) (*Machine, error) {
	accel, _ := h.Accelerator()
	m := &Machine{host: h, spec: s}
	if err := m.launch(ctx, accel); err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.running[m] = true
	h.mu.Unlock()
	return m, nil
}

// launch starts the process.
func (m *Machine) launch(ctx context.Context, accel string) error {
	args, err := m.arguments(accel)
	if err != nil {
		return err
	}
	program, err := findProgram("qemu-system-x86_64")
	if err != nil {
		return err
	}
	c := exec.Command(program, args...)
	in, err := c.StdinPipe()
	if err != nil {
		return fmt.Errorf("cannot start QEMU: %w", err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return fmt.Errorf("cannot start QEMU: %w", err)
	}
	var stderr lockedBuffer
	c.Stderr = &stderr
	q := &qmp{in: in, answers: make(chan answer, 16)}
	read := make(chan struct{})
	exited := make(chan struct{})
	if err := startBound(c, func() { <-read }, exited); err != nil {
		return fmt.Errorf("cannot start QEMU: %w", err)
	}
	go func() {
		defer close(read)
		q.read(out)
	}()
	m.mu.Lock()
	m.process, m.exited, m.qmp, m.accel = c, exited, q, accel
	m.mu.Unlock()
	fail := func(err error) error {
		m.Kill()
		if said := lastLines(stderr.String(), 4); said != "" {
			return fmt.Errorf("cannot start QEMU: %w: %s", err, said)
		}
		return fmt.Errorf("cannot start QEMU: %w", err)
	}
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	if _, err := q.do(ctx, exited, "qmp_capabilities", nil); err != nil {
		return fail(err)
	}
	raw, err := q.do(ctx, exited, "human-monitor-command", map[string]any{"command-line": "info usernet"})
	if err != nil {
		return fail(err)
	}
	ports := map[int]string{}
	var table string
	json.Unmarshal(raw, &table) //nolint:errcheck // the check is below
	for _, f := range forwarded.FindAllStringSubmatch(table, -1) {
		guest, _ := strconv.Atoi(f[2])
		ports[guest] = "127.0.0.1:" + f[1]
	}
	if len(ports) != len(m.spec.Ports) {
		return fail(fmt.Errorf("%d of %d ports are forwarded", len(ports), len(m.spec.Ports)))
	}
	m.mu.Lock()
	m.ports = ports
	m.mu.Unlock()
	return nil
}

// forwarded is a line of "info usernet": TCP[HOST_FORWARD] fd 127.0.0.1 40123 10.0.0.4 22 0 0
var forwarded = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)`)

func (m *Machine) arguments(accel string) ([]string, error) {
	s := m.spec
	cpu := "max"
	if accel == "kvm" {
		cpu = "host"
	} else {
		accel = "tcg,thread=multi"
	}
	args := []string{"-name", s.Name, "-machine", "q35", "-accel", accel, "-cpu", cpu, "-m", strconv.Itoa(max(s.MemoryMB, 512)), "-smp", strconv.Itoa(max(s.Cores, 1)),
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "file:" + m.SerialLog(), "-chardev", "stdio,id=qmp,signal=off", "-mon", "chardev=qmp,mode=control"}
	if s.Generation == "V2" {
		code, vars, err := firmware()
		if err != nil {
			return nil, err
		}
		own := m.host.Path(s.Name + ".efivars")
		if err := copyFile(vars, own); err != nil {
			return nil, err
		}
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file="+code, "-drive", "if=pflash,format=raw,file="+own)
	}
	// No way out: a guest of the simulated Azure reaches nothing but its own host's forwarded ports.
	address := net.ParseIP(s.Address).To4()
	if address == nil {
		return nil, fmt.Errorf("cannot start QEMU: %q is no IPv4 address", s.Address)
	}
	gateway := net.IPv4(address[0], address[1], address[2], 1)
	if address[3] == 1 {
		gateway[len(gateway)-1] = 2
	}
	network := fmt.Sprintf("user,id=n0,restrict=on,net=%d.%d.%d.0/24,host=%s,dhcpstart=%s", address[0], address[1], address[2], gateway, address)
	for _, p := range s.Ports {
		network += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:0-:%d", p)
	}
	nic, bus := "virtio-net-pci,netdev=n0,romfile=", func(id, serial string, boot bool) string {
		d := "nvme,drive=" + id + ",serial=" + serial
		if boot {
			d += ",bootindex=0"
		}
		return d
	}
	if s.Windows { // Windows Setup has no driver for virtio; AHCI and e1000e it has
		nic = "e1000e,netdev=n0,romfile="
		bus = func(id, _ string, boot bool) string {
			d := "ide-hd,drive=" + id
			if boot {
				d += ",bootindex=0"
			}
			return d
		}
	}
	args = append(args, "-netdev", network, "-device", nic)
	disk := func(id, path, serial string, boot bool) {
		args = append(args, "-drive", "file="+path+",if=none,id="+id+",format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap", "-device", bus(id, serial, boot))
	}
	disk("os", s.Disk, "os", true)
	for i, d := range s.DataDisks {
		disk("data"+strconv.Itoa(i), d, "lun"+strconv.Itoa(i), false)
	}
	if s.First != nil {
		media := m.host.Path(s.Name + ".iso")
		if err := os.WriteFile(media, disc("ovf-env.xml", ovfEnvironment(*s.First), time.Now()), 0o600); err != nil {
			return nil, fmt.Errorf("cannot write the provisioning media: %w", err)
		}
		device := "nvme,drive=media,serial=media"
		if s.Windows {
			device = "ide-cd,drive=media"
		}
		args = append(args, "-drive", "file="+media+",if=none,id=media,format=raw,readonly=on", "-device", device)
	}
	return args, nil
}

// firmware is OVMF, where Debian and its relatives have it.
func firmware() (code, vars string, err error) {
	for _, p := range [][2]string{{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"}, {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"}} {
		if _, err := os.Stat(p[0]); err == nil {
			return p[0], p[1], nil
		}
	}
	return "", "", errors.New("cannot boot a generation 2 machine: install ovmf (apt-get install ovmf)")
}

func copyFile(from, to string) error {
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, raw, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot copy the firmware's variables: %w", err)
	}
	return nil
}

// SerialLog is the file with what the guest writes to its serial console.
func (m *Machine) SerialLog() string { return m.host.Path(m.spec.Name + ".serial.log") }

// Accelerator is what this machine really runs with.
func (m *Machine) Accelerator() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.accel
}

// Port is where on loopback a port of the guest answers; "" if it is not forwarded.
func (m *Machine) Port(guest int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ports[guest]
}

// patience is how long a machine under KVM may take to its first word before software emulation is tried.
const patience = 60 * time.Second

// Ready waits until a forwarded port of the guest says something: SSH's banner on 22. A machine that KVM does not get that far is
// started again with software emulation, and so are all later ones.
func (m *Machine) Ready(ctx context.Context, port int) error {
	begun := time.Now()
	for {
		select {
		case <-m.done():
			return ErrExited
		case <-ctx.Done():
			return fmt.Errorf("cannot reach the guest: %w; its console says last:\n%s", context.Cause(ctx), m.console())
		default:
		}
		if answersAt(ctx, m.Port(port)) {
			return nil
		}
		if m.Accelerator() == "kvm" && (m.stuck(ctx) || time.Since(begun) > patience) {
			m.host.giveUpKVM(m.spec.Name)
			m.stop()
			if err := m.launch(ctx, "tcg"); err != nil {
				return err
			}
		}
		t := time.NewTimer(100 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

func (h *Host) giveUpKVM(machine string) {
	h.mu.Lock()
	h.accel, h.why = "tcg", "a machine did not boot with KVM"
	h.mu.Unlock()
	h.log("%s does not boot with KVM: software emulation from now on", machine)
}

// stuck reports QEMU's own word that KVM has failed.
func (m *Machine) stuck(ctx context.Context) bool {
	raw, err := m.ask(ctx, "query-status", nil)
	return err == nil && bytes.Contains(raw, []byte("internal-error"))
}

// answersAt reports whether a service speaks first at an address, as SSH does. QEMU accepts connections at once, long
// before the guest does, so that a connection alone proves nothing.
func answersAt(ctx context.Context, addr string) bool {
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer c.Close()                                    //nolint:errcheck // only listened to
	c.SetReadDeadline(time.Now().Add(2 * time.Second)) //nolint:errcheck // a connection that is gone shows in the read
	b := make([]byte, 4)
	_, err = io.ReadFull(c, b)
	return err == nil && string(b) == "SSH-"
}

func (m *Machine) console() string {
	raw, err := os.ReadFile(m.SerialLog())
	if err != nil {
		return ""
	}
	return lastLines(string(raw), 15)
}

func (m *Machine) done() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exited
}

// Exited is closed when the machine is off.
func (m *Machine) Exited() <-chan struct{} { return m.done() }

// ask sends a command of QEMU's monitor.
func (m *Machine) ask(ctx context.Context, name string, args any) (json.RawMessage, error) {
	m.mu.Lock()
	q, exited := m.qmp, m.exited
	m.mu.Unlock()
	return q.do(ctx, exited, name, args)
}

// Shutdown presses the power button and waits; a guest that does not react within grace is cut off, as Azure does.
func (m *Machine) Shutdown(ctx context.Context, grace time.Duration) {
	asked, stop := context.WithTimeout(ctx, grace)
	defer stop()
	if _, err := m.ask(asked, "system_powerdown", nil); err == nil {
		select {
		case <-m.done():
		case <-asked.Done():
		}
	}
	m.Kill()
}

// Freeze goes on writing to a new disk at path, so that what the disk held until now stays as it is: a running machine's
// capture is what a power cut would leave.
func (m *Machine) Freeze(ctx context.Context, path string) error {
	_, err := m.ask(ctx, "blockdev-snapshot-sync", map[string]any{"device": "os", "snapshot-file": path, "format": "qcow2"})
	return err
}

// Kill cuts the power and waits until the process is gone.
func (m *Machine) Kill() {
	m.stop()
	m.host.mu.Lock()
	delete(m.host.running, m)
	m.host.mu.Unlock()
}

func (m *Machine) stop() {
	m.mu.Lock()
	c, exited := m.process, m.exited
	m.mu.Unlock()
	c.Process.Kill() //nolint:errcheck // it may be gone
	<-exited
}

// Discard removes the files of a machine that is off, its disk among them.
func (m *Machine) Discard() {
	clean(m.SerialLog(), m.host.Path(m.spec.Name+".iso"), m.host.Path(m.spec.Name+".efivars"))
}

// lockedBuffer keeps the end of what a program says.
type lockedBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	l.b = l.b[max(0, len(l.b)-8192):]
	return len(p), nil
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// qmp is QEMU's machine protocol over the process's own standard input and output
// (https://www.qemu.org/docs/master/interop/qmp-spec.html).
type qmp struct {
	one     sync.Mutex // one question at a time
	in      io.Writer
	answers chan answer
	lost    bool
}

type answer struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	ID int `json:"id"`
}

// read passes answers on; events and the greeting are nobody's.
func (q *qmp) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var a answer
		if json.Unmarshal(lines.Bytes(), &a) == nil && (a.Return != nil || a.Error != nil) {
			select {
			case q.answers <- a:
			default: // nobody has waited for it
			}
		}
	}
}

func (q *qmp) do(ctx context.Context, exited <-chan struct{}, name string, args any) (json.RawMessage, error) {
	q.one.Lock()
	defer q.one.Unlock()
	if q.lost {
		return nil, errors.New("QEMU's monitor has stopped answering")
	}
	m := map[string]any{"execute": name}
	if args != nil {
		m["arguments"] = args
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if _, err := q.in.Write(append(raw, '\n')); err != nil {
		return nil, fmt.Errorf("cannot ask QEMU: %w", err)
	}
	select {
	case a := <-q.answers:
		if a.Error != nil {
			return nil, fmt.Errorf("QEMU refuses %s: %s", name, strings.TrimSpace(a.Error.Desc))
		}
		return a.Return, nil
	case <-exited:
		return nil, ErrExited
	case <-ctx.Done():
		q.lost = true // a late answer would be taken for the next one's
		return nil, context.Cause(ctx)
	}
}
