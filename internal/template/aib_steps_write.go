package template

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// quotation is what a script's line has around a value, and how a quote inside the value is written there.
type quotation struct{ before, quote, after string }

// expression is an expression that makes the line of a parameter.
func (q quotation) expression(parameter string) string {
	if q == (quotation{}) {
		return "[" + parameter + "]"
	}
	arm := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	return "[concat(" + arm(q.before) + ", replace(" + parameter + ", " + arm("'") + ", " + arm(q.quote) + "), " + arm(q.after) + ")]"
}

// set is a line that gives a variable its value.
func (l *aibLosses) set(q quotation, value image.Text) image.Text {
	if value.Secret() != "" {
		l.lines[value] = q
		return value
	}
	return image.Plain(q.before + strings.ReplaceAll(value.Reveal(), "'", q.quote) + q.after)
}

// environment are the lines that give a script its variables: those of environment_vars, then those of env, which win.
func (l *aibLosses) environment(vars []image.Text, env map[string]image.Text, q func(name string) quotation) (out []image.Text) {
	for _, v := range vars {
		name, value, _ := strings.Cut(v.Reveal(), "=")
		x := image.Plain(value)
		if v.Secret() != "" && value != "" {
			x = image.Hidden(v.Secret(), value)
		}
		out = append(out, l.set(q(name), x))
	}
	for _, k := range keys(env) {
		out = append(out, l.set(q(k), env[k]))
	}
	return out
}

// customizer is a provisioner as one or more customizers.
func customizer(p image.Provision, l *aibLosses) []aibStep {
	what := strings.TrimSpace("provisioner " + p.Type + " " + p.Name)
	l.lossy(p.MaxRetries > 0, what+" max_retries", "a customizer is not tried again: repeat inside the script")
	l.lossy(p.Timeout > 0, what+" timeout", "a customizer has no limit of its own: buildTimeoutInMinutes bounds the build")
	l.lossy(p.GoOn, what+" continue_on_error", "a customizer that fails fails the build: catch the error inside the script")
	out := steplist(p, what, l)
	for _, s := range out {
		for _, line := range s.Inline {
			if m := runtimeText.FindStringSubmatch(line.Reveal()); m != nil {
				l.impossible(true, what+" build."+m[1], "a customizer does not know it: the placeholder stands in the script as it is")
			}
		}
	}
	if p.PauseBefore > 0 && len(out) > 0 {
		l.lossy(true, what+" pause_before", "written as a customizer that sleeps")
		kind := "PowerShell"
		if out[0].Type == "Shell" {
			kind = "Shell"
		}
		return append([]aibStep{sleeps(kind, p.PauseBefore)}, out...)
	}
	return out
}

// sleeps is a customizer that waits, for whole seconds.
func sleeps(kind string, d time.Duration) aibStep {
	word := map[string]string{"Shell": "sleep", "PowerShell": "Start-Sleep -Seconds"}[kind]
	return aibStep{Type: kind, Inline: []image.Text{image.Plain(fmt.Sprintf("%s %d", word, int(math.Ceil(d.Seconds()))))}}
}

