package azure

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
)

// Options are what a Client is made of.
type Options struct {
	Credential    azcore.TokenCredential // from Credential; required
	Subscription  string                 // required
	Cloud         cloud.Configuration    // zero: the public cloud
	Transport     policy.Transporter     // nil: the SDK's own
	Clock         Clock                  // required
	UserAgent     string
	CorrelationID string        // sent with every call, so that Azure's activity log shows the run as one
	RetryDelay    time.Duration // first wait after a failed call when Azure names none; default 0.8 s, doubled up to a minute
	MaxRetries    int32         // default 8: a build of hours survives minutes without a network
	PollCap       time.Duration // longest wait between polls when Azure names none; default 10 s
	OnCall        func(Call)    // for counting and tracing; may be nil
}

// Call is one exchange with Azure, without its bodies.
type Call struct {
	Method, Path string
	Status       int // 0: no answer
	Took         time.Duration
}

// Client makes the calls. It is safe for concurrent use.
type Client struct {
	o      Options
	arm    *arm.ClientOptions
	http   policy.ClientOptions
	groups *armresources.ResourceGroupsClient
	res    *armresources.Client
	provs  *armresources.ProvidersClient

	vnets   *armnetwork.VirtualNetworksClient
	subnets *armnetwork.SubnetsClient
	nsgs    *armnetwork.SecurityGroupsClient
	ips     *armnetwork.PublicIPAddressesClient
	nics    *armnetwork.InterfacesClient

	vaults *armkeyvault.VaultsClient

	vms    *armcompute.VirtualMachinesClient
	exts   *armcompute.VirtualMachineExtensionsClient
	disks  *armcompute.DisksClient
	snaps  *armcompute.SnapshotsClient
	images *armcompute.ImagesClient
	market *armcompute.VirtualMachineImagesClient
	skus   *armcompute.ResourceSKUsClient

	commands *armcompute.VirtualMachineRunCommandsClient
}

// New makes a Client.
func New(o Options) (*Client, error) {
	if o.Credential == nil || o.Subscription == "" || o.Clock == nil {
		return nil, errors.New("cannot make an Azure client without a credential, a subscription and a clock")
	}
	if o.Cloud.Services == nil {
		o.Cloud = cloud.AzurePublic
	}
	o.PollCap = cmp.Or(o.PollCap, 10*time.Second)
	c := &Client{o: o}
	c.http = policy.ClientOptions{
		Cloud: o.Cloud, Transport: o.Transport,
		Retry:           policy.RetryOptions{MaxRetries: cmp.Or(o.MaxRetries, 8), RetryDelay: o.RetryDelay, MaxRetryDelay: time.Minute},
		Telemetry:       policy.TelemetryOptions{ApplicationID: o.UserAgent},
		PerCallPolicies: []policy.Policy{correlate(o.CorrelationID)},
	}
	if r, ok := o.Credential.(*renewing); ok {
		r.use(o.Clock)
		c.http.PerCallPolicies = append(c.http.PerCallPolicies, r.again())
	}
	if o.OnCall != nil {
		c.http.PerRetryPolicies = append(c.http.PerRetryPolicies, trace(o.OnCall))
	}
	// Registering a provider by the way would need rights that a build does not have otherwise; it is checked for instead.
	c.arm = &arm.ClientOptions{ClientOptions: c.http, DisableRPRegistration: true}
	c.arm.PerCallPolicies = append([]policy.Policy{newThrottling(o.Clock)}, c.http.PerCallPolicies...)
	c.arm.Retry.StatusCodes = []int{http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout} // 429 is throttling's
	var errs []error
	c.groups = made(&errs, armresources.NewResourceGroupsClient, c)
	c.res = made(&errs, armresources.NewClient, c)
	c.provs = made(&errs, armresources.NewProvidersClient, c)
	c.vnets = made(&errs, armnetwork.NewVirtualNetworksClient, c)
	c.subnets = made(&errs, armnetwork.NewSubnetsClient, c)
	c.nsgs = made(&errs, armnetwork.NewSecurityGroupsClient, c)
	c.ips = made(&errs, armnetwork.NewPublicIPAddressesClient, c)
	c.nics = made(&errs, armnetwork.NewInterfacesClient, c)
	c.vaults = made(&errs, armkeyvault.NewVaultsClient, c)
	c.vms = made(&errs, armcompute.NewVirtualMachinesClient, c)
	c.exts = made(&errs, armcompute.NewVirtualMachineExtensionsClient, c)
	c.disks = made(&errs, armcompute.NewDisksClient, c)
	c.snaps = made(&errs, armcompute.NewSnapshotsClient, c)
	c.images = made(&errs, armcompute.NewImagesClient, c)
	c.market = made(&errs, armcompute.NewVirtualMachineImagesClient, c)
	c.commands = made(&errs, armcompute.NewVirtualMachineRunCommandsClient, c)
	c.skus = made(&errs, armcompute.NewResourceSKUsClient, c)
	return c, errors.Join(errs...)
}

// Subscription is the one that this client works in.
func (c *Client) Subscription() string { return c.o.Subscription }

// made calls an SDK constructor with the client's own options.
func made[T any](errs *[]error, make func(string, azcore.TokenCredential, *arm.ClientOptions) (*T, error), c *Client) *T {
	t, err := make(c.o.Subscription, c.o.Credential, c.arm)
	if err != nil {
		*errs = append(*errs, err)
	}
	return t
}

type policyFunc func(*policy.Request) (*http.Response, error)

func (f policyFunc) Do(r *policy.Request) (*http.Response, error) { return f(r) }

func correlate(id string) policy.Policy {
	return policyFunc(func(r *policy.Request) (*http.Response, error) {
		if id != "" {
			r.Raw().Header.Set("x-ms-correlation-request-id", id)
		}
		return r.Next()
	})
}

func trace(on func(Call)) policy.Policy {
	return policyFunc(func(r *policy.Request) (*http.Response, error) {
		begun := time.Now()
		resp, err := r.Next()
		c := Call{Method: r.Raw().Method, Path: r.Raw().URL.Path, Took: time.Since(begun)}
		if resp != nil {
			c.Status = resp.StatusCode
		}
		on(c)
		return resp, err
	})
}

// CloudAt describes a cloud by its two addresses, for Azure Stack and for a simulated one.
func CloudAt(authority, management string) cloud.Configuration {
	audience := strings.TrimSuffix(management, "/")
	return cloud.Configuration{
		ActiveDirectoryAuthorityHost: strings.TrimSuffix(authority, "/") + "/",
		Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: audience, Audience: audience}},
	}
}

// val reads a pointer of an SDK model.
func val[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// opt makes a pointer of a value that is left out when it is zero.
func opt[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func ptrs(m map[string]string) map[string]*string {
	out := make(map[string]*string, len(m))
	for k, v := range m {
		out[k] = &v
	}
	return out
}

func vals(m map[string]*string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = val(v)
	}
	return out
}

// last is the last segment of a resource id.
func last(id string) string { return id[strings.LastIndex(id, "/")+1:] }
