package template

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/provisioner"
)

var update = flag.Bool("update", false, "write golden files anew")

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// write puts files into a folder of their own.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sound is a source without mistakes.
const sound = `
source "azure-arm" "w" {
  image_publisher = "MicrosoftWindowsDesktop"
  image_offer     = "windows-11"
  image_sku       = "win11-25h2-avd"
  os_type         = "Windows"
  location        = "West Europe"
  vm_size         = "Standard_D2s_v5"
  communicator    = "winrm"
  winrm_use_ssl   = true
  shared_image_gallery_destination {
    resource_group = "rg"
    gallery_name   = "g"
    image_name     = "i"
    image_version  = "1.2.3"
  }
%s
}
build {
  sources = ["source.azure-arm.w"]
%s
}
`

func load(t testing.TB, text string, o Options) (*Result, diag.List) {
	t.Helper()
	o.Now = now
	dir := write(t, map[string]string{"t.pkr.hcl": text, "script.ps1": "exit 0"})
	if o.Cwd == "" {
		o.Cwd = dir
	}
	return Load(filepath.Join(dir, "t.pkr.hcl"), o)
}

func TestRules(t *testing.T) {
	for _, c := range []struct{ source, build, want string }{
		{`vm_sise = "x"`, ``, `unknown option "vm_sise"`},
		{`os_disk_size_gb = "big"`, ``, "not a whole number"},
		{`build_resource_group_name = "rg2"`, ``, "exclude one another"},
		{`custom_managed_image_name = "x"`, ``, "2 images to start from"},
		{`image_url = "https://x/y.vhd"`, ``, "2 images to start from"},
		{`managed_image_name = "m"`, ``, "go together"},
		{`disk_caching_type = "Fast"`, ``, `disk_caching_type is "Fast"`},
		{`virtual_network_subnet_name = "s"`, ``, "need virtual_network_name"},
		{"virtual_network_name = \"v\"\n allowed_inbound_ip_addresses = [\"10.0.0.1\"]", ``, "a network made for the build"},
		{`allowed_inbound_ip_addresses = ["home"]`, ``, "no address"},
		{`public_ip_sku = "Basic"`, ``, "retired"},
		{`winrm_password = "short"`, ``, "too weak"},
		{`security_encryption_type = "VMGuestStateOnly"`, ``, "for a confidential VM only"},
		{`shared_gallery_image_version_end_of_life_date = "soon"`, ``, "no date"},
		{`custom_resource_build_prefix = "much-too-long-a-prefix"`, ``, "custom_resource_build_prefix"},
		{`build_key_vault_name = "kv"`, ``, "must be in the group that is built in"},
		{`custom_data_file = "nope"`, ``, "cannot read custom_data_file"},
		{`azure_tags = "x"`, ``, "not a map of texts"},
		{``, `provisioner "powershel" {}`, "not one that this version"},
		{``, "provisioner \"powershell\" {\n inline = [\"a\"]\n script = \"script.ps1\"\n}", "script"},
		{``, `provisioner "powershell" { script = "nope.ps1" }`, "cannot find nope.ps1"},
		{``, `provisioner "powershell" { inlin = ["a"] }`, `unknown option "inlin"`},
		{``, "provisioner \"powershell\" {\n inline = [\"a\"]\n pause_before = \"soon\"\n}", "duration"},
		{``, `post-processor "vagrant" {}`, "post-processor"},
		{``, `provisioner "powershell" { inline = [var.nope] }`, `variable "nope" is not declared`},
		{``, `provisioner "powershell" { inline = [nope()] }`, "Call to unknown function"},
	} {
		text := fmt.Sprintf(sound, c.source, c.build)
		_, problems := load(t, text, Options{})
		found := false
		for _, p := range problems {
			if p.Severity == diag.Error && strings.Contains(p.Summary+" "+p.Detail, c.want) {
				found = p.Pos.Line > 0 && p.Pos.File != ""
			}
		}
		if !found {
			t.Errorf("%s%s\n got %+v\nwant %q with a place", c.source, c.build, problems, c.want)
		}
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, problems := load(t, `
variable "a" { type = string }
variable "b" {
  default = 1
  defalt  = 2
}
locals {
  x = local.y
  y = local.x
}
source "azure-arm" "w" {
  os_type = "Windos"
  vm_sise = "x"
}
build {
  sources = ["source.azure-arm.w", "source.azure-arm.none"]
  provisioner "shel" {}
}
thing {}
`, Options{Vars: []string{"c=1"}})
	for _, want := range []string{`variable "a" has no value`, `unknown option "defalt"`, "depends on itself", `os_type is "Windos"`, `unknown option "vm_sise"`, "names no image", "says nowhere where", "azure-arm.none", `provisioner "shel"`, `unknown block "thing"`, `-var sets "c"`} {
		if !slices.ContainsFunc(problems, func(p diag.Problem) bool { return strings.Contains(p.Summary, want) }) {
			t.Errorf("not reported: %s", want)
		}
	}
	if t.Failed() {
		diag.Render(os.Stderr, problems, nil, false)
	}
}

func TestPrecedence(t *testing.T) {
	text := "variable \"x\" { default = \"default\" }\n" + fmt.Sprintf(sound, "azure_tags = { x = var.x }", "")
	for _, c := range []struct {
		files map[string]string
		o     Options
		want  string
	}{
		{nil, Options{}, "default"},
		{nil, Options{Env: []string{"PKR_VAR_x=env"}}, "env"},
		{map[string]string{"a.auto.pkrvars.hcl": `x = "hcl"`}, Options{Env: []string{"PKR_VAR_x=env"}}, "hcl"},
		{map[string]string{"a.auto.pkrvars.hcl": `x = "hcl"`, "a.auto.pkrvars.json": `{"x": "json"}`}, Options{}, "json"},
		{map[string]string{"a.auto.pkrvars.json": `{"x": "json"}`, "f.pkrvars.hcl": `x = "file"`}, Options{VarFiles: []string{"f.pkrvars.hcl"}}, "file"},
		{map[string]string{"f.pkrvars.hcl": `x = "file"`}, Options{VarFiles: []string{"f.pkrvars.hcl"}, Vars: []string{"x=one", "x=two"}}, "two"},
	} {
		files := map[string]string{"t.pkr.hcl": text}
		for k, v := range c.files {
			files[k] = v
		}
		c.o.Cwd = write(t, files)
		c.o.Now = now
		r, problems := Load(".", c.o)
		if problems.HasErrors() || len(r.Images) != 1 || r.Images[0].Tags["x"] != c.want {
			t.Errorf("want %s, got %v %v", c.want, r.Images, problems)
		}
	}
}

func TestSensitiveValues(t *testing.T) {
	const marker = "Marker-not-a-real-secret"
	text := "variable \"s\" {\n sensitive = true\n}\nlocals { t = \"x-${var.s}\" }\n" + fmt.Sprintf(sound, "user_data = base64encode(var.s)", `
  provisioner "powershell" {
    environment_vars = ["PLAIN=1", "SECRET=${local.t}"]
    inline           = ["echo ${var.s}", "echo plain"]
  }`)
	r, problems := load(t, text, Options{Vars: []string{"s=" + marker}})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	raw, err := json.Marshal(r.Images[0])
	if err != nil {
		t.Fatal(err)
	}
	settings, err := provisioner.Encode(r.Images[0].Provision[0].Settings.(provisioner.Settings))
	if err != nil {
		t.Fatal(err)
	}
	all := string(raw) + string(settings) + fmt.Sprintf("%v %+v %#v %s", r.Images[0].Machine.UserData, r.Images[0].Machine.UserData, r.Images[0].Machine.UserData, r.Images[0].Provision[0].Settings)
	if strings.Contains(all, marker) || strings.Contains(all, "echo "+marker) {
		t.Errorf("the secret is seen: %s", all)
	}
	if !strings.Contains(string(settings), "PLAIN=1") || !strings.Contains(string(settings), "echo plain") {
		t.Errorf("what is not secret is hidden: %s", settings)
	}
	back, err := provisioner.Decode("powershell", settings, func(name string) (string, bool) { v, ok := r.Secrets[name]; return v, ok })
	if err != nil || back.(*provisioner.PowerShell).Inline[0].Reveal() != "echo "+marker {
		t.Errorf("%v %v", back, err)
	}
	if !slices.Contains(r.SensitiveValues, marker) || !slices.Equal(r.NeedVars, []string{"s"}) {
		t.Error(r.SensitiveValues, r.NeedVars)
	}
	_, problems = load(t, "variable \"s\" {\n sensitive = true\n default = \"x1234\"\n}\n"+fmt.Sprintf(sound, "azure_tags = { a = var.s }", ""), Options{})
	if !problems.HasErrors() || !strings.Contains(problems[0].Summary, "cannot hold a sensitive value") {
		t.Error(problems)
	}
}

func TestExpressions(t *testing.T) {
	for _, c := range [][2]string{
		{`upper("a")`, "A"}, {`length("äb")`, "2"}, {`length([1, 2, 3])`, "3"}, {`join("-", ["a", "b"])`, "a-b"}, {`formatdate("YYYY-MM-DD", timestamp())`, "2026-11-23"},
		{`legacy_isotime("2006")`, "2026"}, {`"{{isotime ` + "`2006-01`" + `}}"`, "2026-11"}, {`replace("a.b", ".", "-")`, "a-b"}, {`regex_replace("a1b2", "[0-9]", "x")`, "axbx"}, {`base64encode("x")`, "eA=="},
		{`try(var.nope, "fallback")`, "fallback"}, {`can(var.nope) ? "yes" : "no"`, "no"}, {`jsonencode({a = [1]})`, `{"a":[1]}`}, {`cidrsubnet("10.0.0.0/16", 8, 2)`, "10.0.2.0/24"},
		{`startswith("abc", "ab")`, "true"}, {`strcontains("abc", "z")`, "false"}, {`alltrue([true, false])`, "false"}, {`anytrue([true, false])`, "true"}, {`source.name`, "w"}, {`source.type`, "azure-arm"},
		{`[for s in ["a", "b"] : upper(s)][1]`, "B"}, {`basename("/a/b.txt")`, "b.txt"}, {`sha256("")`, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}, {`local.two`, "2"}, {`element(["a","b"], 3)`, "b"},
	} {
		text := "locals {\n two = local.one + 1\n one = 1\n}\n" + fmt.Sprintf(sound, "azure_tags = { x = "+c[0]+" }", "")
		r, problems := load(t, text, Options{})
		if problems.HasErrors() || len(r.Images) != 1 || r.Images[0].Tags["x"] != c[1] {
			t.Errorf("%s: %v", c[0], problems)
			if len(r.Images) == 1 {
				t.Errorf("%s is %q, want %q", c[0], r.Images[0].Tags["x"], c[1])
			}
		}
	}
}

func TestVariables(t *testing.T) {
	text := `
variable "o" {
  type = object({ a = string, b = optional(number, 7) })
}
variable "n" {
  type = number
  validation {
    condition     = var.n < 10
    error_message = "The number must be below ten."
  }
}
` + fmt.Sprintf(sound, `azure_tags = { x = "${var.o.a}${var.o.b}${var.n + 1}" }`, "")
	r, problems := load(t, text, Options{Vars: []string{`o={ a = "q" }`, "n=3"}})
	if problems.HasErrors() || r.Images[0].Tags["x"] != "q74" {
		t.Error(problems, r.Images)
	}
	_, problems = load(t, text, Options{Vars: []string{`o={ a = "q" }`, "n=30"}})
	if !slices.ContainsFunc(problems, func(p diag.Problem) bool { return strings.Contains(p.Summary, "must be below ten") }) {
		t.Error(problems)
	}
}

func TestProvisionersOfOneSource(t *testing.T) {
	text := fmt.Sprintf(strings.Replace(sound, `sources = ["source.azure-arm.w"]`, `name = "b"
  sources = ["source.azure-arm.w"]
  source "azure-arm.w" {
    name         = "second"
    license_type = "Windows_Client"
  }`, 1), "", `
  provisioner "powershell" {
    only   = ["azure-arm.second"]
    inline = ["only"]
  }
  provisioner "powershell" {
    except = ["azure-arm.second"]
    inline = ["except"]
  }
  provisioner "powershell" {
    inline       = ["both"]
    pause_before = "5s"
    max_retries  = 2
    override = {
      "second" = { inline = ["overridden"] }
    }
  }`)
	r, problems := load(t, text, Options{})
	if problems.HasErrors() || len(r.Images) != 2 {
		t.Fatal(problems, r.Images)
	}
	says := func(i *image.Image) (out []string) {
		for _, p := range i.Provision {
			for _, l := range p.Settings.(*provisioner.PowerShell).Inline {
				out = append(out, l.Reveal())
			}
		}
		return out
	}
	first, second := r.Images[0], r.Images[1]
	if first.Name != "b.azure-arm.w" || second.Name != "b.azure-arm.second" || second.Machine.LicenseType != "Windows_Client" || first.Machine.LicenseType != "" {
		t.Errorf("%s %s %s", first.Name, second.Name, second.Machine.LicenseType)
	}
	if !slices.Equal(says(first), []string{"except", "both"}) || !slices.Equal(says(second), []string{"only", "overridden"}) {
		t.Error(says(first), says(second))
	}
	if p := first.Provision[1]; p.PauseBefore != 5*time.Second || p.MaxRetries != 2 {
		t.Errorf("%+v", p)
	}
	r, _ = load(t, text, Options{Only: []string{"*.second"}})
	if len(r.Images) != 1 || r.Images[0].Name != "b.azure-arm.second" {
		t.Error(r.Images)
	}
}

// TestGolden holds the model of whole templates; -update writes it anew.
func TestGolden(t *testing.T) {
	corpus := "../../../shared/corpus/packer/windows_custom_image"
	for name, c := range map[string]struct {
		path string
		vars []string
	}{
		"windows-11-avd": {"../../examples/windows-11-avd", nil},
		"windows_custom_image": {corpus, []string{"rgName=rg", "image_name=i", "build_key_vault_name=kv", "build_revision=1", "disk_encryption_set_id=", "image_offer=WindowsServer", "image_publisher=MicrosoftWindowsServer",
			"image_sku=2022-datacenter-g2", "location=westeurope", "vmSize=Standard_DS3_V2", "subscription_id=s", "tenant_id=t", "client_id=c", "client_secret=test-secret-not-real"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(c.path); err != nil {
				t.Skipf("%s is not there: it is kept beside the project, not in it", c.path)
			}
			r, problems := Load(c.path, Options{Vars: c.vars, Now: now})
			if problems.HasErrors() {
				t.Fatal(problems)
			}
			var all []any
			for _, i := range r.Images {
				all = append(all, i, i.Source, i.Targets)
			}
			raw, err := json.MarshalIndent(all, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			cwd, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(raw), filepath.Dir(filepath.Dir(filepath.Dir(cwd))), "PARENT")
			text = strings.ReplaceAll(text, filepath.Dir(filepath.Dir(cwd)), "PROJECT")
			text = strings.ReplaceAll(text, "PARENT/"+filepath.Base(filepath.Dir(filepath.Dir(cwd))), "PROJECT")
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if text+"\n" != string(want) {
				t.Errorf("the model has changed; if that is right: go test ./internal/template -update\n%s", text)
			}
			if strings.Contains(text, "test-secret") {
				t.Error("a secret is in the golden file")
			}
		})
	}
}
