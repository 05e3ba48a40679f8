package slack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slowburn-slo/slowburn/internal/fakeslack"
	"github.com/slowburn-slo/slowburn/slo"
)

// lockedLog is a log that is read while it is written.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// onCall is a bot with buttons, and what they silenced.
type onCall struct {
	t     *testing.T
	inbox *fakeslack.Server
	http  *httptest.Server
	bot   *Bot
	log   lockedLog
	file  string
	stop  func()

	mu       sync.Mutex
	silenced []string
	refuse   error
}

const appToken = "xapp-c4n4ry"

func newOnCall(t *testing.T) *onCall {
	o := &onCall{t: t, inbox: fakeslack.New(fakeslack.Options{}), file: filepath.Join(t.TempDir(), "slack-messages.json")}
	o.http = httptest.NewServer(o.inbox)
	o.start()
	t.Cleanup(func() {
		o.stop()
		o.http.CloseClientConnections() // of a websocket, that Close does not know
		o.http.Close()
		if log := o.log.String(); strings.Contains(log, "c4n4ry") || strings.Contains(log, "ticket-") {
			t.Errorf("the log tells a secret:\n%s", log)
		}
	})
	return o
}

func (o *onCall) start() {
	o.t.Helper()
	logger := slog.New(slog.NewTextHandler(&o.log, nil))
	client := &http.Client{Transport: &http.Transport{}}
	var err error
	o.bot, err = NewBot(BotOptions{
		Token: NewSecret(canaryToken), Channel: "#alerts", File: o.file, APIURL: o.http.URL + "/api", Buttons: true,
		Client: client, Logger: logger, Registerer: prometheus.NewRegistry(),
		Facts: func(string, time.Time) (Facts, bool) { f := fullFacts(); f.Chart = nil; return f, true },
	})
	if err != nil {
		o.t.Fatal(err)
	}
	socket, err := NewSocket(SocketOptions{
		Token: NewSecret(appToken), Bot: o.bot, APIURL: o.http.URL + "/api", Client: client, Logger: logger, Registerer: prometheus.NewRegistry(),
		Silence: func(_ context.Context, labels map[string]string, until time.Time, by, why string) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.refuse != nil {
				return o.refuse
			}
			o.silenced = append(o.silenced, fmt.Sprintf("%v for %s: %s, %s", labels, time.Until(until).Round(time.Minute), by, why))
			return nil
		},
	})
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- socket.Run(ctx) }()
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			o.t.Errorf("Run = %v, want nil", err)
		}
		client.CloseIdleConnections()
	})
}

// tell tells of an alert, and returns the message's TS.
func (o *onCall) tell(severity slo.Severity, over bool) string {
	o.t.Helper()
	var end time.Time
	if over {
		end = time.Now()
	}
	ctx := notify.WithGroupKey(o.t.Context(), "group of "+string(severity))
	if _, err := o.bot.Channel("#shop").Notify(ctx, checkout(severity, end)); err != nil {
		o.t.Fatal(err)
	}
	return o.top().TS
}

func (o *onCall) top() fakeslack.Message {
	o.t.Helper()
	for _, m := range o.inbox.Messages() {
		if m.Thread == "" {
			return m
		}
	}
	o.t.Fatal("there is no message")
	return fakeslack.Message{}
}

// click presses a button and returns once it was acknowledged, which Slack
// wants within three seconds.
func (o *onCall) click(c fakeslack.Click) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Minute)
	defer cancel()
	took, err := o.inbox.Click(ctx, c)
	if err != nil {
		o.t.Fatal(err)
	}
	if took > 3*time.Second {
		o.t.Errorf("%s was acknowledged after %s, want 3 s at most", c.Action, took)
	}
}

// wait waits for a message that shows text.
func (o *onCall) wait(text string) fakeslack.Message {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Minute)
	defer cancel()
	m, err := o.inbox.Wait(ctx, func(m fakeslack.Message) bool { return strings.Contains(m.Text, text) })
	if err != nil {
		o.t.Fatalf("no message with %q: %v\n%s", text, err, o.top().Text)
	}
	return m
}

func (o *onCall) until(what string, ok func() bool) {
	o.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			o.t.Fatalf("after a minute still not so: %s\n%s", what, o.log.String())
		}
	}
}

func (o *onCall) muted() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.silenced...)
}

