package slack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	api "github.com/slack-go/slack"

	"github.com/slowburn-slo/slowburn/alerts/slack/chart"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// BotOptions are what a Bot needs. Only Token is required.
type BotOptions struct {
	// Token is the bot's, xoxb-…, with the scopes chat:write and files:write
	// and, for channels it was not invited to, chat:write.public.
	Token Secret

	// Channel is where alerts go whose flow names none. Without it they are
	// refused.
	Channel string

	// Buttons says that a Socket hears of buttons: messages of open incidents
	// have some then.
	Buttons bool

	// File remembers the messages of open incidents, so that a restart goes on
	// editing them. Without it a restart posts them anew.
	File string

	// Facts, ExternalURL, TraceURL and Template are those of a Webhook.
	Facts       func(sloID string, firedAt time.Time) (f Facts, ok bool)
	ExternalURL *url.URL
	TraceURL    string
	Template    *Template

	// APIURL is Slack's, https://slack.com/api/ by default.
	APIURL string

	// Client, Logger and Registerer are those of a Webhook.
	Client     *http.Client
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Bot tells of alerts through a bot token: each incident is one message, which
// is edited as the incident goes on, with a chart, and the message's thread is
// its timeline. Its methods may be called from several goroutines.
//
// An incident is what one flow goes through in one channel from its first alert
// to the end of its last.
type Bot struct {
	voice   voice
	channel string
	token   Secret
	api     *api.Client
	book    *book
	buttons bool
	stories stories

	*pace

	telling sync.Mutex
	told    map[string]chan struct{} // by incident that is being told of; closed when that is done
}

// NewBot checks the options and returns a Bot. It sends nothing. No error shows
// the token.
func NewBot(o BotOptions) (*Bot, error) {
	if o.Token.Empty() {
		return nil, errors.New("slack: no bot token")
	}
	if !strings.HasPrefix(o.Token.reveal(), "xoxb-") {
		return nil, errors.New("slack: the bot token is no bot token; want one that begins with xoxb-")
	}
	if err := checkTraceURL(o.TraceURL); err != nil {
		return nil, fmt.Errorf("slack: trace URL: %w", err)
	}
	if o.Client == nil {
		o.Client = newClient()
	}
	if o.Facts == nil {
		o.Facts = func(string, time.Time) (Facts, bool) { return Facts{}, false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	book, err := openBook(o.File, time.Now())
	if err != nil {
		return nil, fmt.Errorf("slack: %w", err)
	}
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	options := []api.Option{api.OptionHTTPClient(bounded{&client})}
	if o.APIURL != "" {
		options = append(options, api.OptionAPIURL(strings.TrimSuffix(o.APIURL, "/")+"/"))
	}
	return &Bot{
		voice:   voice{facts: o.Facts, external: o.ExternalURL, traceURL: o.TraceURL, template: o.Template, logger: o.Logger},
		channel: o.Channel, token: o.Token, book: book, buttons: o.Buttons,
		api:  api.New(o.Token.reveal(), options...),
		pace: newPace(o.Logger, o.Registerer, false),
		told: map[string]chan struct{}{},
	}, nil
}

// alone waits until nobody else tells of an incident. Who is alone calls done.
func (b *Bot) alone(ctx context.Context, key string) (done func(), err error) {
	for {
		b.telling.Lock()
		other := b.told[key]
		if other == nil {
			mine := make(chan struct{})
			b.told[key] = mine
			b.telling.Unlock()
			return func() {
				b.telling.Lock()
				defer b.telling.Unlock()
				delete(b.told, key)
				close(mine)
			}, nil
		}
		b.telling.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another message of the incident: %w", ctx.Err())
		}
	}
}

// bounded makes requests whose answers are read up to a limit, and says how
// long Slack wants us to wait.
type bounded struct{ client *http.Client }

// limitedError is an answer 429.
type limitedError struct{ wait time.Duration }

func (e limitedError) Error() string { return "slack limits the rate: status 429" }

// Do makes a request.
func (b bounded) Do(r *http.Request) (*http.Response, error) {
	resp, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		resp.Body.Close()
		wait, asked := retryAfter(resp.Header, time.Now())
		if !asked {
			wait = limitedPause
		}
		return nil, limitedError{wait}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// Channel returns the notifier of a channel, such as "#shop"; "" is the bot's
// default. All of them share the bot's pace.
func (b *Bot) Channel(name string) notify.Notifier {
	if name == "" {
		name = b.channel
	}
	return &botChannel{bot: b, name: name, holds: newHolds(b.pace)}
}

type botChannel struct {
	bot   *Bot
	name  string
	holds holds
}

// Notify implements notify.Notifier: it posts the incident's message or edits
// it, and tells its thread what happened. Each request waits for its turn and,
// once begun, is finished even when ctx ends. Notify may be called again after
// any failure, and goes on where it was.
func (c *botChannel) Notify(ctx context.Context, alerts ...*alert.Alert) (retry bool, err error) {
	group, _ := notify.GroupKey(ctx)
	if err := sleepUntil(ctx, c.holds.held(group)); err != nil {
		return true, fmt.Errorf("slack refused this message; the next try waits: %w", err)
	}
	reason, _ := notify.NotificationReason(ctx)
	n := notice{
		botChannel: c, group: group, key: c.name + " " + incident(group, alerts), alerts: alerts,
		again: reason == notify.ReasonRepeatIntervalElapsed,
	}
	done, err := c.bot.alone(ctx, n.key)
	if err != nil {
		return true, err
	}
	defer done()
	return true, n.tell(ctx)
}

// incident names what the alerts are part of: the flow, as service/flow, or the
// group where they are of several.
func incident(group string, alerts []*alert.Alert) string {
	service, flow := alerts[0].Labels[series.SLOServ], alerts[0].Labels[series.SLOFlow]
	for _, a := range alerts {
		if flow == "" || a.Labels[series.SLOServ] != service || a.Labels[series.SLOFlow] != flow {
			return group
		}
	}
	return string(service + "/" + flow)
}

// notice is what there is to tell at one time.
type notice struct {
	*botChannel
	group, key string
	alerts     []*alert.Alert
	again      bool
}

// severity is the worst of the alerts'.
func (n *notice) severity() slo.Severity {
	for _, a := range n.alerts {
		if a.Labels[series.Severity] == "page" {
			return slo.Page
		}
	}
	return slo.Ticket
}

func (n *notice) tell(ctx context.Context) error {
	firing := slices.ContainsFunc(n.alerts, func(a *alert.Alert) bool { return !a.Resolved() })
	var ended time.Time // of the last
	for _, a := range n.alerts {
		if a.EndsAt.After(ended) {
			ended = a.EndsAt
		}
	}
	if !firing && n.bot.book.toldOver(n.key, ended) {
		return nil
	}
	now, known := n.bot.book.get(n.key)
	before := now.Open
	severity := n.severity()
	now.Open = map[slo.Severity]bool{}
	for s := range before {
		now.Open[s] = true
	}
	if firing {
		now.Open[severity] = true
	} else {
		delete(now.Open, severity)
	}
	if known && !firing && !before[severity] && len(now.Open) > 0 {
		return nil // the end of what was never told here, while more is open
	}

	s := n.bot.voice.tell(n.alerts, n.again)
	if !firing && len(now.Open) > 0 {
		s.color, s.headline = amber, "🟠"+strings.TrimPrefix(s.headline, "🟢")
		s.lines = append(s.lines, line{text: "A ticket stays open: over its longer windows the budget still burns too fast."})
	}
	s = n.clickable(s, now)
	news, told := s.news(now.Told)
	now.Told = told
	if known {
		said, loud := n.event(s, before, firing)
		if said != "" {
			news = append([]string{said}, news...)
		}
		if gone, err := n.edit(ctx, &now, s, strings.Join(news, "\n"), loud); err != nil {
			return err
		} else if gone {
			known = false
		}
	}
	if !known {
		if err := n.post(ctx, &now, s); err != nil {
			return err
		}
	}
	if len(now.Open) == 0 {
		now.Ended = ended
	}
	n.remember(now)
	n.picture(ctx, &now, s)
	n.remember(now)
	return nil
}

// event says what happened to a message's incident, for its thread, and whether
// the whole channel shall hear of it: an edit alone wakes nobody.
func (n *notice) event(s story, before map[slo.Severity]bool, firing bool) (said string, loud bool) {
	switch {
	case !firing:
		return s.headline, false
	case n.severity() == slo.Page && !before[slo.Page]:
		return "Escalated to a page: " + s.headline, true
	case n.again:
		return s.headline, true
	case !before[n.severity()]:
		return "Also: " + s.headline, false
	default:
		return "", false
	}
}

// remember puts the incident's message on disk.
func (n *notice) remember(p posted) {
	if err := n.bot.book.put(n.key, p); err != nil {
		// It was told, which matters more than editing it after a restart.
		n.bot.logger.Error("open Slack messages are not on disk; after a restart they are posted anew", "err", err)
	}
}

// post sends a new message.
func (n *notice) post(ctx context.Context, p *posted, s story) error {
	p.File = ""
	return n.request(ctx, kindText, func(ctx context.Context) (err error) {
		p.Channel, p.TS, err = n.bot.api.PostMessageContext(ctx, n.name, parts(s.posting(n.name, ""))...)
		if err == nil && p.TS == "" {
			err = errors.New("slack does not say which message it is")
		}
		p.At = time.Now()
		return err
	})
}

// edit changes the message, and adds to its thread. gone says that there is no
// message to change any more.
func (n *notice) edit(ctx context.Context, p *posted, s story, said string, loud bool) (gone bool, err error) {
	err = errBlocks
	if p.File != "" {
		err = n.update(ctx, kindPhoto, p, s, p.File)
	}
	if errors.Is(err, errBlocks) { // without a picture, or Slack has it no more
		p.File = ""
		err = n.update(ctx, kindText, p, s, "")
	}
	if err == nil && said != "" {
		err = n.reply(ctx, p, said, loud)
	}
	if errors.Is(err, errGone) {
		return true, nil
	}
	return false, err
}

// reply adds to the message's thread.
func (n *notice) reply(ctx context.Context, p *posted, said string, loud bool) error {
	return n.request(ctx, kindText, func(ctx context.Context) error {
		options := []api.MsgOption{
			api.MsgOptionTS(p.TS), api.MsgOptionText(said, false),
			api.MsgOptionDisableLinkUnfurl(), api.MsgOptionDisableMediaUnfurl(),
		}
		if loud {
			options = append(options, api.MsgOptionBroadcast())
		}
		_, _, err := n.bot.api.PostMessageContext(ctx, p.Channel, options...)
		return err
	})
}

// update puts the story in the message's place.
func (n *notice) update(ctx context.Context, k kind, p *posted, s story, picture string) error {
	return n.request(ctx, k, func(ctx context.Context) error {
		_, _, _, err := n.bot.api.UpdateMessageContext(ctx, p.Channel, p.TS, parts(s.posting("", picture))...)
		return err
	})
}

func parts(m message) []api.MsgOption {
	return []api.MsgOption{
		api.MsgOptionText(m.Text, false), api.MsgOptionBlocks(m.Blocks.BlockSet...), api.MsgOptionAttachments(m.Attachments...),
		api.MsgOptionDisableLinkUnfurl(), api.MsgOptionDisableMediaUnfurl(),
	}
}

// picture adds the chart to a message that is there already: a page never waits
// for its picture, and a picture that fails is only missing.
func (n *notice) picture(ctx context.Context, p *posted, s story) {
	if s.chart == nil {
		return
	}
	var b bytes.Buffer
	err := chart.Draw(&b, *s.chart)
	id := ""
	if err == nil {
		id, err = n.upload(ctx, b.Bytes())
	}
	for wait := time.Second; err == nil; wait *= 2 {
		if err = n.update(ctx, kindPhoto, p, s, id); err == nil {
			p.File = id
			return
		}
		if !errors.Is(err, errBlocks) || wait > 4*time.Second {
			break
		}
		// Slack refuses a file it has not looked at yet.
		err = sleepUntil(ctx, time.Now().Add(wait))
	}
	n.bot.logger.Warn("a Slack message goes without its chart", "err", err)
}

// upload hands a picture to Slack, for the message to show.
func (n *notice) upload(ctx context.Context, picture []byte) (id string, err error) {
	var to *api.GetUploadURLExternalResponse
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) (err error) {
			to, err = n.bot.api.GetUploadURLExternalContext(ctx, api.GetUploadURLExternalParameters{
				FileName: "burn.png", FileSize: len(picture), AltTxt: "The share of bad events over time",
			})
			return err
		},
		func(ctx context.Context) error {
			return n.bot.api.UploadToURL(ctx, api.UploadToURLParameters{UploadURL: to.UploadURL, Reader: bytes.NewReader(picture), Filename: "burn.png"})
		},
		func(ctx context.Context) error {
			_, err := n.bot.api.CompleteUploadExternalContext(ctx, api.CompleteUploadExternalParameters{
				Files: []api.FileSummary{{ID: to.FileID, Title: "Burn"}},
			})
			return err
		},
	} {
		if err := n.request(ctx, kindFile, step); err != nil {
			return "", err
		}
	}
	return to.FileID, nil
}

var (
	// errGone is that a message was deleted, or may no longer be edited.
	errGone = errors.New("the message is gone")

	// errBlocks is that Slack faults the message.
	errBlocks = errors.New("slack refuses the message")
)

// kind is what a request means for those that follow.
type kind int

const (
	kindText  kind = iota // it tells of an alert
	kindPhoto             // it only adds a picture
	kindFile              // it is no message, of which there may be one a second
)

// request makes a request when it is its turn.
func (n *notice) request(ctx context.Context, k kind, request func(context.Context) error) error {
	done, err := n.bot.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	trying, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryFor)
	defer cancel()
	a := n.bot.judge(request(trying))
	a.free = k == kindFile
	switch {
	case slices.Contains([]string{"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"}, a.word):
		n.bot.settle(answer{outcome: delivered}) // Slack is well
		return errGone
	case k != kindText && a.outcome == refused:
		n.bot.settle(answer{outcome: delivered, free: a.free}) // a picture is worth no alarm and no pause
		return a.err
	}
	n.bot.settle(a)
	if a.outcome == refused {
		n.holds.hold(n.group, !errors.Is(a.err, errBlocks))
	}
	return a.err
}

