package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"ingot/internal/azure"
	"ingot/internal/communicator"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/sim"
	"ingot/internal/sim/qemu"
)

// Kinds of cloud a run can be in; they are journalled with it.
const (
	cloudAzure    = "azure"
	cloudEmbedded = "sim"        // lives and dies with this process
	cloudServed   = "sim-served" // ingot sim serve, in a process of its own
)

// session is what is outside the process, for one call of the program: the real Azure or a simulated one. Nothing behind it
// can tell which.
type session struct {
	kind  string
	where string // for humans, one line
	cloud *azure.Client
	clock plan.Clock
	dial  communicator.Dialer
	http  *http.Client // fetches from addresses; nil with the real Azure, as is standIn
	// standIn has what a rehearsal uses in place of what it cannot reach.
	standIn func(ctx context.Context, address string) (content, why string, err error)

	sim    *sim.Azure // embedded only
	host   *qemu.Host // of its real machines, if it has any
	hold   func() func()
	before map[string]bool // ids that were there when the build began; embedded only
	close  func()
}

// still is a journal of a rehearsal, whose simulated time stands still while an entry is written: a disk that is slow, because hundreds
// of builds write to it, is none of Azure's time.
func (s *session) still(j plan.Journal) plan.Journal {
	if c, ok := s.clock.(*sim.VirtualClock); ok {
		return stillJournal{j, c}
	}
	return j
}

type stillJournal struct {
	plan.Journal
	clock *sim.VirtualClock
}

func (j stillJournal) Append(e plan.Entry) error {
	defer j.clock.Hold()()
	return j.Journal.Append(e)
}

// env is what an engine gets.
func (s *session) env(secrets *engine.Secrets) engine.Env {
	return engine.Env{Cloud: s.cloud, Dial: s.dial, Secrets: secrets, Clock: s.clock, HTTP: s.http, StandIn: s.standIn}
}

// chooseCloud decides between the real and the simulated Azure without asking either.
func (a *app) chooseCloud(id image.Identity) (string, error) {
	switch a.cloud {
	case "azure":
		return cloudAzure, nil
	case "sim":
		if a.Getenv("INGOT_SIM") != "" {
			return cloudServed, nil
		}
		return cloudEmbedded, nil
	case "":
	default:
		return "", usage("--cloud is sim or azure, not %q", a.cloud)
	}
	if a.Getenv("INGOT_SIM") != "" {
		return cloudServed, nil
	}
	named := !id.ClientSecret.IsZero() || id.ClientCertPath != "" || !id.ClientJWT.IsZero() || id.OIDCRequestURL != "" || id.AzureCLI
	if named || azure.SignedIn(a.Getenv) {
		return cloudAzure, nil
	}
	return cloudEmbedded, nil
}

// open signs in to the cloud of that kind.
func (a *app) open(ctx context.Context, kind string, id image.Identity, scenario string) (*session, error) {
	switch kind {
	case cloudAzure:
		return a.openAzure(ctx, id)
	case cloudServed:
		return a.openServed(id)
	default:
		return a.openEmbedded(id, scenario)
	}
}

func identityOf(id image.Identity) azure.Identity {
	return azure.Identity{TenantID: id.TenantID, ClientID: id.ClientID, ClientSecret: id.ClientSecret.Reveal(), CertificatePath: id.ClientCertPath,
		CertificatePassword: id.ClientCertPassword.Reveal(), AssertionToken: id.ClientJWT.Reveal(), OIDCRequestURL: id.OIDCRequestURL,
		OIDCRequestToken: id.OIDCRequestToken.Reveal(), AzureCLI: id.AzureCLI}
}

func (a *app) openAzure(ctx context.Context, id image.Identity) (*session, error) {
	config, err := azure.CloudByName(id.Cloud)
	if err == nil && id.MetadataHost != "" {
		config, err = azure.CloudFromMetadata(ctx, id.MetadataHost, nil)
	}
	if err != nil {
		return nil, err
	}
	cred, how, err := azure.Credential(identityOf(id), config, nil, a.Getenv)
	if err != nil {
		return nil, &exitError{exitPermission, err}
	}
	subscription := id.SubscriptionID
	for _, key := range []string{"AZURE_SUBSCRIPTION_ID", "ARM_SUBSCRIPTION_ID"} {
		if subscription == "" {
			subscription = a.Getenv(key)
		}
	}
	if subscription == "" {
		return nil, &exitError{exitPermission, fmt.Errorf("cannot tell which subscription to build in: set subscription_id in the template or AZURE_SUBSCRIPTION_ID")}
	}
	clock := plan.WallClock{}
	c, err := azure.New(azure.Options{Credential: cred, Subscription: subscription, Cloud: config, Clock: clock, UserAgent: "ingot/" + Version})
	if err != nil {
		return nil, err
	}
	return &session{kind: cloudAzure, where: "Azure, signed in with " + how, cloud: c, clock: clock, dial: (&net.Dialer{Timeout: 15 * time.Second}).DialContext, close: func() {}}, nil
}

