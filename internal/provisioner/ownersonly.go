package provisioner

import (
	"io/fs"
	"strings"
	"time"
)

// ownersOnly is a text whose file in the guest is for its owner only, as that of variables that may be secret.
type ownersOnly struct{ *strings.Reader }

// Stat says so to Upload, which keeps a file's permissions.
func (o ownersOnly) Stat() (fs.FileInfo, error) { return ownersInfo{o.Reader.Size()}, nil }

type ownersInfo struct{ size int64 }

func (ownersInfo) Name() string       { return "" }
func (i ownersInfo) Size() int64      { return i.size }
func (ownersInfo) Mode() fs.FileMode  { return 0o600 }
func (ownersInfo) ModTime() time.Time { return time.Time{} }
func (ownersInfo) IsDir() bool        { return false }
func (ownersInfo) Sys() any           { return nil }
