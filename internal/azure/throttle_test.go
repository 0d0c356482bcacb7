package azure

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bubbleClock is time as testing/synctest has it.
type bubbleClock struct{}

func (bubbleClock) Now() time.Time { return time.Now() }
func (bubbleClock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rationed answers as Resource Manager does: so many calls at once, so many more a second, each after 200 ms.
type rationed struct {
	t       *testing.T
	mu      sync.Mutex
	tokens  float64
	at      time.Time
	refused int
	own     bool // the limit is a machine's
}

const rationedSize, rationedPerSecond = 20, 5

func (r *rationed) Do(q *http.Request) (*http.Response, error) {
	select {
	case <-time.After(200 * time.Millisecond):
	case <-q.Context().Done():
		return nil, q.Context().Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.Method == http.MethodPut {
		if raw, err := io.ReadAll(q.Body); err != nil || !strings.Contains(string(raw), "westeurope") {
			r.t.Errorf("a body did not survive: %q %v", raw, err)
		}
	}
	if r.at.IsZero() {
		r.at = time.Now()
	}
	r.tokens = min(rationedSize, r.tokens+time.Since(r.at).Seconds()*rationedPerSecond)
	r.at = time.Now()
	out := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Request: q, Body: io.NopCloser(strings.NewReader(`{"name":"rg","location":"westeurope","properties":{"provisioningState":"Succeeded"}}`))}
	if r.tokens < 1 {
		r.refused++
		code := "SubscriptionRequestsThrottled"
		if r.own {
			code = "OperationNotAllowed"
		}
		out.StatusCode = 429
		out.Header.Set("Retry-After", "1")
		out.Body = io.NopCloser(strings.NewReader(`{"error":{"code":"` + code + `","message":"too many"}}`))
		return out, nil
	}
	r.tokens--
	return out, nil
}

// TestThrottledCallsStandInLine: 300 calls at once where 20 are allowed and 5 a second all get their answer, as soon as Azure allows, without
// many useless tries, although the SDK by itself would give up after 8; nobody waits much longer than the others who came then.
func TestThrottledCallsStandInLine(t *testing.T) {
	for name, do := range map[string]func(context.Context, *Client) error{
		"reads": func(ctx context.Context, c *Client) error { _, err := c.GetGroup(ctx, "rg"); return err },
		"writes": func(ctx context.Context, c *Client) error {
			return c.PutGroup(ctx, Group{Name: "rg", Location: "westeurope"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &rationed{t: t, tokens: rationedSize}
				c, err := New(Options{Credential: tokenOf(`{}`), Subscription: testSub, Cloud: CloudAt("https://login.example.test", armHost), Transport: server, Clock: bubbleClock{}})
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				var wg sync.WaitGroup
				for range 300 {
					wg.Go(func() {
						if err := do(t.Context(), c); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				took, least := time.Since(begun), (300-rationedSize)/rationedPerSecond*time.Second
				t.Logf("%s, at least %s by the limit; %d refusals", took, least, server.refused)
				if took > least*3/2 {
					t.Errorf("it took %s, and %s would do", took, least)
				}
				if server.refused > 300+3*300 {
					t.Errorf("%d refusals", server.refused)
				}
			})
		})
	}
}

// TestAMachinesOwnLimit holds up nobody else.
func TestAMachinesOwnLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &rationed{t: t, own: true}
		c, err := New(Options{Credential: tokenOf(`{}`), Subscription: testSub, Cloud: CloudAt("https://login.example.test", armHost), Transport: server, Clock: bubbleClock{}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.GetGroup(t.Context(), "rg"); err != nil || server.refused != 1 {
			t.Errorf("%v, %d refusals", err, server.refused)
		}
		if x := c.arm.PerCallPolicies[0].(*throttling); x.lines[strings.TrimPrefix(armHost, "https://")+" reads"].waiting != 0 { //nolint:forcetypeassert // it is the first
			t.Error("a machine's own limit made a line")
		}
	})
}

// TestThrottledTooLong: a limit that does not end is an error in the end, and a call that is given up leaves the line.
func TestThrottledTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := transport(func(q *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"60"}}, Request: q, Body: io.NopCloser(strings.NewReader(`{"error":{"code":"SubscriptionRequestsThrottled","message":"too many"}}`))}, nil
		})
		c, err := New(Options{Credential: tokenOf(`{}`), Subscription: testSub, Cloud: CloudAt("https://login.example.test", armHost), Transport: never, Clock: bubbleClock{}})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := c.GetGroup(t.Context(), "rg"); status(err) != 429 || time.Since(begun) > patience {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute/2)
		defer stop()
		if _, err := c.GetGroup(ctx, "rg"); err == nil {
			t.Error("no error")
		}
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) Do(q *http.Request) (*http.Response, error) { return f(q) }
