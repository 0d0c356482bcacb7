package armexpr

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"ingot/internal/diag"
)

// function is one of ARM's: how many arguments it takes (most -1: any number) and what it does with their values.
type function struct {
	least, most int
	do          func(e *evaluation, a []any) (any, error)
}

// call finds a function by its name, in which case does not count.
func (e *evaluation) call(n *node) (any, error) {
	name := strings.ToLower(n.text)
	if why, ok := refused()[name]; ok || strings.HasPrefix(name, "list") && name != "list" {
		if !ok {
			why = "it asks a resource that is deployed"
		}
		return nil, &Error{n.at, max(n.end-n.at, 1), fmt.Sprintf("%s cannot be evaluated here: %s", n.text, why), "hand the value over as a parameter", true}
	}
	if v, done, err := e.lazy(n, name); done {
		return v, err
	}
	if v, done, err := e.withLambda(n, name); done {
		return v, err
	}
	f, ok := functions()[name]
	if !ok && e.Function != nil && strings.Contains(name, ".") {
		f, ok = function{0, -1, func(e *evaluation, a []any) (any, error) { return e.Function(name, a) }}, true
	}
	if !ok {
		return nil, e.fail(n, nearest(name), "there is no function %s", n.text)
	}
	if len(n.args) < f.least || f.most >= 0 && len(n.args) > f.most {
		want := fmt.Sprint(f.least)
		switch {
		case f.most < 0:
			want = fmt.Sprintf("at least %d", f.least)
		case f.most != f.least:
			want = fmt.Sprintf("%d to %d", f.least, f.most)
		}
		return nil, e.fail(n, "", "%s takes %s arguments, not %d", n.text, want, len(n.args))
	}
	args := make([]any, len(n.args))
	for i, a := range n.args {
		v, err := e.eval(a)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	v, err := f.do(e, args)
	if err == nil {
		err = e.Budget.Spend(1, size(v))
	}
	if err != nil {
		return nil, e.fail(n, "", "%s: %v", n.text, err)
	}
	return v, nil
}

// lazy are the functions that do not evaluate every argument.
func (e *evaluation) lazy(n *node, name string) (any, bool, error) {
	boolean := func(a *node) (bool, error) {
		v, err := e.eval(a)
		if err != nil {
			return false, err
		}
		b, ok := v.(bool)
		if !ok {
			return false, e.fail(a, "", "%s is needed as a truth value, and it is %s", n.text, kind(v))
		}
		return b, nil
	}
	switch name {
	case "if":
		if len(n.args) != 3 {
			return nil, true, e.fail(n, "", "if takes 3 arguments, not %d", len(n.args))
		}
		b, err := boolean(n.args[0])
		if err != nil {
			return nil, true, err
		}
		if b {
			v, err := e.eval(n.args[1])
			return v, true, err
		}
		v, err := e.eval(n.args[2])
		return v, true, err
	case "and", "or":
		if len(n.args) < 2 {
			return nil, true, e.fail(n, "", "%s takes at least 2 arguments, not %d", n.text, len(n.args))
		}
		for _, a := range n.args {
			b, err := boolean(a)
			if err != nil {
				return nil, true, err
			}
			if b == (name == "or") {
				return b, true, nil
			}
		}
		return name == "and", true, nil
	case "coalesce":
		for _, a := range n.args {
			v, err := e.eval(a)
			if err != nil || v != nil {
				return v, true, err
			}
		}
		return nil, true, nil
	}
	return nil, false, nil
}

// refused are functions whose value nobody knows before a deployment.
func refused() map[string]string {
	const deployed = "it asks a resource that is deployed"
	return map[string]string{"reference": deployed, "references": deployed, "list": deployed, "listkeys": deployed, "listsecrets": deployed, "listaccountsas": deployed, "pickzones": deployed, "providers": "it asks Azure",
		"getsecret": "it asks a key vault", "newguid": "it is different each time, and works in a parameter's default only",
		"managementgroup": "it asks for the scope of another deployment"}
}

func nearest(name string) string {
	best := diag.Nearest(name, slices.Sorted(maps.Keys(functions())))
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// size is about what a value takes, for the budget.
func size(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		n := 16 * len(v)
		for _, x := range v {
			n += size(x)
		}
		return n
	case map[string]any:
		n := 0
		for k, x := range v {
			n += 32 + len(k) + size(x)
		}
		return n
	}
	return 8
}

// The helpers below judge one argument.

func text(a []any, i int) (string, error) {
	if s, ok := a[i].(string); ok {
		return s, nil
	}
	return "", fmt.Errorf("argument %d is %s, not a text", i+1, kind(a[i]))
}

func number(a []any, i int) (int, error) {
	if n, ok := integer(a[i]); ok {
		return n, nil
	}
	return 0, fmt.Errorf("argument %d is %s, not a whole number", i+1, kind(a[i]))
}

func onText(f func(string) (any, error)) function {
	return function{1, 1, func(_ *evaluation, a []any) (any, error) {
		s, err := text(a, 0)
		if err != nil {
			return nil, err
		}
		return f(s)
	}}
}

func onTexts(f func(a, b string) (any, error)) function {
	return function{2, 2, func(_ *evaluation, a []any) (any, error) {
		s, err := text(a, 0)
		if err != nil {
			return nil, err
		}
		t, err := text(a, 1)
		if err != nil {
			return nil, err
		}
		return f(s, t)
	}}
}

func onNumbers(f func(a, b int) (any, error)) function {
	return function{2, 2, func(_ *evaluation, a []any) (any, error) {
		x, err := number(a, 0)
		if err != nil {
			return nil, err
		}
		y, err := number(a, 1)
		if err != nil {
			return nil, err
		}
		return f(x, y)
	}}
}

// spread lets a function take its values one by one or as one list.
func spread(a []any) []any {
	if len(a) == 1 {
		if list, ok := a[0].([]any); ok {
			return list
		}
	}
	return a
}

// shown is a value as a text, as concat and string make it.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(raw)
}

