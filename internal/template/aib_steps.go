package template

import (
	"cmp"
	"slices"
	"strings"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/imagebuilder"
	"ingot/internal/provisioner"
)

// step reads a customizer, or a validator.
func (a *aib) step(at string, s *imagebuilder.Step, n int, customize bool) (image.Provision, bool) {
	kinds := []string{"Shell", "PowerShell", "File"}
	what := "a validator"
	if customize {
		kinds, what = append(kinds, "WindowsRestart", "WindowsUpdate"), "a customizer"
	}
	if s.Type == "" {
		a.missing(at+".type", at, "type")
		return image.Provision{}, false
	}
	if !slices.Contains(kinds, s.Type) {
		code := "BadCustomizerType"
		if !customize {
			code = "BadValidatorType"
		}
		a.bad(at+".type", code, meantOf(s.Type, kinds...), "%q is no type of %s", s.Type, strings.TrimPrefix(what, "a "))
		return image.Provision{}, false
	}
	a.only(at, what+" of type "+s.Type, s.Type)
	if s.Type == "File" && !customize && a.version < "2022-07-01" {
		a.bad(at+".type", "UnsupportedValidatorType", `set "apiVersion": "2022-07-01" or newer`, "a File validator came with api-version 2022-07-01")
	}
	for option, uri := range map[string]*image.Text{"scriptUri": &s.ScriptURI, "sourceUri": &s.SourceURI} {
		if uri.Secret() == "" && provisioner.HasSAS(uri.Reveal()) {
			a.l.r.SensitiveValues = append(a.l.r.SensitiveValues, uri.Reveal())
			*uri = a.text(strings.ReplaceAll(at, ".", "/")+"."+option, uri.Reveal(), true)
		}
	}
	out := image.Provision{Name: s.Name, Pos: a.place(at)}
	var settings provisioner.Settings
	switch s.Type {
	case "Shell":
		out.Type, settings = "shell", &provisioner.Shell{Inline: s.Inline, URI: s.ScriptURI, SHA256: s.SHA256}
	case "PowerShell":
		p := &provisioner.PowerShell{Inline: s.Inline, URI: s.ScriptURI, SHA256: s.SHA256, ValidExitCodes: s.ValidExitCodes}
		switch {
		case s.RunAsSystem && !s.RunElevated:
			a.bad(at+".runAsSystem", "", `set "runElevated": true`, "runAsSystem works with runElevated only")
		case s.RunAsSystem:
			p.ElevatedUser = "SYSTEM"
		case s.RunElevated:
			p.ElevatedUser, p.ElevatedPassword = image.Runtime("User"), image.Plain(image.Runtime("Password"))
		}
		out.Type, settings = "powershell", p
	case "File":
		if s.SourceURI.IsZero() {
			a.missing(at+".sourceUri", at, "sourceUri")
		}
		if s.Destination == "" {
			a.missing(at+".destination", at, "destination")
		} else if !absolute(s.Destination) {
			a.bad(at+".destination", "", `write a whole path: C:\\folder\\file or /tmp/file`, "destination is no absolute path: %q", s.Destination)
		}
		out.Type, settings = "file", &provisioner.File{SourceURI: s.SourceURI, SHA256: s.SHA256, Destination: s.Destination}
	case "WindowsRestart":
		out.Type, settings = "windows-restart", &provisioner.WindowsRestart{RestartCommand: s.RestartCommand, RestartCheckCommand: s.RestartCheckCommand, RestartTimeout: s.RestartTimeout}
	case "WindowsUpdate":
		if s.UpdateLimit < 0 {
			a.bad(at+".updateLimit", "", "leave it out for 1000", "updateLimit is negative")
		}
		out.Type, settings = "windows-update", &provisioner.WindowsUpdate{SearchCriteria: s.SearchCriteria, Filters: s.Filters, UpdateLimit: s.UpdateLimit}
	}
	out.Settings = settings
	if s.Type == "Shell" || s.Type == "PowerShell" {
		code := "NoCustomizerScript"
		if !customize {
			code = "NoValidatorScript"
		}
		switch {
		case s.ScriptURI.IsZero() && len(s.Inline) == 0:
			a.bad(at, code, `add "scriptUri" or "inline"`, "%s runs nothing", wire(at))
			return out, true
		case !s.ScriptURI.IsZero() && len(s.Inline) > 0:
			a.bad(at+".scriptUri", "", "make two customizers of it", "scriptUri and inline exclude one another")
			return out, true
		case s.SHA256 != "" && s.ScriptURI.IsZero():
			a.l.problems.Warnf(a.place(at+".sha256Checksum"), "remove it", "sha256Checksum has no effect without scriptUri")
		}
	}
	if s.Type == "File" && (s.SourceURI.IsZero() || s.Destination == "") {
		return out, true
	}
	a.checkStep(at, settings)
	return out, true
}

