//go:build !unix

package sim

import "time"

func worked() (time.Duration, bool) { return 0, false }
