package azure

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// renewing is a credential whose tokens age by the client's own clock. The SDK's caches know wall time only and keep a token until it
// runs out there: in a rehearsal, whose hours pass in seconds, and after a token was refused although it should still be good, a new
// credential is made, which has nothing in its cache.
type renewing struct {
	make func() (azcore.TokenCredential, error)

	mu    sync.Mutex
	clock Clock // nil: nobody has said; the SDK's own caches then
	inner azcore.TokenCredential
	held  map[string]heldToken // by scopes and tenant
}

type heldToken struct {
	azcore.AccessToken
	until time.Time // of clock
}

// renewBefore is how long before its end a token is renewed, as the SDK does.
const renewBefore = 5 * time.Minute

func renew(make func() (azcore.TokenCredential, error)) (azcore.TokenCredential, error) {
	inner, err := make()
	if err != nil {
		return nil, err
	}
	return &renewing{make: make, inner: inner, held: map[string]heldToken{}}, nil
}

// use tells the clock.
func (r *renewing) use(clock Clock) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock = clock
}

// GetToken answers a token that is good for some minutes yet, by the client's clock.
func (r *renewing) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clock == nil || o.Claims != "" {
		return r.inner.GetToken(ctx, o)
	}
	key := strings.Join(o.Scopes, " ") + "\x00" + o.TenantID
	now := r.clock.Now()
	t, ok := r.held[key]
	if !ok || !now.Before(t.until.Add(-renewBefore)) {
		inner, err := r.inner, error(nil)
		if ok {
			inner, err = r.make()
		}
		var got azcore.AccessToken
		if err == nil {
			got, err = inner.GetToken(ctx, o)
		}
		switch {
		case err == nil:
			if ok {
				r.inner = inner
				clear(r.held)
			}
			// The SDK adds "expires_in" to wall time, or takes "expires_on", which is the authority's time: whichever ends first.
			life := time.Until(got.ExpiresOn)
			if d := got.ExpiresOn.Sub(now); d > 0 && d < life {
				life = d
			}
			t = heldToken{got, now.Add(life)}
			r.held[key] = t
		case !ok || !now.Before(t.until): // until then the old one will do, and the next call tries again
			return got, err
		}
	}
	out := t.AccessToken
	out.ExpiresOn, out.RefreshOn = time.Now(), time.Time{} // so that the SDK asks again before the next call
	return out, nil
}

// drop forgets every token.
func (r *renewing) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if inner, err := r.make(); err == nil {
		r.inner = inner
		clear(r.held)
	}
}

// again makes a call once more, with a new token, when Azure says that the one it came with has expired: a computer that slept, a
// clock that is wrong, a token that was revoked.
func (r *renewing) again() policy.Policy {
	return policyFunc(func(req *policy.Request) (*http.Response, error) {
		resp, err := req.Next()
		if err != nil || resp.StatusCode != http.StatusUnauthorized || !strings.Contains(resp.Header.Get("WWW-Authenticate"), "invalid_token") {
			return resp, err
		}
		r.drop()
		if err := req.RewindBody(); err != nil {
			return resp, nil //nolint:nilerr // the answer that there is, is the better reason
		}
		resp.Body.Close() //nolint:errcheck // not looked at
		return req.Next()
	})
}
