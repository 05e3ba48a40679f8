package where

import (
	"slices"
	"unsafe"

	"github.com/slowburn-slo/slowburn/slo"
)

// row is a request: what stands for its value of each attribute, 0 for none.
type row [slo.MaxWhere]uint32

const (
	maxKept   = 64 // samples of a class in a slice of time
	chunkRows = 16
)

// kept is how many samples of a class are kept in a slice of time. Good requests
// are compared over more of it.
var kept = [classes]uint64{0: maxKept / 2, isBad: maxKept, isSlow: maxKept, isBad | isSlow: maxKept}

// chunk is what samples are given memory by.
type chunk [chunkRows]row

const chunkBytes = int(unsafe.Sizeof(chunk{}))

// slice is what was seen in a slice of time.
type slice struct {
	from, to int64 // seconds since 1970; to is not in it
	strata   [classes]stratum
}

// stratum is one class of requests: how many there were, and a sample of them
// in which each is as likely as the others.
type stratum struct {
	n      uint64
	kept   int
	chunks [maxKept / chunkRows]*chunk
}

func (s *stratum) row(i int) *row { return &s.chunks[i/chunkRows][i%chunkRows] }

// How long slices of time are, by age. Incidents are asked about while they
// last or soon after; what is normal changes by the hour.
const (
	minute = 60
	hour   = 60 * minute

	fine   = 30 * minute // up to this age a slice is a minute
	middle = 2 * hour    // up to this age it is five
	oldest = 25 * hour   // up to this age it is an hour
)

// lengthAt returns how long a slice of an age is.
func lengthAt(age int64) int64 {
	switch {
	case age <= fine:
		return minute
	case age <= middle:
		return 5 * minute
	default:
		return hour
	}
}

// at returns the slice of the minute that begins at t. Where clocks went back
// it is the newest.
func (f *Finder) at(fl *flow, t int64) *slice {
	if n := len(fl.slices); n > 0 && t <= fl.slices[n-1].from {
		return &fl.slices[n-1]
	}
	f.age(fl, t)
	fl.slices = append(fl.slices, slice{from: t, to: t + minute})
	return &fl.slices[len(fl.slices)-1]
}

// age merges slices and drops those that are too old at t.
func (f *Finder) age(fl *flow, t int64) {
	to := 0
	for i := range fl.slices {
		s := &fl.slices[i]
		if t-s.to > oldest {
			f.free(fl, s)
			continue
		}
		length := lengthAt(t - s.to)
		if to > 0 && fl.slices[to-1].from/length == s.from/length {
			f.merge(fl, &fl.slices[to-1], s)
			continue
		}
		fl.slices[to] = *s
		to++
	}
	clear(fl.slices[to:]) // chunks must not be held twice
	fl.slices = fl.slices[:to]
}

// merge moves what from holds into the slice before it.
func (f *Finder) merge(fl *flow, into, from *slice) {
	into.to = from.to
	for class := range into.strata {
		a, b := &into.strata[class], &from.strata[class]
		rows := f.both[:0]
		for i := range a.kept {
			rows = append(rows, *a.row(i))
		}
		for i := range b.kept {
			rows = append(rows, *b.row(i))
		}
		f.pick(rows, a, b, int(kept[class]))
		n, m := a.n+b.n, min(len(rows), int(kept[class]))
		f.release(fl, b)
		f.release(fl, a)
		for i := range m {
			if !f.add(fl, a, &rows[i]) {
				break
			}
		}
		a.n = n
	}
}

// pick puts m of rows first, or all: a.kept that stand for a.n requests, then
// b.kept for b.n, each request as likely as the others.
func (f *Finder) pick(rows []row, a, b *stratum, m int) {
	if len(rows) <= m {
		return
	}
	left := [2][]row{rows[:a.kept], rows[a.kept:]}
	stand := [2]float64{float64(a.n), float64(b.n)}
	var picked [maxKept]row
	for i := range m {
		from := 0
		if len(left[0]) == 0 || len(left[1]) > 0 && f.rand.Float64()*(stand[0]+stand[1]) >= stand[0] {
			from = 1
		}
		j, last := f.rand.IntN(len(left[from])), len(left[from])-1
		picked[i] = left[from][j]
		left[from][j] = left[from][last]
		left[from] = left[from][:last]
		stand[from]--
	}
	copy(rows, picked[:m])
}

// keep makes a look a sample, or not, so that each request of the newest slice
// is one with equal chances.
func (f *Finder) keep(fl *flow, class int, l *look) {
	st := &fl.slices[len(fl.slices)-1].strata[class]
	most := kept[class]
	if st.kept < int(most) && f.add(fl, st, &l.row) || st.kept == 0 {
		return
	}
	if f.rand.Float64()*float64(st.n) < float64(most)*float64(l.stride) {
		*st.row(f.rand.IntN(st.kept)) = l.row
	}
}

// add adds a sample, if there is room.
func (f *Finder) add(fl *flow, st *stratum, r *row) bool {
	if st.kept%chunkRows == 0 {
		c := f.chunk()
		if c == nil {
			return false
		}
		fl.held++
		st.chunks[st.kept/chunkRows] = c
	}
	st.kept++
	*st.row(st.kept - 1) = *r
	return true
}

// pool hands out chunks.
type pool struct {
	left int // how many may still be made
	free []*chunk
	hand int // the flow to take from next
}

// chunk returns a chunk to use, nil if there is none.
func (f *Finder) chunk() *chunk {
	p := &f.pool
	if len(p.free) == 0 && p.left > 0 {
		p.left--
		return new(chunk)
	}
	if len(p.free) == 0 {
		f.makeRoom()
	}
	if len(p.free) == 0 {
		return nil
	}
	c := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return c
}

// makeRoom drops the oldest samples of a flow that holds its share or more. The
// flows take turns, and what is of the newest slice stays.
func (f *Finder) makeRoom() {
	held := 0
	for _, fl := range f.flows {
		held += fl.held
	}
	for range f.flows {
		f.pool.hand = (f.pool.hand + 1) % len(f.flows)
		fl := f.flows[f.pool.hand]
		if fl.held*len(f.flows) < held {
			continue
		}
		for i := range len(fl.slices) - 1 {
			if fl.slices[i].holds() {
				f.free(fl, &fl.slices[i])
				return
			}
		}
	}
}

func (s *slice) holds() bool {
	return slices.ContainsFunc(s.strata[:], func(st stratum) bool { return st.kept > 0 })
}

// free takes the samples of a slice; its counts stay.
func (f *Finder) free(fl *flow, s *slice) {
	for class := range s.strata {
		f.release(fl, &s.strata[class])
	}
}

// release takes the samples of a stratum.
func (f *Finder) release(fl *flow, st *stratum) {
	for i, c := range st.chunks {
		if c != nil {
			f.pool.free = append(f.pool.free, c)
			fl.held--
			st.chunks[i] = nil
		}
	}
	st.kept = 0
}
