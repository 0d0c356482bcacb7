package qemu

import (
	"os/exec"
	"runtime"
	"syscall"
)

// startBound starts a program that the kernel kills when this process dies, however it dies. The kernel watches the thread that
// started it, so that thread must live as long as the process: its goroutine keeps it until then. Before it collects the process it
// calls drained, since waiting closes the pipes; then it closes exited.
func startBound(c *exec.Cmd, drained func(), exited chan<- struct{}) error {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // a group of its own: Ctrl-C is for Ingot, not for its machines
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := c.Start()
		started <- err
		if err == nil {
			drained()
			c.Wait() //nolint:errcheck // how it ended is nobody's concern
			close(exited)
		}
		runtime.UnlockOSThread()
	}()
	return <-started
}
