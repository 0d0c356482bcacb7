package provisioner

import (
	"testing"

	"ingot/internal/image"
)

func TestRunsSysprep(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]bool{
		// Packer's documentation, and the templates of its users.
		`& $env:SystemRoot\System32\Sysprep\Sysprep.exe /oobe /generalize /quiet /quit`:                                                                       true,
		`& $env:SystemRoot\\System32\\Sysprep\\Sysprep.exe /generalize /oobe /quit /mode:vm`:                                                                  true,
		`Start-Process -FilePath "C:\Windows\System32\Sysprep\Sysprep.exe" -ArgumentList '/generalize /oobe /quiet /shutdown'`:                                true,
		"$args = @('/oobe', '/generalize', '/quit')\nStart-Process C:\\Windows\\System32\\Sysprep\\sysprep.exe -ArgumentList $args -Wait":                     true,
		`if (Test-Path x) { rm x }; C:\windows\system32\sysprep\sysprep.exe -generalize -oobe -quit`:                                                          true,
		`# & $env:SystemRoot\System32\Sysprep\Sysprep.exe /oobe /generalize /quiet /quit`:                                                                     false,
		"<#\nSysprep.exe /generalize\n#>\nexit 0":                                                                                                             false,
		`Write-Host "then sysprep.exe /generalize runs"`:                                                                                                      false,
		`& C:\Windows\System32\Sysprep\Sysprep.exe /audit /reboot`:                                                                                            false,
		`(Get-Content C:\DeprovisioningScript.ps1 -Raw) -replace 'Sysprep.exe /oobe /generalize /quiet /quit','Sysprep.exe /oobe /generalize /quit /mode:vm'`: false,
		`Remove-Item C:\Windows\System32\Sysprep\unattend.xml`:                                                                                                false,
	} {
		for name, s := range map[string]Settings{
			"inline":        &PowerShell{Inline: []image.Text{image.Plain(text)}},
			"script":        &PowerShell{Script: write(t, dir+"/a.ps1", text, 0o600)},
			"windows-shell": &WindowsShell{Scripts: []string{write(t, dir+"/b.bat", text, 0o600)}},
		} {
			if got := RunsSysprep(s); got != want {
				t.Errorf("%s of %s: %v", name, text, got)
			}
		}
	}
	if RunsSysprep(&PowerShell{Script: dir + "/none"}) || RunsSysprep(&File{}) {
		t.Error("nothing runs sysprep")
	}
}
