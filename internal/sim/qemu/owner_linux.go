package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// owner marks a folder as in use by a living process. QEMU itself dies with its owner (see start_linux.go); the mark lets the next one
// remove what a killed owner left on disk, and end a machine that outlived it after all.
type owner struct {
	file *os.File
	path string
}

const ownerFile = "owner"

// own takes the folder, or says who has it.
func own(dir string) (*owner, error) {
	path := filepath.Join(dir, ownerFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot take the folder for disks: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close() //nolint:errcheck // nothing was written
		return nil, fmt.Errorf("cannot take the folder for disks %s: another process uses it", dir)
	}
	endAll(dir)
	return &owner{f, path}, nil
}

func (o *owner) release() error {
	err := os.Remove(o.path)
	if cerr := o.file.Close(); err == nil {
		err = cerr
	}
	return err
}

// Sweep ends the machines and removes the disks that dead owners left in the folders below root, and returns those folders' names. Folders
// of living owners, and those that are somebody's state, are left alone.
func Sweep(root string) []string {
	var gone []string
	dirs, err := os.ReadDir(root)
	if err != nil {
		return nil
	}
	for _, d := range dirs {
		dir := filepath.Join(root, d.Name())
		f, err := os.OpenFile(filepath.Join(dir, ownerFile), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			endAll(dir)
			if os.RemoveAll(dir) == nil {
				gone = append(gone, dir)
			}
		}
		f.Close() //nolint:errcheck // the lock goes with it
	}
	return gone
}

// endAll kills the QEMU processes whose disks lie in dir. A number in a file could be another process's by now, so the command
// line is what counts.
func endAll(dir string) {
	for _, pid := range processesOf(dir) {
		syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // gone already, or not ours
	}
}

// processesOf are the QEMU processes of this host that use files in dir.
func processesOf(dir string) []int {
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	var out []int
	for _, name := range list {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		args := strings.Split(string(raw), "\x00")
		if !strings.HasPrefix(filepath.Base(args[0]), "qemu-system") || !slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, dir+"/") }) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// lockFile waits for a lock of that name among processes, and returns what gives it back.
func lockFile(ctx context.Context, dir, name string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the cache folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the cache: %w", err)
	}
	for syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		t := time.NewTimer(200 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			f.Close() //nolint:errcheck // the cause is the context's
			return nil, context.Cause(ctx)
		}
	}
	return func() { f.Close() }, nil //nolint:errcheck // the lock goes with it
}

func freeBytes(dir string) int64 {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return 0
	}
	return int64(s.Bavail) * s.Bsize //nolint:unconvert // its type differs between systems
}
