package fakeslack

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// payload is the part of Slack's message format that is understood.
type payload struct {
	Text        string       `json:"text"`
	Channel     string       `json:"channel"`
	Username    string       `json:"username"`
	Attachments []attachment `json:"attachments"`
	Blocks      []block      `json:"blocks"`
}

type attachment struct {
	Fallback   string   `json:"fallback"`
	Color      string   `json:"color"`
	Pretext    string   `json:"pretext"`
	AuthorName string   `json:"author_name"`
	Title      string   `json:"title"`
	TitleLink  string   `json:"title_link"`
	Text       string   `json:"text"`
	Fields     []field  `json:"fields"`
	Actions    []action `json:"actions"`
	Footer     string   `json:"footer"`
	Time       stamp    `json:"ts"`
	MrkdwnIn   []string `json:"mrkdwn_in"`
	Blocks     []block  `json:"blocks"`
}

type field struct {
	Title string `json:"title"`
	Value string `json:"value"`
	Short bool   `json:"short"`
}

type action struct {
	Text  string `json:"text"`
	URL   string `json:"url"`
	Style string `json:"style"`
}

type block struct {
	Type      string    `json:"type"`
	Text      *text     `json:"text"`
	Fields    []text    `json:"fields"`
	Elements  []element `json:"elements"`
	Accessory *element  `json:"accessory"`
	Alt       string    `json:"alt_text"`
	File      slackFile `json:"slack_file"`
}

// slackFile is a file that was uploaded.
type slackFile struct {
	ID string `json:"id"`
}

// files returns the uploaded files that the message shows.
func (p payload) files() (ids []string) {
	for _, blocks := range append([][]block{p.Blocks}, attachedBlocks(p.Attachments)...) {
		for _, b := range blocks {
			if b.File.ID != "" {
				ids = append(ids, b.File.ID)
			}
		}
	}
	return ids
}

func attachedBlocks(all []attachment) (out [][]block) {
	for _, a := range all {
		out = append(out, a.Blocks)
	}
	return out
}

type element struct {
	Type   string `json:"type"`
	Text   text   `json:"text"`
	URL    string `json:"url"`
	Style  string `json:"style"`
	Alt    string `json:"alt_text"`
	Action string `json:"action_id"`
	Value  string `json:"value"`
}

// text is a text object, or the string that elements of a context carry.
type text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// UnmarshalJSON takes an object or a string.
func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &t.Text)
	}
	type object text
	return json.Unmarshal(b, (*object)(t))
}

// stamp is a Unix time, as a number or in quotes.
type stamp struct{ time.Time }

// UnmarshalJSON takes a number of seconds, in quotes or not.
func (s *stamp) UnmarshalJSON(b []byte) error {
	trimmed := strings.Trim(string(b), `"`)
	if trimmed == "" || trimmed == "null" {
		return nil
	}
	seconds, err := strconv.ParseFloat(trimmed, 64)
	if err != nil {
		return err
	}
	s.Time = time.UnixMilli(int64(seconds * 1000))
	return nil
}

// Slack's limits, in characters and items.
const (
	maxText        = 40_000
	maxAttachments = 100
	maxBlocks      = 50
	maxHeader      = 150
	maxSection     = 3_000
	maxFields      = 10
	maxField       = 2_000
	maxContext     = 10
	maxActions     = 25
	maxButton      = 75
	maxValue       = 2_000
	maxURL         = 3_000
	maxAlt         = 2_000
)

// fault returns Slack's word for what is wrong with the message, or "".
func (p payload) fault() string {
	if utf8.RuneCountInString(p.Text) > maxText {
		return "invalid_payload"
	}
	if len(p.Attachments) > maxAttachments {
		return "too_many_attachments"
	}
	if !fit(p.Blocks) {
		return "invalid_blocks"
	}
	empty := p.Text == "" && len(p.Blocks) == 0
	for _, a := range p.Attachments {
		if !fit(a.Blocks) {
			return "invalid_blocks"
		}
		for _, s := range []string{a.Fallback, a.Pretext, a.Text} {
			if utf8.RuneCountInString(s) > maxText {
				return "invalid_payload"
			}
			empty = empty && s == ""
		}
		empty = empty && a.Title == "" && len(a.Fields) == 0 && len(a.Blocks) == 0
	}
	if empty {
		return "no_text"
	}
	return ""
}

