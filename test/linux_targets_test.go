package test

import (
	"net/http"
	"strings"
	"testing"
)

// TestLinuxDataDisksAndVHD: what a real machine writes to its data disk is on the data disk of a machine made of the gallery version, and its
// disks are VHDs that can be imported.
func TestLinuxDataDisksAndVHD(t *testing.T) {
	t.Parallel() // most of it is waiting
	realGuests(t)
	a := serveScenario(t, strings.TrimSuffix(strings.TrimSpace(linuxSeeds), "]}")+`,
  {"id": "`+inImages+`Microsoft.Storage/storageAccounts/vhds1", "body": {"location": "westeurope", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {}}},
  {"id": "`+inImages+`Microsoft.Storage/storageAccounts/vhds1/blobServices/default/containers/images", "body": {}}
]}`, "--guests", "qemu")
	targets := fromMarketplace + `
  disk_additional_size   = [1]
  resource_group_name    = "rg-images"
  storage_account        = "vhds1"
  capture_container_name = "images"
  temp_os_disk_name      = "os"
  managed_image_name                      = "m"
  managed_image_resource_group_name       = "rg-images"
  managed_image_data_disk_snapshot_prefix = "snap"
`
	write := `"disk=$(lsblk -dpno NAME,SIZE | awk '$2 == \"1G\" {print $1}')", "sudo mkfs.ext4 -q -L ingotdata $disk", "sudo mount $disk /mnt", "echo written by the first | sudo tee /mnt/file", "sudo umount /mnt"`
	if r := a.ingot(t, t.TempDir(), nil, "build", linux(t, targets, "first", "1.0.0", write)); r.code != 0 {
		t.Fatalf("the first build ends with %d:\n%s\n%s", r.code, r.out, a.log)
	}
	kept := strings.Join(a.kept(t), "\n")
	for _, want := range []string{"images/m", "snapshots/snap0", "versions/1.0.0", "blobs/os.vhd", "-data-1.vhd"} {
		if !strings.Contains(kept, want) {
			t.Errorf("kept is no %s:\n%s", want, kept)
		}
	}
	at := func(name string) string { return inImages + "Microsoft.Compute/disks/" + name }
	for name, blob := range map[string]string{"os": "os.vhd", "data": kept[strings.Index(kept, "images/blobs/ingot-")+len("images/blobs/"):strings.Index(kept, "-data-1.vhd")] + "-data-1.vhd"} {
		a.arm(t, http.MethodPut, at("imported-"+name), map[string]any{"location": "westeurope", "properties": map[string]any{"osType": "Linux",
			"creationData": map[string]any{"createOption": "Import", "sourceUri": "https://vhds1.blob.storage.localhost/images/" + blob}}})
		var p map[string]any
		waitUntil(t, func() bool { // the first answer does not know the size
			p = a.arm(t, http.MethodGet, at("imported-"+name), nil)["properties"].(map[string]any)
			return p["provisioningState"] != "Creating" && p["provisioningState"] != "Updating"
		})
		if gb, ok := p["diskSizeGB"].(float64); !ok || name == "data" && gb != 1 || name == "os" && gb < 2 {
			t.Errorf("the %s disk has %v GB: %v", name, gb, p)
		}
	}
	fromGallery := `  shared_image_gallery {
    subscription   = "00000000-0000-4000-8000-00000000a001"
    resource_group = "rg-images"
    gallery_name   = "galLinux"
    image_name     = "debian-12"
    image_version  = "1.0.0"
  }
`
	r := a.ingot(t, t.TempDir(), nil, "build", linux(t, fromGallery, "second", "1.0.1", `"sudo mount -L ingotdata /mnt", "cat /mnt/file", "sudo umount /mnt"`))
	if r.code != 0 || !strings.Contains(r.out, "written by the first") {
		t.Errorf("the second build ends with %d:\n%s\n%s", r.code, r.out, a.log)
	}
}