// judge says what became of a request.
func (b *Bot) judge(err error) answer {
	var limits limitedError
	var status api.StatusCodeError
	var said api.SlackErrorResponse
	switch {
	case err == nil:
		return answer{outcome: delivered}
	case errors.As(err, &limits):
		return answer{outcome: limited, pause: limits.wait, err: limits}
	case errors.As(err, &status):
		a := answer{outcome: failed, status: status.Code, err: fmt.Errorf("slack is out of order: status %d", status.Code)}
		if status.Code < 500 && status.Code != http.StatusRequestTimeout {
			a.outcome, a.err = refused, fmt.Errorf("slack refuses the request: status %d", status.Code)
		}
		return a
	case errors.As(err, &said):
		a := answer{outcome: refused, status: http.StatusOK}
		if slackWord.MatchString(said.Err) {
			a.word = said.Err
		}
		a.err = fmt.Errorf("slack says no: %s", a.word)
		switch a.word {
		case "fatal_error", "internal_error", "service_unavailable", "request_timeout", "team_added_to_org", "":
			a.outcome, a.err = failed, fmt.Errorf("slack is out of order: %s", a.word)
		case "ratelimited", "rate_limited", "message_limit_exceeded":
			a.outcome, a.pause = limited, limitedPause
		case "invalid_blocks", "invalid_blocks_format", "invalid_attachments", "msg_too_long", "msg_blocks_too_long", "no_text", "too_many_attachments":
			a.err = fmt.Errorf("%w: %s", errBlocks, a.word)
		}
		return a
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return answer{outcome: failed, err: fmt.Errorf("ask Slack: %s", strings.ReplaceAll(err.Error(), b.token.reveal(), hidden))}
}
