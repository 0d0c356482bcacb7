package braces

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

func engine() *Engine {
	return &Engine{User: map[string]string{"region": "westeurope", "password": "test-secret-not-real"}, Secret: map[string]bool{"password": true},
		Env: func(k string) string { return "env-" + k }, Now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), BuildName: "win11", BuildType: "azure-arm",
		TemplateDir: "/t", Cwd: "/c", Version: "1.11.2", UUID: func() string { return "u-u" }}
}

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a{{user `region`}}b": "awesteuropeb", "{{isotime}}": "2026-03-04T05:06:07Z", "{{isotime \"2006\"}}": "2026",
		"{{isotime | clean_resource_name}}": "2026-03-04T05-06-07Z", "{{strftime \"%Y-%m\"}}": "2026-03", "{{timestamp}}": "1772600767",
		"{{upper `a`}}{{lower `B`}}": "Ab", "{{replace `a` `b` 1 `aa`}}": "ba", "{{replace_all `a` `b` `aa`}}": "bb", "{{split `x-y` `-` 1}}": "y",
		"{{template_dir}}{{pwd}}{{packer_version}}{{build_name}}{{build_type}}{{uuid}}": "/t/c1.11.2win11azure-armu-u",
		"{{if eq build_name `win11`}}yes{{else}}no{{end}}":                              "yes", "{{printf \"%03d\" 7}}": "007",
		"{{build `ID`}}": "{{ build `ID` }}", "{{ .Vars }} {{user `region`}}": "{{ .Vars }} westeurope",
		"{{if .X}}{{user `region`}}{{end}}!": "{{if .X}}{{user `region`}}{{end}}!",
	} {
		got, err := engine().Expand(in)
		if err != nil || got.Text != want {
			t.Errorf("%s: got %q, %v; want %q", in, got.Text, err, want)
		}
	}
	r, err := engine().Expand("{{user `password`}}")
	if err != nil || !r.Secret {
		t.Errorf("a sensitive variable: %+v, %v", r, err)
	}
}

func TestExpandErrors(t *testing.T) {
	for _, c := range []struct{ in, at, says string }{
		{"a {{usr `region`}}", "{{usr `region`}}", "there is no function usr"},
		{"a{{user `regoin`}}", "{{user `regoin`}}", "regoin"},
		{"{{env `X`}}", "{{env `X`}}", "only in the variables section"},
		{"{{user `region`}}{{build `Nope`}}", "{{build `Nope`}}", "Nope"},
		{"{{vault `a` `b`}}", "{{vault `a` `b`}}", "vault"},
		{"{{template \"text\"}}", "{{template \"text\"}}", "not part of Packer's language"},
		{"{{define \"text\"}}a{{end}}", "{{define \"text\"}}", "not part of Packer's language"},
		{"{{range 9}}x{{end}}", "{{range 9}}x{{end}}", "range"},
		{"{{uuid}} x {{)}} y", "{{)}}", "cannot be read"},
		{"{{printf \"%[1]99999999d\" 1}}", "{{printf \"%[1]99999999d\" 1}}", "width"},
		{"{{`\\`" + strings.Repeat("|js", 60) + "}}", "{{`\\`" + strings.Repeat("|js", 60) + "}}", "1 MiB"},
		{"{{`ab`" + strings.Repeat(`|printf "%x"`, 60) + "}}", "{{`ab`" + strings.Repeat(`|printf "%x"`, 60) + "}}", "1 MiB"},
	} {
		_, err := engine().Expand(c.in)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.60s: no error: %v", c.in, err)
			continue
		}
		if at := c.in[e.Offset : e.Offset+e.Length]; at != c.at || !strings.Contains(e.Reason, c.says) {
			t.Errorf("%.60s: at %.60q: %.200s", c.in, at, e.Reason)
		}
	}
}

func TestToHCL(t *testing.T) {
	for _, c := range []struct {
		in, want string
		exact    bool
	}{
		{"a\"${x}%{y}", `"a\"$${x}%%{y}"`, true}, {"{{user `r`}}-{{build `ID`}}", `"${var.r}-${build.ID}"`, true},
		{"${{user `r`}}", `"\u0024${var.r}"`, true}, {"$${x", `"\u0024$${x"`, true}, {"{{timestamp}}", `"${regex_replace(timestamp(), "[- TZ:]", "")}"`, false},
		{"{{isotime \"2006\"}}", `"${legacy_isotime("2006")}"`, true}, {"{{user `r` | upper}}", `"${upper(var.r)}"`, true},
		{"{{split (user `r`) `-` 1}}", `"${split("-", var.r)[1]}"`, true}, {"{{ .Vars }}", `"{{ .Vars }}"`, true},
		{"{{isotime | clean_resource_name}}", `"{{isotime | clean_resource_name}}"`, false},
	} {
		got, exact, why := ToHCL(c.in, func(u string) string { return "var." + u })
		if got != c.want || exact != c.exact || exact != (why == "") {
			t.Errorf("%s: %s %v %q", c.in, got, exact, why)
		}
		if _, d := hclsyntax.ParseExpression([]byte(got), "x", hcl.InitialPos); d.HasErrors() {
			t.Errorf("%s: %v", got, d)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"{{user `region`}}", "{{ .Vars }}{{if .X}}{{end}}", "{{printf \"%5d\" 1}}", "a {{- uuid -}} b", "{{/* c */}}", "{{(((", "{{build `ID`}}$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := engine().Expand(s)
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Offset < 0 || e.Length < 0 || e.Offset+e.Length > len(s)) {
			t.Fatalf("%q: %#v", s, err)
		}
		if len(r.Text) > maxOutput {
			t.Fatal("too long")
		}
		_, _ = Uses(s)
		ToHCL(s, func(u string) string { return "var." + u })
	})
}
