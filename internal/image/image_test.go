package image

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ingot/internal/diag"
)

func TestVersions(t *testing.T) {
	list := []string{"1.10.0", "1.9.0", "26100.4061.250510", "26100.3775.250406", "2.0.0"}
	slices.SortFunc(list, CompareVersions)
	if got := strings.Join(list, " "); got != "1.9.0 1.10.0 2.0.0 26100.3775.250406 26100.4061.250510" {
		t.Error(got)
	}
	for _, c := range []struct {
		have []string
		want string
	}{{nil, "1.0.0"}, {[]string{"1.0.9", "1.0.10"}, "1.0.11"}, {[]string{"2.3.2147483647"}, ""}, {[]string{"1.0"}, ""}} {
		got, err := NextVersion(c.have)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%v: %q %v", c.have, got, err)
		}
	}
}

func TestTextNeverShowsASecret(t *testing.T) {
	const marker = "Marker-not-a-real-secret"
	h := Hidden("where.it.stands", marker)
	raw, err := json.Marshal(struct{ A, B Text }{h, Plain("seen")})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(h), fmt.Sprintf("%s %v %+v %#v %q %x %d", h, h, h, h, h, h, h), fmt.Sprintf("%+v", struct{ T Text }{h}), fmt.Sprint(&h), string(raw)} {
		if strings.Contains(s, marker) || strings.Contains(s, fmt.Sprintf("%x", marker)) {
			t.Error(s)
		}
	}
	var back struct{ A, B Text }
	if err := json.Unmarshal(raw, &back); err != nil || back.B.Reveal() != "seen" || back.A.Secret() != "where.it.stands" || back.A.Reveal() != "" {
		t.Errorf("%v %v", back, err)
	}
	if back.A.Fill(func(string) (string, bool) { return "", false }) {
		t.Error("filled from nothing")
	}
	if !back.A.Fill(func(n string) (string, bool) { return marker, n == "where.it.stands" }) || back.A.Reveal() != marker {
		t.Error("not filled")
	}
}

// world is a Catalog that a test makes up.
type world struct {
	missing string
	plan    bool
	def     GalleryFacts
	size    Size
	base    Base
}

func (w world) miss(what string) error {
	if w.missing == what {
		return ErrNotFound
	}
	return nil
}
func (w world) Whoami(context.Context) (string, string, string, error) {
	return "s", "t", "o", w.miss("sign-in")
}
func (w world) MarketplaceVersions(context.Context, string, string, string, string) ([]string, error) {
	return []string{"1.9.0", "1.10.0"}, w.miss("sku")
}
func (w world) MarketplaceImage(_ context.Context, _, _, _, _, version string) (Base, error) {
	b := w.base
	if w.plan {
		b.Plan = &PurchasePlan{Name: "n", Product: "p", Publisher: "u"}
	}
	return b, w.miss("version")
}
func (w world) Definition(context.Context, string, string, string, string) (GalleryFacts, error) {
	return w.def, w.miss("definition")
}
func (w world) ManagedImage(context.Context, string, string) (Base, error) {
	return Base{}, ErrNotFound
}
func (w world) ManagedImageIn(context.Context, string, string, string) (Base, error) {
	if w.missing == "image" {
		return Base{}, ErrNotFound
	}
	b := w.base
	b.ManagedImageID, b.Location = "/i", "westeurope"
	if w.missing == "image here" {
		b.Location = "eastus"
	}
	return b, nil
}
func (w world) SharedImage(context.Context, string, string, string, bool) (GalleryFacts, error) {
	d := w.def
	if w.plan {
		d.Plan = &PurchasePlan{Name: "n", Product: "p", Publisher: "u"}
	}
	return d, w.miss("shared")
}
func (w world) TermsAccepted(context.Context, PurchasePlan) (bool, error) {
	if w.missing == "agreement" {
		return false, ErrNotFound
	}
	return w.missing != "terms", nil
}
func (w world) GroupLocation(context.Context, string) (string, error) {
	return "West Europe", w.miss("group")
}
func (w world) VMSize(context.Context, string, string) (Size, error) { return w.size, w.miss("size") }

