package communicator

import (
	"crypto/sha256"
	"crypto/tls"
	"sync"
)

// certificatePin holds a guest's certificate against the one that is known, or against the first that it showed.
type certificatePin struct {
	mu    sync.Mutex
	want  [32]byte
	first func(sum [32]byte) error
}

func (p *certificatePin) check(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return ErrCertificate
	}
	sum := sha256.Sum256(s.PeerCertificates[0].Raw)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.want == [32]byte{} { // Insecure, as NewWinRM made sure
		if p.first != nil {
			if err := p.first(sum); err != nil {
				return err
			}
		}
		p.want = sum
	}
	if sum != p.want {
		return ErrCertificate
	}
	return nil
}
