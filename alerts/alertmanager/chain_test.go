package alertmanager_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/slowburn-slo/slowburn/alerts/alertmanager"
	"github.com/slowburn-slo/slowburn/alerts/eval"
	"github.com/slowburn-slo/slowburn/alerts/rulegen"
	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/judge"
	"github.com/slowburn-slo/slowburn/slo/ledger"
	"github.com/slowburn-slo/slowburn/slo/series"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestChain plays incidents to the whole chain, from the ledger's series to
// what Slack is told, under a clock that jumps. A script is lines of
//
//	<duration> <share of failing requests>
//	<duration> idle   no requests
//	crash             the process is killed and another one started
//
// after a month without an error; the golden file says what Slack took, and
// when.
func TestChain(t *testing.T) {
	for _, tc := range []struct{ name, script string }{
		{"outage", "1m 0\n5m 1\n40m 0"},
		{"solid outage", "1m 0\n10m 1\n40m 0"},
		{"flapping", strings.Repeat("1m 1\n9m 0\n", 12) + "30m 0"},
		{"telemetry dies", "5m 1\n20m idle\n12m 0"},
		{"one in ten", "15m 0.1\n20m 0"},
		{"quiet", "10m 0.0009"},
		{"idle", "10m idle"},
		{"two errors", "10s 0.02\n10m idle"},
		{"crash", "3m 1\ncrash\n1m 1\ncrash\n40m 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				s.start()
				for line := range strings.Lines(tc.script) {
					s.play(strings.Fields(line))
				}
				s.stop()
				if err := s.db.Close(); err != nil {
					t.Error(err)
				}
				s.golden(tc.name)
			})
		})
	}
}

// perSecond is how many requests the shop has.
const perSecond = 10

// TestSlackAway: when Slack comes back while the incident goes on, the page is
// told within a minute, once, and so is its end.
func TestSlackAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.start()
		s.play([]string{"5m", "1", "down"})
		s.expect()
		s.play([]string{"1m", "1"})
		s.expect("#oncall 🔴 Checkout is failing")
		s.play([]string{"30m30s", "0"}) // the ticket would follow
		s.expect("#oncall 🔴 Checkout is failing", "#oncall 🟢 Checkout recovered")
		s.stop()
		if err := s.db.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestIncidentWhileSlackIsAway: what fired and ended meanwhile is told afterwards,
// once, also by another process.
func TestIncidentWhileSlackIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.start()
		s.play([]string{"5m", "1", "down"})
		s.play([]string{"1h", "0", "down"})
		s.setDown(true)
		s.play([]string{"crash"})
		s.play([]string{"10m", "0", "down"})
		s.expect()
		s.play([]string{"1m", "0"})
		s.expect("#oncall 🟢 Checkout recovered · was firing 00:01–00:")
		s.play([]string{"1h", "0"})
		s.stop()
		s.mu.Lock()
		defer s.mu.Unlock()
		late := 0
		for _, m := range s.took {
			if strings.Contains(m, "could not be delivered") {
				late++
			}
		}
		if late != 1 {
			t.Errorf("slack took %q, want one of them late", s.took)
		}
		if err := s.db.Close(); err != nil {
			t.Error(err)
		}
	})
}

// expect compares how the messages Slack took begin.
func (s *shop) expect(want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.took) != len(want) {
		s.t.Errorf("slack took %q, want %d messages", s.took, len(want))
		return
	}
	for i := range want {
		if !strings.HasPrefix(s.took[i], want[i]) {
			s.t.Errorf("message %d = %q, want it to begin with %q", i, s.took[i], want[i])
		}
	}
}

// shop is one flow with one objective, and everything from its counts to Slack.
type shop struct {
	t     *testing.T
	began time.Time
	flow  slo.Flow
	slo   slo.SLO
	book  *ledger.Ledger
	judge *judge.Judge
	db    *tsdb.DB
	state string // the Alertmanager's folder

	stop func()

	mu   sync.Mutex
	down bool     // Slack is
	took []string // messages Slack took
	log  strings.Builder
}

