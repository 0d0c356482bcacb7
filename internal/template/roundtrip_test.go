package template

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// extension is a file name's for a language.
func extension(l Language) string {
	if l == PackerHCL {
		return ".pkr.hcl"
	}
	return ".json"
}

// again loads what was written, with a value for each thing it needs.
func again(t interface {
	Fatalf(string, ...any)
	Helper()
}, dir string, w Written, l Language, more ...string) *Result {
	t.Helper()
	name := filepath.Join(dir, "again"+extension(l))
	if err := os.WriteFile(name, w.Text, 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	o := Options{Cwd: dir, Now: now, Env: armEnv(), NoScriptCheck: true} // the texts are random
	for _, n := range w.Needs {
		v, ok := w.value(n)
		if !ok {
			t.Fatalf("nobody knows what %s stands for", n)
		}
		text := v
		if l != ImageBuilder {
			text = literal(text) // Packer looks for actions in what a variable holds, too
		}
		o.Vars = append(o.Vars, n+"="+text)
		// Parts of words would be found anywhere.
		if len(v) > len("Secret-")+6 && strings.HasPrefix(v, "Secret-") && strings.Contains(string(w.Text), quotedInside(v)) {
			t.Fatalf("the secret %q is in the text:\n%s", v, w.Text)
		}
	}
	o.Vars = append(o.Vars, more...)
	if l == PackerHCL {
		name = dir // with the values of variables beside it
	}
	r, problems := Load(name, o)
	if problems.HasErrors() || r.Language != l {
		for _, p := range problems {
			if p.Severity == diag.Error {
				t.Fatalf("%s (%s) %s:%d %v\n%s", p.Summary, p.Detail, p.Pos.File, p.Pos.Line, o.Vars, w.Text)
			}
		}
		t.Fatalf("it is read as %s\n%s", r.Language, w.Text)
	}
	return r
}

// quotedInside is a text as it stands in JSON, without the quotes.
func quotedInside(s string) string { q := quoted(s); return q[1 : len(q)-1] }

// roundTrip writes, reads, compares; and once more, when the text must stay.
func roundTrip(t *rapid.T, dir string, img *image.Image, l Language, forget func(*image.Image)) {
	w, err := Write([]*image.Image{img}, l)
	if err != nil {
		t.Fatal(err)
	}
	r := again(t, dir, w, l)
	if len(r.Images) != 1 {
		t.Fatalf("%d images\n%s", len(r.Images), w.Text)
	}
	forget(img)
	forget(r.Images[0])
	if d := same(img, r.Images[0]); d != "" {
		t.Fatalf("%s\n%s", d, w.Text)
	}
	second, err := Write(r.Images, l)
	if err != nil {
		t.Fatal(err)
	}
	third, err := Write(again(t, dir, second, l).Images, l)
	if err != nil || string(second.Text) != string(third.Text) {
		t.Fatalf("written twice it is another text: %v\n%s\n%s", err, second.Text, third.Text)
	}
}

// strange are files whose names are hard to write.
func strange(t *testing.T, dir string) (out []string) {
	t.Helper()
	for _, n := range []string{"plain.ps1", "a $b ${c} %{d}.ps1", "{{ isotime }} 'x'.sh"} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("exit 0\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out = append(out, filepath.Join(dir, n))
	}
	return out
}

func TestRoundTripHCL(t *testing.T) {
	dir := t.TempDir()
	files := strange(t, dir)
	rapid.Check(t, func(t *rapid.T) {
		roundTrip(t, dir, (&making{t: t, files: files}).arm(), PackerHCL, func(*image.Image) {})
	})
}

func TestRoundTripJSON(t *testing.T) {
	dir := t.TempDir()
	files := strange(t, dir)
	rapid.Check(t, func(t *rapid.T) {
		roundTrip(t, dir, (&making{t: t, files: files}).arm(), PackerJSON, unnamed)
	})
}

func TestRoundTripImageBuilder(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		roundTrip(t, dir, (&making{t: t}).aibImage(), ImageBuilder, func(*image.Image) {})
	})
}

// TestRoundTripSeveral: images of one text do not get into one another's way.
func TestRoundTripSeveral(t *testing.T) {
	dir := t.TempDir()
	files := strange(t, dir)
	rapid.Check(t, func(t *rapid.T) {
		a, b := (&making{t: t, files: files}).arm(), (&making{t: t, files: files}).arm()
		b.Name, b.Cleanup = "azure-arm.x-y", nil // Packer's older language has one clean-up for all
		if rapid.Bool().Draw(t, "same name") {
			b.Name = "other.azure-arm.x"
		}
		for _, l := range []Language{PackerHCL, PackerJSON} {
			w, err := Write([]*image.Image{a, b}, l)
			if err != nil {
				t.Fatal(err)
			}
			r := again(t, dir, w, l)
			if len(r.Images) != 2 {
				t.Fatalf("%d images\n%s", len(r.Images), w.Text)
			}
			for i, img := range []*image.Image{a, b} {
				c := *r.Images[i]
				if l == PackerJSON {
					unnamed(img)
					unnamed(&c)
					c.Cleanup = img.Cleanup
				}
				if d := same(img, &c); d != "" {
					t.Fatalf("%s: image %d: %s\n%s", l, i, d, w.Text)
				}
			}
		}
	})
}

