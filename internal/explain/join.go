package explain

const (
	learnEntraJoin = "Microsoft Learn, Sign in to a Windows VM with Microsoft Entra ID, troubleshooting: https://learn.microsoft.com/entra/identity/devices/howto-vm-sign-in-azure-ad-windows"
	learnJoin      = "Microsoft Learn, Troubleshoot domain join errors: https://learn.microsoft.com/troubleshoot/windows-server/active-directory/active-directory-domain-join-troubleshooting-guidance"
)

// joinCode matches a Win32 code where a log of the domain join names it: netsetup.log, ADDomainExtension.log, or the extension's message.
// The words around it keep a 5 from being any 5.
func joinCode(codes string) []string {
	return []string{
		`(join|domain|netpdojoin|netpjoin|netsetup|unjoin|joindomain|machine account).{0,200}(error( code)?|errorcode|code|status|return(ed)?( value)?):? ?\(?'?=? ?(` + codes + `)([^\w.]|\.?\s|\.?$)`,
		`(error( code)?|errorcode|status):? ?=? ?\(?(` + codes + `)\)?[^\w.\n].{0,120}(join|domain|netsetup)`,
	}
}

// join is what joining a session host to a domain or to Entra ID says.
func join() []Entry {
	const log = `az vm run-command invoke --resource-group <group> --name <vm> --command-id RunPowerShellScript --scripts "Get-Content C:\Windows\Debug\netsetup.log -Tail 60"`
	return []Entry{
		{ID: "join-done-reported-failed",
			Line:    []string{`join completed for domain '(?P<domain>[\w.-]+)'`},
			With:    []string{`vmextensionprovisioningerror|reported a failure`},
			Cause:   "the machine is joined to {domain}; the extension reports it as a failure all the same",
			Fix:     "check in the VM, and go on if it is joined",
			Command: `az vm run-command invoke --resource-group <group> --name <vm> --command-id RunPowerShellScript --scripts "(Get-CimInstance Win32_ComputerSystem).PartOfDomain"`, Source: "GitHub, hashicorp/terraform-provider-azurerm#391"},
		{ID: "join-failed",
			Line:    []string{`exception\(s\) occ?urr?ed while joining domain '(?P<domain>[\w.*-]+)'`, `join failed for domain`, `exited with exit code: 53, code: 1009`},
			Cause:   "joining the domain failed; the code that says why is only in the VM",
			Fix:     `read C:\WindowsAzure\Logs\Plugins\Microsoft.Compute.JsonADDomainExtension\<version>\ADDomainExtension.log and C:\Windows\Debug\netsetup.log there; ingot explain knows their codes`,
			Command: log, Source: learnJoin + "; GitHub, Azure/avdaccelerator#460", General: true},
		{ID: "join-access-denied",
			Line:    joinCode(`5|0x0*5`),
			Cause:   "access denied: the account may not make the computer in that OU, or may not take over one that another account made (KB5020276)",
			Fix:     "delegate creating and resetting computers on the OU, or delete the stale computer object",
			Command: `dsacls "<OU>" /G "<domain>\<join account>:CC;computer"`, Source: learnJoin},
		{ID: "join-network-path",
			Line:    joinCode(`53|0x0*35|1231|0x0*4cf`),
			Not:     []string{`exit code: 53, code: 1009`},
			Cause:   "no way to a domain controller: the network path was not found",
			Fix:     "open 88, 135, 389, 445, 464 and 49152-65535 from the session hosts' subnet to the domain controllers",
			Command: "Test-NetConnection <domain controller> -Port 389", Source: learnJoin},
		{ID: "join-logon-failure",
			Line:    joinCode(`1326|0x0*52e`),
			Cause:   "the domain refuses the account: wrong password, expired or locked, multi-factor asked for, or the name not in the form user@domain",
			Fix:     "try the account against a domain controller, write it as user@domain, and take multi-factor off it",
			Command: `runas /user:<user>@<domain> cmd`, Source: learnJoin},
		{ID: "join-no-mapping",
			Line:    joinCode(`1332|0x0*534`),
			Cause:   "the domain cannot map the account's name to an account",
			Fix:     "write it as user@domain, with the domain's DNS name",
			Command: `"User": "<user>@<domain>"`, Source: "GitHub, Azure/azure-powershell#3757"},
		{ID: "join-no-domain",
			Line:    joinCode(`1355|0x0*54b`),
			Cause:   "the domain is not found: the virtual network does not ask the domain's DNS servers, or they did not answer in time",
			Fix:     "set the domain controllers as the virtual network's DNS servers, restart the VM, and try again once the name resolves",
			Command: "az network vnet update --resource-group <group> --name <vnet> --dns-servers <dc ip> <dc ip>", Source: "GitHub, mspnp/reference-architectures#75; " + learnJoin},
		{ID: "join-ou",
			Line:    joinCode(`2|0x0*2`),
			Cause:   "the OU was not found: OUPath is misspelt, or names a container (CN=Computers), which is no OU",
			Fix:     "give the distinguished name of an OU, or leave OUPath out for the default container",
			Command: `Get-ADOrganizationalUnit -Filter "Name -eq '<name>'" | Select-Object DistinguishedName`, Source: learnJoin},
		{ID: "join-bad-user-name",
			Line:    joinCode(`2202|0x0*89a`),
			Cause:   `the user's name is not well formed: often domain\\user with the backslash escaped once too often`,
			Fix:     "write user@domain",
			Command: `"User": "<user>@<domain>"`, Source: learnJoin},
		{ID: "join-account-exists",
			Line:    joinCode(`2224|0x0*8b0`),
			Cause:   "a computer of that name is in the domain, and the account may not reset it",
			Fix:     "delete the stale computer object, or give hosts new names",
			Command: "Remove-ADComputer -Identity <name>", Source: learnJoin},
		{ID: "join-reuse-blocked",
			Line:    append(joinCode(`2732|0x0*aac`), `netsetup_?.{0,80}account re-?use.{0,80}blocked`, `an account with the same name exists in active directory\. re-using the account was blocked`),
			Cause:   "the domain lets nobody but its creator use an existing computer account again (KB5020276)",
			Fix:     "join with the account that made the computer, delete the computer object first, or list the account in the policy for re-use",
			Command: "Remove-ADComputer -Identity <name>", Source: "Microsoft Support, KB5020276: https://support.microsoft.com/kb/5020276"},
		{ID: "join-quota",
			Line:    append(joinCode(`8557|0x0*216d`), `exceeded the maximum number of computer accounts`),
			Cause:   "an ordinary user may join ten machines (ms-DS-MachineAccountQuota), and this one has",
			Fix:     "delegate creating computers on the OU to the joining account, which is then not counted",
			Command: `dsacls "<OU>" /G "<domain>\<join account>:CC;computer"`, Source: learnJoin},
		{ID: "entra-join-duplicate",
			Line:    []string{`another object with the same value for property hostnames already exists`},
			Cause:   "Entra ID has a device of this name already, from the host that had it before",
			Fix:     "delete the stale device and join again, or give the host a new name; ingot rolls hosts out with names of their own",
			Command: `Get-MgDevice -Filter "displayName eq '<host>'" | ForEach-Object { Remove-MgDevice -DeviceId $_.Id }`, Source: learnEntraJoin},
		{ID: "entra-join-no-identity",
			Line:    []string{`dsreg_e_msi_tenantid_unavailable`, `-2145648574`, `0x801c0042`, `aadlogin.{0,200}(exit ?code|errorcode|error code)( is)?:? ?'?1007\b`},
			Cause:   "the VM cannot learn its tenant: it has no system-assigned identity, or the instance metadata service (169.254.169.254) is blocked",
			Fix:     "give the VM a system-assigned identity before the extension, and keep proxies away from 169.254.169.254",
			Command: "az vm identity assign --resource-group <group> --name <vm>", Source: learnEntraJoin},
		{ID: "entra-join-discovery",
			Line:    []string{`dsreg_autojoin_disc_failed`, `-2145648607`, `0x801c0021`},
			Cause:   "the device registration service cannot be reached",
			Fix:     "open https to enterpriseregistration.windows.net, login.microsoftonline.com, device.login.microsoftonline.com and pas.windows.net, for the machine's proxy too",
			Command: "curl.exe -sS https://enterpriseregistration.windows.net/ -o NUL -w \"%{http_code}\"", Source: learnEntraJoin},
		{ID: "entra-join-os",
			Line:    []string{`aadlogin.{0,200}(exit ?code|errorcode|error code)( is)?:? ?'?51\b`},
			Cause:   "this version of Windows cannot be joined to Entra ID by the extension",
			Fix:     "take Windows 11, Windows 10 from 1809, or Windows Server 2019 and later",
			Command: "az vm image list --location <region> --publisher MicrosoftWindowsDesktop --offer windows-11 --all --output table", Source: learnEntraJoin},
	}
}
