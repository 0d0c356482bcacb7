package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	openapi "github.com/go-openapi/spec"
	"github.com/go-openapi/strfmt"
	"github.com/go-openapi/validate"
)

// Judge holds answers against the schemas of their operations: those of Resource Manager, its operations' status documents, its
// errors, and Key Vault's data plane. Blobs (XML), sign-in and instance metadata have no schema that it could read; they are counted
// as not judged. It is safe for concurrent use.
type Judge struct {
	mu       sync.Mutex
	lib      *library
	versions []string // of Key Vault's data plane, the newest first
	score    map[string]*Score
	broken   map[string]bool
	extra    map[string]int
	unknown  map[string]int
}

// Score is how many answers of a provider had their schema, how many of these were empty as declared, how many break it as Azure's own
// do, how many break it otherwise, and how many have none.
type Score struct{ Passed, Empty, AsReal, Failed, Unknown int }

// Open reads the schemas below a checkout of Azure/azure-rest-api-specs; only what is asked for is loaded.
func Open(root string) (*Judge, error) {
	l, err := openLibrary(root)
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob(filepath.Join(root, "specification", "keyvault", "data-plane", "Microsoft.KeyVault", "stable", "7*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(dirs)
	slices.Reverse(dirs)
	return &Judge{lib: l, versions: dirs, score: map[string]*Score{}, broken: map[string]bool{}, extra: map[string]int{}, unknown: map[string]int{}}, nil
}

// See judges one answer.
func (j *Judge) See(r *http.Request, status int, body []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	path, host := r.URL.Path, strings.ToLower(r.Host)
	if host == "" {
		host = strings.ToLower(r.URL.Host)
	}
	switch {
	case strings.Contains(host, ".vault."):
		j.vault(r.Method, path, status, body)
	case strings.HasPrefix(path, "/subscriptions") || strings.HasPrefix(path, "/providers/"):
		j.manage(r, status, body)
	case strings.HasPrefix(path, "/sim/"): // not Azure's
	default:
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if strings.Contains(path, "/oauth2/") || strings.Contains(path, "/.well-known/") {
			first = "sign-in"
		}
		j.of("not judged: "+first).Unknown++
	}
}

func (j *Judge) of(name string) *Score {
	if j.score[name] == nil {
		j.score[name] = &Score{}
	}
	return j.score[name]
}

func (j *Judge) manage(r *http.Request, status int, body []byte) {
	path := r.URL.Path
	provider := "Microsoft.Resources"
	if i := strings.LastIndex(strings.ToLower(path), "/providers/"); i >= 0 {
		provider, _, _ = strings.Cut(path[i+len("/providers/"):], "/")
	}
	low := strings.ToLower(path)
	if strings.Contains(low, "/locations/") && strings.Contains(low, "operation") || strings.Contains(low, "/operationresults/") {
		j.poll(r, status, body)
		return
	}
	a, ok, err := j.lib.find(r.Method, path, r.URL.Query().Get("api-version"), status)
	switch {
	case err != nil:
		j.fault(provider, err.Error())
	case status >= 400:
		j.refusal(provider, r.Method, a, status, body)
	case !ok:
		j.of(provider).Unknown++
		j.unknown[r.Method+" "+shape(path)]++
	default:
		j.judge(provider, r.Method, a, status, body)
	}
}

// shape is a path without its names.
func shape(path string) string {
	parts := strings.Split(path, "/")
	if i := slices.IndexFunc(parts, func(s string) bool { return strings.EqualFold(s, "providers") }); i >= 0 && i+1 < len(parts) {
		for k := i + 3; k < len(parts); k += 2 {
			parts[k] = "*"
		}
		return strings.Join(parts[i+1:], "/")
	}
	return fmt.Sprint(len(parts)) + " segments: " + parts[len(parts)-1]
}

// common is a definition of the types that every provider shares.
func (j *Judge) common(name, status string) answer {
	file := filepath.Join(j.lib.root, "specification", "common-types", "resource-management", "v3", "types.json")
	return answer{file: file, path: status, version: "common-types v3", schema: map[string]any{"$ref": "#/definitions/" + name}, declared: true}
}

// poll judges an operation's status document; what is at its Location has the schema of the resource, which is judged there.
func (j *Judge) poll(r *http.Request, status int, body []byte) {
	switch {
	case status >= 400:
		j.refusal("operations", r.Method, answer{}, status, body)
	case r.URL.Query().Get("monitor") == "true" || strings.Contains(strings.ToLower(r.URL.Path), "operationresults"):
		j.of("not judged: results of operations").Unknown++
	default:
		j.judge("operations", r.Method, j.common("OperationStatusResult", "the status of an operation"), status, body)
	}
}

// refusal judges an error: by what the operation declares for it, else by what all of Azure answers.
func (j *Judge) refusal(provider, method string, a answer, status int, body []byte) {
	if status == 404 && len(body) == 0 || method == http.MethodHead {
		j.of(provider).Empty++
		j.of(provider).Passed++
		return
	}
	own := a.fallback
	if own == nil {
		path := a.path
		a = j.common("ErrorResponse", fmt.Sprintf("error %d of %s", status, path))
	} else {
		a.schema = own
	}
	a.declared = true
	j.judge(provider, method, a, status, body)
	// The schemas of errors require nothing; every client reads these two.
	var m struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(body, &m) != nil || m.Error.Code == "" || m.Error.Message == "" {
		j.fault(provider, fmt.Sprintf("%s %s: an error %d without code or message: %.200s", method, a.path, status, body))
	}
}

func (j *Judge) vault(method, path string, status int, body []byte) {
	for _, dir := range j.versions {
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			j.fault("vault data", err.Error())
			return
		}
		for _, file := range files {
			doc, err := j.lib.load(file)
			if err != nil {
				j.fault("vault data", err.Error())
				return
			}
			a, ok := operation(doc, method, strings.TrimSuffix(path, "/"), status)
			if !ok {
				a, ok = operation(doc, method, strings.TrimSuffix(path, "/")+"/latest", status) // a version that is left out is ""
			}
			if !ok {
				continue
			}
			a.file, a.version = file, filepath.Base(dir)
			if status >= 400 {
				j.refusal("vault data", method, a, status, body)
			} else {
				j.judge("vault data", method, a, status, body)
			}
			return
		}
	}
	if status >= 400 {
		j.refusal("vault data", method, answer{}, status, body)
		return
	}
	j.of("vault data").Unknown++
	j.unknown["vault "+method+" "+path]++
}

func (j *Judge) judge(provider, method string, a answer, status int, raw []byte) {
	s := j.of(provider)
	var failures []string
	switch {
	case !a.declared:
		failures = []string{fmt.Sprintf("the status %d of this answer is not declared", status)}
	case method == http.MethodHead:
	case a.schema == nil || len(raw) == 0:
		s.Empty++
	}
	if method != http.MethodHead {
		failures = append(failures, j.failures(a, raw)...)
	}
	all := len(failures)
	if failures = slices.DeleteFunc(failures, real); len(failures) == 0 && all > 0 {
		s.AsReal++
		return
	}
	if len(failures) == 0 {
		s.Passed++
		return
	}
	s.Failed++
	for _, f := range failures {
		j.broken[method+" "+a.path[strings.LastIndex(a.path, "/providers/")+1:]+" ("+a.version+"): "+f] = true
	}
}

func (j *Judge) fault(provider, text string) {
	j.of(provider).Failed++
	j.broken[text] = true
}

// failures are the findings of the validator; an answer without a schema and without a body has none.
func (j *Judge) failures(a answer, raw []byte) []string {
	if a.schema == nil || len(raw) == 0 {
		if a.schema != nil && !a.accepted {
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
		return []string{err.Error()}
	}
	text, err := json.Marshal(flat)
	if err != nil {
		return []string{err.Error()}
	}
	var schema openapi.Schema
	if err := json.Unmarshal(text, &schema); err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, e := range validate.NewSchemaValidator(&schema, nil, "", strfmt.Default).Validate(body).Errors {
		if !strings.HasPrefix(e.Error(), "must validate all the schemas") {
			out = append(out, e.Error())
		}
	}
	known, err := j.lib.members(a.file, a.schema, body)
	if err != nil {
		return append(out, err.Error())
	}
	for _, m := range known {
		j.extra[a.path[strings.LastIndex(a.path, "/")+1:]+" "+m]++
	}
	return out
}

// asReal are answers that break their schema as Azure's own do.
var asReal = []struct{ fault, why string }{
	{"locations.0 in body must be of type string: \"null\"", "deployments have [null] where a type has no region: recorded"},
	{"permissions in body should be one of [Read Full]", "storage keys have FULL: `az storage account keys list` in Azure's documentation"},
	{".value in body must be of type object", "policy parameters have values of every type; the schema means any: Azure's documentation of policy assignments"},
	{"nextLink in body is required", "the last page of a list has none: Azure's guidelines for REST APIs, collections"},
}

func real(fault string) bool {
	return slices.ContainsFunc(asReal, func(r struct{ fault, why string }) bool { return strings.Contains(fault, r.fault) })
}

// Scores returns the score of each provider.
func (j *Judge) Scores() map[string]Score {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := map[string]Score{}
	for n, s := range j.score {
		out[n] = *s
	}
	return out
}

// Faults lists what broke its schema, sorted.
func (j *Judge) Faults() []string { return j.sorted(maps.Keys(j.broken)) }

// Undeclared lists the members that no schema declares, which Azure may have all the same.
func (j *Judge) Undeclared() []string { return j.sorted(maps.Keys(j.extra)) }

// Unknown lists the calls that no operation of the specifications is.
func (j *Judge) Unknown() []string { return j.sorted(maps.Keys(j.unknown)) }

func (j *Judge) sorted(seq func(func(string) bool)) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Sorted(seq)
}

// Report prints the scores and reports the faults; it returns the sum. t is a *testing.T.
func Report(t interface {
	Helper()
	Logf(string, ...any)
	Errorf(string, ...any)
}, j *Judge) Score {
	t.Helper()
	var total Score
	scores := j.Scores()
	for _, name := range slices.Sorted(maps.Keys(scores)) {
		s := scores[name]
		t.Logf("%-40s %d of %d answers have their schema (%d without a body), %d differ as Azure's own do, %d without a schema", name, s.Passed, s.Passed+s.AsReal+s.Failed, s.Empty, s.AsReal, s.Unknown)
		total = Score{total.Passed + s.Passed, total.Empty + s.Empty, total.AsReal + s.AsReal, total.Failed + s.Failed, total.Unknown + s.Unknown}
	}
	t.Logf("all: %d of %d (%d without a body), %d differ as Azure's own do, %d without a schema", total.Passed, total.Passed+total.AsReal+total.Failed, total.Empty, total.AsReal, total.Unknown)
	for _, u := range j.Unknown() {
		t.Logf("no schema: %s", u)
	}
	for _, m := range j.Undeclared() {
		t.Logf("undeclared: %s", m)
	}
	for _, f := range j.Faults() {
		t.Errorf("%s", f)
	}
	return total
}
