package slack

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/alertmanager/alert"
	api "github.com/slack-go/slack"
)

// Slack's limits, in characters but for URLs, which are bytes, and ours.
const (
	maxAlerts   = 20   // of one message; the rest is counted
	maxHeadline = 1024 // of the notification
	maxHeader   = 150
	maxSection  = 3000
	maxAlt      = 2000
	maxURL      = 3000

	// maxDatum is how much of one name or text is shown, in characters; five
	// times as many when each has to be escaped. maxShort is that of names
	// several of which share a line.
	maxDatum = 150
	maxShort = 60
)

// message is the payload of a webhook. Text is what a phone's notification
// shows; the attachment gives the colour.
type message struct {
	Channel     string           `json:"channel,omitempty"`
	Text        string           `json:"text"`
	UnfurlLinks bool             `json:"unfurl_links"`
	UnfurlMedia bool             `json:"unfurl_media"`
	Blocks      api.Blocks       `json:"blocks"`
	Attachments []api.Attachment `json:"attachments"`
}

// message writes the payload for the alerts of one group, of which there is at
// least one. again says that nothing has changed since the last message.
func (c *channel) message(alerts []*alert.Alert, again bool) ([]byte, error) {
	return encode(c.webhook.voice.tell(alerts, again).message(c.name))
}

func encode(m message) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(m)
	return b.Bytes(), err
}

// message is the story for a webhook. Its links are words: a button would tell
// the app of each click, which an app that only has a webhook does not take, so
// that Slack would warn whoever clicks.
func (s story) message(channel string) message {
	return s.shaped(channel, textLinks, "")
}

// posting is the story for a bot, with the chart that Slack knows as file.
func (s story) posting(channel, file string) message {
	return s.shaped(channel, buttons, file)
}

func (s story) shaped(channel string, form linkForm, file string) message {
	blocks, attachment := s.blocks(form, file)
	return message{
		Channel: channel, Text: cutMarkup(s.headline, maxHeadline),
		Blocks: api.Blocks{BlockSet: blocks}, Attachments: []api.Attachment{attachment},
	}
}

// linkForm is what links look like.
type linkForm bool

const (
	textLinks linkForm = false
	buttons   linkForm = true
)

// blocks shapes the story: the headline, and the rest beside a bar of its
// colour. file is Slack's id of the chart, empty without one.
func (s story) blocks(form linkForm, file string) ([]api.Block, api.Attachment) {
	head := []api.Block{api.NewHeaderBlock(plainText(cutMarkup(s.headline, maxHeader)))}
	var body []api.Block
	for _, lines := range [][]line{s.lines, s.reasons, s.more} {
		if len(lines) > 0 {
			body = append(body, api.NewSectionBlock(mrkdwn(fit(written(lines), maxSection)), nil, nil))
		}
	}
	if file != "" {
		image := api.NewImageBlockSlackFile(&api.SlackFileObject{ID: file}, cut("The share of bad events over time: "+plain(s.headline), maxAlt), "", nil)
		at := min(1, len(body))
		body = append(body[:at], append([]api.Block{image}, body[at:]...)...)
	}
	if len(s.links) > 0 {
		body = append(body, s.linkBlock(form))
	}
	if s.actions != nil {
		body = append(body, s.actions)
	}
	if s.footer != "" {
		body = append(body, api.NewContextBlock("", mrkdwn(s.footer)))
	}
	if len(body) == 0 {
		body = append(body, api.NewContextBlock("", mrkdwn("slowburn knows no more of this alert.")))
	}
	return head, api.Attachment{
		Color: s.color, Fallback: cutMarkup(s.headline, maxHeadline), Blocks: api.Blocks{BlockSet: body},
	}
}

func (s story) linkBlock(form linkForm) api.Block {
	if form == textLinks {
		var out []string
		size := 0
		for _, l := range s.links {
			text := "<" + urlSafe.Replace(l.url) + "|" + l.name + ">"
			if size += utf8.RuneCountInString(text) + 3; size <= maxSection {
				out = append(out, text)
			}
		}
		return api.NewSectionBlock(mrkdwn(join(out)), nil, nil)
	}
	var out []api.BlockElement
	for _, l := range s.links {
		b := api.NewButtonBlockElement(strings.ToLower(l.name), "", plainText(l.name))
		b.URL = l.url
		out = append(out, b)
	}
	return api.NewActionBlock("", out...)
}

// plainText is text without markup; signs are escaped.
func plainText(text string) *api.TextBlockObject {
	plain := false
	return &api.TextBlockObject{Type: api.PlainTextType, Text: text, Emoji: &plain}
}

// mrkdwn is text with our markup. Verbatim keeps Slack from making links of
// what merely looks like one.
func mrkdwn(text string) *api.TextBlockObject {
	return &api.TextBlockObject{Type: api.MarkdownType, Text: text, Verbatim: true}
}

// written writes lines in Slack's markup.
func written(lines []line) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = l.text
		if l.label != "" {
			out[i] = "*" + l.label + ":* " + l.text
		}
	}
	return out
}

// text is the story for a terminal.
func (s story) text() string {
	var b strings.Builder
	b.WriteString(plain(s.headline) + "\n")
	for _, lines := range [][]line{s.lines, s.reasons, s.more} {
		for _, l := range lines {
			if l.label != "" {
				b.WriteString(l.label + ": ")
			}
			b.WriteString(plain(l.text) + "\n")
		}
	}
	for _, l := range s.links {
		b.WriteString(l.name + ": " + l.url + "\n")
	}
	if s.footer != "" {
		b.WriteString(plain(s.footer) + "\n")
	}
	return b.String()
}
