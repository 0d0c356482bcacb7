package test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestManyBuildsUnderThrottling: eight builds at once in one process, of an identity that is allowed far fewer calls than they make, all
// succeed; what they ask alike before they begin is asked once. bench/ does it with 500.
func TestManyBuildsUnderThrottling(t *testing.T) {
	t.Parallel()
	const builds = 8
	a := serveScenario(t, strings.TrimSuffix(strings.TrimSpace(seeds), "}")+`, "limits": {"reads": {"size": 40, "perSecond": 200}, "writes": {"size": 20, "perSecond": 100}, "deletes": {"size": 3, "perSecond": 30}}}`)
	var text strings.Builder
	var names []string
	for i := range builds {
		fmt.Fprintf(&text, `source "azure-arm" "w%[1]d" {
  image_publisher = "MicrosoftWindowsDesktop"
  image_offer     = "windows-11"
  image_sku       = "win11-25h2-avd"
  os_type         = "Windows"
  location        = "westeurope"
  vm_size         = "Standard_D2s_v5"
  communicator    = "winrm"
  winrm_use_ssl   = true
  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
    image_version  = "1.0.%[1]d"
  }
}
`, i)
		names = append(names, fmt.Sprintf("%q", fmt.Sprintf("source.azure-arm.w%d", i)))
	}
	fmt.Fprintf(&text, "build {\n  sources = [%s]\n}\n", strings.Join(names, ", "))
	file := filepath.Join(t.TempDir(), "many.pkr.hcl")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r := a.ingot(t, t.TempDir(), nil, "build", file)
	versions, left := a.made(t)
	if r.code != 0 || len(versions) != builds || len(left) != 0 || strings.Contains(r.out, "could not be checked") {
		t.Fatalf("exit code %d, %d versions, left %v\n%s", r.code, len(versions), left, r.out)
	}
	var calls []struct {
		Method, Path string
		Status       int
	}
	a.call(t, http.MethodGet, "/sim/calls", nil, &calls)
	refused, asked := 0, map[string]int{}
	for _, c := range calls {
		if c.Status == http.StatusTooManyRequests {
			refused++
			continue
		}
		asked[c.Path[strings.LastIndex(c.Path, "/")+1:]]++
	}
	t.Logf("%d calls, %d of them refused", len(calls), refused)
	if refused == 0 {
		t.Error("nothing was throttled")
	}
	for _, once := range []string{"locks", "denyAssignments", "usages", "skus"} {
		if asked[once] != 1 {
			t.Errorf("%s was asked for %d times", once, asked[once])
		}
	}
}
