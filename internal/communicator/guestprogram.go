package communicator

import (
	"embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// programs are the PowerShell 5.1 programs that run in a Windows guest; docs/guest-protocol.md describes them.
//
//go:embed guest/*.ps1
var programs embed.FS

// maxCommandLine keeps below the 8,191 characters of cmd.exe (Microsoft Learn: "Command prompt line string limitation").
const maxCommandLine = 8000

// programText reads a program without its comment lines and indentation.
func programText(name string) (string, error) {
	b, err := programs.ReadFile("guest/" + name + ".ps1")
	if err != nil {
		return "", fmt.Errorf("cannot read guest program %s: %w", name, err)
	}
	var out strings.Builder
	for l := range strings.Lines(string(b)) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			out.WriteString(l + "\n")
		}
	}
	return out.String(), nil
}

// programArgs is args as JSON without single quotes. PowerShell takes the typographic ones (U+2018 to U+201B) for
// quotes, so they are escaped too; the result is safe between single quotes.
func programArgs(args any) (string, error) {
	b, err := json.Marshal(args)
	if err != nil {
		return "", fmt.Errorf("cannot write a guest program's arguments: %w", err)
	}
	var out strings.Builder
	for _, r := range string(b) {
		if r != '\'' && (r < 0x2018 || r > 0x201b) && r != 0x2028 && r != 0x2029 {
			out.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, u)
		}
	}
	return out.String(), nil
}

// programLine is the command line that runs the guest program file as verb.
func programLine(verb, file string, args any) (string, error) {
	text, err := programText(file)
	if err != nil {
		return "", err
	}
	if strings.Contains(text, "{{tail}}") {
		tail, err := programText("tail")
		if err != nil {
			return "", err
		}
		text = strings.Replace(text, "{{tail}}", tail, 1)
	}
	a, err := programArgs(args)
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(args)
	if err != nil {
		return "", fmt.Errorf("cannot write a guest program's arguments: %w", err)
	}
	// Only what stands between quotes is escaped for PowerShell; the first line is a comment, and each escape costs 16 characters.
	text = "#ingot:" + verb + "/1 " + string(plain) + "\n" + strings.Replace(text, "{{args}}", a, 1)
	var raw []byte
	for _, u := range utf16.Encode([]rune(text)) {
		raw = binary.LittleEndian.AppendUint16(raw, u)
	}
	line := "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -EncodedCommand " + base64.StdEncoding.EncodeToString(raw)
	if len(line) > maxCommandLine {
		return "", fmt.Errorf("cannot run guest program %s: its command line has %d characters, more than %d", verb, len(line), maxCommandLine)
	}
	return line, nil
}

// startLines are the lines of standard input that the start program's bootstrap reads after the payload.
func startLines(payload []byte) ([]byte, error) {
	start, err := programText("start")
	if err != nil {
		return nil, err
	}
	tail, err := programText("tail")
	if err != nil {
		return nil, err
	}
	wrapper, err := programText("wrapper")
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, part := range [][]byte{payload, []byte(start + tail), []byte(wrapper)} {
		out = base64.StdEncoding.AppendEncode(out, part)
		out = append(out, "\r\n"...)
	}
	return out, nil
}
