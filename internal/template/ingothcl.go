package template

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// ingotFile is what *.ingot.hcl files may hold: what neither Packer's languages nor Image Builder's can say. They stand beside the
// template, and neither of the two tools reads them. Variables, locals and functions are the template's own.
type ingotFile struct {
	// Engine says how the images are built.
	Engine *ingotEngine `hcl:"engine,block"`
	// Definition is an image definition, and its gallery, to make when they are missing.
	Definition []ingotDefinition `hcl:"image_definition,block"`
	// HostPool is a host pool that the image is for; its label is the host pool's name.
	HostPool []ingotHostPool `hcl:"host_pool,block"`
}

// ingotScope says which images of a template a block is for.
type ingotScope struct {
	// Only names the images that the block is for; all of them if not set.
	Only []string `hcl:"only"`
	// Except names images that it is not for.
	Except []string `hcl:"except"`
}

type ingotEngine struct {
	ingotScope
	// Name is vm (a machine of your own, as Packer builds) or aib (Azure Image Builder). --engine on the command line wins.
	Name string `hcl:"name"`
	// Detach starts the build and hands back its id instead of waiting for it.
	Detach bool `hcl:"detach"`
	// OnError is cleanup (default), abort, ask or keep.
	OnError string `hcl:"on_error"`
	// Timeout bounds the whole build, on either engine; none if not set.
	Timeout time.Duration `hcl:"timeout"`
	// AllowLossy goes on although the engine cannot do everything exactly.
	AllowLossy bool `hcl:"allow_lossy"`
	// Identity is the id of the user-assigned identity that Azure Image Builder builds as. --identity on the command line wins.
	Identity string `hcl:"identity"`
	// CreateIdentity makes an identity for the build, assigns it the roles it needs, and removes both afterwards (Azure Image Builder).
	CreateIdentity bool `hcl:"create_identity"`
	// KeepTemplate keeps the image template after the build; the next build uses it again if it is the same (Azure Image Builder).
	KeepTemplate bool `hcl:"keep_template"`
	// ResourceGroup is where the image template is made; the group that is built in, or a temporary one, if not set (Azure Image Builder).
	ResourceGroup string `hcl:"resource_group"`
	// StorageAccount is the id of a storage account that local scripts and files are uploaded to for the build; one is made if not set (Azure Image Builder).
	StorageAccount string `hcl:"storage_account"`
	// ReadAsIdentity lets the service read them as its identity (role Storage Blob Data Reader) instead of by addresses with a signature (Azure Image Builder).
	ReadAsIdentity bool `hcl:"read_as_identity"`
	// Trigger builds again whenever the source image has a newer version; needs keep_template (Azure Image Builder).
	Trigger bool `hcl:"trigger"`
}

type ingotDefinition struct {
	ingotScope
	// Subscription of the gallery; the build's if not set.
	Subscription string `hcl:"subscription"`
	// ResourceGroup of the gallery.
	ResourceGroup string `hcl:"resource_group"`
	// Gallery is the gallery's name.
	Gallery string `hcl:"gallery_name"`
	// Name is the image definition's name.
	Name string `hcl:"image_name"`
	// Location of the gallery and the definition; the build's if not set.
	Location string `hcl:"location"`
	// CreateGallery makes the gallery as well when it is missing.
	CreateGallery bool `hcl:"create_gallery"`
	// Publisher, with offer and sku, is the definition's own identifier, unique in its gallery.
	Publisher string `hcl:"publisher"`
	// Offer of the identifier.
	Offer string `hcl:"offer"`
	// SKU of the identifier.
	SKU string `hcl:"sku"`
	// OSType is Windows or Linux; the image's if not set.
	OSType string `hcl:"os_type"`
	// OSState is Generalized (default) or Specialized.
	OSState string `hcl:"os_state"`
	// Generation is V1 or V2 (default).
	Generation string `hcl:"hyper_v_generation"`
	// SecurityType is Standard, TrustedLaunchSupported (default for V2), TrustedLaunch, ConfidentialVMSupported or ConfidentialVM.
	SecurityType string `hcl:"security_type"`
	// Architecture is x64 (default) or Arm64.
	Architecture string `hcl:"architecture"`
	// DiskControllers are SCSI and NVMe; without NVMe an image does not start on the newest sizes.
	DiskControllers []string `hcl:"disk_controller_types"`
	// Description is shown with it.
	Description string `hcl:"description"`
}

