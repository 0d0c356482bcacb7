package communicator

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/internal/communicator/sshtest"
)

// sshGuest is a server of sshtest with clients that see time pass quickly.
type sshGuest struct {
	*sshtest.Server
	t *testing.T
}

func newGuest(t *testing.T) *sshGuest {
	t.Helper()
	return &sshGuest{sshtest.New(t), t}
}

// quickClock waits a hundredth of what it is told, and says that all of it has passed.
type quickClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *quickClock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *quickClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
	t := time.NewTimer(d / 100)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reach makes a client of the guest whose folder is dir.
func (g *sshGuest) reach(dir string, more ...func(*SSHConfig)) *SSH {
	g.t.Helper()
	c := SSHConfig{Address: g.Addr(), User: sshtest.User, Password: sshtest.Password, Clock: &quickClock{}, Dir: dir}
	for _, f := range more {
		f(&c)
	}
	s, err := NewSSH(c)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { s.Close() }) //nolint:errcheck // the test is over
	return s
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), d)
	t.Cleanup(stop)
	return ctx
}

// collector keeps the lines of a script.
type collector struct {
	mu    sync.Mutex
	lines []string
	seen  map[string]chan struct{}
}

func (c *collector) out(stream, line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, stream+": "+line)
	if ch := c.seen[line]; ch != nil {
		close(ch)
		delete(c.seen, line)
	}
}

func (c *collector) wait(line string) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]chan struct{}{}
	}
	ch := make(chan struct{})
	c.seen[line] = ch
	return ch
}

func (c *collector) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "\n")
}

func TestSSHScripts(t *testing.T) {
	g := newGuest(t)
	for _, c := range []struct {
		name string
		s    Script
		code int
		want string
	}{
		{"a script without an interpreter is sh's", Script{Text: "echo one; echo two >&2; echo three"}, 0, "stdout: one"},
		{"its own interpreter", Script{Text: "#!/bin/sh -e\nfalse\necho not here\n"}, 1, ""},
		{"exit code", Script{Text: "exit 42"}, 42, ""},
		{"environment with quotes and lines", Script{Text: `printf '%s|' "$A" "$B"`, Env: map[string]string{"A": `it's "so" $HOME`, "B": "two\nlines"}}, 0, "stdout: it's \"so\" $HOME|two\nstdout: lines|"},
		{"a last line without an end", Script{Text: "printf end"}, 0, "stdout: end"},
		{"nothing at all", Script{Text: ""}, 0, ""},
		{"standard input is empty", Script{Text: "cat; echo done"}, 0, "stdout: done"},
		{"files are made as by a person", Script{Text: "umask"}, 0, "stdout: 0022"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			c.s.ID, c.s.Shell = "step-1", "sh"
			var got collector
			code, err := g.reach(dir).Run(within(t, 20*time.Second), c.s, got.out)
			if err != nil || code != c.code || !strings.Contains(got.text(), c.want) {
				t.Errorf("code %d, %v, output:\n%s", code, err, got.text())
			}
			if left, err := filepath.Glob(filepath.Join(dir, "step-1", "env")); err != nil || left != nil {
				t.Errorf("the environment is still there: %v %v", left, err)
			}
		})
	}
}

// TestSSHCut ends the connection again and again while a script runs: its output is whole and in order, and it ran once.
func TestSSHCut(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	s := g.reach(filepath.Join(dir, "run"))
	var got collector
	for _, n := range []int{5, 30, 60} {
		ch := got.wait(fmt.Sprintf("line %d", n))
		go func() { <-ch; g.Cut() }()
	}
	code, err := s.Run(within(t, 60*time.Second), Script{ID: "step-1", Shell: "sh", Text: "echo ran >>" + trace + "\ni=0; while [ $i -lt 100 ]; do echo line $i; echo err $i >&2; i=$((i+1)); sleep 0.02; done; exit 7"}, got.out)
	if err != nil || code != 7 {
		t.Fatalf("%d %v", code, err)
	}
	var outs, errs []string
	for _, l := range got.lines {
		if strings.HasPrefix(l, "stdout") {
			outs = append(outs, l)
		} else {
			errs = append(errs, l)
		}
	}
	for i := range 100 {
		if i >= len(outs) || outs[i] != fmt.Sprintf("stdout: line %d", i) || i >= len(errs) || errs[i] != fmt.Sprintf("stderr: err %d", i) {
			t.Fatalf("line %d is missing or out of order:\n%s", i, got.text())
		}
	}
	if len(outs) != 100 || len(errs) != 100 {
		t.Errorf("%d and %d lines", len(outs), len(errs))
	}
	if raw, err := os.ReadFile(trace); err != nil || string(raw) != "ran\n" {
		t.Errorf("it ran: %q %v", raw, err)
	}
}

