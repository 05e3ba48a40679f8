package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"golang.org/x/net/html"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// silences are kept in memory and mute the alerts of their SLO or flow.
type silences struct {
	mu    sync.Mutex
	list  []Silence
	fault error
}

func (s *silences) silencing() *Silencing {
	return &Silencing{
		List: func() ([]Silence, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return slices.Clone(s.list), s.fault
		},
		Add: func(_ context.Context, x Silence) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			x.ID = fmt.Sprintf("silence-%d", len(s.list)+1)
			s.list = append(s.list, x)
			return s.fault
		},
		End: func(_ context.Context, id string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.list = slices.DeleteFunc(s.list, func(x Silence) bool { return x.ID == id })
			return s.fault
		},
	}
}

// silenceable is the options of an incident whose alerts can be silenced.
func silenceable(tb testing.TB) (Options, *silences) {
	f := incident()
	opt, kept := f.options(tb), &silences{}
	opt.Silences = kept.silencing()
	opt.Alerts = func() []Alert {
		kept.mu.Lock()
		defer kept.mu.Unlock()
		alerts := slices.Clone(f.alerts)
		for i := range alerts {
			for _, x := range kept.list {
				if x.SLO == alerts[i].SLO || x.SLO == "" && strings.HasPrefix(alerts[i].SLO, x.Service+"-"+x.Flow+"-") {
					alerts[i].Silences = append(alerts[i].Silences, x.ID)
				}
			}
		}
		return alerts
	}
	return opt, kept
}

// post sends a form as a browser does that shows a page of the site.
func post(tb testing.TB, h http.Handler, path string, form url.Values, header ...string) (*httptest.ResponseRecorder, *html.Node) {
	tb.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	doc, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		tb.Fatal(err)
	}
	return w, doc
}

// row returns what a person reads of each row of a table's body.
func rows(doc *html.Node, table string) []string {
	var out []string
	for _, n := range all(doc, class(table)) {
		for _, body := range all(n, tag("tbody")) {
			out = append(out, texts(all(body, tag("tr")))...)
		}
	}
	return out
}

