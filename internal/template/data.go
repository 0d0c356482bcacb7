package template

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// VaultSecret is a secret that a template reads from a key vault (Packer's data source azure-keyvaultsecret).
type VaultSecret struct {
	Identity             image.Identity // who reads; empty fields are found from the environment
	Vault, Name, Version string         // an empty Version is the newest
	Pos                  diag.Pos
}

// dataSource is a data block.
type dataSource struct {
	block *hcl.Block
	value cty.Value
	state int // 0 fresh, 1 being read, 2 known
}

// keyVaultSecret are the options of data source azure-keyvaultsecret (packer-plugin-azure 2.6).
type keyVaultSecret struct {
	armIdentity
	Vault   string `hcl:"vault_name"`
	Secret  string `hcl:"secret_name"`
	Version string `hcl:"version"`
}

func (l *loader) declareData(b *hcl.Block) {
	name := b.Labels[0] + "." + b.Labels[1]
	if old := l.data[name]; old != nil {
		l.problems.Errorf(at(b.TypeRange), "rename one of them", "data %q %q is declared twice; first at %s", b.Labels[0], b.Labels[1], at(old.block.TypeRange))
		return
	}
	l.data[name] = &dataSource{block: b}
	why := ""
	switch b.Labels[0] {
	case "azure-keyvaultsecret":
		return
	case "http":
		why = "a template that fetches from the network cannot be checked before it is built; read the value in a shell step and hand it over with -var"
	case "amazon-secretsmanager", "amazon-parameterstore", "amazon-ami":
		why = "it reads from Amazon Web Services, and Ingot only talks to Azure; hand the value over with -var"
	case "hcp-packer-version", "hcp-packer-artifact", "hcp-packer-image", "hcp-packer-iteration":
		why = "it reads from HCP Packer; name the gallery image in shared_image_gallery and leave image_version out to start from the newest"
	case "null":
		why = "its value is its own input: use a local"
	default:
		why = "Ingot has data source azure-keyvaultsecret; hand other values over with -var"
	}
	l.problems.Errorf(at(b.LabelRanges[0]), why, "data source %q is not supported", b.Labels[0])
	l.data[name].value, l.data[name].state = cty.DynamicVal, 2
}

// dataValues are data.TYPE.NAME.
func (l *loader) dataValues() cty.Value {
	byType := map[string]map[string]cty.Value{}
	for _, key := range keys(l.data) {
		s := l.data[key]
		t := s.block.Labels[0]
		if byType[t] == nil {
			byType[t] = map[string]cty.Value{}
		}
		v := s.value
		if s.state != 2 {
			v = cty.DynamicVal
		}
		byType[t][s.block.Labels[1]] = v
	}
	out := map[string]cty.Value{}
	for t, m := range byType {
		out[t] = cty.ObjectVal(m)
	}
	return cty.ObjectVal(out)
}

// resolveData reads a key vault's secret, or leaves it unknown where nothing outside may be asked.
func (l *loader) resolveData(key string, via []string) {
	s := l.data[key]
	via = append(slices.Clone(via), "data."+key)
	if s.state != 0 {
		return
	}
	s.state = 1
	defer func() { s.state = 2 }()
	s.value = cty.DynamicVal
	attrs, _ := s.block.Body.JustAttributes()
	for _, a := range attrs {
		for _, t := range a.Expr.Variables() {
			if t.RootName() == "local" && len(t) > 1 {
				if step, ok := t[1].(hcl.TraverseAttr); ok {
					l.resolveLocal(step.Name, via)
				}
			}
			if other := dataOf(t); l.data[other] != nil && l.data[other].state == 1 {
				l.problems.Errorf(at(s.block.TypeRange), "break the circle", "data %q %q depends on itself", s.block.Labels[0], s.block.Labels[1])
			} else if l.data[other] != nil {
				l.resolveData(other, via)
			}
		}
	}
	ctx := l.context(nil)
	what := fmt.Sprintf("data %q %q", s.block.Labels[0], s.block.Labels[1])
	d := l.decoder(ctx, what, "data."+key, at(s.block.TypeRange))
	var o keyVaultSecret
	d.into(&o, "", nil, l.open(s.block.Body, ctx))
	for _, x := range [][2]string{{"vault_name", o.Vault}, {"secret_name", o.Secret}} {
		if x[1] == "" {
			d.fail(x[0], "add "+x[0], "%s needs %s", what, x[0])
		}
	}
	id := d.toIdentity(&o.armIdentity)
	l.r.VaultSecrets = append(l.r.VaultSecrets, VaultSecret{Identity: id, Vault: o.Vault, Name: o.Secret, Version: o.Version, Pos: d.at})
	if l.o.VaultSecret == nil || l.problems.HasErrors() {
		return
	}
	value, err := l.o.VaultSecret(l.r.VaultSecrets[len(l.r.VaultSecrets)-1])
	if err != nil {
		l.problems.Errorf(d.at, "check vault_name and secret_name, and that the identity may read secrets (role Key Vault Secrets User)", "cannot read %s: %v", what, err)
		return
	}
	text := cty.StringVal(value)
	l.hide(text)
	s.value = cty.ObjectVal(map[string]cty.Value{"value": text.Mark(sensitive{}), "response": text.Mark(sensitive{})})
}