func steplist(p image.Provision, what string, l *aibLosses) []aibStep {
	switch s := p.Settings.(type) {
	case *provisioner.PowerShell:
		return powershellStep(p, s, what, l)
	case *provisioner.Shell:
		l.lossy(s.ExecuteCommand != "", what+" execute_command", "fixed by the service: the script runs as a user who may use sudo")
		l.lossy(s.InlineShebang != "" || s.RemotePath != "" || s.RemoteFolder != "" || s.RemoteFile != "" || s.SkipClean || s.Binary || s.UseEnvVarFile || s.EnvVarFormat != "" || s.StartRetryTimeout != 0, what+" options", "fixed by the service")
		l.lossy(len(s.ValidExitCodes) > 0, what+" valid_exit_codes", "a Shell customizer has 0 only: catch the others inside the script")
		l.lossy(s.ExpectDisconnect, what+" expect_disconnect", "there is no restart of Linux guests")
		env := l.environment(s.EnvironmentVars, s.Env, func(name string) quotation { return quotation{"export " + name + "='", `'\''`, "'"} })
		l.lossy(len(env) > 0, what+" environment", "written as lines of the script")
		if !s.URI.IsZero() {
			return []aibStep{{Type: "Shell", Name: p.Name, ScriptURI: s.URI, SHA256: s.SHA256}}
		}
		out := inlineSteps("Shell", p.Name, env, s.Inline, s.Script, s.Scripts, what, l.losses, aibStep{})
		if s.PauseAfter > 0 {
			l.lossy(true, what+" pause_after", "written as a customizer that sleeps")
			out = append(out, sleeps("Shell", s.PauseAfter))
		}
		return out
	case *provisioner.File:
		switch {
		case !s.SourceURI.IsZero():
			return []aibStep{{Type: "File", Name: p.Name, SourceURI: s.SourceURI, Destination: s.Destination, SHA256: s.SHA256}}
		case s.Direction == "download":
			l.impossible(true, what, "nothing can be downloaded from the build's machine")
		default:
			l.impossible(true, what, "the service copies from an address only: upload the file to storage that the template's identity may read, and use a File customizer")
		}
		return nil
	case *provisioner.WindowsRestart:
		l.lossy(s.CheckRegistry || len(s.RegistryKeys) > 0, what+" check_registry", "the service does not look at the registry after a restart")
		return []aibStep{{Type: "WindowsRestart", Name: p.Name, RestartCommand: s.RestartCommand, RestartCheckCommand: s.RestartCheckCommand, RestartTimeout: s.RestartTimeout}}
	case *provisioner.WindowsUpdate:
		l.lossy(s.Username != "" || !s.Password.IsZero() || s.UpdateMaxRetries != 0 || s.RestartTimeout != 0, what+" options", "the service has search criteria, filters and a limit only")
		return []aibStep{{Type: "WindowsUpdate", Name: p.Name, SearchCriteria: s.SearchCriteria, Filters: s.Filters, UpdateLimit: s.UpdateLimit}}
	case *provisioner.Sleep:
		l.lossy(true, what, "written as a customizer that sleeps")
		step := sleeps(l.shell, s.Duration)
		step.Name = p.Name
		return []aibStep{step}
	case *provisioner.WindowsShell:
		l.impossible(true, what, "there is no customizer for batch: write it in PowerShell")
	default:
		l.impossible(true, what, "Image Builder has Shell, PowerShell, File, WindowsRestart and WindowsUpdate only")
	}
	return nil
}

// powershellName is what may follow $env: without braces.
var powershellName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func powershellStep(p image.Provision, s *provisioner.PowerShell, what string, l *aibLosses) []aibStep {
	step := aibStep{Type: "PowerShell", Name: p.Name, ScriptURI: s.URI, SHA256: s.SHA256, ValidExitCodes: s.ValidExitCodes}
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
		if strings.Contains(f.Summary, "sysprep") {
			l.lossy(true, what, "it runs sysprep, which the service does itself at the end: left out")
			return nil
		}
	}
	if !s.URI.IsZero() {
		l.lossy(len(s.EnvironmentVars)+len(s.Env) > 0, what+" environment", "a script at an address gets no variables")
		return []aibStep{step}
	}
	env := l.environment(s.EnvironmentVars, s.Env, func(name string) quotation {
		if powershellName.MatchString(name) {
			return quotation{"$env:" + name + " = '", "''", "'"}
		}
		return quotation{"${env:" + name + "} = '", "''", "'"}
	})
	l.lossy(len(env) > 0, what+" environment", "written as lines of the script")
	out := inlineSteps("PowerShell", p.Name, env, s.Inline, s.Script, s.Scripts, what, l.losses, step)
	if s.PauseAfter > 0 {
		l.lossy(true, what+" pause_after", "written as a customizer that sleeps")
		out = append(out, sleeps("PowerShell", s.PauseAfter))
	}
	return out
}

// inlineSteps are the lines as one customizer, or each script's lines as one.
func inlineSteps(kind, name string, env, inline []image.Text, script string, scripts []string, what string, l *losses, like aibStep) []aibStep {
	like.Type, like.Name = kind, name
	if len(inline) > 0 {
		like.Inline = append(slices.Clone(env), inline...)
		return []aibStep{like}
	}
	if script != "" {
		scripts = append([]string{script}, scripts...)
	}
	var out []aibStep
	for _, path := range scripts {
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
