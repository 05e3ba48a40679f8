package alertmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
	"go.uber.org/goleak"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people hear messages and write them down: when, where, and what of each
// alert.
type people struct {
	began time.Time

	mu    sync.Mutex
	heard []string
	tries int
	deaf  bool          // they hear nothing, and say so
	slow  time.Duration // how long hearing takes
}

func newPeople() *people { return &people{began: time.Now()} }

func (p *people) channel(name string) notify.Notifier {
	return listener(func(ctx context.Context, alerts ...*alert.Alert) (bool, error) {
		p.mu.Lock()
		p.tries++
		deaf, slow := p.deaf, p.slow
		p.mu.Unlock()
		time.Sleep(slow)
		if deaf {
			return true, errors.New("nobody hears")
		}
		var what []string
		for _, a := range alerts {
			what = append(what, fmt.Sprintf("%s %s %s", a.Labels[series.SLOFlow], a.Labels[series.Severity], a.Status()))
		}
		slices.Sort(what)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.heard = append(p.heard, fmt.Sprintf("%v %s: %s", time.Since(p.began).Round(time.Second), name, strings.Join(what, ", ")))
		return false, nil
	})
}

type listener func(context.Context, ...*alert.Alert) (bool, error)

func (l listener) Notify(ctx context.Context, alerts ...*alert.Alert) (bool, error) {
	return l(ctx, alerts...)
}

func (p *people) setDeaf(deaf bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = deaf
}

// soFar returns what was heard until now.
func (p *people) soFar() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.heard)
}

// expect compares what was heard so far.
func (p *people) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := p.soFar(); !slices.Equal(got, want) {
		t.Errorf("heard\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// incident plays the rule manager: it reports alerts every ten seconds for as
// long as they fire, and once when they end.
type incident struct {
	a  *Alertmanager
	mu sync.Mutex
	on map[string]*rules.Alert

	text []string // labels of a user's own, in pairs
}

func (i *incident) set(flow string, severity slo.Severity, firing bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := flow + string(severity)
	if firing {
		b := labels.NewBuilder(labels.FromStrings(labels.AlertName, series.Alert(severity), series.ID, "shop-"+flow+"-availability",
			series.SLOServ, "shop", series.SLOFlow, flow, series.Severity, string(severity)))
		for pair := range slices.Chunk(i.text, 2) {
			b.Set(pair[0], pair[1])
		}
		i.on[key] = &rules.Alert{
			FiredAt:     time.Now(),
			Labels:      b.Labels(),
			Annotations: labels.FromStrings("objective", "99.9% succeed over 30d"),
		}
	} else {
		i.on[key].ResolvedAt = time.Now()
	}
	i.report()
	if !firing {
		delete(i.on, key)
	}
}

func (i *incident) report() {
	for _, r := range i.on {
		r.ValidUntil = time.Now().Add(4 * time.Minute)
		i.a.Notify(context.Background(), "", r)
	}
}

// run starts an Alertmanager over dir with a rule manager, and returns how to
// stop both.
func run(t *testing.T, dir string, p *people, flows ...slo.Flow) (*Alertmanager, *incident, func()) {
	t.Helper()
	return runWith(t, Options{Dir: dir, Notifier: p.channel, Flows: flows, Registerer: prometheus.NewRegistry()})
}

func runWith(t *testing.T, o Options) (*Alertmanager, *incident, func()) {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	i := &incident{a: a, on: map[string]*rules.Alert{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				i.mu.Lock()
				i.report()
				i.mu.Unlock()
			case <-ctx.Done():
				return
			}
		}
	})
	synctest.Wait()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			wg.Wait()
		})
	}
	t.Cleanup(stop)
	return a, i, stop
}

// crash returns a copy of dir as a killed process would leave it.
func crash(t *testing.T, dir string) string {
	t.Helper()
	synctest.Wait()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func bubble(t *testing.T, f func(*testing.T)) { t.Helper(); synctest.Test(t, f) }

var checkout = slo.Flow{Name: "checkout", Service: "shop", PageChannel: "#oncall", TicketChannel: "#shop"}

func TestPageAndResolved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		dir := t.TempDir()
		_, i, _ := run(t, dir, p, checkout)
		time.Sleep(100 * time.Second)
		i.set("checkout", slo.Page, true)
		time.Sleep(10*time.Minute + 3*time.Second)
		i.set("checkout", slo.Page, false)
		time.Sleep(time.Hour)
		p.expect(t,
			"1m40s #oncall: checkout page firing",
			"11m50s #oncall: checkout page resolved",
		)
		left, err := os.ReadFile(filepath.Join(dir, "alerts.json"))
		if err != nil || string(left) != "[]\n" {
			t.Errorf("open alerts on disk = %q, %v; want none", left, err)
		}
	})
}

