# Packs a folder, or what a pattern matches, into the zip to. Links to folders are named and left out.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'
$path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($a.path)
if ($a.glob) { $items = @(Get-Item -Path $path -Force) }
elseif ($a.content -and [IO.Directory]::Exists($path)) { $items = @(Get-ChildItem -LiteralPath $path -Force) }
elseif (Test-Path -LiteralPath $path) { $items = @(Get-Item -LiteralPath $path -Force) }
else { $items = @() }
if ($items.Count -eq 0) {
    if (-not [IO.Directory]::Exists($path)) { [Console]::Out.WriteLine('#ingot:missing'); exit 0 }
}
Add-Type -AssemblyName System.IO.Compression
[void][IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($a.to))
$zip = New-Object IO.Compression.ZipArchive((New-Object IO.FileStream($a.to, 'Create')), 'Create')
function Pack($item, $name) {
    if ($item.PSIsContainer) {
        if ($item.Attributes -band [IO.FileAttributes]::ReparsePoint) {
            [Console]::Out.WriteLine("#ingot:skipped $($item.FullName)")
            return
        }
        [void]$zip.CreateEntry("$name/")
        foreach ($c in Get-ChildItem -LiteralPath $item.FullName -Force) { Pack $c "$name/$($c.Name)" }
        return
    }
    $e = $zip.CreateEntry($name, 'Fastest')
    if ($item.LastWriteTime.Year -ge 1980) { $e.LastWriteTime = $item.LastWriteTime }
    $in = New-Object IO.FileStream($item.FullName, 'Open', 'Read', 'ReadWrite,Delete')
    $out = $e.Open()
    $in.CopyTo($out)
    $out.Dispose()
    $in.Dispose()
}
foreach ($i in $items) { Pack $i $i.Name }
$zip.Dispose()
[Console]::Out.WriteLine("#ingot:packed $($items.Count)")
exit 0
