package main

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// readPage returns what a person reads of one of the pages.
func readPage(t *testing.T, s *server, path string) string {
	t.Helper()
	resp, err := http.Get(s.address() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s = %d, %v", path, resp.StatusCode, err)
	}
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(string(body), " ")
	return strings.Join(strings.Fields(html.UnescapeString(text)), " ")
}

// says waits until a page says something.
func says(t *testing.T, s *server, path, want string) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		if got := readPage(t, s, path); !strings.Contains(got, want) {
			return fmt.Errorf("%s says %q, want %q", path, got, want)
		}
		return nil
	})
}

// TestSetupShowsWhatArrives sends the span that the page says to send, one that
// is too old, and one of a flow.
func TestSetupShowsWhatArrives(t *testing.T) {
	s, _ := start(t, t.TempDir(), shopYAML, "")
	empty := readPage(t, s, "/setup")
	port := s.otlp.HTTPAddr().String()
	_, command, there := strings.Cut(empty, "curl http://"+port+"/v1/traces -H 'Content-Type: application/json' -d '")
	hello, _, ends := strings.Cut(command, "' Then a service of your own.")
	if !strings.Contains(empty, "No spans yet") || !there || !ends {
		t.Fatalf("page = %q, want how to send a span to %s", empty, port)
	}
	post := func(body string) {
		t.Helper()
		resp, err := http.Post("http://"+port+"/v1/traces", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			t.Fatalf("POST = %d %s\n%s", resp.StatusCode, answer, body)
		}
	}
	at := func(text string, when time.Time) string { // what the shell does
		return strings.ReplaceAll(text, "'$(date +%s)'", fmt.Sprint(when.Unix()))
	}
	post(at(hello, time.Now()))
	flow := strings.NewReplacer(`"hello"`, `"shop"`, `"GET"`, `"POST"`, `"/hello"`, `"/api/checkout"`).Replace(hello)
	post(at(flow, time.Now()))
	post(at(flow, time.Now().Add(-time.Hour)))
	for _, want := range []string{
		"Receiving from 2 services",
		"GET /hello none · make a flow 1",
		"POST /api/checkout checkout",
		"ended more than 10m ago 1 ",
		"A request counts when it arrives",
	} {
		says(t, s, "/setup", want)
	}
}

// TestSilencedAlertIsNotTold silences by the page's form, as a browser does, and
// ends it again.
func TestSilencedAlertIsNotTold(t *testing.T) {
	s, stop := start(t, t.TempDir(), shopYAML, "")
	send := func(path string, form url.Values) {
		t.Helper()
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := client.PostForm(s.address()+path, form)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusSeeOther {
			t.Fatalf("POST %s = %d, want 303", path, resp.StatusCode)
		}
	}
	form := url.Values{"service": {"shop"}, "flow": {"checkout"}, "slo": {"shop-checkout-availability"}, "why": {"database upgrade"}, "by": {"Kim"}, "for": {"1h"}}
	send("/alerts/silence", form)
	form.Set("slo", "")
	form.Set("flow", "search")
	send("/alerts/silence", form)
	list, err := s.alerts.Silences()
	if err != nil || len(list) != 2 {
		t.Fatalf("silences = %+v, %v; want two", list, err)
	}
	for _, tc := range []struct {
		flow, objective, severity string
		want                      bool
	}{
		{"checkout", "checkout-availability", "page", true},
		{"checkout", "checkout-availability", "ticket", true},
		{"checkout", "checkout-latency-300ms", "page", false},
		{"search", "search-availability", "page", true},
		{"search", "search-latency-1s", "ticket", true},
	} {
		got := silenced(list, map[string]string{
			series.SLOServ: "shop", series.SLOFlow: tc.flow, series.ID: "shop-" + tc.objective, series.Severity: tc.severity,
		}, time.Now())
		if (len(got) == 1) != tc.want {
			t.Errorf("silenced(%s, %s) = %v, want one %t", tc.objective, tc.severity, got, tc.want)
		}
	}
	if got := silenced(list, map[string]string{series.SLOServ: "shop", series.SLOFlow: "search"}, time.Now().Add(-time.Hour)); got != nil {
		t.Errorf("silenced before it began = %v, want nothing", got)
	}
	for _, want := range []string{"checkout 99.9% succeed over 30d on shop nothing of it fires database upgrade Kim until ", "search every objective on shop nothing of it fires"} {
		says(t, s, "/alerts", want)
	}
	for _, x := range list {
		send("/alerts/unsilence", url.Values{"id": {x.ID}})
	}
	send("/alerts/unsilence", url.Values{"id": {"no-such"}})
	says(t, s, "/alerts", "Nothing is silenced.")
	stop()
}

