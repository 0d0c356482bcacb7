package explain

const (
	learnCSE = "Microsoft Learn, Custom Script Extension for Windows: https://learn.microsoft.com/azure/virtual-machines/extensions/custom-script-windows"
	learnDSC = "Microsoft Learn, DSC extension: https://learn.microsoft.com/azure/virtual-machines/extensions/dsc-windows"
)

// guest is what VM extensions report: custom script and DSC.
func guest() []Entry {
	return []Entry{
		{ID: "extension-timeout",
			Line:    []string{`vmextensionprovisioningtimeout`, `provisioning of vm extension '?(?P<name>[\w.-]+)'? has timed out`},
			Cause:   "the extension did not report within 90 minutes: its script waits for somebody, or the VM's agent is cut off",
			Fix:     "run the script by hand in the VM and see where it waits; let 168.63.129.16 through",
			Command: "az vm get-instance-view --resource-group <group> --name <vm> --query instanceView.extensions", Source: learnCSE},
		{ID: "extension-failed",
			Line:    []string{`vm has reported a failure when processing extension '(?P<name>[\w.-]+)'`, `vmextensionprovisioningerror`},
			Cause:   "the extension {name} failed in the VM; why is in its log there",
			Fix:     `read C:\WindowsAzure\Logs\Plugins\<publisher>.<type> (Linux: /var/log/azure); ingot explain reads such a log`,
			Command: "az vm get-instance-view --resource-group <group> --name <vm> --query \"instanceView.extensions[].{n:name,s:statuses,t:substatuses}\"", Source: "Microsoft Learn: https://aka.ms/vmextensionwindowstroubleshoot", General: true},
		{ID: "cse-exit",
			Line:    []string{`command execution finished, but failed because it returned a non-zero exit code of: '?"?(?P<code>\d+)`, `enable failed: failed to execute command: command terminated with exit status=(?P<code>\d+)`},
			Cause:   "the script of the custom script extension ended with code {code}, which counts as the extension's own failure",
			Fix:     "read the last 4096 bytes of its output in the instance view; typographical quotes pasted into the command and an AutoRun entry in the registry are frequent causes",
			Command: "az vm get-instance-view --resource-group <group> --name <vm> --query \"instanceView.extensions[].substatuses[].message\"", Source: learnCSE},
		{ID: "cse-download",
			Line:    []string{`failed to download all specified files`, `failed to download files: failed to download`},
			With:    []string{`extension|fileuris|customscript|custom script|enable failed`},
			Cause:   "the extension cannot fetch the script's files: signature expired, container not public, no rights of the VM's identity, or no way out of the subnet",
			Fix:     `use the VM's identity ("managedIdentity": {} in the protected settings, with Storage Blob Data Reader), and open the way to the storage account`,
			Command: `az role assignment create --assignee <principal id of the vm> --role "Storage Blob Data Reader" --scope <id of the storage account>`, Source: learnCSE},
		{ID: "dsc-arguments",
			Line:    []string{`dsc.{0,160}(exit ?code|errorcode|error code|exited with):? ?'?1100\b`},
			Cause:   "the DSC extension was given arguments that the configuration does not take",
			Fix:     "compare configurationFunction and properties with the parameters of the zip's Configuration.ps1; zips change, so pin one",
			Command: "az vm extension show --resource-group <group> --vm-name <vm> --name <extension> --query settings", Source: learnDSC},
		{ID: "dsc-zip",
			Line:    []string{`dsc.{0,160}(exit ?code|errorcode|error code|exited with):? ?'?1004\b`, `dsc.{0,160}(cannot|failed to|could not) (download|extract|unzip).{0,80}\.zip`},
			Cause:   "the DSC extension could not fetch or unpack its zip: wrong address, expired signature, or no way out",
			Fix:     "open the zip's address from the VM's subnet; keep a copy of your own with a checksum",
			Command: "curl -sSIL <address of the zip>", Source: learnDSC},
		{ID: "dsc-wmf",
			Line:    []string{`dsc.{0,160}(exit ?code|errorcode|error code|exited with):? ?'?1002\b`},
			Cause:   "the DSC extension could not install the Windows Management Framework that it needs",
			Fix:     "put PowerShell 5.1 into the image, and let no update be pending",
			Command: "$PSVersionTable.PSVersion", Source: learnDSC},
		{ID: "dsc-install",
			Line:    []string{`dsc.{0,160}(exit ?code|errorcode|error code|exited with):? ?'?52\b`},
			Cause:   "the DSC extension could not be installed; often what is left of an earlier one in the image is in the way",
			Fix:     `delete C:\Packages\Plugins and C:\packages\plugin from the image before sysprep`,
			Command: `Remove-Item -Recurse -Force C:\Packages\Plugins\*`, Source: learnDSC},
		{ID: "dsc-generic",
			Line:    []string{`dsc.{0,160}(exit ?code|errorcode|error code|exited with):? ?'?1000\b`, `the dsc extension (failed|encountered)`, `dsc configuration '(?P<name>\w+)' completed with error`},
			Cause:   "the DSC configuration ran and failed",
			Fix:     `read C:\WindowsAzure\Logs\Plugins\Microsoft.Powershell.DSC and C:\Windows\Temp\ScriptLog.log in the VM`,
			Command: `az vm run-command invoke --resource-group <group> --name <vm> --command-id RunPowerShellScript --scripts "Get-Content C:\Windows\Temp\ScriptLog.log -Tail 60"`, Source: learnDSC, General: true},
	}
}
