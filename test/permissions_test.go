package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// role is a custom role as `ingot permissions --json` prints it.
type role struct {
	Name             string
	Actions          []string
	DataActions      []string
	AssignableScopes []string
}

const tested = "00000000-0000-4000-8000-00000000a001" // subscription

// permitted writes a template whose identity is client's.
func permitted(t *testing.T, client string) string {
	t.Helper()
	dir := t.TempDir()
	text := strings.Replace(source, `os_type         = "Windows"`, `os_type         = "Windows"
  client_id       = "`+client+`"
  client_secret   = "test-secret-not-real"
  tenant_id       = "00000000-0000-4000-8000-00000000b001"
  subscription_id = "`+tested+`"`, 1)
	for name, body := range map[string]string{"build.pkr.hcl": text, "script.ps1": "exit 0", "payload.txt": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestPermissions holds what `ingot permissions` prints against the simulated Azure, which enforces every call's right: with exactly that a
// build succeeds; with any one of the rights less, the check ahead names that one and nothing else, and a build without the check fails or
// leaves something behind. So nothing is missing in the list and nothing is too much.
func TestPermissions(t *testing.T) {
	t.Parallel()
	client := func(i int) string { return fmt.Sprintf("55555555-5555-4555-8555-%012d", i) }
	out := (&azure{}).ingot(t, t.TempDir(), []string{"PKR_VAR_token=x"}, "permissions", "--json", permitted(t, client(0)))
	var roles []role
	if err := json.Unmarshal([]byte(out.out), &roles); err != nil || out.code != 0 {
		t.Fatalf("%v\n%s", err, out.out)
	}
	type one struct {
		role   int
		action string
	}
	lacks := []one{{-1, ""}}
	for i, r := range roles {
		for _, a := range r.Actions {
			lacks = append(lacks, one{i, a})
		}
	}
	if len(roles) != 2 || len(lacks) < 35 {
		t.Fatalf("%d roles with %d actions:\n%s", len(roles), len(lacks)-1, out.out)
	}
	var definitions, principals []map[string]any
	for i, l := range lacks {
		var assigned []map[string]any
		for j, r := range roles {
			name := fmt.Sprintf("role %d without %d", j, i)
			actions := slices.Clone(r.Actions)
			if j == l.role {
				actions = slices.DeleteFunc(actions, func(a string) bool { return a == l.action })
			}
			definitions = append(definitions, map[string]any{"name": name, "actions": actions})
			assigned = append(assigned, map[string]any{"role": name, "scope": r.AssignableScopes[0]})
		}
		principals = append(principals, map[string]any{"name": fmt.Sprintf("builder%d", i), "clientId": client(i), "secret": "test-secret-not-real", "roles": assigned})
	}
	more, err := json.Marshal(map[string]any{"roles": definitions, "principals": principals})
	if err != nil {
		t.Fatal(err)
	}
	scenario := ", " + strings.TrimSuffix(strings.TrimPrefix(string(more), "{"), "}")
	a := serveWith(t, scenario)

	full := permitted(t, client(0))
	if r := a.ingot(t, t.TempDir(), []string{"PKR_VAR_token=x"}, "build", full); r.code != 0 {
		t.Fatalf("with exactly these permissions a build ends with %d:\n%s", r.code, r.out)
	}
	// What only the checks need: without it there is a warning, and the build goes on.
	onlyChecks := []string{"Microsoft.Authorization/permissions/read", "Microsoft.Authorization/locks/read", "Microsoft.Authorization/denyAssignments/read", "Microsoft.Compute/locations/usages/read",
		"Microsoft.PolicyInsights/checkPolicyRestrictions/read", "Microsoft.Resources/subscriptions/providers/read"}
	// What comes to use only when a build fails after it has published: the right to take the version back.
	undoOnly := []string{"Microsoft.Compute/galleries/images/versions/delete"}
	// The group takes what is in it along, so that the removal of each thing is needed only when it fails alone.
	byTheGroup := func(action string) bool {
		return strings.HasSuffix(action, "/delete") && action != "Microsoft.Resources/subscriptions/resourceGroups/delete" && action != "Microsoft.KeyVault/vaults/delete"
	}
	var reads []string
	var mu sync.Mutex
	jobs := make(chan int)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range jobs {
				l := lacks[i]
				dir := permitted(t, client(i))
				v := a.ingot(t, t.TempDir(), []string{"PKR_VAR_token=x"}, "validate", "--online", dir)
				switch {
				case slices.Contains(onlyChecks, l.action):
					if v.code != 0 || l.action != "Microsoft.Resources/subscriptions/providers/read" && !strings.Contains(v.out, "could not be checked") {
						t.Errorf("without %s: exit code %d\n%s", l.action, v.code, v.out)
					}
					continue
				case v.code != 4 || !strings.Contains(v.out, "may not do this on "+roles[l.role].AssignableScopes[0]+": "+l.action+" ("):
					t.Errorf("without %s the check ahead ends with %d:\n%s", l.action, v.code, v.out)
				case strings.Count(v.out, "may not do this") != 1:
					t.Errorf("without %s the check ahead names more:\n%s", l.action, v.out)
				}
				if slices.Contains(undoOnly, l.action) || byTheGroup(l.action) {
					continue
				}
				b := a.ingot(t, t.TempDir(), []string{"PKR_VAR_token=x"}, "build", "--skip-preflight", dir)
				if b.code == 0 {
					if !strings.HasSuffix(l.action, "/read") {
						t.Errorf("a build succeeds without %s: it is not needed\n%s", l.action, b.out)
					}
					mu.Lock()
					reads = append(reads, l.action)
					mu.Unlock()
				}
			}
		})
	}
	for i := 1; i < len(lacks); i++ {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	t.Logf("%d rights; builds that succeed although they may not do one of them: %v", len(lacks)-1, reads)
	// These two are read when an operation has to be looked at again: after a failure, a kill, or an answer that came late.
	for _, r := range reads {
		if r != "Microsoft.Compute/disks/read" && r != "Microsoft.Network/networkInterfaces/read" {
			t.Errorf("%s is not needed", r)
		}
	}
}
