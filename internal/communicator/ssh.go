package communicator

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// SSHConfig is how to reach a guest by SSH.
type SSHConfig struct {
	Address  string // host:port
	User     string
	Key      []byte // private key, PEM; or
	Password string // with which sudo is asked too
	// HostKey is the guest's own key as a line of authorized_keys, without which it is not let in; "" trusts the first one that is seen.
	HostKey string
	// Pinned is told that first one before anything is sent to it; nil: nobody.
	Pinned func(hostKey string) error
	Dial   Dialer
	Clock  Clock
	Dir    string // folder in the guest for this build; made with mode 0700

	Certificate []byte // OpenSSH certificate of Key, or of a key that Agent holds
	Agent       string // socket of an SSH agent whose keys are offered; "" asks none
	AgentKey    string // line of authorized_keys: of the agent's keys the one to offer first
	// ForwardAgent lets the guest's scripts use the agent: SSH_AUTH_SOCK is set in them.
	ForwardAgent bool
	Ciphers      []string // that are offered, by OpenSSH's names; nil: the library's
	KeyExchange  []string // likewise
	// Handshakes is how many handshakes may fail, counted from one that succeeded; 0: any number within the patience for an account that
	// is being made (two minutes of refusals).
	Handshakes int
	// KeepAlive is how often a sign of life is asked for, 15 s by default; negative: never.
	KeepAlive time.Duration
	// Silence ends a connection over which nothing came or went for so long; 0: none is ended for that.
	Silence time.Duration
	// LocalTunnels are ports of this computer that lead to the guest's network, RemoteTunnels ports of the guest that lead to this computer's:
	// "port:host:port", as OpenSSH's -L and -R have them.
	LocalTunnels, RemoteTunnels []string
	// SCP copies files with scp instead of SFTP.
	SCP bool
	// Terminal gives what sudo runs a terminal of its own, for guests whose sudoers say requiretty.
	Terminal bool
	// Windows: the guest is one. Refused passwords count there (ten in ten minutes lock an account: Microsoft Learn, "Account lockout policy"),
	// so that they are sent seldom and once a handshake.
	Windows bool
	Bastion *SSHBastion // is gone through; its Dial and Clock are this configuration's
	Proxy   *SOCKS      // is gone through; its Dial is this configuration's
}

// ErrHostKey: what answers does not show the host key that the guest showed before.
var ErrHostKey = errors.New("the guest shows another host key than before")

const (
	sshPatience  = 2 * time.Minute  // refusals that are borne: the account may be made after the server has started
	sshHandshake = 30 * time.Second // for one connection to be let in
	sshAlive     = 15 * time.Second // between signs of life
	sshFirstWait = 200 * time.Millisecond
	sshLongWait  = 5 * time.Second
	// sshWindowsWait keeps two minutes of refusals below Windows' ten.
	sshWindowsWait = 20 * time.Second
	sshGrace       = time.Second // for a guest to hear that a command is given up, before the connection is
)

// SSH is a Communicator to a Linux guest. It keeps one connection, over which everything runs, and makes it again when it breaks.
type SSH struct {
	c     SSHConfig
	login login
	gate  *bastion // nil: none
	ports *tunnels // nil: none
	// dialing holds one value while a connection is made; waiting for it ends with the context, as waiting for a mutex would not.
	dialing chan struct{}

	mu     sync.Mutex
	pinned ssh.PublicKey
	conn   *ssh.Client
	files  *sftp.Client
}

var _ Linux = (*SSH)(nil)

