package communicator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"
)

// scp copies over the protocol of OpenSSH's scp, whose sink and source mode the guest's own program speaks ("scp -t" and "scp -f"; it is
// described in the comments of OpenSSH's scp.c only). It knows no place to go on from: what broke off begins again.
type scp struct {
	session *ssh.Session
	in      io.WriteCloser
	out     *bufio.Reader
	said    strings.Builder
}

// scpAgain runs f on a channel of scp, again while the connection breaks under it.
func (s *SSH) scpAgain(ctx context.Context, command string, f func(*scp) error) error {
	for wait := sshFirstWait; ; wait = min(wait*3/2, sshLongWait) {
		c, session, err := s.session(ctx)
		if err != nil {
			return err
		}
		x := &scp{session: session}
		session.Stderr = &x.said
		done := s.giveUp(ctx, c, session.Close)
		err = x.run(command, f)
		done()
		session.Close() //nolint:errcheck // closed by its end already
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			return nil
		case alive(c):
			if said := strings.TrimSpace(x.said.String()); said != "" {
				err = fmt.Errorf("%w (%s)", err, said)
			}
			return err
		}
		s.broken(c)
		if err := s.c.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (x *scp) run(command string, f func(*scp) error) error {
	in, err := x.session.StdinPipe()
	if err != nil {
		return err
	}
	out, err := x.session.StdoutPipe()
	if err != nil {
		return err
	}
	x.in, x.out = in, bufio.NewReaderSize(out, 64<<10)
	if err := x.session.Start(command); err != nil {
		return fmt.Errorf("cannot start scp in the guest: %w", err)
	}
	if err := f(x); err != nil {
		return err
	}
	in.Close() //nolint:errcheck // the other side ends now
	if err := x.session.Wait(); err != nil {
		return fmt.Errorf("scp in the guest: %w", err)
	}
	return nil
}

// heard reads the other side's answer: 0 for yes, else a line that says why not.
func (x *scp) heard() error {
	b, err := x.out.ReadByte()
	if err != nil {
		return fmt.Errorf("scp in the guest has ended: %w", err)
	}
	if b == 0 {
		return nil
	}
	line, err := x.out.ReadString('\n')
	if b > 2 {
		return fmt.Errorf("scp in the guest answers %q (a login shell that prints something breaks scp; use ssh_file_transfer_method = \"sftp\")", string(b)+line)
	}
	if err != nil {
		return fmt.Errorf("scp in the guest has ended: %w", err)
	}
	return errors.New(strings.TrimSpace(strings.TrimPrefix(line, "scp: ")))
}

// send writes one file of that size, readable by its owner only.
func (x *scp) send(r io.Reader, size int64) error {
	if err := x.heard(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(x.in, "C0600 %d file\n", size); err != nil {
		return err
	}
	if err := x.heard(); err != nil {
		return err
	}
	if _, err := io.Copy(x.in, r); err != nil {
		return err
	}
	if _, err := x.in.Write([]byte{0}); err != nil {
		return err
	}
	return x.heard()
}

// receive reads one file.
func (x *scp) receive(w io.Writer) error {
	if _, err := x.in.Write([]byte{0}); err != nil {
		return err
	}
	for {
		b, err := x.out.ReadByte()
		if err != nil {
			return fmt.Errorf("scp in the guest has ended: %w", err)
		}
		line, err := x.out.ReadString('\n')
		if err != nil {
			return fmt.Errorf("scp in the guest has ended: %w", err)
		}
		switch {
		case b == 1 || b == 2:
			return errors.New(strings.TrimSpace(strings.TrimPrefix(line, "scp: ")))
		case b == 'T': // times, which nobody asked for
			if _, err := x.in.Write([]byte{0}); err != nil {
				return err
			}
			continue
		case b != 'C':
			return fmt.Errorf("scp in the guest answers %q", string(b)+line)
		}
		var mode uint32
		var size int64
		if _, err := fmt.Sscanf(line, "%o %d", &mode, &size); err != nil {
			return fmt.Errorf("scp in the guest answers %q", string(b)+line)
		}
		if _, err := x.in.Write([]byte{0}); err != nil {
			return err
		}
		if _, err := io.CopyN(w, x.out, size); err != nil {
			return err
		}
		if err := x.heard(); err != nil {
			return err
		}
		_, err = x.in.Write([]byte{0})
		return err
	}
}

// unwritten keeps a receiver from getting bytes twice when a copy is begun again.
type unwritten struct {
	w          io.Writer
	done, skip int64
}

func (u *unwritten) Write(b []byte) (int, error) {
	n := len(b)
	if k := min(u.skip, int64(n)); k > 0 {
		b, u.skip = b[k:], u.skip-k
	}
	if len(b) > 0 {
		if _, err := u.w.Write(b); err != nil {
			return 0, err
		}
		u.done += int64(len(b))
	}
	return n, nil
}

// uploadSCP brings r to part with scp.
func (s *SSH) uploadSCP(ctx context.Context, name, part string, mode uint32, r io.ReaderAt, size int64) error {
	said, code, err := s.ask(ctx, fmt.Sprintf("n=%s\nif [ -d \"$n\" ]; then echo 'it is a folder in the guest; end the destination with / to put the file into it' >&2; exit 1; fi\ncase $n in */*) mkdir -p -- \"${n%%/*}\" || exit 1 ;; esac\nrm -f -- %s\n", quote(name), quote(part)))
	if err == nil && code != 0 {
		err = fmt.Errorf("cannot write %s: %s", name, said)
	}
	if err != nil {
		return err
	}
	if err := s.scpAgain(ctx, "exec scp -q -t -- "+quote(part), func(x *scp) error { return x.send(io.NewSectionReader(r, 0, size), size) }); err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	said, code, err = s.ask(ctx, fmt.Sprintf("[ ! -e %[1]s ] || chmod %[2]o -- %[1]s\n", quote(part), mode))
	if err == nil && code != 0 {
		err = fmt.Errorf("cannot write %s: %s", name, said)
	}
	return err
}

// downloadSCP reads a file of the guest with scp.
func (s *SSH) downloadSCP(ctx context.Context, name string, w io.Writer) error {
	u := &unwritten{w: w}
	err := s.scpAgain(ctx, "exec scp -q -f -- "+quote(home(name)), func(x *scp) error {
		u.skip = u.done
		return x.receive(u)
	})
	if err != nil {
		return fmt.Errorf("cannot download %s: %w", name, err)
	}
	return nil
}
