package sim

import (
	"container/heap"
	"context"
	"errors"
	"strings"
	"time"
)

// A run of a template with guests: a build machine is made of the source, customizers run on it, it is generalised and captured, tried
// and distributed (azure-image-builder.md 2). It is carried out by a goroutine that waits on the simulation's clock and takes the lock
// for each change; its operation ends when it does.

// Why a run ended before its time.
var (
	errRunCanceled = errors.New("the run was canceled")
	errRunLate     = errors.New("context deadline exceeded")
	errRunGone     = errors.New("the image template is gone")
	errRunStopped  = errors.New("the simulated Azure is stopped")
)

// imageRun is a run under way. Its fields belong to its goroutine, but for triggered and cancel.
type imageRun struct {
	w         *Azure
	r         *resource
	d         *templateData
	o         *operation
	ctx       context.Context
	cancel    context.CancelCauseFunc
	mark      string // ends the names of what the run makes
	log       *runLog
	content   content // what the run has built
	gen       string  // its generation
	triggered bool
	kept      bool // what was made stays after a failure
}

// runFailure ends a run: what its operation and lastRunStatus say.
type runFailure struct{ code, message, status string }

// default of buildTimeoutInMinutes when it is 0 (azure-image-builder.md 1.2)
const runMinutes = 240

// launch begins a run. The lock is held.
func (w *Azure) launch(r *resource, o *operation) {
	d := templateOf(r)
	d.State, d.Sub = "Running", "Queued"
	x := &imageRun{w: w, r: r, d: d, o: o, mark: strings.ReplaceAll(w.uuid(), "-", "")[:10]}
	x.ctx, x.cancel = context.WithCancelCause(context.Background())
	d.run = x
	w.plane() //nolint:errcheck // without storage there is no log
	d.Folder = w.uuid()
	x.log = &runLog{w: w, account: d.Account, name: d.Folder + "/customization.log", id: o.id}
	w.stopping.Go(x.run)
}

// run is the goroutine.
func (x *imageRun) run() {
	defer x.cancel(errRunStopped)
	minutes := number(x.r.props, "buildTimeoutInMinutes")
	if minutes == 0 {
		minutes = runMinutes
	}
	timer, stop := context.WithCancel(x.ctx)
	go func() {
		if x.w.clock.Sleep(timer, time.Duration(minutes)*time.Minute) == nil {
			x.cancel(errRunLate)
		}
	}()
	bad := x.build()
	stop()
	cause := context.Cause(x.ctx)
	switch {
	case errors.Is(cause, errRunStopped):
		x.log.flush() // it ends with the process, and is found in the midst of it by the next
		return
	case errors.Is(cause, errRunCanceled):
		bad = &runFailure{code: "Canceled", message: "The run was canceled."}
		x.log.ui("Cancelling build after receiving terminated")
		x.after("aib-cancel")
	case errors.Is(cause, errRunLate):
		x.log.info("Cancelling builder after context cancellation context canceled")
		x.log.ui("Cancelling build after receiving terminated")
		// azure-image-builder.md 4.1, row 11
		const late = "Failed in building/customizing image: Failed while waiting for packerizer: Timeout waiting for microservice to complete: 'context deadline exceeded'"
		bad = &runFailure{code: "PackerBuildTimeout", message: late + ". " + x.whereLogged(), status: late + ". " + x.whereLogged()}
	}
	if !x.kept {
		x.after("aib-cleanup")
	}
	x.finish(bad)
}

// after lets a time pass that neither a limit nor a cancellation shortens; only the end of the process does.
func (x *imageRun) after(kind string) {
	d := x.w.duration(kind, x.r.id)
	if d <= 0 {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		select {
		case <-x.w.stop:
			stop()
		case <-ctx.Done():
		}
	}()
	x.w.clock.Sleep(ctx, d) //nolint:errcheck // early is good, too
}

// finish writes a run's end into the books.
func (x *imageRun) finish(bad *runFailure) {
	x.log.flush()
	w := x.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.find(x.r.id) != x.r || x.d.run != x {
		return
	}
	d := x.d
	d.run, d.Ended, d.Sub = nil, w.clock.Now(), ""
	if !x.kept {
		w.sweep(d)
	}
	switch {
	case bad == nil:
		d.State, d.Failures = "Succeeded", 0
	case bad.code == "Canceled":
		d.State = "Canceled"
	case bad.code == "PartiallySucceeded":
		d.State, d.Message = "PartiallySucceeded", bad.status
	default:
		d.State, d.Message = "Failed", or(bad.status, bad.message)
		if x.triggered {
			d.Failures++
		}
	}
	if bad != nil && x.o.err == nil {
		x.o.err = refuse(400, bad.code, bad.message)
	}
	x.o.end = d.Ended
	heap.Init(&w.due)
	w.settled = true
	w.touch("operation", strings.ToLower(x.o.id))
	w.touch("resource", x.r.low)
}

