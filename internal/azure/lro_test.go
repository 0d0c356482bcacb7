package azure

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPollingWaitsAsAzureSays(t *testing.T) {
	putNet := func(c *Client) error {
		id, err := c.PutNetwork(t.Context(), testNet, Op{})
		if err == nil && id != "/net/subnets/s" {
			t.Errorf("subnet %q", id)
		}
		return err
	}
	location := []string{"Location", armHost + asyncOp + "?api-version=1"}
	seconds := func(s ...float64) (out []time.Duration) {
		for _, x := range s {
			out = append(out, time.Duration(x*float64(time.Second)))
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		script map[string][]reply
		do     func(*Client) error
		want   []time.Duration
	}{
		{"PUT, each header in turn", map[string][]reply{
			"PUT " + vnetKey: {accepted(201, "Retry-After", "7")},
			"GET " + asyncOp: {working("Retry-After", "3"), working("retry-after-ms", "250", "Retry-After", "9"), working("x-ms-retry-after-ms", "40"), ended},
			"GET " + vnetKey: {{status: 200, body: vnetBody}},
		}, putNet, seconds(7, 3, 0.25, 0.04)},
		{"PUT, no word from Azure", map[string][]reply{
			"PUT " + vnetKey: {accepted(201)},
			"GET " + asyncOp: {working(), working(), working(), working(), working(), ended},
			"GET " + vnetKey: {{status: 200, body: vnetBody}},
		}, putNet, seconds(1, 1.5, 2.25, 3.375, 4, 4)},
		{"PUT done at once", map[string][]reply{"PUT " + vnetKey: {{status: 200, body: vnetBody}}}, putNet, nil},
		{"DELETE by location", map[string][]reply{
			"DELETE " + rg:   {{status: 202, header: append(location, "Retry-After", "15")}},
			"GET " + asyncOp: {{status: 202, header: append(location, "Retry-After", "2")}, {status: 200}},
		}, func(c *Client) error { return c.DeleteGroup(t.Context(), "rg", Op{}) }, seconds(15, 2)},
		{"POST", map[string][]reply{
			"POST " + vmKey + "/deallocate": {{status: 202, header: []string{"Azure-AsyncOperation", armHost + asyncOp, "Retry-After", "10"}}},
			"GET " + asyncOp:                {working("Retry-After", "5"), ended},
		}, func(c *Client) error { return c.Deallocate(t.Context(), "rg", "m", Op{}) }, seconds(10, 5)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := &stillClock{}
			c := testClient(t, newWire(t, tt.script), clock, func(o *Options) { o.PollCap = 4 * time.Second })
			if err := tt.do(c); err != nil {
				t.Fatal(err)
			}
			wantSlept(t, clock, tt.want...)
		})
	}
}

func TestOperationSurvivesItsProcess(t *testing.T) {
	w := newWire(t, map[string][]reply{
		"PUT " + vnetKey: {accepted(201, "Retry-After", "7")},
		"GET " + asyncOp: {working("Retry-After", "3"), ended},
		"GET " + vnetKey: {{status: 200, body: vnetBody}},
	})
	killed := errors.New("killed")
	saves, token := 0, ""
	first := &stillClock{stop: func(int) error {
		if token == "" {
			t.Error("waited before the token was saved")
		}
		return killed
	}}
	_, err := testClient(t, w, first).PutNetwork(t.Context(), testNet, Op{Save: func(s string) error { saves++; token = s; return nil }})
	if !errors.Is(err, killed) {
		t.Fatalf("got %v, want the clock's own error", err)
	}
	var states []string
	second := &stillClock{}
	id, err := testClient(t, w, second).PutNetwork(t.Context(), testNet, Op{Token: token,
		Save:     func(string) error { saves++; return nil },
		Progress: func(s string) { states = append(states, s) }})
	if err != nil || id != "/net/subnets/s" {
		t.Fatalf("resumed: %q, %v", id, err)
	}
	if n := w.count("PUT " + vnetKey); n != 1 {
		t.Errorf("%d PUTs, want the first process's only", n)
	}
	if saves != 1 {
		t.Errorf("token saved %d times", saves)
	}
	if len(states) != 1 {
		t.Errorf("progress told %v, want one word for the one poll under way", states)
	}
	wantSlept(t, second, 3*time.Second) // a resumed operation is asked after at once
}

