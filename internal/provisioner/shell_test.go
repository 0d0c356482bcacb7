package provisioner

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/communicator/sshtest"
	"ingot/internal/image"
)

// sshGuest is a guest for provisioners, and what a step would keep of it.
type sshGuest struct {
	*sshtest.Server
	t     *testing.T
	mu    sync.Mutex
	lines []string
	hear  func(line string)
	kept  map[string]json.RawMessage
}

func newSSHGuest(t *testing.T) *sshGuest {
	t.Helper()
	return &sshGuest{Server: sshtest.New(t), t: t, kept: map[string]json.RawMessage{}}
}

// env is that of a process of its own: it has nothing but what the step keeps.
func (g *sshGuest) env(id string) *Env {
	g.t.Helper()
	clock := &sshtest.Clock{}
	c, err := communicator.NewSSH(communicator.SSHConfig{Address: g.Addr(), User: sshtest.User, Password: sshtest.Password, Clock: clock, Dir: g.Home + "/run"})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() }) //nolint:errcheck // the test is over
	return &Env{Comm: c, Clock: clock, StepID: id, Vars: map[string]string{"PACKER_BUILD_NAME": "b"},
		Output: func(stream, line string) {
			g.mu.Lock()
			g.lines = append(g.lines, stream+":"+line)
			g.mu.Unlock()
			if g.hear != nil {
				g.hear(line)
			}
		},
		Save: func(v any) (err error) { g.kept[id], err = json.Marshal(v); return err },
		Load: func(v any) (bool, error) {
			raw, ok := g.kept[id]
			if !ok {
				return false, nil
			}
			return true, json.Unmarshal(raw, v)
		}}
}

// run runs p as a step, and returns what it prints.
func (g *sshGuest) run(id string, p Runner) (string, error) {
	g.t.Helper()
	g.mu.Lock()
	g.lines = nil
	g.mu.Unlock()
	ctx, stop := context.WithTimeout(g.t.Context(), time.Minute)
	defer stop()
	err := p.Run(ctx, g.env(id))
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.lines, "\n"), err
}

