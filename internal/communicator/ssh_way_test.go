package communicator_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"ingot/internal/communicator"
	"ingot/internal/communicator/sshtest"
)

// through makes a client of guest that goes through gate.
func through(t *testing.T, gate, guest *sshtest.Server, more ...func(*communicator.SSHBastion)) *communicator.SSH {
	t.Helper()
	b := &communicator.SSHBastion{Address: gate.Addr(), User: sshtest.User, Password: sshtest.Password}
	for _, f := range more {
		f(b)
	}
	return dial(t, guest, func(c *communicator.SSHConfig) { c.Bastion, c.KeepAlive = b, time.Second })
}

// TestSSHBastion: scripts and files go through it, and its connection is made again when it breaks.
func TestSSHBastion(t *testing.T) {
	gate, guest := sshtest.New(t), sshtest.New(t)
	x := through(t, gate, guest)
	var got said
	if code, err := x.Run(soon(t), sh("a", "echo through"), got.out); err != nil || code != 0 || got.text() != "stdout: through" {
		t.Fatalf("%d %v %q", code, err, got.text())
	}
	if gate.Forwards() != 1 || gate.Commands() != 0 || guest.Commands() == 0 {
		t.Errorf("%d connections forwarded, %d commands on the bastion, %d in the guest", gate.Forwards(), gate.Commands(), guest.Commands())
	}
	cut := said{hear: func(line string) {
		if line == "cut" {
			gate.Cut()
		}
	}}
	if code, err := x.Run(soon(t), sh("b", "echo cut; sleep 0.3; echo end; exit 3"), cut.out); err != nil || code != 3 || cut.text() != "stdout: cut\nstdout: end" {
		t.Errorf("cut off: %d %v %q", code, err, cut.text())
	}
	if err := x.Upload(soon(t), guest.Home+"/f", strings.NewReader("x"), 1); err != nil {
		t.Error(err)
	}
	// Silent, as a bastion that was cut off: the signs of life end it.
	frozen := said{hear: func(line string) {
		if line == "freeze" {
			gate.Freeze()
		}
	}}
	if code, err := x.Run(soon(t), sh("c", "echo freeze; sleep 0.3; echo end"), frozen.out); err != nil || code != 0 || frozen.text() != "stdout: freeze\nstdout: end" {
		t.Errorf("frozen: %d %v %q", code, err, frozen.text())
	}
}

