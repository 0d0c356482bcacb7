package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const w11 = "  image_offer = \"windows-11\"\n  image_sku = \"win11-25h2-avd\"\n"

// everything is a template with every kind of target at once.
const everything = w11 + `
  location                                = "westeurope"
  disk_additional_size                    = [16, 32]
  disk_additional_luns                    = [3, 0]
  managed_image_name                      = "m"
  managed_image_resource_group_name       = "rg-images"
  managed_image_os_disk_snapshot_name     = "snap_os"
  managed_image_data_disk_snapshot_prefix = "snap_data"
  resource_group_name                     = "rg-images"
  storage_account                         = "vhds1"
  capture_container_name                  = "images"
  capture_name_prefix                     = "w11-"
  temp_os_disk_name                       = "the-os-disk"
  shared_gallery_image_version_end_of_life_date    = "2028-01-01T00:00:00Z"
  shared_gallery_image_version_exclude_from_latest = true
  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
    image_version  = "1.2.3"
    target_region {
      name     = "northeurope"
      replicas = 3
    }
    target_region {
      name = "westeurope"
    }
  }
  shared_image_gallery_destination {
    resource_group          = "rg-images"
    gallery_name            = "galAvd"
    image_name              = "windows-11-avd"
    image_version           = "1.2.4"
    storage_account_type    = "Standard_ZRS"
    use_shallow_replication = true
  }
  azure_tags = { owner = "desk" }
`

const inImages = "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images/providers/"

// withStorage is a simulated Azure that has the storage account, too.
func withStorage(t *testing.T, more string) *azure {
	t.Helper()
	return serveScenario(t, strings.TrimSuffix(strings.TrimSpace(seeds), "]}")+`,
  {"id": "`+inImages+`Microsoft.Storage/storageAccounts/vhds1", "body": {"location": "westeurope", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {}}},
  {"id": "`+inImages+`Microsoft.Storage/storageAccounts/vhds1/blobServices/default/containers/images", "body": {}}
]`+more+`}`)
}

func framed(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "w.pkr.hcl"), []byte(fmt.Sprintf(frame, source)), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// kept lists what builds have made, by the ends of the ids.
func (a *azure) kept(t *testing.T) []string {
	t.Helper()
	var all []item
	a.call(t, http.MethodGet, "/sim/inventory", nil, &all)
	var out []string
	for _, i := range all {
		if !i.Seeded {
			out = append(out, strings.TrimPrefix(i.ID, inImages))
		}
	}
	return out
}

const blobs = "Microsoft.Storage/storageAccounts/vhds1/blobServices/default/containers/images/blobs/"

