package blob

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"net/netip"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

func unauthenticated() *failure {
	return fail(403, "AuthenticationFailed", "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.")
}

func mismatch(what string) *failure {
	return fail(403, "Authorization"+what+"Mismatch", "This request is not authorized to perform this operation using this "+strings.ToLower(what)+".")
}

// authorize proves who calls and whether he may.
func (c *call) authorize(op operation) error {
	scheme, value, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "SharedKey") && op.do != nil:
		name, sig, _ := strings.Cut(value, ":")
		if name != c.account.name || !c.sharedKey(sig) {
			return unauthenticated()
		}
		if strings.HasSuffix(op.action, "generateUserDelegationKey/action") {
			return unauthenticated() // only for bearer tokens: rest/api/storageservices/get-user-delegation-key
		}
		return nil
	case strings.EqualFold(scheme, "Bearer"):
		if c.s.cfg.Authorize == nil || op.action == "" {
			return fail(403, "AuthorizationFailure", "This request is not authorized to perform this operation.")
		}
		known, allowed := c.s.cfg.Authorize(value, c.account.name, op.action)
		if !known {
			return fail(401, "InvalidAuthenticationInfo", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.")
		}
		if !allowed {
			return mismatch("Permission")
		}
		return nil
	case c.q.Get("sig") != "":
		return c.sas(c.r, c.q, op)
	}
	c.w.Header().Set("WWW-Authenticate", `Bearer authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize" resource_id="https://storage.azure.com"`)
	return fail(401, "NoAuthenticationInformation", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.")
}

func (c *call) keys() [][]byte {
	if c.account.keys != nil {
		return c.account.keys
	}
	a, _ := c.s.cfg.Account(c.account.name)
	return a.Keys
}

func sign(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text)) //nolint:errcheck // a hash does not fail
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func signed(keys [][]byte, sig string, texts ...string) bool {
	for _, k := range keys {
		for _, t := range texts {
			if hmac.Equal([]byte(sign(k, t)), []byte(sig)) {
				return true
			}
		}
	}
	return false
}

// sharedKey verifies the signature of a request (rest/api/storageservices/authorize-with-shared-key). Azure sorts x-ms-
// headers without regard to hyphens, most clients plainly: either is good.
func (c *call) sharedKey(sig string) bool {
	h := c.r.Header
	date := c.now
	if t, err := http.ParseTime(h.Get("x-ms-date")); err == nil {
		date = t
	} else if t, err := http.ParseTime(h.Get("Date")); err == nil {
		date = t
	} else {
		return false
	}
	// "no older than 15 minutes by the time the service receives the request"; the client's clock is the wall's, which in a
	// simulation with a clock of its own is not ours, so either will do.
	if d := c.now.Sub(date).Abs(); d > 15*time.Minute && time.Since(date).Abs() > 15*time.Minute {
		return false
	}
	length := ""
	if c.r.ContentLength > 0 {
		length = strconv.FormatInt(c.r.ContentLength, 10)
	}
	plainDate := h.Get("Date")
	if h.Get("x-ms-date") != "" {
		plainDate = ""
	}
	var names []string
	for k := range h {
		if n := strings.ToLower(k); strings.HasPrefix(n, "x-ms-") {
			names = append(names, n)
		}
	}
	text := func(less func(a, b string) bool) string {
		sort.Slice(names, func(i, j int) bool { return less(names[i], names[j]) })
		t := strings.Join([]string{c.r.Method, h.Get("Content-Encoding"), h.Get("Content-Language"), length, h.Get("Content-MD5"), h.Get("Content-Type"), plainDate,
			h.Get("If-Modified-Since"), h.Get("If-Match"), h.Get("If-None-Match"), h.Get("If-Unmodified-Since"), h.Get("Range")}, "\n") + "\n"
		for _, n := range names {
			t += n + ":" + strings.TrimSpace(strings.Join(h.Values(n), ",")) + "\n"
		}
		return t + c.canonical()
	}
	flat := func(s string) string { return strings.ReplaceAll(s, "-", "") }
	return signed(c.keys(), sig, text(func(a, b string) bool { return a < b }), text(func(a, b string) bool { return flat(a) < flat(b) }))
}

