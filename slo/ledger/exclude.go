package ledger

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// Exclusions come again for ever, a list ends: cuts are worked out for the time
// ahead, and anew every day. A snapshot then holds those of the six days after
// it at least, of which the journal that follows it is replayed.
const (
	ahead = 7 * 24 * 3600_000
	anew  = 24 * 3600_000
)

// never is a time, in ms, that does not come.
const never = math.MaxInt64

// cuts are the stretches of time that do not count, in order and apart. They
// begin and end with coarse slots, so that a slot counts whole or not at all.
type cuts []cut

type cut struct{ from, until int64 } // ms

// cutsOf returns what exclusions cut out of the time from … until (ms). Where
// one is no multiple of slo.ExclusionStep, it is widened to it.
func cutsOf(exclude []slo.Exclusion, from, until int64) cuts {
	var all cuts
	for _, e := range exclude {
		for i := range e.Between(time.UnixMilli(from), time.UnixMilli(until)) {
			start, end := max(0, i.Start.UnixMilli()), i.End.UnixMilli()+coarseSlot-1
			if c := (cut{start - start%coarseSlot, end - end%coarseSlot}); c.from < c.until {
				all = append(all, c)
			}
		}
	}
	slices.SortFunc(all, func(a, b cut) int { return cmp.Compare(a.from, b.from) })
	merged := all[:0]
	for _, c := range all {
		if n := len(merged); n > 0 && c.from <= merged[n-1].until {
			merged[n-1].until = max(merged[n-1].until, c.until)
		} else {
			merged = append(merged, c)
		}
	}
	return merged
}

// at returns the cut that holds the instant t (ms).
func (c cuts) at(t int64) (cut, bool) {
	lo, hi := 0, len(c)
	for lo < hi {
		if mid := (lo + hi) / 2; c[mid].until <= t {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(c) || t < c[lo].from {
		return cut{}, false
	}
	return c[lo], true
}

func (c cuts) hold(t int64) bool {
	_, ok := c.at(t)
	return ok
}
