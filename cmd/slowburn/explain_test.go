package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/dashboards/api"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// explain runs the command over a file of the given text.
func explain(t *testing.T, text string, args ...string) (stdout string, err error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(testWriter{t})
	root.SetIn(strings.NewReader(text))
	root.SetArgs(append([]string{"explain", "-"}, args...))
	err = root.ExecuteContext(t.Context())
	return out.String(), err
}

// counts is a server with the query API over a database in which counters grew
// until at, one sample a minute.
func counts(t *testing.T, at time.Time, grow map[string]struct {
	labels    []string
	perMinute float64
	since     time.Duration
},
) string {
	t.Helper()
	db, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	const longest = 7 * 24 * 60
	app := db.Appender(t.Context())
	for minute := -longest; minute <= 0; minute++ {
		for metric, g := range grow {
			age := float64(minute) + g.since.Minutes()
			if age < 0 {
				continue
			}
			name, _, _ := strings.Cut(metric, " ")
			l := labels.FromStrings(append([]string{model.MetricNameLabel, name}, g.labels...)...)
			if _, err := app.Append(0, l, at.Add(time.Duration(minute)*time.Minute).UnixMilli(), age*g.perMinute); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	queries, err := api.New(api.Options{Engine: db.Engine(), Queryable: db, Exemplars: db})
	if err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	r.Mount("/api/v1", queries)
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestExplainCountedTraffic asks a real query API over real counters: of a
// flow that is a week old, one that is two hours old, and an SLO in PromQL.
func TestExplainCountedTraffic(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	url := counts(t, at, map[string]struct {
		labels    []string
		perMinute float64
		since     time.Duration
	}{
		series.FlowRequests + " good": {[]string{series.Service, "shop", series.FlowName, "checkout", series.Outcome, series.Good}, 1140, 7 * 24 * time.Hour},
		series.FlowRequests + " bad":  {[]string{series.Service, "shop", series.FlowName, "checkout", series.Outcome, series.Bad}, 60, 7 * 24 * time.Hour},
		series.FlowRequests + " new":  {[]string{series.Service, "shop", series.FlowName, "search", series.Outcome, series.Good}, 3, 2 * time.Hour},
		series.Events + " ":           {[]string{series.ID, "shop-queue-promql"}, 0.1, 24 * time.Hour},
	})
	out, err := explain(t, `
service: shop
flows:
  checkout: {match: /checkout, slos: [99.9% succeed]}
  search: {match: /search, slos: [99.9% succeed]}
  login: {match: /login, slos: [99.9% succeed]}
  queue: {slos: [{promql: {bad: 'rate(b[$window])', total: 'rate(t[$window])'}, target: 90%}]}
`, "--url", url, "--at", at.Format(time.RFC3339), "--traffic", "login=2/s")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.SplitSeq(out, "\n") {
		if strings.Contains(line, "/s ") || strings.Contains(line, "/min ") || strings.Contains(line, "/h ") {
			got = append(got, strings.Join(strings.Fields(line), " "))
		}
	}
	want := []string{
		"20/s in the last 7 d 51,840,000 51,840 1,728 52 s",
		"3/min in the last 2 h 129,600 130 4.3 1 min",
		"2/s 5,184,000 5,184 173 52 s",
		"6/h in the last 1 d 4,320 432 14 30 min",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("explain says\n%s\nwant\n%s\nin\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), out)
	}
}

// TestExplainNoTraffic asks what cannot be asked.
func TestExplainNoTraffic(t *testing.T) {
	const text = "service: shop\nflows: {checkout: {match: /checkout, slos: [99.9% succeed]}}\n"
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	_, err := explain(t, text, "--url", srv.URL)
	if err == nil || !strings.HasPrefix(err.Error(), "--url: ") {
		t.Errorf("explain = %v, want an error of --url", err)
	}
	empty := counts(t, time.Now(), nil)
	out, err := explain(t, text, "--url", empty)
	if err != nil || !strings.Contains(out, "\n      100/s ") {
		t.Errorf("explain = %v, want the usual rates where nothing was counted, got\n%s", err, out)
	}
}

// FuzzExplain holds explain to every configuration that can be loaded: it names
// each SLO, and writes no number that is none.
func FuzzExplain(f *testing.F) {
	doc, err := os.ReadFile(languageDoc)
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range block.FindAllSubmatch(doc, -1) {
		if wrap := wraps[string(m[1])]; wrap != nil {
			f.Add(wrap(string(m[2])))
		}
	}
	at := time.Date(2026, 3, 28, 23, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		config, err := spec.Parse("f.yaml", []byte(text))
		if err != nil {
			return
		}
		e := explainer{at: at}
		for i := range config.Flows {
			e.flow(&config.Flows[i])
		}
		for _, s := range slo.All(config.Flows) {
			if !strings.Contains(e.String(), "("+s.ID()+")") {
				t.Errorf("explain does not name %s:\n%s", s.ID(), e.String())
			}
		}
		for _, bad := range []string{"NaN", "Inf", "%!"} {
			if strings.Contains(e.String(), bad) && !strings.Contains(text, bad) {
				t.Errorf("explain writes %s:\n%s", bad, e.String())
			}
		}
	})
}
