package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"ingot/internal/azure"
	"ingot/internal/engine/vm"
	"ingot/internal/image"
)

// leakFlags are what gc is told about a whole subscription.
type leakFlags struct {
	on, packer, yes, dry bool
	subscription         string
	older                time.Duration
}

// leak is something that a build made and did not remove.
type leak struct {
	Kind      string        `json:"kind"` // group, resource, or vault (deleted and not purged)
	Name      string        `json:"name"` // of a resource, its id
	Run       string        `json:"run,omitempty"`
	Begun     time.Time     `json:"begun,omitzero"`
	Age       time.Duration `json:"age,omitempty"`
	Expires   time.Time     `json:"expires,omitzero"`
	Resources int           `json:"resources"`
	Keep      string        `json:"keep,omitempty"` // why it is not deleted
	Error     string        `json:"error,omitempty"`
	Deleted   bool          `json:"deleted"`

	resource azure.Listed
	location string
	vaults   []azure.Listed // in a group
}

// Packer names a temporary group after ten random characters and does not tag it (packer-plugin-azure, arm/tempname.go).
var packerGroup = regexp.MustCompile(`(?i)^pkr-Resource-Group-[a-z0-9]{10}$`)

// packerAge is how old a group of Packer's must be at least if nobody says otherwise: its builds bear no expiry.
const packerAge = 24 * time.Hour

// expires is what gc's tags say; a build's expiry is 24 hours after it was planned (engine.Options.Expires).
func expires(tags map[string]string) (begun, end time.Time, ok bool) {
	end, err := time.Parse(time.RFC3339, tags[vm.TagExpires])
	return end.Add(-lifetime), end, err == nil && tags[vm.TagRun] != ""
}

// gcLeaked looks through a subscription, without any journal.
func (a *app) gcLeaked(ctx context.Context, f *leakFlags, runs []string) error {
	kind, err := a.chooseCloud(image.Identity{})
	if err != nil {
		return err
	}
	if kind == cloudEmbedded {
		return usage("there is no subscription to look through: sign in to Azure, or start ingot sim serve and use the settings it prints")
	}
	s, err := a.open(ctx, kind, image.Identity{SubscriptionID: f.subscription}, "")
	if err != nil {
		return err
	}
	defer s.close()
	if !a.json {
		say(a.Err, "Cloud: %s, subscription %s.", s.where, s.cloud.Subscription())
	}
	live := map[string]bool{}
	if store, err := a.store(); err == nil {
		if list, err := store.List(ctx); err == nil {
			for _, r := range list {
				live[r.Run] = r.Live
			}
		}
	}
	leaks, err := findLeaks(ctx, s.cloud, s.clock.Now(), f, runs, live)
	if err != nil {
		return err
	}
	chosen := 0
	for _, l := range leaks {
		if l.Keep == "" {
			chosen++
		}
	}
	if !a.json {
		a.printLeaks(leaks)
	}
	switch {
	case chosen == 0 || f.dry:
	case f.yes || a.confirm(fmt.Sprintf("Delete these %d for good? [y/N] ", chosen)):
		removeLeaks(ctx, s.cloud, leaks, func(l *leak) {
			switch {
			case a.json:
			case l.Error != "":
				say(a.Err, "NOT deleted: %s %s: %s", l.Kind, l.Name, l.Error)
			default:
				say(a.Out, "deleted: %s %s", l.Kind, l.Name)
			}
		})
	case !a.json:
		say(a.Out, "nothing has been deleted; give --yes to delete the %d that are marked", chosen)
	}
	if a.json {
		if err := json.NewEncoder(a.Out).Encode(leaks); err != nil {
			return err
		}
	}
	var errs []error
	for _, l := range leaks {
		if l.Error != "" {
			errs = append(errs, fmt.Errorf("%s %s: %s", l.Kind, l.Name, l.Error))
		}
	}
	if len(errs) > 0 {
		return &exitError{exitLeftOver, fmt.Errorf("cannot delete everything: %w", errors.Join(errs...))}
	}
	return nil
}

