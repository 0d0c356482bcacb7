# Of programs that a run command carries: what is secret comes as an address and a key in the protected parameter.
param([string]$ingot)
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$a = ConvertFrom-Json '{{args}}'
$text = $ingot.Replace('-', '+').Replace('_', '/')
$text += '=' * ((4 - $text.Length % 4) % 4)
$job = ConvertFrom-Json ([Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($text)))
# TLS 1.2, which Windows PowerShell does not offer by itself on older systems.
[Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor 3072
function Read-Job([string]$to) {
    for ($try = 1; $true; $try++) {
        try {
            $web = [Net.HttpWebRequest]::Create($job.url)
            $web.Timeout = 60000
            $web.ReadWriteTimeout = 300000
            $answer = $web.GetResponse()
            $from = $answer.GetResponseStream()
            $iv = New-Object byte[] 16
            $n = 0
            while ($n -lt 16) {
                $got = $from.Read($iv, $n, 16 - $n)
                if ($got -eq 0) { throw 'the storage sent too little' }
                $n += $got
            }
            $aes = [Security.Cryptography.Aes]::Create()
            $aes.Key = [Convert]::FromBase64String($job.key)
            $aes.IV = $iv
            $plain = New-Object Security.Cryptography.CryptoStream($from, $aes.CreateDecryptor(), 'Read')
            if ($to) { $out = New-Object IO.FileStream($to, 'Create', 'ReadWrite', 'Read') } else { $out = New-Object IO.MemoryStream }
            try {
                $plain.CopyTo($out)
                if (-not $to) { return [Text.Encoding]::UTF8.GetString($out.ToArray()) }
            } finally { $out.Dispose() }
            return
        } catch {
            if ($try -ge 5) { throw }
            Start-Sleep -Seconds (2 * $try)
        } finally {
            if ($answer) { $answer.Close() }
        }
    }
}
