package sim

import (
	"sort"
	"strconv"
	"strings"
	"time"
)

// held is what a resource was before it was written last.
type held struct {
	until time.Time
	body  map[string]any // nil: it was not there
}

// hold keeps what a resource is before a write, for reads that are behind. Resource Manager's caches are eventually
// consistent: a list or a GET in another region may be seconds late
// (learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-not-found).
func (w *Azure) hold(k *kind, id string, old *resource) {
	if w.cfg.Scenario == nil || w.cfg.Scenario.StaleReads == nil {
		return
	}
	now := w.clock.Now()
	h := held{until: now.Add(time.Duration(w.cfg.Scenario.StaleReads.For))}
	if before, ok := w.held[strings.ToLower(id)]; ok && now.Before(before.until) {
		h.body = before.body // two writes in a row: reads are behind both
	} else if old != nil {
		h.body, _ = deepCopy(w.show(k, old, "")).(map[string]any)
	}
	if w.held == nil {
		w.held = map[string]held{}
	}
	w.held[strings.ToLower(id)] = h
}

// behind is what a read that is behind shows, and whether this one is. Which are is drawn from the seed.
func (w *Azure) behind(id string) (map[string]any, bool) {
	h, ok := w.held[strings.ToLower(id)]
	if !ok {
		return nil, false
	}
	if !w.clock.Now().Before(h.until) {
		delete(w.held, strings.ToLower(id))
		return nil, false
	}
	share := w.cfg.Scenario.StaleReads.Share
	if share == 0 {
		return h.body, true
	}
	w.draws++
	return h.body, w.random("stale", id+strconv.Itoa(w.draws)).Float64() < share
}

// lingering are resources right below a list's prefix that are gone, in the eyes of a list that is behind.
func (w *Azure) lingering(prefix string) []any {
	var ids []string
	low := strings.ToLower(prefix) + "/"
	for id := range w.held {
		if rest, ok := strings.CutPrefix(id, low); ok && !strings.Contains(rest, "/") && w.resources[id] == nil {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	var out []any
	for _, id := range ids {
		if body, ok := w.behind(id); ok && body != nil {
			out = append(out, body)
		}
	}
	return out
}
