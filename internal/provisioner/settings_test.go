package provisioner

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// there makes a folder with a file, for options that name one.
func there(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"f.txt", "s.ps1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("exit 0"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func text(s string) []image.Text { return []image.Text{image.Plain(s)} }

// TestCheck has for each kind one that is right and each rule broken.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		s    Settings
		want string // "" for none
	}{
		{&Shell{Inline: text("true")}, ""}, {&Shell{}, "nothing to run"}, {&Shell{Inline: text("a"), Script: "s.ps1"}, "only one of"}, {&Shell{Inline: text("a"), RemotePath: "/x", RemoteFolder: "/y"}, "exclude one another"},
		{&Shell{URI: image.Plain("https://example.com/x.sh"), SHA256: strings.Repeat("a", 64)}, ""}, {&Shell{URI: image.Plain("https://example.com/x.sh"), SHA256: "AA"}, "no checksum"}, {&Shell{URI: image.Plain("x.sh")}, "no address"}, {&Shell{Script: "nope"}, "cannot find nope"},
		{&Shell{Inline: text("a"), EnvironmentVars: text("A")}, "not NAME=value"},
		{&ShellLocal{Command: image.Plain("a")}, ""}, {&ShellLocal{Command: image.Plain("a"), Inline: text("b")}, "exclude one another"}, {&ShellLocal{Inline: text("a"), OnlyOn: []string{"amiga"}}, "amiga"}, {&ShellLocal{}, "nothing to run"},
		{&PowerShell{Inline: text("a")}, ""}, {&PowerShell{Inline: text("a"), ExecuteCommand: "x", UsePwsh: true}, ""}, {&PowerShell{Inline: text("a"), ExecutionPolicy: "lax"}, "unknown execution_policy"}, {&PowerShell{Inline: text("a"), DebugMode: 3}, "debug_mode is 3"},
		{&PowerShell{Inline: text("a"), ElevatedPassword: image.Plain("test-secret-not-real")}, "without elevated_user"}, {&PowerShell{Scripts: []string{"s.ps1", "nope"}}, "cannot find nope"},
		{&WindowsShell{Inline: text("a"), ExecuteCommand: "x"}, ""}, {&WindowsShell{}, "nothing to run"},
		{&WindowsRestart{}, ""}, {&WindowsRestart{RestartTimeout: -1}, "negative"}, {&WindowsRestart{CheckRegistry: true, RegistryKeys: []string{`a"b`}}, "no key has"},
		{&WindowsUpdate{Filters: []string{"exclude:$_.Title -like '*Preview*'", "include:$true"}, UpdateLimit: 20}, ""}, {&WindowsUpdate{Filters: []string{"only:x"}}, "neither include"}, {&WindowsUpdate{Filters: []string{"include:"}}, "neither include"},
		{&WindowsUpdate{UpdateLimit: -1}, "update_limit is negative"}, {&WindowsUpdate{UpdateMaxRetries: -1}, "update_max_retries is negative"},
		{&File{Source: "f.txt", Destination: "C:/"}, ""}, {&File{Destination: "C:/"}, "exactly one of"}, {&File{Source: "f.txt"}, "destination is missing"}, {&File{Source: "nope", Destination: "C:/"}, "cannot find nope"}, {&File{Source: "nope", Destination: "C:/", Generated: true}, ""},
		{&File{Source: "C:/x", Destination: "out/", Direction: "download"}, ""}, {&File{Content: image.Plain("a"), Destination: "x", Direction: "download"}, "nothing to download"}, {&File{Source: "f.txt", Destination: "x", Direction: "sideways"}, "unknown direction"},
		{&File{SourceURI: image.Plain("https://example.com/a"), Destination: "C:/a"}, ""},
		{&Ansible{PlaybookFile: "f.txt"}, ""}, {&Ansible{}, "playbook_file is missing"}, {&Ansible{PlaybookFile: "nope"}, "cannot find nope"}, {&Ansible{PlaybookFile: "f.txt", LocalPort: 70000}, "local_port"}, {&Ansible{PlaybookFile: "f.txt", AnsibleProxyKeyType: "DSA"}, "DSA"},
		{&Ansible{PlaybookFile: "f.txt", AnsibleEnvVars: text("A")}, "not NAME=value"},
		{&AnsibleLocal{PlaybookFiles: []string{"f.txt"}}, ""}, {&AnsibleLocal{}, "exactly one of"}, {&AnsibleLocal{PlaybookFile: "f.txt", RolePaths: []string{"nope"}}, "cannot find nope"},
		{&PuppetMasterless{ManifestFile: "f.txt"}, ""}, {&PuppetMasterless{}, "manifest_file is missing"}, {&PuppetMasterless{ManifestFile: "f.txt", ModulePaths: []string{"nope"}}, "cannot find nope"}, {&PuppetServer{}, ""}, {&PuppetServer{ClientCertPath: "nope"}, "cannot find nope"},
		{&PuppetServer{puppetCommon: puppetCommon{GuestOSType: "beos"}}, "beos"},
		{&ChefSolo{chefCommon: chefCommon{RunList: []string{"a"}, JSON: map[string]any{"a": 1.0}}}, ""}, {&ChefSolo{chefCommon: chefCommon{JSON: "x"}}, "no object"}, {&ChefSolo{chefCommon: chefCommon{JSON: map[string]any{}}, JSONString: "{}"}, "exclude one another"},
		{&ChefSolo{chefCommon: chefCommon{ChefLicense: "maybe"}}, "maybe"}, {&ChefClient{ServerURL: "https://example.com"}, ""}, {&ChefClient{}, "server_url is missing"}, {&ChefClient{ServerURL: "x", PolicyName: "p"}, "go together"}, {&ChefClient{ServerURL: "x", SSLVerifyMode: "maybe"}, "maybe"},
		{&DSC{ManifestFile: "f.txt"}, ""}, {&DSC{}, "manifest_file is missing"}, {&DSC{MOFPath: "f.txt"}, ""}, {&DSC{ManifestFile: "f.txt", ModulePaths: []string{"nope"}}, "cannot find nope"},
		{&InSpec{Profile: "https://example.com/profile"}, ""}, {&InSpec{Profile: "f.txt"}, ""}, {&InSpec{}, "profile is missing"}, {&InSpec{Profile: "nope"}, "cannot find nope"},
		{&Sleep{Duration: time.Second}, ""}, {&Sleep{}, "duration is missing"}, {&Breakpoint{}, ""}, {&SBOM{AutoGenerate: true}, ""}, {&SBOM{}, "source is missing"},
	} {
		dir := there(t)
		check := &Check{Cwd: dir, Dir: dir, Pos: func(option string) diag.Pos { return diag.Pos{File: option} }}
		c.s.Check(check)
		found := c.want == "" && !check.Problems.HasErrors()
		for _, p := range check.Problems {
			found = found || c.want != "" && p.Severity == diag.Error && strings.Contains(p.Summary, c.want) && p.Pos.File != ""
		}
		if !found {
			t.Errorf("%T %+v: %+v, want %q", c.s, c.s, check.Problems, c.want)
		}
	}
}

