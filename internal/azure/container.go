package azure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/appendblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"
)

// Container is a container of blobs, with what a journal in it needs: append blobs and leases. It is safe for concurrent use.
type Container struct {
	c      *container.Client
	shown  string // its address without a SAS
	prefix string // "" or ends with /
}

// ContainerOptions say how to reach one.
type ContainerOptions struct {
	Credential azcore.TokenCredential // nil: the address carries a shared access signature
	Transport  policy.Transporter     // nil: the SDK's own
	UserAgent  string
	RetryDelay time.Duration
}

// BlobItem is a blob in a list.
type BlobItem struct {
	Name     string // without the container's prefix
	Size     int64
	Leased   bool
	Metadata map[string]string
}

// OpenContainer reads https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX][?SAS]. Nothing is asked of Azure yet.
func OpenContainer(address string, o ContainerOptions) (*Container, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("cannot use the container: its address is not https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]") // it may hold a secret
	}
	name, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if name == "" {
		return nil, fmt.Errorf("cannot use %s: it names no container; write https://%s/CONTAINER[/PREFIX]", address, u.Host)
	}
	if prefix != "" {
		prefix += "/"
	}
	shown := "https://" + u.Host + "/" + name + "/" + prefix
	at := "https://" + u.Host + "/" + name
	// Writes of a journal are retried by whoever holds it, within the time of his lease; the SDK's own retries stay short of that.
	opts := &container.ClientOptions{ClientOptions: policy.ClientOptions{Transport: o.Transport, Telemetry: policy.TelemetryOptions{ApplicationID: o.UserAgent},
		Retry: policy.RetryOptions{MaxRetries: 3, RetryDelay: o.RetryDelay, MaxRetryDelay: 5 * time.Second, TryTimeout: 30 * time.Second}}}
	c := &Container{prefix: prefix, shown: strings.TrimSuffix(shown, "/")}
	switch {
	case u.Query().Get("sig") != "":
		c.c, err = container.NewClientWithNoCredential(at+"?"+u.RawQuery, opts)
	case o.Credential == nil:
		return nil, fmt.Errorf("cannot use %s without signing in", shown)
	default:
		c.c, err = container.NewClient(at, o.Credential, opts)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use %s", shown) // the SDK's words may hold the signature
	}
	return c, nil
}

// String is the container's address, without secrets.
func (c *Container) String() string { return c.shown }

// wrap adds what to do about a refusal that is usual here: Owner and Contributor do not include the right to read and write blobs
// (learn.microsoft.com/azure/storage/blobs/assign-azure-role-data-access).
func (c *Container) wrap(err error, format string, args ...any) error {
	err = wrap(err, format, args...)
	switch code(err) {
	case "AuthorizationPermissionMismatch":
		return fmt.Errorf("%w; the identity needs the role Storage Blob Data Contributor on %s", err, c.shown)
	case "ContainerNotFound":
		return fmt.Errorf("%w; make it first: az storage container create", err)
	}
	return err
}

// CreateAppend makes an empty append blob; one that exists is an error (IsConflict).
func (c *Container) CreateAppend(ctx context.Context, name string) error {
	any := azcore.ETagAny
	_, err := c.c.NewAppendBlobClient(c.prefix+name).Create(ctx, &appendblob.CreateOptions{AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &any}}})
	return c.wrap(err, "create %s/%s", c.shown, name)
}

// Append writes b at the end of an append blob if that is at byte at and the lease is still ours; one block holds 4 MiB, and
// a blob 50 000 of them (rest/api/storageservices/append-block).
func (c *Container) Append(ctx context.Context, name, leaseID string, at int64, b []byte) error {
	_, err := c.c.NewAppendBlobClient(c.prefix+name).AppendBlock(ctx, streaming.NopCloser(bytes.NewReader(b)), &appendblob.AppendBlockOptions{
		AppendPositionAccessConditions: &appendblob.AppendPositionAccessConditions{AppendPosition: &at}, AccessConditions: leased(leaseID)})
	return c.wrap(err, "append to %s/%s", c.shown, name)
}

// IsAppendPosition reports that an Append was refused because the blob does not end where it should.
func IsAppendPosition(err error) bool { return code(err) == "AppendPositionConditionNotMet" }

func leased(id string) *blob.AccessConditions {
	if id == "" {
		return nil
	}
	return &blob.AccessConditions{LeaseAccessConditions: &blob.LeaseAccessConditions{LeaseID: &id}}
}

// Acquire takes a lease of 15 to 60 seconds, whose id the caller chooses; IsLeaseHeld when somebody has one.
func (c *Container) Acquire(ctx context.Context, name, id string, length time.Duration) error {
	l, err := lease.NewBlobClient(c.c.NewBlobClient(c.prefix+name), &lease.BlobClientOptions{LeaseID: &id})
	if err == nil {
		_, err = l.AcquireLease(ctx, int32(length/time.Second), nil)
	}
	return c.wrap(err, "lease %s/%s", c.shown, name)
}

