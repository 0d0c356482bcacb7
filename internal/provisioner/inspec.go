package provisioner

import (
	"path/filepath"
	"strings"
	"time"

	"ingot/internal/image"
)

// InSpec runs an InSpec profile on this machine against the guest.
type InSpec struct {
	// Profile is a profile: a local folder, an archive or an address.
	Profile string `hcl:"profile"`
	// Command is the program; inspec if not set.
	Command string `hcl:"command"`
	// ExtraArguments are handed to it.
	ExtraArguments []image.Text `hcl:"extra_arguments"`
	// InSpecEnvVars are variables for it, each "NAME=value".
	InSpecEnvVars []image.Text `hcl:"inspec_env_vars"`
	// AttributesDirectory is a folder of attribute files.
	AttributesDirectory string `hcl:"attributes_directory"`
	// Attributes are attribute files.
	Attributes []string `hcl:"attributes"`
	// Backend is how InSpec reaches the guest: ssh or winrm.
	Backend string `hcl:"backend"`
	// User is who it signs in as.
	User string `hcl:"user"`
	// Host is the guest's address.
	Host string `hcl:"host"`
	// LocalPort is the port of the local SSH proxy.
	LocalPort int `hcl:"local_port"`
	// SSHHostKeyFile is the proxy's host key.
	SSHHostKeyFile string `hcl:"ssh_host_key_file"`
	// SSHAuthorizedKeyFile is the key that the proxy lets in.
	SSHAuthorizedKeyFile string `hcl:"ssh_authorized_key_file"`
	// ValidExitCodes are the codes that mean success; 0 and 101 if not set.
	ValidExitCodes []int `hcl:"valid_exit_codes"`
}

var _ Settings = (*InSpec)(nil)

// Check reports what is wrong.
func (p *InSpec) Check(c *Check) {
	c.required("profile", p.Profile)
	if p.Profile != "" && !strings.Contains(p.Profile, "://") {
		c.file("profile", &p.Profile)
	}
	for i := range p.Attributes {
		c.file("attributes", &p.Attributes[i])
	}
	c.files(map[string]*string{"attributes_directory": &p.AttributesDirectory, "ssh_host_key_file": &p.SSHHostKeyFile, "ssh_authorized_key_file": &p.SSHAuthorizedKeyFile})
	c.variables("inspec_env_vars", p.InSpecEnvVars)
}

// Summary is a phrase for a step's title.
func (p *InSpec) Summary() string { return "inspec, " + filepath.Base(p.Profile) }

// Estimate is a guess.
func (p *InSpec) Estimate() time.Duration { return time.Minute }
