package provisioner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/image"
)

// Scripts and files at an address, which only Image Builder's language has, are fetched by this machine and handed to the guest over
// its communicator: the service does the same (it takes them to its staging account when the template is submitted and from there to
// the machine; azure-image-builder reference, sections 1.2 and 2), so that the guest needs no way out and sees no SAS.

// URI is a script or file at an address.
type URI struct {
	Address image.Text // hidden when a SAS is part of it
	SHA256  string     // of what is there, lower-case hexadecimal; "" takes what comes
}

// Remote is a provisioner that fetches from an address.
type Remote interface {
	// Addresses are what it fetches.
	Addresses() []URI
}

// Name is the last name of the address, free of secrets.
func (u URI) Name() string { return nameAt(u.Address) }

func addressesOf(address image.Text, sum string) []URI {
	if address.IsZero() {
		return nil
	}
	return []URI{{address, sum}}
}

// Bounds of a download. The service says of files that they should be less than 20 MB and sets no limit
// (Microsoft Learn, "Create a Bicep or ARM template using Azure VM Image Builder": File customizer); scripts are read into memory.
const (
	largestScript = 16 << 20
	fetchTries    = 6
	fetchWait     = time.Second     // doubled after each try
	fetchSilence  = 2 * time.Minute // for an answer to begin
)

// HasSAS reports whether a shared access signature is part of an address: whoever knows it may read what is there
// (Microsoft Learn, "Create a service SAS": the parameter sig).
func HasSAS(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Query().Get("sig") != ""
}

// shown is an address as it may be seen: without its query, in which a SAS is; nothing of one that is a secret as a whole.
func shown(address image.Text) string {
	u, err := url.Parse(address.Reveal())
	if err != nil || address.Secret() != "" && !HasSAS(address.Reveal()) {
		return "a secret address"
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	return u.String()
}

// nameAt is the last name of an address.
func nameAt(address image.Text) string { return base(strings.TrimRight(shown(address), "/")) }

var gitHubPage = regexp.MustCompile(`^https?://(www\.)?github\.com/([^/]+)/([^/]+)/blob/(.+)$`)

// checkURI judges a script or file at an address.
func checkURI(c *Check, address image.Text, sum string) {
	if sum != "" && !checksum.MatchString(sum) {
		c.fail("sha256Checksum", "write the SHA-256 as 64 lower-case hexadecimal digits", "sha256Checksum is no checksum: %q", sum)
	}
	uri := address.Reveal()
	if uri == "" || strings.Contains(uri, "{{ build `") {
		return
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		c.fail("scriptUri", "write https://…", "%q is no address", address)
		return
	case u.Scheme == "http":
		c.warn("scriptUri", "use https", "%q is fetched without encryption: whoever is in between can change it", shown(address))
	}
	if m := gitHubPage.FindStringSubmatch(uri); m != nil && u.Query().Get("raw") == "" {
		c.fail("scriptUri", "write https://raw.githubusercontent.com/"+m[2]+"/"+m[3]+"/"+m[4], "%s is GitHub's page about the file, not the file", shown(address))
	}
	if sum == "" {
		c.warn("scriptUri", "add sha256Checksum: the output of sha256sum", "%s has no checksum: whoever can change what is there changes the image", nameAt(address))
	}
}

// errStatus is an answer that is none of success.
type errStatus struct {
	code  int
	cause string // Azure's own code, if it says one
}

func (e *errStatus) Error() string {
	text := fmt.Sprintf("the server answers %d %s", e.code, http.StatusText(e.code))
	if e.cause != "" {
		text += " (" + e.cause + ")"
	}
	switch {
	case e.code == http.StatusNotFound:
		text += ": nothing is there; check the address, and that it is public or carries a SAS"
	case e.code == http.StatusForbidden || e.code == http.StatusUnauthorized || e.code == http.StatusConflict && e.cause == "PublicAccessNotPermitted":
		text += ": what is there is not public; write the address with a SAS that can still be used"
	}
	return text
}

// again says whether the same request may succeed later.
func (e *errStatus) again() bool {
	return e.code == http.StatusRequestTimeout || e.code == http.StatusTooManyRequests || e.code >= 500
}

// Fetch writes what is at an address to w, and returns its SHA-256 and size. It tries again when the server is busy or the line breaks;
// w is asked to begin anew (Reset) then. Redirections are followed, but never from https to http. Errors never show the address's query.
func Fetch(ctx context.Context, client *http.Client, clock communicator.Clock, u URI, w Restartable) (sum string, size int64, err error) {
	address := u.Address.Reveal()
	if client == nil {
		client = &http.Client{Transport: http.DefaultTransport}
	}
	c := *client
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) >= 10:
			return fmt.Errorf("%w from one address to the next without end", errRedirect)
		case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
			return fmt.Errorf("%w to an address without encryption", errRedirect)
		}
		return nil
	}
	wait := fetchWait
	for try := 1; ; try++ {
		sum, size, err = fetchOnce(ctx, &c, address, w)
		var status *errStatus
		var certificate *tls.CertificateVerificationError
		var name *net.DNSError
		final := errors.As(err, &status) && !status.again() || errors.As(err, &certificate) || errors.As(err, &name) && name.IsNotFound ||
			errors.Is(err, errTooLarge) || errors.Is(err, errRefused) || errors.Is(err, errRedirect)
		switch {
		case err == nil && u.SHA256 != "" && sum != u.SHA256:
			return "", 0, fmt.Errorf("cannot use %s: its SHA-256 is %s, and sha256Checksum says %s: what is there was changed; look at it, and write the new checksum", shown(u.Address), sum, u.SHA256)
		case err == nil:
			return sum, size, nil
		case ctx.Err() != nil:
			return "", 0, fmt.Errorf("cannot fetch %s: %w", shown(u.Address), context.Cause(ctx))
		case final || try == fetchTries:
			return "", 0, fmt.Errorf("cannot fetch %s: %w", shown(u.Address), err)
		}
		if err := clock.Sleep(ctx, wait); err != nil {
			return "", 0, fmt.Errorf("cannot fetch %s: %w", shown(u.Address), err)
		}
		wait *= 2
	}
}

