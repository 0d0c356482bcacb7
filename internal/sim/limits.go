package sim

import (
	"fmt"
	"strings"
)

// quota counts a machine that is asked for against the region's cores and those of its family.
func (w *Azure) quota(size vmSize, location string) *refusal {
	s := w.cfg.Scenario
	exceeded := func(what string, limit, used int) *refusal {
		if used+size.cores <= limit {
			return nil
		}
		return refuse(409, "OperationNotAllowed", fmt.Sprintf("Operation could not be completed as it results in exceeding approved %s Cores quota. Additional details - Deployment Model: Resource Manager, Location: %s, Current Limit: %d, Current Usage: %d, Additional Required: %d, (Minimum) New Limit Required: %d. Submit a request for Quota increase at https://aka.ms/ProdportalCRP/?#create/Microsoft.Support/Parameters/ by specifying parameters listed in the 'Details' section for deployment to succeed.", what, location, limit, used, size.cores, used+size.cores))
	}
	if limit, ok := s.Quota[location]; ok {
		if bad := exceeded("Total Regional", limit, w.cores(location, "")); bad != nil {
			return bad
		}
	}
	for family, limit := range s.FamilyQuota[location] {
		if strings.EqualFold(family, size.family) {
			return exceeded(size.family, limit, w.cores(location, family))
		}
	}
	return nil
}

// cores are those of a region's machines that are not deallocated: of a family, or of all.
func (w *Azure) cores(location, family string) int {
	used := 0
	for _, v := range w.all(vmType) {
		if s, ok := findSize(text(v.props, "hardwareProfile", "vmSize")); ok && sameRegion(v.location, location) && machineOf(v).power != "deallocated" &&
			(family == "" || strings.EqualFold(family, s.family)) {
			used += s.cores
		}
	}
	return used
}

// allocate finds hosts for a machine that is to run, or not (learn.microsoft.com/troubleshoot/azure/virtual-machines/allocation-failure).
func (w *Azure) allocate(r *resource) *refusal {
	size, ok := findSize(text(r.props, "hardwareProfile", "vmSize"))
	if !ok || w.cfg.Scenario == nil {
		return nil
	}
	limit, limited := w.cfg.Scenario.Capacity[r.location]
	if !limited || w.running(r.location)+size.cores <= limit {
		return nil
	}
	return refuse(409, "AllocationFailed", "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance")
}

// running are the cores of a region that machines occupy at this moment.
func (w *Azure) running(location string) int {
	used := 0
	for _, v := range w.all(vmType) {
		if s, ok := findSize(text(v.props, "hardwareProfile", "vmSize")); ok && sameRegion(v.location, location) && machineOf(v).power == "running" {
			used += s.cores
		}
	}
	return used
}