// TestSSHBastionLate: the guest's port opens later than the bastion is there.
func TestSSHBastionLate(t *testing.T) {
	gate, guest := sshtest.New(t), sshtest.New(t)
	guest.Stop()
	x := through(t, gate, guest)
	done := make(chan error, 1)
	go func() { _, err := x.Ready(soon(t)); done <- err }()
	for gate.Forwards() < 3 {
		time.Sleep(5 * time.Millisecond)
	}
	guest.Start()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestSSHBastionRefuses: what will never work ends at once and says why.
func TestSSHBastionRefuses(t *testing.T) {
	guest := sshtest.New(t)
	for name, c := range map[string]struct {
		gate func(*sshtest.Options)
		use  func(*communicator.SSHBastion)
		want string
	}{
		"a wrong password": {nil, func(b *communicator.SSHBastion) { b.Password = "wrong-test-secret-not-real" }, "lets nobody in as builder"},
		"no forwarding":    {func(o *sshtest.Options) { o.NoForwarding = true }, nil, "AllowTcpForwarding"},
		"another host key": {nil, func(b *communicator.SSHBastion) { b.HostKey = line(sshtest.HostKey(t, "ed25519").PublicKey()) }, "another host key"},
		"nobody answers a person": {func(o *sshtest.Options) { o.Questions = []string{"Code: "} }, func(b *communicator.SSHBastion) {
			b.Ask = func(string, bool) (string, error) { return "", errors.New("no terminal") }
		}, "nobody answers"},
		"no agent": {nil, func(b *communicator.SSHBastion) { b.Password, b.Agent = "", filepath.Join(t.TempDir(), "none") }, "SSH_AUTH_SOCK"},
	} {
		gate := sshtest.New(t)
		if c.gate != nil {
			gate.SetOptions(c.gate)
		}
		use := func(*communicator.SSHBastion) {}
		if c.use != nil {
			use = c.use
		}
		begun := time.Now()
		_, err := through(t, gate, guest, use).Ready(soon(t))
		if err == nil || !strings.Contains(err.Error(), c.want) || time.Since(begun) > 10*time.Second {
			t.Errorf("%s: %v after %s", name, err, time.Since(begun))
		}
		if err != nil && strings.Contains(err.Error(), "test-secret") {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
}

// TestSSHBastionAsks: a second factor is asked for.
func TestSSHBastionAsks(t *testing.T) {
	gate, guest := sshtest.New(t), sshtest.New(t)
	gate.SetOptions(func(o *sshtest.Options) { o.Questions = []string{"Code: "} })
	var asked []string
	x := through(t, gate, guest, func(b *communicator.SSHBastion) {
		b.Password = ""
		b.Ask = func(prompt string, _ bool) (string, error) {
			asked = append(asked, prompt)
			if strings.HasSuffix(prompt, "Password: ") {
				return sshtest.Password, nil
			}
			return sshtest.Answer, nil
		}
	})
	if _, err := x.Ready(soon(t)); err != nil || strings.Join(asked, "|") != "Sign in\nPassword: |Code: " {
		t.Errorf("%v; asked %q", err, asked)
	}
	if got := gate.Logins(); len(got) != 1 || got[0] != "keyboard-interactive" {
		t.Errorf("let in by %v", got)
	}
}

func line(k ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) }

// TestSSHBastionKnown: a bastion that known_hosts knows must be that one; another one is trusted when it is seen first.
func TestSSHBastionKnown(t *testing.T) {
	guest := sshtest.New(t)
	file := filepath.Join(t.TempDir(), "known_hosts")
	rsa, other := sshtest.HostKey(t, "rsa"), sshtest.HostKey(t, "ed25519")
	gate := sshtest.New(t)
	gate.SetOptions(func(o *sshtest.Options) { o.HostKeys = []ssh.Signer{other, rsa} })
	write := func(k ssh.PublicKey) {
		if err := os.WriteFile(file, []byte(knownhosts.Line([]string{gate.Addr()}, k)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var pinned []string
	use := func(b *communicator.SSHBastion) {
		b.KnownHosts, b.Pinned = file, func(k string) error { pinned = append(pinned, k); return nil }
	}
	write(rsa.PublicKey()) // the kind that is known is asked for, although the other one comes first
	if _, err := through(t, gate, guest, use).Ready(soon(t)); err != nil || len(pinned) != 1 || pinned[0] != line(rsa.PublicKey()) {
		t.Errorf("known: %v, pinned %v", err, pinned)
	}
	write(sshtest.HostKey(t, "ed25519").PublicKey())
	if _, err := through(t, gate, guest, use).Ready(soon(t)); err == nil || !strings.Contains(err.Error(), "ssh-keygen -R") {
		t.Errorf("known as another: %v", err)
	}
	pinned = nil
	if err := os.WriteFile(file, []byte("elsewhere.example "+line(rsa.PublicKey())+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := through(t, gate, guest, use).Ready(soon(t)); err != nil || len(pinned) != 1 {
		t.Errorf("unknown: %v, pinned %v", err, pinned)
	}
}

// keyring is an SSH agent with those private keys.
func keyring(t *testing.T, keys ...any) (socket string) {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(agent.AddedKey{PrivateKey: k}); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "agent") // the name of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // what is left is empty
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) //nolint:errcheck // the test is over
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, c) //nolint:errcheck // it ends with its client
		}
	}()
	return filepath.Join(dir, "s")
}

func newKey(t *testing.T) (ed25519.PrivateKey, ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return private, k
}

// TestSSHAgent: of many keys the right one is offered first, since servers count, and scripts find the agent when it is forwarded.
func TestSSHAgent(t *testing.T) {
	guest := sshtest.New(t)
	var keys []any
	var last ssh.PublicKey
	for range 8 {
		private, public := newKey(t)
		keys, last = append(keys, private), public
	}
	socket := keyring(t, keys...)
	guest.SetOptions(func(o *sshtest.Options) { o.Key, o.NoPassword, o.MaxAuthTries = last, true, 6 })
	use := func(c *communicator.SSHConfig) {
		c.Password, c.Agent, c.AgentKey, c.ForwardAgent = "", socket, line(last), true
	}
	x := dial(t, guest, use)
	list := `ssh-add -L 2>&1 | grep -c ssh-ed25519`
	var got said
	if code, err := x.Run(soon(t), sh("a", list), got.out); err != nil || code != 0 || got.text() != "stdout: 8" {
		t.Errorf("forwarded: %d %v %q", code, err, got.text())
	}
	guest.Cut() // the next connection has another socket in the guest
	var again said
	if code, err := x.Run(soon(t), sh("b", list), again.out); err != nil || code != 0 || again.text() != "stdout: 8" {
		t.Errorf("after a new connection: %d %v %q", code, err, again.text())
	}
	if err := x.Discard(soon(t)); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(guest.Home + "/run*"); err != nil || left != nil {
		t.Errorf("left in the guest: %v %v", left, err)
	}
	var plain said
	if _, err := dial(t, guest, use, func(c *communicator.SSHConfig) { c.ForwardAgent = false }).Run(soon(t), sh("c", `echo "[${SSH_AUTH_SOCK#`+os.Getenv("SSH_AUTH_SOCK")+`}]"`), plain.out); err != nil || plain.text() != "stdout: []" {
		t.Errorf("not forwarded: %v %q", err, plain.text())
	}
	if _, err := dial(t, guest, use, func(c *communicator.SSHConfig) { c.AgentKey, c.Handshakes = "", 2 }).Ready(soon(t)); !errors.Is(err, communicator.ErrAuth) {
		t.Errorf("eight keys in no order get in where six are tried: %v", err)
	}
	if k, err := communicator.AgentKey(socket); err != nil || !strings.HasPrefix(k, "ssh-ed25519 ") {
		t.Errorf("the key for the machine: %q %v", k, err)
	}
}

// TestSSHCertificate: of a file's key and of an agent's; one of another key is refused before anything is dialled.
func TestSSHCertificate(t *testing.T) {
	authority := sshtest.HostKey(t, "ed25519")
	private, public, err := communicator.NewSSHKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(k ssh.PublicKey, kind uint32) []byte {
		c := &ssh.Certificate{Key: k, CertType: kind, ValidPrincipals: []string{sshtest.User}, ValidBefore: ssh.CertTimeInfinity}
		if err := c.SignCert(rand.Reader, authority); err != nil {
			t.Fatal(err)
		}
		return ssh.MarshalAuthorizedKey(c)
	}
	cert := sign(sshtest.PublicKey(t, public), ssh.UserCert)
	guest := sshtest.New(t)
	guest.SetOptions(func(o *sshtest.Options) { o.Authority, o.NoPassword = authority.PublicKey(), true })
	if _, err := dial(t, guest, func(c *communicator.SSHConfig) { c.Password, c.Key, c.Certificate = "", private, cert }).Ready(soon(t)); err != nil {
		t.Error(err)
	}
	held, heldPublic := newKey(t)
	socket := keyring(t, held)
	if _, err := dial(t, guest, func(c *communicator.SSHConfig) {
		c.Password, c.Agent, c.Certificate = "", socket, sign(heldPublic, ssh.UserCert)
	}).Ready(soon(t)); err != nil {
		t.Error(err)
	}
	if got := guest.Logins(); len(got) != 2 || got[0] != "certificate" || got[1] != "certificate" {
		t.Errorf("let in by %v", got)
	}
	_, another := newKey(t)
	for name, bad := range map[string][]byte{"another key's": sign(another, ssh.UserCert), "a host's": sign(sshtest.PublicKey(t, public), ssh.HostCert), "a public key": []byte(public), "nothing": []byte("x")} {
		if err := communicator.CheckSSHKey(private, bad); err == nil {
			t.Errorf("%s certificate is taken", name)
		}
	}
}

// TestSSHAlgorithms: what the template names is what is used.
func TestSSHAlgorithms(t *testing.T) {
	guest := sshtest.New(t)
	guest.SetOptions(func(o *sshtest.Options) {
		o.Ciphers, o.KeyExchange = []string{"aes256-ctr"}, []string{"ecdh-sha2-nistp384"}
	})
	if _, err := dial(t, guest, func(c *communicator.SSHConfig) {
		c.Ciphers, c.KeyExchange = []string{"aes256-ctr"}, []string{"ecdh-sha2-nistp384"}
	}).Ready(soon(t)); err != nil {
		t.Error(err)
	}
	for _, f := range []func(*communicator.SSHConfig){func(c *communicator.SSHConfig) { c.Ciphers = []string{"aes128-ctr"} }, func(c *communicator.SSHConfig) { c.KeyExchange = []string{"curve25519-sha256"} }} {
		if _, err := dial(t, guest, f).Ready(soon(t)); err == nil || !strings.Contains(err.Error(), "no common algorithm") {
			t.Errorf("nothing in common: %v", err)
		}
	}
	if got := communicator.UnknownSSHAlgorithms([]string{"aes256-ctr", "rot13"}, []string{"curve25519-sha256", "mind-reading"}); fmt.Sprint(got) != "[rot13 mind-reading]" {
		t.Error(got)
	}
}

// TestSSHHandshakes: the template's number of failures is borne, and no more.
func TestSSHHandshakes(t *testing.T) {
	guest := sshtest.New(t)
	guest.SetOptions(func(o *sshtest.Options) { o.NoPassword = true })
	if _, err := dial(t, guest, func(c *communicator.SSHConfig) { c.Handshakes = 3 }).Ready(soon(t)); !errors.Is(err, communicator.ErrAuth) || guest.Accepted() != 3 {
		t.Errorf("%d handshakes, %v", guest.Accepted(), err)
	}
}

// TestSSHSilence: a connection over which nothing goes is given up after the time that the template gives, and made again; the script
// does not notice.
func TestSSHSilence(t *testing.T) {
	guest := sshtest.New(t)
	var got said
	x := dial(t, guest, func(c *communicator.SSHConfig) { c.KeepAlive, c.Silence = -1, 300*time.Millisecond })
	code, err := x.Run(soon(t), sh("a", "echo one; sleep 1; echo two; exit 4"), got.out)
	if err != nil || code != 4 || got.text() != "stdout: one\nstdout: two" || guest.Accepted() < 3 {
		t.Errorf("%d %v %q, %d connections", code, err, got.text(), guest.Accepted())
	}
	kept := sshtest.New(t)
	y := dial(t, kept, func(c *communicator.SSHConfig) { c.KeepAlive, c.Silence = 5*time.Second, 300*time.Millisecond }) // the clock is a hundred times as fast
	if code, err := y.Run(soon(t), sh("a", "sleep 1; exit 4"), got.out); err != nil || code != 4 || kept.Accepted() != 1 {
		t.Errorf("with signs of life: %d %v, %d connections", code, err, kept.Accepted())
	}
}

// echo answers each connection with its own name.
func echo(t *testing.T, name string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) //nolint:errcheck // the test is over
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, name) //nolint:errcheck // the test sees it
			c.Close()               //nolint:errcheck // as above
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it is to be free
	return l.Addr().(*net.TCPAddr).Port
}