// TestRoundTripUpgrade: Packer's older language in HCL is the same model, with the same variables.
func TestRoundTripUpgrade(t *testing.T) {
	dir := t.TempDir()
	files := strange(t, dir)
	rapid.Check(t, func(t *rapid.T) {
		w, err := Write([]*image.Image{(&making{t: t, files: files}).arm()}, PackerJSON)
		if err != nil {
			t.Fatal(err)
		}
		r := again(t, dir, w, PackerJSON)
		up, err := Convert(r, PackerHCL, Options{Cwd: dir})
		if err != nil {
			t.Fatal(err)
		}
		var vars []string
		for _, n := range w.Needs {
			v, _ := w.value(n)
			vars = append(vars, n+"="+literal(v))
		}
		if d := same(r.Images[0], again(t, dir, up, PackerHCL, vars...).Images[0]); d != "" {
			t.Fatalf("%s\n%s\n%s", d, w.Text, up.Text)
		}
	})
}

// TestRoundTripAcross: what one language says the other reads, and what both can say is the same.
func TestRoundTripAcross(t *testing.T) {
	dir := t.TempDir()
	files := strange(t, dir)
	for _, n := range []string{"a.ps1", "c.sh"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(t *rapid.T, img *image.Image, to Language) {
		w, err := Write([]*image.Image{img}, to)
		if err != nil {
			t.Fatal(err)
		}
		back := again(t, dir, w, to, placeholdersOf(string(w.Text), to)...).Images[0]
		c := *img
		if common(&c); c.Machine.Location == "" {
			c.Machine.Location = "westeurope"
		}
		if n := &c.Machine.Network; n.VNet != "" { // placeholders
			n.Subnet, n.ResourceGroup = cmp.Or(n.Subnet, "n"), cmp.Or(n.ResourceGroup, "rg")
		}
		common(back)
		c.Communicator, back.Communicator = image.Communicator{}, image.Communicator{}
		if to == ImageBuilder {
			back.OS = c.OS // its language says it nowhere
			switch c.Source.(type) {
			case image.VHD, image.SharedGalleryImage:
				back.Source = c.Source // community galleries, and VHDs, are none of its sources
			}
		}
		if s, ok := c.Source.(image.GalleryVersion); ok && s.Version == "" {
			s.Version = "latest"
			c.Source = s
		}
		c.Source, back.Source = unplanned(c.Source), unplanned(back.Source)
		back.Provision = shared(c.Provision, back.Provision)
		if d := same(&c, back); d != "" {
			t.Fatalf("%s: %s\n%v\n%s", to, d, w.Losses, w.Text)
		}
	}
	t.Run("to Image Builder", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			img := (&making{t: t, files: files, names: true, aib: true}).arm()
			// What is for the other system, or nowhere to go, is refused by its readers, not lost by a writer.
			img.Provision = slices.DeleteFunc(img.Provision, func(p image.Provision) bool {
				return p.Type == "shell" == (img.OS == image.Windows) || p.Type != "shell" && img.OS == image.Linux
			})
			if _, ok := img.Source.(image.Marketplace); ok {
				img.Source = image.VHD{URL: "https://a.blob.core.windows.net/c/d.vhd"}
			}
			img.Targets = append(img.Targets, image.ToGallery{Subscription: "s", ResourceGroup: "rg", Gallery: "g", Image: "last", Version: "1.2.3", StorageType: "Standard_LRS", Replicas: 1, Timeout: time.Hour})
			check(t, img, ImageBuilder)
		})
	})
	for _, to := range []Language{PackerHCL, PackerJSON} {
		t.Run("to "+string(to), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				img := (&making{t: t, files: files}).aibImage()
				// A managed image is one, and a VHD needs a storage account.
				img.Targets = slices.DeleteFunc(img.Targets, func(t image.Target) bool { _, gallery := t.(image.ToGallery); return !gallery })
				img.Targets = append(img.Targets, image.ToManagedImage{Subscription: "s", ResourceGroup: "rg", Name: "i", Location: "uksouth", StorageType: "Standard_LRS", Output: image.Output{Name: "last"}})
				check(t, img, to)
			})
		})
	}
}
