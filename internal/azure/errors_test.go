package azure

import (
	"errors"
	"strings"
	"testing"
)

func TestErrorsKeepWhatAzureSaid(t *testing.T) {
	id := []string{"x-ms-correlation-request-id", "c-1"}
	for _, tt := range []struct {
		name    string
		script  map[string][]reply
		code    string
		status  int
		details int
		text    []string
	}{
		{"refused at once", map[string][]reply{"PUT " + vmKey: {{status: 409, header: id,
			body: `{"error":{"code":"SkuNotAvailable","message":"The requested size is not available. ","target":"vmSize"}}`}}},
			"SkuNotAvailable", 409, 0, []string{"cannot create VM m: SkuNotAvailable: The requested size is not available. (target vmSize)", "(correlation id c-1)"}},
		{"without the outer object", map[string][]reply{"PUT " + vmKey: {{status: 403, header: id, body: `{"code":"AuthorizationFailed","message":"No right."}`}}},
			"AuthorizationFailed", 403, 0, []string{"AuthorizationFailed: No right."}},
		{"nested", map[string][]reply{"PUT " + vmKey: {{status: 400, body: `{"error":{"code":"InvalidTemplateDeployment","message":"See details.","details":[
			{"code":"QuotaExceeded","message":"Cores.","target":"cores","details":[{"code":"Inner","message":"Deep."}]}]}}`}}},
			"InvalidTemplateDeployment", 400, 2, []string{"QuotaExceeded: Cores.", "Inner: Deep."}},
		{"failed under way", map[string][]reply{"PUT " + vmKey: {accepted(201)}, "GET " + asyncOp: {{status: 200, header: id,
			body: `{"status":"Failed","error":{"code":"OSProvisioningTimedOut","message":"The guest did not come up."}}`}}},
			"OSProvisioningTimedOut", 200, 0, []string{"cannot create VM m: OSProvisioningTimedOut: The guest did not come up.", "c-1"}},
		{"no JSON", map[string][]reply{"PUT " + vmKey: {{status: 400, body: `<html>no</html>`}}}, "", 400, 0, []string{"cannot create VM m: "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testClient(t, newWire(t, tt.script), &stillClock{}).PutVM(t.Context(), VM{Group: "rg", Name: "m", Password: "test-secret-not-real"}, Op{})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %T %v", err, err)
			}
			if e.Code != tt.code || e.Status != tt.status || len(e.Details) != tt.details {
				t.Errorf("code %q, status %d, details %v", e.Code, e.Status, e.Details)
			}
			for _, s := range tt.text {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "test-secret-not-real") || strings.Contains(err.Error(), "test-signature-not-real") {
				t.Errorf("a secret in %q", err)
			}
		})
	}
}

func TestErrorKinds(t *testing.T) {
	for _, tt := range []struct {
		status                              int
		notFound, forbidden, conflict, auth bool
	}{
		{status: 404, notFound: true}, {status: 403, forbidden: true}, {status: 409, conflict: true}, {status: 401, auth: true}, {status: 400},
	} {
		w := newWire(t, map[string][]reply{"GET " + rg: {{status: tt.status, body: `{"error":{"code":"X","message":"y"}}`}}})
		_, err := testClient(t, w, &stillClock{}).GetGroup(t.Context(), "rg")
		if err == nil || IsNotFound(err) != tt.notFound || IsForbidden(err) != tt.forbidden || IsConflict(err) != tt.conflict || IsAuth(err) != tt.auth {
			t.Errorf("%d: %v", tt.status, err)
		}
	}
	if IsNotFound(nil) || wrap(nil, "x") != nil {
		t.Error("nil is an error")
	}
}
