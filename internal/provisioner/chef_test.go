package provisioner

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ingot/internal/communicator/sshtest"
	"ingot/internal/image"
	"ingot/internal/sim/guest"
)

// fakeChef is a program in Chef's place: it reads its configuration as Ruby, as Chef does, and shows what it was given.
const fakeChef = `#!/bin/sh
echo "$(basename "$0") $*"
while [ $# -gt 0 ]; do
  case $1 in
  -c) config=$2 ;;
  -j) echo "attributes: $(tr -d ' \n' <"$2")" ;;
  esac
  shift
done
ruby -e 'class C; def method_missing(n, *a); puts "#{n} = #{a.map { |x| x.inspect }.join(",")}"; end; end; C.new.instance_eval(File.read(ARGV[0]))' "$config"
dir=$(dirname "$config")
for f in encrypted_data_bag_secret validation.pem; do [ -e "$dir/$f" ] && echo "$f: $(cat "$dir/$f") $(stat -c %a "$dir/$f")"; done
[ -d "$dir/cookbooks-0" ] && (cd "$dir" && find . -name '*.rb' -path '*cookbooks*' | sort)
echo "ran" >>"$HOME/trace"
[ -e "$HOME/fail" ] && { echo "FATAL: no such recipe" ; exit 1; }
exit 0
`

// chefGuest is a Linux guest with Chef, knife and sudo of our own in front of PATH.
func chefGuest(t *testing.T) *sshGuest {
	t.Helper()
	needs(t, "ruby")
	g := newSSHGuest(t)
	bin := t.TempDir()
	for _, name := range []string{"chef-solo", "chef-client", "cinc-solo"} {
		write(t, bin+"/"+name, fakeChef, 0o755)
	}
	write(t, bin+"/knife", "#!/bin/sh\necho \"knife $*\"\n[ -e \"$HOME/noknife\" ] && { echo 'ERROR: 403' >&2; exit 1; }\ngrep -q chef_server_url \"$6\"\n", 0o755)
	write(t, bin+"/sudo", "#!/bin/sh\n[ \"$1\" = -n ] && shift\necho \"sudo $(basename \"$1\")\"\nexec \"$@\"\n", 0o755)
	write(t, bin+"/curl", "#!/bin/sh\necho \"echo from $2 \\$*\"\n", 0o755)
	g.SetOptions(func(o *sshtest.Options) { o.Path = []string{bin} })
	return g
}

func cookbooks(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/books/desk/recipes/default.rb", "# nothing\n", 0o600)
	write(t, dir+"/roles/r.json", "{}", 0o600)
	write(t, dir+"/bags/b/i.json", "{}", 0o600)
	write(t, dir+"/envs/e.json", "{}", 0o600)
	write(t, dir+"/secret", "test-secret-not-real", 0o600)
	write(t, dir+"/validation.pem", "test-secret-not-real-key", 0o600)
	write(t, dir+"/mine.rb", "mine \"{{.NodeName}} {{.ServerUrl}}\"\n", 0o600)
	write(t, dir+"/solo.rb", "cookbook_path [{{.CookbookPaths}}]\n{{if .HasRolesPath}}role_path \"{{.RolesPath}}\"{{end}}\n", 0o600)
	return dir
}

