package azure

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// Error is an error of Azure with what is needed to look it up: its code, what it is about, and the correlation id that
// Microsoft's support asks for.
type Error struct {
	Op            string // what was tried: "create VM build-1"
	Status        int    // HTTP status; 0 when no answer came
	Code, Message string
	Target        string
	CorrelationID string
	Details       []Detail
	cause         error
}

// Detail is an inner error: Azure wraps the reason in general codes such as InvalidTemplateDeployment.
type Detail struct{ Code, Message, Target string }

// Error is one line per fact.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot %s: ", e.Op)
	switch {
	case e.Code != "" && e.Message != "":
		fmt.Fprintf(&b, "%s: %s", e.Code, e.Message)
	case e.Code != "":
		b.WriteString(e.Code)
	case e.cause != nil:
		b.WriteString(e.cause.Error())
	}
	if e.Target != "" {
		fmt.Fprintf(&b, " (target %s)", e.Target)
	}
	for _, d := range e.Details {
		fmt.Fprintf(&b, "\n  %s: %s", d.Code, d.Message)
	}
	if e.CorrelationID != "" {
		fmt.Fprintf(&b, " (correlation id %s)", e.CorrelationID)
	}
	return b.String()
}

// Unwrap gives the SDK's error.
func (e *Error) Unwrap() error { return e.cause }

// wireError is the error of the Resource Manager protocol
// (https://github.com/Azure/azure-resource-manager-rpc, common API details); some providers leave the outer object out.
type wireError struct {
	Error *wireError `json:"error"`

	Code    string       `json:"code"`
	Message string       `json:"message"`
	Target  string       `json:"target"`
	Details []*wireError `json:"details"`
}

// wrap turns any failure of a call into an *Error; nil stays nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: fmt.Sprintf(format, args...), cause: err}
	var resp *azcore.ResponseError
	if !errors.As(err, &resp) {
		return e
	}
	e.Status, e.Code = resp.StatusCode, resp.ErrorCode
	if resp.RawResponse == nil {
		return e
	}
	e.CorrelationID = resp.RawResponse.Header.Get("x-ms-correlation-request-id")
	if resp.RawResponse.Body == nil {
		return e
	}
	// The SDK has read the body and put a copy in its place.
	raw, readErr := io.ReadAll(resp.RawResponse.Body)
	if readErr != nil {
		return e
	}
	resp.RawResponse.Body = io.NopCloser(strings.NewReader(string(raw)))
	var w wireError
	if json.Unmarshal(raw, &w) != nil {
		return e
	}
	inner := &w
	if w.Error != nil {
		inner = w.Error
	}
	if inner.Code != "" {
		e.Code = inner.Code
	}
	e.Message, e.Target = strings.TrimSpace(inner.Message), inner.Target
	e.details(inner.Details)
	return e
}

func (e *Error) details(list []*wireError) {
	for _, d := range list {
		if d.Message != e.Message || d.Code != e.Code {
			e.Details = append(e.Details, Detail{d.Code, strings.TrimSpace(d.Message), d.Target})
		}
		e.details(d.Details)
	}
}

func status(err error) int {
	var e *Error
	if errors.As(err, &e) && e.Status != 0 {
		return e.Status
	}
	var r *azcore.ResponseError
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}

// code is Azure's error code, or "".
func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	var r *azcore.ResponseError
	if errors.As(err, &r) {
		return r.ErrorCode
	}
	return ""
}

// IsNotFound reports that the thing asked for does not exist.
func IsNotFound(err error) bool { return status(err) == http.StatusNotFound }

// IsNoLocation reports that Azure does not know a region, or does not offer the thing asked for there.
func IsNoLocation(err error) bool {
	switch code(err) {
	case "NoRegisteredProviderFound", "LocationNotAvailableForResourceType", "LocationNotAvailableForResourceGroup", "InvalidLocation":
		return true
	}
	return false
}

// IsForbidden reports that the identity lacks a right.
func IsForbidden(err error) bool { return status(err) == http.StatusForbidden }

// IsConflict reports a 409.
func IsConflict(err error) bool { return status(err) == http.StatusConflict }

// IsAuth reports that nobody could be signed in.
func IsAuth(err error) bool {
	var failed *azidentity.AuthenticationFailedError
	var required *azidentity.AuthenticationRequiredError
	return errors.As(err, &failed) || errors.As(err, &required) || errors.Is(err, errSignIn) || status(err) == http.StatusUnauthorized
}

// gone makes "it is not there" a success.
func gone(err error) error {
	if IsNotFound(err) {
		return nil
	}
	return err
}

// IsRefused reports a request that Azure takes for wrong, or cannot do: asking again would not help.
func IsRefused(err error) bool {
	s := status(err)
	return s == http.StatusBadRequest || s == http.StatusNotImplemented
}
