package sim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// crash ends a simulated Azure as kill -9 would: nothing more is written. Its machines are stopped for the test's sake.
func (w *Azure) crash() {
	w.mu.Lock()
	if w.store != nil {
		w.stopped.Do(func() { close(w.stop) })
		w.store.close()
		w.store = nil
	}
	w.mu.Unlock()
	w.Close()
}

// again starts a world from what is kept in dir, with the same clock and the same token.
func (w *world) again(dir string, c Config) {
	w.t.Helper()
	c.Clock, c.State = w.clock, dir
	a, err := New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(a.Close)
	w.Azure = a
}

func keptWorld(t *testing.T) (*world, string) {
	dir := t.TempDir()
	w := &world{t: t, clock: newHandClock()}
	w.again(dir, Config{})
	w.token = w.signIn(DefaultClientID, DefaultClientSecret, "https://management.sim.localhost/.default")
	return w, dir
}

// TestStateSurvivesCrashes makes random calls, kills the simulation at random, tears the journal's end, and compares every
// document that was answered.
func TestStateSurvivesCrashes(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w, dir := keptWorld(t)
			r := rand.New(rand.NewPCG(seed, 7))
			w.group()
			paths := []string{groupRG}
			for i := range 8 {
				paths = append(paths, fmt.Sprintf("%s/providers/Microsoft.Network/publicIPAddresses/ip%d", groupRG, i),
					fmt.Sprintf("%s/providers/Microsoft.Network/networkSecurityGroups/nsg%d", groupRG, i),
					fmt.Sprintf("%s/providers/Microsoft.Network/virtualNetworks/net%d", groupRG, i),
					fmt.Sprintf("%s/providers/Microsoft.KeyVault/vaults/vault-%d-%d", groupRG, seed, i),
					fmt.Sprintf("%s/providers/Microsoft.Compute/galleries/gal%d", groupRG, i))
			}
			bodies := map[string]string{
				"publicIPAddresses":     `{"location":"westeurope","tags":{"n":"%d"},"sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`,
				"networkSecurityGroups": `{"location":"westeurope","tags":{"n":"%d"},"properties":{}}`,
				"virtualNetworks":       `{"location":"westeurope","tags":{"n":"%d"},"properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`,
				"vaults":                `{"location":"westeurope","tags":{"n":"%d"},"properties":{"tenantId":"t","sku":{"family":"A","name":"standard"},"accessPolicies":[]}}`,
				"galleries":             `{"location":"westeurope","tags":{"n":"%d"},"properties":{}}`,
			}
			polls := []string{}
			crashes := 0
			for step := range 400 {
				p := paths[1+r.IntN(len(paths)-1)]
				switch n := r.IntN(20); {
				case n < 9:
					g := w.arm("PUT", p, fmt.Sprintf(bodies[strings.Split(p, "/")[7]], step))
					if a := g.header.Get("Azure-AsyncOperation"); a != "" {
						polls = append(polls, a)
					}
				case n < 12:
					w.arm("DELETE", p, "")
				case n < 18:
					w.clock.move(time.Duration(r.IntN(20)) * time.Second)
				default:
					crashes++
					before := map[string]string{}
					for _, q := range paths {
						before[q] = fmt.Sprint(w.arm("GET", q, "").text)
					}
					for _, q := range polls {
						before[q] = w.raw("GET", q, w.token, nil, "").text
					}
					deleted := "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.KeyVault/deletedVaults"
					before[deleted] = w.arm("GET", deleted, "").text
					w.mu.Lock()
					for _, key := range w.unkept() {
						if key != "clock/now" {
							t.Errorf("step %d: nobody touched %s", step, key)
						}
					}
					w.mu.Unlock()
					w.crash()
					tear(t, dir, r)
					w.again(dir, Config{})
					for q, want := range before {
						var got string
						if strings.HasPrefix(q, "https:") {
							got = w.raw("GET", q, w.token, nil, "").text
						} else {
							got = w.arm("GET", q, "").text
						}
						// Deleted vaults are listed in no order of their own.
						if got != want && (q != deleted || len(got) != len(want)) {
							t.Fatalf("step %d: GET %s\nbefore: %s\nafter:  %s", step, q, want, got)
						}
					}
				}
			}
			if crashes < 10 {
				t.Fatalf("only %d crashes", crashes)
			}
		})
	}
}

