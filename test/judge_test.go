package test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"ingot/internal/sim"
	"ingot/internal/sim/spec"
)

// With INGOT_SPECS (a checkout of Azure/azure-rest-api-specs) the simulated Azures of these tests live in the test's own process, and
// everything that they answer to Ingot, az or Packer is held against Microsoft's published schemas. The schemas are not part of Ingot.

// judged runs the tests and then reports what the judge has seen.
type judged struct{ m *testing.M }

func (j judged) Run() int {
	code := j.m.Run()
	if os.Getenv("INGOT_SPECS") == "" {
		return code
	}
	if judge, err := theJudge(); err != nil {
		fmt.Println(err)
		return max(code, 1)
	} else if spec.Report(printer{&code}, judge).Passed == 0 {
		fmt.Println("no answer was judged")
	}
	return code
}

var theJudge = sync.OnceValues(func() (*spec.Judge, error) { return spec.Open(os.Getenv("INGOT_SPECS")) })

type printer struct{ code *int }

func (printer) Helper() {}

func (printer) Logf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func (p printer) Errorf(format string, args ...any) {
	fmt.Printf("FAULT "+format+"\n", args...)
	*p.code = 1
}

// serveJudged is serveScenario in this process.
func serveJudged(t *testing.T, scenario string) *azure {
	t.Helper()
	judge, err := theJudge()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "scenario.json")
	if err := os.WriteFile(file, []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := sim.ReadScenario(file)
	if err != nil {
		t.Fatal(err)
	}
	w, err := sim.New(sim.Config{Latency: sim.NoLatency, Scenario: s, Observe: judge.See})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	server, err := w.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() }) //nolint:errcheck // the test is over
	a := &azure{ca: filepath.Join(dir, "ca.pem"), url: server.URL, log: &watcher{found: make(chan struct{})}}
	if err := os.WriteFile(a.ca, server.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	a.connect(t)
	return a
}