// TestConfigTellsReloads holds that the page tells what a reload changed, and
// what is wrong with one that was refused.
func TestConfigTellsReloads(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, dir, shopYAML, "")
	file := filepath.Join(dir, "slos.yaml")
	says(t, s, "/config", "In force, nothing wrong")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(shopYAML, "99.9% succeed", "0.999 succeed", 1))
	says(t, s, "/config", "The changed configuration was refused")
	says(t, s, "/config", file+":6:")
	write(strings.Replace(shopYAML, "99.9% succeed", "99% succeed", 1))
	says(t, s, "/config", "What the last change did checkout on shop: 99.9% succeed over 30d is 99% succeed over 30d now")
	says(t, s, "/config", "(file change)")
}

// TestConfigHasNoSecrets gives every flag that may hold a secret one, and looks
// for it on all pages.
func TestConfigHasNoSecrets(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("sesame-file"), 0o600); err != nil {
		t.Fatal(err)
	}
	headers := []string{"X-Scope-OrgID=sesame-header"}
	s, _ := startWith(t, dir, shopYAML, slog.New(slog.DiscardHandler), func(c *config) {
		c.slackURL = slack.NewSecret("http://127.0.0.1:1/services/sesame-slack")
		c.externalURL = "http://kim:sesame-external@127.0.0.1"
		c.prometheusURL, c.prometheusToken = "http://kim:sesame-password@127.0.0.1:1/sesame-path?token=sesame-query", token
		c.prometheusEvery = 30 * time.Second
		c.remote = remoteConfig{url: "http://127.0.0.1:1/sesame-remote/write?key=sesame-key", series: "all", collector: "here", tokenFile: token, headers: &headers}
	})
	for _, path := range []string{"/", "/alerts", "/setup", "/config"} {
		resp, err := http.Get(s.address() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(body, []byte("sesame")); i >= 0 {
			t.Errorf("GET %s tells %q", path, body[max(0, i-40):min(len(body), i+40)])
		}
	}
	got := readPage(t, s, "/config")
	for _, want := range []string{"alerts a Slack webhook", "--prometheus-url http://127.0.0.1:1 asked", "--remote-write http://127.0.0.1:1 series", "as collector here", "--retention 45d"} {
		if !strings.Contains(got, want) {
			t.Errorf("/config says %q, want %q", got, want)
		}
	}
}

func TestChanges(t *testing.T) {
	const base = `
service: shop
flows:
  checkout:
    match: POST /api/checkout
    slos: [99.9% succeed, 95% under 300ms]
  search:
    match: GET /api/search
    slos: [99% succeed]
`
	parse := func(text string) []slo.Flow {
		t.Helper()
		c, err := spec.Parse("slos.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c.Flows
	}
	for _, tc := range []struct {
		name     string
		from, to string // replaced in base
		want     []string
	}{
		{"nothing", "x", "x", []string{"nothing: the same flows and objectives"}},
		{"only the place", "service: shop", "# a comment\nservice: shop", []string{"nothing: the same flows and objectives"}},
		{"a target", "99.9%", "99%", []string{"checkout on shop: 99.9% succeed over 30d is 99% succeed over 30d now"}},
		{"a threshold", "300ms", "400ms", []string{"checkout on shop: 95% under 400ms over 30d is new", "checkout on shop: 95% under 300ms over 30d is gone"}},
		{"alerts", "[99% succeed]", "[{succeed: 99%, min_events: 50}]", []string{"search on shop: 99% succeed over 30d has other alerts or another query"}},
		{"a flow renamed", "search:", "find:", []string{"find on shop is new: 99% succeed over 30d", "search on shop is gone; its budgets are kept aside for 7 days"}},
		{"the route, and who hears", "match: GET /api/search", "match: GET /search\n    slack: \"#search\"", []string{"search on shop: other what it matches, who is told"}},
		{"maintenance", "service: shop", "exclude:\n  - {from: \"2026-12-01 02:00\", for: 2h, why: upgrade}\nservice: shop", []string{"checkout on shop: other when it does not count", "search on shop: other when it does not count"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := changes(parse(base), parse(strings.Replace(base, tc.from, tc.to, 1))); !slices.Equal(got, tc.want) {
				t.Errorf("changes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

func TestMegabytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 999: "999 bytes", 1_500: "1.5 kB", 840_000: "840 kB", 11_200_000: "11 MB", 3_440_000_000: "3.4 GB"} {
		if got := megabytes(n); got != want {
			t.Errorf("megabytes(%d) = %q, want %q", n, got, want)
		}
	}
}
