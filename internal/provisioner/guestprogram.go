package provisioner

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// programs are the PowerShell 5.1 programs of provisioners that run in a Windows guest; docs/guest-protocol.md describes them.
//
//go:embed guest/*.ps1
var programs embed.FS

// guestProgram is the text of a guest program with its arguments, which must hold no secret: the first line names both for the simulated
// guest, which executes no PowerShell.
func guestProgram(name string, args any) (string, error) {
	text, err := programs.ReadFile("guest/" + name + ".ps1")
	if err != nil {
		return "", fmt.Errorf("cannot read guest program %s: %w", name, err)
	}
	plain, err := json.Marshal(args)
	if err != nil {
		return "", fmt.Errorf("cannot write the arguments of guest program %s: %w", name, err)
	}
	return "#ingot:" + name + "/1 " + string(plain) + "\n" + strings.Replace(string(text), "{{args}}", singleQuoted(string(plain)), 1), nil
}

// singleQuoted is JSON that may stand between PowerShell's single quotes: those, and the typographic ones (U+2018 to U+201B) that
// PowerShell takes for them, are escaped.
func singleQuoted(s string) string {
	var out strings.Builder
	for _, r := range s {
		if r != '\'' && (r < 0x2018 || r > 0x201b) && r != 0x2028 && r != 0x2029 {
			out.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, u)
		}
	}
	return out.String()
}

// event reads a line that a guest program prints about itself.
func event(name, line string, into any) bool {
	text, ok := strings.CutPrefix(line, "#ingot:"+name+" ")
	return ok && json.Unmarshal([]byte(text), into) == nil
}
