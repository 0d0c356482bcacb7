package sim

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Outside is what the scenario says of an address on the internet; it reports false where it says nothing. An address that stands there
// without its query, in which a SAS may be, counts for every query.
func (w *Azure) Outside(address string) (Address, bool) {
	if w.cfg.Scenario == nil {
		return Address{}, false
	}
	a, ok := w.cfg.Scenario.Addresses[address]
	if !ok {
		plain, _, _ := strings.Cut(address, "?")
		a, ok = w.cfg.Scenario.Addresses[plain]
	}
	return a, ok
}

// StandIn is what stands in a rehearsal for a file at an address of which the scenario says nothing.
const StandIn = "# A rehearsal's stand-in for a file that was not fetched.\r\n"

// Bytes are what an address holds.
func (a Address) Bytes() ([]byte, error) {
	if a.Base64 == "" {
		return []byte(a.Content), nil
	}
	raw, err := base64.StdEncoding.DecodeString(a.Base64)
	if err != nil {
		return nil, fmt.Errorf("cannot read what the scenario says of an address: %w", err)
	}
	return raw, nil
}

// outside is the answer to RemoteOutside.
type outside struct {
	Known   bool    `json:"known"`
	Address Address `json:"address"`
}

// RemoteOutside is Outside of a simulated Azure in another process.
func RemoteOutside(ctx context.Context, client *http.Client, base, address string) (Address, bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/sim/address?url="+url.QueryEscape(address), nil)
	if err != nil {
		return Address{}, false, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return Address{}, false, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	var a outside
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || resp.StatusCode != http.StatusOK {
		return Address{}, false, fmt.Errorf("the simulated Azure answers %s", resp.Status)
	}
	return a.Address, a.Known, nil
}
