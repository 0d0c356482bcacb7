package sim

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Where machines are put and what they are given besides: availability sets, proximity placement groups, public keys of SSH
// (rest/api/compute/availability-sets, /proximity-placement-groups, /ssh-public-keys). Nothing here runs on racks: they are documents that
// machines refer to.
const availabilityType = "Microsoft.Compute/availabilitySets"

func fillPlacement(defaults map[string]any) func(*Azure, *resource, ask) {
	return func(_ *Azure, r *resource, in ask) {
		r.props = copyMap(mapping(in.body, "properties"))
		fill(r.props, defaults)
	}
}

// fillAvailabilitySet: of the sku Classic with five update domains and two or three fault domains, unless it is asked for otherwise.
func fillAvailabilitySet(_ *Azure, r *resource, in ask) {
	r.props = copyMap(mapping(in.body, "properties"))
	fill(r.props, map[string]any{"platformUpdateDomainCount": 5, "platformFaultDomainCount": 3})
	delete(r.props, "virtualMachines")
	if r.sku = copyMap(mapping(in.body, "sku")); text(r.sku, "name") == "" {
		r.sku["name"] = "Classic"
	}
}

// machinesIn are the machines of an availability set.
func machinesIn(w *Azure, id string) (ids []string) {
	for _, v := range w.all(vmType) {
		if sameID(text(v.props, "availabilitySet", "id"), id) {
			ids = append(ids, v.id)
		}
	}
	return ids
}

func showAvailabilitySet(w *Azure, r *resource, b map[string]any) {
	withoutProvisioning(w, r, b)
	mapping(b, "properties")["virtualMachines"] = references(machinesIn(w, r.id))
}

func dropAvailabilitySet(w *Azure, r *resource) *refusal {
	if len(machinesIn(w, r.id)) > 0 {
		return refuse(409, "OperationNotAllowed", "Availability Set '"+r.name+"' cannot be deleted. Before deleting an Availability Set please ensure that it does not contain any VM.")
	}
	return nil
}

// generateKeyPair makes a pair, keeps the public half and gives the private one away, once.
func generateKeyPair(w *Azure, r *resource) *reply {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return failed(refuse(500, "InternalServerError", err.Error()))
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return failed(refuse(500, "InternalServerError", err.Error()))
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return failed(refuse(500, "InternalServerError", err.Error()))
	}
	r.props["publicKey"] = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " generated-by-azure"
	w.touch("resource", r.low)
	return &reply{status: 200, body: map[string]any{"id": r.id, "publicKey": r.props["publicKey"], "privateKey": string(pem.EncodeToMemory(block))}}
}
