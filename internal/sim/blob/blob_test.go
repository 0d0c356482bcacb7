package blob_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/appendblob"
	sdkblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"ingot/internal/sim/blob"
)

const testKey = "dGVzdC1zZWNyZXQtbm90LXJlYWw=" // test-secret-not-real

type plane struct {
	*blob.Service
	t      *testing.T
	dir    string
	server *httptest.Server
	ahead  atomic.Int64 // how far the service's clock is ahead
	base   string       // of the account
	key    *service.SharedKeyCredential
	opt    azcore.ClientOptions
	allow  func(action string) bool
}

func newPlane(t *testing.T) *plane { return planeIn(t, t.TempDir(), "") }

func planeIn(t *testing.T, dir, index string) *plane {
	p := &plane{t: t, dir: dir, allow: func(string) bool { return true }}
	raw, err := base64.StdEncoding.DecodeString(testKey)
	must(t, err)
	p.Service, err = blob.New(blob.Config{Dir: p.dir, Index: index, Now: func() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) },
		Account:   func(n string) (blob.Account, bool) { return blob.Account{Name: n, Keys: [][]byte{raw}}, n == "acct" },
		Authorize: func(token, _, action string) (bool, bool) { return token == "known", p.allow(action) },
		Owner:     func(string) (string, string) { return "oid", "tid" }})
	must(t, err)
	p.server = httptest.NewTLSServer(p.Service)
	t.Cleanup(p.server.Close)
	p.base = p.server.URL + "/acct"
	p.opt = azcore.ClientOptions{Transport: p.server.Client(), Retry: policy.RetryOptions{MaxRetries: -1}}
	p.key, err = service.NewSharedKeyCredential("acct", testKey)
	must(t, err)
	return p
}

func (p *plane) service() *service.Client {
	c, err := service.NewClientWithSharedKeyCredential(p.base, p.key, &service.ClientOptions{ClientOptions: p.opt})
	must(p.t, err)
	return c
}

func (p *plane) container() *container.Client {
	c := p.service().NewContainerClient("box")
	_, err := c.Create(ctx(), &container.CreateOptions{Metadata: map[string]*string{"who": to.Ptr("me")}})
	must(p.t, err)
	return c
}

func ctx() context.Context { return context.Background() }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code bloberror.Code) {
	t.Helper()
	if !bloberror.HasCode(err, code) {
		t.Errorf("error is %v, want %s", err, code)
	}
}

func body(s string) io.ReadSeekCloser { return streaming.NopCloser(strings.NewReader(s)) }

func read(t *testing.T, c interface {
	DownloadStream(context.Context, *sdkblob.DownloadStreamOptions) (sdkblob.DownloadStreamResponse, error)
}, from, n int64) string {
	t.Helper()
	r, err := c.DownloadStream(ctx(), &sdkblob.DownloadStreamOptions{Range: sdkblob.HTTPRange{Offset: from, Count: n}})
	must(t, err)
	raw, err := io.ReadAll(r.Body)
	must(t, err)
	return string(raw)
}

func TestContainersAreMadeListedAndDeleted(t *testing.T) {
	p := newPlane(t)
	c := p.container()
	_, err := c.Create(ctx(), nil)
	wantCode(t, err, bloberror.ContainerAlreadyExists)
	got, err := c.GetProperties(ctx(), nil)
	must(t, err)
	if v := got.Metadata["Who"]; v == nil || *v != "me" {
		t.Errorf("metadata %v", got.Metadata)
	}
	page, err := p.service().NewListContainersPager(nil).NextPage(ctx())
	must(t, err)
	if len(page.ContainerItems) != 1 || *page.ContainerItems[0].Name != "box" {
		t.Errorf("listed %v", page.ContainerItems)
	}
	_, err = c.Delete(ctx(), nil)
	must(t, err)
	_, err = c.GetProperties(ctx(), nil)
	wantCode(t, err, bloberror.ContainerNotFound)
}

