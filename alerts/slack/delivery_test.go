package slack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/internal/fakeslack"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// tellers are the ways to Slack, each over a transport.
var tellers = []struct {
	name string
	make func(*testing.T, http.RoundTripper) teller
}{
	{"webhook", func(t *testing.T, to http.RoundTripper) teller {
		w, err := New(Options{
			URL: NewSecret("http://slack.invalid/services/T0/B0/x"), Client: &http.Client{Transport: to}, Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}},
	{"bot", func(t *testing.T, to http.RoundTripper) teller {
		b, err := NewBot(BotOptions{
			Token: NewSecret(canaryToken), Channel: "#alerts", APIURL: "http://slack.invalid/api", Client: &http.Client{Transport: to}, Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}},
}

type teller interface {
	Channel(string) notify.Notifier
	FailingSince() time.Time
	Retry()
}

// network is a way to a server that can be broken, and notes when it was used.
type network struct {
	next http.RoundTripper

	mu    sync.Mutex
	began time.Time
	until time.Time // broken
	how   func(*http.Request) (*http.Response, error)
	used  []time.Duration
}

func (l *network) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	l.used = append(l.used, time.Since(l.began))
	how := l.how
	if !time.Now().Before(l.until) {
		how = nil
	}
	l.mu.Unlock()
	if how != nil {
		return how(r)
	}
	return l.next.RoundTrip(r)
}

// incidentOf is a page of one of many flows.
func incidentOf(i int, end time.Time) *alert.Alert {
	a := checkout(slo.Page, end)
	a.Labels[series.ID] = model.LabelValue(fmt.Sprintf("shop-flow-%d-availability", i))
	a.Labels[series.SLOFlow] = model.LabelValue(fmt.Sprint("flow-", i))
	return a
}

// TestHourWithoutSlack: 20 pages wait for an hour, whatever is wrong; then each
// is told once, within a minute, and the waiting costs next to no memory.
func TestHourWithoutSlack(t *testing.T) {
	broken := func(err error) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	for _, tc := range []struct {
		name string
		how  func(*http.Request) (*http.Response, error)
	}{
		{"refused", broken(&net.OpError{Op: "dial", Err: errors.New("connection refused")})},
		{"no such host", broken(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "slack.invalid", IsNotFound: true}})},
		{"certificate expired", broken(errors.New("tls: failed to verify certificate: x509: certificate has expired or is not yet valid"))},
		{"time out", func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}},
		{"500", func(*http.Request) (*http.Response, error) { return says(500, "server_error") }},
		{"502", func(*http.Request) (*http.Response, error) { return says(502, "<html>") }},
		{"503", func(*http.Request) (*http.Response, error) { return says(503, "") }},
	} {
		for _, by := range tellers {
			t.Run(by.name+" "+tc.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const pages, down = 20, time.Hour
					inbox := fakeslack.New(fakeslack.Options{})
					line := &network{next: inbox.Transport(), began: time.Now(), until: time.Now().Add(down), how: tc.how}
					tell := by.make(t, line)
					channel := tell.Channel("#shop")
					var wg sync.WaitGroup
					for i := range pages {
						ctx := notify.WithGroupKey(t.Context(), fmt.Sprint(i))
						wg.Go(func() {
							for { // as Alertmanager does, which begins anew every minute
								ctx, cancel := context.WithTimeout(ctx, time.Minute)
								err := deliver(ctx, channel, incidentOf(i, time.Time{}))
								cancel()
								if err == nil {
									return
								}
							}
						})
					}
					time.Sleep(10 * time.Second)
					before := heap()
					time.Sleep(down - 20*time.Second)
					if more := int64(heap()) - int64(before); more > 10<<20 {
						t.Errorf("an hour of waiting costs %d KiB, want 10 MiB at most", more>>10)
					}
					if waits := time.Since(tell.FailingSince()); waits < down-time.Minute || waits > down {
						t.Errorf("failing for %v after an hour", waits)
					}
					line.mu.Lock()
					tries := 0
					for _, at := range line.used {
						if at < 10*time.Minute {
							tries++
						}
					}
					line.mu.Unlock()
					if tries < 10 || tries > 40 {
						t.Errorf("%d tries in ten minutes, want 10 to 40", tries)
					}
					wg.Wait()
					all := inbox.Messages()
					if len(all) != pages {
						t.Errorf("%d messages, want %d", len(all), pages)
					}
					for i, m := range all {
						if late := m.At.Sub(line.began.Add(down)); late > time.Minute {
							t.Errorf("message %d came %v after Slack's return, want a minute at most", i, late)
						}
						if i > 0 && m.At.Sub(all[i-1].At) < time.Second {
							t.Errorf("messages %d and %d are %v apart, want a second", i-1, i, m.At.Sub(all[i-1].At))
						}
					}
					if since := tell.FailingSince(); !since.IsZero() {
						t.Errorf("failing since %v after all was told", since)
					}
				})
			})
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestTrouble: whatever a server does to a try, the message is told in the end,
// after as long as it takes, and only once unless Slack took it and did not say
// so.
func TestTrouble(t *testing.T) {
	const past = 2 * time.Second // after the time from which it may be told
	for _, tc := range []struct {
		name        string
		trouble     func(*fakeslack.Server)
		least, most time.Duration
		messages    int
	}{
		{"hangs", func(s *fakeslack.Server) { s.Trouble(1, fakeslack.Hangs) }, tryFor, tryFor + past, 1},
		{"hangs for five minutes", func(s *fakeslack.Server) { s.Trouble(9, fakeslack.Hangs) }, 9 * tryFor, 9*tryFor + 9*lastPause*3/2, 1},
		{"endless answer", func(s *fakeslack.Server) { s.Trouble(1, fakeslack.Endless) }, firstPause, tryFor + past, 1},
		{"cut short", func(s *fakeslack.Server) { s.Trouble(1, fakeslack.CutShort) }, firstPause, past, 1},
		{"taken, but cut short", func(s *fakeslack.Server) { s.Trouble(1, fakeslack.TakesCut) }, firstPause, past, 2},
		{"200 and another word", func(s *fakeslack.Server) { s.Trouble(1, fakeslack.NoSuchApp) }, firstPause, past, 1},
		{"connection cut", func(s *fakeslack.Server) { s.Fail(1, 0, "") }, firstPause, past, 1},
		{"limited for 2 s", func(s *fakeslack.Server) { s.Fail(1, 429, "2") }, 2 * time.Second, 2*time.Second + past, 1},
		{"limited for 30 s", func(s *fakeslack.Server) { s.Fail(1, 429, "30") }, 30 * time.Second, 30*time.Second + past, 1},
		{"limited until a date", func(s *fakeslack.Server) {
			s.Fail(1, 429, time.Now().Add(20*time.Second).UTC().Format(http.TimeFormat))
		}, 20 * time.Second, 20*time.Second + past, 1},
		{"limited without a time", func(s *fakeslack.Server) { s.Fail(1, 429, "") }, limitedPause, limitedPause + past, 1},
		{"limited for longer than a try of Alertmanager", func(s *fakeslack.Server) { s.Fail(1, 429, "150") }, 150 * time.Second, 150*time.Second + past, 1},
		{"revoked", func(s *fakeslack.Server) { s.Fail(2, 403, "") }, 2 * refusedPause, 2*refusedPause + 2*past, 1},
		{"no such app", func(s *fakeslack.Server) { s.Fail(2, 404, "") }, 2 * refusedPause, 2*refusedPause + 2*past, 1},
		{"gone", func(s *fakeslack.Server) { s.Fail(2, 410, "") }, 2 * refusedPause, 2*refusedPause + 2*past, 1},
		{"not understood", func(s *fakeslack.Server) { s.Fail(1, 400, "") }, refusedPause, refusedPause + past, 1},
	} {
		for _, by := range tellers {
			t.Run(by.name+" "+tc.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inbox := fakeslack.New(fakeslack.Options{})
					channel := by.make(t, inbox.Transport()).Channel("#shop")
					tc.trouble(inbox)
					began := time.Now()
					ctx := notify.WithGroupKey(t.Context(), "group")
					for {
						ctx, cancel := context.WithTimeout(ctx, time.Minute)
						err := deliver(ctx, channel, checkout(slo.Page, time.Time{}))
						cancel()
						if err == nil {
							break
						}
					}
					if took := time.Since(began); took < tc.least || took > tc.most {
						t.Errorf("told after %v, want %v to %v", took, tc.least, tc.most)
					}
					if n := len(inbox.Messages()); n != tc.messages {
						t.Errorf("%d messages, want %d", n, tc.messages)
					}
				})
			})
		}
	}
}

