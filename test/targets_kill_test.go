package test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// numbered is the template with every kind of target, whose names have a number in them: one Azure can hold many of its builds.
var numbered = strings.NewReplacer(`"m"`, `"m${var.n}"`, `"snap_os"`, `"snap_os_${var.n}"`, `"snap_data"`, `"snap_data_${var.n}_"`, `"the-os-disk"`, `"os-${var.n}"`, `"w11-"`, `"${var.n}/"`,
	`"1.2.3"`, `"1.2.${var.n}"`, `"1.2.4"`, `"1.3.${var.n}"`, `"windows-11-avd"`, `"windows-11-avd"`).Replace(everything)

func numberedDir(t *testing.T) string {
	return framed(t, numbered+"}\nvariable \"n\" {\n  type = string\n  default = \"0\"\n}\nlocals {\n")
}

// isOf reports whether something kept is one of the nine of build n.
func isOf(id string, n int) bool {
	name := id[strings.LastIndex(id, "/")+1:]
	return name == fmt.Sprintf("m%d", n) || name == fmt.Sprintf("snap_os_%d", n) || strings.HasPrefix(name, fmt.Sprintf("snap_data_%d_", n)) ||
		strings.Contains(id, fmt.Sprintf("/blobs/%d/", n)) || name == fmt.Sprintf("1.2.%d", n) || name == fmt.Sprintf("1.3.%d", n)
}

// split divides what is kept into that of a build, that of builds before it, and the rest.
func split(all []string, n int) (own, rest []string) {
	for _, id := range all {
		if isOf(id, n) {
			own = append(own, id)
			continue
		}
		old := false
		for k := range n {
			old = old || isOf(id, k)
		}
		if !old {
			rest = append(rest, id)
		}
	}
	return own, rest
}

const perBuild = 9 // two versions, an image, three snapshots, three blobs

// TestKillAfterEveryEntryOfEveryTarget is TestKillAfterEveryEntry for VHDs, snapshots, data disks, managed images and two versions.
func TestKillAfterEveryEntryOfEveryTarget(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("some two hundred builds")
	}
	dir := numberedDir(t)
	a, whole := withStorage(t, ""), t.TempDir()
	if r := a.ingot(t, whole, []string{"PKR_VAR_n=0"}, "build", dir); r.code != 0 {
		t.Fatalf("the build that nobody kills ends with %d:\n%s", r.code, r.out)
	}
	if own, rest := split(a.kept(t), 0); len(own) != perBuild || len(rest) != 0 {
		t.Fatalf("it keeps %v and %v", own, rest)
	}
	_, entries, _ := journal(t, whole)
	t.Logf("a build has %d journal entries", entries)
	jobs := make(chan int)
	go func() {
		defer close(jobs)
		for n := 1; n <= entries && !t.Failed(); n++ {
			jobs <- n
		}
	}()
	var wg sync.WaitGroup
	for range 3 {
		// A copy between accounts takes a while, so that some are killed with a copy under way.
		a := withStorage(t, `, "latency": {"blob-copy": "300ms"}`)
		wg.Go(func() {
			for n := range jobs {
				what := fmt.Sprintf("entry %d", n)
				state := t.TempDir()
				v := fmt.Sprintf("PKR_VAR_n=%d", n)
				r := a.ingot(t, state, []string{v, fmt.Sprintf("INGOT_TEST_KILL_AFTER=%d", n)}, "build", dir)
				out := r.out
				if r.killed {
					run, _, _ := journal(t, state)
					r = a.ingot(t, state, []string{v}, "resume", run)
					out += r.out
				}
				if r.code != 0 {
					t.Errorf("%s: exit code %d\n%s", what, r.code, out)
					continue
				}
				all := a.kept(t)
				own, rest := split(all, n)
				if len(own) != perBuild || len(rest) != 0 {
					t.Errorf("%s: kept %v, and left %v\n%s", what, own, rest, out)
				}
				noSecrets(t, what, state, out)
				if strings.Contains(out, "sig=") {
					t.Errorf("%s: the output holds a signature", what)
				}
			}
		})
	}
	wg.Wait()
}

