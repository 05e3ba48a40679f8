// Package collector takes spans off the wire and turns them into counts: it
// decodes, matches, aggregates, keeps the ledger and writes the recorded
// series.
package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/storage"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/slowburn-slo/slowburn/collector/aggr"
	"github.com/slowburn-slo/slowburn/collector/match"
	"github.com/slowburn-slo/slowburn/collector/otlp"
	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/collector/where"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

const (
	// DefaultFlush is how often counts reach the ledger and the store. A page
	// for a total outage is due 51.8 s after it began; two seconds here and
	// five in the evaluator keep it within 60.
	DefaultFlush = 2 * time.Second

	// slow is how often the series of the long windows, and those that hardly
	// change, are written.
	slow = 10 * time.Second

	// snapshots is how often the whole ledger is written; in between, its
	// journal grows by some hundred bytes a flush.
	snapshots = 5 * time.Minute

	// lateness is how long ago a span may have ended: queues and retries of
	// real senders deliver within seconds, and one that is older would be
	// counted in minutes it does not belong to.
	lateness = 10 * time.Minute

	// skew is how far a sender's clock may be ahead.
	skew = 30 * time.Second

	// lookback is less than the five minutes after which a query no longer
	// sees a sample.
	lookback = 4 * time.Minute

	// maxBridge is how much downtime is bridged at most: the store's retention
	// unless it is told otherwise.
	maxBridge = store.DefaultRetention
)

// Options configure a Pipeline.
type Options struct {
	Flows   []slo.Flow
	Dir     string             // of the ledger's files
	Store   storage.Appendable // where series go
	Version string             // shown in sloth_slo_info

	Flush     time.Duration // 0: DefaultFlush; at least 100 ms
	MaxSpans  int           // a request may hold; 0: the decoder's default
	MaxSeries int           // of flows and by values; 0: aggr.DefaultMaxSeries
	MaxWhere  int           // bytes for Culprits; 0: where.DefaultMaxBytes

	Logger *slog.Logger // nil: none
	Meter  metric.Meter // nil: none
}

// Pipeline is a span's way from the wire to the store. Traces and Apply may be
// called from several goroutines, before Run, while it runs, and after.
type Pipeline struct {
	opts      Options
	logger    *slog.Logger
	telemetry *telemetry
	aggr      *aggr.Aggregator

	// mu lets requests run side by side, each with one plan from begin to end,
	// and Apply alone.
	mu   sync.RWMutex
	plan *plan

	pending  *tallies // events of Count that no flush has taken yet
	arrivals *arrivals
	samples  *samples
	where    *where.Finder

	// flushing guards what a flush works with.
	flushing sync.Mutex
	ledger   *ledger.Ledger
	bench    bench
	journal  *journal
	recorder *recorder
	entries  []ledger.Entry
	last     int64 // ms; of the newest samples
	written  int64 // ms; when all series were written
	saved    time.Time
	closed   bool

	flushed atomic.Pointer[flushState]
}

type flushState struct {
	at  time.Time
	err error
}