type ingotHostPool struct {
	ingotScope
	// Subscription of the host pool; the build's if not set.
	Subscription string `hcl:"subscription"`
	// ResourceGroup of the host pool.
	ResourceGroup string `hcl:"resource_group"`
	// Rollout is manual (default) or after_build.
	Rollout string `hcl:"rollout"`
	// Batch is how many session hosts are replaced at once: a number, or a part such as "20%".
	Batch string `hcl:"batch"`
	// DrainTimeout is how long users may stay on an old session host before they are signed out.
	DrainTimeout time.Duration `hcl:"drain_timeout"`
	// KeepOld is how long old session hosts stay, switched off.
	KeepOld time.Duration `hcl:"keep_old"`
}

// ingotTest are the options of a test beside those of its provisioner.
type ingotTest struct {
	ingotScope
	// Name is shown.
	Name string `hcl:"name"`
	// ContinueOnFailure publishes the image although the test fails; the run is reported as failed all the same.
	ContinueOnFailure bool `hcl:"continue_on_failure"`
	// Timeout bounds the test.
	Timeout time.Duration `hcl:"timeout"`
}

var accountID = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Storage/storageAccounts/[a-z0-9]{3,24}$`)

var batchForm = regexp.MustCompile(`^([1-9][0-9]{0,3}|[1-9][0-9]?%|100%)$`)

// ingotFiles reads what stands beside the template: every *.ingot.hcl of a folder; of a file, the one that has its name.
func (l *loader) ingotFiles(template string) {
	var names []string
	if l.folder {
		list, err := os.ReadDir(l.abs(l.dir))
		if err != nil {
			return
		}
		for _, e := range list {
			if !e.IsDir() && strings.HasSuffix(e.Name(), ".ingot.hcl") {
				names = append(names, filepath.Join(l.dir, e.Name()))
			}
		}
	} else {
		base := filepath.Base(template)
		for _, suffix := range []string{".pkr.hcl", ".pkr.json", ".jsonc", ".json"} {
			if stem, ok := strings.CutSuffix(base, suffix); ok {
				name := filepath.Join(l.dir, stem+".ingot.hcl")
				if exists(l.abs(name)) {
					names = append(names, name)
				}
				break
			}
		}
	}
	for _, name := range names {
		raw, ok := l.read(name)
		if !ok {
			continue
		}
		if body := l.parse(name, raw); body != nil {
			l.ingot(body)
		}
	}
}

func (l *loader) ingot(body hcl.Body) {
	ctx := l.context(nil)
	schema := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "engine"}, {Type: "image_definition"}, {Type: "host_pool", LabelNames: []string{"name"}}, {Type: "test", LabelNames: []string{"type"}}, {Type: "avd_customizer", LabelNames: []string{"name"}}}}
	c, problems := l.open(body, ctx).Content(schema)
	l.noteNames(problems, []string{"engine", "image_definition", "host_pool", "test", "avd_customizer"}, nil, "", "an Ingot file", false)
	for _, b := range c.Blocks {
		pos := at(b.TypeRange)
		d := l.decoder(ctx, b.Type, "ingot/"+b.Type, pos)
		switch b.Type {
		case "engine":
			l.ingotEngine(d, b)
		case "image_definition":
			l.ingotDefinition(d, b)
		case "host_pool":
			l.ingotHostPool(d, b)
		case "test":
			l.ingotTest(b)
		case "avd_customizer":
			l.avdCustomizer(b)
		}
	}
}

// scoped calls f with every image that a block is for.
func (l *loader) scoped(d *decoder, s ingotScope, f func(*image.Image)) {
	hit := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(g string) bool {
			ok, err := path.Match(g, name)
			return err == nil && ok || strings.HasSuffix(name, "."+g)
		})
	}
	n := 0
	for _, img := range l.r.Images {
		if (len(s.Only) == 0 || hit(s.Only, img.Name)) && !hit(s.Except, img.Name) {
			n++
			f(img)
		}
	}
	if n == 0 && len(s.Only) > 0 && len(l.r.Images) > 0 && len(l.o.Only)+len(l.o.Except) == 0 {
		l.problems.Warnf(d.place("only"), "names look like "+l.r.Images[0].Name, "the block is for no image of the template")
	}
}

func (d *decoder) choice(option, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		d.fail(option, "use one of "+strings.Join(allowed, ", "), "%s is %q", option, value)
	}
}

func (l *loader) ingotEngine(d *decoder, b *hcl.Block) {
	var o ingotEngine
	d.into(&o, "", nil, b.Body)
	d.choice("name", o.Name, "vm", "aib")
	d.choice("on_error", o.OnError, "cleanup", "abort", "ask", "keep")
	if o.Identity != "" && !identityID.MatchString(o.Identity) {
		d.fail("identity", "write /subscriptions/…/resourceGroups/…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME", "%q is no id of a user-assigned identity", o.Identity)
	}
	if o.StorageAccount != "" && !accountID.MatchString(o.StorageAccount) {
		d.fail("storage_account", "write /subscriptions/…/resourceGroups/…/providers/Microsoft.Storage/storageAccounts/NAME", "%q is no id of a storage account", o.StorageAccount)
	}
	l.scoped(d, o.ingotScope, func(img *image.Image) {
		if img.Engine != (image.Engine{}) {
			l.problems.Errorf(d.at, "keep one, or give them only", "engine stands twice for %s", img.Name)
		}
		img.Engine = image.Engine{Name: o.Name, Detach: o.Detach, OnError: o.OnError, Timeout: o.Timeout, AllowLossy: o.AllowLossy,
			Builder: image.Builder{Identity: o.Identity, CreateIdentity: o.CreateIdentity, KeepTemplate: o.KeepTemplate, ResourceGroup: o.ResourceGroup, StorageAccount: o.StorageAccount, ReadAsIdentity: o.ReadAsIdentity, Trigger: o.Trigger}}
	})
}

func (l *loader) ingotDefinition(d *decoder, b *hcl.Block) {
	var o ingotDefinition
	d.into(&o, "", nil, b.Body)
	for _, x := range [][2]string{{"resource_group", o.ResourceGroup}, {"gallery_name", o.Gallery}, {"image_name", o.Name}, {"publisher", o.Publisher}, {"offer", o.Offer}, {"sku", o.SKU}} {
		if x[1] == "" {
			d.fail(x[0], "add "+x[0], "image_definition needs %s", x[0])
		}
	}
	d.choice("os_type", o.OSType, "Windows", "Linux")
	d.choice("os_state", o.OSState, "Generalized", "Specialized")
	d.choice("hyper_v_generation", o.Generation, "V1", "V2")
	d.choice("security_type", o.SecurityType, "Standard", "TrustedLaunchSupported", "TrustedLaunch", "ConfidentialVMSupported", "ConfidentialVM")
	d.choice("architecture", o.Architecture, "x64", "Arm64")
	for _, c := range o.DiskControllers {
		d.choice("disk_controller_types", c, "SCSI", "NVMe")
	}
	if o.Generation == "V1" && o.SecurityType != "" && o.SecurityType != "Standard" {
		d.fail("security_type", `set hyper_v_generation = "V2"`, "security_type %s needs generation V2", o.SecurityType)
	}
	def := image.Definition{Subscription: o.Subscription, ResourceGroup: o.ResourceGroup, Gallery: o.Gallery, Name: o.Name, Location: image.NormalLocation(o.Location), CreateGallery: o.CreateGallery, Publisher: o.Publisher, Offer: o.Offer,
		SKU: o.SKU, OSState: o.OSState, Generation: o.Generation, SecurityType: o.SecurityType, Architecture: o.Architecture, DiskControllers: o.DiskControllers, Description: o.Description, Pos: d.at}
	if def.OSState == "" {
		def.OSState = "Generalized"
	}
	if def.Generation == "" {
		def.Generation = "V2"
	}
	if def.SecurityType == "" && def.Generation == "V2" {
		def.SecurityType = "TrustedLaunchSupported"
	}
	found := false
	l.scoped(d, o.ingotScope, func(img *image.Image) {
		for _, t := range img.Targets {
			g, ok := t.(image.ToGallery)
			if !ok || !strings.EqualFold(g.Gallery, o.Gallery) || !strings.EqualFold(g.Image, o.Name) || !strings.EqualFold(g.ResourceGroup, o.ResourceGroup) {
				continue
			}
			found = true
			img.Definitions = append(img.Definitions, def)
			l.compare(d, img, &g, &def, o.OSType)
		}
	})
	if !found && len(l.r.Images) > 0 && !l.problems.HasErrors() && len(l.o.Only)+len(l.o.Except) == 0 {
		l.problems.Warnf(d.at, "name the gallery, definition and resource group as the template's target does", "no image goes to the definition %s/%s in %s", o.Gallery, o.Name, o.ResourceGroup)
	}
}

// compare holds an image against the definition it goes to, as far as both are known.
func (l *loader) compare(d *decoder, img *image.Image, g *image.ToGallery, def *image.Definition, osType string) {
	if osType != "" && !strings.EqualFold(osType, string(img.OS)) {
		d.fail("os_type", "use the image's", "image definition %s is for %s, and %s is %s", def.Name, osType, img.Name, img.OS)
	}
	if g.Specialized != (def.OSState == "Specialized") {
		d.fail("os_state", "use the image's", "image definition %s takes %s images, and %s is not", def.Name, strings.ToLower(def.OSState), img.Name)
	}
	if m, ok := img.Source.(image.Marketplace); ok {
		if gen := image.GuessGeneration(m); gen != "" && gen != def.Generation {
			l.problems.Warnf(d.place("hyper_v_generation"), "use the source's", "image definition %s is generation %s, and the SKU %s looks like generation %s", def.Name, def.Generation, m.SKU, gen)
		}
	}
	trusted := img.Machine.SecurityType == "TrustedLaunch" || img.Machine.SecureBoot || img.Machine.VTPM
	switch {
	case trusted && !strings.HasPrefix(def.SecurityType, "TrustedLaunch"):
		d.fail("security_type", `use "TrustedLaunchSupported"`, "%s is built with Trusted Launch, and image definition %s does not support it", img.Name, def.Name)
	case !trusted && def.SecurityType == "TrustedLaunch":
		d.fail("security_type", `use "TrustedLaunchSupported", or build with security_type = "TrustedLaunch"`, "image definition %s takes Trusted Launch images only, and %s is none", def.Name, img.Name)
	}
}

func (l *loader) ingotHostPool(d *decoder, b *hcl.Block) {
	var o ingotHostPool
	d.into(&o, "", nil, b.Body)
	if o.ResourceGroup == "" {
		d.fail("resource_group", "add resource_group", "host_pool needs resource_group")
	}
	d.choice("rollout", o.Rollout, "manual", "after_build")
	if o.Batch != "" && !batchForm.MatchString(o.Batch) {
		d.fail("batch", `write 2, or "20%"`, "batch is neither a number nor a part: %q", o.Batch)
	}
	pool := image.HostPool{Subscription: o.Subscription, ResourceGroup: o.ResourceGroup, Name: b.Labels[0], AfterBuild: o.Rollout == "after_build", DrainTimeout: o.DrainTimeout, KeepOld: o.KeepOld, Pos: d.at}
	if n, percent := strings.CutSuffix(o.Batch, "%"); o.Batch != "" {
		v, err := strconv.Atoi(n)
		if err == nil && percent {
			pool.BatchPercent = v
		} else if err == nil {
			pool.Batch = v
		}
	}
	l.scoped(d, o.ingotScope, func(img *image.Image) { img.HostPools = append(img.HostPools, pool) })
}

// testKinds are the provisioners that can be a test.
func testKinds() []string { return []string{"powershell", "windows-shell", "shell", "file", "inspec"} }

// ingotTest reads a test: a provisioner that is tried on a machine made of the finished image.
func (l *loader) ingotTest(b *hcl.Block) {
	pos := at(b.TypeRange)
	kind := b.Labels[0]
	if _, ok := provisioner.New(kind); !ok || !slices.Contains(testKinds(), kind) {
		l.problems.Errorf(at(b.LabelRanges[0]), "use powershell, windows-shell, shell, file or inspec", "%q is no kind of test", kind)
		return
	}
	var once image.Provision
	var o ingotTest
	read := func(name string) bool {
		settings, _ := provisioner.New(kind)
		ctx := l.context(map[string]cty.Value{"build": running("", "azure-arm")})
		d := l.decoder(ctx, "test "+strconv.Quote(kind), name, pos)
		d.running = true
		o = ingotTest{}
		d.into([]any{&o, settings}, "", nil, b.Body)
		l.check(d, settings)
		once = image.Provision{Type: kind, Name: o.Name, Settings: settings, Timeout: o.Timeout, GoOn: o.ContinueOnFailure, Pos: pos}
		return true
	}
	if len(l.r.Images) == 0 {
		read("ingot/test")
		return
	}
	read("ingot/test")
	scope := o.ingotScope
	d := l.decoder(nil, "test", "", pos)
	l.scoped(d, scope, func(img *image.Image) {
		n := 0
		if img.Validation == nil {
			img.Validation = &image.Validation{}
		} else {
			n = len(img.Validation.Steps)
		}
		read(img.Name + "/test[" + strconv.Itoa(n) + "]")
		img.Validation.Steps = append(img.Validation.Steps, once)
	})
}
