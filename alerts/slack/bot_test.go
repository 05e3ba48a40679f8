package slack

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/alerts/slack/chart"
	"github.com/slowburn-slo/slowburn/internal/fakeslack"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// inProcess hands requests to a server without a network, so that a bubble's
// clock governs both.
type inProcess struct{ http.Handler }

func (h inProcess) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	r.Host = r.URL.Host
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("connection cut")
		}
	}()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// outage is an incident as it goes on.
type outage struct {
	t     *testing.T
	inbox *fakeslack.Server
	bot   *Bot
	log   bytes.Buffer
	file  string
	facts Facts
}

const canaryToken = "xoxb-c4n4ry"

// newOutage begins the story at 14:05, when the ticket fires.
func newOutage(t *testing.T) *outage {
	time.Sleep(time.Until(fired.Add(2 * time.Minute)))
	o := &outage{t: t, inbox: fakeslack.New(fakeslack.Options{}), file: filepath.Join(t.TempDir(), "slack-messages.json"), facts: fullFacts()}
	o.facts.Forecast = time.Time{}
	o.facts.Chart = &chart.Data{
		Title: "Checkout: requests that fail", From: fired.Add(-time.Hour), To: fired.Add(time.Minute), Objective: 0.001, Began: fired.Add(-time.Minute),
		Points: []chart.Point{{At: fired.Add(-time.Hour), Share: 0.0004}, {At: fired.Add(-time.Minute), Share: 0.0005}, {At: fired.Add(time.Minute), Share: 0.031}},
	}
	o.restart()
	return o
}

func (o *outage) restart() {
	o.t.Helper()
	var err error
	o.bot, err = NewBot(BotOptions{
		Token: NewSecret(canaryToken), Channel: "#alerts", File: o.file, APIURL: "http://slack.invalid/api",
		Client: &http.Client{Transport: inProcess{o.inbox}},
		Facts:  func(string, time.Time) (Facts, bool) { return o.facts, true },
		Logger: slog.New(slog.NewTextHandler(&o.log, nil)),
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// tell calls Notify once.
func (o *outage) tell(severity slo.Severity, over, again bool) error {
	ctx := notify.WithGroupKey(o.t.Context(), "group of "+string(severity))
	if again {
		ctx = notify.WithNotificationReason(ctx, notify.ReasonRepeatIntervalElapsed)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	var end time.Time
	if over {
		end = time.Now()
	}
	_, err := o.bot.Channel("#shop").Notify(ctx, checkout(severity, end))
	return err
}

func (o *outage) must(severity slo.Severity, over, again bool) {
	o.t.Helper()
	if err := o.tell(severity, over, again); err != nil {
		o.t.Fatal(err)
	}
}

// shown is what somebody in the channel sees.
func (o *outage) shown() string {
	var b strings.Builder
	for _, m := range o.inbox.Messages() {
		switch {
		case m.Thread == "":
			fmt.Fprintf(&b, "%s %s edited %d times\n", m.Channel, m.Color, m.Edited)
		case m.Broadcast:
			b.WriteString("  > to thread and channel\n")
		default:
			b.WriteString("  > to thread\n")
		}
		for line := range strings.Lines(m.Text) {
			b.WriteString("  | " + strings.TrimRight(line, "\n") + "\n")
		}
	}
	return b.String()
}

// top is the only message that is no reply.
func (o *outage) top() fakeslack.Message {
	o.t.Helper()
	var all []fakeslack.Message
	for _, m := range o.inbox.Messages() {
		if m.Thread == "" {
			all = append(all, m)
		}
	}
	if len(all) != 1 {
		o.t.Fatalf("%d messages in the channel, want 1:\n%s", len(all), o.shown())
	}
	return all[0]
}

// TestIncident: an incident is one message, edited in place, and its thread the
// timeline.
func TestIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t)
		var story strings.Builder
		scene := func(name string) {
			fmt.Fprintf(&story, "── %s ──\n%s\n", name, o.shown())
			fits(t, o.top().Raw)
			inert(t, o.top().Raw)
		}
		o.must(slo.Ticket, false, false)
		scene("a ticket")
		time.Sleep(10 * time.Minute)
		o.must(slo.Page, false, false)
		scene("it pages")
		o.restart()
		time.Sleep(4 * time.Hour)
		o.must(slo.Page, false, true)
		scene("it still burns after a restart and four hours")
		o.must(slo.Page, true, false)
		scene("the page is over")
		time.Sleep(time.Hour)
		o.must(slo.Ticket, true, false)
		scene("all is over")
		golden(t, "incident", []byte(story.String()))

		raw := string(o.top().Raw)
		i := strings.Index(raw, `"slack_file":{"id":"`)
		if i < 0 {
			t.Fatalf("the message shows no picture: %s", raw)
		}
		id, _, _ := strings.Cut(raw[i+len(`"slack_file":{"id":"`):], `"`)
		if _, err := png.Decode(bytes.NewReader(o.inbox.File(id))); err != nil {
			t.Errorf("the picture of the message: %v", err)
		}
		if o.top().Color != green {
			t.Errorf("colour = %s, want green at the end", o.top().Color)
		}
		time.Sleep(keepEnded + time.Second)
		o.restart()
		if b := o.bot.book; len(b.open)+len(b.over) > 0 {
			t.Errorf("remembered a day afterwards = %v and %v, want nothing", b.open, b.over)
		}
		if o.log.Len() > 0 {
			t.Errorf("log = %s, want nothing", &o.log)
		}

		// The next incident has a message of its own.
		o.must(slo.Page, false, false)
		if n := strings.Count(o.shown(), "edited"); n != 2 {
			t.Errorf("%d messages after the next incident, want 2:\n%s", n, o.shown())
		}
	})
}

