package guest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// AgentScript is what the VM agent's run command handler runs, without any connection to the machine: as SYSTEM, or as User.
type AgentScript struct {
	Name           string // of the run command
	Began          func() // is called when the script begins; may be nil
	Text           string
	Params         map[string]string // passed as -name value; the model knows the one that Ingot's programs take
	User, Password string
	Web            http.RoundTripper // how the machine reaches the network
	Out            func(stream int, text string)
}

var (
	// ErrDown says that Windows is not up, so that nothing was run.
	ErrDown = errors.New("the machine is not up")
	// ErrWentDown says that Windows went down under the script.
	ErrWentDown = errors.New("the machine went down")
)

// Up tells whether Windows runs.
func (m *machine) Up() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.up && !m.stopped && !m.vanished
}

// Execute runs a script to its end and returns its exit code.
func (m *machine) Execute(x AgentScript) (int, error) {
	m.mu.Lock()
	if !m.up || m.stopped || m.vanished {
		m.mu.Unlock()
		return 0, ErrDown
	}
	ctx := m.bootCtx
	env := windowsEnv()
	env["COMPUTERNAME"], env["USERNAME"] = m.c.Computer, "SYSTEM"
	m.mu.Unlock()
	if x.Began != nil {
		x.Began()
	}
	if x.User != "" {
		env["USERNAME"] = x.User
		if !strings.EqualFold(x.User, m.c.User) || x.Password != m.c.Password {
			x.Out(2, "The user name or password is incorrect.\r\n")
			return 1, nil
		}
	}
	p := &process{m: m, ctx: ctx, env: env, dir: `C:\Packages\Plugins\Microsoft.CPlat.Core.RunCommandHandlerWindows`, stdin: newInput(), web: x.Web, out: func(stream int, text string) {
		if ctx.Err() == nil {
			x.Out(stream, text)
		}
	}}
	p.stdin.write(nil, true)
	code := 1
	if m.wait(ctx, m.duration("powershell-start")) {
		if err := p.takeJob(x.Params["ingot"]); err != nil {
			p.complain(err.Error())
		} else {
			code = p.script(x.Text)
		}
	}
	if ctx.Err() != nil {
		return 0, ErrWentDown
	}
	return code, nil
}

// job is the protected parameter of Ingot's guest programs: where to fetch or leave something, and the key that it is
// encrypted with (docs/guest-protocol.md, "Run commands").
type job struct {
	URL string `json:"url"`
	Key string `json:"key"` // base64 of 32 bytes of AES; "": nothing is encrypted
}

func (p *process) takeJob(param string) error {
	if param == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(param)
	if err == nil {
		err = json.Unmarshal(raw, &p.job)
	}
	if err != nil {
		return errors.New("cannot read the parameter") // the cause could quote a secret
	}
	return nil
}

// fetched is what the job's address holds, decrypted.
func (p *process) fetched() ([]byte, error) {
	req, err := http.NewRequestWithContext(p.ctx, http.MethodGet, p.job.URL, nil)
	if err != nil || p.web == nil {
		return nil, errors.New("there is nothing to fetch")
	}
	resp, err := p.web.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the storage answers %s", resp.Status)
	}
	key, err := base64.StdEncoding.DecodeString(p.job.Key)
	if err != nil || len(key) == 0 {
		return raw, err
	}
	c, err := aes.NewCipher(key)
	if err != nil || len(raw) < 32 || len(raw)%16 != 0 {
		return nil, errors.New("what was fetched is not what was encrypted")
	}
	plain := make([]byte, len(raw)-16)
	cipher.NewCBCDecrypter(c, raw[:16]).CryptBlocks(plain, raw[16:])
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > 16 {
		return nil, errors.New("what was fetched is not what was encrypted")
	}
	return plain[:len(plain)-pad], nil
}

// fetchPayload makes what the job names the standard input of the program, one line of base64, as WinRM sends it.
func (p *process) fetchPayload() bool {
	raw, err := p.fetched()
	if err != nil {
		p.complain("cannot fetch the payload: " + err.Error())
		return false
	}
	p.stdin = newInput()
	p.stdin.write([]byte(base64.StdEncoding.EncodeToString(raw)+"\r\n"), true)
	return true
}

// getFile is the program that fetches a file.
func (p *process) getFile(a verbArgs) int {
	raw, err := p.fetched()
	if err != nil {
		p.complain("cannot fetch the file: " + err.Error())
		return 1
	}
	sum := sha256.Sum256(raw)
	if int64(len(raw)) != a.Size || !strings.EqualFold(hex.EncodeToString(sum[:]), a.SHA256) {
		p.print("#ingot:mismatch")
		return 1
	}
	p.m.disk.write(p.at(a.Path), raw)
	p.print(fmt.Sprintf("#ingot:received %d %x", len(raw), sum))
	return 0
}

// putFile is the program that leaves a file as a block blob.
func (p *process) putFile(a verbArgs) int {
	data, ok := p.m.disk.File(p.at(a.Path))
	if !ok {
		p.print("#ingot:missing")
		return 1
	}
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPut, p.job.URL, bytes.NewReader(data))
	if err != nil || p.web == nil {
		p.complain("there is nowhere to leave the file")
		return 1
	}
	req.Header.Set("x-ms-blob-type", "BlockBlob")
	resp, err := p.web.RoundTrip(req)
	if err == nil {
		resp.Body.Close() //nolint:errcheck // its status is all we want
		if resp.StatusCode != http.StatusCreated {
			err = fmt.Errorf("the storage answers %s", resp.Status)
		}
	}
	if err != nil {
		p.complain("cannot leave the file: " + err.Error())
		return 1
	}
	p.print(fmt.Sprintf("#ingot:sent %d %x", len(data), sha256.Sum256(data)))
	return 0
}

// commandLine is the program that runs a line of cmd.exe.
func (p *process) commandLine() int {
	raw, err := p.fetched()
	if err != nil {
		p.complain("cannot fetch the payload: " + err.Error())
		return 1
	}
	return p.line(string(raw))
}
