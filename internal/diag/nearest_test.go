package diag

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"vm_size", "winrm_use_ssl", "PlatformImage"}
	for word, want := range map[string]string{"vm_sise": "vm_size", "winrm_usessl": "winrm_use_ssl", "platformimage": "PlatformImage", "qqqqqqqq": "", "": ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
