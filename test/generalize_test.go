package test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestKillBeforeSysprep kills the program (SIGKILL) after every journal entry of the step that generalises, while the guest is restarted first
// for a pending restart, and resumes it: each time there is one more gallery version, and the guest was restarted for that once.
func TestKillBeforeSysprep(t *testing.T) {
	t.Parallel() // most of it is waiting
	dir := template(t)
	secret := "PKR_VAR_token=" + markInline
	a := serveWith(t, `, "guest": [{"match": "from a file", "effect": "pending-reboot"}]`)
	whole := t.TempDir()
	r := a.ingot(t, whole, []string{secret}, "build", dir)
	if r.code != 0 || strings.Count(r.out, "restarting first") != 1 {
		t.Fatalf("the build that nobody kills ends with %d:\n%s", r.code, r.out)
	}
	_, _, raw := journal(t, whole)
	made := 1
	for i, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		var e struct{ Step string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Step == "generalize" {
			killOnce(t, a, dir, secret, i+1, made)
			made++
		}
	}
	if made < 5 {
		t.Errorf("only %d entries of the step", made-1)
	}
	if versions, left := a.made(t); len(versions) != made || len(left) > 0 {
		t.Errorf("%d versions of %d builds; left: %v", len(versions), made, left)
	}
}
