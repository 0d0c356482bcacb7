package guest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// The image states Windows Setup writes to HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State
// (Microsoft Learn: "Windows Setup States").
const (
	StateComplete     = "IMAGE_STATE_COMPLETE"
	StateUndeployable = "IMAGE_STATE_UNDEPLOYABLE"
	StateGeneralized  = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
)

// Where sysprep writes its logs when it generalizes.
const (
	pantherErrors  = `C:\Windows\System32\Sysprep\Panther\setuperr.log`
	pantherActions = `C:\Windows\System32\Sysprep\Panther\setupact.log`
)

// Disk is what outlives a machine: the files of its system drive and the image state in its registry. Paths are
// Windows paths, compared without case; both slashes separate. It is safe for concurrent use.
type Disk struct {
	mu    sync.Mutex
	id    string // of this disk wherever it is written; made when it is first written
	turn  uint64 // counts changes
	state string
	files map[string]*diskFile
}

type diskFile struct {
	name string
	data []byte
}

// NewDisk returns the disk of a fresh, complete Windows installation.
func NewDisk() *Disk { return &Disk{state: StateComplete, files: map[string]*diskFile{}} }

// Clone copies the disk, as a capture or a new machine from an image does; later writes on either side stay there.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &Disk{state: d.state, files: make(map[string]*diskFile, len(d.files))}
	for k, f := range d.files {
		// Both share the bytes; without spare capacity the next append of either one moves to an array of its own.
		f.data = slices.Clip(f.data)
		c.files[k] = &diskFile{f.name, f.data}
	}
	return c
}

// ImageState is the state Windows Setup last wrote, such as IMAGE_STATE_COMPLETE.
func (d *Disk) ImageState() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

func (d *Disk) setImageState(s string) {
	d.mu.Lock()
	d.turn++
	d.state = s
	d.mu.Unlock()
}

// Specialize is what Windows does at the first start from a generalised image: it is complete again.
func (d *Disk) Specialize() { d.setImageState(StateComplete) }

// Files lists the paths of all files, sorted without regard to case.
func (d *Disk) Files() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := make([]string, 0, len(d.files))
	for k := range d.files {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = d.files[k].name
	}
	return keys
}

// File returns a copy of a file's content and whether it exists.
func (d *Disk) File(path string) ([]byte, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.files[key(path)]
	if !ok {
		return nil, false
	}
	return append([]byte{}, f.data...), true
}

// tail returns what a file holds from offset on.
func (d *Disk) tail(path string, offset int64) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.files[key(path)]
	if !ok || offset < 0 || offset > int64(len(f.data)) {
		return nil
	}
	return append([]byte{}, f.data[offset:]...)
}

func (d *Disk) size(path string) (int64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.files[key(path)]
	if !ok {
		return 0, false
	}
	return int64(len(f.data)), true
}

func (d *Disk) write(path string, data []byte) {
	d.mu.Lock()
	d.turn++
	d.files[key(path)] = &diskFile{resolve(path), append([]byte{}, data...)}
	d.mu.Unlock()
}

func (d *Disk) appendTo(path string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn++
	f, ok := d.files[key(path)]
	if !ok {
		f = &diskFile{name: resolve(path)}
		d.files[key(path)] = f
	}
	f.data = append(f.data, data...)
}

// writeAt cuts the file at offset, filling with zeros up to it, and appends there.
func (d *Disk) writeAt(path string, offset int64, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn++
	f, ok := d.files[key(path)]
	if !ok {
		f = &diskFile{name: resolve(path)}
		d.files[key(path)] = f
	}
	if n := int64(len(f.data)); offset > n {
		f.data = append(f.data, make([]byte, offset-n)...)
	} else if offset < n {
		// Clipped: bytes after the cut may be shared with a clone.
		f.data = slices.Clip(f.data[:offset])
	}
	f.data = append(f.data, data...)
}

