package armexpr

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func scope() *Scope {
	return &Scope{SubscriptionID: "sub", TenantID: "ten", ResourceGroup: "rg", Location: "westeurope", Deployment: "d", Now: time.Date(2026, 11, 23, 12, 34, 56, 0, time.UTC),
		Parameter: func(name string) (any, error) {
			v, ok := map[string]any{"name": "img", "list": []any{"a", "b"}, "object": map[string]any{"Inner": map[string]any{"x": 1.0}}, "none": nil}[name]
			if !ok {
				return nil, fmt.Errorf("the template has no parameter %q", name)
			}
			return v, nil
		},
		Variable:  func(name string) (any, error) { return "var-" + name, nil },
		CopyIndex: func(string) (int, error) { return 2, nil }, Function: func(name string, args []any) (any, error) { return fmt.Sprint(name, args), nil }}
}

// TestFunctions has the examples of Microsoft's pages
// (https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions, one page per group) with their outputs.
func TestFunctions(t *testing.T) {
	covered := map[string]bool{}
	for _, c := range [][2]string{
		// strings
		{`base64('one, two, three')`, `"b25lLCB0d28sIHRocmVl"`}, {`base64ToString('b25lLCB0d28sIHRocmVl')`, `"one, two, three"`}, {`base64ToJson(base64('{"one": "a"}')).one`, `"a"`},
		{`concat('prefix', '-', 'x')`, `"prefix-x"`}, {`concat(createArray('1-1', '1-2'), createArray('2-1'))`, `["1-1","1-2","2-1"]`}, {`concat('a', 1, true())`, `"a1True"`},
		{`contains('OneTwoThree', 'e')`, `true`}, {`contains('OneTwoThree', 'z')`, `false`}, {`contains(parameters('object'), 'inner')`, `true`}, {`contains(createArray('one', 'two'), 'two')`, `true`},
		{`dataUri('Hello')`, `"data:text/plain;charset=utf8;base64,SGVsbG8="`}, {`dataUriToString('data:;base64,SGVsbG8sIFdvcmxkIQ==')`, `"Hello, World!"`},
		{`empty('')`, `true`}, {`empty(createArray())`, `true`}, {`empty(createObject())`, `true`}, {`empty(null())`, `true`}, {`endsWith('abcdef', 'EF')`, `true`}, {`startsWith('abcdef', 'AB')`, `true`}, {`startsWith('abcdef', 'e')`, `false`},
		{`first('One Two Three')`, `"O"`}, {`first(createArray('one', 'two'))`, `"one"`}, {`last('One Two Three')`, `"e"`}, {`last(createArray('one', 'two'))`, `"two"`},
		{`format('{0}, {1}. Formatted number: {2:N0}', 'Hello', 'User', 8175133)`, `"Hello, User. Formatted number: 8,175,133"`}, {`format('{{{0:D3}}}', 7)`, `"{007}"`}, {`format('{0}/{1}', 'a', 'b')`, `"a/b"`},
		{`guid('a', 'b')`, `"2d796349-8c7e-55ec-9624-54ece82ed031"`}, {`indexOf('abcdef', 'CD')`, `2`}, {`indexOf('test', 'z')`, `-1`}, {`lastIndexOf('test', 't')`, `3`},
		{`join(createArray('one', 'two', 'three'), ',')`, `"one,two,three"`}, {`json('{"a": [1]}').a[0]`, `1`}, {`json('null')`, `null`}, {`length('One Two Three')`, `13`}, {`length(createArray('one', 'two', 'three'))`, `3`}, {`length(createObject('a', 1))`, `1`},
		{`padLeft('123', 10, '0')`, `"0000000123"`}, {`padLeft(7, 3)`, `"  7"`}, {`replace('123-123-1234', '-', '')`, `"1231231234"`}, {`skip('one two three', 4)`, `"two three"`}, {`skip(createArray('one', 'two', 'three'), 2)`, `["three"]`},
		{`split('one,two,three', ',')`, `["one","two","three"]`}, {`split('one;two,three', createArray(',', ';'))`, `["one","two","three"]`}, {`string(createObject('valueA', 10))`, `"{\"valueA\":10}"`}, {`string(1)`, `"1"`},
		{`substring('one two three', 4, 3)`, `"two"`}, {`substring('abc', 1)`, `"bc"`}, {`take('one two three', 2)`, `"on"`}, {`take(createArray('one', 'two', 'three'), 2)`, `["one","two"]`},
		{`toLower('One Two Three')`, `"one two three"`}, {`toUpper('One Two Three')`, `"ONE TWO THREE"`}, {`trim('    one two three   ')`, `"one two three"`},
		{`uri('http://contoso.org/firstpath', 'myscript.sh')`, `"http://contoso.org/myscript.sh"`}, {`uri('http://contoso.org/firstpath/', 'myscript.sh')`, `"http://contoso.org/firstpath/myscript.sh"`},
		{`uriComponent('http://contoso.com/resources/nested/azuredeploy.json')`, `"http%3A%2F%2Fcontoso.com%2Fresources%2Fnested%2Fazuredeploy.json"`}, {`uriComponentToString('a%20b')`, `"a b"`},
		// arrays and objects
		{`array('efgh')`, `["efgh"]`}, {`array(createArray(1))`, `[1]`}, {`createArray('a', 1)`, `["a",1]`}, {`createObject('intProp', 1, 'stringProp', 'abc').stringProp`, `"abc"`}, {`flatten(createArray(createArray('one', 'two'), createArray('three')))`, `["one","two","three"]`},
		{`intersection(createArray('one', 'two', 'three'), createArray('two', 'three'))`, `["two","three"]`}, {`union(createArray('one', 'two'), createArray('two', 'three'))`, `["one","two","three"]`},
		{`union(createObject('one', 'a', 'two', 'b'), createObject('three', 'c', 'two', 'd')).two`, `"d"`}, {`items(createObject('b', 1, 'a', 2))[0].key`, `"a"`}, {`objectKeys(createObject('b', 1, 'a', 2))`, `["a","b"]`},
		{`shallowMerge(createArray(createObject('a', 1), createObject('a', 2))).a`, `2`}, {`tryGet(createObject('a', 1), 'b')`, `null`}, {`tryGet(createArray(5), 0)`, `5`}, {`range(5, 3)`, `[5,6,7]`}, {`max(1, 5, 3)`, `5`}, {`min(createArray(4, 2, 3))`, `2`},
		// comparison, logic, numbers
		{`coalesce(null(), 'x')`, `"x"`}, {`equals('a', 'a')`, `true`}, {`equals(createArray('a'), createArray('b'))`, `false`}, {`greater(1, 2)`, `false`}, {`greaterOrEquals('A', 'a')`, `false`}, {`less(1, 2)`, `true`}, {`lessOrEquals('A', 'a')`, `true`},
		{`and(bool('true'), bool('0'))`, `false`}, {`or(false(), bool(1))`, `true`}, {`not(true())`, `false`}, {`if(equals('a', 'a'), 'yes', nosuch())`, `"yes"`}, {`if(false(), reference('x'), 'no')`, `"no"`},
		{`add(5, 3)`, `8`}, {`sub(7, 3)`, `4`}, {`mul(5, 3)`, `15`}, {`div(8, 3)`, `2`}, {`mod(7, 3)`, `1`}, {`int('4')`, `4`},
		// dates
		{`utcNow()`, `"20261123T123456Z"`}, {`utcNow('yyyy.Mdd.Hmm')`, `"2026.1123.1234"`}, {`dateTimeAdd('2020-04-07 14:53:14Z', 'P3Y', 'u')`, `"2023-04-07 14:53:14Z"`}, {`dateTimeAdd('2020-04-07T14:53:14Z', '-P9D', 'yyyy-MM-dd')`, `"2020-03-29"`},
		{`dateTimeFromEpoch(1683040573)`, `"2023-05-02T15:16:13Z"`}, {`dateTimeToEpoch('2023-05-02T15:16:13Z')`, `1683040573`},
		// scopes
		{`resourceGroup().location`, `"westeurope"`}, {`ResourceGroup().Name`, `"rg"`}, {`subscription().subscriptionId`, `"sub"`}, {`tenant().tenantId`, `"ten"`}, {`deployment().name`, `"d"`}, {`environment().suffixes.storage`, `"core.windows.net"`},
		{`resourceId('Microsoft.Compute/galleries/images', 'g', 'i')`, `"/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/i"`},
		{`resourceId('other', 'Microsoft.Compute/images', 'i')`, `"/subscriptions/sub/resourceGroups/other/providers/Microsoft.Compute/images/i"`},
		{`resourceId('s2', 'g2', 'Microsoft.KeyVault/vaults/', 'v')`, `"/subscriptions/s2/resourceGroups/g2/providers/Microsoft.KeyVault/vaults/v"`},
		{`subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'r')`, `"/subscriptions/sub/providers/Microsoft.Authorization/roleDefinitions/r"`},
		{`tenantResourceId('Microsoft.Authorization/policyDefinitions', 'p')`, `"/providers/Microsoft.Authorization/policyDefinitions/p"`},
		{`extensionResourceId('/subscriptions/sub', 'Microsoft.Authorization/locks', 'l')`, `"/subscriptions/sub/providers/Microsoft.Authorization/locks/l"`},
		// loops and the template's own functions
		{`copyIndex()`, `2`}, {`copyIndex('loop', 1)`, `3`}, {`copyIndex(1)`, `3`}, {`fx.name('a', 1)`, `"fx.name[a 1]"`},
		{`length(uniqueString('x', 'y'))`, `13`}, {`equals(uniqueString('x'), uniqueString('x'))`, `true`}, {`equals(uniqueString('x'), uniqueString('y'))`, `false`},
		// lambdas
		{`map(createArray('a', 'b'), lambda('x', concat(lambdaVariables('x'), '1')))`, `["a1","b1"]`}, {`map(createArray('a', 'b'), lambda('x', 'i', lambdaVariables('i')))`, `[0,1]`}, {`filter(createArray(1, 2, 3), lambda('x', greater(lambdaVariables('x'), 1)))`, `[2,3]`},
		{`reduce(createArray(1, 2, 3), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))`, `6`}, {`sort(createArray(3, 1, 2), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))`, `[1,2,3]`},
		{`toObject(createArray('a', 'b'), lambda('x', lambdaVariables('x')), lambda('x', toUpper(lambdaVariables('x')))).b`, `"B"`}, {`groupBy(createArray('a', 'ab', 'b'), lambda('x', take(lambdaVariables('x'), 1))).a`, `["a","ab"]`}, {`mapValues(createObject('a', 1), lambda('x', add(lambdaVariables('x'), 1))).a`, `2`},
		{`map(createArray(1), lambda('x', map(createArray(2), lambda('y', add(lambdaVariables('x'), lambdaVariables('y'))))))`, `[[3]]`}, {`lambdaVariables('x')`, ``}, {`map(createArray(1), 'x')`, ``}, {`lambda('x', 1)`, ``},
		// the language
		{`parameters('object').inner.x`, `1`}, {`parameters('object')['Inner']['x']`, `1`}, {`parameters('list')[1]`, `"b"`}, {`variables('v')`, `"var-v"`}, {`parameters('object').?nope`, `null`}, {`parameters('list')[?9]`, `null`}, {` concat ( 'it''s' , "" ) `, ``}, {`null()`, `null`},
		{"concat(\n 'a',\n 'b'\n)", `"ab"`}, {`-5`, `-5`},
	} {
		got, err := Evaluate("["+c[0]+"]", scope())
		if c[1] == "" {
			if err == nil {
				t.Errorf("%s is accepted", c[0])
			}
			continue
		}
		raw, _ := json.Marshal(got)
		if err != nil || string(raw) != c[1] {
			t.Errorf("%s is %s, want %s: %v", c[0], raw, c[1], err)
		}
		for name := range functions() {
			if strings.Contains(strings.ToLower(c[0]), name+"(") || strings.Contains(strings.ToLower(c[0]), name+" (") {
				covered[name] = true
			}
		}
	}
	for name := range functions() {
		if !covered[name] {
			t.Errorf("no example calls %s", name)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		s, reason string
		at        int
		remedy    string
	}{
		{"[concat('a']", "not closed", 7, "add )"}, {"[concat('a, 'b')]", "not expected", 13, ""}, {"['a]", "not closed", 1, "add '"}, {"[conct('a')]", "no function conct", 1, `did you mean "concat"?`}, {"[parameters('nope')]", "no parameter", 1, ""},
		{"[concat(reference('x').y)]", "cannot be evaluated here", 8, "parameter"}, {"[listKeys('x')]", "cannot be evaluated here", 1, ""}, {"[copyIndex(createArray())]", "not a text", 1, ""},
		{"[parameters('object').nope]", "no member nope", 1, "it has Inner"}, {"[parameters('list')[2]]", "2 elements", 1, ""}, {"[toLower()]", "takes 1 arguments", 1, ""}, {"[toLower(1)]", "not a text", 1, ""}, {"[add('a', 1)]", "whole number", 1, ""},
		{"[div(1, 0)]", "divisor is 0", 1, ""}, {"[x]", "neither a text nor a call", 1, "'x'"}, {"[]", "ends too early", 1, ""}, {"[concat('a') 'b']", "not expected", 13, ""}, {"[substring('abc', 2, 5)]", "do not lie", 1, ""}, {"[resourceId('Microsoft.Compute/galleries/images', 'g')]", "takes 2 names", 1, ""},
		{"[format('{1}', 'a')]", "no argument", 1, ""}, {"[if('a', 1, 2)]", "truth value", 4, ""}, {"[parameters('none').x]", "null has no member", 1, ""}, {"[\"a\"]", "not expected", 1, ""},
	} {
		_, err := Evaluate(c.s, scope())
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Reason, c.reason) || e.Offset != c.at || e.Length < 1 || !strings.Contains(e.Remedy, c.remedy) {
			t.Errorf("%s: %+v, want %q at %d", c.s, e, c.reason, c.at)
		}
	}
	s := scope()
	s.SubscriptionID = ""
	if _, err := Evaluate("[resourceId('Microsoft.Compute/images', 'i')]", s); err == nil || !strings.Contains(err.Error(), "subscription is not known") {
		t.Error(err)
	}
}