// TestButtons: what a button does is in the message and its thread, stays there
// through edits and restarts, and is done once.
func TestButtons(t *testing.T) {
	t.Parallel() // most of it is waiting for the next message's turn
	o := newOnCall(t)
	ts := o.tell(slo.Page, false)
	for _, want := range []string{"Acknowledge", "Snooze 1 h", "Silence 4 h"} {
		if !strings.Contains(o.top().Text, want) {
			t.Errorf("the message has no button %q:\n%s", want, o.top().Text)
		}
	}

	o.click(fakeslack.Click{TS: ts, Action: acknowledges, User: "anna"})
	thread := func(text string) func() bool {
		return func() bool {
			for _, m := range o.inbox.Messages() {
				if m.Thread == ts && !m.Broadcast && strings.Contains(m.Text, text) {
					return true
				}
			}
			return false
		}
	}
	o.until("the thread says who acknowledged", thread("Acknowledged by @anna"))
	if got := o.wait("Acknowledged by @anna"); got.TS != ts || got.Edited != 1 {
		t.Errorf("%s edited %d times says so, want the message itself, once", got.TS, got.Edited)
	}
	if _, err := o.inbox.Click(t.Context(), fakeslack.Click{TS: ts, Action: acknowledges, User: "ben"}); err == nil {
		t.Error("the button to acknowledge is still there")
	}

	o.click(fakeslack.Click{TS: ts, Action: snoozes, User: "ben"})
	o.until("the thread says who snoozed", thread("Snoozed by @ben until "))
	want := "map[sloth_service:shop sloth_severity:page slowburn_flow:checkout] for 1h0m0s: @ben (Slack), snoozed by a button in Slack"
	if got := o.muted(); len(got) != 1 || got[0] != want {
		t.Errorf("silences = %q, want %q", got, want)
	}
	if text := o.top().Text; strings.Contains(text, "Silence 4 h") {
		t.Errorf("a snoozed incident can be silenced still:\n%s", text)
	}

	// An edit keeps what was done, also after a restart; the end takes the
	// buttons away.
	o.stop()
	o.start()
	o.tell(slo.Ticket, false)
	for _, want := range []string{"Acknowledged by @anna", "Snoozed by @ben until "} {
		if !strings.Contains(o.top().Text, want) {
			t.Errorf("the message does not say %q after a restart:\n%s", want, o.top().Text)
		}
	}
	o.tell(slo.Ticket, true)
	o.tell(slo.Page, true)
	if text := o.top().Text; !strings.Contains(text, "recovered") || !strings.Contains(text, "Acknowledged by @anna") || strings.Contains(text, "Snooze 1 h") {
		t.Errorf("want the cost and who acknowledged, and no buttons:\n%s", text)
	}
}

