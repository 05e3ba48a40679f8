// Command slowburn watches error budgets of business flows: it takes
// OpenTelemetry traces, counts each request against the objectives of its flow,
// and tells Slack when a budget burns too fast.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// version is set by the linker; see the Makefile.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(run(ctx, os.Args[1:]))
}

// run returns the exit code: 0, or 1 after the error was printed.
func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
			fmt.Fprintln(os.Stderr, "slowburn:", line)
		}
		return 1
	}
	return 0
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "slowburn",
		Short: "Error budgets per business flow, from OpenTelemetry to Slack",
		Long: `slowburn takes the OpenTelemetry traces of your services, counts every request
of every business flow (checkout, search, login) as good or bad, keeps exact
error budgets, and tells Slack when a budget burns too fast: what burns, how
fast, what is left and where to look.

  slowburn demo                    see it work on a synthetic shop (3 minutes)
  slowburn serve --slos slos.yaml  run it

Two objectives of one flow, in a file of their own:

  service: shop
  flows:
    checkout:
      match: POST /api/checkout
      slos:
        - 99.9% succeed
        - 95% under 300ms`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newServe(), newStatus(), newAlerts(), newDemo(), newShop(), newValidate(), newExplain(), newConvert(), newSchema(),
		newGenerate(), newPush(), newDoctor(), newVersion())
	root.CompletionOptions.HiddenDefaultCmd = true
	for _, cmd := range root.Commands() {
		fromEnvironment(cmd)
		for _, sub := range cmd.Commands() {
			fromEnvironment(sub)
		}
	}
	return root
}

// fromEnvironment lets every flag be given as SLOWBURN_…, which the command
// line overrides, and says so in the help.
func fromEnvironment(cmd *cobra.Command) {
	name := func(f *pflag.Flag) string {
		return "SLOWBURN_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Usage += " [$" + name(f) + "]" })
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) (err error) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			v, ok := os.LookupEnv(name(f))
			if !ok || f.Changed || err != nil {
				return
			}
			if e := f.Value.Set(v); e != nil {
				err = fmt.Errorf("environment: %s: %q is not a value for --%s: %w", name(f), v, f.Name, e)
			}
		})
		return err
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "slowburn", version) },
	}
}
