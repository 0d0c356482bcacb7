package provisioner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/image"
)

var _ Runner = (*DSC)(nil)

const (
	dscStaging  = "C:/Windows/Temp/packer-dsc"
	dscModules  = "C:/Program Files/WindowsPowerShell/Modules"
	dscRestart  = 15 * time.Minute
	dscRestarts = 10 // more than any configuration wants
)

// third reports whether the manifest is a document of DSC 3.
func (p *DSC) third() bool {
	return slices.Contains([]string{".yaml", ".yml", ".json", ".bicep"}, strings.ToLower(filepath.Ext(p.ManifestFile)))
}

// dscState is what is known between the runs of one step.
type dscState struct {
	Round   int       `json:"round"`
	Staged  bool      `json:"staged,omitempty"`
	Restart bool      `json:"restart,omitempty"`
	Before  time.Time `json:"before,omitzero"`
}

// dscArgs are the arguments of the guest program.
type dscArgs struct {
	Mode     string      `json:"mode"` // configuration, mof, resource or v3
	Staging  string      `json:"staging"`
	Working  string      `json:"working"`
	Manifest string      `json:"manifest,omitempty"`
	Name     string      `json:"name,omitempty"` // of the configuration or resource
	Data     string      `json:"data,omitempty"`
	MOF      string      `json:"mof,omitempty"`
	Module   string      `json:"module,omitempty"`
	Version  string      `json:"version,omitempty"`
	Program  string      `json:"program,omitempty"`
	Modules  []string    `json:"modules,omitempty"`
	Install  []dscModule `json:"install,omitempty"`
	Packages bool        `json:"packages,omitempty"`
	Again    bool        `json:"again,omitempty"` // after a restart
}

type dscModule struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// dscEvent is what the guest program prints.
type dscEvent struct {
	Event    string `json:"event"`
	Phase    string `json:"phase"`
	Resource string `json:"resource"`
	Name     string `json:"name"`
	Text     string `json:"text"`
}

// Run uploads what there is, applies it, and restarts the guest as often as a resource asks for it. A step that begins again follows the
// application or restart it was in.
func (p *DSC) Run(ctx context.Context, e *Env) error {
	var st dscState
	if e.Load != nil {
		if _, err := e.Load(&st); err != nil {
			return fmt.Errorf("cannot run dsc: %w", err)
		}
	}
	save := func() error {
		if e.Save == nil {
			return nil
		}
		return e.Save(st)
	}
	a := p.args()
	if !st.Staged {
		if err := p.stage(ctx, e, a); err != nil {
			return err
		}
		st.Staged = true
		if err := save(); err != nil {
			return err
		}
	}
	for {
		if st.Restart {
			limit := cmp.Or(p.RestartTimeout, dscRestart)
			if err := restartGuest(ctx, e, limit, fmt.Sprintf("the guest was not back after %s; raise restart_timeout", limit), &st.Before, save); err != nil {
				return err
			}
			st.Restart, st.Before = false, time.Time{}
			st.Round++
			if err := save(); err != nil {
				return err
			}
		}
		a.Again = st.Round > 0
		restart, err := p.apply(ctx, e, a, st.Round)
		if err != nil && ctx.Err() == nil && p.IgnoreExitCodes {
			e.progress("ignored (ignore_exit_codes): %v", err)
			restart, err = false, nil
		}
		if err != nil {
			return err
		}
		if !restart {
			break
		}
		if st.Round+1 >= dscRestarts {
			return fmt.Errorf("cannot run dsc: after %d restarts a resource still wants one", dscRestarts)
		}
		st.Restart = true
		if err := save(); err != nil {
			return err
		}
	}
	if p.CleanStagingDir {
		removeFromGuest(ctx, e, `rd /s /q "`+windowsPath(a.Staging)+`"`)
	}
	return nil
}

