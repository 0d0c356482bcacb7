package test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestSoak builds many times (make soak: two hundred) with random faults, kills of the program and restarts of the simulated Azure, which keeps its state in a
// folder. In the end it holds exactly the versions of the builds that say they succeeded. INGOT_SOAK sets how many.
func TestSoak(t *testing.T) {
	t.Parallel() // most of it is waiting
	builds := 24
	if n, err := strconv.Atoi(os.Getenv("INGOT_SOAK")); err == nil {
		builds = n
	} else if testing.Short() {
		builds = 20
	}
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any will do; it is printed
	t.Logf("seed %d", seed)
	dir := template(t)
	secret := "PKR_VAR_token=" + markInline
	jobs := make(chan int)
	go func() {
		defer close(jobs)
		for i := range builds {
			jobs <- i
		}
	}()
	counts := map[string]int{}
	var mu sync.Mutex
	count := func(what string) { mu.Lock(); counts[what]++; mu.Unlock() }
	var wg sync.WaitGroup
	for range 4 {
		a := serveScenario(t, seeds, "--state", t.TempDir())
		wg.Go(func() {
			made := 0
			for i := range jobs {
				if t.Failed() {
					continue
				}
				if soakOnce(t, a, dir, secret, rand.New(rand.NewPCG(seed, uint64(i))), count) { //nolint:gosec // a test
					made++
				}
				if versions, left := a.made(t); len(versions) != made || len(left) > 0 {
					t.Errorf("build %d: %d versions instead of %d, and left %v", i, len(versions), made, left)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%v", counts)
}

// soakOnce is one build through some misfortune, to its end; it reports whether a version was published.
func soakOnce(t *testing.T, a *azure, dir, secret string, r *rand.Rand, count func(string)) bool {
	state := t.TempDir()
	env := []string{secret}
	var story []string
	a.call(t, http.MethodDelete, "/sim/faults", nil, nil)
	for range r.IntN(3) {
		f := []fault{{Do: "status", Status: 429, Code: "SubscriptionRequestsThrottled", Message: "slow down"}, {Do: "status", Status: 503, Code: "ServerTimeout", Message: "later"},
			{Do: "drop"}, {Do: "drop-after"}, {Do: "status", Status: 409, Code: "TestConflict", Message: "somebody else is at it"}, {Do: "fail-operation", Code: "TestFailed", Message: "no"}}[r.IntN(6)]
		f.Nth = 1 + r.IntN(45)
		a.call(t, http.MethodPost, "/sim/faults", f, nil)
		story = append(story, fmt.Sprintf("%s %d at call %d", f.Do, f.Status, f.Nth))
	}
	if r.IntN(2) == 0 {
		n := 1 + r.IntN(50)
		env = append(env, fmt.Sprintf("INGOT_TEST_KILL_AFTER=%d", n))
		story = append(story, fmt.Sprintf("killed after entry %d", n))
	}
	restart := r.IntN(4) == 0
	if restart {
		story = append(story, "the simulated Azure is killed and comes back")
	}
	done := make(chan result, 1)
	go func() { done <- a.ingot(t, state, env, "build", dir) }()
	if restart {
		select {
		case got := <-done:
			done <- got
		case <-time.After(time.Duration(50+r.IntN(1500)) * time.Millisecond): // somewhere in the middle
		}
		a.restart(t)
	}
	got := <-done
	all := got.out
	for tries := 0; got.killed; tries++ {
		run, _, _ := journal(t, state)
		more := []string{secret}
		if tries == 0 && r.IntN(2) == 0 {
			more = append(more, fmt.Sprintf("INGOT_TEST_KILL_AFTER=%d", 1+r.IntN(30)))
		}
		got = a.ingot(t, state, more, "resume", run)
		all += got.out
	}
	a.call(t, http.MethodDelete, "/sim/faults", nil, nil)
	if got.code == 3 {
		run, _, _ := journal(t, state)
		if g := a.ingot(t, state, []string{secret}, "gc", run); g.code != 0 {
			t.Errorf("%v: gc ends with %d\n%s\n%s", story, g.code, all, g.out)
		}
	}
	noSecrets(t, strings.Join(story, ", "), state, all)
	published := strings.Contains(all, "succeeded in")
	switch {
	case got.code != 0 && published && !strings.Contains(all, "LEFT BEHIND"):
		t.Errorf("%v: it succeeded and ends with %d\n%s", story, got.code, all)
	case got.code == 0 && !published:
		t.Errorf("%v: it ends with 0 and did not succeed\n%s", story, all)
	}
	count(map[bool]string{true: "published", false: "failed, nothing left"}[published])
	return published
}

// restart kills the simulated Azure and starts it again with the same flags: its state, its address and its authority are the same.
func (a *azure) restart(t *testing.T) {
	t.Helper()
	old := a.process
	if err := old.Process.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
		return
	}
	old.Wait() //nolint:errcheck // killed
	cmd := exec.Command(old.Args[0], old.Args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = old.Env, old.Stdout, old.Stderr
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	a.process = cmd
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // killed
	})
	until(t, "the simulated Azure answers again", 20*time.Second, a.log, func() bool {
		resp, err := a.client.Get(a.url + "/sim/inventory")
		if err == nil {
			resp.Body.Close() //nolint:errcheck // only asked whether it is there
		}
		return err == nil
	})
}
