# Says what would keep sysprep from generalising. A check that cannot be made is named, never taken for good.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$r = @{ pending = @(); appx = @(); bitlocker = @(); agents = @(); unknown = @(); script = [IO.File]::Exists("$env:SystemDrive\DeprovisioningScript.ps1") }
$windows = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\'
foreach ($k in 'Component Based Servicing\RebootPending', 'Component Based Servicing\RebootInProgress', 'WindowsUpdate\Auto Update\RebootRequired') {
    if (Test-Path -LiteralPath ($windows + $k)) { $r.pending += $k }
}
try {
    $provisioned = @{}
    Get-AppxProvisionedPackage -Online | ForEach-Object { $provisioned[$_.DisplayName] = $true }
    foreach ($p in Get-AppxPackage -AllUsers) {
        # Frameworks and resources go with the packages that use them; what belongs to Windows is no hindrance.
        if ($p.IsFramework -or $p.IsResourcePackage -or $p.NonRemovable -or "$($p.SignatureKind)" -eq 'System' -or $provisioned[$p.Name]) { continue }
        if (@($p.PackageUserInformation | Where-Object { "$($_.InstallState)" -like 'Installed*' }).Count -gt 0) { $r.appx += $p.PackageFullName }
    }
} catch {
    $r.unknown += "appx packages: $($_.Exception.Message)"
}
try {
    # Sysprep asks for a volume that is decrypted, not only for protection that is off. Without BitLocker there is no such class.
    $v = Get-CimInstance -Namespace root\cimv2\Security\MicrosoftVolumeEncryption -ClassName Win32_EncryptableVolume -ErrorAction SilentlyContinue | Where-Object { $_.DriveLetter -eq $env:SystemDrive }
    foreach ($one in $v) {
        if ((Invoke-CimMethod -InputObject $one -MethodName GetConversionStatus).ConversionStatus -ne 0) { $r.bitlocker += $one.DriveLetter }
    }
} catch {
    $r.unknown += "BitLocker: $($_.Exception.Message)"
}
foreach ($name in 'RdAgent', 'WindowsAzureGuestAgent') {
    $s = Get-Service -Name $name -ErrorAction SilentlyContinue
    if (-not $s -or "$($s.StartType)" -eq 'Disabled') { continue }
    try { $s.WaitForStatus('Running', [TimeSpan]::FromMinutes(2)) } catch { $r.agents += $name }
}
[Console]::Out.WriteLine('#ingot:readiness ' + (ConvertTo-Json $r -Compress))
exit 0
