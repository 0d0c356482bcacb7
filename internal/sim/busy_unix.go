//go:build unix

package sim

import (
	"syscall"
	"time"
)

// worked is how long this process has used a processor; false where that cannot be told.
func worked() (time.Duration, bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