func TestAlertsPage(t *testing.T) {
	opt, kept := silenceable(t)
	h := newSite(t, opt)
	w, doc := get(t, h, "/alerts")
	if w.Code != http.StatusOK {
		t.Fatalf("GET /alerts = %d, want 200", w.Code)
	}
	if got, want := only(t, doc, tag("h1")), "1 page and 1 ticket fire"; got != want {
		t.Errorf("headline = %q, want %q", got, want)
	}
	got := rows(doc, "firing")
	for i, want := range []string{
		"page checkout shop 99.9% succeed over 30d 3.1% errors, burning 31× over 5m and 22× over 1h 31× 31% left, gone in 7 h 11 min ",
		"ticket search shop 99.5% succeed over 30d burning 1.8× over 2h and 1.6× over 1d 1.8× 64% left, gone ",
	} {
		if len(got) != 2 || !strings.HasPrefix(got[i], want) || !strings.HasSuffix(got[i], "Silence…") {
			t.Errorf("firing = %q, want line %d to begin with %q", got, i, want)
		}
	}
	if got := text(doc); !strings.Contains(got, "Nothing is silenced.") {
		t.Errorf("page = %q, want that nothing is silenced", got)
	}
	got = rows(doc, "ended") // though no rule manager has written it down
	if len(got) != 2 || !strings.HasPrefix(got[0], "page checkout shop 99.9% succeed over 30d ") || !strings.HasSuffix(got[0], " 11 min so far") {
		t.Errorf("history = %q, want what fires in it", got)
	}

	// Silence the page, by the link beside it.
	link := attr(all(all(doc, class("firing"))[0], class("button"))[0], "href")
	w, doc = get(t, h, link)
	if got := attr(checked(doc, "slo"), "value"); w.Code != http.StatusOK || got != "shop-checkout-availability" {
		t.Fatalf("GET %s = %d with %q chosen, want the objective that burns", link, w.Code, got)
	}
	if strings.Contains(w.Body.String(), "hx-get") || strings.Contains(w.Body.String(), "http-equiv") {
		t.Error("the page refreshes itself while somebody writes in it")
	}
	form := url.Values{
		"service": {"shop"}, "flow": {"checkout"}, "slo": {"shop-checkout-availability"},
		"why": {"database\nupgrade"}, "by": {"Kim"}, "for": {"4h"},
	}
	w, _ = post(t, h, "/alerts/silence", form)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/alerts" {
		t.Fatalf("POST = %d to %q, want 303 to /alerts", w.Code, w.Header().Get("Location"))
	}
	if len(kept.list) != 1 {
		t.Fatalf("silences = %+v, want one", kept.list)
	}
	x := kept.list[0]
	if x.SLO != "shop-checkout-availability" || x.Why != "database upgrade" || x.By != "Kim" || x.Until.Sub(x.From) != 4*time.Hour {
		t.Errorf("silence = %+v, want what the form says, for 4 h", x)
	}
	cookie := w.Result().Cookies()
	if len(cookie) != 1 || !cookie[0].HttpOnly || cookie[0].SameSite != http.SameSiteStrictMode || cookie[0].Value != "Kim" {
		t.Errorf("cookies = %v, want the name, for this site only", cookie)
	}
	r := httptest.NewRequest(http.MethodGet, "/alerts/silence?service=shop&flow=search", nil)
	r.AddCookie(cookie[0])
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if !strings.Contains(w.Body.String(), `value="Kim"`) {
		t.Error("the next form does not know the name")
	}

	// It is seen at once, and quiet alerts come last.
	_, doc = get(t, h, "/alerts")
	if got, want := only(t, doc, tag("h1")), "1 ticket fires"; got != want {
		t.Errorf("headline = %q, want %q", got, want)
	}
	got = rows(doc, "firing")
	if !strings.HasPrefix(got[0], "ticket search") || !strings.Contains(got[1], "silenced until "+words.Clock(x.Until, time.Now())+" by Kim") || strings.HasSuffix(got[1], "Silence…") {
		t.Errorf("firing = %q, want the silenced one last, until when and by whom", got)
	}
	got = rows(doc, "silences")
	if want := "checkout 99.9% succeed over 30d on shop mutes 1 alert database upgrade Kim until " + words.Clock(x.Until, time.Now()); len(got) != 1 || !strings.HasPrefix(got[0], want) {
		t.Errorf("silences = %q, want %q", got, want)
	}

	// And ended again.
	w, _ = post(t, h, "/alerts/unsilence", url.Values{"id": {attr(all(doc, named("id"))[0], "value")}})
	if w.Code != http.StatusSeeOther || len(kept.list) != 0 {
		t.Errorf("POST = %d with %+v left, want 303 and none", w.Code, kept.list)
	}
	if _, doc = get(t, h, "/alerts"); only(t, doc, tag("h1")) != "1 page and 1 ticket fire" {
		t.Errorf("headline = %q after the silence, want it as before", only(t, doc, tag("h1")))
	}
}

// checked returns the chosen button of a group.
func checked(doc *html.Node, name string) *html.Node {
	for _, n := range all(doc, named(name)) {
		for _, a := range n.Attr {
			if a.Key == "checked" {
				return n
			}
		}
	}
	return &html.Node{}
}

// named picks fields of a form.
func named(name string) func(*html.Node) bool {
	return func(n *html.Node) bool { return n.Data == "input" && attr(n, "name") == name }
}

