# Leaves a file in the storage account.
$path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($a.path)
if (-not [IO.File]::Exists($path)) {
    [Console]::Out.WriteLine('#ingot:missing')
    exit 1
}
for ($try = 1; $true; $try++) {
    $file = New-Object IO.FileStream($path, 'Open', 'Read', 'ReadWrite,Delete')
    try {
        $sha = [Security.Cryptography.SHA256]::Create()
        $hash = [BitConverter]::ToString($sha.ComputeHash($file)).Replace('-', '').ToLowerInvariant()
        $n = $file.Length
        $file.Position = 0
        $web = [Net.HttpWebRequest]::Create($job.url)
        $web.Method = 'PUT'
        $web.Timeout = 3600000
        $web.AllowWriteStreamBuffering = $false
        $web.ContentLength = $n
        $web.Headers.Add('x-ms-blob-type', 'BlockBlob')
        $to = $web.GetRequestStream()
        $file.CopyTo($to)
        $to.Dispose()
        $web.GetResponse().Close()
        break
    } catch {
        if ($try -ge 5) { throw }
        Start-Sleep -Seconds (2 * $try)
    } finally { $file.Dispose() }
}
[Console]::Out.WriteLine("#ingot:sent $n $hash")
exit 0
