package blob

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
)

const maxPut = 4 << 20 // rest/api/storageservices/put-page

// putPage writes or clears pages. The body is taken in before the lock, the write happens after the blob was found and
// before its ranges say so.
func putPage(c *call) error {
	if err := c.exists(); err != nil {
		return err
	}
	h := c.r.Header
	if h.Get("x-ms-copy-source") != "" {
		return fail(501, "SimulatorNotImplemented", "The simulated Blob service does not know Put Page From URL")
	}
	action := h.Get("x-ms-page-write")
	var raw []byte
	if action == "update" {
		var err error
		if raw, err = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxPut)); err != nil {
			return fail(413, "RequestBodyTooLarge", "The request body is too large and exceeds the maximum permissible limit.")
		}
	}
	return c.change(201, func(b *item) error {
		if b.kind != "PageBlob" {
			return wrongKind()
		}
		from, to, has, err := ranged(h, b.size)
		if err != nil || !has || from%512 != 0 || to%512 != 0 || action == "update" && to-from != int64(len(raw)) {
			return fail(416, "InvalidPageRange", "The page range specified is invalid.")
		}
		for name, fits := range map[string]func(n int64) bool{"le": func(n int64) bool { return b.sequence <= n }, "lt": func(n int64) bool { return b.sequence < n }, "eq": func(n int64) bool { return b.sequence == n }} {
			if n, err := strconv.ParseInt(h.Get("x-ms-if-sequence-number-"+name), 10, 64); err == nil && !fits(n) {
				return fail(412, "SequenceNumberConditionNotMet", "The sequence number condition specified was not met.")
			}
		}
		f, err := os.OpenFile(b.file, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		switch action {
		case "update":
			_, err = f.WriteAt(raw, from)
			b.pages = b.pages.add(from, to)
		case "clear":
			zeros := make([]byte, 1<<20)
			for _, s := range b.pages.within(from, to) { // what was never written is a hole already
				for at := s.from; at < s.to && err == nil; at += int64(len(zeros)) {
					_, err = f.WriteAt(zeros[:min(int64(len(zeros)), s.to-at)], at)
				}
			}
			b.pages = b.pages.cut(from, to)
		default:
			err = fail(400, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified: x-ms-page-write.")
		}
		b.writes++
		c.w.Header().Set("x-ms-blob-sequence-number", strconv.FormatInt(b.sequence, 10))
		return errors.Join(err, f.Close())
	})
}

func getPageRanges(c *call) error {
	type pages struct{ Start, End int64 }
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	b, err := c.item()
	if err != nil {
		return err
	}
	if b.kind != "PageBlob" {
		return wrongKind()
	}
	if err := b.mayRead(c); err != nil {
		return err
	}
	if c.q.Get("prevsnapshot") != "" || c.r.Header.Get("x-ms-previous-snapshot-url") != "" {
		return fail(501, "SimulatorNotImplemented", "The simulated Blob service does not know differences between snapshots")
	}
	from, to, _, err := ranged(c.r.Header, b.size)
	if err != nil && b.size > 0 {
		return err
	}
	var out struct {
		XMLName    xml.Name `xml:"PageList"`
		PageRange  []pages
		NextMarker string
	}
	_, limit, err := c.paging()
	if err != nil {
		return err
	}
	if c.q.Get("maxresults") == "" {
		limit = 10000
	}
	start, _ := strconv.ParseInt(c.q.Get("marker"), 10, 64) //nolint:errcheck // absent is 0
	for i, s := range b.pages.within(max(from, start), to) {
		if i == limit {
			out.NextMarker = strconv.FormatInt(s.from, 10)
			break
		}
		out.PageRange = append(out.PageRange, pages{s.from, s.to - 1})
	}
	stamped(c.w, b.etag, b.modified)
	c.w.Header().Set("x-ms-blob-content-length", strconv.FormatInt(b.size, 10))
	writeXML(c.w, 200, out)
	return nil
}

// written finds the parts of a file that are not holes. Where the system cannot tell, all of it is.
func written(f *os.File, size int64) ranges {
	const seekData, seekHole = 3, 4 // lseek(2) of Linux
	if runtime.GOOS != "linux" {
		return ranges{{0, size}}
	}
	var out ranges
	for at := int64(0); at < size; {
		from, err := f.Seek(at, seekData)
		if err != nil {
			break // nothing but a hole is left
		}
		to, err := f.Seek(from, seekHole)
		if err != nil {
			return ranges{{0, size}}
		}
		// Pages are of 512 bytes, the file system's blocks of more.
		out = out.add(from/512*512, min((to+511)/512*512, size))
		at = to
	}
	return out
}

// clone copies a file and leaves its holes.
func (s *Service) clone(f *os.File, size int64) (string, error) {
	out, err := s.fresh()
	if err != nil {
		return "", err
	}
	err = out.Truncate(size)
	for _, r := range written(f, size) {
		if err == nil {
			_, err = io.Copy(io.NewOffsetWriter(out, r.from), io.NewSectionReader(f, r.from, r.to-r.from))
		}
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return "", errors.Join(err, os.Remove(out.Name()))
	}
	return out.Name(), nil
}
