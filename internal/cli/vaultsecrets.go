package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/template"
)

// vaultSecret reads what a template's data sources name: from the key vault with the real Azure; in a rehearsal, which has no
// vaults of yours, each secret gets a value that is made up for this process.
func (a *app) vaultSecret(ctx context.Context) func(template.VaultSecret) (string, error) {
	made := map[string]string{}
	return func(s template.VaultSecret) (string, error) {
		kind, err := a.chooseCloud(s.Identity)
		if err != nil {
			return "", err
		}
		if kind != cloudAzure {
			key := strings.ToLower(s.Vault + "/" + s.Name)
			if made[key] == "" {
				raw := make([]byte, 16)
				if _, err := rand.Read(raw); err != nil {
					return "", err
				}
				made[key] = "Aa1-" + hex.EncodeToString(raw)
				if !a.json {
					say(a.Err, "The simulated Azure has no key vault %s: its secret %s gets a made-up value.", s.Vault, s.Name)
				}
			}
			return made[key], nil
		}
		suffix, err := azure.VaultSuffix(s.Identity.Cloud)
		if err != nil {
			return "", err
		}
		session, err := a.openAzure(ctx, s.Identity)
		if err != nil {
			return "", err
		}
		defer session.close()
		ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
		defer stop()
		value, _, err := session.cloud.GetSecret(ctx, fmt.Sprintf("https://%s.%s/", s.Vault, suffix), s.Name, s.Version)
		return value, err
	}
}
