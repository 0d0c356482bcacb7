package communicator

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// LocalFile is a file or folder of this computer on its way to a guest.
type LocalFile struct {
	Name string // below the destination, with slashes
	Path string // here; "" for a folder
}

// Trees is a Communicator that moves whole folders at once.
type Trees interface {
	Communicator
	// UploadTree writes files below the folder dest of the guest, over what is there. It may be called again.
	UploadTree(ctx context.Context, dest string, files []LocalFile) error
	// DownloadTree brings a folder of the guest, or what a pattern of its matches, below the local folder dest. A folder whose path ends in a
	// slash brings what is in it, without one itself. skipped is told of links to folders, which are not followed.
	DownloadTree(ctx context.Context, path, dest string, skipped func(string)) error
}

// HasPattern reports whether a path holds a wildcard.
func HasPattern(path string) bool { return strings.ContainsAny(path, "*?[") }

// Zip writes files to w as an archive that Windows unpacks.
func Zip(w io.Writer, files []LocalFile) error { return writeZip(w, files) }

// TarGz writes files to w as an archive that every Linux unpacks, without owners: whoever unpacks it owns them.
func TarGz(w io.Writer, files []LocalFile) error {
	g := gzip.NewWriter(w)
	t := tar.NewWriter(g)
	for _, f := range files {
		if err := tarOne(t, f); err != nil {
			return fmt.Errorf("cannot read what is to be uploaded: %w", err)
		}
	}
	return errors.Join(t.Close(), g.Close())
}

func tarOne(t *tar.Writer, f LocalFile) error {
	if !filepath.IsLocal(filepath.FromSlash(f.Name)) {
		return fmt.Errorf("%s leads out of the folder", f.Name)
	}
	if f.Path == "" {
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: f.Name + "/", Mode: 0o755})
	}
	in, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Size: info.Size(), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(t, in)
	return err
}

// writeZip writes files to w. The names in it are made by us: slashes, no way up.
func writeZip(w io.Writer, files []LocalFile) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		if err := zipOne(z, f); err != nil {
			return fmt.Errorf("cannot read what is to be uploaded: %w", err)
		}
	}
	return z.Close()
}

func zipOne(z *zip.Writer, f LocalFile) error {
	if !filepath.IsLocal(filepath.FromSlash(f.Name)) {
		return fmt.Errorf("%s leads out of the folder", f.Name)
	}
	if f.Path == "" {
		_, err := z.Create(f.Name + "/")
		return err
	}
	in, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	h := &zip.FileHeader{Name: f.Name, Method: zip.Deflate}
	if info.ModTime().Year() >= 1980 { // the first year that a zip knows
		h.Modified = info.ModTime()
	}
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = io.Copy(w, in)
	}
	return err
}

// readZip unpacks a zip below the local folder dest; it refuses names that lead out of it, and links.
func readZip(r io.ReaderAt, size int64, dest string) error {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return fmt.Errorf("cannot read the archive that the guest made: %w", err)
	}
	for _, e := range z.File {
		// .NET before 4.6.1 writes backslashes.
		name := filepath.FromSlash(strings.ReplaceAll(e.Name, `\`, "/"))
		if !filepath.IsLocal(filepath.Clean(name)) || e.Mode().Type()&^os.ModeDir != 0 {
			return fmt.Errorf("the archive that the guest made holds %q, which is no plain file below the folder", e.Name)
		}
		to := filepath.Join(dest, name)
		if strings.HasSuffix(name, string(filepath.Separator)) {
			if err := os.MkdirAll(to, 0o755); err != nil {
				return err
			}
			continue
		}
		in, err := e.Open()
		if err != nil {
			return err
		}
		err = whole(to, func(w io.Writer) error {
			_, err := io.Copy(w, in) //nolint:gosec // as large as the user's own files in the guest are
			return err
		})
		in.Close() //nolint:errcheck // only read
		if err != nil {
			return err
		}
	}
	return nil
}

// whole writes a file beside its name and renames it, so that a half one is never taken for a whole one.
func whole(name string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".ingot-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already when all went well
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = errors.Join(os.Chmod(f.Name(), 0o644), os.Rename(f.Name(), name))
	}
	return err
}
