package slack

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/alerts/slack/chart"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// scene is one kind of message: what fires, and what is known of it.
type scene struct {
	name   string
	alerts []*alert.Alert
	facts  map[string]Facts // by what they are asked for
	again  bool
}

const (
	availabilityID = "shop-checkout-availability"
	latencyID      = "shop-checkout-latency-300ms"
	checkoutFlow   = "shop/checkout"
)

// alarm is an alert of checkout that fired at began; over is its end, zero while
// it fires.
func alarm(name, id string, severity slo.Severity, began, over time.Time, pairs ...string) *alert.Alert {
	a := checkout(severity, over)
	a.Labels[model.AlertNameLabel], a.StartsAt = model.LabelValue(name), began
	if over.IsZero() {
		a.EndsAt = time.Now().Add(time.Hour)
	}
	if id == "" {
		delete(a.Labels, series.ID)
		delete(a.Labels, series.SLOName)
		a.Annotations = model.LabelSet{}
	} else {
		a.Labels[series.ID], a.Labels[series.SLOName] = model.LabelValue(id), model.LabelValue(strings.TrimPrefix(id, "shop-"))
	}
	if id == latencyID {
		a.Annotations[objective], a.Annotations[burnLong] = "95% under 300ms over 30d", "9"
	}
	for i := 0; i < len(pairs); i += 2 {
		a.Labels[model.LabelName(pairs[i])] = model.LabelValue(pairs[i+1])
	}
	return a
}

