package cli

import (
	"github.com/spf13/cobra"

	"ingot/internal/template"
)

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use: "schema [FORMAT]", Short: "Print the JSON Schema of a format, for editors",
		Long: "Schema prints a JSON Schema (draft 2020-12) of packer-hcl (*.pkr.json), packer-json (Packer's older JSON), image-builder, or ingot\n" +
			"(*.ingot.hcl, in HCL's JSON form). Visual Studio Code takes it in its settings:\n" +
			"  \"json.schemas\": [{ \"fileMatch\": [\"images/*.json\"], \"url\": \"./image-builder.schema.json\" }]",
		Args: cobra.MaximumNArgs(1), ValidArgs: template.Formats(),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				for _, f := range template.Formats() {
					say(a.Out, "%s", f)
				}
				return nil
			}
			raw, err := template.Schema(args[0])
			if err != nil {
				return usage("%v", err)
			}
			_, err = a.Out.Write(raw)
			return err
		},
	}
}
