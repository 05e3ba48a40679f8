package main

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/slowburn-slo/slowburn/alerts/rulegen"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/ledger"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// The oracle lets random histories of incidents happen and holds three accounts
// of each against one another and against the exact truth: the ledger, the
// exported rules over the counters of two collectors, and the exported rules
// over the user's own metrics.
//
// Periods are a day to four weeks, and incidents happen all over them. Rules
// would take hours to live through that, so that they live through the newest
// hours, in which periods roll over what was before: there they find the
// counters as they were, and what they themselves would have recorded of each
// minute, which is the events of that minute. That they do record this is shown
// in the hours lived: minutes, five minutes and everything longer are summed up
// from what they recorded there. Services younger than these hours have nothing
// else.
//
// Budgets differ by no more than oraclePoints, and over metrics by an event for
// each restart besides: in the minute of one, increase guesses. How often that was
// needed is logged.
//
// Alerts are on and off at the same time, within a step of the rules' chain;
// the ledger is asked every minute. Rules see what happened when they are next
// evaluated, so that the bound is the sum of the intervals on the way from the
// minute to the alert:
//
//   - page: its windows are recorded every minute, and the alert is judged at the
//     same instant, in the same group. One minute.
//   - ticket: its long window is recorded every five minutes, and the alert is
//     judged every two. Less than seven minutes, and among minutes no more
//     than five: at worst, four until the window is recorded and one until
//     the alert is judged.
//
// An alert that lasts no longer than that in one account may be missing in the
// other: what is looked at every so often is not seen in between. How many did
// is logged.
const (
	oracleScrape = 30 * time.Second
	oracleStep   = time.Minute
	oracleLived  = 3 * time.Hour
	oraclePoints = 0.1             // of budget that accounts may differ by
	oracleLate   = 7 * time.Second // after a scrape, rules are evaluated

	oracleAsk    = 20 * time.Minute // budgets are compared this often
	oracleBefore = 2 * time.Hour    // history before the period that rules live to see
	perMinute    = int(oracleStep / oracleScrape)
	livedScrapes = int(oracleLived / oracleScrape)
	overMetrics  = "rules over metrics"
)

var (
	oracleBegan = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

	// within is how many steps an alert of one account may be off another's, and
	// how many it lasts at most if another has none.
	within = map[slo.Severity]int{slo.Page: 1, slo.Ticket: 5}
)

// mishap is a time in which a share of the events is bad, or there are more of
// them. Times are in scrapes.
type mishap struct {
	from, length int
	share        float64 // of bad events, in [0, 1]
	times        float64 // as many events as usual
}

func (m mishap) String() string {
	return fmt.Sprintf("%.2g%% bad of %gx from %s for %s", m.share*100, m.times, time.Duration(m.from)*oracleScrape, time.Duration(m.length)*oracleScrape)
}

// past is a history: traffic and what went wrong. It does not depend on other
// histories, nor does traffic on mishaps, so that it can be shrunk. Moments are
// in scrapes since oracleBegan.
type past struct {
	seed    uint64
	period  time.Duration
	target  float64
	rate    float64 // events a scrape, on average or in the nightly batch
	traffic string  // steady, daily or nightly
	base    float64 // share of bad events when nothing is wrong
	born    int     // the first scrape that shows anything
	mishaps []mishap

	restarts []int  // before which the counters of the metrics begin anew
	replaced int    // before which another takes the place of the second collector, or 0
	gap      [2]int // the first scrape that does not reach Prometheus and the first that does again, or 0
	stale    bool   // the service itself is not there in the gap, but is back with its counters
	late     bool   // the counter of errors is born with the first of them
	plain    bool   // rules over metrics do not catch up; then nothing above happens but to collectors

	counts [][2]uint64 // good and bad events before each scrape, once played
}

// lives returns the scrape from which rules live through the history: 20 minutes,
// in which all groups are evaluated, divide it.
func (p *past) lives() int { return int((p.period + oracleBefore) / oracleScrape) }

func (p *past) scrapes() int { return p.lives() + livedScrapes + 1 }

// at returns the time of a scrape.
func at(i int) time.Time { return oracleBegan.Add(time.Duration(i) * oracleScrape) }

// play lets the history happen.
func (p *past) play() {
	p.counts = make([][2]uint64, p.scrapes())
	for i := max(p.born, 1); i < len(p.counts); i++ {
		p.counts[i] = p.draw(i)
	}
}

