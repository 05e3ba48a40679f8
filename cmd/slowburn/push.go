package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slowburn-slo/slowburn/dashboards/grafana"
	"github.com/slowburn-slo/slowburn/dashboards/push"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

func newPush() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push",
		Short: "Send generated dashboards to a Grafana",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPushGrafana())
	return cmd
}

// grafanaConfig says which Grafana dashboards are sent to.
type grafanaConfig struct {
	url       string
	tokenFile string
}

// flags adds the flags, named with a prefix.
func (c *grafanaConfig) flags(f *pflag.FlagSet, prefix, usage string) {
	f.StringVar(&c.url, prefix+"url", "", usage)
	f.StringVar(&c.tokenFile, prefix+"token-file", "", "file with the token of a Grafana service account of role Editor")
}

// client returns what speaks to the Grafana. The token is read anew for each
// request, so that it can be replaced.
func (c *grafanaConfig) client(prefix string) (*push.Client, error) {
	u, err := url.Parse(c.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		// What it is stays untold: it may hold a password.
		return nil, fmt.Errorf("--%surl: not an address without a password; want one such as https://grafana.example, and --%[1]stoken-file", prefix)
	}
	client := &push.Client{URL: u}
	if c.tokenFile != "" {
		client.Token = func() (string, error) {
			text, err := os.ReadFile(c.tokenFile)
			token := strings.TrimSpace(string(text))
			switch {
			case err != nil:
				return "", err
			case token == "" || strings.ContainsAny(token, "\r\n"):
				return "", fmt.Errorf("%s holds no token; want one line with it", c.tokenFile)
			}
			return token, nil
		}
		if _, err := client.Token(); err != nil {
			return nil, fmt.Errorf("--%stoken-file: %w", prefix, err)
		}
	}
	return client, nil
}

func newPushGrafana() *cobra.Command {
	var c grafanaConfig
	var slos []string
	var o push.Options
	cmd := &cobra.Command{
		Use:   "grafana --slos PATH --url URL",
		Short: "Make a Grafana hold the dashboards of your flows",
		Long: `Make a Grafana hold the dashboards of the flows in PATH: an overview, one for each
flow, and the Node.js runtime, in the folder slowburn. Dashboards that are equal
are left alone, so that doing it again does nothing; one that somebody changed in
Grafana is put back, and its version history keeps what it was.

The token is that of a service account of role Editor (Administration, Users and
access, Service accounts). Of flows that are gone the dashboards stay, and are
named; --prune deletes them.

Everything is read before anything is written. What Grafana is too busy for is sent
again for a minute. When it still goes wrong, what was done is said, and doing it
again does the rest.`,
		Example: `  slowburn push grafana --slos slos.yaml --url https://grafana.example --token-file /run/secrets/grafana
  slowburn push grafana --slos slos.yaml --url https://grafana.example --token-file token --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(slos) == 0 {
				return errors.New("--slos is missing; want the file or directory of your flows")
			}
			client, err := c.client("")
			if err != nil {
				return err
			}
			config, err := loadConfig(slos...)
			if err != nil {
				return err
			}
			boards, err := dashboards(config.Flows)
			if err != nil {
				return err
			}
			o.Message = "slowburn " + version
			done, err := client.Sync(cmd.Context(), grafanaFolder, boards, o)
			tell(cmd.ErrOrStderr(), done, o)
			return err
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&slos, "slos", nil, "file or directory of flows and objectives; may be given several times (required)")
	c.flags(f, "", "where Grafana is reached, e.g. https://grafana.example (required)")
	f.BoolVar(&o.DryRun, "dry-run", false, "change nothing, say what would change")
	f.BoolVar(&o.Prune, "prune", false, "delete dashboards of flows that are gone from PATH")
	return cmd
}

var grafanaFolder = push.Folder{UID: grafana.FolderUID, Title: grafana.FolderTitle}

// dashboards returns the dashboards of flows as they are sent.
func dashboards(flows []slo.Flow) ([]push.Dashboard, error) {
	all, err := grafana.Dashboards(flows)
	if err != nil {
		return nil, err
	}
	out := make([]push.Dashboard, len(all))
	for i, d := range all {
		out[i] = push.Dashboard{UID: d.UID, Title: d.Title, JSON: d.JSON}
	}
	return out, nil
}

// tell says what was done, or would be.
func tell(w io.Writer, done []push.Change, o push.Options) {
	would := ""
	if o.DryRun {
		would = "would be "
	}
	unchanged := 0
	for _, c := range done {
		switch {
		case c.Verb == "unchanged":
			unchanged++
		case c.Verb == "stale":
			fmt.Fprintf(w, "%s %q (%s): of no flow any more; --prune deletes it\n", c.What, c.Title, c.UID)
		case c.Was != "":
			fmt.Fprintf(w, "%s %q: %s%s, last saved by %s\n", c.What, c.Title, would, c.Verb, c.Was)
		default:
			fmt.Fprintf(w, "%s %q: %s%s\n", c.What, c.Title, would, c.Verb)
		}
	}
	if unchanged > 0 {
		fmt.Fprintf(w, "%s unchanged\n", words.Units(uint64(unchanged), "dashboards"))
	}
}

// pushAgain is how long after a failed push the next one is tried, beyond the
// minute that each goes on for itself.
const pushAgain = 5 * time.Minute

// keepDashboards pushes the dashboards of flows, and again whenever changed says
// so, until ctx ends. It logs what it changed and what went wrong.
func keepDashboards(ctx context.Context, client *push.Client, flows func() []slo.Flow, changed <-chan struct{}, logger *slog.Logger) error {
	for {
		var again <-chan time.Time
		boards, err := dashboards(flows())
		if err == nil {
			var done []push.Change
			done, err = client.Sync(ctx, grafanaFolder, boards, push.Options{Message: "slowburn " + version})
			for _, c := range done {
				if c.Verb != "unchanged" {
					logger.Info("Grafana", "what", c.What, "title", c.Title, "uid", c.UID, "done", c.Verb)
				}
			}
		}
		if err != nil && ctx.Err() == nil {
			logger.Error("dashboards did not reach Grafana", "err", err, "again_in", pushAgain)
			again = time.After(pushAgain)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-again:
		}
	}
}