// fit reports whether blocks keep Slack's limits.
func fit(blocks []block) bool {
	return len(blocks) <= maxBlocks && !slices.ContainsFunc(blocks, func(b block) bool { return !b.fits() })
}

func (b block) fits() bool {
	between := func(s string, most int) bool { n := utf8.RuneCountInString(s); return 1 <= n && n <= most }
	button := func(e element) bool {
		return between(e.Text.Text, maxButton) && len(e.URL) <= maxURL && len(e.Value) <= maxValue
	}
	switch b.Type {
	case "header":
		return b.Text != nil && b.Text.Type == "plain_text" && between(b.Text.Text, maxHeader)
	case "section":
		for _, f := range b.Fields {
			if !between(f.Text, maxField) {
				return false
			}
		}
		return (b.Text != nil || len(b.Fields) > 0) && len(b.Fields) <= maxFields &&
			(b.Text == nil || between(b.Text.Text, maxSection)) &&
			(b.Accessory == nil || b.Accessory.Type != "button" || button(*b.Accessory))
	case "context":
		return len(b.Elements) > 0 && len(b.Elements) <= maxContext
	case "actions":
		return len(b.Elements) > 0 && len(b.Elements) <= maxActions && !slices.ContainsFunc(b.Elements, func(e element) bool {
			return e.Type == "button" && !button(e)
		})
	case "image":
		return between(b.Alt, maxAlt)
	case "divider":
		return true
	default:
		return false
	}
}

// markup returns what a part of the attachment may have.
func (a attachment) markup(part string) markup {
	if slices.Contains(a.MrkdwnIn, part) {
		return full
	}
	return links
}

// markupOf returns what a text object, or an element of a context, may have.
func markupOf(kind string) markup {
	if kind == "mrkdwn" {
		return full
	}
	return emojiOnly
}

var hex = regexp.MustCompile(`^#[0-9A-Fa-f]{6}$`)

// Fill returns the colour of the attachment's stripe as #rrggbb.
func (a attachment) Fill() string {
	switch {
	case a.Color == "good":
		return "#2eb886"
	case a.Color == "warning":
		return "#daa038"
	case a.Color == "danger":
		return "#a30200"
	case hex.MatchString(a.Color):
		return a.Color
	case hex.MatchString("#" + a.Color):
		return "#" + a.Color
	default:
		return "#8d8d8d"
	}
}

// plain returns what a person reads of the message, a line for each part.
func (p payload) plain(now time.Time) string {
	var lines []string
	add := func(s string, m markup) {
		if s != "" {
			lines = append(lines, plain(mrkdwn(s, m, now)))
		}
	}
	blocks := func(all []block) {
		for _, b := range all {
			if b.Text != nil {
				add(b.Text.Text, markupOf(b.Text.Type))
			}
			for _, f := range b.Fields {
				add(f.Text, markupOf(f.Type))
			}
			for _, e := range b.Elements {
				add(e.Text.Text, markupOf(e.Type))
			}
			if b.Accessory != nil {
				add(b.Accessory.Text.Text, emojiOnly)
			}
		}
	}
	if len(p.Blocks) == 0 { // else it is only for the notification
		add(p.Text, full)
	}
	blocks(p.Blocks)
	for _, a := range p.Attachments {
		add(a.Pretext, a.markup("pretext"))
		add(a.AuthorName, links)
		add(a.Title, links)
		add(a.Text, a.markup("text"))
		for _, f := range a.Fields {
			add(f.Title, links)
			add(f.Value, a.markup("fields"))
		}
		blocks(a.Blocks)
		for _, b := range a.Actions {
			add(b.Text, emojiOnly)
		}
		add(a.Footer, links)
	}
	return strings.Join(lines, "\n")
}
