package azure

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// CustomScript is a command for a Windows machine's agent to run
// (https://learn.microsoft.com/azure/virtual-machines/extensions/custom-script-windows).
type CustomScript struct {
	Group, VM, Name, Location string
	Command                   string // goes as a protected setting: nobody can read it back
	Tags                      map[string]string
}

// Output is what a machine's agent has written down of a command: the end of each stream, 4 KB at most.
type Output struct{ Stdout, Stderr string }

// RunCustomScript gives a machine the CustomScriptExtension and waits until its command has ended; an exit code other than 0 is an error of
// Azure's (VMExtensionProvisioningError). It needs the machine's agent, and no way to the machine.
func (c *Client) RunCustomScript(ctx context.Context, s CustomScript, op Op) (Output, error) {
	publisher, typ, version, yes := "Microsoft.Compute", "CustomScriptExtension", "1.10", true
	body := armcompute.VirtualMachineExtension{Location: &s.Location, Tags: ptrs(s.Tags), Properties: &armcompute.VirtualMachineExtensionProperties{
		Publisher: &publisher, Type: &typ, TypeHandlerVersion: &version, AutoUpgradeMinorVersion: &yes,
		ProtectedSettings: map[string]any{"commandToExecute": s.Command}}}
	_, err := long[armcompute.VirtualMachineExtensionsClientCreateOrUpdateResponse]{
		what: "run the custom script on VM " + s.VM,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.VirtualMachineExtensionsClientCreateOrUpdateResponse], error) {
			return c.exts.BeginCreateOrUpdate(ctx, s.Group, s.VM, s.Name, body, &armcompute.VirtualMachineExtensionsClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil {
		return Output{}, err
	}
	return c.CustomScriptOutput(ctx, s)
}

// CustomScriptOutput is what the command has written so far.
func (c *Client) CustomScriptOutput(ctx context.Context, s CustomScript) (Output, error) {
	view := "instanceView"
	r, err := c.exts.Get(ctx, s.Group, s.VM, s.Name, &armcompute.VirtualMachineExtensionsClientGetOptions{Expand: &view})
	if err != nil {
		return Output{}, wrap(err, "read what the custom script wrote on VM %s", s.VM)
	}
	var out Output
	if r.Properties == nil || r.Properties.InstanceView == nil {
		return out, nil
	}
	for _, sub := range r.Properties.InstanceView.Substatuses {
		switch code := strings.ToLower(val(sub.Code)); {
		case strings.Contains(code, "/stdout/"):
			out.Stdout = val(sub.Message)
		case strings.Contains(code, "/stderr/"):
			out.Stderr = val(sub.Message)
		}
	}
	return out, nil
}
