$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$os = Get-CimInstance Win32_OperatingSystem
$state = (Get-ItemProperty 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State' -ErrorAction SilentlyContinue).ImageState
$cbs = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\'
$wu = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired'
$pending = (Test-Path ($cbs + 'RebootPending')) -or (Test-Path ($cbs + 'RebootInProgress')) -or (Test-Path $wu)
$facts = @{
    computer = $env:COMPUTERNAME
    os = "$($os.Caption) $($os.Version)"
    boot = $os.LastBootUpTime.ToUniversalTime().ToString('o')
    imageState = "$state"
    sysprep = [bool](Get-Process sysprep -ErrorAction SilentlyContinue)
    pendingReboot = [bool]$pending
}
[Console]::Out.WriteLine('#ingot:facts ' + (ConvertTo-Json $facts -Compress))
exit 0
