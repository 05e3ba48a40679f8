package read

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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

// AlertKey identifies an alert of ours.
type AlertKey struct {
	SLO      string
	Severity slo.Severity
}

// PastAlert is a time during which an alert fired.
type PastAlert struct {
	AlertKey
	Began, Ended time.Time // Ended: when it last fired
	Earlier      bool      // it fired already when the time looked at began
	Open         bool      // nothing says that it has ended
}

// Past is the alerts of a time, the newest first.
type Past struct {
	List []PastAlert
	Cut  bool // there were more, older than those
}

// History reads when alerts fired from the series that the rule manager
// writes. It may be used from several goroutines.
type History struct {
	Source storage.Queryable

	mu   sync.Mutex // held while the store is read: the others wait for that reading
	kept map[time.Duration]keptHistory
}

type keptHistory struct {
	Past
	until time.Time
}

// Read returns the alerts of the time of that length before now, which nobody
// changes.
func (h *History) Read(ctx context.Context, now time.Time, length time.Duration) (Past, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	began := time.Now()
	maps.DeleteFunc(h.kept, func(_ time.Duration, k keptHistory) bool { return !began.Before(k.until) })
	if k, ok := h.kept[length]; ok {
		return k.Past, nil
	}
	// Others may wait for this: it goes on when its first reader leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Timeout)
	defer cancel()
	out, err := readHistory(ctx, h.Source, now.Add(-length), now)
	if err != nil {
		return Past{}, err
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
func readHistory(ctx context.Context, source storage.Queryable, from, to time.Time) (out Past, err error) {
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
		key := AlertKey{s.Labels().Get(series.ID), slo.Severity(s.Labels().Get(series.Severity))}
		it = s.Iterator(it)
		if err := visitAlerts(ctx, it, from, to, func(x PastAlert) {
			x.AlertKey = key
			out.List = append(out.List, x)
			if len(out.List) >= 2*maxPast {
				out.Trim()
			}
		}); err != nil {
			return out, err
		}
	}
	if err := set.Err(); err != nil {
		return out, err
	}
	out.join()
	out.Trim()
	return out, nil
}

// visitAlerts visits the times during which the series of an alert has samples.
func visitAlerts(ctx context.Context, it chunkenc.Iterator, from, to time.Time, visit func(PastAlert)) error {
	const checkEvery = 1 << 16 // samples, a millisecond
	var began, last int64 = math.MinInt64, math.MinInt64
	firing := false
	end := func(open bool) {
		if firing && last >= from.UnixMilli() {
			x := PastAlert{Began: time.UnixMilli(began), Ended: time.UnixMilli(last), Open: open}
			if x.Began.Before(from) {
				x.Began, x.Earlier = from, true
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
			return fmt.Errorf("reading it takes longer than %s", Timeout)
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
func (p *Past) join() {
	slices.SortFunc(p.List, func(a, b PastAlert) int {
		return cmp.Or(cmp.Compare(a.SLO, b.SLO), cmp.Compare(a.Severity, b.Severity), a.Began.Compare(b.Began))
	})
	out := p.List[:0]
	for _, x := range p.List {
		if n := len(out); n > 0 && out[n-1].AlertKey == x.AlertKey && !x.Began.After(out[n-1].Ended.Add(alertBlink)) {
			last := &out[n-1]
			if x.Ended.After(last.Ended) {
				last.Ended = x.Ended
			}
			last.Open = last.Open || x.Open
			continue
		}
		out = append(out, x)
	}
	p.List = out
}

// Trim sorts the list, the newest first, and cuts it to what is kept.
func (p *Past) Trim() {
	slices.SortFunc(p.List, func(a, b PastAlert) int {
		return cmp.Or(b.Began.Compare(a.Began), cmp.Compare(a.SLO, b.SLO), cmp.Compare(a.Severity, b.Severity))
	})
	if len(p.List) > maxPast {
		p.List, p.Cut = p.List[:maxPast], true
	}
}
