package web

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser/posrange"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

const (
	// chartPoints is the most a line has: one for every few pixels.
	chartPoints = 300

	// chartStep is the least between two points, and chartWindow the least a
	// rate is taken over: two scrapes of most Prometheus servers.
	chartStep   = 15 * time.Second
	chartWindow = 2 * time.Minute

	// chartTimeout bounds the queries of all charts together. A month of
	// histograms takes seconds; the rest of the page is there meanwhile.
	chartTimeout = 20 * time.Second

	// pastLength is how far back a flow's alerts are told.
	pastLength = 30 * 24 * time.Hour

	// chartsPast is how far back a link may point: as far as most people keep
	// their data, and no exclusion has too many times within.
	chartsPast = 400 * 24 * time.Hour
)

// chartRange is a time that charts can show.
type chartRange struct {
	Name, Label string
	length      time.Duration // 0: the objective's window
	from, to    time.Time     // where a link says them; without to it goes on until now
}

var chartRanges = []chartRange{
	{Name: "1h", Label: "1 h", length: time.Hour},
	{Name: "6h", Label: "6 h", length: 6 * time.Hour},
	{Name: "1d", Label: "1 d", length: 24 * time.Hour},
	{Name: "7d", Label: "7 d", length: 7 * 24 * time.Hour},
	{Name: "30d", Label: "30 d", length: 30 * 24 * time.Hour},
}

// defaultRange is what somebody who was just woken wants to see.
const defaultRange = "6h"

// rangesOf returns what the charts of a flow can show: the window of its first
// objective as well where that is another.
func rangesOf(f *slo.Flow) []chartRange {
	out := chartRanges[:len(chartRanges):len(chartRanges)]
	if len(f.Objectives) == 0 {
		return out
	}
	o := f.Objectives[0]
	if o.Calendar.Unit != slo.Rolling {
		return append(out, chartRange{Name: "window", Label: "this " + o.Calendar.Unit.String()})
	}
	for _, r := range chartRanges {
		if r.length == o.Window {
			return out
		}
	}
	return append(out, chartRange{Name: "window", Label: slo.Duration(o.Window)})
}

// rangeOf returns the range that an address asks for, or the usual one: a name,
// or from and to in milliseconds since 1970, as messages link to an incident. It
// is the usual one together with an error that says why what is asked for
// cannot be shown.
func rangeOf(f *slo.Flow, query url.Values, now time.Time) (chartRange, error) {
	usual := chartRange{}
	for _, r := range rangesOf(f) {
		if r.Name == query.Get("range") && !query.Has("from") {
			return r, nil
		}
		if r.Name == defaultRange {
			usual = r
		}
	}
	if !query.Has("from") && !query.Has("to") {
		return usual, nil
	}
	from, err := millis(query, "from")
	if err != nil {
		return usual, err
	}
	out := chartRange{Name: query.Get("from") + "-" + query.Get("to"), from: from}
	if query.Has("to") {
		if out.to, err = millis(query, "to"); err != nil {
			return usual, err
		}
	}
	switch {
	case from.After(now):
		return usual, fmt.Errorf("from: %s is still to come; want a time in the past", words.Clock(from, now))
	case now.Sub(from) > chartsPast:
		return usual, fmt.Errorf("from: %s is long ago; want at most %s", from.Format(time.DateOnly), words.Span(chartsPast))
	case query.Has("to") && !out.to.After(from):
		return usual, fmt.Errorf("to: %s is not after %s; want it to be later", words.Clock(out.to, now), words.Clock(from, now))
	}
	return out, nil
}

// millis reads a time of an address.
func millis(query url.Values, name string) (time.Time, error) {
	ms, err := strconv.ParseInt(query.Get(name), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %q is not a time; want milliseconds since 1970, such as %d", name, query.Get(name), int64(1_800_000_000_000))
	}
	return time.UnixMilli(ms), nil
}

// query is what asks for the range in an address.
func (r chartRange) query() string {
	if r.from.IsZero() {
		return url.Values{"range": {r.Name}}.Encode()
	}
	q := url.Values{"from": {strconv.FormatInt(r.from.UnixMilli(), 10)}}
	if !r.to.IsZero() {
		q.Set("to", strconv.FormatInt(r.to.UnixMilli(), 10))
	}
	return q.Encode()
}

