package armexpr

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// collections are the functions on lists and objects, and those that take texts too.
func collections() map[string]function {
	same := func(a, b any) bool {
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		return string(x) == string(y)
	}
	holds := func(list []any, v any) bool { return slices.ContainsFunc(list, func(x any) bool { return same(x, v) }) }
	part := func(name string) function {
		return function{2, 2, func(_ *evaluation, a []any) (any, error) {
			n, err := number(a, 1)
			if err != nil {
				return nil, err
			}
			switch v := a[0].(type) {
			case []any:
				n = min(max(n, 0), len(v))
				if name == "take" {
					return v[:n], nil
				}
				return v[n:], nil
			case string:
				r := []rune(v)
				n = min(max(n, 0), len(r))
				if name == "take" {
					return string(r[:n]), nil
				}
				return string(r[n:]), nil
			}
			return nil, fmt.Errorf("argument 1 is %s, not a list or text", kind(a[0]))
		}}
	}
	end := func(last bool) function {
		return function{1, 1, func(_ *evaluation, a []any) (any, error) {
			switch v := a[0].(type) {
			case []any:
				if len(v) == 0 {
					return nil, nil
				}
				if last {
					return v[len(v)-1], nil
				}
				return v[0], nil
			case string:
				r := []rune(v)
				if len(r) == 0 {
					return "", nil
				}
				if last {
					return string(r[len(r)-1:]), nil
				}
				return string(r[:1]), nil
			}
			return nil, fmt.Errorf("argument 1 is %s, not a list or text", kind(a[0]))
		}}
	}
	extreme := func(sign float64) function {
		return function{1, -1, func(_ *evaluation, a []any) (any, error) {
			list := spread(a)
			if len(list) == 0 {
				return nil, fmt.Errorf("the list is empty")
			}
			best := 0.0
			for i := range list {
				f, isNumber := list[i].(float64)
				if !isNumber {
					return nil, fmt.Errorf("%s is no number", kind(list[i]))
				}
				if i == 0 || f*sign > best*sign {
					best = f
				}
			}
			return best, nil
		}}
	}
	return map[string]function{
		"take": part("take"), "skip": part("skip"), "first": end(false), "last": end(true), "min": extreme(-1), "max": extreme(1),
		"length": {1, 1, func(_ *evaluation, a []any) (any, error) {
			switch v := a[0].(type) {
			case []any:
				return float64(len(v)), nil
			case map[string]any:
				return float64(len(v)), nil
			case string:
				return float64(len([]rune(v))), nil
			}
			return nil, fmt.Errorf("%s has no length", kind(a[0]))
		}},
		"contains": {2, 2, func(_ *evaluation, a []any) (any, error) {
			switch v := a[0].(type) {
			case []any:
				return holds(v, a[1]), nil
			case map[string]any:
				key, err := text(a, 1)
				if err != nil {
					return nil, err
				}
				for k := range v {
					if strings.EqualFold(k, key) {
						return true, nil
					}
				}
				return false, nil
			case string:
				return strings.Contains(v, shown(a[1])), nil
			}
			return nil, fmt.Errorf("%s holds nothing", kind(a[0]))
		}},
		"union": {2, -1, func(_ *evaluation, a []any) (any, error) {
			if _, isObject := a[0].(map[string]any); isObject {
				out := map[string]any{}
				for _, v := range a {
					m, also := v.(map[string]any)
					if !also {
						return nil, fmt.Errorf("an object and %s have no union", kind(v))
					}
					merge(out, m)
				}
				return out, nil
			}
			out := []any{}
			for _, v := range a {
				list, isList := v.([]any)
				if !isList {
					return nil, fmt.Errorf("%s is no list", kind(v))
				}
				if len(out)*len(list) > 1_000_000 {
					return nil, fmt.Errorf("the lists are too long")
				}
				for _, x := range list {
					if !holds(out, x) {
						out = append(out, x)
					}
				}
			}
			return out, nil
		}},
		"intersection": {2, -1, func(_ *evaluation, a []any) (any, error) {
			out, isList := a[0].([]any)
			if !isList {
				return nil, fmt.Errorf("%s is no list", kind(a[0]))
			}
			for _, v := range a[1:] {
				list, also := v.([]any)
				if !also || len(out)*len(list) > 1_000_000 {
					return nil, fmt.Errorf("%s is no list, or too long", kind(v))
				}
				kept := []any{}
				for _, x := range out {
					if holds(list, x) {
						kept = append(kept, x)
					}
				}
				out = kept
			}
			return out, nil
		}},
		"range": onNumbers(func(start, n int) (any, error) {
			if n < 0 || n > 10_000 {
				return nil, fmt.Errorf("range makes 0 to 10000 numbers, not %d", n)
			}
			out := make([]any, n)
			for i := range n {
				out[i] = float64(start + i)
			}
			return out, nil
		}),
		"flatten": {1, 1, func(_ *evaluation, a []any) (any, error) {
			list, isList := a[0].([]any)
			if !isList {
				return nil, fmt.Errorf("%s is no list", kind(a[0]))
			}
			out := []any{}
			for _, v := range list {
				if inner, also := v.([]any); also {
					out = append(out, inner...)
				} else {
					out = append(out, v)
				}
			}
			return out, nil
		}},
		"items": {1, 1, func(_ *evaluation, a []any) (any, error) {
			m, isObject := a[0].(map[string]any)
			if !isObject {
				return nil, fmt.Errorf("%s is no object", kind(a[0]))
			}
			out := []any{}
			for _, k := range slices.Sorted(maps.Keys(m)) {
				out = append(out, map[string]any{"key": k, "value": m[k]})
			}
			return out, nil
		}},
		"objectkeys": {1, 1, func(_ *evaluation, a []any) (any, error) {
			m, isObject := a[0].(map[string]any)
			if !isObject {
				return nil, fmt.Errorf("%s is no object", kind(a[0]))
			}
			out := []any{}
			for _, k := range slices.Sorted(maps.Keys(m)) {
				out = append(out, k)
			}
			return out, nil
		}},
		"shallowmerge": {1, 1, func(_ *evaluation, a []any) (any, error) {
			list, isList := a[0].([]any)
			out := map[string]any{}
			for _, v := range list {
				m, isObject := v.(map[string]any)
				isList = isList && isObject
				maps.Copy(out, m)
			}
			if !isList {
				return nil, fmt.Errorf("a list of objects is needed")
			}
			return out, nil
		}},
		"tryget": {2, 2, func(_ *evaluation, a []any) (any, error) {
			switch v := a[0].(type) {
			case map[string]any:
				key, err := text(a, 1)
				return v[key], err
			case []any:
				if n, err := number(a, 1); err == nil && n >= 0 && n < len(v) {
					return v[n], nil
				}
			}
			return nil, nil
		}},
		"concat": {1, -1, func(_ *evaluation, a []any) (any, error) {
			if _, isList := a[0].([]any); isList {
				out := []any{}
				for _, v := range a {
					list, also := v.([]any)
					if !also {
						return nil, fmt.Errorf("a list and %s cannot be joined", kind(v))
					}
					out = append(out, list...)
				}
				return out, nil
			}
			var b strings.Builder
			for _, v := range a {
				if k := kind(v); k == "a list" || k == "an object" {
					return nil, fmt.Errorf("a text and %s cannot be joined", k)
				}
				b.WriteString(shown(v))
			}
			return b.String(), nil
		}},
	}
}

