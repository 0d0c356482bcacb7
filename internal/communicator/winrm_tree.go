package communicator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

var _ Trees = (*winrm)(nil)

// archives is where archives lie in the guest until they are unpacked or fetched; Discard removes it. It is not the folder of the build's
// scripts: that one is closed to everybody else when it is made.
func (w *winrm) archives(name string) string { return w.c.Dir + `-files\` + name + ".zip" }

type packArgs struct {
	Path    string `json:"path"`
	To      string `json:"to"`
	Glob    bool   `json:"glob"`
	Content bool   `json:"content"` // of the folder, without itself
}

// UploadTree sends all files as one zip, which the guest unpacks.
func (w *winrm) UploadTree(ctx context.Context, dest string, files []LocalFile) error {
	f, err := os.CreateTemp("", "ingot-upload-*")
	if err != nil {
		return fmt.Errorf("cannot pack what is to be uploaded: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a temporary file
	defer f.Close()           //nolint:errcheck // as above
	if err := writeZip(f, files); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sum, err := sumOf(f, 0, info.Size())
	if err != nil {
		return err
	}
	archive := w.archives(sum[:16])
	for tries := 0; ; tries++ {
		if err := w.Upload(ctx, archive, f, info.Size()); err != nil {
			return err
		}
		said := ""
		code, complaints, err := w.steady(ctx, "unpack", map[string]string{"path": archive, "to": dest}, func(line string) { said = line })
		n := 0
		switch {
		case err != nil:
			return fmt.Errorf("cannot unpack in the guest: %w", err)
		case said == "#ingot:missing" && tries < 2:
			continue
		case !scan(said, "#ingot:unpacked %d", &n) || n != len(files):
			return fmt.Errorf("cannot unpack %d files to %s in the guest: exit code %d: %s %s", len(files), dest, code, said, complaints)
		}
		return nil
	}
}

// DownloadTree has the guest pack what is asked for into one zip, and fetches that.
func (w *winrm) DownloadTree(ctx context.Context, path, dest string, skipped func(string)) error {
	plain := strings.TrimRight(path, `/\`)
	if strings.HasSuffix(plain, ":") {
		return fmt.Errorf("cannot download %s: it is a whole drive", path)
	}
	archive := w.archives("download")
	said := ""
	code, complaints, err := w.steady(ctx, "pack", packArgs{plain, archive, HasPattern(plain), plain != path}, func(line string) {
		if name, ok := strings.CutPrefix(line, "#ingot:skipped "); ok {
			skipped(name)
		} else {
			said = line
		}
	})
	n := 0
	switch {
	case err != nil:
		return fmt.Errorf("cannot download %s: %w", path, err)
	case said == "#ingot:missing":
		return fmt.Errorf("cannot download %s: %w", path, errors.New("the guest has nothing of that name"))
	case !scan(said, "#ingot:packed %d", &n):
		return fmt.Errorf("cannot download %s: the guest cannot pack it: exit code %d: %s %s", path, code, said, complaints)
	}
	f, err := os.CreateTemp("", "ingot-download-*")
	if err != nil {
		return fmt.Errorf("cannot download %s: %w", path, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a temporary file
	defer f.Close()           //nolint:errcheck // as above
	if err := w.Download(ctx, archive, f); err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		err = readZip(f, info.Size(), dest)
	}
	if err != nil {
		return fmt.Errorf("cannot download %s: %w", path, err)
	}
	return w.ok(ctx, "discard", map[string]string{"dir": w.c.Dir + "-files"})
}
