package v1

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pb33f/libopenapi"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// t0 is when the tests ask: the data was written four seconds before.
var (
	t0     = time.Date(2026, 11, 23, 14, 14, 4, 0, time.UTC)
	dataAt = t0.Add(-4 * time.Second)
)

// at runs a test at t0, in a bubble of its own.
func at(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(t0))
		test(t)
	})
}

// everyKind has an objective of every kind, and a flow whose requests are excluded.
func everyKind(tb testing.TB) []readtest.Script {
	tb.Helper()
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		tb.Fatal(err)
	}
	with := func(f slo.Flow, objectives ...slo.Objective) slo.Flow {
		f.Objectives = nil
		for _, o := range objectives {
			o.Window, o.Tiers = slo.DefaultWindow, slo.Tiers(o.Target, slo.DefaultWindow)
			f.Objectives = append(f.Objectives, o)
		}
		return f
	}
	orders := with(readtest.FlowOf("depot", "orders", 0.999, 0),
		slo.Objective{Name: "monthly", Target: 0.999, Calendar: slo.Calendar{Unit: slo.Month, Zone: zurich}},
		slo.Objective{Name: "minutes", Kind: slo.FasterThan, Threshold: 300 * time.Millisecond, Slice: time.Minute, SliceTarget: 0.95, Target: 0.995},
	)
	orders.Description = "Orders that reach the depot."
	nightly := with(readtest.FlowOf("depot", "settle-orders", 0.99, 0), slo.Objective{Name: "fresh", Kind: slo.Fresh, Slice: time.Minute, Threshold: 26 * time.Hour, Target: 0.99})
	gateway := with(readtest.FlowOf("gateway", "requests", 0.99, 0),
		slo.Objective{Name: "availability", Kind: slo.PromQL, Target: 0.99, Query: slo.Query{Bad: "bad", Total: "total"}},
		slo.Objective{Name: "ratio", Kind: slo.PromQL, Target: 0.95, Query: slo.Query{Ratio: "ratio"}},
	)
	gateway.Match = nil
	stock := readtest.FlowOf("depot", "stock", 0.995, 0)
	stock.Exclude = []slo.Exclusion{{From: t0.Add(-time.Hour).Truncate(slo.ExclusionStep), For: 3 * time.Hour, Why: "database upgrade"}}

	quick := map[time.Duration]uint64{80 * time.Millisecond: 360, 230 * time.Millisecond: 40, 600 * time.Millisecond: 18}
	return []readtest.Script{
		{Flow: orders, PerFlush: 418, Latencies: quick, SLOs: map[string]map[string]float64{
			"monthly": readtest.Figures(0.999, 0.31, 0.0004, 0.0004),
			"minutes": readtest.Figures(0.995, 0.8, 0.25, 0.02),
		}},
		// Nothing for a day is what this one is about: it is not idle.
		{Flow: nightly, SLOs: map[string]map[string]float64{"fresh": readtest.Figures(0.99, 0.5, 1, 1)}},
		{Flow: gateway, SLOs: map[string]map[string]float64{
			"availability": readtest.Figures(0.99, 0.93, 0.002, 0.002),
			"ratio":        readtest.Figures(0.95, 0.4, 0.03, 0.03),
		}},
		{Flow: stock, PerFlush: 62, Latencies: quick, SLOs: map[string]map[string]float64{"availability": readtest.Figures(0.995, 0.64, 0.2, 0.2)}},
	}
}

// firing are the alerts of the shop.
func firing() []Alert {
	return []Alert{
		{SLO: "shop-search-availability", Severity: slo.Ticket, Since: t0.Add(-50 * time.Minute)},
		{SLO: "shop-checkout-availability", Severity: slo.Page, Since: t0.Add(-11 * time.Minute), Summary: "checkout fails", Silences: []string{"s1"}},
		{SLO: "shop-gone-availability", Severity: slo.Ticket, Since: t0.Add(-time.Hour)},
	}
}

// fixture is an API over a store in which scripts were played.
type fixture struct {
	db  *tsdb.DB
	opt Options
}

func played(tb testing.TB, scripts ...readtest.Script) fixture {
	tb.Helper()
	db, engine := readtest.NewStore(tb)
	readtest.Play(tb, db, dataAt, scripts...)
	return fixture{db, Options{
		Flows:  func() []slo.Flow { return readtest.FlowsOf(scripts) },
		Engine: engine, Queryable: db,
		Alerts: firing, DataAt: func() time.Time { return dataAt },
		Logger: slog.New(slog.DiscardHandler),
	}}
}

