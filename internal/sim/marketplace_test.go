package sim

import (
	"strings"
	"testing"
)

func TestMarketplace(t *testing.T) {
	d := newDesk(t, nil)
	root := "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.Compute/locations/westeurope/publishers"
	names := func(path string) string {
		t.Helper()
		list, ok := d.must(200, "GET", path, nil).([]any) // a bare list, not {"value": ...}
		if !ok {
			t.Fatalf("%s is not a list", path)
		}
		var out []string
		for _, x := range list {
			out = append(out, text(x, "name"))
		}
		return strings.Join(out, " ")
	}
	if got := names(root); !strings.Contains(got, "MicrosoftWindowsDesktop") || strings.Count(got, "MicrosoftWindowsDesktop") != 1 {
		t.Errorf("publishers: %s", got)
	}
	offers := root + "/microsoftwindowsdesktop/artifacttypes/vmimage/offers" // names compare without case
	if got := names(offers); got != "windows-11 office-365 windows-10" {
		t.Errorf("offers: %s", got)
	}
	if got := names(offers + "/office-365/skus"); !strings.Contains(got, "win11-24h2-avd-m365") {
		t.Errorf("skus: %s", got)
	}
	versions := offers + "/windows-11/skus/win11-24h2-avd/versions"
	if got := names(versions); got != strings.Join(win11v24h2[:], " ") {
		t.Errorf("versions: %s", got)
	}
	v := d.must(200, "GET", versions+"/26100.4061.250510", nil)
	if text(v, "properties", "hyperVGeneration") != "V2" || feature(mapping(v, "properties")) != "TrustedLaunchSupported" || text(v, "properties", "osDiskImage", "operatingSystem") != "Windows" {
		t.Errorf("version: %v", v)
	}
	old := d.must(200, "GET", offers+"/windows-10/skus/win10-22h2-avd/versions/"+win10v22h2[0], nil)
	if text(old, "properties", "hyperVGeneration") != "V1" || feature(mapping(old, "properties")) != "" {
		t.Errorf("generation 1: %v", old)
	}
	d.refused(404, "NotFound", "GET", root+"/fooBAR/artifacttypes/vmimage/offers", nil)
	d.refused(404, "NotFound", "GET", versions+"/1.2.3", nil)
}

func TestVersionOrder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"26100.975.1", "26100.4061.1", true}, {"26100.4061.1", "26100.975.1", false}, {"1.0.0", "1.0.0", false},
		{"1.0", "1.0.1", true}, {"9.0.0", "10.0.0", true}, {"1.a.0", "1.b.0", true},
	} {
		if got := versionLess(c.a, c.b); got != c.want {
			t.Errorf("%s < %s: %v", c.a, c.b, got)
		}
	}
	for _, m := range marketplace() {
		v, ok := m.exact("latest")
		if !ok {
			t.Fatalf("%s has no latest", m.sku)
		}
		for _, o := range m.versions {
			if versionLess(v, o) {
				t.Errorf("%s: latest is %s, yet there is %s", m.sku, v, o)
			}
		}
	}
}
