package cli

import (
	"os"
	"strconv"

	"ingot/internal/plan"
)

// journal is the run's journal. INGOT_TEST_KILL_AFTER=N lets the process kill itself with SIGKILL once N entries are on
// disk: the test of resuming does that after every one of them.
func (a *app) journal(run plan.Held) plan.Journal {
	n, err := strconv.Atoi(a.Getenv("INGOT_TEST_KILL_AFTER"))
	if err != nil || n <= 0 {
		return run
	}
	return &killing{Journal: run, after: n}
}

type killing struct {
	plan.Journal
	after, written int
}

func (k *killing) Append(e plan.Entry) error {
	if err := k.Journal.Append(e); err != nil {
		return err
	}
	if k.written++; k.written == k.after {
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			return err
		}
		select {} // the signal is on its way
	}
	return nil
}
