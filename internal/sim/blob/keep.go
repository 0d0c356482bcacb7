package blob

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What a Service with Config.Index keeps beside the blobs' own files, so that another process finds them by name again: a file for
// each account, written anew before a change is answered. Access to managed disks is not kept; it ends with the process.

type keptAccount struct {
	Seq        int                       `json:"seq"`
	Containers map[string]*keptContainer `json:"containers"`
}

type keptContainer struct {
	ETag     string                `json:"etag"`
	Modified time.Time             `json:"modified"`
	Meta     map[string]string     `json:"meta,omitempty"`
	Access   string                `json:"access,omitempty"`
	Lease    keptLease             `json:"lease"`
	Policies map[string]keptPolicy `json:"policies,omitempty"`
	Blobs    map[string]*keptItem  `json:"blobs,omitempty"`
}

type keptPolicy struct {
	Start, Expiry time.Time
	Permissions   string
}

type keptLease struct {
	ID               string
	Until            time.Time
	Length           int
	Breaking, Broken bool
}

type keptBlock struct {
	ID, File string
	At, Size int64
}

type keptItem struct {
	Kind, File, ETag  string
	Size              int64
	Created, Modified time.Time
	Meta, Props       map[string]string
	Pages             [][2]int64
	Sequence          int64
	Committed         []keptBlock
	Staged            map[string]keptBlock
	Uncommitted       bool
	Lease             keptLease
	CopyID, CopyFrom  string
	Copied            time.Time
	CopyAborted       bool `json:",omitempty"`
	Appends, Writes   int
}

func (l lease) keep() keptLease { return keptLease{l.id, l.until, l.length, l.breaking, l.broken} }

func (l keptLease) open() lease { return lease{l.ID, l.Until, l.Length, l.Breaking, l.Broken} }

func (s *Service) keepBlock(b block) keptBlock {
	return keptBlock{b.id, filepath.Base(b.file), b.at, b.size}
}

func (s *Service) openBlock(b keptBlock) block { return block{b.ID, s.inDir(b.File), b.At, b.Size} }

// inDir is where a blob's file is; the folder may have been moved since.
func (s *Service) inDir(name string) string {
	if name == "" || name == "." {
		return ""
	}
	return filepath.Join(s.cfg.Dir, name)
}

// save writes an account's index. The caller holds mu.
func (s *Service) save(a *store) error {
	out := keptAccount{Seq: s.seq, Containers: map[string]*keptContainer{}}
	for name, c := range a.containers {
		k := &keptContainer{ETag: c.etag, Modified: c.modified, Meta: c.meta, Access: c.access, Lease: c.lease.keep(), Policies: map[string]keptPolicy{}, Blobs: map[string]*keptItem{}}
		for id, p := range c.policies {
			k.Policies[id] = keptPolicy{p.start, p.expiry, p.permissions}
		}
		for id, b := range c.blobs {
			i := &keptItem{Kind: b.kind, File: filepath.Base(b.file), ETag: b.etag, Size: b.size, Created: b.created, Modified: b.modified, Meta: b.meta, Props: b.props, Sequence: b.sequence,
				Uncommitted: b.uncommitted, Lease: b.lease.keep(), CopyID: b.copyID, CopyFrom: b.copyFrom, Copied: b.copied, CopyAborted: b.copyAborted, Appends: b.appends, Writes: b.writes, Staged: map[string]keptBlock{}}
			for _, p := range b.pages {
				i.Pages = append(i.Pages, [2]int64{p.from, p.to})
			}
			for _, x := range b.committed {
				i.Committed = append(i.Committed, s.keepBlock(x))
			}
			for key, x := range b.staged {
				i.Staged[key] = s.keepBlock(x)
			}
			k.Blobs[id] = i
		}
		out.Containers[name] = k
	}
	raw, err := json.Marshal(out)
	if err == nil {
		file := filepath.Join(s.cfg.Index, a.name+".json")
		if err = os.WriteFile(file+".new", raw, 0o600); err == nil {
			err = os.Rename(file+".new", file)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot keep the names of storage account %s: %w", a.name, err)
	}
	return nil
}

// load reads what an earlier process kept.
func (s *Service) load() error {
	if err := os.MkdirAll(s.cfg.Index, 0o700); err != nil {
		return fmt.Errorf("cannot keep the names of blobs: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(s.cfg.Index, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		var in keptAccount
		if err == nil {
			err = json.Unmarshal(raw, &in)
		}
		if err != nil {
			return fmt.Errorf("cannot read which blobs there are from %s: %w", file, err)
		}
		a := &store{name: strings.TrimSuffix(filepath.Base(file), ".json"), containers: map[string]*container{}}
		for name, k := range in.Containers {
			a.containers[name] = s.openContainer(name, k)
		}
		s.accounts[a.name] = a
		s.seq = max(s.seq, in.Seq)
	}
	return nil
}

func (s *Service) openContainer(name string, k *keptContainer) *container {
	c := &container{name: name, etag: k.ETag, modified: k.Modified, meta: k.Meta, access: k.Access, lease: k.Lease.open(), policies: map[string]policy{}, blobs: map[string]*item{}}
	for id, p := range k.Policies {
		c.policies[id] = policy{p.Start, p.Expiry, p.Permissions}
	}
	for id, i := range k.Blobs {
		b := &item{name: id, kind: i.Kind, file: s.inDir(i.File), size: i.Size, etag: i.ETag, created: i.Created, modified: i.Modified, meta: i.Meta, props: i.Props, sequence: i.Sequence,
			uncommitted: i.Uncommitted, lease: i.Lease.open(), copyID: i.CopyID, copyFrom: i.CopyFrom, copied: i.Copied, copyAborted: i.CopyAborted, appends: i.Appends, writes: i.Writes, staged: map[string]block{}}
		for _, p := range i.Pages {
			b.pages = append(b.pages, span{p[0], p[1]})
		}
		for _, x := range i.Committed {
			b.committed = append(b.committed, s.openBlock(x))
		}
		for key, x := range i.Staged {
			b.staged[key] = s.openBlock(x)
		}
		c.blobs[id] = b
	}
	return c
}

// heldBack is an answer that is not given before what it tells of is kept.
type heldBack struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (h *heldBack) WriteHeader(status int) { h.status = status }

func (h *heldBack) Write(p []byte) (int, error) { return h.body.Write(p) }

// give sends it.
func (h *heldBack) give() {
	if h.status != 0 {
		h.ResponseWriter.WriteHeader(h.status)
	}
	h.ResponseWriter.Write(h.body.Bytes()) //nolint:errcheck // the caller may have gone
}

// kept carries a change out, keeps it, and only then answers.
func (c *call) kept(do func(*call) error) error {
	changes := c.r.Method != http.MethodGet && c.r.Method != http.MethodHead
	if c.s.cfg.Index == "" || !changes || c.account.keys != nil {
		return do(c)
	}
	held := &heldBack{ResponseWriter: c.w}
	c.w = held
	failed := do(c)
	c.s.mu.Lock()
	err := c.s.save(c.account)
	c.s.mu.Unlock()
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	held.give()
	return nil
}
