package sim

import "strings"

// handler is a kind of extension that is known: who publishes it, for which system, and what it does to the machine.
type handler struct {
	publisher, typ string
	windows        bool
	version        string // that the agent reports
	message        string // of its status
	// effect changes the model of the machine; a complaint fails the extension. nil: it installs an agent of which nothing else here knows.
	effect func(w *Azure, vm *resource, settings, protected map[string]any) (complaint string)
	// restarts tells whether it restarts Windows when it is done.
	restarts func(settings map[string]any) bool
	// inside says that it would change what only the guest knows: where there is one, it is refused rather than pretended.
	inside bool
	again  bool // may be there more than once
}

// handlers are the known ones. Publishers, types, settings: reference avd-rollout.md 2.3, learn.microsoft.com/azure/virtual-machines/extensions;
// versions and messages of VMAccessForLinux and AzureDiskEncryption are recorded.
func handlers() []handler {
	const enabled = "Enable succeeded."
	return []handler{
		{publisher: "Microsoft.Compute", typ: "CustomScriptExtension", windows: true, version: "1.10.18", message: "Finished executing command"},
		{publisher: "Microsoft.Azure.OpenSSH", typ: "WindowsOpenSSH", windows: true, version: "3.0.0.4", message: "Finished executing command"},
		{publisher: "Microsoft.Compute", typ: "JsonADDomainExtension", windows: true, version: "1.3.21", message: "Join completed for Domain", effect: joinDomain,
			restarts: func(s map[string]any) bool {
				return strings.EqualFold(textOf(s["Restart"]), "true") || truth(s, "Restart")
			}},
		{publisher: "Microsoft.Azure.ActiveDirectory", typ: "AADLoginForWindows", windows: true, version: "2.2.0.0", message: "Successfully joined", effect: joinEntra},
		{publisher: "Microsoft.Powershell", typ: "DSC", windows: true, version: "2.83.5.0", message: "DSC configuration was applied successfully.", effect: addSessionHost},
		{publisher: "Microsoft.Azure.Security.WindowsAttestation", typ: "GuestAttestation", windows: true, version: "1.0.2.1096", message: enabled},
		{publisher: "Microsoft.Azure.Security.WindowsCodeIntegrity", typ: "CodeIntegrityAgent", windows: true, version: "1.0.0.6", message: enabled},
		{publisher: "Microsoft.Azure.Monitor", typ: "AzureMonitorWindowsAgent", windows: true, version: "1.30.0.0", message: enabled},
		{publisher: "Microsoft.EnterpriseCloud.Monitoring", typ: "MicrosoftMonitoringAgent", windows: true, version: "1.0.18076.0", message: enabled},
		{publisher: "Microsoft.Azure.Security", typ: "IaaSAntimalware", windows: true, version: "1.3.0.0", message: enabled},
		{publisher: "Microsoft.HpcCompute", typ: "NvidiaGpuDriverWindows", windows: true, version: "1.10.0.0", message: enabled},
		{publisher: "Microsoft.HpcCompute", typ: "AmdGpuDriverWindows", windows: true, version: "1.1.4.0", message: enabled},
		{publisher: "Microsoft.Compute", typ: "BGInfo", windows: true, version: "2.2.5", message: enabled},
		{publisher: "Microsoft.Azure.Monitoring.DependencyAgent", typ: "DependencyAgentWindows", windows: true, version: "9.10.18.4770", message: enabled},
		{publisher: "Microsoft.Azure.NetworkWatcher", typ: "NetworkWatcherAgentWindows", windows: true, version: "1.4.3320.1", message: enabled},
		{publisher: "Microsoft.Compute", typ: "VMAccessAgent", windows: true, version: "2.4.11", message: enabled, inside: true},
		{publisher: "Microsoft.Azure.Security", typ: "AzureDiskEncryption", windows: true, version: "2.4.0.23", message: "[2.4.0.23] ", inside: true, effect: encryptDisks},
		{publisher: "Microsoft.Azure.Security", typ: "AzureDiskEncryptionForLinux", version: "1.4.0.13", message: enabled, inside: true, effect: encryptDisks},
		{publisher: "Microsoft.OSTCExtensions", typ: "VMAccessForLinux", version: "1.5.18", message: enabled, inside: true},
		{publisher: "Microsoft.Azure.Extensions", typ: "CustomScript", version: "2.1.10", message: enabled, inside: true},
		{publisher: "Microsoft.Azure.ActiveDirectory", typ: "AADSSHLoginForLinux", version: "1.0.2785.1", message: enabled, inside: true},
		{publisher: "Microsoft.Azure.Security.LinuxAttestation", typ: "GuestAttestation", version: "1.0.1111.1013", message: enabled, inside: true},
		{publisher: "Microsoft.Azure.Monitor", typ: "AzureMonitorLinuxAgent", version: "1.33.1", message: enabled, inside: true},
		{publisher: "Microsoft.EnterpriseCloud.Monitoring", typ: "OmsAgentForLinux", version: "1.19.0", message: enabled, inside: true},
		{publisher: "Microsoft.Azure.NetworkWatcher", typ: "NetworkWatcherAgentLinux", version: "1.4.3320.1", message: enabled, inside: true},
	}
}

