package imagebuilder

import (
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ingot/internal/communicator"
	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// Quotation is what a script's line has around a value, and how a quote inside the value is written there.
type Quotation struct{ Before, Quote, After string }

// Line is the line with a value in it.
func (q Quotation) Line(value string) string {
	if q == (Quotation{}) {
		return value
	}
	return q.Before + strings.ReplaceAll(value, "'", q.Quote) + q.After
}

// set is a line that gives a variable its value.
func (l *compiler) set(q Quotation, value image.Text) image.Text {
	if value.Secret() != "" {
		l.out.Quotes[value.Secret()] = q
		return value
	}
	return image.Plain(q.Line(value.Reveal()))
}

// environment are the lines that give a script its variables: those of environment_vars, then those of env, which win.
func (l *compiler) environment(vars []image.Text, env map[string]image.Text, q func(name string) Quotation) (out []image.Text) {
	for _, v := range vars {
		name, value, _ := strings.Cut(v.Reveal(), "=")
		x := image.Plain(value)
		if v.Secret() != "" && value != "" {
			x = image.Hidden(v.Secret(), value)
		}
		out = append(out, l.set(q(name), x))
	}
	names := make([]string, 0, len(env))
	for k := range env {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		out = append(out, l.set(q(k), env[k]))
	}
	return out
}

var runtimeText = regexp.MustCompile("\\{\\{ build `(" + strings.Join(image.RuntimeNames(), "|") + ")` \\}\\}")

// customizer is a provisioner as one or more customizers, which origins tells the origin of.
func (l *compiler) customizer(p image.Provision, origins *[]Origin) []Step {
	l.at = p.Pos
	out := l.steps(p)
	origin := Origin{Title: p.Type, Pos: p.Pos}
	if s, ok := p.Settings.(provisioner.Settings); ok {
		origin.Title = s.Summary()
	}
	if p.Name != "" {
		origin.Title = p.Name + ": " + origin.Title
	}
	for range out {
		*origins = append(*origins, origin)
	}
	l.at = diag.Pos{}
	return out
}

func (l *compiler) steps(p image.Provision) []Step {
	what := strings.TrimSpace("provisioner " + p.Type + " " + p.Name)
	l.lossy(p.MaxRetries > 0, what+" max_retries", "a customizer is not tried again: repeat inside the script")
	l.lossy(p.Timeout > 0, what+" timeout", "a customizer has no limit of its own: buildTimeoutInMinutes bounds the build")
	l.lossy(p.GoOn, what+" continue_on_error", "a customizer that fails fails the build: catch the error inside the script")
	out := l.kind(p, what)
	for _, s := range out {
		for _, line := range s.Inline {
			if m := runtimeText.FindStringSubmatch(line.Reveal()); m != nil {
				l.impossible(true, what+" build."+m[1], "a customizer does not know it: the placeholder stands in the script as it is")
			}
		}
	}
	if l.o.Hosted {
		for _, s := range out {
			l.hidden(what, append(slices.Clone(s.Inline), s.ScriptURI, s.SourceURI))
		}
	}
	if p.PauseBefore > 0 && len(out) > 0 {
		l.mild(true, "lossy", what+" pause_before", "written as a customizer that sleeps")
		kind := "PowerShell"
		if out[0].Type == "Shell" {
			kind = "Shell"
		}
		return append([]Step{sleeps(kind, p.PauseBefore)}, out...)
	}
	return out
}

// hidden notes that what a template hides can be seen in the resource.
func (l *compiler) hidden(what string, texts []image.Text) {
	for _, t := range texts {
		if t.Secret() != "" && !provisioner.HasSAS(t.Reveal()) {
			l.lossy(true, what+" secrets", "whoever may read the template resource sees them in its customizers: let the script read them from a key vault with an identity of the build machine (user_assigned_managed_identities)")
			return
		}
	}
}

// sleeps is a customizer that waits, for whole seconds.
func sleeps(kind string, d time.Duration) Step {
	word := map[string]string{"Shell": "sleep", "PowerShell": "Start-Sleep -Seconds"}[kind]
	return Step{Type: kind, Inline: []image.Text{image.Plain(fmt.Sprintf("%s %d", word, int(math.Ceil(d.Seconds()))))}}
}

func (l *compiler) kind(p image.Provision, what string) []Step {
	switch s := p.Settings.(type) {
	case *provisioner.PowerShell:
		return l.powershell(p, s, what)
	case *provisioner.Shell:
		return l.shellStep(p, s, what)
	case *provisioner.File:
		return l.file(p, s, what)
	case *provisioner.WindowsRestart:
		l.lossy(s.CheckRegistry || len(s.RegistryKeys) > 0, what+" check_registry", "the service does not look at the registry after a restart")
		return []Step{{Type: "WindowsRestart", Name: p.Name, RestartCommand: s.RestartCommand, RestartCheckCommand: s.RestartCheckCommand, RestartTimeout: s.RestartTimeout}}
	case *provisioner.WindowsUpdate:
		l.lossy(s.Username != "" || !s.Password.IsZero() || s.UpdateMaxRetries != 0 || s.RestartTimeout != 0, what+" options", "the service has search criteria, filters and a limit only")
		return []Step{{Type: "WindowsUpdate", Name: p.Name, SearchCriteria: s.SearchCriteria, Filters: s.Filters, UpdateLimit: s.UpdateLimit}}
	case *provisioner.Sleep:
		l.mild(true, "lossy", what, "written as a customizer that sleeps")
		step := sleeps(l.shell, s.Duration)
		step.Name = p.Name
		return []Step{step}
	case *provisioner.WindowsShell:
		l.impossible(true, what, "there is no customizer for batch: write it in PowerShell")
	default:
		l.impossible(true, what, "Image Builder has Shell, PowerShell, File, WindowsRestart and WindowsUpdate only")
	}
	return nil
}

func (l *compiler) shellStep(p image.Provision, s *provisioner.Shell, what string) []Step {
	l.lossy(s.ExecuteCommand != "", what+" execute_command", "fixed by the service: the script runs as a user who may use sudo")
	l.lossy(s.InlineShebang != "" || s.RemotePath != "" || s.RemoteFolder != "" || s.RemoteFile != "" || s.SkipClean || s.Binary || s.UseEnvVarFile || s.EnvVarFormat != "" || s.StartRetryTimeout != 0, what+" options", "fixed by the service")
	l.lossy(len(s.ValidExitCodes) > 0, what+" valid_exit_codes", "a Shell customizer has 0 only: catch the others inside the script")
	l.lossy(s.ExpectDisconnect, what+" expect_disconnect", "there is no restart of Linux guests")
	env := l.environment(s.EnvironmentVars, s.Env, func(name string) Quotation { return Quotation{"export " + name + "='", `'\''`, "'"} })
	l.mild(len(env) > 0, "lossy", what+" environment", "written as lines of the script")
	if !s.URI.IsZero() {
		return []Step{{Type: "Shell", Name: p.Name, ScriptURI: s.URI, SHA256: s.SHA256}}
	}
	out := l.scripts(p.Name, env, s.Inline, s.Script, s.Scripts, what, Step{Type: "Shell"})
	if s.PauseAfter > 0 {
		l.mild(true, "lossy", what+" pause_after", "written as a customizer that sleeps")
		out = append(out, sleeps("Shell", s.PauseAfter))
	}
	return out
}

// powershellName is what may follow $env: without braces.
var powershellName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (l *compiler) powershell(p image.Provision, s *provisioner.PowerShell, what string) []Step {
	step := Step{Type: "PowerShell", Name: p.Name, ScriptURI: s.URI, SHA256: s.SHA256, ValidExitCodes: s.ValidExitCodes}
	switch {
	case strings.EqualFold(s.ElevatedUser, "SYSTEM"):
		step.RunElevated, step.RunAsSystem = true, true
	case s.ElevatedUser == image.Runtime("User"):
		step.RunElevated = true
	case s.ElevatedUser != "":
		step.RunElevated = true
		l.lossy(true, what+" elevated_user", "the service runs elevated scripts as its own user or as SYSTEM")
	}
	l.lossy(s.ExecutionPolicy != "" && !strings.EqualFold(s.ExecutionPolicy, "bypass"), what+" execution_policy", "fixed by the service: bypass")
	l.lossy(s.ExecuteCommand != "" || s.ElevatedExecuteCommand != "" || s.UsePwsh || s.RemotePath != "" || s.RemoteEnvVarPath != "" || s.DebugMode != 0 || s.StartRetryTimeout != 0 || s.SkipClean || s.Binary || s.EnvVarFormat != "" || s.ElevatedEnvVarFormat != "",
		what+" options", "how a script is started is fixed by the service")
	var text []string
	for _, x := range s.Inline {
		text = append(text, x.Reveal())
	}
	for _, f := range provisioner.Scan(strings.Join(text, "\n")) {
		if !strings.Contains(f.Summary, "sysprep") {
			continue
		}
		if out, ok := l.deprovisioning(p, s); ok {
			l.mild(true, "lossy", what, "it runs sysprep, which the service does itself at the end: its lines take the place of the service's own, in "+deprovisioningScript)
			return out
		}
		l.lossy(true, what, "it runs sysprep, which the service does itself at the end: left out")
		return nil
	}
	if !s.URI.IsZero() {
		l.lossy(len(s.EnvironmentVars)+len(s.Env) > 0, what+" environment", "a script at an address gets no variables")
		return []Step{step}
	}
	env := l.environment(s.EnvironmentVars, s.Env, func(name string) Quotation {
		if powershellName.MatchString(name) {
			return Quotation{"$env:" + name + " = '", "''", "'"}
		}
		return Quotation{"${env:" + name + "} = '", "''", "'"}
	})
	l.mild(len(env) > 0, "lossy", what+" environment", "written as lines of the script")
	out := l.scripts(p.Name, env, s.Inline, s.Script, s.Scripts, what, step)
	if s.PauseAfter > 0 {
		l.mild(true, "lossy", what+" pause_after", "written as a customizer that sleeps")
		out = append(out, sleeps("PowerShell", s.PauseAfter))
	}
	return out
}

// deprovisioningScript is what the service's hidden last customizer runs, and whoever writes it before then decides what that is
// (reference azure-image-builder.md section 2, "Generalize").
const deprovisioningScript = `C:\DeprovisioningScript.ps1`

// deprovisioning makes the template's own sysprep, when it comes last, the service's: run by itself, it would be run twice.
func (l *compiler) deprovisioning(p image.Provision, s *provisioner.PowerShell) ([]Step, bool) {
	if !l.o.Hosted || !l.last || len(s.Inline) == 0 || len(s.EnvironmentVars)+len(s.Env) > 0 {
		return nil, false
	}
	step := Step{Type: "PowerShell", Name: p.Name, RunElevated: true, Inline: []image.Text{image.Plain("$lines = @'")}}
	for _, line := range s.Inline {
		if line.Secret() != "" || strings.HasPrefix(line.Reveal(), "'@") {
			return nil, false
		}
		step.Inline = append(step.Inline, line)
	}
	step.Inline = append(step.Inline, image.Plain("'@"), image.Plain("Set-Content -Path '"+deprovisioningScript+"' -Value $lines"))
	return []Step{step}, true
}

// upload is the address of something of this machine.
func (l *compiler) upload(u Upload) image.Text {
	l.out.Uploads = append(l.out.Uploads, u)
	return image.Plain(fmt.Sprintf("%s%d", UploadPrefix, len(l.out.Uploads)-1))
}

// scripts are the lines as one customizer, or each script as one.
func (l *compiler) scripts(name string, env, inline []image.Text, script string, scripts []string, what string, like Step) []Step {
	like.Name = name
	if len(inline) > 0 {
		like.Inline = append(slices.Clone(env), inline...)
		return []Step{like}
	}
	if script != "" {
		scripts = append([]string{script}, scripts...)
	}
	var out []Step
	for _, path := range scripts {
		if l.o.Hosted {
			out = append(out, l.hosted(like, path, env)...)
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil || len(raw) > 64<<10 || !utf8.Valid(raw) {
			l.impossible(true, what+" "+base(path), "the script is not there, or too large or no UTF-8 to stand in the template: upload it to storage that the template's identity may read, and use scriptUri")
			continue
		}
		l.lossy(true, what+" "+base(path), "written as the customizer's lines")
		step := like
		step.Inline = slices.Clone(env)
		text := strings.TrimSuffix(strings.ReplaceAll(strings.TrimPrefix(string(raw), "\ufeff"), "\r\n", "\n"), "\n")
		for _, line := range strings.Split(text, "\n") {
			step.Inline = append(step.Inline, image.Plain(line))
		}
		out = append(out, step)
	}
	return out
}

// hosted is a local script at an address. One that is given variables is copied to the guest, since a script at an address gets none.
func (l *compiler) hosted(like Step, path string, env []image.Text) []Step {
	at := l.upload(Upload{Name: base(path), Path: path})
	if len(env) == 0 {
		like.ScriptURI = at
		return []Step{like}
	}
	to, run := l.temp(filepath.Ext(path)), []string(nil)
	if like.Type == "Shell" {
		run = []string{"chmod +x " + to, to}
	} else {
		run = []string{"& '" + to + "'", "exit $LASTEXITCODE"}
	}
	like.Inline = slices.Clone(env)
	for _, r := range run {
		like.Inline = append(like.Inline, image.Plain(r))
	}
	return []Step{{Type: "File", Name: like.Name, SourceURI: at, Destination: to}, like}
}

// temp is a place in the guest for the upload that was added last. Of Linux guests the service can write to /tmp only.
func (l *compiler) temp(ext string) string {
	n := len(l.out.Uploads) - 1
	if l.shell == "Shell" {
		return fmt.Sprintf("/tmp/ingot-%d%s", n, ext)
	}
	return fmt.Sprintf(`C:\Windows\Temp\ingot-%d%s`, n, ext)
}

func (l *compiler) file(p image.Provision, s *provisioner.File, what string) []Step {
	step := Step{Type: "File", Name: p.Name, SourceURI: s.SourceURI, Destination: s.Destination, SHA256: s.SHA256}
	switch {
	case !s.SourceURI.IsZero():
		return []Step{step}
	case s.Direction == "download":
		l.impossible(true, what, "nothing can be downloaded from the build's machine")
		return nil
	case !l.o.Hosted:
		l.impossible(true, what, "the service copies from an address only: upload the file to storage that the template's identity may read, and use a File customizer")
		return nil
	case s.Generated:
		l.impossible(true, what+" generated", "files are uploaded before the build begins: one that is made while it runs is not there yet")
		return nil
	case !s.Content.IsZero():
		step.SourceURI = l.upload(Upload{Name: base(s.Destination), Text: s.Content})
		return append(l.folderOf(s.Destination), step)
	}
	sources := s.Sources
	if s.Source != "" {
		sources = []string{s.Source}
	}
	if len(sources) == 1 && !communicator.HasPattern(sources[0]) && !isFolder(sources[0]) {
		if strings.HasSuffix(step.Destination, "/") || strings.HasSuffix(step.Destination, `\`) {
			step.Destination += base(sources[0])
		}
		step.SourceURI = l.upload(Upload{Name: base(sources[0]), Path: sources[0]})
		step.Destination = l.native(step.Destination)
		return append(l.folderOf(step.Destination), step)
	}
	name := "files"
	if len(sources) == 1 && !communicator.HasPattern(sources[0]) {
		name = base(strings.TrimRight(sources[0], "/"))
	}
	if l.shell == "Shell" {
		step.SourceURI = l.upload(Upload{Name: name + ".tar.gz", Sources: sources})
		step.Destination = l.temp(".tar.gz")
		return []Step{step, {Type: "Shell", Name: p.Name, Inline: lines("mkdir -p "+quoted(s.Destination, `'\''`), "tar -xzf "+step.Destination+" -C "+quoted(s.Destination, `'\''`), "rm "+step.Destination)}}
	}
	step.SourceURI = l.upload(Upload{Name: name + ".zip", Sources: sources})
	step.Destination = l.temp(".zip")
	to := quoted(l.native(s.Destination), "''")
	return []Step{step, {Type: "PowerShell", Name: p.Name, Inline: lines("New-Item -ItemType Directory -Force -Path "+to+" | Out-Null",
		"Expand-Archive -Path '"+step.Destination+"' -DestinationPath "+to+" -Force", "Remove-Item -Path '"+step.Destination+"'")}}
}

func lines(list ...string) (out []image.Text) {
	for _, s := range list {
		out = append(out, image.Plain(s))
	}
	return out
}

func quoted(s, quote string) string { return "'" + strings.ReplaceAll(s, "'", quote) + "'" }

// native is a path as the guest writes it.
func (l *compiler) native(p string) string {
	if l.shell == "Shell" {
		return p
	}
	return strings.ReplaceAll(p, "/", `\`)
}

// folderOf makes the folder that a file goes to: the service wants it to be there (reference section 1.2, File).
func (l *compiler) folderOf(destination string) []Step {
	dir := path.Dir(strings.ReplaceAll(destination, `\`, "/"))
	if l.shell == "Shell" {
		if dir == "/tmp" || dir == "/" || slices.Contains(l.made, dir) {
			return nil
		}
		l.made = append(l.made, dir)
		return []Step{{Type: "Shell", Inline: lines("mkdir -p " + quoted(dir, `'\''`))}}
	}
	key := strings.ToLower(dir)
	if slices.Contains(append([]string{"c:", "c:/windows", "c:/windows/temp", "c:/users/public"}, l.made...), strings.TrimSuffix(key, "/")) {
		return nil
	}
	l.made = append(l.made, key)
	return []Step{{Type: "PowerShell", Inline: lines("New-Item -ItemType Directory -Force -Path " + quoted(l.native(dir), "''") + " | Out-Null")}}
}

// isFolder looks whether a source is one of this machine's folders; a compiled plan holds what it was then.
func isFolder(source string) bool {
	if strings.HasSuffix(source, "/") {
		return true
	}
	info, err := os.Stat(source)
	return err == nil && info.IsDir()
}

// base is the last name of a path or address.
func base(s string) string {
	s, _, _ = strings.Cut(s, "?")
	return path.Base(strings.ReplaceAll(strings.TrimRight(s, "/"), `\`, "/"))
}
