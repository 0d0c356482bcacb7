package template

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// tag evaluates an expression where a tag's value stands.
func tag(t *testing.T, expression, before string, o Options) (string, diag.List) {
	t.Helper()
	r, l := load(t, before+marketplace(nil, "azure_tags = {\nx = "+expression+"\n}"), o)
	if l.HasErrors() || len(r.Images) != 1 {
		return "", l
	}
	return r.Images[0].Tags["x"], l
}

// TestFunctions has what is not cty's own, and what differs from cty's own.
func TestFunctions(t *testing.T) {
	for _, c := range [][2]string{
		{`index(["a", "b"], "b")`, "1"}, {`convert("3", number) + 1`, "4"}, {`convert(["a", "a"], set(string)) == toset ? 1 : 0`, ""}, {`sum([1, 2.5])`, "3.5"}, {`file("script.ps1")`, "exit 0"},
		{`filebase64("script.ps1")`, base64.StdEncoding.EncodeToString([]byte("exit 0"))}, {`fileexists("nope")`, "false"}, {`fileexists("script.ps1")`, "true"}, {`join(",", fileset(".", "*.ps1"))`, "script.ps1"},
		{`file("${path.root}/script.ps1")`, "exit 0"}, {`basename(abspath("x/../y"))`, "y"}, {`uuidv5("dns", "example.com")`, "cfbff0d1-9375-5685-968c-48ce8b15ae17"}, {`yamldecode("a: 1").a`, "1"},
		{`split(",", "a,b")[1]`, "b"}, {`coalesce("", "x")`, "x"}, {`lookup({ a = 1 }, "b", 2)`, "2"}, {`timeadd("2026-11-23T00:00:00Z", "1h")`, "2026-11-23T01:00:00Z"}, {`packer.version != ""`, "true"},
		{`"{{clean_resource_name ` + "`a b_`" + `}}"`, "a-b"}, {`"{{ .Vars }} {{ nope }}"`, "{{ .Vars }} {{ nope }}"}, {`"{{timestamp}}"`, "1795435200"}, {`md5("a")`, "0cc175b9c0f1b6a831c399e269772661"}, {`strrev("abc")`, "cba"},
	} {
		got, l := tag(t, c[0], "", Options{})
		if c[1] == "" {
			if !l.HasErrors() {
				t.Errorf("%s is accepted", c[0])
			}
			continue
		}
		if got != c[1] {
			t.Errorf("%s is %q, want %q: %v", c[0], got, c[1], l)
		}
	}
	for name := range refused() {
		if _, l := tag(t, name+`("a", "b")`, "", Options{}); len(l) != 1 || !strings.Contains(l[0].Detail, refused()[name]) {
			t.Errorf("%s: %v", name, l)
		}
	}
	for _, bad := range []string{`index(["a"], "b")`, `index("a", "b")`, `sum([])`, `file("nope")`, `base64decode("?")`} {
		if _, l := tag(t, bad, "", Options{}); !l.HasErrors() || l[0].Pos.Line == 0 {
			t.Errorf("%s: %v", bad, l)
		}
	}
	if got, l := tag(t, "var.e", "variable \"e\" {\ndefault = env(\"HERE\")\n}\n", Options{Env: []string{"HERE=x"}}); got != "x" {
		t.Errorf("env: %q %v", got, l)
	}
}

