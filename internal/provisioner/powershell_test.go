package provisioner

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"ingot/internal/image"
	"ingot/internal/sim/guest"
)

// uploaded reads a file of the guest.
func (g *windowsGuest) uploaded(path string) string {
	b, _ := g.disk.File(path)
	return string(b)
}

// TestPowerShellOptions has each option acting: what the guest prints, what was sent, and what is left.
func TestPowerShellOptions(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir+"/a.ps1", "Write-Output \"a $env:A\"\n", 0o600)
	b := write(t, dir+"/b.ps1", "\xef\xbb\xbfWrite-Output 'b'\nexit 3\n", 0o600)
	wide := write(t, dir+"/wide.ps1", "\xff\xfeW\x00r\x00i\x00t\x00e\x00-\x00O\x00u\x00t\x00p\x00u\x00t\x00 \x00'\x00w\x00'\x00", 0o600)
	hi := text("Write-Output \"hi $env:A\"")
	for name, c := range map[string]struct {
		p    PowerShell
		want string // of the output; a regular expression
		fail string
		sent string // of "shell user secret policy text" of a script; a regular expression
	}{
		"inline":              {PowerShell{Inline: text("Write-Output 'one'")}, "^stdout:one$", "", `^powershell    \$ProgressPreference = 'SilentlyContinue'`},
		"an error ends it":    {PowerShell{Inline: []image.Text{image.Plain("throw 'no'"), image.Plain("Write-Output 'on'")}}, "^stderr:no$", "exited with code 1: no", ""},
		"script":              {PowerShell{Script: a}, "^stdout:a $", "", `exit \$LASTEXITCODE`},
		"scripts in order":    {PowerShell{Scripts: []string{a, wide, b, a}, ValidExitCodes: []int{0, 3}}, "^stdout:a \nstdout:w\nstdout:b\nstdout:a $", "", ""},
		"scripts stop":        {PowerShell{Scripts: []string{b, a}}, "^stdout:b$", "powershell script b.ps1: it exited with code 3", ""},
		"valid_exit_codes":    {PowerShell{Inline: text("exit 16001"), ValidExitCodes: []int{0, 16001}}, "^$", "", ""},
		"valid_exit_codes, 0": {PowerShell{Inline: text("exit 0"), ValidExitCodes: []int{5}}, "^$", "exited with code 0", ""},
		"environment_vars":    {PowerShell{Inline: hi, EnvironmentVars: text("A=x=y")}, "^stdout:hi x=y$", "", ""},
		"env wins":            {PowerShell{Inline: hi, EnvironmentVars: text("A=x"), Env: map[string]image.Text{"A": image.Hidden("a", "$it's \"here\" `n")}}, "^" + regexp.QuoteMeta("stdout:hi $it's \"here\" `n") + "$", "", ""},
		"the build's own":     {PowerShell{Inline: text("Write-Output $env:PACKER_BUILD_NAME")}, "^stdout:b$", "", ""},
		"elevated system":     {PowerShell{Inline: hi, ElevatedUser: "SYSTEM"}, "^stdout:hi $", "", "^powershell SYSTEM  "},
		"elevated user":       {PowerShell{Inline: hi, ElevatedUser: "packer", ElevatedPassword: image.Hidden("p", guestPassword)}, "^stdout:hi $", "", "^powershell packer " + guestPassword + " "},
		"wrong password":      {PowerShell{Inline: hi, ElevatedUser: "packer", ElevatedPassword: image.Hidden("p", "test-secret-not-real")}, "incorrect", "exited with code 1", ""},
		"execution_policy":    {PowerShell{Script: a, ExecutionPolicy: "RemoteSigned"}, "^stdout:a $", "", "^powershell   remotesigned "},
		"policy none":         {PowerShell{Script: a, ExecutionPolicy: "none"}, "^stdout:a $", "", "^powershell   none "},
		"policy allsigned":    {PowerShell{Script: a, ExecutionPolicy: "allsigned"}, "^stdout:a $", "", `(?s)^powershell   allsigned Write-Output "a \$env:A"\n$`},
		"debug_mode":          {PowerShell{Inline: hi, DebugMode: 2}, "stdout:hi ", "", "Set-PSDebug -Trace 2"},
		"debug_mode, a file":  {PowerShell{Script: a, DebugMode: 1}, "stdout:a ", "", "(?s)^cmd .*Set-PsDebug -Trace 1;"},
		"use_pwsh":            {PowerShell{Inline: hi, UsePwsh: true}, "^stdout:hi $", "", "^pwsh "},
		"use_pwsh, a command": {PowerShell{Script: a, UsePwsh: true, RemotePath: `C:\x.ps1`}, "^stdout:a $", "", "(?s)^cmd .*pwsh -executionpolicy bypass -command"},
		"remote_path":         {PowerShell{Script: a, RemotePath: "C:/deep/s.ps1", EnvironmentVars: text("A=x")}, "^stdout:a x$", "", `(?s)^cmd .*&'C:/deep/s.ps1'`},
		"execute_command": {PowerShell{Script: a, EnvironmentVars: text("A=50% q"), ExecuteCommand: `powershell -ExecutionPolicy Unrestricted -NoProfile -Command "& { . {{.Vars}}; &'{{ .Path }}'; exit $LastExitCode }"`},
			"^stdout:a 50% q$", "", "(?s)^cmd .*-ExecutionPolicy Unrestricted -NoProfile"},
		"execute_command, inline":       {PowerShell{Inline: text("exit 7"), ExecuteCommand: "powershell -file {{.Path}}"}, "^$", "exited with code 7", "^cmd "},
		"elevated_execute_command":      {PowerShell{Script: a, ElevatedUser: "SYSTEM", ElevatedExecuteCommand: `powershell -command "& { &'{{.Path}}' }"`, ExecuteCommand: "nothing"}, "^stdout:a $", "", "^cmd SYSTEM "},
		"env_var_format":                {PowerShell{Script: a, EnvironmentVars: text("A=x"), EnvVarFormat: "$env:%s='<%s>'\n"}, "^stdout:a <x>$", "", ""},
		"elevated_env_var_format":       {PowerShell{Script: a, EnvironmentVars: text("A=x"), ElevatedUser: "SYSTEM", ElevatedEnvVarFormat: "$env:%s='[%s]'\n", EnvVarFormat: "nothing"}, "^stdout:a \\[x\\]$", "", ""},
		"execute_command, no such word": {PowerShell{Script: a, ExecuteCommand: "{{.Nothing}}"}, "^$", "it knows .Path, .Vars", ""},
		"no such script":                {PowerShell{Script: dir + "/none.ps1"}, "^$", "cannot read script", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newWindowsGuest(t, nil)
			out, err := g.run("step-1", &c.p)
			if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) || !regexp.MustCompile(c.want).MatchString(out) {
				t.Errorf("%v\n%s", err, g)
			}
			found := c.sent == ""
			for _, s := range g.scripts {
				found = found || regexp.MustCompile(c.sent).MatchString(strings.Join([]string{s.Shell, s.User, s.Secret, s.Policy, s.Text}, " "))
				if strings.Contains(s.Text, "here\\") {
					t.Errorf("a value is in the script's text: %s", s.Text)
				}
			}
			if !found {
				t.Errorf("sent %+v, want %s", g.scripts, c.sent)
			}
			for _, f := range g.disk.Files() {
				if !strings.HasPrefix(f, `C:\Windows\Temp\ingot-test`) {
					t.Errorf("left in the guest: %s", f)
				}
			}
		})
	}
}