func newPast(seed uint64, period time.Duration, plain bool) past {
	rng := rand.New(rand.NewPCG(seed, 4))
	p := past{
		seed: seed, period: period, plain: plain,
		target:  []float64{0.95, 0.99, 0.999}[rng.IntN(3)],
		rate:    math.Exp(math.Log(0.2) + rng.Float64()*math.Log(200/0.2)),
		traffic: []string{"steady", "steady", "daily", "nightly"}[rng.IntN(4)],
	}
	if rng.IntN(6) == 0 {
		p.traffic, p.rate = "steady", 0.05 // one request in 10 minutes
	}
	p.base = slo.Budget(p.target) * rng.Float64() / 2
	lives, scrapes := p.lives(), p.scrapes()
	// Most of what goes wrong is seen by the windows of alerts; some is old,
	// and some leaves the period meanwhile.
	somewhere := func() int {
		switch rng.IntN(6) {
		case 0:
			return rng.IntN(lives)
		case 1:
			return int(oracleBefore/oracleScrape) + rng.IntN(livedScrapes)
		case 2:
			return lives - rng.IntN(int(24*time.Hour/oracleScrape))
		}
		return lives - 120 + rng.IntN(livedScrapes+120)
	}
	for range rng.IntN(7) {
		m := mishap{
			from: somewhere(), length: 1 + int(math.Exp(rng.Float64()*math.Log(600))), times: 1,
			share: min(1, slo.Budget(p.target)*math.Exp(rng.Float64()*math.Log(1000))),
		}
		if rng.IntN(4) == 0 {
			m.share, m.times = 0, 2+38*rng.Float64()
		}
		p.mishaps = append(p.mishaps, m)
	}
	lived := func() int { return lives + 10 + rng.IntN(livedScrapes-20) }
	if rng.IntN(5) == 0 {
		p.born = rng.IntN(lives)
		if rng.IntN(2) == 0 && !plain {
			p.born = lived()
		}
	}
	if rng.IntN(3) == 0 {
		p.replaced = lived()
	}
	if !plain {
		if rng.IntN(4) == 0 {
			from := lived()
			p.gap = [2]int{from, min(from+5+rng.IntN(int(2*time.Hour/oracleScrape)), scrapes-5)}
			p.stale = rng.IntN(2) == 0
			if p.stale {
				p.gap[0] |= 1 // see exposeMetrics
			}
			if p.gap[0]+2 > p.gap[1] {
				p.gap = [2]int{}
			}
		}
		for range rng.IntN(4) {
			p.restarts = append(p.restarts, lived())
		}
		p.late = rng.IntN(2) == 0
	}
	// What a collector counted while it was cut off, and that never came back,
	// nobody can know.
	if p.replaced >= p.gap[0] && p.replaced <= p.gap[1] {
		p.replaced = 0
	}
	return p
}

// events returns the good and bad events of the time before a scrape.
func (p *past) events(i int) (good, bad uint64) { return p.counts[i][0], p.counts[i][1] }

func (p *past) draw(i int) [2]uint64 {
	rng := rand.New(rand.NewPCG(p.seed, uint64(i)<<8))
	rate, share := p.rate, p.base
	phase := time.Duration(i)*oracleScrape + time.Duration(p.seed%24)*time.Hour
	switch p.traffic {
	case "daily":
		rate *= 1 - 0.8*math.Cos(2*math.Pi*phase.Hours()/24)
	case "nightly":
		if phase%(24*time.Hour) >= 90*time.Minute {
			return [2]uint64{}
		}
	}
	for _, m := range p.mishaps {
		if i >= m.from && i < m.from+m.length {
			share = max(share, m.share)
			rate *= m.times
		}
	}
	n := rate*(0.5+rng.Float64()) + rng.Float64()
	if rate < 1 {
		n = 0
		if rng.Float64() < rate {
			n = 1
		}
	}
	total := uint64(n)
	bad := min(total, uint64(float64(total)*share+rng.Float64()))
	return [2]uint64{total - bad, bad}
}

// missed reports whether a scrape does not reach Prometheus.
func (p *past) missed(i int) bool { return i >= p.gap[0] && i < p.gap[1] }

// heard returns the events as Prometheus hears of them: those of a gap when it is
// over.
func (p *past) heard(i int) (good, bad uint64) {
	if p.missed(i) {
		return 0, 0
	}
	good, bad = p.events(i)
	if i == p.gap[1] {
		for j := p.gap[0]; j < i; j++ {
			g, b := p.events(j)
			good, bad = good+g, bad+b
		}
	}
	return good, bad
}

func (p *past) service() string { return fmt.Sprintf("history-%d", p.seed) }

// flow returns the history's SLO as it is counted from spans, or from metrics.
func (p *past) flow(metrics bool) slo.Flow {
	o := slo.Objective{
		Name: "availability", Kind: slo.Succeed, Target: p.target, Window: p.period, MinEvents: slo.DefaultMinEvents,
		Tiers: slo.Tiers(p.target, p.period),
	}
	if metrics {
		o.Kind = slo.PromQL
		o.Query = slo.Query{
			Bad:   fmt.Sprintf(`sum(rate(http_requests_total{job=%q,code=~"5.."}[$window]))`, p.service()),
			Total: fmt.Sprintf(`sum(rate(http_requests_total{job=%q}[$window]))`, p.service()),
		}
	}
	return slo.Flow{Name: p.service(), Service: "shop", Objectives: []slo.Objective{o}}
}

