package communicator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// login is with what an SSH server is signed in to: the guest or a bastion.
type login struct {
	key         []byte // private key, PEM
	certificate []byte // its OpenSSH certificate
	password    string
	agent       string // socket of an SSH agent; "" asks none
	agentKey    string // line of authorized_keys: of the agent's keys the one to offer first, since a server counts refusals
	ask         func(prompt string, echo bool) (string, error)
	once        bool // the password is sent once a handshake: not to questions too
}

// check reads the keys, so that a wrong file is told before anything is dialled.
func (l login) check() error {
	signers, err := l.signers()
	if err == nil && len(signers) == 0 && l.password == "" && l.agent == "" && l.ask == nil {
		err = errors.New("cannot use SSH: neither a key nor a password is given")
	}
	return err
}

// signers are the certificate, if there is one, and the key: a server that does not know the authority may still know the key.
func (l login) signers() ([]ssh.Signer, error) {
	if len(l.key) == 0 {
		if len(l.certificate) > 0 && l.agent == "" {
			return nil, errors.New("cannot use an SSH certificate without its private key")
		}
		return nil, nil
	}
	key, err := parseKey(l.key)
	if err != nil {
		return nil, err
	}
	if len(l.certificate) == 0 {
		return []ssh.Signer{key}, nil
	}
	cert, err := readCertificate(l.certificate)
	if err != nil {
		return nil, err
	}
	with, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the SSH certificate: it is of another key (%w)", err)
	}
	return []ssh.Signer{with, key}, nil
}

func parseKey(private []byte) (ssh.Signer, error) {
	key, err := ssh.ParsePrivateKey(private)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, errors.New("cannot read the SSH key: it has a passphrase; add it to an SSH agent and set ssh_agent_auth (for a bastion ssh_bastion_agent_auth)")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the SSH key: %w", err)
	}
	return key, nil
}

// CheckSSHKey tells why a private key and its certificate (nil: none) cannot be used, or nil.
func CheckSSHKey(private, certificate []byte) error {
	_, err := login{key: private, certificate: certificate}.signers()
	return err
}

func readCertificate(b []byte) (*ssh.Certificate, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil, fmt.Errorf("cannot read the SSH certificate: %w", err)
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("cannot read the SSH certificate: it is a public key of type %s; the file's name mostly ends with -cert.pub", key.Type())
	}
	if cert.CertType != ssh.UserCert {
		return nil, errors.New("cannot use the SSH certificate: it is a host's, not a user's")
	}
	return cert, nil
}

// methods are the ways to sign in, in the order in which they are tried; done ends the talk with the agent.
func (l login) methods() (methods []ssh.AuthMethod, done func(), err error) {
	done = func() {}
	signers, err := l.signers()
	if err != nil {
		return nil, done, err
	}
	if l.agent != "" {
		conn, err := dialAgent(l.agent)
		if err != nil {
			return nil, done, err
		}
		done = func() { conn.Close() } //nolint:errcheck // only read
		found, err := agent.NewClient(conn).Signers()
		if err != nil {
			done()
			return nil, func() {}, fmt.Errorf("%w: the SSH agent does not list its keys: %w", errWay, err)
		}
		// A certificate whose key the agent holds is offered before the bare keys.
		if len(l.certificate) > 0 && len(l.key) == 0 {
			cert, err := readCertificate(l.certificate)
			if err != nil {
				done()
				return nil, func() {}, err
			}
			i := slices.IndexFunc(found, func(s ssh.Signer) bool { return bytes.Equal(s.PublicKey().Marshal(), cert.Key.Marshal()) })
			if i < 0 {
				done()
				return nil, func() {}, fmt.Errorf("%w: the SSH agent does not hold the key of the SSH certificate", errWay)
			}
			if s, err := ssh.NewCertSigner(cert, found[i]); err == nil {
				signers = append(signers, s)
			}
		}
		if first, _, _, _, err := ssh.ParseAuthorizedKey([]byte(l.agentKey)); err == nil {
			slices.SortStableFunc(found, func(a, b ssh.Signer) int {
				return rank(bytes.Equal(a.PublicKey().Marshal(), first.Marshal())) - rank(bytes.Equal(b.PublicKey().Marshal(), first.Marshal()))
			})
		}
		signers = append(signers, found...)
	}
	if len(signers) > 0 {
		methods = append(methods, ssh.PublicKeys(signers...))
	}
	if l.password != "" {
		methods = append(methods, ssh.Password(l.password))
	}
	if l.password != "" && !l.once || l.ask != nil {
		methods = append(methods, ssh.KeyboardInteractive(l.answer))
	}
	return methods, done, nil
}

