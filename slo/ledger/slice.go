package ledger

// unwatched is how long the ledger hears nothing before the time counts as
// watched by nobody: the process was down. Slices longer than this set their
// own limit.
const unwatched = 60_000

// slicer judges time instead of events: what happens in a slice makes it one
// good or bad event. Slices are aligned to the wall clock in UTC.
type slicer struct {
	length int64   // ms; 0: events count themselves
	target float64 // a slice is good while this share of its events is
	fresh  int64   // ms; > 0: a slice is good while the last success is no older

	upto      int64  // ms; time was watched, or given up, until then: in the open slice
	good, bad uint64 // events of the open slice
	partial   bool   // the open slice was not watched from its start
	last      int64  // ms; the last success, put forward by the time nobody watched
}

func newSlicer(d Def, now int64) slicer {
	s := slicer{length: d.Slice.Length.Milliseconds(), upto: now, last: now}
	if d.Fresh > 0 {
		s.length = freshSlice
	}
	s.judgeBy(d)
	s.partial = s.length > 0 && now%s.length != 0
	return s
}

// freshSlice is the length of the slices freshness is judged in.
const freshSlice = 60_000

func (s *slicer) judgeBy(d Def) { s.target, s.fresh = d.Slice.Target, d.Fresh.Milliseconds() }

// like reports whether two slicers count in the same unit, so that what one
// counted is history of the other.
func (s *slicer) like(o *slicer) bool {
	return s.length == o.length && (s.fresh > 0) == (o.fresh > 0)
}

// end returns the end of the open slice.
func (s *slicer) end() int64 { return s.upto - s.upto%s.length + s.length }

// isBad judges the open slice, of which nothing after the time at is known.
func (s *slicer) isBad(at int64) bool {
	if s.fresh > 0 {
		return at-s.last > s.fresh
	}
	// 7% of 100 is 7.000000000000001 in floating point, and 7 are enough.
	return float64(s.good) < s.target*float64(s.good+s.bad)*(1-1e-12)
}

// watch moves on to now and closes the slices that have ended by then. One that
// nobody watched does not count, and one that was watched in part only if it
// holds events.
func (a *account) watch(now int64) {
	s := &a.slice
	if gap := now - s.upto; gap > max(unwatched, s.length) {
		s.partial = true
		a.close(s.upto)
		s.last += gap
		s.upto = now
		s.partial = now%s.length != 0
		return
	}
	for end := s.end(); end <= now; end = s.end() {
		a.close(end)
		s.upto = end
		s.partial = false
	}
	s.upto = now
}

// close counts the open slice, of which nothing after the time at is known, in
// the slot of its last instant.
func (a *account) close(at int64) {
	s := &a.slice
	if !s.partial || s.good+s.bad > 0 {
		var bad uint64
		if s.isBad(at) {
			bad = 1
		}
		a.count(s.end()-1, bad, 1)
	}
	s.good, s.bad = 0, 0
}