func TestBlockBlobs(t *testing.T) {
	p := newPlane(t)
	c := p.container()
	b := c.NewBlockBlobClient("dir/a b+c.txt")
	_, err := b.Upload(ctx(), body("hello world"), &blockblob.UploadOptions{HTTPHeaders: &sdkblob.HTTPHeaders{BlobContentType: to.Ptr("text/plain")}})
	must(t, err)
	if s := read(t, b, 6, 5); s != "world" {
		t.Errorf("range %q", s)
	}
	got, err := b.GetProperties(ctx(), nil)
	must(t, err)
	if *got.ContentLength != 11 || *got.ContentType != "text/plain" {
		t.Errorf("length %d type %s", *got.ContentLength, *got.ContentType)
	}
	id := func(n string) string { return base64.StdEncoding.EncodeToString([]byte(n)) }
	for _, n := range []string{"1", "2"} {
		_, err = b.StageBlock(ctx(), id(n), body("part"+n), nil)
		must(t, err)
	}
	_, err = b.CommitBlockList(ctx(), []string{id("2"), id("1")}, nil)
	must(t, err)
	if s := read(t, b, 0, 0); s != "part2part1" {
		t.Errorf("of blocks %q", s)
	}
	_, err = b.StageBlock(ctx(), id("3"), body("!"), nil)
	must(t, err)
	_, err = b.CommitBlockList(ctx(), []string{id("1"), id("3")}, nil) // one committed, one staged
	must(t, err)
	if s := read(t, b, 0, 0); s != "part1!" {
		t.Errorf("of old and new blocks %q", s)
	}
	_, err = b.CommitBlockList(ctx(), []string{id("9")}, nil)
	wantCode(t, err, bloberror.InvalidBlockList)
	_, err = c.NewBlobClient("none").GetProperties(ctx(), nil)
	wantCode(t, err, bloberror.BlobNotFound)
	_, err = b.Delete(ctx(), nil)
	must(t, err)
	left, err := os.ReadDir(p.dir)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("%d files are left of what was deleted", len(left))
	}
}

func TestAppendBlobs(t *testing.T) {
	c := newPlane(t).container().NewAppendBlobClient("log")
	_, err := c.Create(ctx(), nil)
	must(t, err)
	_, err = c.AppendBlock(ctx(), body("one"), nil)
	must(t, err)
	_, err = c.AppendBlock(ctx(), body("two"), &appendblob.AppendBlockOptions{AppendPositionAccessConditions: &appendblob.AppendPositionAccessConditions{AppendPosition: to.Ptr(int64(1))}})
	wantCode(t, err, bloberror.AppendPositionConditionNotMet)
	_, err = c.AppendBlock(ctx(), body("two"), &appendblob.AppendBlockOptions{AppendPositionAccessConditions: &appendblob.AppendPositionAccessConditions{AppendPosition: to.Ptr(int64(3))}})
	must(t, err)
	if s := read(t, c, 0, 0); s != "onetwo" {
		t.Errorf("appended %q", s)
	}
}

func TestPageBlobsAreSparse(t *testing.T) {
	p := newPlane(t)
	c := p.container().NewPageBlobClient("disk.vhd")
	const size = 127<<30 + 512
	_, err := c.Create(ctx(), size, nil)
	must(t, err)
	page := strings.Repeat("x", 512)
	for _, at := range []int64{0, 512, size - 512} {
		_, err = c.UploadPages(ctx(), body(page), sdkblob.HTTPRange{Offset: at, Count: 512}, nil)
		must(t, err)
	}
	ranges := func() (out []pageblob.PageRange) {
		t.Helper()
		got, err := c.NewGetPageRangesPager(nil).NextPage(ctx())
		must(t, err)
		for _, r := range got.PageRange {
			out = append(out, *r)
		}
		return out
	}
	if r := ranges(); len(r) != 2 || *r[0].End != 1023 || *r[1].Start != size-512 {
		t.Errorf("ranges %+v", r)
	}
	if s := read(t, c, 1000, 48); s != strings.Repeat("x", 24)+strings.Repeat("\x00", 24) {
		t.Errorf("read %q", s)
	}
	_, err = c.ClearPages(ctx(), sdkblob.HTTPRange{Offset: 0, Count: 512}, nil)
	must(t, err)
	if r := ranges(); len(r) != 2 || *r[0].Start != 512 || read(t, c, 0, 2) != "\x00\x00" {
		t.Errorf("after clearing %+v", r)
	}
	_, err = c.UploadPages(ctx(), body(page), sdkblob.HTTPRange{Offset: size, Count: 512}, nil)
	wantCode(t, err, bloberror.InvalidPageRange)
	files, err := os.ReadDir(p.dir)
	must(t, err)
	var info syscall.Stat_t
	must(t, syscall.Stat(p.dir+"/"+files[0].Name(), &info))
	if info.Size != size || info.Blocks*512 > 1<<20 {
		t.Errorf("%d bytes take %d on the disk", info.Size, info.Blocks*512)
	}
	copied := p.service().NewContainerClient("box").NewPageBlobClient("copy.vhd")
	r, err := copied.StartCopyFromURL(ctx(), c.URL(), nil)
	must(t, err)
	if *r.CopyStatus != sdkblob.CopyStatusTypeSuccess || *r.CopyID == "" || read(t, copied, size-512, 1) != "x" {
		t.Errorf("copy %+v", r)
	}
}

