package slack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// fired is well before any test runs, so that what ended after it has ended.
var fired = time.Date(2024, 1, 15, 14, 3, 0, 0, time.UTC)

func checkout(severity slo.Severity, resolved time.Time) *alert.Alert {
	end := time.Now().Add(time.Hour)
	if !resolved.IsZero() {
		end = resolved
	}
	return &alert.Alert{Alert: model.Alert{
		Labels: model.LabelSet{
			model.AlertNameLabel: model.LabelValue(series.Alert(severity)),
			series.ID:            "shop-checkout-availability",
			series.SLOServ:       "shop",
			series.SLOName:       "checkout-availability",
			series.SLOFlow:       "checkout",
			series.Severity:      model.LabelValue(severity),
		},
		Annotations: model.LabelSet{
			objective: "99.9% succeed over 30d",
			burnLong:  "22.3",
			limits:    "14.4× over 1h and 5m, or 6× over 6h and 30m",
			owner:     "payments",
			runbook:   "https://wiki.example/checkout?a=1&b=2",
		},
		StartsAt: fired,
		EndsAt:   end,
	}}
}

func availability() slo.Objective {
	return slo.Objective{
		Name: "availability", Target: 0.999, Window: slo.DefaultWindow,
		Tiers: slo.Tiers(0.999, slo.DefaultWindow),
	}
}

func someFacts() Facts {
	return Facts{
		Objective: availability(),
		Burns: map[time.Duration]float64{
			5 * time.Minute: 31, time.Hour: 22.3, 2 * time.Hour: 11.2, 24 * time.Hour: 3.4,
		},
		Since:        fired.Add(-time.Minute),
		Bad:          412,
		Total:        13300,
		BudgetLeft:   0.46,
		BudgetBefore: 0.61,
	}
}

// fullFacts is all there may be to say.
func fullFacts() Facts {
	f := someFacts()
	f.Forecast = fired.Add(10 * time.Hour)
	f.Where = []Culprit{
		{Attribute: "service.version", Value: "1.42.0", Bad: 0.94, Normal: 0.31, Since: fired.Add(-5 * time.Minute)},
		{Attribute: "error.type", Value: "ECONNRESET", WithAttribute: "peer.service", WithValue: "payments", Bad: 0.88, Normal: 0.02},
		{Attribute: "http.response.status_code", Value: "503", Bad: 0.98, Symptom: true},
	}
	id := func(start string) string { return start + strings.Repeat("0", 28) }
	f.Traces = []Trace{
		{ID: id("7f3a"), Duration: 5210 * time.Millisecond, Bad: true},
		{ID: id("91bc"), Duration: 40 * time.Millisecond, Status: "500", Bad: true},
		{ID: id("a04d"), Status: "500", Bad: true},
		{ID: id("ffff"), Status: "500", Bad: true},
		{ID: id("22e1"), Duration: 140 * time.Millisecond, Typical: true},
	}
	f.Hints = []Hint{
		{Text: "version 1.42.0 was deployed", At: fired.Add(-5 * time.Minute)},
		{Text: "the event loop of web-3 lags 840 ms (normally 12 ms)", At: fired},
		{Text: "payments.example fails 61 % of calls"},
	}
	f.Place = "slos.yaml:6"
	return f
}