// TestPowerShellKeeps: skip_clean leaves both files, where the template says.
func TestPowerShellKeeps(t *testing.T) {
	g := newWindowsGuest(t, nil)
	p := &PowerShell{Inline: text("Write-Output \"$env:A\""), EnvironmentVars: append(text("A=x"), image.Plain("B=$it's \"b\"`")), SkipClean: true, RemotePath: "C:/kept/s.ps1", RemoteEnvVarPath: "C:/kept/v.ps1"}
	if out, err := g.run("step-1", p); err != nil || !strings.HasPrefix(out, "stdout:x\n") {
		t.Errorf("%v\n%s", err, g)
	}
	if s, v := g.uploaded(`C:\kept\s.ps1`), g.uploaded(`C:\kept\v.ps1`); !strings.Contains(s, "Write-Output") || !strings.Contains(v, "\ufeff$env:A=\"x\"; $env:B=\"`$it`'s `\"b`\"``\"; $env:PACKER_BUILD_NAME=\"b\"; ") {
		t.Errorf("%q %q", s, v)
	}
}

// TestPowerShellAgain: a process that dies while a script runs by a command follows it in another, and starts it only once.
func TestPowerShellAgain(t *testing.T) {
	for name, p := range map[string]*PowerShell{
		"as it is":   {Inline: text("Write-Output 'begun'\nStart-Sleep -Seconds 60\nWrite-Output 'end'")},
		"by command": {Inline: text("Write-Output 'begun'\nStart-Sleep -Seconds 60\nWrite-Output 'end'"), RemotePath: "C:/s.ps1"},
	} {
		g := newWindowsGuest(t, nil)
		ctx, die := context.WithCancelCause(t.Context())
		g.hear = func(line string) {
			if line == "begun" {
				die(errors.New("killed"))
			}
		}
		if _, err := g.runIn(ctx, "step-1", p); err == nil {
			t.Errorf("%s: it was not killed", name)
		}
		g.hear = nil
		if out, err := g.run("step-1", p); err != nil || out != "stdout:begun\nstdout:end" {
			t.Errorf("%s: %v\n%s", name, err, g)
		}
	}
}

