//go:build e2e

package alertmanager_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn-slo/slowburn/alerts/alertmanager"
	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/internal/fakeslack"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

const (
	kills = 50

	// unsure is for how long after Slack has taken a message a kill may have it
	// sent again: until the answer has come and the notification log, or the
	// bot's list of messages, is on disk. Measured are milliseconds.
	unsure = 500 * time.Millisecond
)

// TestE2EKilledAroundASend kills a process with signal 9 at 50 random moments
// around a send, each time with one more incident. Each incident is told, at
// most twice, and twice only where the kill came after Slack had the message
// and before that was on disk. Its end is told once.
func TestE2EKilledAroundASend(t *testing.T) {
	for _, bot := range []bool{false, true} {
		t.Run(map[bool]string{false: "webhook", true: "bot"}[bot], func(t *testing.T) { killAroundASend(t, bot) })
	}
}

// taken is a message that Slack took.
type taken struct {
	text string
	at   time.Time
}

func killAroundASend(t *testing.T, bot bool) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	inbox := fakeslack.New(fakeslack.Options{})
	var mu sync.Mutex
	var all []taken
	arrived := make(chan struct{}, 1000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before := len(inbox.Messages())
		inbox.ServeHTTP(w, r)
		mu.Lock()
		for _, m := range inbox.Messages()[min(before, len(inbox.Messages())):] {
			all = append(all, taken{strings.ToLower(m.Text), time.Now()})
		}
		mu.Unlock()
		arrived <- struct{}{}
	}))
	defer srv.Close()
	about := func(n int, ended bool) (out []taken) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range all {
			if strings.Contains(m.text, incidentName(n)) && strings.Contains(m.text, "recovered") == ended {
				out = append(out, m)
			}
		}
		return out
	}

	dir := t.TempDir()
	run := func(to int, ended bool) *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$")
		cmd.Env = append(os.Environ(), "SLOWBURN_KILLED="+dir, "SLOWBURN_SLACK="+srv.URL,
			"SLOWBURN_BOT="+strconv.FormatBool(bot), fmt.Sprintf("SLOWBURN_INCIDENTS=%d %v", to, ended))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		if line, err := lines.ReadString('\n'); err != nil || line != "up\n" {
			t.Fatalf("the process says %q, %v; want up", line, err)
		}
		return cmd
	}
	twice := 0
	for n := range kills {
		for len(arrived) > 0 {
			<-arrived
		}
		cmd := run(n+1, false)
		if rng.IntN(4) > 0 { // else before or around the request's arrival
			select {
			case <-arrived:
			case <-time.After(20 * time.Second):
				t.Fatalf("incident %d: nothing was sent", n)
			}
		}
		time.Sleep(time.Duration(rng.IntN(30_000)) * time.Microsecond)
		killed := time.Now()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()

		cmd = run(n+1, false)
		for end := time.Now().Add(20 * time.Second); len(about(n, false)) == 0 && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(1200 * time.Millisecond) // a second message would come a second after the first
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		told := about(n, false)
		switch {
		case len(told) == 0:
			t.Errorf("incident %d was not told", n)
		case len(told) > 2:
			t.Errorf("incident %d was told %d times, want twice at most", n, len(told))
		case len(told) == 2:
			twice++
			if after := killed.Sub(told[0].at); after < 0 || after > unsure {
				t.Errorf("incident %d was told twice, and the kill came %s after the first; want it within %s", n, after, unsure)
			}
		}
	}
	t.Logf("%d kills: %d incidents told twice", kills, twice)
	for n := range kills {
		if got := len(about(n, false)); got > 2 {
			t.Errorf("after all, incident %d was told %d times", n, got)
		}
	}
	cmd := run(5, true)
	for n := range 5 {
		for end := time.Now().Add(time.Minute); len(about(n, true)) == 0 && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond)
		}
	}
	time.Sleep(3 * time.Second) // more would have come
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	for n := range 5 {
		if got := len(about(n, true)); got != 1 {
			t.Errorf("the end of incident %d was told %d times, want once", n, got)
		}
	}
}

func incidentName(n int) string { return fmt.Sprintf("part%02dx", n) }

// TestKilledProcess is not a test but the process that is killed.
func TestKilledProcess(t *testing.T) {
	dir := os.Getenv("SLOWBURN_KILLED")
	if dir == "" {
		return
	}
	var to int
	var ended bool
	if _, err := fmt.Sscan(os.Getenv("SLOWBURN_INCIDENTS"), &to, &ended); err != nil {
		t.Fatal(err)
	}
	var channel func(string) notify.Notifier
	if os.Getenv("SLOWBURN_BOT") == "true" {
		b, err := slack.NewBot(slack.BotOptions{
			Token: slack.NewSecret("xoxb-test"), Channel: "#shop", File: filepath.Join(dir, "messages.json"),
			APIURL: os.Getenv("SLOWBURN_SLACK") + "/api/", Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		channel = b.Channel
	} else {
		w, err := slack.New(slack.Options{
			URL: slack.NewSecret(os.Getenv("SLOWBURN_SLACK") + "/services/T0/B0/x"), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		channel = w.Channel
	}
	am, err := alertmanager.New(alertmanager.Options{
		Dir: filepath.Join(dir, "state"), Notifier: channel, Flows: []slo.Flow{{Name: "shop", Service: "shop"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- am.Run(ctx) }()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	fmt.Fprintln(os.Stdout, "up")
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for resolvedAt := time.Now(); ; {
		var out []*rules.Alert
		for n := range to {
			a := &rules.Alert{
				FiredAt: began, ValidUntil: time.Now().Add(10 * time.Minute),
				Labels: labels.FromStrings("alertname", "SlowburnBudgetBurnPage", series.Severity, "page",
					series.SLOServ, "shop", series.SLOFlow, incidentName(n), series.ID, "shop-"+incidentName(n)),
				Annotations: labels.FromStrings("objective", "99.9% succeed over 30d", "summary", incidentName(n)),
			}
			if ended {
				a.ResolvedAt = resolvedAt
			}
			out = append(out, a)
		}
		am.Notify(ctx, "", out...)
		select {
		case <-interrupted:
			cancel()
			if err := <-stopped; err != nil {
				t.Fatal(err)
			}
			os.Exit(0) // connections that are kept alive are no leak
		case <-tick.C:
		}
	}
}
