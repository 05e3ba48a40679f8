package alertmanager

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// TestLate: what came and went while nobody could be told is told afterwards,
// once, in every order of outage, restart and repetition.
func TestLate(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(*scene)
		want []string
	}{
		{
			name: "fires and ends meanwhile",
			play: func(s *scene) {
				s.deaf(true)
				s.page(true, 10*time.Minute)
				s.page(false, 20*time.Minute)
				s.deaf(false)
			},
			want: []string{"#oncall: page resolved, late 0s-10m"},
		},
		{
			name: "ends while the first try is under way",
			play: func(s *scene) {
				s.slow(8 * time.Second)
				s.deaf(true)
				s.page(true, 4*time.Second)
				s.page(false, 20*time.Minute)
				s.deaf(false)
			},
			want: []string{"#oncall: page resolved, late 0s-4s"},
		},
		{
			name: "killed while it fires",
			play: func(s *scene) {
				s.deaf(true)
				s.page(true, 5*time.Minute)
				s.kill()
				s.page(true, 5*time.Minute)
				s.page(false, 10*time.Minute)
				s.deaf(false)
			},
			want: []string{"#oncall: page resolved, late 0s-10m"},
		},
		{
			name: "killed after its end, twice",
			play: func(s *scene) {
				s.deaf(true)
				s.page(true, 10*time.Minute)
				s.page(false, 5*time.Minute)
				s.kill()
				s.wait(5 * time.Minute)
				s.kill()
				s.wait(24 * time.Hour)
				s.deaf(false)
				s.wait(2 * time.Minute)
				s.kill()
			},
			want: []string{"#oncall: page resolved, late 0s-10m"},
		},
		{
			name: "killed while it ends and the first try is under way",
			play: func(s *scene) {
				s.slow(8 * time.Second)
				s.deaf(true)
				s.page(true, 4*time.Second)
				s.page(false, time.Second)
				s.kill()
				s.deaf(false)
			},
			want: []string{"#oncall: page resolved, late 0s-4s"},
		},
		{
			name: "twice, and the second time it still fires",
			play: func(s *scene) {
				s.deaf(true)
				s.page(true, 10*time.Minute)
				s.page(false, 10*time.Minute)
				s.page(true, 10*time.Minute)
				s.deaf(false)
				s.wait(2 * time.Minute)
				s.page(false, 10*time.Minute)
			},
			want: []string{"#oncall: page firing, late 0s-10m", "#oncall: page resolved"},
		},
		{
			name: "three times, with kills in between",
			play: func(s *scene) {
				s.deaf(true)
				for range 3 {
					s.page(true, 10*time.Minute)
					s.page(false, 5*time.Minute)
					s.kill()
					s.wait(5 * time.Minute)
				}
				s.deaf(false)
			},
			want: []string{"#oncall: page resolved, late 0s-10m 20m-30m 40m-50m"},
		},
		{
			name: "told that it fires, and ends during days without Slack",
			play: func(s *scene) {
				s.page(true, 10*time.Minute)
				s.deaf(true)
				s.wait(4 * 24 * time.Hour)
				s.page(false, 24*time.Hour)
				s.kill()
				s.deaf(false)
			},
			want: []string{"#oncall: page firing", "#oncall: page resolved"},
		},
		{
			name: "told that it fires, and once more during the outage",
			play: func(s *scene) {
				s.page(true, 10*time.Minute)
				s.page(false, 10*time.Minute)
				s.deaf(true)
				s.page(true, 10*time.Minute)
				s.page(false, 10*time.Minute)
				s.deaf(false)
			},
			want: []string{"#oncall: page firing", "#oncall: page resolved", "#oncall: page resolved, late 20m-30m"},
		},
		{
			name: "the channel changes meanwhile",
			play: func(s *scene) {
				s.deaf(true)
				s.page(true, 10*time.Minute)
				s.page(false, 10*time.Minute)
				moved := checkout
				moved.PageChannel = "#payments"
				s.apply(moved)
				s.wait(time.Minute)
				s.deaf(false)
			},
			want: []string{"#payments: page resolved, late 0s-10m"},
		},
		{
			name: "nobody had to be told: it ends before its wait does",
			play: func(s *scene) {
				s.deaf(true)
				s.ticket(true, 20*time.Second)
				s.ticket(false, 20*time.Minute)
				s.deaf(false)
			},
		},
		{
			name: "nobody had to be told: it was silenced",
			play: func(s *scene) {
				s.silence(time.Hour)
				s.deaf(true)
				s.page(true, 10*time.Minute)
				s.page(false, 10*time.Minute)
				s.deaf(false)
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScene(t, false)
				tc.play(s)
				s.wait(3 * time.Hour)
				s.expect(tc.want...)
			})
		})
	}
}

