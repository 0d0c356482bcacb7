package communicator

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// uploadBlock is how many bytes of a file one command takes. It bounds what a lost connection costs and what PowerShell holds
// in memory at once (ansible#50099: long inputs stall), and is sent in pieces that fit WinRM's envelope.
const uploadBlock = 32 << 20

type receiveArgs struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Offset int64  `json:"offset"`
	Stat   bool   `json:"stat,omitempty"`
}

// Upload streams a file to a receiver in the guest. What arrived before the connection was lost is not sent again.
func (w *winrm) Upload(ctx context.Context, path string, r io.ReaderAt, size int64) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil {
		return fmt.Errorf("cannot read what is to be uploaded: %w", err)
	}
	a := receiveArgs{Path: path, Size: size, SHA256: hex.EncodeToString(h.Sum(nil))}
	mismatches := 0
	for {
		n := min(size-a.Offset, uploadBlock)
		lines, err := encodeLines(io.NewSectionReader(r, a.Offset, n))
		if err != nil {
			return fmt.Errorf("cannot read what is to be uploaded: %w", err)
		}
		answer, complaints := "", ""
		code, err := w.program(ctx, "receive", "receive", a, lines, func(stream, line string, _ int) {
			if strings.HasPrefix(line, "#ingot:") {
				answer = line
			} else if stream == "stderr" {
				complaints = line
			}
		})
		var got int64
		var sum string
		switch {
		case err == nil && scan(answer, "#ingot:received %d %s", &got, &sum):
			if got >= size {
				return nil
			}
			a.Offset = got
			continue
		case err == nil && answer == "#ingot:mismatch":
			if mismatches++; mismatches > 2 {
				return fmt.Errorf("cannot upload %s: it arrives damaged again and again", path)
			}
			a.Offset = 0
			continue
		case err == nil:
			return fmt.Errorf("cannot upload %s: the guest's receiver exited with code %d: %s", path, code, complaints)
		case ctx.Err() != nil || errors.Is(err, ErrAuth) || errors.Is(err, ErrCertificate):
			return fmt.Errorf("cannot upload %s: %w", path, last(ctx, err))
		}
		if a.Offset, err = w.arrived(ctx, a); err != nil {
			return fmt.Errorf("cannot upload %s: %w", path, err)
		}
	}
}

// arrived asks how much of a file is in the guest.
func (w *winrm) arrived(ctx context.Context, a receiveArgs) (int64, error) {
	if _, err := w.Ready(ctx); err != nil {
		return 0, err
	}
	a.Stat = true
	var have int64
	_, err := w.program(ctx, "receive", "receive", a, nil, func(_, line string, _ int) { scan(line, "#ingot:have %d", &have) })
	if err != nil || have >= a.Size { // a whole .part was never checked: begin again
		have = 0
	}
	return have, ctx.Err()
}

// encodeLines is r as lines of base64. Lines of 30,000 characters keep the receiver's pipeline busy with bytes, not lines.
func encodeLines(r io.Reader) ([]byte, error) {
	out := []byte{} // never nil: an empty file too must be ended
	buf := make([]byte, 22500)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			out = base64.StdEncoding.AppendEncode(out, buf[:n])
			out = append(out, '\r', '\n')
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Download reads a file of the guest and checks it. After a lost connection it goes on where it was.
func (w *winrm) Download(ctx context.Context, path string, to io.Writer) error {
	h := sha256.New()
	var offset int64
	for {
		answer := ""
		var writeErr error
		_, err := w.program(ctx, "fetch", "fetch", map[string]any{"path": path, "offset": offset}, nil, func(stream, line string, _ int) {
			if strings.HasPrefix(line, "#ingot:") {
				answer = line
				return
			}
			if stream != "stdout" || writeErr != nil {
				return
			}
			b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
			if err == nil {
				h.Write(b) //nolint:errcheck // a hash does not fail
				_, err = to.Write(b)
				offset += int64(len(b))
			}
			writeErr = err
		})
		var sum string
		switch {
		case writeErr != nil:
			return fmt.Errorf("cannot download %s: %w", path, writeErr)
		case err == nil && answer == "#ingot:missing":
			return fmt.Errorf("cannot download %s: the guest has no such file", path)
		case err == nil && scan(answer, "#ingot:end %s", &sum):
			if sum != hex.EncodeToString(h.Sum(nil)) {
				return fmt.Errorf("cannot download %s: it arrived damaged", path)
			}
			return nil
		case err == nil:
			return fmt.Errorf("cannot download %s: the guest's answer is cut off", path)
		case ctx.Err() != nil || errors.Is(err, ErrAuth) || errors.Is(err, ErrCertificate):
			return fmt.Errorf("cannot download %s: %w", path, last(ctx, err))
		}
		if _, err := w.Ready(ctx); err != nil {
			return err
		}
	}
}