func read(t *testing.T, port int) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("localhost:%d", port), 5*time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()                                    //nolint:errcheck // only read
	c.SetReadDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // a test that hangs tells it
	b, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestSSHTunnels(t *testing.T) {
	guest := sshtest.New(t)
	local, remote := freePort(t), freePort(t)
	x := dial(t, guest, func(c *communicator.SSHConfig) {
		c.LocalTunnels = []string{fmt.Sprintf("%d:127.0.0.1:%d", local, echo(t, "the guest's"))}
		c.RemoteTunnels = []string{fmt.Sprintf("%d:127.0.0.1:%d", remote, echo(t, "ours"))}
	})
	if _, err := x.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if a, b := read(t, local), read(t, remote); a != "the guest's" || b != "ours" || guest.Forwards() == 0 {
			t.Errorf("%q %q, %d forwarded", a, b, guest.Forwards())
		}
		guest.Cut()
		for range 50 { // the port that the lost connection had may take a moment to be free
			if _, err := x.Ready(soon(t)); err == nil {
				break
			}
		}
	}
	if err := x.Close(); err != nil {
		t.Log(err)
	}
	if got := read(t, local); !strings.Contains(got, "refused") {
		t.Errorf("the port is open after the end: %q", got)
	}
	guest.SetOptions(func(o *sshtest.Options) { o.NoForwarding = true })
	if _, err := dial(t, guest, func(c *communicator.SSHConfig) {
		c.RemoteTunnels = []string{fmt.Sprintf("%d:127.0.0.1:1", freePort(t))}
	}).Ready(soon(t)); err == nil || !strings.Contains(err.Error(), "AllowTcpForwarding") {
		t.Errorf("a guest that allows none: %v", err)
	}
	for _, bad := range []string{"", "80", "80:host", "x:host:80", "80:host:0", "0:h:1", "80::81", "70000:h:1"} {
		if _, _, err := communicator.ParseTunnel(bad); err == nil {
			t.Errorf("tunnel %q is taken", bad)
		}
	}
}