func testWebhook(t *testing.T, o Options) *Webhook {
	t.Helper()
	if o.URL.Empty() {
		o.URL = NewSecret("https://hooks.slack.invalid/services/T0/B0/canary")
	}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestMessage(t *testing.T) {
	external, err := url.Parse("https://slo.example/burn")
	if err != nil {
		t.Fatal(err)
	}
	slow := slo.Objective{
		Name: "latency-300ms", Kind: slo.FasterThan, Threshold: 300 * time.Millisecond, Target: 0.95,
		Window: slo.DefaultWindow, Tiers: slo.Tiers(0.95, slo.DefaultWindow),
	}
	afterwards := someFacts()
	afterwards.Bad, afterwards.Total = 1204, 101200
	afterwards.Burns = map[time.Duration]float64{5 * time.Minute: 0.2, time.Hour: 15}
	latency := someFacts()
	latency.Objective = slow
	latency.Burns = map[time.Duration]float64{5 * time.Minute: 12, time.Hour: 10.5}
	latency.BudgetLeft, latency.BudgetBefore = -0.2, 0.1

	full := fullFacts()

	bare := checkout(slo.Page, time.Time{})
	bare.Annotations = nil

	var many []*alert.Alert
	for i := range 25 {
		a := checkout(slo.Page, time.Time{})
		if i%3 == 0 {
			a.EndsAt = fired.Add(time.Minute)
		}
		a.Labels[series.SLOFlow] = model.LabelValue(fmt.Sprintf("flow-%02d", i))
		many = append(many, a)
	}
	foreignPage := &alert.Alert{Alert: model.Alert{
		Labels:      model.LabelSet{model.AlertNameLabel: "DiskFull", series.Severity: "page"},
		Annotations: model.LabelSet{summary: "Disk of db-1 is full", description: "3 % left"},
		StartsAt:    fired, EndsAt: time.Now().Add(time.Hour),
	}}

	for _, tc := range []struct {
		name    string
		alerts  []*alert.Alert
		facts   *Facts
		again   bool
		channel string
		noURL   bool
	}{
		{name: "page", alerts: []*alert.Alert{checkout(slo.Page, time.Time{})}, facts: ptr(someFacts()), channel: "#shop"},
		{name: "page-full", alerts: []*alert.Alert{checkout(slo.Page, time.Time{})}, facts: &full},
		{name: "resolved-full", alerts: []*alert.Alert{checkout(slo.Page, fired.Add(38*time.Minute))}, facts: &full},
		{name: "page-again", alerts: []*alert.Alert{checkout(slo.Page, time.Time{})}, facts: ptr(someFacts()), again: true},
		{name: "ticket", alerts: []*alert.Alert{checkout(slo.Ticket, time.Time{})}, facts: ptr(someFacts())},
		{name: "ticket-afterwards", alerts: []*alert.Alert{checkout(slo.Ticket, time.Time{})}, facts: &afterwards},
		{name: "slow", alerts: []*alert.Alert{checkout(slo.Page, time.Time{})}, facts: &latency},
		{name: "resolved", alerts: []*alert.Alert{checkout(slo.Page, fired.Add(38*time.Minute))}, facts: &afterwards, channel: "#shop"},
		{name: "resolved-slow", alerts: []*alert.Alert{checkout(slo.Page, fired.Add(100*time.Minute))}, facts: &latency},
		{name: "no-facts", alerts: []*alert.Alert{checkout(slo.Page, time.Time{})}},
		{name: "no-facts-resolved", alerts: []*alert.Alert{checkout(slo.Page, fired.Add(38*time.Minute))}},
		{name: "bare", alerts: []*alert.Alert{bare}, noURL: true},
		{name: "many", alerts: many, facts: ptr(someFacts())},
		{name: "foreign", alerts: []*alert.Alert{foreignPage}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(fired.Add(2 * time.Hour)))
				o := Options{ExternalURL: external, TraceURL: "https://traces.example/explore?trace={trace_id}&org=1"}
				if tc.noURL {
					o.ExternalURL = nil
				}
				if tc.facts != nil {
					o.Facts = func(id string, firedAt time.Time) (Facts, bool) {
						if id != "shop-checkout-availability" || !firedAt.Equal(fired) {
							t.Errorf("Facts(%q, %v), want the alert's SLO and start", id, firedAt)
						}
						return *tc.facts, true
					}
				}
				c := testWebhook(t, o).Channel(tc.channel).(*channel)
				body, err := c.message(tc.alerts, tc.again)
				if err != nil {
					t.Fatal(err)
				}
				var pretty bytes.Buffer
				if err := json.Indent(&pretty, body, "", "  "); err != nil {
					t.Fatal(err)
				}
				golden(t, tc.name, readable(pretty.Bytes()))
				fits(t, body)
				inert(t, body)
			})
		})
	}
}