// TestEveryCallFailsOfEveryTarget lets every call go wrong, of a build with every kind of target. Success keeps all nine things; failure
// keeps none, or names what it left, which gc removes.
func TestEveryCallFailsOfEveryTarget(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("hundreds of builds")
	}
	kinds := []fault{{Do: "status", Status: 409, Code: "TestConflict", Message: "somebody else is at it"}, {Do: "drop-after"}, {Do: "fail-operation", Code: "TestFailed", Message: "it did not work out"}}
	dir := numberedDir(t)
	probe := withStorage(t, "")
	if r := probe.ingot(t, t.TempDir(), []string{"PKR_VAR_n=0"}, "build", dir); r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	var calls []struct{ Method, Path string }
	probe.call(t, http.MethodGet, "/sim/calls", nil, &calls)
	total := 0
	for _, c := range calls {
		if strings.HasPrefix(strings.ToLower(c.Path), "/subscriptions/") {
			total++
		}
	}
	t.Logf("a build makes %d calls to Resource Manager; there are %d ways to fail", total, len(kinds))
	type job struct {
		n, nth int
		f      fault
	}
	jobs := make(chan job)
	go func() {
		defer close(jobs)
		n := 1
		for i, f := range kinds {
			for nth := 1; nth <= total && !t.Failed(); nth++ {
				// All ways take four minutes; without INGOT_SOAK each call fails in one of them.
				if os.Getenv("INGOT_SOAK") == "" && nth%len(kinds) != i {
					continue
				}
				jobs <- job{n, nth, f}
				n++
			}
		}
	}()
	var mu sync.Mutex
	counts := map[string]int{}
	var wg sync.WaitGroup
	for range 3 {
		a := withStorage(t, "")
		wg.Go(func() {
			for j := range jobs {
				f := j.f
				f.Nth = j.nth
				what := fmt.Sprintf("%s %d of call %d", f.Do, f.Status, j.nth)
				env, state := []string{fmt.Sprintf("PKR_VAR_n=%d", j.n)}, t.TempDir()
				a.call(t, http.MethodPost, "/sim/faults", f, nil)
				r := a.ingot(t, state, env, "build", dir)
				a.call(t, http.MethodDelete, "/sim/faults", nil, nil)
				own, rest := split(a.kept(t), j.n)
				how := "failed and left nothing"
				switch {
				case r.code == 0:
					how = "succeeded"
					if len(own) != perBuild || len(rest) > 0 {
						t.Errorf("%s: success that keeps %v and leaves %v\n%s", what, own, rest, r.out)
					}
				case r.code == 3:
					how = "left something, and gc removed it"
					if !strings.Contains(r.out, "LEFT BEHIND") {
						t.Errorf("%s: exit code 3 without a word\n%s", what, r.out)
					}
					run, _, _ := journal(t, state)
					g := a.ingot(t, state, env, "gc", run)
					own, rest = split(a.kept(t), j.n)
					if g.code != 0 || len(rest) > 0 || len(own) != 0 && len(own) != perBuild {
						t.Errorf("%s: gc ends with %d and leaves %v %v\n%s\n%s", what, g.code, own, rest, g.out, r.out)
					}
				default:
					if len(own)+len(rest) > 0 {
						t.Errorf("%s: exit code %d leaves %v %v\n%s", what, r.code, own, rest, r.out)
					}
				}
				mu.Lock()
				counts[what[:strings.Index(what, " of")]+": "+how]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%v", counts)
}

// TestForceKeepsTheOldUntilTheNewStands replaces an image, versions, snapshots and a VHD. The order of the calls shows that each of the
// older ones was deleted after a new one was made.
func TestForceKeepsTheOldUntilTheNewStands(t *testing.T) {
	t.Parallel()
	a := withStorage(t, "")
	dir := framed(t, everything)
	if r := a.ingot(t, t.TempDir(), nil, "build", dir); r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	before := a.kept(t)
	state := t.TempDir()
	r := a.ingot(t, state, nil, "build", "-force", dir)
	if r.code != 0 {
		t.Fatalf("with -force: exit code %d\n%s", r.code, r.out)
	}
	run, _, _ := journal(t, state)
	var after []string
	for _, id := range a.kept(t) { // the data disks are named for the run
		after = append(after, strings.ReplaceAll(id, run, "RUN"))
	}
	if len(after) != len(before)+2 { // two more data disks in the container
		t.Errorf("after: %v", after)
	}
	for _, id := range before {
		if !slices.Contains(a.kept(t), id) {
			t.Errorf("%s is gone", id)
		}
	}
	// A deletion of the older image comes after the new one's stand-in is there: the order of the calls shows it.
	var calls []struct {
		Method, Path string
		Status       int
	}
	a.call(t, http.MethodGet, "/sim/calls", nil, &calls)
	first := func(method, part string) int {
		for i, c := range calls {
			if c.Method == method && strings.HasSuffix(c.Path, part) && c.Status < 300 {
				return i
			}
		}
		return -1
	}
	for _, c := range []struct{ old, standIn string }{{"/images/m", "/images/m-ingot-" + run}, {"/snapshots/snap_os", "/snapshots/snap_os-ingot-" + run}, {"/images/windows-11-avd/versions/1.2.3", ""}, {"/images/windows-11-avd/versions/1.2.4", ""}} {
		gone, stands := first(http.MethodDelete, c.old), -1
		if c.standIn != "" {
			stands = first(http.MethodPut, c.standIn)
		}
		for i, x := range calls {
			if stands < 0 && c.standIn == "" && x.Method == http.MethodPut && strings.Contains(x.Path, "/versions/0.0.") {
				stands = i
			}
		}
		if gone < 0 || stands < 0 || gone < stands {
			t.Errorf("%s: deleted at call %d, its stand-in made at %d", c.old, gone, stands)
		}
	}
}

// TestForceThatFailsLeavesAnImage lets each call of a forced build fail once: afterwards there is the older image or a new one.
func TestForceThatFailsLeavesAnImage(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a hundred builds")
	}
	source := w11 + `
  location                          = "westeurope"
  managed_image_name                = "m"
  managed_image_resource_group_name = "rg-images"
  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
    image_version  = "1.0.0"
  }`
	dir := framed(t, source)
	count := func(a *azure) (n int) {
		var calls []struct{ Method, Path string }
		a.call(t, http.MethodGet, "/sim/calls", nil, &calls)
		for _, c := range calls {
			if strings.HasPrefix(strings.ToLower(c.Path), "/subscriptions/") {
				n++
			}
		}
		return n
	}
	built := func() *azure {
		a := serve(t)
		if r := a.ingot(t, t.TempDir(), nil, "build", dir); r.code != 0 {
			t.Fatalf("exit code %d\n%s", r.code, r.out)
		}
		return a
	}
	probe := built()
	total := -count(probe)
	if r := probe.ingot(t, t.TempDir(), nil, "build", "-force", dir); r.code != 0 {
		t.Fatalf("with -force: exit code %d\n%s", r.code, r.out)
	}
	total += count(probe)
	a := built()
	stoodIn := 0
	// First the moments that count, when the older one is gone: the making of the new ones under their names.
	faults := []fault{{Method: http.MethodPut, Path: `/images/m$`, Nth: 1}, {Method: http.MethodPut, Path: `/versions/1\.0\.0$`, Nth: 1}}
	for nth := 1; nth <= total; nth++ {
		if os.Getenv("INGOT_SOAK") != "" || nth%4 == 1 { // all of them take a minute and a half
			faults = append(faults, fault{Nth: nth})
		}
	}
	for _, f := range faults {
		if t.Failed() {
			break
		}
		f.Do, f.Code, f.Message = "fail-operation", "TestFailed", "it did not work out"
		a.call(t, http.MethodPost, "/sim/faults", f, nil)
		state := t.TempDir()
		r := a.ingot(t, state, nil, "build", "-force", dir)
		a.call(t, http.MethodDelete, "/sim/faults", nil, nil)
		if r.code == 3 { // it says so
			run, _, _ := journal(t, state)
			g := a.ingot(t, state, nil, "gc", run)
			r.out += g.out
			if g.code != 0 || !strings.Contains(r.out, "LEFT BEHIND") {
				t.Errorf("%+v: gc ends with %d\n%s", f, g.code, r.out)
			}
		}
		all := strings.Join(a.kept(t), "\n") + "\n"
		image := strings.Contains(all, "Microsoft.Compute/images/m\n") || strings.Contains(all, "Microsoft.Compute/images/m-ingot-")
		version := strings.Contains(all, "/versions/1.0.0\n") || strings.Contains(all, "/versions/0.0.")
		if !image || !version {
			t.Errorf("%+v: exit code %d leaves no image (%v) or no version (%v)\n%s\n%s", f, r.code, image, version, all, r.out)
		}
		// A deletion that Azure gave up on leaves the older one, which may not be whole, beside the new one's stand-in.
		n := strings.Count(all, "\n")
		for _, stand := range []string{"/m-ingot-", "/versions/0.0."} {
			for _, old := range []string{"Microsoft.Compute/images/m\n", "/versions/1.0.0\n"} {
				if (stand == "/m-ingot-") == strings.Contains(old, "images/m") && strings.Contains(all, stand) && strings.Contains(all, old) {
					n--
				}
			}
		}
		if n != 2 {
			t.Errorf("%+v: exit code %d leaves more than an image and a version\n%s\n%s", f, r.code, all, r.out)
		}
		if strings.Contains(all, "/m-ingot-") || strings.Contains(all, "/versions/0.0.") {
			stoodIn++
			if !strings.Contains(r.out, "the new image stands as") {
				t.Errorf("%+v: the stand-in is not named\n%s", f, r.out)
			}
			a = built()
		}
	}
	if stoodIn < 2 {
		t.Errorf("%d faults hit the moment between the older one's end and the new one's, want 2 at least", stoodIn)
	}
}
