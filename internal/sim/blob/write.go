package blob

import (
	"crypto/md5" //nolint:gosec // Content-MD5 is the protocol's
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// propsOf reads x-ms-blob-content-* and, for Put Blob, the plain headers.
func propsOf(h http.Header, plain bool) map[string]string {
	out := map[string]string{}
	for _, n := range contentHeaders() {
		v := h.Get("x-ms-blob-" + n)
		if v == "" && plain && n != "Content-MD5" {
			v = h.Get(n)
		}
		if v != "" {
			out[n] = v
		}
	}
	if out["Content-Type"] == "" {
		out["Content-Type"] = "application/octet-stream"
	}
	return out
}

// may reports whether the blob may be replaced or changed; old is nil when there is none. The caller holds mu.
func (c *call) may(old *item) error {
	if old == nil || old.uncommitted {
		return conditions(c.r.Header, "", c.now, true)
	}
	if err := conditions(c.r.Header, old.etag, old.modified, true); err != nil {
		return err
	}
	if old.pending(c.now) && c.r.Method != http.MethodDelete {
		return pendingCopy()
	}
	return old.lease.check(c, "Blob", true)
}

// replace puts a new blob in the place of an old one. The caller holds mu.
func (c *call) replace(b *item) error {
	k, err := c.held()
	if err == nil {
		old := k.blobs[c.blob]
		if err = c.may(old); err == nil && old != nil && !old.uncommitted && c.onlyCreate {
			err = fail(403, "UnauthorizedBlobOverwrite", "This request is not authorized to perform blob overwrites.")
		}
		if err == nil && old != nil {
			b.lease, b.created = old.lease, old.created
			if b.file == old.file {
				old.file = ""
			}
			old.remove()
		}
	}
	if err != nil {
		b.remove()
		return err
	}
	b.name = c.blob
	if b.created.IsZero() {
		b.created = c.now
	}
	c.touch(b)
	k.blobs[c.blob] = b
	stamped(c.w, b.etag, b.modified)
	c.w.Header().Set("x-ms-request-server-encrypted", "true")
	return nil
}

func (c *call) touch(b *item) { b.etag, b.modified = c.s.etag(), c.now }

// exists looks before a body is taken in.
func (c *call) exists() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	_, err := c.held()
	return err
}

