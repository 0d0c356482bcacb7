package provisioner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/image"
)

// File copies files to the guest or from it. A folder is copied as rsync does: "app/" copies what is in it, "app" itself. Many files go as
// one archive; what arrives is held against its checksum. Links are followed, in an upload to folders too.
type File struct {
	// Source is a local file or folder (upload), or one in the guest (download), or a pattern such as "logs/*.txt" of either.
	Source string `hcl:"source"`
	// Sources are several of them.
	Sources []string `hcl:"sources"`
	// SourceURI is the address of a file that is fetched; SHA256 is its checksum in lower-case hexadecimal. Only Image
	// Builder's language has them.
	SourceURI image.Text `hcl:"-" json:",omitzero"`
	SHA256    string     `hcl:"-" json:",omitempty"`
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
	for _, set := range []bool{p.Source != "", len(p.Sources) > 0, !p.Content.IsZero(), !p.SourceURI.IsZero()} {
		if set {
			n++
		}
	}
	if n != 1 {
		c.fail("source", "set source, sources or content", "exactly one of source, sources and content must be set")
	}
	checkURI(c, p.SourceURI, p.SHA256)
	for _, f := range builtIn(p.SourceURI.Reveal(), p.SHA256) {
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
		if p.Generated { // it is looked for when its turn has come, from the folder that the build began in
			if p.Source != "" {
				p.Source = localPath(c.Cwd, p.Source)
			}
			for i := range p.Sources {
				p.Sources[i] = localPath(c.Cwd, p.Sources[i])
			}
		}
		if p.Generated || !p.SourceURI.IsZero() {
			break
		}
		if p.Source != "" {
			c.fileOrPattern("source", &p.Source)
		}
		for i := range p.Sources {
			c.fileOrPattern("sources", &p.Sources[i])
		}
		p.checkSyntax(c)
	case "download":
		if !p.Content.IsZero() {
			c.fail("content", "remove content", "there is nothing to download with content")
		}
		if p.Destination != "" {
			p.Destination = localPath(c.Cwd, p.Destination)
		}
	default:
		c.fail("direction", "use upload or download", "unknown direction %q", p.Direction)
	}
}

// Addresses are what it fetches.
func (p *File) Addresses() []URI { return addressesOf(p.SourceURI, p.SHA256) }

// localPath is a path of this machine as an absolute one; a slash at its end stays.
func localPath(cwd, name string) string {
	if filepath.IsAbs(name) || strings.Contains(name, "{{ build `") {
		return name
	}
	out := filepath.Join(cwd, name)
	if folder(name) {
		out += "/"
	}
	return out
}

// fileOrPattern replaces *path by the absolute path of what it names, or by an absolute pattern that matches something.
func (c *Check) fileOrPattern(option string, path *string) {
	if !communicator.HasPattern(*path) {
		c.file(option, path)
		return
	}
	find := c.Find
	if find == nil {
		find = c.look
	}
	if _, literal := find(*path); literal {
		c.file(option, path)
		return
	}
	plain := strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]")
	for _, dir := range []string{c.Cwd, c.Dir} {
		pattern := *path
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(plain.Replace(dir), pattern)
		}
		found, err := filepath.Glob(pattern)
		if err != nil {
			c.fail(option, "write * for any name, ? for any character, [abc] for one of several", "%q is no pattern", *path)
			return
		}
		if len(found) > 0 {
			*path = pattern
			return
		}
	}
	c.fail(option, "a relative path starts at the working directory, or at the template's folder", "no file matches %s", *path)
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
	if !p.SourceURI.IsZero() {
		dest := p.Destination
		if folder(dest) {
			dest = under(dest, nameAt(p.SourceURI))
		}
		return e.fetchFile(ctx, URI{p.SourceURI, p.SHA256}, dest)
	}
	sources := p.Sources
	if p.Source != "" {
		sources = []string{p.Source}
	}
	if p.Direction == "download" {
		for _, s := range sources {
			if err := p.download(ctx, e, s); err != nil {
				return err
			}
		}
		return nil
	}
	return p.upload(ctx, e, sources)
}

// under puts name into a folder of the guest.
func under(dir, name string) string {
	if folder(dir) {
		return dir + name
	}
	return dir + "/" + name
}

// upload copies one file by itself, and everything else as one tree.
func (p *File) upload(ctx context.Context, e *Env, sources []string) error {
	files, several, err := gather(sources)
	if err != nil {
		return err
	}
	if !several {
		dest := p.Destination
		if folder(dest) {
			dest = under(dest, files[0].Name)
		}
		return uploadFile(ctx, e, files[0].Path, dest)
	}
	if t, ok := e.Comm.(communicator.Trees); ok {
		e.progress("uploading %s", count(len(files), "file"))
		return t.UploadTree(ctx, p.Destination, files)
	}
	for _, f := range files {
		if f.Path == "" {
			continue // made with the files in it; an empty one is no loss
		}
		if err := uploadFile(ctx, e, f.Path, under(p.Destination, f.Name)); err != nil {
			return err
		}
	}
	return nil
}

