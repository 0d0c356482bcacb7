package aib

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/communicator"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/imagebuilder"
	"ingot/internal/plan"
	"ingot/internal/provisioner"
)

type accountArgs struct{ Account azure.StorageAccount }

// makeAccount makes a storage account for the build's scripts and files.
func (b *build) makeAccount(ctx context.Context, t *plan.Task, a accountArgs) (struct{}, error) {
	tags, err := b.env.Cloud.StorageTags(ctx, a.Account.Group, a.Account.Name)
	switch {
	case err == nil && !mine(t, tags):
		return struct{}{}, fmt.Errorf("cannot create storage account %s: one of that name exists in %s that this run did not make", a.Account.Name, a.Account.Group)
	case err != nil && !missing(err):
		return struct{}{}, err
	}
	return struct{}{}, b.env.Cloud.PutStorageAccount(ctx, a.Account, engine.Op(t))
}

func (b *build) removeAccount(ctx context.Context, t *plan.Task, a accountArgs, _ *struct{}) error {
	tags, err := b.env.Cloud.StorageTags(ctx, a.Account.Group, a.Account.Name)
	if missing(err) || err == nil && !mine(t, tags) {
		return nil
	}
	if err != nil {
		return err
	}
	return b.env.Cloud.DeleteStorageAccount(ctx, a.Account.Group, a.Account.Name, engine.UndoOp(t))
}

type uploadArgs struct {
	Group, Account, Container string
	Folder                    string `json:",omitempty"` // what the names begin with
	Uploads                   []imagebuilder.Upload
	AsIdentity                bool          `json:",omitempty"` // read without a signature
	Life                      time.Duration // of an address with a signature
	Linux                     bool          `json:",omitempty"`
}

// blob is where an upload is.
func (a uploadArgs) blob(i int) string {
	return a.Folder + strconv.Itoa(i) + "-" + a.Uploads[i].Name
}

// uploaded is what is known of an upload: its address is made anew by each process, since it holds a signature.
type uploaded struct {
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

type uploadResult struct {
	Files []uploaded `json:"files"`
}

// upload puts scripts and files into the container. Done again it replaces what is there.
func (b *build) upload(ctx context.Context, t *plan.Task, a uploadArgs) (uploadResult, error) {
	var r uploadResult
	box, err := b.env.Cloud.OpenContainer(ctx, a.Group, a.Account, a.Container)
	if err == nil {
		err = box.Create(ctx)
	}
	if err != nil {
		return r, err
	}
	for i, u := range a.Uploads {
		t.Progress(float64(i)/float64(len(a.Uploads)), "uploading %s", u.Name)
		sum := sha256.New()
		n := &counter{}
		err := b.content(u, a.Linux, func(content io.Reader) error {
			return box.Put(ctx, a.blob(i), io.TeeReader(content, io.MultiWriter(sum, n)))
		})
		if err != nil {
			return r, fmt.Errorf("cannot upload %s: %w", u.Name, err)
		}
		r.Files = append(r.Files, uploaded{hex.EncodeToString(sum.Sum(nil)), n.n})
	}
	return r, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// content reads an upload: a file, a text, or files and folders as one archive.
func (b *build) content(u imagebuilder.Upload, linux bool, use func(io.Reader) error) error {
	switch {
	case len(u.Sources) > 0:
		return archive(u.Sources, linux, use)
	case u.Path != "":
		f, err := os.Open(u.Path)
		if err != nil {
			return err
		}
		return errors.Join(use(f), f.Close())
	}
	if !u.Text.Fill(b.env.Secrets.Lookup) {
		return noSecret(u.Text.Secret())
	}
	return use(strings.NewReader(u.Text.Reveal()))
}

func noSecret(name string) error {
	return fmt.Errorf("the secret %s is not known to this process: give the variable that it comes from again", name)
}

// archive packs files and folders as the file provisioner would copy them, into a file of this machine first: a zip has its index at its end.
func archive(sources []string, linux bool, use func(io.Reader) error) error {
	files, err := provisioner.LocalTree(sources)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "ingot-archive-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a file of the system's temporary folder
	pack := communicator.Zip
	if linux {
		pack = communicator.TarGz
	}
	if err = pack(f, files); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = use(f)
	}
	return errors.Join(err, f.Close())
}

// removeUploads deletes what was uploaded to somebody's account; the container stays.
func (b *build) removeUploads(ctx context.Context, _ *plan.Task, a uploadArgs, _ *uploadResult) error {
	box, err := b.env.Cloud.OpenContainer(ctx, a.Group, a.Account, a.Container)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for i := range a.Uploads {
		errs = append(errs, box.Delete(ctx, a.blob(i)))
	}
	return joined(errs)
}

func joined(errs []error) error { return errors.Join(errs...) }

// largeFile is from where on a file is fetched by the build machine itself: the service's File customizer takes less than 20 MB
// (reference azure-image-builder.md section 1.2, File).
const largeFile = 20_000_000

// fetchLarge is the customizer that fetches a large file in the guest and compares its checksum. The address holds a signature, which whoever may
// read the template can read for as long as it is good.
func fetchLarge(name, address, destination, sum string, linux bool) map[string]any {
	var lines []any
	typ := "PowerShell"
	if linux {
		typ = "Shell"
		lines = []any{"curl -fsSL --retry 5 -o '" + destination + "' '" + address + "'", "echo '" + sum + "  " + destination + "' | sha256sum -c -"}
	} else {
		to := "'" + strings.ReplaceAll(destination, "'", "''") + "'"
		lines = []any{"$ErrorActionPreference = 'Stop'", "$ProgressPreference = 'SilentlyContinue'", "Invoke-WebRequest -UseBasicParsing -Uri '" + address + "' -OutFile " + to,
			"if ((Get-FileHash -Algorithm SHA256 -Path " + to + ").Hash -ne '" + sum + "') { throw 'the file that arrived is not the one that was uploaded' }"}
	}
	out := map[string]any{"type": typ, "inline": lines}
	if name != "" {
		out["name"] = name
	}
	return out
}

// textOf is what a text of the template stands for: a hidden one is a reference in the plan.
func (b *build) textOf(v any, quotes map[string]imagebuilder.Quotation) (string, bool, error) {
	m, ok := v.(map[string]any)
	name, is := m["secret"].(string)
	if !ok || !is || len(m) != 1 {
		return "", false, nil
	}
	t := image.Hidden(name, "")
	if !t.Fill(b.env.Secrets.Lookup) {
		return "", false, noSecret(name)
	}
	return quotes[name].Line(t.Reveal()), true, nil
}
