package web

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// readChart is a chart as the script of the page reads it.
type readChart struct {
	ID, Unit, Fault string
	From, Step, To  float64
	Lines           []struct {
		Label  string
		Points []*float64
	}
	Limits []limit
	Ahead  *ahead
}

type readData struct {
	From, To float64
	Charts   []readChart
	Bands    []band
	Deploys  []deploy
}

func getData(t *testing.T, h http.Handler, path string) (readData, map[string]readChart) {
	t.Helper()
	w, _ := get(t, h, path)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("GET %s = %d %s", path, w.Code, w.Body)
	}
	var d readData
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	charts := map[string]readChart{}
	for _, c := range d.Charts {
		charts[c.ID] = c
	}
	return d, charts
}

// at returns the point of a line that is ago before the end of its chart's
// points, NaN where it is not known.
func (c readChart) at(label string, ago time.Duration) float64 {
	for _, l := range c.Lines {
		if i := len(l.Points) - 1 - int(ago.Seconds()/c.Step); l.Label == label && i >= 0 && l.Points[i] != nil {
			return *l.Points[i]
		}
	}
	return math.NaN()
}

func TestChartData(t *testing.T) {
	h := newSite(t, night(t))
	d, charts := getData(t, h, "/flows/shop/checkout/data?range=6h")
	if got := time.Duration(d.To-d.From) * time.Second; got != 6*time.Hour {
		t.Errorf("charts show %s, want 6 h", got)
	}
	for _, frame := range framesOf(&slo.Flow{Name: "checkout", Objectives: flowOf("shop", "checkout", 0.999, time.Second).Objectives}) {
		c, ok := charts[frame.ID]
		if !ok || c.Fault != "" || len(c.Lines) == 0 {
			t.Errorf("chart %s: present %t, fault %q, %d lines; want lines", frame.ID, ok, c.Fault, len(c.Lines))
		}
		for _, l := range c.Lines {
			if len(l.Points) > chartPoints || len(l.Points) < 100 {
				t.Errorf("line %s of %s has %d points, want 100 to %d", l.Label, frame.ID, len(l.Points), chartPoints)
			}
		}
	}
	for _, tc := range []struct {
		chart, line string
		ago         time.Duration
		want        float64
	}{
		{"latency", "p50", 0, 0.080},
		{"latency", "p95", time.Hour, 0.234},
		{"latency", "p99", 5 * time.Hour, 0.605},
		{"rate", "requests", time.Hour, 41.8},
		{"errors", "errors", 2 * time.Minute, 0.031},
		{"errors", "errors", 165 * time.Minute, 0.006},
		{"burn-0", "5m", 0, 31},
		{"burn-0", "5m", 5 * time.Hour, 31 * 0.03},
		{"burn-0", "30d", 0, 0.69},
		{"burn-1", "5m", 0, 0.059 / 0.05},
		{"budget-0", "left", 0, 0.31},
		{"budget-0", "left", time.Hour, 0.31 + 0.16 + 0.02},
	} {
		if got := charts[tc.chart].at(tc.line, tc.ago); !(math.Abs(got-tc.want) <= 0.05*tc.want) {
			t.Errorf("%s %s %s ago = %g, want about %g", tc.chart, tc.line, tc.ago, got, tc.want)
		}
	}
	if got, want := charts["latency"].Limits, []limit{{Label: "95% under 300ms", Value: 0.3}}; !slices.Equal(got, want) {
		t.Errorf("limits of the latency = %v, want %v", got, want)
	}
	if got, want := charts["errors"].Limits, []limit{{Label: "0.1% may fail", Value: slo.Budget(0.999)}}; !slices.Equal(got, want) {
		t.Errorf("limits of the errors = %v, want %v", got, want)
	}
	if got := charts["burn-0"].Limits; len(got) != 4 || got[0] != (limit{Label: "page above 14.4× (1h, 5m)", Value: 14.4, State: "burning"}) {
		t.Errorf("limits of the burn rates = %v, want the four tiers", got)
	}

	if len(d.Deploys) != 2 || d.Deploys[0].Version > d.Deploys[1].Version && d.Deploys[0].At < d.Deploys[1].At {
		t.Errorf("deploys = %v, want both versions at their times", d.Deploys)
	}
	kinds := map[string]time.Duration{}
	for _, b := range d.Bands {
		kinds[b.Kind] += time.Duration((b.To - b.From) * float64(time.Second)).Round(time.Minute)
	}
	if kinds["page"] < 10*time.Minute || kinds["page"] > 11*time.Minute || kinds["ticket"] < 29*time.Minute || kinds["ticket"] > 30*time.Minute || kinds["excluded"] != 30*time.Minute {
		t.Errorf("bands = %v, want a page of 11 min, a ticket of 30 min and an exclusion of 30 min", kinds)
	}

	if w, _ := get(t, h, "/flows/shop/nothing/data"); w.Code != http.StatusNotFound {
		t.Errorf("charts of an unknown flow = %d, want 404", w.Code)
	}
	if d, _ := getData(t, h, "/flows/shop/checkout/data?range=1h"); d.To-d.From != 3600 {
		t.Errorf("range=1h shows %g s, want 3,600", d.To-d.From)
	}
	if d, _ := getData(t, h, "/flows/shop/checkout/data?range=nonsense"); d.To-d.From != 6*3600 {
		t.Errorf("an unknown range shows %g s, want the usual 6 h", d.To-d.From)
	}
}