// Renew keeps a lease; IsLeaseLost when somebody else has it by now. Nothing else is lost by one that has merely run out.
func (c *Container) Renew(ctx context.Context, name, id string) error {
	l, err := lease.NewBlobClient(c.c.NewBlobClient(c.prefix+name), &lease.BlobClientOptions{LeaseID: &id})
	if err == nil {
		_, err = l.RenewLease(ctx, nil)
	}
	return c.wrap(err, "renew the lease on %s/%s", c.shown, name)
}

// Release gives a lease back.
func (c *Container) Release(ctx context.Context, name, id string) error {
	l, err := lease.NewBlobClient(c.c.NewBlobClient(c.prefix+name), &lease.BlobClientOptions{LeaseID: &id})
	if err == nil {
		_, err = l.ReleaseLease(ctx, nil)
	}
	return c.wrap(err, "give back the lease on %s/%s", c.shown, name)
}

// IsLeaseHeld reports that somebody else has the lease.
func IsLeaseHeld(err error) bool { return code(err) == "LeaseAlreadyPresent" }

// IsLeaseLost reports that a lease is not ours any more, or that a write was refused for that
// (rest/api/storageservices/blob-service-error-codes).
func IsLeaseLost(err error) bool {
	switch code(err) {
	case "LeaseIdMismatchWithLeaseOperation", "LeaseIdMismatchWithBlobOperation", "LeaseLost", "LeaseIsBrokenAndCannotBeRenewed", "LeaseNotPresentWithBlobOperation", "LeaseNotPresentWithLeaseOperation", "LeaseIdMissing":
		return true
	}
	return false
}

// SetMetadata replaces a blob's metadata under our lease.
func (c *Container) SetMetadata(ctx context.Context, name, leaseID string, values map[string]string) error {
	_, err := c.c.NewBlobClient(c.prefix+name).SetMetadata(ctx, ptrs(values), &blob.SetMetadataOptions{AccessConditions: leased(leaseID)})
	return c.wrap(err, "write the metadata of %s/%s", c.shown, name)
}

// Look is a blob's size, metadata and whether somebody has a lease on it; IsNotFound where there is none.
func (c *Container) Look(ctx context.Context, name string) (BlobItem, error) {
	r, err := c.c.NewBlobClient(c.prefix+name).GetProperties(ctx, nil)
	if err != nil {
		// The answer of a HEAD has no body: the status says it all.
		return BlobItem{}, c.wrap(err, "look at %s/%s", c.shown, name)
	}
	return BlobItem{Name: name, Size: val(r.ContentLength), Leased: val(r.LeaseStatus) == "locked", Metadata: vals(r.Metadata)}, nil
}

// Read opens a blob for reading from its first byte.
func (c *Container) Read(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := c.c.NewBlobClient(c.prefix+name).DownloadStream(ctx, nil)
	if err != nil {
		return nil, c.wrap(err, "read %s/%s", c.shown, name)
	}
	return r.NewRetryReader(ctx, &blob.RetryReaderOptions{MaxRetries: 3}), nil
}

// Write makes a block blob of r, in parts of 4 MiB.
func (c *Container) Write(ctx context.Context, name string, r io.Reader) error {
	_, err := c.c.NewBlockBlobClient(c.prefix+name).UploadStream(ctx, r, &blockblob.UploadStreamOptions{BlockSize: 4 << 20, Concurrency: 4})
	return c.wrap(err, "write %s/%s", c.shown, name)
}

// List lists the blobs whose name begins with prefix.
func (c *Container) List(ctx context.Context, prefix string) ([]BlobItem, error) {
	full := c.prefix + prefix
	var out []BlobItem
	for p := c.c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &full, Include: container.ListBlobsInclude{Metadata: true}}); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, c.wrap(err, "list %s", c.shown)
		}
		if page.Segment == nil {
			continue
		}
		for _, b := range page.Segment.BlobItems {
			i := BlobItem{Name: strings.TrimPrefix(val(b.Name), c.prefix), Metadata: vals(b.Metadata)}
			if b.Properties != nil {
				i.Size, i.Leased = val(b.Properties.ContentLength), val(b.Properties.LeaseStatus) == "locked"
			}
			out = append(out, i)
		}
	}
	return out, nil
}

// Answered reports whether a failure is the service's answer, so that trying again would bring the same; false: nothing came
// back, or the service was not able to answer just then.
func Answered(err error) bool {
	s := status(err)
	return s >= 400 && s < 500 && s != http.StatusRequestTimeout && s != http.StatusTooManyRequests
}