// whereLogged is how the service's messages name the log (azure-image-builder.md 2, run failure).
func (x *imageRun) whereLogged() string {
	return "Image Build log location: " + x.w.blobURL(x.d.Account, "packerlogs", x.log.name) + ". OperationId: " + x.o.id + ". Use this operationId to search packer logs."
}

// blobURL is the address of a blob in the simulated storage.
func (w *Azure) blobURL(account, box, name string) string {
	return "https://" + account + ".blob.storage.localhost" + w.port() + "/" + box + "/" + name
}

// packerFailed is what becomes of a failure inside the build: lastRunStatus in the documented words (azure-image-builder.md 4.1, row 10), the
// operation in those of a real trace of 2024 (Azure/azure-powershell#24244).
func (x *imageRun) packerFailed() *runFailure {
	const steps = "For more troubleshooting steps go to https://aka.ms/azvmimagebuilderts."
	where := x.d.Staging + "/providers/" + storageType + "/" + x.d.Account + "/blobServices/default/containers/packerlogs/" + x.log.name
	return &runFailure{code: "PackerBuildFailed",
		message: "During the image build a failure has occurred. Packer build logs are at location " + where + ". Please navigate to this location using portal or other tools to download logs for identifying which build/customization step failed. Use this operationId " + x.o.id + " to search packer logs. " + steps,
		status: "Failed while waiting for packerizer: Microservice has failed: Failed while processing request: Error when executing packerizer: Packer build command has failed: exit status 1. " +
			"During the image build, a failure has occurred, please review the build log to identify which build/customization step failed. " + steps + " " + x.whereLogged()}
}

// serviceFailed is a failure of the service itself, before or after Packer.
func serviceFailed(bad *refusal) *runFailure {
	return &runFailure{code: bad.code, message: bad.message}
}

// locked changes something under the lock. It refuses when the template is not there any more.
func (x *imageRun) locked(f func() *refusal) *refusal {
	w := x.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.find(x.r.id) != x.r {
		x.cancel(errRunGone)
		return refuse(404, "ResourceNotFound", errRunGone.Error())
	}
	w.settle()
	w.settled = true
	return f()
}

// whole carries out what an operation's end asks to be done without the lock, while simulated time stands still.
func (x *imageRun) whole(bad *refusal) *refusal {
	for bad != nil && bad.later != nil {
		l := bad.later
		release := x.hold()
		bad = l.work()
		if bad == nil && l.then != nil {
			bad = x.locked(l.then)
		}
		release()
	}
	return bad
}

// hold lets simulated time stand still while something takes real time.
func (x *imageRun) hold() func() {
	if c, ok := x.w.clock.(interface{ Hold() func() }); ok {
		return c.Hold()
	}
	return func() {}
}

// stage is a runSubState; what it writes is there before anything of it happens.
func (x *imageRun) stage(sub string) {
	x.log.flush()
	x.locked(func() *refusal {
		if x.d.State == "Running" {
			x.d.Sub = sub
		}
		return nil
	})
}

// wait lets a thing take its time; false when the run is over.
func (x *imageRun) wait(kind, id string) bool {
	return x.pause(x.w.duration(kind, or(id, x.r.id)))
}

func (x *imageRun) pause(d time.Duration) bool {
	if x.ctx.Err() != nil {
		return false
	}
	return d <= 0 || x.w.clock.Sleep(x.ctx, d) == nil && x.ctx.Err() == nil
}

