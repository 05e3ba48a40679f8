package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	api "github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// The buttons' action_id. Slack tells of links that look like buttons too; their
// names are others.
const (
	acknowledges = "slowburn_acknowledge"
	snoozes      = "slowburn_snooze"
	silences     = "slowburn_silence"
)

const (
	// snoozeFor and silenceFor are what the buttons say. For other times there
	// is a form behind a link.
	snoozeFor  = time.Hour
	silenceFor = 4 * time.Hour

	// quiet is for how long a connection may say nothing. Slack pings every few
	// seconds; its own libraries wait for 30 s.
	quiet = 45 * time.Second

	// steady is how long a connection lasts at least that is worth another at
	// once. Slack ends each after some hours.
	steady = 10 * time.Second

	// ackFor is how long an acknowledgement may take to be written: Slack shows
	// a warning 3 s after a click.
	ackFor = 2 * time.Second

	// maxClicks wait to be acted on while Slack lets no message out. More are
	// not acknowledged, which Slack shows to whoever clicks.
	maxClicks = 100

	// maxEnvelope bounds what one click may bring, in bytes: Slack sends the
	// whole message along.
	maxEnvelope = 1 << 20
)

// aim is what a button is about, in its value.
type aim struct {
	Service  string       `json:"service"`
	Flow     string       `json:"flow"`
	Severity slo.Severity `json:"severity"`
}

// deed is what somebody did by a button.
type deed struct {
	Did   string    `json:"did"` // an action_id
	By    string    `json:"by"`  // a name
	At    time.Time `json:"at"`
	Until time.Time `json:"until,omitzero"`
}

// words says it, in Slack's markup.
func (d deed) words() string {
	by := "by @" + short(d.By)
	switch d.Did {
	case snoozes:
		return "Snoozed " + by + " until " + clock(d.Until)
	case silences:
		return "Silenced " + by + " until " + clock(d.Until)
	default:
		return "Acknowledged " + by + " " + clock(d.At)
	}
}

// actions returns the buttons of an incident, as far as nobody has pressed
// them. It returns nil when there are none.
func actions(a aim, done []deed, now time.Time) *api.ActionBlock {
	var out []api.BlockElement
	if !slices.ContainsFunc(done, func(d deed) bool { return d.Did == acknowledges }) {
		out = append(out, api.NewButtonBlockElement(acknowledges, "", plainText("Acknowledge")).WithStyle(api.StylePrimary))
	}
	value, err := json.Marshal(a)
	if a.Flow != "" && err == nil && len(value) <= maxValue && !muted(done, now) {
		alerts := "alerts"
		if a.Severity != "" {
			alerts = string(a.Severity) + "s"
		}
		out = append(out,
			api.NewButtonBlockElement(snoozes, string(value), plainText("Snooze 1 h")),
			api.NewButtonBlockElement(silences, string(value), plainText("Silence 4 h")).WithConfirm(api.NewConfirmationBlockObject(
				plainText("Silence for 4 hours?"),
				plainText(cut("Nobody hears of "+alerts+" of "+a.Flow+" until then, however bad it gets.", maxConfirm)),
				plainText("Silence"), plainText("Cancel"))))
	}
	if len(out) == 0 {
		return nil
	}
	return api.NewActionBlock("", out...)
}

const (
	maxValue   = 2000
	maxConfirm = 300
)

// muted reports whether a silence that was made by a button is in force.
func muted(done []deed, now time.Time) bool {
	return slices.ContainsFunc(done, func(d deed) bool { return d.Until.After(now) })
}

// stories are the last ones told of open incidents, for a click to tell again
// with what it did.
type stories struct {
	mu   sync.Mutex
	last map[string]lastTold // by incident
}

type lastTold struct {
	story   story
	channel string
	aim     aim
}

// clickable adds the buttons of an incident to its story, and what people did
// by them, and remembers it until the incident ends.
func (n *notice) clickable(s story, p posted) story {
	told := lastTold{story: s, channel: n.name, aim: n.aim(p)}
	b := n.bot
	b.stories.mu.Lock()
	if b.stories.last == nil {
		b.stories.last = map[string]lastTold{}
	}
	b.stories.last[n.key] = told
	if len(p.Open) == 0 {
		delete(b.stories.last, n.key)
	}
	b.stories.mu.Unlock()
	return told.with(p, b.buttons, time.Now())
}

