// Package options shows of every option of a Packer azure-arm source that it acts: in what Azure is asked for, and that Azure takes it.
package options

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"ingot/internal/azure"
	"ingot/internal/diag"
	"ingot/internal/engine"
	"ingot/internal/engine/vm"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/sim"
	"ingot/internal/template"
)

// A rig is a simulated Azure in this process, with everything that is sent to it written down: an option of a template acts when it is found in
// what Azure was asked for, and Azure has taken it.
type rig struct {
	t     *testing.T
	sim   *sim.Azure
	cloud *azure.Client
	clock sim.Clock
	start time.Time
	runs  int

	mu   sync.Mutex
	sent []sent
}

type sent struct {
	what string // "PUT /subscriptions/…", lower case as sent
	body any
}

func (r *rig) RoundTrip(q *http.Request) (*http.Response, error) {
	s := sent{what: q.Method + " " + q.URL.Path}
	if q.Body != nil {
		raw, err := io.ReadAll(q.Body)
		if err != nil {
			return nil, err
		}
		q.Body = io.NopCloser(bytes.NewReader(raw))
		json.Unmarshal(raw, &s.body) //nolint:errcheck // what is no JSON is looked at by nobody
	}
	r.mu.Lock()
	r.sent = append(r.sent, s)
	r.mu.Unlock()
	return r.sim.Transport().RoundTrip(q)
}

// dial writes down which address a guest is looked for at.
func (r *rig) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	r.mu.Lock()
	r.sent = append(r.sent, sent{what: "DIAL " + addr})
	r.mu.Unlock()
	return r.sim.GuestDial(ctx, network, addr)
}

const simulated = "/subscriptions/" + sim.DefaultSubscription + "/resourceGroups/"

