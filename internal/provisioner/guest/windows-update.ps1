# One round of Windows Update, run detached as SYSTEM: the Windows Update Agent refuses to download and install for a remote
# session (Microsoft Learn: "Using WUA From a Remote Computer"). docs/guest-protocol.md says what it prints and how it ends.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'

function Say($what, $more = @{}) {
    $line = @{ event = $what }
    foreach ($k in $more.Keys) { $line[$k] = $more[$k] }
    [Console]::Out.WriteLine('#ingot:update ' + (ConvertTo-Json $line -Compress))
}

# The COM error is inside of what PowerShell makes of it.
function Get-Code($failure) {
    $e = $failure.Exception
    while ($e.InnerException) { $e = $e.InnerException }
    return '0x{0:X8}' -f $e.HResult
}

function Get-PendingRestart {
    $why = @()
    if ((New-Object -ComObject Microsoft.Update.SystemInfo).RebootRequired) { $why += 'Windows Update' }
    $cbs = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\'
    foreach ($key in 'RebootPending', 'RebootInProgress') {
        if (Test-Path -LiteralPath ($cbs + $key)) { $why += "servicing ($key)" }
    }
    if (@(Get-ChildItem -LiteralPath ($cbs + 'PackagesPending') -ErrorAction SilentlyContinue).Count -gt 0) { $why += 'servicing (PackagesPending)' }
    return ($why -join ', ')
}

function Exit-ForRestart($why) {
    # A restart while the modules installer works can take back what it did: five quiet seconds, ten minutes at most.
    $until = [DateTime]::UtcNow.AddMinutes(10)
    $quiet = 0
    while ($quiet -lt 5 -and [DateTime]::UtcNow -lt $until) {
        if (Get-Process TiWorker -ErrorAction SilentlyContinue) { $quiet = 0 } else { $quiet++ }
        Start-Sleep -Seconds 1
    }
    Say 'restart' @{ why = $why }
    exit 101
}

function New-Collection($update) {
    $one = New-Object -ComObject Microsoft.Update.UpdateColl
    [void]$one.Add($update)
    # The comma keeps PowerShell from unrolling it.
    return , $one
}

$why = Get-PendingRestart
if ($why) { Exit-ForRestart $why }

$filters = @()
foreach ($f in $a.filters) {
    $word, $text = $f -split ':', 2
    try {
        $filters += @{ include = ($word -eq 'include'); test = [ScriptBlock]::Create($text) }
    } catch {
        Say 'error' @{ phase = 'filter'; text = "$f : $($_.Exception.Message)" }
        exit 1
    }
}
function Test-Wanted($update) {
    foreach ($f in $filters) {
        if (Where-Object -InputObject $update -FilterScript $f.test) { return $f.include }
    }
    return $false
}

$session = New-Object -ComObject Microsoft.Update.Session
$session.ClientApplicationID = 'ingot'
$updates = $null
for ($try = 1; $true; $try++) {
    Say 'search' @{ try = $try }
    $code = ''
    try {
        $result = $session.CreateUpdateSearcher().Search($a.criteria)
        # OperationResultCode: 2 succeeded, 3 succeeded with errors (wuapi.h).
        if ($result.ResultCode -eq 2 -or $result.ResultCode -eq 3) {
            $updates = $result.Updates
            break
        }
        $code = '0x00000000'
        if ($result.Warnings.Count -gt 0) { $code = '0x{0:X8}' -f $result.Warnings.Item(0).HResult }
    } catch {
        $code = Get-Code $_
    }
    # WU_E_INVALID_CRITERIA, a disabled service and a denied access do not pass by waiting.
    if ($try -ge 5 -or '0x80240032', '0x80070422', '0x80070005' -contains $code) {
        Say 'error' @{ phase = 'search'; code = $code }
        exit 1
    }
    Start-Sleep -Seconds (10 * $try)
}

$wanted = @()
$seen = @{}
for ($i = 0; $i -lt $updates.Count; $i++) {
    $update = $updates.Item($i)
    if (-not $update.Title) {
        # Windows 11 with the optional update of June 2024 hands out objects without properties (Microsoft Learn: "Windows 11,
        # version 23H2 known issues", "The June 2024 preview update might impact applications using Windows Update APIs").
        Say 'error' @{ phase = 'read'; text = 'Windows Update hands out updates without a title' }
        exit 1
    }
    $kb = ''
    if ($update.KBArticleIDs.Count -gt 0) { $kb = 'KB' + $update.KBArticleIDs.Item(0) }
    $info = @{ id = $update.Identity.UpdateID; kb = $kb; title = [string]$update.Title; bytes = [long]$update.MaxDownloadSize }
    if ($seen.ContainsKey($info.id)) { continue }
    $seen[$info.id] = $true
    try {
        $take = Test-Wanted $update
    } catch {
        Say 'error' @{ phase = 'filter'; text = $_.Exception.Message }
        exit 1
    }
    if (-not $take) {
        Say 'skipped' $info
        continue
    }
    $info.input = [bool]$update.InstallationBehavior.CanRequestUserInput
    Say 'found' $info
    $wanted += , @($update, $info)
}

$tried = 0
$restart = $false
foreach ($pair in $wanted) {
    if ($tried -ge $a.limit) { break }
    $update = $pair[0]
    $info = $pair[1]
    $tried++
    $phase = 'download'
    try {
        if (-not $update.EulaAccepted) { $update.AcceptEula() }
        if (-not $update.IsDownloaded) {
            Say 'downloading' $info
            $downloader = $session.CreateUpdateDownloader()
            $downloader.Priority = 3
            $downloader.Updates = New-Collection $update
            $result = $downloader.Download()
            if ($result.ResultCode -ne 2) {
                $info.code = '0x{0:X8}' -f $result.GetUpdateResult(0).HResult
                $info.phase = $phase
                Say 'failed' $info
                continue
            }
            Say 'downloaded' $info
        }
        $phase = 'install'
        $installer = $session.CreateUpdateInstaller()
        if ($installer.RebootRequiredBeforeInstallation) {
            $restart = $true
            break
        }
        Say 'installing' $info
        $installer.Updates = New-Collection $update
        $result = $installer.Install()
        $one = $result.GetUpdateResult(0)
        if ($result.RebootRequired) { $restart = $true }
        if ($one.ResultCode -ne 2 -and $one.ResultCode -ne 3) {
            $info.code = '0x{0:X8}' -f $one.HResult
            $info.phase = $phase
            Say 'failed' $info
            continue
        }
        $info.restart = [bool]$result.RebootRequired
        Say 'installed' $info
    } catch {
        $info.code = Get-Code $_
        $info.phase = $phase
        Say 'failed' $info
    }
}

$why = Get-PendingRestart
if ($restart -and -not $why) { $why = 'an update' }
if ($why) { Exit-ForRestart $why }
if ($tried -gt 0) { exit 102 }
exit 0