// TestSilenceFaults holds that a fault stands beside its field, and what was
// written is kept.
func TestSilenceFaults(t *testing.T) {
	opt, kept := silenceable(t)
	h := newSite(t, opt)
	now := time.Now()
	for _, tc := range []struct {
		name, field, value string
		status             int
		at, want           string // id of the fault, and what it begins with
	}{
		{"no reason", "why", "  \t ", 422, "why-fault", "Say why"},
		{"a long reason", "why", strings.Repeat("é", 1001), 422, "why-fault", "This has 1,001 characters; want 1,000 at most."},
		{"nobody", "by", "", 422, "by-fault", "Say who you are"},
		{"another objective", "slo", "shop-search-availability", 422, "what-fault", "The flow has no such objective"},
		{"no length", "for", "", 422, "for-fault", "Choose for how long."},
		{"no time", "until", "", 422, "until-fault", "This is not a time"},
		{"nonsense", "until", "soon", 422, "until-fault", "This is not a time"},
		{"the past", "until", now.Add(-time.Hour).Format(inputTime), 422, "until-fault", "This is over already"},
		{"next year", "until", now.AddDate(1, 0, 0).Format(inputTime), 422, "until-fault", "This is more than 30 days away"},
		{"a flow that is gone", "flow", "refunds", 404, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			form := url.Values{
				"service": {"shop"}, "flow": {"checkout"}, "slo": {""}, "why": {`a "reason"`}, "by": {"Kim & Ada"},
				"for": {"until"}, "until": {now.Add(time.Hour).Format(inputTime)},
			}
			form.Set(tc.field, tc.value)
			w, doc := post(t, h, "/alerts/silence", form)
			if w.Code != tc.status {
				t.Fatalf("POST = %d, want %d", w.Code, tc.status)
			}
			if len(kept.list) != 0 {
				t.Fatalf("silences = %+v, want none", kept.list)
			}
			if tc.at == "" {
				if got := all(doc, class("fault")); len(got) != 1 || !strings.HasPrefix(text(got[0]), "There is no such flow.") {
					t.Errorf("faults = %q, want that there is no such flow", texts(got))
				}
				return
			}
			if got := all(doc, class("fault")); len(got) != 1 || attr(got[0], "id") != tc.at || !strings.HasPrefix(text(got[0]), tc.want) {
				t.Errorf("faults = %q, want %s with %q only", texts(got), tc.at, tc.want)
			}
			for _, field := range []string{"why", "by", "until"} {
				got, want := attr(all(doc, named(field))[0], "value"), strings.TrimSpace(form.Get(field))
				if got != want {
					t.Errorf("%s = %q afterwards, want %q as written", field, got, want)
				}
			}
			if tc.field != "for" && attr(checked(doc, "for"), "value") != "until" {
				t.Error("the chosen length is not kept")
			}
		})
	}

	kept.fault = errors.New("the disk is full")
	form := url.Values{"service": {"shop"}, "flow": {"checkout"}, "slo": {""}, "why": {"tests"}, "by": {"Kim"}, "for": {"1h"}}
	w, doc := post(t, h, "/alerts/silence", form)
	if got := all(doc, class("fault")); w.Code != http.StatusInternalServerError || len(got) != 1 || !strings.Contains(text(got[0]), "the disk is full") {
		t.Errorf("POST that cannot be kept = %d with %q, want 500 and why", w.Code, texts(got))
	}
	if got := attr(all(doc, named("why"))[0], "value"); got != "tests" {
		t.Errorf("why = %q afterwards, want it kept", got)
	}
	time.Sleep(keepView) // what was looked at serves for so long
	if _, doc = get(t, h, "/alerts"); !strings.Contains(text(doc), "Silences cannot be read. Alerts are current.") {
		t.Errorf("page = %q, want that silences cannot be read", text(doc))
	}
}

// TestSilenceUntil holds that a time is that of the zone the page shows.
func TestSilenceUntil(t *testing.T) {
	opt, kept := silenceable(t)
	until := time.Now().Add(26 * time.Hour).Truncate(time.Minute)
	w, _ := post(t, newSite(t, opt), "/alerts/silence", url.Values{
		"service": {"shop"}, "flow": {"checkout"}, "slo": {""}, "why": {"fair"}, "by": {"Kim"}, "for": {"until"}, "until": {until.Format(inputTime)},
	})
	if w.Code != http.StatusSeeOther || len(kept.list) != 1 || !kept.list[0].Until.Equal(until) || kept.list[0].SLO != "" {
		t.Errorf("POST = %d, silences %+v; want one of the whole flow until %s", w.Code, kept.list, until)
	}
}