// scenes are all kinds of messages about one flow, as of now.
func scenes(now time.Time) []scene {
	began := now.Add(-11 * time.Minute)
	fires := began.Add(time.Minute)
	known := someFacts()
	known.Since, known.Place = began, "slos.yaml:6"
	with := func(change func(*Facts)) map[string]Facts {
		f := known
		change(&f)
		return map[string]Facts{availabilityID: f}
	}
	page := []*alert.Alert{alarm(series.AlertPage, availabilityID, slo.Page, fires, time.Time{})}
	ticket := []*alert.Alert{alarm(series.AlertTick, availabilityID, slo.Ticket, fires, time.Time{})}
	over := now.Add(-time.Minute)

	down := func(bad uint64) func(*Facts) {
		return func(f *Facts) {
			f.Outage = Outage{bad, 40, 12 * time.Second}
			f.Since, f.Bad, f.Total, f.BudgetLeft = now.Add(-12*time.Second), bad, 40, 0.6099
			f.Burns = map[time.Duration]float64{5 * time.Minute: 40, time.Hour: 3.3}
		}
	}
	monthly := func(f *Facts) {
		f.Objective.Calendar = slo.Calendar{Unit: slo.Month}
		f.Burns = map[time.Duration]float64{6 * time.Hour: 1.4, 72 * time.Hour: 2.4}
		f.BudgetLeft, f.BudgetBefore, f.Bad, f.Total = 0.25, 0.25, 0, 0
	}
	rolling := func(f *Facts) {
		f.Burns = map[time.Duration]float64{6 * time.Hour: 1.4, 72 * time.Hour: 2}
		f.BudgetLeft, f.BudgetBefore, f.Bad, f.Total = 0.25, 0.25, 0, 0
	}
	budget := func(name, share string, over time.Time) []*alert.Alert {
		if share == "" {
			return []*alert.Alert{alarm(name, availabilityID, slo.Ticket, fires, over)}
		}
		return []*alert.Alert{alarm(name, availabilityID, slo.Ticket, fires, over, series.Share, share)}
	}
	missing := func(over time.Time) []*alert.Alert {
		return []*alert.Alert{alarm(series.AlertNoTraffic, "", slo.Ticket, fires, over)}
	}
	usual := func(got uint64) map[string]Facts {
		return map[string]Facts{checkoutFlow: {Traffic: Traffic{Since: fires.Add(-15 * time.Minute), Got: got, Usual: 340, In: 15 * time.Minute}}}
	}

	slow := known
	slow.Objective = slo.Objective{
		Name: "latency-300ms", Kind: slo.FasterThan, Threshold: 300 * time.Millisecond, Target: 0.95,
		Window: slo.DefaultWindow, Tiers: slo.Tiers(0.95, slo.DefaultWindow),
	}
	slow.Bad, slow.BudgetLeft, slow.BudgetBefore = 9300, 0.58, 0.6
	slow.Burns = map[time.Duration]float64{5 * time.Minute: 14, time.Hour: 10.5, 2 * time.Hour: 5.2, 24 * time.Hour: 3.1}
	both := map[string]Facts{availabilityID: known, latencyID: slow}
	two := func(severity slo.Severity, first, second time.Time) []*alert.Alert {
		return []*alert.Alert{
			alarm(series.Alert(severity), latencyID, severity, fires.Add(time.Minute), second),
			alarm(series.Alert(severity), availabilityID, severity, fires, first),
		}
	}
	threatened := with(func(f *Facts) { *f = slow; rolling(f) })
	threatened[availabilityID] = known

	many := func(over time.Time) []*alert.Alert {
		var out []*alert.Alert
		for i := range 30 {
			a := alarm(series.AlertPage, availabilityID, slo.Page, fires, over)
			if i%3 == 1 {
				a = alarm(series.AlertPage, latencyID, slo.Page, fires, over)
			}
			a.Labels[series.SLOFlow] = model.LabelValue(fmt.Sprintf("flow-%02d", i))
			out = append(out, a)
		}
		return out
	}

	return []scene{
		{name: "outage", alerts: page, facts: with(down(40))},
		{name: "outage-nearly", alerts: page, again: true, facts: with(down(39))},
		{name: "held", alerts: page, facts: with(func(f *Facts) { f.Held = Held{now.Add(-4 * time.Minute), 5 * time.Minute} })},
		{name: "held-ticket", alerts: ticket, facts: with(func(f *Facts) { f.Held = Held{now.Add(-4 * time.Minute), 5 * time.Minute} })},
		{name: "quiet", alerts: page, facts: with(func(f *Facts) { f.Quiet = Quiet{now.Add(-3 * time.Minute), now.Add(12 * time.Minute)} })},
		{name: "few", alerts: page, facts: with(func(f *Facts) {
			f.Bad, f.Total = 3, 21
			f.Evidence, f.Learning = Evidence{3, 21, 0.9934}, 7*time.Minute
		})},
		{name: "again", alerts: page, facts: with(func(f *Facts) {
			f.Recurrence, f.Reopened = Recurrence{3, time.Hour}, now.Add(-20*time.Minute)
		})},
		{name: "where", alerts: page, facts: with(func(f *Facts) {
			full := fullFacts()
			f.Where, f.Traces, f.Hints = full.Where, full.Traces, full.Hints
			for i := range f.Hints[:2] {
				f.Hints[i].At = began.Add(time.Duration(8*i-4) * time.Minute)
			}
			f.Where[0].Since = began.Add(-4 * time.Minute)
		})},
		{name: "traffic", alerts: missing(time.Time{}), facts: usual(0)},
		{name: "traffic-hardly", alerts: missing(time.Time{}), facts: usual(2)},
		{name: "traffic-resolved", alerts: missing(over), facts: usual(0)},
		{name: "traffic-unknown", alerts: missing(time.Time{})},
		{name: "spent", alerts: budget(series.AlertSpent, "75", time.Time{}), facts: with(monthly)},
		{name: "spent-rolling", alerts: budget(series.AlertSpent, "75", time.Time{}), facts: with(rolling)},
		{name: "spent-all", alerts: append(budget(series.AlertSpent, "75", time.Time{}), budget(series.AlertSpent, "100", time.Time{})...), facts: with(func(f *Facts) {
			rolling(f)
			f.BudgetLeft, f.BudgetBefore = -0.02, -0.02
		})},
		{name: "spent-resolved", alerts: budget(series.AlertSpent, "75", over), facts: with(rolling)},
		{name: "spent-unknown", alerts: budget(series.AlertSpent, "75", time.Time{})},
		{name: "runs-out", alerts: budget(series.AlertRunsOut, "", time.Time{}), facts: with(func(f *Facts) {
			monthly(f)
			f.Forecast = now.Add(100 * time.Hour)
		})},
		{name: "runs-out-rolling", alerts: budget(series.AlertRunsOut, "", time.Time{}), facts: with(rolling)},
		{name: "runs-out-soon", alerts: budget(series.AlertRunsOut, "", time.Time{}), facts: with(func(f *Facts) {
			monthly(f)
			f.Forecast = now.Add(9*time.Hour + time.Minute)
		})},
		{name: "runs-out-resolved", alerts: budget(series.AlertRunsOut, "", over), facts: with(monthly)},
		{name: "runs-out-unknown", alerts: budget(series.AlertRunsOut, "", time.Time{})},
		{name: "several", alerts: two(slo.Page, time.Time{}, time.Time{}), facts: both},
		{name: "several-unknown", alerts: two(slo.Page, time.Time{}, time.Time{})},
		{name: "several-tickets", alerts: append(append(two(slo.Ticket, time.Time{}, time.Time{}), missing(time.Time{})...), budget(series.AlertSpent, "75", time.Time{})...), facts: both},
		{name: "several-one-over", alerts: two(slo.Page, over, time.Time{}), facts: both},
		{name: "several-over", alerts: two(slo.Page, over, over.Add(30*time.Second)), facts: both},
		{name: "several-budgets", alerts: append(two(slo.Ticket, time.Time{}, over)[1:], budget(series.AlertRunsOut, "", time.Time{})...), facts: threatened},
		{name: "storm", alerts: many(time.Time{}), facts: both},
		{name: "storm-over", alerts: many(over), facts: both},
	}
}