// TestEndOfWhatIsMuted: the end of what was told is not lost when it is muted by
// then, and what fires again afterwards is told.
func TestEndOfWhatIsMuted(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(*scene)
		want []string
	}{
		{
			name: "silenced while it fires",
			play: func(s *scene) {
				s.page(true, 10*time.Minute)
				s.silence(time.Hour)
				s.page(false, 2*time.Hour)
				s.page(true, 10*time.Minute)
				s.page(false, 10*time.Minute)
			},
			want: []string{
				"#oncall: page firing", "#oncall: page resolved",
				"#oncall: page firing", "#oncall: page resolved",
			},
		},
		{
			name: "a ticket ends under its page and comes again",
			play: func(s *scene) {
				s.ticket(true, 10*time.Minute)
				s.page(true, 10*time.Minute)
				s.ticket(false, 10*time.Minute)
				s.page(false, 10*time.Minute)
				s.ticket(true, 10*time.Minute)
				s.ticket(false, 10*time.Minute)
			},
			want: []string{
				"#shop: ticket firing", "#oncall: page firing", "#oncall: page resolved",
				"#shop: ticket firing", "#shop: ticket resolved",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScene(t, false)
				tc.play(s)
				s.expect(tc.want...)
			})
		})
	}
}

// TestFallback: who stands in is told after five minutes, once, and of the end;
// and whoever was away is told when it is back.
func TestFallback(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(*scene)
		want []string
	}{
		{
			name: "not needed",
			play: func(s *scene) {
				s.deaf(true)
				s.page(true, 4*time.Minute)
				s.deaf(false)
				s.wait(time.Hour)
				s.page(false, time.Hour)
			},
			want: []string{"#oncall: page firing", "#oncall: page resolved"},
		},
		{
			name: "it still fires when Slack is back",
			play: func(s *scene) {
				s.deaf(true)
				s.page(true, time.Hour)
				s.deaf(false)
				s.wait(time.Hour)
				s.page(false, time.Hour)
			},
			want: []string{
				"fallback: page firing, unreachable since 0s",
				"#oncall: page firing", "#oncall: page resolved", "fallback: page resolved",
			},
		},
		{
			name: "it ends before Slack is back",
			play: func(s *scene) {
				s.deaf(true)
				s.page(true, time.Hour)
				s.page(false, time.Hour)
				s.deaf(false)
				s.wait(time.Hour)
			},
			want: []string{
				"fallback: page firing, unreachable since 0s",
				"fallback: page resolved, unreachable since 0s",
				"#oncall: page resolved, late 0s-1h",
			},
		},
		{
			name: "it ends within five minutes",
			play: func(s *scene) {
				s.deaf(true)
				s.page(true, 2*time.Minute)
				s.page(false, time.Hour)
				s.deaf(false)
				s.wait(time.Hour)
			},
			want: []string{
				"fallback: page resolved, late 0s-2m, unreachable since 0s",
				"#oncall: page resolved, late 0s-2m",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScene(t, true)
				tc.play(s)
				s.expect(tc.want...)
				if l := s.heard()[0]; strings.HasPrefix(l.text, "fallback") && (l.at < 5*time.Minute || l.at > 6*time.Minute) {
					t.Errorf("the fallback was told after %v, want five minutes", l.at)
				}
			})
		})
	}
}

