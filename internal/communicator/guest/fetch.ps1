$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'
$path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($a.path)
if (-not [IO.File]::Exists($path)) {
    [Console]::Out.WriteLine('#ingot:missing')
    exit 1
}
$f = New-Object IO.FileStream($path, 'Open', 'Read', 'ReadWrite,Delete')
$sha = [Security.Cryptography.SHA256]::Create()
$hash = [BitConverter]::ToString($sha.ComputeHash($f)).Replace('-', '').ToLowerInvariant()
[void]$f.Seek([long]$a.offset, 'Begin')
$buffer = New-Object byte[] 30000
while (($n = $f.Read($buffer, 0, $buffer.Length)) -gt 0) {
    [Console]::Out.WriteLine([Convert]::ToBase64String($buffer, 0, $n))
}
$f.Dispose()
[Console]::Out.WriteLine("#ingot:end $hash")
exit 0
