package judge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/judge"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

// noon is when the phases of every scenario begin: a Monday, a multiple of every
// slot.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// span is a duration as scenarios write it: 90s, 36h.
type span time.Duration

func (d *span) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = span(v)
	return err
}

// suite is a data file: what it is about and its scenarios.
type suite struct {
	About string
	Cases []scenario
}

// scenario is a story about one SLO, and what the judge has to say about it.
// Times are since the phases began.
type scenario struct {
	Name string

	Target    float64 // 0: 0.999
	Window    span    // 0: 30 d
	Threshold span    // of a latency objective; 0: it is one of success
	MinEvents int     // 0: the default
	Slice     span    // 0: events count themselves
	Outage    bool
	Spent     []float64
	RunsOut   bool
	Month     bool // the window is the calendar month

	// Before the phases there are History of good events at Rate, in steps of a
	// minute. Rate, in events a second, also holds in the phases that have none.
	History span
	Rate    float64
	Step    span // between readings; 0: 2 s
	Phases  []phase

	// Either Formula: what the tiers say of a steady burn in the one phase; or
	// these. Nil means none, of Spent and the like that it is not looked at.
	Formula                           bool
	Pages, Tickets                    []expected
	Missing, Learning, SpentAt, OutAt []expected
	Messages                          int // at most, in any 2 h; 0: any number
	TooLittle                         bool
	RestartEach                       span // runs once for each such time, and kills it there
}

// phase is a stretch of time in which all is the same.
type phase struct {
	For  span
	Rate *float64 // events a second
	Bad  float64  // share of bad events
	Burn float64  // the same as a burn rate
	One  string   // bad: exactly one bad event, the first; good: as well

	Gap     bool   // no events arrive
	Exclude bool   // events do not count
	Down    bool   // slowburn does not run
	Restart string // clean or kill, at the start

	Repeat int // so often …
	Phases []phase
}

// expected is an interval with the time it may take longer to begin and end.
type expected struct {
	From, Within  span
	To, EndWithin span // To 0: it has not ended
	Share         float64
	Tier          float64 // factor of the tier that fires; 0: any
	Outage        bool
	Ended         string
}

type interval struct {
	from, to time.Duration // to < 0: it goes on
	tier     float64
	outage   bool
	ended    string
	share    float64
}

func (i interval) String() string {
	s := fmt.Sprintf("%v–", i.from)
	if i.to >= 0 {
		s += i.to.String()
	}
	if i.tier > 0 {
		s += fmt.Sprintf(" (%.4g×)", i.tier)
	}
	if i.outage {
		s += " (outage)"
	}
	if i.share > 0 {
		s += fmt.Sprintf(" (%g spent)", i.share)
	}
	return s
}

func (e expected) String() string {
	s := fmt.Sprintf("%v", time.Duration(e.From))
	if e.Within > 0 {
		s += fmt.Sprintf("+%v", time.Duration(e.Within))
	}
	s += "–"
	if e.To > 0 {
		s += fmt.Sprintf("%v+%v", time.Duration(e.To), time.Duration(e.EndWithin))
	}
	if e.Tier > 0 {
		s += fmt.Sprintf(" (%.4g×)", e.Tier)
	}
	return s
}

func (c *scenario) slo() slo.SLO {
	o := slo.Objective{
		Name: "availability", Target: c.Target, Window: time.Duration(c.Window), MinEvents: c.MinEvents,
		Threshold: time.Duration(c.Threshold), Slice: time.Duration(c.Slice), SliceTarget: 0.99,
		Outage: c.Outage, Spent: c.Spent, RunsOut: c.RunsOut,
	}
	if o.Threshold > 0 {
		o.Kind = slo.FasterThan
	}
	if o.Target == 0 {
		o.Target = 0.999
	}
	if o.Window == 0 {
		o.Window = slo.DefaultWindow
	}
	if c.Month {
		o.Calendar.Unit, o.Window = slo.Month, slo.Month.Nominal()
	}
	if o.MinEvents == 0 {
		o.MinEvents = slo.DefaultMinEvents
		if o.Slice > 0 {
			o.MinEvents = 1
		}
	}
	o.Tiers = slo.Tiers(o.Target, o.Window)
	return slo.SLO{Flow: &slo.Flow{Name: "checkout", Service: "shop"}, Objective: o}
}

