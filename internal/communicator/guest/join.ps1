# Makes one file of path.mark-0 and so on; each was checked when it arrived.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'
$path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($a.path)
function Sum($name) {
    $f = New-Object IO.FileStream($name, 'Open', 'Read', 'Read')
    try { [BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($f)).Replace('-', '').ToLowerInvariant() } finally { $f.Dispose() }
}
$parts = @(0..($a.parts - 1) | ForEach-Object { "$path.$($a.mark)-$_" })
$there = @($parts | Where-Object { [IO.File]::Exists($_) })
if ($there.Count -lt $a.parts) {
    # An earlier join may have ended without its answer reaching us.
    $said = '#ingot:missing'
    if ([IO.File]::Exists($path)) { if ((Sum $path) -eq $a.sha256) { $said = '#ingot:ok' } }
    if ($said -eq '#ingot:ok') { $there | ForEach-Object { [IO.File]::Delete($_) } }
    [Console]::Out.WriteLine($said)
    exit 0
}
$new = "$path.part"
$out = New-Object IO.FileStream($new, 'Create', 'Write', 'None')
foreach ($p in $parts) {
    $in = New-Object IO.FileStream($p, 'Open', 'Read', 'Read')
    $in.CopyTo($out, 1048576)
    $in.Dispose()
}
$out.Dispose()
$good = (Sum $new) -eq $a.sha256
if ($good) {
    if ([IO.File]::Exists($path)) { [IO.File]::Delete($path) }
    [IO.File]::Move($new, $path)
} else {
    [IO.File]::Delete($new)
}
$parts | ForEach-Object { [IO.File]::Delete($_) }
if ($good) { [Console]::Out.WriteLine('#ingot:ok') } else { [Console]::Out.WriteLine('#ingot:mismatch') }
exit 0
