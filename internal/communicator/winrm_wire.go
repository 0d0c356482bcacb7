package communicator

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/go-ntlmssp"
	"github.com/google/uuid"
	lib "github.com/masterzen/winrm"
	"github.com/masterzen/winrm/soap"
)

// wire speaks WS-Management with the request builders of masterzen/winrm. Its client is not used: it takes no context for a
// call, hides why a send failed, and opens a shell and a connection for every command.
type wire struct {
	url    string
	http   *http.Client
	c      WinRMConfig
	params *lib.Parameters
	calls  atomic.Int64
}

// receiveTimeout is how long one Receive waits for output in the guest (wsman:OperationTimeout); attempt bounds any call, so
// that a guest that vanished is noticed.
const (
	receiveTimeout = "PT20S"
	attempt        = 150 * time.Second
	// sendBlock keeps a Send's envelope, base64 again inside the SOAP, below Windows' default MaxEnvelopeSizekb of 500.
	sendBlock = 370000
)

var errShellGone = errors.New("the shell is gone")

func newWire(c WinRMConfig) *wire {
	pin := &certificatePin{want: c.Fingerprint, first: c.Pinned}
	t := &http.Transport{DialContext: c.Dial, MaxIdleConnsPerHost: 2, IdleConnTimeout: 10 * time.Minute, TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // no authority signed it: VerifyConnection holds it against the one we made
			MinVersion:         tls.VersionTLS12,
			VerifyConnection: func(s tls.ConnectionState) error {
				return pin.check(s)
			},
		}}
	var rt http.RoundTripper = t
	if c.NTLM {
		rt = ntlmssp.Negotiator{RoundTripper: t}
	}
	return &wire{url: "https://" + c.Address + "/wsman", http: &http.Client{Transport: rt}, c: c, params: lib.NewParameters(receiveTimeout, "en-US", 512000)}
}

