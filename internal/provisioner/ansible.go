package provisioner

import (
	"path/filepath"
	"time"

	"ingot/internal/image"
)

// Ansible runs ansible-playbook on this machine against the guest.
type Ansible struct {
	// PlaybookFile is the playbook.
	PlaybookFile string `hcl:"playbook_file"`
	// Command is the program; ansible-playbook if not set.
	Command string `hcl:"command"`
	// ExtraArguments are handed to it.
	ExtraArguments []image.Text `hcl:"extra_arguments"`
	// AnsibleEnvVars are variables for it, each "NAME=value".
	AnsibleEnvVars []image.Text `hcl:"ansible_env_vars"`
	// AnsibleSSHExtraArgs are handed to its SSH.
	AnsibleSSHExtraArgs []string `hcl:"ansible_ssh_extra_args"`
	// Groups are the inventory groups that the guest is in.
	Groups []string `hcl:"groups"`
	// EmptyGroups are inventory groups with nobody in them.
	EmptyGroups []string `hcl:"empty_groups"`
	// HostAlias is the guest's name in the inventory; "default" if not set.
	HostAlias string `hcl:"host_alias"`
	// User is who Ansible signs in as; the communicator's user if not set.
	User string `hcl:"user"`
	// LocalPort is the port of the local SSH proxy.
	LocalPort int `hcl:"local_port"`
	// SSHHostKeyFile is the proxy's host key.
	SSHHostKeyFile string `hcl:"ssh_host_key_file"`
	// SSHAuthorizedKeyFile is the key that the proxy lets in.
	SSHAuthorizedKeyFile string `hcl:"ssh_authorized_key_file"`
	// AnsibleProxyKeyType is the kind of the proxy's key: ECDSA (default) or RSA.
	AnsibleProxyKeyType string `hcl:"ansible_proxy_key_type"`
	// SFTPCommand is the guest's SFTP server.
	SFTPCommand string `hcl:"sftp_command"`
	// SkipVersionCheck does not ask for Ansible's version first.
	SkipVersionCheck bool `hcl:"skip_version_check"`
	// UseSFTP copies files by SFTP.
	UseSFTP bool `hcl:"use_sftp"`
	// InventoryDirectory is where the inventory is written.
	InventoryDirectory string `hcl:"inventory_directory"`
	// InventoryFileTemplate is the template of its line for the guest.
	InventoryFileTemplate string `hcl:"inventory_file_template"`
	// InventoryFile is an inventory to use instead.
	InventoryFile string `hcl:"inventory_file"`
	// KeepInventoryFile leaves the inventory behind.
	KeepInventoryFile bool `hcl:"keep_inventory_file"`
	// GalaxyFile lists roles and collections to install first.
	GalaxyFile string `hcl:"galaxy_file"`
	// GalaxyCommand is the program that installs them; ansible-galaxy if not set.
	GalaxyCommand string `hcl:"galaxy_command"`
	// GalaxyForceInstall installs again what is there.
	GalaxyForceInstall bool `hcl:"galaxy_force_install"`
	// GalaxyForceWithDeps does so with what they depend on.
	GalaxyForceWithDeps bool `hcl:"galaxy_force_with_deps"`
	// RolesPath is where roles are installed.
	RolesPath string `hcl:"roles_path"`
	// CollectionsPath is where collections are installed.
	CollectionsPath string `hcl:"collections_path"`
	// UseProxy reaches the guest through a local SSH proxy over the communicator; true if not set.
	UseProxy *bool `hcl:"use_proxy"`
	// AnsibleWinRMUseHTTP reaches WinRM without TLS.
	AnsibleWinRMUseHTTP bool `hcl:"ansible_winrm_use_http"`
}

var _ Settings = (*Ansible)(nil)

// Check reports what is wrong.
func (p *Ansible) Check(c *Check) {
	c.required("playbook_file", p.PlaybookFile)
	c.files(map[string]*string{"playbook_file": &p.PlaybookFile, "galaxy_file": &p.GalaxyFile, "inventory_file": &p.InventoryFile, "inventory_directory": &p.InventoryDirectory,
		"ssh_host_key_file": &p.SSHHostKeyFile, "ssh_authorized_key_file": &p.SSHAuthorizedKeyFile})
	c.variables("ansible_env_vars", p.AnsibleEnvVars)
	if p.LocalPort < 0 || p.LocalPort > 65535 {
		c.fail("local_port", "", "local_port is %d", p.LocalPort)
	}
	c.oneOf("ansible_proxy_key_type", p.AnsibleProxyKeyType, "ECDSA", "RSA")
}

