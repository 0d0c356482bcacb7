package guest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"html"
	"strconv"
	"strings"
	"time"
)

const (
	nsSOAP  = "http://www.w3.org/2003/05/soap-envelope"
	nsShell = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
	nsXfer  = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
)

// envelope is what a client sends, as far as MS-WSMV needs it. Elements are matched by local name; the action tells
// which of the bodies is meant.
type envelope struct {
	XMLName xml.Name
	Header  struct {
		Action           string
		MessageID        string
		ResourceURI      string
		OperationTimeout string
		MaxEnvelopeSize  string
		Options          []named `xml:"OptionSet>Option"`
		Selectors        []named `xml:"SelectorSet>Selector"`
	}
	Body struct {
		Identify *struct{}
		Shell    *struct {
			WorkingDirectory string
			IdleTimeOut      string
			Variables        []named `xml:"Environment>Variable"`
		}
		CommandLine *struct {
			Command   string
			Arguments []string
		}
		Send *struct {
			Streams []struct {
				Name      string `xml:",attr"`
				CommandID string `xml:"CommandId,attr"`
				End       string `xml:",attr"`
				Data      string `xml:",chardata"`
			} `xml:"Stream"`
		}
		Receive *struct {
			Desired struct {
				CommandID string `xml:"CommandId,attr"`
			} `xml:"DesiredStream"`
		}
		Signal *struct {
			CommandID string `xml:"CommandId,attr"`
			Code      string
		}
	}
}

type named struct {
	Name  string `xml:",attr"`
	Value string `xml:",chardata"`
}

func (e *envelope) option(name string) string {
	for _, o := range e.Header.Options {
		if strings.EqualFold(o.Name, name) {
			return strings.TrimSpace(o.Value)
		}
	}
	return ""
}

func (e *envelope) shellID() string {
	for _, s := range e.Header.Selectors {
		if strings.EqualFold(s.Name, "ShellId") {
			return strings.TrimSpace(s.Value)
		}
	}
	return ""
}

// xsDuration reads the hours, minutes and seconds of an XML Schema duration such as PT60.000S.
func xsDuration(s string, otherwise time.Duration) time.Duration {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "P") {
		return otherwise
	}
	days, clock, _ := strings.Cut(s[1:], "T")
	var total time.Duration
	for _, part := range []struct {
		text  string
		units map[byte]time.Duration
	}{{days, map[byte]time.Duration{'D': 24 * time.Hour}}, {clock, map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second}}} {
		start := 0
		for i := range len(part.text) {
			if u, ok := part.units[part.text[i]]; ok {
				n, err := strconv.ParseFloat(part.text[start:i], 64)
				if err != nil {
					return otherwise
				}
				total += time.Duration(n * float64(u))
				start = i + 1
			}
		}
	}
	return total
}

// fault is a WS-Management fault with the Windows error code clients look at (MS-WSMV 2.2.4.43, winerror.h).
type fault struct {
	sender  bool
	subcode string
	code    uint32
	message string
}

func faultTimedOut() *fault {
	return &fault{false, "w:TimedOut", 2150858793, "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.  "}
}

func faultNoShell() *fault {
	return &fault{true, "w:InvalidSelectors", 2150858843, "The request for the Windows Remote Shell with ShellId failed because the shell was not found on the server. Possible causes are: the specified ShellId is incorrect or the shell no longer exists on the server. Provide the correct ShellId or create a new shell and retry the operation. "}
}

func faultNoCommand() *fault {
	return &fault{true, "w:InvalidParameter", 2150858845, "The WS-Management service cannot process the request because the command was not found in the shell. "}
}

func faultQuota(max int) *fault {
	return &fault{true, "w:QuotaLimit", 2150859173, fmt.Sprintf("The WS-Management service cannot process the request. This user is allowed a maximum number of %d concurrent shells, which has been exceeded. Close existing shells or raise the quota for this user. ", max)}
}

func faultEnvelope() *fault {
	return &fault{true, "w:EncodingLimit", 2150858906, "The WS-Management service cannot process the request because the envelope size exceeds MaxEnvelopeSizekb. "}
}

func faultAction() *fault {
	return &fault{true, "a:ActionNotSupported", 2150858752, "The WS-Management service cannot process the request because the action is not supported by the service. "}
}

func faultXML() *fault {
	return &fault{true, "w:SchemaValidationError", 2150858817, "The WS-Management service cannot process the request. The XML is not valid. "}
}

func (f *fault) body(computer string) string {
	who := "s:Receiver"
	if f.sender {
		who = "s:Sender"
	}
	return fmt.Sprintf(`<s:Fault><s:Code><s:Value>%s</s:Value><s:Subcode><s:Value>%s</s:Value></s:Subcode></s:Code>`+
		`<s:Reason><s:Text xml:lang="en-US">%s</s:Text></s:Reason>`+
		`<s:Detail><f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="%d" Machine="%s"><f:Message>%s</f:Message></f:WSManFault></s:Detail></s:Fault>`,
		who, f.subcode, html.EscapeString(f.message), f.code, html.EscapeString(computer), html.EscapeString(f.message))
}

// reply wraps a body in the envelope of an answer.
func reply(action, relatesTo, body string) string {
	return `<s:Envelope xml:lang="en-US" xmlns:s="` + nsSOAP + `" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"` +
		` xmlns:x="` + nsXfer + `" xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" xmlns:rsp="` + nsShell + `"` +
		` xmlns:p="http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"><s:Header><a:Action>` + action + `</a:Action>` +
		`<a:MessageID>uuid:` + newID() + `</a:MessageID><a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To>` +
		`<a:RelatesTo>` + html.EscapeString(relatesTo) + `</a:RelatesTo></s:Header><s:Body>` + body + `</s:Body></s:Envelope>`
}

func streamXML(name, command string, data []byte, end bool) string {
	attr := ""
	if end {
		attr = ` End="true"`
	}
	return `<rsp:Stream Name="` + name + `" CommandId="` + command + `"` + attr + `>` + base64.StdEncoding.EncodeToString(data) + `</rsp:Stream>`
}

// newID makes a random identifier in the form Windows prints GUIDs (RFC 9562 version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