// TestButtonsLate: two people press at once, Slack tells twice, the incident is
// over meanwhile, the silence fails: whoever pressed is told, nobody else.
func TestButtonsLate(t *testing.T) {
	t.Parallel() // most of it is waiting for the next message's turn
	o := newOnCall(t)
	ts := o.tell(slo.Page, false)
	whispered := func(to, text string) func() bool {
		return func() bool {
			for _, w := range o.inbox.Whispers() {
				if w.To == to && strings.Contains(w.Text, text) {
					return true
				}
			}
			return false
		}
	}
	o.mu.Lock()
	o.refuse = errors.New("there are too many <!channel>")
	o.mu.Unlock()
	o.click(fakeslack.Click{TS: ts, Action: silences, User: "anna"})
	o.until("anna hears why", whispered("UANNA", "It was not silenced: there are too many <!channel>"))
	o.mu.Lock()
	o.refuse = nil
	o.mu.Unlock()

	pressed, err := o.inbox.Pressed(fakeslack.Click{TS: ts, Action: silences, User: "ben"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := o.inbox.Envelope(t.Context(), pressed); err != nil {
			t.Fatal(err)
		}
	}
	o.until("ben hears that it was done before", whispered("UBEN", "Nothing was done: Silenced by @ben until "))
	if got := o.muted(); len(got) != 1 || !strings.Contains(got[0], "for 4h0m0s: @ben (Slack)") {
		t.Errorf("silences = %q, want one by ben", got)
	}

	late, err := o.inbox.Pressed(fakeslack.Click{TS: ts, Action: acknowledges, User: "carl"})
	if err != nil {
		t.Fatal(err)
	}
	o.tell(slo.Page, true)
	if _, err := o.inbox.Envelope(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	o.until("carl hears that it is over", whispered("UCARL", "This incident is over"))
}

// TestButtonsForeign: what is not a button of ours, pressed by one of ours, is
// acknowledged and does nothing.
func TestButtonsForeign(t *testing.T) {
	t.Parallel() // most of it is waiting for the next message's turn
	o := newOnCall(t)
	ts := o.tell(slo.Page, false)
	o.click(fakeslack.Click{TS: ts, Action: snoozes, User: "mallory", Team: "T0OTHER"})
	edited := func(edit func(payload, action map[string]any)) {
		t.Helper()
		e, err := o.inbox.Pressed(fakeslack.Click{TS: ts, Action: snoozes, User: "mallory"})
		if err != nil {
			t.Fatal(err)
		}
		payload := e["payload"].(map[string]any)
		edit(payload, payload["actions"].([]map[string]any)[0])
		if _, err := o.inbox.Envelope(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	edited(func(p, _ map[string]any) { p["api_app_id"] = "A0OTHER" })
	edited(func(p, _ map[string]any) { p["user"] = map[string]string{} })
	edited(func(p, _ map[string]any) { p["type"] = "view_submission" })
	edited(func(_, a map[string]any) { a["action_id"] = "dashboard" }) // a link
	edited(func(_, a map[string]any) { a["value"] = "{}" })
	edited(func(_, a map[string]any) { a["value"] = "<!channel>" })
	for _, e := range []map[string]any{
		{"type": "interactive", "envelope_id": "no payload"},
		{"type": "interactive", "envelope_id": "a list", "payload": []int{1}},
		{"type": "slash_commands", "envelope_id": "a command", "payload": map[string]string{"command": "/x"}},
		{"type": "news", "envelope_id": "unknown"},
	} {
		if _, err := o.inbox.Envelope(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	// A click of ours comes after all of them.
	o.click(fakeslack.Click{TS: ts, Action: acknowledges, User: "anna"})
	o.wait("Acknowledged by @anna")
	if got := o.muted(); len(got) != 0 {
		t.Errorf("silences = %q, want none", got)
	}
	if strings.Contains(o.top().Text, "mallory") {
		t.Errorf("the message names mallory:\n%s", o.top().Text)
	}
}

// TestButtonsReconnect: a connection that Slack ends, or that is cut, is made
// anew.
func TestButtonsReconnect(t *testing.T) {
	t.Parallel() // most of it is waiting for the next message's turn
	o := newOnCall(t)
	ts := o.tell(slo.Page, false)
	if err := o.inbox.Disconnect(t.Context(), "refresh_requested"); err != nil {
		t.Fatal(err)
	}
	o.inbox.Fail(1, http.StatusServiceUnavailable, "") // at first it does not work
	o.until("there were two more tries", func() bool { return o.inbox.Connections() >= 2 })
	if err := o.inbox.Disconnect(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	o.click(fakeslack.Click{TS: ts, Action: acknowledges, User: "anna"})
	o.wait("Acknowledged by @anna")
}

// TestButtonsBackoff: Slack that cannot or will not connect is not pestered.
func TestButtonsBackoff(t *testing.T) {
	most, least := int(time.Hour/lastPause)+10, int(time.Hour/(lastPause*3/2))
	for _, tc := range []struct {
		name        string
		fail        func(*fakeslack.Server)
		least, most int // tries in an hour
		log         string
	}{
		{"away", func(s *fakeslack.Server) { s.Fail(10_000, http.StatusServiceUnavailable, "") }, least, most, "cannot tell of buttons"},
		{"limited", func(s *fakeslack.Server) { s.Fail(10_000, http.StatusTooManyRequests, "600") }, 6, 7, "limits the rate"},
		{"revoked", func(s *fakeslack.Server) { s.Refuse(10_000, "token_revoked") }, 12, 13, "check the app token"},
		{"no websocket", func(*fakeslack.Server) {}, least, most, "cannot tell of buttons"}, // the address leads nowhere
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inbox := fakeslack.New(fakeslack.Options{})
				tc.fail(inbox)
				client := &http.Client{Transport: inProcess{inbox}}
				var log lockedLog
				logger := slog.New(slog.NewTextHandler(&log, nil))
				bot, err := NewBot(BotOptions{Token: NewSecret(canaryToken), Client: client, APIURL: "http://127.0.0.1:1/api"})
				if err != nil {
					t.Fatal(err)
				}
				s, err := NewSocket(SocketOptions{
					Token: NewSecret(appToken), Bot: bot, Client: client, APIURL: "http://127.0.0.1:1/api", Logger: logger,
					Silence: func(context.Context, map[string]string, time.Time, string, string) error { return nil },
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if err := s.Run(ctx); err != nil {
					t.Errorf("Run = %v, want nil", err)
				}
				if n := len(inbox.Deliveries()); n < tc.least || n > tc.most {
					t.Errorf("%d tries in an hour, want %d to %d", n, tc.least, tc.most)
				}
				if got := log.String(); !strings.Contains(got, tc.log) || strings.Contains(got, "c4n4ry") || strings.Contains(got, "ticket-") {
					t.Errorf("log wants %q and no secret:\n%s", tc.log, got)
				}
			})
		})
	}
}

func TestNewSocketFaults(t *testing.T) {
	bot, err := NewBot(BotOptions{Token: NewSecret(canaryToken)})
	if err != nil {
		t.Fatal(err)
	}
	silence := func(context.Context, map[string]string, time.Time, string, string) error { return nil }
	for _, tc := range []struct {
		name string
		o    SocketOptions
		want string
	}{
		{"no bot", SocketOptions{Token: NewSecret(appToken), Silence: silence}, "Options.Bot"},
		{"no token", SocketOptions{Bot: bot, Silence: silence}, "want one that begins with xapp-"},
		{"another token", SocketOptions{Token: NewSecret("xoxb-c4n4ry"), Bot: bot, Silence: silence}, "want one that begins with xapp-"},
	} {
		if _, err := NewSocket(tc.o); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: NewSocket = %v, want %q in it", tc.name, err, tc.want)
		}
	}
}
