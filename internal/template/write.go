package template

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"

	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// Written is a template made of a model.
type Written struct {
	Text   []byte
	Losses []Loss   // what the language cannot say, or not exactly
	Needs  []string // variables, or parameters, that stand for secrets and must be given a value

	value func(name string) (string, bool) // of what Needs names; a function, so that printing a Written shows none
}

// Write makes a template of images in a language. What it says, it says exactly, but for the losses: read again, it is the same
// model. A secret's value is never written: a variable stands for it.
func Write(images []*image.Image, to Language) (Written, error) {
	switch to {
	case PackerHCL:
		return writeHCL(images), nil
	case PackerJSON:
		return writePackerJSON(images), nil
	case ImageBuilder:
		return writeImageBuilder(images)
	}
	return Written{}, fmt.Errorf("cannot write %q: use packer-hcl, packer-json or image-builder", to)
}

// label is an image's name as a source's: the last part, in the letters that HCL takes.
func label(img *image.Image, taken map[string]bool) string {
	name := img.Name[strings.LastIndex(img.Name, ".")+1:]
	if img.Managed.Template != "" || strings.ContainsAny(img.Name, "/ ") {
		name = img.Name
	}
	return labelOf(name, taken)
}

// notLabel is what a source's label cannot hold: it is an identifier of HCL, which may have hyphens.
var notLabel = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// labelOf is a name as a source's label that no other has.
func labelOf(name string, taken map[string]bool) string {
	name = notLabel.ReplaceAllString(name, "_")
	if name = strings.Trim(name, "_"); name == "" || name[0] >= '0' && name[0] <= '9' || name[0] == '-' {
		name = "image_" + name
	}
	out := name
	for i := 2; taken[out]; i++ {
		out = fmt.Sprintf("%s_%d", name, i)
	}
	taken[out] = true
	return out
}

// steps are an image's provisioners as options, meta options first.
func steps(list []image.Provision) [][]written {
	var out [][]written
	for _, p := range list {
		m := meta{Name: p.Name, PauseBefore: p.PauseBefore, MaxRetries: p.MaxRetries, Timeout: p.Timeout, GoOn: p.GoOn}
		options := append(encode(&m), encode(p.Settings)...)
		out = append(out, append([]written{{"", p.Type}}, options...))
	}
	return out
}

// remote says of what only Image Builder fetches that it is not written.
func (l *losses) remote(p image.Provision, aib bool) {
	const why = "Packer takes scripts and files of this machine: download it, check its checksum, and name the file"
	switch s := p.Settings.(type) {
	case *provisioner.PowerShell:
		l.lossy(!s.URI.IsZero(), "customize "+p.Name+" scriptUri "+s.URI.String(), why)
	case *provisioner.Shell:
		l.lossy(!s.URI.IsZero(), "customize "+p.Name+" scriptUri "+s.URI.String(), why)
		l.lossy(aib, "customize "+p.Name+" Shell", "Image Builder runs it as a user who may use sudo, Packer as the user that signs in; the file must be executable")
	case *provisioner.File:
		l.lossy(!s.SourceURI.IsZero(), "customize "+p.Name+" sourceUri "+s.SourceURI.String(), why)
	}
}

// fetched makes a step that Packer can read of one that Image Builder fetches: the file has the name it will have on this machine.
func fetched(list []image.Provision) []image.Provision {
	out := slices.Clone(list)
	for i, p := range out {
		switch s := p.Settings.(type) {
		case *provisioner.PowerShell:
			if !s.URI.IsZero() {
				c := *s
				c.Script, c.URI, c.SHA256 = base(s.URI.Reveal()), image.Text{}, ""
				out[i].Settings = &c
			}
		case *provisioner.Shell:
			if !s.URI.IsZero() {
				c := *s
				c.Script, c.URI, c.SHA256 = base(s.URI.Reveal()), image.Text{}, ""
				out[i].Settings = &c
			}
		case *provisioner.File:
			if !s.SourceURI.IsZero() {
				c := *s
				c.Source, c.SourceURI, c.SHA256 = base(s.SourceURI.Reveal()), image.Text{}, ""
				out[i].Settings = &c
			}
		}
	}
	return out
}

