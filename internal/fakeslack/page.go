package fakeslack

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"time"
)

//go:embed page.html
var pageSource string

// pageTemplate's functions are set anew for each page, with its clock.
var pageTemplate = template.Must(template.New("page").Funcs(functions(time.Time{})).Parse(pageSource))

// functions are what the template calls: markup as of a moment, and links that
// may be followed.
func functions(now time.Time) template.FuncMap {
	return template.FuncMap{
		"mrkdwn": func(s string, m markup) template.HTML { return mrkdwn(s, m, now) },
		"emoji":  func(s string) template.HTML { return mrkdwn(s, emojiOnly, now) },
		"links":  func(s string) template.HTML { return mrkdwn(s, links, now) },
		"full":   func(s string) template.HTML { return mrkdwn(s, full, now) },
		"in":     attachment.markup,
		"of":     markupOf,
		"safe":   safe,
	}
}

// day is the messages of one day.
type day struct {
	Name     string
	Messages []shown
}

type shown struct {
	At        time.Time
	From      string
	Edited    int
	Broadcast bool
	Replies   []shown
	payload
}

// page shows all messages, the newest last, as Slack does.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	var days []day
	channel := ""
	messages := s.Messages()
	replies := map[string][]shown{}
	for _, m := range messages {
		if m.Thread != "" {
			replies[m.Thread] = append(replies[m.Thread], shown{At: m.At, From: first(m.payload.Username, s.app), Broadcast: m.Broadcast, payload: m.payload})
		}
	}
	for _, m := range messages {
		if m.Thread != "" {
			continue
		}
		name := m.At.Format("Monday, January 2")
		if m.At.Format(time.DateOnly) == now.Format(time.DateOnly) {
			name = "Today"
		}
		if len(days) == 0 || days[len(days)-1].Name != name {
			days = append(days, day{Name: name})
		}
		d := &days[len(days)-1]
		d.Messages = append(d.Messages, shown{
			At: m.At, From: first(m.payload.Username, s.app), Edited: m.Edited, Replies: replies[m.TS], payload: m.payload,
		})
		channel = first(m.Channel, channel)
	}
	t, err := pageTemplate.Clone()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var b bytes.Buffer
	err = t.Funcs(functions(now)).Execute(&b, struct {
		Channel string
		Days    []day
	}{first(channel, "#alerts"), days})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // the viewer left
}
