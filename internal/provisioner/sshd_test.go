package provisioner

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"testing"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/communicator/sshtest"
)

// sshd is a real OpenSSH server on a port of the loopback, whose only account is whoever runs the test.
type sshd struct {
	home, hostKey string
	user          string
	port          int
	key           []byte
}

// startSSHD starts one; the test is skipped where it is not installed.
func startSSHD(t *testing.T) *sshd {
	t.Helper()
	const program = "/usr/sbin/sshd"
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%s is not installed (Debian: openssh-server)", program)
	}
	needs(t, "ssh")
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if u.Uid == "0" { // its privilege separation wants this folder
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatalf("cannot start %s: %v", program, err)
		}
	}
	dir, err := os.MkdirTemp("", "ingot-sshd-") // a test's own folder is in a folder that sshd would not trust
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // in the temporary folder
	s := &sshd{home: dir + "/home", user: u.Username}
	host, hostPublic, err := communicator.NewSSHKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	private, public, err := communicator.NewSSHKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	s.hostKey, s.key = hostPublic, []byte(private)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	l.Close() //nolint:errcheck // only its number was wanted
	write(t, dir+"/host", string(host), 0o600)
	write(t, dir+"/authorized", string(public)+"\n", 0o600)
	write(t, s.home+"/x", "", 0o600)
	config := fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s/host\nAuthorizedKeysFile %s/authorized\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"+
		"StrictModes no\nUsePAM no\nPidFile none\nPrintMotd no\nSubsystem sftp internal-sftp\nSetEnv HOME=%s\nLogLevel ERROR\n", s.port, dir, dir, s.home)
	write(t, dir+"/config", config, 0o600)
	var said bytes.Buffer
	c := exec.Command(program, "-D", "-e", "-f", dir+"/config")
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatalf("cannot start %s: %v", program, err)
	}
	t.Cleanup(func() {
		c.Process.Kill() //nolint:errcheck // it may have ended
		c.Wait()         //nolint:errcheck // killed
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) { // another process is being waited for
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			conn.Close() //nolint:errcheck // it listens
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %s", program, said.String())
		}
	}
}

// connection is how programs of this machine reach it.
func (s *sshd) connection() Connection {
	return Connection{Kind: "ssh", Host: "127.0.0.1", Port: s.port, User: s.user, Key: s.key, HostKey: s.hostKey,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		}}
}

// env is that of a step in it.
func (s *sshd) env(t *testing.T, id string, out func(stream, line string)) *Env {
	t.Helper()
	clock := &sshtest.Clock{}
	c, err := communicator.NewSSH(communicator.SSHConfig{Address: fmt.Sprintf("127.0.0.1:%d", s.port), User: s.user, Key: s.key, HostKey: s.hostKey, Clock: clock, Dir: s.home + "/run-" + id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // the test is over
	return &Env{Comm: c, Clock: clock, StepID: id, Vars: map[string]string{"PACKER_BUILD_NAME": "b", "PACKER_BUILDER_TYPE": "azure-arm"}, Output: out,
		Connection: func(context.Context) (Connection, error) { return s.connection(), nil }}
}
