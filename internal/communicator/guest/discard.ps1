$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'
if (Test-Path -LiteralPath $a.dir) {
    foreach ($t in Get-ChildItem -LiteralPath $a.dir -Filter *.task) {
        Unregister-ScheduledTask -TaskName ([IO.File]::ReadAllText($t.FullName)) -Confirm:$false -ErrorAction SilentlyContinue
    }
    Remove-Item -LiteralPath $a.dir -Recurse -Force
}
if (Test-Path -LiteralPath "$($a.dir)-files") { Remove-Item -LiteralPath "$($a.dir)-files" -Recurse -Force }
[Console]::Out.WriteLine('#ingot:ok')
exit 0
