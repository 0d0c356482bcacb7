package provisioner

import (
	"encoding/json"
	"strings"
	"time"

	"ingot/internal/image"
)

// chefCommon are the options that both ways to run Chef have.
type chefCommon struct {
	// Product is chef (default) or cinc, the free distribution of the same: it says what is installed and run. Packer has no such option.
	Product string `hcl:"product"`
	// ChefEnvironment is the environment of the run.
	ChefEnvironment string `hcl:"chef_environment"`
	// ChefLicense is accept, accept-silent or accept-no-persist; accept-silent if not set and Chef is installed by the standard command.
	ChefLicense string `hcl:"chef_license"`
	// ConfigTemplate is a file with a template of Chef's configuration, in Packer's words: {{.CookbookPaths}}, {{.NodeName}} and so on.
	ConfigTemplate string `hcl:"config_template"`
	// ElevatedUser runs it as this user on Windows; "SYSTEM" needs no password.
	ElevatedUser string `hcl:"elevated_user"`
	// ElevatedPassword is that user's password.
	ElevatedPassword image.Text `hcl:"elevated_password,secret"`
	// EncryptedDataBagSecretPath is the file of the data bags' secret; it is removed from the guest at the end.
	EncryptedDataBagSecretPath string `hcl:"encrypted_data_bag_secret_path"`
	// ExecuteCommand is the command that runs Chef, with {{.ConfigPath}}, {{.JsonPath}} and {{.Sudo}}.
	ExecuteCommand string `hcl:"execute_command"`
	// GuestOSType is unix or windows; what the guest is if not set.
	GuestOSType string `hcl:"guest_os_type"`
	// InstallCommand is the command that installs Chef, with {{.Version}} and {{.Sudo}}; the standard one downloads it.
	InstallCommand string `hcl:"install_command"`
	// JSON are attributes of the run.
	JSON any `hcl:"json"`
	// PreventSudo runs Chef without sudo.
	PreventSudo bool `hcl:"prevent_sudo"`
	// RunList is what is run; it wins over run_list among the attributes.
	RunList []string `hcl:"run_list"`
	// SkipInstall uses the Chef that is in the guest already, as without a way to the internet.
	SkipInstall bool `hcl:"skip_install"`
	// StagingDirectory is the guest's folder for all of it; packer-chef-solo or packer-chef-client in /tmp or C:/Windows/Temp if not set.
	StagingDirectory string `hcl:"staging_directory"`
	// TrustedCertsDir is a folder of the guest with certificates to trust; chef-client only.
	TrustedCertsDir string `hcl:"trusted_certs_dir"`
	// Version is the version to install.
	Version string `hcl:"version"`
}

func (p *chefCommon) check(c *Check) {
	c.oneOf("guest_os_type", p.GuestOSType, "unix", "windows")
	c.oneOf("product", p.Product, "chef", "cinc")
	c.checkCommand("execute_command", p.ExecuteCommand, "ConfigPath", "JsonPath", "Sudo")
	c.checkCommand("install_command", p.InstallCommand, "Version", "Sudo")
	if !p.ElevatedPassword.IsZero() && p.ElevatedUser == "" {
		c.fail("elevated_password", "set elevated_user", "elevated_password is set without elevated_user")
	}
	c.ignored("version", p.Version != "" && (p.SkipInstall || p.InstallCommand != "" && !strings.Contains(p.InstallCommand, ".Version")), "nothing is installed by it")
	c.oneOf("chef_license", p.ChefLicense, "accept", "accept-silent", "accept-no-persist")
	c.files(map[string]*string{"config_template": &p.ConfigTemplate, "encrypted_data_bag_secret_path": &p.EncryptedDataBagSecretPath})
	if _, object := p.JSON.(map[string]any); p.JSON != nil && !object {
		c.fail("json", "write json = { … }", "json is no object")
	}
}

// attributes refuses JSON text that is no object.
func (c *Check) attributes(text string) {
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); text != "" && err != nil {
		c.fail("json_string", "write a JSON object", "json_string is no JSON object: %v", err)
	}
}

// ChefSolo uploads cookbooks and runs chef-solo in the guest.
type ChefSolo struct {
	chefCommon
	// CookbookPaths are folders of cookbooks to upload.
	CookbookPaths []string `hcl:"cookbook_paths"`
	// RemoteCookbookPaths are folders of cookbooks in the guest.
	RemoteCookbookPaths []string `hcl:"remote_cookbook_paths"`
	// RolesPath is a folder of roles to upload.
	RolesPath string `hcl:"roles_path"`
	// DataBagsPath is a folder of data bags to upload.
	DataBagsPath string `hcl:"data_bags_path"`
	// EnvironmentsPath is a folder of environments to upload.
	EnvironmentsPath string `hcl:"environments_path"`
	// JSONString are attributes of the run as JSON text.
	JSONString string `hcl:"json_string"`
}

