package template

import (
	"bytes"
	"compress/gzip"
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

// functions is the one list. What Packer has beyond it is in refused, with the reason.
func functions(l *loader) functionTable {
	t := functionTable{all: map[string]function.Function{
		"abs": stdlib.AbsoluteFunc, "abspath": about1(func(s string) (string, error) { return filepath.ToSlash(l.abs(s)), nil }), "basename": filesystem.BasenameFunc, "dirname": filesystem.DirnameFunc,
		"pathexpand": filesystem.PathExpandFunc, "file": l.onFile(filesystem.MakeFileFunc("", false)), "filebase64": l.onFile(filesystem.MakeFileFunc("", true)),
		"fileexists": l.onFile(filesystem.MakeFileExistsFunc("")), "fileset": l.onFile(filesystem.MakeFileSetFunc("")),
		"alltrue": truth(true), "anytrue": truth(false),
		"base64decode": encoding.Base64DecodeFunc, "base64encode": encoding.Base64EncodeFunc, "urlencode": encoding.URLEncodeFunc, "base64gzip": about1(gzipBase64),

		"bcrypt": crypto.BcryptFunc, "md5": crypto.Md5Func, "sha1": crypto.Sha1Func, "sha256": crypto.Sha256Func, "sha512": crypto.Sha512Func, "rsadecrypt": crypto.RsaDecryptFunc,
		"can": tryfunc.CanFunc, "try": tryfunc.TryFunc, "convert": typeexpr.ConvertFunc,
		"ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc, "max": stdlib.MaxFunc, "min": stdlib.MinFunc, "pow": stdlib.PowFunc, "signum": stdlib.SignumFunc, "parseint": stdlib.ParseIntFunc,
		"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc, "formatdate": stdlib.FormatDateFunc, "indent": stdlib.IndentFunc, "join": stdlib.JoinFunc,
		"lower": stdlib.LowerFunc, "upper": stdlib.UpperFunc, "title": stdlib.TitleFunc, "replace": stdlib.ReplaceFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc, "regex_replace": stdlib.RegexReplaceFunc,
		"split": stdlib.SplitFunc, "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc, "trimsuffix": stdlib.TrimSuffixFunc, "trimspace": stdlib.TrimSpaceFunc,
		"startswith": about(strings.HasPrefix), "endswith": about(strings.HasSuffix), "strcontains": about(strings.Contains),
		"chunklist": stdlib.ChunklistFunc, "coalesce": collection.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc,
		"distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "index": indexOf(), "keys": stdlib.KeysFunc, "values": stdlib.ValuesFunc, "length": length(),
		"lookup": stdlib.LookupFunc, "merge": stdlib.MergeFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc, "setintersection": stdlib.SetIntersectionFunc, "setproduct": stdlib.SetProductFunc,
		"setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "sum": sum(), "zipmap": stdlib.ZipmapFunc,
		"csvdecode": stdlib.CSVDecodeFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc, "yamldecode": ctyyaml.YAMLDecodeFunc, "yamlencode": ctyyaml.YAMLEncodeFunc,
		"cidrhost": cidr.HostFunc, "cidrnetmask": cidr.NetmaskFunc, "cidrsubnet": cidr.SubnetFunc, "cidrsubnets": cidr.SubnetsFunc,
		"timeadd": stdlib.TimeAddFunc, "uuidv4": uuid.V4Func, "uuidv5": uuid.V5Func,
		"timestamp":      text(func() string { return l.o.Now.UTC().Format(time.RFC3339) }),
		"legacy_isotime": isotime(l.o.Now),
	}}
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
	const later = "this version of Ingot does not have it yet"
	return map[string]string{
		"vault": outside, "consul_key": outside, "aws_secretsmanager": outside, "aws_secretsmanager_raw": outside,
		"templatefile": later, "legacy_strftime": later, "rfc3339_parse": later, "unix_timestamp_parse": later, "textdecodebase64": later, "textencodebase64": later,
		"env": "it may be used only in the default of a variable",
	}
}

func refuse(name, why string) function.Function {
	return function.New(&function.Spec{VarParam: &function.Parameter{Name: "any", Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true}, Type: function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) {
			return cty.DynamicVal, fmt.Errorf("%s cannot be used: %s", name, why)
		}})
}

