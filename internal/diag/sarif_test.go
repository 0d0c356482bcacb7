package diag

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestRenderSARIF(t *testing.T) {
	l, _ := problems()
	l.Errorf(Pos{File: `a\b.json`, Line: 7}, "", "unknown option %q", "other")
	var b bytes.Buffer
	if err := RenderSARIF(&b, l, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name, Version string
					Rules         []struct{ ID string }
				}
			}
			Results []struct {
				RuleID, Level string
				Message       struct{ Text string }
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           *struct{ StartLine, StartColumn int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != "2.1.0" || len(got.Runs) != 1 {
		t.Fatalf("%s", b.String())
	}
	run := got.Runs[0]
	rules := map[string]int{}
	for _, r := range run.Tool.Driver.Rules {
		rules[r.ID]++
	}
	if run.Tool.Driver.Name != "ingot" || run.Tool.Driver.Version != "1.2.3" || rules["unknown-option"] != 1 {
		t.Errorf("the two unknown options are not one rule: %v", rules)
	}
	if len(run.Results) != len(l) {
		t.Fatalf("%d results of %d problems", len(run.Results), len(l))
	}
	for _, r := range run.Results {
		if rules[r.RuleID] != 1 || r.Message.Text == "" || r.Level != "error" && r.Level != "warning" {
			t.Errorf("%+v", r)
		}
		if len(r.Locations) > 0 {
			p := r.Locations[0].PhysicalLocation
			if p.ArtifactLocation.URI == "" || p.Region != nil && (p.Region.StartLine < 1 || p.Region.StartColumn < 1) {
				t.Errorf("%+v", p)
			}
		}
	}
	b.Reset()
	if err := RenderSARIF(&b, nil, "1"); err != nil || !bytes.Contains(b.Bytes(), []byte(`"results": []`)) {
		t.Errorf("no problems: %v %s", err, b.String())
	}
}
