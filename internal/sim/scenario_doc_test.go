package sim

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference/scenario.md anew")

// TestScenarioReference: docs/reference/scenario.md is made of the structs of a scenario file and their comments, and its
// example is a scenario.
func TestScenarioReference(t *testing.T) {
	comments := map[string]string{}
	for _, file := range []string{"scenario.go", "marketplace.go", "rbac.go", "guest/guest.go", "guest/windowsupdate.go", "guest/dsc.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
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
				return false
			}
			for _, x := range s.Fields.List {
				for _, name := range x.Names {
					text := x.Doc.Text()
					if text == "" {
						text = x.Comment.Text()
					}
					comments[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
				}
			}
			return false
		})
	}
	var b strings.Builder
	b.WriteString("# Scenario files\n\n<!-- Made of the structs of internal/sim by `make docs`. -->\n\nA JSON file for `ingot sim serve --scenario FILE` that says what the simulated Azure holds at the start and what goes\n" +
		"wrong in it. Members that it does not know are errors. With `--state`, resources, accounts and faults are put in place when\nthe folder is new; everything else holds each time.\n\n```json\n" + scenarioExample + "```\n")
	seen := map[reflect.Type]bool{}
	var write func(title string, typ reflect.Type)
	write = func(title string, typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		fmt.Fprintf(&b, "\n## %s\n\n| member | type | meaning |\n|---|---|---|\n", title)
		var later []reflect.StructField
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			text := comments[typ.Name()+"."+f.Name]
			if text == "" {
				t.Errorf("%s.%s has no comment", typ.Name(), f.Name)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, shapeOf(f.Type), strings.ReplaceAll(text, "|", "\\|"))
			later = append(later, f)
		}
		for _, f := range later {
			inner := f.Type
			for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Map {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				write(name, inner)
			}
		}
	}
	write("The file", reflect.TypeFor[Scenario]())
	const page = "../../docs/reference/scenario.md"
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || !bytes.Equal(got, []byte(b.String())) {
		t.Errorf("%s is not what the structs say: make docs (%v)", page, err)
	}
	file := t.TempDir() + "/scenario.json"
	if err := os.WriteFile(file, []byte(scenarioExample), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadScenario(file)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Scenario: s})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
}

func shapeOf(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[Duration]():
		return `duration ("90s")`
	case t.String() == "time.Duration":
		return "number of nanoseconds"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "list of " + shapeOf(t.Elem())
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return "object"
		}
		return "by name, " + shapeOf(t.Elem())
	case reflect.Pointer:
		return shapeOf(t.Elem())
	case reflect.Struct:
		return "block"
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	default:
		return "number"
	}
}

const scenarioExample = `{
  "resources": [
    {"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/images", "body": {"location": "westeurope"}}
  ],
  "principals": [
    {"name": "reader", "clientId": "00000000-0000-4000-8000-00000000c002", "secret": "test-secret-not-real",
     "roles": [{"role": "Reader", "scope": "/subscriptions/00000000-0000-4000-8000-00000000a001"}]}
  ],
  "faults": [
    {"method": "PUT", "path": "networkInterfaces", "nth": 3, "do": "status", "status": 409, "code": "AnotherOperationInProgress", "message": "busy"}
  ],
  "familyQuota": {"westeurope": {"standardDSv5Family": 16}},
  "capacity": {"northeurope": 8},
  "unavailableSizes": {"westeurope": ["Standard_D2s_v3"]},
  "latency": {"vm": "4m"},
  "stalledRegions": ["uksouth"],
  "throttle": true,
  "limits": {"reads": {"size": 100, "perSecond": 5}},
  "staleReads": {"for": "5s", "share": 0.5}
}
`
