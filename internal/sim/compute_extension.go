package sim

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"ingot/internal/sim/guest"
)

// extensionType are extensions of a machine. Which are known stands in handlers; another one is refused with a 501.
const extensionType = "Microsoft.Compute/virtualMachines/extensions"

// extensionData is how far an extension's command is.
type extensionData struct {
	mu    sync.Mutex
	begun bool // by this process: what another one had begun is begun again
	extensionJSON
}

// extensionJSON is the part of it that is kept.
type extensionJSON struct {
	Command string `json:"command"` // a protected setting: kept, never shown
	// Protected are all the protected settings, of which nothing is shown.
	Protected map[string]any `json:"protected,omitempty"`
	Left      bool           `json:"left,omitempty"` // Windows restarts: it is over when that is up again
	Over      bool           `json:"over,omitempty"`
	Code      int            `json:"code,omitempty"`
	Out       string         `json:"out,omitempty"`
	Err       string         `json:"err,omitempty"`
}

// MarshalJSON writes it while its command may be running.
func (d *extensionData) MarshalJSON() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return json.Marshal(d.extensionJSON)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *extensionData) UnmarshalJSON(raw []byte) error { return json.Unmarshal(raw, &d.extensionJSON) }

// checkExtension holds an extension against Compute's rules
// (learn.microsoft.com/azure/virtual-machines/extensions/custom-script-windows and /features-windows).
func checkExtension(w *Azure, in ask) *refusal {
	vm := w.find(parentID(in.id))
	if vm == nil {
		return parentMissing(in.id)
	}
	p := mapping(in.body, "properties")
	if in.old != nil && text(p, "type") == "" { // recorded: a change need not say it again
		p["type"] = text(in.old.props, "type")
	}
	publisher, typ := text(p, "publisher"), text(p, "type")
	m := machineOf(vm)
	h, known := findHandler(p)
	switch {
	case publisher == "" || typ == "" || text(p, "typeHandlerVersion") == "":
		return refuse(400, "InvalidParameter", "Required parameter 'virtualMachineExtension.properties.publisher', 'type' or 'typeHandlerVersion' is missing (null).")
	case mapping(vm.props, "osProfile") != nil && !truth(vm.props, "osProfile", "allowExtensionOperations"):
		return refuse(409, "OperationNotAllowed", "This operation cannot be performed when extension operations are disallowed. To allow, please ensure VM Agent is installed on the VM and the osProfile.allowExtensionOperations property is true.")
	case m.power != "running":
		return refuse(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
	}
	if bad := checkHandler(h, known, p, vm); bad != nil {
		return bad
	}
	for _, x := range children(w, vm.id, extensionType) { // one of a type: "Multiple VMExtensions per handler not supported"
		if !sameID(x.id, in.id) && strings.EqualFold(text(x.props, "type"), typ) {
			return refuse(400, "BadRequest", "Multiple VMExtensions per handler not supported for OS type '"+osType(h.windows)+"'. VMExtension '"+in.name+"' with handler '"+publisher+"."+typ+"' already added or specified in input.")
		}
	}
	if commandOf(p) == "" && h.typ == "CustomScriptExtension" {
		return refuse(400, "BadRequest", "The extension CustomScriptExtension needs commandToExecute in its settings or its protected settings.")
	}
	return nil
}

// isOpenSSH tells the extension that installs and starts OpenSSH Server
// (learn.microsoft.com/azure/virtual-machines/windows/connect-ssh: publisher Microsoft.Azure.OpenSSH, version 3.0).
func isOpenSSH(p map[string]any) bool {
	return strings.EqualFold(text(p, "publisher"), "Microsoft.Azure.OpenSSH") && strings.EqualFold(text(p, "type"), "WindowsOpenSSH")
}

func commandOf(p map[string]any) string {
	return or(text(p, "protectedSettings", "commandToExecute"), text(p, "settings", "commandToExecute"))
}

func fillExtension(_ *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	d := &extensionData{extensionJSON: extensionJSON{Command: commandOf(p), Protected: copyMap(mapping(p, "protectedSettings"))}}
	if old, ok := r.aux.(*extensionData); ok && old.Command == d.Command && old.Over && old.Code == 0 && d.Command != "" && text(p, "forceUpdateTag") == text(r.props, "forceUpdateTag") {
		d = old // the same settings: the command is not run again
	}
	delete(p, "protectedSettings")
	delete(p, "protectedSettingsFromKeyVault")
	fill(p, map[string]any{"autoUpgradeMinorVersion": false}) // recorded
	r.props, r.aux = p, d
}

// doneExtension runs the command once Windows is up, and is over when that is.
func doneExtension(w *Azure, r *resource) *refusal {
	d := r.aux.(*extensionData)
	d.mu.Lock()
	over, code, complaint := d.Over, d.Code, d.Err
	d.mu.Unlock()
	vm := w.find(parentID(r.id))
	h, _ := findHandler(r.props)
	switch {
	case over && code != 0 && h.typ != "CustomScriptExtension":
		return refuse(409, "VMExtensionProvisioningError", "VM has reported a failure when processing extension '"+r.name+"' (publisher '"+h.publisher+"' and type '"+h.typ+"'). Error message: '"+complaint+"'. More information on troubleshooting is available at https://aka.ms/vmextensionwindowstroubleshoot. ")
	case over && code != 0:
		return refuse(409, "VMExtensionProvisioningError", "VM has reported a failure when processing extension '"+r.name+"' (publisher 'Microsoft.Compute' and type 'CustomScriptExtension'). Error message: 'Command execution finished, but failed because it returned a non-zero exit code of: '"+
			itoa(code)+"'. The command had an error output of: '"+tail(d.Err)+"' For more information, check the instance view by executing Get-AzVmssVm or Get-AzVm (https://aka.ms/GetAzVm). These commands can be executed using CloudShell (https://aka.ms/CloudShell)'. More information on troubleshooting is available at https://aka.ms/VMExtensionCSEWindowsTroubleshoot. ")
	case over:
		return nil
	case vm != nil && machineOf(vm).guest == nil && h.typ != "CustomScriptExtension" && (w.cfg.NoGuests || !h.windows):
		d.act(w, h, vm, r)
		return doneExtension(w, r)
	case vm == nil || machineOf(vm).guest == nil && w.cfg.NoGuests:
		d.mu.Lock()
		d.Over = true
		d.mu.Unlock()
		return nil
	case machineOf(vm).guest == nil:
		return refuse(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
	}
	if g := machineOf(vm).guest; g.Up() {
		if h.typ == "CustomScriptExtension" || isOpenSSH(r.props) {
			d.begin(w, g, isOpenSSH(r.props))
		} else if d.act(w, h, vm, r); !d.restart(w, g) {
			return doneExtension(w, r)
		}
	}
	if w.cfg.Latency == NoLatency {
		return &refusal{again: 20 * time.Millisecond}
	}
	return &refusal{again: time.Second}
}

// act changes what the machine is, once.
func (d *extensionData) act(w *Azure, h handler, vm, r *resource) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Over || d.Left {
		return
	}
	if h.effect != nil {
		if complaint := h.effect(w, vm, mapping(r.props, "settings"), d.Protected); complaint != "" {
			d.Over, d.Code, d.Err = true, 1, complaint
			return
		}
	}
	d.Protected = nil // nobody needs them any more
	d.Over = h.restarts == nil || !h.restarts(mapping(r.props, "settings")) || w.cfg.NoGuests
}

// restart restarts Windows where the extension does that, and reports whether that is not over.
func (d *extensionData) restart(w *Azure, g guest.Machine) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.Over:
		return false
	case d.Left:
		d.Over = true // it is up again
		return false
	case !d.begun:
		d.begun = true
		w.stopping.Go(func() {
			g.RunLine("shutdown /r /t 0", func(int, string) {})
			d.mu.Lock()
			defer d.mu.Unlock()
			d.Left = true
		})
	}
	return true
}