func putBlob(c *call) error {
	if err := c.exists(); err != nil {
		return err
	}
	h := c.r.Header
	if h.Get("x-ms-copy-source") != "" {
		return copyBlob(c)
	}
	b := &item{kind: h.Get("x-ms-blob-type"), meta: metaOf(h), props: propsOf(h, true)}
	switch b.kind {
	case "BlockBlob":
		file, size, err := c.s.store(http.MaxBytesReader(c.w, c.r.Body, 5000<<20)) // the largest Put Blob since 2019-12-12
		if err != nil {
			return err
		}
		b.file, b.size = file, size
		sum, err := digest(file)
		if err != nil {
			return err
		}
		if want := h.Get("Content-MD5"); want != "" && want != sum {
			b.remove()
			return fail(400, "Md5Mismatch", "The MD5 value specified in the request did not match with the MD5 value calculated by the server.")
		}
		if b.props["Content-MD5"] == "" {
			b.props["Content-MD5"] = sum
		}
		c.w.Header().Set("Content-MD5", sum)
	case "AppendBlob", "PageBlob":
		if c.r.ContentLength > 0 {
			return fail(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
		}
		if b.kind == "PageBlob" {
			size, err := strconv.ParseInt(h.Get("x-ms-blob-content-length"), 10, 64)
			if err != nil || size < 0 || size%512 != 0 || size > 8<<40 {
				return fail(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
			}
			b.size = size
			b.sequence, _ = strconv.ParseInt(h.Get("x-ms-blob-sequence-number"), 10, 64) //nolint:errcheck // absent is 0
		}
		f, err := c.s.fresh()
		if err != nil {
			return err
		}
		b.file = f.Name()
		err = f.Truncate(b.size) // sparse: an empty blob of 127 GiB takes no room
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	default:
		return fail(400, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified: x-ms-blob-type.")
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if err := c.replace(b); err != nil {
		return err
	}
	c.w.WriteHeader(201)
	return nil
}

func digest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	h := md5.New()  //nolint:gosec // as above
	if _, err := f.WriteTo(h); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}

// change runs a change of an existing blob under the lock.
func (c *call) change(status int, do func(b *item) error) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	b, err := c.item()
	if err != nil {
		return err
	}
	if err := c.may(b); err != nil {
		return err
	}
	if err := do(b); err != nil {
		return err
	}
	c.touch(b)
	stamped(c.w, b.etag, b.modified)
	c.w.WriteHeader(status)
	return nil
}

func setMetadata(c *call) error {
	return c.change(200, func(b *item) error { b.meta = metaOf(c.r.Header); return nil })
}

func setProperties(c *call) error {
	return c.change(200, func(b *item) error {
		h := c.r.Header
		if t := h.Get("x-ms-blob-content-length"); t != "" {
			n, err := strconv.ParseInt(t, 10, 64)
			if err != nil || b.kind != "PageBlob" || n%512 != 0 || n < 0 || b.borrowed {
				return fail(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
			}
			if err := os.Truncate(b.file, n); err != nil {
				return err
			}
			b.size, b.pages = n, b.pages.within(0, n)
			return nil
		}
		if a := h.Get("x-ms-sequence-number-action"); a != "" {
			n, err := strconv.ParseInt(h.Get("x-ms-blob-sequence-number"), 10, 64)
			switch {
			case a == "increment":
				b.sequence++
			case err != nil:
				return fail(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
			case a == "max":
				b.sequence = max(b.sequence, n)
			default:
				b.sequence = n
			}
			return nil
		}
		b.props = propsOf(h, false)
		return nil
	})
}

func deleteBlob(c *call) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	b, err := c.item()
	if err != nil {
		return err
	}
	if c.account.keys != nil { // a managed disk's: nobody deletes it this way
		return mismatch("Permission")
	}
	if err := c.may(b); err != nil {
		return err
	}
	if b.pending(c.now) {
		return pendingCopy()
	}
	b.remove()
	delete(c.account.containers[c.container].blobs, c.blob)
	c.w.Header().Set("x-ms-delete-type-permanent", "true")
	c.w.WriteHeader(202)
	return nil
}

// copyBlob is Copy Blob and Copy Blob From URL. The source must be in this simulation: nothing is fetched from anywhere
// else. Within an account it is done when it answers, as Azure's mostly are; from another one it goes on.
func copyBlob(c *call) error {
	source := c.r.Header.Get("x-ms-copy-source")
	u, err := url.Parse(source)
	if err != nil {
		return fail(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
	}
	name, rest, ok := c.s.Route(u.Host, u.Path)
	a := c.s.open(name)
	if !ok || a == nil {
		return fail(404, "CannotVerifyCopySource", "The specified resource does not exist.")
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}, TLS: c.r.TLS, RemoteAddr: c.r.RemoteAddr}
	from := &call{s: c.s, w: c.w, r: req, q: u.Query(), account: a, now: c.now}
	from.container, from.blob, _ = strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	if a != c.account || from.q.Get("sig") != "" {
		if t := c.r.Header.Get("x-ms-copy-source-authorization"); t != "" {
			req.Header.Set("Authorization", t)
		}
		op, err := from.operation()
		if err == nil {
			err = from.authorize(op)
		}
		if err != nil {
			return fail(403, "CannotVerifyCopySource", err.Error())
		}
	}
	c.s.mu.Lock()
	src, err := from.item()
	if err != nil {
		c.s.mu.Unlock()
		return fail(404, "CannotVerifyCopySource", err.Error())
	}
	b := *src
	f, err := os.Open(src.file)
	c.s.mu.Unlock()
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	if b.file, err = c.s.clone(f, b.size); err != nil {
		return err
	}
	b.borrowed, b.staged, b.lease, b.created, b.copyAborted = false, nil, lease{}, c.now, false
	if m := metaOf(c.r.Header); len(m) > 0 {
		b.meta = m
	}
	t := c.s.token(16)
	u.RawQuery = "" // a SAS is not shown again
	b.copyID, b.copyFrom, b.copied = t[:8]+"-"+t[8:12]+"-4"+t[13:16]+"-8"+t[17:20]+"-"+t[20:], u.String(), c.now
	if took := c.s.cfg.CopyTakes; took != nil && a != c.account { // within an account a copy shares what is there
		b.copied = c.now.Add(took(b.size))
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if err := c.replace(&b); err != nil {
		return err
	}
	c.w.Header().Set("x-ms-copy-id", b.copyID)
	c.w.Header().Set("x-ms-copy-status", b.copyStatus(c.now))
	c.w.WriteHeader(202)
	return nil
}

// pendingCopy: a blob that is being copied to can be neither changed nor deleted before the copy ends or is aborted
// (rest/api/storageservices/abort-copy-blob, blob-service-error-codes).
func pendingCopy() *failure {
	return fail(409, "PendingCopyOperation", "There is currently a pending copy operation.")
}

// abortCopy ends a copy; what is left is a blob without a byte that keeps its metadata.
func abortCopy(c *call) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	b, err := c.item()
	if err != nil {
		return err
	}
	switch {
	case !b.pending(c.now):
		return fail(409, "NoPendingCopyOperation", "There is currently no pending copy operation.")
	case c.q.Get("copyid") != b.copyID:
		return fail(409, "CopyIdMismatch", "The specified copy ID did not match the copy ID for the pending copy operation.")
	}
	if err := os.Truncate(b.file, 0); err != nil {
		return err
	}
	b.size, b.pages, b.copyAborted = 0, nil, true
	c.w.WriteHeader(204)
	return nil
}
