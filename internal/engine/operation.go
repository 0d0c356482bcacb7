package engine

import (
	"ingot/internal/azure"
	"ingot/internal/plan"
)

// waiting is what a step that waits for Azure saves: the token of the operation it began, so that a step done again after a
// crash polls that operation instead of starting another.
type waiting struct {
	Token string `json:"token"`
}

// Op ties a long operation of Azure to the step's memory.
func Op(t *plan.Task) azure.Op {
	var w waiting
	if ok, err := t.Saved(&w); !ok || err != nil {
		w.Token = "" // nothing usable saved: the call looks at the resource itself
	}
	return azure.Op{
		Token:    w.Token,
		Save:     func(token string) error { return t.Save(waiting{token}) },
		Progress: func(status string) { t.Progress(-1, "%s", status) },
	}
}

// UndoOp is Op for undoing: it begins anew, because the saved token is the one of the operation that is being undone, and
// remembers nothing, because deleting twice is harmless.
func UndoOp(t *plan.Task) azure.Op {
	return azure.Op{
		Save:     func(string) error { return nil },
		Progress: func(status string) { t.Progress(-1, "%s", status) },
	}
}

// IDResult is the result of a step that makes one resource.
type IDResult struct {
	ID string `json:"id"`
}

// ProductResult is what a target leaves: the id is the artifact.
type ProductResult struct {
	ID string `json:"id"`
}

// Forget makes the step forget the operation that it began: it is over, and its resource gone.
func Forget(t *plan.Task) error { return t.Save(waiting{}) }
