# Unpacks the zip path below to, over what is there, and deletes it.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'
if (-not [IO.File]::Exists($a.path)) {
    [Console]::Out.WriteLine('#ingot:missing')
    exit 0
}
Add-Type -AssemblyName System.IO.Compression, System.IO.Compression.FileSystem
$to = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($a.to)
$zip = [IO.Compression.ZipFile]::OpenRead($a.path)
try {
    foreach ($e in $zip.Entries) {
        $p = [IO.Path]::Combine($to, $e.FullName.Replace('/', '\'))
        try {
            if ($e.FullName.EndsWith('/')) {
                [void][IO.Directory]::CreateDirectory($p)
            } else {
                [void][IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($p))
                [IO.Compression.ZipFileExtensions]::ExtractToFile($e, $p, $true)
            }
        } catch {
            [Console]::Error.WriteLine("cannot write ${p}: $($_.Exception.GetBaseException().Message)")
            exit 1
        }
    }
    $n = $zip.Entries.Count
} finally {
    $zip.Dispose()
}
[IO.File]::Delete($a.path)
[Console]::Out.WriteLine("#ingot:unpacked $n")
exit 0