// TestTicketEndsFirst: what ends under a page is not told: the page is.
func TestTicketEndsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t)
		o.must(slo.Page, false, false)
		before := len(o.inbox.Deliveries())
		o.must(slo.Ticket, true, false) // never told as firing
		if n := len(o.inbox.Deliveries()); n != before {
			t.Errorf("%d requests for the end of what was never told, want none", n-before)
		}
		if c := o.top().Color; c != red {
			t.Errorf("colour = %s, want the page's red", c)
		}
	})
}

// TestLate: an incident that came and went while nobody could be told is told
// once, as over.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t)
		o.must(slo.Page, true, false)
		if m := o.top(); m.Color != green || m.Edited != 1 { // the chart came afterwards
			t.Errorf("message = %s edited %d times, want a green one edited for its chart", m.Color, m.Edited)
		}
	})
}

// TestBotFailures: whatever Slack does, a page is told once, and not before
// Slack allows it.
func TestBotFailures(t *testing.T) {
	for _, tc := range []struct {
		name        string
		fail        func(*fakeslack.Server)
		least, most time.Duration
		log         string
	}{
		{"limited", func(s *fakeslack.Server) { s.Fail(1, 429, "30") }, 30 * time.Second, 32 * time.Second, "limits the rate"},
		{"limited without a time", func(s *fakeslack.Server) { s.Fail(1, 429, "") }, 30 * time.Second, 32 * time.Second, "limits the rate"},
		{"limited in words", func(s *fakeslack.Server) { s.Refuse(1, "ratelimited") }, 30 * time.Second, 32 * time.Second, "limits the rate"},
		{"down", func(s *fakeslack.Server) { s.Fail(5, 503, "") }, 15 * time.Second, time.Minute, "do not take"},
		{"cut", func(s *fakeslack.Server) { s.Fail(2, 0, "") }, time.Second, 10 * time.Second, "do not take"},
		{"internal error", func(s *fakeslack.Server) { s.Refuse(2, "fatal_error") }, time.Second, 10 * time.Second, "do not take"},
		{"revoked", func(s *fakeslack.Server) { s.Refuse(2, "token_revoked") }, 2 * refusedPause, 2*refusedPause + 5*time.Second, "token_revoked"},
		{"no channel", func(s *fakeslack.Server) { s.Refuse(1, "channel_not_found") }, refusedPause, refusedPause + 5*time.Second, "channel_not_found"},
		{"faulty message", func(s *fakeslack.Server) { s.Refuse(1, "invalid_blocks") }, refusedPause, refusedPause + 5*time.Second, "invalid_blocks"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOutage(t)
				o.facts.Chart = nil
				tc.fail(o.inbox)
				began := time.Now()
				ctx := notify.WithGroupKey(t.Context(), "group")
				if err := deliver(ctx, o.bot.Channel("#shop"), checkout(slo.Page, time.Time{})); err != nil {
					t.Fatal(err)
				}
				o.top()
				if took := time.Since(began); took < tc.least || took > tc.most {
					t.Errorf("told after %v, want %v to %v", took, tc.least, tc.most)
				}
				if text := strings.ReplaceAll(o.log.String(), "does not take", "do not take"); !strings.Contains(text, tc.log) {
					t.Errorf("log = %s, want %q", text, tc.log)
				}
				if strings.Contains(o.log.String(), "c4n4ry") {
					t.Errorf("the token is in the log: %s", &o.log)
				}
			})
		})
	}
}

// TestDeleted: a message that somebody deleted is posted anew.
func TestDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t)
		o.must(slo.Page, false, false)
		old := o.top().TS
		o.inbox.Delete(old)
		o.must(slo.Page, false, true)
		if m := o.top(); m.TS == old || m.Color != red {
			t.Errorf("message = %+v, want a new one", m)
		}
		o.must(slo.Page, true, false)
		if m := o.top(); m.Color != green {
			t.Errorf("colour = %s, want the new message green in the end", m.Color)
		}
	})
}