// TestStartRetryTimeout: a guest that does not answer in time is an error that names the option.
func TestStartRetryTimeout(t *testing.T) {
	for name, p := range map[string]Runner{
		"powershell":    &PowerShell{Inline: text("a"), StartRetryTimeout: time.Minute, PauseAfter: time.Hour},
		"windows-shell": &WindowsShell{Inline: text("a"), StartRetryTimeout: time.Minute},
	} {
		g := newWindowsGuest(t, func(c *guest.Config) {
			c.Duration = func(kind string) time.Duration { return map[string]time.Duration{"boot": 48 * time.Hour}[kind] }
		})
		before := g.clock.Now()
		if _, err := g.run("step-1", p); err == nil || !strings.Contains(err.Error(), "cannot start "+name) || !strings.Contains(err.Error(), "did not answer for 1m0s; raise start_retry_timeout") {
			t.Errorf("%v", err)
		}
		if d := g.clock.Now().Sub(before); d < time.Minute {
			t.Errorf("it waited %s", d)
		}
	}
}

// TestPauseAfter waits in the guest's time.
func TestPauseAfter(t *testing.T) {
	g := newWindowsGuest(t, nil)
	before := g.clock.Now()
	if _, err := g.run("step-1", &PowerShell{Inline: text("exit 0"), PauseAfter: 10 * time.Minute}); err != nil || g.clock.Now().Sub(before) < 10*time.Minute {
		t.Errorf("%v after %s", err, g.clock.Now().Sub(before))
	}
}

func TestWindowsShellOptions(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir+"/a.bat", "echo a %A%\r\n", 0o600)
	b := write(t, dir+"/b.cmd", "echo b\r\nexit 3\r\n", 0o600)
	for name, c := range map[string]struct {
		p    WindowsShell
		want string
		fail string
		sent string
	}{
		"inline":           {WindowsShell{Inline: []image.Text{image.Plain("echo one"), image.Plain("echo two")}}, "^stdout:one\nstdout:two$", "", "^echo one\r\necho two\r\n$"},
		"scripts in order": {WindowsShell{Scripts: []string{a, b, a}, ValidExitCodes: []int{0, 3}, EnvironmentVars: text("A=x")}, "^stdout:a x\nstdout:b\nstdout:a x$", "", ""},
		"scripts stop":     {WindowsShell{Scripts: []string{b, a}}, "^stdout:b$", "windows-shell script b.cmd: it exited with code 3", ""},
		"env wins":         {WindowsShell{Script: a, EnvironmentVars: text("A=x"), Env: map[string]image.Text{"A": image.Plain("y z")}}, "^stdout:a y z$", "", ""},
		"remote_path":      {WindowsShell{Script: a, RemotePath: "C:/deep/s.bat", EnvironmentVars: text("A=x")}, "^stdout:a x$", "", `set "A=x" && set "PACKER_BUILD_NAME=b" && "C:/deep/s.bat"`},
		"execute_command":  {WindowsShell{Script: a, EnvironmentVars: text("A=x"), ExecuteCommand: `{{.Vars}}cmd /c "{{.Path}}"`}, "^stdout:a x$", "", `cmd /c "C:/Windows/Temp/script-step-1.bat"`},
		"env_var_format":   {WindowsShell{Script: a, EnvironmentVars: text("A=x"), EnvVarFormat: "set %s=[%s]&"}, `^stdout:a \[x\]$`, "", "set A=[x]&"},
		"bad command":      {WindowsShell{Script: a, ExecuteCommand: "{{.Path"}, "^$", "cannot read execute_command", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newWindowsGuest(t, nil)
			out, err := g.run("step-1", &c.p)
			if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) || !regexp.MustCompile(c.want).MatchString(out) {
				t.Errorf("%v\n%s", err, g)
			}
			found := c.sent == ""
			for _, s := range g.scripts {
				found = found || regexp.MustCompile(c.sent).MatchString(s.Text) || strings.Contains(s.Text, c.sent)
			}
			if !found {
				t.Errorf("sent %+v, want %s", g.scripts, c.sent)
			}
			for _, f := range g.disk.Files() {
				if !strings.HasPrefix(f, `C:\Windows\Temp\ingot-test`) {
					t.Errorf("left in the guest: %s", f)
				}
			}
		})
	}
}

func TestBatchLine(t *testing.T) {
	for in, want := range map[string]string{"a %TEMP% 50% b": "a %TEMP% 50%% b", "%": "%%", "%ProgramFiles(x86)%": "%ProgramFiles(x86)%"} {
		if got := batchLine(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
