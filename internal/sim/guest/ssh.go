package guest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Where OpenSSH Server for Windows keeps its things (Microsoft Learn: "OpenSSH Server configuration for Windows Server and Windows"). The
// settings are made when the service starts for the first time: a disk that has them has a service that starts with Windows.
const (
	sshdConfig  = `C:\ProgramData\ssh\sshd_config`
	sshdHostKey = `C:\ProgramData\ssh\ssh_host_ed25519_key`
	sshdAdmins  = `C:\ProgramData\ssh\administrators_authorized_keys`
)

// setsUpSSH is what command lines and scripts look like that install or start the service (Microsoft Learn: "Get started with OpenSSH for
// Windows"; the installer of PowerShell/Win32-OpenSSH).
var setsUpSSH = regexp.MustCompile(`(?i)(start-service|restart-service|net start|sc(\.exe)? start)\s+(-name\s+)?['"]?sshd\b|set-service\s.*\bsshd\b.*running|install-sshd\.ps1`)

// OpenSSH installs the SSH server, starts it and lets it start with Windows, as the extension WindowsOpenSSH does. One that runs stays.
func (m *machine) OpenSSH() error { return m.openSSH(true) }

func (m *machine) openSSH(tell bool) error {
	m.mu.Lock()
	running := m.ssh != nil
	m.mu.Unlock()
	if running {
		return nil
	}
	signer, err := m.hostKey()
	if err != nil {
		return fmt.Errorf("cannot start sshd on guest %s: %w", m.c.Computer, err)
	}
	at := m.c.ListenSSH
	if at == "" {
		at = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", at)
	if err != nil { // somebody else has the port: whoever asks us is told where it is
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("cannot start sshd on guest %s: %w", m.c.Computer, err)
		}
	}
	if _, there := m.disk.size(sshdConfig); !there {
		m.disk.write(sshdConfig, []byte("Subsystem\tsftp\tsftp-server.exe\r\nMatch Group administrators\r\n       AuthorizedKeysFile __PROGRAMDATA__/ssh/administrators_authorized_keys\r\n"))
	}
	m.mu.Lock()
	if m.stopped || m.ssh != nil {
		m.mu.Unlock()
		return l.Close()
	}
	m.ssh = l
	m.mu.Unlock()
	m.spawn(func() { m.serveSSH(&gate{l, m, m.c.AllowSSH}, signer) })
	if tell && m.c.ListeningSSH != nil {
		m.c.ListeningSSH(l.Addr().String())
	}
	return nil
}

// SSHAddr is the SSH endpoint, or "" without one.
func (m *machine) SSHAddr() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ssh == nil {
		return ""
	}
	return m.ssh.Addr().String()
}

// hostKey is the machine's own, which its disk keeps.
func (m *machine) hostKey() (ssh.Signer, error) {
	if b, ok := m.disk.File(sshdHostKey); ok {
		return ssh.ParsePrivateKey(b)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, err
	}
	m.disk.write(sshdHostKey, pem.EncodeToMemory(block))
	return ssh.NewSignerFromKey(key)
}

func (m *machine) serveSSH(l net.Listener, host ssh.Signer) {
	refused := errors.New("refused")
	config := &ssh.ServerConfig{ServerVersion: "SSH-2.0-OpenSSH_for_Windows_9.5", MaxAuthTries: 6,
		PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if strings.EqualFold(c.User(), m.c.User) && subtle.ConstantTimeCompare(password, []byte(m.c.Password)) == 1 {
				return nil, nil
			}
			return nil, refused
		},
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			list, _ := m.disk.File(sshdAdmins)
			for len(list) > 0 {
				known, _, _, rest, err := ssh.ParseAuthorizedKey(list)
				if err != nil {
					break
				}
				if strings.EqualFold(c.User(), m.c.User) && bytes.Equal(known.Marshal(), key.Marshal()) {
					return nil, nil
				}
				list = rest
			}
			return nil, refused
		},
	}
	config.AddHostKey(host)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		m.spawn(func() { m.serveSSHConn(c, config) })
	}
}

func (m *machine) serveSSHConn(c net.Conn, config *ssh.ServerConfig) {
	defer c.Close() //nolint:errcheck // it is over
	server, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	m.mu.Lock()
	boot := m.bootCtx
	m.mu.Unlock()
	// What a session runs ends with its connection; what it has started through WMI or a task does not.
	ctx, end := context.WithCancel(boot)
	defer end()
	m.spawn(func() {
		for r := range requests {
			if r.WantReply {
				r.Reply(r.Type == "keepalive@openssh.com", nil) //nolint:errcheck // the connection shows it
			}
		}
	})
	for n := range channels {
		if n.ChannelType() != "session" {
			n.Reject(ssh.UnknownChannelType, "the simulated guest has sessions only") //nolint:errcheck // the connection shows it
			continue
		}
		ch, requests, err := n.Accept()
		if err != nil {
			break
		}
		m.spawn(func() { m.sshSession(ctx, ch, requests) })
	}
	server.Wait() //nolint:errcheck // it is over
}

