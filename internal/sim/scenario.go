package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"ingot/internal/sim/guest"
)

// Scenario says what a simulated Azure holds at the start and what goes wrong in it.
type Scenario struct {
	// resources that are there from the start, in an order in which each finds what it refers to.
	Resources []Seeded `json:"resources,omitempty"`
	// accounts to sign in with, beside the one that every simulation has.
	Principals []Account `json:"principals,omitempty"`
	// issuers of tokens that accounts are federated with, and their public keys.
	Issuers []Issuer `json:"issuers,omitempty"`
	// how long a new role assignment has no effect yet, as "30s"; absent: it has at once.
	RoleDelay Duration `json:"roleDelay,omitempty"`
	// providers that the subscription is not registered to use, such as Microsoft.VirtualMachineImages.
	Unregistered []string `json:"unregistered,omitempty"`
	// roles of the scenario's own, for its accounts.
	Roles []Role `json:"roles,omitempty"`
	// calls that go wrong.
	Faults []Fault `json:"faults,omitempty"`
	// cores a region allows in all; absent: plenty.
	Quota map[string]int `json:"quota,omitempty"`
	// cores a region allows of one family of sizes, such as {"westeurope": {"standardDSv5Family": 8}}.
	FamilyQuota map[string]map[string]int `json:"familyQuota,omitempty"`
	// cores a region can still give: a machine beyond them fails with AllocationFailed when it is created or started.
	Capacity map[string]int `json:"capacity,omitempty"`
	// sizes a region does not offer (SkuNotAvailable).
	UnavailableSizes map[string][]string `json:"unavailableSizes,omitempty"`
	// what spot machines meet: capacity, price, eviction.
	Spot *SpotMarket `json:"spot,omitempty"`
	// plans of the marketplace whose terms the subscription has accepted, as "publisher:offer:plan".
	AcceptedTerms []string `json:"acceptedTerms,omitempty"`
	// how long things take, by kind: "vm", "version", "guest-reboot" and so on, as "90s".
	Latency map[string]Duration `json:"latency,omitempty"`
	// what scripts and commands in machines answer; the first that matches.
	Guest []guest.Rule `json:"guest,omitempty"`
	// what Windows Update has for Windows machines; absent: one update that needs a restart and one that does not, [] is none.
	Updates []guest.Update `json:"updates,omitempty"`
	// DSC resources that fail or want a restart; all others can be set.
	DSC []guest.Resource `json:"dsc,omitempty"`
	// what addresses on the internet hold, for whoever in the simulation downloads from there (Image Builder's scripts and files): the
	// simulated Azure itself sends nothing out.
	Addresses map[string]Address `json:"addresses,omitempty"`
	// cores of container instances a region allows; each run of Image Builder takes four. Absent: plenty.
	ContainerQuota map[string]int `json:"containerQuota,omitempty"`
	// regions where the replication of an image version never ends.
	StalledRegions []string `json:"stalledRegions,omitempty"`
	// whether calls are counted and refused with 429 beyond Azure's own limits; answers then say how many are left.
	Throttle bool `json:"throttle,omitempty"`
	// other limits than Azure's: of "reads", "writes" and "deletes", and of Compute's groups "PutVM", "UpdateVM", "DeleteVM",
	// "LowCostGet" (each machine) and "HighCostGet" (lists). They count without throttle, too.
	Limits map[string]Limit `json:"limits,omitempty"`
	// reads that are behind the writes.
	StaleReads *StaleReads `json:"staleReads,omitempty"`
	// further entries of the marketplace with disks of one's own; their machines need real guests (--guests qemu).
	Images []DiskImage `json:"images,omitempty"`
}

// Address is what a scenario says of an address on the internet.
type Address struct {
	// what it holds, as text.
	Content string `json:"content,omitempty"`
	// what it holds, as base64, in place of content.
	Base64 string `json:"base64,omitempty"`
	// what it answers; absent: 200.
	Status int `json:"status,omitempty"`
}

