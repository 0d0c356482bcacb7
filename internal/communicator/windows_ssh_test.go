package communicator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim/guest"
)

// sshMachine starts a simulated Windows guest with OpenSSH Server and connects to it.
func sshMachine(t *testing.T, change func(*SSHConfig), rules ...guest.Rule) (*winrm, guest.Machine, *guest.Disk) {
	t.Helper()
	disk := guest.NewDisk()
	m, err := guest.Start(context.Background(), guest.Config{Computer: "test", User: "packer", Password: testPassword, Disk: disk, Clock: wall{}, Rules: rules,
		Duration: func(kind string) time.Duration {
			if kind == "reboot" {
				return 20 * time.Millisecond
			}
			return 0
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		if err := m.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := m.OpenSSH(); err != nil {
		t.Fatal(err)
	}
	c := SSHConfig{Address: m.SSHAddr(), User: "packer", Password: testPassword, Dial: (&net.Dialer{}).DialContext, Clock: &quickClock{}, Dir: `C:\Windows\Temp\ingot-test`}
	if change != nil {
		change(&c)
	}
	x, err := NewWindowsSSH(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() }) //nolint:errcheck // the test is over
	return x.(*winrm), m, disk
}

func TestWindowsSSH(t *testing.T) {
	for name, scp := range map[string]bool{"SFTP": false, "no SFTP": true} {
		c, _, disk := sshMachine(t, func(c *SSHConfig) { c.SCP = scp })
		f, err := c.Ready(within(t, 20*time.Second))
		if err != nil || f.Computer != "test" || f.ImageState != "IMAGE_STATE_COMPLETE" {
			t.Fatalf("%s: %+v %v", name, f, err)
		}
		var got collector
		code, err := c.Run(within(t, 20*time.Second), Script{ID: "s1", Shell: "powershell", Text: "Write-Host \"hello $env:WHO\"\nexit 3", Env: map[string]string{"WHO": "world"}}, got.out)
		if err != nil || code != 3 || !strings.HasPrefix(got.text(), "stdout: hello world") {
			t.Errorf("%s: %d %v %q", name, code, err, got.text())
		}
		if code, err := c.Run(within(t, 20*time.Second), Script{ID: "s1", Shell: "powershell", Text: "exit 9"}, nil); err != nil || code != 3 {
			t.Errorf("%s: the same script again: %d %v", name, code, err)
		}
		for _, size := range []int{0, 1, 3000, 9_000_000} {
			data := bytes.Repeat([]byte("ingot\x00\xff"), size/7+1)[:size]
			if err := c.Upload(within(t, 60*time.Second), `C:\x y\file.bin`, bytes.NewReader(data), int64(size)); err != nil {
				t.Fatalf("%s: upload %d: %v", name, size, err)
			}
			in, _ := disk.File(`c:/X y/file.bin`)
			var back bytes.Buffer
			if err := c.Download(within(t, 60*time.Second), `C:\x y\file.bin`, &back); err != nil || !bytes.Equal(in, data) || !bytes.Equal(back.Bytes(), data) {
				t.Errorf("%s: %d bytes: %d in the guest, %d back, %v", name, size, len(in), back.Len(), err)
			}
		}
		for _, f := range disk.Files() {
			if strings.HasSuffix(f, ".part") {
				t.Errorf("%s: left over: %s", name, f)
			}
		}
		if err := c.Download(within(t, 20*time.Second), `C:\nope`, io.Discard); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Error(err)
		}
		if code, err := c.Command(within(t, 20*time.Second), "echo hi & exit 5", nil); err != nil || code != 5 {
			t.Errorf("%s: %d %v", name, code, err)
		}
		if err := c.Sysprep(within(t, 20*time.Second), false); err != nil {
			t.Error(err)
		}
		if f, err := c.Ready(within(t, 20*time.Second)); err != nil || f.ImageState != "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE" {
			t.Errorf("%s: after sysprep: %+v %v", name, f, err)
		}
		if err := c.Discard(within(t, 20*time.Second)); err != nil {
			t.Error(err)
		}
	}
}

// TestWindowsSSHLost: a connection that is cut costs a poll, a restart takes the script, and the server is there again with the same key.
func TestWindowsSSHLost(t *testing.T) {
	var pinned []string
	c, _, _ := sshMachine(t, func(c *SSHConfig) { c.Pinned = func(k string) error { pinned = append(pinned, k); return nil } },
		guest.Rule{Match: "^cut", Effect: "drop"}, guest.Rule{Match: "^long", Stdout: []string{"one", "two"}, Duration: 300 * time.Millisecond})
	before, err := c.Ready(within(t, 20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var got collector
	done := make(chan error, 1)
	go func() {
		code, err := c.another().Run(within(t, 20*time.Second), Script{ID: "long", Shell: "powershell", Text: "long"}, got.out)
		if err == nil && code != 0 {
			err = errors.New("it failed")
		}
		done <- err
	}()
	c.Command(within(t, 20*time.Second), "cut", nil) //nolint:errcheck // it is to break
	if err := <-done; err != nil || got.text() != "stdout: one\nstdout: two" {
		t.Errorf("cut: %v %q", err, got.text())
	}
	if _, err := c.Run(within(t, 20*time.Second), Script{ID: "r", Shell: "powershell", Text: "Restart-Computer -Force\nStart-Sleep 30"}, nil); !errors.Is(err, ErrLost) {
		t.Errorf("a script that restarts Windows: %v", err)
	}
	after, err := c.Ready(within(t, 20*time.Second))
	if err != nil || !after.Boot.After(before.Boot) || len(pinned) != 1 {
		t.Errorf("%v then %v, %v; pinned %v", before.Boot, after.Boot, err, pinned)
	}
}

// TestWindowsSSHRefused: a password that is wrong is not sent so often that Windows locks the account, and another host key ends it at once.
func TestWindowsSSHRefused(t *testing.T) {
	tries := 0
	count := func(c *SSHConfig) {
		dial := c.Dial
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			tries++
			return dial(ctx, network, addr)
		}
	}
	c, m, _ := sshMachine(t, func(c *SSHConfig) { c.Password = "Wrong-Test-Secret-Not-Real-1"; count(c) })
	if _, err := c.Ready(within(t, 60*time.Second)); !errors.Is(err, ErrAuth) || tries > 9 {
		t.Errorf("%v after %d handshakes", err, tries)
	}
	t.Logf("%d handshakes", tries)
	other := newGuest(t)
	var key string
	s := other.reach(t.TempDir(), func(c *SSHConfig) { c.Pinned = func(k string) error { key = k; return nil } })
	if _, err := s.Ready(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	x, err := NewWindowsSSH(SSHConfig{Address: m.SSHAddr(), User: "packer", Password: testPassword, Clock: &quickClock{}, Dir: `C:\x`, HostKey: key})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close() //nolint:errcheck // the test is over
	if _, err := x.Ready(within(t, 20*time.Second)); !errors.Is(err, ErrHostKey) {
		t.Errorf("another host key: %v", err)
	}
}

// TestWindowsSSHImage: an image of a machine with OpenSSH Server has one that starts with Windows.
func TestWindowsSSHImage(t *testing.T) {
	_, _, disk := sshMachine(t, nil)
	m, err := guest.Start(context.Background(), guest.Config{Computer: "second", User: "packer", Password: testPassword, Disk: disk.Clone(), Clock: wall{}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop(context.Background()) //nolint:errcheck // the test is over
	x, err := NewWindowsSSH(SSHConfig{Address: m.SSHAddr(), User: "packer", Password: testPassword, Clock: &quickClock{}, Dir: `C:\x`})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close() //nolint:errcheck // the test is over
	if f, err := x.Ready(within(t, 20*time.Second)); err != nil || f.Computer != "second" {
		t.Errorf("%+v %v", f, err)
	}
}
