package azure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
)

// storageVersion is the api-version for accounts: of the specification storage/resource-manager, stable/2023-05-01.
const storageVersion = "2023-05-01"

// StorageAccount is a storage account for one build: nothing in it is public, and only HTTPS is let in.
type StorageAccount struct {
	Group, Name, Location string // Name: 3 to 24 lower-case letters and digits, unique in all of Azure
	Tags                  map[string]string
}

func (c *Client) storageID(group, name string) string {
	return "/subscriptions/" + c.o.Subscription + "/resourceGroups/" + group + "/providers/Microsoft.Storage/storageAccounts/" + name
}

// PutStorageAccount creates an account.
func (c *Client) PutStorageAccount(ctx context.Context, s StorageAccount, op Op) error {
	kind, sku := "StorageV2", "Standard_LRS"
	body := armresources.GenericResource{Location: &s.Location, Tags: ptrs(s.Tags), Kind: &kind, SKU: &armresources.SKU{Name: &sku},
		Properties: map[string]any{"allowBlobPublicAccess": false, "minimumTlsVersion": "TLS1_2", "supportsHttpsTrafficOnly": true, "allowSharedKeyAccess": true}}
	_, err := long[armresources.ClientCreateOrUpdateByIDResponse]{
		what: "create storage account " + s.Name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armresources.ClientCreateOrUpdateByIDResponse], error) {
			return c.res.BeginCreateOrUpdateByID(ctx, c.storageID(s.Group, s.Name), storageVersion, body, &armresources.ClientBeginCreateOrUpdateByIDOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return err
}

// StorageTags are an account's tags.
func (c *Client) StorageTags(ctx context.Context, group, name string) (map[string]string, error) {
	r, err := c.res.GetByID(ctx, c.storageID(group, name), storageVersion, nil)
	if err != nil {
		return nil, wrap(err, "look up storage account %s", name)
	}
	return vals(r.Tags), nil
}

// DeleteStorageAccount deletes an account with everything in it; one that is not there is deleted.
func (c *Client) DeleteStorageAccount(ctx context.Context, group, name string, op Op) error {
	_, err := long[armresources.ClientDeleteByIDResponse]{
		what: "delete storage account " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armresources.ClientDeleteByIDResponse], error) {
			return c.res.BeginDeleteByID(ctx, c.storageID(group, name), storageVersion, &armresources.ClientBeginDeleteByIDOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// BuildContainer is a container of the account that a build makes, opened with the account's key, which is asked for anew in each process and kept nowhere.
type BuildContainer struct {
	c    *Client
	name string
	box  *container.Client
	key  *container.SharedKeyCredential
}

// OpenContainer asks for the account's address and key; nothing is sent to the container yet.
func (c *Client) OpenContainer(ctx context.Context, group, account, name string) (*BuildContainer, error) {
	r, err := c.res.GetByID(ctx, c.storageID(group, account), storageVersion, nil)
	if err != nil {
		return nil, wrap(err, "look up storage account %s", account)
	}
	endpoints, _ := r.Properties.(map[string]any)
	endpoints, _ = endpoints["primaryEndpoints"].(map[string]any)
	at, _ := endpoints["blob"].(string)
	if at == "" {
		return nil, &Error{Op: "look up storage account " + account, cause: errors.New("Azure's answer has no address for blobs")}
	}
	cred, err := c.accountKey(ctx, group, account)
	if err != nil {
		return nil, err
	}
	o := c.http
	o.PerCallPolicies = nil // a correlation id is Resource Manager's
	box, err := container.NewClientWithSharedKeyCredential(at+name, cred, &container.ClientOptions{ClientOptions: o})
	if err != nil {
		return nil, wrap(err, "open container %s of %s", name, account)
	}
	return &BuildContainer{c, name, box, cred}, nil
}

// accountKey asks for an account's first key (rest/api/storagerp/storage-accounts/list-keys). The call is made by hand: it is the only
// one that would need the SDK's module for storage accounts.
func (c *Client) accountKey(ctx context.Context, group, account string) (*blob.SharedKeyCredential, error) {
	failed := func(err error) (*blob.SharedKeyCredential, error) {
		return nil, wrap(err, "ask for the keys of storage account %s", account)
	}
	a, err := arm.NewClient("ingot/storage", "v1.0.0", c.o.Credential, c.arm)
	if err != nil {
		return failed(err)
	}
	req, err := runtime.NewRequest(ctx, http.MethodPost, runtime.JoinPaths(a.Endpoint(), c.storageID(group, account), "listKeys"))
	if err != nil {
		return failed(err)
	}
	req.Raw().URL.RawQuery = "api-version=" + storageVersion
	req.Raw().Header.Set("Accept", "application/json")
	resp, err := a.Pipeline().Do(req)
	if err != nil {
		return failed(err)
	}
	if !runtime.HasStatusCode(resp, http.StatusOK) {
		return failed(runtime.NewResponseError(resp))
	}
	var out struct{ Keys []struct{ Value string } }
	if err := runtime.UnmarshalAsJSON(resp, &out); err != nil || len(out.Keys) == 0 {
		return failed(errors.New("the answer holds no key"))
	}
	cred, err := blob.NewSharedKeyCredential(account, out.Keys[0].Value)
	if err != nil {
		return nil, fmt.Errorf("cannot use the key of storage account %s: it is not base64", account) // the cause could quote it
	}
	return cred, nil
}

// Create makes the container; one that is there is made. A new account's name may take a while until it can be resolved.
func (b *BuildContainer) Create(ctx context.Context) error {
	for wait := time.Second; ; wait *= 2 {
		_, err := b.box.Create(ctx, nil)
		err = wrap(err, "create a container for the build")
		switch {
		case err == nil || code(err) == "ContainerAlreadyExists":
			return nil
		case code(err) == "KeyBasedAuthenticationNotPermitted":
			return fmt.Errorf("%w; a policy forbids account keys: exempt the build's resource group from it, or use another communicator", err)
		case IsForbidden(err) || wait > 30*time.Second:
			return err
		}
		if err := b.c.o.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// Put writes a blob in parts; one of that name is replaced.
func (b *BuildContainer) Put(ctx context.Context, name string, r io.Reader) error {
	_, err := b.box.NewBlockBlobClient(name).UploadStream(ctx, r, &blockblob.UploadStreamOptions{BlockSize: 8 << 20, Concurrency: 4})
	return wrap(err, "upload to the build's storage account")
}

// ReadFrom reads at most 4 MiB of a blob from an offset on; nothing, when there is no blob or no more of it yet.
func (b *BuildContainer) ReadFrom(ctx context.Context, name string, offset int64) ([]byte, error) {
	r, err := b.box.NewBlobClient(name).DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: offset, Count: 4 << 20}})
	if err != nil {
		err = wrap(err, "read what the guest has written")
		if IsNotFound(err) || status(err) == http.StatusRequestedRangeNotSatisfiable {
			return nil, nil
		}
		return nil, err
	}
	body := r.NewRetryReader(ctx, &blob.RetryReaderOptions{MaxRetries: 3})
	var out bytes.Buffer
	_, err = io.Copy(&out, body)
	return out.Bytes(), errors.Join(err, body.Close())
}

// Delete deletes a blob; one that is not there is deleted.
func (b *BuildContainer) Delete(ctx context.Context, name string) error {
	_, err := b.box.NewBlobClient(name).Delete(ctx, nil)
	return gone(wrap(err, "delete a blob of the build"))
}

// Link is an address of one blob with a signature, a secret: HTTPS only, good for d. write lets its holder create the blob, write and
// append to it, and read it; else only read.
func (b *BuildContainer) Link(name string, write bool, d time.Duration) (string, error) {
	p := sas.BlobPermissions{Read: true}
	if write {
		p = sas.BlobPermissions{Read: true, Add: true, Create: true, Write: true}
	}
	// Without a start: clocks differ (learn.microsoft.com/azure/storage/common/storage-sas-overview, "Be careful with SAS start time").
	q, err := sas.BlobSignatureValues{Protocol: sas.ProtocolHTTPS, ExpiryTime: b.c.o.Clock.Now().UTC().Add(d), Permissions: p.String(), ContainerName: b.name, BlobName: name}.SignWithSharedKey(b.key)
	if err != nil {
		return "", errors.New("cannot sign an address of a blob") // the cause could hold it
	}
	return b.box.NewBlobClient(name).URL() + "?" + q.Encode(), nil
}

// URL is a blob's address without a signature, for whoever may read it by a role.
func (b *BuildContainer) URL(name string) string { return b.box.NewBlobClient(name).URL() }
