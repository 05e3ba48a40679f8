package web

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

var screenshots = flag.String("screenshots", "", "folder to keep screenshots of the pages in")

// probe is a script of the test's own on the page. It tells what only a
// browser knows, on the console, and turns dialogs into errors.
const probe = `"use strict";
for (const dialog of ["alert", "confirm", "prompt"]) window[dialog] = (x) => console.error("dialog", x);
const tell = () => console.log("probe " + JSON.stringify({
	width: innerWidth, scroll: document.documentElement.scrollWidth, mains: document.querySelectorAll("main").length,
	scripts: typeof htmx, lost: !document.getElementById("lost").hidden,
}) + " end");
addEventListener("load", tell);
setTimeout(tell, 16000);
`

// probed is what probe tells.
type probed struct {
	Width   int
	Scroll  int // width of the content: more than Width means scrolling sideways
	Mains   int
	Scripts string // type of the global of htmx
	Lost    bool   // the page says that slowburn no longer answers
}

// look opens a page of h in Chromium with a fresh profile. It returns what
// probe told last, how often the page was asked for, and all else that came up
// on the browser's console: errors, and violations of the content policy.
func look(t *testing.T, h http.Handler, path, size string, flags ...string) (last probed, asked int, console string) {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed; want it where CI=true")
		}
		t.Skip("chromium is not installed: the pages are not looked at in a browser")
	}
	var count atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/probe.js":
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = w.Write([]byte(probe))
		case path:
			count.Add(1)
			r.Header.Del("Accept-Encoding")
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			for name, values := range rec.Header() {
				w.Header()[name] = values
			}
			w.Header().Del("Content-Length")
			w.WriteHeader(rec.Code)
			_, _ = w.Write(bytes.Replace(rec.Body.Bytes(), []byte("</head>"), []byte(`<script src="/probe.js"></script></head>`), 1))
		default:
			h.ServeHTTP(w, r)
		}
	}))
	defer srv.Close()

	dir := t.TempDir()
	shot := filepath.Join(dir, "page.png")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr",
		"--user-data-dir=" + filepath.Join(dir, "profile"), "--window-size=" + size, "--screenshot=" + shot,
	}, append(flags, srv.URL+path)...)...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, out)
	}
	if *screenshots != "" {
		name := strings.ReplaceAll(strings.TrimPrefix(t.Name(), "TestChromium/"), "/", "-") + ".png"
		if err := os.Rename(shot, filepath.Join(*screenshots, name)); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "CONSOLE") {
			continue
		}
		_, told, ok := strings.Cut(line, "probe ")
		if !ok {
			console += line
			continue
		}
		told, _, _ = strings.Cut(told, " end")
		if err := json.Unmarshal([]byte(strings.ReplaceAll(told, `\"`, `"`)), &last); err != nil {
			t.Fatalf("probe told %q: %v", line, err)
		}
	}
	return last, int(count.Load()), console
}

