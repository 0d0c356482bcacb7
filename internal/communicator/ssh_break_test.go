package communicator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/internal/communicator"
	"ingot/internal/communicator/sshtest"
)

// dial makes a client of s with the folder "run" in its home.
func dial(t *testing.T, s *sshtest.Server, more ...func(*communicator.SSHConfig)) *communicator.SSH {
	t.Helper()
	c := communicator.SSHConfig{Address: s.Addr(), User: sshtest.User, Password: sshtest.Password, Clock: &sshtest.Clock{}, Dir: s.Home + "/run"}
	for _, f := range more {
		f(&c)
	}
	x, err := communicator.NewSSH(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() }) //nolint:errcheck // the test is over
	return x
}

// soon ends a test that hangs.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(stop)
	return ctx
}

// said collects what a script prints.
type said struct {
	mu    sync.Mutex
	lines []string
	hear  func(line string)
}

func (s *said) out(stream, line string) {
	s.mu.Lock()
	s.lines = append(s.lines, stream+": "+line)
	s.mu.Unlock()
	if s.hear != nil {
		s.hear(line)
	}
}

func (s *said) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func sh(id, text string) communicator.Script {
	return communicator.Script{ID: id, Shell: "sh", Text: text}
}

// TestSSHIdleCut: what comes after a connection was lost unnoticed works as if nothing had been.
func TestSSHIdleCut(t *testing.T) {
	s := sshtest.New(t)
	for name, f := range map[string]func(*communicator.SSH) error{
		"upload": func(c *communicator.SSH) error {
			return c.Upload(soon(t), "~/up", strings.NewReader("text"), 4)
		},
		"download": func(c *communicator.SSH) error {
			var b bytes.Buffer
			if err := os.WriteFile(s.Home+"/down", []byte("text"), 0o600); err != nil {
				return err
			}
			err := c.Download(soon(t), "~/down", &b)
			if err == nil && b.String() != "text" {
				err = fmt.Errorf("got %q", b.String())
			}
			return err
		},
		"command": func(c *communicator.SSH) error {
			var got said
			code, err := c.Command(soon(t), "echo it; echo err >&2; exit 4", got.out)
			if err == nil && (code != 4 || !strings.Contains(got.text(), "stdout: it") || !strings.Contains(got.text(), "stderr: err")) {
				err = fmt.Errorf("code %d, %q", code, got.text())
			}
			return err
		},
		"run": func(c *communicator.SSH) error { _, err := c.Run(soon(t), sh("idle", "true"), nil); return err },
	} {
		c := dial(t, s)
		if _, err := c.Ready(soon(t)); err != nil {
			t.Fatal(err)
		}
		s.Cut()
		if err := f(c); err != nil {
			t.Errorf("%s after a cut: %v", name, err)
		}
	}
}

// TestSSHLosesEveryAnswer: the answer to each command in turn is lost once, with the connection, although the command was carried out.
func TestSSHLosesEveryAnswer(t *testing.T) {
	s := sshtest.New(t)
	lost := 0
	for n := 1; n <= 6; n++ {
		first := s.Commands()
		s.SetOptions(func(o *sshtest.Options) {
			o.Lose = func(m int) bool {
				if m == first+n {
					lost++
				}
				return m == first+n
			}
		})
		c := dial(t, s)
		id := fmt.Sprintf("lost-%d", n)
		if _, err := c.Ready(soon(t)); err != nil {
			t.Errorf("%d: ready: %v", n, err)
		}
		var got said
		code, err := c.Run(soon(t), sh(id, "echo ran >>trace-"+id+"; echo a; echo b >&2; exit 5"), got.out)
		if err != nil || code != 5 || !strings.Contains(got.text(), "stdout: a") || !strings.Contains(got.text(), "stderr: b") || len(got.lines) != 2 {
			t.Errorf("%d: run: %d %v %q", n, code, err, got.text())
		}
		if b, err := os.ReadFile(filepath.Join(s.Home, "trace-"+id)); string(b) != "ran\n" {
			t.Errorf("%d: it ran %q %v", n, b, err)
		}
		if err := c.Upload(soon(t), "f-"+id, strings.NewReader("content"), 7); err != nil {
			t.Errorf("%d: upload: %v", n, err)
		}
		if b, err := os.ReadFile(filepath.Join(s.Home, "f-"+id)); string(b) != "content" {
			t.Errorf("%d: uploaded %q %v", n, b, err)
		}
		if err := c.Discard(soon(t)); err != nil {
			t.Errorf("%d: discard: %v", n, err)
		}
	}
	if lost < 5 {
		t.Errorf("only %d answers were lost: this test shows little", lost)
	}
}

