package template

import (
	"errors"
	"fmt"
	"math"
	"regexp/syntax"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// What one call of a function may take and give. A template is read before anybody has judged it, so a short one must not be able to
// fill the memory; a script of 4 MiB is far above what WinRM carries in reasonable time.
const (
	maxText     = 4 << 20 // bytes of all texts of the arguments, and of the result
	maxMembers  = 100_000 // members of a result
	maxParsed   = 1 << 20 // bytes that a decoder or a compressor reads
	maxDepth    = 200     // nested brackets in JSON and YAML
	maxExponent = 1 << 16 // binary exponent of a number: about 20 000 digits
	maxCost     = 16      // of bcrypt: each step doubles the time, 16 takes seconds
	maxMatching = 1 << 23 // size of a regular expression times the text it reads
	maxDistinct = 2000    // distinct compares each member with each
)

// estimate says what a call would cost before it is made: an error refuses it. Its arguments carry no marks; they may be unknown or
// null, and there may be too few of them to call the function.
type estimate func(a []cty.Value) error

// limited puts a limit before a function, and hides what the function says about a sensitive argument: library errors quote what they
// were given. Everything else (marks, unknown values, null) is the function's own affair. The check stands in Type because many
// functions already do their work there.
func limited(f function.Function, limit estimate) function.Function {
	params := f.Params()
	for i := range params {
		params[i] = passAll(params[i])
	}
	spec := &function.Spec{Params: params, Description: f.Description()}
	if p := f.VarParam(); p != nil {
		v := passAll(*p)
		spec.VarParam = &v
	}
	spec.Type = func(a []cty.Value) (cty.Type, error) {
		plain := make([]cty.Value, len(a))
		for i, v := range a {
			plain[i], _ = v.UnmarkDeep()
		}
		if err := argumentsFit(plain); err != nil {
			return cty.NilType, err
		}
		if limit != nil {
			if err := limit(plain); err != nil {
				return cty.NilType, err
			}
		}
		t, err := f.ReturnTypeForValues(a)
		return t, discreet(a, err)
	}
	spec.Impl = func(a []cty.Value, _ cty.Type) (cty.Value, error) {
		v, err := f.Call(a)
		return v, discreet(a, err)
	}
	return function.New(spec)
}

// passAll lets everything pass to the function behind, which has rules of its own.
func passAll(p function.Parameter) function.Parameter {
	p.AllowNull, p.AllowUnknown, p.AllowDynamicType, p.AllowMarked = true, true, true, true
	return p
}

func discreet(a []cty.Value, err error) error {
	if err == nil {
		return nil
	}
	for _, v := range a {
		if !v.ContainsMarked() {
			continue
		}
		const hidden = "a sensitive argument is not what the function needs (what it says is hidden)"
		if bad, ok := errors.AsType[function.ArgError](err); ok {
			return function.NewArgErrorf(bad.Index, hidden) // the place of the argument is no secret
		}
		return errors.New(hidden)
	}
	return err
}

func argumentsFit(a []cty.Value) error {
	bytes, members := 0, 0
	for _, v := range a {
		if err := weigh(v, &bytes, &members); err != nil {
			return err
		}
	}
	return nil
}

// weigh adds up texts and members; it stops as soon as there are too many.
func weigh(v cty.Value, bytes, members *int) error {
	if v.IsNull() || !v.IsKnown() {
		return nil
	}
	switch t := v.Type(); {
	case t == cty.String:
		*bytes += len(v.AsString())
	case t == cty.Number:
		// MantExp costs nothing, writing the digits does.
		if e := v.AsBigFloat().MantExp(nil); e > maxExponent || e < -maxExponent {
			return errors.New("a number has more than about 20 000 digits")
		}
	case v.CanIterateElements():
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			if *members++; *members > maxMembers {
				return fmt.Errorf("the arguments hold more than %d members", maxMembers)
			}
			if k.Type() == cty.String && !t.IsSetType() {
				*bytes += len(k.AsString())
			}
			if err := weigh(e, bytes, members); err != nil {
				return err
			}
		}
	}
	if *bytes > maxText {
		return fmt.Errorf("the arguments are larger than %d bytes", maxText)
	}
	return nil
}