func TestChefSolo(t *testing.T) {
	t.Parallel()
	dir := cookbooks(t)
	for name, c := range map[string]struct {
		p    ChefSolo
		want []string // regular expressions of the output
		not  string
		fail string
	}{
		"cookbooks": {ChefSolo{CookbookPaths: []string{dir + "/books"}, chefCommon: chefCommon{RunList: []string{"recipe[desk]"}}}, []string{`from https://omnitruck.chef.io/install.sh`, `sudo chef-solo\n`, `chef-solo --no-color -c \S*/solo.rb -j \S*/node.json`,
			`attributes: {"run_list":\["recipe\[desk\]"\]}`, `chef_license = "accept-silent"`, `cookbook_path = \["/.*/cookbooks-0"\]`, `\./cookbooks-0/desk/recipes/default.rb`}, "role_path", ""},
		"version":         {ChefSolo{chefCommon: chefCommon{Version: "18.4.12"}}, []string{"from https://omnitruck.chef.io/install.sh -v 18.4.12"}, "", ""},
		"skip_install":    {ChefSolo{chefCommon: chefCommon{SkipInstall: true}}, []string{"chef-solo --no-color"}, "from https|chef_license", ""},
		"prevent_sudo":    {ChefSolo{chefCommon: chefCommon{PreventSudo: true}}, []string{"chef-solo --no-color"}, "sudo chef", ""},
		"cinc":            {ChefSolo{chefCommon: chefCommon{Product: "cinc"}}, []string{"from https://omnitruck.cinc.sh/install.sh", "cinc-solo --no-color"}, "chef_license", ""},
		"all the folders": {ChefSolo{CookbookPaths: []string{dir + "/books"}, RemoteCookbookPaths: []string{"/opt/more"}, RolesPath: dir + "/roles", DataBagsPath: dir + "/bags", EnvironmentsPath: dir + "/envs", chefCommon: chefCommon{ChefEnvironment: "e"}}, []string{`cookbook_path = \["/opt/more", "/.*/cookbooks-0"\]`, `role_path = "/.*/roles"`, `data_bag_path = "/.*/data_bags"`, `environment_path = "/.*/environments"`, `environment = "e"`}, "", ""},
		"data bag secret": {ChefSolo{chefCommon: chefCommon{EncryptedDataBagSecretPath: dir + "/secret"}}, []string{"encrypted_data_bag_secret: test-secret-not-real 600"}, "", ""},
		"json":            {ChefSolo{chefCommon: chefCommon{JSON: map[string]any{"a": map[string]any{"b": 1.0}, "run_list": []any{"x"}}, RunList: []string{"y"}}}, []string{`attributes: {"a":{"b":1},"run_list":\["y"\]}`}, "", ""},
		"json_string":     {ChefSolo{JSONString: `{"a": "b"}`}, []string{`attributes: {"a":"b"}`}, "", ""},
		"license":         {ChefSolo{chefCommon: chefCommon{ChefLicense: "accept-no-persist"}}, []string{`chef_license = "accept-no-persist"`}, "", ""},
		"config_template": {ChefSolo{CookbookPaths: []string{dir + "/books"}, RolesPath: dir + "/roles", chefCommon: chefCommon{ConfigTemplate: dir + "/solo.rb"}}, []string{`cookbook_path = \["/.*cookbooks-0"\]`, "role_path = "}, "chef_license", ""},
		"execute_command": {ChefSolo{chefCommon: chefCommon{ExecuteCommand: "{{if .Sudo}}sudo {{end}}env chef-solo -l info -c {{.ConfigPath}} -j {{.JsonPath}}"}}, []string{"sudo env", "chef-solo -l info"}, "", ""},
		"install_command": {ChefSolo{chefCommon: chefCommon{InstallCommand: "echo mine {{.Version}} {{.Sudo}}", Version: "1"}}, []string{"mine 1 true"}, "chef_license", ""},
		"no installation": {ChefSolo{chefCommon: chefCommon{InstallCommand: "echo no way >&2; exit 6"}}, []string{"no way"}, "--no-color", "cannot install Chef: it exited with code 6: no way; the guest must reach omnitruck.chef.io"},
		"no program":      {ChefSolo{chefCommon: chefCommon{SkipInstall: true, ExecuteCommand: "chef-nothing"}}, nil, "", "there is no chef-solo in the guest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := chefGuest(t)
			c.p.StagingDirectory = g.Home + "/staging"
			out, err := g.run("step-1", &c.p)
			if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Fatalf("%v\n%s", err, out)
			}
			out = strings.ReplaceAll(out, "stdout:", "")
			for _, w := range c.want {
				if !regexp.MustCompile(w).MatchString(out) {
					t.Errorf("no %s in\n%s", w, out)
				}
			}
			if c.not != "" && regexp.MustCompile(c.not).MatchString(out) {
				t.Errorf("%s in\n%s", c.not, out)
			}
			if _, err := os.Stat(g.Home + "/staging/encrypted_data_bag_secret"); !os.IsNotExist(err) {
				t.Errorf("the secret is left: %v", err)
			}
		})
	}
}