// socks is a SOCKS5 server. It answers as RFC 1928 and 1929 have it; greeting may be sent along with its answer, as real ones do.
func socks(t *testing.T, user, password string, code byte) (addr string, names *atomic.Value) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) //nolint:errcheck // the test is over
	names = &atomic.Value{}
	serve := func(c net.Conn) error {
		defer c.Close() //nolint:errcheck // it is over
		b := make([]byte, 2)
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		methods := make([]byte, b[1])
		if _, err := io.ReadFull(c, methods); err != nil {
			return err
		}
		way := byte(0)
		if user != "" {
			way = 2
		}
		if !bytes.Contains(methods, []byte{way}) {
			way = 255
		}
		c.Write([]byte{5, way}) //nolint:errcheck // the client sees it
		if way == 2 {
			word := func() string {
				n := make([]byte, 1)
				io.ReadFull(c, n) //nolint:errcheck // the answer shows it
				w := make([]byte, n[0])
				io.ReadFull(c, w) //nolint:errcheck // as above
				return string(w)
			}
			io.ReadFull(c, b[:1]) //nolint:errcheck // as above
			bad := byte(0)
			if u, p := word(), word(); u != user || p != password {
				bad = 1
			}
			c.Write([]byte{1, bad}) //nolint:errcheck // the client sees it
			if bad != 0 {
				return nil
			}
		}
		head := make([]byte, 4)
		if _, err := io.ReadFull(c, head); err != nil {
			return err
		}
		n := map[byte]int{1: 4, 4: 16}[head[3]]
		if head[3] == 3 {
			io.ReadFull(c, b[:1]) //nolint:errcheck // as above
			n = int(b[0])
		}
		name, port := make([]byte, n), make([]byte, 2)
		io.ReadFull(c, name) //nolint:errcheck // as above
		io.ReadFull(c, port) //nolint:errcheck // as above
		host := string(name)
		if head[3] != 3 {
			host = net.IP(name).String()
		}
		names.Store(host)
		if host == "guest.internal" {
			host = "127.0.0.1"
		}
		out, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16(port))))
		if err != nil || code != 0 {
			c.Write([]byte{5, max(code, 5), 0, 1, 0, 0, 0, 0, 0, 0}) //nolint:errcheck // the client sees it
			return err
		}
		defer out.Close() //nolint:errcheck // it is over
		first := make([]byte, 1024)
		k, err := out.Read(first) // the server's greeting comes in one piece with the answer
		if err != nil {
			return err
		}
		c.Write(append([]byte{5, 0, 0, 3, 2, 'o', 'k', 0, 1}, first[:k]...)) //nolint:errcheck // the client sees it
		go io.Copy(out, c)                                                   //nolint:errcheck // it ends with either
		_, err = io.Copy(c, out)
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c) //nolint:errcheck // the client sees it
		}
	}()
	return l.Addr().String(), names
}

