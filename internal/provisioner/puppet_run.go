package provisioner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// The commands of Packer's plugin (packer-plugin-puppet v1.0), with three differences: colours are off, since nobody sees them; Windows
// gets quotation marks that cmd.exe knows; and cmd.exe comes back from puppet.bat.
const (
	puppetUnix = "cd {{.WorkingDir}} && {{if .FacterVars}}{{.FacterVars}} {{end}}{{if .Sudo}}sudo -E {{end}}{{if .PuppetBinDir}}{{.PuppetBinDir}}/{{end}}"
	puppetWin  = `cd /d "{{.WorkingDir}}" && {{if .FacterVars}}{{.FacterVars}} && {{end}}call {{if .PuppetBinDir}}"{{.PuppetBinDir}}/puppet"{{else}}puppet{{end}}`
	applyUnix  = puppetUnix + "puppet apply --detailed-exitcodes --color=false {{if .Debug}}--debug {{end}}{{if .ModulePath}}--modulepath='{{.ModulePath}}' {{end}}" +
		"{{if .HieraConfigPath}}--hiera_config='{{.HieraConfigPath}}' {{end}}{{if .ExtraArguments}}{{.ExtraArguments}} {{end}}{{.ManifestFile}}"
	applyWin = puppetWin + ` apply --detailed-exitcodes --color=false {{if .Debug}}--debug {{end}}{{if .ModulePath}}--modulepath="{{.ModulePath}}" {{end}}` +
		`{{if .HieraConfigPath}}--hiera_config="{{.HieraConfigPath}}" {{end}}{{if .ExtraArguments}}{{.ExtraArguments}} {{end}}"{{.ManifestFile}}"`
	agentUnix = puppetUnix + "puppet agent --onetime --no-daemonize --detailed-exitcodes --color=false {{if .Debug}}--debug {{end}}{{if .PuppetServer}}--server='{{.PuppetServer}}' {{end}}" +
		"{{if .PuppetNode}}--certname='{{.PuppetNode}}' {{end}}{{if .ClientCertPath}}--certdir='{{.ClientCertPath}}' {{end}}{{if .ClientPrivateKeyPath}}--privatekeydir='{{.ClientPrivateKeyPath}}' {{end}}{{.ExtraArguments}}"
	agentWin = puppetWin + ` agent --onetime --no-daemonize --detailed-exitcodes --color=false {{if .Debug}}--debug {{end}}{{if .PuppetServer}}--server="{{.PuppetServer}}" {{end}}` +
		`{{if .PuppetNode}}--certname="{{.PuppetNode}}" {{end}}{{if .ClientCertPath}}--certdir="{{.ClientCertPath}}" {{end}}{{if .ClientPrivateKeyPath}}--privatekeydir="{{.ClientPrivateKeyPath}}" {{end}}{{.ExtraArguments}}`
)

var (
	_ Runner  = (*PuppetMasterless)(nil)
	_ Runner  = (*PuppetServer)(nil)
	_ Limited = (*PuppetMasterless)(nil)
	_ Limited = (*PuppetServer)(nil)
)

func (p *puppetCommon) limits() []limit {
	return []limit{{"elevated_execute_command", p.ElevatedExecuteCommand != "", "Ingot starts scripts its own way, so that they survive a lost connection"}}
}

// Limits lists the options that Run cannot honour. Puppet lost --manifestdir with version 4 (its release notes: "Removed: manifestdir").
func (p *PuppetMasterless) Limits() []Limit {
	l := limitsOf(p.limits()...)
	if p.ManifestDir != "" && p.ExecuteCommand == "" {
		l = append(l, Limit{"manifest_dir", "Puppet 4 and later have no --manifestdir, and fail", "name the folder in manifest_file, or write an execute_command with {{.ManifestDir}}"})
	}
	return l
}

// Limits lists the options that Run cannot honour.
func (p *PuppetServer) Limits() []Limit { return limitsOf(p.limits()...) }

// facts writes the facts as the guest's command interpreter sets variables.
func (p *puppetCommon) facts(e *Env, windows bool) string {
	all := map[string]string{}
	for name, of := range map[string]string{"packer_build_name": "PACKER_BUILD_NAME", "packer_builder_type": "PACKER_BUILDER_TYPE"} {
		if e.Vars[of] != "" {
			all[name] = e.Vars[of]
		}
	}
	for k, v := range p.Facter {
		all[k] = v.Reveal()
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if windows {
			out = append(out, `SET "FACTER_`+k+"="+strings.ReplaceAll(all[k], "%", "%%")+`"`)
		} else {
			out = append(out, "FACTER_"+k+"="+shellQuote(all[k]))
		}
	}
	if windows {
		return strings.Join(out, " & ")
	}
	return strings.Join(out, " ")
}

