package guest

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/crypto/md4" //nolint:staticcheck // NTLM is defined over MD4 (MS-NLMP 3.3.1)
)

// The NTLM flags of MS-NLMP 2.2.2.5 that the server's challenge carries.
const ntlmFlags = 0x00000001 | // unicode
	0x00000004 | // the target's name is in the challenge
	0x00000010 | 0x00000020 | // signing and sealing may be asked for
	0x00000200 | // NTLM
	0x00008000 | // always sign
	0x00020000 | // the target is a server
	0x00080000 | // extended session security
	0x00800000 | // target info is in the challenge
	0x02000000 | // version
	0x20000000 | 0x40000000 | 0x80000000 // 128 bit, key exchange, 56 bit

var errNTLM = errors.New("cannot read NTLM message: malformed")

const ntlmSignature = "NTLMSSP\x00"

// ntlmMessage finds the NTLMSSP message in a token; a SPNEGO wrapping (RFC 4178) carries it as an OCTET STRING, so
// looking for the signature finds either form.
func ntlmMessage(token []byte) ([]byte, bool) {
	i := bytes.Index(token, []byte(ntlmSignature))
	if i < 0 || len(token) < i+12 {
		return nil, false
	}
	return token[i:], i > 0
}

func ntlmType(msg []byte) uint32 { return binary.LittleEndian.Uint32(msg[8:]) }

// ntlmChallenge makes the CHALLENGE_MESSAGE (MS-NLMP 2.2.1.2) of a stand-alone server.
// It agrees only to
// what the client's NEGOTIATE_MESSAGE asked for (3.2.5.1.1): a client may refuse a key exchange it did not offer.
func ntlmChallenge(computer string, now time.Time, negotiate []byte) (nonce, msg []byte) {
	nonce = make([]byte, 8)
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	name := utf16le(strings.ToUpper(computer))
	var info []byte
	av := func(id uint16, v []byte) {
		info = binary.LittleEndian.AppendUint16(info, id)
		info = binary.LittleEndian.AppendUint16(info, uint16(len(v)))
		info = append(info, v...)
	}
	av(2, name) // MsvAvNbDomainName: of a workgroup machine it is its own name
	av(1, name) // MsvAvNbComputerName
	av(4, utf16le(computer))
	av(3, utf16le(computer))
	// MsvAvTimestamp: 100 ns since 1601; 11644473600 s lie between that and the Unix epoch.
	av(7, binary.LittleEndian.AppendUint64(nil, uint64((now.Unix()+11644473600)*10_000_000)))
	av(0, nil)

	le := binary.LittleEndian
	msg = append([]byte(ntlmSignature), 2, 0, 0, 0)
	field := func(n, at int) {
		msg = le.AppendUint16(msg, uint16(n))
		msg = le.AppendUint16(msg, uint16(n))
		msg = le.AppendUint32(msg, uint32(at))
	}
	const fixed = 56
	field(len(name), fixed)
	flags := uint32(ntlmFlags)
	if len(negotiate) >= 16 {
		const optional = 0x00000010 | 0x00000020 | 0x20000000 | 0x40000000 | 0x80000000
		flags &= ^uint32(optional) | le.Uint32(negotiate[12:])
	}
	msg = le.AppendUint32(msg, flags)
	msg = append(msg, nonce...)
	msg = append(msg, make([]byte, 8)...)
	field(len(info), fixed+len(name))
	msg = append(msg, 10, 0, 0x7c, 0x4f, 0, 0, 0, 15) // Windows 10.0 build 20348, NTLM revision 15
	msg = append(msg, name...)
	return nonce, append(msg, info...)
}

// ntlmVerify checks an AUTHENTICATE_MESSAGE (MS-NLMP 2.2.1.3) with NTLMv2 (3.3.2). NTLMv1 is refused, as Windows does
// by default since Windows Server 2008 R2 is no longer asked for it. Channel bindings are not checked: WinRM's
// CbtHardeningLevel is Relaxed by default.
func ntlmVerify(msg, nonce []byte, user, password string) (bool, error) {
	part := func(at int) []byte {
		if len(msg) < at+8 {
			return nil
		}
		n, off := int(binary.LittleEndian.Uint16(msg[at:])), int(binary.LittleEndian.Uint32(msg[at+4:]))
		if off < 0 || off+n > len(msg) {
			return nil
		}
		return msg[off : off+n]
	}
	if len(msg) < 64 {
		return false, errNTLM
	}
	response, domain, name := part(20), fromUTF16le(part(28)), fromUTF16le(part(36))
	if len(response) < 16+28 {
		return false, errNTLM
	}
	if !strings.EqualFold(name, user) {
		return false, nil
	}
	h := md4.New()
	h.Write(utf16le(password))
	mac := func(key []byte, parts ...[]byte) []byte {
		m := hmac.New(md5.New, key)
		for _, p := range parts {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	keyV2 := mac(h.Sum(nil), utf16le(strings.ToUpper(name)), utf16le(domain))
	return hmac.Equal(response[:16], mac(keyV2, nonce, response[16:])), nil
}

// spnegoChallenge wraps a challenge in a NegTokenResp (RFC 4178 4.2.2): accept-incomplete, NTLMSSP, the token.
func spnegoChallenge(token []byte) []byte {
	tlv := func(tag byte, body []byte) []byte {
		switch n := len(body); {
		case n < 128:
			return append([]byte{tag, byte(n)}, body...)
		case n < 256:
			return append([]byte{tag, 0x81, byte(n)}, body...)
		default:
			return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
		}
	}
	oid := []byte{0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a} // 1.3.6.1.4.1.311.2.2.10
	body := tlv(0xa0, tlv(0x0a, []byte{1}))
	body = append(body, tlv(0xa1, oid)...)
	body = append(body, tlv(0xa2, tlv(0x04, token))...)
	return tlv(0xa1, tlv(0x30, body))
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func fromUTF16le(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}