func TestConditionsAndLeases(t *testing.T) {
	p := newPlane(t)
	b := p.container().NewBlockBlobClient("a")
	first, err := b.Upload(ctx(), body("1"), nil)
	must(t, err)
	if_ := func(c sdkblob.ModifiedAccessConditions) *blockblob.UploadOptions {
		return &blockblob.UploadOptions{AccessConditions: &sdkblob.AccessConditions{ModifiedAccessConditions: &c}}
	}
	_, err = b.Upload(ctx(), body("2"), if_(sdkblob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}))
	wantCode(t, err, bloberror.BlobAlreadyExists)
	_, err = b.Upload(ctx(), body("2"), if_(sdkblob.ModifiedAccessConditions{IfMatch: first.ETag}))
	must(t, err)
	_, err = b.Upload(ctx(), body("3"), if_(sdkblob.ModifiedAccessConditions{IfMatch: first.ETag}))
	wantCode(t, err, bloberror.ConditionNotMet)

	l, err := lease.NewBlobClient(b, nil)
	must(t, err)
	_, err = l.AcquireLease(ctx(), 15, nil)
	must(t, err)
	_, err = b.Upload(ctx(), body("4"), nil)
	wantCode(t, err, bloberror.LeaseIDMissing)
	p.ahead.Store(int64(20 * time.Second))
	_, err = b.Upload(ctx(), body("4"), nil)
	must(t, err)
	_, err = l.RenewLease(ctx(), nil)
	must(t, err)
	_, err = l.BreakLease(ctx(), &lease.BlobBreakOptions{BreakPeriod: to.Ptr(int32(0))})
	must(t, err)
	_, err = l.RenewLease(ctx(), nil)
	wantCode(t, err, bloberror.LeaseIsBrokenAndCannotBeRenewed)
	_, err = l.ReleaseLease(ctx(), nil)
	must(t, err)
}

func TestListsHavePagesPrefixesAndDelimiters(t *testing.T) {
	c := newPlane(t).container()
	for _, n := range []string{"a", "d/1", "d/2", "e", "f/x"} {
		_, err := c.NewBlockBlobClient(n).Upload(ctx(), body(n), nil)
		must(t, err)
	}
	var got []string
	for pager := c.NewListBlobsHierarchyPager("/", &container.ListBlobsHierarchyOptions{MaxResults: to.Ptr(int32(2))}); pager.More(); {
		page, err := pager.NextPage(ctx())
		must(t, err)
		if n := len(page.Segment.BlobItems) + len(page.Segment.BlobPrefixes); n > 2 {
			t.Errorf("%d on a page", n)
		}
		for _, b := range page.Segment.BlobItems {
			got = append(got, *b.Name)
		}
		for _, b := range page.Segment.BlobPrefixes {
			got = append(got, *b.Name)
		}
	}
	if s := strings.Join(got, " "); s != "a d/ e f/" {
		t.Errorf("listed %s", s)
	}
}

func TestWhoMayNot(t *testing.T) {
	p := newPlane(t)
	b := p.container().NewBlockBlobClient("a")
	_, err := b.Upload(ctx(), body("secret"), nil)
	must(t, err)
	get := func(u string) (int, string) {
		t.Helper()
		r, err := p.server.Client().Get(u)
		must(t, err)
		defer r.Body.Close()
		return r.StatusCode, r.Header.Get("x-ms-error-code")
	}
	expect := func(what, u string, status int, code string) {
		t.Helper()
		if s, c := get(u); s != status || c != code {
			t.Errorf("%s: %d %s, want %d %s", what, s, c, status, code)
		}
	}
	at := p.base + "/box/a"
	expect("nobody", at, 401, "NoAuthenticationInformation")
	wrong, err := service.NewSharedKeyCredential("acct", "b3RoZXItdGVzdC1zZWNyZXQtbm90LXJlYWw=")
	must(t, err)
	stranger, err := service.NewClientWithSharedKeyCredential(p.base, wrong, &service.ClientOptions{ClientOptions: p.opt})
	must(t, err)
	_, err = stranger.NewListContainersPager(nil).NextPage(ctx())
	wantCode(t, err, bloberror.AuthenticationFailed)

	v := sas.BlobSignatureValues{ContainerName: "box", BlobName: "a", ExpiryTime: time.Now().Add(time.Hour), Permissions: "r"}
	service := func(change func(*sas.BlobSignatureValues)) string {
		x := v
		change(&x)
		q, err := x.SignWithSharedKey(p.key)
		must(t, err)
		return at + "?" + q.Encode()
	}
	good := service(func(*sas.BlobSignatureValues) {})
	expect("a service SAS", good, 200, "")
	expect("a forged one", strings.Replace(good, "sp=r", "sp=rw", 1), 403, "AuthenticationFailed")
	expect("one for another blob", strings.Replace(good, "/box/a?", "/box/b?", 1), 403, "AuthenticationFailed")
	expect("one that may only write", service(func(x *sas.BlobSignatureValues) { x.Permissions = "w" }), 403, "AuthorizationPermissionMismatch")
	expect("an expired one", service(func(x *sas.BlobSignatureValues) { x.ExpiryTime = time.Now().Add(-time.Hour) }), 403, "AuthenticationFailed")
	expect("another address", service(func(x *sas.BlobSignatureValues) { x.IPRange = sas.IPRange{Start: []byte{10, 0, 0, 1}} }), 403, "AuthorizationSourceIPMismatch")

	a, err := sas.AccountSignatureValues{ExpiryTime: time.Now().Add(time.Hour), Permissions: "r", ResourceTypes: "o"}.SignWithSharedKey(p.key)
	must(t, err)
	expect("an account SAS", at+"?"+a.Encode(), 200, "")
	expect("an account SAS for objects", p.base+"/box?restype=container&"+a.Encode(), 403, "AuthorizationResourceTypeMismatch")
}

