package sim

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"ingot/internal/sim/guest"
)

// extensionType are extensions of a machine. Known are those that run a command on Windows; another one is refused with a 501.
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
	Over    bool   `json:"over,omitempty"`
	Code    int    `json:"code,omitempty"`
	Out     string `json:"out,omitempty"`
	Err     string `json:"err,omitempty"`
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
	publisher, typ := text(p, "publisher"), text(p, "type")
	m := machineOf(vm)
	switch {
	case publisher == "" || typ == "" || text(p, "typeHandlerVersion") == "":
		return refuse(400, "InvalidParameter", "Required parameter 'virtualMachineExtension.properties.publisher', 'type' or 'typeHandlerVersion' is missing (null).")
	case !strings.EqualFold(publisher, "Microsoft.Compute") || !strings.EqualFold(typ, "CustomScriptExtension"):
		return refuse(501, "SimulatorNotImplemented", "The simulated Azure knows the extension Microsoft.Compute/CustomScriptExtension, not "+publisher+"/"+typ+".")
	case !m.content.windows:
		return refuse(409, "OperationNotAllowed", "The extension type 'Microsoft.Compute/CustomScriptExtension' is not supported for the operating system of VM '"+vm.name+"'.")
	case mapping(vm.props, "osProfile") != nil && !truth(vm.props, "osProfile", "allowExtensionOperations"):
		return refuse(409, "OperationNotAllowed", "This operation cannot be performed when extension operations are disallowed. To allow, please ensure VM Agent is installed on the VM and the osProfile.allowExtensionOperations property is true.")
	case m.power != "running":
		return refuse(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
	}
	for _, x := range children(w, vm.id, extensionType) { // one of a type: "Multiple VMExtensions per handler not supported"
		if !sameID(x.id, in.id) && strings.EqualFold(text(x.props, "type"), typ) {
			return refuse(400, "BadRequest", "Multiple VMExtensions per handler not supported for OS type 'Windows'. VMExtension '"+in.name+"' with handler 'Microsoft.Compute.CustomScriptExtension' already added or specified in input.")
		}
	}
	if commandOf(p) == "" {
		return refuse(400, "BadRequest", "The extension CustomScriptExtension needs commandToExecute in its settings or its protected settings.")
	}
	return nil
}

func commandOf(p map[string]any) string {
	return or(text(p, "protectedSettings", "commandToExecute"), text(p, "settings", "commandToExecute"))
}

func fillExtension(_ *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	d := &extensionData{extensionJSON: extensionJSON{Command: commandOf(p)}}
	if old, ok := r.aux.(*extensionData); ok && old.Command == d.Command && old.Over && text(p, "forceUpdateTag") == text(r.props, "forceUpdateTag") {
		d = old // the same settings: the command is not run again
	}
	delete(p, "protectedSettings")
	r.props, r.aux = p, d
}

// doneExtension runs the command once Windows is up, and is over when that is.
func doneExtension(w *Azure, r *resource) *refusal {
	d := r.aux.(*extensionData)
	d.mu.Lock()
	over, code := d.Over, d.Code
	d.mu.Unlock()
	vm := w.find(parentID(r.id))
	switch {
	case over && code != 0:
		return refuse(409, "VMExtensionProvisioningError", "VM has reported a failure when processing extension '"+r.name+"' (publisher 'Microsoft.Compute' and type 'CustomScriptExtension'). Error message: 'Command execution finished, but failed because it returned a non-zero exit code of: '"+
			itoa(code)+"'. The command had an error output of: '"+tail(d.Err)+"' For more information, check the instance view by executing Get-AzVmssVm or Get-AzVm (https://aka.ms/GetAzVm). These commands can be executed using CloudShell (https://aka.ms/CloudShell)'. More information on troubleshooting is available at https://aka.ms/VMExtensionCSEWindowsTroubleshoot. ")
	case over:
		return nil
	case vm == nil || machineOf(vm).guest == nil && w.cfg.NoGuests:
		d.mu.Lock()
		d.Over = true
		d.mu.Unlock()
		return nil
	case machineOf(vm).guest == nil:
		return refuse(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
	}
	if g := machineOf(vm).guest; g.Up() {
		d.begin(w, g)
	}
	return &refusal{again: time.Second}
}

// begin runs the command beside everything else, unless that goes on already. A command that Windows goes down under is run again when it is up.
func (d *extensionData) begin(w *Azure, g guest.Machine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun {
		return
	}
	d.begun = true
	w.stopping.Go(func() {
		var out, complaints strings.Builder
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
	word := "succeeded"
	if d.Code != 0 {
		word = "failed"
	}
	sub := func(stream, message string) any {
		return map[string]any{"code": "ComponentStatus/" + stream + "/" + word, "level": "Info", "displayStatus": "Provisioning " + word, "message": message}
	}
	return map[string]any{"name": r.name, "type": "Microsoft.Compute.CustomScriptExtension", "typeHandlerVersion": "1.10.20",
		"substatuses": []any{sub("StdOut", d.Out), sub("StdErr", d.Err)},
		"statuses":    []any{map[string]any{"code": "ProvisioningState/" + word, "level": "Info", "displayStatus": "Provisioning " + word, "message": "Finished executing command"}}}
}