// with adds to the story what has been done, and the buttons if they are heard.
func (t lastTold) with(p posted, buttons bool, now time.Time) story {
	s := t.story
	s.lines = slices.Clone(s.lines)
	for _, d := range p.Deeds {
		s.lines = append(s.lines, line{text: d.words()})
	}
	if buttons && len(p.Open) > 0 {
		s.actions = actions(t.aim, p.Deeds, now)
	}
	return s
}

// aim returns what a silence of the incident is to mute: alerts of the worst
// severity that fires, of one flow. For several flows it is empty.
func (n *notice) aim(p posted) aim {
	first := n.alerts[0].Labels
	a := aim{Service: string(first[series.SLOServ]), Flow: string(first[series.SLOFlow]), Severity: slo.Ticket}
	if p.Open[slo.Page] {
		a.Severity = slo.Page
	}
	for _, x := range n.alerts {
		if x.Labels[series.SLOServ] != first[series.SLOServ] || x.Labels[series.SLOFlow] != first[series.SLOFlow] {
			return aim{}
		}
	}
	return a
}

// find returns the open incident that a message is of.
func (b *book) find(channel, ts string) (key string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, p := range b.open {
		if p.Channel == channel && p.TS == ts && p.Ended.IsZero() {
			return key, true
		}
	}
	return "", false
}

// SocketOptions are what a Socket needs. Token, Bot and Silence are required.
type SocketOptions struct {
	// Token is an app-level token, xapp-…, with the scope connections:write, of
	// the bot's own app.
	Token Secret

	// Bot has posted the messages whose buttons are pressed. Its option Buttons
	// is wanted.
	Bot *Bot

	// Silence makes a silence of the alerts that have all of the labels. It is
	// called from one goroutine.
	Silence func(ctx context.Context, labels map[string]string, until time.Time, by, why string) error

	// APIURL is Slack's, https://slack.com/api/ by default.
	APIURL string

	Client     *http.Client // makes requests; a websocket is dialled anew
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Socket hears the buttons of a bot's messages over a websocket that it opens
// itself, so that Slack needs no way to reach slowburn.
type Socket struct {
	bot     *Bot
	api     *api.Client
	silence func(context.Context, map[string]string, time.Time, string, string) error
	logger  *slog.Logger
	clicks  chan api.InteractionCallback

	connected prometheus.Gauge
	pressed   *prometheus.CounterVec
}

// NewSocket checks the options and returns a Socket. It connects to nothing. No
// error shows the token.
func NewSocket(o SocketOptions) (*Socket, error) {
	switch {
	case o.Bot == nil || o.Silence == nil:
		return nil, errors.New("slack: Options.Bot or Options.Silence is missing; want both")
	case !strings.HasPrefix(o.Token.reveal(), "xapp-"):
		return nil, errors.New("slack: the app token is no app-level token; want one that begins with xapp-")
	}
	if o.Client == nil {
		o.Client = newClient()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	options := []api.Option{api.OptionHTTPClient(bounded{&client}), api.OptionAppLevelToken(o.Token.reveal())}
	if o.APIURL != "" {
		options = append(options, api.OptionAPIURL(strings.TrimSuffix(o.APIURL, "/")+"/"))
	}
	s := &Socket{
		bot: o.Bot, silence: o.Silence, logger: o.Logger, api: api.New("", options...),
		clicks: make(chan api.InteractionCallback, maxClicks),
		connected: promauto.With(o.Registerer).NewGauge(prometheus.GaugeOpts{
			Name: "slowburn_slack_buttons_connected",
			Help: "1 while Slack can tell of pressed buttons.",
		}),
		pressed: promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
			Name: "slowburn_slack_buttons_total",
			Help: "Pressed buttons by what became of them: done, late (the incident was over, or it was done before), ignored (not ours) or failed.",
		}, []string{"outcome"}),
	}
	for _, o := range []string{pressDone, pressLate, pressIgnored, pressFailed} {
		s.pressed.WithLabelValues(o)
	}
	return s, nil
}

// What becomes of a click.
const (
	pressDone    = "done"
	pressLate    = "late"
	pressIgnored = "ignored"
	pressFailed  = "failed"
)

