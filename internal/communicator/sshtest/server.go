// Package sshtest is an SSH server for tests: a guest whose programs are this computer's own, run by its sh in a folder of their own,
// with SFTP. It can do what real guests do at the wrong moment: drop connections, hang, show another host key, refuse.
package sshtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Password is the account's; it is for tests only.
const Password = "test-secret-not-real"

// Answer is to Options.Questions.
const Answer = "answer-test-secret-not-real"

// User is the account's name.
const User = "builder"

// Options are how the server behaves; SetOptions changes them for connections and commands to come.
type Options struct {
	HostKeys     []ssh.Signer  // one of ed25519 if none
	Key          ssh.PublicKey // let in besides the password; nil: none
	NoPassword   bool          // refuses every password
	MaxAuthTries int           // as sshd's MaxAuthTries; 0: the library's
	Penalty      int           // so many connections are dropped after one that was refused (sshd's PerSourcePenalties)
	NoSFTP       bool          // has no such subsystem
	SFTPDies     bool          // has it in its settings, but the program is missing
	Greeting     string        // what the account's start files print before every command
	Path         []string      // folders in front of PATH
	Authority    ssh.PublicKey // whose user certificates are let in; nil: none's
	Questions    []string      // asked besides the password by keyboard-interactive; each answer is Answer
	Ciphers      []string      // that it offers; nil: the library's
	KeyExchange  []string      // likewise
	NoForwarding bool          // as AllowTcpForwarding no
	// Forward opens what a client wants to be connected to; nil: the network.
	Forward func(addr string) (net.Conn, error)
	// Lose is asked before the exit code of the n-th command (from 1) is sent; true ends all connections instead.
	Lose func(n int) bool
}

// Server is a running server.
type Server struct {
	Home string // where commands begin and relative paths of SFTP; also HOME
	t    testing.TB
	addr string

	mu       sync.Mutex
	l        net.Listener
	o        Options
	conns    map[*conn]bool
	penalty  int
	commands int
	accepted int
	forwards int
	logins   []string
}

// New starts a server on a loopback port that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{Home: t.TempDir(), t: t, conns: map[*conn]bool{}, o: Options{HostKeys: []ssh.Signer{HostKey(t, "ed25519")}}}
	s.listen("127.0.0.1:0")
	t.Cleanup(func() {
		s.Stop()
		s.Cut()
	})
	return s
}

// HostKey makes a host key: ed25519 or rsa.
func HostKey(t testing.TB, kind string) ssh.Signer {
	t.Helper()
	var key any
	var err error
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		t.Fatalf("no kind of host key: %q", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// PublicKey reads a line of authorized_keys.
func PublicKey(t testing.TB, line string) ssh.PublicKey {
	t.Helper()
	k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Addr is where it listens, or did before Stop.
func (s *Server) Addr() string { return s.addr }

// SetOptions changes how it behaves.
func (s *Server) SetOptions(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.o)
}

func (s *Server) options() Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.o
}

// Accepted is how many connections there were so far.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Commands is how many commands were begun so far.
func (s *Server) Commands() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commands
}

// Forwards is how many connections it was asked to open so far.
func (s *Server) Forwards() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forwards
}

// Logins tells by what each connection was let in: "publickey", "certificate", "password" or "keyboard-interactive".
func (s *Server) Logins() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.logins...)
}

// Stop ends listening; connections stay.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.l.Close() //nolint:errcheck // it is closed, or was
}

// Start listens again where it did.
func (s *Server) Start() { s.t.Helper(); s.listen(s.addr) }

func (s *Server) listen(addr string) {
	s.t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.l, s.addr = l, l.Addr().String()
	s.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if k := s.admit(c); k != nil {
				go s.serve(k)
			}
		}
	}()
}

func (s *Server) admit(c net.Conn) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted++
	if s.penalty > 0 {
		s.penalty--
		c.Close() //nolint:errcheck // that is the point
		return nil
	}
	k := &conn{Conn: c, frozen: make(chan struct{}), closed: make(chan struct{})}
	s.conns[k] = true
	return k
}

// Cut ends every connection without a word; what runs goes on.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close() //nolint:errcheck // that is the point
		delete(s.conns, c)
	}
}

// Freeze makes every connection there is silent, neither read nor written nor closed, as those to a machine that was cut off.
func (s *Server) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.freeze()
	}
}

// conn can be frozen.
type conn struct {
	net.Conn
	frozen, closed chan struct{}
	once, end      sync.Once
}

func (c *conn) freeze() { c.once.Do(func() { close(c.frozen) }) }

// Close ends it, frozen or not.
func (c *conn) Close() error {
	c.end.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *conn) wait() {
	select {
	case <-c.frozen:
		<-c.closed
	default:
	}
}

// Read reads, unless the connection is frozen.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wait()
	return n, err
}

// Write writes, unless the connection is frozen.
func (c *conn) Write(b []byte) (int, error) {
	c.wait()
	return c.Conn.Write(b)
}

