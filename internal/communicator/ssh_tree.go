package communicator

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pkg/sftp"
)

var _ Trees = (*SSH)(nil)

// UploadTree writes the files one after the other over the one connection: SFTP keeps many requests of a file under way at once.
func (s *SSH) UploadTree(ctx context.Context, dest string, files []LocalFile) error {
	for _, l := range files {
		to := strings.TrimRight(dest, "/") + "/" + l.Name
		if l.Path == "" {
			if err := s.again(ctx, func(c *sftp.Client) error { return c.MkdirAll(home(to)) }); err != nil {
				return fmt.Errorf("cannot upload: %w", denied(to, err))
			}
			continue
		}
		if err := s.uploadLocal(ctx, l.Path, to); err != nil {
			return err
		}
	}
	return nil
}

func (s *SSH) uploadLocal(ctx context.Context, from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("cannot upload: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot upload: %w", err)
	}
	return s.Upload(ctx, to, f, info.Size())
}

// DownloadTree walks the folder in the guest and brings each file.
func (s *SSH) DownloadTree(ctx context.Context, from, dest string, skipped func(string)) error {
	type found struct {
		remote, name string
		dir          bool
	}
	var all []found
	var links []string
	plain := home(strings.TrimRight(from, "/"))
	if plain == "" {
		return fmt.Errorf("cannot download %s: it is the whole guest", from)
	}
	err := s.again(ctx, func(c *sftp.Client) error {
		all, links = nil, nil
		roots := []string{plain}
		if HasPattern(plain) {
			var err error
			if roots, err = c.Glob(plain); err != nil {
				return err
			}
		}
		for _, root := range roots {
			up := path.Dir(root)
			if plain != home(from) {
				up = root
			}
			for w := c.Walk(root); w.Step(); {
				if w.Err() != nil {
					return fmt.Errorf("cannot read %s in the guest: %w", w.Path(), w.Err())
				}
				rel, err := filepath.Rel(up, w.Path())
				if err != nil {
					return err
				}
				info := w.Stat()
				if info.Mode()&os.ModeSymlink != 0 {
					if info, err = c.Stat(w.Path()); err != nil || info.IsDir() {
						links = append(links, w.Path())
						continue
					}
				}
				if rel != "." && (info.IsDir() || info.Mode().IsRegular()) {
					all = append(all, found{w.Path(), rel, info.IsDir()})
				}
			}
		}
		if len(roots) == 0 {
			return fmt.Errorf("the guest has nothing of that name")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot download %s: %w", from, err)
	}
	for _, l := range links {
		skipped(l)
	}
	for _, f := range all {
		if !filepath.IsLocal(f.name) {
			return fmt.Errorf("cannot download %s: the guest names %q in it", from, f.name)
		}
		to := filepath.Join(dest, f.name)
		var err error
		if f.dir {
			err = os.MkdirAll(to, 0o755)
		} else {
			err = whole(to, func(w io.Writer) error { return s.Download(ctx, f.remote, w) })
		}
		if err != nil {
			return fmt.Errorf("cannot download %s: %w", from, err)
		}
	}
	return nil
}