// LocalTree lists what copying these files, folders and patterns would put below a destination.
func LocalTree(sources []string) ([]communicator.LocalFile, error) {
	files, _, err := gather(sources)
	return files, err
}

// gather lists what sources are; several reports that they are more than the one file that is named.
func gather(sources []string) (files []communicator.LocalFile, several bool, err error) {
	expanded, err := expand(sources)
	if err != nil {
		return nil, false, err
	}
	several = len(expanded) > 1 || len(sources) > 1 || len(sources) == 1 && expanded[0] != sources[0]
	for _, s := range expanded {
		info, err := os.Stat(s)
		if err != nil {
			return nil, false, fmt.Errorf("cannot upload: %w", err)
		}
		if !info.IsDir() {
			files = append(files, communicator.LocalFile{Name: filepath.Base(s), Path: s})
			continue
		}
		several = true
		prefix := ""
		if !strings.HasSuffix(s, "/") {
			prefix = filepath.Base(s) + "/"
		}
		if files, err = tree(files, s, prefix, nil); err != nil {
			return nil, false, fmt.Errorf("cannot upload: %w", err)
		}
	}
	return files, several, nil
}

// expand replaces patterns by what they match. A file that really has such a name is itself.
func expand(sources []string) (out []string, err error) {
	for _, s := range sources {
		if _, err := os.Stat(s); err == nil || !communicator.HasPattern(s) {
			out = append(out, s)
			continue
		}
		found, err := filepath.Glob(s)
		if err != nil {
			return nil, fmt.Errorf("cannot upload %s: %w", s, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("cannot upload %s: no file matches", s)
		}
		out = append(out, found...)
	}
	return out, nil
}

// tree adds what is in a local folder, links followed; inside are the real folders that it is in, by which a link that leads back is known.
func tree(files []communicator.LocalFile, dir, prefix string, inside []string) ([]communicator.LocalFile, error) {
	really, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	if slices.Contains(inside, really) {
		return nil, fmt.Errorf("%s is a link to a folder that it is in: remove it, or copy the folders you want one by one", dir)
	}
	inside = append(slices.Clip(inside), really)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if prefix != "" {
		files = append(files, communicator.LocalFile{Name: strings.TrimSuffix(prefix, "/")})
	}
	for _, entry := range entries {
		name := filepath.Join(dir, entry.Name())
		info, err := os.Stat(name)
		switch {
		case err != nil && entry.Type()&fs.ModeSymlink != 0:
			return nil, fmt.Errorf("%s is a link to nothing: remove it, or make what it points to", name)
		case err != nil:
			return nil, err
		case info.IsDir():
			if files, err = tree(files, name, prefix+entry.Name()+"/", inside); err != nil {
				return nil, err
			}
		case info.Mode().IsRegular():
			files = append(files, communicator.LocalFile{Name: prefix + entry.Name(), Path: name})
		default:
			return nil, fmt.Errorf("%s is neither a file nor a folder", name)
		}
	}
	return files, nil
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

// download brings a file, or a folder or what a pattern matches as one tree.
func (p *File) download(ctx context.Context, e *Env, source string) error {
	t, trees := e.Comm.(communicator.Trees)
	if !communicator.HasPattern(source) && !folder(source) {
		err := p.downloadFile(ctx, e, source)
		if !trees || !errors.Is(err, communicator.ErrFolder) {
			return err
		}
	}
	if !trees {
		return fmt.Errorf("cannot download %s: over this communicator single files can be downloaded only", source)
	}
	e.progress("downloading %s", base(source))
	return t.DownloadTree(ctx, source, p.Destination, func(link string) {
		if e.Output != nil {
			e.Output("stderr", link+" is a link to a folder, and left out: a download does not follow those")
		}
	})
}

// downloadFile writes beside the destination and renames, so that a half file is never taken for a whole one.
func (p *File) downloadFile(ctx context.Context, e *Env, source string) (err error) {
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
	case !p.SourceURI.IsZero():
		what = nameAt(p.SourceURI)
	case p.Source != "":
		what = base(p.Source)
	case len(p.Sources) > 0:
		what = count(len(p.Sources), "source")
	}
	return fmt.Sprintf("file, %s %s %s", what, dir, p.Destination)
}

// Estimate is a guess for a small file.
func (p *File) Estimate() time.Duration { return 15 * time.Second }
