// Package guest is the simulated Azure's Windows machine: a real WS-Man/WinRM server on a loopback address in front of a
// scripted model of Windows. It executes no PowerShell and says so in its output. It knows nothing of Resource Manager.
package guest

import (
	"context"
	"crypto/tls"
	"net/netip"
	"time"
)

// Clock is the simulated time the machine lives in.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

// Config is what a machine is started with.
type Config struct {
	Computer       string
	User, Password string
	Certificate    *tls.Certificate // of the HTTPS listener; nil: no WinRM listener is configured
	SelfSigned     bool             // without a Certificate: the listener has one that Windows made itself
	Listen         string           // "127.83.0.4:5986"
	Disk           *Disk            // survives the machine; NewDisk for a fresh installation
	Clock          Clock
	Rules          []Rule                       // what a scenario says commands answer, first match wins
	Updates        []Update                     // what Windows Update has; nil: two that are made up
	Resources      []Resource                   // DSC resources that fail or want a restart
	Allow          func(remote netip.Addr) bool // network security rules for the WinRM port; nil allows all
	// Duration gives how long one thing takes in simulated time; the kinds are "boot", "reboot", "shutdown",
	// "powershell-start", "command", "sysprep", "script", "poll" (until a follower sees what a script wrote), "update-search",
	// "update-download", "update-install".
	Duration     func(kind string) time.Duration
	ListenSSH    string                       // where sshd listens once it is installed: "127.83.0.4:22"; "" or taken: any port
	AllowSSH     func(remote netip.Addr) bool // Allow for its port
	ListeningSSH func(addr string)            // is called when it begins to listen later than at the start; may be nil
	// Listening is called when the guest opens a listener later than at its start; may be nil.
	Listening func(addr string)
	// PowerOff is called when the guest shuts itself down.
	PowerOff func()
	// Asked is called for every request to the WinRM listener; may be nil.
	Asked func()
}

// Rule lets a scenario say what a script or command answers.
type Rule struct {
	Match    string        `json:"match"`              // regular expression over the command line or the script's text
	Times    int           `json:"times,omitempty"`    // how often it applies; 0 is always
	Stdout   []string      `json:"stdout,omitempty"`   // lines it writes
	Stderr   []string      `json:"stderr,omitempty"`   // lines of errors it writes
	ExitCode int           `json:"exitCode,omitempty"` // how it ends
	Duration time.Duration `json:"duration,omitempty"` // how long it takes; absent: as long as such things do
	// Effect besides output: "", "reboot", "vanish" (the machine stops answering for good), "drop" (the connection is cut once),
	// "image-state:IMAGE_STATE_UNDEPLOYABLE", "pending-reboot", "pending-reboot-for-good" (no restart ends it), "appx:NAME" (a package for one
	// user, which sysprep refuses), "bitlocker:C:" (the volume is encrypted, which sysprep refuses).
	Effect string `json:"effect,omitempty"`
}

// Machine is a running guest.
type Machine interface {
	// Addr is the WinRM endpoint, or "" without one.
	Addr() string
	// Up tells whether Windows runs, and with it the VM agent.
	Up() bool
	// Execute runs a script as the VM agent does; ErrDown when it could not begin, ErrWentDown when it was cut off.
	Execute(s AgentScript) (code int, err error)
	// SSHAddr is the SSH endpoint, or "" without one.
	SSHAddr() string
	// OpenSSH installs and starts the SSH server, unless it runs.
	OpenSSH() error
	// RunLine runs a command line through the agent, as SYSTEM; up is false when Windows is not up or goes down.
	RunLine(line string, out func(stream int, text string)) (code int, up bool)
	// Stop powers it off; its Disk stays.
	Stop(ctx context.Context) error
}
