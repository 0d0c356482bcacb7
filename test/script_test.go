package test

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestStories runs the scripts in testdata, each a story that a user could have typed.
func TestStories(t *testing.T) {
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("EXAMPLES", cwd+"/../examples")
			e.Setenv("INGOT_STATE", e.WorkDir+"/.state")
			e.Setenv("INGOT_SIM_LATENCY", "none")
			return nil
		}})
}