func (f fixture) api(tb testing.TB) http.Handler {
	tb.Helper()
	h, err := New(f.opt)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// ask sends a request and returns status and body.
func ask(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, Prefix+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// get decodes the answer to a GET, which is to be 200.
func get[T any](tb testing.TB, h http.Handler, path string) T {
	tb.Helper()
	var out T
	w := ask(h, http.MethodGet, path, "")
	if w.Code != http.StatusOK {
		tb.Fatalf("GET %s = %d %s, want 200", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		tb.Fatalf("GET %s: %v", path, err)
	}
	return out
}

// silenced keeps silences as an Alertmanager would.
type silenced struct {
	list []Silence
	made NewSilence
	err  error
}

func (s *silenced) into(o *Options) {
	o.Silences = func() ([]Silence, error) { return s.list, s.err }
	o.Silence = func(_ context.Context, n NewSilence) (string, error) {
		s.made = n
		s.list = append(s.list, Silence{
			ID: "s2", Service: n.Service, Flow: n.Flow, SLO: n.SLO, By: n.By, Why: n.Why,
			Matchers: `{slowburn_flow="` + n.Flow + `"}`, StartsAt: time.Now(), EndsAt: n.Until,
		})
		return "s2", s.err
	}
	o.Unsilence = func(_ context.Context, id string) error {
		n := len(s.list)
		s.list = slices.DeleteFunc(s.list, func(x Silence) bool { return x.ID == id })
		if len(s.list) == n {
			return ErrNoSilence
		}
		return s.err
	}
}

// golden compares JSON, indented, with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s differs; go test -run '^%s$' -update rewrites it\ngot:\n%s", path, t.Name(), b.Bytes())
	}
}

func TestFlows(t *testing.T) {
	at(t, func(t *testing.T) {
		h := played(t, readtest.Shop()...).api(t)
		w := ask(h, http.MethodGet, "/flows", "")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("GET /flows = %d %v, want 200, JSON that is not stored", w.Code, w.Header())
		}
		golden(t, "flows.json", w.Body.Bytes())
		golden(t, "flow.json", ask(h, http.MethodGet, "/flows/shop/checkout", "").Body.Bytes())
		golden(t, "alerts.json", ask(h, http.MethodGet, "/alerts", "").Body.Bytes())
	})
}

// TestFilters asks for some of the flows.
func TestFilters(t *testing.T) {
	at(t, func(t *testing.T) {
		h := played(t, readtest.Shop()...).api(t)
		for _, tc := range []struct{ query, want string }{
			{"", "checkout search refund browse login report invoice"},
			{"?service=billing", "refund report invoice"},
			{"?service=billing&service=accounts", "refund login report invoice"},
			{"?state=burning&state=idle", "checkout report"},
			{"?service=billing&state=spent", "refund"},
			{"?service=nobody", ""},
		} {
			var names []string
			for _, f := range get[Flows](t, h, "/flows"+tc.query).Flows {
				names = append(names, f.Name)
			}
			if got := strings.Join(names, " "); got != tc.want {
				t.Errorf("GET /flows%s = %s, want %s", tc.query, got, tc.want)
			}
		}
	})
}

// TestKinds holds what is told of each kind of objective.
func TestKinds(t *testing.T) {
	at(t, func(t *testing.T) {
		f := played(t, everyKind(t)...)
		f.opt.Alerts = func() []Alert { return []Alert{{SLO: "depot-settle-orders-fresh", Severity: slo.Page, Since: t0}} }
		got := ""
		for _, f := range get[Flows](t, f.api(t), "/flows").Flows {
			for _, o := range f.Objectives {
				got += fmt.Sprintf("%s %s: %s, %s good, %s× burn, %s left", f.Name, o.State, o.Objective, text(o.GoodRatio), text(o.BurnRate), text(o.BudgetLeftRatio))
				if o.Period != "" {
					got += ", " + o.Period + " to " + o.PeriodEndsAt.Format(time.RFC3339)
				}
				if !o.BudgetEndsAt.IsZero() {
					got += ", gone at " + o.BudgetEndsAt.Format(time.RFC3339)
				}
				got += "\n"
			}
			if x := f.Excluded; x != nil {
				got += "  excluded until " + x.EndsAt.Format(time.RFC3339) + ": " + x.Why + "\n"
			}
		}
		want := `settle-orders burning: 99% fresh every 26h, 0 good, 100× burn, 0.5 left, gone at 2026-11-23T17:50:04Z
orders calm: 99.9% succeed, 0.9996 good, 0.4× burn, 0.31 left, November to 2026-11-30T23:00:00Z
orders spending: 99.5% of minutes with 95% under 300ms, 0.75 good, 50× burn, 0.8 left, gone at 2026-11-24T01:45:16Z
requests calm: 99% good, 0.998 good, 0.2× burn, 0.93 left
requests calm: 95% good, 0.97 good, 0.6× burn, 0.4 left
stock excluded: 99.5% succeed, 0.8 good, 40× burn, 0.64 left
  excluded until 2026-11-23T16:10:00Z: database upgrade
`
		if got != want {
			t.Errorf("got:\n%swant:\n%s", got, want)
		}
	})
}

func text(v *float64) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.6g", *v)
}

