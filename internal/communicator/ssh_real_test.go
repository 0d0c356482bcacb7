package communicator_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/internal/communicator"
	"ingot/internal/communicator/sshtest"
)

// sshd starts this computer's own OpenSSH server on a loopback port; lines are further settings. The one account is who runs the test, and
// private its key.
type sshd struct {
	addr, user, dir string
	private         []byte
	public          ssh.PublicKey
	host            string // its key as a line of authorized_keys
	log             *bytes.Buffer
}

func realServer(t *testing.T, lines ...string) *sshd {
	t.Helper()
	program, err := exec.LookPath("sshd")
	if err != nil {
		if program = "/usr/sbin/sshd"; !exists(program) {
			t.Skip("there is no sshd on this computer (Debian: openssh-server)")
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if me.Uid == "0" { // sshd, as root, wants its empty folder
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatalf("sshd cannot start: %v", err)
		}
	}
	s := &sshd{dir: t.TempDir(), user: me.Username, log: &bytes.Buffer{}}
	write := func(name string, data []byte) string {
		path := filepath.Join(s.dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hostKey, hostPublic, err := communicator.NewSSHKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	var public string
	if s.private, public, err = communicator.NewSSHKey("rsa", 2048); err != nil {
		t.Fatal(err)
	}
	s.host, s.public = hostPublic, sshtest.PublicKey(t, public)
	port := freePort(t)
	s.addr = fmt.Sprintf("127.0.0.1:%d", port)
	// Later lines of the same name count for nothing: the test's own come first.
	config := append(lines, fmt.Sprintf("Port %d", port), "ListenAddress 127.0.0.1", "HostKey "+write("host", hostKey), "PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin yes",
		"AuthorizedKeysFile "+write("authorized_keys", []byte(public+"\n")), "Subsystem sftp internal-sftp", "LogLevel VERBOSE")
	cmd := exec.Command(program, "-D", "-e", "-f", write("config", []byte(strings.Join(config, "\n")+"\n")))
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // killed
		if t.Failed() {
			t.Logf("sshd says:\n%s", s.log)
		}
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { // another process: nothing tells when it listens
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close() //nolint:errcheck // it was to see
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("sshd does not listen:\n%s", s.log)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// reach makes a client of it.
func (s *sshd) reach(t *testing.T, more ...func(*communicator.SSHConfig)) *communicator.SSH {
	t.Helper()
	c := communicator.SSHConfig{Address: s.addr, User: s.user, Key: s.private, HostKey: s.host, Clock: &sshtest.Clock{}, Dir: filepath.Join(t.TempDir(), "run")}
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

// TestRealSSH: OpenSSH's own server lets us in by all the ways that need no account of its own, and copies by both.
func TestRealSSH(t *testing.T) {
	authority := sshtest.HostKey(t, "ed25519")
	ca := filepath.Join(t.TempDir(), "ca.pub")
	if err := os.WriteFile(ca, ssh.MarshalAuthorizedKey(authority.PublicKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := realServer(t, "TrustedUserCAKeys "+ca)
	other, otherPublic, err := communicator.NewSSHKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	cert := &ssh.Certificate{Key: sshtest.PublicKey(t, otherPublic), CertType: ssh.UserCert, ValidPrincipals: []string{s.user}, ValidBefore: ssh.CertTimeInfinity,
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": "", "permit-port-forwarding": "", "permit-agent-forwarding": ""}}}
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParseRawPrivateKey(s.private)
	if err != nil {
		t.Fatal(err)
	}
	decoys := []any{}
	for range 3 {
		k, _ := newKey(t)
		decoys = append(decoys, k)
	}
	agent := keyring(t, append(decoys, key)...)
	for name, use := range map[string]func(*communicator.SSHConfig){
		"an RSA key":    func(*communicator.SSHConfig) {},
		"a certificate": func(c *communicator.SSHConfig) { c.Key, c.Certificate = other, ssh.MarshalAuthorizedKey(cert) },
		"an agent":      func(c *communicator.SSHConfig) { c.Key, c.Agent, c.AgentKey = nil, agent, line(s.public) },
		"ciphers": func(c *communicator.SSHConfig) {
			c.Ciphers, c.KeyExchange = []string{"aes192-ctr"}, []string{"diffie-hellman-group14-sha256"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got said
			if code, err := s.reach(t, use).Run(soon(t), sh("a", "echo in; exit 3"), got.out); err != nil || code != 3 || got.text() != "stdout: in" {
				t.Errorf("%d %v %q", code, err, got.text())
			}
		})
	}
	data := make([]byte, 3<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	for name, scp := range map[string]bool{"sftp": false, "scp": true} {
		t.Run(name, func(t *testing.T) {
			x, path := s.reach(t, func(c *communicator.SSHConfig) { c.SCP = scp }), filepath.Join(t.TempDir(), "a b", "f")
			var back bytes.Buffer
			if err := x.Upload(soon(t), path, bytes.NewReader(data), int64(len(data))); err != nil {
				t.Fatal(err)
			}
			if err := x.Download(soon(t), path, &back); err != nil || !bytes.Equal(back.Bytes(), data) {
				t.Errorf("%v, %d bytes", err, back.Len())
			}
		})
	}
	t.Run("forwarding", func(t *testing.T) {
		local, remote := freePort(t), freePort(t)
		x := s.reach(t, func(c *communicator.SSHConfig) {
			c.Agent, c.ForwardAgent = agent, true
			c.LocalTunnels = []string{fmt.Sprintf("%d:127.0.0.1:%d", local, echo(t, "the guest's"))}
			c.RemoteTunnels = []string{fmt.Sprintf("%d:127.0.0.1:%d", remote, echo(t, "ours"))}
		})
		var got said
		if _, err := x.Run(soon(t), sh("a", "ssh-add -L | wc -l"), got.out); err != nil || strings.TrimSpace(got.text()) != "stdout: 4" {
			t.Errorf("agent: %v %q", err, got.text())
		}
		if a, b := read(t, local), read(t, remote); a != "the guest's" || b != "ours" {
			t.Errorf("tunnels: %q %q", a, b)
		}
	})
}

// TestRealBastion goes through OpenSSH's server to another one, and is told when it forwards nothing.
func TestRealBastion(t *testing.T) {
	guest := realServer(t)
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"forwards":                {nil, ""},
		"forwards nothing":        {[]string{"AllowTcpForwarding no"}, "AllowTcpForwarding"},
		"forwards elsewhere only": {[]string{"PermitOpen 192.0.2.1:22"}, "PermitOpen"},
	} {
		t.Run(name, func(t *testing.T) {
			gate := realServer(t, c.lines...)
			x := guest.reach(t, func(s *communicator.SSHConfig) {
				s.Bastion = &communicator.SSHBastion{Address: gate.addr, User: gate.user, Key: gate.private, HostKey: gate.host}
			})
			var got said
			code, err := x.Run(soon(t), sh("a", "echo $SSH_CONNECTION; exit 3"), got.out)
			if c.want == "" && (err != nil || code != 3) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%d %v %q", code, err, got.text())
			}
		})
	}
}
