package sim

import (
	"strings"
	"time"
)

// beginVerb begins an operation whose effect can be made again from its verb and what it was begun on, so that it goes on
// after the process ended.
func (w *Azure) beginVerb(r *resource, path string, d time.Duration, verb string) *operation {
	o := w.begin(r, path, d, w.resumed(verb, r))
	o.verb = verb
	return o
}

// resumed is what an operation does when it ends: the one list of verbs. nil: none of that name.
func (w *Azure) resumed(verb string, r *resource) func() *refusal {
	k := w.kinds[strings.ToLower(r.typ)]
	verb, name, _ := strings.Cut(verb, "/")
	switch verb {
	case "put":
		return func() *refusal {
			succeed := func() *refusal { r.state = "Succeeded"; return nil }
			if k != nil && k.done != nil {
				if bad := k.done(w, r); bad != nil && bad.later != nil {
					return bad.and(succeed)
				} else if bad != nil {
					return bad
				}
			}
			return succeed()
		}
	case "delete":
		return func() *refusal { w.drop(r.id); return nil } // what is below it goes too; vaults stay recoverable
	case "action":
		return func() *refusal {
			if k == nil || k.actions[name].done == nil {
				return nil
			}
			return k.actions[name].done(w, r)
		}
	case "deploy":
		return func() *refusal { return w.stepDeployment(r) }
	case "purge-vault":
		return func() *refusal {
			key := strings.ToLower(lastPart(r.id))
			delete(w.vaults, key)
			w.touch("vault", key)
			return nil
		}
	}
	return nil
}
