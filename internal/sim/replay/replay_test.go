package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"ingot/internal/sim"
)

var update = flag.Bool("update", false, "rewrite testdata from the recordings")

// recordings are the files of recorded exchanges: of the folder that INGOT_RECORDINGS names, or of shared/recordings beside the
// repository.
func recordings(t *testing.T) []string {
	t.Helper()
	dir := os.Getenv("INGOT_RECORDINGS")
	if dir == "" {
		dir = "../../../../shared/recordings"
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("there are no recordings of real Azure here (INGOT_RECORDINGS names their folder): only the facts derived from them are checked")
	}
	return files
}

// TestRecordings replays every conversation and holds each operation's score against what it was: testdata/floors.json.
func TestRecordings(t *testing.T) {
	files := recordings(t)
	n, all, err := ReplayFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	r := Tally(n, all)
	t.Logf("%d conversations, %d exchanges compared, score %.1f %%", n, r.Fates[Compared], 100*r.Total.Score)
	floors := map[string]float64{}
	if *update {
		read(t, "floors.json", &floors)
		for op, s := range r.Operations {
			floors[op] = max(floors[op], math.Floor(s.Score*100)/100) // a floor is only ever raised
		}
		write(t, "floors.json", floors)
		write(t, "facts.json", factsOf(t, files))
	}
	read(t, "floors.json", &floors)
	for op, floor := range floors {
		s, ok := r.Operations[op]
		if !ok {
			t.Errorf("%s is not compared any more", op)
		} else if s.Score < floor-0.005 {
			t.Errorf("%s: score %.3f, it was %.2f (go run ./internal/sim/replay -v 5 -op %q FILE…)", op, s.Score, floor, op)
		}
	}
	for op := range r.Operations {
		if _, ok := floors[op]; !ok {
			t.Errorf("%s has no floor yet: go test ./internal/sim/replay -update", op)
		}
	}
}

// fact is what recorded answers of one operation with one status have in common.
type fact struct {
	Answers int      `json:"answers"`
	Headers []string `json:"headers"`        // the combinations of watched headers that were seen
	Keys    []string `json:"keys,omitempty"` // key paths that every answer has
}

