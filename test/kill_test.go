package test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestKillAfterEveryEntry kills the program (SIGKILL) after every single entry of its journal, one build per entry, and
// resumes it: each time there is exactly one more gallery version in both regions, and nothing else.
func TestKillAfterEveryEntry(t *testing.T) {
	t.Parallel() // most of it is waiting
	killAfterEveryEntry(t, template(t))
}

// TestKillAfterEveryEntryRunCommand is the same without a way into the machine.
func TestKillAfterEveryEntryRunCommand(t *testing.T) {
	t.Parallel() // as above
	killAfterEveryEntry(t, runCommandTemplate(t))
}

func killAfterEveryEntry(t *testing.T, dir string) {
	whole := t.TempDir()
	secret := "PKR_VAR_token=" + markInline
	a := serve(t)
	if r := a.ingot(t, whole, []string{secret}, "build", dir); r.code != 0 {
		t.Fatalf("the build that nobody kills ends with %d:\n%s", r.code, r.out)
	}
	_, entries, _ := journal(t, whole)
	t.Logf("a build has %d journal entries", entries)

	// Several workers, each with an Azure of its own: most of a build is waiting for a guest to reboot.
	var mu sync.Mutex
	next := 1
	var wg sync.WaitGroup
	for w := range 4 {
		a := serve(t)
		wg.Go(func() {
			for made := 0; ; made++ {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				if n > entries || t.Failed() {
					return
				}
				killOnce(t, a, dir, secret, n, made)
			}
		})
		_ = w
	}
	wg.Wait()
}

func killOnce(t *testing.T, a *azure, dir, secret string, n, before int) {
	state, err := os.MkdirTemp(t.TempDir(), "state")
	if err != nil {
		t.Error(err)
		return
	}
	r := a.ingot(t, state, []string{secret, fmt.Sprintf("INGOT_TEST_KILL_AFTER=%d", n)}, "build", dir)
	if !r.killed && r.code != 0 {
		t.Errorf("entry %d: the build was to be killed and ended with %d:\n%s", n, r.code, r.out)
		return
	}
	run, _, _ := journal(t, state)
	all := r.out
	if r.killed {
		r = a.ingot(t, state, []string{secret}, "resume", run)
		all += r.out
		if r.code != 0 {
			t.Errorf("entry %d: resume ends with %d:\n%s", n, r.code, r.out)
			return
		}
	}
	versions, left := a.made(t)
	if len(versions) != before+1 || len(left) != 0 {
		t.Errorf("entry %d: %d versions, want %d; left behind: %v\n%s", n, len(versions), before+1, left, all)
		return
	}
	newest := versions[len(versions)-1]
	for _, v := range versions {
		if v.State != "Succeeded" || len(v.Regions) != 2 || v.Regions[0].State != "Completed" || v.Regions[1].State != "Completed" {
			t.Errorf("entry %d: version %s is %s in %v", n, newest.ID, v.State, v.Regions)
		}
	}
	noSecrets(t, fmt.Sprintf("entry %d", n), state, all)
}

// noSecrets looks for the markers, and for what tokens and keys look like, in everything a run wrote or showed.
func noSecrets(t *testing.T, what, state, out string) {
	texts := map[string][]byte{"the output": []byte(out)}
	err := filepath.WalkDir(state, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		texts[path] = raw
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, m := range []string{markInline, markEnv, markPassword, markElevated, "simulated-secret-not-real", "PRIVATE KEY", "Bearer ", "eyJ0eXAi"} {
		for where, text := range texts {
			if bytes.Contains(text, []byte(m)) || bytes.Contains(text, []byte(base64.StdEncoding.EncodeToString([]byte(m)))) {
				t.Errorf("%s: %s holds %q", what, where, m)
			}
		}
	}
	if !strings.Contains(out, "(secret)") {
		t.Logf("%s: nothing had to be hidden", what)
	}
}
