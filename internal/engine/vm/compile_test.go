package vm

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/template"
)

var update = flag.Bool("update", false, "write golden files anew")

var made = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func facts() image.Facts {
	return image.Facts{Subscription: "s", Tenant: "t", ObjectID: "o", Location: "westeurope", Base: image.Base{Publisher: "MicrosoftWindowsDesktop", Offer: "windows-11", SKU: "win11-25h2-avd",
		Version: "26200.7171.251112", OS: image.Windows, Generation: "V2"}, Galleries: []image.GalleryFacts{{Location: "westeurope", OS: image.Windows, Generation: "V2", OSState: "Generalized", Version: "1.0.0"}}}
}

func example(t *testing.T) *image.Image {
	t.Helper()
	r, problems := template.Load("../../../examples/windows-11-avd", template.Options{Now: made})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	return r.Images[0]
}

// goldenPlan holds a plan against a file; -update writes it anew.
func goldenPlan(t *testing.T, file string, raw []byte) {
	t.Helper()
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), filepath.Dir(filepath.Dir(filepath.Dir(cwd))), "PROJECT") + "\n"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("the plan has changed; if that is right: go test ./internal/engine/vm -update\n%s", text)
	}
}

// TestPlanOfAVDCustomizers holds the plan of the example with Azure Virtual Desktop's own scripts.
func TestPlanOfAVDCustomizers(t *testing.T) {
	r, problems := template.Load("../../../examples/windows-11-avd-customizers", template.Options{Now: made})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	f := facts()
	p, err := Engine{}.Plan(r.Images[0], f, engine.Options{Run: "abcd2345", Made: made, Expires: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	goldenPlan(t, "testdata/windows-11-avd-customizers.plan.json", raw)
}

// TestPlanOfTheExample holds the whole plan; -update writes it anew.
func TestPlanOfTheExample(t *testing.T) {
	o := engine.Options{Run: "abcd2345", Made: made, Expires: 24 * time.Hour}
	p, err := Engine{}.Plan(example(t), facts(), o)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	goldenPlan(t, "testdata/windows-11-avd.plan.json", raw)
	again, err := Engine{}.Plan(example(t), facts(), o)
	if b, _ := json.MarshalIndent(again, "", "  "); err != nil || string(b) != string(raw) {
		t.Error("the same arguments make another plan")
	}
	// Every kind of step has an action, and no step of the plan makes something without a tag to find it by.
	actions := Engine{}.Actions(engine.Env{})
	for _, s := range p.Steps {
		if actions[s.Kind] == nil {
			t.Errorf("nobody does %q", s.Kind)
		}
		if s.Scope == plan.Scratch && !strings.Contains(string(s.Args), `"ingot-run":"abcd2345"`) {
			t.Errorf("step %s makes something without a tag: %s", s.ID, s.Args)
		}
	}
}

func TestPlanFollowsTheTemplate(t *testing.T) {
	ids := func(change func(*image.Image)) []string {
		img := example(t)
		change(img)
		p, err := Engine{}.Plan(img, facts(), engine.Options{Run: "abcd2345", Made: made})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range p.Steps {
			out = append(out, s.ID)
		}
		return out
	}
	all := ids(func(*image.Image) {})
	for _, c := range []struct {
		name        string
		change      func(*image.Image)
		gone, added []string
	}{
		{"existing network", func(i *image.Image) { i.Machine.Network.VNet = "v" }, []string{"nsg", "ip", "caller"}, nil},
		{"existing network with a public address", func(i *image.Image) { i.Machine.Network = image.Network{VNet: "v", PublicIP: true} }, []string{"nsg", "caller"}, nil},
		{"run commands", func(i *image.Image) { i.Communicator = image.Communicator{Kind: "runcommand", User: "packer"} }, []string{"vault", "certificate", "caller", "ip"}, []string{"storage"}},
		{"run commands in an existing network", func(i *image.Image) {
			i.Communicator = image.Communicator{Kind: "runcommand", User: "packer"}
			i.Machine.Network = image.Network{VNet: "v", PublicIP: true}
		}, []string{"vault", "certificate", "caller", "ip", "nsg"}, []string{"storage"}},
		{"existing group", func(i *image.Image) { i.Machine.ResourceGroup = "g" }, []string{"group"}, nil},
		{"no provisioners", func(i *image.Image) { i.Provision = nil }, []string{"provision-1", "provision-2", "provision-3", "provision-4", "provision-5"}, nil},
		{"specialized", func(i *image.Image) {
			g := i.Targets[0].(image.ToGallery)
			g.Specialized = true
			i.Targets[0] = g
		}, []string{"generalize", "seal"}, nil},
		{"managed image too", func(i *image.Image) { i.Targets = append(i.Targets, image.ToManagedImage{Name: "m"}) }, nil, []string{"managed-image-2"}},
	} {
		got := ids(c.change)
		var want []string
		for _, id := range append(slices.Clone(all), c.added...) {
			if !slices.Contains(c.gone, id) {
				want = append(want, id)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", c.name, got, want)
		}
	}
}

func TestCertificateAndPassword(t *testing.T) {
	c, err := newCertificate("ingot-x", made)
	if err != nil || len(c.DER) == 0 || strings.Contains(c.Secret, "BEGIN") {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 50 {
		p, err := newPassword()
		if err != nil || len(p) != 32 || !strings.ContainsAny(p, "abcdefghijkmnopqrstuvwxyz") || !strings.ContainsAny(p, "ABCDEFGHJKLMNPQRSTUVWXYZ") || !strings.ContainsAny(p, "23456789") || seen[p] {
			t.Fatalf("%d characters, %v", len(p), err)
		}
		seen[p] = true
	}
}
