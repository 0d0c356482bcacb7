package blob

import "sort"

// span is [from, to).
type span struct{ from, to int64 }

// ranges are the parts of a page blob that have been written, in order, apart from each other.
type ranges []span

// add marks a part as written.
func (r ranges) add(from, to int64) ranges {
	i := sort.Search(len(r), func(i int) bool { return r[i].to >= from })
	j := i
	for ; j < len(r) && r[j].from <= to; j++ {
		from, to = min(from, r[j].from), max(to, r[j].to)
	}
	return append(append(append(ranges{}, r[:i]...), span{from, to}), r[j:]...)
}

// cut marks a part as cleared.
func (r ranges) cut(from, to int64) ranges {
	var out ranges
	for _, s := range r {
		if s.to <= from || s.from >= to {
			out = append(out, s)
			continue
		}
		if s.from < from {
			out = append(out, span{s.from, from})
		}
		if s.to > to {
			out = append(out, span{to, s.to})
		}
	}
	return out
}

// within is what lies in a part.
func (r ranges) within(from, to int64) ranges {
	var out ranges
	for _, s := range r {
		if a, b := max(s.from, from), min(s.to, to); a < b {
			out = append(out, span{a, b})
		}
	}
	return out
}
