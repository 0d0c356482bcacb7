package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

//go:embed debian.sh ingot-provision ingot-provision.service
var recipe embed.FS

// The layout of the image's disk, as Debian's own Azure images have it: room for GRUB's core, an EFI system partition, the root.
// Sectors are of 512 bytes.
const (
	debianMiB  = 2048
	coreSector = 2048
	espSector  = 4096
	espMiB     = 64
	rootSector = 135168
	rootMiB    = debianMiB - 66 - 2 // the last two: the partition table's copy
	rootUUID   = "6f1d5c3a-2b44-4f0e-9d2b-0a1c0f3e7a10"
	suite      = "bookworm"
)

// contents are the packages of the image beside Debian's minimal system.
func contents() []string {
	return []string{"usr-is-merged", "linux-image-cloud-amd64", "systemd-sysv", "openssh-server", "openssh-sftp-server", "sudo", "udev", "iproute2", "ca-certificates",
		"dbus", "kmod", "fdisk", "e2fsprogs", "python3", "waagent"}
}

// makers are what making the image needs on the host, by the program looked for.
func makers() map[string]string {
	return map[string]string{"mmdebstrap": "mmdebstrap", "sfdisk": "fdisk", "mke2fs": "e2fsprogs", "mkfs.vfat": "dosfstools", "mcopy": "mtools", "grub-mkimage": "grub-common", "qemu-img": "qemu-utils"}
}

// grubFolders are where Debian keeps GRUB's modules for the two kinds of firmware, and the packages that bring them.
func grubFolders() map[string]string {
	return map[string]string{"/usr/lib/grub/i386-pc": "grub-pc-bin", "/usr/lib/grub/x86_64-efi": "grub-efi-amd64-bin"}
}

// MissingForDebian names the Debian packages that this computer lacks to make the image; none is nil.
func MissingForDebian() []string {
	out := missing(makers())
	for dir, pkg := range grubFolders() {
		if _, err := os.Stat(dir); err != nil {
			out = append(out, pkg)
		}
	}
	if os.Getuid() != 0 {
		if _, err := findProgram("newuidmap"); err != nil {
			out = append(out, "uidmap")
		}
	}
	return sorted(out)
}

// imageRecord is kept beside an image in the cache.
type imageRecord struct {
	Recipe string    `json:"recipe"` // checksum of how it was made
	Sum    string    `json:"sum"`    // Sum of the image
	Made   time.Time `json:"made"`
}

// Debian is the image behind the marketplace's debian-12. It is made on first use from the host's Debian mirror, in about
// half a minute, and kept in the cache; one that does not match its checksum is made again.
func (h *Host) Debian(ctx context.Context) (Image, error) {
	h.making.Lock() // the second one who asks waits and finds it
	defer h.making.Unlock()
	if i, ok := h.base["debian-12"]; ok {
		return i, nil
	}
	path := filepath.Join(h.cache, "debian-12.vhd")
	release, err := lockFile(ctx, h.cache, "debian-12.lock") // another process may be making it
	if err != nil {
		return Image{}, err
	}
	defer release()
	want, err := recipeSum()
	if err != nil {
		return Image{}, err
	}
	i := Image{path, "vpc", debianMiB * MiB}
	if reason := h.usable(path, want); reason != "" {
		if m := MissingForDebian(); m != nil {
			return Image{}, fmt.Errorf("cannot make a Debian image: install %s (apt-get install --no-install-recommends %s)", strings.Join(m, ", "), strings.Join(m, " "))
		}
		begun := time.Now()
		h.log("making a Debian 12 image with mmdebstrap (%s); this takes about half a minute, once", reason)
		if err := makeDebian(ctx, path); err != nil {
			return Image{}, fmt.Errorf("cannot make a Debian image: %w", err)
		}
		sum, err := Sum(path)
		if err != nil {
			return Image{}, err
		}
		raw, err := json.Marshal(imageRecord{want, sum, begun.UTC().Truncate(time.Second)})
		if err == nil {
			err = os.WriteFile(path+".json", raw, 0o644)
		}
		if err != nil {
			return Image{}, fmt.Errorf("cannot keep the Debian image: %w", err)
		}
		h.log("made %s in %s", path, time.Since(begun).Round(time.Second/10))
	}
	h.base["debian-12"] = i
	return i, nil
}

