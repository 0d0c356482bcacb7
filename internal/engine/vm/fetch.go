package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/provisioner"
)

// fetchArgs are the addresses that provisioners of the plan fetch from.
type fetchArgs struct {
	URIs []provisioner.URI
}

// fetchResult has the checksum of what is there, by the address without its query: a SAS may be another one tomorrow.
type fetchResult struct {
	SHA256 map[string]string `json:"sha256"`
}

const fetchStep = "fetch"

// addresses plans that everything fetched from an address is looked at while the machine is made: an address that is wrong, or a
// checksum that does not fit, ends the build in its first seconds.
func (c *compiler) addresses() {
	var a fetchArgs
	for _, p := range slices.Concat(c.img.Provision, c.img.Cleanup) {
		if r, ok := p.Settings.(provisioner.Remote); ok {
			a.URIs = append(a.URIs, r.Addresses()...)
		}
	}
	if len(a.URIs) == 0 {
		return
	}
	what := fmt.Sprintf("%d scripts and files", len(a.URIs))
	if len(a.URIs) == 1 {
		what = "a script or file"
	}
	c.add(plan.Step{Scope: plan.Nothing, ID: fetchStep, Kind: "fetch", Title: "Fetch " + what + " and check the SHA-256", Timeout: 15 * time.Minute, Estimate: 2 * time.Second}, a)
}

// place is what a fetched thing is known by between the steps of a run.
func place(address string) string {
	address, _, _ = strings.Cut(address, "?")
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:8])
}

// fetch looks at everything once; what the steps get later must be the same.
func (b *build) fetch(ctx context.Context, t *plan.Task, a fetchArgs) (fetchResult, error) {
	r := fetchResult{SHA256: map[string]string{}}
	for i, u := range a.URIs {
		if !u.Address.Fill(b.env.Secrets.Lookup) {
			return r, missingSecret(u.Address.Secret())
		}
		text, err := image.FillRuntime(u.Address.Reveal(), func(string) (string, bool) { return "", false })
		if err != nil {
			continue // it is known only when the machine runs
		}
		if u.Address = image.Plain(text); a.URIs[i].Address.Secret() != "" {
			u.Address = image.Hidden(a.URIs[i].Address.Secret(), text)
		}
		t.Progress(float64(i)/float64(len(a.URIs)), "fetching %d of %d", i+1, len(a.URIs))
		sum, size, notice, err := provisioner.FetchOr(ctx, b.env.StandIn, b.env.HTTP, t.Clock(), u, provisioner.Nowhere{})
		if err != nil {
			return r, err
		}
		if notice != "" {
			t.Output("stdout", notice)
			continue
		}
		r.SHA256[place(text)] = sum
		if u.SHA256 == "" {
			t.Output("stdout", fmt.Sprintf("%s: %d bytes, SHA-256 %s (the template has no checksum to compare it with)", u.Name(), size, sum))
		}
	}
	return r, nil
}

// pinnedSum is what the build saw at an address when it began.
func pinnedSum(t *plan.Task) func(image.Text) string {
	var r fetchResult
	if t.Result(fetchStep, &r) != nil {
		return nil
	}
	return func(address image.Text) string { return r.SHA256[place(address.Reveal())] }
}
