package plan

import (
	"context"
	"io"
)

// Runs is where runs are kept: a folder (Store), or a container in the cloud.
type Runs interface {
	// Create makes a new run and takes hold of it.
	Create(ctx context.Context, p *Plan) (Held, error)
	// Open takes hold of the run whose id is name or begins with it. Where a process that may be dead held it last, Open waits
	// until that one's lease has run out (LeaseLength at most) and tells notice so first; ErrLocked means that it is alive.
	Open(ctx context.Context, name string, notice func(text string)) (Held, error)
	// List sums up all runs, the newest first. A run whose journal cannot be read is listed as damaged.
	List(ctx context.Context) ([]Summary, error)
	// Status reads how far a run is; another process may be carrying it on.
	Status(ctx context.Context, name string) (Status, error)
	// RequestCancel leaves a mark that the process which carries the run sees within seconds, and the next one at once. live is
	// false where no process carries it: nothing will happen then unless the caller resumes the run itself.
	RequestCancel(ctx context.Context, name string) (live bool, err error)
}

// Held is one run in the hands of this process: nobody else can drive it meanwhile.
type Held interface {
	Journal
	// Plan is the run's plan, from its journal.
	Plan() (*Plan, error)
	// CancelRequested reports whether RequestCancel was called for the run.
	CancelRequested() bool
	// Lost is closed when the run is not this process's any more: its lease could not be renewed in time, or was taken.
	Lost() <-chan struct{}
	// Close lets go of the run.
	Close() error
}

// Files keeps the local files that a run needs, so that it can go on on another machine. Both kinds of Held have it.
type Files interface {
	// PutFile keeps size bytes of r under a name (a checksum); one that is there already stays as it is.
	PutFile(ctx context.Context, name string, r io.Reader, size int64) error
	// GetFile reads what PutFile kept.
	GetFile(ctx context.Context, name string) (io.ReadCloser, error)
}
