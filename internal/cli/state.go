package cli

import (
	"cmp"
	"path/filepath"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/state"
)

// stateAddress is where runs are kept, as it was given; "" for the user's own folder.
func (a *app) stateAddress() string { return cmp.Or(a.state, a.Getenv("INGOT_STATE")) }

// remote reports whether runs are kept in a container.
func (a *app) remote() bool { return strings.Contains(a.stateAddress(), "://") }

// folder is the folder of what belongs to this machine: runs, and the disks of rehearsals' machines.
func (a *app) folder() string {
	if dir := a.stateAddress(); dir != "" && !a.remote() {
		return dir
	}
	base := a.Getenv("XDG_STATE_HOME")
	if base == "" {
		base = filepath.Join(cmp.Or(a.Getenv("HOME"), a.Getenv("USERPROFILE")), ".local", "state")
	}
	return filepath.Join(base, "ingot")
}

// lease is INGOT_STATE_LEASE, for whoever wants a dead runner's run sooner: 15s to 60s, which is what Azure gives.
func (a *app) lease() (plan.Lease, error) {
	text := a.Getenv("INGOT_STATE_LEASE")
	if text == "" {
		return plan.Lease{}, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 15*time.Second || d > time.Minute {
		return plan.Lease{}, usage("INGOT_STATE_LEASE is 15s to 60s, not %q", text)
	}
	return plan.Lease{Length: d}, nil
}

// store is where runs live: a folder, or an Azure blob container.
func (a *app) store() (plan.Runs, error) {
	lease, err := a.lease()
	if err != nil {
		return nil, err
	}
	if !a.remote() {
		return plan.Store{Dir: filepath.Join(a.folder(), "runs"), Lease: lease}, nil
	}
	box, err := a.container(a.stateAddress())
	if err != nil {
		return nil, err
	}
	return state.Store{C: box, Lease: lease}, nil
}

// container opens the container of the runs: with the signature in its address, or as whom the environment names. A template's own
// identity builds; it does not keep the books.
func (a *app) container(address string) (*azure.Container, error) {
	if !strings.HasPrefix(address, "https://") {
		scheme, _, _ := strings.Cut(address, "://")
		return nil, usage("--state is a folder or https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX], not %s://…", scheme)
	}
	o := azure.ContainerOptions{UserAgent: "ingot/" + Version}
	signed := strings.Contains(address, "sig=")
	if a.Getenv("INGOT_SIM") != "" {
		client, base, err := a.simClient()
		if err != nil {
			return nil, err
		}
		o.Transport = client
		if !signed {
			id := image.Identity{ClientID: cmp.Or(a.Getenv("AZURE_CLIENT_ID"), a.Getenv("ARM_CLIENT_ID"))}
			if secret := cmp.Or(a.Getenv("AZURE_CLIENT_SECRET"), a.Getenv("ARM_CLIENT_SECRET")); secret != "" {
				id.ClientSecret = image.Hidden("state", secret)
			}
			o.Credential, _, err = azure.Credential(simIdentity(id), azure.CloudAt(base, base), client, func(string) string { return "" })
			if err != nil {
				return nil, &exitError{exitPermission, err}
			}
		}
	} else if !signed {
		config, err := azure.CloudByName(cloudOfHost(address))
		if err == nil {
			o.Credential, _, err = azure.Credential(azure.Identity{}, config, nil, a.Getenv)
		}
		if err != nil {
			return nil, &exitError{exitPermission, err}
		}
	}
	box, err := azure.OpenContainer(address, o)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return box, nil
}

// cloudOfHost tells the cloud of a storage account by its host's suffix
// (https://learn.microsoft.com/azure/storage/common/storage-powershell-independent-clouds#get-endpoint-using-get-azenvironment).
func cloudOfHost(address string) string {
	switch {
	case strings.Contains(address, ".core.chinacloudapi.cn"):
		return "china"
	case strings.Contains(address, ".core.usgovcloudapi.net"):
		return "usgovernment"
	}
	return "public"
}

// notice tells of a wait on the error stream.
func (a *app) notice(text string) {
	if !a.json {
		say(a.Err, "%s", text)
	}
}