// base is an address's last name.
func base(uri string) string {
	uri, _, _ = strings.Cut(uri, "?")
	uri = strings.TrimRight(uri, "/")
	return uri[strings.LastIndex(uri, "/")+1:]
}

// posts are the post-processors.
func posts(img *image.Image) [][]written {
	var out [][]written
	for _, m := range img.Manifests {
		o := manifestOptions{Output: m.Output, StripPath: m.StripPath, StripTime: m.StripTime, CustomData: m.CustomData}
		out = append(out, append([]written{{"", "manifest"}}, encode(&o)...))
	}
	for _, c := range img.After {
		out = append(out, append([]written{{"", "shell-local"}}, encode(c.Settings)...))
	}
	return out
}

// armOptions are a source's options. The tags of Image Builder's targets become those of azure-arm where it has none.
func armOptions(img *image.Image, l *losses) []written {
	o := fromImage(img, l)
	if len(o.AzureTags) == 0 {
		for _, t := range img.Targets {
			var tags map[string]string
			switch t := t.(type) {
			case image.ToGallery:
				tags = t.Output.Tags
			case image.ToManagedImage:
				tags = t.Output.Tags
			case image.ToVHD:
				tags = t.Output.Tags
			}
			if len(tags) > 0 {
				if o.AzureTags == nil {
					o.AzureTags = map[string]string{}
				}
				maps.Copy(o.AzureTags, tags)
			}
		}
	}
	return encode(o)
}

// plugins is the block that has Packer fetch the plugins of some kinds of provisioners; the others are part of Packer, or of no
// plugin that is kept up (https://developer.hashicorp.com/packer/integrations).
func plugins(kinds []string) string {
	var b strings.Builder
	b.WriteString("  required_plugins {\n    azure = {\n      source  = \"github.com/hashicorp/azure\"\n      version = \">= 2.0.0\"\n    }\n")
	for _, x := range []struct {
		name, source, version string
		kinds                 []string
	}{
		{"ansible", "github.com/hashicorp/ansible", "1.0.0", []string{"ansible", "ansible-local"}}, {"chef", "github.com/hashicorp/chef", "1.0.0", []string{"chef-client", "chef-solo"}},
		{"inspec", "github.com/hashicorp/inspec", "1.0.0", []string{"inspec"}}, {"puppet", "github.com/hashicorp/puppet", "1.0.0", []string{"puppet-masterless", "puppet-server"}},
		{"windows-update", "github.com/rgl/windows-update", "0.14.0", []string{"windows-update"}},
	} {
		if slices.ContainsFunc(kinds, func(k string) bool { return slices.Contains(x.kinds, k) }) {
			fmt.Fprintf(&b, "    %s = {\n      source  = %q\n      version = \">= %s\"\n    }\n", x.name, x.source, x.version)
		}
	}
	b.WriteString("  }\n")
	return b.String()
}

func writeHCL(images []*image.Image) Written {
	var out Written
	var body bytes.Buffer
	w := hclText{b: &body, s: newSecrets()}
	taken := map[string]bool{}
	var kinds []string
	for _, img := range images {
		for _, p := range slices.Concat(img.Provision, img.Cleanup) {
			kinds = append(kinds, p.Type)
		}
		l := &losses{image: img.Name}
		name := label(img, taken)
		fmt.Fprintf(&body, "\nsource \"azure-arm\" %q {\n", name)
		w.running = false
		w.body(armOptions(img, l), 1)
		w.running = true
		fmt.Fprintf(&body, "}\n\nbuild {\n  sources = [\"source.azure-arm.%s\"]\n", name)
		block := func(word string, o []written) {
			fmt.Fprintf(&body, "\n  %s %q {\n", word, o[0].value)
			w.body(o[1:], 2)
			body.WriteString("  }\n")
		}
		for _, s := range steps(fetched(img.Provision)) {
			block("provisioner", s)
		}
		for _, s := range steps(fetched(img.Cleanup)) {
			block("error-cleanup-provisioner", s)
		}
		for _, p := range posts(img) {
			block("post-processor", p)
		}
		body.WriteString("}\n")
		for _, p := range slices.Concat(img.Provision, img.Cleanup) {
			l.remote(p, img.Managed.APIVersion != "")
		}
		out.Losses = append(out.Losses, l.list...)
	}
	var head bytes.Buffer
	head.WriteString("packer {\n" + plugins(kinds) + "}\n")
	for _, v := range w.s.list {
		fmt.Fprintf(&head, "\nvariable %q {\n  type      = string\n  sensitive = true\n}\n", v)
	}
	out.Needs, out.value = w.s.list, w.s.value
	out.Text = hclwrite.Format(append(head.Bytes(), body.Bytes()...))
	return out
}

