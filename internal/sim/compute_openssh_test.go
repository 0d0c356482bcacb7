package sim

import (
	"strings"
	"testing"
	"time"
)

// TestOpenSSHExtension: the extension opens SSH on a Windows machine, at its addresses; it is not for Linux, and not for a machine that is off.
func TestOpenSSHExtension(t *testing.T) {
	d := newDesk(t, nil)
	vm := d.compute("virtualMachines/win")
	d.done("PUT", vm, vmBody(d.nic("win"), avdImage(), nil))
	body := func(typ string) map[string]any {
		return map[string]any{"location": "westeurope", "properties": map[string]any{"publisher": "Microsoft.Azure.OpenSSH", "type": typ, "typeHandlerVersion": "3.0", "autoUpgradeMinorVersion": true}}
	}
	listening := func() string {
		d.w.mu.Lock()
		defer d.w.mu.Unlock()
		for _, a := range machineOf(d.w.find(vm)).addrs {
			if strings.HasSuffix(a, ":22") {
				return d.w.guests[a]
			}
		}
		return ""
	}
	install := func(name string) { // the agent works in real time
		_, h, _ := d.call("PUT", vm+"/extensions/"+name, body("WindowsOpenSSH"))
		var out any
		waitFor(t, 30*time.Second, func() bool {
			out = d.must(200, "GET", h.Get("Azure-AsyncOperation"), nil)
			return text(out, "status") != "InProgress"
		})
		if text(out, "status") != "Succeeded" {
			t.Fatal(out)
		}
	}
	if at := listening(); at != "" {
		t.Fatalf("SSH is open from the start: %s", at)
	}
	install("ssh")
	if listening() == "" {
		t.Error("SSH is not open")
	}
	install("ssh") // once more is nothing
	d.refused(400, "BadRequest", "PUT", vm+"/extensions/second", body("WindowsOpenSSH"))
	d.refused(501, "SimulatorNotImplemented", "PUT", vm+"/extensions/other", body("LinuxOpenSSH"))
	d.done("POST", vm+"/deallocate", nil)
	if at := listening(); at != "" {
		t.Errorf("SSH of a machine that is off: %s", at)
	}
	d.refused(409, "OperationNotAllowed", "PUT", vm+"/extensions/ssh", body("WindowsOpenSSH"))
	d.done("POST", vm+"/start", nil)
	if listening() == "" {
		t.Error("SSH does not start with Windows")
	}
}
