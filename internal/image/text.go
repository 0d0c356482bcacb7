package image

import (
	"encoding/json"
	"fmt"
)

// Text is a string of a template that may hold a secret: a sensitive variable was part of it, or its option is one that
// holds secrets. A hidden Text prints, logs and marshals as its name only; Reveal is the one way to its value.
type Text struct {
	value  string
	secret string // the name it is known by in plans; empty for plain text
}

// Plain makes a Text of a string that may be seen.
func Plain(s string) Text { return Text{value: s} }

// Hidden makes a Text that must not be seen, known by name: "azure-arm.win11/provisioner[2].environment_vars[0]".
func Hidden(name, value string) Text { return Text{value: value, secret: name} }

// Secret returns the name a hidden Text is known by, or "".
func (t Text) Secret() string { return t.secret }

// Reveal returns the value.
func (t Text) Reveal() string { return t.value }

// IsZero reports whether there is nothing in it.
func (t Text) IsZero() bool { return t.value == "" && t.secret == "" }

// String is the value of a plain Text and "(secret)" for a hidden one.
func (t Text) String() string {
	if t.secret != "" {
		return "(secret)"
	}
	return t.value
}

// Format keeps every verb, %#v included, from showing the value.
func (t Text) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// MarshalJSON writes the string, or {"secret": name}.
func (t Text) MarshalJSON() ([]byte, error) {
	if t.secret != "" {
		return json.Marshal(map[string]string{"secret": t.secret})
	}
	return json.Marshal(t.value)
}

// UnmarshalJSON reads what MarshalJSON wrote; a hidden Text then has no value until Fill gives it one.
func (t *Text) UnmarshalJSON(b []byte) error {
	var ref struct{ Secret string }
	if err := json.Unmarshal(b, &t.value); err == nil {
		t.secret = ""
		return nil
	}
	if err := json.Unmarshal(b, &ref); err != nil {
		return err
	}
	*t = Text{secret: ref.Secret}
	return nil
}

// Fill gives a hidden Text its value from lookup; it reports false when lookup does not know the name.
func (t *Text) Fill(lookup func(name string) (string, bool)) bool {
	if t.secret == "" {
		return true
	}
	v, ok := lookup(t.secret)
	if ok {
		t.value = v
	}
	return ok
}
