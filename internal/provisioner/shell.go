package provisioner

import (
	"path/filepath"
	"time"

	"ingot/internal/image"
)

// Shell runs shell scripts in a Linux guest.
type Shell struct {
	// Inline is lines of shell, run as one script.
	Inline []image.Text `hcl:"inline"`
	// Script is a local script file.
	Script string `hcl:"script"`
	// Scripts are local script files, run in this order.
	Scripts []string `hcl:"scripts"`
	// URI is the https address of a script; SHA256 is its checksum in lower-case hexadecimal. Only Image Builder's language has them.
	URI    string `hcl:"-" json:",omitempty"`
	SHA256 string `hcl:"-" json:",omitempty"`
	// EnvironmentVars are variables for the scripts, each "NAME=value".
	EnvironmentVars []image.Text `hcl:"environment_vars"`
	// Env is variables for the scripts, by name; it wins over environment_vars.
	Env map[string]image.Text `hcl:"env"`
	// EnvVarFormat is how a variable is written before the command; `%s='%s' ` if not set.
	EnvVarFormat string `hcl:"env_var_format"`
	// UseEnvVarFile puts the variables into a file that the script reads, instead of before the command.
	UseEnvVarFile bool `hcl:"use_env_var_file"`
	// InlineShebang is the first line of an inline script; "/bin/sh -e" if not set.
	InlineShebang string `hcl:"inline_shebang"`
	// ExecuteCommand is the command that runs the script; "chmod +x {{.Path}}; {{.Vars}} {{.Path}}" if not set.
	ExecuteCommand string `hcl:"execute_command"`
	// RemoteFolder is the guest's folder for the script; /tmp if not set.
	RemoteFolder string `hcl:"remote_folder"`
	// RemoteFile is the script's name in it; "script_" with a number if not set.
	RemoteFile string `hcl:"remote_file"`
	// RemotePath is folder and name together.
	RemotePath string `hcl:"remote_path"`
	// ValidExitCodes are the codes that mean success; 0 if not set.
	ValidExitCodes []int `hcl:"valid_exit_codes"`
	// ExpectDisconnect says that the script may end the connection, as a restart does.
	ExpectDisconnect bool `hcl:"expect_disconnect"`
	// StartRetryTimeout is how long starting the script is tried; 5m if not set.
	StartRetryTimeout time.Duration `hcl:"start_retry_timeout"`
	// PauseAfter waits after the last script.
	PauseAfter time.Duration `hcl:"pause_after"`
	// SkipClean leaves the scripts in the guest.
	SkipClean bool `hcl:"skip_clean"`
	// Binary keeps the line ends of script files; otherwise CR LF becomes LF.
	Binary bool `hcl:"binary"`
}

var _ Settings = (*Shell)(nil)

// Check reports what is wrong.
func (p *Shell) Check(c *Check) {
	checkScripts(c, p.Inline, &p.Script, p.Scripts, p.URI, p.EnvironmentVars, false)
	checkURI(c, p.URI, p.SHA256)
	if p.RemotePath != "" && (p.RemoteFolder != "" || p.RemoteFile != "") {
		c.fail("remote_path", "keep remote_path, or remote_folder with remote_file", "remote_path and remote_folder or remote_file exclude one another")
	}
}

// Summary is a phrase for a step's title.
func (p *Shell) Summary() string {
	switch {
	case len(p.Inline) > 0:
		return "shell, " + count(len(p.Inline), "inline line")
	case p.URI != "":
		return "shell, " + base(p.URI)
	case p.Script != "":
		return "shell, " + filepath.Base(p.Script)
	}
	return "shell, " + count(len(p.Scripts), "script")
}

// Estimate is a guess: nobody knows what a script does.
func (p *Shell) Estimate() time.Duration { return 30*time.Second + p.PauseAfter }
