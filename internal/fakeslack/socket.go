package fakeslack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// appID is that of the only app there is.
	appID = "A0SLOWBURN"

	// teamID is the workspace.
	teamID = "T0SLOWBURN"
)

// sockets are the connections of an app in Socket Mode.
type sockets struct {
	opened  int // how many addresses were given out
	tickets map[string]bool
	live    *socket       // the last that connected; nil: none
	changed chan struct{} // closed when live changes
}

// socket is one connection.
type socket struct {
	conn *websocket.Conn
	acks chan string // ids of envelopes, as the app acknowledges them
	gone chan struct{}
}

// Click is what a person does with a button of a message.
type Click struct {
	TS     string // the message
	Action string // the button's action_id
	User   string // who presses it: a name
	Team   string // the workspace of that person; empty means this one
}

// openConnection gives an app the address of its websocket.
func (s *Server) openConnection(r *http.Request) (answer map[string]any, fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets.opened++
	ticket := fmt.Sprint("ticket-", s.sockets.opened)
	if s.sockets.tickets == nil {
		s.sockets.tickets = map[string]bool{}
	}
	s.sockets.tickets[ticket] = true
	return map[string]any{"url": "ws://" + r.Host + "/socket?ticket=" + ticket}, ""
}

// Connections returns how many addresses of websockets were asked for.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sockets.opened
}

// connect serves a websocket until the app or Disconnect ends it.
func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	ticket := r.FormValue("ticket")
	known := s.sockets.tickets[ticket]
	delete(s.sockets.tickets, ticket) // good for once
	s.mu.Unlock()
	if !known {
		http.Error(w, "no such ticket", http.StatusForbidden)
		return
	}
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it was answered
	}
	defer conn.Close()
	k := &socket{conn: conn, acks: make(chan string, keep), gone: make(chan struct{})}
	defer close(k.gone)
	hello := map[string]any{"type": "hello", "num_connections": 1, "connection_info": map[string]string{"app_id": appID}}
	if conn.WriteJSON(hello) != nil {
		return
	}
	s.mu.Lock()
	s.sockets.live = k
	s.sockets.wake()
	s.mu.Unlock()
	for {
		var ack struct {
			ID string `json:"envelope_id"`
		}
		if conn.ReadJSON(&ack) != nil {
			break
		}
		k.acks <- ack.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets.live == k {
		s.sockets.live = nil
		s.sockets.wake()
	}
}

// wake tells who waits for a connection. Callers hold the server's mu.
func (k *sockets) wake() {
	if k.changed != nil {
		close(k.changed)
		k.changed = nil
	}
}

// connected waits for an app to be connected.
func (s *Server) connected(ctx context.Context) (*socket, error) {
	for {
		s.mu.Lock()
		live := s.sockets.live
		if s.sockets.changed == nil {
			s.sockets.changed = make(chan struct{})
		}
		changed := s.sockets.changed
		s.mu.Unlock()
		if live != nil {
			return live, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("fakeslack: no app is connected: %w", ctx.Err())
		}
	}
}

// Click presses a button of a message, waiting for the app to connect where it
// has not. It returns how long the app took to acknowledge; Slack shows a
// warning after three seconds. It is an error when the message has no such
// button.
func (s *Server) Click(ctx context.Context, c Click) (took time.Duration, err error) {
	envelope, err := s.Pressed(c)
	if err != nil {
		return 0, err
	}
	return s.Envelope(ctx, envelope)
}

// Envelope sends the app an envelope as it is, and returns how long it took to
// acknowledge it.
func (s *Server) Envelope(ctx context.Context, envelope map[string]any) (took time.Duration, err error) {
	k, err := s.connected(ctx)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	if err := k.conn.WriteJSON(envelope); err != nil {
		return 0, fmt.Errorf("fakeslack: %w", err)
	}
	for {
		select {
		case id := <-k.acks:
			if id == envelope["envelope_id"] {
				return time.Since(sent), nil
			}
		case <-k.gone:
			return 0, errors.New("fakeslack: the app went away without an acknowledgement")
		case <-ctx.Done():
			return 0, fmt.Errorf("fakeslack: no acknowledgement: %w", ctx.Err())
		}
	}
}

// Pressed returns the envelope in which Slack tells the app of a click, for
// Envelope to send. It is an error when the message has no such button.
func (s *Server) Pressed(c Click) (envelope map[string]any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.messages {
		if m.TS != c.TS {
			continue
		}
		for _, blocks := range append([][]block{m.payload.Blocks}, attachedBlocks(m.payload.Attachments)...) {
			for _, b := range blocks {
				for _, e := range b.Elements {
					if e.Type == "button" && e.Action == c.Action {
						s.posted++
						return s.pressed(c, m, e), nil
					}
				}
			}
		}
		return nil, fmt.Errorf("fakeslack: the message has no button %q:\n%s", c.Action, m.Text)
	}
	return nil, fmt.Errorf("fakeslack: there is no message %s", c.TS)
}

// pressed writes the envelope.
func (s *Server) pressed(c Click, m Message, e element) map[string]any {
	return map[string]any{
		"type": "interactive", "envelope_id": fmt.Sprint("envelope-", s.posted), "accepts_response_payload": false,
		"payload": map[string]any{
			"type": "block_actions", "api_app_id": appID, "token": "unused",
			"team": map[string]string{"id": teamID, "domain": "example"},
			"user": map[string]string{
				"id": "U" + strings.ToUpper(c.User), "username": c.User, "name": c.User, "team_id": first(c.Team, teamID),
			},
			"channel":   map[string]string{"id": channelID(m.Channel), "name": strings.TrimPrefix(m.Channel, "#")},
			"container": map[string]string{"type": "message", "message_ts": m.TS, "channel_id": channelID(m.Channel)},
			"message":   map[string]any{"type": "message", "ts": m.TS, "text": m.payload.Text},
			"actions": []map[string]any{{
				"type": "button", "action_id": e.Action, "block_id": "x", "value": e.Value, "action_ts": "1.2",
				"text": map[string]string{"type": "plain_text", "text": e.Text.Text},
			}},
		},
	}
}

// Disconnect asks the app to connect anew, as Slack does every few hours, and
// closes the connection. Without a reason the connection is cut without a
// word.
func (s *Server) Disconnect(ctx context.Context, reason string) error {
	k, err := s.connected(ctx)
	if err != nil {
		return err
	}
	if reason != "" {
		err = k.conn.WriteJSON(map[string]any{"type": "disconnect", "reason": reason})
	}
	s.mu.Lock()
	if s.sockets.live == k {
		s.sockets.live = nil
	}
	s.mu.Unlock()
	return errors.Join(err, k.conn.Close())
}

// ephemeral takes a message that one person sees.
func (s *Server) ephemeral(r *http.Request) (answer map[string]any, fault string) {
	m, fault := s.compose(r)
	switch {
	case fault != "":
		return nil, fault
	case r.FormValue("user") == "":
		return nil, "user_not_found"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whispers = last(append(s.whispers, Whisper{To: r.FormValue("user"), Text: m.Text}))
	s.wake()
	return map[string]any{"message_ts": "1.0"}, ""
}

// Whisper is a message that only one person sees.
type Whisper struct{ To, Text string }

// Whispers returns the messages that only one person sees, oldest first.
func (s *Server) Whispers() []Whisper {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.whispers)
}
