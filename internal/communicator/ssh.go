package communicator

import (
	"bytes"
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
}

// ErrHostKey: what answers does not show the host key that the guest showed before.
var ErrHostKey = errors.New("the guest shows another host key than before")

const (
	sshPatience  = 2 * time.Minute  // refusals that are borne: the account may be made after the server has started
	sshHandshake = 30 * time.Second // for one connection to be let in
	sshAlive     = 15 * time.Second // between signs of life
	sshFirstWait = 200 * time.Millisecond
	sshLongWait  = 5 * time.Second
	sshGrace     = time.Second // for a guest to hear that a command is given up, before the connection is
)

// SSH is a Communicator to a Linux guest. It keeps one connection, over which everything runs, and makes it again when it breaks.
type SSH struct {
	c    SSHConfig
	auth []ssh.AuthMethod
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
	if len(c.Key) > 0 {
		key, err := ssh.ParsePrivateKey(c.Key)
		if err != nil {
			return nil, fmt.Errorf("cannot read the SSH key: %w", err)
		}
		s.auth = append(s.auth, ssh.PublicKeys(key))
	}
	if c.Password != "" {
		s.auth = append(s.auth, ssh.Password(c.Password), ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
			out := make([]string, len(questions))
			for i := range out {
				out[i] = c.Password
			}
			return out, nil
		}))
	}
	if len(s.auth) == 0 {
		return nil, errors.New("cannot use SSH: neither a key nor a password is given")
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
	// What is listening may be a forwarder in front of a guest that does not answer yet: neither hears of ctx.
	stop := context.AfterFunc(ctx, func() { conn.Close() }) //nolint:errcheck // to end the handshake
	defer stop()
	conn.SetDeadline(time.Now().Add(sshHandshake)) //nolint:errcheck // a connection that is gone shows in the handshake
	c, channels, requests, err := ssh.NewClientConn(conn, s.c.Address, &ssh.ClientConfig{User: s.c.User, Auth: s.auth, HostKeyCallback: s.checkHostKey,
		HostKeyAlgorithms: hostKeyKinds(s.pin()), ClientVersion: "SSH-2.0-Ingot"})
	if err != nil {
		conn.Close() //nolint:errcheck // the handshake's error counts
		return nil, err
	}
	conn.SetDeadline(time.Time{}) //nolint:errcheck // as above
	client := ssh.NewClient(c, channels, requests)
	go s.keepAlive(client)
	return client, nil
}

// keepAlive ends a connection whose other side is gone without a word, as that of a machine that was cut off.
func (s *SSH) keepAlive(c *ssh.Client) {
	for {
		if s.c.Clock.Sleep(context.Background(), sshAlive) != nil {
			return
		}
		answer := make(chan error, 1)
		go func() {
			_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
			answer <- err
		}()
		limit := time.NewTimer(2 * sshAlive)
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
		case errors.Is(err, ErrHostKey), errors.Is(err, errPin), errors.As(err, &no):
			return nil, fmt.Errorf("cannot reach %s by SSH: %w", s.c.Address, err)
		case authRefused(err):
			now := s.c.Clock.Now()
			if refused.IsZero() {
				refused = now
			}
			if now.Sub(refused) > sshPatience {
				return nil, fmt.Errorf("cannot log in to %s as %s: %w", s.c.Address, s.c.User, ErrAuth)
			}
		case errors.Is(err, errNobody):
			// It starts again. A connection that is dropped does not count: OpenSSH 9.8 and later drop those of whom they have refused
			// (sshd_config(5), PerSourcePenalties), and patience would never end.
			refused = time.Time{}
		}
		if err := s.c.Clock.Sleep(ctx, wait); err != nil {
			return nil, fmt.Errorf("cannot reach %s by SSH: %w", s.c.Address, err)
		}
	}
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

// Close ends the connection; the guest keeps running.
func (s *SSH) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn, s.files = nil, nil
	return err
}