// TestKinds: every kind says what it is, and survives the way through a plan, secrets by name only.
func TestKinds(t *testing.T) {
	for _, kind := range Kinds() {
		s, ok := New(kind)
		if !ok {
			t.Fatal(kind)
		}
		fill(reflect.ValueOf(s).Elem())
		if !strings.HasPrefix(s.Summary(), kind) || strings.Contains(s.Summary(), "test-secret") || s.Estimate() < 0 {
			t.Errorf("%s: %q %s", kind, s.Summary(), s.Estimate())
		}
		raw, err := Encode(s)
		if err != nil || strings.Contains(string(raw), "test-secret-not-real") {
			t.Errorf("%s: %v %s", kind, err, raw)
		}
		back, err := Decode(kind, raw, func(string) (string, bool) { return "test-secret-not-real", true })
		if err != nil || !reflect.DeepEqual(s, back) {
			t.Errorf("%s: %v\n%+v\n%+v", kind, err, s, back)
		}
		if _, err := Decode(kind, raw, func(string) (string, bool) { return "", false }); len(Texts(s)) > 0 && err == nil {
			t.Errorf("%s: a secret that nobody knows is passed over", kind)
		}
	}
	if _, ok := New("nope"); ok {
		t.Error("there is a kind nope")
	}
}

