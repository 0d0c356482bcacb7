package template

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	"golang.org/x/crypto/bcrypt"
)

// packerFunctions are the names of Packer's documentation
// (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/functions).
const packerFunctions = `abs abspath alltrue anytrue aws_secretsmanager aws_secretsmanager_raw basename base64decode base64encode base64gzip bcrypt can ceil chomp chunklist cidrhost cidrnetmask cidrsubnet cidrsubnets coalesce coalescelist compact concat consul_key contains convert csvdecode dirname distinct element endswith file filebase64 fileexists fileset flatten floor format formatdate formatlist indent index join jsondecode jsonencode keys legacy_isotime legacy_strftime length log lookup lower max md5 merge min parseint pathexpand pow range regex regex_replace regexall replace reverse rfc3339_parse rsadecrypt setintersection setproduct setunion sha1 sha256 sha512 signum slice sort split startswith strcontains strrev substr sum templatefile textdecodebase64 textencodebase64 timeadd timestamp title trim trimprefix trimspace trimsuffix try unix_timestamp_parse upper urlencode uuidv4 uuidv5 values vault yamldecode yamlencode zipmap`

// functionRows: the expression, what it gives as JSON (or "!" and a part of the error), and after the name the group of its
// documentation page: .../functions/<group>/<name>. "?" is checked by property below.
const functionRows = `
abs numeric | abs(-12.4) | 12.4
abspath file | abspath("a") == "${cwd}/a" | true
alltrue collection | [alltrue([true, true]), alltrue([true, null]), alltrue([])] | [true,false,true]
anytrue collection | [anytrue([false, true]), anytrue([null]), anytrue([])] | [true,false,false]
aws_secretsmanager contextual | aws_secretsmanager("a", "b") | !cannot be used
aws_secretsmanager_raw contextual | aws_secretsmanager_raw("a") | !cannot be used
basename file | basename("foo/bar/baz.txt") | "baz.txt"
base64decode encoding | base64decode("SGVsbG8gV29ybGQ=") | "Hello World"
base64encode encoding | base64encode("Hello World") | "SGVsbG8gV29ybGQ="
base64gzip encoding | substr(base64gzip("a"), 0, 4) | "H4sI"
bcrypt crypto | bcrypt("hello world", 4) | ?
can conversion | [can(1 + 1), can(regex("a", "b"))] | [true,false]
ceil numeric | [ceil(5), ceil(5.1)] | [5,6]
chomp string | chomp("hello\r\n\n") | "hello"
chunklist collection | chunklist(["a", "b", "c"], 2) | [["a","b"],["c"]]
cidrhost ipnet | cidrhost("10.12.127.0/20", 268) | "10.12.113.12"
cidrnetmask ipnet | cidrnetmask("172.16.0.0/12") | "255.240.0.0"
cidrsubnet ipnet | cidrsubnet("172.16.0.0/12", 4, 2) | "172.18.0.0/16"
cidrsubnets ipnet | cidrsubnets("10.1.0.0/16", 4, 4, 8, 4) | ["10.1.0.0/20","10.1.16.0/20","10.1.32.0/24","10.1.48.0/20"]
coalesce collection | [coalesce("a", "b"), coalesce("", "b")] | ["a","b"]
coalescelist collection | coalescelist([], ["c", "d"]) | ["c","d"]
compact collection | compact(["a", "", "b", "c"]) | ["a","b","c"]
concat collection | concat(["a", ""], ["b", "c"]) | ["a","","b","c"]
consul_key contextual | consul_key("a") | !cannot be used
contains collection | [contains(["a", "b", "c"], "a"), contains(["a"], "d")] | [true,false]
convert conversion | convert(["a"], set(string)) | ["a"]
csvdecode encoding | csvdecode("a,b\n1,2\n") | [{"a":"1","b":"2"}]
dirname file | dirname("foo/bar/baz.txt") | "foo/bar"
distinct collection | distinct(["a", "b", "a", "c"]) | ["a","b","c"]
element collection | [element(["a", "b", "c"], 1), element(["a", "b", "c"], 3)] | ["b","a"]
endswith string | endswith("hello world", "world") | true
file file | file("hello.txt") | "Hello World"
filebase64 file | filebase64("hello.txt") | "SGVsbG8gV29ybGQ="
fileexists file | [fileexists("hello.txt"), fileexists("none")] | [true,false]
fileset file | fileset(".", "*.txt") | ["hello.txt"]
flatten collection | flatten([["a", "b"], [], ["c"]]) | ["a","b","c"]
floor numeric | floor(4.9) | 4
format string | format("Hello, %s! %03d", "Ander", 7) | "Hello, Ander! 007"
formatdate datetime | formatdate("DD MMM YYYY hh:mm ZZZ", "2018-01-02T23:12:01Z") | "02 Jan 2018 23:12 UTC"
formatlist string | formatlist("Hello, %s!", ["A", "B"]) | ["Hello, A!","Hello, B!"]
indent string | indent(2, "a\nb") | "a\n  b"
index collection | index(["a", "b", "c"], "b") | 1
join string | join(", ", ["foo", "bar"]) | "foo, bar"
jsondecode encoding | jsondecode("{\"hello\": \"world\"}") | {"hello":"world"}
jsonencode encoding | jsonencode({"hello"="world"}) | "{\"hello\":\"world\"}"
keys collection | keys({a=1, c=2, d=3}) | ["a","c","d"]
legacy_isotime datetime | legacy_isotime("2006-01-02") | "2021-08-03"
legacy_strftime datetime | legacy_strftime("%Y-%m") | "2021-08"
length collection | [length([]), length(["a", "b"]), length({"a" = "b"}), length("hello")] | [0,2,1,5]
log numeric | log(16, 2) | 4
lookup collection | [lookup({a="ay", b="bee"}, "a", "what?"), lookup({a="ay"}, "c", "what?"), lookup({a="ay"}, "a")] | ["ay","what?","ay"]
lower string | lower("HELLO") | "hello"
max numeric | max(5, 12, 9) | 12
md5 crypto | md5("hello world") | "5eb63bbbe01eeed093cb22bb8f5acdc3"
merge collection | merge({"a"="b", "c"="d"}, {"e"="f", "c"="z"}) | {"a":"b","c":"z","e":"f"}
min numeric | min(12, 54, 3) | 3
parseint numeric | [parseint("100", 10), parseint("FF", 16)] | [100,255]
pathexpand file | pathexpand("/etc/resolv.conf") | "/etc/resolv.conf"
pow numeric | pow(3, 2) | 9
range collection | range(1, 8, 2) | [1,3,5,7]
regex string | regex("[a-z]+", "53453453.345345aaabbbccc23454") | "aaabbbccc"
regex_replace string | regex_replace("hello world", "(o)", "<$1>") | "hell<o> w<o>rld"
regexall string | regexall("[a-z]+", "1234abcd5678efgh9") | ["abcd","efgh"]
replace string | [replace("1 + 2 + 3", "+", "-"), replace("hello", "/l+/", "L")] | ["1 - 2 - 3","hello"]
reverse collection | reverse([1, 2, 3]) | [3,2,1]
rfc3339_parse datetime | [rfc3339_parse("2023-07-25T23:43:16Z").unix, rfc3339_parse("2023-07-25 23:43:16.5Z").iso_week] | [1690328596,30]
rsadecrypt crypto | rsadecrypt("AA==", "no key") | !key
setintersection collection | setintersection(["a", "b"], ["b", "c"]) | ["b"]
setproduct collection | setproduct(["d", "p"], ["a1", "a2"]) | [["d","a1"],["d","a2"],["p","a1"],["p","a2"]]
setunion collection | setunion(["a", "b"], ["b", "c"]) | ["a","b","c"]
sha1 crypto | sha1("hello world") | "2aae6c35c94fcfb415dbe95f408b9ce91ee846ed"
sha256 crypto | sha256("hello world") | "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
sha512 crypto | substr(sha512("hello world"), 0, 16) | "309ecc489c12d6eb"
signum numeric | [signum(-13), signum(0), signum(344)] | [-1,0,1]
slice collection | slice(["a", "b", "c", "d"], 1, 3) | ["b","c"]
sort collection | sort(["e", "d", "a", "x"]) | ["a","d","e","x"]
split string | split(",", "foo,bar,baz") | ["foo","bar","baz"]
startswith string | startswith("hello world", "hello") | true
strcontains string | strcontains("hello world", "wor") | true
strrev string | strrev("hello") | "olleh"
substr string | substr("hello world", 1, 4) | "ello"
sum numeric | sum([10, 13, 6, 4.5]) | 33.5
templatefile file | templatefile("list.pkrtpl.hcl", {port = 8080, addrs = ["a", "b"]}) | "a:8080 b:8080 "
textdecodebase64 encoding | textdecodebase64("SABlAGwAbABvACAAVwBvAHIAbABkAA==", "UTF-16LE") | "Hello World"
textencodebase64 encoding | textencodebase64("Hello World", "UTF-16LE") | "SABlAGwAbABvACAAVwBvAHIAbABkAA=="
timeadd datetime | timeadd("2017-11-22T00:00:00Z", "10m") | "2017-11-22T00:10:00Z"
timestamp datetime | timestamp() | "2021-08-03T10:00:00Z"
title string | title("hello world") | "Hello World"
trim string | trim("?!hello?!", "!?") | "hello"
trimprefix string | trimprefix("helloworld", "hello") | "world"
trimspace string | trimspace("  hello\n\n") | "hello"
trimsuffix string | trimsuffix("helloworld", "world") | "hello"
try conversion | try(regex("a", "b"), "fallback") | "fallback"
unix_timestamp_parse datetime | [unix_timestamp_parse(1690328596).rfc3339, unix_timestamp_parse(0).weekday_name] | ["2023-07-25T23:43:16Z","Thursday"]
upper string | upper("hello") | "HELLO"
urlencode encoding | urlencode("Hello World") | "Hello+World"
uuidv4 uuid | uuidv4() | ?
uuidv5 uuid | uuidv5("dns", "www.terraform.io") | "a5008fae-b28c-5ba5-96cd-82b4c53552d6"
values collection | values({a=3, c=2, d=1}) | [3,2,1]
vault contextual | vault("a", "b") | !cannot be used
yamldecode encoding | [yamldecode("{\"hello\": \"world\"}"), yamldecode("a: &a [1]\nb: *a")] | [{"hello":"world"},{"a":[1],"b":[1]}]
yamlencode encoding | yamlencode({"a"="b"}) | "\"a\": \"b\"\n"
zipmap collection | zipmap(["a", "b"], [1, 2]) | {"a":1,"b":2}`

