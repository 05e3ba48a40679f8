package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// phase is how long after a scrape rules are evaluated.
const phase = 7 * time.Second

// world is a Prometheus of one rule set: its own storage, one engine for all.
type world struct {
	name   string
	dir    string
	engine *promql.Engine
	db     *tsdb.DB
	rules  []rulefmt.RuleGroup
	groups []*rules.Group
	refs   map[string]storage.SeriesRef
	fired  map[string]map[string]int // by sloth_id or slo, severity: episodes

	cpu     time.Duration            // of the rules, while it was live
	samples int64                    // they read
	spent   map[string]time.Duration // of the clock, by rule
}

func newEngine() *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{MaxSamples: 500_000_000, Timeout: 10 * time.Minute, LookbackDelta: 5 * time.Minute})
}

// open opens a storage that takes samples of any time of the history.
func (w *world) open(groups []rulefmt.RuleGroup) error {
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = 0
	opts.WALSegmentSize = -1
	opts.MinBlockDuration = (100 * day).Milliseconds()
	opts.MaxBlockDuration = opts.MinBlockDuration
	opts.IsolationDisabled = true // a head of 31 days is slow with it, and nobody writes while rules read
	db, err := tsdb.Open(filepath.Join(w.dir, "head"), slog.New(slog.DiscardHandler), nil, opts, nil)
	if err != nil {
		return err
	}
	w.db, w.rules = db, groups
	w.fired, w.spent = map[string]map[string]int{}, map[string]time.Duration{}
	return nil
}

// writer appends samples and remembers the first error.
type writer struct {
	app storage.Appender
	err error
}

func (w *writer) put(ref *storage.SeriesRef, l labels.Labels, at time.Time, v float64) {
	if w.err == nil {
		*ref, w.err = w.app.Append(*ref, l, at.UnixMilli(), v)
	}
}

// raw writes what was scraped, from one scrape to before another.
func (w *world) raw(ctx context.Context, histories []*history, from, to int) error {
	for _, h := range histories {
		out := writer{app: w.db.Appender(ctx)}
		for _, s := range h.series {
			l := labels.FromStrings(append([]string{"__name__", s.name}, s.labels...)...)
			var ref storage.SeriesRef
			was := false
			for i := max(from, s.first); i < min(to, s.first+len(s.values)); i++ {
				v := s.values[i-s.first]
				at := began.Add(time.Duration(i) * scrape)
				if !math.IsNaN(v) {
					out.put(&ref, l, at, v)
				} else if was {
					out.put(&ref, l, at, math.Float64frombits(value.StaleNaN))
				}
				was = !math.IsNaN(v)
			}
			if end := s.first + len(s.values); was && end >= from && end < to {
				out.put(&ref, l, began.Add(time.Duration(end)*scrape), math.Float64frombits(value.StaleNaN))
			}
		}
		if out.err != nil {
			return out.err
		}
		if err := out.app.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// rule is a rule to be evaluated over the past.
type rule struct {
	rulefmt.Rule
	expr     parser.Expr
	interval time.Duration
	reads    map[string]bool
	longest  time.Duration // range it reads
}

// remember evaluates the recording rules over the past, as range queries: every
// rule at its own interval if others read ranges of what it records; else every
// five minutes, which is what alerts of the past are looked for at; what sums up
// a day or more every half hour, repeated in between; and what only tells the
// present in the last half hour.
//
// Rules are taken in the order in which they read each other. A rule that reads
// itself reads nothing.
func (w *world) remember(ctx context.Context, end time.Time) error {
	var list []*rule
	recorded := map[string]int{} // rules that record a name and are not done
	ranged := map[string]bool{}
	p := parser.NewParser(parser.Options{})
	for _, g := range w.rules {
		for _, r := range g.Rules {
			expr, err := p.ParseExpr(r.Expr)
			if err != nil {
				return fmt.Errorf("%s: %w", r.Expr, err)
			}
			x := &rule{Rule: r, expr: expr, interval: time.Duration(g.Interval), reads: map[string]bool{}}
			parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
				switch n := n.(type) {
				case *parser.VectorSelector:
					x.reads[n.Name] = true
					x.longest = max(x.longest, n.OriginalOffset)
					if n.OriginalOffset > 0 {
						ranged[n.Name] = true
					}
				case *parser.MatrixSelector:
					x.longest = max(x.longest, n.Range)
					if n.Range > 15*time.Minute {
						ranged[n.VectorSelector.(*parser.VectorSelector).Name] = true
					}
				}
				return nil
			})
			if r.Record != "" {
				recorded[r.Record]++
			}
			list = append(list, x)
		}
	}
	for len(list) > 0 {
		var later []*rule
		for _, r := range list {
			waits := false
			for name := range r.reads {
				waits = waits || name != r.Record && recorded[name] > 0
			}
			if waits {
				later = append(later, r)
				continue
			}
			from, step := began.Add(phase), r.interval
			if !ranged[r.Record] {
				step = max(step, 5*time.Minute)
				if r.longest >= day {
					step = 30 * time.Minute
				}
				if r.longest > 20*day {
					from = end.Add(-30 * time.Minute).Truncate(step).Add(phase)
				}
			}
			if err := w.past(ctx, r, from, end, step); err != nil {
				return fmt.Errorf("%s: %w", r.Expr, err)
			}
			if r.Record != "" {
				recorded[r.Record]--
			}
		}
		if len(later) == len(list) {
			return fmt.Errorf("%s: rules read each other in a circle", later[0].Expr)
		}
		list = later
	}
	return nil
}

