package azure

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// OpenSSH is the extension that installs and starts OpenSSH Server in a Windows machine, and opens its port in Windows' own firewall
// (https://learn.microsoft.com/azure/virtual-machines/windows/connect-ssh).
type OpenSSH struct {
	Group, VM, Name, Location string
	Tags                      map[string]string
}

// InstallOpenSSH gives a machine the extension and waits until it is done. It needs the machine's agent, and no way to the machine.
func (c *Client) InstallOpenSSH(ctx context.Context, s OpenSSH, op Op) error {
	publisher, typ, version, yes := "Microsoft.Azure.OpenSSH", "WindowsOpenSSH", "3.0", true
	body := armcompute.VirtualMachineExtension{Location: &s.Location, Tags: ptrs(s.Tags), Properties: &armcompute.VirtualMachineExtensionProperties{
		Publisher: &publisher, Type: &typ, TypeHandlerVersion: &version, AutoUpgradeMinorVersion: &yes}}
	_, err := long[armcompute.VirtualMachineExtensionsClientCreateOrUpdateResponse]{
		what: "install OpenSSH Server on VM " + s.VM,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.VirtualMachineExtensionsClientCreateOrUpdateResponse], error) {
			return c.exts.BeginCreateOrUpdate(ctx, s.Group, s.VM, s.Name, body, &armcompute.VirtualMachineExtensionsClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return err
}
