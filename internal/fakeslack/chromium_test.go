package fakeslack

import (
	"context"
	"flag"
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

var screenshots = flag.String("screenshots", "", "folder to keep screenshots of the page in")

// TestChromium looks at the page in a real browser: nothing may come up on its
// console, such as a violation of the content policy, and a message that
// arrives later appears by itself. Run it with -screenshots to see the page.
func TestChromium(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed; want it where CI=true")
		}
		t.Skip("chromium is not installed: the page is not looked at in a browser")
	}
	for _, tc := range []struct {
		name, size string
		flags      []string
		more       bool // for the eye: only with -screenshots
	}{
		{name: "slack", size: "1000,860"},
		{name: "slack dark", size: "1000,860", flags: []string{"--blink-settings=preferredColorScheme=0"}, more: true},
		{name: "slack phone", size: "390,844", more: true},
	} {
		if tc.more && *screenshots == "" {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			s := New(Options{})
			var once sync.Once
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.ServeHTTP(w, r)
				// Taken once the browser has the page, which looks for more by itself.
				once.Do(func() { post(s, blocks) })
			}))
			defer srv.Close()
			for _, body := range []string{firing, resolved} {
				post(s, body)
			}

			dir := t.TempDir()
			shot := filepath.Join(dir, "page.png")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			run := func(args ...string) string {
				cmd := exec.CommandContext(ctx, browser, append([]string{
					"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
					"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr",
					"--user-data-dir=" + filepath.Join(dir, "profile"), "--window-size=" + tc.size,
				}, append(append(args, tc.flags...), srv.URL)...)...)
				cmd.Env = append(os.Environ(), "HOME="+dir)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("chromium: %v\n%s", err, out)
				}
				if strings.Contains(string(out), "CONSOLE") {
					t.Errorf("console is not silent:\n%s", out)
				}
				return string(out)
			}
			if out := run("--dump-dom", "--virtual-time-budget=10000"); strings.Count(out, "<article>") != 3 {
				t.Errorf("messages on the page after 10 s of the browser's time = %d, want 3", strings.Count(out, "<article>"))
			}
			if *screenshots != "" {
				run("--screenshot=" + shot)
				if err := os.Rename(shot, filepath.Join(*screenshots, strings.ReplaceAll(tc.name, " ", "-")+".png")); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