func TestSSHProxy(t *testing.T) {
	guest := sshtest.New(t)
	_, port, err := net.SplitHostPort(guest.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		proxyUser string
		code      byte
		use       communicator.SOCKS
		host      string
		want      string
	}{
		"open":               {host: "127.0.0.1"},
		"with a password":    {proxyUser: "me", use: communicator.SOCKS{User: "me", Password: "proxy-test-secret-not-real"}, host: "127.0.0.1"},
		"the proxy resolves": {host: "guest.internal"},
		"a wrong password":   {proxyUser: "me", use: communicator.SOCKS{User: "me", Password: "wrong-test-secret-not-real"}, host: "127.0.0.1", want: "refuses the user name or password"},
		"none given":         {proxyUser: "me", host: "127.0.0.1", want: "ssh_proxy_username"},
		"not allowed":        {code: 8, host: "127.0.0.1", want: "address type not supported"},
	} {
		addr, names := socks(t, c.proxyUser, "proxy-test-secret-not-real", c.code)
		c.use.Address = addr
		_, err := dial(t, guest, func(s *communicator.SSHConfig) { s.Address, s.Proxy = net.JoinHostPort(c.host, port), &c.use }).Ready(soon(t))
		if c.want == "" && (err != nil || names.Load() != c.host) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; it was asked for %v", name, err, names.Load())
		}
	}
}

