package sim

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// put sends bytes to an address of the data plane.
func (w *world) bytes(method, u string, body string, header ...string) got {
	w.t.Helper()
	req, err := http.NewRequest(method, u, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.Transport().RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw := make([]byte, 4096)
	n, _ := resp.Body.Read(raw)
	return got{status: resp.StatusCode, header: resp.Header, text: string(raw[:n])}
}

func (w *world) account() {
	w.t.Helper()
	w.group()
	g := w.must("PUT", "Microsoft.Storage/storageAccounts/acct1", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`)
	if g.status != 202 || g.header.Get("Location") == "" || g.header.Get("Azure-AsyncOperation") != "" || g.text != "" {
		w.t.Fatalf("a new account: %d %v %q", g.status, g.header, g.text)
	}
	w.clock.move(time.Minute)
	if g := w.raw("GET", g.header.Get("Location"), w.token, nil, ""); g.status != 200 || text(g.json, "properties", "provisioningState") != "Succeeded" {
		w.t.Fatalf("its operation: %d %s", g.status, g.text)
	}
}

func TestStorageAccounts(t *testing.T) {
	w := newWorld(t, Config{})
	w.account()
	if g := w.must("PUT", "Microsoft.Storage/storageAccounts/acct1", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`); g.status != 200 {
		t.Errorf("again: %d", g.status)
	}
	keys := items(w.must("POST", "Microsoft.Storage/storageAccounts/acct1/listKeys?$expand=kerb", "").json, "keys")
	if len(keys) != 2 || len(text(keys[0], "value")) != 88 {
		t.Errorf("keys %v", keys)
	}
	if g := w.arm("PUT", "Microsoft.Storage/storageAccounts/Bad-Name", `{"location":"westeurope","sku":{"name":"Standard_LRS"}}`); g.code() != "AccountNameInvalid" {
		t.Errorf("a bad name: %d %s", g.status, g.text)
	}
	check := "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.Storage/checkNameAvailability"
	if g := w.must("POST", check, `{"name":"acct1","type":"Microsoft.Storage/storageAccounts"}`); g.json["nameAvailable"] != false {
		t.Errorf("a taken name: %s", g.text)
	}
	w.must("DELETE", "Microsoft.Storage/storageAccounts/acct1", "")
	if g := w.arm("GET", "Microsoft.Storage/storageAccounts/acct1", ""); g.status != 404 {
		t.Errorf("after deletion: %d", g.status)
	}
}

// An Owner may do everything with the account and nothing with its blobs: that takes a data role.
func TestBlobsByToken(t *testing.T) {
	scope := "/subscriptions/" + DefaultSubscription
	w := newWorld(t, Config{})
	w.AddPrincipal(Principal{Name: "writer", ClientID: "writer", Secret: "test-secret-not-real", Roles: []Assignment{{Role: "Storage Blob Data Contributor", Scope: scope}}})
	w.account()
	owner := w.signIn(DefaultClientID, DefaultClientSecret, "https://storage.azure.com/.default")
	writer := w.signIn("writer", "test-secret-not-real", "https://storage.azure.com/.default")
	wrong := w.signIn("writer", "test-secret-not-real", "https://management.sim.localhost/.default")
	const at = "https://acct1.blob.storage.localhost/box"
	put := func(token string) got {
		return w.bytes("PUT", at+"/b", "hello", "Authorization", "Bearer "+token, "x-ms-blob-type", "BlockBlob")
	}
	if g := w.bytes("PUT", at+"?restype=container", "", "Authorization", "Bearer "+writer); g.status != 201 {
		t.Fatalf("container: %d %s", g.status, g.text)
	}
	if g := put(writer); g.status != 201 {
		t.Errorf("writer: %d %s", g.status, g.text)
	}
	if g := put(owner); g.status != 403 || g.header.Get("x-ms-error-code") != "AuthorizationPermissionMismatch" {
		t.Errorf("owner: %d %s", g.status, g.text)
	}
	if g := put(wrong); g.status != 401 {
		t.Errorf("a token for another audience: %d %s", g.status, g.text)
	}
	if g := w.bytes("GET", EmbeddedURL+"/acct1/box/b", "", "Authorization", "Bearer "+writer); g.text != "hello" {
		t.Errorf("by path: %d %s", g.status, g.text)
	}
}

// granted is the address of a disk.
func (w *world) granted(disk, body string) string {
	w.t.Helper()
	g := w.must("POST", disk+"/beginGetAccess", body)
	w.clock.move(time.Minute)
	op := w.raw("GET", g.header.Get("Azure-AsyncOperation"), w.token, nil, "")
	end := w.raw("GET", g.header.Get("Location"), w.token, nil, "")
	sas := text(end.json, "accessSAS")
	if sas == "" || text(op.json, "properties", "output", "accessSAS") != sas {
		w.t.Fatalf("access to %s: %s; %s", disk, op.text, end.text)
	}
	return sas
}

func (w *world) state(disk string) string {
	w.t.Helper()
	return text(w.must("GET", disk, "").json, "properties", "diskState")
}

func TestADiskIsUploadedCopiedAndRead(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	const disk = "Microsoft.Compute/disks/up"
	if g := w.arm("PUT", disk, `{"location":"westeurope","properties":{"creationData":{"createOption":"Upload","uploadSizeBytes":20972033}}}`); g.status != 400 {
		t.Errorf("a size that is no VHD's: %d %s", g.status, g.text)
	}
	w.must("PUT", disk, `{"location":"westeurope","properties":{"osType":"Linux","creationData":{"createOption":"Upload","uploadSizeBytes":20972032}}}`)
	w.clock.move(time.Minute)
	if s := w.state(disk); s != "ReadyToUpload" {
		t.Errorf("a new upload is %s", s)
	}
	if g := w.arm("POST", disk+"/beginGetAccess", `{"access":"Read","durationInSeconds":60}`); g.status != 409 {
		t.Errorf("reading before the upload: %d", g.status)
	}
	sas := w.granted(disk, `{"access":"Write","durationInSeconds":3600}`)
	if s := w.state(disk); s != "ActiveUpload" {
		t.Errorf("under way it is %s", s)
	}
	if g := w.arm("DELETE", disk, ""); g.status != 409 {
		t.Errorf("deleting it meanwhile: %d", g.status)
	}
	page := strings.Repeat("p", 512)
	if g := w.bytes("PUT", sas+"&comp=page", page, "x-ms-page-write", "update", "x-ms-range", "bytes=1024-1535"); g.status != 201 {
		t.Fatalf("a page: %d %s", g.status, g.text)
	}
	w.must("POST", disk+"/endGetAccess", "")
	w.clock.move(time.Minute)
	if s := w.state(disk); s != "Unattached" {
		t.Errorf("in the end it is %s", s)
	}
	if g := w.bytes("GET", sas, ""); g.status < 400 {
		t.Errorf("the old address: %d", g.status)
	}

	const snap = "Microsoft.Compute/snapshots/snap"
	w.must("PUT", snap, `{"location":"westeurope","properties":{"incremental":true,"creationData":{"createOption":"Copy","sourceResourceId":"`+groupRG+`/providers/`+disk+`"}}}`)
	w.clock.move(time.Minute)
	sas = w.granted(snap, `{"access":"Read","durationInSeconds":600}`)
	if g := w.bytes("GET", sas, "", "x-ms-range", "bytes=1024-1535"); g.status != 206 || g.text != page {
		t.Errorf("read back: %d %q", g.status, g.text)
	}
	if g := w.bytes("PUT", sas+"&comp=page", page, "x-ms-page-write", "update", "x-ms-range", "bytes=0-511"); g.status != 403 {
		t.Errorf("writing by a read address: %d", g.status)
	}
	w.clock.move(time.Hour)
	if g := w.bytes("GET", sas, ""); g.status != 403 {
		t.Errorf("an address whose time is over: %d", g.status)
	}
	if s := w.state(snap); s != "Unattached" {
		t.Errorf("then it is %s", s)
	}
	image := w.must("PUT", "Microsoft.Compute/images/i", `{"location":"westeurope","properties":{"storageProfile":{"osDisk":{"osType":"Linux","osState":"Generalized","snapshot":{"id":"`+groupRG+`/providers/`+snap+`"}}}}}`)
	if image.status != 201 {
		t.Errorf("an image of a snapshot: %d", image.status)
	}
	w.mu.Lock()
	c := w.find(groupRG + "/providers/Microsoft.Compute/images/i").aux.(content)
	w.mu.Unlock()
	if c.image == "" || c.windows || !c.generalized {
		t.Errorf("its content: %+v", c)
	}
}

func TestEmptyDisksReadAsZerosAndAFooter(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	const disk = "Microsoft.Compute/disks/empty"
	w.must("PUT", disk, `{"location":"westeurope","sku":{"name":"Premium_LRS"},"properties":{"creationData":{"createOption":"Empty"},"diskSizeGB":1024}}`)
	w.clock.move(time.Minute)
	g := w.bytes("GET", w.granted(disk, `{"access":"Read","durationInSeconds":600}`), "", "x-ms-range", "bytes=1099511627776-1099511628287")
	if g.status != 206 || !strings.HasPrefix(g.text, "conectix") || g.header.Get("Content-Range") != "bytes 1099511627776-1099511628287/1099511628288" {
		t.Errorf("the footer: %d %v", g.status, g.header)
	}
	w.must("POST", disk+"/endGetAccess", "")
	w.clock.move(time.Minute)
	if g := w.arm("PATCH", disk, `{"properties":{"diskSizeGB":512}}`); g.status != 409 {
		t.Errorf("shrinking: %d", g.status)
	}
	if g := w.must("PATCH", disk, `{"properties":{"diskSizeGB":2048},"tags":{"a":"b"}}`); g.status != 202 || number(g.json, "properties", "diskSizeGB") != 2048 {
		t.Errorf("growing: %d %s", g.status, g.text)
	}
	w.clock.move(time.Minute)
	w.must("DELETE", disk, "")
}

// TestAScriptedGuestsDiskIsGivenOutAsItsModel: it goes to a blob of an account, which takes its time, and comes back as what it was.
func TestAScriptedGuestsDiskIsGivenOutAsItsModel(t *testing.T) {
	w := newWorld(t, Config{})
	w.account()
	const disk, at = "Microsoft.Compute/disks/fromimage", "https://acct1.blob.storage.localhost/vhds"
	w.AddPrincipal(Principal{Name: "writer", ClientID: "writer", Secret: "test-secret-not-real", Roles: []Assignment{{Role: "Storage Blob Data Contributor", Scope: "/subscriptions/" + DefaultSubscription}}})
	bearer := "Bearer " + w.signIn("writer", "test-secret-not-real", "https://storage.azure.com/.default")
	w.must("PUT", disk, `{"location":"westeurope","properties":{"diskSizeGB":1,"creationData":{"createOption":"FromImage","imageReference":{"id":"/Subscriptions/x/Providers/Microsoft.Compute/Locations/westeurope/Publishers/MicrosoftWindowsDesktop/ArtifactTypes/VMImage/Offers/windows-11/Skus/win11-24h2-avd/Versions/latest"}}}}`)
	w.clock.move(time.Minute)
	sas := w.granted(disk, `{"access":"Read","durationInSeconds":86400}`)
	if g := w.bytes("GET", sas, "", "x-ms-range", "bytes=0-511"); !strings.HasPrefix(g.text, modelMark) {
		t.Errorf("it begins with %q", g.text)
	}
	w.bytes("PUT", at+"?restype=container", "", "Authorization", bearer)
	g := w.bytes("PUT", at+"/os.vhd", "", "Authorization", bearer, "x-ms-copy-source", sas, "x-ms-version", "2021-12-02")
	id := g.header.Get("x-ms-copy-id")
	if g.status != 202 || g.header.Get("x-ms-copy-status") != "pending" {
		t.Fatalf("the copy: %d %v %s", g.status, g.header, g.text)
	}
	if g := w.bytes("DELETE", at+"/os.vhd", "", "Authorization", bearer); g.status != 409 || g.header.Get("x-ms-error-code") != "PendingCopyOperation" {
		t.Errorf("deleting it meanwhile: %d %v", g.status, g.header)
	}
	w.clock.move(9 * time.Second)
	if g := w.bytes("HEAD", at+"/os.vhd", "", "Authorization", bearer); g.header.Get("x-ms-copy-status") != "pending" || !strings.HasSuffix(g.header.Get("x-ms-copy-progress"), "/1073742336") || strings.HasPrefix(g.header.Get("x-ms-copy-progress"), "1073742336") {
		t.Errorf("half way: %v", g.header)
	}
	w.clock.move(time.Minute)
	if g := w.bytes("HEAD", at+"/os.vhd", "", "Authorization", bearer); g.header.Get("x-ms-copy-status") != "success" {
		t.Errorf("in the end: %v", g.header)
	}
	if g := w.bytes("PUT", at+"/os.vhd?comp=copy&copyid="+id, "", "Authorization", bearer, "x-ms-copy-action", "abort"); g.status != 409 {
		t.Errorf("aborting what is over: %d", g.status)
	}
	w.must("PUT", "Microsoft.Compute/disks/back", `{"location":"westeurope","properties":{"osType":"Windows","creationData":{"createOption":"Import","sourceUri":"`+at+`/os.vhd"}}}`)
	w.clock.move(time.Minute)
	w.mu.Lock()
	c := w.find(groupRG + "/providers/Microsoft.Compute/disks/back").aux.(content)
	w.mu.Unlock()
	if c.disk == nil || c.image != "" || !c.windows {
		t.Errorf("back again: %+v", c)
	}
}

func TestADiskIsImportedFromABlob(t *testing.T) {
	scope := "/subscriptions/" + DefaultSubscription
	w := newWorld(t, Config{})
	w.AddPrincipal(Principal{Name: "writer", ClientID: "writer", Secret: "test-secret-not-real", Roles: []Assignment{{Role: "Storage Blob Data Contributor", Scope: scope}}})
	w.account()
	bearer := "Bearer " + w.signIn("writer", "test-secret-not-real", "https://storage.azure.com/.default")
	const at = "https://acct1.blob.storage.localhost/vhds"
	w.bytes("PUT", at+"?restype=container", "", "Authorization", bearer)
	w.bytes("PUT", at+"/os.vhd", "", "Authorization", bearer, "x-ms-blob-type", "PageBlob", "x-ms-blob-content-length", "20972032")
	put := func() got {
		return w.arm("PUT", "Microsoft.Compute/disks/d", `{"location":"westeurope","properties":{"osType":"Linux","creationData":{"createOption":"Import","sourceUri":"`+at+`/os.vhd"}}}`)
	}
	if g := put(); g.status != 400 || !strings.Contains(g.message(), "not a valid VHD") {
		t.Errorf("a blob without a footer: %d %s", g.status, g.text)
	}
	footer := make([]byte, 512)
	copy(footer, "conectix")
	footer[63] = 2
	if g := w.bytes("PUT", at+"/os.vhd?comp=page", string(footer), "Authorization", bearer, "x-ms-page-write", "update", "x-ms-range", "bytes=20971520-20972031"); g.status != 201 {
		t.Fatalf("its footer: %d %s", g.status, g.text)
	}
	if g := put(); g.status != 202 {
		t.Fatalf("a VHD: %d %s", g.status, g.text)
	}
	w.clock.move(time.Minute)
	if g := w.bytes("GET", w.granted("Microsoft.Compute/disks/d", `{"access":"Read","durationInSeconds":600}`), "", "x-ms-range", "bytes=20971520-20972031"); g.text != string(footer) {
		t.Errorf("read back: %d %q", g.status, g.text)
	}
}