// between says the range that a link asks for; it is empty of one with a name.
func (r chartRange) between(now time.Time) string {
	switch {
	case r.from.IsZero():
		return ""
	case r.to.IsZero() || r.to.After(now):
		return "Since " + words.Clock(r.from, now)
	case r.from.In(now.Location()).Format(time.DateOnly) == r.to.In(now.Location()).Format(time.DateOnly):
		return r.from.In(now.Location()).Format("2 Jan 15:04") + " to " + r.to.In(now.Location()).Format("15:04 MST")
	default:
		return r.from.In(now.Location()).Format("2 Jan 15:04") + " to " + r.to.In(now.Location()).Format("2 Jan 15:04 MST")
	}
}

// bounds returns where the range begins and ends while the data ends at a
// moment.
func (r chartRange) bounds(f *slo.Flow, at time.Time) (from, to time.Time) {
	switch {
	case r.length > 0:
		return at.Add(-r.length), at
	case r.from.IsZero():
		return windowStart(f.Objectives[0], at), at
	case r.to.IsZero() || r.to.After(at):
		return r.from, at
	default:
		return r.from, r.to
	}
}

// windowStart returns where the window of an objective began.
func windowStart(o slo.Objective, at time.Time) time.Time {
	if o.Calendar.Unit == slo.Rolling {
		return at.Add(-o.Window)
	}
	start, _ := o.Calendar.Bounds(at)
	return start
}

// grid is the moments of a chart's points.
type grid struct {
	from time.Time
	step time.Duration
	n    int
}

// newGrid puts as many points between two moments as a chart has, the last of
// them at the end.
func newGrid(from, to time.Time) grid {
	length := max(to.Sub(from), chartStep)
	step := length / (chartPoints - 1)
	step = max(chartStep, (step+chartStep-1)/chartStep*chartStep)
	n := int(length/step) + 1
	return grid{from: to.Add(-time.Duration(n-1) * step), step: step, n: n}
}

func (g grid) to() time.Time { return g.from.Add(time.Duration(g.n-1) * g.step) }

// window is what a rate at a point is taken over, so that each event is in one.
func (g grid) window() time.Duration { return max(chartWindow, g.step) }

// empty is a line of which nothing is known.
func (g grid) empty() points {
	out := make(points, g.n)
	for i := range out {
		out[i] = math.NaN()
	}
	return out
}

// at returns the point of a sample's time.
func (g grid) at(ms int64) int { return int((ms - g.from.UnixMilli()) / g.step.Milliseconds()) }

// points are the values of a line. NaN, of which JSON has none, is null.
type points []float64

// MarshalJSON writes five digits, more than a screen shows.
func (p points) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, 8*len(p)+2)
	out = append(out, '[')
	for i, v := range p {
		if i > 0 {
			out = append(out, ',')
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			out = append(out, "null"...)
		} else {
			out = strconv.AppendFloat(out, v, 'g', 5, 64)
		}
	}
	return append(out, ']'), nil
}

// chartsData is what the charts of a flow's page draw. Times are in seconds
// since 1970.
type chartsData struct {
	From    float64  `json:"from"`
	To      float64  `json:"to"`
	Charts  []chart  `json:"charts"`
	Bands   []band   `json:"bands"`
	Deploys []deploy `json:"deploys"`
}

// chart is one of them. Its points begin at from, step seconds apart; it is
// shown from then to to.
type chart struct {
	ID     string  `json:"id"`
	Unit   string  `json:"unit"` // seconds, share, rate or burn
	From   float64 `json:"from"`
	Step   float64 `json:"step"`
	To     float64 `json:"to"`
	Lines  []line  `json:"lines"`
	Limits []limit `json:"limits,omitempty"`
	Ahead  *ahead  `json:"ahead,omitempty"`
	Fault  string  `json:"fault,omitempty"`
}

// line is one line of a chart. Weight goes from 0, the faintest, to 1.
type line struct {
	Label  string  `json:"label"`
	Weight float64 `json:"weight"`
	Points points  `json:"points"`
}

// limit is a level that a chart is judged by.
type limit struct {
	Label string  `json:"label"`
	Value float64 `json:"value"`
	State string  `json:"state,omitempty"` // class of the alert it fires
}

// ahead is where a budget goes at the pace of now.
type ahead struct {
	Words string  `json:"words,omitempty"`
	From  float64 `json:"from"`
	Value float64 `json:"value"`
	To    float64 `json:"to"`
	End   float64 `json:"end"` // value at to
}

// band is a time that is marked in all charts.
type band struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Kind  string  `json:"kind"` // page, ticket or excluded
	Words string  `json:"words"`
}

