package sim

import (
	"container/heap"
	"math"
	"strings"
	"time"
)

// operation is a long one.
type operation struct {
	id, provider, location, path string
	seq                          int
	start, end                   time.Time
	status                       string // InProgress, Succeeded, Failed
	err                          *refusal
	apply                        func() *refusal
	resource                     string    // whose document a Location shows in the end
	of                           *resource // what it was begun on; nil: nothing that has a document
	deletion                     bool
	output                       any  // what an action yields
	group                        bool // deletion of a resource group: Location only
	working                      bool // real work goes on
	// verb says what apply does, so that it can be made again from what is kept: see resumed. An operation without one
	// fails when the process ends before it does.
	verb string
	born int // of the resource it was begun on
}

// begin starts an operation that ends after d, when apply happens.
func (w *Azure) begin(r *resource, path string, d time.Duration, apply func() *refusal) *operation {
	w.seq++
	provider, _, _ := strings.Cut(r.typ, "/")
	if path == "" {
		path = "operations"
	}
	o := &operation{id: w.uuid(), provider: provider, location: r.location, path: path, seq: w.seq, start: w.now(), status: "InProgress", apply: apply, resource: r.id}
	if o.location == "" {
		o.location = "global"
	}
	if w.find(r.id) == r {
		o.of, o.born = r, r.born
	}
	o.end = o.start.Add(d)
	w.operations[strings.ToLower(o.id)] = o
	heap.Push(&w.due, o)
	w.last = o
	w.touch("operation", strings.ToLower(o.id))
	return o
}

// now is the time of what is happening: an operation's end may begin another one, and that begins then, not when somebody looks.
func (w *Azure) now() time.Time {
	if !w.moment.IsZero() {
		return w.moment
	}
	return w.clock.Now()
}

// settle lets everything happen that is due, in the order of (time, sequence).
func (w *Azure) settle() {
	now := w.clock.Now()
	for len(w.due) > 0 && !w.due[0].end.After(now) {
		o := heap.Pop(&w.due).(*operation)
		w.settled = true
		w.touch("operation", strings.ToLower(o.id))
		w.find(o.resource) // touched
		if o.of != nil {
			w.touch("resource", o.of.low)
		}
		// What the operation was begun on may be gone, or another resource of its name may be there: neither is the
		// operation's any more. A machine deleted while it is created must not boot afterwards.
		overtaken := o.of != nil && w.find(o.of.id) != o.of
		switch {
		case overtaken && !o.deletion:
			// azure-protocol.md 2.5: an operation that a later one overtook
			o.err = refuse(409, "NotLatestOperation", "The operation has been preempted by another one.")
		case o.err == nil && o.apply != nil && !overtaken:
			w.moment = o.end
			o.err = o.apply()
			w.moment = time.Time{}
		}
		if o.err != nil && o.err.again > 0 {
			o.end, o.err = o.end.Add(o.err.again), nil
			heap.Push(&w.due, o)
			continue
		}
		if o.err != nil && o.err.later != nil {
			l := o.err.later
			o.err = nil
			w.goOn(o, l)
			continue
		}
		w.finish(o)
	}
}

// goOn lets an operation last until real work is done. Simulated time stands still meanwhile, where it can.
func (w *Azure) goOn(o *operation, l *later) {
	release := func() {}
	if c, ok := w.clock.(interface{ Hold() func() }); ok {
		release = c.Hold()
	}
	o.working = true
	w.stopping.Go(func() {
		defer release()
		bad := l.work()
		w.mu.Lock()
		defer w.mu.Unlock()
		o.working = false
		if bad == nil && l.then != nil {
			bad = l.then()
		}
		o.end = w.clock.Now()
		w.settled = true // what follows is kept with the next call, or soon
		w.touch("operation", strings.ToLower(o.id))
		if o.of != nil {
			w.touch("resource", o.of.low)
		}
		if bad != nil && bad.later != nil {
			w.goOn(o, bad.later)
			return
		}
		o.err = bad
		w.finish(o)
	})
}

// finish writes an operation's end into its books.
func (w *Azure) finish(o *operation) {
	o.status = "Succeeded"
	switch {
	case o.err != nil && o.err.code == "Canceled":
		o.status = "Canceled"
	case o.err != nil:
		o.status = "Failed"
		if r := w.find(o.resource); r != nil && r == o.of {
			r.state, r.deleting = "Failed", false
		}
	}
	w.retire(o)
}

// keptOperations is how many operations that ended can still be asked for; Azure forgets them after a day or so.
const keptOperations = 20000

func (w *Azure) retire(o *operation) {
	w.ended = append(w.ended, strings.ToLower(o.id))
	if len(w.ended) > keptOperations {
		delete(w.operations, w.ended[0])
		w.touch("operation", w.ended[0])
		w.ended = w.ended[1:]
	}
}

