package template

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	uuidpkg "github.com/google/uuid"
	"github.com/hashicorp/go-cty-funcs/cidr"
	"github.com/hashicorp/go-cty-funcs/collection"
	"github.com/hashicorp/go-cty-funcs/crypto"
	"github.com/hashicorp/go-cty-funcs/encoding"
	"github.com/hashicorp/go-cty-funcs/filesystem"
	"github.com/hashicorp/go-cty-funcs/uuid"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	ctyyaml "github.com/zclconf/go-cty-yaml"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"ingot/internal/template/braces"
)

// functionTable is what expressions may call; env only in a variable's default.
type functionTable struct {
	all map[string]function.Function
	env function.Function
}

// functions is the one list: what Packer's documentation names
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions). What Ingot refuses is in refused, with the reason.
func functions(l *loader) functionTable {
	t := functionTable{all: map[string]function.Function{
		"abspath": about1(func(s string) (string, error) { return filepath.ToSlash(l.abs(s)), nil }), "basename": filesystem.BasenameFunc, "dirname": filesystem.DirnameFunc,
		"pathexpand": filesystem.PathExpandFunc, "file": l.onFile(filesystem.MakeFileFunc("", false)), "filebase64": l.onFile(filesystem.MakeFileFunc("", true)),
		"fileexists": l.onFile(filesystem.MakeFileExistsFunc("")), "fileset": l.onFile(filesystem.MakeFileSetFunc("")),

		"base64decode": about1(decodeBase64), "base64encode": encoding.Base64EncodeFunc, "urlencode": encoding.URLEncodeFunc, "base64gzip": about1(gzipBase64),
		"textencodebase64": textBase64(encodeText), "textdecodebase64": textBase64(decodeText),
		"csvdecode": stdlib.CSVDecodeFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc, "yamldecode": ctyyaml.YAMLDecodeFunc, "yamlencode": ctyyaml.YAMLEncodeFunc,

		"bcrypt": crypto.BcryptFunc, "md5": crypto.Md5Func, "sha1": crypto.Sha1Func, "sha256": crypto.Sha256Func, "sha512": crypto.Sha512Func, "rsadecrypt": crypto.RsaDecryptFunc,
		"uuidv4": uuid.V4Func, "uuidv5": uuid.V5Func,

		"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc, "max": stdlib.MaxFunc, "min": stdlib.MinFunc, "pow": stdlib.PowFunc, "signum": stdlib.SignumFunc, "parseint": stdlib.ParseIntFunc, "sum": sum(),

		"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc, "join": stdlib.JoinFunc,
		"lower": stdlib.LowerFunc, "upper": stdlib.UpperFunc, "title": stdlib.TitleFunc, "replace": stdlib.ReplaceFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc, "regex_replace": stdlib.RegexReplaceFunc,
		"split": stdlib.SplitFunc, "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc, "trimsuffix": stdlib.TrimSuffixFunc, "trimspace": stdlib.TrimSpaceFunc,
		"startswith": about(strings.HasPrefix), "endswith": about(strings.HasSuffix), "strcontains": about(strings.Contains),

		"alltrue": truth(true), "anytrue": truth(false),
		"chunklist": stdlib.ChunklistFunc, "coalesce": collection.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc,
		"distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "index": indexOf(), "keys": stdlib.KeysFunc, "values": stdlib.ValuesFunc, "length": length(),
		"lookup": lookup(), "merge": stdlib.MergeFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc, "setintersection": stdlib.SetIntersectionFunc, "setproduct": stdlib.SetProductFunc,
		"setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "zipmap": stdlib.ZipmapFunc,

		"cidrhost": cidr.HostFunc, "cidrnetmask": cidr.NetmaskFunc, "cidrsubnet": cidr.SubnetFunc, "cidrsubnets": cidr.SubnetsFunc,

		"formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc, "rfc3339_parse": rfc3339Parse(), "unix_timestamp_parse": unixTimestampParse(),
		"timestamp":      text(func() string { return l.o.Now.UTC().Format(time.RFC3339) }),
		"legacy_isotime": isotime(l.o.Now), "legacy_strftime": strftime(l.o.Now),
	}}
	t.all["templatefile"] = l.templateFile(t.all)
	limits := estimates()
	for name, f := range t.all {
		t.all[name] = limited(f, limits[name])
	}
	// These take expressions, not values: what stands in the expression has its own bounds.
	t.all["can"], t.all["try"], t.all["convert"] = can(), tryfunc.TryFunc, typeexpr.ConvertFunc
	for name, why := range refused() {
		t.all[name] = refuse(name, why)
	}
	t.env = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "key", Type: cty.String}}, Type: function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.StringVal(l.engine("", "").Env(args[0].AsString())), nil
		},
	})
	return t
}

