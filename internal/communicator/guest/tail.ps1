# Streams the lines of base.log from $a.offset for $a.slice seconds, or until the script has ended.
$base = Join-Path $a.dir $a.id
$out = [Console]::OpenStandardOutput()
function Say($text) {
    $b = [Text.Encoding]::ASCII.GetBytes($text + "`r`n")
    $out.Write($b, 0, $b.Length)
    $out.Flush()
    if (Test-Path -LiteralPath "$base.task") {
        if ($text -match '^#ingot:(exit|lost)') {
            Unregister-ScheduledTask -TaskName ([IO.File]::ReadAllText("$base.task")) -Confirm:$false -ErrorAction SilentlyContinue
            [IO.File]::Delete("$base.task")
        }
    }
    exit 0
}
function Test-Gone {
    if (-not (Test-Path -LiteralPath "$base.pid")) {
        $age = [DateTime]::UtcNow - [IO.File]::GetLastWriteTimeUtc("$base.started")
        return $age.TotalSeconds -gt 120
    }
    # The start time tells the process from a later one with the same number.
    $id = [IO.File]::ReadAllText("$base.pid").Split(' ')
    if ($id.Length -lt 2) { return $false }
    $q = Get-Process -Id $id[0] -ErrorAction SilentlyContinue
    return (-not $q) -or ($q.StartTime.ToFileTimeUtc() -ne [long]$id[1])
}
if (-not (Test-Path -LiteralPath "$base.started")) { Say '#ingot:none' }
$offset = [long]$a.offset
$watch = [Diagnostics.Stopwatch]::StartNew()
$buffer = New-Object byte[] 1048576
while ($true) {
    # What says "ended" is read before the log, so that no line written in between is missed.
    $ended = Test-Path -LiteralPath "$base.exit"
    $gone = $false
    if (-not $ended) {
        $gone = Test-Gone
        if ($gone) { $ended = Test-Path -LiteralPath "$base.exit" }
    }
    if (Test-Path -LiteralPath "$base.log") {
        $f = New-Object IO.FileStream("$base.log", 'Open', 'Read', 'ReadWrite,Delete')
        [void]$f.Seek($offset, 'Begin')
        while (($n = $f.Read($buffer, 0, $buffer.Length)) -gt 0) {
            $whole = [Array]::LastIndexOf($buffer, [byte]10, $n - 1, $n) + 1
            if ($whole -eq 0) { break }
            $out.Write($buffer, 0, $whole)
            $out.Flush()
            $offset += $whole
            [void]$f.Seek($offset, 'Begin')
        }
        $f.Dispose()
    }
    if ($ended) { Say "#ingot:exit $([IO.File]::ReadAllText("$base.exit").Trim()) $offset" }
    if ($gone) { Say "#ingot:lost $offset" }
    if ($watch.Elapsed.TotalSeconds -ge $a.slice) { Say "#ingot:more $offset" }
    # Most scripts are short: what begins and ends within seconds is seen at once, at no cost worth naming.
    if ($watch.Elapsed.TotalSeconds -lt 5) { Start-Sleep -Milliseconds 50 } else { Start-Sleep -Milliseconds 250 }
}
