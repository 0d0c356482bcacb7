package template

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"

	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// making draws parts of a model.
type making struct {
	t     *rapid.T
	files []string // that are there
	n     int      // secrets made
	aib   bool     // Image Builder's language
	names bool     // names are such as Azure takes, as they must be where they become part of an id
}

func (m *making) chance(name string, percent int) bool {
	return rapid.IntRange(0, 99).Draw(m.t, name) < percent
}

func (m *making) of(name string, list ...string) string {
	return rapid.SampledFrom(list).Draw(m.t, name)
}

// pieces are what languages stumble over.
func pieces() []string {
	return []string{"word", " ", "C:\\Temp\\x", "\\", "\"", "'", "`", "$", "%", "${", "%{", "$${", "%%{", "${var.x}", "%{ if true }", "~}", "}", "{", "{{", "}}", "{{ .Vars }}", "{{isotime}}", "{{ build_name }}", "{{`{{`}}", "{{ nope }}", "{{-", "-}}",
		"{{/* c */}}", "{{ build `Nope` }}", "{{user `x`}}", "{{ if true }}a{{ end }}", "\n", "\r\n", "\t", "\u00e9", "\u65e5\u672c", "\U0001f600", "\u2028", "\ufeff", "\x01", "[", "]", "[[", "#", "//", "/*", "<", ">", "<&", "EOT", "null", "true", "0", "=", ",",
		image.Runtime("User"), image.Runtime("Password"), image.Runtime("ID")}
}

// text is any text that is not empty. The languages read texts in Unicode's normal form C, which is what the model has then.
func (m *making) text(name string) string {
	list := rapid.SliceOfN(rapid.SampledFrom(pieces()), 1, 6).Draw(m.t, name)
	return cty.StringVal(strings.Join(list, "")).AsString()
}

// label is a text in a place where Image Builder's readers look for <placeholders>: there it cannot hold one.
func (m *making) label(name string) string {
	if m.names {
		return m.of(name, "one", "two-2", "Three_3")
	}
	s := m.text(name)
	if m.aib {
		s = strings.ReplaceAll(s, "<", "(")
	}
	return s
}

func (m *making) maybe(name string) string {
	if m.chance(name+"?", 60) {
		return ""
	}
	return m.label(name)
}

func (m *making) hidden(value string) image.Text {
	m.n++
	return image.Hidden(fmt.Sprintf("azure-arm.x/y.secret[%d]", m.n), value)
}

// secret is a text that may be hidden. A secret of fewer than four characters is none: it is in every text.
func (m *making) secret(name string) image.Text {
	s := m.text(name)
	if m.chance(name+" hidden", 30) {
		return m.hidden("Secret-" + s)
	}
	return image.Plain(s)
}

func (m *making) path(name string) string { return m.of(name, m.files...) }

func (m *making) strings(name string) []string {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return (&making{t: t, aib: m.aib}).text("element") }), 0, 3).Draw(m.t, name)
}

func (m *making) tags(name string) map[string]string {
	out := map[string]string{}
	for i := range rapid.IntRange(0, 3).Draw(m.t, name) {
		out[fmt.Sprint(i)+m.label(name+" key")] = m.of(name+" empty", "", m.label(name+" value"))
	}
	return out
}

func (m *making) duration(name string) time.Duration {
	return rapid.SampledFrom([]time.Duration{0, time.Nanosecond, 1500 * time.Microsecond, 100 * time.Millisecond, time.Second, 10 * time.Second, time.Minute, 70 * time.Second, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour,
		time.Hour + time.Second, 10 * time.Hour, 100*time.Hour + 30*time.Minute}).Draw(m.t, name)
}

func (m *making) truth(name string) *bool {
	switch m.of(name, "no", "true", "false") {
	case "true":
		v := true
		return &v
	case "false":
		return new(bool)
	}
	return nil
}

func (m *making) json(depth int) any {
	kinds := []string{"null", "text", "number", "bool"}
	if depth < 3 {
		kinds = append(kinds, "list", "map")
	}
	switch m.of("json", kinds...) {
	case "text":
		return m.of("json empty", "", m.text("json text"))
	case "number":
		return rapid.Float64Range(-1e9, 1e9).Draw(m.t, "json number")
	case "bool":
		return m.chance("json bool", 50)
	case "list":
		out := []any{}
		for range rapid.IntRange(0, 3).Draw(m.t, "json list") {
			out = append(out, m.json(depth+1))
		}
		return out
	case "map":
		return m.object(depth)
	}
	return nil
}

func (m *making) object(depth int) map[string]any {
	out := map[string]any{}
	for i := range rapid.IntRange(0, 3).Draw(m.t, "json map") {
		out[fmt.Sprint(i)+m.text("json key")] = m.json(depth + 1)
	}
	return out
}

const identity1 = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"

