package ledger

// counts are the events of one slot. 32 bits hold 4.29 billion events, which
// in a slot of five minutes is 14 million requests a second on one flow; past
// that a slot stays full (the totals of the SLO go on).
type counts struct{ bad, total uint32 }

// ring keeps the counts of the newest len(slots) slots of res milliseconds,
// and exact running sums over windows that end now. Slots hold what happened;
// sums leave out the slots that are cut out. Those cuts are the account's: they
// are passed in, and may change only for slots that no sum covers.
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
	length     int64 // ms; 0: tail stays where it is put, see ring.from
	tail       int64
	bad, total uint64
}

// newRing returns a ring at time now (ms) that reaches back over span (ms), with
// windows of the given lengths (ms).
func newRing(res, now, span int64, lengths []int64) ring {
	r := ring{
		res:  res,
		head: now / res,
		// One slot for the newest, one for the part at the far edge.
		slots: make([]counts, (span+res-1)/res+2),
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

// has reports whether the slot n is kept.
func (r *ring) has(n int64) bool {
	return n >= 0 && n <= r.head && n > r.head-int64(len(r.slots))
}

// at returns the counts of the slot n: none where it is not kept, or cut out.
func (r *ring) at(n int64, out cuts) counts {
	if !r.has(n) || out.hold(n*r.res) {
		return counts{}
	}
	return *r.slot(n)
}

// advance moves the end of all windows to now, which never goes back.
func (r *ring) advance(now int64, out cuts) {
	head := now / r.res
	for i := range r.windows {
		w := &r.windows[i]
		if w.length == 0 {
			continue
		}
		tail := tailOf(now, w.length, r.res)
		for ; w.tail < tail && w.tail <= r.head; w.tail++ {
			c := r.at(w.tail, out)
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

// add counts events in the slot n; outside the ring they are dropped.
func (r *ring) add(n int64, bad, total uint64, out bool) {
	if !r.has(n) {
		return
	}
	c := r.slot(n)
	bad = min(bad, uint64(^uint32(0)-c.bad))
	total = min(total, uint64(^uint32(0)-c.total))
	c.bad += uint32(bad)
	c.total += uint32(total)
	if out {
		return
	}
	for i := range r.windows {
		if w := &r.windows[i]; n >= w.tail {
			w.bad += bad
			w.total += total
		}
	}
}

// fill adds what another ring of the same resolution and time holds.
func (r *ring) fill(old *ring, out cuts) {
	for n := max(0, old.head-int64(len(old.slots))+1); n <= old.head; n++ {
		if c := *old.slot(n); c != (counts{}) {
			r.add(n, uint64(c.bad), uint64(c.total), out.hold(n*r.res))
		}
	}
}

// from lets window i begin with the slot tail, and stay there.
func (r *ring) from(i int, tail int64, out cuts) {
	w := window{tail: tail}
	for n := max(tail, r.head-int64(len(r.slots))+1); n <= r.head; n++ {
		c := r.at(n, out)
		w.bad += uint64(c.bad)
		w.total += uint64(c.total)
	}
	r.windows[i] = w
}

// read returns the counts inside window i at now. The slot at the far edge
// counts with the part of it that is inside, as if its events were spread
// evenly.
func (r *ring) read(i int, now int64, out cuts) (bad, total float64) {
	w := &r.windows[i]
	bad, total = float64(w.bad), float64(w.total)
	if w.length == 0 {
		return bad, total
	}
	inside := float64(w.tail*r.res-(now-w.length)) / float64(r.res)
	c := r.at(w.tail-1, out)
	return bad + inside*float64(c.bad), total + inside*float64(c.total)
}

// spread fills a ring from what two others hold of the same events, for which
// the slots of this one are made: from fine slots where they reach back far enough,
// and before, as if the events of a coarse slot had been spread evenly.
func (r *ring) spread(fine, coarse *ring) {
	parts := coarse.res / r.res
	for n := max(0, (r.head-int64(len(r.slots))+1)/parts); n <= coarse.head; n++ {
		if first := n * coarse.res / fine.res; fine.has(first) {
			for f := first; f <= min(fine.head, first+coarse.res/fine.res-1); f++ {
				c := fine.at(f, nil)
				r.add(f*fine.res/r.res, uint64(c.bad), uint64(c.total), false)
			}
			continue
		}
		c := coarse.at(n, nil)
		good, bad := int64(c.total-c.bad), int64(c.bad)
		for i := range parts {
			b := bad*(i+1)/parts - bad*i/parts
			g := good*(i+1)/parts - good*i/parts
			r.add(n*parts+i, uint64(b), uint64(b+g), false)
		}
	}
}
