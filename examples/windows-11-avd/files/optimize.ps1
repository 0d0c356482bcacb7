# What a shared session host does not need.
Write-Host "Disabling scheduled defragmentation"
Get-ScheduledTask -TaskName 'ScheduledDefrag' -ErrorAction SilentlyContinue | Disable-ScheduledTask | Out-Null
Write-Host "Turning off first-run animations"
New-Item -Path 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\System' -Force | Out-Null
New-ItemProperty -Path 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\System' -Name EnableFirstLogonAnimation -Value 0 -PropertyType DWord -Force | Out-Null
