package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
)

// AccountInfo is what is known of a storage account.
type AccountInfo struct {
	ID, Location string
	Blobs        string // address of its blobs, with a slash at the end
}

// Account looks a storage account up.
func (c *Client) Account(ctx context.Context, group, name string) (AccountInfo, error) {
	r, err := c.res.GetByID(ctx, c.storageID(group, name), storageVersion, nil)
	if err != nil {
		return AccountInfo{}, wrap(err, "look up storage account %s", name)
	}
	i := AccountInfo{ID: val(r.ID), Location: val(r.Location)}
	p, _ := r.Properties.(map[string]any)
	p, _ = p["primaryEndpoints"].(map[string]any)
	i.Blobs, _ = p["blob"].(string)
	if i.Blobs == "" {
		return i, &Error{Op: "look up storage account " + name, cause: errors.New("it has no address for blobs: an account of kind FileStorage or BlobStorage takes no VHD")}
	}
	return i, nil
}

// FindAccount is the id of the subscription's storage account of that name; "" when there is none.
func (c *Client) FindAccount(ctx context.Context, name string) (id string, err error) {
	var list []struct{ ID, Name string }
	if err := pages(ctx, c, "/subscriptions/"+c.o.Subscription+"/providers/Microsoft.Storage/storageAccounts", storageVersion, "list storage accounts", &list); err != nil {
		return "", err
	}
	for _, a := range list {
		if strings.EqualFold(a.Name, name) {
			id = a.ID
		}
	}
	return id, nil
}

// VHDStore is a container that VHDs are copied to. What is asked of it is asked with the identity's own token first, for which it needs
// a data role such as Storage Blob Data Contributor; where that is refused, with the account's key, for which it needs the right to
// list keys (https://learn.microsoft.com/azure/storage/blobs/authorize-access-azure-active-directory). The key stays in memory.
type VHDStore struct {
	c              *Client
	group, account string // "": no keys can be asked for
	url            string // of the container

	mu  sync.Mutex
	key *blob.SharedKeyCredential
}

// OpenVHDStore looks the account up and makes sure that the container is there.
func (c *Client) OpenVHDStore(ctx context.Context, group, account, name string) (*VHDStore, error) {
	a, err := c.Account(ctx, group, account)
	if err != nil {
		return nil, err
	}
	s := &VHDStore{c: c, group: group, account: account, url: strings.TrimSuffix(a.Blobs, "/") + "/" + name}
	return s, s.there(ctx)
}

// OpenVHDStoreAt opens the container that a blob's address names, and answers the blob's name too.
func (c *Client) OpenVHDStoreAt(ctx context.Context, address string) (*VHDStore, string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.RawQuery != "" {
		return nil, "", fmt.Errorf("cannot use %s: it is no address of a blob, https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME.vhd", strings.SplitN(address, "?", 2)[0])
	}
	box, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !ok || name == "" {
		return nil, "", fmt.Errorf("cannot use %s: it names no blob in a container", address)
	}
	s := &VHDStore{c: c, url: "https://" + u.Host + "/" + box}
	return s, name, s.there(ctx)
}

func (s *VHDStore) there(ctx context.Context) error {
	return s.try(ctx, "look up container "+s.url, func(o policyOptions) error {
		box, err := s.container(o)
		if err == nil {
			_, err = box.GetProperties(ctx, nil)
		}
		return err
	})
}

// policyOptions is how one call signs itself: with the account's key, or else with a token.
type policyOptions struct{ key *blob.SharedKeyCredential }

func (s *VHDStore) container(o policyOptions) (*container.Client, error) {
	options := s.c.http
	options.PerCallPolicies = nil // a correlation id is Resource Manager's
	if o.key != nil {
		return container.NewClientWithSharedKeyCredential(s.url, o.key, &container.ClientOptions{ClientOptions: options})
	}
	return container.NewClient(s.url, s.c.o.Credential, &container.ClientOptions{ClientOptions: options})
}

// try makes a call with the token and, where that has no right, once more with the account's key.
func (s *VHDStore) try(ctx context.Context, what string, call func(policyOptions) error) error {
	s.mu.Lock()
	key := s.key
	s.mu.Unlock()
	err := wrap(call(policyOptions{key}), "%s", what)
	if key != nil || s.group == "" || status(err) != http.StatusForbidden && status(err) != http.StatusUnauthorized {
		return err
	}
	key, keyErr := s.c.accountKey(ctx, s.group, s.account)
	if keyErr != nil {
		return fmt.Errorf("%w; and with its keys neither: %w; give the identity the role Storage Blob Data Contributor on the storage account, or the right Microsoft.Storage/storageAccounts/listKeys/action", err, keyErr)
	}
	s.mu.Lock()
	s.key = key
	s.mu.Unlock()
	return wrap(call(policyOptions{key}), "%s", what)
}

