// Package sim is the simulated Azure: the Resource Manager protocol, sign-in, Key Vault and machines, with state behind
// them. It speaks the wire and keeps wire types of its own: it must not know the client, the engines, plans or images. What
// it does not know it answers with a loud 501.
//
// Its core is one event engine under one lock. Time is the injected clock's; nothing happens in the background: at every
// call, all that has become due since the last one happens first, in the order of (time, sequence).
package sim

import (
	"crypto/ecdsa"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ingot/internal/sim/qemu"
)

// What a fresh simulated Azure knows: one tenant, one subscription, one account with the role Owner. The secret opens nothing
// but a simulation.
const (
	DefaultSubscription = "00000000-0000-4000-8000-00000000a001"
	DefaultTenant       = "00000000-0000-4000-8000-00000000b001"
	DefaultClientID     = "00000000-0000-4000-8000-00000000c001"
	DefaultClientSecret = "simulated-secret-not-real" //nolint:gosec // not a credential of anything

	// EmbeddedURL is where the in-process transport answers as Resource Manager and as the sign-in authority.
	EmbeddedURL = "https://management.sim.localhost"
)

// Latency says how long operations take.
type Latency int

const (
	RealisticLatency Latency = iota // as recorded of real Azure
	NoLatency                       // every operation is done at its first poll
)

// Config is what a simulated Azure is made of. The zero value is a good one.
type Config struct {
	Clock                Clock // default: the wall clock
	Seed                 uint64
	Latency              Latency
	Scenario             *Scenario
	Subscription, Tenant string
	Machines             *qemu.Host  // runs real machines for the images that have a real disk; nil: there are none
	Images               []DiskImage // further entries of the marketplace
	NoGuests             bool        // machines have a power state and nothing to connect to: for replays of recordings
	// State is a folder that keeps everything, so that it is there again after the process ended, however it ended. What is
	// kept there comes before Seed, Subscription, Tenant and what the Scenario puts in place.
	State string
	// Dir is where blobs and disks are kept; default: a folder that is made when it is needed and removed by Close.
	Dir string
	// Observe is told of every answer but Storage's data plane's, before it is sent; it must not keep r or body, and may be called by several
	// goroutines at once. nil: nobody looks.
	Observe func(r *http.Request, status int, body []byte)
}

// Azure is a simulated Azure.
type Azure struct {
	cfg   Config
	clock Clock

	mu         sync.Mutex
	seq        int
	resources  map[string]*resource // by lower-case id
	operations map[string]*operation
	due        dueHeap    // running
	last       *operation // begun last
	ended      []string   // ids of operations that ended, the oldest first
	order      index
	byType     map[string]*index // by lower-case type
	reads      bool              // the call under way changes nothing
	uses       *uses             // while nothing changes
	touched    map[string]bool   // what the call under way looked at or changed: "ledger/key"
	settled    bool              // the call under way let something end
	store      *store
	draws      int             // of request ids
	held       map[string]held // what reads that are behind show, by lower-case id
	kinds      map[string]*kind
	principals []*principal
	tokens     map[string]holding
	key        *ecdsa.PrivateKey
	vaults     map[string]*vaultStore // by lower-case vault name
	faults     []*activeFault
	throttles  map[string]*bucket
	calls      ring
	winrm      atomic.Int64      // requests to WinRM listeners of guests
	caller     netip.Addr        // this computer's address, where it is not the loopback one
	guests     map[string]string // "address:port" -> the listener on loopback
	seeding    bool
	moment     time.Time        // of the operation whose end is being carried out; zero otherwise
	sizes      map[string]int64 // of the disks in Config.Images, bytes by file
	servedPort string
	cert       *served
	stop       chan struct{} // closed by Close
	stopped    sync.Once
	stopping   sync.WaitGroup
	storage    storage
}

// resource is one document of Resource Manager, and what stands behind it.
type resource struct {
	id, typ, name, location string
	tags                    map[string]any
	props, sku              map[string]any
	extra                   map[string]any // top-level members beside these: identity, plan, zones, kind
	etag                    string
	created                 time.Time
	changed                 time.Time // when it was written last
	state                   string    // provisioningState
	seeded                  bool
	deleting                bool
	aux                     any // its type has a line in auxTypes
	low                     string
	born                    int // tells it from another of its name
}

// ask is a request for a resource to be as body says.
type ask struct {
	id, name, location string
	body               map[string]any
	old                *resource
	who                *principal
	api                string // the api-version; "": put in place by the simulation
}

