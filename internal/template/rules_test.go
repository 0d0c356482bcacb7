package template

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// of finds the first problem that says text.
func of(l diag.List, text string) (diag.Problem, bool) {
	i := slices.IndexFunc(l, func(p diag.Problem) bool { return strings.Contains(p.Summary+" "+p.Detail, text) })
	if i < 0 {
		return diag.Problem{}, false
	}
	return l[i], true
}

// marketplace is a template in which every line can be left out or changed.
func marketplace(change map[string]string, more ...string) string {
	lines := [][2]string{{"image_publisher", `"MicrosoftWindowsDesktop"`}, {"image_offer", `"windows-11"`}, {"image_sku", `"win11-25h2-avd"`}, {"os_type", `"Windows"`}, {"location", `"westeurope"`},
		{"vm_size", `"Standard_D2s_v5"`}, {"communicator", `"winrm"`}, {"winrm_use_ssl", "true"}}
	var b strings.Builder
	b.WriteString("source \"azure-arm\" \"w\" {\n")
	for _, l := range lines {
		if v, ok := change[l[0]]; ok {
			if v == "" {
				continue
			}
			l[1] = v
		}
		fmt.Fprintf(&b, "%s = %s\n", l[0], l[1])
	}
	text := strings.Join(more, "\n")
	if !strings.Contains(text, "shared_image_gallery_destination") && !strings.Contains(text, "managed_image_name") {
		text += "\nshared_image_gallery_destination {\nresource_group = \"rg\"\ngallery_name = \"g\"\nimage_name = \"i\"\nimage_version = \"auto\"\n}"
	}
	return b.String() + text + "\n}\nbuild {\nsources = [\"source.azure-arm.w\"]\n}\n"
}

func without(names ...string) map[string]string {
	m := map[string]string{}
	for _, n := range names {
		m[n] = ""
	}
	return m
}

func noSource() map[string]string { return without("image_publisher", "image_offer", "image_sku") }