// URL is the address of a blob in the store; it opens nothing.
func (s *VHDStore) URL(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return s.url + "/" + strings.Join(parts, "/")
}

// VHDInfo is what is known of a blob.
type VHDInfo struct {
	Meta          map[string]string // keys in lower case
	Bytes, Copied int64             // Copied: of a copy under way
	CopyID        string
	Copy          string // "", pending, success, failed, aborted
	Why           string // of a copy that failed
}

func (s *VHDStore) page(name string, o policyOptions) (*pageblob.Client, error) {
	box, err := s.container(o)
	if err != nil {
		return nil, err
	}
	return box.NewPageBlobClient(name), nil
}

// Look looks a blob up.
func (s *VHDStore) Look(ctx context.Context, name string) (i VHDInfo, err error) {
	err = s.try(ctx, "look up blob "+s.URL(name), func(o policyOptions) error {
		p, err := s.page(name, o)
		if err != nil {
			return err
		}
		r, err := p.GetProperties(ctx, nil)
		if err != nil {
			return err
		}
		i = VHDInfo{Meta: map[string]string{}, Bytes: val(r.ContentLength), CopyID: val(r.CopyID), Copy: string(val(r.CopyStatus)), Why: val(r.CopyStatusDescription)}
		for k, v := range r.Metadata {
			i.Meta[strings.ToLower(k)] = val(v)
		}
		if done, _, ok := strings.Cut(val(r.CopyProgress), "/"); ok {
			i.Copied, err = strconv.ParseInt(done, 10, 64)
		}
		return err
	})
	return i, err
}

// Copy copies what source, an address with a signature, holds to a page blob of that name with that metadata, in the service, and waits for
// the end (https://learn.microsoft.com/rest/api/storageservices/copy-blob; of managed disks:
// https://learn.microsoft.com/azure/virtual-machines/scripts/copy-managed-disks-vhd-to-storage-account). What is there already is replaced.
func (s *VHDStore) Copy(ctx context.Context, name, source string, meta map[string]string, progress func(VHDInfo)) error {
	err := s.try(ctx, "copy a disk to "+s.URL(name), func(o policyOptions) error {
		p, err := s.page(name, o)
		if err == nil {
			_, err = p.StartCopyFromURL(ctx, source, &blob.StartCopyFromURLOptions{Metadata: ptrs(meta)})
		}
		return err
	})
	if err != nil {
		return withoutAddress(err)
	}
	return s.Wait(ctx, name, progress)
}

// withoutAddress drops the SDK's own error, which can quote the request and with it the source's signature.
func withoutAddress(err error) error {
	var e *Error
	if errors.As(err, &e) {
		bare := *e
		if bare.cause != nil && bare.Code == "" {
			bare.cause = errors.New("no answer, or none that can be read")
		} else {
			bare.cause = nil
		}
		return &bare
	}
	return errors.New("cannot copy a disk: the request could not be made")
}

// Wait waits for the end of a copy that was begun earlier.
func (s *VHDStore) Wait(ctx context.Context, name string, progress func(VHDInfo)) error {
	for wait := time.Second; ; wait = min(wait*3/2, s.c.o.PollCap) {
		i, err := s.Look(ctx, name)
		switch {
		case err != nil:
			return err
		case i.Copy == "success":
			return nil
		case i.Copy != "pending":
			return fmt.Errorf("cannot copy a disk to %s: the copy is %s: %s", s.URL(name), i.Copy, i.Why)
		}
		if progress != nil {
			progress(i)
		}
		if err := s.c.o.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// Delete deletes a blob with its snapshots; one that is not there is deleted. A copy to it that is under way is aborted first.
func (s *VHDStore) Delete(ctx context.Context, name string) error {
	i, err := s.Look(ctx, name)
	if IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return gone(s.try(ctx, "delete blob "+s.URL(name), func(o policyOptions) error {
		p, err := s.page(name, o)
		if err != nil {
			return err
		}
		if i.Copy == "pending" {
			if _, err := p.AbortCopyFromURL(ctx, i.CopyID, nil); err != nil && code(err) != "NoPendingCopyOperation" {
				return err
			}
		}
		all := blob.DeleteSnapshotsOptionTypeInclude
		_, err = p.Delete(ctx, &blob.DeleteOptions{DeleteSnapshots: &all})
		return err
	}))
}
