//go:build unix

package plan

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// takeLock locks f for this process; the kernel gives the lock back when the process ends, however it ends.
func takeLock(f *os.File) error { return flock(f, syscall.LOCK_EX) }

// lookAtLock is ErrLocked where a process holds the lock; it does not mind others that only look.
func lookAtLock(f *os.File) error { return flock(f, syscall.LOCK_SH) }

func flock(f *os.File, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	if err != nil {
		return fmt.Errorf("cannot lock: %w", err)
	}
	return nil
}