func TestUnsavedTokenEndsTheCall(t *testing.T) {
	w := newWire(t, map[string][]reply{"PUT " + vnetKey: {accepted(201)}})
	full := errors.New("no space left on device")
	_, err := testClient(t, w, &stillClock{}).PutNetwork(t.Context(), testNet, Op{Save: func(string) error { return full }})
	if !errors.Is(err, full) || w.count("GET "+asyncOp) != 0 {
		t.Errorf("got %v after %v", err, w.calls)
	}
}

// deallocation begins one and returns its token.
func deallocation(t *testing.T) string {
	w := newWire(t, map[string][]reply{"POST " + vmKey + "/deallocate": {{status: 202, header: []string{"Azure-AsyncOperation", armHost + asyncOp}}}})
	var token string
	err := testClient(t, w, &stillClock{stop: func(int) error { return context.Canceled }}).Deallocate(t.Context(), "rg", "m", Op{Save: func(s string) error { token = s; return nil }})
	if !errors.Is(err, context.Canceled) || token == "" {
		t.Fatalf("cannot begin: %v", err)
	}
	return token
}

func TestStaleTokenLooksAtTheResource(t *testing.T) {
	view := func(power string) []reply {
		return []reply{{status: 200, body: `{"id":"/m","properties":{"instanceView":{"statuses":[{"code":"PowerState/` + power + `"}]}}}`}}
	}
	post := "POST " + vmKey + "/deallocate"
	known := deallocation(t)
	for _, tt := range []struct {
		name, token string
		operation   int // what Azure answers about the operation
		power       string
		posts       int
	}{
		{"forgotten, work done", known, 404, "deallocated", 0},
		{"gone, work done", known, 410, "deallocated", 0},
		{"forgotten, still running", known, 404, "running", 1},
		{"not a token", "rubbish", 0, "running", 1},
		{"token of another kind", `{"type":"SomethingElse","token":{}}`, 0, "deallocated", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script := map[string][]reply{"GET " + vmKey: view(tt.power), post: {{status: 200}}}
			if tt.operation != 0 {
				script["GET "+asyncOp] = []reply{{status: tt.operation, body: `{"error":{"code":"NotFound","message":"no such operation"}}`}}
			}
			w := newWire(t, script)
			if err := testClient(t, w, &stillClock{}).Deallocate(t.Context(), "rg", "m", Op{Token: tt.token}); err != nil {
				t.Fatal(err)
			}
			if n := w.count(post); n != tt.posts {
				t.Errorf("%d POSTs, want %d", n, tt.posts)
			}
		})
	}
}

func TestStaleTokenOfAPutBeginsAgain(t *testing.T) {
	w := newWire(t, map[string][]reply{"PUT " + vnetKey: {{status: 200, body: vnetBody}}})
	if _, err := testClient(t, w, &stillClock{}).PutNetwork(t.Context(), testNet, Op{Token: "rubbish"}); err != nil || w.count("PUT "+vnetKey) != 1 {
		t.Errorf("%v after %v", err, w.calls)
	}
}

func TestResumedFailureIsNotBegunAgain(t *testing.T) {
	w := newWire(t, map[string][]reply{"GET " + asyncOp: {{status: 200, body: `{"status":"Failed","error":{"code":"AllocationFailed","message":"No capacity."}}`}}})
	err := testClient(t, w, &stillClock{}).Deallocate(t.Context(), "rg", "m", Op{Token: deallocation(t)})
	if code(err) != "AllocationFailed" {
		t.Errorf("got %v", err)
	}
}

func TestConflictsThatPass(t *testing.T) {
	busy := reply{status: 409, body: `{"error":{"code":"AnotherOperationInProgress","message":"Wait."}}`}
	told := busy
	told.header = []string{"Retry-After", "11"}
	for _, tt := range []struct {
		name    string
		answers []reply
		fails   string
		slept   []time.Duration
	}{
		{"passes", []reply{busy, told, {status: 200, body: vnetBody}}, "", []time.Duration{time.Second, 11 * time.Second}},
		{"stays", []reply{busy}, "AnotherOperationInProgress", []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 32e9}},
		{"is for ever", []reply{{status: 409, body: `{"error":{"code":"PropertyChangeNotAllowed","message":"No."}}`}}, "PropertyChangeNotAllowed", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := &stillClock{}
			_, err := testClient(t, newWire(t, map[string][]reply{"PUT " + vnetKey: tt.answers}), clock).PutNetwork(t.Context(), testNet, Op{})
			if code(err) != tt.fails || (err == nil) != (tt.fails == "") {
				t.Errorf("got %v", err)
			}
			wantSlept(t, clock, tt.slept...)
		})
	}
}