// merge puts m into out, objects inside objects as well.
func merge(out, m map[string]any) {
	for k, v := range m {
		inner, isObject := v.(map[string]any)
		old, was := out[k].(map[string]any)
		if isObject && was {
			joined := maps.Clone(old)
			merge(joined, inner)
			out[k] = joined
			continue
		}
		out[k] = v
	}
}

// texts are the functions on texts that take more than texts.
func texts() map[string]function {
	return map[string]function{
		"substring": {2, 3, func(_ *evaluation, a []any) (any, error) {
			s, err := text(a, 0)
			if err != nil {
				return nil, err
			}
			from, err := number(a, 1)
			if err != nil {
				return nil, err
			}
			r := []rune(s)
			n := len(r) - from
			if len(a) == 3 {
				if n, err = number(a, 2); err != nil {
					return nil, err
				}
			}
			if from < 0 || n < 0 || from+n > len(r) {
				return nil, fmt.Errorf("%d characters from %d on do not lie within the text's %d", n, from, len(r))
			}
			return string(r[from : from+n]), nil
		}},
		"replace": {3, 3, func(_ *evaluation, a []any) (any, error) {
			s, err := text(a, 0)
			if err != nil {
				return nil, err
			}
			old, err := text(a, 1)
			if err != nil {
				return nil, err
			}
			with, err := text(a, 2)
			if err != nil {
				return nil, err
			}
			if old == "" {
				return nil, fmt.Errorf("the text to replace is empty")
			}
			if len(s)+strings.Count(s, old)*len(with) > 1<<20 {
				return nil, fmt.Errorf("the text becomes longer than 1 MiB")
			}
			return strings.ReplaceAll(s, old, with), nil
		}},
		"split": {2, 2, func(_ *evaluation, a []any) (any, error) {
			s, err := text(a, 0)
			if err != nil {
				return nil, err
			}
			var marks []string
			for _, m := range spread([]any{a[1]}) {
				mark, isText := m.(string)
				if !isText || mark == "" {
					return nil, fmt.Errorf("a delimiter is %s, not a text", kind(m))
				}
				marks = append(marks, mark)
			}
			out := []any{}
			if len(marks) == 1 {
				for _, x := range strings.Split(s, marks[0]) {
					out = append(out, x)
				}
				return out, nil
			}
			start := 0
			for i := 0; i < len(s); {
				hit := ""
				for _, m := range marks {
					if strings.HasPrefix(s[i:], m) && len(m) > len(hit) {
						hit = m
					}
				}
				if hit == "" {
					i++
					continue
				}
				out = append(out, s[start:i])
				i += len(hit)
				start = i
			}
			return append(out, s[start:]), nil
		}},
		"join": {2, 2, func(_ *evaluation, a []any) (any, error) {
			list, isList := a[0].([]any)
			sep, err := text(a, 1)
			if err != nil || !isList {
				return nil, fmt.Errorf("a list and a text are needed")
			}
			parts := make([]string, len(list))
			total := len(sep) * len(list)
			for i, v := range list {
				parts[i] = shown(v)
				total += len(parts[i])
			}
			if total > 4<<20 {
				return nil, fmt.Errorf("the text becomes longer than 4 MiB")
			}
			return strings.Join(parts, sep), nil
		}},
		"padleft": {2, 3, func(_ *evaluation, a []any) (any, error) {
			n, err := number(a, 1)
			if err != nil {
				return nil, err
			}
			pad := " "
			if len(a) == 3 {
				if pad, err = text(a, 2); err != nil || len([]rune(pad)) != 1 {
					return nil, fmt.Errorf("argument 3 must be one character")
				}
			}
			s := shown(a[0])
			if n > 16_384 {
				return nil, fmt.Errorf("the text becomes longer than 16384 characters")
			}
			return strings.Repeat(pad, max(n-len([]rune(s)), 0)) + s, nil
		}},
		"format": {1, -1, func(_ *evaluation, a []any) (any, error) {
			s, err := text(a, 0)
			if err != nil {
				return nil, err
			}
			return format(s, a[1:])
		}},
	}
}

