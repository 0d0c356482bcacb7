package sim

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/internal/sim/guest"
	"ingot/internal/sim/qemu"
)

// Run commands on real Linux machines. What carries them is not Azure's: the simulation signs in by SSH, past the network rules, with a key
// of its own that every machine's account gets beside its owner's, and becomes root with sudo. What happens then is what Azure's handler
// does (github.com/Azure/run-command-handler-linux): bash runs a file in /var/lib/waagent/run-command-handler, with the named parameters in
// its environment. The guest reaches the simulated storage through a proxy that the same connection brings along.

// agentFor makes the key of a machine's agent and adds it to what the machine is told at its first boot.
func agentFor(x *realMachine, p *qemu.Provisioning) {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) //nolint:errcheck // never fails: crypto/rand
	s, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
	if err != nil || p.User == "" {
		return
	}
	x.agent, x.user = hex.EncodeToString(seed), p.User
	p.Keys = append(p.Keys, qemu.SSHKey{Path: "/home/" + p.User + "/.ssh/authorized_keys", Value: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey()))) + " simulated-azure-agent"})
}

// commandGuest is what runs a machine's commands.
type commandGuest interface {
	Up() bool
	Execute(guest.AgentScript) (int, error)
}

// commandGuest returns nil where there is none: a machine that is off, or one without an agent.
func (w *Azure) commandGuest(m *machine) commandGuest {
	switch {
	case m.guest != nil:
		return m.guest
	case m.real != nil && m.real.vm != nil && m.real.agent != "":
		return &realAgent{w: w, vm: m.real.vm, user: m.real.user, seed: m.real.agent}
	}
	return nil
}

type realAgent struct {
	w          *Azure
	vm         *qemu.Machine
	user, seed string
}

// Up is always so while the machine runs: whether its system does is found out by Execute.
func (a *realAgent) Up() bool { return true }

// agentPatience is how long a guest may take to come back from a restart.
const agentPatience = 10 * time.Minute

// Execute waits until the guest lets the agent in, and runs a script to its end.
func (a *realAgent) Execute(x guest.AgentScript) (int, error) {
	seed, err := hex.DecodeString(a.seed)
	if err != nil {
		return 0, guest.ErrDown
	}
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return 0, guest.ErrDown
	}
	cert, ca, err := a.w.agentCertificate()
	if err != nil {
		return 0, guest.ErrDown
	}
	config := &ssh.ClientConfig{User: a.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, Timeout: 10 * time.Second,
		HostKeyCallback: ssh.InsecureIgnoreHostKey()} //nolint:gosec // the machine is this simulation's own, on loopback
	var c *ssh.Client
	for limit := time.Now().Add(agentPatience); c == nil; {
		select {
		case <-a.vm.Exited():
			return 0, guest.ErrDown
		case <-a.w.stop:
			return 0, guest.ErrDown
		case <-time.After(100 * time.Millisecond): // a real machine is being waited for
		}
		if c, err = ssh.Dial("tcp", a.vm.Port(sshPort), config); err != nil && time.Now().After(limit) {
			return 0, guest.ErrDown
		}
	}
	defer c.Close() //nolint:errcheck // its work is done
	l, err := c.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, guest.ErrDown
	}
	defer l.Close() //nolint:errcheck // closed with the connection
	go a.w.agentProxy(l, cert)
	s, err := c.NewSession()
	if err != nil {
		return 0, guest.ErrDown
	}
	defer s.Close() //nolint:errcheck // closed by its end already
	if x.Began != nil {
		x.Began()
	}
	s.Stdin = strings.NewReader(handlerProgram(x, "http://"+l.Addr().String(), ca))
	s.Stdout, s.Stderr = agentStream{x.Out, 1}, agentStream{x.Out, 2}
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-a.w.stop:
			c.Close() //nolint:errcheck // it ends what waits
		case <-over:
		}
	}()
	err = s.Run("exec sudo -n bash -s")
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Signal() == "":
		return exit.ExitStatus(), nil
	}
	return 0, guest.ErrWentDown
}

