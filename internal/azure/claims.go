package azure

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Whoami tells who the credential is, from the claims of its own token
// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference); name is for people.
func (c *Client) Whoami(ctx context.Context) (subscription, tenant, objectID, name string, err error) {
	audience := c.o.Cloud.Services[cloud.ResourceManager].Audience
	t, err := c.o.Credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{strings.TrimSuffix(audience, "/") + "/.default"}})
	if err != nil {
		return "", "", "", "", wrap(err, "sign in")
	}
	claims, err := claimsOf(t.Token)
	if err != nil {
		return "", "", "", "", wrap(err, "read the token")
	}
	name = claims.UPN
	if name == "" {
		name = claims.AppID
	}
	return c.o.Subscription, claims.TID, claims.OID, name, nil
}

type claims struct {
	OID   string `json:"oid"`
	TID   string `json:"tid"`
	AppID string `json:"appid"`
	UPN   string `json:"upn"`
}

// claimsOf decodes a token's payload. Its signature is for Azure to check, not for us.
func claimsOf(token string) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, errors.New("it is not a JSON web token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, errors.New("its payload is not base64")
	}
	var c claims
	if err := json.Unmarshal(raw, &c); err != nil {
		return claims{}, errors.New("its payload is not JSON")
	}
	return c, nil
}