func TestResolve(t *testing.T) {
	sound := world{def: GalleryFacts{Location: "westeurope", OS: Windows, Generation: "V2", OSState: "Generalized", SecurityType: "TrustedLaunchSupported", Versions: []string{"1.0.0", "1.0.1"}},
		size: Size{Name: "x", Generations: []string{"V1", "V2"}}, base: Base{OS: Windows, Generation: "V2"}}
	for _, c := range []struct {
		name   string
		change func(*world, *Image)
		want   string // part of a problem; "" is none
	}{
		{"all well", func(*world, *Image) {}, ""},
		{"no such sku", func(w *world, _ *Image) { w.missing = "sku" }, "does not exist in westeurope"},
		{"no such version", func(w *world, _ *Image) { w.missing = "version" }, "has no version"},
		{"no definition", func(w *world, _ *Image) { w.missing = "definition" }, "does not exist in resource group"},
		{"no size", func(w *world, _ *Image) { w.missing = "size" }, "VM size"},
		{"restricted size", func(w *world, _ *Image) { w.size.Restrictions = []string{"NotAvailableForSubscription"} }, "cannot be used"},
		{"no group", func(w *world, i *Image) {
			w.missing, i.Machine.ResourceGroup, i.Machine.Location = "group", "g", ""
		}, "resource group"},
		{"plan not named", func(w *world, _ *Image) { w.plan = true }, "sold with a plan"},
		{"version exists", func(_ *world, i *Image) { i.Targets = []Target{ToGallery{Version: "1.0.1"}} }, "exists already"},
		{"generation of the size", func(w *world, _ *Image) { w.size.Generations = []string{"V1"} }, "runs generation V1 only"},
		{"generation of the definition", func(w *world, _ *Image) { w.def.Generation = "V1" }, "is generation V1"},
		{"system of the definition", func(w *world, _ *Image) { w.def.OS = Linux }, "is for linux"},
		{"specialized definition", func(w *world, _ *Image) { w.def.OSState = "Specialized" }, "specialized images only"},
		{"definition without trusted launch", func(w *world, i *Image) {
			w.def.SecurityType, i.Machine.SecurityType = "", "TrustedLaunch"
		}, "does not support it"},
		{"definition wants trusted launch", func(w *world, _ *Image) { w.def.SecurityType = "TrustedLaunch" }, "Trusted Launch images only"},
		{"trusted launch on generation 1", func(w *world, i *Image) {
			w.base.Generation, w.def.Generation, i.Machine.VTPM = "V1", "V1", true
		}, "needs a generation 2"},
		{"another region", func(w *world, _ *Image) { w.def.Location = "eastus" }, "copies between them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := &Image{OS: Windows, Source: Marketplace{Publisher: "p", Offer: "o", SKU: "s", Version: "latest"}, Machine: Machine{Location: "West Europe", Size: "x"}, Targets: []Target{ToGallery{Version: "auto"}}}
			w := sound
			c.change(&w, img)
			f, problems, err := Resolve(t.Context(), img, w, ResolveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if len(problems) > 0 || f.Base.Version != "1.10.0" || f.Galleries[0].Version != "1.0.2" || f.Location != "westeurope" {
					t.Errorf("%+v %v", f, problems)
				}
				return
			}
			if !slices.ContainsFunc(problems, func(p diag.Problem) bool { return strings.Contains(p.Summary, c.want) }) {
				t.Errorf("%v, want %q", problems, c.want)
			}
		})
	}
	if _, problems, _ := Resolve(t.Context(), &Image{OS: Windows, Source: Marketplace{}, Machine: Machine{Location: "westeurope"}, Targets: []Target{ToGallery{Version: "1.0.1"}}}, sound, ResolveOptions{Replace: true}); problems.HasErrors() {
		t.Errorf("-force: %v", problems)
	}
}