// functions is the one list, made once and never changed.
var functions = sync.OnceValue(allFunctions)

func allFunctions() map[string]function {
	ok := func(v any) (any, error) { return v, nil }
	f := map[string]function{
		"parameters": {1, 1, func(e *evaluation, a []any) (any, error) {
			name, err := text(a, 0)
			if err != nil || e.Parameter == nil {
				return nil, fmt.Errorf("the name of a parameter is needed")
			}
			return e.Parameter(name)
		}},
		"variables": {1, 1, func(e *evaluation, a []any) (any, error) {
			name, err := text(a, 0)
			if err != nil || e.Variable == nil {
				return nil, fmt.Errorf("the name of a variable is needed")
			}
			return e.Variable(name)
		}},
		"uniquestring": {1, -1, func(e *evaluation, a []any) (any, error) {
			sum := sha256.New()
			for i := range a {
				s, err := text(a, i)
				if err != nil {
					return nil, err
				}
				sum.Write([]byte(s + "\x00"))
			}
			if e.StandIn != nil {
				e.StandIn("uniqueString()")
			}
			return strings.ToLower(base32.StdEncoding.EncodeToString(sum.Sum(nil)))[:13], nil
		}},
		"copyindex": {0, 2, func(e *evaluation, a []any) (any, error) {
			if e.CopyIndex == nil {
				return nil, fmt.Errorf("there is no copy loop here")
			}
			loop, offset := "", 0
			for i := range a {
				if n, isNumber := integer(a[i]); isNumber {
					offset = n
					continue
				}
				s, err := text(a, i)
				if err != nil {
					return nil, err
				}
				loop = s
			}
			n, err := e.CopyIndex(loop)
			return float64(n + offset), err
		}},
		"null":  {0, 0, func(*evaluation, []any) (any, error) { return nil, nil }},
		"true":  {0, 0, func(*evaluation, []any) (any, error) { return true, nil }},
		"false": {0, 0, func(*evaluation, []any) (any, error) { return false, nil }},
		"not": {1, 1, func(_ *evaluation, a []any) (any, error) {
			b, isBool := a[0].(bool)
			if !isBool {
				return nil, fmt.Errorf("argument 1 is %s, not a truth value", kind(a[0]))
			}
			return !b, nil
		}},
		"equals": {2, 2, func(_ *evaluation, a []any) (any, error) {
			x, _ := json.Marshal(a[0])
			y, _ := json.Marshal(a[1])
			return string(x) == string(y), nil
		}},
		"add": onNumbers(func(a, b int) (any, error) { return ok(float64(a + b)) }), "sub": onNumbers(func(a, b int) (any, error) { return ok(float64(a - b)) }),
		"mul": onNumbers(func(a, b int) (any, error) { return ok(float64(a) * float64(b)) }),
		"div": onNumbers(func(a, b int) (any, error) {
			if b == 0 {
				return nil, fmt.Errorf("the divisor is 0")
			}
			return float64(a / b), nil
		}),
		"mod": onNumbers(func(a, b int) (any, error) {
			if b == 0 {
				return nil, fmt.Errorf("the divisor is 0")
			}
			return float64(a % b), nil
		}),
		"tolower":    onText(func(s string) (any, error) { return strings.ToLower(s), nil }),
		"toupper":    onText(func(s string) (any, error) { return strings.ToUpper(s), nil }),
		"trim":       onText(func(s string) (any, error) { return strings.TrimSpace(s), nil }),
		"startswith": onTexts(func(s, t string) (any, error) { return strings.HasPrefix(strings.ToLower(s), strings.ToLower(t)), nil }),
		"endswith":   onTexts(func(s, t string) (any, error) { return strings.HasSuffix(strings.ToLower(s), strings.ToLower(t)), nil }),
		"indexof": onTexts(func(s, t string) (any, error) {
			return float64(strings.Index(strings.ToLower(s), strings.ToLower(t))), nil
		}),
		"lastindexof": onTexts(func(s, t string) (any, error) {
			return float64(strings.LastIndex(strings.ToLower(s), strings.ToLower(t))), nil
		}),
		"uricomponent":         onText(func(s string) (any, error) { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), nil }),
		"uricomponenttostring": onText(func(s string) (any, error) { return url.PathUnescape(s) }),
		"uri": onTexts(func(base, rel string) (any, error) {
			u, err := url.Parse(base)
			if err != nil {
				return nil, err
			}
			r, err := url.Parse(rel)
			if err != nil {
				return nil, err
			}
			return u.ResolveReference(r).String(), nil
		}),
		"base64": onText(func(s string) (any, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }),
		"base64tostring": onText(func(s string) (any, error) {
			raw, err := base64.StdEncoding.DecodeString(s)
			return string(raw), err
		}),
		"base64tojson": onText(func(s string) (any, error) {
			raw, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				return nil, err
			}
			return fromJSON(string(raw))
		}),
		"datauri": onText(func(s string) (any, error) {
			return "data:text/plain;charset=utf8;base64," + base64.StdEncoding.EncodeToString([]byte(s)), nil
		}),
		"datauritostring": onText(func(s string) (any, error) {
			_, data, found := strings.Cut(s, ";base64,")
			if !found {
				return nil, fmt.Errorf("the text is no data URI")
			}
			raw, err := base64.StdEncoding.DecodeString(data)
			return string(raw), err
		}),
		"json":   onText(fromJSON),
		"string": {1, 1, func(_ *evaluation, a []any) (any, error) { return shown(a[0]), nil }},
		"int": {1, 1, func(_ *evaluation, a []any) (any, error) {
			if n, isNumber := integer(a[0]); isNumber {
				return float64(n), nil
			}
			s, err := text(a, 0)
			if err != nil {
				return nil, err
			}
			n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q is no whole number", s)
			}
			return float64(n), nil
		}},
		"bool": {1, 1, func(_ *evaluation, a []any) (any, error) {
			switch v := a[0].(type) {
			case bool:
				return v, nil
			case float64:
				return v != 0, nil
			case string:
				switch strings.ToLower(v) {
				case "true", "1":
					return true, nil
				case "false", "0":
					return false, nil
				}
			}
			return nil, fmt.Errorf("%s is no truth value", kind(a[0]))
		}},
		"array": {1, 1, func(_ *evaluation, a []any) (any, error) {
			if list, isList := a[0].([]any); isList {
				return list, nil
			}
			return []any{a[0]}, nil
		}},
		"createarray": {0, -1, func(_ *evaluation, a []any) (any, error) { return slices.Clone(a), nil }},
		"createobject": {0, -1, func(_ *evaluation, a []any) (any, error) {
			if len(a)%2 != 0 {
				return nil, fmt.Errorf("names and values come in pairs")
			}
			m := map[string]any{}
			for i := 0; i < len(a); i += 2 {
				k, err := text(a, i)
				if err != nil {
					return nil, err
				}
				m[k] = a[i+1]
			}
			return m, nil
		}},
		"guid": {1, -1, func(_ *evaluation, a []any) (any, error) {
			parts := make([]string, len(a))
			for i := range a {
				s, err := text(a, i)
				if err != nil {
					return nil, err
				}
				parts[i] = s
			}
			// The namespace is Azure's own (https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions-string#guid).
			return uuid.NewSHA1(uuid.MustParse("11fb06fb-712d-4ddd-98c7-e71bbd588830"), []byte(strings.Join(parts, "-"))).String(), nil
		}},
		"empty": {1, 1, func(_ *evaluation, a []any) (any, error) {
			switch v := a[0].(type) {
			case nil:
				return true, nil
			case string:
				return v == "", nil
			case []any:
				return len(v) == 0, nil
			case map[string]any:
				return len(v) == 0, nil
			}
			return nil, fmt.Errorf("%s is never empty", kind(a[0]))
		}},
	}
	maps.Copy(f, collections())
	maps.Copy(f, texts())
	maps.Copy(f, scopes())
	maps.Copy(f, times())
	for name, wins := range map[string]func(c int) bool{"less": func(c int) bool { return c < 0 }, "lessorequals": func(c int) bool { return c <= 0 }, "greater": func(c int) bool { return c > 0 }, "greaterorequals": func(c int) bool { return c >= 0 }} {
		f[name] = function{2, 2, func(_ *evaluation, a []any) (any, error) {
			if x, isNumber := a[0].(float64); isNumber {
				y, alsoNumber := a[1].(float64)
				if !alsoNumber {
					return nil, fmt.Errorf("a number and %s cannot be compared", kind(a[1]))
				}
				c := 0
				if x < y {
					c = -1
				} else if x > y {
					c = 1
				}
				return wins(c), nil
			}
			x, err := text(a, 0)
			if err != nil {
				return nil, err
			}
			y, err := text(a, 1)
			if err != nil {
				return nil, err
			}
			return wins(strings.Compare(x, y)), nil
		}}
	}
	return f
}

