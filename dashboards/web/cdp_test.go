package web

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// browserPatience is how long a condition on a page may take on a busy machine.
const browserPatience = time.Minute

// browser is a Chromium that is driven over the pipe of its DevTools protocol.
type browser struct {
	tb  testing.TB
	in  *os.File
	end chan struct{} // closed when the pipe is

	mu      sync.Mutex
	last    int
	answers map[int]chan cdpMessage
	tabs    map[string]*tab // by session
}

type cdpMessage struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// newBrowser starts Chromium, which ends with the test.
func newBrowser(tb testing.TB) *browser {
	tb.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatal("chromium is not installed; want it where CI=true")
		}
		tb.Skip("chromium is not installed: the pages are not looked at in a browser")
	}
	toRead, toWrite, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	fromRead, fromWrite, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path,
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--remote-debugging-pipe", "--user-data-dir="+filepath.Join(dir, "profile"), "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.ExtraFiles = []*os.File{toRead, fromWrite} // 3 and 4
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	_, _ = toRead.Close(), fromWrite.Close()
	b := &browser{tb: tb, in: toWrite, end: make(chan struct{}), answers: map[int]chan cdpMessage{}, tabs: map[string]*tab{}}
	go b.listen(fromRead)
	tb.Cleanup(func() {
		_, _ = b.ask("", "Browser.close", nil) // it may be gone already
		ended := make(chan struct{})
		go func() { defer close(ended); _ = cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cancel()
			<-ended
		}
		cancel()
		_ = toWrite.Close()
		_ = fromRead.Close()
		<-b.end
	})
	return b
}