// account is what one way of counting says of a history while rules live.
type account struct {
	budget map[int]float64         // by scrape, where the oracle asks; absent: nothing is said
	firing map[slo.Severity][]bool // by step; between evaluations it is as it was
}

func newAccount() account {
	steps := livedScrapes/perMinute + 1
	return account{budget: map[int]float64{}, firing: map[slo.Severity][]bool{slo.Page: make([]bool, steps), slo.Ticket: make([]bool, steps)}}
}

// asked reports whether budgets are compared at a scrape.
func (p *past) asked(i int) bool {
	return i >= p.lives() && (i-p.lives())%int(oracleAsk/oracleScrape) == 0
}

// truth adds up, at the scrapes asked for, what is inside the period.
func truth(p *past) account {
	out := newAccount()
	scrapes, span := p.scrapes(), int(p.period/oracleScrape)
	good, bad := make([]uint64, scrapes+1), make([]uint64, scrapes+1)
	for i := range scrapes {
		g, b := p.events(i)
		good[i+1], bad[i+1] = good[i]+g, bad[i]+b
		if from := max(0, i+1-span); p.asked(i) && good[i+1]+bad[i+1] > good[from]+bad[from] {
			b := float64(bad[i+1] - bad[from])
			out.budget[i] = slo.BudgetLeft(b/(b+float64(good[i+1]-good[from])), p.target)
		}
	}
	return out
}

// keep runs the ledger over the histories and judges alerts by its figures.
// Events come as they happen, or as Prometheus hears of them.
func keep(pasts []past, events func(p *past, i int) (good, bad uint64)) []account {
	book := ledger.New(oracleBegan)
	out := make([]account, len(pasts))
	slos := make([]slo.SLO, len(pasts))
	defs := make([]ledger.Def, len(pasts))
	for k := range pasts {
		f := pasts[k].flow(false)
		slos[k], out[k] = f.SLOs()[0], newAccount()
		defs[k] = ledger.Def{ID: slos[k].ID(), Windows: slos[k].Objective.Windows()}
	}
	book.Define(defs)
	entries := make([]ledger.Entry, len(pasts))
	lives := pasts[0].lives()
	for i := 1; i < pasts[0].scrapes(); i++ {
		for k := range pasts {
			good, bad := events(&pasts[k], i)
			entries[k] = ledger.Entry{ID: slos[k].ID(), Good: good, Bad: bad}
		}
		book.Add(at(i).Add(-time.Millisecond), entries) // they happened before the scrape
		if i < lives || (i-lives)%perMinute != 0 {
			continue
		}
		book.Advance(at(i))
		for k := range pasts {
			state, _ := book.State(slos[k].ID())
			o := slos[k].Objective
			if ratio, ok := state.Period().Ratio(); ok && pasts[k].asked(i) {
				out[k].budget[i] = slo.BudgetLeft(ratio, o.Target)
			}
			for _, t := range o.Tiers {
				long, _ := state.Window(t.Long)
				short, _ := state.Window(t.Short)
				l, _ := long.Ratio()
				s, _ := short.Ratio()
				if slo.BurnRate(l, o.Target) > t.Factor && slo.BurnRate(s, o.Target) > t.Factor && long.Bad >= float64(o.MinEvents) {
					out[k].firing[t.Severity][(i-lives)/perMinute] = true
				}
			}
		}
	}
	return out
}

