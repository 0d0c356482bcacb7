package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
)

// filled is a simulated Azure with n resources: networks, groups, addresses, disks and NICs in equal parts.
func filled(b *testing.B, n int, c Config) (*Azure, string) {
	b.Helper()
	a, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(a.Close)
	a.mu.Lock()
	defer a.mu.Unlock()
	seed := func(id, body string) {
		if err := a.seed(id, jsonMap(b, body)); err != nil {
			b.Fatal(err)
		}
	}
	seed(groupRG, `{"location":"westeurope"}`)
	net := groupRG + "/providers/Microsoft.Network/"
	for i := range n / 5 {
		seed(fmt.Sprintf("%svirtualNetworks/n%d", net, i), `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`)
		seed(fmt.Sprintf("%svirtualNetworks/n%d/subnets/s", net, i), `{"properties":{"addressPrefix":"10.0.0.0/24"}}`)
		seed(fmt.Sprintf("%snetworkSecurityGroups/g%d", net, i), `{"location":"westeurope","properties":{}}`)
		seed(fmt.Sprintf("%s/providers/Microsoft.Compute/disks/d%d", groupRG, i), `{"location":"westeurope","sku":{"name":"Premium_LRS"},"properties":{"diskSizeGB":127,"creationData":{"createOption":"Empty"}}}`)
		seed(fmt.Sprintf("%snetworkInterfaces/nic%d", net, i), fmt.Sprintf(`{"location":"westeurope","properties":{"ipConfigurations":[{"name":"c","properties":{"privateIPAddress":"10.0.0.9","privateIPAllocationMethod":"Static","subnet":{"id":"%svirtualNetworks/n%d/subnets/s"}}}]}}`, net, i))
	}
	t, err := a.issue(a.principals[0], "x")
	if err != nil {
		b.Fatal(err)
	}
	a.commit(true)
	return a, t
}

// BenchmarkReads is GET of one NIC among 10,000 resources over real HTTPS, eight clients that keep their connections, state
// kept in a folder. The target is 2,000 a second.
func BenchmarkReads(b *testing.B) {
	a, token := filled(b, 10000, Config{State: b.TempDir()})
	s, err := a.Serve("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // a benchmark's server
	pool := &http.Transport{MaxIdleConnsPerHost: 8, TLSClientConfig: trusting(b, s.CA).Transport.(*http.Transport).TLSClientConfig}
	var next atomic.Int64
	b.SetParallelism((8 + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			req, _ := http.NewRequest(http.MethodGet, fmt.Sprintf("%s%s/providers/Microsoft.Network/networkInterfaces/nic%d?api-version=2024-05-01", s.URL, groupRG, next.Add(1)%2000), nil)
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := pool.RoundTrip(req)
			if err != nil || resp.StatusCode != 200 {
				b.Errorf("%v %v", resp, err)
				return
			}
			io.Copy(io.Discard, resp.Body) //nolint:errcheck // a benchmark
			resp.Body.Close()              //nolint:errcheck // a benchmark
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
}

// BenchmarkTenThousand makes 10,000 resources in a kept simulation and reports the heap they take. The target is 300 MB.
func BenchmarkTenThousand(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		a, _ := filled(b, 10000, Config{State: b.TempDir()})
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "heap-MB")
		b.ReportMetric(float64(len(a.resources)), "resources")
		a.Close()
	}
}

// BenchmarkWrites is PUT of a tag from eight callers at once, each answered when it is safe on the disk.
func BenchmarkWrites(b *testing.B) {
	a, token := filled(b, 10000, Config{State: b.TempDir()})
	var next atomic.Int64
	w := &world{Azure: a, token: token}
	b.SetParallelism(4)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			i := next.Add(1)
			if g := w.arm("PATCH", fmt.Sprintf("Microsoft.Network/networkSecurityGroups/g%d", i%2000), fmt.Sprintf(`{"tags":{"i":"%d"}}`, i)); g.status != 200 {
				b.Errorf("%d %s", g.status, g.text)
				return
			}
		}
	})
}

func jsonMap(b *testing.B, body string) map[string]any {
	b.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		b.Fatal(err)
	}
	return v
}
