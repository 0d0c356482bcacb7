package provisioner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

const (
	ansibleProgram = "ansible-playbook"
	galaxyProgram  = "ansible-galaxy"
	// The line of Packer's plugin (packer-plugin-ansible v1.1, inventory_file_template).
	inventoryLine = "{{ .HostAlias }} ansible_host={{ .Host }} ansible_user={{ .User }} ansible_port={{ .Port }}\n"
	winrmRemedy   = "use a powershell provisioner"
	sshRemedy     = "use ansible-local"
)

var (
	_ Runner  = (*Ansible)(nil)
	_ Limited = (*Ansible)(nil)
)

// Limits says where Ansible cannot run: its controller knows no Windows (Ansible's documentation, "Installing Ansible": control node
// requirements).
func (p *Ansible) Limits() []Limit {
	if runtime.GOOS != "windows" {
		return nil
	}
	return []Limit{{"ansible", "Ansible runs on Linux and macOS only, and it would run on this machine", "build from Linux or WSL, or use ansible-local"}}
}

// Run runs ansible-playbook on this machine. Ansible is run again as a whole after a crash, as playbooks are made for; one that a killed
// process has left loses its way to the guest with that process.
func (p *Ansible) Run(ctx context.Context, e *Env) error {
	remedy := sshRemedy
	to, err := e.connection(ctx, "ansible", remedy)
	if err != nil {
		return err
	}
	if to.Windows {
		remedy = winrmRemedy
	}
	if p.User != "" && p.UseProxy != nil && !*p.UseProxy {
		to.User = p.User
	}
	dir, err := os.MkdirTemp("", "ingot-ansible-") // with mode 0700
	if err != nil {
		return fmt.Errorf("cannot run ansible: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the temporary folder
	through, err := newRelay(ctx, to, p.LocalPort)
	if err != nil {
		return fmt.Errorf("cannot run ansible: %w", err)
	}
	err = p.run(ctx, e, to, through, dir)
	if cause := through.Close(); err != nil && cause != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w; the last connection to the guest: %w", err, cause)
	}
	return err
}

func (p *Ansible) run(ctx context.Context, e *Env, to Connection, through *relay, dir string) error {
	env := p.environment(dir)
	if !p.SkipVersionCheck {
		if err := p.version(ctx, e, env); err != nil {
			return err
		}
	}
	if err := p.galaxy(ctx, e, env); err != nil {
		return err
	}
	inventories, extra, err := p.inventories(e, to, through, dir)
	if err != nil {
		return fmt.Errorf("cannot write Ansible's inventory: %w", err)
	}
	if !p.KeepInventoryFile && p.InventoryFile == "" {
		defer os.Remove(inventories[0]) //nolint:errcheck // in the temporary folder, mostly
	} else if p.InventoryFile == "" {
		e.progress("the inventory stays in %s", inventories[0])
	}
	args := []string{cmp.Or(p.Command, ansibleProgram)}
	for _, v := range []struct{ name, of string }{{"packer_build_name", "PACKER_BUILD_NAME"}, {"packer_builder_type", "PACKER_BUILDER_TYPE"}} {
		if e.Vars[v.of] != "" {
			args = append(args, "-e", fmt.Sprintf("%s=%q", v.name, e.Vars[v.of]))
		}
	}
	if to.Kind == "ssh" && len(p.AnsibleSSHExtraArgs) > 0 {
		args = append(args, "--ssh-extra-args", strings.Join(p.AnsibleSSHExtraArgs, " "))
	}
	given, err := p.extraArguments(to, dir)
	if err != nil {
		return fmt.Errorf("cannot run ansible: %w", err)
	}
	if extra != "" {
		args = append(args, "-e", "@"+extra)
	}
	if to.Kind == "winrm" && p.AnsibleWinRMUseHTTP {
		args = append(args, "-e", "ansible_winrm_scheme=http")
	}
	args = append(args, given...)
	for _, i := range inventories {
		args = append(args, "-i", i)
	}
	args = append(args, strings.TrimSuffix(p.PlaybookFile, "/"))
	e.progress("running %s", filepath.Base(p.PlaybookFile))
	said := &memo{keep: ansibleComplaint}
	code, err := runProgram(ctx, e, program{args: args, env: env, hear: said.hear})
	switch {
	case err != nil:
		return fmt.Errorf("cannot run ansible: %w", err)
	case code == 0:
		return nil
	}
	text := fmt.Sprintf("cannot run ansible, %s: it exited with code %d (%s)", filepath.Base(p.PlaybookFile), code, ansibleCode(code))
	if len(said.lines) > 0 {
		text += ": " + strings.Join(said.lines, "\n")
	}
	return errors.New(text)
}

// ansibleComplaint tells the lines that say why a playbook failed.
func ansibleComplaint(line string) bool {
	return strings.Contains(line, "fatal:") || strings.Contains(line, "FAILED!") || strings.Contains(line, "UNREACHABLE!") || strings.Contains(line, "ERROR!") || strings.HasPrefix(line, "failed:")
}

// ansibleCode says what an exit code means (ansible/executor/task_queue_manager.py, RUN_*; ansible/errors, exit codes of the programs).
func ansibleCode(code int) string {
	switch {
	case code == 1:
		return "an error"
	case code == 2:
		return "a task failed"
	case code == 3 || code == 4:
		return "the guest could not be reached or its syntax is wrong"
	case code == 5:
		return "wrong options"
	case code == 99:
		return "it was interrupted"
	case code == 250:
		return "an unexpected error"
	}
	return "failed"
}

// environment is this machine's, what keeps Ansible inside dir, and the template's own, which wins.
func (p *Ansible) environment(dir string) []string {
	env := os.Environ()
	// A master connection is found by host and port, and a port of the loopback may have led elsewhere a minute ago.
	env = append(env, "ANSIBLE_SSH_CONTROL_PATH_DIR="+filepath.Join(dir, "cp"), "ANSIBLE_HOST_KEY_CHECKING=True", "PYTHONUNBUFFERED=1")
	if p.UseSFTP {
		env = append(env, "ANSIBLE_SSH_TRANSFER_METHOD=sftp")
	}
	for _, v := range p.AnsibleEnvVars {
		env = append(env, v.Reveal())
	}
	return env
}

// version asks for Ansible's version, which also shows that it can be run at all.
func (p *Ansible) version(ctx context.Context, e *Env, env []string) error {
	command := cmp.Or(p.Command, ansibleProgram)
	first := ""
	quiet := *e
	quiet.Output = nil
	code, err := runProgram(ctx, &quiet, program{args: []string{command, "--version"}, env: env, hear: func(_, line string) { first = cmp.Or(first, strings.TrimSpace(line)) }})
	switch {
	case err != nil:
		return fmt.Errorf("cannot run ansible: %w; Debian: apt-get install ansible-core", err)
	case code != 0:
		return fmt.Errorf("cannot run ansible: %s --version exited with code %d: %s", command, code, first)
	}
	e.progress("%s", first)
	return nil
}

var (
	hasRoles       = regexp.MustCompile(`(?m)^roles:`)
	hasCollections = regexp.MustCompile(`(?m)^collections:`)
)

// galaxyCalls are the arguments of ansible-galaxy for a file of requirements: roles, unless it has collections only, and collections.
func galaxyCalls(text []byte, roles, collections []string) (out [][]string) {
	if hasRoles.Match(text) || !hasCollections.Match(text) {
		out = append(out, append([]string{"install"}, roles...))
	}
	if hasCollections.Match(text) {
		out = append(out, append([]string{"collection", "install"}, collections...))
	}
	return out
}

// galaxy installs roles and collections on this machine.
func (p *Ansible) galaxy(ctx context.Context, e *Env, env []string) error {
	if p.GalaxyFile == "" {
		return nil
	}
	text, err := os.ReadFile(p.GalaxyFile)
	if err != nil {
		return fmt.Errorf("cannot read galaxy_file: %w", err)
	}
	both := []string{"-r", p.GalaxyFile}
	if p.GalaxyForceInstall {
		both = append(both, "-f")
	}
	if p.GalaxyForceWithDeps {
		both = append(both, "--force-with-deps")
	}
	roles, collections := slices.Clone(both), slices.Clone(both)
	if p.RolesPath != "" {
		roles = append(roles, "-p", p.RolesPath)
	}
	if p.CollectionsPath != "" {
		collections = append(collections, "-p", p.CollectionsPath)
	}
	for _, call := range galaxyCalls(text, roles, collections) {
		e.progress("installing what %s names", filepath.Base(p.GalaxyFile))
		said := &memo{keep: func(line string) bool { return strings.Contains(line, "ERROR") }}
		code, err := runProgram(ctx, e, program{args: append([]string{cmp.Or(p.GalaxyCommand, galaxyProgram)}, call...), env: env, hear: said.hear})
		if err == nil && code != 0 {
			err = fmt.Errorf("it exited with code %d: %s", code, strings.Join(said.lines, "\n"))
		}
		if err != nil {
			return fmt.Errorf("cannot install what %s names: %w", filepath.Base(p.GalaxyFile), err)
		}
	}
	return nil
}

// inventoryLine is the guest's line.
func (p *Ansible) inventoryLine(to Connection, port int) (string, error) {
	t, err := template.New("inventory_file_template").Option("missingkey=error").Parse(cmp.Or(p.InventoryFileTemplate, inventoryLine))
	if err != nil {
		return "", fmt.Errorf("cannot read inventory_file_template: %w", err)
	}
	var b strings.Builder
	err = t.Execute(&b, map[string]any{"HostAlias": p.alias(), "Host": "127.0.0.1", "User": to.User, "Port": port})
	if err != nil {
		return "", fmt.Errorf("cannot fill in inventory_file_template: %w", err)
	}
	return strings.TrimRight(b.String(), "\n") + "\n", nil
}

func (p *Ansible) alias() string { return cmp.Or(p.HostAlias, "default") }

// inventories writes the inventory, which holds no secret and may be kept, and beside it, in dir, the credentials as variables of the
// guest, or, where the template's own inventory does not name the guest, of the run (extra).
func (p *Ansible) inventories(e *Env, to Connection, through *relay, dir string) (list []string, extra string, err error) {
	vars, err := p.credentials(to, through, dir)
	if err != nil {
		return nil, "", err
	}
	if p.InventoryFile != "" {
		list = []string{p.InventoryFile}
		if !names(p.InventoryFile, p.alias()) {
			e.progress("%s names no host %s: the build's key and password are offered to every host in it", filepath.Base(p.InventoryFile), p.alias())
			extra = filepath.Join(dir, "extra.json")
			return list, extra, writeJSON(extra, vars)
		}
		vars["ansible_host"], vars["ansible_port"], vars["ansible_user"] = "127.0.0.1", through.Port, to.User
	} else {
		line, err := p.inventoryLine(to, through.Port)
		if err != nil {
			return nil, "", err
		}
		var b strings.Builder
		b.WriteString(line)
		for _, g := range p.Groups {
			fmt.Fprintf(&b, "[%s]\n%s", g, line)
		}
		for _, g := range p.EmptyGroups {
			fmt.Fprintf(&b, "[%s]\n", g)
		}
		where := p.InventoryDirectory
		if where == "" && !p.KeepInventoryFile {
			where = dir
		}
		f, err := os.CreateTemp(where, "ingot-ansible-inventory-*") // with mode 0600
		if err != nil {
			return nil, "", err
		}
		_, err = f.WriteString(b.String())
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, "", err
		}
		list = []string{f.Name()}
	}
	// Ansible puts the variables that several inventories have of one host together; the last one wins.
	second := filepath.Join(dir, "guest.json")
	return append(list, second), "", writeJSON(second, map[string]any{"all": map[string]any{"hosts": map[string]any{p.alias(): vars}}})
}

