$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
foreach ($name in 'setuperr.log', 'setupact.log') {
    $path = "$env:SystemRoot\System32\Sysprep\Panther\$name"
    [Console]::Out.WriteLine("== $path")
    if (Test-Path -LiteralPath $path) {
        $f = New-Object IO.FileStream($path, 'Open', 'Read', 'ReadWrite,Delete')
        [void]$f.Seek([Math]::Max(0, $f.Length - 8192), 'Begin')
        $r = New-Object IO.StreamReader($f)
        [Console]::Out.WriteLine($r.ReadToEnd())
        $r.Dispose()
    }
}
exit 0
