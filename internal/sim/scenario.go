package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"ingot/internal/sim/guest"
)

// Scenario says what a simulated Azure holds at the start and what goes wrong in it.
type Scenario struct {
	Resources        []Seeded            `json:"resources"`
	Principals       []Account           `json:"principals"`
	Roles            []Role              `json:"roles"`
	Faults           []Fault             `json:"faults"`
	Quota            map[string]int      `json:"quota"`            // cores by region; absent: plenty
	UnavailableSizes map[string][]string `json:"unavailableSizes"` // by region
	Latency          map[string]Duration `json:"latency"`          // by kind: "vm", "version", "guest-reboot", ...
	Guest            []guest.Rule        `json:"guest"`
	StalledRegions   []string            `json:"stalledRegions"` // replication never ends there
	Throttle         bool                `json:"throttle"`
}

// Seeded is a resource that is there from the start.
type Seeded struct {
	ID   string         `json:"id"`
	Body map[string]any `json:"body"`
}

// Account is a principal of a scenario file.
type Account struct {
	Name     string       `json:"name"`
	ClientID string       `json:"clientId"`
	Secret   string       `json:"secret"`
	Roles    []Assignment `json:"roles"`
}

// Fault makes one matching call of Resource Manager go wrong.
type Fault struct {
	Method  string `json:"method"` // "" matches all
	Path    string `json:"path"`   // regular expression, without case; "" matches all
	Nth     int    `json:"nth"`    // which of the matching calls; 0 is the first
	Do      string `json:"do"`     // status, drop (before it is carried out), drop-after, fail-operation
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Duration is a time.Duration that JSON writes as "90s".
type Duration time.Duration

// UnmarshalJSON reads "90s".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is a text such as \"90s\"")
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// MarshalJSON writes "1m30s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// ReadScenario reads a scenario file; unknown members are errors, since a misspelt fault would never happen.
func ReadScenario(path string) (*Scenario, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the scenario: %w", err)
	}
	var s Scenario
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		line := 1 + bytes.Count(raw[:min(int(d.InputOffset()), len(raw))], []byte("\n"))
		return nil, fmt.Errorf("cannot read the scenario %s near line %d: %w", path, line, err)
	}
	return &s, nil
}

type activeFault struct {
	Fault
	id   int // for the page
	path *regexp.Regexp
	seen int
	used bool
}

func (w *Azure) apply(s *Scenario) error {
	if s == nil {
		return nil
	}
	for _, a := range s.Principals {
		for _, x := range a.Roles {
			if _, ok := w.role(x.Role); !ok {
				return fmt.Errorf("cannot give %s the role %q: the scenario has no role of that name", a.Name, x.Role)
			}
		}
		w.AddPrincipal(Principal{Name: a.Name, ClientID: a.ClientID, Secret: a.Secret, Roles: a.Roles})
	}
	for _, r := range s.Resources {
		if err := w.Seed(r.ID, r.Body); err != nil {
			return err
		}
	}
	for _, f := range s.Faults {
		if err := w.AddFault(f); err != nil {
			return err
		}
	}
	return nil
}

// AddFault lets a call go wrong from now on.
func (w *Azure) AddFault(f Fault) error {
	w.mu.Lock()
	err := w.addFault(f)
	n := w.commit(true)
	w.mu.Unlock()
	return errors.Join(err, w.await(n))
}

func (w *Azure) addFault(f Fault) error {
	switch f.Do {
	case "drop", "drop-after", "fail-operation":
	case "status":
		if f.Status < 200 || f.Status > 599 {
			return fmt.Errorf("cannot add fault: a status fault needs a status between 200 and 599, not %d", f.Status)
		}
	default:
		return fmt.Errorf("cannot add fault: do is status, drop, drop-after or fail-operation, not %q", f.Do)
	}
	re, err := regexp.Compile("(?i)" + f.Path)
	if err != nil {
		return fmt.Errorf("cannot add fault: %w", err)
	}
	w.seq++
	w.faults = append(w.faults, &activeFault{Fault: f, path: re, id: w.seq})
	w.touch("faults", "all")
	return nil
}

