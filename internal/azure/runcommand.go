package azure

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// RunCommand is a managed run command: a script that the machine's agent runs, without any way into the machine
// (learn.microsoft.com/azure/virtual-machines/windows/run-command-managed). Its script is shown to everybody who may read it:
// what is secret belongs in Protected.
type RunCommand struct {
	Group, VM, Name, Location string
	Script                    string
	Parameters, Protected     map[string]string // Windows: -name value; Linux: variables of the environment
	RunAsUser, RunAsPassword  string            // "": the system
	Timeout                   time.Duration     // in whole seconds; 0 is Azure's own 90 minutes
	Async                     bool              // the operation is over when the script has begun
	OutputURL, ErrorURL       string            // append blobs, with a signature: secrets
	Tags                      map[string]string
}

// RunCommandState is how far a run command is.
type RunCommandState struct {
	Provisioning string // Creating, Updating, Succeeded, Failed
	Execution    string // Pending, Running, Succeeded, Failed, TimedOut, Canceled, Unknown; "" when Azure does not say yet
	ExitCode     int
	Output       string // the last 4 KB of each stream
	Error        string
	Message      string // of the platform
	Start, End   time.Time
}

// BeginRunCommand asks for a run command and returns when Azure has accepted it. One of that name is run again.
func (c *Client) BeginRunCommand(ctx context.Context, r RunCommand) error {
	body := armcompute.VirtualMachineRunCommand{Location: &r.Location, Tags: ptrs(r.Tags), Properties: &armcompute.VirtualMachineRunCommandProperties{
		AsyncExecution: &r.Async, Source: &armcompute.VirtualMachineRunCommandScriptSource{Script: &r.Script},
		Parameters: inputs(r.Parameters), ProtectedParameters: inputs(r.Protected), RunAsUser: opt(r.RunAsUser), RunAsPassword: opt(r.RunAsPassword),
		TimeoutInSeconds: opt(int32(r.Timeout / time.Second)), OutputBlobURI: opt(r.OutputURL), ErrorBlobURI: opt(r.ErrorURL)}}
	for wait := time.Second; ; wait *= 2 {
		_, err := c.commands.BeginCreateOrUpdate(ctx, r.Group, r.VM, r.Name, body, nil)
		// Another operation on the machine, such as the end of an earlier run command, passes.
		if err == nil || !passing(err) || wait > 32*time.Second {
			return wrap(err, "run command %s on VM %s", r.Name, r.VM)
		}
		if err := c.o.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func inputs(m map[string]string) (out []*armcompute.RunCommandInputParameter) {
	for name, value := range m {
		out = append(out, &armcompute.RunCommandInputParameter{Name: &name, Value: &value})
	}
	return out
}

// GetRunCommand looks a run command up, with its instance view.
func (c *Client) GetRunCommand(ctx context.Context, group, vm, name string) (RunCommandState, error) {
	view := "instanceView"
	r, err := c.commands.GetByVirtualMachine(ctx, group, vm, name, &armcompute.VirtualMachineRunCommandsClientGetByVirtualMachineOptions{Expand: &view})
	if err != nil {
		return RunCommandState{}, wrap(err, "look up run command %s of VM %s", name, vm)
	}
	var s RunCommandState
	if r.Properties == nil {
		return s, nil
	}
	s.Provisioning = val(r.Properties.ProvisioningState)
	if v := r.Properties.InstanceView; v != nil {
		s.Execution, s.ExitCode, s.Output, s.Error = string(val(v.ExecutionState)), int(val(v.ExitCode)), val(v.Output), val(v.Error)
		s.Message, s.Start, s.End = val(v.ExecutionMessage), val(v.StartTime), val(v.EndTime)
	}
	return s, nil
}

// DeleteRunCommand ends a run command that still runs, and deletes it; one that is not there is deleted.
func (c *Client) DeleteRunCommand(ctx context.Context, group, vm, name string, op Op) error {
	_, err := long[armcompute.VirtualMachineRunCommandsClientDeleteResponse]{
		what: "delete run command " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.VirtualMachineRunCommandsClientDeleteResponse], error) {
			return c.commands.BeginDelete(ctx, group, vm, name, &armcompute.VirtualMachineRunCommandsClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// BeginDeleteRunCommand is DeleteRunCommand without waiting for its end.
func (c *Client) BeginDeleteRunCommand(ctx context.Context, group, vm, name string) error {
	_, err := c.commands.BeginDelete(ctx, group, vm, name, nil)
	return gone(wrap(err, "delete run command %s", name))
}