// stage runs one scenario: a real ledger and a real judge under a simulated
// clock.
type stage struct {
	t       *testing.T
	slo     slo.SLO
	def     ledger.Def
	ledger  *ledger.Ledger
	judge   *judge.Judge
	saved   []byte // JSON
	savedAt time.Time
	now     time.Time
	step    time.Duration

	total, bad float64 // fractions of events that are still to come
	lose       bool    // the next events are lost by a crash

	log      []judged
	messages []time.Duration
	restarts []time.Duration // at which to kill, besides those of phases
}

// judged is a verdict at a time since noon.
type judged struct {
	at time.Duration
	judge.Verdict
}

func newStage(t *testing.T, c *scenario) *stage {
	s := &stage{t: t, slo: c.slo(), step: time.Duration(c.Step), now: noon.Add(-time.Duration(c.History))}
	if s.step == 0 {
		s.step = 2 * time.Second
	}
	o := s.slo.Objective
	s.def = ledger.Def{ID: s.slo.ID(), Windows: o.Windows(), Calendar: o.Calendar, Slice: ledger.Slice{Length: o.Slice, Target: o.SliceTarget}}
	at := time.Duration(0)
	var exclude func(phases []phase)
	exclude = func(phases []phase) {
		for _, p := range phases {
			for range max(1, p.Repeat) {
				if p.Exclude {
					s.def.Exclude = append(s.def.Exclude, slo.Exclusion{From: noon.Add(at), For: time.Duration(p.For)})
				}
				at += time.Duration(p.For)
				exclude(p.Phases)
			}
		}
	}
	exclude(c.Phases)
	s.ledger = ledger.New(s.now)
	s.ledger.Define([]ledger.Def{s.def})
	s.judge = judge.New(s.slo)
	s.read()
	step := s.step
	s.step = 10 * time.Second
	if c.History > span(100*time.Hour) {
		s.step = time.Minute
	}
	rate := c.Rate
	s.play(phase{For: c.History, Rate: &rate}, rate)
	s.step = step
	return s
}

func (s *stage) play(p phase, rate float64) {
	s.t.Helper()
	if p.Repeat > 0 {
		for range p.Repeat {
			for _, q := range p.Phases {
				s.play(q, rate)
			}
		}
		return
	}
	switch p.Restart {
	case "clean":
		s.save()
		s.restart()
	case "kill":
		s.restart()
		s.lose = true
	}
	if p.Rate != nil {
		rate = *p.Rate
	}
	share := p.Bad
	if p.Burn > 0 {
		share = p.Burn * s.slo.Objective.Budget()
	}
	end := s.now.Add(time.Duration(p.For))
	if p.Down {
		s.save()
		s.restart()
		s.now = end.Add(-s.step)
		s.ledger.Advance(s.now)
	}
	for s.now.Before(end) {
		if len(s.restarts) > 0 && s.now.Sub(noon) >= s.restarts[0] {
			s.restarts = s.restarts[1:]
			s.restart()
			s.lose = true
		}
		took := min(s.step, end.Sub(s.now))
		s.now = s.now.Add(took)
		var e ledger.Entry
		if !p.Gap && !p.Down {
			s.total += rate * took.Seconds()
			n := math.Floor(s.total + 1e-9)
			s.total -= n
			s.bad += n * share
			bad := min(n, math.Floor(s.bad+1e-9))
			s.bad -= bad
			e = ledger.Entry{ID: s.def.ID, Good: uint64(n - bad), Bad: uint64(bad)}
		}
		switch p.One {
		case "bad":
			e, p.One = ledger.Entry{ID: s.def.ID, Bad: 1}, ""
		case "good":
			e, p.One = ledger.Entry{ID: s.def.ID, Good: 1}, ""
		}
		if s.lose {
			e, s.lose = ledger.Entry{ID: s.def.ID}, false
		}
		s.ledger.Add(s.now, []ledger.Entry{e})
		s.read()
	}
}