func TestThrottlingAndBrokenConnections(t *testing.T) {
	slow := reply{status: 429, header: []string{"retry-after-ms", "1"}, body: `{"error":{"code":"TooManyRequests","message":"Slow down."}}`}
	post := "POST " + vmKey + "/deallocate"
	for _, tt := range []struct {
		name, key string
		answers   []reply
		do        func(*Client) error
		seen      []int // statuses that OnCall is told; 0 for none
	}{
		{"429 on PUT", "PUT " + vnetKey, []reply{slow, {status: 200, body: vnetBody}}, func(c *Client) error {
			_, err := c.PutNetwork(t.Context(), testNet, Op{})
			return err
		}, []int{429, 200}},
		{"503 on DELETE", "DELETE " + vnetKey, []reply{{status: 503, header: []string{"retry-after-ms", "1"}}, {status: 204}}, func(c *Client) error {
			return c.DeleteNetwork(t.Context(), "rg", "v", Op{})
		}, []int{503, 204}},
		{"broken POST", post, []reply{{lost: true}, {status: 200}}, func(c *Client) error { return c.Deallocate(t.Context(), "rg", "m", Op{}) }, []int{0, 200}},
		{"broken generalize", "POST " + vmKey + "/generalize", []reply{{lost: true}, {status: 200}}, func(c *Client) error { return c.Generalize(t.Context(), "rg", "m") }, []int{0, 200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen []int
			c := testClient(t, newWire(t, map[string][]reply{tt.key: tt.answers}), &stillClock{}, func(o *Options) {
				o.OnCall = func(c Call) {
					seen = append(seen, c.Status)
					if c.Method+" "+strings.ToLower(c.Path) != tt.key {
						t.Errorf("told of %s %s", c.Method, c.Path)
					}
				}
			})
			if err := tt.do(c); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(seen, tt.seen) {
				t.Errorf("told %v, want %v", seen, tt.seen)
			}
		})
	}
}

// A network that is gone for longer than the SDK tries does not end what Azure is doing.
func TestPollingOutlivesTheNetwork(t *testing.T) {
	lost := reply{lost: true}
	w := newWire(t, map[string][]reply{
		"PUT " + vnetKey: {accepted(201, "Retry-After", "7")},
		"GET " + asyncOp: {lost, lost, lost, lost, lost, lost, ended}, // three tries a poll
		"GET " + vnetKey: {{status: 200, body: vnetBody}},
	})
	clock := &stillClock{}
	if _, err := testClient(t, w, clock).PutNetwork(t.Context(), testNet, Op{}); err != nil {
		t.Fatal(err)
	}
	wantSlept(t, clock, 7*time.Second, 1500*time.Millisecond, 2250*time.Millisecond)
}

func TestPollingStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := newWire(t, map[string][]reply{"PUT " + vnetKey: {accepted(201)}, "GET " + asyncOp: {working()}})
	clock := &stillClock{stop: func(n int) error {
		if n == 3 {
			cancel()
		}
		return nil
	}}
	if _, err := testClient(t, w, clock).PutNetwork(ctx, testNet, Op{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := w.count("GET " + asyncOp); n != 2 {
		t.Errorf("%d polls, want 2", n)
	}
}

func TestEveryCallNamesTheRun(t *testing.T) {
	w := newWire(t, map[string][]reply{"GET " + rg: {{status: 200, body: `{"name":"rg","location":"westeurope","tags":{"ingot-run":"1"}}`}}})
	g, err := testClient(t, w, &stillClock{}).GetGroup(t.Context(), "rg")
	if err != nil || g.Location != "westeurope" || g.Tags["ingot-run"] != "1" {
		t.Errorf("%+v, %v", g, err)
	}
	if got := w.header["GET "+rg].Get("x-ms-correlation-request-id"); got != "run-1" {
		t.Errorf("correlation id %q", got)
	}
}

func TestAfter(t *testing.T) {
	for _, tt := range []struct {
		header http.Header
		want   time.Duration
	}{
		{nil, time.Minute},
		{http.Header{"Retry-After": {"12"}}, 12 * time.Second},
		{http.Header{"Retry-After": {"-3"}}, time.Minute},
		{http.Header{"Retry-After": {"soon"}}, time.Minute},
	} {
		if got := after(&http.Response{Header: tt.header}, time.Minute); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.header, got, tt.want)
		}
	}
	if got := after(nil, time.Minute); got != time.Minute {
		t.Errorf("no answer at all: %v", got)
	}
}
