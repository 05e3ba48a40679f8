package rulegen

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
	"github.com/slowburn-slo/slowburn/slo/series"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// sparse is how often rules are evaluated over hours: less than the five
// minutes that a recorded value is looked back for.
const sparse = 4 * time.Minute

// TestsDir is the directory, beside the rules, that their tests are in.
const TestsDir = "tests"

// TestFile is a file of unit tests, as promtool test rules reads it.
type TestFile struct {
	Name string // below TestsDir, slash-separated
	Text []byte
}

// Tests returns unit tests of the rules that Record made of flows with the same
// options, written to f. They hold of every SLO that
//
//   - a total outage after a clean history pages when its tiers' formula says,
//     not before and not later;
//   - a burn between the factors of tickets and pages makes a ticket when the
//     formula says, and no page;
//   - without traffic nothing alerts, and there is no error ratio;
//   - a counter that is reset, or of slowburn's own, which are never reset, a
//     collector that is away for twenty minutes, changes no error ratio;
//   - one bad event at low traffic does not page where more than one is asked
//     for.
//
// The tests are in a directory of their own, because a Prometheus whose
// rule_files end in *.yaml takes all files of a directory for rules. Histories
// are a few hours: longer windows are judged on as much of them as is there.
// Notes are the SLOs and histories that no test is written for, with the reason.
func Tests(f File, flows []slo.Flow, o RecordOptions) (files []TestFile, notes source.Faults, err error) {
	o.Scrape = cmp.Or(o.Scrape, query.DefaultScrape)
	var collector source.Collector
	var quick, slow []history
	for _, s := range slo.All(flows) {
		m, why := newSubject(s, o)
		if why != "" {
			collector.Warn(source.Fault{Pos: s.Objective.Pos, Path: s.ID(), Fact: "no test is written: " + why, Want: "want a test by hand"})
			continue
		}
		for _, h := range []history{
			m.outage(), m.burn(), m.idle(), m.reset(), m.single(),
		} {
			if len(h.expect) > 0 && !m.clear(&h) {
				h.why = "its exclusions leave no time in the first week of 1970, when promtool's tests begin"
			}
			if h.why != "" {
				collector.Warn(source.Fault{
					Pos: s.Objective.Pos, Path: s.ID(), Fact: "no test is written that " + h.name + ": " + h.why, Want: "want a test by hand",
				})
			}
			if h.why != "" || len(h.expect) == 0 {
				continue
			}
			if h.step == fastInterval {
				quick = append(quick, h)
			} else {
				slow = append(slow, h)
			}
		}
	}
	base := strings.TrimSuffix(f.Name, ".yaml")
	for _, set := range []struct {
		name      string
		step      time.Duration
		histories []history
	}{
		{base + "_test.yaml", fastInterval, quick},
		{base + "_slow_test.yaml", sparse, slow},
	} {
		if len(set.histories) == 0 {
			continue
		}
		doc := unitTests{RuleFiles: []string{path.Join("..", f.Name)}, Interval: slo.Duration(set.step), Tests: together(set.histories)}
		for _, g := range f.Groups {
			doc.Order = append(doc.Order, g.Name)
		}
		text, err := encode(doc)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, TestFile{Name: path.Join(TestsDir, set.name), Text: text})
	}
	return files, collector.Warnings(), nil
}

// unitTests is a file of promtool.
type unitTests struct {
	RuleFiles []string   `yaml:"rule_files"`
	Interval  string     `yaml:"evaluation_interval"`
	Order     []string   `yaml:"group_eval_order"`
	Tests     []unitTest `yaml:"tests"`
}

type unitTest struct {
	Name     string        `yaml:"name"`
	Interval string        `yaml:"interval"`
	Series   []inputSeries `yaml:"input_series"`
	Expect   []expectation `yaml:"promql_expr_test"`
}

type inputSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type expectation struct {
	Expr    string   `yaml:"expr"`
	At      string   `yaml:"eval_time"`
	Samples []sample `yaml:"exp_samples"`

	after time.Duration // At, before the history is moved
}

type sample struct {
	Labels string  `yaml:"labels"`
	Value  float64 `yaml:"value"`
}