func (c *call) canonical() string {
	path := c.r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	t := "/" + c.account.name + path
	lower := map[string][]string{}
	var names []string
	for k, v := range c.q {
		n := strings.ToLower(k)
		if lower[n] == nil {
			names = append(names, n)
		}
		lower[n] = append(lower[n], v...)
	}
	sort.Strings(names)
	for _, n := range names {
		sort.Strings(lower[n])
		t += "\n" + n + ":" + strings.Join(lower[n], ",")
	}
	return t
}

func sasTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// sas verifies a shared access signature and holds the request against what it grants: account SAS, service SAS (with a
// stored access policy or without), user delegation SAS (rest/api/storageservices/create-service-sas and its neighbours).
func (c *call) sas(r *http.Request, q url.Values, op operation) error {
	get := q.Get
	sv, sig := get("sv"), get("sig")
	start, expiry, permissions := get("st"), get("se"), get("sp")
	var from, until time.Time
	resource := "/blob/" + c.account.name + "/" + c.container
	switch sr := get("sr"); sr {
	case "b":
		resource += "/" + c.blob
		if c.blob == "" {
			return mismatch("Resource")
		}
	case "c", "":
	default:
		return fail(501, "SimulatorNotImplemented", "The simulated Blob service knows SAS for containers (sr=c) and blobs (sr=b), not sr="+sr)
	}
	content := []string{get("rscc"), get("rscd"), get("rsce"), get("rscl"), get("rsct")}
	switch {
	case get("ss") != "": // account
		parts := []string{c.account.name, permissions, get("ss"), get("srt"), start, expiry, get("sip"), get("spr"), sv}
		if sv >= "2020-12-06" {
			parts = append(parts, get("ses"))
		}
		if !signed(c.keys(), sig, strings.Join(parts, "\n")+"\n") {
			return unauthenticated()
		}
		if !strings.Contains(get("ss"), "b") {
			return mismatch("Service")
		}
		if op.resource == "" || !strings.Contains(get("srt"), op.resource) {
			return fail(403, "AuthorizationResourceTypeMismatch", "This request is not authorized to perform this operation using this resource type.")
		}
	case get("skoid") != "": // user delegation
		key := c.s.delegated(c.account.name, get("skoid"), get("sktid"), get("skt"), get("ske"))
		parts := []string{permissions, start, expiry, resource, get("skoid"), get("sktid"), get("skt"), get("ske"), get("sks"), get("skv")}
		if sv >= "2020-02-10" {
			parts = append(parts, get("saoid"), get("suoid"), get("scid"))
		}
		if sv >= "2025-07-05" {
			parts = append(parts, get("skdutid"), get("sduoid"))
		}
		parts = append(parts, get("sip"), get("spr"), sv, get("sr"), "")
		if sv >= "2020-12-06" {
			parts = append(parts, get("ses"))
		}
		if sv >= "2026-04-06" {
			if get("srh") != "" || get("srq") != "" {
				return fail(501, "SimulatorNotImplemented", "The simulated Blob service does not know SAS bound to headers or query parameters")
			}
			parts = append(parts, "", "")
		}
		if !signed([][]byte{key}, sig, strings.Join(append(parts, content...), "\n")) {
			return unauthenticated()
		}
		if t, ok := sasTime(get("ske")); !ok || c.now.After(t) {
			return unauthenticated()
		}
	default: // service
		id := get("si")
		parts := []string{permissions, start, expiry, resource, id, get("sip"), get("spr"), sv}
		if sv >= "2018-11-09" {
			parts = append(parts, get("sr"), "")
		}
		if sv >= "2020-12-06" {
			parts = append(parts, get("ses"))
		}
		if !signed(c.keys(), sig, strings.Join(append(parts, content...), "\n")) {
			return unauthenticated()
		}
		if id != "" {
			c.s.mu.Lock()
			var p policy
			ok := false
			if k := c.account.containers[c.container]; k != nil {
				p, ok = k.policies[id]
			}
			c.s.mu.Unlock()
			if !ok {
				return unauthenticated() // revoked
			}
			from, until = p.start, p.expiry
			permissions += p.permissions
		}
	}
	if t, ok := sasTime(start); ok {
		from = t
	}
	if t, ok := sasTime(expiry); ok {
		until = t
	}
	if until.IsZero() || c.now.After(until) || c.now.Before(from) {
		return fail(403, "AuthenticationFailed", "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature. Signature not valid in the specified time frame: Start ["+
			from.Format(time.RFC1123)+"] - Expiry ["+until.Format(time.RFC1123)+"] - Current ["+c.now.UTC().Format(time.RFC1123)+"]")
	}
	if get("spr") == "https" && r.TLS == nil && r.URL.Scheme != "https" {
		return mismatch("Protocol")
	}
	if ip := get("sip"); ip != "" && !inside(ip, r.RemoteAddr) {
		return fail(403, "AuthorizationSourceIPMismatch", "This request is not authorized to perform this operation using this source IP "+r.RemoteAddr+".")
	}
	if op.need == "" || !strings.ContainsAny(permissions, op.need) {
		return mismatch("Permission")
	}
	c.onlyCreate = !strings.Contains(permissions, "w") // create without write must not replace a blob
	return nil
}