const jsonStringRule = "json and json_string exclude one another"

var _ Settings = (*ChefSolo)(nil)

// Check reports what is wrong.
func (p *ChefSolo) Check(c *Check) {
	p.check(c)
	c.files(map[string]*string{"roles_path": &p.RolesPath, "data_bags_path": &p.DataBagsPath, "environments_path": &p.EnvironmentsPath})
	for i := range p.CookbookPaths {
		c.file("cookbook_paths", &p.CookbookPaths[i])
	}
	if p.JSON != nil && p.JSONString != "" {
		c.fail("json_string", "keep one", jsonStringRule)
	}
	c.attributes(p.JSONString)
	if len(p.CookbookPaths)+len(p.RemoteCookbookPaths) == 0 && p.ConfigTemplate == "" && len(p.RunList) > 0 {
		c.warn("run_list", "set cookbook_paths or remote_cookbook_paths", "there is a run list and no cookbooks")
	}
	c.ignored("trusted_certs_dir", p.TrustedCertsDir != "", "chef-solo talks to no server")
	if p.ChefEnvironment != "" && p.EnvironmentsPath == "" && p.ConfigTemplate == "" {
		c.fail("chef_environment", "set environments_path", "chef_environment is set without environments_path")
	}
}

// Summary is a phrase for a step's title.
func (p *ChefSolo) Summary() string { return "chef-solo, " + count(len(p.RunList), "recipe") }

// Estimate is a guess.
func (p *ChefSolo) Estimate() time.Duration { return 5 * time.Minute }

// ChefClient runs chef-client in the guest against a server.
type ChefClient struct {
	chefCommon
	// ServerURL is the server.
	ServerURL string `hcl:"server_url"`
	// NodeName is the guest's name there; packer- with random letters if not set.
	NodeName string `hcl:"node_name"`
	// ClientKey is the file of the client's key in the guest; client.pem in staging_directory if not set.
	ClientKey string `hcl:"client_key"`
	// ValidationClientName is who registers the guest.
	ValidationClientName string `hcl:"validation_client_name"`
	// ValidationKeyPath is the file of that client's key.
	ValidationKeyPath string `hcl:"validation_key_path"`
	// PolicyName and PolicyGroup choose a policy.
	PolicyName string `hcl:"policy_name"`
	// PolicyGroup is the policy's group.
	PolicyGroup string `hcl:"policy_group"`
	// JSONString are attributes of the run as JSON text.
	JSONString string `hcl:"json_string"`
	// KnifeCommand is the command that removes node and client from the server at the end, with {{.Args}}, {{.Flags}} and {{.Sudo}}.
	KnifeCommand string `hcl:"knife_command"`
	// RubygemsURL is where gems come from.
	RubygemsURL string `hcl:"rubygems_url"`
	// SSLVerifyMode is verify_none or verify_peer.
	SSLVerifyMode string `hcl:"ssl_verify_mode"`
	// SkipCleanClient leaves the client on the server.
	SkipCleanClient bool `hcl:"skip_clean_client"`
	// SkipCleanNode leaves the node on the server.
	SkipCleanNode bool `hcl:"skip_clean_node"`
	// SkipCleanStagingDirectory leaves the guest's folder.
	SkipCleanStagingDirectory bool `hcl:"skip_clean_staging_directory"`
}

var _ Settings = (*ChefClient)(nil)

// Check reports what is wrong.
func (p *ChefClient) Check(c *Check) {
	p.check(c)
	c.required("server_url", p.ServerURL)
	c.attributes(p.JSONString)
	if p.JSON != nil && p.JSONString != "" {
		c.fail("json_string", "keep one", jsonStringRule)
	}
	c.checkCommand("knife_command", p.KnifeCommand, "Args", "Flags", "Sudo")
	c.oneOf("ssl_verify_mode", p.SSLVerifyMode, "verify_none", "verify_peer")
	c.files(map[string]*string{"validation_key_path": &p.ValidationKeyPath})
	if (p.PolicyName == "") != (p.PolicyGroup == "") {
		c.fail("policy_name", "set both", "policy_name and policy_group go together")
	}
}

// Summary is a phrase for a step's title.
func (p *ChefClient) Summary() string { return "chef-client, " + count(len(p.RunList), "recipe") }

// Estimate is a guess.
func (p *ChefClient) Estimate() time.Duration { return 5 * time.Minute }