// TestJudgedAndWhere: what others find out about a flow is in the answer for it
// alone, and nowhere while nobody looks.
func TestJudgedAndWhere(t *testing.T) {
	at(t, func(t *testing.T) {
		f := played(t, readtest.Shop()...)
		const path = "/flows/shop/checkout"
		bare := get[OneFlow](t, f.api(t), path).Flow
		if bare.Where != nil || bare.Objectives[0].Judged != nil {
			t.Errorf("where %v and judged %v without anybody who knows, want none", bare.Where, bare.Objectives[0].Judged)
		}
		f.opt.Where = func(service, flow string) []Culprit {
			if service != "shop" || flow != "checkout" {
				return nil
			}
			return []Culprit{
				{Values: []read.Value{{Attribute: "service.version", Text: "1.42.0"}, {Attribute: "cloud.region", Text: "eu"}}, Bad: 0.94, Normal: 0.31, BadCount: 387, GoodCount: 12},
				{Values: []read.Value{{Attribute: "http.response.status_code", Text: "503"}}, Symptom: true, Bad: 0.98, BadCount: 403},
			}
		}
		f.opt.Judgement = func(id string) Judgement {
			if id != "shop-checkout-latency" {
				return Judgement{}
			}
			return Judgement{TooLittle: true, Bad: 3, Total: 21, DataMissingSince: t0.Add(-time.Minute)}
		}
		h := f.api(t)
		got := get[OneFlow](t, h, path).Flow
		want := []Where{
			{Values: []Value{{"service.version", "1.42.0"}, {"cloud.region", "eu"}}, BadRatio: 0.94, NormalRatio: 0.31, BadCount: 387, GoodCount: 12},
			{Values: []Value{{"http.response.status_code", "503"}}, Symptom: true, BadRatio: 0.98, BadCount: 403},
		}
		if !reflect.DeepEqual(got.Where, want) {
			t.Errorf("where = %+v, want %+v", got.Where, want)
		}
		if j := got.Objectives[0].Judged; j == nil || *j != (Judged{}) {
			t.Errorf("what nothing keeps from being judged = %+v, want the zero Judged", j)
		}
		if j, want := got.Objectives[1].Judged, (Judged{TooLittle: true, BadCount: 3, EventCount: 21, DataMissingSince: t0.Add(-time.Minute)}); j == nil || *j != want {
			t.Errorf("judged = %+v, want %+v", j, want)
		}
		for _, f := range get[Flows](t, h, "/flows").Flows {
			if f.Where != nil || f.Objectives[0].Judged != nil {
				t.Errorf("the list of flows has where %v and judged %v, want neither", f.Where, f.Objectives[0].Judged)
			}
		}
	})
}

// TestStatesAreThoseJudged: the names of states, worst first, are those that
// flows are judged to be in.
func TestStatesAreThoseJudged(t *testing.T) {
	for i, s := range States {
		if got := read.State(len(States) - 1 - i).String(); got != string(s) {
			t.Errorf("state %d from the worst is judged as %s and told as %s", i, got, s)
		}
	}
	if got := len(States) - 1; got != int(read.Burning) {
		t.Errorf("%d states are told and %d judged", len(States), read.Burning+1)
	}
}

// TestNothing is asked of a slowburn without flows, and of one that has never
// seen a request.
func TestNothing(t *testing.T) {
	at(t, func(t *testing.T) {
		f := played(t)
		f.opt.Alerts, f.opt.DataAt = nil, func() time.Time { return time.Time{} }
		h := f.api(t)
		for path, want := range map[string]string{
			"/flows":             `{"at":"2026-11-23T14:14:04Z","stale":false,"notices":[],"flows":[]}`,
			"/alerts":            `{"at":"2026-11-23T14:14:04Z","firing":[]}`,
			"/alerts?history=7d": `{"at":"2026-11-23T14:14:04Z","firing":[],"history":[]}`,
		} {
			if got := strings.TrimSpace(ask(h, http.MethodGet, path, "").Body.String()); got != want {
				t.Errorf("GET %s = %s, want %s", path, got, want)
			}
		}

		f.opt.Flows = func() []slo.Flow { return []slo.Flow{readtest.FlowOf("shop", "checkout", 0.999, 0)} }
		got := ask(f.api(t), http.MethodGet, "/flows", "").Body.String()
		want := `"flows":[{"service":"shop","flow":"checkout","state":"no_data","objectives":[{"slo":"shop-checkout-availability","name":"availability",` +
			`"objective":"99.9% succeed","kind":"succeed","target_ratio":0.999,"unit":"requests","window_seconds":2592000,"state":"no_data","now_window_seconds":300}]}]`
		if !strings.Contains(got, want) || strings.Contains(got, "data_at") {
			t.Errorf("never seen: got %s, want %s and no data_at", got, want)
		}
		if b := get[Budgets](t, f.api(t), "/flows/shop/checkout/budget"); len(b.Objectives) != 1 || b.Objectives[0].Points == nil || len(b.Objectives[0].Points) != 0 {
			t.Errorf("budget never seen: got %+v, want one objective with an empty list", b)
		}
	})
}

func TestStaleAndNotices(t *testing.T) {
	at(t, func(t *testing.T) {
		f := played(t, readtest.Shop()...)
		f.opt.Notices = func() []string { return []string{"The changed configuration was refused."} }
		h := f.api(t)
		if got := get[Flows](t, h, "/flows"); got.Stale || !slices.Equal(got.Notices, []string{"The changed configuration was refused."}) {
			t.Errorf("after 4 s: stale = %v, notices %q, want fresh and the one given", got.Stale, got.Notices)
		}
		time.Sleep(time.Minute)
		if got := get[Flows](t, h, "/flows"); !got.Stale || !got.DataAt.Equal(dataAt) || got.Flows[0].RequestsPerSecond == nil {
			t.Errorf("after a minute: stale = %v as of %s, want stale, with the figures of %s", got.Stale, got.DataAt, dataAt)
		}
	})
}