func inside(allowed, remote string) bool {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	lo, hi, two := strings.Cut(allowed, "-")
	if !two {
		hi = lo
	}
	a, err1 := netip.ParseAddr(lo)
	b, err2 := netip.ParseAddr(hi)
	ip := at.Addr().Unmap()
	return err1 == nil && err2 == nil && a.Compare(ip) <= 0 && ip.Compare(b) <= 0
}

// delegated is a user delegation key: derived, so that none has to be remembered.
func (s *Service) delegated(account, object, tenant, start, expiry string) []byte {
	h := hmac.New(sha256.New, s.secret)
	h.Write([]byte(strings.Join([]string{account, object, tenant, start, expiry}, "\n"))) //nolint:errcheck // a hash does not fail
	return h.Sum(nil)
}

// delegationKey is Get User Delegation Key.
func delegationKey(c *call) error {
	var in struct{ Start, Expiry string }
	if err := xml.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, 1<<16)).Decode(&in); err != nil {
		return fail(400, "InvalidXmlDocument", "XML specified is not syntactically valid.")
	}
	end, ok := sasTime(in.Expiry)
	if in.Start == "" {
		in.Start = c.now.UTC().Format("2006-01-02T15:04:05Z")
	}
	begin, ok2 := sasTime(in.Start)
	if !ok || !ok2 || end.Before(c.now) || end.Sub(begin) > 7*24*time.Hour {
		return fail(400, "InvalidXmlNodeValue", "The value for one of the XML nodes is not in the correct format.")
	}
	_, token, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	var object, tenant string
	if c.s.cfg.Owner != nil {
		object, tenant = c.s.cfg.Owner(token)
	}
	// What is signed later are these very strings.
	st, se := begin.UTC().Format("2006-01-02T15:04:05Z"), end.UTC().Format("2006-01-02T15:04:05Z")
	writeXML(c.w, 200, struct {
		XMLName                                                                              xml.Name `xml:"UserDelegationKey"`
		SignedOid, SignedTid, SignedStart, SignedExpiry, SignedService, SignedVersion, Value string
	}{SignedOid: object, SignedTid: tenant, SignedStart: st, SignedExpiry: se, SignedService: "b", SignedVersion: c.r.Header.Get("x-ms-version"),
		Value: base64.StdEncoding.EncodeToString(c.s.delegated(c.account.name, object, tenant, st, se))})
	return nil
}
