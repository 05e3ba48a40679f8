// Package fakeslack receives what is meant for a Slack incoming webhook, or for
// the methods of Slack's Web API that a bot posts with, and shows it on a page
// as Slack would. The demo and the end-to-end tests deliver to it.
package fakeslack

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// keep bounds the messages and deliveries remembered, so that a server
	// left alone does not grow: more than any demo or test looks back at.
	keep = 1000

	// maxBody is above Slack's own limit for a message with all its parts.
	maxBody = 1 << 20
)

//go:embed assets/*.css assets/*.js assets/*.svg
var assets embed.FS

// Options say how the server presents itself.
type Options struct {
	// App is the sender shown for messages that name none. Empty means
	// slowburn.
	App string
}

// Server takes messages as a Slack incoming webhook does. It is a handler:
//
//	POST /services/{team}/{app}/{token}  takes a message
//	POST /api/{method}                   posts and edits messages, takes files
//	GET  /socket                         the websocket of an app in Socket Mode
//	GET  /                               shows all messages
//
// It may be used from several goroutines and starts none.
type Server struct {
	app string
	mux http.Handler

	mu         sync.Mutex
	messages   []Message
	deliveries []Delivery
	failures   []failure
	changed    chan struct{} // closed when something was delivered
	posted     int           // messages and files so far, for their ids
	files      []file
	whispers   []Whisper
	sockets    sockets
}

// Message is one message that was accepted.
type Message struct {
	At      time.Time
	Path    string          // the webhook it came to
	Raw     json.RawMessage // as it was sent
	Text    string          // what a person reads, a line for each part, without markup
	Color   string          // of the first attachment, as it was sent
	Channel string          // empty for the webhook's own

	// Of messages that a bot posted only.
	TS        string // Slack's id of it
	Thread    string // the TS of the message that it replies to
	Broadcast bool   // a reply that the channel shows as well
	Edited    int    // how often

	payload payload
}

// Delivery is one attempt to deliver, accepted or not.
type Delivery struct {
	At     time.Time
	Status int    // 0 when the connection was cut
	Method string // of the Web API; empty for a webhook
	Word   string // Slack's for what is wrong, in an answer of status 200
}

// failure answers the next deliveries otherwise than Slack would.
type failure struct {
	left, status int
	retryAfter   string
	word         string
	trouble      Trouble // zero: none
}

// New returns a server without messages.
func New(opt Options) *Server {
	s := &Server{app: opt.App, changed: make(chan struct{})}
	if s.app == "" {
		s.app = "slowburn"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /services/{team}/{app}/{token}", s.deliver)
	mux.HandleFunc("POST /api/{method}", s.method)
	mux.HandleFunc("GET /socket", s.connect)
	mux.HandleFunc("POST /upload/{id}", s.upload)
	mux.HandleFunc("GET /files/{id}", s.file)
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /assets/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, assets, "assets/"+r.PathValue("name"))
	})
	s.mux = mux
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'self'; script-src 'self'; style-src 'self'; object-src 'none'; "+
		"frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	s.mux.ServeHTTP(w, r)
}

// Fail answers the next n deliveries with status instead of taking them, after
// those that earlier calls asked for. A status of 0 cuts the connection.
// retryAfter is sent as the header Retry-After unless it is empty.
func (s *Server) Fail(n, status int, retryAfter string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, failure{left: n, status: status, retryAfter: retryAfter})
}

// Refuse answers the next n requests to the Web API with Slack's word for what
// is wrong, after the failures that earlier calls asked for.
func (s *Server) Refuse(n int, word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, failure{left: n, status: http.StatusOK, word: word})
}

// Recover forgets all failures that are still to come.
func (s *Server) Recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = nil
}

// Messages returns the messages accepted so far, oldest first, the last
// thousand at most.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Deliveries returns every attempt to deliver so far, oldest first, the last
// thousand at most.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deliveries)
}

// Wait returns the first message, past or to come, that match holds for. The
// error is that of ctx when it ends first.
func (s *Server) Wait(ctx context.Context, match func(Message) bool) (Message, error) {
	for {
		s.mu.Lock()
		messages, changed := s.messages, s.changed
		s.mu.Unlock()
		if i := slices.IndexFunc(messages, match); i >= 0 {
			return messages[i], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Message{}, fmt.Errorf("fakeslack: none of %d messages is the one waited for: %w", len(messages), ctx.Err())
		}
	}
}

// deliver takes one message, or says why not in Slack's words.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request) {
	if s.fails(w, r, "", func(w http.ResponseWriter) { s.take(w, r) }) {
		return
	}
	s.take(w, r)
}

// take takes one message, unless it is faulty.
func (s *Server) take(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var p payload
	fault := "invalid_payload"
	if err == nil && json.Unmarshal(raw, &p) == nil {
		fault = p.fault()
	}
	if fault != "" {
		s.record(Delivery{At: time.Now(), Status: http.StatusBadRequest}, nil)
		answer(w, http.StatusBadRequest, fault)
		return
	}
	m := Message{At: time.Now(), Path: r.URL.Path, Raw: raw, Text: p.plain(time.Now()), Channel: p.Channel, payload: p}
	if len(p.Attachments) > 0 {
		m.Color = p.Attachments[0].Color
	}
	s.record(Delivery{At: m.At, Status: http.StatusOK}, &m)
	answer(w, http.StatusOK, "ok")
}

// fails answers with a failure that was asked for, if there is one. take is what
// would be done otherwise.
func (s *Server) fails(w http.ResponseWriter, r *http.Request, method string, take func(http.ResponseWriter)) bool {
	f, ok := s.nextFailure()
	if !ok {
		return false
	}
	if f.trouble != TakesCut {
		s.record(Delivery{At: time.Now(), Status: f.status, Method: method, Word: f.word}, nil)
	}
	switch {
	case f.trouble != 0:
		f.trouble.suffer(w, r, take)
		return true
	case f.status == 0:
		panic(http.ErrAbortHandler)
	case f.word != "":
		reply(w, map[string]any{"ok": false, "error": f.word})
		return true
	case f.retryAfter != "":
		w.Header().Set("Retry-After", f.retryAfter)
	}
	answer(w, f.status, failureText(f.status))
	return true
}

// failureText is what Slack says with a status.
func failureText(status int) string {
	switch status {
	case http.StatusTooManyRequests:
		return "rate_limited"
	case http.StatusForbidden:
		return "invalid_token"
	case http.StatusNotFound, http.StatusGone:
		return "no_service"
	default:
		return "server_error"
	}
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html") // as Slack says, though it is not
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the sender left
}

// nextFailure takes one of the failures asked for.
func (s *Server) nextFailure() (failure, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.failures) > 0 {
		f := &s.failures[0]
		if f.left > 0 {
			f.left--
			return *f, true
		}
		s.failures = s.failures[1:]
	}
	return failure{}, false
}

// record remembers a delivery and its message, if any, and wakes who waits.
func (s *Server) record(d Delivery, m *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliveries = last(append(s.deliveries, d))
	if m != nil {
		s.messages = last(append(s.messages, *m))
		s.wake()
	}
}

// wake tells who waits that something has changed. Callers hold mu.
func (s *Server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// last returns the last thousand of all, copied so that readers of all are
// not disturbed.
func last[T any](all []T) []T {
	if len(all) <= keep {
		return all
	}
	return slices.Clone(all[len(all)-keep:])
}