func textFits(n int) error {
	if n < 0 || n > maxText {
		return fmt.Errorf("the result would be larger than %d bytes", maxText)
	}
	return nil
}

func membersFit(n int) error {
	if n < 0 || n > maxMembers {
		return fmt.Errorf("the result would have more than %d members", maxMembers)
	}
	return nil
}

// str and num read an argument that may be missing, unknown, null or of another type.
func str(a []cty.Value, i int) string {
	if i >= len(a) || a[i].IsNull() || !a[i].IsKnown() || a[i].Type() != cty.String {
		return ""
	}
	return a[i].AsString()
}

func num(a []cty.Value, i int) float64 {
	if i >= len(a) || a[i].IsNull() || !a[i].IsKnown() || a[i].Type() != cty.Number {
		return 0
	}
	f, _ := a[i].AsBigFloat().Float64()
	return f
}

func count(v cty.Value) int {
	if v.IsNull() || !v.IsKnown() || !v.CanIterateElements() {
		return 0
	}
	return v.LengthInt()
}

func textAtMost(n int) estimate {
	return func(a []cty.Value) error {
		for i := range a {
			if len(str(a, i)) > n {
				return fmt.Errorf("a text is longer than %d bytes", n)
			}
		}
		return nil
	}
}

// formatFits adds the widths of the verbs, and for each verb the largest argument: %[1]s may name one argument many times.
func formatFits(a []cty.Value) error {
	f, total, largest, lists := str(a, 0), 0, 0, 1
	for i := 1; i < len(a); i++ {
		bytes, members := 0, 0
		if err := weigh(a[i], &bytes, &members); err != nil {
			return err
		}
		// Writing a number takes up to maxExponent digits; JSON (%#v) writes quotes and commas.
		largest = max(largest, 6*bytes+8*members+digits(a[i]))
		if t := a[i].Type(); t.IsListType() || t.IsTupleType() || t.IsSetType() {
			lists = max(lists, count(a[i]))
		}
	}
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			continue
		}
		total += largest
		for i++; i < len(f) && strings.IndexByte("+-# 0123456789.[]", f[i]) >= 0; i++ {
			j := i
			for j < len(f) && f[j] >= '0' && f[j] <= '9' {
				j++
			}
			if j == i {
				continue
			}
			n, err := strconv.Atoi(f[i:j])
			if err != nil || n > maxText {
				return errors.New("a width or precision of the format is too large")
			}
			total += n
			i = j - 1
		}
		if total > maxText {
			break
		}
	}
	total += len(f)
	if total > maxText/lists {
		return textFits(maxText + 1)
	}
	return nil
}

func digits(v cty.Value) int {
	if v.IsNull() || !v.IsKnown() || v.Type() != cty.Number {
		return 0
	}
	e := v.AsBigFloat().MantExp(nil)
	return max(e, -e)/3 + 160 // 512 bits of mantissa
}

func joinFits(a []cty.Value) error {
	total := 0
	for _, v := range a[min(1, len(a)):] {
		n, members := 0, 0
		if err := weigh(v, &n, &members); err != nil {
			return err
		}
		total += n + len(str(a, 0))*members
	}
	return textFits(total)
}

func indentFits(a []cty.Value) error {
	n := num(a, 0)
	if n < 0 || n > maxText {
		return errors.New("the number of spaces is out of range")
	}
	return textFits(len(str(a, 1)) + int(n)*strings.Count(str(a, 1), "\n"))
}

func replaceFits(a []cty.Value) error {
	return textFits(len(str(a, 0)) + strings.Count(str(a, 0), str(a, 1))*len(str(a, 2)))
}

func splitFits(a []cty.Value) error {
	return membersFit(strings.Count(str(a, 1), str(a, 0)) + 1)
}