// refusal is an error as Azure words it.
type refusal struct {
	status        int
	code, message string
	header        map[string]string
	later         *later        // no refusal: not yet
	again         time.Duration // no refusal: look again when so much time has passed
}

// later is what an operation's end answers when it must wait for something that takes real time, as the boot of a real machine
// does: work runs without the lock, then with it.
type later struct {
	work func() *refusal
	then func() *refusal // after work went well; may be nil
}

// and lets something follow what is not yet done.
func (r *refusal) and(next func() *refusal) *refusal {
	l := r.later
	return &refusal{later: &later{l.work, func() *refusal {
		if l.then != nil {
			if bad := l.then(); bad != nil {
				return bad
			}
		}
		return next()
	}}}
}

func refuse(status int, code, message string) *refusal {
	return &refusal{status: status, code: code, message: message}
}

// kind is one resource type.
type kind struct {
	typ   string
	check func(w *Azure, in ask) *refusal               // before anything is changed
	fill  func(w *Azure, r *resource, in ask)           // makes the document
	done  func(w *Azure, r *resource) *refusal          // when the operation ends; a refusal fails it
	show  func(w *Azure, r *resource, b map[string]any) // completes an answer
	told  func(w *Azure, r *resource, b map[string]any) // and that to a write or a deletion
	drop  func(w *Azure, r *resource) *refusal          // may it be deleted?
	gone  func(w *Azure, r *resource)                   // it has been

	since     map[string]string // properties that older api-versions do not show, with the first that does
	quiet     bool              // a new one of a sync kind is answered without a Location
	parting   bool              // DELETE of a sync one answers with the document
	sync      bool              // PUT and DELETE are done when they answer
	fresh     int               // status of a sync PUT that made something; 0 is 200
	atOnce    bool              // PUT is done when it answers, DELETE is not
	put202    bool              // PUT answers 202 with Azure-AsyncOperation and Location, as disks do
	bare202   bool              // and that without name, id and type, which are not settled yet
	creating  string            // provisioningState meanwhile; default Creating
	opPath    string            // "operations", "DiskOperations", "capsOperations"
	takes     func(w *Azure, r *resource, creating bool) time.Duration
	takesAway string // latency kind of the deletion
	actions   map[string]action
	children  map[string]func(w *Azure, q *request, r *resource) *reply // GET …/name of a resource that is no resource itself
	patch     bool                                                      // PATCH may change properties
	locates   bool                                                      // a new one answers 202 with Location alone, a change 200, as storage accounts do
	update    func(w *Azure, q *request, k *kind, r *resource) *reply   // PATCH of more than tags
}

// action is POST …/name.
type action struct {
	check func(w *Azure, r *resource, body map[string]any) *refusal
	// now happens when the call is answered; done when its operation ends. With takes empty the action is over at once.
	now   func(w *Azure, r *resource)
	done  func(w *Azure, r *resource) *refusal
	takes string
	// answer is the whole answer of an action that is over at once; output what a long one yields in the end.
	answer func(w *Azure, r *resource) *reply
	output func(w *Azure, r *resource, body map[string]any) (any, *refusal)
}

