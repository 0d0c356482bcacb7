package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runCommandTemplate is the test's template with communicator runcommand.
func runCommandTemplate(t *testing.T) string {
	t.Helper()
	dir := template(t)
	file := filepath.Join(dir, "build.pkr.hcl")
	text := strings.Replace(strings.Replace(source, `communicator    = "winrm"`, `communicator    = "runcommand"`, 1), "  winrm_use_ssl   = true\n", "", 1)
	if !strings.Contains(text, "runcommand") || strings.Contains(text, "use_ssl") {
		t.Fatal("the template has changed")
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