// TestRetry: what was refused is tried again when somebody says that it may be
// mended, and not before five minutes are over otherwise.
func TestRetry(t *testing.T) {
	for _, by := range tellers {
		t.Run(by.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inbox := fakeslack.New(fakeslack.Options{})
				tell := by.make(t, inbox.Transport())
				channel := tell.Channel("#shop")
				inbox.Fail(1, 403, "")
				ctx, cancel := context.WithTimeout(notify.WithGroupKey(t.Context(), "group"), time.Minute)
				defer cancel()
				if err := deliver(ctx, channel, checkout(slo.Page, time.Time{})); err == nil {
					t.Fatal("told within a minute of being refused, want it held back")
				}
				tell.Retry()
				if _, err := channel.Notify(notify.WithGroupKey(t.Context(), "group"), checkout(slo.Page, time.Time{})); err != nil {
					t.Error(err)
				}
				if n := len(inbox.Deliveries()); n != 2 && by.name == "webhook" {
					t.Errorf("%d tries, want 2", n)
				}
			})
		})
	}
}

// TestStandIn: a webhook of another chat says yes in its own way.
func TestStandIn(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		told   bool
	}{{204, "", true}, {200, `{"id":"1"}`, true}, {200, "ok", true}, {202, "", true}, {301, "", false}, {500, "ok", false}} {
		t.Run(fmt.Sprint(tc.status, " ", tc.body), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := prometheus.NewRegistry()
				for _, standIn := range []bool{false, true} { // both fit into one registry
					f := newFakeSlack(func(int, *http.Request) (*http.Response, error) { return says(tc.status, tc.body) })
					w, err := New(Options{URL: NewSecret("https://chat.invalid/hook"), Client: &http.Client{Transport: f}, StandIn: standIn, Registerer: registry})
					if err != nil {
						t.Fatal(err)
					}
					_, err = w.Channel("").Notify(t.Context(), pageAlert())
					if want := tc.told && (standIn || (tc.status == 200 && tc.body == "ok")); (err == nil) != want {
						t.Errorf("stand-in %v: Notify = %v, want it told: %v", standIn, err, want)
					}
				}
			})
		})
	}
}

