package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"

	v1 "github.com/slowburn-slo/slowburn/dashboards/api/v1"
	"github.com/slowburn-slo/slowburn/slo"
)

// shopStatus is what a running slowburn answered: the answer that the API's own
// tests hold it to, of a shop in which checkout burns.
const shopStatus = "../../dashboards/api/v1/testdata/flows.json"

// shopNow is four seconds after the data of shopStatus.
var shopNow = time.Date(2026, 11, 23, 14, 14, 4, 0, time.UTC)

func readShop(t *testing.T) v1.Flows {
	t.Helper()
	b, err := os.ReadFile(shopStatus)
	if err != nil {
		t.Fatal(err)
	}
	var out v1.Flows
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// statusGolden compares what is drawn with a file in which escapes are visible.
func statusGolden(t *testing.T, name, got string) {
	t.Helper()
	got = strings.ReplaceAll(got, "\x1b", "␛") + "\n"
	path := filepath.Join("testdata", "status", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; go test ./cmd/slowburn -run '^%s' -update rewrites it\ngot:\n%s", path, t.Name(), got)
	}
}

// TestStatusTable holds the table on terminals of several sizes.
func TestStatusTable(t *testing.T) {
	month := readShop(t)
	month.Flows = month.Flows[:1]
	o := &month.Flows[0].Objectives[1]
	o.Period, o.PeriodEndsAt = "November", time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	o.Objective = "99.5% of minutes with 95% under 300ms"
	stale := readShop(t)
	stale.Stale, stale.Notices = true, []string{"The changed configuration was refused. The one before it goes on running."}
	for _, tc := range []struct {
		name   string
		screen screen
		flows  v1.Flows
		after  time.Duration
	}{
		{name: "pipe", flows: readShop(t)},
		{name: "140", screen: screen{width: 140}, flows: readShop(t)},
		{name: "140-colour", screen: screen{width: 140, colour: true}, flows: readShop(t)},
		{name: "80", screen: screen{width: 80}, flows: readShop(t)},
		{name: "80-colour", screen: screen{width: 80, colour: true}, flows: readShop(t)},
		{name: "40", screen: screen{width: 40}, flows: readShop(t)},
		{name: "low", screen: screen{width: 140, height: 10}, flows: readShop(t)},
		{name: "month", screen: screen{width: 80}, flows: month},
		{name: "stale", screen: screen{width: 80}, flows: stale, after: time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lines := tc.screen.table(tc.flows, shopNow.Add(tc.after))
			for _, line := range lines {
				if n := cellCount(uncoloured(line)); tc.screen.width > 0 && n > tc.screen.width {
					t.Errorf("%d cells in %q, want at most %d", n, line, tc.screen.width)
				}
			}
			if tc.screen.height > 0 && len(lines) > tc.screen.height {
				t.Errorf("%d lines, want at most %d", len(lines), tc.screen.height)
			}
			statusGolden(t, tc.name, strings.Join(lines, "\n"))
		})
	}
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

func uncoloured(line string) string { return colours.ReplaceAllString(line, "") }

// TestStatusSizes: no size makes the table wider or higher than the terminal.
func TestStatusSizes(t *testing.T) {
	in := readShop(t)
	in.Flows[0].Name, in.Flows[1].Service = strings.Repeat("購入", 40), strings.Repeat("e\u0301", 90)
	in.Notices = []string{strings.Repeat("long ", 30) + strings.Repeat("x", 200)}
	for width := 1; width < 220; width++ {
		for _, height := range []int{1, 2, 7, 24, 80} {
			lines := screen{width: width, height: height, colour: true}.table(in, shopNow)
			if len(lines) > height {
				t.Fatalf("%d×%d: %d lines", width, height, len(lines))
			}
			for _, line := range lines {
				if n := cellCount(uncoloured(line)); n > width {
					t.Fatalf("%d×%d: %d cells in %q", width, height, n, line)
				}
			}
		}
	}
}

// hostile is a text with everything that a terminal may obey.
const hostile = "a\x1b]0;owned\x07\x1b[2J\r\n\u009b31m\u202egnp.exe\u200b\x00\xff"

// TestStatusHostileNames: what a slowburn answers cannot command the terminal.
func TestStatusHostileNames(t *testing.T) {
	in := readShop(t)
	in.Notices = []string{hostile}
	f := &in.Flows[0]
	f.Name, f.Service, f.Objectives[0].Objective, f.Objectives[0].Period = hostile, hostile, hostile, hostile
	srv := served(t, in)
	for _, args := range [][]string{{}, {"--format", "json"}} {
		out, err := status(t, append(args, "--url", srv.URL)...)
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%v: %q is written", args, out[i:min(len(out), i+20)])
		}
		if !strings.Contains(out, "owned") {
			t.Errorf("%v: the name is not shown:\n%s", args, out)
		}
		if len(args) > 0 {
			var back v1.Flows
			if err := json.Unmarshal([]byte(out), &back); err != nil {
				t.Fatal(err)
			}
			if want := strings.ToValidUTF8(hostile, "\ufffd"); back.Flows[0].Name != want {
				t.Errorf("JSON has %q, want %q", back.Flows[0].Name, want)
			}
		}
	}
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"message": hostile}})
	}))
	defer evil.Close()
	for _, args := range [][]string{{}, {"--ready"}} {
		if _, err := status(t, append(args, "--url", evil.URL)...); err == nil || strings.ContainsFunc(err.Error(), unicode.IsControl) {
			t.Errorf("%v: error %v, want one without control characters", args, err)
		}
	}
}