// dueHeap has the operation that ends first on top, by (time, sequence).
type dueHeap []*operation

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	return h[i].end.Before(h[j].end) || h[i].end.Equal(h[j].end) && h[i].seq < h[j].seq
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(*operation)) }
func (h *dueHeap) Pop() any {
	old := *h
	o := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return o
}

// duration is how long one thing takes for one resource: drawn from a log-normal distribution around the recorded median
// and rounded up to the step in which Azure's own work loops turn (reference: azure-protocol.md section 5). The generator
// is the resource's own, so that one more call elsewhere changes nothing here.
func (w *Azure) duration(kind, id string) time.Duration {
	if s := w.cfg.Scenario; s != nil {
		if d, ok := s.Latency[kind]; ok {
			return time.Duration(d)
		}
	}
	if w.cfg.Latency == NoLatency {
		if kind == "guest-reboot" { // a boot that is not later than the one before is no reboot to anybody who looks
			return 2200 * time.Millisecond
		}
		return 0
	}
	t, ok := latencies()[kind]
	if !ok {
		return 0
	}
	seconds := t.median * math.Exp(w.random(kind, id).NormFloat64()*t.sigma)
	if t.step > 0 {
		seconds = math.Ceil(seconds/t.step) * t.step
	}
	return time.Duration(seconds * float64(time.Second))
}

// latency is a distribution, in seconds.
type latency struct{ median, sigma, step float64 }

// latencies are medians and spreads of recorded operations (azure-protocol.md section 5; "guest" kinds from the threads
// quoted there on WinRM and sysprep).
func latencies() map[string]latency {
	return map[string]latency{
		"group-delete": {139, 0.4, 15}, "vnet": {4, 0.3, 0}, "subnet": {1, 0.2, 0}, "ip": {1, 0.3, 0}, "nsg": {4, 0.3, 0}, "nic": {0.5, 0.2, 0}, "network-delete": {10, 0.2, 0},
		"vault": {30, 0.1, 0}, "vault-purge": {11, 0.3, 0},
		"vm": {85, 0.3, 0}, "vm-update": {7.3, 0.4, 0}, "extension": {5, 0.3, 0}, "vm-delete": {27.8, 0.4, 0}, "deallocate": {45, 0.3, 0}, "power-off": {8.4, 0.3, 0}, "start": {9.2, 0.4, 0}, "restart": {35.3, 0.4, 0},
		"image": {5.1, 0.05, 5.1}, "image-delete": {10, 0.2, 5.1}, "disk": {0.6, 0.3, 0}, "disk-delete": {1, 0.3, 0}, "disk-access": {0.3, 0.2, 0}, "storage": {17, 0.2, 0},
		"run-command": {14, 0.3, 10.2}, "run-command-poll": {5.1, 0, 0}, "run-command-report": {30, 0, 0}, "run-command-delete": {10, 0.2, 0},
		"gallery": {0.2, 0.2, 0}, "definition": {0.1, 0.2, 0}, "version": {428, 0.13, 15.05}, "version-shallow": {45, 0.2, 15.05}, "version-update": {150, 0.3, 15.05}, "version-delete": {91, 0.2, 15.05},
		"aib-template": {34.8, 0.2, 0}, "aib-template-delete": {139, 0.2, 0}, "aib-run": {901, 0.3, 0}, "aib-trigger": {10, 0.2, 0}, "aib-cancel": {20, 0.2, 0}, "aib-patch": {1.7, 0.3, 0},
		// The parts of a run are not recorded, its whole is (median 901 s: "aib-run"): what machine, customizers and replication leave of it.
		"aib-queue": {30, 0.3, 0}, "aib-container": {150, 0.3, 0}, "aib-capture": {45, 0.2, 0}, "aib-optimize": {300, 0.2, 0}, "aib-image-copy": {240, 0.3, 0}, "aib-vhd": {300, 0.3, 0}, "aib-cleanup": {60, 0.3, 0},
		"guest-boot": {60, 0.2, 0}, "guest-reboot": {75, 0.2, 0}, "guest-shutdown": {5, 0.2, 0}, "guest-powershell-start": {0.4, 0.1, 0}, "guest-command": {0.05, 0.1, 0}, "guest-poll": {0.05, 0, 0}, "guest-script": {20, 0.3, 0}, "guest-sysprep": {148, 0.2, 0},
		// Nothing recorded: chosen so that a month's updates take the quarter of an hour that builders report.
		"guest-update-search": {45, 0.3, 0}, "guest-update-download": {60, 0.4, 0}, "guest-update-install": {240, 0.5, 0},
	}
}
