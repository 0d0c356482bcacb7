package image

import (
	"context"
	"slices"
	"strings"
	"testing"
)

func (w world) Gallery(context.Context, string, string, string) (string, error) {
	return "northeurope", w.miss("gallery")
}
func (w world) StorageAccount(context.Context, string, string) (string, error) {
	return "westeurope", w.miss("account")
}
func (w world) FindStorageAccount(context.Context, string) (string, error) {
	return "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a", w.miss("account")
}
func (w world) Snapshot(context.Context, string, string) error {
	if w.missing == "no snapshot" {
		return nil
	}
	return ErrNotFound
}
func (w world) DataDisks(context.Context, string) ([]int32, error) { return []int32{0, 3}, nil }

func TestDiskLUNs(t *testing.T) {
	for _, c := range []struct {
		asks, used, want []int32
		err              string
	}{
		{asks: []int32{-1, -1, -1}, want: []int32{0, 1, 2}},
		{asks: []int32{-1, -1, -1}, used: []int32{0, 3}, want: []int32{1, 2, 4}},
		{asks: []int32{2, -1, 0, -1}, want: []int32{2, 1, 0, 3}},
		{asks: []int32{3}, used: []int32{0, 3}, err: "LUN 3"},
	} {
		var disks []DataDisk
		for _, n := range c.asks {
			disks = append(disks, DataDisk{GB: 1, LUN: n})
		}
		got, err := DiskLUNs(disks, c.used)
		if !slices.Equal(got, c.want) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v beside %v: %v %v", c.asks, c.used, got, err)
		}
	}
}

func TestVersionsOfAMajorNumberAndOfTheSource(t *testing.T) {
	// The example of https://learn.microsoft.com/azure/virtual-machines/linux/image-builder-json, "versioning".
	have := []string{"0.1.1", "0.1.2", "1.0.0", "1.0.1", "1.1.0", "1.1.1", "1.2.0", "2.0.0", "2.0.1", "2.1.0"}
	one, zero, seven := int32(1), int32(0), int32(7)
	for _, c := range []struct {
		major *int32
		want  string
	}{{nil, "2.1.1"}, {&one, "1.2.1"}, {&zero, "0.1.3"}, {&seven, "7.0.0"}} {
		if got, err := NextVersionOf(have, c.major); err != nil || got != c.want {
			t.Errorf("%v: %s %v, want %s", c.major, got, err, c.want)
		}
	}
	for version, want := range map[string]string{"26100.4061.250510": "26100.4061.250510", "1.2.3.4": "1.2.3", "": "", "1.2": "", "17763.1.2303030319": ""} {
		if got, err := sourceVersion(version); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", version, got, err)
		}
	}
}

func TestADefinitionThatIsToBeMade(t *testing.T) {
	block := Definition{ResourceGroup: "rg", Gallery: "g", Name: "i", OSState: "Generalized", Generation: "V2", SecurityType: "TrustedLaunchSupported"}
	for _, c := range []struct {
		name    string
		missing string
		change  func(*Definition, *world)
		problem string
		facts   GalleryFacts
	}{
		{"missing, in a gallery that is there", "definition", nil, "", GalleryFacts{Location: "northeurope", Make: true, Version: "1.0.0"}},
		{"in a place of its own", "definition", func(d *Definition, _ *world) { d.Location = "westeurope" }, "", GalleryFacts{Location: "westeurope", Make: true, Version: "1.0.0"}},
		{"there, and as described", "", nil, "", GalleryFacts{Version: "1.0.0"}},
		{"there, of another generation", "", func(_ *Definition, w *world) { w.def.Generation = "V1" }, "hyper_v_generation V1, and its block says V2", GalleryFacts{}},
		{"there, without Trusted Launch", "", func(_ *Definition, w *world) { w.def.SecurityType = "" }, "security_type Standard, and its block says TrustedLaunchSupported", GalleryFacts{}},
		{"there, for another processor", "", func(_ *Definition, w *world) { w.def.Architecture = "Arm64" }, "architecture Arm64, and its block says x64", GalleryFacts{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := block
			w := world{missing: c.missing, base: Base{OS: Windows, Generation: "V2"}, size: Size{Name: "s", Generations: []string{"V2"}},
				def: GalleryFacts{DefinitionID: "/d", OS: Windows, Generation: "V2", OSState: "Generalized", SecurityType: "TrustedLaunchSupported"}}
			if c.change != nil {
				c.change(&d, &w)
			}
			img := &Image{OS: Windows, Source: Marketplace{Publisher: "p", Offer: "o", SKU: "k"}, Machine: Machine{Location: "westeurope", Size: "s"},
				Targets: []Target{ToGallery{ResourceGroup: "rg", Gallery: "g", Image: "i", Version: "auto"}}, Definitions: []Definition{d}}
			f, problems, err := Resolve(context.Background(), img, w, ResolveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if c.problem != "" {
				if !problems.HasErrors() || !strings.Contains(problems[0].Summary, c.problem) {
					t.Errorf("%v", problems)
				}
				return
			}
			got := f.Galleries[0]
			if problems.HasErrors() || got.Make != c.facts.Make || got.Version != c.facts.Version || c.facts.Make && (got.Location != c.facts.Location || got.Generation != "V2") {
				t.Errorf("%+v %v", got, problems)
			}
		})
	}
}
