package fakeslack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// call calls a method of the Web API as a bot.
func call(t *testing.T, s *Server, method string, pairs ...string) map[string]any {
	t.Helper()
	form := url.Values{"token": {"xoxb-test"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/api/"+method, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s answers %d %q: %v", method, w.Code, w.Body, err)
	}
	return answer
}

// picture uploads a picture and returns its id.
func picture(t *testing.T, s *Server) string {
	t.Helper()
	var img bytes.Buffer
	if err := png.Encode(&img, image.NewGray(image.Rect(0, 0, 2, 2))); err != nil {
		t.Fatal(err)
	}
	to := call(t, s, "files.getUploadURLExternal", "filename", "burn.png", "length", fmt.Sprint(img.Len()))
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "burn.png")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(img.Bytes())
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, to["upload_url"].(string), &body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("upload = %d %s, want 200", w.Code, w.Body)
	}
	id := to["file_id"].(string)
	if s.File(id) != nil {
		t.Error("the file is there before the upload was completed")
	}
	if a := call(t, s, "files.completeUploadExternal", "files", `[{"id":"`+id+`"}]`); a["ok"] != true {
		t.Fatalf("completeUploadExternal = %v, want ok", a)
	}
	return id
}

// TestWebAPI posts a message, edits it with a picture and replies to it.
func TestWebAPI(t *testing.T) {
	s := New(Options{})
	posted := call(t, s, "chat.postMessage", "channel", "#shop", "text", "Checkout fails")
	ts, channel := posted["ts"].(string), posted["channel"].(string)
	if posted["ok"] != true || ts == "" || !strings.HasPrefix(channel, "C") {
		t.Fatalf("postMessage = %v, want an id of message and channel", posted)
	}
	id := picture(t, s)
	blocks := `[{"type":"image","slack_file":{"id":"` + id + `"},"alt_text":"errors over time"}]`
	if a := call(t, s, "chat.update", "channel", channel, "ts", ts, "text", "Checkout recovered", "blocks", blocks); a["ok"] != true {
		t.Fatalf("update = %v, want ok", a)
	}
	if a := call(t, s, "chat.postMessage", "channel", channel, "thread_ts", ts, "text", "It pages", "reply_broadcast", "true"); a["ok"] != true {
		t.Fatalf("reply = %v, want ok", a)
	}
	got := s.Messages()
	if len(got) != 2 || got[0].Edited != 1 || got[0].Channel != "#shop" || got[1].Thread != ts || !got[1].Broadcast {
		t.Errorf("messages = %+v, want one edited, and a reply to it", got)
	}
	html, _ := page(t, s)
	for _, want := range []string{`<img src="files/` + id + `" alt="errors over time">`, "(edited)", "It pages", "also sent to the channel"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Count(html, "<article>") != 1 {
		t.Errorf("%d messages on the page, want 1 with a thread", strings.Count(html, "<article>"))
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/files/"+id, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "image/png" {
		t.Errorf("picture = %d %s, want a PNG", w.Code, w.Header().Get("Content-Type"))
	}

	s.Delete(ts)
	if a := call(t, s, "chat.update", "channel", channel, "ts", ts, "text", "x"); a["error"] != "message_not_found" {
		t.Errorf("update of a deleted message = %v, want message_not_found", a)
	}
}

func TestWebAPIRefusals(t *testing.T) {
	s := New(Options{})
	for _, tc := range []struct {
		name, method, want string
		pairs              []string
	}{
		{"method", "chat.dance", "unknown_method", nil},
		{"no token", "chat.postMessage", "not_authed", []string{"token", ""}},
		{"user's token", "chat.postMessage", "invalid_auth", []string{"token", "xoxp-1"}},
		{"no channel", "chat.postMessage", "channel_not_found", []string{"text", "x"}},
		{"no text", "chat.postMessage", "no_text", []string{"channel", "#a"}},
		{"blocks", "chat.postMessage", "invalid_blocks", []string{"channel", "#a", "blocks", `{`}},
		{"unknown picture", "chat.postMessage", "invalid_blocks", []string{"channel", "#a", "blocks", `[{"type":"image","slack_file":{"id":"F1"},"alt_text":"x"}]`}},
		{"thread", "chat.postMessage", "thread_not_found", []string{"channel", "#a", "text", "x", "thread_ts", "1.0"}},
		{"message", "chat.update", "message_not_found", []string{"channel", "C1", "text", "x", "ts", "1.0"}},
		{"file", "files.completeUploadExternal", "file_not_found", []string{"files", `[{"id":"F1"}]`}},
		{"upload", "files.getUploadURLExternal", "invalid_arguments", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if a := call(t, s, tc.method, tc.pairs...); a["ok"] != false || a["error"] != tc.want {
				t.Errorf("%s = %v, want %s", tc.method, a, tc.want)
			}
		})
	}
	s.Refuse(1, "fatal_error")
	if a := call(t, s, "chat.postMessage", "channel", "#a", "text", "x"); a["error"] != "fatal_error" {
		t.Errorf("answer = %v, want the failure asked for", a)
	}
	if a := call(t, s, "chat.postMessage", "channel", "#a", "text", "x"); a["ok"] != true {
		t.Errorf("answer = %v, want ok after the failure", a)
	}
}
