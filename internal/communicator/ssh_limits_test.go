package communicator_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/communicator/sshtest"
)

// sudoProgram is a sudo for tests: with a password it reads one line and compares, and it becomes another user only as far as it can.
const sudoProgram = `#!/bin/sh
user=root; ask=
while :; do
	case $1 in
	-n) shift ;;
	-H) shift ;;
	-S) ask=1; shift ;;
	-p) shift 2 ;;
	-u) user=$2; shift 2 ;;
	*) break ;;
	esac
done
if [ "$ask" ]; then
	read -r word
	[ "$word" = "` + sshtest.Password + `" ] || { echo "sudo: 1 incorrect password attempt" >&2; exit 1; }
elif [ -e "$0.asks" ]; then
	echo "sudo: a password is required" >&2; exit 1
fi
[ "$user" = root ] && exec "$@"
exec setpriv --reuid "$user" --regid nogroup --clear-groups "$@"
`

func TestSSHSudo(t *testing.T) {
	s := sshtest.New(t)
	bin := t.TempDir()
	if err := os.WriteFile(bin+"/sudo", []byte(sudoProgram), 0o755); err != nil {
		t.Fatal(err)
	}
	private, public, err := communicator.NewSSHKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	s.SetOptions(func(o *sshtest.Options) {
		o.Path, o.Key = []string{bin}, sshtest.PublicKey(t, public)
	})
	byKey := func(c *communicator.SSHConfig) { c.Password, c.Key = "", private }
	wrong := func(c *communicator.SSHConfig) { c.Password, c.Key = "wrong-test-secret", private }
	// As /var/tmp is: anybody may pass.
	for _, dir := range []string{filepath.Dir(s.Home), s.Home} {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	users := []string{"root", "SYSTEM"}
	if os.Getuid() == 0 {
		users = append(users, "nobody")
	} else {
		t.Log("not root: no test of a script as another user than root")
	}
	for _, user := range users {
		for name, as := range map[string]func(*communicator.SSHConfig){"password": nil, "key": byKey} {
			c := dial(t, s)
			if as != nil {
				c = dial(t, s, as)
			}
			x := sh(strings.ToLower(user)+"-"+name, "id -un; echo \"$A\"; exit 5")
			x.User, x.Env = user, map[string]string{"A": "it's"}
			want := user
			if os.Getuid() != 0 || user == "SYSTEM" {
				want = "root"
			}
			var got said
			code, err := c.Run(soon(t), x, got.out)
			if err != nil || code != 5 || os.Getuid() == 0 && got.text() != "stdout: "+want+"\nstdout: it's" {
				t.Errorf("%s by %s: %d %v %q", user, name, code, err, got.text())
			}
			for _, left := range []string{"env", "word"} {
				if _, err := os.Stat(s.Home + "/run/" + x.ID + "/" + left); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s by %s: %s is left: %v", user, name, left, err)
				}
			}
		}
	}
	x := sh("refused", "echo no")
	x.User = "root"
	if _, err := dial(t, s, wrong).Run(soon(t), x, nil); err == nil || !strings.Contains(err.Error(), "sudo does not take") || !strings.Contains(err.Error(), "incorrect password") {
		t.Errorf("a password that sudo refuses: %v", err)
	}
	if err := os.WriteFile(bin+"/sudo.asks", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, s, byKey).Run(soon(t), x, nil); err == nil || !strings.Contains(err.Error(), "without a password") {
		t.Errorf("a sudo that asks: %v", err)
	}
	if list, err := os.ReadDir(s.Home + "/run"); err != nil || len(list) != 2*len(users) {
		t.Errorf("what was refused is left: %v %v", list, err)
	}
}

// once calls f when it has been read beyond a position for the second time: the first is for the checksum.
type once struct {
	*bytes.Reader
	at    int64
	times atomic.Int32
	f     func()
}

func (o *once) ReadAt(p []byte, at int64) (int, error) {
	if at <= o.at && at+int64(len(p)) > o.at && o.times.Add(1) == 2 {
		o.f()
	}
	return o.Reader.ReadAt(p, at)
}