// New restores the ledger and prepares the way; it starts nothing. Counters are
// written flat over the time since the last flush of the process before.
func New(o Options) (*Pipeline, error) {
	o.Flush = cmp.Or(o.Flush, DefaultFlush)
	if o.Flush < 100*time.Millisecond {
		return nil, fmt.Errorf("collector: flush interval is %v; want at least 100ms", o.Flush)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Meter == nil {
		o.Meter = noop.Meter{}
	}
	a, err := aggr.New(aggr.Options{MaxSeries: o.MaxSeries})
	if err != nil {
		return nil, err
	}
	finder, err := where.New(where.Options{MaxBytes: o.MaxWhere})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	p := &Pipeline{where: finder, opts: o, logger: o.Logger, aggr: a, pending: &tallies{}, arrivals: newArrivals(), samples: &samples{}}
	p.flushed.Store(&flushState{at: now})
	if p.telemetry, err = newTelemetry(o.Meter, p); err != nil {
		return nil, err
	}
	if p.journal, p.ledger, err = openJournal(o.Dir, now, o.Logger); err != nil {
		return nil, err
	}
	if err := p.arrivals.load(p.journal, now); err != nil {
		return nil, errors.Join(err, p.journal.close())
	}
	until := p.ledger.Now() // of the process before
	p.last = until.UnixMilli()
	next, err := p.newPlan(o.Flows)
	if err != nil {
		return nil, errors.Join(err, p.journal.close())
	}
	past, err := loadVerdicts(p.journal)
	if err != nil {
		return nil, errors.Join(err, p.journal.close())
	}
	p.ledger.Advance(now)
	p.install(o.Flows, next)
	p.bench.seat(o.Flows, past, until)
	if err := p.save(now); err != nil {
		return nil, errors.Join(err, p.journal.close())
	}
	if err := p.bridge(until, now); err != nil {
		return nil, errors.Join(err, p.journal.close())
	}
	return p, nil
}

// plan is what the flows in force compile to.
type plan struct {
	program *match.Program
	ids     []string  // service/name of each flow
	workers sync.Pool // of *worker
}

func (p *Pipeline) newPlan(flows []slo.Flow) (*plan, error) {
	program, err := match.Compile(flows)
	if err != nil {
		return nil, err
	}
	pl := &plan{program: program}
	for i := range flows {
		pl.ids = append(pl.ids, flows[i].Service+"/"+flows[i].Name)
	}
	pl.workers.New = func() any {
		w := &worker{
			matcher:  program.Matcher(),
			decoder:  span.New(program.Keys(), span.Limits{MaxSpans: p.opts.MaxSpans}),
			arrivals: p.arrivals,
			where:    p.where.Batch(),
		}
		w.visit, w.compare = w.observe, w.where.Put
		w.decoder.EachResource(w.enter)
		return w
	}
	return pl, nil
}

// Apply replaces the flows: history of those that stay goes on. Everything that
// can fail is done first, so that after an error the flows are as before.
//
// New SLOs are written down at once; where that cannot be done it is logged, and
// the next flush tries again.
func (p *Pipeline) Apply(flows []slo.Flow) error {
	next, err := p.newPlan(flows)
	if err != nil {
		return err
	}
	p.flushing.Lock()
	defer p.flushing.Unlock()
	now := time.Now()
	p.replace(flows, next, now)
	// Before another flush: its record would be replayed with the flows of the
	// snapshot before.
	if err := p.save(now); err != nil {
		p.journal.pending = true
		p.logger.Error("new flows are in force, but not written down yet", "err", err)
	}
	return nil
}

func (p *Pipeline) replace(flows []slo.Flow, next *plan, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// What the flows that go have counted so far is theirs.
	if err := p.flushLocked(now); err != nil {
		p.logger.Error("flush before new flows", "err", err)
	}
	p.install(flows, next)
}

// install puts flows in force, with no request and no flush under way.
func (p *Pipeline) install(flows []slo.Flow, next *plan) {
	p.aggr.Apply(flows)
	p.pending.apply(flows)
	p.samples.apply(flows)
	p.where.Apply(flows)
	p.bench.apply(flows, p.ledger.Now())
	p.arrivals.apply(next)
	for _, id := range p.ledger.Define(defsOf(flows)) {
		p.logger.Warn("an SLO is counted in another unit than before: its history begins anew", "slo", id)
	}
	p.plan, p.recorder, p.written = next, newRecorder(flows, p.opts.Version), 0
}

// defsOf defines the SLOs of flows to the ledger.
func defsOf(flows []slo.Flow) []ledger.Def {
	slos := slo.All(flows)
	defs := make([]ledger.Def, len(slos))
	for i, s := range slos {
		o := s.Objective
		defs[i] = ledger.Def{
			ID: s.ID(), Windows: o.Windows(), Calendar: o.Calendar, Exclude: s.Flow.Exclude,
			Slice: ledger.Slice{Length: o.Slice, Target: o.SliceTarget},
		}
		if o.Kind == slo.Fresh {
			defs[i].Fresh = o.Threshold
		}
	}
	return defs
}

// Count adds events of an SLO to the next flush: those of an objective that no
// span is counted for. An id that is not of the flows in force is ignored. It
// may be called from several goroutines, as long as Traces may.
func (p *Pipeline) Count(id string, good, bad uint64) { p.pending.add(id, good, bad) }

// tallies hold events by SLO until a flush takes them.
type tallies struct {
	mu    sync.Mutex
	slos  []ledger.Entry
	index map[string]int // by id, into slos
}

// apply replaces the SLOs. What those that stay hold, they keep.
func (t *tallies) apply(flows []slo.Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slos, index := t.slos, t.index
	t.slos, t.index = nil, map[string]int{}
	for _, s := range slo.All(flows) {
		e := ledger.Entry{ID: s.ID()}
		if i, ok := index[e.ID]; ok {
			e = slos[i]
		}
		t.index[e.ID] = len(t.slos)
		t.slos = append(t.slos, e)
	}
}

func (t *tallies) add(id string, good, bad uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.index[id]; ok {
		t.slos[i].Good += good
		t.slos[i].Bad += bad
	}
}

// take appends to dst what was added since it was called last.
func (t *tallies) take(dst []ledger.Entry) []ledger.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.slos {
		if e := &t.slos[i]; e.Good|e.Bad != 0 {
			dst = append(dst, *e)
			e.Good, e.Bad = 0, 0
		}
	}
	return dst
}

