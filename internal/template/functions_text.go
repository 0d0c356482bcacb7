package template

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"regexp"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	xencoding "golang.org/x/text/encoding"
	"golang.org/x/text/encoding/ianaindex"
)

func about1(f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "str", Type: cty.String}}, Type: function.StaticReturnType(cty.String),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := f(a[0].AsString())
			return cty.StringVal(s), err
		}})
}

func about(f func(s, part string) bool) function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "str", Type: cty.String}, {Name: "part", Type: cty.String}}, Type: function.StaticReturnType(cty.Bool),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(a[0].AsString(), a[1].AsString())), nil
		}})
}

func text(f func() string) function.Function {
	return function.New(&function.Spec{Type: function.StaticReturnType(cty.String), Impl: func([]cty.Value, cty.Type) (cty.Value, error) { return cty.StringVal(f()), nil }})
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

// decodeBase64 is not the library's: that one writes the text to the log when it is not UTF-8, and quotes it in its error.
func decodeBase64(s string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", errors.New("the text is not base64")
	}
	if !utf8.Valid(raw) {
		return "", errors.New("what is decoded is not UTF-8")
	}
	return string(raw), nil
}

// textBase64 is textencodebase64 and textdecodebase64; the encoding is a name of IANA's registry
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions/encoding/textencodebase64).
func textBase64(f func(e xencoding.Encoding, s string) (string, error)) function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "string", Type: cty.String}, {Name: "encoding_name", Type: cty.String}}, Type: function.StaticReturnType(cty.String),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			e, err := ianaindex.IANA.Encoding(a[1].AsString())
			if err != nil || e == nil {
				return cty.NilVal, function.NewArgErrorf(1, "%q is not a name of IANA's list of encodings that is supported here", a[1].AsString())
			}
			s, err := f(e, a[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			return cty.StringVal(s), nil
		}})
}

func encodeText(e xencoding.Encoding, s string) (string, error) {
	raw, err := e.NewEncoder().String(s)
	if err != nil {
		return "", errors.New("the text has a character that the encoding does not have")
	}
	return base64.StdEncoding.EncodeToString([]byte(raw)), nil
}

func decodeText(e xencoding.Encoding, s string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", errors.New("the text is not base64")
	}
	out, err := e.NewDecoder().Bytes(raw)
	if err != nil {
		return "", errors.New("the bytes are not text of this encoding")
	}
	return string(out), nil
}

// matches counts, up to one more than a result may have; the pattern has been found small enough, and whether it can be read is said
// by the function behind.
func matches(pattern, s string) int {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return 0
	}
	return len(re.FindAllStringIndex(s, maxMembers+1))
}
