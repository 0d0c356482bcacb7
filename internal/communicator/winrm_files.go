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
	"sync"
)

const (
	// uploadBlock is how many bytes of a file one command takes. It bounds what a lost connection costs and what PowerShell holds
	// in memory at once (ansible#50099: long inputs stall), and is sent in pieces that fit WinRM's envelope.
	uploadBlock = 32 << 20
	// A file of more than streamed bytes goes in that many streams at once. One stream sends an envelope, waits for its answer, and
	// sends the next: 370 KB a round trip, which is less than 5 MiB/s at 50 ms. Each stream has a shell of its own, of the 30 that
	// Windows allows a user.
	streams  = 4
	streamed = 8 << 20
	// downloadBlock is how many bytes one command of a download in several streams brings; so many are held in memory for each.
	downloadBlock = 8 << 20
)

// ErrFolder: what was to be downloaded as a file is a folder.
var ErrFolder = errors.New("it is a folder in the guest")

type receiveArgs struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Offset int64  `json:"offset"`
	Stat   bool   `json:"stat,omitempty"`
}

// Upload streams a file to a receiver in the guest. What arrived before the connection was lost, or before this process was ended, is
// not sent again; the latter for files of more than 8 MiB.
func (w *winrm) Upload(ctx context.Context, path string, r io.ReaderAt, size int64) error {
	sum, err := sumOf(r, 0, size)
	if err != nil {
		return err
	}
	if sent, err := w.sendSFTP(ctx, path, r, size, sum); sent || err != nil {
		return err
	}
	if size <= streamed {
		err = w.send(ctx, path, r, receiveArgs{Path: path, Size: size, SHA256: sum})
	} else {
		err = w.sendStreams(ctx, path, r, size, sum)
	}
	if err != nil {
		return fmt.Errorf("cannot upload %s: %w", path, err)
	}
	return nil
}