// functionContext has files beside the template; its secret is a test value, no real one.
func functionContext(t *testing.T) (*hcl.EvalContext, functionTable) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"hello.txt": "Hello World", "list.pkrtpl.hcl": "%{ for a in addrs ~}\n${a}:${port} %{ endfor ~}", "again.pkrtpl.hcl": `${templatefile("hello.txt", {})}`,
		"deep.pkrtpl.hcl": `%{ for a in range(1000) }%{ for b in range(1000) }%{ for c in range(1000) }x%{ endfor }%{ endfor }%{ endfor }`, "large.bin": strings.Repeat("x", maxText+1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := &loader{dir: dir, o: Options{Now: time.Date(2021, 8, 3, 10, 0, 0, 0, time.UTC), Cwd: dir}}
	f := functions(l)
	return &hcl.EvalContext{Functions: f.all, Variables: map[string]cty.Value{
		"cwd": cty.StringVal(filepath.ToSlash(dir)), "secret": cty.StringVal("a").Mark("sensitive"), "mega": cty.StringVal(strings.Repeat("a,", 1<<20)),
	}}, f
}

func evaluate(t *testing.T, ctx *hcl.EvalContext, expression string) (cty.Value, hcl.Diagnostics) {
	t.Helper()
	x, problems := hclsyntax.ParseExpression([]byte(expression), "test", hcl.InitialPos)
	if problems.HasErrors() {
		t.Fatalf("%s: %s", expression, problems)
	}
	return x.Value(ctx)
}