// TestSSHStartedByMany: however many start a script at once, as a start whose connection broke too late does, it runs once and each
// hears all of it. No environment is left behind.
func TestSSHStartedByMany(t *testing.T) {
	s := sshtest.New(t)
	var wg sync.WaitGroup
	x := sh("many", "echo ran >>trace; echo one; echo two; exit 3")
	x.Env = map[string]string{"A": "marker-not-a-real-secret"}
	for range 8 {
		c := dial(t, s)
		wg.Go(func() {
			var got said
			if code, err := c.Run(soon(t), x, got.out); err != nil || code != 3 || got.text() != "stdout: one\nstdout: two" {
				t.Errorf("%d %v %q", code, err, got.text())
			}
		})
	}
	wg.Wait()
	if b, err := os.ReadFile(s.Home + "/trace"); string(b) != "ran\n" {
		t.Errorf("it ran %q times %v", b, err)
	}
	if out, _ := exec.Command("grep", "-rl", "marker-not-a-real-secret", s.Home).Output(); len(out) > 0 { // it exits with 1 when there is none
		t.Errorf("the environment is left in %s", out)
	}
	if list, err := os.ReadDir(s.Home + "/run"); err != nil || len(list) != 1 {
		t.Errorf("left over: %v %v", list, err)
	}
}

// TestSSHEnvironment: a variable cannot harm what runs the script.
func TestSSHEnvironment(t *testing.T) {
	s := sshtest.New(t)
	for id, env := range map[string]map[string]string{
		"short": {"d": "x", "e": "y", "o": "z", "f": "f", "n": "n", "env": "w", "code": "9", "boot": "b", "own": "o"},
		"path":  {"PATH": "/nonexistent"},
		"ifs":   {"IFS": "0123456789/"},
		"home":  {"HOME": "/nonexistent"},
		"text":  {"T": "a 'b' \"c\" $d `e` \\f\n\n#g %s\tü", "EMPTY": ""},
	} {
		x := sh(id, "")
		x.Env = env
		var want []string
		for name, value := range env {
			want = append(want, name+"="+value)
		}
		x.Text = "#!/bin/sh\nset -u\n"
		for name := range env {
			x.Text += "printf '%s\\n' \"" + name + "=$" + name + "\"\n"
		}
		x.Text += "exit 6\n"
		var got said
		code, err := dial(t, s).Run(soon(t), x, got.out)
		text := strings.ReplaceAll(got.text(), "stdout: ", "")
		if err != nil || code != 6 {
			t.Errorf("%s: %d %v\n%s", id, code, err, got.text())
		}
		for _, w := range want {
			if !strings.Contains(text, w) && id != "ifs" { // which a shell sets itself
				t.Errorf("%s: %q is not in\n%s", id, w, text)
			}
		}
	}
	if _, err := dial(t, s).Run(soon(t), communicator.Script{ID: "bad", Shell: "sh", Env: map[string]string{"a;b": ""}}, nil); err == nil || !strings.Contains(err.Error(), "no name of a variable") {
		t.Errorf("a name that is none: %v", err)
	}
}

// TestSSHEmptiedFolder: a script that cleans up /var/tmp takes our folder with it, and is followed to its end all the same; its output
// comes once and whole.
func TestSSHEmptiedFolder(t *testing.T) {
	s := sshtest.New(t)
	c := dial(t, s)
	for i, cut := range []bool{false, true} {
		got := said{}
		got.hear = func(line string) {
			if cut && line == "one" {
				go s.Cut()
			}
		}
		code, err := c.Run(soon(t), sh(fmt.Sprintf("empty-%d", i), "echo one; sleep 0.5; rm -rf "+s.Home+"/run; echo two; sleep 0.7; echo three; echo four >&2; exit 8"), got.out)
		want := "stdout: one\nstdout: two\nstdout: three\nstderr: four"
		if err != nil || code != 8 || got.text() != want {
			t.Errorf("cut %v: %d %v\n%s", cut, code, err, got.text())
		}
	}
}

func TestSSHGreeting(t *testing.T) {
	s := sshtest.New(t)
	s.SetOptions(func(o *sshtest.Options) { o.Greeting = "Welcome!\nO 12\nX 0\nno end" })
	c := dial(t, s)
	if f, err := c.Ready(soon(t)); err != nil || f.Computer == "" {
		t.Errorf("%+v %v", f, err)
	}
	var got said
	if code, err := c.Run(soon(t), sh("greeted", "echo mine; exit 2"), got.out); err != nil || code != 2 || got.text() != "stdout: mine" {
		t.Errorf("%d %v %q", code, err, got.text())
	}
	var line said
	if code, err := c.Command(soon(t), "echo mine", line.out); err != nil || code != 0 || line.text() != "stdout: mine" {
		t.Errorf("%d %v %q", code, err, line.text())
	}
}

