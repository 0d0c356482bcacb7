package blob

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// item finds the blob; the caller holds mu.
func (c *call) item() (*item, error) {
	k, err := c.held()
	if err != nil {
		return nil, err
	}
	if b := k.blobs[c.blob]; b != nil && !b.uncommitted {
		return b, nil
	}
	return nil, fail(404, "BlobNotFound", "The specified blob does not exist.")
}

// conditions holds the conditional headers against what is there; etag "" is: nothing
// (rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations).
func conditions(h http.Header, etag string, modified time.Time, write bool) error {
	not := fail(412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
	same := func(list string) bool {
		for _, t := range strings.Split(list, ",") {
			if t = strings.TrimSpace(t); t == "*" && etag != "" || t != "" && strings.Trim(t, `"`) == strings.Trim(etag, `"`) {
				return true
			}
		}
		return false
	}
	if m := h.Get("If-Match"); m != "" && !same(m) {
		return not
	}
	if m := h.Get("If-None-Match"); m != "" && same(m) {
		switch {
		case !write:
			return fail(304, "ConditionNotMet", not.message)
		case strings.TrimSpace(m) == "*":
			return fail(409, "BlobAlreadyExists", "The specified blob already exists.")
		}
		return not
	}
	whole := modified.Truncate(time.Second)
	if t, err := http.ParseTime(h.Get("If-Modified-Since")); err == nil && etag != "" && !whole.After(t) {
		if !write {
			return fail(304, "ConditionNotMet", not.message)
		}
		return not
	}
	if t, err := http.ParseTime(h.Get("If-Unmodified-Since")); err == nil && etag != "" && whole.After(t) {
		return not
	}
	return nil
}

// pending reports a copy that goes on (https://learn.microsoft.com/rest/api/storageservices/get-blob-properties: x-ms-copy-status).
func (b *item) pending(now time.Time) bool {
	return b.copyID != "" && !b.copyAborted && now.Before(b.copied)
}

func (b *item) copyStatus(now time.Time) string {
	switch {
	case b.copyAborted:
		return "aborted"
	case b.pending(now):
		return "pending"
	}
	return "success"
}

func (b *item) progress(now time.Time) string {
	done := b.size
	if took := b.copied.Sub(b.created); b.pending(now) && took > 0 {
		done = int64(float64(b.size) * float64(now.Sub(b.created)) / float64(took))
	}
	return fmt.Sprintf("%d/%d", done, b.size)
}

func (b *item) show(c *call) {
	h := c.w.Header()
	stamped(c.w, b.etag, b.modified)
	showMeta(c.w, b.meta)
	for _, n := range contentHeaders() {
		if v := b.props[n]; v != "" {
			h.Set(n, v)
		}
	}
	h.Set("x-ms-blob-type", b.kind)
	h.Set("x-ms-creation-time", b.created.UTC().Format(http.TimeFormat))
	h.Set("x-ms-server-encrypted", "true")
	h.Set("Accept-Ranges", "bytes")
	b.lease.show(h, c.now)
	switch b.kind {
	case "PageBlob":
		h.Set("x-ms-blob-sequence-number", strconv.FormatInt(b.sequence, 10))
	case "AppendBlob":
		h.Set("x-ms-blob-committed-block-count", strconv.Itoa(b.appends))
	}
	if b.copyID != "" {
		h.Set("x-ms-copy-id", b.copyID)
		h.Set("x-ms-copy-status", b.copyStatus(c.now))
		h.Set("x-ms-copy-source", b.copyFrom)
		h.Set("x-ms-copy-progress", b.progress(c.now))
		if !b.pending(c.now) {
			h.Set("x-ms-copy-completion-time", b.copied.UTC().Format(http.TimeFormat))
		}
	}
}

func headBlob(c *call) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	b, err := c.item()
	if err != nil {
		return err
	}
	if err := b.mayRead(c); err != nil {
		return err
	}
	b.show(c)
	if c.q.Get("comp") == "" {
		c.w.Header().Set("Content-Length", strconv.FormatInt(b.size, 10))
	}
	c.w.WriteHeader(200)
	return nil
}

func (b *item) mayRead(c *call) error {
	if err := conditions(c.r.Header, b.etag, b.modified, false); err != nil {
		return err
	}
	return b.lease.check(c, "Blob", false)
}

// ranged reads Range or x-ms-range: [from, to), and whether there was one.
func ranged(h http.Header, size int64) (from, to int64, ok bool, err error) {
	t := h.Get("x-ms-range")
	if t == "" {
		t = h.Get("Range")
	}
	if t == "" {
		return 0, size, false, nil
	}
	bad := fail(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
	a, b, dash := strings.Cut(strings.TrimPrefix(t, "bytes="), "-")
	if from, err = strconv.ParseInt(a, 10, 64); err != nil || !dash || from < 0 || from >= size {
		return 0, 0, true, bad
	}
	to = size
	if b != "" {
		n, err := strconv.ParseInt(b, 10, 64)
		if err != nil || n < from {
			return 0, 0, true, bad
		}
		to = min(n+1, size)
	}
	return from, to, true, nil
}

func getBlob(c *call) error {
	c.s.mu.Lock()
	b, err := c.item()
	if err == nil {
		err = b.mayRead(c)
	}
	var from, to int64
	var part bool
	if err == nil {
		from, to, part, err = ranged(c.r.Header, b.size)
	}
	if err != nil {
		c.s.mu.Unlock()
		return err
	}
	// An open file goes on holding what it held when the blob is replaced meanwhile.
	f, err := os.Open(b.file)
	b.show(c)
	size := b.size
	c.s.mu.Unlock()
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	h := c.w.Header()
	status := 200
	if part {
		status = 206
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, size))
		if md5 := h.Get("Content-MD5"); md5 != "" {
			h.Del("Content-MD5")
			h.Set("x-ms-blob-content-md5", md5)
		}
	}
	for param, name := range map[string]string{"rscc": "Cache-Control", "rscd": "Content-Disposition", "rsce": "Content-Encoding", "rscl": "Content-Language", "rsct": "Content-Type"} {
		if v := c.q.Get(param); v != "" && c.q.Get("sig") != "" {
			h.Set(name, v)
		}
	}
	h.Set("Content-Length", strconv.FormatInt(to-from, 10))
	c.w.WriteHeader(status)
	io.Copy(c.w, io.NewSectionReader(f, from, to-from)) //nolint:errcheck // the caller may have gone
	return nil
}