// TestEveryTargetAtOnce looks at what each target has become, in Azure's own words.
func TestEveryTargetAtOnce(t *testing.T) {
	t.Parallel()
	a := withStorage(t, "")
	dir := framed(t, everything)
	state := t.TempDir()
	r := a.ingot(t, state, nil, "build", dir)
	run, _, _ := journal(t, state)
	name := "ingot-" + run
	if r.code != 0 || !strings.Contains(r.out, "OSDiskUri: https://vhds1.blob.storage.localhost") {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	noSecrets(t, "every target", state, r.out)
	for _, mark := range []string{"sig=", "SharedKey"} {
		if strings.Contains(r.out, mark) {
			t.Errorf("the output holds %q", mark)
		}
	}
	want := []string{"Microsoft.Compute/galleries/galAvd/images/windows-11-avd/versions/1.2.3", "Microsoft.Compute/galleries/galAvd/images/windows-11-avd/versions/1.2.4", "Microsoft.Compute/images/m",
		"Microsoft.Compute/snapshots/snap_data0", "Microsoft.Compute/snapshots/snap_data1", "Microsoft.Compute/snapshots/snap_os",
		blobs + "w11-" + name + "-data-1.vhd", blobs + "w11-" + name + "-data-2.vhd", blobs + "w11-the-os-disk.vhd"}
	if got := a.kept(t); !slices.Equal(got, want) {
		t.Fatalf("kept:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	get := func(id string) map[string]any { return a.arm(t, http.MethodGet, inImages+id, nil) }
	at := func(v any, path ...any) any {
		for _, p := range path {
			switch x := v.(type) {
			case map[string]any:
				v, _ = x[fmt.Sprint(p)]
			case []any:
				if n, ok := p.(int); ok && n < len(x) {
					v = x[n]
				} else {
					return nil
				}
			}
		}
		return v
	}
	v := get(want[0])
	for _, c := range []struct {
		of   map[string]any
		path []any
		want any
	}{
		{v, []any{"properties", "publishingProfile", "endOfLifeDate"}, "2028-01-01T00:00:00Z"},
		{v, []any{"properties", "publishingProfile", "excludeFromLatest"}, true},
		{v, []any{"properties", "publishingProfile", "targetRegions", 0, "name"}, "North Europe"},
		{v, []any{"properties", "publishingProfile", "targetRegions", 0, "regionalReplicaCount"}, 3.0},
		{v, []any{"properties", "publishingProfile", "targetRegions", 1, "regionalReplicaCount"}, 1.0},
		{v, []any{"properties", "storageProfile", "dataDiskImages", 0, "lun"}, 3.0},
		{v, []any{"properties", "storageProfile", "dataDiskImages", 0, "sizeInGB"}, 16.0},
		{v, []any{"properties", "storageProfile", "dataDiskImages", 1, "lun"}, 0.0},
		{v, []any{"tags", "owner"}, "desk"},
		{v, []any{"tags", "ingot-expires"}, nil},
		{get(want[1]), []any{"properties", "publishingProfile", "replicationMode"}, "Shallow"},
		{get(want[1]), []any{"properties", "publishingProfile", "storageAccountType"}, "Standard_ZRS"},
		{get(want[2]), []any{"properties", "storageProfile", "dataDisks", 1, "diskSizeGB"}, 32.0},
		{get(want[3]), []any{"properties", "diskSizeGB"}, 16.0},
		{get(want[5]), []any{"properties", "osType"}, "Windows"},
		{get(want[5]), []any{"tags", "ingot-run"}, run},
	} {
		if got := at(c.of, c.path...); got != c.want {
			t.Errorf("%s %v is %v, want %v", c.of["id"], c.path, got, c.want)
		}
	}

	// The same again is refused for each target, before there is a machine.
	again := a.ingot(t, t.TempDir(), nil, "build", dir)
	for _, taken := range []string{"managed image \"m\" exists already", "version 1.2.3 of galAvd/windows-11-avd exists already", "snapshot \"snap_os\" exists already", "snapshot \"snap_data1\" exists already"} {
		if again.code != 10 || !strings.Contains(again.out, taken) {
			t.Errorf("again: exit code %d, without %q\n%s", again.code, taken, again.out)
		}
	}
}

// TestADiskThatIsThereAlreadyIsFoundBeforeTheMachine: a blob is known to the data plane only.
func TestADiskThatIsThereAlreadyIsFoundBeforeTheMachine(t *testing.T) {
	t.Parallel()
	a := withStorage(t, "")
	dir := framed(t, w11+`
  location               = "westeurope"
  resource_group_name    = "rg-images"
  storage_account        = "vhds1"
  capture_container_name = "images"
  temp_os_disk_name      = "os"`)
	if r := a.ingot(t, t.TempDir(), nil, "build", dir); r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	r := a.ingot(t, t.TempDir(), nil, "build", dir)
	if r.code != 1 || !strings.Contains(r.out, "a blob of that name is there already") || strings.Contains(r.out, "[vm]") && strings.Contains(r.out, "Create VM") && strings.Contains(r.out, "[vm] DONE") {
		t.Errorf("exit code %d\n%s", r.code, r.out)
	}
	if got := a.kept(t); !slices.Equal(got, []string{blobs + "os.vhd"}) {
		t.Errorf("kept: %v", got)
	}
	wrong := strings.Replace(fmt.Sprintf(frame, w11+`
  location               = "westeurope"
  resource_group_name    = "rg-images"
  storage_account        = "vhds1"
  capture_container_name = "none"`), "", "", 1)
	if err := os.WriteFile(filepath.Join(dir, "w.pkr.hcl"), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := a.ingot(t, t.TempDir(), nil, "build", dir); r.code != 1 || !strings.Contains(r.out, "ContainerNotFound") || strings.Contains(r.out, "[vm] DONE") {
		t.Errorf("a container that is not there: exit code %d\n%s", r.code, r.out)
	}
	// With -force the new disk is there before the old one goes.
	if err := os.WriteFile(filepath.Join(dir, "w.pkr.hcl"), []byte(strings.Replace(wrong, `"none"`, "\"images\"\n  temp_os_disk_name = \"os\"", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := a.ingot(t, t.TempDir(), nil, "build", "-force", dir); r.code != 0 {
		t.Errorf("with -force: exit code %d\n%s", r.code, r.out)
	}
	if got := a.kept(t); !slices.Equal(got, []string{blobs + "os.vhd"}) {
		t.Errorf("kept in the end: %v", got)
	}
}

// TestSkipCreateImage provisions and keeps nothing.
func TestSkipCreateImage(t *testing.T) {
	t.Parallel()
	a := serve(t)
	state := t.TempDir()
	r := a.ingot(t, state, nil, "build", framed(t, w11+"location = \"westeurope\"\nskip_create_image = true"))
	if r.code != 0 || !strings.Contains(r.out, "[provision-1] DONE") || strings.Contains(r.out, "generalize") || strings.Contains(r.out, "deallocate") {
		t.Errorf("exit code %d\n%s", r.code, r.out)
	}
	if got := a.kept(t); len(got) != 0 {
		t.Errorf("kept: %v", got)
	}
}

// TestADataDiskOfTheSourceComesAlong: the second image starts from the first, brings its data disk and adds one.
func TestADataDiskOfTheSourceComesAlong(t *testing.T) {
	t.Parallel()
	a := serve(t)
	gallery := func(version string) string {
		return `
  location = "westeurope"
  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
    image_version  = "` + version + `"
  }
`
	}
	if r := a.ingot(t, t.TempDir(), nil, "build", framed(t, w11+gallery("1.0.0")+"disk_additional_size = [8]")); r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	text := strings.Replace(fmt.Sprintf(frame, gallery("1.0.1")+`
  build_resource_group_name = "rg-images"
  disk_additional_size      = [64]
  shared_image_gallery {
    subscription   = "00000000-0000-4000-8000-00000000a001"
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
  }`), `  image_publisher = "MicrosoftWindowsDesktop"`, "", 1)
	text = strings.Replace(text, "  location = \"westeurope\"\n", "", 1)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "w.pkr.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := a.ingot(t, t.TempDir(), nil, "build", dir); r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	v := a.arm(t, http.MethodGet, inImages+"Microsoft.Compute/galleries/galAvd/images/windows-11-avd/versions/1.0.1", nil)
	if got := fmt.Sprint(v["properties"].(map[string]any)["storageProfile"].(map[string]any)["dataDiskImages"]); !strings.Contains(got, "lun:0") || !strings.Contains(got, "sizeInGB:8") || !strings.Contains(got, "lun:1") || !strings.Contains(got, "sizeInGB:64") {
		t.Errorf("data disks of the second: %s", got)
	}
	// It was built in a group that stays: every disk had a name that the plan gave it, and is gone by it.
	if got := a.kept(t); len(got) != 2 {
		t.Errorf("kept: %v", got)
	}
	text = strings.Replace(strings.Replace(text, `"1.0.1"`, `"1.0.2"`, 1), "disk_additional_size      = [64]", "disk_additional_size      = [64]\n  disk_additional_luns = [0]", 1)
	if err := os.WriteFile(filepath.Join(dir, "w.pkr.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := a.ingot(t, t.TempDir(), nil, "build", dir); r.code == 0 || !strings.Contains(r.out, "cannot have LUN 0") {
		t.Errorf("a LUN twice: exit code %d\n%s", r.code, r.out)
	}
}

// TestDefinitionsAreMade: what an image_definition block describes is made when it is missing, with its gallery, and goes again with a
// failed build; what was there stays.
func TestDefinitionsAreMade(t *testing.T) {
	t.Parallel()
	a := serve(t)
	source := w11 + `
  location = "westeurope"
  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galNew"
    image_name     = "w11"
    image_version  = "auto"
  }`
	dir := framed(t, source)
	block := `
image_definition {
  resource_group        = "rg-images"
  gallery_name          = "galNew"
  image_name            = "w11"
  create_gallery        = true
  publisher             = "Contoso"
  offer                 = "Desktop"
  sku                   = "w11"
  architecture          = "x64"
  disk_controller_types = ["SCSI", "NVMe"]
  description           = "session hosts"
}
`
	if err := os.WriteFile(filepath.Join(dir, "w.ingot.hcl"), []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	failing := framed(t, strings.Replace(source, "}", "}\n  vm_size = \"Standard_D2s_v5\"", 1))
	text, err := os.ReadFile(filepath.Join(dir, "w.pkr.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]string{"w.pkr.hcl": strings.Replace(string(text), `"echo hello"`, `"exit /b 9"`, 1), "w.ingot.hcl": block} {
		if err := os.WriteFile(filepath.Join(failing, name), []byte(x), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := a.ingot(t, t.TempDir(), nil, "build", failing); r.code != 1 || !strings.Contains(r.out, "Create image definition galNew/w11") {
		t.Errorf("a build that fails: exit code %d\n%s", r.code, r.out)
	}
	if got := a.kept(t); len(got) != 0 {
		t.Errorf("after a failed build: %v", got)
	}
	for _, version := range []string{"1.0.0", "1.0.1"} {
		r := a.ingot(t, t.TempDir(), nil, "build", dir)
		if made := strings.Contains(r.out, "Create gallery galNew"); r.code != 0 || made != (version == "1.0.0") || !strings.Contains(r.out, version) {
			t.Fatalf("exit code %d, gallery made: %v\n%s", r.code, made, r.out)
		}
	}
	const gallery = "Microsoft.Compute/galleries/galNew"
	if got := a.kept(t); !slices.Equal(got, []string{gallery, gallery + "/images/w11", gallery + "/images/w11/versions/1.0.0", gallery + "/images/w11/versions/1.0.1"}) {
		t.Errorf("kept: %v", got)
	}
	d := a.arm(t, http.MethodGet, inImages+gallery+"/images/w11", nil)
	for _, want := range []string{"publisher:Contoso", "architecture:x64", "hyperVGeneration:V2", "osState:Generalized", "name:SecurityType value:TrustedLaunchSupported", "name:DiskControllerTypes value:SCSI, NVMe", "description:session hosts"} {
		if !strings.Contains(fmt.Sprint(d), want) {
			t.Errorf("the definition has no %s: %v", want, d)
		}
	}
	// Afterwards a build that fails leaves them alone.
	if r := a.ingot(t, t.TempDir(), nil, "build", failing); r.code != 1 {
		t.Errorf("exit code %d\n%s", r.code, r.out)
	}
	if got := a.kept(t); len(got) != 4 {
		t.Errorf("after a failed build: %v", got)
	}
}

// TestPermissionsOfEveryTarget: a role of exactly what `ingot permissions` prints builds a template with every kind of target; without the
// data actions and the right to list keys the container is found closed before there is a machine.
func TestPermissionsOfEveryTarget(t *testing.T) {
	t.Parallel()
	who := func(client string) string {
		return everything + `
  client_id       = "` + client + `"
  client_secret   = "test-secret-not-real"
  tenant_id       = "00000000-0000-4000-8000-00000000b001"
  subscription_id = "` + tested + `"
`
	}
	const may, barred = "55555555-5555-4555-8555-000000000001", "55555555-5555-4555-8555-000000000002"
	out := (&azure{}).ingot(t, t.TempDir(), nil, "permissions", "--json", framed(t, who(may)))
	var roles []role
	if err := json.Unmarshal([]byte(out.out), &roles); err != nil || out.code != 0 {
		t.Fatalf("%v\n%s", err, out.out)
	}
	var definitions []map[string]any
	var full, less []map[string]any
	data := 0
	for i, r := range roles {
		name := fmt.Sprintf("role %d", i)
		definitions = append(definitions, map[string]any{"name": name, "actions": r.Actions, "dataActions": r.DataActions}, map[string]any{"name": name + " without data", "actions": r.Actions})
		full = append(full, map[string]any{"role": name, "scope": r.AssignableScopes[0]})
		less = append(less, map[string]any{"role": name + " without data", "scope": r.AssignableScopes[0]})
		data += len(r.DataActions)
	}
	if data != 3 {
		t.Errorf("%d data actions, want those of blobs\n%s", data, out.out)
	}
	more, err := json.Marshal(map[string]any{"roles": definitions, "principals": []any{
		map[string]any{"name": "may", "clientId": may, "secret": "test-secret-not-real", "roles": full},
		map[string]any{"name": "barred", "clientId": barred, "secret": "test-secret-not-real", "roles": less}}})
	if err != nil {
		t.Fatal(err)
	}
	a := withStorage(t, ", "+strings.TrimSuffix(strings.TrimPrefix(string(more), "{"), "}"))
	if r := a.ingot(t, t.TempDir(), nil, "build", framed(t, who(barred))); r.code == 0 || strings.Contains(r.out, "[vm] DONE") || !strings.Contains(r.out, "Storage Blob Data Contributor") {
		t.Errorf("without the data actions: exit code %d\n%s", r.code, r.out)
	}
	if got := a.kept(t); len(got) != 0 {
		t.Errorf("it leaves %v", got)
	}
	if r := a.ingot(t, t.TempDir(), nil, "build", framed(t, who(may))); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.out)
	}
}