func (m *machine) sshSession(ctx context.Context, ch ssh.Channel, requests <-chan *ssh.Request) {
	defer ch.Close() //nolint:errcheck // it may be closed
	for r := range requests {
		var p struct{ Text string }
		ok := ssh.Unmarshal(r.Payload, &p) == nil
		switch {
		case r.Type == "exec" && ok:
			r.Reply(true, nil) //nolint:errcheck // the connection shows it
			ctx, end := context.WithCancel(ctx)
			m.spawn(func() {
				defer end()
				for r := range requests { // they end with the channel, and what runs in it
					if r.WantReply {
						r.Reply(false, nil) //nolint:errcheck // as above
					}
				}
			})
			code := m.sshCommand(ctx, ch, p.Text)
			ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(int32(code))})) //nolint:errcheck,gosec // the connection shows it; Windows' codes have 32 bits
			return
		case r.Type == "subsystem" && ok && p.Text == "sftp":
			r.Reply(true, nil) //nolint:errcheck // the connection shows it
			m.spawn(func() { ssh.DiscardRequests(requests) })
			files := sshFiles{m.disk, `C:\Users\` + m.c.User}
			s := sftp.NewRequestServer(ch, sftp.Handlers{FileGet: files, FilePut: files, FileCmd: files, FileList: files}, sftp.WithStartDirectory("/C:/Users/"+m.c.User))
			s.Serve() //nolint:errcheck // it ends with the channel
			return
		default:
			if r.WantReply {
				r.Reply(false, nil) //nolint:errcheck // the connection shows it
			}
		}
	}
}

// sshCommand runs a command line as cmd.exe, the server's default shell, does.
func (m *machine) sshCommand(ctx context.Context, ch ssh.Channel, line string) int {
	env := windowsEnv()
	env["COMPUTERNAME"], env["USERNAME"], env["USERPROFILE"] = m.c.Computer, m.c.User, `C:\Users\`+m.c.User
	var mu sync.Mutex
	p := &process{m: m, ctx: ctx, env: env, dir: `C:\Users\` + m.c.User, stdin: newInput(), out: func(stream int, text string) {
		mu.Lock()
		defer mu.Unlock()
		var w io.Writer = ch
		if stream == 2 {
			w = ch.Stderr()
		}
		io.WriteString(w, text) //nolint:errcheck // the connection shows it
	}}
	m.spawn(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := ch.Read(buf)
			p.stdin.write(bytes.Clone(buf[:n]), err != nil)
			if err != nil {
				return
			}
		}
	})
	return p.line(line)
}

// sshFiles is the disk as Windows' sftp-server shows it: /C:/folder/file. The model keeps no empty folders: making one is nothing.
type sshFiles struct {
	d    *Disk
	home string
}

func (f sshFiles) path(p string) string {
	if len(p) > 2 && p[0] == '/' && p[2] == ':' {
		return strings.ReplaceAll(p[1:], "/", `\`)
	}
	return f.home + strings.ReplaceAll(path.Clean("/"+p), "/", `\`)
}

// Fileread opens a file.
func (f sshFiles) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	b, ok := f.d.File(f.path(r.Filepath))
	if !ok {
		return nil, fs.ErrNotExist
	}
	return bytes.NewReader(b), nil
}

// Filewrite opens a file to be written.
func (f sshFiles) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	p := f.path(r.Filepath)
	f.d.write(p, nil)
	return &sshFile{d: f.d, path: p}, nil
}

// sshFile gathers what is written in no order; it is on the disk when it is closed.
type sshFile struct {
	d    *Disk
	path string
	mu   sync.Mutex
	data []byte
}

// WriteAt keeps a piece.
func (f *sshFile) WriteAt(b []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := at + int64(len(b)); n > int64(len(f.data)) {
		if n > int64(cap(f.data)) {
			f.data = append(make([]byte, 0, 2*n), f.data...)
		}
		f.data = f.data[:n]
	}
	return copy(f.data[at:], b), nil
}

// Close writes the file.
func (f *sshFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.d.write(f.path, f.data)
	return nil
}

// Filecmd changes names and attributes.
func (f sshFiles) Filecmd(r *sftp.Request) error {
	p := f.path(r.Filepath)
	switch r.Method {
	case "Mkdir", "Setstat":
		return nil
	case "Remove", "Rmdir":
		if f.d.remove(p) == 0 {
			return fs.ErrNotExist
		}
		return nil
	case "Rename", "PosixRename":
		f.d.rename(p, f.path(r.Target))
		return nil
	}
	return sftp.ErrSSHFxOpUnsupported
}

// Filelist tells about a file.
func (f sshFiles) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	p := f.path(r.Filepath)
	n, ok := f.d.size(p)
	if !ok && len(f.d.below(p)) == 0 && len(p) > len(`C:\`) {
		return nil, fs.ErrNotExist
	}
	if r.Method == "List" {
		return nil, sftp.ErrSSHFxOpUnsupported
	}
	return oneFile{sshInfo{path.Base(strings.ReplaceAll(p, `\`, "/")), n, !ok}}, nil
}

type oneFile struct{ i os.FileInfo }

// ListAt gives the one file.
func (o oneFile) ListAt(to []os.FileInfo, at int64) (int, error) {
	if at > 0 || len(to) == 0 {
		return 0, io.EOF
	}
	to[0] = o.i
	return 1, io.EOF
}

type sshInfo struct {
	name string
	size int64
	dir  bool
}

func (i sshInfo) Name() string       { return i.name }
func (i sshInfo) Size() int64        { return i.size }
func (i sshInfo) ModTime() time.Time { return time.Time{} }
func (i sshInfo) IsDir() bool        { return i.dir }
func (i sshInfo) Sys() any           { return nil }
func (i sshInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o777
	}
	return 0o666
}
