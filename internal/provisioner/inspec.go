package provisioner

import (
	"cmp"
	"path/filepath"
	"strings"
	"time"

	"ingot/internal/image"
)

// InSpec runs an InSpec profile on this machine against the guest, through a port of this machine's loopback. InSpec itself never checks
// an SSH host key, so it is given the build's key and no password where there is one.
type InSpec struct {
	// Profile is a profile: a local folder, an archive or an address.
	Profile string `hcl:"profile"`
	// Command is the program; inspec if not set. cinc-auditor takes the same options.
	Command string `hcl:"command"`
	// ExtraArguments are handed to it.
	ExtraArguments []image.Text `hcl:"extra_arguments"`
	// InSpecEnvVars are variables for it, each "NAME=value".
	InSpecEnvVars []image.Text `hcl:"inspec_env_vars"`
	// AttributesDirectory is a folder; each of its .yml, .yaml and .json files is an attribute file.
	AttributesDirectory string `hcl:"attributes_directory"`
	// Attributes are attribute files.
	Attributes []string `hcl:"attributes"`
	// Backend is how InSpec reaches the guest: ssh or winrm, as the communicator does, if not set; local or docker for something else.
	Backend string `hcl:"backend"`
	// User is who it signs in as; the build's account if not set. The guest must let that user in with the build's key or password.
	User string `hcl:"user"`
	// Host is the name of a container; the guest's own address needs no saying.
	Host string `hcl:"host"`
	// LocalPort is the port of the loopback; any if not set.
	LocalPort int `hcl:"local_port"`
	// SSHHostKeyFile has no effect: there is no proxy with a key of its own.
	SSHHostKeyFile string `hcl:"ssh_host_key_file"`
	// SSHAuthorizedKeyFile has no effect: there is no proxy that lets a key in.
	SSHAuthorizedKeyFile string `hcl:"ssh_authorized_key_file"`
	// ValidExitCodes are the codes that mean success; 0 and 101 (controls were skipped, none failed) if not set. 100 is a failed control.
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
	c.oneOf("backend", p.Backend, "ssh", "winrm", "local", "docker")
	if p.Backend == "docker" && p.Host == "" {
		c.fail("host", "set host to the container", "backend docker needs a host")
	}
	c.ignored("host", p.Host != "" && p.Backend != "docker", "it goes to the guest of the build")
	c.ignored("ssh_host_key_file", p.SSHHostKeyFile != "", "there is no proxy with a key of its own")
	c.ignored("ssh_authorized_key_file", p.SSHAuthorizedKeyFile != "", "there is no proxy that lets a key in")
	if p.LocalPort < 0 || p.LocalPort > 65535 {
		c.fail("local_port", "use a port from 1 to 65535", "local_port is %d", p.LocalPort)
	}
	if command := cmp.Or(p.Command, inspecProgram); !c.there(command) {
		c.warn("command", "install it on the machine that builds", "there is no %s on this machine, and a build runs it here", command)
	}
}

// Summary is a phrase for a step's title.
func (p *InSpec) Summary() string { return "inspec, " + filepath.Base(p.Profile) }

// Estimate is a guess.
func (p *InSpec) Estimate() time.Duration { return time.Minute }
