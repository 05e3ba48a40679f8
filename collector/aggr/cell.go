package aggr

import (
	"math/bits"
	"sync"
	"unicode/utf8"

	"github.com/slowburn-slo/slowburn/slo"
)

// maxValue is the longest value of a by attribute that is kept, in bytes; what
// is longer is cut. Nobody reads a longer label on a page.
const maxValue = 256

// shard is a part of the counts since the last flush.
type shard struct {
	mu      sync.Mutex
	places  []place // by index of the flow
	dirty   []*cell // that were counted in since the last drain
	scratch [maxValue]byte
}

// place is where a shard counts one flow.
type place struct {
	flow *flow
	cell *cell // the whole flow, or what overflows when it is split; nil until needed

	// values holds the cells of a flow that is split, else nil. Once it is
	// complete it knows every value the flow keeps apart, and the flow takes
	// in no more: all others overflow without asking the flow.
	values   map[string]*cell
	complete bool
}

// cell holds one shard's counts of one series since the last drain.
type cell struct {
	flow *flow
	to   *series

	total  Tally
	missed []uint64 // bad events of each objective of the flow
	zero   uint64
	sum    nanos

	// Which events are wanted as samples is told without a look at those kept,
	// which lie elsewhere in memory.
	slowest   uint64   // latency of samples.Slowest
	good, bad bool     // there is one among the samples
	samples   *Samples // without their values

	// Between two drains 32 bits are enough for a bucket, except when nobody
	// drains; wrapped names the buckets that went past them, once each time.
	pages   [numPages]*[pageSize]uint32
	touched uint32 // a bit for each page counted in
	wrapped []uint16
}

func newCell(f *flow, to *series) *cell {
	return &cell{flow: f, to: to, missed: make([]uint64, len(f.limits)), samples: &Samples{}}
}

// add counts an event.
func (c *cell) add(e *Event) {
	n := uint64(max(e.Weight, 1))
	if e.Bad {
		c.total.Bad += n
	} else {
		c.total.Good += n
	}
	for i, limit := range c.flow.limits {
		miss := e.Bad
		if limit != 0 {
			miss = e.Latency > limit
		}
		if miss {
			c.missed[i] += n
		}
	}
	hi, lo := bits.Mul64(e.Latency, n)
	c.sum.add(nanos{hi, lo})
	if e.Trace != nil && (e.Latency > c.slowest || e.Bad && !c.bad || !e.Bad && !c.good) {
		c.sample(e)
	}

	if e.Latency <= zeroNanos {
		c.zero += n
		return
	}
	k := bucketOf(e.Latency)
	page := c.pages[k/pageSize]
	if page == nil {
		page = new([pageSize]uint32)
		c.pages[k/pageSize] = page
	}
	c.touched |= 1 << (k / pageSize)
	slot := &page[k%pageSize]
	*slot += uint32(n)
	if *slot < uint32(n) {
		c.wrapped = append(c.wrapped, uint16(k))
	}
}

// reset forgets the counts and keeps the memory.
func (c *cell) reset() {
	c.total, c.zero, c.sum = Tally{}, 0, nanos{}
	c.slowest, c.good, c.bad, *c.samples = 0, false, false, Samples{}
	clear(c.missed)
	for ; c.touched != 0; c.touched &= c.touched - 1 {
		clear(c.pages[bits.TrailingZeros32(c.touched)][:])
	}
	c.wrapped = c.wrapped[:0]
}

// commit counts events. The caller holds s.mu.
func (s *shard) commit(events []Event) {
	for i := range events {
		e := &events[i]
		if uint(e.Flow) >= uint(len(s.places)) {
			continue
		}
		p := &s.places[e.Flow]
		var c *cell
		if p.values == nil {
			c = p.whole()
		} else {
			c = s.value(p, e.By)
		}
		if c.total == (Tally{}) {
			s.dirty = append(s.dirty, c)
		}
		c.add(e)
	}
}

