# Writes length bytes of a file from offset on as lines of base64; with sum, the SHA-256 of the whole file after them.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'
$path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($a.path)
if (-not [IO.File]::Exists($path)) {
    if ([IO.Directory]::Exists($path)) { [Console]::Out.WriteLine('#ingot:folder') } else { [Console]::Out.WriteLine('#ingot:missing') }
    exit 1
}
$f = New-Object IO.FileStream($path, 'Open', 'Read', 'ReadWrite,Delete')
[Console]::Out.WriteLine("#ingot:size $($f.Length)")
[void]$f.Seek([long]$a.offset, 'Begin')
$left = [long]$a.length
$buffer = New-Object byte[] 30000
while ($left -gt 0) {
    $n = $f.Read($buffer, 0, [int][Math]::Min($left, $buffer.Length))
    if ($n -le 0) { break }
    [Console]::Out.WriteLine([Convert]::ToBase64String($buffer, 0, $n))
    $left -= $n
}
$hash = '-'
if ($a.sum) {
    $f.Position = 0
    $hash = [BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($f)).Replace('-', '').ToLowerInvariant()
}
$f.Dispose()
[Console]::Out.WriteLine("#ingot:end $hash")
exit 0