func (w *world) past(ctx context.Context, r *rule, from, end time.Time, step time.Duration) error {
	q, err := w.engine.NewRangeQuery(ctx, w.db, nil, r.Expr, from, end.Add(-time.Second), step)
	if err != nil {
		return err
	}
	defer q.Close()
	matrix, err := q.Exec(ctx).Matrix()
	if err != nil {
		return err
	}
	if r.Alert != "" {
		for _, s := range matrix {
			w.count(r, s, step)
		}
		return nil
	}
	repeat := time.Duration(1)
	if step > 5*time.Minute {
		repeat = step / (5 * time.Minute)
	}
	out := writer{app: w.db.Appender(ctx)}
	for _, s := range matrix {
		b := labels.NewBuilder(s.Metric).Set("__name__", r.Record)
		for k, v := range r.Labels {
			b.Set(k, v)
		}
		l := b.Labels()
		var ref storage.SeriesRef
		for i, p := range s.Floats {
			at := time.UnixMilli(p.T)
			if i > 0 && p.T-s.Floats[i-1].T > step.Milliseconds() {
				out.put(&ref, l, time.UnixMilli(s.Floats[i-1].T).Add(step), math.Float64frombits(value.StaleNaN))
			}
			for k := range repeat {
				out.put(&ref, l, at.Add(k*(step/repeat)), p.F)
			}
		}
	}
	if out.err != nil {
		return out.err
	}
	return out.app.Commit()
}

// count counts the times an alert fired; half an hour of quiet parts two.
func (w *world) count(r *rule, s promql.Series, step time.Duration) {
	// The SLO is in labels of the rule, or of what it judges.
	id, severity := "", r.Labels["sloth_severity"]
	for _, l := range []labels.Labels{labels.FromMap(r.Labels), s.Metric} {
		for _, name := range []string{"sloth_id", "slo"} {
			if v := l.Get(name); v != "" {
				id = strings.TrimPrefix(v, "shop-")
			}
		}
	}
	if severity == "" {
		severity = map[string]string{"critical": "page", "warning": "ticket"}[r.Labels["severity"]]
	}
	if strings.HasSuffix(r.Alert, "Absent") {
		severity = "absent"
	}
	if w.fired[id] == nil {
		w.fired[id] = map[string]int{}
	}
	var since, before, firing int64 = 0, math.MinInt64 / 2, math.MinInt64 / 2
	for _, p := range s.Floats {
		if p.T-before > step.Milliseconds() {
			since = p.T
		}
		before = p.T
		if p.T-since < time.Duration(r.For).Milliseconds() {
			continue
		}
		if p.T-firing > (30 * time.Minute).Milliseconds() {
			w.fired[id][severity]++
		}
		firing = p.T
	}
}

