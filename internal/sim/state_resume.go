package sim

import (
	"container/heap"
	"slices"
	"strings"

	"ingot/internal/sim/guest"
)

// resume puts what was read into motion.
func (w *Azure) resume() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	heap.Init(&w.due)
	slices.SortFunc(w.ended, func(a, b string) int { return w.operations[a].seq - w.operations[b].seq })
	// One disk was written with everything that has it; the latest is the disk.
	latest := map[string]*guest.Disk{}
	for _, r := range w.order {
		for _, d := range contentsOf(r.aux) {
			if d != nil && d.ID() != "" && (latest[d.ID()] == nil || latest[d.ID()].Version() < d.Version()) {
				latest[d.ID()] = d
			}
		}
	}
	for _, r := range w.order {
		r.aux = share(r.aux, func(d *guest.Disk) *guest.Disk {
			if d == nil || latest[d.ID()] == nil {
				return d
			}
			return latest[d.ID()]
		})
	}
	for _, r := range w.all(templateType) {
		w.endLostRun(r)
	}
	for _, r := range w.all(vmType) {
		if m := machineOf(r); m.power == "running" {
			bad := bootVM(w, r)
			if bad != nil && bad.later != nil {
				w.bootAlone(r, m, bad.later)
				continue
			}
			if bad != nil && m.guest == nil && !strings.HasPrefix(bad.code, "OSProvisioning") {
				m.power = "stopped" // it does not come up again; its document stays as it was
			}
		}
	}
	return nil
}

// bootAlone boots a real machine that ran before, without anybody's operation.
func (w *Azure) bootAlone(r *resource, m *machine, l *later) {
	w.stopping.Go(func() {
		bad := l.work()
		w.mu.Lock()
		defer w.mu.Unlock()
		if bad == nil && l.then != nil {
			bad = l.then()
		}
		if bad != nil {
			m.power = "stopped"
		}
		w.settled = true
		w.touch("resource", r.low)
	})
}