// TestUsersOwnNames: what users call their alerts, and labels such as severity
// that their own routes go by, change nothing of who hears what here.
func TestUsersOwnNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		_, i, _ := run(t, t.TempDir(), p, checkout)
		i.text = []string{labels.AlertName, "ShopErrors", "severity", "none", "receiver", "nobody"}
		i.set("checkout", slo.Ticket, true)
		i.set("search", slo.Ticket, true)
		time.Sleep(10 * time.Second)
		i.set("checkout", slo.Page, true)
		time.Sleep(5 * time.Minute)
		p.expect(t,
			"10s #oncall: checkout page firing",
			"30s : search ticket firing",
		)
	})
}

// TestTicket: a ticket waits half a minute for its page; with the page nobody
// hears of it, after the page they do if it still fires.
func TestTicket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		_, i, _ := run(t, t.TempDir(), p, checkout)
		i.set("checkout", slo.Ticket, true)
		time.Sleep(20 * time.Second)
		i.set("checkout", slo.Page, true)
		i.set("search", slo.Ticket, true)
		time.Sleep(4*time.Minute + 55*time.Second)
		p.expect(t,
			"20s #oncall: checkout page firing",
			"50s : search ticket firing",
		)
		i.set("checkout", slo.Page, false)
		time.Sleep(5 * time.Minute)
		i.set("checkout", slo.Ticket, false)
		time.Sleep(5 * time.Minute)
		p.expect(t,
			"20s #oncall: checkout page firing",
			"50s : search ticket firing",
			"5m20s #oncall: checkout page resolved",
			"5m30s #shop: checkout ticket firing",
			"10m30s #shop: checkout ticket resolved",
		)
	})
}

func TestRepeat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		_, i, _ := run(t, t.TempDir(), p)
		i.set("checkout", slo.Page, true)
		time.Sleep(4*time.Hour + 30*time.Second)
		p.expect(t,
			"0s : checkout page firing",
			"4h0m10s : checkout page firing",
		)
	})
}

// TestNobodyHears: both the page and its end are told as soon as somebody
// hears, however long that takes.
func TestNobodyHears(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		_, i, _ := run(t, t.TempDir(), p, checkout)
		p.setDeaf(true)
		i.set("checkout", slo.Page, true)
		time.Sleep(time.Hour)
		p.expect(t)
		p.setDeaf(false)
		time.Sleep(30 * time.Second)
		p.setDeaf(true)
		i.set("checkout", slo.Page, false)
		time.Sleep(time.Hour)
		if heard := p.soFar(); len(heard) != 1 {
			t.Fatalf("heard %q, want the page", heard)
		}
		p.setDeaf(false)
		time.Sleep(time.Minute)
		if heard := p.soFar(); len(heard) != 2 || !strings.HasSuffix(heard[0], "#oncall: checkout page firing") ||
			!strings.HasSuffix(heard[1], "#oncall: checkout page resolved") {
			t.Errorf("heard %q, want the page and then its end", heard)
		}
	})
}

// TestNeverTold: what nobody heard of firing is not told as resolved.
func TestNeverTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		_, i, _ := run(t, t.TempDir(), p)
		i.set("search", slo.Ticket, true)
		time.Sleep(20 * time.Second)
		i.set("search", slo.Ticket, false)
		time.Sleep(time.Hour)
		p.expect(t)
	})
}