// confirm asks a person; where there is none the answer is no.
func (a *app) confirm(question string) bool {
	if a.json || a.In == nil || !term.IsTerminal(int(a.In.Fd())) {
		return false
	}
	fmt.Fprint(a.Err, question)
	word, _ := bufio.NewReader(a.In).ReadString('\n') //nolint:errcheck // an end without an answer is a no
	return strings.EqualFold(strings.TrimSpace(word), "y") || strings.EqualFold(strings.TrimSpace(word), "yes")
}

func (a *app) printLeaks(leaks []*leak) {
	if len(leaks) == 0 {
		say(a.Out, "nothing has leaked")
		return
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	say(w, "\tWHAT\tNAME\tRUN\tAGE\tEXPIRED\tRESOURCES\t")
	for _, l := range leaks {
		mark := "x"
		if l.Keep != "" {
			mark = ""
		}
		expired := "-"
		if !l.Expires.IsZero() {
			expired = l.Expires.UTC().Format("2006-01-02 15:04")
		}
		say(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s", mark, l.Kind, l.Name, cmp.Or(l.Run, "-"), ageOf(l.Age), expired, l.Resources, l.Keep)
	}
	w.Flush() //nolint:errcheck // a terminal
	say(a.Out, "x would be deleted, with everything in it")
}

func ageOf(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
	return short(d.Truncate(time.Minute))
}

// findLeaks reads the whole subscription: groups and single resources that carry the tags of a build, key vaults that are deleted
// and not purged, and, on request, groups with the names that Packer gives.
func findLeaks(ctx context.Context, c *azure.Client, now time.Time, f *leakFlags, runs []string, live map[string]bool) ([]*leak, error) {
	groups, err := c.AllGroups(ctx)
	if err != nil {
		return nil, err
	}
	resources, err := c.AllResources(ctx)
	if err != nil {
		return nil, err
	}
	locks, err := c.Locks(ctx)
	if err != nil && !azure.IsForbidden(err) { // without the right to read them, Azure itself still refuses to delete what is locked
		return nil, err
	}
	gone, err := c.DeletedVaults(ctx)
	if err != nil {
		return nil, err
	}
	out := []*leak{}
	// judge fills in what is alike for everything that carries tags.
	judge := func(l *leak, tags map[string]string) bool {
		begun, end, ok := expires(tags)
		if !ok || len(runs) > 0 && !matches(tags[vm.TagRun], runs) {
			return false
		}
		l.Run, l.Begun, l.Expires, l.Age = tags[vm.TagRun], begun, end, now.Sub(begun)
		switch {
		case live[l.Run]:
			l.Keep = "its run is going on"
		case now.Before(end):
			l.Keep = "not expired yet"
		case l.Age < f.older:
			l.Keep = "younger than " + ageOf(f.older)
		}
		out = append(out, l)
		return true
	}
	within := map[string][]azure.Listed{} // lower-case group name -> what it holds
	for _, r := range resources {
		within[strings.ToLower(groupOf(r.ID))] = append(within[strings.ToLower(groupOf(r.ID))], r)
	}
	taken := map[string]bool{}
	for _, g := range groups {
		inside := within[strings.ToLower(g.Name)]
		l := &leak{Kind: "group", Name: g.Name, Resources: len(inside), location: g.Location, vaults: vaultsIn(inside)}
		switch {
		case judge(l, g.Tags):
		case f.packer && packerGroup.MatchString(g.Name) && len(runs) == 0:
			l.Keep = packersOwn(l, inside, now, max(f.older, 0))
			out = append(out, l)
		default:
			continue
		}
		taken[strings.ToLower(g.Name)] = true
		l.Keep = cmp.Or(l.Keep, locked(locks, "/subscriptions/"+c.Subscription()+"/resourceGroups/"+g.Name))
	}
	for _, r := range resources {
		if taken[strings.ToLower(groupOf(r.ID))] || strings.Count(r.ID, "/") > 8 { // a part goes with its whole
			continue
		}
		l := &leak{Kind: "resource", Name: r.ID, Resources: 1, resource: r, location: r.Location}
		if judge(l, r.Tags) {
			if azure.ScratchRank(r.Type) < 0 {
				l.Keep = cmp.Or(l.Keep, "no build makes a "+r.Type)
			}
			l.Keep = cmp.Or(l.Keep, locked(locks, r.ID))
			if strings.EqualFold(r.Type, "Microsoft.KeyVault/vaults") {
				l.vaults = []azure.Listed{r}
			}
		}
	}
	for _, v := range gone {
		l := &leak{Kind: "vault", Name: v.Name, location: v.Location}
		if judge(l, v.Tags) && v.PurgeProtected {
			l.Keep = cmp.Or(l.Keep, "purge protection: Azure removes it by itself")
		}
	}
	slices.SortStableFunc(out, func(x, y *leak) int {
		return cmp.Or(x.Begun.Compare(y.Begun), cmp.Compare(azure.ScratchRank(x.resource.Type), azure.ScratchRank(y.resource.Type)), strings.Compare(x.Name, y.Name))
	})
	return out, nil
}

// packersOwn says why a group with a name of Packer's is not deleted. It bears no tag, so that what it holds must look like Packer's,
// and be old enough.
func packersOwn(l *leak, inside []azure.Listed, now time.Time, older time.Duration) string {
	if older == 0 {
		older = packerAge
	}
	foreign := ""
	for _, r := range inside {
		if !r.Created.IsZero() && (l.Begun.IsZero() || r.Created.Before(l.Begun)) {
			l.Begun = r.Created
		}
		if !strings.HasPrefix(strings.ToLower(r.Name), "pkr") {
			foreign = r.Name
		}
	}
	if !l.Begun.IsZero() {
		l.Age = now.Sub(l.Begun)
	}
	switch {
	case foreign != "":
		return "it holds " + foreign + ", which Packer does not name so"
	case l.Begun.IsZero():
		return "empty: its age is not known"
	case l.Age < older:
		return "younger than " + ageOf(older)
	}
	return ""
}

func vaultsIn(list []azure.Listed) (out []azure.Listed) {
	for _, r := range list {
		if strings.EqualFold(r.Type, "Microsoft.KeyVault/vaults") {
			out = append(out, r)
		}
	}
	return out
}

// groupOf is the resource group in an id.
func groupOf(id string) string {
	parts := strings.Split(id, "/")
	if len(parts) > 4 && strings.EqualFold(parts[3], "resourceGroups") {
		return parts[4]
	}
	return ""
}

// locked says which lock keeps a thing: one on it, on what is around it, or on something in it
// (https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources).
func locked(locks []azure.Lock, id string) string {
	low := strings.ToLower(id)
	for _, l := range locks {
		at := strings.ToLower(l.Scope)
		if at == low || strings.HasPrefix(low, at+"/") || strings.HasPrefix(at, low+"/") {
			return "locked (" + l.Level + " on " + l.Scope + ")"
		}
	}
	return ""
}

// removeLeaks deletes what is not kept: groups and vaults side by side, single resources one after the other, since one may stand on
// another. What a deleted vault leaves is purged.
func removeLeaks(ctx context.Context, c *azure.Client, leaks []*leak, done func(*leak)) {
	var mu sync.Mutex
	end := func(l *leak, err error) {
		mu.Lock()
		defer mu.Unlock()
		if l.Deleted = err == nil; err != nil {
			l.Error = err.Error()
		}
		done(l)
	}
	op := azure.Op{Save: func(string) error { return nil }}
	purge := func(list []azure.Listed) error {
		var errs []error
		for _, v := range list {
			if err := c.PurgeVault(ctx, v.Name, v.Location, op); err != nil {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	var single []*leak
	for _, l := range leaks {
		switch {
		case l.Keep != "":
			continue
		case l.Kind == "resource":
			single = append(single, l)
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if l.Kind == "vault" {
				end(l, c.PurgeVault(ctx, l.Name, l.location, op))
				return
			}
			err := c.DeleteGroup(ctx, l.Name, op)
			if err == nil {
				err = purge(l.vaults)
			}
			end(l, err)
		})
	}
	wg.Go(func() {
		slices.SortStableFunc(single, func(x, y *leak) int {
			return cmp.Compare(azure.ScratchRank(x.resource.Type), azure.ScratchRank(y.resource.Type))
		})
		for _, l := range single {
			err := c.DeleteScratch(ctx, l.resource, op)
			if err == nil {
				err = purge(l.vaults)
			}
			end(l, err)
		}
	})
	wg.Wait()
}
