$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'
if (-not (Get-Process sysprep -ErrorAction SilentlyContinue)) {
    # An answer file of an earlier setup would be used again; Image Builder deletes both, too.
    foreach ($x in "$env:SystemRoot\System32\Sysprep\unattend.xml", "$env:SystemRoot\Panther\unattend.xml") {
        if (Test-Path -LiteralPath $x) { Remove-Item -LiteralPath $x -Force }
    }
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
