package slack

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"

	"github.com/slowburn-slo/slowburn/alerts/slack/chart"
	"github.com/slowburn-slo/slowburn/internal/fakeslack"
	"github.com/slowburn-slo/slowburn/slo"
)

var screenshots = flag.String("screenshots", "", "folder to keep pictures of the messages in")

// TestPictures shows each kind of message, from a bot and from a webhook, in a
// real browser: nothing may come up on its console, and the chart is there. Run
// it with -screenshots to see them.
func TestPictures(t *testing.T) {
	browser := chromium(t)
	began := time.Now().Add(-30 * time.Minute).Truncate(time.Minute)
	facts := fullFacts()
	facts.Since, facts.Forecast = began, time.Time{}
	facts.Chart = &chart.Data{
		Title: "Checkout: requests that fail", From: began.Add(-5 * time.Hour), To: time.Now(), Objective: 0.001, Began: began,
		Limits: []chart.Limit{{Share: 0.0144, Word: "page"}}, Deploys: []chart.Deploy{{At: began.Add(-4 * time.Minute), Name: "1.42.0"}},
	}
	for at := facts.Chart.From; at.Before(facts.Chart.To); at = at.Add(time.Minute) {
		share := 0.0003 + 0.0002*float64(at.Minute()%7)/7
		if at.After(began) {
			share = 0.03 + share
		}
		facts.Chart.Points = append(facts.Chart.Points, chart.Point{At: at, Share: share})
	}
	known := func(string, time.Time) (Facts, bool) { return facts, true }
	kinds := []struct {
		name string
		tell []*alert.Alert
	}{
		{"ticket", []*alert.Alert{checkout(slo.Ticket, time.Time{})}},
		{"escalated", []*alert.Alert{checkout(slo.Ticket, time.Time{}), checkout(slo.Page, time.Time{})}},
		{"resolved", []*alert.Alert{checkout(slo.Page, time.Time{}), checkout(slo.Page, time.Now())}},
	}
	for _, by := range []string{"bot", "webhook"} {
		for _, kind := range kinds {
			if kind.name != "escalated" && *screenshots == "" {
				continue // one is enough for the console
			}
			t.Run(by+" "+kind.name, func(t *testing.T) {
				inbox := fakeslack.New(fakeslack.Options{})
				srv := httptest.NewServer(inbox)
				defer srv.Close()
				client := srv.Client()
				defer client.CloseIdleConnections()
				channel := testNotifier(t, by, srv.URL, client, known)
				for _, a := range kind.tell {
					a.StartsAt = began.Add(time.Minute)
					if _, err := channel.Notify(notify.WithGroupKey(t.Context(), "g"), a); err != nil {
						t.Fatal(err)
					}
				}
				look(t, browser, srv.URL, by+"-"+kind.name)
			})
		}
	}
}

// TestScenePictures shows all scenes on one page or, with -screenshots, each on
// its own.
func TestScenePictures(t *testing.T) {
	browser := chromium(t)
	all := scenes(time.Now())
	pages := [][]scene{all}
	if *screenshots != "" {
		pages = slices.Collect(slices.Chunk(all, 1))
	}
	for _, page := range pages {
		inbox := fakeslack.New(fakeslack.Options{})
		srv := httptest.NewServer(inbox)
		for _, s := range page {
			payload, err := encode(s.voice().tell(s.alerts, s.again).message("#shop"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := srv.Client().Post(srv.URL+"/services/T0/B0/x", "application/json", bytes.NewReader(payload))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: status %d, want it taken", s.name, resp.StatusCode)
			}
		}
		look(t, browser, srv.URL, "scene-"+page[0].name)
		srv.Client().CloseIdleConnections()
		srv.Close()
	}
}

func chromium(t *testing.T) (browser string) {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed; want it where CI=true")
		}
		t.Skip("chromium is not installed: messages are not looked at in a browser")
	}
	return browser
}

// look opens a page, whose console has to be silent, and keeps its picture where
// pictures are wanted.
func look(t *testing.T, browser, address, name string) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shot := filepath.Join(dir, "page.png")
	args := []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr", "--timeout=3000",
		"--user-data-dir=" + filepath.Join(dir, "profile"), "--window-size=700,900", "--screenshot=" + shot, address,
	}
	cmd := exec.CommandContext(ctx, browser, args...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "CONSOLE") {
		t.Errorf("console is not silent:\n%s", out)
	}
	if *screenshots == "" {
		return
	}
	picture, err := os.ReadFile(shot)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
}

func testNotifier(t *testing.T, by, address string, client *http.Client, facts func(string, time.Time) (Facts, bool)) notify.Notifier {
	t.Helper()
	external := mustURL(t, "https://slo.example")
	const traces = "https://traces.example/{trace_id}"
	if by == "webhook" {
		return testWebhook(t, Options{
			URL: NewSecret(address + "/services/T0/B0/x"), Client: client, Facts: facts, ExternalURL: external, TraceURL: traces,
		}).Channel("#shop")
	}
	b, err := NewBot(BotOptions{
		Token: NewSecret(canaryToken), APIURL: address + "/api/", Client: client, Facts: facts, ExternalURL: external, TraceURL: traces,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Channel("#shop")
}