// together puts histories of the same name into one test, as every test
// evaluates all rules of the file. One SLO's series must not be read by
// another.
func together(histories []history) []unitTest {
	type group struct {
		test    unitTest
		members []*events
	}
	var groups []*group
	for _, h := range histories {
		var g *group
		for _, candidate := range groups {
			if candidate.test.Name == h.name && !h.from.meets(candidate.members) {
				g = candidate
				break
			}
		}
		if g == nil {
			g = &group{test: unitTest{Name: h.name, Interval: slo.Duration(query.Step)}}
			groups = append(groups, g)
		}
		g.members = append(g.members, h.from)
		g.test.Series = append(g.test.Series, h.from.write(h.start, h.phases)...)
		for _, e := range h.expect {
			e.At = slo.Duration(h.start + e.after)
			g.test.Expect = append(g.test.Expect, e)
		}
	}
	out := make([]unitTest, len(groups))
	for i, g := range groups {
		out[i] = g.test
	}
	return out
}

// phase is time in which an SLO's events come evenly.
type phase struct {
	length    time.Duration // of whole minutes
	good, bad float64       // events a minute
	reset     bool          // counters of metrics begin anew
	away      bool          // one of two collectors is not there
}

// history is what happens to an SLO and what its rules are to make of it.
type history struct {
	name   string
	from   *events
	step   time.Duration // how often the rules are evaluated
	start  time.Duration // when it begins
	phases []phase
	expect []expectation
	why    string // it cannot be told
}

func (h history) length() time.Duration {
	var d time.Duration
	for _, p := range h.phases {
		d += p.length
	}
	return d
}

// fires expects that an alert fires at a time since the beginning; silent that
// it has not fired until then.
func (h *history) fires(s slo.SLO, severity slo.Severity, at time.Duration) {
	h.one("count("+firing(s, severity)+")", at)
}

func (h *history) silent(s slo.SLO, severity slo.Severity, at time.Duration) {
	h.none(fmt.Sprintf("count_over_time(%s[%s])", firing(s, severity), slo.Duration(at+query.Step)), at)
}

// one expects that an expression, a count, yields 1; none that it yields nothing.
func (h *history) one(expr string, at time.Duration) {
	h.expect = append(h.expect, expectation{Expr: expr, after: at, Samples: []sample{{Labels: "{}", Value: 1}}})
}

func (h *history) none(expr string, at time.Duration) {
	h.expect = append(h.expect, expectation{Expr: expr, after: at, Samples: []sample{}})
}

func firing(s slo.SLO, severity slo.Severity) string {
	return fmt.Sprintf("ALERTS{alertstate=\"firing\",%s=%q,%s=%q}", series.ID, s.ID(), series.Severity, severity)
}

func ratio(s slo.SLO, window time.Duration) string {
	return fmt.Sprintf("%s{%s=%s}", series.ErrorRatio(window), series.ID, strconv.Quote(s.ID()))
}

// subject is an SLO whose events can be made.
type subject struct {
	slo.SLO
	from *events
	rate float64       // events a minute, so many that evidence is never what an alert waits for
	late time.Duration // how much later than the formula a minute's events are counted
}

// newSubject returns how events of an SLO are made, or why they cannot be.
func newSubject(s slo.SLO, o RecordOptions) (m subject, why string) {
	m = subject{SLO: s, rate: float64(max(1, s.Objective.MinEvents)) / s.Objective.Budget()}
	if s.Objective.Kind != slo.PromQL {
		m.from = collectors(s)
		return m, ""
	}
	m.from, why = metrics(s.Objective.Query, o.Scrape)
	if why != "" {
		return m, why
	}
	if !o.CatchUp {
		// The first increase of a counter that is 0 is not extrapolated.
		m.from.first = 10 * m.rate * m.from.most()
		if o.Scrape >= query.Step {
			m.late = query.Step // neighbouring minutes share a scrape
		}
	}
	return m, ""
}

// slices reports whether the rules judge minutes of what metrics count, so that
// events are minutes.
func (m subject) slices() bool { return m.Objective.Kind == slo.PromQL && m.Objective.Slice > 0 }

