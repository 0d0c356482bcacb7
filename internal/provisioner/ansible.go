package provisioner

import (
	"cmp"
	"os/exec"
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
	// User is who Ansible signs in as with use_proxy = false; otherwise, and if not set, the communicator's user.
	User string `hcl:"user"`
	// LocalPort is the port of this machine's loopback that leads to the guest, or the first free one of the ten from there; any if not set.
	LocalPort int `hcl:"local_port"`
	// SSHHostKeyFile has no effect: it is the key of Packer's proxy, and there is none here.
	SSHHostKeyFile string `hcl:"ssh_host_key_file"`
	// SSHAuthorizedKeyFile has no effect: it is for Packer's proxy.
	SSHAuthorizedKeyFile string `hcl:"ssh_authorized_key_file"`
	// AnsibleProxyKeyType has no effect: it is for Packer's proxy (ECDSA or RSA).
	AnsibleProxyKeyType string `hcl:"ansible_proxy_key_type"`
	// SFTPCommand has no effect: the guest's own SSH server serves files.
	SFTPCommand string `hcl:"sftp_command"`
	// SkipVersionCheck does not look for the program when the template is validated, nor ask for its version.
	SkipVersionCheck bool `hcl:"skip_version_check"`
	// UseSFTP copies files by SFTP only; otherwise Ansible tries SFTP first and then SCP.
	UseSFTP bool `hcl:"use_sftp"`
	// InventoryDirectory is where the inventory is written.
	InventoryDirectory string `hcl:"inventory_directory"`
	// InventoryFileTemplate is the template of its line for the guest, with .HostAlias, .Host, .User and .Port.
	InventoryFileTemplate string `hcl:"inventory_file_template"`
	// InventoryFile is an inventory to use instead. A host in it that has the name host_alias is the guest.
	InventoryFile string `hcl:"inventory_file"`
	// KeepInventoryFile leaves the inventory behind; no password or key is in it.
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
	// UseProxy: false lets user be who signs in. There is no proxy: Ansible speaks to the guest's own SSH or WinRM, through a port of this
	// machine's loopback, in every case.
	UseProxy *bool `hcl:"use_proxy"`
	// AnsibleWinRMUseHTTP speaks HTTP on this machine's loopback; to the guest it is HTTPS all the same.
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
	const noProxy = "Ansible speaks to the guest itself, without Packer's proxy"
	c.ignored("ssh_host_key_file", p.SSHHostKeyFile != "", noProxy)
	c.ignored("ssh_authorized_key_file", p.SSHAuthorizedKeyFile != "", noProxy)
	c.ignored("ansible_proxy_key_type", p.AnsibleProxyKeyType != "", noProxy)
	c.ignored("sftp_command", p.SFTPCommand != "", "the guest's own SSH server serves files")
	if p.User != "" && (p.UseProxy == nil || *p.UseProxy) {
		c.warn("user", "set use_proxy = false for it to be who signs in, or remove user", "user has no effect: Ansible signs in as the communicator's user, as everything behind Packer's proxy does")
	}
	if p.InventoryFile != "" {
		c.ignored("groups", len(p.Groups) > 0, "inventory_file has the groups")
		c.ignored("empty_groups", len(p.EmptyGroups) > 0, "inventory_file has the groups")
		c.ignored("inventory_file_template", p.InventoryFileTemplate != "", "inventory_file is used instead")
		c.ignored("inventory_directory", p.InventoryDirectory != "", "inventory_file is used instead")
		c.ignored("keep_inventory_file", p.KeepInventoryFile, "inventory_file is never removed")
	}
	if p.InventoryFileTemplate != "" {
		if _, err := p.inventoryLine(Connection{User: "u", Host: "h"}, 1); err != nil {
			c.fail("inventory_file_template", "it knows .HostAlias, .Host, .User and .Port", "%v", err)
		}
	}
	for option, set := range map[string]bool{"galaxy_force_install": p.GalaxyForceInstall, "galaxy_force_with_deps": p.GalaxyForceWithDeps} {
		c.ignored(option, set && p.GalaxyFile == "", "there is no galaxy_file")
	}
	if command := cmp.Or(p.Command, ansibleProgram); !p.SkipVersionCheck && !c.there(command) {
		c.warn("command", "install it (Debian: apt-get install ansible-core, and for WinRM python3-winrm) before the build", "there is no %s on this machine, and a build runs it here", command)
	}
}

// there reports whether a program can be found on this machine.
func (c *Check) there(command string) bool {
	_, err := exec.LookPath(command)
	return err == nil
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
	// GalaxyForceInstall installs again what is there.
	GalaxyForceInstall bool `hcl:"galaxy_force_install"`
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