// tear writes what a crash may leave behind the last record: the beginning of one that was never answered.
func tear(t *testing.T, dir string, r *rand.Rand) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "journal-*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("journals %v, %v", names, err)
	}
	line, err := seal(record{Gone: []string{"resource/" + strings.ToLower(groupRG)}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(names[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a test's file
	if _, err := f.Write(line[:r.IntN(len(line))]); err != nil {
		t.Fatal(err)
	}
}

// TestTornRecordNeverHappened cuts the journal anywhere in the last call's record: that call, whole, is gone, and nothing else.
func TestTornRecordNeverHappened(t *testing.T) {
	w, dir := keptWorld(t)
	w.group()
	names, _ := filepath.Glob(filepath.Join(dir, "journal-*"))
	before, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	w.must("PUT", "Microsoft.Network/networkSecurityGroups/g", `{"location":"westeurope","properties":{}}`)
	after, err := os.ReadFile(names[0])
	if err != nil || len(after) <= len(before) {
		t.Fatalf("an answered PUT left the journal at %d bytes, %v", len(after), err)
	}
	w.crash()
	snapshot, err := os.ReadFile(filepath.Join(dir, "snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{len(before), len(before) + 1, len(before) + (len(after)-len(before))/2, len(after) - 1, len(after)} {
		fresh := t.TempDir()
		for name, data := range map[string][]byte{"snapshot": snapshot, filepath.Base(names[0]): after[:cut]} {
			if err := os.WriteFile(filepath.Join(fresh, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.again(fresh, Config{})
		if g := w.arm("GET", groupRG, ""); g.status != 200 {
			t.Errorf("cut at %d: the group is gone: %d", cut, g.status)
		}
		if g := w.arm("GET", "Microsoft.Network/networkSecurityGroups/g", ""); (g.status == 200) != (cut == len(after)) {
			t.Errorf("cut at %d of %d: GET answers %d", cut, len(after), g.status)
		}
		w.crash()
	}
}

func TestStateFolderIsRefused(t *testing.T) {
	w, dir := keptWorld(t)
	if _, err := New(Config{State: dir}); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("a folder in use: %v", err)
	}
	w.group()
	for i := range 5 {
		w.must("PUT", fmt.Sprintf("Microsoft.Network/networkSecurityGroups/g%d", i), `{"location":"westeurope","properties":{}}`)
	}
	w.crash()
	names, _ := filepath.Glob(filepath.Join(dir, "journal-*"))
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(names[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the journal has mode %v, %v", info.Mode(), err)
	}
	broken := bytes.Clone(whole)
	broken[len(broken)/2] ^= 1
	for what, c := range map[string]struct {
		file, say string
		data      []byte
	}{
		"damage in the middle": {names[0], "journal is damaged", broken},
		"damaged snapshot":     {filepath.Join(dir, "snapshot"), "snapshot is damaged", []byte("no snapshot\n")},
		"newer version":        {filepath.Join(dir, "snapshot"), "newer version", must(seal(header{State: stateVersion + 1}))},
	} {
		good, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.file, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{State: dir}); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.WriteFile(c.file, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.again(dir, Config{})
	if g := w.arm("GET", "Microsoft.Network/networkSecurityGroups/g4", ""); g.status != 200 {
		t.Errorf("after mending: %d", g.status)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// TestMachinesBootAgain: a machine, its disk, its image and a vault with secrets come back; what ran runs.
func TestMachinesBootAgain(t *testing.T) {
	w, dir := keptWorld(t)
	w.group()
	w.machine()
	w.crash()
	w.again(dir, Config{}) // while it is being created
	w.clock.move(time.Hour)
	if g := w.must("GET", "Microsoft.Compute/virtualMachines/vm", ""); text(g.json, "properties", "provisioningState") != "Succeeded" {
		t.Fatalf("its creation did not go on: %s", g.text)
	}
	m := machineOf(w.find(groupRG + "/providers/Microsoft.Compute/virtualMachines/vm"))
	if m.guest == nil {
		t.Fatal("it does not run")
	}
	w.crash()
	w.again(dir, Config{})
	v := w.find(groupRG + "/providers/Microsoft.Compute/virtualMachines/vm")
	m = machineOf(v)
	if m.guest == nil || m.power != "running" || m.user != "packer" || m.password == "" {
		t.Errorf("after the crash: guest %v power %q user %q", m.guest, m.power, m.user)
	}
	d := w.find(diskID(v.id, v.props))
	if c, ok := d.aux.(content); !ok || c.disk == nil || c.disk != m.content.disk {
		t.Error("the machine and its disk resource have no longer the same disk")
	}
	w.must("POST", "Microsoft.Compute/virtualMachines/vm/deallocate", "")
	w.crash()
	w.again(dir, Config{})
	w.clock.move(time.Hour)
	if g := w.must("GET", "Microsoft.Compute/virtualMachines/vm/instanceView", ""); !strings.Contains(g.text, "PowerState/deallocated") {
		t.Errorf("its stopping did not go on: %s", g.text)
	}
}

func TestServedSettingsStayValid(t *testing.T) {
	w, dir := keptWorld(t)
	s, err := w.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ca, url := s.CA, s.URL
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.AddFault(Fault{Path: "/nothing", Nth: 3, Do: "drop"}); err != nil {
		t.Fatal(err)
	}
	w.arm("GET", "/subscriptions/nothing", "") // counts against the fault
	w.crash()
	w.again(dir, Config{})
	if len(w.faults) != 1 || w.faults[0].seen != 1 {
		t.Errorf("faults after the crash: %+v", w.faults)
	}
	s, err = w.Serve("127.0.0.1:" + w.KeptPort())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // a test's server
	if !bytes.Equal(s.CA, ca) || s.URL != url {
		t.Errorf("%s became %s; same authority: %v", url, s.URL, bytes.Equal(s.CA, ca))
	}
	req, err := http.NewRequest(http.MethodGet, s.URL+"/subscriptions?api-version=2022-12-01", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token) // of before the crash
	resp, err := trusting(t, ca).Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("the old settings: %v %v", resp, err)
	}
	resp.Body.Close() //nolint:errcheck // only its status counts
}

func TestScaledClockGoesOn(t *testing.T) {
	dir := t.TempDir()
	w, err := New(Config{State: dir, Clock: ScaledClock{Start: time.Now(), At: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Factor: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	shown := w.clock.Now()
	w.crash()
	w, err = New(Config{State: dir, Clock: ScaledClock{Start: time.Now(), Factor: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if now := w.clock.Now(); now.Before(shown) || now.Sub(shown) > 24*time.Hour {
		t.Errorf("the clock showed %v and shows %v", shown, now)
	}
}

// What a machine writes to its disk by itself is kept with the next answer, at the latest.
func TestGuestsDiskIsKept(t *testing.T) {
	w, dir := keptWorld(t)
	w.group()
	w.machine()
	w.clock.move(time.Hour)
	w.must("GET", "Microsoft.Compute/virtualMachines/vm", "")
	d := machineOf(w.find(groupRG + "/providers/Microsoft.Compute/virtualMachines/vm")).content.disk
	if err := d.Unmarshal(fmt.Appendf(nil, `{"id":%q,"version":%d,"imageState":"IMAGE_STATE_COMPLETE","files":{"C:\\a.txt":"aGVsbG8="}}`, d.ID(), d.Version()+1)); err != nil {
		t.Fatal(err)
	}
	w.must("GET", groupRG, "")
	w.crash()
	w.again(dir, Config{})
	d = machineOf(w.find(groupRG + "/providers/Microsoft.Compute/virtualMachines/vm")).content.disk
	if data, ok := d.File(`C:\a.txt`); !ok || string(data) != "hello" {
		t.Errorf("the file is gone: %q %v", data, d.Files())
	}
}

// An aux that nobody wrote down must be noticed at once, not after the crash.
func TestUnknownAuxIsLoud(t *testing.T) {
	w, _ := keptWorld(t)
	w.group()
	w.find(groupRG).aux = struct{ x int }{1}
	if a := w.arm("PUT", groupRG, `{"location":"westeurope"}`); a.status != 500 || !strings.Contains(a.message(), "auxTypes") {
		t.Errorf("%d %s", a.status, a.text)
	}
}
