package qemu

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// nextData is where data begins at or after a position; -1 if there is none.
func nextData(f *os.File, at int64) int64 {
	next, err := f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, syscall.ENXIO) {
		return -1
	}
	if err != nil { // a file system without holes
		return at
	}
	return next
}
