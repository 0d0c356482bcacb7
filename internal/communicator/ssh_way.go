package communicator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// errWay: what stands between us and the guest refuses, and will refuse again.
var errWay = errors.New("cannot go the way to the guest")

// SSHBastion is a host that the guest is reached through.
type SSHBastion struct {
	Address     string // host:port
	User        string
	Key         []byte // private key, PEM
	Certificate []byte // its OpenSSH certificate
	Password    string
	Agent       string // socket of an SSH agent whose keys are offered
	// Ask asks a person what the bastion asks; nil: the password answers.
	Ask func(prompt string, echo bool) (string, error)
	// HostKey is the bastion's own key as a line of authorized_keys; "" takes what KnownHosts has, or trusts the first one that is seen.
	HostKey string
	// Pinned is told the key that was trusted; nil: nobody.
	Pinned func(hostKey string) error
	// KnownHosts is a file of OpenSSH's known_hosts; one that is not there knows nobody.
	KnownHosts string
	Dial       Dialer
	Clock      Clock
}

// bastion keeps one connection to a host that forwards others.
type bastion struct {
	c     SSHBastion
	login login

	mu      sync.Mutex
	pinned  ssh.PublicKey
	conn    *ssh.Client
	refused time.Time
}

func newBastion(c SSHBastion) (*bastion, error) {
	b := &bastion{c: c, login: login{key: c.Key, certificate: c.Certificate, password: c.Password, agent: c.Agent, ask: c.Ask}}
	if err := b.login.check(); err != nil {
		return nil, fmt.Errorf("bastion %s: %w", c.Address, err)
	}
	if c.HostKey != "" {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.HostKey))
		if err != nil {
			return nil, fmt.Errorf("cannot read the bastion's host key: %w", err)
		}
		b.pinned = key
	}
	return b, nil
}

// checkHostKey holds the bastion against what is known of it. Other than the guest it was there before the build, so that known_hosts can
// know it.
func (b *bastion) checkHostKey(host string, remote net.Addr, key ssh.PublicKey) error {
	if b.pinned != nil {
		if string(b.pinned.Marshal()) != string(key.Marshal()) {
			return fmt.Errorf("%w: bastion %s: %w: %s instead of %s", errWay, b.c.Address, errBastionKey, ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(b.pinned))
		}
		return nil
	}
	if b.c.KnownHosts != "" {
		check, err := knownhosts.New(b.c.KnownHosts)
		var unknown *knownhosts.KeyError
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return fmt.Errorf("%w: cannot read %s: %w", errWay, b.c.KnownHosts, err)
		default:
			if err := check(host, remote, key); errors.As(err, &unknown) && len(unknown.Want) == 0 {
				break // nothing is known of it
			} else if err != nil {
				return fmt.Errorf("%w: bastion %s shows a key (%s) that %s does not have for it; if it was made anew: ssh-keygen -R %s", errWay, b.c.Address, ssh.FingerprintSHA256(key), b.c.KnownHosts, host)
			}
		}
	}
	if b.c.Pinned != nil {
		if err := b.c.Pinned(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))); err != nil {
			return fmt.Errorf("%w: %w", errPin, err)
		}
	}
	b.pinned = key
	return nil
}

var errBastionKey = errors.New("the bastion shows another host key than before")

// client is the connection to the bastion. The caller holds mu.
func (b *bastion) client(ctx context.Context) (*ssh.Client, error) {
	if b.conn != nil {
		return b.conn, nil
	}
	conn, err := b.c.Dial(ctx, "tcp", b.c.Address)
	if err != nil {
		return nil, fmt.Errorf("bastion %s: %w", b.c.Address, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) //nolint:errcheck // to end the handshake
	defer stop()
	methods, done, err := b.login.methods()
	defer done()
	if err == nil {
		// A person may take longer to answer than a machine.
		limit := time.AfterFunc(sshHandshake, func() {
			if b.login.ask == nil {
				conn.Close() //nolint:errcheck // to end the handshake
			}
		})
		defer limit.Stop()
		var c ssh.Conn
		var channels <-chan ssh.NewChannel
		var requests <-chan *ssh.Request
		c, channels, requests, err = ssh.NewClientConn(conn, b.c.Address, &ssh.ClientConfig{User: b.c.User, Auth: methods, HostKeyCallback: b.checkHostKey,
			HostKeyAlgorithms: b.hostKeyKinds(), ClientVersion: "SSH-2.0-Ingot"})
		if err == nil {
			b.conn, b.refused = ssh.NewClient(c, channels, requests), time.Time{}
			return b.conn, nil
		}
	}
	conn.Close() //nolint:errcheck // the error counts
	switch {
	case errors.Is(err, errWay), errors.Is(err, errPin):
	case authRefused(err):
		// It may count our tries (MaxAuthTries, PerSourcePenalties), and a person's answer was asked for once: no patience as with a guest whose
		// account is being made.
		err = fmt.Errorf("%w: bastion %s lets nobody in as %s: %w", errWay, b.c.Address, b.c.User, ErrAuth)
	default:
		err = fmt.Errorf("bastion %s: %w", b.c.Address, err)
	}
	return nil, err
}

// hostKeyKinds asks for the kinds of key that are known of the bastion, else for any.
func (b *bastion) hostKeyKinds() []string {
	if b.pinned == nil && b.c.KnownHosts != "" {
		if check, err := knownhosts.New(b.c.KnownHosts); err == nil {
			// A key of no kind asks what there is.
			var known *knownhosts.KeyError
			if errors.As(check(b.c.Address, &net.TCPAddr{IP: net.IPv4zero}, noKey{}), &known) {
				var kinds []string
				for _, w := range known.Want {
					kinds = append(kinds, hostKeyKinds(w.Key)...)
				}
				if len(kinds) > 0 {
					return kinds
				}
			}
		}
	}
	return hostKeyKinds(b.pinned)
}

type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// dial opens a connection through the bastion.
func (b *bastion) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for again := b.conn != nil; ; again = false {
		c, err := b.client(ctx)
		if err != nil {
			return nil, err
		}
		attempt, stop := context.WithTimeoutCause(ctx, sshHandshake, errors.New("no answer through the bastion"))
		conn, err := c.DialContext(attempt, network, addr)
		stop()
		var no *ssh.OpenChannelError
		switch {
		case err == nil:
			return &throughConn{conn, c}, nil
		case errors.As(err, &no) && no.Reason == ssh.Prohibited:
			return nil, fmt.Errorf("%w: bastion %s forwards nothing to %s (AllowTcpForwarding, PermitOpen): %s", errWay, b.c.Address, addr, no.Message)
		case errors.As(err, &no):
			return nil, fmt.Errorf("through bastion %s: %w", b.c.Address, err)
		}
		// The connection to the bastion is broken, perhaps since long.
		b.conn.Close() //nolint:errcheck // it is broken
		b.conn = nil
		if !again || ctx.Err() != nil {
			return nil, fmt.Errorf("through bastion %s: %w", b.c.Address, err)
		}
	}
}

