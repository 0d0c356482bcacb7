package sim

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// bucket is a token bucket (azure-protocol.md 2.4).
type bucket struct {
	tokens float64
	at     time.Time
}

// remaining are the headers that say how many calls are left.
type remaining map[string]string

func (h remaining) show(out *reply) {
	if out == nil || len(h) == 0 {
		return
	}
	if out.header == nil {
		out.header = map[string]string{}
	}
	for key, v := range h {
		out.header[key] = v
	}
}

// azureLimits are what Azure allows: Resource Manager's by principal, Compute's by machine, whose refill is told by the minute
// (azure-protocol.md 2.4; learn.microsoft.com/azure/virtual-machines/compute-throttling-limits).
func azureLimits() map[string]Limit {
	return map[string]Limit{"reads": {250, 25}, "writes": {200, 10}, "deletes": {200, 10},
		"PutVM": {12, 4.0 / 60}, "UpdateVM": {12, 4.0 / 60}, "DeleteVM": {12, 4.0 / 60}, "LowCostGet": {36, 12.0 / 60}, "HighCostGet": {900, 300.0 / 60}}
}

// throttle counts a call and refuses it, or says what is left.
func (w *Azure) throttle(q *request) (*reply, remaining) {
	s := w.cfg.Scenario
	if s == nil || !s.Throttle && len(s.Limits) == 0 {
		return nil, nil
	}
	left := remaining{}
	kind := "reads"
	switch q.method {
	case http.MethodPut, http.MethodPost, http.MethodPatch:
		kind = "writes"
	case http.MethodDelete:
		kind = "deletes"
	}
	if b, limit, ok := w.bucket(kind, q.who.ObjectID); ok {
		if b.tokens < 1 {
			wait := untilOne(b, limit)
			out := failed(refuse(429, "SubscriptionRequestsThrottled", "Number of requests for subscription '"+w.cfg.Subscription+"' and operation '"+q.method+strings.ToUpper(q.path)+
				"' exceeded the backend storage limit. Please try again after '"+strconv.Itoa(wait)+"' seconds."))
			return w.tooMany(out, wait), nil
		}
		b.tokens--
		left["x-ms-ratelimit-remaining-subscription-"+kind] = strconv.Itoa(int(b.tokens))
	}
	group, machine := computeGroup(q, w)
	if group == "" {
		return nil, left
	}
	if b, limit, ok := w.bucket(group, machine); ok {
		name := group + "Resource"
		if machine == "" {
			name = group + "SubscriptionMaximum"
		}
		if b.tokens < 1 {
			return w.tooMany(w.computeRefusal(group, b, limit), untilOne(b, limit)), nil
		}
		b.tokens--
		left["x-ms-ratelimit-remaining-resource"] = "Microsoft.Compute/" + name + ";" + strconv.Itoa(int(b.tokens))
	}
	return nil, left
}

// bucket is the filled-up bucket of a group of calls; false: that group is not limited.
func (w *Azure) bucket(kind, whose string) (*bucket, Limit, bool) {
	limit, ok := w.cfg.Scenario.Limits[kind]
	if !ok {
		if limit, ok = azureLimits()[kind]; !ok || !w.cfg.Scenario.Throttle {
			return nil, limit, false
		}
	}
	now, key := w.clock.Now(), kind+" "+whose
	b := w.throttles[key]
	if b == nil {
		b = &bucket{tokens: limit.Size, at: now}
		w.throttles[key] = b
	}
	b.tokens = min(limit.Size, b.tokens+now.Sub(b.at).Seconds()*limit.PerSecond)
	b.at = now
	return b, limit, true
}

// untilOne is how many seconds it takes until a call is allowed again.
func untilOne(b *bucket, l Limit) int {
	if l.PerSecond <= 0 {
		return 3600
	}
	return max(1, int(math.Ceil((1-b.tokens)/l.PerSecond)))
}

func (w *Azure) tooMany(out *reply, seconds int) *reply {
	out.header = map[string]string{}
	w.retryAfter(out.header, seconds)
	if w.cfg.Latency == NoLatency { // a bucket fills at its own pace, whatever else is over at once
		out.header["retry-after-ms"] = strconv.Itoa(seconds * 1000)
	}
	return out
}

// computeGroup is what Compute counts a call of a machine as: deallocate as a deletion, other actions as updates; "" for
// everything else.
func computeGroup(q *request, w *Azure) (group, machine string) {
	_, after, ok := strings.Cut(strings.ToLower(q.path), "/providers/microsoft.compute/virtualmachines")
	if !ok {
		return "", ""
	}
	parts := strings.Split(strings.Trim(after, "/"), "/")
	id := strings.TrimSuffix(strings.ToLower(q.path), after) + "/" + parts[0]
	switch {
	case parts[0] == "" && q.method == http.MethodGet:
		return "HighCostGet", ""
	case parts[0] == "":
		return "", ""
	case q.method == http.MethodGet:
		return "LowCostGet", id
	case q.method == http.MethodDelete || len(parts) > 1 && parts[1] == "deallocate":
		return "DeleteVM", id
	case q.method == http.MethodPut && w.resources[id] == nil:
		return "PutVM", id
	}
	return "UpdateVM", id
}

// computeRefusal is Compute's 429 (learn.microsoft.com/troubleshoot/azure/virtual-machines/troubleshooting-throttling-errors).
func (w *Azure) computeRefusal(group string, b *bucket, l Limit) *reply {
	now := w.clock.Now()
	detail, err := json.Marshal(map[string]any{"operationGroup": group, "startTime": stamp(now.Add(-time.Minute)), "endTime": stamp(now), "allowedRequestCount": int(l.Size), "measuredRequestCount": int(l.Size) + 1})
	if err != nil {
		detail = []byte(fmt.Sprintf("{%q:%q}", "operationGroup", group))
	}
	out := failed(refuse(429, "OperationNotAllowed", "The server rejected the request because too many requests have been received for this subscription."))
	mapping(out.body, "error")["details"] = []any{map[string]any{"code": "TooManyRequests", "target": group, "message": string(detail)}}
	return out
}
