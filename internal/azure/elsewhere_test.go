package azure

import (
	"net/http"
	"strings"
	"testing"
)

// TestOtherSubscriptions: what may be in another subscription of the tenant is asked for there.
func TestOtherSubscriptions(t *testing.T) {
	const other = "/subscriptions/00000000-0000-0000-0000-00000000000b/resourceGroups/net"
	vnet := other + "/providers/Microsoft.Network/virtualNetworks/hub"
	image := other + "/providers/Microsoft.Compute/images/base"
	w := newWire(t, map[string][]reply{
		"GET " + vnet:                    {{status: http.StatusOK, body: `{"location":"westeurope"}`}},
		"GET " + vnet + "/subnets/hosts": {{status: http.StatusOK, body: `{"id":"` + vnet + `/subnets/hosts"}`}},
		"GET " + image:                   {{status: http.StatusOK, body: `{"id":"` + image + `","location":"westeurope","properties":{"hyperVGeneration":"V2","storageProfile":{"osDisk":{"osType":"Windows"}}}}`}},
	})
	c := testClient(t, w, &stillClock{})
	id, _, err := c.GetSubnetIn(t.Context(), "00000000-0000-0000-0000-00000000000b", "net", "hub", "hosts")
	if err != nil || !strings.HasPrefix(id, other) {
		t.Errorf("%q %v", id, err)
	}
	i, err := c.ManagedImageIn(t.Context(), "00000000-0000-0000-0000-00000000000b", "net", "base")
	if err != nil || i.ID != image || i.Generation != "V2" || i.Location != "westeurope" {
		t.Errorf("%+v %v", i, err)
	}
}
