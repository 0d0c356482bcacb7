package blob

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
)

func putBlock(c *call) error {
	if err := c.exists(); err != nil {
		return err
	}
	id := c.q.Get("blockid")
	if raw, err := base64.StdEncoding.DecodeString(id); err != nil || len(raw) == 0 || len(raw) > 64 {
		return fail(400, "InvalidQueryParameterValue", "Value for one of the query parameters specified in the request URI is invalid.")
	}
	file, size, err := c.s.store(http.MaxBytesReader(c.w, c.r.Body, 4000<<20))
	if err != nil {
		return err
	}
	sum, err := digest(file)
	if err != nil {
		return err
	}
	if want := c.r.Header.Get("Content-MD5"); want != "" && want != sum {
		return errors.Join(fail(400, "Md5Mismatch", "The MD5 value specified in the request did not match with the MD5 value calculated by the server."), os.Remove(file))
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	k, err := c.held()
	if err != nil {
		return errors.Join(err, os.Remove(file))
	}
	b := k.blobs[c.blob]
	if b == nil {
		b = &item{name: c.blob, kind: "BlockBlob", uncommitted: true, created: c.now}
		k.blobs[c.blob] = b
	}
	if b.kind != "BlockBlob" {
		return errors.Join(wrongKind(), os.Remove(file))
	}
	if err := b.lease.check(c, "Blob", true); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	if b.staged == nil {
		b.staged = map[string]block{}
	}
	if old, ok := b.staged[id]; ok {
		os.Remove(old.file) //nolint:errcheck // in a folder of our own
	}
	b.staged[id] = block{id: id, file: file, size: size}
	c.w.Header().Set("Content-MD5", sum)
	c.w.Header().Set("x-ms-request-server-encrypted", "true")
	c.w.WriteHeader(201)
	return nil
}

func wrongKind() *failure {
	return fail(409, "InvalidBlobType", "The blob type is invalid for this operation.")
}

// putBlockList makes the blob of its blocks. The lock is held while they are put together: they are on this disk.
func putBlockList(c *call) error {
	var in struct {
		Items []element `xml:",any"`
	}
	if err := xml.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, 8<<20)).Decode(&in); err != nil {
		return fail(400, "InvalidXmlDocument", "XML specified is not syntactically valid.")
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	k, err := c.held()
	if err != nil {
		return err
	}
	old := k.blobs[c.blob]
	if old == nil {
		old = &item{uncommitted: true}
	}
	b := &item{kind: "BlockBlob", meta: metaOf(c.r.Header), props: propsOf(c.r.Header, false)}
	out, err := c.s.fresh()
	if err != nil {
		return err
	}
	b.file = out.Name()
	for _, x := range in.Items {
		from, at, size := "", int64(0), int64(0)
		if s, ok := old.staged[x.Value]; ok && x.XMLName.Local != "Committed" {
			from, size = s.file, s.size
		} else if x.XMLName.Local != "Uncommitted" {
			for _, have := range old.committed {
				if have.id == x.Value {
					from, at, size = old.file, have.at, have.size
				}
			}
		}
		err := error(fail(400, "InvalidBlockList", "The specified block list is invalid."))
		if from != "" {
			err = appendPart(out, from, at, size)
		}
		if err != nil {
			return errors.Join(err, out.Close(), os.Remove(b.file))
		}
		b.committed = append(b.committed, block{id: x.Value, at: b.size, size: size})
		b.size += size
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := c.replace(b); err != nil {
		return err
	}
	c.w.WriteHeader(201)
	return nil
}

func appendPart(out io.Writer, file string, at, size int64) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(f, at, size))
	return errors.Join(err, f.Close())
}

func getBlockList(c *call) error {
	type shown struct {
		Name string
		Size int64
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	k, err := c.held()
	if err != nil {
		return err
	}
	b := k.blobs[c.blob]
	if b == nil {
		return fail(404, "BlobNotFound", "The specified blob does not exist.")
	}
	var out struct {
		XMLName     xml.Name `xml:"BlockList"`
		Committed   []shown  `xml:"CommittedBlocks>Block"`
		Uncommitted []shown  `xml:"UncommittedBlocks>Block"`
	}
	if t := c.q.Get("blocklisttype"); t != "uncommitted" {
		for _, x := range b.committed {
			out.Committed = append(out.Committed, shown{x.id, x.size})
		}
	}
	if t := c.q.Get("blocklisttype"); t == "uncommitted" || t == "all" {
		for _, x := range b.staged {
			out.Uncommitted = append(out.Uncommitted, shown{x.id, x.size})
		}
	}
	if !b.uncommitted {
		stamped(c.w, b.etag, b.modified)
	}
	c.w.Header().Set("x-ms-blob-content-length", strconv.FormatInt(b.size, 10))
	writeXML(c.w, 200, out)
	return nil
}

// appendBlock adds to an append blob.
func appendBlock(c *call) error {
	if err := c.exists(); err != nil {
		return err
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, 100<<20)) // 100 MiB since 2022-11-02
	if err != nil {
		return fail(413, "RequestBodyTooLarge", "The request body is too large and exceeds the maximum permissible limit.")
	}
	return c.change(201, func(b *item) error {
		if b.kind != "AppendBlob" {
			return wrongKind()
		}
		if t := c.r.Header.Get("x-ms-blob-condition-appendpos"); t != "" && t != strconv.FormatInt(b.size, 10) {
			return fail(412, "AppendPositionConditionNotMet", "The append position condition specified was not met.")
		}
		if n, err := strconv.ParseInt(c.r.Header.Get("x-ms-blob-condition-maxsize"), 10, 64); err == nil && b.size+int64(len(raw)) > n {
			return fail(412, "MaxBlobSizeConditionNotMet", "The max blob size condition specified was not met.")
		}
		if b.appends >= 50000 {
			return fail(409, "BlockCountExceedsLimit", "The committed block count cannot exceed the maximum limit of 50,000 blocks.")
		}
		f, err := os.OpenFile(b.file, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(raw, b.size)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		c.w.Header().Set("x-ms-blob-append-offset", strconv.FormatInt(b.size, 10))
		b.size += int64(len(raw))
		b.appends++
		c.w.Header().Set("x-ms-blob-committed-block-count", strconv.Itoa(b.appends))
		return nil
	})
}
