package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/OpenSLO/oslo/pkg/manifest/v1alpha"
	k8sv1 "github.com/slok/sloth/pkg/kubernetes/api/sloth/v1"
	windowsv1 "github.com/slok/sloth/pkg/prometheus/alertwindows/v1"
	prometheusv1 "github.com/slok/sloth/pkg/prometheus/api/v1"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn-slo/slowburn/slo"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// corpus is where definitions written by others lie: Sloth's, OpenSLO's and
// Pyrra's examples.
const corpus = "../../../shared/corpus"

func corpusFiles(t *testing.T) (fs.FS, []string) {
	t.Helper()
	fsys := os.DirFS(corpus)
	var names []string
	err := fs.WalkDir(fsys, ".", func(name string, _ fs.DirEntry, err error) error {
		if ext := path.Ext(name); ext == ".yml" || ext == ".yaml" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v; want the corpus where CI=true", err)
		}
		t.Skipf("no corpus: %v", err)
	}
	if len(names) < 30 {
		t.Fatalf("the corpus at %s has %d files, want at least 30", corpus, len(names))
	}
	return fsys, names
}

// TestCorpus reads each file of the corpus and compares what became of it, or
// why it is refused, with a golden file. Alert windows say nothing alone and are
// read beside two flows of our own.
func TestCorpus(t *testing.T) {
	fsys, names := corpusFiles(t)
	for _, name := range names {
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
			data, err := fs.ReadFile(fsys, name)
			if err != nil {
				t.Fatal(err)
			}
			base := path.Base(name)
			files := fstest.MapFS{base: {Data: data}}
			if path.Base(path.Dir(name)) == "windows" {
				files["own.yaml"] = &fstest.MapFile{Data: []byte(`service: shop
flows:
  checkout: {match: /checkout, slos: [99.9% succeed, 95% under 300ms]}
  search: {match: /search, slos: [99% succeed], window: 7d}
`)}
			}
			config, err := Load(files, slices.Sorted(maps.Keys(files))...)
			compareGolden(t, strings.ReplaceAll(strings.TrimSuffix(name, path.Ext(name)), "/", "-"), story(config, err))
		})
	}
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "corpus", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; go test -run '^TestCorpus$' -update rewrites it\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// story tells what a configuration is, or everything that is wrong in it.
func story(config Config, err error) string {
	if err != nil {
		return "refused\n" + err.Error() + "\n"
	}
	var b strings.Builder
	for i := range config.Flows {
		f := &config.Flows[i]
		fmt.Fprintf(&b, "flow %s of %s at %s\n", f.Name, f.Service, f.Pos)
		told(&b, "  description ", f.Description)
		toldAll(&b, "  label ", f.Labels)
		for _, s := range f.SLOs() {
			o := s.Objective
			fmt.Fprintf(&b, "  slo %s at %s: %s, min %d\n", s.ID(), o.Pos, o.Words(), o.MinEvents)
			told(&b, "    bad   ", o.Query.Bad)
			told(&b, "    good  ", o.Query.Good)
			told(&b, "    total ", o.Query.Total)
			told(&b, "    ratio ", o.Query.Ratio)
			for _, t := range o.Tiers {
				fmt.Fprintf(&b, "    %s at %g over %s and %s\n", t.Severity, t.Factor, slo.Duration(t.Long), slo.Duration(t.Short))
			}
			told(&b, "    alert ", o.Alert.Name)
			toldAll(&b, "    alert label ", o.Alert.Labels)
			toldAll(&b, "    alert annotation ", o.Alert.Annotations)
			toldAll(&b, "    page label ", o.Alert.PageLabels)
			toldAll(&b, "    page annotation ", o.Alert.PageAnnotations)
			toldAll(&b, "    ticket label ", o.Alert.TicketLabels)
			toldAll(&b, "    ticket annotation ", o.Alert.TicketAnnotations)
		}
	}
	for _, w := range config.Warnings {
		fmt.Fprintf(&b, "warning %s\n", w)
	}
	return b.String()
}

func told(b *strings.Builder, what, text string) {
	if text != "" {
		fmt.Fprintf(b, "%s%s\n", what, strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", len(what))))
	}
}

func toldAll(b *strings.Builder, what string, texts map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(texts)) {
		told(b, what+k+": ", texts[k])
	}
}

