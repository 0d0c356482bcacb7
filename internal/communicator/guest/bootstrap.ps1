# Too long for a command line: the lines of standard input are the payload, the program (start.ps1) and the wrapper.
begin {
    $ErrorActionPreference = 'Stop'
    $ProgressPreference = 'SilentlyContinue'
    $a = ConvertFrom-Json '{{args}}'
    $lines = @()
}
process {
    if ($_) { $lines += [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($_)) }
}
end {
    & ([ScriptBlock]::Create($lines[1]))
}
