package eval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/tsdb"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is an evaluator over a store, with what it says written down.
type lab struct {
	t      *testing.T
	db     *tsdb.DB
	engine *promql.Engine
	began  time.Time

	mu   sync.Mutex
	said []string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	db, err := tsdb.Open(t.TempDir(), nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{
		t: t, db: db, began: time.Now(),
		engine: promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute}),
	}
	t.Cleanup(func() {
		if err := errors.Join(db.Close(), l.engine.Close()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// notify writes down each change of an alert, once.
func (l *lab) notify(_ context.Context, _ string, alerts ...*rules.Alert) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range alerts {
		what := "fires"
		if !a.ResolvedAt.IsZero() {
			what = "resolved"
		}
		said := fmt.Sprintf("%s %s", a.Labels.Get(labels.AlertName), what)
		if n := len(l.said); n > 0 && strings.HasSuffix(l.said[n-1], said) {
			continue
		}
		l.said = append(l.said, fmt.Sprintf("%v %s", time.Since(l.began).Round(5*time.Second), said))
	}
}

func (l *lab) expect(want ...string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.said, want) {
		l.t.Errorf("said %q, want %q", l.said, want)
	}
}

func (l *lab) evaluator() *Evaluator {
	l.t.Helper()
	e, err := New(Options{Engine: l.engine, Queryable: l.db, Appendable: l.db, Notify: l.notify})
	if err != nil {
		l.t.Fatal(err)
	}
	return e
}

// run starts e and returns how to stop it.
func (l *lab) run(e *Evaluator) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				l.t.Errorf("Run = %v, want nil", err)
			}
		})
	}
	l.t.Cleanup(stop)
	return stop
}

func (l *lab) write(value float64) {
	l.t.Helper()
	app := l.db.Appender(context.Background())
	if _, err := app.Append(0, labels.FromStrings(model.MetricNameLabel, "burn"), time.Now().UnixMilli(), value); err != nil {
		l.t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		l.t.Fatal(err)
	}
}

// hold writes a value every 5 s for a time.
func (l *lab) hold(value float64, d time.Duration) {
	l.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Second) {
		l.write(value)
	}
}

func group(name string, rules ...rulefmt.Rule) rulefmt.RuleGroup {
	return rulefmt.RuleGroup{Name: name, Rules: rules}
}

func rule(alert string, above float64) rulefmt.Rule {
	return rulefmt.Rule{Alert: alert, Expr: fmt.Sprintf("burn > %g", above), Annotations: map[string]string{"burn": "{{ $value }}"}}
}

func apply(t *testing.T, e *Evaluator, groups ...rulefmt.RuleGroup) {
	t.Helper()
	if err := e.Apply(groups); err != nil {
		t.Fatal(err)
	}
}

func TestFiresAndResolves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		e := l.evaluator()
		apply(t, e, group("a", rule("Burn", 14.4)))
		l.run(e)
		l.hold(1, time.Minute)
		l.expect()
		l.hold(20, 10*time.Minute)
		l.hold(1, 30*time.Minute)
		l.expect("1m0s Burn fires", "11m0s Burn resolved")
	})
}

// TestIdle: where there is no series, and where it has gone stale, nothing
// fires.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		e := l.evaluator()
		apply(t, e, group("a", rule("Burn", 14.4)))
		l.run(e)
		time.Sleep(time.Minute)
		l.expect()
		l.write(math.NaN())
		time.Sleep(time.Minute)
		l.expect()
		l.write(20)
		time.Sleep(time.Hour)
		// Prometheus looks back five minutes for a series that just ends.
		l.expect("2m0s Burn fires", "7m0s Burn resolved")
	})
}

// TestApplyKeepsState: an alert goes on firing while other rules, and its own
// rule's annotations, change; with its threshold it is judged anew.
func TestApplyKeepsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		e := l.evaluator()
		apply(t, e, group("a", rule("Burn", 14.4)))
		l.run(e)
		l.hold(20, time.Minute)
		since := active(e)
		if len(since) != 1 {
			t.Fatalf("active alerts %v, want one", since)
		}
		apply(t, e, group("b", rule("Other", 100)), group("a", rule("Burn", 14.4)))
		l.hold(20, time.Minute)
		changed := rule("Burn", 14.4)
		changed.Annotations["runbook"] = "https://wiki.example"
		apply(t, e, group("b", rule("Other", 100)), group("a", changed))
		l.hold(20, time.Minute)
		if got := active(e); !slices.Equal(got, since) {
			t.Errorf("active since %v after two changes of rules, want %v", got, since)
		}
		apply(t, e, group("a", rule("Burn", 30)))
		l.hold(20, time.Minute)
		l.expect("0s Burn fires", "3m0s Burn resolved")
	})
}

