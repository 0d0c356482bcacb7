// Package imagebuilder is the imageTemplates resource of Azure Image Builder and what an image becomes as one: the types on the wire, which
// the reader and writer of that language and the engine that hands builds to the service share. It is pure: no files, no network.
package imagebuilder

import (
	"slices"
	"strings"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// Loss is something of an image that the resource does not say as the image does.
type Loss struct {
	Image  string `json:"image"`
	Field  string `json:"field"`
	Kind   string `json:"kind"` // lossy, impossible
	Reason string `json:"reason"`
	// Mild says that the image comes out the same all the same: the option is of the machine that it is built on, or what it asks for is done in
	// another way.
	Mild bool     `json:"-"`
	Pos  diag.Pos `json:"-"` // of the step or target, where it is one's
}

// Options say what a resource is compiled for.
type Options struct {
	// Hosted: it is submitted now, by a build that puts local scripts and files at addresses and has tools of its own; false: it is written
	// for people to keep, with placeholders for what they must fill in.
	Hosted bool
	// Subscription and Location of the build, where they are known.
	Subscription, Location string
}

// Result is an image as a resource.
type Result struct {
	Template *Template
	Losses   []Loss
	// Quotes are what stands around a secret in a line that is made here, by the secret's name.
	Quotes map[string]Quotation
	// Uploads are what Template refers to as UploadPrefix and a number.
	Uploads []Upload
	// Customizers and Validators tell, for each of the template's, where it comes from.
	Customizers, Validators []Origin
}

// Origin is the provisioner that a customizer was made of.
type Origin struct {
	Title string   `json:"title"` // free of secrets
	Pos   diag.Pos `json:"pos,omitzero"`
}

// Upload is something of this machine that the service is to find at an address.
type Upload struct {
	Name    string     `json:"name"`              // last name of the address
	Path    string     `json:"path,omitempty"`    // a file
	Sources []string   `json:"sources,omitempty"` // files, folders and patterns that go as one archive
	Text    image.Text `json:"text,omitzero"`     // or what the file holds
}

// UploadPrefix and a number, in the place of an address, stand for one of Result.Uploads.
const UploadPrefix = "ingot-upload:"

// Compile makes the resource.
func Compile(img *image.Image, o Options) Result {
	l := &compiler{img: img, o: o, shell: "PowerShell"}
	l.out.Quotes = map[string]Quotation{}
	if img.OS == image.Linux {
		l.shell = "Shell"
	}
	l.out.Template = l.resource()
	return l.out
}

// compiler makes a resource of one image and notes what is lost.
type compiler struct {
	img   *image.Image
	o     Options
	out   Result
	shell string   // PowerShell or Shell, by the image's system
	at    diag.Pos // of what is being compiled
	last  bool     // it is the last provisioner
	made  []string // folders that a customizer makes already
}

func (l *compiler) lossy(set bool, field, reason string) { l.note(set, "lossy", field, reason, false) }
func (l *compiler) impossible(set bool, field, reason string) {
	l.note(set, "impossible", field, reason, false)
}

// mild notes what is no loss of the image's own.
func (l *compiler) mild(set bool, kind, field, reason string) { l.note(set, kind, field, reason, true) }

func (l *compiler) note(set bool, kind, field, reason string, mild bool) {
	if set {
		l.out.Losses = append(l.out.Losses, Loss{Image: l.img.Name, Field: field, Kind: kind, Reason: reason, Mild: mild, Pos: l.at})
	}
}

func newest() string { return APIVersions()[len(APIVersions())-1] }

// version is the api-version that the template was written for, or the first that knows everything that is written.
func (l *compiler) version(t *Template, old string) string {
	if !slices.Contains(APIVersions(), old) {
		return newest()
	}
	need := old
	var look func(prefix string, v any)
	look = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, x := range v {
				need = max(need, Since()[prefix+name])
				look(prefix+name+".", x)
			}
		case []any:
			for _, x := range v {
				look(prefix, x)
			}
		}
	}
	look("", Document(t, func(t image.Text) any { return t.String() }))
	if strings.HasSuffix(t.Properties.Source.ImageVersionID, "/latest") || t.Properties.Validate != nil {
		need = max(need, "2022-07-01")
	}
	l.lossy(need != old, "apiVersion", need+" is written: "+old+" does not know everything that is written")
	return need
}
