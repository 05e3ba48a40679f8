package synth

import (
	"math"
	"math/rand/v2"
	"time"
)

// Counts are the requests of a flow over some time.
type Counts struct {
	Total, Bad uint64

	// Latencies are the requests again, alike ones together; their counts add
	// up to Total and Bad exactly.
	Latencies []Sample
}

// Sample is a number of requests that took the same time.
type Sample struct {
	Latency    time.Duration
	Total, Bad uint64
}

// Over returns how many requests took longer than d.
func (c Counts) Over(d time.Duration) uint64 {
	var n uint64
	for _, s := range c.Latencies {
		if s.Latency > d {
			n += s.Total
		}
	}
	return n
}

// Counts returns the requests of a flow in [from, to): random around what is
// expected, and always the same for the same arguments. Two halves counted
// apart do not add up to exactly the whole counted at once. A year in one call
// is fine; a step of 5 minutes takes some microseconds.
func (m *Model) Counts(f Flow, from, to time.Time) Counts {
	var out Counts
	for from.Before(to) {
		end := m.steadyUntil(f, from, to)
		out.add(m.steady(f, from, end))
		from = end
	}
	return out
}

// steadyUntil returns how long the flow does as it does at from, at most to.
func (m *Model) steadyUntil(f Flow, from, to time.Time) time.Time {
	// The rate changes by at most a ninth of the peak in an hour; its middle
	// stands for it.
	end := from.Truncate(time.Hour).Add(time.Hour)
	if to.Before(end) {
		end = to
	}
	for _, i := range m.Incidents {
		if i.Flow != f.Name {
			continue
		}
		for _, edge := range []time.Time{i.From, i.From.Add(i.For)} {
			if edge.After(from) && edge.Before(end) {
				end = edge
			}
		}
	}
	return end
}

// steady returns the requests of a time in which nothing changes.
func (m *Model) steady(f Flow, from, to time.Time) Counts {
	rng := m.rng(f, from)
	length := to.Sub(from)
	errorRatio, median := m.state(f, from)
	c := Counts{Total: poisson(rng, m.Rate(f, from.Add(length/2))*length.Seconds())}
	c.Bad = c.Total
	if errorRatio < 1 {
		c.Bad = min(c.Total, poisson(rng, float64(c.Total)*errorRatio))
	}
	c.spread(rng, median, f.Sigma)
	return c
}

// spread fills c.Latencies: a lognormal distribution in slices of equal width on
// a logarithmic scale. The slices lie elsewhere each time, so that a threshold
// that always cuts one of them sees the right share over many steps.
func (c *Counts) spread(rng *rand.Rand, median, sigma float64) {
	const (
		reach = 4.0 // standard deviations each way; 6 in 100,000 requests lie beyond
		width = 0.1
	)
	if c.Total == 0 {
		return
	}
	// Rounding the running sums, not the parts, keeps the sum exact.
	offset, roundTotal, roundBad := rng.Float64()*width, rng.Float64(), rng.Uint64N(c.Total)
	c.Latencies = make([]Sample, 0, int(2*reach/width)+1)
	var total, bad uint64
	for z := offset - reach; total < c.Total; z += width {
		upTo := c.Total
		if z < reach-width {
			upTo = min(upTo, uint64(normal(z+width/2)*float64(c.Total)+roundTotal))
		}
		badUpTo := (upTo*c.Bad + roundBad) / c.Total
		if upTo > total {
			c.Latencies = append(c.Latencies, Sample{
				Latency: time.Duration(median * math.Exp(sigma*z)),
				Total:   upTo - total,
				Bad:     badUpTo - bad,
			})
		}
		total, bad = upTo, badUpTo
	}
}

// normal returns the share of a normal distribution below z.
func normal(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

func (c *Counts) add(d Counts) {
	c.Total += d.Total
	c.Bad += d.Bad
	c.Latencies = append(c.Latencies, d.Latencies...)
}