// names reports whether an inventory file has a host of that name. A program or a folder is not looked into.
func names(file, host string) bool {
	raw, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	return regexp.MustCompile(`(?m)^\s*"?'?` + regexp.QuoteMeta(host) + `"?'?(\s|:|=|$)`).Match(raw)
}

func writeJSON(name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(name, raw, 0o600)
}

// credentials are the variables with which Ansible signs in. The names are those of Ansible's connection plugins ssh and winrm.
func (p *Ansible) credentials(to Connection, through *relay, dir string) (map[string]any, error) {
	vars := map[string]any{}
	if to.Windows {
		vars["ansible_shell_type"] = "powershell"
	}
	if to.Kind == "winrm" {
		ca := filepath.Join(dir, "ca.pem")
		vars["ansible_connection"], vars["ansible_winrm_scheme"], vars["ansible_winrm_transport"] = "winrm", "https", "basic"
		if to.NTLM {
			vars["ansible_winrm_transport"] = "ntlm"
		}
		// The certificate that Ansible sees is the port's own. Windows refuses one in the sign-in that is not its own, and bears with none
		// (Microsoft Learn, WSMan CbtHardeningLevel: Relaxed is the default).
		vars["ansible_winrm_ca_trust_path"], vars["ansible_winrm_server_cert_validation"], vars["ansible_winrm_send_cbt"] = ca, "validate", false
		vars["ansible_password"] = to.Password
		return vars, os.WriteFile(ca, through.CA, 0o600)
	}
	// Packer's templates switch this off by a variable of the environment, since its proxy has a key that nobody knows; ours is known, and
	// a variable of the host counts for more (Ansible's documentation, ansible.builtin.ssh connection: host_key_checking).
	vars["ansible_host_key_checking"], vars["ansible_ssh_host_key_checking"] = true, true
	known := filepath.Join(dir, "known_hosts")
	if to.HostKey == "" {
		return nil, errors.New("the guest's host key is not known")
	}
	// By the alias Ansible's SSH finds the key whatever port it goes through; by the address, where an inventory of the template's own names that.
	lines := "ingot-guest " + to.HostKey + "\n" + address("127.0.0.1", through.Port) + " " + to.HostKey + "\n" + address(to.Host, to.Port) + " " + to.HostKey + "\n"
	if err := os.WriteFile(known, []byte(lines), 0o600); err != nil {
		return nil, err
	}
	args := []string{"-o UserKnownHostsFile=" + known, "-o GlobalKnownHostsFile=/dev/null", "-o StrictHostKeyChecking=yes"}
	if p.InventoryFile == "" || names(p.InventoryFile, p.alias()) {
		args = append(args, "-o HostKeyAlias=ingot-guest")
	}
	switch {
	case len(to.Key) > 0:
		key := filepath.Join(dir, "key")
		if err := os.WriteFile(key, to.Key, 0o600); err != nil {
			return nil, err
		}
		vars["ansible_ssh_private_key_file"] = key
		args = append(args, "-o IdentitiesOnly=yes", "-o IdentityAgent=none")
		if to.Password != "" {
			vars["ansible_become_password"] = to.Password
		}
	case to.Password != "":
		vars["ansible_password"], vars["ansible_become_password"] = to.Password, to.Password
	}
	vars["ansible_ssh_common_args"] = strings.Join(args, " ")
	return vars, nil
}

