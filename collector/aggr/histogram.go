package aggr

import (
	"math"
	"math/bits"
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
)

// The latency histogram is a native one of schema 5: 32 buckets per octave, each
// 2.2% wide, so a quantile is off by far less than 1%. It reaches from 2^-14 s
// (61 µs), below which no service answers a network, to 2^17 s (36 h), above
// which no batch job is a request. Faster requests are counted in the zero
// bucket, slower ones in the last bucket; the sum is exact for all.
const (
	schema     = 5
	perOctave  = 1 << schema
	minExp     = -14
	maxExp     = 17
	numBuckets = (maxExp - minExp) * perOctave

	// firstIndex is Prometheus' number of our bucket 0: number i is
	// (2^((i-1)/32), 2^(i/32)] seconds.
	firstIndex = minExp*perOctave + 1

	zeroThreshold = 1.0 / (1 << -minExp) // seconds

	// Buckets are allocated in pages of two octaves when first counted in:
	// latencies of one flow lie within a few octaves, and 10,000 series of
	// 992 buckets each would be 80 MB of zeros.
	pageSize = 2 * perOctave
	numPages = (numBuckets + pageSize - 1) / pageSize
)

// Keys of guess: the position of a latency's highest bit, from minBit, and the
// guessBits below it. A slot of 1/64 octave is narrower than a bucket, so it
// meets at most one boundary.
const (
	guessBits = 6
	minBit    = 15 // of 61,036 ns, the fastest request above the zero bucket
	maxBit    = 46 // of 131,072 s
)

var (
	zeroNanos = uint64(math.Floor(zeroThreshold * 1e9))
	uppers    = makeUppers()
	guess     = makeGuess()
)

// makeUppers returns the largest latency of each bucket in whole nanoseconds.
func makeUppers() (out [numBuckets]uint64) {
	for k := range out {
		octave, step := (k+1)/perOctave, (k+1)%perOctave
		bound := math.Ldexp(math.Exp2(float64(step)/perOctave), minExp+octave)
		out[k] = uint64(math.Floor(bound * 1e9))
	}
	return out
}

// makeGuess returns the bucket of the smallest latency of each slot.
func makeGuess() (out [(maxBit - minBit + 1) << guessBits]uint16) {
	for key := range out {
		bit, sub := minBit+key>>guessBits, key&(1<<guessBits-1)
		ns := uint64(1<<guessBits+sub) << (bit - guessBits)
		k := sort.Search(numBuckets-1, func(k int) bool { return ns <= uppers[k] })
		out[key] = uint16(k)
	}
	return out
}

// bucketOf returns the bucket, from 0 to numBuckets-1, of a latency above
// zeroNanos.
func bucketOf(ns uint64) int {
	if ns > uppers[numBuckets-1] {
		return numBuckets - 1
	}
	bit := bits.Len64(ns) - 1
	sub := int(ns>>(bit-guessBits)) & (1<<guessBits - 1)
	k := int(guess[(bit-minBit)<<guessBits|sub])
	for ns > uppers[k] {
		k++
	}
	return k
}

// nanos is a sum of latencies in nanoseconds. 64 bits would be full after 21
// days of 10,000 requests a second that take a second each.
type nanos struct{ hi, lo uint64 }

func (n *nanos) add(m nanos) {
	var carry uint64
	n.lo, carry = bits.Add64(n.lo, m.lo, 0)
	n.hi, _ = bits.Add64(n.hi, m.hi, carry)
}

func (n nanos) seconds() float64 {
	return (float64(n.hi)*(1<<64) + float64(n.lo)) / 1e9
}

// latencies is a cumulative histogram.
type latencies struct {
	zero  uint64
	sum   nanos
	pages [numPages]*[pageSize]uint64
}

// page returns a page of buckets to count in.
func (l *latencies) page(i int) *[pageSize]uint64 {
	if l.pages[i] == nil {
		l.pages[i] = new([pageSize]uint64)
	}
	return l.pages[i]
}

func (l *latencies) merge(o *latencies) {
	l.zero += o.zero
	l.sum.add(o.sum)
	for i, from := range o.pages {
		if from == nil {
			continue
		}
		to := l.page(i)
		for j, n := range from {
			to[j] += n
		}
	}
}

// native returns the histogram as Prometheus stores it.
func (l *latencies) native() *histogram.Histogram {
	// Two spans cost more than the few empty buckets between them.
	const maxGap = 2

	h := &histogram.Histogram{
		Schema:        schema,
		ZeroThreshold: zeroThreshold,
		ZeroCount:     l.zero,
		Count:         l.zero,
		Sum:           l.sum.seconds(),
	}
	var last uint64 // the count of the bucket before, as buckets are deltas
	put := func(n uint64) {
		h.PositiveBuckets = append(h.PositiveBuckets, int64(n-last))
		h.PositiveSpans[len(h.PositiveSpans)-1].Length++
		h.Count += n
		last = n
	}
	next := int32(0) // Prometheus' number of the bucket after the last span
	for i, page := range l.pages {
		if page == nil {
			continue
		}
		for j, n := range page {
			if n == 0 {
				continue
			}
			number := int32(firstIndex + i*pageSize + j)
			if gap := number - next; len(h.PositiveSpans) == 0 || gap > maxGap {
				h.PositiveSpans = append(h.PositiveSpans, histogram.Span{Offset: gap})
			} else {
				for range gap {
					put(0)
				}
			}
			put(n)
			next = number + 1
		}
	}
	return h
}