// patternFits bounds the work of a regular expression: its time is its size times the text, and x{1000} is written short.
func patternFits(pattern, text string) (*syntax.Regexp, error) {
	if len(pattern) > 4096 {
		return nil, errors.New("the regular expression is longer than 4096 bytes")
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, nil // the function says it better
	}
	if n := patternSize(re); n > 20_000 || n*(len(text)+1) > maxMatching {
		return nil, errors.New("the regular expression is too large for this text")
	}
	return re, nil
}

func patternSize(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += patternSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, 1<<20)
}

func regexFits(a []cty.Value) error {
	re, err := patternFits(str(a, 0), str(a, 1))
	if err != nil || re == nil {
		return err
	}
	return membersFit((re.MaxCap() + 1) * matches(str(a, 0), str(a, 1)))
}

func regexReplaceFits(a []cty.Value) error {
	text, with := str(a, 0), str(a, 2)
	re, err := patternFits(str(a, 1), text)
	if err != nil || re == nil {
		return err
	}
	n := matches(str(a, 1), text)
	if n > maxMembers {
		return fmt.Errorf("there are more than %d matches", maxMembers)
	}
	// Matches do not overlap, so each $1 adds at most the whole text once.
	return textFits(len(text) + n*len(with) + strings.Count(with, "$")*len(text))
}

func productFits(a []cty.Value) error {
	n := len(a)
	for _, v := range a {
		if v.IsKnown() && !v.IsNull() && v.CanIterateElements() {
			if n *= v.LengthInt(); n > maxMembers {
				return membersFit(n)
			}
		}
	}
	return nil
}

func distinctFits(a []cty.Value) error {
	if len(a) > 0 && count(a[0]) > maxDistinct {
		return fmt.Errorf("the list has more than %d members", maxDistinct)
	}
	return nil
}

func powFits(a []cty.Value) error {
	if p := math.Pow(num(a, 0), num(a, 1)); math.IsInf(p, 0) || math.IsNaN(p) {
		return errors.New("the result is not a number that can be written")
	}
	return nil
}

func costFits(a []cty.Value) error {
	if num(a, 1) > maxCost {
		return fmt.Errorf("the cost is above %d", maxCost)
	}
	return nil
}

func csvFits(a []cty.Value) error {
	s := str(a, 0)
	if err := textAtMost(maxParsed)(a); err != nil {
		return err
	}
	return membersFit(strings.Count(s, ",") + strings.Count(s, "\n") + 1)
}

// nestingFits counts brackets, also those in texts, which only makes it stricter.
func nestingFits(a []cty.Value) error {
	if err := textAtMost(maxParsed)(a); err != nil {
		return err
	}
	s, depth := str(a, 0), 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '[', '{':
			if depth++; depth > maxDepth {
				return fmt.Errorf("brackets are nested deeper than %d", maxDepth)
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return membersFit(strings.Count(s, ",") + strings.Count(s, ":"))
}

// yamlFits also bounds aliases, which go-cty-yaml expands without a limit: a anchors that are named l times in all give at most
// ((a+l)/a)^a copies of anything.
func yamlFits(a []cty.Value) error {
	if err := nestingFits(a); err != nil {
		return err
	}
	s := str(a, 0)
	for line := range strings.Lines(s) {
		if strings.Count(line, "- ")+strings.Count(line, "? ") > maxDepth &&
			len(line)-len(strings.TrimLeft(line, " -?")) > 2*maxDepth {
			return fmt.Errorf("lists are nested deeper than %d", maxDepth)
		}
	}
	anchors, aliases := 0, 0
	for i := 0; i+1 < len(s); i++ {
		// YAML has line breaks beyond ASCII, so any such byte may stand before an anchor.
		if i > 0 && s[i-1] < 0x80 && !strings.ContainsRune(" \t\n\r[{,:-?", rune(s[i-1])) || strings.ContainsRune(" \t\n\r*&", rune(s[i+1])) {
			continue
		}
		switch s[i] {
		case '&':
			anchors++
		case '*':
			aliases++
		}
	}
	if anchors == 0 || aliases == 0 {
		return nil
	}
	n := float64(anchors)
	if copies := math.Pow((n+float64(aliases))/n, n); copies*float64(len(s)) > maxText {
		return errors.New("its aliases could make too many copies; write the values out")
	}
	return nil
}
