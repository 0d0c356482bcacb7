package template

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ingot/internal/diag"
)

// TestWhatSecureParametersTouch: whatever is computed of one is as secret as it.
func TestWhatSecureParametersTouch(t *testing.T) {
	const secret = "Aa1-test-secret-not-real"
	for _, e := range []string{"[base64(parameters('secret'))]", "[substring(parameters('secret'), 0, 6)]", "[replace(parameters('secret'), '-', '_')]", "[variables('derived')]", "[toUpper(variables('derived'))]", "[parameters('mixed')]", "[variables('object').inner]"} {
		text := strings.NewReplacer(`"[concat('use ', parameters('secret'))]"`, `"`+e+`"`, `"variables": {`, `"variables": { "derived": "[split(parameters('secret'), '-')[0]]", "object": {"inner": "[base64(parameters('secret'))]"},`,
			`"names":`, `"mixed": {"type": "string", "defaultValue": "[toLower(parameters('secret'))]"}, "names":`).Replace(armText)
		r, l := loadJSON(t, text, Options{Vars: []string{"secret=" + secret, "location=westeurope", `names=["one"]`}})
		if len(l) != 0 || len(r.Images) != 1 {
			t.Fatalf("%s: %+v", e, l)
		}
		for _, to := range []Language{PackerHCL, PackerJSON, ImageBuilder} {
			w, err := Write(r.Images, to)
			if err != nil {
				t.Fatal(err)
			}
			for _, piece := range []string{secret, "QWExLXRl", "Aa1-te", "Aa1_test", "aa1-test"} {
				if strings.Contains(string(w.Text), piece) {
					t.Errorf("%s: %s shows %q", e, to, piece)
				}
			}
		}
		if got, _ := r.Evaluate(e); !strings.Contains(got, "secret") || strings.Contains(got, "test") {
			t.Errorf("console shows %s as %s", e, got)
		}
	}
}

// TestVarFilesThatCannotBeRead: the line that is wrong may hold a secret, and so may a name that is misspelt.
func TestVarFilesThatCannotBeRead(t *testing.T) {
	const secret = "test-secret-not-real"
	text := "variable \"pw\" {\n  sensitive = true\n  default = \"x\"\n}\n" + fmt.Sprintf(sound, "", "")
	for name, content := range map[string]string{"a.pkrvars.json": `{"pw": "` + secret + `" "x": 1}`, "b.pkrvars.hcl": `plain = "x" pw = "` + secret + `"`, "c.pkrvars.hcl": `pwx = "` + secret + `"`} {
		dir := write(t, map[string]string{"t.pkr.hcl": text, name: content})
		r, l := Load("t.pkr.hcl", Options{Cwd: dir, Now: now, VarFiles: []string{name}, WarnUndeclared: true})
		var b strings.Builder
		diag.Render(&b, l, r.Sources, false)
		if len(l) == 0 || strings.Contains(b.String(), secret) {
			t.Errorf("%s: %s", name, b.String())
		}
	}
	_, l := load(t, text, Options{Vars: []string{secret}})
	if len(l) != 1 || strings.Contains(fmt.Sprint(l), secret) {
		t.Errorf("%+v", l)
	}
}

// TestNamesOfSources: only, except and override that mean nothing are not passed over.
func TestNamesOfSources(t *testing.T) {
	for _, c := range []struct {
		step, want string
		severity   diag.Severity
	}{
		{`only = ["azure-arm.nosuch"]`, "which is no source of this build", diag.Warning}, {`except = ["nosuch"]`, "which is no source of this build", diag.Warning}, {"only = [\"w\"]\nexcept = [\"azure-arm.w\"]", "exclude one another", diag.Error},
		{`override = { nosuch = { inline = ["b"] } }`, "which is no source of this build", diag.Warning}, {`only = ["azure-arm.w"]`, "", ""}, {`only = ["w"]`, "", ""}, {`override = { w = { inline = ["b"] } }`, "", ""},
	} {
		_, l := load(t, fmt.Sprintf(sound, "", "provisioner \"powershell\" {\ninline = [\"a\"]\n"+c.step+"\n}"), Options{})
		if p, ok := of(l, c.want); c.want != "" && (!ok || p.Severity != c.severity || p.Pos.Line == 0) || c.want == "" && len(l) > 0 {
			t.Errorf("%s: %+v", c.step, l)
		}
	}
	const legacy = `{"builders": [{"type": "azure-arm", "name": "w", "os_type": "Windows", "image_publisher": "p", "image_offer": "o", "image_sku": "s", "image_version": "1.0.0", "location": "westeurope", "vm_size": "Standard_D4ds_v5", "communicator": "winrm", "winrm_use_ssl": true,
"managed_image_name": "m", "managed_image_resource_group_name": "rg"}], "provisioners": [{"type": "powershell", "inline": ["a"], %s}], "post-processors": [{"type": "manifest", %s}]}`
	for _, c := range [][3]string{{`"only": ["nosuch"]`, `"output": "x"`, "no builder of the template"}, {`"only": ["w"], "except": ["w"]`, `"output": "x"`, "exclude one another"}, {`"override": {"nosuch": {}}`, `"output": "x"`, "no builder of the template"},
		{`"only": ["w"]`, `"only": ["nosuch"]`, "no builder of the template"}, {`"only": ["w"], "override": {"w": {}}`, `"except": ["w"]`, ""}} {
		_, l := loadJSON(t, fmt.Sprintf(legacy, c[0], c[1]), Options{})
		if p, ok := of(l, c[2]); c[2] != "" && (!ok || p.Severity != diag.Error || p.Pos.Line == 0) || c[2] == "" && len(l) > 0 {
			t.Errorf("%v: %+v", c, l)
		}
	}
}

