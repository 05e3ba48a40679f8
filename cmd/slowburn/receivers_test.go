package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/internal/fakeslack"
)

// hook takes what is posted to it, as a webhook receiver or an Alertmanager.
type hook struct {
	*httptest.Server

	mu     sync.Mutex
	bodies []string // path and body
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.bodies = append(h.bodies, r.URL.Path+" "+string(b))
	}))
	t.Cleanup(h.Close)
	return h
}

// heard returns how often all of the words were in one body.
func (h *hook) heard(words ...string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.bodies {
		all := true
		for _, w := range words {
			all = all && strings.Contains(b, w)
		}
		if all {
			n++
		}
	}
	return n
}

// soon waits for a condition.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		if !ok() {
			return fmt.Errorf("still not so: %s", what)
		}
		return nil
	})
}

// call makes a request with a body of JSON, and returns status and answer.
func call(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// alertOf is the body that reports an alert as firing.
func alertOf(flow string) string {
	return fmt.Sprintf(`[{"labels":{"alertname":"SlowburnBudgetBurnPage","sloth_id":"shop-%[1]s-availability","sloth_service":"shop",`+
		`"sloth_slo":"availability","slowburn_flow":%[1]q,"sloth_severity":"page"},"annotations":{"summary":"%[1]s burns"}}]`, flow)
}

func TestReceiversConfig(t *testing.T) {
	for _, tc := range []struct {
		name  string
		c     receiversConfig
		slack bool
		want  string
	}{
		{name: "nothing"},
		{name: "Slack", slack: true},
		{name: "file", c: receiversConfig{file: "a.yml"}, slack: true},
		{name: "elsewhere", c: receiversConfig{urls: []string{"http://a"}, http: "http.yml"}},
		{name: "file and elsewhere", c: receiversConfig{file: "a.yml", urls: []string{"http://a"}}, want: "want one of them"},
		{name: "elsewhere and Slack", c: receiversConfig{urls: []string{"http://a"}}, slack: true, want: "that Alertmanager tells Slack"},
		{name: "settings of nobody", c: receiversConfig{http: "http.yml"}, want: "there is no --alertmanager-url"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.c.check(tc.slack)
			if (err != nil) != (tc.want != "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("check(%v) = %v, want %q", tc.slack, err, tc.want)
			}
		})
	}
}

const nativeYAML = `
route:
  receiver: nobody
  group_wait: 0s
  group_interval: 1s
  group_by: [sloth_id]
  routes:
    - {receiver: %s, matchers: ['sloth_severity="page"']}
receivers:
  - name: nobody
  - name: hook
    webhook_configs: [{url_file: %q}]
  - name: slowburn-slack
`

// TestAlertmanagerConfig: a file in Alertmanager's own format rules; one with a
// fault changes nothing, and a better one comes into force.
func TestAlertmanagerConfig(t *testing.T) {
	h := newHook(t)
	dir := t.TempDir()
	secret, file := filepath.Join(dir, "hook"), filepath.Join(dir, "alertmanager.yml")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(secret, h.URL+"/c4n4ry")
	put(file, fmt.Sprintf(nativeYAML, "hook", secret))
	logs := &lockedBuffer{}
	s, _ := startWith(t, dir, shopYAML, slog.New(slog.NewTextHandler(logs, nil)), func(c *config) { c.receivers.file = file })
	post := func(flow string) {
		t.Helper()
		if status, answer := call(t, "POST", s.address()+"/api/v2/alerts", alertOf(flow)); status != 200 {
			t.Fatalf("POST /api/v2/alerts: %d %s", status, answer)
		}
	}
	post("checkout")
	soon(t, "the webhook hears of the checkout", func() bool { return h.heard("/c4n4ry", "checkout burns", `"status":"firing"`) == 1 })

	put(file, fmt.Sprintf(nativeYAML, "hoook", secret))
	soon(t, "the fault is noticed", func() bool { return s.reloaded.Load().fault != nil })
	if got, want := s.reloaded.Load().fault.Error(), file+`:8: undefined receiver "hoook" used in route`; !strings.Contains(got, want) {
		t.Errorf("fault = %s, want %s in it", got, want)
	}
	post("search")
	soon(t, "the webhook hears of the search", func() bool { return h.heard("search burns") == 1 })

	put(file, fmt.Sprintf(nativeYAML, "nobody", secret))
	soon(t, "the file is in force again", func() bool { return s.reloaded.Load().fault == nil })
	post("cart")
	soon(t, "the cart's alert is there", func() bool {
		_, answer := call(t, "GET", s.address()+"/api/v2/alerts", "")
		return strings.Contains(answer, "cart burns")
	})
	time.Sleep(time.Second)
	if h.heard("cart burns") > 0 || h.heard("checkout burns") != 1 {
		t.Error("the webhook hears of the cart, or of the checkout again; want neither")
	}
	if strings.Contains(logs.String(), "c4n4ry") {
		t.Errorf("the log tells the webhook's address:\n%s", logs.String())
	}
}