// faultFor counts a call against the faults and returns the one whose turn it is.
func (w *Azure) faultFor(method, path string) *activeFault {
	for _, f := range w.faults {
		if f.used || f.Method != "" && !strings.EqualFold(f.Method, method) || !f.path.MatchString(path) {
			continue
		}
		f.seen++
		w.touch("faults", "all")
		if f.seen >= max(f.Nth, 1) {
			f.used = true
			return f
		}
	}
	return nil
}

// failLast makes the operation that was begun last fail when it ends.
func (w *Azure) failLast(f *activeFault) {
	w.last.err = refuse(409, f.Code, f.Message)
}

// Seed puts a resource in place without anybody having asked for it.
func (w *Azure) Seed(id string, body map[string]any) error {
	w.mu.Lock()
	err := w.seed(id, body)
	n := w.commit(true)
	w.mu.Unlock()
	return errors.Join(err, w.await(n))
}

func (w *Azure) seed(id string, body map[string]any) error {
	w.seeding = true
	defer func() { w.seeding = false }()
	body = copyMap(body)
	location := regionKey(text(body, "location"))
	if !strings.Contains(strings.ToLower(id), "/providers/") {
		r := w.place(id, groupType, location)
		r.tags = mapping(body, "tags")
		return nil
	}
	_, after, _ := strings.Cut(id, "/providers/")
	segments := strings.Split(after, "/")
	typ := segments[0]
	for i := 1; i < len(segments); i += 2 {
		typ += "/" + segments[i]
	}
	k := w.kinds[strings.ToLower(typ)]
	if k == nil {
		return fmt.Errorf("cannot seed %s: the simulated Azure does not know %s", id, typ)
	}
	group := id[:strings.Index(strings.ToLower(id), "/providers/")]
	if w.find(group) == nil {
		return fmt.Errorf("cannot seed %s: its resource group is not there", id)
	}
	in := ask{id: id, name: lastPart(id), location: location, body: body, who: w.principals[0]}
	if k.check != nil {
		if bad := k.check(w, in); bad != nil {
			return fmt.Errorf("cannot seed %s: %s: %s", id, bad.code, bad.message)
		}
	}
	r := w.place(id, k.typ, location)
	r.tags = mapping(body, "tags")
	k.fill(w, r, in)
	if k.done != nil {
		if bad := k.done(w, r); bad != nil {
			return fmt.Errorf("cannot seed %s: %s: %s", id, bad.code, bad.message)
		}
	}
	r.state = "Succeeded"
	return nil
}

// Has reports whether a resource is there.
func (w *Azure) Has(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.find(id) != nil
}

// bucket is a token bucket (azure-protocol.md 2.4).
type bucket struct {
	tokens float64
	at     time.Time
}

// throttle counts a call against its principal's bucket: 250 reads refilled at 25/s, 200 writes or deletes at 10/s.
func (w *Azure) throttle(q *request) *refusal {
	if w.cfg.Scenario == nil || !w.cfg.Scenario.Throttle {
		return nil
	}
	kind, size, rate := "reads", 250.0, 25.0
	switch q.method {
	case http.MethodPut, http.MethodPost, http.MethodPatch:
		kind, size, rate = "writes", 200, 10
	case http.MethodDelete:
		kind, size, rate = "deletes", 200, 10
	}
	now := w.clock.Now()
	b := w.throttles[q.who.ObjectID+kind]
	if b == nil {
		b = &bucket{tokens: size, at: now}
		w.throttles[q.who.ObjectID+kind] = b
	}
	b.tokens = min(size, b.tokens+now.Sub(b.at).Seconds()*rate)
	b.at = now
	if b.tokens < 1 {
		return refuse(429, "SubscriptionRequestsThrottled", "Number of requests for subscription '"+w.cfg.Subscription+"' and operation '"+q.method+q.path+"' exceeded the backend storage limit. Please try again after '6' seconds.")
	}
	b.tokens--
	return nil
}