// Run hears buttons until ctx ends, and returns nil. Connections that end or
// fail are made anew. It can be called once.
func (s *Socket) Run(ctx context.Context) error {
	var acting sync.WaitGroup
	defer acting.Wait()
	acting.Go(func() {
		for {
			select {
			case c := <-s.clicks:
				s.act(ctx, c)
			case <-ctx.Done():
				return
			}
		}
	})
	for fails := 0; ctx.Err() == nil; {
		began := time.Now()
		up, err := s.listen(ctx)
		if ctx.Err() != nil {
			break
		}
		if up && time.Since(began) >= steady {
			s.logger.Debug("slack ended the connection of the buttons", "err", err)
			fails = 0
			continue
		}
		wait := min(firstPause<<min(fails, 10), lastPause)
		wait += rand.N(wait / 2)
		if !up {
			a := s.bot.judge(err)
			wait = min(max(wait, a.pause), longestPause)
			switch {
			case a.outcome == refused:
				wait = refusedPause
				s.logger.Error("slack does not tell of buttons; check the app token and Socket Mode of the app", "err", a.err, "next_try_in", wait)
			case fails == 0:
				s.logger.Warn("slack cannot tell of buttons; they will work again when it can", "err", a.err)
			}
		}
		fails++
		_ = sleepUntil(ctx, time.Now().Add(wait)) // the loop looks at ctx
	}
	return nil
}

// listen hears buttons over one connection until it ends. up says that there
// was one.
func (s *Socket) listen(ctx context.Context) (up bool, err error) {
	opening, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	_, address, err := s.api.StartSocketModeContext(opening)
	if err != nil {
		return false, err
	}
	dialer := websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: tryFor}
	conn, resp, err := dialer.DialContext(opening, address, nil)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close() // the connection is conn's
	}
	if err != nil { // the address holds a ticket
		return false, errors.New(strings.ReplaceAll(err.Error(), address, hidden))
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // reading ends
	conn.SetReadLimit(maxEnvelope)
	alive := func() error { return conn.SetReadDeadline(time.Now().Add(quiet)) }
	conn.SetPingHandler(func(data string) error {
		_ = conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(ackFor)) // reading will tell
		return alive()
	})
	defer s.connected.Set(0)
	app := ""
	for {
		if err := alive(); err != nil {
			return up, err
		}
		var e socketmode.Request
		if err := conn.ReadJSON(&e); err != nil {
			return up, err
		}
		switch e.Type {
		case socketmode.RequestTypeHello:
			up, app = true, e.ConnectionInfo.AppID
			s.connected.Set(1)
			s.logger.Info("slack tells of buttons")
			continue
		case socketmode.RequestTypeDisconnect:
			return up, fmt.Errorf("slack ends the connection: %s", short(e.Reason))
		}
		if !s.take(e, app) {
			continue // not acknowledged, which Slack shows
		}
		_ = conn.SetWriteDeadline(time.Now().Add(ackFor)) // writing will tell
		if err := conn.WriteJSON(socketmode.Response{EnvelopeID: e.EnvelopeID}); err != nil {
			return up, err
		}
	}
}

// take puts a click among those to act on. It returns false when there are too
// many. What is no click of ours is taken, and nothing comes of it.
func (s *Socket) take(e socketmode.Request, app string) bool {
	var c api.InteractionCallback
	if e.Type != socketmode.RequestTypeInteractive || json.Unmarshal(e.Payload, &c) != nil || c.Type != api.InteractionTypeBlockActions {
		s.pressed.WithLabelValues(pressIgnored).Inc()
		return true
	}
	if app != "" && c.APIAppID != app {
		s.ignore(c, "another app")
		return true
	}
	select {
	case s.clicks <- c:
		return true
	default:
		s.logger.Warn("a pressed button is refused: too many wait", "waiting", maxClicks)
		return false
	}
}

func (s *Socket) ignore(c api.InteractionCallback, why string) {
	s.pressed.WithLabelValues(pressIgnored).Inc()
	s.logger.Warn("a pressed button is ignored", "why", why, "user", c.User.ID, "channel", c.Channel.ID)
}