// readable writes JSON's escapes of what HTML knows as what they stand for.
func readable(payload []byte) []byte {
	return []byte(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(payload)))
}

// TestKinds are the messages of objectives that count no single requests, or go
// by the calendar.
func TestKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(10 * 24 * time.Hour) // it is 11 January
		now := time.Now()
		window := slo.DefaultWindow
		tiers := func(target float64) []slo.Tier { return slo.Tiers(target, window) }
		zurich, err := time.LoadLocation("Europe/Zurich")
		if err != nil {
			t.Fatal(err)
		}
		monthly := availability()
		monthly.Calendar = slo.Calendar{Unit: slo.Month, Zone: zurich}
		query := slo.Query{Bad: "a", Total: "b"}
		for _, tc := range []struct {
			name       string
			o          slo.Objective
			bad, total uint64
			left       float64
			excluded   string
		}{
			{name: "month", o: monthly, bad: 412, total: 13300, left: 0.46},
			{name: "month-spent", o: monthly, bad: 412, total: 13300, left: -0.2},
			{name: "minutes", o: slo.Objective{Slice: time.Minute, SliceTarget: 0.95, Target: 0.995, Window: window, Tiers: tiers(0.995)}, bad: 3, total: 4, left: 0.9},
			{name: "one-minute", o: slo.Objective{Slice: time.Minute, SliceTarget: 0.95, Target: 0.995, Window: window, Tiers: tiers(0.995)}, bad: 1, total: 1, left: 0.98},
			{
				name: "slow-slices", bad: 3, total: 4, left: 0.9,
				o: slo.Objective{Kind: slo.FasterThan, Threshold: 300 * time.Millisecond, Slice: 5 * time.Minute, SliceTarget: 0.95, Target: 0.99, Window: window, Tiers: tiers(0.99)},
			},
			{name: "fresh", o: slo.Objective{Kind: slo.Fresh, Slice: time.Minute, Threshold: 26 * time.Hour, Target: 0.99, Window: window, Tiers: tiers(0.99)}, bad: 9, total: 9, left: 0.9},
			{name: "promql", o: slo.Objective{Kind: slo.PromQL, Query: query, Target: 0.999, Window: window, Tiers: tiers(0.999)}, bad: 412, total: 13300, left: 0.46},
			{name: "ratio", o: slo.Objective{Kind: slo.PromQL, Query: slo.Query{Ratio: "a"}, Target: 0.999, Window: window, Tiers: tiers(0.999)}, bad: 412, total: 13300, left: 0.46},
			{name: "excluded", o: availability(), bad: 412, total: 13300, left: 0.46, excluded: "database <upgrade>"},
		} {
			var out strings.Builder
			facts := Facts{
				Objective: tc.o, Since: now.Add(-10 * time.Minute), Bad: tc.bad, Total: tc.total,
				Burns:      map[time.Duration]float64{5 * time.Minute: 31, time.Hour: 22.3},
				BudgetLeft: tc.left, BudgetBefore: tc.left + 0.05,
			}
			if tc.excluded != "" {
				facts.Excluded, facts.ExcludedUntil = tc.excluded, now.Add(2*time.Hour)
			}
			w := testWebhook(t, Options{Facts: func(string, time.Time) (Facts, bool) { return facts, true }})
			for _, again := range []bool{false, true} {
				a := checkout(slo.Page, time.Time{})
				a.StartsAt, a.EndsAt = now.Add(-9*time.Minute), now.Add(time.Hour)
				if again {
					a.EndsAt = now.Add(-time.Minute)
				}
				story := w.voice.story(a, false)
				fmt.Fprintln(&out, story.headline)
				for _, line := range written(append(story.lines, story.reasons...)) {
					fmt.Fprintln(&out, "  "+line)
				}
			}
			golden(t, "kind-"+tc.name, []byte(out.String()))
		}
	})
}

