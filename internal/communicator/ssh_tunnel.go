package communicator

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// tunnels are ports that lead through the connection. Those of this computer are open as long as the communicator, those of the guest as
// long as one connection.
type tunnels struct {
	remote  []tunnel
	locals  []net.Listener
	current func() *ssh.Client
}

type tunnel struct{ listen, to string }

// ParseTunnel reads "port:host:port".
func ParseTunnel(s string) (listen, to string, err error) {
	port, to, _ := strings.Cut(s, ":")
	host, end, err := net.SplitHostPort(to)
	if err != nil || host == "" || !isPort(port) || !isPort(end) {
		return "", "", fmt.Errorf("cannot read the SSH tunnel %q: it is port:host:port, as 8080:localhost:80", s)
	}
	return net.JoinHostPort("localhost", port), to, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// newTunnels opens this computer's ports.
func newTunnels(local, remote []string, current func() *ssh.Client) (*tunnels, error) {
	p := &tunnels{current: current}
	for _, s := range remote {
		listen, to, err := ParseTunnel(s)
		if err != nil {
			return nil, err
		}
		p.remote = append(p.remote, tunnel{listen, to})
	}
	for _, s := range local {
		listen, to, err := ParseTunnel(s)
		if err == nil {
			var l net.Listener
			if l, err = net.Listen("tcp", listen); err == nil {
				p.locals = append(p.locals, l)
				go p.serve(l, to)
				continue
			}
			err = fmt.Errorf("cannot open the SSH tunnel %s: %w", s, err)
		}
		p.close()
		return nil, err
	}
	return p, nil
}

// serve leads what comes to a port of this computer into the guest's network, over the connection there is at that time.
func (p *tunnels) serve(l net.Listener, to string) {
	accept(l, func() (net.Conn, error) {
		c := p.current()
		if c == nil {
			return nil, errors.New("not connected")
		}
		return c.Dial("tcp", to)
	})
}

// open asks the guest for its ports.
func (p *tunnels) open(c *ssh.Client) error {
	if p == nil {
		return nil
	}
	for _, t := range p.remote {
		l, err := c.Listen("tcp", t.listen)
		if err != nil {
			return fmt.Errorf("%w: it opens no port for the tunnel to %s (sshd_config: AllowTcpForwarding; or its port %s is taken): %w", errWay, t.to, t.listen, err)
		}
		go accept(l, func() (net.Conn, error) { return net.DialTimeout("tcp", t.to, 15*time.Second) })
	}
	return nil
}

func (p *tunnels) close() {
	if p == nil {
		return
	}
	for _, l := range p.locals {
		l.Close() //nolint:errcheck // nothing waits for it
	}
}

// accept joins what comes to l with what dial opens, until l ends.
func accept(l net.Listener, dial func() (net.Conn, error)) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close() //nolint:errcheck // it is over
			out, err := dial()
			if err != nil {
				return
			}
			defer out.Close() //nolint:errcheck // it is over
			var both sync.WaitGroup
			both.Go(func() { pipe(out, in) })
			both.Go(func() { pipe(in, out) })
			both.Wait()
		}()
	}
}

// pipe copies one direction and passes on that it has ended.
func pipe(to, from net.Conn) {
	io.Copy(to, from) //nolint:errcheck // the other side sees it end
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() //nolint:errcheck // as above
		return
	}
	to.Close() //nolint:errcheck // as above
}

// agentLink is where the scripts of a build find the forwarded agent: its real socket is another with each connection.
func (s *SSH) agentLink() string { return s.c.Dir + "-agent" }

// forward lends the agent to the guest over a connection.
func (s *SSH) forward(c *ssh.Client) error {
	if !s.c.ForwardAgent || s.c.Agent == "" {
		return nil
	}
	if err := agent.ForwardToRemote(c, s.c.Agent); err != nil {
		return fmt.Errorf("%w: cannot forward the SSH agent: %w", errWay, err)
	}
	session, err := c.NewSession()
	if err != nil {
		return err
	}
	defer session.Close() //nolint:errcheck // it has ended
	if err := agent.RequestAgentForwarding(session); err != nil {
		return fmt.Errorf("%w: the guest takes no forwarded SSH agent (sshd_config: AllowAgentForwarding); set ssh_disable_agent_forwarding: %w", errWay, err)
	}
	var said strings.Builder
	session.Stderr = &said
	var exit *ssh.ExitError
	if err := session.Run(`ln -sfn "$SSH_AUTH_SOCK" ` + quote(s.agentLink())); errors.As(err, &exit) {
		return fmt.Errorf("%w: the guest cannot use the forwarded SSH agent: %s", errWay, strings.TrimSpace(said.String()))
	} else if err != nil {
		return err
	}
	return nil
}

// quiet ends a connection over which nothing came or went for d; 0 leaves it as it is.
func quiet(c net.Conn, d time.Duration) net.Conn {
	if d <= 0 {
		return c
	}
	return &quietConn{Conn: c, d: d, t: time.AfterFunc(d, func() { c.Close() })} //nolint:errcheck // its reader sees it
}

type quietConn struct {
	net.Conn
	d time.Duration
	t *time.Timer
}

// Read is a sign of life when something came.
func (q *quietConn) Read(b []byte) (int, error) {
	n, err := q.Conn.Read(b)
	if n > 0 {
		q.t.Reset(q.d)
	}
	return n, err
}

// Write is one when something went.
func (q *quietConn) Write(b []byte) (int, error) {
	n, err := q.Conn.Write(b)
	if n > 0 {
		q.t.Reset(q.d)
	}
	return n, err
}

// Close ends it.
func (q *quietConn) Close() error {
	q.t.Stop()
	return q.Conn.Close()
}
