package v1

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
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
	// maxHistory is how far back alerts are told: the samples of all of them
	// are read, 17,000 a day for one that always fires.
	maxHistory = 30 * 24 * time.Hour

	// maxPast is the most of them in one answer.
	maxPast = 1000

	// keepHistory is how long a reading of the history serves everybody.
	keepHistory = 10 * time.Second

	// alertHole is how long the series of an alert may lack samples and still
	// be of one alert: a restart of slowburn. An alert that ends says so with a
	// marker.
	alertHole = 5 * time.Minute

	// alertBlink is how soon after its end an alert is taken for the same one
	// when it fires again: three evaluations.
	alertBlink = 15 * time.Second
)

// alerts answers with the alerts that fire, and those that did.
func (a *api) alerts(w http.ResponseWriter, r *http.Request) error {
	length, err := duration(r, "history", 0, time.Minute, maxHistory)
	if err != nil {
		return err
	}
	p := a.look(r.Context())
	out := Alerts{At: moment(p.at), Firing: []Firing{}}
	for _, x := range p.alerts {
		out.Firing = append(out.Firing, Firing{
			Of: p.of(x.SLO), Severity: x.Severity, BeganAt: moment(x.Since), Summary: x.Summary,
			SilencedBy: append([]string{}, x.Silences...),
		})
	}
	slices.SortStableFunc(out.Firing, func(x, y Firing) int {
		return cmp.Or(
			cmp.Compare(x.Severity, y.Severity), // page before ticket
			x.BeganAt.Compare(y.BeganAt),
			cmp.Compare(x.SLO, y.SLO),
		)
	})
	if length > 0 {
		past, err := a.history.read(r.Context(), a.opt.Queryable, p.at, length)
		if err != nil {
			return &fault{status: http.StatusServiceUnavailable, message: "the history cannot be read: " + err.Error()}
		}
		out.History = []PastAlert{}
		for _, x := range past {
			if len(out.History) == maxPast {
				out.HistoryTruncated = true
				break
			}
			y := PastAlert{Of: p.of(x.slo), Severity: x.severity}
			if !x.earlier {
				y.BeganAt = moment(x.began)
			}
			if !x.open {
				y.EndedAt = moment(x.ended)
			}
			out.History = append(out.History, y)
		}
	}
	return answer(w, http.StatusOK, out)
}

// of says what an alert of an SLO is about.
func (p *reading) of(id string) Of {
	out := Of{SLO: id}
	if s, ok := p.slos[id]; ok {
		out.Service, out.Flow, out.Objective = s.Flow.Service, s.Flow.Name, s.Objective.Sentence()
	}
	return out
}

// pastAlert is a time during which an alert fired.
type pastAlert struct {
	slo          string
	severity     slo.Severity
	began, ended time.Time // ended: when it last fired
	earlier      bool      // it fired already when the time looked at began
	open         bool      // nothing says that it has ended
}

// historyReader reads when alerts fired, at most once in keepHistory for each
// length. It is safe for concurrent use.
type historyReader struct {
	mu   sync.Mutex // held while the store is read: the others wait for that reading
	kept map[time.Duration]keptHistory
}

type keptHistory struct {
	at   time.Time
	list []pastAlert
}

// read returns the alerts of the time of that length before now, the newest
// first.
func (h *historyReader) read(ctx context.Context, source storage.Queryable, now time.Time, length time.Duration) ([]pastAlert, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l, k := range h.kept {
		if now.Sub(k.at) >= keepHistory {
			delete(h.kept, l) // lengths are the client's to choose
		}
	}
	if k, ok := h.kept[length]; ok {
		return k.list, nil
	}
	// Others may wait for this: it goes on when its first reader leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
	defer cancel()
	list, err := readHistory(ctx, source, now.Add(-length), now)
	if err != nil {
		return nil, err
	}
	if h.kept == nil {
		h.kept = map[time.Duration]keptHistory{}
	}
	h.kept[length] = keptHistory{now, list}
	return list, nil
}

// readHistory reads the alerts that fired between two moments, the newest
// first. It reads the samples that the rule manager writes themselves, because
// a query in steps would miss the alerts that are shorter than a step.
func readHistory(ctx context.Context, source storage.Queryable, from, to time.Time) ([]pastAlert, error) {
	first := from.Add(-alertHole) // to tell what fired before from what began then
	q, err := source.Querier(first.UnixMilli(), to.UnixMilli())
	if err != nil {
		return nil, err
	}
	defer q.Close() // read only: nothing is lost
	set := q.Select(ctx, false, &storage.SelectHints{Start: first.UnixMilli(), End: to.UnixMilli()},
		labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "ALERTS"),
		labels.MustNewMatcher(labels.MatchEqual, "alertstate", "firing"),
		labels.MustNewMatcher(labels.MatchNotEqual, series.ID, ""),
	)
	var list []pastAlert
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		it = s.Iterator(it)
		x := pastAlert{slo: s.Labels().Get(series.ID), severity: slo.Severity(s.Labels().Get(series.Severity))}
		if list, err = appendFirings(ctx, list, x, it, from, to); err != nil {
			return nil, err
		}
	}
	if err := set.Err(); err != nil {
		return nil, err
	}
	return join(list), nil
}

// appendFirings appends the times during which the series of alert x has
// samples.
func appendFirings(ctx context.Context, list []pastAlert, x pastAlert, it chunkenc.Iterator, from, to time.Time) ([]pastAlert, error) {
	const checkEvery = 1 << 16 // samples, a millisecond
	var began, last int64 = math.MinInt64, math.MinInt64
	firing := false
	end := func(open bool) {
		if firing && last >= from.UnixMilli() {
			x.began, x.ended, x.open = time.UnixMilli(began), time.UnixMilli(last), open
			x.earlier = x.began.Before(from)
			list = append(list, x)
		}
		firing = false
	}
	for n := 1; ; n++ {
		kind := it.Next()
		if kind == chunkenc.ValNone {
			break
		}
		if n%checkEvery == 0 && ctx.Err() != nil {
			return nil, fmt.Errorf("it takes longer than %s", queryTimeout)
		}
		if kind != chunkenc.ValFloat {
			continue
		}
		t, v := it.At()
		switch {
		case value.IsStaleNaN(v):
			end(false)
			continue
		case firing && t-last > alertHole.Milliseconds():
			end(false)
		}
		if !firing {
			firing, began = true, t
		}
		last = t
	}
	end(to.UnixMilli()-last <= alertHole.Milliseconds())
	return list, it.Err()
}

// join makes one of alerts that follow one another at once, for a configuration
// that changes the labels of an alert makes another series of it, and returns
// them with the newest first.
func join(list []pastAlert) []pastAlert {
	slices.SortFunc(list, func(x, y pastAlert) int {
		return cmp.Or(cmp.Compare(x.slo, y.slo), cmp.Compare(x.severity, y.severity), x.began.Compare(y.began))
	})
	out := list[:0]
	for _, x := range list {
		if n := len(out); n > 0 && out[n-1].slo == x.slo && out[n-1].severity == x.severity && !x.began.After(out[n-1].ended.Add(alertBlink)) {
			last := &out[n-1]
			if x.ended.After(last.ended) {
				last.ended, last.open = x.ended, x.open
			}
			continue
		}
		out = append(out, x)
	}
	slices.SortStableFunc(out, func(x, y pastAlert) int { return y.began.Compare(x.began) })
	return out
}