// served answers as a slowburn with these flows does.
func served(t *testing.T, in v1.Flows) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+v1.Prefix+"/flows", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(in) })
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

// status runs the command and returns what it prints.
func status(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := newStatus()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// TestStatusServed asks the API itself.
func TestStatusServed(t *testing.T) {
	db, err := tsdb.Open(t.TempDir(), slog.New(slog.DiscardHandler), nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: 10 * time.Second})
	defer engine.Close()
	checkout := slo.Flow{Name: "checkout", Service: "shop", Objectives: []slo.Objective{
		{Name: "availability", Target: 0.999, Window: slo.DefaultWindow},
		{Name: "latency", Kind: slo.FasterThan, Threshold: 300 * time.Millisecond, Target: 0.95, Window: slo.DefaultWindow},
	}}
	for _, tc := range []struct {
		name  string
		flows []slo.Flow
		args  []string
	}{
		{name: "no-flows"},
		{name: "nothing-yet", flows: []slo.Flow{checkout}},
		{name: "another-service", flows: []slo.Flow{checkout}, args: []string{"--service", "billing"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api, err := v1.New(v1.Options{
				Flows: func() []slo.Flow { return tc.flows }, Engine: engine, Queryable: db,
				DataAt: func() time.Time { return time.Time{} },
			})
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewServer(api)
			defer srv.Close()
			out, err := status(t, append(tc.args, "--url", srv.URL+"/")...)
			if err != nil {
				t.Fatal(err)
			}
			statusGolden(t, tc.name, out)
		})
	}
}

func TestStatusReady(t *testing.T) {
	ready := true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/base/readyz":
			http.NotFound(w, r)
		case ready:
			fmt.Fprintln(w, "ready")
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "stopping\nthe last flush went wrong\n")
		}
	}))
	defer srv.Close()
	if out, err := status(t, "--ready", "--url", srv.URL+"/base"); err != nil || out != "ready\n" {
		t.Errorf("ready: %q, %v, want one line and no error", out, err)
	}
	ready = false
	if out, err := status(t, "--ready", "--url", srv.URL+"/base"); out != "" || err == nil || err.Error() != "not ready: stopping; the last flush went wrong" {
		t.Errorf("not ready: %q, %v, want the reasons in one line", out, err)
	}
}

