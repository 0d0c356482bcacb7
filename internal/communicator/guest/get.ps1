# Fetches a file that was left in the storage account; a complete one is checked and renamed.
$path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($a.path)
$part = $path + '.part'
[void][IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($path))
Read-Job $part
$file = New-Object IO.FileStream($part, 'Open', 'Read', 'Read')
$sha = [Security.Cryptography.SHA256]::Create()
$hash = [BitConverter]::ToString($sha.ComputeHash($file)).Replace('-', '').ToLowerInvariant()
$n = $file.Length
$file.Dispose()
if ($hash -ne $a.sha256) {
    [IO.File]::Delete($part)
    [Console]::Out.WriteLine('#ingot:mismatch')
    exit 1
}
if ([IO.File]::Exists($path)) { [IO.File]::Delete($path) }
[IO.File]::Move($part, $path)
[Console]::Out.WriteLine("#ingot:received $n $hash")
exit 0