func fromJSON(s string) (any, error) {
	var v any
	if strings.Count(s, "[")+strings.Count(s, "{") > 10_000 {
		return nil, fmt.Errorf("the JSON has more than 10,000 brackets")
	}
	err := json.Unmarshal([]byte(s), &v)
	return v, err
}

// scopes are what is known of where the template is deployed.
func scopes() map[string]function {
	need := func(v, what string) (string, error) {
		if v == "" {
			return "", fmt.Errorf("%s is not known here", what)
		}
		return v, nil
	}
	id := func(e *evaluation, a []any, before string) (any, error) {
		parts := make([]string, len(a))
		for i := range a {
			s, err := text(a, i)
			if err != nil {
				return nil, err
			}
			parts[i] = s
		}
		kinds := strings.Split(strings.Trim(parts[0], "/"), "/")
		if len(kinds) < 2 || len(parts)-1 != len(kinds)-1 {
			return nil, fmt.Errorf("the type %s takes %d names, not %d", parts[0], max(len(kinds)-1, 1), len(parts)-1)
		}
		out := before + "/providers/" + kinds[0]
		for i, k := range kinds[1:] {
			out += "/" + k + "/" + parts[i+1]
		}
		return out, nil
	}
	typeAt := func(a []any) int {
		for i, v := range a {
			if s, isText := v.(string); isText && strings.Contains(s, "/") && strings.Contains(s, ".") {
				return i
			}
		}
		return 0
	}
	return map[string]function{
		"resourceid": {2, -1, func(e *evaluation, a []any) (any, error) {
			i := typeAt(a)
			sub, group := e.SubscriptionID, e.ResourceGroup
			var err error
			switch i {
			case 2:
				if sub, err = text(a, 0); err == nil {
					group, err = text(a, 1)
				}
			case 1:
				group, err = text(a, 0)
			}
			if err != nil {
				return nil, err
			}
			if sub, err = need(sub, "the subscription"); err != nil {
				return nil, err
			}
			if group, err = need(group, "the resource group"); err != nil {
				return nil, err
			}
			return id(e, a[i:], "/subscriptions/"+sub+"/resourceGroups/"+group)
		}},
		"subscriptionresourceid": {2, -1, func(e *evaluation, a []any) (any, error) {
			i, sub := typeAt(a), e.SubscriptionID
			if i == 1 {
				sub, _ = text(a, 0)
			}
			sub, err := need(sub, "the subscription")
			if err != nil {
				return nil, err
			}
			return id(e, a[i:], "/subscriptions/"+sub)
		}},
		"tenantresourceid": {2, -1, func(e *evaluation, a []any) (any, error) { return id(e, a, "") }},
		"extensionresourceid": {3, -1, func(e *evaluation, a []any) (any, error) {
			base, err := text(a, 0)
			if err != nil {
				return nil, err
			}
			return id(e, a[1:], base)
		}},
		"resourcegroup": {0, 0, func(e *evaluation, _ []any) (any, error) {
			m := map[string]any{"type": "Microsoft.Resources/resourceGroups", "properties": map[string]any{"provisioningState": "Succeeded"}, "tags": map[string]any{}}
			if e.ResourceGroup != "" {
				m["name"] = e.ResourceGroup
				m["id"] = "/subscriptions/" + e.SubscriptionID + "/resourceGroups/" + e.ResourceGroup
			}
			if e.Location != "" {
				m["location"] = e.Location
			}
			return m, nil
		}},
		"subscription": {0, 0, func(e *evaluation, _ []any) (any, error) {
			m := map[string]any{}
			if e.SubscriptionID != "" {
				m["subscriptionId"], m["id"] = e.SubscriptionID, "/subscriptions/"+e.SubscriptionID
			}
			if e.TenantID != "" {
				m["tenantId"] = e.TenantID
			}
			return m, nil
		}},
		"tenant": {0, 0, func(e *evaluation, _ []any) (any, error) {
			if e.TenantID == "" {
				return nil, fmt.Errorf("the tenant is not known here")
			}
			return map[string]any{"tenantId": e.TenantID}, nil
		}},
		"deployment": {0, 0, func(e *evaluation, _ []any) (any, error) {
			return map[string]any{"name": e.Deployment, "properties": map[string]any{}}, nil
		}},
		"environment": {0, 0, func(*evaluation, []any) (any, error) {
			return map[string]any{"name": "AzureCloud", "resourceManager": "https://management.azure.com/", "portal": "https://portal.azure.com", "authentication": map[string]any{"loginEndpoint": "https://login.microsoftonline.com/", "tenant": "common"},
				"suffixes": map[string]any{"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net", "sqlServerHostname": ".database.windows.net", "acrLoginServer": ".azurecr.io"}}, nil
		}},
	}
}