// TestAlertmanagerConfigFaults: what cannot be meant is refused at the start.
func TestAlertmanagerConfigFaults(t *testing.T) {
	for _, tc := range []struct {
		name, receiver string
		slack          bool
		want           string
	}{
		{"no such receiver", "pager", false, `undefined receiver "pager"`},
		{"Slack without a webhook", "slowburn-slack", false, "want a Slack webhook or a bot token for it"},
		{"a webhook without Slack", "nobody", true, `no route leads to a receiver "slowburn-slack"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			file, slos := filepath.Join(dir, "alertmanager.yml"), filepath.Join(dir, "slos.yaml")
			for path, text := range map[string]string{file: fmt.Sprintf(nativeYAML, tc.receiver, slos), slos: shopYAML} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c := config{
				slos: []string{slos}, dataDir: filepath.Join(dir, "data"), listen: "127.0.0.1:0", otlpGRPC: "127.0.0.1:0", otlpHTTP: "127.0.0.1:0",
				retention: time.Hour, flush: time.Second, maxBytes: 1 << 20, maxSpans: 1000, maxSeries: 1000,
				receivers: receiversConfig{file: file},
			}
			if tc.slack {
				c.slackURL = slack.NewSecret("http://127.0.0.1:1/services/T0/B0/x")
			}
			s, err := newServer(t.Context(), c, slog.New(slog.DiscardHandler))
			if err == nil {
				s.close()
			}
			if err == nil || !strings.Contains(err.Error(), "--alertmanager-config: "+file) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("newServer = %v, want --alertmanager-config, the file and %q in it", err, tc.want)
			}
		})
	}
}

// TestOwnSlackInNativeConfig: the file's routes lead to slowburn's own message.
func TestOwnSlackInNativeConfig(t *testing.T) {
	inbox := fakeslack.New(fakeslack.Options{})
	srv := httptest.NewServer(inbox)
	defer srv.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, nativeYAML, "slowburn-slack", file), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := startWith(t, dir, shopYAML, slog.New(slog.DiscardHandler), func(c *config) {
		c.receivers.file, c.slackURL = file, slack.NewSecret(srv.URL+"/services/T0/B0/x")
	})
	call(t, "POST", s.address()+"/api/v2/alerts", alertOf("checkout"))
	soon(t, "Slack shows the message", func() bool {
		m := inbox.Messages()
		return len(m) == 1 && strings.Contains(m[0].Text, "Checkout is failing")
	})
}

// TestAlertmanagerAPI: who speaks Alertmanager's API can read alerts, silence
// and end silences; a page of another site cannot, nor can a GET.
func TestAlertmanagerAPI(t *testing.T) {
	s, _ := start(t, t.TempDir(), shopYAML, "")
	api := s.address() + "/api/v2"
	silence := fmt.Sprintf(`{"matchers":[{"name":"slowburn_flow","value":"checkout","isRegex":false,"isEqual":true}],`+
		`"startsAt":%q,"endsAt":%q,"createdBy":"ada","comment":"upgrade"}`, time.Now().Format(time.RFC3339), time.Now().Add(time.Hour).Format(time.RFC3339))
	for _, tc := range []struct {
		name, method, path, body string
		headers                  []string
		want                     int
	}{
		{name: "alerts", method: "GET", path: "/alerts", want: 200},
		{name: "status", method: "GET", path: "/status", want: 200},
		{name: "report", method: "POST", path: "/alerts", body: alertOf("checkout"), want: 200},
		{name: "silence", method: "POST", path: "/silences", body: silence, want: 200},
		{name: "another site silences", method: "POST", path: "/silences", body: silence, headers: []string{"Sec-Fetch-Site", "cross-site"}, want: 403},
		{name: "another site reports", method: "POST", path: "/alerts", body: alertOf("x"), headers: []string{"Sec-Fetch-Site", "cross-site"}, want: 403},
		{name: "an old browser at another site", method: "DELETE", path: "/silence/8d2ff9dd-2b0c-4a9a-9a55-ab6e8f6d4c35", headers: []string{"Origin", "https://evil.example"}, want: 403},
		{name: "a GET silences", method: "GET", path: "/silences?" + silence, body: silence, want: 200},
		{name: "a form", method: "POST", path: "/silences", body: silence, headers: []string{"Content-Type", "text/plain"}, want: 415},
		{name: "no such silence", method: "DELETE", path: "/silence/8d2ff9dd-2b0c-4a9a-9a55-ab6e8f6d4c35", want: 404},
		{name: "endless", method: "POST", path: "/alerts", body: "[" + strings.Repeat(" ", maxPosted) + "]", want: 400},
		{name: "no such path", method: "GET", path: "/x", want: 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// A query with braces is nobody's: the body says it as well.
			path, _, _ := strings.Cut(tc.path, "?")
			if status, answer := call(t, tc.method, api+path, tc.body, tc.headers...); status != tc.want {
				t.Errorf("%s %s = %d %s, want %d", tc.method, path, status, answer, tc.want)
			}
		})
	}
	list, err := s.silences()
	if err != nil || len(list) != 1 || list[0].By != "ada" {
		t.Fatalf("silences = %+v, %v; want the one by ada", list, err)
	}
	if status, answer := call(t, "DELETE", api+"/silence/"+list[0].ID, ""); status != 200 {
		t.Errorf("DELETE = %d %s, want 200", status, answer)
	}
	if list, err := s.silences(); err != nil || len(list) != 0 {
		t.Errorf("silences = %+v, %v; want none after the DELETE", list, err)
	}
}

// TestAlertmanagerElsewhere: alerts go to another Alertmanager, and the pages
// say that they are silenced there.
func TestAlertmanagerElsewhere(t *testing.T) {
	h := newHook(t)
	s, stop := startWith(t, t.TempDir(), shopYAML, slog.New(slog.DiscardHandler), func(c *config) { c.receivers.urls = []string{h.URL + "/am"} })
	s.notify()(t.Context(), "", &rules.Alert{
		Labels: labels.FromStrings(labels.AlertName, "Burn", "slowburn_flow", "checkout"), FiredAt: time.Now(), ValidUntil: time.Now().Add(time.Minute),
	})
	soon(t, "the Alertmanager hears of it", func() bool { return h.heard("/am/api/v2/alerts ", `"slowburn_flow":"checkout"`) == 1 })

	if status, _ := call(t, "GET", s.address()+"/api/v2/alerts", ""); status != 404 {
		t.Errorf("GET /api/v2/alerts = %d, want 404: it is elsewhere", status)
	}
	if status, _ := call(t, "GET", s.address()+"/api/slowburn/v1/silences", ""); status != 501 {
		t.Errorf("GET silences = %d, want 501", status)
	}
	if _, page := call(t, "GET", s.address()+"/alerts", ""); !strings.Contains(page, "told by an Alertmanager outside") {
		t.Error("the page of alerts does not say that they are silenced elsewhere")
	}
	if _, page := call(t, "GET", s.address()+"/config", ""); !strings.Contains(page, "the Alertmanager at "+h.URL) {
		t.Error("the page of the configuration does not name the Alertmanager")
	}
	if _, page := call(t, "GET", s.address()+"/metrics", ""); !strings.Contains(page, "prometheus_notifications_errors_total{") {
		t.Error("the metrics do not count what could not be sent")
	}
	stop()
}

// TestButtonsSilence: a pressed button silences in the Alertmanager.
func TestButtonsSilence(t *testing.T) {
	inbox := fakeslack.New(fakeslack.Options{})
	srv := httptest.NewServer(inbox)
	defer srv.Close()
	defer srv.CloseClientConnections()
	s, stop := startWith(t, t.TempDir(), shopYAML, slog.New(slog.DiscardHandler), func(c *config) {
		c.slack = slackConfig{
			token: slack.NewSecret("xoxb-1"), appToken: slack.NewSecret("xapp-1"), channel: "#alerts", apiURL: srv.URL + "/api",
		}
	})
	defer stop()
	call(t, "POST", s.address()+"/api/v2/alerts", alertOf("checkout"))
	soon(t, "the message is there", func() bool { return len(inbox.Messages()) > 0 })
	if _, err := inbox.Click(t.Context(), fakeslack.Click{TS: inbox.Messages()[0].TS, Action: "slowburn_snooze", User: "anna"}); err != nil {
		t.Fatal(err)
	}
	soon(t, "the message says so", func() bool { return strings.Contains(inbox.Messages()[0].Text, "Snoozed by @anna until ") })
	_, answer := call(t, "GET", s.address()+"/api/v2/silences", "")
	var silences []struct {
		CreatedBy, Comment string
		StartsAt, EndsAt   time.Time
		Matchers           []struct{ Name, Value string }
	}
	if err := json.Unmarshal([]byte(answer), &silences); err != nil || len(silences) != 1 {
		t.Fatalf("silences = %s, %v; want one", answer, err)
	}
	got := silences[0]
	if length := got.EndsAt.Sub(got.StartsAt).Round(time.Minute); got.CreatedBy != "@anna (Slack)" || got.Comment == "" || length != time.Hour || len(got.Matchers) != 3 {
		t.Errorf("silence = %+v, want one of an hour by @anna (Slack), of one flow and severity", got)
	}
	if _, answer := call(t, "GET", s.address()+"/api/v2/alerts?silenced=true&active=false", ""); !strings.Contains(answer, "checkout burns") {
		t.Errorf("silenced alerts = %s, want the checkout's", answer)
	}
}
