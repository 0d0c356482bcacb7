package main

import (
	"fmt"
	"sort"
	"strings"
)

// watched are the headers whose presence is compared; Retry-After and request ids were scrubbed from the recordings.
func watched() []string {
	return []string{"azure-asyncoperation", "location", "etag", "www-authenticate", "x-ms-failure-cause"}
}

// kindsOf lists the watched headers of an answer.
func kindsOf(get func(string) string) []string {
	out := []string{}
	for _, name := range watched() {
		if get(name) != "" {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// compare fills in how an answer differs from the recorded one.
func compare(o *Outcome, e Exchange, a answer, want, have shape) {
	if o.Status != o.Recorded {
		o.Notes = append(o.Notes, fmt.Sprintf("status %d is %d here: %.300s", e.Status, a.status, strings.Join(strings.Fields(a.body), " ")))
		if c := want.keys["error.code"]; len(c) > 0 {
			o.Notes = append(o.Notes, "recorded error "+c[0])
		}
		return
	}
	r, h := kindsOf(func(n string) string { return e.Headers[n] }), kindsOf(a.header.Get)
	if o.Headers = strings.Join(r, ",") == strings.Join(h, ","); !o.Headers {
		o.Notes = append(o.Notes, fmt.Sprintf("headers %v are %v here", r, h))
	}
	notes := words(want, have)
	if len(notes) > 0 {
		for _, path := range []string{"properties.error.details[].message", "error.details[].message", "error.message"} {
			if m := have.keys[path]; len(m) > 0 && len(want.keys[path]) == 0 {
				notes = append(notes, "here it says: "+m[0])
			}
		}
	}
	o.Words = len(notes) == 0
	o.Notes = append(o.Notes, notes...)
	if o.Format = format(e.Body) == format(a.body); !o.Format {
		o.Notes = append(o.Notes, "format "+format(e.Body)+" is "+format(a.body)+" here")
	}
	var both int
	o.Missing, o.Extra, both = differ(want, have)
	o.Keys = 1
	if n := both + len(o.Missing) + len(o.Extra); n > 0 {
		o.Keys = float64(both) / float64(n)
	}
}
