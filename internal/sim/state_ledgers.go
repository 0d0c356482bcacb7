package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// ledgers is the one list of what is kept, in the order it is read again.
func ledgers() []ledger {
	one := func(name string) func(*Azure) []string { return func(*Azure) []string { return []string{name} } }
	return []ledger{
		{name: "settings", keys: one("all"), save: func(w *Azure, _ string) any { return w.saveSettings() }, load: loadSettings},
		{name: "clock", keys: one("now"), save: func(w *Azure, _ string) any { return w.saveClock() }, load: loadClock},
		{name: "principals", small: true, keys: one("all"), save: func(w *Azure, _ string) any { return w.savePrincipals() }, load: loadPrincipals},
		{name: "faults", keys: one("all"), save: func(w *Azure, _ string) any { return w.saveFaults() }, load: loadFaults},
		{name: "resource", keys: func(w *Azure) []string { return slices.Collect(maps.Keys(w.resources)) }, save: saveResource, load: loadResource},
		{name: "vault", keys: func(w *Azure) []string { return slices.Collect(maps.Keys(w.vaults)) }, save: saveVault, load: loadVault},
		{name: "operation", keys: func(w *Azure) []string { return slices.Collect(maps.Keys(w.operations)) }, save: saveOperation, load: loadOperation},
	}
}

type settingsJSON struct {
	Subscription, Tenant string
	Seed                 uint64
	Key                  []byte
	Port                 string
	Served               *served
	Scenario             *Scenario
}

func (w *Azure) saveSettings() any {
	if w.key == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			w.store.fail(err)
			return nil
		}
		w.key = key
	}
	der, err := x509.MarshalPKCS8PrivateKey(w.key)
	if err != nil {
		w.store.fail(err)
		return nil
	}
	return settingsJSON{w.cfg.Subscription, w.cfg.Tenant, w.cfg.Seed, der, w.servedPort, w.cert, w.cfg.Scenario}
}

func loadSettings(w *Azure, _ string, raw json.RawMessage) error {
	var j settingsJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return err
	}
	key, err := x509.ParsePKCS8PrivateKey(j.Key)
	if err != nil {
		return err
	}
	var ok bool
	if w.key, ok = key.(*ecdsa.PrivateKey); !ok {
		return errors.New("its key is of another kind")
	}
	w.cfg.Subscription, w.cfg.Tenant, w.cfg.Seed, w.servedPort, w.cert = j.Subscription, j.Tenant, j.Seed, j.Port, j.Served
	if w.cfg.Scenario == nil {
		w.cfg.Scenario = j.Scenario
	}
	return nil
}

type clockJSON struct {
	Now time.Time
	Seq int
}

func (w *Azure) saveClock() any {
	now := w.clock.Now()
	if w.store.until.After(now) {
		now = w.store.until
	}
	return clockJSON{now, w.seq}
}

// loadClock lets the time go on where it was: a scaled clock stood still while no process was there, and no clock goes back.
func loadClock(w *Azure, _ string, raw json.RawMessage) error {
	var j clockJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return err
	}
	w.seq = j.Seq
	switch c := w.clock.(type) {
	case ScaledClock:
		c.Start, c.At = time.Now(), j.Now
		w.clock = c
	case WallClock:
		if j.Now.After(time.Now().Add(2 * lease)) { // it ran faster before
			w.clock = ScaledClock{Start: time.Now(), At: j.Now, Factor: 1}
		}
	default: // somebody else's clock says what the time is
	}
	return nil
}

func (w *Azure) savePrincipals() any {
	var out []Principal
	for _, p := range w.principals {
		out = append(out, p.Principal)
	}
	return out
}

func loadPrincipals(w *Azure, _ string, raw json.RawMessage) error {
	var in []Principal
	err := json.Unmarshal(raw, &in)
	for _, p := range in {
		w.addPrincipal(p)
	}
	return err
}

type faultJSON struct {
	Fault
	Seen int  `json:"seen"`
	Used bool `json:"used"`
	ID   int  `json:"id"`
}

func (w *Azure) saveFaults() any {
	out := []faultJSON{}
	for _, f := range w.faults {
		out = append(out, faultJSON{f.Fault, f.seen, f.used, f.id})
	}
	return out
}

func loadFaults(w *Azure, _ string, raw json.RawMessage) error {
	var in []faultJSON
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	for _, f := range in {
		if err := w.addFault(f.Fault); err != nil {
			return err
		}
		last := w.faults[len(w.faults)-1]
		last.seen, last.used, last.id = f.Seen, f.Used, f.ID
	}
	return nil
}

type resourceJSON struct {
	ID       string         `json:"id"`
	Type     string         `json:"type"`
	Location string         `json:"location,omitempty"`
	Tags     map[string]any `json:"tags"`
	Props    map[string]any `json:"props"`
	SKU      map[string]any `json:"sku"`
	Extra    map[string]any `json:"extra"`
	Etag     string         `json:"etag,omitempty"`
	Created  time.Time      `json:"created"`
	Changed  time.Time      `json:"changed,omitzero"`
	State    string         `json:"state"`
	Seeded   bool           `json:"seeded,omitempty"`
	Deleting bool           `json:"deleting,omitempty"`
	Born     int            `json:"born"`
	Aux      *auxJSON       `json:"aux,omitempty"`
}