// TestSensitiveNames: ids and names may be sensitive variables; what else is seen may not.
func TestSensitiveNames(t *testing.T) {
	const head = "variable \"v\" {\n  sensitive = true\n}\n"
	r, l := load(t, head+fmt.Sprintf(sound, "subscription_id = var.v\ntenant_id = var.v\nvirtual_network_name = var.v", ""), Options{Vars: []string{"v=0000-sub"}})
	if l.HasErrors() || len(l) != 3 || r.Images[0].Identity.SubscriptionID != "0000-sub" || len(r.SensitiveValues) != 0 {
		t.Errorf("%+v %v", l, r.SensitiveValues)
	}
	if _, l = load(t, head+fmt.Sprintf(sound, "azure_tags = { a = var.v }", ""), Options{Vars: []string{"v=0000-sub"}}); !l.HasErrors() {
		t.Error("a tag shows a sensitive value")
	}
}

func TestFilesThatAreNone(t *testing.T) {
	dir := write(t, map[string]string{"t.pkr.hcl": fmt.Sprintf(sound, "", "")})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.json"), 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	if _, l := Load("pipe.json", Options{Cwd: dir}); len(l) != 1 || !strings.Contains(l[0].Summary, "no regular file") {
		t.Errorf("%+v", l)
	}
	if err := os.WriteFile(filepath.Join(dir, "u.json"), []byte("\xff\xfe{\x00}\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, l := Load("u.json", Options{Cwd: dir}); len(l) != 1 || !strings.Contains(l[0].Summary, "UTF-16") {
		t.Errorf("%+v", l)
	}
}

func TestCustomerKeys(t *testing.T) {
	const confidential = "security_type = \"ConfidentialVM\"\nsecurity_encryption_type = \"DiskWithVMGuestState\"\n%s\nshared_image_gallery_destination {\nresource_group = \"rg\"\ngallery_name = \"g\"\nimage_name = \"i\"\nimage_version = \"1.0.0\"\nconfidential_vm_image_encryption_type = \"EncryptedWithCmk\"\ntarget_region {\nname = \"westeurope\"\n%s\n}\n}"
	for _, c := range []struct {
		machine, region string
		good            bool
	}{{`disk_encryption_set_id = "/d"`, `disk_encryption_set_id = "/d"`, true}, {``, `disk_encryption_set_id = "/d"`, false}, {`disk_encryption_set_id = "/d"`, ``, false}} {
		_, l := load(t, marketplace(nil, fmt.Sprintf(confidential, c.machine, c.region)), Options{})
		if _, found := of(l, "EncryptedWithCmk needs"); found == c.good {
			t.Errorf("%+v: %+v", c, l)
		}
	}
}

func TestParametersKeepToTheirTypes(t *testing.T) {
	for _, c := range [][2]string{{`{"type": "int", "maxValue": 200, "defaultValue": 500}`, "maxValue"}, {`{"type": "int", "minValue": 2, "defaultValue": 1}`, "minValue"}, {`{"type": "int", "defaultValue": "x"}`, "is no int"}, {`{"type": "string", "defaultValue": "c", "allowedValues": ["a", "b"]}`, "allowedValues"},
		{`{"type": "string", "defaultValue": "abc", "maxLength": 2}`, "maxLength"}, {`{"type": "int", "minValue": 2, "maxValue": 200, "defaultValue": 100}`, ""}} {
		text := strings.NewReplacer(`"names":`, `"n": `+c[0]+`, "names":`, `"[concat('use ', parameters('secret'))]"`, `"[string(parameters('n'))]"`).Replace(armText)
		_, l := loadJSON(t, text, Options{VarFiles: []string{"params.json"}})
		if _, ok := of(l, c[1]); c[1] != "" && !ok || c[1] == "" && len(l) > 0 {
			t.Errorf("%s: %+v", c[0], l)
		}
	}
}

