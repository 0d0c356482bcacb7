package spec

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"testing"

	openapi "github.com/go-openapi/spec"
	"github.com/go-openapi/strfmt"
	"github.com/go-openapi/validate"

	"ingot/internal/sim"
)

const (
	subscription = "/subscriptions/" + sim.DefaultSubscription
	group        = subscription + "/resourceGroups/rg"
)

// judge is a transport that holds every 2xx answer of Resource Manager against its schema.
type judge struct {
	t      *testing.T
	next   http.RoundTripper
	lib    *library
	score  map[string]*score
	broken map[string]bool
}

type score struct{ passed, failed, unknown int }

func (j *judge) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := j.next.RoundTrip(r)
	if err != nil || resp.StatusCode >= 300 || !strings.HasPrefix(r.URL.Path, "/subscriptions") {
		return resp, err
	}
	raw, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	j.judge(r, resp.StatusCode, raw)
	return resp, nil
}

func (j *judge) judge(r *http.Request, status int, raw []byte) {
	provider := "Microsoft.Resources"
	if i := strings.LastIndex(r.URL.Path, "/providers/"); i >= 0 {
		provider, _, _ = strings.Cut(r.URL.Path[i+len("/providers/"):], "/")
	}
	s := j.score[provider]
	if s == nil {
		s = &score{}
		j.score[provider] = s
	}
	a, ok, err := j.lib.find(r.Method, r.URL.Path, r.URL.Query().Get("api-version"), status)
	if err != nil {
		j.t.Fatal(err)
	}
	if !ok {
		s.unknown++
		j.t.Logf("no schema: %s %s", r.Method, r.URL.Path)
		return
	}
	failures := j.failures(a, raw)
	if !a.declared {
		failures = append(failures, "the status of this answer is not declared: "+http.StatusText(status))
	}
	if len(failures) == 0 {
		s.passed++
		return
	}
	s.failed++
	for _, f := range failures {
		key := r.Method + " " + a.path[strings.LastIndex(a.path, "/providers/")+1:] + " (" + a.version + "): " + f
		j.broken[key] = true
	}
}

// failures are the findings of the validator; an answer without a schema and without a body has none.
func (j *judge) failures(a answer, raw []byte) []string {
	if a.schema == nil || len(raw) == 0 {
		if a.schema != nil {
			return []string{"the answer has no body"}
		}
		return nil
	}
	var body any
	if err := json.Unmarshal(raw, &body); err != nil {
		return []string{err.Error()}
	}
	body = withoutNulls(body)
	flat, err := j.lib.flat(a.file, a.schema, body)
	if err != nil {
		j.t.Fatal(err)
	}
	text, err := json.Marshal(flat)
	if err != nil {
		j.t.Fatal(err)
	}
	var schema openapi.Schema
	if err := json.Unmarshal(text, &schema); err != nil {
		j.t.Fatal(err)
	}
	var out []string
	for _, e := range validate.NewSchemaValidator(&schema, nil, "", strfmt.Default).Validate(body).Errors {
		if !strings.HasPrefix(e.Error(), "must validate all the schemas") {
			out = append(out, e.Error())
		}
	}
	return out
}

func specs(t *testing.T) *library {
	t.Helper()
	root := os.Getenv("INGOT_SPECS")
	if root == "" {
		t.Skip("INGOT_SPECS does not name a checkout of Azure/azure-rest-api-specs: the schemas are not part of Ingot")
	}
	l, err := openLibrary(root)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAnswersHaveTheirSchemas lives through the resource types of a build and judges each answer.
func TestAnswersHaveTheirSchemas(t *testing.T) {
	lib := specs(t)
	a, err := sim.New(sim.Config{Latency: sim.NoLatency})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	j := &judge{t: t, next: a.Transport(), lib: lib, score: map[string]*score{}, broken: map[string]bool{}}
	live(t, j)
	var names []string
	total := score{}
	for name, s := range j.score {
		names = append(names, name)
		total.passed, total.failed, total.unknown = total.passed+s.passed, total.failed+s.failed, total.unknown+s.unknown
	}
	sort.Strings(names)
	for _, name := range names {
		s := j.score[name]
		t.Logf("%-36s %d of %d answers have their schema, %d without a schema", name, s.passed, s.passed+s.failed, s.unknown)
	}
	t.Logf("all: %d of %d, %d without a schema", total.passed, total.passed+total.failed, total.unknown)
	for f := range j.broken {
		t.Error(f)
	}
	if total.passed < 40 {
		t.Errorf("%d answers had their schema: the calls did not get as far as they did", total.passed)
	}
}

// TestAJudgeFindsFaults gives the judge an answer that its schema refuses.
func TestAJudgeFindsFaults(t *testing.T) {
	lib := specs(t)
	a, ok, err := lib.find("GET", group+"/providers/Microsoft.Compute/galleries/g", "2023-07-03", 200)
	if err != nil || !ok {
		t.Fatalf("no operation: %v", err)
	}
	j := &judge{t: t, lib: lib}
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
	if j, ok := rt.(*judge); ok {
		rt = j.next // the operations' own answers are protocol, not of a provider
	}
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
