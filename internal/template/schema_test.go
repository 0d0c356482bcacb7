package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ingot/internal/imagebuilder"
	"ingot/internal/provisioner"
)

// sourceDocs reads the doc comments of settings structs' fields.
func sourceDocs(t *testing.T) map[string]map[string]string {
	t.Helper()
	out := map[string]map[string]string{}
	names, err := filepath.Glob("../provisioner/*.go")
	if err != nil {
		t.Fatal(err)
	}
	names = append(names, "azurearm.go", "../imagebuilder/template.go", "ingothcl.go", "avdcustomizer.go", "build.go", "postprocess.go", "data.go")
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range s.Fields.List {
				if field.Tag == nil || len(field.Names) == 0 {
					continue
				}
				tag, _ := strconv.Unquote(field.Tag.Value)
				option, _, _ := strings.Cut(reflect.StructTag(tag).Get("hcl"), ",")
				text := strings.Join(strings.Fields(field.Doc.Text()+" "+field.Comment.Text()), " ")
				for _, verb := range []string{": ", " is ", " are ", " "} {
					if rest, ok := strings.CutPrefix(text, field.Names[0].Name+verb); ok {
						text = rest
						break
					}
				}
				if option == "" || option == "-" || text == "" {
					continue
				}
				if out[spec.Name.Name] == nil {
					out[spec.Name.Name] = map[string]string{}
				}
				out[spec.Name.Name][option] = text
			}
			return false
		})
	}
	return out
}

// golden compares a file with what it should hold, or writes it anew.
func golden(t *testing.T, name string, want []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, want, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the source says: make docs (%v)", name, err)
	}
}

// TestReference: docs.json and the pages in docs/reference are made of the settings structs.
func TestReference(t *testing.T) {
	found := sourceDocs(t)
	raw, err := json.MarshalIndent(found, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "docs.json", append(raw, '\n'))
	const dir = "../../docs/reference/"
	const made = "<!-- Made of the settings structs by `make docs`. -->\n\n"

	var b strings.Builder
	b.WriteString("# Provisioners\n\n" + made + "Options that every provisioner has:\n\n" + table(found, reflect.TypeFor[meta]()))
	for _, kind := range provisioner.Kinds() {
		s, _ := provisioner.New(kind)
		b.WriteString("\n## " + kind + "\n\n" + table(found, reflect.TypeOf(s).Elem()))
	}
	golden(t, dir+"provisioners.md", []byte(b.String()))

	b.Reset()
	b.WriteString("# The azure-arm source\n\n" + made + table(found, reflect.TypeFor[azureARM]()))
	for _, x := range []struct {
		name string
		t    reflect.Type
	}{{"shared_image_gallery", reflect.TypeFor[armGallery]()}, {"plan_info", reflect.TypeFor[armPlan]()}, {"shared_image_gallery_destination", reflect.TypeFor[armDestination]()}, {"target_region", reflect.TypeFor[armRegion]()}, {"spot", reflect.TypeFor[armSpot]()}, {"azure_tag", reflect.TypeFor[armTag]()}} {
		b.WriteString("\n## " + x.name + "\n\n" + table(found, x.t))
	}
	golden(t, dir+"azure-arm.md", []byte(b.String()))

	b.Reset()
	b.WriteString("# Azure Image Builder templates\n\n" + made + "The imageTemplates resource, api-version 2025-10-01.\n\n" + table(found, reflect.TypeFor[imagebuilder.Template]()))
	for _, x := range []struct {
		name string
		t    reflect.Type
	}{{"identity", reflect.TypeFor[imagebuilder.Identity]()}, {"properties", reflect.TypeFor[imagebuilder.Properties]()}, {"source", reflect.TypeFor[imagebuilder.Source]()}, {"customize, validate.inVMValidations", reflect.TypeFor[imagebuilder.Step]()}, {"distribute", reflect.TypeFor[imagebuilder.Distribute]()},
		{"targetRegions", reflect.TypeFor[imagebuilder.TargetRegion]()}, {"versioning", reflect.TypeFor[imagebuilder.Versioning]()}, {"vmProfile", reflect.TypeFor[imagebuilder.VMProfile]()}, {"vnetConfig", reflect.TypeFor[imagebuilder.VNetConfig]()}, {"validate", reflect.TypeFor[imagebuilder.Validate]()}, {"optimize", reflect.TypeFor[imagebuilder.Optimize]()}, {"errorHandling", reflect.TypeFor[imagebuilder.ErrorHandling]()}} {
		b.WriteString("\n## " + x.name + "\n\n" + table(found, x.t))
	}
	golden(t, dir+"image-builder.md", []byte(b.String()))

	b.Reset()
	b.WriteString("# *.ingot.hcl\n\n" + made + "What neither Packer's languages nor Image Builder's can say stands in files of this suffix beside the template: every such file of a\nfolder; of a single file, the one that has its name (`avd.json` and `avd.ingot.hcl`). " +
		"Neither tool reads them. Variables, locals and\nfunctions are the template's own.\n")
	for _, x := range []struct {
		name string
		t    reflect.Type
	}{{"engine", reflect.TypeFor[ingotEngine]()}, {"image_definition", reflect.TypeFor[ingotDefinition]()}, {"host_pool \"NAME\"", reflect.TypeFor[ingotHostPool]()}, {"test \"TYPE\"", reflect.TypeFor[ingotTest]()}} {
		b.WriteString("\n## " + x.name + "\n\n" + table(found, x.t))
	}
	b.WriteString("\nA test is a provisioner (" + strings.Join(testKinds(), ", ") + ") that runs on a machine made of the finished image; it takes that\nprovisioner's options as well.\n")
	b.WriteString("\n## avd_customizer \"NAME\"\n\nOne of Azure Virtual Desktop's own scripts: [avd-customizers.md](avd-customizers.md) has their names and each one's options. All take these.\n\n" + table(found, reflect.TypeFor[avdScope]()))
	golden(t, dir+"ingot.md", []byte(b.String()))
	golden(t, dir+"avd-customizers.md", []byte(avdPage(found)))
}