func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

// answer answers a server's questions: a person where there is one, else the password, to each.
func (l login) answer(_, instruction string, questions []string, echo []bool) ([]string, error) {
	out := make([]string, len(questions))
	for i, q := range questions {
		out[i] = l.password
		if l.ask == nil {
			continue
		}
		if i == 0 && instruction != "" {
			q = instruction + "\n" + q
		}
		var err error
		if out[i], err = l.ask(q, echo[i]); err != nil {
			return nil, fmt.Errorf("%w: nobody answers the server's question %q: %w", errWay, q, err)
		}
	}
	return out, nil
}

// AgentSocket is where this computer's SSH agent listens: SSH_AUTH_SOCK, or on Windows the pipe of its own agent
// (https://learn.microsoft.com/windows-server/administration/openssh/openssh_keymanagement); "" without one.
func AgentSocket(getenv func(string) string) string {
	if s := getenv("SSH_AUTH_SOCK"); s != "" {
		return s
	}
	if runtime.GOOS == "windows" {
		return `\\.\pipe\openssh-ssh-agent`
	}
	return ""
}

func dialAgent(socket string) (io.ReadWriteCloser, error) {
	var conn io.ReadWriteCloser
	var err error
	if strings.HasPrefix(socket, `\\.\pipe\`) {
		conn, err = os.OpenFile(socket, os.O_RDWR, 0)
	} else {
		conn, err = net.Dial("unix", socket)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the SSH agent does not answer at %s (SSH_AUTH_SOCK): %w", errWay, socket, err)
	}
	return conn, nil
}

// AgentKey is the line of authorized_keys of the agent's first key that Azure takes for a new machine: RSA of at least 2048 bits or ed25519
// (https://learn.microsoft.com/azure/virtual-machines/linux/create-ssh-keys-detailed, "Supported SSH key formats").
func AgentKey(socket string) (string, error) {
	conn, err := dialAgent(socket)
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // only read
	keys, err := agent.NewClient(conn).List()
	if err != nil {
		return "", fmt.Errorf("%w: the SSH agent does not list its keys: %w", errWay, err)
	}
	refused := "it holds none: ssh-add"
	for _, k := range keys {
		public, err := ssh.ParsePublicKey(k.Blob)
		if err == nil {
			err = AzureTakesKey(public.Type(), k.Blob)
		}
		if err == nil {
			return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))), nil
		}
		refused = err.Error()
	}
	return "", fmt.Errorf("%w: the SSH agent has no key for the machine: %s", errWay, refused)
}

// AzureTakesKey tells why Azure refuses a public key (its type and wire form) for a new machine, or nil.
func AzureTakesKey(kind string, blob []byte) error {
	switch kind {
	case ssh.KeyAlgoED25519:
		return nil
	case ssh.KeyAlgoRSA:
		var k struct {
			Name string
			E, N []byte
		}
		if err := ssh.Unmarshal(blob, &k); err != nil {
			return fmt.Errorf("cannot read the RSA key: %w", err)
		}
		if bits := 8 * len(bytes.TrimLeft(k.N, "\x00")); bits < 2048 {
			return fmt.Errorf("its RSA key has %d bits, and Azure asks for 2048", bits)
		}
		return nil
	}
	return fmt.Errorf("a key of type %s: Azure takes RSA (2048 bits and more) and ed25519 only", kind)
}

// UnknownSSHAlgorithms lists those of the template's names that are none of the library's, or no longer safe enough to be offered by it.
func UnknownSSHAlgorithms(ciphers, exchanges []string) (unknown []string) {
	good, old := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	for _, c := range ciphers {
		if !slices.Contains(good.Ciphers, c) && !slices.Contains(old.Ciphers, c) {
			unknown = append(unknown, c)
		}
	}
	for _, k := range exchanges {
		if !slices.Contains(good.KeyExchanges, k) && !slices.Contains(old.KeyExchanges, k) {
			unknown = append(unknown, k)
		}
	}
	return unknown
}
