package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/internal/plan"
)

const triedVersion = "Microsoft.Compute/galleries/galAvd/images/windows-11-avd/versions/1.0.0"

// TestATestThatMayFail: the image is published although a test fails (continue_on_failure), nothing else stays, and the run has failed;
// also when it is killed after the test, or in it, and resumed.
func TestATestThatMayFail(t *testing.T) {
	t.Parallel()
	dir := framed(t, w11+`
  location = "westeurope"
  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
    image_version  = "1.0.0"
  }`)
	text := "test \"windows-shell\" {\n  name = \"the smoke test\"\n  inline = [\"exit /b 7\"]\n  continue_on_failure = true\n}\ntest \"windows-shell\" {\n  inline = [\"echo the second\"]\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "w.ingot.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	failedKept := func(t *testing.T, a *azure, what, state string, r result) {
		t.Helper()
		if r.code != 1 || !strings.Contains(r.out, "what the run made is kept, but it has failed: Try the smoke test") || !strings.Contains(r.out, "[try-provision-1] FAILED") {
			t.Errorf("%s: exit code %d\n%s", what, r.code, r.out)
		}
		if got := a.kept(t); !slices.Equal(got, []string{triedVersion}) {
			t.Errorf("%s: it keeps %v", what, got)
		}
		run, _, _ := journal(t, state)
		// Told again by whoever asks later, in the same words.
		if w := a.ingot(t, state, nil, "resume", run); w.code != 1 || !strings.Contains(w.out, "Try the smoke test") {
			t.Errorf("%s: resumed once more: exit code %d\n%s", what, w.code, w.out)
		}
		if s := a.ingot(t, state, nil, "runs"); !strings.Contains(s.out, "failed-kept") || strings.Contains(s.out, "not cleaned up") {
			t.Errorf("%s: runs says\n%s", what, s.out)
		}
	}
	a, whole := serve(t), t.TempDir()
	r := a.ingot(t, whole, nil, "build", dir)
	if !strings.Contains(r.out, "[try-provision-2] DONE") || !strings.Contains(r.out, "[gallery-1] DONE") {
		t.Fatalf("the run did not go on\n%s", r.out)
	}
	failedKept(t, a, "a whole run", whole, r)

	_, _, raw := journal(t, whole)
	var at []int
	for i, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
		var e plan.Entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Kind == plan.EntryFlaw: // the entry before, which is the test's own; this one
			at = append(at, i, i+1)
		case e.Step == "gallery-1" && e.Kind == plan.EntryDone, e.Kind == plan.EntryVerdict:
			at = append(at, i+1)
		}
	}
	if len(at) != 4 {
		t.Fatalf("kill after %v?", at)
	}
	for _, n := range at {
		a, state, what := serve(t), t.TempDir(), fmt.Sprintf("killed after entry %d", n)
		r := a.ingot(t, state, []string{fmt.Sprintf("INGOT_TEST_KILL_AFTER=%d", n)}, "build", dir)
		if !r.killed {
			t.Fatalf("%s: it was not, and ends with %d\n%s", what, r.code, r.out)
		}
		run, _, _ := journal(t, state)
		failedKept(t, a, what, state, a.ingot(t, state, nil, "resume", run))
	}
}

// TestImageBuilderDistributesAllTheSame is continueDistributeOnFailure: every validation may fail. Without it nothing is distributed.
func TestImageBuilderDistributesAllTheSame(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		may  bool
		want []string
	}{"it may fail": {true, []string{triedVersion}}, "it may not": {false, nil}} {
		a := serve(t)
		text := fmt.Sprintf(`{
  "type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "location": "westeurope", "name": "t",
  "identity": {"type": "UserAssigned", "userAssignedIdentities": {"%[1]sMicrosoft.ManagedIdentity/userAssignedIdentities/aib": {}}},
  "properties": {
    "source": {"type": "PlatformImage", "publisher": "MicrosoftWindowsDesktop", "offer": "windows-11", "sku": "win11-25h2-avd", "version": "latest"},
    "validate": {"continueDistributeOnFailure": %[2]v, "inVMValidations": [{"type": "PowerShell", "name": "look", "inline": ["exit 3"]}]},
    "distribute": [{"type": "SharedImage", "runOutputName": "o", "galleryImageId": "%[1]sMicrosoft.Compute/galleries/galAvd/images/windows-11-avd/versions/1.0.0", "targetRegions": [{"name": "westeurope"}]}]
  }
}`, inImages, c.may)
		file := filepath.Join(t.TempDir(), "t.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := a.ingot(t, t.TempDir(), nil, "build", file)
		if got := a.kept(t); r.code != 1 || !slices.Equal(got, c.want) || strings.Contains(r.out, "it has failed: Try look") != c.may {
			t.Errorf("%s: exit code %d, kept %v\n%s", name, r.code, got, r.out)
		}
	}
}
