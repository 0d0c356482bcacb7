package main

import (
	"fmt"
	"io"
	"sort"
	"strings"
)

// Outcome is how one exchange went.
type Outcome struct {
	Case      string   `json:"case"`
	Index     int      `json:"i"`
	Operation string   `json:"operation"`
	Fate      Fate     `json:"fate"`
	Recorded  int      `json:"recorded"`
	Status    int      `json:"status"`
	Headers   bool     `json:"headers"`
	Words     bool     `json:"words"`
	Format    bool     `json:"format"`
	Keys      float64  `json:"keys"` // shared key paths of all, 0 to 1
	Missing   []string `json:"missing,omitempty"`
	Extra     []string `json:"extra,omitempty"`
	Notes     []string `json:"notes,omitempty"`
}

// Fate says whether an exchange can be held against the recording.
type Fate string

// The fates of an exchange.
const (
	Compared     Fate = "compared"
	NotSimulated Fate = "not simulated" // answered 501
	Depends      Fate = "depends"       // on what is not simulated, or on what the recording does not show being made
	Elsewhere    Fate = "elsewhere"     // another service
)

// Same reports whether status, headers and words all agree.
func (o Outcome) Same() bool { return o.Status == o.Recorded && o.Headers && o.Words }

// points is an exchange's part of the score: nothing without the right status, then a third each for headers, words, keys.
func (o Outcome) points() float64 {
	if o.Status != o.Recorded {
		return 0
	}
	p := o.Keys
	if o.Headers {
		p++
	}
	if o.Words {
		p++
	}
	return p / 3
}

// Score counts the exchanges of one operation.
type Score struct {
	Exchanges int     `json:"exchanges"`
	Status    int     `json:"status"`
	Headers   int     `json:"headers"`
	Words     int     `json:"words"`
	Format    int     `json:"format"`
	Keys      float64 `json:"keys"`  // mean, of those with the right status
	Score     float64 `json:"score"` // mean of all, 0 to 1
}

// Report is the result of a replay.
type Report struct {
	Conversations int              `json:"conversations"`
	Fates         map[Fate]int     `json:"fates"`
	Total         Score            `json:"total"`
	Operations    map[string]Score `json:"operations"`
	NotSimulated  map[string]int   `json:"notSimulated"`
}

// Tally counts outcomes.
func Tally(conversations int, all []Outcome) Report {
	r := Report{Conversations: conversations, Fates: map[Fate]int{}, Operations: map[string]Score{}, NotSimulated: map[string]int{}}
	for _, o := range all {
		r.Fates[o.Fate]++
		switch o.Fate {
		case NotSimulated:
			r.NotSimulated[o.Operation]++
		case Compared:
			s := r.Operations[o.Operation]
			s.add(o)
			r.Operations[o.Operation] = s
			r.Total.add(o)
		}
	}
	for op, s := range r.Operations {
		r.Operations[op] = s.mean()
	}
	r.Total = r.Total.mean()
	return r
}

func (s *Score) add(o Outcome) {
	s.Exchanges++
	s.Score += o.points()
	if o.Status != o.Recorded {
		return
	}
	s.Status++
	s.Keys += o.Keys
	for ok, n := range map[*bool]*int{&o.Headers: &s.Headers, &o.Words: &s.Words, &o.Format: &s.Format} {
		if *ok {
			*n++
		}
	}
}

func (s Score) mean() Score {
	s.Score /= float64(max(s.Exchanges, 1))
	s.Keys /= float64(max(s.Status, 1))
	return s
}

// Print writes the report as a table.
func (r Report) Print(w io.Writer) {
	fmt.Fprintf(w, "%-64s %5s %6s %7s %5s %6s %6s %6s\n", "operation", "calls", "status", "headers", "words", "format", "keys", "score") //nolint:errcheck // the caller's terminal
	line := func(name string, s Score) {
		fmt.Fprintf(w, "%-64s %5d %6d %7d %5d %6d %5.0f%% %5.0f%%\n", name, s.Exchanges, s.Status, s.Headers, s.Words, s.Format, 100*s.Keys, 100*s.Score) //nolint:errcheck // as above
	}
	var ops []string
	for op := range r.Operations {
		ops = append(ops, op)
	}
	sort.Slice(ops, func(i, j int) bool {
		a, b := r.Operations[ops[i]], r.Operations[ops[j]]
		return a.Exchanges > b.Exchanges || a.Exchanges == b.Exchanges && ops[i] < ops[j]
	})
	for _, op := range ops {
		line(op, r.Operations[op])
	}
	line("total", r.Total)
	fmt.Fprintf(w, "%d conversations: %d exchanges compared, %d not simulated, %d depend on what is not there, %d of other services\n", //nolint:errcheck // as above
		r.Conversations, r.Fates[Compared], r.Fates[NotSimulated], r.Fates[Depends], r.Fates[Elsewhere])
	var missing []string
	for op := range r.NotSimulated {
		missing = append(missing, op)
	}
	sort.Slice(missing, func(i, j int) bool {
		a, b := r.NotSimulated[missing[i]], r.NotSimulated[missing[j]]
		return a > b || a == b && missing[i] < missing[j]
	})
	var shown []string
	for _, op := range missing {
		shown = append(shown, fmt.Sprintf("%s (%d)", op, r.NotSimulated[op]))
	}
	fmt.Fprintf(w, "not simulated: %s\n", strings.Join(shown, ", ")) //nolint:errcheck // as above
}
