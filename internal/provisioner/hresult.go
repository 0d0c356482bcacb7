package provisioner

import "strings"

// updateCode is what a code of the Windows Update Agent means and what helps.
type updateCode struct{ name, meaning, remedy string }

// The remedies that several codes share.
const (
	repairStore  = `repair the component store in a powershell provisioner before this one: DISM /Online /Cleanup-Image /RestoreHealth; C:\Windows\Logs\CBS\CBS.log has the cause`
	openNetwork  = "let the machine reach Windows Update (*.windowsupdate.com, *.update.microsoft.com, *.delivery.mp.microsoft.com), or set the proxy with netsh winhttp set proxy before this step"
	policyFirst  = `remove the policy (HKLM\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate) before this step`
	restartFirst = "put a windows-restart provisioner before this one"
)

// updateCodeOf explains a code written as 0x80240022. Names and meanings are those of Microsoft Learn, "WUA Success and Error Codes",
// "WUA Networking Error Codes", "Windows Update common errors and mitigation" and "Windows Update error codes by component".
func updateCodeOf(code string) (updateCode, bool) {
	c, ok := map[string]updateCode{
		"0x00240006": {"WU_S_ALREADY_INSTALLED", "the update is installed already", "leave the update out with a filter"},
		"0x8024000B": {"WU_E_CALL_CANCELLED", "the operation was cancelled", "look whether a policy or an agent of the image manages updates itself"},
		"0x8024000E": {"WU_E_XML_INVALID", "the update's data is invalid", "leave the update out with a filter"},
		"0x80240016": {"WU_E_INSTALL_NOT_ALLOWED", "another installation is running, or the machine must be restarted first", restartFirst},
		"0x80240017": {"WU_E_NOT_APPLICABLE", "the update is not for this machine", "leave the update out with a filter"},
		"0x80240020": {"WU_E_NO_INTERACTIVE_USER", "the update wants a user who is signed in", "leave it out: \"exclude:$_.InstallationBehavior.CanRequestUserInput\""},
		"0x80240022": {"WU_E_ALL_UPDATES_FAILED", "the operation failed for every update", `C:\Windows\Logs\CBS\CBS.log and Get-WindowsUpdateLog have the cause; or leave the update out with a filter`},
		"0x80240023": {"WU_E_EULA_NOT_ACCEPTED", "the licence terms were not accepted", "leave the update out with a filter"},
		"0x8024002E": {"WU_E_WU_DISABLED", "the policy DisableWindowsUpdateAccess is set", policyFirst},
		"0x80240034": {"WU_E_DOWNLOAD_FAILED", "the update could not be downloaded", openNetwork},
		"0x8024500C": {"WU_E_REDIRECTOR_CONNECT_POLICY", "a policy blocks connections to Windows Update", policyFirst},
		"0x80240032": {"WU_E_INVALID_CRITERIA", "search_criteria is not understood", `write it as "BrowseOnly=0 and IsInstalled=0"; the words are those of IUpdateSearcher::Search`},
		"0x80240044": {"WU_E_PER_MACHINE_UPDATE_ACCESS_DENIED", "only an administrator may install it", "leave username out: SYSTEM installs"},
		"0x80242014": {"WU_E_UH_POSTREBOOTSTILLPENDING", "what is to be done after the restart is not done yet", restartFirst},
		"0x8024200B": {"WU_E_UH_INSTALLERFAILURE", "the update's installer failed", `C:\Windows\Logs\CBS\CBS.log has the cause; or leave the update out with a filter`},
		"0x8024200D": {"WU_E_UH_NEEDANOTHERDOWNLOAD", "the update must be downloaded again", "raise update_max_retries"},
		"0x80244018": {"WU_E_PT_HTTP_STATUS_FORBIDDEN", "the update server, or a proxy, forbids it (403)", openNetwork},
		"0x8024401B": {"WU_E_PT_HTTP_STATUS_PROXY_AUTH_REQ", "the proxy wants a sign-in (407)", openNetwork},
		"0x8024401C": {"WU_E_PT_HTTP_STATUS_REQUEST_TIMEOUT", "the update server did not answer in time (408)", openNetwork},
		"0x80244022": {"WU_E_PT_HTTP_STATUS_SERVICE_UNAVAIL", "the update service is overloaded (503)", "try again later"},
		"0x8024402C": {"WU_E_PT_WINHTTP_NAME_NOT_RESOLVED", "the name of the proxy or update server is unknown", openNetwork},
		"0x80240438": {"WU_E_PT_ENDPOINT_UNREACHABLE", "the update server cannot be reached", openNetwork},
		"0x80070002": {"ERROR_FILE_NOT_FOUND", "a file of the update is missing", repairStore},
		"0x80070003": {"ERROR_PATH_NOT_FOUND", "a folder of the update is missing", repairStore},
		"0x80070005": {"E_ACCESSDENIED", "the user may not use Windows Update", "leave username out: SYSTEM installs"},
		"0x80070020": {"ERROR_SHARING_VIOLATION", "another program, often a virus scanner, holds a file", "stop that program before this step"},
		"0x80070070": {"ERROR_DISK_FULL", "the disk is full", "raise os_disk_size_gb"},
		"0x80070422": {"ERROR_SERVICE_DISABLED", "the service wuauserv is disabled, as scripts that optimise an image often leave it", "enable it before this step (Set-Service wuauserv -StartupType Manual), and disable it after"},
		"0x80070643": {"ERROR_INSTALL_FAILURE", "the update's installer failed; updates of the recovery environment do so where the recovery partition is too small or missing", "leave the update out with a filter"},
		"0x80070BC9": {"ERROR_FAIL_REBOOT_REQUIRED", "the machine must be restarted to take back what was changed", restartFirst},
		"0x80072EE2": {"WININET_E_TIMEOUT", "the update server did not answer in time", openNetwork},
		"0x80072EE7": {"WININET_E_NAME_NOT_RESOLVED", "the name of the update server is unknown", openNetwork},
		"0x80072EFD": {"WININET_E_CANNOT_CONNECT", "the update server cannot be reached", openNetwork},
		"0x80072EFE": {"WININET_E_CONNECTION_ABORTED", "the connection to the update server was cut", openNetwork},
		"0x80073701": {"ERROR_SXS_ASSEMBLY_MISSING", "a component is missing in the store", repairStore},
		"0x80073712": {"ERROR_SXS_COMPONENT_STORE_CORRUPT", "the component store is damaged", repairStore},
		"0x80200053": {"BG_E_VALIDATION_FAILED", "a firewall changes what is downloaded", openNetwork},
		"0x800F081F": {"CBS_E_SOURCE_MISSING", "the component store lacks the source of a component", repairStore},
		"0x800F0831": {"CBS_E_STORE_CORRUPTION", "the component store is damaged", repairStore},
		"0x800F0922": {"CBS_E_INSTALLERS_FAILED", "an installer of the update failed; too little room in the system reserved partition is a cause", repairStore},
		"0x80D02002": {"DO_E_DOWNLOAD_NO_PROGRESS", "the download made no progress", openNetwork},
	}[normalCode(code)]
	return c, ok
}

// normalCode writes a code as the table does.
func normalCode(code string) string {
	if len(code) < 2 {
		return code
	}
	return "0x" + strings.ToUpper(code[2:])
}

// codeText is a code with its name and meaning, and what helps.
func codeText(code string) (text, remedy string) {
	code = normalCode(code)
	c, ok := updateCodeOf(code)
	if !ok {
		return code, `look the code up in Microsoft Learn, "Windows Update error codes by component"; C:\Windows\Logs\CBS\CBS.log and Get-WindowsUpdateLog have the cause`
	}
	return code + " (" + c.name + "): " + c.meaning, c.remedy
}
