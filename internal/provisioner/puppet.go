package provisioner

import (
	"path/filepath"
	"time"

	"ingot/internal/image"
)

// puppetCommon are the options that both ways to run Puppet have.
type puppetCommon struct {
	// ExecuteCommand is the command that runs Puppet.
	ExecuteCommand string `hcl:"execute_command"`
	// ExtraArguments are handed to it.
	ExtraArguments []image.Text `hcl:"extra_arguments"`
	// Facter are facts for it, by name.
	Facter map[string]image.Text `hcl:"facter"`
	// GuestOSType is unix or windows.
	GuestOSType string `hcl:"guest_os_type"`
	// IgnoreExitCodes takes every exit code for success.
	IgnoreExitCodes bool `hcl:"ignore_exit_codes"`
	// PreventSudo runs Puppet without sudo.
	PreventSudo bool `hcl:"prevent_sudo"`
	// PuppetBinDir is the folder of the puppet program in the guest.
	PuppetBinDir string `hcl:"puppet_bin_dir"`
	// WorkingDirectory is where it runs.
	WorkingDirectory string `hcl:"working_directory"`
	// CleanStagingDirectory removes the staging folder at the end.
	CleanStagingDirectory bool `hcl:"clean_staging_directory"`
	// ElevatedUser runs it as this user on Windows.
	ElevatedUser string `hcl:"elevated_user"`
	// ElevatedPassword is that user's password.
	ElevatedPassword image.Text `hcl:"elevated_password,secret"`
	// ElevatedExecuteCommand is the command for it.
	ElevatedExecuteCommand string `hcl:"elevated_execute_command"`
}

func (p *puppetCommon) check(c *Check) {
	c.oneOf("guest_os_type", p.GuestOSType, "unix", "windows")
}

// PuppetMasterless uploads manifests and runs puppet apply in the guest.
type PuppetMasterless struct {
	puppetCommon
	// ManifestFile is the manifest, or a folder of them.
	ManifestFile string `hcl:"manifest_file"`
	// ManifestDir is a folder uploaded beside it.
	ManifestDir string `hcl:"manifest_dir"`
	// ModulePaths are folders of modules to upload.
	ModulePaths []string `hcl:"module_paths"`
	// HieraConfigPath is Hiera's configuration.
	HieraConfigPath string `hcl:"hiera_config_path"`
	// StagingDirectory is the guest's folder for all of it.
	StagingDirectory string `hcl:"staging_directory"`
}

var _ Settings = (*PuppetMasterless)(nil)

// Check reports what is wrong.
func (p *PuppetMasterless) Check(c *Check) {
	c.required("manifest_file", p.ManifestFile)
	c.files(map[string]*string{"manifest_file": &p.ManifestFile, "manifest_dir": &p.ManifestDir, "hiera_config_path": &p.HieraConfigPath})
	for i := range p.ModulePaths {
		c.file("module_paths", &p.ModulePaths[i])
	}
	p.check(c)
}

// Summary is a phrase for a step's title.
func (p *PuppetMasterless) Summary() string {
	return "puppet-masterless, " + filepath.Base(p.ManifestFile)
}

// Estimate is a guess.
func (p *PuppetMasterless) Estimate() time.Duration { return 3 * time.Minute }

// PuppetServer runs puppet agent in the guest against a server.
type PuppetServer struct {
	puppetCommon
	// PuppetServer is the server's name.
	PuppetServer string `hcl:"puppet_server"`
	// PuppetNode is the guest's name there.
	PuppetNode string `hcl:"puppet_node"`
	// ClientCertPath is a folder of certificates to upload.
	ClientCertPath string `hcl:"client_cert_path"`
	// ClientPrivateKeyPath is a folder of private keys to upload.
	ClientPrivateKeyPath string `hcl:"client_private_key_path"`
	// Options are handed to it; older name of extra_arguments.
	Options string `hcl:"options"`
	// StagingDir is the guest's folder for all of it.
	StagingDir string `hcl:"staging_dir"`
}

var _ Settings = (*PuppetServer)(nil)

// Check reports what is wrong.
func (p *PuppetServer) Check(c *Check) {
	c.files(map[string]*string{"client_cert_path": &p.ClientCertPath, "client_private_key_path": &p.ClientPrivateKeyPath})
	p.check(c)
}

// Summary is a phrase for a step's title.
func (p *PuppetServer) Summary() string { return "puppet-server" }

// Estimate is a guess.
func (p *PuppetServer) Estimate() time.Duration { return 5 * time.Minute }