// remove deletes a file, or everything below a folder, and says how many files that were.
func (d *Disk) remove(path string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn++
	k, n := key(path), 0
	for f := range d.files {
		if f == k || strings.HasPrefix(f, k+`\`) {
			delete(d.files, f)
			n++
		}
	}
	return n
}

func (d *Disk) rename(from, to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn++
	if f, ok := d.files[key(from)]; ok {
		delete(d.files, key(from))
		d.files[key(to)] = &diskFile{resolve(to), f.data}
	}
}

// below lists the files of a folder and its subfolders.
func (d *Disk) below(dir string) []string {
	var out []string
	for _, f := range d.Files() {
		if strings.HasPrefix(strings.ToLower(f), key(dir)+`\`) {
			out = append(out, f)
		}
	}
	return out
}

type diskJSON struct {
	ID         string            `json:"id,omitempty"`
	Version    uint64            `json:"version,omitempty"`
	ImageState string            `json:"imageState"`
	Files      map[string][]byte `json:"files"`
}

// Marshal writes the disk as JSON, for a simulated Azure that keeps its state.
func (d *Disk) Marshal() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.id == "" {
		d.id = rand.Text()
	}
	j := diskJSON{d.id, d.turn, d.state, make(map[string][]byte, len(d.files))}
	for _, f := range d.files {
		j.Files[f.name] = f.data
	}
	return json.Marshal(j)
}

// Unmarshal replaces the disk by what Marshal wrote.
func (d *Disk) Unmarshal(data []byte) error {
	var j diskJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("cannot read disk: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.id, d.turn, d.state, d.files = j.ID, j.Version, j.ImageState, map[string]*diskFile{}
	for n, b := range j.Files {
		d.files[key(n)] = &diskFile{n, b}
	}
	return nil
}

// ID names this disk in everything that was written of it: two documents with the same one are about the same disk, and
// the higher Version is the later.
func (d *Disk) ID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id
}

// Version counts the changes of the disk.
func (d *Disk) Version() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.turn
}

// MarshalJSON lets a disk be part of a larger document.
func (d *Disk) MarshalJSON() ([]byte, error) { return d.Marshal() }

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Disk) UnmarshalJSON(data []byte) error { return d.Unmarshal(data) }

// windowsEnv is the machine's own environment. TEMP is the system's and not a profile's, so that a path means the same
// file whoever asks.
func windowsEnv() map[string]string {
	return map[string]string{
		"SYSTEMROOT": `C:\Windows`, "WINDIR": `C:\Windows`, "SYSTEMDRIVE": `C:`, "TEMP": `C:\Windows\Temp`, "TMP": `C:\Windows\Temp`,
		"PROGRAMDATA": `C:\ProgramData`, "PROGRAMFILES": `C:\Program Files`, "PROGRAMFILES(X86)": `C:\Program Files (x86)`,
		"PUBLIC": `C:\Users\Public`, "OS": "Windows_NT", "PROCESSOR_ARCHITECTURE": "AMD64", "COMSPEC": `C:\Windows\System32\cmd.exe`,
	}
}

// resolve makes a path absolute: variables replaced, slashes turned, doubled and trailing ones dropped.
func resolve(path string) string {
	p := expand(strings.Trim(strings.TrimSpace(path), `"'`), windowsEnv())
	p = strings.ReplaceAll(p, "/", `\`)
	var parts []string
	for i, s := range strings.Split(p, `\`) {
		switch {
		case s == "" && i > 0, s == ".":
		case s == "..":
			if len(parts) > 1 {
				parts = parts[:len(parts)-1]
			}
		default:
			parts = append(parts, s)
		}
	}
	p = strings.Join(parts, `\`)
	switch {
	case strings.HasPrefix(p, `\`):
		p = "C:" + p
	case len(p) < 2 || p[1] != ':':
		p = `C:\` + p
	}
	return p
}

func key(path string) string { return strings.ToLower(resolve(path)) }

// expand replaces %NAME%, $env:NAME and ${env:NAME}; an unknown %NAME% stays as cmd.exe leaves it, an unknown
// $env:NAME is empty as in PowerShell. Names in env are upper case.
func expand(s string, env map[string]string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		rest := s[i:]
		low := strings.ToLower(rest[:min(len(rest), 6)])
		switch {
		case rest[0] == '%':
			if j := strings.IndexByte(rest[1:], '%'); j > 0 {
				if v, ok := env[strings.ToUpper(rest[1:1+j])]; ok {
					b.WriteString(v)
					i += j + 2
					continue
				}
			}
		case strings.HasPrefix(low, "$env:"):
			j := 5
			for j < len(rest) && (rest[j] == '_' || rest[j] >= '0' && rest[j] <= '9' || rest[j]|32 >= 'a' && rest[j]|32 <= 'z') {
				j++
			}
			b.WriteString(env[strings.ToUpper(rest[5:j])])
			i += j
			continue
		case low == "${env:":
			if j := strings.IndexByte(rest, '}'); j > 0 {
				b.WriteString(env[strings.ToUpper(rest[6:j])])
				i += j + 1
				continue
			}
		}
		b.WriteByte(rest[0])
		i++
	}
	return b.String()
}

// Generalize is what sysprep leaves: others can be made of it.
func (d *Disk) Generalize() { d.setImageState(StateGeneralized) }