func newShop(t *testing.T) *shop {
	t.Helper()
	db, err := tsdb.Open(t.TempDir(), nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const step = 5 * time.Minute
	month := time.Now().Add(-slo.DefaultWindow)
	s := &shop{t: t, began: time.Now(), db: db, state: t.TempDir(), book: ledger.New(month)}
	s.flow = slo.Flow{
		Name: "checkout", Service: "shop", Owner: "payments", PageChannel: "#oncall", TicketChannel: "#shop",
		Runbook: "https://wiki.example/checkout",
		Objectives: []slo.Objective{{
			Name: "availability", Target: 0.999, Window: slo.DefaultWindow,
			MinEvents: slo.DefaultMinEvents, Tiers: slo.Tiers(0.999, slo.DefaultWindow),
		}},
	}
	s.slo = s.flow.SLOs()[0]
	s.judge = judge.New(s.slo)
	s.book.Define([]ledger.Def{{ID: s.slo.ID(), Windows: s.slo.Objective.Windows()}})
	for at := month.Add(step); !at.After(s.began); at = at.Add(step) {
		s.book.Add(at, []ledger.Entry{{ID: s.slo.ID(), Good: uint64(step.Seconds()) * perSecond}})
	}
	return s
}

func (s *shop) start() {
	t := s.t
	external := &url.URL{Scheme: "https", Host: "slo.example"}
	hook, err := slack.New(slack.Options{
		URL: slack.NewSecret("https://hooks.slack.invalid/services/T0/B0/x"), ExternalURL: external,
		Client: &http.Client{Transport: s}, Facts: s.facts, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	flows := []slo.Flow{s.flow}
	am, err := alertmanager.New(alertmanager.Options{
		Dir: s.state, Notifier: hook.Channel, Flows: flows, ExternalURL: external, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	ev, err := eval.New(eval.Options{
		Engine: engine, Queryable: s.db, Appendable: s.db, Notify: am.Notify, ExternalURL: external,
	})
	if err != nil {
		t.Fatal(err)
	}
	groups, err := rulegen.Groups(flows, rulegen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := ev.Apply(groups); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{am.Run, ev.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	s.stop = func() {
		cancel()
		wg.Wait()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}
}

func (s *shop) play(words []string) {
	switch words[0] {
	case "crash":
		// What is on disk now is all the next process has.
		synctest.Wait()
		left := s.t.TempDir()
		if err := os.CopyFS(left, os.DirFS(s.state)); err != nil {
			s.t.Fatal(err)
		}
		s.note("crash")
		s.stop()
		s.state = left
		s.start()
		return
	default:
		s.note(strings.Join(words, " "))
	}
	d, err := time.ParseDuration(words[0])
	if err != nil {
		s.t.Fatal(err)
	}
	s.setDown(len(words) == 3)
	defer s.setDown(false)
	var share float64
	idle := words[1] == "idle"
	if !idle {
		if _, err := fmt.Sscan(words[1], &share); err != nil {
			s.t.Fatal(err)
		}
	}
	const flush, perFlush = 10 * time.Second, 10 * perSecond
	var owed float64
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(flush)
		var entries []ledger.Entry
		if !idle {
			owed += share * perFlush
			bad := uint64(owed)
			owed -= float64(bad)
			entries = []ledger.Entry{{ID: s.slo.ID(), Good: perFlush - bad, Bad: bad}}
		}
		s.book.Add(time.Now(), entries)
		s.record()
	}
}

// record writes the series the rules read.
func (s *shop) record() {
	state, ok := s.book.State(s.slo.ID())
	if !ok {
		s.t.Fatal("the ledger does not know the SLO")
	}
	base, at := series.SLO(s.slo), time.Now().UnixMilli()
	app := s.db.Appender(context.Background())
	verdict := s.judge.Step(time.Now(), state, 0)
	var err error
	for severity, a := range map[slo.Severity]judge.Alert{slo.Page: verdict.Page, slo.Ticket: verdict.Ticket} {
		value := math.Float64frombits(value.StaleNaN)
		if a.Firing {
			value = a.Burn
		}
		_, e := app.Append(0, series.Of(base, series.AlertBurnRate(severity)), at, value)
		err = errors.Join(err, e)
	}
	if err := errors.Join(err, app.Commit()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) facts(id string, firedAt time.Time) (slack.Facts, bool) {
	state, ok := s.book.State(id)
	if !ok {
		return slack.Facts{}, false
	}
	o := s.slo.Objective
	f := slack.Facts{Objective: o, Burns: map[time.Duration]float64{}}
	for _, w := range state.Windows {
		if ratio, ok := w.Ratio(); ok {
			f.Burns[w.Length] = slo.BurnRate(ratio, o.Target)
		}
	}
	f.Since = s.book.BurnStart(id, firedAt, o.Budget())
	f.Bad, f.Total = s.book.Since(id, f.Since)
	p := state.Period()
	ratio, _ := p.Ratio()
	f.BudgetLeft, f.BudgetBefore = slo.BudgetLeft(ratio, o.Target), f.BudgetLeft
	if before := p.Total - float64(f.Total); before > 0 {
		f.BudgetBefore = slo.BudgetLeft((p.Bad-float64(f.Bad))/before, o.Target)
	}
	return f, true
}

func (s *shop) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *shop) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.log, "%-9v > %s\n", time.Since(s.began).Truncate(time.Second), what)
}

// RoundTrip is Slack.
func (s *shop) RoundTrip(r *http.Request) (*http.Response, error) {
	var m struct {
		Channel     string
		Text        string
		Attachments []struct {
			Blocks []struct{ Text struct{ Text string } }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := http.Response{StatusCode: http.StatusServiceUnavailable, Body: io.NopCloser(strings.NewReader(""))}
	if !s.down {
		answer.StatusCode, answer.Body = http.StatusOK, io.NopCloser(strings.NewReader("ok"))
		s.took = append(s.took, m.Channel+" "+m.Text)
		fmt.Fprintf(&s.log, "%-9v %s %s\n", time.Since(s.began).Truncate(time.Second), m.Channel, m.Text)
		for _, b := range m.Attachments[0].Blocks {
			for line := range strings.Lines(b.Text.Text) {
				fmt.Fprintf(&s.log, "          | %s\n", strings.TrimSpace(line))
			}
		}
	}
	return &answer, nil
}

func (s *shop) golden(name string) {
	s.t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".golden")
	got := s.log.String()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if got != string(want) {
		s.t.Errorf("%s differs; go test -run '^TestChain$' -update rewrites it\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}