// TestSSHCancelled: a context that ends, ends everything within seconds, also when the guest has gone silent.
func TestSSHCancelled(t *testing.T) {
	reason := errors.New("the reason of this test")
	big := make([]byte, 1<<20)
	for name, f := range map[string]func(context.Context, *communicator.SSH) error{
		"ready": func(ctx context.Context, c *communicator.SSH) error { _, err := c.Ready(ctx); return err },
		"run": func(ctx context.Context, c *communicator.SSH) error {
			_, err := c.Run(ctx, sh("s", "sleep 1"), nil)
			return err
		},
		"command": func(ctx context.Context, c *communicator.SSH) error {
			_, err := c.Command(ctx, "sleep 1", nil)
			return err
		},
		"upload": func(ctx context.Context, c *communicator.SSH) error {
			return c.Upload(ctx, "f", bytes.NewReader(big), int64(len(big)))
		},
	} {
		for _, frozen := range []bool{true, false} {
			s := sshtest.New(t)
			c := dial(t, s)
			if _, err := c.Ready(soon(t)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			if frozen {
				s.Freeze()
			} else {
				s.Stop()
				s.Cut()
			}
			time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
			begun := time.Now()
			done := make(chan error, 1)
			go func() { done <- f(ctx, c) }()
			select {
			case err := <-done:
				// It may say that the connection broke as well, but never that all is well.
				if !errors.Is(err, reason) {
					t.Errorf("%s (frozen %v): %v", name, frozen, err)
				}
			case <-time.After(10 * time.Second):
				t.Errorf("%s (frozen %v): goes on %s after its context", name, frozen, time.Since(begun))
			}
		}
	}
}

// TestSSHWaitsForOthersNoLonger: one that waits for a guest does not hold up Close, nor another whose time is up.
func TestSSHWaitsForOthersNoLonger(t *testing.T) {
	s := sshtest.New(t)
	s.Stop()
	c := dial(t, s)
	long, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := c.Ready(long); ended <- err }()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	second := make(chan error, 1)
	go func() { _, err := c.Command(short, "true", nil); second <- err; second <- c.Close() }()
	for range 2 {
		select {
		case <-second:
		case <-time.After(10 * time.Second):
			t.Fatal("it waits for another's connection")
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestSSHRefusals(t *testing.T) {
	wrong := func(c *communicator.SSHConfig) { c.Password = "wrong-test-secret" }
	for name, o := range map[string]sshtest.Options{
		"too many tries":    {MaxAuthTries: 1},
		"drops for a while": {Penalty: 3},
		"only keys":         {NoPassword: true},
	} {
		s := sshtest.New(t)
		s.SetOptions(func(to *sshtest.Options) {
			o.HostKeys = to.HostKeys
			*to = o
		})
		clock := &sshtest.Clock{}
		begun := clock.Now()
		_, err := dial(t, s, wrong, func(c *communicator.SSHConfig) { c.Clock = clock }).Ready(soon(t))
		if waited := clock.Now().Sub(begun); !errors.Is(err, communicator.ErrAuth) || waited < 2*time.Minute || waited > 30*time.Minute {
			t.Errorf("%s: %v after %s", name, err, waited)
		}
	}
	s := sshtest.New(t)
	private, _, err := communicator.NewSSHKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, s, func(c *communicator.SSHConfig) { c.Password, c.Key = "", private }).Ready(soon(t)); !errors.Is(err, communicator.ErrAuth) {
		t.Errorf("another key: %v", err)
	}
}

// TestSSHHostKeyKinds: a guest with several host keys shows the one that is known; one that has lost it is another guest.
func TestSSHHostKeyKinds(t *testing.T) {
	s := sshtest.New(t)
	rsa, ed := sshtest.HostKey(t, "rsa"), sshtest.HostKey(t, "ed25519")
	s.SetOptions(func(o *sshtest.Options) { o.HostKeys = []ssh.Signer{ed, rsa} })
	line := string(ssh.MarshalAuthorizedKey(rsa.PublicKey()))
	known := func(c *communicator.SSHConfig) { c.HostKey = line }
	if _, err := dial(t, s, known).Ready(soon(t)); err != nil {
		t.Errorf("the known one of two: %v", err)
	}
	s.SetOptions(func(o *sshtest.Options) { o.HostKeys = []ssh.Signer{ed} })
	if _, err := dial(t, s, known).Ready(soon(t)); !errors.Is(err, communicator.ErrHostKey) {
		t.Errorf("none of the known kind: %v", err)
	}
	before := s.Accepted()
	full := errors.New("full disk")
	if _, err := dial(t, s, func(c *communicator.SSHConfig) { c.Pinned = func(string) error { return full } }).Ready(soon(t)); !errors.Is(err, full) || s.Accepted() != before+1 {
		t.Errorf("a key that cannot be kept: %v, %d tries", err, s.Accepted()-before)
	}
}
