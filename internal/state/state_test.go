package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"ingot/internal/azure"
	"ingot/internal/plan"
	"ingot/internal/sim"
)

const writer = "55555555-5555-4555-8555-555555555555"

// cloud is a simulated Azure with a container, whose network can be cut.
type cloud struct {
	az   *sim.Azure
	cred azcore.TokenCredential
}

// line is one process's way to it.
type line struct {
	to    http.RoundTripper
	cut   atomic.Bool
	after func(*http.Request) bool // true: the call is made, and its answer is lost
	mu    sync.Mutex
}

func (l *line) Do(r *http.Request) (*http.Response, error) {
	if l.cut.Load() {
		return nil, errors.New("the network is down")
	}
	resp, err := l.to.RoundTrip(r)
	l.mu.Lock()
	lose := l.after != nil && l.after(r)
	l.mu.Unlock()
	if lose && err == nil {
		resp.Body.Close() //nolint:errcheck // lost
		return nil, errors.New("the answer is lost")
	}
	return resp, err
}

const at = "https://acct1.blob.storage.localhost/state"

func newCloud(t *testing.T) *cloud {
	t.Helper()
	sub := "/subscriptions/" + sim.DefaultSubscription
	s := &sim.Scenario{Resources: []sim.Seeded{{ID: sub + "/resourceGroups/rg", Body: map[string]any{"location": "westeurope"}},
		{ID: sub + "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/acct1", Body: map[string]any{"location": "westeurope", "kind": "StorageV2", "sku": map[string]any{"name": "Standard_LRS"}}}},
		Principals: []sim.Account{{Name: "ci", ClientID: writer, Secret: "test-secret-not-real", Roles: []sim.Assignment{{Role: "Storage Blob Data Contributor", Scope: sub}}}}}
	az, err := sim.New(sim.Config{Scenario: s, Latency: sim.NoLatency})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(az.Close)
	c := &cloud{az: az}
	client := &http.Client{Transport: az.Transport()}
	c.cred, _, err = azure.Credential(azure.Identity{TenantID: sim.DefaultTenant, ClientID: writer, ClientSecret: "test-secret-not-real"}, azure.CloudAt(sim.EmbeddedURL, sim.EmbeddedURL), client, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPut, at+"?restype=container", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	req.Header.Set("x-ms-version", "2023-11-03")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 201 {
		raw, _ := io.ReadAll(resp.Body) //nolint:errcheck // a test's last words
		t.Fatalf("%s %s", resp.Status, raw)
	}
	return c
}

// process is a store as another process would have it.
func (c *cloud) process(t *testing.T) (Store, *line) {
	t.Helper()
	l := &line{to: c.az.Transport()}
	box, err := azure.OpenContainer(at+"/avd", azure.ContainerOptions{Credential: c.cred, Transport: l, RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return Store{C: box, Lease: plan.Lease{Length: 15 * time.Second}}, l
}

func planOf(run string) *plan.Plan {
	return &plan.Plan{Run: run, Title: "t", Made: time.Now(), Steps: []plan.Step{{ID: "a", Kind: "any", Scope: plan.Scratch}, {ID: "b", Kind: "any", Scope: plan.Scratch, After: []string{"a"}}}}
}

type action struct {
	do, undo func(context.Context, *plan.Task) error
}

func (a action) Do(ctx context.Context, t *plan.Task) error   { return a.do(ctx, t) }
func (a action) Undo(ctx context.Context, t *plan.Task) error { return a.undo(ctx, t) }

func nothing(context.Context, *plan.Task) error { return nil }

func runner(h plan.Held, a action) *plan.Runner {
	return &plan.Runner{Actions: map[string]plan.Action{"any": a}, Journal: h, Clock: plan.WallClock{}, Lost: h.Lost(), Cancelled: h.CancelRequested}
}

// TestRunInAContainer: a run from its making to its end, seen from a second process.
func TestRunInAContainer(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	one, _ := c.process(t)
	two, _ := c.process(t)
	held, err := one.Create(t.Context(), planOf("abcd2345"))
	if err != nil {
		t.Fatal(err)
	}
	files := held.(plan.Files)
	for range 2 { // twice is once
		if err := files.PutFile(t.Context(), "sum", strings.NewReader("a script"), 8); err != nil {
			t.Fatal(err)
		}
	}
	entered, goOn := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- runner(held, action{func(ctx context.Context, task *plan.Task) error {
			if task.Step.ID == "b" {
				close(entered)
				<-goOn
			}
			return nil
		}, nothing}).Run(t.Context(), planOf("abcd2345"))
	}()
	<-entered
	list, err := two.List(t.Context())
	if err != nil || len(list) != 1 || !list[0].Live || list[0].Run != "abcd2345" {
		t.Errorf("%+v %v", list, err)
	}
	st, err := two.Status(t.Context(), "abcd")
	if err != nil || st.Steps[0].State != "done" || st.Steps[1].State != "running" {
		t.Errorf("%+v %v", st, err)
	}
	said := ""
	if _, err := two.Open(t.Context(), "abcd", func(text string) { said = text }); !errors.Is(err, plan.ErrLocked) || !strings.Contains(err.Error(), "process ") {
		t.Errorf("a second process got hold of the run: %v", err)
	}
	if !strings.Contains(said, "its lease runs out within 15s") {
		t.Errorf("said %q", said)
	}
	close(goOn)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := two.Open(t.Context(), "abcd2345", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close() //nolint:errcheck // a test
	in, err := again.(plan.Files).GetFile(t.Context(), "sum")
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(in); err != nil || string(raw) != "a script" {
		t.Errorf("%q %v", raw, err)
	}
	if p, err := again.Plan(); err != nil || p.Run != "abcd2345" {
		t.Errorf("%v %v", p, err)
	}
	if st, err := two.Status(t.Context(), "abcd"); err != nil || !st.Clean() || st.Outcome != plan.Succeeded {
		t.Errorf("%+v %v", st, err)
	}
	if _, err := two.Open(t.Context(), "zz", nil); err == nil || !strings.Contains(err.Error(), "cannot find run") {
		t.Error(err)
	}
}

// TestAnswerOfAnAppendIsLost: the line is in the journal once.
func TestAnswerOfAnAppendIsLost(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	s, l := c.process(t)
	held, err := s.Create(t.Context(), planOf("run"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close() //nolint:errcheck // a test
	n := 0
	l.after = func(r *http.Request) bool {
		if r.URL.Query().Get("comp") == "appendblock" {
			n++
			return n%2 == 1
		}
		return false
	}
	if err := runner(held, action{nothing, nothing}).Run(t.Context(), planOf("run")); err != nil {
		t.Fatal(err)
	}
	if entries, _, err := s.read(t.Context(), folder+"run/"+journal); err != nil || len(entries) != 11 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

// TestDeadHolder is outlasted; a holder that comes back from a long pause finds that the run is not his any more, stops at once
// and undoes nothing.
func TestDeadHolder(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	one, l := c.process(t)
	held, err := one.Create(t.Context(), planOf("run"))
	if err != nil {
		t.Fatal(err)
	}
	undone := atomic.Int32{}
	entered := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- runner(held, action{func(ctx context.Context, task *plan.Task) error {
			if task.Step.ID == "b" {
				close(entered)
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		}, func(context.Context, *plan.Task) error { undone.Add(1); return nil }}).Run(t.Context(), planOf("run"))
	}()
	<-entered
	l.cut.Store(true) // from now on the holder is as good as dead, and cannot know it
	begun := time.Now()
	stopped := make(chan time.Duration, 1)
	var end error
	go func() { end = <-ended; stopped <- time.Since(begun) }()
	two, _ := c.process(t)
	next, err := two.Open(t.Context(), "run", nil)
	if err != nil {
		t.Fatal(err)
	}
	taken := time.Since(begun)
	// Whoever was first must have stopped before the second could begin.
	select {
	case at := <-stopped:
		t.Logf("the old holder stopped after %s, the run was taken over after %s", at.Round(100*time.Millisecond), taken.Round(100*time.Millisecond))
		if at > taken {
			t.Errorf("for %s there were two", at-taken)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the old holder is still at it")
	}
	if !errors.Is(end, plan.ErrLost) || undone.Load() != 0 {
		t.Errorf("%v, undone %d", end, undone.Load())
	}
	l.cut.Store(false)
	if err := held.Append(plan.Entry{Kind: plan.EntrySave}); !errors.Is(err, plan.ErrLost) {
		t.Errorf("the old holder still writes: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	if err := runner(next, action{nothing, nothing}).Resume(t.Context()); err != nil {
		t.Error(err)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
}

// TestStoreIsAwayForAWhile: shorter than the lease costs nothing but time.
func TestStoreIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	s, l := c.process(t)
	held, err := s.Create(t.Context(), planOf("run"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close() //nolint:errcheck // a test
	err = runner(held, action{func(_ context.Context, task *plan.Task) error {
		if task.Step.ID == "a" {
			l.cut.Store(true)
			time.AfterFunc(3*time.Second, func() { l.cut.Store(false) })
		}
		return nil
	}, nothing}).Run(t.Context(), planOf("run"))
	if err != nil {
		t.Error(err)
	}
}

// TestCancelFromElsewhere: the mark is seen by the process that carries the run, and by the next one before it does anything.
func TestCancelFromElsewhere(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	one, _ := c.process(t)
	two, _ := c.process(t)
	held, err := one.Create(t.Context(), planOf("run"))
	if err != nil {
		t.Fatal(err)
	}
	entered := make(chan struct{})
	go func() {
		<-entered
		if live, err := two.RequestCancel(context.Background(), "run"); err != nil || !live {
			t.Errorf("%v %v", live, err)
		}
	}()
	err = runner(held, action{func(ctx context.Context, task *plan.Task) error {
		if task.Step.ID == "b" {
			close(entered)
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return nil
	}, nothing}).Run(t.Context(), planOf("run"))
	var end *plan.RunError
	if !errors.As(err, &end) || end.Outcome != plan.Cancelled || len(end.Left) != 0 {
		t.Errorf("%v", err)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	if held, err = two.Open(t.Context(), "run", nil); err != nil || !held.CancelRequested() {
		t.Errorf("the next process does not see the mark: %v", err)
	}
	held.Close() //nolint:errcheck // a test
}

// TestNoRights names the role that is missing.
func TestNoRights(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	cred, _, err := azure.Credential(azure.Identity{TenantID: sim.DefaultTenant, ClientID: sim.DefaultClientID, ClientSecret: sim.DefaultClientSecret}, azure.CloudAt(sim.EmbeddedURL, sim.EmbeddedURL),
		&http.Client{Transport: c.az.Transport()}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	box, err := azure.OpenContainer(at, azure.ContainerOptions{Credential: cred, Transport: &line{to: c.az.Transport()}, RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Store{C: box}).List(t.Context()); err == nil || !strings.Contains(err.Error(), "Storage Blob Data Contributor") {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"http://a/b", "https://a.blob.core.windows.net", "https://a.blob.core.windows.net/?sig=x"} {
		if _, err := azure.OpenContainer(bad, azure.ContainerOptions{}); err == nil {
			t.Errorf("opened %s", bad)
		}
	}
	sas, err := azure.OpenContainer("https://a.blob.core.windows.net/c/p?sv=1&sig=test-secret-not-real", azure.ContainerOptions{})
	if err != nil || fmt.Sprint(sas) != "https://a.blob.core.windows.net/c/p" {
		t.Errorf("%v %v", sas, err)
	}
}
