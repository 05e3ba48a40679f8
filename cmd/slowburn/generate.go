package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/slowburn-slo/slowburn/alerts/rulegen"
	"github.com/slowburn-slo/slowburn/alerts/ruler"
	"github.com/slowburn-slo/slowburn/dashboards/grafana"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
	"github.com/slowburn-slo/slowburn/slo/source"
)

type generateConfig struct {
	slos      []string
	to        string
	out       string
	split     bool
	alerts    bool
	diff      bool
	catchUp   bool
	tests     bool
	scrape    time.Duration
	namespace string
	labels    map[string]string
	push      string
	headers   []string
	tokenFile string
}

func newGenerate() *cobra.Command {
	var c generateConfig
	cmd := &cobra.Command{
		Use:   "generate --slos PATH",
		Short: "Write rules for your own Prometheus, and dashboards for your Grafana",
		Long: `Write the recording and alerting rules of the flows in PATH, for a Prometheus
that evaluates them itself, or their dashboards. The same input gives the same
bytes.

Objectives with promql:, and those of Sloth, OpenSLO and Pyrra files, are
computed from your own metrics. All others are computed from the counters
slo_events_total and slo_errors_total, which "slowburn serve --remote-write"
sends; the rules sum over as many collectors as there are. With --alerts only
the alerts are written, for a single slowburn that sends all its series.

Names of series and labels are Sloth's, so that its dashboards keep working.
What PromQL cannot carry, such as a calendar month, is said on standard error.

With --tests the rules come with unit tests: a total outage pages when the
formula says, a slow burn makes a ticket and no page, and idle time, resets and
single errors are silent. They are in the directory tests below --out and run
with "promtool test rules". SLOs that none can be written for are named.`,
		Example: `  slowburn generate --slos slos.yaml --out rules/
  slowburn generate --slos slos.yaml --out rules/ --diff
  slowburn generate --slos slos.yaml --out rules/ --tests && promtool test rules rules/tests/*.yaml
  slowburn generate --slos slos.yaml --to operator --label release=prometheus | kubectl apply -f -
  slowburn generate --slos slos.yaml --to grafana --out grafana/
  slowburn generate --slos slos.yaml --to grafana-configmap --namespace monitoring | kubectl apply -f -
  slowburn generate --slos slos.yaml --push http://mimir:8080/prometheus --header X-Scope-OrgID=team`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return generate(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&c.slos, "slos", nil, "file or directory of flows and objectives; may be given several times (required)")
	f.StringVar(&c.to, "to", "prometheus", "prometheus, operator or mimir for rules, grafana or grafana-configmap for dashboards")
	f.StringVar(&c.out, "out", "", "directory to write to; made where missing (default standard output)")
	f.BoolVar(&c.split, "per-service", false, "one file per service instead of one")
	f.BoolVar(&c.alerts, "alerts", false, "only the alerts, over series that one slowburn sends")
	f.BoolVar(&c.diff, "diff", false, "write nothing, show what would change in --out, and fail if anything would")
	f.BoolVar(&c.tests, "tests", false, "also write unit tests for promtool to --out, in the directory tests")
	f.BoolVar(&c.catchUp, "catch-up", false, "count first values of counters and gaps up to a day; five times the cost")
	f.DurationVar(&c.scrape, "scrape-interval", query.DefaultScrape, "how often the metrics of promql objectives are scraped")
	f.StringVar(&c.namespace, "namespace", "", "namespace of Kubernetes objects")
	f.StringToStringVar(&c.labels, "label", nil, "label of Kubernetes objects, as release=prometheus; may be given several times")
	f.StringVar(&c.push, "push", "", "send the rules to the ruler of Mimir or Cortex at this prefix, e.g. http://mimir:8080/prometheus")
	f.StringArrayVar(&c.headers, "header", nil, "header for --push, as X-Scope-OrgID=team; may be given several times")
	f.StringVar(&c.tokenFile, "bearer-token-file", "", "file with a bearer token for --push")
	return cmd
}

// generate writes, shows or sends the rules of c, or writes its dashboards.
func generate(ctx context.Context, c generateConfig, stdout, stderr io.Writer) error {
	if len(c.slos) == 0 {
		return errors.New("--slos is missing; want the file or directory of your flows")
	}
	if c.diff && c.out == "" {
		return errors.New("--diff is there without --out; want the directory to compare with")
	}
	if c.tests && (c.out == "" || c.to != string(rulegen.Prometheus) || c.alerts || c.push != "") {
		return errors.New("--tests: there is nothing that promtool could test; want it with --to prometheus and --out, without --alerts and --push")
	}
	dashboards := c.to == toGrafana || c.to == toConfigMap
	if dashboards && (c.split || c.alerts || c.catchUp || c.push != "") {
		return errors.New("--to: --per-service, --alerts, --catch-up and --push are for rules; want none of them with dashboards")
	}
	if c.to == toGrafana && c.out == "" {
		return errors.New("--to: grafana takes several files; want the directory for them as --out")
	}
	if c.scrape < time.Second || c.scrape > query.Step {
		return fmt.Errorf("--scrape-interval: %s is not from 1s to 1m; want the scrape_interval of the metrics", c.scrape)
	}
	config, err := loadConfig(c.slos...)
	if err != nil {
		return err
	}
	for _, w := range config.Warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	if dashboards {
		return generateDashboards(config.Flows, c, stdout, stderr)
	}
	files, tests, err := ruleFiles(config.Flows, c, stderr)
	if err != nil {
		return err
	}
	if c.push != "" {
		return pushRules(ctx, files, c, stderr)
	}
	var out outputs
	for _, f := range files {
		text, err := f.Marshal(rulegen.MarshalOptions{Format: rulegen.Format(c.to), Namespace: c.namespace, Labels: c.labels})
		if err != nil {
			return fmt.Errorf("--to: %w for rules, %s or %s for dashboards", err, toGrafana, toConfigMap)
		}
		out = append(out, output{f.Name, text})
	}
	for _, t := range tests {
		out = append(out, output{t.Name, t.Text})
	}
	if c.out == "" {
		return out.show(stdout)
	}
	return out.write(c, "rules", nil, stdout, stderr)
}

// What --to takes besides the formats of rules.
const (
	toGrafana   = "grafana"
	toConfigMap = "grafana-configmap"
)

// generateDashboards writes or shows the dashboards of flows.
func generateDashboards(flows []slo.Flow, c generateConfig, stdout, stderr io.Writer) error {
	all, err := grafana.Dashboards(flows)
	if err != nil {
		return err
	}
	if c.to == toConfigMap {
		text, err := grafana.ConfigMaps(all, grafana.ConfigMapOptions{Namespace: c.namespace, Labels: c.labels})
		if err != nil {
			return err
		}
		out := outputs{{"slowburn-dashboards.yaml", text}}
		if c.out == "" {
			return out.show(stdout)
		}
		return out.write(c, "dashboards", nil, stdout, stderr)
	}
	out := outputs{{grafana.ProviderFile, grafana.Provider()}}
	for _, d := range all {
		out = append(out, output{path.Join(grafana.DashboardsDir, d.File()), d.JSON})
	}
	return out.write(c, "dashboards", func(name string) bool {
		return path.Dir(name) == grafana.DashboardsDir && grafana.IsFlowFile(path.Base(name))
	}, stdout, stderr)
}

// output is a file to be written below --out, and outputs are all of them, in
// order.
type (
	output struct {
		name string // with slashes
		text []byte
	}
	outputs []output
)

// show writes the files to stdout, as YAML documents.
func (out outputs) show(stdout io.Writer) error {
	for i, f := range out {
		if i > 0 {
			fmt.Fprintln(stdout, "---")
		}
		if _, err := stdout.Write(f.text); err != nil {
			return err
		}
	}
	return nil
}

// ruleFiles returns the files of rules and, where wanted, of their tests, and
// says what they cannot carry.
func ruleFiles(flows []slo.Flow, c generateConfig, stderr io.Writer) (files []rulegen.File, tests []rulegen.TestFile, err error) {
	sets := [][]slo.Flow{flows}
	if c.split {
		sets = rulegen.Split(flows)
	}
	taken := map[string]bool{}
	for _, set := range sets {
		name := "slowburn"
		if c.split {
			name += "-" + rulegen.Slug(set[0].Service)
		}
		for base, n := name, 2; taken[name]; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		taken[name] = true
		f := rulegen.File{Name: name + ".yaml"}
		o := rulegen.RecordOptions{Scrape: c.scrape, CatchUp: c.catchUp, Version: version}
		var notes source.Faults
		if c.alerts {
			f.Groups, err = rulegen.Groups(set, rulegen.Options{Interval: 30 * time.Second})
		} else {
			f.Groups, notes, err = rulegen.Record(set, o)
		}
		if err != nil {
			return nil, nil, err
		}
		files = append(files, f)
		if c.tests {
			t, untested, err := rulegen.Tests(f, set, o)
			if err != nil {
				return nil, nil, err
			}
			tests, notes = append(tests, t...), append(notes, untested...)
		}
		for _, n := range notes {
			fmt.Fprintln(stderr, "note:", n)
		}
	}
	return files, tests, nil
}

// write writes the files below c.out, or shows how they differ. A name cannot
// lead out of the directory, not even through a link. Files there that are ours,
// though not among them, are left over from before and removed; nil: none are.
func (out outputs) write(c generateConfig, what string, ours func(name string) bool, stdout, stderr io.Writer) error {
	if !c.diff {
		if err := os.MkdirAll(c.out, 0o755); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	root, err := os.OpenRoot(c.out)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer root.Close() // nothing is buffered
	changed := 0
	for _, f := range out {
		shown := filepath.Join(c.out, f.name)
		old, err := root.ReadFile(f.name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			old = nil
		case err != nil:
			return fmt.Errorf("--out: %w", err)
		case bytes.Equal(old, f.text):
			fmt.Fprintf(stderr, "%s: unchanged\n", shown)
			continue
		}
		changed++
		if c.diff {
			if _, err := stdout.Write(diff.Diff(shown, old, shown+" (new)", f.text)); err != nil {
				return err
			}
			continue
		}
		if dir := path.Dir(f.name); dir != "." {
			if err := root.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("--out: %w", err)
			}
		}
		// Whoever reads meanwhile reads the old file or the new one.
		if err := root.WriteFile(f.name+".tmp", f.text, 0o644); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		if err := root.Rename(f.name+".tmp", f.name); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		fmt.Fprintf(stderr, "%s: written\n", shown)
	}
	left, err := out.leftOver(root, ours)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	for _, name := range left {
		changed++
		if c.diff {
			fmt.Fprintf(stdout, "%s would be removed\n", filepath.Join(c.out, name))
			continue
		}
		if err := root.Remove(name); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		fmt.Fprintf(stderr, "%s: removed\n", filepath.Join(c.out, name))
	}
	if c.diff && changed > 0 {
		return fmt.Errorf("--out: the %s there are out of date (%s); want them written again, without --diff", what, words.Units(uint64(changed), "files"))
	}
	return nil
}

// leftOver returns the files that are ours and not among those to be written.
func (out outputs) leftOver(root *os.Root, ours func(name string) bool) ([]string, error) {
	if ours == nil {
		return nil, nil
	}
	var left []string
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ours(name) && !slices.ContainsFunc(out, func(f output) bool { return f.name == name }) {
			left = append(left, name)
		}
		return nil
	})
	return left, err
}

