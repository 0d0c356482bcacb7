package explain

// finder finds many words in one pass over a text (Aho and Corasick, Efficient string matching, CACM 18/6, 1975): a log of hundreds of
// MiB is not searched hundreds of times.
type finder struct {
	class [256]uint8 // bytes that no word has are of class 0
	width int
	next  []int32 // state*width + class -> state
	ends  [][]int // words that end in a state
	words []string
}

func newFinder(words []string) *finder {
	f := &finder{words: words, width: 1}
	for _, w := range words {
		for i := range len(w) {
			if f.class[w[i]] == 0 {
				f.class[w[i]] = uint8(f.width)
				f.width++
			}
		}
	}
	state := func() int32 {
		for range f.width {
			f.next = append(f.next, -1)
		}
		f.ends = append(f.ends, nil)
		return int32(len(f.ends) - 1)
	}
	state()
	for n, w := range words {
		at := int32(0)
		for i := range len(w) {
			to := int(at)*f.width + int(f.class[w[i]])
			if f.next[to] < 0 {
				made := state()
				f.next[to] = made
			}
			at = f.next[to]
		}
		f.ends[at] = append(f.ends[at], n)
	}
	// In the order of their depth, a state's missing ways are those of the longest shorter suffix.
	fail := make([]int32, len(f.ends))
	var queue []int32
	for c := range f.width {
		if to := f.next[c]; to > 0 {
			queue = append(queue, to)
		} else {
			f.next[c] = 0
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		f.ends[at] = append(f.ends[at], f.ends[fail[at]]...)
		for c := range f.width {
			shorter := f.next[int(fail[at])*f.width+c]
			if to := f.next[int(at)*f.width+c]; to >= 0 {
				fail[to] = shorter
				queue = append(queue, to)
			} else {
				f.next[int(at)*f.width+c] = shorter
			}
		}
	}
	return f
}

// find is where each word begins.
func (f *finder) find(text string) [][]int {
	hits := make([][]int, len(f.words))
	at := int32(0)
	for i := range len(text) {
		at = f.next[int(at)*f.width+int(f.class[text[i]])]
		for _, w := range f.ends[at] {
			hits[w] = append(hits[w], i+1-len(f.words[w]))
		}
	}
	return hits
}
