# Applies a Desired State Configuration once; docs/guest-protocol.md says what it prints and how it ends.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'
function Say($what, $more = @{}) {
    $line = @{ event = $what }
    foreach ($k in $more.Keys) { $line[$k] = $more[$k] }
    [Console]::Out.WriteLine('#ingot:dsc ' + (ConvertTo-Json $line -Compress))
}
# Parameters may be secret: they come in the environment, which no command line shows, and leave it at once.
$given = @{}
if ($env:INGOT_DSC) {
    foreach ($p in (ConvertFrom-Json $env:INGOT_DSC).PSObject.Properties) { $given[$p.Name] = $p.Value }
    Remove-Item Env:INGOT_DSC
}
try {
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor 3072
    if ($a.packages) {
        Say 'installing' @{ name = 'PackageManagement' }
        [void](Install-PackageProvider -Name NuGet -MinimumVersion 2.8.5.201 -Force)
    }
    foreach ($m in $a.install) {
        if ($m.version) { $have = Get-Module -ListAvailable -Name $m.name | Where-Object { [string]$_.Version -eq $m.version } }
        else { $have = Get-Module -ListAvailable -Name $m.name }
        if ($have) { continue }
        Say 'installing' $(@{ name = "$($m.name) $($m.version)".Trim() })
        if (-not (Get-PackageProvider -ListAvailable -Name NuGet -ErrorAction SilentlyContinue)) {
            [void](Install-PackageProvider -Name NuGet -MinimumVersion 2.8.5.201 -Force)
        }
        $how = @{ Name = $m.name; Force = $true; AllowClobber = $true; Scope = 'AllUsers' }
        if ($m.version) { $how.RequiredVersion = $m.version }
        Install-Module @how
    }
} catch {
    Say 'failed' @{ phase = 'install'; text = $_.Exception.Message }
    exit 1
}
if ($a.modules) {
    $env:PSModulePath = ($a.modules -join ';') + ';' + $env:PSModulePath
    # What came from another machine may be marked as such.
    foreach ($m in $a.modules) { Get-ChildItem -LiteralPath $m -Recurse -File | Unblock-File }
}
if ($a.working) {
    [void][IO.Directory]::CreateDirectory($a.working)
    Set-Location -LiteralPath $a.working
}

if ($a.mode -eq 'v3') {
    $words = @('config')
    if ($given.Count -gt 0) {
        $file = Join-Path $a.staging 'parameters.json'
        [IO.File]::WriteAllText($file, (ConvertTo-Json @{ parameters = $given } -Depth 20))
        $words += @('--parameters-file', $file)
    }
    $words += @('set', '--file', $a.manifest, '--output-format', 'json')
    # Its traces go to the error stream, which is no failure.
    $ErrorActionPreference = 'Continue'
    try { $text = (& $a.program @words | Out-String) } catch {
        Say 'failed' @{ phase = 'run'; text = $_.Exception.Message }
        exit 1
    } finally { if ($file) { Remove-Item -LiteralPath $file -Force -ErrorAction SilentlyContinue } }
    $code = $LASTEXITCODE
    $answer = $null
    try { $answer = ConvertFrom-Json $text } catch { }
    $restart = $false
    foreach ($r in $answer.results) {
        $changed = @($r.result.changedProperties) -join ', '
        Say 'set' @{ resource = "[$($r.type)]$($r.name)"; text = $changed }
        if ($r.result.afterState._rebootRequested) { $restart = $true }
        foreach ($x in $r.result.afterState._restartRequired) { if ($x.system) { $restart = $true } }
    }
    foreach ($m in $answer.messages) {
        if ($m.level -eq 'error') { Say 'failed' @{ phase = 'set'; resource = "[$($m.type)]$($m.name)"; text = $m.message } }
    }
    foreach ($x in $answer.metadata.'Microsoft.DSC'.restartRequired) { if ($x.system) { $restart = $true } }
    if ($code -ne 0 -or $answer.hadErrors) { exit 1 }
    if ($restart) { exit 101 }
    exit 0
}

