package template

import (
	"math/big"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"ingot/internal/template/braces"
)

func isotime(now time.Time) function.Function {
	return function.New(&function.Spec{VarParam: &function.Parameter{Name: "layout", Type: cty.String}, Type: function.StaticReturnType(cty.String),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			layout := time.RFC3339
			if len(a) > 1 {
				return cty.NilVal, function.NewArgErrorf(1, "one layout is enough")
			}
			if len(a) > 0 {
				layout = a[0].AsString()
			}
			return cty.StringVal(now.UTC().Format(layout)), nil
		}})
}

// strftime is legacy_strftime
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions/datetime/legacy_strftime).
func strftime(now time.Time) function.Function {
	return about1(func(layout string) (string, error) { return braces.Strftime(now.UTC(), layout) })
}

// calendar gives the attributes of a time; the one named other is what the argument was not: unix or rfc3339.
func calendar(t time.Time, other string, value cty.Value) cty.Value {
	n := func(i int) cty.Value { return cty.NumberIntVal(int64(i)) }
	year, week := t.ISOWeek()
	return cty.ObjectVal(map[string]cty.Value{
		"year": n(t.Year()), "year_day": n(t.YearDay()), "month": n(int(t.Month())), "month_name": cty.StringVal(t.Month().String()), "day": n(t.Day()),
		"weekday": n(int(t.Weekday())), "weekday_name": cty.StringVal(t.Weekday().String()), "hour": n(t.Hour()), "minute": n(t.Minute()),
		"second": n(t.Second()), "iso_year": n(year), "iso_week": n(week), other: value,
	})
}

func calendarType(other string, t cty.Type) cty.Type {
	return cty.Object(map[string]cty.Type{
		"year": cty.Number, "year_day": cty.Number, "month": cty.Number, "month_name": cty.String, "day": cty.Number, "weekday": cty.Number,
		"weekday_name": cty.String, "hour": cty.Number, "minute": cty.Number, "second": cty.Number, "iso_year": cty.Number, "iso_week": cty.Number, other: t,
	})
}

// rfc3339Parse takes a blank between date and time, too
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions/datetime/rfc3339_parse).
func rfc3339Parse() function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "timestamp", Type: cty.String}}, Type: function.StaticReturnType(calendarType("unix", cty.Number)),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			s := a[0].AsString()
			if len(s) > 10 && s[10] == ' ' {
				s = strings.Replace(s, " ", "T", 1)
			}
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "not a time of RFC 3339 (2023-07-25T23:43:16Z)")
			}
			return calendar(t, "unix", cty.NumberIntVal(t.Unix())), nil
		}})
}

// unixTimestampParse gives UTC
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions/datetime/unix_timestamp_parse).
func unixTimestampParse() function.Function {
	return function.New(&function.Spec{Params: []function.Parameter{{Name: "timestamp", Type: cty.Number}}, Type: function.StaticReturnType(calendarType("rfc3339", cty.String)),
		Impl: func(a []cty.Value, _ cty.Type) (cty.Value, error) {
			i, exact := a[0].AsBigFloat().Int64()
			if exact != big.Exact {
				return cty.NilVal, function.NewArgErrorf(0, "a whole number of 64 bits is needed")
			}
			t := time.Unix(i, 0).UTC()
			return calendar(t, "rfc3339", cty.StringVal(t.Format(time.RFC3339))), nil
		}})
}
