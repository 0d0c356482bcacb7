package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reply is an answer under way.
type reply struct {
	status int
	header map[string]string
	body   any                       // nil: none
	page   func(http.ResponseWriter) // answers instead, for browsers
	raw    []byte                    // body as it is sent
}

func failed(r *refusal) *reply {
	return &reply{status: r.status, header: r.header, body: map[string]any{"error": map[string]any{"code": r.code, "message": r.message}}}
}

// request is a call of Resource Manager, taken apart.
type request struct {
	method, path string // path without doubled slashes
	query        url.Values
	body         map[string]any
	who          *principal
	base         string // https://host of the caller's own URL: links in answers are absolute
}

// Handler answers for every host of the simulated Azure.
func (w *Azure) Handler() http.Handler { return http.HandlerFunc(w.serve) }

func (w *Azure) serve(rw http.ResponseWriter, r *http.Request) {
	if w.serveBlob(rw, r) {
		return
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	if err != nil {
		http.Error(rw, "cannot read the request", http.StatusBadRequest)
		return
	}
	out, drop, n := w.answer(r, raw)
	if err := w.await(n); err != nil {
		// What is not safe did not happen, as far as anybody may know.
		out, drop = failed(refuse(500, "InternalServerError", err.Error())), false
	}
	switch {
	case drop:
		// The connection is cut: the caller cannot know whether its call was carried out.
		panic(http.ErrAbortHandler)
	case out.page != nil:
		out.page(rw)
	default:
		w.write(rw, r, out)
	}
}

// answer carries a call out and returns what must be safe before its answer is sent. Whatever goes wrong inside, the lock
// is given back.
func (w *Azure) answer(r *http.Request, raw []byte) (out *reply, drop bool, n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	began, path := time.Now(), clean(r.URL.Path)
	record := CallRecord{Method: r.Method, Path: path, Time: w.clock.Now()}
	quiet := false // the page's own calls are not Azure's
	defer func() {
		if p := recover(); p != nil {
			out, drop = failed(refuse(500, "InternalServerError", fmt.Sprintf("The simulated Azure failed at %s %s: %v", r.Method, path, p))), false
		}
		if out.body != nil {
			finish(r.Method, r.URL, out)
			raw, err := encode(r.URL.Path, out) // here, while nobody can change what the body shares with the books
			if err != nil {
				out = failed(refuse(500, "InternalServerError", err.Error()))
				raw, _ = encode(r.URL.Path, out)
			}
			out.raw = raw
		}
		n = w.commit(r.Method != http.MethodGet && r.Method != http.MethodHead)
		if !quiet {
			w.note(record, began, r, raw, out)
		}
	}()
	w.settle()
	if w.settled {
		w.uses = nil
	}
	w.reads = r.Method == http.MethodGet || r.Method == http.MethodHead
	defer func() { w.reads = false }()
	name := hostOf(r)
	switch {
	case (isPage(r.Method, path) || strings.HasPrefix(path, "/sim/")) && !fromHere(r):
		quiet, out = true, failed(refuse(403, "Forbidden", "This page answers to this machine's own names and to forms of its own only."))
	case isPage(r.Method, path):
		quiet, out = true, w.browse(r, path, raw)
	case strings.HasPrefix(path, "/sim/"):
		out = w.control(r.Method, path, r.URL.Query(), raw)
	case strings.HasPrefix(path, "/metadata/"):
		out = w.metadata(r, path)
	case strings.Contains(path, "/oauth2/") || strings.Contains(path, "/.well-known/") || strings.Contains(path, "/discovery/"):
		out = w.login(r, path, raw)
	case vaultName(name) != "":
		out = w.vaultData(r, vaultName(name), path, raw)
	default:
		out, drop = w.manage(r, path, raw)
	}
	return out, drop, 0
}

// write sends an answer with the headers that Resource Manager always sends (azure-protocol.md 2.3).
func (w *Azure) write(rw http.ResponseWriter, r *http.Request, out *reply) {
	h := rw.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	w.mu.Lock()
	w.draws++
	id := w.draw("request", w.draws)
	w.mu.Unlock()
	h.Set("x-ms-request-id", id)
	if c := r.Header.Get("x-ms-correlation-request-id"); c != "" {
		h.Set("x-ms-correlation-request-id", c)
	} else {
		h.Set("x-ms-correlation-request-id", id)
	}
	if c := r.Header.Get("x-ms-client-request-id"); c != "" && r.Header.Get("x-ms-return-client-request-id") == "true" {
		h.Set("x-ms-client-request-id", c)
	}
	finish(r.Method, r.URL, out)
	for k, v := range out.header {
		h.Set(k, v)
	}
	if out.body == nil {
		w.observe(r, out.status, nil)
		rw.WriteHeader(out.status)
		return
	}
	raw := out.raw
	if raw == nil {
		raw, _ = encode(r.URL.Path, out) // made after the call: the refusal of what could not be kept
	}
	w.observe(r, out.status, raw)
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(len(raw)))
	rw.WriteHeader(out.status)
	rw.Write(raw) //nolint:errcheck // the caller may have gone
}

