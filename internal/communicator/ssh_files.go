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
)

// sftp is the file channel of the connection.
func (s *SSH) sftp(ctx context.Context) (*sftp.Client, error) {
	c, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == c && s.files != nil {
		return s.files, nil
	}
	f, err := sftp.NewClient(c, sftp.UseConcurrentWrites(true), sftp.UseConcurrentReads(true))
	if err != nil {
		return nil, fmt.Errorf("cannot open SFTP in the guest (its SSH server needs the subsystem sftp): %w", err)
	}
	if s.conn == c {
		s.files = f
	}
	return f, nil
}

// again repeats f while the connection breaks under it.
func (s *SSH) again(ctx context.Context, f func(*sftp.Client) error) error {
	for wait := sshFirstWait; ; wait = min(wait*3/2, sshLongWait) {
		c, err := s.sftp(ctx)
		if err != nil {
			return err
		}
		// A channel knows nothing of contexts: closing it ends what waits.
		stop := context.AfterFunc(ctx, func() { c.Close() }) //nolint:errcheck // to end the wait
		err = f(c)
		stop()
		switch {
		case ctx.Err() != nil:
			s.mu.Lock()
			s.files = nil
			s.mu.Unlock()
			return context.Cause(ctx)
		case !errors.Is(err, sftp.ErrSSHFxConnectionLost) && !errors.Is(err, io.ErrUnexpectedEOF):
			return err
		}
		s.mu.Lock()
		conn := s.conn
		s.mu.Unlock()
		if conn != nil {
			s.broken(conn)
		}
		if err := s.c.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// home makes a path that begins with ~/ relative, which SFTP takes from the user's home.
func home(p string) string { return strings.TrimPrefix(p, "~/") }

// Upload writes size bytes of r to path in the guest, beside the target first; it checks their SHA-256 and then renames. The folders on
// the way are made. A file of this computer keeps its permissions.
func (s *SSH) Upload(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	name = home(name)
	mode := fs.FileMode(0o644)
	if f, ok := r.(interface{ Stat() (fs.FileInfo, error) }); ok {
		if info, err := f.Stat(); err == nil {
			mode = info.Mode().Perm()
		}
	}
	part := path.Join(path.Dir(name), ".ingot-part-"+path.Base(name))
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, size)); err != nil {
		return fmt.Errorf("cannot read what is to be uploaded: %w", err)
	}
	err := s.again(ctx, func(c *sftp.Client) error {
		if info, err := c.Stat(name); err == nil && info.IsDir() {
			return fmt.Errorf("cannot write %s: it is a folder in the guest; end the destination with / to put the file into it", name)
		}
		if dir := path.Dir(name); dir != "." {
			if err := c.MkdirAll(dir); err != nil {
				return denied(dir, err)
			}
		}
		f, err := c.Create(part)
		if err != nil {
			return denied(name, err)
		}
		_, err = f.ReadFrom(io.NewSectionReader(r, 0, size))
		return errors.Join(err, f.Chmod(mode), f.Close())
	})
	if err != nil {
		return fmt.Errorf("cannot upload: %w", err)
	}
	said, code, err := s.ask(ctx, "p="+quote(part)+"; set -- $(sha256sum \"$p\"); [ \"$1\" = "+hex.EncodeToString(sum.Sum(nil))+" ] || { rm -f \"$p\"; echo \"its checksum in the guest is $1\" >&2; exit 1; }; mv -f \"$p\" "+quote(name)+"\n")
	if err == nil && code != 0 {
		err = fmt.Errorf("cannot upload %s: %s", name, said)
	}
	return err
}

func denied(name string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("cannot write %s: the account may not; upload to /tmp and move it with sudo in a shell provisioner", name)
	}
	return fmt.Errorf("cannot write %s: %w", name, err)
}

// Download reads a file of the guest.
func (s *SSH) Download(ctx context.Context, name string, w io.Writer) error {
	var done int64
	err := s.again(ctx, func(c *sftp.Client) error {
		f, err := c.Open(home(name))
		if err != nil {
			return fmt.Errorf("cannot read %s in the guest: %w", name, err)
		}
		defer f.Close() //nolint:errcheck // only read
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