// bridge writes the counters of all SLOs, unchanged, from the last flush of the
// process before until now.
func (p *Pipeline) bridge(until, now time.Time) error {
	gap := now.Sub(until)
	if gap > p.opts.Flush {
		p.logger.Info("the ledger goes on where the process before left it; what came in between was not counted",
			"until", until, "gap", gap.Round(time.Millisecond))
		p.telemetry.gap.Store(int64(gap))
	}
	p.flushing.Lock()
	defer p.flushing.Unlock()
	t := max(until.UnixMilli()+1, now.Add(-maxBridge).UnixMilli())
	for {
		app := p.opts.Store.Appender(context.Background())
		var errs []error
		for i := range p.recorder.slos {
			if s, ok := p.ledger.State(p.recorder.slos[i].id); ok {
				errs = append(errs, p.recorder.flat(app, t, i, s))
			}
		}
		// The store may be ahead where the journal could not be written; its
		// own samples are as good.
		err := errors.Join(errs...)
		if err != nil && !errors.Is(err, storage.ErrOutOfOrderSample) && !errors.Is(err, storage.ErrDuplicateSampleForTimestamp) {
			return errors.Join(fmt.Errorf("counters over the time nothing ran: %w", err), app.Rollback())
		}
		if err := app.Commit(); err != nil {
			return fmt.Errorf("counters over the time nothing ran: %w", err)
		}
		p.last = t
		if t >= now.UnixMilli() {
			return nil
		}
		t = min(t+lookback.Milliseconds(), now.UnixMilli())
	}
}

// worker decodes one request at a time.
type worker struct {
	matcher *match.Matcher
	decoder *span.Decoder
	visit   func(*span.Span)

	arrivals *arrivals
	notes    notes

	where   *where.Batch
	compare func(attribute int, text []byte)

	now      uint64 // ns since 1970; when the request arrived
	flows    []int32
	kept     []byte // by values that are not in the request as such
	events   []aggr.Event
	rejected [reasons]int64
}

// Reasons to reject a span, for people.
const (
	tooOld = iota
	inFuture
	backwards
	reasons
)

var why = [reasons]string{
	tooOld:    "ended more than " + slo.Duration(lateness) + " ago",
	inFuture:  "more than " + slo.Duration(skew) + " in the future",
	backwards: "ending before their start",
}

func (w *worker) observe(sp *span.Span) {
	w.flows = w.matcher.Match(sp, w.flows[:0])
	if w.notes.next--; w.notes.next == 0 {
		w.look(sp)
	}
	if len(w.flows) == 0 {
		return
	}
	switch {
	case sp.End < sp.Start:
		w.rejected[backwards]++
		return
	case sp.End < w.now-uint64(lateness):
		w.rejected[tooOld]++
		return
	case sp.End > w.now+uint64(skew):
		w.rejected[inFuture]++
		return
	}
	var trace *[16]byte
	if len(sp.TraceID) == 16 {
		trace = (*[16]byte)(sp.TraceID)
	}
	for _, f := range w.flows {
		var by []byte
		by, w.kept = w.matcher.By(f, sp, w.kept)
		e := aggr.Event{Flow: f, Latency: sp.End - sp.Start, Bad: w.matcher.Bad(f, sp), Trace: trace, By: by}
		w.events = append(w.events, e)
		if w.where.See(f, e.Latency, e.Bad) {
			w.matcher.Compared(f, sp, w.compare)
		}
	}
}

// Traces counts the spans of one ExportTraceServiceRequest. It is an otlp.Sink:
// a request is counted whole or, when an error is returned, not at all, but for
// the spans it says were rejected.
func (p *Pipeline) Traces(body []byte) (otlp.Rejected, error) { return p.traces(body, time.Now()) }

func (p *Pipeline) traces(body []byte, now time.Time) (otlp.Rejected, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	w := p.plan.workers.Get().(*worker)
	defer p.plan.workers.Put(w)
	return p.count(w, body, now)
}

// count is traces with a worker of the plan in force; the caller holds p.mu.
func (p *Pipeline) count(w *worker, body []byte, now time.Time) (otlp.Rejected, error) {
	w.now = uint64(now.UnixNano())
	w.events, w.kept, w.rejected = w.events[:0], w.kept[:0], [reasons]int64{}
	w.notes.begin()
	w.where.Begin(w.now)
	stats, err := w.decoder.Decode(body, w.visit)
	if err != nil {
		return otlp.Rejected{}, err
	}
	p.aggr.Commit(w.events)
	p.where.Commit(w.where)
	p.arrivals.commit(&w.notes, p.plan, stats, now.UnixNano(), &w.rejected)
	// A worker at rest must not keep the request's bytes.
	clear(w.events)
	w.notes.begin()
	p.telemetry.count(stats, len(w.events), &w.rejected)
	return rejection(&w.rejected), nil
}