// TestCrash kills the process at moments of an incident and starts another
// over what is on disk then.
func TestCrash(t *testing.T) {
	for _, tc := range []struct {
		name string
		// play brings the first process to the moment it dies. It is 60 s.
		play func(*people, *incident)
		// after is what happens with the second process.
		after func(*people, *incident)
		want  []string
	}{
		{
			name: "firing and still firing",
			play: func(_ *people, i *incident) { i.set("checkout", slo.Page, true) },
			after: func(_ *people, i *incident) {
				i.set("checkout", slo.Page, true)
				time.Sleep(time.Hour + time.Second)
				i.set("checkout", slo.Page, false)
			},
			want: []string{"0s #oncall: checkout page firing", "1h1m10s #oncall: checkout page resolved"},
		},
		{
			name:  "firing and recovered meanwhile",
			play:  func(_ *people, i *incident) { i.set("checkout", slo.Page, true) },
			after: func(*people, *incident) {},
			want:  []string{"0s #oncall: checkout page firing", "3m0s #oncall: checkout page resolved"},
		},
		{
			name: "firing and nobody heard it yet",
			play: func(p *people, i *incident) {
				p.setDeaf(true)
				i.set("checkout", slo.Page, true)
			},
			after: func(_ *people, i *incident) { i.set("checkout", slo.Page, true) },
			want:  []string{"1m0s #oncall: checkout page firing"},
		},
		{
			name: "resolved and told",
			play: func(_ *people, i *incident) {
				i.set("checkout", slo.Page, true)
				time.Sleep(15 * time.Second)
				i.set("checkout", slo.Page, false)
			},
			after: func(*people, *incident) {},
			want:  []string{"0s #oncall: checkout page firing", "20s #oncall: checkout page resolved"},
		},
		{
			name: "resolved and nobody heard it yet",
			play: func(p *people, i *incident) {
				i.set("checkout", slo.Page, true)
				time.Sleep(20 * time.Second)
				p.setDeaf(true)
				i.set("checkout", slo.Page, false)
			},
			after: func(*people, *incident) {},
			want:  []string{"0s #oncall: checkout page firing", "1m0s #oncall: checkout page resolved"},
		},
		{
			name: "a page holds back its ticket",
			play: func(_ *people, i *incident) {
				i.set("checkout", slo.Ticket, true)
				i.set("checkout", slo.Page, true)
			},
			after: func(_ *people, i *incident) {
				time.Sleep(10 * time.Second)
				i.set("checkout", slo.Page, true)
				i.set("checkout", slo.Ticket, true)
			},
			want: []string{"0s #oncall: checkout page firing"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newPeople()
				dir := t.TempDir()
				_, i, stop := run(t, dir, p, checkout)
				tc.play(p, i)
				time.Sleep(time.Until(p.began.Add(time.Minute)))
				heard := p.soFar()
				dir = crash(t, dir)
				p.setDeaf(true) // the dead tell nothing
				stop()
				p.mu.Lock()
				p.deaf, p.heard = false, heard
				p.mu.Unlock()

				_, i, _ = run(t, dir, p, checkout)
				tc.after(p, i)
				time.Sleep(2 * time.Hour)
				p.expect(t, tc.want...)
			})
		})
	}
}

// TestUnconfirmed: an alert nobody confirms any more, because its rule is gone,
// ends by itself and is told once, also when the process dies right then.
func TestUnconfirmed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		dir := t.TempDir()
		_, i, stop := run(t, dir, p)
		i.set("checkout", slo.Page, true)
		i.mu.Lock()
		clear(i.on)
		i.mu.Unlock()
		synctest.Wait()
		p.mu.Lock()
		p.slow = 5 * time.Second
		p.mu.Unlock()
		time.Sleep(4*time.Minute + 3*time.Second)
		p.expect(t, "0s : checkout page firing")
		during := crash(t, dir) // the message is under way
		time.Sleep(time.Minute)
		p.expect(t, "0s : checkout page firing", "4m5s : checkout page resolved")
		after := crash(t, dir)
		stop()
		for _, dir := range []string{during, after} {
			_, _, stop := run(t, dir, p)
			time.Sleep(time.Hour)
			stop()
		}
		// The first of the two cannot know that the message arrived.
		p.expect(t,
			"0s : checkout page firing",
			"4m5s : checkout page resolved",
			"5m8s : checkout page resolved",
		)
	})
}

// TestApply: new routes disturb nothing but what they change.
func TestApply(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		search := slo.Flow{Name: "search", Service: "shop", PageChannel: "#oncall"}
		a, i, _ := run(t, t.TempDir(), p, checkout, search)
		i.set("checkout", slo.Page, true)
		i.set("search", slo.Page, true)
		time.Sleep(time.Minute)
		told := p.soFar()
		if got, want := fmt.Sprint(slices.Sorted(slices.Values(told))), "[0s #oncall: checkout page firing 0s #oncall: search page firing]"; got != want {
			t.Fatalf("heard %s, want %s", got, want)
		}

		login := slo.Flow{Name: "login", Service: "shop", PageChannel: "#login"}
		for _, flows := range [][]slo.Flow{{login, checkout, search}, {search, checkout}, {search, checkout}} {
			if err := a.Apply(flows); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		p.expect(t, told...)

		same := a.now.Load()
		if err := a.Apply([]slo.Flow{search, checkout}); err != nil {
			t.Fatal(err)
		}
		if a.now.Load() != same {
			t.Error("the same routes started a new dispatcher")
		}
		moved := checkout
		moved.PageChannel = "#payments"
		if err := a.Apply([]slo.Flow{search, moved}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		told = append(told, "4m0s #payments: checkout page firing")
		p.expect(t, told...)

		// A resolved message nobody has heard survives a change of routes.
		p.setDeaf(true)
		i.set("search", slo.Page, false)
		time.Sleep(2 * time.Hour)
		p.setDeaf(false)
		if err := a.Apply([]slo.Flow{search, moved, login}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		p.expect(t, append(told, "2h5m0s #oncall: search page resolved")...)
	})
}

// TestStop: a message under way is finished and remembered.
func TestStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		p.slow = 8 * time.Second
		dir := t.TempDir()
		a, i, stop := run(t, dir, p, checkout)
		i.set("checkout", slo.Page, true)
		time.Sleep(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("Run took %v to stop, want the 7 s the message took", took)
		}
		p.expect(t, "8s #oncall: checkout page firing")
		if err := a.Apply(nil); err == nil {
			t.Error("Apply after the end = nil, want an error")
		}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range files {
			files[i] = filepath.Base(files[i])
		}
		if got, want := fmt.Sprint(files), "[alerts.json nflog nflog.journal-2 silences silences.journal-2]"; got != want {
			t.Errorf("files = %s, want %s", got, want)
		}

		_, i, _ = run(t, dir, p, checkout)
		i.set("checkout", slo.Page, true)
		time.Sleep(time.Minute)
		p.expect(t, "8s #oncall: checkout page firing")
	})
}

