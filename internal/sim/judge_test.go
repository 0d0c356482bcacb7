package sim

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"ingot/internal/sim/spec"
)

// TestMain reports, with INGOT_SPECS (a checkout of Azure/azure-rest-api-specs), how the answers that these tests got stand to Microsoft's
// published schemas. The schemas are not part of Ingot.
func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("INGOT_SPECS") != "" {
		if judge, err := theJudge(); err != nil {
			fmt.Println(err)
			code = max(code, 1)
		} else {
			spec.Report(printer{&code}, judge)
		}
	}
	os.Exit(code)
}

var theJudge = sync.OnceValues(func() (*spec.Judge, error) { return spec.Open(os.Getenv("INGOT_SPECS")) })

type printer struct{ code *int }

func (printer) Helper() {}

func (printer) Logf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func (p printer) Errorf(format string, args ...any) {
	fmt.Printf("FAULT "+format+"\n", args...)
	*p.code = 1
}
