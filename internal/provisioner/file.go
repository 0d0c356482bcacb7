package provisioner

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"ingot/internal/image"
)

// File copies files to the guest or from it. A folder is copied as rsync does: "app/" copies what is in it, "app" itself.
type File struct {
	// Source is a local file or folder (upload), or a file in the guest (download).
	Source string `hcl:"source"`
	// Sources are several of them.
	Sources []string `hcl:"sources"`
	// SourceURI is the address of a file that the guest downloads; SHA256 is its checksum in lower-case hexadecimal. Only Image
	// Builder's language has them.
	SourceURI string `hcl:"-" json:",omitempty"`
	SHA256    string `hcl:"-" json:",omitempty"`
	// Content is the file's text, instead of a source.
	Content image.Text `hcl:"content"`
	// Destination is where it goes; one that ends in / or \ is a folder in which a file keeps its name.
	Destination string `hcl:"destination"`
	// Direction is upload (default) or download.
	Direction string `hcl:"direction"`
	// Generated says that the source is made during the build and need not be there yet.
	Generated bool `hcl:"generated"`
}

var (
	_ Settings = (*File)(nil)
	_ Runner   = (*File)(nil)
)

// Check reports what is wrong.
func (p *File) Check(c *Check) {
	n := 0
	for _, set := range []bool{p.Source != "", len(p.Sources) > 0, !p.Content.IsZero(), p.SourceURI != ""} {
		if set {
			n++
		}
	}
	if n != 1 {
		c.fail("source", "set source, sources or content", "exactly one of source, sources and content must be set")
	}
	checkURI(c, p.SourceURI, p.SHA256)
	for _, f := range BuiltIn(p.SourceURI) {
		c.warn("source", f.Remedy, "%s", f.Summary)
	}
	if p.Destination == "" {
		c.fail("destination", "set destination", "destination is missing")
	}
	if len(p.Sources) > 1 && p.Destination != "" && !folder(p.Destination) && p.Direction == "download" {
		c.fail("destination", "end destination with /", "several sources need a folder as destination")
	}
	switch p.Direction {
	case "", "upload":
		if p.Generated || p.SourceURI != "" {
			break
		}
		if p.Source != "" {
			c.file("source", &p.Source)
		}
		for i := range p.Sources {
			c.file("sources", &p.Sources[i])
		}
		p.checkSyntax(c)
	case "download":
		if !p.Content.IsZero() {
			c.fail("content", "remove content", "there is nothing to download with content")
		}
		if p.Destination != "" && !filepath.IsAbs(p.Destination) {
			slash := folder(p.Destination)
			p.Destination = filepath.Join(c.Cwd, p.Destination)
			if slash {
				p.Destination += "/"
			}
		}
	default:
		c.fail("direction", "use upload or download", "unknown direction %q", p.Direction)
	}
}

// Limits lists the options that Run cannot honour.
func (p *File) Limits() []Limit {
	return limitsOf(limit{"sourceUri", p.SourceURI != "", "a file at an address is fetched by the managed service only; download it and name it as source"})
}

// folder reports whether a destination names a folder to put things in.
func folder(s string) bool { return strings.HasSuffix(s, "/") || strings.HasSuffix(s, `\`) }

// base is the last name of a path of either world.
func base(s string) string { return path.Base(strings.ReplaceAll(s, `\`, "/")) }

// Run copies. Copying again what is there already does no harm.
func (p *File) Run(ctx context.Context, e *Env) error {
	if !p.Content.IsZero() {
		if folder(p.Destination) {
			return fmt.Errorf("cannot upload content: destination %s is a folder", p.Destination)
		}
		text := p.Content.Reveal()
		return e.Comm.Upload(ctx, p.Destination, strings.NewReader(text), int64(len(text)))
	}
	sources := p.Sources
	if p.Source != "" {
		sources = []string{p.Source}
	}
	for _, s := range sources {
		var err error
		if p.Direction == "download" {
			err = p.download(ctx, e, s)
		} else {
			err = p.upload(ctx, e, s, len(sources) > 1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *File) upload(ctx context.Context, e *Env, source string, several bool) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("cannot upload: %w", err)
	}
	dest := p.Destination
	if !info.IsDir() {
		if folder(dest) || several {
			dest = under(dest, filepath.Base(source))
		}
		return uploadFile(ctx, e, source, dest)
	}
	if !strings.HasSuffix(source, "/") {
		dest = under(dest, filepath.Base(source))
	}
	return filepath.WalkDir(source, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("cannot upload: %w", err)
		}
		if d.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(source, name)
		if err != nil {
			return fmt.Errorf("cannot upload: %w", err)
		}
		return uploadFile(ctx, e, name, under(dest, filepath.ToSlash(rel)))
	})
}

// under puts name into a folder of the guest.
func under(dir, name string) string {
	if folder(dir) {
		return dir + name
	}
	return dir + "/" + name
}

func uploadFile(ctx context.Context, e *Env, source, dest string) error {
	f, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("cannot upload: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot upload: %w", err)
	}
	e.progress("uploading %s", filepath.Base(source))
	if err := e.Comm.Upload(ctx, dest, f, info.Size()); err != nil {
		return fmt.Errorf("cannot upload %s: %w", source, err)
	}
	return nil
}

// download writes beside the destination and renames, so that a half file is never taken for a whole one.
func (p *File) download(ctx context.Context, e *Env, source string) (err error) {
	dest := p.Destination
	if folder(dest) {
		dest = filepath.Join(dest, base(source))
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return fmt.Errorf("cannot download %s: %w", source, err)
	}
	f, err := os.CreateTemp(filepath.Dir(dest), ".ingot-*")
	if err != nil {
		return fmt.Errorf("cannot download %s: %w", source, err)
	}
	defer os.Remove(f.Name())
	e.progress("downloading %s", base(source))
	err = e.Comm.Download(ctx, source, io.Writer(f))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), dest)
	}
	if err != nil {
		return fmt.Errorf("cannot download %s: %w", source, err)
	}
	return nil
}

// Summary is a phrase for a step's title.
func (p *File) Summary() string {
	dir := "to"
	if p.Direction == "download" {
		dir = "from guest to"
	}
	what := "content"
	switch {
	case p.SourceURI != "":
		what = base(p.SourceURI)
	case p.Source != "":
		what = base(p.Source)
	case len(p.Sources) > 0:
		what = count(len(p.Sources), "source")
	}
	return fmt.Sprintf("file, %s %s %s", what, dir, p.Destination)
}

// Estimate is a guess for a small file.
func (p *File) Estimate() time.Duration { return 15 * time.Second }