func TestSatisfies(t *testing.T) {
	for c, want := range map[string]bool{">= 1.10.0": true, ">= 99": false, "~> 1.2": true, "~> 1.15.0": false, "~> 1.16.0": true, "~> 2.0": false, "= 1.16.0": true, "1.16": true, "!= 1.16.0": false, "< 2": true, "> 1.16.0": false, ">= 1.7, < 1.16": false, ">= 1.7.0, < 2.0.0": true, "<= 1.16": true, ">= v1.16.0-beta1": true} {
		if satisfies("1.16.0", c) != want {
			t.Errorf("%s: %v", c, !want)
		}
	}
	if _, l := load(t, "packer {\n  required_version = \">= 99\"\n}\n"+fmt.Sprintf(sound, "", ""), Options{}); len(l) != 1 || l.HasErrors() || l[0].Pos.Line != 2 {
		t.Errorf("%+v", l)
	}
}

// TestStepsWithoutASource: what is wrong with provisioners is told although the build's source is not there.
func TestStepsWithoutASource(t *testing.T) {
	_, l := load(t, "build {\n  sources = [\"azure-arm.none\"]\n  provisioner \"powershell\" {\n    inline = [local.nope, nofn()]\n    inlin = 1\n    only = [\"azure-arm.none\"]\n  }\n}\n", Options{})
	for _, w := range []string{"not declared", `local "nope" is not declared`, "Call to unknown function", `unknown option "inlin"`} {
		if _, ok := of(l, w); !ok {
			t.Errorf("not said: %s: %+v", w, l)
		}
	}
}

// TestWhatOnlyADeploymentKnows: values of deployed resources leave the rest of a template to be judged.
func TestWhatOnlyADeploymentKnows(t *testing.T) {
	text := strings.NewReplacer(`"[concat('use ', parameters('secret'))]"`, `"[reference('x').outputs.line]"`, `"group": "/subscriptions/s/resourceGroups/r/providers"`, `"group": "[reference('x').id]"`).Replace(armText)
	r, l := loadJSON(t, text, Options{VarFiles: []string{"params.json"}})
	if l.HasErrors() || len(r.Unknown) != 1 {
		t.Errorf("%+v %v", l, r.Unknown)
	}
	text = strings.Replace(text, `"vmSize"`, `"vmsize"`, 1)
	if _, l = loadJSON(t, text, Options{VarFiles: []string{"params.json"}}); !l.HasErrors() {
		t.Error("what is known is not judged any more")
	}
}

// TestVariablesInFiles: large projects declare none of their variables, and keep them in files.
func TestVariablesInFiles(t *testing.T) {
	const text = `{"builders": [{"type": "azure-arm", "os_type": "Windows", "image_publisher": "p", "image_offer": "o", "image_sku": "{{user ` + "`sku`" + `}}", "image_version": "1.0.0", "location": "westeurope", "vm_size": "Standard_D4ds_v5", "communicator": "winrm", "winrm_use_ssl": true,
"managed_image_name": "m", "managed_image_resource_group_name": "rg{{user ` + "`nobody`" + `}}"}]}`
	dir := write(t, map[string]string{"t.json": text, "v.json": `{"sku": "{{user ` + "`from`" + `}}-{{env ` + "`WHERE`" + `}}", "from": "from", "_comment": "x", "unused": null}`})
	r, l := Load("t.json", Options{Cwd: dir, Now: now, VarFiles: []string{"v.json"}, Env: []string{"WHERE=a-file"}})
	if l.HasErrors() || len(l) != 1 || !strings.Contains(l[0].Summary, `variable "nobody" is not declared`) {
		t.Fatalf("%+v", l)
	}
	if got := fmt.Sprint(r.Images[0].Source); !strings.Contains(got, "from-a-file") {
		t.Error(got)
	}
}

// TestEmptyBlocks: a block whose values are all "" is none, and texts are truth values as Packer takes them.
func TestEmptyBlocks(t *testing.T) {
	r, l := load(t, marketplace(nil, "plan_info {\nplan_name = \"\"\nplan_product = \"\"\nplan_publisher = \"\"\n}\nshared_image_gallery {\nid = \"\"\ngallery_name = \"\"\n}\nuse_azure_cli_auth = \"True\"\nvtpm_enabled = \"0\""), Options{})
	if len(l) != 0 || !r.Images[0].Identity.AzureCLI || r.Images[0].Machine.VTPM {
		t.Errorf("%+v", l)
	}
}

func TestFunctionsOfOthers(t *testing.T) {
	for name, want := range map[string]string{"toset": "use convert(value, set(any))", "uper": `did you mean "upper"?`} {
		_, l := load(t, fmt.Sprintf(sound, "azure_tags = { a = "+name+"(\"x\") }", ""), Options{})
		if p, ok := of(l, "Call to unknown function"); !ok || !strings.Contains(p.Remedy, want) {
			t.Errorf("%s: %+v", name, l)
		}
	}
}
