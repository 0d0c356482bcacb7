package template

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// same says where two models differ, or "". Places, image names and the names of secrets do not count; an empty list or map is as
// good as none, as everywhere in the model.
func same(a, b *image.Image) string { return differ("image", reflect.ValueOf(a), reflect.ValueOf(b)) }

func differ(at string, a, b reflect.Value) string {
	if a.IsValid() != b.IsValid() {
		return fmt.Sprintf("%s: only one is set", at)
	}
	if !a.IsValid() {
		return ""
	}
	if a.Type() != b.Type() {
		return fmt.Sprintf("%s: %s and %s", at, a.Type(), b.Type())
	}
	unequal := func() string { return fmt.Sprintf("%s: %q and %q", at, fmt.Sprint(a), fmt.Sprint(b)) }
	if a.CanInterface() {
		switch x := a.Interface().(type) {
		case diag.Pos:
			return ""
		case image.Text:
			y := b.Interface().(image.Text)
			if x.Reveal() != y.Reveal() || (x.Secret() == "") != (y.Secret() == "") {
				return fmt.Sprintf("%s: %q (secret %q) and %q (secret %q)", at, x.Reveal(), x.Secret(), y.Reveal(), y.Secret())
			}
			return ""
		case time.Time:
			if !x.Equal(b.Interface().(time.Time)) {
				return unequal()
			}
			return ""
		case netip.Prefix:
			if x != b.Interface().(netip.Prefix) {
				return unequal()
			}
			return ""
		}
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		return differ(at, a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			name := a.Type().Field(i).Name
			if a.Type() == reflect.TypeFor[image.Image]() && name == "Name" {
				continue
			}
			if d := differ(at+"."+name, a.Field(i), b.Field(i)); d != "" {
				return d
			}
		}
	case reflect.Slice:
		if a.Len() != b.Len() {
			return fmt.Sprintf("%s: %d and %d elements: %v and %v", at, a.Len(), b.Len(), a, b)
		}
		for i := range a.Len() {
			if d := differ(fmt.Sprintf("%s[%d]", at, i), a.Index(i), b.Index(i)); d != "" {
				return d
			}
		}
	case reflect.Map:
		if a.Len() != b.Len() {
			return fmt.Sprintf("%s: %v and %v", at, a, b)
		}
		for _, k := range a.MapKeys() {
			if d := differ(fmt.Sprintf("%s[%q]", at, k), a.MapIndex(k), b.MapIndex(k)); d != "" {
				return d
			}
		}
	default:
		if !a.Equal(b) {
			return unequal()
		}
	}
	return ""
}

// TestRoundTripSame: the comparison sees a difference in every field of a model.
func TestRoundTripSame(t *testing.T) {
	if d := same(&image.Image{Tags: map[string]string{}, Name: "a"}, &image.Image{Name: "b", Pos: diag.Pos{Line: 1}}); d != "" {
		t.Error(d)
	}
	one := int32(1)
	for i, x := range []image.Image{
		{OS: image.Linux}, {Tags: map[string]string{"a": ""}}, {Source: image.VHD{}}, {Targets: []image.Target{image.ToVHD{}}}, {Machine: image.Machine{Spot: &image.Spot{}}},
		{Provision: []image.Provision{{Settings: &provisioner.Sleep{}}}}, {Identity: image.Identity{ClientSecret: image.Plain("x")}}, {Identity: image.Identity{ClientSecret: image.Hidden("n", "")}},
		{Targets: []image.Target{image.ToGallery{Major: &one}}}, {Targets: []image.Target{image.ToGallery{EndOfLife: time.Unix(1, 0)}}}, {Machine: image.Machine{Network: image.Network{AllowedInbound: []netip.Prefix{{}}}}},
	} {
		if same(&x, &image.Image{}) == "" || same(&image.Image{}, &x) == "" {
			t.Errorf("difference %d is not seen", i)
		}
	}
	if same(&image.Image{Identity: image.Identity{ClientSecret: image.Hidden("n", "a")}}, &image.Image{Identity: image.Identity{ClientSecret: image.Hidden("n", "b")}}) == "" {
		t.Error("the value of a secret does not count")
	}
}
