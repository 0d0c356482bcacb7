package options

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ingot/internal/engine"
	"ingot/internal/engine/vm"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/template"
)

// dying is a journal of a process that ends after so many entries: whoever writes to it after that never comes back, as in a process that is
// gone. What was asked of Azure by then may still be answered.
type dying struct {
	plan.Journal
	left *atomic.Int64
	dead chan struct{}
	once *sync.Once
	end  <-chan struct{}
}

func (d dying) Append(e plan.Entry) error {
	if d.left.Add(-1) < 0 {
		d.once.Do(func() { close(d.dead) })
		<-d.end
		runtime.Goexit()
	}
	return d.Journal.Append(e)
}

// TestKilledAfterEveryEntry: a build from a VHD without a key vault, with a pause and a script of its own or of ours, is cut off after each entry
// of its journal in turn and resumed by another process that has nothing but the template: there is one more version each time, and nothing else.
func TestKilledAfterEveryEntry(t *testing.T) {
	if testing.Short() {
		t.Skip("a build for each entry of the journal")
	}
	const open = `
  skip_create_build_key_vault  = true
  allowed_inbound_ip_addresses = ["127.0.0.0/8"]
  winrm_password               = "Test-secret-not-real-1"
  winrm_insecure               = true
  pause_before_connecting      = "10ms"`
	for name, text := range map[string]string{
		"a VHD, our listener": windowsFrom("\n  image_url = \""+vhd+"\"", gallery("win1")+open),
		"spot, custom_script": windows(open + `
  custom_script = "powershell -Command \"winrm create winrm/config/Listener?Address=*+Transport=HTTPS @{CertificateThumbprint='x'}\""
  spot { eviction_policy = "Deallocate" }`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, world(), false)
			if err := r.sim.SeedVHD(vhd); err != nil {
				t.Fatal(err)
			}
			for n := int64(1); ; n++ {
				if !r.killed(text, n) {
					t.Logf("%d entries", n-1)
					return
				}
			}
		})
	}
}

// killed builds, dies after n entries, and resumes; false when the build was over before.
func (r *rig) killed(text string, n int64) bool {
	t := r.t
	t.Helper()
	r.runs++
	run := fmt.Sprintf("run%05d", r.runs)
	var left atomic.Int64
	left.Store(n)
	var p *plan.Plan
	dir := t.TempDir()
	runner := func(loaded *template.Result, j plan.Journal, said *strings.Builder) *plan.Runner {
		secrets := &engine.Secrets{}
		for name, value := range loaded.Secrets {
			secrets.Put(name, value)
		}
		return &plan.Runner{Actions: vm.Engine{}.Actions(engine.Env{Cloud: r.cloud, Dial: r.dial, Secrets: secrets, Clock: r.clock}), Journal: j, Clock: r.clock, Redact: secrets.Redact,
			Sink: plan.SinkFunc(func(e plan.Event) { fmt.Fprintln(said, e.Step, e.Kind, e.Text, e.Err) })}
	}
	loaded, problems := load(t, text, nil)
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	facts, problems, err := image.Resolve(t.Context(), loaded.Images[0], engine.Catalog{Cloud: r.cloud}, image.ResolveOptions{})
	if err != nil || problems.HasErrors() {
		t.Fatal(err, problems)
	}
	if p, err = (vm.Engine{}).Plan(loaded.Images[0], facts, engine.Options{Run: run, Made: r.start, Expires: 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	folder, err := plan.Store{Dir: dir}.Create(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close() //nolint:errcheck // a test's own folder
	var first, second strings.Builder
	dead, over := make(chan struct{}), make(chan error, 1)
	go func() {
		over <- runner(loaded, dying{folder, &left, dead, &sync.Once{}, t.Context().Done()}, &first).Run(t.Context(), p)
	}()
	select {
	case <-dead:
	case err := <-over:
		if err != nil {
			t.Fatalf("entry %d: %v", n, err)
		}
		return false
	}
	if err := runner(loaded, folder, &second).Run(t.Context(), p); err != nil {
		t.Fatalf("entry %d: resumed: %v\n%s", n, err, second.String())
	}
	if left := r.left(); len(left) > 0 {
		t.Fatalf("entry %d: left behind %v\n%s", n, left, second.String())
	}
	versions := 0
	for _, i := range r.sim.Inventory() {
		if strings.EqualFold(i.Type, "Microsoft.Compute/galleries/images/versions") {
			versions++
		}
	}
	if versions != r.runs {
		t.Fatalf("entry %d: %d versions after %d builds\n%s", n, versions, r.runs, second.String())
	}
	return true
}