// simIdentity is the template's own identity where it names one with a secret, else the simulated Azure's default account.
func simIdentity(id image.Identity) azure.Identity {
	if id.ClientID != "" && !id.ClientSecret.IsZero() {
		out := identityOf(id)
		if out.TenantID == "" {
			out.TenantID = sim.DefaultTenant
		}
		return out
	}
	return azure.Identity{TenantID: sim.DefaultTenant, ClientID: sim.DefaultClientID, ClientSecret: sim.DefaultClientSecret}
}

// openServed uses a simulated Azure in another process: INGOT_SIM is its address, INGOT_SIM_CA its certificate authority.
func (a *app) openServed(id image.Identity) (*session, error) {
	client, base, err := a.simClient()
	if err != nil {
		return nil, err
	}
	s, err := a.openSim(id, client, base, plan.WallClock{})
	if err != nil {
		return nil, err
	}
	s.kind, s.where = cloudServed, "the simulated Azure at "+base
	s.dial = rehearsalDialer(sim.RemoteGuests(client, base))
	s.addresses(func(ctx context.Context, address string) (sim.Address, bool, error) {
		return sim.RemoteOutside(ctx, client, base, address)
	})
	s.close = client.CloseIdleConnections
	return s, nil
}

// simClient reaches the simulated Azure that INGOT_SIM names.
func (a *app) simClient() (client *http.Client, address string, err error) {
	base, err := url.Parse(a.Getenv("INGOT_SIM"))
	if err != nil || base.Host == "" {
		return nil, "", usage("INGOT_SIM is not a URL: %q", a.Getenv("INGOT_SIM"))
	}
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(a.Getenv("INGOT_SIM_CA"))
	if err != nil {
		return nil, "", usage("cannot read the simulated Azure's certificate authority (INGOT_SIM_CA): %v", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, "", usage("INGOT_SIM_CA holds no certificate: %s", a.Getenv("INGOT_SIM_CA"))
	}
	d := &net.Dialer{Timeout: 5 * time.Second}
	// Every host of the simulated Azure (management, login, NAME.vault) is the one socket.
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, base.Host)
		},
		TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 16, ForceAttemptHTTP2: true,
	}
	return &http.Client{Transport: transport}, base.String(), nil
}

// openEmbedded starts a simulated Azure in this process, in simulated time.
func (a *app) openEmbedded(id image.Identity, scenario string) (s *session, err error) {
	config := sim.Config{}
	if scenario != "" {
		s, err := sim.ReadScenario(scenario)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		config.Scenario = s
	}
	var clock plan.Clock
	where := "everything happens in the simulated Azure inside this program, in simulated time"
	latency := a.Getenv("INGOT_SIM_LATENCY")
	if a.guests == guestsQEMU {
		host, err := a.openHost("", false)
		if err != nil {
			return nil, err
		}
		config.Machines = host
		defer func() {
			if s == nil {
				host.Close() //nolint:errcheck // the error that led here counts
			}
		}()
		// Real machines live in real time; the rest need not keep them waiting.
		config.Clock, clock = sim.WallClock{}, plan.WallClock{}
		if latency != "realistic" {
			latency = "none"
		}
		where = "everything happens in the simulated Azure inside this program, its guests are real machines (QEMU, " + acceleration(host) + ")"
	} else {
		c := sim.NewVirtualClock(time.Now())
		config.Clock, clock = c, c
	}
	if latency == "none" {
		config.Latency = sim.NoLatency
	}
	if id.SubscriptionID != "" {
		config.Subscription = id.SubscriptionID
	}
	if id.TenantID != "" {
		config.Tenant = id.TenantID
	}
	az, err := sim.New(config)
	if err != nil {
		return nil, err
	}
	if who := simIdentity(id); who.ClientID != sim.DefaultClientID {
		az.AddPrincipal(sim.Principal{Name: "the template's own", ClientID: who.ClientID, Secret: who.ClientSecret})
	}
	if id.TenantID == "" {
		id.TenantID = sim.DefaultTenant
	}
	s, err = a.openSim(id, &http.Client{Transport: az.Transport()}, sim.EmbeddedURL, clock)
	if err != nil {
		az.Close()
		return nil, err
	}
	s.kind, s.where, s.sim, s.host = cloudEmbedded, "no Azure sign-in is used: "+where, az, config.Machines
	s.dial = rehearsalDialer(az.GuestDial)
	s.addresses(func(_ context.Context, address string) (sim.Address, bool, error) {
		a, ok := az.Outside(address)
		return a, ok, nil
	})
	s.close = func() {
		az.Close()
		if s.host != nil {
			s.host.Close() //nolint:errcheck // what it leaves, the next sweep finds
		}
	}
	return s, nil
}

func (a *app) openSim(id image.Identity, client *http.Client, base string, clock plan.Clock) (*session, error) {
	config := azure.CloudAt(base, base)
	who := simIdentity(id)
	who.TenantID = id.TenantID
	if who.TenantID == "" {
		who.TenantID = sim.DefaultTenant
	}
	cred, _, err := azure.Credential(who, config, client, func(string) string { return "" })
	if err != nil {
		return nil, err
	}
	subscription := id.SubscriptionID
	if subscription == "" {
		subscription = sim.DefaultSubscription
	}
	c, err := azure.New(azure.Options{Credential: cred, Subscription: subscription, Cloud: config, Transport: client, Clock: clock, UserAgent: "ingot/" + Version,
		RetryDelay: 20 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	return &session{cloud: c, clock: clock}, nil
}