// TestSSHResume: a process that begins where another died follows the script that runs, from its first line on.
func TestSSHResume(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	script := Script{ID: "step-1", Shell: "sh", Text: "echo begun; sleep 1; echo ended; exit 3"}
	ctx, die := context.WithCancel(t.Context())
	var first collector
	begun := first.wait("begun")
	go func() { <-begun; die() }()
	if _, err := g.reach(dir).Run(ctx, script, first.out); !errors.Is(err, context.Canceled) {
		t.Fatalf("the first process: %v", err)
	}
	var second collector
	code, err := g.reach(dir).Run(within(t, 20*time.Second), script, second.out)
	if err != nil || code != 3 || second.text() != "stdout: begun\nstdout: ended" {
		t.Errorf("%d %v %q", code, err, second.text())
	}
	// And once more, when it is long over.
	var third collector
	if code, err := g.reach(dir).Run(within(t, 20*time.Second), script, third.out); err != nil || code != 3 || third.text() != second.text() {
		t.Errorf("%d %v %q", code, err, third.text())
	}
}

// TestSSHLost: a process that is gone without an exit code, and a guest that has started again meanwhile.
func TestSSHLost(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	var got collector
	if _, err := g.reach(dir).Run(within(t, 20*time.Second), Script{ID: "step-1", Shell: "sh", Text: "echo dying; kill -9 $PPID $$"}, got.out); !errors.Is(err, ErrLost) {
		t.Errorf("a killed script: %v\n%s", err, got.text())
	}
	ctx, die := context.WithCancel(t.Context())
	begun := got.wait("begun")
	go func() { <-begun; die() }()
	script := Script{ID: "step-2", Shell: "sh", Text: "echo begun; sleep 2"}
	g.reach(dir).Run(ctx, script, got.out) //nolint:errcheck // it is to be cancelled
	if err := os.WriteFile(filepath.Join(dir, "step-2", "boot"), []byte("another boot\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.reach(dir).Run(within(t, 20*time.Second), script, got.out); !errors.Is(err, ErrLost) {
		t.Errorf("after a reboot: %v", err)
	}
}

func TestSSHLargeOutput(t *testing.T) {
	g := newGuest(t)
	n := 0
	sum := 0
	code, err := g.reach(t.TempDir()).Run(within(t, 60*time.Second), Script{ID: "big", Shell: "sh", Text: "seq 1 1000000; head -c 200000 /dev/zero | tr '\\0' x"}, func(_, line string) {
		n++
		sum += len(line)
	})
	// 6,888,896 bytes of numbers with their line ends, and one long line that comes in pieces.
	if err != nil || code != 0 || sum != 6888896-1000000+200000 || n < 1000001 || n > 1000010 {
		t.Errorf("%d lines, %d bytes, code %d, %v", n, sum, code, err)
	}
}

// TestSSHSecrets: neither the script nor its environment is on any command line while it runs.
func TestSSHSecrets(t *testing.T) {
	g := newGuest(t)
	const marker = "marker-not-a-real-secret"
	var got collector
	code, err := g.reach(t.TempDir()).Run(within(t, 20*time.Second), Script{ID: "step-1", Shell: "sh", Env: map[string]string{"SECRET": marker},
		Text: "# " + marker + "\ncat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c marker-not-a-real-secre[t]\ntrue"}, got.out)
	if err != nil || code != 0 || got.text() != "stdout: 0" {
		t.Errorf("%d %v %q", code, err, got.text())
	}
}

func TestSSHHostKey(t *testing.T) {
	g := newGuest(t)
	var pinned []string
	pin := func(c *SSHConfig) { c.Pinned = func(k string) error { pinned = append(pinned, k); return nil } }
	s := g.reach(t.TempDir(), pin)
	f, err := s.Ready(within(t, 20*time.Second))
	if err != nil || f.Computer == "" || f.Boot.IsZero() {
		t.Fatalf("%+v %v", f, err)
	}
	g.Cut()
	if _, err := s.Ready(within(t, 20*time.Second)); err != nil || len(pinned) != 1 {
		t.Errorf("again: %v; pinned %v", err, pinned)
	}
	g.SetOptions(func(o *sshtest.Options) { o.HostKeys = []ssh.Signer{sshtest.HostKey(t, "ed25519")} })
	g.Cut()
	if _, err := s.Ready(within(t, 20*time.Second)); !errors.Is(err, ErrHostKey) {
		t.Errorf("another key: %v", err)
	}
	if _, err := g.reach(t.TempDir(), func(c *SSHConfig) { c.HostKey = pinned[0] }).Ready(within(t, 20*time.Second)); !errors.Is(err, ErrHostKey) {
		t.Errorf("another process with the pinned key: %v", err)
	}
	refuses := func(c *SSHConfig) { c.Pinned = func(string) error { return errors.New("full disk") } }
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if _, err := g.reach(t.TempDir(), refuses).Ready(ctx); err == nil {
		t.Error("a key that could not be kept was trusted")
	}
}

func TestSSHLogins(t *testing.T) {
	g := newGuest(t)
	if _, err := g.reach(t.TempDir(), func(c *SSHConfig) { c.Password = "wrong-test-secret" }).Ready(within(t, 30*time.Second)); !errors.Is(err, ErrAuth) {
		t.Errorf("a wrong password: %v", err)
	}
	for _, kind := range []string{"ed25519", "rsa"} {
		private, public, err := NewSSHKey(kind, 0)
		if err != nil {
			t.Fatal(err)
		}
		g.SetOptions(func(o *sshtest.Options) { o.Key = sshtest.PublicKey(t, public) })
		if _, err := g.reach(t.TempDir(), func(c *SSHConfig) { c.Password, c.Key = "", private }).Ready(within(t, 20*time.Second)); err != nil {
			t.Errorf("key %s: %v", kind, err)
		}
	}
	if _, err := NewSSH(SSHConfig{Dir: "/x", Clock: &quickClock{}}); err == nil {
		t.Error("neither key nor password is no error")
	}
}

// TestSSHLate: nothing listens, then something that says nothing, then the guest.
func TestSSHLate(t *testing.T) {
	g := newGuest(t)
	addr := g.Addr()
	g.Stop() // it comes back
	s := g.reach(t.TempDir())
	done := make(chan error, 1)
	go func() { _, err := s.Ready(within(t, 20*time.Second)); done <- err }()
	silent, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()      //nolint:errcheck // it said nothing
	silent.Close() //nolint:errcheck // the guest is there now
	g.Start()
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, stop)
	g.Stop() // for good
	g.Cut()
	begun := time.Now()
	if _, err := g.reach(t.TempDir()).Ready(ctx); !errors.Is(err, context.Canceled) || time.Since(begun) > 5*time.Second {
		t.Errorf("cancelled: %v after %s", err, time.Since(begun))
	}
}

