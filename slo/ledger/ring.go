package ledger

// counts are the events of one slot. 32 bits hold 4.29 billion events, which
// in a slot of five minutes is 14 million requests a second on one flow; past
// that a slot stays full (the totals of the SLO go on).
type counts struct{ bad, total uint32 }

// ring keeps the counts of the newest len(slots) slots of res milliseconds,
// and exact running sums over windows that end now.
type ring struct {
	res     int64
	head    int64 // number of the newest slot: its start is head*res ms since 1970
	slots   []counts
	windows []window
}

// window is a running sum over the slots tail … head, all of which lie wholly
// inside the window. The slot before tail is partly inside: it is read when the
// sum is, see ring.read.
type window struct {
	length     int64 // ms
	tail       int64
	bad, total uint64
}

// newRing returns a ring at time now (ms) that serves the given window lengths
// (ms), the longest of which sets its size.
func newRing(res, now int64, lengths []int64) *ring {
	longest := res
	for _, l := range lengths {
		longest = max(longest, l)
	}
	r := &ring{
		res:  res,
		head: now / res,
		// One slot for the newest, one for the part at the far edge.
		slots: make([]counts, (longest+res-1)/res+2),
	}
	for _, l := range lengths {
		r.windows = append(r.windows, window{length: l, tail: tailOf(now, l, res)})
	}
	return r
}

// tailOf returns the first slot that lies wholly inside the window of length
// that ends at now.
func tailOf(now, length, res int64) int64 {
	from := now - length
	t := from / res
	if t*res < from {
		t++
	}
	return t
}

func (r *ring) slot(n int64) *counts { return &r.slots[n%int64(len(r.slots))] }

// advance moves the end of all windows to now, which never goes back.
func (r *ring) advance(now int64) {
	head := now / r.res
	for i := range r.windows {
		w := &r.windows[i]
		tail := tailOf(now, w.length, r.res)
		for ; w.tail < tail && w.tail <= r.head; w.tail++ {
			c := r.slot(w.tail)
			w.bad -= uint64(c.bad)
			w.total -= uint64(c.total)
		}
		w.tail = tail
	}
	if head-r.head >= int64(len(r.slots)) {
		clear(r.slots)
	} else {
		for n := r.head + 1; n <= head; n++ {
			*r.slot(n) = counts{}
		}
	}
	r.head = head
}

// add counts events in the newest slot.
func (r *ring) add(bad, total uint64) {
	c := r.slot(r.head)
	b := min(bad, uint64(^uint32(0)-c.bad))
	t := min(total, uint64(^uint32(0)-c.total))
	c.bad += uint32(b)
	c.total += uint32(t)
	for i := range r.windows {
		r.windows[i].bad += b
		r.windows[i].total += t
	}
}

// put adds counts to the slot n while a ring is being restored; slots outside
// the ring are dropped. now is the time the ring stands at.
func (r *ring) put(n int64, c counts) {
	if n > r.head || n <= r.head-int64(len(r.slots)) {
		return
	}
	s := r.slot(n)
	s.bad += c.bad
	s.total += c.total
	for i := range r.windows {
		if w := &r.windows[i]; n >= w.tail {
			w.bad += uint64(c.bad)
			w.total += uint64(c.total)
		}
	}
}

// read returns the counts inside window i at now. The slot at the far edge
// counts with the part of it that is inside, as if its events were spread
// evenly.
func (r *ring) read(i int, now int64) (bad, total float64) {
	w := &r.windows[i]
	bad, total = float64(w.bad), float64(w.total)
	edge := w.tail - 1
	if edge < 0 || edge > r.head || edge <= r.head-int64(len(r.slots)) {
		return bad, total
	}
	inside := float64(w.tail*r.res-(now-w.length)) / float64(r.res)
	c := r.slot(edge)
	return bad + inside*float64(c.bad), total + inside*float64(c.total)
}
