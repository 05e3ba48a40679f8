package collector

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/collector/aggr"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

// History describes time past that is to be written as if it had been counted
// live: for demos and tests.
type History struct {
	Flows    []slo.Flow
	Dir      string // of the ledger's files, which must not exist yet
	Version  string
	From, To time.Time

	// Step returns how long the next stretch from t is; series get one sample
	// a stretch.
	Step func(t time.Time) time.Duration

	// Events returns the requests of one stretch.
	Events func(from, to time.Time) []aggr.Event

	Logger *slog.Logger
}

// Write writes the ledger into h.Dir and the series to app, through the same
// aggregation, ledger and recorder as a live Pipeline, which goes on from
// there.
func (h History) Write(app storage.Appender) error {
	counts, err := aggr.New(aggr.Options{})
	if err != nil {
		return err
	}
	counts.Apply(h.Flows)
	logger := h.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	j, l, err := openJournal(h.Dir, h.From, logger)
	if err != nil {
		return err
	}
	if !l.Now().Equal(time.UnixMilli(h.From.UnixMilli())) {
		return errors.Join(fmt.Errorf("ledger directory %s: holds an account already; want none", h.Dir), j.close())
	}
	l.Define(defsOf(h.Flows))
	rec := newRecorder(h.Flows, h.Version)

	var errs []error
	var entries []ledger.Entry
	for t := h.From; t.Before(h.To) && len(errs) == 0; {
		to := t.Add(h.Step(t))
		if to.After(h.To) {
			to = h.To
		}
		counts.Commit(h.Events(t, to))
		ms := to.UnixMilli()
		entries = entries[:0]
		counts.Flush(func(d aggr.FlowDelta) {
			entries = appendEntries(entries, d)
			if !d.Flow.Counted() {
				return
			}
			if err := rec.flow(app, ms, d); err != nil {
				errs = append(errs, err)
			}
		})
		l.Add(to, entries)
		for i := range rec.slos {
			if s, ok := l.State(rec.slos[i].id); ok {
				if err := rec.slo(app, ms, i, s, true); err != nil {
					errs = append(errs, err)
				}
			}
		}
		t = to
	}
	return errors.Join(append(errs, j.snapshot(l), j.close())...)
}

// appendEntries adds what a flow's SLOs counted of its spans since the last
// flush.
func appendEntries(dst []ledger.Entry, d aggr.FlowDelta) []ledger.Entry {
	for i, s := range d.Flow.SLOs() {
		if s.Objective.Kind == slo.PromQL {
			continue
		}
		dst = append(dst, ledger.Entry{ID: s.ID(), Good: d.SLOs[i].Good, Bad: d.SLOs[i].Bad})
	}
	return dst
}
