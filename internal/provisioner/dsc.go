package provisioner

import (
	"path/filepath"
	"time"

	"ingot/internal/image"
)

// DSC applies a PowerShell Desired State Configuration in the guest.
type DSC struct {
	// ManifestFile is the configuration script.
	ManifestFile string `hcl:"manifest_file"`
	// ManifestDir is a folder uploaded beside it.
	ManifestDir string `hcl:"manifest_dir"`
	// ConfigurationName is the configuration to apply; the file's name if not set.
	ConfigurationName string `hcl:"configuration_name"`
	// ConfigurationParams are parameters of the configuration.
	ConfigurationParams map[string]image.Text `hcl:"configuration_params"`
	// ConfigurationFile is a file of configuration data (psd1).
	ConfigurationFile string `hcl:"configuration_file"`
	// MOFPath is a folder of compiled configurations.
	MOFPath string `hcl:"mof_path"`
	// ModulePaths are folders of modules to upload.
	ModulePaths []string `hcl:"module_paths"`
	// ResourcePaths are folders of resources to upload.
	ResourcePaths []string `hcl:"resource_paths"`
	// InstallPackageManagement installs PowerShellGet first.
	InstallPackageManagement bool `hcl:"install_package_management"`
	// InstallModules are modules to install, each with its version.
	InstallModules map[string]string `hcl:"install_modules"`
	// ExecuteCommand is the command that applies it.
	ExecuteCommand string `hcl:"execute_command"`
	// ExecuteCommandFile is a file with that command.
	ExecuteCommandFile string `hcl:"execute_command_file"`
	// StagingDir is the guest's folder for all of it.
	StagingDir string `hcl:"staging_dir"`
	// CleanStagingDir removes it at the end.
	CleanStagingDir bool `hcl:"clean_staging_dir"`
	// WorkingDir is where it runs.
	WorkingDir string `hcl:"working_dir"`
	// IgnoreExitCodes takes every exit code for success.
	IgnoreExitCodes bool `hcl:"ignore_exit_codes"`
}

var _ Settings = (*DSC)(nil)

// Check reports what is wrong.
func (p *DSC) Check(c *Check) {
	if p.MOFPath == "" {
		c.required("manifest_file", p.ManifestFile)
	}
	c.files(map[string]*string{"manifest_file": &p.ManifestFile, "manifest_dir": &p.ManifestDir, "configuration_file": &p.ConfigurationFile, "mof_path": &p.MOFPath, "execute_command_file": &p.ExecuteCommandFile})
	for option, list := range map[string][]string{"module_paths": p.ModulePaths, "resource_paths": p.ResourcePaths} {
		for i := range list {
			c.file(option, &list[i])
		}
	}
}

// Summary is a phrase for a step's title.
func (p *DSC) Summary() string {
	if p.ManifestFile == "" {
		return "dsc, " + filepath.Base(p.MOFPath)
	}
	return "dsc, " + filepath.Base(p.ManifestFile)
}

// Estimate is a guess.
func (p *DSC) Estimate() time.Duration { return 5 * time.Minute }