var hole = regexp.MustCompile(`\{\{|\}\}|\{(\d+)(?:,(-?\d+))?(?::([^}]*))?\}|[{}]`)

// format fills {0} of .NET's composite formats.
func format(s string, args []any) (string, error) {
	var wrong error
	total := 0
	out := hole.ReplaceAllStringFunc(s, func(m string) string {
		switch m {
		case "{{":
			return "{"
		case "}}":
			return "}"
		case "{", "}":
			wrong = fmt.Errorf("a brace that stands for itself is written twice")
			return ""
		}
		p := hole.FindStringSubmatch(m)
		i, err := strconv.Atoi(p[1])
		if err != nil || i >= len(args) {
			wrong = fmt.Errorf("%s has no argument", m)
			return ""
		}
		v := shown(args[i])
		if n, isNumber := integer(args[i]); isNumber && p[3] != "" {
			width, _ := strconv.Atoi(strings.TrimLeft(p[3], "DdNn"))
			switch p[3][0] {
			case 'D', 'd':
				v = fmt.Sprintf("%0*d", min(width, 99), n)
			case '0':
				v = fmt.Sprintf("%0*d", min(len(p[3]), 99), n)
			case 'N', 'n':
				v = grouped(n)
			case 'X', 'x':
				v = fmt.Sprintf("%"+p[3][:1], n)
			}
		}
		if width, err := strconv.Atoi(p[2]); err == nil {
			v = fmt.Sprintf("%*s", max(min(width, 999), -999), v)
		}
		if total += len(v); total > 1<<20 {
			wrong = fmt.Errorf("the text becomes longer than 1 MiB")
			return ""
		}
		return v
	})
	return out, wrong
}