// TestSSHCopy: scp brings what SFTP brings, through a connection that breaks too.
func TestSSHCopy(t *testing.T) {
	guest := sshtest.New(t)
	guest.SetOptions(func(o *sshtest.Options) { o.NoSFTP = true })
	x := dial(t, guest, func(c *communicator.SSHConfig) { c.SCP = true })
	big := make([]byte, 5<<20)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"empty": {}, "a b/ü'x": []byte("x"), "big": big} {
		path := guest.Home + "/" + name
		if err := x.Upload(soon(t), path, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(data), err)
		}
		var back bytes.Buffer
		if err := x.Download(soon(t), path, &back); err != nil || !bytes.Equal(back.Bytes(), data) {
			t.Errorf("%s: back %d bytes, %v", name, back.Len(), err)
		}
	}
	if err := x.Upload(soon(t), "~/in-home", strings.NewReader("x"), 1); err != nil {
		t.Error(err)
	} else if _, err := os.Stat(guest.Home + "/in-home"); err != nil {
		t.Error(err)
	}
	w := &cutWriter{cut: guest.Cut}
	if err := x.Download(soon(t), guest.Home+"/big", w); err != nil || !bytes.Equal(w.Bytes(), big) || w.n < 2 {
		t.Errorf("cut: %v, %d of %d bytes in %d pieces", err, w.Len(), len(big), w.n)
	}
	if err := x.Download(soon(t), guest.Home+"/none", io.Discard); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := x.Upload(soon(t), guest.Home, strings.NewReader("x"), 1); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("onto a folder: %v", err)
	}
	if left, err := filepath.Glob(guest.Home + "/.ingot-part-*"); err != nil || left != nil {
		t.Errorf("left over: %v %v", left, err)
	}
}