// TestKindsWithoutFacts: what is wrong is also known from the sentence that the
// alert carries.
func TestKindsWithoutFacts(t *testing.T) {
	for sentence, want := range map[string]string{
		"99.9% succeed over 30d":                        "🔴 Checkout is failing",
		"95% under 300ms over 30d":                      "🔴 Checkout is slow",
		"99% fresh every 26h per month (Europe/Zurich)": "🔴 Checkout is stale",
		"99% of minutes with 95% under 1s over 30d":     "🔴 Checkout is slow",
		"99% good over 30d":                             "🔴 Checkout is failing",
	} {
		a := checkout(slo.Page, time.Time{})
		a.Annotations[objective] = model.LabelValue(sentence)
		if got := testWebhook(t, Options{}).voice.story(a, false).headline; got != want {
			t.Errorf("headline of %q = %q, want %q", sentence, got, want)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// TestHostileText holds what senders and configurations name to plain text
// within Slack's limits: no mention, no link, no bold, no endless message.
func TestHostileText(t *testing.T) {
	hostile := "<!channel> <https://x|y> <@U123> & *bold* :fire: \u202eevil " + strings.Repeat("<&", 5000) + "\n\u2028"
	facts := someFacts()
	facts.Excluded, facts.ExcludedUntil, facts.Place = hostile, time.Now().Add(time.Hour), hostile
	for range 30 {
		pair := Culprit{Attribute: hostile, Value: hostile, WithAttribute: hostile, WithValue: hostile, Bad: 0.9, Normal: 0.1, Since: fired}
		facts.Where = append(facts.Where, pair, Culprit{Attribute: hostile, Value: hostile, Bad: 0.9, Symptom: true})
		facts.Traces = append(facts.Traces, Trace{ID: hostile, Bad: true, Status: hostile}, Trace{ID: "../" + hostile, Typical: true})
		facts.Hints = append(facts.Hints, Hint{Text: hostile, At: fired})
	}
	alerts := make([]*alert.Alert, 500)
	for i := range alerts {
		a := checkout(slo.Page, time.Time{})
		for k := range a.Labels {
			if k != series.Severity {
				a.Labels[k] = model.LabelValue(hostile)
			}
		}
		a.Annotations = model.LabelSet{}
		for _, k := range []model.LabelName{summary, description, objective, burnLong, burnShort, limit, limits, longWindow, shortWindow, owner} {
			a.Annotations[k] = model.LabelValue(hostile)
		}
		a.Annotations[runbook] = "https://wiki.example/<!channel>|x?a=<!here>|y"
		alerts[i] = a
	}
	alerts[3].Annotations[runbook] = "javascript:alert(1)"
	outsider := &alert.Alert{Alert: model.Alert{
		Labels:      model.LabelSet{model.AlertNameLabel: model.LabelValue(hostile)},
		Annotations: model.LabelSet{summary: model.LabelValue(hostile), description: model.LabelValue(hostile)},
		StartsAt:    fired, EndsAt: time.Now().Add(time.Hour),
	}}
	for _, known := range []bool{false, true} {
		v := voice{
			facts:    func(string, time.Time) (Facts, bool) { return facts, known },
			external: &url.URL{Scheme: "https", Host: "slo.example"}, traceURL: "https://traces.example/{trace_id}",
		}
		for name, group := range map[string][]*alert.Alert{
			"one": alerts[:1], "no runbook": alerts[3:4], "500": alerts, "foreign": {outsider},
		} {
			t.Run(fmt.Sprintf("%s, facts %v", name, known), func(t *testing.T) {
				s := v.tell(group, false)
				for _, m := range []message{s.message(""), s.posting("", "F0")} {
					payload, err := encode(m)
					if err != nil {
						t.Fatal(err)
					}
					fits(t, payload)
					inert(t, payload)
				}
				if !strings.Contains(s.headline, "&lt;!channel&gt; &lt;https://x|y&gt; &lt;@U123&gt; &amp; ∗bold∗ ꞉fire꞉ evil") {
					t.Errorf("headline = %q, want the name in it literally", s.headline)
				}
				if text := s.text(); strings.ContainsAny(text, "\u2028\u202e\x1b") || !strings.Contains(text, "<!channel> <https://x|y>") {
					t.Errorf("text = %q, want the name in it literally and on one line", text)
				}
			})
		}
	}
}

var (
	ours = regexp.MustCompile(`<https://(wiki|slo|traces)\.example/[^<>| ]*\|(Runbook|Dashboard|Silence|Traces|Alerts|[0-9,]+ more|[0-9a-f]{4}…)>|` +
		`<!date\^[0-9]+\^[{}_a-z ]+\|[A-Za-z0-9: ]+>`)
	bold = regexp.MustCompile(`(?m)^\*(Hit|Bad|Budget|Where|Symptoms|Also|Also failing|Also slow|Also burning|Recovered|Traffic|Traces|Excluded|Outage|Evidence|Held|Quiet|Again|Reopened|Learning):\*`)
)

// inert reports markup in a payload that is not ours: what may stand between <
// and > are times and the links of these tests.
func inert(t *testing.T, payload []byte) {
	t.Helper()
	var m any
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatal(err)
	}
	walk(m, func(object map[string]any) {
		if object["type"] != "mrkdwn" {
			return
		}
		if object["verbatim"] != true {
			t.Errorf("%v is not verbatim: Slack would make links of what looks like one", object)
		}
		text := bold.ReplaceAllString(object["text"].(string), "$1:")
		if rest := ours.ReplaceAllString(text, ""); strings.ContainsAny(rest, "<>*`~\u202e\u2028") {
			t.Errorf("active markup in:\n%s", rest)
		}
	})
	var top struct {
		Text        string
		Attachments []struct{ Fallback string }
	}
	if err := json.Unmarshal(payload, &top); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{top.Text, top.Attachments[0].Fallback} {
		if strings.ContainsAny(text, "<>\n\u2028\u202e") {
			t.Errorf("%q has active markup or is more than one line", text)
		}
	}
}

// walk calls visit with every object below v.
func walk(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(v)
		for _, child := range v {
			walk(child, visit)
		}
	case []any:
		for _, child := range v {
			walk(child, visit)
		}
	}
}

// fits holds a payload to the limits that Slack publishes for messages, blocks
// and the objects in them. What it does not know is a fault: so a block of a new
// kind needs its limits here.
func fits(t *testing.T, payload []byte) {
	t.Helper()
	var m struct {
		Text        string
		Blocks      []map[string]any
		Attachments []struct {
			Fallback, Color string
			Blocks          []map[string]any
		}
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatal(err)
	}
	between := func(what string, v any, most int) {
		s, _ := v.(string)
		if n := utf8.RuneCountInString(s); n < 1 || n > most {
			t.Errorf("%s has %d characters, want 1 to %d", what, n, most)
		}
	}
	between("text", m.Text, 4000) // Slack cuts at 40,000 and advises 4,000
	object := func(what string, v any, most int, kinds ...string) {
		o, _ := v.(map[string]any)
		if !slices.Contains(kinds, fmt.Sprint(o["type"])) {
			t.Errorf("%s is of type %v, want one of %v", what, o["type"], kinds)
		}
		between(what, o["text"], most)
	}
	blocks := func(all []map[string]any) {
		if len(all) > 50 {
			t.Errorf("%d blocks, want at most 50", len(all))
		}
		for _, b := range all {
			elements, _ := b["elements"].([]any)
			switch b["type"] {
			case "header":
				object("header", b["text"], 150, "plain_text")
			case "section":
				object("section", b["text"], 3000, "mrkdwn")
				if b["fields"] != nil {
					t.Error("section has fields; want their limits, 10 of 2,000 characters, in this test")
				}
			case "context":
				if n := len(elements); n < 1 || n > 10 {
					t.Errorf("context has %d elements, want 1 to 10", n)
				}
				for _, e := range elements {
					object("context", e, 3000, "mrkdwn")
				}
			case "image":
				between("alt_text", b["alt_text"], 2000)
				if b["image_url"] != nil || b["slack_file"] == nil {
					t.Errorf("image = %v, want a slack_file", b)
				}
			case "actions":
				if n := len(elements); n < 1 || n > 25 {
					t.Errorf("actions has %d elements, want 1 to 25", n)
				}
				seen := map[any]bool{}
				for _, e := range elements {
					b := e.(map[string]any)
					object("button", b["text"], 75, "plain_text")
					between("action_id", b["action_id"], 255)
					between("url", b["url"], 3000)
					if b["value"] != nil {
						between("value", b["value"], 2000)
					}
					if seen[b["action_id"]] {
						t.Errorf("two buttons have the action_id %v", b["action_id"])
					}
					seen[b["action_id"]] = true
				}
			default:
				t.Errorf("block of type %v: its limits are not in this test", b["type"])
			}
		}
	}
	blocks(m.Blocks)
	if len(m.Attachments) != 1 {
		t.Fatalf("%d attachments, want 1", len(m.Attachments))
	}
	between("fallback", m.Attachments[0].Fallback, 4000)
	if !regexp.MustCompile(`^#[0-9a-f]{6}$`).MatchString(m.Attachments[0].Color) {
		t.Errorf("color = %q, want #rrggbb", m.Attachments[0].Color)
	}
	if len(m.Attachments[0].Blocks) == 0 {
		t.Error("the attachment has no blocks: Slack refuses it")
	}
	blocks(m.Attachments[0].Blocks)
}

func TestWords(t *testing.T) {
	for _, tc := range []struct{ name, got, want string }{
		{"whole percent", percent(0.461), "46 %"},
		{"small percent", percent(0.0312), "3.1 %"},
		{"tiny percent", percent(0.00042), "0.04 %"},
		{"almost ten percent", percent(0.0996), "10 %"},
		{"almost one percent", percent(0.00949), "0.95 %"},
		{"nothing", percent(0), "0 %"},
		{"overspent", percent(-0.204), "-20 %"},
		{"overspent many times", percent(-62.43), "-6,243 %"},
		{"a hair overspent", percent(-0.00001), "0 %"},
		{"budget left", remaining(0.46), "46 %"},
		{"budget overspent", remaining(-0.3), "none, overspent by 30 %"},
		{"budget far overspent", remaining(-66.74), "none, spent 68 times over"},
		{"limit", times(14.4), "14.4×"},
		{"fast", times(31.2), "31×"},
		{"very fast", times(1000), "1,000×"},
		{"infinite", times(math.Inf(1)), "1,000,000,000,000,000×"},
		{"slow", times(0.24), "0.2×"},
		{"gone soon", ends(availability(), 0.46, 31, fired), "budget gone in 10 h"},
		{"gone in days", ends(availability(), 0.9, 3, fired), "budget gone in 9 d"},
		{"gone in minutes", ends(availability(), 0.46, 1000, fired), "budget gone in 19 min"},
		{"gone at once", ends(availability(), 0.0001, 1000, fired), "budget gone within a minute"},
		{"lasts", ends(availability(), 0.46, 1, fired), ""},
		{"spent", ends(availability(), -0.1, 0.2, fired), "budget spent"},
		{"markup", datum("*a* *b* `c` snake_case _d_ 2*3 ~x~"), "∗a∗ ∗b∗ ˋcˋ snake_case ˍdˍ 2*3 ∼x∼"},
		{"cut", cut("äöü€", 3), "äö…"},
		{"not cut", cut("äöü€", 4), "äöü€"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.got != tc.want {
				t.Errorf("got %q, want %q", tc.got, tc.want)
			}
		})
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