// usable says why the cached image cannot be used, or "".
func (h *Host) usable(path, recipe string) string {
	raw, err := os.ReadFile(path + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return "there is none yet"
	}
	var r imageRecord
	switch {
	case err != nil || json.Unmarshal(raw, &r) != nil:
		return "the kept one has no record"
	case r.Recipe != recipe:
		return "the kept one was made by another version of Ingot"
	}
	if sum, err := Sum(path); err != nil || sum != r.Sum {
		return "the kept one does not match its checksum"
	}
	return ""
}

func recipeSum() (string, error) {
	s := sha256.New()
	err := fs.WalkDir(recipe, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := recipe.ReadFile(name)
		fmt.Fprintf(s, "%s\x00%d\x00%s", name, len(raw), raw)
		return err
	})
	fmt.Fprint(s, contents(), grubConfig, debianMiB, rootMiB, suite)
	return hex.EncodeToString(s.Sum(nil)), err
}

const grubConfig = "search --no-floppy --label ingot-root --set=root\nset prefix=($root)/boot/grub\nconfigfile /boot/grub/grub.cfg\n"

// makeDebian makes the disk at path: one that BIOS and UEFI both start from, without an initial RAM disk, since the cloud
// kernel has NVMe and ext4 built in.
func makeDebian(ctx context.Context, path string) error {
	// The root of a user namespace must be able to write here, and its home may be closed to it.
	work, err := os.MkdirTemp("", "ingot-debian-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // in the temporary folder
	if err := os.Chmod(work, 0o711); err != nil {
		return err
	}
	files, root := filepath.Join(work, "files"), filepath.Join(work, "root.ext4")
	if err := os.CopyFS(files, recipe); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(files, 0o755), os.WriteFile(root, nil, 0o666), os.Chmod(root, 0o666)); err != nil {
		return err
	}
	if err := bootstrap(ctx, work, files, root); err != nil {
		return err
	}
	raw := filepath.Join(work, "disk.raw")
	if err := assemble(ctx, work, root, raw); err != nil {
		return err
	}
	if _, err := Capture(ctx, Image{raw, "raw", debianMiB * MiB}, path); err != nil {
		return err
	}
	return nil
}

// bootstrap runs mmdebstrap, which ends with debian.sh.
func bootstrap(ctx context.Context, work, files, root string) error {
	args := []string{"--format=null", "--variant=minbase", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--include=" + strings.Join(contents(), ","),
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--customize-hook=env ROOT_UUID=" + rootUUID + fmt.Sprintf(" ROOT_MIB=%d", rootMiB) + " ROOT_IMAGE=" + root + " FILES=" + files + ` sh ` + filepath.Join(files, "debian.sh") + ` "$1"`}
	args = append(args, hostsAPT(ctx)...)
	args = append(args, suite, "/dev/null")
	args = append(args, hostsMirror()...)
	// INITRD=No keeps Debian's kernel package from making an initial RAM disk; most of the time is writing small files,
	// which memory takes at once.
	env := []string{"env", "INITRD=No", "TMPDIR=" + temporary(work)}
	return run(ctx, env[0], append(append(env[1:], "mmdebstrap"), args...)...)
}

// temporary is memory where there is enough of it, else the disk.
func temporary(work string) string {
	if freeBytes("/dev/shm") > 2<<30 {
		return "/dev/shm"
	}
	return work
}

// hostsMirror is where this computer gets Debian from, if it is of the same release; else Debian's own address.
func hostsMirror() []string {
	if raw, err := os.ReadFile("/etc/os-release"); err == nil && bytes.Contains(raw, []byte("VERSION_CODENAME="+suite)) {
		for _, f := range []string{"/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"} {
			if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(suite)) {
				return []string{f}
			}
		}
	}
	return []string{"http://deb.debian.org/debian"}
}

