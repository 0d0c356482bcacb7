package provisioner

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ingot/internal/communicator"
	"ingot/internal/image"
)

// TestPuppetMasterless runs the real puppet in a guest.
func TestPuppetMasterless(t *testing.T) {
	needs(t, "puppet")
	g := startSSHD(t)
	local := t.TempDir()
	write(t, local+"/modules/site/manifests/init.pp", "class site($text = 'none') { file { '"+g.home+"/by-module': content => \"${text} ${facts['colour']} ${facts['packer_build_name']}\\n\" } }\n", 0o644)
	module := write(t, local+"/module.pp", "include site\n", 0o644)
	write(t, local+"/data/common.yaml", "site::text: from hiera\n", 0o644)
	hiera := write(t, local+"/hiera.yaml", "version: 5\nhierarchy:\n  - name: common\n    path: "+local+"/data/common.yaml\n    data_hash: yaml_data\n", 0o644)
	write(t, local+"/many/1.pp", "notify { 'first': }\n", 0o644)
	write(t, local+"/many/2.pp", "notify { 'second': }\n", 0o644)
	bad := write(t, local+"/bad.pp", "file { '/nowhere/at/all/x': content => 'x' }\n", 0o644)
	wrong := write(t, local+"/wrong.pp", "file { \n", 0o644)
	own := text("--vardir=" + g.home + "/var --confdir=" + g.home + "/conf")
	facts := map[string]image.Text{"colour": image.Hidden("c", "it's test-secret-not-real")}
	for name, c := range map[string]struct {
		p          PuppetMasterless
		want, fail string
	}{
		"modules, hiera and facts": {PuppetMasterless{ManifestFile: module, ModulePaths: []string{local + "/modules"}, HieraConfigPath: hiera, puppetCommon: puppetCommon{Facter: facts, PreventSudo: true, CleanStagingDirectory: true}}, "by-module.*ensure", ""},
		"again, nothing to do":     {PuppetMasterless{ManifestFile: local + "/many", puppetCommon: puppetCommon{PreventSudo: true}}, `(?s)first.*second`, ""},
		"a resource fails":         {PuppetMasterless{ManifestFile: bad, puppetCommon: puppetCommon{PreventSudo: true}}, "", `Puppet exited with code (4|6) \(some resources failed\).*nowhere`},
		"wrong syntax":             {PuppetMasterless{ManifestFile: wrong, puppetCommon: puppetCommon{PreventSudo: true}}, "", `code 1 \(Puppet could not run\)`},
		"codes do not matter":      {PuppetMasterless{ManifestFile: bad, puppetCommon: puppetCommon{PreventSudo: true, IgnoreExitCodes: true}}, "", ""},
		"no puppet there":          {PuppetMasterless{ManifestFile: bad, puppetCommon: puppetCommon{PreventSudo: true, PuppetBinDir: "/no/such/folder"}}, "", `code 127`},
		"own command":              {PuppetMasterless{ManifestFile: bad, puppetCommon: puppetCommon{ExecuteCommand: "echo {{.ManifestFile}} in {{.WorkingDir}} sudo={{.Sudo}} {{.ExtraArguments}}"}}, `stage/manifests/bad.pp in .*/stage sudo=true --vardir`, ""},
		"wrong template":           {PuppetMasterless{ManifestFile: bad, puppetCommon: puppetCommon{ExecuteCommand: "{{.Nothing}}"}}, "", "cannot fill in execute_command"},
	} {
		t.Run(name, func(t *testing.T) {
			var said lines
			c.p.StagingDirectory, c.p.ExtraArguments = g.home+"/stage", own
			err := c.p.Run(limited(t), g.env(t, "p-"+strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' {
					return r
				}
				return -1
			}, name), said.add))
			if (err == nil) != (c.fail == "") || err != nil && !regexp.MustCompile("(?s)"+c.fail).MatchString(err.Error()) || !regexp.MustCompile(c.want).MatchString(said.String()) {
				t.Errorf("%v, want %q %q\n%s", err, c.fail, c.want, said.String())
			}
			if _, err := os.Stat(g.home + "/stage"); os.IsNotExist(err) != c.p.CleanStagingDirectory && c.want != "" {
				t.Errorf("the staging folder: %v", err)
			}
		})
	}
	if raw, err := os.ReadFile(g.home + "/by-module"); err != nil || string(raw) != "from hiera it's test-secret-not-real b\n" {
		t.Errorf("%q %v", raw, err)
	}
}