// StandIn gives content in place of what is at an address, and why that cannot be reached; "" for one that is to be fetched.
type StandIn func(ctx context.Context, address string) (content, why string, err error)

// FetchOr is Fetch, unless something stands in for what is at the address: that is written to w, no checksum is checked or returned, and notice
// says so.
func FetchOr(ctx context.Context, standIn StandIn, client *http.Client, clock communicator.Clock, u URI, w Restartable) (sum string, size int64, notice string, err error) {
	if standIn != nil {
		content, why, err := standIn(ctx, u.Address.Reveal())
		if err != nil {
			return "", 0, "", fmt.Errorf("cannot fetch %s: %w", shown(u.Address), err)
		}
		if why != "" {
			if err := w.Reset(); err != nil {
				return "", 0, "", fmt.Errorf("cannot fetch %s: %w", shown(u.Address), err)
			}
			n, err := io.WriteString(w, content)
			return "", int64(n), shown(u.Address) + " is not fetched and its SHA-256 not checked: " + why, err
		}
	}
	sum, size, err = Fetch(ctx, client, clock, u, w)
	return sum, size, "", err
}

// Restartable is written to, from the beginning again after Reset.
type Restartable interface {
	io.Writer
	Reset() error
}

var (
	errTooLarge = errors.New("it is too large")
	errRefused  = errors.New("refused")
	errRedirect = errors.New("the server sends")
)

