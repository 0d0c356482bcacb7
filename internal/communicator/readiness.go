package communicator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Readiness is what a Windows guest says of itself before sysprep: everything here but Script is a hindrance to it.
type Readiness struct {
	// Pending are the registry keys that say that a restart is pending.
	Pending []string `json:"pending"`
	// Appx are packages that a user has and that are not provisioned for all: sysprep refuses them with 0x80073cf2 (Microsoft Learn,
	// "Sysprep fails after you remove or update Microsoft Store apps that include built-in Windows images", KB 2769827).
	Appx []string `json:"appx"`
	// BitLocker are volumes that are not fully decrypted: sysprep refuses the system's with 0x80310039, FVE_E_NOT_DECRYPTED (winerror.h;
	// MicrosoftDocs/azure-docs#58134), even when protection is off.
	BitLocker []string `json:"bitlocker"`
	// Agents are Azure's services that do not run after two minutes. Image Builder's own deprovisioning waits for them.
	Agents []string `json:"agents"`
	// Unknown are checks that could not be made.
	Unknown []string `json:"unknown"`
	// Script says that there is a C:\DeprovisioningScript.ps1, Image Builder's way to have a sysprep of one's own.
	Script bool `json:"script"`
}

// CheckReadiness asks a Windows guest. id names the question as a script's: an old one is answered as it was then.
func CheckReadiness(ctx context.Context, c Communicator, id string) (Readiness, error) {
	text, err := programText("readiness")
	if err != nil {
		return Readiness{}, err
	}
	var r Readiness
	found := false
	complaints := ""
	code, err := c.Run(ctx, Script{ID: id, Shell: "powershell", Text: "#ingot:readiness/1 {}\n" + text}, func(stream, line string) {
		switch answer, ok := strings.CutPrefix(line, "#ingot:readiness "); {
		case stream == "stderr":
			complaints += line + "\n"
		case ok:
			found = json.Unmarshal([]byte(answer), &r) == nil
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("the guest's answer is missing (exit code %d) %s", code, strings.TrimSpace(complaints))
	}
	if err != nil && errors.Is(err, ErrLost) {
		err = fmt.Errorf("the guest restarted while it was asked: %w", err)
	}
	return r, err
}
