# Runs one script, detached: its lines go to base.log, its exit code to base.exit.
param([string]$base)
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$utf8 = New-Object Text.UTF8Encoding($false)
$me = Get-Process -Id $PID
[IO.File]::WriteAllText("$base.pid", "$PID $($me.StartTime.ToFileTimeUtc())")
$stream = New-Object IO.FileStream("$base.log", 'Append', 'Write', 'ReadWrite')
$log = New-Object IO.StreamWriter($stream, $utf8)
$log.NewLine = "`r`n"
$log.AutoFlush = $true
function Add-Line($number, $text) {
    # The follower reads whole lines into a buffer of 1 MiB.
    while ($text.Length -gt 100000) {
        $log.WriteLine("$number " + $text.Substring(0, 100000))
        $text = $text.Substring(100000)
    }
    $log.WriteLine("$number $text")
}
$code = 1
try {
    $job = ConvertFrom-Json ([IO.File]::ReadAllText("$base.env"))
    [IO.File]::Delete("$base.env")
    # The child shares this console and so writes UTF-8; without a console there is nothing to set.
    try { [Console]::OutputEncoding = $utf8 } catch { }
    $info = New-Object Diagnostics.ProcessStartInfo
    if ($job.shell -eq 'cmd') {
        $info.FileName = 'cmd.exe'
        $info.Arguments = '/d /s /c ""' + $job.path + '""'
    } else {
        $policy = ''
        if (-not $job.policy) { $policy = ' -ExecutionPolicy Bypass' }
        elseif ($job.policy -ne 'none') { $policy = ' -ExecutionPolicy ' + $job.policy }
        $info.FileName = 'powershell.exe'
        if ($job.shell -eq 'pwsh') {
            # Windows started before PowerShell 7 was put in: its own PATH may not know it yet.
            $info.FileName = 'pwsh.exe'
            $seven = "$env:ProgramFiles\PowerShell\7\pwsh.exe"
            if (Test-Path -LiteralPath $seven) { $info.FileName = $seven }
        }
        $info.Arguments = '-NoProfile -NonInteractive' + $policy + ' -File "' + $job.path + '"'
    }
    $info.UseShellExecute = $false
    $info.RedirectStandardInput = $true
    $info.RedirectStandardOutput = $true
    $info.RedirectStandardError = $true
    $info.StandardOutputEncoding = $utf8
    $info.StandardErrorEncoding = $utf8
    if ($job.env) {
        foreach ($v in $job.env.PSObject.Properties) { $info.EnvironmentVariables[$v.Name] = [string]$v.Value }
    }
    $p = [Diagnostics.Process]::Start($info)
    $p.StandardInput.Close()
    $o = $p.StandardOutput.ReadLineAsync()
    $e = $p.StandardError.ReadLineAsync()
    $quiet = [Diagnostics.Stopwatch]::StartNew()
    while ($o -or $e) {
        $tasks = [Threading.Tasks.Task[]]@(@($o, $e) | Where-Object { $_ })
        if ([Threading.Tasks.Task]::WaitAny($tasks, 500) -ge 0) { $quiet.Restart() }
        # A program left in the background keeps the pipes open: it must not keep the build waiting.
        elseif ($p.HasExited -and $quiet.Elapsed.TotalSeconds -gt 5) { break }
        if ($o -and $o.IsCompleted) {
            if ($null -eq $o.Result) { $o = $null } else { Add-Line 1 $o.Result; $o = $p.StandardOutput.ReadLineAsync() }
        }
        if ($e -and $e.IsCompleted) {
            if ($null -eq $e.Result) { $e = $null } else { Add-Line 2 $e.Result; $e = $p.StandardError.ReadLineAsync() }
        }
    }
    $p.WaitForExit(2147483647) | Out-Null
    $code = $p.ExitCode
    if ($job.mine) { Remove-Item -LiteralPath $job.path -Force -ErrorAction SilentlyContinue }
} catch {
    Add-Line 2 $_.Exception.Message
} finally {
    $log.Dispose()
    # Renamed when written, so that a follower never reads half of it.
    [IO.File]::WriteAllText("$base.exit.new", [string]$code)
    [IO.File]::Move("$base.exit.new", "$base.exit")
}
