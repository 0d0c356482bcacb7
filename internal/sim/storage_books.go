package sim

import "fmt"

// containerPart is what the id of a container has between its account and its name.
const containerPart = "/blobServices/default/containers/"

// SeedContainer makes a container in a storage account that is there.
func (w *Azure) SeedContainer(account, name string) error {
	w.mu.Lock()
	s, bad := w.plane()
	w.mu.Unlock()
	if bad != nil {
		return fmt.Errorf("cannot make container %s: %s", name, bad.message)
	}
	return s.Make(account, name)
}

// storedBlobs are the blobs of storage accounts for the books. The lock is held; the data plane's own is another one.
func (w *Azure) storedBlobs() []Item {
	var out []Item
	if w.storage.blobs == nil {
		return nil
	}
	for _, b := range w.storage.blobs.Blobs() {
		if a := w.storageNamed(b.Account); a != nil {
			state := "Succeeded"
			if b.Copy != "" {
				state = "Copy " + b.Copy
			}
			out = append(out, Item{ID: a.id + containerPart + b.Container + "/blobs/" + b.Name, Type: storageType + "/blobServices/containers/blobs", Location: a.location, State: state})
		}
	}
	return out
}