func saveResource(w *Azure, key string) any {
	r := w.resources[key]
	if r == nil {
		return nil
	}
	a, err := writeAux(r.aux)
	if err != nil {
		w.store.fail(err)
	}
	return resourceJSON{r.id, r.typ, r.location, r.tags, r.props, r.sku, r.extra, r.etag, r.created, r.changed, r.state, r.seeded, r.deleting, r.born, a}
}

func loadResource(w *Azure, _ string, raw json.RawMessage) error {
	var j resourceJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return err
	}
	v, err := readAux(j.Aux)
	if err != nil {
		return err
	}
	w.enter(&resource{id: j.ID, typ: j.Type, name: lastPart(j.ID), location: j.Location, tags: j.Tags, props: j.Props, sku: j.SKU, extra: j.Extra, etag: j.Etag,
		created: j.Created, changed: j.Changed, state: j.State, seeded: j.Seeded, deleting: j.Deleting, born: j.Born, aux: v})
	return nil
}

type vaultJSON struct {
	Name, ID, Location string
	SoftDeleted        bool
	Since              time.Time
	Policies           []any
	Secrets, Deleted   map[string]secretJSON
	Tags               map[string]any          `json:",omitempty"`
	Objects            map[string]*vaultObject `json:",omitempty"`
}

type secretJSON struct {
	Name     string
	Versions []secretVersionJSON
}

type secretVersionJSON struct {
	ID, Value, ContentType string
	Attributes             map[string]any
	Tags                   any
}

func saveVault(w *Azure, key string) any {
	s := w.vaults[key]
	if s == nil {
		return nil
	}
	list := func(in map[string]*secret) map[string]secretJSON {
		out := map[string]secretJSON{}
		for k, x := range in {
			one := secretJSON{Name: x.name}
			for _, v := range x.versions {
				one.Versions = append(one.Versions, secretVersionJSON{v.id, v.value, v.contentType, v.attributes, v.tags})
			}
			out[k] = one
		}
		return out
	}
	return vaultJSON{s.name, s.id, s.location, s.softDeleted, s.since, s.policies, list(s.secrets), list(s.deleted), s.tags, s.objects}
}

func loadVault(w *Azure, key string, raw json.RawMessage) error {
	var j vaultJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return err
	}
	list := func(in map[string]secretJSON) map[string]*secret {
		out := map[string]*secret{}
		for k, x := range in {
			one := &secret{name: x.Name}
			for _, v := range x.Versions {
				one.versions = append(one.versions, &secretVersion{v.ID, v.Value, v.ContentType, v.Attributes, v.Tags})
			}
			out[k] = one
		}
		return out
	}
	w.vaults[key] = &vaultStore{name: j.Name, id: j.ID, location: j.Location, softDeleted: j.SoftDeleted, since: j.Since, policies: j.Policies, secrets: list(j.Secrets), deleted: list(j.Deleted), tags: j.Tags, objects: j.Objects}
	return nil
}

type operationJSON struct {
	ID, Provider, Location, Path string
	Seq, Born                    int
	Start, End                   time.Time
	Status, Resource, Of, OfType string
	Verb                         string
	Deletion, Group              bool
	Error                        *refusalJSON `json:",omitempty"`
}

type refusalJSON struct {
	Status        int
	Code, Message string
}

func saveOperation(w *Azure, key string) any {
	o := w.operations[key]
	if o == nil {
		return nil
	}
	j := operationJSON{ID: o.id, Provider: o.provider, Location: o.location, Path: o.path, Seq: o.seq, Born: o.born, Start: o.start, End: o.end, Status: o.status,
		Resource: o.resource, Verb: o.verb, Deletion: o.deletion, Group: o.group}
	if o.of != nil {
		j.Of, j.OfType = o.of.id, o.of.typ
	}
	if o.err != nil {
		j.Error = &refusalJSON{o.err.status, o.err.code, o.err.message}
	}
	return j
}

func loadOperation(w *Azure, key string, raw json.RawMessage) error {
	var j operationJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return err
	}
	o := &operation{id: j.ID, provider: j.Provider, location: j.Location, path: j.Path, seq: j.Seq, born: j.Born, start: j.Start, end: j.End, status: j.Status,
		resource: j.Resource, verb: j.Verb, deletion: j.Deletion, group: j.Group}
	if j.Error != nil {
		o.err = refuse(j.Error.Status, j.Error.Code, j.Error.Message)
	}
	w.operations[key] = o
	// What it was begun on: the resource itself, or a shadow where that is gone or another has its name. One that was begun
	// on something without a document (a deleted vault) has the id alone.
	on := &resource{id: j.Resource, typ: vaultType, low: strings.ToLower(j.Resource)}
	if j.Of != "" {
		if o.of = w.resources[strings.ToLower(j.Of)]; o.of == nil || o.of.born != j.Born {
			o.of = &resource{id: j.Of, typ: j.OfType, low: strings.ToLower(j.Of), name: lastPart(j.Of), born: j.Born, props: map[string]any{}}
		}
		on = o.of
	}
	if o.status != "InProgress" {
		w.ended = append(w.ended, key)
		return nil
	}
	if o.apply = w.resumed(o.verb, on); o.apply == nil && o.err == nil {
		o.err = refuse(500, "InternalServerError", "The simulated Azure was started again and cannot go on with this operation.")
	}
	w.due = append(w.due, o)
	return nil
}