// times are the functions on dates.
func times() map[string]function {
	return map[string]function{
		"utcnow": {0, 1, func(e *evaluation, a []any) (any, error) {
			format := ""
			if len(a) == 1 {
				s, err := text(a, 0)
				if err != nil {
					return nil, err
				}
				format = s
			}
			return dotNet(e.Now.UTC(), format)
		}},
		"datetimeadd": {2, 3, func(_ *evaluation, a []any) (any, error) {
			s, err := text(a, 0)
			if err != nil {
				return nil, err
			}
			d, err := text(a, 1)
			if err != nil {
				return nil, err
			}
			t, err := moment(s)
			if err != nil {
				return nil, err
			}
			if t, err = addISO(t, d); err != nil {
				return nil, err
			}
			format := ""
			if len(a) == 3 {
				if format, err = text(a, 2); err != nil {
					return nil, err
				}
			}
			return dotNet(t, format)
		}},
		"datetimetoepoch": onText(func(s string) (any, error) {
			t, err := moment(s)
			return float64(t.Unix()), err
		}),
		"datetimefromepoch": {1, 1, func(_ *evaluation, a []any) (any, error) {
			f, isNumber := a[0].(float64)
			if !isNumber || f < 0 || f > 253402300799 {
				return nil, fmt.Errorf("argument 1 is no time")
			}
			return time.Unix(int64(f), 0).UTC().Format("2006-01-02T15:04:05Z"), nil
		}},
	}
}