// avdPage is the page of Azure Virtual Desktop's scripts.
func avdPage(found map[string]map[string]string) string {
	var b strings.Builder
	b.WriteString("# Azure Virtual Desktop's own scripts\n\n<!-- Made of the settings structs and of internal/provisioner/avd.go by `make docs`. -->\n\n" + `The portal's custom image templates offer these by name. In an ` + "`*.ingot.hcl`" + ` file beside a template, of whichever language, each is a block:

` + "```hcl" + `
avd_customizer "timezone_redirection" {}

avd_customizer "install_language_packs" {
  languages = ["French (France)"]
}

avd_customizer "fslogix" {
  profile_path = "\\\\server\\share"
  vhd_size_mb  = 30000
}
` + "```" + `

They run after the template's own provisioners in the order of the file, before generalisation and before a sysprep that the template runs
itself; ` + "`position = \"first\"`" + ` and ` + "`after = \"NAME\"`" + ` place them otherwise, ` + "`only` and `except`" + ` choose images. Each becomes ordinary provisioners: the
script is fetched from one commit of Azure/RDS-Templates (` + provisioner.AVDCommit[:12] + `), held against its SHA-256, copied to C:\AVDImage and run as SYSTEM by lines
of Ingot's. ` + "`ingot plan` and `ingot convert`" + ` show them. The lines make a script fail that says it has failed, and read back what it should have
set; they remove C:\AVDImage. All of this was read in the scripts, not run: there was no Windows where it was written (decision 0025).

What the scripts download themselves (FSLogix, Teams, Office, languages) is the newest of the day and checked by nobody.

| name | script | effect | what is wrong with it | what is done about it |
|---|---|---|---|---|
`)
	cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
	for _, s := range provisioner.AVDScripts() {
		defect := s.Defect
		if s.Advice != "" {
			defect += " It " + s.Advice + "."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.Name, s.File, cell(s.Effect), cell(defect), cell(s.Done))
	}
	for _, s := range provisioner.AVDScripts() {
		if t := reflect.TypeOf(avdKinds()[s.Name]()).Elem(); t.NumField() > 0 {
			b.WriteString("\n## " + s.Name + "\n\n" + table(found, t))
		}
	}
	b.WriteString("\n## Languages\n\n`" + strings.Join(keys(provisioner.AVDLanguages()), "`, `") + "`\n")
	b.WriteString("\n## Checksums\n\nAt commit " + provisioner.AVDCommit + ":\n\n| script | SHA-256 | of earlier states |\n|---|---|---|\n")
	for _, s := range provisioner.AVDScripts() {
		if s.File != "" {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", s.File, s.SHA256, strings.Join(s.Earlier, "<br>"))
		}
	}
	return b.String()
}