// ruled runs exported rules over the histories: in a storage, an engine and
// rule groups of its own, in a time the test keeps. alter, if there is one,
// spoils the rules.
func ruled(ctx context.Context, dir string, pasts []past, metrics bool, alter func(*rulefmt.Rule)) (_ []account, err error) {
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = 0
	opts.WALSegmentSize = -1
	opts.StripeSize = 1024
	opts.MinBlockDuration = (90 * 24 * time.Hour).Milliseconds() // all of it stays in memory
	opts.MaxBlockDuration = opts.MinBlockDuration
	quiet := slog.New(slog.DiscardHandler)
	db, err := tsdb.Open(dir, quiet, nil, opts, nil)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer engine.Close()

	flows := make([]slo.Flow, len(pasts))
	out := make([]account, len(pasts))
	index := map[string]int{}
	for k := range pasts {
		flows[k], out[k] = pasts[k].flow(metrics), newAccount()
		index[flows[k].SLOs()[0].ID()] = k
	}
	groups, _, err := rulegen.Record(flows, rulegen.RecordOptions{CatchUp: !pasts[0].plain})
	if err != nil {
		return nil, err
	}
	// What sums up hours is repeated right after it was summed up, so that
	// budgets of one instant can be compared.
	order := map[string]int{"fast": 0, "slowest": 1, "slow": 2}
	speed := func(g rulefmt.RuleGroup) int { return order[g.Name[strings.LastIndex(g.Name, "-")+1:]] }
	slices.SortStableFunc(groups, func(a, b rulefmt.RuleGroup) int { return speed(a) - speed(b) })
	lives, step := pasts[0].lives(), 0
	held := map[slo.Severity]int{} // for how many steps an alert is what it was when judged
	notify := func(_ context.Context, _ string, alerts ...*rules.Alert) {
		for _, a := range alerts {
			if a.State == rules.StateFiring {
				k := index[a.Labels.Get(series.ID)]
				severity := slo.Severity(a.Labels.Get(series.Severity))
				on := out[k].firing[severity]
				for s := step; s < min(step+held[severity], len(on)); s++ {
					on[s] = true
				}
			}
		}
	}
	var live []*rules.Group
	for _, g := range groups {
		var list []rules.Rule
		for _, r := range g.Rules {
			if alter != nil {
				alter(&r)
			}
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
			if err != nil {
				return nil, err
			}
			if r.Record != "" {
				list = append(list, rules.NewRecordingRule(r.Record, expr, labels.FromMap(r.Labels)))
				continue
			}
			held[slo.Severity(r.Labels[series.Severity])] = int(time.Duration(g.Interval) / oracleStep)
			list = append(list, rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor),
				labels.FromMap(r.Labels), labels.EmptyLabels(), labels.EmptyLabels(), "", true, quiet))
		}
		live = append(live, rules.NewGroup(rules.GroupOptions{
			Name: g.Name, Interval: time.Duration(g.Interval), Rules: list,
			Opts: &rules.ManagerOptions{
				QueryFunc: rules.EngineQueryFunc(engine, db), Appendable: db, Queryable: db, Context: ctx,
				NotifyFunc: notify, ExternalURL: &url.URL{}, Logger: quiet, ResendDelay: time.Second,
			},
		}))
	}

	expose := make([]func(put putFunc, i int) error, len(pasts))
	for k := range pasts {
		expose[k] = exposeCollectors(&pasts[k])
		if metrics {
			expose[k] = exposeMetrics(&pasts[k])
		}
		app := db.Appender(ctx)
		put := putInto(app)
		for i := 1; i < lives; i++ {
			if err := expose[k](put, i); err != nil {
				return nil, err
			}
		}
		if metrics {
			if err := recorded(put, &pasts[k]); err != nil {
				return nil, err
			}
		}
		if err := app.Commit(); err != nil {
			return nil, err
		}
	}
	for i := lives; i < pasts[0].scrapes(); i++ {
		app := db.Appender(ctx)
		put := putInto(app)
		for k := range pasts {
			if err := expose[k](put, i); err != nil {
				return nil, err
			}
		}
		if err := app.Commit(); err != nil {
			return nil, err
		}
		step = (i - lives) / perMinute
		for _, g := range live {
			if at(i).Sub(at(lives))%g.Interval() == 0 {
				g.Eval(ctx, at(i).Add(oracleLate))
				for _, r := range g.Rules() {
					if err := r.LastError(); err != nil {
						return nil, fmt.Errorf("rule %s: %w", r.Name(), err)
					}
				}
			}
		}
		if !pasts[0].asked(i) {
			continue
		}
		q, err := engine.NewInstantQuery(ctx, db, nil, series.BudgetRemaining, at(i).Add(oracleLate+time.Second))
		if err != nil {
			return nil, err
		}
		vector, err := q.Exec(ctx).Vector()
		if err != nil {
			return nil, err
		}
		for _, s := range vector {
			out[index[s.Metric.Get(series.ID)]].budget[i] = s.F
		}
		q.Close()
	}
	return out, nil
}

// putFunc writes a sample; ref remembers its series.
type putFunc func(ref *storage.SeriesRef, name labels.Labels, t time.Time, v float64) error

func putInto(app storage.Appender) putFunc {
	return func(ref *storage.SeriesRef, name labels.Labels, t time.Time, v float64) (err error) {
		*ref, err = app.Append(*ref, name, t.UnixMilli(), v)
		return err
	}
}

