package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Image is a disk's content on this host that nobody changes any more.
type Image struct {
	Path   string
	Format string // as QEMU calls it: vpc (VHD), vhdx, qcow2, raw
	Bytes  int64  // of the disk, not of the file
}

// A managed disk's VHD is fixed, a whole number of MiB long, and ends in a footer of one sector
// (https://learn.microsoft.com/azure/virtual-machines/windows/prepare-for-upload-vhd-image).
const (
	MiB    = 1 << 20
	Footer = 512
)

// Inspect finds out what a disk file is. A fixed VHD has no header, so that only its footer tells it from a raw disk.
func Inspect(path string) (Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return Image{}, fmt.Errorf("cannot read disk: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Image{}, fmt.Errorf("cannot read disk: %w", err)
	}
	if size, ok := fixedVHD(f, info.Size()); ok {
		return Image{path, "vpc", size}, nil
	}
	program, err := findProgram("qemu-img")
	if err != nil {
		return Image{}, err
	}
	out, err := exec.Command(program, "info", "--output=json", path).Output()
	if err != nil {
		return Image{}, fmt.Errorf("cannot read disk %s: qemu-img does not understand it", path)
	}
	var i struct {
		Format string `json:"format"`
		Bytes  int64  `json:"virtual-size"`
		Backs  string `json:"backing-filename"`
	}
	if err := json.Unmarshal(out, &i); err != nil {
		return Image{}, fmt.Errorf("cannot read disk %s: %w", path, err)
	}
	return Image{path, i.Format, i.Bytes}, nil
}

// fixedVHD reads the footer of a fixed VHD: the cookie "conectix", at 48 the disk's size, at 60 the type, 2 for fixed, all in
// network order (Microsoft's Virtual Hard Disk Image Format Specification).
func fixedVHD(r io.ReaderAt, length int64) (size int64, ok bool) {
	footer := make([]byte, Footer)
	if length < Footer {
		return 0, false
	}
	if _, err := r.ReadAt(footer, length-Footer); err != nil || string(footer[:8]) != "conectix" {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(footer[48:])), binary.BigEndian.Uint32(footer[60:]) == 2
}

// CheckVHD tells why Azure would refuse a file as a disk, or nil: it must be a fixed VHD of whole MiB.
func CheckVHD(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read disk: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot read disk: %w", err)
	}
	size, ok := fixedVHD(f, info.Size())
	switch {
	case !ok:
		return errors.New("it is no fixed VHD (convert it: qemu-img convert -O vpc -o subformat=fixed,force_size=on)")
	case size != info.Size()-Footer:
		return fmt.Errorf("its footer gives %d bytes, the file holds %d", size, info.Size()-Footer)
	case size%MiB != 0:
		return fmt.Errorf("its size of %d bytes is no whole number of MiB", size)
	}
	return nil
}

// Overlay makes a disk at path that starts as base and keeps what is written to it to itself; size 0 keeps base's.
func Overlay(ctx context.Context, path string, base Image, size int64) error {
	args := []string{"create", "-q", "-f", "qcow2", "-b", base.Path, "-F", base.Format, path}
	if size > base.Bytes {
		args = append(args, fmt.Sprint(size))
	}
	return run(ctx, "qemu-img", args...)
}

// Empty makes an empty disk.
func Empty(ctx context.Context, path string, size int64) error {
	return run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", path, fmt.Sprint(size))
}

// Capture writes what a disk holds as a fixed VHD that Azure would take. Holes stay holes. The file is there whole or not at all.
func Capture(ctx context.Context, disk Image, path string) (Image, error) {
	size := (disk.Bytes + MiB - 1) / MiB * MiB
	from := disk
	part := path + ".part"
	defer os.Remove(part) //nolint:errcheck // gone when all went well
	if size != disk.Bytes {
		grown := path + ".grow"
		defer os.Remove(grown) //nolint:errcheck // an overlay of a moment
		if err := Overlay(ctx, grown, disk, size); err != nil {
			return Image{}, err
		}
		from = Image{grown, "qcow2", size}
	}
	if err := run(ctx, "qemu-img", "convert", "-f", from.Format, "-O", "vpc", "-o", "subformat=fixed,force_size=on", from.Path, part); err != nil {
		return Image{}, err
	}
	if err := CheckVHD(part); err != nil {
		return Image{}, fmt.Errorf("cannot capture disk: %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return Image{}, fmt.Errorf("cannot capture disk: %w", err)
	}
	return Image{path, "vpc", size}, nil
}

// Sum is a checksum of a disk file that takes no time for its holes: SHA-256 over the position and the bytes of each block of
// 64 KiB that is not all zero, and the file's length.
func Sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cannot read disk: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("cannot read disk: %w", err)
	}
	h := sha256.New()
	const block = 64 << 10
	buf := make([]byte, block)
	var number [8]byte
	for at := int64(0); at < info.Size(); {
		if at = nextData(f, at); at < 0 {
			break
		}
		at = at / block * block
		n, err := f.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("cannot read disk: %w", err)
		}
		if b := buf[:n]; strings.Trim(string(b), "\x00") != "" {
			binary.BigEndian.PutUint64(number[:], uint64(at))
			h.Write(number[:]) //nolint:errcheck // a hash does not fail
			h.Write(b)         //nolint:errcheck // a hash does not fail
		}
		at += block
	}
	binary.BigEndian.PutUint64(number[:], uint64(info.Size()))
	h.Write(number[:]) //nolint:errcheck // a hash does not fail
	return hex.EncodeToString(h.Sum(nil)), nil
}

// clean removes files that may not be there.
func clean(paths ...string) {
	for _, p := range paths {
		if p != "" && filepath.IsAbs(p) {
			os.Remove(p) //nolint:errcheck // it may be gone
		}
	}
}

// Reap removes the disks in the host's folder that are not in use: neither named, nor laid under one that is, nor of one of
// the machines named. While an image is being made nothing is removed.
func (h *Host) Reap(used map[string]bool, machines []string) {
	list, err := os.ReadDir(h.dir)
	if err != nil {
		return
	}
	keep := map[string]bool{}
	all := maps.Clone(used)
	for _, e := range list {
		if slices.ContainsFunc(machines, func(name string) bool { return strings.HasPrefix(e.Name(), name) }) {
			all[filepath.Join(h.dir, e.Name())] = true
		}
	}
	for path := range all {
		for path != "" && !keep[path] {
			keep[path] = true
			path = backing(path)
		}
	}
	for _, e := range list {
		if strings.HasSuffix(e.Name(), ".part") || strings.HasSuffix(e.Name(), ".grow") {
			return
		}
	}
	for _, e := range list {
		path := filepath.Join(h.dir, e.Name())
		if ext := filepath.Ext(path); (ext == ".qcow2" || ext == ".vhd") && !keep[path] {
			clean(path)
		}
	}
}

// backing is the disk that a qcow2 file is laid over, or "": its header has at 8 where the name stands and at 16 how long
// it is (QEMU's docs/interop/qcow2.txt).
func backing(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 20)
	if _, err := f.ReadAt(head, 0); err != nil || string(head[:4]) != "QFI\xfb" {
		return ""
	}
	name := make([]byte, min(binary.BigEndian.Uint32(head[16:]), 1023))
	if _, err := f.ReadAt(name, int64(binary.BigEndian.Uint64(head[8:]))); err != nil {
		return ""
	}
	return string(name)
}
