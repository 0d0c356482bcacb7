package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// builderTemplate is the template of the other engine's tests, for Image Builder: with an identity made for the build, and secrets that its
// language cannot hide.
func builderTemplate(t *testing.T) string {
	t.Helper()
	dir := template(t)
	engine := "engine {\n  name            = \"aib\"\n  create_identity = true\n  allow_lossy     = true\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "build.ingot.hcl"), []byte(engine), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestKillAfterEveryEntryImageBuilder is TestKillAfterEveryEntry with Image Builder: the service builds once, whenever this process dies.
func TestKillAfterEveryEntryImageBuilder(t *testing.T) {
	t.Parallel() // most of it is waiting
	if testing.Short() {
		t.Skip("two dozen builds")
	}
	dir := builderTemplate(t)
	killAfterEveryEntry(t, dir)
}

// TestCallsFailImageBuilder lets calls of such a build go wrong: of those before the run some, all with INGOT_SOAK; of those after its start, most
// of which ask how it stands, one of each kind.
func TestCallsFailImageBuilder(t *testing.T) {
	t.Parallel() // as above
	if testing.Short() {
		t.Skip("dozens of builds")
	}
	dir := builderTemplate(t)
	probe := serve(t)
	if r := probe.ingot(t, t.TempDir(), []string{"PKR_VAR_token=" + markInline}, "build", dir); r.code != 0 {
		t.Fatalf("the build without faults ends with %d:\n%s", r.code, r.out)
	}
	var calls []struct{ Method, Path string }
	probe.call(t, http.MethodGet, "/sim/calls", nil, &calls)
	before := 0
	for _, c := range calls {
		if path := strings.ToLower(c.Path); c.Method == http.MethodPost && strings.HasSuffix(path, "/run") {
			break
		} else if strings.HasPrefix(path, "/subscriptions/") {
			before++
		}
	}
	kinds := []fault{{Do: "status", Status: 409, Code: "TestConflict", Message: "somebody else is at it"}, {Do: "drop-after"}, {Do: "fail-operation", Code: "TestFailed", Message: "it did not work out"}}
	step := max(1, before/3)
	if os.Getenv("INGOT_SOAK") != "" {
		step = 1
	}
	type job struct {
		f   fault
		nth int
	}
	jobs := make(chan job)
	go func() {
		defer close(jobs)
		for k, f := range kinds {
			for n := 1 + k; n <= before; n += step {
				jobs <- job{f, n}
			}
		}
		for _, at := range []fault{{Method: "POST", Path: "/run$"}, {Method: "GET", Path: "/runOutputs$"}, {Method: "DELETE", Path: "/imageTemplates/[^/]+$"}, {Method: "DELETE", Path: "/roleAssignments/"}, {Method: "GET", Path: "/imageTemplates/[^/]+$"}} {
			for _, f := range kinds {
				f.Method, f.Path = at.Method, at.Path
				jobs <- job{f, 1}
			}
		}
	}()
	var wg sync.WaitGroup
	for range 4 {
		a := serve(t)
		wg.Go(func() {
			for j := range jobs {
				if !t.Failed() {
					failOnce(t, a, dir, j.f, j.nth)
				}
			}
		})
	}
	wg.Wait()
}

// TestOneRunOfTheTemplate: however a build is interrupted and resumed, the service is asked to run it once.
func TestOneRunOfTheTemplate(t *testing.T) {
	t.Parallel() // as above
	dir := builderTemplate(t)
	a := serve(t)
	state := t.TempDir()
	secret := "PKR_VAR_token=" + markInline
	// The entry after the start of the run is its token.
	r := a.ingot(t, state, []string{secret}, "build", dir)
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	_, _, raw := journal(t, state)
	started := 0
	for i, line := range strings.Split(string(raw), "\n") {
		if strings.Contains(line, `"run"`) && strings.Contains(line, `"start"`) && strings.Contains(line, `"step":"run"`) {
			started = i + 1
		}
	}
	if started == 0 {
		t.Fatalf("the journal has no start of the run:\n%s", raw)
	}
	for _, after := range []int{started, started + 1} {
		runs := a.posts(t, "/run")
		state := t.TempDir()
		r := a.ingot(t, state, []string{secret, fmt.Sprintf("INGOT_TEST_KILL_AFTER=%d", after)}, "build", dir)
		if !r.killed {
			t.Fatalf("not killed: %d\n%s", r.code, r.out)
		}
		run, _, _ := journal(t, state)
		if r = a.ingot(t, state, []string{secret}, "resume", run); r.code != 0 {
			t.Fatalf("resume: %d\n%s", r.code, r.out)
		}
		if n := a.posts(t, "/run") - runs; n != 1 {
			t.Errorf("killed after entry %d: the template was run %d times", after, n)
		}
	}
}

// posts counts the calls of that action.
func (a *azure) posts(t *testing.T, end string) (n int) {
	t.Helper()
	var calls []struct{ Method, Path string }
	a.call(t, http.MethodGet, "/sim/calls", nil, &calls)
	for _, c := range calls {
		if c.Method == http.MethodPost && strings.HasSuffix(strings.ToLower(c.Path), end) {
			n++
		}
	}
	return n
}

// TestStopImageBuilder: Ctrl-C and cancel stop the service too, which refuses to delete what still runs, and leave nothing.
func TestStopImageBuilder(t *testing.T) {
	t.Parallel() // as above
	dir := builderTemplate(t)
	for _, how := range []string{"ctrl-c", "cancel", "dead"} {
		a := serveWith(t, `, "latency": {"aib-run": "40s"}`)
		state := t.TempDir()
		cmd, w := a.start(t, state, "customizer 2 of", "build", "--progress", "plain", dir)
		run, _, _ := journal(t, state)
		switch how {
		case "ctrl-c":
			cmd.Process.Signal(os.Interrupt) //nolint:errcheck // looked at below
		case "cancel":
			if r := a.ingot(t, state, nil, "cancel", run); r.code != 0 || !strings.Contains(r.out, "told to stop") {
				t.Errorf("cancel: %d %s", r.code, r.out)
			}
		case "dead":
			cmd.Process.Kill() //nolint:errcheck // looked at below
		}
		cmd.Wait() //nolint:errcheck // the exit code is looked at
		if code := cmd.ProcessState.ExitCode(); how != "dead" && code != 130 {
			t.Errorf("%s: exit code %d\n%s", how, code, w)
		}
		if how == "dead" {
			if r := a.ingot(t, state, []string{"PKR_VAR_token=x"}, "cancel", run); r.code != 0 {
				t.Errorf("cancel of a dead run: %d %s", r.code, r.out)
			}
		}
		if versions, left := a.made(t); len(versions)+len(left) != 0 {
			t.Errorf("%s leaves %v %v\n%s", how, versions, left, w)
		}
		if n := a.posts(t, "/cancel"); n == 0 {
			t.Errorf("%s: the service was not told", how)
		}
	}
}

// TestDetachImageBuilder: the process lets go as soon as the service has accepted the run, and wait sees it to its end.
func TestDetachImageBuilder(t *testing.T) {
	t.Parallel() // as above
	dir := builderTemplate(t)
	a := serveWith(t, `, "latency": {"aib-run": "20s"}`)
	state := t.TempDir()
	secret := "PKR_VAR_token=" + markInline
	r := a.ingot(t, state, []string{secret}, "build", "--detach", dir)
	if r.code != 5 {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	run, _, _ := journal(t, state)
	if versions, _ := a.made(t); len(versions) != 0 {
		t.Errorf("it was to let go before the image is there: %v", versions)
	}
	if r = a.ingot(t, state, []string{secret}, "wait", run); r.code != 0 {
		t.Fatalf("wait: %d\n%s", r.code, r.out)
	}
	versions, left := a.made(t)
	if len(versions) != 1 || len(left) != 0 {
		t.Errorf("made %v, left %v\n%s", versions, left, r.out)
	}
	if n := a.posts(t, "/run"); n != 1 {
		t.Errorf("%d runs", n)
	}
	noSecrets(t, "detached", state, r.out)
}

// TestKeptTemplate: a template that stays is used again while it says the same, and replaced when it does not.
func TestKeptTemplate(t *testing.T) {
	t.Parallel() // as above
	dir := template(t)
	const sub = "00000000-0000-4000-8000-00000000a001"
	identity := "/subscriptions/" + sub + "/resourceGroups/rg-images/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder"
	engine := fmt.Sprintf("engine {\n  name           = \"aib\"\n  identity       = %q\n  keep_template  = true\n  resource_group = \"rg-images\"\n  allow_lossy    = true\n}\n", identity)
	if err := os.WriteFile(filepath.Join(dir, "build.ingot.hcl"), []byte(engine), 0o600); err != nil {
		t.Fatal(err)
	}
	a := serve(t)
	secret := "PKR_VAR_token=" + markInline
	build := func() result { return a.ingot(t, t.TempDir(), []string{secret}, "build", dir) }
	r := build()
	if r.code != 4 || !strings.Contains(r.out, "does not exist") {
		t.Errorf("without the identity: exit code %d\n%s", r.code, r.out)
	}
	who := a.arm(t, http.MethodPut, identity, map[string]any{"location": "westeurope"})
	r = build()
	if r.code != 4 || !strings.Contains(r.out, "Compute Gallery Artifacts Publisher") {
		t.Errorf("without its role: exit code %d\n%s", r.code, r.out)
	}
	principal, _ := who["properties"].(map[string]any)["principalId"].(string)
	a.arm(t, http.MethodPut, "/subscriptions/"+sub+"/resourceGroups/rg-images/providers/Microsoft.Authorization/roleAssignments/5b0c1b60-8d8f-4d38-9a55-0d4f3d1c7a01",
		map[string]any{"properties": map[string]any{"roleDefinitionId": "/subscriptions/" + sub + "/providers/Microsoft.Authorization/roleDefinitions/85a2d0d9-2eba-4c9c-b355-11c2cc0788ab", "principalId": principal, "principalType": "ServicePrincipal"}})
	puts := func() int {
		n := 0
		var calls []struct {
			Method, Path string
			Status       int
		}
		a.call(t, http.MethodGet, "/sim/calls", nil, &calls)
		for _, c := range calls {
			if c.Method == http.MethodPut && strings.Contains(strings.ToLower(c.Path), "/imagetemplates/") && c.Status < 300 {
				n++
			}
		}
		return n
	}
	for i, want := range []int{1, 1, 2} {
		if i == 2 { // something has changed
			if err := os.WriteFile(filepath.Join(dir, "script.ps1"), []byte("Write-Host 'another file'\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if r = build(); r.code != 0 {
			t.Fatalf("build %d: exit code %d\n%s", i+1, r.code, r.out)
		}
		versions, _ := a.made(t)
		if n := puts(); n != want || len(versions) != i+1 {
			t.Errorf("build %d: %d templates submitted, want %d; versions %v", i+1, n, want, versions)
		}
	}
	if _, left := a.made(t); !strings.Contains(strings.Join(left, "\n"), "/imageTemplates/") {
		t.Errorf("the template is gone: %v", left)
	}
}

// TestPlanImageBuilder: the plan names uploads, versions and secrets, and holds none of their values.
func TestPlanImageBuilder(t *testing.T) {
	t.Parallel() // as above
	dir := builderTemplate(t)
	a := serve(t)
	r := a.ingot(t, t.TempDir(), []string{"PKR_VAR_token=" + markInline}, "plan", "--json", dir)
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	from := strings.Index(r.out, "[\n")
	var plans []struct {
		Steps []struct {
			ID, Kind string
			After    []string
			Scope    string
			Args     json.RawMessage
		}
	}
	if from < 0 || json.NewDecoder(strings.NewReader(r.out[from:])).Decode(&plans) != nil || len(plans) != 1 {
		t.Fatalf("no plan:\n%s", r.out)
	}
	var ids []string
	for _, s := range plans[0].Steps {
		ids = append(ids, s.ID)
		if s.ID == "template" {
			var compact bytes.Buffer
			json.Compact(&compact, s.Args) //nolint:errcheck // it has been decoded
			s.Args = compact.Bytes()
			for _, want := range []string{"ingot-upload:0", `"secret"`, `"scheme":"Latest"`, `"runAsSystem":true`, "26200."} {
				if !strings.Contains(string(s.Args), want) {
					t.Errorf("the template lacks %s:\n%s", want, s.Args)
				}
			}
		}
	}
	if got := strings.Join(ids, " "); got != "group identity roles files-account upload template run output-1" {
		t.Errorf("steps: %s", got)
	}
	for _, m := range []string{markInline, markEnv, "sig="} {
		if strings.Contains(r.out, m) {
			t.Errorf("the plan holds %q", m)
		}
	}
}

// TestBuildersOfOneImageAtOnce: two builds of one definition get two versions, since the service counts when it publishes.
func TestBuildersOfOneImageAtOnce(t *testing.T) {
	t.Parallel() // as above
	dir := builderTemplate(t)
	a := serve(t)
	var wg sync.WaitGroup
	codes := make([]result, 2)
	for i := range codes {
		wg.Go(func() { codes[i] = a.ingot(t, t.TempDir(), []string{"PKR_VAR_token=" + markInline}, "build", dir) })
	}
	wg.Wait()
	versions, left := a.made(t)
	if codes[0].code+codes[1].code != 0 || len(versions) != 2 || len(left) != 0 {
		t.Errorf("%d and %d, versions %v, left %v\n%s\n%s", codes[0].code, codes[1].code, versions, left, codes[0].out, codes[1].out)
	}
}
