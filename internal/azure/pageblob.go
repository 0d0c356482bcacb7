package azure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
)

const (
	pagePart    = 4 << 20 // the most that one Put Page takes: rest/api/storageservices/put-page
	pageWorkers = 8
)

// Range is the part [From, To) of a disk.
type Range struct{ From, To int64 }

// pages is a client of a disk's bytes, by the address that GrantAccess answered.
func (c *Client) pages(sas string) (*pageblob.Client, error) {
	o := c.http
	o.PerCallPolicies = nil // a correlation id is Resource Manager's
	p, err := pageblob.NewClientWithNoCredential(sas, &pageblob.ClientOptions{ClientOptions: o})
	if err != nil {
		return nil, errors.New("cannot use the address of a disk") // it holds a secret
	}
	return p, nil
}

// PageRanges are the parts of a disk that have been written.
func (c *Client) PageRanges(ctx context.Context, sas string) ([]Range, error) {
	p, err := c.pages(sas)
	if err != nil {
		return nil, err
	}
	var out []Range
	for pager := p.NewGetPageRangesPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, wrap(err, "list the written parts of a disk")
		}
		for _, r := range page.PageRange {
			out = append(out, Range{val(r.Start), val(r.End) + 1})
		}
	}
	return out, nil
}

// UploadPages writes size bytes of r to a disk. What is zero is left out, and so is what PageRanges already lists, so that
// an upload that was cut off goes on: a part of 4 MiB is written whole or not at all. In the end the written parts are asked
// for, and must cover what was sent. progress is told of bytes that are dealt with; it may be nil, and is called by one
// goroutine at a time.
func (c *Client) UploadPages(ctx context.Context, sas string, r io.ReaderAt, size int64, progress func(done int64)) error {
	if size%512 != 0 {
		return fmt.Errorf("cannot upload a disk: its size of %d bytes is not a multiple of 512", size)
	}
	p, err := c.pages(sas)
	if err != nil {
		return err
	}
	have, err := c.PageRanges(ctx, sas)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var sent []Range
	err = inParts([]Range{{0, size}}, progress, func(part Range) error {
		buf := make([]byte, part.To-part.From)
		if _, err := r.ReadAt(buf, part.From); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("cannot read the disk: %w", err)
		}
		from, to, some := trimmed(buf)
		if !some {
			return nil
		}
		at := Range{part.From + from, part.From + to}
		mu.Lock()
		sent = append(sent, at)
		mu.Unlock()
		if covered(have, at) {
			return nil
		}
		_, err := p.UploadPages(ctx, streaming.NopCloser(bytes.NewReader(buf[from:to])), blob.HTTPRange{Offset: at.From, Count: at.To - at.From}, nil)
		return wrap(err, "write a disk at byte %d", at.From)
	})
	if err != nil {
		return err
	}
	if have, err = c.PageRanges(ctx, sas); err != nil {
		return err
	}
	for _, at := range sent {
		if !covered(have, at) {
			return fmt.Errorf("cannot upload a disk: bytes %d to %d were sent and are not there", at.From, at.To-1)
		}
	}
	return nil
}

// DownloadPages reads a disk into w and leaves out what was never written: a sparse file keeps its holes. It answers the
// disk's size, to which the caller extends the file. progress is told of bytes as UploadPages tells.
func (c *Client) DownloadPages(ctx context.Context, sas string, w io.WriterAt, progress func(done int64)) (int64, error) {
	p, err := c.pages(sas)
	if err != nil {
		return 0, err
	}
	props, err := p.GetProperties(ctx, nil)
	if err != nil {
		return 0, wrap(err, "look up a disk's size")
	}
	have, err := c.PageRanges(ctx, sas)
	if err != nil {
		return 0, err
	}
	return val(props.ContentLength), inParts(have, progress, func(part Range) error {
		r, err := p.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: part.From, Count: part.To - part.From}})
		if err != nil {
			return wrap(err, "read a disk at byte %d", part.From)
		}
		body := r.NewRetryReader(ctx, &blob.RetryReaderOptions{MaxRetries: 3})
		n, err := io.Copy(io.NewOffsetWriter(w, part.From), body)
		if err = errors.Join(err, body.Close()); err != nil {
			return fmt.Errorf("cannot read a disk at byte %d: %w", part.From, err)
		}
		if n != part.To-part.From {
			return fmt.Errorf("cannot read a disk at byte %d: %d bytes came of %d", part.From, n, part.To-part.From)
		}
		return nil
	})
}

// inParts cuts ranges into parts of 4 MiB and works on several at once; the first error ends it.
func inParts(ranges []Range, progress func(int64), work func(Range) error) error {
	parts := make(chan Range)
	stop := make(chan struct{})
	var mu sync.Mutex
	var first error
	var done int64
	var all sync.WaitGroup
	for range pageWorkers {
		all.Go(func() {
			for part := range parts {
				err := work(part)
				mu.Lock()
				switch {
				case err != nil && first == nil:
					first = err
					close(stop)
				case err == nil:
					if done += part.To - part.From; progress != nil {
						progress(done)
					}
				}
				mu.Unlock()
			}
		})
	}
feed:
	for _, r := range ranges {
		for at := r.From; at < r.To; {
			// Parts end at multiples of 4 MiB, so that those of a resumed run are those of the first.
			to := min((at/pagePart+1)*pagePart, r.To)
			select {
			case parts <- Range{at, to}:
			case <-stop:
				break feed
			}
			at = to
		}
	}
	close(parts)
	all.Wait()
	return first
}

// trimmed is what lies between the zeros at a part's two ends, in pages of 512 bytes.
func trimmed(b []byte) (from, to int64, some bool) {
	zero := make([]byte, 512)
	n := len(b) / 512
	i, j := 0, n
	for i < n && bytes.Equal(b[i*512:(i+1)*512], zero) {
		i++
	}
	for j > i && bytes.Equal(b[(j-1)*512:j*512], zero) {
		j--
	}
	return int64(i) * 512, int64(j) * 512, i < j
}

// covered reports whether one of the ranges, which lie apart in order, holds a part whole.
func covered(have []Range, part Range) bool {
	at := part.From
	for _, h := range have {
		if h.From <= at && at < h.To { // ranges that touch may come as two
			at = h.To
		}
	}
	return at >= part.To
}
