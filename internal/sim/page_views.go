package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sort"
	"strings"
	"time"
)

// shown bounds the rows of a page.
const shown = 500

func (v *view) wants(texts ...string) bool {
	want := strings.ToLower(strings.TrimSpace(v.Filter))
	return want == "" || strings.Contains(strings.ToLower(strings.Join(texts, " ")), want)
}

func (w *Azure) viewResources(v *view) {
	now := w.clock.Now()
	rows := 0
	for _, g := range w.all(groupType) {
		row := groupRow{g.name, g.location, g.state, age(now.Sub(g.created)), g.id, nil}
		for _, r := range w.order.under(g.low) {
			var tags []string
			for key, t := range r.tags {
				tags = append(tags, fmt.Sprintf("%s=%v", key, t))
			}
			sort.Strings(tags)
			if rows >= shown || !v.wants(r.id, r.state, r.location, strings.Join(tags, " ")) {
				continue
			}
			rows++
			row.Rows = append(row.Rows, resourceRow{r.id, r.name, r.typ, r.location, r.state, age(now.Sub(r.created)), tags, r.seeded, strings.Count(r.typ, "/") - 1})
		}
		if len(row.Rows) > 0 || v.wants(g.name, g.state) {
			v.Groups = append(v.Groups, row)
		}
	}
}

func (w *Azure) viewOperations(v *view) {
	var list []*operation
	for _, o := range w.operations {
		list = append(list, o)
	}
	sort.Slice(list, func(i, j int) bool {
		if a, b := list[i].status == "InProgress", list[j].status == "InProgress"; a != b {
			return a
		}
		return list[i].seq > list[j].seq
	})
	now := w.clock.Now()
	for _, o := range list {
		row := operationRow{What: o.verb, On: o.resource, Status: o.status, Started: o.start.UTC().Format("01-02 15:04:05"), Took: o.end.Sub(o.start).Round(100 * time.Millisecond).String()}
		if row.On == "" && o.of != nil {
			row.On = o.of.id
		}
		if o.status == "InProgress" {
			row.Took, row.Left = age(now.Sub(o.start)), age(o.end.Sub(now))
		}
		if o.err != nil {
			row.Error = o.err.code + ": " + o.err.message
		}
		row.On = strings.Replace(row.On, "/subscriptions/"+w.cfg.Subscription, "…", 1)
		if v.wants(row.What, row.On, row.Status, row.Error) && len(v.Operations) < shown {
			v.Operations = append(v.Operations, row)
		}
	}
}

func (w *Azure) viewCalls(v *view) {
	for i := len(w.calls.list) - 1; i >= 0 && len(v.Calls) < shown; i-- {
		c := w.calls.at(i)
		if !v.wants(c.Method, c.Path, fmt.Sprint(c.Status), c.Principal, c.Code) {
			continue
		}
		v.Calls = append(v.Calls, callRow{c.Time.UTC().Format("01-02 15:04:05.000"), c.Method, strings.Replace(c.Path, "/subscriptions/"+w.cfg.Subscription, "…", 1), c.Duration.Round(10 * time.Microsecond).String(), c.Principal, c.Code,
			readable(c.request, c.Path), readable(c.answer, c.Path), c.Status})
	}
}

func (w *Azure) viewAccounts(v *view) {
	for _, p := range w.principals {
		row := accountRow{Name: p.Name, ClientID: p.ClientID, ObjectID: p.ObjectID, Secret: "a scenario's"}
		if p.ClientID == DefaultClientID {
			row.Secret = DefaultClientSecret // printed by `sim serve`, and says itself that it is none
		}
		for _, a := range p.Roles {
			row.Roles = append(row.Roles, a.Role+" at "+a.Scope)
		}
		v.Accounts = append(v.Accounts, row)
	}
}

// note puts a call into the log.
func (w *Azure) note(c CallRecord, began time.Time, r *http.Request, raw []byte, out *reply) {
	c.Duration, c.Status = time.Since(began), out.status
	if p := w.bearer(r); p != nil {
		c.Principal = p.Name
	}
	c.Code = text(out.body, "error", "code")
	if c.Code == "" && out.status >= 400 {
		c.Code = text(out.body, "error") // sign-in's form
	}
	c.request, c.answer = raw, out.raw
	w.calls.add(c)
}

var (
	secretName = regexp.MustCompile(`(?i)(password|secret|token|assertion|accesssas|customdata|userdata|protectedsettings|sas|pfx)$|^(key\d?|.*(account|access|primary|secondary|private|signing)key)$`)
	signature  = regexp.MustCompile(`(?i)([?&]sig=)[^&"\s]+`)
)

const hidden = "(hidden)"

// redacted takes secrets out of a body, in place; values of secrets are named "value" in a vault and in a list of keys.
func redacted(v any, values bool) any {
	switch x := v.(type) {
	case map[string]any:
		for key, y := range x {
			if _, isText := y.(string); isText && (secretName.MatchString(key) || values && key == "value") {
				x[key] = hidden
				continue
			}
			x[key] = redacted(y, values)
		}
	case []any:
		for i := range x {
			x[i] = redacted(x[i], values)
		}
	case string:
		return signature.ReplaceAllString(x, "${1}"+hidden)
	}
	return v
}

// readable is a body for the page: indented, without secrets, cut where it is long. What is neither JSON nor a form is not
// shown, since nothing is known of where its secrets are.
func readable(raw []byte, path string) string {
	if len(raw) == 0 {
		return ""
	}
	low := strings.ToLower(path)
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		form, err := url.ParseQuery(string(raw))
		if err != nil || !strings.HasSuffix(low, "/token") {
			return fmt.Sprintf("%d bytes", len(raw))
		}
		for key := range form {
			if secretName.MatchString(key) {
				form.Set(key, hidden)
			}
		}
		return form.Encode()
	}
	v = redacted(v, strings.HasPrefix(low, "/secrets/") || strings.Contains(low, "keys"))
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the template escapes
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	if b.Len() > bodyLimit {
		b.Truncate(bodyLimit)
		b.WriteString("\n…")
	}
	return b.String()
}