// newRig starts one. Simulated time is for scenes in which something takes long; the others need none, since everything is over at once.
func newRig(t *testing.T, s *sim.Scenario, timed bool) *rig {
	t.Helper()
	var clock sim.Clock = sim.WallClock{}
	latency := sim.NoLatency
	if timed {
		latency = sim.RealisticLatency
		clock = sim.NewVirtualClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	}
	az, err := sim.New(sim.Config{Clock: clock, Latency: latency, Scenario: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(az.Close)
	r := &rig{t: t, sim: az, clock: clock, start: clock.Now()}
	client := &http.Client{Transport: r}
	config := azure.CloudAt(sim.EmbeddedURL, sim.EmbeddedURL)
	cred, _, err := azure.Credential(azure.Identity{TenantID: sim.DefaultTenant, ClientID: sim.DefaultClientID, ClientSecret: sim.DefaultClientSecret}, config, client, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	r.cloud, err = azure.New(azure.Options{Credential: cred, Subscription: sim.DefaultSubscription, Cloud: config, Transport: client, Clock: clock, RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// load reads a template's text; files lie beside it.
func load(t *testing.T, text string, files map[string]string) (*template.Result, diag.List) {
	t.Helper()
	dir := t.TempDir()
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "t.pkr.hcl"), []byte(strings.ReplaceAll(text, "@DIR@", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return template.Load(dir, template.Options{Now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)})
}

// outcome is what came of a build.
type outcome struct {
	problems diag.List // of the template, the engine, or the world: then nothing was built
	err      error
	sent     []sent
	out      string // what the steps said
	took     time.Duration
}

// build does what ingot build does.
func (r *rig) build(text string, files map[string]string) (o outcome) {
	t := r.t
	t.Helper()
	loaded, problems := load(t, text, files)
	if problems.HasErrors() {
		return outcome{problems: problems}
	}
	img := loaded.Images[0]
	if l := (vm.Engine{}).Check(img); l.HasErrors() {
		return outcome{problems: l}
	}
	r.mu.Lock()
	from := len(r.sent)
	r.mu.Unlock()
	facts, problems, err := image.Resolve(t.Context(), img, engine.Catalog{Cloud: r.cloud}, image.ResolveOptions{})
	if err != nil || problems.HasErrors() {
		return outcome{problems: problems, err: err}
	}
	r.runs++
	run := fmt.Sprintf("run%05d", r.runs)
	p, err := vm.Engine{}.Plan(img, facts, engine.Options{Run: run, Made: r.start, Expires: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	folder, err := plan.Store{Dir: t.TempDir()}.Create(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close() //nolint:errcheck // a test's own folder
	secrets := &engine.Secrets{}
	for name, value := range loaded.Secrets {
		secrets.Put(name, value)
	}
	var said strings.Builder
	var mu sync.Mutex
	begun := r.clock.Now()
	runner := &plan.Runner{Actions: vm.Engine{}.Actions(engine.Env{Cloud: r.cloud, Dial: r.dial, Secrets: secrets, Clock: r.clock}), Journal: folder, Clock: r.clock, Redact: secrets.Redact,
		Sink: plan.SinkFunc(func(e plan.Event) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(&said, e.Step, e.Text, e.Err)
		})}
	err = runner.Run(t.Context(), p)
	r.mu.Lock()
	defer r.mu.Unlock()
	return outcome{problems: problems, err: err, sent: r.sent[from:], out: said.String(), took: r.clock.Now().Sub(begun)}
}

// asked is the value at a path in the last matching call's body: "properties.storageProfile.osDisk.diskSizeGB"; a number in it is an element
// of a list. found is false when no such call was made.
func (o outcome) asked(call, path string) (value any, found bool) {
	re := regexp.MustCompile("(?i)" + call)
	for _, s := range o.sent {
		if !re.MatchString(s.what) {
			continue
		}
		found = true
		v := s.body
		if path != "" {
			for _, key := range strings.Split(path, ".") {
				switch x := v.(type) {
				case map[string]any:
					v = x[strings.ReplaceAll(key, "~", ".")]
				case []any:
					var n int
					fmt.Sscan(key, &n) //nolint:errcheck // a typing error is seen in the result
					if n < len(x) {
						v = x[n]
					} else {
						v = nil
					}
				default:
					v = nil
				}
			}
		}
		value = v
	}
	return value, found
}

// nothing reports what a build has left besides the images that it was to make.
func (r *rig) left() (out []string) {
	for _, i := range r.sim.Inventory() {
		kept := strings.EqualFold(i.Type, "Microsoft.Compute/galleries/images/versions") || strings.EqualFold(i.Type, "Microsoft.Compute/images")
		if !i.Seeded && !kept {
			out = append(out, i.ID)
		}
	}
	return out
}

// public is the public name of the scene's community gallery.
func (r *rig) public() string {
	q, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, sim.EmbeddedURL+simulated+"rg-images/providers/Microsoft.Compute/galleries/gal?api-version=2024-03-03", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	config := azure.CloudAt(sim.EmbeddedURL, sim.EmbeddedURL)
	cred, _, err := azure.Credential(azure.Identity{TenantID: sim.DefaultTenant, ClientID: sim.DefaultClientID, ClientSecret: sim.DefaultClientSecret}, config, &http.Client{Transport: r.sim.Transport()}, func(string) string { return "" })
	if err != nil {
		r.t.Fatal(err)
	}
	token, err := cred.GetToken(r.t.Context(), policy.TokenRequestOptions{Scopes: []string{sim.EmbeddedURL + "/.default"}})
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+token.Token)
	resp, err := r.sim.Transport().RoundTrip(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	var g struct {
		Properties struct {
			SharingProfile struct {
				CommunityGalleryInfo struct{ PublicNames []string }
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&g); err != nil || len(g.Properties.SharingProfile.CommunityGalleryInfo.PublicNames) == 0 {
		r.t.Fatalf("%v %+v", err, g)
	}
	return g.Properties.SharingProfile.CommunityGalleryInfo.PublicNames[0]
}