// write makes a file of this computer.
func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestShell(t *testing.T) {
	g := newSSHGuest(t)
	bin, local := t.TempDir(), t.TempDir()
	write(t, bin+"/sudo", "#!/bin/sh\necho \"sudo $1\"\n[ \"$1\" = -E ] && shift\nexec \"$@\"\n", 0o755)
	g.SetOptions(func(o *sshtest.Options) { o.Path = []string{bin} })
	a := write(t, local+"/a.sh", "#!/bin/sh\r\necho \"a $A\"\r\n", 0o644)
	b := write(t, local+"/b.sh", "#!/bin/sh\necho b; exit 3\n", 0o644)
	plain := write(t, local+"/no shebang.sh", "echo \"plain $PACKER_BUILD_NAME\"\n", 0o644)
	wide := write(t, local+"/wide.sh", "\xff\xfe#\x00!\x00/\x00b\x00i\x00n\x00/\x00s\x00h\x00\n\x00e\x00c\x00h\x00o\x00 \x00w\x00\n\x00", 0o644)
	whole := write(t, local+"/whole.sh", "#!/bin/sh\nwc -c <\"$0\"\nexit 0\n#\r\n", 0o644)
	hard := "it's \"so\" $HOME `x` \\n\nsecond line"
	for name, c := range map[string]struct {
		p    Shell
		want string // of all output; a regular expression
		fail string
	}{
		"inline":                {Shell{Inline: []image.Text{image.Plain("echo one"), image.Plain("echo two >&2")}}, "(?s)stdout:one.*stderr:two|stderr:two.*stdout:one", ""},
		"stops at an error":     {Shell{Inline: []image.Text{image.Plain("echo one"), image.Plain("false"), image.Plain("echo two")}}, "^stdout:one$", "code 1"},
		"own shebang":           {Shell{Inline: []image.Text{image.Plain("false"), image.Plain("echo on")}, InlineShebang: "/bin/sh"}, "^stdout:on$", ""},
		"crlf becomes lf":       {Shell{Script: a, EnvironmentVars: text("A=x")}, "^stdout:a x$", ""},
		"crlf of a binary":      {Shell{Script: a, Binary: true}, "", "exited with code"},
		"binary is kept whole":  {Shell{Script: whole, Binary: true}, "^stdout:32$", ""},
		"utf-16":                {Shell{Script: wide}, "^stdout:w$", ""},
		"no shebang":            {Shell{Script: plain}, "^stdout:plain b$", ""},
		"codes":                 {Shell{Script: b, ValidExitCodes: []int{0, 3}}, "^stdout:b$", ""},
		"several, in order":     {Shell{Scripts: []string{a, b, plain}, ValidExitCodes: []int{0, 3}}, "^stdout:a \nstdout:b\nstdout:plain b$", ""},
		"several stop":          {Shell{Scripts: []string{b, a}}, "^stdout:b$", "shell script b.sh: it exited with code 3"},
		"sudo -E":               {Shell{Script: a, EnvironmentVars: text("A=x y"), ExecuteCommand: "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"}, "^stdout:sudo -E\nstdout:a x y$", ""},
		"sudo env":              {Shell{Script: a, EnvironmentVars: text("A=x y"), ExecuteCommand: "chmod +x {{.Path}}; sudo env {{.Vars}} {{.Path}}"}, "^stdout:sudo env\nstdout:a x y$", ""},
		"hard values":           {Shell{Inline: text(`printf '<%s>\n' "$A"`), EnvironmentVars: text("A=" + hard)}, "^" + regexp.QuoteMeta("stdout:<it's \"so\" $HOME `x` \\n\nstdout:second line>") + "$", ""},
		"hard values in a file": {Shell{Inline: text(`printf '<%s>\n' "$A"`), UseEnvVarFile: true, Env: map[string]image.Text{"A": image.Hidden("a", hard)}}, "^" + regexp.QuoteMeta("stdout:<it's \"so\" $HOME `x` \\n\nstdout:second line>") + "$", ""},
		"file for owners only":  {Shell{Inline: text(`stat -c %a "$0.env"`), UseEnvVarFile: true}, "^stdout:600$", ""},
		"own format":            {Shell{Inline: text(`echo "$1"`), EnvironmentVars: text("A=x"), EnvVarFormat: "--%s=%s ", ExecuteCommand: "sh {{.Path}} {{.Vars}}"}, "^stdout:--A=x$", ""},
		"folder and file":       {Shell{Inline: text(`echo "$0"`), RemoteFolder: g.Home + "/made", RemoteFile: "x y.sh", ExecuteCommand: "sh '{{.Path}}'"}, "^stdout:.*/made/x y.sh$", ""},
		"home":                  {Shell{Inline: text(`echo "$0"`), RemotePath: "~/deep/s.sh"}, "^stdout:.*/deep/s.sh$", ""},
		"unknown word":          {Shell{Inline: text("true"), ExecuteCommand: "{{.Nothing}}"}, "^$", "it knows .Path"},
		"bad template":          {Shell{Inline: text("true"), ExecuteCommand: "{{.Path"}, "^$", "cannot read execute_command"},
		"no such script":        {Shell{Script: local + "/none.sh"}, "^$", "cannot read script"},
	} {
		id := "step-" + strings.NewReplacer(" ", "-", ",", "").Replace(name)
		out, err := g.run(id, &c.p)
		if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) || !regexp.MustCompile(c.want).MatchString(out) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if left, _ := filepath.Glob("/tmp/script_" + id + "*"); len(left) > 0 {
			t.Errorf("%s: left over: %v", name, left)
		}
	}
	for _, left := range []string{"/made/x y.sh", "/deep/s.sh"} {
		if _, err := os.Stat(g.Home + left); !os.IsNotExist(err) {
			t.Errorf("left over: %s (%v)", left, err)
		}
	}
	if _, err := g.run("kept", &Shell{Inline: text("true"), RemotePath: g.Home + "/kept.sh", SkipClean: true}); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(g.Home + "/kept.sh"); err != nil || string(b) != "#!/bin/sh -e\ntrue\n" {
		t.Errorf("skip_clean: %q %v", b, err)
	}
}

// TestShellSecrets: variables are on no command line while the script runs.
func TestShellSecrets(t *testing.T) {
	g := newSSHGuest(t)
	look := text("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c marker-no[t]-a-real-secret || true; echo \"$A\"")
	for id, file := range map[string]bool{"vars": false, "file": true} {
		out, err := g.run(id, &Shell{Inline: look, UseEnvVarFile: file, Env: map[string]image.Text{"A": image.Hidden("a", "marker-not-a-real-secret")}})
		if err != nil || out != "stdout:0\nstdout:marker-not-a-real-secret" {
			t.Errorf("%s: %v %q", id, err, out)
		}
	}
}

