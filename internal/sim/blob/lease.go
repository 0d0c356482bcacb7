package blob

import (
	"net/http"
	"strconv"
	"time"
)

// lease is a lock on a container or a blob (rest/api/storageservices/lease-blob).
type lease struct {
	id       string
	until    time.Time // zero: without end
	length   int       // seconds; -1: without end
	breaking bool
	broken   bool
}

func (l *lease) active(now time.Time) bool {
	return l.id != "" && !l.broken && (l.until.IsZero() || now.Before(l.until))
}

func (l *lease) state(now time.Time) (state, status string) {
	switch {
	case l.id == "":
		return "available", "unlocked"
	case l.broken, l.breaking && !l.active(now):
		return "broken", "unlocked"
	case !l.active(now):
		return "expired", "unlocked"
	case l.breaking:
		return "breaking", "locked"
	}
	return "leased", "locked"
}

func (l *lease) show(h http.Header, now time.Time) {
	state, status := l.state(now)
	h.Set("x-ms-lease-state", state)
	h.Set("x-ms-lease-status", status)
	if state == "leased" {
		h.Set("x-ms-lease-duration", l.kind())
	}
}

func (l *lease) kind() string {
	if l.until.IsZero() {
		return "infinite"
	}
	return "fixed"
}

func (l *lease) elements(now time.Time) []element {
	state, status := l.state(now)
	out := []element{el("LeaseStatus", status), el("LeaseState", state)}
	if state == "leased" {
		out = append(out, el("LeaseDuration", l.kind()))
	}
	return out
}

// check lets a write through when it names the lease, or there is none. A read may name none.
func (l *lease) check(c *call, what string, write bool) error {
	id := c.r.Header.Get("x-ms-lease-id")
	switch active := l.active(c.now); {
	case active && id == "" && write:
		return fail(412, "LeaseIdMissing", "There is currently a lease on the "+lower(what)+" and no lease ID was specified in the request.")
	case active && id != "" && id != l.id:
		return fail(412, "LeaseIdMismatchWith"+what+"Operation", "The lease ID specified did not match the lease ID for the "+lower(what)+".")
	case !active && id != "" && l.id == id:
		return fail(412, "LeaseLost", "A lease ID was specified, but the lease for the "+lower(what)+" has expired.")
	case !active && id != "":
		return fail(412, "LeaseNotPresentWith"+what+"Operation", "There is currently no lease on the "+lower(what)+".")
	}
	return nil
}

func lower(what string) string {
	if what == "Container" {
		return "container"
	}
	return "blob"
}

func (l *lease) act(c *call, what string) error {
	h := c.r.Header
	id := h.Get("x-ms-lease-id")
	active := l.active(c.now)
	mismatch := fail(409, "LeaseIdMismatchWithLeaseOperation", "The lease ID specified did not match the lease ID for the "+lower(what)+".")
	switch h.Get("x-ms-lease-action") {
	case "acquire":
		want := h.Get("x-ms-proposed-lease-id")
		n, err := strconv.Atoi(h.Get("x-ms-lease-duration"))
		if err != nil || n != -1 && (n < 15 || n > 60) {
			return fail(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
		}
		if active && want != l.id {
			return fail(409, "LeaseAlreadyPresent", "There is already a lease present.")
		}
		if want == "" {
			t := c.s.token(16)
			want = t[:8] + "-" + t[8:12] + "-4" + t[13:16] + "-8" + t[17:20] + "-" + t[20:]
		}
		*l = lease{id: want, length: n}
		l.extend(c.now)
		c.w.Header().Set("x-ms-lease-id", l.id)
		c.w.WriteHeader(201)
	case "renew":
		if l.id == "" || id != l.id {
			return mismatch
		}
		if l.breaking || l.broken {
			return fail(409, "LeaseIsBrokenAndCannotBeRenewed", "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.")
		}
		l.extend(c.now)
		c.w.Header().Set("x-ms-lease-id", l.id)
		c.w.WriteHeader(200)
	case "change":
		if !active {
			return fail(409, "LeaseNotPresentWithLeaseOperation", "There is currently no lease on the "+lower(what)+".")
		}
		if next := h.Get("x-ms-proposed-lease-id"); id == l.id || next == l.id {
			l.id = next
		} else {
			return mismatch
		}
		c.w.Header().Set("x-ms-lease-id", l.id)
		c.w.WriteHeader(200)
	case "release":
		if l.id == "" || id != l.id {
			return mismatch
		}
		*l = lease{}
		c.w.WriteHeader(200)
	case "break":
		if l.id == "" {
			return fail(409, "LeaseNotPresentWithLeaseOperation", "There is currently no lease on the "+lower(what)+".")
		}
		left := 0
		if active && !l.until.IsZero() {
			left = int(l.until.Sub(c.now).Seconds() + 0.999)
		}
		if n, err := strconv.Atoi(h.Get("x-ms-lease-break-period")); err == nil && (l.until.IsZero() || n < left) {
			left = n
		}
		l.breaking = true
		if l.until = c.now.Add(time.Duration(left) * time.Second); left == 0 {
			l.broken = true
		}
		c.w.Header().Set("x-ms-lease-time", strconv.Itoa(left))
		c.w.WriteHeader(202)
	default:
		return fail(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
	}
	return nil
}

func (l *lease) extend(now time.Time) {
	l.until = time.Time{}
	if l.length > 0 {
		l.until = now.Add(time.Duration(l.length) * time.Second)
	}
}

func leaseContainer(c *call) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	k, err := c.held()
	if err != nil {
		return err
	}
	stamped(c.w, k.etag, k.modified)
	return k.lease.act(c, "Container")
}

func leaseBlob(c *call) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	b, err := c.item()
	if err != nil {
		return err
	}
	stamped(c.w, b.etag, b.modified)
	return b.lease.act(c, "Blob")
}
