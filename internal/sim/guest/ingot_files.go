package guest

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// The file programs of docs/guest-protocol.md: what they do to the disk, and what they answer.

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (p *process) receiveFile(a verbArgs) int {
	d, part := p.m.disk, a.Path+".part"
	if a.Stat {
		n, ok := d.size(part)
		if !ok {
			if data, there := d.File(a.Path); there && int64(len(data)) == a.Size && sumOf(data) == a.SHA256 {
				p.print("#ingot:whole")
			}
		}
		p.print(fmt.Sprintf("#ingot:have %d", n))
		return 0
	}
	at := a.Offset
	d.writeAt(part, at, nil)
	for {
		l, ok := p.stdin.line(p.ctx)
		if !ok {
			break
		}
		data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(l))
		if err != nil {
			p.complain("cannot read a line of standard input: " + err.Error())
			return 1
		}
		d.appendTo(part, data)
		at += int64(len(data))
	}
	if p.ctx.Err() != nil {
		return 1
	}
	sum := "-"
	if at >= a.Size {
		data, _ := d.File(part)
		if sum = sumOf(data); !strings.EqualFold(sum, a.SHA256) {
			d.remove(part)
			p.print("#ingot:mismatch")
			return 1
		}
		d.rename(part, a.Path)
	}
	p.print(fmt.Sprintf("#ingot:received %d %s", at, sum))
	return 0
}

func (p *process) join(a verbArgs) int {
	var all []byte
	there := 0
	for k := range a.Parts {
		data, ok := p.m.disk.File(fmt.Sprintf("%s.%s-%d", a.Path, a.Mark, k))
		if ok {
			there++
		}
		all = append(all, data...)
	}
	if there < a.Parts {
		if data, ok := p.m.disk.File(a.Path); !ok || sumOf(data) != a.SHA256 {
			p.print("#ingot:missing")
			return 0
		}
	}
	for k := range a.Parts {
		p.m.disk.remove(fmt.Sprintf("%s.%s-%d", a.Path, a.Mark, k))
	}
	switch {
	case there < a.Parts:
	case sumOf(all) != a.SHA256:
		p.print("#ingot:mismatch")
		return 0
	default:
		p.m.disk.write(a.Path, all)
	}
	p.print("#ingot:ok")
	return 0
}

func (p *process) fetch(a verbArgs) int {
	data, ok := p.m.disk.File(a.Path)
	if !ok {
		if len(p.m.disk.below(a.Path)) > 0 {
			p.print("#ingot:folder")
		} else {
			p.print("#ingot:missing")
		}
		return 1
	}
	p.print(fmt.Sprintf("#ingot:size %d", len(data)))
	rest := data[min(a.Offset, int64(len(data))):]
	for rest = rest[:min(a.Length, int64(len(rest)))]; len(rest) > 0; {
		n := min(len(rest), 30000)
		p.print(base64.StdEncoding.EncodeToString(rest[:n]))
		rest = rest[n:]
	}
	sum := "-"
	if a.Sum {
		sum = sumOf(data)
	}
	p.print("#ingot:end " + sum)
	return 0
}

func (p *process) unpack(a verbArgs) int {
	data, ok := p.m.disk.File(a.Path)
	if !ok {
		p.print("#ingot:missing")
		return 0
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		p.complain("End of Central Directory record could not be found.")
		return 1
	}
	for _, e := range z.File {
		if strings.HasSuffix(e.Name, "/") {
			continue // the disk knows folders only by their files
		}
		r, err := e.Open()
		var content []byte
		if err == nil {
			content, err = io.ReadAll(r)
		}
		if err != nil {
			p.complain("cannot write " + a.To + `\` + e.Name + ": " + err.Error())
			return 1
		}
		p.m.disk.write(a.To+`\`+e.Name, content)
	}
	p.m.disk.remove(a.Path)
	p.print(fmt.Sprintf("#ingot:unpacked %d", len(z.File)))
	return 0
}

// pack finds the files as Get-Item and Get-ChildItem do: a pattern stands for names in one folder, and a folder brings all that is in it.
func (p *process) pack(a verbArgs) int {
	from := strings.ReplaceAll(resolve(a.Path), `\`, "/")
	up := path.Dir(from)
	if a.Content {
		up = from
	}
	var names []string
	items := map[string]bool{}
	for _, f := range p.m.disk.Files() {
		name := strings.ReplaceAll(f, `\`, "/")
		if !strings.HasPrefix(strings.ToLower(name), strings.ToLower(up)+"/") {
			continue
		}
		rel := name[len(up)+1:]
		item, _, _ := strings.Cut(rel, "/")
		if a.Glob {
			if ok, err := path.Match(strings.ToLower(path.Base(from)), strings.ToLower(item)); err != nil || !ok {
				continue
			}
		} else if !a.Content && !strings.EqualFold(item, path.Base(from)) {
			continue
		}
		names = append(names, rel)
		items[item] = true
	}
	if len(names) == 0 {
		p.print("#ingot:missing")
		return 0
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	slices.Sort(names)
	for _, n := range names {
		data, _ := p.m.disk.File(up + "/" + n)
		w, err := z.Create(n)
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			p.complain(err.Error())
			return 1
		}
	}
	if err := z.Close(); err != nil {
		p.complain(err.Error())
		return 1
	}
	p.m.disk.write(a.To, out.Bytes())
	p.print(fmt.Sprintf("#ingot:packed %d", len(items)))
	return 0
}