func TestBudget(t *testing.T) {
	at(t, func(t *testing.T) {
		checkout := readtest.FlowOf("shop", "checkout", 0.999, 300*time.Millisecond)
		db, engine := readtest.NewStore(t)
		app := db.Appender(t.Context())
		for i, left := range []float64{0.9, 0.8, 0.7, 0.7, -0.1} {
			id := series.SLO(checkout.SLOs()[0])
			if i < 2 { // before the flow was renamed
				id = labels.NewBuilder(id).Set(series.SLOFlow, "buy").Labels()
			}
			if i == 3 {
				continue
			}
			if _, err := app.Append(0, series.Of(id, series.BudgetRemaining), dataAt.Add(time.Duration(i-4)*10*time.Minute).UnixMilli(), left); err != nil {
				t.Fatal(err)
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		h := fixture{db, Options{
			Flows: func() []slo.Flow { return []slo.Flow{checkout} }, Engine: engine, Queryable: db,
			DataAt: func() time.Time { return dataAt },
		}}.api(t)
		got := get[Budgets](t, h, "/flows/shop/checkout/budget?range=40m&step=10m")
		points := ""
		for _, o := range got.Objectives {
			points += o.Name + ":"
			for _, p := range o.Points {
				points += fmt.Sprintf(" %s %g", p.At.Format("15:04"), p.BudgetLeftRatio)
			}
			points += "; "
		}
		if want := "availability: 13:34 0.9 13:44 0.8 13:54 0.7 14:14 -0.1; latency:; "; points != want {
			t.Errorf("got %s, want %s", points, want)
		}
		if span := got.EndsAt.Sub(got.StartsAt); span != 40*time.Minute || got.StepSeconds != 600 || !got.EndsAt.Equal(dataAt) {
			t.Errorf("from %s to %s every %g s, want 40 minutes to %s every 600 s", got.StartsAt, got.EndsAt, got.StepSeconds, dataAt)
		}
		if month := get[Budgets](t, h, "/flows/shop/checkout/budget"); month.EndsAt.Sub(month.StartsAt) != 30*24*time.Hour || month.StepSeconds != 8640 {
			t.Errorf("by default: %s every %g s, want 30 days every 8640 s", month.EndsAt.Sub(month.StartsAt), month.StepSeconds)
		}
	})
}

// TestHistory tells alerts from the samples that the rule manager writes.
func TestHistory(t *testing.T) {
	at(t, func(t *testing.T) {
		f := played(t)
		f.opt.Flows = func() []slo.Flow { return []slo.Flow{readtest.FlowOf("shop", "checkout", 0.999, 0)} }
		const id = "shop-checkout-availability"
		app := f.db.Appender(t.Context())
		// write appends samples every five seconds between two times ago, and the
		// marker of its end unless that is cut off.
		write := func(id string, severity slo.Severity, revision string, began, ended time.Duration, marked bool) {
			l := labels.FromStrings("__name__", "ALERTS", "alertstate", "firing", series.ID, id, series.Severity, string(severity), "revision", revision)
			put := func(ago time.Duration, v float64) {
				if _, err := app.Append(0, l, t0.Add(-ago).UnixMilli(), v); err != nil {
					t.Fatal(err)
				}
			}
			for ago := began; ago >= ended; ago -= 5 * time.Second {
				put(ago, 1)
			}
			if marked {
				put(ended-5*time.Second, math.Float64frombits(value.StaleNaN))
			}
		}
		write(id, slo.Page, "1", 70*time.Minute, 55*time.Minute, true)                   // began before the hour
		write(id, slo.Page, "1", 50*time.Minute, 50*time.Minute-5*time.Second, true)     // shorter than any step
		write(id, slo.Page, "1", 40*time.Minute, 36*time.Minute, false)                  // restart: shorter than the hole
		write(id, slo.Page, "1", 33*time.Minute, 30*time.Minute, false)                  // the same alert still; then killed
		write(id, slo.Page, "2", 10*time.Minute, 5*time.Minute, true)                    // its labels change
		write(id, slo.Page, "3", 5*time.Minute-10*time.Second, 5*time.Second, false)     // and it fires still
		write(id, slo.Ticket, "1", 20*time.Minute, 15*time.Minute, true)                 // another severity
		write("shop-gone-availability", slo.Page, "1", 2*time.Minute, time.Minute, true) // no longer configured
		write("shop-old-availability", slo.Page, "1", 90*time.Minute, 80*time.Minute, true)
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		h := f.api(t)
		got := ""
		for _, x := range get[Alerts](t, h, "/alerts?history=1h").History {
			ago := func(at time.Time, none string) string {
				if at.IsZero() {
					return none
				}
				return fmt.Sprint(t0.Sub(at))
			}
			got += fmt.Sprintf("%s %s: %s to %s\n", x.SLO, x.Severity, ago(x.BeganAt, "earlier"), ago(x.EndedAt, "now"))
			if known := x.Flow == "checkout" && x.Service == "shop" && x.Objective == "99.9% succeed"; known != (x.SLO == id) {
				t.Errorf("%s is of %q %q %q", x.SLO, x.Service, x.Flow, x.Objective)
			}
		}
		want := `shop-gone-availability page: 2m0s to 1m0s
shop-checkout-availability page: 10m0s to now
shop-checkout-availability ticket: 20m0s to 15m0s
shop-checkout-availability page: 40m0s to 30m0s
shop-checkout-availability page: 50m0s to 49m55s
shop-checkout-availability page: earlier to 55m0s
`
		if got != want {
			t.Errorf("got:\n%swant:\n%s", got, want)
		}
	})
}

func TestSilences(t *testing.T) {
	at(t, func(t *testing.T) {
		f := played(t, readtest.Shop()...)
		var s silenced
		s.into(&f.opt)
		h := f.api(t)
		w := ask(h, http.MethodPost, "/silences", `{"service":"shop","flow":"checkout","slo":"shop-checkout-latency","by":" Ada\n","why":"we know,\u0007 we know","for_seconds":3600}`)
		want := NewSilence{"shop", "checkout", "shop-checkout-latency", "Ada", "we know, we know", t0.Add(time.Hour)}
		if w.Code != http.StatusCreated || s.made != want {
			t.Errorf("POST = %d %s, silenced %+v, want 201 and %+v", w.Code, w.Body, s.made, want)
		}
		if list := get[Silences](t, h, "/silences").Silences; len(list) != 1 || list[0].ID != "s2" || !list[0].EndsAt.Equal(want.Until) {
			t.Errorf("silences = %+v, want the one that was made", list)
		}
		w = ask(h, http.MethodDelete, "/silences/s2", "")
		if w.Code != http.StatusNoContent || w.Body.Len() != 0 || len(s.list) != 0 {
			t.Errorf("DELETE = %d %s, %d left, want 204 and none", w.Code, w.Body, len(s.list))
		}
		w = ask(h, http.MethodPost, "/silences", `{"service":"shop","flow":"checkout","by":"Ada","why":"y","ends_at":"2026-11-23T16:00:00+01:00"}`)
		if until := t0.Truncate(time.Hour).Add(time.Hour); w.Code != http.StatusCreated || !s.made.Until.Equal(until) || s.made.SLO != "" {
			t.Errorf("POST = %d %s, silenced %+v, want all of the flow until %s", w.Code, w.Body, s.made, until)
		}
	})
}

// TestAlertsAreSilencedAtOnce: who silences sees it at the next look.
func TestAlertsAreSilencedAtOnce(t *testing.T) {
	at(t, func(t *testing.T) {
		f := played(t, readtest.Shop()...)
		var s silenced
		s.into(&f.opt)
		f.opt.Alerts = func() []Alert {
			a := Alert{SLO: "shop-checkout-availability", Severity: slo.Page, Since: t0}
			for _, x := range s.list {
				a.Silences = append(a.Silences, x.ID)
			}
			return []Alert{a}
		}
		h := f.api(t)
		before := get[Alerts](t, h, "/alerts").Firing[0].SilencedBy
		ask(h, http.MethodPost, "/silences", `{"service":"shop","flow":"checkout","by":"Ada","why":"y","for_seconds":60}`)
		after := get[Alerts](t, h, "/alerts").Firing[0].SilencedBy
		if len(before) != 0 || !slices.Equal(after, []string{"s2"}) {
			t.Errorf("silenced by %q, then %q, want none, then s2", before, after)
		}
	})
}

// TestFaults holds status and words of everything that cannot be done.
func TestFaults(t *testing.T) {
	const shopOf = `"service":"shop","flow":"checkout","by":"Ada","why":"y"`
	for _, tc := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		field, message           string
	}{
		{name: "no path", path: "/flow", status: 404, message: "there is no such path; /api/slowburn/v1/openapi.json lists them all"},
		{name: "no flow", path: "/flows/shop/chekout", status: 404, field: "flow", message: `there is no flow "chekout" of "shop"; it may have been renamed or removed from the configuration`},
		{name: "no budget", path: "/flows/a%2Fb/%1b%5B31m/budget", status: 404, field: "flow", message: `there is no flow "\x1b[31m" of "a/b"; it may have been renamed or removed from the configuration`},
		{name: "state", path: "/flows?state=burnt", status: 400, field: "state", message: `state: "burnt" is not a state; want burning, spending, spent, unknown, calm, excluded, idle, no_data`},
		{name: "parameter", path: "/flows?sevice=shop", status: 400, field: "sevice", message: `"sevice" is not a parameter of this; want service or state`},
		{name: "parameter of none", path: "/silences?all=1", status: 400, field: "all", message: `"all" is not a parameter of this; want none`},
		{name: "query", path: "/flows?%zz", status: 400, message: `invalid URL escape "%zz"`},
		{name: "range", path: "/flows/shop/checkout/budget?range=9y", status: 400, field: "range", message: `range: "9y" is not a duration from 1m to 400d; want one such as 7d`},
		{name: "step", path: "/flows/shop/checkout/budget?step=1s", status: 400, field: "step", message: `step: "1s" is not a duration from 10s to 30d; want one such as 7d`},
		{name: "points", path: "/flows/shop/checkout/budget?range=30d&step=1m", status: 400, field: "step", message: `step: 1m over 30d are 43200 points; want at most 2000, a step of 21m36s or more`},
		{name: "history", path: "/alerts?history=-1d", status: 400, field: "history", message: `history: "-1d" is not a duration from 1m to 30d; want one such as 7d`},
		{name: "method", method: "PUT", path: "/silences", status: 405, message: "PUT is not for this; want GET or HEAD or POST"},
		{name: "form", method: "POST", path: "/silences", body: "flow=checkout", headers: []string{"Content-Type", "text/plain"}, status: 415, message: `Content-Type: "text/plain" is not JSON; want application/json`},
		{name: "no JSON", method: "POST", path: "/silences", body: "{", status: 400, message: "body: unexpected EOF"},
		{name: "two", method: "POST", path: "/silences", body: "{}{}", status: 400, message: "body: there is more after the object; want one"},
		{name: "unknown field", method: "POST", path: "/silences", body: `{"reason":"y"}`, status: 400, message: `body: unknown field "reason"`},
		{name: "type", method: "POST", path: "/silences", body: `{"for_seconds":"1h"}`, status: 400, field: "for_seconds", message: "for_seconds: a string; want a float64"},
		{name: "too long", method: "POST", path: "/silences", body: `{"why":"` + strings.Repeat("y", 1<<17) + `"}`, status: 413, message: "the body is longer than 65536 bytes"},
		{name: "other flow", method: "POST", path: "/silences", body: `{"service":"shop","flow":"refund"}`, status: 422, field: "flow", message: `flow: there is no flow "refund" of "shop"; want one of GET /api/slowburn/v1/flows`},
		{name: "other SLO", method: "POST", path: "/silences", body: `{"service":"shop","flow":"checkout","slo":"shop-search-latency"}`, status: 422, field: "slo", message: `slo: "shop-search-latency" is no objective of this flow; want the slo of one, or none for all`},
		{name: "nobody", method: "POST", path: "/silences", body: `{"service":"shop","flow":"checkout","by":" ","why":"y"}`, status: 422, field: "by", message: "by: 0 characters; want who silences, in 1 to 100"},
		{name: "why", method: "POST", path: "/silences", body: `{"service":"shop","flow":"checkout","by":"Ada","why":"` + strings.Repeat("y", 1001) + `"}`, status: 422, field: "why", message: "why: 1001 characters; want the reason, in 1 to 1000"},
		{name: "no end", method: "POST", path: "/silences", body: `{` + shopOf + `}`, status: 422, field: "ends_at", message: "ends_at: want either this or for_seconds"},
		{name: "two ends", method: "POST", path: "/silences", body: `{` + shopOf + `,"for_seconds":60,"ends_at":"2026-11-24T00:00:00Z"}`, status: 422, field: "ends_at", message: "ends_at: want either this or for_seconds"},
		{name: "negative", method: "POST", path: "/silences", body: `{` + shopOf + `,"for_seconds":-1}`, status: 422, field: "for_seconds", message: "for_seconds: -1 is too short or too long; want at most 2592000, which is 30 days"},
		{name: "for ever", method: "POST", path: "/silences", body: `{` + shopOf + `,"for_seconds":1e300}`, status: 422, field: "for_seconds", message: "for_seconds: 1e+300 is too short or too long; want at most 2592000, which is 30 days"},
		{name: "no time", method: "POST", path: "/silences", body: `{` + shopOf + `,"for_seconds":1e-12}`, status: 422, field: "for_seconds", message: "for_seconds: 2026-11-23T14:14:04Z is over or more than 30 days away; it is 2026-11-23T14:14:04Z now"},
		{name: "over", method: "POST", path: "/silences", body: `{` + shopOf + `,"ends_at":"2026-11-23T14:00:00Z"}`, status: 422, field: "ends_at", message: "ends_at: 2026-11-23T14:00:00Z is over or more than 30 days away; it is 2026-11-23T14:14:04Z now"},
		{name: "no silence", method: "DELETE", path: "/silences/x", status: 404, field: "id", message: `there is no silence "x"; it may have ended long ago`},
		{name: "other site silences", method: "POST", path: "/silences", body: "{}", headers: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, message: "the request comes from a page of another site; that may not change anything here"},
		{name: "other site ends", method: "DELETE", path: "/silences/s1", headers: []string{"Origin", "https://evil.example"}, status: 403, message: "the request comes from a page of another site; that may not change anything here"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at(t, func(t *testing.T) {
				f := played(t)
				f.opt.Flows = func() []slo.Flow { return readtest.FlowsOf(readtest.Shop()) }
				s := silenced{list: []Silence{{ID: "s1"}}}
				s.into(&f.opt)
				method := tc.method
				if method == "" {
					method = http.MethodGet
				}
				w := ask(f.api(t), method, tc.path, tc.body, tc.headers...)
				var got Error
				if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
					t.Fatalf("%v in %q", err, w.Body)
				}
				if w.Code != tc.status || got.Error.Field != tc.field || got.Error.Message != tc.message {
					t.Errorf("%s %s = %d %q: %s\nwant %d %q: %s", method, tc.path, w.Code, got.Error.Field, got.Error.Message, tc.status, tc.field, tc.message)
				}
				if w.Header().Get("Access-Control-Allow-Origin") != "" || w.Header().Get("Cache-Control") != "no-store" && tc.status != 403 && tc.status != 400 {
					t.Errorf("headers %v, want no CORS and no-store", w.Header())
				}
				if len(s.list) != 1 {
					t.Errorf("%d silences after a refusal, want 1", len(s.list))
				}
			})
		})
	}
}