func TestSSHFiles(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	s := g.reach(filepath.Join(dir, "run"))
	big := make([]byte, 8<<20)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"empty": nil, "small": []byte("hello"), "deep/er/ünï cödé's file": []byte("x"), "big": big} {
		path := filepath.Join(dir, "to", name)
		if err := s.Upload(within(t, 60*time.Second), path, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Errorf("upload %s: %v", name, err)
			continue
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(data), err)
		}
		var back bytes.Buffer
		if err := s.Download(within(t, 60*time.Second), path, &back); err != nil || !bytes.Equal(back.Bytes(), data) {
			t.Errorf("download %s: %d bytes, %v", name, back.Len(), err)
		}
	}
	local := filepath.Join(dir, "tool")
	if err := os.WriteFile(local, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(local)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.Upload(within(t, 20*time.Second), filepath.Join(dir, "to", "tool"), f, 10); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "to", "tool")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v %v", info, err)
	}
	if err := s.Upload(within(t, 20*time.Second), filepath.Join(dir, "to"), strings.NewReader("x"), 1); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("upload onto a folder: %v", err)
	}
	if err := s.Download(within(t, 20*time.Second), filepath.Join(dir, "none"), io.Discard); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("download of nothing: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "to", ".ingot-part-*")); err != nil || left != nil {
		t.Errorf("left over: %v %v", left, err)
	}
	if err := s.Discard(within(t, 20*time.Second)); err != nil {
		t.Error(err)
	}
	without := newGuest(t)
	without.SetOptions(func(o *sshtest.Options) { o.NoSFTP = true })
	if err := without.reach(dir).Upload(within(t, 20*time.Second), filepath.Join(dir, "y"), strings.NewReader("x"), 1); err == nil || !strings.Contains(err.Error(), "sftp") {
		t.Errorf("without SFTP: %v", err)
	}
}

// TestSSHUploadCut: a connection that ends in the middle of an upload costs the upload a new beginning, not its end.
func TestSSHUploadCut(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	data := make([]byte, 30<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	s := g.reach(filepath.Join(dir, "run"))
	r := &cutting{Reader: bytes.NewReader(data), after: 10 << 20, cut: g.Cut}
	if err := s.Upload(within(t, 60*time.Second), filepath.Join(dir, "f"), r, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if !r.done {
		t.Error("nothing was cut: this test shows nothing")
	}
}

// cutting calls cut once, when something is read beyond a position for the second time: the first is for the checksum.
type cutting struct {
	*bytes.Reader
	after int64
	cut   func()
	times int
	done  bool
	mu    sync.Mutex
}

func (c *cutting) ReadAt(p []byte, at int64) (int, error) {
	c.mu.Lock()
	if at <= c.after && at+int64(len(p)) > c.after {
		if c.times++; c.times == 2 {
			c.done = true
			c.cut()
		}
	}
	c.mu.Unlock()
	return c.Reader.ReadAt(p, at)
}