func (w *Azure) observe(r *http.Request, status int, body []byte) {
	if w.cfg.Observe != nil {
		w.cfg.Observe(r, status, body)
	}
}

// clean makes one slash of several, as the front door does.
func clean(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}

func hostOf(r *http.Request) string {
	if r.Host != "" {
		return r.Host
	}
	return r.URL.Host
}

func baseOf(r *http.Request) string {
	scheme := "https"
	if r.TLS == nil && r.URL.Scheme == "http" {
		scheme = "http"
	}
	return scheme + "://" + hostOf(r)
}

var apiVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-[a-z]+)?$`)

// manage is Resource Manager: sign-in, faults, throttling, then the call itself.
func (w *Azure) manage(r *http.Request, path string, raw []byte) (out *reply, drop bool) {
	q := &request{method: r.Method, path: path, query: r.URL.Query(), base: baseOf(r)}
	q.who = w.bearer(r)
	if q.who == nil {
		if old := w.expired(r, q.base); old != nil {
			return old, false
		}
		return &reply{status: 401, header: map[string]string{"WWW-Authenticate": fmt.Sprintf(`Bearer authorization_uri="%s/%s", error="invalid_token", error_description="The authentication failed because of missing 'Authorization' header."`, q.base, w.cfg.Tenant)},
			body: map[string]any{"error": map[string]any{"code": "AuthenticationFailed", "message": "Authentication failed. The 'Authorization' header is missing."}}}, false
	}
	fault := w.faultFor(r.Method, path)
	if fault != nil {
		switch fault.Do {
		case "drop":
			return &reply{}, true
		case "status":
			f := failed(refuse(fault.Status, fault.Code, fault.Message))
			f.header = map[string]string{}
			if fault.Status == 429 || fault.Status >= 500 {
				w.retryAfter(f.header, 2)
			}
			return f, false
		}
	}
	limited, left := w.throttle(q)
	if limited != nil {
		return limited, false
	}
	defer func() { left.show(out) }()
	if q.query.Get("api-version") == "" && strings.Count(path, "/") > 0 {
		return failed(refuse(400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")), false
	}
	if v := q.query.Get("api-version"); !apiVersion.MatchString(v) {
		return failed(refuse(400, "InvalidApiVersionParameter", "The api-version '"+v+"' is invalid.")), false
	}
	if len(raw) > 0 && (r.Method == http.MethodPut || r.Method == http.MethodPatch || r.Method == http.MethodPost) {
		err := json.Unmarshal(raw, &q.body)
		if err != nil && strings.Contains(strings.ToLower(path), "/deployments/") {
			err = json.Unmarshal(lenient(raw), &q.body)
		}
		if err != nil {
			return failed(refuse(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '"+err.Error()+"'.")), false
		}
	}
	if r.Method == http.MethodPut {
		q.body = withoutNulls(q.body)
	}
	before := w.last
	out = w.route(q)
	oldErrors(path, q.query.Get("api-version"), out)
	if fault != nil && fault.Do == "fail-operation" && w.last != before {
		w.failLast(fault)
	}
	return out, fault != nil && fault.Do == "drop-after"
}

// route finds what a path means. Ids compare without case.
func (w *Azure) route(q *request) *reply {
	parts := strings.Split(strings.Trim(q.path, "/"), "/")
	low := strings.Split(strings.ToLower(strings.Trim(q.path, "/")), "/")
	switch {
	case len(low) == 1 && low[0] == "subscriptions":
		return &reply{status: 200, body: map[string]any{"value": []any{w.subscription()}}}
	case len(low) == 1 && low[0] == "tenants":
		return &reply{status: 200, body: map[string]any{"value": []any{map[string]any{"id": "/tenants/" + w.cfg.Tenant, "tenantId": w.cfg.Tenant}}}}
	case low[0] == "providers" && len(low) > 2 && low[1] == "microsoft.authorization":
		return w.authorization(q, "", parts[2:])
	case low[0] != "subscriptions" || len(low) < 2:
		return w.unknown(q)
	}
	if i := lastIndexOf(low, "providers", "microsoft.authorization"); i >= 0 && len(low) > i+2 {
		scope := ""
		if i > 0 {
			scope = "/" + strings.Join(parts[:i], "/")
		}
		if r := w.find(scope); r != nil {
			scope = r.id
		}
		return w.authorization(q, scope, parts[i+2:])
	}
	sub := parts[1]
	if !strings.EqualFold(sub, w.cfg.Subscription) {
		return failed(refuse(404, "SubscriptionNotFound", "The subscription '"+sub+"' could not be found."))
	}
	rest := low[2:]
	if scope, ok := strings.CutSuffix(strings.ToLower(q.path), "/providers/microsoft.policyinsights/checkpolicyrestrictions"); ok && q.method == http.MethodPost {
		return w.restrictions(q, q.path[:len(scope)])
	}
	// A list, a subscription and a poll can only be read: another method must not look as if it had worked.
	if len(rest) == 3 && rest[0] == "providers" && (rest[2] == "register" || rest[2] == "unregister") {
		return w.provider(q, sub, rest)
	}
	reads := len(rest) == 0 || rest[0] == "operationresults" || len(rest) == 1 || len(rest) == 3 && rest[2] == "resources" || rest[0] == "providers" && len(rest) == 2
	if reads && q.method != http.MethodGet {
		return w.unknown(q)
	}
	switch {
	case len(rest) == 0:
		return &reply{status: 200, body: w.subscription()}
	case rest[0] == "operationresults" && len(rest) == 2:
		return w.groupDeletion(q, rest[1])
	case rest[0] == "resourcegroups" && len(rest) == 1:
		return w.listGroups(q)
	case rest[0] == "resourcegroups" && len(rest) == 2:
		return w.group(q, sub, parts[3])
	case rest[0] == "resourcegroups" && len(rest) == 3 && rest[2] == "resources":
		return w.listResources(q, "/subscriptions/"+sub+"/resourceGroups/"+parts[3])
	case rest[0] == "resources" && len(rest) == 1:
		return w.listResources(q, "/subscriptions/"+sub)
	case rest[0] == "locations" && len(rest) == 1:
		return w.locations(sub)
	case rest[0] == "providers" && len(rest) <= 3 && (len(rest) < 3 || rest[2] == "register"):
		return w.provider(q, sub, rest)
	case rest[0] == "providers":
		return w.subscriptionProvider(q, sub, parts[2:], rest)
	case rest[0] == "resourcegroups" && len(rest) >= 4 && rest[2] == "deployments": // as az asks for operations
		return w.deployments(q, "/subscriptions/"+sub+"/resourceGroups/"+parts[3], parts[5:])
	case rest[0] == "resourcegroups" && len(rest) >= 5 && rest[2] == "providers" && rest[3] == "microsoft.resources" && rest[4] == "deployments":
		return w.deployments(q, "/subscriptions/"+sub+"/resourceGroups/"+parts[3], parts[7:])
	case rest[0] == "resourcegroups" && len(rest) >= 5 && rest[2] == "providers":
		return w.resource(q, sub, parts[2:])
	}
	return w.unknown(q)
}

// unknown is the loud answer: never a success for what is not simulated.
func (w *Azure) unknown(q *request) *reply {
	return failed(refuse(501, "SimulatorNotImplemented", "The simulated Azure does not know this operation: "+q.method+" "+q.path))
}

func (w *Azure) subscription() map[string]any {
	return map[string]any{"id": "/subscriptions/" + w.cfg.Subscription, "subscriptionId": w.cfg.Subscription, "tenantId": w.cfg.Tenant, "displayName": "Simulated",
		"state": "Enabled", "authorizationSource": "RoleBased", "managedByTenants": []any{},
		"subscriptionPolicies": map[string]any{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"}}
}

// async is where an operation can be followed, and when to ask first (azure-protocol.md 2.1).
func (w *Azure) async(q *request, o *operation, location bool) map[string]string {
	at := fmt.Sprintf("%s/subscriptions/%s/providers/%s/locations/%s/%s/%s?api-version=%s", q.base, w.cfg.Subscription, o.provider, o.location, o.path, o.id, q.query.Get("api-version"))
	h := map[string]string{"Azure-AsyncOperation": at, "azure-asyncnotification": "Enabled"}
	if location {
		h["Location"] = at + "&monitor=true"
	}
	first := 10
	if location && o.provider == "Microsoft.VirtualMachineImages" { // recorded: both are the same
		h["Location"] = at
	}
	if o.provider == "Microsoft.Network" {
		first = 3
		if location { // Network has a path of its own for results (azure-protocol.md 2.1)
			h["Location"] = strings.Replace(at, "/"+o.path+"/", "/operationResults/", 1)
		}
	}
	if strings.EqualFold(o.resourceType(), ipType) {
		first = 1
	}
	w.retryAfter(h, first)
	return h
}

func (o *operation) resourceType() string {
	_, after, ok := strings.Cut(o.resource, "/providers/")
	if !ok {
		return ""
	}
	p := strings.Split(after, "/")
	if len(p) < 2 {
		return ""
	}
	return p[0] + "/" + p[1]
}

// retryAfter tells when to ask again: in Azure's seconds, and for clients of other processes in the simulation's own.
func (w *Azure) retryAfter(h map[string]string, seconds int) {
	h["Retry-After"] = strconv.Itoa(seconds)
	switch c := w.clock.(type) {
	case ScaledClock:
		h["retry-after-ms"] = strconv.Itoa(max(1, int(float64(seconds)*1000/c.Factor)))
	default:
	}
	if w.cfg.Latency == NoLatency {
		h["retry-after-ms"] = "1"
	}
}

func (w *Azure) scaled() bool {
	_, ok := w.clock.(ScaledClock)
	return ok
}

// subscriptionProvider is what hangs off the subscription: operations, lists over all groups, the marketplace, sizes.
func (w *Azure) subscriptionProvider(q *request, sub string, parts, low []string) *reply {
	if len(low) >= 6 && low[2] == "locations" && (strings.HasSuffix(low[4], "operations") || strings.HasSuffix(low[4], "operationresults")) {
		return w.follow(q, parts[5])
	}
	if out := w.vaultDeleted(q, parts, low); out != nil {
		return out
	}
	if out := w.storageNames(q, low); out != nil {
		return out
	}
	if out := w.terms(q, parts, low); out != nil {
		return out
	}
	if out := w.sharedGalleries(q, parts, low); out != nil {
		return out
	}
	if out := w.market(q, sub, parts, low); out != nil {
		return out
	}
	if len(low) == 3 {
		if k := w.kinds[low[1]+"/"+low[2]]; k != nil && q.method == http.MethodGet {
			if bad := w.authorize(q.who, k.typ+"/read", "/subscriptions/"+sub); bad != nil {
				return failed(bad)
			}
			var out []any
			for _, r := range w.all(k.typ) {
				out = append(out, w.show(k, r, ""))
			}
			return w.page(q, out)
		}
	}
	return w.unknown(q)
}

// follow answers a poll: the operation's own document, or at its Location 202 until it is done and then its result.
func (w *Azure) follow(q *request, id string) *reply {
	o := w.operations[strings.ToLower(id)]
	if o == nil {
		return failed(refuse(404, "NotFound", "The entity was not found in this Azure location."))
	}
	h := map[string]string{}
	if result := strings.Contains(strings.ToLower(q.path), "/operationresults/"); result || q.query.Get("monitor") == "true" {
		if result { // as recorded: every answer there names itself again, the last one of a deletion its operation too
			h["Location"] = q.base + q.path + "?api-version=" + q.query.Get("api-version")
		}
		vault := map[string]any{"createdDateTime": stampVault(o.start), "status": "NotStarted"} // recorded
		switch {
		case o.status == "InProgress" && o.provider == "Microsoft.KeyVault":
			w.retryAfter(h, 5)
			return &reply{status: 202, header: h, body: vault}
		case o.provider == "Microsoft.KeyVault" && o.err == nil:
			vault["lastActionDateTime"], vault["status"] = stampVault(o.end), "Succeeded"
			return &reply{status: 200, body: vault}
		case o.status == "InProgress":
			w.retryAfter(h, 10)
			return &reply{status: 202, header: h}
		case o.err != nil:
			return failed(o.err)
		case o.deletion && o.provider != "Microsoft.Network":
			return &reply{status: 204}
		case o.deletion:
			h["Azure-AsyncOperation"] = strings.Replace(h["Location"], "/operationResults/", "/"+o.path+"/", 1)
			return &reply{status: 204, header: h}
		case o.output != nil:
			return &reply{status: 200, body: o.output}
		}
		if r := w.find(o.resource); r != nil {
			return &reply{status: 200, header: h, body: w.show(w.kinds[strings.ToLower(r.typ)], r, "")}
		}
		return &reply{status: 200}
	}
	name := o.id
	if strings.HasPrefix(o.provider, "Microsoft.VirtualMachineImages") {
		name = strings.ToUpper(name) // recorded
	}
	body := map[string]any{"name": name, "status": o.status, "startTime": stamp(o.start)}
	network := o.provider == "Microsoft.Network"
	if network { // no times, no name (azure-protocol.md 2.1)
		body = map[string]any{"status": o.status}
	}
	switch {
	case network && o.status != "InProgress":
	case o.status != "InProgress":
		body["endTime"] = stamp(o.end)
	case o.working: // in real time, whatever the clock
		h["Retry-After"], h["retry-after-ms"] = "1", "100"
	case w.cfg.Latency == NoLatency || w.scaled():
		w.retryAfter(h, 2) // real Azure mostly leaves it out here (azure-protocol.md 2.1); our clocks run faster than clients expect
	}
	switch r := w.find(o.resource); {
	case o.output != nil:
		body["properties"] = map[string]any{"output": o.output}
	case o.path == "DiskOperations" && o.status == "Succeeded" && !o.deletion && r != nil: // recorded: the document itself, as the operation left it
		body["properties"] = map[string]any{"output": w.show(w.kinds[strings.ToLower(r.typ)], r, "")}
	}
	if o.err != nil {
		body["error"] = map[string]any{"code": o.err.code, "message": o.err.message}
	}
	return &reply{status: 200, header: h, body: body}
}

func stampVault(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000+00:00") }

// listResources lists what is below a scope, as Resource Manager's own list does: without the providers' properties.
func (w *Azure) listResources(q *request, scope string) *reply {
	if bad := w.authorize(q.who, "Microsoft.Resources/subscriptions/resources/read", scope); bad != nil {
		return failed(bad)
	}
	want, err := filterOf(q.query.Get("$filter"))
	if err != nil {
		return failed(err)
	}
	var keys []string
	for _, r := range w.order.under(strings.ToLower(scope)) {
		if strings.Contains(r.low, "/providers/") && r.typ != subnetType && !strings.HasPrefix(r.typ, "Microsoft.Authorization/") && r.typ != registrationType && r.typ != termsType && want(r) {
			keys = append(keys, r.low)
		}
	}
	// $expand takes createdTime, changedTime and provisioningState (rest/api/resources/resources/list).
	expand := strings.Split(strings.ReplaceAll(q.query.Get("$expand"), " ", ""), ",")
	var out []any
	for _, key := range keys {
		r := w.resources[key]
		b := map[string]any{"id": r.id, "name": r.name, "type": r.typ, "location": r.location}
		if r.tags != nil {
			b["tags"] = r.tags
		}
		if slices.Contains(expand, "createdTime") {
			b["createdTime"] = stamp(r.created)
		}
		out = append(out, b)
	}
	return w.page(q, out)
}

// lastIndexOf is where two words follow one another for the last time.
func lastIndexOf(list []string, a, b string) int {
	for i := len(list) - 2; i >= 0; i-- {
		if list[i] == a && list[i+1] == b {
			return i
		}
	}
	return -1
}
