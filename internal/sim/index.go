package sim

import (
	"slices"
	"strings"
)

// index keeps resources in the order of their lower-case ids, so that a list, a resource's children and everything below a
// group are found without looking at the rest. What stands in one is true only together with Azure.resources: an id that was
// deleted there is passed over here.
type index []*resource

// at is where a lower-case id is or would be.
func (x index) at(low string) (int, bool) {
	return slices.BinarySearchFunc(x, low, func(r *resource, low string) int { return strings.Compare(r.low, low) })
}

func (x *index) put(r *resource) {
	i, have := x.at(r.low)
	if have {
		(*x)[i] = r
		return
	}
	*x = slices.Insert(*x, i, r)
}

func (x *index) cut(low string) {
	if i, have := x.at(low); have {
		*x = slices.Delete(*x, i, i+1)
	}
}

// under are the resources whose ids begin with low and a slash.
func (x index) under(low string) []*resource {
	i, _ := x.at(low + "/")
	j := i
	for j < len(x) && strings.HasPrefix(x[j].low, low+"/") {
		j++
	}
	return slices.Clone(x[i:j])
}

// enter puts a resource into the books.
func (w *Azure) enter(r *resource) {
	r.low = strings.ToLower(r.id)
	w.resources[r.low] = r
	w.order.put(r)
	typ := strings.ToLower(r.typ)
	x := w.byType[typ]
	if x == nil {
		x = &index{}
		w.byType[typ] = x
	}
	x.put(r)
	w.touch("resource", r.low)
}

// leave takes a resource out of the books.
func (w *Azure) leave(r *resource) {
	if w.resources[r.low] == r {
		delete(w.resources, r.low)
		w.order.cut(r.low)
		if x := w.byType[strings.ToLower(r.typ)]; x != nil {
			x.cut(r.low)
		}
	}
	w.touch("resource", r.low)
}