// TestSilenceFromElsewhere holds that another site cannot silence with the
// browser of somebody who reaches this one.
func TestSilenceFromElsewhere(t *testing.T) {
	opt, kept := silenceable(t)
	opt.ExternalURL = "https://slo.example/slowburn"
	h := newSite(t, opt)
	form := url.Values{"service": {"shop"}, "flow": {"checkout"}, "slo": {""}, "why": {"tests"}, "by": {"Mallory"}, "for": {"1d"}}
	for _, tc := range []struct {
		name   string
		header []string
		want   int
	}{
		{"another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, http.StatusForbidden},
		{"a sister site", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://evil.slo.example"}, http.StatusForbidden},
		{"an old browser at another site", []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}, http.StatusForbidden},
		{"an old browser through a proxy", []string{"Sec-Fetch-Site", "", "Origin", "https://slo.example"}, http.StatusSeeOther},
		{"curl", []string{"Sec-Fetch-Site", ""}, http.StatusSeeOther},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, path := range []string{"/alerts/silence", "/alerts/unsilence"} {
				kept.list = []Silence{{ID: "old", Service: "shop", Flow: "search", Until: time.Now().Add(time.Hour)}}
				form.Set("id", "old")
				w, _ := post(t, h, path, form, tc.header...)
				if w.Code != tc.want {
					t.Errorf("POST %s = %d, want %d", path, w.Code, tc.want)
				}
				if changed := len(kept.list) != 1; changed != (tc.want == http.StatusSeeOther) {
					t.Errorf("POST %s left %+v", path, kept.list)
				}
				if w.Code == http.StatusSeeOther && w.Header().Get("Location") != "/slowburn/alerts" {
					t.Errorf("POST %s leads to %q, want /slowburn/alerts", path, w.Header().Get("Location"))
				}
			}
		})
	}
	for _, path := range []string{"/alerts/silence", "/alerts/unsilence"} {
		if w, _ := post(t, h, path, url.Values{"why": {strings.Repeat("x", maxForm)}}); w.Code != http.StatusBadRequest {
			t.Errorf("POST %s of a form that is too long = %d, want 400", path, w.Code)
		}
	}
	if w, _ := get(t, h, "/alerts/unsilence"); w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusNotFound {
		t.Errorf("GET /alerts/unsilence = %d, want that it cannot be asked for", w.Code)
	}
}

// TestSilencedElsewhere holds that where there are no silences the page says
// where they are, and offers none.
func TestSilencedElsewhere(t *testing.T) {
	h := newSite(t, incident().options(t))
	_, doc := get(t, h, "/alerts")
	if got := len(all(doc, tag("form"))) + len(all(doc, class("button"))) + len(all(doc, class("actions"))); got != 0 || !strings.Contains(text(doc), "told by an Alertmanager outside") {
		t.Errorf("%d ways to silence on %q, want none and where to", got, text(doc))
	}
	if w, _ := post(t, h, "/alerts/silence", url.Values{}); w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusNotFound {
		t.Errorf("POST /alerts/silence = %d, want that there is no such thing", w.Code)
	}
}

func TestSilenceChoosesFlow(t *testing.T) {
	opt, _ := silenceable(t)
	h := newSite(t, opt)
	_, doc := get(t, h, "/alerts/silence")
	if got := texts(all(all(doc, class("pick"))[0], tag("li"))); len(got) != 7 || got[1] != "checkout shop" {
		t.Errorf("flows = %q, want all seven", got)
	}
	if w, doc := get(t, h, "/alerts/silence?service=shop&flow=gone"); w.Code != http.StatusNotFound || len(all(doc, class("fault"))) != 1 {
		t.Errorf("form for a flow that is gone = %d, want 404 and a word", w.Code)
	}
	flows := make([]slo.Flow, flowsShown+5)
	for i := range flows {
		flows[i] = readtest.FlowOf("shop", fmt.Sprintf("flow-%d", i), 0.99, 0)
	}
	opt.Flows = func() []slo.Flow { return flows }
	_, doc = get(t, newSite(t, opt), "/alerts/silence")
	if got := len(all(all(doc, class("pick"))[0], tag("li"))); got != flowsShown || !strings.Contains(text(doc), "and 5 more") {
		t.Errorf("%d flows, want %d and that there are 5 more", got, flowsShown)
	}
}

