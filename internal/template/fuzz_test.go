package template

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// badVerb is what fmt writes where a value was missing or of the wrong kind.
var badVerb = regexp.MustCompile(`%!\w?\(`)

// corpus hands the texts of other people's templates to a fuzz target, where they are there.
func corpus(f *testing.F, glob string) {
	names, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "corpus", glob))
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range names {
		raw, err := os.ReadFile(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(raw))
	}
}

// survive loads a hostile text and everything that can be done with what comes out: no panic, no hang, no great hunger.
func survive(t *testing.T, files map[string]string, name string) {
	dir := write(t, files)
	begin := time.Now()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	o := Options{Cwd: dir, Now: now, Advise: true}
	path := name
	if name == "." {
		path = dir
	}
	r, problems := Load(path, o)
	if r == nil {
		t.Fatal("no result")
	}
	for _, p := range problems {
		if p.Summary == "" || badVerb.MatchString(p.Summary) {
			t.Errorf("a problem says nothing: %+v", p)
		}
	}
	if !problems.HasErrors() && len(r.Images) > 0 {
		for _, to := range []Language{PackerHCL, PackerJSON, ImageBuilder} {
			if _, err := Convert(r, to, o); err != nil && len(r.Images) == 1 {
				t.Errorf("convert to %s: %v", to, err)
			}
		}
	}
	runtime.ReadMemStats(&after)
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("%s for %d bytes", d, len(files[name]))
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 2<<30 {
		t.Errorf("%d MiB were taken", n>>20)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(fmt.Sprintf(sound, "", ""))
	f.Add("variable \"a\" {}\nlocals { a = local.a }")
	f.Add("build { sources = [1] provisioner \"powershell\" { inline = null } }")
	f.Add("source \"azure-arm\" \"x\" { azure_tags = { a = 1e999 } spot {} spot {} }")
	f.Add(fmt.Sprintf(sound, "dynamic \"azure_tag\" {\n for_each = { a = 1 }\n content {\n name = azure_tag.key\n value = azure_tag.value\n }\n}", "dynamic \"provisioner\" {\n for_each = [1]\n labels = [\"powershell\"]\n content {\n inline = [\"echo\"]\n }\n}"))
	f.Add("data \"azure-keyvaultsecret\" \"s\" {\n vault_name = local.v\n secret_name = \"s\"\n}\nlocals { v = data.azure-keyvaultsecret.s.value }")
	corpus(f, "packer/*.hcl")
	corpus(f, "packer/*/*.hcl")
	f.Fuzz(func(t *testing.T, text string) { survive(t, map[string]string{"t.pkr.hcl": text}, ".") })
}

func FuzzLoadJSONForm(f *testing.F) {
	f.Add(`{"source": {"azure-arm": {"x": {"os_type": "Windows", "location": "${upper(\"a\")}", "azure_tags": {"a": "b"}}}}, "build": [{"sources": ["azure-arm.x"], "provisioner": [{"powershell": {"inline": ["a"]}}]}], "variable": {"v": {"type": "string", "default": "d"}}, "locals": {"l": "${var.v}"}}`)
	f.Fuzz(func(t *testing.T, text string) { survive(t, map[string]string{"t.pkr.json": text}, ".") })
}

func FuzzPackerJSON(f *testing.F) {
	f.Add(`{"_c": "x", "variables": {"a": "{{env ` + "`A`" + `}}", "b": "{{user ` + "`a`" + `}}", "c": null}, "sensitive-variables": ["a"], "builders": [{"type": "azure-arm", "name": "n", "os_type": "Windows", "azure_tag": [{"name": "a", "value": "b"}]}], "provisioners": [{"type": "powershell", "inline": ["{{build ` + "`ID`" + `}}"], "override": {"n": {"inline": []}}}], "post-processors": ["manifest", {"type": "manifest"}, ["manifest", {"type": "shell-local", "inline": ["x"]}]]}`)
	corpus(f, "packer/*.json")
	f.Fuzz(func(t *testing.T, text string) { survive(t, map[string]string{"t.json": text}, "t.json") })
}

func FuzzImageBuilder(f *testing.F) {
	f.Add(`{"$schema": "x", "parameters": {"p": {"type": "string", "defaultValue": "[concat('a', variables('v'))]"}, "q": {"type": "securestring"}}, "variables": {"v": "[resourceGroup().location]"}, "resources": [{"type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "name": "n", "location": "[variables('v')]", "identity": {"type": "UserAssigned", "userAssignedIdentities": {"[resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', 'i')]": {}}}, "properties": {"source": {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s", "version": "latest"}, "customize": [{"type": "PowerShell", "inline": ["[parameters('q')]"]}], "distribute": [{"type": "VHD", "runOutputName": "o"}]}}]}`)
	f.Add(`{"source": {"type": "ManagedImage", "imageId": null}, "distribute": [{"type": "SharedImage", "targetRegions": [{"name": "a"}]}], "customize": null, "vmProfile": {"osDiskSizeGb": 1}}`)
	corpus(f, "image-builder/*.json")
	f.Fuzz(func(t *testing.T, text string) { survive(t, map[string]string{"t.json": text}, "t.json") })
}

func FuzzIngotFile(f *testing.F) {
	f.Add("engine {\n name = \"vm\"\n}\nimage_definition {\n gallery_name = \"g\"\n image_name = \"i\"\n}\nhost_pool \"h\" {\n batch = \"20%\"\n}\ntest \"powershell\" {\n inline = [\"x\"]\n only = [\"*\"]\n}")
	f.Add("avd_customizer \"install_language_packs\" {\n languages = [\"French (France)\", \"Bokmål\"]\n position = \"first\"\n}\navd_customizer \"session_timeouts\" {\n max_idle_minutes = 5\n after = \"x\"\n}\navd_customizer \"fslogix\" {\n profile_path = \"\\\\\\\\s\\\\p\"\n}\navd_customizer \"configure_office_apps\" {\n type = \"Add\"\n}")
	f.Fuzz(func(t *testing.T, text string) {
		survive(t, map[string]string{"t.pkr.hcl": fmt.Sprintf(sound, "", ""), "t.ingot.hcl": text}, ".")
	})
}

// TestHostile has what once hung or grew, or would in another program.
func TestHostile(t *testing.T) {
	nested := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	var laughs, laughsJSON, laughsARM strings.Builder
	laughs.WriteString("locals {\n  a0 = \"lol\"\n")
	laughsJSON.WriteString(`{"variables": {"a0": "lol"`)
	laughsARM.WriteString(`{"resources": [{"type": "Microsoft.VirtualMachineImages/imageTemplates", "location": "[variables('a30')]"}], "variables": {"a0": "lol"`)
	for i := 1; i <= 30; i++ {
		fmt.Fprintf(&laughs, "  a%d = \"%s\"\n", i, strings.Repeat(fmt.Sprintf("${local.a%d}", i-1), 10))
		fmt.Fprintf(&laughsJSON, `, "a%d": %q`, i, strings.Repeat(fmt.Sprintf("{{user `a%d`}}", i-1), 10))
		fmt.Fprintf(&laughsARM, `, "a%d": "[concat(%s)]"`, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("variables('a%d'),", i-1), 10), ","))
	}
	laughs.WriteString("}\n")
	laughsJSON.WriteString(`}, "builders": []}`)
	laughsARM.WriteString(`}}`)
	for name, files := range map[string]map[string]string{
		"deep JSON":           {"t.json": nested("[", "]", 200_000)},
		"deep objects":        {"t.json": nested(`{"a":`, "}", 50_000)},
		"huge number":         {"t.json": `{"builders": [{"type": "azure-arm", "os_disk_size_gb": ` + strings.Repeat("9", 100_000) + `}]}`},
		"exponent":            {"t.json": `{"builders": [{"type": "azure-arm", "os_disk_size_gb": 1e999999999}]}`},
		"laughs in HCL":       {"t.pkr.hcl": laughs.String()},
		"laughs in JSON":      {"t.json": laughsJSON.String()},
		"laughs in ARM":       {"t.json": laughsARM.String()},
		"for in for":          {"t.pkr.hcl": "locals {\n x = [for a in range(1000) : [for b in range(1000) : [for c in range(1000) : \"x\"]]]\n}\n"},
		"exponent in HCL":     {"t.pkr.hcl": "locals {\n x = 1e999999999\n y = pow(10, 1e9)\n}\n"},
		"list doubling":       {"t.pkr.hcl": "locals {\n a = [1,2,3,4,5,6,7,8,9,10]\n b = concat(local.a, local.a, local.a)\n c = setproduct(local.a, local.a, local.a, local.a, local.a, local.a, local.a, local.a, local.a, local.a)\n}\n"},
		"many dynamic blocks": {"t.pkr.hcl": fmt.Sprintf(sound, "dynamic \"azure_tag\" {\n for_each = range(100000)\n content {\n name = \"a\"\n }\n}", "")},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			for file := range files {
				survive(t, files, file)
			}
			t.Logf("%s", time.Since(begin).Round(time.Millisecond))
		})
	}
}
