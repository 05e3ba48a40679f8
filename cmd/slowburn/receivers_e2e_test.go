//go:build e2e

package main

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/internal/fakeslack"
)

// TestE2EAmtool: the amtool of a distribution lists the alerts of slowburn, and
// makes, lists and ends a silence: nobody hears of an alert while it is in
// force, and they do when it has ended.
func TestE2EAmtool(t *testing.T) {
	path := installed(t, "amtool")
	inbox := fakeslack.New(fakeslack.Options{})
	srv := httptest.NewServer(inbox)
	defer srv.Close()
	logs := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, _ := startWith(t, t.TempDir(), hasty, logs, func(c *config) { c.slackURL = slack.NewSecret(srv.URL + "/services/T0/B0/x") })
	amtool := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), path, append([]string{"--alertmanager.url=" + s.address(), "--no-version-check"}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // whose file of settings could name another
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("amtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	failing := func() { post(t, "http://"+s.otlp.HTTPAddr().String()+"/v1/traces", checkouts(t, 50, true)) }
	const alert = "SlowburnBudgetBurnPage"

	if out := amtool("alert"); strings.Contains(out, alert) {
		t.Fatalf("an alert fires before anything failed:\n%s", out)
	}
	id := amtool("silence", "add", "--author=ada", "--comment=upgrade", "--duration=1h", "slowburn_flow=checkout")
	if out := amtool("silence", "query"); !strings.Contains(out, id) || !strings.Contains(out, "upgrade") {
		t.Errorf("amtool silence query does not list %s:\n%s", id, out)
	}
	eventually(t, time.Minute, func() error {
		failing()
		if out := amtool("alert", "query", "--silenced"); !strings.Contains(out, alert) {
			return fmt.Errorf("no silenced alert:\n%s", out)
		}
		return nil
	})
	// It holds for longer than it takes to tell.
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		failing()
		if m := inbox.Messages(); len(m) > 0 {
			t.Fatalf("a message in spite of the silence:\n%s", m[0].Text)
		}
		if out := amtool("alert"); strings.Contains(out, alert) {
			t.Fatalf("amtool lists a silenced alert as active:\n%s", out)
		}
	}
	amtool("silence", "expire", id)
	ended := time.Now()
	eventually(t, time.Minute, func() error {
		failing()
		for _, m := range inbox.Messages() {
			if strings.Contains(m.Text, "Checkout is failing") {
				return nil
			}
		}
		return fmt.Errorf("no page after the silence has ended")
	})
	t.Logf("the page was at Slack %.1f s after the silence ended", time.Since(ended).Seconds())
	if out := amtool("alert"); !strings.Contains(out, alert) {
		t.Errorf("amtool does not list the alert:\n%s", out)
	}
	if out := amtool("silence", "query"); strings.Contains(out, id) {
		t.Errorf("amtool lists the silence still:\n%s", out)
	}
	if out := amtool("config", "show"); !strings.Contains(out, "receiver: ") || strings.Contains(out, srv.URL) {
		t.Errorf("amtool config show = %s, want the routes and no webhook", out)
	}
}

// TestE2EExternalAlertmanager: the Alertmanager of a distribution takes alerts
// from slowburn and tells a webhook. It is away when the alert fires.
func TestE2EExternalAlertmanager(t *testing.T) {
	path := installed(t, "prometheus-alertmanager")
	h := newHook(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
route: {receiver: hook, group_by: [sloth_id, sloth_severity], group_wait: 0s, group_interval: 5s}
receivers: [{name: hook, webhook_configs: [{url: %q}]}]
`, h.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := freePort(t)
	am := &daemon{t: t, path: path, base: "http://" + listen, args: []string{
		"--config.file=" + file, "--storage.path=" + filepath.Join(dir, "alertmanager"),
		"--web.listen-address=" + listen, "--cluster.listen-address=",
	}}
	logs := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError + 4}))
	s, _ := startWith(t, dir, hasty, logs, func(c *config) { c.receivers.urls = []string{am.base} })
	failing := func() { post(t, "http://"+s.otlp.HTTPAddr().String()+"/v1/traces", checkouts(t, 50, true)) }
	eventually(t, time.Minute, func() error {
		failing()
		if s.elsewhere.FailingSince().IsZero() {
			return fmt.Errorf("nothing was sent to the Alertmanager that is away")
		}
		return nil
	})
	am.up("/-/ready")
	back := time.Now()
	eventually(t, 2*time.Minute, func() error {
		failing()
		if h.heard(`"status":"firing"`, "SlowburnBudgetBurnPage", `"slowburn_flow":"checkout"`) == 0 {
			return fmt.Errorf("the webhook has not heard of the checkout")
		}
		return nil
	})
	t.Logf("the webhook heard %.1f s after the Alertmanager was back", time.Since(back).Seconds())
	if since := s.elsewhere.FailingSince(); !since.IsZero() {
		t.Errorf("failing since %s, want never: it took the alert", since)
	}
	// An alert is kept for a quarter of an hour after it last burned, which is
	// long to wait for: another one ends at once.
	other := &rules.Alert{
		Labels: labels.FromStrings(labels.AlertName, "Other", "sloth_id", "other"), FiredAt: time.Now(), ValidUntil: time.Now().Add(time.Minute),
	}
	s.notify()(t.Context(), "", other)
	eventually(t, time.Minute, func() error {
		if h.heard(`"status":"firing"`, "Other") == 0 {
			return fmt.Errorf("the webhook has not heard of the other alert")
		}
		return nil
	})
	ended := *other
	ended.ResolvedAt = time.Now()
	s.notify()(t.Context(), "", &ended)
	eventually(t, time.Minute, func() error {
		if h.heard(`"status":"resolved"`, "Other") == 0 {
			return fmt.Errorf("the webhook has not heard that it ended")
		}
		return nil
	})
	am.end(syscall.SIGTERM)
}