// Summary is a phrase for a step's title.
func (p *Ansible) Summary() string { return "ansible, " + filepath.Base(p.PlaybookFile) }

// Estimate is a guess.
func (p *Ansible) Estimate() time.Duration { return 3 * time.Minute }

// AnsibleLocal uploads playbooks and runs ansible-playbook in the guest.
type AnsibleLocal struct {
	// PlaybookFile is the playbook.
	PlaybookFile string `hcl:"playbook_file"`
	// PlaybookFiles are several.
	PlaybookFiles []string `hcl:"playbook_files"`
	// PlaybookDir is a folder that is uploaded whole.
	PlaybookDir string `hcl:"playbook_dir"`
	// PlaybookPaths are folders that are uploaded beside it.
	PlaybookPaths []string `hcl:"playbook_paths"`
	// RolePaths are folders of roles to upload.
	RolePaths []string `hcl:"role_paths"`
	// CollectionPaths are folders of collections to upload.
	CollectionPaths []string `hcl:"collection_paths"`
	// GroupVars is a folder of group variables to upload.
	GroupVars string `hcl:"group_vars"`
	// HostVars is a folder of host variables to upload.
	HostVars string `hcl:"host_vars"`
	// InventoryFile is an inventory to use.
	InventoryFile string `hcl:"inventory_file"`
	// InventoryGroups are the groups that the guest is in.
	InventoryGroups []string `hcl:"inventory_groups"`
	// Command is the program; ansible-playbook if not set.
	Command string `hcl:"command"`
	// ExtraArguments are handed to it.
	ExtraArguments []image.Text `hcl:"extra_arguments"`
	// StagingDirectory is the guest's folder for all of it.
	StagingDirectory string `hcl:"staging_directory"`
	// CleanStagingDirectory removes it at the end.
	CleanStagingDirectory bool `hcl:"clean_staging_directory"`
	// GalaxyFile lists roles and collections to install first.
	GalaxyFile string `hcl:"galaxy_file"`
	// GalaxyCommand is the program that installs them; ansible-galaxy if not set.
	GalaxyCommand string `hcl:"galaxy_command"`
	// GalaxyRolesPath is where roles are installed.
	GalaxyRolesPath string `hcl:"galaxy_roles_path"`
	// GalaxyCollectionsPath is where collections are installed.
	GalaxyCollectionsPath string `hcl:"galaxy_collections_path"`
}

var _ Settings = (*AnsibleLocal)(nil)

// Check reports what is wrong.
func (p *AnsibleLocal) Check(c *Check) {
	if (p.PlaybookFile == "") == (len(p.PlaybookFiles) == 0) {
		c.fail("playbook_file", "set playbook_file or playbook_files", "exactly one of playbook_file and playbook_files must be set")
	}
	c.files(map[string]*string{"playbook_file": &p.PlaybookFile, "playbook_dir": &p.PlaybookDir, "galaxy_file": &p.GalaxyFile, "inventory_file": &p.InventoryFile, "group_vars": &p.GroupVars, "host_vars": &p.HostVars})
	for option, list := range map[string][]string{"playbook_files": p.PlaybookFiles, "playbook_paths": p.PlaybookPaths, "role_paths": p.RolePaths, "collection_paths": p.CollectionPaths} {
		for i := range list {
			c.file(option, &list[i])
		}
	}
}

// Summary is a phrase for a step's title.
func (p *AnsibleLocal) Summary() string {
	if p.PlaybookFile != "" {
		return "ansible-local, " + filepath.Base(p.PlaybookFile)
	}
	return "ansible-local, " + count(len(p.PlaybookFiles), "playbook")
}

// Estimate is a guess.
func (p *AnsibleLocal) Estimate() time.Duration { return 3 * time.Minute }