// cutWriter breaks the connection when it has got something.
type cutWriter struct {
	bytes.Buffer
	cut func()
	n   int
}

func (c *cutWriter) Write(b []byte) (int, error) {
	if c.n++; c.n == 1 {
		c.cut()
	}
	return c.Buffer.Write(b)
}

// TestSSHTerminal: what needs a terminal has one, and output, exit code and password are as without.
func TestSSHTerminal(t *testing.T) {
	guest := sshtest.New(t)
	bin := t.TempDir()
	// A sudo that does as one whose sudoers say requiretty; it takes the password from the program that -A means, else none.
	sudo := `#!/bin/sh
(: >/dev/tty) 2>/dev/null || { echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1; }
while [ $# -gt 0 ]; do case $1 in
-A) [ "$($SUDO_ASKPASS)" = "` + sshtest.Password + `" ] || { echo "sudo: wrong password" >&2; exit 1; }; shift ;;
-u) shift 2 ;;
-n|-H) shift ;;
*) break ;; esac; done
exec "$@"
`
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte(sudo), 0o700); err != nil {
		t.Fatal(err)
	}
	private, public, err := communicator.NewSSHKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	guest.SetOptions(func(o *sshtest.Options) { o.Path, o.Key = []string{bin}, sshtest.PublicKey(t, public) })
	for name, use := range map[string]func(*communicator.SSHConfig){
		"sudo without a password": func(c *communicator.SSHConfig) { c.Password, c.Key, c.Terminal = "", private, true },
		"sudo with a password":    func(c *communicator.SSHConfig) { c.Terminal = true },
	} {
		for _, user := range []string{"root", ""} {
			var got said
			x := sh("t-"+strings.ReplaceAll(name+user, " ", "-"), "echo $PPID >/dev/null; echo out $V; echo err >&2; sudo -n echo inner || exit 5; echo \"[$INGOT_D$INGOT_M]\"; exit 6")
			if name == "sudo with a password" {
				x.Text = strings.Replace(x.Text, "sudo -n echo inner || exit 5;", "(: >/dev/tty) && echo inner;", 1)
			}
			x.User, x.Env = user, map[string]string{"V": "it's"}
			code, err := dial(t, guest, use).Run(soon(t), x, got.out)
			if text := got.text(); err != nil || code != 6 || !strings.Contains(text, "stdout: out it's\n") || !strings.Contains(text, "stderr: err") || !strings.Contains(text, "stdout: inner") || !strings.Contains(text, "stdout: []") {
				t.Errorf("%s, as %q: %d %v\n%s", name, user, code, err, text)
			}
		}
	}
	if _, err := dial(t, guest, func(c *communicator.SSHConfig) { c.Password, c.Key = "", private }).Run(soon(t), communicator.Script{ID: "no", Shell: "sh", User: "root", Text: "true"}, func(string, string) {}); err == nil || !strings.Contains(err.Error(), "must have a tty") {
		t.Errorf("without one: %v", err)
	}
}

// TestSSHCancelled: a dial through a bastion that hangs ends with its context.
func TestSSHBastionCancelled(t *testing.T) {
	gate, guest := sshtest.New(t), sshtest.New(t)
	hang := make(chan struct{})
	defer close(hang)
	gate.SetOptions(func(o *sshtest.Options) {
		o.Forward = func(string) (net.Conn, error) { <-hang; return nil, errors.New("over") }
	})
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	begun := time.Now()
	if _, err := through(t, gate, guest).Ready(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}
