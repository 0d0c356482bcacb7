package provisioner

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ingot/internal/communicator"
)

var (
	_ Runner = (*ChefSolo)(nil)
	_ Runner = (*ChefClient)(nil)
)

const (
	chefRestart = 15 * time.Minute
	chefRounds  = 5 // restarts that recipes may ask for
)

// chefProduct is what the two distributions are called, and where they are (https://docs.chef.io/install_script,
// https://cinc.sh/start/client).
type chefProduct struct{ name, prefix, site, folder string }

func (p *chefCommon) product() chefProduct {
	if strings.EqualFold(p.Product, "cinc") {
		return chefProduct{"Cinc", "cinc", "omnitruck.cinc.sh", `C:\cinc-project\cinc\bin\`}
	}
	return chefProduct{"Chef", "chef", "omnitruck.chef.io", `C:\opscode\chef\bin\`}
}

// chefRun is one step with Chef.
type chefRun struct {
	*chefCommon
	e         *Env
	what      string // chef-solo or chef-client
	windows   bool
	staging   string
	config    string // name of the configuration's file
	json      string // name of the attributes' file
	st        chefState
	attribute map[string]any
}

// chefState is what is known between the runs of one step.
type chefState struct {
	Node    string    `json:"node,omitempty"`
	Staged  bool      `json:"staged,omitempty"`
	Round   int       `json:"round,omitempty"`
	Restart bool      `json:"restart,omitempty"`
	Before  time.Time `json:"before,omitzero"`
	Failed  string    `json:"failed,omitempty"` // what the run ended with; what is left is to tidy up
	Done    bool      `json:"done,omitempty"`
}

func (p *chefCommon) begin(e *Env, what, config, attributes, text string) (*chefRun, error) {
	r := &chefRun{chefCommon: p, e: e, what: what, config: config, json: attributes, attribute: map[string]any{}}
	if e.Load != nil {
		if _, err := e.Load(&r.st); err != nil {
			return nil, fmt.Errorf("cannot run %s: %w", what, err)
		}
	}
	_, linux := e.Comm.(communicator.Linux)
	r.windows = !linux
	if p.GuestOSType != "" {
		r.windows = strings.EqualFold(p.GuestOSType, "windows")
	}
	r.staging = "/tmp/packer-" + what
	if r.windows {
		r.staging = "C:/Windows/Temp/packer-" + what
	}
	r.staging = strings.TrimRight(cmp.Or(p.StagingDirectory, r.staging), `/\`)
	if object, ok := p.JSON.(map[string]any); ok {
		maps.Copy(r.attribute, object)
	}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &r.attribute); err != nil {
			return nil, fmt.Errorf("cannot read json_string: %w", err)
		}
	}
	if len(p.RunList) > 0 {
		r.attribute["run_list"] = p.RunList
	}
	return r, nil
}

func (r *chefRun) save() error {
	if r.e.Save == nil {
		return nil
	}
	return r.e.Save(r.st)
}

func (r *chefRun) sudo() bool { return !r.PreventSudo && !r.windows }

// run runs a command line detached, and returns its exit code and what it complained of. On Windows the template's user runs it.
func (r *chefRun) run(ctx context.Context, id, line string) (int, []string, error) {
	s := communicator.Script{ID: r.e.StepID + "-" + id, Shell: "sh", Text: line + "\n", Env: maps.Clone(r.e.Vars)}
	if r.windows {
		s.Shell, s.Text = "cmd", "@echo off\r\n"+batchLine(line)+"\r\n"
		s.User, s.Secret = r.ElevatedUser, r.ElevatedPassword.Reveal()
	}
	// Chef says what failed on the error stream and in lines like "[…] FATAL: …".
	said := &memo{keep: func(l string) bool { return strings.Contains(l, "FATAL") || strings.Contains(l, "ERROR") }}
	code, err := r.e.Comm.Run(ctx, s, func(stream, l string) {
		if stream == "stderr" && strings.TrimSpace(l) != "" {
			said.lines = append(said.lines, strings.TrimSpace(l))
			said.lines = said.lines[max(0, len(said.lines)-memoLines):]
		} else {
			said.hear(stream, l)
		}
		if r.e.Output != nil {
			r.e.Output(stream, l)
		}
	})
	return code, said.lines, err
}

func failedWith(code int, said []string) string {
	text := fmt.Sprintf("it exited with code %d", code)
	if len(said) > 0 {
		text += ": " + strings.Join(said, "\n")
	}
	return text
}

// install puts Chef into the guest.
func (r *chefRun) install(ctx context.Context) error {
	if r.SkipInstall {
		return nil
	}
	p := r.product()
	command := "curl -L https://" + p.site + "/install.sh | {{if .Sudo}}sudo {{end}}bash -s --{{if .Version}} -v {{.Version}}{{end}}"
	if r.windows {
		command = `powershell.exe -NoProfile -ExecutionPolicy Bypass -Command ". { iwr -useb https://` + p.site + `/install.ps1 } | iex; install{{if .Version}} -version {{.Version}}{{end}}"`
	}
	line, err := fillCommand("install_command", cmp.Or(r.InstallCommand, command), map[string]any{"Sudo": r.sudo(), "Version": r.Version})
	if err != nil {
		return err
	}
	r.e.progress("installing %s", p.name)
	code, said, err := r.run(ctx, "install", line)
	if err != nil {
		return fmt.Errorf("cannot install %s: %w", p.name, err)
	}
	if code != 0 {
		return fmt.Errorf("cannot install %s: %s; the guest must reach %s; without a way there put %s into the image before and set skip_install", p.name, failedWith(code, said), p.site, p.name)
	}
	return nil
}

// stage makes the folder and fills it; doing so again does no harm.
func (r *chefRun) stage(ctx context.Context, files map[string]string, folders map[string]string, secret string) error {
	if !r.windows {
		// Only the build's own account needs it, and root may anyway: it holds keys. On Windows an upload makes it.
		dir := shellQuote(r.staging)
		if code, said, err := r.run(ctx, "stage", "mkdir -p "+dir+" && chmod 700 "+dir); err != nil {
			return fmt.Errorf("cannot make the staging directory %s: %w", r.staging, err)
		} else if code != 0 {
			return fmt.Errorf("cannot make the staging directory %s: %s", r.staging, failedWith(code, said))
		}
	}
	for _, to := range slices.Sorted(maps.Keys(folders)) {
		if err := (&File{Source: strings.TrimSuffix(folders[to], "/") + "/", Destination: r.in(to)}).Run(ctx, r.e); err != nil {
			return err
		}
	}
	raw, err := json.MarshalIndent(r.attribute, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the attributes: %w", err)
	}
	files[r.json] = string(raw)
	if secret != "" {
		b, err := os.ReadFile(secret)
		if err != nil {
			return fmt.Errorf("cannot read the data bags' secret: %w", err)
		}
		files[dataBagSecret] = string(b)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := files[name]
		if err := r.e.Comm.Upload(ctx, r.in(name), ownersOnly{strings.NewReader(text)}, int64(len(text))); err != nil {
			return fmt.Errorf("cannot upload %s: %w", name, err)
		}
	}
	return nil
}

const dataBagSecret = "encrypted_data_bag_secret"

func (r *chefRun) in(name string) string {
	return path.Join(strings.ReplaceAll(r.staging, `\`, "/"), name)
}

// execute runs Chef, again after each restart that a recipe asks for.
func (r *chefRun) execute(ctx context.Context) error {
	program := r.product().prefix + strings.TrimPrefix(r.what, "chef")
	command := "{{if .Sudo}}sudo {{end}}" + program + " --no-color -c {{.ConfigPath}} -j {{.JsonPath}}"
	if r.windows {
		command = r.product().folder + program + ".bat --no-color -c {{.ConfigPath}} -j {{.JsonPath}}"
	}
	line, err := fillCommand("execute_command", cmp.Or(r.ExecuteCommand, command), map[string]any{"Sudo": r.sudo(), "ConfigPath": r.in(r.config), "JsonPath": r.in(r.json)})
	if err != nil {
		return err
	}
	for {
		if r.st.Restart {
			if err := restartGuest(ctx, r.e, chefRestart, fmt.Sprintf("the guest was not back after %s", chefRestart), &r.st.Before, r.save); err != nil {
				return err
			}
			r.st.Restart, r.st.Before, r.st.Round = false, time.Time{}, r.st.Round+1
			if err := r.save(); err != nil {
				return err
			}
		}
		r.e.progress("running %s", program)
		code, said, err := r.run(ctx, fmt.Sprintf("run%d", r.st.Round+1), line)
		// Chef's RFC 062: 35 a restart is scheduled, 37 one is needed.
		switch {
		case errors.Is(err, communicator.ErrLost):
			r.e.progress("the guest restarted by itself; running %s again", program)
			if _, err := r.e.Comm.Ready(ctx); err != nil {
				return fmt.Errorf("cannot run %s: %w", r.what, err)
			}
			r.st.Round++
		case err != nil:
			return fmt.Errorf("cannot run %s: %w", r.what, err)
		case (code == 35 || code == 37) && r.windows:
			r.st.Restart = true
		case code == 127 && !r.windows:
			return fmt.Errorf("cannot run %s: there is no %s in the guest; leave skip_install out, or install it before", r.what, program)
		case code != 0:
			return fmt.Errorf("cannot run %s: %s", r.what, failedWith(code, said))
		default:
			return nil
		}
		if r.st.Round >= chefRounds {
			return fmt.Errorf("cannot run %s: after %d restarts a recipe still wants one", r.what, chefRounds)
		}
		if err := r.save(); err != nil {
			return err
		}
	}
}

// remove deletes files of the staging directory, or all of it.
func (r *chefRun) remove(ctx context.Context, names ...string) {
	if len(names) == 0 {
		line := `rd /s /q "` + windowsPath(r.staging) + `"`
		if !r.windows {
			line = "rm -rf -- " + shellQuote(r.staging) + " 2>/dev/null || sudo -n rm -rf -- " + shellQuote(r.staging)
		}
		removeFromGuest(ctx, r.e, line)
		return
	}
	for _, n := range names {
		line := `del /f /q "` + windowsPath(r.in(n)) + `"`
		if !r.windows {
			line = "rm -f -- " + shellQuote(r.in(n))
		}
		removeFromGuest(ctx, r.e, line)
	}
}

// license is what the configuration says: the standard installation accepts, as Packer's does.
func (r *chefRun) license() string {
	if r.ChefLicense == "" && !r.SkipInstall && r.InstallCommand == "" && !strings.EqualFold(r.Product, "cinc") {
		return "accept-silent"
	}
	return r.ChefLicense
}

// configuration is the template's own, filled in, or lines of a name and a value; a value that is empty is left out.
func (r *chefRun) configuration(lines [][2]string, words map[string]any) (string, error) {
	if r.ConfigTemplate != "" {
		b, err := os.ReadFile(r.ConfigTemplate)
		if err != nil {
			return "", fmt.Errorf("cannot read config_template: %w", err)
		}
		return fillCommand("config_template", string(b), words)
	}
	var b strings.Builder
	for _, l := range lines {
		if l[1] != "" {
			b.WriteString(l[0] + " " + l[1] + "\n")
		}
	}
	return b.String(), nil
}

// ruby is a text as Ruby writes it; "" stays "".
func ruby(s string) string {
	if s == "" {
		return ""
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "#", `\#`, "\n", `\n`).Replace(s) + `"`
}

// Run uploads what there is, installs Chef and runs it.
func (p *ChefSolo) Run(ctx context.Context, e *Env) error {
	r, err := p.begin(e, "chef-solo", "solo.rb", "node.json", p.JSONString)
	if err != nil {
		return err
	}
	if err := r.install(ctx); err != nil {
		return err
	}
	if !r.st.Staged {
		if err := p.stage(ctx, r); err != nil {
			return err
		}
		r.st.Staged = true
		if err := r.save(); err != nil {
			return err
		}
	}
	err = r.execute(ctx)
	if ctx.Err() == nil && p.EncryptedDataBagSecretPath != "" {
		r.remove(ctx, dataBagSecret) // no image may carry it
	}
	return err
}

func (p *ChefSolo) stage(ctx context.Context, r *chefRun) error {
	folders, words := map[string]string{}, map[string]any{}
	var cookbooks []string
	for _, c := range p.RemoteCookbookPaths {
		cookbooks = append(cookbooks, ruby(c))
	}
	for i, c := range p.CookbookPaths {
		name := fmt.Sprintf("cookbooks-%d", i)
		folders[name] = c
		cookbooks = append(cookbooks, ruby(r.in(name)))
	}
	for _, f := range []struct{ word, name, from string }{{"RolesPath", "roles", p.RolesPath}, {"DataBagsPath", "data_bags", p.DataBagsPath}, {"EnvironmentsPath", "environments", p.EnvironmentsPath}} {
		words[f.word], words["Has"+f.word] = "", f.from != ""
		if f.from != "" {
			folders[f.name], words[f.word] = f.from, r.in(f.name)
		}
	}
	secret := ""
	if p.EncryptedDataBagSecretPath != "" {
		secret = r.in(dataBagSecret)
	}
	words["CookbookPaths"], words["EncryptedDataBagSecretPath"], words["HasEncryptedDataBagSecretPath"] = strings.Join(cookbooks, ","), secret, secret != ""
	words["ChefEnvironment"], words["ChefLicense"] = p.ChefEnvironment, r.license()
	text, err := r.configuration([][2]string{{"chef_license", ruby(r.license())}, {"cookbook_path", "[" + strings.Join(cookbooks, ", ") + "]"}, {"role_path", ruby(words["RolesPath"].(string))},
		{"data_bag_path", ruby(words["DataBagsPath"].(string))}, {"encrypted_data_bag_secret", ruby(secret)}, {"environment_path", ruby(words["EnvironmentsPath"].(string))}, {"environment", ruby(p.ChefEnvironment)}}, words)
	if err != nil {
		return err
	}
	return r.stage(ctx, map[string]string{r.config: text}, folders, p.EncryptedDataBagSecretPath)
}

// Run registers the guest with the server, runs Chef, and takes node and client off the server again, after a failure as well.
func (p *ChefClient) Run(ctx context.Context, e *Env) error {
	r, err := p.begin(e, "chef-client", "client.rb", "first-boot.json", p.JSONString)
	if err != nil {
		return err
	}
	if r.st.Node == "" {
		r.st.Node = cmp.Or(p.NodeName, "packer-"+strings.ToLower(rand.Text()))
		if err := r.save(); err != nil {
			return err
		}
	}
	if err := r.install(ctx); err != nil {
		return err
	}
	if !r.st.Staged {
		if err := p.stage(ctx, r); err != nil {
			return err
		}
		r.st.Staged = true
		if err := r.save(); err != nil {
			return err
		}
	}
	if !r.st.Done {
		err := r.execute(ctx)
		if ctx.Err() != nil {
			return err
		}
		if r.st.Done = true; err != nil {
			r.st.Failed = err.Error()
		}
		if err := r.save(); err != nil {
			return err
		}
	}
	var failed error
	if r.st.Failed != "" {
		failed = errors.New(r.st.Failed)
	}
	err = p.unregister(ctx, r)
	if ctx.Err() != nil {
		return errors.Join(failed, err)
	}
	if !p.SkipCleanStagingDirectory {
		r.remove(ctx)
	}
	return errors.Join(failed, err)
}

func (p *ChefClient) stage(ctx context.Context, r *chefRun) error {
	files := map[string]string{}
	key, validation, secret := cmp.Or(p.ClientKey, r.in("client.pem")), "", ""
	if p.ValidationKeyPath != "" {
		b, err := os.ReadFile(p.ValidationKeyPath)
		if err != nil {
			return fmt.Errorf("cannot read the validation key: %w", err)
		}
		validation = r.in("validation.pem")
		files["validation.pem"] = string(b)
	}
	if p.EncryptedDataBagSecretPath != "" {
		secret = r.in(dataBagSecret)
	}
	mode := ""
	if p.SSLVerifyMode != "" {
		mode = ":" + strings.ToLower(p.SSLVerifyMode)
	}
	common := [][2]string{{"log_level", ":info"}, {"log_location", "STDOUT"}, {"chef_server_url", ruby(p.ServerURL)}, {"client_key", ruby(key)}, {"node_name", ruby(r.st.Node)}, {"ssl_verify_mode", mode}, {"trusted_certs_dir", ruby(p.TrustedCertsDir)}}
	words := map[string]any{"ChefEnvironment": p.ChefEnvironment, "ChefLicense": r.license(), "ClientKey": key, "EncryptedDataBagSecretPath": secret, "NodeName": r.st.Node, "PolicyGroup": p.PolicyGroup, "PolicyName": p.PolicyName, "RubygemsURL": p.RubygemsURL,
		"ServerUrl": p.ServerURL, "SslVerifyMode": p.SSLVerifyMode, "TrustedCertsDir": p.TrustedCertsDir, "ValidationClientName": p.ValidationClientName, "ValidationKeyPath": validation}
	text, err := r.configuration(slices.Concat(common, [][2]string{{"chef_license", ruby(r.license())}, {"encrypted_data_bag_secret", ruby(secret)}, {"validation_client_name", ruby(cmp.Or(p.ValidationClientName, "chef-validator"))},
		{"validation_key", ruby(validation)}, {"environment", ruby(p.ChefEnvironment)}, {"policy_group", ruby(p.PolicyGroup)}, {"policy_name", ruby(p.PolicyName)}, {"rubygems_url", ruby(p.RubygemsURL)}}), words)
	if err != nil {
		return err
	}
	files[r.config] = text
	own := *r
	own.chefCommon = &chefCommon{} // knife's configuration is never the template's
	if files["knife.rb"], err = own.configuration(common, nil); err != nil {
		return err
	}
	return r.stage(ctx, files, nil, p.EncryptedDataBagSecretPath)
}

// unregister takes node and client off the server.
func (p *ChefClient) unregister(ctx context.Context, r *chefRun) error {
	command := "{{if .Sudo}}sudo {{end}}knife {{.Args}} {{.Flags}}"
	if r.windows {
		command = r.product().folder + "knife.bat {{.Args}} {{.Flags}}"
	}
	var errs []error
	for _, kind := range []struct {
		name string
		skip bool
	}{{"node", p.SkipCleanNode}, {"client", p.SkipCleanClient}} {
		if kind.skip {
			continue
		}
		line, err := fillCommand("knife_command", cmp.Or(p.KnifeCommand, command), map[string]any{"Sudo": r.sudo(), "Args": kind.name + " delete " + r.st.Node, "Flags": "-y -c " + r.in("knife.rb")})
		if err != nil {
			return err
		}
		r.e.progress("removing %s %s from the server", kind.name, r.st.Node)
		code, said, err := r.run(ctx, "knife-"+kind.name, line)
		if err == nil && code != 0 {
			err = errors.New(failedWith(code, said))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot remove %s %s from %s: %w; remove it by hand: knife %s delete %s, or set skip_clean_%s", kind.name, r.st.Node, filepath.Base(p.ServerURL), err, kind.name, r.st.Node, kind.name))
		}
	}
	return errors.Join(errs...)
}