// act does what a click asks for, and says so to everybody in the message and
// its thread, or to who clicked if nothing comes of it.
func (s *Socket) act(ctx context.Context, c api.InteractionCallback) {
	for _, a := range c.ActionCallback.BlockActions {
		if !slices.Contains([]string{acknowledges, snoozes, silences}, a.ActionID) {
			continue // a link
		}
		// People of other workspaces may share a channel; they are on call
		// somewhere else. In an organisation one person has many workspaces.
		if c.User.ID == "" || (c.Enterprise.ID == "" && c.User.TeamID != c.Team.ID) {
			s.ignore(c, "somebody of another workspace")
			continue
		}
		outcome, whisper, err := s.press(ctx, c, a)
		s.pressed.WithLabelValues(outcome).Inc()
		if err != nil {
			s.logger.Error("a pressed button was not done in full", "action", a.ActionID, "err", err)
		}
		if whisper != "" {
			if err := s.whisper(ctx, c, whisper); err != nil {
				s.logger.Warn("somebody was not told what came of a pressed button", "err", err)
			}
		}
	}
}

// press does what one button is for.
func (s *Socket) press(ctx context.Context, c api.InteractionCallback, a *api.BlockAction) (outcome, whisper string, err error) {
	const over = "This incident is over; nothing was done."
	b := s.bot
	key, ok := b.book.find(c.Channel.ID, c.Container.MessageTs)
	if !ok {
		return pressLate, over, nil
	}
	done, err := b.alone(ctx, key)
	if err != nil {
		return pressFailed, "", err
	}
	defer done()
	p, ok := b.book.get(key)
	if !ok {
		return pressLate, over, nil
	}
	now := time.Now()
	d := deed{Did: a.ActionID, By: nameOf(c.User), At: now}
	for _, before := range p.Deeds {
		if d.Did == acknowledges && before.Did == acknowledges || d.Did != acknowledges && before.Until.After(now) {
			return pressLate, "Nothing was done: " + before.words() + ".", nil
		}
	}
	if d.Did != acknowledges {
		var to aim
		if err := json.Unmarshal([]byte(a.Value), &to); err != nil || to.Service == "" || to.Flow == "" || to.Severity == "" {
			s.ignore(c, "a value that is not ours")
			return pressIgnored, "", nil
		}
		length, why := snoozeFor, "snoozed by a button in Slack"
		if d.Did == silences {
			length, why = silenceFor, "silenced by a button in Slack"
		}
		d.Until = now.Add(length)
		err := s.silence(ctx, map[string]string{
			series.SLOServ: to.Service, series.SLOFlow: to.Flow, series.Severity: string(to.Severity),
		}, d.Until, "@"+d.By+" (Slack)", why)
		if err != nil {
			return pressFailed, "It was not silenced: " + datum(err.Error()), err
		}
	}
	p.Deeds = append(slices.Clone(p.Deeds), d)
	if err := b.book.put(key, p); err != nil {
		b.logger.Error("open Slack messages are not on disk; after a restart they are posted anew", "err", err)
	}
	s.logger.Info("somebody pressed a button", "action", d.Did, "by", d.By, "incident", key)
	return pressDone, "", b.show(ctx, key, p, d)
}

// nameOf returns what to call a person.
func nameOf(u api.User) string {
	for _, name := range []string{u.Name, u.ID} {
		if name != "" {
			return name
		}
	}
	return "somebody"
}

// show tells the message and its thread what somebody did. The caller is alone
// with the incident.
func (b *Bot) show(ctx context.Context, key string, p posted, d deed) error {
	b.stories.mu.Lock()
	told, known := b.stories.last[key]
	b.stories.mu.Unlock()
	n := notice{botChannel: &botChannel{bot: b, name: told.channel, holds: newHolds(b.pace)}, group: key, key: key}
	if !known { // since a restart; the next edit will show it
		return n.reply(ctx, &p, d.words(), false)
	}
	_, err := n.edit(ctx, &p, told.with(p, b.buttons, d.At), d.words(), false)
	return err
}

// whisper tells the person who clicked.
func (s *Socket) whisper(ctx context.Context, c api.InteractionCallback, text string) error {
	n := notice{botChannel: &botChannel{bot: s.bot, holds: newHolds(s.bot.pace)}, group: c.Channel.ID}
	return n.request(ctx, kindPhoto, func(ctx context.Context) error {
		_, err := s.bot.api.PostEphemeralContext(ctx, c.Channel.ID, c.User.ID, api.MsgOptionText(text, false))
		return err
	})
}
