# Appends the base64 lines of standard input to path.part at offset; a complete file is checked and renamed.
begin {
    $ErrorActionPreference = 'Stop'
    $ProgressPreference = 'SilentlyContinue'
    $a = ConvertFrom-Json '{{args}}'
    # Understands ~ and relative paths too, which .NET alone would resolve elsewhere.
    $path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($a.path)
    $part = $path + '.part'
    if ($a.stat) {
        $n = 0
        if (Test-Path -LiteralPath $part) { $n = (Get-Item -LiteralPath $part -Force).Length }
        [Console]::Out.WriteLine("#ingot:have $n")
        exit 0
    }
    [void][IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($path))
    $file = New-Object IO.FileStream($part, 'OpenOrCreate', 'ReadWrite', 'Read')
    $file.SetLength([long]$a.offset)
    [void]$file.Seek(0, 'End')
}
process {
    if ($_) {
        $b = [Convert]::FromBase64String($_)
        $file.Write($b, 0, $b.Length)
    }
}
end {
    $n = $file.Length
    $file.Position = 0
    $sha = [Security.Cryptography.SHA256]::Create()
    $hash = [BitConverter]::ToString($sha.ComputeHash($file)).Replace('-', '').ToLowerInvariant()
    $file.Dispose()
    if ($n -ge $a.size) {
        if ($hash -ne $a.sha256) {
            [IO.File]::Delete($part)
            [Console]::Out.WriteLine('#ingot:mismatch')
            exit 1
        }
        if ([IO.File]::Exists($path)) { [IO.File]::Delete($path) }
        [IO.File]::Move($part, $path)
    }
    [Console]::Out.WriteLine("#ingot:received $n $hash")
    exit 0
}
