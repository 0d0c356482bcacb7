package communicator

import "errors"

var (
	// ErrAuth: the guest went on refusing the user or password.
	ErrAuth = errors.New("the guest refuses the user name or password")
	// ErrCertificate: what answers does not show the certificate that was made for the guest.
	ErrCertificate = errors.New("the guest shows another certificate than the one made for it")
	// ErrLost: the script's process went without leaving an exit code: the guest restarted, or somebody ended it.
	ErrLost = errors.New("the script's process is gone without an exit code")
)