// deploy is the first time that a version was seen.
type deploy struct {
	At      float64 `json:"at"`
	Version string  `json:"version"`
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// chartFrame is the place of a chart on the page.
type chartFrame struct {
	ID, Title, Note string
	Third           bool // of the width
}

// framesOf returns the charts of a flow.
func framesOf(f *slo.Flow, r chartRange) []chartFrame {
	var out []chartFrame
	budget := "over its whole window, dashed on at the pace of now"
	if !r.from.IsZero() {
		budget = ""
	}
	if f.Counted() {
		out = append(out,
			chartFrame{"latency", "Latency", "", true},
			chartFrame{"errors", "Errors", "share of the requests that failed", true},
			chartFrame{"rate", "Requests", "", true},
		)
	}
	for i, o := range f.Objectives {
		out = append(out,
			chartFrame{fmt.Sprintf("budget-%d", i), "Budget left: " + o.Sentence(), budget, false},
			chartFrame{fmt.Sprintf("burn-%d", i), "Burn rates: " + o.Sentence(), "by window; at 1× the budget lasts exactly its period", false},
		)
	}
	return out
}

// chartKey is what charts are kept by. The flow is another after a reload.
type chartKey struct {
	flow *slo.Flow
	name string // of the range
}

// keptCharts are the charts somebody looks at.
type keptCharts struct {
	mu   sync.Mutex // held while the store is read: the others wait for that reading
	at   time.Time
	made time.Time
	body []byte
	last bool // a fault: to be read again soon
}

// keepCharts is how many charts are kept.
const keepCharts = 64

// data serves what the charts of a flow show.
func (s *site) data(w http.ResponseWriter, r *http.Request) {
	key := read.Key{Service: r.PathValue("service"), Flow: r.PathValue("flow")}
	now, err := s.lookAt(r.Context(), key)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	f := read.Find(now.flows, key)
	if f == nil {
		http.Error(w, "There is no such flow.", http.StatusNotFound)
		return
	}
	chosen, err := rangeOf(f, r.URL.Query(), now.now)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, err := s.keptCharts(r.Context(), now.picture, f, chosen)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body) // the viewer left
}

// keptCharts returns the charts of a flow as JSON, made now unless those there
// are show the same to the eye.
func (s *site) keptCharts(ctx context.Context, p picture, f *slo.Flow, r chartRange) ([]byte, error) {
	key := chartKey{f, r.Name}
	s.mu.Lock()
	k := s.charts[key]
	if k == nil {
		if len(s.charts) >= keepCharts {
			clear(s.charts)
		}
		k = &keptCharts{}
		s.charts[key] = k
	}
	s.mu.Unlock()

	k.mu.Lock()
	defer k.mu.Unlock()
	if k.body != nil && !k.last {
		step := newGrid(r.bounds(f, p.at)).step
		if age := p.at.Sub(k.at); age == 0 || time.Since(k.made) < keepView || age > 0 && age < min(step/4, time.Minute) {
			return k.body, nil
		}
	}
	// Others may wait for this: it goes on when its first viewer leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), chartTimeout)
	defer cancel()
	d, faulty := s.draw(ctx, p, f, r)
	body, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	k.at, k.made, k.body, k.last = p.at, time.Now(), body, faulty
	return body, nil
}

// draw makes the charts of a flow. A chart that cannot be read says so; faulty
// tells that there is one.
func (s *site) draw(ctx context.Context, p picture, f *slo.Flow, r chartRange) (out chartsData, faulty bool) {
	from, to := r.bounds(f, p.at)
	g := newGrid(from, to)
	out = chartsData{From: unix(from), To: unix(to), Charts: []chart{}, Bands: []band{}, Deploys: []deploy{}}
	add := func(c chart, err error) {
		if err != nil {
			s.opt.Logger.Warn("chart cannot be made", "chart", c.ID, "flow", f.Name, "err", err)
			c.Fault, c.Lines, faulty = "It cannot be read: "+err.Error(), nil, true
		}
		out.Charts = append(out.Charts, c)
	}
	if f.Counted() {
		add(s.latencyChart(ctx, f, g))
		errors, requests, err := s.requestCharts(ctx, f, g)
		add(errors, err)
		add(requests, err)
	}
	for i, o := range f.SLOs() {
		c, err := s.budgetChart(ctx, p, o, r)
		c.ID = fmt.Sprintf("budget-%d", i)
		add(c, err)
		c, err = s.burnChart(ctx, o, g)
		c.ID = fmt.Sprintf("burn-%d", i)
		add(c, err)
	}
	ids := map[string]string{}
	for _, o := range f.SLOs() {
		ids[o.ID()] = o.Objective.Sentence()
	}
	past, err := s.past.Read(ctx, p.at, max(pastLength, p.at.Sub(from)))
	if err != nil {
		s.opt.Logger.Warn("alerts of charts cannot be read", "err", err)
		faulty = true
	}
	for _, a := range past.List {
		if sentence, ours := ids[a.SLO]; ours && a.Ended.After(from) && a.Began.Before(to) {
			out.Bands = append(out.Bands, band{unix(a.Began), unix(a.Ended), string(a.Severity), string(a.Severity) + ": " + sentence})
		}
	}
	for _, x := range f.Exclude {
		for i := range x.Between(from, to) {
			out.Bands = append(out.Bands, band{unix(i.Start), unix(i.End), "excluded", "excluded: " + x.Why})
		}
	}
	// A version is told as long as it is seen, so that one look at the whole
	// range finds those that have gone as well.
	err = s.store.Instant(ctx, to, fmt.Sprintf("min by (%s) (min_over_time(%s{%s=%q}[%s]))", series.ServiceVersion, series.VersionFirstSeen, series.Service, f.Service, promDuration(to.Sub(from))),
		func(v promql.Sample) {
			if v.F >= out.From && v.F <= out.To {
				out.Deploys = append(out.Deploys, deploy{v.F, v.Metric.Get(series.ServiceVersion)})
			}
		})
	if err != nil {
		s.opt.Logger.Warn("versions of charts cannot be read", "err", err)
		faulty = true
	}
	return out, faulty
}

