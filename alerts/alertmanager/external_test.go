package alertmanager

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
)

// taker is an Alertmanager that takes alerts, or refuses them.
type taker struct {
	*httptest.Server

	mu     sync.Mutex
	status int
	got    []string // alertname, and whether it has ended
	user   string
	path   string
}

func newTaker(t *testing.T) *taker {
	k := &taker{status: http.StatusOK}
	k.Server = httptest.NewServer(k)
	t.Cleanup(k.Close)
	return k
}

func (k *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	user, password, _ := r.BasicAuth()
	k.user, k.path = user+":"+password, r.URL.Path
	var alerts []struct {
		Labels map[string]string
		EndsAt time.Time
	}
	if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if k.status == http.StatusOK {
		for _, a := range alerts {
			state := " firing"
			if a.EndsAt.Before(time.Now()) {
				state = " resolved"
			}
			k.got = append(k.got, a.Labels["alertname"]+state)
		}
	}
	w.WriteHeader(k.status)
}

func (k *taker) heard() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.got, ", ")
}

func (k *taker) answer(status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status = status
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 30 s still not so: %s", what)
		}
	}
}

// TestExternal: both of a cluster get every alert, with the password of the
// file; one that is away is counted, and hears again what is sent again.
func TestExternal(t *testing.T) {
	one, two := newTaker(t), newTaker(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"http.yml": "basic_auth: {username: ada, password_file: password}\n", "password": "c4n4ry"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	registry := prometheus.NewRegistry()
	e, err := NewExternal(ExternalOptions{
		URLs: []string{one.URL, two.URL + "/am/"}, HTTPConfig: filepath.Join(dir, "http.yml"), Registerer: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()

	burn := &rules.Alert{
		Labels: labels.FromStrings(labels.AlertName, "Burn"), FiredAt: time.Now().Add(-time.Minute), ValidUntil: time.Now().Add(4 * time.Minute),
	}
	e.Notify(ctx, "", burn)
	until(t, "both heard", func() bool { return one.heard() == "Burn firing" && two.heard() == "Burn firing" })
	if two.path != "/am/api/v2/alerts" || two.user != "ada:c4n4ry" {
		t.Errorf("the second was asked at %s as %s, want /am/api/v2/alerts as ada:c4n4ry", two.path, two.user)
	}

	one.answer(http.StatusServiceUnavailable)
	e.Notify(ctx, "", burn)
	until(t, "the other heard again", func() bool { return two.heard() == "Burn firing, Burn firing" })
	failures := func() float64 {
		n, err := testutil.GatherAndCount(registry, "prometheus_notifications_errors_total")
		if err != nil || n != 2 {
			t.Fatalf("%d counters of failures, %v; want 2", n, err)
		}
		all, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, f := range all {
			for _, m := range f.Metric {
				if f.GetName() == "prometheus_notifications_errors_total" {
					sum += m.GetCounter().GetValue()
				}
			}
		}
		return sum
	}
	until(t, "a failure is counted", func() bool { return failures() == 1 })
	if since := e.FailingSince(); !since.IsZero() {
		t.Errorf("failing since %s, want never: one of two takes alerts", since)
	}
	two.answer(http.StatusInternalServerError)
	e.Notify(ctx, "", burn)
	until(t, "both fail", func() bool { return !e.FailingSince().IsZero() })

	one.answer(http.StatusOK)
	two.answer(http.StatusOK)
	until(t, "both hear of it without being told anew", func() bool {
		return strings.HasPrefix(one.heard(), "Burn firing, Burn firing") && strings.HasPrefix(two.heard(), "Burn firing, Burn firing, Burn firing")
	})
	ended := *burn
	ended.ResolvedAt = time.Now().Add(-time.Second)
	e.Notify(ctx, "", &ended)
	cancel() // what waits is sent first
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	for _, k := range []*taker{one, two} {
		if got := k.heard(); !strings.HasSuffix(got, "Burn firing, Burn resolved") {
			t.Errorf("heard %s, want the end last", got)
		}
	}
	if !e.FailingSince().IsZero() {
		t.Error("still failing after both took an alert")
	}
}

// TestExternalStops: one that never answers does not keep slowburn from ending.
func TestExternalStops(t *testing.T) {
	asked, stop := make(chan struct{}, 10), make(chan struct{})
	hang := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-stop
	}))
	defer hang.Close()
	defer close(stop)
	e, err := NewExternal(ExternalOptions{URLs: []string{hang.URL}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	for range 3 {
		e.Notify(ctx, "", &rules.Alert{Labels: labels.FromStrings(labels.AlertName, "Burn"), FiredAt: time.Now()})
		time.Sleep(time.Millisecond)
	}
	<-asked
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Run did not end")
	}
}

func TestNewExternalFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		urls []string
		http string
		want string
	}{
		{"none", nil, "", "no address"},
		{"no scheme", []string{"alertmanager:9093"}, "", "address 1 of an Alertmanager is none; want one such as http://alertmanager:9093"},
		{"a password", []string{"http://a:9093", "http://ada:c4n4ry@b:9093"}, "", "address 2 of an Alertmanager is none"},
		{"twice", []string{"http://a:9093", "http://a:9093"}, "", "http://a:9093 is there twice"},
		{"unknown setting", []string{"http://a:9093"}, "proxy: x\n", "http.yml:1: proxy is no setting"},
		{"no such token", []string{"http://a:9093"}, "authorization: {credentials_file: none}\n", "http.yml: credentials_file: open "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := ExternalOptions{URLs: tc.urls}
			if tc.http != "" {
				o.HTTPConfig = write(t, "http.yml", tc.http)
			}
			_, err := NewExternal(o)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "c4n4ry") {
				t.Errorf("NewExternal = %v, want %q in it", err, tc.want)
			}
		})
	}
}