func absolute(path string) bool {
	return strings.HasPrefix(path, "/") || strings.HasPrefix(path, `\\`) || len(path) > 2 && path[1] == ':' && (path[2] == '\\' || path[2] == '/')
}

// checkStep lets settings judge themselves, in the words of this language.
func (a *aib) checkStep(at string, s provisioner.Settings) {
	names := map[string]string{"inline": "inline", "source": "sourceUri", "destination": "destination", "filters": "filters", "restart_timeout": "restartTimeout", "sha256Checksum": "sha256Checksum", "scriptUri": "scriptUri"}
	c := &provisioner.Check{Dir: a.l.abs(a.l.dir), Cwd: a.l.o.Cwd, Holes: true, Skip: a.l.o.NoScriptCheck, Pos: func(option string) diag.Pos {
		if p, ok := a.elem[at+"."+option]; ok {
			return p
		}
		option, _, _ = strings.Cut(option, "[")
		for _, o := range []string{names[option], "scriptUri", "sourceUri"} {
			if p, ok := a.pos[at+"."+o]; ok && o != "" {
				return p
			}
		}
		return a.place(at)
	}}
	s.Check(c)
	for _, p := range c.Problems {
		if strings.HasPrefix(p.Summary, "destination ") && p.Severity == diag.Error {
			continue
		}
		a.l.problems = append(a.l.problems, p)
	}
}

func (a *aib) validation(p *imagebuilder.Properties, img *image.Image) {
	v := p.Validate
	if v == nil {
		return
	}
	img.Validation = &image.Validation{ContinueDistribute: v.Continue, SourceOnly: v.SourceOnly}
	for i, s := range v.Steps {
		if x, ok := a.step(nth("properties.validate.inVMValidations", i), &s, i, false); ok {
			img.Validation.Steps = append(img.Validation.Steps, x)
		}
	}
	if v.SourceOnly && len(p.Customize) > 0 {
		a.l.problems.Warnf(a.place("properties.validate.sourceValidationOnly"), "remove them, or the option", "customizers have no effect with sourceValidationOnly: nothing is built")
	}
}

// os is found out, since the language does not say it: by the kinds of customizers, else by the source.
func (a *aib) os(img *image.Image) image.OS {
	steps := img.Provision
	if img.Validation != nil {
		steps = slices.Concat(steps, img.Validation.Steps)
	}
	var windows, linux *image.Provision
	for i := range steps {
		switch p := &steps[i]; {
		case p.Type == "shell":
			linux = p
		case p.Type != "file":
			windows = p
		case strings.HasPrefix(p.Settings.(*provisioner.File).Destination, "/"):
			linux = cmp.Or(linux, p)
		default:
			windows = cmp.Or(windows, p)
		}
	}
	m, market := img.Source.(image.Marketplace)
	publisher := strings.ToLower(m.Publisher)
	isWindows := strings.HasPrefix(publisher, "microsoftwindows") || publisher == "microsoftvisualstudio" || publisher == "microsoftsqlserver"
	switch {
	case windows != nil && linux != nil:
		a.l.problems.Errorf(linux.Pos, "keep those of one system", "the template has customizers for Windows and for Linux")
	case market && publisher != "" && isWindows && linux != nil:
		a.l.problems.Errorf(linux.Pos, "use PowerShell", "the source is Windows, and this customizer is for Linux")
	case windows != nil:
		return image.Windows
	case linux != nil:
		return image.Linux
	case market && !isWindows:
		return image.Linux
	}
	return image.Windows
}