// read takes a reading and keeps the verdict, and what the collector would keep.
func (s *stage) read() {
	state, ok := s.ledger.State(s.def.ID)
	if !ok {
		s.t.Fatalf("the ledger lost %s", s.def.ID)
	}
	v := s.judge.Step(s.now, state, s.ledger.Open(s.def.ID))
	if v.Changed || s.now.Sub(s.savedAt) >= 5*time.Minute {
		s.save()
	}
	at := s.now.Sub(noon)
	if n := len(s.log); n > 0 {
		if last := &s.log[n-1]; last.Page.Firing != v.Page.Firing || last.Ticket.Firing != v.Ticket.Firing {
			s.messages = append(s.messages, at)
		}
	}
	s.log = append(s.log, judged{at, v})
}

func (s *stage) save() {
	b, err := json.Marshal(s.judge.Save())
	if err != nil {
		s.t.Fatal(err)
	}
	s.saved, s.savedAt = b, s.now
}

// restart goes on with what is on disk.
func (s *stage) restart() {
	l, err := ledger.Restore(s.ledger.Snapshot(nil))
	if err != nil {
		s.t.Fatal(err)
	}
	var saved judge.Saved
	if err := json.Unmarshal(s.saved, &saved); err != nil {
		s.t.Fatal(err)
	}
	l.Define([]ledger.Def{s.def})
	s.ledger, s.judge = l, judge.New(s.slo)
	s.judge.Restore(saved, s.ledger.Now())
}

// intervals returns when something held.
func (s *stage) intervals(of func(judge.Verdict) (interval, bool)) (out []interval) {
	open := false
	for _, j := range s.log {
		i, holds := of(j.Verdict)
		switch {
		case holds && !open, holds && out[len(out)-1].share != i.share:
			if open {
				out[len(out)-1].to = j.at
			}
			i.from, i.to = j.at, -1
			out = append(out, i)
		case !holds && open:
			out[len(out)-1].to, out[len(out)-1].ended = j.at, i.ended
		}
		open = holds
	}
	return out
}

func alertOf(a judge.Alert) (interval, bool) {
	i := interval{outage: a.Outage, tier: a.Tier.Factor}
	if a.Ended != judge.NotEnded {
		i.ended = a.Ended.String()
	}
	return i, a.Firing
}

var observers = []struct {
	name string
	of   func(judge.Verdict) (interval, bool)
	want func(*scenario) []expected
}{
	{"page", func(v judge.Verdict) (interval, bool) { return alertOf(v.Page) }, func(c *scenario) []expected { return c.Pages }},
	{"ticket", func(v judge.Verdict) (interval, bool) { return alertOf(v.Ticket) }, func(c *scenario) []expected { return c.Tickets }},
	{"data missing", func(v judge.Verdict) (interval, bool) { return interval{}, !v.DataMissingSince.IsZero() }, func(c *scenario) []expected { return c.Missing }},
	{"learning", func(v judge.Verdict) (interval, bool) { return interval{}, v.Learning }, func(c *scenario) []expected { return c.Learning }},
	{"spent", func(v judge.Verdict) (interval, bool) { return interval{share: v.Spent}, v.Spent > 0 }, func(c *scenario) []expected { return c.SpentAt }},
	{"runs out", func(v judge.Verdict) (interval, bool) { return interval{}, v.RunsOut }, func(c *scenario) []expected { return c.OutAt }},
}