// begin runs the command beside everything else, unless that goes on already. A command that Windows goes down under is run again when it is up.
func (d *extensionData) begin(w *Azure, g guest.Machine, openSSH bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun {
		return
	}
	d.begun = true
	w.stopping.Go(func() {
		var out, complaints strings.Builder
		if openSSH {
			err := g.OpenSSH()
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.Over = true; err != nil {
				d.Code, d.Err = 1, err.Error()
			}
			return
		}
		code, up := g.RunLine(d.Command, func(stream int, text string) {
			if stream == 1 {
				out.WriteString(text)
			} else {
				complaints.WriteString(text)
			}
		})
		d.mu.Lock()
		defer d.mu.Unlock()
		d.begun = up
		if up {
			d.Over, d.Code, d.Out, d.Err = true, code, tail(out.String()), tail(complaints.String())
		}
	})
}

// tail is what the agent reports of a stream: its last 4 KB.
func tail(s string) string { return s[max(0, len(s)-4096):] }

// extensionView is $expand=instanceView of an extension.
func extensionView(r *resource) map[string]any {
	d, ok := r.aux.(*extensionData)
	if !ok {
		return map[string]any{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h, _ := findHandler(r.props)
	word, message := "succeeded", h.message
	if d.Code != 0 {
		word = "failed"
		if h.typ != "CustomScriptExtension" {
			message = d.Err
		}
	}
	sub := func(stream, message string) any {
		return map[string]any{"code": "ComponentStatus/" + stream + "/" + word, "level": "Info", "displayStatus": "Provisioning " + word, "message": message}
	}
	view := map[string]any{"name": r.name, "type": text(r.props, "publisher") + "." + text(r.props, "type"), "typeHandlerVersion": or(h.version, text(r.props, "typeHandlerVersion")),
		"statuses": []any{map[string]any{"code": "ProvisioningState/" + word, "level": "Info", "displayStatus": "Provisioning " + word, "message": message}}}
	switch {
	case h.typ == "CustomScriptExtension":
		view["substatuses"] = []any{sub("StdOut", d.Out), sub("StdErr", d.Err)}
	case h.typ == "AzureDiskEncryption" && text(r.props, "settings", "EncryptionOperation") == "EnableEncryption":
		view["substatuses"] = []any{sub("BitlockerExtension", `{"os": "Encrypted", "data": "NotEncrypted"}`)} // recorded
	}
	return view
}

// handlerView is how the agent speaks of the program behind an extension.
func handlerView(r *resource) map[string]any {
	v := extensionView(r)
	return map[string]any{"type": v["type"], "typeHandlerVersion": v["typeHandlerVersion"], "status": map[string]any{"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Ready", "message": "Plugin enabled"}}
}