// TestRulePlaces has one case for each rule of azure-arm, with the line that its problem must point at.
func TestRulePlaces(t *testing.T) {
	const gallery = "shared_image_gallery_destination {\nresource_group = \"rg\"\ngallery_name = \"g\"\nimage_name = \"i\"\n"
	const principal = "client_id = \"c\"\nsubscription_id = \"s\"\n"
	for name, c := range map[string]struct {
		text, want, at string
	}{
		"marketplace half":        {marketplace(without("image_sku")), "needs image_sku", "source "},
		"custom image half":       {marketplace(noSource(), `custom_managed_image_name = "m"`), "go together", "custom_managed_image_name"},
		"gallery source half":     {marketplace(noSource(), "shared_image_gallery {\ngallery_name = \"g\"\n}"), "needs subscription", "shared_image_gallery {"},
		"gallery id and name":     {marketplace(noSource(), "shared_image_gallery {\nid = \"/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g/images/i\"\nimage_name = \"i\"\n}"), "exclude one another", "image_name"},
		"gallery id":              {marketplace(noSource(), "shared_image_gallery {\nid = \"/x\"\n}"), "no id of a gallery image", "id ="},
		"community":               {marketplace(noSource(), "shared_image_gallery {\ncommunity_gallery_image_id = \"/Galleries/n/Images/i\"\n}"), "no id of such an image", "community"},
		"community and id":        {marketplace(noSource(), "shared_image_gallery {\ncommunity_gallery_image_id = \"/CommunityGalleries/n/Images/i\"\nid = \"/x\"\n}"), "exclude one another", "id ="},
		"plan":                    {marketplace(nil, "plan_info {\nplan_name = \"p\"\n}"), "needs plan_name", "plan_info"},
		"plan elsewhere":          {marketplace(noSource(), "plan_info {\nplan_name = \"p\"\n}", "custom_managed_image_name = \"m\"\ncustom_managed_image_resource_group_name = \"r\""), "needs plan_name", "plan_info"},
		"no os":                   {marketplace(without("os_type")), "os_type is missing", "source "},
		"no place":                {marketplace(without("location")), "nowhere", "source "},
		"managed name":            {marketplace(nil, "managed_image_name = \"_m\"\nmanaged_image_resource_group_name = \"r\""), "no name of an image", "managed_image_name"},
		"managed name's end":      {marketplace(nil, "managed_image_name = \"m-\"\nmanaged_image_resource_group_name = \"r\""), "no name of an image", "managed_image_name"},
		"managed group":           {marketplace(nil, "managed_image_name = \"m\"\nmanaged_image_resource_group_name = \"r:r\""), "no name of a resource group", "managed_image_resource_group_name"},
		"temporary group":         {marketplace(nil, `temp_resource_group_name = "a/b"`), "no name of a resource group", "temp_resource_group_name"},
		"two groups":              {marketplace(without("location"), "temp_resource_group_name = \"a\"\nbuild_resource_group_name = \"b\""), "exclude one another", "temp_resource_group_name"},
		"managed and encryption":  {marketplace(nil, "managed_image_name = \"m\"\nmanaged_image_resource_group_name = \"r\"\ndisk_encryption_set_id = \"/d\""), "cannot be used with a managed image", "disk_encryption_set_id"},
		"managed and trusted":     {marketplace(nil, "managed_image_name = \"m\"\nmanaged_image_resource_group_name = \"r\"\nvtpm_enabled = true"), "Trusted Launch", "managed_image_name"},
		"no version":              {marketplace(nil, gallery+"}"), "needs image_version", "shared_image_gallery_destination"},
		"version":                 {marketplace(nil, gallery+"image_version = \"1.0\"\n}"), `image_version is "1.0"`, "image_version"},
		"storage":                 {marketplace(nil, gallery+"image_version = \"1.0.0\"\nstorage_account_type = \"Gold\"\n}"), "Gold", "storage_account_type"},
		"two kinds of region":     {marketplace(nil, gallery+"image_version = \"1.0.0\"\nreplication_regions = [\"a\"]\ntarget_region {\nname = \"b\"\n}\n}"), "exclude one another", "replication_regions"},
		"region without name":     {marketplace(nil, gallery+"image_version = \"1.0.0\"\ntarget_region {\nname = \"a\"\n}\ntarget_region {\nreplicas = 2\n}\n}"), "needs name", "target_region {\nreplicas"},
		"region twice":            {marketplace(nil, gallery+"image_version = \"1.0.0\"\ntarget_region {\nname = \"West Europe\"\n}\ntarget_region {\nname = \"westeurope\"\n}\n}"), "stands twice", "shared_image_gallery_destination"},
		"replicas twice":          {marketplace(nil, gallery+"image_version = \"1.0.0\"\ntarget_region {\nname = \"a\"\n}\n}\nshared_image_gallery_replica_count = 2"), "exclude one another", "shared_image_gallery_replica_count"},
		"shallow":                 {marketplace(nil, gallery+"image_version = \"1.0.0\"\nuse_shallow_replication = true\nreplication_regions = [\"a\", \"b\"]\n}"), "one region with one replica", "use_shallow_replication"},
		"specialized":             {marketplace(nil, gallery+"image_version = \"1.0.0\"\nspecialized = true\n}\nmanaged_image_name = \"m\"\nmanaged_image_resource_group_name = \"r\""), "one machine", "specialized"},
		"confidential":            {marketplace(nil, gallery+"image_version = \"1.0.0\"\nconfidential_vm_image_encryption_type = \"EncryptedWithPmk\"\n}"), "for a confidential VM only", "confidential_vm"},
		"second destination":      {marketplace(nil, gallery+"image_version = \"1.0.0\"\n}\n"+gallery+"image_version = \"two\"\n}"), `image_version is "two"`, `image_version = "two"`},
		"license":                 {marketplace(nil, `license_type = "RHEL_BYOS"`), "license_type", "license_type"},
		"identity":                {marketplace(nil, `user_assigned_managed_identities = ["me"]`), "no id of a user-assigned identity", "user_assigned"},
		"custom data twice":       {marketplace(nil, "custom_data = \"eA==\"\ncustom_data_file = \"script.ps1\""), "exclude one another", "custom_data "},
		"custom data plain":       {marketplace(nil, `user_data = "echo hello"`), "not base64", "user_data"},
		"tags":                    {marketplace(nil, `azure_tags = { for i in range(60) : "t${i}" => "x" }`), "60 tags", "azure_tags"},
		"tag too long":            {marketplace(nil, `azure_tags = { a = join("", [for i in range(300) : "x"]) }`), "at most 512", "azure_tags"},
		"tag without name":        {marketplace(nil, "azure_tag {\nvalue = \"v\"\n}"), "needs name", "azure_tag"},
		"address in own network":  {marketplace(nil, "virtual_network_name = \"v\"\npublic_ip_sku = \"Standard\""), "exclude one another", "public_ip_sku"},
		"secret without client":   {marketplace(nil, "subscription_id = \"s\"\nclient_secret = \"test-secret-not-real\""), "needs client_id", "client_secret"},
		"secret, no subscription": {marketplace(nil, "client_id = \"c\"\nclient_secret = \"test-secret-not-real\""), "needs subscription_id", "client_secret"},
		"two ways in":             {marketplace(nil, principal+"client_secret = \"test-secret-not-real\"\nclient_jwt = \"test-token-not-real\""), "2 ways to sign in", "client_jwt"},
		"half of oidc":            {marketplace(nil, principal+`oidc_request_url = "https://example.com"`), "go together", "oidc_request_url"},
		"certificate":             {marketplace(nil, principal+`client_cert_path = "nope.pfx"`), "cannot find nope.pfx", "client_cert_path"},
		"cloud":                   {marketplace(nil, `cloud_environment_name = "Mars"`), "Mars", "cloud_environment_name"},
		"metadata":                {marketplace(nil, `metadata_host = "management.example.com"`), "no URL", "metadata_host"},
		"port":                    {marketplace(nil, `winrm_port = 70000`), "winrm_port", "winrm_port"},
		"spot twice":              {marketplace(nil, "spot {\neviction_policy = \"Delete\"\n}\nspot {\nmax_price = 1\n}"), "stands twice", "spot {\nmax_price"},
		"dynamic":                 {marketplace(nil, "dynamic \"azure_tag\" {\nfor_each = []\n}"), "Missing dynamic content block", "dynamic"},
		"block as attribute":      {marketplace(nil, `spot = {}`), "is a block", "spot"},
		"attribute as block":      {marketplace(nil, "location {\n}"), "is no block", "location {"},
		"null list element":       {marketplace(nil, `user_assigned_managed_identities = ["a", null]`), "not a list of texts", "user_assigned"},
		"too big a number":        {marketplace(nil, `os_disk_size_gb = 99999999999`), "not a whole number", "os_disk_size_gb"},
		"negative duration":       {marketplace(nil, `winrm_timeout = "-5m"`), "duration", "winrm_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			_, l := load(t, c.text, Options{})
			p, ok := of(l, c.want)
			if !ok || p.Severity != diag.Error {
				t.Fatalf("want %q, got %+v\n%s", c.want, l, c.text)
			}
			i := strings.Index(c.text, "\n"+c.at)
			if c.at == "source " {
				i = -1
			}
			if line := strings.Count(c.text[:i+1], "\n") + 1; p.Pos.Line != line {
				t.Errorf("%q is said of line %d, not %d\n%s", p.Summary, p.Pos.Line, line, c.text)
			}
		})
	}
	if _, l := load(t, marketplace(nil), Options{}); len(l) != 0 {
		t.Errorf("the template without a mistake has problems: %v", l)
	}
}

