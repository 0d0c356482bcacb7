// Package internal holds the table of who may import whom (docs/design.md, "Direction") against the code.
package internal

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed lists, for each room, the rooms it may import; tests may import more. A room that is not listed is an error, so
// that a new one is thought about.
var allowed = map[string][]string{
	"cli":                  {"azure", "communicator", "diag", "engine", "engine/aib", "engine/vm", "explain", "image", "plan", "progress", "sim", "sim/qemu", "state", "template"},
	"explain":              {},
	"template":             {"diag", "image", "imagebuilder", "provisioner", "template/braces", "template/armexpr"},
	"imagebuilder":         {"diag", "image", "provisioner", "communicator"},
	"template/braces":      {"diag", "image"},
	"template/armexpr":     {"diag"},
	"diag":                 {},
	"image":                {"diag"},
	"powershell":           {},
	"provisioner":          {"image", "communicator", "diag", "powershell"},
	"communicator":         {},
	"communicator/sshtest": {},
	"plan":                 {},
	"azure":                {},
	"engine":               {"plan", "azure", "communicator", "image", "provisioner", "diag"},
	"engine/aib":           {"engine", "plan", "azure", "communicator", "image", "imagebuilder", "provisioner", "diag"},
	"engine/vm":            {"engine", "plan", "azure", "communicator", "image", "provisioner", "diag"},
	"sim":                  {"sim/guest", "sim/qemu", "sim/blob"},
	"sim/blob":             {},
	"sim/guest":            {},
	"sim/qemu":             {},
	"sim/replay":           {"sim"},
	"sim/spec":             {},
	"progress":             {"plan"},
	"state":                {"azure", "plan"},
}

// only lists the rooms that may import a family of other people's packages.
var only = map[string][]string{
	"github.com/hashicorp/hcl":           {"template"},
	"github.com/go-json-experiment/":     {"template"},
	"github.com/Azure/azure-sdk-for-go/": {"azure"},
	"github.com/masterzen/winrm":         {"communicator"},
	"github.com/spf13/cobra":             {"cli"},
	"charm.land/":                        {"progress"},
	"software.sslmate.com/src/go-pkcs12": {"engine/vm", "sim"},
}

func TestRoomsImportOnlyTheirNeighbours(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		room := strings.TrimPrefix(p.ImportPath, "ingot/internal/")
		if room == p.ImportPath {
			continue // this package
		}
		may, ok := allowed[room]
		if !ok {
			t.Errorf("room %s is not in the table", room)
			continue
		}
		seen++
		for _, i := range p.Imports {
			if to, ours := strings.CutPrefix(i, "ingot/internal/"); ours && !slices.Contains(may, to) {
				t.Errorf("room %s must not import %s", room, to)
			}
			for family, rooms := range only {
				if strings.HasPrefix(i, family) && !slices.Contains(rooms, room) {
					t.Errorf("room %s must not import %s: that is for %v", room, i, rooms)
				}
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d rooms found, %d in the table", seen, len(allowed))
	}
}