// post sends one request and returns the answer's body.
func (w *wire) post(ctx context.Context, m *soap.SoapMessage) ([]byte, error) {
	defer m.Free()
	ctx, stop := limit(ctx, w.c.Clock, attempt)
	defer stop()
	body := m.String()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/soap+xml;charset=UTF-8")
	req.SetBasicAuth(w.c.User, w.c.Password)
	w.calls.Add(1)
	resp, err := w.http.Do(req)
	if err != nil {
		if errors.Is(err, ErrCertificate) {
			return nil, ErrCertificate
		}
		var where *net.OpError
		if errors.As(err, &where) {
			err = where // without the URL, which says nothing new
		}
		return nil, fmt.Errorf("cannot talk to the guest: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("cannot talk to the guest: %w", err)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, ErrAuth
	case resp.StatusCode == http.StatusOK:
		return raw, nil
	}
	return nil, faultOf(resp.StatusCode, raw)
}

// limit bounds ctx by d of the clock's time.
func limit(ctx context.Context, clock Clock, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		if clock.Sleep(ctx, d) == nil {
			cancel(errors.New("the guest does not answer"))
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// fault is an error of WS-Management.
type fault struct {
	status int
	code   string // the WSMan fault code
	text   string
}

func (f *fault) Error() string {
	return fmt.Sprintf("the guest's WinRM service refuses: %s (HTTP %d, code %s)", f.text, f.status, f.code)
}

// Codes of WSMan faults ([MS-WSMV] and winerror.h: ERROR_WSMAN_*).
const (
	codeTimedOut    = "2150858793" // ERROR_WSMAN_OPERATION_TIMEDOUT: no output yet
	codeBadSelector = "2150858843" // ERROR_WSMAN_INVALID_SELECTORS: no such shell
	codeUnexpected  = "2150858844" // ERROR_WSMAN_UNEXPECTED_SELECTORS
)

func faultOf(status int, raw []byte) error {
	f := &fault{status: status}
	walk(raw, func(name string, attr func(string) string, text string) {
		switch name {
		case "WSManFault":
			f.code = attr("Code")
		case "Text", "Message":
			if t := strings.TrimSpace(text); t != "" && f.text == "" {
				f.text = t
			}
		}
	})
	if f.code == codeBadSelector || f.code == codeUnexpected {
		return fmt.Errorf("%w: %w", errShellGone, f)
	}
	return f
}

// walk calls f for every element with its own text. The few values that are wanted of an answer have names of their own.
func walk(raw []byte, f func(name string, attr func(string) string, text string)) {
	d := xml.NewDecoder(bytes.NewReader(raw))
	type open struct {
		start xml.StartElement
		text  strings.Builder
	}
	var stack []*open
	for {
		t, err := d.Token()
		if err != nil {
			return
		}
		switch t := t.(type) {
		case xml.StartElement:
			stack = append(stack, &open{start: t.Copy()})
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text.Write(t)
			}
		case xml.EndElement:
			if len(stack) == 0 {
				return
			}
			e := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			f(e.start.Name.Local, func(name string) string {
				for _, a := range e.start.Attr {
					if a.Name.Local == name {
						return a.Value
					}
				}
				return ""
			}, e.text.String())
		}
	}
}

func (w *wire) createShell(ctx context.Context) (string, error) {
	raw, err := w.post(ctx, lib.NewOpenShellRequest(w.url, w.params))
	if err != nil {
		return "", err
	}
	id := ""
	walk(raw, func(name string, attr func(string) string, text string) {
		if name == "ShellId" || name == "Selector" && attr("Name") == "ShellId" {
			id = text
		}
	})
	if id == "" {
		return "", errors.New("the guest opened no shell")
	}
	return id, nil
}

func (w *wire) deleteShell(ctx context.Context, shell string) error {
	_, err := w.post(ctx, lib.NewDeleteShellRequest(w.url, shell, w.params))
	return err
}

// commandMessage is the library's message with a choice of console mode: a program that reads standard input to its end
// needs a pipe, one that reads none must not wait for its end (MS-WSMV 3.1.4.11, WINRS_CONSOLEMODE_STDIN).
func (w *wire) commandMessage(shell, line string, console bool) *soap.SoapMessage {
	mode := "FALSE"
	if console {
		mode = "TRUE"
	}
	m := soap.NewMessage()
	m.Header().To(w.url).ReplyTo("http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous").
		MaxEnvelopeSize(w.params.EnvelopeSize).Id("uuid:" + strings.ToUpper(uuid.NewString())).Locale(w.params.Locale).Timeout(w.params.Timeout).
		Action("http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Command").
		ResourceURI("http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd").ShellId(shell).
		AddOption(soap.NewHeaderOption("WINRS_CONSOLEMODE_STDIN", mode)).
		AddOption(soap.NewHeaderOption("WINRS_SKIP_CMD_SHELL", "FALSE")).Build()
	body := m.CreateBodyElement("CommandLine", soap.DOM_NS_WIN_SHELL)
	m.CreateElement(body, "Command", soap.DOM_NS_WIN_SHELL).SetContent("<![CDATA[" + strings.ReplaceAll(line, "]]>", "]]]]><![CDATA[>") + "]]>")
	return m
}

func (w *wire) execute(ctx context.Context, shell, line string, console bool) (string, error) {
	raw, err := w.post(ctx, w.commandMessage(shell, line, console))
	if err != nil {
		return "", err
	}
	id := ""
	walk(raw, func(name string, _ func(string) string, text string) {
		if name == "CommandId" {
			id = text
		}
	})
	if id == "" {
		return "", errors.New("the guest started no command")
	}
	return id, nil
}

// converse sends a command its input, receives its output by lines, and frees it.
func (w *wire) converse(ctx context.Context, shell, command string, stdin []byte, out func(stream, line string, size int)) (code int, err error) {
	for sent := false; stdin != nil && !sent; {
		n := min(len(stdin), sendBlock)
		sent = n == len(stdin)
		if _, err := w.post(ctx, lib.NewSendInputRequest(w.url, shell, command, stdin[:n], sent, w.params)); err != nil {
			return 0, err
		}
		stdin = stdin[n:]
	}
	defer func() {
		if err == nil { // after an error the shell is given up as a whole
			_, err = w.post(ctx, lib.NewSignalRequest(w.url, shell, command, w.params))
		}
	}()
	var rest = map[string][]byte{}
	for {
		raw, err := w.post(ctx, lib.NewGetOutputRequest(w.url, shell, command, "stdout stderr", w.params))
		var f *fault
		if errors.As(err, &f) && f.code == codeTimedOut {
			continue
		}
		if err != nil {
			return 0, err
		}
		done := false
		walk(raw, func(name string, attr func(string) string, text string) {
			switch name {
			case "Stream":
				if attr("CommandId") != "" && !strings.EqualFold(attr("CommandId"), command) {
					return
				}
				b, decodeErr := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
				if decodeErr != nil {
					return
				}
				stream := attr("Name")
				rest[stream] = lines(stream, append(rest[stream], b...), out)
			case "CommandState":
				done = strings.HasSuffix(attr("State"), "/Done")
			case "ExitCode":
				code, _ = strconv.Atoi(strings.TrimSpace(text)) //nolint:errcheck // a number by contract
			}
		})
		if done {
			for _, stream := range []string{"stdout", "stderr"} {
				if b := rest[stream]; len(b) > 0 {
					out(stream, string(bytes.TrimRight(b, "\r")), len(b))
				}
			}
			return code, nil
		}
	}
}

// lines hands out whole lines and returns the rest.
func lines(stream string, b []byte, out func(stream, line string, size int)) []byte {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return b
		}
		out(stream, string(bytes.TrimRight(b[:i], "\r")), i+1)
		b = b[i+1:]
	}
}