func grouped(n int) string {
	s := strconv.Itoa(n)
	sign := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if sign {
		s = "-" + s
	}
	return s
}

// moment reads a date as ARM writes it.
func moment(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "20060102T150405Z", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no date", s)
}

var isoDuration = regexp.MustCompile(`^(-?)P(?:(\d{1,6})Y)?(?:(\d{1,6})M)?(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,7})H)?(?:(\d{1,8})M)?(?:(\d{1,9})S)?)?$`)

// addISO adds an ISO 8601 duration: P3Y, -P9D, PT1H.
func addISO(t time.Time, s string) (time.Time, error) {
	m := isoDuration.FindStringSubmatch(s)
	if m == nil {
		return t, fmt.Errorf("%q is no ISO 8601 duration, such as P3Y or -PT1H", s)
	}
	n := func(i int) int {
		v, err := strconv.Atoi(m[i])
		if err != nil {
			return 0
		}
		if m[1] == "-" {
			return -v
		}
		return v
	}
	return t.AddDate(n(2), n(3), 7*n(4)+n(5)).Add(time.Duration(n(6))*time.Hour + time.Duration(n(7))*time.Minute + time.Duration(n(8))*time.Second), nil
}

// dotNet formats a time by .NET's format strings; without one as utcNow does.
func dotNet(t time.Time, layout string) (string, error) {
	switch layout {
	case "":
		return t.Format("20060102T150405Z"), nil
	case "d":
		return t.Format("1/2/2006"), nil
	case "D":
		return t.Format("Monday, January 2, 2006"), nil
	case "u":
		return t.Format("2006-01-02 15:04:05Z"), nil
	case "o", "O":
		return t.Format("2006-01-02T15:04:05.0000000Z"), nil
	case "s":
		return t.Format("2006-01-02T15:04:05"), nil
	case "R", "r":
		return t.Format("Mon, 02 Jan 2006 15:04:05 GMT"), nil
	case "Y", "y":
		return t.Format("January 2006"), nil
	}
	if len(layout) > 1024 {
		return "", fmt.Errorf("the format is longer than 1024 characters")
	}
	letters := []struct{ net, layout string }{{"yyyy", "2006"}, {"yy", "06"}, {"MMMM", "January"}, {"MMM", "Jan"}, {"MM", "01"}, {"M", "1"}, {"dddd", "Monday"}, {"ddd", "Mon"}, {"dd", "02"}, {"d", "2"},
		{"HH", "15"}, {"hh", "03"}, {"h", "3"}, {"mm", "04"}, {"m", "4"}, {"ss", "05"}, {"s", "5"}, {"tt", "PM"}, {"zzz", "-07:00"}}
	var b strings.Builder
next:
	for i := 0; i < len(layout); {
		switch layout[i] {
		case '\'', '"':
			end := strings.IndexByte(layout[i+1:], layout[i])
			if end < 0 {
				return "", fmt.Errorf("the quote in the format is not closed")
			}
			b.WriteString(layout[i+1 : i+1+end])
			i += end + 2
			continue
		case '\\':
			if i+1 < len(layout) {
				b.WriteByte(layout[i+1])
			}
			i += 2
			continue
		case 'H':
			if !strings.HasPrefix(layout[i:], "HH") {
				fmt.Fprint(&b, t.Hour())
				i++
				continue
			}
		case 'f', 'F':
			n := len(layout[i:]) - len(strings.TrimLeft(layout[i:], layout[i:i+1]))
			b.WriteString(fmt.Sprintf("%09d", t.Nanosecond())[:min(n, 7)])
			i += n
			continue
		}
		for _, l := range letters {
			if strings.HasPrefix(layout[i:], l.net) {
				b.WriteString(t.Format(l.layout))
				i += len(l.net)
				continue next
			}
		}
		b.WriteByte(layout[i])
		i++
	}
	return b.String(), nil
}
