package sim

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
)

// What a simulated Azure with Config.State keeps, and when.
//
// Everything it knows is a set of documents, each with a key "ledger/name". A call collects in Azure.touched the keys of the
// documents it looked at with intent (find, place, leave, begin do so; whoever changes something he has from a list calls
// touch); when the call is over, those whose JSON differs from what was kept last are one record of the journal, and the
// answer is sent only when that record is on the disk. A record is whole or not there: a call happened or it did not.
//
// What is not kept: throttle buckets, how often a scenario's guest rules were used, the log of calls, and what a guest's
// processes were doing. Machines that ran are booted again, as after a failure of their host.

// ledger is one kind of document.
type ledger struct {
	name  string
	small bool                                                  // looked through after every call that may change something, touched or not
	keys  func(w *Azure) []string                               // of all there are
	save  func(w *Azure, key string) any                        // nil: it is gone
	load  func(w *Azure, key string, raw json.RawMessage) error // in the order of ledgers(), any order within one
}

// touch says that the call under way may have changed a document.
func (w *Azure) touch(ledger, key string) {
	if w.store != nil {
		w.touched[ledger+"/"+key] = true
	}
}

// lease is how far ahead of its clock a simulated Azure keeps the time, in real time: after a crash it goes on from there,
// and no time that was ever answered comes again.
const lease = 2 * time.Second

// commit writes what the call under way changed to the journal and returns the number to wait for; 0: nothing changed.
func (w *Azure) commit(changing bool) uint64 {
	if changing || w.settled {
		w.uses = nil
	}
	if w.store == nil {
		w.settled = false
		return 0
	}
	defer clear(w.touched)
	w.touchMachines()
	changing = changing || w.settled || w.touched["faults/all"]
	w.settled = false
	set := map[string]json.RawMessage{}
	var gone []string
	look := func(l ledger, name string) {
		key := l.name + "/" + name
		raw, ok := w.document(l, name)
		sum := sha256.Sum256(raw)
		switch before, had := w.store.sums[key]; {
		case !ok && had:
			gone = append(gone, key)
			delete(w.store.sums, key)
		case ok && (!had || before != sum):
			set[key] = raw
			w.store.sums[key] = sum
		}
	}
	for _, l := range w.store.ledgers {
		switch {
		case l.name == "clock": // last, and only if there is something to keep it with
		case changing && l.small:
			for _, name := range l.keys(w) {
				look(l, name)
			}
		}
	}
	for key := range w.touched {
		name, rest, _ := strings.Cut(key, "/")
		if l, ok := w.store.byName[name]; ok && changing && !l.small {
			look(l, rest)
		}
	}
	now := w.clock.Now()
	if changing && w.store.failed() {
		return math.MaxUint64 // never safe: await tells why
	}
	if len(set)+len(gone) == 0 && now.Before(w.store.until) {
		return 0
	}
	ahead := lease
	if c, ok := w.clock.(ScaledClock); ok {
		ahead = time.Duration(float64(ahead) * c.Factor)
	}
	w.store.until = now.Add(ahead)
	look(w.store.byName["clock"], "now")
	n, err := w.store.append(record{Set: set, Gone: gone})
	if err != nil {
		w.store.fail(err)
	}
	if w.store.overgrown() {
		if err := w.snapshot(); err != nil {
			w.store.fail(err)
		}
	}
	return n
}

// await returns when everything up to that record is safe.
func (w *Azure) await(n uint64) error {
	if n == 0 {
		return nil
	}
	return w.store.wait(n)
}

func (w *Azure) document(l ledger, name string) (json.RawMessage, bool) {
	v := l.save(w, name)
	if v == nil {
		return nil, false
	}
	raw, err := json.Marshal(v)
	if err != nil {
		w.store.fail(fmt.Errorf("cannot keep %s/%s: %w", l.name, name, err))
		return nil, false
	}
	return raw, true
}