if ($a.mode -eq 'resource') {
    $id = "[$($a.name)]"
    try {
        $which = @{ Name = $a.name }
        if ($a.module) { $which.ModuleName = $a.module }
        if ($a.version) { $which.ModuleName = @{ ModuleName = $a.module; ModuleVersion = $a.version } }
        $found = @{ Name = $a.name }
        if ($a.module) { $found.Module = $a.module }
        $kinds = @{}
        foreach ($r in @(Get-DscResource @found)) { foreach ($p in $r.Properties) { $kinds[$p.Name] = [string]$p.PropertyType } }
        $properties = @{}
        foreach ($k in $given.Keys) {
            $v = $given[$k]
            $kind = $kinds[$k]
            if ($kind -match '\[\]') { $properties[$k] = @($v -split ',' | ForEach-Object { $_.Trim() }) }
            elseif ($kind -match '^\[bool') { $properties[$k] = [bool]::Parse($v) }
            elseif ($kind -match '^\[u?int(16|32|64)') { $properties[$k] = [long]$v }
            else { $properties[$k] = $v }
        }
        $result = Invoke-DscResource @which -Method Test -Property $properties
        if ($result.InDesiredState -eq $true) {
            Say 'set' @{ resource = $id; text = 'was so already' }
            exit 0
        }
        $result = Invoke-DscResource @which -Method Set -Property $properties
        Say 'set' @{ resource = $id }
        if ($result.RebootRequired) { exit 101 }
        exit 0
    } catch {
        Say 'failed' @{ phase = 'set'; resource = $id; text = $_.Exception.Message }
        exit 1
    }
}

$path = $a.mof
if ($a.mode -eq 'configuration' -and -not $a.again) {
    $path = Join-Path $a.staging 'compiled'
    try {
        . $a.manifest
        if ($a.data) { $given.ConfigurationData = $a.data }
        foreach ($k in @($given.Keys)) { if ($given[$k] -eq '') { $given[$k] = $true } }
        & $a.name -OutputPath $path @given | Out-Null
    } catch {
        Say 'failed' @{ phase = 'compile'; text = "$($_.Exception.Message) $($_.InvocationInfo.PositionMessage)" }
        exit 1
    }
}
$failed = @()
try {
    if ($a.again) {
        # After a restart the manager goes on with what it has kept.
        Start-DscConfiguration -UseExisting -Wait -Force -Verbose -ErrorAction Continue -ErrorVariable failed 4>&1 | ForEach-Object { [Console]::Out.WriteLine([string]$_) }
    } else {
        if (Get-ChildItem -LiteralPath $path -Filter *.meta.mof) { Set-DscLocalConfigurationManager -Path $path -Force }
        Start-DscConfiguration -Path $path -Wait -Force -Verbose -ErrorAction Continue -ErrorVariable failed 4>&1 | ForEach-Object { [Console]::Out.WriteLine([string]$_) }
    }
} catch {
    $failed += $_
}
$status = Get-DscConfigurationStatus -ErrorAction SilentlyContinue
foreach ($r in $status.ResourcesInDesiredState) { Say 'set' @{ resource = [string]$r.ResourceId; seconds = [double]$r.DurationInSeconds } }
$named = $false
foreach ($r in $status.ResourcesNotInDesiredState) {
    if ($r.Error) {
        Say 'failed' @{ phase = 'set'; resource = [string]$r.ResourceId; text = [string]$r.Error }
        $named = $true
    }
}
if ($failed.Count -gt 0 -or $status.Status -eq 'Failure') {
    if (-not $named) { Say 'failed' @{ phase = 'set'; text = (@($failed | ForEach-Object { $_.Exception.Message }) -join '; ') } }
    exit 1
}
if ($status.RebootRequested -or (Get-DscLocalConfigurationManager).LCMState -eq 'PendingReboot') { exit 101 }
exit 0
