package azure

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

const (
	armHost = "https://management.example.test"
	testSub = "00000000-0000-0000-0000-00000000000a"
	rg      = "/subscriptions/" + testSub + "/resourcegroups/rg"
	asyncOp = "/subscriptions/" + testSub + "/providers/x/operations/1"
	vnetKey = rg + "/providers/microsoft.network/virtualnetworks/v"
	vmKey   = rg + "/providers/microsoft.compute/virtualmachines/m"
)

// reply is one answer of the wire; lost is a connection that breaks instead.
type reply struct {
	status int
	body   string
	header []string // name, value, name, value
	lost   bool
}

// wire answers calls from a script: "METHOD path" (lower case) to the answers in turn, of which the last one repeats. A
// call that the script does not know fails the test.
type wire struct {
	t      *testing.T
	mu     sync.Mutex
	script map[string][]reply
	calls  []string // "METHOD path"
	urls   []string
	bodies map[string]string // last body by call
	header map[string]http.Header
	raw    func(*http.Request) (*http.Response, bool) // may be nil; goes first
}

func newWire(t *testing.T, script map[string][]reply) *wire {
	lower := map[string][]reply{}
	for k, v := range script {
		method, path, _ := strings.Cut(k, " ")
		lower[method+" "+strings.ToLower(path)] = v
	}
	return &wire{t: t, script: lower, bodies: map[string]string{}, header: map[string]http.Header{}}
}

func (w *wire) Do(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := r.Method + " " + strings.ToLower(r.URL.Path)
	w.calls, w.urls = append(w.calls, key), append(w.urls, r.Method+" "+r.URL.String())
	w.header[key] = r.Header.Clone()
	if r.Body != nil {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		w.bodies[key] = string(raw)
	}
	if w.raw != nil {
		if resp, ok := w.raw(r); ok {
			return resp, nil
		}
	}
	list := w.script[key]
	if len(list) == 0 {
		w.t.Errorf("nobody expected %s", key)
		return answer(r, reply{status: 501}), nil
	}
	if len(list) > 1 {
		w.script[key] = list[1:]
	}
	if list[0].lost {
		return nil, errors.New("connection reset by peer")
	}
	return answer(r, list[0]), nil
}

func answer(r *http.Request, a reply) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(a.header); i += 2 {
		h.Set(a.header[i], a.header[i+1])
	}
	return &http.Response{StatusCode: a.status, Status: fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)), Header: h, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}
}

func (w *wire) count(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, c := range w.calls {
		if c == key {
			n++
		}
	}
	return n
}

// stillClock never waits: it notes what was asked of it. stop, when set, ends the n-th sleep with its error.
type stillClock struct {
	mu    sync.Mutex
	slept []time.Duration
	stop  func(n int) error
}

func (c *stillClock) Now() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func (c *stillClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept = append(c.slept, d)
	if c.stop != nil {
		if err := c.stop(len(c.slept)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func wantSlept(t *testing.T, c *stillClock, want ...time.Duration) {
	t.Helper()
	if !slices.Equal(c.slept, want) {
		t.Errorf("waited %v, want %v", c.slept, want)
	}
}

// fixedToken is a credential whose token says who it is.
type fixedToken string

func (f fixedToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(f), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func tokenOf(claims string) fixedToken {
	return fixedToken("e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".test-signature-not-real")
}

func testClient(t *testing.T, w *wire, c *stillClock, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Credential: tokenOf(`{}`), Subscription: testSub, Cloud: CloudAt("https://login.example.test", armHost),
		Transport: w, Clock: c, RetryDelay: time.Millisecond, MaxRetries: 2, CorrelationID: "run-1"}
	for _, f := range change {
		f(&o)
	}
	client, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// working and ended are the states of an operation as Azure-AsyncOperation reports them.
func working(header ...string) reply {
	return reply{status: 200, body: `{"status":"InProgress"}`, header: header}
}

var ended = reply{status: 200, body: `{"status":"Succeeded"}`}

func accepted(status int, header ...string) reply {
	return reply{status: status, body: `{"properties":{"provisioningState":"Updating"}}`, header: append([]string{"Azure-AsyncOperation", armHost + asyncOp + "?api-version=1"}, header...)}
}

const vnetBody = `{"id":"/net","properties":{"provisioningState":"Succeeded","subnets":[{"id":"/net/subnets/other","name":"other"},{"id":"/net/subnets/s","name":"S"}]}}`

var testNet = Network{Group: "rg", Name: "v", Location: "westeurope", Subnet: "s", AddressSpace: "10.0.0.0/16", SubnetSpace: "10.0.0.0/24"}