// check compares what happened with what was expected and returns a line of both.
func (s *stage) check(c *scenario) {
	t := s.t
	t.Helper()
	for _, o := range observers {
		got, want := s.intervals(o.of), o.want(c)
		if o.name == "learning" && want == nil {
			continue
		}
		if len(want)+len(got) > 0 {
			t.Logf("%-12s want %v, got %v", o.name, want, got)
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %d intervals %v, want %d: %v", o.name, len(got), got, len(want), want)
			continue
		}
		for i, w := range want {
			g := got[i]
			if g.from < time.Duration(w.From) || g.from > time.Duration(w.From+w.Within) {
				t.Errorf("%s: got it from %v, want %v", o.name, g, w)
			}
			if w.To == 0 && g.to >= 0 || w.To > 0 && (g.to < time.Duration(w.To) || g.to > time.Duration(w.To+w.EndWithin)) {
				t.Errorf("%s: got it until %v, want %v", o.name, g, w)
			}
			if w.Tier > 0 && math.Abs(g.tier-w.Tier) > 1e-6 || w.Outage != g.outage || w.Share != g.share {
				t.Errorf("%s: got %+v, want %+v", o.name, g, w)
			}
			if w.Ended != "" && g.ended != w.Ended {
				t.Errorf("%s: it ended as %q, want %q", o.name, g.ended, w.Ended)
			}
		}
	}
	most := 0
	for i := range s.messages {
		n := 1
		for n+i < len(s.messages) && s.messages[i+n]-s.messages[i] < 2*time.Hour {
			n++
		}
		most = max(most, n)
	}
	if len(s.messages) > 0 {
		t.Logf("messages     at most %d in 2 h, %d in all", most, len(s.messages))
	}
	if c.Messages > 0 && most > c.Messages {
		t.Errorf("got %d messages in 2 h at %v, want at most %d", most, s.messages, c.Messages)
	}
	if got := slices.ContainsFunc(s.log, func(j judged) bool { return j.TooLittle }); c.TooLittle && !got {
		t.Error("it never said that there is too little to judge by")
	}
}

// formula sets what the tiers say of the scenario's one burn: each severity at
// the first of its tiers' detection times, and no ticket once it pages.
func (c *scenario) formula() {
	o, p := c.slo().Objective, c.Phases[0]
	burn := p.Burn
	first := func(severity slo.Severity) (out []expected) {
		for _, t := range o.Tiers {
			d, ok := t.Detection(burn)
			if !ok || t.Severity != severity || d >= time.Duration(p.For) {
				continue
			}
			if len(out) == 0 || span(d) < out[0].From {
				out = []expected{{From: span(d), Within: span(within), Tier: t.Factor}}
				if severity == slo.Ticket { // both of the tickets detect at once
					out[0].Tier = 0
				}
			}
		}
		return out
	}
	c.Pages, c.Tickets = first(slo.Page), first(slo.Ticket)
	if len(c.Pages) > 0 && len(c.Tickets) > 0 && c.Tickets[0].From > c.Pages[0].From {
		c.Tickets = nil
	}
}

// within is what the flush, two evaluations and the wait for a group may add to
// the formula.
const within = 50 * time.Second

func (c *scenario) run(t *testing.T, restarts []time.Duration) {
	if c.Formula {
		c.formula()
	}
	s := newStage(t, c)
	s.restarts = restarts
	for _, p := range c.Phases {
		s.play(p, c.Rate)
	}
	s.check(c)
}

// TestScenarios plays the stories of testdata: what happens is data, and so is
// what has to be said of it.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(errors.Join(err, errors.New("no scenarios in testdata")))
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var data suite
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&data); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			for _, c := range data.Cases {
				t.Run(c.Name, func(t *testing.T) {
					t.Parallel()
					if c.RestartEach == 0 {
						c.run(t, nil)
						return
					}
					var length span
					for _, p := range c.Phases {
						length += p.For
					}
					for at := span(0); at < length; at += c.RestartEach {
						t.Run(fmt.Sprint(time.Duration(at)), func(t *testing.T) { c.run(t, []time.Duration{time.Duration(at)}) })
					}
				})
			}
		})
	}
}
