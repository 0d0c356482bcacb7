package aib

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/imagebuilder"
	"ingot/internal/plan"
)

// How long things take: the service's own parts are of the recorded runs (reference azure-protocol.md section 5), the rest are guesses. They
// feed the plan's critical path and nothing else.
const (
	takesIdentity    = 2 * time.Second
	takesRoles       = 5 * time.Second
	takesAccount     = 17 * time.Second
	takesUpload      = 5 * time.Second
	takesSubmit      = 90 * time.Second
	takesRun         = 35 * time.Minute // around the customizers
	takesRemove      = 60 * time.Second
	takesGroupDelete = 60 * time.Second
)

// compiler turns one image into steps.
type compiler struct {
	img   *image.Image
	f     image.Facts
	o     engine.Options
	tags  map[string]string // of everything that does not stay
	group string
	kept  bool // the template stays, and must be the same from run to run
	steps []plan.Step
	errs  []error
}

// Plan compiles img. It looks at the disk only for which sources are folders.
func (Engine) Plan(img *image.Image, f image.Facts, o engine.Options) (*plan.Plan, error) {
	b := img.Engine.Builder
	c := &compiler{img: img, f: f, o: o, kept: b.KeepTemplate, tags: maps.Clone(img.Tags)}
	if c.tags == nil {
		c.tags = map[string]string{}
	}
	c.tags[engine.TagRun], c.tags[engine.TagExpires] = o.Run, o.Made.Add(o.Expires).UTC().Format(time.RFC3339)
	c.group = cmp.Or(b.ResourceGroup, img.Machine.ResourceGroup, img.Machine.TempGroup, "ingot-"+o.Run)
	if b.ResourceGroup == "" && img.Machine.ResourceGroup == "" {
		c.add(plan.Step{ID: "group", Kind: "group", Title: "Create resource group " + c.group, Estimate: time.Second, UndoEstimate: takesGroupDelete},
			engine.GroupArgs{Group: azure.Group{Name: c.group, Location: f.Location, Tags: c.tags}, Async: img.Machine.AsyncDelete})
	}
	r := imagebuilder.Compile(img, imagebuilder.Options{Hosted: true, Subscription: f.Subscription, Location: f.Location})
	c.definitions()
	identity := c.identity()
	c.uploads(r)
	c.template(r, identity)
	c.run(r)
	p := &plan.Plan{Run: o.Run, Title: img.Name, Made: o.Made, Steps: c.steps}
	return p, errors.Join(append(c.errs, p.Check())...)
}

func (c *compiler) add(s plan.Step, args any) {
	raw, err := json.Marshal(args)
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("cannot plan step %s: %w", s.ID, err))
	}
	s.Args = raw
	c.take(s)
}

func (c *compiler) take(s plan.Step) {
	switch s.Kind {
	case "image-template", "image-run", "upload":
	default:
		s.Timeout = cmp.Or(s.Timeout, c.img.Machine.APITimeout)
	}
	if s.Scope == "" {
		s.Scope = plan.Scratch
	}
	c.steps = append(c.steps, s)
}

func (c *compiler) after(ids ...string) (out []string) {
	for _, s := range c.steps {
		if slices.Contains(ids, s.ID) {
			out = append(out, s.ID)
		}
	}
	return out
}

func (c *compiler) inGroup() string {
	if len(c.after("group")) > 0 {
		return "group"
	}
	return ""
}

// definitions plans the image definitions that are missing and described; the template cannot be submitted before they are there.
func (c *compiler) definitions() {
	galleries := map[string]string{}
	i := 0
	for k, t := range c.img.Targets {
		g, ok := t.(image.ToGallery)
		if !ok {
			continue
		}
		d := c.f.Galleries[i]
		i++
		if !d.Make {
			continue
		}
		steps, err := engine.DefinitionSteps(c.img, k, g, d, c.f.Subscription, c.productTags(image.Output{}, true), galleries)
		c.errs = append(c.errs, err)
		for _, s := range steps {
			c.take(s)
		}
	}
}

// productTags are the image's own tags, those of its target, and the run that made it: so that what a run made is found again, and nothing
// else is withdrawn. The targets of a template that stays go without the run, or it would be another one each time.
func (c *compiler) productTags(o image.Output, run bool) map[string]string {
	t := maps.Clone(c.tags)
	delete(t, engine.TagExpires)
	if !run {
		delete(t, engine.TagRun)
	}
	for k, v := range o.Tags {
		if k != engine.TagRun {
			t[k] = v
		}
	}
	return t
}

