//go:build unix

package plan

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// takeLock locks f for this process; the kernel gives the lock back when the process ends, however it ends.
func takeLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	if err != nil {
		return fmt.Errorf("cannot lock: %w", err)
	}
	return nil
}
