package sim

import "time"

// CallRecord is one call that was answered, for logs and tests.
type CallRecord struct {
	Method, Path string
	Status       int
	Time         time.Time     // of the simulation's clock, when it came
	Duration     time.Duration // real, until the answer was ready
	Principal    string        `json:",omitempty"` // whose token it carried: the account's name
	Code         string        `json:",omitempty"` // of an error answer

	request, answer []byte // for the page, with secrets taken out
}

// keptCalls and keptBodies bound the log: the oldest calls go first, and bodies go before their calls.
const (
	keptCalls  = 10000
	keptBodies = 300
	bodyLimit  = 4 << 10
)

// ring is the newest calls.
type ring struct {
	list []CallRecord
	next int // where the next one goes once list is full
	sum  int // of all there ever were
}

func (r *ring) add(c CallRecord) {
	r.sum++
	if len(r.list) < keptCalls {
		r.list = append(r.list, c)
	} else {
		r.list[r.next] = c
		r.next = (r.next + 1) % keptCalls
	}
	if r.sum > keptBodies {
		old := r.at(min(len(r.list), r.sum) - 1 - keptBodies)
		old.request, old.answer = nil, nil
	}
}

// at is the i-th of those kept, the oldest first.
func (r *ring) at(i int) *CallRecord { return &r.list[(r.next+i)%len(r.list)] }

func (r *ring) all() []CallRecord {
	return append(append(make([]CallRecord, 0, len(r.list)), r.list[r.next:]...), r.list[:r.next]...)
}

// Calls lists what was asked last, the oldest first: at most ten thousand.
func (w *Azure) Calls() []CallRecord {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls.all()
}