func TestExternalPagesMaySilence(t *testing.T) {
	at(t, func(t *testing.T) {
		f := played(t, readtest.Shop()...)
		f.opt.ExternalURL = "https://slowburn.example/base"
		var s silenced
		s.into(&f.opt)
		w := ask(f.api(t), http.MethodPost, "/silences", `{"service":"shop","flow":"checkout","by":"Ada","why":"y","for_seconds":60}`, "Origin", "https://slowburn.example")
		if w.Code != http.StatusCreated {
			t.Errorf("POST from the pages = %d %s, want 201", w.Code, w.Body)
		}
	})
}

func TestNoSilencing(t *testing.T) {
	at(t, func(t *testing.T) {
		h := played(t).api(t)
		for _, r := range []*httptest.ResponseRecorder{
			ask(h, http.MethodGet, "/silences", ""), ask(h, http.MethodPost, "/silences", "{}"), ask(h, http.MethodDelete, "/silences/x", ""),
		} {
			if r.Code != http.StatusNotImplemented || !strings.Contains(r.Body.String(), "cannot silence") {
				t.Errorf("got %d %s, want 501 and why", r.Code, r.Body)
			}
		}
	})
}

// broken answers no query.
type broken struct{}

func (broken) Querier(int64, int64) (storage.Querier, error) { return nil, errors.New("disk gone") }