func (m subject) tiers(severity slo.Severity) []slo.Tier {
	var out []slo.Tier
	for _, t := range m.Objective.Tiers {
		if t.Severity == severity {
			out = append(out, t)
		}
	}
	return out
}

// detection returns when the first of tiers fires at a burn that begins after a
// clean history: Tier.Detection, where the window is filled, else the same
// share of as much of it as there is. clean is at most longest, and half as long
// again as it takes for that tier to be the first, so that no other hides its
// absence. late is how much later than d the rules may know.
func (m subject) detection(tiers []slo.Tier, burn float64, step, longest time.Duration) (d, clean, late time.Duration, ok bool) {
	first := time.Duration(math.MaxInt64)
	for _, t := range tiers {
		if d, fires := t.Detection(burn); fires {
			first = min(first, d)
		}
	}
	for _, t := range tiers {
		if t.Factor < burn {
			clean = max(clean, time.Duration(1.5*float64(first)*(burn/t.Factor-1)))
		}
	}
	clean = min(ceil(clean, step)+step, longest)
	for _, t := range tiers {
		one, fires := t.Detection(burn)
		if fires && clean+one < t.Long {
			one = time.Duration(float64(clean) / (burn/t.Factor - 1))
		}
		if fires && (!ok || one < d) {
			d, late, ok = one, m.late, true
			if t.Long > fastWindow {
				// Twice from group to group, and sums of five minutes.
				late += 4*step + 5*time.Minute
			}
		}
	}
	if m.slices() {
		d = max(d, time.Duration(max(1, m.Objective.MinEvents))*query.Step)
	}
	return d, clean, late, ok
}

func ceil(d, step time.Duration) time.Duration { return (d + step - 1) / step * step }

// border is how near to an evaluation a detection may be for rounding to decide
// whether it is that one or the next.
const border = time.Millisecond

func (m subject) outage() history {
	h := history{name: "a total outage pages", from: m.from, step: fastInterval}
	if d, clean, late, ok := m.detection(m.tiers(slo.Page), 1/m.Objective.Budget(), h.step, 4*time.Hour); ok {
		m.judge(&h, slo.Page, d, clean, late, 1)
	}
	return h
}

// judge fills a history of a clean time and a burn, whose alert of a severity
// comes d after the burn begins, by late at most.
func (m subject) judge(h *history, severity slo.Severity, d, clean, late time.Duration, share float64) {
	before := clean + (d - border).Truncate(h.step)
	by := clean + ceil(d+border, h.step) + ceil(late, h.step)
	h.phases = []phase{{length: clean, good: m.rate}, {length: by - clean + h.step, good: m.rate * (1 - share), bad: m.rate * share}}
	h.silent(m.SLO, severity, before)
	h.fires(m.SLO, severity, by)
}

func (m subject) burn() history {
	h := history{name: "a slow burn makes a ticket and no page", from: m.from, step: sparse}
	tickets, pages := m.tiers(slo.Ticket), m.tiers(slo.Page)
	if len(tickets) == 0 {
		return h
	}
	if m.slices() {
		h.why = "a few bad minutes of many do not show where not every minute is evaluated"
		return h
	}
	high := 1 / m.Objective.Budget()
	for _, t := range pages {
		high = math.Min(high, t.Factor)
	}
	low := 0.0
	for _, t := range tickets {
		if t.Factor*1.2 < high {
			low = math.Max(low, t.Factor)
		}
	}
	if low == 0 {
		return h // whatever makes a ticket pages
	}
	rate := math.Sqrt(low * high)
	d, clean, late, ok := m.detection(tickets, rate, h.step, 6*time.Hour)
	if !ok {
		return h
	}
	m.judge(&h, slo.Ticket, d, clean, late, rate*m.Objective.Budget())
	if len(pages) > 0 {
		h.silent(m.SLO, slo.Page, h.length())
	}
	return h
}

