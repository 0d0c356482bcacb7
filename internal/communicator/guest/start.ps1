$base = Join-Path $a.dir $a.id
if (-not (Test-Path -LiteralPath "$base.started")) {
    $in = ConvertFrom-Json $lines[0]
    if (-not (Test-Path -LiteralPath $a.dir)) {
        [void][IO.Directory]::CreateDirectory($a.dir)
        # Scripts and variables may hold secrets: SYSTEM and the administrators only.
        & icacls.exe $a.dir /inheritance:r /grant:r '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' | Out-Null
    }
    $system = $in.user -match '^(NT AUTHORITY\\)?SYSTEM$'
    if ($in.user -and -not $system) {
        & icacls.exe $a.dir /grant "$($in.user):(OI)(CI)M" | Out-Null
    }
    $bom = New-Object Text.UTF8Encoding($true)
    $bare = New-Object Text.UTF8Encoding($false)
    $path = $in.path
    if (-not $path) {
        if ($in.shell -eq 'cmd') {
            $path = "$base.bat"
            [IO.File]::WriteAllText($path, $in.text, $bare)
        } else {
            # Windows PowerShell reads a file without a byte order mark in the machine's own code page.
            $path = "$base.ps1"
            [IO.File]::WriteAllText($path, $in.text, $bom)
        }
    }
    $job = @{ env = $in.env; shell = $in.shell; policy = $in.policy; path = $path; mine = (-not $in.path) }
    [IO.File]::WriteAllText("$base.env", (ConvertTo-Json $job -Depth 4), $bare)
    [IO.File]::WriteAllText("$base.run.ps1", $lines[2], $bom)
    # CreateNew fails if another start got here first.
    [IO.File]::Open("$base.started", 'CreateNew').Dispose()
    $arguments = '-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "' + $base + '.run.ps1" "' + $base + '"'
    try {
        if (-not $in.user) {
            # WMI's host starts it, so it is outside the job object that dies with the WinRM shell.
            $made = Invoke-CimMethod -ClassName Win32_Process -MethodName Create -Arguments @{ CommandLine = 'powershell.exe ' + $arguments }
            if ($made.ReturnValue -ne 0) { throw "Win32_Process.Create returned $($made.ReturnValue)" }
        } else {
            $task = 'ingot-' + (Split-Path $a.dir -Leaf) + '-' + $a.id
            [IO.File]::WriteAllText("$base.task", $task, $bare)
            $action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument $arguments
            $settings = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries
            if ($in.secret) {
                [void](Register-ScheduledTask -TaskName $task -Action $action -Settings $settings -User $in.user -Password $in.secret -RunLevel Highest -Force)
            } else {
                $who = New-ScheduledTaskPrincipal -UserId $in.user -LogonType ServiceAccount -RunLevel Highest
                [void](Register-ScheduledTask -TaskName $task -Action $action -Settings $settings -Principal $who -Force)
            }
            Start-ScheduledTask -TaskName $task
        }
    } catch {
        $why = $_.Exception.Message
        Remove-Item -LiteralPath "$base.started", "$base.env" -Force -ErrorAction SilentlyContinue
        [Console]::Error.WriteLine("cannot start the script: $why")
        exit 1
    }
}