// settle writes the past into blocks as a Prometheus of 31 days has them, its
// last three hours into a head, and opens them with rules that are evaluated
// from here on.
func (w *world) settle(ctx context.Context, end time.Time) error {
	const large, small, recent = 54 * time.Hour, 2 * time.Hour, 3 * time.Hour
	blocks := filepath.Join(w.dir, "data")
	if err := os.MkdirAll(blocks, 0o777); err != nil {
		return err
	}
	c, err := tsdb.NewLeveledCompactor(ctx, nil, slog.New(slog.DiscardHandler), []int64{small.Milliseconds(), large.Milliseconds()}, nil, nil)
	if err != nil {
		return err
	}
	at := began
	for at.Before(end.Add(-recent)) {
		to := at.Add(large)
		if to.After(end.Add(-recent)) {
			to = at.Add(small)
		}
		head := tsdb.NewRangeHead(w.db.Head(), at.UnixMilli(), to.UnixMilli()-1)
		if _, err := c.Write(blocks, head, at.UnixMilli(), to.UnixMilli(), nil); err != nil {
			return err
		}
		at = to
	}
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = 0
	opts.WALSegmentSize = -1
	db, err := tsdb.Open(blocks, slog.New(slog.DiscardHandler), nil, opts, nil)
	if err != nil {
		return err
	}
	db.DisableCompactions()
	past := w.db
	w.db = db
	if err := carry(ctx, past, db, at, end); err != nil {
		return err
	}
	if err := past.Close(); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(w.dir, "head")); err != nil {
		return err
	}
	p := parser.NewParser(parser.Options{})
	for _, g := range w.rules {
		var list []rules.Rule
		for _, r := range g.Rules {
			expr, err := p.ParseExpr(r.Expr)
			if err != nil {
				return err
			}
			if r.Record != "" {
				list = append(list, rules.NewRecordingRule(r.Record, expr, labels.FromMap(r.Labels)))
				continue
			}
			list = append(list, rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor),
				labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler)))
		}
		w.groups = append(w.groups, rules.NewGroup(rules.GroupOptions{
			Name: g.Name, Interval: time.Duration(g.Interval), Rules: list,
			Opts: &rules.ManagerOptions{
				QueryFunc: w.query, Appendable: w.db, Queryable: w.db, Context: ctx, ExternalURL: &url.URL{},
				NotifyFunc: func(context.Context, string, ...*rules.Alert) {}, Logger: slog.New(slog.DiscardHandler),
			},
		}))
	}
	return nil
}

// carry copies what one storage has of a time to another, in one transaction: a
// second would refuse what is an hour older than the newest.
func carry(ctx context.Context, from, to *tsdb.DB, since, until time.Time) error {
	q, err := from.Querier(since.UnixMilli(), until.UnixMilli()-1)
	if err != nil {
		return err
	}
	defer q.Close()
	out := writer{app: to.Appender(ctx)}
	set := q.Select(ctx, false, nil, labels.MustNewMatcher(labels.MatchRegexp, model.MetricNameLabel, ".+"))
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		var ref storage.SeriesRef
		for it = s.Iterator(it); it.Next() != chunkenc.ValNone; {
			t, v := it.At()
			out.put(&ref, s.Labels(), time.UnixMilli(t), v)
		}
		if err := it.Err(); err != nil {
			return err
		}
	}
	if err := errors.Join(set.Err(), out.err); err != nil {
		return err
	}
	return out.app.Commit()
}

// query is what rules ask the engine by; it counts the samples they read.
func (w *world) query(ctx context.Context, text string, at time.Time) (promql.Vector, error) {
	q, err := w.engine.NewInstantQuery(ctx, w.db, nil, text, at)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	result := q.Exec(ctx)
	w.samples += q.Stats().Samples.TotalSamples
	if result.Err != nil {
		return nil, result.Err
	}
	if s, ok := result.Value.(promql.Scalar); ok {
		return promql.Vector{{T: s.T, F: s.V}}, nil
	}
	return result.Vector()
}

// evaluate evaluates the groups that are due at a time, and counts what it costs.
func (w *world) evaluate(ctx context.Context, at time.Time) error {
	start := cpu()
	for _, g := range w.groups {
		if at.Add(-phase).Sub(began)%g.Interval() == 0 {
			g.Eval(ctx, at)
		}
	}
	w.cpu += cpu() - start
	for _, g := range w.groups {
		for _, r := range g.Rules() {
			if err := r.LastError(); err != nil {
				return fmt.Errorf("%s: rule %s: %w", w.name, r.Name(), err)
			}
			if at.Add(-phase).Sub(began)%g.Interval() == 0 {
				w.spent[r.Name()] += r.GetEvaluationDuration()
			}
		}
	}
	return nil
}

// value returns the value of an expression at a time, NaN for none.
func (w *world) value(ctx context.Context, expr string, at time.Time) (float64, error) {
	q, err := w.engine.NewInstantQuery(ctx, w.db, nil, expr, at)
	if err != nil {
		return 0, err
	}
	defer q.Close()
	vector, err := q.Exec(ctx).Vector()
	if err != nil {
		return 0, err
	}
	switch len(vector) {
	case 0:
		return math.NaN(), nil
	case 1:
		return vector[0].F, nil
	}
	return 0, fmt.Errorf("%s: %s has %d values, want one", w.name, expr, len(vector))
}

// cpu returns the processor time this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // of this process it cannot fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