func TestSilenceSurvivesCrash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		dir := t.TempDir()
		a, _, stop := run(t, dir, p, checkout)
		now := time.Now().UTC()
		body := fmt.Sprintf(`{"matchers":[{"name":"slowburn_flow","value":"checkout","isRegex":false}],
			"startsAt":%q,"endsAt":%q,"createdBy":"kim","comment":"database upgrade"}`,
			now.Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339))
		var made struct{ SilenceID string }
		call(t, a, http.MethodPost, "/api/v2/silences", body, &made)
		if made.SilenceID == "" {
			t.Fatal("no silence was made")
		}
		dir = crash(t, dir)
		stop()

		a, i, _ := run(t, dir, p, checkout)
		i.set("checkout", slo.Page, true)
		i.set("search", slo.Page, true)
		time.Sleep(30 * time.Minute)
		p.expect(t, "0s : search page firing")
		var alerts []struct {
			Labels map[string]string
			Status struct {
				State      string
				SilencedBy []string
			}
		}
		call(t, a, http.MethodGet, "/api/v2/alerts?filter=slowburn_flow%3Dcheckout", "", &alerts)
		if len(alerts) != 1 || alerts[0].Status.State != "suppressed" || !slices.Equal(alerts[0].Status.SilencedBy, []string{made.SilenceID}) {
			t.Errorf("alerts = %+v, want one silenced by %s", alerts, made.SilenceID)
		}
		var groups []struct {
			Receiver struct{ Name string }
			Labels   map[string]string
		}
		call(t, a, http.MethodGet, "/api/v2/alerts/groups", "", &groups)
		if len(groups) != 2 {
			t.Errorf("groups = %+v, want two", groups)
		}
		// When the silence ends, what still burns is told.
		time.Sleep(31 * time.Minute)
		p.expect(t, "0s : search page firing", "1h0m10s #oncall: checkout page firing")
	})
}

func call(t *testing.T, a *Alertmanager, method, path, body string, into any) {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	a.Handler().ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		t.Fatalf("%s %s: status %d: %s", method, path, rec.Code, rec.Body)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
		t.Fatal(err)
	}
}

func TestNewFaults(t *testing.T) {
	notifier := newPeople().channel
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken := t.TempDir()
	if err := os.MkdirAll(filepath.Join(taken, "alerts.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		o    Options
		want string
	}{
		{"nothing", Options{}, "alertmanager: Options.Dir or Options.Notifier is missing; want both"},
		{"no notifier", Options{Dir: t.TempDir()}, "alertmanager: Options.Dir or Options.Notifier is missing; want both"},
		{"a file", Options{Dir: file, Notifier: notifier}, "alerting state: mkdir " + file + ": not a directory"},
		{"alerts are a folder", Options{Dir: taken, Notifier: notifier}, "alerting state: read " + taken + "/alerts.json: is a directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New(tc.o)
			if got := fmt.Sprint(err); got != tc.want {
				t.Errorf("New = %q, want %q", got, tc.want)
			}
		})
	}
}

// TestDamagedAlerts: a file that cannot be read is kept aside.
func TestDamagedAlerts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "alerts.json"), []byte(`[{"labels":3`), 0o600); err != nil {
			t.Fatal(err)
		}
		p := newPeople()
		_, i, _ := run(t, dir, p)
		i.set("checkout", slo.Page, true)
		p.expect(t, "0s : checkout page firing")
		aside, err := filepath.Glob(filepath.Join(dir, "quarantine", "alerts.json-*"))
		if err != nil || len(aside) != 1 {
			t.Errorf("quarantine holds %v, %v; want the damaged file", aside, err)
		}
	})
}
