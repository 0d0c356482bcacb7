package communicator

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"
)

// AskTerminal asks the person at this process's terminal, whatever its standard streams are; without echo what is typed does not show. It
// fails where there is no terminal, as in a pipeline.
func AskTerminal(prompt string, echo bool) (string, error) {
	in, out := "/dev/tty", "/dev/tty"
	if runtime.GOOS == "windows" {
		in, out = "CONIN$", "CONOUT$"
	}
	r, err := os.OpenFile(in, os.O_RDWR, 0)
	if err != nil {
		return "", errors.New("there is no terminal to ask at")
	}
	defer r.Close() //nolint:errcheck // only read
	w, err := os.OpenFile(out, os.O_WRONLY, 0)
	if err != nil {
		return "", errors.New("there is no terminal to ask at")
	}
	defer w.Close() //nolint:errcheck // what was written has been read
	fmt.Fprintf(w, "\n%s ", strings.TrimSpace(prompt))
	if echo {
		line, err := bufio.NewReader(r).ReadString('\n')
		return strings.TrimRight(line, "\r\n"), err
	}
	b, err := term.ReadPassword(int(r.Fd()))
	fmt.Fprintln(w)
	return string(b), err
}