func (p *DSC) args() dscArgs {
	staging := strings.TrimRight(cmp.Or(p.StagingDir, dscStaging), `/\`)
	a := dscArgs{Mode: "configuration", Staging: staging, Working: cmp.Or(p.WorkingDir, staging), Packages: p.InstallPackageManagement}
	for _, name := range slices.Sorted(maps.Keys(p.InstallModules)) {
		a.Install = append(a.Install, dscModule{name, p.InstallModules[name]})
	}
	for i := range p.ModulePaths {
		a.Modules = append(a.Modules, fmt.Sprintf("%s/module-%d", staging, i))
	}
	switch {
	case p.ResourceName != "":
		a.Mode, a.Name, a.Module, a.Version = "resource", p.ResourceName, p.ResourceModule, p.ResourceModuleVersion
		return a
	case p.MOFPath != "":
		a.Mode, a.MOF = "mof", staging+"/mof"
	case p.third():
		a.Mode, a.Program = "v3", cmp.Or(p.DSCCommand, "dsc")
	}
	if p.ManifestFile != "" {
		base := filepath.Base(p.ManifestFile)
		a.Manifest, a.Name = staging+"/manifest/"+base, p.ConfigurationName
		if a.Name == "" {
			a.Name, _, _ = strings.Cut(base, ".")
		}
	}
	if p.ConfigurationFile != "" && a.Mode == "configuration" {
		a.Data = staging + "/" + filepath.Base(p.ConfigurationFile)
	}
	return a
}

// stage uploads files and folders; doing so again does no harm.
func (p *DSC) stage(ctx context.Context, e *Env, a dscArgs) error {
	tree := func(from, to string) error {
		return (&File{Source: strings.TrimSuffix(from, "/") + "/", Destination: to}).Run(ctx, e)
	}
	one := func(from, to string) error { return (&File{Source: from, Destination: to}).Run(ctx, e) }
	var err error
	add := func(f func(string, string) error, from, to string) {
		if err == nil && from != "" {
			err = f(from, to)
		}
	}
	add(tree, p.ManifestDir, a.Staging+"/manifest")
	add(one, p.ManifestFile, a.Manifest)
	add(one, p.ConfigurationFile, a.Staging+"/"+filepath.Base(p.ConfigurationFile))
	add(tree, p.MOFPath, a.Staging+"/mof")
	for i, m := range p.ModulePaths {
		add(tree, m, a.Modules[i])
	}
	for _, r := range p.ResourcePaths {
		add(tree, r, dscModules+"/"+filepath.Base(r))
	}
	if err != nil {
		return fmt.Errorf("cannot run dsc: %w", err)
	}
	return nil
}

// apply applies it once; restart says that a resource wants the guest restarted.
func (p *DSC) apply(ctx context.Context, e *Env, a dscArgs, round int) (restart bool, err error) {
	id := fmt.Sprintf("%s-dsc%d", e.StepID, round+1)
	if p.ExecuteCommand != "" || p.ExecuteCommandFile != "" {
		return false, p.byCommand(ctx, e, a, id)
	}
	text, err := guestProgram("dsc", a)
	if err != nil {
		return false, err
	}
	s := communicator.Script{ID: id, Shell: "powershell", Text: text, Env: maps.Clone(e.Vars)}
	given := map[string]string{}
	for name, v := range p.given() {
		given[strings.TrimPrefix(name, "-")] = v.Reveal()
	}
	if len(given) > 0 {
		raw, err := json.Marshal(given)
		if err != nil {
			return false, fmt.Errorf("cannot run dsc: %w", err)
		}
		if s.Env == nil {
			s.Env = map[string]string{}
		}
		s.Env["INGOT_DSC"] = string(raw)
	}
	e.progress("applying %s", cmp.Or(a.Name, "the compiled configuration"))
	var failed []error
	said := &memo{keep: func(line string) bool { return strings.TrimSpace(line) != "" }}
	code, err := e.Comm.Run(ctx, s, func(stream, line string) {
		var u dscEvent
		if stream == "stdout" && event("dsc", line, &u) {
			if err := u.hear(e); err != nil {
				failed = append(failed, err)
			}
			return
		}
		if stream == "stderr" {
			said.hear(stream, line)
		}
		if e.Output != nil {
			e.Output(stream, line)
		}
	})
	switch {
	case errors.Is(err, communicator.ErrLost):
		// The manager restarts the guest by itself when the template's meta-configuration lets it (RebootNodeIfNeeded).
		e.progress("the guest restarted by itself; going on")
		return true, nil
	case err != nil:
		return false, fmt.Errorf("cannot run dsc: %w", err)
	case code == 0:
		return false, nil
	case code == 101:
		if e.Output != nil {
			e.Output("stdout", "a resource wants a restart")
		}
		return true, nil
	case len(failed) > 0:
		return false, errors.Join(failed...)
	}
	text = fmt.Sprintf("cannot run dsc: it exited with code %d", code)
	if len(said.lines) > 0 {
		text += ": " + strings.Join(said.lines, "\n")
	}
	return false, errors.New(text)
}

func (p *DSC) given() map[string]image.Text {
	if p.ResourceName != "" {
		return p.ResourceProperties
	}
	return p.ConfigurationParams
}

// hear tells an event on; the error of a failed one names the resource.
func (u dscEvent) hear(e *Env) error {
	switch u.Event {
	case "installing":
		e.progress("installing %s", u.Name)
	case "set":
		e.progress("%s is set", u.Resource)
		if e.Output != nil {
			e.Output("stdout", strings.TrimSpace(u.Resource+" is set "+u.Text))
		}
	case "failed":
		text := strings.TrimSpace(u.Text)
		switch u.Phase {
		case "install":
			return fmt.Errorf("cannot install a module for dsc: %s; the guest must reach www.powershellgallery.com, or upload the module with module_paths and resource_paths", text)
		case "compile":
			return fmt.Errorf("cannot compile the configuration: %s", text)
		case "run":
			return fmt.Errorf("cannot run the program of DSC 3: %s; put it into the guest before this step, and name it in dsc_command", text)
		}
		return fmt.Errorf("cannot set resource %s: %s", cmp.Or(u.Resource, "of the configuration"), text)
	}
	return nil
}

// words are those that execute_command knows.
func (p *DSC) words(staging, working, manifest, data string, modules []string) map[string]string {
	var params []string
	for _, name := range slices.Sorted(maps.Keys(p.ConfigurationParams)) {
		v := p.ConfigurationParams[name].Reveal()
		if !strings.HasPrefix(name, "-") {
			name = "-" + name
		}
		if v != "" {
			name += ` "` + psValue.Replace(v) + `"`
		}
		params = append(params, name)
	}
	w := map[string]string{"WorkingDir": working, "ConfigurationParams": strings.Join(params, " "), "ConfigurationFilePath": data, "ConfigurationName": p.ConfigurationName, "ModulePath": strings.Join(modules, ";"),
		"ManifestFile": manifest, "ManifestDir": "", "MofPath": ""}
	if p.ManifestDir != "" {
		w["ManifestDir"] = staging + "/manifest"
	}
	if p.MOFPath != "" {
		w["MofPath"] = staging + "/mof"
	}
	return w
}

// byCommand runs the template's own script. Packer takes 2 for success too.
func (p *DSC) byCommand(ctx context.Context, e *Env, a dscArgs, id string) error {
	text := p.ExecuteCommand
	if text == "" {
		b, err := os.ReadFile(p.ExecuteCommandFile)
		if err != nil {
			return fmt.Errorf("cannot read execute_command_file: %w", err)
		}
		text = string(b)
	}
	w := p.words(a.Staging, a.Working, a.Manifest, a.Data, a.Modules)
	w["ConfigurationName"] = a.Name
	line, err := fillCommand("execute_command", text, w)
	if err != nil {
		return err
	}
	return runScript(ctx, e, communicator.Script{ID: id, Shell: "powershell", Text: line, Env: maps.Clone(e.Vars)}, "dsc execute_command", []int{0, 2})
}