// NewSSH prepares a connection; nothing is sent yet.
func NewSSH(c SSHConfig) (*SSH, error) {
	s := &SSH{c: c, dialing: make(chan struct{}, 1)}
	if s.c.Dial == nil {
		s.c.Dial = (&net.Dialer{Timeout: 15 * time.Second}).DialContext
	}
	if c.Dir == "" || strings.ContainsAny(c.Dir, "'\n") {
		return nil, fmt.Errorf("cannot use %q as the folder for scripts in the guest", c.Dir)
	}
	s.login = login{key: c.Key, certificate: c.Certificate, password: c.Password, agent: c.Agent, agentKey: c.AgentKey, once: c.Windows}
	if err := s.login.check(); err != nil {
		return nil, err
	}
	if unknown := UnknownSSHAlgorithms(c.Ciphers, c.KeyExchange); len(unknown) > 0 {
		return nil, fmt.Errorf("cannot use SSH with %s: no such cipher or key exchange", strings.Join(unknown, ", "))
	}
	if c.Proxy != nil {
		proxy := *c.Proxy
		proxy.Dial = s.c.Dial
		s.c.Dial = proxy.dial
	}
	if c.Bastion != nil {
		over := *c.Bastion
		over.Dial, over.Clock = s.c.Dial, c.Clock
		var err error
		if s.gate, err = newBastion(over); err != nil {
			return nil, err
		}
		s.c.Dial = s.gate.dial
	}
	if len(c.LocalTunnels)+len(c.RemoteTunnels) > 0 {
		var err error
		if s.ports, err = newTunnels(c.LocalTunnels, c.RemoteTunnels, s.current); err != nil {
			return nil, err
		}
	}
	if c.HostKey != "" {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.HostKey))
		if err != nil {
			return nil, fmt.Errorf("cannot read the guest's host key: %w", err)
		}
		s.pinned = key
	}
	return s, nil
}

// errPin: the first host key could not be kept, so that nothing may be sent.
var errPin = errors.New("cannot keep the guest's host key")

// pin is the host key that the guest has to show, nil before it has shown one.
func (s *SSH) pin() ssh.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pinned
}

// checkHostKey lets in only the guest that was seen first.
func (s *SSH) checkHostKey(_ string, _ net.Addr, key ssh.PublicKey) error {
	pinned := s.pin()
	if pinned == nil {
		if s.c.Pinned != nil {
			if err := s.c.Pinned(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))); err != nil {
				return fmt.Errorf("%w: %w", errPin, err)
			}
		}
		s.mu.Lock()
		s.pinned = key
		s.mu.Unlock()
		return nil
	}
	if !bytes.Equal(key.Marshal(), pinned.Marshal()) {
		return fmt.Errorf("%w: %s instead of %s; it may have been made anew, or something stands in between", ErrHostKey, ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(pinned))
	}
	return nil
}

// hostKeyKinds asks for the kind of key that is known, since a guest has several.
func hostKeyKinds(pinned ssh.PublicKey) []string {
	if pinned == nil {
		return []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	if t := pinned.Type(); t != ssh.KeyAlgoRSA {
		return []string{t}
	}
	return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
}

// errNobody: nothing listens where the guest should.
var errNobody = errors.New("nothing answers")

// once connects, without patience.
func (s *SSH) once(ctx context.Context) (*ssh.Client, error) {
	conn, err := s.c.Dial(ctx, "tcp", s.c.Address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNobody, err)
	}
	conn = quiet(conn, s.c.Silence)
	// What is listening may be a forwarder in front of a guest that does not answer yet: neither hears of ctx, and a connection through a
	// bastion knows no deadlines.
	stop := context.AfterFunc(ctx, func() { conn.Close() }) //nolint:errcheck // to end the handshake
	defer stop()
	limit := time.AfterFunc(sshHandshake, func() { conn.Close() }) //nolint:errcheck // as above
	defer limit.Stop()
	methods, done, err := s.login.methods()
	defer done()
	if err != nil {
		conn.Close() //nolint:errcheck // the error counts
		return nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, s.c.Address, &ssh.ClientConfig{Config: ssh.Config{Ciphers: s.c.Ciphers, KeyExchanges: s.c.KeyExchange},
		User: s.c.User, Auth: methods, HostKeyCallback: s.checkHostKey, HostKeyAlgorithms: hostKeyKinds(s.pin()), ClientVersion: "SSH-2.0-Ingot"})
	if err != nil {
		conn.Close() //nolint:errcheck // the handshake's error counts
		return nil, err
	}
	client := ssh.NewClient(c, channels, requests)
	if s.c.KeepAlive >= 0 {
		go s.keepAlive(client)
	}
	if err := errors.Join(s.ports.open(client), s.forward(client)); err != nil {
		client.Close() //nolint:errcheck // the error counts
		return nil, err
	}
	return client, nil
}