func TestStoreFault(t *testing.T) {
	at(t, func(t *testing.T) {
		f := played(t, readtest.Shop()...)
		f.opt.Queryable = broken{}
		h := f.api(t)
		got := get[Flows](t, h, "/flows")
		if len(got.Flows) != 7 || got.Flows[0].State != Burning || got.Flows[2].State != Unknown || len(got.Notices) != 4 ||
			!strings.HasPrefix(got.Notices[0], "Budgets and burn rates cannot be read: ") || !strings.Contains(got.Notices[0], "disk gone") {
			t.Errorf("got %d flows, %v, notices %q; want all seven, what burns, the rest unknown, and four reasons", len(got.Flows), got.Flows, got.Notices)
		}
		for _, path := range []string{"/flows/shop/checkout", "/flows/shop/checkout/budget", "/alerts?history=7d"} {
			if w := ask(h, http.MethodGet, path, ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "disk gone") {
				t.Errorf("GET %s = %d %s, want 503 and why", path, w.Code, w.Body)
			}
		}
	})
}

// counting counts the looks at a store.
type counting struct {
	storage.Queryable
	n atomic.Int64
}

func (c *counting) Querier(from, to int64) (storage.Querier, error) {
	c.n.Add(1)
	return c.Queryable.Querier(from, to)
}

