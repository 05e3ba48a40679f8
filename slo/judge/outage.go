package judge

const (
	// An outage is nearly everything failing over ten seconds at least, and
	// fifteen at most where readings are close enough: short of that a hiccup
	// would page, and beyond it twenty seconds could not be kept.
	outageMin = 10_000
	outageMax = 15_000
	outageBad = 10  // events
	outageAll = 0.9 // the share of them that is nearly everything
)

// recent are the newest readings of the counters, for what windows of minutes
// are too slow for.
type recent struct {
	at             [10]int64 // ms
	events, errors [10]uint64
	n              int // readings so far; the newest is at (n-1) % 10
}

func (c *recent) add(t int64, events, errors uint64) {
	i := c.n % len(c.at)
	c.at[i], c.events[i], c.errors[i] = t, events, errors
	c.n++
}

// outage reports whether nearly everything failed in a time that ends now, and
// what.
func (c *recent) outage(t int64) (bad, total uint64, ok bool) {
	now := (c.n - 1) % len(c.at)
	for back := 1; back < len(c.at) && back < c.n; back++ {
		i := (c.n - 1 - back) % len(c.at)
		age := t - c.at[i]
		if age < outageMin {
			continue
		}
		if age > outageMax && back > 1 || age > unwatched {
			break
		}
		total = c.events[now] - min(c.events[i], c.events[now])
		bad = min(c.errors[now]-min(c.errors[i], c.errors[now]), total)
		if bad >= outageBad && float64(bad) >= outageAll*float64(total) {
			return bad, total, true
		}
	}
	return 0, 0, false
}