func (s scene) voice() *voice {
	return &voice{
		facts:    func(id string, _ time.Time) (Facts, bool) { f, ok := s.facts[id]; return f, ok },
		external: &url.URL{Scheme: "https", Host: "slo.example"}, traceURL: "https://traces.example/{trace_id}",
	}
}

// TestScenes is what people read of each kind of message.
func TestScenes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(fired.Add(11 * time.Minute)))
		for _, s := range scenes(time.Now()) {
			told := s.voice().tell(s.alerts, s.again)
			golden(t, "scene-"+s.name, []byte(told.color+"\n"+told.text()))
			for _, m := range []message{told.message("#shop"), told.posting("#shop", "F0")} {
				payload, err := encode(m)
				if err != nil {
					t.Fatal(err)
				}
				fits(t, payload)
				inert(t, payload)
			}
		}
	})
}

// payloads are what somebody could name a flow, a version or a route, to be more
// than a name in Slack, a browser, a terminal or a template.
var payloads = []string{
	"<!channel>", "<!here>", "<!everyone>", "<!subteam^S123>", "<@U123>", "<@U123|kim>", "<#C123>", "<#C123|general>",
	"<https://evil.example|Dashboard>", "<mailto:x@evil.example|mail>", "<!date^1^{date}|x>", "https://evil.example", "evil.example/x", "@channel", "#general",
	"*bold*", "_italic_", "~struck~", "`code`", "```block```", ":fire:", ":+1::skin-tone-2:", "> quote", "&lt;!channel&gt;", "&amp;lt;",
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "javascript:alert(1)", "'-alert(1)-'", "</div>",
	"line\nbreak", "carriage\rreturn", "nul\x00byte", "\x1b[31mred\x1b[0m", "\u202ereversed", "\u2066isolated\u2069", "line\u2028separator", "\xff\xfe",
	"{{ .ExternalURL }}{{ range . }}", "${HOME} %s %d %!",
	strings.Repeat("<&>", 2000), strings.Repeat("*_~`", 500), "|", "a|b>c", "\\*not\\*",
}

