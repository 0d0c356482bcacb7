package azure_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/azure"
	"ingot/internal/sim"
)

// counting passes calls to the simulated Azure, counts Put Page and fails those that it is told to.
type counting struct {
	next http.RoundTripper
	mu   sync.Mutex
	puts int
	lose int // from this one on; 0: none
}

func (c *counting) Do(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut && r.URL.Query().Get("comp") == "page" {
		c.mu.Lock()
		c.puts++
		lost := c.lose > 0 && c.puts >= c.lose
		c.mu.Unlock()
		if lost {
			return &http.Response{StatusCode: 403, Header: http.Header{"X-Ms-Error-Code": {"AuthenticationFailed"}}, Body: http.NoBody, Request: r}, nil
		}
	}
	return c.next.RoundTrip(r)
}

type wall struct{}

func (wall) Now() time.Time { return time.Now() }
func (wall) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(min(d, time.Millisecond)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// simulated is a client of a simulated Azure with the group rg.
func simulated(t *testing.T) (*azure.Client, *counting) {
	t.Helper()
	w, err := sim.New(sim.Config{Latency: sim.NoLatency})
	must(t, err)
	t.Cleanup(w.Close)
	wire := &counting{next: w.Transport()}
	config := azure.CloudAt(sim.EmbeddedURL, sim.EmbeddedURL)
	id := azure.Identity{TenantID: sim.DefaultTenant, ClientID: sim.DefaultClientID, ClientSecret: sim.DefaultClientSecret}
	cred, _, err := azure.Credential(id, config, wire, func(string) string { return "" })
	must(t, err)
	c, err := azure.New(azure.Options{Credential: cred, Subscription: sim.DefaultSubscription, Cloud: config, Transport: wire, Clock: wall{}, RetryDelay: time.Millisecond, MaxRetries: 1})
	must(t, err)
	must(t, c.PutGroup(context.Background(), azure.Group{Name: "rg", Location: "westeurope"}))
	return c, wire
}

// image is a disk of 40 MiB with something in three places of it, and its footer.
func image() []byte {
	b := make([]byte, 40<<20+512)
	for i, at := range []int{0, 13<<20 + 1024, 40 << 20} {
		copy(b[at:], bytes.Repeat([]byte{byte(i + 1)}, 512))
	}
	return b
}

func TestADiskGoesUpAndComesBack(t *testing.T) {
	ctx := context.Background()
	c, wire := simulated(t)
	want := image()
	size := int64(len(want))
	d, err := c.PutUploadDisk(ctx, azure.Disk{Group: "rg", Name: "d", Location: "westeurope", Generation: "V2"}, size, azure.Op{})
	must(t, err)
	if d.State != "ReadyToUpload" {
		t.Errorf("a new disk is %s", d.State)
	}
	sas, err := c.GrantAccess(ctx, "rg", "d", true, time.Hour)
	must(t, err)

	wire.lose = 3 // the first run loses its rights at its third write
	if err := c.UploadPages(ctx, sas, bytes.NewReader(want), size, nil); err == nil || !strings.Contains(err.Error(), "AuthenticationFailed") {
		t.Fatalf("an upload that was cut off ends with %v", err)
	}
	before, err := c.PageRanges(ctx, sas)
	must(t, err)
	if len(before) != 2 {
		t.Fatalf("written before the end: %v", before)
	}
	wire.lose, wire.puts = 0, 0
	var last int64
	must(t, c.UploadPages(ctx, sas, bytes.NewReader(want), size, func(done int64) { last = done }))
	if wire.puts != 1 || last != size {
		t.Errorf("the second run wrote %d parts and told of %d bytes", wire.puts, last)
	}
	must(t, c.RevokeAccess(ctx, "rg", "d"))
	if d, err = c.GetDisk(ctx, "rg", "d"); err != nil || d.State != "Unattached" {
		t.Errorf("then it is %s, %v", d.State, err)
	}

	sas, err = c.GrantAccess(ctx, "rg", "d", false, time.Hour)
	must(t, err)
	f, err := os.Create(t.TempDir() + "/back.vhd")
	must(t, err)
	defer f.Close()
	n, err := c.DownloadPages(ctx, sas, f, nil)
	must(t, err)
	must(t, f.Truncate(n))
	got, err := os.ReadFile(f.Name())
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back of %d, and they differ", len(got), len(want))
	}
	must(t, c.RevokeAccess(ctx, "rg", "d"))
	must(t, c.DeleteDisk(ctx, "rg", "d", azure.Op{}))
}

func TestAWrongSizeIsRefused(t *testing.T) {
	c, _ := simulated(t)
	if _, err := c.PutUploadDisk(context.Background(), azure.Disk{Group: "rg", Name: "d", Location: "westeurope"}, 40<<20, azure.Op{}); err == nil {
		t.Error("a disk without room for a footer is made")
	}
	if err := c.UploadPages(context.Background(), "https://md-x.blob.storage.localhost/a/b?sig=x", strings.NewReader(""), 511, nil); err == nil {
		t.Error("half a page is uploaded")
	}
}
