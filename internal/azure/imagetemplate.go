package azure

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// templateVersion is the api-version of imageTemplates: of the specification imagebuilder/resource-manager, stable/2025-10-01. The SDK's module
// that can be had (armvirtualmachineimagebuilder v2.3.0) stops at 2024-02-01 and drops what it does not know, so the calls are made by hand,
// here and nowhere else (docs/decisions/0023-image-builder-engine.md).
const templateVersion = "2025-10-01"

// ImageTemplate is what is known of an imageTemplates resource.
type ImageTemplate struct {
	ID, Name, Location string
	Tags               map[string]string
	Provisioning       string // Creating, Updating, Succeeded, Failed, Deleting, Canceled
	Error              string // of a submission that failed: its code and text
	Staging            string // id of the group of what the service makes
	Run                TemplateRun
	Properties         map[string]any // as Azure answers them
}

// TemplateRun is the last run of a template.
type TemplateRun struct {
	State    string // "", Running, Canceling, Succeeded, PartiallySucceeded, Failed, Canceled
	SubState string // Queued, Building, Customizing, Optimizing, Validating, Distributing
	Message  string
	Start    time.Time
}

// Going reports that it has not ended yet.
func (r TemplateRun) Going() bool { return r.State == "Running" || r.State == "Canceling" }

// RunOutput is what a run made of one target.
type RunOutput struct{ Name, ID, URI string } // ID of an image or version, URI of a VHD

type wireTemplate struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties map[string]any    `json:"properties"`
}

func (w wireTemplate) info() ImageTemplate {
	t := ImageTemplate{ID: w.ID, Name: w.Name, Location: w.Location, Tags: w.Tags, Properties: w.Properties}
	get := func(m map[string]any, key string) string { s, _ := m[key].(string); return s }
	t.Provisioning, t.Staging = get(w.Properties, "provisioningState"), get(w.Properties, "exactStagingResourceGroup")
	if e, ok := w.Properties["provisioningError"].(map[string]any); ok {
		t.Error = strings.Trim(get(e, "provisioningErrorCode")+": "+get(e, "message"), ": ")
	}
	if r, ok := w.Properties["lastRunStatus"].(map[string]any); ok {
		t.Run = TemplateRun{State: get(r, "runState"), SubState: get(r, "runSubState"), Message: get(r, "message")}
		t.Run.Start, _ = time.Parse(time.RFC3339Nano, get(r, "startTime"))
	}
	return t
}

// nothing is the result of an operation that has none; the token of an operation holds the name of its type.
type nothing struct{}

// TemplateID is the id of a template of this client's subscription.
func (c *Client) TemplateID(group, name string) string {
	return "/subscriptions/" + c.o.Subscription + "/resourceGroups/" + group + "/providers/Microsoft.VirtualMachineImages/imageTemplates/" + name
}

// GetTemplate looks a template up.
func (c *Client) GetTemplate(ctx context.Context, group, name string) (ImageTemplate, error) {
	var w wireTemplate
	err := c.exchange(ctx, http.MethodGet, c.TemplateID(group, name), templateVersion, "look up image template "+name, nil, &w)
	return w.info(), err
}

// pollOf begins a long operation of a template, or picks it up by its token.
func pollOf[T any](c *Client, method, path string, body any, via runtime.FinalStateVia) func(ctx context.Context, token string) (*runtime.Poller[T], error) {
	return func(ctx context.Context, token string) (*runtime.Poller[T], error) {
		a, err := arm.NewClient("ingot/imagebuilder", "v1.0.0", c.o.Credential, c.arm)
		if err != nil {
			return nil, err
		}
		if token != "" {
			return runtime.NewPollerFromResumeToken[T](token, a.Pipeline(), nil)
		}
		r, err := runtime.NewRequest(ctx, method, a.Endpoint()+path+"?api-version="+templateVersion)
		if err != nil {
			return nil, err
		}
		r.Raw().Header.Set("Accept", "application/json")
		if body != nil {
			if err := runtime.MarshalAsJSON(r, body); err != nil {
				return nil, err
			}
		}
		resp, err := a.Pipeline().Do(r)
		if err != nil {
			return nil, err
		}
		if !runtime.HasStatusCode(resp, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent) {
			return nil, runtime.NewResponseError(resp)
		}
		return runtime.NewPoller(resp, a.Pipeline(), &runtime.NewPollerOptions[T]{FinalStateVia: via})
	}
}

// PutTemplate submits a template and waits until the service has taken it, the scripts and files that it names included. body is the resource;
// it may hold secrets.
func (c *Client) PutTemplate(ctx context.Context, group, name string, body map[string]any, op Op) (ImageTemplate, error) {
	w, err := long[wireTemplate]{
		what:  "submit image template " + name,
		begin: pollOf[wireTemplate](c, http.MethodPut, c.TemplateID(group, name), body, runtime.FinalStateViaAzureAsyncOp),
		settled: func(ctx context.Context) (wireTemplate, bool, error) {
			var w wireTemplate
			err := c.exchange(ctx, http.MethodGet, c.TemplateID(group, name), templateVersion, "look up image template "+name, nil, &w)
			return w, err == nil && w.info().Provisioning == "Succeeded", err
		},
	}.run(ctx, c, op)
	return w.info(), err
}

