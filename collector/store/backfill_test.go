package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

const step = 5 * time.Minute

// fill appends one counter and one histogram every step from age ago until now,
// both of value 1, 2, 3… and returns how many.
func fill(app storage.Appender, now time.Time, age time.Duration) (n int, err error) {
	for ; age >= 0; age -= step {
		n++
		ts := now.Add(-age).UnixMilli()
		if _, err := app.Append(0, requests, ts, float64(n)); err != nil {
			return n, err
		}
		if _, err := app.AppendHistogram(0, duration, ts, latencies(uint64(n)), nil); err != nil {
			return n, err
		}
	}
	return n, nil
}

func TestBackfillThenAppend(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	var n int
	err := Backfill(dir, nil, func(app storage.Appender) (err error) {
		// Five days, that is at least two blocks, up to a second before now.
		n, err = fill(app, now.Add(-time.Second), 5*24*time.Hour)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "*", "meta.json"))
	if err != nil || len(blocks) < 2 {
		t.Errorf("blocks = %v, %v; want several", blocks, err)
	}

	s := open(t, Options{Dir: dir})
	put(t, s, now, uint64(n+1))
	put(t, s, now.Add(10*time.Second), uint64(n+2))
	end := now.Add(10 * time.Second)
	check := func(t *testing.T) {
		for _, tc := range []struct {
			expr string
			want float64
		}{
			{expr: "count_over_time(requests_total[6d])", want: float64(n + 2)},
			{expr: "count_over_time(duration_seconds[6d])", want: float64(n + 2)},
			{expr: "changes(requests_total[6d])", want: float64(n + 1)},
			{expr: "resets(requests_total[6d])", want: 0},
			{expr: "resets(duration_seconds[6d])", want: 0},
			{expr: "count(requests_total)", want: 1},
			{expr: "requests_total offset 1d", want: float64(n) - 288},
			{expr: "histogram_count(duration_seconds offset 3d)", want: float64(n) - 3*288},
		} {
			if got := value(t, s, tc.expr, end); got != tc.want {
				t.Errorf("%s = %v, want %v", tc.expr, got, tc.want)
			}
		}
	}
	t.Run("appended", check)
	shut(t, s)
	s = open(t, Options{Dir: dir})
	defer shut(t, s)
	t.Run("reopened", check)
}

func TestBackfillCommitMayBeCalled(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	err := Backfill(dir, nil, func(app storage.Appender) error {
		for i := range 3 {
			if _, err := app.Append(0, requests, now.Add(time.Duration(i-3)*step).UnixMilli(), float64(i)); err != nil {
				return err
			}
			if err := app.Commit(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Dir: dir})
	defer shut(t, s)
	if got := value(t, s, "count_over_time(requests_total[1h])", now); got != 3 {
		t.Errorf("samples = %v, want 3", got)
	}
}

func TestBackfillRefuses(t *testing.T) {
	now := time.Now()
	add := func(app storage.Appender, ts time.Time) error {
		_, err := app.Append(0, requests, ts.UnixMilli(), 1)
		return err
	}
	broken := errors.New("broken")
	for _, tc := range []struct {
		name string
		fn   func(storage.Appender) error
		want string
	}{
		{name: "future", fn: func(app storage.Appender) error { return add(app, now.Add(time.Hour)) }, want: "lies in the future; want history"},
		{name: "backwards", fn: func(app storage.Appender) error {
			return errors.Join(add(app, now.Add(-time.Hour)), add(app, now.Add(-2*time.Hour)))
		}, want: "want samples in the order of their times"},
		{name: "rollback", fn: storage.Appender.Rollback, want: "history cannot be rolled back"},
		{name: "error after a block was written", fn: func(app storage.Appender) error {
			return errors.Join(add(app, now.Add(-200*time.Hour)), add(app, now.Add(-100*time.Hour)), broken)
		}, want: "backfill: broken"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := Backfill(dir, nil, tc.fn); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 1 || left[0].Name() != lockFile {
				t.Errorf("left in the directory: %v, %v; want the lock alone", left, err)
			}
		})
	}

	t.Run("data of a store", func(t *testing.T) {
		dir := t.TempDir()
		shut(t, open(t, Options{Dir: dir}))
		err := Backfill(dir, nil, func(app storage.Appender) error { return add(app, now.Add(-time.Hour)) })
		if err == nil || !strings.Contains(err.Error(), "want an empty directory to fill with history") {
			t.Errorf("error %v, want it to ask for an empty directory", err)
		}
	})
	t.Run("nothing appended", func(t *testing.T) {
		dir := t.TempDir()
		if err := Backfill(dir, nil, func(storage.Appender) error { return nil }); err != nil {
			t.Error(err)
		}
		shut(t, open(t, Options{Dir: dir}))
	})
}

func BenchmarkBackfill(b *testing.B) {
	for _, series := range []int{1, 100} {
		b.Run(fmt.Sprintf("days=30/series=%d", series), func(b *testing.B) {
			floats, histograms := make([]labels.Labels, series), make([]labels.Labels, series)
			for i := range series {
				flow := fmt.Sprintf("flow-%d", i)
				floats[i] = labels.FromStrings(model.MetricNameLabel, "requests_total", "flow", flow)
				histograms[i] = labels.FromStrings(model.MetricNameLabel, "duration_seconds", "flow", flow)
			}
			samples := 0
			for b.Loop() {
				now := time.Now()
				err := Backfill(b.TempDir(), nil, func(app storage.Appender) error {
					for age := 30 * 24 * time.Hour; age > 0; age -= step {
						ts := now.Add(-age).UnixMilli()
						for i := range series {
							samples += 2
							if _, err := app.Append(0, floats[i], ts, float64(samples)); err != nil {
								return err
							}
							if _, err := app.AppendHistogram(0, histograms[i], ts, latencies(uint64(samples)), nil); err != nil {
								return err
							}
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(samples)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}