// listen hands answers to those who asked and events to their tab.
func (b *browser) listen(from *os.File) {
	defer close(b.end)
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		raw, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m cdpMessage
		if json.Unmarshal(raw[:len(raw)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if m.ID != 0 {
			b.answers[m.ID] <- m // has room for its answer
			delete(b.answers, m.ID)
		} else if t := b.tabs[m.Session]; t != nil {
			t.event(m)
		}
		b.mu.Unlock()
	}
}

// ask sends a command and returns its result.
func (b *browser) ask(session, method string, params any) (json.RawMessage, error) {
	p, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	if params == nil {
		p = nil
	}
	answer := make(chan cdpMessage, 1)
	b.mu.Lock()
	b.last++
	id := b.last
	b.answers[id] = answer
	raw, err := json.Marshal(cdpMessage{ID: id, Session: session, Method: method, Params: p})
	if err == nil {
		_, err = b.in.Write(append(raw, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			return nil, fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		return m.Result, nil
	case <-b.end:
		return nil, errors.New("chromium has ended")
	case <-time.After(browserPatience):
		return nil, fmt.Errorf("%s: no answer within %s", method, browserPatience)
	}
}

// tab is a page that is open. What it complains of fails the test.
type tab struct {
	tb      testing.TB
	b       *browser
	session string
	faults  []string // guarded by b.mu
	allowed string   // part of faults that are expected
}

// open serves h and opens a tab of its own profile at a path of it.
func (b *browser) open(tb testing.TB, h http.Handler, path string, width, height int, dark bool) *tab {
	tb.Helper()
	srv := httptest.NewServer(h)
	tb.Cleanup(srv.Close)
	var ctx struct {
		ID string `json:"browserContextId"`
	}
	b.must(tb, "", "Target.createBrowserContext", nil, &ctx)
	var target struct {
		ID string `json:"targetId"`
	}
	b.must(tb, "", "Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": ctx.ID}, &target)
	var session struct {
		ID string `json:"sessionId"`
	}
	b.must(tb, "", "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &session)
	t := &tab{tb: tb, b: b, session: session.ID}
	b.mu.Lock()
	b.tabs[session.ID] = t
	b.mu.Unlock()
	tb.Cleanup(func() {
		_, _ = b.ask("", "Target.disposeBrowserContext", map[string]any{"browserContextId": ctx.ID})
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.tabs, session.ID)
		for _, f := range t.faults {
			if t.allowed == "" || !strings.Contains(f, t.allowed) {
				tb.Errorf("the browser says: %s", f)
			}
		}
	})
	for _, c := range []struct {
		method string
		params any
	}{
		{"Runtime.enable", nil},
		{"Log.enable", nil},
		{"Page.enable", nil},
		{"Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}},
	} {
		b.must(tb, t.session, c.method, c.params, nil)
	}
	t.resize(width, height, dark)
	b.must(tb, t.session, "Page.navigate", map[string]any{"url": srv.URL + path}, nil)
	t.wait(`location.pathname !== "blank" && document.readyState === "complete"`)
	return t
}

// resize makes the window another, of a device with light or dark colours.
func (t *tab) resize(width, height int, dark bool) {
	t.tb.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	t.b.must(t.tb, t.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	t.b.must(t.tb, t.session, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

func (b *browser) must(tb testing.TB, session, method string, params, into any) {
	tb.Helper()
	result, err := b.ask(session, method, params)
	if err == nil && into != nil {
		err = json.Unmarshal(result, into)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// event keeps what the browser complains of: errors on the console, exceptions,
// requests that fail, violations of the content policy. The caller holds b.mu.
func (t *tab) event(m cdpMessage) {
	switch m.Method {
	case "Runtime.exceptionThrown":
		t.faults = append(t.faults, "exception: "+string(m.Params))
	case "Runtime.consoleAPICalled":
		var p struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(m.Params, &p) == nil && (p.Type == "error" || p.Type == "warning" || p.Type == "assert") {
			t.faults = append(t.faults, "console: "+string(m.Params))
		}
	case "Log.entryAdded":
		var p struct {
			Entry struct{ Level, Text, URL string } `json:"entry"`
		}
		if json.Unmarshal(m.Params, &p) == nil && (p.Entry.Level == "error" || p.Entry.Level == "warning") {
			t.faults = append(t.faults, p.Entry.Text+" "+p.Entry.URL)
		}
	case "Page.javascriptDialogOpening":
		t.faults = append(t.faults, "a dialog opened: "+string(m.Params))
	}
}

// eval runs an expression on the page, waits for its promise, and decodes what
// it is into into, unless that is nil.
func (t *tab) eval(expression string, into any) {
	t.tb.Helper()
	if err := t.try(expression, into); err != nil {
		t.tb.Fatal(err)
	}
}

func (t *tab) try(expression string, into any) error {
	result, err := t.b.ask(t.session, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true})
	if err != nil {
		return err
	}
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return err
	}
	if r.ExceptionDetails != nil {
		return fmt.Errorf("%s: %s", expression, r.ExceptionDetails)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(r.Result.Value, into)
}

// wait waits until an expression holds on the page.
func (t *tab) wait(condition string) {
	t.tb.Helper()
	deadline := time.Now().Add(browserPatience)
	for {
		var ok bool
		err := t.try("!!("+condition+")", &ok) // a page that is just left has no answer
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			var page string
			_ = t.try("document.body.innerText", &page)
			t.tb.Fatalf("%s does not come true within %s (%v); the page says:\n%s", condition, browserPatience, err, page)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// click clicks on the first element of a selector as a person would, by mouse.
func (t *tab) click(selector string) {
	t.tb.Helper()
	t.wait(fmt.Sprintf("document.querySelector(%q)", selector))
	var at struct{ X, Y float64 }
	t.eval(fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.scrollIntoView({block: "center"});
		const r = e.getClientRects()[0]; return {X: r.x + r.width / 2, Y: r.y + r.height / 2}; })()`, selector), &at)
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		t.b.must(t.tb, t.session, "Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
	}
}

// point moves the mouse over the middle of an element.
func (t *tab) point(selector string) {
	t.tb.Helper()
	var at struct{ X, Y float64 }
	t.eval(fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.scrollIntoView({block: "center"});
		const r = e.getBoundingClientRect(); return {X: r.x + r.width / 2, Y: r.y + r.height / 2}; })()`, selector), &at)
	t.b.must(t.tb, t.session, "Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": at.X, "y": at.Y}, nil)
}

// text types into what has the focus.
func (t *tab) text(s string) {
	t.tb.Helper()
	t.b.must(t.tb, t.session, "Input.insertText", map[string]any{"text": s}, nil)
}

// press presses and releases a key.
func (t *tab) press(key string) {
	t.tb.Helper()
	codes := map[string]int{"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, " ": 32}
	p := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
	if key == "Enter" {
		p["text"] = "\r"
	}
	t.b.must(t.tb, t.session, "Input.dispatchKeyEvent", p, nil)
	p["type"] = "keyUp"
	delete(p, "text")
	t.b.must(t.tb, t.session, "Input.dispatchKeyEvent", p, nil)
}

// fits fails the test when the page is to be scrolled sideways.
func (t *tab) fits() {
	t.tb.Helper()
	var w struct {
		Content, Window int
		Wide            []string
	}
	t.eval(`({Content: document.documentElement.scrollWidth, Window: innerWidth,
		Wide: [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
			.map((e) => e.tagName + "." + (e.getAttribute("class") ?? "")).slice(0, 8)})`, &w)
	if w.Content > w.Window || w.Window == 0 {
		t.tb.Errorf("content is %d wide in a window of %d, want no scrolling sideways; beyond it: %s", w.Content, w.Window, w.Wide)
	}
}

// accessible runs axe over the page and fails the test on its serious and
// critical findings.
func (t *tab) accessible() {
	t.tb.Helper()
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.tb.Fatal(err)
	}
	var there bool
	if t.eval(`typeof axe === "object"`, &there); !there {
		t.eval(string(axe)+";0", nil)
	}
	var found []struct {
		ID, Impact, Help string
		Nodes            []string
	}
	t.eval(`axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations
		.filter((v) => v.impact === "serious" || v.impact === "critical")
		.map((v) => ({ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.slice(0, 5).map((n) => n.html + " " + n.failureSummary)})))`, &found)
	for _, f := range found {
		t.tb.Errorf("axe: %s (%s): %s\n\t%s", f.ID, f.Impact, f.Help, strings.Join(f.Nodes, "\n\t"))
	}
}

// shoot keeps a picture of the whole page when screenshots are wanted.
func (t *tab) shoot(name string) {
	t.tb.Helper()
	if *screenshots == "" {
		return
	}
	var shot struct{ Data string }
	t.b.must(t.tb, t.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(*screenshots, strings.ReplaceAll(name, "/", "-")+".png"), png, 0o644)
	}
	if err != nil {
		t.tb.Fatal(err)
	}
}
