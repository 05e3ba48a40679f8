// Package aggr counts the events of flows: exact totals of good and bad, exact
// counts over each latency objective's threshold, and native latency
// histograms.
//
// Commit is the hot path. It counts a whole request's events under one lock,
// without allocating once the series exist. Counts lie in shards of which
// Commit takes the first free one, so a quiet process needs the memory of one
// shard and a busy one has no queue. Flush brings them together.
package aggr

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/histogram"

	"github.com/slowburn-slo/slowburn/slo"
)

// DefaultMaxSeries is how many series are kept unless Options says otherwise:
// at some 4 KB each, with latencies over eight octaves and two busy shards, 40 MB.
const DefaultMaxSeries = 10_000

// Options configures an Aggregator. The zero Options are the defaults.
type Options struct {
	// MaxSeries bounds flows and by values together. Flows are always
	// counted, as they are promises; by values that would not fit are counted
	// under slo.Overflow. 0 means DefaultMaxSeries.
	MaxSeries int

	// Shards is how many goroutines can count at the same time. 0 means
	// GOMAXPROCS.
	Shards int
}

// Event is one request of a flow, or several alike.
type Event struct {
	Flow    int32  // index into the flows that were applied last
	Weight  uint32 // how many requests it stands for; 0 counts as 1
	Latency uint64 // nanoseconds
	Bad     bool   // the request failed

	// Trace is the id of the request's trace, nil or zero when it is not known.
	// It is not kept, except in a Sample.
	Trace *[16]byte

	// By is the value of the flow's by attribute, nil when the request has
	// none, which counts as the value "". It is not kept, may be of any
	// length, and need not be UTF-8.
	By []byte
}

// Tally counts good and bad events.
type Tally struct{ Good, Bad uint64 }

// Events returns the number of all events.
func (t Tally) Events() uint64 { return t.Good + t.Bad }

func (t *Tally) add(u Tally) {
	t.Good += u.Good
	t.Bad += u.Bad
}

// Counts are the counts of a flow or of one of its by values.
type Counts struct {
	Total Tally // since the flow was first applied
	New   Tally // of these, since the last flush

	// SLOs holds, for each objective of the flow in order, the events since
	// the last flush that kept it and that broke it. For slo.Succeed these are
	// those of New; for slo.FasterThan an event is bad when it took longer
	// than the threshold, whether it failed or not.
	SLOs []Tally

	series *series
}

// Histogram returns the latencies of all events in Total, in seconds, as a
// native histogram of schema 5. Each call makes a new one, which the caller may
// keep and change, as an appender does.
func (c *Counts) Histogram() *histogram.Histogram { return c.series.latencies.native() }

// ValueCounts are the counts of one by value of a flow.
type ValueCounts struct {
	Value string // valid UTF-8 of at most 256 bytes, or slo.Overflow
	Counts
}

// Sample is a request whose trace is worth a look.
type Sample struct {
	Trace   [16]byte // zero: there is no such request
	Latency uint64   // nanoseconds
	Bad     bool
	Value   string // as in ValueCounts; empty when the flow is not split
}

// Known reports whether there is such a request.
func (s *Sample) Known() bool { return s.Trace != [16]byte{} }

// Samples are requests of a flow since the last flush. They may be one and the
// same.
type Samples struct {
	Slowest Sample
	Bad     Sample // a failed one
	Good    Sample // any other
}

// FlowDelta is what Flush tells of a flow. It is valid until visit returns.
type FlowDelta struct {
	Index int // of the flow among those applied
	Flow  *slo.Flow
	Counts

	// Values splits the counts of a flow with By, in the order the values
	// were first seen, slo.Overflow last if it was needed. Their sum is the
	// flow's count, always.
	Values []ValueCounts

	Samples Samples
}

// Aggregator counts events. Its methods may be called from several goroutines;
// see Apply for the one thing to know.
type Aggregator struct {
	maxSeries int
	shards    []*shard

	mu     sync.Mutex // held by Flush and Apply; taken before a shard's
	flows  []*flow
	values []ValueCounts // scratch of Flush

	room room
}

// room is how many more by values may be kept apart.
type room struct {
	mu   sync.Mutex // guards flow.kept and flow.known of all flows too; taken last
	left int
}

// flow is one applied flow.
type flow struct {
	*slo.Flow
	limits []uint64 // nanoseconds, for each objective; 0 when it is slo.Succeed

	total   *series
	samples Samples // since the last flush
	rest    *series // total when the flow is not split, else what overflows

	room  *room
	kept  []*series          // by value, in the order they were first seen
	known map[string]*series // kept, and rest as slo.Overflow
}

func newFlow(f *slo.Flow, r *room) *flow {
	out := &flow{Flow: f, limits: make([]uint64, len(f.Objectives)), total: newSeries(f, ""), room: r}
	for i, o := range f.Objectives {
		if o.Kind == slo.FasterThan {
			out.limits[i] = uint64(o.Threshold)
		}
	}
	out.rest = out.total
	if f.By != "" {
		out.rest = newSeries(f, slo.Overflow)
		out.known = map[string]*series{slo.Overflow: out.rest}
	}
	return out
}

// keep returns the series of a by value, which is f.rest when there is no room
// for a new one. known are values the caller may now ask for, that one among
// them; full says that they are all there will ever be.
func (f *flow) keep(value []byte) (known []*series, to *series, full bool) {
	f.room.mu.Lock()
	defer f.room.mu.Unlock()
	to = f.known[string(value)]
	if to == nil {
		to = f.admit(string(value))
	}
	if f.full() {
		return f.kept, to, true
	}
	if to == f.rest {
		return nil, to, false
	}
	return []*series{to}, to, false
}

