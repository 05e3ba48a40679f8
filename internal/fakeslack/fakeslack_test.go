package fakeslack

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/html"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hook = "/services/T000/B000/XXXX"

// firing and resolved are what slowburn sends through a webhook.
const firing = `{
	"attachments": [{
		"color": "#d72b3f",
		"fallback": "Checkout is failing",
		"title": "🔴 Checkout is failing · 31 % errors · budget gone in 4 h",
		"title_link": "http://localhost:9595/flows/shop/checkout",
		"text": "99.9% succeed over 30d · burning *310×* (5 m) and *22×* (1 h) · pages at 14.4×\nHit: 412 of 13,300 requests since <!date^1795442520^{time}|14:02 UTC> · budget left 61 % → 46 %",
		"fields": [{"title": "Where", "value": "94 % on ` + "`1.42.0`" + `", "short": true}, {"title": "Owner", "value": "payments &amp; co", "short": true}],
		"actions": [
			{"type": "button", "text": "Dashboard", "url": "http://localhost:9595/flows/shop/checkout", "style": "primary"},
			{"type": "button", "text": "Runbook :book:", "url": "https://wiki.example/checkout"}
		],
		"footer": "shop · payments",
		"ts": 1795442520,
		"mrkdwn_in": ["text", "fields"]
	}]
}`

const resolved = `{
	"channel": "#shop",
	"attachments": [{
		"color": "good",
		"fallback": "Checkout recovered",
		"title": "🟢 Checkout recovered · 38 min · 1,204 requests failed",
		"text": "cost 15 % of the month, 46 % left",
		"footer": "shop · payments",
		"ts": "1795444800"
	}]
}`

const blocks = `{
	"text": "only for the notification",
	"username": "slowburn at work",
	"blocks": [
		{"type": "header", "text": {"type": "plain_text", "text": ":red_circle: Search is slow <now>"}},
		{"type": "section", "text": {"type": "mrkdwn", "text": "*95% under 500ms* over 30d, see <https://wiki.example/s|the runbook>"},
		 "accessory": {"type": "button", "text": {"type": "plain_text", "text": "Open"}, "url": "http://localhost:9595/"}},
		{"type": "section", "fields": [{"type": "mrkdwn", "text": "*Now*\n88 %"}, {"type": "mrkdwn", "text": "*Left*\n52 %"}]},
		{"type": "divider"},
		{"type": "context", "elements": [{"type": "mrkdwn", "text": "shop · _search_"}]},
		{"type": "actions", "elements": [{"type": "button", "style": "danger", "text": {"type": "plain_text", "text": "Snooze"}}]}
	]
}`

func post(s *Server, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, hook, strings.NewReader(body)))
	return w
}

func page(tb testing.TB, s *Server) (string, *html.Node) {
	tb.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusOK {
		tb.Fatalf("GET / = %d %s, want 200", w.Code, w.Body)
	}
	doc, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		tb.Fatal(err)
	}
	return w.Body.String(), doc
}