// table is a struct's options.
func table(docs map[string]map[string]string, t reflect.Type) string {
	var b strings.Builder
	b.WriteString("| option | type | meaning |\n|---|---|---|\n")
	var rows func(t reflect.Type)
	rows = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous {
				rows(f.Type)
				continue
			}
			name, kind, _ := strings.Cut(f.Tag.Get("hcl"), ",")
			if name == "" || name == "-" {
				continue
			}
			typ := map[string]string{"string": "text", "image.Text": "text", "[]string": "list of texts", "[]image.Text": "list of texts", "map[string]string": "map of texts", "map[string]image.Text": "map of texts", "bool": "true or false",
				"*bool": "true or false", "int": "number", "int32": "number", "*int": "number", "float64": "number", "[]int": "list of numbers", "time.Duration": "duration", "interface {}": "object", "hcl.Expression": "map of maps"}[f.Type.String()]
			if kind == "block" {
				typ = "block"
			}
			if kind == "secret" {
				typ = "secret text"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, typ, strings.ReplaceAll(docs[t.Name()][name], "|", "\\|"))
		}
	}
	rows(t)
	return b.String()
}

// TestEveryOptionIsDescribed: no option of a page is without its meaning.
func TestEveryOptionIsDescribed(t *testing.T) {
	found := sourceDocs(t)
	check := func(t *testing.T, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("hcl"), ",")
			if name != "" && name != "-" && !f.Anonymous && found[typ.Name()][name] == "" {
				t.Errorf("%s.%s has no comment", typ, name)
			}
		}
	}
	for _, kind := range provisioner.Kinds() {
		s, _ := provisioner.New(kind)
		check(t, reflect.TypeOf(s).Elem())
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[armIdentity](), reflect.TypeFor[armSource](), reflect.TypeFor[armTarget](), reflect.TypeFor[armMachine](), reflect.TypeFor[armNetwork](), reflect.TypeFor[armCommunicator](), reflect.TypeFor[armDestination](),
		reflect.TypeFor[ingotEngine](), reflect.TypeFor[ingotDefinition](), reflect.TypeFor[ingotHostPool](), reflect.TypeFor[ingotTest](), reflect.TypeFor[avdScope](), reflect.TypeFor[meta]()} {
		check(t, typ)
	}
	for _, kind := range avdKinds() {
		check(t, reflect.TypeOf(kind()).Elem())
	}
}

