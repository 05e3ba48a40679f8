package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/slowburn-slo/slowburn/slo/spec"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the SLO files, for completion in editors",
		Long: `Print the JSON Schema of the SLO files, for completion and hints in editors that
know YAML (VS Code, Zed, Neovim, JetBrains):

  slowburn schema > slowburn.schema.json

and on the first line of each file of yours, the path being relative to it:

  # yaml-language-server: $schema=slowburn.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), spec.Schema())
			return err
		},
	}
}
