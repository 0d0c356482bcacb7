package sshtest

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// direct connects a client to where it wants to go (RFC 4254, section 7.2).
func (s *Server) direct(n ssh.NewChannel) {
	var to struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}
	o := s.options()
	s.mu.Lock()
	s.forwards++
	s.mu.Unlock()
	if o.NoForwarding || ssh.Unmarshal(n.ExtraData(), &to) != nil {
		n.Reject(ssh.Prohibited, "open failed") //nolint:errcheck // the connection shows it
		return
	}
	addr := net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port)))
	dial := o.Forward
	if dial == nil {
		dial = func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 5*time.Second) }
	}
	out, err := dial(addr)
	if err != nil {
		n.Reject(ssh.ConnectionFailed, err.Error()) //nolint:errcheck // the connection shows it
		return
	}
	ch, requests, err := n.Accept()
	if err != nil {
		out.Close() //nolint:errcheck // nobody wants it
		return
	}
	go ssh.DiscardRequests(requests)
	join(ch, out)
}

func join(a, b io.ReadWriteCloser) {
	var both sync.WaitGroup
	for _, d := range [][2]io.ReadWriteCloser{{a, b}, {b, a}} {
		both.Go(func() {
			io.Copy(d[0], d[1]) //nolint:errcheck // the other side sees it end
			if half, ok := d[0].(interface{ CloseWrite() error }); ok {
				half.CloseWrite() //nolint:errcheck // as above
			}
		})
	}
	both.Wait()
	a.Close() //nolint:errcheck // it is over
	b.Close() //nolint:errcheck // it is over
}

// requests answers what is asked of the connection as a whole: ports that lead to the client (RFC 4254, section 7.1).
func (s *Server) requests(server *ssh.ServerConn, requests <-chan *ssh.Request) {
	var open []net.Listener
	defer func() {
		for _, l := range open {
			l.Close() //nolint:errcheck // nobody comes any more
		}
	}()
	for r := range requests {
		if r.Type != "tcpip-forward" {
			if r.WantReply {
				r.Reply(r.Type == "keepalive@openssh.com", nil) //nolint:errcheck // the connection shows it
			}
			continue
		}
		var at struct {
			Host string
			Port uint32
		}
		if s.options().NoForwarding || ssh.Unmarshal(r.Payload, &at) != nil {
			r.Reply(false, nil) //nolint:errcheck // the connection shows it
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(at.Port))))
		if err != nil {
			r.Reply(false, nil) //nolint:errcheck // the connection shows it
			continue
		}
		open = append(open, l)
		r.Reply(true, nil) //nolint:errcheck // the connection shows it
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					ch, requests, err := server.OpenChannel("forwarded-tcpip", ssh.Marshal(struct {
						Host     string
						Port     uint32
						From     string
						FromPort uint32
					}{at.Host, at.Port, "127.0.0.1", 1}))
					if err != nil {
						c.Close() //nolint:errcheck // nobody wants it
						return
					}
					go ssh.DiscardRequests(requests)
					join(ch, c)
				}()
			}
		}()
	}
}

// lentAgent is the client's SSH agent as commands of one connection find it.
type lentAgent struct {
	server *ssh.ServerConn

	mu  sync.Mutex
	dir string // short: the name of a socket has a limit
	l   net.Listener
}

func (a *lentAgent) path() string { return filepath.Join(a.dir, "agent") }

func (a *lentAgent) open() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.l != nil {
		return true
	}
	var err error
	if a.dir, err = os.MkdirTemp("", "sshtest"); err != nil {
		return false
	}
	l, err := net.Listen("unix", a.path())
	if err != nil {
		return false
	}
	a.l = l
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			ch, requests, err := a.server.OpenChannel("auth-agent@openssh.com", nil)
			if err != nil {
				c.Close() //nolint:errcheck // nobody wants it
				continue
			}
			go ssh.DiscardRequests(requests)
			go join(ch, c)
		}
	}()
	return true
}

func (a *lentAgent) socket() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.l == nil {
		return ""
	}
	return a.path()
}

func (a *lentAgent) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.l != nil {
		a.l.Close()         //nolint:errcheck // its connection is gone
		os.RemoveAll(a.dir) //nolint:errcheck // what is left is empty
	}
}