// SpotMarket is what spot machines meet in a scenario.
type SpotMarket struct {
	// regions that have no capacity left for spot machines (SkuNotAvailable).
	NoCapacity []string `json:"noCapacity,omitempty"`
	// what a spot machine costs an hour, in US dollars: a lower maxPrice is refused; absent: 0.01.
	Price float64 `json:"price,omitempty"`
	// how long after its creation a spot machine is evicted, as "10m"; absent: never.
	EvictAfter Duration `json:"evictAfter,omitempty"`
}

// Limit is a token bucket.
type Limit struct {
	// calls at once.
	Size float64 `json:"size"`
	// calls that are allowed again each second.
	PerSecond float64 `json:"perSecond"`
}

// StaleReads lets a GET or a list right after a write show what was there before it.
type StaleReads struct {
	// how long after a write, as "5s".
	For Duration `json:"for"`
	// the part of the reads that is behind, from 0 to 1; absent: all of them.
	Share float64 `json:"share,omitempty"`
}

// Seeded is a resource that is there from the start.
type Seeded struct {
	// its full id.
	ID string `json:"id"`
	// what a PUT would send.
	Body map[string]any `json:"body"`
}

// Account is a principal of a scenario file.
type Account struct {
	// how logs call it.
	Name string `json:"name"`
	// what it signs in as.
	ClientID string `json:"clientId"`
	// its secret, which opens nothing but the simulation.
	Secret string `json:"secret"`
	// its roles, each at a scope; absent: Owner of the subscription.
	Roles []Assignment `json:"roles"`
	// certificates (PEM) that it may sign in with, beside its secret.
	Certificates []string `json:"certificates,omitempty"`
	// whose tokens it may be signed in with: GitHub's, Azure DevOps', a cluster's.
	Federated []Federation `json:"federated,omitempty"`
}

// Federation lets tokens of an issuer sign in as an account (a federated identity credential).
type Federation struct {
	// who signs: "https://token.actions.githubusercontent.com".
	Issuer string `json:"issuer"`
	// whom: "repo:contoso/images:ref:refs/heads/main".
	Subject string `json:"subject"`
	// for whom; absent: api://AzureADTokenExchange.
	Audience string `json:"audience,omitempty"`
}

// Issuer is somebody outside who signs tokens, with the keys that he publishes: the simulation asks nobody.
type Issuer struct {
	// as it stands in the tokens' iss.
	URL string `json:"url"`
	// his public keys as a JSON Web Key Set: {"keys": [{"kty": "RSA", "kid": …, "n": …, "e": …}]}.
	Keys json.RawMessage `json:"keys"`
}

// Fault makes one matching call of Resource Manager go wrong.
type Fault struct {
	// the method; absent: all.
	Method string `json:"method"`
	// regular expression for the path, without case; absent: all.
	Path string `json:"path"`
	// which of the matching calls, from 1 on; absent: the first.
	Nth int `json:"nth"`
	// status (answers one), drop (cuts the connection before the call is carried out), drop-after, or fail-operation (the
	// operation that the call begins fails in the end).
	Do string `json:"do"`
	// the status to answer.
	Status int `json:"status"`
	// the error's code.
	Code string `json:"code"`
	// the error's message.
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
		w.AddPrincipal(Principal{Name: a.Name, ClientID: a.ClientID, Secret: a.Secret, Roles: a.Roles, Certificates: a.Certificates, Federated: a.Federated})
	}
	for _, t := range s.AcceptedTerms {
		p := strings.Split(t, ":")
		if len(p) != 3 {
			return fmt.Errorf("cannot accept the terms of %q: write publisher:offer:plan", t)
		}
		if err := w.AcceptTerms(p[0], p[1], p[2]); err != nil {
			return err
		}
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
	if account, name, ok := strings.Cut(id, containerPart); ok {
		return w.SeedContainer(lastPart(account), name)
	}
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
