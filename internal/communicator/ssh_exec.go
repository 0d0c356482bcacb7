package communicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// errLine says that the connection broke under a command, whose end is unknown.
var errLine = errors.New("the connection to the guest broke")

// session opens a channel. A connection that has broken meanwhile is made again: nothing has begun on it.
func (s *SSH) session(ctx context.Context) (*ssh.Client, *ssh.Session, error) {
	for wait := sshFirstWait; ; wait = min(wait*3/2, sshLongWait) {
		c, err := s.client(ctx)
		if err != nil {
			return nil, nil, err
		}
		stop := context.AfterFunc(ctx, func() { s.broken(c) })
		session, err := c.NewSession()
		stop()
		switch {
		case ctx.Err() != nil:
			s.broken(c) // it may never answer, and what it opens nobody uses
			return nil, nil, context.Cause(ctx)
		case err == nil:
			return c, session, nil
		}
		s.broken(c)
		if err := s.c.Clock.Sleep(ctx, wait); err != nil {
			return nil, nil, err
		}
	}
}

// giveUp ends what waits on c when ctx ends: with end at first, then with the connection, as a guest that hangs answers nothing.
func (s *SSH) giveUp(ctx context.Context, c *ssh.Client, end func() error) (done func()) {
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		go end() //nolint:errcheck // to end the wait
		limit := time.NewTimer(sshGrace)
		defer limit.Stop()
		select {
		case <-over:
		case <-limit.C:
			s.broken(c)
		}
	})
	return func() {
		stop()
		close(over)
	}
}

// begun is printed before a program's own output: what a login shell's start files print comes first, and is nobody's.
const begun = "#ingot:begun"

// exec runs a program of the guest's shell, given over standard input, so that nothing of it is on a command line; each is asked for
// its exit code.
func (s *SSH) exec(ctx context.Context, program string, stdout, stderr io.Writer) (int, error) {
	c, session, err := s.session(ctx)
	if err != nil {
		return 0, err
	}
	defer session.Close() //nolint:errcheck // closed by its end already
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader("echo '"+begun+"'\n"+program), &afterBegun{w: stdout}, stderr
	done := s.giveUp(ctx, c, session.Close)
	err = session.Run("exec sh -s")
	done()
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

// afterBegun passes on what follows the line begun.
type afterBegun struct {
	w    io.Writer
	seen bool
	head []byte
}

func (a *afterBegun) Write(b []byte) (int, error) {
	n := len(b)
	if !a.seen {
		a.head = append(a.head, b...)
		_, rest, found := bytes.Cut(a.head, []byte(begun+"\n"))
		if !found {
			a.head = a.head[max(0, len(a.head)-len(begun)):]
			return n, nil
		}
		a.seen, a.head, b = true, nil, rest
	}
	if len(b) > 0 {
		if _, err := a.w.Write(b); err != nil {
			return 0, err
		}
	}
	return n, nil
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
const factsProgram = `uname -n
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
