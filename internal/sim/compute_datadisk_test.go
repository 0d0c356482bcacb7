package sim

import (
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim/qemu"
)

// linuxVM is the body of a Debian machine with the data disks given, on the network interface "nic".
func linuxVM(group, disks string) map[string]any {
	return map[string]any{"location": "westeurope", "properties": map[string]any{
		"hardwareProfile": map[string]any{"vmSize": "Standard_B2s"},
		"storageProfile":  map[string]any{"imageReference": map[string]any{"publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}, "dataDisks": jsonOf(disks)},
		"osProfile": map[string]any{"computerName": "vm", "adminUsername": "azureuser", "linuxConfiguration": map[string]any{"disablePasswordAuthentication": true,
			"ssh": map[string]any{"publicKeys": []any{map[string]any{"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAA"}}}}},
		"networkProfile": map[string]any{"networkInterfaces": []any{map[string]any{"id": group + "/providers/Microsoft.Network/networkInterfaces/nic"}}}}}
}

func jsonOf(s string) any {
	var v any
	if err := unmarshal(s, &v); err != nil {
		panic(err)
	}
	return v
}

func (d *desk) network() {
	d.t.Helper()
	net := d.group + "/providers/Microsoft.Network/"
	d.finish("PUT", net+"virtualNetworks/net", map[string]any{"location": "westeurope", "properties": jsonOf(`{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}`)})
	d.finish("PUT", net+"networkInterfaces/nic", map[string]any{"location": "westeurope", "properties": map[string]any{"ipConfigurations": []any{map[string]any{"name": "c",
		"properties": map[string]any{"subnet": map[string]any{"id": net + "virtualNetworks/net/subnets/s"}}}}}})
}

func TestDataDisks(t *testing.T) {
	d := newDesk(t, nil)
	d.network()
	vm, disk := d.group+"/providers/Microsoft.Compute/virtualMachines/vm", d.group+"/providers/Microsoft.Compute/disks/"
	d.finish("PUT", disk+"there", map[string]any{"location": "westeurope", "sku": map[string]any{"name": "Standard_LRS"}, "properties": jsonOf(`{"diskSizeGB":8,"creationData":{"createOption":"Empty"}}`)})
	d.refused(400, "InvalidParameter", "PUT", vm, linuxVM(d.group, `[{"lun":0,"createOption":"Empty","diskSizeGB":4},{"lun":0,"createOption":"Empty","diskSizeGB":4}]`))
	d.refused(400, "InvalidParameter", "PUT", vm, linuxVM(d.group, `[{"lun":0,"createOption":"Empty"}]`))
	d.refused(404, "NotFound", "PUT", vm, linuxVM(d.group, `[{"lun":0,"createOption":"Attach","managedDisk":{"id":"`+disk+`none"}}]`))
	if s, f := d.finish("PUT", vm, linuxVM(d.group, `[{"lun":0,"createOption":"Empty","diskSizeGB":4,"name":"data0","deleteOption":"Delete"},{"lun":3,"createOption":"Attach","managedDisk":{"id":"`+disk+`there"}}]`)); s != "Succeeded" {
		t.Fatalf("%s %v", s, f)
	}
	got := d.must(200, "GET", vm, nil)
	list := items(got, "properties", "storageProfile", "dataDisks")
	if len(list) != 2 || text(list[0], "managedDisk", "id") != disk+"data0" || number(list[1], "diskSizeGB") != 8 || text(list[1], "managedDisk", "storageAccountType") != "Standard_LRS" {
		t.Errorf("data disks: %v", list)
	}
	for _, name := range []string{"data0", "there"} {
		if x := d.must(200, "GET", disk+name, nil); text(x, "managedBy") != vm || text(x, "properties", "diskState") != "Attached" {
			t.Errorf("disk %s: %v", name, x)
		}
		d.refused(409, "OperationNotAllowed", "DELETE", disk+name, nil)
	}
	// Without it in the document the disk is let go.
	update := d.must(200, "GET", vm, nil).(map[string]any)
	mapping(update, "properties", "storageProfile")["dataDisks"] = list[:1]
	d.finish("PUT", vm, update)
	if x := d.must(200, "GET", disk+"there", nil); text(x, "managedBy") != "" || text(x, "properties", "diskState") != "Unattached" {
		t.Errorf("detached: %v", x)
	}
	d.finish("DELETE", vm, nil)
	if d.w.Has(disk+"data0") || !d.w.Has(disk+"there") {
		t.Error("deleteOption is not honoured")
	}
}

// TestRealMachine boots a Debian of QEMU with a data disk, which its kernel finds, and reads its serial console.
func TestRealMachine(t *testing.T) {
	if m := append(qemu.Missing(), qemu.MissingForDebian()...); m != nil {
		t.Skipf("real machines need packages that are not installed: %s", strings.Join(m, " "))
	}
	host, err := qemu.Open(qemu.Options{Dir: filepath.Join(t.TempDir(), "disks"), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	d := newDeskWith(t, Config{Latency: NoLatency, Machines: host})
	d.network()
	vm := d.group + "/providers/Microsoft.Compute/virtualMachines/vm"
	d.must(201, "PUT", vm, linuxVM(d.group, `[{"lun":0,"createOption":"Empty","diskSizeGB":3,"name":"data0"}]`))
	state := func() string { return text(d.must(200, "GET", vm, nil), "properties", "provisioningState") }
	waitFor(t, 4*time.Minute, func() bool { return state() != "Creating" })
	if s := state(); s != "Succeeded" {
		t.Fatalf("the machine is %s", s)
	}
	at := text(d.must(200, "POST", vm+"/retrieveBootDiagnosticsData", nil), "serialConsoleLogBlobUri")
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	log, ok := d.w.serialLogOf(u.Query().Get("vm"))
	// The system's disk, the data disk, the provisioning media.
	for _, want := range []string{"Linux version", "nvme0n1: p1 p2 p3", "nvme nvme1:", "nvme nvme2:"} {
		if !ok || !strings.Contains(log, want) {
			t.Errorf("the serial console does not show %q:\n%s", want, log)
		}
	}
	d.refused(http.StatusConflict, "OperationNotAllowed", "POST", vm+"/generalize", nil)
	d.finishSoon("POST", vm+"/deallocate")
	if len(host.Running()) != 0 {
		t.Error("it runs although it is deallocated")
	}
	d.must(200, "POST", vm+"/generalize", nil)
}