// TestCorpusRoundTrip holds what is read of others' files to the law of what
// Marshal writes.
func TestCorpusRoundTrip(t *testing.T) {
	fsys, names := corpusFiles(t)
	for _, name := range names {
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
			config, err := Load(fsys, name)
			if err == nil {
				checkRoundTrip(t, config.Flows)
			}
		})
	}
}

// sloth is an SLO as Sloth's own types have it.
type slothSLO struct {
	id, name, service, description string
	objective                      float64
	labels                         map[string]string
	queries                        []string
	alert                          string
	page, ticket                   bool
	pageLabels, ticketLabels       map[string]string
}

// slothSLOs decodes a file with Sloth's own types.
func slothSLOs(t *testing.T, data []byte) (out []slothSLO) {
	t.Helper()
	add := func(service string, labels map[string]string, s prometheusv1.SLO) {
		one := slothSLO{
			id: service + "-" + s.Name, name: s.Name, service: service, description: s.Description, objective: s.Objective,
			labels: maps.Clone(labels), alert: s.Alerting.Name,
			page: !s.Alerting.PageAlert.Disable, ticket: !s.Alerting.TicketAlert.Disable,
			pageLabels: s.Alerting.PageAlert.Labels, ticketLabels: s.Alerting.TicketAlert.Labels,
		}
		maps.Copy(one.labels, s.Labels)
		switch {
		case s.SLI.Events != nil:
			one.queries = []string{s.SLI.Events.ErrorQuery, s.SLI.Events.TotalQuery}
		case s.SLI.Raw != nil:
			one.queries = []string{s.SLI.Raw.ErrorRatioQuery}
		}
		out = append(out, one)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document any
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		asJSON, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		var plain prometheusv1.Spec
		if err := json.Unmarshal(asJSON, &plain); err == nil && plain.Version == prometheusv1.Version {
			for _, s := range plain.SLOs {
				add(plain.Service, plain.Labels, s)
			}
			continue
		}
		var object k8sv1.PrometheusServiceLevel
		if err := json.Unmarshal(asJSON, &object); err != nil || object.Kind != "PrometheusServiceLevel" {
			t.Fatalf("neither of Sloth's formats: %v", err)
		}
		for _, s := range object.Spec.SLOs {
			add(object.Spec.Service, object.Spec.Labels, prometheusv1.SLO{
				Name: s.Name, Description: s.Description, Objective: s.Objective, Labels: s.Labels,
				SLI: prometheusv1.SLI{Events: (*prometheusv1.SLIEvents)(s.SLI.Events), Raw: (*prometheusv1.SLIRaw)(s.SLI.Raw)},
				Alerting: prometheusv1.Alerting{
					Name: s.Alerting.Name, PageAlert: prometheusv1.Alert(s.Alerting.PageAlert), TicketAlert: prometheusv1.Alert(s.Alerting.TicketAlert),
				},
			})
		}
	}
}

// TestSlothKeepsItsOwn compares what is read of Sloth's files with what Sloth's
// own types hold: ids, labels, objectives, windows, queries and alerts.
func TestSlothKeepsItsOwn(t *testing.T) {
	fsys, names := corpusFiles(t)
	compared := 0
	for _, name := range names {
		base := path.Base(name)
		if path.Dir(name) != "sloth" || strings.HasPrefix(base, "openslo-") {
			continue
		}
		config, err := Load(fsys, name)
		if err != nil {
			continue // see its golden file
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			t.Fatal(err)
		}
		got, want := slo.All(config.Flows), slothSLOs(t, data)
		if len(got) != len(want) {
			t.Errorf("%s: %d SLOs, want %d", name, len(got), len(want))
			continue
		}
		for i, w := range want {
			g := got[i]
			if g.ID() != w.id || g.Name() != w.name || g.Flow.Service != w.service || g.Flow.Description != w.description {
				t.Errorf("%s: SLO %s (%s of %s), want %s (%s of %s)", name, g.ID(), g.Name(), g.Flow.Service, w.id, w.name, w.service)
			}
			if !maps.Equal(g.Flow.Labels, w.labels) {
				t.Errorf("%s: %s has labels %v, want %v", name, w.id, g.Flow.Labels, w.labels)
			}
			if math.Abs(g.Objective.Target*100-w.objective) > 1e-12 || g.Objective.Window != 30*24*time.Hour {
				t.Errorf("%s: %s is %s, want %v%% over 30d", name, w.id, g.Objective.Words(), w.objective)
			}
			window := regexp.MustCompile(`{{ *\.window *}}`)
			q := g.Objective.Query
			queries := slices.DeleteFunc([]string{q.Bad, q.Good, q.Total, q.Ratio}, func(s string) bool { return s == "" })
			for j := range w.queries {
				w.queries[j] = strings.TrimSpace(window.ReplaceAllLiteralString(w.queries[j], "$window"))
			}
			if !slices.Equal(queries, w.queries) {
				t.Errorf("%s: %s asks %q, want %q", name, w.id, queries, w.queries)
			}
			a := g.Objective.Alert
			if a.Name != w.alert || !maps.Equal(a.PageLabels, w.pageLabels) || !maps.Equal(a.TicketLabels, w.ticketLabels) {
				t.Errorf("%s: %s has the alert %q %v %v, want %q %v %v", name, w.id, a.Name, a.PageLabels, a.TicketLabels, w.alert, w.pageLabels, w.ticketLabels)
			}
			if page, ticket := alertsBy(g.Objective, slo.Page), alertsBy(g.Objective, slo.Ticket); page != w.page || ticket != w.ticket {
				t.Errorf("%s: %s pages %t and tickets %t, want %t and %t", name, w.id, page, ticket, w.page, w.ticket)
			}
			compared++
		}
	}
	if compared < 15 {
		t.Errorf("%d SLOs compared, want at least 15", compared)
	}
}