func elements(doc *html.Node, tag string) []*html.Node {
	var out []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && (n.Data == tag || tag == "*") {
			out = append(out, n)
		}
	}
	return out
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// read returns what a person reads of an element, with single spaces.
func read(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		switch {
		case d.Type == html.TextNode:
			b.WriteString(d.Data)
		case slices.Contains([]string{"p", "div", "br", "dt", "dd", "h2", "h3"}, d.Data):
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestDelivery(t *testing.T) {
	s := New(Options{})
	for _, body := range []string{firing, resolved, blocks} {
		if w := post(s, body); w.Code != http.StatusOK || w.Body.String() != "ok" {
			t.Fatalf("POST = %d %q, want 200 ok", w.Code, w.Body)
		}
	}
	got := s.Messages()
	if len(got) != 3 {
		t.Fatalf("messages = %d, want 3", len(got))
	}
	for i, want := range []Message{
		{
			Path: hook, Color: "#d72b3f",
			Text: "🔴 Checkout is failing · 31 % errors · budget gone in 4 h\n" +
				"99.9% succeed over 30d · burning 310× (5 m) and 22× (1 h) · pages at 14.4×\n" +
				"Hit: 412 of 13,300 requests since " + time.Unix(1795442520, 0).Format("15:04") + " · budget left 61 % → 46 %\n" +
				"Where\n94 % on 1.42.0\nOwner\npayments & co\nDashboard\nRunbook 📖\nshop · payments",
		},
		{
			Path: hook, Color: "good", Channel: "#shop",
			Text: "🟢 Checkout recovered · 38 min · 1,204 requests failed\ncost 15 % of the month, 46 % left\nshop · payments",
		},
		{
			Path: hook,
			Text: "🔴 Search is slow <now>\n95% under 500ms over 30d, see the runbook\nOpen\nNow\n88 %\nLeft\n52 %\nshop · search\nSnooze",
		},
	} {
		if m := got[i]; m.Path != want.Path || m.Color != want.Color || m.Channel != want.Channel || m.Text != want.Text {
			t.Errorf("message %d: path %q, color %q, channel %q, text:\n%s\nwant path %q, color %q, channel %q, text:\n%s",
				i, m.Path, m.Color, m.Channel, m.Text, want.Path, want.Color, want.Channel, want.Text)
		}
	}
	if string(got[1].Raw) != resolved {
		t.Errorf("raw = %s, want what was sent", got[1].Raw)
	}
}

func TestPage(t *testing.T) {
	s := New(Options{App: "slowburn demo"})
	if _, doc := page(t, s); !strings.Contains(read(doc), "No messages yet") {
		t.Errorf("page without messages = %q, want it to say so", read(doc))
	}
	for _, body := range []string{firing, resolved, blocks} {
		post(s, body)
	}
	_, doc := page(t, s)
	articles := elements(doc, "article")
	if len(articles) != 3 {
		t.Fatalf("messages on the page = %d, want 3", len(articles))
	}
	clock := time.Unix(1795442520, 0).Format("15:04")
	for i, want := range []string{
		"99.9% succeed over 30d · burning 310× (5 m) and 22× (1 h) · pages at 14.4× Hit: 412 of 13,300 requests since " + clock + " · budget left 61 % → 46 %",
		"🟢 Checkout recovered · 38 min · 1,204 requests failed cost 15 % of the month, 46 % left shop · payments",
		"🔴 Search is slow <now> 95% under 500ms over 30d, see the runbook Open Now 88 % Left 52 % shop · search Snooze",
	} {
		if got := read(articles[i]); !strings.Contains(got, want) {
			t.Errorf("message %d = %q, want it to contain %q", i, got, want)
		}
	}
	for i, want := range []string{"slowburn demo", "slowburn demo", "slowburn at work"} {
		if got := read(elements(articles[i], "b")[0]); got != want {
			t.Errorf("sender of message %d = %q, want %q", i, got, want)
		}
	}
	var fills, links []string
	for _, n := range elements(doc, "rect") {
		fills = append(fills, attr(n, "fill"))
	}
	if want := []string{"#d72b3f", "#2eb886"}; !slices.Equal(fills, want) {
		t.Errorf("stripes = %q, want %q", fills, want)
	}
	for _, n := range elements(doc, "a") {
		links = append(links, read(n)+" "+attr(n, "href"))
	}
	if want := []string{
		"🔴 Checkout is failing · 31 % errors · budget gone in 4 h http://localhost:9595/flows/shop/checkout",
		"Dashboard http://localhost:9595/flows/shop/checkout",
		"Runbook 📖 https://wiki.example/checkout",
		"the runbook https://wiki.example/s",
		"Open http://localhost:9595/",
	}; !slices.Equal(links, want) {
		t.Errorf("links:\n%s\nwant:\n%s", strings.Join(links, "\n"), strings.Join(want, "\n"))
	}
	if got := read(elements(doc, "h1")[0]); got != "#shop" {
		t.Errorf("channel = %q, want #shop", got)
	}
}

func TestMrkdwn(t *testing.T) {
	now := time.Date(2026, 11, 23, 14, 40, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		in     string
		markup markup
		want   template.HTML
	}{
		{"bold", "a *b c* d", full, "a <b>b c</b> d"},
		{"italic in bold", "*a _b_*", full, "<b>a <i>b</i></b>"},
		{"strike", "~old~ new", full, "<s>old</s> new"},
		{"code keeps marks", "`a *b*`", full, "<code>a *b*</code>"},
		{"block of code", "see\n```\na < b\n*c*\n```", full, "see<br><pre>a &lt; b<br>*c*</pre>"},
		{"quote", "&gt; quoted\nnot", full, "<blockquote>quoted</blockquote><br>not"},
		{"within a word", "a*b*c snake_case_name 2*3*4", full, "a*b*c snake_case_name 2*3*4"},
		{"lonely marks", "* a * _", full, "* a * _"},
		{"link", "<https://x.example/a?b=1&amp;c=2|the *page*>", full, `<a href="https://x.example/a?b=1&amp;c=2" rel="noreferrer">the *page*</a>`},
		{"bare link", "<https://x.example>", links, `<a href="https://x.example" rel="noreferrer">https://x.example</a>`},
		{"mentions", "<!here> <!channel|all> <@U1|ann> <#C1|shop>", links, `<span class="mention">@here</span> <span class="mention">@all</span> <span class="mention">@ann</span> <span class="mention">#shop</span>`},
		{"time", "since <!date^1795442520^{time}|14:02 UTC>", links, "since " + template.HTML(time.Unix(1795442520, 0).UTC().Format("15:04"))},
		{"date that is not one", "<!date^soon^{time}|14:02 UTC>", links, "14:02 UTC"},
		{"day", "<!date^1795442520^{date_num} {date_short_pretty}^https://x.example|x>", links, `<a href="https://x.example" rel="noreferrer">2026-11-23 today</a>`},
		{"emoji", ":fire: :unheard_of: 14:02:30", links, "🔥 :unheard_of: 14:02:30"},
		{"disc", "🔴", emojiOnly, `<span class="dot red">🔴</span>`},
		{"entities once", "&amp;lt; &lt;b&gt;", full, "&amp;lt; &lt;b&gt;"},
		{"plain text has no links", "<https://x.example|x> *a*", emojiOnly, "&lt;https://x.example|x&gt; *a*"},
		{"links without marks", "*a*", links, "*a*"},
		{"unclosed", "a <https://x", full, "a &lt;https://x"},
		{"script link", "<javascript:alert(1)|x>", full, "x"},
		{"quotes in a link", `<https://x.example/"onclick="a|"b">`, full, `<a href="https://x.example/%22onclick=%22a" rel="noreferrer">&#34;b&#34;</a>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := mrkdwn(tc.in, tc.markup, now); got != tc.want {
				t.Errorf("mrkdwn(%q) = %s, want %s", tc.in, got, tc.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int, one string) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	const divider, button = `{"type":"divider"}`, `{"type":"button","text":{"type":"plain_text","text":"x"}}`
	for _, tc := range []struct{ name, body, want string }{
		{"nothing", "", "invalid_payload"},
		{"no JSON", "text=hello", "invalid_payload"},
		{"cut off", `{"text": "a`, "invalid_payload"},
		{"a list", `["a"]`, "invalid_payload"},
		{"wrong type", `{"text": 1}`, "invalid_payload"},
		{"beyond a message", `{"text": "` + long(maxBody) + `"}`, "invalid_payload"},
		{"text too long", `{"text": "` + long(40_001) + `"}`, "invalid_payload"},
		{"text as long as may be", `{"text": "` + long(40_000) + `"}`, ""},
		{"attachment too long", `{"attachments": [{"text": "` + long(40_001) + `"}]}`, "invalid_payload"},
		{"empty", `{}`, "no_text"},
		{"empty attachment", `{"attachments": [{"color": "good"}]}`, "no_text"},
		{"attachments", `{"text": "a", "attachments": [` + many(101, "{}") + `]}`, "too_many_attachments"},
		{"blocks", `{"blocks": [` + many(51, divider) + `]}`, "invalid_blocks"},
		{"blocks as many as may be", `{"blocks": [` + many(50, divider) + `]}`, ""},
		{"blocks in an attachment", `{"attachments": [{"blocks": [` + many(51, divider) + `]}]}`, "invalid_blocks"},
		{"unknown block", `{"blocks": [{"type": "poem"}]}`, "invalid_blocks"},
		{"header too long", `{"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "` + long(151) + `"}}]}`, "invalid_blocks"},
		{"header in mrkdwn", `{"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "a"}}]}`, "invalid_blocks"},
		{"section too long", `{"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "` + long(3001) + `"}}]}`, "invalid_blocks"},
		{"section as long as may be", `{"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "` + long(3000) + `"}}]}`, ""},
		{"empty section", `{"blocks": [{"type": "section"}]}`, "invalid_blocks"},
		{"fields", `{"blocks": [{"type": "section", "fields": [` + many(11, `{"type":"mrkdwn","text":"x"}`) + `]}]}`, "invalid_blocks"},
		{"buttons", `{"blocks": [{"type": "actions", "elements": [` + many(26, button) + `]}]}`, "invalid_blocks"},
		{"button too long", `{"blocks": [{"type": "actions", "elements": [{"type":"button","text":{"type":"plain_text","text":"` + long(76) + `"}}]}]}`, "invalid_blocks"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := New(Options{})
			w := post(s, tc.body)
			if tc.want == "" {
				if w.Code != http.StatusOK || len(s.Messages()) != 1 {
					t.Errorf("POST = %d %q and %d messages, want 200 and 1", w.Code, w.Body, len(s.Messages()))
				}
				return
			}
			if w.Code != http.StatusBadRequest || w.Body.String() != tc.want || len(s.Messages()) != 0 {
				t.Errorf("POST = %d %q and %d messages, want 400 %q and none", w.Code, w.Body, len(s.Messages()), tc.want)
			}
		})
	}
}

func TestFail(t *testing.T) {
	s := New(Options{})
	srv := httptest.NewServer(s)
	defer srv.Close()
	s.Fail(2, http.StatusTooManyRequests, "30")
	s.Fail(1, 0, "")
	s.Fail(1, http.StatusServiceUnavailable, "")
	send := func() string {
		resp, err := srv.Client().Post(srv.URL+hook, "application/json", strings.NewReader(resolved))
		if err != nil {
			return "cut"
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d %v %s", resp.StatusCode, resp.Header["Retry-After"], b)
	}
	for i, want := range []string{"429 [30] rate_limited", "429 [30] rate_limited", "cut", "503 [] server_error", "200 [] ok"} {
		if got := send(); got != want {
			t.Errorf("delivery %d = %s, want %s", i+1, got, want)
		}
	}
	s.Fail(100, http.StatusInternalServerError, "")
	if got, want := send(), "500 [] server_error"; got != want {
		t.Errorf("delivery while failing = %s, want %s", got, want)
	}
	s.Recover()
	if got, want := send(), "200 [] ok"; got != want {
		t.Errorf("delivery after Recover = %s, want %s", got, want)
	}
	var statuses []int
	for _, d := range s.Deliveries() {
		statuses = append(statuses, d.Status)
	}
	if want := []int{429, 429, 0, 503, 200, 500, 200}; !slices.Equal(statuses, want) {
		t.Errorf("deliveries = %v, want %v", statuses, want)
	}
	if got := len(s.Messages()); got != 2 {
		t.Errorf("messages = %d, want the 2 that were taken", got)
	}
	srv.Client().CloseIdleConnections()
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		recovered := func(m Message) bool { return strings.Contains(m.Text, "recovered") }
		go func() {
			time.Sleep(time.Minute)
			post(s, firing)
			time.Sleep(time.Minute)
			post(s, resolved)
		}()
		begun := time.Now()
		m, err := s.Wait(t.Context(), recovered)
		if err != nil || m.Channel != "#shop" || time.Since(begun) != 2*time.Minute {
			t.Errorf("Wait = %q, %v after %s; want the resolved message after 2m", m.Text, err, time.Since(begun))
		}
		if _, err := s.Wait(t.Context(), recovered); err != nil {
			t.Errorf("Wait for a message of the past: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.Wait(ctx, func(Message) bool { return false })
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "none of 2 messages") {
			t.Errorf("Wait in vain = %v, want the deadline and what was there", err)
		}
	})
}

func TestKeepsTheLast(t *testing.T) {
	s := New(Options{})
	for i := range keep + 10 {
		post(s, fmt.Sprintf(`{"text": "%d"}`, i))
	}
	got := s.Messages()
	if len(got) != keep || got[0].Text != "10" || got[keep-1].Text != fmt.Sprint(keep+9) {
		t.Errorf("kept %d messages from %s to %s, want %d from 10 to %d", len(got), got[0].Text, got[len(got)-1].Text, keep, keep+9)
	}
}

// TestInert holds that no text of a message becomes an element, an attribute
// or a script.
func TestInert(t *testing.T) {
	body := func(text string) string {
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
		return strings.ReplaceAll(`{"text": "t$", "username": "u$", "channel": "c$",
			"attachments": [{"color": "$", "pretext": "p$", "author_name": "a$", "title": "t$", "title_link": "javascript:alert(1)$", "text": "x$",
			"fields": [{"title": "t$", "value": "v$"}], "actions": [{"text": "b$", "url": "javascript:alert(1)$", "style": "$"}], "footer": "f$",
			"mrkdwn_in": ["text", "fields", "pretext"],
			"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "h$"}},
				{"type": "section", "text": {"type": "mrkdwn", "text": "s$"}, "accessory": {"type": "button", "text": {"type": "plain_text", "text": "b$"}, "url": "data:$"}},
				{"type": "context", "elements": [{"type": "mrkdwn", "text": "c$"}, {"type": "image", "alt_text": "i$"}]}]}]}`, "$", quoted)
	}
	shape := func(text string) string {
		s := New(Options{})
		if w := post(s, body(text)); w.Code != http.StatusOK {
			t.Fatalf("POST with %q = %d %s", text, w.Code, w.Body)
		}
		_, doc := page(t, s)
		var b strings.Builder
		for _, n := range elements(doc, "*") {
			b.WriteString(n.Data)
			for _, a := range n.Attr {
				b.WriteString(" " + a.Key)
				if a.Key == "href" || a.Key == "src" || a.Key == "fill" {
					b.WriteString("=" + a.Val)
				}
			}
			b.WriteByte('\n')
		}
		return b.String()
	}
	want := shape("harmless")
	for _, text := range []string{
		`&lt;script&gt;alert(1)&lt;/script&gt;`, `" onmouseover="alert(1)`, `' onmouseover='alert(1)`, `&#60;script&#62;`,
		`&quot;onload=alert(1)`, `{{.}}`, `javascript:alert(1)`, "\u2028", "\u202e", `]]&gt;`, `&amp;lt;script&amp;gt;`,
		`url(https://evil.example)`, `#000"/&gt;&lt;script&gt;`,
	} {
		if got := shape(text); got != want {
			t.Errorf("%q changes the page:\n%s\nwant:\n%s", text, got, want)
		}
	}
	// Angle brackets that a sender forgot to escape are markup to Slack, but
	// never HTML.
	s := New(Options{})
	post(s, body(`<script>alert(1)</script><img src=x onerror=alert(1)>`))
	_, doc := page(t, s)
	if got := len(elements(doc, "script")); got != 1 {
		t.Errorf("scripts on the page = %d, want its own only", got)
	}
	for _, n := range elements(doc, "*") {
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("<%s> has the attribute %s", n.Data, a.Key)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	s := New(Options{})
	for _, path := range []string{"/", "/assets/app.css", "/assets/page.js", "/assets/app.svg", "/nothing"} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		want := "default-src 'self'; script-src 'self'; style-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
		if got := w.Header().Get("Content-Security-Policy"); got != want {
			t.Errorf("GET %s: policy = %q, want %q", path, got, want)
		}
		if wantCode := http.StatusOK; path != "/nothing" && w.Code != wantCode {
			t.Errorf("GET %s = %d, want %d", path, w.Code, wantCode)
		}
	}
}
