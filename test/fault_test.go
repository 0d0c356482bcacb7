package test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// fault is one way for a call of Resource Manager to go wrong.
type fault struct {
	Method  string `json:"method,omitempty"`
	Path    string `json:"path,omitempty"` // regular expression
	Nth     int    `json:"nth"`
	Do      string `json:"do"`
	Status  int    `json:"status,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// TestEveryCallFails lets each call of a build to Resource Manager go wrong in turn, in every way. The build then either
// succeeds all the same, or fails, shows Azure's error and leaves nothing; or it ends with 3, names each thing that it
// left, and gc removes that.
func TestEveryCallFails(t *testing.T) {
	t.Parallel() // most of it is waiting
	kinds := []fault{
		{Do: "status", Status: 429, Code: "SubscriptionRequestsThrottled", Message: "slow down"},
		{Do: "status", Status: 500, Code: "InternalServerError", Message: "something broke"},
		{Do: "status", Status: 409, Code: "TestConflict", Message: "somebody else is at it"},
		{Do: "drop"},
		{Do: "drop-after"},
		{Do: "fail-operation", Code: "TestFailed", Message: "it did not work out"},
	}
	if testing.Short() {
		kinds = kinds[2:4]
	}
	everyCallFails(t, template(t), kinds, 1)
}

// TestCallsFailRunCommand is the same without a way into the machine, for every third call.
func TestCallsFailRunCommand(t *testing.T) {
	t.Parallel() // as above
	kinds := []fault{
		{Do: "status", Status: 409, Code: "TestConflict", Message: "somebody else is at it"},
		{Do: "drop-after"},
		{Do: "fail-operation", Code: "TestFailed", Message: "it did not work out"},
	}
	if testing.Short() {
		kinds = kinds[:1]
	}
	everyCallFails(t, runCommandTemplate(t), kinds, 3)
}

func everyCallFails(t *testing.T, dir string, kinds []fault, every int) {
	probe := serve(t)
	if r := probe.ingot(t, t.TempDir(), []string{"PKR_VAR_token=" + markInline}, "build", dir); r.code != 0 {
		t.Fatalf("the build without faults ends with %d:\n%s", r.code, r.out)
	}
	var calls []struct{ Method, Path string }
	probe.call(t, http.MethodGet, "/sim/calls", nil, &calls)
	n := 0
	for _, c := range calls {
		if strings.HasPrefix(strings.ToLower(c.Path), "/subscriptions/") {
			n++
		}
	}
	t.Logf("a build makes %d calls; each fails in %d ways", n, len(kinds))

	type job struct {
		f   fault
		nth int
	}
	jobs := make(chan job)
	go func() {
		defer close(jobs)
		for _, f := range kinds {
			for i := 1; i <= n; i += every {
				jobs <- job{f, i}
			}
		}
	}()
	counts := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		a := serve(t)
		wg.Go(func() {
			for j := range jobs {
				if t.Failed() {
					continue
				}
				how := failOnce(t, a, dir, j.f, j.nth)
				mu.Lock()
				counts[j.f.Do+" "+fmt.Sprint(j.f.Status)+": "+how]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%v", counts)
}

func failOnce(t *testing.T, a *azure, dir string, f fault, nth int) string {
	what := fmt.Sprintf("%s %d of call %d", f.Do, f.Status, nth)
	before, _ := a.made(t)
	f.Nth = nth
	a.call(t, http.MethodDelete, "/sim/faults", nil, nil)
	a.call(t, http.MethodPost, "/sim/faults", f, nil)
	state := t.TempDir()
	r := a.ingot(t, state, []string{"PKR_VAR_token=" + markInline}, "build", dir)
	a.call(t, http.MethodDelete, "/sim/faults", nil, nil)
	versions, left := a.made(t)
	noSecrets(t, what, state, r.out)
	switch {
	case r.code == 0:
		if len(versions) != len(before)+1 || len(left) > 0 {
			t.Errorf("%s: success with %d new versions and left behind %v\n%s", what, len(versions)-len(before), left, r.out)
		}
		return "succeeded"
	case r.code == 3:
		for _, id := range left {
			name := id[strings.LastIndex(id, "/")+1:]
			if !strings.Contains(r.out, "LEFT BEHIND") || !named(r.out, id, name) {
				t.Errorf("%s: exit code 3 does not name %s\n%s", what, id, r.out)
			}
		}
		run, _, _ := journal(t, state)
		if g := a.ingot(t, state, []string{"PKR_VAR_token=" + markInline}, "gc", run); g.code != 0 {
			t.Errorf("%s: gc ends with %d\n%s\n%s", what, g.code, g.out, r.out)
		}
		if _, left := a.made(t); len(left) > 0 {
			t.Errorf("%s: gc leaves %v\n%s", what, left, r.out)
		}
		return "left something, and gc removed it"
	default:
		if len(versions) != len(before) || len(left) > 0 {
			t.Errorf("%s: exit code %d with %d new versions and left behind %v\n%s", what, r.code, len(versions)-len(before), left, r.out)
		}
		if f.Code != "" && !strings.Contains(r.out, f.Code) {
			t.Errorf("%s: exit code %d without Azure's error\n%s", what, r.code, r.out)
		}
		return "failed and left nothing"
	}
}

// named reports whether the output names a resource, or the group or vault that it is in.
func named(out, id, name string) bool {
	if strings.Contains(out, name) {
		return true
	}
	parts := strings.Split(id, "/")
	for i := range parts {
		if strings.EqualFold(parts[i], "resourceGroups") && i+1 < len(parts) && strings.Contains(out, parts[i+1]) {
			return true
		}
	}
	return false
}