// pushRules makes the ruler hold the files' rules, each file in its namespace.
func pushRules(ctx context.Context, files []rulegen.File, c generateConfig, stderr io.Writer) error {
	prefix, err := url.Parse(c.push)
	if err != nil || prefix.Scheme != "http" && prefix.Scheme != "https" || prefix.Host == "" {
		return fmt.Errorf("--push: %q is not an address; want the ruler's prefix, e.g. http://mimir:8080/prometheus", c.push)
	}
	client := &ruler.Client{URL: prefix, Header: http.Header{}}
	for _, h := range c.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return fmt.Errorf("--header: %q has no value; want one such as X-Scope-OrgID=team", h)
		}
		client.Header.Add(name, value)
	}
	if c.tokenFile != "" {
		token, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return fmt.Errorf("--bearer-token-file: %w", err)
		}
		client.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	for _, f := range files {
		done, err := client.Sync(ctx, f.Namespace(), f.Groups)
		for _, d := range done {
			fmt.Fprintf(stderr, "namespace %s: group %s %s\n", f.Namespace(), d.Group, d.Verb)
		}
		if err != nil {
			return fmt.Errorf("--push: namespace %s: %w", f.Namespace(), err)
		}
		if len(done) == 0 {
			fmt.Fprintf(stderr, "namespace %s: unchanged\n", f.Namespace())
		}
	}
	return nil
}
