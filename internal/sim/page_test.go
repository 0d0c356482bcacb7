package sim

import (
	"net/http"
	"strings"
	"testing"
)

func (w *world) page(method, path, body string, header map[string]string) (int, string, http.Header) {
	w.t.Helper()
	req, err := http.NewRequest(method, "https://localhost:1"+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if h := header["Host"]; h != "" {
		req.URL.Host = h
	}
	resp, err := w.Transport().RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	var b strings.Builder
	resp.Write(&b) //nolint:errcheck // into memory
	return resp.StatusCode, b.String(), resp.Header
}

func TestPageEscapesAndHidesSecrets(t *testing.T) {
	w := newWorld(t, Config{})
	w.must("PUT", groupRG, `{"location":"westeurope","tags":{"a":"<script>alert(1)</script>"}}`)
	w.must("PUT", "Microsoft.Network/networkSecurityGroups/g", `{"location":"westeurope","tags":{"a":"<script>alert(1)</script>"},"properties":{}}`)
	w.machine()
	for _, view := range []string{"/", "/?view=operations", "/?view=faults", "/?view=calls", "/?view=guests", "/?view=accounts", "/?view=calls&filter=<script>alert(1)</script>",
		"/page/resource?id=" + groupRG + "/providers/Microsoft.Network/networkSecurityGroups/g"} {
		status, text, h := w.page("GET", view, "", nil)
		if status != 200 || !strings.Contains(text, "</html>") || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %s", view, status, text)
		}
		if strings.Contains(text, "<script>alert") || strings.Contains(text, "Test-secret-not-real-1") {
			t.Errorf("%s shows what it must not", view)
		}
		if !strings.Contains(view, "filter") && strings.HasPrefix(view, "/?view=calls") && (!strings.Contains(text, hidden) || strings.Contains(text, w.token) || strings.Contains(text, DefaultClientSecret)) {
			t.Errorf("%s: a secret is not hidden", view)
		}
	}
}

func TestPageIsForThisMachine(t *testing.T) {
	w := newWorld(t, Config{})
	const form = "do=drop&path=disks"
	for _, c := range []struct {
		name, method, path string
		header             map[string]string
		want               int
	}{
		{"own form", "POST", "/page/faults/add", map[string]string{"Origin": "https://localhost:1"}, 303},
		{"a program", "POST", "/page/faults/add", nil, 303},
		{"another site's form", "POST", "/page/faults/add", map[string]string{"Origin": "https://evil.test"}, 403},
		{"a form without an origin", "POST", "/page/faults/add", map[string]string{"Origin": "null"}, 403},
		{"another site, old browser", "POST", "/page/faults/add", map[string]string{"Referer": "https://evil.test/x"}, 403},
		{"another site's fetch", "POST", "/sim/faults", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"a name rebound to loopback", "GET", "/", map[string]string{"Host": "evil.test"}, 403},
		{"a name that ends alike", "GET", "/", map[string]string{"Host": "evillocalhost:1"}, 403},
		{"an own name", "GET", "/", map[string]string{"Host": "management.sim.localhost"}, 200},
		{"by address", "GET", "/", map[string]string{"Host": "127.0.0.1:4"}, 200},
	} {
		if status, text, _ := w.page(c.method, c.path, form, c.header); status != c.want {
			t.Errorf("%s: %d %s", c.name, status, text)
		}
	}
	if len(w.faults) != 2 {
		t.Errorf("%d faults", len(w.faults))
	}
	if status, _, _ := w.page("POST", "/page/faults/add", "do=nothing", nil); status != 400 {
		t.Errorf("a fault that does nothing: %d", status)
	}
	if _, err := w.Serve("0.0.0.0:0"); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("an address others can reach: %v", err)
	}
}

// A handler that panics must neither keep the lock nor end the process.
func TestPanicGivesTheLockBack(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	w.kinds[strings.ToLower(galleryType)].check = func(*Azure, ask) *refusal { panic("a test's own") }
	a := w.arm("PUT", "Microsoft.Compute/galleries/x", `{"location":"westeurope"}`)
	if a.status != 500 || a.code() != "InternalServerError" {
		t.Errorf("%d %s", a.status, a.text)
	}
	w.must("GET", groupRG, "")
	calls := w.Calls()
	if c := calls[len(calls)-2]; c.Status != 500 || c.Code != "InternalServerError" || c.Principal != "simulated" || c.Time.IsZero() {
		t.Errorf("%+v", c)
	}
}

func TestCallsAreARing(t *testing.T) {
	var r ring
	for i := range keptCalls + 10 {
		r.add(CallRecord{Status: i, request: []byte("x")})
	}
	all := r.all()
	if len(all) != keptCalls || all[0].Status != 10 || all[len(all)-1].Status != keptCalls+9 {
		t.Errorf("%d calls from %d to %d", len(all), all[0].Status, all[len(all)-1].Status)
	}
	bodies := 0
	for _, c := range all {
		if c.request != nil {
			bodies++
		}
	}
	if bodies != keptBodies {
		t.Errorf("%d bodies", bodies)
	}
}

func TestMetadataInItsForms(t *testing.T) {
	w := newWorld(t, Config{})
	at := func(version string) got {
		return w.raw("GET", EmbeddedURL+"/metadata/endpoints?api-version="+version, "", nil, "")
	}
	if g := at("2015-01-01"); text(g.json, "authentication", "loginEndpoint") != EmbeddedURL+"/adfs" || text(g.json, "galleryEndpoint") == "" {
		t.Errorf("2015: %s", g.text)
	}
	for _, version := range []string{"2019-05-01", "2020-06-01"} {
		if g := at(version); !strings.HasPrefix(g.text, "[{") || !strings.Contains(g.text, `"name":"AzureSim"`) {
			t.Errorf("%s: %s", version, g.text)
		}
	}
	if g := at("2022-09-01"); text(g.json, "microsoftGraphResourceId") == "" || text(g.json, "suffixes", "mhsmDns") == "" || text(g.json, "authentication", "identityProvider") != "AAD" {
		t.Errorf("2022: %s", g.text)
	}
}