// PatchTemplate changes tags, identity, properties.distribute or properties.vmProfile: all that can be changed of a template.
func (c *Client) PatchTemplate(ctx context.Context, group, name string, body map[string]any, op Op) error {
	_, err := long[wireTemplate]{
		what:  "change image template " + name,
		begin: pollOf[wireTemplate](c, http.MethodPatch, c.TemplateID(group, name), body, runtime.FinalStateViaAzureAsyncOp),
	}.run(ctx, c, op)
	return err
}

// DeleteTemplate deletes a template with what the service made for it; one that is not there is deleted. While it is created, runs or is
// being cancelled the service refuses (IsNotAllowedNow).
func (c *Client) DeleteTemplate(ctx context.Context, group, name string, op Op) error {
	_, err := long[nothing]{
		what:  "delete image template " + name,
		begin: pollOf[nothing](c, http.MethodDelete, c.TemplateID(group, name), nil, runtime.FinalStateViaLocation),
	}.run(ctx, c, op)
	return gone(err)
}

// IsNotAllowedNow reports that a template is in a state that does not allow the operation (reference azure-image-builder.md section 1.4).
func IsNotAllowedNow(err error) bool { return code(err) == "OperationNotAllowed" }

// BeginRun starts a build and returns as soon as the service has accepted it; token is for FollowRun.
func (c *Client) BeginRun(ctx context.Context, group, name string) (token string, err error) {
	poller, err := pollOf[nothing](c, http.MethodPost, c.TemplateID(group, name)+"/run", nil, runtime.FinalStateViaAzureAsyncOp)(ctx, "")
	if err != nil {
		return "", wrap(err, "run image template %s", name)
	}
	if poller.Done() {
		return "", nil
	}
	token, err = poller.ResumeToken()
	return token, wrap(err, "run image template %s", name)
}

// FollowRun waits until a run has ended, by the operation that BeginRun began or, without its token, by what the template says of its last
// run. Its error is the run's own, or that of asking.
func (c *Client) FollowRun(ctx context.Context, group, name, token string) error {
	l := long[nothing]{what: "build with image template " + name, begin: pollOf[nothing](c, http.MethodPost, "", nil, runtime.FinalStateViaAzureAsyncOp)}
	if token != "" {
		poller, err := l.begin(ctx, token)
		if err == nil {
			_, err = l.poll(ctx, c, Op{}, poller, &http.Response{Header: http.Header{}})
		}
		if err == nil || !staleToken(err) {
			return wrap(err, "%s", l.what)
		}
	}
	lost := 0
	for wait := time.Second; ; wait = min(2*wait, c.o.PollCap) {
		t, err := c.GetTemplate(ctx, group, name)
		switch {
		case err != nil && (ctx.Err() != nil || status(err) != 0 || lost >= 10):
			return err
		case err != nil:
			lost++
		case !t.Run.Going():
			if t.Run.State == "Succeeded" || t.Run.State == "PartiallySucceeded" {
				return nil
			}
			return &Error{Op: l.what, Code: cmp.Or(t.Run.State, "NotRun"), Message: t.Run.Message}
		default:
			lost = 0
		}
		if err := c.o.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// CancelRun asks the service to stop a run; it answers at once, and the run ends a while later.
func (c *Client) CancelRun(ctx context.Context, group, name string) error {
	return c.exchange(ctx, http.MethodPost, c.TemplateID(group, name)+"/cancel", templateVersion, "cancel the run of image template "+name, nil, nil)
}

// RunOutputs lists what the runs of a template have made.
func (c *Client) RunOutputs(ctx context.Context, group, name string) ([]RunOutput, error) {
	var list []struct {
		Name       string `json:"name"`
		Properties struct {
			ID  string `json:"artifactId"`
			URI string `json:"artifactUri"`
		} `json:"properties"`
	}
	err := pages(ctx, c, c.TemplateID(group, name)+"/runOutputs", templateVersion, "list the run outputs of image template "+name, &list)
	var out []RunOutput
	for _, x := range list {
		out = append(out, RunOutput{Name: x.Name, ID: x.Properties.ID, URI: x.Properties.URI})
	}
	return out, err
}

// PutTrigger makes the service build a template again whenever its source image has a newer version (reference section 1.3).
func (c *Client) PutTrigger(ctx context.Context, group, template, name string, op Op) error {
	_, err := long[nothing]{
		what: fmt.Sprintf("create trigger %s of image template %s", name, template),
		begin: pollOf[nothing](c, http.MethodPut, c.TemplateID(group, template)+"/triggers/"+name, map[string]any{"properties": map[string]any{"kind": "SourceImage"}},
			runtime.FinalStateViaAzureAsyncOp),
	}.run(ctx, c, op)
	return err
}

// DeleteTrigger deletes a trigger; one that is not there is deleted.
func (c *Client) DeleteTrigger(ctx context.Context, group, template, name string, op Op) error {
	_, err := long[nothing]{
		what:  fmt.Sprintf("delete trigger %s of image template %s", name, template),
		begin: pollOf[nothing](c, http.MethodDelete, c.TemplateID(group, template)+"/triggers/"+name, nil, runtime.FinalStateViaLocation),
	}.run(ctx, c, op)
	return gone(err)
}