func TestFilesAreFoundFromBothPlaces(t *testing.T) {
	root := write(t, map[string]string{"here.txt": "working directory", "both.txt": "working directory"})
	if err := os.Mkdir(filepath.Join(root, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(marketplace(nil, `azure_tags = {
a = file("beside.txt")
b = file("here.txt")
c = file("both.txt")
d = file("${path.root}/beside.txt")
}`), "sources = ", "provisioner \"file\" {\nsource = \"beside.txt\"\ndestination = \"C:/\"\n}\nprovisioner \"file\" {\nsource = \"both.txt\"\ndestination = \"C:/\"\n}\nsources = ", 1)
	for name, s := range map[string]string{"t.pkr.hcl": text, "beside.txt": "template", "both.txt": "template"} {
		if err := os.WriteFile(filepath.Join(root, "dir", name), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, l := Load("dir", Options{Cwd: root, Now: now})
	if len(l) != 0 {
		t.Fatal(l)
	}
	for k, want := range map[string]string{"a": "template", "b": "working directory", "c": "template", "d": "template"} {
		if got := r.Images[0].Tags[k]; got != want {
			t.Errorf("%s is from the %s, want %s", k, got, want)
		}
	}
	// Provisioners' files start at the working directory.
	for i, want := range []string{filepath.Join(root, "dir", "beside.txt"), filepath.Join(root, "both.txt")} {
		if f := r.Images[0].Provision[i].Settings.(*provisioner.File); f.Source != want {
			t.Errorf("%s, want %s", f.Source, want)
		}
	}
}

func TestLocals(t *testing.T) {
	got, l := tag(t, `local.a`, "locals {\na = \"${local[\"b\"]}-${local.c}\"\nb = 1\n}\nlocal \"c\" {\nexpression = local.b + 1\n}\n", Options{})
	if got != "1-2" {
		t.Errorf("%q %v", got, l)
	}
	for name, text := range map[string]string{
		"itself":    "locals {\na = local.a\n}\n",
		"three":     "locals {\na = local.b\nb = local.c\nc = local.a\n}\n",
		"and a way": "locals {\nz = local.a\na = local.b\nb = \"${local.a}\"\n}\n",
	} {
		_, l := tag(t, `local.a`, text, Options{})
		if p, ok := of(l, "depends on itself"); !ok || len(l) != 1 || p.Pos.Line == 0 || !strings.Contains(p.Summary, "local \"a\"") {
			t.Errorf("%s: %v", name, l)
		}
	}
}

// BenchmarkManyLocals: the cost grows with their number, not with its square (it took 8 s for 5,000 once).
func BenchmarkManyLocals(b *testing.B) {
	for _, n := range []int{100, 1000, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var text strings.Builder
			text.WriteString("locals {\n")
			for i := range n {
				fmt.Fprintf(&text, "a%d = local.a%d\n", i, i+1)
			}
			fmt.Fprintf(&text, "a%d = 1\n}\n", n)
			dir := write(b, map[string]string{"t.pkr.hcl": text.String() + marketplace(nil)})
			for b.Loop() {
				if _, l := Load(dir, Options{Cwd: dir, Now: now}); len(l) != 0 {
					b.Fatal(l)
				}
			}
		})
	}
}

func TestForm(t *testing.T) {
	ok := marketplace(nil)
	for _, c := range []struct{ text, want string }{
		{"packer {\nrequired_version = \">= 1.10, < 2\"\nrequired_plugins {\nazure = {\nversion = \"~> 2.0\"\nsource = \"github.com/hashicorp/azure\"\n}\n}\n}\n" + ok, ""},
		{"packer {\nrequired_version = \"new\"\n}\n" + ok, "no version constraint"},
		{"packer {\nrequired_plugins {\nazure = {\nversion = \"new\"\nsource = \"s\"\n}\n}\n}\n" + ok, "no version constraint"},
		{"packer {\nrequired_plugins {\nazure = {\nversion = \"1\"\n}\n}\n}\n" + ok, "has no source"},
		{"packer {\nrequired_plugins {\nazure = \"1\"\n}\n}\n" + ok, "not an object"},
		{"packer {\nrequired_versions = \"1\"\n}\n" + ok, `unknown option "required_versions"`},
		{"variable \"a\" {\ntype = strin\n}\n" + ok, "Invalid type specification"},
		{"variable \"a\" {\ndefault = 1\n}\nvariable \"a\" {\ndefault = 1\n}\n" + ok, "declared twice"},
		{"variable \"a\" {\ndefault = 1\nvalidation {\ncondition = true\n}\n}\n" + ok, "needs condition and error_message"},
		{"variable \"a\" {\ndefault = 1\nvalidation {\ncondition = \"x\"\nerror_message = \"No.\"\n}\n}\n" + ok, "neither true nor false"},
		{"variable \"a\" {\ndefault = upper(\"a\")\n}\n" + ok, "Call to unknown function"},
		{"variable \"a\" {\nsensitive = 1\n}\n" + ok, "not a truth value"},
		{"variables {\na = 1\n}\n" + ok, ""},
		{"locals {\na = 1\n}\nlocals {\na = 1\n}\n" + ok, "declared twice"},
		{"local \"a\" {}\n" + ok, "no expression"},
		{"data \"azure-keyvaultsecret\" \"a\" {}\n" + ok, "needs vault_name"},
		{"data \"http\" \"a\" {}\n" + ok, `data source "http" is not supported`},
		{"data \"amazon-ami\" \"a\" {}\n" + ok, `data source "amazon-ami" is not supported`},
		{"a = 1\n" + ok, `unknown option "a" in a template`},
		{"source \"azure-arm\" {}\n" + ok, "must have 2 labels"},
		{"source \"azure-arm\" \"w\" {}\n" + ok, "declared twice"},
		{ok + "build {\nsources = [\"azure-arm.w\"]\n}\n", "two builds make an image called azure-arm.w"},
		{"source \"amazon-ebs\" \"a\" {}\nbuild {\nsources = [\"amazon-ebs.a\"]\n}\n", "not for Azure images"},
		{"source \"azure-arm\" \"a\" {}\n", "no build block"},
		{"build {}\n", "the build has no source"},
		{ok + "build {\nname = \"b\"\nsources = [\"azure-arm.w\"]\npost-processors {\npost-processor \"vagrant\" {}\n}\n}\n", "post-processor \"vagrant\""},
		{ok + "build {\nname = \"b\"\nsources = [\"azure-arm.w\"]\nerror-cleanup-provisioner \"powershell\" {\n}\n}\n", "nothing to run"},
		{ok + "build {\nname = \"b\"\nsources = [\"azure-arm.w\"]\nprovisioner \"powershell\" {\ninline = [\"a\"]\ncontinue_on_error = true\n}\n}\n", ""},
		{ok + "build {\nname = \"b\"\nsources = [\"azure-arm.w\"]\nprovisioner \"powershell\" {\ninline = [\"a\"]\nmax_retries = -1\n}\n}\n", "max_retries is negative"},
		{ok + "build {\nname = \"b\"\nsources = [\"azure-arm.w\"]\nprovisioner \"powershell\" {\ninline = [\"a\"]\noverride = 1\n}\n}\n", "not a map of maps"},
		{ok + "build {\nname = \"b\"\nsources = [\"azure-arm.w\"]\nprovisioner \"powershell\" {\ninline = [\"a\"]\noverride = {\nw = {\ninlin = []\n}\n}\n}\n}\n", `unknown option "inlin"`},
		{ok + "build {\nname = \"b\"\nsources = [\"azure-arm.w\"]\nsource \"azure-arm.none\" {}\n}\n", "not declared"},
		{"source \"azure-arm\" \"w\" {\n", "Unclosed configuration block"},
		{strings.Repeat("(", 3000), "nest more than 2000 deep"},
		{"locals {\na = " + strings.Repeat("! ", 3000) + "true\n}\n" + ok, "run of more than 2000 signs"},
		{"# " + strings.Repeat("x", 5<<20) + "\n" + ok, "larger than 4 MiB"},
		{"\xff\xfea\x00", "UTF-16"},
	} {
		_, l := load(t, c.text, Options{})
		if c.want == "" {
			if len(l) != 0 {
				t.Errorf("%+v\n%s", l, c.text)
			}
			continue
		}
		if p, found := of(l, c.want); !found || p.Pos.File == "" || p.Severity != diag.Error {
			t.Errorf("want %q, got %+v\n%s", c.want, l, c.text)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	for _, c := range [][2]string{{`vm_sise = "x"`, "vm_size"}, {`shared_image_gallery_destinatoin {}`, "shared_image_gallery_destination"}, {`winrm_usessl = true`, "winrm_use_ssl"}, {`qqqqqqqq = 1`, ""}} {
		_, l := load(t, marketplace(nil, c[0]), Options{})
		want := "remove it, or correct its name"
		if c[1] != "" {
			want = fmt.Sprintf("did you mean %q?", c[1])
		}
		if p, _ := of(l, "unknown "); p.Remedy != want {
			t.Errorf("%s: %+v", c[0], l)
		}
	}
}

func TestFolders(t *testing.T) {
	dir := write(t, map[string]string{"b.pkr.hcl": marketplace(nil, "azure_tags = {\nx = var.x\n}"), "a.pkr.hcl": "variable \"x\" {\ndefault = \"d\"\n}\n", "x.auto.pkrvars.hcl": `x = "auto"`, "notes.txt": "{{{"})
	r, l := Load(dir, Options{Cwd: dir, Now: now})
	if len(l) != 0 || r.Images[0].Tags["x"] != "auto" || len(r.Files) != 3 || len(r.Sources) != 3 {
		t.Errorf("%v %v", l, r)
	}
	// One file of it: the others are not read, nor the values beside it.
	if _, l = Load(filepath.Join(dir, "b.pkr.hcl"), Options{Cwd: dir, Now: now}); len(l) != 1 || !strings.Contains(l[0].Summary, `"x"`) {
		t.Error(l)
	}
	both := write(t, map[string]string{"t.pkr.hcl": marketplace(nil, "azure_tags = {\nx = local.y\n}"), "u.pkr.json": `{"locals": {"y": "${upper(\"json\")}"}}`})
	if r, l = Load(both, Options{Cwd: both, Now: now}); len(l) != 0 || r.Images[0].Tags["x"] != "JSON" {
		t.Errorf("the two forms of HCL do not go together: %v", l)
	}
	for _, path := range []string{"nowhere", "notes.txt", t.TempDir()} {
		if r, l := Load(path, Options{Cwd: dir, Now: now}); r == nil || !l.HasErrors() {
			t.Errorf("%s: %v", path, l)
		}
	}
}

func TestVariablesFromOutside(t *testing.T) {
	text := "variable \"l\" {\ntype = list(string)\ndefault = []\n}\nvariable \"b\" {\ntype = bool\ndefault = false\n}\nvariable \"any\" {\ndefault = [\"a\"]\n}\n"
	got, l := tag(t, `"${join("", var.l)} ${var.b} ${var.any[0]}"`, text, Options{Vars: []string{`l=["x", "y"]`, "b=true"}, Env: []string{`PKR_VAR_any=["z"]`, "PKR_VAR_none=1", "PKR_VAR_=1"}})
	if got != "xy true z" || len(l) != 0 {
		t.Errorf("%q %v", got, l)
	}
	for _, c := range [][2]string{{"b=maybe", "unsuitable"}, {"l=x", "cannot be evaluated"}, {"l=[", "is no list"}, {"b", "has no value"}, {"c=1", "does not declare"}} {
		if _, l := tag(t, `"x"`, text, Options{Vars: []string{c[0]}}); len(l) != 1 || !strings.Contains(l[0].Summary, c[1]) {
			t.Errorf("-var %s: %v", c[0], l)
		}
	}
	dir := write(t, map[string]string{"f.pkrvars.hcl": `bb = true`, "a.auto.pkrvars.hcl": `cc = true`, "t.pkr.hcl": text + marketplace(nil)})
	_, l = Load(dir, Options{Cwd: dir, Now: now, VarFiles: []string{"f.pkrvars.hcl"}, WarnUndeclared: true})
	if len(l) != 2 || l.HasErrors() || l[0].Pos.Line != 1 {
		t.Errorf("%v", l)
	}
	if _, l = Load(dir, Options{Cwd: dir, Now: now, VarFiles: []string{"nope"}}); !l.HasErrors() {
		t.Error("a -var-file that is not there is passed over")
	}
}

func TestPatterns(t *testing.T) {
	text := strings.Replace(marketplace(nil), "sources =", "name = \"b\"\nsources =", 1)
	for _, c := range []struct {
		only, except []string
		n            int
		say          string
	}{{nil, nil, 1, ""}, {[]string{"b.azure-arm.w"}, nil, 1, ""}, {[]string{"b.*"}, nil, 1, ""}, {[]string{"azure-arm.w"}, nil, 1, ""}, {nil, []string{"*.w"}, 0, ""}, {[]string{"b.*"}, []string{"*"}, 0, "matches no build"},
		{[]string{"c.*"}, nil, 0, "matches no build"}, {[]string{"[x"}, nil, 0, "is no pattern"}} {
		r, l := load(t, text, Options{Only: c.only, Except: c.except})
		if _, ok := of(l, c.say); len(r.Images) != c.n || ok != (c.say != "") && c.say != "" {
			t.Errorf("%v %v: %d images, %v", c.only, c.except, len(r.Images), l)
		}
	}
}

// TestPartsOfASecret: a hidden text is as small as it can be, and every one has a name of its own.
func TestPartsOfASecret(t *testing.T) {
	r, l := load(t, "variable \"s\" {\ntype = map(string)\nsensitive = true\n}\n"+strings.Replace(marketplace(nil), "sources =", `name = "b"
provisioner "powershell" {
  env    = { OPEN = "1", CLOSED = var.s.a }
  inline = concat(["plain"], [for k, v in var.s : "use ${v}"])
}
provisioner "windows-shell" {
  inline = "one ${var.s.a}"
}
sources =`, 1), Options{Vars: []string{`s={ a = "first-not-real", b = "second-not-real" }`}})
	if l.HasErrors() {
		t.Fatal(l)
	}
	ps := r.Images[0].Provision[0].Settings.(*provisioner.PowerShell)
	if ps.Env["OPEN"].Secret() != "" || ps.Env["CLOSED"].Secret() != "b.azure-arm.w/provisioner[0].env.CLOSED" {
		t.Errorf("%q %q", ps.Env["OPEN"].Secret(), ps.Env["CLOSED"].Secret())
	}
	var names []string
	for _, p := range r.Images[0].Provision {
		for _, x := range provisioner.Texts(p.Settings.(provisioner.Settings)) {
			if x.Secret() != "" && !x.IsZero() {
				names = append(names, x.Secret())
				if r.Secrets[x.Secret()] != x.Reveal() {
					t.Errorf("%s has another value in Secrets", x.Secret())
				}
			}
		}
	}
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != len(names) || len(names) < 4 {
		t.Errorf("names: %v", names)
	}
	for _, v := range []string{"first-not-real", "second-not-real"} {
		if !slices.Contains(r.SensitiveValues, v) {
			t.Errorf("%s is not among the values to mask", v)
		}
	}
}

func TestManifest(t *testing.T) {
	text := strings.Replace(marketplace(nil), "sources =", `post-processor "manifest" {
  output      = "m/${source.name}.json"
  strip_path  = true
  strip_time  = true
  custom_data = { n = 1 }
}
post-processor "manifest" {
  only = ["azure-arm.other"]
}
sources =`, 1)
	r, l := load(t, text, Options{})
	if _, warned := of(l, `names "azure-arm.other", which is no source`); !warned || len(l) != 1 || len(r.Images[0].Manifests) != 1 {
		t.Fatal(l, r.Images[0].Manifests)
	}
	m := r.Images[0].Manifests[0]
	if want := (image.Manifest{Output: m.Output, StripPath: true, StripTime: true, CustomData: map[string]string{"n": "1"}}); !strings.HasSuffix(m.Output, "/m/w.json") || !filepath.IsAbs(m.Output) || fmt.Sprint(m) != fmt.Sprint(want) {
		t.Errorf("%+v", m)
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := write(b, map[string]string{"t.pkr.hcl": marketplace(nil)})
	for b.Loop() {
		if _, l := Load(dir, Options{Cwd: dir, Now: now}); len(l) != 0 {
			b.Fatal(l)
		}
	}
}