// promDuration writes a duration for a query, of which the shortest is 1 s.
func promDuration(d time.Duration) string {
	return strconv.FormatInt(max(1, int64(d/time.Second)), 10) + "s"
}

// chart makes the chart over a grid.
func (g grid) chart(id, unit string) chart {
	return chart{ID: id, Unit: unit, From: unix(g.from), Step: g.step.Seconds(), To: unix(g.to()), Lines: []line{}}
}

// latencyChart is p50, p95 and p99 with the thresholds of the objectives.
func (s *site) latencyChart(ctx context.Context, f *slo.Flow, g grid) (chart, error) {
	c := g.chart("latency", "seconds")
	quantiles := [...]float64{0.5, 0.95, 0.99}
	c.Lines = []line{{"p50", 0.35, g.empty()}, {"p95", 1, g.empty()}, {"p99", 0.6, g.empty()}}
	for _, o := range f.Objectives {
		if o.Kind == slo.FasterThan {
			c.Limits = append(c.Limits, limit{Label: o.Sentence(), Value: o.Threshold.Seconds()})
		}
	}
	return c, s.steps(ctx, g, fmt.Sprintf("sum (rate(%s%s[%s]))", series.FlowDuration, read.Selector(f), promDuration(g.window())),
		func(v promql.Series) {
			for _, h := range v.Histograms {
				if h.H.Count <= 0 {
					continue
				}
				for i, q := range quantiles {
					c.Lines[i].Points[g.at(h.T)], _ = promql.HistogramQuantile(q, h.H, series.FlowDuration, posrange.PositionRange{})
				}
			}
		})
}

// requestCharts are the share of errors, with what the objectives allow, and
// the requests per second.
func (s *site) requestCharts(ctx context.Context, f *slo.Flow, g grid) (errors, requests chart, err error) {
	errors, requests = g.chart("errors", "share"), g.chart("rate", "rate")
	for _, o := range f.Objectives {
		if o.Kind == slo.Succeed && o.Slice == 0 {
			errors.Limits = append(errors.Limits, limit{Label: slo.Percent(o.Budget()) + " may fail", Value: o.Budget()})
		}
	}
	sums := make([]read.Rates, g.n)
	known := make([]bool, g.n)
	err = s.steps(ctx, g, fmt.Sprintf("sum by (%s) (rate(%s%s[%s]))", series.Outcome, series.FlowRequests, read.Selector(f), promDuration(g.window())),
		func(v promql.Series) {
			for _, x := range v.Floats {
				i := g.at(x.T)
				sums[i], known[i] = sums[i].Plus(v.Metric.Get(series.Outcome), x.F), true
			}
		})
	bad, all := g.empty(), g.empty()
	for i, r := range sums {
		if known[i] {
			bad[i], all[i] = r.BadShare(), r.Total()
		}
	}
	errors.Lines = []line{{"errors", 1, bad}}
	requests.Lines = []line{{"requests", 1, all}}
	return errors, requests, err
}

