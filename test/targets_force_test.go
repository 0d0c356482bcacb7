package test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestForceThatFailsLeavesASnapshotAndAVHD lets each call of a forced build that has to do with its snapshot or its VHD go wrong once:
// afterwards there is a whole snapshot and a whole VHD, older or new, and nothing else.
func TestForceThatFailsLeavesASnapshotAndAVHD(t *testing.T) {
	t.Parallel()
	dir := framed(t, w11+`
  build_resource_group_name           = "rg-images"
  managed_image_os_disk_snapshot_name = "snap_os"
  resource_group_name                 = "rg-images"
  storage_account                     = "vhds1"
  capture_container_name              = "images"
  capture_name_prefix                 = "w11-"
  temp_os_disk_name                   = "the-os-disk"`)
	const path = "(?i)/snapshots/|/storageAccounts/"
	const snapshot, blob = "Microsoft.Compute/snapshots/snap_os", blobs + "w11-the-os-disk.vhd"
	built := func() *azure {
		a := withStorage(t, "")
		if r := a.ingot(t, t.TempDir(), nil, "build", dir); r.code != 0 {
			t.Fatalf("exit code %d\n%s", r.code, r.out)
		}
		return a
	}
	count := func(a *azure) (n int) {
		var calls []struct{ Method, Path string }
		a.call(t, http.MethodGet, "/sim/calls", nil, &calls)
		for _, c := range calls {
			if strings.HasPrefix(c.Path, "/subscriptions/") && regexp.MustCompile(path).MatchString(c.Path) {
				n++
			}
		}
		return n
	}
	a := built()
	total := -count(a)
	if r := a.ingot(t, t.TempDir(), nil, "build", "-force", dir); r.code != 0 {
		t.Fatalf("with -force: exit code %d\n%s", r.code, r.out)
	}
	total += count(a)
	type onPath struct {
		fault
		Path string `json:"path"`
	}
	ways := []fault{{Do: "fail-operation", Code: "TestFailed", Message: "it did not work out"}, {Do: "status", Status: 409, Code: "TestConflict", Message: "somebody else is at it"}, {Do: "drop-after"}}
	failed, stoodIn := 0, 0
	for nth := 1; nth <= total; nth++ {
		for i, f := range ways {
			if os.Getenv("INGOT_SOAK") == "" && (nth%4 != 0 || nth/4%len(ways) != i) { // all of them take a minute
				continue
			}
			f.Nth = nth
			what := fmt.Sprintf("%s of call %d of %d", f.Do, nth, total)
			a.call(t, http.MethodPost, "/sim/faults", onPath{f, path}, nil)
			state := t.TempDir()
			r := a.ingot(t, state, nil, "build", "-force", dir)
			a.call(t, http.MethodDelete, "/sim/faults", nil, nil)
			if r.code == 3 { // it says so
				run, _, _ := journal(t, state)
				g := a.ingot(t, state, nil, "gc", run)
				r.out += g.out
				if g.code != 0 || !strings.Contains(r.out, "LEFT BEHIND") {
					t.Errorf("%s: gc ends with %d\n%s", what, g.code, r.out)
				}
			}
			if r.code != 0 {
				failed++
			}
			var all []item
			a.call(t, http.MethodGet, "/sim/inventory", nil, &all)
			snapshots, blobs, stood := 0, 0, false
			for _, i := range all {
				id := strings.TrimPrefix(i.ID, inImages)
				switch {
				case i.Seeded:
				case id == blob:
					blobs++
				case id != snapshot && !strings.HasPrefix(id, snapshot+"-ingot-"):
					t.Errorf("%s: exit code %d leaves %s\n%s", what, r.code, id, r.out)
				case i.State == "Succeeded":
					snapshots++
				}
				stood = stood || strings.HasPrefix(id, snapshot+"-ingot-")
			}
			// The newer one's stand-in may stand beside an older one that Azure gave up deleting.
			if snapshots == 0 || snapshots > 1 && !stood || blobs != 1 || r.code == 0 && stood || stood && !strings.Contains(r.out, "the new snapshot stands as") {
				t.Errorf("%s: exit code %d leaves %d snapshots and %d VHDs, a stand-in: %v\n%s", what, r.code, snapshots, blobs, stood, r.out)
			}
			if stood {
				stoodIn++
				a = built()
			}
		}
	}
	t.Logf("%d calls; %d builds failed, %d of them between the older snapshot's end and the new one's", total, failed, stoodIn)
	if failed == 0 {
		t.Error("no fault made a build fail")
	}
}
