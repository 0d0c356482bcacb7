package provisioner

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"time"
)

// Connection is how the communicator reaches the guest, for programs of this machine that reach it themselves. It holds secrets:
// nothing of it may be shown.
type Connection struct {
	Kind    string // "ssh" or "winrm"; any other has no way in for other programs
	Windows bool
	Host    string // as Azure knows it
	Port    int
	User    string
	// Password is the account's; "" where SSH signs in with the key only.
	Password string
	// Key is the private key of SSH, in PEM; nil where there is none.
	Key []byte
	// HostKey is the guest's own key as a line of authorized_keys, which SSH must see.
	HostKey string
	// Fingerprint is the SHA-256 of the certificate that WinRM must show.
	Fingerprint [32]byte
	// NTLM says that WinRM signs in with NTLM; otherwise with Basic.
	NTLM bool
	// Dial opens a connection to the port, on the way that the communicator itself takes.
	Dial func(ctx context.Context) (net.Conn, error)
}

// relay is a port of this machine's loopback that leads to the guest's: other programs need neither the network's way to the guest
// nor a name that its certificate fits.
type relay struct {
	Port     int
	CA       []byte // of WinRM: the certificate that the port shows, in PEM
	listener net.Listener
	own      *tls.Config
	to       Connection
	ctx      context.Context
	stop     context.CancelFunc
	work     sync.WaitGroup

	mu     sync.Mutex
	failed error // why the last connection could not be made
}

// relayTries is how many ports are tried from the one wished for, as Packer's ansible provisioner does with local_port.
const relayTries = 10

// newRelay opens the port; 0 takes any. SSH is handed on as it is: the program checks the guest's host key itself. WinRM's TLS ends
// here and begins anew: the guest's certificate is for its computer name, and is held against the fingerprint that the build knows.
func newRelay(ctx context.Context, to Connection, port int) (*relay, error) {
	r := &relay{to: to}
	var err error
	for i := range relayTries {
		wish := port
		if port > 0 {
			wish += i
		}
		if r.listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", wish)); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open a port of this machine: %w", err)
	}
	r.Port = r.listener.Addr().(*net.TCPAddr).Port
	if to.Kind == "winrm" {
		if err := r.certify(); err != nil {
			r.listener.Close() //nolint:errcheck // nobody has used it
			return nil, fmt.Errorf("cannot make a certificate for the port: %w", err)
		}
	}
	r.ctx, r.stop = context.WithCancel(ctx)
	r.work.Go(r.serve)
	return r, nil
}

// certify makes the certificate that the port shows, for this relay only.
func (r *relay) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return err
	}
	// OpenSSL refuses an issuer without a name.
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "ingot"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(48 * time.Hour), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return err
	}
	r.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	r.own = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	return nil
}

func (r *relay) serve() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.work.Go(func() {
			if err := r.hand(conn); err != nil {
				r.mu.Lock()
				r.failed = err
				r.mu.Unlock()
			}
		})
	}
}

// hand joins one connection with one to the guest.
func (r *relay) hand(conn net.Conn) error {
	defer conn.Close()                                       //nolint:errcheck // it ends here
	end := context.AfterFunc(r.ctx, func() { conn.Close() }) //nolint:errcheck // it ends here
	defer end()
	var near io.ReadWriteCloser = conn
	if r.own != nil {
		// A program that was told to speak plain HTTP may: it does not leave this machine.
		head := bufio.NewReader(conn)
		first, err := head.Peek(1)
		if err != nil {
			return nil // nothing was asked
		}
		early := &read{conn, head}
		near = early
		if first[0] == 22 { // a TLS handshake
			near = tls.Server(early, r.own)
		}
	}
	far, err := r.to.Dial(r.ctx)
	if err != nil {
		return err
	}
	defer far.Close()                                          //nolint:errcheck // it ends here
	endFar := context.AfterFunc(r.ctx, func() { far.Close() }) //nolint:errcheck // it ends here
	defer endFar()
	if r.own != nil {
		secure := tls.Client(far, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, //nolint:gosec // pinned below
			VerifyConnection: func(s tls.ConnectionState) error {
				if len(s.PeerCertificates) == 0 || sha256.Sum256(s.PeerCertificates[0].Raw) != r.to.Fingerprint {
					return errors.New("what answers does not show the guest's certificate")
				}
				return nil
			}})
		if err := secure.HandshakeContext(r.ctx); err != nil {
			return err
		}
		far = secure
	}
	done := make(chan struct{}, 2)
	one := func(to io.Writer, from io.Reader) {
		io.Copy(to, from) //nolint:errcheck // the programs at both ends see that it broke
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			half.CloseWrite() //nolint:errcheck // as above
		}
		done <- struct{}{}
	}
	go one(far, near)
	go one(near, far)
	<-done
	// What the other side still says is heard for a moment: a program that has closed its end may wait for an answer.
	late := time.AfterFunc(relayLinger, func() { conn.Close(); far.Close() }) //nolint:errcheck // it ends here
	<-done
	late.Stop()
	return nil
}

const relayLinger = 5 * time.Second

// read is a connection of which something was read ahead.
type read struct {
	net.Conn
	ahead *bufio.Reader
}

func (r *read) Read(p []byte) (int, error) { return r.ahead.Read(p) }

// Close ends the port and all that goes through it; it returns why the last connection to the guest could not be made.
func (r *relay) Close() error {
	r.stop()
	r.listener.Close() //nolint:errcheck // nobody waits for it
	r.work.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(r.failed, context.Canceled) {
		return nil
	}
	return r.failed
}

// connection is that of the communicator, when it is one that other programs can use.
func (e *Env) connection(ctx context.Context, what, remedy string) (Connection, error) {
	if e.Connection == nil {
		return Connection{}, fmt.Errorf("cannot run %s: there is no connection that it could use; %s", what, remedy)
	}
	c, err := e.Connection(ctx)
	if err != nil {
		return c, fmt.Errorf("cannot run %s: %w", what, err)
	}
	if !slices.Contains([]string{"ssh", "winrm"}, c.Kind) {
		return c, fmt.Errorf("cannot run %s: the communicator %s has no port that it could reach the guest by; %s", what, c.Kind, remedy)
	}
	return c, nil
}