// TestLateWords: what is told late says when it fired, and a stand-in why it is
// told.
func TestLateWords(t *testing.T) {
	at := func(clock string) time.Time {
		x, err := time.Parse("15:04", clock)
		if err != nil {
			t.Fatal(err)
		}
		return fired.Truncate(24 * time.Hour).Add(time.Duration(x.Hour())*time.Hour + time.Duration(x.Minute())*time.Minute)
	}
	iso := func(from, to string) string { return at(from).Format(time.RFC3339) + "/" + at(to).Format(time.RFC3339) }
	for _, tc := range []struct {
		name        string
		annotations model.LabelSet
		end         time.Time
		more        int // alerts that are told with it
		want        []string
		not         string
	}{
		{
			name: "over", annotations: model.LabelSet{undelivered: model.LabelValue(iso("12:03", "12:19"))}, end: at("12:19"),
			want: []string{"🟢 Checkout recovered · was firing 12:03–12:19 UTC, could not be delivered", "*Late:* was firing "},
		},
		{
			name: "fires again", annotations: model.LabelSet{undelivered: model.LabelValue(iso("12:03", "12:19") + " " + iso("12:40", "12:51"))},
			want: []string{"🔴 Checkout is failing", "*Late:* was firing ", "12:03 UTC", "12:51 UTC", "could not be delivered"},
			not:  "was firing 12:03–12:19 UTC, could",
		},
		{
			name: "elsewhere", annotations: model.LabelSet{unreachable: model.LabelValue(at("12:03").Format(time.RFC3339))},
			want: []string{"🔴 Checkout is failing", "*Sent here:* Slack has taken no message since ", "12:03 UTC"},
		},
		{name: "garbage", annotations: model.LabelSet{undelivered: "soon 1/2 /", unreachable: "never"}, want: []string{"🔴 Checkout is failing"}, not: "Late"},
		{
			name: "seven at once", annotations: model.LabelSet{undelivered: model.LabelValue(iso("12:03", "12:19"))}, end: at("12:19"), more: 6,
			want: []string{"*Late:* Checkout was firing ", "*Late:* 2 more could not be delivered"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var alerts []*alert.Alert
			for range tc.more + 1 {
				a := checkout(slo.Page, tc.end)
				a.Annotations = a.Annotations.Merge(tc.annotations)
				alerts = append(alerts, a)
			}
			s := story{headline: "🔴 Checkout is failing"}
			if !tc.end.IsZero() {
				s.headline = "🟢 Checkout recovered"
			}
			s.late(alerts)
			text := s.headline + "\n" + strings.Join(written(s.lines), "\n")
			for _, want := range tc.want {
				if !strings.Contains(text, want) {
					t.Errorf("story = %s\nwant %q in it", text, want)
				}
			}
			if tc.not != "" && strings.Contains(text, tc.not) {
				t.Errorf("story = %s\nwant no %q in it", text, tc.not)
			}
		})
	}
}
