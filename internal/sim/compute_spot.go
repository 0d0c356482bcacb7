package sim

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkSpot holds a machine's priority against the rules for spot machines; codes and words are those of
// learn.microsoft.com/azure/virtual-machines/error-codes-spot.
func (w *Azure) checkSpot(in ask, size vmSize) *refusal {
	p := mapping(in.body, "properties")
	policy := text(p, "evictionPolicy")
	if text(p, "priority") != "Spot" {
		if policy != "" {
			return refuse(409, "EvictionPolicyCanBeSetOnlyOnAzureSpotVirtualMachines", "Eviction policy can be set only on Azure Spot Virtual Machines.")
		}
		return nil
	}
	if policy != "" && policy != "Deallocate" && policy != "Delete" {
		return refuse(400, "InvalidParameter", "The value '"+policy+"' of parameter 'evictionPolicy' is not supported.")
	}
	if size.capabilities()["LowPriorityCapable"] != "True" {
		return refuse(409, "OperationNotAllowed", "The VM size '"+size.name+"' does not support Azure Spot.")
	}
	price, market := -1.0, &SpotMarket{}
	if v, ok := mapping(p, "billingProfile")["maxPrice"].(float64); ok {
		price = v
	}
	if s := w.cfg.Scenario; s != nil && s.Spot != nil {
		market = s.Spot
	}
	now := market.Price
	if now == 0 {
		now = 0.01
	}
	switch {
	case price != -1 && price <= 0 || math.IsNaN(price):
		return refuse(400, "MaxPriceValueInvalid", "Invalid max price value. The only supported values for max price are -1 or a decimal greater than zero. Max price value of -1 indicates the Azure Spot virtual machine will not be evicted for price reasons.")
	case price != -1 && price < now:
		usd := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
		return refuse(409, "SpotPriceGreaterThanProvidedMaxPrice", "Unable to perform operation 'Create VM' since the provided max price '"+usd(price)+" USD' is lower than the current spot price '"+usd(now)+" USD' for Azure Spot VM size '"+size.name+"'.")
	case slices.ContainsFunc(market.NoCapacity, func(l string) bool { return sameRegion(l, in.location) }):
		return refuse(409, "SkuNotAvailable", "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: "+size.name+"' is currently not available in location '"+in.location+
			"'. Please try another size or deploy to a different location or different zone. See https://aka.ms/azureskunotavailable for details.")
	}
	return nil
}

// planEviction lets a spot machine be taken back when the scenario says so.
func (w *Azure) planEviction(r *resource) {
	s := w.cfg.Scenario
	if s == nil || s.Spot == nil || s.Spot.EvictAfter == 0 || text(r.props, "priority") != "Spot" {
		return
	}
	last := w.last
	w.beginVerb(r, "", time.Duration(s.Spot.EvictAfter), "action/simulateEviction").resource = ""
	w.last = last // a fault for the call under way means the machine's own operation
}

// evict takes a spot machine back: it is stopped and deallocated, or gone, as its policy says. Its disks stay unless they go with it
// (learn.microsoft.com/azure/virtual-machines/spot-vms, "Eviction policy").
func evict(w *Azure, r *resource) *refusal {
	if m := machineOf(r); text(r.props, "priority") != "Spot" || m.power == "deallocated" {
		return nil
	}
	if text(r.props, "evictionPolicy") == "Delete" {
		w.drop(r.id)
		return nil
	}
	stopVM(w, r)
	machineOf(r).power = "deallocated"
	return nil
}

// simulateEviction is Compute's own way to try it: 204, and within thirty minutes the machine is evicted
// (rest/api/compute/virtual-machines/simulate-eviction). Here that is at once.
func simulateEviction(w *Azure, r *resource) *reply {
	if text(r.props, "priority") != "Spot" {
		return failed(refuse(409, "OperationNotAllowed", "Operation 'simulateEviction' is not allowed on VM '"+r.name+"' since the VM is not an Azure Spot VM."))
	}
	evict(w, r)
	return &reply{status: http.StatusNoContent}
}

// completeSpot fills in what a spot machine was not given.
func completeSpot(p map[string]any) {
	if text(p, "priority") != "Spot" {
		return
	}
	fill(p, map[string]any{"evictionPolicy": "Deallocate", "billingProfile": map[string]any{"maxPrice": -1.0}})
	if strings.EqualFold(text(p, "evictionPolicy"), "deallocate") {
		p["evictionPolicy"] = "Deallocate"
	}
}