// TestChromium looks at the pages in a real browser: no error and no violation
// of the content policy on the console, no scrolling sideways, and scripts
// that run. Run it with -screenshots to see what a person sees.
func TestChromium(t *testing.T) {
	shopSite := newSite(t, incident().options(t))
	quiet := incident()
	quiet.alerts, quiet.scripts = nil, quiet.scripts[4:5]
	stale := incident()
	stale.age, stale.fault = 12*time.Minute, "slos.yaml:4:9: 0.999 is not a percentage; write 99.9%"
	hostile := incident()
	for _, payload := range payloads {
		f := flowOf("shop"+payload, payload+"checkout", 0.999, 0)
		f.Runbook = "javascript:alert(1)"
		hostile.scripts = append(hostile.scripts, script{flow: f, perFlush: 1, slos: map[string]map[string]float64{"availability": figures(0.999, 0.5, 0.1, 0.1)}})
		hostile.alerts = append(hostile.alerts, Alert{SLO: f.SLOs()[0].ID(), Severity: slo.Page, Since: time.Now(), Summary: payload})
	}
	hostileSite := newSite(t, hostile.options(t))
	kindsSite := newSite(t, kinds(t, time.Now()).options(t))
	overspent := kinds(t, time.Now())
	overspent.scripts[0].slos["monthly"][series.BudgetRemaining] = -12.5
	overspentSite := newSite(t, overspent.options(t))
	const dark = "--blink-settings=preferredColorScheme=0"
	for _, tc := range []struct {
		name  string
		h     http.Handler
		path  string
		size  string
		flags []string
		more  bool // for the eye: only with -screenshots
	}{
		{name: "desktop", h: shopSite, path: "/", size: "1280,900", more: true},
		{name: "dark", h: shopSite, path: "/", size: "1280,900", flags: []string{dark}, more: true},
		{name: "narrow", h: hostileSite, path: "/", size: "1221,1200", more: true},
		{name: "tablet", h: shopSite, path: "/", size: "820,1180", more: true},
		{name: "phone", h: shopSite, path: "/", size: "390,844", more: true},
		{name: "phone whole", h: shopSite, path: "/", size: "390,1900", flags: []string{dark}, more: true},
		{name: "flow", h: shopSite, path: "/flows/shop/checkout", size: "1280,900", more: true},
		{name: "flow phone", h: shopSite, path: "/flows/shop/checkout", size: "390,1300"},
		{name: "calm", h: newSite(t, quiet.options(t)), path: "/", size: "1280,500", more: true},
		{name: "stale", h: newSite(t, stale.options(t)), path: "/", size: "1280,900", more: true},
		{name: "nothing configured", h: newSite(t, fixture{}.options(t)), path: "/", size: "1280,700", more: true},
		{name: "nothing arriving", h: newSite(t, fixture{scripts: shop()[6:]}.options(t)), path: "/", size: "390,844", more: true},
		{name: "kinds", h: kindsSite, path: "/", size: "1280,700", more: true},
		{name: "kinds narrow", h: overspentSite, path: "/", size: "1221,700"},
		{name: "kinds phone", h: kindsSite, path: "/", size: "390,1900"},
		{name: "calendar and minutes", h: kindsSite, path: "/flows/shop/checkout", size: "1280,900", more: true},
		{name: "fresh", h: kindsSite, path: "/flows/billing/settle-orders", size: "1280,900", more: true},
		{name: "promql", h: kindsSite, path: "/flows/gateway/requests", size: "1280,900"},
		{name: "promql phone", h: kindsSite, path: "/flows/gateway/requests", size: "390,1600", more: true},
		{name: "excluded", h: kindsSite, path: "/flows/shop/search", size: "1280,700", more: true},
		{name: "hostile", h: hostileSite, path: "/", size: "1280,2400"},
		{name: "hostile phone", h: hostileSite, path: "/", size: "390,2400"},
	} {
		if tc.more && *screenshots == "" {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			got, _, console := look(t, tc.h, tc.path, tc.size, tc.flags...)
			if console != "" {
				t.Errorf("console:\n%s", console)
			}
			if got.Scroll > got.Width || got.Width == 0 {
				t.Errorf("content is %d wide in a window of %d, want no scrolling sideways", got.Scroll, got.Width)
			}
			if got.Scripts == "undefined" {
				t.Error("htmx does not run")
			}
		})
	}
}

// TestChromiumRefreshes holds that an open page refreshes by itself, and says
// so when slowburn stops answering.
func TestChromiumRefreshes(t *testing.T) {
	h := newSite(t, incident().options(t))
	var served atomic.Int64
	dying := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && served.Add(1) > 3 {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		h.ServeHTTP(w, r)
	})
	got, asked, console := look(t, dying, "/", "1280,900", "--virtual-time-budget=17000")
	if asked != 4 {
		t.Errorf("page asked for %d times within 17 s, want 4", asked)
	}
	if !got.Lost || got.Mains != 1 {
		t.Errorf("after the fourth answer was 503: says so %t, want true; %d main elements, want 1", got.Lost, got.Mains)
	}
	if console != "" {
		t.Errorf("console:\n%s", console)
	}
}
