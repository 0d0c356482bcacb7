package communicator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// errNoSFTP: the guest's SSH server offers no SFTP.
var errNoSFTP = errors.New("cannot open SFTP in the guest")

// sftp is the file channel of the connection. A connection that has broken meanwhile is made again.
func (s *SSH) sftp(ctx context.Context) (*ssh.Client, *sftp.Client, error) {
	for wait := sshFirstWait; ; wait = min(wait*3/2, sshLongWait) {
		c, err := s.client(ctx)
		if err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		f := s.files
		if s.conn != c {
			f = nil
		}
		s.mu.Unlock()
		if f != nil {
			return c, f, nil
		}
		stop := context.AfterFunc(ctx, func() { s.broken(c) })
		f, err = sftp.NewClient(c, sftp.UseConcurrentWrites(true), sftp.UseConcurrentReads(true))
		refused := err != nil && alive(c)
		stop()
		switch {
		case ctx.Err() != nil:
			s.broken(c)
			return nil, nil, context.Cause(ctx)
		case err == nil:
			s.mu.Lock()
			if s.conn == c {
				s.files = f
			}
			s.mu.Unlock()
			return c, f, nil
		case refused:
			return nil, nil, fmt.Errorf("%w (its SSH server needs the subsystem sftp): %w", errNoSFTP, err)
		}
		s.broken(c)
		if err := s.c.Clock.Sleep(ctx, wait); err != nil {
			return nil, nil, err
		}
	}
}

// alive asks the other side of a connection for an answer, which may be a refusal.
func alive(c *ssh.Client) bool {
	_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
	return err == nil
}

// again repeats f while the connection breaks under it.
func (s *SSH) again(ctx context.Context, f func(*sftp.Client) error) error {
	for wait := sshFirstWait; ; wait = min(wait*3/2, sshLongWait) {
		c, files, err := s.sftp(ctx)
		if err != nil {
			return err
		}
		// A channel knows nothing of contexts: closing it ends what waits.
		done := s.giveUp(ctx, c, files.Close)
		err = f(files)
		// A request that could not even be sent fails with io.EOF, with which nothing that is asked here ends otherwise.
		broke := errors.Is(err, sftp.ErrSSHFxConnectionLost) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) && !alive(c)
		done()
		switch {
		case ctx.Err() != nil:
			s.mu.Lock()
			if s.files == files {
				s.files = nil
			}
			s.mu.Unlock()
			return context.Cause(ctx)
		case !broke:
			return err
		}
		s.broken(c)
		if err := s.c.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// home makes a path that begins with ~/ relative, which SFTP takes from the user's home.
func home(p string) string { return strings.TrimPrefix(p, "~/") }

// settleProgram checks what has arrived and renames it. It may run again when its answer is lost: then there is nothing left to rename.
const settleProgram = `p=%[1]s; n=%[2]s; want=%[3]s
if [ -e "$p" ]; then
	set -- $(sha256sum <"$p")
	if [ "$1" = "$want" ]; then exec mv -f -- "$p" "$n"; fi
	rm -f -- "$p"
elif [ -f "$n" ]; then
	set -- $(sha256sum <"$n")
	if [ "$1" = "$want" ]; then exit 0; fi
fi
echo "its checksum in the guest is ${1:-unknown}" >&2
exit 1
`

// Upload writes size bytes of r to path in the guest, beside the target first; it checks their SHA-256 and then renames. The folders on
// the way are made. A file of this computer keeps its permissions; nobody else can read it before it has them.
func (s *SSH) Upload(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	if name == "" || strings.HasSuffix(name, "/") {
		return fmt.Errorf("cannot upload to %q: it names a folder, not a file", name)
	}
	name = home(name)
	mode := fs.FileMode(0o644)
	if f, ok := r.(interface{ Stat() (fs.FileInfo, error) }); ok {
		if info, err := f.Stat(); err == nil {
			mode = info.Mode().Perm()
		}
	}
	// The name beside it is short: the target's own may be as long as a name can be.
	mark := sha256.Sum256([]byte(name))
	part := path.Join(path.Dir(name), ".ingot-part-"+hex.EncodeToString(mark[:8]))
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, size)); err != nil {
		return fmt.Errorf("cannot read what is to be uploaded: %w", err)
	}
	put := func() error {
		return s.again(ctx, func(c *sftp.Client) error { return uploadSFTP(c, name, part, mode, r, size) })
	}
	if s.c.SCP {
		put = func() error { return s.uploadSCP(ctx, name, part, uint32(mode), r, size) }
	}
	if err := put(); err != nil {
		return fmt.Errorf("cannot upload: %w", err)
	}
	said, code, err := s.ask(ctx, fmt.Sprintf(settleProgram, quote(part), quote(name), hex.EncodeToString(sum.Sum(nil))))
	if err == nil && code != 0 {
		err = fmt.Errorf("cannot upload %s: %s", name, said)
	}
	return err
}

// uploadSFTP brings r to part.
func uploadSFTP(c *sftp.Client, name, part string, mode fs.FileMode, r io.ReaderAt, size int64) error {
	if info, err := c.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("cannot write %s: it is a folder in the guest; end the destination with / to put the file into it", name)
	}
	if dir := path.Dir(name); dir != "." {
		if err := c.MkdirAll(dir); err != nil {
			return denied(dir, err)
		}
	}
	c.Remove(part) //nolint:errcheck // what an earlier go left may be read-only; mostly there is none
	f, err := c.Create(part)
	if err != nil {
		return denied(name, err)
	}
	if err := f.Chmod(0o600); err != nil {
		return errors.Join(denied(name, err), f.Close())
	}
	_, err = f.ReadFrom(io.NewSectionReader(r, 0, size))
	return errors.Join(err, f.Chmod(mode), f.Close())
}

func denied(name string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("cannot write %s: the account may not; upload to /tmp and move it with sudo in a shell provisioner", name)
	}
	return fmt.Errorf("cannot write %s: %w", name, err)
}

// Download reads a file of the guest.
func (s *SSH) Download(ctx context.Context, name string, w io.Writer) error {
	if s.c.SCP {
		return s.downloadSCP(ctx, name, w)
	}
	var done int64
	err := s.again(ctx, func(c *sftp.Client) error {
		f, err := c.Open(home(name))
		if err != nil {
			return fmt.Errorf("cannot read %s in the guest: %w", name, err)
		}
		defer f.Close() //nolint:errcheck // only read
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return ErrFolder
		}
		if _, err := f.Seek(done, io.SeekStart); err != nil {
			return err
		}
		n, err := io.Copy(w, f)
		done += n
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot download: %w", err)
	}
	return nil
}