// onFile lets a function's first argument be relative to the template's folder, as in Packer (its Functions take the folder of
// the template as their base), or to the working directory, where "${path.root}/x" starts.
func (l *loader) onFile(f function.Function) function.Function {
	return function.New(&function.Spec{Params: f.Params(), Type: func(a []cty.Value) (cty.Type, error) { return f.ReturnTypeForValues(a) },
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			path := a[0].AsString()
			if !filepath.IsAbs(path) && !strings.HasPrefix(path, "~") {
				path = filepath.Join(l.abs(l.dir), path)
				if here := l.abs(a[0].AsString()); !exists(path) && exists(here) {
					path = here
				}
			}
			return f.Call(append([]cty.Value{cty.StringVal(path)}, a[1:]...))
		}})
}

func about1(f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "str", Type: cty.String}}, Type: function.StaticReturnType(cty.String),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := f(a[0].AsString())
			return cty.StringVal(s), err
		}})
}

func gzipBase64(s string) (string, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// indexOf finds a value in a list; cty's own index takes a key
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions/collection/index-fn).
func indexOf() function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}, {Name: "value", Type: cty.DynamicPseudoType}}, Type: function.StaticReturnType(cty.Number),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if t := a[0].Type(); !t.IsListType() && !t.IsTupleType() {
				return cty.NilVal, function.NewArgErrorf(0, "a list is needed")
			}
			i := 0
			for it := a[0].ElementIterator(); it.Next(); i++ {
				_, v := it.Element()
				if eq, err := stdlib.Equal(v, a[1]); err == nil && eq.IsKnown() && eq.True() {
					return cty.NumberIntVal(int64(i)), nil
				}
			}
			return cty.NilVal, fmt.Errorf("the list does not hold the value")
		}})
}

func sum() function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "list", Type: cty.List(cty.Number)}}, Type: function.StaticReturnType(cty.Number),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if a[0].LengthInt() == 0 {
				return cty.NilVal, function.NewArgErrorf(0, "the list is empty")
			}
			total := cty.Zero
			for _, v := range a[0].AsValueSlice() {
				if v.IsNull() {
					return cty.NilVal, function.NewArgErrorf(0, "an element is null")
				}
				total = total.Add(v)
			}
			return total, nil
		}})
}

func text(f func() string) function.Function {
	return function.New(&function.Spec{Type: function.StaticReturnType(cty.String), Impl: func([]cty.Value, cty.Type) (cty.Value, error) { return cty.StringVal(f()), nil }})
}

func about(f func(s, part string) bool) function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "str", Type: cty.String}, {Name: "part", Type: cty.String}}, Type: function.StaticReturnType(cty.Bool),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(a[0].AsString(), a[1].AsString())), nil
		}})
}

// truth is alltrue (of nothing: true) and anytrue (of nothing: false).
func truth(all bool) function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "list", Type: cty.List(cty.Bool)}}, Type: function.StaticReturnType(cty.Bool),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			for _, v := range a[0].AsValueSlice() {
				if v.IsNull() || v.True() != all {
					return cty.BoolVal(!all), nil
				}
			}
			return cty.BoolVal(all), nil
		}})
}

func isotime(now time.Time) function.Function {
	return function.New(&function.Spec{VarParam: &function.Parameter{Name: "layout", Type: cty.String}, Type: function.StaticReturnType(cty.String),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			layout := time.RFC3339
			if len(a) > 0 {
				layout = a[0].AsString()
			}
			return cty.StringVal(now.UTC().Format(layout)), nil
		}})
}

// expand gives the actions of Packer's older language that stand in a text of HCL their values. What is not known here
// ({{ .Vars }} in a command) stays as it is: it has its meaning later. So does what cannot be read: in a script it may be meant for
// somebody else.
func (d *decoder) expand(s string) string {
	if d.l.r.Language != PackerHCL || !braces.Has(s) {
		return s
	}
	r, err := d.l.engine(d.sourceName, d.sourceType).Expand(s)
	if err != nil {
		return s
	}
	return r.Text
}

// engine is what texts of one source are expanded with.
func (l *loader) engine(name, typ string) *braces.Engine {
	return &braces.Engine{Now: l.o.Now, BuildName: name, BuildType: typ, TemplateDir: filepath.ToSlash(l.dir), Cwd: filepath.ToSlash(l.o.Cwd), Version: packerVersion, UUID: uuidpkg.NewString,
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

// length counts characters of a text as well as members of a collection, as Packer's does; cty's own knows collections only.
func length() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true}}, Type: function.StaticReturnType(cty.Number),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			if a[0].Type() == cty.String {
				return stdlib.Strlen(a[0])
			}
			return stdlib.Length(a[0])
		},
	})
}