// keepAlive ends a connection whose other side is gone without a word, as that of a machine that was cut off.
func (s *SSH) keepAlive(c *ssh.Client) {
	every := cmp.Or(s.c.KeepAlive, sshAlive)
	for {
		if s.c.Clock.Sleep(context.Background(), every) != nil {
			return
		}
		answer := make(chan error, 1)
		go func() {
			_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
			answer <- err
		}()
		limit := time.NewTimer(2 * every)
		select {
		case err := <-answer:
			limit.Stop()
			if err == nil {
				continue
			}
		case <-limit.C:
		}
		c.Close() //nolint:errcheck // it is broken
		return
	}
}

// current is the connection there is, or nil.
func (s *SSH) current() *ssh.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// client is the connection: the one there is, or a new one as soon as the guest lets us in.
func (s *SSH) client(ctx context.Context) (*ssh.Client, error) {
	if c := s.current(); c != nil {
		return c, nil
	}
	select {
	case s.dialing <- struct{}{}:
		defer func() { <-s.dialing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot reach %s by SSH: %w", s.c.Address, context.Cause(ctx))
	}
	if c := s.current(); c != nil {
		return c, nil
	}
	var refused time.Time
	failed := 0
	for wait := sshFirstWait; ; wait = min(wait*3/2, sshLongWait) {
		c, err := s.once(ctx)
		var no *ssh.AlgorithmNegotiationError
		switch {
		case err == nil:
			s.mu.Lock()
			s.conn = c
			s.mu.Unlock()
			return c, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("cannot reach %s by SSH: %w", s.c.Address, context.Cause(ctx))
		case errors.As(err, &no) && no.What == "host key" && s.pin() != nil:
			return nil, fmt.Errorf("cannot reach %s by SSH: %w: it has none of type %s any more", s.c.Address, ErrHostKey, s.pin().Type())
		case errors.Is(err, ErrHostKey), errors.Is(err, errPin), errors.Is(err, errWay), errors.As(err, &no):
			return nil, fmt.Errorf("cannot reach %s by SSH: %w", s.c.Address, err)
		case authRefused(err):
			now := s.c.Clock.Now()
			if refused.IsZero() {
				refused = now
			}
			if s.c.Windows {
				wait = sshWindowsWait
			}
			if now.Sub(refused) > sshPatience {
				return nil, fmt.Errorf("cannot log in to %s as %s: %w", s.c.Address, s.c.User, ErrAuth)
			}
		case errors.Is(err, errNobody):
			// It starts again. A connection that is dropped does not count: OpenSSH 9.8 and later drop those of whom they have refused
			// (sshd_config(5), PerSourcePenalties), and patience would never end.
			refused = time.Time{}
		}
		if !errors.Is(err, errNobody) {
			if failed++; s.c.Handshakes > 0 && failed >= s.c.Handshakes {
				return nil, fmt.Errorf("cannot reach %s by SSH: %d handshakes failed (ssh_handshake_attempts), the last: %w", s.c.Address, failed, s.why(err))
			}
		}
		if err := s.c.Clock.Sleep(ctx, wait); err != nil {
			return nil, fmt.Errorf("cannot reach %s by SSH: %w", s.c.Address, err)
		}
	}
}

// why is ErrAuth for what is a refusal, whatever the library calls it.
func (s *SSH) why(err error) error {
	if authRefused(err) {
		return fmt.Errorf("as %s: %w", s.c.User, ErrAuth)
	}
	return err
}

// authRefused tells that the guest takes none of our credentials. OpenSSH says it with a disconnect when the tries are more than its
// MaxAuthTries.
func authRefused(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "unable to authenticate") || strings.Contains(text, "too many authentication failures")
}

// broken forgets a connection that has failed.
func (s *SSH) broken(c *ssh.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Close() //nolint:errcheck // it is broken
	if s.conn == c {
		s.conn, s.files = nil, nil
	}
}

// Close ends the connection, and those of bastion and tunnels; the guest keeps running.
func (s *SSH) Close() error {
	s.ports.close()
	if s.gate != nil {
		defer s.gate.close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn, s.files = nil, nil
	return err
}
