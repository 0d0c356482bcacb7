package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"time"
)

// mayGrant: an upload may be written while it waits for its bytes; everything else may be read while nobody uses it
// (rest/api/compute/disks/grant-access).
func mayGrant(w *Azure, r *resource, body map[string]any) *refusal {
	w.lapse(r)
	state, access := w.diskState(r), text(body, "access")
	if number(body, "durationInSeconds") <= 0 {
		return refuse(400, "InvalidParameter", "The value of parameter durationInSeconds is invalid.")
	}
	switch {
	case access != "Read" && access != "Write":
		return refuse(400, "InvalidParameter", "The value '"+access+"' of parameter access is invalid.")
	case text(body, "fileFormat") != "" && text(body, "fileFormat") != "VHD", truth(body, "getSecureVMGuestStateSAS"):
		return refuse(501, "SimulatorNotImplemented", "The simulated Azure gives out disks as VHD, without a guest state.")
	case access == "Write" && state != "ReadyToUpload" && state != "ActiveUpload":
		return refuse(409, "OperationNotAllowed", "Write access is not allowed for disk "+r.name+": it was not created with createOption 'Upload', or the upload is over.")
	case access == "Read" && (state == "ReadyToUpload" || state == "ActiveUpload"):
		return refuse(409, "OperationNotAllowed", "Read access is not allowed for disk "+r.name+" in the state "+state+".")
	case access == "Read" && state == "Attached":
		return refuse(409, "OperationNotAllowed", "Cannot grant access to disk "+r.name+" because it is attached to a running VM.")
	}
	return nil
}

// grantDisk opens the disk as a page blob and answers its address.
func grantDisk(w *Azure, r *resource, body map[string]any) (any, *refusal) {
	// What was allowed when the operation began may not be any more.
	if bad := mayGrant(w, r, body); bad != nil {
		return nil, bad
	}
	s, bad := w.plane()
	if bad != nil {
		return nil, bad
	}
	f := w.fileOf(r)
	if f.account != "" { // a further address takes the place of the first
		w.revoke(r)
	}
	file, write, temporary := f.pending, text(body, "access") == "Write", false
	if !write {
		var err error
		if file, temporary, err = w.open(r); err != nil {
			return nil, refuse(500, "InternalExecutionError", err.Error())
		}
	}
	until := w.clock.Now().Add(time.Duration(number(body, "durationInSeconds")) * time.Second)
	account, host, rest, err := s.Grant(file, write, until)
	if err != nil {
		return nil, refuse(500, "InternalExecutionError", err.Error())
	}
	f.account, f.write, f.until, f.before = account, write, until, text(r.props, "diskState")
	if temporary {
		f.opened = file
	}
	r.props["diskState"] = map[bool]string{true: "ActiveUpload", false: "ActiveSAS"}[write]
	return map[string]any{"accessSAS": "https://" + host + w.port() + rest}, nil
}

// lapse ends an access whose time is over, and reports whether it did.
func (w *Azure) lapse(r *resource) bool {
	f := w.storage.files[strings.ToLower(r.id)]
	if f == nil || f.account == "" || w.clock.Now().Before(f.until) {
		return false
	}
	w.revoke(r)
	return true
}

// revoke takes an address back. An upload that was written is the disk's content from then on.
func (w *Azure) revoke(r *resource) {
	f := w.storage.files[strings.ToLower(r.id)]
	if f == nil || f.account == "" {
		return
	}
	writes := w.storage.blobs.Writes(f.account)
	w.storage.blobs.Drop(f.account)
	f.account = ""
	f.forget()
	r.props["diskState"] = f.before
	if f.write && writes > 0 {
		r.props["diskState"] = "Unattached"
		c := fromFile(f.pending)
		c.windows = text(r.props, "osType") == "Windows"
		r.aux = c
		f.pending = ""
	}
}

// writeFooter ends a file with the footer of a fixed VHD (Virtual Hard Disk Image Format Specification 1.0).
func writeFooter(file string, size int64, now time.Time) error {
	b := make([]byte, 512)
	copy(b, "conectix")
	binary.BigEndian.PutUint32(b[8:], 2)           // features: reserved bit
	binary.BigEndian.PutUint32(b[12:], 0x00010000) // version
	binary.BigEndian.PutUint64(b[16:], ^uint64(0)) // data offset: none
	epoch := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	binary.BigEndian.PutUint32(b[24:], uint32(now.Sub(epoch).Seconds())) //nolint:gosec // until 2136
	copy(b[28:], "wa\x00\x00")
	binary.BigEndian.PutUint32(b[32:], 0x00070000)
	copy(b[36:], "Wi2k")
	binary.BigEndian.PutUint64(b[40:], uint64(size)) //nolint:gosec // a size
	binary.BigEndian.PutUint64(b[48:], uint64(size)) //nolint:gosec // a size
	binary.BigEndian.PutUint32(b[56:], 0xFFFF10FF)   // geometry: the largest, as of disks above 127 GB; Azure goes by the size
	binary.BigEndian.PutUint32(b[60:], 2)            // fixed
	copy(b[68:84], "simulated-azure!")
	var sum uint32
	for _, x := range b {
		sum += uint32(x)
	}
	binary.BigEndian.PutUint32(b[64:], ^sum)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, size)
	return errors.Join(err, f.Close())
}

// fixedVHD reports why a file is not one that Azure takes.
func fixedVHD(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size() - 512
	b := make([]byte, 512)
	if size < 0 || size%mib != 0 {
		return errors.New("its length is not a whole number of MiB plus 512 bytes")
	}
	if _, err := f.ReadAt(b, size); err != nil {
		return err
	}
	if !bytes.HasPrefix(b, []byte("conectix")) || binary.BigEndian.Uint32(b[60:]) != 2 {
		return errors.New("it has no footer of a fixed VHD")
	}
	return nil
}