// active returns since when alerts are active.
func active(e *Evaluator) (out []time.Time) {
	for _, r := range e.Manager().AlertingRules() {
		for _, a := range r.ActiveAlerts() {
			out = append(out, a.ActiveAt)
		}
	}
	return out
}

// TestBadRules: every fault is named, and the rules before go on.
func TestBadRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		e := l.evaluator()
		apply(t, e, group("a", rule("Burn", 14.4)))
		l.run(e)
		time.Sleep(10 * time.Second)

		typo := rulefmt.Rule{Alert: "Typo", Expr: "burn >"}
		template := rule("Template", 1)
		template.Annotations["x"] = "{{ $oops }}"
		label := rule("Label", 1)
		label.Labels = map[string]string{"__name__": "x"}
		err := e.Apply([]rulefmt.RuleGroup{
			group("a", rule("Burn", 30)), group("b", typo, template, label), group("b"),
			group("c", rulefmt.Rule{Expr: "burn"}),
		})
		for _, want := range []string{`"Typo"`, `"Template"`, `"Label"`, `"b" is repeated`, "one of 'record' or 'alert'"} {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("Apply = %v\nwant %s in it", err, want)
			}
		}
		l.hold(20, time.Minute)
		l.expect("10s Burn fires")
	})
}

// TestForSurvivesRestart: an alert that waits goes on waiting where it was.
func TestForSurvivesRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		slow := rule("Burn", 14.4)
		slow.For = model.Duration(20 * time.Minute)
		first := l.evaluator()
		apply(t, first, group("a", slow))
		stop := l.run(first)
		l.hold(20, 9*time.Minute)
		stop()
		second := l.evaluator()
		apply(t, second, group("a", slow))
		l.run(second)
		l.hold(20, 5*time.Minute)
		l.expect()
		l.hold(20, 10*time.Minute)
		// The time without a process counts; ten minutes after it are due in
		// any case.
		l.expect("20m10s Burn fires")
	})
}

func TestLastEvaluation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		e := l.evaluator()
		check := func(when string, want time.Duration, ever bool) {
			t.Helper()
			got := e.LastEvaluation()
			if got.IsZero() == ever {
				t.Errorf("%s: last evaluation %v, want one: %v", when, got, ever)
			}
			if ago := time.Since(got); ever && ago > want {
				t.Errorf("%s: last evaluation %v ago, want at most %v", when, ago, want)
			}
		}
		check("before Run", 0, false)
		stop := l.run(e)
		synctest.Wait()
		check("without rules", 0, true)
		apply(t, e, group("a", rule("Burn", 14.4)))
		check("with the first rules", 0, false)
		time.Sleep(11 * time.Second)
		check("with rules", 5*time.Second, true)
		slow := group("b", rule("Other", 1))
		slow.Interval = model.Duration(24 * time.Hour)
		apply(t, e, group("a", rule("Burn", 14.4)), slow)
		check("with a new group", 5*time.Second, true)
		time.Sleep(30 * time.Minute)
		if ago := time.Since(e.LastEvaluation()); ago < 29*time.Minute {
			t.Errorf("a group that lags: last evaluation %v ago, want its own", ago)
		}
		stop()
		time.Sleep(time.Hour)
		if ago := time.Since(e.LastEvaluation()); ago < time.Hour {
			t.Errorf("after the end: last evaluation %v ago, want over an hour", ago)
		}
	})
}

func TestNewFaults(t *testing.T) {
	_, err := New(Options{})
	want := "eval: Options.Engine is missing\neval: Options.Queryable is missing\n" +
		"eval: Options.Appendable is missing\neval: Options.Notify is missing"
	if got := fmt.Sprint(err); got != want {
		t.Errorf("New(Options{}) = %q, want %q", got, want)
	}
}
