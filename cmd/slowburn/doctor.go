package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slowburn-slo/slowburn/alerts/doctor"
	"github.com/slowburn-slo/slowburn/slo/query"
)

func newDoctor() *cobra.Command {
	var o doctor.Options
	var format string
	cmd := &cobra.Command{
		Use:   "doctor --prometheus URL",
		Short: "Examine a live Prometheus: can these SLOs be measured there?",
		Long: `Examine a live Prometheus, Mimir, Thanos or VictoriaMetrics: whether the metrics,
labels and latency buckets that SLOs read exist, in the unit that is asked for;
whether bad, good and total go together; whether targets are scraped as often as
the rules assume; whether the rules are loaded, in this version, and healthy, and
somebody takes the alerts; whether slowburn's own counters arrive.

Every finding says what was seen and, under it, the line that mends it: for the
SLO's file, a configuration, or a shell. The subject with the worst comes first.

Without --slos it examines what the server itself shows: the SLOs recorded there,
whoever generated them, and the buckets that any loaded rule reads.

It only reads, a few bounded queries at a time, and never for longer than
--timeout. What could not be asked by then is said.

The exit code is 0, or 1 if there are faults.`,
		Example: `  slowburn doctor --prometheus http://prometheus:9090 --slos slos.yaml
  slowburn doctor --prometheus https://mimir/prometheus --bearer-token-file token --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.URL == "" {
				return errors.New("--prometheus is missing; want the address of a server, such as http://prometheus:9090")
			}
			if format != "text" && format != "json" {
				return fmt.Errorf("--format: %q is not a format; want text or json", format)
			}
			if len(o.Paths) > 0 {
				loaded, err := loadConfig(o.Paths...)
				if err != nil {
					return err
				}
				o.Flows = loaded.Flows
			}
			o.Progress = func(what string) { fmt.Fprintln(cmd.ErrOrStderr(), "slowburn:", what) }
			r, err := doctor.Run(cmd.Context(), o)
			if err != nil {
				return fmt.Errorf("--prometheus: %w", err)
			}
			if format == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetEscapeHTML(false)
				e.SetIndent("", "  ")
				err = e.Encode(r)
			} else {
				err = r.WriteText(cmd.OutOrStdout())
			}
			if n := r.Count(doctor.Fault); err == nil && n > 0 {
				return errors.New(count(n, "fault"))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.URL, "prometheus", "", "address of the server, with the path before /api/v1 (required)")
	f.StringSliceVar(&o.Paths, "slos", nil, "file or directory of the SLOs to look for; may be given several times")
	f.StringVar(&o.TokenFile, "bearer-token-file", "", "file with a bearer token for the server")
	f.StringVar(&format, "format", "text", "text or json")
	f.DurationVar(&o.Timeout, "timeout", doctor.DefaultTimeout, "how long all of it may take")
	f.DurationVar(&o.Scrape, "scrape-interval", query.DefaultScrape, "how often the rules assume that metrics are scraped")
	return cmd
}