// factsOf derives the facts: by operation, then by status.
func factsOf(t *testing.T, files []string) map[string]map[string]*fact {
	t.Helper()
	out := map[string]map[string]*fact{}
	for _, file := range files {
		cs, err := Read(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cs {
			for _, e := range c.Exchanges {
				at, err := resolve(e.Method, e.URL)
				if err != nil || at.elsewhere || at.poll {
					continue
				}
				byStatus := out[at.op]
				if byStatus == nil {
					byStatus = map[string]*fact{}
					out[at.op] = byStatus
				}
				s := shapeOf(e.Body)
				if !s.whole && e.Body != "" {
					continue // cut off: nothing can be said about what it lacks
				}
				status := strconv.Itoa(e.Status)
				f := byStatus[status]
				var keys []string
				for k := range s.keys {
					keys = append(keys, k)
				}
				if f == nil {
					f = &fact{Keys: keys}
					byStatus[status] = f
				}
				f.Answers++
				if h := strings.Join(kindsOf(func(n string) string { return e.Headers[n] }), ","); !slices.Contains(f.Headers, h) {
					f.Headers = append(f.Headers, h)
				}
				f.Keys = slices.DeleteFunc(f.Keys, func(k string) bool { return !slices.Contains(keys, k) })
				sort.Strings(f.Headers)
				sort.Strings(f.Keys)
			}
		}
	}
	for op, byStatus := range out {
		for status, f := range byStatus {
			if f.Answers < 3 { // too few to say what every answer has
				delete(byStatus, status)
			}
		}
		if len(byStatus) == 0 {
			delete(out, op)
		}
	}
	return out
}

// TestFacts lives through the simulated Azure and holds each answer against what real Azure's have in common, without the recordings.
func TestFacts(t *testing.T) {
	var facts map[string]map[string]*fact
	read(t, "facts.json", &facts)
	l := newLife(t)
	checked := map[string]bool{}
	l.seen = func(method, path string, status int, h http.Header, body string) {
		at, err := resolve(method, "https://management.azure.com"+path)
		if err != nil || at.poll {
			return
		}
		f := facts[at.op][strconv.Itoa(status)]
		if f == nil {
			return
		}
		checked[at.op] = true
		if kinds := strings.Join(kindsOf(h.Get), ","); !slices.Contains(f.Headers, kinds) {
			t.Errorf("%s %d: headers %q, recorded %q", at.op, status, kinds, f.Headers)
		}
		s := shapeOf(body)
		var missing []string
		for _, k := range f.Keys {
			// Of an empty list nothing below its elements can be there.
			if _, ok := s.keys[k]; !ok && !strings.Contains(k, "[]") && !tolerated(at.op, k) {
				missing = append(missing, k)
			}
		}
		if len(missing) > 0 {
			t.Errorf("%s %d lacks what all %d recorded answers have: %v", at.op, status, f.Answers, missing)
		}
	}
	l.live()
	t.Logf("%d operations held against facts", len(checked))
	if len(checked) < 20 {
		t.Errorf("only %d operations were held against facts: %v", len(checked), checked)
	}
}

// tolerated are keys that recorded answers have for what their callers sent, not for what Azure always answers.
func tolerated(op, key string) bool {
	switch {
	case key == "tags":
		return true
	case strings.HasPrefix(op, "put microsoft.compute/virtualmachines"), strings.HasPrefix(op, "get microsoft.compute/virtualmachines"):
		return strings.Contains(key, "linuxConfiguration") || strings.Contains(key, "windowsConfiguration") || strings.Contains(key, "networkInterfaces") || strings.Contains(key, "computerName")
	}
	return false
}

// life is one use of a simulated Azure, call after call.
type life struct {
	t     *testing.T
	http  *http.Client
	token string
	seen  func(method, path string, status int, h http.Header, body string)
}

const lifeGroup = "/subscriptions/" + sim.DefaultSubscription + "/resourceGroups/life"

func newLife(t *testing.T) *life {
	t.Helper()
	w, err := sim.New(sim.Config{Latency: sim.NoLatency, NoGuests: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	l := &life{t: t, http: &http.Client{Transport: w.Transport()}}
	resp, err := l.http.PostForm(sim.EmbeddedURL+"/"+sim.DefaultTenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"},
		"client_id": {sim.DefaultClientID}, "client_secret": {sim.DefaultClientSecret}, "scope": {sim.EmbeddedURL + "/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	l.token = out.AccessToken
	return l
}

// call makes one call and shows its answer to seen; a refusal is the test's end.
func (l *life) call(method, path, body string) {
	l.t.Helper()
	mark := "?"
	if strings.Contains(path, "?") {
		mark = "&"
	}
	req, err := http.NewRequestWithContext(l.t.Context(), method, sim.EmbeddedURL+path+mark+"api-version=2024-07-01", bytes.NewReader([]byte(body)))
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	resp, err := l.http.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		l.t.Fatalf("%s %s: %d %s %v", method, path, resp.StatusCode, raw, err)
	}
	l.seen(method, path, resp.StatusCode, resp.Header, string(raw))
}

// live makes, reads, lists and removes one of each.
func (l *life) live() {
	l.call("PUT", lifeGroup, `{"location":"westeurope","tags":{"a":"b"}}`)
	l.call("GET", lifeGroup, "")
	providers := lifeGroup + "/providers/"
	nic := providers + "Microsoft.Network/networkInterfaces/nic"
	vm := providers + "Microsoft.Compute/virtualMachines/vm"
	definition := providers + "Microsoft.Compute/galleries/gal/images/def"
	for _, x := range [][2]string{
		{"Microsoft.Network/virtualNetworks/net", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`},
		{"Microsoft.Network/networkSecurityGroups/nsg", `{"location":"westeurope","properties":{"securityRules":[]}}`},
		{"Microsoft.Network/publicIPAddresses/ip", `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`},
		{"Microsoft.Network/networkInterfaces/nic", `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"` + providers + `Microsoft.Network/virtualNetworks/net/subnets/s"}}}]}}`},
		{"Microsoft.Compute/disks/disk", `{"location":"westeurope","sku":{"name":"Premium_LRS"},"properties":{"diskSizeGB":4,"creationData":{"createOption":"Empty"}}}`},
		{"Microsoft.Compute/snapshots/snap", `{"location":"westeurope","properties":{"creationData":{"createOption":"Copy","sourceResourceId":"` + providers + `Microsoft.Compute/disks/disk"}}}`},
		{"Microsoft.Compute/galleries/gal", `{"location":"westeurope","properties":{}}`},
		{"Microsoft.Compute/galleries/gal/images/def", `{"location":"westeurope","properties":{"osType":"Linux","osState":"Generalized","hyperVGeneration":"V1","identifier":{"publisher":"p","offer":"o","sku":"s"}}}`},
		{"Microsoft.Compute/virtualMachines/vm", `{"location":"westeurope","properties":{"hardwareProfile":{"vmSize":"Standard_B2s"},"storageProfile":{"imageReference":{"publisher":"Debian","offer":"debian-12","sku":"12","version":"latest"}},
			"osProfile":{"computerName":"vm","adminUsername":"azureuser","linuxConfiguration":{"disablePasswordAuthentication":true,"ssh":{"publicKeys":[{"path":"/home/azureuser/.ssh/authorized_keys","keyData":"ssh-ed25519 AAAA"}]}}},
			"networkProfile":{"networkInterfaces":[{"id":"` + nic + `"}]}}}`},
	} {
		l.call("PUT", providers+x[0], x[1])
		l.call("GET", providers+x[0], "")
		l.call("GET", providers+x[0][:strings.LastIndex(x[0], "/")], "")
	}
	l.call("GET", vm+"/instanceView", "")
	for _, action := range []string{"restart", "powerOff", "start", "deallocate", "generalize"} {
		l.call("POST", vm+"/"+action, "")
		l.call("GET", vm, "") // lets the operation end
	}
	l.call("PUT", providers+"Microsoft.Compute/images/img", `{"location":"westeurope","properties":{"hyperVGeneration":"V1","sourceVirtualMachine":{"id":"`+vm+`"}}}`)
	l.call("GET", providers+"Microsoft.Compute/images/img", "")
	l.call("PUT", definition+"/versions/1.0.0", `{"location":"westeurope","properties":{"publishingProfile":{"targetRegions":[{"name":"westeurope","regionalReplicaCount":1}]},"storageProfile":{"source":{"id":"`+vm+`"}}}}`)
	l.call("GET", definition+"/versions/1.0.0", "")
	l.call("GET", definition+"/versions", "")
	for _, path := range []string{definition + "/versions/1.0.0", definition, providers + "Microsoft.Compute/galleries/gal", providers + "Microsoft.Compute/images/img", vm, nic,
		providers + "Microsoft.Network/publicIPAddresses/ip", providers + "Microsoft.Network/networkSecurityGroups/nsg", providers + "Microsoft.Network/virtualNetworks/net", providers + "Microsoft.Compute/snapshots/snap", providers + "Microsoft.Compute/disks/disk"} {
		l.call("DELETE", path, "")
		l.call("GET", lifeGroup, "")
	}
	l.call("DELETE", lifeGroup, "")
}

func write(t *testing.T, name string, v any) {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join("testdata", name), append(raw, '\n'), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string, v any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}