func TestChefClient(t *testing.T) {
	t.Parallel()
	dir := cookbooks(t)
	for name, c := range map[string]struct {
		p    ChefClient
		flag string // a file that lets something fail
		want []string
		not  string
		fail []string
	}{
		"standard": {ChefClient{ValidationKeyPath: dir + "/validation.pem", NodeName: "desk-1"}, "", []string{"sudo chef-client\n", `chef-client --no-color -c \S*/client.rb -j \S*/first-boot.json`, `chef_server_url = "https://chef.example.com/organizations/o"`, `validation_client_name = "chef-validator"`, `validation.pem: test-secret-not-real-key 600`,
			`node_name = "desk-1"`, `client_key = "/.*/client.pem"`, `knife node delete desk-1 -y -c \S*/knife.rb`, `knife client delete desk-1`}, "", nil},
		"a name of its own": {ChefClient{}, "", []string{`node_name = "packer-[a-z0-9]{20,}"`, "knife client delete packer-[a-z0-9]{20,}"}, "", nil},
		"every word": {ChefClient{ClientKey: "/etc/k.pem", ValidationClientName: "v", PolicyName: "p", PolicyGroup: "g", RubygemsURL: "https://gems.example.com", SSLVerifyMode: "verify_none", chefCommon: chefCommon{ChefEnvironment: "e", TrustedCertsDir: "/etc/certs", EncryptedDataBagSecretPath: dir + "/secret"}}, "", []string{`client_key = "/etc/k.pem"`, `validation_client_name = "v"`,
			`policy_name = "p"`, `policy_group = "g"`, `rubygems_url = "https://gems.example.com"`, `ssl_verify_mode = :verify_none`, `environment = "e"`, `trusted_certs_dir = "/etc/certs"`, "encrypted_data_bag_secret: test-secret-not-real 600"}, "", nil},
		"keep node":       {ChefClient{SkipCleanNode: true}, "", []string{"knife client delete"}, "knife node", nil},
		"keep client":     {ChefClient{SkipCleanClient: true}, "", []string{"knife node delete"}, "knife client", nil},
		"knife_command":   {ChefClient{KnifeCommand: "echo mine {{.Args}} {{.Flags}}"}, "", []string{"mine node delete packer-"}, "knife node", nil},
		"json_string":     {ChefClient{JSONString: `{"a": 1}`, chefCommon: chefCommon{RunList: []string{"x"}}}, "", []string{`attributes: {"a":1,"run_list":\["x"\]}`}, "", nil},
		"config_template": {ChefClient{NodeName: "n", chefCommon: chefCommon{ConfigTemplate: dir + "/mine.rb"}}, "", []string{`mine = "n https://chef`, "knife node delete n"}, "chef_license", nil},
		"a recipe fails":  {ChefClient{NodeName: "n"}, "fail", []string{"knife node delete n", "knife client delete n"}, "", []string{"cannot run chef-client: it exited with code 1: FATAL: no such recipe"}},
		"knife fails":     {ChefClient{NodeName: "n"}, "noknife", []string{"knife node", "knife client"}, "", []string{"cannot remove node n from o: it exited with code 1: ERROR: 403; remove it by hand: knife node delete n, or set skip_clean_node", "client n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := chefGuest(t)
			if c.flag != "" {
				write(t, filepath.Join(g.Home, c.flag), "", 0o600)
			}
			c.p.ServerURL, c.p.StagingDirectory = "https://chef.example.com/organizations/o", g.Home+"/staging"
			out, err := g.run("step-1", &c.p)
			if (err == nil) != (len(c.fail) == 0) {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, f := range c.fail {
				if !strings.Contains(err.Error(), f) {
					t.Errorf("%v, want %s", err, f)
				}
			}
			out = strings.ReplaceAll(out, "stdout:", "")
			for _, w := range c.want {
				if !regexp.MustCompile(w).MatchString(out) {
					t.Errorf("no %s in\n%s", w, out)
				}
			}
			if c.not != "" && regexp.MustCompile(c.not).MatchString(out) {
				t.Errorf("%s in\n%s", c.not, out)
			}
			if _, err := os.Stat(g.Home + "/staging"); !os.IsNotExist(err) {
				t.Errorf("the staging directory is left: %v", err)
			}
		})
	}
	g := chefGuest(t)
	p := &ChefClient{ServerURL: "https://chef.example.com", SkipCleanStagingDirectory: true, chefCommon: chefCommon{StagingDirectory: g.Home + "/staging"}}
	if _, err := g.run("step-1", p); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(g.Home + "/staging/client.rb"); err != nil {
		t.Errorf("skip_clean_staging_directory: %v", err)
	}
}

// TestChefResumed: a process that dies follows what it began: Chef runs once, and the node's name stays.
func TestChefResumed(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"from https", "attributes:", "knife node"} {
		g := chefGuest(t)
		p := &ChefClient{ServerURL: "https://chef.example.com", chefCommon: chefCommon{StagingDirectory: g.Home + "/staging", RunList: []string{"x"}}}
		ctx, die := context.WithCancelCause(t.Context())
		g.hear = func(line string) {
			if strings.HasPrefix(line, at) {
				die(errors.New("killed"))
			}
		}
		if err := p.Run(ctx, g.env("step-1")); err == nil {
			t.Errorf("%s: it was not killed", at)
		}
		g.hear = nil
		if out, err := g.run("step-1", p); err != nil {
			t.Errorf("%s: %v\n%s", at, err, out)
		}
		if b, err := os.ReadFile(g.Home + "/trace"); string(b) != "ran\n" {
			t.Errorf("%s: %q %v", at, b, err)
		}
	}
}