// TestStatusWatch lets a slowburn answer, be away, and come back.
func TestStatusWatch(t *testing.T) {
	in := readShop(t)
	in.Flows = in.Flows[:1]
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(shopNow))
		ctx, stop := context.WithCancel(t.Context())
		var out bytes.Buffer
		asked := 0
		w := watcher{
			out: &out, name: "http://slowburn", screen: func() screen { return screen{width: 100, height: 24} },
			fetch: func(context.Context) (v1.Flows, []byte, error) {
				if asked++; asked == 1 || asked == 3 || asked == 4 {
					return v1.Flows{}, nil, errors.New("http://slowburn cannot be reached: connection refused")
				}
				in.DataAt = time.Now().Add(-4 * time.Second)
				return in, nil, nil
			},
		}
		ended := make(chan error)
		go func() { ended <- w.run(ctx) }()
		time.Sleep(4*watchEvery + watchEvery/2)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run ended with %v, want nothing", err)
		}
		if asked != 5 {
			t.Errorf("asked %d times in %s, want 5", asked, 4*watchEvery)
		}
		// Times are local ones.
		text := strings.ReplaceAll(out.String(), shopNow.Add(watchEvery).Local().Format("15:04:05"), "14:14:06")
		statusGolden(t, "watch", strings.ReplaceAll(text, "\x1b[?2026h", "\n\x1b[?2026h"))
	})
}

// TestStatusWatchHanging: Ctrl-C ends it while it waits for an answer.
func TestStatusWatchHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		var out bytes.Buffer
		w := watcher{
			out: &out, screen: func() screen { return screen{} },
			fetch: func(ctx context.Context) (v1.Flows, []byte, error) {
				<-ctx.Done()
				return v1.Flows{}, nil, ctx.Err()
			},
		}
		if err := w.run(ctx); err != nil || out.String() != "\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l" {
			t.Errorf("run = %v and %q, want no error and the terminal as it was", err, out.String())
		}
	})
}

func TestStatusFigures(t *testing.T) {
	of := func(v float64) *float64 { return &v }
	hour := &v1.Hour{RequestsPerSecond: []float64{1, 1, 0, 10, 10, 10}, ErrorsPerSecond: []float64{0, 0, 0, 1, 0.5, 0}}
	for _, tc := range []struct{ name, got, want string }{
		{"unknown", shareOf(nil) + goodOf(nil) + burnOf(nil) + latencyOf(nil) + rateOf(nil) + budgetOf(nil) + sparkOf(nil, 1), "–––––"},
		{"shares", shareOf(of(0)) + shareOf(of(0.00001)) + shareOf(of(0.00042)) + shareOf(of(0.031)) + shareOf(of(0.5)), "0%<0.01%0.04%3.1%50%"},
		{"good", goodOf(of(1)) + goodOf(of(0.99999)) + goodOf(of(0.9991)) + goodOf(of(0.5)), "100%>99.99%99.91%50.0%"},
		{"burn", burnOf(of(0)) + burnOf(of(0.01)) + burnOf(of(1.24)) + burnOf(of(31)), "0×<0.1×1.2×31×"},
		{"latency", latencyOf(of(0.0004)) + latencyOf(of(0.0042)) + latencyOf(of(0.24)) + latencyOf(of(1.4)) + latencyOf(of(90)), "0.40 ms4.2 ms240 ms1.4 s90 s"},
		{"rate", rateOf(of(0)) + rateOf(of(0.001)) + rateOf(of(0.5)) + rateOf(of(2.5)) + rateOf(of(1234)), "0/s4/h30/min2.5/s1,234/s"},
		{"budget", budgetOf(of(1)) + budgetOf(of(0.001)) + budgetOf(of(0)) + budgetOf(of(-2)), "██████████ 100%█░░░░░░░░░ 0.10%░░░░░░░░░░ spent░░░░░░░░░░ spent"},
		{"chart", sparkOf(hour, 1), "▁▁ █▅▁"},
		{"chart of two steps a cell", sparkOf(hour, 2), "▁█▅"},
		{"cut", cut("購入完了", 5) + cut("abc", 3) + cut("abc", 1) + cut("abc", 0), "購入…abc…"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, tc.got, tc.want)
		}
	}
}
