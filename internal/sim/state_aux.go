package sim

import (
	"encoding/json"
	"fmt"
	"time"

	"ingot/internal/sim/guest"
	"ingot/internal/sim/qemu"
)

// auxType is a Go type that may stand behind a resource (resource.aux), with the name its JSON is kept under.
type auxType struct {
	name string
	is   func(v any) bool
	read func(raw json.RawMessage) (any, error)
}

// auxTypes is the one list of them: whoever lets something new stand behind a resource adds a line here, and gives the type
// exported fields or MarshalJSON and UnmarshalJSON. What cannot be written (a running guest, an open file) is left out there
// and made again in resume. An aux without a line makes every change fail loudly while state is kept.
func auxTypes() []auxType {
	return []auxType{
		aux[*machine]("machine"),
		aux[content]("content"),
		aux[*versionData]("version"),
		aux[*accountData]("account"),
		aux[*templateData]("template"),
		aux[*deploymentData]("deployment"),
		aux[*commandData]("command"),
		aux[*extensionData]("extension"),
	}
}

func aux[T any](name string) auxType {
	return auxType{name,
		func(v any) bool { _, ok := v.(T); return ok },
		func(raw json.RawMessage) (any, error) {
			var v T
			err := json.Unmarshal(raw, &v)
			return v, err
		}}
}

// auxJSON is an aux with the name of its type.
type auxJSON struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

func writeAux(v any) (*auxJSON, error) {
	if v == nil {
		return nil, nil
	}
	for _, t := range auxTypes() {
		if t.is(v) {
			raw, err := json.Marshal(v)
			return &auxJSON{t.name, raw}, err
		}
	}
	return nil, fmt.Errorf("there is no line for %T in auxTypes", v)
}

func readAux(j *auxJSON) (any, error) {
	if j == nil {
		return nil, nil
	}
	for _, t := range auxTypes() {
		if t.name == j.Type {
			return t.read(j.Value)
		}
	}
	return nil, fmt.Errorf("%q stands behind it, which this version does not know", j.Type)
}

// contentJSON is content as it is kept; a new field of content has its line in the three places below.
type contentJSON struct {
	Disk        *guest.Disk   `json:"disk,omitempty"`
	User        string        `json:"user,omitempty"`
	Password    string        `json:"password,omitempty"`
	Windows     bool          `json:"windows,omitempty"`
	Generalized bool          `json:"generalized,omitempty"`
	Image       string        `json:"image,omitempty"`
	Made        string        `json:"made,omitempty"`
	Bytes       int64         `json:"bytes,omitempty"`
	Frozen      *qemu.Image   `json:"frozen,omitempty"`
	Plan        string        `json:"plan,omitempty"`
	WinRM       bool          `json:"winrm,omitempty"`
	Data        []dataContent `json:"data,omitempty"`
}

// MarshalJSON writes a content for the folder that keeps it.
func (c content) MarshalJSON() ([]byte, error) {
	j := contentJSON{Disk: c.disk, User: c.user, Password: c.password, Windows: c.windows, Generalized: c.generalized, Image: c.image, Made: c.made, Bytes: c.bytes, Plan: c.plan, WinRM: c.winrm, Data: c.data}
	if c.frozen != nil && c.frozen.err == nil {
		j.Frozen = &c.frozen.disk
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *content) UnmarshalJSON(raw []byte) error {
	var j contentJSON
	err := json.Unmarshal(raw, &j)
	*c = content{disk: j.Disk, user: j.User, password: j.Password, windows: j.Windows, generalized: j.Generalized, image: j.Image, made: j.Made, bytes: j.Bytes, plan: j.Plan, winrm: j.WinRM, data: j.Data}
	if j.Frozen != nil {
		c.frozen = &frozen{disk: *j.Frozen}
	}
	return err
}

type machineJSON struct {
	Power       string    `json:"power,omitempty"`
	Generalized bool      `json:"generalized,omitempty"`
	User        string    `json:"user,omitempty"`
	Password    string    `json:"password,omitempty"`
	Certificate string    `json:"certificate,omitempty"`
	Generation  string    `json:"generation,omitempty"`
	Content     content   `json:"content"`
	Domain      string    `json:"domain,omitempty"`
	Entra       bool      `json:"entra,omitempty"`
	Real        *realJSON `json:"real,omitempty"`
}

// realJSON is a machine of QEMU without its process.
type realJSON struct {
	Name  string             `json:"name"`
	Disk  string             `json:"disk,omitempty"`
	Size  int64              `json:"size,omitempty"`
	First *qemu.Provisioning `json:"first,omitempty"`
	Agent string             `json:"agent,omitempty"`
	User  string             `json:"user,omitempty"`
}

// MarshalJSON writes a machine without its running guest, which resume boots again.
func (m *machine) MarshalJSON() ([]byte, error) {
	j := machineJSON{Power: m.power, Generalized: m.generalized, User: m.user, Password: m.password, Certificate: m.certificateURL, Generation: m.generation, Domain: m.domain, Entra: m.entra, Content: m.content}
	if x := m.real; x != nil {
		j.Real = &realJSON{x.name, x.disk, x.size, x.first, x.agent, x.user}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *machine) UnmarshalJSON(raw []byte) error {
	var j machineJSON
	err := json.Unmarshal(raw, &j)
	*m = machine{power: j.Power, generalized: j.Generalized, user: j.User, password: j.Password, certificateURL: j.Certificate, generation: j.Generation, domain: j.Domain, entra: j.Entra, content: j.Content}
	if x := j.Real; x != nil {
		m.real = &realMachine{name: x.Name, disk: x.Disk, size: x.Size, first: x.First, agent: x.Agent, user: x.User}
	}
	return err
}

type versionJSON struct {
	Content content                 `json:"content"`
	Regions map[string][2]time.Time `json:"regions"`
}

// MarshalJSON writes what an image version holds and where.
func (v *versionData) MarshalJSON() ([]byte, error) {
	j := versionJSON{v.content, map[string][2]time.Time{}}
	for name, x := range v.regions {
		j.Regions[name] = [2]time.Time{x.start, x.end}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *versionData) UnmarshalJSON(raw []byte) error {
	var j versionJSON
	err := json.Unmarshal(raw, &j)
	*v = versionData{content: j.Content, regions: map[string]replica{}}
	for name, x := range j.Regions {
		v.regions[name] = replica{x[0], x[1]}
	}
	return err
}

// contentsOf are the contents in an aux, for what must be done with each of them after reading.
func contentsOf(v any) []*guest.Disk {
	switch x := v.(type) {
	case *machine:
		return []*guest.Disk{x.content.disk}
	case content:
		return []*guest.Disk{x.disk}
	case *versionData:
		return []*guest.Disk{x.content.disk}
	}
	return nil
}

// share puts the one disk in place of each document's own copy of it: a machine and its disk resource have the same one.
func share(v any, one func(*guest.Disk) *guest.Disk) any {
	switch x := v.(type) {
	case *machine:
		x.content.disk = one(x.content.disk)
	case *versionData:
		x.content.disk = one(x.content.disk)
	case content:
		x.disk = one(x.disk)
		return x
	}
	return v
}
