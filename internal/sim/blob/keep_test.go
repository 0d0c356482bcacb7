package blob_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdkblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
)

// TestAnotherServiceFindsTheBlobs: what was answered before a process ended is there in the next one, half-done uploads and leases
// included, and goes on being writable.
func TestAnotherServiceFindsTheBlobs(t *testing.T) {
	root := t.TempDir()
	dir, index := filepath.Join(root, "blobs"), filepath.Join(root, "names")
	must(t, os.Mkdir(dir, 0o700))
	first := planeIn(t, dir, index)
	box := first.container()
	id := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

	block := box.NewBlockBlobClient("folder/whole.txt")
	_, err := block.Upload(ctx(), body("all of it"), &blockblob.UploadOptions{Metadata: map[string]*string{"kind": to.Ptr("text")},
		HTTPHeaders: &sdkblob.HTTPHeaders{BlobContentType: to.Ptr("text/plain")}})
	must(t, err)
	_, err = box.NewBlockBlobClient("blocks").StageBlock(ctx(), id("one"), body("first "), nil)
	must(t, err)
	_, err = box.NewBlockBlobClient("blocks").CommitBlockList(ctx(), []string{id("one")}, nil)
	must(t, err)
	_, err = box.NewBlockBlobClient("blocks").StageBlock(ctx(), id("two"), body("second"), nil)
	must(t, err)
	log := box.NewAppendBlobClient("log")
	_, err = log.Create(ctx(), nil)
	must(t, err)
	_, err = log.AppendBlock(ctx(), body("line 1\n"), nil)
	must(t, err)
	page := box.NewPageBlobClient("disk.vhd")
	_, err = page.Create(ctx(), 4096, nil)
	must(t, err)
	_, err = page.UploadPages(ctx(), streaming.NopCloser(bytes.NewReader(bytes.Repeat([]byte("p"), 512))), sdkblob.HTTPRange{Offset: 1024, Count: 512}, nil)
	must(t, err)
	held, err := lease.NewBlobClient(page, nil)
	must(t, err)
	_, err = held.AcquireLease(ctx(), -1, nil)
	must(t, err)
	gone := box.NewBlockBlobClient("gone")
	_, err = gone.Upload(ctx(), body("x"), nil)
	must(t, err)
	_, err = gone.Delete(ctx(), nil)
	must(t, err)
	before, err := block.GetProperties(ctx(), nil)
	must(t, err)
	first.server.Close()

	second := planeIn(t, dir, index)
	box = second.service().NewContainerClient("box")
	c, err := box.GetProperties(ctx(), nil)
	must(t, err)
	if c.Metadata["Who"] == nil || *c.Metadata["Who"] != "me" {
		t.Errorf("the container's metadata is %v", c.Metadata)
	}
	block = box.NewBlockBlobClient("folder/whole.txt")
	after, err := block.GetProperties(ctx(), nil)
	must(t, err)
	if *after.ETag != *before.ETag || *after.ContentType != "text/plain" || *after.Metadata["Kind"] != "text" || !after.LastModified.Equal(*before.LastModified) {
		t.Errorf("properties before %+v, after %+v", before, after)
	}
	if got := read(t, block, 0, 0); got != "all of it" {
		t.Errorf("the block blob holds %q", got)
	}
	_, err = box.NewBlockBlobClient("blocks").CommitBlockList(ctx(), []string{id("one"), id("two")}, nil)
	must(t, err)
	if got := read(t, box.NewBlockBlobClient("blocks"), 0, 0); got != "first second" {
		t.Errorf("a committed and a staged block make %q", got)
	}
	_, err = box.NewAppendBlobClient("log").AppendBlock(ctx(), body("line 2\n"), nil)
	must(t, err)
	if got := read(t, box.NewAppendBlobClient("log"), 0, 0); got != "line 1\nline 2\n" {
		t.Errorf("the append blob holds %q", got)
	}
	page = box.NewPageBlobClient("disk.vhd")
	if got := read(t, page, 0, 0); got != strings.Repeat("\x00", 1024)+strings.Repeat("p", 512)+strings.Repeat("\x00", 2560) {
		t.Errorf("the page blob holds %d bytes, of which %d are p", len(got), strings.Count(got, "p"))
	}
	ranges, err := page.NewGetPageRangesPager(&pageblob.GetPageRangesOptions{}).NextPage(ctx())
	must(t, err)
	if len(ranges.PageRange) != 1 || *ranges.PageRange[0].Start != 1024 || *ranges.PageRange[0].End != 1535 {
		t.Errorf("its ranges are %v", ranges.PageRange)
	}
	_, err = page.UploadPages(ctx(), streaming.NopCloser(bytes.NewReader(make([]byte, 512))), sdkblob.HTTPRange{Count: 512}, nil)
	wantCode(t, err, bloberror.LeaseIDMissing)
	_, err = box.NewBlockBlobClient("gone").GetProperties(ctx(), nil)
	wantCode(t, err, bloberror.BlobNotFound)
	_, err = box.NewBlockBlobClient("new").Upload(ctx(), body("n"), nil)
	must(t, err)
	if got := read(t, block, 0, 0); got != "all of it" {
		t.Errorf("a new blob was written over an old one: %q", got)
	}

	// An account that goes takes its names along.
	second.Drop("acct")
	third := planeIn(t, dir, index)
	_, err = third.service().NewContainerClient("box").GetProperties(ctx(), nil)
	wantCode(t, err, bloberror.ContainerNotFound)
}