// New starts a simulated Azure.
func New(c Config) (*Azure, error) {
	if c.Clock == nil {
		c.Clock = WallClock{}
	}
	if c.Subscription == "" {
		c.Subscription = DefaultSubscription
	}
	if c.Tenant == "" {
		c.Tenant = DefaultTenant
	}
	w := &Azure{cfg: c, clock: c.Clock, resources: map[string]*resource{}, operations: map[string]*operation{}, kinds: map[string]*kind{},
		tokens: map[string]holding{}, vaults: map[string]*vaultStore{}, throttles: map[string]*bucket{}, guests: map[string]string{},
		byType: map[string]*index{}, touched: map[string]bool{}, stop: make(chan struct{})}
	for _, k := range kinds() {
		w.kinds[strings.ToLower(k.typ)] = &k
	}
	if s := c.Scenario; s != nil {
		w.cfg.Images = append(slices.Clone(w.cfg.Images), s.Images...)
	}
	if w.cfg.Machines != nil {
		if err := w.inspect(); err != nil {
			return nil, err
		}
	}
	kept, err := w.restore()
	if err != nil || kept {
		return w, err
	}
	w.AddPrincipal(Principal{Name: "simulated", ClientID: DefaultClientID, Secret: DefaultClientSecret})
	if err := w.apply(c.Scenario); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Close ends what runs on loopback: the machines.
func (w *Azure) Close() {
	w.mu.Lock()
	w.stopped.Do(func() { close(w.stop) })
	w.closeState()
	for _, r := range w.resources {
		if d, ok := r.aux.(*templateData); ok && d.run != nil {
			d.run.cancel(errRunStopped)
		}
		if k := w.kinds[strings.ToLower(r.typ)]; k != nil && k.gone != nil && r.typ == vmType {
			k.gone(w, r)
		}
	}
	w.mu.Unlock()
	w.stopping.Wait()
	w.storage.close()
}

// find returns the resource with that id, or nil.
func (w *Azure) find(id string) *resource {
	if id == "" {
		return nil
	}
	r := w.resources[strings.ToLower(strings.TrimRight(id, "/"))]
	if r != nil {
		w.touch("resource", r.low)
	}
	return r
}

// all are the resources of a type, by id.
func (w *Azure) all(typ string) []*resource {
	x := w.byType[strings.ToLower(typ)]
	if x == nil {
		return nil
	}
	return slices.Clone(*x)
}

// children are the resources of a type right below an id.
func children(w *Azure, id, typ string) []*resource {
	x := w.byType[strings.ToLower(typ)]
	if x == nil {
		return nil
	}
	var out []*resource
	for _, r := range x.under(strings.ToLower(strings.TrimRight(id, "/"))) {
		if sameID(parentID(r.id), id) {
			out = append(out, r)
		}
	}
	return out
}

// place puts a new resource into the world.
func (w *Azure) place(id, typ, location string) *resource {
	r := &resource{id: id, typ: typ, name: lastPart(id), location: location, created: w.clock.Now(), state: "Succeeded", seeded: w.seeding, props: map[string]any{}}
	w.seq++
	r.born = w.seq
	w.enter(r)
	return r
}

// drop takes a resource and its children out of the world.
func (w *Azure) drop(id string) {
	low := strings.ToLower(id)
	for _, key := range w.below(low) {
		r := w.resources[key]
		if r == nil {
			continue // another one's end took it along
		}
		w.leave(r)
		if k := w.kinds[strings.ToLower(r.typ)]; k != nil && k.gone != nil {
			k.gone(w, r)
		}
	}
}

// below lists the keys of a resource and of everything under it, the deepest first.
func (w *Azure) below(low string) []string {
	var keys []string
	if w.resources[low] != nil {
		keys = append(keys, low)
	}
	for _, r := range w.order.under(low) {
		keys = append(keys, r.low)
	}
	sort.Slice(keys, func(i, j int) bool {
		return len(keys[i]) > len(keys[j]) || len(keys[i]) == len(keys[j]) && keys[i] < keys[j]
	})
	return keys
}

// uuid draws from the seeded generator, so that a seed replays.
func (w *Azure) uuid() string {
	w.seq++
	return w.draw("uuid", w.seq)
}

func (w *Azure) draw(kind string, n int) string {
	r := w.random(kind, strconv.Itoa(n))
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}

// random is a generator for one thing: another call elsewhere does not shift what it yields.
func (w *Azure) random(kind, id string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(kind + "\x00" + strings.ToLower(id))) //nolint:errcheck // a hash does not fail
	return rand.New(rand.NewPCG(w.cfg.Seed, h.Sum64()))  //nolint:gosec // a simulation wants to be repeatable
}

func newEtag(w *Azure) string { return `W/"` + w.uuid() + `"` }

// keepOr is what a document has under a key already, or something new.
func keepOr(m map[string]any, key string, fresh func() string) string {
	if s := text(m, key); s != "" {
		return s
	}
	return fresh()
}

func references(ids []string) []any {
	out := []any{}
	for _, id := range ids {
		out = append(out, map[string]any{"id": id})
	}
	return out
}

func sameRegion(a, b string) bool { return regionKey(a) == regionKey(b) }

func itoa(n int) string { return strconv.Itoa(n) }

// parentID cuts the last type and name off a child's id.
func parentID(id string) string {
	parts := strings.Split(id, "/")
	if len(parts) < 3 {
		return ""
	}
	return strings.Join(parts[:len(parts)-2], "/")
}

func missingReference(what, by string) *refusal {
	return refuse(400, "InvalidResourceReference", "Resource "+what+" referenced by resource "+by+" was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.")
}

func parentMissing(id string) *refusal {
	return refuse(404, "ParentResourceNotFound", "Can not perform requested operation on nested resource. Parent resource '"+parentNames(id)+"' not found.")
}
