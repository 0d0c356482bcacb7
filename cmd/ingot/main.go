// Ingot builds golden images for Azure Virtual Desktop.
package main

import (
	"os"

	"ingot/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.OS()))
}