// fires writes the series of an alert from one moment to another, and that it
// ended unless it is open.
func fires(tb testing.TB, app storage.Appender, id string, severity slo.Severity, from, to time.Time, every time.Duration, open bool, more ...string) {
	tb.Helper()
	l := labels.FromStrings(append([]string{
		"__name__", "ALERTS", "alertstate", "firing", "alertname", series.Alert(severity), series.ID, id, series.Severity, string(severity),
	}, more...)...)
	put := func(at time.Time, v float64) {
		if _, err := app.Append(0, l, at.UnixMilli(), v); err != nil {
			tb.Fatal(err)
		}
	}
	last := from
	for at := from; !at.After(to); at = at.Add(every) {
		put(at, 1)
		last = at
	}
	if !open {
		put(last.Add(every), math.Float64frombits(value.StaleNaN))
	}
}

// pastStore opens a store that takes samples of the last 40 days in any order.
func pastStore(tb testing.TB) *tsdb.DB {
	tb.Helper()
	opts := tsdb.DefaultOptions()
	opts.OutOfOrderTimeWindow = (40 * 24 * time.Hour).Milliseconds()
	db, err := tsdb.Open(tb.TempDir(), slog.New(slog.DiscardHandler), nil, opts, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

func TestAlertHistory(t *testing.T) {
	db := pastStore(t)
	now := time.Now().Truncate(time.Second)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	app := db.Appender(t.Context())
	const page, ticket = slo.Page, slo.Ticket
	const second, minute, hour, day = time.Second, time.Minute, time.Hour, 24 * time.Hour
	fires(t, app, "shop-checkout-availability", page, ago(50*minute), ago(41*minute), 5*second, false)
	fires(t, app, "shop-checkout-availability", page, ago(11*minute), now, 5*second, true)
	fires(t, app, "shop-checkout-availability", ticket, ago(3*day), ago(3*day-10*second), 5*second, false) // shorter than any step
	fires(t, app, "shop-search-availability", ticket, ago(9*day), ago(6*day-30*minute), minute, false)     // began before a week ago
	fires(t, app, "shop-search-availability", ticket, ago(3*hour), ago(2*hour), 5*second, true)            // killed,
	fires(t, app, "shop-search-availability", ticket, ago(118*minute), ago(100*minute), 5*second, false)   // and back soon
	fires(t, app, "shop-login-availability", page, ago(5*hour), ago(4*hour), 5*second, true)               // killed for good
	fires(t, app, "shop-login-availability", page, ago(2*day), ago(2*day-hour), 5*second, false, "team", "a")
	fires(t, app, "shop-login-availability", page, ago(2*day-hour-10*second), ago(2*day-2*hour), 5*second, false, "team", "b") // labels changed
	fires(t, app, "gone-flow-availability", page, ago(20*day), ago(20*day-minute), 5*second, false)
	fires(t, app, "", page, ago(hour), ago(30*minute), 5*second, false) // somebody else's
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}

	got, err := (&read.History{Source: db}).Read(t.Context(), now, 7*day)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, x := range got.List {
		lines = append(lines, fmt.Sprintf("%s %s -%s for %s earlier=%t open=%t", x.SLO, x.Severity, now.Sub(x.Began), x.Ended.Sub(x.Began), x.Earlier, x.Open))
	}
	want := []string{
		"shop-checkout-availability page -11m0s for 11m0s earlier=false open=true",
		"shop-checkout-availability page -50m0s for 9m0s earlier=false open=false",
		"shop-search-availability ticket -3h0m0s for 1h20m0s earlier=false open=false",
		"shop-login-availability page -5h0m0s for 1h0m0s earlier=false open=false",
		"shop-login-availability page -48h0m0s for 2h0m0s earlier=false open=false",
		"shop-checkout-availability ticket -72h0m0s for 10s earlier=false open=false",
		"shop-search-availability ticket -168h0m0s for 24h30m0s earlier=true open=false",
	}
	if !slices.Equal(lines, want) || got.Cut {
		t.Errorf("history, cut %t:\n%s\nwant:\n%s", got.Cut, strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}

	opt := incident().options(t)
	opt.Queryable = db
	firing := opt.Alerts()[1:] // the page of checkout
	opt.Alerts = func() []Alert { return firing }
	h := newSite(t, opt)
	_, doc := get(t, h, "/alerts")
	past := rows(doc, "ended")
	for i, want := range []string{
		"page checkout shop 99.9% succeed over 30d " + words.Clock(ago(11*minute), now) + " 11 min so far",
		"page checkout shop 99.9% succeed over 30d " + words.Clock(ago(50*minute), now) + " 9 min",
	} {
		if past[i] != want {
			t.Errorf("line %d = %q, want %q", i, past[i], want)
		}
	}
	if want := "ticket search shop 99.5% succeed over 30d before " + words.Clock(ago(7*day), now) + " more than 24 h"; past[6] != want {
		t.Errorf("last line = %q, want %q", past[6], want)
	}
	for path, want := range map[string]int{"/alerts?range=24h": 4, "/alerts?range=7d": 7, "/alerts?range=30d": 8, "/alerts?range=9y&page=-3": 7} {
		_, doc := get(t, h, path)
		if got := rows(doc, "ended"); len(got) != want {
			t.Errorf("GET %s has %d past alerts, want %d: %q", path, len(got), want, got)
		}
	}
	if _, doc := get(t, h, "/alerts?range=30d"); !strings.HasPrefix(rows(doc, "ended")[7], "page gone-flow-availability ") {
		t.Errorf("past = %q, want an alert of a flow that is gone", rows(doc, "ended"))
	}
}

// TestAlertHistoryIsBounded holds that a history of any length is cut, and
// shown a page at a time.
func TestAlertHistoryIsBounded(t *testing.T) {
	db, _ := readtest.NewStore(t)
	now := time.Now().Truncate(time.Second)
	app := db.Appender(t.Context())
	const slos = 4
	for i := range slos {
		l := labels.FromStrings("__name__", "ALERTS", "alertstate", "firing", series.ID, fmt.Sprintf("shop-%d", i), series.Severity, "page")
		for n := 3000; n > 0; n-- {
			at := now.Add(-time.Duration(n) * 20 * time.Second).UnixMilli()
			for _, s := range []struct {
				after int64
				v     float64
			}{{0, 1}, {1000, math.Float64frombits(value.StaleNaN)}} {
				if _, err := app.Append(0, l, at+s.after, s.v); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	opt := incident().options(t)
	opt.Queryable, opt.Alerts = db, nil
	h := newSite(t, opt)
	w, doc := get(t, h, "/alerts?range=24h")
	if got := len(rows(doc, "ended")); got != pastShown {
		t.Errorf("%d past alerts on a page, want %d", got, pastShown)
	}
	pager := all(doc, class("pager"))[0]
	if got, want := text(pager), "the last 10,000 alerts, page 1 of 100 older"; got != want {
		t.Errorf("pager = %q, want %q", got, want)
	}
	if w.Body.Len() > 200_000 {
		t.Errorf("page has %d bytes, want fewer than 200,000", w.Body.Len())
	}
	_, doc = get(t, h, attr(all(pager, tag("a"))[0], "href"))
	if got, want := text(all(doc, class("pager"))[0]), "newer the last 10,000 alerts, page 2 of 100 older"; got != want {
		t.Errorf("pager = %q, want %q", got, want)
	}
	_, doc = get(t, h, "/alerts?range=24h&page=1000")
	if got, want := text(all(doc, class("pager"))[0]), "newer the last 10,000 alerts, page 100 of 100"; got != want {
		t.Errorf("pager = %q, want %q", got, want)
	}
}

// TestAlertHistoryFails holds that the rest of the page is there without it.
func TestAlertHistoryFails(t *testing.T) {
	opt := incident().options(t)
	opt.Queryable = storage.QueryableFunc(func(int64, int64) (storage.Querier, error) { return nil, errors.New("the disk is gone") })
	w, doc := get(t, newSite(t, opt), "/alerts")
	if got := text(doc); w.Code != http.StatusOK || !strings.Contains(got, "The history cannot be read.") || !strings.Contains(got, "the disk is gone") || len(rows(doc, "firing")) != 2 {
		t.Errorf("GET /alerts = %d %q, want what fires, and why there is no history", w.Code, got)
	}
}

// TestAlertsHostile holds that whatever anybody wrote is text, and that lists
// of any length are bounded.
func TestAlertsHostile(t *testing.T) {
	opt, kept := silenceable(t)
	hostile := slices.Concat(payloads, []string{strings.Repeat("long ", 190), "\u202eRTL override", "مرحبا"})
	var alerts []Alert
	for i := range 10_000 {
		text := hostile[i%len(hostile)]
		alerts = append(alerts, Alert{SLO: text, Severity: slo.Page, Since: time.Now(), Summary: text, Silences: []string{text}[:i%2]})
		kept.list = append(kept.list, Silence{ID: text, Service: text, Flow: text, SLO: text, Matchers: text, By: text, Why: text, Until: time.Now().Add(time.Hour)})
	}
	opt.Alerts = func() []Alert { return alerts }
	h := newSite(t, opt)
	w, doc := get(t, h, "/alerts")
	if got := len(rows(doc, "firing")); got != firingShown {
		t.Errorf("%d alerts, want %d", got, firingShown)
	}
	if got := len(rows(doc, "silences")); got != silencesShown {
		t.Errorf("%d silences, want %d", got, silencesShown)
	}
	if got := text(doc); !strings.Contains(got, "and 9800 more") {
		t.Error("page does not say how many more there are")
	}
	inert(t, w.Body.String())
	if w.Body.Len() > 1_000_000 {
		t.Errorf("page has %d bytes, want fewer than a million", w.Body.Len())
	}
	for _, text := range hostile {
		w, _ := post(t, h, "/alerts/silence", url.Values{"service": {"shop"}, "flow": {"checkout"}, "slo": {text}, "why": {text}, "by": {text}, "for": {text}, "until": {text}})
		if w.Code != http.StatusUnprocessableEntity {
			t.Errorf("POST with %q = %d, want 422", text, w.Code)
		}
		inert(t, w.Body.String())
	}
}

// inert fails where a page has a script, a handler or a style of somebody else.
func inert(t *testing.T, page string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "script" && !strings.HasPrefix(attr(n, "src"), "/assets/") || slices.Contains([]string{"img", "style", "iframe", "object", "base"}, n.Data) {
			t.Errorf("page has <%s %v>", n.Data, n.Attr)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "href" && strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
				t.Errorf("<%s> has %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
}

// TestAlertsConcurrently is for the race detector: readers and writers at once.
func TestAlertsConcurrently(t *testing.T) {
	opt, _ := silenceable(t)
	h := newSite(t, opt)
	form := url.Values{"service": {"shop"}, "flow": {"checkout"}, "slo": {""}, "why": {"tests"}, "by": {"Kim"}, "for": {"1h"}}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 5 {
				if i == 0 {
					post(t, h, "/alerts/silence", form)
				}
				for _, path := range []string{"/alerts", "/alerts?range=24h", "/setup", "/config", "/"} {
					r := httptest.NewRequest(http.MethodGet, path, nil)
					w := httptest.NewRecorder()
					h.ServeHTTP(w, r)
					if _, err := io.Copy(io.Discard, w.Body); err != nil || w.Code != http.StatusOK {
						t.Errorf("GET %s = %d, %v", path, w.Code, err)
					}
				}
			}
		})
	}
	wg.Wait()
}
