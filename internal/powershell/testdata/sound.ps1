#requires -Version 5.1
using namespace System.Collections.Generic
<#
.SYNOPSIS
Prepares a session host (a "sound" script: most of the language is in it).
#>
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    [Parameter(Mandatory = $true, Position = 0)]
    [ValidateSet('Pooled', 'Personal')]
    [string]$Kind = 'Pooled',

    [Alias('p')]
    [string[]] $Packages = @('FSLogix', "Teams"),
    [hashtable]$Options = @{ Retry = 3; 'Wait' = [timespan]::FromSeconds(10) },
    [switch]$Force
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

enum Step { Download = 1; Install; Verify }

class Package {
    [string]$Name
    hidden [int] $Tries = 0
    static [Package] Parse([string]$text) { return [Package]::new($text.Trim()) }
    Package([string]$name) {
        $this.Name = $name
    }
    [string] ToString() { return "$($this.Name) ($($this.Tries))" }
}

function Write-Log {
    [CmdletBinding()]
    param([Parameter(ValueFromPipeline)][string]$Message, [int]$Level = 0)
    begin { $seen = 0 }
    process {
        $seen++
        Write-Output ('{0:HH:mm:ss} {1}' -f (Get-Date), $Message)
    }
    end { Write-Verbose "wrote $seen lines, $(if ($seen -gt 1) { "more than one" } else { 'one' })" }
}

filter Select-Large($size) { if ($_.Length -gt $size) { $_ } }

$settings = [ordered]@{
    Path    = Join-Path $env:ProgramFiles 'App'
    "Level" = if ($Force) { 1 } else { 0 }
    Nested  = @{ A = 1, 2, 3; B = { param($x) $x * 2 } }
}

$text = @"
Host: $env:COMPUTERNAME at $(Get-Date -Format 'yyyy-MM-dd')
"Quoted" and `$escaped, ${env:ProgramFiles(x86)} { ( [
"@
$raw = @'
Nothing here is $read, "not" even this: ' } )
'@

:outer foreach ($name in $Packages) {
    for ($i = 0; $i -lt $Options.Retry; $i++) {
        try {
            $target = "$($settings.Path)\$name.msi"
            Invoke-WebRequest -Uri "https://example.com/$name.msi?v=1&x=2" -OutFile $target -UseBasicParsing
            $p = Start-Process msiexec.exe -ArgumentList '/i', "`"$target`"", /qn, /norestart `
                -Wait -PassThru
            if ($p.ExitCode -notin 0, 3010) { throw "msiexec ended with $($p.ExitCode)" }
            continue outer
        } catch [System.Net.WebException], [System.IO.IOException] {
            Write-Warning ("try {0}: {1}" -f $i, $_.Exception.Message)
            Start-Sleep -Seconds ([math]::Pow(2, $i))
        } catch {
            Write-Error -ErrorRecord $_ -ErrorAction Continue
        } finally {
            Remove-Item $target -ErrorAction SilentlyContinue
        }
    }
}

switch -Regex ($Kind) {
    '^Pool' { $type = 'BreadthFirst'; break }
    "Personal|Other" { $type = 'Persistent' }
    { $_ -eq $null } { exit 2 }
    default { $type = "" }
}

$keys = @(
    'HKLM:\SOFTWARE\Policies\Microsoft\Windows NT\Terminal Services'
    "HKLM:\SOFTWARE\FSLogix\Profiles"
)
$keys | Where-Object { -not (Test-Path $_) } |
    ForEach-Object {
        New-Item -Path $_ -Force | Out-Null
    }

$splat = @{ Path = $keys[0]; Name = 'fEnableTimeZoneRedirection'; Value = 1 }
New-ItemProperty @splat -PropertyType DWORD -Force > $null
Get-ChildItem C:\Windows\*.log | Select-Large 1MB | Sort-Object -Property @{ Expression = { $_.Length } } -Descending
[void](Get-Service | ? { $_.Status -eq 'Running' -and $_.Name -like "W*" }).Count
$list = [List[string]]::new(); $list.Add("a"); $list.AddRange([string[]]('b', 'c'))
$numbers = 1..10 + 0x1F, 1.5e3, 10KB
$first, $rest = $numbers
$joined = ($numbers | % { "$_" }) -join ', ' -replace '(\d+)', '<$1>'
while ($true) { if (-not $rest) { break }; $rest = $rest[1..($rest.Count - 1)] }
do { $list.RemoveAt(0) } until ($list.Count -eq 0)
& "$env:SystemRoot\System32\sc.exe" config wuauserv start= disabled 2>&1 | Write-Log
cmd.exe /c "echo done" ; $ok = $?
$script:result = [PSCustomObject]@{ Kind = $Kind; Ok = $ok -and $LASTEXITCODE -eq 0 }
trap { Write-Log "failed: $_"; exit 1 }
if (!$ok) { exit $LASTEXITCODE } else { return $script:result }