func (m subject) idle() history {
	h := history{
		name: "no traffic is silent", from: m.from, step: fastInterval,
		phases: []phase{{length: 10 * time.Minute, good: m.rate}, {length: 15 * time.Minute}},
	}
	const short = 5 * time.Minute
	h.one("count("+ratio(m.SLO, short)+" == 0)", 10*time.Minute)
	none := ratio(m.SLO, short)
	if m.slices() {
		none += " != 0" // a minute without events is good
	}
	h.none(none, h.length())
	m.quiet(&h)
	return h
}

// quiet expects no alert in all of a history.
func (m subject) quiet(h *history) {
	for _, severity := range []slo.Severity{slo.Page, slo.Ticket} {
		if len(m.tiers(severity)) > 0 {
			h.silent(m.SLO, severity, h.length())
		}
	}
}

// away is how long a collector is not there: longer than the five minutes that
// its last values are looked back for, twice.
const away = 20 * time.Minute

func (m subject) reset() history {
	burn := 1.0
	for _, t := range m.Objective.Tiers {
		burn = math.Min(burn, t.Factor)
	}
	share := burn / 2 * m.Objective.Budget()
	h := history{name: "a counter reset changes nothing", from: m.from, step: fastInterval}
	if m.Objective.Kind != slo.PromQL {
		h.name = "a collector that is away changes nothing"
	}
	is := func(window time.Duration, want float64, at time.Duration) {
		if m.slices() {
			h.one(fmt.Sprintf("count(%s == 0)", ratio(m.SLO, window)), at)
			return
		}
		h.one(fmt.Sprintf("count(abs(%s / %s - 1) < 0.05)", ratio(m.SLO, window), number(want)), at)
	}
	if m.slices() {
		share = (1 - m.Objective.SliceTarget) / 2 // makes no minute bad
	}
	// Errors begin after the first ten minutes, so that what is counted twice or
	// not at all shows.
	before := phase{length: 10 * time.Minute, good: m.rate}
	gone := phase{length: away, good: m.rate * (1 - share), bad: m.rate * share, away: true}
	back := gone
	back.length, back.reset, back.away = 10*time.Minute, true, false
	h.phases = []phase{before, gone, back}
	for _, at := range []time.Duration{16, 31, 33, 40} {
		is(5*time.Minute, share, at*time.Minute)
	}
	// Of all minutes so far, those with errors.
	is(time.Hour, share*15/25, 25*time.Minute)
	is(time.Hour, share*30/40, 40*time.Minute)
	m.quiet(&h)
	return h
}

func (m subject) single() history {
	h := history{name: "one error at low traffic does not page", from: m.from, step: fastInterval}
	far := m.Objective.Kind == slo.PromQL
	pages := m.tiers(slo.Page)
	for _, t := range pages {
		if t.Long <= fastWindow {
			far = false
		}
	}
	if len(pages) == 0 || m.slices() || m.Objective.MinEvents < 2 {
		return h
	}
	if far {
		h.why = "promtool sums days up five times where groups have intervals of their own"
		return h
	}
	h.phases = []phase{
		{length: 5 * time.Minute, away: true},
		{length: time.Minute, bad: 1, away: true},
		{length: 4 * time.Minute, away: true},
	}
	h.one("count("+ratio(m.SLO, 5*time.Minute)+" > 0.99)", 6*time.Minute)
	h.silent(m.SLO, slo.Page, h.length())
	return h
}

// clear moves a history to where no exclusion that the rules carry meets it.
// ok is false where there is no such time in the first week.
func (m subject) clear(h *history) (ok bool) {
	if m.Objective.Kind != slo.PromQL {
		return true // collectors leave out what is excluded
	}
	epoch := time.Unix(0, 0).UTC()
	for h.start < 7*24*time.Hour {
		var until time.Time
		from, to := epoch.Add(h.start), epoch.Add(h.start+h.length())
		for _, e := range m.Flow.Exclude {
			if e.Every == slo.Monthly || e.Every != slo.Once && e.Zone != nil && e.Zone != time.UTC {
				continue // see excluded
			}
			for i := range e.Between(from, to.Add(1)) {
				if i.End.After(until) {
					until = i.End
				}
			}
		}
		if until.IsZero() {
			return true
		}
		h.start = ceil(until.Sub(epoch), h.step)
	}
	return false
}
