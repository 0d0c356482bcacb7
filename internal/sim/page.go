package sim

import (
	"crypto/rand"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

//go:embed pages/*.html
var pages embed.FS

// isPage tells the page for browsers from Resource Manager, whose root nobody asks for.
func isPage(method, path string) bool {
	return path == "/" && method == http.MethodGet || strings.HasPrefix(path, "/page/")
}

// fromHere keeps others' web sites out: a name that was rebound to loopback does not pass the Host check, and a form of
// another origin may not post. Programs send no Origin.
func fromHere(r *http.Request) bool {
	host := hostOf(r)
	name := strings.ToLower(strings.TrimSuffix(hostName(host), "."))
	if name != "localhost" && name != "127.0.0.1" && name != "::1" && !strings.HasSuffix(name, ".localhost") {
		return false
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	if o := r.Header.Get("Origin"); o != "" {
		return o == baseOf(r)
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if ref := r.Header.Get("Referer"); ref != "" && !strings.HasPrefix(ref, baseOf(r)+"/") {
		return false
	}
	return site == "" || site == "same-origin"
}

func hostName(host string) string {
	u, err := url.Parse("//" + host)
	if err != nil {
		return host
	}
	return u.Hostname()
}

// view is what a page shows, taken from the books under their lock.
type view struct {
	Name, Title, Now, Clock, Filter, Message, CSP string
	Refresh                                       bool
	Tabs                                          []tab
	Groups                                        []groupRow
	Operations                                    []operationRow
	Faults                                        []faultRow
	Calls                                         []callRow
	Accounts                                      []accountRow
	Guests                                        []guestRow
	ID, JSON                                      string
	Resources, Running, Total                     int
}

type (
	tab      struct{ Name, Title, Count string }
	groupRow struct {
		Name, Location, State, Age, ID string
		Rows                           []resourceRow
	}
	resourceRow struct {
		ID, Name, Type, Location, State, Age string
		Tags                                 []string
		Seeded                               bool
		Depth                                int
	}
	operationRow struct{ What, On, Status, Started, Took, Left, Error string }
	faultRow     struct {
		ID, Seen int
		Used     bool
		Fault
	}
	callRow struct {
		Time, Method, Path, Took, Principal, Code, Request, Answer string
		Status                                                     int
	}
	accountRow struct {
		Name, ClientID, ObjectID, Secret string
		Roles                            []string
	}
	guestRow struct{ At, Listens, VM string }
)

// browse is the page for browsers: GET / shows, POST /page/… changes faults and goes back.
func (w *Azure) browse(r *http.Request, path string, raw []byte) *reply {
	if r.Method == http.MethodPost {
		form, err := url.ParseQuery(string(raw))
		if err != nil {
			return failed(refuse(400, "BadForm", err.Error()))
		}
		if err := w.changeFaults(path, form); err != nil {
			return w.pageOf(r, "faults", err.Error(), 400)
		}
		return &reply{status: 303, page: func(rw http.ResponseWriter) { http.Redirect(rw, r, "/?view=faults", http.StatusSeeOther) }}
	}
	if path == "/page/resource" {
		return w.pageOf(r, "resource", "", 200)
	}
	if path != "/" || r.Method != http.MethodGet {
		return failed(refuse(404, "NotFound", "no such page: "+path))
	}
	return w.pageOf(r, r.URL.Query().Get("view"), "", 200)
}

func (w *Azure) changeFaults(path string, form url.Values) error {
	switch path {
	case "/page/faults/add":
		f := Fault{Method: strings.ToUpper(form.Get("method")), Path: form.Get("path"), Do: form.Get("do"), Code: form.Get("code"), Message: form.Get("message")}
		for text, to := range map[string]*int{"nth": &f.Nth, "status": &f.Status} {
			n, err := strconv.Atoi("0" + form.Get(text))
			if err != nil {
				return fmt.Errorf("cannot add fault: %s is a number", text)
			}
			*to = n
		}
		return w.addFault(f)
	case "/page/faults/remove":
		for i, f := range w.faults {
			if strconv.Itoa(f.id) == form.Get("id") {
				w.faults = append(w.faults[:i:i], w.faults[i+1:]...)
				w.touch("faults", "all")
				return nil
			}
		}
		return nil // gone already
	}
	return fmt.Errorf("no such page: %s", path)
}

// pageOf collects a view now and renders it after the lock is given back.
func (w *Azure) pageOf(r *http.Request, name, message string, status int) *reply {
	q := r.URL.Query()
	v := &view{Name: name, Filter: q.Get("filter"), Message: message, Refresh: q.Get("refresh") != "", Now: w.clock.Now().UTC().Format("2006-01-02 15:04:05"), Clock: "real time",
		Resources: len(w.resources), Running: len(w.due), Total: w.calls.sum, CSP: rand.Text()}
	if c, ok := w.clock.(ScaledClock); ok && c.Factor != 1 {
		v.Clock = strconv.FormatFloat(c.Factor, 'f', -1, 64) + " times as fast as real time"
	}
	switch name {
	case "operations":
		w.viewOperations(v)
	case "faults":
		for _, f := range w.faults {
			v.Faults = append(v.Faults, faultRow{f.id, f.seen, f.used, f.Fault})
		}
	case "calls":
		w.viewCalls(v)
	case "accounts":
		w.viewAccounts(v)
	case "guests":
		for at, listens := range w.guests {
			v.Guests = append(v.Guests, guestRow{at, listens, lastPart(w.guestOwner(at))})
		}
		sort.Slice(v.Guests, func(i, j int) bool { return v.Guests[i].At < v.Guests[j].At })
	case "resource":
		v.ID = q.Get("id")
		x := w.find(v.ID)
		if x == nil {
			return failed(refuse(404, "NotFound", "no such resource: "+v.ID))
		}
		var body any = showGroup(x)
		if k := w.kinds[strings.ToLower(x.typ)]; k != nil {
			body = w.show(k, x, "")
		}
		raw, err := json.MarshalIndent(redacted(deepCopy(body), false), "", "  ")
		if err != nil {
			return failed(refuse(500, "InternalServerError", err.Error()))
		}
		v.JSON = string(raw)
	default:
		v.Name = "resources"
		w.viewResources(v)
	}
	v.Tabs = []tab{{"resources", "Resources", strconv.Itoa(v.Resources)}, {"operations", "Operations", strconv.Itoa(v.Running) + " running"}, {"faults", "Faults", strconv.Itoa(len(w.faults))},
		{"calls", "Requests", strconv.Itoa(v.Total)}, {"guests", "Guests", strconv.Itoa(len(w.guests))}, {"accounts", "Accounts", strconv.Itoa(len(w.principals))}}
	v.Title = "Resource"
	for _, t := range v.Tabs {
		if t.Name == v.Name {
			v.Title = t.Title
		}
	}
	return &reply{status: status, page: func(rw http.ResponseWriter) { v.write(rw, status) }}
}

func (v *view) write(rw http.ResponseWriter, status int) {
	t, err := template.New("page.html").ParseFS(pages, "pages/*.html")
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	h := rw.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+v.CSP+"'; script-src 'nonce-"+v.CSP+"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	rw.WriteHeader(status)
	rw.Write([]byte(b.String())) //nolint:errcheck // the reader may have gone
}

func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}
