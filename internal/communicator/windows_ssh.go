package communicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// NewWindowsSSH makes a communicator to a Windows guest whose OpenSSH server answers. It runs the same guest programs as NewWinRM, one command
// line each, which works with either default shell of the server (cmd.exe, or powershell.exe: Microsoft Learn, "OpenSSH Server configuration
// for Windows Server and Windows"); files go over SFTP. Nothing is sent yet.
func NewWindowsSSH(c SSHConfig) (Windows, error) {
	c.Windows, c.ForwardAgent, c.Terminal = true, false, false
	s, err := NewSSH(c)
	if err != nil {
		return nil, err
	}
	// The connection has patience of its own with a password that is refused.
	return &winrm{c: WinRMConfig{Address: c.Address, User: c.User, Clock: c.Clock, Dir: c.Dir, AuthPatience: time.Nanosecond}, over: s}, nil
}

// noWay is an error that no further try can mend, in the words of whoever looks for one.
type noWay struct{ error }

// Is says that it is no less final than another certificate.
func (n noWay) Is(target error) bool { return target == ErrCertificate }

// Unwrap is what happened.
func (n noWay) Unwrap() error { return n.error }

// line runs a command line of the guest's shell with that standard input, and hands its output out by lines; size is a line's length as the
// guest sent it. When the connection is lost nobody knows how it ended.
func (s *SSH) line(ctx context.Context, line string, stdin io.Reader, out func(stream, line string, size int)) (int, error) {
	c, session, err := s.session(ctx)
	if err != nil {
		if errors.Is(err, ErrAuth) || errors.Is(err, ErrHostKey) || errors.Is(err, errPin) || errors.Is(err, errWay) {
			err = noWay{err}
		}
		return 0, err
	}
	defer session.Close() //nolint:errcheck // closed by its end already
	stdout, stderr := &lineWriter{stream: "stdout", out: out}, &lineWriter{stream: "stderr", out: out}
	session.Stdin, session.Stdout, session.Stderr = stdin, stdout, stderr
	done := s.giveUp(ctx, c, session.Close)
	err = session.Run(line)
	done()
	var exit *ssh.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err == nil, errors.As(err, &exit) && exit.Signal() == "":
		stdout.end()
		stderr.end()
		if exit != nil {
			// Windows' codes have 32 bits and may be negative, which SSH knows nothing of.
			return int(int32(uint32(exit.ExitStatus()))), nil //nolint:gosec // that is the point
		}
		return 0, nil
	}
	s.broken(c)
	return 0, fmt.Errorf("%w: %w", errLine, err)
}

// lineWriter hands out whole lines of what is written to it.
type lineWriter struct {
	stream string
	out    func(stream, line string, size int)
	rest   []byte
}

func (l *lineWriter) Write(b []byte) (int, error) {
	l.rest = append([]byte(nil), lines(l.stream, append(l.rest, b...), l.out)...)
	return len(b), nil
}

func (l *lineWriter) end() {
	if len(l.rest) > 0 {
		l.out(l.stream, string(bytes.TrimRight(l.rest, "\r")), len(l.rest))
		l.rest = nil
	}
}

// sftpPath is a path of Windows as its sftp-server takes it: /C:/folder/file. ok is false for one that only PowerShell can resolve (relative,
// with ~, of a share).
func sftpPath(name string) (p string, ok bool) {
	if len(name) < 4 || name[1] != ':' || name[2] != '\\' && name[2] != '/' || strings.ContainsAny(name[2:], "*?%") {
		return "", false
	}
	return "/" + strings.ReplaceAll(name, `\`, "/"), true
}

// sendSFTP brings a file beside its target over SFTP and has the guest's own receiver check and rename it. sent is false where that cannot be
// done: then it goes to the receiver's standard input.
func (w *winrm) sendSFTP(ctx context.Context, name string, r io.ReaderAt, size int64, sum string) (sent bool, err error) {
	to, ok := sftpPath(name)
	if w.over == nil || w.over.c.SCP || !ok {
		return false, nil
	}
	for mismatches := 0; ; mismatches++ {
		err = w.over.again(ctx, func(c *sftp.Client) error { return putSFTP(c, to, r, size) })
		if errors.Is(err, errNoSFTP) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("cannot upload %s: %w", name, err)
		}
		said := ""
		code, complaints, err := w.steady(ctx, "receive", receiveArgs{Path: name, Size: size, SHA256: sum, Offset: size}, func(line string) { said = line })
		switch {
		case err != nil:
			return false, fmt.Errorf("cannot upload %s: %w", name, err)
		case strings.HasPrefix(said, "#ingot:received "):
			return true, nil
		case said != "#ingot:mismatch":
			return false, fmt.Errorf("cannot upload %s: the guest's receiver exited with code %d: %s", name, code, complaints)
		case mismatches >= 2:
			return false, fmt.Errorf("cannot upload %s: it arrives damaged again and again", name)
		}
	}
}

// putSFTP writes r beside the target, from its beginning.
func putSFTP(c *sftp.Client, to string, r io.ReaderAt, size int64) error {
	part := to + ".part"
	if dir := path.Dir(to); len(dir) > len("/C:") {
		if err := c.MkdirAll(dir); err != nil {
			return fmt.Errorf("cannot make %s: %w", dir, err)
		}
	}
	f, err := c.Create(part)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", part, err)
	}
	_, err = f.ReadFrom(io.NewSectionReader(r, 0, size))
	return errors.Join(err, f.Close())
}
