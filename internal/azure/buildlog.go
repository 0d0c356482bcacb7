package azure

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// BuildLog is the container that Image Builder writes the logs of a template's runs to: packerlogs in the storage account of the staging
// group, with a folder for each run (reference azure-image-builder.md section 2). It is read with the identity's token or, where that has
// no right to data, with the account's key.
type BuildLog struct{ s *VHDStore }

// LogFile is one log of a run.
type LogFile struct {
	Name     string // "<guid>/customization.log"
	Size     int64
	Modified time.Time
}

// OpenBuildLog looks for the staging group's storage account; IsNotFound when there is none yet.
func (c *Client) OpenBuildLog(ctx context.Context, stagingID string) (*BuildLog, error) {
	var list []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	what := "look for the build's log in " + last(stagingID)
	if err := pages(ctx, c, stagingID+"/resources", "2021-04-01", what, &list); err != nil {
		return nil, err
	}
	for _, r := range list {
		if strings.EqualFold(r.Type, "Microsoft.Storage/storageAccounts") {
			a, err := c.Account(ctx, last(stagingID), r.Name)
			if err != nil {
				return nil, err
			}
			return &BuildLog{&VHDStore{c: c, group: last(stagingID), account: r.Name, url: strings.TrimSuffix(a.Blobs, "/") + "/packerlogs"}}, nil
		}
	}
	return nil, &Error{Op: what, Status: http.StatusNotFound, Code: "NotFound", Message: "the staging group has no storage account yet"}
}

// Account is the storage account's name.
func (l *BuildLog) Account() string { return l.s.account }

// Files lists the logs; IsNotFound while there is no container yet.
func (l *BuildLog) Files(ctx context.Context) (out []LogFile, err error) {
	err = l.s.try(ctx, "list the build's logs", func(o policyOptions) error {
		out = nil
		box, err := l.s.container(o)
		if err != nil {
			return err
		}
		for p := box.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{}); p.More(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				return err
			}
			if page.Segment == nil {
				continue
			}
			for _, b := range page.Segment.BlobItems {
				f := LogFile{Name: val(b.Name)}
				if b.Properties != nil {
					f.Size, f.Modified = val(b.Properties.ContentLength), val(b.Properties.LastModified)
				}
				out = append(out, f)
			}
		}
		return nil
	})
	return out, err
}

// ReadFrom reads at most 4 MiB of a log from an offset on; nothing when there is no more of it yet.
func (l *BuildLog) ReadFrom(ctx context.Context, name string, offset int64) (data []byte, err error) {
	err = l.s.try(ctx, "read the build's log", func(o policyOptions) error {
		data = nil
		box, err := l.s.container(o)
		if err != nil {
			return err
		}
		r, err := box.NewBlobClient(name).DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: offset, Count: 4 << 20}})
		if status(err) == http.StatusRequestedRangeNotSatisfiable {
			return nil
		}
		if err != nil {
			return err
		}
		body := r.NewRetryReader(ctx, &blob.RetryReaderOptions{MaxRetries: 3})
		var out bytes.Buffer
		_, err = io.Copy(&out, body)
		data = out.Bytes()
		return errors.Join(err, body.Close())
	})
	return data, err
}

// IsClosedStorage reports that a storage account does not answer on its public address, or not this caller: its firewall, or public access
// that a policy has turned off (https://learn.microsoft.com/azure/storage/common/storage-network-security).
func IsClosedStorage(err error) bool {
	switch code(err) {
	case "AuthorizationFailure", "PublicAccessNotPermitted", "IpAuthorizationSourceNotInRange", "NetworkAclsValidationFailure":
		return true
	}
	return false
}