// burnChart is the burn rates over all windows with what alerts fire above. A
// point of a long range is the highest since the one before.
func (s *site) burnChart(ctx context.Context, one slo.SLO, g grid) (chart, error) {
	o := one.Objective
	c := g.chart("", "burn")
	for _, t := range o.Tiers {
		c.Limits = append(c.Limits, limit{
			Label: fmt.Sprintf("%s above %s× (%s, %s)", t.Severity, strconv.FormatFloat(t.Factor, 'f', -1, 64), slo.Duration(t.Long), slo.Duration(t.Short)),
			Value: t.Factor, State: severityState(t.Severity).Class(),
		})
	}
	windows := o.Windows()
	for i, w := range windows {
		l := line{slo.Duration(w), 0.25 + 0.75*float64(i)/float64(max(1, len(windows)-1)), g.empty()}
		query := fmt.Sprintf("%s{%s=%q}", series.ErrorRatio(w), series.ID, one.ID())
		if g.step > time.Minute {
			query = fmt.Sprintf("max_over_time(%s[%s])", query, promDuration(g.step))
		}
		if err := s.steps(ctx, g, "max ("+query+")", func(v promql.Series) {
			for _, x := range v.Floats {
				l.Points[g.at(x.T)] = slo.BurnRate(x.F, o.Target)
			}
		}); err != nil {
			return c, err
		}
		c.Lines = append(c.Lines, l)
	}
	return c, nil
}

// budgetChart is the budget left over the whole window of an objective, and
// where it goes at the pace of now; or over the time that a link asks for.
func (s *site) budgetChart(ctx context.Context, p picture, one slo.SLO, r chartRange) (chart, error) {
	o := one.Objective
	from, to := windowStart(o, p.at), p.at
	if !r.from.IsZero() {
		from, to = r.bounds(one.Flow, p.at)
	}
	g := newGrid(from, to)
	var left points
	// A young SLO fills its window by and by: look closer until it is a curve.
	for {
		left = g.empty()
		if err := s.steps(ctx, g, fmt.Sprintf("max (%s{%s=%q})", series.BudgetRemaining, series.ID, one.ID()),
			func(v promql.Series) {
				for _, x := range v.Floats {
					left[g.at(x.T)] = x.F
				}
			}); err != nil {
			return g.chart("", "share"), err
		}
		first := 0
		for first < g.n-1 && math.IsNaN(left[first]) {
			first++
		}
		if g.step <= chartStep || first < g.n/2 || !r.from.IsZero() {
			break
		}
		g = newGrid(g.from.Add(time.Duration(max(0, first-1))*g.step), p.at)
	}
	c := g.chart("", "share")
	c.Lines = []line{{"left", 1, left}}
	if _, _, excluded := one.Flow.Excluded(p.now); excluded || !r.from.IsZero() {
		return c, nil // its pace does not count, or is not that of then
	}
	v := p.numbers.Objective(one, read.NoData, false, false)
	c.Ahead = projection(o, v.Left, v.Burn, g.from, p.at)
	if c.Ahead != nil {
		c.Ahead.Words = p.objective(v).Pace
		if c.Ahead.Words == "" {
			c.Ahead.Words = gone(o, v.Left, v.Burn, p.at)
		}
		c.To = c.Ahead.To
	}
	return c, nil
}

// projection is where a budget goes from now on at the pace of now: to the end
// of a calendar period, or for a third of the time that the chart shows. It is
// nil when the pace is not known.
func projection(o slo.Objective, left, burn float64, from, at time.Time) *ahead {
	if math.IsNaN(left) || math.IsNaN(burn) {
		return nil
	}
	end := at.Add(at.Sub(from) / 3)
	if o.Calendar.Unit != slo.Rolling {
		_, end = o.Calendar.Bounds(at)
	}
	out := &ahead{From: unix(at), Value: left, To: unix(end)}
	in, ends := o.BudgetLasts(left, burn, at)
	x := end.Sub(at).Seconds()
	switch {
	case left <= 0:
		out.End = left
	case ends && in <= 0:
		out.End = 0
	case ends:
		// A straight line to zero; beyond it there is nothing to be drawn.
		out.End = left * (1 - x/in.Seconds())
	case o.Calendar.Unit == slo.Rolling:
		// What is spent now takes the place of what rolls out of the window,
		// until a window later all of it was spent at this pace.
		out.End = left + (1-burn-left)*min(1, x/o.Window.Seconds())
	default:
		start, _ := o.Calendar.Bounds(at)
		t := max(1, at.Sub(start).Seconds())
		out.End = 1 - (1-left+burn*x/t)/(1+x/t)
	}
	return out
}

// steps runs a query at the moments of a grid and visits its series.
func (s *site) steps(ctx context.Context, g grid, query string, visit func(promql.Series)) error {
	return s.store.Steps(ctx, query, g.from, g.to(), g.step, visit)
}
