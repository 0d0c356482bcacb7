package provisioner

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/sim/guest"
)

const guestPassword = "Test-Secret-Not-Real-1"

// hasty is time that goes faster than ours.
type hasty struct {
	begun time.Time
	speed time.Duration
}

func (c hasty) Now() time.Time { return c.begun.Add(c.speed * time.Since(c.begun)) }

func (c hasty) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d / c.speed)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var guestCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// windowsGuest is a simulated Windows machine for provisioners, reached over real WinRM; what a step would keep of it; and a record of
// what was sent.
type windowsGuest struct {
	t     *testing.T
	addr  string
	clock hasty
	disk  *guest.Disk

	mu       sync.Mutex
	lines    []string
	progress []string
	scripts  []communicator.Script
	commands []string
	uploads  map[string]string
	hear     func(line string)
	fail     func(call string) error // what a call ends with, before it is made
	kept     map[string]json.RawMessage
}

func newWindowsGuest(t *testing.T, change func(*guest.Config)) *windowsGuest {
	t.Helper()
	g := &windowsGuest{t: t, clock: hasty{time.Now(), 500}, disk: guest.NewDisk(), kept: map[string]json.RawMessage{}, uploads: map[string]string{}}
	cert := guestCertificate()
	c := guest.Config{Computer: "test", User: "packer", Password: guestPassword, Certificate: &cert, Listen: "127.0.0.1:0", Disk: g.disk, Clock: g.clock,
		Duration: func(kind string) time.Duration {
			return map[string]time.Duration{"reboot": 60 * time.Second, "update-install": 20 * time.Second, "update-download": 5 * time.Second}[kind]
		}}
	if change != nil {
		change(&c)
	}
	g.clock = c.Clock.(hasty)
	m, err := guest.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
		defer stop()
		if err := m.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	g.addr = m.Addr()
	return g
}

// env is that of a process of its own: it has nothing but what the step keeps.
func (g *windowsGuest) env(id string) *Env {
	g.t.Helper()
	cert := guestCertificate()
	w, err := communicator.NewWinRM(communicator.WinRMConfig{Address: g.addr, User: "packer", Password: guestPassword, Clock: g.clock, Dir: `C:\Windows\Temp\ingot-test`,
		Fingerprint: sha256.Sum256(cert.Certificate[0]), Dial: dialer})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { w.Close() }) //nolint:errcheck // the test is over
	return &Env{Comm: &watchedGuest{w, g}, Clock: g.clock, StepID: id, Vars: map[string]string{"PACKER_BUILD_NAME": "b"},
		Progress: func(s string) {
			g.mu.Lock()
			g.progress = append(g.progress, s)
			g.mu.Unlock()
			g.heard(s)
		},
		Output: func(stream, line string) {
			g.mu.Lock()
			g.lines = append(g.lines, stream+":"+line)
			g.mu.Unlock()
			g.heard(line)
		},
		Save: func(v any) error {
			raw, err := json.Marshal(v)
			g.mu.Lock()
			defer g.mu.Unlock()
			g.kept[id] = raw
			return err
		},
		Load: func(v any) (bool, error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			raw, ok := g.kept[id]
			if !ok {
				return false, nil
			}
			return true, json.Unmarshal(raw, v)
		}}
}

func (g *windowsGuest) heard(line string) {
	g.mu.Lock()
	hear := g.hear
	g.mu.Unlock()
	if hear != nil {
		hear(line)
	}
}

// run runs p as a step, and returns what it prints.
func (g *windowsGuest) run(id string, p Runner) (string, error) {
	g.t.Helper()
	ctx, stop := context.WithTimeout(g.t.Context(), time.Minute)
	defer stop()
	return g.runIn(ctx, id, p)
}

func (g *windowsGuest) runIn(ctx context.Context, id string, p Runner) (string, error) {
	g.mu.Lock()
	g.lines = nil
	g.mu.Unlock()
	err := p.Run(ctx, g.env(id))
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.lines, "\n"), err
}

// reboots counts how often the guest has been restarted by a command.
func (g *windowsGuest) count(what string) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.commands {
		if strings.Contains(c, what) {
			n++
		}
	}
	return n
}

// watchedGuest writes down what goes to the guest, and lets a call fail.
type watchedGuest struct {
	communicator.Windows
	g *windowsGuest
}

func (r *watchedGuest) call(name string) error {
	r.g.mu.Lock()
	fail := r.g.fail
	r.g.mu.Unlock()
	if fail != nil {
		return fail(name)
	}
	return nil
}

func (r *watchedGuest) Ready(ctx context.Context) (communicator.Facts, error) {
	if err := r.call("ready"); err != nil {
		return communicator.Facts{}, err
	}
	return r.Windows.Ready(ctx)
}

func (r *watchedGuest) Run(ctx context.Context, s communicator.Script, out communicator.Output) (int, error) {
	r.g.mu.Lock()
	r.g.scripts = append(r.g.scripts, s)
	r.g.mu.Unlock()
	if err := r.call("run"); err != nil {
		return 0, err
	}
	return r.Windows.Run(ctx, s, out)
}

func (r *watchedGuest) Command(ctx context.Context, line string, out communicator.Output) (int, error) {
	r.g.mu.Lock()
	r.g.commands = append(r.g.commands, line)
	r.g.mu.Unlock()
	if err := r.call("command"); err != nil {
		return 0, err
	}
	return r.Windows.Command(ctx, line, out)
}

func (g *windowsGuest) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return fmt.Sprintf("output:\n%s\nprogress:\n%s\ncommands: %q", strings.Join(g.lines, "\n"), strings.Join(g.progress, "\n"), g.commands)
}