func TestValuesThatCountAsUnset(t *testing.T) {
	_, l := load(t, marketplace(nil, `disk_encryption_set_id = ""`, `image_url = ""`, `skip_create_image = false`, `skip_create_build_key_vault = false`, `polling_duration_timeout = ""`, `os_disk_size_gb = ""`,
		`storage_account = null`, `custom_data = ""`, `disk_additional_size = []`, `build_resource_group_name = ""`, `object_id = ""`), Options{})
	if len(l) != 0 {
		t.Errorf("%+v", l)
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range [][2]string{
		{marketplace(without("vm_size")), "Standard_A1"},
		{marketplace(nil, `object_id = "o"`), "object_id has no effect"},
		{marketplace(without("communicator", "winrm_use_ssl")), "communicator is not set"},
		{marketplace(nil, `ssh_port = 22`), "ssh_port has no effect"},
		{marketplace(nil, "managed_image_name = \"m\"\nmanaged_image_resource_group_name = \"r\"\nshared_image_gallery_destination {\nresource_group = \"rg\"\ngallery_name = \"g\"\nimage_name = \"i\"\nimage_version = \"1.0.2147483648\"\n}"), "Azure refuses a part above"},
		{marketplace(nil, `allowed_inbound_ip_addresses = ["0.0.0.0/0"]`), "lets everybody in"},
		{marketplace(nil, `private_virtual_network_with_public_ip = true`), "no effect without"},
		{marketplace(noSource(), "custom_managed_image_name = \"m\"\ncustom_managed_image_resource_group_name = \"r\"\nshared_image_gallery_destination {\nresource_group = \"rg\"\ngallery_name = \"g\"\nimage_name = \"i\"\nimage_version = \"1.0.0\"\n}"), "Packer makes nothing but a managed image"},
	} {
		r, l := load(t, c[0], Options{})
		if p, ok := of(l, c[1]); !ok || p.Severity != diag.Warning || l.HasErrors() || len(l) != 1 || len(r.Images) != 1 {
			t.Errorf("%s: %+v", c[1], l)
		}
	}
}

func TestDefaults(t *testing.T) {
	r, l := load(t, marketplace(map[string]string{"location": `"West Europe"`, "vm_size": ""}, `cloud_environment_name = "AzureUSGovernmentCloud"`, `allowed_inbound_ip_addresses = ["192.0.2.1", "198.51.100.0/24"]`), Options{})
	if l.HasErrors() {
		t.Fatal(l)
	}
	i := r.Images[0]
	g := i.Targets[0].(image.ToGallery)
	got := []any{i.Machine.Location, i.Machine.Size, i.Machine.OSDiskType, i.Machine.DiskCaching, i.Machine.APITimeout, i.Identity.Cloud, i.Communicator.User, i.Communicator.Port, i.Communicator.Timeout, i.Communicator.NTLM,
		g.Timeout, g.Replicas, g.StorageType, g.Version, i.Machine.Network.AllowedInbound[0].String(), i.Machine.Network.AllowedInbound[1].String()}
	want := []any{"westeurope", "Standard_D2s_v5", "Standard_LRS", "ReadWrite", 15 * time.Minute, "USGovernment", "packer", 5986, 30 * time.Minute, true,
		time.Hour, int32(1), "Standard_LRS", "auto", "192.0.2.1/32", "198.51.100.0/24"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestNoFollowUps: what is wrong in one place is said of that place and of no other.
func TestNoFollowUps(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"variable \"v\" {}\n" + marketplace(map[string]string{"location": "var.v"}), `variable "v" has no value`},
		{"variable \"v\" {}\n" + marketplace(map[string]string{"os_type": "var.v", "image_sku": "var.v"}, "azure_tags = { a = var.v }"), `variable "v" has no value`},
		{marketplace(map[string]string{"location": "[1]"}), "not a text"},
		{marketplace(map[string]string{"location": "nope()"}), "Call to unknown function"},
		{strings.Replace(marketplace(nil), "sources = [\"source.azure-arm.w\"]", "sources = [\"source.azure-arm.w\"]\nprovisioner \"powershell\" {\ninline = [upper(build.ID)]\n}", 1), "build.ID is known only while the build runs: upper"},
		{marketplace(map[string]string{"location": "build.ID"}), "build.ID is known only while the build runs, not in"},
		{strings.Replace(marketplace(nil), "sources = [\"source.azure-arm.w\"]", "sources = [\"source.azure-arm.w\"]\nprovisioner \"powershell\" {\ninline = [build.Hots]\n}", 1), "build.Hots is not something"},
		{strings.Replace(marketplace(nil), "sources = [\"source.azure-arm.w\"]", "sources = [\"source.azure-arm.w\"]\nprovisioner \"file\" {\nsource = [[]]\ndestination = \"C:/\"\n}", 1), "not a text"},
		{strings.Replace(marketplace(nil), "sources = [\"source.azure-arm.w\"]", "sources = nope()", 1), "Call to unknown function"},
	} {
		_, l := load(t, c.text, Options{})
		if _, ok := of(l, c.want); !ok || len(l) != 1 {
			t.Errorf("want only %q, got %+v\n%s", c.want, l, c.text)
		}
	}
}

// TestOnceForAllSources: a provisioner's mistake is one mistake however many sources it runs for.
func TestOnceForAllSources(t *testing.T) {
	text := marketplace(nil)
	second := strings.Replace(text[:strings.Index(text, "build {")], `"w"`, `"x"`, 1)
	_, l := load(t, second+strings.Replace(text, "sources = [\"source.azure-arm.w\"]", "sources = [\"source.azure-arm.w\", \"source.azure-arm.x\"]\nprovisioner \"powershell\" {\ninlin = []\ninline = [\"a\"]\n}", 1), Options{})
	if len(l) != 1 {
		t.Errorf("%+v", l)
	}
}

// TestEveryOption gives every option of azure-arm a value of its type: each must be decoded without a complaint of its form.
func TestEveryOption(t *testing.T) {
	fields := map[string]field{}
	collect(reflect.ValueOf(&azureARM{}).Elem(), fields)
	if len(fields) < 131 {
		t.Errorf("only %d options", len(fields))
	}
	for _, name := range keys(fields) {
		f := fields[name]
		if f.block {
			continue
		}
		value, wrong := `"x"`, "[[1]]"
		switch f.v.Interface().(type) {
		case bool, *bool:
			value = `"true"`
		case int, int32, float64:
			value = `"7"`
		case []int:
			value = `["1", 2]`
		case []string:
			value = `["x", 1]`
		case map[string]string:
			value = `{ a = 1, b = true }`
		case time.Duration:
			value = `"1h5m"`
		}
		change := map[string]string{}
		line := name + " = "
		if strings.Contains(marketplace(nil), "\n"+name+" = ") {
			change[name], line = value, "# "
		}
		_, l := load(t, marketplace(change, line+value), Options{})
		for _, bad := range []string{"unknown option", " is a string, not", " is a tuple, not", " is an object, not", " is a number, not"} {
			if p, ok := of(l, bad); ok {
				t.Errorf("%s = %s: %s", name, value, p.Summary)
			}
		}
		if change[name] == "" {
			_, l = load(t, marketplace(nil, line+wrong), Options{})
			if p, ok := of(l, name+` in source "azure-arm" "w" is a tuple, not`); !ok || p.Pos.Line == 0 {
				t.Errorf("%s = %s is accepted: %+v", name, wrong, l)
			}
		}
	}
}

// TestSecretsAreNotShown renders the problems of templates with secrets in every place one can stand in.
func TestSecretsAreNotShown(t *testing.T) {
	const marker = "Marker-not-a-real-secret"
	sensitive := "variable \"s\" {\nsensitive = true\n%s}\n"
	for name, c := range map[string]struct {
		text  string
		files map[string]string
		o     Options
		want  string
	}{
		"literal that is too weak":     {text: marketplace(nil, `winrm_password = "markernotarealsecret"`), want: "too weak"},
		"literal of a wrong type":      {text: marketplace(nil, `client_secret = ["`+marker+`"]`), want: "not a text"},
		"escaped literal":              {text: marketplace(nil, `client_secret = "Marker-not-a-\u0072eal-\"secret"`), want: "needs client_id"},
		"heredoc":                      {text: marketplace(nil, "client_secret = <<EOT\nx\n"+marker+"\nEOT"), want: "needs client_id"},
		"variable's file, wrong type":  {text: fmt.Sprintf(sensitive, "type = number\n") + marketplace(nil), files: map[string]string{"a.auto.pkrvars.hcl": `s = "` + marker + `"`}, want: "unsuitable"},
		"JSON file, wrong type":        {text: fmt.Sprintf(sensitive, "type = list(string)\n") + marketplace(nil), files: map[string]string{"a.auto.pkrvars.json": `{"s": "` + marker + `"}`}, want: "unsuitable"},
		"default, wrong type":          {text: fmt.Sprintf(sensitive, "type = number\ndefault = \""+marker+"\"\n") + marketplace(nil), want: "unsuitable"},
		"command line, wrong type":     {text: fmt.Sprintf(sensitive, "type = number\n") + marketplace(nil), o: Options{Vars: []string{"s=" + marker}}, want: "unsuitable"},
		"command line, no list":        {text: fmt.Sprintf(sensitive, "type = list(string)\n") + marketplace(nil), o: Options{Vars: []string{"s=[" + marker}}, want: "is no list"},
		"a function quotes it":         {text: fmt.Sprintf(sensitive, "") + marketplace(nil, `os_disk_size_gb = parseint(var.s, 10)`), o: Options{Vars: []string{"s=" + marker}}, want: "Invalid function argument"},
		"a file of that name":          {text: fmt.Sprintf(sensitive, "") + marketplace(nil, `custom_data = file(var.s)`), o: Options{Env: []string{"PKR_VAR_s=" + marker}}, want: "Error in function call"},
		"a validation's message":       {text: fmt.Sprintf(sensitive, "validation {\ncondition = false\nerror_message = \"It is ${var.s}.\"\n}\n") + marketplace(nil), o: Options{Vars: []string{"s=" + marker}}, want: "not allowed"},
		"a name of a source":           {text: fmt.Sprintf(sensitive, "") + strings.Replace(marketplace(nil), `["source.azure-arm.w"]`, `[var.s]`, 1), o: Options{Vars: []string{"s=" + marker}}, want: "sensitive value"},
		"an option that is seen":       {text: fmt.Sprintf(sensitive, "") + marketplace(nil, "azure_tags = {\na = var.s\n}", `license_type = var.s`), o: Options{Vars: []string{"s=" + marker}}, want: "sensitive value"},
		"sensitive local":              {text: "local \"s\" {\nsensitive = true\nexpression = \"" + marker + "\"\n}\n" + marketplace(nil, `license_type = local.s`), want: "sensitive value"},
		"beside the secret in a block": {text: fmt.Sprintf(sensitive, "default = \""+marker+"\"\n") + marketplace(nil, `boot_diag_storage_account = "${var.s}x"`), want: "sensitive value"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"t.pkr.hcl": c.text}
			for k, v := range c.files {
				files[k] = v
			}
			c.o.Cwd, c.o.Now = write(t, files), now
			r, l := Load(c.o.Cwd, c.o)
			if _, ok := of(l, c.want); !ok || !l.HasErrors() {
				t.Fatalf("want %q, got %+v", c.want, l)
			}
			var b bytes.Buffer
			diag.Render(&b, l, r.Sources, false)
			if err := diag.RenderJSON(&b, l); err != nil {
				t.Fatal(err)
			}
			if shown := strings.ToLower(b.String()); strings.Contains(shown, "marker") {
				t.Errorf("the secret is shown:\n%s", b.String())
			}
			for name, text := range r.Sources {
				if n := bytes.Count(text, []byte("\n")); n != strings.Count(files[name[strings.LastIndexAny(name, "/\\")+1:]], "\n") {
					t.Errorf("%s: masking moved the lines", name)
				}
			}
		})
	}
}

// TestSecretOptionsAreHidden: what is secret by nature is hidden even when it stands in the template as it is.
func TestSecretOptionsAreHidden(t *testing.T) {
	r, l := load(t, marketplace(nil, "client_id = \"c\"\nsubscription_id = \"s\"\nclient_secret = \"test-secret-not-real\"\nwinrm_password = \"Test-secret-1-not-real\""), Options{})
	if l.HasErrors() {
		t.Fatal(l)
	}
	i := r.Images[0]
	for _, x := range []struct {
		text        image.Text
		name, value string
	}{{i.Identity.ClientSecret, "azure-arm.w.client_secret", "test-secret-not-real"}, {i.Communicator.Password, "azure-arm.w.winrm_password", "Test-secret-1-not-real"}} {
		if x.text.Secret() != x.name || x.text.Reveal() != x.value || r.Secrets[x.name] != x.value {
			t.Errorf("%s: %q %v", x.name, x.text.Secret(), r.Secrets)
		}
	}
}
