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
	"github.com/slowburn-slo/slowburn/slo/judge"
	"github.com/slowburn-slo/slowburn/slo/ledger"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// book is the ledger and the series that the collector writes of it: two
// counters, eight ratios and seven more for each SLO, and two while it alerts.
// It learns of every request when it happens: no scrape and no restart lies
// between.
type book struct {
	ids    []identity
	slos   []slo.SLO
	ledger *ledger.Ledger
	judges []*judge.Judge // by SLO
	out    []*account     // as well
}

// account are the series of an SLO.
type account struct {
	counters []*one
	ratios   []*one  // as the SLO's windows
	alerts   [2]*one // the burn rates that page and make a ticket
	moving   []*one  // burn rates and the budget that is left
	steady   []*one  // what follows from the configuration

	steadied time.Time // when steady was written
}

type one struct {
	labels labels.Labels
	ref    storage.SeriesRef
	live   bool // the newest sample is a value
}

// steady is how often the collector writes what does not change.
const steady = 2 * time.Minute

func newBook(ids []identity) *book {
	b := &book{ids: ids, slos: slo.All(flows(ids, true, false)), ledger: ledger.New(began)}
	for _, s := range b.slos {
		base, a := series.SLO(s), &account{}
		of := func(metric string, pairs ...string) *one { return &one{labels: series.Of(base, metric, pairs...)} }
		a.counters = []*one{of(series.Events), of(series.Errors)}
		for _, w := range s.Objective.Windows() {
			a.ratios = append(a.ratios, of(series.ErrorRatio(w), series.Window, series.WindowName(w)))
		}
		a.alerts = [2]*one{of(series.PageBurnRate), of(series.TicketBurnRate)}
		a.moving = []*one{of(series.CurrentBurnRate), of(series.PeriodBurnRate), of(series.BudgetRemaining)}
		a.steady = []*one{of(series.Objective), of(series.ErrorBudget), of(series.PeriodDays), {labels: series.InfoLabels(s, "bench")}}
		b.judges = append(b.judges, judge.New(s))
		b.out = append(b.out, a)
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
	for _, a := range b.out {
		for _, list := range [][]*one{a.counters, a.ratios, a.alerts[:], a.moving, a.steady} {
			for _, s := range list {
				if s != nil {
					s.ref = 0
				}
			}
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
		o, a := b.slos[k].Objective, b.out[k]
		put := func(s *one, v float64, has bool) {
			if !has {
				if !s.live {
					return
				}
				v = math.Float64frombits(value.StaleNaN)
			}
			out.put(&s.ref, s.labels, at, v)
			s.live = has
		}
		put(a.counters[0], float64(state.Events), true)
		put(a.counters[1], float64(state.Errors), true)
		verdict := b.judges[k].Step(at, state, 0)
		if !all {
			continue
		}
		put(a.alerts[0], verdict.Page.Burn, verdict.Page.Firing)
		put(a.alerts[1], verdict.Ticket.Burn, verdict.Ticket.Firing)
		for i, w := range state.Windows {
			ratio, has := w.Ratio()
			put(a.ratios[i], ratio, has)
		}
		now, has := state.Windows[0].Ratio()
		put(a.moving[0], slo.BurnRate(now, o.Target), has)
		period, has := state.Period().Ratio()
		put(a.moving[1], slo.BurnRate(period, o.Target), has)
		put(a.moving[2], slo.BudgetLeft(period, o.Target), has)
		if at.Sub(a.steadied) >= steady {
			for i, v := range []float64{o.Target, o.Budget(), o.Window.Hours() / 24, 1} {
				put(a.steady[i], v, true)
			}
			a.steadied = at
		}
	}
	if out.err != nil {
		return out.err
	}
	return out.app.Commit()
}