// TestOthersDoNotWait: a receiver that hangs delays nobody else.
func TestOthersDoNotWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeople()
		hangs := listener(func(ctx context.Context, _ ...*alert.Alert) (bool, error) {
			<-ctx.Done()
			return true, ctx.Err()
		})
		a, err := New(Options{
			Dir: t.TempDir(), Flows: []slo.Flow{checkout, {Name: "search", Service: "shop", PageChannel: "#search"}},
			Notifier: func(channel string) notify.Notifier {
				if channel == "#oncall" {
					return hangs
				}
				return p.channel(channel)
			},
			Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		i := &incident{a: a, on: map[string]*rules.Alert{}}
		time.Sleep(time.Second)
		i.set("checkout", slo.Page, true)
		i.set("search", slo.Page, true)
		time.Sleep(time.Minute)
		p.expect(t, "1s #search: search page firing")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

var histories = flag.Int("histories", 12, "how many random histories TestAnyHistory plays")

// TestAnyHistory plays random histories of an alert that comes and goes, of
// people who hear at times, and of processes that are killed, and holds what
// was heard against what happened.
func TestAnyHistory(t *testing.T) {
	for seed := range *histories {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(seed), 6))
				s := newScene(t, false)
				firing, deaf := false, false
				var begun []time.Duration // of episodes
				for range 40 {
					switch rng.IntN(6) {
					case 0, 1, 2:
						firing = !firing
						if firing {
							begun = append(begun, time.Since(s.began).Round(time.Second))
						}
						s.page(firing, 0)
					case 3, 4:
						deaf = !deaf
						s.deaf(deaf)
					default:
						s.kill()
						if firing {
							s.page(true, 0)
						}
					}
					s.wait(time.Duration(1+rng.IntN(20*60)) * time.Second)
				}
				if firing {
					s.page(false, 0)
				}
				s.deaf(false)
				s.wait(time.Hour)

				open := false // what people believe
				told := map[string]int{}
				for _, l := range s.heard() {
					text := l.text
					_, late, _ := strings.Cut(text, ", late ")
					episodes := strings.Fields(late)
					for _, e := range episodes {
						from, _, _ := strings.Cut(e, "-")
						told[from]++
					}
					switch {
					case strings.Contains(text, "firing"):
						open = true
					case !open && len(episodes) == 0:
						t.Errorf("%q ends what nobody was told of", text)
					default:
						open = false
					}
				}
				if open {
					t.Error("people still believe that it fires")
				}
				for from, n := range told {
					if n > 1 {
						t.Errorf("the episode of %s was told as late %d times", from, n)
					}
				}
				// Each episode was told, then or afterwards, unless people believed
				// already that it fires.
				for n, at := range begun {
					known := told[slo.Duration(at)] > 0
					for _, l := range s.heard() {
						fires := strings.Contains(l.text, "firing")
						if l.at <= at {
							known = known || fires
							if !fires {
								known = told[slo.Duration(at)] > 0
							}
						} else if fires && (n+1 == len(begun) || l.at < begun[n+1]+time.Minute) {
							known = true
						}
					}
					if !known {
						t.Errorf("nobody was told of the episode at %v", at)
					}
				}
				if t.Failed() {
					t.Logf("episodes %v, heard %v", begun, s.heard())
				}
				if left, err := os.ReadFile(filepath.Join(s.dir, "alerts.json")); err != nil || string(left) != "[]\n" {
					t.Errorf("open alerts on disk in the end = %q, %v; want none", left, err)
				}
			})
		})
	}
}

// scene is one flow, the process that tells of it, and what people hear.
type scene struct {
	t        *testing.T
	began    time.Time
	dir      string
	fallback bool
	flow     slo.Flow

	a    *Alertmanager
	i    *incident
	stop func() // of the process
	dead *atomic.Bool

	mu     sync.Mutex
	isDeaf bool
	slowly time.Duration
	lines  []line
}

// line is what was heard at a time.
type line struct {
	at        time.Duration
	who, text string
}

