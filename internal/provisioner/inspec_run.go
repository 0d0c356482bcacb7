package provisioner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

var _ Runner = (*InSpec)(nil)

const (
	inspecProgram = "inspec"
	inspecTarget  = "ingot"
)

// Run runs the profile. After a crash it runs again: it changes nothing.
func (p *InSpec) Run(ctx context.Context, e *Env) error {
	dir, err := os.MkdirTemp("", "ingot-inspec-") // with mode 0700
	if err != nil {
		return fmt.Errorf("cannot run inspec: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the temporary folder
	args := []string{cmp.Or(p.Command, inspecProgram), "exec", strings.TrimSuffix(p.Profile, "/")}
	var through *relay
	switch p.Backend {
	case "local":
		args = append(args, "--backend", "local")
	case "docker":
		args = append(args, "--backend", "docker", "--host", p.Host)
	default:
		to, err := e.connection(ctx, "inspec", "run the profile in the guest, with a script")
		if err != nil {
			return err
		}
		if p.Backend != "" && p.Backend != to.Kind {
			return fmt.Errorf("cannot run inspec: its backend is %s and the build's communicator is %s; leave backend out", p.Backend, to.Kind)
		}
		if through, err = newRelay(ctx, to, p.LocalPort); err != nil {
			return fmt.Errorf("cannot run inspec: %w", err)
		}
		config := filepath.Join(dir, "config.json")
		if err := p.credentials(to, through, dir, config); err != nil {
			through.Close() //nolint:errcheck // nothing has used it
			return fmt.Errorf("cannot write InSpec's configuration: %w", err)
		}
		args = append(args, "--target", to.Kind+"://"+inspecTarget, "--config", config)
	}
	err = p.exec(ctx, e, args, dir)
	if through != nil {
		if cause := through.Close(); err != nil && cause != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w; the last connection to the guest: %w", err, cause)
		}
	}
	return err
}

// credentials writes what InSpec signs in with into a file for its owner only; on the command line every user of this machine could read
// it. The format is that of docs.chef.io, "InSpec Configuration File", version 1.1; the options are those of train's transports ssh and
// winrm.
func (p *InSpec) credentials(to Connection, through *relay, dir, config string) error {
	set := map[string]any{"host": "127.0.0.1", "port": through.Port, "user": cmp.Or(p.User, to.User)}
	if to.Kind == "winrm" {
		ca := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(ca, through.CA, 0o600); err != nil {
			return err
		}
		set["password"], set["ssl"], set["ca_trust_file"] = to.Password, true, ca
		if !to.NTLM {
			set["winrm_basic_auth_only"] = true
		}
	} else if len(to.Key) > 0 {
		key := filepath.Join(dir, "key")
		if err := os.WriteFile(key, to.Key, 0o600); err != nil {
			return err
		}
		set["key_files"] = []string{key}
	} else {
		set["password"] = to.Password
	}
	return writeJSON(config, map[string]any{"version": "1.1", "credentials": map[string]any{to.Kind: map[string]any{inspecTarget: set}}})
}

// attributes are the files of attributes: the build's own, the template's, and those of its folder.
func (p *InSpec) attributes(e *Env, dir string) ([]string, error) {
	own := filepath.Join(dir, "packer.yml")
	var text strings.Builder
	for _, v := range []struct{ name, of string }{{"packer_build_name", "PACKER_BUILD_NAME"}, {"packer_builder_type", "PACKER_BUILDER_TYPE"}} {
		fmt.Fprintf(&text, "%s: %s\n", v.name, strconv.Quote(e.Vars[v.of]))
	}
	if err := os.WriteFile(own, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	out := slices.Clone(p.Attributes)
	if p.AttributesDirectory != "" {
		entries, err := os.ReadDir(p.AttributesDirectory)
		if err != nil {
			return nil, err
		}
		for _, f := range entries {
			if !f.IsDir() && slices.Contains([]string{".yml", ".yaml", ".json"}, strings.ToLower(filepath.Ext(f.Name()))) {
				out = append(out, filepath.Join(p.AttributesDirectory, f.Name()))
			}
		}
	}
	return append(out, own), nil
}

// inspecCode says what an exit code means (docs.chef.io, "InSpec CLI", exec).
func inspecCode(code int) string {
	switch code {
	case 1:
		return "an error of InSpec's own, or wrong options"
	case 2:
		return "an error in a plugin of InSpec's"
	case 3:
		return "a fatal deprecation"
	case 5:
		return "a profile has a bad signature"
	case 6:
		return "a profile must be signed"
	case 100:
		return "at least one control failed"
	case 101:
		return "controls were skipped, and none failed"
	case 172:
		return "Chef's licence is not accepted: set inspec_env_vars = [\"CHEF_LICENSE=accept-silent\"], or use cinc-auditor as the command"
	case 174:
		return "Chef's licence is missing: set a licence key with CHEF_LICENSE_KEY in inspec_env_vars, or use cinc-auditor as the command"
	}
	return "failed"
}

func (p *InSpec) exec(ctx context.Context, e *Env, args []string, dir string) error {
	files, err := p.attributes(e, dir)
	if err != nil {
		return fmt.Errorf("cannot read InSpec's attributes: %w", err)
	}
	args = append(append(args, "--input-file"), files...)
	for _, a := range p.ExtraArguments {
		args = append(args, a.Reveal())
	}
	env := os.Environ()
	for _, v := range p.InSpecEnvVars {
		env = append(env, v.Reveal())
	}
	e.progress("running %s", filepath.Base(p.Profile))
	// Failed controls stand behind a cross in InSpec's own report.
	said := &memo{keep: func(line string) bool {
		return strings.HasPrefix(strings.TrimSpace(line), "×") || strings.Contains(line, "ERROR")
	}}
	code, err := runProgram(ctx, e, program{args: args, env: env, dir: dir, hear: said.hear})
	if err != nil {
		return fmt.Errorf("cannot run inspec: %w", err)
	}
	codes := p.ValidExitCodes
	if len(codes) == 0 {
		codes = []int{0, 101}
	}
	if slices.Contains(codes, code) {
		return nil
	}
	text := fmt.Sprintf("inspec, %s: it exited with code %d (%s)", filepath.Base(p.Profile), code, inspecCode(code))
	if len(said.lines) > 0 {
		text += ": " + strings.Join(said.lines, "\n")
	}
	return errors.New(text)
}