// fileOptions name something on this machine that must be there.
func fileOptions() []string {
	return strings.Fields("script scripts source sources playbook_file playbook_files playbook_dir playbook_paths role_paths collection_paths galaxy_file inventory_file inventory_directory group_vars host_vars " +
		"ssh_host_key_file ssh_authorized_key_file config_template encrypted_data_bag_secret_path cookbook_paths roles_path data_bags_path environments_path validation_key_path manifest_file manifest_dir configuration_file " +
		"mof_path execute_command_file module_paths resource_paths profile attributes attributes_directory hiera_config_path client_cert_path client_private_key_path")
}

// settings draws a provisioner's settings: every option of its struct, then what its Check forbids is put right.
func (m *making) settings(kind string) provisioner.Settings {
	s, _ := provisioner.New(kind)
	m.fill(reflect.ValueOf(s).Elem())
	m.obey(s)
	return s
}

func (m *making) fill(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if v.Type().Field(i).Anonymous {
			m.fill(f)
			continue
		}
		name, kind, _ := strings.Cut(v.Type().Field(i).Tag.Get("hcl"), ",")
		if name == "" || name == "-" || !m.chance(name+"?", 40) {
			continue
		}
		file := slices.Contains(fileOptions(), name)
		switch x := f.Addr().Interface().(type) {
		case *string:
			if *x = m.text(name); file {
				*x = m.path(name)
			}
		case *[]string:
			if *x = m.strings(name); file {
				*x = []string{m.path(name), m.path(name)}
			}
		case *image.Text:
			if *x = m.secret(name); kind == "secret" && x.Secret() == "" {
				*x = m.hidden(x.Reveal())
			}
		case *[]image.Text:
			for range rapid.IntRange(1, 3).Draw(m.t, name) {
				line := m.secret(name)
				if strings.HasSuffix(name, "env_vars") || name == "environment_vars" {
					line = m.line("NAME=", line)
				}
				*x = append(*x, line)
			}
		case *map[string]image.Text:
			*x = map[string]image.Text{}
			for i := range rapid.IntRange(1, 3).Draw(m.t, name) {
				(*x)[fmt.Sprint(i)+m.text(name+" key")] = m.secret(name)
			}
		case *map[string]string:
			*x = m.tags(name)
		case *bool:
			*x = true
		case **bool:
			*x = m.truth(name)
		case *int:
			*x = rapid.IntRange(0, 2).Draw(m.t, name)
		case *[]int:
			*x = rapid.SliceOfN(rapid.IntRange(-1, 3010), 0, 3).Draw(m.t, name)
		case *time.Duration:
			*x = m.duration(name)
		case *any:
			*x = m.object(0)
		default:
			m.t.Fatalf("an option %s of type %T", name, x)
		}
	}
}

func (m *making) line(before string, text image.Text) image.Text {
	if text.Secret() != "" {
		return image.Hidden(text.Secret(), before+text.Reveal())
	}
	return image.Plain(before + text.Reveal())
}

// script leaves one of the ways to name a script.
func (m *making) script(inline *[]image.Text, script *string, scripts *[]string) {
	*inline, *script, *scripts = nil, "", nil
	switch m.of("script", "inline", "script", "scripts") {
	case "inline":
		*inline = []image.Text{m.secret("line"), image.Plain(""), m.secret("line")}
	case "script":
		*script = m.path("script")
	case "scripts":
		*scripts = []string{m.path("script")}
	}
}

