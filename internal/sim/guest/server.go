package guest

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// Windows' defaults: winrm/config MaxEnvelopeSizekb 500, winrm/config/winrs MaxShellsPerUser 30, IdleTimeout 7200000 ms
	// (Microsoft Learn: "Installation and configuration for Windows Remote Management").
	maxEnvelope = 512000
	maxShells   = 30
	idleTimeout = 2 * time.Hour
)

type connKey struct{}

// connState is how far one connection has signed in: NTLM signs in a connection, not a request (MS-NLMP 1.3.1).
type connState struct {
	mu     sync.Mutex
	nonce  []byte
	signed bool
}

func (m *machine) serve(w http.ResponseWriter, r *http.Request) {
	if m.c.Asked != nil {
		m.c.Asked()
	}
	// The whole body is read before any answer: net/http would otherwise close the connection that NTLM depends on.
	body, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	if err != nil {
		return
	}
	w.Header().Set("Server", "Microsoft-HTTPAPI/2.0")
	switch {
	case !strings.EqualFold(strings.TrimSuffix(r.URL.Path, "/"), "/wsman"):
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	// An unauthenticated Identify carries this header (MS-WSMV 3.1.4.1.19).
	anonymous := strings.EqualFold(r.Header.Get("WSMANIDENTIFY"), "unauthenticated")
	if !anonymous && !m.authenticate(w, r) {
		return
	}
	var e envelope
	if err := xml.Unmarshal(body, &e); err != nil || e.XMLName.Space != nsSOAP {
		m.fault(w, "", faultXML())
		return
	}
	if e.Body.Identify != nil {
		m.answer(w, http.StatusOK, `<s:Envelope xml:lang="en-US" xmlns:s="`+nsSOAP+`"><s:Header/><s:Body>`+
			`<wsmid:IdentifyResponse xmlns:wsmid="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd">`+
			`<wsmid:ProtocolVersion>http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd</wsmid:ProtocolVersion>`+
			`<wsmid:ProductVendor>Microsoft Corporation</wsmid:ProductVendor>`+
			`<wsmid:ProductVersion>OS: 0.0.0 SP: 0.0 Stack: 3.0</wsmid:ProductVersion></wsmid:IdentifyResponse></s:Body></s:Envelope>`)
		return
	}
	if anonymous {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if len(body) > maxEnvelope {
		m.fault(w, e.Header.MessageID, faultEnvelope())
		return
	}
	action, answer, f := m.operate(r, &e)
	if r.Context().Err() != nil {
		return
	}
	if f != nil {
		m.fault(w, e.Header.MessageID, f)
		return
	}
	m.answer(w, http.StatusOK, reply(action, e.Header.MessageID, answer))
}

func (m *machine) answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/soap+xml;charset=UTF-8")
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func (m *machine) fault(w http.ResponseWriter, relatesTo string, f *fault) {
	m.answer(w, http.StatusInternalServerError, reply("http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", relatesTo, f.body(m.c.Computer)))
}

// authenticate answers 401 itself when it says false.
func (m *machine) authenticate(w http.ResponseWriter, r *http.Request) bool {
	state := r.Context().Value(connKey{}).(*connState)
	state.mu.Lock()
	defer state.mu.Unlock()
	refuse := func(offers ...string) bool {
		for _, o := range offers {
			w.Header().Add("WWW-Authenticate", o)
		}
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	offers := []string{"Negotiate", `Basic realm="WSMAN"`}
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch strings.ToLower(scheme) {
	case "":
		if state.signed {
			return true
		}
	case "basic":
		user, password, ok := r.BasicAuth()
		user = user[strings.LastIndexByte(user, '\\')+1:]
		if ok && strings.EqualFold(user, m.c.User) && subtle.ConstantTimeCompare([]byte(password), []byte(m.c.Password)) == 1 {
			return true
		}
	case "negotiate", "ntlm":
		state.signed = false
		token, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
		if err != nil {
			break
		}
		msg, wrapped := ntlmMessage(token)
		switch {
		case msg == nil:
		case ntlmType(msg) == 1:
			var challenge []byte
			state.nonce, challenge = ntlmChallenge(m.c.Computer, m.now(), msg)
			if wrapped {
				challenge = spnegoChallenge(challenge)
			}
			return refuse(scheme + " " + base64.StdEncoding.EncodeToString(challenge))
		case ntlmType(msg) == 3 && state.nonce != nil:
			ok, err := ntlmVerify(msg, state.nonce, m.c.User, m.c.Password)
			state.nonce = nil // a challenge serves one answer
			if ok && err == nil {
				state.signed = true
				return true
			}
		}
	}
	return refuse(offers...)
}

// operate does what the envelope asks (MS-WSMV 3.1.4) and returns the answer's action and body.
func (m *machine) operate(r *http.Request, e *envelope) (string, string, *fault) {
	action := strings.TrimSpace(e.Header.Action)
	if action == nsXfer+"/Create" && e.Body.Shell != nil {
		s, f := m.createShell(e)
		if f != nil {
			return "", "", f
		}
		return action + "Response", `<x:ResourceCreated><a:Address>https://` + html.EscapeString(r.Host) + `/wsman</a:Address><a:ReferenceParameters>` +
			`<w:ResourceURI>` + nsShell + `/cmd</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">` + s.id + `</w:Selector></w:SelectorSet>` +
			`</a:ReferenceParameters></x:ResourceCreated><rsp:Shell><rsp:ShellId>` + s.id + `</rsp:ShellId><rsp:ResourceUri>` + nsShell + `/cmd</rsp:ResourceUri>` +
			`<rsp:Owner>` + html.EscapeString(m.c.User) + `</rsp:Owner><rsp:IdleTimeOut>PT7200.000S</rsp:IdleTimeOut>` +
			`<rsp:InputStreams>stdin</rsp:InputStreams><rsp:OutputStreams>stdout stderr</rsp:OutputStreams></rsp:Shell>`, nil
	}
	s := m.shell(e.shellID())
	if s == nil {
		return "", "", faultNoShell()
	}
	s.busy(1)
	defer s.busy(-1)
	body := &e.Body
	switch {
	case action == nsXfer+"/Delete":
		m.deleteShell(s)
		return action + "Response", "", nil
	case action == nsShell+"/Command" && body.CommandLine != nil:
		c := s.start(strings.TrimSpace(strings.Join(append([]string{body.CommandLine.Command}, body.CommandLine.Arguments...), " ")))
		return action + "Response", `<rsp:CommandResponse><rsp:CommandId>` + c.id + `</rsp:CommandId></rsp:CommandResponse>`, nil
	case action == nsShell+"/Send" && body.Send != nil:
		for _, st := range body.Send.Streams {
			c := s.command(st.CommandID)
			if c == nil {
				return "", "", faultNoCommand()
			}
			data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(st.Data))
			if err != nil {
				return "", "", faultXML()
			}
			c.stdin.write(data, strings.EqualFold(st.End, "true") || st.End == "1")
		}
		return action + "Response", `<rsp:SendResponse/>`, nil
	case action == nsShell+"/Receive" && body.Receive != nil:
		c := s.command(body.Receive.Desired.CommandID)
		if c == nil {
			return "", "", faultNoCommand()
		}
		answer, f := c.receive(r.Context(), xsDuration(e.Header.OperationTimeout, time.Minute), e.Header.MaxEnvelopeSize)
		return action + "Response", answer, f
	case action == nsShell+"/Signal" && body.Signal != nil:
		// A signal to a command that has ended and been read is answered as success; clients always end with one.
		if c := s.command(body.Signal.CommandID); c != nil {
			c.signal(body.Signal.Code)
		}
		return action + "Response", `<rsp:SignalResponse/>`, nil
	}
	return "", "", faultAction()
}