// whole returns the cell of an unsplit flow, or of the overflow of a split one.
func (p *place) whole() *cell {
	if p.cell == nil {
		p.cell = newCell(p.flow, p.flow.rest)
	}
	return p.cell
}

// value returns the cell of a by value.
func (s *shard) value(p *place, by []byte) *cell {
	if len(by) > maxValue || !utf8.Valid(by) {
		by = sanitise(s.scratch[:0], by)
	}
	if c := p.values[string(by)]; c != nil {
		return c
	}
	if p.complete {
		return p.whole()
	}
	known, to, full := p.flow.keep(by)
	for _, v := range known {
		if p.values[v.value] == nil {
			p.values[v.value] = newCell(p.flow, v)
		}
	}
	p.complete = full
	if to == p.flow.rest {
		return p.whole()
	}
	return p.values[to.value]
}

// sanitise appends value to dst as valid UTF-8 of at most maxValue bytes, each
// invalid byte as U+FFFD.
func sanitise(dst, value []byte) []byte {
	for len(value) > 0 {
		r, size := utf8.DecodeRune(value)
		if len(dst)+utf8.RuneLen(r) > maxValue {
			break
		}
		dst = utf8.AppendRune(dst, r)
		value = value[size:]
	}
	return dst
}

// sample keeps an event that is wanted among the samples.
func (c *cell) sample(e *Event) {
	one := Sample{Trace: *e.Trace, Latency: e.Latency, Bad: e.Bad}
	if !one.Known() {
		return
	}
	c.slowest = max(c.slowest, e.Latency)
	if e.Bad {
		c.bad = true
		c.samples.merge(&Samples{Slowest: one, Bad: one}, "")
	} else {
		c.good = true
		c.samples.merge(&Samples{Slowest: one, Good: one}, "")
	}
}

// merge takes from o what is slower and what is missing.
func (s *Samples) merge(o *Samples, value string) {
	take := func(to *Sample, from Sample) {
		if from.Known() {
			*to = from
			to.Value = value
		}
	}
	if !s.Slowest.Known() || o.Slowest.Latency > s.Slowest.Latency {
		take(&s.Slowest, o.Slowest)
	}
	if !s.Bad.Known() {
		take(&s.Bad, o.Bad)
	}
	if !s.Good.Known() {
		take(&s.Good, o.Good)
	}
}

// series holds the counts of a flow, or of one of its by values, from its
// first event on.
type series struct {
	value     string
	total     Tally
	fresh     Tally   // since the last flush
	slos      []Tally // since the last flush, for each objective
	latencies latencies
}

func newSeries(f *slo.Flow, value string) *series {
	return &series{value: value, slos: make([]Tally, len(f.Objectives))}
}

// fold adds what a cell has counted.
func (s *series) fold(c *cell) {
	s.total.add(c.total)
	s.fresh.add(c.total)
	for i, bad := range c.missed {
		s.slos[i].add(Tally{Good: c.total.Good + c.total.Bad - bad, Bad: bad})
	}
	s.latencies.zero += c.zero
	s.latencies.sum.add(c.sum)
	for left := c.touched; left != 0; left &= left - 1 {
		i := bits.TrailingZeros32(left)
		to := s.latencies.page(i)
		for j, n := range c.pages[i] {
			to[j] += uint64(n)
		}
	}
	for _, k := range c.wrapped {
		s.latencies.page(int(k) / pageSize)[k%pageSize] += 1 << 32
	}
}

// merge adds another series of the flow, as it was before its objectives
// changed: from gives the former index of each objective, or -1.
func (s *series) merge(o *series, from []int) {
	s.total.add(o.total)
	s.fresh.add(o.fresh)
	for i, was := range from {
		if was >= 0 {
			s.slos[i].add(o.slos[was])
		}
	}
	s.latencies.merge(&o.latencies)
}

// flushed forgets what only the last flush was about.
func (s *series) flushed() {
	s.fresh = Tally{}
	clear(s.slos)
}