func rejection(rejected *[reasons]int64) (out otlp.Rejected) {
	for reason, n := range rejected {
		if n == 0 {
			continue
		}
		if out.Spans == 0 {
			out.Why = "spans not counted: "
		} else {
			out.Why += ", "
		}
		out.Spans += n
		out.Why += fmt.Sprintf("%d %s", n, why[reason])
	}
	return out
}

// Run flushes until ctx ends, then once more, and writes the ledger: after a
// clean stop nothing that was accepted is lost. It returns the error of that
// last flush. Run is called once.
func (p *Pipeline) Run(ctx context.Context) error {
	tick := time.NewTicker(p.opts.Flush)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			if err := p.flush(now); err != nil {
				p.logger.Error("flush", "err", err)
			}
		case <-ctx.Done():
			return errors.Join(p.flush(time.Now()), p.Close())
		}
	}
}

// Close writes the ledger and lets go of its files. Run calls it when it ends;
// after that it does nothing.
func (p *Pipeline) Close() error {
	p.flushing.Lock()
	defer p.flushing.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	return errors.Join(p.save(time.Now()), p.journal.close())
}

// LastFlush returns when counts last reached the store, and the error of the
// newest flush, if it failed.
func (p *Pipeline) LastFlush() (time.Time, error) {
	s := p.flushed.Load()
	return s.at, s.err
}

// Ledger returns the account of all SLOs, for reading.
func (p *Pipeline) Ledger() *ledger.Ledger { return p.ledger }

func (p *Pipeline) flush(now time.Time) error {
	p.flushing.Lock()
	defer p.flushing.Unlock()
	return p.flushLocked(now)
}

// flushLocked moves what was counted since the last flush to the ledger, its
// journal and the store, in this order: a counter in the store is never ahead
// of the ledger. Whatever fails, the counts stay in the ledger's memory and
// reach the disk with the next snapshot.
func (p *Pipeline) flushLocked(now time.Time) (err error) {
	began := time.Now()
	defer func() {
		state := &flushState{at: now, err: err}
		if err != nil {
			state.at = p.flushed.Load().at
		}
		p.flushed.Store(state)
		p.telemetry.flushed(time.Since(began), err)
	}()

	// Samples of a series go forward in time, whatever the clock does.
	t := max(now.UnixMilli(), p.last+1)
	all := t-p.written >= slow.Milliseconds()

	app := p.opts.Store.Appender(context.Background())
	var errs []error
	p.entries = p.entries[:0]
	p.aggr.Flush(func(d aggr.FlowDelta) {
		p.entries = appendEntries(p.entries, d)
		p.samples.add(d.Flow, &d.Samples, now)
		p.recorder.sample(t, d)
		if all && d.Flow.Counted() {
			errs = append(errs, p.recorder.flow(app, t, d))
		}
	})
	if all {
		errs = append(errs, p.recorder.exemplars(app), p.recorder.deploys(app, t, p.arrivals))
	}
	errs = append(errs, p.arrivals.save(p.opts.Dir))
	p.entries = p.pending.take(p.entries)
	at := time.UnixMilli(t)
	errs = append(errs, p.journal.record(at, p.entries))
	p.ledger.Add(at, p.entries)
	for i := range p.recorder.slos {
		if s, ok := p.ledger.State(p.recorder.slos[i].id); ok {
			v := p.bench.judge(i, at, p.ledger, s)
			errs = append(errs, p.recorder.slo(app, t, i, s, all), p.recorder.verdict(app, t, i, v))
		}
	}
	p.bench.watch(at, p.ledger)
	if all {
		errs = append(errs, p.recorder.traffic(app, t, &p.bench))
	}
	if p.bench.unsaved { // before anybody can be told
		errs = append(errs, p.bench.save(p.opts.Dir))
	}
	if err := app.Commit(); err != nil {
		errs = append(errs, fmt.Errorf("store: %w", err))
	} else {
		p.last = t
		if all {
			p.written = t
		}
	}
	if now.Sub(p.saved) >= snapshots || p.journal.pending {
		errs = append(errs, p.save(now))
	}
	return errors.Join(errs...)
}

func (p *Pipeline) save(now time.Time) error {
	if err := errors.Join(p.journal.snapshot(p.ledger), p.bench.save(p.opts.Dir)); err != nil {
		return err
	}
	p.saved = now
	return nil
}