type agentStream struct {
	out    func(stream int, text string)
	stream int
}

func (s agentStream) Write(b []byte) (int, error) {
	s.out(s.stream, string(b))
	return len(b), nil
}

// handlerProgram is what root runs: it puts the script where the handler puts it, and runs it as the handler does, which is a service of
// systemd's: its umask is 022 (systemd.exec(5), UMask=).
func handlerProgram(x guest.AgentScript, proxy string, ca []byte) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	var b strings.Builder
	b.WriteString("umask 077\nd=/var/lib/waagent/run-command-handler/download/" + x.Name + "/0\nmkdir -p \"$d\" && cd \"$d\" || exit 1\nbase64 -d >script.sh <<'X'\n" +
		base64.StdEncoding.EncodeToString([]byte(x.Text)) + "\nX\nchmod 700 script.sh\n{ cat /etc/ssl/certs/ca-certificates.crt 2>/dev/null; cat <<'X'\n" + string(ca) + "X\n} >/run/simulated-azure.pem\nchmod 644 /run/simulated-azure.pem\n")
	for _, name := range slices.Sorted(maps.Keys(x.Params)) {
		b.WriteString("export " + name + "=" + quote(x.Params[name]) + "\n")
	}
	b.WriteString("export https_proxy=" + proxy + " SSL_CERT_FILE=/run/simulated-azure.pem CURL_CA_BUNDLE=/run/simulated-azure.pem\n")
	if x.User != "" {
		return b.String() + "chmod 755 \"$d\" script.sh\numask 022\nexec sudo -n -E -u " + quote(x.User) + " ./script.sh </dev/null\n"
	}
	return b.String() + "umask 022\nexec /bin/bash -c ./script.sh </dev/null\n"
}

// agentCertificate is what the simulated storage shows to guests, and its authority.
func (w *Azure) agentCertificate() (tls.Certificate, []byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cert == nil {
		c, err := authority()
		if err != nil {
			return tls.Certificate{}, nil, err
		}
		w.cert = c
	}
	key, err := x509.ParsePKCS8PrivateKey(w.cert.Key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{w.cert.Certificate, w.cert.CA}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.cert.CA}), nil
}

// agentProxy answers CONNECT: the simulation's own hosts itself, all others over this computer's network.
func (w *Azure) agentProxy(l net.Listener, cert tls.Certificate) {
	own := &handed{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: w.Handler(), ReadHeaderTimeout: time.Minute}
	go server.Serve(tls.NewListener(own, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})) //nolint:errcheck // ends with the listener
	defer close(own.closed)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			in := bufio.NewReader(conn)
			req, err := http.ReadRequest(in)
			if err != nil || req.Method != http.MethodConnect {
				io.WriteString(conn, "HTTP/1.1 501 Not Implemented\r\n\r\n") //nolint:errcheck // the caller may have gone
				conn.Close()                                                 //nolint:errcheck // as above
				return
			}
			host, _, err := net.SplitHostPort(req.Host)
			if err == nil && strings.HasSuffix(host, ".localhost") {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n") //nolint:errcheck // what follows fails then
				select {
				case own.conns <- conn:
				case <-own.closed:
				}
				return
			}
			to, err := net.DialTimeout("tcp", req.Host, 10*time.Second)
			if err != nil {
				io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\n") //nolint:errcheck // the caller may have gone
				conn.Close()                                             //nolint:errcheck // as above
				return
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n") //nolint:errcheck // what follows fails then
			go func() {
				io.Copy(to, in) //nolint:errcheck // ends with either side
				to.Close()      //nolint:errcheck // as above
			}()
			io.Copy(conn, to) //nolint:errcheck // ends with either side
			conn.Close()      //nolint:errcheck // as above
		}()
	}
}

// handed is a listener of connections that somebody else has accepted.
type handed struct {
	conns  chan net.Conn
	closed chan struct{}
}

// Accept waits for the next one.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close does nothing: the proxy's end ends it.
func (h *handed) Close() error { return nil }

// Addr is nobody's.
func (h *handed) Addr() net.Addr { return &net.TCPAddr{} }
