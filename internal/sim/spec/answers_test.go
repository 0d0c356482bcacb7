package spec

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"ingot/internal/sim"
)

const (
	subscription = "/subscriptions/" + sim.DefaultSubscription
	group        = subscription + "/resourceGroups/rg"
)

// judged is a transport whose answers a Judge sees.
type judged struct {
	next http.RoundTripper
	j    *Judge
}

func (x judged) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := x.next.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	raw, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	x.j.See(r, resp.StatusCode, raw)
	return resp, nil
}

func specs(t *testing.T) *Judge {
	t.Helper()
	root := os.Getenv("INGOT_SPECS")
	if root == "" {
		t.Skip("INGOT_SPECS does not name a checkout of Azure/azure-rest-api-specs: the schemas are not part of Ingot")
	}
	j, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestAnswersHaveTheirSchemas lives through the resource types of a build and judges each answer.
func TestAnswersHaveTheirSchemas(t *testing.T) {
	j := specs(t)
	a, err := sim.New(sim.Config{Latency: sim.NoLatency})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	live(t, judged{a.Transport(), j})
	if total := Report(t, j); total.Passed < 70 {
		t.Errorf("%d answers had their schema: the calls did not get as far as they did", total.Passed)
	}
}

// TestAJudgeFindsFaults gives the judge an answer that its schema refuses.
func TestAJudgeFindsFaults(t *testing.T) {
	j := specs(t)
	lib := j.lib
	a, ok, err := lib.find("GET", group+"/providers/Microsoft.Compute/galleries/g", "2023-07-03", 200)
	if err != nil || !ok {
		t.Fatalf("no operation: %v", err)
	}
	if f := j.failures(a, []byte(`{"location":"westeurope"}`)); len(f) != 0 {
		t.Errorf("a good gallery: %v", f)
	}
	if f := j.failures(a, []byte(`{"location":7}`)); len(f) == 0 {
		t.Error("a location that is a number was not found")
	}
	a, ok, err = lib.find("GET", group+"/providers/Microsoft.Compute/galleries", "2023-07-03", 200)
	if err != nil || !ok {
		t.Fatalf("no operation: %v", err)
	}
	if f := j.failures(a, []byte(`{"value":[{"location":"westeurope"},{"location":7}]}`)); len(f) == 0 {
		t.Error("a fault in the second element of a list was not found")
	}
	if f := j.failures(a, []byte(`{}`)); len(f) == 0 {
		t.Error("a list without its value was not found")
	}
}

// call is one call as the Owner; a poll follows, since nothing takes time here.
func call(t *testing.T, rt http.RoundTripper, token, method, path, version, body string) map[string]any {
	t.Helper()
	r, err := http.NewRequest(method, sim.EmbeddedURL+path+"?api-version="+version, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		t.Errorf("%s %s: %d %s", method, path, resp.StatusCode, raw)
	}
	if at := resp.Header.Get("Azure-AsyncOperation"); at != "" {
		poll(t, rt, token, at)
	}
	var m map[string]any
	json.Unmarshal(raw, &m) //nolint:errcheck // some answers are empty
	return m
}

func poll(t *testing.T, rt http.RoundTripper, token, at string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func signIn(t *testing.T, rt http.RoundTripper) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {sim.DefaultClientID}, "client_secret": {sim.DefaultClientSecret}, "scope": {"https://management.sim.localhost/.default"}}
	r, err := http.NewRequest(http.MethodPost, sim.EmbeddedURL+"/"+sim.DefaultTenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var m struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil || m.Token == "" {
		t.Fatalf("no token: %v", err)
	}
	return m.Token
}
