package communicator

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
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
)

// SSH is a Communicator to a Linux guest. It keeps one connection, over which everything runs, and makes it again when it breaks.
type SSH struct {
	c    SSHConfig
	auth []ssh.AuthMethod

	mu     sync.Mutex
	pinned ssh.PublicKey
	conn   *ssh.Client
	files  *sftp.Client
}

var _ Linux = (*SSH)(nil)

// NewSSH prepares a connection; nothing is sent yet.
func NewSSH(c SSHConfig) (*SSH, error) {
	s := &SSH{c: c}
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

// checkHostKey lets in only the guest that was seen first.
func (s *SSH) checkHostKey(_ string, _ net.Addr, key ssh.PublicKey) error {
	if s.pinned == nil {
		if s.c.Pinned != nil {
			if err := s.c.Pinned(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))); err != nil {
				return err
			}
		}
		s.pinned = key
		return nil
	}
	if !bytes.Equal(key.Marshal(), s.pinned.Marshal()) {
		return fmt.Errorf("%w: %s instead of %s; it may have been made anew, or something stands in between", ErrHostKey, ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(s.pinned))
	}
	return nil
}

// hostKeyKinds asks for the kind of key that is known, since a guest has several.
func (s *SSH) hostKeyKinds() []string {
	if s.pinned == nil {
		return []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	if t := s.pinned.Type(); t != ssh.KeyAlgoRSA {
		return []string{t}
	}
	return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
}

// once connects, without patience.
func (s *SSH) once(ctx context.Context) (*ssh.Client, error) {
	conn, err := s.c.Dial(ctx, "tcp", s.c.Address)
	if err != nil {
		return nil, err
	}
	// What is listening may be a forwarder in front of a guest that does not answer yet: neither hears of ctx.
	stop := context.AfterFunc(ctx, func() { conn.Close() }) //nolint:errcheck // to end the handshake
	defer stop()
	conn.SetDeadline(time.Now().Add(sshHandshake)) //nolint:errcheck // a connection that is gone shows in the handshake
	c, channels, requests, err := ssh.NewClientConn(conn, s.c.Address, &ssh.ClientConfig{User: s.c.User, Auth: s.auth, HostKeyCallback: s.checkHostKey,
		HostKeyAlgorithms: s.hostKeyKinds(), ClientVersion: "SSH-2.0-Ingot"})
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

// client is the connection: the one there is, or a new one as soon as the guest lets us in.
func (s *SSH) client(ctx context.Context) (*ssh.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return s.conn, nil
	}
	var refused time.Time
	for wait := sshFirstWait; ; wait = min(wait*3/2, sshLongWait) {
		c, err := s.once(ctx)
		switch {
		case err == nil:
			s.conn = c
			return c, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("cannot reach %s by SSH: %w", s.c.Address, context.Cause(ctx))
		case errors.Is(err, ErrHostKey):
			return nil, fmt.Errorf("cannot reach %s by SSH: %w", s.c.Address, err)
		case strings.Contains(err.Error(), "unable to authenticate"):
			now := s.c.Clock.Now()
			if refused.IsZero() {
				refused = now
			}
			if now.Sub(refused) > sshPatience {
				return nil, fmt.Errorf("cannot log in to %s as %s: %w", s.c.Address, s.c.User, ErrAuth)
			}
		default:
			refused = time.Time{}
		}
		if err := s.c.Clock.Sleep(ctx, wait); err != nil {
			return nil, fmt.Errorf("cannot reach %s by SSH: %w", s.c.Address, err)
		}
	}
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

// errLine says that the connection broke under a command, whose end is unknown.
var errLine = errors.New("the connection to the guest broke")

// exec runs a program of the guest's shell, given over standard input, so that nothing of it is on a command line; each is asked for
// its exit code.
func (s *SSH) exec(ctx context.Context, program string, stdout, stderr io.Writer) (int, error) {
	c, err := s.client(ctx)
	if err != nil {
		return 0, err
	}
	session, err := c.NewSession()
	if err != nil {
		s.broken(c)
		return 0, fmt.Errorf("%w: %w", errLine, err)
	}
	defer session.Close() //nolint:errcheck // closed by its end already
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(program), stdout, stderr
	stop := context.AfterFunc(ctx, func() { session.Close() }) //nolint:errcheck // to end the wait
	defer stop()
	err = session.Run("exec sh -s")
	var exit *ssh.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Signal() == "":
		return exit.ExitStatus(), nil
	}
	s.broken(c)
	return 0, fmt.Errorf("%w: %w", errLine, err)
}

// ask runs a program whose running twice does no harm, as often as the connection breaks under it.
func (s *SSH) ask(ctx context.Context, program string) (string, int, error) {
	for wait := sshFirstWait; ; wait = min(wait*3/2, sshLongWait) {
		var out, errs bytes.Buffer
		code, err := s.exec(ctx, program, &out, &errs)
		if err == nil {
			if code != 0 {
				return strings.TrimSpace(errs.String()), code, nil
			}
			return out.String(), 0, nil
		}
		if !errors.Is(err, errLine) {
			return "", 0, err
		}
		if err := s.c.Clock.Sleep(ctx, wait); err != nil {
			return "", 0, err
		}
	}
}

// factsProgram prints one fact a line. A deprovisioned guest has no host keys any more (waagent -deprovision).
const factsProgram = `hostname
( . /etc/os-release 2>/dev/null; echo "$PRETTY_NAME" )
while read -r k v; do [ "$k" = btime ] && echo "$v"; done </proc/stat
ls /etc/ssh/ssh_host_*_key >/dev/null 2>&1 && echo kept || echo gone
`

// Ready waits until the guest lets us in.
func (s *SSH) Ready(ctx context.Context) (Facts, error) {
	out, code, err := s.ask(ctx, factsProgram)
	if err != nil {
		return Facts{}, err
	}
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	if code != 0 || len(lines) != 4 {
		return Facts{}, fmt.Errorf("cannot read what the guest says of itself: exit code %d, %q", code, out)
	}
	seconds, err := strconv.ParseInt(lines[2], 10, 64)
	if err != nil {
		return Facts{}, fmt.Errorf("cannot read when the guest started: %w", err)
	}
	return Facts{Computer: lines[0], OS: lines[1], Boot: time.Unix(seconds, 0), Deprovisioned: lines[3] == "gone"}, nil
}

// quote makes one word of the shell's of a text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// NewSSHKey makes a key pair: the private key in OpenSSH's form, and the line of authorized_keys. Kinds are ed25519 and rsa (3072 bits),
// which Azure takes (https://learn.microsoft.com/azure/virtual-machines/linux/ed25519-ssh-keys).
func NewSSHKey(kind string) (private []byte, public string, err error) {
	var key crypto.PrivateKey
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 3072)
	default:
		return nil, "", fmt.Errorf("cannot make an SSH key of type %q", kind)
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot make an SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "ingot")
	if err != nil {
		return nil, "", fmt.Errorf("cannot write an SSH key: %w", err)
	}
	private = pem.EncodeToMemory(block)
	public, err = PublicKey(private)
	return private, public, err
}

// PublicKey is the line of authorized_keys that belongs to a private key.
func PublicKey(private []byte) (string, error) {
	key, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return "", fmt.Errorf("cannot read the SSH key: %w", err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey()))), nil
}
