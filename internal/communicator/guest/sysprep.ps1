$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'
if (-not (Get-Process sysprep -ErrorAction SilentlyContinue)) {
    $line = "$env:SystemRoot\System32\Sysprep\sysprep.exe /generalize /oobe /quiet /quit"
    if ($a.modeVM) { $line += ' /mode:vm' }
    # WMI's host starts it, so it outlives the WinRM shell.
    $made = Invoke-CimMethod -ClassName Win32_Process -MethodName Create -Arguments @{ CommandLine = $line }
    if ($made.ReturnValue -ne 0) {
        [Console]::Error.WriteLine("Win32_Process.Create returned $($made.ReturnValue)")
        exit 1
    }
}
[Console]::Out.WriteLine('#ingot:ok')
exit 0