// address is a host with a port as known_hosts has it (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
func address(host string, port int) string {
	if port == 22 {
		return host
	}
	return "[" + host + "]:" + strconv.Itoa(port)
}

// extraArguments are the template's arguments; a secret that would stand on the command line, which everybody on this machine can read,
// is handed over in a file: Ansible takes -e @FILE wherever it takes -e NAME=VALUE.
func (p *Ansible) extraArguments(to Connection, dir string) ([]string, error) {
	var out []string
	for i, a := range p.ExtraArguments {
		text := a.Reveal()
		secret := a.Secret() != "" || to.Password != "" && strings.Contains(text, to.Password)
		value, before := text, ""
		switch {
		case i > 0 && slices.Contains([]string{"-e", "--extra-vars"}, p.ExtraArguments[i-1].Reveal()):
		case strings.HasPrefix(text, "--extra-vars="):
			value, before = strings.TrimPrefix(text, "--extra-vars="), "--extra-vars="
		case strings.HasPrefix(text, "-e") && len(text) > 2:
			value, before = text[2:], "-e"
		default:
			secret = false
		}
		if !secret || strings.HasPrefix(value, "@") {
			out = append(out, text)
			continue
		}
		name := filepath.Join(dir, fmt.Sprintf("vars-%d.json", i))
		body := []byte(value)
		if !strings.HasPrefix(value, "{") && !strings.HasPrefix(value, "[") { // those are JSON or YAML
			words := map[string]string{}
			for _, w := range shellWords(value) {
				k, v, ok := strings.Cut(w, "=")
				if !ok {
					return nil, fmt.Errorf("extra_arguments[%d] is no list of NAME=VALUE for %s", i, "-e")
				}
				words[k] = v
			}
			var err error
			if body, err = json.Marshal(words); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(name, body, fs.FileMode(0o600)); err != nil {
			return nil, err
		}
		out = append(out, before+"@"+name)
	}
	return out, nil
}

// shellWords splits at blanks outside of quotes, as Ansible splits NAME=VALUE.
func shellWords(s string) []string {
	var out []string
	var b strings.Builder
	quote, any := rune(0), false
	for _, r := range s {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			b.WriteRune(r)
		case r == '"' || r == '\'':
			quote, any = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if any {
				out = append(out, b.String())
			}
			b.Reset()
			any = false
		default:
			b.WriteRune(r)
			any = true
		}
	}
	if any {
		out = append(out, b.String())
	}
	return out
}