func findHandler(p map[string]any) (handler, bool) {
	for _, h := range handlers() {
		if strings.EqualFold(h.publisher, text(p, "publisher")) && strings.EqualFold(h.typ, text(p, "type")) {
			return h, true
		}
	}
	return handler{}, false
}

// joinDomain is JsonADDomainExtension (github.com/Azure/azure-quickstart-templates, vm-domain-join): every domain of the simulation takes whoever
// has a user and a password.
func joinDomain(_ *Azure, vm *resource, settings, protected map[string]any) string {
	name := text(settings, "Name")
	if name == "" || text(settings, "User") == "" || text(protected, "Password") == "" {
		return "Exception(s) occured while joining Domain '" + name + "'"
	}
	machineOf(vm).domain = name
	return ""
}

// joinEntra is AADLoginForWindows: the machine shows itself with its own identity
// (learn.microsoft.com/entra/identity/devices/howto-vm-sign-in-azure-ad-windows: -2145648574, DSREG_E_MSI_TENANTID_UNAVAILABLE).
func joinEntra(_ *Azure, vm *resource, _, _ map[string]any) string {
	if !strings.Contains(text(vm.extra, "identity", "type"), "SystemAssigned") {
		return "AAD Join failed with status code: -2145648574."
	}
	machineOf(vm).entra = true
	return ""
}

// addSessionHost is what the DSC extension is used for here: the configuration AddSessionHost of the portal's templates, which installs the agent
// with the token (github.com/Azure/RDS-Templates, ARM-wvd-templates/DSC/Configuration.ps1).
func addSessionHost(w *Azure, vm *resource, settings, protected map[string]any) string {
	token := or(text(protected, "properties", "registrationInfoToken"), text(settings, "properties", "registrationInfoToken"))
	if bad := w.registerHost(vm, token); bad != "" {
		return "DSC Configuration 'AddSessionHost' completed with error(s). Following are the first few: PowerShell DSC resource MSFT_ScriptResource  failed to execute Set-TargetResource functionality with error message: RD Agent failed to register VM: '" +
			or(text(vm.props, "osProfile", "computerName"), vm.name) + "' to HostPool: '" + text(settings, "properties", "hostPoolName") + "'. " + bad
	}
	return ""
}

// encryptDisks notes at the machine what its disks are encrypted with (recorded: osDisk.encryptionSettings, and at the disks of the instance view).
func encryptDisks(_ *Azure, vm *resource, settings, _ map[string]any) string {
	disk := mapping(vm.props, "storageProfile", "osDisk")
	if text(settings, "EncryptionOperation") == "DisableEncryption" {
		delete(disk, "encryptionSettings")
		return ""
	}
	disk["encryptionSettings"] = map[string]any{"enabled": true, "diskEncryptionKey": map[string]any{"sourceVault": map[string]any{"id": text(settings, "KeyVaultResourceId")}}}
	return ""
}

// checkHandler refuses what is not known, what is for another system, and what would have to be pretended.
func checkHandler(h handler, known bool, p map[string]any, vm *resource) *refusal {
	name := text(p, "publisher") + "/" + text(p, "type")
	m := machineOf(vm)
	switch {
	case !known:
		return refuse(501, "SimulatorNotImplemented", "The simulated Azure does not know the extension "+name+".")
	case h.windows != m.content.windows:
		return refuse(409, "OperationNotAllowed", "The extension type '"+name+"' is not supported for the operating system of VM '"+vm.name+"'.")
	case h.inside && (m.guest != nil || m.real != nil):
		return refuse(501, "SimulatorNotImplemented", "The simulated Azure cannot carry out the extension "+name+" on a machine that is there.")
	case h.typ == "DSC":
		if f := text(p, "settings", "configurationFunction"); !strings.HasSuffix(strings.ToLower(f), `\addsessionhost`) {
			return refuse(501, "SimulatorNotImplemented", "The simulated Azure knows of the DSC extension the configuration AddSessionHost, not '"+f+"'.")
		}
	}
	return nil
}

// extensionsOf are a machine's extensions, as its document and its instance view list them.
func (w *Azure) extensionsOf(vm *resource) []*resource { return children(w, vm.id, extensionType) }