// throughConn is a connection through a bastion. Its reader learns of its end from the bastion: of one that is gone without a word, never.
type throughConn struct {
	net.Conn
	gate *ssh.Client
}

// Close ends it, and the connection to a bastion that does not answer any more.
func (c *throughConn) Close() error {
	err := c.Conn.Close()
	go func() {
		answer := make(chan bool, 1)
		go func() { answer <- alive(c.gate) }()
		limit := time.NewTimer(5 * sshGrace)
		defer limit.Stop()
		select {
		case yes := <-answer:
			if yes {
				return
			}
		case <-limit.C:
		}
		c.gate.Close() //nolint:errcheck // it is broken
	}()
	return err
}

func (b *bastion) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		b.conn.Close() //nolint:errcheck // nothing waits for it
		b.conn = nil
	}
}

// SOCKS is a SOCKS5 proxy (RFC 1928) that the guest is reached through, with a password (RFC 1929) or without.
type SOCKS struct {
	Address        string // host:port
	User, Password string
	Dial           Dialer
}

// dial opens a connection through the proxy.
func (s SOCKS) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWay, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWay, err)
	}
	conn, err := s.Dial(ctx, "tcp", s.Address)
	if err != nil {
		return nil, fmt.Errorf("SOCKS proxy %s: %w", s.Address, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) //nolint:errcheck // to end the talk
	limit := time.AfterFunc(sshHandshake, func() { conn.Close() })
	err = s.greet(conn, host, uint16(port))
	limit.Stop()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close() //nolint:errcheck // the error counts
		return nil, fmt.Errorf("SOCKS proxy %s: %w", s.Address, err)
	}
	return conn, nil
}

// socksAnswers are the reasons of RFC 1928, section 6.
var socksAnswers = [...]string{"", "general failure", "not allowed by its rules", "network unreachable", "host unreachable", "connection refused", "TTL expired", "command not supported", "address type not supported"}

func (s SOCKS) greet(conn net.Conn, host string, port uint16) error {
	const version, none, byPassword, connect = 5, 0, 2, 1
	hello := []byte{version, 1, none}
	if s.User != "" {
		hello = []byte{version, 2, none, byPassword}
	}
	if len(s.User) > 255 || len(s.Password) > 255 || len(host) > 255 {
		return fmt.Errorf("%w: a user, password or host of more than 255 characters", errWay)
	}
	// Not buffered: the SSH server behind it speaks first, and its banner may be on the way already.
	r := io.Reader(conn)
	answer := make([]byte, 2)
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	if _, err := io.ReadFull(r, answer); err != nil {
		return err
	}
	switch {
	case answer[0] != version:
		return fmt.Errorf("%w: it does not speak SOCKS5", errWay)
	case answer[1] == byPassword && s.User != "":
		b := append([]byte{1, byte(len(s.User))}, s.User...)
		b = append(append(b, byte(len(s.Password))), s.Password...)
		if _, err := conn.Write(b); err != nil {
			return err
		}
		if _, err := io.ReadFull(r, answer); err != nil {
			return err
		}
		if answer[1] != 0 {
			return fmt.Errorf("%w: it refuses the user name or password", errWay)
		}
	case answer[1] != none:
		return fmt.Errorf("%w: it asks for another way to sign in (set ssh_proxy_username and ssh_proxy_password)", errWay)
	}
	b := []byte{version, connect, 0}
	if ip := net.ParseIP(host); ip.To4() != nil {
		b = append(append(b, 1), ip.To4()...)
	} else if ip != nil {
		b = append(append(b, 4), ip...)
	} else {
		b = append(append(b, 3, byte(len(host))), host...)
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint16(b, port)); err != nil {
		return err
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	if code := int(head[1]); code != 0 {
		reason := fmt.Sprintf("code %d", code)
		if code < len(socksAnswers) {
			reason = socksAnswers[code]
		}
		if code == 2 || code > 6 {
			return fmt.Errorf("%w: it answers: %s", errWay, reason)
		}
		return fmt.Errorf("it answers: %s", reason)
	}
	rest := map[byte]int{1: 4, 4: 16}[head[3]]
	if head[3] == 3 {
		n := make([]byte, 1)
		if _, err := io.ReadFull(r, n); err != nil {
			return err
		}
		rest = int(n[0])
	}
	_, err := io.CopyN(io.Discard, r, int64(rest+2))
	return err
}
