package web

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
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
	for _, frame := range framesOf(&slo.Flow{Name: "checkout", Objectives: readtest.FlowOf("shop", "checkout", 0.999, time.Second).Objectives}, chartRange{}) {
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

// TestChartsOfIncident asks for a time as messages link to it.
func TestChartsOfIncident(t *testing.T) {
	opt := night(t)
	h := newSite(t, opt)
	now := opt.DataAt()
	ms := func(ago time.Duration) string { return strconv.FormatInt(now.Add(-ago).UnixMilli(), 10) }
	const path = "/flows/shop/checkout"
	for _, tc := range []struct {
		name, query string
		length      time.Duration
		bands       int // of alerts
		deploys     int
	}{
		{"over", "?from=" + ms(200*time.Minute) + "&to=" + ms(130*time.Minute), 70 * time.Minute, 1, 0},
		{"going on", "?from=" + ms(time.Hour), time.Hour, 1, 1},
		{"its end is still to come", "?from=" + ms(time.Hour) + "&to=" + ms(-time.Hour), time.Hour, 1, 1},
		{"a name beside it", "?range=1h&from=" + ms(5*time.Hour), 5 * time.Hour, 2, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, doc := get(t, h, path+tc.query)
			address := attr(all(doc, func(n *html.Node) bool { return attr(n, "id") == "grid" })[0], "data-from")
			if got := texts(all(doc, class("over")))[0]; !strings.Contains(got, ", or the last") {
				t.Errorf("the chooser says %q, want the time it is about", got)
			}
			d, charts := getData(t, h, address)
			bands := 0
			for _, b := range d.Bands {
				if b.Kind != "excluded" {
					bands++
				}
			}
			if got := time.Duration((d.To - d.From) * float64(time.Second)).Round(time.Second); got != tc.length || bands != tc.bands || len(d.Deploys) != tc.deploys {
				t.Errorf("charts show %s with %d alerts and %d deploys, want %s, %d and %d", got, bands, len(d.Deploys), tc.length, tc.bands, tc.deploys)
			}
			for _, id := range []string{"latency", "errors", "rate", "budget-0", "burn-0"} {
				c := charts[id]
				if c.Fault != "" || c.Ahead != nil || c.To != d.To || len(c.Lines) == 0 || !slices.ContainsFunc(c.Lines[0].Points, func(v *float64) bool { return v != nil }) {
					t.Errorf("chart %s to %g with %d lines, fault %q; want some to %g, with nothing ahead", id, c.To, len(c.Lines), c.Fault, d.To)
				}
			}
		})
	}
	for _, tc := range []struct{ query, want string }{
		{"?from=yesterday", `from: "yesterday" is not a time; want milliseconds since 1970, such as 1800000000000`},
		{"?from=", `from: "" is not a time`},
		{"?from=99999999999999999999", "is not a time"},
		{"?from=" + ms(time.Hour) + "&to=now", `to: "now" is not a time`},
		{"?to=" + ms(time.Hour), `from: "" is not a time`},
		{"?from=" + ms(-time.Hour), "is still to come; want a time in the past"},
		{"?from=0", "from: 1970-01-01 is long ago; want at most 400 d"},
		{"?from=-9223372036854775808", "is long ago"},
		{"?from=" + ms(time.Hour) + "&to=" + ms(2*time.Hour), "want it to be later"},
	} {
		w, doc := get(t, h, path+tc.query)
		if got := texts(all(doc, class("notice"))); w.Code != http.StatusOK || len(got) != 2 || !strings.HasPrefix(got[1], "The time asked for cannot be shown; this is the usual one.") || !strings.Contains(got[1], tc.want) {
			t.Errorf("GET %s = %d with notices %q, want the page, and %q", tc.query, w.Code, got, tc.want)
		}
		if got := attr(all(doc, func(n *html.Node) bool { return attr(n, "id") == "grid" })[0], "data-from"); !strings.HasSuffix(got, "/data?range=6h") {
			t.Errorf("GET %s draws %s, want the usual time", tc.query, got)
		}
		if w, _ := get(t, h, path+"/data"+tc.query); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("GET data%s = %d %s, want 400 and %q", tc.query, w.Code, w.Body, tc.want)
		}
	}
}

func TestBetween(t *testing.T) {
	now := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, tc := range []struct {
		r    chartRange
		want string
	}{
		{chartRange{Name: "6h", length: 6 * time.Hour}, ""},
		{chartRange{from: ago(time.Hour)}, "Since 02:00 UTC"},
		{chartRange{from: ago(time.Hour), to: ago(-time.Minute)}, "Since 02:00 UTC"},
		{chartRange{from: ago(2 * time.Hour), to: ago(time.Hour)}, "24 Nov 01:00 to 02:00 UTC"},
		{chartRange{from: ago(20 * time.Hour), to: ago(time.Hour)}, "23 Nov 07:00 to 24 Nov 02:00 UTC"},
	} {
		if got := tc.r.between(now); got != tc.want {
			t.Errorf("between(%s, %s) = %q, want %q", tc.r.from, tc.r.to, got, tc.want)
		}
	}
}

// TestFlowPageWhere: what others find out about a flow is on its page, and
// nothing of it while nobody looks.
func TestFlowPageWhere(t *testing.T) {
	opt := night(t)
	_, doc := get(t, newSite(t, opt), "/flows/shop/checkout")
	want := "Where 94% of the bad requests on service.version 1.42.0, normally 31% 387 bad, 5,120 good " +
		"71% of the bad requests on cloud.region eu-central-1 and peer.service payments, normally 22% 292 bad, 3,004 good " +
		"98% of the bad requests with http.response.status_code 503, normally 0% 403 bad, 0 good"
	if got := text(all(doc, class("where"))[0]); got != want {
		t.Errorf("where = %q, want %q", got, want)
	}
	if got := texts(all(doc, class("judged"))); len(got) != 4 || got[2] != "Too little traffic to judge: 3 of 21 were bad." {
		t.Errorf("judged = %q, want four sentences of the latency", got)
	}
	opt.Where, opt.Judgement = nil, nil
	_, doc = get(t, newSite(t, opt), "/flows/shop/checkout")
	if got := len(all(doc, class("where"))) + len(all(doc, class("judged"))); got != 0 {
		t.Errorf("%d elements about where and judgement without anybody who knows, want none", got)
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