type token string

func (k token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(k), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestTokensAndUserDelegation(t *testing.T) {
	p := newPlane(t)
	// The client signs with the account that the host names.
	p.base, p.opt.Transport = "https://acct.blob.storage.localhost", hosted{p.server}
	_, err := p.container().NewBlockBlobClient("a").Upload(ctx(), body("text"), nil)
	must(t, err)
	client := func(k token) *service.Client {
		c, err := service.NewClient(p.base, k, &service.ClientOptions{ClientOptions: p.opt})
		must(t, err)
		return c
	}
	me := client("known")
	if s := read(t, me.NewContainerClient("box").NewBlobClient("a"), 0, 0); s != "text" {
		t.Errorf("read %q", s)
	}
	_, err = client("junk").NewContainerClient("box").GetProperties(ctx(), nil)
	wantCode(t, err, bloberror.InvalidAuthenticationInfo)
	p.allow = func(action string) bool { return !strings.HasSuffix(action, "blobs/delete") }
	_, err = me.NewContainerClient("box").NewBlobClient("a").Delete(ctx(), nil)
	wantCode(t, err, bloberror.AuthorizationPermissionMismatch)

	stamp := func(d time.Duration) *string { return to.Ptr(time.Now().UTC().Add(d).Format(sas.TimeFormat)) }
	udc, err := me.GetUserDelegationCredential(ctx(), service.KeyInfo{Start: stamp(-time.Minute), Expiry: stamp(time.Hour)}, nil)
	must(t, err)
	q, err := sas.BlobSignatureValues{ContainerName: "box", BlobName: "a", ExpiryTime: time.Now().Add(time.Hour), Permissions: "r"}.SignWithUserDelegation(udc)
	must(t, err)
	req, err := http.NewRequest(http.MethodGet, p.base+"/box/a?"+q.Encode(), nil)
	must(t, err)
	r, err := p.opt.Transport.Do(req)
	must(t, err)
	defer r.Body.Close()
	if raw, err := io.ReadAll(r.Body); err != nil || string(raw) != "text" {
		t.Errorf("by user delegation: %d %s %v", r.StatusCode, raw, err)
	}
}

func TestAGrantedDiskIsWrittenAndRevoked(t *testing.T) {
	p := newPlane(t)
	file := t.TempDir() + "/disk"
	must(t, os.WriteFile(file, make([]byte, 1<<20), 0o600))
	account, host, rest, err := p.Grant(file, true, time.Now().Add(time.Minute))
	must(t, err)
	opt := p.opt
	opt.Transport = hosted{p.server}
	c, err := pageblob.NewClientWithNoCredential("https://"+host+rest, &pageblob.ClientOptions{ClientOptions: opt})
	must(t, err)
	page := bytes.Repeat([]byte("d"), 512)
	_, err = c.UploadPages(ctx(), streaming.NopCloser(bytes.NewReader(page)), sdkblob.HTTPRange{Offset: 512, Count: 512}, nil)
	must(t, err)
	raw, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(raw[512:1024], page) || p.Writes(account) != 1 {
		t.Error("the page is not on the disk")
	}
	p.ahead.Store(int64(time.Hour))
	_, err = c.GetProperties(ctx(), nil)
	wantCode(t, err, bloberror.AuthenticationFailed)
	p.ahead.Store(0)
	p.Drop(account)
	_, err = c.GetProperties(ctx(), nil)
	if err == nil {
		t.Error("a revoked address still answers")
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the disk's file: %v", err)
	}
}

// hosted sends every host's requests to one server.
type hosted struct{ s *httptest.Server }

func (h hosted) Do(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host, r.URL.Host = r.URL.Host, strings.TrimPrefix(h.s.URL, "https://")
	return h.s.Client().Do(r)
}