func sumOf(r io.ReaderAt, offset, size int64) (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(r, offset, size))
	if err == nil && n != size {
		err = fmt.Errorf("it has %d bytes less than it had", size-n)
	}
	if err != nil {
		return "", fmt.Errorf("cannot read what is to be uploaded: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// joinArgs name the parts <path>.<mark>-0 and so on.
type joinArgs struct {
	Path   string `json:"path"`
	Mark   string `json:"mark"`
	Parts  int    `json:"parts"`
	SHA256 string `json:"sha256"`
}

// sendStreams sends a file in parts side by side, each a checked file of its own beside the target, and has the guest join them. Their
// names hold the whole file's sum, so that a later upload of the same file, and of no other, goes on with them.
func (w *winrm) sendStreams(ctx context.Context, path string, r io.ReaderAt, size int64, sum string) error {
	mark := sum[:12]
	for tries := 0; ; tries++ {
		group, stop := context.WithCancelCause(ctx)
		var wg sync.WaitGroup
		each := (size + streams - 1) / streams
		for k := range int64(streams) {
			from := k * each
			part := io.NewSectionReader(r, from, min(each, size-from))
			wg.Go(func() {
				partSum, err := sumOf(part, 0, part.Size())
				if err == nil {
					one := w.another()
					a := receiveArgs{Path: fmt.Sprintf("%s.%s-%d", path, mark, k), Size: part.Size(), SHA256: partSum}
					if a.Offset, err = one.arrived(group, a); err == nil && a.Offset < a.Size {
						err = one.send(group, path, part, a)
					}
					one.leave()
				}
				if err != nil {
					stop(err)
				}
			})
		}
		wg.Wait()
		err := context.Cause(group)
		stop(nil)
		if err != nil {
			return err
		}
		said := ""
		code, complaints, err := w.steady(ctx, "join", joinArgs{path, mark, streams, sum}, func(line string) { said = line })
		switch {
		case err != nil:
			return err
		case said == "#ingot:ok":
			return nil
		case (said == "#ingot:missing" || said == "#ingot:mismatch") && tries < 2:
			continue // somebody tidied the folder up, or the disk is not to be trusted
		default:
			return fmt.Errorf("the guest cannot join its parts: exit code %d: %s %s", code, said, complaints)
		}
	}
}

// steady runs a guest program that may be run again, through lost connections.
func (w *winrm) steady(ctx context.Context, verb string, args any, line func(string)) (code int, complaints string, err error) {
	for {
		complaints = ""
		code, err = w.program(ctx, verb, verb, args, nil, func(stream, text string, _ int) {
			if stream == "stderr" {
				complaints += text + "\n"
			} else {
				line(text)
			}
		})
		if err == nil {
			return code, strings.TrimSpace(complaints), nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrAuth) || errors.Is(err, ErrCertificate) {
			return 0, "", last(ctx, err)
		}
		if _, err := w.Ready(ctx); err != nil {
			return 0, "", err
		}
	}
}

// send sends what of r is missing in the guest, from a.Offset on.
func (w *winrm) send(ctx context.Context, path string, r io.ReaderAt, a receiveArgs) error {
	mismatches := 0
	for {
		n := min(a.Size-a.Offset, uploadBlock)
		answer, complaints := "", ""
		code, err := w.program(ctx, "receive", "receive", a, &encoder{from: io.NewSectionReader(r, a.Offset, n)}, func(stream, line string, _ int) {
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
			if got >= a.Size {
				return nil
			}
			a.Offset = got
			continue
		case err == nil && answer == "#ingot:mismatch":
			if mismatches++; mismatches > 2 {
				return errors.New("it arrives damaged again and again")
			}
			a.Offset = 0
			continue
		case err == nil:
			return fmt.Errorf("the guest's receiver exited with code %d: %s", code, complaints)
		case ctx.Err() != nil || errors.Is(err, ErrAuth) || errors.Is(err, ErrCertificate) || errors.Is(err, errInput):
			return last(ctx, err)
		}
		if a.Offset, err = w.arrived(ctx, a); err != nil {
			return err
		}
		if a.Offset == a.Size && a.Size > 0 {
			return nil
		}
	}
}

// arrived asks how much of a file is in the guest: all of it when it has its name already and the right sum.
func (w *winrm) arrived(ctx context.Context, a receiveArgs) (int64, error) {
	a.Stat = true
	var have int64
	whole := false
	_, _, err := w.steady(ctx, "receive", a, func(line string) {
		scan(line, "#ingot:have %d", &have)
		whole = whole || line == "#ingot:whole"
	})
	if err != nil {
		return 0, err
	}
	if whole {
		return a.Size, nil
	}
	if have >= a.Size { // a whole .part was never checked: begin again
		have = 0
	}
	return have, nil
}

// encoder is a reader's bytes as lines of base64. Lines of 30,000 characters keep the receiver's pipeline busy with bytes, not lines.
type encoder struct {
	from io.Reader
	line []byte // what of the current line was not read yet
	all  []byte
	err  error
}

func (e *encoder) Read(p []byte) (int, error) {
	if len(e.line) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		var raw [22500]byte
		n, err := io.ReadFull(e.from, raw[:])
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		e.err = err
		if n == 0 {
			return 0, e.err
		}
		e.all = append(base64.StdEncoding.AppendEncode(e.all[:0], raw[:n]), '\r', '\n')
		e.line = e.all
	}
	n := copy(p, e.line)
	e.line = e.line[n:]
	return n, nil
}

type fetchArgs struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Sum    bool   `json:"sum"`
}

// piece is one part of a file on its way here.
type piece struct {
	fetchArgs
	size int64 // of the whole file
	sum  string
}

// fetch reads a part of a file, from where it is after a lost connection.
func (w *winrm) fetch(ctx context.Context, a fetchArgs, to io.Writer) (piece, error) {
	p := piece{fetchArgs: a, size: -1}
	for {
		answer, complaints := "", ""
		var writeErr error
		code, err := w.program(ctx, "fetch", "fetch", p.fetchArgs, nil, func(stream, line string, _ int) {
			switch {
			case stream == "stderr":
				complaints = line
			case scan(line, "#ingot:size %d", &p.size):
			case strings.HasPrefix(line, "#ingot:"):
				answer = line
			case writeErr == nil:
				b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
				if err == nil {
					_, err = to.Write(b)
					p.Offset += int64(len(b))
					p.Length -= int64(len(b))
				}
				writeErr = err
			}
		})
		switch {
		case writeErr != nil:
			return p, writeErr
		case err == nil && answer == "#ingot:missing":
			return p, errors.New("the guest has no such file")
		case err == nil && answer == "#ingot:folder":
			return p, ErrFolder
		case err == nil && answer != "" && p.size >= 0 && (scan(answer, "#ingot:end %s", &p.sum) || !a.Sum && strings.HasPrefix(answer, "#ingot:end")):
			return p, nil
		case err == nil:
			return p, fmt.Errorf("the guest's answer is cut off (exit code %d) %s", code, complaints)
		case ctx.Err() != nil || errors.Is(err, ErrAuth) || errors.Is(err, ErrCertificate):
			return p, last(ctx, err)
		}
		if _, err := w.Ready(ctx); err != nil {
			return p, err
		}
	}
}

// Download reads a file of the guest and checks it. After a lost connection it goes on where it was. A file of more than 8 MiB comes in
// several streams, of which each holds that much in memory.
func (w *winrm) Download(ctx context.Context, path string, to io.Writer) error {
	if err := w.download(ctx, path, to); err != nil {
		return fmt.Errorf("cannot download %s: %w", path, err)
	}
	return nil
}

func (w *winrm) download(ctx context.Context, path string, to io.Writer) error {
	h := sha256.New()
	to = io.MultiWriter(h, to)
	first, err := w.fetch(ctx, fetchArgs{Path: path, Length: downloadBlock, Sum: true}, to)
	if err != nil {
		return err
	}
	if first.size > downloadBlock {
		if err := w.fetchStreams(ctx, path, first.size, to); err != nil {
			return err
		}
	}
	if first.sum != hex.EncodeToString(h.Sum(nil)) {
		return errors.New("it arrived damaged, or changed while it was read")
	}
	return nil
}

// fetchStreams reads what follows the first block, several blocks side by side, and writes them in their order.
func (w *winrm) fetchStreams(ctx context.Context, path string, size int64, to io.Writer) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	type block struct {
		at   int64
		done chan []byte
	}
	work, order := make(chan block), make(chan block, streams)
	var wg sync.WaitGroup
	for range streams {
		wg.Go(func() {
			one := w.another()
			defer one.leave()
			for b := range work {
				n := min(downloadBlock, size-b.at)
				out := make(appended, 0, n)
				if _, err := one.fetch(ctx, fetchArgs{Path: path, Offset: b.at, Length: n}, &out); err != nil {
					stop(err)
				} else if int64(len(out)) != n {
					stop(errors.New("it changed while it was read"))
				}
				b.done <- out
			}
		})
	}
	go func() {
		defer close(order)
		defer close(work)
		for at := int64(downloadBlock); at < size; at += downloadBlock {
			b := block{at, make(chan []byte, 1)}
			select {
			case order <- b:
				work <- b
			case <-ctx.Done():
				return
			}
		}
	}()
	for b := range order {
		out := <-b.done
		if ctx.Err() != nil {
			continue
		}
		if _, err := to.Write(out); err != nil {
			stop(err)
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

// appended is a writer into memory that does not grow by copying, as its size is known.
type appended []byte

func (a *appended) Write(b []byte) (int, error) { *a = append(*a, b...); return len(b), nil }
