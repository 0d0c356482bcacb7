package provisioner

import (
	"maps"
	"path/filepath"
	"slices"
	"time"

	"ingot/internal/image"
)

// DSC applies a Desired State Configuration in the guest: a configuration script (Windows PowerShell 5.1), compiled configurations (MOF),
// one resource (Invoke-DscResource), or a document of DSC 3 (dsc config set). When a resource wants a restart the guest is restarted and
// the configuration goes on.
type DSC struct {
	// ManifestFile is the configuration script, or a document of DSC 3 when it ends in .yaml, .yml, .json or .bicep.
	ManifestFile string `hcl:"manifest_file"`
	// ManifestDir is a folder uploaded beside it.
	ManifestDir string `hcl:"manifest_dir"`
	// ConfigurationName is the configuration to apply; the file's name up to its first dot if not set.
	ConfigurationName string `hcl:"configuration_name"`
	// ConfigurationParams are parameters of the configuration or document, with or without a hyphen before the name; an empty one is a switch.
	ConfigurationParams map[string]image.Text `hcl:"configuration_params"`
	// ConfigurationFile is a file of configuration data (psd1).
	ConfigurationFile string `hcl:"configuration_file"`
	// MOFPath is a folder of compiled configurations, which are applied as they are.
	MOFPath string `hcl:"mof_path"`
	// ModulePaths are folders of modules for compiling the configuration.
	ModulePaths []string `hcl:"module_paths"`
	// ResourcePaths are folders of modules with resources; they are put into the machine's own folder of modules, and stay.
	ResourcePaths []string `hcl:"resource_paths"`
	// InstallPackageManagement installs the NuGet provider first, which modules come through.
	InstallPackageManagement bool `hcl:"install_package_management"`
	// InstallModules are modules to install from the PowerShell Gallery, each with its version; "" takes the newest.
	InstallModules map[string]string `hcl:"install_modules"`
	// ResourceName is one resource to set without a configuration, such as "File". Packer has no such option.
	ResourceName string `hcl:"resource_name"`
	// ResourceModule is the module it is in, and ResourceModuleVersion that module's version.
	ResourceModule string `hcl:"resource_module"`
	// ResourceModuleVersion is the version of resource_module.
	ResourceModuleVersion string `hcl:"resource_module_version"`
	// ResourceProperties are its properties, turned into what the resource says they are; lists are parted by commas.
	ResourceProperties map[string]image.Text `hcl:"resource_properties"`
	// DSCCommand is the program of DSC 3 in the guest; dsc if not set. Packer has no such option.
	DSCCommand string `hcl:"dsc_command"`
	// RestartTimeout bounds each restart that a resource asks for; 15m if not set. Packer has no such option.
	RestartTimeout time.Duration `hcl:"restart_timeout"`
	// ExecuteCommand is a PowerShell script that applies it instead, with {{.WorkingDir}}, {{.ConfigurationParams}}, {{.ConfigurationFilePath}},
	// {{.ConfigurationName}}, {{.ModulePath}}, {{.ManifestFile}}, {{.ManifestDir}} and {{.MofPath}}. Its restarts are its own affair.
	ExecuteCommand string `hcl:"execute_command"`
	// ExecuteCommandFile is a file with that script.
	ExecuteCommandFile string `hcl:"execute_command_file"`
	// StagingDir is the guest's folder for all of it; C:/Windows/Temp/packer-dsc if not set.
	StagingDir string `hcl:"staging_dir"`
	// CleanStagingDir removes it at the end.
	CleanStagingDir bool `hcl:"clean_staging_dir"`
	// WorkingDir is where it runs; staging_dir if not set.
	WorkingDir string `hcl:"working_dir"`
	// IgnoreExitCodes takes every outcome for success.
	IgnoreExitCodes bool `hcl:"ignore_exit_codes"`
}

var _ Settings = (*DSC)(nil)

// Check reports what is wrong.
func (p *DSC) Check(c *Check) {
	n := 0
	for _, set := range []bool{p.ManifestFile != "" && p.MOFPath == "", p.MOFPath != "", p.ResourceName != ""} {
		if set {
			n++
		}
	}
	switch {
	case n == 0:
		c.fail("manifest_file", "set manifest_file, mof_path or resource_name", "manifest_file is missing")
	case n > 1:
		c.fail("resource_name", "use a provisioner block for each", "resource_name and manifest_file or mof_path exclude one another")
	}
	c.ignored("resource_module", p.ResourceModule != "" && p.ResourceName == "", "resource_name is not set")
	c.ignored("resource_properties", len(p.ResourceProperties) > 0 && p.ResourceName == "", "resource_name is not set")
	if p.ResourceModuleVersion != "" && p.ResourceModule == "" {
		c.fail("resource_module_version", "set resource_module", "resource_module_version is set without resource_module")
	}
	c.ignored("dsc_command", p.DSCCommand != "" && !p.third(), "manifest_file is no document of DSC 3")
	c.ignored("configuration_file", p.ConfigurationFile != "" && (p.third() || p.MOFPath != ""), "only a configuration script takes configuration data")
	c.ignored("configuration_params", len(p.ConfigurationParams) > 0 && p.MOFPath != "", "what is compiled takes no parameters")
	if p.ExecuteCommand != "" && p.ExecuteCommandFile != "" {
		c.fail("execute_command_file", "keep one", "execute_command and execute_command_file exclude one another")
	}
	if p.ResourceName != "" && (p.ExecuteCommand != "" || p.ExecuteCommandFile != "") {
		c.fail("execute_command", "leave it out", "execute_command and resource_name exclude one another")
	}
	c.checkCommand("execute_command", p.ExecuteCommand, slices.Collect(maps.Keys(p.words("", "", "", "", nil)))...)
	if p.RestartTimeout < 0 {
		c.fail("restart_timeout", "use a time like 15m", "restart_timeout is negative")
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
	if p.ResourceName != "" {
		return "dsc, resource " + p.ResourceName
	}
	if p.ManifestFile == "" {
		return "dsc, " + filepath.Base(p.MOFPath)
	}
	return "dsc, " + filepath.Base(p.ManifestFile)
}

// Estimate is a guess.
func (p *DSC) Estimate() time.Duration { return 5 * time.Minute }