// TestScenesHostile: no kind of message lets a name be more than a name.
func TestScenesHostile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(fired.Add(11 * time.Minute)))
		for _, bad := range payloads {
			for _, s := range scenes(time.Now()) {
				facts := map[string]Facts{}
				for id, f := range s.facts {
					f.Place, f.Excluded, f.ExcludedUntil = bad, bad, time.Now().Add(time.Hour)
					f.Where = []Culprit{{Attribute: bad, Value: bad, WithAttribute: bad, WithValue: bad, Bad: 1}, {Attribute: bad, Value: bad, Bad: 1, Symptom: true}}
					f.Traces = []Trace{{ID: bad, Status: bad, Bad: true}}
					f.Hints = []Hint{{Text: bad}}
					facts[id] = f
				}
				v := s.voice()
				asked := v.facts
				v.facts = func(id string, at time.Time) (Facts, bool) {
					f, ok := facts[id]
					if _, mine := asked(id, at); mine != ok {
						t.Errorf("%s: facts of %q = %v, want %v", s.name, id, ok, mine)
					}
					return f, ok
				}
				s.alerts = slices.Clone(s.alerts)
				for i, a := range s.alerts {
					hostile := *a
					hostile.Labels, hostile.Annotations = a.Labels.Clone(), a.Annotations.Clone()
					for l := range a.Labels {
						switch l {
						case series.Severity, series.ID, model.AlertNameLabel:
						case series.SLOFlow, series.SLOServ:
							if s.facts[checkoutFlow].Traffic.Usual == 0 { // else they are asked for by name
								hostile.Labels[l] = model.LabelValue(bad) + " " + a.Labels[l]
							}
						default:
							hostile.Labels[l] = model.LabelValue(bad)
						}
					}
					for l := range a.Annotations {
						hostile.Annotations[l] = model.LabelValue(bad)
					}
					hostile.Annotations[runbook] = model.LabelValue("https://wiki.example/" + bad)
					s.alerts[i] = &hostile
				}
				told := v.tell(s.alerts, s.again)
				for _, m := range []message{told.message("#shop"), told.posting("#shop", "F0")} {
					payload, err := encode(m)
					if err != nil {
						t.Fatal(err)
					}
					fits(t, payload)
					inert(t, payload)
				}
				if said, _ := told.news(nil); strings.ContainsAny(anyDate.ReplaceAllString(strings.Join(said, ""), ""), "<>*`\u202e\x1b\x00") {
					t.Errorf("%s: the thread says %q, which has active markup", s.name, said)
				}
				if t.Failed() {
					t.Fatalf("%s of %q", s.name, bad)
				}
			}
		}
	})
}

var anyDate = regexp.MustCompile(`<!date\^[0-9]+\^[{}_a-z ]+\|[A-Za-z0-9: ]+>`)

// TestThread is what the thread of an incident says as it goes on: each event
// once, also after a restart.
func TestThread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(fired.Add(11 * time.Minute)))
		began := time.Now().Add(-11 * time.Minute)
		facts := map[string]Facts{}
		f := someFacts()
		f.Since = began
		f.Chart = &chart.Data{Deploys: []chart.Deploy{{At: began.Add(-time.Hour), Name: "1.41.0"}, {At: began.Add(-4 * time.Minute), Name: "1.42.0"}}}
		slow := f
		slow.Objective.Kind, slow.Objective.Threshold, slow.Chart = slo.FasterThan, 300*time.Millisecond, nil
		facts[latencyID] = slow
		facts[availabilityID] = f
		alerts := []*alert.Alert{alarm(series.AlertPage, availabilityID, slo.Page, began, time.Time{})}
		v := scene{facts: facts}.voice()
		_, told := v.tell(alerts, false).news(nil) // which the message itself says
		var log strings.Builder
		step := func(what string, change func()) {
			change()
			facts[availabilityID] = f
			var said []string
			said, told = v.tell(alerts, false).news(told)
			fmt.Fprintf(&log, "── %s\n", what)
			for _, line := range said {
				fmt.Fprintln(&log, plain(line))
			}
			if said, _ = v.tell(alerts, false).news(told); len(said) > 0 {
				t.Errorf("%s: said %q again", what, said)
			}
			time.Sleep(time.Minute)
		}
		step("a little worse", func() { f.Bad = 1200 })
		step("worse", func() { f.Bad = 6000 })
		step("a deploy", func() {
			f.Chart.Deploys = append(f.Chart.Deploys, chart.Deploy{At: time.Now(), Name: "1.42.1"})
		})
		step("another objective", func() {
			alerts = append(alerts, alarm(series.AlertPage, latencyID, slo.Page, time.Now(), time.Time{}))
		})
		step("the budget is spent", func() { f.BudgetLeft = -0.01 })
		step("no data", func() { f.Held = Held{Since: time.Now(), Good: 5 * time.Minute} })
		step("data again", func() { f.Held = Held{} })
		step("quiet", func() { f.Quiet = Quiet{time.Now(), time.Now().Add(15 * time.Minute)} })
		step("the other one is over", func() { alerts[1].EndsAt = time.Now().Add(-time.Second) })
		step("it goes on", func() { f.Quiet, f.Reopened = Quiet{}, time.Now() })
		golden(t, "thread", []byte(log.String()))
	})
}