func newScene(t *testing.T, fallback bool) *scene {
	s := &scene{t: t, began: time.Now(), dir: t.TempDir(), fallback: fallback, flow: checkout, slowly: time.Millisecond}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// start begins a process over what is on disk.
func (s *scene) start() {
	s.t.Helper()
	s.dead = &atomic.Bool{}
	dead := s.dead
	hears := func(who string, ever bool) notify.Notifier {
		return listener(func(_ context.Context, alerts ...*alert.Alert) (bool, error) {
			s.mu.Lock()
			slowly := s.slowly
			s.mu.Unlock()
			time.Sleep(slowly)
			s.mu.Lock()
			defer s.mu.Unlock()
			if dead.Load() || (s.isDeaf && !ever) {
				return true, errors.New("nobody hears")
			}
			for _, a := range alerts {
				s.lines = append(s.lines, line{time.Since(s.began), who, who + ": " + s.words(a)})
			}
			return false, nil
		})
	}
	o := Options{
		Dir: s.dir, Flows: []slo.Flow{s.flow}, Registerer: prometheus.NewRegistry(),
		Notifier: func(channel string) notify.Notifier { return hears(channel, false) },
	}
	if s.fallback {
		o.Fallback = hears("fallback", true)
	}
	a, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.a, s.i = a, &incident{a: a, on: map[string]*rules.Alert{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	i := s.i
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			s.t.Errorf("Run = %v, want nil", err)
		}
	})
	wg.Go(func() { // the rule manager
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
	s.stop = func() {
		cancel()
		wg.Wait()
	}
}

// words is an alert in short, with times since the scene began.
func (s *scene) words(a *alert.Alert) string {
	since := func(text string) string {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			s.t.Error(err)
		}
		return slo.Duration(at.Sub(s.began).Round(time.Second))
	}
	out := fmt.Sprintf("%s %s", a.Labels[series.Severity], a.Status())
	for i, e := range strings.Fields(string(a.Annotations[Undelivered])) {
		if i == 0 {
			out += ", late"
		}
		from, to, _ := strings.Cut(e, "/")
		out += " " + since(from) + "-" + since(to)
	}
	if at := string(a.Annotations[Unreachable]); at != "" {
		out += ", unreachable since " + since(at)
	}
	return out
}

// kill ends the process with what is on disk, and starts another.
func (s *scene) kill() {
	s.t.Helper()
	synctest.Wait()
	s.dead.Store(true)
	left := s.t.TempDir()
	if err := os.CopyFS(left, os.DirFS(s.dir)); err != nil {
		s.t.Fatal(err)
	}
	s.stop()
	s.dir = left
	s.start()
}

func (s *scene) page(firing bool, then time.Duration) {
	s.i.set(s.flow.Name, slo.Page, firing)
	time.Sleep(then)
}

func (s *scene) ticket(firing bool, then time.Duration) {
	s.i.set(s.flow.Name, slo.Ticket, firing)
	time.Sleep(then)
}

func (s *scene) wait(d time.Duration) { time.Sleep(d) }

func (s *scene) deaf(deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isDeaf = deaf
}

func (s *scene) slow(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slowly = d
}

func (s *scene) apply(flow slo.Flow) {
	s.t.Helper()
	s.flow = flow
	if err := s.a.Apply([]slo.Flow{flow}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) silence(d time.Duration) {
	s.t.Helper()
	_, err := s.a.Silence(s.t.Context(), Silence{
		Labels: map[string]string{series.SLOFlow: s.flow.Name}, By: "kim", Why: "upgrade", Until: time.Now().Add(d),
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// heard returns what people heard so far; what several heard at the same time
// in the order of their names.
func (s *scene) heard() []line {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.lines)
	slices.SortStableFunc(out, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.at.Round(time.Second), b.at.Round(time.Second)), cmp.Compare(a.who, b.who))
	})
	return out
}

func (s *scene) expect(want ...string) {
	s.t.Helper()
	var got []string
	for _, l := range s.heard() {
		got = append(got, l.text)
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("heard\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