func (o *once) Stat() (fs.FileInfo, error) { return readOnly{}, nil }

type readOnly struct{ fs.FileInfo }

func (readOnly) Mode() fs.FileMode { return 0o400 }

// TestSSHLargeUpload: 50 MB that are to be read-only come whole, also over a connection that is cut in the middle.
func TestSSHLargeUpload(t *testing.T) {
	s := sshtest.New(t)
	data := make([]byte, 50<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	r := &once{Reader: bytes.NewReader(data), at: 20 << 20, f: s.Cut}
	if err := dial(t, s).Upload(soon(t), "~/big", r, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(s.Home + "/big"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if info, err := os.Stat(s.Home + "/big"); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("%v %v", info, err)
	}
	if r.times.Load() < 3 || s.Accepted() < 2 {
		t.Errorf("read %d times, %d connections: nothing was cut", r.times.Load(), s.Accepted())
	}
}

// TestSSHDamaged: what arrives otherwise than it was sent takes nothing's place.
func TestSSHDamaged(t *testing.T) {
	s := sshtest.New(t)
	if err := os.WriteFile(s.Home+"/f", []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dial(t, s).Upload(soon(t), "f", &fickle{}, 4); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("damaged: %v", err)
	}
	if b, err := os.ReadFile(s.Home + "/f"); string(b) != "before" {
		t.Errorf("%q %v", b, err)
	}
	if list, err := os.ReadDir(s.Home); err != nil || len(list) != 1 {
		t.Errorf("left over: %v %v", list, err)
	}
}

// fickle reads otherwise every time.
type fickle struct{ n atomic.Int32 }

func (f *fickle) ReadAt(p []byte, at int64) (int, error) {
	n := copy(p, strings.Repeat(string(rune('a'+f.n.Add(1))), 4)[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func TestSSHOutput(t *testing.T) {
	s := sshtest.New(t)
	c := dial(t, s)
	var got said
	code, err := c.Run(soon(t), sh("binary", `printf 'a\000b\377\r\nO 5\nX 9\n'; printf '\n\nü'`), got.out)
	if want := "stdout: a\x00b\ufffd\nstdout: O 5\nstdout: X 9\nstdout: \nstdout: \nstdout: ü"; err != nil || code != 0 || got.text() != want {
		t.Errorf("%d %v %q", code, err, got.text())
	}
	n, bytes := 0, 0
	code, err = c.Run(soon(t), sh("ten", "head -c 10485760 /dev/zero | tr '\\0' x; exit 200"), func(_, line string) { n++; bytes += len(line) })
	if err != nil || code != 200 || bytes != 10<<20 || n > 200 {
		t.Errorf("one line of 10 MB: %d %v, %d bytes in %d pieces", code, err, bytes, n)
	}
}

func TestSSHNoSFTP(t *testing.T) {
	s := sshtest.New(t)
	for name, f := range map[string]func(*sshtest.Options){
		"not there": func(o *sshtest.Options) { o.NoSFTP = true },
		"dies":      func(o *sshtest.Options) { o.NoSFTP, o.SFTPDies = false, true },
	} {
		s.SetOptions(f)
		if err := dial(t, s).Upload(soon(t), "f", strings.NewReader("x"), 1); err == nil || !strings.Contains(err.Error(), "needs the subsystem sftp") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := dial(t, s).Upload(soon(t), "f/", strings.NewReader("x"), 1); err == nil || !strings.Contains(err.Error(), "names a folder") {
		t.Errorf("a folder's name: %v", err)
	}
}

// TestSSHSilent: what accepts connections and says nothing ends with the context.
func TestSSHSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	c, err := communicator.NewSSH(communicator.SSHConfig{Address: l.Addr().String(), User: "u", Password: sshtest.Password, Clock: &sshtest.Clock{}, Dir: "/nonexistent"})
	if err != nil {
		t.Fatal(err)
	}
	reason := errors.New("the reason of this test")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { _, err := c.Ready(ctx); done <- err }()
	defer (<-accepted).Close()
	cancel(reason)
	select {
	case err := <-done:
		if !errors.Is(err, reason) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for what says nothing")
	}
}