// older takes what Packer's older language does not have from a provisioner's options.
func (l *losses) older(x []written) []written {
	return slices.DeleteFunc(x, func(o written) bool {
		gone := o.name == "continue_on_error" || o.name == "name"
		l.lossy(gone, fmt.Sprintf("provisioner %v %s", x[0].value, o.name), "Packer's older language does not have it")
		return gone
	})
}

func writePackerJSON(images []*image.Image) Written {
	var out Written
	s := newSecrets()
	texts := func(v any) string {
		if t, ok := v.(image.Text); ok {
			if t.Secret() != "" {
				return "{{user `" + s.variable(t) + "`}}"
			}
			v = t.Reveal()
		}
		return literal(fmt.Sprint(v))
	}
	var body bytes.Buffer
	w := jsonText{b: &body, texts: texts}
	taken := map[string]bool{}
	var builders, provisioners, processors [][]written
	var cleanup []written
	for _, img := range images {
		l := &losses{image: img.Name}
		name := label(img, taken)
		builders = append(builders, append([]written{{"type", "azure-arm"}, {"name", name}}, armOptions(img, l)...))
		var only []written
		if len(images) > 1 {
			only = []written{{"only", []any{name}}}
		}
		typed := func(o []written) []written {
			return append(append([]written{{"type", o[0].value}}, o[1:]...), only...)
		}
		for _, x := range steps(fetched(img.Provision)) {
			provisioners = append(provisioners, typed(l.older(x)))
		}
		for _, x := range steps(fetched(img.Cleanup)) {
			l.impossible(cleanup != nil, "error-cleanup-provisioner", "Packer's older language has one for all builders: that of the first image is written")
			if cleanup == nil {
				cleanup = typed(l.older(x))
			}
		}
		for _, x := range posts(img) {
			processors = append(processors, typed(x))
		}
		for _, p := range slices.Concat(img.Provision, img.Cleanup) {
			l.remote(p, img.Managed.APIVersion != "")
		}
		out.Losses = append(out.Losses, l.list...)
	}
	list := func(name string, items [][]written) {
		if len(items) == 0 {
			return
		}
		fmt.Fprintf(&body, ",\n  %s: [", quoted(name))
		for i, o := range items {
			if i > 0 {
				body.WriteString(",")
			}
			body.WriteString("\n    ")
			w.object(o, 2, func(name string) bool { return slices.Contains([]string{"target_region", "azure_tag"}, name) })
		}
		body.WriteString("\n  ]")
	}
	list("builders", builders)
	list("provisioners", provisioners)
	if cleanup != nil {
		body.WriteString(",\n  \"error-cleanup-provisioner\": ")
		w.object(cleanup, 1, func(string) bool { return false })
	}
	list("post-processors", processors)
	var head bytes.Buffer
	head.WriteString("{\n  \"variables\": {")
	for i, v := range s.list {
		if i > 0 {
			head.WriteString(",")
		}
		fmt.Fprintf(&head, "\n    %s: null", quoted(v))
	}
	if len(s.list) > 0 {
		head.WriteString("\n  ")
	}
	head.WriteString("}")
	if len(s.list) > 0 {
		head.WriteString(",\n  \"sensitive-variables\": [")
		for i, v := range s.list {
			if i > 0 {
				head.WriteString(", ")
			}
			head.WriteString(quoted(v))
		}
		head.WriteString("]")
	}
	out.Needs, out.value = s.list, s.value
	out.Text = append(append(head.Bytes(), body.Bytes()...), "\n}\n"...)
	return out
}
