package sim

import (
	"net/http"
	"strings"
)

// termsType are agreements of the marketplace, which Resource Manager does not list among a subscription's resources.
const termsType = "Microsoft.MarketplaceOrdering/offerTypes/publishers/offers/plans/agreements"

func (w *Azure) termsID(publisher, offer, plan string) string {
	return "/subscriptions/" + w.cfg.Subscription + "/providers/Microsoft.MarketplaceOrdering/offerTypes/virtualmachine/publishers/" + publisher + "/offers/" + offer + "/plans/" + plan + "/agreements/current"
}

// AcceptTerms accepts the terms of a marketplace plan, as its owner has done before: see Scenario.AcceptedTerms.
func (w *Azure) AcceptTerms(publisher, offer, plan string) error {
	w.mu.Lock()
	w.acceptTerms(publisher, offer, plan)
	n := w.commit(true)
	w.mu.Unlock()
	return w.await(n)
}

func (w *Azure) acceptTerms(publisher, offer, plan string) {
	id := w.termsID(publisher, offer, plan)
	r := w.find(id)
	if r == nil {
		r = w.place(id, termsType, "")
	}
	r.props = map[string]any{"accepted": true, "retrieveDatetime": stamp(w.clock.Now())}
}

// planOffered is the marketplace image that is sold with a plan.
func (w *Azure) planOffered(publisher, offer, plan string) bool {
	for _, m := range w.catalogue() {
		if m.plan && strings.EqualFold(m.publisher, publisher) && strings.EqualFold(m.offer, offer) && strings.EqualFold(m.sku, plan) {
			return true
		}
	}
	return false
}

// terms answers for agreements: …/offerTypes/virtualmachine/publishers/P/offers/O/plans/N/agreements/current
// (rest/api/marketplaceordering/agreements/marketplace-agreements: get and create). nil: not that.
func (w *Azure) terms(q *request, parts, low []string) *reply {
	if len(low) != 12 || low[1] != "microsoft.marketplaceordering" || low[2] != "offertypes" || low[4] != "publishers" || low[6] != "offers" || low[8] != "plans" || low[10] != "agreements" || low[11] != "current" {
		return nil
	}
	publisher, offer, plan := parts[5], parts[7], parts[9]
	id := w.termsID(publisher, offer, plan)
	right := map[string]string{http.MethodGet: "read", http.MethodPut: "write"}[q.method]
	if right == "" {
		return w.unknown(q)
	}
	if bad := w.authorize(q.who, "Microsoft.MarketplaceOrdering/offerTypes/publishers/offers/plans/agreements/"+right, "/subscriptions/"+w.cfg.Subscription); bad != nil {
		return failed(bad)
	}
	if !w.planOffered(publisher, offer, plan) {
		return failed(refuse(400, "BadRequest", "Offer with PublisherId: '"+publisher+"', OfferId: '"+offer+"' and PlanId: '"+plan+"' not found. Consult https://aka.ms/acceptterms to troubleshoot."))
	}
	if q.method == http.MethodPut {
		if truth(q.body, "properties", "accepted") {
			w.acceptTerms(publisher, offer, plan)
		} else if r := w.find(id); r != nil {
			w.leave(r)
		}
	}
	r := w.find(id)
	link := "https://mpcprodsa.blob.core.windows.net/legalterms/" + strings.ToLower(publisher) + "/" + strings.ToLower(offer)
	return &reply{status: 200, body: map[string]any{"id": id, "name": plan, "type": "Microsoft.MarketplaceOrdering/offertypes", "properties": map[string]any{
		"publisher": publisher, "product": offer, "plan": plan, "licenseTextLink": link + ".txt", "privacyPolicyLink": link + "-privacy.txt", "marketplaceTermsLink": link + "-terms.txt",
		"retrieveDatetime": stamp(w.clock.Now()), "signature": "SIMULATED", "accepted": r != nil}}}
}

// checkPlan: an image that is sold with a plan, or made of one, wants it named and its terms accepted; others want none. The words are those of
// learn.microsoft.com/troubleshoot/azure (error messages of virtual machines) and of Azure/terraform-azurerm-compute#123.
func (w *Azure) checkPlan(in ask, needs string) *refusal {
	disk := text(in.body, "properties", "storageProfile", "osDisk", "name")
	name, product, publisher := text(in.body, "plan", "name"), text(in.body, "plan", "product"), text(in.body, "plan", "publisher")
	given := publisher + ":" + product + ":" + name
	switch {
	case needs == "" && name != "":
		return refuse(400, "VMMarketplaceInvalidInput", "Creating a virtual machine from a non Marketplace image does not need Plan information, please remove the Plan information in the request. OS disk name is '"+disk+"'.")
	case needs == "":
		return nil
	case name == "":
		return refuse(400, "VMMarketplaceInvalidInput", "Creating a virtual machine from Marketplace image or a custom image sourced from a Marketplace image requires Plan information in the request. OS disk name is '"+disk+"'.")
	case !strings.EqualFold(given, needs):
		return refuse(400, "VMMarketplaceInvalidInput", "The purchase information does not match. Unable to deploy from the Marketplace image. OS disk name is '"+disk+"'.")
	case w.find(w.termsID(publisher, product, name)) == nil:
		return refuse(400, "ResourcePurchaseValidationFailed", "User failed validation to purchase resources. Error message: 'Legal terms have not been accepted for this item on this subscription: '"+w.cfg.Subscription+
			"'. To accept legal terms using PowerShell, please use Get-AzureRmMarketplaceTerms and Set-AzureRmMarketplaceTerms API(https://go.microsoft.com/fwlink/?linkid=862451), to accept the terms using Azure CLI, please use az vm image accept-terms (https://go.microsoft.com/fwlink/?linkid=2110637) or deploy via the Azure portal to accept the terms'")
	}
	return nil
}
