package alertmanager_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn-slo/slowburn/alerts/alertmanager"
	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// posts counts what Slack takes.
type posts struct {
	mu   sync.Mutex
	took []string
}

func (p *posts) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took = append(p.took, string(body))
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("ok"))}, nil
}

// take returns what came since the last call.
func (p *posts) take() (took []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	took, p.took = p.took, nil
	return took
}

// TestStorm: flows that all page in one evaluation are told in at most five
// messages, and so is their end; nothing is told twice.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const flows = 200
		external := &url.URL{Scheme: "https", Host: "slo.example"}
		inbox := &posts{}
		hook, err := slack.New(slack.Options{
			URL: slack.NewSecret("https://hooks.slack.invalid/services/T0/B0/x"), ExternalURL: external,
			Client: &http.Client{Transport: inbox}, Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		am, err := alertmanager.New(alertmanager.Options{
			Dir: t.TempDir(), ExternalURL: external, Registerer: prometheus.NewRegistry(),
			Notifier: func(channel string) notify.Notifier { return slack.Gather(hook.Channel(channel)) },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := am.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()

		began := time.Now()
		report := func(ended time.Time) {
			all := make([]*rules.Alert, flows)
			for i := range all {
				name := fmt.Sprintf("flow-%04d", i)
				all[i] = &rules.Alert{
					FiredAt: began, ResolvedAt: ended, ValidUntil: time.Now().Add(time.Hour),
					Labels: labels.FromStrings(labels.AlertName, series.AlertPage, series.ID, "shop-"+name+"-availability",
						series.SLOServ, "shop", series.SLOFlow, name, series.Severity, string(slo.Page)),
					Annotations: labels.FromStrings("objective", "99.9% succeed over 30d"),
				}
			}
			am.Notify(ctx, "", all...)
		}
		for _, ended := range []bool{false, true} {
			var end time.Time
			if ended {
				end = time.Now()
			}
			report(end)
			time.Sleep(time.Minute)
			took := inbox.take()
			if len(took) < 2 || len(took) > 5 {
				t.Errorf("%d messages, want 2 to 5", len(took))
			}
			counted := 0
			for _, m := range took {
				n := 1
				if strings.Contains(m, " flows of shop ") {
					if !strings.Contains(m, "https://slo.example/alerts|") {
						t.Errorf("summary %s, want a link to all alerts", m)
					}
					_, count, _ := strings.Cut(m, `"text":"`)
					count, _, _ = strings.Cut(count, " flows of shop ")
					if _, err := fmt.Sscan(strings.ReplaceAll(strings.Fields(count)[1], ",", ""), &n); err != nil {
						t.Fatalf("%q: %v", count, err)
					}
				}
				counted += n
			}
			if counted != flows {
				t.Errorf("the messages tell of %d flows, want %d", counted, flows)
			}
		}
		time.Sleep(10 * time.Minute)
		if took := inbox.take(); len(took) > 0 {
			t.Errorf("%d messages more, want none", len(took))
		}
		cancel()
		wg.Wait()
	})
}
