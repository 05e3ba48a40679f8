package store

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	requests = labels.FromStrings(model.MetricNameLabel, "requests_total", "flow", "checkout")
	duration = labels.FromStrings(model.MetricNameLabel, "duration_seconds", "flow", "checkout")
)

// latencies is a native histogram of n requests that took about a second each.
func latencies(n uint64) *histogram.Histogram {
	return &histogram.Histogram{
		Schema:          3,
		Count:           n,
		Sum:             float64(n),
		ZeroThreshold:   1e-9,
		PositiveSpans:   []histogram.Span{{Offset: 0, Length: 1}},
		PositiveBuckets: []int64{int64(n)},
	}
}

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatalf("Open(%q): %v", o.Dir, err)
	}
	return s
}

func shut(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// put commits a counter and a histogram of n requests at ts.
func put(t *testing.T, s *Store, ts time.Time, n uint64) {
	t.Helper()
	app := s.Appender(t.Context())
	if _, err := app.Append(0, requests, ts.UnixMilli(), float64(n)); err != nil {
		t.Fatalf("append at %v: %v", ts, err)
	}
	if _, err := app.AppendHistogram(0, duration, ts.UnixMilli(), latencies(n), nil); err != nil {
		t.Fatalf("append histogram at %v: %v", ts, err)
	}
	if err := app.Commit(); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

// value runs an instant query that yields one number.
func value(t *testing.T, s *Store, expr string, ts time.Time) float64 {
	t.Helper()
	q, err := s.Engine().NewInstantQuery(t.Context(), s, nil, expr, ts)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	defer q.Close()
	v, err := q.Exec(t.Context()).Vector()
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	if len(v) != 1 {
		t.Fatalf("%s at %v = %v, want one series", expr, ts, v)
	}
	return v[0].F
}

func TestStoreAnswersAfterReopening(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tsdb")
	now := time.Now()
	s := open(t, Options{Dir: dir})
	for i := range 31 {
		put(t, s, now.Add(time.Duration(i-30)*10*time.Second), uint64(100*i+1))
	}

	check := func(t *testing.T) {
		for _, tc := range []struct {
			expr string
			want float64
		}{
			{expr: `requests_total{flow="checkout"}`, want: 3001},
			{expr: `rate(requests_total[4m])`, want: 10},
			{expr: `histogram_count(duration_seconds)`, want: 3001},
			{expr: `histogram_quantile(0.5, rate(duration_seconds[4m]))`, want: math.Pow(2, -1.0/16)}, // middle of (2^-1/8, 1]
			{expr: `count_over_time(requests_total[4m:])`, want: 4},                                   // subquery without a step
		} {
			if got := value(t, s, tc.expr, now); math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("%s = %v, want %v", tc.expr, got, tc.want)
			}
		}
	}
	t.Run("first", check)
	shut(t, s)
	s = open(t, Options{Dir: dir})
	t.Run("reopened", check)
	put(t, s, now.Add(10*time.Second), 3101)
	shut(t, s)
}

func TestExemplarsComeBack(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	defer shut(t, s)
	now := time.Now().UnixMilli()
	want := exemplar.Exemplar{Labels: labels.FromStrings("trace_id", "0af7651916cd43dd8448eb211c80319c"), Value: 1.5, Ts: now, HasTs: true}
	app := s.Appender(t.Context())
	ref, err := app.Append(0, requests, now, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.AppendExemplar(ref, requests, want); err != nil {
		t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}

	q, err := s.ExemplarQuerier(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := q.Select(now, now, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "flow", "checkout")})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || len(got[0].Exemplars) != 1 || !got[0].Exemplars[0].Equals(want) {
		t.Errorf("exemplars = %v, want %v", got, want)
	}
}

// A crash leaves the files as they are at that moment; a power cut may tear the
// end of the log as well.
func TestOpenReplaysWhatACrashLeft(t *testing.T) {
	now := time.Now()
	live := t.TempDir()
	s := open(t, Options{Dir: live})
	defer shut(t, s)
	put(t, s, now, 7)

	for _, tc := range []struct {
		name string
		tear func(wal []byte) []byte
	}{
		{name: "killed", tear: func(wal []byte) []byte { return wal }},
		{name: "garbage at the end of the log", tear: func(wal []byte) []byte {
			return append(wal, 1, 0, 99, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tsdb")
			if err := os.CopyFS(dir, os.DirFS(live)); err != nil {
				t.Fatal(err)
			}
			segment := filepath.Join(dir, "wal", "00000000")
			wal, err := os.ReadFile(segment)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(segment, tc.tear(wal), 0o600); err != nil {
				t.Fatal(err)
			}
			after := open(t, Options{Dir: dir})
			defer shut(t, after)
			if got := value(t, after, "requests_total", now); got != 7 {
				t.Errorf("requests_total = %v, want 7", got)
			}
			put(t, after, now.Add(time.Second), 8)
		})
	}
}

func TestRetention(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name           string
		retention      time.Duration
		limit          time.Duration
		oldest, newest time.Duration // of the oldest sample left: its age lies between
	}{
		{name: "default", limit: 45 * day, oldest: 48 * day, newest: 45 * day},
		{name: "a week", retention: 7 * day, limit: 7 * day, oldest: 10 * day, newest: 7 * day},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			now := time.Now()
			err := Backfill(dir, nil, func(app storage.Appender) error {
				for age := 60 * day; age > 0; age -= time.Hour {
					if _, err := app.Append(0, requests, now.Add(-age).UnixMilli(), age.Hours()); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			reg := prometheus.NewRegistry()
			s := open(t, Options{Dir: dir, Retention: tc.retention, Registerer: reg})
			defer shut(t, s)

			if got := gauge(t, reg, "prometheus_tsdb_retention_limit_seconds"); got != tc.limit.Seconds() {
				t.Errorf("retention = %v s, want %v", got, tc.limit.Seconds())
			}
			if got := value(t, s, "max_over_time(requests_total[90d])", now); got < tc.newest.Hours() || got > tc.oldest.Hours() {
				t.Errorf("oldest sample is %v h old, want between %v and %v", got, tc.newest.Hours(), tc.oldest.Hours())
			}
		})
	}
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("metric %s is missing", name)
	return 0
}

func TestMetricsOfBothEngines(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := open(t, Options{Dir: t.TempDir(), Registerer: reg})
	defer shut(t, s)
	n, err := testutil.GatherAndCount(reg, "prometheus_engine_queries_concurrent_max")
	if err != nil || n != 2 {
		t.Errorf("prometheus_engine_queries_concurrent_max has %d series, error %v; want 2", n, err)
	}
}

func TestOpenRefusesAnothersDirectory(t *testing.T) {
	dir := t.TempDir()
	first := open(t, Options{Dir: dir})
	defer shut(t, first)

	// What the first process is writing looks like a leftover of a crash.
	block := filepath.Join(dir, "01ARZ3NDEKTSV4RRFFQ69G5FAV.tmp-for-creation")
	if err := os.Mkdir(block, 0o700); err != nil {
		t.Fatal(err)
	}
	want := "data directory " + dir + ": locked by another process; want a directory of its own"
	if _, err := Open(Options{Dir: dir}); err == nil || err.Error() != want {
		t.Errorf("second Open: error %v, want %s", err, want)
	}
	if err := Backfill(dir, nil, func(storage.Appender) error { return nil }); err == nil || err.Error() != want {
		t.Errorf("Backfill: error %v, want %s", err, want)
	}
	if _, err := os.Stat(block); err != nil {
		t.Errorf("the second Open removed what the first was writing: %v", err)
	}
	put(t, first, time.Now(), 1)
}

func TestOpenAfterClose(t *testing.T) {
	dir := t.TempDir()
	shut(t, open(t, Options{Dir: dir}))
	shut(t, open(t, Options{Dir: dir}))
}

func TestOpenSaysWhatToMend(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	noWAL := t.TempDir()
	if err := os.WriteFile(filepath.Join(noWAL, "wal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	type testCase struct {
		name string
		o    Options
		want string // the error's beginning
	}
	cases := []testCase{
		{name: "no directory", want: "store: no data directory; want a path"},
		{name: "negative retention", o: Options{Dir: "x", Retention: -time.Hour}, want: "store: retention -1h0m0s,"},
		{name: "a file in its place", o: Options{Dir: file}, want: "data directory " + file + ": not writable: not a directory; want a directory this user may write to"},
		{name: "below a file", o: Options{Dir: filepath.Join(file, "tsdb")}, want: "data directory " + filepath.Join(file, "tsdb") + ": not writable: not a directory; want"},
		{name: "a file in place of the log", o: Options{Dir: noWAL}, want: "data directory " + filepath.Join(noWAL, "wal") + ": not writable: not a directory; want"},
	}
	if runtime.GOOS == "linux" {
		// The one directory in which not even root may make a file.
		cases = append(cases,
			testCase{name: "missing, in a read-only directory", o: Options{Dir: "/proc/self/tsdb"}, want: "data directory /proc/self/tsdb: not writable: no such file or directory; want"},
			testCase{name: "read-only directory", o: Options{Dir: "/proc/self"}, want: "data directory /proc/self: not writable: no such file or directory; want"})
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Open(tc.o)
			if err == nil {
				shut(t, s)
				t.Fatalf("Open(%q) succeeds, want error %q", tc.o.Dir, tc.want)
			}
			if got := err.Error(); !strings.HasPrefix(got, tc.want) || strings.Contains(got, "\n") {
				t.Errorf("Open(%q): error %q, want one line beginning with %q", tc.o.Dir, got, tc.want)
			}
		})
	}

	t.Run("claim is given up", func(t *testing.T) {
		if err := os.Remove(filepath.Join(noWAL, "wal")); err != nil {
			t.Fatal(err)
		}
		shut(t, open(t, Options{Dir: noWAL}))
	})
}

// The database reports each of several broken blocks on a line of its own.
func TestDirErrorIsOneLine(t *testing.T) {
	got := dirError("/data/tsdb", errors.Join(errors.New("corrupted block 1"), errors.New("corrupted block 2"))).Error()
	if want := "data directory /data/tsdb: corrupted block 1; corrupted block 2"; got != want {
		t.Errorf("dirError = %q, want %q", got, want)
	}
}

// stuck is a Queryable whose queries run until their context ends.
type stuck struct {
	storage.Queryable
	entered chan struct{}
}

func (q stuck) Querier(mint, maxt int64) (storage.Querier, error) {
	inner, err := q.Queryable.Querier(mint, maxt)
	return stuckQuerier{inner, q.entered}, err
}

type stuckQuerier struct {
	storage.Querier
	entered chan struct{}
}

func (q stuckQuerier) Select(ctx context.Context, _ bool, _ *storage.SelectHints, _ ...*labels.Matcher) storage.SeriesSet {
	q.entered <- struct{}{}
	<-ctx.Done()
	return storage.ErrSeriesSet(ctx.Err())
}

func TestRulesDoNotWaitForDashboards(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), MaxConcurrent: 1})
	defer shut(t, s)
	now := time.Now()
	put(t, s, now, 5)

	busy, stop := context.WithCancel(t.Context())
	slow, err := s.Engine().NewInstantQuery(busy, s, nil, "requests_total", now)
	if err != nil {
		t.Fatal(err)
	}
	slow.Close()
	q := stuck{Queryable: s, entered: make(chan struct{})}
	slow, err = s.Engine().NewInstantQuery(busy, q, nil, "requests_total", now)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		slow.Exec(busy)
	}()
	<-q.entered
	defer func() { stop(); <-done; slow.Close() }()

	impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Engine().NewInstantQuery(impatient, s, nil, "requests_total", now); !errors.As(err, new(promql.ErrQueryTimeout)) {
		t.Errorf("second query: error %v, want it to wait until its deadline", err)
	}
	rule, err := s.RulesEngine().NewInstantQuery(t.Context(), s, nil, "requests_total > 4", now)
	if err != nil {
		t.Fatal(err)
	}
	defer rule.Close()
	if v, err := rule.Exec(t.Context()).Vector(); err != nil || len(v) != 1 {
		t.Errorf("rule's query = %v, %v; want one series", v, err)
	}
}

func TestQueryLimits(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name string
		o    Options
		want any // *error type
	}{
		{name: "samples", o: Options{MaxSamples: 1}, want: new(promql.ErrTooManySamples)},
		{name: "time", o: Options{QueryTimeout: time.Nanosecond}, want: new(promql.ErrQueryTimeout)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.o.Dir = t.TempDir()
			s := open(t, tc.o)
			defer shut(t, s)
			for i := range 3 {
				put(t, s, now.Add(time.Duration(i-3)*time.Second), 1)
			}
			q, err := s.Engine().NewInstantQuery(t.Context(), s, nil, "sum_over_time(requests_total[1m])", now)
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			if err := q.Exec(t.Context()).Err; !errors.As(err, tc.want) {
				t.Errorf("error %v, want %T", err, tc.want)
			}
		})
	}
}
