// Package communicator talks to a guest: runs scripts that survive a lost connection, moves files, and tells the guest's
// state. It is the only room that imports a WinRM or SSH library, and knows nothing of Azure, plans or templates.
package communicator

import (
	"context"
	"io"
	"net"
	"time"
)

// Clock is time as the communicator sees it: every wait between tries goes through it.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

// Dialer opens the connection to a guest. It is net.Dialer.DialContext for a real one.
type Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// Output receives one line (without its end) that the guest printed; stream is "stdout" or "stderr".
type Output func(stream, line string)

// Script is a program to run in the guest, detached from the connection: it goes on when the connection drops or this
// process dies, and a second Run with the same ID follows it instead of starting it again.
type Script struct {
	ID     string            // unique in the guest for this build: the step's id; [a-z0-9-]
	Shell  string            // "powershell", "pwsh" (PowerShell 7), "cmd" or "sh"
	Text   string            // the script itself; may hold secrets, so it travels over standard input only
	Path   string            // or: a script file that is in the guest already
	Env    map[string]string // environment; may hold secrets
	User   string            // "" runs as the connected user, "SYSTEM" or "root" as the system, else as that user (a scheduled task, sudo)
	Secret string            // that user's password
	Policy string            // PowerShell execution policy; "" is bypass, "none" leaves the machine's own
}

// Facts are what a guest says of itself.
type Facts struct {
	Computer      string    `json:"computer"`
	OS            string    `json:"os"`
	Boot          time.Time `json:"boot"`       // when the guest started: a later one means it rebooted
	ImageState    string    `json:"imageState"` // Windows: IMAGE_STATE_COMPLETE, ... from HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State
	Sysprep       bool      `json:"sysprep"`    // sysprep.exe is running
	PendingReboot bool      `json:"pendingReboot"`
	Deprovisioned bool      `json:"deprovisioned,omitempty"` // Linux: its host keys are gone, as waagent -deprovision leaves it
}

// Communicator is a connection to one guest. Its methods reconnect by themselves; they fail with ErrAuth when the guest
// refuses the credentials, with ErrCertificate when it is not the guest we made, and with the context's cause when time is up.
type Communicator interface {
	// Ready waits until the guest answers, and returns what it says of itself.
	Ready(ctx context.Context) (Facts, error)
	// Run runs s to its end and returns its exit code.
	Run(ctx context.Context, s Script, out Output) (int, error)
	// Command runs one command line of the guest's own command interpreter, attached, and returns its exit code.
	Command(ctx context.Context, line string, out Output) (int, error)
	// Upload writes size bytes of r to path in the guest, checks their SHA-256, and creates the folders on the way.
	Upload(ctx context.Context, path string, r io.ReaderAt, size int64) error
	// Download reads a file of the guest.
	Download(ctx context.Context, path string, w io.Writer) error
	// Close ends the connection; the guest keeps running.
	Close() error
}

// Linux is what a communicator to a Linux guest can do besides.
type Linux interface {
	Communicator
	// Deprovision makes the guest an image's; nobody can log in afterwards.
	Deprovision(ctx context.Context, out Output) error
	// Discard removes the folder that Run used for this build.
	Discard(ctx context.Context) error
}

// Windows is what a communicator to a Windows guest can do besides.
type Windows interface {
	Communicator
	// Sysprep starts sysprep.exe (generalize, oobe, quit), detached, unless it runs already.
	Sysprep(ctx context.Context, modeVM bool) error
	// Panther returns the ends of sysprep's setuperr.log and setupact.log.
	Panther(ctx context.Context) (string, error)
	// Discard removes the folder that Run and Upload used for this build.
	Discard(ctx context.Context) error
}