// TestPuppetServer has the real puppet agent ask a server that is not there, and looks at what it is told.
func TestPuppetServer(t *testing.T) {
	g := startSSHD(t)
	local := t.TempDir()
	write(t, local+"/certs/a.pem", "c", 0o644)
	write(t, local+"/keys/a.pem", "k", 0o600)
	write(t, g.home+"/bin/puppet", "#!/bin/sh\necho \"args $*\"\necho \"fact $FACTER_packer_builder_type\"\ncat certs/a.pem private_keys/a.pem\nexit 2\n", 0o755)
	var said lines
	p := PuppetServer{PuppetServer: "puppet.example", PuppetNode: "n1", ClientCertPath: local + "/certs", ClientPrivateKeyPath: local + "/keys/", StagingDir: g.home + "/stage", Options: "--test",
		puppetCommon: puppetCommon{PreventSudo: true, PuppetBinDir: g.home + "/bin", ExtraArguments: text("--noop")}}
	if err := p.Run(limited(t), g.env(t, "server", said.add)); err != nil {
		t.Errorf("%v\n%s", err, said.String())
	}
	want := "args agent --onetime --no-daemonize --detailed-exitcodes --color=false --server=puppet.example --certname=n1 --certdir=" + g.home + "/stage/certs --privatekeydir=" + g.home + "/stage/private_keys --noop --test\nfact azure-arm\nck"
	if said.String() != want {
		t.Errorf("%q, want %q", said.String(), want)
	}
	needs(t, "puppet")
	p = PuppetServer{PuppetServer: "127.0.0.1", StagingDir: g.home + "/stage2", puppetCommon: puppetCommon{PreventSudo: true, ExtraArguments: text("--vardir=" + g.home + "/var --confdir=" + g.home + "/conf --ssldir=" + g.home + "/ssl --masterport=1 --waitforcert=0")}}
	if err := p.Run(limited(t), g.env(t, "server2", nil)); err == nil || !strings.Contains(err.Error(), "Puppet exited with code 1") {
		t.Errorf("a server that is not there: %v", err)
	}
}

// recorder is a Windows guest that notes what it is given.
type recorder struct {
	communicator.Windows
	scripts []communicator.Script
	files   map[string]string
	lines   []string
	code    int
	fail    error // of the next upload
}

func (r *recorder) Run(_ context.Context, s communicator.Script, _ communicator.Output) (int, error) {
	r.scripts = append(r.scripts, s)
	return r.code, nil
}

func (r *recorder) Upload(_ context.Context, name string, from io.ReaderAt, size int64) error {
	if r.fail != nil {
		return r.fail
	}
	raw, err := io.ReadAll(io.NewSectionReader(from, 0, size))
	r.files[name] = string(raw)
	return err
}

func (r *recorder) Command(_ context.Context, line string, _ communicator.Output) (int, error) {
	r.lines = append(r.lines, line)
	return 0, nil
}

func TestPuppetOnWindows(t *testing.T) {
	local := t.TempDir()
	site := write(t, local+"/site.pp", "x", 0o644)
	write(t, local+"/modules/m/init.pp", "y", 0o644)
	r := &recorder{files: map[string]string{}, code: 2}
	var kept bool
	e := &Env{Comm: r, StepID: "p1", Save: func(any) error { kept = true; return nil }, Load: func(v any) (bool, error) {
		if kept {
			v.(*struct{ Begun bool }).Begun = true
		}
		return kept, nil
	}}
	p := &PuppetMasterless{ManifestFile: site, ModulePaths: []string{local + "/modules"}, puppetCommon: puppetCommon{PuppetBinDir: "C:/Program Files/Puppet Labs/Puppet/bin", Facter: map[string]image.Text{"a": image.Plain("50%")},
		ElevatedUser: "SYSTEM", CleanStagingDirectory: true}}
	r.fail = errors.New("the line broke")
	if err := p.Run(t.Context(), e); err == nil || len(r.scripts) > 0 {
		t.Errorf("an upload that fails: %v, %d scripts", err, len(r.scripts))
	}
	r.fail = nil
	for range 2 { // the second time after a crash: it is only followed
		if err := p.Run(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	const dir = "C:/Windows/Temp/packer-puppet-masterless"
	want := "@echo off\r\nif not exist \"C:\\Windows\\Temp\\packer-puppet-masterless\" mkdir \"C:\\Windows\\Temp\\packer-puppet-masterless\"\r\n" +
		`cd /d "` + dir + `" && SET "FACTER_a=50%%" && call "C:/Program Files/Puppet Labs/Puppet/bin/puppet" apply --detailed-exitcodes --color=false --modulepath="` + dir + `/module-0" "` + dir + `/manifests/site.pp"` + "\r\n"
	if s := r.scripts[0]; s.Text != want || s.Shell != "cmd" || s.User != "SYSTEM" || s.ID != "p1" {
		t.Errorf("%+v\nwant %q", s, want)
	}
	if len(r.files) != 2 || r.files[dir+"/module-0/m/init.pp"] != "y" || r.files[dir+"/manifests/site.pp"] != "x" {
		t.Errorf("%v", r.files)
	}
	if len(r.lines) != 2 || r.lines[0] != `rmdir /s /q "C:\Windows\Temp\packer-puppet-masterless"` {
		t.Errorf("%q", r.lines)
	}
	if l := (&PuppetMasterless{ManifestDir: filepath.Dir(site)}).Limits(); len(l) != 1 || l[0].Option != "manifest_dir" {
		t.Errorf("%+v", l)
	}
}
