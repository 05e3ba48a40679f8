package fakeslack

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// keepFiles bounds the files remembered, of maxBody each.
	keepFiles = 100

	// began is the first message's id, a time like all of Slack's.
	began = 1_700_000_000
)

// file is one that was uploaded.
type file struct {
	id       string
	data     []byte
	complete bool
}

// method is a method of the Web API.
func (s *Server) method(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("method")
	if s.fails(w, r, name, func(w http.ResponseWriter) { s.call(w, r) }) {
		return
	}
	s.call(w, r)
}

// call does what the method does.
func (s *Server) call(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("method")
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	methods := map[string]func(*http.Request) (answer map[string]any, fault string){
		"chat.postMessage": s.postMessage, "chat.update": s.update, "chat.postEphemeral": s.ephemeral,
		"apps.connections.open":      s.openConnection,
		"files.getUploadURLExternal": s.uploadURL, "files.completeUploadExternal": s.completeUpload,
	}
	answer, fault := map[string]any{}, "unknown_method"
	if m := methods[name]; m != nil {
		fault = "not_authed"
		if token := first(r.FormValue("token"), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")); token != "" {
			fault = "invalid_auth"
			want := "xoxb-"
			if name == "apps.connections.open" {
				want = "xapp-"
			}
			if strings.HasPrefix(token, want) {
				answer, fault = m(r)
			}
		}
	}
	if fault != "" {
		answer = map[string]any{"error": fault}
	}
	answer["ok"] = fault == ""
	s.record(Delivery{At: time.Now(), Status: http.StatusOK, Method: name, Word: fault}, nil)
	reply(w, answer)
}

func reply(w http.ResponseWriter, answer map[string]any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(answer) // the sender left
}

// compose reads a message from a form.
func (s *Server) compose(r *http.Request) (m Message, fault string) {
	raw := map[string]any{}
	for name := range r.Form {
		if name == "token" {
			continue
		}
		raw[name] = r.FormValue(name)
		if v := r.FormValue(name); name == "blocks" || name == "attachments" {
			if !json.Valid([]byte(v)) {
				return m, "invalid_" + name
			}
			raw[name] = json.RawMessage(v)
		}
	}
	p := payload{Text: r.FormValue("text")}
	for name, to := range map[string]any{"blocks": &p.Blocks, "attachments": &p.Attachments} {
		if v := r.FormValue(name); v != "" && json.Unmarshal([]byte(v), to) != nil {
			return m, "invalid_" + name
		}
	}
	if fault := p.fault(); fault != "" {
		return m, fault
	}
	for _, id := range p.files() {
		if s.File(id) == nil {
			return m, "invalid_blocks"
		}
	}
	m = Message{Path: r.URL.Path, Text: p.plain(time.Now()), payload: p}
	m.Raw, _ = json.Marshal(raw) // of strings and valid JSON
	if len(p.Attachments) > 0 {
		m.Color = p.Attachments[0].Color
	}
	return m, ""
}

// channelID is Slack's id of a channel: as good as any that is made of its name.
func channelID(name string) string {
	if strings.HasPrefix(name, "#") {
		return fmt.Sprintf("C%X", name[1:])
	}
	return name
}

func (s *Server) postMessage(r *http.Request) (answer map[string]any, fault string) {
	m, fault := s.compose(r)
	if fault != "" {
		return nil, fault
	}
	name := r.FormValue("channel")
	if name == "" {
		return nil, "channel_not_found"
	}
	m.At, m.Channel = time.Now(), name
	m.Thread, m.Broadcast = r.FormValue("thread_ts"), r.FormValue("reply_broadcast") == "true"
	s.mu.Lock()
	if m.Thread != "" {
		i := s.index(name, m.Thread)
		if i < 0 {
			s.mu.Unlock()
			return nil, "thread_not_found"
		}
		m.Channel = s.messages[i].Channel
	}
	s.posted++
	m.TS = fmt.Sprintf("%d.%06d", began+s.posted, s.posted)
	s.messages = last(append(s.messages, m))
	s.wake()
	s.mu.Unlock()
	return map[string]any{"channel": channelID(m.Channel), "ts": m.TS}, ""
}

func (s *Server) update(r *http.Request) (answer map[string]any, fault string) {
	m, fault := s.compose(r)
	if fault != "" {
		return nil, fault
	}
	channel, ts := r.FormValue("channel"), r.FormValue("ts")
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(channel, ts)
	if i < 0 {
		return nil, "message_not_found"
	}
	// Who has read the messages keeps what they were.
	s.messages = slices.Clone(s.messages)
	old := &s.messages[i]
	old.Raw, old.Text, old.Color, old.payload = m.Raw, m.Text, m.Color, m.payload
	old.Edited++
	s.wake()
	return map[string]any{"channel": channel, "ts": ts, "text": m.payload.Text}, ""
}

// index returns where the message is, or -1. Callers hold mu.
func (s *Server) index(channel, ts string) int {
	return slices.IndexFunc(s.messages, func(m Message) bool {
		return m.TS == ts && ts != "" && channelID(m.Channel) == channelID(channel)
	})
}

// Delete takes a bot's message away, as somebody in the channel may.
func (s *Server) Delete(ts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = slices.DeleteFunc(slices.Clone(s.messages), func(m Message) bool { return m.TS == ts })
	s.wake()
}

// File returns an uploaded file, or nil.
func (s *Server) File(id string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		if f.id == id && f.complete {
			return f.data
		}
	}
	return nil
}

func (s *Server) uploadURL(r *http.Request) (answer map[string]any, fault string) {
	if r.FormValue("filename") == "" || r.FormValue("length") == "" {
		return nil, "invalid_arguments"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posted++
	f := file{id: fmt.Sprintf("F%08d", s.posted)}
	s.files = append(s.files, f)
	s.files = s.files[max(0, len(s.files)-keepFiles):]
	return map[string]any{"upload_url": "http://" + r.Host + "/upload/" + f.id, "file_id": f.id}, ""
}

// upload takes a file's bytes.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	if s.fails(w, r, "upload", func(http.ResponseWriter) {}) {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var data []byte
	in, _, err := r.FormFile("file")
	if err == nil {
		data, err = io.ReadAll(in)
		_ = in.Close() // it was read
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.files, func(f file) bool { return f.id == r.PathValue("id") })
	if err != nil || i < 0 {
		http.Error(w, "no file", http.StatusBadRequest)
		return
	}
	s.files[i].data = data
	answer(w, http.StatusOK, fmt.Sprintf("OK - %d", len(data)))
}

func (s *Server) completeUpload(r *http.Request) (answer map[string]any, fault string) {
	var files []struct {
		ID    string `json:"id"`
		Title string `json:"title"`
	}
	if json.Unmarshal([]byte(r.FormValue("files")), &files) != nil || len(files) == 0 {
		return nil, "invalid_arguments"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		i := slices.IndexFunc(s.files, func(known file) bool { return known.id == f.ID && len(known.data) > 0 })
		if i < 0 {
			return nil, "file_not_found"
		}
		s.files[i].complete = true
	}
	return map[string]any{"files": files}, ""
}

// file shows an uploaded picture.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	data := s.File(r.PathValue("id"))
	if data == nil {
		http.NotFound(w, r)
		return
	}
	kind := http.DetectContentType(data)
	if !strings.HasPrefix(kind, "image/") {
		kind = "application/octet-stream"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(data) // the viewer left
}