// TestOneReadingServesAll: requests within a second, and those before anything
// new is written, cost the store nothing.
func TestOneReadingServesAll(t *testing.T) {
	at(t, func(t *testing.T) {
		f := played(t, readtest.Shop()...)
		store := &counting{Queryable: f.db}
		written := dataAt
		f.opt.Queryable, f.opt.DataAt = store, func() time.Time { return written }
		h := f.api(t)
		var looks []int64
		for range 3 {
			get[Flows](t, h, "/flows")
			get[Flows](t, h, "/flows?state=burning")
			get[Alerts](t, h, "/alerts")
			looks = append(looks, store.n.Load())
			time.Sleep(2 * time.Second)
			if len(looks) == 2 {
				written = written.Add(10 * time.Second)
			}
		}
		if want := []int64{4, 4, 8}; !slices.Equal(looks, want) {
			t.Errorf("looks at the store: %v, want %v: one for each of four queries, again when there is new data", looks, want)
		}
	})
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("New without anything: no error, want one")
	}
	o := Options{
		Flows: func() []slo.Flow { return nil }, Engine: &promql.Engine{}, Queryable: broken{},
		Silences: func() ([]Silence, error) { return nil, nil },
	}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "go together") {
		t.Errorf("New with a third of silences: %v, want that they go together", err)
	}
}

// document is openapi.json as far as the tests read it.
type document struct {
	Paths map[string]map[string]json.RawMessage `json:"paths"`
}

func TestDocumentIsOpenAPI(t *testing.T) {
	doc, err := libopenapi.NewDocument(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	m, err := doc.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	if m.Model.Version != "3.1.0" || m.Model.Info.Version != "1" {
		t.Errorf("OpenAPI %s of version %s, want 3.1.0 of 1", m.Model.Version, m.Model.Info.Version)
	}
}

// TestEveryRouteIsDescribed, with its parameters, and nothing else is.
func TestEveryRouteIsDescribed(t *testing.T) {
	var doc document
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	described := map[string][]string{}
	for path, methods := range doc.Paths {
		for method, raw := range methods {
			if method == "parameters" {
				continue
			}
			var op struct {
				Parameters []struct{ Name, In string }
			}
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatal(err)
			}
			route := strings.ToUpper(method) + " " + path
			described[route] = []string{}
			for _, p := range op.Parameters {
				if p.In == "query" {
					described[route] = append(described[route], p.Name)
				}
			}
		}
	}
	served := map[string][]string{}
	for _, r := range (&api{}).routes() {
		served[r.method+" "+r.path] = append([]string{}, r.params...)
	}
	if !maps.EqualFunc(described, served, slices.Equal) {
		t.Errorf("described: %v\nserved: %v", described, served)
	}
}