// refused are functions that Packer has and this version of Ingot does not.
func refused() map[string]string {
	const outside = "Ingot reads no secret store while it reads a template; give the value as a sensitive variable (PKR_VAR_name)"
	return map[string]string{
		"vault": outside, "consul_key": outside, "aws_secretsmanager": outside, "aws_secretsmanager_raw": outside,
		"env": "it may be used only in the default of a variable",
	}
}

// estimates are the functions whose result may be much larger than their arguments, or whose work is; argumentsFit bounds the others.
func estimates() map[string]estimate {
	return map[string]estimate{
		"format": formatFits, "formatlist": formatFits, "join": joinFits, "indent": indentFits, "replace": replaceFits, "split": splitFits,
		"regex": regexFits, "regexall": regexFits, "regex_replace": regexReplaceFits,
		"setproduct": productFits, "distinct": distinctFits, "pow": powFits, "bcrypt": costFits, "csvdecode": csvFits, "jsondecode": nestingFits, "yamldecode": yamlFits,
		"base64gzip": textAtMost(maxParsed), "strrev": textAtMost(maxParsed), "substr": textAtMost(maxParsed), "parseint": textAtMost(4096), "rsadecrypt": textAtMost(16 << 10),
	}
}

func refuse(name, why string) function.Function {
	return function.New(&function.Spec{VarParam: &function.Parameter{Name: "any", Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true}, Type: function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) {
			return cty.DynamicVal, fmt.Errorf("%s cannot be used: %s", name, why)
		}})
}

// expand gives the actions of Packer's older language that stand in a text of HCL their values. What is not known here
// ({{ .Vars }} in a command) stays as it is: it has its meaning later. So does what cannot be read: in a script it may be meant for
// somebody else.
func (d *decoder) expand(option, s string) string {
	if d.l.r.Language != PackerHCL || !braces.Has(s) {
		return s
	}
	r, err := d.l.engine(d.sourceName, d.sourceType).Expand(s)
	if err != nil {
		d.l.problems.Warnf(d.place(option), "write {{`{{`}} for two braces that are meant for somebody else", "Packer refuses the {{ }} in %s, and Ingot leaves them as they are: %v", option, err)
		return s
	}
	return r.Text
}

// engine is what texts of one source are expanded with.
func (l *loader) engine(name, typ string) *braces.Engine {
	return &braces.Engine{Now: l.o.Now, BuildName: name, BuildType: typ, TemplateDir: filepath.ToSlash(l.abs(l.dir)), Cwd: filepath.ToSlash(l.o.Cwd), Version: packerVersion, UUID: uuidpkg.NewString,
		Env: func(key string) string {
			for i := len(l.o.Env) - 1; i >= 0; i-- {
				if k, v, ok := strings.Cut(l.o.Env[i], "="); ok && k == key {
					return v
				}
			}
			return ""
		}}
}

// readBase64 reads a file as base64, for options that name a file whose content Azure takes that way.
func (l *loader) readBase64(path string) (string, error) {
	raw, err := os.ReadFile(l.local(path))
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

// local finds a file that a template names: from the working directory, as in Packer, else beside the template.
func (l *loader) local(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	p := filepath.Join(l.o.Cwd, path)
	if _, err := os.Stat(p); err == nil {
		return p
	}
	beside := filepath.Join(l.abs(l.dir), path)
	if _, err := os.Stat(beside); err == nil {
		return beside
	}
	return p
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
