//go:build unix

package provisioner

import (
	"os/exec"
	"syscall"
)

// ownGroup lets a cancelled script end with everything it has started.
func ownGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}