// admit makes a series for a value not known yet, or returns f.rest when there
// is no room. The caller holds f.room.mu.
func (f *flow) admit(value string) *series {
	if f.full() {
		return f.rest
	}
	s := newSeries(f.Flow, value)
	f.kept = append(f.kept, s)
	f.known[value] = s
	f.room.left--
	return s
}

func (f *flow) full() bool {
	limit := f.ByLimit
	if limit <= 0 {
		limit = slo.DefaultByLimit
	}
	return len(f.kept) >= limit || f.room.left <= 0
}

// New returns an Aggregator without flows.
func New(o Options) (*Aggregator, error) {
	if o.MaxSeries < 0 {
		return nil, fmt.Errorf("aggr: max series is %d; want 0 for the default of %d, or more", o.MaxSeries, DefaultMaxSeries)
	}
	if o.Shards < 0 {
		return nil, fmt.Errorf("aggr: shards is %d; want 0 for one per CPU, or more", o.Shards)
	}
	a := &Aggregator{
		maxSeries: cmp.Or(o.MaxSeries, DefaultMaxSeries),
		shards:    make([]*shard, cmp.Or(o.Shards, runtime.GOMAXPROCS(0))),
	}
	for i := range a.shards {
		a.shards[i] = &shard{}
	}
	return a, nil
}

// Apply replaces the flows. A flow that was there before, by service and name,
// goes on with its totals and with what was not flushed yet, and so does each of
// its objectives, by name. Where the by attribute changes or its limit shrinks,
// former values that are no longer kept apart move to slo.Overflow. Flows that
// are gone lose what was not flushed.
//
// Apply may be called while Commit runs, but an event's index means a flow of
// the table in force when Commit counts it: the caller must not let an index
// of former flows come after Apply.
func (a *Aggregator) Apply(flows []slo.Flow) {
	flows = slices.Clone(flows)

	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.shards {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drain()
	}
	a.room.mu.Lock()
	defer a.room.mu.Unlock()

	type identity struct{ service, name string }
	former := make(map[identity]*flow, len(a.flows))
	for _, f := range a.flows {
		former[identity{f.Service, f.Name}] = f
	}
	a.flows = make([]*flow, len(flows))
	a.room.left = a.maxSeries
	for i := range flows {
		a.flows[i] = newFlow(&flows[i], &a.room)
		a.room.left--
		if flows[i].By != "" {
			a.room.left-- // what overflows
		}
	}
	for _, f := range a.flows {
		if was := former[identity{f.Service, f.Name}]; was != nil {
			f.inherit(was)
		}
	}
	for _, s := range a.shards {
		s.places = make([]place, len(a.flows))
		for i, f := range a.flows {
			s.places[i].flow = f
			if f.By != "" {
				s.places[i].values = make(map[string]*cell)
			}
		}
	}
}

// inherit takes over the counts of the same flow as it was before.
func (f *flow) inherit(was *flow) {
	from := make([]int, len(f.Objectives))
	for i, o := range f.Objectives {
		from[i] = slices.IndexFunc(was.Objectives, func(p slo.Objective) bool { return p.Name == o.Name })
	}
	f.total.merge(was.total, from)
	switch f.By {
	case "":
	case was.By:
		for _, v := range was.kept {
			f.admit(v.value).merge(v, from)
		}
		f.rest.merge(was.rest, from)
	default:
		f.rest.merge(was.total, from)
	}
}

// Commit counts events. It allocates only for series it has not seen before.
// An event whose index is of no flow is not counted.
func (a *Aggregator) Commit(events []Event) {
	s := a.lock()
	defer s.mu.Unlock()
	s.commit(events)
}

// lock returns a shard, locked: the first that is free.
func (a *Aggregator) lock() *shard {
	for _, s := range a.shards {
		if s.mu.TryLock() {
			return s
		}
	}
	s := a.shards[rand.IntN(len(a.shards))]
	s.mu.Lock()
	return s
}

// Flush gathers the counts of all shards and tells of every flow, in order,
// whether it had events or not. visit may call Commit, but neither Flush nor
// Apply. Commits that return before Flush is called are told of, those that run
// meanwhile now or by the next Flush.
func (a *Aggregator) Flush(visit func(FlowDelta)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.shards {
		s.mu.Lock()
		s.drain()
		s.mu.Unlock()
	}
	for i, f := range a.flows {
		visit(FlowDelta{Index: i, Flow: f.Flow, Counts: f.total.counts(), Values: a.split(f), Samples: f.samples})
		f.total.flushed()
		f.samples = Samples{}
		for _, v := range a.values {
			v.series.flushed()
		}
	}
}

// split returns the counts of the by values of a flow, in a.values.
func (a *Aggregator) split(f *flow) []ValueCounts {
	a.values = a.values[:0]
	if f.By == "" {
		return nil
	}
	a.room.mu.Lock()
	kept := f.kept // grows by append only, and the counts are ours
	a.room.mu.Unlock()
	for _, v := range kept {
		a.values = append(a.values, ValueCounts{Value: v.value, Counts: v.counts()})
	}
	if f.rest.total != (Tally{}) {
		a.values = append(a.values, ValueCounts{Value: slo.Overflow, Counts: f.rest.counts()})
	}
	return a.values
}

func (s *series) counts() Counts {
	return Counts{Total: s.total, New: s.fresh, SLOs: s.slos, series: s}
}

// drain moves the counts of a shard to the series. The caller holds s.mu, and
// Aggregator.mu, which guards the series.
func (s *shard) drain() {
	for _, c := range s.dirty {
		c.to.fold(c)
		if c.to != c.flow.total {
			c.flow.total.fold(c)
		}
		c.flow.samples.merge(c.samples, c.to.value)
		c.reset()
	}
	s.dirty = s.dirty[:0]
}