// TestChartFails: a page never waits for its picture, and does not fail by it.
func TestChartFails(t *testing.T) {
	for _, tc := range []struct {
		name    string
		calls   int // before the failure: post is 1, then address, upload, complete and update
		fail    func(*fakeslack.Server)
		picture bool
	}{
		{"no address", 1, func(s *fakeslack.Server) { s.Refuse(1, "not_allowed_token_type") }, false},
		{"upload cut", 2, func(s *fakeslack.Server) { s.Fail(1, 0, "") }, false},
		{"not looked at yet", 4, func(s *fakeslack.Server) { s.Refuse(2, "invalid_blocks") }, true},
		{"never shown", 4, func(s *fakeslack.Server) { s.Refuse(9, "invalid_blocks") }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOutage(t)
				n := 0
				client := &http.Client{Transport: calling{inProcess{o.inbox}, func() {
					if n++; n == tc.calls+1 {
						tc.fail(o.inbox)
					}
				}}}
				var err error
				o.bot, err = NewBot(BotOptions{
					Token: NewSecret(canaryToken), File: o.file, APIURL: "http://slack.invalid/api/", Client: client,
					Facts:  func(string, time.Time) (Facts, bool) { return o.facts, true },
					Logger: slog.New(slog.NewTextHandler(&o.log, nil)),
				})
				if err != nil {
					t.Fatal(err)
				}
				o.must(slo.Page, false, false)
				if got := strings.Contains(string(o.top().Raw), "slack_file"); got != tc.picture {
					t.Errorf("shows a picture: %v, want %v\n%s", got, tc.picture, &o.log)
				}
				if warned := strings.Contains(o.log.String(), "without its chart"); warned == tc.picture {
					t.Errorf("log = %q, want a warning: %v", &o.log, !tc.picture)
				}
				if strings.Contains(o.log.String(), "level=ERROR") || strings.Contains(o.log.String(), "c4n4ry") {
					t.Errorf("log = %s, want neither an error nor the token", &o.log)
				}
			})
		})
	}
}

// calling calls something before each request.
type calling struct {
	http.RoundTripper
	call func()
}

func (b calling) RoundTrip(r *http.Request) (*http.Response, error) {
	b.call()
	return b.RoundTripper.RoundTrip(r)
}

// TestPictureGone: a message whose picture Slack has no more is edited without.
func TestPictureGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t)
		o.must(slo.Page, false, false)
		o.facts.Chart = nil
		o.inbox.Refuse(1, "invalid_blocks")
		o.must(slo.Page, true, false)
		if m := o.top(); m.Color != green || strings.Contains(string(m.Raw), "slack_file") {
			t.Errorf("message = %s, want it green and without a picture", m.Raw)
		}
	})
}

// TestStorm: 20 incidents at once are told at one a second, pictures in between.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t)
		failed := make(chan error, 20)
		began := time.Now()
		for i := range 20 {
			go func() {
				a := checkout(slo.Page, time.Time{})
				a.Labels[series.ID] = model.LabelValue(fmt.Sprint("shop-", i))
				a.Labels[series.SLOFlow] = model.LabelValue(fmt.Sprint("flow-", i))
				ctx := notify.WithGroupKey(t.Context(), fmt.Sprint(i))
				_, err := o.bot.Channel("#shop").Notify(ctx, a)
				failed <- err
			}()
		}
		for range 20 {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		var told []time.Duration
		for _, m := range o.inbox.Messages() {
			told = append(told, m.At.Sub(began))
		}
		if len(told) != 20 || slices.Max(told) > time.Minute {
			t.Errorf("told after %v, want 20 within a minute", told)
		}
	})
}

// TestPageWhileTicketWaits: a page that comes while its ticket waits for Slack
// is told in the same message.
func TestPageWhileTicketWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t)
		o.inbox.Fail(1, 429, "60")
		if err := o.tell(slo.Ticket, false, false); err == nil {
			t.Fatal("told, want a failure that makes both wait")
		}
		failed := make(chan error, 2)
		for _, severity := range []slo.Severity{slo.Ticket, slo.Page} {
			go func() { failed <- o.tell(severity, false, false) }()
			synctest.Wait()
		}
		for range 2 {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		if m := o.top(); m.Color != red || !strings.Contains(o.shown(), "Escalated") {
			t.Errorf("in the channel:\n%s\nwant one red message that was escalated", o.shown())
		}
	})
}

// TestBookOnFullDisk: what cannot be remembered is told all the same.
func TestBookOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t)
		o.bot.book.path = filepath.Join(o.file, "in", "no", "such", "directory")
		o.must(slo.Page, false, false)
		o.must(slo.Page, true, false)
		if o.top().Color != green || !strings.Contains(o.log.String(), "not on disk") {
			t.Errorf("message %s, log %s; want it told, and the fault", o.top().Color, &o.log)
		}
	})
}

func TestNewBot(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "book.json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, want string
		o          BotOptions
	}{
		{"no token", "no bot token", BotOptions{}},
		{"user token", "begins with xoxb-", BotOptions{Token: NewSecret("xoxp-c4n4ry")}},
		{"traces", "trace URL", BotOptions{Token: NewSecret(canaryToken), TraceURL: "https://traces.example"}},
		{"broken book", "book.json", BotOptions{Token: NewSecret(canaryToken), File: broken}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewBot(tc.o)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "c4n4ry") {
				t.Errorf("NewBot = %v, want %q and no token", err, tc.want)
			}
		})
	}
}