// hostsAPT are the host's own settings of how packages are fetched: its proxy above all.
func hostsAPT(ctx context.Context) []string {
	program, err := findProgram("apt-config")
	if err != nil {
		return nil
	}
	out, err := output(ctx, program, "dump", "Acquire")
	if err != nil {
		return nil
	}
	var args []string
	for _, line := range strings.Split(out, "\n") {
		for _, key := range []string{"Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-Valid-Until", "Acquire::Check-Date"} {
			if value, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimSpace(line), ";"), key+" "); ok && value != `""` {
				args = append(args, "--aptopt="+key+" "+value)
			}
		}
	}
	return args
}

// assemble puts the root file system, GRUB for BIOS and for UEFI on one disk.
func assemble(ctx context.Context, work, root, raw string) error {
	table := filepath.Join(work, "table")
	layout := fmt.Sprintf("label: gpt\nunit: sectors\nstart=%d,size=2048,type=21686148-6449-6E6F-744E-656564454649\nstart=%d,size=%d,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\nstart=%d,type=0FC63DAF-8483-4772-8E79-3D69D8477DE4,uuid=%s\n",
		coreSector, espSector, espMiB*MiB/512, rootSector, rootUUID)
	config := filepath.Join(work, "early.cfg")
	esp, core, efi := filepath.Join(work, "esp"), filepath.Join(work, "core.img"), filepath.Join(work, "BOOTX64.EFI")
	if err := errors.Join(os.WriteFile(table, []byte(layout), 0o600), os.WriteFile(config, []byte(grubConfig), 0o600), os.WriteFile(raw, nil, 0o600), os.Truncate(raw, debianMiB*MiB),
		os.WriteFile(esp, nil, 0o600), os.Truncate(esp, espMiB*MiB)); err != nil {
		return err
	}
	modules := []string{"part_gpt", "ext2", "search", "search_label", "configfile", "linux", "normal", "boot"}
	for _, c := range [][]string{
		{"sh", "-c", `PATH=$PATH:/usr/sbin:/sbin sfdisk -q "$0" <"$1"`, raw, table},
		append([]string{"grub-mkimage", "-O", "i386-pc", "-o", core, "-c", config, "-p", "/boot/grub", "biosdisk"}, modules...),
		append([]string{"grub-mkimage", "-O", "x86_64-efi", "-o", efi, "-c", config, "-p", "/boot/grub"}, modules...),
		{"mkfs.vfat", "-F32", "-n", "ESP", esp},
		{"mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"},
		{"mcopy", "-i", esp, efi, "::/EFI/BOOT/BOOTX64.EFI"},
	} {
		if err := run(ctx, c[0], c[1:]...); err != nil {
			return err
		}
	}
	disk, err := os.OpenFile(raw, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = errors.Join(copyInto(disk, root, rootSector*512), copyInto(disk, esp, espSector*512), bootSector(disk, core))
	return errors.Join(err, disk.Close())
}

// bootSector writes GRUB for BIOS: boot.img into the first sector's code, with the place of the core image at 0x5c, and the core image
// into its partition, with its own place and length in its first sector (GRUB's include/grub/i386/pc/boot.h and
// offsets.h).
func bootSector(disk io.WriterAt, corePath string) error {
	boot, err := os.ReadFile("/usr/lib/grub/i386-pc/boot.img")
	if err != nil {
		return err
	}
	core, err := os.ReadFile(corePath)
	if err != nil {
		return err
	}
	if len(boot) < 440 || len(core) < 512 || len(core) > 1<<20 {
		return errors.New("GRUB's boot images have an unexpected size")
	}
	binary.LittleEndian.PutUint64(boot[0x5c:], coreSector)
	boot[0x66], boot[0x67] = 0x90, 0x90 // start from the disk the BIOS names, whichever it is
	binary.LittleEndian.PutUint64(core[500:], coreSector+1)
	binary.LittleEndian.PutUint16(core[508:], uint16((len(core)+511)/512-1))
	_, err1 := disk.WriteAt(boot[:440], 0)
	_, err2 := disk.WriteAt(core, coreSector*512)
	return errors.Join(err1, err2)
}

// copyInto copies a file with holes into a disk.
func copyInto(disk io.WriterAt, from string, at int64) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for pos := int64(0); ; {
		n, err := f.ReadAt(buf, pos)
		if b := buf[:n]; strings.Trim(string(b), "\x00") != "" {
			if _, err := disk.WriteAt(b, at+pos); err != nil {
				return err
			}
		}
		pos += int64(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