// run puts what it needs into the staging folder and runs Puppet.
func (p *puppetCommon) run(ctx context.Context, e *Env, s *staging, standard string, data map[string]any, more ...string) error {
	var extra []string
	for _, x := range p.ExtraArguments {
		extra = append(extra, x.Reveal())
	}
	for k, v := range map[string]any{"ExtraArguments": "", "FacterVars": p.facts(e, s.windows), "PuppetBinDir": p.PuppetBinDir, "Sudo": !p.PreventSudo, "Debug": false, "WorkingDir": cmp.Or(p.WorkingDirectory, s.dir)} {
		data[k] = v
	}
	args, err := fillIn("extra_arguments", strings.Join(append(extra, more...), " "), data)
	if err != nil {
		return err
	}
	data["ExtraArguments"] = args
	command, err := fillIn("execute_command", cmp.Or(p.ExecuteCommand, standard), data)
	if err != nil {
		return err
	}
	s.user, s.secret, s.clean = p.ElevatedUser, p.ElevatedPassword.Reveal(), p.CleanStagingDirectory
	if s.windows {
		dir := strings.ReplaceAll(s.dir, "/", `\`)
		s.shell = "@echo off\r\nif not exist \"" + dir + "\" mkdir \"" + dir + "\"\r\n" + command + "\r\n"
	} else {
		s.user = ""
		s.shell = "mkdir -p " + shellQuote(s.dir) + " || exit 1\n" + command + "\n"
	}
	code, complaint, err := s.run(ctx)
	// 0 nothing to do, 2 changed; 1 could not run, 4 some failed, 6 both (puppet-apply(8), --detailed-exitcodes).
	bad := code != 0 && code != 2 && !p.IgnoreExitCodes
	meaning := map[int]string{1: "Puppet could not run", 4: "some resources failed", 6: "some resources failed", 127: "there is no puppet in the guest: install it in a provisioner before, or set puppet_bin_dir"}
	if !bad || err != nil && code == 0 {
		return err
	}
	text := fmt.Sprintf("cannot run %s: Puppet exited with code %d", s.what, code)
	if m := meaning[code]; m != "" {
		text += " (" + m + ")"
	}
	if complaint != "" {
		text += ": " + complaint
	}
	return errors.Join(errors.New(text), err)
}

// Run uploads manifests and modules and runs puppet apply in the guest.
func (p *PuppetMasterless) Run(ctx context.Context, e *Env) error {
	s := &staging{e: e, what: "puppet apply", windows: inWindows(e, p.GuestOSType), dir: cmp.Or(p.StagingDirectory, "/tmp/packer-puppet-masterless")}
	standard, join := applyUnix, ":"
	if s.windows {
		standard, join = applyWin, ";"
		s.dir = cmp.Or(p.StagingDirectory, "C:/Windows/Temp/packer-puppet-masterless")
	}
	data := map[string]any{"HieraConfigPath": "", "ManifestDir": "", "ModulePathJoiner": join}
	if p.HieraConfigPath != "" {
		data["HieraConfigPath"] = inside(s.dir, "hiera.yaml")
		s.up = append(s.up, upload{from: p.HieraConfigPath, to: inside(s.dir, "hiera.yaml")})
	}
	manifests := inside(s.dir, "manifests")
	if p.ManifestDir != "" {
		data["ManifestDir"] = manifests
		s.up = append(s.up, upload{from: p.ManifestDir, to: manifests})
	}
	var modules []string
	for i, m := range p.ModulePaths {
		modules = append(modules, inside(s.dir, fmt.Sprintf("module-%d", i)))
		s.up = append(s.up, upload{from: m, to: modules[i]})
	}
	data["ModulePath"] = strings.Join(modules, join)
	info, err := os.Stat(p.ManifestFile)
	if err != nil {
		return fmt.Errorf("cannot run puppet apply: %w", err)
	}
	file := manifests
	if !info.IsDir() {
		file = inside(manifests, localBase(p.ManifestFile))
	}
	data["ManifestFile"] = file
	s.up = append(s.up, upload{from: p.ManifestFile, to: file})
	return p.run(ctx, e, s, standard, data)
}

// Run uploads the client's certificates, if any, and runs puppet agent in the guest, once.
func (p *PuppetServer) Run(ctx context.Context, e *Env) error {
	s := &staging{e: e, what: "puppet agent", windows: inWindows(e, p.GuestOSType), dir: cmp.Or(p.StagingDir, "/tmp/packer-puppet-server")}
	standard := agentUnix
	if s.windows {
		standard = agentWin
		s.dir = cmp.Or(p.StagingDir, "C:/Windows/Temp/packer-puppet-server")
	}
	data := map[string]any{"ClientCertPath": "", "ClientPrivateKeyPath": "", "PuppetNode": p.PuppetNode, "PuppetServer": p.PuppetServer}
	for _, f := range []struct{ option, local, name string }{{"ClientCertPath", p.ClientCertPath, "certs"}, {"ClientPrivateKeyPath", p.ClientPrivateKeyPath, "private_keys"}} {
		if f.local != "" {
			data[f.option] = inside(s.dir, f.name)
			s.up = append(s.up, upload{from: f.local, to: inside(s.dir, f.name)})
		}
	}
	var more []string
	if p.Options != "" {
		more = append(more, p.Options)
	}
	return p.run(ctx, e, s, standard, data, more...)
}