// fill gives every field a value.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if v.Type().Field(i).Anonymous {
			// A struct that is embedded by an unexported name can still be filled field by field.
			fill(f)
			continue
		}
		switch x := f.Addr().Interface().(type) {
		case *image.Text:
			*x = image.Hidden("n", "test-secret-not-real")
		case *[]image.Text:
			*x = []image.Text{image.Hidden("n", "test-secret-not-real")}
		case *map[string]image.Text:
			*x = map[string]image.Text{"k": image.Hidden("n", "test-secret-not-real")}
		case *string:
			*x = "s"
		case *[]string:
			*x = []string{"s"}
		case *map[string]string:
			*x = map[string]string{"k": "s"}
		case *bool:
			*x = true
		case **bool:
			*x = new(bool)
		case *int:
			*x = 1
		case *[]int:
			*x = []int{1}
		case *time.Duration:
			*x = time.Second
		case *any:
			*x = map[string]any{"a": []any{"b", 1.0, true, nil}}
		}
	}
}

func TestFillRuntime(t *testing.T) {
	known := func(name string) (string, bool) {
		v, ok := map[string]string{"User": "packer", "Password": "test-secret-not-real"}[name]
		return v, ok
	}
	s := &PowerShell{ElevatedUser: image.Runtime("User"), ElevatedPassword: image.Plain(image.Runtime("Password")), Inline: text("a " + image.Runtime("User")), Scripts: []string{image.Runtime("User")}, Env: map[string]image.Text{"U": image.Plain(image.Runtime("User"))}}
	if err := FillRuntime(s, known); err != nil {
		t.Fatal(err)
	}
	got := []string{s.ElevatedUser, s.ElevatedPassword.Reveal(), s.Inline[0].Reveal(), s.Scripts[0], s.Env["U"].Reveal()}
	if want := []string{"packer", "test-secret-not-real", "a packer", "packer", "packer"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	p := &puppetUser{PuppetMasterless{puppetCommon: puppetCommon{ElevatedUser: image.Runtime("Host")}}}
	if err := FillRuntime(&p.PuppetMasterless, known); err == nil || !strings.Contains(err.Error(), "build.Host has no value") {
		t.Error(err)
	}
}

type puppetUser struct{ PuppetMasterless }

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		s    Limited
		want string
	}{
		{&PowerShell{Inline: text("a")}, ""}, {&PowerShell{ExecuteCommand: "x", UsePwsh: true, DebugMode: 1, Script: "s", ExecutionPolicy: "none"}, ""},
		{&PowerShell{ExecutionPolicy: "AllSigned", Inline: text("a")}, ""}, {&PowerShell{ExecutionPolicy: "AllSigned", RemotePath: "C:/x.ps1"}, "execution_policy"},
	} {
		l := c.s.Limits()
		if c.want == "" && len(l) > 0 || c.want != "" && (len(l) != 1 || l[0].Option != c.want || l[0].Why == "" || l[0].Remedy == "") {
			t.Errorf("%+v: %+v, want %q", c.s, l, c.want)
		}
	}
}

// clock notes what is slept.
type clock struct{ slept time.Duration }

func (c *clock) Now() time.Time { return time.Time{} }
func (c *clock) Sleep(_ context.Context, d time.Duration) error {
	c.slept += d
	return nil
}

func TestSleep(t *testing.T) {
	c := &clock{}
	if err := (&Sleep{Duration: time.Minute}).Run(t.Context(), &Env{Clock: c}); err != nil || c.slept != time.Minute {
		t.Errorf("%v %s", err, c.slept)
	}
}