// TestAnswersFitTheirDescription validates answers of every route against the
// schemas, in which nothing may be that is not described, and wants every
// property that is described to be in one of them.
func TestAnswersFitTheirDescription(t *testing.T) {
	raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	schemas := raw.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)
	unseen := map[string]bool{}
	for name, s := range schemas {
		s := s.(map[string]any)
		if properties, ok := s["properties"].(map[string]any); ok {
			s["additionalProperties"] = false
			for p := range properties {
				unseen[name+"."+p] = true
			}
		}
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("openapi.json", raw); err != nil {
		t.Fatal(err)
	}
	// see walks a value beside its schema and takes off the list what it has.
	var see func(name string, schema map[string]any, v any)
	see = func(name string, schema map[string]any, v any) {
		if ref, ok := schema["$ref"].(string); ok {
			name = ref[strings.LastIndex(ref, "/")+1:]
			schema = schemas[name].(map[string]any)
		}
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				see(name, schema["items"].(map[string]any), item)
			}
		case map[string]any:
			for key, item := range v {
				delete(unseen, name+"."+key)
				see("", schema["properties"].(map[string]any)[key].(map[string]any), item)
			}
		}
	}

	at(t, func(t *testing.T) {
		f := played(t, append(readtest.Shop(), everyKind(t)...)...)
		s := silenced{list: []Silence{
			{ID: "s1", Service: "shop", Flow: "checkout", SLO: "shop-checkout-latency", Matchers: "{}", By: "Ada", Why: "y", StartsAt: t0, EndsAt: t0.Add(time.Hour)},
			{ID: "s0", Matchers: `{severity="page"}`, By: "Bob", Why: "z", StartsAt: t0, EndsAt: t0.Add(time.Hour)},
		}}
		s.into(&f.opt)
		f.opt.Where = func(service, flow string) []Culprit {
			return []Culprit{{Values: []read.Value{{Attribute: service, Text: flow}}, Bad: 0.94, Normal: 0.31, BadCount: 387, GoodCount: 12}}
		}
		f.opt.Judgement = func(string) Judgement {
			return Judgement{
				TooLittle: true, Bad: 3, Total: 21, Learning: true, DataMissingSince: t0, TrafficMissingSince: t0, Expected: 840,
				QuietSince: t0, KeptUntil: t0.Add(time.Minute),
			}
		}
		app := f.db.Appender(t.Context())
		for i := range maxPast + 1 {
			id := "shop-checkout-availability"
			if i > 0 {
				id = fmt.Sprint("shop-old-", i)
			}
			l := labels.FromStrings("__name__", "ALERTS", "alertstate", "firing", series.Severity, "page", series.ID, id)
			began := t0.Add(-time.Duration(i+10) * time.Second)
			for ago, v := range []float64{1, math.Float64frombits(value.StaleNaN)} {
				if _, err := app.Append(0, l, began.Add(time.Duration(ago)*5*time.Second).UnixMilli(), v); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		h := f.api(t)
		asked := map[string]bool{}
		for _, tc := range []struct {
			route, path, body string
			status            int
			schema            string
		}{
			{"GET /flows", "/flows", "", 200, "Flows"},
			{"GET /flows", "/flows?state=calm", "", 200, "Flows"},
			{"GET /flows", "/flows?state=hot", "", 400, "Error"},
			{"GET /flows/{service}/{flow}", "/flows/shop/checkout", "", 200, "OneFlow"},
			{"GET /flows/{service}/{flow}", "/flows/depot/orders", "", 200, "OneFlow"},
			{"GET /flows/{service}/{flow}", "/flows/billing/invoice", "", 200, "OneFlow"},
			{"GET /flows/{service}/{flow}/budget", "/flows/shop/checkout/budget?range=1h&step=5m", "", 200, "Budgets"},
			{"GET /alerts", "/alerts?history=30d", "", 200, "Alerts"},
			{"GET /silences", "/silences", "", 200, "Silences"},
			{"POST /silences", "/silences", `{"service":"shop","flow":"checkout","slo":"shop-checkout-latency","by":"Ada","why":"y","for_seconds":60}`, 201, "Silence"},
			{"POST /silences", "/silences", `{"service":"shop","flow":"checkout","by":"Ada","why":"y","ends_at":"2026-11-24T00:00:00Z"}`, 201, "Silence"},
			{"DELETE /silences/{id}", "/silences/s1", "", 204, ""},
			{"GET /openapi.json", "/openapi.json", "", 200, ""},
		} {
			method, _, _ := strings.Cut(tc.route, " ")
			w := ask(h, method, tc.path, tc.body)
			asked[tc.route] = true
			if w.Code != tc.status {
				t.Errorf("%s %s = %d %s, want %d", method, tc.path, w.Code, w.Body, tc.status)
				continue
			}
			check := func(what, name string, text []byte) {
				v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if err := c.MustCompile("openapi.json#/components/schemas/" + name).Validate(v); err != nil {
					t.Errorf("%s does not fit %s: %v", what, name, err)
				}
				see("", map[string]any{"$ref": "/" + name}, v)
			}
			if tc.schema != "" {
				check(method+" "+tc.path, tc.schema, w.Body.Bytes())
			}
			if tc.body != "" {
				check("the body of "+method+" "+tc.path, "NewSilence", []byte(tc.body))
			}
		}
		for _, r := range (&api{}).routes() {
			if !asked[r.method+" "+r.path] {
				t.Errorf("%s %s was not asked", r.method, r.path)
			}
		}
		for p := range unseen {
			t.Errorf("%s is described and in no answer", p)
		}
	})
	states := schemas["State"].(map[string]any)["enum"].([]any)
	if got, want := fmt.Sprint(states), fmt.Sprint(States); got != want {
		t.Errorf("states described: %s, want %s", got, want)
	}
}

// BenchmarkFlows is GET /flows when the store has to be read for it.
func BenchmarkFlows(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			quick := map[time.Duration]uint64{80 * time.Millisecond: 360, 230 * time.Millisecond: 40, 600 * time.Millisecond: 18}
			scripts := make([]readtest.Script, n)
			for i := range scripts {
				scripts[i] = readtest.Script{
					Flow: readtest.FlowOf(fmt.Sprintf("service-%d", i%20), fmt.Sprintf("flow-%d", i), 0.999, 300*time.Millisecond), PerFlush: 418, Latencies: quick,
					Bad: func(ago time.Duration) float64 { return 0.001 * float64((int(ago/time.Minute)+i)%5) },
					SLOs: map[string]map[string]float64{
						"availability": readtest.Figures(0.999, 0.31, 0.0012, 0.0008),
						"latency":      readtest.Figures(0.95, 0.52, 0.059, 0.04),
					},
				}
			}
			f := played(b, scripts...)
			read := dataAt
			f.opt.DataAt = func() time.Time { read = read.Add(-time.Millisecond); return read }
			var size int
			b.ReportAllocs()
			for b.Loop() {
				h := f.api(b)
				w := ask(h, http.MethodGet, "/flows", "")
				if size = w.Body.Len(); w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
			b.ReportMetric(float64(size)/1e3, "KB")
		})
	}
}