func TestWhatIsNoExpression(t *testing.T) {
	for s, want := range map[string]string{"plain": "plain", "[[escaped]": "[escaped]", "[half": "[half", "": ""} {
		if v, err := Evaluate(s, scope()); err != nil || v != want {
			t.Errorf("%q is %v %v", s, v, err)
		}
	}
}

// TestBounds: a template cannot take the memory or the time of whoever reads it.
func TestBounds(t *testing.T) {
	s := scope()
	s.Budget = NewBudget()
	s.Variable = func(name string) (any, error) { // each variable is the next one, ten times
		if len(name) > 12 {
			return "lol", nil
		}
		return Evaluate("[concat("+strings.TrimSuffix(strings.Repeat("variables('v"+name+"'),", 10), ",")+")]", s)
	}
	for name, text := range map[string]string{
		"expansion": "[variables('v')]", "depth": "[" + strings.Repeat("concat(", 5000) + "'a'" + strings.Repeat(")", 5000) + "]", "members": "[parameters('object')" + strings.Repeat(".x", 20000) + "]",
		"range": "[range(0, 2000000000)]", "pad": "[padLeft('a', 2000000000)]", "width": "[format('{0,999999999}', 'a', 'b', 'c')]", "long": "[concat('" + strings.Repeat("a", 1<<18) + "')]",
	} {
		v, err := Evaluate(text, s)
		if err == nil && len(fmt.Sprint(v)) > 2000 {
			t.Errorf("%s: %d bytes", name, len(fmt.Sprint(v)))
		} else if err == nil && name != "width" {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestRefers(t *testing.T) {
	if got := Refers("[concat(parameters('a'), Parameters('b'), variables('c'), parameters('a'))]", "parameters"); fmt.Sprint(got) != "[a b]" {
		t.Error(got)
	}
}

func FuzzEvaluate(f *testing.F) {
	for _, s := range []string{"[concat(parameters('name'), '-x')]", "[resourceId('Microsoft.Compute/images', 'i')]", "[parameters('object').inner['x']]", "[format('{0:D3}{{', 1)]", "[split('a,b', createArray(',', ';'))[0]]", "[[x]", "[if(true(), 1, -2.5)]",
		"[dateTimeAdd(utcNow('u'), 'PT1H')]", "[union(json('{\"a\":{}}'), createObject('a', createObject()))]", "[substring('äöü', 1, 1)]", "[uri('http://a/b', '../c')]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := Evaluate(text, scope())
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Offset < 0 || e.Offset > len(text) || e.Reason == "") {
			t.Errorf("%q: %v", text, err)
		}
		Refers(text, "parameters")
	})
}
