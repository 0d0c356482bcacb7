package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"ingot/internal/sim"
)

// hand is a clock that moves only when the replay says so: operations stay in progress exactly as long as the recording
// shows them in progress.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func (c *hand) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *hand) Sleep(ctx context.Context, _ time.Duration) error {
	<-ctx.Done()
	return context.Cause(ctx)
}
func (c *hand) move(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// answer is what the simulated Azure says.
type answer struct {
	status int
	header http.Header
	body   string
}

// session is one conversation with a simulated Azure of its own.
type session struct {
	clock  *hand
	azure  *sim.Azure
	all    []Exchange
	at     int
	urls   map[string]string // recorded URLs of operations -> ours; "" when there is none of ours
	spoilt map[string]bool   // ids that an unsimulated operation was to make or change, lower case
	gone   map[string]bool   // ids deleted in this conversation, lower case
	tried  map[string]bool   // ids that could not be seeded
	client string
	named  map[string]int    // deployments made under an id, lower case
	ids    map[string]string // recorded object ids of identities -> ours
}

// Replay plays a conversation against a fresh simulated Azure and compares answer by answer.
func Replay(c Conversation) ([]Outcome, error) {
	s := &session{clock: &hand{now: begun(c.Exchanges)}, all: c.Exchanges,
		urls: map[string]string{}, spoilt: map[string]bool{}, gone: map[string]bool{}, tried: map[string]bool{}, named: map[string]int{}, ids: map[string]string{}}
	subscription, tenant, caller := whoRecorded(c.Exchanges)
	a, err := sim.New(sim.Config{Clock: s.clock, Subscription: subscription, Tenant: tenant, NoGuests: true})
	if err != nil {
		return nil, err
	}
	defer a.Close()
	s.azure, s.client = a, "00000000-0000-4000-8000-00000000c002"
	a.AddPrincipal(sim.Principal{Name: "recorded", ClientID: s.client, Secret: sim.DefaultClientSecret, ObjectID: caller})
	var out []Outcome
	for i, e := range c.Exchanges {
		s.at = i
		o, err := s.exchange(e)
		if err != nil {
			return nil, fmt.Errorf("cannot replay %s, exchange %d: %w", c.Name, e.Index, err)
		}
		out = append(out, o)
	}
	return out, nil
}

// begun is when a conversation took place: what its requests say of dates to come is judged from there.
func begun(all []Exchange) time.Time {
	for _, e := range all {
		if at, err := http.ParseTime(e.Headers["date"]); err == nil {
			return at
		}
	}
	return time.Date(2025, 1, 6, 12, 0, 0, 0, time.UTC)
}

// principalOf is the object id in an identity's document.
func principalOf(body string) string {
	var identity struct {
		Type       string `json:"type"`
		Properties struct {
			PrincipalID string `json:"principalId"`
		} `json:"properties"`
	}
	if json.Unmarshal([]byte(body), &identity) != nil || !strings.EqualFold(identity.Type, "Microsoft.ManagedIdentity/userAssignedIdentities") {
		return ""
	}
	return identity.Properties.PrincipalID
}

// whoRecorded finds the subscription, and in a vault's access policies the tenant and object id, of whoever was recorded.
func whoRecorded(all []Exchange) (subscription, tenant, object string) {
	for _, e := range all {
		if _, after, ok := strings.Cut(e.URL, "/subscriptions/"); ok && subscription == "" {
			subscription = strings.FieldsFunc(after, func(r rune) bool { return r == '/' || r == '?' })[0]
		}
		said := e.Request
		if !strings.Contains(said, "accessPolicies") {
			said = e.Body // somebody else's fixture has made the vault
		}
		if object != "" || !strings.Contains(said, "accessPolicies") {
			continue
		}
		var vault struct {
			Properties struct {
				TenantID       string `json:"tenantId"`
				AccessPolicies []struct {
					ObjectID string `json:"objectId"`
				} `json:"accessPolicies"`
			} `json:"properties"`
		}
		if json.Unmarshal([]byte(said), &vault) == nil && len(vault.Properties.AccessPolicies) > 0 {
			tenant, object = vault.Properties.TenantID, vault.Properties.AccessPolicies[0].ObjectID
		}
	}
	return subscription, tenant, object
}

func (s *session) exchange(e Exchange) (Outcome, error) {
	o := Outcome{Case: e.Case, Index: e.Index, Recorded: e.Status, Fate: Compared}
	t, err := resolve(e.Method, e.URL)
	if err != nil {
		return o, err
	}
	o.Operation = t.op
	if t.elsewhere {
		o.Fate = Elsewhere
		return o, nil
	}
	if !inProgress(e) {
		s.clock.move(6 * time.Hour) // longer than anything takes
	}
	if running(e) {
		s.clock.move(time.Second) // it was accepted before
	}
	at, ok := s.where(e, t)
	if !ok {
		o.Fate = Depends
		return o, nil
	}
	ready := s.prepare(e, t)
	sent := e
	if strings.Contains(e.Request, "principalId") { // a role for an identity that has another object id here
		for recorded, ours := range s.ids {
			sent.Request = strings.ReplaceAll(sent.Request, recorded, ours)
		}
	}
	a, err := s.ask(sent, at)
	if err != nil {
		return o, err
	}
	o.Status = a.status
	want, have := shapeOf(e.Body), shapeOf(a.body)
	switch {
	case a.status == 501 || strings.Contains(a.body, "SimulatorNotImplemented"):
		o.Fate = NotSimulated
		s.spoil(e, t)
	case a.status != e.Status && strings.Contains(e.Request, "<masked>"): // what was sent is not shown
		o.Fate = Depends
	case !ready && a.status != e.Status, s.touches(e, t) && a.status != e.Status:
		o.Fate = Depends
		s.spoil(e, t)
	}
	s.learn(e, a)
	if recorded, ours := principalOf(e.Body), principalOf(a.body); recorded != "" && ours != "" {
		s.ids[recorded] = ours
	}
	if e.Method == http.MethodDelete && e.Status < 300 {
		s.gone[strings.ToLower(t.id)] = true
	} else if e.Method == http.MethodPut && e.Status < 300 {
		delete(s.gone, strings.ToLower(t.id))
	}
	compare(&o, e, a, want, have)
	return o, nil
}

// inProgress reports whether the recorded answer shows something unfinished; then time must not pass before it.
func inProgress(e Exchange) bool {
	if e.Method != http.MethodGet {
		return false
	}
	if e.Status == 202 {
		return true
	}
	for path, v := range shapeOf(e.Body).keys {
		if path != "status" && path != "properties.provisioningState" {
			continue
		}
		for _, x := range v {
			switch x {
			case "InProgress", "Creating", "Updating", "Deleting", "Running", "Accepted", "Migrating":
				return true
			}
		}
	}
	return false
}

// running reports whether the recorded answer shows a deployment past its acceptance.
func running(e Exchange) bool {
	v := shapeOf(e.Body).keys["status"]
	return e.Method == http.MethodGet && len(v) == 1 && v[0] == "Running" && strings.Contains(strings.ToLower(e.URL), "/deployments/")
}

// where is the URL of ours for a recorded one; false when it is that of an operation we have none of.
func (s *session) where(e Exchange, t target) (string, bool) {
	if t.poll {
		if at, ok := s.urls[pollKey(e.URL)]; ok && at != "" {
			return at, true
		}
		return "", false
	}
	u, err := url.Parse(e.URL)
	if err != nil {
		return "", false
	}
	if name, ok := strings.CutSuffix(u.Host, ".vault.azure.net"); ok {
		u.Host = name + ".vault.localhost"
		return u.String(), true
	}
	base, err := url.Parse(sim.EmbeddedURL)
	if err != nil {
		return "", false
	}
	u.Scheme, u.Host = base.Scheme, base.Host
	s.rename(e, u)
	return u.String(), true
}

// rename gives a deployment a name of its own: the recording tool wrote one name for all of a conversation's.
func (s *session) rename(e Exchange, u *url.URL) {
	const kind = "/providers/microsoft.resources/deployments/"
	low := strings.ToLower(u.Path)
	i := strings.LastIndex(low, kind)
	if i < 0 {
		return
	}
	name, rest, _ := strings.Cut(u.Path[i+len(kind):], "/")
	if rest != "" {
		rest = "/" + rest
	}
	id := low[:i+len(kind)+len(name)]
	if e.Method == http.MethodPut && e.Status == http.StatusCreated && rest == "" {
		s.named[id]++
	}
	if n := s.named[id]; n > 1 {
		u.Path = u.Path[:i+len(kind)] + fmt.Sprintf("%s-%d", name, n) + rest
	}
}

// pollKey tells an operation's own URL from the one of its result; recorded query strings vary from poll to poll.
func pollKey(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	key := strings.ToLower(u.Path)
	if i := strings.LastIndex(key, "/operationstatuses/"); i >= 0 {
		key = key[i:] // deployments are called otherwise in their own answers than in their URLs
	}
	if u.Query().Get("monitor") != "" {
		key += "?monitor"
	}
	return key
}

// learn notes which URL of ours follows the same operation as a recorded one.
func (s *session) learn(e Exchange, a answer) {
	for _, name := range []string{"azure-asyncoperation", "location"} {
		if recorded := e.Headers[name]; recorded != "" && (name != "location" || e.Status == 202 || s.urls[pollKey(recorded)] == "") {
			if ours := a.header.Get(name); ours != "" || s.urls[pollKey(recorded)] == "" {
				s.urls[pollKey(recorded)] = ours
			}
		}
	}
}

// spoil notes what an unsimulated call was about.
func (s *session) spoil(e Exchange, t target) {
	if t.id != "" && e.Method != http.MethodGet {
		s.spoilt[strings.ToLower(t.id)] = true
	}
	if s.isDeployment(e, t) {
		s.deploy(e, t)
	}
}

// touches reports whether a call is about, or refers to, something that an unsimulated call was to make.
func (s *session) touches(e Exchange, t target) bool {
	low := strings.ToLower(t.path)
	body := strings.ToLower(e.Request)
	for id := range s.spoilt {
		if low == id || strings.HasPrefix(low, id+"/") || strings.Contains(body, id+`"`) || strings.Contains(body, id+"/") {
			return true
		}
	}
	return false
}

// ask sends a call. The token is a new one each time: recorded hours pass between two calls.
func (s *session) ask(e Exchange, at string) (answer, error) {
	client := &http.Client{Transport: s.azure.Transport()}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {s.client}, "client_secret": {sim.DefaultClientSecret}, "scope": {"https://management.sim.localhost/.default"}}
	resp, err := client.PostForm(sim.EmbeddedURL+"/common/oauth2/v2.0/token", form)
	if err != nil {
		return answer{}, fmt.Errorf("cannot sign in: %w", err)
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&token)
	resp.Body.Close() //nolint:errcheck,gosec // in memory
	if err != nil {
		return answer{}, fmt.Errorf("cannot sign in: %w", err)
	}
	req, err := http.NewRequestWithContext(context.Background(), e.Method, at, strings.NewReader(e.Request))
	if err != nil {
		return answer{}, err
	}
	if e.Status != http.StatusUnauthorized { // a recorded 401 is the challenge to a call without a token
		req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err = client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // in memory
	raw, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(raw)}, err
}
