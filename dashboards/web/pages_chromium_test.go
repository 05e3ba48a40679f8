package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/slo"
)

// busyNight is the options of a shop at night: alerts, a silence, a history,
// spans of all kinds, and a configuration with warnings.
func busyNight(tb testing.TB) Options {
	opt, kept := silenceable(tb)
	now := time.Now()
	kept.list = []Silence{
		{ID: "1", Service: "shop", Flow: "search", Why: "load test of the new index, see CHK-118", By: "Ada Lovelace", From: now.Add(-time.Hour), Until: now.Add(3 * time.Hour)},
		{ID: "2", Matchers: `{slowburn_flow=~"check.*",sloth_severity!="page"}`, Why: "noise", By: "amtool", From: now.Add(time.Hour), Until: now.Add(26 * time.Hour)},
	}
	db := pastStore(tb)
	app := db.Appender(tb.Context())
	for i, ago := range []time.Duration{50 * time.Minute, 26 * time.Hour, 5 * 24 * time.Hour} {
		id, severity := "shop-checkout-availability", slo.Page
		if i == 1 {
			id, severity = "shop-search-availability", slo.Ticket
		}
		fires(tb, app, id, severity, now.Add(-ago), now.Add(-ago+38*time.Minute), 5*time.Second, false, "n", strings.Repeat("x", i))
	}
	if err := app.Commit(); err != nil {
		tb.Fatal(err)
	}
	opt.Queryable = both{opt.Queryable, db}
	opt.Setup = func() Setup { return arriving(time.Now().Add(-500 * time.Millisecond)) }
	opt.Config = func() Config {
		return Config{
			Loaded: now.Add(-time.Hour), Cause: "file change", Changes: []string{"refund on billing is new: 99% succeed over 30d"},
			Refused: now.Add(-time.Minute), Faults: []Finding{{"slos/shop.yaml:6:9", "flows.checkout.slos[0]: 0.999 is not a percentage; want 99.9%"}},
			Warnings: []Finding{{"slos/shop.yaml:7:9", "flows.checkout.slos[1]: pages can never fire; want a higher target"}},
			Settings: []Setting{{"--listen", "127.0.0.1:9595", "pages and API"}, {"--data-dir", "/var/lib/slowburn", "everything that is kept: 11 MB"}},
		}
	}
	return opt
}

// both reads from two stores.
type both [2]storage.Queryable

func (b both) Querier(mint, maxt int64) (storage.Querier, error) {
	first, err := b[0].Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	more, err := b[1].Querier(mint, maxt)
	if err != nil {
		return nil, errors.Join(err, first.Close())
	}
	return storage.NewMergeQuerier([]storage.Querier{first, more}, nil, storage.ChainedSeriesMerge), nil
}

