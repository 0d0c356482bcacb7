package azure_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"ingot/internal/azure"
	"ingot/internal/sim"
)

// TestADiskIsCopiedToAnAccount goes the way of a VHD target: snapshot, address, copy in the service, and away again. The account's owner
// has no right to its blobs by his token, so the key is asked for.
func TestADiskIsCopiedToAnAccount(t *testing.T) {
	ctx := context.Background()
	w, err := sim.New(sim.Config{Latency: sim.NoLatency, Scenario: &sim.Scenario{Latency: map[string]sim.Duration{"blob-copy": sim.Duration(20 * time.Millisecond)}}})
	must(t, err)
	t.Cleanup(w.Close)
	config := azure.CloudAt(sim.EmbeddedURL, sim.EmbeddedURL)
	client := func(id, secret string) *azure.Client {
		wire := &counting{next: w.Transport()}
		cred, _, err := azure.Credential(azure.Identity{TenantID: sim.DefaultTenant, ClientID: id, ClientSecret: secret}, config, wire, func(string) string { return "" })
		must(t, err)
		c, err := azure.New(azure.Options{Credential: cred, Subscription: sim.DefaultSubscription, Cloud: config, Transport: wire, Clock: wall{}, RetryDelay: time.Millisecond, MaxRetries: 1})
		must(t, err)
		return c
	}
	c := client(sim.DefaultClientID, sim.DefaultClientSecret)
	w.AddPrincipal(sim.Principal{Name: "reader", ClientID: "reader", Secret: "test-secret-not-real", Roles: []sim.Assignment{{Role: "Reader", Scope: "/subscriptions/" + sim.DefaultSubscription}}})
	must(t, c.PutGroup(ctx, azure.Group{Name: "rg", Location: "westeurope"}))
	account := "/subscriptions/" + sim.DefaultSubscription + "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/vhds1"
	must(t, w.Seed(account, map[string]any{"location": "westeurope", "kind": "StorageV2", "sku": map[string]any{"name": "Standard_LRS"}, "properties": map[string]any{}}))

	if _, err := c.OpenVHDStore(ctx, "rg", "vhds1", "images"); !azure.IsNotFound(err) || !strings.Contains(err.Error(), "ContainerNotFound") {
		t.Fatalf("a container that is not there: %v", err)
	}
	must(t, w.SeedContainer("vhds1", "images"))
	store, err := c.OpenVHDStore(ctx, "rg", "vhds1", "images")
	must(t, err)

	want := image()
	_, err = c.PutUploadDisk(ctx, azure.Disk{Group: "rg", Name: "d", Location: "westeurope"}, int64(len(want)), azure.Op{})
	must(t, err)
	up, err := c.GrantAccess(ctx, "rg", "d", true, time.Hour)
	must(t, err)
	must(t, c.UploadPages(ctx, up, bytes.NewReader(want), int64(len(want)), nil))
	must(t, c.RevokeAccess(ctx, "rg", "d"))
	snapshot, err := c.PutSnapshot(ctx, azure.Snapshot{Group: "rg", Name: "s", Location: "westeurope", DiskID: "/subscriptions/" + sim.DefaultSubscription + "/resourceGroups/rg/providers/Microsoft.Compute/disks/d", Tags: map[string]string{"a": "b"}}, azure.Op{})
	must(t, err)
	if got, err := c.GetSnapshot(ctx, "rg", "s"); err != nil || got.ID != snapshot.ID || got.Tags["a"] != "b" || got.State != "Succeeded" {
		t.Errorf("the snapshot: %+v %v", got, err)
	}
	sas, err := c.OpenSnapshot(ctx, "rg", "s", time.Hour)
	must(t, err)
	polls := 0
	must(t, store.Copy(ctx, "a b/os.vhd", sas, map[string]string{"ingot_run": "r"}, func(azure.VHDInfo) { polls++ }))
	must(t, c.CloseSnapshot(ctx, "rg", "s"))
	i, err := store.Look(ctx, "a b/os.vhd")
	must(t, err)
	if polls == 0 || i.Bytes != int64(len(want)) || i.Meta["ingot_run"] != "r" || i.Copy != "success" {
		t.Errorf("after %d looks: %+v", polls, i)
	}
	must(t, c.DeleteSnapshot(ctx, "rg", "s", azure.Op{}))

	err = store.Copy(ctx, "other.vhd", sas, nil, nil)
	if err == nil || strings.Contains(err.Error(), "sig=") {
		t.Errorf("a closed address: %v", err)
	}
	// Looking at the container is a right of the account's reader, looking at a blob is none.
	barred, err := client("reader", "test-secret-not-real").OpenVHDStore(ctx, "rg", "vhds1", "images")
	must(t, err)
	if _, err := barred.Look(ctx, "a b/os.vhd"); err == nil || !strings.Contains(err.Error(), "Storage Blob Data Contributor") || !strings.Contains(err.Error(), "listKeys") {
		t.Errorf("somebody without the right: %v", err)
	}
	must(t, store.Delete(ctx, "a b/os.vhd"))
	must(t, store.Delete(ctx, "a b/os.vhd"))
	if _, err := store.Look(ctx, "a b/os.vhd"); !azure.IsNotFound(err) {
		t.Errorf("in the end: %v", err)
	}
}
