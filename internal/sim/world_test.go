package sim

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// handClock stands still until a test moves it.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func newHandClock() *handClock { return &handClock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *handClock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *handClock) Sleep(ctx context.Context, d time.Duration) error {
	<-ctx.Done()
	return context.Cause(ctx)
}
func (c *handClock) move(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// world is a simulated Azure with somebody signed in.
type world struct {
	*Azure
	t     *testing.T
	clock *handClock
	token string
}

func newWorld(t *testing.T, c Config) *world {
	t.Helper()
	w := &world{t: t, clock: newHandClock()}
	if c.Clock == nil {
		c.Clock = w.clock
	}
	if os.Getenv("INGOT_SPECS") != "" {
		judge, err := theJudge()
		if err != nil {
			t.Fatal(err)
		}
		c.Observe = judge.See
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	w.Azure = a
	w.token = w.signIn(DefaultClientID, DefaultClientSecret, "https://management.sim.localhost/.default")
	return w
}

func (w *world) signIn(client, secret, scope string) string {
	w.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {secret}, "scope": {scope}}
	a := w.raw(http.MethodPost, EmbeddedURL+"/"+DefaultTenant+"/oauth2/v2.0/token", "", []byte(form.Encode()), "")
	tok, _ := a.json["access_token"].(string)
	if tok == "" {
		w.t.Fatalf("no token: %d %s", a.status, a.text)
	}
	return tok
}

type got struct {
	status int
	header http.Header
	text   string
	json   map[string]any
	err    error
}

func (g got) code() string    { return text(g.json, "error", "code") }
func (g got) message() string { return text(g.json, "error", "message") }

func (w *world) raw(method, u, token string, body []byte, contentType string) got {
	req, err := http.NewRequest(method, u, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := w.Transport().RoundTrip(req)
	if err != nil {
		return got{err: err}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	g := got{status: resp.StatusCode, header: resp.Header, text: string(raw)}
	json.Unmarshal(raw, &g.json) //nolint:errcheck // not every answer is an object
	if g.code() == "ExpiredAuthenticationToken" && token == w.token {
		// Tests move the clock by hours; a client would sign in again.
		w.token = w.signIn(DefaultClientID, DefaultClientSecret, "https://management.sim.localhost/.default")
		return w.raw(method, u, w.token, body, contentType)
	}
	return g
}

const groupRG = "/subscriptions/" + DefaultSubscription + "/resourceGroups/rg"

// arm calls Resource Manager; path is below the group rg unless it is absolute.
func (w *world) arm(method, path, body string) got { return w.as(w.token, method, path, body) }

func (w *world) as(token, method, path, body string) got {
	if !strings.HasPrefix(path, "/") {
		path = groupRG + "/providers/" + path
	}
	sep, version := "?", "2024-05-01"
	if strings.Contains(path, "Microsoft.VirtualMachineImages/") {
		version = "2024-02-01" // it knows its own only
	}
	switch {
	case strings.Contains(path, "api-version="):
		return w.raw(method, EmbeddedURL+path, token, []byte(body), "application/json")
	case strings.Contains(path, "?"):
		sep = "&"
	}
	return w.raw(method, EmbeddedURL+path+sep+"api-version="+version, token, []byte(body), "application/json")
}

func (w *world) must(method, path, body string) got {
	w.t.Helper()
	g := w.arm(method, path, body)
	if g.err != nil || g.status >= 300 {
		w.t.Fatalf("%s %s: %d %s %v", method, path, g.status, g.text, g.err)
	}
	return g
}

func (w *world) group() { w.t.Helper(); w.must("PUT", groupRG, `{"location":"westeurope"}`) }

// machine makes the VM "vm" with the network it needs, and does not wait for it.
func (w *world) machine() {
	w.t.Helper()
	net := groupRG + "/providers/Microsoft.Network/"
	w.must("PUT", "Microsoft.Network/virtualNetworks/net", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`)
	w.clock.move(time.Hour / 4)
	w.must("PUT", "Microsoft.Network/networkInterfaces/nic", `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"`+net+`virtualNetworks/net/subnets/s"}}}]}}`)
	w.clock.move(time.Minute)
	w.must("PUT", "Microsoft.Compute/virtualMachines/vm", `{"location":"westeurope","properties":{"hardwareProfile":{"vmSize":"Standard_D4s_v5"},
		"storageProfile":{"imageReference":{"publisher":"MicrosoftWindowsDesktop","offer":"windows-11","sku":"win11-24h2-avd","version":"latest"}},
		"osProfile":{"computerName":"vm","adminUsername":"packer","adminPassword":"Test-secret-not-real-1"},
		"networkProfile":{"networkInterfaces":[{"id":"`+net+`networkInterfaces/nic"}]}}}`)
}

func trusting(t testing.TB, ca []byte) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate")
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
}

func decode(t testing.TB, r io.Reader, into any) {
	t.Helper()
	if err := json.NewDecoder(r).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func unmarshal(s string, into any) error { return json.Unmarshal([]byte(s), into) }

// waitFor waits for something that takes real time.
func waitFor(t *testing.T, limit time.Duration, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s", limit)
		}
		<-time.After(50 * time.Millisecond) // a real machine is being waited for
	}
}

// finishSoon begins an operation of a real machine and waits for its end.
func (d *desk) finishSoon(method, path string) {
	d.t.Helper()
	_, h, _ := d.call(method, path, nil)
	at := h.Get("Azure-AsyncOperation")
	var out any
	waitFor(d.t, time.Minute, func() bool { out = d.must(200, "GET", at, nil); return text(out, "status") != "InProgress" })
	if text(out, "status") != "Succeeded" {
		d.t.Fatalf("%s %s: %v", method, path, out)
	}
}

func (w *Azure) serialLogOf(vm string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.serialLog(vm)
}