// build is a run from its queue to its outputs. Once ctx has ended what it returns does not matter.
func (x *imageRun) build() *runFailure {
	ended := &runFailure{code: "Canceled"}
	if !x.wait("aib-queue", "") {
		return ended
	}
	x.stage("Building")
	if bad := x.locked(func() *refusal {
		if bad := x.w.stagingIntact(x.r); bad != nil {
			return bad
		}
		if bad := x.w.runnable(x.r); bad != nil {
			return bad
		}
		return x.container()
	}); bad != nil {
		return serviceFailed(bad)
	}
	if !x.wait("aib-container", "") {
		return ended
	}
	if n := number(x.r.props, "buildTimeoutInMinutes"); n > 0 && n <= 5 {
		// azure-image-builder.md 4.1, row 24
		x.log.ui(`Error: Failed to prepare build: "azure-arm"`)
		x.log.ui("1 error(s) occurred:")
		x.log.ui("* client_jwt will expire within 5 minutes, please use a JWT that is valid for at least 5 minutes")
		return x.packerFailed()
	}
	ref, exact := x.source()
	if exact == nil {
		return ended
	}
	valid := mapping(x.r.props, "validate")
	if truth(valid, "sourceValidationOnly") {
		// "the image specified in the 'source' section will directly be validated. No separate build will be run" (the specification).
		return x.validate(ref)
	}
	if bad := x.customized(ref); bad != nil {
		return bad
	}
	if text(x.r.props, "optimize", "vmBoot", "state") == "Enabled" || text(x.r.props, "optimize", "workload", "state") == "Enabled" {
		x.stage("Optimizing")
		if !x.wait("aib-optimize", "") {
			return ended
		}
	}
	var invalid *runFailure
	if len(items(valid, "inVMValidations")) > 0 {
		ref, bad := x.interim()
		if bad != nil {
			return serviceFailed(bad)
		}
		if invalid = x.validate(ref); invalid != nil && (!truth(valid, "continueDistributeOnFailure") || x.ctx.Err() != nil) {
			return invalid
		}
	}
	if s := x.w.cfg.Scenario; s != nil { // a scenario may say how long a run lasts at the least
		if d, ok := s.Latency["aib-run"]; ok && !x.pause(x.d.Began.Add(time.Duration(d)).Sub(x.w.clock.Now())) {
			return ended
		}
	}
	x.stage("Distributing")
	if bad := x.distributeAll(); bad != nil {
		return bad
	}
	return invalid
}

// source resolves the template's source: "latest" is resolved when the image is built (azure-image-builder.md 1.2).
func (x *imageRun) source() (ref map[string]any, exact *string) {
	x.locked(func() *refusal {
		s := mapping(x.r.props, "source")
		ref = templateSource(s)
		_, _, _, _, version, bad := x.w.source(ref, x.r.location)
		if bad != nil {
			exact = new(string)
			return bad // the machine's creation says so in the log
		}
		if text(ref, "publisher") != "" {
			ref["version"] = version
		} else if version != "" && strings.EqualFold(lastPart(text(s, "imageVersionId")), "latest") {
			ref["id"] = galleryImage(text(s, "imageVersionId")) + "/versions/" + version
		}
		x.d.Exact = version
		showExact(s, version)
		exact = &version
		return nil
	})
	return ref, exact
}

// customized makes the build machine, customizes it and captures what came of it.
func (x *imageRun) customized(ref map[string]any) *runFailure {
	x.log.begin()
	m, bad := x.machine(ref, "pkrvm"+x.mark)
	if bad != nil {
		x.log.fail("ERROR: -> %s : %s", bad.code, bad.message)
		return x.packerErrored(bad.message)
	}
	g, err := x.connect(m)
	if err == nil {
		err = x.prepare(g)
	}
	if err == nil {
		x.stage("Customizing")
		err = x.steps(g, items(x.r.props, "customize"))
	}
	if err == nil {
		err = x.generalise(g)
	}
	if err != nil {
		x.log.fail("Provisioning step had errors: Running the cleanup provisioner, if present...")
		if x.kept = text(x.r.props, "errorHandling", "onCustomizerError") == "abort" && x.ctx.Err() == nil; x.kept {
			x.log.fail("Step \"StepProvision\" failed, aborting...")
		}
		return x.packerErrored(err.Error())
	}
	if bad := x.capture(m); bad != nil {
		x.log.fail("ERROR: -> %s : %s", bad.code, bad.message)
		return x.packerErrored(bad.message)
	}
	x.log.succeeded(x.w.clock.Now().Sub(x.d.Began))
	return nil
}

func (x *imageRun) packerErrored(text string) *runFailure {
	if x.ctx.Err() == nil {
		x.log.errored(x.w.clock.Now().Sub(x.d.Began), text)
	}
	return x.packerFailed()
}

// endLostRun ends a run that was in the midst of its work when the process of the simulation ended: nobody can go on with it.
func (w *Azure) endLostRun(r *resource) {
	d := templateOf(r)
	o := w.operations[strings.ToLower(d.Run)]
	if d.State == "" || !d.Ended.IsZero() || o == nil {
		return
	}
	const why = "The simulated Azure was started again while the image template ran and cannot go on with the run. Run the image template again."
	d.Ended, d.Sub = w.clock.Now(), ""
	if d.Canceled {
		d.State = "Canceled"
		o.err = refuse(409, "Canceled", "The run was canceled.")
	} else {
		d.State, d.Message = "Failed", why
		o.err = refuse(500, "InternalServerError", why)
	}
	w.sweep(d)
	o.end = d.Ended
	heap.Init(&w.due)
	w.touch("resource", r.low)
	w.touch("operation", strings.ToLower(o.id))
}