// recorded writes what rules over metrics recorded before the hours they live
// through.
func recorded(put putFunc, p *past) error {
	f := p.flow(true)
	base := series.SLO(f.SLOs()[0])
	for _, r := range []struct {
		scrapes        int // a sample sums up
		from           int
		events, errors string
	}{
		{perMinute, p.lives() - int(7*time.Hour/oracleScrape), series.EventsPerMinute, series.ErrorsPerMinute},
		{5 * perMinute, 0, series.EventsPer5m, series.ErrorsPer5m},
	} {
		var refs [2]storage.SeriesRef
		names := [2]labels.Labels{series.Of(base, r.events), series.Of(base, r.errors)}
		for i := r.from + r.scrapes; i < p.lives(); i += r.scrapes {
			if i < p.born {
				continue
			}
			var sums [2]float64
			for j := i - r.scrapes + 1; j <= i; j++ {
				good, bad := p.events(j)
				sums[0] += float64(good + bad)
				sums[1] += float64(bad)
			}
			for n := range sums {
				if err := put(&refs[n], names[n], at(i).Add(oracleLate), sums[n]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// exposeMetrics returns what writes the scrapes of a service's counters. What no
// rule can know of does not happen:
//
//   - a restart after which counters hardly fall, or pass their old value before
//     they are seen again, or that falls into a gap;
//   - a service that goes between a scrape and the evaluation that would have
//     read it: that scrape, of up to 30 s, is not counted by anybody, because
//     rules read what is there at the minute.
func exposeMetrics(p *past) func(put putFunc, i int) error {
	var counts [2]float64
	var refs [2]storage.SeriesRef
	var names [2]labels.Labels
	for c, code := range []string{"200", "503"} {
		names[c] = labels.FromStrings("__name__", "http_requests_total", "job", p.service(), "code", code)
	}
	if p.plain {
		counts = [2]float64{1e6, 1e5} // it has been counting for long
	}
	there := [2]bool{true, !p.late}
	return func(put putFunc, i int) error {
		if i < p.born {
			return nil
		}
		good, bad := p.events(i)
		if slices.Contains(p.restarts, i) && i > p.born+1 && p.shows(i, counts) {
			counts = [2]float64{}
			if p.late && there[1] && bad == 0 { // the new process has not failed yet
				there[1] = false
				if err := put(&refs[1], names[1], at(i), math.Float64frombits(value.StaleNaN)); err != nil {
					return err
				}
			}
		}
		counts[0] += float64(good)
		counts[1] += float64(bad)
		if i < p.lives()-int(10*time.Minute/oracleScrape) {
			there[1] = there[1] || bad > 0
			return nil
		}
		for c := range counts {
			v := counts[c]
			if c == 1 && !there[1] {
				if bad == 0 {
					continue
				}
				there[1] = true
			}
			if p.missed(i) {
				if !p.stale || i > p.gap[0] {
					continue
				}
				v = math.Float64frombits(value.StaleNaN)
			}
			if err := put(&refs[c], names[c], at(i), v); err != nil {
				return err
			}
		}
		return nil
	}
}

// shows reports whether a restart before a scrape can be told from counters.
func (p *past) shows(i int, counts [2]float64) bool {
	if i >= p.gap[0]-3 && i <= p.gap[1]+3 {
		return false
	}
	var around [2]uint64
	for j := i - 1; j < p.scrapes() && j <= i+1; j++ {
		good, bad := p.events(j)
		around[0] += good
		around[1] += bad
	}
	if p.late { // the counter of errors comes back with the next of them
		around[1] = 0
		for j := i; j < p.scrapes(); j++ {
			_, bad := p.heard(j)
			around[1] = max(around[1], bad)
		}
	}
	for c := range counts {
		if counts[c] > 0 && counts[c] <= 3*float64(around[c]) {
			return false
		}
	}
	return true
}

// exposeCollectors returns what writes an SLO's counters as two collectors send
// them, each of which saw a part of the events. What was not sent in a gap is
// sent after it. Of long ago there is what the edges of windows pass over.
func exposeCollectors(p *past) func(put putFunc, i int) error {
	f := p.flow(false)
	s := f.SLOs()[0]
	base := series.SLO(s)
	var counts [3][2]float64 // by collector: events, errors
	var refs [3][2]storage.SeriesRef
	var names [3][2]labels.Labels
	for c, collector := range []string{"a", "b", "b2"} {
		names[c] = [2]labels.Labels{series.Of(base, series.Events, "instance", collector), series.Of(base, series.Errors, "instance", collector)}
	}
	type sample struct {
		c, n, i int
		v       float64
	}
	var queue []sample
	return func(put putFunc, i int) error {
		if i < p.born {
			return nil
		}
		good, bad := p.events(i)
		second := 1
		if p.replaced > 0 && i >= p.replaced {
			second = 2
		}
		seen := i >= p.lives() || slices.ContainsFunc(s.Objective.Windows(), func(w time.Duration) bool {
			behind := int(w / oracleScrape)
			return i >= p.lives()-behind-20 && i <= p.lives()-behind+livedScrapes
		})
		for side, c := range []int{0, second} {
			g, b := good/2, bad/2
			if side == i%2 {
				g, b = good-g, bad-b
			}
			counts[c][0] += float64(g + b)
			counts[c][1] += float64(b)
			for n := range counts[c] {
				if seen {
					queue = append(queue, sample{c, n, i, counts[c][n]})
				}
			}
		}
		if p.missed(i) {
			return nil
		}
		for _, s := range queue {
			if err := put(&refs[s.c][s.n], names[s.c][s.n], at(s.i), s.v); err != nil {
				return err
			}
		}
		queue = queue[:0]
		return nil
	}
}

// figures are what the oracle has seen.
type figures struct {
	points float64              // the largest difference of budgets
	steps  map[slo.Severity]int // the largest of alerts
	alerts map[string]int       // histories with an alert, by account and severity
	brief  map[slo.Severity]int // alerts of one account that another is too coarse to see
	lost   int                  // budgets that are off by more than oraclePoints, as an event allows
	faults []string             // of one history in all accounts
}

// allowed returns how many points of the budget rules over metrics may be off at
// a scrape.
func (p *past) allowed(i int) float64 {
	events := uint64(0)
	for k := max(0, i+1-int(p.period/oracleScrape)); k <= i; k++ {
		good, bad := p.events(k)
		events += good + bad
	}
	if events == 0 {
		return oraclePoints
	}
	return oraclePoints + 100*float64(len(p.restarts))/(float64(events)*slo.Budget(p.target))
}

// differ notes where an account is not like the one wanted.
func (f *figures) differ(name string, p *past, want, got account) {
	for i := p.lives(); i < p.scrapes(); i++ {
		if !p.asked(i) {
			continue
		}
		w, known := want.budget[i]
		g, said := got.budget[i]
		points, allowed := math.Abs(w-g)*100, oraclePoints
		if name == overMetrics && points > oraclePoints {
			allowed = p.allowed(i)
		}
		switch {
		case known != said:
			f.faults = append(f.faults, fmt.Sprintf("at %s the budget of %s is known: %t, want %t", at(i).Sub(oracleBegan), name, said, known))
		case !(points <= allowed): // which NaN is not
			f.faults = append(f.faults, fmt.Sprintf("at %s the budget of %s is %.3f %%, want %.3f %%", at(i).Sub(oracleBegan), name, g*100, w*100))
		case points > oraclePoints:
			f.lost++
		case known:
			f.points = max(f.points, points)
		}
	}
	for severity, reach := range within {
		for _, way := range []struct {
			says, hears []bool
			fact        string
		}{
			{want.firing[severity], got.firing[severity], "by the ledger but not by " + name},
			{got.firing[severity], want.firing[severity], "by " + name + " but not by the ledger"},
		} {
			for from, until := range alerts(way.says) {
				far, where := 0, 0
				// Nobody knows what is beyond the hours lived.
				for step := max(from, reach); step < min(until, len(way.says)-reach); step++ {
					off := 0
					for off <= reach && !way.hears[step-off] && !way.hears[step+off] {
						off++
					}
					if off > far {
						far, where = off, step
					}
				}
				switch {
				case far <= reach:
					f.steps[severity] = max(f.steps[severity], far)
				case until-from <= reach:
					f.brief[severity]++
				default:
					f.faults = append(f.faults, fmt.Sprintf("a %s of %d min is firing at %s %s", severity, until-from,
						at(p.lives()+where*perMinute).Sub(oracleBegan), way.fact))
				}
			}
		}
	}
}

// alerts returns from and until which step an alert is on, each time it is.
func alerts(on []bool) iter.Seq2[int, int] {
	return func(yield func(from, until int) bool) {
		for from := 0; from < len(on); from++ {
			until := from
			for until < len(on) && on[until] {
				until++
			}
			if until > from && !yield(from, until) {
				return
			}
			from = until
		}
	}
}

// consult runs all accounts of the histories, which are of one period and all
// plain or not.
func consult(t *testing.T, pasts []past, alter func(*rulefmt.Rule)) ([]figures, error) {
	t.Helper()
	var gaps []past
	place := map[int]int{}
	for k := range pasts {
		pasts[k].play()
		if pasts[k].gap[1] > 0 {
			place[k] = len(gaps)
			gaps = append(gaps, pasts[k])
		}
	}
	kept := keep(pasts, (*past).events)
	var heard []account
	if len(gaps) > 0 {
		heard = keep(gaps, (*past).heard)
	}
	out := make([]figures, len(pasts))
	for k := range pasts {
		out[k] = figures{steps: map[slo.Severity]int{}, alerts: map[string]int{}, brief: map[slo.Severity]int{}}
		exact := truth(&pasts[k])
		exact.firing = kept[k].firing
		out[k].differ("the ledger", &pasts[k], exact, kept[k])
		out[k].count("ledger", kept[k])
	}
	for _, way := range []struct {
		name    string
		metrics bool
	}{{"rules over counters", false}, {overMetrics, true}} {
		accounts, err := ruled(t.Context(), t.TempDir(), pasts, way.metrics, alter)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", way.name, err)
		}
		for k := range pasts {
			want := kept[k]
			if n, ok := place[k]; ok {
				want = known(&pasts[k], kept[k], heard[n], way.metrics)
			}
			out[k].differ(way.name, &pasts[k], want, accounts[k])
			out[k].count(way.name, accounts[k])
		}
	}
	return out, nil
}

// known returns what rules can know of a history with a gap. In the gap that is
// what was before it. After it, the budget is exact. Collectors send what they
// counted with its times, so that windows are as if nothing had been; a scrape
// shows only how much there was in the whole gap, which windows then hold as
// if it were new.
func known(p *past, kept, heard account, metrics bool) account {
	out := newAccount()
	for i, v := range kept.budget {
		if !p.missed(i) {
			out.budget[i] = v
		}
	}
	for i, v := range heard.budget {
		if p.missed(i) {
			out.budget[i] = v
		}
	}
	for severity := range kept.firing {
		for step := range out.firing[severity] {
			from := kept
			if metrics || p.missed(p.lives()+step*perMinute) {
				from = heard
			}
			out.firing[severity][step] = from.firing[severity][step]
		}
	}
	return out
}

// count notes whether an account has alerts.
func (f *figures) count(name string, a account) {
	for severity, on := range a.firing {
		if slices.Contains(on, true) {
			f.alerts[fmt.Sprintf("%ss of the %s", severity, name)]++
		}
	}
}

// shrink returns a history with as little as possible in it that has a fault,
// and the fault.
func shrink(t *testing.T, p past, fault string) (past, string) {
	t.Helper()
	for again := true; again; {
		again = false
		var smaller []past
		for i := range p.mishaps {
			q := p
			q.mishaps = slices.Delete(slices.Clone(p.mishaps), i, i+1)
			smaller = append(smaller, q)
		}
		for i := range p.restarts {
			q := p
			q.restarts = slices.Delete(slices.Clone(p.restarts), i, i+1)
			smaller = append(smaller, q)
		}
		for _, simpler := range []func(q *past){
			func(q *past) { q.gap = [2]int{} },
			func(q *past) { q.stale = false },
			func(q *past) { q.replaced = 0 },
			func(q *past) { q.late = false },
			func(q *past) { q.born = 0 },
			func(q *past) { q.traffic = "steady" },
			func(q *past) { q.base = 0 },
		} {
			q := p
			if simpler(&q); q.String() != p.String() {
				smaller = append(smaller, q)
			}
		}
		for _, q := range smaller {
			if seen, err := consult(t, []past{q}, nil); err == nil && len(seen[0].faults) > 0 {
				p, fault, again = q, seen[0].faults[0], true
				break
			}
		}
	}
	return p, fault
}

func (p past) String() string {
	return fmt.Sprintf("history %d: %s over %s, about %.3g events a scrape (%s), usually %.3g%% bad, born %s, lived from %s; mishaps %v; "+
		"restarts %v, a collector replaced %d, gap %v (stale %t), late %t, plain %t", p.seed, slo.Percent(p.target), slo.Duration(p.period),
		p.rate, p.traffic, p.base*100, at(p.born).Sub(oracleBegan), at(p.lives()).Sub(oracleBegan), p.mishaps,
		p.restarts, p.replaced, p.gap, p.stale, p.late, p.plain)
}

// interrogate holds the accounts of n histories against each other.
func interrogate(t *testing.T, n, atOnce int) {
	t.Helper()
	const day = 24 * time.Hour
	var batches [][]past
	for k := range n {
		if k%atOnce == 0 {
			batches = append(batches, nil)
		}
		b := len(batches) - 1
		period := []time.Duration{7 * day, day, 28 * day}[b%3]
		batches[b] = append(batches[b], newPast(uint64(k+1), period, b%2 == 1))
	}
	all := make([][]figures, len(batches))
	errs := make([]error, len(batches))
	places := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for b := range batches {
		wg.Go(func() {
			places <- struct{}{}
			all[b], errs[b] = consult(t, batches[b], nil)
			<-places
		})
	}
	wg.Wait()
	points, steps, alerts := 0.0, map[slo.Severity]int{}, map[string]int{}
	brief, with, wrong := map[slo.Severity]int{}, 0, 0
	budgets, lost := 0, 0 // by increase: budgets and histories
	for b := range batches {
		if errs[b] != nil {
			t.Fatal(errs[b])
		}
		for k, f := range all[b] {
			points = max(points, f.points)
			for s, v := range f.steps {
				steps[s] = max(steps[s], v)
			}
			for s, v := range f.brief {
				brief[s] += v
			}
			if len(f.brief) > 0 {
				with++
			}
			if budgets += f.lost; f.lost > 0 {
				lost++
			}
			for name, v := range f.alerts {
				alerts[name] += v
			}
			if len(f.faults) == 0 {
				continue
			}
			if wrong++; wrong <= 3 {
				p, fault := shrink(t, batches[b][k], f.faults[0])
				t.Errorf("%s: %s", p, fault)
			}
		}
	}
	t.Logf("%d histories: budgets differ by up to %.4f points, alerts by up to %d min (pages) and %d min (tickets); %d pages and %d tickets, in %d histories, are too brief for another account; %d budgets, in %d histories, are further off, by an event where counters begin anew at most; with alerts: %v",
		n, points, steps[slo.Page], steps[slo.Ticket], brief[slo.Page], brief[slo.Ticket], with, budgets, lost, alerts)
	if with > max(1, n/100) {
		t.Errorf("%d of %d histories have alerts too brief for another account; want at most one in a hundred", with, n)
	}
	if wrong > 3 {
		t.Errorf("and %d histories more", wrong-3)
	}
	for _, severity := range []slo.Severity{slo.Page, slo.Ticket} {
		if got := alerts[fmt.Sprintf("%ss of the ledger", severity)]; got < n/10 {
			t.Errorf("%d histories have a %s; want at least a tenth of %d, or nothing is shown", got, severity, n)
		}
	}
}

// TestOracle runs 30 histories; TestE2EOracle runs 1,000.
func TestOracle(t *testing.T) {
	n := 30
	if testing.Short() {
		n = 2 // the race detector learns nothing from the others
	}
	interrogate(t, n, 10)
}

// TestOracleNotices spoils the rules of histories that are right without, and
// wants the oracle to tell.
func TestOracleNotices(t *testing.T) {
	const day = 24 * time.Hour
	quiet := past{period: day, target: 0.99, rate: 20, traffic: "steady"}
	lives := quiet.lives()
	outage := quiet
	outage.mishaps = []mishap{{from: lives + 100, length: 60, share: 1, times: 1}}
	slow := quiet
	slow.mishaps = []mishap{{from: lives + 100, length: 130, share: 0.03, times: 1}} // pages after 38 min
	old := quiet
	old.mishaps = []mishap{{from: lives - 2000, length: 60, share: 0.5, times: 1}}
	restarted := quiet
	restarted.base, restarted.restarts = 0.02, []int{lives + 60}
	faultless := quiet
	faultless.born, faultless.late = lives+50, true
	cases := []struct {
		name      string
		past      past
		old, with string // in the text of every rule
	}{
		{"no errors without a counter of errors", faultless, "or vector(0)", ""},
		{"counters of two hours ago for those of one", slow, "offset 1h", "offset 2h"},
		{"minutes of half an hour for those of a whole one", slow, "[59m30s]", "[29m30s]"},
		{"counters that never begin anew", restarted, "== 0", ">= 0"},
		{"a period that is too short", old, "[1d]", "[12h]"},
		{"a page only of many errors", outage, "> 2.5", "> 2500"},
		{"only one of two collectors", outage, "slo_errors_total{", `slo_errors_total{instance="a",`},
		{"a budget 0.2 points off", quiet, "1 - " + series.PeriodBurnRate, "0.998 - " + series.PeriodBurnRate},
	}
	late := []struct {
		name       string
		severity   slo.Severity
		late, kept time.Duration // more than its step
	}{
		{"a page two steps late", slo.Page, 2 * oracleStep, 0},
		{"a page two steps too long", slo.Page, 0, 2 * oracleStep},
		{"a ticket six steps late", slo.Ticket, 6 * oracleStep, 0},
	}
	outage.seed = uint64(len(cases) + 1)
	pasts := []past{outage}
	for i := range cases {
		cases[i].past.seed = uint64(i + 1)
		pasts = append(pasts, cases[i].past)
	}
	right, err := consult(t, pasts, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range right {
		if len(f.faults) > 0 {
			t.Fatalf("%s differs before anything is spoilt: %s", pasts[i], f.faults[0])
		}
	}
	notices := func(t *testing.T, p past, alter func(*rulefmt.Rule)) {
		t.Helper()
		spoilt := false
		seen, err := consult(t, []past{p}, func(r *rulefmt.Rule) {
			was := *r
			alter(r)
			spoilt = spoilt || r.Expr != was.Expr || r.For != was.For || r.KeepFiringFor != was.KeepFiringFor
		})
		if err != nil {
			t.Fatal(err)
		}
		if !spoilt {
			t.Fatal("no rule is spoilt")
		}
		if len(seen[0].faults) == 0 {
			t.Fatalf("goes unnoticed: %+v", seen[0])
		}
		t.Log(seen[0].faults[0])
	}
	for i, tc := range cases {
		if testing.Short() && i > 0 {
			break // the race detector learns nothing from the others
		}
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			notices(t, tc.past, func(r *rulefmt.Rule) { r.Expr = strings.ReplaceAll(r.Expr, tc.old, tc.with) })
		})
	}
	for _, tc := range late {
		if testing.Short() {
			break
		}
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			notices(t, outage, func(r *rulefmt.Rule) {
				if r.Alert != "" && r.Labels[series.Severity] == string(tc.severity) {
					r.For, r.KeepFiringFor = model.Duration(tc.late), model.Duration(tc.kept)
				}
			})
		})
	}
}
