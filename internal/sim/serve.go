package sim

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"
)

// Transport answers calls in this process, without a socket.
func (w *Azure) Transport() http.RoundTripper { return inProcess{w.Handler()} }

type inProcess struct{ h http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	in := r.Clone(r.Context())
	in.Host = r.URL.Host
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:1"
	in.Header = spelled(in.Header)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out := &recorder{header: http.Header{}, status: 200}
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			resp, err = nil, io.ErrUnexpectedEOF
		}
	}()
	t.h.ServeHTTP(out, in)
	return &http.Response{StatusCode: out.status, Status: fmt.Sprintf("%d %s", out.status, http.StatusText(out.status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: spelled(out.header), Body: io.NopCloser(bytes.NewReader(out.body.Bytes())), ContentLength: int64(out.body.Len()), Request: r}, nil
}

// spelled is headers as they arrive by a socket: some clients of Storage write their names small.
func spelled(h http.Header) http.Header {
	out := http.Header{}
	for k, list := range h {
		for _, v := range list {
			out.Add(k, v)
		}
	}
	return out
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// Server is a simulated Azure on a loopback socket.
type Server struct {
	URL  string // https://127.0.0.1:port
	CA   []byte // PEM of the authority that signed its certificate
	http *http.Server
}

// Serve answers on addr (host:port, port 0 for any) over HTTPS with a certificate of an authority made for it.
func (w *Azure) Serve(addr string) (*Server, error) {
	if err := onLoopback(addr); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the simulated Azure: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	cert, ca, n, err := w.served(port)
	if err == nil {
		err = w.await(n)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &Server{URL: "https://localhost:" + port, CA: ca}
	s.http = &http.Server{Handler: w.Handler(), ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
	go s.http.ServeTLS(l, "", "") //nolint:errcheck // ends with Close
	return s, nil
}

// onLoopback refuses what others could reach: the simulation's secrets are no secrets, and its page has no sign-in.
func onLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("cannot serve the simulated Azure: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("cannot serve the simulated Azure on %s: it answers on loopback addresses only", addr)
	}
	return nil
}

// Close stops answering.
func (s *Server) Close() error { return s.http.Close() }

// port is what links to vaults need behind their host when the simulation is on a socket.
func (w *Azure) port() string {
	if w.servedPort == "" {
		return ""
	}
	return ":" + w.servedPort
}

// Item is one thing the simulated Azure holds, from its own books.
type Item struct {
	ID, Type, Location, State string
	Tags                      map[string]any
	Seeded                    bool // it was there from the start
	Regions                   []ItemRegion
	Holds                     string `json:",omitempty"` // of an image of the scripted model: how many files it has beside Windows' own, and their digest
}

// ItemRegion is a gallery version's replica.
type ItemRegion struct{ Region, State string }

// Inventory lists everything there is: resources, soft-deleted vaults, secrets in vaults, and machines that still run
// although their VM is gone.
func (w *Azure) Inventory() []Item {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	return w.inventory()
}

func (w *Azure) inventory() []Item {
	var out []Item
	for _, r := range w.resources {
		if r.typ == subnetType || r.typ == registrationType || r.typ == termsType {
			continue
		}
		i := Item{ID: r.id, Type: r.typ, Location: r.location, State: r.state, Tags: r.tags, Seeded: r.seeded}
		if r.typ == versionType || r.typ == imageType {
			if d := w.scriptedDisk(r); d != nil {
				i.Holds = holds(d)
			}
		}
		if r.typ == versionType {
			for _, s := range items(w.replication(r), "summary") {
				i.Regions = append(i.Regions, ItemRegion{text(s, "region"), text(s, "state")})
			}
		}
		out = append(out, i)
	}
	for _, s := range w.vaults {
		if s.softDeleted {
			out = append(out, Item{ID: text(w.deletedVault(s), "id"), Type: "Microsoft.KeyVault/deletedVaults", State: "Deleted", Location: s.location})
			continue // its secrets come and go with it
		}
		for _, list := range []map[string]*secret{s.secrets, s.deleted} {
			for _, x := range list {
				out = append(out, Item{ID: s.id + "/secrets/" + x.name, Type: "Microsoft.KeyVault/vaults/secrets", State: "Enabled"})
			}
		}
	}
	out = append(out, w.storedBlobs()...)
	for addr := range w.guests {
		if w.guestOwner(addr) == "" {
			out = append(out, Item{ID: "guest at " + addr, Type: "guest", State: "running"})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// GuestDial connects to a machine by the address it has in the simulated network, public or private.
func (w *Azure) GuestDial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.settle()
	at, ok := w.guests[addr]
	w.mu.Unlock()
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("no machine answers at " + addr)}
	}
	return (&net.Dialer{}).DialContext(ctx, network, at)
}

// RemoteGuests is GuestDial for a simulated Azure in another process, which is asked where a machine listens.
func RemoteGuests(client *http.Client, base string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/sim/guests?addr="+url.QueryEscape(addr), nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close() //nolint:errcheck // only read
		var at struct{ Addr string }
		if err := json.NewDecoder(resp.Body).Decode(&at); err != nil || at.Addr == "" {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("no machine answers at " + addr)}
		}
		return (&net.Dialer{}).DialContext(ctx, network, at.Addr)
	}
}

// control is the simulation's own page of things: not Azure's.
func (w *Azure) control(method, path string, q url.Values, raw []byte) *reply {
	switch {
	case path == "/sim/guests":
		return &reply{status: 200, body: map[string]any{"addr": w.guests[q.Get("addr")]}}
	case path == "/sim/address":
		a, ok := w.Outside(q.Get("url"))
		return &reply{status: 200, body: outside{ok, a}}
	case path == "/sim/serial":
		log, ok := w.serialLog(q.Get("vm"))
		if !ok {
			return failed(refuse(404, "NotFound", "That machine has no serial console: it is not a real one, or has never been started."))
		}
		return &reply{status: 200, page: func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
			io.WriteString(rw, log) //nolint:errcheck // the reader may have gone
		}}
	case path == "/sim/disk":
		return w.showDisk(q.Get("id"))
	case path == "/sim/inventory":
		return &reply{status: 200, body: w.inventory()}
	case path == "/sim/counts": // of all there ever were, unlike /sim/calls
		return &reply{status: 200, body: map[string]any{"calls": w.calls.sum, "winrm": w.winrm.Load()}}
	case path == "/sim/calls":
		return &reply{status: 200, body: w.calls.all()}
	case path == "/sim/faults" && method == http.MethodDelete:
		w.faults = nil
		w.touch("faults", "all")
		return &reply{status: 204}
	case path == "/sim/faults" && method == http.MethodPost:
		var f Fault
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields() // a misspelt fault would never happen
		if err := d.Decode(&f); err != nil {
			return failed(refuse(400, "BadFault", err.Error()))
		}
		if err := w.addFault(f); err != nil {
			return failed(refuse(400, "BadFault", err.Error()))
		}
		return &reply{status: 201}
	}
	return failed(refuse(404, "NotFound", strings.TrimSpace("no such page: "+path)))
}