// TestChartFaults: a chart that cannot be read says so, and the others are
// there.
func TestChartFaults(t *testing.T) {
	opt := incident().options(t)
	opt.Engine = brokenRange{opt.Engine, "slowburn_flow_duration_seconds"}
	_, charts := getData(t, newSite(t, opt), "/flows/shop/checkout/data")
	if got := charts["latency"]; !strings.Contains(got.Fault, "query timed out") || len(got.Lines) != 0 {
		t.Errorf("latency: fault %q and %d lines, want the reason alone", got.Fault, len(got.Lines))
	}
	if got := charts["errors"]; got.Fault != "" || len(got.Lines) != 1 {
		t.Errorf("errors: fault %q and %d lines, want a line", got.Fault, len(got.Lines))
	}
}

func TestProjection(t *testing.T) {
	at := time.Date(2026, 11, 16, 0, 0, 0, 0, time.UTC) // half of November
	rolling := slo.Objective{Target: 0.999, Window: 30 * 24 * time.Hour}
	monthly := rolling
	monthly.Calendar = slo.Calendar{Unit: slo.Month}
	from := at.Add(-30 * 24 * time.Hour)
	for _, tc := range []struct {
		name       string
		o          slo.Objective
		left, burn float64
		want       float64 // left at the end
		end        time.Duration
	}{
		{"rolling, gone in a third", rolling, 0.5, 1.5, 0, 10 * 24 * time.Hour},
		{"rolling, as it was", rolling, 0.5, 0.5, 0.5, 10 * 24 * time.Hour},
		{"rolling, nothing bad any more", rolling, 0.4, 0, 0.6, 10 * 24 * time.Hour},
		{"rolling, spent", rolling, -0.2, 2, -0.2, 10 * 24 * time.Hour},
		{"month, as it was", monthly, 0.5, 0.5, 0.5, 15 * 24 * time.Hour},
		{"month, nothing bad any more", monthly, 0.5, 0, 0.75, 15 * 24 * time.Hour},
		{"month, gone at its end", monthly, 0.5, 1.5, 0, 15 * 24 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := projection(tc.o, tc.left, tc.burn, from, at)
			if math.Abs(got.End-tc.want) > 1e-9 || got.To != unix(at.Add(tc.end)) {
				t.Errorf("projection(%g left, burning %g) ends at %g in %g s, want %g in %s", tc.left, tc.burn, got.End, got.To-unix(at), tc.want, tc.end)
			}
		})
	}
	if got := projection(rolling, math.NaN(), 1, from, at); got != nil {
		t.Errorf("projection of what is not known = %v, want none", got)
	}
}

func TestGrid(t *testing.T) {
	at := time.Unix(1_800_000_007, 0)
	for _, length := range []time.Duration{time.Second, time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 90 * 24 * time.Hour} {
		g := newGrid(at.Add(-length), at)
		if g.n > chartPoints || g.n < 1 || !g.to().Equal(at) || g.step < chartStep || length > chartStep && g.to().Sub(g.from) < length*9/10 {
			t.Errorf("newGrid over %s = %d points, %s apart, to %s; want at most %d to %s", length, g.n, g.step, g.to(), chartPoints, at)
		}
		for i := range g.n {
			if got := g.at(g.from.Add(time.Duration(i) * g.step).UnixMilli()); got != i {
				t.Fatalf("point %d of %s is put at %d", i, length, got)
			}
		}
	}
}

func TestPointsAreJSON(t *testing.T) {
	got, err := json.Marshal(points{0, 1.23456789, math.NaN(), math.Inf(1), -0.5})
	if want := "[0,1.2346,null,null,-0.5]"; err != nil || string(got) != want {
		t.Errorf("points = %s, %v; want %s", got, err, want)
	}
}
