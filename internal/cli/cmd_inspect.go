package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/template"
)

func (a *app) inspectCmd() *cobra.Command {
	var t templateFlags
	c := &cobra.Command{
		Use: "inspect PATH", Short: "Show what a template has: variables, images, steps, targets",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, problems := template.Load(a.relative(args[0]), t.options(a))
			o := overview{Language: string(r.Language), Files: r.Files, Variables: r.Variables}
			// Without its variables a template is not whole, but what it wants can be told.
			for _, img := range r.Images {
				o.Images = append(o.Images, a.describe(img))
			}
			if a.json {
				e := json.NewEncoder(a.Out)
				e.SetIndent("", "  ")
				e.SetEscapeHTML(false)
				if err := e.Encode(o); err != nil {
					return err
				}
			} else {
				o.print(a.Out)
			}
			if len(r.Images) == 0 && problems.HasErrors() {
				diag.Render(a.Err, problems, r.Sources, a.color(a.Err))
				return shown(exitTemplate)
			}
			return nil
		},
	}
	t.add(c)
	c.Flags().BoolVar(&a.json, "json", false, "print it as JSON")
	return c
}

// overview is a template for people.
type overview struct {
	Language  string              `json:"language"`
	Files     []string            `json:"files"`
	Variables []template.Variable `json:"variables"`
	Images    []imageOverview     `json:"images"`
}

type imageOverview struct {
	Name     string   `json:"name"`
	OS       string   `json:"os"`
	Source   string   `json:"source"`
	Location string   `json:"location,omitempty"`
	Size     string   `json:"size,omitempty"`
	Steps    []string `json:"steps"`
	Targets  []string `json:"targets"`
	After    []string `json:"after,omitempty"`
	Tests    []string `json:"tests,omitempty"`
}

func (a *app) describe(img *image.Image) imageOverview {
	o := imageOverview{Name: img.Name, OS: string(img.OS), Location: img.Machine.Location, Size: img.Machine.Size, Steps: []string{}, Targets: []string{}}
	if o.Location == "" {
		o.Location = "of resource group " + img.Machine.ResourceGroup
	}
	switch s := img.Source.(type) {
	case image.Marketplace:
		o.Source = fmt.Sprintf("marketplace %s:%s:%s:%s", s.Publisher, s.Offer, s.SKU, or(s.Version, "latest"))
	case image.GalleryVersion:
		o.Source = fmt.Sprintf("gallery %s/%s %s", s.Gallery, s.Image, or(s.Version, "latest"))
	case image.SharedGalleryImage:
		o.Source = "shared gallery " + s.ID
	case image.ManagedImage:
		o.Source = "managed image " + s.Name
	case image.VHD:
		o.Source = "VHD " + s.URL
	}
	list := func(steps []image.Provision) (out []string) {
		for _, p := range steps {
			text := p.Type
			if s, ok := p.Settings.(interface{ Summary() string }); ok {
				text = s.Summary()
			}
			if p.Name != "" {
				text += " (" + p.Name + ")"
			}
			out = append(out, text)
		}
		return out
	}
	o.Steps = append(o.Steps, list(img.Provision)...)
	for _, t := range img.Targets {
		switch t := t.(type) {
		case image.ToGallery:
			regions := []string{}
			for _, r := range t.Regions {
				regions = append(regions, r.Name)
			}
			o.Targets = append(o.Targets, strings.TrimSpace(fmt.Sprintf("gallery %s/%s %s %s", t.Gallery, t.Image, t.Version, strings.Join(regions, ", "))))
		case image.ToManagedImage:
			o.Targets = append(o.Targets, "managed image "+t.Name)
		case image.ToVHD:
			o.Targets = append(o.Targets, strings.TrimSpace("VHD "+t.StorageAccount+t.URI))
		}
	}
	for _, m := range img.Manifests {
		o.After = append(o.After, "manifest "+m.Output)
	}
	if img.Validation != nil {
		o.Tests = list(img.Validation.Steps)
	}
	return o
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func (o overview) print(w io.Writer) {
	say(w, "Language: %s (%s)", o.Language, strings.Join(o.Files, ", "))
	if len(o.Variables) > 0 {
		say(w, "\nVariables:")
		width := 0
		for _, v := range o.Variables {
			width = max(width, len(v.Name))
		}
		for _, v := range o.Variables {
			state := "default " + v.Default
			if strings.Contains(v.Default, "\n") || len(v.Default) > 60 {
				state = "has a default"
			}
			if v.Required {
				state = "required"
			}
			if v.Sensitive {
				state = strings.TrimSpace(strings.Replace(state, "default ", "has a default", 1)) + ", sensitive"
			}
			say(w, "  %-*s  %s%s", width, v.Name, state, prefixed("  # ", v.Description))
		}
	}
	for _, i := range o.Images {
		say(w, "\nImage %s (%s)", i.Name, i.OS)
		say(w, "  from  %s", i.Source)
		say(w, "  on    %s", strings.TrimSpace(strings.Join(slices.DeleteFunc([]string{i.Size, i.Location}, func(s string) bool { return s == "" }), ", ")))
		for n, s := range i.Steps {
			say(w, "  %2d.   %s", n+1, s)
		}
		for _, t := range i.Tests {
			say(w, "  test  %s", t)
		}
		for _, t := range i.Targets {
			say(w, "  to    %s", t)
		}
		for _, t := range i.After {
			say(w, "  then  %s", t)
		}
	}
}

func prefixed(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}