// obey puts right what Check refuses.
func (m *making) obey(s provisioner.Settings) {
	one := func(to *string, list ...string) {
		if *to != "" {
			*to = m.of("word", list...)
		}
	}
	switch s := s.(type) {
	case *provisioner.PowerShell:
		m.script(&s.Inline, &s.Script, &s.Scripts)
		one(&s.ExecutionPolicy, "bypass", "AllSigned", "none")
		one(&s.ExecuteCommand, "{{.Vars}} x {{.Path}}", "x {{ .Path }}")
		one(&s.ElevatedExecuteCommand, "{{.Vars}} x {{.Path}}")
		if s.ElevatedUser == "" {
			s.ElevatedPassword = image.Text{}
		}
	case *provisioner.Shell:
		m.script(&s.Inline, &s.Script, &s.Scripts)
		if s.RemotePath != "" {
			s.RemoteFile, s.RemoteFolder = "", ""
		}
	case *provisioner.WindowsShell:
		one(&s.ExecuteCommand, `{{.Vars}}"{{.Path}}"`, "x {{ .Path }}")
		m.script(&s.Inline, &s.Script, &s.Scripts)
	case *provisioner.ShellLocal:
		s.Command, s.OnlyOn = image.Text{}, nil
		if m.script(&s.Inline, &s.Script, &s.Scripts); len(s.Inline) > 0 && m.chance("command", 40) {
			s.Inline, s.Command = nil, m.secret("command")
		}
		if len(s.ExecuteCommand) > 0 {
			s.ExecuteCommand = append([]string{"/bin/sh"}, s.ExecuteCommand...)
		}
		if m.chance("only_on", 30) {
			s.OnlyOn = []string{"linux", "windows"}
		}
	case *provisioner.File:
		s.Source, s.Sources, s.Content, s.Destination, s.Direction = "", nil, image.Text{}, m.text("destination"), m.of("direction", "", "upload", "download")
		switch way := m.of("file", "source", "sources", "content"); {
		case s.Direction == "download":
			s.Source, s.Destination = m.text("source"), "/tmp/"+strings.ReplaceAll(m.text("to"), "/", "")
		case way == "source":
			s.Source = m.path("source")
		case way == "sources":
			s.Sources = []string{m.path("source"), m.path("source")}
		default:
			s.Content = m.secret("content")
		}
		if s.Generated {
			s.Source, s.Sources, s.Content = "/tmp/"+strings.ReplaceAll(m.text("made later"), "/", ""), nil, image.Text{}
		}
	case *provisioner.WindowsRestart:
		if len(s.RegistryKeys) > 0 {
			s.RegistryKeys = []string{`HKLM:SOFTWARE\One {{ x }} ${y}`, `HKLM\SOFTWARE\Two`}
		}
	case *provisioner.WindowsUpdate:
		if s.Username == "" || s.Password.IsZero() { // they go together
			s.Username, s.Password = "", image.Text{}
		}
		if len(s.Filters) > 0 {
			s.Filters = []string{"include:$true" + m.label("filter"), "exclude:" + m.label("filter") + "x"}
		}
	case *provisioner.Sleep:
		s.Duration += time.Second
	case *provisioner.Ansible:
		s.PlaybookFile = m.path("playbook")
		one(&s.AnsibleProxyKeyType, "ECDSA", "rsa")
		one(&s.InventoryFileTemplate, "{{ .HostAlias }} ansible_host={{ .Host }}", "{{.User}}:{{.Port}} ${y}")
	case *provisioner.AnsibleLocal:
		if s.PlaybookFiles = nil; s.PlaybookFile == "" {
			s.PlaybookFiles = []string{m.path("playbook")}
		}
	case *provisioner.ChefSolo:
		one(&s.Product, "chef", "Cinc")
		if s.ElevatedUser == "" {
			s.ElevatedPassword = image.Text{}
		}
		if s.EnvironmentsPath == "" {
			s.ChefEnvironment = ""
		}
		one(&s.JSONString, `{"a": "{{ x }} ${y}"}`)
		one(&s.GuestOSType, "unix", "Windows")
		one(&s.ChefLicense, "accept")
		one(&s.ExecuteCommand, "{{if .Sudo}}sudo {{end}}x {{.JsonPath}}")
		one(&s.InstallCommand, "{{if .Version}}-v {{.Version}}{{end}}")
		if s.JSON != nil {
			s.JSONString = ""
		}
	case *provisioner.ChefClient:
		one(&s.Product, "chef", "Cinc")
		if s.ElevatedUser == "" {
			s.ElevatedPassword = image.Text{}
		}
		if one(&s.JSONString, `{"a": "{{ x }} ${y}"}`); s.JSON != nil {
			s.JSONString = ""
		}
		one(&s.GuestOSType, "unix", "Windows")
		one(&s.ChefLicense, "accept")
		one(&s.SSLVerifyMode, "verify_none", "verify_peer")
		one(&s.ExecuteCommand, "{{if .Sudo}}sudo {{end}}x {{.JsonPath}}")
		one(&s.InstallCommand, "{{if .Version}}-v {{.Version}}{{end}}")
		one(&s.KnifeCommand, "knife {{.Args}} {{.Flags}}")
		s.ServerURL = m.text("url")
		if s.PolicyGroup = s.PolicyName; s.PolicyName == "" {
			s.PolicyGroup = ""
		}
	case *provisioner.DSC:
		s.ManifestFile = m.path("manifest")
		s.ResourceName, s.ResourceModule, s.ResourceModuleVersion, s.ExecuteCommandFile = "", "", "", ""
		one(&s.ExecuteCommand, "{{.ManifestFile}}")
	case *provisioner.InSpec:
		s.Profile = m.of("profile", m.path("profile"), "https://example.com/"+m.text("profile"))
		one(&s.Backend, "ssh", "winrm", "local")
		s.LocalPort %= 65536
	case *provisioner.PuppetMasterless:
		s.ManifestFile = m.path("manifest")
		one(&s.GuestOSType, "unix", "Windows")
	case *provisioner.PuppetServer:
		one(&s.GuestOSType, "unix", "Windows")
	case *provisioner.SBOM:
		s.Destination = "/tmp/" + strings.ReplaceAll(m.text("to"), "/", "")
		s.Source = m.text("source")
	}
}

func (m *making) step() image.Provision {
	kind := m.of("kind", provisioner.Kinds()...)
	return image.Provision{Type: kind, Name: m.maybe("name"), Settings: m.settings(kind), PauseBefore: m.duration("pause_before"), Timeout: m.duration("timeout"), MaxRetries: rapid.IntRange(0, 3).Draw(m.t, "retries"), GoOn: m.chance("go on", 20)}
}
