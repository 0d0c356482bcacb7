# Appends the base64 lines of standard input to path.part at offset; a complete file is checked and renamed.
begin {
    $ErrorActionPreference = 'Stop'
    $ProgressPreference = 'SilentlyContinue'
    $a = ConvertFrom-Json '{{args}}'
    # Understands ~ and relative paths too, which .NET alone would resolve elsewhere.
    $path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($a.path)
    $part = $path + '.part'
    function Sum($f) {
        $f.Position = 0
        [BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($f)).Replace('-', '').ToLowerInvariant()
    }
    if ($a.stat) {
        $n = 0
        if ([IO.File]::Exists($part)) { $n = (Get-Item -LiteralPath $part -Force).Length }
        elseif ([IO.File]::Exists($path)) {
            $file = [IO.File]::OpenRead($path)
            if ($file.Length -eq $a.size) { if ((Sum $file) -eq $a.sha256) { [Console]::Out.WriteLine('#ingot:whole') } }
        }
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
    $hash = '-'
    if ($n -ge $a.size) { $hash = Sum $file }
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
