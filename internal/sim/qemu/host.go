// Package qemu runs real machines for the simulated Azure: QEMU on this host, with KVM where that really boots a kernel and
// with software emulation elsewhere. It makes a Debian image from the host's own mirror, starts, stops and captures machines,
// and leaves neither a process nor a disk behind when its owner dies. It knows nothing of Resource Manager.
package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Host is this computer as a host of machines.
type Host struct {
	dir     string // disks and logs of machines; nobody else's
	cache   string // images that many runs start from
	keep    bool   // the folder outlives the host
	log     func(format string, args ...any)
	mu      sync.Mutex
	accel   string
	why     string // why it is not kvm
	making  sync.Mutex
	base    map[string]Image
	running map[*Machine]bool
	owner   *owner
}

// Options say where a Host keeps things. Log receives single lines about what takes long; nil: nobody.
type Options struct {
	Dir   string // for the disks of machines; made if missing
	Keep  bool   // Dir is somebody's state: Close leaves it
	Cache string // for images made on first use; "" is the user's cache folder
	Log   func(format string, args ...any)
}

// packages are what a host needs besides QEMU itself, by the program looked for.
func packages() map[string]string {
	return map[string]string{"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils"}
}

// Missing names the Debian packages that this computer lacks to run machines; none is nil.
func Missing() []string { return missing(packages()) }

func missing(programs map[string]string) []string {
	var out []string
	for program, pkg := range programs {
		if _, err := findProgram(program); err != nil {
			out = append(out, pkg)
		}
	}
	return sorted(out)
}

// findProgram looks in PATH and in the folders for administrators, which users of Debian do not have in theirs.
func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("cannot find program %s", name)
}

// Open makes this computer a host. What owners that have died left in neighbouring folders is removed first.
func Open(o Options) (*Host, error) {
	if m := Missing(); m != nil {
		return nil, fmt.Errorf("cannot run real machines: install %s (apt-get install %s)", strings.Join(m, " and "), strings.Join(m, " "))
	}
	if o.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("cannot find the cache folder: %w", err)
		}
		o.Cache = filepath.Join(dir, "ingot", "images")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot use folder %s: %w", o.Dir, err)
	}
	if strings.ContainsAny(dir+o.Cache, ",") { // QEMU takes a comma as the end of a file's name
		return nil, fmt.Errorf("cannot keep disks in %s: its name has a comma", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder for disks: %w", err)
	}
	h := &Host{dir: dir, cache: o.Cache, keep: o.Keep, log: o.Log, base: map[string]Image{}, running: map[*Machine]bool{}}
	if h.log == nil {
		h.log = func(string, ...any) {}
	}
	if h.owner, err = own(dir); err != nil {
		return nil, err
	}
	h.accel, h.why = accelerator()
	return h, nil
}

// Accelerator is what machines run with, "kvm" or "tcg" (software emulation), and why not kvm.
func (h *Host) Accelerator() (name, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.accel, h.why
}

// accelerator decides between KVM and software emulation. That /dev/kvm opens proves nothing: under kvm_pvm and the like no
// stock kernel boots; so the processor's own virtualisation must be there as well. A machine that does not come up with it
// is started again without (see Machine.Ready).
func accelerator() (name, why string) {
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "tcg", "not Linux"
	}
	native := bytes.Contains(cpu, []byte(" vmx")) || bytes.Contains(cpu, []byte(" svm"))
	for _, module := range []string{"kvm_intel", "kvm_amd"} {
		if _, err := os.Stat("/sys/module/" + module); err == nil {
			native = true
		}
	}
	if !native {
		return "tcg", "this computer's processor shows no virtualisation (vmx, svm)"
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return "tcg", "/dev/kvm cannot be opened: " + err.Error()
	}
	f.Close() //nolint:errcheck // only tried
	return "kvm", ""
}

// Close powers every machine off at once and removes their disks, unless the folder is somebody's state.
func (h *Host) Close() error {
	h.mu.Lock()
	var list []*Machine
	for m := range h.running {
		list = append(list, m)
	}
	h.mu.Unlock()
	for _, m := range list {
		m.Kill()
	}
	err := h.owner.release()
	if !h.keep {
		err = errors.Join(err, os.RemoveAll(h.dir))
	}
	return err
}

// Running lists the names of the machines that run.
func (h *Host) Running() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for m := range h.running {
		out = append(out, m.spec.Name)
	}
	return sorted(out)
}

// Path is a file of that name in the host's folder.
func (h *Host) Path(name string) string { return filepath.Join(h.dir, name) }

// run runs a program to its end; its error has what the program said last.
func run(ctx context.Context, name string, args ...string) error {
	path, err := findProgram(name)
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, path, args...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("cannot run %s: %w: %s", name, err, lastLines(out.String(), 5))
	}
	return nil
}

// output is what a program prints.
func output(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	out, err := c.Output()
	return string(out), err
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func sorted(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}