// TestChromiumPages looks at the pages besides those of flows in a real browser.
func TestChromiumPages(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	site := newSite(t, busyNight(t))
	everySize(t, b, site, "alerts", "/alerts", false)

	quiet, _ := silenceable(t)
	quiet.Alerts = nil
	quietSite := newSite(t, quiet)
	hostile := busyNight(t)
	long := slices.Concat(payloads, []string{strings.Repeat("W", 128), "\u202eRTL override", "مرحبا بالعالم"})
	var alerts []Alert
	var silences []Silence
	var found []Finding
	var settings []Setting
	in := arriving(time.Now())
	for _, text := range long {
		alerts = append(alerts, Alert{SLO: text, Severity: slo.Page, Since: time.Now(), Summary: text})
		silences = append(silences, Silence{ID: text, Matchers: text, By: text, Why: text, From: time.Now(), Until: time.Now().Add(time.Hour)})
		found = append(found, Finding{text, text})
		settings = append(settings, Setting{text, text, text})
		in.Services = append(in.Services, Service{Name: text, Language: text, SDK: text, Last: time.Now(), Versions: []ServiceVersion{{text, time.Now()}}, Routes: []Route{{Kind: text, Method: text, Route: text}}})
		in.Rejected = append(in.Rejected, Rejection{Reason: text, Spans: 1, Last: time.Now()})
	}
	hostile.Alerts = func() []Alert { return alerts }
	hostile.Silences.List = func() ([]Silence, error) { return silences, nil }
	hostile.Setup = func() Setup { return in }
	hostile.Config = func() Config {
		return Config{Loaded: time.Now(), Cause: long[0], Faults: found, Warnings: found, Settings: settings}
	}
	hostileSite := newSite(t, hostile)
	const form = "/alerts/silence?service=shop&flow=checkout&slo=shop-checkout-availability"
	for _, tc := range []struct {
		name, path string
		h          http.Handler
		width      int
		dark, more bool // more: for the eye, only with -screenshots
	}{
		{name: "setup", path: "/setup", h: site, width: 1280, dark: true},
		{name: "config phone", path: "/config", h: site, width: 375, dark: true},
		{name: "silence", path: form, h: site, width: 1280, dark: true, more: true},
		{name: "silence phone", path: form, h: site, width: 375},
		{name: "choose a flow", path: "/alerts/silence", h: site, width: 375, more: true},
		{name: "make a flow", path: "/setup/flow?service=shop&kind=server&method=POST&route=%2Fapi%2Frefund", h: site, width: 375, dark: true},
		{name: "alerts narrow", path: "/alerts", h: site, width: 900, more: true},
		{name: "nothing fires", path: "/alerts", h: quietSite, width: 375, more: true},
		{name: "nothing arrives", path: "/setup", h: quietSite, width: 1280},
		{name: "hostile alerts", path: "/alerts", h: hostileSite, width: 375},
		{name: "hostile setup", path: "/setup", h: hostileSite, width: 375},
		{name: "hostile config", path: "/config", h: hostileSite, width: 375},
		{name: "hostile alerts wide", path: "/alerts", h: hostileSite, width: 900, more: true},
		{name: "hostile setup wide", path: "/setup", h: hostileSite, width: 900, more: true},
		{name: "hostile config wide", path: "/config", h: hostileSite, width: 900, more: true},
	} {
		if !tc.more || *screenshots != "" {
			oneSize(t, b, tc.h, tc.name, tc.path, tc.width, tc.dark)
		}
	}
}

// TestChromiumSilence silences by mouse and keyboard, as somebody does at
// night, and ends it again.
func TestChromiumSilence(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	opt, kept := silenceable(t)
	page := b.open(t, newSite(t, opt), "/alerts", 375, 900, false)
	const headline = `document.querySelector("h1").textContent`
	page.wait(headline + ` === "1 page and 1 ticket fire"`)
	page.click(`.firing .button`)
	page.wait(headline + ` === "Silence checkout" && document.querySelector("[name=slo]:checked").value === "shop-checkout-availability"`)

	// Nothing written: the browser says so itself, and nothing is sent.
	page.click(`.send button`)
	page.wait(`document.activeElement.id === "why" && !document.getElementById("why").validity.valid`)
	page.text("database upgrade")
	page.press("Tab")
	page.wait(`document.activeElement.id === "by"`)
	page.text("Kim")
	page.wait(`getComputedStyle(document.querySelector(".until")).display === "none"`)
	page.click(`[name=for][value=until]`)
	page.wait(`getComputedStyle(document.querySelector(".until")).display !== "none"`)
	page.click(`[name=for][value="4h"]`)
	page.click(`.send button`)
	page.wait(`location.pathname === "/alerts" && ` + headline + ` === "1 ticket fires"`)
	kept.mu.Lock()
	if len(kept.list) != 1 || kept.list[0].Why != "database upgrade" || kept.list[0].By != "Kim" || kept.list[0].Until.Sub(kept.list[0].From) != 4*time.Hour {
		t.Errorf("silences = %+v, want Kim's for 4 h", kept.list)
	}
	kept.mu.Unlock()

	page.click(`.silences button`)
	page.wait(headline + ` === "1 page and 1 ticket fire"`)
	page.click(`.choice a[href$="24h"]`)
	page.wait(`location.search === "?range=24h" && document.getElementById("history").textContent === "The last 24 hours"`)
}