// documents are all there are.
func (w *Azure) documents() map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for _, l := range w.store.ledgers {
		for _, name := range l.keys(w) {
			if raw, ok := w.document(l, name); ok {
				out[l.name+"/"+name] = raw
			}
		}
	}
	return out
}

// unkept are documents that differ from what was kept last: changes that nobody touched. Tests ask.
func (w *Azure) unkept() []string {
	var out []string
	all := w.documents()
	for key, raw := range all {
		if w.store.sums[key] != sha256.Sum256(raw) {
			out = append(out, key)
		}
	}
	for key := range w.store.sums {
		if _, ok := all[key]; !ok {
			out = append(out, key+" (gone)")
		}
	}
	return out
}

// snapshot writes everything anew and starts an empty journal.
func (w *Azure) snapshot() error {
	all := w.documents()
	if err := w.store.replace(all); err != nil {
		return err
	}
	clear(w.store.sums)
	for key, raw := range all {
		w.store.sums[key] = sha256.Sum256(raw)
	}
	return nil
}

// touchMachines notes what machines did by themselves: their disks and their power change without a call.
func (w *Azure) touchMachines() {
	x := w.byType[strings.ToLower(vmType)]
	if x == nil {
		return
	}
	for _, r := range *x {
		m, ok := r.aux.(*machine)
		if !ok || m.content.disk == nil {
			continue
		}
		if now := (machineMark{m.power, m.content.disk.Version()}); now != m.kept {
			m.kept = now
			w.settled = true
			w.touch("resource", r.low)
		}
	}
}

// machineMark tells whether a machine did something by itself.
type machineMark struct {
	power string
	disk  uint64
}

// restore opens Config.State. It says whether there was anything.
func (w *Azure) restore() (bool, error) {
	if w.cfg.State == "" {
		return false, nil
	}
	s, docs, err := openStore(w.cfg.State)
	if err != nil {
		return false, err
	}
	w.store = s
	s.ledgers = ledgers()
	s.byName = map[string]ledger{}
	for _, l := range s.ledgers {
		s.byName[l.name] = l
	}
	err = w.load(docs)
	if err == nil && len(docs) > 0 {
		err = w.resume()
	}
	if err == nil {
		err = w.snapshotFirst()
	}
	if err != nil {
		w.store = nil
		s.close()
		return false, err
	}
	go w.keepWatching()
	return len(docs) > 0, nil
}

func (w *Azure) snapshotFirst() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.touched)
	return w.snapshot()
}

func (w *Azure) load(docs map[string]json.RawMessage) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	byLedger := map[string][]string{}
	for key := range docs {
		name, _, _ := strings.Cut(key, "/")
		if _, ok := w.store.byName[name]; !ok {
			return fmt.Errorf("cannot read the state in %s: it holds %q, which this version does not know", w.cfg.State, key)
		}
		byLedger[name] = append(byLedger[name], key)
	}
	for _, l := range w.store.ledgers {
		for _, key := range byLedger[l.name] {
			_, name, _ := strings.Cut(key, "/")
			if err := l.load(w, name, docs[key]); err != nil {
				return fmt.Errorf("cannot read the state in %s: %s: %w", w.cfg.State, key, err)
			}
		}
	}
	return nil
}

// keepWatching keeps what machines do by themselves while nobody asks.
func (w *Azure) keepWatching() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-t.C:
		}
		w.mu.Lock()
		if w.store == nil {
			w.mu.Unlock()
			return
		}
		w.touchMachines()
		n := uint64(0)
		if w.settled {
			n = w.commit(true)
		}
		w.mu.Unlock()
		w.await(n) //nolint:errcheck // the next call that changes something says so
	}
}

// closeState ends the keeping, with everything kept.
func (w *Azure) closeState() {
	if w.store == nil {
		return
	}
	w.touchMachines()
	if n := w.commit(true); n > 0 {
		w.store.wait(n) //nolint:errcheck // nobody is left to tell
	}
	w.store.close()
	w.store = nil
}