func TestEveryFunction(t *testing.T) {
	ctx, table := functionContext(t)
	rows := map[string]bool{}
	for row := range strings.SplitSeq(strings.TrimSpace(functionRows), "\n") {
		part := strings.Split(row, " | ")
		name, _, _ := strings.Cut(part[0], " ")
		rows[name] = true
		v, problems := evaluate(t, ctx, part[1])
		if refusal, ok := strings.CutPrefix(part[2], "!"); ok {
			if !problems.HasErrors() || !strings.Contains(problems.Error(), refusal) {
				t.Errorf("%s: got %v, want an error with %q", part[1], problems, refusal)
			}
			continue
		}
		if problems.HasErrors() {
			t.Errorf("%s: %s", part[1], problems)
			continue
		}
		if part[2] == "?" {
			continue
		}
		got, err := stdlib.JSONEncode(v)
		if err != nil {
			t.Fatal(err)
		}
		if s := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(got.AsString()); s != part[2] {
			t.Errorf("%s: got %s, want %s", part[1], s, part[2])
		}
	}
	names := strings.Fields(packerFunctions)
	for name := range table.all {
		if !rows[name] && name != "env" {
			t.Errorf("%s has no row", name)
		}
		if !slices.Contains(names, name) && name != "env" {
			t.Errorf("%s is not a function of Packer", name)
		}
	}
	for _, name := range names {
		if _, ok := table.all[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	hash, _ := evaluate(t, ctx, `bcrypt("hello world", 4)`)
	if err := bcrypt.CompareHashAndPassword([]byte(hash.AsString()), []byte("hello world")); err != nil {
		t.Error(err)
	}
	one, _ := evaluate(t, ctx, "uuidv4()")
	two, _ := evaluate(t, ctx, "uuidv4()")
	if len(one.AsString()) != 36 || one.AsString()[14] != '4' || one.RawEquals(two) {
		t.Errorf("uuidv4 gave %v and %v", one, two)
	}
}

func TestBounds(t *testing.T) {
	ctx, _ := functionContext(t)
	for _, expression := range []string{
		`format("%999999999d", 1)`, `format("%.999999999f", 1)`, `format("%99999999999999999999d", 1)`, `formatlist("%4000000d", range(1000))`,
		`format("%[1]s%[1]s%[1]s", mega)`, `range(1000000000)`, `setproduct(range(1000), range(1000), range(1000))`, `setproduct(range(1000), range(1000))`,
		`pow(10, 1000000)`, `abs(1e999999)`, `parseint(mega, 10)`, `bcrypt("a", 17)`, `csvdecode(mega)`, `jsondecode(join("", [for i in range(1000): "["]))`,
		`yamldecode(join("", [for i in range(1000): "["]))`, `yamldecode(join("", [for i in range(1000): "- "]))`,
		`yamldecode("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n")`,
		`regex("(((a{100}){10}){10}){10}", "a")`, `regexall("a", mega)`, `regex_replace(mega, "", "aaaaaaaaaa")`, `join(mega, range(1000))`, `replace(mega, "a", "aaaaaaaaaa")`, `replace(mega, "", "aaaa")`,
		`split(",", mega)`, `indent(1000000000, "a\nb")`, `base64gzip(mega)`, `distinct(concat(range(1000), range(1000, 2000), range(2000, 3000)))`, `sha1(join("", [mega, mega, mega]))`,
		`file("large.bin")`, `templatefile("again.pkrtpl.hcl", {})`, `templatefile("deep.pkrtpl.hcl", {})`, `templatefile("list.pkrtpl.hcl", {})`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, problems := evaluate(t, ctx, expression)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if !problems.HasErrors() {
			t.Errorf("%s: not refused", expression)
		}
		// A refusal takes milliseconds; the wide limit is for a busy machine.
		if took > time.Second || after.TotalAlloc-before.TotalAlloc > 64<<20 {
			t.Errorf("%.60s: %v, %d MiB", expression, took, (after.TotalAlloc-before.TotalAlloc)>>20)
		}
	}
}

// TestMarks marks one argument after the other of every call in functionRows.
func TestMarks(t *testing.T) {
	ctx, table := functionContext(t)
	tested := map[string]bool{"timestamp": true, "uuidv4": true} // no arguments
	for row := range strings.SplitSeq(strings.TrimSpace(functionRows), "\n") {
		part := strings.Split(row, " | ")
		name, _, _ := strings.Cut(part[0], " ")
		if name == "try" || name == "can" || name == "convert" {
			continue // they take expressions: below
		}
		x, problems := hclsyntax.ParseExpression([]byte(part[1]), "test", hcl.InitialPos)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		_ = hclsyntax.VisitAll(x, func(n hclsyntax.Node) hcl.Diagnostics {
			call, ok := n.(*hclsyntax.FunctionCallExpr)
			if !ok || call.Name != name {
				return nil
			}
			f := table.all[name]
			for marked := range call.Args {
				args := make([]cty.Value, len(call.Args))
				for i, a := range call.Args {
					v, _ := a.Value(ctx)
					p := f.VarParam()
					if i < len(f.Params()) {
						p = &f.Params()[i]
					}
					v, err := convert.Convert(v, p.Type)
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					if i == marked {
						v = v.Mark("sensitive")
					}
					args[i] = v
				}
				tested[name] = true
				v, err := f.Call(args)
				refused := strings.HasPrefix(part[2], "!")
				switch {
				case err != nil && !refused:
					t.Errorf("%s with argument %d marked: %v", part[1], marked, err)
				case err != nil && !strings.Contains(err.Error(), "cannot be used") && !strings.Contains(err.Error(), "is hidden"):
					t.Errorf("%s shows what a library says of a secret: %v", name, err)
				case name == "lookup" && marked == 2 && !strings.Contains(v.GoString(), "what?"):
					// the default was not used
				case err == nil && !v.ContainsMarked():
					t.Errorf("%s with argument %d marked: the result is not", part[1], marked)
				}
			}
			return nil
		})
	}
	for name, expression := range map[string]string{
		"try": `try(secret, "b")`, "can": `can(regex("b", secret))`, "convert": `convert(secret, string)`,
	} {
		tested[name] = true
		if v, problems := evaluate(t, ctx, expression); problems.HasErrors() || !v.ContainsMarked() {
			t.Errorf("%s: %#v %v", expression, v, problems)
		}
	}
	for name := range table.all {
		if !tested[name] && name != "env" {
			t.Errorf("%s is not tested", name)
		}
	}
	if _, problems := evaluate(t, ctx, `parseint(secret, 10)`); !problems.HasErrors() || strings.Contains(problems.Error(), `"a"`) {
		t.Errorf("parseint of a secret: %v", problems)
	}
}