func compiled(t *testing.T, format string) *jsonschema.Schema {
	t.Helper()
	raw, err := Schema(format)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("ingot.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("ingot.json")
	if err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return s
}

func TestSchemas(t *testing.T) {
	if _, err := Schema("cobol"); err == nil {
		t.Error("there is a schema of cobol")
	}
	schemas := map[string]*jsonschema.Schema{}
	const step = `{"type": "powershell", "inline": ["a"]}`
	legacy := `{"_c": "x", "variables": {"a": null}, "builders": [{"type": "azure-arm", "os_type": "Windows", "winrm_use_ssl": "true", "azure_tag": {"name": "a", "value": "b"}}], "provisioners": [` + step + `], "post-processors": ["manifest", ["manifest", {"type": "manifest", "output": "x"}]]}`
	hcl := `{"source": {"azure-arm": {"w": {"os_type": "Windows", "os_disk_size_gb": 127, "shared_image_gallery_destination": {"target_region": [{"name": "a"}]}}}}, "build": {"sources": ["azure-arm.w"], "provisioner": [{"powershell": {"inline": ["a"], "override": {"w": {}}}}]}}`
	aib := aibText("2025-10-01", `"customize": [{"type": "PowerShell", "inline": ["a"]}],`)
	ingot := `{"engine": {"name": "vm"}, "host_pool": {"h": {"resource_group": "r"}}, "test": {"powershell": {"inline": ["a"]}}, "avd_customizer": {"fslogix": {"profile_path": "a", "vhd_size_mb": 1}, "timezone_redirection": {}}}`
	for _, c := range []struct {
		format, text string
		good         bool
	}{
		{"packer-json", legacy, true}, {"packer-json", strings.Replace(legacy, "os_type", "os_typ", 1), false}, {"packer-json", strings.Replace(legacy, "inline", "inlin", 1), false}, {"packer-json", strings.Replace(legacy, `"type": "powershell"`, `"type": "powershel"`, 1), false},
		{"packer-json", `{"variables": {}}`, false}, {"packer-json", strings.Replace(legacy, "azure-arm", "amazon-ebs", 1), false}, {"packer-json", strings.Replace(legacy, `"name": "a"`, `"nam": "a"`, 1), false},
		{"packer-hcl", hcl, true}, {"packer-hcl", strings.Replace(hcl, "os_type", "os_typ", 1), false}, {"packer-hcl", strings.Replace(hcl, "inline", "inlin", 1), false}, {"packer-hcl", `{"sources": {}}`, false}, {"packer-hcl", strings.Replace(hcl, `"name": "a"`, `"nam": "a"`, 1), false},
		{"image-builder", aib, true}, {"image-builder", armText, true}, {"image-builder", strings.Replace(aib, `"vmSize"`, `"vmsize"`, 1), false}, {"image-builder", strings.Replace(aib, `"runOutputName": "o", `, "", 1), false},
		{"image-builder", strings.Replace(aib, `"inline": ["a"]`, `"inline": "a"`, 1), false}, {"image-builder", strings.Replace(aib, `"inline": ["a"]`, `"inline": ["a"], "scriptUri": "https://x"`, 1), false}, {"image-builder", strings.Replace(aib, `"PlatformImage"`, `"Platform"`, 1), false},
		{"image-builder", strings.Replace(aib, `"vmProfile"`, `"buildTimeoutInMinutes": 961, "vmProfile"`, 1), false}, {"image-builder", strings.Replace(armText, `"vmSize"`, `"vmsize"`, 1), false}, {"image-builder", strings.Replace(aib, `"UserAssigned"`, `"SystemAssigned"`, 1), false},
		{"image-builder", strings.Replace(aib, `"vmProfile"`, `"autoRun": {"state": "On"}, "vmProfile"`, 1), false}, {"image-builder", strings.Replace(aib, `"vmProfile"`, `"autoRun": [{"state": "Enabled"}], "vmProfile"`, 1), false}, {"image-builder", strings.Replace(aib, `"vmProfile"`, `"buildTimeoutInMinutes": 5, "vmProfile"`, 1), false},
		{"ingot", ingot, true}, {"ingot", strings.Replace(ingot, "name", "nam", 1), false}, {"ingot", strings.Replace(ingot, "powershell", "ansible", 1), false},
		{"ingot", strings.Replace(ingot, "profile_path", "profil_path", 1), false}, {"ingot", strings.Replace(ingot, "timezone_redirection", "timezone", 1), false},
	} {
		if schemas[c.format] == nil {
			schemas[c.format] = compiled(t, c.format)
		}
		text := string(blankComments([]byte(c.text)))
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if err := schemas[c.format].Validate(doc); (err == nil) != c.good {
			t.Errorf("%s: %v\n%s", c.format, err, c.text)
		}
	}
}

// TestSchemasKnowTheCorpus: what others wrote and the reader takes, the schemas take.
func TestSchemasKnowTheCorpus(t *testing.T) {
	root := filepath.Join("..", "..", "..", "shared", "corpus")
	if _, err := os.Stat(root); err != nil {
		t.Skipf("the corpus of other people's templates is not beside the project: %v", err)
	}
	list, err := filepath.Glob(filepath.Join(root, "*", "*.json"))
	if err != nil || len(list) < 8 {
		t.Fatalf("%v %v", list, err)
	}
	list = append(list, "../../examples/windows-11-image-builder/windows-11.json")
	for _, name := range list {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// The quick start without an identity and the trigger are refused by the reader too; one names the namespace only.
		if slices.Contains([]string{"helloImageTemplateVHD.json", "trigger.json"}, filepath.Base(name)) {
			continue
		}
		format := "packer-json"
		if strings.Contains(name, "image-builder") {
			format = "image-builder"
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(blankComments(raw)))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled(t, format).Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