// ids of the steps that make an image definition.
func (c *compiler) made() (out []string) {
	for _, s := range c.steps {
		if s.Kind == "definition" {
			out = append(out, s.ID)
		}
	}
	return out
}

// identity plans who the service builds as, and returns its id.
func (c *compiler) identity() string {
	b := c.img.Engine.Builder
	if !b.CreateIdentity {
		if id := cmp.Or(b.Identity, first(c.img.Managed.Identities)); id != "" {
			return id
		}
		c.errs = append(c.errs, noIdentity(c.img))
		return ""
	}
	name := "ingot-" + c.o.Run
	id := fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.ManagedIdentity/userAssignedIdentities/%s", c.f.Subscription, c.group, name)
	c.add(plan.Step{ID: "identity", Kind: "identity", Title: "Create identity " + name, After: c.after("group"), Within: c.inGroup(), Estimate: takesIdentity, UndoEstimate: takesIdentity},
		identityArgs{ID: id, Location: c.f.Location, Tags: c.tags})
	a := rolesArgs{Roles: assignments(c.img, c.f, c.o.Run)}
	c.add(plan.Step{ID: "roles", Kind: "roles", Title: fmt.Sprintf("Assign %s to %s: %s", count(len(a.Roles), "role"), name, a.summary()), After: append([]string{"identity"}, c.made()...),
		Estimate: takesRoles, UndoEstimate: takesRoles}, a)
	return id
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// uploads plans that what is on this machine gets an address.
func (c *compiler) uploads(r imagebuilder.Result) {
	if len(r.Uploads) == 0 {
		return
	}
	b := c.img.Engine.Builder
	a := uploadArgs{Group: c.group, Account: "ingot" + c.o.Run, Container: "build", Uploads: r.Uploads, AsIdentity: b.ReadAsIdentity, Life: uploadLife(c.img), Linux: c.img.OS == image.Linux}
	step := plan.Step{ID: "upload", Kind: "upload", Until: []string{"run"}, Estimate: takesUpload, UndoEstimate: time.Second, Timeout: time.Hour}
	if p := strings.Split(b.StorageAccount, "/"); len(p) == 9 {
		// Beside other builds' things: a container for all, names of its own for each.
		a.Group, a.Account, a.Container, a.Folder = p[4], p[8], "ingot-builds", c.o.Run+"-"
		if !strings.EqualFold(p[2], c.f.Subscription) {
			c.errs = append(c.errs, fmt.Errorf("cannot upload to storage account %s: it is in another subscription than the build", p[8]))
		}
	} else {
		c.add(plan.Step{ID: "files-account", Kind: "files-account", Title: "Create storage account " + a.Account + " for scripts and files", After: c.after("group"), Within: c.inGroup(),
			Estimate: takesAccount, UndoEstimate: 2 * time.Second}, accountArgs{azure.StorageAccount{Group: a.Group, Name: a.Account, Location: c.f.Location, Tags: c.tags}})
		step.After, step.Within, step.Until = []string{"files-account"}, "files-account", nil
		if c.inGroup() != "" {
			step.Within = "group"
		}
	}
	step.Title = fmt.Sprintf("Upload %s to %s, and check the SHA-256", count(len(a.Uploads), "script or file"), a.Account)
	if len(a.Uploads) > 1 {
		step.Title = fmt.Sprintf("Upload %d scripts and files to %s, and note the SHA-256", len(a.Uploads), a.Account)
	} else {
		step.Title = fmt.Sprintf("Upload %s to %s, and note the SHA-256", a.Uploads[0].Name, a.Account)
	}
	c.add(step, a)
}

// uploadLife is how long the addresses of uploads are good for: the service reads scripts and files when the template is submitted; large
// files are read by the build machine itself, while it is customized.
func uploadLife(img *image.Image) time.Duration {
	return cmp.Or(timeout(img), 4*time.Hour) + time.Hour
}

var notName = regexp.MustCompile(`[^A-Za-z0-9-_.]+`)

// templateName is deterministic: of the image when the template stays, of image and run when it goes.
func (c *compiler) templateName() string {
	own := cmp.Or(c.img.Managed.Template, strings.Trim(notName.ReplaceAllString(c.img.Name, "-"), "-"))
	if c.kept {
		return own[:min(len(own), 64)]
	}
	name := "ingot-" + c.o.Run + "-" + own
	return name[:min(len(name), 64)]
}

func (c *compiler) template(r imagebuilder.Result, identity string) {
	t := r.Template
	t.Name, t.Type, t.APIVersion = "", "", ""
	t.Identity = &imagebuilder.Identity{Type: "UserAssigned", UserAssigned: map[string]any{identity: map[string]any{}}}
	t.Location = c.f.Location
	c.pin(t.Properties.Source)
	p := t.Properties
	if c.img.Managed.APIVersion == "" && (p.VM == nil || p.VM.Size == "") {
		// The service's own choice is a Standard_D1_v2, too small for Windows Update (reference section 4.1, row 15); of its own language it is kept.
		if p.VM == nil {
			p.VM = &imagebuilder.VMProfile{}
		}
		p.VM.Size = c.img.Machine.VMSize()
	}
	p.Timeout = int(timeout(c.img) / time.Minute)
	for i, d := range p.Distribute {
		o := outputOf(c.img.Targets[i])
		p.Distribute[i].Tags = c.productTags(o, !c.kept)
		if v, ok := c.img.Targets[i].(image.ToVHD); ok && d.URI == "" && v.StorageAccount != "" {
			p.Distribute[i].URI = vhdPrefix + v.ResourceGroup + "/" + v.StorageAccount + "/" + v.Container + "/" + v.Prefix + "ingot-" + c.o.Run + "-os.vhd"
		}
	}
	t.Tags = maps.Clone(c.tags)
	maps.Copy(t.Tags, c.img.Managed.Tags)
	t.Tags[engine.TagRun] = c.o.Run
	p.ResourceTags = maps.Clone(c.img.Tags)
	if p.ResourceTags == nil {
		p.ResourceTags = map[string]string{}
	}
	maps.Copy(p.ResourceTags, c.img.Managed.ResourceTags)
	if c.kept {
		delete(t.Tags, engine.TagExpires)
	} else {
		p.ResourceTags[engine.TagRun], p.ResourceTags[engine.TagExpires] = c.tags[engine.TagRun], c.tags[engine.TagExpires]
	}
	if len(p.ResourceTags) == 0 {
		p.ResourceTags = nil
	}
	c.collide()
	a := templateArgs{Group: c.group, Name: c.templateName(), Quotes: r.Quotes, Keep: c.kept, Fresh: len(c.after("roles")) > 0, Linux: c.img.OS == image.Linux,
		Body: imagebuilder.Document(t, func(t image.Text) any {
			if t.Secret() != "" {
				return map[string]any{"secret": t.Secret()}
			}
			return t.Reveal()
		})}
	step := plan.Step{ID: "template", Kind: "image-template", Title: "Submit image template " + a.Name, After: c.after(append(c.made(), "group", "roles", "upload")...), Estimate: takesSubmit, UndoEstimate: takesRemove, Timeout: time.Hour}
	if c.kept {
		step.Title, step.Scope = "Submit image template "+a.Name+", or use it as it is", plan.Product
	}
	c.add(step, a)
}

func outputOf(t image.Target) image.Output {
	switch t := t.(type) {
	case image.ToGallery:
		return t.Output
	case image.ToManagedImage:
		return t.Output
	case image.ToVHD:
		return t.Output
	}
	return image.Output{}
}

// pin names the version that Resolve found in the place of "latest", so that what was looked at is what is built on. A template with a
// trigger must say latest.
func (c *compiler) pin(s *imagebuilder.Source) {
	if s == nil || c.img.Engine.Builder.Trigger {
		return
	}
	switch b := c.f.Base; {
	case s.Type == "PlatformImage":
		s.Version = cmp.Or(b.Version, s.Version)
	case b.GalleryVersionID != "":
		s.ImageVersionID = b.GalleryVersionID
	case b.SharedImageID != "":
		s.ImageVersionID = b.SharedImageID
	}
	if p := c.f.Base.Plan; p != nil && s.Type == "PlatformImage" && s.Plan == nil {
		s.Plan = &imagebuilder.PurchasePlan{Name: p.Name, Product: p.Product, Publisher: p.Publisher}
	}
}

// collide refuses to replace a gallery version: the service makes none whose number is taken, and what is there must not go before the new
// one stands (docs/decisions/0011-force.md).
func (c *compiler) collide() {
	for _, k := range c.f.Exists {
		if g, ok := c.img.Targets[k].(image.ToGallery); ok {
			c.errs = append(c.errs, fmt.Errorf("cannot replace version %s of %s/%s with Image Builder, which makes no version that exists: use image_version = \"auto\" or another number, or build on a VM of your own (--engine vm)", g.Version, g.Gallery, g.Image))
		}
	}
}

func (c *compiler) run(r imagebuilder.Result) {
	a := runArgs{Group: c.group, Name: c.templateName(), Made: c.o.Made, Keep: c.kept, AutoRun: c.img.Managed.AutoRun == "Enabled", Windows: c.img.OS != image.Linux}
	if v := c.img.Validation; v != nil {
		a.Continues = v.ContinueDistribute
	}
	takes := takesRun
	for i, s := range r.Template.Properties.Customize {
		a.Customizers = append(a.Customizers, markOf(s, r.Customizers[i]))
	}
	if v := r.Template.Properties.Validate; v != nil {
		for i, s := range v.Steps {
			a.Validators = append(a.Validators, markOf(s, r.Validators[i]))
		}
	}
	for _, p := range c.img.Provision {
		if s, ok := p.Settings.(interface{ Estimate() time.Duration }); ok {
			takes += s.Estimate()
		}
	}
	i := 0
	for k, t := range c.img.Targets {
		d := r.Template.Properties.Distribute[k]
		x := target{Output: d.RunOutputName}
		switch t := t.(type) {
		case image.ToGallery:
			f := c.f.Galleries[i]
			i++
			x.Subscription, x.Group, x.Gallery, x.Image, x.Known = cmp.Or(t.Subscription, c.f.Subscription), t.ResourceGroup, t.Gallery, t.Image, f.Versions
			x.Title = fmt.Sprintf("%s/%s %s", t.Gallery, t.Image, cmp.Or(map[bool]string{true: "(a version as the source's)"}[t.FromSource], map[bool]string{true: "(the next version)"}[t.Version == "auto"], t.Version))
		case image.ToManagedImage:
			x.Subscription, x.Group, x.Name, x.Title = cmp.Or(t.Subscription, c.f.Subscription), t.ResourceGroup, t.Name, "managed image "+t.Name
			x.Replaces = slices.Contains(c.f.Exists, k)
		case image.ToVHD:
			x.URI, x.Title = d.URI, "VHD "+strings.TrimPrefix(cmp.Or(d.URI, "in the template's own storage account"), vhdPrefix)
			if d.URI == "" && !c.kept {
				c.errs = append(c.errs, errors.New("cannot keep a VHD without an address: it goes to the template's own storage account, and with the template; give it a uri, or keep the template (keep_template)"))
			}
		}
		a.Targets = append(a.Targets, x)
	}
	what := count(len(a.Customizers), "customizer")
	limit := cmp.Or(timeout(c.img), 4*time.Hour)
	c.add(plan.Step{ID: "run", Kind: "image-run", Title: "Build with Image Builder: " + what, After: []string{"template"}, Scope: plan.Product, Alone: true, Estimate: takes, UndoEstimate: takesRemove, Timeout: limit + time.Hour}, a)
	var products []string
	for k, x := range a.Targets {
		id := fmt.Sprintf("output-%d", k+1)
		c.add(plan.Step{ID: id, Kind: "image-output", Title: "Collect " + x.Title, After: []string{"run"}, Scope: plan.Nothing, Estimate: time.Second}, outputArgs{Group: c.group, Name: a.Name, Output: x.Output, Title: x.Title})
		products = append(products, id)
	}
	if c.img.Engine.Builder.Trigger {
		c.add(plan.Step{ID: "trigger", Kind: "image-trigger", Title: "Build again whenever the source has a newer version", After: []string{"run"}, Scope: plan.Product, Estimate: 10 * time.Second}, triggerArgs{Group: c.group, Template: a.Name, Name: "source"})
	}
	after := products
	if len(after) == 0 {
		after = []string{"run"}
	}
	steps, err := engine.Afterwards(c.img, after, products)
	c.errs = append(c.errs, err)
	for _, s := range steps {
		c.take(s)
	}
}

// markOf is what the log calls a customizer, and what people do.
func markOf(s imagebuilder.Step, o imagebuilder.Origin) mark {
	m := mark{Type: s.Type, Title: o.Title}
	if o.Pos.File != "" {
		m.At = fmt.Sprintf("%s:%d", path.Clean(strings.ReplaceAll(o.Pos.File, `\`, "/")), o.Pos.Line)
	}
	return m
}