// TestShellAgain: a step that begins again follows what it began; a retry, which has an id of its own, runs anew.
func TestShellAgain(t *testing.T) {
	g := newSSHGuest(t)
	p := &Shell{Inline: text("echo ran >>" + g.Home + "/trace; echo begun; [ -e " + g.Home + "/good ]"), RemotePath: g.Home + "/s.sh"}
	for range 2 {
		if out, err := g.run("try-0", p); err == nil || out != "stdout:begun" {
			t.Errorf("%v %q", err, out)
		}
	}
	write(t, g.Home+"/good", "", 0o600)
	if out, err := g.run("try-1", p); err != nil || out != "stdout:begun" {
		t.Errorf("the retry: %v %q", err, out)
	}
	if b, err := os.ReadFile(g.Home + "/trace"); string(b) != "ran\nran\n" {
		t.Errorf("%q %v", b, err)
	}
	// A process that dies after the first of two scripts, whose file it has removed.
	ctx, die := context.WithCancel(t.Context())
	g.hear = func(line string) {
		if line == "second" {
			die()
		}
	}
	dir := t.TempDir()
	two := &Shell{Scripts: []string{write(t, dir+"/1", "echo first; echo 1 >>"+g.Home+"/both\n", 0o600), write(t, dir+"/2", "echo second; sleep 0.5; echo 2 >>"+g.Home+"/both; echo end\n", 0o600)}}
	if err := two.Run(ctx, g.env("two")); err == nil {
		t.Error("a process that was ended succeeds")
	}
	g.hear = nil
	if out, err := g.run("two", two); err != nil || out != "stdout:first\nstdout:second\nstdout:end" {
		t.Errorf("%v %q", err, out)
	}
	if b, err := os.ReadFile(g.Home + "/both"); string(b) != "1\n2\n" {
		t.Errorf("%q %v", b, err)
	}
}

// TestShellDisconnects: a connection that is lost is nobody's business; a restart is the template's.
func TestShellDisconnects(t *testing.T) {
	g := newSSHGuest(t)
	reboot := func(id string) func(string) {
		return func(line string) {
			if line == "restarting" {
				write(t, g.Home+"/run/"+id+"/boot", "another\n", 0o600)
				g.Cut()
			}
		}
	}
	restart := Shell{Inline: text("echo restarting; sleep 1"), RemotePath: g.Home + "/r.sh"}
	g.hear = reboot("lost")
	if _, err := g.run("lost", &restart); err == nil || !strings.Contains(err.Error(), "expect_disconnect") {
		t.Errorf("an unexpected restart: %v", err)
	}
	restart.ExpectDisconnect = true
	g.hear = reboot("expected")
	if _, err := g.run("expected", &restart); err != nil {
		t.Errorf("an expected restart: %v", err)
	}
	if _, err := os.Stat(g.Home + "/r.sh"); !os.IsNotExist(err) {
		t.Errorf("the script is left after the restart: %v", err)
	}
	g.hear = func(line string) {
		if line == "cut" {
			g.Cut()
		}
	}
	out, err := g.run("cut", &Shell{Inline: text("echo cut; sleep 0.3; echo on; exit 4"), ValidExitCodes: []int{4}})
	if err != nil || out != "stdout:cut\nstdout:on" {
		t.Errorf("%v %q", err, out)
	}
	g.hear = nil
	if _, err := g.run("failed", &Shell{Inline: text("exit 5"), ExpectDisconnect: true}); err == nil || !strings.Contains(err.Error(), "code 5") {
		t.Errorf("a failure is no disconnection: %v", err)
	}
}

// TestShellWithoutGuest: removing a script from a guest that lets nobody in any more is given up, and no failure.
func TestShellWithoutGuest(t *testing.T) {
	g := newSSHGuest(t)
	e := g.env("gone")
	before := e.Clock.Now()
	e.Comm = leaving{e.Comm, g}
	if err := (&Shell{Inline: text("true"), RemotePath: g.Home + "/gone.sh"}).Run(t.Context(), e); err != nil {
		t.Error(err)
	}
	if d := e.Clock.Now().Sub(before); d < shellCleanPatience || d > 15*shellCleanPatience {
		t.Errorf("it waited %s", d)
	}
}

// leaving is a guest that is gone when its script is to be removed.
type leaving struct {
	communicator.Communicator
	g *sshGuest
}

func (l leaving) Command(ctx context.Context, line string, out communicator.Output) (int, error) {
	l.g.Stop()
	l.g.Cut()
	return l.Communicator.Command(ctx, line, out)
}