func fetchOnce(ctx context.Context, c *http.Client, address string, w Restartable) (string, int64, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// A server that is silent is given up; one that goes on sending is not.
	silence := time.AfterFunc(fetchSilence, func() { stop(fmt.Errorf("nothing came for %s", fetchSilence)) })
	defer silence.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", 0, fmt.Errorf("%w: it is no address", errRefused)
	}
	r.Header.Set("Accept", "*/*")
	answer, err := c.Do(r)
	if err != nil {
		var whole *url.Error
		if errors.As(err, &whole) {
			err = whole.Err // it quotes the address with its query
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return "", 0, err
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	if answer.StatusCode != http.StatusOK {
		return "", 0, &errStatus{answer.StatusCode, answer.Header.Get("x-ms-error-code")}
	}
	if err := w.Reset(); err != nil {
		return "", 0, fmt.Errorf("%w: %w", errRefused, err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), alive{answer.Body, silence})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err == nil && answer.ContentLength >= 0 && n != answer.ContentLength && !answer.Uncompressed {
		err = fmt.Errorf("%d of %d bytes came", n, answer.ContentLength)
	}
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// alive begins the silence anew with all that comes.
type alive struct {
	r     io.Reader
	timer *time.Timer
}

func (a alive) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if n > 0 {
		a.timer.Reset(fetchSilence)
	}
	return n, err
}

// Nowhere keeps nothing of what is fetched.
type Nowhere struct{}

func (Nowhere) Write(p []byte) (int, error) { return len(p), nil }

// Reset does nothing.
func (Nowhere) Reset() error { return nil }

// memory keeps a script.
type memory struct{ bytes.Buffer }

func (m *memory) Write(p []byte) (int, error) {
	if m.Len()+len(p) > largestScript {
		return 0, fmt.Errorf("%w for a script: more than %s bytes", errTooLarge, strconv.Itoa(largestScript))
	}
	return m.Buffer.Write(p)
}

func (m *memory) Reset() error {
	m.Buffer.Reset()
	return nil
}

// temporary keeps a file, for its owner only.
type temporary struct{ *os.File }

func (t temporary) Reset() error {
	_, err := t.Seek(0, io.SeekStart)
	return errors.Join(err, t.Truncate(0))
}

// pin is u with the checksum that the build saw when it began, so that what was looked at is what runs.
func (e *Env) pin(u URI) URI {
	if e.Pinned != nil && u.SHA256 == "" {
		u.SHA256 = e.Pinned(u.Address)
	}
	return u
}

// fetchScript is the script at an address, as text.
func (e *Env) fetchScript(ctx context.Context, u URI) (string, error) {
	var m memory
	e.progress("fetching %s", nameAt(u.Address))
	_, _, notice, err := FetchOr(ctx, e.StandIn, e.HTTP, e.Clock, e.pin(u), &m)
	if err != nil {
		return "", err
	}
	if notice != "" {
		e.progress("a stand-in is used for %s", nameAt(u.Address))
	}
	if head := bytes.ToLower(bytes.TrimSpace(m.Bytes()[:min(m.Len(), 256)])); bytes.HasPrefix(head, []byte("<!doctype html")) || bytes.HasPrefix(head, []byte("<html")) {
		return "", fmt.Errorf("cannot run %s: what is there is a web page, not a script; on GitHub, take the address behind Raw", shown(u.Address))
	}
	return decodeScript(m.Bytes()), nil
}

// fetchFile puts the file at an address into the guest.
func (e *Env) fetchFile(ctx context.Context, u URI, dest string) error {
	f, err := os.CreateTemp("", "ingot-fetch-*")
	if err != nil {
		return fmt.Errorf("cannot fetch: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // in the temporary folder
	defer f.Close()           //nolint:errcheck // only read after it was written
	name := nameAt(u.Address)
	e.progress("fetching %s", name)
	_, size, notice, err := FetchOr(ctx, e.StandIn, e.HTTP, e.Clock, e.pin(u), temporary{f})
	if err != nil {
		return err
	}
	if notice != "" {
		e.progress("a stand-in is used for %s", name)
	}
	e.progress("uploading %s", name)
	// Without the temporary file's own permissions, which are its owner's only.
	if err := e.Comm.Upload(ctx, dest, io.NewSectionReader(f, 0, size), size); err != nil {
		return fmt.Errorf("cannot upload %s: %w", name, err)
	}
	return nil
}
