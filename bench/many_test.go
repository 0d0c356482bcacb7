package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// many writes a template of n images, each with a definition of its own, and a scenario that has these, counts calls as Azure does and
// gives the identity no more of them than anybody's.
func many(b *testing.B, n int) (template, scenario string) {
	b.Helper()
	const group = "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images"
	const gallery = group + "/providers/Microsoft.Compute/galleries/galAvd"
	type seeded struct {
		ID   string         `json:"id"`
		Body map[string]any `json:"body"`
	}
	at := func(properties map[string]any) map[string]any {
		return map[string]any{"location": "westeurope", "properties": properties}
	}
	resources := []seeded{{group, map[string]any{"location": "westeurope"}}, {gallery, at(map[string]any{})}}
	var text strings.Builder
	var names []string
	for i := range n {
		resources = append(resources, seeded{fmt.Sprintf("%s/images/image-%d", gallery, i), at(map[string]any{"osType": "Windows", "osState": "Generalized", "hyperVGeneration": "V2",
			"identifier": map[string]any{"publisher": "contoso", "offer": "avd", "sku": fmt.Sprint(i)}})})
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
    resource_group      = "rg-images"
    gallery_name        = "galAvd"
    image_name          = "image-%[1]d"
    image_version       = "1.0.0"
    replication_regions = ["westeurope", "northeurope"]
  }
}
`, i)
		names = append(names, fmt.Sprintf("%q", fmt.Sprintf("source.azure-arm.w%d", i)))
	}
	fmt.Fprintf(&text, "build {\n  sources = [%s]\n  provisioner \"powershell\" { inline = [\"Write-Host ${source.name}\"] }\n}\n", strings.Join(names, ", "))
	dir := b.TempDir()
	template, scenario = filepath.Join(dir, "many.pkr.hcl"), filepath.Join(dir, "scenario.json")
	raw, err := json.Marshal(map[string]any{"throttle": true, "quota": map[string]int{"westeurope": 4 * n}, "resources": resources})
	if err != nil {
		b.Fatal(err)
	}
	for name, body := range map[string][]byte{template: []byte(text.String()), scenario: raw} {
		if err := os.WriteFile(name, body, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return template, scenario
}

// BenchmarkManyBuilds is as many builds at once in one process, the simulated Azure in it, under Resource Manager's own limits (250 reads at
// once and 25 a second, 200 writes and 10): all must succeed. INGOT_BENCH_BUILDS says how many; 24 without.
func BenchmarkManyBuilds(b *testing.B) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("INGOT_BENCH_BUILDS"), "24"))
	if err != nil || n < 1 {
		b.Fatalf("INGOT_BENCH_BUILDS is a number, not %q", os.Getenv("INGOT_BENCH_BUILDS"))
	}
	path := binary(b)
	template, scenario := many(b, n)
	peak := 0.0
	for b.Loop() {
		_, mb := run(b, 0, nil, path, "build", "--cloud", "sim", "--scenario", scenario, template)
		peak = max(peak, mb)
	}
	if peak > 1024 {
		b.Errorf("%.0f MB at its peak; a GiB is the limit", peak)
	}
	b.ReportMetric(peak, "MB-peak")
	b.ReportMetric(float64(n), "builds")
}
