package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

const (
	// alertHole is how long the series of an alert may lack samples and still
	// be of one alert: a restart of slowburn, or Prometheus' own idea of how
	// long a sample is current. An alert that ends says so with a marker.
	alertHole = 5 * time.Minute

	// alertBlink is how soon after its end an alert is taken for the same one
	// when it fires again: three evaluations.
	alertBlink = 15 * time.Second

	// maxPast bounds how much history is kept in memory and paged through.
	maxPast = 10_000

	// keepHistory is how long a reading of the history serves everybody, and
	// historyShare the part of the time that reading it may take: over a month
	// of many alerts it takes longer, and changes less.
	keepHistory  = 10 * time.Second
	historyShare = 20
)

// alertKey identifies an alert of ours.
type alertKey struct {
	SLO      string
	Severity slo.Severity
}

// pastAlert is a time during which an alert fired.
type pastAlert struct {
	alertKey
	began, ended time.Time // ended: when it last fired
	earlier      bool      // it fired already when the time looked at began
	open         bool      // nothing says that it has ended
}

// history is the alerts of a time, the newest first.
type history struct {
	list []pastAlert
	cut  bool // there were more, older than those
}

// historyReader reads when alerts fired from the series that the rule manager
// writes. It may be used from several goroutines.
type historyReader struct {
	source storage.Queryable

	mu   sync.Mutex // held while the store is read: the others wait for that reading
	kept map[time.Duration]keptHistory
}

type keptHistory struct {
	history
	until time.Time
}

// read returns the alerts of the time of that length before now.
func (h *historyReader) read(ctx context.Context, now time.Time, length time.Duration) (history, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	began := time.Now()
	if k, ok := h.kept[length]; ok && began.Before(k.until) {
		return k.history, nil
	}
	// Others may wait for this: it goes on when its first reader leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
	defer cancel()
	out, err := readHistory(ctx, h.source, now.Add(-length), now)
	if err != nil {
		return history{}, err
	}
	if h.kept == nil {
		h.kept = map[time.Duration]keptHistory{}
	}
	h.kept[length] = keptHistory{out, time.Now().Add(max(keepHistory, historyShare*time.Since(began)))}
	return out, nil
}

// readHistory reads the alerts that fired between two moments. It reads their
// samples themselves, because a query in steps would miss those shorter than a
// step.
func readHistory(ctx context.Context, source storage.Queryable, from, to time.Time) (out history, err error) {
	first := from.Add(-alertHole) // to tell what fired before from what began then
	q, err := source.Querier(first.UnixMilli(), to.UnixMilli())
	if err != nil {
		return out, err
	}
	defer q.Close() // read only: nothing is lost
	set := q.Select(ctx, false, &storage.SelectHints{Start: first.UnixMilli(), End: to.UnixMilli()},
		labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "ALERTS"),
		labels.MustNewMatcher(labels.MatchEqual, "alertstate", "firing"),
		labels.MustNewMatcher(labels.MatchNotEqual, series.ID, ""),
	)
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		key := alertKey{s.Labels().Get(series.ID), slo.Severity(s.Labels().Get(series.Severity))}
		it = s.Iterator(it)
		if err := visitAlerts(ctx, it, from, to, func(x pastAlert) {
			x.alertKey = key
			out.list = append(out.list, x)
			if len(out.list) >= 2*maxPast {
				out.trim()
			}
		}); err != nil {
			return out, err
		}
	}
	if err := set.Err(); err != nil {
		return out, err
	}
	out.join()
	out.trim()
	return out, nil
}

// visitAlerts visits the times during which the series of an alert has samples.
func visitAlerts(ctx context.Context, it chunkenc.Iterator, from, to time.Time, visit func(pastAlert)) error {
	const checkEvery = 1 << 16 // samples, a millisecond
	var began, last int64 = math.MinInt64, math.MinInt64
	firing := false
	end := func(open bool) {
		if firing && last >= from.UnixMilli() {
			x := pastAlert{began: time.UnixMilli(began), ended: time.UnixMilli(last), open: open}
			if x.began.Before(from) {
				x.began, x.earlier = from, true
			}
			visit(x)
		}
		firing = false
	}
	for n := 0; ; n++ {
		kind := it.Next()
		if kind == chunkenc.ValNone {
			break
		}
		if n%checkEvery == checkEvery-1 && ctx.Err() != nil {
			return fmt.Errorf("reading it takes longer than %s", queryTimeout)
		}
		if kind != chunkenc.ValFloat {
			continue
		}
		t, v := it.At()
		if value.IsStaleNaN(v) {
			end(false)
			continue
		}
		if firing && t-last > alertHole.Milliseconds() {
			end(false)
		}
		if !firing {
			firing, began = true, t
		}
		last = t
	}
	end(to.UnixMilli()-last <= alertHole.Milliseconds())
	return it.Err()
}

// join makes one of alerts that follow one another at once: a configuration that
// changes the labels of an alert makes another series of it.
func (h *history) join() {
	slices.SortFunc(h.list, func(a, b pastAlert) int {
		return cmp.Or(cmp.Compare(a.SLO, b.SLO), cmp.Compare(a.Severity, b.Severity), a.began.Compare(b.began))
	})
	out := h.list[:0]
	for _, x := range h.list {
		if n := len(out); n > 0 && out[n-1].alertKey == x.alertKey && !x.began.After(out[n-1].ended.Add(alertBlink)) {
			last := &out[n-1]
			if x.ended.After(last.ended) {
				last.ended = x.ended
			}
			last.open = last.open || x.open
			continue
		}
		out = append(out, x)
	}
	h.list = out
}

// trim sorts the list, the newest first, and cuts it to what is kept.
func (h *history) trim() {
	slices.SortFunc(h.list, func(a, b pastAlert) int {
		return cmp.Or(b.began.Compare(a.began), cmp.Compare(a.SLO, b.SLO), cmp.Compare(a.Severity, b.Severity))
	})
	if len(h.list) > maxPast {
		h.list, h.cut = h.list[:maxPast], true
	}
}