func (s *Server) serve(c *conn) {
	o := s.options()
	by := func(how string) (*ssh.Permissions, error) {
		return &ssh.Permissions{Extensions: map[string]string{"by": how}}, nil
	}
	refused := errors.New("refused")
	checker := &ssh.CertChecker{IsUserAuthority: func(k ssh.PublicKey) bool {
		return o.Authority != nil && bytes.Equal(k.Marshal(), o.Authority.Marshal())
	}}
	config := &ssh.ServerConfig{MaxAuthTries: o.MaxAuthTries, Config: ssh.Config{Ciphers: o.Ciphers, KeyExchanges: o.KeyExchange},
		PublicKeyCallback: func(m ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			if m.User() != User {
				return nil, refused
			}
			if cert, ok := k.(*ssh.Certificate); ok {
				if !checker.IsUserAuthority(cert.SignatureKey) || checker.CheckCert(User, cert) != nil {
					return nil, refused
				}
				return by("certificate")
			}
			if o.Key != nil && bytes.Equal(k.Marshal(), o.Key.Marshal()) {
				return by("publickey")
			}
			return nil, refused
		},
	}
	if len(o.Questions) == 0 {
		config.PasswordCallback = func(m ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
			if !o.NoPassword && m.User() == User && string(p) == Password {
				return by("password")
			}
			return nil, refused
		}
	} else {
		config.KeyboardInteractiveCallback = func(m ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "Sign in", append([]string{"Password: "}, o.Questions...), make([]bool, 1+len(o.Questions)))
			if err != nil || m.User() != User || answers[0] != Password {
				return nil, refused
			}
			for _, a := range answers[1:] {
				if a != Answer {
					return nil, refused
				}
			}
			return by("keyboard-interactive")
		}
	}
	for _, k := range o.HostKeys {
		config.AddHostKey(k)
	}
	server, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		c.Close() //nolint:errcheck // the handshake's error is the client's to judge
		s.mu.Lock()
		delete(s.conns, c)
		s.penalty = o.Penalty
		s.mu.Unlock()
		return
	}
	s.mu.Lock()
	s.logins = append(s.logins, server.Permissions.Extensions["by"])
	s.mu.Unlock()
	go s.requests(server, requests)
	a := &lentAgent{server: server}
	defer a.close()
	for n := range channels {
		switch n.ChannelType() {
		case "session":
		case "direct-tcpip":
			go s.direct(n)
			continue
		default:
			n.Reject(ssh.UnknownChannelType, "only sessions and forwarding") //nolint:errcheck // the connection shows it
			continue
		}
		ch, requests, err := n.Accept()
		if err != nil {
			return
		}
		go s.session(ch, requests, a)
	}
}

func (s *Server) session(ch ssh.Channel, requests <-chan *ssh.Request, a *lentAgent) {
	defer ch.Close() //nolint:errcheck // it may be closed
	for r := range requests {
		var p struct{ Text string }
		if len(r.Payload) > 0 && ssh.Unmarshal(r.Payload, &p) != nil {
			r.Reply(false, nil) //nolint:errcheck // the connection shows it
			continue
		}
		o := s.options()
		switch {
		case r.Type == "exec":
			r.Reply(true, nil) //nolint:errcheck // the connection shows it
			go ssh.DiscardRequests(requests)
			s.command(ch, p.Text, o, a)
			return
		case r.Type == "auth-agent-req@openssh.com":
			r.Reply(!o.NoForwarding && a.open(), nil) //nolint:errcheck // the connection shows it
		case r.Type == "subsystem" && p.Text == "sftp" && !o.NoSFTP:
			r.Reply(true, nil) //nolint:errcheck // the connection shows it
			if o.SFTPDies {
				exited(ch, 127)
				return
			}
			go ssh.DiscardRequests(requests)
			if f, err := sftp.NewServer(ch, sftp.WithServerWorkingDirectory(s.Home)); err == nil {
				f.Serve() //nolint:errcheck // it ends with the channel
			}
			return
		default:
			r.Reply(false, nil) //nolint:errcheck // the connection shows it
		}
	}
}

// command runs a command line as sshd does: by the account's shell, in its home. It is not ended with its connection.
func (s *Server) command(ch ssh.Channel, line string, o Options, a *lentAgent) {
	s.mu.Lock()
	s.commands++
	n := s.commands
	s.mu.Unlock()
	c := exec.Command("sh", "-c", line)
	path := os.Getenv("PATH")
	for i := len(o.Path) - 1; i >= 0; i-- {
		path = o.Path[i] + string(filepath.ListSeparator) + path
	}
	c.Dir, c.Env = s.Home, append(os.Environ(), "HOME="+s.Home, "PATH="+path)
	if socket := a.socket(); socket != "" {
		c.Env = append(c.Env, "SSH_AUTH_SOCK="+socket)
	}
	c.Stdin, c.Stdout, c.Stderr = ch, ch, ch.Stderr()
	c.WaitDelay = time.Second // what it leaves behind may hold its pipes
	if o.Greeting != "" {
		ch.Write([]byte(o.Greeting)) //nolint:errcheck // the connection shows it
	}
	code := uint32(255)
	if err := c.Run(); c.ProcessState != nil {
		code = uint32(c.ProcessState.ExitCode()) //nolint:gosec // -1 of a signal is as good as any
	} else {
		ch.Stderr().Write([]byte(err.Error())) //nolint:errcheck // as above
	}
	if o.Lose != nil && o.Lose(n) {
		s.Cut()
		return
	}
	exited(ch, code)
}

func exited(ch ssh.Channel, code uint32) {
	ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code})) //nolint:errcheck // the connection shows it
}