// TestChefWindows: the commands and paths of Windows, the user, and a restart that a recipe asks for.
func TestChefWindows(t *testing.T) {
	dir := cookbooks(t)
	rules := []guest.Rule{{Match: `^powershell.exe .*omnitruck.*install -version 18`, Stdout: []string{"installed"}}, {Match: `chef-solo.bat`, ExitCode: 37, Times: 1, Stdout: []string{"first"}}, {Match: `chef-solo.bat`, Stdout: []string{"second"}}, {Match: "cinc-client.bat"}, {Match: "knife.bat"}}
	g := newWindowsGuest(t, func(c *guest.Config) { c.Rules = rules })
	p := &ChefSolo{CookbookPaths: []string{dir + "/books"}, chefCommon: chefCommon{Version: "18", ElevatedUser: "packer", ElevatedPassword: image.Hidden("p", guestPassword), EncryptedDataBagSecretPath: dir + "/secret"}}
	out, err := g.run("step-1", p)
	if err != nil || out != "stdout:installed\nstdout:first\nstdout:second" || g.count(restartCall) != 1 {
		t.Errorf("%v\n%s", err, g)
	}
	last := g.scripts[len(g.scripts)-1]
	if want := `C:\opscode\chef\bin\chef-solo.bat --no-color -c C:/Windows/Temp/packer-chef-solo/solo.rb -j C:/Windows/Temp/packer-chef-solo/node.json`; !strings.Contains(last.Text, want) || last.User != "packer" || last.Secret != guestPassword || last.Shell != "cmd" {
		t.Errorf("%+v", last)
	}
	files := strings.Join(g.disk.Files(), "\n")
	if !strings.Contains(files, `C:\Windows\Temp\packer-chef-solo\cookbooks-0\desk\recipes\default.rb`) || strings.Contains(files, dataBagSecret) {
		t.Errorf("%s", files)
	}
	c := &ChefClient{ServerURL: "https://chef.example.com", NodeName: "n", chefCommon: chefCommon{Product: "cinc", SkipInstall: true, ElevatedUser: "SYSTEM"}}
	if _, err := g.run("step-2", c); err != nil {
		t.Errorf("%v\n%s", err, g)
	}
	last = g.scripts[len(g.scripts)-1]
	if !strings.Contains(last.Text, `C:\cinc-project\cinc\bin\knife.bat client delete n -y -c C:/Windows/Temp/packer-chef-client/knife.rb`) || last.User != "SYSTEM" || strings.Contains(strings.Join(g.disk.Files(), "\n"), "packer-chef-client") {
		t.Errorf("%+v\n%v", last, g.disk.Files())
	}
	// A recipe that always wants one.
	g = newWindowsGuest(t, func(c *guest.Config) { c.Rules = []guest.Rule{{Match: `chef-solo.bat`, ExitCode: 37}} })
	if _, err := g.run("step-1", &ChefSolo{chefCommon: chefCommon{SkipInstall: true}}); err == nil || !strings.Contains(err.Error(), "after 5 restarts a recipe still wants one") {
		t.Errorf("%v\n%s", err, g)
	}
}

func TestRuby(t *testing.T) {
	needs(t, "ruby")
	const hard = "a\\b\"c#{1+1}\n'd'"
	out, err := exec.Command("ruby", "-e", "print "+ruby(hard)).Output()
	if err != nil || string(out) != hard {
		t.Errorf("%q %v", out, err)
	}
}
