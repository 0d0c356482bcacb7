# Runs a command line of cmd.exe; what it prints is this program's own output.
$info = New-Object Diagnostics.ProcessStartInfo
$info.FileName = "$env:SystemRoot\System32\cmd.exe"
$info.Arguments = '/d /s /c "' + (Read-Job) + '"'
$info.UseShellExecute = $false
$p = [Diagnostics.Process]::Start($info)
$p.WaitForExit()
exit $p.ExitCode
