package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"ingot/internal/sim"
)

// outside is what a rehearsal's scenario says of an address on the internet.
type outside func(ctx context.Context, address string) (a sim.Address, known bool, err error)

// addresses makes a rehearsal keep to itself: what the scenario says of an address is what is there; this computer's own addresses are really
// fetched from; of everything else a stand-in is used, and said to be one. So a rehearsal needs no network, and ends the same with and without.
func (s *session) addresses(known outside) {
	s.http = &http.Client{Transport: rehearsed{known}}
	s.standIn = func(ctx context.Context, address string) (string, string, error) {
		u, err := url.Parse(address)
		if err != nil || onThisComputer(u) {
			return "", "", nil // Fetch says what is wrong
		}
		_, ok, err := known(ctx, address)
		if err != nil || ok {
			return "", "", err
		}
		return sim.StandIn, "a rehearsal reaches nothing outside the simulated Azure; a stand-in is used (a scenario's addresses can say what is there)", nil
	}
}

func onThisComputer(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback() || u.Hostname() == "localhost" || strings.HasSuffix(u.Hostname(), ".localhost")
}

// rehearsed answers for the addresses of a scenario, and fetches from this computer's own.
type rehearsed struct{ known outside }

func (t rehearsed) RoundTrip(r *http.Request) (*http.Response, error) {
	if a, ok, err := t.known(r.Context(), r.URL.String()); err != nil {
		return nil, err
	} else if ok {
		raw, err := a.Bytes()
		if err != nil {
			return nil, err
		}
		status := a.Status
		if status == 0 {
			status = http.StatusOK
		}
		return &http.Response{StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(raw)), ContentLength: int64(len(raw)), Request: r}, nil
	}
	if onThisComputer(r.URL) {
		return http.DefaultTransport.RoundTrip(r)
	}
	return nil, fmt.Errorf("a rehearsal reaches nothing outside the simulated Azure")
}
