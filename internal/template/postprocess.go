package template

import (
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// postMeta are the options that every post-processor has.
type postMeta struct {
	Name   string   `hcl:"name"`
	Only   []string `hcl:"only"`
	Except []string `hcl:"except"`
	Keep   *bool    `hcl:"keep_input_artifact"`
}

// manifestOptions are the manifest post-processor's.
type manifestOptions struct {
	Output     string            `hcl:"output"`
	StripPath  bool              `hcl:"strip_path"`
	StripTime  bool              `hcl:"strip_time"`
	CustomData map[string]string `hcl:"custom_data"`
}

// checksumOptions are the checksum post-processor's.
type checksumOptions struct {
	Types  []string `hcl:"checksum_types"`
	Output string   `hcl:"output"`
}

// compressOptions are the compress post-processor's.
type compressOptions struct {
	Output string `hcl:"output"`
	Format string `hcl:"format"`
	Level  int    `hcl:"compression_level"`
}

// artificeOptions are the artifice post-processor's.
type artificeOptions struct {
	Files []string `hcl:"files"`
}

// chain reads post-processors { … }: each gets what the one before it made, which is the image, since none of them changes it.
func (l *loader) chain(b *hcl.Block, in inside) {
	schema := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "post-processor", LabelNames: []string{"type"}}}}
	c, problems := l.open(b.Body, in.ctx).Content(schema)
	l.noteNames(problems, []string{"post-processor"}, nil, "", "post-processors", false)
	for _, b := range c.Blocks {
		l.postProcess(b.Labels[0], at(b.LabelRanges[0]), at(b.TypeRange), b.Body, in)
	}
}

func (l *loader) postProcess(kind string, kindAt, pos diag.Pos, body hcl.Body, in inside) {
	var m postMeta
	what := fmt.Sprintf("post-processor %q", kind)
	d := l.decoder(in.ctx, what, in.img.Name+"/"+kind, pos)
	d.running = true
	read := func(to any) bool {
		d.into([]any{&m, to}, "", in.skip(), in.body(l, body))
		l.scopeOf(d, m.Only, m.Except, in)
		return (len(m.Only) == 0 || in.named(m.Only)) && !in.named(m.Except)
	}
	const noFile = "an image in Azure leaves no file on this machine"
	switch kind {
	case "manifest":
		o := manifestOptions{Output: "packer-manifest.json"}
		if read(&o) {
			in.img.Manifests = append(in.img.Manifests, image.Manifest{Output: l.abs(o.Output), StripPath: o.StripPath, StripTime: o.StripTime, CustomData: o.CustomData})
		}
	case "shell-local":
		settings, _ := provisioner.New(kind)
		var more struct {
			Timeout time.Duration `hcl:"timeout"`
		}
		d.into([]any{&m, settings, &more}, "", in.skip(), in.body(l, body))
		if (len(m.Only) > 0 && !in.named(m.Only)) || in.named(m.Except) {
			return
		}
		l.check(d, settings)
		in.img.After = append(in.img.After, image.Command{Settings: settings, Pos: pos})
	case "checksum":
		var o checksumOptions
		if read(&o) {
			l.problems.Warnf(pos, "leave it out", "%s has no effect: %s", what, noFile)
		}
	case "compress":
		var o compressOptions
		if read(&o) {
			l.problems.Warnf(pos, "leave it out", "%s has no effect: %s", what, noFile)
		}
	case "artifice":
		var o artificeOptions
		if read(&o) {
			l.problems.Errorf(kindAt, "leave it out", "%s would replace the image by local files: %s", what, noFile)
		}
	default:
		l.problems.Errorf(kindAt, "leave it out; Ingot has manifest and shell-local", "%s is not one that this version of Ingot has", what)
	}
}
