package azure

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLongOperationIsNotAskedAboutWithoutEnd: an answer that asks for a millisecond, as a simulated Azure without latencies gives, does not make
// a poll a millisecond of an operation that lasts an hour; one that lasts a moment is still seen to end in a moment.
func TestLongOperationIsNotAskedAboutWithoutEnd(t *testing.T) {
	for lasts, most := range map[time.Duration]struct {
		polls int
		late  time.Duration
	}{
		20 * time.Millisecond: {12, 10 * time.Millisecond},
		time.Hour:             {15000, 250 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			begun, polls := time.Now(), 0
			server := transport(func(q *http.Request) (*http.Response, error) {
				out := &http.Response{StatusCode: 202, Header: http.Header{"Content-Type": {"application/json"}, "Retry-After-Ms": {"1"}, "Location": {armHost + "/subscriptions/" + testSub + "/operationresults/1"}}, Request: q, Body: io.NopCloser(strings.NewReader("{}"))}
				if q.Method == http.MethodGet {
					polls++
					if time.Since(begun) >= lasts {
						out.StatusCode = 200
					}
				}
				return out, nil
			})
			c, err := New(Options{Credential: tokenOf(`{}`), Subscription: testSub, Cloud: CloudAt("https://login.example.test", armHost), Transport: server, Clock: bubbleClock{}})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.DeleteGroup(t.Context(), "rg", Op{}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); polls > most.polls || took > lasts+most.late {
				t.Errorf("an operation of %s: %d polls, at most %d; seen to end after %s", lasts, polls, most.polls, took)
			}
		})
	}
}
