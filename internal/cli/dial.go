package cli

import (
	"context"
	"net"
	"net/netip"
	"time"

	"ingot/internal/communicator"
)

// guestNet are the loopback addresses that the simulated Azure gives its machines as public ones.
var guestNet = netip.MustParsePrefix("127.83.0.0/16")

// rehearsalDialer reaches the simulated Azure's machines, and of the real world this computer alone: a bastion, a proxy or a guest of one's own
// that a template names by a loopback address. Nothing else is dialled while nothing is built.
func rehearsalDialer(guests communicator.Dialer) communicator.Dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		ip, err := netip.ParseAddr(host)
		if host == "localhost" || err == nil && ip.IsLoopback() && !guestNet.Contains(ip) {
			return (&net.Dialer{Timeout: 15 * time.Second}).DialContext(ctx, network, addr)
		}
		return guests(ctx, network, addr)
	}
}
