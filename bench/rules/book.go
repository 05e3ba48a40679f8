package main

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/ledger"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// book is the ledger and the series that the collector writes of it: two
// counters, eight ratios and seven more for each SLO. It learns of every
// request when it happens: no scrape and no restart lies between.
type book struct {
	ids    []identity
	slos   []slo.SLO
	ledger *ledger.Ledger
	out    [][]one // by SLO
}

type one struct {
	labels labels.Labels
	ref    storage.SeriesRef
}

func newBook(ids []identity) *book {
	b := &book{ids: ids, slos: slo.All(flows(ids, true, false)), ledger: ledger.New(began)}
	for _, s := range b.slos {
		base := series.SLO(s)
		list := []one{{labels: series.Of(base, series.Events)}, {labels: series.Of(base, series.Errors)}}
		for _, w := range s.Objective.Windows() {
			list = append(list, one{labels: series.Of(base, series.ErrorRatio(w), series.Window, series.WindowName(w))})
		}
		for _, name := range []string{
			series.Objective, series.ErrorBudget, series.PeriodDays, series.CurrentBurnRate, series.PeriodBurnRate, series.BudgetRemaining,
		} {
			list = append(list, one{labels: series.Of(base, name)})
		}
		b.out = append(b.out, append(list, one{labels: series.InfoLabels(s, "bench")}))
	}
	return b
}

// add counts what happened in the 30 s before a scrape. An SLO is defined when
// its service begins.
func (b *book) add(i int) {
	at := began.Add(time.Duration(i) * scrape)
	var defs []ledger.Def
	var entries []ledger.Entry
	anew := i == 0
	for k, id := range b.ids {
		from := int(id.history.from / scrape)
		if i >= from {
			defs = append(defs, ledger.Def{ID: b.slos[k].ID(), Windows: b.slos[k].Objective.Windows()})
			bad := uint64(id.bad()[i])
			entries = append(entries, ledger.Entry{ID: b.slos[k].ID(), Good: uint64(id.history.total[i]) - bad, Bad: bad})
		}
		anew = anew || i == from
	}
	if anew {
		b.ledger.Define(defs)
	}
	b.ledger.Add(at, entries)
}

// forget lets go of the storage that was written to, for another.
func (b *book) forget() {
	for _, list := range b.out {
		for i := range list {
			list[i].ref = 0
		}
	}
}

// write writes the series at a scrape: all of them, or the counters alone.
func (b *book) write(ctx context.Context, db *tsdb.DB, i int, all bool) error {
	at := began.Add(time.Duration(i) * scrape)
	out := writer{app: db.Appender(ctx)}
	for k := range b.slos {
		state, ok := b.ledger.State(b.slos[k].ID())
		if !ok {
			continue
		}
		o, list := b.slos[k].Objective, b.out[k]
		next := 0
		put := func(v float64) {
			out.put(&list[next].ref, list[next].labels, at, v)
			next++
		}
		put(float64(state.Events))
		put(float64(state.Errors))
		if !all {
			continue
		}
		ratio := func(w ledger.Window) float64 {
			r, ok := w.Ratio()
			if !ok {
				return math.Float64frombits(value.StaleNaN)
			}
			return r
		}
		for _, w := range state.Windows {
			put(ratio(w))
		}
		now, whole := ratio(state.Windows[0]), ratio(state.Period())
		put(o.Target)
		put(o.Budget())
		put(o.Window.Hours() / 24)
		for _, v := range []float64{slo.BurnRate(now, o.Target), slo.BurnRate(whole, o.Target), slo.BudgetLeft(whole, o.Target)} {
			if math.IsNaN(v) {
				v = math.Float64frombits(value.StaleNaN)
			}
			put(v)
		}
		put(1)
	}
	if out.err != nil {
		return out.err
	}
	return out.app.Commit()
}
