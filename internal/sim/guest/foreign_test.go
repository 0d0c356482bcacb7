package guest

import (
	"encoding/base64"
	"strings"
	"testing"
)

// TestForeignUpload sends a file as winrmcp does: lines of base64 by echo, a script that decodes them, one that cleans up.
func TestForeignUpload(t *testing.T) {
	m := boot(t, nil)
	c := dial(t, m, true, testPassword)
	want := "Write-Host one\r\n" + strings.Repeat("#", 7000)
	for text := want; text != ""; {
		n := min(len(text), 5958)
		if out, errs, code := run(t, c, `echo `+base64.StdEncoding.EncodeToString([]byte(text[:n]))+` >> "%TEMP%\cp.tmp"`, ""); code != 0 || out != "" {
			t.Fatalf("echo ends with %d: %q %q", code, out, errs)
		}
		text = text[n:]
	}
	decode := `
		$tmp_file_path = [System.IO.Path]::GetFullPath("$env:TEMP\cp.tmp")
		$dest_file_path = [System.IO.Path]::GetFullPath("C:/Users/x/script.ps1".Trim("'"))
		if (Test-Path $tmp_file_path) {
			$reader = [System.IO.File]::OpenText($tmp_file_path)
			for(;;) { $bytes = [System.Convert]::FromBase64String($reader.ReadLine()) }
		}`
	if _, errs, code := run(t, c, encoded(decode), ""); code != 0 {
		t.Fatalf("decoding ends with %d: %s", code, errs)
	}
	if got, _ := m.disk.File(`C:\Users\x\script.ps1`); string(got) != want {
		t.Errorf("%d bytes arrive, not %d", len(got), len(want))
	}
	remove := "$ProgressPreference = 'SilentlyContinue';\n$tmp_file_path = [System.IO.Path]::GetFullPath(\"$env:TEMP\\cp.tmp\")\nif (Test-Path $tmp_file_path) {\nRemove-Item $tmp_file_path -ErrorAction SilentlyContinue\n}\n"
	if out, _, code := run(t, c, encoded(remove), ""); code != 0 || out != "" {
		t.Errorf("cleaning up ends with %d: %q", code, out)
	}
	if _, ok := m.disk.File(`C:\Windows\Temp\cp.tmp`); ok {
		t.Error("the temporary file is still there")
	}
	m.disk.write(`C:\Windows\Temp\cp.tmp`, []byte("not base64!\r\n"))
	if _, errs, code := run(t, c, encoded(decode), ""); code == 0 || !strings.Contains(errs, "Base-64") {
		t.Errorf("a damaged upload ends with %d: %s", code, errs)
	}
}

// TestForeignScripts runs scripts in the frames that Packer's provisioners put around them.
func TestForeignScripts(t *testing.T) {
	m := boot(t, nil)
	c := dial(t, m, true, testPassword)
	m.disk.write(`C:\Windows\Temp\vars.ps1`, []byte(`$env:COLOR="green"; $env:PACKER_BUILD_NAME="win"; `))
	m.disk.write(`C:\Windows\Temp\good.ps1`, []byte("$ProgressPreference = 'SilentlyContinue'\n$exitCode = 0\ntry {\nWrite-Host \"the colour is $env:COLOR\"\n$exitCode = 0\n} catch {\nWrite-Error \"An error occurred: $_\"\n$exitCode = 1\n}\n"+
		"if ((Test-Path variable:global:LASTEXITCODE) -and $LASTEXITCODE -ne $null -and $LASTEXITCODE -ne 0) {\n$exitCode = $LASTEXITCODE\n}\nexit $exitCode\n"))
	m.disk.write(`C:\Windows\Temp\bad.ps1`, []byte("Write-Host going wrong\nexit 7\n"))
	quiet := `if (Test-Path variable:global:ProgressPreference){set-variable -name variable:global:ProgressPreference -value 'SilentlyContinue'};`
	task := "$log = [System.Environment]::ExpandEnvironmentVariables(\"%SYSTEMROOT%/Temp/task.out\")\n$s = New-Object -ComObject \"Schedule.Service\"\n$xml = [xml]@'\n" +
		`<?xml version="1.0" encoding="UTF-16"?>` + "\n<Task><Actions Context=\"Author\"><Exec><Command>cmd</Command><Arguments>/c powershell -executionpolicy bypass &#34;&amp; { . c:/Windows/Temp/vars.ps1; &amp;&#39;c:/Windows/Temp/SCRIPT.ps1&#39;; exit $LastExitCode }&#34; &gt; %SYSTEMROOT%/Temp/task.out 2&gt;&amp;1</Arguments></Exec></Actions></Task>\n'@\n" +
		"$f.RegisterTaskDefinition($name, $t, 6, \"SYSTEM\", $password, $logon_type, $null) | Out-Null\nexit $result"
	m.disk.write(`C:\Windows\Temp\task-good.ps1`, []byte(strings.ReplaceAll(task, "SCRIPT", "good")))
	m.disk.write(`C:\Windows\Temp\task-bad.ps1`, []byte(strings.ReplaceAll(task, "SCRIPT", "bad")))
	for _, x := range []struct {
		line, out string
		code      int
	}{
		{encoded(quiet + ` echo "WinRM connected."`), "WinRM connected.", 0},
		{encoded(`echo ("{0} restarted." -f [System.Net.Dns]::GetHostName())`), "pkrvm1 restarted.", 0},
		{`powershell -executionpolicy bypass "& { ` + quiet + `. c:/Windows/Temp/vars.ps1; &'c:/Windows/Temp/good.ps1'; exit $LastExitCode }"`, "the colour is green", 0},
		{`powershell -executionpolicy bypass "& { . c:/Windows/Temp/vars.ps1; &'c:/Windows/Temp/bad.ps1'; exit $LastExitCode }"`, "going wrong", 7},
		{`powershell -executionpolicy bypass -file c:/Windows/Temp/task-good.ps1`, "the colour is green", 0},
		{`powershell -executionpolicy bypass -file c:/Windows/Temp/task-bad.ps1`, "going wrong", 7},
		{`echo heard 2>&1`, "heard", 0},
	} {
		out, errs, code := run(t, c, x.line, "")
		if strings.TrimSpace(out) != x.out || code != x.code {
			t.Errorf("%.90s: %q (%q), exit code %d; want %q and %d", x.line, out, errs, code, x.out, x.code)
		}
	}
	if _, ok := m.disk.File(`C:\Windows\Temp\task.out`); ok {
		t.Error("the task's log is still there")
	}
	if out, _, code := run(t, c, encoded(`if (Test-Path c:/Windows/Temp/bad.ps1) {Remove-Item c:/Windows/Temp/bad.ps1}`), ""); code != 0 || out != "" {
		t.Errorf("removing a script ends with %d: %q", code, out)
	}
	if _, _, code := run(t, c, encoded(`& 'c:/Windows/Temp/bad.ps1'; exit $LastExitCode`), ""); code == 0 {
		t.Error("a script that is not there can be run")
	}
}