// TestAlphaKeepsSlothsNames compares what is read of OpenSLO v1alpha with what
// the official types hold and with how Sloth v0.16 names it.
func TestAlphaKeepsSlothsNames(t *testing.T) {
	fsys, names := corpusFiles(t)
	compared := 0
	for _, name := range names {
		if !strings.HasPrefix(path.Base(name), "openslo-") {
			continue
		}
		config, err := Load(fsys, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			t.Fatal(err)
		}
		got := slo.All(config.Flows)
		decoder := yaml.NewDecoder(bytes.NewReader(data))
		for {
			var object v1alpha.SLO
			if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			for i, o := range object.Spec.Objectives {
				id := fmt.Sprintf("%s-%s-%d", object.Spec.Service, object.Metadata.Name, i)
				window := time.Duration(object.Spec.TimeWindows[0].Count) * 24 * time.Hour
				if len(got) == 0 {
					t.Fatalf("%s: no SLO left for %s", name, id)
				}
				if g := got[0]; g.ID() != id || g.Objective.Target != *o.BudgetTarget || g.Objective.Window != window {
					t.Errorf("%s: %s: %s, want %s: %v over %v", name, g.ID(), g.Objective.Words(), id, *o.BudgetTarget, window)
				}
				got = got[1:]
				compared++
			}
		}
	}
	if compared < 4 {
		t.Errorf("%d objectives compared, want at least 4", compared)
	}
}

// TestAlertWindowsKeepTheirOwn compares the tiers that come of AlertWindows with
// what Sloth's own types hold and its formula for burn rates.
func TestAlertWindowsKeepTheirOwn(t *testing.T) {
	fsys, names := corpusFiles(t)
	for _, name := range names {
		if path.Base(path.Dir(name)) != "windows" {
			continue
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			t.Fatal(err)
		}
		var object windowsv1.AlertWindows
		if err := yaml.Unmarshal(data, &object); err != nil {
			t.Fatal(err)
		}
		period := time.Duration(object.Spec.SLOPeriod)
		config, err := Load(fstest.MapFS{
			"a.yaml": {Data: data},
			"b.yaml": {Data: []byte(fmt.Sprintf("service: shop\nflows: {checkout: {match: /checkout, slos: [99.9%% succeed], window: %s}}\n", slo.Duration(period)))},
		}, "a.yaml", "b.yaml")
		if err != nil {
			t.Fatal(err)
		}
		got := config.Flows[0].Objectives[0].Tiers
		want := []windowsv1.Window{object.Spec.Page.Quick, object.Spec.Page.Slow, object.Spec.Ticket.Quick, object.Spec.Ticket.Slow}
		if len(got) != len(want) {
			t.Fatalf("%s: %d tiers, want %d", name, len(got), len(want))
		}
		for i, w := range want {
			factor := w.ErrorBudgetPercent * period.Hours() / 100 / time.Duration(w.LongWindow).Hours()
			if g := got[i]; math.Abs(g.Factor-factor) > 1e-6 || g.Long != time.Duration(w.LongWindow) || g.Short != time.Duration(w.ShortWindow) {
				t.Errorf("%s: tier %d is %+v, want %g over %s and %s", name, i, g, factor, w.LongWindow, w.ShortWindow)
			}
		}
	}
}
